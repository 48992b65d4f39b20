import assert from 'node:assert/strict'
import { test } from 'node:test'
import { alterPartitionReassignments } from '../../../../broker/handlers/alter-partition-reassignments.ts'
import type { Api, CallContext } from '../../../../broker/handlers/api.ts'
import { advertisedController } from '../../../../broker/handlers/controller-of.ts'
import { describeCluster } from '../../../../broker/handlers/describe-cluster.ts'
import { describeQuorum } from '../../../../broker/handlers/describe-quorum.ts'
import { electLeaders } from '../../../../broker/handlers/elect-leaders.ts'
import { incrementalAlterConfigs } from '../../../../broker/handlers/incremental-alter-configs.ts'
import { listPartitionReassignments } from '../../../../broker/handlers/list-partition-reassignments.ts'
import { unregisterBroker } from '../../../../broker/handlers/unregister-broker.ts'
import { BrokerUnreachable, type QuorumState, type ShardContext } from '../../../../broker/shard/context.ts'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'
import { silent } from '../cluster/fixture.ts'
import { type HandlerFixture, handlerFixture } from './fixture.ts'

/** A topic with these replicas; the group numbers begin at 1. */
function withTopic(made: HandlerFixture, assignments: readonly (readonly number[])[]): HandlerFixture {
  made.image.apply({ type: 'create-topic', name: 't', topicId: 'id-of-t', assignments, configs: {} })
  return made
}

interface Transfer {
  readonly nodeId: number
  readonly shardId: number
  readonly groupId: number
  readonly to: number
}

/** Leaders on other brokers: they note what they are asked to hand over, and answer with `outcome`. */
function withLeaders(made: HandlerFixture, outcome: () => ErrorCode | 'unreachable'): Transfer[] {
  const transfers: Transfer[] = []
  const remote = {
    async askBroker<Req, Res>(
      nodeId: number,
      shardId: number,
      api: Api<Req, Res>,
      call: CallContext,
      request: Req,
    ): Promise<Res> {
      const served = {
        image: made.image,
        config: { nodeId },
        partition: (groupId: number) => ({
          isLeader: true,
          async transferLeadership(to: number) {
            const result = outcome()
            if (result === 'unreachable') throw new BrokerUnreachable(nodeId)
            transfers.push({ nodeId, shardId, groupId, to })
            return result
          },
        }),
      }
      assert.ok(api.serve)
      return api.serve(served as unknown as ShardContext, call, request)
    },
  }
  Object.assign(made.shard, remote)
  return transfers
}

const preferred = (partitions: number[]) => ({
  electionType: 0,
  topicPartitions: [{ topic: 't', partitions }],
  timeoutMs: 1000,
})

test('an election asks each leader once, for the partitions that its preferred replica could take', async () => {
  const made = withTopic(handlerFixture({}, 3), [
    [2, 1],
    [3, 1],
    [1, 2],
    [2, 3],
    [3, 2],
  ])
  const transfers = withLeaders(made, () => ErrorCode.NONE)
  made.image.setLeader(1, 1, 1, [1, 2])
  made.image.setLeader(2, 1, 1, [1])
  made.image.setLeader(4, 3, 1, [3, 2])
  made.dead.add(1)
  made.image.setLeader(5, 2, 1, [2, 3])
  made.image.setLeader(3, 2, 1, [2])
  const answer = await made.send(electLeaders, 2, preferred([0, 1, 2, 3, 4, 5]))
  const outcomes = answer.replicaElectionResults[0]?.partitionResult.map(({ partitionId, errorCode }) => {
    return `${partitionId} ${errorName(errorCode)}`
  })
  assert.deepEqual(outcomes, [
    '0 PREFERRED_LEADER_NOT_AVAILABLE',
    '1 PREFERRED_LEADER_NOT_AVAILABLE',
    '2 PREFERRED_LEADER_NOT_AVAILABLE',
    '3 NONE',
    '4 NONE',
    '5 UNKNOWN_TOPIC_OR_PARTITION',
  ])
  assert.deepEqual(transfers, [
    { nodeId: 3, shardId: 0, groupId: 4, to: 2 },
    { nodeId: 2, shardId: 0, groupId: 5, to: 3 },
  ])
})

