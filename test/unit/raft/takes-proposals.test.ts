// When a node takes proposals: in every role, while it hands over, while it leaves. Whoever asks takesProposals relies on propose()
// doing what it says.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Membership } from '../../../broker/raft/membership.ts'
import { RaftSettings } from '../../../broker/raft/raft.ts'
import { EntryKind, type NodeId } from '../../../broker/raft/types.ts'
import { ModelNode, type Parcel } from './model-node.ts'

const ELECTION_TICKS = 5

class Group {
  readonly nodes = new Map<NodeId, ModelNode>()
  /** Nothing comes or goes there. */
  readonly cut = new Set<NodeId>()
  /** Kept back; all others arrive. */
  holds: (parcel: Parcel) => boolean = () => false
  held: Parcel[] = []

  constructor(voters: readonly NodeId[], learners: readonly NodeId[] = []) {
    const settings = new RaftSettings({
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 1,
      preVote: false,
      checkQuorum: true,
      groupHeartbeats: true,
      jitter: () => 0,
    })
    const membership = new Membership(voters, learners)
    for (const id of membership.members) this.nodes.set(id, new ModelNode(settings, id, membership))
  }

  node(id: NodeId): ModelNode {
    return this.nodes.get(id)!
  }

  raft(id: NodeId) {
    return this.node(id).raft
  }

  /** Until nothing moves any more. */
  run(): void {
    for (let isMoving = true; isMoving; ) {
      isMoving = false
      for (const node of this.nodes.values()) {
        while (node.takeReady() !== undefined || node.completeRound()) isMoving = true
        for (const parcel of node.outbox.splice(0)) {
          if (this.cut.has(parcel.from) || this.cut.has(parcel.to)) continue
          if (this.holds(parcel)) this.held.push(parcel)
          else this.nodes.get(parcel.to)?.raft.receive(parcel.from, parcel.message)
          isMoving = true
        }
      }
    }
  }

  elect(id: NodeId): void {
    this.raft(id).campaign({ force: true })
    this.run()
    assert.equal(this.raft(id).role, 'leader')
  }

  /** What it says, having seen that propose() does so. */
  takes(id: NodeId): boolean {
    const raft = this.raft(id)
    const said = raft.takesProposals
    const before = raft.lastIndex
    const entry = raft.propose(EntryKind.Batch, 1, undefined, 10)
    assert.equal(entry !== undefined, said, `propose() of a ${raft.role}`)
    assert.equal(raft.lastIndex, said ? before + 1 : before)
    assert.equal(raft.takesProposals, said, 'a proposal changes nothing about it')
    return said
  }
}

test('only a leader takes proposals: no follower, candidate or learner does', () => {
  const group = new Group([1, 2, 3], [4])
  for (const id of [1, 2, 3, 4]) assert.equal(group.takes(id), false)
  group.raft(1).campaign({ force: true })
  assert.equal(group.raft(1).role, 'candidate')
  assert.equal(group.takes(1), false)
  group.run()
  assert.deepEqual(
    [1, 2, 3, 4].map((id) => group.takes(id)),
    [true, false, false, false],
  )
})

test('a leader takes proposals from the moment of its election, before anything of its term is committed', () => {
  const group = new Group([1, 2, 3])
  group.holds = ({ message }) => message.type === 'append'
  group.elect(1)
  assert.equal(group.raft(1).hasCommittedInTerm, false)
  assert.equal(group.takes(1), true)
})

test('a voter alone takes proposals, and does so with a learner beside it', () => {
  for (const learners of [[], [2]]) {
    const group = new Group([1], learners)
    assert.equal(group.takes(1), false)
    group.elect(1)
    assert.equal(group.takes(1), true)
  }
})

test('who hands over takes nothing, and takes proposals again when the successor did not manage in time', () => {
  const group = new Group([1, 2, 3])
  group.elect(1)
  group.holds = ({ message }) => message.type === 'timeout-now'
  assert.equal(group.raft(1).transfer(2), true)
  assert.equal(group.takes(1), false)
  group.run()
  assert.equal(group.held.length, 1)
  for (let tick = 1; tick < ELECTION_TICKS; tick++) {
    group.raft(1).tick()
    group.run()
    assert.equal(group.takes(1), false, `after ${tick} ticks`)
  }
  group.raft(1).tick()
  group.run()
  assert.equal(group.takes(1), true)
})

