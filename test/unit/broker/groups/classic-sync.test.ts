// SyncGroup, Heartbeat, LeaveGroup and sessions of a classic group, under virtual time.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { Bench, bytes, DELAY_MS, REBALANCE_MS, SESSION_MS, subscription, text } from './bench.ts'

/** Two members that have their JoinGroup answers; m1 leads, generation 1. */
function completing(): Bench {
  const bench = new Bench()
  bench.join()
  bench.join()
  bench.endJoinPhase()
  return bench
}

test('followers wait for the leader, then all get their assignment', () => {
  const bench = completing()
  const follower = bench.sync('m2')
  assert(bench.waits(follower))
  const leader = bench.sync('m1', { assign: { m1: 'one', m2: 'two' } })
  assert.equal(text(bench.synced(leader).assignment), 'one')
  assert.equal(text(bench.synced(follower).assignment), 'two')
  assert.equal(bench.synced(follower).protocolType, 'consumer')
  assert.equal(bench.synced(follower).protocolName, 'range')
  assert.equal(bench.group.state, 'Stable')
})

test('nobody gets an assignment before its record is durable', () => {
  const bench = completing()
  bench.holdsStores = true
  const follower = bench.sync('m2')
  const leader = bench.sync('m1', { assign: { m1: 'one', m2: 'two' } })
  assert(bench.waits(leader) && bench.waits(follower))
  assert.equal(bench.group.state, 'CompletingRebalance')
  bench.release()
  assert(!bench.waits(leader) && !bench.waits(follower))
})

test('members the leader left out get empty bytes and no error', () => {
  const bench = completing()
  const follower = bench.sync('m2')
  bench.sync('m1', { assign: { m1: 'one' } })
  assert.equal(bench.synced(follower).error, ErrorCode.NONE)
  assert.equal(bench.synced(follower).assignment.length, 0)
})

test('in Stable the current assignment comes at once, and what is sent is ignored', () => {
  const bench = completing()
  bench.sync('m1', { assign: { m1: 'one', m2: 'two' } })
  assert.equal(text(bench.synced(bench.sync('m1', { assign: { m1: 'other' } })).assignment), 'one')
  assert.equal(text(bench.synced(bench.sync('m2')).assignment), 'two')
})

test('a leader that asks twice while its record is written gets what it sent first', () => {
  const bench = completing()
  bench.holdsStores = true
  const first = bench.sync('m1', { assign: { m1: 'one' } })
  const second = bench.sync('m1', { assign: { m1: 'changed' } })
  bench.release()
  assert.equal(bench.synced(first).error, ErrorCode.REBALANCE_IN_PROGRESS)
  assert.equal(text(bench.synced(second).assignment), 'one')
  assert.equal(text(bench.stored.at(-1)!.members[0]!.assignment), 'one')
})

