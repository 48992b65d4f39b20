// The data path on a broker of three: who answers, who is named instead, and what a client is told of brokers and leaders.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { coordinatorShard } from '../../../../broker/groups/routing.ts'
import { describeLogDirs } from '../../../../broker/handlers/describe-log-dirs.ts'
import { describeTopicPartitions } from '../../../../broker/handlers/describe-topic-partitions.ts'
import { fetch } from '../../../../broker/handlers/fetch.ts'
import { findCoordinator } from '../../../../broker/handlers/find-coordinator.ts'
import { listOffsets } from '../../../../broker/handlers/list-offsets.ts'
import { metadata } from '../../../../broker/handlers/metadata.ts'
import { offsetForLeaderEpoch } from '../../../../broker/handlers/offset-for-leader-epoch.ts'
import { produce } from '../../../../broker/handlers/produce.ts'
import { NOBODY } from '../../../../broker/raft/types.ts'
import { errorName } from '../../../../protocol/errors.ts'
import type { ProduceRequest } from '../../../../protocol/messages/produce.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'
import { records, settle } from '../partition/fixture.ts'
import { DataBench, RACK_AWARE } from './data-fixture.ts'

const produceTo = (made: DataBench, topic: string, indexes: number[], acks = -1): ProduceRequest => ({
  transactionalId: null,
  acks,
  timeoutMs: 1000,
  topicData: [
    {
      name: topic,
      topicId: made.topicId(topic),
      partitionData: indexes.map((index) => ({ index, records: records(1) as never })),
    },
  ],
})

const errorsOf = (answer: { responses?: { partitionResponses?: { errorCode: number }[] }[] }) =>
  (answer.responses ?? []).flatMap(({ partitionResponses = [] }) =>
    partitionResponses.map(({ errorCode }) => errorName(errorCode)),
  )

// Produce

test('a produce to a follower names the leader and where this listener reaches it', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[2, 1, 3]])
  made.announce('t', 0, 2, 4)
  here!.replica.follows(2, 4)
  const answer = await made.send(produce, 10, produceTo(made, 't', [0]), { listenerName: 'OUTSIDE' })
  assert.deepEqual(errorsOf(answer), ['NOT_LEADER_OR_FOLLOWER'])
  assert.deepEqual(answer.responses![0]!.partitionResponses[0]!.currentLeader, { leaderId: 2, leaderEpoch: 4 })
  assert.deepEqual(answer.nodeEndpoints, [{ nodeId: 2, host: 'out-2', port: 9093, rack: 'west' }])
  const older = await made.send(produce, 9, produceTo(made, 't', [0]))
  assert.deepEqual(errorsOf(older), ['NOT_LEADER_OR_FOLLOWER'])
  assert.deepEqual(older.nodeEndpoints, [])
})

test('a partition that has no replica here is refused with the leader that the metadata know', async () => {
  const made = new DataBench()
  await made.topic('t', [[2, 3]])
  made.announce('t', 0, 3, 7, [2, 3])
  const answer = await made.send(produce, 11, produceTo(made, 't', [0]))
  assert.deepEqual(errorsOf(answer), ['NOT_LEADER_OR_FOLLOWER'])
  assert.deepEqual(answer.responses![0]!.partitionResponses[0]!.currentLeader, { leaderId: 3, leaderEpoch: 7 })
  assert.deepEqual(
    answer.nodeEndpoints?.map(({ nodeId }) => nodeId),
    [3],
  )
})

