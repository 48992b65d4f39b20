// Producers of the workload: what each sends to one partition, retried until it is acknowledged.
//
// Idempotent ones keep up to five batches on their way and send what was not acknowledged again, in order, under the same sequence numbers;
// plain ones send one batch at a time. Both give up only when the topic is gone or the run ends.

import { ErrorCode, errorName } from '../../../protocol/errors.ts'
import { InitProducerIdRequest, InitProducerIdResponse } from '../../../protocol/messages/init-producer-id.ts'
import { ProduceRequest, ProduceResponse } from '../../../protocol/messages/produce.ts'
import { encodeBatch } from '../../../protocol/records/record.ts'
import { type Client, NoAnswer } from './client.ts'
import { type History, type Lane, type PartitionKey, recordValue, Violation } from './history.ts'

export interface ProducerOptions {
  readonly client: Client
  readonly history: History
  readonly partition: PartitionKey
  readonly idempotent: boolean
  readonly acks: -1 | 1
  readonly batches: number
  readonly batchRecordsMax: number
  readonly recordBytesMax: number
  /** Pause between batches, at most. */
  readonly pauseMs: number
  isTopicGone(): boolean
}

interface Batch {
  /** Counted from 0. */
  readonly number: number
  readonly first: number
  readonly values: readonly Uint8Array[]
  readonly timestamp: number
  attempts: number
  isAcked: boolean
}

/** Errors that a producer retries on; the record may have been appended all the same. */
const RETRIED: ReadonlySet<number> = new Set([
  ErrorCode.NOT_LEADER_OR_FOLLOWER,
  ErrorCode.LEADER_NOT_AVAILABLE,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  ErrorCode.NOT_ENOUGH_REPLICAS,
  ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
  ErrorCode.REQUEST_TIMED_OUT,
  ErrorCode.KAFKA_STORAGE_ERROR,
  ErrorCode.NETWORK_EXCEPTION,
  ErrorCode.BROKER_NOT_AVAILABLE,
  ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
  ErrorCode.COORDINATOR_NOT_AVAILABLE,
  ErrorCode.NOT_CONTROLLER,
  ErrorCode.THROTTLING_QUOTA_EXCEEDED,
])

export class Producer {
  readonly lane: Lane
  isDone = false
  #producerId = -1
  #producerEpoch = -1
  readonly #options: ProducerOptions
  readonly #version: number
  #next = 0
  #made = 0
  #open: Batch[] = []

  constructor(options: ProducerOptions) {
    this.#options = options
    const { client, history, partition, idempotent } = options
    this.lane = history.lane(partition, idempotent)
    this.#version = client.random.pick([7, 8, 9, 11, 12])
  }

