// Drives the Raft groups of a shard: what each wants persisted goes to the journal, what became durable and what peers say comes back to it.
//
// One per shard, touched only from its thread. Groups that something happened to gather in one list per loop turn. All of them share
// the journal round of that turn and one frame per peer; a promise about our disk (a vote, an acknowledgement) leaves when the round
// that holds it is done, a leader's entries leave at once. Who lives is the links' business: an idle group has no timer and says
// nothing, whatever the number of its members. What is done now and then has a file of its own: elections.ts, in-sync.ts, reconcile.ts,
// reads.ts, transfers.ts, catch-up.ts, snapshots.ts, greetings.ts, strangers.ts.

import { DiskError } from '../../storage/disk.ts'
import type { GroupLog } from '../../storage/log.ts'
import { brokerOf, directoryEpochOf, raftIdOf } from '../cluster/raft-id.ts'
import type { Clock, Logger, Random, Timer } from '../environment.ts'
import { Raft, RaftSettings } from '../raft/raft.ts'
import {
  type AppendMessage,
  EntryKind,
  type Envelope,
  type LogIndex,
  NO_INDEX,
  NOBODY,
  type NodeId,
  type Ready,
} from '../raft/types.ts'
import { shardOf } from '../shard/placement.ts'
import { CatchUp } from './catch-up.ts'
import { Elections, hasNoPast } from './elections.ts'
import { Greetings } from './greetings.ts'
import { InSync } from './in-sync.ts'
import type { LinkInfo, PeerLinks } from './link-types.ts'
import { foundingMembership, MAJORITIES, type MembershipPolicy } from './membership-policy.ts'
import { Outbox } from './outbox.ts'
import type { LoadedEntries } from './payloads.ts'
import { MalformedPeerBytes, PeerReader } from './peer-wire.ts'
import { Peers } from './peers.ts'
import { applyCommand, install, takeCommands, truncate, write } from './persist.ts'
import { NO_PAYLOADS, RaftHeader, RaftKind, REFUSES, readMessage } from './raft-codec.ts'
import { Reads } from './reads.ts'
import { Reconcile } from './reconcile.ts'
import { type ReplicaStart, recoveredGroup } from './recovered.ts'
import { Refusals } from './refusals.ts'
import { Replica, type ReplicaDriver, type ReplicaOwner, type ReplicaTarget } from './replica.ts'
import { foundingSnapshot } from './snapshot-blob.ts'
import { Snapshots } from './snapshots.ts'
import { type KeptMessage, Strangers } from './strangers.ts'
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
const DIRECTORY_EPOCH_MAX = 2 ** 21 - 1

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
  readonly #outbox: Outbox
  /** For groups opened in this turn. */
  #kept: KeptMessage[] = []
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
  readonly #strangers = new Strangers()
  readonly #header = new RaftHeader()
  /** Votes are refused until then where an earlier life of this process may have promised so. */
  readonly #graceUntilMs: number
  #timer: Timer | undefined = undefined
  #ticks = 0
  #isClosed = false
  #hasFailed = false
  #electionsStarted = 0
  #electionsWon = 0
  #messagesReceived = 0

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
      () => options.wantsFlush(),
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
    if (!this.isAlone) this.#scheduleTick()
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
      const kept = this.#strangers.take(log.groupId)
      if (kept.length > 0) this.#kept.push(...kept)
      this.#options.wantsFlush()
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
  }

  get(groupId: number): Replica | undefined {
    return this.#replicas.get(groupId)
  }

  /** The members that a group should have in the end; while it is led here, it moves towards them. */
  retarget(replica: Replica, target: ReplicaTarget | undefined): void {
    replica.target = target && this.#shared(target)
    this.#reconcile.look(replica)
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
    if (this.#kept.length > 0) this.#receiveKept()
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
      this.#keepPromises(replica)
      replica.raft.durable(log.durableTerm, log.durableIndex)
      this.process(replica)
    }
    if (!this.isAlone) this.#options.wantsFlush()
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
      messagesReceived: this.#messagesReceived,
      strangers: this.#strangers.count,
      catchUpsWaiting: this.#catchUp.waitingCount,
    }
  }

  // From replicas

  appended(): void {
    this.#options.wantsFlush()
  }

  changed(replica: Replica): void {
    if (this.isAlone) this.process(replica)
    else this.#markDirty(replica)
  }

  campaign(replica: Replica): void {
    this.#elections.hurry(replica)
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
   * @throws MalformedPeerBytes or MalformedFrame when it makes no sense
   */
  receive(link: LinkInfo, reader: PeerReader): void {
    if (this.#isClosed || this.#hasFailed) return
    const body = reader.rest()
    reader = this.#reader.open(body, 0, body.length)
    this.#messagesReceived += 1
    const header = this.#header.read(reader)
    if (header.kind === RaftKind.LEADS_END) {
      this.#greetings.ended(link)
      return
    }
    const { groupId, fromEpoch, toEpoch } = header
    if (fromEpoch > DIRECTORY_EPOCH_MAX) throw new MalformedPeerBytes(`directory epoch ${fromEpoch}`)
    if (shardOf(groupId, link.shardCount) !== link.shardId) return
    const replica = this.#replicas.get(groupId)
    if (replica === undefined) {
      this.#strangers.keep(groupId, link, body, this.#options.clock.monotonicMs())
      return
    }
    // Words to or from another data directory of either broker: that member is gone.
    if (toEpoch !== directoryEpochOf(replica.raft.id)) return
    this.#receive(replica, raftIdOf(link.nodeId, fromEpoch), link, reader)
  }

  readonly #reader = new PeerReader(Buffer.alloc(0))

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
    this.#options.wantsFlush()
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
    this.#options.wantsFlush()
  }

  #receive(replica: Replica, from: NodeId, link: LinkInfo, reader: PeerReader): void {
    const { raft } = replica
    const header = this.#header
    const { kind, term } = header
    // What was said in an earlier term leaves before we enter the next: afterwards it would look like a promise kept on.
    if (replica.isDirty && term > raft.term) this.process(replica)
    switch (kind) {
      case RaftKind.STEPPED_DOWN:
        if (raft.leaderId === from && raft.term === term) this.#leaveLeader(replica)
        return
      case RaftKind.AGAIN:
        if (!raft.isLeader || raft.term !== term) return
        this.#noteRefusal(replica, from)
        // Whoever refuses is asked again now and then, not as soon as there is room on the link.
        if (this.#refusals.has(replica, from)) raft.unreachable(from)
        else this.#outbox.again(replica, from)
        return
      case RaftKind.APPEND:
      case RaftKind.HEARTBEAT:
      case RaftKind.SNAPSHOT:
        this.#greetings.addressed(link, replica)
        break
      default:
        break
    }
    const message =
      kind === RaftKind.SNAPSHOT ? this.#snapshots.receive(header, link, reader) : readMessage(header, reader)
    if (message === undefined) return
    if (reader.hasMore) throw new MalformedPeerBytes(`${reader.left} bytes after a message`)
    const logStartOffset = kind === RaftKind.APPEND ? header.logStartOffset : 0
    if (message.type === 'append' && message.entries.length > 0) {
      const fitting = this.#fitting(message)
      if (fitting === undefined) {
        this.#outbox.say(RaftKind.AGAIN, replica, from, term)
        return
      }
      if (this.#options.appending !== undefined) this.#options.appending(bytesOf(fitting))
      raft.receive(from, fitting)
      // The payloads are views of a frame that ends with this call.
      this.process(replica)
      this.#leaderStart(replica, from, term, logStartOffset)
      return
    }
    if (message.type === 'vote-request' && !message.transfer && this.#isBound(replica)) return
    raft.receive(from, message)
    this.#markDirty(replica)
    this.#leaderStart(replica, from, term, logStartOffset)
    if (message.type === 'append-reply' || message.type === 'heartbeat-reply') {
      if (raft.isLeader && raft.term === term) {
        raft.setReplyTag(from, this.#links!.defections(link.nodeId, link.shardId))
        if (kind === RaftKind.APPEND_REPLY) this.#noteRefusal(replica, from)
      }
    } else if (message.type === 'vote-request' && !message.pre && raft.votedFor === from) {
      this.#elections.voted(replica)
    }
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

  /** As many entries as the journal and the disk take now. */
  #fitting(message: AppendMessage): AppendMessage | undefined {
    const { entries } = message
    const refuses = this.#options.refusesBatches?.() === true
    let bytes = 0
    let count = 0
    for (const entry of entries) {
      bytes += entry.bytes
      if ((refuses && entry.kind === EntryKind.Batch) || this.#options.canAccept?.(bytes) === false) break
      count += 1
    }
    if (count === entries.length) return message
    return count === 0 ? undefined : { ...message, entries: entries.slice(0, count) }
  }

  /** By the message whose header was read last. */
  #noteRefusal(replica: Replica, from: NodeId): void {
    if (this.#refusals.note(replica, from, (this.#header.flags & REFUSES) !== 0)) this.#lookInSync(replica)
  }

  #receiveKept(): void {
    const kept = this.#kept
    this.#kept = []
    for (const { link, bytes } of kept) {
      // A link that broke meanwhile takes what it brought with it.
      if (this.#links!.linkInfo(link.nodeId, link.shardId) !== link) continue
      try {
        this.receive(link, this.#keptReader.open(bytes, 0, bytes.length))
      } catch (error) {
        if (!(error instanceof Error) || error.name === 'InvariantViolation') throw error
        this.#options.logger?.warn(`broker ${link.nodeId} sent what makes no sense: ${error.message}`)
      }
    }
  }

  readonly #keptReader = new PeerReader(Buffer.alloc(0))

  // Carrying out what a group wants

  #markDirty(replica: Replica): void {
    if (replica.isDirty) return
    replica.isDirty = true
    this.#dirty.push(replica)
    this.#options.wantsFlush()
  }

  /** Carries out what a group wants, until it wants nothing more. */
  process(replica: Replica): void {
    replica.isDirty = false
    if (replica.isRemoved || this.#hasFailed || this.#isClosed) return
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
      this.#options.wantsFlush()
    }
    if (ready.sendNow.length > 0) this.#outbox.sendAll(replica, ready.sendNow)
    const loads = ready.loads.length > 0 ? [...ready.loads] : undefined
    const reads = ready.reads.length > 0 ? [...ready.reads] : undefined
    const commands = commitIndex > log.commitIndex ? takeCommands(replica, ready.committed, commitIndex) : undefined
    const promises = ready.sendWhenDurable.length > 0 ? [...ready.sendWhenDurable] : undefined
    // From here on others are called.
    if (promises !== undefined) this.#promise(replica, promises)
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

  /** Sends what is on our disk already, and keeps the rest until it is. */
  #promise(replica: Replica, envelopes: readonly Envelope[]): void {
    const { log } = replica
    const sequence = log.roundSequence
    if (sequence <= log.journaledSequence) {
      for (const envelope of envelopes) this.#keep(replica, envelope)
      return
    }
    replica.promises ??= []
    for (const envelope of envelopes) {
      const last = replica.promises.at(-1)
      // Several appends of one round are acknowledged by one message.
      if (last !== undefined && last.sequence === sequence && isLaterAck(last.envelope, envelope))
        last.envelope = envelope
      else replica.promises.push({ sequence, envelope })
    }
  }

  #keepPromises(replica: Replica): void {
    const { promises, log } = replica
    if (promises === undefined) return
    let count = 0
    while (count < promises.length && promises[count]!.sequence <= log.journaledSequence) count += 1
    if (count === 0) return
    // Taken out first: our own vote may lead to new ones.
    const kept = promises.splice(0, count)
    if (promises.length === 0) replica.promises = undefined
    for (const { envelope } of kept) this.#keep(replica, envelope)
  }

  #keep(replica: Replica, envelope: Envelope): void {
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
    this.#options.wantsFlush()
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

  #scheduleTick(): void {
    this.#timer = this.#options.clock.after(TICK_MS, () => {
      if (this.#isClosed) return
      this.#scheduleTick()
      this.#tick()
    })
  }

  /** A tick that comes late counts once. */
  #tick(): void {
    if (this.#hasFailed) return
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
    this.#strangers.tick(this.#options.clock.monotonicMs())
    if (this.#elections.hasDue || this.#greetings.isBusy || this.#snapshots.sendingCount > 0) this.#options.wantsFlush()
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
      this.#reads.abandon(replica)
      this.#transfers.forget(replica)
      replica.promises = undefined
    }
    for (const { owner } of this.#replicas.values()) owner.following?.(NOBODY)
    this.#options.wantsFlush()
  }
}

function isLaterAck(earlier: Envelope, later: Envelope): boolean {
  const [one, other] = [earlier.message, later.message]
  return (
    one.type === 'append-reply' &&
    other.type === 'append-reply' &&
    earlier.to === later.to &&
    one.term === other.term &&
    one.index <= other.index
  )
}

/** What we still owed a leader that we do not follow any more: it would count us as its follower again. */
function dropAcks(replica: Replica, leader: NodeId): void {
  const { promises } = replica
  if (promises === undefined) return
  const kept = promises.filter(({ envelope }) => envelope.to !== leader || envelope.message.type !== 'append-reply')
  replica.promises = kept.length === 0 ? undefined : kept
}

function bytesOf({ entries }: AppendMessage): number {
  let bytes = 0
  for (const entry of entries) bytes += entry.bytes
  return bytes
}