test('a leader that nobody knows, or that is dead, is not named: its epoch comes alone', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  made.announce('t', 0, 1, 4)
  here!.replica.follows(NOBODY, 4)
  const leaderless = await made.send(produce, 11, produceTo(made, 't', [0], 1))
  assert.deepEqual(leaderless.responses![0]!.partitionResponses[0]!.currentLeader, { leaderId: -1, leaderEpoch: 4 })
  assert.deepEqual(leaderless.nodeEndpoints, [])
  here!.replica.follows(2, 5)
  made.dead.add(2)
  const dead = await made.send(produce, 11, produceTo(made, 't', [0], 1))
  assert.deepEqual(dead.responses![0]!.partitionResponses[0]!.currentLeader, { leaderId: -1, leaderEpoch: 5 })
  assert.deepEqual(dead.nodeEndpoints, [])
  made.announce('t', 0, 3, 6)
  made.dead.add(3)
  const announced = await made.send(produce, 11, produceTo(made, 't', [0], 1))
  assert.deepEqual(announced.responses![0]!.partitionResponses[0]!.currentLeader, { leaderId: -1, leaderEpoch: 6 })
  Object.assign(made.shard, { isCutOff: true })
  const cutOff = await made.send(produce, 11, produceTo(made, 't', [0], 1))
  const shown = cutOff.responses![0]!.partitionResponses[0]!.currentLeader
  assert.deepEqual(shown, { leaderId: 3, leaderEpoch: 6 }, 'who is cut off names whom it knew last')
})

test('an announcement newer than what the replica here knows is the hint', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  here!.replica.follows(2, 4)
  made.announce('t', 0, 3, 6)
  const answer = await made.send(produce, 11, produceTo(made, 't', [0]))
  assert.deepEqual(answer.responses![0]!.partitionResponses[0]!.currentLeader, { leaderId: 3, leaderEpoch: 6 })
})

test('acks=0 to a replica that does not lead ends the connection', async () => {
  const made = new DataBench()
  await made.topic('t', [[2, 3]])
  const request = produceTo(made, 't', [0], 0)
  await produce.handle(made.shard, { ...callOf(0, 9) }, request)
  assert.equal(made.closed.length, 1)
})

function callOf(apiKey: number, version: number) {
  return {
    apiKey,
    version,
    clientId: 'c',
    clientHost: '/127.0.0.1',
    principal: 'User:ANONYMOUS',
    listenerName: 'PLAINTEXT',
    connectionId: 1,
  }
}

test('only acks=all minds how many are in sync', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]], { 'min.insync.replicas': '2' })
  here!.replica.leads(1)
  here!.replica.isr = [1]
  assert.deepEqual(errorsOf(await made.send(produce, 9, produceTo(made, 't', [0]))), ['NOT_ENOUGH_REPLICAS'])
  const one = made.send(produce, 9, produceTo(made, 't', [0], 1))
  here!.replica.commit()
  assert.deepEqual(errorsOf(await one), ['NONE'])
})

// Fetch

const shownOf = (answer: Awaited<ReturnType<DataBench['send']>>) => {
  const { responses, nodeEndpoints } = answer as {
    responses: { partitions: Record<string, unknown>[] }[]
    nodeEndpoints?: { nodeId: number }[]
  }
  const { errorCode, currentLeader, preferredReadReplica, highWatermark } = responses[0]!.partitions[0]!
  return {
    error: errorName(errorCode as number),
    currentLeader,
    preferredReadReplica,
    highWatermark,
    endpoints: (nodeEndpoints ?? []).map(({ nodeId }) => nodeId),
  }
}

test('a fenced fetch, and one that finds no leader here, name the leader from version 16 on', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [
    [1, 2, 3],
    [2, 3],
  ])
  here!.replica.leads(5)
  made.announce('t', 1, 3, 2, [2, 3])
  const fenced = shownOf(await made.send(fetch, 16, made.fetchOf('t', 0, { epoch: 4 })))
  assert.deepEqual(fenced, {
    error: 'FENCED_LEADER_EPOCH',
    currentLeader: { leaderId: 1, leaderEpoch: 5 },
    preferredReadReplica: -1,
    highWatermark: -1,
    endpoints: [1],
  })
  const elsewhere = shownOf(await made.send(fetch, 16, made.fetchOf('t', 1)))
  assert.equal(elsewhere.error, 'NOT_LEADER_OR_FOLLOWER')
  assert.deepEqual(elsewhere.currentLeader, { leaderId: 3, leaderEpoch: 2 })
  assert.deepEqual(elsewhere.endpoints, [3])
  const unknown = shownOf(await made.send(fetch, 16, made.fetchOf('t', 0, { epoch: 6 })))
  assert.equal(unknown.error, 'UNKNOWN_LEADER_EPOCH')
  assert.deepEqual(unknown.endpoints, [])
})