test('SyncGroup of an Empty group is from an unknown member', () => {
  const bench = new Bench()
  assert.equal(bench.synced(bench.sync('m1')).error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('SyncGroup: who comes before generation, generation before protocol, protocol before state', () => {
  const bench = completing()
  const error = (...args: Parameters<Bench['sync']>) => bench.synced(bench.sync(...args)).error
  assert.equal(error('nobody', { generationId: 9 }), ErrorCode.UNKNOWN_MEMBER_ID)
  assert.equal(error('m1', { groupInstanceId: 'i', generationId: 9 }), ErrorCode.UNKNOWN_MEMBER_ID)
  assert.equal(error('m1', { generationId: 9, protocolName: 'other' }), ErrorCode.ILLEGAL_GENERATION)
  assert.equal(error('m1', { protocolType: 'connect' }), ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  assert.equal(error('m1', { protocolName: 'other' }), ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  bench.join({ memberId: 'm2', protocols: [['range', subscription('u')]] })
  assert.equal(error('m1', { protocolName: 'other' }), ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  assert.equal(error('m1', { protocolName: 'range', protocolType: 'consumer' }), ErrorCode.REBALANCE_IN_PROGRESS)
})

test('a rebalance that starts while members wait in SyncGroup answers them REBALANCE_IN_PROGRESS', () => {
  const bench = completing()
  const follower = bench.sync('m2')
  bench.join()
  assert.equal(bench.synced(follower).error, ErrorCode.REBALANCE_IN_PROGRESS)
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('members that do not send SyncGroup in the rebalance timeout are dropped and a rebalance starts', () => {
  const bench = new Bench()
  bench.join({ sessionMs: REBALANCE_MS * 3 })
  bench.join({ sessionMs: REBALANCE_MS * 3 })
  bench.endJoinPhase()
  const follower = bench.sync('m2')
  bench.advance(REBALANCE_MS - 1)
  assert(bench.waits(follower))
  bench.advance(1)
  assert.equal(bench.synced(follower).error, ErrorCode.REBALANCE_IN_PROGRESS)
  assert.deepEqual(bench.ids(), ['m2'])
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('a member that never sends SyncGroup is dropped also when the group is Stable by then', () => {
  const bench = new Bench()
  bench.join({ sessionMs: REBALANCE_MS * 3 })
  bench.join({ sessionMs: REBALANCE_MS * 3 })
  bench.endJoinPhase()
  bench.sync('m1', { assign: {} })
  assert.equal(bench.group.state, 'Stable')
  bench.advance(REBALANCE_MS)
  assert.deepEqual(bench.ids(), ['m1'])
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('a group record that cannot be written answers all SyncGroups with the mapped error and starts a rebalance', () => {
  for (const [error, answer] of [
    [ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE],
    [ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE],
    [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.COORDINATOR_NOT_AVAILABLE],
    [ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR],
    [ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR],
    [ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.UNKNOWN_SERVER_ERROR],
  ] as const) {
    const bench = completing()
    bench.holdsStores = true
    const follower = bench.sync('m2')
    const leader = bench.sync('m1', { assign: { m1: 'one', m2: 'two' } })
    bench.release(error)
    assert.equal(bench.synced(leader).error, answer)
    assert.equal(bench.synced(follower).error, answer)
    assert.equal(bench.group.state, 'PreparingRebalance')
  }
})

test('an assignment that becomes durable after the next rebalance began is forgotten', () => {
  const bench = completing()
  bench.holdsStores = true
  const leader = bench.sync('m1', { assign: { m1: 'one', m2: 'two' } })
  bench.join()
  assert.equal(bench.synced(leader).error, ErrorCode.REBALANCE_IN_PROGRESS)
  bench.release()
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('Heartbeat by state', () => {
  const bench = new Bench()
  assert.equal(bench.heartbeat('m1'), ErrorCode.UNKNOWN_MEMBER_ID)
  bench.join()
  bench.join()
  bench.endJoinPhase()
  assert.equal(bench.heartbeat('m1'), ErrorCode.NONE, 'no 27 while waiting for the leader')
  bench.sync('m1', { assign: {} })
  bench.sync('m2')
  assert.equal(bench.heartbeat('m1'), ErrorCode.NONE)
  bench.join({ memberId: 'm1' })
  assert.equal(bench.heartbeat('m2'), ErrorCode.REBALANCE_IN_PROGRESS)
  assert.equal(bench.heartbeat('m2', 7), ErrorCode.ILLEGAL_GENERATION, 'generation before state')
  assert.equal(bench.heartbeat('nobody', 7), ErrorCode.UNKNOWN_MEMBER_ID, 'who before generation')
})

test('a pending id is no member for Heartbeat', () => {
  const bench = new Bench()
  bench.stable(1)
  bench.join({ known: true, newId: 'p' })
  assert.equal(bench.heartbeat('p'), ErrorCode.UNKNOWN_MEMBER_ID)
})

test('a member without heartbeats is removed when its session ends, and the others rebalance', () => {
  const bench = new Bench()
  bench.stable(2)
  bench.advance(SESSION_MS / 2)
  assert.equal(bench.heartbeat('m1'), ErrorCode.NONE)
  bench.advance(SESSION_MS / 2 - 1)
  assert.equal(bench.group.state, 'Stable')
  bench.advance(1)
  assert.deepEqual(bench.ids(), ['m1'])
  assert.equal(bench.heartbeat('m1'), ErrorCode.REBALANCE_IN_PROGRESS)
  assert.equal(bench.heartbeat('m2'), ErrorCode.UNKNOWN_MEMBER_ID)
})

test('sessions are extended by Heartbeat, SyncGroup and OffsetCommit', () => {
  for (const extend of [
    (bench: Bench) => void bench.heartbeat('m1'),
    (bench: Bench) => void bench.sync('m1'),
    (bench: Bench) => bench.step({ type: 'committed', memberId: 'm1' }),
  ]) {
    const bench = new Bench()
    bench.stable(1)
    bench.advance(SESSION_MS - 1)
    extend(bench)
    bench.advance(SESSION_MS - 1)
    assert.deepEqual(bench.ids(), ['m1'])
    bench.advance(1)
    assert.deepEqual(bench.ids(), [])
  }
})

test('the last member that goes leaves an Empty group of the next generation, stored without members', () => {
  const bench = new Bench()
  bench.stable(1)
  bench.advance(SESSION_MS)
  assert.equal(bench.group.state, 'Empty')
  assert.equal(bench.group.generationId, 2)
  const stored = bench.stored.at(-1)!
  assert.equal(stored.protocolType, 'consumer')
  assert.equal(stored.protocolName, null)
  assert.equal(stored.leader, null)
  assert.equal(stored.generationId, 2)
  assert.deepEqual(stored.members, [])
})

test('a stalled process ends no session by the stall alone', () => {
  const bench = new Bench()
  bench.stable(2)
  bench.nowMs += SESSION_MS * 3
  bench.step({ type: 'stalled', stallMs: SESSION_MS * 2 })
  assert.equal(bench.heartbeat('m1'), ErrorCode.NONE)
  bench.advance(SESSION_MS)
  assert.deepEqual(bench.ids(), [], 'and silence after it counts')
})

test('a member that leaves is gone at once and the others rebalance', () => {
  const bench = new Bench()
  bench.stable(2)
  const answer = bench.leave('m2')
  assert.equal(answer.error, ErrorCode.NONE)
  assert.deepEqual(answer.members, [{ memberId: 'm2', groupInstanceId: null, error: ErrorCode.NONE }])
  assert.equal(bench.heartbeat('m1'), ErrorCode.REBALANCE_IN_PROGRESS)
})

test('LeaveGroup answers each member in the order of the request, with one rebalance for all', () => {
  const bench = new Bench()
  bench.stable(3)
  const answer = bench.leave('m3', 'nobody', 'm1')
  assert.deepEqual(
    answer.members.map(({ memberId, error }) => [memberId, error]),
    [
      ['m3', ErrorCode.NONE],
      ['nobody', ErrorCode.UNKNOWN_MEMBER_ID],
      ['m1', ErrorCode.NONE],
    ],
  )
  assert.deepEqual(bench.ids(), ['m2'])
  assert.equal(bench.group.leaderId, 'm2')
  assert.equal(bench.joined(bench.join({ memberId: 'm2' })).generationId, 2)
})

test('a pending id can leave, without a rebalance', () => {
  const bench = new Bench()
  bench.stable(1)
  bench.join({ known: true, newId: 'p' })
  assert.equal(bench.leave('p').members[0]!.error, ErrorCode.NONE)
  assert.equal(bench.group.state, 'Stable')
})

test('a held JoinGroup of a member that is removed is answered UNKNOWN_MEMBER_ID', () => {
  const bench = new Bench()
  bench.stable(2)
  const request = bench.join({ memberId: 'm1' })
  bench.leave('m1')
  assert.equal(bench.joined(request).error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('a held SyncGroup of a member that is removed is answered UNKNOWN_MEMBER_ID', () => {
  const bench = completing()
  const request = bench.sync('m2')
  bench.leave('m2')
  assert.equal(bench.synced(request).error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('the last one missing in a join phase may leave, and the phase ends', () => {
  const bench = new Bench()
  bench.stable(2)
  const request = bench.join({ memberId: 'm1' })
  assert(bench.waits(request))
  bench.leave('m2')
  assert.equal(bench.joined(request).generationId, 2)
})

test('all members may leave during the initial delay; the group ends Empty', () => {
  const bench = new Bench()
  const request = bench.join()
  bench.leave('m1')
  assert.equal(bench.joined(request).error, ErrorCode.UNKNOWN_MEMBER_ID)
  bench.advance(DELAY_MS)
  assert.equal(bench.group.state, 'Empty')
})

test('which offsets may be committed by whom', () => {
  const bench = new Bench()
  assert.equal(bench.group.checkCommit('', null, -1), ErrorCode.NONE)
  assert.equal(bench.group.checkCommit('whoever', 'i', -1), ErrorCode.NONE, 'Empty and no generation: anybody')
  assert.equal(bench.group.checkCommit('m1', null, 0), ErrorCode.UNKNOWN_MEMBER_ID)
  bench.join()
  bench.endJoinPhase()
  assert.equal(bench.group.checkCommit('m1', null, 1), ErrorCode.REBALANCE_IN_PROGRESS, 'CompletingRebalance')
  bench.sync('m1', { assign: {} })
  assert.equal(bench.group.checkCommit('m1', null, 1), ErrorCode.NONE)
  assert.equal(bench.group.checkCommit('m1', null, 0), ErrorCode.ILLEGAL_GENERATION)
  assert.equal(bench.group.checkCommit('m1', null, -1), ErrorCode.ILLEGAL_GENERATION)
  assert.equal(bench.group.checkCommit('', null, -1), ErrorCode.UNKNOWN_MEMBER_ID)
  assert.equal(bench.group.checkCommit('nobody', null, 1), ErrorCode.UNKNOWN_MEMBER_ID)
  assert.equal(bench.group.checkCommit('m1', 'i', 1), ErrorCode.UNKNOWN_MEMBER_ID)
  bench.join({ memberId: '' })
  assert.equal(bench.group.checkCommit('m1', null, 1), ErrorCode.NONE, 'PreparingRebalance, right generation')
})

test('subscriptions are known from the metadata; what cannot be parsed counts as everything', () => {
  const bench = new Bench()
  bench.stable(1, { protocols: [['range', subscription('orders', 'carts')]] })
  assert(bench.group.isSubscribedTo('orders'))
  assert(bench.group.isSubscribedTo('carts'))
  assert(!bench.group.isSubscribedTo('other'))
  const odd = new Bench()
  odd.stable(1, { protocols: [['range', bytes('?')]] })
  assert(odd.group.isSubscribedTo('other'))
  const connect = new Bench()
  connect.stable(1, { protocolType: 'connect', protocols: [['v', subscription('orders')]] })
  assert(!connect.group.isSubscribedTo('orders'))
})