  async run(): Promise<void> {
    const { client, idempotent, batches, isTopicGone } = this.#options
    if (idempotent) await this.#initProducerId()
    while (!isTopicGone() && (this.#made < batches || this.#open.length > 0)) {
      const windowMax = idempotent ? 5 : 1
      // Not more than brokers remember beyond the oldest that is not acknowledged: it may be in the log, and only its answer lost.
      while (this.#made < batches && this.#made - (this.#open[0]?.number ?? this.#made) < windowMax) {
        this.#open.push(this.#make())
        if (client.random.chance(0.5)) break
      }
      const progress = await this.#sendOpen()
      await client.sleep(progress ? client.random.below(this.#options.pauseMs + 1) : 20 + client.random.below(80))
    }
    this.isDone = true
    client.closeAll()
  }

  async #initProducerId(): Promise<void> {
    const { client, isTopicGone } = this.#options
    while (!isTopicGone()) {
      try {
        const answer = await client.any(InitProducerIdRequest, InitProducerIdResponse, 4, {
          transactionalId: null,
          transactionTimeoutMs: 0,
        })
        if (answer.errorCode === ErrorCode.NONE) {
          this.#producerId = answer.producerId
          this.#producerEpoch = answer.producerEpoch
          return
        }
        if (!RETRIED.has(answer.errorCode)) {
          throw new Violation(`a producer id can be had: ${errorName(answer.errorCode)}`)
        }
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await client.sleep(20 + client.random.below(100))
    }
  }

  #make(): Batch {
    const { client, batchRecordsMax, recordBytesMax } = this.#options
    const { random } = client
    const values: Uint8Array[] = []
    const first = this.#next
    // No batch is larger than the smallest segment.
    let leftBytes = 3000
    for (let count = 1 + random.below(batchRecordsMax); count > 0 && leftBytes > 0; count--) {
      const wantedBytes = random.chance(0.05) ? random.below(recordBytesMax * 8) : random.below(recordBytesMax)
      const sizeBytes = Math.min(wantedBytes, leftBytes)
      leftBytes -= sizeBytes + 100
      values.push(recordValue(this.lane.id, this.#next++, sizeBytes))
    }
    return {
      number: this.#made++,
      first,
      values,
      timestamp: Math.floor(1_795_000_000_000 + client.nowMs),
      attempts: 0,
      isAcked: false,
    }
  }

  /** Sends everything that is not acknowledged, in order. @returns whether all of it was acknowledged now */
  async #sendOpen(): Promise<boolean> {
    const { client, partition } = this.#options
    let leader: number | undefined
    try {
      leader = await client.leaderOf(partition.topic, partition.partition)
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
    }
    if (leader === undefined) {
      client.forgetLeader(partition.topic, partition.partition)
      return false
    }
    const to = leader
    const outcomes = await Promise.all(this.#open.map((batch, at) => this.#send(to, batch, at === 0)))
    const failed = outcomes.includes(false)
    this.#open = this.#open.filter((batch) => !batch.isAcked)
    if (failed) client.forgetLeader(partition.topic, partition.partition)
    return !failed
  }

  async #send(leader: number, batch: Batch, isFirst: boolean): Promise<boolean> {
    const { client, history, partition, acks } = this.#options
    const { lane } = this
    batch.values.forEach((value, at) => {
      history.sent(lane, batch.first + at, value.length)
    })
    batch.attempts++
    const bytes = encodeBatch({
      records: batch.values.map((value, at) => ({
        key: `${batch.first + at}`,
        value,
        timestamp: batch.timestamp + at,
      })),
      producerId: this.#producerId,
      producerEpoch: this.#producerEpoch,
      baseSequence: this.#producerId < 0 ? -1 : batch.first,
    })
    let answer: ProduceResponse
    try {
      answer = await client.broker(leader, ProduceRequest, ProduceResponse, this.#version, {
        acks,
        timeoutMs: client.timeoutMs,
        topicData: [{ name: partition.topic, partitionData: [{ index: partition.partition, records: bytes }] }],
      })
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
      return false
    }
    const result = answer.responses[0]?.partitionResponses[0]
    if (result === undefined) throw new Violation('a produce request is answered for each of its partitions')
    const { errorCode, baseOffset } = result
    const isDuplicate = errorCode === ErrorCode.DUPLICATE_SEQUENCE_NUMBER && lane.idempotent
    if (errorCode === ErrorCode.NONE || isDuplicate) {
      batch.isAcked = true
      batch.values.forEach((_, at) => {
        history.acked(lane, batch.first + at, isDuplicate || baseOffset < 0 ? -1 : baseOffset + at)
      })
      return true
    }
    if (RETRIED.has(errorCode)) return false
    // The batches behind one that failed are out of order; the first of all is not, unless the broker forgot what it acknowledged.
    if (errorCode === ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER && lane.idempotent && !isFirst) return false
    throw new Violation(
      `an acknowledged sequence is not forgotten: lane ${lane.id} record ${batch.first} of ${partition.topic}-${partition.partition} gets ${errorName(errorCode)} ${result.errorMessage ?? ''}`,
    )
  }
}
