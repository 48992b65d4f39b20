// Produce: the batches of a request to the shards that own their partitions, the answer when the last one is durable.
//
// Runs on the connection's shard. The batches are views of the frame and are handed on before handle() returns: a partition of this
// shard copies its batch to the journal at once, another shard gets it by reference. Checks that need only the request or the metadata are
// made here, in Kafka's order; those that need the batch or the log are made in partition.ts.

import { ErrorCode } from '../../protocol/errors.ts'
import { ProduceRequest, ProduceResponse } from '../../protocol/messages/produce.ts'
import { compressionOf, isTransactional, type PayloadShape, payloadShape } from '../../protocol/records/batch.ts'
import { Codec } from '../../protocol/records/compression.ts'
import type { Timer } from '../environment.ts'
import {
  type AppendResult,
  type AppendSink,
  appendRefused,
  type LeaderHint,
  NO_LEADER,
  type RecordError,
} from '../partition/append.ts'
import type { DataShard } from '../shard/context.ts'
import { type Api, type CallContext, NO_ANSWER } from './api.ts'
import { type BrokerAddress, isHosted, leaderHint, nodeEndpoints } from './brokers.ts'

interface PartitionResponse {
  readonly index: number
  errorCode: ErrorCode
  baseOffset: number
  logAppendTimeMs: number
  logStartOffset: number
  recordErrors: readonly RecordError[]
  errorMessage: string | null
  currentLeader: LeaderHint
}

interface TopicResponse {
  readonly name: string
  readonly topicId: string
  readonly partitionResponses: PartitionResponse[]
}

interface Response {
  readonly responses: TopicResponse[]
  readonly throttleTimeMs: number
  nodeEndpoints: BrokerAddress[]
}

type Batch = ProduceRequest['topicData'][number]['partitionData'][number]
type TopicBatches = ProduceRequest['topicData'][number]

const ADMIN_CLIENT_ID = '__admin_client'
const NO_RECORD_ERRORS: readonly RecordError[] = []
/** From here on an answer can say who leads instead. */
const NAMES_LEADER_SINCE = 10

export const produce: Api<ProduceRequest, Response> = {
  request: ProduceRequest,
  response: ProduceResponse,
  handle(shard, call, request) {
    const work = new ProduceWork(shard as DataShard, call, request)
    return work.start()
  },
}

class ProduceWork implements AppendSink {
  readonly #shard: DataShard
  readonly #call: CallContext
  readonly #request: ProduceRequest
  readonly #response: Response
  readonly #slots: PartitionResponse[] = []
  /** Raft group of each slot, -1 without. */
  readonly #groupIds: number[] = []
  readonly #hinted = new Set<number>()
  #open = 1
  #resolve: ((response: Response) => void) | undefined
  #timer: Timer | undefined

  constructor(shard: DataShard, call: CallContext, request: ProduceRequest) {
    this.#shard = shard
    this.#call = call
    this.#request = request
    this.#response = { responses: [], throttleTimeMs: 0, nodeEndpoints: [] }
  }

