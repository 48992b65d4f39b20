// Drives the Raft groups of a shard: what each wants persisted goes to the journal, what became durable and what peers say comes back to it.
//
// One per shard, touched only from its thread. Groups that something happened to gather in one list per loop turn. All of them share
// the journal round of that turn and one frame per peer; a promise about our disk (a vote, an acknowledgement) leaves when the round
// that holds it is done, a leader's entries leave at once. Who lives is the links' business: an idle group has no timer and says
// nothing, whatever the number of its members. What is done now and then has a file of its own: elections.ts, in-sync.ts, reconcile.ts,
// reads.ts, transfers.ts, catch-up.ts, snapshots.ts, greetings.ts, strangers.ts; what peers say comes through inbox.ts.

import { DiskError } from '../../storage/disk.ts'
import type { GroupLog } from '../../storage/log.ts'
import { brokerOf, raftIdOf } from '../cluster/raft-id.ts'
import type { Clock, Logger, Random, Timer } from '../environment.ts'
import { Raft, RaftSettings } from '../raft/raft.ts'
import { type LogIndex, NO_INDEX, NOBODY, type NodeId, type Ready } from '../raft/types.ts'
import { shardOf } from '../shard/placement.ts'
import { CatchUp } from './catch-up.ts'
import { Elections, hasNoPast } from './elections.ts'
import { Greetings } from './greetings.ts'
import { InSync } from './in-sync.ts'
import { Inbox } from './inbox.ts'
import type { LinkInfo, PeerLinks } from './link-types.ts'
import { foundingMembership, MAJORITIES, type MembershipPolicy } from './membership-policy.ts'
import { Outbox } from './outbox.ts'
import type { LoadedEntries } from './payloads.ts'
import type { PeerReader } from './peer-wire.ts'
import { Peers } from './peers.ts'
import { applyCommand, install, takeCommands, truncate, write } from './persist.ts'
import { dropAcks, type Keep, keepPromises, makePromises } from './promises.ts'
import { NO_PAYLOADS } from './raft-codec.ts'
import { Reads } from './reads.ts'
import { Reconcile } from './reconcile.ts'
import { type ReplicaStart, recoveredGroup } from './recovered.ts'
import { Refusals } from './refusals.ts'
import { Replica, type ReplicaDriver, type ReplicaOwner, type ReplicaTarget } from './replica.ts'
import { foundingSnapshot } from './snapshot-blob.ts'
import { Snapshots } from './snapshots.ts'
import { Transfers } from './transfers.ts'

export interface ReplicationOptions {
  /** Raft id of this broker; asked for when the first group is added, not before. */
  readonly nodeId: NodeId | (() => NodeId)
  /** Raft id of another broker with its present data directory. Default: with its first one. */
  raftIdAt?(nodeId: number): NodeId
  readonly clock: Clock
  readonly random: Random
  readonly logger?: Logger
  /** Undefined: a broker alone. */
  readonly links?: PeerLinks | undefined
  readonly shardCount?: number
  /** Default: majorities, no witnesses. */
  readonly membershipPolicy?: MembershipPolicy | undefined
  /** Something waits for endOfTurn(), and for the journal's flush after it. */
  wantsFlush(): void
  /** Whether the journal takes so many bytes of a leader now. Default: always. */
  canAccept?(bytes: number): boolean
  /** Whether this shard takes no batches of leaders now, because its disk is short. Default: never. */
  refusesBatches?(): boolean
  /** Entries of a leader, so many bytes, are about to be appended. */
  appending?(bytes: number): void
  /** As the links have it. Default 750. */
  readonly silenceMs?: number
  /** replica.lag.time.max.ms. */
  readonly replicaLagTimeMaxMs?: number
  /** A bound lower than the driver's own on what members that are behind get from segments, all together, per second; may change. */
  catchUpBytesPerSecond?(): number
}

const SILENCE_MS = 750
const TICK_MS = 50
/** Members in sync are looked at so often, in ticks, and every tick while one is missing. */
const LOOK_TICKS = 20
const REPLICA_LAG_TIME_MAX_MS = 30_000
const CATCH_UP_BYTES_PER_SECOND = 64 << 20
const DRAIN_MS_MAX = 3000

