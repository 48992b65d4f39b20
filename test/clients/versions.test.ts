// The whole life of a topic, its records and a group, once at each version: the lowest of every API, then one higher, and
// so on to the highest. Frames are built and read with protocol/; an answer must be decoded to its last byte.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ApiKey, apiName, SERVED_APIS, servedApi } from '../../protocol/api.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import type { Fields, Input, Value } from '../../protocol/schema.ts'
import { eventually } from '../support/process.ts'
import { Bytes, decodeRecords, recordBatch } from '../support/raw.ts'
import { openTarget, type Target } from '../support/target.ts'
import { type ApiPair, api, Wire } from '../support/wire.ts'

const memberIdRequired = 79
const topicResource = 2

/** What a consumer sends and gets: Kafka parses the subscription, and never answers one that it cannot parse. */
const subscriptionOf = (topic: string) => new Bytes().int16(0).int32(1).string(topic).bytes(null).done()
const assignmentOf = (topic: string) => new Bytes().int16(0).int32(1).string(topic).int32(1).int32(0).bytes(null).done()

/** Calls APIs at `min + step`, or at their highest version where that is less. */
class Caller {
  readonly #wire: Wire
  readonly #step: number
  readonly used = new Set<string>()

  constructor(wire: Wire, step: number) {
    this.#wire = wire
    this.#step = step
  }

