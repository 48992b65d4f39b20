// Quorum reads of one leader: which are open, and which a quorum has confirmed (Raft dissertation, 6.4).
//
// Made by raft.ts with the first read of a leadership and dropped with it. Sequences never repeat within it, so an answer to an
// older heartbeat can never confirm a younger read.

import type { ConfirmedRead, LogIndex } from './types.ts'

interface OpenRead extends ConfirmedRead {
  readonly sequence: number
}

export class ReadQueue {
  /** Given to the newest read; goes out with heartbeats and comes back. */
  newestSequence = 0
  #open: OpenRead[] = []

  get openCount(): number {
    return this.#open.length
  }

  add(context: number, index: LogIndex): void {
    this.newestSequence += 1
    this.#open.push({ context, index, sequence: this.newestSequence })
  }

  /** Takes out the reads up to `sequence`, oldest first; undefined when there are none. */
  confirmed(sequence: number): ConfirmedRead[] | undefined {
    let count = 0
    while (count < this.#open.length && this.#open[count]!.sequence <= sequence) count += 1
    if (count === 0) return undefined
    return this.#open.splice(0, count).map(({ context, index }) => ({ context, index }))
  }
}