export interface ReplicationStats {
  readonly groups: number
  readonly led: number
  /** Groups that this replica might lead and that have no leader. */
  readonly leaderless: number
  /** Led groups in which something is under way. */
  readonly awake: number
  readonly electionsStarted: number
  readonly electionsWon: number
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly strangers: number
  readonly catchUpsWaiting: number
}

export class Replication implements ReplicaDriver {
  readonly isAlone: boolean
  readonly #options: ReplicationOptions
  readonly #settings: RaftSettings
  readonly #links: PeerLinks | undefined
  readonly #peers: Peers
  readonly #policy: MembershipPolicy
  readonly #replicas = new Map<number, Replica>()
  /** Replicas that something happened to since the last turn's end. */
  #dirty: Replica[] = []
  /** Led groups with something under way. */
  readonly #awake = new Set<Replica>()
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #targets = new Map<string, ReplicaTarget>()
  readonly #elections: Elections
  readonly #greetings: Greetings
  readonly #inSync: InSync
  readonly #reconcile: Reconcile
  readonly #reads: Reads
  readonly #transfers: Transfers
  readonly #catchUp: CatchUp
  readonly #snapshots: Snapshots
  readonly #refusals: Refusals
  /** Votes are refused until then where an earlier life of this process may have promised so. */
  readonly #graceUntilMs: number
  #timer: Timer | undefined = undefined
  #ticks = 0
  #isClosed = false
  #hasFailed = false
  #electionsStarted = 0
  #electionsWon = 0