test('an election says what the leader said, and that nothing changed when it cannot be asked', async () => {
  let outcome: ErrorCode | 'unreachable' = ErrorCode.NOT_LEADER_OR_FOLLOWER
  const made = withTopic(handlerFixture({}, 2), [[2, 1]])
  withLeaders(made, () => outcome)
  made.image.setLeader(1, 1, 1, [1, 2])
  const first = await made.send(electLeaders, 1, preferred([0]))
  assert.equal(first.replicaElectionResults[0]?.partitionResult[0]?.errorCode, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  outcome = 'unreachable'
  const second = await made.send(electLeaders, 1, preferred([0]))
  assert.equal(
    second.replicaElectionResults[0]?.partitionResult[0]?.errorCode,
    ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
  )
})

test('an election of all moves those that are not as they should be, and names no others', async () => {
  const made = withTopic(handlerFixture({}, 2), [
    [1, 2],
    [2, 1],
  ])
  const transfers = withLeaders(made, () => ErrorCode.NONE)
  made.image.setLeader(1, 1, 1, [1, 2])
  made.image.setLeader(2, 1, 1, [1, 2])
  const answer = await made.send(electLeaders, 2, { electionType: 0, topicPartitions: null, timeoutMs: 1000 })
  assert.deepEqual(answer.replicaElectionResults, [
    { topic: 't', partitionResult: [{ partitionId: 1, errorCode: ErrorCode.NONE, errorMessage: null }] },
  ])
  assert.equal(transfers.length, 1)
})

test('an unclean election has nothing to elect: with a leader it is needless, without one nobody may lead', async () => {
  const made = withTopic(handlerFixture({}, 2), [
    [2, 1],
    [1, 2],
  ])
  made.image.setLeader(1, 2, 1)
  made.image.setLeader(2, 1, 1)
  made.dead.add(2)
  const answer = await made.send(electLeaders, 2, { ...preferred([0, 1]), electionType: 1 })
  assert.deepEqual(
    answer.replicaElectionResults[0]?.partitionResult.map(({ errorCode }) => errorName(errorCode)),
    ['ELIGIBLE_LEADERS_NOT_AVAILABLE', 'ELECTION_NOT_NEEDED'],
  )
})

test('moves are listed while they run, by name or all of them', async () => {
  const made = withTopic(handlerFixture({}, 3), [[1], [1], [2]])
  const { responses } = await made.send(alterPartitionReassignments, 1, {
    timeoutMs: 1000,
    allowReplicationFactorChange: true,
    topics: [
      {
        name: 't',
        partitions: [
          { partitionIndex: 0, replicas: [2, 3] },
          { partitionIndex: 2, replicas: [3] },
        ],
      },
    ],
  })
  assert.deepEqual(
    responses[0]?.partitions.map(({ errorCode }) => errorCode),
    [0, 0],
  )
  const listed = async (topics: { name: string; partitionIndexes: number[] }[] | null) =>
    (await made.send(listPartitionReassignments, 0, { timeoutMs: 1000, topics })).topics
  const first = { partitionIndex: 0, replicas: [2, 3, 1], addingReplicas: [2, 3], removingReplicas: [1] }
  const third = { partitionIndex: 2, replicas: [3, 2], addingReplicas: [3], removingReplicas: [2] }
  assert.deepEqual(await listed(null), [{ name: 't', partitions: [first, third] }])
  assert.deepEqual(await listed([{ name: 't', partitionIndexes: [1, 2] }]), [{ name: 't', partitions: [third] }])
  assert.deepEqual(
    await listed([
      { name: 't', partitionIndexes: [1] },
      { name: 'no', partitionIndexes: [0] },
    ]),
    [],
  )
  made.image.apply({ type: 'complete-reassignment', groupId: 1, targetReplicas: [2, 3] })
  assert.deepEqual(await listed(null), [{ name: 't', partitions: [third] }])
})

test('a dead broker is told as fenced where the client asks for such, and is no controller', async () => {
  const made = handlerFixture({}, 3)
  made.image.setLeader(0, 3, 5)
  const ask = (version: number, includeFencedBrokers = false) =>
    made.send(describeCluster, version, {
      includeClusterAuthorizedOperations: false,
      endpointType: 1,
      includeFencedBrokers,
    })
  assert.equal((await ask(2)).controllerId, 3)
  made.dead.add(3)
  const answer = await ask(2)
  assert.deepEqual([answer.controllerId, answer.brokers.map(({ brokerId }) => brokerId)], [2, [1, 2]])
  const all = await ask(2, true)
  assert.deepEqual(
    all.brokers.map(({ isFenced }) => isFenced),
    [false, false, true],
  )
  made.dead.add(1).add(2)
  assert.equal(advertisedController(made.shard), 3)
})

test('the quorum is told by the leader of the metadata group, with the addresses brokers use among themselves', async () => {
  const made = handlerFixture({}, 2)
  const peer = { host: 'peer', port: 7 }
  const registration = {
    type: 'register-broker',
    nodeId: 2,
    host: 'h',
    port: 1,
    rack: null,
    endpoints: [],
    peer,
  } as const
  made.image.apply(registration)
  const member = { directoryId: '', lastHeardMs: 11, lastCaughtUpMs: 9 }
  const state: QuorumState = {
    leaderId: 1,
    leaderEpoch: 4,
    commitIndex: 20,
    voters: [
      { ...member, nodeId: 1, lastIndex: 21 },
      { ...member, nodeId: 2, lastIndex: 20, directoryId: 'AAAAAAAAAAAAAAAAAAAAAQ' },
    ],
    observers: [],
  }
  Object.assign(made.shard, { quorum: () => state })
  const request = { topics: [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }] }
  const answer = await made.send(describeQuorum, 2, request)
  const partition = answer.topics[0]?.partitions[0]
  assert.deepEqual([partition?.leaderId, partition?.leaderEpoch, partition?.highWatermark], [1, 4, 21])
  assert.deepEqual(partition?.currentVoters, [
    { replicaId: 1, replicaDirectoryId: ZERO_UUID, logEndOffset: 22, lastFetchTimestamp: 11, lastCaughtUpTimestamp: 9 },
    {
      replicaId: 2,
      replicaDirectoryId: 'AAAAAAAAAAAAAAAAAAAAAQ',
      logEndOffset: 21,
      lastFetchTimestamp: 11,
      lastCaughtUpTimestamp: 9,
    },
  ])
  assert.deepEqual(answer.nodes, [
    { nodeId: 1, listeners: [] },
    { nodeId: 2, listeners: [{ name: 'CONTROLLER', ...peer }] },
  ])
  Object.assign(made.shard, { quorum: () => undefined })
  assert.equal((await made.send(describeQuorum, 2, request)).errorCode, ErrorCode.NOT_LEADER_OR_FOLLOWER)
})

