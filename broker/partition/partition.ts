// One partition replica: Kafka's meaning of a log, as its group's leader, as a follower, and on the way between the two.
//
// Owned by one shard and touched only from its thread. Bytes and durability are the GroupLog's, agreement is the Replica's (Raft); here
// stands what a producer or consumer is told. Appends: append-path.ts, reads: read-path.ts, offsets by epoch and time: offsets.ts.
//
// The producers' state follows the log, not the commit: a leader applies a batch when it proposes it, a follower when its log has taken it, and
// what is cut off again is undone. So whoever becomes leader knows every batch that its log holds.

import { ErrorCode } from '../../protocol/errors.ts'
import { invariant } from '../../protocol/invariant.ts'
import type { GroupLog } from '../../storage/log.ts'
import { brokerOf } from '../cluster/raft-id.ts'
import { EntryKind, NOBODY, type NodeId } from '../raft/types.ts'
import type { ReplicaOwner } from '../replication/replica.ts'
import type { TopicConfig } from '../topic-config.ts'
import { type AppendResult, type AppendSink, appendRefused, type LeaderHint, NO_LEADER, notLeader } from './append.ts'
import { type AppendOwner, AppendPath } from './append-path.ts'
import type { PartitionHost, PartitionReplica } from './host.ts'
import type { TimestampOffset } from './offsets.ts'
import { type EpochEnd, endOffsetOfEpoch, epochAt, offsetForMaxTimestamp, offsetForTimestamp } from './offsets.ts'
import { ProducerState } from './producer-state.ts'
import type { PartitionRead, PartitionReadResult } from './read.ts'
import { readPartition } from './read-path.ts'
import { decodeTrim, encodeTrim, Trims, trimNow } from './trims.ts'
import type { ProduceRules } from './validate.ts'

export type { PartitionHost, PartitionReplica } from './host.ts'
export type { TimestampOffset } from './offsets.ts'

/** Hears once when a partition it watches has moved: more to read, a new leader, deletion. */
export interface Watcher {
  moved(slot: number): void
}

interface Watch {
  readonly watcher: Watcher
  readonly slot: number
}

const EMPTY_WATCHES: Watch[] = []

