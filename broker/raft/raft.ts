// One Raft group: the textbook algorithm as a pure step function. Calls go in, a Ready comes out; no clock, no I/O, no bytes.
//
// One instance per group and node, owned by replication/driver.ts, touched only from the shard's thread. Same calls, same
// jitter: same answers. Sources: D. Ongaro's dissertation "Consensus: Bridging Theory and Practice" (chapter numbers below).

import { invariant } from '../../protocol/invariant.ts'
import { type Group, Leadership } from './leadership.ts'
import { lastIndexOf, RaftLog, type Recovered } from './log.ts'
import { Membership, type MembershipOptions, sharedMemberships } from './membership.ts'
import type { Progress } from './progress.ts'
import { NO_ENTRIES, NO_ENVELOPES, NO_LOADS, NO_READS, type RaftSettings } from './settings.ts'
import {
  type AppendMessage,
  type AppendReply,
  type ConfirmedRead,
  type Entry,
  EntryKind,
  type Envelope,
  type HardState,
  type LogIndex,
  type MembershipChange,
  type Message,
  NO_INDEX,
  NOBODY,
  type NodeId,
  type PlacedMembership,
  type Ready,
  type Role,
  type SnapshotMessage,
  type Term,
  type VoteReply,
  type VoteRequest,
} from './types.ts'

export { type RaftOptions, RaftSettings } from './settings.ts'

export interface GroupStart {
  readonly id: NodeId
  /**
   * Oldest first. The first is known to be committed (index 0: the one the group was founded with); the others are entries of
   * the log after it. None for a replica that has no data and is no founder: it waits for a leader, and never votes.
   */
  readonly memberships: readonly PlacedMembership[]
  /** As last made durable; { term: 0, votedFor: NOBODY } for a new group. */
  readonly hardState: HardState
  readonly log: Recovered
}

/** What is to be sent and told: an idle group holds none of it. */
class Out {
  reads: ConfirmedRead[] | undefined = undefined
  sendNow: Envelope[] | undefined = undefined
  sendWhenDurable: Envelope[] | undefined = undefined
  snapshot: SnapshotMessage | undefined = undefined
}

export class Raft implements Group {
  readonly id: NodeId
  /** @internal */
  readonly settings: RaftSettings
  /** @internal */
  readonly log: RaftLog
  #term: Term
  #votedFor: NodeId
  #role: Role = 'follower'
  #leaderId: NodeId = NOBODY
  #electionElapsed = 0
  #electionTimeout: number
  #hardStateChanged = false
  #roleChanged = false
  #commitGiven: LogIndex
  #isContradicted = false
  /** Leading, and the membership in force is not yet committed or not yet the last of its change. */
  #changing = false
  #votes: Map<NodeId, boolean> | undefined = undefined
  /** While leading a group that has other members. */
  #leading: Leadership | undefined = undefined
  /** What the next Ready brings besides the log; none while nothing is to be said. */
  #out: Out | undefined = undefined

  constructor(settings: RaftSettings, start: GroupStart) {
    this.id = start.id
    this.settings = settings
    this.log = new RaftLog(
      start.log,
      start.memberships.map(({ index, membership }) => ({ index, membership: sharedMemberships.shared(membership) })),
    )
    this.#term = start.hardState.term
    this.#votedFor = start.hardState.votedFor
    this.#commitGiven = this.log.commitIndex
    this.#electionTimeout = this.#drawTimeout()
    invariant(
      this.#term >= this.log.lastTerm,
      'the term is at least that of the last entry',
      this.#term,
      this.log.lastTerm,
    )
  }

  get role(): Role {
    return this.#role
  }

  get isLeader(): boolean {
    return this.#role === 'leader'
  }

  get term(): Term {
    return this.#term
  }

  get votedFor(): NodeId {
    return this.#votedFor
  }

  /** NOBODY when unknown. */
  get leaderId(): NodeId {
    return this.#leaderId
  }

