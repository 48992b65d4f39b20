import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import { createRequest, fixture, topic } from './fixture.ts'

const TOPIC = 2
const BROKER = 4
const SET = 0
const DELETE = 1
const APPEND = 2
const SUBTRACT = 3

type Change = [name: string, configOperation: number, value: string | null]
type Resource = [type: number, name: string, ...changes: Change[]]

async function withTopics(...names: string[]) {
  const made = fixture()
  await made.controller.createTopics(createRequest(names.map((name) => topic(name))))
  return made
}

async function alter(made: ReturnType<typeof fixture>, resources: Resource[], validateOnly = false) {
  const { responses } = await made.controller.incrementalAlterConfigs({
    resources: resources.map(([resourceType, resourceName, ...changes]) => ({
      resourceType,
      resourceName,
      configs: changes.map(([name, configOperation, value]) => ({ name, configOperation, value })),
    })),
    validateOnly,
  })
  return responses.map(({ errorCode }) => errorName(errorCode))
}

const overrides = (made: ReturnType<typeof fixture>, name: string) =>
  Object.fromEntries(made.image.topicByName(name)?.configs ?? [])

test('configs are set and deleted, and act at once', async () => {
  const made = await withTopics('a')
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', SET, '5'], ['segment.ms', SET, '6']]]), ['NONE'])
  assert.equal(made.image.topicByName('a')?.config.retentionMs, 5)
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', DELETE, null], ['no.such', DELETE, null]]]), [
    'NONE',
  ])
  assert.deepEqual(overrides(made, 'a'), { 'segment.ms': '6' })
  assert.equal(made.image.topicByName('a')?.config.retentionMs, 604_800_000)
})

test('a value equal to the default stays an override', async () => {
  const made = await withTopics('a')
  await alter(made, [[TOPIC, 'a', ['retention.ms', SET, '604800000']]])
  assert.deepEqual(overrides(made, 'a'), { 'retention.ms': '604800000' })
})

test('append begins with the default and skips what is there, subtract may leave nothing', async () => {
  const made = await withTopics('a')
  const key = 'leader.replication.throttled.replicas'
  await alter(made, [[TOPIC, 'a', [key, APPEND, '0:1,1:1']]])
  await alter(made, [[TOPIC, 'a', [key, APPEND, '1:1,2:1']]])
  assert.deepEqual(overrides(made, 'a'), { [key]: '0:1,1:1,2:1' })
  await alter(made, [[TOPIC, 'a', [key, SUBTRACT, '0:1,9:9']]])
  assert.deepEqual(overrides(made, 'a'), { [key]: '1:1,2:1' })
  await alter(made, [[TOPIC, 'a', [key, SUBTRACT, '1:1,2:1']]])
  assert.deepEqual(overrides(made, 'a'), { [key]: '' })
  await alter(made, [[TOPIC, 'a', ['cleanup.policy', SUBTRACT, 'delete']]])
  assert.deepEqual(made.image.topicByName('a')?.config.cleanupPolicy, [])
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', APPEND, '1']]]), ['INVALID_CONFIG'])
})

test('steps of threads are judged for this broker and for all, not for a broker whose numbers nobody here knows', async () => {
  const made = fixture({ 'num.io.threads': '6' }, 2)
  const verdict = (name: string, value: string) => alter(made, [[BROKER, name, ['num.io.threads', SET, value]]], true)
  for (const name of ['1', '']) {
    assert.deepEqual(await verdict(name, '13'), ['INVALID_REQUEST'])
    assert.deepEqual(await verdict(name, '2'), ['INVALID_REQUEST'])
    for (const value of ['3', '12']) assert.deepEqual(await verdict(name, value), ['NONE'])
  }
  assert.deepEqual(await verdict('2', '100'), ['NONE'])
  await alter(made, [[BROKER, '1', ['num.io.threads', SET, '12']]])
  assert.deepEqual(await verdict('1', '24'), ['NONE'], 'from what holds now')
  assert.deepEqual(await verdict('', '100'), ['NONE'], 'its own number goes before the one for all')
  await alter(made, [[BROKER, '1', ['num.io.threads', SET, '24']]])
  const back = await alter(made, [[BROKER, '1', ['num.io.threads', DELETE, null]]])
  assert.deepEqual(back, ['INVALID_REQUEST'], 'back to 6 is less than half')
})