test('followers serve consumers from version 11 on', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[2, 1, 3]])
  here!.replica.follows(2, 3)
  here!.replica.receives(3, records(2))
  here!.replica.commit()
  assert.equal(shownOf(await made.send(fetch, 10, made.fetchOf('t'))).error, 'NOT_LEADER_OR_FOLLOWER')
  const served = shownOf(await made.send(fetch, 11, made.fetchOf('t')))
  assert.deepEqual([served.error, served.highWatermark], ['NONE', 2])
  const debugging = shownOf(await made.send(fetch, 8, made.fetchOf('t', 0, { replicaId: -2 })))
  assert.equal(debugging.error, 'NONE')
})

test('a consumer in another rack is sent to a replica there at once, when the broker selects by rack', async () => {
  const made = new DataBench({ 'replica.selector.class': RACK_AWARE })
  const [here] = await made.topic('t', [[1, 2, 3]])
  here!.replica.leads(1)
  here!.replica.matchIndexes.set(2, 1).set(3, 1)
  made.announce('t', 0, 1, 1)
  const west = await made.send(fetch, 13, made.fetchOf('t', 0, { rackId: 'west', maxWaitMs: 60_000, minBytes: 1 }))
  assert.ok([2, 3].includes(shownOf(west).preferredReadReplica as number))
  made.dead.add(2)
  const alive = await made.send(fetch, 13, made.fetchOf('t', 0, { rackId: 'west' }))
  assert.equal(shownOf(alive).preferredReadReplica, 3)
  for (const rackId of ['east', 'north', '']) {
    const answer = await made.send(fetch, 13, made.fetchOf('t', 0, { rackId }))
    assert.equal(shownOf(answer).preferredReadReplica, -1, `rack ${rackId}`)
  }
})

test('without a selector everybody reads from the leader', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  here!.replica.leads(1)
  here!.replica.matchIndexes.set(2, 1).set(3, 1)
  made.announce('t', 0, 1, 1)
  assert.equal(shownOf(await made.send(fetch, 13, made.fetchOf('t', 0, { rackId: 'west' }))).preferredReadReplica, -1)
})

test('a fetch that waits at a leader hears at once that it leads no longer', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  here!.replica.leads(1)
  const waiting = made.send(fetch, 16, made.fetchOf('t', 0, { epoch: 1, maxWaitMs: 60_000 }))
  await settle(2)
  here!.replica.follows(3, 2)
  const heard = shownOf(await waiting)
  assert.equal(heard.error, 'FENCED_LEADER_EPOCH')
  assert.deepEqual(heard.currentLeader, { leaderId: 3, leaderEpoch: 2 })
})

// Offsets

const offsetOf = async (
  made: DataBench,
  timestamp: number,
  version = 7,
  about: { epoch?: number; replicaId?: number } = {},
) => {
  const partitions = [{ partitionIndex: 0, currentLeaderEpoch: about.epoch ?? -1, timestamp }]
  const topics = [{ name: 't', partitions }]
  const request = { replicaId: about.replicaId ?? -1, isolationLevel: 0, topics, timeoutMs: 0 }
  const answer = await made.send(listOffsets, version, request as never)
  const { errorCode, offset } = answer.topics![0]!.partitions[0]!
  return `${errorName(errorCode)} ${offset}`
}