  version(apiKey: number): number {
    const served = servedApi(apiKey)
    if (served === undefined) throw new Error(`${apiName(apiKey)} is not served`)
    return Math.min(served.minVersion + this.#step, served.maxVersion)
  }

  async call<Q extends Fields, A extends Fields>(pair: ApiPair<Q, A>, body: Input<Q>): Promise<Value<A>> {
    const { apiKey } = pair.request
    const version = this.version(apiKey)
    const answer = await this.#wire.call(pair, version, body, { clientId: 'versions', timeoutMs: 10_000 })
    this.used.add(`${apiName(apiKey)} v${version}`)
    return answer
  }
}

describe('every version of every API that is served', () => {
  let target: Target
  const covered = new Set<string>()

  before(async () => {
    target = await openTarget()
  })

  after(async () => {
    await target?.close()
  })

  const steps = Math.max(...SERVED_APIS.map(({ minVersion, maxVersion }) => maxVersion - minVersion))
  for (let step = 0; step <= steps; step++) {
    const name =
      step === 0 ? 'the lowest versions' : step === steps ? 'the highest versions' : `versions ${step} above the lowest`
    test(`a topic, its records and a group live at ${name}`, async () => {
      const wire = await Wire.open(target)
      const caller = new Caller(wire, step)
      try {
        await liveAndDie(caller, `versions-${process.pid}-${step}`, target.port)
      } finally {
        wire.close()
      }
      for (const used of caller.used) covered.add(used)
    })
  }

  test('that was every one of them', () => {
    const wanted = SERVED_APIS.flatMap(({ apiKey, minVersion, maxVersion }) => {
      return Array.from(
        { length: maxVersion - minVersion + 1 },
        (_, index) => `${apiName(apiKey)} v${minVersion + index}`,
      )
    })
    assert.deepEqual(
      wanted.filter((version) => !covered.has(version)),
      [],
    )
  })
})

async function liveAndDie(caller: Caller, topic: string, port: number): Promise<void> {
  const versions = await caller.call(api.apiVersions, {
    clientSoftwareName: 'versions',
    clientSoftwareVersion: '1',
  })
  assert.equal(versions.errorCode, 0)
  for (const { apiKey, advertisedMinVersion, maxVersion } of SERVED_APIS) {
    const listed = versions.apiKeys.find((entry) => entry.apiKey === apiKey)
    assert.deepEqual([listed?.minVersion, listed?.maxVersion], [advertisedMinVersion, maxVersion], apiName(apiKey))
  }
  const topicId = await createdTopic(caller, topic, port)
  await records(caller, topic, topicId)
  await configs(caller, topic)
  await replicas(caller, topic)
  await group(caller, topic, topicId, `${topic}-group`)
  const byId = caller.version(ApiKey.DeleteTopics) >= 6
  const deleted = await caller.call(api.deleteTopics, {
    topics: byId ? [{ name: null, topicId }] : [],
    topicNames: [topic],
    timeoutMs: 30_000,
  })
  assert.deepEqual(
    deleted.responses.map(({ name, errorCode }) => [name, errorCode]),
    [[topic, 0]],
  )
}

/** Creates the topic, looks at it in every way, and gives its id (the zero id where no version in use tells it). */
async function createdTopic(caller: Caller, topic: string, port: number): Promise<string> {
  const created = await caller.call(api.createTopics, {
    topics: [
      {
        name: topic,
        numPartitions: 2,
        replicationFactor: 1,
        assignments: [],
        configs: [{ name: 'retention.ms', value: '100000' }],
      },
    ],
    timeoutMs: 30_000,
  })
  assert.deepEqual(
    created.topics.map(({ name, errorCode }) => [name, errorCode]),
    [[topic, 0]],
  )
  if (caller.version(ApiKey.CreateTopics) >= 5) {
    assert.equal(created.topics[0]?.numPartitions, 2)
    assert.ok(created.topics[0]?.configs?.some(({ name, value }) => name === 'retention.ms' && value === '100000'))
  }
  const metadata = await eventually('leaders', 10_000, async () => {
    const answer = await caller.call(api.metadata, {
      topics: [{ name: topic }],
      allowAutoTopicCreation: false,
    })
    const [found] = answer.topics
    return found?.errorCode === 0 && found.partitions.every(({ errorCode }) => errorCode === 0) ? answer : undefined
  })
  assert.deepEqual(
    metadata.brokers.map((broker) => broker.port),
    [port],
  )
  assert.deepEqual(
    metadata.topics[0]?.partitions.map(({ partitionIndex, isrNodes }) => [partitionIndex, isrNodes.length]).sort(),
    [
      [0, 1],
      [1, 1],
    ],
  )
  const cluster = await caller.call(api.describeCluster, {
    includeClusterAuthorizedOperations: true,
  })
  assert.equal(cluster.brokers.length, 1)
  assert.ok(metadata.clusterId === null || metadata.clusterId === cluster.clusterId)
  const listed = await caller.call(api.describeTopicPartitions, {
    topics: [{ name: topic }],
  })
  assert.deepEqual(
    listed.topics[0]?.partitions.map(({ partitionIndex }) => partitionIndex),
    [0, 1],
  )
  const grown = await caller.call(api.createPartitions, {
    topics: [{ name: topic, count: 3, assignments: null }],
    timeoutMs: 30_000,
    validateOnly: false,
  })
  assert.deepEqual(
    grown.results.map(({ errorCode }) => errorCode),
    [0],
  )
  return listed.topics[0]?.topicId ?? ''
}

async function records(caller: Caller, topic: string, topicId: string): Promise<void> {
  const producer = await eventually('a producer id', 10_000, async () => {
    const answer = await caller.call(api.initProducerId, {
      transactionalId: null,
      transactionTimeoutMs: 60_000,
    })
    return answer.errorCode === 0 ? answer : undefined
  })
  const { producerId, producerEpoch } = producer
  const values = ['a', 'b', 'c'].map((text) => Buffer.from(text))
  const timestampMs = Date.now() - 1000
  const batch = recordBatch({ values, producerId, producerEpoch, baseSequence: 0, timestampMs })
  const produced = await eventually('the leader to take it', 10_000, async () => {
    const answer = await caller.call(api.produce, {
      acks: -1,
      timeoutMs: 30_000,
      topicData: [{ name: topic, topicId, partitionData: [{ index: 0, records: batch }] }],
    })
    const part = answer.responses[0]?.partitionResponses[0]
    return part?.errorCode === 3 || part?.errorCode === 6 ? undefined : part
  })
  assert.deepEqual([produced.errorCode, produced.baseOffset], [0, 0])
  const fetched = await caller.call(api.fetch, {
    maxWaitMs: 100,
    minBytes: 1,
    maxBytes: 1 << 20,
    sessionId: 0,
    topics: [{ topic, topicId, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1 << 20 }] }],
    forgottenTopicsData: [],
  })
  assert.equal(fetched.errorCode, 0)
  const part = fetched.responses[0]?.partitions[0]
  assert.deepEqual([part?.errorCode, part?.highWatermark], [0, 3])
  assert.deepEqual(
    decodeRecords(Buffer.from(part?.records ?? [])).map(({ offset, value }) => [offset, value?.toString()]),
    [
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ],
  )
  const offsetAt = async (timestamp: number) => {
    const answer = await caller.call(api.listOffsets, {
      replicaId: -1,
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }],
      timeoutMs: 30_000,
    })
    const found = answer.topics[0]?.partitions[0]
    return [found?.errorCode, found?.offset]
  }
  assert.deepEqual(await offsetAt(-1), [0, 3])
  assert.deepEqual(await offsetAt(timestampMs), [0, 0])
  const epochs = await caller.call(api.offsetForLeaderEpoch, {
    topics: [{ topic, partitions: [{ partition: 0, leaderEpoch: 1_000_000 }] }],
  })
  assert.deepEqual(
    epochs.topics[0]?.partitions.map(({ errorCode, endOffset }) => [errorCode, endOffset]),
    [[0, -1]],
  )
  const producers = await caller.call(api.describeProducers, {
    topics: [{ name: topic, partitionIndexes: [0] }],
  })
  const [active] = producers.topics[0]?.partitions[0]?.activeProducers ?? []
  assert.deepEqual([active?.producerId, active?.producerEpoch, active?.lastSequence], [producerId, producerEpoch, 2])
  const deleted = await caller.call(api.deleteRecords, {
    topics: [{ name: topic, partitions: [{ partitionIndex: 0, offset: 2 }] }],
    timeoutMs: 30_000,
  })
  assert.deepEqual(
    deleted.topics[0]?.partitions.map(({ errorCode, lowWatermark }) => [errorCode, lowWatermark]),
    [[0, 2]],
  )
  assert.deepEqual(await offsetAt(-2), [0, 2])
  const logDirs = await caller.call(api.describeLogDirs, {
    topics: [{ topic, partitions: [0] }],
  })
  assert.deepEqual(
    logDirs.results.flatMap(({ topics }) =>
      topics.flatMap(({ partitions }) => partitions.map(({ offsetLag }) => offsetLag)),
    ),
    [0],
  )
}