export class Partition implements ReplicaOwner, AppendOwner {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly groupId: number
  readonly log: GroupLog
  readonly host: PartitionHost
  readonly producers: ProducerState
  rules: ProduceRules
  isDeleted = false
  #replica: PartitionReplica | undefined
  #minInsyncReplicas: number
  #highWatermark: number
  /** Made with the first append: most replicas of a large node follow. */
  #appends: AppendPath | undefined
  #trims: Trims | undefined
  /** Log start that an entry asked for and that is not committed here yet; -1 for none. */
  #trimOffset = -1
  #watches: Watch[] = EMPTY_WATCHES
  #isContradicted = false

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
    this.host = host
    this.rules = rulesOf(config, host)
    this.#minInsyncReplicas = config.minInsyncReplicas
    this.producers = new ProducerState({ expirationMs: host.producerIdExpirationMs, shared: host.producers })
    this.#highWatermark = log.committedOffset
  }

  attach(replica: PartitionReplica): void {
    this.#replica = replica
  }

  configure(config: TopicConfig): void {
    this.rules = rulesOf(config, this.host)
    this.#minInsyncReplicas = config.minInsyncReplicas
    this.#appends?.heldMoved()
  }

  // Role

  /** Leads, and may answer producers and consumers. */
  get isLeader(): boolean {
    return this.#replica?.isLeader === true
  }

  get leaderEpoch(): number {
    return this.#replica?.term ?? -1
  }

  /** Elected, and about to serve: it has committed nothing of its epoch yet, so it does not know how far the log is committed. */
  get isTakingOver(): boolean {
    const replica = this.#replica
    return replica?.role === 'leader' && !replica.isLeader
  }

  /** The leader as this replica knows it; the one of the present epoch, or none. */
  get leader(): LeaderHint {
    const replica = this.#replica
    if (replica === undefined) return NO_LEADER
    const { leaderId } = replica
    return { leaderId: leaderId === NOBODY ? -1 : brokerOf(leaderId), leaderEpoch: replica.term }
  }

  get hasLostMajority(): boolean {
    const replica = this.#replica
    return replica !== undefined && !replica.isLeader && replica.leaderId === NOBODY && replica.canServeReads
  }

  /** min.insync.replicas counts to the number of replicas at most, as in Kafka. */
  get isEnoughInSync(): boolean {
    // Who leads has itself: the usual setting costs nothing.
    if (this.#minInsyncReplicas <= 1) return true
    const replica = this.#replica!
    const wanted = this.#wantedOf(replica)
    return wanted <= 1 || replica.inSync().length >= wanted
  }

  get heldOffset(): number {
    if (this.#minInsyncReplicas <= 1) return Number.POSITIVE_INFINITY
    const replica = this.#replica!
    const wanted = this.#wantedOf(replica)
    if (replica.isCommitHeldBy(wanted)) return Number.POSITIVE_INFINITY
    const index = replica.indexHeldBy(wanted)
    return index < this.log.firstIndex ? 0 : this.log.offsetAfter(index)
  }

  #wantedOf(replica: PartitionReplica): number {
    return Math.min(this.#minInsyncReplicas, replica.copyCount)
  }

  watchHeld(isWanted: boolean): void {
    this.#replica!.watchesHeld = isWanted
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

  /** Whether this replica leads now, beyond doubt: what it knows is not older than the question. */
  confirmLeadership(): true | Promise<boolean> {
    const replica = this.#replica
    if (replica === undefined || !mayAnswer(replica)) return Promise.resolve(false)
    return replica.hasLease || !replica.isLeader ? true : replica.confirm()
  }

  /** Gives leadership to another broker. @returns Kafka's answer to ElectLeaders */
  async transferLeadership(brokerId: number): Promise<ErrorCode> {
    const replica = this.#replica
    if (replica === undefined || !replica.isLeader) return ErrorCode.NOT_LEADER_OR_FOLLOWER
    if (brokerOf(replica.leaderId) === brokerId) return ErrorCode.ELECTION_NOT_NEEDED
    const heir = memberOf(replica, brokerId)
    if (heir === undefined || !replica.inSync().includes(brokerId)) return ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    return (await replica.transfer(heir)) ? ErrorCode.NONE : ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
  }

  // Appends

  /**
   * Appends one batch. The bytes are needed during the call only.
   * @param batch complete, of magic 2; everything else about it is checked here
   * @param requiresAll acks=all
   */
  append(batch: Uint8Array, requiresAll: boolean, sink: AppendSink, slot: number): void {
    this.#appendPath().append(batch, requiresAll, sink, slot)
  }

  /** Appends records of the broker itself (group coordinator) as one batch; the same durability, no client's rules. */
  appendInternal(batch: Uint8Array, sink: AppendSink, slot: number): void {
    this.#appendPath().appendInternal(batch, sink, slot)
  }

  #appendPath(): AppendPath {
    this.#appends ??= new AppendPath(this)
    return this.#appends
  }

  proposeBatch(batch: Uint8Array, offsetSpan: number, baseOffset: number, logAppendTimeMs: number): void {
    invariant(this.#replica !== undefined, 'a partition that appends has a replica', this.groupId)
    this.#replica.proposeBatch(batch, offsetSpan, baseOffset, logAppendTimeMs)
  }

  // From the replica

  leading(): void {
    this.#moved()
  }

  /** This replica does not lead; its leader or its own role may have changed. */
  following(_leader: NodeId): void {
    this.#refuseWaiting(notLeader(this.leader))
    this.#moved()
  }

  /** The leader was recovered by force from a copy that lacks what is committed here: readers must not see two histories. */
  contradicted(leader: NodeId): void {
    this.#isContradicted = true
    const nodeId = brokerOf(leader)
    this.host.logger.error(
      `${this.topic}-${this.partition} is not served here any more: it holds committed records that its leader, broker ${nodeId}, does not. After an unsafe-recover on broker ${nodeId}, reassign the partition away from this broker and back; what only this copy holds is lost then`,
    )
    this.#refuseWaiting(appendRefused(ErrorCode.KAFKA_STORAGE_ERROR))
    this.#moved()
  }

  /** Other replicas are in sync. An append looks at that itself, but who waits for one that is gone would wait for ever. */
  inSyncChanged(_brokerIds: readonly number[]): void {
    this.#appends?.heldMoved()
  }

  heldMoved(): void {
    this.#appends?.heldMoved()
  }

  /** Entries below `offset` (exclusive) are committed. */
  committed(offset: number): void {
    invariant(offset >= this.#highWatermark, 'the high watermark never moves back', offset, this.#highWatermark)
    const hasMoved = offset > this.#highWatermark
    this.#highWatermark = offset
    this.#trimCommitted()
    if (!hasMoved) return
    this.producers.committed(offset)
    this.#appends?.committed(offset)
    this.#moved()
  }

  /** The log of this follower has taken a batch; also what a replay finds behind the snapshot. */
  appended(bytes: Uint8Array, at: number, baseOffset: number): void {
    // A snapshot may be ahead of the log that it came with.
    if (baseOffset >= this.producers.coveredOffset) this.producers.apply(bytes, at, baseOffset)
  }

  /** The log was cut: it ends at `offset` (exclusive) now. */
  truncated(offset: number): void {
    // Whatever takes the place of the batches that somebody waited for, its commit is not theirs.
    this.#refuseWaiting(notLeader(this.leader))
    this.producers.truncateTo(offset)
  }

  /** An entry that is no batch is committed; not told of every kind. */
  entry(index: number, _term: number, kind: number, payload: Uint8Array): void {
    if (kind !== EntryKind.Command) return
    this.#trimOffset = Math.max(this.#trimOffset, decodeTrim(payload))
    this.#trimCommitted()
    this.#trims?.committed(index)
  }

  /** The leader's log begins here: what lies below is deleted, by an entry whose payload may not have reached this replica. */
  leaderStart(offset: number): void {
    if (offset <= this.log.logStartOffset) return
    this.#trimOffset = Math.max(this.#trimOffset, offset)
    this.#trimCommitted()
  }

  /** The producers as of what is committed. */
  snapshot(): Uint8Array {
    // What a snapshot brought may lie above what the log alone knows to be committed.
    return this.producers.snapshot(Math.max(this.log.committedOffset, this.producers.committedOffset))
  }

  /**
   * Begins anew from a snapshot: this replica's own after a restart, or the leader's.
   * @param offset where the log begins or went on; what is below is committed
   */
  install(snapshot: Uint8Array, offset: number, _logStartOffset: number): void {
    // Whoever still waits does so for a log that is gone; what is committed of the new one is not theirs.
    this.#refuseWaiting(notLeader(this.leader))
    // A group that has just been made has nothing to say of producers.
    if (snapshot.length > 0) this.producers.restore(snapshot)
    this.#trimOffset = -1
    if (offset <= this.#highWatermark) return
    this.#highWatermark = offset
    this.#moved()
  }

  /** The storage has failed: nothing that waits will be durable. */
  failed(): void {
    this.#refuseWaiting(appendRefused(ErrorCode.KAFKA_STORAGE_ERROR))
    this.#moved()
  }

  deleted(): void {
    this.isDeleted = true
    this.producers.close()
    this.#refuseWaiting(appendRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
    this.#moved()
  }

  #refuseWaiting(refusal: AppendResult): void {
    this.#appends?.refuseAll(refusal)
    this.#trims?.refuseAll(refusal.error)
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

  /** @returns an error when an asker that needs the leader may not go on with this epoch, else NONE */
  checkLeader(currentLeaderEpoch: number): ErrorCode {
    const replica = this.#replica
    return this.#check(currentLeaderEpoch, replica !== undefined && mayAnswer(replica))
  }

  /** As checkLeader(), for what may be read of the last leader, and of a follower when the asker says so. */
  checkReader(currentLeaderEpoch: number, fromFollower: boolean): ErrorCode {
    const replica = this.#replica
    const mayServe =
      replica !== undefined && (replica.isLeader || (fromFollower && replica.holdsRecords) || replica.canServeReads)
    return this.#check(currentLeaderEpoch, mayServe)
  }

  /** The epoch goes first: whoever comes with another one has other metadata than this replica, whether it leads or not. */
  #check(currentLeaderEpoch: number, mayServe: boolean): ErrorCode {
    if (this.isDeleted) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if (this.#isContradicted) return ErrorCode.KAFKA_STORAGE_ERROR
    const { leaderEpoch } = this
    // A replica that has heard of no leader yet has no epoch to compare with.
    if (currentLeaderEpoch >= 0 && (mayServe || leaderEpoch > 0)) {
      if (currentLeaderEpoch < leaderEpoch) return ErrorCode.FENCED_LEADER_EPOCH
      if (currentLeaderEpoch > leaderEpoch) return ErrorCode.UNKNOWN_LEADER_EPOCH
    }
    return mayServe ? ErrorCode.NONE : ErrorCode.NOT_LEADER_OR_FOLLOWER
  }

  read(read: PartitionRead): PartitionReadResult | Promise<PartitionReadResult> {
    return readPartition(this, read)
  }

  /** Whether the replica on that broker can serve a read from this offset on, as far as this leader knows. */
  isReadableAt(brokerId: number, offset: number): boolean {
    const replica = this.#replica
    if (replica === undefined || !replica.isLeader || !replica.inSync().includes(brokerId)) return false
    const member = memberOf(replica, brokerId)
    const progress = member === undefined ? undefined : replica.progressOf(member)
    return progress !== undefined && this.log.offsetAfter(progress.matchIndex) >= offset
  }

  /** The largest known epoch not above the asked one, and where it ends: see offsets.ts. */
  endOffsetOfEpoch(leaderEpoch: number): EpochEnd {
    return endOffsetOfEpoch(this.log, leaderEpoch, this.leaderEpoch)
  }

  /** The epoch under which the record at this offset was written. */
  epochAt(offset: number): number {
    return epochAt(this.log.epochs, offset, this.leaderEpoch)
  }

  /** The first record at or after the time and below `endOffset`; offset -1 when there is none. */
  offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimestampOffset> {
    return offsetForTimestamp(this.log, timestampMs, endOffset, this.host.decompressedBytesMax)
  }

  /** The record that holds the largest timestamp below `endOffset`. */
  offsetForMaxTimestamp(endOffset: number): Promise<TimestampOffset> {
    return offsetForMaxTimestamp(this.log, endOffset, this.host.decompressedBytesMax)
  }

  // Deleting records

  /**
   * DeleteRecords: -1 means up to the high watermark. Answered when a majority will never show the records again, and the new start
   * survives a crash here. Also on a disk that is nearly full: this is what makes room there.
   */
  async deleteRecords(offset: number): Promise<{ error: ErrorCode; lowWatermark: number }> {
    const refusal = this.checkLeader(-1)
    if (refusal !== ErrorCode.NONE) return { error: refusal, lowWatermark: -1 }
    const target = offset === -1 ? this.#highWatermark : offset
    if (target < 0 || target > this.#highWatermark) return { error: ErrorCode.OFFSET_OUT_OF_RANGE, lowWatermark: -1 }
    if (target > this.log.logStartOffset) {
      const error = await this.#deleteBefore(target)
      if (error !== ErrorCode.NONE) return { error, lowWatermark: -1 }
    }
    return { error: ErrorCode.NONE, lowWatermark: this.log.logStartOffset }
  }

  async #deleteBefore(target: number): Promise<ErrorCode> {
    const replica = this.#replica!
    if (this.host.refusesWrites && !replica.isLeader) return ErrorCode.KAFKA_STORAGE_ERROR
    if (replica.memberIds.length > 1) {
      this.#trims ??= new Trims()
      if (this.#trims.isFull) return ErrorCode.REQUEST_TIMED_OUT
      const error = await this.#trims.done(replica.proposeEntry(EntryKind.Command, encodeTrim(target)))
      if (error !== ErrorCode.NONE) return error
    }
    const outcome = trimNow(this.log, target)
    this.#moved()
    return outcome
  }

  /** Carries out what an entry asked for, as far as that is committed here. */
  #trimCommitted(): void {
    const offset = this.#trimOffset
    if (offset < 0 || offset > this.log.committedOffset) return
    this.#trimOffset = -1
    this.log.trimPrefix(offset)
    this.#moved()
  }

  describeProducers(): ReturnType<ProducerState['describe']> {
    return this.producers.describe()
  }

  expireProducers(): void {
    this.producers.expire(this.host.clock.nowMs())
  }
}

/** A replica alone that leads no longer has lost its disk, and nobody else can have taken anything: what it knows stays true. */
function mayAnswer(replica: PartitionReplica): boolean {
  return replica.isLeader || (replica.memberIds.length === 1 && replica.canServeReads)
}

function memberOf(replica: PartitionReplica, brokerId: number): NodeId | undefined {
  return replica.memberIds.find((member) => brokerOf(member) === brokerId)
}

/** One object for all partitions of a topic; a changed configuration is another TopicConfig. */
const rulesByConfig = new WeakMap<TopicConfig, ProduceRules>()

function rulesOf(config: TopicConfig, host: PartitionHost): ProduceRules {
  const known = rulesByConfig.get(config)
  // The bound is the shard's; in one thread it differs in tests only.
  if (known?.decompressedMaxBytes === host.decompressedBytesMax) return known
  const rules: ProduceRules = {
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
  rulesByConfig.set(config, rules)
  return rules
}
