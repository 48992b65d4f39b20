// Memberships as values: what they decide with other quorums than majorities, how they follow each other, and their bytes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  decodeMembership,
  encodeMembership,
  Membership,
  MembershipTable,
  UNBORN,
} from '../../../broker/raft/membership.ts'
import { areSafeSizes, blockingSize, electionSizeFor } from '../../../broker/raft/quorum.ts'

/** Every yes or no for `count` voters numbered from 1. */
function answers(count: number): ((id: number) => boolean)[] {
  return Array.from({ length: 2 ** count }, (_, mask) => (id: number) => ((mask >> (id - 1)) & 1) === 1)
}

const ids = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1)

test('voters that keep their promise block an election exactly when those who are left cannot elect', () => {
  for (let count = 1; count <= 5; count += 1) {
    for (let commit = 1; commit <= count; commit += 1) {
      const sizes = { election: electionSizeFor(count, commit), commit }
      const membership = new Membership(ids(count), [], [], { electionSize: sizes.election, commitSize: commit })
      assert.ok(blockingSize(count, sizes) <= commit, 'a commit quorum blocks every election')
      for (const refuses of answers(count)) {
        const outcome = membership.electionOutcome((id) => !refuses(id))
        assert.equal(membership.canBlock(refuses), outcome !== 'won', JSON.stringify(sizes))
        const held = ids(count).filter(refuses).length
        assert.equal(membership.canCommit(refuses), held >= commit)
      }
    }
  }
})

test('a joint membership is blocked, and commits, only by both halves', () => {
  const joint = new Membership([1, 2, 3], [], [3, 4, 5])
  const halves = [new Membership([1, 2, 3]), new Membership([3, 4, 5])]
  for (const answer of answers(5)) {
    const all = (decide: (half: Membership) => boolean): boolean => halves.every(decide)
    assert.equal(
      joint.canBlock(answer),
      all((half) => half.canBlock(answer)),
    )
    assert.equal(
      joint.canCommit(answer),
      all((half) => half.canCommit(answer)),
    )
  }
})

test('an index is stored by as many voters as asked, of each half, and witnesses store nothing', () => {
  const held = new Map([
    [1, 10],
    [2, 8],
    [3, 5],
    [4, 3],
    [5, -1],
  ])
  const heldBy = (id: number): number => held.get(id)!
  const plain = new Membership([1, 2, 3], [4])
  assert.deepEqual(
    [1, 2, 3, 4].map((count) => plain.storedIndex(count, heldBy)),
    [10, 8, 5, 5],
  )
  const joint = new Membership([1, 2, 3], [], [3, 4, 5])
  assert.equal(joint.storedIndex(2, heldBy), 3)
  assert.equal(joint.storedIndex(3, heldBy), -1)
  const witnessed = new Membership([1, 2, 3], [], [], { witnesses: [2] })
  assert.equal(witnessed.storedIndex(2, heldBy), 5)
  assert.equal(witnessed.storedIndex(3, heldBy), 5)
})

test('a commit is stored by a commit quorum of each half, but for witnesses', () => {
  const counts = (membership: Membership): boolean[] => [1, 2, 3, 4].map((count) => membership.isCommitStoredBy(count))
  assert.deepEqual(counts(new Membership([1])), [true, true, true, true])
  assert.deepEqual(counts(new Membership([1, 2])), [true, true, true, true])
  assert.deepEqual(counts(new Membership([1, 2, 3])), [true, true, false, false])
  assert.deepEqual(counts(new Membership(ids(5))), [true, true, true, false])
  assert.deepEqual(counts(new Membership(ids(3), [], [], { commitSize: 3 })), [true, true, true, true])
  assert.deepEqual(counts(new Membership(ids(3), [], [], { witnesses: [3] })), [true, false, false, false])
  assert.deepEqual(counts(new Membership(ids(5), [], [3, 4, 6])), [true, true, false, false])
})

test('one size given, the other is the smallest that is safe', () => {
  for (let count = 1; count <= 7; count += 1) {
    for (let commitSize = 1; commitSize <= count; commitSize += 1) {
      const { sizes } = new Membership(ids(count), [], [], { commitSize })
      assert.deepEqual(sizes, { election: electionSizeFor(count, commitSize), commit: commitSize })
    }
    for (let electionSize = Math.floor(count / 2) + 1; electionSize <= count; electionSize += 1) {
      const { sizes } = new Membership(ids(count), [], [], { electionSize })
      assert.ok(
        areSafeSizes(count, sizes) && !areSafeSizes(count, { election: electionSize, commit: sizes.commit - 1 }),
      )
    }
  }
})

