// What a broker says of the others while it hears no leader of the metadata group: what it last knew, so that clients find those who know better.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NO_ANSWER } from '../../../../broker/handlers/api.ts'
import { advertisedController } from '../../../../broker/handlers/controller-of.ts'
import { describeCluster } from '../../../../broker/handlers/describe-cluster.ts'
import { describeTopicPartitions } from '../../../../broker/handlers/describe-topic-partitions.ts'
import { findCoordinator } from '../../../../broker/handlers/find-coordinator.ts'
import { metadata } from '../../../../broker/handlers/metadata.ts'
import { errorName } from '../../../../protocol/errors.ts'
import type { MetadataRequest } from '../../../../protocol/messages/metadata.ts'
import { DataBench } from './data-fixture.ts'
import { call, type HandlerFixture, handlerFixture } from './fixture.ts'

const OWN = 1
const all: MetadataRequest = {
  topics: null,
  allowAutoTopicCreation: false,
  includeClusterAuthorizedOperations: false,
  includeTopicAuthorizedOperations: false,
}

/** Broker 1 of three that led group 0 and the first partition, and hears nobody. */
function silentAround(): HandlerFixture {
  const made = handlerFixture({ 'node.id': String(OWN) }, 3)
  const topicId = 'dGhlLWlkLW9mLXRoZS10b3A'.slice(0, 22)
  const assignments = [
    [1, 2, 3],
    [2, 3, 1],
    [3, 1, 2],
  ]
  made.image.apply({ type: 'create-topic', name: 't', topicId, assignments, configs: {} })
  made.image.setLeader(1, 1, 5, [1, 2, 3])
  made.image.setLeader(2, 2, 7, [2, 3])
  made.image.setLeader(0, OWN, 4)
  made.dead.add(2).add(3)
  return made
}

function cutOff(made: HandlerFixture): void {
  Object.assign(made.standing, { isCutOff: true, isController: false })
}

test('a broker that is cut off names all registered brokers and the leaders that it knew last', async () => {
  const made = silentAround()
  cutOff(made)
  const answer = await made.send(metadata, 12, all)
  assert.deepEqual(
    answer.brokers.map(({ nodeId }) => nodeId),
    [1, 2, 3],
  )
  assert.deepEqual(
    answer.topics[0]?.partitions.map(({ errorCode, leaderId, leaderEpoch, isrNodes, offlineReplicas }) => [
      errorName(errorCode),
      leaderId,
      leaderEpoch,
      isrNodes,
      offlineReplicas,
    ]),
    [
      ['NONE', 1, 5, [1, 2, 3], []],
      ['NONE', 2, 7, [2, 3], []],
      // Nobody was ever heard to lead it.
      ['LEADER_NOT_AVAILABLE', -1, -1, [3, 1, 2], []],
    ],
  )
  made.image.apply({ type: 'unregister-broker', nodeId: 3 })
  const later = await made.send(metadata, 12, all)
  assert.deepEqual(
    later.brokers.map(({ nodeId }) => nodeId),
    [1, 2],
    'who was taken out is not there',
  )
})

test('a broker that hears the metadata group leaves out the brokers that it does not hear', async () => {
  const made = silentAround()
  const answer = await made.send(metadata, 12, all)
  assert.deepEqual(
    answer.brokers.map(({ nodeId }) => nodeId),
    [1],
  )
  assert.deepEqual(
    answer.topics[0]?.partitions.map(({ errorCode, leaderId, isrNodes, offlineReplicas }) => [
      errorName(errorCode),
      leaderId,
      isrNodes,
      offlineReplicas,
    ]),
    [
      ['NONE', 1, [1], [2, 3]],
      ['LEADER_NOT_AVAILABLE', -1, [], [2, 3]],
      ['LEADER_NOT_AVAILABLE', -1, [1], [3, 2]],
    ],
  )
})

