// What a leader does for its peers: send the log, count what they hold, ask them whether it still leads, hand over.
//
// Made by raft.ts when leadership begins, or when the first peer joins; dropped with it. A leader without peers has none, which
// keeps the path of a group with one replica short. Shard thread. Chapter numbers: Raft dissertation.

import { invariant } from '../../protocol/invariant.ts'
import { lastIndexOf, type RaftLog } from './log.ts'
import { Progress } from './progress.ts'
import { ReadQueue } from './reads.ts'
import { NO_ENTRIES, type RaftSettings } from './settings.ts'
import {
  type AppendReply,
  type ConfirmedRead,
  type Entry,
  type HeartbeatReply,
  type LoadRequest,
  type LogIndex,
  type Message,
  NO_INDEX,
  NOBODY,
  type NodeId,
  type Term,
} from './types.ts'

/** What it needs of its group; implemented by Raft. */
export interface Group {
  readonly id: NodeId
  readonly term: Term
  readonly settings: RaftSettings
  readonly log: RaftLog
  send(to: NodeId, message: Message): void
  readsConfirmed(reads: ConfirmedRead[]): void
}

export class Leadership {
  readonly #group: Group
  /** Everybody in the membership in force or in the committed one, but us: a chain through Progress.next. */
  #first: Progress | undefined = undefined
  /** Entries or a commit index that peers have not been told of: sent by sendDue(), in one message. */
  newsDue = false
  #readsDue = false
  #elapsed = 0
  #heartbeatElapsed = 0
  transferTo: NodeId = NOBODY
  /** A successor was told to stand in this term: it may do so at any time, so there is no lease any more. */
  leaseVoid = false
  /** No voter in the membership in force: whatever we appended now, perhaps nobody could be elected who holds it. */
  isLeaving = false
  loads: LoadRequest[] | undefined = undefined
  #reads: ReadQueue | undefined = undefined

  constructor(group: Group) {
    this.#group = group
  }

  peerOf(id: NodeId): Progress | undefined {
    let peer = this.#first
    while (peer !== undefined && peer.id !== id) peer = peer.next
    return peer
  }

  get hasPeers(): boolean {
    return this.#first !== undefined
  }

  /** Nothing is under way with any peer. */
  get isSettled(): boolean {
    if (this.transferTo !== NOBODY || this.newsDue || this.#hasOpenReads) return false
    const { lastIndex, commitIndex } = this.#group.log
    for (let peer = this.#first; peer !== undefined; peer = peer.next)
      if (!peer.isSettled(lastIndex, commitIndex)) return false
    return true
  }

  get #hasOpenReads(): boolean {
    return this.#reads !== undefined && this.#reads.openCount > 0
  }

  /** Brings the peers in line with the memberships. @param nextIndex where to begin with a new one */
  syncPeers(nextIndex: LogIndex): void {
    const { id: ownId, log } = this.#group
    const ids = new Set(log.membership.members)
    if (!log.isMembershipCommitted) for (const id of log.committedMembership.membership.members) ids.add(id)
    ids.delete(ownId)
    let first: Progress | undefined
    for (const id of [...ids].reverse()) {
      let peer = this.peerOf(id)
      if (peer === undefined) {
        peer = new Progress(id, nextIndex)
        peer.recentActive = true
      } else {
        this.#unlink(peer)
      }
      peer.next = first
      first = peer
    }
    this.#first = first
    this.isLeaving = !log.membership.isVoter(ownId)
    this.#confirmReads()
  }

  #unlink(peer: Progress): void {
    if (this.#first === peer) {
      this.#first = peer.next
      return
    }
    let before = this.#first
    while (before !== undefined && before.next !== peer) before = before.next
    if (before !== undefined) before.next = peer.next
  }

