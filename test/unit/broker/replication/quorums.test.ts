// Quorums other than majorities, and witnesses, as a policy gives them to the driver.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../../broker/raft/types.ts'
import { emptied } from '../../../../broker/replication/emptied.ts'
import type { Quorums } from '../../../../broker/replication/membership-policy.ts'
import {
  ATTRIBUTES_AT,
  attributesOf,
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseSequenceOf,
  batchDefect,
  batchPositions,
  CONTROL_BIT,
  compressionOf,
  lastOffsetDeltaOf,
  leaderEpochOf,
  maxTimestampOf,
  producerEpochOf,
  producerIdOf,
  recordCountOf,
  stampBatch,
  stampCrc,
} from '../../../../protocol/records/batch.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import { contentOf, leaderOf, World } from './world.ts'

const GROUP = 1

async function worldWith(
  brokerCount: number,
  quorumsOf: (groupId: number, voters: readonly NodeId[]) => Quorums,
  idleMs = 1e12,
): Promise<World> {
  const world = new World({ idleMs, replication: { membershipPolicy: { quorumsOf } } })
  for (let nodeId = 1; nodeId <= brokerCount; nodeId++) await world.start(nodeId)
  await world.run(800)
  return world
}

async function found(world: World, founders: readonly number[]): Promise<void> {
  for (const nodeId of founders) world.brokers.get(nodeId)!.add(GROUP, founders, nodeId === 1)
  await world.until(() => leaderOf(world, GROUP) === 1)
}

const thirdWitnesses = (_groupId: number, voters: readonly NodeId[]): Quorums => ({
  witnesses: voters.filter((id) => id === 3),
})

/** What a witness has of a batch. */
function headersOf(content: Buffer): (number | bigint)[][] {
  return [...batchPositions(content)].map((at) => [
    baseOffsetOf(content, at),
    lastOffsetDeltaOf(content, at),
    leaderEpochOf(content, at),
    maxTimestampOf(content, at),
    producerIdOf(content, at),
  ])
}

test('a batch is emptied of its records, and of nothing else', () => {
  const records = [1, 2, 3].map((at) => ({ timestamp: 1000 + at, value: Buffer.alloc(100, at) }))
  const batch = encodeBatch({ records, producerId: 7, producerEpoch: 2, baseSequence: 40 })
  stampBatch(batch, 0, 55, 9)
  const empty = emptied(batch)
  assert.equal(empty.length, BATCH_HEADER_BYTES)
  assert.equal(batchDefect(empty, 0, empty.length), undefined)
  assert.equal(recordCountOf(empty, 0), 0)
  assert.deepEqual(headersOf(Buffer.from(empty)), headersOf(Buffer.from(batch)))
  assert.deepEqual([producerEpochOf(empty, 0), baseSequenceOf(empty, 0)], [2, 40])
  batch[ATTRIBUTES_AT + 1]! |= 1
  stampCrc(batch, 0)
  assert.equal(compressionOf(emptied(batch), 0), 0, 'nothing is compressed to nothing')
  batch[ATTRIBUTES_AT + 1]! |= CONTROL_BIT
  assert.equal(emptied(batch), batch, 'a control batch is state')
  assert.equal(attributesOf(batch, 0), 0x21)
})

test('a witness holds every batch without its records, and is no copy', async () => {
  const world = await worldWith(3, thirdWitnesses)
  await found(world, [1, 2, 3])
  const [leader, follower, witness] = [1, 2, 3].map((nodeId) => world.brokers.get(nodeId)!)
  for (let count = 1; count <= 5; count++) leader!.append(GROUP, count, 3000)
  await world.until(() => [leader, follower, witness].every((one) => one!.owner(GROUP).committedOffset === 15))
  const full = await contentOf(leader!, GROUP)
  const empty = await contentOf(witness!, GROUP)
  assert.ok((await contentOf(follower!, GROUP)).equals(full))
  assert.equal(empty.length, 5 * BATCH_HEADER_BYTES)
  assert.deepEqual(headersOf(empty), headersOf(full))
  for (const at of batchPositions(empty)) assert.equal(batchDefect(empty, at, empty.length), undefined)
  const replica = leader!.replica(GROUP)
  await world.until(() => replica.inSync().length === 2)
  assert.deepEqual(replica.inSync(), [1, 2])
  assert.deepEqual([replica.copyCount, replica.isCommitHeldBy(2)], [2, false])
  assert.deepEqual([replica.holdsRecords, witness!.replica(GROUP).holdsRecords], [true, false])
  assert.equal(await replica.transfer(3), false)
})

test('with one full member and the witness a group commits, and what was committed so is led by who has it', async () => {
  const world = await worldWith(3, thirdWitnesses)
  await found(world, [1, 2, 3])
  await world.run(100)
  const disk = world.kill(2)
  const leader = world.brokers.get(1)!
  const end = leader.append(GROUP, 4, 2000)
  await world.until(() => leader.owner(GROUP).committedOffset === end)
  const full = await contentOf(leader, GROUP)
  const own = world.kill(1)
  const back = await world.start(2, disk)
  back.add(GROUP, undefined)
  await world.run(5000)
  assert.equal(leaderOf(world, GROUP), -1, 'one lacks the entry, the other its records')
  const again = await world.start(1, own)
  again.add(GROUP, undefined)
  await world.until(() => leaderOf(world, GROUP) === 1)
  await world.until(() => back.owner(GROUP).committedOffset === end)
  assert.ok((await contentOf(back, GROUP)).equals(full))
})

test('a new group whose preferred replica is a witness is led by the next one at once', async () => {
  const world = await worldWith(3, thirdWitnesses)
  for (const nodeId of [1, 2, 3]) world.brokers.get(nodeId)!.add(GROUP, [3, 2, 1], nodeId === 3)
  assert.ok((await world.until(() => leaderOf(world, GROUP) === 2)) < 100)
})