test('a resource is changed whole or not at all, others are not held back', async () => {
  const made = await withTopics('a', 'b')
  const answer = await alter(made, [
    [TOPIC, 'a', ['retention.ms', SET, '5'], ['segment.ms', SET, 'x']],
    [TOPIC, 'b', ['retention.ms', SET, '5']],
  ])
  assert.deepEqual(answer, ['INVALID_CONFIG', 'NONE'])
  assert.deepEqual([overrides(made, 'a'), overrides(made, 'b')], [{}, { 'retention.ms': '5' }])
})

test('a resource or key named twice, and a missing value, are INVALID_REQUEST', async () => {
  const made = await withTopics('a', 'b')
  const set: Change = ['retention.ms', SET, '5']
  assert.deepEqual(
    await alter(made, [
      [TOPIC, 'a', set],
      [TOPIC, 'b', set],
      [TOPIC, 'a', set],
    ]),
    ['INVALID_REQUEST', 'NONE', 'INVALID_REQUEST'],
  )
  assert.deepEqual(await alter(made, [[TOPIC, 'a', set, ['retention.ms', DELETE, null]]]), ['INVALID_REQUEST'])
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', SET, null]]]), ['INVALID_REQUEST'])
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', 9, '1']]]), ['INVALID_REQUEST'])
  assert.deepEqual(await alter(made, [[TOPIC, 'a']]), ['NONE'])
  assert.deepEqual(overrides(made, 'a'), {})
})

test('topics are checked in the order name, value, existence', async () => {
  const made = fixture()
  const bad: Change = ['retention.ms', SET, 'x']
  const good: Change = ['retention.ms', SET, '1']
  const answer = await alter(made, [
    [TOPIC, '', bad],
    [TOPIC, 'a b', bad],
    [TOPIC, 'unknown', bad],
    [TOPIC, 'unknown2', good],
    [TOPIC, 'unknown3', ['no.such', SET, '1']],
    [3, 'x', good],
  ])
  assert.deepEqual(answer, [
    'INVALID_REQUEST',
    'INVALID_TOPIC_EXCEPTION',
    'INVALID_CONFIG',
    'UNKNOWN_TOPIC_OR_PARTITION',
    'INVALID_CONFIG',
    'INVALID_REQUEST',
  ])
})

test('compaction is refused for topics of clients', async () => {
  const made = await withTopics('a')
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['cleanup.policy', APPEND, 'compact']]]), ['INVALID_CONFIG'])
})

test('validateOnly checks and changes nothing', async () => {
  const made = await withTopics('a')
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', SET, '5']]], true), ['NONE'])
  assert.deepEqual(await alter(made, [[TOPIC, 'a', ['retention.ms', SET, 'x']]], true), ['INVALID_CONFIG'])
  assert.deepEqual(overrides(made, 'a'), {})
})

test('broker configs are set for one broker or for all, and give topics their defaults', async () => {
  const made = await withTopics('a')
  assert.deepEqual(await alter(made, [[BROKER, '', ['log.retention.ms', SET, '70']]]), ['NONE'])
  assert.equal(made.image.topicByName('a')?.config.retentionMs, 70)
  assert.deepEqual(await alter(made, [[BROKER, '1', ['log.retention.ms', SET, '60'], ['my.own', SET, 'x']]]), ['NONE'])
  assert.equal(made.image.topicByName('a')?.config.retentionMs, 60)
  assert.equal(made.config.logRetentionMs, 60)
  await alter(made, [[BROKER, '1', ['log.retention.ms', DELETE, null]]])
  assert.equal(made.image.topicByName('a')?.config.retentionMs, 70)
})

test('what a broker cannot take is INVALID_REQUEST', async () => {
  const made = fixture()
  const refused: Resource[] = [
    [BROKER, '1', ['num.partitions', SET, '5']],
    [BROKER, '1', ['message.max.bytes', SET, 'x']],
    [BROKER, '2', ['message.max.bytes', SET, '5']],
    [BROKER, 'x', ['message.max.bytes', SET, '5']],
    [BROKER, '', ['ssl.client.auth', SET, 'none']],
  ]
  assert.deepEqual(
    await alter(made, refused),
    refused.map(() => 'INVALID_REQUEST'),
  )
  assert.deepEqual(await alter(made, [[BROKER, '', ['log.cleanup.policy', SET, 'compact']]]), ['INVALID_REQUEST'])
  assert.deepEqual(await alter(made, [[8, '1', ['some.logger', SET, 'INFO']]]), ['INVALID_CONFIG'])
  assert.equal(made.log.commands.length, 0)
})

