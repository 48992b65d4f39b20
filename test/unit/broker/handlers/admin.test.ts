import assert from 'node:assert/strict'
import { test } from 'node:test'
import { alterConfigs } from '../../../../broker/handlers/alter-configs.ts'
import { apiVersions, apiVersionsTooNew } from '../../../../broker/handlers/api-versions.ts'
import { createPartitions } from '../../../../broker/handlers/create-partitions.ts'
import { createTopics } from '../../../../broker/handlers/create-topics.ts'
import { deleteTopics } from '../../../../broker/handlers/delete-topics.ts'
import { describeCluster } from '../../../../broker/handlers/describe-cluster.ts'
import { describeConfigs } from '../../../../broker/handlers/describe-configs.ts'
import { describeTopicPartitions } from '../../../../broker/handlers/describe-topic-partitions.ts'
import { incrementalAlterConfigs } from '../../../../broker/handlers/incremental-alter-configs.ts'
import { SERVED_APIS } from '../../../../protocol/api.ts'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import type { DescribeTopicPartitionsRequest } from '../../../../protocol/messages/describe-topic-partitions.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'
import { createRequest, topic } from '../cluster/fixture.ts'
import { handlerFixture } from './fixture.ts'

test('ApiVersions lists what is served, Produce from 0', async () => {
  const { send, image } = handlerFixture()
  for (const version of [0, 1, 2, 3, 4]) {
    const answer = await send(apiVersions, version, { clientSoftwareName: 'a', clientSoftwareVersion: '1.0' })
    assert.equal(answer.errorCode, ErrorCode.NONE)
    assert.equal(answer.apiKeys.length, SERVED_APIS.length)
    assert.deepEqual(
      answer.apiKeys.find(({ apiKey }) => apiKey === 0),
      { apiKey: 0, minVersion: 0, maxVersion: 13 },
    )
    if (version < 3) continue
    assert.deepEqual(answer.finalizedFeatures, [{ name: 'metadata.version', maxVersionLevel: 30, minVersionLevel: 30 }])
    assert.equal(answer.finalizedFeaturesEpoch, image.appliedIndex)
  }
})

test('ApiVersions refuses odd software names from version 3 on', async () => {
  const { send } = handlerFixture()
  const ask = (version: number, clientSoftwareName: string, clientSoftwareVersion: string) =>
    send(apiVersions, version, { clientSoftwareName, clientSoftwareVersion })
  for (const [name, version] of [
    ['', '1'],
    ['a b!', '1'],
    ['a', '-1'],
    ['a.', '1'],
  ] as const) {
    const answer = await ask(3, name, version)
    assert.deepEqual([answer.errorCode, answer.apiKeys.length], [ErrorCode.INVALID_REQUEST, 0])
  }
  assert.equal((await ask(4, 'apache-kafka-java', '4.3.0')).errorCode, ErrorCode.NONE)
  assert.equal((await ask(2, '', '')).errorCode, ErrorCode.NONE)
})

test('a version of ApiVersions that is too new learns the ones we know', () => {
  const answer = apiVersionsTooNew()
  assert.equal(answer.errorCode, ErrorCode.UNSUPPORTED_VERSION)
  assert.deepEqual(answer.apiKeys, [{ apiKey: 18, minVersion: 0, maxVersion: 4 }])
})

