import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contentOf, leaderOf, threeBrokers } from './world.ts'

test('a new group is led by its preferred replica at once, and its followers know', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(1, [2, 1, 3], broker.nodeId === 2)
  const took = await world.until(() => leaderOf(world, 1) === 2)
  assert.ok(took < 50, `${took} ms`)
  await world.run(20)
  assert.deepEqual(
    [1, 2, 3].map((nodeId) => world.brokers.get(nodeId)!.replica(1).leaderId),
    [2, 2, 2],
  )
  assert.deepEqual(world.brokers.get(1)!.owner(1).events, ['following 2'])
})

test('what the leader appends is the same bytes on all three, and committed there', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(1, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, 1) === 1)
  const leader = world.brokers.get(1)!
  for (let round = 0; round < 20; round++) {
    leader.append(1, 3, 100)
    leader.append(1, 1, 5000)
    await world.run(3)
  }
  await world.run(50)
  const expected = await contentOf(leader, 1)
  assert.ok(expected.length > 100_000)
  for (const nodeId of [2, 3]) {
    const follower = world.brokers.get(nodeId)!
    assert.equal(follower.log(1).committedOffset, 80)
    assert.equal(follower.owner(1).committedOffset, 80)
    assert.equal(follower.owner(1).appendedOffsets.length, 40)
    assert.ok((await contentOf(follower, 1)).equals(expected))
  }
  assert.deepEqual(leader.owner(1).appendedOffsets, [])
  assert.deepEqual(leader.replica(1).inSync(), [1, 2, 3])
})

test('idle groups send nothing, however many there are and however long it takes', async () => {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= 50; groupId++) {
    for (const broker of world.brokers.values()) broker.add(groupId, [1, 2, 3], (groupId % 3) + 1 === broker.nodeId)
  }
  await world.run(500)
  const before = world.deliveredCount
  await world.run(20_000)
  assert.equal(world.deliveredCount, before)
  assert.equal(world.brokers.get(1)!.replication.stats().awake, 0)
  for (let groupId = 1; groupId <= 50; groupId++) assert.equal(leaderOf(world, groupId), (groupId % 3) + 1)
})

test('when the leader dies another one takes over, and everything committed is there', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(1, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, 1) === 1)
  world.brokers.get(1)!.append(1, 5)
  await world.until(() => world.brokers.get(1)!.owner(1).committedOffset === 5)
  world.kill(1)
  const took = await world.until(() => leaderOf(world, 1) > 1)
  assert.ok(took > 500 && took < 1300, `${took} ms`)
  const leader = world.brokers.get(leaderOf(world, 1))!
  assert.equal(leader.owner(1).committedOffset, 5)
  leader.append(1, 2)
  await world.until(() => leader.owner(1).committedOffset === 7)
  assert.deepEqual(leader.replica(1).inSync(), [2, 3])
})

test('a stall of 300 ms of the leader starts no election', async () => {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= 10; groupId++) {
    for (const broker of world.brokers.values()) broker.add(groupId, [1, 2, 3], broker.nodeId === 1)
  }
  await world.until(() => [...Array(10).keys()].every((at) => leaderOf(world, at + 1) === 1))
  await world.run(1000)
  const started = [1, 2, 3].map((nodeId) => world.brokers.get(nodeId)!.replication.stats().electionsStarted)
  world.brokers.get(1)!.stalledUntilMs = world.nowMs + 300
  await world.run(3000)
  assert.deepEqual(
    [1, 2, 3].map((nodeId) => world.brokers.get(nodeId)!.replication.stats().electionsStarted),
    started,
  )
  assert.equal(leaderOf(world, 1), 1)
})
