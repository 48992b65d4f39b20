import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planRaise } from '../../../../broker/cluster/internal-replicas.ts'
import { MetadataImage, type PartitionImage } from '../../../../broker/cluster/metadata.ts'
import { isReassigning, targetReplicas } from '../../../../broker/cluster/target.ts'
import { OFFSETS_TOPIC } from '../../../../broker/cluster/topic-names.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { createRequest, type Fixture, fixture, topic } from './fixture.ts'

/** A broker alone that has made the topic itself, as many replicas as there are brokers. */
async function grown(partitions: number, settings: Record<string, string> = {}, brokers = 1): Promise<Fixture> {
  const made = fixture(settings, brokers)
  const asked = topic(OFFSETS_TOPIC, { numPartitions: partitions, replicationFactor: -1 })
  const answer = await made.controller.createTopics(createRequest([asked]))
  assert.equal(answer.topics[0]?.errorCode, ErrorCode.NONE)
  return made
}

function joins({ image }: Fixture, nodeId: number): void {
  image.apply({ type: 'register-broker', nodeId, host: `broker-${nodeId}`, port: 9092, rack: null, endpoints: [] })
}

function partitionsOf({ image }: Fixture): readonly PartitionImage[] {
  return image.topicByName(OFFSETS_TOPIC)?.partitions ?? assert.fail('no topic')
}

function complete(made: Fixture): void {
  for (const partition of partitionsOf(made)) {
    const replicas = targetReplicas(partition)
    if (!isReassigning(partition)) continue
    made.image.apply({ type: 'complete-reassignment', groupId: partition.groupId, targetReplicas: replicas })
  }
}

const movingOf = (made: Fixture) => partitionsOf(made).filter(isReassigning).length
const factors = (made: Fixture) => [...new Set(partitionsOf(made).map(({ replicas }) => replicas.length))]

async function reassign(made: Fixture, partitionIndex: number, replicas: number[] | null): Promise<void> {
  const { responses } = await made.controller.alterPartitionReassignments({
    timeoutMs: 1000,
    allowReplicationFactorChange: true,
    topics: [{ name: OFFSETS_TOPIC, partitions: [{ partitionIndex, replicas }] }],
  })
  assert.equal(responses[0]?.partitions[0]?.errorCode, ErrorCode.NONE)
}

test('the topic of the groups gets as many replicas as there are brokers, and never more than configured', async () => {
  for (const [brokers, factor] of [
    [1, 1],
    [2, 2],
    [5, 3],
  ] as const) {
    assert.deepEqual(factors(await grown(4, {}, brokers)), [factor])
  }
})

test('brokers that join get replicas of it, a bounded number of partitions at a time', async () => {
  const made = await grown(10)
  assert.deepEqual(await made.controller.raiseStep(4), undefined)
  joins(made, 2)
  joins(made, 3)
  const begun = await made.controller.raiseStep(4)
  assert.deepEqual(begun, { topic: OFFSETS_TOPIC, replicationFactor: 3, begun: 4, left: 10 })
  assert.equal(movingOf(made), 4)
  // As long as those move nothing else does.
  assert.equal(await made.controller.raiseStep(4), undefined)
  for (let round = 0; round < 3; round++) {
    complete(made)
    await made.controller.raiseStep(4)
  }
  assert.equal(movingOf(made), 0)
  assert.deepEqual(factors(made), [3])
  const leaders = [1, 2, 3].map((id) => partitionsOf(made).filter(({ replicas }) => replicas[0] === id).length)
  assert.deepEqual(leaders.sort(), [3, 3, 4])
  const written = made.log.commands.length
  assert.equal(await made.controller.raiseStep(4), undefined)
  assert.equal(made.log.commands.length, written)
})

test('brokers that join one after the other are taken as they come', async () => {
  const made = await grown(2)
  joins(made, 2)
  assert.equal((await made.controller.raiseStep(9))?.replicationFactor, 2)
  complete(made)
  assert.deepEqual(factors(made), [2])
  joins(made, 3)
  assert.equal((await made.controller.raiseStep(9))?.replicationFactor, 3)
  complete(made)
  joins(made, 4)
  assert.equal(await made.controller.raiseStep(9), undefined)
  assert.deepEqual(factors(made), [3])
})

test('dead and draining brokers get none, and without a leader nothing begins', async () => {
  const made = await grown(1)
  joins(made, 2)
  joins(made, 3)
  made.dead.add(2)
  made.image.apply({
    type: 'set-configs',
    resource: 'broker',
    name: '3',
    configs: { 'millrace.broker.draining': 'true' },
  })
  assert.equal(await made.controller.raiseStep(9), undefined)
  made.dead.delete(2)
  made.dead.add(1)
  assert.equal(await made.controller.raiseStep(9), undefined)
  made.dead.delete(1)
  assert.equal((await made.controller.raiseStep(9))?.begun, 1)
  assert.deepEqual([...targetReplicas(partitionsOf(made)[0]!)].sort(), [1, 2])
})

test('a replica that was to come to a broker that has died since is aimed elsewhere, or waits', async () => {
  const made = await grown(1)
  joins(made, 2)
  await made.controller.raiseStep(9)
  made.dead.add(2)
  assert.equal(await made.controller.raiseStep(9), undefined)
  joins(made, 3)
  assert.equal((await made.controller.raiseStep(9))?.begun, 1)
  assert.deepEqual([...targetReplicas(partitionsOf(made)[0]!)].sort(), [1, 3])
})

test('while anything of the topic is moved by somebody else, nothing is raised', async () => {
  const made = await grown(3)
  joins(made, 2)
  await reassign(made, 1, [2])
  assert.equal(await made.controller.raiseStep(9), undefined)
  complete(made)
  assert.equal((await made.controller.raiseStep(9))?.begun, 3)
})

test('a number of replicas that somebody has chosen stays, also through a snapshot', async () => {
  const made = await grown(2, {}, 3)
  await reassign(made, 0, [1])
  complete(made)
  await reassign(made, 1, [2])
  complete(made)
  assert.equal(await made.controller.raiseStep(9), undefined)
  const again = MetadataImage.deserialize(made.image.serialize(), made.config)
  assert.deepEqual(again.serialize(), made.image.serialize())
  assert.equal(planRaise(again, made.config, made.alive, { movingMax: 9 }), undefined)
})

test('a raise that is taken back is not begun again', async () => {
  const made = await grown(1)
  joins(made, 2)
  await made.controller.raiseStep(9)
  await reassign(made, 0, null)
  complete(made)
  assert.equal(await made.controller.raiseStep(9), undefined)
  assert.deepEqual(partitionsOf(made)[0]?.replicas, [1])
})

test('the replicas of one that a client created with a number of its own, and of other topics, are not touched', async () => {
  const made = fixture()
  await made.controller.createTopics(createRequest([topic(OFFSETS_TOPIC), topic('t', { replicationFactor: -1 })]))
  joins(made, 2)
  assert.equal(await made.controller.raiseStep(9), undefined)
})

test('fewer are configured than there are: nothing is taken away', async () => {
  const made = await grown(1, { 'offsets.topic.replication.factor': '2' }, 3)
  assert.deepEqual(factors(made), [2])
  assert.equal(await made.controller.raiseStep(9), undefined)
  await reassign(made, 0, [1, 2, 3])
  complete(made)
  assert.equal(await made.controller.raiseStep(9), undefined)
  assert.deepEqual(factors(made), [3])
})
