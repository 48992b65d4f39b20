// Quorum arithmetic: how many is enough, for votes and for commits. Every decision of that kind goes through here.
//
// Pure functions over numbers, called by membership.ts on the shard's thread. Majority is one choice of sizes; any sizes that
// QuorumSizes' two rules allow are correct (flexible quorums: Howard, Malkhi, Spiegelman 2016).

import { invariant } from '../../protocol/invariant.ts'

/**
 * How many of the voters elect, and how many commit. Rules: any two election quorums meet (one leader per term), and any
 * election quorum meets any commit quorum (a new leader holds all that was committed).
 */
export interface QuorumSizes {
  readonly election: number
  readonly commit: number
}

export type VoteOutcome = 'won' | 'lost' | 'pending'

/** More than half. 0 of 0: an empty half of a joint configuration decides nothing. */
export function majorityOf(voterCount: number): number {
  return voterCount === 0 ? 0 : Math.floor(voterCount / 2) + 1
}

export function majoritySizes(voterCount: number): QuorumSizes {
  const size = majorityOf(voterCount)
  return { election: size, commit: size }
}

/** Smallest election quorum that is safe with the given commit quorum. */
export function electionSizeFor(voterCount: number, commitSize: number): number {
  return Math.max(majorityOf(voterCount), voterCount - commitSize + 1)
}

/** Smallest number of voters without which nobody can be elected. Never more than a commit quorum. */
export function blockingSize(voterCount: number, sizes: QuorumSizes): number {
  return voterCount - sizes.election + 1
}

export function areSafeSizes(voterCount: number, sizes: QuorumSizes): boolean {
  if (voterCount === 0) return sizes.election === 0 && sizes.commit === 0
  const { election, commit } = sizes
  const possible = election >= 1 && commit >= 1 && election <= voterCount && commit <= voterCount
  return possible && 2 * election > voterCount && election + commit > voterCount
}

/**
 * @param granted votes for, among the voters
 * @param refused votes against, among the voters
 */
export function voteOutcome(voterCount: number, granted: number, refused: number, electionSize: number): VoteOutcome {
  invariant(granted + refused <= voterCount, 'no more votes than voters', granted + refused, voterCount)
  if (granted >= electionSize) return 'won'
  return voterCount - refused < electionSize ? 'lost' : 'pending'
}

/**
 * The highest index that at least `commitSize` voters hold.
 * @param held the last index each voter holds, durably; sorted in place
 * @returns +Infinity without voters: an empty half of a joint configuration holds nothing back
 */
export function committedIndex(held: number[], commitSize: number): number {
  if (held.length === 0) return Number.POSITIVE_INFINITY
  invariant(commitSize >= 1 && commitSize <= held.length, 'a commit quorum fits the voters', commitSize, held.length)
  for (let at = 1; at < held.length; at += 1) {
    const index = held[at]!
    let to = at
    for (; to > 0 && held[to - 1]! < index; to -= 1) held[to] = held[to - 1]!
    held[to] = index
  }
  return held[commitSize - 1]!
}