test('the latest offset is a question of who leads: a lease or a majority answers it', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  const { replica } = here!
  replica.leads(1)
  here!.append(0, records(3))
  replica.commit()
  assert.equal(await offsetOf(made, -1), 'NONE 3')
  replica.hasLease = false
  assert.equal(await offsetOf(made, -1), 'NONE 3')
  replica.confirms = false
  assert.equal(await offsetOf(made, -1), 'NOT_LEADER_OR_FOLLOWER -1')
  assert.equal(await offsetOf(made, 1000), 'NOT_LEADER_OR_FOLLOWER -1')
  assert.equal(await offsetOf(made, -3), 'NOT_LEADER_OR_FOLLOWER -1')
  assert.equal(await offsetOf(made, -2), 'NONE 0')
  assert.equal(await offsetOf(made, -2, 7, { epoch: 2 }), 'UNKNOWN_LEADER_EPOCH -1')
})

test('the last leader without a majority still tells where the log begins', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  here!.replica.leads(1)
  here!.replica.follows(NOBODY, 1, true)
  assert.equal(await offsetOf(made, -2), 'NONE 0')
  assert.equal(await offsetOf(made, -1), 'NOT_LEADER_OR_FOLLOWER -1')
  here!.replica.follows(2, 2)
  assert.equal(await offsetOf(made, -2), 'NOT_LEADER_OR_FOLLOWER -1')
  assert.equal(await offsetOf(made, -1, 7, { replicaId: -2 }), 'NONE 0', 'the debugging consumer asks anybody')
})

test('a leader that has just been elected does not know its high watermark', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [[1, 2, 3]])
  here!.replica.elected(3)
  assert.equal(await offsetOf(made, -1, 5), 'OFFSET_NOT_AVAILABLE -1')
  assert.equal(await offsetOf(made, -1, 4), 'LEADER_NOT_AVAILABLE -1')
  here!.replica.serves()
  assert.equal(await offsetOf(made, -1, 5), 'NONE 0')
})

test('the end of an epoch is told by the leader', async () => {
  const made = new DataBench()
  const [here] = await made.topic('t', [
    [1, 2, 3],
    [2, 3],
  ])
  const ask = async (partition: number, currentLeaderEpoch: number, leaderEpoch: number) => {
    const topics = [{ topic: 't', partitions: [{ partition, currentLeaderEpoch, leaderEpoch }] }]
    const answer = await made.send(offsetForLeaderEpoch, 4, { replicaId: -2, topics } as never)
    const { errorCode, endOffset, leaderEpoch: epoch } = answer.topics![0]!.partitions[0]!
    return `${errorName(errorCode)} ${epoch} ${endOffset}`
  }
  here!.replica.follows(2, 1)
  here!.replica.receives(1, records(2))
  assert.equal(await ask(0, 1, 1), 'NOT_LEADER_OR_FOLLOWER -1 -1')
  assert.equal(await ask(0, 0, 1), 'FENCED_LEADER_EPOCH -1 -1')
  assert.equal(await ask(0, 2, 1), 'UNKNOWN_LEADER_EPOCH -1 -1')
  here!.replica.leads(3)
  assert.equal(await ask(0, 3, 1), 'NONE 1 2')
  assert.equal(await ask(0, 2, 1), 'FENCED_LEADER_EPOCH -1 -1')
  assert.equal(await ask(1, -1, 1), 'NOT_LEADER_OR_FOLLOWER -1 -1')
  assert.equal(await ask(2, -1, 1), 'UNKNOWN_TOPIC_OR_PARTITION -1 -1')
})

// What clients are told

const metadataOf = (made: DataBench, listenerName = 'PLAINTEXT', version = 12) =>
  made.send(
    metadata,
    version,
    {
      topics: [{ name: 't', topicId: ZERO_UUID }],
      allowAutoTopicCreation: false,
      includeClusterAuthorizedOperations: false,
      includeTopicAuthorizedOperations: false,
    },
    { listenerName },
  )

