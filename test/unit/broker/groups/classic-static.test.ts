// Static members of a classic group: identity by group.instance.id, fencing, return without a rebalance.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { Bench, bytes, REBALANCE_MS, SESSION_MS, text } from './bench.ts'

const LONG_MS = REBALANCE_MS * 5

test('a static member is joined at once, never asked to come back with an id', () => {
  const bench = new Bench()
  const request = bench.join({ instance: 'i1', newId: 'i1-uuid', known: true })
  bench.endJoinPhase()
  const answer = bench.joined(request)
  assert.equal(answer.error, ErrorCode.NONE)
  assert.equal(answer.memberId, 'i1-uuid')
  assert.equal(answer.members[0]!.groupInstanceId, 'i1')
})

test('Stable: a returned static member gets the current generation without a rebalance, and its assignment', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  const answer = bench.joined(bench.join({ instance: 'i2', newId: 'new' }))
  assert.equal(answer.error, ErrorCode.NONE)
  assert.equal(answer.memberId, 'new')
  assert.equal(answer.generationId, 1)
  assert.equal(bench.group.state, 'Stable')
  const synced = bench.synced(bench.sync('new', { groupInstanceId: 'i2' }))
  assert.equal(text(synced.assignment), 'a2')
  assert.deepEqual(
    bench.stored
      .at(-1)!
      .members.map(({ memberId, groupInstanceId, assignment }) => [memberId, groupInstanceId, text(assignment)]),
    [
      ['s1', 'i1', 'a1'],
      ['new', 'i2', 'a2'],
    ],
  )
})

test('Stable: changed metadata under the same protocol name is no reason for a rebalance', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  const answer = bench.joined(bench.join({ instance: 'i2', newId: 'new', protocols: [['range', bytes('changed')]] }))
  assert.equal(answer.generationId, 1)
  assert.equal(bench.group.state, 'Stable')
  assert.equal(text(bench.stored.at(-1)!.members[1]!.subscription), 'changed')
})

test('Stable: when the vote changes, the return starts a rebalance', () => {
  const bench = new Bench()
  bench.stableStatic(1, { protocols: ['a', 'b'] })
  const request = bench.join({ instance: 'i1', newId: 'new', protocols: ['b', 'a'] })
  assert.equal(bench.joined(request).generationId, 2)
  assert.equal(bench.joined(request).protocolName, 'b')
})

test('requests of the old id are fenced', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  bench.join({ instance: 'i2', newId: 'new' })
  assert.equal(bench.heartbeat('s2', 1, 'i2'), ErrorCode.FENCED_INSTANCE_ID)
  assert.equal(bench.synced(bench.sync('s2', { groupInstanceId: 'i2' })).error, ErrorCode.FENCED_INSTANCE_ID)
  assert.equal(bench.joined(bench.join({ memberId: 's2', instance: 'i2' })).error, ErrorCode.FENCED_INSTANCE_ID)
  assert.equal(bench.group.checkCommit('s2', 'i2', 1), ErrorCode.FENCED_INSTANCE_ID)
  assert.equal(bench.leave({ memberId: 's2', groupInstanceId: 'i2' }).members[0]!.error, ErrorCode.FENCED_INSTANCE_ID)
  assert.equal(bench.heartbeat('s2', 9, 'i2'), ErrorCode.FENCED_INSTANCE_ID, 'who before generation')
})

