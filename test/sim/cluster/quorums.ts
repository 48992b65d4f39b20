// Quorums other than majorities, and witnesses, as the simulator gives them to the brokers of a run.
//
// A pure function of the run's choice, so that all brokers say the same in all their lives.

import { brokerOf } from '../../../broker/cluster/raft-id.ts'
import { Membership } from '../../../broker/raft/membership.ts'
import { electionSizeFor } from '../../../broker/raft/quorum.ts'
import type { MembershipPolicy } from '../../../broker/replication/membership-policy.ts'

export interface QuorumChoice {
  /** Voters that commit, all of a smaller group; undefined: a majority. The election takes the fewest that are safe then. */
  readonly commitSize: number | undefined
  /** Every partition has one broker that is a witness wherever it is a replica. */
  readonly hasWitnesses: boolean
}

export function policyOf({ commitSize, hasWitnesses }: QuorumChoice, brokerCount: number): MembershipPolicy {
  return {
    quorumsOf: (groupId, voters) => {
      const commit = commitSize === undefined ? undefined : Math.min(commitSize, voters.length)
      const electionSize = commit === undefined ? undefined : electionSizeFor(voters.length, commit)
      const isWitnessed = hasWitnesses && groupId !== 0 && voters.length >= 3
      const witnesses = isWitnessed ? voters.filter((id) => brokerOf(id) === 1 + (groupId % brokerCount)) : []
      return { commitSize: commit, electionSize, witnesses }
    },
  }
}

/** Whether every partition with so many replicas, and the metadata with so many voters, can do without any one disk for good. */
export function canDoWithoutAny(choice: QuorumChoice, brokerCount: number, replicasMin: number): boolean {
  const policy = policyOf(choice, brokerCount)
  for (let count = replicasMin; count <= brokerCount; count++) {
    const voters = Array.from({ length: count }, (_, at) => at + 1)
    for (const groupId of [0, ...voters]) {
      const membership = new Membership(voters, [], [], policy.quorumsOf(groupId, voters))
      if (!voters.every((nodeId) => canDoWithout(membership, nodeId))) return false
    }
  }
  return true
}

/**
 * Whether a group loses nothing for good with the disk of that broker: those who store records can elect without it, the others can commit,
 * and whatever is committed is stored once more.
 */
export function canDoWithout(membership: Membership, nodeId: number): boolean {
  const own = [...membership.voters, ...membership.outgoing].filter((id) => brokerOf(id) === nodeId)
  if (own.length === 0) return true
  const isLeft = (id: number): boolean => brokerOf(id) !== nodeId
  const elects = membership.electionOutcome((id) => (isLeft(id) && !membership.isWitness(id)) || undefined) === 'won'
  if (!elects || !membership.canCommit(isLeft)) return false
  return own.every((id) => membership.isWitness(id)) || membership.isCommitStoredBy(2)
}