test('the descriptions of topics and of the cluster tell the same while cut off', async () => {
  const made = silentAround()
  cutOff(made)
  const described = await made.send(describeTopicPartitions, 0, {
    topics: [{ name: 't' }],
    responsePartitionLimit: 10,
    cursor: null,
  })
  assert.deepEqual(
    described.topics[0]?.partitions.map(({ leaderId, leaderEpoch, offlineReplicas }) => [
      leaderId,
      leaderEpoch,
      offlineReplicas,
    ]),
    [
      [1, 5, []],
      [2, 7, []],
      [-1, -1, []],
    ],
  )
  const cluster = await made.send(describeCluster, 2, {
    includeClusterAuthorizedOperations: false,
    endpointType: 1,
    includeFencedBrokers: true,
  })
  assert.deepEqual(
    cluster.brokers.map(({ brokerId, isFenced }) => [brokerId, isFenced]),
    [
      [1, false],
      [2, false],
      [3, false],
    ],
  )
})

test('a coordinator that cannot be heard is named all the same while cut off, and not otherwise', async () => {
  const made = handlerFixture({ 'node.id': String(OWN) }, 3)
  const topicId = 'b2Zmc2V0c29mZnNldHNvZg'
  const name = '__consumer_offsets'
  made.image.apply({ type: 'create-topic', name, topicId, assignments: [[2, 1, 3]], configs: {} })
  made.image.setLeader(1, 2, 3)
  made.dead.add(2).add(3)
  const ask = async () => {
    const { coordinators } = await made.send(findCoordinator, 4, { key: '', keyType: 0, coordinatorKeys: ['g'] })
    return coordinators?.map(({ errorCode, nodeId, host }) => [errorName(errorCode!), nodeId, host])
  }
  assert.deepEqual(await ask(), [['COORDINATOR_NOT_AVAILABLE', -1, '']])
  cutOff(made)
  assert.deepEqual(await ask(), [['NONE', 2, 'broker-2']])
})

test('a broker never calls itself the controller unless it leads the metadata group', async () => {
  const made = silentAround()
  made.standing.isController = true
  assert.equal(advertisedController(made.shard), OWN)
  made.standing.isController = false
  assert.notEqual(advertisedController(made.shard), OWN, 'the image still says so, and the election is not over')
  cutOff(made)
  assert.equal(advertisedController(made.shard), 2)
  made.image.setLeader(0, 3, 5)
  assert.equal(advertisedController(made.shard), 3, 'the last one known')
  const alone = handlerFixture({ 'node.id': String(OWN) }, 1)
  alone.standing.isController = false
  assert.equal(advertisedController(alone.shard), OWN, 'there is nobody else to name')
})

test('who asks a broker that is cut off again and again over one connection is made to ask another', async () => {
  const made = new DataBench()
  const ask = async (connectionId: number) => {
    const answer = await metadata.handle(made.shard, { ...call(3, 12), connectionId }, all)
    return answer === NO_ANSWER ? 'no answer' : answer.brokers.length
  }
  Object.assign(made.shard, { isCutOff: true })
  assert.deepEqual([await ask(1), await ask(1), await ask(2)], [3, 3, 3], 'a client that starts asks more than once')
  made.clock.advance(999)
  assert.equal(await ask(1), 3)
  made.clock.advance(1)
  assert.deepEqual([await ask(1), made.dropped], ['no answer', [1]])
  assert.equal(await ask(3), 3, 'it may come back, when there is nobody else')
  Object.assign(made.shard, { isCutOff: false })
  assert.equal(await ask(2), 3)
  Object.assign(made.shard, { isCutOff: true })
  assert.deepEqual([await ask(2), made.dropped], [3, [1]], 'counted anew')
})

test('a shard that stood still answers when it has what was decided meanwhile', async () => {
  const made = handlerFixture({ 'node.id': String(OWN) }, 3)
  const { promise, resolve } = Promise.withResolvers<void>()
  Object.assign(made.shard, { whenFresh: () => promise })
  const named = { topics: [{ name: 't' }], responsePartitionLimit: 10, cursor: null }
  const answers = Promise.all([made.send(metadata, 12, all), made.send(describeTopicPartitions, 0, named)])
  const topicId = 'dGhlLWlkLW9mLXRoZS10b3A'.slice(0, 22)
  made.image.apply({ type: 'create-topic', name: 't', topicId, assignments: [[1, 2, 3]], configs: {} })
  resolve()
  const [told, described] = await answers
  assert.deepEqual([told.topics.length, errorName(described.topics[0]!.errorCode)], [1, 'NONE'])
})