test('an instance that nobody has is unknown', () => {
  const bench = new Bench()
  bench.stableStatic(1)
  assert.equal(bench.joined(bench.join({ memberId: 's1', instance: 'other' })).error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('the answer to a returned leader depends on the version', () => {
  const v9 = new Bench()
  v9.stableStatic(2)
  const skipping = v9.joined(v9.join({ instance: 'i1', newId: 'new', skip: true }))
  assert.equal(skipping.leader, 'new')
  assert.equal(skipping.skipAssignment, true)
  assert.equal(skipping.members.length, 2)
  const v5 = new Bench()
  v5.stableStatic(2)
  const following = v5.joined(v5.join({ instance: 'i1', newId: 'new' }))
  assert.equal(following.leader, 's1', 'the old id, so that it acts as a follower')
  assert.equal(following.skipAssignment, false)
  assert.deepEqual(following.members, [])
  assert.equal(v5.group.leaderId, 'new')
})

test('a returned follower is never told to skip', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  const answer = bench.joined(bench.join({ instance: 'i2', newId: 'new', skip: true }))
  assert.equal(answer.leader, 's1')
  assert.equal(answer.skipAssignment, false)
  assert.deepEqual(answer.members, [])
})

test('PreparingRebalance: a held JoinGroup of the old id is fenced, the new one waits for the end', () => {
  const bench = new Bench()
  bench.stableStatic(2, { sessionMs: LONG_MS })
  const old = bench.join({ memberId: 's1', instance: 'i1' })
  assert(bench.waits(old))
  const returned = bench.join({ instance: 'i1', newId: 'new' })
  assert.equal(bench.joined(old).error, ErrorCode.FENCED_INSTANCE_ID)
  assert.equal(bench.joined(old).memberId, 's1')
  assert(bench.waits(returned))
  bench.join({ memberId: 's2', instance: 'i2' })
  assert.equal(bench.joined(returned).generationId, 2)
  assert.equal(bench.joined(returned).leader, 'new')
})

test('CompletingRebalance: a return starts a rebalance and fences a held SyncGroup', () => {
  const bench = new Bench()
  bench.join({ instance: 'i1', newId: 's1' })
  bench.join({ instance: 'i2', newId: 's2' })
  bench.endJoinPhase()
  const held = bench.sync('s2', { groupInstanceId: 'i2' })
  const returned = bench.join({ instance: 'i2', newId: 'new' })
  assert.equal(bench.synced(held).error, ErrorCode.FENCED_INSTANCE_ID)
  assert(bench.waits(returned))
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('static members that do not rejoin keep their place with their old metadata until their session ends', () => {
  const bench = new Bench()
  bench.stableStatic(2, { sessionMs: LONG_MS })
  const leader = bench.join({ memberId: 's1', instance: 'i1', sessionMs: LONG_MS })
  bench.advance(REBALANCE_MS)
  assert.equal(bench.joined(leader).generationId, 2)
  assert.deepEqual(
    bench.joined(leader).members.map(({ memberId }) => memberId),
    ['s1', 's2'],
  )
})

test('when no static member rejoined, the join phase waits for one more round instead of choosing a leader', () => {
  const bench = new Bench()
  bench.stableStatic(2, { sessionMs: LONG_MS })
  bench.join({ newId: 'd', sessionMs: LONG_MS })
  bench.leave('d')
  assert.equal(bench.group.state, 'PreparingRebalance')
  bench.advance(REBALANCE_MS)
  assert.equal(bench.group.state, 'PreparingRebalance')
  const request = bench.join({ memberId: 's2', instance: 'i2', sessionMs: LONG_MS })
  bench.advance(REBALANCE_MS)
  assert.equal(bench.joined(request).leader, 's2')
})

test('a join phase that nobody rejoins does not spin, however short the rebalance timeout', () => {
  const bench = new Bench()
  bench.stableStatic(1, { sessionMs: LONG_MS, rebalanceMs: 10 })
  bench.join({ newId: 'd', sessionMs: LONG_MS, rebalanceMs: 10 })
  bench.leave('d')
  bench.advance(10)
  assert.equal(bench.group.state, 'PreparingRebalance')
  assert(bench.group.wakeAtMs >= bench.nowMs + 1_000)
})

test('a static member is removed when its session ends', () => {
  const bench = new Bench()
  bench.stableStatic(1)
  bench.advance(SESSION_MS)
  assert.deepEqual(bench.ids(), [])
})

test('an administrator removes a static member by its instance alone', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  const answer = bench.leave({ memberId: '', groupInstanceId: 'i2' }, { memberId: '', groupInstanceId: 'other' })
  assert.deepEqual(answer.members, [
    { memberId: '', groupInstanceId: 'i2', error: ErrorCode.NONE },
    { memberId: '', groupInstanceId: 'other', error: ErrorCode.UNKNOWN_MEMBER_ID },
  ])
  assert.deepEqual(bench.ids(), ['s1'])
})

test('a return whose record cannot be written is undone', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  bench.holdsStores = true
  const returned = bench.join({ instance: 'i1', newId: 'new' })
  assert(bench.waits(returned))
  bench.release(ErrorCode.NOT_ENOUGH_REPLICAS)
  assert.equal(bench.joined(returned).error, ErrorCode.COORDINATOR_NOT_AVAILABLE)
  assert.equal(bench.joined(returned).memberId, '')
  assert.deepEqual(bench.ids().sort(), ['s1', 's2'])
  assert.equal(bench.group.leaderId, 's1')
  assert.equal(bench.heartbeat('s1', 1, 'i1'), ErrorCode.NONE)
})

test('a return that is being stored when a rebalance begins is answered by that rebalance', () => {
  const bench = new Bench()
  bench.stableStatic(2)
  bench.holdsStores = true
  const returned = bench.join({ instance: 'i2', newId: 'new' })
  const leader = bench.join({ memberId: 's1', instance: 'i1' })
  bench.release()
  assert.equal(bench.joined(returned).generationId, 2)
  assert.equal(bench.joined(leader).generationId, 2)
})