async function configs(caller: Caller, topic: string): Promise<void> {
  const read = async () => {
    const resources = [
      { resourceType: topicResource, resourceName: topic, configurationKeys: ['retention.ms', 'segment.bytes'] },
    ]
    const answer = await caller.call(api.describeConfigs, {
      resources,
      includeSynonyms: true,
    })
    assert.equal(answer.results[0]?.errorCode, 0)
    const entries = answer.results[0]?.configs.map(({ name, value, configSource }) => [name, value, configSource]) ?? []
    return entries.sort()
  }
  const settled = (wanted: unknown) =>
    eventually('the configs', 10_000, async () =>
      JSON.stringify(await read()) === JSON.stringify(wanted) ? true : undefined,
    )
  await settled([
    ['retention.ms', '100000', 1],
    ['segment.bytes', '1073741824', 5],
  ])
  const incremental = await caller.call(api.incrementalAlterConfigs, {
    resources: [
      {
        resourceType: topicResource,
        resourceName: topic,
        configs: [{ name: 'segment.bytes', configOperation: 0, value: '2000000' }],
      },
    ],
    validateOnly: false,
  })
  assert.deepEqual(
    incremental.responses.map(({ errorCode }) => errorCode),
    [0],
  )
  await settled([
    ['retention.ms', '100000', 1],
    ['segment.bytes', '2000000', 1],
  ])
  const replaced = await caller.call(api.alterConfigs, {
    resources: [
      { resourceType: topicResource, resourceName: topic, configs: [{ name: 'retention.ms', value: '200000' }] },
    ],
    validateOnly: false,
  })
  assert.deepEqual(
    replaced.responses.map(({ errorCode }) => errorCode),
    [0],
  )
  await settled([
    ['retention.ms', '200000', 1],
    ['segment.bytes', '1073741824', 5],
  ])
}

/** What moves replicas and leaders, where there is only one broker: nothing to do, and said so. */
async function replicas(caller: Caller, topic: string): Promise<void> {
  const moved = await caller.call(api.alterPartitionReassignments, {
    topics: [{ name: topic, partitions: [{ partitionIndex: 0, replicas: null }] }],
  })
  assert.equal(moved.responses[0]?.partitions[0]?.errorCode, ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
  const moving = await caller.call(api.listPartitionReassignments, {
    topics: [{ name: topic, partitionIndexes: [0] }],
  })
  assert.deepEqual([moving.errorCode, moving.topics], [0, []])
  const elected = await caller.call(api.electLeaders, {
    topicPartitions: [{ topic, partitions: [0] }],
  })
  assert.equal(elected.replicaElectionResults[0]?.partitionResult[0]?.errorCode, ErrorCode.ELECTION_NOT_NEEDED)
  const quorum = await caller.call(api.describeQuorum, {
    topics: [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }],
  })
  assert.equal(quorum.topics[0]?.partitions[0]?.currentVoters.length, 1)
  const unknown = await caller.call(api.unregisterBroker, { brokerId: 77 })
  assert.equal(unknown.errorCode, ErrorCode.BROKER_ID_NOT_REGISTERED)
}