test('administration is done by the controller, whatever shard it is asked of, in every version', async () => {
  for (let version = 2; version <= 7; version++) {
    const { send, image } = handlerFixture()
    const created = await send(
      createTopics,
      version,
      createRequest([topic('a', { numPartitions: -1, replicationFactor: -1 })]),
    )
    assert.equal(created.topics[0]?.errorCode, ErrorCode.NONE)
    assert.equal(created.topics[0]?.configs?.length ?? 0, version >= 5 ? 33 : 0)
    assert.equal(created.topics[0]?.topicId, version >= 7 ? image.topicByName('a')?.topicId : ZERO_UUID)
  }
  for (let version = 1; version <= 6; version++) {
    const { send, controller, image } = handlerFixture()
    await controller.createTopics(createRequest([topic('a')]))
    const topics = version >= 6 ? [{ name: 'a', topicId: ZERO_UUID }] : []
    const answer = await send(deleteTopics, version, { topics, topicNames: version >= 6 ? [] : ['a'], timeoutMs: 9 })
    assert.deepEqual(
      answer.responses.map(({ name, errorCode }) => [name, errorCode]),
      [['a', 0]],
    )
    assert.equal(image.topicCount, 0)
  }
  for (let version = 0; version <= 3; version++) {
    const { send, controller } = handlerFixture()
    await controller.createTopics(createRequest([topic('a')]))
    const topics = [{ name: 'a', count: 2, assignments: null }]
    const answer = await send(createPartitions, version, { topics, timeoutMs: 9, validateOnly: false })
    assert.deepEqual(answer.results, [{ name: 'a', errorCode: 0, errorMessage: null }])
  }
  const { send, controller, image } = handlerFixture()
  await controller.createTopics(createRequest([topic('a')]))
  const resource = { resourceType: 2, resourceName: 'a' }
  const set = [{ name: 'retention.ms', configOperation: 0, value: '5' }]
  const answer = await send(incrementalAlterConfigs, 1, {
    resources: [{ ...resource, configs: set }],
    validateOnly: false,
  })
  assert.deepEqual(answer.responses, [{ ...resource, errorCode: 0, errorMessage: null }])
  assert.equal(image.topicByName('a')?.config.retentionMs, 5)
  await send(alterConfigs, 2, { resources: [{ ...resource, configs: [] }], validateOnly: false })
  assert.equal(image.topicByName('a')?.configs.size, 0)
})

async function describe(
  made: ReturnType<typeof handlerFixture>,
  resourceType: number,
  resourceName: string,
  about: { keys?: string[] | null; synonyms?: boolean; documentation?: boolean; version?: number } = {},
) {
  const answer = await made.send(describeConfigs, about.version ?? 4, {
    resources: [{ resourceType, resourceName, configurationKeys: about.keys ?? null }],
    includeSynonyms: about.synonyms ?? false,
    includeDocumentation: about.documentation ?? false,
  })
  const [result] = answer.results
  assert.ok(result !== undefined)
  return result
}

test('a topic is described with 33 configs, their types, sources and synonyms', async () => {
  const made = handlerFixture({ 'log.retention.minutes': '2' })
  await made.controller.createTopics(createRequest([topic('a', { configs: [{ name: 'retention.ms', value: '5' }] })]))
  const plain = await describe(made, 2, 'a', { keys: [] })
  assert.equal(plain.errorMessage, '')
  assert.equal(plain.configs.length, 33)
  assert.ok(
    plain.configs.every(
      ({ synonyms, documentation, readOnly }) => synonyms.length === 0 && documentation === null && !readOnly,
    ),
  )
  const { configs } = await describe(made, 2, 'a', {
    keys: ['retention.ms', 'no.such'],
    synonyms: true,
    documentation: true,
  })
  assert.equal(configs.length, 1)
  assert.equal(configs[0]?.value, '5')
  assert.equal(configs[0]?.configType, 5)
  assert.match(configs[0]?.documentation ?? '', /deleted/)
  assert.deepEqual(configs[0]?.synonyms, [
    { name: 'retention.ms', value: '5', source: 1 },
    { name: 'log.retention.minutes', value: '2', source: 4 },
    { name: 'log.retention.hours', value: '168', source: 5 },
  ])
  for (const version of [1, 2, 3]) assert.equal((await describe(made, 2, 'a', { version })).configs.length, 33)
})

