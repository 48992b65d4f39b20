import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Command } from '../../../../broker/cluster/commands.ts'
import type { MetadataImage, PartitionImage } from '../../../../broker/cluster/metadata.ts'
import { planCancellation, planDrain, planReassignment } from '../../../../broker/cluster/reassignment.ts'
import { targetReplicas } from '../../../../broker/cluster/target.ts'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import type { AlterPartitionReassignmentsRequest } from '../../../../protocol/messages/alter-partition-reassignments.ts'
import { type Fixture, fixture } from './fixture.ts'

const alive = () => true
const drains = (nodeId: number): Command => ({
  type: 'set-configs',
  resource: 'broker',
  name: String(nodeId),
  configs: { 'millrace.broker.draining': 'true' },
})

function withTopic(brokers: number, assignments: readonly (readonly number[])[]): Fixture {
  const made = fixture({}, brokers)
  made.image.apply({ type: 'create-topic', name: 't', topicId: 'id-of-t', assignments, configs: {} })
  return made
}

function partitionOf(image: MetadataImage, at = 0): PartitionImage {
  return image.topicByName('t')?.partitions[at] ?? assert.fail('no partition')
}

const move = (replicas: number[] | null, about: Partial<AlterPartitionReassignmentsRequest> = {}, at = 0) => ({
  timeoutMs: 1000,
  allowReplicationFactorChange: true,
  topics: [{ name: 't', partitions: [{ partitionIndex: at, replicas }] }],
  ...about,
})

async function moved(
  made: Fixture,
  replicas: number[] | null,
  about: Partial<AlterPartitionReassignmentsRequest> = {},
) {
  const { responses } = await made.controller.alterPartitionReassignments(move(replicas, about))
  const { errorCode, errorMessage } = responses[0]?.partitions[0] ?? assert.fail()
  return errorCode === ErrorCode.NONE ? 'NONE' : `${errorName(errorCode)} ${errorMessage}`
}

test('a partition is sent to other replicas: the future ones first, in their order', async () => {
  const made = withTopic(5, [[1, 2, 3]])
  assert.equal(await moved(made, [4, 2, 5]), 'NONE')
  const { replicas, adding, removing, original } = partitionOf(made.image)
  assert.deepEqual(
    { replicas, adding, removing, original },
    {
      replicas: [4, 2, 5, 1, 3],
      adding: [4, 5],
      removing: [1, 3],
      original: [1, 2, 3],
    },
  )
})

test('the same target again writes nothing, another one takes its place and keeps whoever may hold data', async () => {
  const made = withTopic(5, [[1, 2, 3]])
  await moved(made, [1, 2, 4])
  const written = made.log.commands.length
  assert.equal(await moved(made, [1, 2, 4]), 'NONE')
  assert.equal(made.log.commands.length, written)
  assert.equal(await moved(made, [1, 2, 5]), 'NONE')
  const { replicas, adding, removing, original } = partitionOf(made.image)
  assert.deepEqual(
    { replicas, adding, removing, original },
    {
      replicas: [1, 2, 5, 4, 3],
      adding: [5],
      removing: [4, 3],
      original: [1, 2, 3],
    },
  )
})

test('a reassignment that is taken back ends with the list it began with, once those added have left', async () => {
  const made = withTopic(5, [[3, 1, 2]])
  await moved(made, [1, 2, 4])
  await moved(made, [1, 2, 5])
  assert.equal(await moved(made, null), 'NONE')
  const partition = partitionOf(made.image)
  assert.deepEqual(targetReplicas(partition), [3, 1, 2])
  assert.deepEqual([partition.adding, partition.removing], [[], [5, 4]])
  assert.match(await moved(made, null), /^NO_REASSIGNMENT_IN_PROGRESS/)
  assert.deepEqual(await made.controller.completeReassignment(partition.groupId, [3, 1, 2]), {
    error: ErrorCode.NONE,
    message: null,
  })
  assert.deepEqual(partition.replicas, [3, 1, 2])
  assert.match(await moved(made, null), /^NO_REASSIGNMENT_IN_PROGRESS/)
})

test('a reassignment nobody of the old replicas could take back is not taken back', async () => {
  const made = withTopic(3, [[1]])
  await moved(made, [2])
  made.dead.add(1)
  assert.match(await moved(made, null), /^INVALID_REPLICA_ASSIGNMENT/)
  const cancelled = planCancellation('t', partitionOf(made.image), (nodeId) => nodeId !== 1)
  const message = 'Unable to revert partition assignment for t:0 because it would require an unclean leader election.'
  assert.deepEqual(cancelled, { error: ErrorCode.INVALID_REPLICA_ASSIGNMENT, message })
})