  /**
   * One unit of time.
   * @returns false when no quorum was heard of for an election timeout: leadership is to be given up
   */
  tick(): boolean {
    const { electionTicks, heartbeatTicks, checkQuorum, groupHeartbeats } = this.#group.settings.options
    this.#elapsed += 1
    if (this.#elapsed >= electionTicks) {
      this.#elapsed = 0
      // A successor that did not manage within one election timeout will not (3.10).
      this.transferTo = NOBODY
      if (!groupHeartbeats) this.#askSilentPeers()
      else if (checkQuorum && !this.#hearsQuorum()) return false
      for (let peer = this.#first; peer !== undefined; peer = peer.next) peer.recentActive = false
    }
    this.#heartbeatElapsed += 1
    if (this.#heartbeatElapsed < heartbeatTicks) return true
    this.#heartbeatElapsed = 0
    if (!groupHeartbeats) this.#readsDue = this.#hasOpenReads
    else for (let peer = this.#first; peer !== undefined; peer = peer.next) this.sendHeartbeat(peer)
    return true
  }

  #hearsQuorum(): boolean {
    const { id: ownId, log } = this.#group
    return log.membership.canCommit((id) => id === ownId || this.peerOf(id)?.recentActive === true)
  }

  /** Without heartbeats a message that got lost on a living connection would stop a peer for ever. */
  #askSilentPeers(): void {
    const { lastIndex, commitIndex } = this.#group.log
    for (let peer = this.#first; peer !== undefined; peer = peer.next) {
      if (peer.recentActive || peer.loading || peer.isSettled(lastIndex, commitIndex)) continue
      // The answer shows whether a snapshot has arrived; sending a second one would cost too much to be a question.
      if (peer.state === 'snapshot') this.sendHeartbeat(peer)
      else this.reachable(peer)
    }
  }

  /** Sends what gathered since the last time. */
  sendDue(): void {
    if (this.newsDue) {
      this.newsDue = false
      this.sendNewsToAll()
    }
    if (!this.#readsDue) return
    this.#readsDue = false
    const { membership } = this.#group.log
    for (let peer = this.#first; peer !== undefined; peer = peer.next)
      if (membership.isVoter(peer.id)) this.sendHeartbeat(peer)
  }

  reachable(peer: Progress): void {
    peer.reachable()
    this.#sendAppend(peer, true)
    if (this.#hasOpenReads) this.sendHeartbeat(peer)
  }

  unreachable(peer: Progress): void {
    peer.unreachable()
    if (this.transferTo === peer.id) this.transferTo = NOBODY
  }

  // Handing over

  transfer(peer: Progress): void {
    this.transferTo = peer.id
    this.#elapsed = 0
    if (peer.matchIndex === this.#group.log.lastIndex) this.#sendTimeoutNow(peer.id)
    else this.#sendAppend(peer, true)
  }

  /** We are about to leave: the voter that holds most need not wait for silence. */
  nameSuccessor(): void {
    const { membership } = this.#group.log
    let best: Progress | undefined
    for (let peer = this.#first; peer !== undefined; peer = peer.next) {
      if (peer.isLost || !membership.voters.includes(peer.id) || !membership.canLead(peer.id)) continue
      if (best === undefined || peer.matchIndex > best.matchIndex) best = peer
    }
    if (best !== undefined) this.#sendTimeoutNow(best.id)
  }

  #sendTimeoutNow(to: NodeId): void {
    this.leaseVoid = true
    this.#group.send(to, { type: 'timeout-now', term: this.#group.term })
  }

  // Reads

  /** @returns false when too many wait already */
  requestRead(context: number): boolean {
    this.#reads ??= new ReadQueue()
    if (this.#reads.openCount >= this.#group.settings.options.readsMax) return false
    this.#reads.add(context, this.#group.log.commitIndex)
    this.#readsDue = true
    return true
  }

  #confirmReads(): void {
    if (!this.#hasOpenReads) return
    const { id: ownId, log } = this.#group
    const saidBy = (id: NodeId): number =>
      id === ownId ? Number.POSITIVE_INFINITY : (this.peerOf(id)?.readSequence ?? 0)
    const reads = this.#reads!.confirmed(log.membership.blockedFrom(saidBy))
    if (reads !== undefined) this.#group.readsConfirmed(reads)
  }

  sendHeartbeat(peer: Progress): void {
    const { log, term } = this.#group
    const commitIndex = Math.max(0, Math.min(peer.matchIndex, log.commitIndex))
    const context = this.#hasOpenReads ? this.#reads!.newestSequence : 0
    this.#group.send(peer.id, { type: 'heartbeat', term, commitIndex, context })
  }

  onHeartbeatReply(from: NodeId, reply: HeartbeatReply): void {
    const peer = this.peerOf(from)
    if (peer === undefined) return
    const { inflightAppendsMax, inflightBytesMax } = this.#group.settings.options
    peer.heard(inflightAppendsMax, inflightBytesMax, reply.commitIndex)
    if (reply.context > peer.readSequence) {
      peer.readSequence = reply.context
      this.#confirmReads()
    }
    if (peer.matchIndex < this.#group.log.lastIndex) this.#sendAppend(peer, true)
  }

  // The log

  /** The highest index of our term that a commit quorum holds durably; NO_INDEX when there is none beyond the commit index. */
  committableIndex(): LogIndex {
    const { id: ownId, log, term } = this.#group
    const heldBy = (id: NodeId): LogIndex =>
      id === ownId ? log.durableIndex : (this.peerOf(id)?.matchIndex ?? NO_INDEX)
    const index = log.membership.committedIndex(heldBy)
    // An entry of an older term is never committed by counting (3.6.2, figure 3.7).
    return index > log.commitIndex && log.termAt(index) === term ? index : NO_INDEX
  }

  /** @returns whether the peer is known to hold more than before; the commit index may move */
  onAppendReply(peer: Progress, reply: AppendReply): boolean {
    const { log } = this.#group
    peer.recentActive = true
    peer.isLost = false
    if (reply.rejected) {
      const retryIndex = log.lastIndexOfTerm(reply.hintIndex, reply.hintTerm)
      const isNews = peer.rejected(reply.index, retryIndex)
      // A late answer. What it refused may have been the news of a commit that came before its entries.
      if (!isNews) peer.commitSent = NO_INDEX
      this.#sendAppend(peer, true)
      return false
    }
    // Beyond our log: the words of someone who follows another history. Impossible within one term.
    invariant(reply.index <= log.lastIndex, 'nobody holds more than the leader', reply.index, log.lastIndex)
    return peer.acknowledged(reply.index)
  }

  /** After its acknowledgement: what it may have next, or the leadership. */
  goOn(peer: Progress): void {
    this.#sendNews(peer)
    if (this.transferTo === peer.id && peer.matchIndex === this.#group.log.lastIndex) this.#sendTimeoutNow(peer.id)
  }

  sendNewsToAll(): void {
    for (let peer = this.#first; peer !== undefined; peer = peer.next) this.#sendNews(peer)
  }

  /** The driver brings what a load asked for. */
  loaded(peer: Progress, entries: readonly Entry[]): void {
    if (!peer.loading) return
    peer.loading = false
    const first = entries[0]
    if (first === undefined) {
      // Trimmed away: a snapshot follows. Otherwise a failed read, tried again at the peer's next sign of life.
      if (peer.nextIndex < this.#group.log.firstIndex) this.#sendAppend(peer, false)
    } else if (first.index <= peer.nextIndex && lastIndexOf(first) >= peer.nextIndex && !this.#isPaused(peer)) {
      const sendable = upTo(entries, this.#lastIndexFor(peer))
      if (sendable.length > 0) this.#sendEntries(peer, sendable)
    }
  }

  /**
   * How far a peer may have our log. A witness only what our disk holds: with entries that we and all others have lost, it would vote for
   * none of those who can lead.
   */
  #lastIndexFor(peer: Progress): LogIndex {
    const { log } = this.#group
    if (log.membership.witnesses.length === 0 || !log.isWitness(peer.id)) return log.lastIndex
    return Math.min(log.durableIndex, log.lastIndex)
  }

  #isPaused(peer: Progress): boolean {
    const { inflightAppendsMax, inflightBytesMax } = this.#group.settings.options
    return peer.isPaused(inflightAppendsMax, inflightBytesMax)
  }

  /** Entries and the commit index, as far as it has not been sent them. */
  #sendNews(peer: Progress): void {
    const known = Math.min(this.#group.log.commitIndex, this.#lastIndexFor(peer))
    this.#sendAppend(peer, peer.commitSent < known)
  }

  /** @param evenIfEmpty also when there is nothing but the commit index to tell */
  #sendAppend(peer: Progress, evenIfEmpty: boolean): void {
    const { log } = this.#group
    const { appendEntriesMax, appendBytesMax } = this.#group.settings.options
    const lastIndex = this.#lastIndexFor(peer)
    while (!this.#isPaused(peer)) {
      if (peer.nextIndex < log.firstIndex) {
        this.#sendSnapshot(peer)
        return
      }
      if (peer.nextIndex > lastIndex) {
        if (evenIfEmpty) this.#sendEntries(peer, NO_ENTRIES)
        return
      }
      const entries = log.entriesFrom(peer.nextIndex, appendEntriesMax, appendBytesMax, peer.lastSent)
      if (entries === undefined) {
        peer.loading = true
        this.loads ??= []
        this.loads.push({ to: peer.id, firstIndex: peer.nextIndex })
        return
      }
      const sendable = upTo(entries, lastIndex)
      if (sendable.length === 0 && !evenIfEmpty) return
      this.#sendEntries(peer, sendable)
      if (sendable.length < entries.length) return
      evenIfEmpty = false
    }
  }

  #sendEntries(peer: Progress, entries: readonly Entry[]): void {
    const { log, term } = this.#group
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
    let bytes = 0
    for (const entry of entries) bytes += entry.bytes
    this.#group.send(peer.id, { type: 'append', term, prevIndex, prevTerm, commitIndex, entries })
    peer.sent(entries[entries.length - 1], bytes, commitIndex)
  }

  #sendSnapshot(peer: Progress): void {
    const { log, term } = this.#group
    // The log start, not the commit index: what the log still holds is sent as entries.
    const index = log.firstIndex - 1
    const indexTerm = log.prevTerm
    const { index: membershipIndex, membership } = log.committedMembership
    const ref = undefined
    this.#group.send(peer.id, { type: 'snapshot', term, index, indexTerm, membershipIndex, membership, ref })
    peer.becomeSnapshot(index)
  }
}

/** The entries that end at `lastIndex` or before, the same list when all do. */
function upTo(entries: readonly Entry[], lastIndex: LogIndex): readonly Entry[] {
  let count = entries.length
  while (count > 0 && lastIndexOf(entries[count - 1]!) > lastIndex) count -= 1
  return count === entries.length ? entries : entries.slice(0, count)
}
