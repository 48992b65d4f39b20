import assert from 'node:assert/strict'
import { test } from 'node:test'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { type Broker, contentOf, leaderOf, threeBrokers, type World } from './world.ts'

const GROUP = 1

async function ledByFirst(founders: readonly number[]): Promise<{ world: World; leader: Broker }> {
  const world = await threeBrokers()
  for (const nodeId of founders) world.brokers.get(nodeId)!.add(GROUP, founders, nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  const leader = world.brokers.get(1)!
  leader.append(GROUP, 3, 2000)
  await world.until(() => leader.owner(GROUP).committedOffset === 3)
  return { world, leader }
}

function retarget(world: World, voters: readonly number[], learners: readonly number[] = []): void {
  for (const broker of world.brokers.values()) {
    const replica = broker.replicas.get(GROUP)
    if (replica !== undefined) broker.replication.retarget(replica, { voters, learners })
  }
}

test('a new member catches up as a learner and then votes; the leader says when it is done', async () => {
  const { world, leader } = await ledByFirst([1, 2])
  const added = world.brokers.get(3)!
  retarget(world, [1, 2, 3])
  await world.run(300)
  assert.deepEqual(leader.replica(GROUP).raft.membership.learners, [3], 'not there yet, so it has no vote')
  assert.equal(leader.owner(GROUP).reconciledCount, 0)
  added.add(GROUP, undefined)
  retarget(world, [1, 2, 3])
  await world.until(() => leader.owner(GROUP).reconciledCount > 0)
  const { membership } = leader.replica(GROUP).raft
  assert.deepEqual([membership.voters, membership.learners, membership.isJoint], [[1, 2, 3], [], false])
  await world.run(20)
  assert.deepEqual(added.replica(GROUP).memberIds, [1, 2, 3])
  assert.ok((await contentOf(added, GROUP)).equals(await contentOf(leader, GROUP)))
  assert.deepEqual(leader.replica(GROUP).inSync(), [1, 2, 3])
})

test('a leader that is not to stay hands over first and leaves then', async () => {
  const { world, leader } = await ledByFirst([1, 2, 3])
  await world.start(4)
  await world.run(10)
  world.brokers.get(4)!.add(GROUP, undefined)
  retarget(world, [2, 3, 4])
  await world.until(() => [2, 3].some((nodeId) => world.brokers.get(nodeId)!.owner(GROUP).reconciledCount > 0))
  const heir = world.brokers.get(leaderOf(world, GROUP))!
  assert.ok(heir.nodeId === 2 || heir.nodeId === 3)
  assert.deepEqual(heir.replica(GROUP).memberIds, [2, 3, 4])
  assert.equal(leader.replica(GROUP).isLeader, false)
  heir.append(GROUP, 1)
  await world.until(() => world.brokers.get(4)!.owner(GROUP).committedOffset === 4)
})

test('a member whose disk was replaced comes back as another node of the same broker', async () => {
  const { world, leader } = await ledByFirst([1, 2, 3])
  world.kill(3)
  await world.run(1000)
  const replaced = await world.start(3, undefined, 1)
  replaced.add(GROUP, undefined)
  const target = [1, 2, raftIdOf(3, 1)]
  retarget(world, target)
  await world.until(() => leader.owner(GROUP).reconciledCount > 0)
  assert.deepEqual(leader.replica(GROUP).memberIds, target)
  await world.run(100)
  assert.deepEqual(leader.replica(GROUP).inSync(), [1, 2, 3])
  assert.ok((await contentOf(replaced, GROUP)).equals(await contentOf(leader, GROUP)))
})

test('a change that the leader could not finish is finished by the next one', async () => {
  const { world } = await ledByFirst([1, 2, 3])
  await world.start(4)
  await world.run(10)
  retarget(world, [1, 2, 4])
  await world.run(100)
  world.kill(1)
  await world.until(() => leaderOf(world, GROUP) > 1)
  world.brokers.get(4)!.add(GROUP, undefined)
  retarget(world, [2, 3, 4])
  const done = (): boolean => [2, 3].some((nodeId) => world.brokers.get(nodeId)!.owner(GROUP).reconciledCount > 0)
  await world.until(done)
  assert.deepEqual(world.brokers.get(leaderOf(world, GROUP))!.replica(GROUP).memberIds, [2, 3, 4])
})

test('memberships survive a restart, in the journal and in the snapshot', async () => {
  const { world, leader } = await ledByFirst([1, 2])
  world.brokers.get(3)!.add(GROUP, undefined)
  retarget(world, [1, 2, 3])
  await world.until(() => leader.owner(GROUP).reconciledCount > 0)
  await world.run(50)
  const disk = world.kill(2)
  const back = await world.start(2, disk)
  back.add(GROUP, [1, 2])
  assert.deepEqual(back.replica(GROUP).memberIds, [1, 2, 3])
  // The entry leaves the journal with the batches before it; what is left is the snapshot.
  for (let count = 0; count < 40; count++) {
    leader.append(GROUP, 1, 4000)
    await world.run(2)
  }
  await world.until(() => back.owner(GROUP).committedOffset === leader.log(GROUP).logEndOffset)
  await back.storage.close()
  const again = world.kill(2)
  const third = await world.start(2, again)
  third.add(GROUP, undefined)
  assert.deepEqual(third.replica(GROUP).memberIds, [1, 2, 3])
})

test('leadership goes where it is sent, and comes back when that is nobody', async () => {
  const { world, leader } = await ledByFirst([1, 2, 3])
  await world.run(100)
  const moved = leader.replica(GROUP).transfer(3)
  assert.equal(leader.replica(GROUP).isLeader, false, 'no proposals meanwhile')
  await world.until(() => leaderOf(world, GROUP) === 3, 100)
  await world.run(10)
  assert.equal(await moved, true)
  world.cut(3, 1)
  world.cut(3, 2)
  assert.equal(await world.brokers.get(2)!.replica(GROUP).transfer(1), false, 'it does not lead')
  const none = world.brokers.get(3)!.replica(GROUP).transfer(1)
  await world.run(2000)
  assert.equal(await none, false)
})

test('before a stop all groups go to others, spread by preference', async () => {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= 40; groupId++) {
    const founders = groupId % 2 === 0 ? [1, 2, 3] : [1, 3, 2]
    for (const broker of world.brokers.values()) broker.add(groupId, founders, broker.nodeId === 1)
  }
  await world.run(200)
  assert.equal(world.brokers.get(1)!.replication.stats().led, 40)
  const startMs = world.nowMs
  let isDone = false
  void world.brokers
    .get(1)!
    .replication.transferAll()
    .then(() => {
      isDone = true
    })
  await world.until(() => isDone, 3100)
  assert.ok(world.nowMs - startMs < 500)
  assert.deepEqual(
    [1, 2, 3].map((nodeId) => world.brokers.get(nodeId)!.replication.stats().led),
    [0, 20, 20],
  )
})

test('of two replicas the one that stays serves reads when the other has stopped in order', async () => {
  const world = await threeBrokers()
  for (let groupId = 1; groupId <= 10; groupId++) {
    for (const nodeId of [1, 2]) world.brokers.get(nodeId)!.add(groupId, [1, 2], nodeId === 1)
  }
  await world.run(200)
  let isDone = false
  void world.brokers
    .get(1)!
    .replication.transferAll()
    .then(() => {
      isDone = true
    })
  await world.until(() => isDone, 3100)
  // Nobody else could help the new leader to commit the first entry of its term.
  world.kill(1)
  const heir = world.brokers.get(2)!
  for (let groupId = 1; groupId <= 10; groupId++) assert.ok(heir.replica(groupId).canServeReads, `group ${groupId}`)
})
