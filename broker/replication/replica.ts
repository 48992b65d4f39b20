// One Raft group on this shard: the pure core, the log it decides about, and whoever the group belongs to.
//
// Made by driver.ts, touched only from the shard's thread. There are tens of thousands of them, nearly all idle: what only a busy one
// needs is made when it needs it.

import { invariant } from '../../protocol/invariant.ts'
import type { GroupLog } from '../../storage/log.ts'
import type { Progress } from '../raft/progress.ts'
import type { Raft } from '../raft/raft.ts'
import { EntryKind, type Envelope, type LogIndex, NO_INDEX, NOBODY, type NodeId, type Role } from '../raft/types.ts'
import { encodeSnapshot } from './snapshot-blob.ts'

/**
 * The state machine behind a group: a partition, or the metadata.
 *
 * At start: install() with the state that the log's snapshot holds, if it holds one; then appended() and entry() for what the journal holds
 * beyond it, committed() in between at the place where the known commit ends. Everything after that may be cut off again: truncated().
 * Whoever leads applies its own batches when it proposes them, so appended() is called for those of others only.
 */
export interface ReplicaOwner {
  /** This replica leads, and everything of earlier terms is committed: it serves. */
  leading(): void
  /** This replica does not lead; the leader it knows may be another one now. @param leader NOBODY: unknown */
  following?(leader: NodeId): void
  /** Offsets below this one (exclusive) are committed. */
  committed(offset: number): void
  /** Entries up to this one (inclusive) are committed: for groups whose entries are no batches. */
  committedIndex?(index: LogIndex): void
  /**
   * A committed command, in order, on leader and followers alike; before committedIndex(). Those that the snapshot covers may come again.
   * @param payload a view, valid during the call
   */
  entry?(index: LogIndex, term: number, kind: number, payload: Uint8Array): void
  /**
   * The log took a batch of somebody else; those that the snapshot covers may come again.
   * @param bytes holds the batch at `at`, offsets stamped; valid during the call
   */
  appended?(bytes: Uint8Array, at: number, baseOffset: number): void
  /** The log was cut: batches from `offset` on are gone. Never below what is committed. */
  truncated?(offset: number): void
  /** State as of the commit; taken from timers and disk completions too. Without it the log's own provider stays in charge. */
  snapshot?(): Uint8Array
  /**
   * Begin anew from a snapshot; it may know of batches and commands behind `offset` already.
   * @param snapshot what snapshot() gave, here or on the leader; a view, valid during the call
   * @param offset where the log goes on
   */
  install?(snapshot: Uint8Array, offset: number, logStartOffset: number): void
  /** Leader, while Replica.watchesHeld: members may hold more, durably, than when it was said last. After committed(). */
  heldMoved?(): void
  /**
   * Follower: the leader's log begins at this offset. Storage forgets the payload of an old command, so whoever catches up from segments may
   * never see the one that moved the log start. Committed there, and perhaps not known to be committed here yet.
   */
  leaderStart?(offset: number): void
  /**
   * Follower: the leader has something else where the log here is committed (Raft.isContradicted). Nothing of it may be served any more.
   * Said once; who takes over from that leader says nothing new.
   */
  contradicted?(leader: NodeId): void
  /** Leader: these brokers hold what is committed and are alive, this one among them. */
  inSyncChanged?(brokerIds: readonly number[]): void
  /** Leader: the membership is what retarget() asked for, and committed. Said again by each new leader. */
  reconciled?(): void
}

/** Members that a group should have in the end. */
export interface ReplicaTarget {
  /** The preferred leader first. */
  readonly voters: readonly NodeId[]
  readonly learners: readonly NodeId[]
}

/** Payload of an entry that a leader sent: bytes of its frame until the journal has its copy. */
export interface ReceivedPayload {
  bytes: Uint8Array
}

/** A promise about our disk, and the journal block that must be on it first. */
export interface Promised {
  readonly sequence: number
  envelope: Envelope
}

/** What a replica asks of the driver. */
export interface ReplicaDriver {
  readonly isAlone: boolean
  /** Has it looked after at the end of this turn; at once when the group has no peers. */
  changed(replica: Replica): void
  process(replica: Replica): void
  appended(): void
  campaign(replica: Replica): void
  hasLease(replica: Replica): boolean
  confirm(replica: Replica): Promise<boolean>
  transfer(replica: Replica, to: NodeId): Promise<boolean>
  inSync(replica: Replica): readonly number[]
}

const NO_BROKERS: readonly number[] = Object.freeze([])

export class Replica {
  readonly log: GroupLog
  readonly raft: Raft
  readonly owner: ReplicaOwner
  readonly #driver: ReplicaDriver
  /** @internal On the driver's dirty list. */
  isDirty = false
  /** @internal Given up by the driver: nothing is to be done for it any more. */
  isRemoved = false
  /** @internal The owner has heard that the log is contradicted. */
  isContradictionSaid = false
  /** @internal Commands were handed to the owner up to here. */
  appliedIndex: LogIndex
  /** @internal Promises that wait for the disk, oldest first. */
  promises: Promised[] | undefined = undefined
  /** @internal Members to move towards while leading. */
  target: ReplicaTarget | undefined = undefined
  /** @internal Told to the owner last; empty unless we lead. */
  isr: readonly number[] = NO_BROKERS
  /** @internal The leader that we let count on us, NOBODY when none. */
  followed: NodeId = NOBODY
  /** @internal Term in which this replica leads, as far as its members were told; -1 when it does not. */
  ledTerm = -1
  /** @internal Term in which this replica served last, -1 when it never did. */
  servedTerm = -1
  /** The owner wants to hear heldMoved(): it waits for more members than a commit does. */
  watchesHeld = false
  #isServing = false
  #leads: (() => void)[] | undefined = undefined

