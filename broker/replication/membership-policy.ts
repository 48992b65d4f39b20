// How many voters of a group elect and commit, and which members store no records: asked when a group is founded and when its members change.
//
// Majorities and no witnesses unless whoever makes the driver says otherwise; no option of the broker does. One per shard, pure.

import { invariant } from '../../protocol/invariant.ts'
import { Membership, type MembershipOptions } from '../raft/membership.ts'
import type { NodeId } from '../raft/types.ts'

const METADATA_GROUP = 0

/** As Membership takes it: the size that is left out is the smallest safe one, majorities without any. */
export type Quorums = Pick<MembershipOptions, 'electionSize' | 'commitSize' | 'witnesses'>

export interface MembershipPolicy {
  /**
   * The same answer for the same group and voters on every broker, in every life. A member that has data stays what it is, so witnesses
   * among those are believed only when they join. The voters that store records should be able to elect without the witnesses: what a
   * leader lost with the power may still stand in the log of a witness, which then votes for none of them. Group 0 has no witnesses.
   * @param voters raft ids, the preferred leader first
   */
  quorumsOf(groupId: number, voters: readonly NodeId[]): Quorums
}

const NONE: Quorums = Object.freeze({})

export const MAJORITIES: MembershipPolicy = { quorumsOf: () => NONE }

export function foundingMembership(policy: MembershipPolicy, groupId: number, founders: readonly NodeId[]): Membership {
  return new Membership(founders, [], [], quorumsOf(policy, groupId, founders))
}

/**
 * What a group should be in the end, given what it is: members keep their kind.
 * @returns undefined when none of the voters would store records
 */
export function goalOf(
  policy: MembershipPolicy,
  groupId: number,
  present: Membership,
  target: { readonly voters: readonly NodeId[]; readonly learners: readonly NodeId[] },
): Membership | undefined {
  const { voters, learners } = target
  const { electionSize, commitSize, witnesses = [] } = quorumsOf(policy, groupId, voters)
  if (witnesses.length === 0 && present.witnesses.length === 0) {
    return new Membership(voters, learners, [], { electionSize, commitSize })
  }
  const isWitness = (id: NodeId): boolean => (present.isMember(id) ? present.isWitness(id) : witnesses.includes(id))
  if (voters.every(isWitness)) return undefined
  const kept = [...voters, ...learners].filter(isWitness)
  return new Membership(voters, learners, [], { electionSize, commitSize, witnesses: kept })
}

function quorumsOf(policy: MembershipPolicy, groupId: number, voters: readonly NodeId[]): Quorums {
  const quorums = policy.quorumsOf(groupId, voters)
  const isFull = quorums.witnesses === undefined || quorums.witnesses.length === 0
  invariant(groupId !== METADATA_GROUP || isFull, 'every broker holds the metadata')
  return quorums
}
