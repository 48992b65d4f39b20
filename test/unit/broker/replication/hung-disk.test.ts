// A leader whose disk hangs: the group goes on without it, hands over without a write of it, and nothing is acknowledged that is not on
// enough disks.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canDoWithout } from '../../../../broker/replication/do-without.ts'
import { type Broker, contentOf, leaderOf, threeBrokers, type World } from './world.ts'

const GROUP = 1

async function ledByFirst(founders: readonly number[]): Promise<{ world: World; brokers: Broker[] }> {
  const world = await threeBrokers()
  for (const nodeId of founders) world.brokers.get(nodeId)!.add(GROUP, founders, nodeId === 1)
  const brokers = founders.map((nodeId) => world.brokers.get(nodeId)!)
  await world.until(() => leaderOf(world, GROUP) === 1)
  brokers[0]!.append(GROUP, 1)
  await world.until(() => brokers.every((broker) => broker.owner(GROUP).committedOffset === 1))
  await world.until(() => brokers[0]!.replica(GROUP).isr.length === founders.length)
  return { world, brokers }
}

const doesWithout = (leader: Broker): boolean =>
  canDoWithout(leader.replica(GROUP), (nodeId) => nodeId === leader.nodeId || leader.links.isAlive(nodeId))

async function areEqual(world: World, brokers: readonly Broker[], offset: number): Promise<void> {
  await world.until(() => brokers.every((broker) => broker.owner(GROUP).committedOffset === offset))
  await world.until(() => brokers.every((broker) => broker.log(GROUP).durableOffset === offset))
  const [first, ...others] = await Promise.all(brokers.map((broker) => contentOf(broker, GROUP)))
  for (const other of others) assert.ok(first!.equals(other))
}

test('leadership leaves a disk that hangs without a write of it, and the group goes on', async () => {
  const { world, brokers } = await ledByFirst([1, 2, 3])
  const [leader, heir] = brokers as [Broker, Broker]
  const [durableIndex, votedTerm] = [leader.log(GROUP).durableIndex, leader.replica(GROUP).term]
  leader.disk.hang()
  leader.append(GROUP, 1)
  await world.until(() => leader.owner(GROUP).committedOffset === 2)
  assert.equal(leader.log(GROUP).durableIndex, durableIndex, 'the others are enough')
  leader.refusesBatches = true
  assert.equal(doesWithout(leader), true)
  assert.equal(await Promise.race([leader.replica(GROUP).transfer(2), world.run(1000)]), true)
  await world.until(() => leaderOf(world, GROUP) === 2)
  assert.ok(heir.replica(GROUP).term > votedTerm)
  assert.equal(leader.owner(GROUP).isLeading, false)
  for (let offset = 2; offset < 6; offset++) {
    heir.append(GROUP, 1)
    await world.until(() => heir.owner(GROUP).committedOffset === offset + 1)
  }
  assert.deepEqual(heir.replica(GROUP).isr, [2, 3], 'what hangs is not in sync')
  assert.equal(leader.log(GROUP).durableIndex, durableIndex)
  leader.disk.resume()
  leader.refusesBatches = false
  await areEqual(world, brokers, 6)
  await world.until(() => heir.replica(GROUP).isr.length === 3)
})

test('what waits on a leader that hands over is not called committed before it is, nor lost', async () => {
  const { world, brokers } = await ledByFirst([1, 2, 3])
  const [leader, heir, third] = brokers as [Broker, Broker, Broker]
  leader.disk.hang()
  third.disk.hang()
  leader.append(GROUP, 1)
  await world.run(500)
  assert.equal(heir.log(GROUP).durableOffset, 2)
  for (const broker of brokers) assert.equal(broker.owner(GROUP).committedOffset, 1, 'one disk of three')
  third.refusesBatches = true
  leader.append(GROUP, 1)
  await world.until(() => !leader.replica(GROUP).isr.includes(3))
  assert.equal(doesWithout(leader), false, 'one of the others hangs too')
  third.disk.resume()
  third.refusesBatches = false
  await world.until(() => doesWithout(leader))
  assert.equal(await Promise.race([leader.replica(GROUP).transfer(2), world.run(1000)]), true)
  await world.until(() => heir.owner(GROUP).committedOffset === 3)
  leader.disk.resume()
  await areEqual(world, brokers, 3)
})

test('a group of two waits for its disk: nobody could be elected without it', async () => {
  const { world, brokers } = await ledByFirst([1, 2])
  const leader = brokers[0]!
  leader.disk.hang()
  leader.append(GROUP, 1)
  await world.run(3000)
  assert.equal(leader.owner(GROUP).committedOffset, 1)
  assert.equal(doesWithout(leader), false)
  leader.disk.resume()
  await areEqual(world, brokers, 2)
  assert.equal(leaderOf(world, GROUP), 1)
})

test('a group of three with one of the others gone waits as well', async () => {
  const { world, brokers } = await ledByFirst([1, 2, 3])
  world.kill(3)
  const leader = brokers[0]!
  await world.until(() => !leader.replica(GROUP).isr.includes(3))
  assert.equal(doesWithout(leader), false)
})

test('a disk that loses power while it hangs comes back with what it acknowledged, and gets the rest', async () => {
  const { world, brokers } = await ledByFirst([1, 2, 3])
  const leader = brokers[0]!
  leader.disk.hang()
  leader.append(GROUP, 2)
  await world.until(() => leader.owner(GROUP).committedOffset === 3)
  const disk = world.kill(1)
  await world.until(() => leaderOf(world, GROUP) > 1)
  const again = await world.start(1, disk)
  again.add(GROUP, [1, 2, 3])
  assert.ok(again.log(GROUP).logEndOffset >= 1)
  await areEqual(world, [...world.brokers.values()], 3)
})