test('unsafe sizes, a member named twice, a witness that is no member and witnesses alone are refused', () => {
  assert.throws(() => new Membership([1, 2, 3], [], [], { electionSize: 2, commitSize: 1 }))
  assert.throws(() => new Membership([1, 2, 3, 4], [], [], { electionSize: 2, commitSize: 3 }))
  assert.throws(() => new Membership([1, 1, 2]))
  assert.throws(() => new Membership([1, 2], [], [], { witnesses: [3] }))
  assert.throws(() => new Membership([1], [], [], { witnesses: [1] }))
})

test('a learner may be a witness: no quorum differs, and it stays one as a voter and in bytes', () => {
  const full = new Membership([1, 2], [3])
  const witnessed = new Membership([1, 2], [3], [], { witnesses: [3] })
  assert.deepEqual([full.hasSameVoters(witnessed), full.equals(witnessed)], [true, false])
  assert.ok(decodeMembership(encodeMembership(witnessed)).equals(witnessed))
  const target = new Membership([1, 2, 3], [], [], { witnesses: [3] })
  const joint = witnessed.jointWith(target)
  assert.deepEqual([joint.witnesses, joint.withoutOutgoing().witnesses], [[3], [3]])
  const back = target.jointWith(witnessed)
  assert.deepEqual([back.witnesses, back.withoutOutgoing().witnesses], [[3], [3]])
})

test('what witnesses alone hold is not committed, however many they are', () => {
  const membership = new Membership([1, 2, 3, 4, 5], [], [], { witnesses: [3, 4, 5] })
  const heldBy = (full: number, witness: number) => (id: number) => (id <= 2 ? full : witness)
  assert.equal(membership.committedIndex(heldBy(4, 9)), 4)
  assert.equal(membership.committedIndex(heldBy(9, 4)), 4)
  assert.ok(!membership.canLead(3) && membership.isVoter(3) && membership.canLead(1))
})

test('a change goes from the old voters through both to the new ones, each half with its own sizes', () => {
  const old = new Membership([1, 2, 3], [4], [], { commitSize: 2, witnesses: [3] })
  const target = new Membership([1, 2, 4, 5], [], [], { commitSize: 2 })
  const joint = old.jointWith(target)
  assert.deepEqual([joint.voters, joint.outgoing, joint.witnesses], [[1, 2, 4, 5], [1, 2, 3], [3]])
  assert.deepEqual([joint.sizes, joint.outgoingSizes], [target.sizes, old.sizes])
  assert.ok(joint.isJoint && joint.withoutOutgoing().equals(target))
  assert.ok(
    !old.hasSameVoters(target) &&
      old.hasSameVoters(new Membership([3, 2, 1], [], [], { commitSize: 2, witnesses: [3] })),
  )
})

test('who knows of no members decides nothing', () => {
  assert.ok(UNBORN.isUnborn && !UNBORN.isVoter(1) && !UNBORN.canLead(1) && !UNBORN.decidesAlone(1))
})

test('bytes give back the membership, also with ids beyond 32 bits', () => {
  const replaced = 3 * 2 ** 32 + 2
  const memberships = [
    UNBORN,
    new Membership([1]),
    new Membership([1, replaced, 3], [7, 8]),
    new Membership([1, 2, 3, 4], [9], [1, 5, 6], { commitSize: 2, outgoingElectionSize: 3, witnesses: [4, 6] }),
  ]
  for (const membership of memberships) {
    const bytes = encodeMembership(membership)
    const again = decodeMembership(bytes)
    assert.deepEqual(again, membership)
    assert.ok(again.equals(membership))
    for (let length = 0; length < bytes.length; length += 1) {
      assert.throws(() => decodeMembership(bytes.subarray(0, length)), /malformed/)
    }
    assert.throws(() => decodeMembership(Uint8Array.of(...bytes, 0)), /malformed/)
  }
})

test('bytes that name no possible membership are refused', () => {
  const bytes = encodeMembership(new Membership([1, 2, 3]))
  for (let at = 0; at < bytes.length; at += 1) {
    for (const bit of [1, 16, 128]) {
      const changed = bytes.slice()
      changed[at]! ^= bit
      let membership: Membership
      try {
        membership = decodeMembership(changed)
      } catch (error) {
        assert.match(String(error), /malformed/)
        continue
      }
      assert.ok(areSafeSizes(membership.voters.length, membership.sizes))
    }
  }
})

test('a table keeps one object for equal memberships, and no more than it may', () => {
  const table = new MembershipTable(2)
  const first = table.shared(new Membership([1, 2, 3]))
  assert.equal(table.shared(new Membership([1, 2, 3])), first)
  assert.notEqual(table.shared(new Membership([1, 2, 3], [4])), first)
  table.shared(new Membership([5]))
  const again = table.shared(new Membership([1, 2, 3]))
  assert.ok(again !== first && again.equals(first))
})
