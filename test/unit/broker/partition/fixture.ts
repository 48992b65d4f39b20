// A partition over a real log on a simulated disk, with a replica whose role, peers and commits the test decides.

import { BrokerConfig } from '../../../../broker/config.ts'
import type { AppendResult, AppendSink } from '../../../../broker/partition/append.ts'
import type { PartitionReplica } from '../../../../broker/partition/host.ts'
import { Partition } from '../../../../broker/partition/partition.ts'
import type { PartitionRead, PartitionReadResult } from '../../../../broker/partition/read.ts'
import { RefusedSequences } from '../../../../broker/partition/refused-sequences.ts'
import { EntryKind, NOBODY, type NodeId, type Role } from '../../../../broker/raft/types.ts'
import { effectiveTopicConfig, type TopicConfig } from '../../../../broker/topic-config.ts'
import type { ErrorCode } from '../../../../protocol/errors.ts'
import { errorName } from '../../../../protocol/errors.ts'
import { offsetSpanOf } from '../../../../protocol/records/batch.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import type { GroupLog } from '../../../../storage/log.ts'
import { CONFIG, newDisk, openShard, type Shard, settle } from '../../storage/harness.ts'
import { ManualClock, silent } from '../cluster/fixture.ts'

export { settle }

/** This broker. */
export const HERE = 1
const NOTHING = new Uint8Array(0)

export class FakeReplica implements PartitionReplica {
  readonly log: GroupLog
  readonly partition: Partition
  role: Role = 'follower'
  isServing = false
  hasLease = true
  /** What confirm() answers. */
  confirms = true
  /** Led last, and nobody newer is known. */
  ledLast = false
  leaderId: NodeId = NOBODY
  term = 0
  memberIds: NodeId[] = [HERE, 2, 3]
  holdsRecords = true
  isr: number[] = [HERE, 2, 3]
  matchIndexes = new Map<NodeId, number>()
  /** Up to here any number of members holds the log that more than a commit asks for; undefined: all of it. */
  heldIndex: number | undefined
  watchesHeld = false
  transferred: NodeId[] = []

  constructor(log: GroupLog, partition: Partition) {
    this.log = log
    this.partition = partition
  }

  get isLeader(): boolean {
    return this.role === 'leader' && this.isServing
  }

  get canServeReads(): boolean {
    return this.isLeader || this.ledLast
  }

  get copyCount(): number {
    return this.memberIds.length
  }

  inSync(): readonly number[] {
    return this.role === 'leader' ? this.isr : []
  }

  progressOf(id: NodeId): { matchIndex: number } | undefined {
    const matchIndex = this.matchIndexes.get(id)
    return matchIndex === undefined ? undefined : { matchIndex }
  }

  isCommitHeldBy(count: number): boolean {
    return count <= Math.floor(this.memberIds.length / 2) + 1
  }

  indexHeldBy(_count: number): number {
    return this.heldIndex ?? this.log.lastIndex
  }

  /** Another member says what it holds. */
  holds(index: number): void {
    this.heldIndex = index
    if (this.watchesHeld) this.partition.heldMoved()
  }

  /** Members come into sync, or leave. */
  inSyncIs(...isr: number[]): void {
    this.isr = isr
    this.partition.inSyncChanged(isr)
  }

  confirm(): Promise<boolean> {
    return Promise.resolve(this.confirms)
  }

  transfer(to: NodeId): Promise<boolean> {
    this.transferred.push(to)
    return Promise.resolve(to !== 3)
  }

  proposeBatch(batch: Uint8Array, _span: number, baseOffset: number, logAppendTimeMs: number): void {
    this.log.appendBatch(this.term, this.log.lastIndex + 1, baseOffset, batch, logAppendTimeMs)
  }

  proposeEntry(kind: number, payload: Uint8Array): number {
    const index = this.log.lastIndex + 1
    this.log.appendEntry(this.term, index, kind, payload)
    this.entries.push({ index, kind, payload })
    return index
  }

  readonly entries: { index: number; kind: number; payload: Uint8Array }[] = []

  /** Wins an election; serves when the first entry of the term is committed. */
  elected(term: number): void {
    this.role = 'leader'
    this.term = term
    this.leaderId = HERE
    this.ledLast = false
    this.proposeEntry(EntryKind.LeaderChange, NOTHING)
  }

  serves(): void {
    this.commit()
    this.isServing = true
    this.partition.leading()
  }

  leads(term: number): void {
    this.elected(term)
    this.serves()
  }

  /** Everything up to `index` is on a majority. */
  commit(index = this.log.lastIndex): void {
    while (this.entries.length > 0 && this.entries[0]!.index <= index) {
      const { index: at, kind, payload } = this.entries.shift()!
      if (kind === EntryKind.Command) this.partition.entry(at, this.term, kind, payload)
    }
    const offset = this.log.offsetAfter(index)
    this.log.commit(index, offset)
    this.partition.committed(offset)
  }

  /** Hears of another leader, or of none any more. */
  follows(leaderId: NodeId, term: number, ledLast = false): void {
    this.role = 'follower'
    this.isServing = false
    this.leaderId = leaderId
    this.term = term
    this.ledLast = ledLast
    this.partition.following(leaderId)
  }