  start(): Response | Promise<Response> | typeof NO_ANSWER {
    const { acks, topicData, timeoutMs } = this.#request
    const refusal = this.#refusalOfAll()
    const { frameMemory } = this.#shard
    for (const topic of topicData) {
      const partitionResponses: PartitionResponse[] = []
      const shown: TopicResponse = { name: topic.name, topicId: topic.topicId, partitionResponses }
      this.#response.responses.push(shown)
      const last = lastOfEach(topic.partitionData)
      for (const batch of last) {
        const partition: PartitionResponse = {
          index: batch.index,
          errorCode: ErrorCode.NONE,
          baseOffset: -1,
          logAppendTimeMs: -1,
          logStartOffset: -1,
          recordErrors: NO_RECORD_ERRORS,
          errorMessage: null,
          currentLeader: NO_LEADER,
        }
        partitionResponses.push(partition)
        const slot = this.#slots.push(partition) - 1
        this.#groupIds.push(-1)
        this.#open++
        const refused = refusal ?? this.#append(topic, batch, slot, frameMemory)
        if (refused !== undefined) this.appended(slot, refused)
      }
    }
    this.#open--
    if (acks === 0) return NO_ANSWER
    if (this.#open === 0) return this.#finished()
    if (timeoutMs > 0) this.#timer = this.#shard.environment.clock.after(timeoutMs, () => this.#timedOut())
    return new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** @returns the refusal, or undefined when the batch is on its way */
  #append(topic: TopicBatches, batch: Batch, slot: number, memory: DataShard['frameMemory']): AppendResult | undefined {
    const { image } = this.#shard
    const byId = this.#call.version >= 13
    const known = byId ? image.topicById(topic.topicId) : image.topicByName(topic.name)
    if (byId && known === undefined) return appendRefused(ErrorCode.UNKNOWN_TOPIC_ID)
    const partition = known?.partitions[batch.index]
    if (known === undefined || partition === undefined) return appendRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    const shape = shapeOf(batch.records)
    if (shape.kind === 'invalid') return appendRefused(ErrorCode.INVALID_RECORD, shape.reason)
    if (shape.kind === 'corrupt') return appendRefused(ErrorCode.CORRUPT_MESSAGE, shape.reason)
    if (this.#call.version < 7 && compressionOf(shape.batch, 0) === Codec.ZSTD) {
      return appendRefused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    }
    const { acks } = this.#request
    if (acks < -1 || acks > 1) return appendRefused(ErrorCode.INVALID_REQUIRED_ACKS)
    if (known.isInternal && this.#call.clientId !== ADMIN_CLIENT_ID) {
      return appendRefused(ErrorCode.INVALID_TOPIC_EXCEPTION)
    }
    if (isTransactional(shape.batch, 0)) {
      return appendRefused(ErrorCode.INVALID_TXN_STATE, 'This broker does not serve transactions yet.')
    }
    this.#groupIds[slot] = partition.groupId
    if (!isHosted(this.#shard, partition)) return appendRefused(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    this.#shard.data.append(partition.groupId, shape.batch, acks === -1, memory, this, slot)
    return undefined
  }

  /** What refuses the request as a whole: it is looked for in all batches before any of them is written. */
  #refusalOfAll(): AppendResult | undefined {
    const { topicData, transactionalId } = this.#request
    for (const topic of topicData) {
      for (const { records } of topic.partitionData) {
        const shape = shapeOf(records)
        if (shape.kind === 'corrupt') return appendRefused(ErrorCode.CORRUPT_MESSAGE, shape.reason)
        if (shape.kind === 'batch' && transactionalId === null && isTransactional(shape.batch, 0)) {
          return appendRefused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        }
      }
    }
    return undefined
  }

  appended(slot: number, result: AppendResult): void {
    const shown = this.#slots[slot]!
    if (this.#request.acks === 0) {
      if (result.error !== ErrorCode.NONE) {
        this.#shard.closeConnection(this.#call.connectionId, `a batch sent with acks=0 was refused (${result.error})`)
      }
      return
    }
    shown.errorCode = result.error
    shown.baseOffset = result.baseOffset
    shown.logAppendTimeMs = result.logAppendTimeMs
    shown.logStartOffset = result.logStartOffset
    if (result.error !== ErrorCode.NONE) {
      shown.errorMessage = result.message
      shown.recordErrors = result.recordErrors
      if (result.error === ErrorCode.NOT_LEADER_OR_FOLLOWER && this.#call.version >= NAMES_LEADER_SINCE) {
        shown.currentLeader = leaderHint(this.#shard, this.#groupIds[slot]!, result.leader)
        if (shown.currentLeader.leaderId >= 0) this.#hinted.add(shown.currentLeader.leaderId)
      }
    }
    if (--this.#open === 0) this.#resolve?.(this.#finished())
  }

  #finished(): Response {
    this.#timer?.cancel()
    if (this.#hinted.size > 0) {
      this.#response.nodeEndpoints = nodeEndpoints(this.#shard, this.#call.listenerName, this.#hinted)
    }
    return this.#response
  }

  /** The data stays in the log; only the answer stops waiting for it. */
  #timedOut(): void {
    const resolve = this.#resolve
    if (resolve === undefined || this.#open === 0) return
    this.#resolve = undefined
    for (const shown of this.#slots) {
      if (shown.errorCode === ErrorCode.NONE && shown.baseOffset === -1) shown.errorCode = ErrorCode.REQUEST_TIMED_OUT
    }
    resolve(this.#finished())
  }
}

const NO_RECORDS: PayloadShape = { kind: 'invalid', reason: 'the request holds no records' }

function shapeOf(records: Uint8Array | null): PayloadShape {
  return records === null ? NO_RECORDS : payloadShape(records)
}

/** Of a partition named twice only the last entry is written, as Kafka does. */
function lastOfEach(batches: readonly Batch[]): readonly Batch[] {
  if (batches.length < 2) return batches
  const byIndex = new Map<number, Batch>()
  for (const batch of batches) byIndex.set(batch.index, batch)
  return byIndex.size === batches.length ? batches : [...byIndex.values()]
}