test('groups take their configs within the bounds of the broker, also when they do not exist', async () => {
  const made = fixture()
  assert.deepEqual(await alter(made, [[32, 'g', ['consumer.session.timeout.ms', SET, '50000']]]), ['NONE'])
  assert.equal(made.image.resourceConfigs('group', 'g').get('consumer.session.timeout.ms'), '50000')
  assert.deepEqual(await alter(made, [[32, 'g', ['consumer.session.timeout.ms', SET, '44999']]]), ['INVALID_CONFIG'])
  assert.deepEqual(await alter(made, [[32, 'g', ['consumer.heartbeat.interval.ms', SET, '15001']]]), ['INVALID_CONFIG'])
  assert.deepEqual(
    await alter(made, [
      [32, 'g', ['no.such', SET, '1']],
      [32, '', ['consumer.session.timeout.ms', SET, '45000']],
    ]),
    ['INVALID_CONFIG', 'INVALID_REQUEST'],
  )
  assert.deepEqual(
    await alter(made, [
      [16, 'm', ['interval.ms', SET, '1000']],
      [16, 'n', ['interval.ms', SET, '1']],
    ]),
    ['NONE', 'INVALID_REQUEST'],
  )
})

test('the legacy call replaces all overrides, an empty list clears them', async () => {
  const made = await withTopics('a')
  await alter(made, [[TOPIC, 'a', ['retention.ms', SET, '5'], ['segment.ms', SET, '6']]])
  const legacy = async (resourceType: number, resourceName: string, ...configs: [string, string | null][]) => {
    const resources = [{ resourceType, resourceName, configs: configs.map(([name, value]) => ({ name, value })) }]
    const { responses } = await made.controller.alterConfigs({ resources, validateOnly: false })
    return errorName(responses[0]?.errorCode ?? -1)
  }
  assert.equal(await legacy(TOPIC, 'a', ['max.message.bytes', '9']), 'NONE')
  assert.deepEqual(overrides(made, 'a'), { 'max.message.bytes': '9' })
  assert.equal(await legacy(TOPIC, 'a', ['retention.ms', null]), 'INVALID_REQUEST')
  assert.equal(await legacy(TOPIC, 'a', ['retention.ms', '1'], ['retention.ms', '2']), 'INVALID_REQUEST')
  assert.equal(await legacy(TOPIC, 'a', ['retention.ms', 'x']), 'INVALID_CONFIG')
  assert.equal(await legacy(TOPIC, 'no', ['retention.ms', '1']), 'UNKNOWN_TOPIC_OR_PARTITION')
  assert.equal(await legacy(8, '1', ['x', 'INFO']), 'INVALID_REQUEST')
  assert.deepEqual(overrides(made, 'a'), { 'max.message.bytes': '9' })
  assert.equal(await legacy(TOPIC, 'a'), 'NONE')
  assert.deepEqual(overrides(made, 'a'), {})
})

test('a change that changes nothing is not written', async () => {
  const made = await withTopics('a')
  await alter(made, [[TOPIC, 'a', ['retention.ms', SET, '5']]])
  const before = made.log.commands.length
  await alter(made, [[TOPIC, 'a', ['retention.ms', SET, '5']]])
  assert.equal(made.log.commands.length, before)
})

test('a log that refuses is said for what would have changed', async () => {
  const made = await withTopics('a')
  made.log.failure = new Error('full')
  const { responses } = await made.controller.incrementalAlterConfigs({
    resources: [
      { resourceType: TOPIC, resourceName: 'a', configs: [{ name: 'retention.ms', configOperation: SET, value: '5' }] },
    ],
    validateOnly: false,
  })
  assert.equal(responses[0]?.errorCode, ErrorCode.KAFKA_STORAGE_ERROR)
})
