// One partition replica: Kafka's meaning of a log. Appends with idempotence, reads below the high watermark, offsets by time.
//
// Owned by one shard and touched only from its thread. Bytes and durability are the GroupLog's, agreement is the Replica's (Raft); here
// stands what a producer or consumer is told. An append is answered when its last offset is committed; answers leave in offset order.

import { ErrorCode } from '../../protocol/errors.ts'
import { invariant } from '../../protocol/invariant.ts'
import {
  baseOffsetOf,
  compressionOf,
  hasLogAppendTime,
  lastOffsetDeltaOf,
  leaderEpochOf,
  maxTimestampOf,
  producerIdOf,
  sizeBytesOf,
} from '../../protocol/records/batch.ts'
import { Codec, decompress, isCodec } from '../../protocol/records/compression.ts'
import { findMaxTimestampRecord, findRecordByTimestamp, payloadOf } from '../../protocol/records/record.ts'
import { DiskError } from '../../storage/disk.ts'
import type { GroupLog } from '../../storage/log.ts'
import type { ReadResult } from '../../storage/read-result.ts'
import type { Clock, Logger } from '../environment.ts'
import type { Replica, ReplicaOwner } from '../replication/replica.ts'
import type { TopicConfig } from '../topic-config.ts'
import { type AppendResult, type AppendSink, appendDone, appendRefused } from './append.ts'
import { ProducerState } from './producer-state.ts'
import { type PartitionRead, type PartitionReadResult, readEmpty, readRefused } from './read.ts'
import { type ProduceRules, type ValidationOutcome, validateBatch } from './validate.ts'

/** Hears once when a partition it watches has moved: more to read, a new leader, deletion. */
export interface Watcher {
  moved(slot: number): void
}

interface Watch {
  readonly watcher: Watcher
  readonly slot: number
}

/** An append whose batch is in the journal and not yet committed. */
interface Waiting {
  readonly endOffset: number
  readonly sink: AppendSink
  readonly slot: number
  readonly baseOffset: number
  readonly logAppendTimeMs: number
}

/** An append that could not be made at once: something asynchronous stands before it. */
interface Queued {
  readonly batch: Uint8Array
  readonly sink: AppendSink
  readonly slot: number
  outcome: ValidationOutcome | Promise<ValidationOutcome> | undefined
}

/** What the partitions of a shard share. */
export interface PartitionHost {
  readonly clock: Clock
  readonly logger: Logger
  /** KAFKA_STORAGE_ERROR while true: the disk failed or is nearly full. */
  readonly refusesWrites: boolean
  /** Whether the journal takes so many bytes now; after a no, onRoom() calls when it may again. */
  canAccept(bytes: number): boolean
  onRoom(call: () => void): void
  /**
   * Bytes that reads may still hold until their sockets have taken them: clients that do not read must not pin the whole
   * memory. Nothing is read when it is 0 or less.
   */
  readonly readBytesLeft: number
  /** So many bytes are held by a read, or, negative, no longer. */
  lent(bytes: number): void
  /** So many bytes go into the log now: counted against the room on the disk. */
  appending(bytes: number): void
  /** What canAccept() would never say yes to: the shard's memory is too small for it. */
  readonly batchBytesMax: number
  readonly producerIdExpirationMs: number
  /** Decompressed bytes that the shard is willing to look at for one batch. */
  readonly decompressedBytesMax: number
}

export interface TimestampOffset {
  readonly timestampMs: number
  readonly offset: number
  readonly leaderEpoch: number
}

const NOT_FOUND: TimestampOffset = { timestampMs: -1, offset: -1, leaderEpoch: -1 }
const EMPTY_WATCHES: Watch[] = []

export class Partition implements ReplicaOwner {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly groupId: number
  readonly log: GroupLog
  readonly #host: PartitionHost
  #replica: Replica | undefined
  #rules: ProduceRules
  readonly #producers: ProducerState
  #highWatermark = 0
  #waiting: Waiting[] = []
  #waitingAt = 0
  #queue: Queued[] | undefined
  #watches: Watch[] = EMPTY_WATCHES
  #isDeleted = false

