import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RaftKind } from '../../../../broker/replication/raft-codec.ts'
import { type Broker, contentOf, leaderOf, threeBrokers, type World } from './world.ts'

const GROUP = 1

async function ledByFirst(options: Parameters<typeof threeBrokers>[0] = {}): Promise<{ world: World; leader: Broker }> {
  const world = await threeBrokers(options)
  for (const broker of world.brokers.values()) broker.add(GROUP, [1, 2, 3], broker.nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
  return { world, leader: world.brokers.get(1)! }
}

/** Appends until so many bytes are committed, in batches of 4 KiB. */
async function fill(world: World, broker: Broker, bytes: number): Promise<void> {
  for (let written = 0; written < bytes; written += 4096) {
    broker.append(GROUP, 1, 4000)
    if (written % (16 * 4096) === 0) await world.run(3)
  }
  const end = broker.log(GROUP).logEndOffset
  await world.until(() => broker.owner(GROUP).committedOffset === end)
}

test('a follower that was away gets what it missed, from segments and from the journal', async () => {
  const { world, leader } = await ledByFirst()
  leader.append(GROUP, 3)
  await world.run(20)
  const disk = world.kill(3)
  await fill(world, leader, 600_000)
  assert.ok(leader.log(GROUP).laidOffset > 50, 'some of it is in segments')
  await world.run(1000)
  assert.deepEqual(leader.replica(GROUP).inSync(), [1, 2])
  const back = await world.start(3, disk)
  back.add(GROUP, undefined)
  await world.until(() => back.owner(GROUP).committedOffset === leader.owner(GROUP).committedOffset)
  assert.ok((await contentOf(back, GROUP)).equals(await contentOf(leader, GROUP)))
  await world.run(200)
  assert.deepEqual(leader.replica(GROUP).inSync(), [1, 2, 3])
  assert.deepEqual(leader.owner(GROUP).isr, [1, 2, 3])
})

test('a follower behind the log start begins there, with the state of the leader', async () => {
  const { world, leader } = await ledByFirst()
  leader.append(GROUP, 3)
  await world.run(20)
  const disk = world.kill(3)
  await fill(world, leader, 600_000)
  leader.log(GROUP).config = { ...leader.log(GROUP).config, retentionBytes: 100_000, deletePolicy: true }
  await leader.storage.enforceRetention()
  const start = leader.log(GROUP).logStartOffset
  assert.ok(start > 50, `log start ${start}`)
  const back = await world.start(3, disk)
  back.add(GROUP, undefined)
  await world.until(() => back.owner(GROUP).committedOffset === leader.owner(GROUP).committedOffset)
  assert.equal(world.delivered.get(RaftKind.SNAPSHOT), 1)
  assert.equal(back.log(GROUP).logStartOffset, start)
  assert.ok(back.owner(GROUP).state.startsWith('state '), back.owner(GROUP).state)
  assert.ok((await contentOf(back, GROUP)).equals(await contentOf(leader, GROUP)))
  leader.append(GROUP, 1)
  await world.until(() => back.owner(GROUP).committedOffset === leader.log(GROUP).logEndOffset)
  // And what it has now is there after a restart.
  const again = world.kill(3)
  const third = await world.start(3, again)
  third.add(GROUP, undefined)
  assert.deepEqual(third.replica(GROUP).memberIds, [1, 2, 3])
  await world.until(() => third.owner(GROUP).committedOffset === leader.owner(GROUP).committedOffset)
  assert.ok((await contentOf(third, GROUP)).equals(await contentOf(leader, GROUP)))
})

test('a snapshot larger than a message comes in parts', async () => {
  const { world, leader } = await ledByFirst()
  const state = Buffer.alloc(700_000, 'x')
  for (const broker of world.brokers.values()) broker.owner(GROUP).snapshot = () => state
  const disk = world.kill(3)
  await fill(world, leader, 300_000)
  leader.log(GROUP).config = { ...leader.log(GROUP).config, retentionBytes: 1, deletePolicy: true }
  await leader.storage.enforceRetention()
  const back = await world.start(3, disk)
  back.add(GROUP, undefined)
  await world.until(() => back.owner(GROUP).committedOffset === leader.owner(GROUP).committedOffset)
  assert.ok(world.delivered.get(RaftKind.SNAPSHOT)! > 5)
  assert.equal(back.owner(GROUP).state, state.toString())
})

test('catching up keeps to its rate', async () => {
  const { world, leader } = await ledByFirst({ replication: { catchUpBytesPerSecond: () => 400_000 } })
  const disk = world.kill(3)
  await fill(world, leader, 1_200_000)
  const laid = leader.log(GROUP).laidOffset
  assert.ok(laid > 200)
  const back = await world.start(3, disk)
  back.add(GROUP, undefined)
  const took = await world.until(() => back.owner(GROUP).committedOffset === leader.owner(GROUP).committedOffset)
  // The last read may bring more than its share.
  assert.ok(took > ((laid * 4096) / 400_000) * 1000 - 1600, `${took} ms for ${laid * 4096} bytes`)
})

test('a rate that changes counts at once', async () => {
  let rate = 0
  const { world, leader } = await ledByFirst({ replication: { catchUpBytesPerSecond: () => rate } })
  const disk = world.kill(3)
  await fill(world, leader, 1_200_000)
  const laid = leader.log(GROUP).laidOffset
  const back = await world.start(3, disk)
  back.add(GROUP, undefined)
  await world.run(60_000)
  assert.ok(back.log(GROUP).logEndOffset < laid, 'nothing is read for nobody')
  rate = Infinity
  await world.until(() => back.owner(GROUP).committedOffset === leader.owner(GROUP).committedOffset, 1000)
})

test('a follower without room says so and gets the entries later', async () => {
  const { world, leader } = await ledByFirst()
  const follower = world.brokers.get(3)!
  await world.run(50)
  follower.acceptsBytes = false
  leader.append(GROUP, 1, 3000)
  leader.append(GROUP, 1, 3000)
  await world.until(() => leader.owner(GROUP).committedOffset === 2)
  await world.run(500)
  assert.equal(follower.log(GROUP).logEndOffset, 0)
  const again = world.delivered.get(RaftKind.AGAIN)!
  assert.ok(again >= 1 && again < 30, `${again} refusals in half a second`)
  follower.acceptsBytes = true
  await world.until(() => follower.owner(GROUP).committedOffset === 2, 300)
})

test('a link that has no room for a message is used again when it has', async () => {
  const { world, leader } = await ledByFirst({ queueBytesMax: 20_000 })
  for (let count = 0; count < 30; count++) leader.append(GROUP, 1, 4000)
  await world.until(() => leader.owner(GROUP).committedOffset === 30)
  await world.until(
    () => [2, 3].every((nodeId) => world.brokers.get(nodeId)!.owner(GROUP).committedOffset === 30),
    1000,
  )
})
