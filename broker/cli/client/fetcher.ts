// Reads records from partitions: one fetch in flight per leader, whoever answers first is handed out first.
//
// Made by the consume command, used on its one thread. It knows positions only; what is to be read, and how far, is said by
// the caller. Fetches carry no session, so that every request says all there is to say.

import { setTimeout as sleep } from 'node:timers/promises'
import { ErrorCode } from '../../../protocol/errors.ts'
import { FetchRequest, FetchResponse, type PartitionData } from '../../../protocol/messages/fetch.ts'
import {
  baseOffsetOf,
  batchDefect,
  completeBatchBytes,
  isControl,
  isTransactional,
  lastOffsetOf,
  magicOf,
  nextOffsetOf,
  producerIdOf,
} from '../../../protocol/records/batch.ts'
import { CompressionError } from '../../../protocol/records/compression.ts'
import { ControlType, decodeEndTransactionMarker } from '../../../protocol/records/control.ts'
import { type DecodedRecord, decodeBatch, MalformedRecords } from '../../../protocol/records/record.ts'
import { ZERO_UUID } from '../../../protocol/schema.ts'
import { type Cluster, partitionKey, type TopicPartition } from './cluster.ts'
import { mayPass, Refused } from './errors.ts'
import { EARLIEST, listOffsets, READ_COMMITTED } from './offsets.ts'

const MAX_WAIT_MS = 500
const PARTITION_BYTES_MAX = 1 << 20
const ANSWER_BYTES_MAX = 16 << 20
/** Decompressed, of one batch. */
const PAYLOAD_BYTES_MAX = 256 << 20
const RETRY_MS = 100
const FETCH_BY_ID_VERSION = 13

export interface Fetched extends TopicPartition {
  readonly records: readonly DecodedRecord[]
  /** Where reading goes on, also past records that are not handed out. */
  readonly nextOffset: number
  /** First offset that is not readable yet. */
  readonly highWatermark: number
}

export interface FetcherOptions {
  readonly isolationLevel: number
  /** The position was no longer, or not yet, in the partition, and reading goes on elsewhere. */
  onReset(partition: TopicPartition, fromOffset: number, startOffset: number): void
}

interface Position extends TopicPartition {
  offset: number
}

/** What is wrong with records that a broker sent: nothing the user can mend, so only where it is. */
export class DamagedRecords extends Error {
  constructor(partition: TopicPartition, offset: number, reason: string) {
    super(`${partition.topic}, partition ${partition.partition}: the batch at offset ${offset} is damaged: ${reason}`)
    this.name = 'DamagedRecords'
  }
}

export class Fetcher {
  readonly #cluster: Cluster
  readonly #options: FetcherOptions
  #positions = new Map<string, Position>()
  /** By leader. */
  readonly #inFlight = new Map<number, Promise<{ leader: number; fetched: Fetched[] }>>()
  #failingSinceMs: number | undefined

  constructor(cluster: Cluster, options: FetcherOptions) {
    this.#cluster = cluster
    this.#options = options
  }