async function group(caller: Caller, topic: string, topicId: string, groupId: string): Promise<void> {
  await eventually('a coordinator', 20_000, async () => {
    const found = await caller.call(api.findCoordinator, {
      key: groupId,
      coordinatorKeys: [groupId],
    })
    const entry = caller.version(ApiKey.FindCoordinator) >= 4 ? found.coordinators[0] : found
    return entry?.errorCode === 0 && entry.port > 0 ? true : undefined
  })
  const join = (memberId: string) =>
    caller.call(api.joinGroup, {
      groupId,
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
      memberId,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: subscriptionOf(topic) }],
    })
  const joined = await eventually('the group to be joined', 20_000, async () => {
    const first = await join('')
    if (first.errorCode === memberIdRequired) return await join(first.memberId)
    return first.errorCode === 14 || first.errorCode === 16 ? undefined : first
  })
  assert.deepEqual(
    [joined.errorCode, joined.generationId, joined.protocolName, joined.leader],
    [0, 1, 'range', joined.memberId],
  )
  assert.deepEqual(
    joined.members.map(({ metadata }) => Buffer.from(metadata)),
    [subscriptionOf(topic)],
  )
  const { memberId, generationId } = joined
  const synced = await caller.call(api.syncGroup, {
    groupId,
    generationId,
    memberId,
    protocolType: 'consumer',
    protocolName: 'range',
    assignments: [{ memberId, assignment: assignmentOf(topic) }],
  })
  assert.deepEqual([synced.errorCode, Buffer.from(synced.assignment)], [0, assignmentOf(topic)])
  assert.equal((await caller.call(api.heartbeat, { groupId, generationId, memberId })).errorCode, 0)
  const committed = await caller.call(api.offsetCommit, {
    groupId,
    generationIdOrMemberEpoch: generationId,
    memberId,
    topics: [
      { name: topic, topicId, partitions: [{ partitionIndex: 0, committedOffset: 2, committedMetadata: 'note' }] },
    ],
  })
  assert.deepEqual(
    committed.topics[0]?.partitions.map(({ errorCode }) => errorCode),
    [0],
  )
  assert.deepEqual(await offsetOf(caller, topic, topicId, groupId), [2, 'note'])
  const described = await caller.call(api.describeGroups, { groups: [groupId] })
  assert.deepEqual(
    described.groups.map(({ errorCode, groupState, members }) => [errorCode, groupState, members.length]),
    [[0, 'Stable', 1]],
  )
  const listed = await caller.call(api.listGroups, { statesFilter: [], typesFilter: [] })
  assert.ok(listed.groups.some((entry) => entry.groupId === groupId))
  const left = await caller.call(api.leaveGroup, { groupId, memberId, members: [{ memberId }] })
  assert.equal(left.errorCode, 0)
  const forgotten = await caller.call(api.offsetDelete, {
    groupId,
    topics: [{ name: topic, partitions: [{ partitionIndex: 0 }] }],
  })
  assert.equal(forgotten.errorCode, 0)
  assert.deepEqual(await offsetOf(caller, topic, topicId, groupId), [-1, ''])
  const deleted = await caller.call(api.deleteGroups, { groupsNames: [groupId] })
  assert.equal(deleted.results[0]?.groupId, groupId)
  assert.ok([0, 69].includes(deleted.results[0]?.errorCode ?? -1), 'without members and offsets it may be gone already')
}

async function offsetOf(
  caller: Caller,
  topic: string,
  topicId: string,
  groupId: string,
): Promise<[number | undefined, string | null | undefined]> {
  const partitionIndexes = [0]
  const answer = await caller.call(api.offsetFetch, {
    groupId,
    topics: [{ name: topic, partitionIndexes }],
    groups: [{ groupId, topics: [{ name: topic, topicId, partitionIndexes }] }],
  })
  const topics = caller.version(ApiKey.OffsetFetch) >= 8 ? answer.groups[0]?.topics : answer.topics
  const part = topics?.[0]?.partitions[0]
  assert.equal(part?.errorCode, 0)
  return [part?.committedOffset, part?.metadata]
}
