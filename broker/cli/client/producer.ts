// Writes records to one topic: batches per partition, one in flight each, sent again with the same sequence when that may help.
//
// Made by the produce command, used on its one thread. While a batch is in flight the next one fills up, so batches grow with
// the load and a single line typed at a terminal leaves at once.

import { setTimeout as sleep } from 'node:timers/promises'
import { ApiKey } from '../../../protocol/api.ts'
import { ErrorCode } from '../../../protocol/errors.ts'
import { InitProducerIdRequest, InitProducerIdResponse } from '../../../protocol/messages/init-producer-id.ts'
import { ProduceRequest, ProduceResponse } from '../../../protocol/messages/produce.ts'
import { addToSequence, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE } from '../../../protocol/records/batch.ts'
import type { Codec } from '../../../protocol/records/compression.ts'
import { encodeCompressedBatch } from '../../../protocol/records/record.ts'
import { ZERO_UUID } from '../../../protocol/schema.ts'
import { type Cluster, NoSuchItem } from './cluster.ts'
import { check, mayPass, Refused } from './errors.ts'
import { partitionOfKey } from './partitioner.ts'

/** Well below the default of max.message.bytes, 1 MiB. */
const BATCH_BYTES_MAX = 256 << 10
/** Batch header and record framing, roughly. */
const RECORD_OVERHEAD_BYTES = 24
/** What may wait to be sent before append() makes its caller wait. */
const BUFFERED_BYTES_MAX = 16 << 20
const RETRY_MS = 100
/** How long a topic that the broker is to create may take to appear. */
const CREATION_MS_MAX = 10_000
/** From here on topics are named by id. */
const PRODUCE_BY_ID_VERSION = 13

export interface OutgoingRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly { key: string; value: Uint8Array | null }[]
  /** Milliseconds since 1970. */
  readonly timestamp: number
  /** For messages: which line of the input it was. */
  readonly line: number
}

export interface ProducerOptions {
  readonly topic: string
  readonly acks: -1 | 0 | 1
  readonly compression: Codec
  /** Undefined: when acks is all and the broker can. */
  readonly idempotent: boolean | undefined
  /** Called for every batch that the broker has taken; baseOffset is -1 with acks 0. */
  onDelivered(partition: number, baseOffset: number, records: readonly OutgoingRecord[]): void
}

interface Lane {
  readonly partition: number
  records: OutgoingRecord[]
  bytes: number
  nextSequence: number
  running: boolean
}

export class Producer {
  readonly #cluster: Cluster
  readonly #options: ProducerOptions
  readonly #lanes = new Map<number, Lane>()
  #partitionCount = 0
  #producerId = NO_PRODUCER_ID
  #producerEpoch = NO_PRODUCER_EPOCH
  #bufferedBytes = 0
  #stickyPartition = 0
  #stickyBytes = 0
  #failure: unknown
  #wakeUps: (() => void)[] = []

  constructor(cluster: Cluster, options: ProducerOptions) {
    this.#cluster = cluster
    this.#options = options
  }

  /** Finds the topic (the broker may create it) and gets a producer id. @throws NoSuchItem, Refused */
  async open(): Promise<void> {
    const { topic, acks, idempotent } = this.#options
    let found: Awaited<ReturnType<Cluster['topic']>>
    try {
      const waitMs = Math.min(CREATION_MS_MAX, this.#cluster.timeoutMs)
      found = await this.#cluster.attempt(() => this.#cluster.topic(topic, { create: true }), waitMs)
    } catch (error) {
      if (error instanceof Refused && error.code === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) {
        throw new NoSuchItem(`topic ${topic} does not exist, and the broker does not create it`)
      }
      throw error
    }
    this.#partitionCount = found.partitions.length
    this.#stickyPartition = Math.floor(Math.random() * this.#partitionCount)
    if (idempotent ?? acks === -1) await this.#initProducerId(idempotent === true)
  }

  get partitionCount(): number {
    return this.#partitionCount
  }

  /**
   * Takes a record; waits while too much is on its way.
   * @param partition undefined: by key, else the same one until a batch is full
   * @throws what stopped the producer
   */
  async append(record: OutgoingRecord, partition?: number): Promise<void> {
    const bytes = recordBytes(record)
    const lane = this.#lane(partition ?? this.#choose(record, bytes))
    lane.records.push(record)
    lane.bytes += bytes
    this.#bufferedBytes += bytes
    if (!lane.running) this.#run(lane)
    if (this.#failure !== undefined) throw this.#failure
    if (this.#bufferedBytes > BUFFERED_BYTES_MAX) await this.#until(() => this.#bufferedBytes <= BUFFERED_BYTES_MAX)
  }

  /** Resolves when everything is delivered. @throws what stopped the producer */
  async flush(): Promise<void> {
    await this.#until(() => [...this.#lanes.values()].every((lane) => !lane.running))
  }

  async #until(condition: () => boolean): Promise<void> {
    while (this.#failure === undefined && !condition()) {
      await new Promise<void>((resolve) => this.#wakeUps.push(resolve))
    }
    if (this.#failure !== undefined) throw this.#failure
  }

  #wake(): void {
    const wakeUps = this.#wakeUps
    this.#wakeUps = []
    for (const wakeUp of wakeUps) wakeUp()
  }

  #choose(record: OutgoingRecord, bytes: number): number {
    if (record.key !== null) return partitionOfKey(record.key, this.#partitionCount)
    this.#stickyBytes += bytes
    if (this.#stickyBytes > BATCH_BYTES_MAX) {
      this.#stickyBytes = bytes
      this.#stickyPartition = (this.#stickyPartition + 1) % this.#partitionCount
    }
    return this.#stickyPartition
  }

  #lane(partition: number): Lane {
    let lane = this.#lanes.get(partition)
    if (lane === undefined) {
      if (partition >= this.#partitionCount) {
        throw new NoSuchItem(
          `topic ${this.#options.topic} has no partition ${partition}, it has ${this.#partitionCount}`,
        )
      }
      lane = { partition, records: [], bytes: 0, nextSequence: 0, running: false }
      this.#lanes.set(partition, lane)
    }
    return lane
  }

  #run(lane: Lane): void {
    lane.running = true
    // Later in this turn, so that all lines of one read of the input share a batch.
    setImmediate(() => {
      this.#drain(lane)
        .catch((error: unknown) => {
          this.#failure ??= error
        })
        .finally(() => {
          lane.running = false
          this.#wake()
        })
    })
  }

  async #drain(lane: Lane): Promise<void> {
    while (lane.records.length > 0 && this.#failure === undefined) {
      const [records, bytes] = takeBatch(lane)
      await this.#deliver(lane, records)
      this.#bufferedBytes -= bytes
      this.#wake()
    }
  }