test('a broker leaves through the controller', async () => {
  const made = handlerFixture({}, 2)
  made.dead.add(2)
  const answer = await made.send(unregisterBroker, 0, { brokerId: 2 })
  assert.deepEqual([answer.errorCode, made.image.broker(2)], [ErrorCode.NONE, undefined])
})

test('the level of the log is changed where it was asked for, and only when all of the request can be', async () => {
  const made = handlerFixture()
  const ask = async (validateOnly: boolean, ...levels: [string, string][]) => {
    const configs = levels.map(([name, value]) => ({ name, configOperation: 0, value }))
    const resources = [{ resourceType: 8, resourceName: '1', configs }]
    const answer = await made.send(incrementalAlterConfigs, 1, { resources, validateOnly })
    return [errorName(answer.responses[0]!.errorCode), made.shard.environment.logger.threshold?.level]
  }
  assert.deepEqual(await ask(true, ['root', 'DEBUG']), ['NONE', 'WARN'])
  assert.deepEqual(await ask(false, ['root', 'DEBUG'], ['other', 'INFO']), ['INVALID_CONFIG', 'WARN'])
  assert.deepEqual(await ask(false, ['root', 'DEBUG']), ['NONE', 'DEBUG'])
  Object.assign(made.shard, { environment: { logger: silent } })
  assert.deepEqual(await ask(false, ['root', 'INFO']), ['INVALID_CONFIG', undefined], 'whose log nobody can change')
})

test('any broker takes a config for any registered broker, names unknown ones, and keeps loggers for itself', async () => {
  const made = handlerFixture({}, 2)
  const set = (name: string, value: string) => ({ name, configOperation: 0, value })
  const answer = await made.send(incrementalAlterConfigs, 1, {
    validateOnly: false,
    resources: [
      { resourceType: 4, resourceName: '9', configs: [set('millrace.broker.draining', 'true')] },
      { resourceType: 4, resourceName: '2', configs: [set('millrace.broker.draining', 'true')] },
      { resourceType: 8, resourceName: '2', configs: [set('root', 'INFO')] },
      { resourceType: 4, resourceName: '', configs: [set('message.max.bytes', '1000')] },
      { resourceType: 4, resourceName: '1', configs: [set('node.id', '4')] },
    ],
  })
  assert.deepEqual(
    answer.responses.map(({ resourceName, errorCode, errorMessage }) => [
      resourceName,
      errorName(errorCode),
      errorMessage,
    ]),
    [
      ['9', 'INVALID_REQUEST', 'Unexpected broker id, expected 1, but received 9'],
      ['2', 'NONE', null],
      ['2', 'INVALID_REQUEST', 'Unexpected node id. Expected 1, but received 2'],
      ['', 'NONE', null],
      ['1', 'INVALID_REQUEST', 'Cannot update these configs dynamically: [node.id]'],
    ],
  )
  assert.deepEqual([made.image.isDraining(1), made.image.isDraining(2)], [false, true])
  assert.equal(made.config.messageMaxBytes, 1000)
  const forAll = await made.send(incrementalAlterConfigs, 1, {
    validateOnly: false,
    resources: [{ resourceType: 4, resourceName: '', configs: [set('millrace.broker.draining', 'true')] }],
  })
  assert.equal(forAll.responses[0]?.errorCode, ErrorCode.INVALID_REQUEST)
})
