// Does this replica still lead? By its lease when it has one, else by asking a quorum (Raft dissertation, 6.4).
//
// One per shard, made by driver.ts. All who ask in one turn of the loop share one question per group.

import type { Replica } from './replica.ts'

/** An answer that did not come by then is a no. */
const ANSWER_MS_MAX = 1000

interface Open {
  readonly replica: Replica
  readonly endMs: number
  resolve(isLeader: boolean): void
}

export interface ReadsHost {
  hasLease(replica: Replica): boolean
  changed(replica: Replica): void
  nowMs(): number
}

const YES = Promise.resolve(true)
const NO = Promise.resolve(false)

export class Reads {
  readonly #host: ReadsHost
  readonly #open = new Map<number, Open>()
  /** Questions of this turn, which have not left yet. */
  readonly #fresh = new Map<Replica, Promise<boolean>>()
  #lastContext = 0

  constructor(host: ReadsHost) {
    this.#host = host
  }

  get isWaiting(): boolean {
    return this.#open.size > 0
  }

  confirm(replica: Replica): Promise<boolean> {
    if (!replica.isServing) return NO
    if (this.#host.hasLease(replica)) return YES
    const fresh = this.#fresh.get(replica)
    if (fresh !== undefined) return fresh
    this.#lastContext += 1
    const context = this.#lastContext
    if (!replica.raft.requestRead(context)) return NO
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#open.set(context, { replica, endMs: this.#host.nowMs() + ANSWER_MS_MAX, resolve })
    this.#fresh.set(replica, promise)
    this.#host.changed(replica)
    return promise
  }

  /** The group's messages leave now: who asks from here on asks again. */
  sent(replica: Replica): void {
    if (this.#fresh.size > 0) this.#fresh.delete(replica)
  }

  confirmed(context: number): void {
    const open = this.#open.get(context)
    if (open === undefined) return
    this.#open.delete(context)
    open.resolve(true)
  }

  /** The group is not led here any more. */
  abandon(replica: Replica): void {
    this.#fresh.delete(replica)
    for (const [context, open] of this.#open) {
      if (open.replica !== replica) continue
      this.#open.delete(context)
      open.resolve(false)
    }
  }

  tick(): void {
    if (this.#open.size === 0) return
    const nowMs = this.#host.nowMs()
    for (const [context, open] of this.#open) {
      // In order of asking, so the first one that has time left ends it.
      if (open.endMs > nowMs) return
      this.#open.delete(context)
      open.resolve(false)
    }
  }
}
