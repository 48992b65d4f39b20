import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RaftKind } from '../../../../broker/replication/raft-codec.ts'
import { type Broker, leaderOf, SILENCE_MS, threeBrokers, type World } from './world.ts'

async function led(groups: number): Promise<{ world: World; leader: Broker }> {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= groups; groupId++) {
    for (const broker of world.brokers.values()) broker.add(groupId, [1, 2, 3], broker.nodeId === 1)
  }
  await world.until(() => leaderOf(world, groups) === 1)
  await world.run(200)
  return { world, leader: world.brokers.get(1)! }
}

test('a leader that its followers hear has a lease, and needs to ask nobody', async () => {
  const { world, leader } = await led(1)
  const before = world.deliveredCount
  assert.equal(leader.replica(1).hasLease, true)
  assert.equal(await leader.replica(1).confirm(), true)
  assert.equal(world.deliveredCount, before)
  assert.equal(world.brokers.get(2)!.replica(1).hasLease, false)
  assert.equal(await world.brokers.get(2)!.replica(1).confirm(), false)
})

test('a lease ends before anybody else can be elected', async () => {
  const { world, leader } = await led(1)
  world.cut(1, 2)
  world.cut(1, 3)
  const cutMs = world.nowMs
  let leaseEndMs = 0
  await world.until(() => {
    if (leader.replica(1).hasLease) leaseEndMs = world.nowMs
    return leaderOf(world, 1) > 1
  })
  assert.ok(leaseEndMs < world.nowMs && leaseEndMs - cutMs <= SILENCE_MS * 0.9, `${leaseEndMs - cutMs} ms`)
  assert.equal(await leader.replica(1).confirm(), false)
})

test('a follower that leaves one group is not counted on there, nor elsewhere before it speaks again', async () => {
  const { world, leader } = await led(2)
  assert.equal(leader.replica(2).hasLease, true)
  // 3 loses the leader only; 2 hears both.
  world.cut(1, 3)
  await world.run(1500)
  assert.equal(leader.replica(1).hasLease, true, 'itself and 2')
  world.heal(1, 3)
  await world.run(200)
  assert.equal(leader.replica(1).hasLease, true)
  void leader.replica(1).transfer(2)
  await world.until(() => leaderOf(world, 1) === 2)
  await world.run(150)
  // Both followers left the leader in group 1, so their promises for group 2 are in doubt until they speak in it.
  assert.equal(leader.replica(2).hasLease, false)
  const asked = leader.replica(2).confirm()
  await world.run(10)
  assert.equal(await asked, true)
  assert.equal(leader.replica(2).hasLease, true)
})

test('without a lease a quorum is asked, once for all who ask in a turn', async () => {
  const { world, leader } = await led(2)
  void leader.replica(1).transfer(2)
  await world.until(() => leaderOf(world, 1) === 2)
  await world.run(150)
  const before = world.delivered.get(RaftKind.HEARTBEAT) ?? 0
  const asked = [leader.replica(2).confirm(), leader.replica(2).confirm(), leader.replica(2).confirm()]
  await world.run(10)
  assert.deepEqual(await Promise.all(asked), [true, true, true])
  assert.equal(world.delivered.get(RaftKind.HEARTBEAT)! - before, 2)
})

test('a question that a majority does not answer is answered with no', async () => {
  const { world, leader } = await led(1)
  world.cut(1, 2)
  world.cut(1, 3)
  await world.until(() => !leader.replica(1).hasLease)
  const asked = leader.replica(1).confirm()
  await world.run(1100)
  assert.equal(await asked, false)
})