test('the same replicas in another order, or the same list, need no move', async () => {
  const made = withTopic(3, [[1, 2, 3]])
  const written = made.log.commands.length
  assert.equal(await moved(made, [1, 2, 3]), 'NONE')
  assert.equal(made.log.commands.length, written)
  assert.equal(await moved(made, [3, 2, 1]), 'NONE')
  assert.deepEqual([partitionOf(made.image).replicas, partitionOf(made.image).removing], [[3, 2, 1], []])
})

test('lists that cannot be are refused, the others of the request go on', async () => {
  const made = withTopic(3, [
    [1, 2],
    [2, 3],
  ])
  for (const [replicas, reason] of [
    [[], /^INVALID_REPLICA_ASSIGNMENT .*empty/],
    [[1, 1], /^INVALID_REPLICA_ASSIGNMENT .*more than once/],
    [[1, 9], /^INVALID_REPLICA_ASSIGNMENT .*broker 9/],
  ] as const) {
    assert.match(await moved(made, [...replicas]), reason)
  }
  const answer = await made.controller.alterPartitionReassignments({
    ...move(null),
    topics: [
      {
        name: 't',
        partitions: [
          { partitionIndex: 0, replicas: [9] },
          { partitionIndex: 1, replicas: [3, 1] },
          { partitionIndex: 2, replicas: [1] },
        ],
      },
      { name: 'no', partitions: [{ partitionIndex: 0, replicas: null }] },
    ],
  })
  assert.deepEqual(
    answer.responses.flatMap(({ partitions }) => partitions.map(({ errorCode }) => errorName(errorCode))),
    ['INVALID_REPLICA_ASSIGNMENT', 'NONE', 'UNKNOWN_TOPIC_OR_PARTITION', 'UNKNOWN_TOPIC_OR_PARTITION'],
  )
})

test('another count of replicas is refused where the request says so, seen from where the partition is going', async () => {
  const made = withTopic(4, [[1, 2]])
  const strict = { allowReplicationFactorChange: false }
  assert.equal(
    await moved(made, [1, 2, 3], strict),
    'INVALID_REPLICATION_FACTOR The replication factor is changed from 2 to 3',
  )
  assert.equal(await moved(made, [1, 2, 3]), 'NONE')
  assert.match(await moved(made, [1, 2], strict), /from 3 to 2$/)
  assert.equal(await moved(made, [1, 2, 4], strict), 'NONE')
})

test('a completion that is no longer wanted writes nothing or changes nothing', async () => {
  const made = withTopic(3, [[1, 2]])
  const written = made.log.commands.length
  await made.controller.completeReassignment(1, [1, 2])
  await made.controller.completeReassignment(99, [1, 2])
  assert.equal(made.log.commands.length, written)
  await moved(made, [1, 3])
  await made.controller.completeReassignment(1, [1, 2])
  assert.deepEqual(partitionOf(made.image).adding, [3])
})

test('draining moves the replicas away in batches, and gives the leadership to those who stay', async () => {
  const made = withTopic(4, [
    [3, 1],
    [1, 3],
    [1, 2],
    [3, 2],
    [2, 3],
  ])
  made.image.apply(drains(3))
  const first = planDrain(made.image, alive, { movingMax: 2 })
  assert.deepEqual([first.commands.length, first.left, first.withoutPlace], [2, 4, 0])
  for (const command of first.commands) made.image.apply(command)
  assert.equal(planDrain(made.image, alive, { movingMax: 2 }).commands.length, 0)
  for (let round = 0; round < 5; round++) {
    for (const { partitions } of made.image.topics()) {
      for (const partition of partitions) {
        const targetIds = targetReplicas(partition)
        made.image.apply({ type: 'complete-reassignment', groupId: partition.groupId, targetReplicas: targetIds })
      }
    }
    for (const command of planDrain(made.image, alive, { movingMax: 2 }).commands) made.image.apply(command)
  }
  const lists = made.image.topicByName('t')?.partitions.map(({ replicas }) => replicas) ?? []
  assert.ok(!lists.flat().includes(3), JSON.stringify(lists))
  for (const replicas of lists) assert.equal(new Set(replicas).size, 2)
  assert.equal(planDrain(made.image, alive, { movingMax: 2 }).left, 0)
  assert.deepEqual(lists[2], [1, 2])
})

