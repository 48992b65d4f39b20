// Members whose disk is short and that take no batches for now: out of their group's in-sync list, and asked again now and then.
//
// One per shard, made by driver.ts. A member says so with every answer to an append, also to one that it took; so the leader of an idle
// group knows it too, and gives no leadership to it.

import type { NodeId } from '../raft/types.ts'
import type { Replica } from './replica.ts'

const ASK_AGAIN_TICKS = 40

export class Refusals {
  readonly #members = new Map<Replica, Set<NodeId>>()
  readonly #probe: (replica: Replica, id: NodeId) => void
  #ticks = 0

  /** @param probe asks a member where it is */
  constructor(probe: (replica: Replica, id: NodeId) => void) {
    this.#probe = probe
  }

  get isWaiting(): boolean {
    return this.#members.size > 0
  }

  has(replica: Replica, id: NodeId): boolean {
    return this.#members.get(replica)?.has(id) === true
  }

  /** @returns whether that is news */
  note(replica: Replica, id: NodeId, refuses: boolean): boolean {
    const ids = this.#members.get(replica)
    if (!refuses) {
      if (ids?.delete(id) !== true) return false
      if (ids.size === 0) this.#members.delete(replica)
      return true
    }
    if (ids?.has(id)) return false
    if (ids === undefined) this.#members.set(replica, new Set([id]))
    else ids.add(id)
    return true
  }

  /** It does not lead any more. */
  forget(replica: Replica): void {
    this.#members.delete(replica)
  }

  tick(): void {
    if (++this.#ticks % ASK_AGAIN_TICKS !== 0) return
    for (const [replica, ids] of this.#members) for (const id of ids) this.#probe(replica, id)
  }
}
