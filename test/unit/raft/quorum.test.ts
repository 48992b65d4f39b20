// Quorum arithmetic, exhaustively over small groups.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Membership } from '../../../broker/raft/membership.ts'
import {
  areSafeSizes,
  committedIndex,
  electionSizeFor,
  majorityOf,
  majoritySizes,
  voteOutcome,
} from '../../../broker/raft/quorum.ts'

/** All subsets of 0..count-1, as bit masks. */
function subsets(count: number): number[] {
  return Array.from({ length: 2 ** count }, (_, mask) => mask)
}

const sizeOf = (mask: number): number => mask.toString(2).replaceAll('0', '').length

/** All lists of `length` numbers from 0 to `max`. */
function lists(length: number, max: number): number[][] {
  if (length === 0) return [[]]
  return lists(length - 1, max).flatMap((list) => Array.from({ length: max + 1 }, (_, value) => [...list, value]))
}

test('majorities are the known ones', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7].map(majorityOf), [0, 1, 2, 2, 3, 3, 4, 4])
})

test('sizes are called safe exactly when all election quorums meet each other and all commit quorums', () => {
  for (let voterCount = 1; voterCount <= 6; voterCount += 1) {
    for (let election = 0; election <= voterCount + 1; election += 1) {
      for (let commit = 0; commit <= voterCount + 1; commit += 1) {
        const elections = subsets(voterCount).filter((mask) => sizeOf(mask) === election)
        const commits = subsets(voterCount).filter((mask) => sizeOf(mask) === commit)
        const possible = elections.length > 0 && commits.length > 0 && election > 0 && commit > 0
        const meet = elections.every((one) => [...elections, ...commits].every((other) => (one & other) !== 0))
        const sizes = { election, commit }
        assert.equal(areSafeSizes(voterCount, sizes), possible && meet, JSON.stringify({ voterCount, ...sizes }))
      }
    }
  }
})

test('the smallest election quorum for a commit quorum is safe, and one less is not', () => {
  for (let voterCount = 1; voterCount <= 9; voterCount += 1) {
    assert.ok(areSafeSizes(voterCount, majoritySizes(voterCount)))
    for (let commit = 1; commit <= voterCount; commit += 1) {
      const election = electionSizeFor(voterCount, commit)
      assert.ok(areSafeSizes(voterCount, { election, commit }))
      assert.ok(!areSafeSizes(voterCount, { election: election - 1, commit }))
    }
  }
})

test('the committed index is the highest that enough voters hold', () => {
  for (let voterCount = 1; voterCount <= 5; voterCount += 1) {
    for (const held of lists(voterCount, 3)) {
      for (let size = 1; size <= voterCount; size += 1) {
        const expected = [3, 2, 1, 0].find((index) => held.filter((own) => own >= index).length >= size)
        assert.equal(committedIndex([...held], size), expected, `${held} with ${size}`)
      }
    }
  }
  assert.equal(committedIndex([], 0), Number.POSITIVE_INFINITY)
})

test('a vote is won, lost or open as all continuations of it say', () => {
  for (let voterCount = 1; voterCount <= 7; voterCount += 1) {
    for (let size = majorityOf(voterCount); size <= voterCount; size += 1) {
      for (let granted = 0; granted <= voterCount; granted += 1) {
        for (let refused = 0; granted + refused <= voterCount; refused += 1) {
          const open = voterCount - granted - refused
          const endings = Array.from({ length: open + 1 }, (_, more) => granted + more >= size)
          const expected = granted >= size ? 'won' : endings.some(Boolean) ? 'pending' : 'lost'
          assert.equal(voteOutcome(voterCount, granted, refused, size), expected)
        }
      }
    }
  }
})

test('a joint membership decides only what both halves decide', () => {
  const joint = new Membership([1, 2, 3], [6], [3, 4, 5])
  const alone = [new Membership([1, 2, 3]), new Membership([3, 4, 5])]
  for (const votes of lists(5, 2)) {
    const voteOf = (id: number): boolean | undefined => [undefined, true, false][votes[id - 1] ?? 0]
    const halves = alone.map((half) => half.electionOutcome(voteOf))
    const expected = halves.includes('lost') ? 'lost' : halves.includes('pending') ? 'pending' : 'won'
    assert.equal(joint.electionOutcome(voteOf), expected)
    const heldBy = (id: number): number => votes[id - 1] ?? 0
    assert.equal(joint.committedIndex(heldBy), Math.min(...alone.map((half) => half.committedIndex(heldBy))))
  }
  assert.deepEqual(joint.members, [1, 2, 3, 4, 5, 6])
  assert.ok(joint.isVoter(4) && !joint.isVoter(6) && !joint.decidesAlone(1))
  assert.ok(new Membership([1], [2]).decidesAlone(1))
})
