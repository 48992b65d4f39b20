import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ensureOffsetsTopic } from '../../../../broker/handlers/auto-create.ts'
import { metadata } from '../../../../broker/handlers/metadata.ts'
import { errorName } from '../../../../protocol/errors.ts'
import type { MetadataRequest } from '../../../../protocol/messages/metadata.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'
import { createRequest, topic } from '../cluster/fixture.ts'
import { type HandlerFixture, handlerFixture } from './fixture.ts'

const NOT_ASKED = -0x8000_0000
const named = (...names: string[]) => names.map((name) => ({ topicId: ZERO_UUID, name: name as string | null }))
const ask = (topics: MetadataRequest['topics'], about: Partial<MetadataRequest> = {}): MetadataRequest => ({
  topics,
  allowAutoTopicCreation: false,
  includeClusterAuthorizedOperations: false,
  includeTopicAuthorizedOperations: false,
  ...about,
})

async function withTopics(...names: string[]): Promise<HandlerFixture> {
  const made = handlerFixture()
  await made.controller.createTopics(createRequest(names.map((name) => topic(name, { numPartitions: 2 }))))
  return made
}

const namesOf = (answer: { topics: { name: string | null; errorCode: number }[] }) =>
  answer.topics.map(({ name, errorCode }) => `${name} ${errorName(errorCode)}`)

test('null means all topics, and so does an empty list in version 0 only', async () => {
  const made = await withTopics('a', 'b')
  assert.deepEqual(namesOf(await made.send(metadata, 0, ask([]))), ['a NONE', 'b NONE'])
  assert.deepEqual(namesOf(await made.send(metadata, 1, ask(null))), ['a NONE', 'b NONE'])
  const brokersOnly = await made.send(metadata, 1, ask([]))
  assert.deepEqual(namesOf(brokersOnly), [])
  assert.deepEqual(brokersOnly.brokers, [{ nodeId: 1, host: 'broker-1', port: 9092, rack: null }])
})

test('every version carries what it has room for', async () => {
  const made = await withTopics('a')
  for (let version = 0; version <= 13; version++) {
    const answer = await made.send(metadata, version, ask(named('a')))
    assert.deepEqual(namesOf(answer), ['a NONE'])
    assert.equal(answer.clusterId, version >= 2 ? 'test-cluster' : null)
    assert.equal(answer.controllerId, version >= 1 ? 1 : -1)
    assert.equal(answer.topics[0]?.topicId, version >= 10 ? made.image.topicByName('a')?.topicId : ZERO_UUID)
    assert.deepEqual(answer.topics[0]?.partitions[1]?.replicaNodes, [1])
  }
})

test('unknown and illegal names are said, a name twice is listed once', async () => {
  const made = await withTopics('a')
  const answer = await made.send(metadata, 9, ask(named('a', 'no', 'a b', '', 'a')))
  assert.deepEqual(namesOf(answer), [
    'a NONE',
    'no UNKNOWN_TOPIC_OR_PARTITION',
    'a b INVALID_TOPIC_EXCEPTION',
    ' INVALID_TOPIC_EXCEPTION',
  ])
})

test('topics are found by id, and names beside an id vanish', async () => {
  const made = await withTopics('a', 'b')
  const topicId = made.image.topicByName('a')?.topicId ?? ''
  const unknown = 'BBBBBBBBBBBBBBBBBBBBBA'
  const answer = await made.send(
    metadata,
    12,
    ask([{ topicId, name: null }, { topicId: unknown, name: null }, ...named('b')]),
  )
  assert.deepEqual(namesOf(answer), ['a NONE', 'null UNKNOWN_TOPIC_ID'])
  assert.equal(answer.topics[1]?.topicId, unknown)
})

test('ids before version 12, and neither id nor name, empty the whole answer', async () => {
  const made = await withTopics('a')
  const topicId = made.image.topicByName('a')?.topicId ?? ''
  const early = await made.send(metadata, 11, ask([{ topicId, name: 'a' }, ...named('a')]))
  assert.deepEqual(namesOf(early), ['a INVALID_REQUEST', 'a INVALID_REQUEST'])
  assert.deepEqual([early.brokers, early.clusterId, early.controllerId], [[], null, -1])
  const nameless = await made.send(metadata, 12, ask([{ topicId: ZERO_UUID, name: null }]))
  assert.deepEqual(namesOf(nameless), ['null UNKNOWN_SERVER_ERROR'])
})

test('a named topic comes into being and is in the same answer', async () => {
  const made = handlerFixture({ 'num.partitions': '3' })
  const answer = await made.send(metadata, 9, ask(named('new', 'a b'), { allowAutoTopicCreation: true }))
  assert.deepEqual(namesOf(answer), ['new NONE', 'a b INVALID_TOPIC_EXCEPTION'])
  assert.equal(answer.topics[0]?.partitions.length, 3)
  assert.equal(made.clock.timerCount, 0)
})

