// One TCP connection to a broker: frames out and in, answers matched to requests, versions agreed through ApiVersions.
//
// Owned by Cluster, used on the command's one thread. Requests may be in flight side by side; a broker answers in order, so
// the correlation id is a check rather than a search.

import { createConnection, type Socket } from 'node:net'
import { ApiKey, apiName } from '../../../protocol/api.ts'
import { decoder, encoder } from '../../../protocol/compile.ts'
import { ErrorCode } from '../../../protocol/errors.ts'
import {
  beginFrame,
  endFrame,
  FRAME_LENGTH_BYTES,
  readResponseHeader,
  writeRequestHeader,
} from '../../../protocol/frame.ts'
import { ApiVersionsRequest, ApiVersionsResponse } from '../../../protocol/messages/api-versions.ts'
import { MalformedFrame, Reader } from '../../../protocol/reader.ts'
import type { Fields, Input, Message, Value, VersionRange } from '../../../protocol/schema.ts'
import { Writer } from '../../../protocol/writer.ts'
import { ConnectionLost, check, Unsupported } from './errors.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface RequestOptions {
  /** Highest version to use, for requests whose newer versions mean something else. */
  readonly versionMax?: number
  /** Overrides the connection's. */
  readonly timeoutMs?: number
}

interface Waiting {
  readonly apiKey: ApiKey
  readonly version: number
  readonly correlationId: number
  readonly timer: NodeJS.Timeout
  resolve(reader: Reader): void
  reject(error: Error): void
}

/** What Kafka takes in one request by default (socket.request.max.bytes), and more than any answer we ask for. */
const FRAME_BYTES_MAX = 512 << 20
/** A cluster's whole metadata is trusted; see protocol/README.md, decision 7. */
const ANSWER_ELEMENTS_MAX = 1 << 26
export const CLIENT_ID = 'millrace-cli'
const SOFTWARE_VERSION = '0.1.0'

export class Connection {
  readonly address: Address
  readonly #socket: Socket
  readonly #timeoutMs: number
  #versions = new Map<number, VersionRange>()
  /** In the order of the requests. */
  #waiting: Waiting[] = []
  #nextCorrelationId = 1
  #chunks: Buffer[] = []
  #bufferedBytes = 0
  #closed: Error | undefined

  private constructor(address: Address, socket: Socket, timeoutMs: number) {
    this.address = address
    this.#socket = socket
    this.#timeoutMs = timeoutMs
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#end(lost(address, error)))
    socket.on('close', () => this.#end(new ConnectionLost(`${nameOf(address)} closed the connection`)))
  }

  /**
   * Connects and asks for the broker's versions.
   * @throws ConnectionLost when there is no broker, Unsupported when what is there speaks no version we know
   */
  static async open(address: Address, timeoutMs: number): Promise<Connection> {
    const socket = await connect(address, timeoutMs)
    const connection = new Connection(address, socket, timeoutMs)
    try {
      await connection.#agree()
    } catch (error) {
      connection.close()
      throw error
    }
    return connection
  }

  get isOpen(): boolean {
    return this.#closed === undefined
  }

  /** What the broker serves, by api key. */
  get versions(): ReadonlyMap<number, VersionRange> {
    return this.#versions
  }

  /** The version that both sides know best, or undefined when the broker lacks the API or has no version in common. */
  versionOf(request: Message, versionMax = Number.POSITIVE_INFINITY): number | undefined {
    const served = this.#versions.get(request.apiKey)
    if (served === undefined) return undefined
    const version = Math.min(served.last, request.versions.last, versionMax)
    return version >= served.first && version >= request.versions.first ? version : undefined
  }

  /**
   * Sends a request and waits for its answer, in the best version that both sides know.
   * @throws ConnectionLost, Unsupported
   */
  async request<Req extends Fields, Res extends Fields>(
    request: Message<Req>,
    response: Message<Res>,
    body: Input<Req>,
    options: RequestOptions = {},
  ): Promise<Value<Res>> {
    const version = this.#agreedVersion(request, options.versionMax)
    return this.#call(request, response, version, body, options.timeoutMs ?? this.#timeoutMs)
  }

  /**
   * Sends a request that the broker does not answer (acks=0); resolves when the socket has taken it.
   * @throws ConnectionLost, Unsupported
   */
  async send<Req extends Fields>(request: Message<Req>, body: Input<Req>, options: RequestOptions = {}): Promise<void> {
    const version = this.#agreedVersion(request, options.versionMax)
    if (this.#closed !== undefined) throw this.#closed
    const writer = this.#frame(request, version, this.#nextCorrelationId++, body)
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(Buffer.concat(endFrame(writer)), (error) =>
        error ? reject(lost(this.address, error)) : resolve(),
      )
    })
  }