  constructor(
    identity: { topic: string; topicId: string; partition: number },
    log: GroupLog,
    config: TopicConfig,
    host: PartitionHost,
  ) {
    this.topic = identity.topic
    this.topicId = identity.topicId
    this.partition = identity.partition
    this.groupId = log.groupId
    this.log = log
    this.#host = host
    this.#rules = rulesOf(config, host)
    this.#producers = new ProducerState({ expirationMs: host.producerIdExpirationMs })
    this.#highWatermark = log.committedOffset
    if (log.snapshot !== undefined) this.#producers.restore(log.snapshot)
    // The snapshot that we started from may lie above what storage alone knew to be committed.
    const restoredOffset = this.#producers.coveredOffset
    log.snapshotProvider = () => this.#producers.snapshot(Math.max(log.committedOffset, restoredOffset))
  }

  /** Brings the producers' state up to what the journal holds beyond the snapshot. */
  replayBatch(bytes: Uint8Array, at: number): void {
    const baseOffset = baseOffsetOf(bytes, at)
    if (baseOffset >= this.#producers.coveredOffset) this.#producers.apply(bytes, at, baseOffset)
  }

  attach(replica: Replica): void {
    this.#replica = replica
  }

  get isLeader(): boolean {
    return this.#replica?.isLeader === true
  }

  get leaderEpoch(): number {
    return this.#replica?.term ?? -1
  }

  get highWatermark(): number {
    return this.#highWatermark
  }

  /** No transactions yet: everything committed is stable. */
  get lastStableOffset(): number {
    return this.#highWatermark
  }

  get logStartOffset(): number {
    return this.log.logStartOffset
  }

  configure(config: TopicConfig): void {
    this.#rules = rulesOf(config, this.#host)
  }

  // Appends

  /**
   * Appends one batch. The bytes are needed during the call only.
   * @param batch complete, of magic 2; everything else about it is checked here
   */
  append(batch: Uint8Array, sink: AppendSink, slot: number): void {
    if (batch.length > this.#host.batchBytesMax) {
      sink.appended(
        slot,
        appendRefused(ErrorCode.MESSAGE_TOO_LARGE, 'the batch is too large for the memory of a shard'),
      )
      return
    }
    if (this.#queue !== undefined || !this.#host.canAccept(batch.length)) {
      // Not slice(): of a Buffer that would be another view of the bytes that are about to change.
      this.#enqueue({ batch: new Uint8Array(batch), sink, slot, outcome: undefined })
      return
    }
    const refusal = this.#refusal()
    if (refusal !== undefined) {
      sink.appended(slot, refusal)
      return
    }
    const outcome = validateBatch(batch, this.#rules, this.#host.clock.nowMs())
    if (outcome instanceof Promise) {
      // The validation works on its own copy of what it needs; the queue keeps the order of the batches behind it.
      this.#enqueue({ batch, sink, slot, outcome })
      return
    }
    this.#appendValidated(outcome, sink, slot)
  }

  #refusal(): AppendResult | undefined {
    if (this.#isDeleted) return appendRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if (this.#host.refusesWrites) return appendRefused(ErrorCode.KAFKA_STORAGE_ERROR)
    if (this.isLeader) return undefined
    return { ...appendRefused(ErrorCode.NOT_LEADER_OR_FOLLOWER), leaderEpoch: this.leaderEpoch }
  }

  #enqueue(queued: Queued): void {
    if (this.#queue !== undefined) {
      this.#queue.push(queued)
      return
    }
    this.#queue = [queued]
    void this.#workQueue(this.#queue)
  }

  /** One at a time and in order, until nothing waits any more. */
  async #workQueue(queue: Queued[]): Promise<void> {
    for (let at = 0; at < queue.length; at++) {
      const queued = queue[at]!
      while (!this.#host.canAccept(queued.batch.length)) {
        await new Promise<void>((resolve) => this.#host.onRoom(resolve))
      }
      const refusal = this.#refusal()
      if (refusal !== undefined) {
        queued.sink.appended(queued.slot, refusal)
        continue
      }
      const outcome = await (queued.outcome ?? validateBatch(queued.batch, this.#rules, this.#host.clock.nowMs()))
      const late = this.#refusal()
      if (late !== undefined) queued.sink.appended(queued.slot, late)
      else this.#appendValidated(outcome, queued.sink, queued.slot)
    }
    this.#queue = undefined
  }

  #appendValidated(outcome: ValidationOutcome, sink: AppendSink, slot: number): void {
    if (outcome.error !== ErrorCode.NONE) {
      const start = outcome.tellsLogStart ? this.log.logStartOffset : -1
      sink.appended(slot, appendRefused(outcome.error, outcome.reason, start, outcome.recordErrors))
      return
    }
    const { batch, logAppendTimeMs } = outcome
    if (producerIdOf(batch, 0) >= 0) {
      const check = this.#producers.check(batch, 0)
      if (check.kind === 'duplicate') {
        const endOffset = Math.min(check.baseOffset + lastOffsetDeltaOf(batch, 0) + 1, this.log.logEndOffset)
        this.#wait(endOffset, sink, slot, check.baseOffset, check.timestampMs)
        return
      }
      if (check.kind === 'error') {
        sink.appended(slot, appendRefused(check.error, check.reason, this.log.logStartOffset))
        return
      }
    }
    const baseOffset = this.#propose(batch, logAppendTimeMs)
    this.#wait(baseOffset + lastOffsetDeltaOf(batch, 0) + 1, sink, slot, baseOffset, logAppendTimeMs)
  }

  #propose(batch: Uint8Array, logAppendTimeMs: number): number {
    const replica = this.#replica
    invariant(replica !== undefined, 'a partition that appends has a replica', this.groupId)
    const baseOffset = this.log.logEndOffset
    this.#host.appending(batch.length)
    if (producerIdOf(batch, 0) >= 0) this.#producers.apply(batch, 0, baseOffset, logAppendTimeMs)
    replica.proposeBatch(batch, lastOffsetDeltaOf(batch, 0) + 1, baseOffset, logAppendTimeMs)
    return baseOffset
  }

  #wait(endOffset: number, sink: AppendSink, slot: number, baseOffset: number, logAppendTimeMs: number): void {
    if (endOffset <= this.#highWatermark && this.#waitingAt === this.#waiting.length) {
      sink.appended(slot, appendDone(baseOffset, logAppendTimeMs, this.log.logStartOffset, this.leaderEpoch))
      return
    }
    this.#waiting.push({ endOffset, sink, slot, baseOffset, logAppendTimeMs })
  }