test('no topic comes into being when the client or the broker does not want it', async () => {
  const made = handlerFixture()
  assert.deepEqual(namesOf(await made.send(metadata, 9, ask(named('new')))), ['new UNKNOWN_TOPIC_OR_PARTITION'])
  const never = handlerFixture({ 'auto.create.topics.enable': 'false' })
  assert.deepEqual(namesOf(await never.send(metadata, 0, ask(named('new')))), ['new UNKNOWN_TOPIC_OR_PARTITION'])
  assert.deepEqual(namesOf(await made.send(metadata, 0, ask(named('new')))), ['new NONE'])
})

test('a topic that cannot come in time is LEADER_NOT_AVAILABLE, one that may not come is unknown', async () => {
  const made = await withTopics('a.b')
  const wanted = ask(named('a_b', 'new'), { allowAutoTopicCreation: true })
  made.log.failure = new Error('full')
  assert.deepEqual(namesOf(await made.send(metadata, 9, wanted)), [
    'a_b UNKNOWN_TOPIC_OR_PARTITION',
    'new LEADER_NOT_AVAILABLE',
  ])
  made.log.failure = undefined
  made.log.gate = new Promise(() => {})
  const late = made.send(metadata, 9, ask(named('slow'), { allowAutoTopicCreation: true }))
  while (made.clock.timerCount === 0) await Promise.resolve()
  made.clock.advance(2000)
  assert.deepEqual(namesOf(await late), ['slow LEADER_NOT_AVAILABLE'])
})

test('two requests at once for a new topic both get it', async () => {
  const made = handlerFixture()
  const wanted = ask(named('new'), { allowAutoTopicCreation: true })
  const answers = await Promise.all([made.send(metadata, 9, wanted), made.send(metadata, 9, wanted)])
  assert.deepEqual(answers.map(namesOf), [['new NONE'], ['new NONE']])
  assert.equal(made.image.topicCount, 1)
})

test('the offsets topic gets its own counts and configs, at most one replica per broker', async () => {
  const made = handlerFixture({ 'offsets.topic.num.partitions': '7' }, 2)
  const [first, second] = await Promise.all([ensureOffsetsTopic(made.shard), ensureOffsetsTopic(made.shard)])
  assert.equal(first, second)
  assert.equal(first?.partitions.length, 7)
  assert.equal(first?.partitions[0]?.replicas.length, 2)
  assert.deepEqual(first?.config.cleanupPolicy, ['compact'])
  const answer = await made.send(
    metadata,
    9,
    ask(named('__consumer_offsets', '__transaction_state'), { allowAutoTopicCreation: true }),
  )
  assert.deepEqual(
    answer.topics.map(({ isInternal }) => isInternal),
    [true, true],
  )
  assert.deepEqual(namesOf(answer), ['__consumer_offsets NONE', '__transaction_state UNKNOWN_TOPIC_OR_PARTITION'])
  assert.equal(await ensureOffsetsTopic(handlerFixture({}, 0).shard), undefined)
})

test('operations are told to those who ask', async () => {
  const made = await withTopics('a')
  const about = { includeClusterAuthorizedOperations: true, includeTopicAuthorizedOperations: true }
  const asked = await made.send(metadata, 8, ask(named('a', 'no'), about))
  assert.equal(asked.clusterAuthorizedOperations, 8096)
  assert.deepEqual(
    asked.topics.map(({ topicAuthorizedOperations }) => topicAuthorizedOperations),
    [3576, 3576],
  )
  const silent = await made.send(metadata, 8, ask(named('a')))
  assert.equal(silent.clusterAuthorizedOperations, NOT_ASKED)
  assert.equal(silent.topics[0]?.topicAuthorizedOperations, NOT_ASKED)
})

test('a partition whose leader is not registered, or has not announced itself, has none', async () => {
  const made = await withTopics('a')
  const fresh = (await made.send(metadata, 9, ask(named('a')))).topics[0]?.partitions[0]
  assert.deepEqual([fresh?.leaderId, errorName(fresh?.errorCode ?? 0)], [-1, 'LEADER_NOT_AVAILABLE'])
  made.image.setLeader(1, 9, 5)
  made.image.setLeader(2, 1, 0)
  const [first, second] = (await made.send(metadata, 9, ask(named('a')))).topics[0]?.partitions ?? []
  assert.deepEqual(
    [first?.leaderId, first?.leaderEpoch, errorName(first?.errorCode ?? 0)],
    [-1, 5, 'LEADER_NOT_AVAILABLE'],
  )
  assert.equal(second?.leaderId, 1)
})