test('metadata list live brokers by listener, the true leader, and who is offline', async () => {
  const made = new DataBench()
  await made.topic('t', [
    [1, 2, 3],
    [3, 2, 1],
  ])
  made.announce('t', 0, 2, 5, [1, 2, 3])
  made.announce('t', 1, 3, 2, [3, 1])
  made.dead.add(3)
  const answer = await metadataOf(made, 'OUTSIDE')
  assert.deepEqual(answer.brokers, [
    { nodeId: 1, host: 'out-1', port: 9093, rack: 'east' },
    { nodeId: 2, host: 'out-2', port: 9093, rack: 'west' },
  ])
  assert.equal(answer.controllerId, 1)
  const [led, orphan] = answer.topics[0]!.partitions
  assert.deepEqual([errorName(led!.errorCode), led!.leaderId, led!.leaderEpoch], ['NONE', 2, 5])
  assert.deepEqual([led!.replicaNodes, led!.isrNodes, led!.offlineReplicas], [[1, 2, 3], [1, 2], [3]])
  assert.deepEqual(
    [errorName(orphan!.errorCode), orphan!.leaderId, orphan!.leaderEpoch],
    ['LEADER_NOT_AVAILABLE', -1, 2],
  )
  assert.deepEqual([orphan!.isrNodes, orphan!.offlineReplicas], [[1], [3]])
  const described = await made.send(describeTopicPartitions, 0, {
    topics: [{ name: 't' }],
    responsePartitionLimit: 10,
    cursor: null,
  })
  assert.deepEqual(
    described.topics[0]!.partitions.map((partition) => [
      errorName(partition.errorCode),
      partition.leaderId,
      partition.isrNodes,
      partition.offlineReplicas,
      partition.eligibleLeaderReplicas,
    ]),
    [
      ['NONE', 2, [1, 2], [3], []],
      ['NONE', -1, [1], [3], []],
    ],
  )
  made.dead.clear()
  made.announce('t', 1, 3, 2, [1, 2, 3])
  const inSync = (await metadataOf(made, 'OUTSIDE')).topics[0]!.partitions[1]!.isrNodes
  assert.deepEqual(inSync, [3, 2, 1], 'in the order of the replicas')
})

test('a leader that is alive and not on the listener of the client is not found there', async () => {
  const made = new DataBench()
  await made.topic('t', [[1, 2, 3]])
  made.announce('t', 0, 1, 1)
  const answer = await metadataOf(made, 'NOWHERE')
  assert.deepEqual(answer.brokers, [])
  assert.equal(errorName(answer.topics[0]!.partitions[0]!.errorCode), 'LISTENER_NOT_FOUND')
  const older = await metadataOf(made, 'NOWHERE', 5)
  assert.equal(errorName(older.topics[0]!.partitions[0]!.errorCode), 'LEADER_NOT_AVAILABLE')
})

test('the coordinator is the broker that leads the partition of the group, when it is alive', async () => {
  const made = new DataBench()
  await made.topic('__consumer_offsets', [[2, 3]])
  made.announce('__consumer_offsets', 0, 3, 1, [2, 3])
  const find = async () => {
    const answer = await made.send(findCoordinator, 4, { key: '', keyType: 0, coordinatorKeys: ['g'] })
    const { nodeId, host, errorCode } = answer.coordinators![0]!
    return `${errorName(errorCode)} ${nodeId} ${host}`
  }
  assert.equal(await find(), 'NONE 3 in-3')
  made.dead.add(3)
  assert.equal(await find(), 'COORDINATOR_NOT_AVAILABLE -1 ')
  assert.equal(coordinatorShard('g', made.shard), undefined, 'no shard here coordinates it')
})

test('log directories list the replicas of this broker', async () => {
  const made = new DataBench()
  await made.topic('t', [
    [1, 2],
    [2, 3],
  ])
  const shard = {
    ...made.shard,
    environment: { ...made.shard.environment, disk: { freeSpace: async () => ({ totalBytes: 10, freeBytes: 5 }) } },
  }
  const answer = await describeLogDirs.handle(shard as never, callOf(35, 4), { topics: null })
  assert.ok(typeof answer === 'object' && 'results' in answer)
  assert.deepEqual(
    answer.results[0]!.topics.map(({ name, partitions }) => [
      name,
      partitions.map(({ partitionIndex }) => partitionIndex),
    ]),
    [['t', [0]]],
  )
})