  /** Appends records of the broker itself (group coordinator) as one batch; the same durability, no client's rules. */
  appendInternal(batch: Uint8Array, sink: AppendSink, slot: number): void {
    if (this.#queue !== undefined || !this.#host.canAccept(batch.length)) {
      const outcome: ValidationOutcome = { error: ErrorCode.NONE, batch, logAppendTimeMs: -1 }
      this.#enqueue({ batch, sink, slot, outcome })
      return
    }
    const refusal = this.#refusal()
    if (refusal !== undefined) {
      sink.appended(slot, refusal)
      return
    }
    const baseOffset = this.#propose(batch, -1)
    this.#wait(baseOffset + lastOffsetDeltaOf(batch, 0) + 1, sink, slot, baseOffset, -1)
  }

  // From the replica

  leading(): void {
    this.#moved()
  }

  /** Entries below `offset` (exclusive) are committed. */
  committed(offset: number): void {
    invariant(offset >= this.#highWatermark, 'the high watermark never moves back', offset, this.#highWatermark)
    if (offset === this.#highWatermark) return
    this.#highWatermark = offset
    this.#producers.committed(offset)
    const waiting = this.#waiting
    while (this.#waitingAt < waiting.length) {
      const next = waiting[this.#waitingAt]!
      if (next.endOffset > offset) break
      this.#waitingAt++
      next.sink.appended(
        next.slot,
        appendDone(next.baseOffset, next.logAppendTimeMs, this.log.logStartOffset, this.leaderEpoch),
      )
    }
    if (this.#waitingAt === waiting.length) {
      waiting.length = 0
      this.#waitingAt = 0
    } else if (this.#waitingAt > 1024) {
      waiting.splice(0, this.#waitingAt)
      this.#waitingAt = 0
    }
    this.#moved()
  }

  /** The storage has failed: nothing that waits will be durable. */
  failed(): void {
    this.#refuseWaiting(ErrorCode.KAFKA_STORAGE_ERROR)
  }

  deleted(): void {
    this.#isDeleted = true
    this.#refuseWaiting(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
  }

  #refuseWaiting(error: ErrorCode): void {
    const waiting = this.#waiting.splice(this.#waitingAt)
    this.#waiting = []
    this.#waitingAt = 0
    for (const { sink, slot } of waiting) sink.appended(slot, appendRefused(error))
    this.#moved()
  }

  // Watches

  watch(watcher: Watcher, slot: number): void {
    if (this.#watches === EMPTY_WATCHES) this.#watches = []
    this.#watches.push({ watcher, slot })
  }

  unwatch(watcher: Watcher): void {
    if (this.#watches.length === 0) return
    this.#watches = this.#watches.filter((watch) => watch.watcher !== watcher)
  }

  #moved(): void {
    if (this.#watches.length === 0) return
    const watches = this.#watches
    this.#watches = EMPTY_WATCHES
    for (const { watcher, slot } of watches) watcher.moved(slot)
  }

  // Reads

  /** @returns an error when a reader may not go on with this epoch, else NONE */
  checkEpoch(currentLeaderEpoch: number): ErrorCode {
    if (this.#isDeleted) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if (!this.isLeader) return ErrorCode.NOT_LEADER_OR_FOLLOWER
    if (currentLeaderEpoch < 0) return ErrorCode.NONE
    if (currentLeaderEpoch < this.leaderEpoch) return ErrorCode.FENCED_LEADER_EPOCH
    return currentLeaderEpoch > this.leaderEpoch ? ErrorCode.UNKNOWN_LEADER_EPOCH : ErrorCode.NONE
  }

  read(read: PartitionRead): PartitionReadResult | Promise<PartitionReadResult> {
    const epochError = this.checkEpoch(read.currentLeaderEpoch)
    if (epochError !== ErrorCode.NONE) return readRefused(epochError, this.leaderEpoch)
    if (read.topicId !== undefined && read.topicId !== this.topicId) return readRefused(ErrorCode.INCONSISTENT_TOPIC_ID)
    const { log } = this
    const start = log.logStartOffset
    const { fetchOffset } = read
    if (read.lastFetchedEpoch >= 0) {
      if (read.lastFetchedEpoch > this.leaderEpoch || fetchOffset < start) {
        return readRefused(ErrorCode.OFFSET_OUT_OF_RANGE)
      }
      const end = this.endOffsetOfEpoch(read.lastFetchedEpoch)
      if (end.leaderEpoch < read.lastFetchedEpoch || end.endOffset < fetchOffset) {
        const diverging = { epoch: end.leaderEpoch, endOffset: end.endOffset }
        return readEmpty(this.#highWatermark, this.lastStableOffset, start, this.leaderEpoch, diverging)
      }
    }
    if (fetchOffset < start || fetchOffset > log.logEndOffset) return readRefused(ErrorCode.OFFSET_OUT_OF_RANGE)
    const endOffset = read.readCommitted ? this.lastStableOffset : this.#highWatermark
    const left = this.#host.readBytesLeft
    if (fetchOffset >= endOffset || left <= 0) {
      return readEmpty(this.#highWatermark, this.lastStableOffset, start, this.leaderEpoch)
    }
    let result: ReadResult | Promise<ReadResult>
    try {
      result = log.read(fetchOffset, Math.min(read.maxBytes, left), endOffset, true)
    } catch (error) {
      return this.#readFailed(error)
    }
    if (result instanceof Promise) {
      return result.then(
        (done) => this.#readResult(done),
        (error) => this.#readFailed(error),
      )
    }
    return this.#readResult(result)
  }

  #readResult(result: ReadResult): PartitionReadResult {
    const { bytes } = result
    this.#host.lent(bytes)
    return {
      error: ErrorCode.NONE,
      highWatermark: this.#highWatermark,
      lastStableOffset: this.lastStableOffset,
      logStartOffset: this.log.logStartOffset,
      divergingEpoch: undefined,
      leaderEpoch: this.leaderEpoch,
      fragments: result.fragments,
      arenaOffsets: result.arenaOffsets,
      bytes,
      release: () => {
        this.#host.lent(-bytes)
        result.release()
      },
    }
  }

  /** What the disk refuses or has damaged is the client's KAFKA_STORAGE_ERROR and the operator's log line. */
  #readFailed(error: unknown): PartitionReadResult {
    if (!(error instanceof Error) || error.name === 'InvariantViolation') throw error
    const where = `${this.topic}-${this.partition}`
    this.#host.logger.error(`cannot read ${where}: ${error.message}`)
    return readRefused(error instanceof DiskError ? ErrorCode.KAFKA_STORAGE_ERROR : ErrorCode.CORRUPT_MESSAGE)
  }

  /** The largest known epoch not above the asked one, and where it ends (exclusive); -1 and -1 when there is none. */
  endOffsetOfEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } {
    const { epochs } = this.log
    const current = this.leaderEpoch
    if (leaderEpoch < 0 || leaderEpoch > current) return { leaderEpoch: -1, endOffset: -1 }
    if (leaderEpoch === current) return { leaderEpoch, endOffset: this.log.logEndOffset }
    for (let at = epochs.length - 1; at >= 0; at--) {
      const epoch = epochs[at]!
      if (epoch.term > leaderEpoch) continue
      const next = epochs[at + 1]
      return { leaderEpoch: epoch.term, endOffset: next === undefined ? this.log.logEndOffset : next.startOffset }
    }
    return { leaderEpoch: -1, endOffset: -1 }
  }

  /** The epoch under which the record at this offset was written. */
  epochAt(offset: number): number {
    const { epochs } = this.log
    for (let at = epochs.length - 1; at >= 0; at--) if (epochs[at]!.startOffset <= offset) return epochs[at]!.term
    return this.leaderEpoch
  }

  /** The first record at or after the time and below `endOffset`; offset -1 when there is none. */
  async offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimestampOffset> {
    return this.#inBatch(await this.log.findByTimestamp(timestampMs, endOffset), endOffset, (bytes, payload) =>
      findRecordByTimestamp(bytes, 0, timestampMs, this.log.logStartOffset, payload),
    )
  }

  /** The record that holds the largest timestamp below `endOffset`. */
  async offsetForMaxTimestamp(endOffset: number): Promise<TimestampOffset> {
    return this.#inBatch(await this.log.findMaxTimestamp(endOffset), endOffset, (bytes, payload) =>
      findMaxTimestampRecord(bytes, 0, payload),
    )
  }

  async #inBatch(
    found: ReadResult | undefined,
    endOffset: number,
    pick: (bytes: Uint8Array, payload: Uint8Array | undefined) => { timestamp: number; offset: number } | undefined,
  ): Promise<TimestampOffset> {
    const bytes = found?.fragments[0]
    if (found === undefined || bytes === undefined) {
      found?.release()
      return NOT_FOUND
    }
    try {
      const leaderEpoch = leaderEpochOf(bytes, 0)
      if (hasLogAppendTime(bytes, 0)) {
        return { timestampMs: maxTimestampOf(bytes, 0), offset: baseOffsetOf(bytes, 0), leaderEpoch }
      }
      const copy = new Uint8Array(bytes.subarray(0, sizeBytesOf(bytes, 0)))
      const codec = compressionOf(copy, 0)
      const payload =
        codec === Codec.NONE || !isCodec(codec)
          ? undefined
          : await decompress(codec, payloadOf(copy, 0), this.#host.decompressedBytesMax)
      const record = pick(copy, payload)
      if (record === undefined || record.offset >= endOffset) return NOT_FOUND
      return { timestampMs: record.timestamp, offset: record.offset, leaderEpoch }
    } finally {
      found.release()
    }
  }

  /** DeleteRecords: -1 means up to the high watermark. Answered when the new start survives a crash. */
  async deleteRecords(offset: number): Promise<{ error: ErrorCode; lowWatermark: number }> {
    const error = this.checkEpoch(-1)
    if (error !== ErrorCode.NONE) return { error, lowWatermark: -1 }
    const target = offset === -1 ? this.#highWatermark : offset
    if (target < 0 || target > this.#highWatermark) return { error: ErrorCode.OFFSET_OUT_OF_RANGE, lowWatermark: -1 }
    if (target > this.log.logStartOffset) {
      // Also on a disk that is nearly full: this is what makes room there.
      try {
        this.log.trimPrefix(target)
        this.#moved()
        await this.log.whenJournaled()
      } catch (error) {
        if (!(error instanceof DiskError)) throw error
        return { error: ErrorCode.KAFKA_STORAGE_ERROR, lowWatermark: -1 }
      }
    }
    return { error: ErrorCode.NONE, lowWatermark: this.log.logStartOffset }
  }

  describeProducers(): ReturnType<ProducerState['describe']> {
    return this.#producers.describe()
  }

  expireProducers(): void {
    this.#producers.expire(this.#host.clock.nowMs())
  }
}

function rulesOf(config: TopicConfig, host: PartitionHost): ProduceRules {
  return {
    maxMessageBytes: config.maxMessageBytes,
    segmentBytes: config.segmentBytes,
    messageTimestampType: config.messageTimestampType,
    beforeMaxMs: config.messageTimestampBeforeMaxMs,
    afterMaxMs: config.messageTimestampAfterMaxMs,
    compressionType: config.compressionType,
    levels: { gzip: config.compressionGzipLevel, lz4: config.compressionLz4Level, zstd: config.compressionZstdLevel },
    compact: config.cleanupPolicy.includes('compact'),
    decompressedMaxBytes: host.decompressedBytesMax,
  }
}
