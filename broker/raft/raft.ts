// One Raft group: the textbook algorithm as a pure step function. Events go in, a Ready comes out; no clock, no I/O, no bytes.
//
// One instance per group and node, owned by replication/driver.ts, touched only from the shard's thread. Same events, same
// jitter: same answers. Sources: D. Ongaro's dissertation "Consensus: Bridging Theory and Practice" (chapter numbers below).

import { invariant } from '../../protocol/invariant.ts'
import { lastIndexOf, RaftLog, type Recovered } from './log.ts'
import type { Membership } from './membership.ts'
import { Progress } from './progress.ts'
import { NO_ENTRIES, NO_ENVELOPES, NO_LOADS, type RaftSettings } from './settings.ts'
import {
  type AppendMessage,
  type AppendReply,
  type Entry,
  EntryKind,
  type Envelope,
  type Event,
  type HardState,
  type HeartbeatReply,
  type LoadRequest,
  type LogIndex,
  type Message,
  NO_INDEX,
  NOBODY,
  type NodeId,
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
  readonly membership: Membership
  /** As last made durable; { term: 0, votedFor: NOBODY } for a new group. */
  readonly hardState: HardState
  readonly log: Recovered
}

export class Raft {
  readonly id: NodeId
  readonly #settings: RaftSettings
  readonly #log: RaftLog
  #membership: Membership
  #term: Term
  #votedFor: NodeId
  #role: Role = 'follower'
  #leaderId: NodeId = NOBODY
  #electionElapsed = 0
  #heartbeatElapsed = 0
  #electionTimeout: number
  #hardStateChanged = false
  #roleChanged = false
  /** Entries or a commit index that peers have not been told of: sent at the next ready(), in one message. */
  #appendsDue = false
  #commitGiven: LogIndex
  #transferTo: NodeId = NOBODY
  #votes: Map<NodeId, boolean> | undefined = undefined
  #peers: Map<NodeId, Progress> | undefined = undefined
  #sendNow: Envelope[] | undefined = undefined
  #sendWhenDurable: Envelope[] | undefined = undefined
  #loads: LoadRequest[] | undefined = undefined
  #snapshot: SnapshotMessage | undefined = undefined

