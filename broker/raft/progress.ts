// What a leader knows of one peer's log, and what it may send next.
//
// One per peer of a led group, made when leadership begins and dropped with it; a single-voter group has none. States as in
// the Raft dissertation's and etcd's flow control: probe (one message at a time until the logs meet), replicate (pipelined),
// snapshot (nothing until it is installed).

import { invariant } from '../../protocol/invariant.ts'
import type { Entry, LogIndex, NodeId } from './types.ts'

/** What is in flight to one peer. */
class Window {
  /** Last index and bytes of each append, oldest first, in pairs. */
  readonly appends: number[] = []
  bytes = 0
  /** The last entry sent, from which the next one is found without a search. */
  lastSent: Entry | undefined = undefined
}

export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export class Progress {
  readonly id: NodeId
  state: ProgressState = 'probe'
  /** Last index known to be durable there and equal to ours. */
  matchIndex: LogIndex = -1
  /**
   * First index to send next; until the logs meet it may lie inside an entry, which is then sent whole. In state snapshot: the
   * one after what the snapshot brings.
   */
  nextIndex: LogIndex
  /** Probing, and the one message is out. */
  probeSent = false
  /** Waiting for the driver to bring entries from disk. */
  loading = false
  /** Heard from since the last check of the quorum. */
  recentActive = false
  /** The commit index it will have taken over from what was sent, if nothing is lost. */
  commitSent: LogIndex = -1
  /** What the driver noted with the newest reply of this term; -1 before any. Leases compare it. */
  lastReplyTag = -1
  /** The newest quorum read it has answered, by sequence. */
  readSequence = 0
  /** The connection is down: nothing moves before reachable() or a sign of life. */
  isLost = false
  /** The next of the leader's peers: a chain costs no array. */
  next: Progress | undefined = undefined
  /** Appends in flight; none for an idle peer. */
  #window: Window | undefined = undefined

  constructor(id: NodeId, nextIndex: LogIndex) {
    this.id = id
    this.nextIndex = nextIndex
  }

  get inflightCount(): number {
    return this.#window === undefined ? 0 : this.#window.appends.length / 2
  }

  /** Payload bytes in flight to it. */
  get inflightBytes(): number {
    return this.#window === undefined ? 0 : this.#window.bytes
  }

  get lastSent(): Entry | undefined {
    return this.#window?.lastSent
  }

  /** Whether nothing may be sent now. */
  isPaused(countMax: number, bytesMax: number): boolean {
    if (this.loading || this.state === 'snapshot') return true
    if (this.state === 'probe') return this.probeSent
    return this.inflightBytes >= bytesMax || this.inflightCount >= countMax
  }

  /** It holds our whole log and was told what is committed; or it cannot be reached, and whoever knows will say so. */
  isSettled(lastIndex: LogIndex, commitIndex: LogIndex): boolean {
    if (this.isLost) return true
    return this.state === 'replicate' && this.matchIndex === lastIndex && this.commitSent >= commitIndex
  }

  /** An append is on its way. @param lastEntry of it; undefined when it was empty @param bytes of its payloads */
  sent(lastEntry: Entry | undefined, bytes: number, commitIndex: LogIndex): void {
    const coveredIndex = lastEntry === undefined ? this.nextIndex - 1 : lastEntry.index + lastEntry.count - 1
    this.commitSent = Math.min(commitIndex, coveredIndex)
    if (this.state === 'probe') this.probeSent = true
    if (lastEntry === undefined) return
    if (this.state !== 'replicate') return
    this.nextIndex = coveredIndex + 1
    this.#window ??= new Window()
    this.#window.appends.push(coveredIndex, bytes)
    this.#window.bytes += bytes
    this.#window.lastSent = lastEntry
  }

  /** The peer holds everything up to `index`. @returns whether that is news */
  acknowledged(index: LogIndex): boolean {
    this.#free(index)
    this.probeSent = false
    const isNews = index > this.matchIndex
    if (isNews) this.matchIndex = index
    if (this.nextIndex <= index) this.nextIndex = index + 1
    if (this.state === 'probe' || (this.state === 'snapshot' && index >= this.nextIndex - 1)) this.#enter('replicate')
    return isNews
  }

  /**
   * The peer refused an append at `rejectedIndex`.
   * @param retryIndex our last index that may match, from the peer's hint
   * @returns false when the answer is a late one about something already settled
   */
  rejected(rejectedIndex: LogIndex, retryIndex: LogIndex): boolean {
    if (this.state === 'replicate') {
      if (rejectedIndex <= this.matchIndex) return false
      this.nextIndex = Math.max(this.matchIndex, retryIndex) + 1
      this.#enter('probe')
      return true
    }
    if (this.state === 'snapshot' || this.nextIndex - 1 !== rejectedIndex || retryIndex >= rejectedIndex) return false
    this.nextIndex = Math.max(retryIndex, this.matchIndex) + 1
    this.probeSent = false
    this.loading = false
    return true
  }

  /** What was sent may be lost, a snapshot too: start again from what is known. */
  unreachable(): void {
    this.isLost = true
    this.commitSent = -1
    if (this.state === 'probe') {
      this.probeSent = false
      this.loading = false
      return
    }
    // Of a snapshot that is lost nothing counts: the next attempt begins where the peer is known to be.
    this.nextIndex = this.matchIndex + 1
    this.#enter('probe')
  }

  /** It can be sent to again: what is sent next may be its first message after a gap. */
  reachable(): void {
    if (!this.isLost) this.unreachable()
    this.isLost = false
  }

  /** Nothing but a snapshot helps this peer. */
  becomeSnapshot(index: LogIndex): void {
    this.#enter('snapshot')
    this.nextIndex = index + 1
  }

  /** A sign of life: one more message may go although the window is full. @param commitIndex the peer's */
  heard(inflightMax: number, inflightBytesMax: number, commitIndex: LogIndex): void {
    this.recentActive = true
    this.isLost = false
    if (this.state === 'snapshot' && commitIndex >= this.nextIndex - 1) this.#enter('probe')
    this.probeSent = false
    const isFull = this.inflightCount >= inflightMax || this.inflightBytes >= inflightBytesMax
    if (this.state === 'replicate' && isFull) this.#free(this.#window?.appends[0] ?? -1)
  }

  /** Takes what is acknowledged up to `index` out of the window. */
  #free(index: LogIndex): void {
    const window = this.#window
    if (window === undefined) return
    const { appends } = window
    let freed = 0
    for (; freed < appends.length && appends[freed]! <= index; freed += 2) window.bytes -= appends[freed + 1]!
    if (freed === appends.length) this.#window = undefined
    else if (freed > 0) appends.splice(0, freed)
  }

  #enter(state: ProgressState): void {
    invariant(
      this.matchIndex < this.nextIndex,
      'a peer is sent what it is not known to hold',
      this.matchIndex,
      this.nextIndex,
    )
    this.state = state
    this.probeSent = false
    this.loading = false
    this.#window = undefined
    if (state === 'replicate') this.nextIndex = this.matchIndex + 1
  }
}
