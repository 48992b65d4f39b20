// Leadership handed over: one group on request, or all that this shard leads before it stops.
//
// One per shard, made by driver.ts. Raft does the handing over; here is who waits for it, how many go at a time, and to whom.

import { brokerOf } from '../cluster/raft-id.ts'
import { NOBODY, type NodeId } from '../raft/types.ts'
import type { Replica } from './replica.ts'

/** Raft gives a transfer up sooner; what then still could happen is an election without us. */
const TRANSFER_MS_MAX = 1500
const AT_ONCE_MAX = 128

export interface TransfersHost {
  isAlive(id: NodeId, groupId: number): boolean
  changed(replica: Replica): void
  nowMs(): number
}

interface Transfer {
  readonly to: NodeId
  readonly endMs: number
  resolve(isDone: boolean): void
}

interface Drain {
  readonly replicas: Replica[]
  readonly excluded: readonly number[]
  readonly endMs: number
  running: number
  /** Handed over to whom still needs us for its first commit: with two replicas nobody else can help it to serve. */
  readonly leaving: Set<Replica>
  resolve(): void
}

export class Transfers {
  readonly #host: TransfersHost
  readonly #open = new Map<Replica, Transfer>()
  #drain: Drain | undefined = undefined

  constructor(host: TransfersHost) {
    this.#host = host
  }

  get isWaiting(): boolean {
    return this.#open.size > 0 || this.#drain !== undefined
  }

  /** @returns whether that member leads now */
  begin(replica: Replica, to: NodeId): Promise<boolean> {
    const { raft } = replica
    if (raft.leaderId === to) return Promise.resolve(true)
    if (!replica.isLeader || !raft.transfer(to)) return Promise.resolve(false)
    this.#host.changed(replica)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#open.set(replica, { to, endMs: this.#host.nowMs() + TRANSFER_MS_MAX, resolve })
    return promise
  }

  /**
   * Hands over every group, to whoever is in sync and not of an excluded broker; resolves when the new leaders serve, as far as they can
   * without us, or the time is up.
   */
  all(replicas: Iterable<Replica>, excluded: readonly number[], budgetMs: number): Promise<void> {
    const led: Replica[] = []
    for (const replica of replicas) if (replica.raft.isLeader && replica.memberIds.length > 1) led.push(replica)
    if (led.length === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#drain?.resolve()
      this.#drain = {
        replicas: led,
        excluded,
        endMs: this.#host.nowMs() + budgetMs,
        running: 0,
        leaving: new Set(),
        resolve,
      }
      this.#drainOn()
    })
  }

  /** Role or known leader of a group changed. */
  roleChanged(replica: Replica): void {
    const transfer = this.#open.get(replica)
    if (transfer === undefined || replica.raft.leaderId === NOBODY) return
    this.#end(replica, transfer, replica.raft.leaderId === transfer.to)
  }

  forget(replica: Replica): void {
    const transfer = this.#open.get(replica)
    if (transfer !== undefined) this.#end(replica, transfer, false)
  }

  tick(): void {
    const nowMs = this.#host.nowMs()
    for (const [replica, transfer] of this.#open) {
      const { raft } = replica
      const gaveUp = raft.isLeader && !raft.isTransferring
      if (gaveUp || nowMs >= transfer.endMs) this.#end(replica, transfer, raft.leaderId === transfer.to)
    }
    if (this.#drain !== undefined) this.#drainOn()
  }

  #end(replica: Replica, transfer: Transfer, isDone: boolean): void {
    this.#open.delete(replica)
    transfer.resolve(isDone)
  }

  #drainOn(): void {
    const drain = this.#drain!
    if (this.#host.nowMs() >= drain.endMs) drain.replicas.length = 0
    while (drain.replicas.length > 0 && drain.running < AT_ONCE_MAX) {
      const replica = drain.replicas.pop()!
      const to = this.#heirOf(replica, drain.excluded)
      if (to === undefined) continue
      drain.running += 1
      const ended = (isDone: boolean): void => {
        drain.running -= 1
        if (isDone) drain.leaving.add(replica)
        if (this.#drain === drain) this.#drainOn()
      }
      void this.begin(replica, to).then(ended)
    }
    for (const replica of drain.leaving) if (!mayBeNeeded(replica)) drain.leaving.delete(replica)
    const isBusy = drain.running > 0 || drain.leaving.size > 0
    if (drain.replicas.length > 0 || (isBusy && this.#host.nowMs() < drain.endMs)) return
    this.#drain = undefined
    drain.resolve()
  }

  /** The voter that holds most; the preferred one of several. */
  #heirOf({ raft, target, groupId }: Replica, excluded: readonly number[]): NodeId | undefined {
    let heir: NodeId | undefined
    let heldIndex = -1
    for (const id of target?.voters ?? raft.membership.voters) {
      const progress = raft.progressOf(id)
      if (progress === undefined || !raft.membership.canLead(id) || excluded.includes(brokerOf(id))) continue
      if (progress.matchIndex <= heldIndex || !this.#host.isAlive(id, groupId)) continue
      heir = id
      heldIndex = progress.matchIndex
    }
    return heir
  }
}

/** It follows a leader of which nothing is committed yet, as far as is known here. */
function mayBeNeeded({ raft, isRemoved }: Replica): boolean {
  return !isRemoved && raft.leaderId !== NOBODY && !raft.isLeader && raft.termAt(raft.commitIndex) !== raft.term
}
