import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leaderOf, threeBrokers } from './world.ts'

const GROUPS = 2000

test('2,000 groups whose leader falls silent: a bounded number of elections at a time, and all led', async () => {
  const world = await threeBrokers({ arenaBytes: 64 << 20 })
  for (let groupId = 1; groupId <= GROUPS; groupId++) {
    const founders = groupId % 2 === 0 ? [1, 2, 3] : [1, 3, 2]
    for (const broker of world.brokers.values()) broker.add(groupId, founders, broker.nodeId === 1)
  }
  await world.until(() => world.brokers.get(1)!.replication.stats().led === GROUPS)
  await world.run(300)
  world.kill(1)
  let most = 0
  const startMs = world.nowMs
  const survivors = [2, 3].map((nodeId) => world.brokers.get(nodeId)!)
  await world.until(() => {
    let led = 0
    for (const broker of survivors) {
      let standing = 0
      for (const replica of broker.replicas.values()) if (replica.role.endsWith('candidate')) standing += 1
      most = Math.max(most, standing)
      led += broker.replication.stats().led
    }
    return led === GROUPS
  })
  assert.ok(most > 0 && most <= 256, `${most} at a time`)
  assert.ok(world.nowMs - startMs < 3000, `${world.nowMs - startMs} ms`)
  const led = survivors.map((broker) => broker.replication.stats().led)
  assert.ok(Math.min(...led) > GROUPS / 3, `spread: ${led}`)
  const started = survivors.reduce((sum, broker) => sum + broker.replication.stats().electionsStarted, 0)
  assert.ok(started < GROUPS * 1.2, `${started} elections for ${GROUPS} groups`)
  await world.run(300)
  const before = world.deliveredCount
  await world.run(5000)
  assert.ok(world.deliveredCount === before, 'and then it is quiet')
  for (const groupId of [1, 2, 999, GROUPS]) assert.ok(leaderOf(world, groupId) > 1)
})

test('groups without a quorum wait without a word until somebody comes back', async () => {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= 100; groupId++) {
    for (const broker of world.brokers.values()) broker.add(groupId, [1, 2, 3], broker.nodeId === 1)
  }
  await world.until(() => world.brokers.get(1)!.replication.stats().led === 100)
  await world.run(100)
  world.kill(1)
  const disk = world.kill(2)
  await world.run(3000)
  const alone = world.brokers.get(3)!
  const { electionsStarted } = alone.replication.stats()
  await world.run(10_000)
  assert.equal(alone.replication.stats().electionsStarted, electionsStarted)
  const back = await world.start(2, disk)
  for (let groupId = 1; groupId <= 100; groupId++) back.add(groupId, undefined)
  await world.until(() => back.replication.stats().led + alone.replication.stats().led === 100, 3000)
})

test('a shard whose groups are at rest sets no timer, also with a member that is gone', async () => {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= 50; groupId++) {
    for (const broker of world.brokers.values()) broker.add(groupId, [1, 2, 3], broker.nodeId === 1)
  }
  await world.until(() => world.brokers.get(1)!.replication.stats().led === 50)
  const quiet = async (): Promise<void> => {
    await world.run(3000)
    const before = [...world.brokers.values()].map((broker) => broker.timersSet)
    await world.run(10_000)
    assert.deepEqual(
      [...world.brokers.values()].map((broker) => broker.timersSet),
      before,
    )
  }
  await quiet()
  const first = world.brokers.get(1)!
  const before = first.timersSet
  const end = first.append(7)
  await world.until(() => [...world.brokers.values()].every((broker) => broker.owner(7).committedOffset === end))
  assert.ok(first.timersSet > before, 'what is under way is looked after')
  await quiet()
  world.kill(2)
  await world.until(() => first.owner(7).isr.length === 2, 2000)
  await quiet()
  world.kill(1)
  // Without a quorum the last one waits until somebody is heard.
  await quiet()
})

test('what waits for its time is looked at although nothing else happens', async () => {
  const world = await threeBrokers()
  await world.run(5000)
  const [first, second] = [world.brokers.get(1)!, world.brokers.get(2)!]
  first.add(9, [1, 2, 3], true)
  await world.until(() => second.replication.stats().strangers > 0)
  first.close(9)
  await world.run(10_100)
  assert.equal(second.replication.stats().strangers, 0, 'kept for a while, and then forgotten')
  const before = second.timersSet
  await world.run(5000)
  assert.equal(second.timersSet, before)
})
