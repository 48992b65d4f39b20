// What a leader knows of one peer's log, and what it may send next.
//
// One per peer of a led group, made when leadership begins and dropped with it; a single-voter group has none. States as in
// the Raft dissertation's and etcd's flow control: probe (one message at a time until the logs meet), replicate (pipelined),
// snapshot (nothing until it is installed).

import { invariant } from '../../protocol/invariant.ts'
import type { Entry, LogIndex, NodeId } from './types.ts'

export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export class Progress {
  readonly id: NodeId
  state: ProgressState = 'probe'
  /** Last index known to be durable there and equal to ours. */
  matchIndex: LogIndex = -1
  /** First index to send next; until the logs meet it may lie inside an entry, which is then sent whole. */
  nextIndex: LogIndex
  /** Probing, and the one message is out. */
  probeSent = false
  /** Waiting for the driver to bring entries from disk. */
  loading = false
  /** Heard from since the last check of the quorum. */
  recentActive = false
  /** The last entry sent, from which the next one is found without a search. */
  lastSent: Entry | undefined = undefined
  /** The commit index it will have taken over from what was sent, if nothing is lost. */
  commitSent: LogIndex = -1
  /** While in state snapshot: the index it brings the peer to. */
  snapshotIndex: LogIndex = 0
  /** Last indexes of the appends in flight, oldest first. */
  #inflight: LogIndex[] = []

  constructor(id: NodeId, nextIndex: LogIndex) {
    this.id = id
    this.nextIndex = nextIndex
  }

  get inflightCount(): number {
    return this.#inflight.length
  }

  /** Whether nothing may be sent now. */
  isPaused(inflightMax: number): boolean {
    if (this.loading || this.state === 'snapshot') return true
    return this.state === 'probe' ? this.probeSent : this.#inflight.length >= inflightMax
  }

  /** An append is on its way. @param lastEntry of it; undefined when it was empty */
  sent(lastEntry: Entry | undefined, commitIndex: LogIndex): void {
    const coveredIndex = lastEntry === undefined ? this.nextIndex - 1 : lastEntry.index + lastEntry.count - 1
    this.commitSent = Math.min(commitIndex, coveredIndex)
    if (this.state === 'probe') this.probeSent = true
    if (lastEntry === undefined) return
    if (this.state === 'replicate') {
      const lastIndex = lastEntry.index + lastEntry.count - 1
      this.nextIndex = lastIndex + 1
      this.#inflight.push(lastIndex)
    }
    this.lastSent = lastEntry
  }

  /** The peer holds everything up to `index`. @returns whether that is news */
  acknowledged(index: LogIndex): boolean {
    let freed = 0
    while (freed < this.#inflight.length && this.#inflight[freed]! <= index) freed += 1
    if (freed > 0) this.#inflight.splice(0, freed)
    this.probeSent = false
    const isNews = index > this.matchIndex
    if (isNews) this.matchIndex = index
    if (this.nextIndex <= index) this.nextIndex = index + 1
    if (this.state === 'probe' || (this.state === 'snapshot' && index >= this.snapshotIndex)) this.#enter('replicate')
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
    if (this.state === 'probe') {
      this.probeSent = false
      return
    }
    if (this.state === 'replicate') this.nextIndex = this.matchIndex + 1
    this.#enter('probe')
  }

  /** Nothing but a snapshot helps this peer. */
  becomeSnapshot(index: LogIndex): void {
    this.#enter('snapshot')
    this.snapshotIndex = index
  }

  /** A sign of life: one more message may go although the window is full. @param commitIndex the peer's */
  heard(inflightMax: number, commitIndex: LogIndex): void {
    this.recentActive = true
    if (this.state === 'snapshot' && commitIndex >= this.snapshotIndex) {
      this.nextIndex = this.snapshotIndex + 1
      this.#enter('probe')
    }
    this.probeSent = false
    if (this.state === 'replicate' && this.#inflight.length >= inflightMax) this.#inflight.shift()
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
    this.lastSent = undefined
    this.#inflight = []
    if (state === 'replicate') this.nextIndex = this.matchIndex + 1
  }
}