test('a drain says what has no other place and what has no leader', async () => {
  const made = withTopic(3, [[1, 2, 3], [2], [3]])
  made.image.apply(drains(3))
  made.image.setLeader(3, 3, 1)
  made.dead.add(3)
  const plan = planDrain(made.image, made.alive, { movingMax: 9 })
  assert.deepEqual(plan, { commands: [], left: 2, withoutPlace: 1, withoutLeader: 1 })
})

test('a drain aims elsewhere when the broker it moved to has died or drains too', async () => {
  const made = withTopic(5, [[1, 3]])
  made.image.apply(drains(3))
  const [first] = planDrain(made.image, alive, { movingMax: 9 }).commands
  assert.ok(first)
  made.image.apply(first)
  const [taker] = first.adding
  assert.ok(taker !== undefined)
  made.dead.add(taker)
  const [second] = planDrain(made.image, made.alive, { movingMax: 1 }).commands
  assert.ok(second)
  assert.equal(second.adding.length, 1)
  assert.notEqual(second.adding[0], taker)
  assert.deepEqual([...second.removing].sort(), [3, taker].sort())
  made.image.apply(second)
  made.image.apply(drains(second.adding[0] ?? -1))
  const [third] = planDrain(made.image, made.alive, { movingMax: 1 }).commands
  assert.ok(third && !third.adding.includes(second.adding[0] ?? -1))
})

test('a step of the drain does nothing without a draining broker, and writes its batch with one', async () => {
  const made = withTopic(3, [[1], [1]])
  const written = made.log.commands.length
  const nothing = await made.controller.drainStep(5)
  assert.ok('left' in nothing && nothing.left === 0)
  assert.equal(made.log.commands.length, written)
  made.image.apply(drains(1))
  const step = await made.controller.drainStep(1)
  assert.ok('left' in step && step.left === 2 && step.commands.length === 1)
  assert.equal(made.log.commands.length, written + 1)
})

test('a broker is forgotten when it is empty and stopped, and only then', async () => {
  const made = withTopic(3, [[1, 2]])
  const unregistered = async (nodeId: number) => {
    const { errorCode, errorMessage } = await made.controller.unregisterBroker(nodeId)
    return `${errorName(errorCode)} ${errorMessage}`
  }
  assert.equal(await unregistered(7), 'BROKER_ID_NOT_REGISTERED Broker ID 7 is not currently registered')
  made.dead.add(2)
  assert.match(await unregistered(2), /^INVALID_REQUEST Broker 2 holds 1 partition/)
  assert.match(await unregistered(3), /^INVALID_REQUEST Broker 3 is running/)
  made.dead.add(3)
  assert.equal(await unregistered(3), 'NONE ')
  assert.equal(made.image.broker(3), undefined)
})

test('a broker registers with its directory; a second one with its id or an old disk is refused', async () => {
  const made = fixture({ 'node.id': '1' }, 0)
  const base = { host: 'h', port: 1, rack: null }
  const registered = (nodeId: number, directoryId: string, directoryEpoch?: number) =>
    made.controller.registerBroker({ ...base, nodeId, directoryId, directoryEpoch, shardCount: 2 })
  assert.deepEqual(await registered(2, 'a'), { error: ErrorCode.NONE, directoryEpoch: 0 })
  const written = made.log.commands.length
  assert.deepEqual(await registered(2, 'a', 0), { error: ErrorCode.NONE, directoryEpoch: 0 })
  assert.equal(made.log.commands.length, written)
  assert.equal((await registered(2, 'b')).error, ErrorCode.DUPLICATE_BROKER_REGISTRATION)
  made.dead.add(2)
  assert.deepEqual(await registered(2, 'b'), { error: ErrorCode.NONE, directoryEpoch: 1 })
  assert.equal((await registered(2, 'a', 0)).error, ErrorCode.INVALID_REGISTRATION)
  assert.equal(made.image.broker(2)?.directoryId, 'b')
})

test('planning does not judge what the metadata already know to be under way', async () => {
  const made = withTopic(3, [[1, 2]])
  const partition = partitionOf(made.image)
  const planned = planReassignment(made.image, partition, [1, 2], true)
  assert.deepEqual(planned, { error: ErrorCode.NONE, command: undefined })
})