test('what cannot be described is said', async () => {
  const made = handlerFixture()
  const error = async (type: number, name: string) => errorName((await describe(made, type, name)).errorCode)
  assert.equal(await error(2, 'no'), 'UNKNOWN_TOPIC_OR_PARTITION')
  assert.equal(await error(2, 'a b'), 'INVALID_TOPIC_EXCEPTION')
  for (const type of [0, 3, 99]) assert.equal(await error(type, 'x'), 'INVALID_REQUEST')
  for (const name of ['2', 'x']) assert.equal(await error(4, name), 'INVALID_REQUEST')
  assert.equal(await error(8, '2'), 'INVALID_REQUEST')
  assert.equal(await error(8, '1'), 'NONE')
})

test('this broker is described in full, other names of it only as set for the cluster', async () => {
  const made = handlerFixture({ 'num.partitions': '4', 'ssl.key.password': 'secret', 'my.own': 'hidden' })
  const resources = [
    { resourceType: 4, resourceName: '', configs: [{ name: 'message.max.bytes', configOperation: 0, value: '9' }] },
  ]
  await made.controller.incrementalAlterConfigs({ resources, validateOnly: false })
  const own = await describe(made, 4, '1', { synonyms: true })
  const find = (name: string) => own.configs.find((config) => config.name === name)
  assert.deepEqual(
    [find('num.partitions')?.value, find('num.partitions')?.readOnly, find('num.partitions')?.configSource],
    ['4', true, 4],
  )
  assert.deepEqual(
    [find('node.id')?.readOnly, find('log.dirs')?.readOnly, find('listeners')?.readOnly],
    [true, true, false],
  )
  assert.deepEqual([find('message.max.bytes')?.value, find('message.max.bytes')?.configSource], ['9', 3])
  assert.deepEqual([find('log.retention.ms')?.value, find('log.retention.ms')?.configSource], [null, 5])
  assert.deepEqual(find('log.retention.ms')?.synonyms, [], 'it has no value that could come from anywhere')
  assert.deepEqual([find('broker.id')?.value, find('broker.id')?.synonyms[0]?.source], ['1', 4])
  assert.equal(find('leader.replication.throttled.rate'), undefined, 'listed where it is set only')
  for (const name of ['ssl.key.password', 'my.own']) {
    assert.deepEqual([find(name)?.value, find(name)?.isSensitive], [null, true])
    assert.ok(find(name)?.synonyms.every(({ value }) => value === null))
  }
  assert.equal(find('ssl.key.password')?.configType, 9)
  const cluster = await describe(made, 4, '')
  assert.deepEqual(
    cluster.configs.map(({ name, value, configSource }) => [name, value, configSource]),
    [['message.max.bytes', '9', 3]],
  )
})

test('groups and client metrics have their defaults before anybody sets them', async () => {
  const made = handlerFixture()
  assert.equal((await describe(made, 32, 'g')).configs.length, 17)
  assert.equal((await describe(made, 16, 'm')).configs.length, 3)
  const configs = [{ name: 'share.isolation.level', configOperation: 0, value: 'read_committed' }]
  await made.controller.incrementalAlterConfigs({
    resources: [{ resourceType: 32, resourceName: 'g', configs }],
    validateOnly: false,
  })
  const [set] = (await describe(made, 32, 'g', { keys: ['share.isolation.level'] })).configs
  assert.deepEqual([set?.value, set?.configSource], ['read_committed', 8])
})

test('the cluster is described to clients of brokers only', async () => {
  const { send } = handlerFixture({}, 2)
  const ask = (version: number, endpointType: number, includeClusterAuthorizedOperations = false) =>
    send(describeCluster, version, { includeClusterAuthorizedOperations, endpointType, includeFencedBrokers: false })
  for (const version of [0, 1, 2]) {
    const answer = await ask(version, 1, true)
    assert.deepEqual(
      [answer.clusterId, answer.controllerId, answer.clusterAuthorizedOperations],
      ['test-cluster', 1, 8096],
    )
    assert.deepEqual(
      answer.brokers.map(({ brokerId, host }) => [brokerId, host]),
      [
        [1, 'broker-1'],
        [2, 'broker-2'],
      ],
    )
  }
  assert.equal((await ask(1, 1)).clusterAuthorizedOperations, -0x8000_0000)
  const mismatched = await ask(1, 2)
  assert.deepEqual(
    [errorName(mismatched.errorCode), mismatched.clusterId, mismatched.controllerId],
    ['MISMATCHED_ENDPOINT_TYPE', '', -1],
  )
  assert.equal(errorName((await ask(1, 7)).errorCode), 'UNSUPPORTED_ENDPOINT_TYPE')
})

