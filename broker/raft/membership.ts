// Who votes in a group and who only listens.
//
// Immutable; one object may serve every group with the same replicas. Owned by raft.ts, shard thread. `outgoing` is the second
// half of a joint configuration (Raft dissertation, 4.3): while it is not empty, both halves must agree on everything.

import { committedIndex, majoritySizes, type QuorumSizes, type VoteOutcome, voteOutcome } from './quorum.ts'
import type { LogIndex, NodeId } from './types.ts'

export class Membership {
  readonly voters: readonly NodeId[]
  /** The voters before, while the group moves from them to `voters`; else empty. */
  readonly outgoing: readonly NodeId[]
  /** Receive the log, count in no quorum. */
  readonly learners: readonly NodeId[]
  /** Every member once, in order of id. */
  readonly members: readonly NodeId[]
  readonly #sizes: QuorumSizes
  readonly #outgoingSizes: QuorumSizes

  constructor(voters: readonly NodeId[], learners: readonly NodeId[] = [], outgoing: readonly NodeId[] = []) {
    this.voters = voters
    this.learners = learners
    this.outgoing = outgoing
    this.members = [...new Set([...voters, ...outgoing, ...learners])].sort((a, b) => a - b)
    this.#sizes = majoritySizes(voters.length)
    this.#outgoingSizes = majoritySizes(outgoing.length)
  }

  isVoter(id: NodeId): boolean {
    return this.voters.includes(id) || this.outgoing.includes(id)
  }

  isMember(id: NodeId): boolean {
    return this.members.includes(id)
  }

  /** True when this voter decides alone: no message and no other disk is ever needed. */
  decidesAlone(id: NodeId): boolean {
    return this.voters.length === 1 && this.voters[0] === id && this.outgoing.length === 0
  }

  /** @param voteOf true granted, false refused, undefined not answered */
  electionOutcome(voteOf: (id: NodeId) => boolean | undefined): VoteOutcome {
    const one = tally(this.voters, this.#sizes.election, voteOf)
    const other = this.outgoing.length === 0 ? 'won' : tally(this.outgoing, this.#outgoingSizes.election, voteOf)
    if (one === 'lost' || other === 'lost') return 'lost'
    return one === 'won' && other === 'won' ? 'won' : 'pending'
  }

  /** Highest index held by a commit quorum (of both halves). @param heldBy last index a voter holds durably */
  committedIndex(heldBy: (id: NodeId) => LogIndex): LogIndex {
    const one = committedIndex(this.voters.map(heldBy), this.#sizes.commit)
    if (this.outgoing.length === 0) return one
    return Math.min(one, committedIndex(this.outgoing.map(heldBy), this.#outgoingSizes.commit))
  }

  /** Whether those who answer could still elect, hence also refuse, a leader: what a leader checks about itself. */
  isQuorum(isActive: (id: NodeId) => boolean): boolean {
    return this.electionOutcome((id) => isActive(id)) === 'won'
  }
}

function tally(
  voters: readonly NodeId[],
  electionSize: number,
  voteOf: (id: NodeId) => boolean | undefined,
): VoteOutcome {
  let granted = 0
  let refused = 0
  for (const id of voters) {
    const vote = voteOf(id)
    if (vote === true) granted += 1
    else if (vote === false) refused += 1
  }
  return voteOutcome(voters.length, granted, refused, electionSize)
}