  /** The leader's log reaches here: a new term's first entry, then batches. */
  receives(term: number, ...batches: Uint8Array[]): void {
    if (this.log.lastTerm < term) this.log.appendEntry(term, this.log.lastIndex + 1, EntryKind.LeaderChange, NOTHING)
    for (const batch of batches) {
      const baseOffset = this.log.logEndOffset
      this.log.appendBatch(term, this.log.lastIndex + 1, baseOffset, batch, -1)
      this.partition.appended(batch, 0, baseOffset)
    }
  }

  /** The new leader's log differs from `index` on. */
  truncates(index: number): void {
    this.log.truncateTail(index)
    this.partition.truncated(this.log.logEndOffset)
  }
}

/** Answers in the order in which they came. */
export class Answers implements AppendSink {
  readonly results: { slot: number; result: AppendResult }[] = []

  appended(slot: number, result: AppendResult): void {
    this.results.push({ slot, result })
  }

  /** `slot ERROR baseOffset` each. */
  get text(): string[] {
    return this.results.map(({ slot, result }) => `${slot} ${errorName(result.error)} ${result.baseOffset}`)
  }
}

export interface Bench {
  readonly partition: Partition
  readonly replica: FakeReplica
  readonly log: GroupLog
  readonly storage: Shard
  readonly clock: ManualClock
  readonly answers: Answers
  /** Whether the journal has room; setting it to true calls who waits. */
  room: boolean
  /** The disk failed or is nearly full. */
  refusesWrites: boolean
  /** Bytes that may still wait for the journal. */
  queueBytesLeft: number
  /** acks=all unless said otherwise. */
  append(slot: number, batch?: Uint8Array, requiresAll?: boolean): void
  read(about?: Partial<PartitionRead>): PartitionReadResult
  configure(overrides: Record<string, string>): void
}

export function configOf(overrides: Record<string, string> = {}): TopicConfig {
  return effectiveTopicConfig(new Map(Object.entries(overrides)), new BrokerConfig([]))
}

export async function bench(
  overrides: Record<string, string> = {},
  about: { topic?: string; topicId?: string } = {},
): Promise<Bench> {
  const storage = await openShard(newDisk(1))
  const log = storage.storage.create(7, '/data/t-0', CONFIG)
  const clock = new ManualClock()
  let room = true
  let refusesWrites = false
  let queueBytesLeft = 1 << 20
  let waiting: (() => void)[] = []
  const identity = { topic: 't', topicId: 'AAAAAAAAAAAAAAAAAAAABA', partition: 0, ...about }
  const partition = new Partition(identity, log, configOf(overrides), {
    clock,
    logger: silent,
    get refusesWrites() {
      return refusesWrites
    },
    canAccept: () => room,
    onRoom: (call) => waiting.push(call),
    readBytesLeft: 1 << 20,
    lent: () => {},
    get queueBytesLeft() {
      return queueBytesLeft
    },
    queued: (bytes) => {
      queueBytesLeft -= bytes
    },
    appending: () => {},
    batchBytesMax: 1 << 20,
    refusedSequences: new RefusedSequences(clock),
    producerIdExpirationMs: 86_400_000,
    decompressedBytesMax: 1 << 20,
  })
  log.snapshotProvider = { snapshot: () => partition.snapshot() }
  const replica = new FakeReplica(log, partition)
  partition.attach(replica)
  const answers = new Answers()
  return {
    partition,
    replica,
    log,
    storage,
    clock,
    answers,
    get refusesWrites() {
      return refusesWrites
    },
    set refusesWrites(does: boolean) {
      refusesWrites = does
    },
    get queueBytesLeft() {
      return queueBytesLeft
    },
    set queueBytesLeft(bytes: number) {
      queueBytesLeft = bytes
    },
    get room() {
      return room
    },
    set room(has: boolean) {
      room = has
      const calls = waiting
      waiting = []
      if (has) for (const call of calls) call()
    },
    append: (slot, batch = records(1), requiresAll = true) => partition.append(batch, requiresAll, answers, slot),
    read: (about = {}) => {
      const result = partition.read({
        groupId: 7,
        fetchOffset: 0,
        maxBytes: 1 << 20,
        currentLeaderEpoch: -1,
        lastFetchedEpoch: -1,
        readCommitted: false,
        fromFollower: true,
        nearReplica: -1,
        topicId: undefined,
        ...about,
      })
      if (result instanceof Promise) throw new Error('read from memory')
      return result
    },
    configure: (changed) => partition.configure(configOf(changed)),
  }
}

/** A batch of so many records; with a sequence, of the idempotent producer 7. */
export function records(count: number, sequence = -1): Uint8Array {
  const list = Array.from({ length: count }, () => ({ value: 'v', timestamp: 1000 }))
  if (sequence < 0) return encodeBatch({ records: list })
  return encodeBatch({ records: list, producerId: 7, producerEpoch: 0, baseSequence: sequence })
}

export function offsetsOf(result: PartitionReadResult): number {
  let count = 0
  for (const fragment of result.fragments) {
    for (
      let at = 0;
      at < fragment.length;
      at += new DataView(fragment.buffer, fragment.byteOffset).getInt32(at + 8) + 12
    ) {
      count += offsetSpanOf(fragment, at)
    }
  }
  result.release()
  return count
}

export const nameOf = (error: ErrorCode): string => errorName(error)
