import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EntryKind } from '../../../../broker/raft/types.ts'
import { contentOf, leaderOf, threeBrokers } from './world.ts'

const GROUP = 1

test('a tail that was never committed is cut off when another leader has written something else', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(GROUP, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  const old = world.brokers.get(1)!
  old.append(GROUP, 2)
  await world.until(() => [1, 2, 3].every((nodeId) => world.brokers.get(nodeId)!.owner(GROUP).committedOffset === 2))
  world.cut(1, 2)
  world.cut(1, 3)
  old.append(GROUP, 4)
  old.append(GROUP, 4)
  await world.until(() => old.log(GROUP).durableIndex === old.log(GROUP).lastIndex)
  const disk = world.kill(1)
  await world.until(() => leaderOf(world, GROUP) > 1)
  const leader = world.brokers.get(leaderOf(world, GROUP))!
  leader.append(GROUP, 3)
  await world.until(() => leader.owner(GROUP).committedOffset === 5)

  const back = await world.start(1, disk)
  back.add(GROUP, undefined)
  assert.equal(back.log(GROUP).logEndOffset, 10, 'what was on disk is there')
  assert.deepEqual(back.owner(GROUP).appendedOffsets, [0, 2, 6], 'the owner saw all of it')
  world.heal(1, 2)
  world.heal(1, 3)
  await world.until(() => back.owner(GROUP).committedOffset === 5)
  assert.ok(back.owner(GROUP).events.includes('truncated 2'), back.owner(GROUP).events.join())
  assert.deepEqual(back.owner(GROUP).appendedOffsets, [0, 2])
  assert.ok((await contentOf(back, GROUP)).equals(await contentOf(leader, GROUP)))
})

test('a leader that is cut off steps down, says so, and its waiting entries give way', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(GROUP, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  const old = world.brokers.get(1)!
  world.cut(1, 2)
  world.cut(1, 3)
  old.append(GROUP, 4)
  await world.until(() => !old.replica(GROUP).isLeader, 1500)
  assert.equal(old.replica(GROUP).canServeReads, true)
  await world.until(() => leaderOf(world, GROUP) > 1)
  const leader = world.brokers.get(leaderOf(world, GROUP))!
  leader.append(GROUP, 1)
  await world.until(() => leader.owner(GROUP).committedOffset === 1)
  world.heal(1, 2)
  world.heal(1, 3)
  await world.until(() => old.owner(GROUP).committedOffset === 1)
  assert.deepEqual(
    old.owner(GROUP).events.filter((event) => event.startsWith('truncated')),
    ['truncated 0'],
  )
  assert.equal(old.replica(GROUP).leaderId, leader.nodeId)
  assert.equal(old.replica(GROUP).canServeReads, false)
})

test('all three stop and start, and nothing committed is missing', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(GROUP, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  world.brokers.get(1)!.append(GROUP, 7)
  world.brokers.get(1)!.replica(GROUP).proposeEntry(EntryKind.Command, Buffer.from('trim'))
  await world.until(() => world.brokers.get(1)!.owner(GROUP).commands.length === 1)
  await world.run(30)
  const disks = [1, 2, 3].map((nodeId) => world.kill(nodeId))
  await world.run(100)
  for (const [at, disk] of disks.entries()) await world.start(at + 1, disk)
  for (const broker of world.brokers.values()) broker.add(GROUP, undefined)
  const took = await world.until(() => leaderOf(world, GROUP) > 0)
  assert.ok(took < 1500, `${took} ms`)
  await world.run(50)
  for (const broker of world.brokers.values()) {
    assert.equal(broker.owner(GROUP).committedOffset, 7)
    assert.deepEqual(broker.owner(GROUP).commands, ['trim'])
  }
})

test('who was promised a vote before a restart is not betrayed right after it', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(GROUP, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  const leader = world.brokers.get(1)!
  await world.run(1000)
  assert.equal(leader.replica(GROUP).hasLease, true)
  // 2 hears the leader no more, and stands; 3 is killed and back at once, while the leader still has its promise.
  world.cut(1, 3)
  const disk = world.kill(3)
  const back = await world.start(3, disk)
  back.add(GROUP, undefined)
  world.cut(1, 2)
  for (let ms = 0; ms < 3000; ms++) {
    await world.run(1)
    const others = [...world.brokers.values()].filter((broker) => broker.nodeId !== 1 && broker.replica(GROUP).isLeader)
    if (others.length > 0) {
      assert.equal(leader.replica(GROUP).hasLease, false, `both after ${ms} ms`)
      return
    }
  }
  assert.fail('nobody took over')
})

test('a replica without data and without founders waits for a leader', async () => {
  const world = await threeBrokers()
  for (const nodeId of [1, 2]) world.brokers.get(nodeId)!.add(GROUP, undefined)
  await world.run(5000)
  assert.equal(leaderOf(world, GROUP), -1)
  assert.equal(world.brokers.get(1)!.replication.stats().electionsStarted, 0)
})

test('messages that come before a group is open are kept for it', async () => {
  const world = await threeBrokers()
  world.brokers.get(1)!.add(GROUP, [1, 2, 3], true)
  await world.run(20)
  assert.ok(world.brokers.get(2)!.replication.stats().strangers > 0)
  world.brokers.get(2)!.add(GROUP, [1, 2, 3])
  assert.ok((await world.until(() => leaderOf(world, GROUP) === 1)) < 20)
})

test('a disk that fails ends leadership at once, and another one leads', async () => {
  const world = await threeBrokers()
  for (const broker of world.brokers.values()) broker.add(GROUP, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  await world.run(200)
  const old = world.brokers.get(1)!
  old.disk.inject({ operation: 'write', code: 'EIO', count: Number.POSITIVE_INFINITY })
  old.append(GROUP, 1)
  const took = await world.until(() => leaderOf(world, GROUP) > 1)
  assert.ok(took < 500, `${took} ms`)
  assert.equal(old.replica(GROUP).isLeader, false)
  await world.run(3000)
  assert.ok(leaderOf(world, GROUP) > 1)
})