  async #deliver(lane: Lane, records: readonly OutgoingRecord[]): Promise<void> {
    const deadlineMs = performance.now() + this.#cluster.timeoutMs
    for (;;) {
      try {
        const baseOffset = await this.#send(lane, records)
        if (this.#producerId !== NO_PRODUCER_ID) lane.nextSequence = addToSequence(lane.nextSequence, records.length)
        this.#options.onDelivered(lane.partition, baseOffset, records)
        return
      } catch (error) {
        const tooLarge = error instanceof Refused && error.code === ErrorCode.MESSAGE_TOO_LARGE
        if (tooLarge && records.length > 1) {
          const half = records.length >> 1
          await this.#deliver(lane, records.slice(0, half))
          await this.#deliver(lane, records.slice(half))
          return
        }
        if (!mayPass(error) || performance.now() + RETRY_MS > deadlineMs) throw error
        this.#cluster.forgetTopic(this.#options.topic)
        await sleep(RETRY_MS)
      }
    }
  }

  async #send(lane: Lane, records: readonly OutgoingRecord[]): Promise<number> {
    const { topic, acks, compression } = this.#options
    const batch = await encodeCompressedBatch({
      records,
      compression,
      producerId: this.#producerId,
      producerEpoch: this.#producerEpoch,
      baseSequence: this.#producerId === NO_PRODUCER_ID ? NO_SEQUENCE : lane.nextSequence,
    })
    const leader = await this.#cluster.leaderOf(topic, lane.partition)
    const { topicId } = await this.#cluster.topic(topic)
    const connection = await this.#cluster.node(leader)
    const topicData = {
      name: topic,
      topicId,
      partitionData: [{ index: lane.partition, records: batch }],
    }
    const body = { acks, timeoutMs: this.#cluster.timeoutMs, topicData: [topicData] }
    const options = {
      timeoutMs: 2 * this.#cluster.timeoutMs,
      versionMax: topicId === ZERO_UUID ? PRODUCE_BY_ID_VERSION - 1 : undefined,
    }
    if (acks === 0) {
      await connection.send(ProduceRequest, body, options)
      return -1
    }
    const answer = await connection.request(ProduceRequest, ProduceResponse, body, options)
    const part = answer.responses[0]?.partitionResponses[0]
    if (part === undefined) throw new Refused(this.#what(records), ErrorCode.UNKNOWN_SERVER_ERROR)
    // The broker has it: an earlier try arrived and only its answer was lost.
    if (part.errorCode === ErrorCode.DUPLICATE_SEQUENCE_NUMBER) return part.baseOffset
    check(this.#what(records), part.errorCode, part.recordErrors[0]?.batchIndexErrorMessage ?? part.errorMessage)
    return part.baseOffset
  }

  #what(records: readonly OutgoingRecord[]): string {
    const first = records[0]?.line ?? 0
    const last = records.at(-1)?.line ?? 0
    const lines = first === last ? `record ${first}` : `records ${first} to ${last}`
    return `cannot write ${lines} to topic ${this.#options.topic}`
  }

  async #initProducerId(required: boolean): Promise<void> {
    await this.#cluster.attempt(async () => {
      const connection = await this.#cluster.any()
      if (!required && !connection.versions.has(ApiKey.InitProducerId)) return
      const answer = await connection.request(InitProducerIdRequest, InitProducerIdResponse, {
        transactionalId: null,
        transactionTimeoutMs: 60_000,
      })
      check('cannot become an idempotent producer', answer.errorCode)
      this.#producerId = answer.producerId
      this.#producerEpoch = answer.producerEpoch
    })
  }
}

/** Takes records for one batch off a lane: as many as fit, one at least. */
function takeBatch(lane: Lane): [records: OutgoingRecord[], bytes: number] {
  let bytes = 0
  let count = 0
  while (count < lane.records.length) {
    const next = recordBytes(lane.records[count]!)
    if (count > 0 && bytes + next > BATCH_BYTES_MAX) break
    bytes += next
    count++
  }
  const records = count === lane.records.length ? lane.records : lane.records.slice(0, count)
  lane.records = count === lane.records.length ? [] : lane.records.slice(count)
  lane.bytes -= bytes
  return [records, bytes]
}

function recordBytes({ key, value, headers }: OutgoingRecord): number {
  let bytes = RECORD_OVERHEAD_BYTES + (key?.length ?? 0) + (value?.length ?? 0)
  for (const header of headers) bytes += header.key.length + (header.value?.length ?? 0) + 2
  return bytes
}