  /**
   * A leader's log has something else where ours is committed. No election brings that about: the group was begun anew by force from a
   * member that knew less. Ours is kept as it is, follows nobody and decides nothing any more.
   */
  get isContradicted(): boolean {
    return this.#isContradicted
  }

  /** In force: the newest that our log holds or a snapshot brought, committed or not. */
  get membership(): Membership {
    return this.log.membership
  }

  /** Whether a peer stores no payloads: by the membership in force, or by the committed one, which it may be about to leave. */
  isWitness(id: NodeId): boolean {
    return this.log.isWitness(id)
  }

  /** Index of the entry that put it into force. */
  get membershipIndex(): LogIndex {
    return this.log.membershipIndex
  }

  /** The newest one known to be committed. */
  get committedMembership(): PlacedMembership {
    return this.log.committedMembership
  }

  get firstIndex(): LogIndex {
    return this.log.firstIndex
  }

  get lastIndex(): LogIndex {
    return this.log.lastIndex
  }

  get lastTerm(): Term {
    return this.log.lastTerm
  }

  get commitIndex(): LogIndex {
    return this.log.commitIndex
  }

  get durableIndex(): LogIndex {
    return this.log.durableIndex
  }

  /** Whether tick() can have any effect; asked again after whatever happened to the group. */
  get needsTicks(): boolean {
    const { groupHeartbeats } = this.settings.options
    if (this.#role === 'leader') return this.#leading !== undefined && (groupHeartbeats || !this.isQuiescent)
    if (groupHeartbeats) return !this.membership.isUnborn
    return this.#leaderId === NOBODY && this.#mayStand
  }

  /** Nothing is under way: it may be left alone until somebody says something. */
  get isQuiescent(): boolean {
    const { commitIndex, lastIndex, durableIndex, isMembershipCommitted, membership } = this.log
    if (commitIndex !== lastIndex || durableIndex !== lastIndex) return false
    if (this.#role !== 'leader') return this.#role === 'follower' && this.#leaderId !== NOBODY
    if (!isMembershipCommitted || membership.isJoint) return false
    return this.#leading === undefined || this.#leading.isSettled
  }

  /** Leading, and everything of earlier terms is committed: our commit index is the group's (6.4). */
  get hasCommittedInTerm(): boolean {
    return this.#role === 'leader' && this.log.termAt(this.log.commitIndex) === this.#term
  }

  /** A transfer is under way; proposals are refused meanwhile. */
  get isTransferring(): boolean {
    return this.#leading !== undefined && this.#leading.transferTo !== NOBODY
  }

  /** Leads, and neither hands over nor is about to leave: propose() appends. */
  get takesProposals(): boolean {
    if (this.#role !== 'leader') return false
    const leading = this.#leading
    return leading === undefined || (leading.transferTo === NOBODY && !leading.isLeaving)
  }

  /** Term of an index; undefined outside the log. */
  termAt(index: LogIndex): Term | undefined {
    return this.log.termAt(index)
  }

  /** A leader's view of a peer, for metrics and for deciding who is in sync; undefined elsewhere. */
  progressOf(id: NodeId): Readonly<Progress> | undefined {
    return this.#leading?.peerOf(id)
  }

  /** One unit of time. A late tick counts once; messages that waited are received before it. */
  tick(): void {
    if (this.#role === 'leader') {
      if (this.#leading?.tick() === false) this.#becomeFollower(this.#term, NOBODY)
      return
    }
    const { membership } = this.log
    const isWatched = !this.settings.options.groupHeartbeats && this.#leaderId !== NOBODY
    if (isWatched || membership.isUnborn) return
    this.#electionElapsed += 1
    if (this.#electionElapsed < this.#electionTimeout) return
    this.#electionElapsed = 0
    if (this.#mayStand) this.campaign()
    else if (this.#leaderId !== NOBODY) this.#enterRole('follower', NOBODY)
  }

  /**
   * Appends one entry when we lead. It is in the next Ready.entries, and in Ready.committed once a quorum holds it.
   * @param count how many indexes it covers
   * @param ref kept until the entry is committed
   * @param bytes size of its payload
   * @returns the entry, so that the driver can stamp index and term; undefined when we do not lead, are handing over or leaving
   */
  propose(kind: EntryKind, count: number, ref: unknown, bytes = 0): Entry | undefined {
    if (!this.takesProposals) return undefined
    invariant(count >= 1, 'an entry covers at least one index', count)
    invariant(kind !== EntryKind.Membership, 'memberships are changed by changeMembership', kind)
    if (this.#leading !== undefined) this.#leading.newsDue = true
    return this.log.append(this.#term, count, kind, bytes, ref)
  }

  /**
   * Begins to change who votes and who listens. Other voters: a joint configuration first, which the leader leaves by itself
   * once it is committed (4.3); other learners only: one plain entry. A leader that is no voter afterwards steps down when the
   * last entry of the change is committed. A new voter must be a learner that holds the entry that made it one: else it would
   * know of no group, not vote, and could be needed for the next election. Who must not vote later but stay is named a learner.
   * @param options sizes of flexible quorums and witnesses, also those among the learners; majorities and none when left out
   * @returns refused: no voter would store payloads, a witness would become a full member, or a full voter a witness
   */
  changeMembership(
    voters: readonly NodeId[],
    learners: readonly NodeId[],
    options: MembershipOptions = {},
  ): MembershipChange {
    if (this.#role !== 'leader') return 'not-leader'
    const log = this.log
    const current = log.membership
    const witnesses = options.witnesses ?? []
    const keepsKinds = current.members.every((id) => {
      const isWitness = current.isWitness(id)
      if (isWitness === witnesses.includes(id) || !(voters.includes(id) || learners.includes(id))) return true
      // A learner that stores payloads may give that up. The log of a witness has none, and cannot become that of a full member.
      return !isWitness && !current.isVoter(id)
    })
    if (!voters.some((id) => !witnesses.includes(id)) || !keepsKinds) return 'refused'
    if (!log.isMembershipCommitted || current.isJoint || !this.hasCommittedInTerm) return 'busy'
    const target = new Membership(voters, learners, [], options)
    if (current.equals(target)) return 'unchanged'
    if (this.isTransferring) return 'busy'
    for (const id of voters) {
      const matchIndex = this.#leading?.peerOf(id)?.matchIndex ?? NO_INDEX
      const isReady = current.learners.includes(id) && matchIndex >= log.membershipIndex
      if (!current.isVoter(id) && !isReady) return 'busy'
    }
    this.#appendMembership(current.hasSameVoters(target) ? target : current.jointWith(target))
    return 'proposed'
  }

  /**
   * Our disk holds everything up to `index`, whose entry is of `term`. Answers about replaced entries are ignored; storage
   * must not report an entry that was cut off again before the answer, even if the same entry has been appended since.
   */
  durable(term: Term, index: LogIndex): void {
    if (!this.log.durable(term, index) || this.#role !== 'leader') return
    if (this.#leading !== undefined) {
      // Witnesses wait for our disk.
      if (this.membership.witnesses.length > 0) this.#leading.newsDue = true
      this.#advanceCommit(this.#leading)
    }
    // Only an entry of our own term may be counted (3.6.2); it commits all before it.
    else if (term === this.#term) this.log.commit(index)
  }

  /**
   * Starts an election now, unless we lead, have no vote or are a witness. Ends the promise to vote for nobody while our leader
   * lives: who gives out such promises calls it only when they are over.
   * @param options force: without asking first whether it can be won (the first election of a new group)
   */
  campaign(options: { readonly force?: boolean } = {}): void {
    const { membership } = this.log
    if (this.#role === 'leader' || !this.#mayStand) return
    const asksFirst = this.settings.options.preVote && options.force !== true && !membership.decidesAlone(this.id)
    if (asksFirst) this.#becomePreCandidate()
    else this.#becomeCandidate(false)
  }

  /**
   * Whoever watches the leader's broker judged it dead: we stand for election within the next electionTicks ticks, by chance.
   */
  leaderLost(): void {
    if (this.#role !== 'follower' || this.#leaderId === NOBODY) return
    this.#enterRole('follower', NOBODY)
    const { electionTicks, jitter } = this.settings.options
    this.#electionTimeout = 1 + Math.floor(jitter() * electionTicks)
  }

  /**
   * Hands leadership to another voter once its log is complete (3.10); given up after an election timeout. Until then nothing
   * can be proposed; and once the successor was told to stand, there is no lease in this term any more.
   * @returns false when we do not lead or it cannot
   */
  transfer(to: NodeId): boolean {
    const leading = this.#leading
    const peer = leading?.peerOf(to)
    if (leading === undefined || peer === undefined) return false
    if (!this.membership.voters.includes(to) || !this.membership.canLead(to)) return false
    leading.transfer(peer)
    return true
  }

  /** Gives leadership up, for instance because our disk failed; the voter that holds most is asked to stand at once. */
  stepDown(): void {
    this.#leading?.nameSuccessor()
    if (this.#role !== 'follower') this.#becomeFollower(this.#term, NOBODY)
  }

  /**
   * A leader that could commit nothing with those who are active steps down: clients learn that it refuses.
   * @param isActive whether a peer was heard of lately
   * @returns whether we lead after it
   */
  checkQuorum(isActive: (id: NodeId) => boolean): boolean {
    if (this.#role !== 'leader') return false
    if (this.membership.canCommit((id) => id === this.id || isActive(id))) return true
    this.#becomeFollower(this.#term, NOBODY)
    return false
  }

  /**
   * Asks a quorum whether we still lead (6.4); the answer is in Ready.reads. While we do not lead any more there is none.
   * @param context given back with the answer
   * @returns false when it cannot be asked now: not leading, nothing of our term committed yet, too many waiting
   */
  requestRead(context: number): boolean {
    if (!this.hasCommittedInTerm) return false
    if (this.#leading !== undefined && !this.membership.decidesAlone(this.id)) return this.#leading.requestRead(context)
    this.readsConfirmed([{ context, index: this.log.commitIndex }])
    return true
  }

  /**
   * Whether our state as of commitIndex may be read without asking anybody: nobody else can have been elected.
   * @param isConfirmed whether a voter's promise to vote for nobody else in this group and term still runs
   */
  hasLease(isConfirmed: (id: NodeId) => boolean): boolean {
    if (!this.hasCommittedInTerm || this.isTransferring || this.#leading?.leaseVoid === true) return false
    return this.membership.canBlock((id) => id === this.id || isConfirmed(id))
  }

  /** Notes a number with a peer's newest reply of our term (leases compare it later); see Progress.lastReplyTag. */
  setReplyTag(id: NodeId, tag: number): void {
    const peer = this.#leading?.peerOf(id)
    if (peer !== undefined) peer.lastReplyTag = tag
  }

  /** Storage dropped what lies before `firstIndex`, the start of an entry: committed entries only. */
  trim(firstIndex: LogIndex): void {
    this.log.trim(firstIndex)
  }

  /** The driver brings what a Ready.loads asked for; no entries when they were trimmed away meanwhile. */
  loaded(to: NodeId, entries: readonly Entry[]): void {
    const peer = this.#leading?.peerOf(to)
    if (peer !== undefined) this.#leading?.loaded(peer, entries)
  }

  /**
   * What we sent to this peer may be lost, and nothing reaches it now: where it is will have to be found out again. Until
   * reachable(), or until it speaks, nobody waits for it. A lost snapshot is not noticed in any other way.
   */
  unreachable(id: NodeId): void {
    const peer = this.#leading?.peerOf(id)
    if (peer !== undefined) this.#leading?.unreachable(peer)
  }

  /** This peer can be sent to (again): asks at once where it is. */
  reachable(id: NodeId): void {
    const peer = this.#leading?.peerOf(id)
    if (peer !== undefined) this.#leading?.reachable(peer)
  }

  receive(from: NodeId, message: Message): void {
    // Who knows of no group has no say in it: its disk may be the replacement of one that voted.
    if (message.type === 'vote-request' && (this.membership.isUnborn || this.#isContradicted)) return
    if (message.term > this.#term) {
      if (!this.#adoptTerm(from, message)) return
    } else if (message.term < this.#term) {
      this.#answerStale(from, message)
      return
    }
    switch (message.type) {
      case 'append':
        this.#onAppend(from, message)
        return
      case 'append-reply':
        this.#onAppendReply(from, message)
        return
      case 'heartbeat':
        this.#followLeader(from)
        if (this.#isContradicted) return
        if (message.commitIndex <= this.log.lastIndex) this.log.commit(message.commitIndex)
        this.send(from, {
          type: 'heartbeat-reply',
          term: this.#term,
          commitIndex: this.log.commitIndex,
          context: message.context,
        })
        return
      case 'heartbeat-reply':
        this.#leading?.onHeartbeatReply(from, message)
        return
      case 'vote-request':
        this.#onVoteRequest(from, message)
        return
      case 'vote-reply':
        this.#onVoteReply(from, message)
        return
      case 'timeout-now':
        if (this.#role !== 'leader' && this.#mayStand) this.#becomeCandidate(true)
        return
      case 'snapshot':
        this.#onSnapshot(from, message)
        return
    }
  }

  /** What is to be done since the last call, or undefined. See Ready for the order and for how long it is valid. */
  ready(): Ready | undefined {
    const leading = this.#leading
    if (leading !== undefined) leading.sendDue()
    const log = this.log
    if (
      !log.hasUnwritten &&
      log.commitIndex === this.#commitGiven &&
      this.#out === undefined &&
      leading?.loads === undefined &&
      !this.#hardStateChanged &&
      !this.#roleChanged &&
      !log.membershipChanged
    ) {
      return undefined
    }
    const out = this.#out
    const ready = this.settings.ready
    ready.roleChanged = this.#roleChanged
    ready.membershipChanged = log.membershipChanged
    ready.snapshot = out?.snapshot
    ready.truncateFrom = log.truncateFrom
    ready.hardState = this.#hardStateChanged ? { term: this.#term, votedFor: this.#votedFor } : undefined
    ready.sendNow = out?.sendNow ?? NO_ENVELOPES
    ready.sendWhenDurable = out?.sendWhenDurable ?? NO_ENVELOPES
    ready.loads = leading?.loads ?? NO_LOADS
    ready.reads = out?.reads ?? NO_READS
    ready.commitIndex = log.commitIndex
    ready.takeEntries(log)
    this.#roleChanged = false
    log.membershipChanged = false
    this.#out = undefined
    log.truncateFrom = NO_INDEX
    this.#hardStateChanged = false
    if (leading !== undefined) leading.loads = undefined
    this.#commitGiven = log.commitIndex
    return ready
  }

  // Elections

  get #mayStand(): boolean {
    return !this.#isContradicted && this.log.mayStand(this.id)
  }

  #becomeFollower(term: Term, leaderId: NodeId): void {
    invariant(term >= this.#term, 'a term never falls', term, this.#term)
    if (term > this.#term) {
      this.#term = term
      this.#votedFor = NOBODY
      this.#hardStateChanged = true
    }
    this.#enterRole('follower', leaderId)
  }

  #becomePreCandidate(): void {
    this.#enterRole('pre-candidate', NOBODY)
    this.#votes = new Map([[this.id, true]])
    this.#requestVotes(true, false)
  }

  #becomeCandidate(transfer: boolean): void {
    this.#term += 1
    this.#votedFor = this.id
    this.#hardStateChanged = true
    this.#enterRole('candidate', NOBODY)
    this.#votes = new Map()
    // Our own vote counts when it is on our disk. The requests wait as well: a candidate that forgets its term could ask
    // again in the same one and lead it twice, with different entries at the same index.
    this.#promise(this.id, { type: 'vote-reply', term: this.#term, pre: false, granted: true })
    this.#requestVotes(false, transfer)
  }

  #becomeLeader(): void {
    this.#enterRole('leader', this.id)
    this.#changing = !this.log.isMembershipCommitted || this.membership.isJoint
    const leading = new Leadership(this)
    leading.syncPeers(this.log.lastIndex + 1)
    leading.newsDue = true
    if (leading.hasPeers) this.#leading = leading
    // Commits what earlier terms left behind (3.6.2) and tells everyone where this term begins.
    this.log.append(this.#term, 1, EntryKind.LeaderChange, 0, undefined)
  }

  #enterRole(role: Role, leaderId: NodeId): void {
    this.#roleChanged ||= role !== this.#role || leaderId !== this.#leaderId
    this.#role = role
    this.#leaderId = leaderId
    this.#electionElapsed = 0
    this.#electionTimeout = this.#drawTimeout()
    this.#changing = false
    this.#votes = undefined
    this.#leading = undefined
  }

  #drawTimeout(): number {
    const { electionTicks, jitter } = this.settings.options
    return electionTicks + Math.floor(jitter() * electionTicks)
  }

  #requestVotes(pre: boolean, transfer: boolean): void {
    const term = pre ? this.#term + 1 : this.#term
    const { lastIndex, lastTerm } = this.log
    for (const id of this.membership.members) {
      if (id === this.id || !this.membership.isVoter(id)) continue
      const request: VoteRequest = { type: 'vote-request', term, lastIndex, lastTerm, pre, transfer }
      if (pre) this.send(id, request)
      else this.#promise(id, request)
    }
  }

  #onVoteRequest(from: NodeId, request: VoteRequest): void {
    invariant(
      request.pre || request.term === this.#term,
      'a newer term is adopted before its vote is weighed',
      request.term,
      this.#term,
    )
    const free = this.#votedFor === from || (this.#votedFor === NOBODY && this.#leaderId === NOBODY)
    const allowed = free || (request.pre && request.term > this.#term)
    const granted = allowed && this.log.isUpToDate(request.lastIndex, request.lastTerm)
    if (!granted) {
      this.send(from, { type: 'vote-reply', term: this.#term, pre: request.pre, granted: false })
    } else if (request.pre) {
      this.send(from, { type: 'vote-reply', term: request.term, pre: true, granted: true })
    } else {
      this.#hardStateChanged ||= this.#votedFor !== from
      this.#votedFor = from
      this.#electionElapsed = 0
      this.#electionTimeout = this.#drawTimeout()
      this.#promise(from, { type: 'vote-reply', term: this.#term, pre: false, granted: true })
    }
  }

  #onVoteReply(from: NodeId, reply: VoteReply): void {
    if (this.#role !== (reply.pre ? 'pre-candidate' : 'candidate') || this.#votes === undefined) return
    // A granted pre-vote names the term we would enter; any other is an answer to an older question.
    if (reply.pre && reply.granted && reply.term !== this.#term + 1) return
    if (!this.#votes.has(from)) this.#votes.set(from, reply.granted)
    const votes = this.#votes
    const outcome = this.membership.electionOutcome((id) => votes.get(id))
    if (outcome === 'won') {
      if (reply.pre) this.#becomeCandidate(false)
      else this.#becomeLeader()
    } else if (outcome === 'lost') {
      this.#becomeFollower(this.#term, NOBODY)
    }
  }

  /**
   * A message of a newer term has come.
   * @returns false when it is to be ignored
   */
  #adoptTerm(from: NodeId, message: Message): boolean {
    switch (message.type) {
      case 'vote-request':
        // Our leader lives: a vote would only disturb it (4.2.3). Without an answer the candidate stays where it is. A leader
        // that asks for votes itself is none any more.
        if (this.#hasLiveLeader() && from !== this.#leaderId && !message.transfer) return false
        if (!message.pre) this.#becomeFollower(message.term, NOBODY)
        else if (from === this.#leaderId) this.#enterRole('follower', NOBODY)
        return true
      case 'append':
      case 'heartbeat':
      case 'snapshot':
        this.#becomeFollower(message.term, from)
        return true
      case 'vote-reply':
        // It names the term we would enter.
        if (message.pre && message.granted) return true
        break
      default:
        break
    }
    // Late words about an election or a leadership of ours that is over: they must not tear us from a leader that counts on us.
    if (message.type !== 'timeout-now' && this.#role === 'follower' && this.#hasLiveLeader()) return false
    this.#becomeFollower(message.term, NOBODY)
    return true
  }

  /** Check-quorum makes the leader's silence the only reason for a vote (4.2.3). */
  #hasLiveLeader(): boolean {
    const { checkQuorum, electionTicks, groupHeartbeats } = this.settings.options
    if (!checkQuorum || this.#leaderId === NOBODY) return false
    // Without heartbeats of the group, silence says nothing: leaderLost() does.
    return !groupHeartbeats || this.#electionElapsed < electionTicks
  }

  /** The sender is behind: tell it, where that helps. */
  #answerStale(from: NodeId, message: Message): void {
    if (message.type === 'append' || message.type === 'heartbeat' || message.type === 'snapshot') {
      // It believes to lead. Our term ends that, and ends our being left out when our term grew in a partition.
      const index = message.type === 'append' ? message.prevIndex : this.log.commitIndex
      this.#reject(from, index, this.log.commitIndex, this.log.termAt(this.log.commitIndex) ?? 0)
    } else if (message.type === 'vote-request') {
      this.send(from, { type: 'vote-reply', term: this.#term, pre: message.pre, granted: false })
    }
  }

  // Following

  #followLeader(from: NodeId): void {
    invariant(this.#role !== 'leader', 'one leader per term', this.#term, from)
    if (this.#role !== 'follower' || this.#leaderId !== from) this.#becomeFollower(this.#term, from)
    this.#electionElapsed = 0
  }

  #onAppend(from: NodeId, message: AppendMessage): void {
    this.#followLeader(from)
    const log = this.log
    if (this.#isAnotherHistory(message.prevIndex, message.prevTerm, message.entries)) return
    if (message.prevIndex < log.commitIndex) {
      // As far as the leader has shown what it has: what is committed here lies in its log, unless that was begun anew by force.
      const last = message.entries[message.entries.length - 1]
      this.#acknowledge(from, Math.min(log.commitIndex, last === undefined ? message.prevIndex : lastIndexOf(last)))
    } else if (log.termAt(message.prevIndex) === message.prevTerm) {
      const lastIndex = log.merge(message.prevIndex, message.entries)
      log.commit(Math.min(message.commitIndex, lastIndex))
      this.#acknowledge(from, lastIndex)
    } else {
      const hintIndex = log.lastIndexOfTerm(message.prevIndex, message.prevTerm)
      this.#reject(from, message.prevIndex, hintIndex, log.termAt(hintIndex) ?? 0)
    }
  }

  /** Whether a leader has something else where our log is committed, now or before. */
  #isAnotherHistory(prevIndex: LogIndex, prevTerm: Term, entries: readonly Entry[]): boolean {
    const log = this.log
    if (this.#isContradicted) return true
    if (prevIndex > log.commitIndex) return false
    let differs = log.isOther(prevIndex, prevTerm)
    for (let at = 0; !differs && at < entries.length && entries[at]!.index <= log.commitIndex; at++) {
      differs = log.isOther(entries[at]!.index, entries[at]!.term)
    }
    if (!differs) return false
    this.#isContradicted = true
    // Whoever watches this group is to hear of it.
    this.#roleChanged = true
    return true
  }

  /** Promises that we hold everything up to `index`; a later promise of the same Ready takes an earlier one's place. */
  #acknowledge(to: NodeId, index: LogIndex): void {
    const promises = this.#out?.sendWhenDurable
    const last = promises?.[promises.length - 1]
    if (last?.to === to && last.message.type === 'append-reply' && last.message.term === this.#term) {
      promises!.pop()
      index = Math.max(index, last.message.index)
    }
    this.#promise(to, { type: 'append-reply', term: this.#term, rejected: false, index, hintIndex: 0, hintTerm: 0 })
  }

  #reject(to: NodeId, index: LogIndex, hintIndex: LogIndex, hintTerm: Term): void {
    this.send(to, { type: 'append-reply', term: this.#term, rejected: true, index, hintIndex, hintTerm })
  }

  #onSnapshot(from: NodeId, message: SnapshotMessage): void {
    this.#followLeader(from)
    const log = this.log
    if (this.#isAnotherHistory(message.index, message.indexTerm, NO_ENTRIES)) return
    if (message.index > log.commitIndex) {
      if (log.termAt(message.index) === message.indexTerm) {
        // We hold that entry: all before it is the leader's and committed, and our own copy is as good.
        log.commit(message.index)
      } else {
        log.restore(message.index, message.indexTerm, message.membershipIndex, message.membership)
        this.#output.snapshot = message
        this.#commitGiven = log.commitIndex
      }
    }
    this.#acknowledge(from, message.index)
  }

  // Leading

  #appendMembership(membership: Membership): void {
    const shared = sharedMemberships.shared(membership)
    const { index } = this.log.append(this.#term, 1, EntryKind.Membership, 0, shared)
    this.#changing = true
    this.#leading ??= new Leadership(this)
    const leading = this.#leading
    leading.newsDue = true
    if (!membership.voters.includes(leading.transferTo)) leading.transferTo = NOBODY
    leading.syncPeers(index)
  }

  #onAppendReply(from: NodeId, reply: AppendReply): void {
    const leading = this.#leading
    const peer = leading?.peerOf(from)
    if (leading === undefined || peer === undefined) return
    if (leading.onAppendReply(peer, reply)) this.#advanceCommit(leading)
    if (!reply.rejected && this.#leading === leading) leading.goOn(peer)
  }

  #advanceCommit(leading: Leadership): void {
    const index = leading.committableIndex()
    if (index === NO_INDEX) return
    const { log } = this
    log.commit(index)
    leading.newsDue = true
    if (this.#changing && log.isMembershipCommitted) this.#membershipCommitted(leading)
  }

  /** The membership in force is committed: leave the joint state, or forget who is no member any more. */
  #membershipCommitted(leading: Leadership): void {
    const { membership } = this.log
    if (membership.isJoint) {
      this.#appendMembership(membership.withoutOutgoing())
      return
    }
    this.#changing = false
    // Also those who leave hear that it is committed: who knows that it is out disturbs nobody.
    leading.sendNewsToAll()
    if (membership.isVoter(this.id)) {
      leading.syncPeers(this.log.lastIndex + 1)
      if (!leading.hasPeers) this.#leading = undefined
    } else {
      leading.nameSuccessor()
      this.#becomeFollower(this.#term, NOBODY)
    }
  }

  /** @internal */
  readsConfirmed(reads: ConfirmedRead[]): void {
    const out = this.#output
    out.reads = out.reads === undefined ? reads : [...out.reads, ...reads]
  }

  /** @internal */
  send(to: NodeId, message: Message): void {
    const out = this.#output
    out.sendNow ??= []
    out.sendNow.push({ to, message })
  }

  /** Sends once everything said so far is on our disk. */
  #promise(to: NodeId, message: Message): void {
    const out = this.#output
    out.sendWhenDurable ??= []
    out.sendWhenDurable.push({ to, message })
  }

  get #output(): Out {
    this.#out ??= new Out()
    return this.#out
  }
}