  constructor(options: ReplicationOptions) {
    this.#options = options
    this.#links = options.links
    this.isAlone = options.links === undefined
    this.#policy = options.membershipPolicy ?? MAJORITIES
    const { clock, random } = options
    const silenceMs = options.silenceMs ?? SILENCE_MS
    this.#settings = new RaftSettings({
      jitter: () => random.next(),
      electionTicks: Math.ceil(silenceMs / TICK_MS),
      groupHeartbeats: false,
    })
    this.#peers = new Peers(
      options.links,
      () => this.#nodeId,
      options.raftIdAt ?? ((nodeId) => raftIdOf(nodeId, 0)),
      () => this.#wantsFlush(),
    )
    this.#outbox = new Outbox({
      peers: this.#peers,
      links: options.links,
      sendSnapshot: (replica, to, message) => this.#snapshots.send(replica, to, message),
      changed: (replica) => this.#markDirty(replica),
      refusesBatches: () => options.refusesBatches?.() === true,
    })
    this.#graceUntilMs = clock.monotonicMs() + silenceMs
    const nowMs = (): number => clock.monotonicMs()
    const isAlive = (id: NodeId, groupId: number): boolean => this.#peers.isAlive(id, groupId)
    const changed = (replica: Replica): void => this.#markDirty(replica)
    this.#elections = new Elections(
      {
        isAlive,
        campaign: (replica, force) => this.#campaign(replica, force),
        giveUp: (replica) => {
          replica.raft.stepDown()
          this.#markDirty(replica)
        },
        random: () => random.next(),
        nowMs,
      },
      this.#graceUntilMs,
    )
    this.#greetings = new Greetings({
      greet: (replica, nodeId) => this.#greet(replica, nodeId),
      sayEnd: (link) => this.#outbox.sayLeadsEnd(link),
      hasRefused: (link) => this.#outbox.hasRefused(link),
      abandoned: (replica, leader) => this.#abandoned(replica, leader),
    })
    const refuses = (replica: Replica, id: NodeId): boolean => this.#refusals.has(replica, id)
    this.#inSync = new InSync({ isAlive, refuses, nowMs }, options.replicaLagTimeMaxMs ?? REPLICA_LAG_TIME_MAX_MS)
    this.#refusals = new Refusals((replica, id) => {
      replica.raft.reachable(id)
      this.#markDirty(replica)
    })
    this.#reconcile = new Reconcile({ policy: this.#policy, isAlive, changed })
    this.#reads = new Reads({ hasLease: (replica) => this.hasLease(replica), changed, nowMs })
    this.#transfers = new Transfers({ isAlive, changed, nowMs })
    this.#catchUp = new CatchUp(
      {
        deliver: (replica, to, loaded) => this.#deliver(replica, to, loaded),
        readFailed: (replica, error) =>
          options.logger?.error(`cannot read group ${replica.groupId} for a replica that is behind: ${error.message}`),
        nowMs,
      },
      () => Math.min(CATCH_UP_BYTES_PER_SECOND, options.catchUpBytesPerSecond?.() ?? Infinity),
    )
    this.#snapshots = new Snapshots({
      begin: (to, groupId) => this.#peers.begin(to, groupId),
      lost: (replica, to) => this.#outbox.again(replica, to),
      take: (bytes) => this.#catchUp.take(bytes),
      nowMs,
    })
    this.#inbox = new Inbox({
      links: options.links,
      logger: options.logger,
      outbox: this.#outbox,
      greetings: this.#greetings,
      elections: this.#elections,
      snapshots: this.#snapshots,
      refusals: this.#refusals,
      replica: (groupId) => this.#replicas.get(groupId),
      isOver: () => this.#isClosed || this.#hasFailed,
      process: (replica) => this.process(replica),
      changed,
      leaveLeader: (replica) => this.#leaveLeader(replica),
      leaderStart: (replica, from, term, offset) => this.#leaderStart(replica, from, term, offset),
      refusalChanged: (replica) => this.#lookInSync(replica),
      isBound: (replica) => this.#isBound(replica),
      canAccept: (bytes) => options.canAccept?.(bytes) !== false,
      refusesBatches: () => options.refusesBatches?.() === true,
      appending: (bytes) => options.appending?.(bytes),
      nowMs,
    })
  }

  get #nodeId(): NodeId {
    const { nodeId } = this.#options
    return typeof nodeId === 'number' ? nodeId : nodeId()
  }

  // Groups

  /** What the log of a new group begins with. @param founders raft ids, the preferred leader first */
  foundingSnapshot(groupId: number, founders: readonly NodeId[]): Uint8Array {
    return foundingSnapshot(foundingMembership(this.#policy, groupId, founders))
  }

  /**
   * Opens a group. The owner sees what the log holds before this returns, and nothing else before this turn ends.
   * @param start left out: the group lives on this broker alone
   */
  add(log: GroupLog, owner: ReplicaOwner, start?: ReplicaStart): Replica {
    const id = this.#nodeId
    const raft = new Raft(this.#settings, { id, ...recoveredGroup(log, owner, id, start, this.#policy) })
    const replica = new Replica(log, raft, owner, this)
    if (owner.snapshot !== undefined) log.snapshotProvider = replica
    this.#replicas.set(log.groupId, replica)
    if (start !== undefined) {
      this.#elections.opened(replica, start.preferred)
      this.#inbox.opened(log.groupId)
      this.#wantsFlush()
    }
    return replica
  }

  remove(groupId: number): void {
    const replica = this.#replicas.get(groupId)
    if (replica === undefined) return
    replica.isRemoved = true
    this.#replicas.delete(groupId)
    this.#awake.delete(replica)
    this.#elections.forget(replica)
    this.#inSync.forget(replica)
    this.#refusals.forget(replica)
    this.#reconcile.forget(replica)
    this.#reads.abandon(replica)
    this.#transfers.forget(replica)
    replica.settleLeads()
  }

  get(groupId: number): Replica | undefined {
    return this.#replicas.get(groupId)
  }

  /** The members that a group should have in the end; while it is led here, it moves towards them. */
  retarget(replica: Replica, target: ReplicaTarget | undefined): void {
    replica.target = target && this.#shared(target)
    this.#reconcile.look(replica)
    this.#wake()
  }

  /** Thousands of groups have the same few targets. */
  #shared(target: ReplicaTarget): ReplicaTarget {
    const key = `${target.voters}|${target.learners}`
    const known = this.#targets.get(key)
    if (known !== undefined) return known
    if (this.#targets.size >= 4096) this.#targets.clear()
    this.#targets.set(key, target)
    return target
  }

  // From the loop and from storage

  /** What happened in this turn of the event loop is carried out, and leaves. The journal's flush follows. */
  endOfTurn(): void {
    if (this.#isClosed) return
    this.#inbox.receiveKept()
    if (this.#elections.hasDue) this.#elections.fill()
    this.#greetings.sendOn()
    this.#processDirty()
    this.#links?.flush()
  }

  #processDirty(): void {
    const dirty = this.#dirty
    // It grows while owners answer to what they hear.
    for (let at = 0; at < dirty.length; at++) if (dirty[at]!.isDirty) this.process(dirty[at]!)
    dirty.length = 0
  }

  /** A flush round is on disk. */
  onDurable(groups: readonly GroupLog[]): void {
    // Storage that is being closed writes its own; nothing may be appended behind that.
    if (this.#isClosed) return
    for (const log of groups) {
      const replica = this.#replicas.get(log.groupId)
      if (replica === undefined || replica.log !== log) continue
      // Raft must have given out whatever it is told about.
      if (replica.isDirty) this.process(replica)
      keepPromises(replica, this.#keep)
      replica.raft.durable(log.durableTerm, log.durableIndex)
      this.process(replica)
    }
    if (!this.isAlone) this.#wantsFlush()
  }

  /** Before a stop: leadership of all groups to others that are in sync. @param excluded brokers that must not get it */
  transferAll(excluded: readonly number[] = []): Promise<void> {
    return this.#transfers.all([...this.#replicas.values()], excluded, DRAIN_MS_MAX)
  }

  /**
   * The disk has failed: this shard can promise nothing any more. Leadership of all groups is given up, members and best successors are
   * told, and whatever comes from now on is ignored.
   */
  stepDownAll(): void {
    for (const replica of this.#replicas.values()) {
      replica.raft.stepDown()
      this.process(replica)
    }
    this.#fail()
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    for (const replica of this.#replicas.values()) {
      // Whoever still comes is refused: storage takes nothing any more.
      replica.unserve()
      this.#reads.abandon(replica)
      this.#transfers.forget(replica)
    }
  }

  stats(): ReplicationStats {
    let led = 0
    for (const { raft } of this.#replicas.values()) if (raft.isLeader) led += 1
    return {
      groups: this.#replicas.size,
      led,
      leaderless: this.#elections.leaderlessCount,
      awake: this.#awake.size,
      electionsStarted: this.#electionsStarted,
      electionsWon: this.#electionsWon,
      messagesSent: this.#outbox.messagesSent,
      messagesReceived: this.#inbox.messagesReceived,
      strangers: this.#inbox.strangersCount,
      catchUpsWaiting: this.#catchUp.waitingCount,
    }
  }

  // From replicas

  appended(): void {
    this.#wantsFlush()
  }

  changed(replica: Replica): void {
    if (this.isAlone) this.process(replica)
    else this.#markDirty(replica)
  }

  campaign(replica: Replica): void {
    if (this.#hasFailed || replica.isRemoved) {
      replica.settleLeads()
      return
    }
    this.#elections.hurry(replica)
    this.#wake()
    if (this.isAlone && replica.isDirty) this.process(replica)
  }

  hasLease(replica: Replica): boolean {
    const { raft, groupId } = replica
    if (raft.membership.decidesAlone(raft.id)) return raft.isLeader
    const nowMs = this.#options.clock.monotonicMs()
    return raft.hasLease((id) => this.#peers.isConfirmed(raft, id, groupId, nowMs))
  }

  confirm(replica: Replica): Promise<boolean> {
    return this.#reads.confirm(replica)
  }

  transfer(replica: Replica, to: NodeId): Promise<boolean> {
    return this.#transfers.begin(replica, to)
  }

  inSync(replica: Replica): readonly number[] {
    return replica.isr
  }

  // From links

  /**
   * One message of PeerKind.RAFT.
   * @throws what isNonsense() when it makes no sense
   */
  receive(link: LinkInfo, reader: PeerReader): void {
    if (this.#isClosed || this.#hasFailed) return
    this.#wake()
    this.#inbox.receive(link, reader)
  }

  /** Both directions of a link stand: what was sent before may be lost. */
  peerUp(link: LinkInfo): void {
    const led: Replica[] = []
    const followed: Replica[] = []
    for (const replica of this.#replicas.values()) {
      if (shardOf(replica.groupId, link.shardCount) !== link.shardId) continue
      const { raft } = replica
      const id = this.#memberAt(replica, link.nodeId)
      if (raft.isLeader && id !== undefined) {
        // Another process may be there now, which knows of no promise.
        raft.setReplyTag(id, -1)
        led.push(replica)
      } else if (raft.leaderId !== NOBODY && brokerOf(raft.leaderId) === link.nodeId) {
        followed.push(replica)
      }
    }
    this.#greetings.begin(link, led, followed)
    this.#wantsFlush()
  }

  /** A link broke. */
  peerDown(link: LinkInfo): void {
    this.#greetings.down(link)
    this.#snapshots.down(link)
    this.#outbox.down(link)
    for (const replica of this.#replicas.values()) {
      if (!replica.raft.isLeader || shardOf(replica.groupId, link.shardCount) !== link.shardId) continue
      const id = this.#memberAt(replica, link.nodeId)
      if (id === undefined) continue
      replica.raft.unreachable(id)
      this.#settle(replica)
    }
  }

  /** There is room for messages on a link again. */
  peerRoom(link: LinkInfo): void {
    this.#outbox.retry(link)
  }

  /** Nothing was heard from that shard for so long that what it leads is without a leader; or it is another process now. */
  peerSilent(nodeId: number, shard: number): void {
    const shardCount = this.#links?.shardCountOf(nodeId)
    if (shardCount === undefined) return
    // Once for all groups, and before any of them votes.
    this.#links!.defect(nodeId, shard)
    for (const replica of this.#replicas.values()) {
      const { raft, groupId } = replica
      if (shardOf(groupId, shardCount) !== shard) continue
      if (raft.isLeader) {
        if (this.#memberAt(replica, nodeId) === undefined) continue
        raft.checkQuorum((id) => this.#peers.isAlive(id, groupId))
        this.#markDirty(replica)
        this.#lookInSync(replica)
      } else if (raft.leaderId !== NOBODY && brokerOf(raft.leaderId) === nodeId) {
        this.#leaveLeader(replica)
      }
    }
  }

  /** The first sign of life of some shard. */
  peerHeard(): void {
    this.#elections.heard()
    this.#wantsFlush()
  }

  /** The leader's log begins there: ours too, once that is committed here. */
  #leaderStart({ log, raft, owner }: Replica, from: NodeId, term: number, offset: number): void {
    if (offset <= log.logStartOffset || this.#hasFailed || raft.leaderId !== from || raft.term !== term) return
    try {
      owner.leaderStart?.(offset)
    } catch (error) {
      if (!(error instanceof DiskError)) throw error
      this.#fail()
    }
  }

  /** An earlier life of this process may have promised somebody to vote for nobody else. */
  #isBound(replica: Replica): boolean {
    return this.#options.clock.monotonicMs() < this.#graceUntilMs && !hasNoPast(replica)
  }

  // Carrying out what a group wants

  #markDirty(replica: Replica): void {
    if (replica.isDirty) return
    replica.isDirty = true
    this.#dirty.push(replica)
    this.#wantsFlush()
  }

  /** Carries out what a group wants, until it wants nothing more. */
  process(replica: Replica): void {
    replica.isDirty = false
    if (replica.isRemoved || this.#hasFailed || this.#isClosed) return
    this.#wake()
    const { raft, log } = replica
    this.#reads.sent(replica)
    if (log.firstIndex > raft.firstIndex) raft.trim(log.firstIndex)
    try {
      for (let ready = raft.ready(); ready !== undefined; ready = raft.ready()) this.#carryOut(replica, ready)
    } catch (error) {
      if (!(error instanceof DiskError)) throw error
      this.#fail()
      return
    }
    this.#settle(replica)
    if (replica.watchesHeld) replica.owner.heldMoved?.()
  }

  #carryOut(replica: Replica, ready: Ready): void {
    const { log } = replica
    // The Ready is one object for all groups: everything is taken out of it before anybody else is called.
    const { hardState, commitIndex, truncateFrom, snapshot, roleChanged, membershipChanged } = ready
    if (roleChanged) this.#leftLeader(replica)
    if (snapshot !== undefined) install(replica, snapshot)
    if (truncateFrom !== NO_INDEX) truncate(replica, truncateFrom)
    if (hardState !== undefined) log.saveHardState(hardState.term, hardState.votedFor)
    for (const entry of ready.entries) write(replica, entry)
    if (hardState !== undefined || ready.entries.length > 0 || truncateFrom !== NO_INDEX || snapshot !== undefined) {
      this.#wantsFlush()
    }
    if (ready.sendNow.length > 0) this.#outbox.sendAll(replica, ready.sendNow)
    const loads = ready.loads.length > 0 ? [...ready.loads] : undefined
    const reads = ready.reads.length > 0 ? [...ready.reads] : undefined
    const commands = commitIndex > log.commitIndex ? takeCommands(replica, ready.committed, commitIndex) : undefined
    const promises = ready.sendWhenDurable.length > 0 ? [...ready.sendWhenDurable] : undefined
    // From here on others are called.
    if (promises !== undefined) makePromises(replica, promises, this.#keep)
    if (commitIndex > log.commitIndex) this.#commit(replica, commitIndex, commands)
    if (roleChanged) this.#roleChanged(replica)
    if (membershipChanged) {
      this.#reconcile.look(replica)
      this.#lookInSync(replica)
      if (!roleChanged) this.#elections.roleChanged(replica)
    }
    if (reads !== undefined) for (const { context } of reads) this.#reads.confirmed(context)
    if (loads !== undefined) for (const { to, firstIndex } of loads) this.#catchUp.request(replica, to, firstIndex)
  }

  readonly #keep: Keep = (replica, envelope) => {
    if (envelope.to === replica.raft.id) replica.raft.receive(replica.raft.id, envelope.message)
    else this.#outbox.send(replica, envelope.to, envelope.message, NO_PAYLOADS)
  }

  /** Entries that a lagging member needs have been read. */
  #deliver(replica: Replica, to: NodeId, loaded: LoadedEntries | undefined): void {
    const { raft, log } = replica
    if (replica.isRemoved || this.#isClosed) return
    if (log.firstIndex > raft.firstIndex) raft.trim(log.firstIndex)
    const outer = this.#outbox.loaded
    this.#outbox.loaded = loaded
    raft.loaded(to, loaded?.entries ?? [])
    this.process(replica)
    this.#outbox.loaded = outer
    this.#wantsFlush()
  }

  // Committing

  /** Everything up to `index` is committed: lets it go to segments and tells the owner. */
  #commit(replica: Replica, index: LogIndex, commands: readonly LogIndex[] | undefined): void {
    const { log, owner, raft } = replica
    const offset = log.offsetAfter(index)
    // The log may ask for a snapshot from here on, so entries that are no batches are applied before it hears of them.
    if (commands !== undefined) for (const command of commands) applyCommand(replica, command)
    owner.committedIndex?.(index)
    log.commit(index, offset)
    owner.committed(offset)
    if (!replica.isServing && raft.hasCommittedInTerm) {
      this.#inSync.look(replica)
      replica.serve()
      this.#reconcile.look(replica)
    }
  }

  // Roles

  /** Before anything leaves: the leader that we follow no longer must not count on us in this group. */
  #leftLeader(replica: Replica): void {
    const { raft } = replica
    const { followed } = replica
    if (followed === raft.leaderId) return
    replica.followed = raft.isLeader ? NOBODY : raft.leaderId
    if (followed === NOBODY || followed === raft.id) return
    this.#peers.defect(followed, replica.groupId)
    dropAcks(replica, followed)
  }

  /** Our leader is gone, or says that it does not lead: no promise to it is broken. */
  #leaveLeader(replica: Replica): void {
    if (replica.isDirty) this.process(replica)
    const { raft } = replica
    if (raft.leaderId === NOBODY || raft.isLeader) return
    dropAcks(replica, raft.leaderId)
    replica.followed = NOBODY
    raft.leaderLost()
    this.#markDirty(replica)
  }

  #roleChanged(replica: Replica): void {
    const { raft, owner } = replica
    if (replica.isServing && !(raft.isLeader && raft.term === replica.servedTerm)) {
      replica.unserve()
      this.#inSync.forget(replica)
      this.#refusals.forget(replica)
      this.#reconcile.forget(replica)
      this.#reads.abandon(replica)
    }
    if (replica.ledTerm >= 0 && !(raft.isLeader && raft.term === replica.ledTerm)) {
      if (raft.leaderId === NOBODY) this.#outbox.sayStepDown(replica)
      replica.ledTerm = -1
    }
    if (raft.isLeader && replica.ledTerm < 0) {
      replica.ledTerm = raft.term
      this.#electionsWon += 1
    }
    this.#elections.roleChanged(replica)
    this.#transfers.roleChanged(replica)
    if (!raft.isLeader) owner.following?.(raft.leaderId)
    if (!raft.isContradicted || replica.isContradictionSaid) return
    replica.isContradictionSaid = true
    owner.contradicted?.(raft.leaderId)
  }

  #campaign(replica: Replica, force: boolean): void {
    this.#electionsStarted += 1
    replica.raft.campaign({ force })
    this.#markDirty(replica)
  }

  /** Whoever leads here has something under way, or sleeps. */
  #settle(replica: Replica): void {
    const { raft } = replica
    if (raft.isLeader && raft.needsTicks && !this.isAlone) {
      this.#awake.add(replica)
    } else if (this.#awake.delete(replica)) {
      this.#lookInSync(replica)
    }
  }

  #lookInSync(replica: Replica): void {
    if (replica.isServing && replica.raft.isLeader && this.#inSync.look(replica))
      replica.owner.inSyncChanged?.(replica.isr)
  }

  // Greetings

  /** The link to a member is new: find out where it is. */
  #greet(replica: Replica, nodeId: number): void {
    const id = this.#memberAt(replica, nodeId)
    if (replica.isRemoved || !replica.raft.isLeader || id === undefined) return
    replica.raft.reachable(id)
    this.process(replica)
  }

  /** The broker that we took for the leader leads other groups, and not this one. */
  #abandoned(replica: Replica, nodeId: number): void {
    const { leaderId } = replica.raft
    if (!replica.isRemoved && leaderId !== NOBODY && brokerOf(leaderId) === nodeId) this.#leaveLeader(replica)
  }

  /** The member of a group that lives on a broker, the newer one when its disk was replaced. */
  #memberAt({ raft }: Replica, nodeId: number): NodeId | undefined {
    let found: NodeId | undefined
    for (const id of raft.membership.members) {
      if (brokerOf(id) === nodeId && id !== raft.id && (found === undefined || id > found)) found = id
    }
    return found
  }

  // Time

  #wantsFlush(): void {
    this.#wake()
    this.#options.wantsFlush()
  }

  /** Something happened: ticks come until one finds that nothing is under way and nothing waits for its time. */
  #wake(): void {
    if (this.#timer !== undefined || this.isAlone || this.#isClosed || this.#hasFailed) return
    this.#timer = this.#options.clock.after(TICK_MS, this.#onTimer)
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    if (this.#isClosed || this.#hasFailed) return
    this.#tick()
    if (this.#hasTimedWork) this.#wake()
  }

  get #hasTimedWork(): boolean {
    return (
      this.#awake.size > 0 ||
      this.#elections.isWaiting ||
      this.#greetings.isBusy ||
      this.#reconcile.pendingCount > 0 ||
      this.#reads.isWaiting ||
      this.#transfers.isWaiting ||
      this.#catchUp.waitingCount > 0 ||
      this.#snapshots.isWaiting ||
      this.#refusals.isWaiting ||
      this.#inbox.strangersCount > 0 ||
      this.#outbox.isWaiting
    )
  }

  /** A tick that comes late counts once. */
  #tick(): void {
    this.#ticks += 1
    for (const replica of this.#awake) {
      replica.raft.tick()
      this.#markDirty(replica)
      const isShort = replica.isr.length < replica.copyCount
      if (isShort || this.#ticks % LOOK_TICKS === 0) this.#lookInSync(replica)
    }
    this.#outbox.retryAll()
    this.#elections.tick()
    this.#reconcile.tick()
    this.#reads.tick()
    this.#transfers.tick()
    this.#catchUp.pump()
    this.#snapshots.tick()
    this.#refusals.tick()
    this.#inbox.tick()
    if (this.#elections.hasDue || this.#greetings.isBusy || this.#snapshots.sendingCount > 0) this.#wantsFlush()
  }

  /** The journal takes nothing any more: this shard neither leads nor follows from now on. */
  #fail(): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    for (const replica of this.#replicas.values()) {
      replica.raft.stepDown()
      if (replica.ledTerm >= 0) this.#outbox.sayStepDown(replica)
      replica.ledTerm = -1
      replica.unserve()
      replica.settleLeads()
      this.#reads.abandon(replica)
      this.#transfers.forget(replica)
      replica.promises = undefined
    }
    for (const { owner } of this.#replicas.values()) owner.following?.(NOBODY)
    this.#wantsFlush()
  }
}