  /** Reads these partitions from now on, and no others. */
  assign(positions: readonly (TopicPartition & { offset: number })[]): void {
    this.#positions = new Map(
      positions.map((position) => [partitionKey(position.topic, position.partition), { ...position }]),
    )
  }

  /** Stops reading a partition. */
  drop(partition: TopicPartition): void {
    this.#positions.delete(partitionKey(partition.topic, partition.partition))
  }

  get partitionCount(): number {
    return this.#positions.size
  }

  /**
   * Waits for the first leader that answers, half a second at most.
   * @returns what it sent, by partition; empty when there is nothing new
   * @throws Refused, NoSuchItem, DamagedRecords, or what kept failing for the cluster's timeout
   */
  async poll(): Promise<Fetched[]> {
    try {
      for (const [leader, positions] of await this.#cluster.byLeader([...this.#positions.values()])) {
        if (!this.#inFlight.has(leader)) this.#inFlight.set(leader, this.#fetch(leader, positions))
      }
      if (this.#inFlight.size === 0) {
        await sleep(RETRY_MS)
        return []
      }
      const { leader, fetched } = await Promise.race(this.#inFlight.values())
      this.#inFlight.delete(leader)
      this.#failingSinceMs = undefined
      return fetched
    } catch (error) {
      if (!mayPass(error)) throw error
      const nowMs = performance.now()
      this.#failingSinceMs ??= nowMs
      if (nowMs - this.#failingSinceMs > this.#cluster.timeoutMs) throw error
      for (const { topic } of this.#positions.values()) this.#cluster.forgetTopic(topic)
      await sleep(RETRY_MS)
      return []
    }
  }

  #fetch(leader: number, positions: readonly Position[]): Promise<{ leader: number; fetched: Fetched[] }> {
    const fetching = this.#fetchFrom(leader, positions).catch((error: unknown) => {
      this.#inFlight.delete(leader)
      throw error
    })
    // Lost in a race that another one won: its failure shows again with the next fetch.
    fetching.catch(() => {})
    return fetching
  }

  async #fetchFrom(leader: number, positions: readonly Position[]): Promise<{ leader: number; fetched: Fetched[] }> {
    const asked = positions.map((position) => ({ ...position }))
    const topics = new Map<string, { topicId: string; partitions: Position[] }>()
    const names = new Map<string, string>()
    let byId = true
    for (const position of asked) {
      let topic = topics.get(position.topic)
      if (topic === undefined) {
        const { topicId } = await this.#cluster.topic(position.topic)
        if (topicId === ZERO_UUID) byId = false
        names.set(topicId, position.topic)
        topics.set(position.topic, (topic = { topicId, partitions: [] }))
      }
      topic.partitions.push(position)
    }
    const connection = await this.#cluster.node(leader)
    const answer = await connection.request(
      FetchRequest,
      FetchResponse,
      {
        maxWaitMs: MAX_WAIT_MS,
        minBytes: 1,
        maxBytes: ANSWER_BYTES_MAX,
        isolationLevel: this.#options.isolationLevel,
        topics: [...topics].map(([topic, { topicId, partitions }]) => ({
          topic,
          topicId,
          partitions: partitions.map(({ partition, offset }) => ({
            partition,
            fetchOffset: offset,
            partitionMaxBytes: PARTITION_BYTES_MAX,
          })),
        })),
      },
      { timeoutMs: MAX_WAIT_MS + this.#cluster.timeoutMs, versionMax: byId ? undefined : FETCH_BY_ID_VERSION - 1 },
    )
    if (answer.errorCode !== ErrorCode.NONE) throw new Refused('cannot read', answer.errorCode)
    const fetched: Fetched[] = []
    for (const { topic, topicId, partitions } of answer.responses) {
      const name = names.get(topicId) ?? topic
      for (const data of partitions) {
        const before = asked.find((position) => position.topic === name && position.partition === data.partitionIndex)
        const part = before === undefined ? undefined : await this.#accept(before, data)
        if (part !== undefined) fetched.push(part)
      }
    }
    return { leader, fetched }
  }

  /** Undefined when the answer is about a position that is no longer the one to read from. */
  async #accept(asked: Position, data: PartitionData): Promise<Fetched | undefined> {
    const position = this.#positions.get(partitionKey(asked.topic, asked.partition))
    if (position === undefined || position.offset !== asked.offset) return undefined
    if (data.errorCode === ErrorCode.OFFSET_OUT_OF_RANGE) {
      const starts = await listOffsets(this.#cluster, [asked], EARLIEST)
      const startOffset = starts.get(partitionKey(asked.topic, asked.partition)) ?? 0
      this.#options.onReset(asked, asked.offset, startOffset)
      position.offset = startOffset
      return undefined
    }
    if (data.errorCode !== ErrorCode.NONE) {
      throw new Refused(`cannot read ${asked.topic}, partition ${asked.partition}`, data.errorCode)
    }
    const { records, nextOffset } = await readBatches(asked, data, this.#options.isolationLevel)
    position.offset = nextOffset
    const { topic, partition } = asked
    return { topic, partition, records, nextOffset, highWatermark: data.highWatermark }
  }
}

/** Decodes what was fetched: without what precedes the position, control batches, and aborted transactions when asked so. */
async function readBatches(
  asked: Position,
  data: PartitionData,
  isolationLevel: number,
): Promise<{ records: DecodedRecord[]; nextOffset: number }> {
  const bytes = data.records ?? new Uint8Array(0)
  const aborted = (data.abortedTransactions ?? []).sort((left, right) => left.firstOffset - right.firstOffset)
  const abortedProducers = new Set<number>()
  const records: DecodedRecord[] = []
  let nextOffset = asked.offset
  if (bytes.length > 16 && magicOf(bytes, 0) < 2) {
    throw new DamagedRecords(asked, asked.offset, 'it has the format of brokers before 0.11, which is not read')
  }
  for (let at = 0, size = 0; (size = completeBatchBytes(bytes, at, bytes.length)) > 0; at += size) {
    const defect = batchDefect(bytes, at, bytes.length)
    if (defect !== undefined) throw new DamagedRecords(asked, baseOffsetOf(bytes, at), defect)
    const lastOffset = lastOffsetOf(bytes, at)
    while (aborted[0] !== undefined && aborted[0].firstOffset <= lastOffset) {
      abortedProducers.add(aborted.shift()!.producerId)
    }
    if (isControl(bytes, at)) {
      const ended = decodeEndTransactionMarker(bytes, at)
      if (ended?.type === ControlType.ABORT) abortedProducers.delete(producerIdOf(bytes, at))
    } else if (
      isolationLevel !== READ_COMMITTED ||
      !isTransactional(bytes, at) ||
      !abortedProducers.has(producerIdOf(bytes, at))
    ) {
      for (const record of await decoded(asked, bytes, at)) if (record.offset >= asked.offset) records.push(record)
    }
    nextOffset = Math.max(nextOffset, nextOffsetOf(bytes, at))
  }
  return { records, nextOffset }
}

async function decoded(partition: TopicPartition, bytes: Uint8Array, at: number): Promise<DecodedRecord[]> {
  try {
    return await decodeBatch(bytes, at, PAYLOAD_BYTES_MAX)
  } catch (error) {
    if (error instanceof MalformedRecords || error instanceof CompressionError) {
      throw new DamagedRecords(partition, baseOffsetOf(bytes, at), error.message)
    }
    throw error
  }
}