  constructor(settings: RaftSettings, start: GroupStart) {
    this.id = start.id
    this.#settings = settings
    this.#log = new RaftLog(start.log)
    this.#membership = start.membership
    this.#term = start.hardState.term
    this.#votedFor = start.hardState.votedFor
    this.#commitGiven = this.#log.commitIndex
    this.#electionTimeout = this.#drawTimeout()
    invariant(
      this.#term >= this.#log.lastTerm,
      'the term is at least that of the last entry',
      this.#term,
      this.#log.lastTerm,
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

  get membership(): Membership {
    return this.#membership
  }

  get firstIndex(): LogIndex {
    return this.#log.firstIndex
  }

  get lastIndex(): LogIndex {
    return this.#log.lastIndex
  }

  get lastTerm(): Term {
    return this.#log.lastTerm
  }

  get commitIndex(): LogIndex {
    return this.#log.commitIndex
  }

  get durableIndex(): LogIndex {
    return this.#log.durableIndex
  }

  /** Ticks do nothing for it: a voter that decides alone has nobody to fear. */
  get needsTicks(): boolean {
    return !(this.#role === 'leader' && this.#membership.decidesAlone(this.id))
  }

  /** A transfer is under way; proposals are refused meanwhile. */
  get isTransferring(): boolean {
    return this.#transferTo !== NOBODY
  }

  /** Term of an index; undefined outside the log. */
  termAt(index: LogIndex): Term | undefined {
    return this.#log.termAt(index)
  }

  /** A leader's view of a peer, for metrics and for deciding who is in sync; undefined elsewhere. */
  progressOf(id: NodeId): Readonly<Progress> | undefined {
    return this.#peers?.get(id)
  }

  /** The one door for tests and the simulator; hot paths call the methods behind it. */
  step(event: Event): void {
    switch (event.type) {
      case 'tick':
        this.tick()
        return
      case 'receive':
        this.receive(event.from, event.message)
        return
      case 'propose':
        for (const { kind, count, ref } of event.proposals) this.propose(kind, count, ref)
        return
      case 'durable':
        this.durable(event.term, event.index)
        return
      case 'campaign':
        this.campaign()
        return
      case 'transfer':
        this.transfer(event.to)
        return
      case 'step-down':
        this.stepDown()
        return
      case 'loaded':
        this.loaded(event.to, event.entries)
        return
      case 'unreachable':
        this.unreachable(event.from)
        return
    }
  }

  /** One unit of time. A late tick counts once; messages that waited are received before it. */
  tick(): void {
    this.#electionElapsed += 1
    if (this.#role !== 'leader') {
      if (this.#electionElapsed >= this.#electionTimeout) {
        this.#electionElapsed = 0
        this.campaign()
      }
      return
    }
    const { electionTicks, heartbeatTicks, checkQuorum } = this.#settings.options
    if (this.#peers === undefined) return
    if (this.#electionElapsed >= electionTicks) {
      this.#electionElapsed = 0
      // A successor that did not manage within one election timeout will not (3.10).
      this.#transferTo = NOBODY
      if (checkQuorum && !this.#hearsQuorum()) {
        this.#becomeFollower(this.#term, NOBODY)
        return
      }
    }
    this.#heartbeatElapsed += 1
    if (this.#heartbeatElapsed < heartbeatTicks) return
    this.#heartbeatElapsed = 0
    for (const peer of this.#peers.values()) {
      const commitIndex = Math.min(peer.matchIndex, this.#log.commitIndex)
      this.#send(peer.id, { type: 'heartbeat', term: this.#term, commitIndex })
    }
  }

  /**
   * Appends one entry when we lead. It is in the next Ready.entries, and in Ready.committed once a quorum holds it.
   * @param count how many indexes it covers
   * @param ref kept until the entry is committed
   * @returns the entry, so that the driver can stamp index and term; undefined when we do not lead or are handing over
   */
  propose(kind: EntryKind, count: number, ref: unknown): Entry | undefined {
    if (this.#role !== 'leader' || this.#transferTo !== NOBODY) return undefined
    invariant(count >= 1, 'an entry covers at least one index', count)
    this.#appendsDue = true
    return this.#log.append(this.#term, count, kind, ref)
  }

  /**
   * Our disk holds everything up to `index`, whose entry is of `term`. Answers about replaced entries are ignored; storage
   * must not report an entry that was cut off again before the answer, even if the same entry has been appended since.
   */
  durable(term: Term, index: LogIndex): void {
    if (!this.#log.durable(term, index) || this.#role !== 'leader') return
    if (this.#peers !== undefined) this.#advanceCommit()
    // Only an entry of our own term may be counted (3.6.2); it commits all before it.
    else if (term === this.#term) this.#log.commit(index)
  }

  /** Starts an election now, unless we lead or have no vote. */
  campaign(): void {
    if (this.#role === 'leader' || !this.#membership.isVoter(this.id)) return
    if (this.#settings.options.preVote && !this.#membership.decidesAlone(this.id)) this.#becomePreCandidate()
    else this.#becomeCandidate(false)
  }

  /**
   * Hands leadership to another voter once its log is complete (3.10); given up after an election timeout.
   * @returns false when we do not lead or it is no voter
   */
  transfer(to: NodeId): boolean {
    const peer = this.#peers?.get(to)
    if (this.#role !== 'leader' || peer === undefined || !this.#membership.isVoter(to)) return false
    this.#transferTo = to
    this.#electionElapsed = 0
    if (peer.matchIndex === this.#log.lastIndex) this.#send(to, { type: 'timeout-now', term: this.#term })
    else this.#sendAppend(peer, true)
    return true
  }

  /** Gives leadership up, for instance because our disk failed. */
  stepDown(): void {
    if (this.#role !== 'follower') this.#becomeFollower(this.#term, NOBODY)
  }

  /** Storage dropped what lies before `firstIndex`, the start of an entry: committed entries only. */
  trim(firstIndex: LogIndex): void {
    this.#log.trim(firstIndex)
  }

  /** The driver brings what a Ready.loads asked for; no entries when they were trimmed away meanwhile. */
  loaded(to: NodeId, entries: readonly Entry[]): void {
    const peer = this.#peers?.get(to)
    if (this.#role !== 'leader' || peer === undefined || !peer.loading) return
    peer.loading = false
    const first = entries[0]
    if (first === undefined) {
      // Trimmed away: a snapshot follows. Otherwise a failed read, tried again at the peer's next sign of life.
      if (peer.nextIndex < this.#log.firstIndex) this.#sendAppend(peer, false)
    } else if (
      first.index <= peer.nextIndex &&
      lastIndexOf(first) >= peer.nextIndex &&
      !peer.isPaused(this.#settings.options.inflightAppendsMax)
    ) {
      this.#sendEntries(peer, entries)
    }
  }

  /** What we sent to this peer may be lost: find out where it is. A lost snapshot is not noticed in any other way. */
  unreachable(id: NodeId): void {
    this.#peers?.get(id)?.unreachable()
  }

  receive(from: NodeId, message: Message): void {
    if (message.term > this.#term) {
      if (message.type === 'vote-request') {
        // Our leader lives: a vote would only disturb it (4.2.3). Without an answer the candidate stays where it is.
        if (this.#hasLiveLeader() && !message.transfer) return
        if (!message.pre) this.#becomeFollower(message.term, NOBODY)
      } else if (message.type !== 'vote-reply' || !message.pre || !message.granted) {
        const fromLeader = message.type === 'append' || message.type === 'heartbeat' || message.type === 'snapshot'
        this.#becomeFollower(message.term, fromLeader ? from : NOBODY)
      }
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
        if (message.commitIndex <= this.#log.lastIndex) this.#log.commit(message.commitIndex)
        this.#send(from, { type: 'heartbeat-reply', term: this.#term, commitIndex: this.#log.commitIndex })
        return
      case 'heartbeat-reply':
        this.#onHeartbeatReply(from, message)
        return
      case 'vote-request':
        this.#onVoteRequest(from, message)
        return
      case 'vote-reply':
        this.#onVoteReply(from, message)
        return
      case 'timeout-now':
        if (this.#role !== 'leader' && this.#membership.isVoter(this.id)) this.#becomeCandidate(true)
        return
      case 'snapshot':
        this.#onSnapshot(from, message)
        return
    }
  }

  /** What is to be done since the last call, or undefined. See Ready for the order and for how long it is valid. */
  ready(): Ready | undefined {
    if (this.#appendsDue) {
      this.#appendsDue = false
      if (this.#peers !== undefined)
        for (const peer of this.#peers.values()) this.#sendAppend(peer, peer.commitSent < this.#log.commitIndex)
    }
    const log = this.#log
    if (
      !log.hasUnwritten &&
      log.commitIndex === this.#commitGiven &&
      this.#sendNow === undefined &&
      this.#sendWhenDurable === undefined &&
      this.#loads === undefined &&
      this.#snapshot === undefined &&
      !this.#hardStateChanged &&
      !this.#roleChanged
    ) {
      return undefined
    }
    const ready = this.#settings.ready
    ready.roleChanged = this.#roleChanged
    ready.snapshot = this.#snapshot
    ready.truncateFrom = log.truncateFrom
    ready.hardState = this.#hardStateChanged ? { term: this.#term, votedFor: this.#votedFor } : undefined
    ready.sendNow = this.#sendNow ?? NO_ENVELOPES
    ready.sendWhenDurable = this.#sendWhenDurable ?? NO_ENVELOPES
    ready.loads = this.#loads ?? NO_LOADS
    ready.commitIndex = log.commitIndex
    ready.takeEntries(log)
    this.#roleChanged = false
    this.#snapshot = undefined
    log.truncateFrom = NO_INDEX
    this.#hardStateChanged = false
    this.#sendNow = undefined
    this.#sendWhenDurable = undefined
    this.#loads = undefined
    this.#commitGiven = log.commitIndex
    return ready
  }

  // Elections

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
    if (this.#membership.members.length > 1) {
      this.#peers = new Map()
      for (const id of this.#membership.members) {
        if (id === this.id) continue
        const peer = new Progress(id, this.#log.lastIndex + 1)
        peer.recentActive = true
        this.#peers.set(id, peer)
      }
    }
    // Commits what earlier terms left behind (3.6.2) and tells everyone where this term begins.
    this.#log.append(this.#term, 1, EntryKind.LeaderChange, undefined)
    this.#appendsDue = true
  }

  #enterRole(role: Role, leaderId: NodeId): void {
    this.#roleChanged ||= role !== this.#role || leaderId !== this.#leaderId
    this.#role = role
    this.#leaderId = leaderId
    this.#electionElapsed = 0
    this.#heartbeatElapsed = 0
    this.#electionTimeout = this.#drawTimeout()
    this.#transferTo = NOBODY
    this.#votes = undefined
    this.#peers = undefined
    this.#appendsDue = false
    this.#loads = undefined
  }

  #drawTimeout(): number {
    const { electionTicks, jitter } = this.#settings.options
    return electionTicks + Math.floor(jitter() * electionTicks)
  }

  #requestVotes(pre: boolean, transfer: boolean): void {
    const term = pre ? this.#term + 1 : this.#term
    const { lastIndex, lastTerm } = this.#log
    for (const id of this.#membership.members) {
      if (id === this.id || !this.#membership.isVoter(id)) continue
      const request: VoteRequest = { type: 'vote-request', term, lastIndex, lastTerm, pre, transfer }
      if (pre) this.#send(id, request)
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
    const granted = allowed && this.#log.isUpToDate(request.lastIndex, request.lastTerm)
    if (!granted) {
      this.#send(from, { type: 'vote-reply', term: this.#term, pre: request.pre, granted: false })
    } else if (request.pre) {
      this.#send(from, { type: 'vote-reply', term: request.term, pre: true, granted: true })
    } else {
      this.#hardStateChanged ||= this.#votedFor !== from
      this.#votedFor = from
      this.#electionElapsed = 0
      this.#promise(from, { type: 'vote-reply', term: this.#term, pre: false, granted: true })
    }
  }

  #onVoteReply(from: NodeId, reply: VoteReply): void {
    if (this.#role !== (reply.pre ? 'pre-candidate' : 'candidate') || this.#votes === undefined) return
    // A granted pre-vote names the term we would enter; any other is an answer to an older question.
    if (reply.pre && reply.granted && reply.term !== this.#term + 1) return
    if (!this.#votes.has(from)) this.#votes.set(from, reply.granted)
    const votes = this.#votes
    const outcome = this.#membership.electionOutcome((id) => votes.get(id))
    if (outcome === 'won') {
      if (reply.pre) this.#becomeCandidate(false)
      else this.#becomeLeader()
    } else if (outcome === 'lost') {
      this.#becomeFollower(this.#term, NOBODY)
    }
  }

  /** Check-quorum makes the leader's silence the only reason for a vote (4.2.3). */
  #hasLiveLeader(): boolean {
    const { checkQuorum, electionTicks } = this.#settings.options
    return checkQuorum && this.#leaderId !== NOBODY && this.#electionElapsed < electionTicks
  }

  #hearsQuorum(): boolean {
    const peers = this.#peers!
    const hears = this.#membership.isQuorum((id) => id === this.id || peers.get(id)?.recentActive === true)
    for (const peer of peers.values()) peer.recentActive = false
    return hears
  }

  /** The sender is behind: tell it, where that helps. */
  #answerStale(from: NodeId, message: Message): void {
    if (message.type === 'append' || message.type === 'heartbeat' || message.type === 'snapshot') {
      // It believes to lead. Our term ends that, and ends our being left out when our term grew in a partition.
      const index = message.type === 'append' ? message.prevIndex : this.#log.commitIndex
      this.#reject(from, index, this.#log.commitIndex, this.#log.termAt(this.#log.commitIndex) ?? 0)
    } else if (message.type === 'vote-request') {
      this.#send(from, { type: 'vote-reply', term: this.#term, pre: message.pre, granted: false })
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
    const log = this.#log
    if (message.prevIndex < log.commitIndex) {
      this.#acknowledge(from, log.commitIndex)
    } else if (log.termAt(message.prevIndex) === message.prevTerm) {
      const lastIndex = log.merge(message.prevIndex, message.entries)
      log.commit(Math.min(message.commitIndex, lastIndex))
      this.#acknowledge(from, lastIndex)
    } else {
      const hintIndex = log.lastIndexOfTerm(message.prevIndex, message.prevTerm)
      this.#reject(from, message.prevIndex, hintIndex, log.termAt(hintIndex) ?? 0)
    }
  }

  /** Promises that we hold everything up to `index`; a later promise of the same Ready takes an earlier one's place. */
  #acknowledge(to: NodeId, index: LogIndex): void {
    const promises = this.#sendWhenDurable
    const last = promises?.[promises.length - 1]
    if (last?.to === to && last.message.type === 'append-reply' && last.message.term === this.#term) {
      promises!.pop()
      index = Math.max(index, last.message.index)
    }
    this.#promise(to, { type: 'append-reply', term: this.#term, rejected: false, index, hintIndex: 0, hintTerm: 0 })
  }

  #reject(to: NodeId, index: LogIndex, hintIndex: LogIndex, hintTerm: Term): void {
    this.#send(to, { type: 'append-reply', term: this.#term, rejected: true, index, hintIndex, hintTerm })
  }

  #onSnapshot(from: NodeId, message: SnapshotMessage): void {
    this.#followLeader(from)
    const log = this.#log
    if (message.index > log.commitIndex) {
      if (log.termAt(message.index) === message.indexTerm) {
        // We hold that entry: all before it is the leader's and committed, and our own copy is as good.
        log.commit(message.index)
      } else {
        log.restore(message.index, message.indexTerm)
        this.#snapshot = message
        this.#commitGiven = log.commitIndex
      }
    }
    this.#acknowledge(from, log.commitIndex)
  }

  // Leading

  #advanceCommit(): void {
    const peers = this.#peers!
    const log = this.#log
    const heldBy = (id: NodeId): LogIndex =>
      id === this.id ? log.durableIndex : (peers.get(id)?.matchIndex ?? NO_INDEX)
    const index = this.#membership.committedIndex(heldBy)
    // An entry of an older term is never committed by counting (3.6.2, figure 3.7).
    if (index <= log.commitIndex || log.termAt(index) !== this.#term) return
    log.commit(index)
    this.#appendsDue = true
  }

  #onAppendReply(from: NodeId, reply: AppendReply): void {
    const peer = this.#role === 'leader' ? this.#peers?.get(from) : undefined
    if (peer === undefined) return
    peer.recentActive = true
    if (reply.rejected) {
      const retryIndex = this.#log.lastIndexOfTerm(reply.hintIndex, reply.hintTerm)
      if (peer.rejected(reply.index, retryIndex)) this.#sendAppend(peer, true)
      return
    }
    // Beyond our log: the words of someone who follows another history. Impossible within one term.
    invariant(reply.index <= this.#log.lastIndex, 'nobody holds more than the leader', reply.index, this.#log.lastIndex)
    if (peer.acknowledged(reply.index)) this.#advanceCommit()
    this.#sendAppend(peer, peer.commitSent < this.#log.commitIndex)
    if (this.#transferTo === from && peer.matchIndex === this.#log.lastIndex) {
      this.#send(from, { type: 'timeout-now', term: this.#term })
    }
  }

  #onHeartbeatReply(from: NodeId, reply: HeartbeatReply): void {
    const peer = this.#role === 'leader' ? this.#peers?.get(from) : undefined
    if (peer === undefined) return
    peer.heard(this.#settings.options.inflightAppendsMax, reply.commitIndex)
    if (peer.matchIndex < this.#log.lastIndex) this.#sendAppend(peer, true)
  }

  /** @param evenIfEmpty also when there is nothing but the commit index to tell */
  #sendAppend(peer: Progress, evenIfEmpty: boolean): void {
    const { inflightAppendsMax, appendEntriesMax } = this.#settings.options
    const log = this.#log
    while (!peer.isPaused(inflightAppendsMax)) {
      if (peer.nextIndex < log.firstIndex) {
        this.#sendSnapshot(peer)
        return
      }
      if (peer.nextIndex > log.lastIndex) {
        if (evenIfEmpty) this.#sendEntries(peer, NO_ENTRIES)
        return
      }
      const entries = log.entriesFrom(peer.nextIndex, appendEntriesMax, peer.lastSent)
      if (entries === undefined) {
        peer.loading = true
        this.#loads ??= []
        this.#loads.push({ to: peer.id, firstIndex: peer.nextIndex })
        return
      }
      this.#sendEntries(peer, entries)
      evenIfEmpty = false
    }
  }

  #sendEntries(peer: Progress, entries: readonly Entry[]): void {
    const log = this.#log
    const first = entries[0]
    if (first !== undefined) {
      // Where the peer's terms made us look may lie inside an entry of ours; entries travel whole.
      invariant(
        first.index > peer.matchIndex,
        'a peer is sent what it is not known to hold',
        first.index,
        peer.matchIndex,
      )
      peer.nextIndex = first.index
    }
    const prevIndex = peer.nextIndex - 1
    const prevTerm = log.termAt(prevIndex)
    invariant(prevTerm !== undefined, 'the entry before the first one sent has a term', prevIndex, log.firstIndex)
    const { commitIndex } = log
    this.#send(peer.id, { type: 'append', term: this.#term, prevIndex, prevTerm, commitIndex, entries })
    peer.sent(entries[entries.length - 1], commitIndex)
  }

  #sendSnapshot(peer: Progress): void {
    // The log start, not the commit index: what the log still holds is sent as entries.
    const index = this.#log.firstIndex - 1
    const indexTerm = this.#log.prevTerm
    this.#send(peer.id, { type: 'snapshot', term: this.#term, index, indexTerm, ref: undefined })
    peer.becomeSnapshot(index)
  }

  #send(to: NodeId, message: Message): void {
    this.#sendNow ??= []
    this.#sendNow.push({ to, message })
  }

  /** Sends once everything said so far is on our disk. */
  #promise(to: NodeId, message: Message): void {
    this.#sendWhenDurable ??= []
    this.#sendWhenDurable.push({ to, message })
  }
}
