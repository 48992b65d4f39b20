// A leader whose log lacks what a member knows to be committed: no rule of Raft brings that about, an unsafe recovery does.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Membership } from '../../../broker/raft/membership.ts'
import { Raft, RaftSettings } from '../../../broker/raft/raft.ts'
import { Entry, EntryKind, type Message, NOBODY, type Term } from '../../../broker/raft/types.ts'

const LEADER = 1

/** Member 2 of a group whose log has an entry of each term given, from index `firstIndex` on. */
function member(terms: readonly Term[], commitIndex: number, firstIndex = 1): Raft {
  const settings = new RaftSettings({ jitter: () => 0, preVote: false, groupHeartbeats: false })
  const runs = terms.flatMap((term, at) => (terms[at - 1] === term ? [] : [{ term, startIndex: firstIndex + at }]))
  return new Raft(settings, {
    id: 2,
    memberships: [{ index: 0, membership: new Membership([1, 2, 3]) }],
    hardState: { term: terms.at(-1)!, votedFor: NOBODY },
    log: {
      firstIndex,
      prevTerm: firstIndex === 1 ? 0 : 1,
      lastIndex: firstIndex + terms.length - 1,
      runs,
      commitIndex,
    },
  })
}

/** What member 2 answers to an append of the leader, of term 9. */
function answers(raft: Raft, prevIndex: number, prevTerm: Term, terms: readonly Term[], commitIndex = 0): Message[] {
  const entries = terms.map((term, at) => new Entry(prevIndex + 1 + at, term, 1, EntryKind.LeaderChange, 0, undefined))
  raft.receive(LEADER, { type: 'append', term: 9, prevIndex, prevTerm, commitIndex, entries })
  const ready = raft.ready()
  if (ready === undefined) return []
  return [...ready.sendNow, ...ready.sendWhenDurable].map(({ message }) => message)
}

const acknowledged = (messages: readonly Message[]) =>
  messages.map((message) => (message.type === 'append-reply' && !message.rejected ? message.index : message.type))

test('a leader that has another entry where ours is committed is neither followed nor answered', () => {
  for (const [what, prevIndex, prevTerm, terms] of [
    ['behind the committed ones', 5, 8, []],
    ['among them', 4, 8, []],
    ['in what follows', 3, 1, [8, 9]],
    ['where our commit ends', 5, 8, [9]],
  ] as const) {
    const raft = member([1, 1, 1, 2, 2], 5)
    assert.deepEqual(answers(raft, prevIndex, prevTerm, terms), [], what)
    assert.equal(raft.isContradicted, true, what)
    assert.deepEqual([raft.lastIndex, raft.commitIndex, raft.lastTerm], [5, 5, 2], what)
    assert.equal(raft.leaderId, LEADER, 'who leads is known all the same')
  }
})

test('whoever was contradicted takes, promises and wants nothing more', () => {
  const raft = member([1, 1, 2], 3)
  answers(raft, 3, 8, [])
  assert.deepEqual(answers(raft, 2, 1, [2], 3), [], 'an append that would fit')
  raft.receive(LEADER, { type: 'heartbeat', term: 9, commitIndex: 0, context: 1 })
  const membership = new Membership([1])
  raft.receive(LEADER, {
    ...{ type: 'snapshot', term: 9, index: 20, indexTerm: 9, membershipIndex: 20, membership, ref: undefined },
  })
  raft.receive(3, { type: 'vote-request', term: 12, lastIndex: 99, lastTerm: 11, pre: false, transfer: true })
  raft.receive(3, { type: 'timeout-now', term: 12 })
  raft.leaderLost()
  raft.campaign({ force: true })
  for (let tick = 0; tick < 50; tick++) raft.tick()
  const ready = raft.ready()
  assert.deepEqual([ready?.sendNow ?? [], ready?.sendWhenDurable ?? [], ready?.snapshot], [[], [], undefined])
  assert.equal(raft.role, 'follower')
  assert.deepEqual([raft.lastIndex, raft.commitIndex, raft.votedFor], [3, 3, NOBODY])
})

test('a snapshot of another history is not taken for what we hold', () => {
  const raft = member([1, 1, 2], 3)
  const membership = new Membership([1])
  raft.receive(LEADER, {
    ...{ type: 'snapshot', term: 9, index: 3, indexTerm: 8, membershipIndex: 3, membership, ref: undefined },
  })
  assert.equal(raft.isContradicted, true)
})

test('what is not known to be committed gives way as ever', () => {
  const raft = member([1, 1, 1, 2, 2], 3)
  assert.deepEqual(acknowledged(answers(raft, 3, 1, [8, 9])), [5])
  assert.deepEqual([raft.isContradicted, raft.lastTerm], [false, 9])
})

test('an append below our commit vouches for as much as it says, and no more', () => {
  const raft = member([1, 1, 1, 2, 2], 5)
  assert.deepEqual(acknowledged(answers(raft, 1, 1, [1, 1])), [3])
  assert.deepEqual(acknowledged(answers(raft, 2, 1, [1, 2, 2, 9])), [5])
  assert.equal(raft.isContradicted, false)
})

test('where our log begins later nothing is compared, and nothing taken for granted', () => {
  const raft = member([2, 2], 12, 11)
  assert.deepEqual(acknowledged(answers(raft, 5, 8, [8, 8])), [7])
  assert.deepEqual(answers(raft, 7, 8, [8, 8, 8, 8]), [], 'index 11 is of term 2 here')
  assert.equal(raft.isContradicted, true)
})
