// Moves the members of led groups towards what the metadata wants: newcomers as learners first, then one joint change.
//
// One per shard, made by driver.ts, which asks it to look at the pending groups every tick. All of it can be done again by another leader:
// what is to be done next is read from the membership in force, nothing is remembered but which groups are not there yet.

import type { NodeId } from '../raft/types.ts'
import { goalOf, type MembershipPolicy } from './membership-policy.ts'
import type { Replica } from './replica.ts'

export interface ReconcileHost {
  readonly policy: MembershipPolicy
  isAlive(id: NodeId, groupId: number): boolean
  /** Raft has something to say. */
  changed(replica: Replica): void
}

export class Reconcile {
  readonly #host: ReconcileHost
  /** Groups that are not where they should be, and the log's end when they were looked at last. */
  readonly #pending = new Map<Replica, number>()

  constructor(host: ReconcileHost) {
    this.#host = host
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  /** Target, membership or leadership of a group changed. */
  look(replica: Replica): void {
    if (replica.target === undefined || !replica.isServing) this.#pending.delete(replica)
    else if (!this.#pending.has(replica)) this.#pending.set(replica, Number.POSITIVE_INFINITY)
  }

  forget(replica: Replica): void {
    this.#pending.delete(replica)
  }

  tick(): void {
    for (const [replica, lastIndex] of this.#pending) {
      if (replica.isRemoved || !replica.raft.isLeader || this.#step(replica, lastIndex)) this.#pending.delete(replica)
      else this.#pending.set(replica, replica.raft.lastIndex)
    }
  }

  /** @returns whether nothing is left to be done */
  #step(replica: Replica, seenIndex: number): boolean {
    const { raft, target } = replica
    const { membership } = raft
    if (target === undefined) return true
    if (membership.isJoint || raft.committedMembership.index !== raft.membershipIndex || raft.isTransferring)
      return false
    const goal = goalOf(this.#host.policy, replica.groupId, membership, target)
    // Nobody would hold the records: it stays as it is until another target comes.
    if (goal === undefined) return false
    if (membership.equals(goal)) {
      replica.owner.reconciled?.()
      return true
    }
    const missing = [...target.voters, ...target.learners].filter((id) => !membership.isMember(id))
    if (missing.length > 0) {
      raft.changeMembership(membership.voters, [...membership.learners, ...missing], {
        electionSize: membership.sizes.election,
        commitSize: membership.sizes.commit,
        witnesses: [...membership.witnesses, ...missing.filter((id) => goal.isWitness(id))],
      })
      this.#host.changed(replica)
      return false
    }
    const newcomers = target.voters.filter((id) => !membership.isVoter(id))
    if (!newcomers.every((id) => this.#hasCaughtUp(replica, id, seenIndex))) return false
    if (!target.voters.includes(raft.id)) {
      const successor = target.voters.find((id) => membership.canLead(id) && this.#hasCaughtUp(replica, id, seenIndex))
      if (successor !== undefined) {
        raft.transfer(successor)
        this.#host.changed(replica)
        return false
      }
      // None of them votes yet: the change makes them voters, and Raft names one of them at its end.
    }
    raft.changeMembership(goal.voters, goal.learners, {
      electionSize: goal.sizes.election,
      commitSize: goal.sizes.commit,
      witnesses: goal.witnesses,
    })
    this.#host.changed(replica)
    return false
  }

  /** It holds what the log held a tick ago, or all there is. */
  #hasCaughtUp(replica: Replica, id: NodeId, seenIndex: number): boolean {
    const { raft, groupId } = replica
    const progress = raft.progressOf(id)
    if (progress === undefined || progress.isLost || !this.#host.isAlive(id, groupId)) return false
    return progress.matchIndex >= Math.min(seenIndex, raft.lastIndex) && progress.matchIndex >= raft.membershipIndex
  }
}