test('who has handed over takes nothing, and the successor does', () => {
  const group = new Group([1, 2, 3])
  group.elect(1)
  group.raft(1).transfer(2)
  group.run()
  assert.deepEqual(
    [1, 2, 3].map((id) => group.takes(id)),
    [false, true, false],
  )
})

test('a transfer that cannot begin stops nothing', () => {
  const group = new Group([1, 2, 3], [4])
  group.elect(1)
  for (const to of [1, 4, 9]) {
    assert.equal(group.raft(1).transfer(to), false)
    assert.equal(group.takes(1), true)
  }
})

test('a transfer ends when its target is out of reach, and only then', () => {
  const group = new Group([1, 2, 3])
  group.elect(1)
  group.cut.add(2)
  group.raft(1).transfer(2)
  group.run()
  group.raft(1).unreachable(3)
  assert.equal(group.takes(1), false)
  group.raft(1).unreachable(2)
  assert.equal(group.takes(1), true)
})

test('a leader that steps down, or hears of a newer term, takes nothing any more', () => {
  const group = new Group([1, 2, 3])
  group.elect(1)
  group.raft(1).stepDown()
  assert.equal(group.takes(1), false)
  group.elect(2)
  group.raft(2).receive(3, { type: 'heartbeat', term: group.raft(2).term + 1, commitIndex: 0, context: 0 })
  assert.equal(group.takes(2), false)
})

test('a leader whose quorum has gone takes nothing from the tick on that finds it out', () => {
  const group = new Group([1, 2, 3])
  group.elect(1)
  group.cut.add(1)
  let ticks = 0
  while (group.takes(1)) {
    group.raft(1).tick()
    group.run()
    assert.ok(++ticks <= 2 * ELECTION_TICKS)
  }
  assert.equal(group.raft(1).role, 'follower')
})

test('a leader on its way out takes proposals while the old voters decide with it, and none after', () => {
  const group = new Group([1, 2, 3])
  group.elect(1)
  // The answers to the joint entry are late: both halves are in force.
  group.holds = ({ message }) => message.type === 'append-reply'
  assert.equal(group.raft(1).changeMembership([2, 3], []), 'proposed')
  group.run()
  assert.equal(group.raft(1).membership.isJoint, true)
  assert.equal(group.takes(1), true)
  // Now the joint one is committed and the last one appended, its answers are late.
  let isLeaving = false
  group.holds = ({ message }) => message.type === 'append-reply' && isLeaving
  for (const { from, to, message } of group.held.splice(0)) group.raft(to).receive(from, message)
  for (let left = 50; left > 0 && group.raft(1).membership.isVoter(1); left--) {
    group.node(1).takeReady()
    group.node(1).completeRound()
    for (const { from, to, message } of group.node(1).outbox.splice(0)) group.raft(to).receive(from, message)
    if (group.raft(1).membership.isVoter(1)) {
      for (const id of [2, 3]) {
        const node = group.node(id)
        while (node.takeReady() !== undefined || node.completeRound());
        for (const { from, to, message } of node.outbox.splice(0)) group.raft(to).receive(from, message)
      }
    }
  }
  isLeaving = true
  group.run()
  assert.equal(group.raft(1).role, 'leader')
  assert.equal(group.raft(1).membership.isVoter(1), false)
  assert.equal(group.takes(1), false)
  assert.equal(group.raft(1).isTransferring, false, 'it is no transfer that stops it')
  group.holds = () => false
  for (const { from, to, message } of group.held.splice(0)) group.raft(to).receive(from, message)
  group.run()
  assert.notEqual(group.raft(1).role, 'leader')
  assert.equal(group.takes(1), false)
})

test('the last voter that makes way for another one takes no proposals meanwhile', () => {
  const group = new Group([1], [2])
  group.elect(1)
  group.run()
  group.holds = ({ message }) => message.type === 'append-reply'
  assert.equal(group.raft(1).changeMembership([2], [1]), 'proposed')
  group.run()
  assert.equal(group.takes(1), true, 'it still votes in the outgoing half')
  group.holds = () => false
  for (const { from, to, message } of group.held.splice(0)) group.raft(to).receive(from, message)
  group.run()
  assert.equal(group.raft(1).role, 'follower')
  assert.equal(group.takes(1), false)
})