  constructor(log: GroupLog, raft: Raft, owner: ReplicaOwner, driver: ReplicaDriver) {
    this.log = log
    this.raft = raft
    this.owner = owner
    this.#driver = driver
    this.appliedIndex = log.commitIndex
  }

  get groupId(): number {
    return this.log.groupId
  }

  /** It leads, has committed an entry of its term and is not handing over: it takes proposals. */
  get isLeader(): boolean {
    return this.#isServing && this.raft.takesProposals
  }

  /** It leads beyond doubt at this moment: nobody else can have been elected. */
  get hasLease(): boolean {
    return this.#isServing && this.#driver.hasLease(this)
  }

  /** It leads, or led last while no newer leader is known: what it knows to be committed may be read. */
  get canServeReads(): boolean {
    if (this.#isServing && this.raft.isLeader) return true
    return this.servedTerm === this.raft.term && this.raft.leaderId === NOBODY && !this.raft.isContradicted
  }

  get role(): Role {
    return this.raft.role
  }

  get term(): number {
    return this.raft.term
  }

  /** Raft id of the leader of `term`, NOBODY while none is known. */
  get leaderId(): NodeId {
    return this.raft.leaderId
  }

  /** Everybody the log is replicated to, this replica included. */
  get memberIds(): readonly NodeId[] {
    return this.raft.membership.members
  }

  /** Members that store the records: all but witnesses. */
  get copyCount(): number {
    const { members, witnesses } = this.raft.membership
    return members.length - witnesses.length
  }

  /** This replica is a member that stores the records, so that what it holds may be read. */
  get holdsRecords(): boolean {
    const { raft } = this
    return raft.membership.isMember(raft.id) && !raft.isWitness(raft.id) && !raft.isContradicted
  }

  /** Of a leader: what it knows of a member. */
  progressOf(id: NodeId): Readonly<Progress> | undefined {
    return this.raft.progressOf(id)
  }

  /** Broker ids of the members that are alive and hold what is committed, this one included; empty unless it leads. */
  inSync(): readonly number[] {
    return this.#driver.inSync(this)
  }

  /** Whether at least `count` voters hold whatever is committed. */
  isCommitHeldBy(count: number): boolean {
    return this.raft.membership.isCommitStoredBy(count)
  }

  /** Of a leader: the highest index that at least `count` voters are known to hold durably, all of them if there are fewer; else NO_INDEX. */
  indexHeldBy(count: number): LogIndex {
    const { raft } = this
    if (!raft.isLeader) return NO_INDEX
    return raft.membership.storedIndex(count, (id) =>
      id === raft.id ? raft.durableIndex : (raft.progressOf(id)?.matchIndex ?? NO_INDEX),
    )
  }

  /** Whether this replica led at some moment after the call: by its lease, or by asking a quorum. */
  confirm(): Promise<boolean> {
    return this.#driver.confirm(this)
  }

  /** Hands leadership over to a voter. @returns whether that one leads; false after about a second, or when it cannot begin */
  transfer(to: NodeId): Promise<boolean> {
    return this.#driver.transfer(this, to)
  }

  /** Stands for election; resolves when this replica leads and serves, or is removed, or its disk has failed. Without a quorum that may be never. */
  lead(): Promise<void> {
    return new Promise((resolve) => {
      this.#leads ??= []
      this.#leads.push(resolve)
      this.#driver.campaign(this)
    })
  }

  /**
   * Appends a batch at the log's end; only while isLeader.
   * @param batch needed during the call only; its offsets start at `baseOffset`, the log's end
   */
  proposeBatch(batch: Uint8Array, offsetSpan: number, baseOffset: number, logAppendTimeMs: number): void {
    const { raft, log } = this
    if (raft.lastIndex !== log.lastIndex) this.#driver.process(this)
    const entry = raft.propose(EntryKind.Batch, offsetSpan, undefined, batch.length)
    invariant(entry !== undefined, 'only a leader is asked to append', this.groupId)
    // Into the journal at once, while the bytes are there; raft gives the entry out at the end of the turn.
    log.appendBatch(entry.term, entry.index, baseOffset, batch, logAppendTimeMs)
    this.#driver.appended()
    this.#driver.changed(this)
  }

  /** Appends an entry without offset; only while isLeader. @returns its index */
  proposeEntry(kind: number, payload: Uint8Array): LogIndex {
    const { raft, log } = this
    if (raft.lastIndex !== log.lastIndex) this.#driver.process(this)
    const entry = raft.propose(kind as EntryKind, 1, undefined, payload.length)
    invariant(entry !== undefined, 'only a leader is asked to append', this.groupId)
    log.appendEntry(entry.term, entry.index, kind, payload)
    this.#driver.appended()
    this.#driver.changed(this)
    return entry.index
  }

  /** @internal What the log is to keep of the group besides its entries. */
  snapshot(): Uint8Array {
    const { index, membership } = this.raft.committedMembership
    return encodeSnapshot(index, membership, this.owner.snapshot!())
  }

  /** @internal An entry of the own term is committed. */
  serve(): void {
    if (this.#isServing) return
    this.#isServing = true
    this.servedTerm = this.raft.term
    this.owner.leading()
    this.settleLeads()
  }

  /** @internal Whoever waits for it to lead waits no longer: it does, or it never will. */
  settleLeads(): void {
    const leads = this.#leads
    this.#leads = undefined
    if (leads !== undefined) for (const resolve of leads) resolve()
  }

  /** @internal Whether serve() was called in this term of leadership. */
  get isServing(): boolean {
    return this.#isServing
  }

  /** @internal This replica does not lead (any more). */
  unserve(): void {
    this.#isServing = false
    this.isr = NO_BROKERS
  }
}
