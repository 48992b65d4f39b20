// From a frame to a handler and from its response back to the socket.
//
// Runs on the connection's shard. What Kafka answers by closing the connection (unknown API, unsupported version, a body that does not decode) is
// answered so here; the one exception is ApiVersions, which answers any version.

import { ApiKey, isServed } from '../../protocol/api.ts'
import { decoder, encoder } from '../../protocol/compile.ts'
import { beginFrame, endFrame, readRequestHeader, writeResponseHeader } from '../../protocol/frame.ts'
import { Reader } from '../../protocol/reader.ts'
import type { Fields, Input } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import { type Api, type CallContext, HELD, type Held, NO_ANSWER } from '../handlers/api.ts'
import { apiVersionsTooNew } from '../handlers/api-versions.ts'
import { apis } from '../handlers/registry.ts'
import type { Connection, FrameMemory, Reply } from '../net/connection.ts'
import type { ShardMetrics } from '../observe/shard-metrics.ts'
import type { DataShard } from './context.ts'

/** A request that cannot be answered: the connection is closed with this line in the log. */
export class Refusal extends Error {}

/** The principal of a connection that has not authenticated. */
export const ANONYMOUS = 'User:ANONYMOUS'

export interface DispatchHost {
  readonly shard: DataShard
  readonly metrics: ShardMetrics
  /** Makes `memory` the shard's frameMemory while `call` runs. */
  withFrameMemory<T>(memory: FrameMemory | undefined, call: () => T): T
}

type AnyApi = Api<unknown, object>

/** Requests that may wait for something to happen: a stopping broker does not wait for them. */
const WAITING_APIS: ReadonlySet<number> = new Set([ApiKey.Fetch, ApiKey.JoinGroup, ApiKey.SyncGroup])

export class Dispatcher {
  readonly #host: DispatchHost
  /** Requests at work that will be answered soon by themselves. */
  openRequests = 0

  constructor(host: DispatchHost) {
    this.#host = host
  }

  /** @throws Refusal, MalformedFrame: the connection is to be closed */
  serve(connection: Connection, frame: Buffer, memory: FrameMemory | undefined): void {
    const { shard, metrics } = this.#host
    const startMs = shard.environment.clock.monotonicMs()
    connection.activeMs = startMs
    const apiKey = frame.length >= 2 ? frame.readInt16BE(0) : -1
    // Produce hands its batches on before it returns; the others may keep views, so they get bytes that outlive the read buffer.
    const bytes = apiKey === ApiKey.Produce ? frame : Buffer.from(frame)
    const reader = new Reader(bytes)
    const header = readRequestHeader(reader)
    const { apiVersion, correlationId, clientId } = header
    metrics.received(apiKey, frame.length + 4)
    if (!isServed(apiKey, apiVersion)) {
      if (apiKey !== ApiKey.ApiVersions) throw new Refusal(`API ${apiKey} version ${apiVersion} is not served`)
      this.#send(connection.begin(), apiKey, 0, correlationId, apis.get(apiKey)!, apiVersionsTooNew(), startMs)
      return
    }
    const api = apis.get(apiKey) as AnyApi
    const request = decoder(api.request, apiVersion)(reader)
    if (clientId !== connection.clientId) connection.clientId = clientId
    const call: CallContext = {
      apiKey,
      version: apiVersion,
      clientId,
      clientHost: connection.clientHost,
      principal: ANONYMOUS,
      listenerName: connection.listenerName,
      connectionId: connection.id,
    }
    // Produce keeps nothing of the frame: what waits of it lies in the journal's memory or in the partitions' queues.
    const reply = connection.begin(apiKey === ApiKey.Produce ? 0 : bytes.length)
    const answer =
      apiKey === ApiKey.Produce
        ? this.#host.withFrameMemory(memory, () => api.handle(shard, call, request))
        : api.handle(shard, call, request)
    if (answer instanceof Promise) {
      const counts = WAITING_APIS.has(apiKey) ? 0 : 1
      this.openRequests += counts
      answer.then(
        (response) => {
          this.openRequests -= counts
          this.#answer(reply, apiKey, apiVersion, correlationId, api, response, startMs)
        },
        (error) => {
          this.openRequests -= counts
          this.#failed(reply, apiKey, error)
        },
      )
    } else {
      this.#answer(reply, apiKey, apiVersion, correlationId, api, answer, startMs)
    }
  }

  #answer(
    reply: Reply,
    apiKey: number,
    apiVersion: number,
    correlationId: number,
    api: AnyApi,
    response: object | typeof NO_ANSWER,
    startMs: number,
  ): void {
    if (response === NO_ANSWER) {
      this.#host.metrics.answered(apiKey, 0, this.#host.shard.environment.clock.monotonicMs() - startMs)
      reply.skip()
      return
    }
    this.#send(reply, apiKey, apiVersion, correlationId, api, response as object, startMs)
  }

  #send(
    reply: Reply,
    apiKey: number,
    apiVersion: number,
    correlationId: number,
    api: AnyApi,
    response: object,
    startMs: number,
  ): void {
    const held = (response as Held)[HELD]
    let fragments: readonly Uint8Array[]
    try {
      const encoded = encodeFrame(apiKey as ApiKey, apiVersion, correlationId, api, response)
      fragments = encoded.fragments
      this.#host.metrics.answered(apiKey, encoded.bytes, this.#host.shard.environment.clock.monotonicMs() - startMs)
    } catch (error) {
      held?.()
      this.#failed(reply, apiKey, error)
      return
    }
    reply.send(fragments, held)
  }

  #failed(reply: Reply, apiKey: number, error: unknown): void {
    if (!(error instanceof Error) || error.name === 'InvariantViolation') throw error
    this.#host.metrics.failed(apiKey)
    this.#host.shard.environment.logger.error(`API ${apiKey} failed: ${error.stack ?? error.message}`)
    reply.close(`an answer could not be made: ${error.message}`)
  }
}

function encodeFrame(
  apiKey: ApiKey,
  apiVersion: number,
  correlationId: number,
  api: AnyApi,
  response: object,
): { fragments: readonly Uint8Array[]; bytes: number } {
  const writer = new Writer()
  beginFrame(writer)
  writeResponseHeader(writer, apiKey, apiVersion, correlationId)
  encoder(api.response, apiVersion)(writer, response as Input<Fields>)
  const fragments = endFrame(writer)
  return { fragments, bytes: writer.byteLength }
}