async function pages(names: string[], about: Partial<DescribeTopicPartitionsRequest>) {
  const made = handlerFixture()
  await made.controller.createTopics(
    createRequest([topic('b', { numPartitions: 3 }), topic('a', { numPartitions: 2 }), topic('c')]),
  )
  const topics = names.map((name) => ({ name }))
  const request = { topics, responsePartitionLimit: 2000, cursor: null, ...about }
  const answer = await made.send(describeTopicPartitions, 0, request)
  return {
    listed: answer.topics.map(({ name, partitions, errorCode }) =>
      errorCode === 0
        ? `${name} ${partitions.map(({ partitionIndex }) => partitionIndex)}`
        : `${name} ${errorName(errorCode)}`,
    ),
    next: answer.nextCursor === null ? null : `${answer.nextCursor.topicName} ${answer.nextCursor.partitionIndex}`,
    topics: answer.topics,
  }
}

test('topics are listed sorted and once, all of them for an empty list', async () => {
  const all = await pages([], {})
  assert.deepEqual([all.listed, all.next], [['a 0,1', 'b 0,1,2', 'c 0'], null])
  assert.deepEqual(all.topics[0]?.partitions[0]?.eligibleLeaderReplicas, [])
  assert.equal(all.topics[0]?.topicAuthorizedOperations, 3576)
  assert.deepEqual((await pages(['b', 'a', 'b'], {})).listed, ['a 0,1', 'b 0,1,2'])
})

test('a page ends at the limit, and the cursor names the first partition not sent', async () => {
  const first = await pages([], { responsePartitionLimit: 3 })
  assert.deepEqual([first.listed, first.next], [['a 0,1', 'b 0'], 'b 1'])
  const exact = await pages([], { responsePartitionLimit: 2 })
  assert.deepEqual([exact.listed, exact.next], [['a 0,1'], 'b 0'])
  const least = await pages([], { responsePartitionLimit: 0 })
  assert.deepEqual([least.listed, least.next], [['a 0'], 'a 1'])
  const second = await pages([], { cursor: { topicName: 'b', partitionIndex: 1 } })
  assert.deepEqual([second.listed, second.next], [['b 1,2', 'c 0'], null])
})

test('a cursor past the end of a topic or on no topic goes on', async () => {
  assert.deepEqual((await pages([], { cursor: { topicName: 'b', partitionIndex: 9 } })).listed, ['b ', 'c 0'])
  assert.deepEqual((await pages([], { cursor: { topicName: 'ab', partitionIndex: 0 } })).listed, ['b 0,1,2', 'c 0'])
})

test('a cursor outside the list or below 0 is INVALID_REQUEST for every topic', async () => {
  const outside = await pages(['a', 'b'], { cursor: { topicName: 'c', partitionIndex: 0 } })
  assert.deepEqual(outside.listed, ['a INVALID_REQUEST', 'b INVALID_REQUEST'])
  assert.deepEqual((await pages(['a'], { cursor: { topicName: 'a', partitionIndex: -1 } })).listed, [
    'a INVALID_REQUEST',
  ])
})

test('unknown and illegal names are listed and use no room of the page', async () => {
  const answer = await pages(['a b', 'aa', 'b'], { responsePartitionLimit: 3 })
  assert.deepEqual(answer.listed, ['a b INVALID_TOPIC_EXCEPTION', 'aa UNKNOWN_TOPIC_OR_PARTITION', 'b 0,1,2'])
})