test('a witness that was away is sent headers from segments, and stays one through restarts', async () => {
  const world = await worldWith(3, thirdWitnesses, 200)
  await found(world, [1, 2, 3])
  const leader = world.brokers.get(1)!
  leader.append(GROUP, 1, 1000)
  await world.run(100)
  const disk = world.kill(3)
  for (let count = 0; count < 40; count++) {
    leader.append(GROUP, 2, 3000)
    await world.run(5)
  }
  await world.run(1000)
  assert.ok(leader.log(GROUP).laidIndex > 40, 'most lies in segments')
  const witness = await world.start(3, disk)
  witness.add(GROUP, undefined)
  await world.until(() => witness.owner(GROUP).committedOffset === 81)
  assert.equal((await contentOf(witness, GROUP)).length, 41 * BATCH_HEADER_BYTES)
  assert.deepEqual(headersOf(await contentOf(witness, GROUP)), headersOf(await contentOf(leader, GROUP)))
  await world.run(1000)
  const third = await world.start(3, world.kill(3))
  third.add(GROUP, undefined)
  assert.deepEqual(third.replica(GROUP).raft.membership.witnesses, [3])
  await world.until(() => third.owner(GROUP).committedOffset === 81)
  world.kill(1)
  await world.until(() => leaderOf(world, GROUP) === 2)
  world.brokers.get(2)!.append(GROUP, 1)
  await world.until(() => third.owner(GROUP).committedOffset === 82)
})

test('who joins as a witness is sent headers as a learner already, and its kind is for good', async () => {
  const world = await worldWith(3, thirdWitnesses)
  await found(world, [1, 2])
  const leader = world.brokers.get(1)!
  for (let count = 0; count < 10; count++) leader.append(GROUP, 1, 3000)
  const witness = world.brokers.get(3)!
  witness.add(GROUP, undefined)
  leader.replication.retarget(leader.replica(GROUP), { voters: [1, 2, 3], learners: [] })
  await world.until(() => leader.owner(GROUP).reconciledCount > 0)
  const { raft } = leader.replica(GROUP)
  assert.deepEqual([raft.membership.voters, raft.membership.witnesses], [[1, 2, 3], [3]])
  await world.until(() => witness.owner(GROUP).committedOffset === 10)
  assert.equal((await contentOf(witness, GROUP)).length, 10 * BATCH_HEADER_BYTES)
  assert.equal(raft.changeMembership([1, 2, 3], []), 'refused', 'the witness would be full')
  assert.equal(raft.changeMembership([1, 2], [3]), 'refused', 'as a learner, too')
  assert.equal(
    raft.changeMembership([1, 2, 3], [], { witnesses: [2, 3] }),
    'refused',
    'a full voter would be a witness',
  )
  assert.equal(raft.changeMembership([3], [], { witnesses: [3] }), 'refused', 'nobody would hold the records')
  assert.equal(raft.changeMembership([1, 2], [3], { witnesses: [3] }), 'proposed')
})

test('with a commit quorum of one the leader commits alone, and nobody is elected without it', async () => {
  const world = await worldWith(3, (_groupId, voters) => ({ commitSize: 1, electionSize: voters.length }))
  await found(world, [1, 2, 3])
  await world.run(100)
  const leader = world.brokers.get(1)!
  for (const other of [2, 3]) world.cut(1, other)
  const end = leader.append(GROUP, 3)
  await world.until(() => leader.owner(GROUP).committedOffset === end)
  await world.run(5000)
  assert.equal(leaderOf(world, GROUP), 1)
  assert.ok(leader.replica(GROUP).hasLease, 'its own vote blocks every election')
  assert.deepEqual(leader.replica(GROUP).inSync(), [1])
  assert.equal(leader.replica(GROUP).indexHeldBy(2) < leader.replica(GROUP).raft.commitIndex, true)
  for (const other of [2, 3]) world.heal(1, other)
  await world.until(() => world.brokers.get(3)!.owner(GROUP).committedOffset === end)
})

test('of five that commit with two and elect with four, two go on and three elect nobody', async () => {
  const world = await worldWith(5, (_groupId, voters) =>
    voters.length === 5 ? { commitSize: 2, electionSize: 4 } : {},
  )
  await found(world, [1, 2, 3, 4, 5])
  await world.run(100)
  const leader = world.brokers.get(1)!
  for (const one of [1, 2]) for (const other of [3, 4, 5]) world.cut(one, other)
  const end = leader.append(GROUP, 3)
  await world.until(() => leader.owner(GROUP).committedOffset === end)
  await world.run(5000)
  assert.equal(leaderOf(world, GROUP), 1)
  world.kill(1)
  await world.run(5000)
  assert.equal(leaderOf(world, GROUP), -1, 'three of five might lack what two have committed')
  for (const other of [3, 4, 5]) world.heal(2, other)
  await world.until(() => leaderOf(world, GROUP) === 2)
  await world.until(() => world.brokers.get(5)!.owner(GROUP).committedOffset === end)
})

test('other sizes for the voters that there are go through a joint change', async () => {
  let commitSize = 2
  const world = await worldWith(3, () => ({ commitSize }))
  await found(world, [1, 2, 3])
  const leader = world.brokers.get(1)!
  assert.deepEqual(leader.replica(GROUP).raft.membership.sizes, { election: 2, commit: 2 })
  commitSize = 3
  leader.replication.retarget(leader.replica(GROUP), { voters: [1, 2, 3], learners: [] })
  await world.until(() => leader.owner(GROUP).reconciledCount > 0)
  assert.deepEqual(leader.replica(GROUP).raft.membership.sizes, { election: 2, commit: 3 })
})