  close(): void {
    this.#end(new ConnectionLost('the connection was closed'))
  }

  #agreedVersion(request: Message, versionMax: number | undefined): number {
    const version = this.versionOf(request, versionMax)
    if (version !== undefined) return version
    const served = this.#versions.get(request.apiKey)
    const has = served === undefined ? 'does not serve it' : `serves versions ${served.first} to ${served.last}`
    throw new Unsupported(`${apiName(request.apiKey)} is needed, and the broker at ${nameOf(this.address)} ${has}`)
  }

  #frame<Req extends Fields>(
    request: Message<Req>,
    apiVersion: number,
    correlationId: number,
    body: Input<Req>,
  ): Writer {
    const writer = new Writer()
    beginFrame(writer)
    const apiKey = request.apiKey as ApiKey
    writeRequestHeader(writer, { apiKey, apiVersion, correlationId, clientId: CLIENT_ID })
    encoder(request, apiVersion)(writer, body)
    return writer
  }

  async #call<Req extends Fields, Res extends Fields>(
    request: Message<Req>,
    response: Message<Res>,
    version: number,
    body: Input<Req>,
    timeoutMs: number,
  ): Promise<Value<Res>> {
    if (this.#closed !== undefined) throw this.#closed
    const apiKey = request.apiKey as ApiKey
    const correlationId = this.#nextCorrelationId++
    const writer = this.#frame(request, version, correlationId, body)
    const reader = await new Promise<Reader>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(new ConnectionLost(`no answer from ${nameOf(this.address)} within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#waiting.push({ apiKey, version, correlationId, timer, resolve, reject })
      this.#socket.cork()
      for (const piece of endFrame(writer)) this.#socket.write(piece)
      this.#socket.uncork()
    })
    try {
      return decoder(response, version)(reader)
    } catch (error) {
      if (error instanceof MalformedFrame) {
        throw new Unsupported(`${nameOf(this.address)} sent an answer to ${apiName(apiKey)} that makes no sense`)
      }
      throw error
    }
  }

  async #agree(): Promise<void> {
    const body = { clientSoftwareName: CLIENT_ID, clientSoftwareVersion: SOFTWARE_VERSION }
    let versions: ApiVersionsResponse
    try {
      versions = await this.#apiVersions(ApiVersionsRequest.versions.last, body)
    } catch (error) {
      // Brokers before 2.4 close the connection or answer in version 0; those that answer are handled below.
      if (error instanceof ConnectionLost && this.#closed?.message.includes('closed the connection')) {
        throw new ConnectionLost(
          `${nameOf(this.address)} closed the connection: it may be no Kafka broker, or want TLS`,
        )
      }
      throw error
    }
    check(`cannot agree on versions with ${nameOf(this.address)}`, versions.errorCode)
    for (const { apiKey, minVersion, maxVersion } of versions.apiKeys) {
      this.#versions.set(apiKey, { first: minVersion, last: maxVersion })
    }
  }

  /** A broker that does not know the version answers UNSUPPORTED_VERSION in version 0, with the range it knows. */
  async #apiVersions(version: number, body: Input<typeof ApiVersionsRequest.fields>): Promise<ApiVersionsResponse> {
    const correlationId = this.#nextCorrelationId++
    const writer = this.#frame(ApiVersionsRequest, version, correlationId, body)
    const reader = await new Promise<Reader>((resolve, reject) => {
      const timer = setTimeout(
        () => this.#end(new ConnectionLost(`no answer from ${nameOf(this.address)}`)),
        this.#timeoutMs,
      )
      this.#waiting.push({ apiKey: ApiKey.ApiVersions, version, correlationId, timer, resolve, reject })
      for (const piece of endFrame(writer)) this.#socket.write(piece)
    })
    const start = reader.position
    if (reader.int16() !== ErrorCode.UNSUPPORTED_VERSION || version === 0) {
      reader.position = start
      return decoder(ApiVersionsResponse, version)(reader)
    }
    reader.position = start
    const answer = decoder(ApiVersionsResponse, 0)(reader)
    const known = answer.apiKeys.find(({ apiKey }) => apiKey === ApiKey.ApiVersions)
    return this.#apiVersions(Math.min(known?.maxVersion ?? 0, version - 1), body)
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#bufferedBytes += chunk.length
    while (this.#bufferedBytes >= FRAME_LENGTH_BYTES) {
      if (this.#chunks[0]!.length < FRAME_LENGTH_BYTES) this.#join()
      const frameBytes = this.#chunks[0]!.readInt32BE(0)
      if (frameBytes < FRAME_LENGTH_BYTES || frameBytes > FRAME_BYTES_MAX) {
        this.#end(new Unsupported(`${nameOf(this.address)} does not speak the Kafka protocol (is it a TLS port?)`))
        return
      }
      const totalBytes = FRAME_LENGTH_BYTES + frameBytes
      if (this.#bufferedBytes < totalBytes) return
      this.#join()
      const bytes = this.#chunks[0]!
      this.#chunks = bytes.length > totalBytes ? [bytes.subarray(totalBytes)] : []
      this.#bufferedBytes -= totalBytes
      this.#answer(new Reader(bytes, FRAME_LENGTH_BYTES, totalBytes, ANSWER_ELEMENTS_MAX))
    }
  }

  #join(): void {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#bufferedBytes)]
  }

  #answer(reader: Reader): void {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) return
    clearTimeout(waiting.timer)
    // Of an ApiVersions answer the body tells the version; its header is the same in all.
    try {
      const correlationId = readResponseHeader(reader, waiting.apiKey, waiting.version)
      if (correlationId === waiting.correlationId) {
        waiting.resolve(reader)
        return
      }
    } catch (error) {
      if (!(error instanceof MalformedFrame)) throw error
    }
    const error = new Unsupported(`${nameOf(this.address)} sent an answer that belongs to no request`)
    waiting.reject(error)
    this.#end(error)
  }

  #end(error: Error): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    this.#socket.destroy()
    const waiting = this.#waiting
    this.#waiting = []
    for (const { timer, reject } of waiting) {
      clearTimeout(timer)
      reject(error)
    }
  }
}

function connect(address: Address, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: address.host, port: address.port })
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new ConnectionLost(`no connection to ${nameOf(address)} within ${timeoutMs} ms`))
    }, timeoutMs)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.removeAllListeners('error')
      resolve(socket)
    })
    socket.once('error', (error) => {
      clearTimeout(timer)
      reject(lost(address, error))
    })
  })
}

/** host:port, with brackets around an IPv6 host. */
export function nameOf({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the host name cannot be looked up now',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
}

function lost(address: Address, error: Error): ConnectionLost {
  const code = 'code' in error ? String(error.code) : ''
  return new ConnectionLost(`${nameOf(address)}: ${CAUSES[code] ?? error.message}`, { cause: error })
}
