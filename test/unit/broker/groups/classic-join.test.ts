// JoinGroup and the join phase of a classic group, under virtual time.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { Bench, bytes, DELAY_MS, NEW_MEMBER_MS, REBALANCE_MS, SESSION_MS, subscription, text } from './bench.ts'

test('a new group is Empty at generation 0', () => {
  const bench = new Bench()
  assert.equal(bench.group.state, 'Empty')
  assert.equal(bench.group.generationId, 0)
})

test('the first join moves the group to PreparingRebalance and waits for the initial delay', () => {
  const bench = new Bench()
  const request = bench.join()
  assert.equal(bench.group.state, 'PreparingRebalance')
  bench.advance(DELAY_MS - 1)
  assert(bench.waits(request))
  bench.advance(1)
  const answer = bench.joined(request)
  assert.equal(answer.error, ErrorCode.NONE)
  assert.equal(answer.generationId, 1)
  assert.equal(answer.leader, 'm1')
  assert.equal(answer.protocolType, 'consumer')
  assert.equal(answer.protocolName, 'range')
  assert.deepEqual(
    answer.members.map(({ memberId }) => memberId),
    ['m1'],
  )
  assert.equal(bench.group.state, 'CompletingRebalance')
})

test('the initial delay is extended while members arrive: delay 1000, four joiners, answer at 2000 ms', () => {
  const bench = new Bench({ initialRebalanceDelayMs: 1_000 })
  const first = bench.join()
  bench.advance(300)
  bench.join()
  bench.advance(300)
  bench.join()
  bench.join()
  bench.advance(1_399)
  assert(bench.waits(first))
  bench.advance(1)
  assert.equal(bench.joined(first).members.length, 4)
})

test('the initial delay never exceeds the rebalance timeout', () => {
  const bench = new Bench({ initialRebalanceDelayMs: 1_000 })
  const first = bench.join({ rebalanceMs: 2_500 })
  for (let at = 0; at < 40 && bench.waits(first); at++) {
    bench.advance(100)
    if (bench.waits(first)) bench.join({ rebalanceMs: 2_500 })
  }
  assert(!bench.waits(first))
  assert(bench.nowMs - 1_000 <= 2_600)
})

test('an initial delay of 0 ends the join phase at the next tick', () => {
  const bench = new Bench({ initialRebalanceDelayMs: 0 })
  const first = bench.join()
  bench.advance(0)
  assert.equal(bench.joined(first).generationId, 1)
})

test('only the leader gets the members, with the metadata of the chosen protocol', () => {
  const bench = new Bench()
  const first = bench.join({
    protocols: [
      ['range', bytes('one')],
      ['other', bytes('x')],
    ],
  })
  const second = bench.join({ protocols: [['range', bytes('two')]] })
  bench.advance(2 * DELAY_MS)
  assert.deepEqual(
    bench.joined(first).members.map(({ memberId, metadata }) => [memberId, text(metadata)]),
    [
      ['m1', 'one'],
      ['m2', 'two'],
    ],
  )
  assert.deepEqual(bench.joined(second).members, [])
  assert.equal(bench.joined(second).leader, 'm1')
})

test('from version 4 on a dynamic member is told its id first, and joins with it', () => {
  const bench = new Bench()
  const told = bench.joined(bench.join({ known: true, newId: 'client-uuid' }))
  assert.equal(told.error, ErrorCode.MEMBER_ID_REQUIRED)
  assert.equal(told.memberId, 'client-uuid')
  assert.equal(told.generationId, -1)
  assert.equal(told.leader, '')
  assert.equal(told.protocolName, null)
  assert.deepEqual(told.members, [])
  assert.equal(bench.group.state, 'Empty')
  const request = bench.join({ known: true, memberId: 'client-uuid' })
  bench.advance(DELAY_MS)
  assert.equal(bench.joined(request).error, ErrorCode.NONE)
})

