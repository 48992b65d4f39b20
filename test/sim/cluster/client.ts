// A Kafka client of the simulator: frames over simulated sockets, brokers found through metadata, errors as values to retry on.
//
// One per workload task, an actor on a host of its own. Requests are made and read with protocol/, as any client would; a request that is not
// answered in time closes its connection, so its outcome is unknown.

import type { ApiKey } from '../../../protocol/api.ts'
import { decoder, encoder } from '../../../protocol/compile.ts'
import { ErrorCode } from '../../../protocol/errors.ts'
import { beginFrame, endFrame, readResponseHeader, writeRequestHeader } from '../../../protocol/frame.ts'
import { FindCoordinatorRequest, FindCoordinatorResponse } from '../../../protocol/messages/find-coordinator.ts'
import { MetadataRequest, MetadataResponse } from '../../../protocol/messages/metadata.ts'
import { Reader } from '../../../protocol/reader.ts'
import type { Fields, Input, Message, Value } from '../../../protocol/schema.ts'
import { Writer } from '../../../protocol/writer.ts'
import type { SeededRandom } from '../random.ts'
import type { SimulatedNetwork, SimulatedSocket } from './network.ts'
import type { Actor, Scheduler } from './scheduler.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

/** A request without an answer: whether it took effect is not known, unless it was never sent. */
export class NoAnswer extends Error {
  readonly wasSent: boolean

  constructor(reason: string, wasSent: boolean) {
    super(reason)
    this.wasSent = wasSent
  }
}

interface Pending {
  resolve(bytes: Uint8Array): void
  reject(error: Error): void
}

export class ClientConnection {
  readonly address: Address
  isClosed = false
  readonly #socket: SimulatedSocket
  readonly #client: Client
  readonly #pending = new Map<number, Pending>()
  #correlationId = 0
  #input: Buffer = Buffer.alloc(0)

  constructor(client: Client, address: Address) {
    this.#client = client
    this.address = address
    this.#socket = client.network.dial(client.actor, client.host, address.host, address.port)
    client.scheduler.enter(client.actor, () =>
      this.#socket.open({
        read: (bytes) => this.#read(bytes),
        closed: (error) => this.#closed(error?.message ?? 'closed by the broker'),
      }),
    )
  }

  call<Q extends Fields, A extends Fields>(
    request: Message<Q>,
    response: Message<A>,
    apiVersion: number,
    body: Input<Q>,
    timeoutMs: number,
  ): Promise<Value<A>> {
    if (this.isClosed) return Promise.reject(new NoAnswer('the connection is closed', false))
    const apiKey = request.apiKey as ApiKey
    const correlationId = this.#send(request, apiVersion, body)
    return new Promise<Uint8Array>((resolve, reject) => {
      const timer = this.#client.scheduler.after(timeoutMs, this.#client.actor, () =>
        this.close(`no answer to API ${apiKey} in ${timeoutMs} ms`),
      )
      this.#pending.set(correlationId, {
        resolve: (bytes) => {
          timer.cancel()
          resolve(bytes)
        },
        reject: (error) => {
          timer.cancel()
          reject(error)
        },
      })
    }).then((bytes) => {
      const reader = new Reader(bytes)
      readResponseHeader(reader, apiKey, apiVersion)
      const answer = decoder(response, apiVersion)(reader)
      if (reader.remaining !== 0) throw new Error(`an answer to API ${apiKey} has ${reader.remaining} bytes left over`)
      return answer
    })
  }

  /** Sends a request that has no answer. */
  post<Q extends Fields>(request: Message<Q>, apiVersion: number, body: Input<Q>): void {
    if (!this.isClosed) this.#send(request, apiVersion, body)
  }

  close(reason = 'closed here'): void {
    if (this.isClosed) return
    this.#socket.destroy()
    this.#closed(reason)
  }

  #send<Q extends Fields>(request: Message<Q>, apiVersion: number, body: Input<Q>): number {
    const correlationId = ++this.#correlationId
    const writer = new Writer()
    beginFrame(writer)
    writeRequestHeader(writer, {
      apiKey: request.apiKey as ApiKey,
      apiVersion,
      correlationId,
      clientId: this.#client.actor.name,
    })
    encoder(request, apiVersion)(writer, body)
    this.#socket.write(endFrame(writer), () => {})
    return correlationId
  }

  #read(bytes: Buffer): boolean {
    this.#input = this.#input.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#input, bytes])
    let at = 0
    while (this.#input.length - at >= 4) {
      const length = this.#input.readInt32BE(at)
      if (this.#input.length - at - 4 < length) break
      const frame = this.#input.subarray(at + 4, at + 4 + length)
      at += 4 + length
      const correlationId = frame.readInt32BE(0)
      const pending = this.#pending.get(correlationId)
      if (pending === undefined) throw new Error(`an answer to nothing that was asked: ${correlationId}`)
      this.#pending.delete(correlationId)
      pending.resolve(frame)
    }
    if (at > 0) this.#input = this.#input.subarray(at)
    return true
  }

  #closed(reason: string): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#client.forget(this)
    for (const { reject } of this.#pending.values()) reject(new NoAnswer(reason, true))
    this.#pending.clear()
  }
}

