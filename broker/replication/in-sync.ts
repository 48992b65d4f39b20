// Which members of a led group are in sync: alive, and holding what is committed. What Kafka calls the ISR.
//
// One per shard, made by driver.ts. As in Kafka, a member leaves when it has not caught up with the log's end for replica.lag.time.max.ms,
// and comes back when it holds everything committed; unlike in Kafka nothing rests on it, since Raft counts its own quorums. So it is
// looked at now and then, and at once when a broker falls silent. Only those are counted whose vote is settled: whoever sees a broker in
// the list may stop another one. And only those that hold records: a witness is no copy.

import { brokerOf } from '../cluster/raft-id.ts'
import type { Membership } from '../raft/membership.ts'
import type { NodeId } from '../raft/types.ts'
import type { Replica } from './replica.ts'

export interface InSyncHost {
  isAlive(id: NodeId, groupId: number): boolean
  /** It said that it takes no batches. */
  refuses(replica: Replica, id: NodeId): boolean
  nowMs(): number
}

/** A member that was behind when it was looked at last. */
interface Lag {
  /** When it held all there was. */
  caughtUpMs: number
  lookedAtMs: number
  /** The log's end then. */
  lastIndex: number
}

export class InSync {
  readonly #host: InSyncHost
  readonly #lagMaxMs: number
  readonly #lags = new Map<Replica, Map<NodeId, Lag>>()
  /** Most groups have the same few lists. */
  readonly #lists = new Map<string, readonly number[]>()

  constructor(host: InSyncHost, lagMaxMs: number) {
    this.#host = host
    this.#lagMaxMs = lagMaxMs
  }

  /** Looks at a group that serves. @returns whether its list is another one now */
  look(replica: Replica): boolean {
    const brokers = this.#list(replica)
    if (brokers === replica.isr) return false
    replica.isr = brokers
    return true
  }

  /** It does not lead any more. */
  forget(replica: Replica): void {
    this.#lags.delete(replica)
  }

  #list(replica: Replica): readonly number[] {
    const { membership, committedMembership, id: own } = replica.raft
    const brokers: number[] = []
    for (const id of membership.members) {
      const broker = brokerOf(id)
      if (brokers.includes(broker) || membership.isWitness(id)) continue
      const counts = id === own || (isSettled(membership, id) && isSettled(committedMembership.membership, id))
      if (counts && this.#isInSync(replica, id, broker)) brokers.push(broker)
    }
    const key = brokers.join()
    const known = this.#lists.get(key)
    if (known !== undefined) return known
    if (this.#lists.size > 1000) this.#lists.clear()
    this.#lists.set(key, brokers)
    return brokers
  }

  #isInSync(replica: Replica, id: NodeId, broker: number): boolean {
    const { raft, groupId, isr } = replica
    if (id === raft.id) return true
    const progress = raft.progressOf(id)
    if (progress === undefined || !this.#host.isAlive(id, groupId) || this.#host.refuses(replica, id)) {
      this.#drop(replica, id)
      return false
    }
    const { lastIndex } = raft
    if (progress.matchIndex >= lastIndex) {
      this.#drop(replica, id)
      return true
    }
    const nowMs = this.#host.nowMs()
    const lag = this.#lagOf(replica, id)
    if (progress.matchIndex >= lag.lastIndex) lag.caughtUpMs = lag.lookedAtMs
    lag.lookedAtMs = nowMs
    lag.lastIndex = lastIndex
    // Coming in takes everything committed, staying in takes to have held all there was not too long ago.
    return isr.includes(broker) ? nowMs - lag.caughtUpMs <= this.#lagMaxMs : progress.matchIndex >= raft.commitIndex
  }

  #lagOf(replica: Replica, id: NodeId): Lag {
    let lags = this.#lags.get(replica)
    if (lags === undefined) {
      lags = new Map()
      this.#lags.set(replica, lags)
    }
    let lag = lags.get(id)
    if (lag === undefined) {
      const nowMs = this.#host.nowMs()
      lag = { caughtUpMs: nowMs, lookedAtMs: nowMs, lastIndex: replica.raft.lastIndex }
      lags.set(id, lag)
    }
    return lag
  }

  #drop(replica: Replica, id: NodeId): void {
    const lags = this.#lags.get(replica)
    if (lags?.delete(id) && lags.size === 0) this.#lags.delete(replica)
  }
}

/** Its vote counts in every majority of this membership. */
function isSettled({ voters, outgoing, isJoint }: Membership, id: NodeId): boolean {
  return voters.includes(id) && (!isJoint || outgoing.includes(id))
}