test('a pending id is forgotten after its session timeout', () => {
  const bench = new Bench()
  bench.join({ known: true, newId: 'p' })
  bench.advance(SESSION_MS)
  assert.equal(bench.group.pendingJoinCount, 0)
  assert.equal(bench.joined(bench.join({ memberId: 'p' })).error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('a pending id holds the end of a join phase up to its expiry', () => {
  const bench = new Bench()
  bench.stable(1)
  const rejoin = bench.join({ memberId: 'm1' })
  assert(!bench.waits(rejoin))
  bench.sync('m1', { assign: { m1: 'a' } })
  bench.join({ known: true, newId: 'p' })
  const again = bench.join({ memberId: 'm1' })
  assert(bench.waits(again))
  bench.advance(SESSION_MS)
  assert.equal(bench.joined(again).error, ErrorCode.NONE)
})

test('an unknown member id is refused', () => {
  const bench = new Bench()
  assert.equal(bench.joined(bench.join({ memberId: 'nobody' })).error, ErrorCode.UNKNOWN_MEMBER_ID)
  bench.stable(1)
  assert.equal(bench.joined(bench.join({ memberId: 'nobody' })).error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('no protocols or no protocol type is inconsistent', () => {
  const bench = new Bench()
  assert.equal(bench.joined(bench.join({ protocols: [] })).error, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  assert.equal(bench.joined(bench.join({ protocolType: '' })).error, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
})

test('another protocol type or no protocol in common is inconsistent while there are members', () => {
  const bench = new Bench()
  bench.stable(2)
  assert.equal(bench.joined(bench.join({ protocolType: 'connect' })).error, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  assert.equal(bench.joined(bench.join({ protocols: ['other'] })).error, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  assert.equal(bench.group.state, 'Stable')
})

test('a group without members takes another protocol type', () => {
  const bench = new Bench()
  bench.stable(1)
  bench.leave('m1')
  const request = bench.join({ protocolType: 'connect', protocols: ['v1'] })
  bench.advance(DELAY_MS)
  assert.equal(bench.joined(request).protocolType, 'connect')
})

test('the protocol with most votes wins: lists abc, ba, bca give b', () => {
  const bench = new Bench()
  const request = bench.join({ protocols: ['a', 'b', 'c'] })
  bench.join({ protocols: ['b', 'a'] })
  bench.join({ protocols: ['b', 'c', 'a'] })
  bench.advance(2 * DELAY_MS)
  assert.equal(bench.joined(request).protocolName, 'b')
})

test('a tie of votes goes to the protocol that the leader prefers', () => {
  for (const [leader, follower, winner] of [
    ['ab', 'ba', 'a'],
    ['ba', 'ab', 'b'],
  ] as const) {
    const bench = new Bench()
    const request = bench.join({ protocols: [...leader] })
    bench.join({ protocols: [...follower] })
    bench.advance(2 * DELAY_MS)
    assert.equal(bench.joined(request).protocolName, winner)
  }
})

test('a protocol named twice by one member counts once', () => {
  const bench = new Bench()
  bench.join({ protocols: ['a', 'a'] })
  assert.equal(bench.joined(bench.join({ protocols: ['b'] })).error, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  const third = bench.join({ protocols: ['a'] })
  bench.advance(2 * DELAY_MS)
  assert.equal(bench.joined(third).protocolName, 'a')
})

test('CompletingRebalance: a join with the same metadata is answered at once with the current generation', () => {
  const bench = new Bench()
  bench.join()
  bench.join()
  bench.advance(2 * DELAY_MS)
  const leader = bench.joined(bench.join({ memberId: 'm1' }))
  assert.equal(leader.generationId, 1)
  assert.equal(leader.members.length, 2)
  const follower = bench.joined(bench.join({ memberId: 'm2' }))
  assert.equal(follower.generationId, 1)
  assert.deepEqual(follower.members, [])
  assert.equal(bench.group.state, 'CompletingRebalance')
})

test('CompletingRebalance: a join with changed metadata starts a new rebalance', () => {
  const bench = new Bench()
  bench.join()
  bench.join()
  bench.advance(2 * DELAY_MS)
  const changed = bench.join({ memberId: 'm2', protocols: [['range', subscription('u')]] })
  assert(bench.waits(changed))
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('Stable: a follower with the same metadata is answered at once, without a rebalance', () => {
  const bench = new Bench()
  bench.stable(2)
  const answer = bench.joined(bench.join({ memberId: 'm2' }))
  assert.equal(answer.generationId, 1)
  assert.deepEqual(answer.members, [])
  assert.equal(bench.group.state, 'Stable')
})

test('Stable: a follower with changed metadata starts a rebalance', () => {
  const bench = new Bench()
  bench.stable(2)
  assert(bench.waits(bench.join({ memberId: 'm2', protocols: [['range', subscription('u')]] })))
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('Stable: the leader starts a rebalance whatever it says', () => {
  const bench = new Bench()
  bench.stable(2)
  assert(bench.waits(bench.join({ memberId: 'm1' })))
  assert.equal(bench.group.state, 'PreparingRebalance')
})

test('a rebalance of a known group ends at once when all members have joined, and counts the generation up', () => {
  const bench = new Bench()
  bench.stable(2)
  const leader = bench.join({ memberId: 'm1' })
  const follower = bench.join({ memberId: 'm2' })
  assert.equal(bench.joined(leader).generationId, 2)
  assert.equal(bench.joined(follower).generationId, 2)
})

test('a dynamic member that does not rejoin in the rebalance timeout is removed', () => {
  const bench = new Bench()
  bench.stable(2, { sessionMs: REBALANCE_MS * 2 })
  const leader = bench.join({ memberId: 'm1', sessionMs: REBALANCE_MS * 2 })
  bench.advance(REBALANCE_MS - 1)
  assert(bench.waits(leader))
  bench.advance(1)
  assert.equal(bench.joined(leader).generationId, 2)
  assert.deepEqual(bench.ids(), ['m1'])
  assert.equal(bench.heartbeat('m2', 1), ErrorCode.UNKNOWN_MEMBER_ID)
})

test('the join timer is the longest rebalance timeout of the members', () => {
  const bench = new Bench()
  bench.join({ rebalanceMs: 5_000, sessionMs: 200_000 })
  bench.join({ rebalanceMs: 20_000, sessionMs: 200_000 })
  bench.advance(2 * DELAY_MS)
  bench.sync('m1', { assign: {} })
  bench.sync('m2')
  const leader = bench.join({ memberId: 'm1', rebalanceMs: 5_000, sessionMs: 200_000 })
  bench.advance(19_999)
  assert(bench.waits(leader))
  bench.advance(1)
  assert(!bench.waits(leader))
})

test('the leader is kept over generations; when it does not rejoin, the first that did takes over', () => {
  const bench = new Bench()
  bench.stable(3, { sessionMs: REBALANCE_MS * 2 })
  const third = bench.join({ memberId: 'm3', protocols: [['range', subscription('u')]], sessionMs: REBALANCE_MS * 2 })
  const second = bench.join({ memberId: 'm2', sessionMs: REBALANCE_MS * 2 })
  bench.advance(REBALANCE_MS)
  assert.equal(bench.joined(second).leader, 'm2')
  assert.equal(bench.joined(third).leader, 'm2')
  assert.equal(bench.joined(second).members.length, 2)
})

test('a member that waits in JoinGroup outlives its session timeout', () => {
  const bench = new Bench()
  bench.stable(2, { sessionMs: SESSION_MS })
  const leader = bench.join({ memberId: 'm1' })
  for (let at = 0; at < 10; at++) {
    bench.advance(SESSION_MS / 2)
    assert.equal(bench.heartbeat('m2'), ErrorCode.REBALANCE_IN_PROGRESS)
  }
  assert(bench.waits(leader))
  assert.deepEqual(bench.ids(), ['m1', 'm2'])
})

test('a new member waits in its first JoinGroup at most five minutes', () => {
  const bench = new Bench()
  bench.stable(1, { sessionMs: NEW_MEMBER_MS * 3, rebalanceMs: NEW_MEMBER_MS * 3 })
  const request = bench.join({ sessionMs: SESSION_MS, rebalanceMs: NEW_MEMBER_MS * 3 })
  bench.advance(NEW_MEMBER_MS - 1)
  assert(bench.waits(request))
  bench.advance(1)
  assert.equal(bench.joined(request).error, ErrorCode.UNKNOWN_MEMBER_ID)
  assert.deepEqual(bench.ids(), ['m1'])
})

test('a second JoinGroup of a waiting member takes the place of the first, which is answered too', () => {
  const bench = new Bench()
  bench.stable(2)
  const first = bench.join({ memberId: 'm1' })
  const second = bench.join({ memberId: 'm1' })
  assert.equal(bench.joined(first).error, ErrorCode.REBALANCE_IN_PROGRESS)
  assert(bench.waits(second))
  bench.join({ memberId: 'm2' })
  assert.equal(bench.joined(second).error, ErrorCode.NONE)
})

test('group.max.size: the fourth of four joiners at 3 is refused with an empty member id, the others go on', () => {
  const bench = new Bench({ maxSize: 3 })
  const requests = [1, 2, 3].map((at) => {
    bench.join({ known: true, newId: `p${at}` })
    return at
  })
  assert.equal(bench.joined(bench.join({ known: true, newId: 'p4' })).error, ErrorCode.MEMBER_ID_REQUIRED)
  const joins = requests.map((at) => bench.join({ known: true, memberId: `p${at}` }))
  const fourth = bench.joined(bench.join({ known: true, memberId: 'p4' }))
  assert.equal(fourth.error, ErrorCode.GROUP_MAX_SIZE_REACHED)
  assert.equal(fourth.memberId, '')
  bench.advance(2 * DELAY_MS)
  assert.equal(bench.joined(joins[0]!).members.length, 3)
})

test('group.max.size: while a full group gathers, the last rejoiner loses its place', () => {
  const bench = new Bench({ maxSize: 2 })
  bench.stable(2, { sessionMs: REBALANCE_MS * 2 })
  const leader = bench.join({ memberId: 'm1' })
  const added = bench.join()
  const late = bench.joined(bench.join({ memberId: 'm2' }))
  assert.equal(late.error, ErrorCode.GROUP_MAX_SIZE_REACHED)
  assert.equal(bench.joined(leader).members.length, 2)
  assert(!bench.waits(added))
})

test('group.max.size: a full stable group refuses new ids and keeps its own', () => {
  const bench = new Bench({ maxSize: 2 })
  bench.stable(2)
  assert.equal(bench.joined(bench.join()).error, ErrorCode.GROUP_MAX_SIZE_REACHED)
  assert.equal(bench.joined(bench.join({ memberId: 'm2' })).error, ErrorCode.NONE)
})

test('a thousand members join, get their assignments, and rejoin', () => {
  const bench = new Bench()
  bench.stable(1_000)
  assert.equal(bench.group.memberCount, 1_000)
  const requests = bench.ids().map((memberId) => bench.join({ memberId }))
  assert.equal(bench.joined(requests[0]!).members.length, 1_000)
  assert.equal(bench.group.generationId, 2)
})

test('a dead group answers COORDINATOR_NOT_AVAILABLE, and its waiting members what it died of', () => {
  const bench = new Bench()
  const request = bench.join()
  bench.step({ type: 'retire', error: ErrorCode.NOT_COORDINATOR })
  assert.equal(bench.joined(request).error, ErrorCode.NOT_COORDINATOR)
  assert.equal(bench.joined(bench.join()).error, ErrorCode.COORDINATOR_NOT_AVAILABLE)
  assert.equal(bench.heartbeat('m1'), ErrorCode.COORDINATOR_NOT_AVAILABLE)
  assert.equal(bench.leave('m1').error, ErrorCode.COORDINATOR_NOT_AVAILABLE)
  assert.equal(bench.synced(bench.sync('m1')).error, ErrorCode.COORDINATOR_NOT_AVAILABLE)
})

test('of the ids given out so many are waited for; the oldest one goes, and is unknown when it comes', () => {
  const bench = new Bench()
  for (let at = 0; at < 10_001; at++) bench.join({ known: true, newId: `p${at}` })
  assert.equal(bench.group.pendingJoinCount, 10_000)
  assert.equal(bench.joined(bench.join({ memberId: 'p0' })).error, ErrorCode.UNKNOWN_MEMBER_ID)
  const request = bench.join({ memberId: 'p1' })
  bench.advance(DELAY_MS)
  assert.equal(bench.group.memberCount, 1)
  assert.ok(request > 0)
})