export interface PartitionInfo {
  readonly leaderId: number
  readonly leaderEpoch: number
  readonly isr: readonly number[]
  readonly replicas: readonly number[]
}

export interface ClientOptions {
  readonly scheduler: Scheduler
  readonly network: SimulatedNetwork
  readonly random: SeededRandom
  readonly actor: Actor
  readonly host: string
  readonly bootstrap: readonly Address[]
  readonly timeoutMs: number
}

export class Client {
  readonly scheduler: Scheduler
  readonly network: SimulatedNetwork
  readonly random: SeededRandom
  readonly actor: Actor
  readonly host: string
  readonly timeoutMs: number
  readonly #bootstrap: readonly Address[]
  readonly #brokers = new Map<number, Address>()
  readonly #connections = new Map<string, ClientConnection>()
  readonly #partitions = new Map<string, PartitionInfo>()
  readonly #topicIds = new Map<string, string>()

  constructor(options: ClientOptions) {
    this.scheduler = options.scheduler
    this.network = options.network
    this.random = options.random
    this.actor = options.actor
    this.host = options.host
    this.timeoutMs = options.timeoutMs
    this.#bootstrap = options.bootstrap
  }

  get nowMs(): number {
    return this.scheduler.nowMs
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.scheduler.after(ms, this.actor, resolve))
  }

  connect(address: Address): ClientConnection {
    const key = `${address.host}:${address.port}`
    let connection = this.#connections.get(key)
    if (connection === undefined || connection.isClosed) {
      connection = new ClientConnection(this, address)
      this.#connections.set(key, connection)
    }
    return connection
  }

  forget(connection: ClientConnection): void {
    const key = `${connection.address.host}:${connection.address.port}`
    if (this.#connections.get(key) === connection) this.#connections.delete(key)
  }

  closeAll(): void {
    for (const connection of [...this.#connections.values()]) connection.close()
  }

  /** Asks any broker. @throws NoAnswer */
  any<Q extends Fields, A extends Fields>(
    request: Message<Q>,
    response: Message<A>,
    version: number,
    body: Input<Q>,
    timeoutMs = this.timeoutMs,
  ): Promise<Value<A>> {
    const addresses = [...this.#bootstrap, ...this.#brokers.values()]
    return this.connect(this.random.pick(addresses)).call(request, response, version, body, timeoutMs)
  }

  /** Asks that broker. @throws NoAnswer */
  async broker<Q extends Fields, A extends Fields>(
    nodeId: number,
    request: Message<Q>,
    response: Message<A>,
    version: number,
    body: Input<Q>,
    timeoutMs = this.timeoutMs,
  ): Promise<Value<A>> {
    const address = this.#brokers.get(nodeId)
    if (address === undefined) throw new NoAnswer(`broker ${nodeId} is not known`, false)
    return this.connect(address).call(request, response, version, body, timeoutMs)
  }

  addressOf(nodeId: number): Address | undefined {
    return this.#brokers.get(nodeId)
  }

  partition(topic: string, partition: number): PartitionInfo | undefined {
    return this.#partitions.get(`${topic}-${partition}`)
  }

  topicId(topic: string): string | undefined {
    return this.#topicIds.get(topic)
  }

  /** Number of partitions, 0 for an unknown topic. @throws NoAnswer */
  async refresh(topic: string): Promise<number> {
    const answer = await this.any(MetadataRequest, MetadataResponse, 12, {
      topics: [{ name: topic }],
      allowAutoTopicCreation: false,
    })
    for (const { nodeId, host, port } of answer.brokers) this.#brokers.set(nodeId, { host, port })
    const found = answer.topics[0]
    if (found === undefined || found.errorCode !== ErrorCode.NONE) return 0
    this.#topicIds.set(topic, found.topicId)
    for (const { partitionIndex, leaderId, leaderEpoch, isrNodes, replicaNodes } of found.partitions) {
      this.#partitions.set(`${topic}-${partitionIndex}`, {
        leaderId,
        leaderEpoch,
        isr: isrNodes,
        replicas: replicaNodes,
      })
    }
    return found.partitions.length
  }

  /** The broker that leads a partition, undefined when none does. @throws NoAnswer */
  async leaderOf(topic: string, partition: number): Promise<number | undefined> {
    if (this.partition(topic, partition) === undefined) await this.refresh(topic)
    const leaderId = this.partition(topic, partition)?.leaderId
    return leaderId === undefined || leaderId < 0 ? undefined : leaderId
  }

  forgetLeader(topic: string, partition: number): void {
    this.#partitions.delete(`${topic}-${partition}`)
  }

  /** @returns undefined when there is none now. @throws NoAnswer */
  async coordinatorOf(group: string): Promise<number | undefined> {
    const answer = await this.any(FindCoordinatorRequest, FindCoordinatorResponse, 4, {
      keyType: 0,
      coordinatorKeys: [group],
    })
    const found = answer.coordinators[0]
    if (found === undefined || found.errorCode !== ErrorCode.NONE) return undefined
    this.#brokers.set(found.nodeId, { host: found.host, port: found.port })
    return found.nodeId
  }
}
