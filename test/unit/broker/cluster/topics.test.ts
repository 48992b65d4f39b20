import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import type { CreatableTopic } from '../../../../protocol/messages/create-topics.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'
import { createRequest, fixture, topic } from './fixture.ts'

/** Creates topics and gives their errors by name, in the order of the answer. */
async function errors(made: ReturnType<typeof fixture>, ...topics: CreatableTopic[]): Promise<string[]> {
  const answer = await made.controller.createTopics(createRequest(topics))
  return answer.topics.map(({ name, errorCode }) => `${name} ${errorName(errorCode)}`)
}

const config = (name: string, value: string | null) => ({ name, value })

test('a created topic is answered with its id, counts and all 33 configs with sources', async () => {
  const made = fixture()
  const answer = await made.controller.createTopics(
    createRequest([
      topic('a', { numPartitions: 3, configs: [config('retention.ms', '1'), config('retention.ms', ' 2 ')] }),
    ]),
  )
  const [result] = answer.topics
  assert.ok(result !== undefined)
  assert.equal(result.errorCode, ErrorCode.NONE)
  assert.equal(result.errorMessage, null)
  assert.equal(result.topicId, made.image.topicByName('a')?.topicId)
  assert.deepEqual([result.numPartitions, result.replicationFactor], [3, 1])
  assert.equal(result.configs?.length, 33)
  const retention = result.configs?.find(({ name }) => name === 'retention.ms')
  assert.deepEqual(retention, {
    name: 'retention.ms',
    value: '2',
    readOnly: false,
    configSource: 1,
    isSensitive: false,
  })
  assert.equal(result.configs?.find(({ name }) => name === 'segment.ms')?.configSource, 5)
})

test('a name twice in a request is answered once, and nothing of that name is created', async () => {
  const made = fixture()
  assert.deepEqual(await errors(made, topic('a'), topic('b'), topic('a')), ['a INVALID_REQUEST', 'b NONE'])
  assert.equal(made.image.topicByName('a'), undefined)
})

test('the name of the metadata topic is not given away', async () => {
  assert.deepEqual(await errors(fixture(), topic('__cluster_metadata')), ['__cluster_metadata INVALID_REQUEST'])
})

test('illegal names are refused', async () => {
  const bad = ['', '.', '..', 'a b', 'é', 'x'.repeat(250)]
  for (const name of bad) {
    const answer = await fixture().controller.createTopics(createRequest([topic(name)]))
    assert.equal(answer.topics[0]?.errorCode, ErrorCode.INVALID_TOPIC_EXCEPTION)
    assert.match(answer.topics[0]?.errorMessage ?? '', /^Topic name is invalid: /)
  }
  assert.deepEqual(await errors(fixture(), topic('x'.repeat(249))), [`${'x'.repeat(249)} NONE`])
})

test('a name that collides with an existing topic is refused, two colliding new names are not', async () => {
  const made = fixture()
  assert.deepEqual(await errors(made, topic('a.b'), topic('a_b')), ['a.b NONE', 'a_b NONE'])
  assert.deepEqual(await errors(fixture(), topic('c')), ['c NONE'])
  await errors(made, topic('c.d'))
  assert.deepEqual(await errors(made, topic('c_d')), ['c_d INVALID_TOPIC_EXCEPTION'])
})

test('an existing topic is said before its bad counts and configs', async () => {
  const made = fixture()
  await errors(made, topic('a'))
  const again = topic('a', { numPartitions: 0, replicationFactor: 9, configs: [config('no.such', 'x')] })
  assert.deepEqual(await errors(made, again), ['a TOPIC_ALREADY_EXISTS'])
  const answer = await made.controller.createTopics(createRequest([topic('a')]))
  assert.equal(answer.topics[0]?.errorMessage, "Topic 'a' already exists.")
})

test('bad configs are said before bad counts', async () => {
  for (const bad of [config('retention.ms', null), config('no.such', 'x'), config('retention.ms', 'x')]) {
    assert.deepEqual(await errors(fixture(), topic('a', { configs: [bad], replicationFactor: 0 })), [
      'a INVALID_CONFIG',
    ])
  }
  assert.deepEqual(await errors(fixture(), topic('a', { configs: [config('cleanup.policy', 'compact')] })), [
    'a INVALID_CONFIG',
  ])
})

test('counts are checked: the factor first, then partitions, then the number of brokers', async () => {
  const cases: [number, number, string][] = [
    [0, 0, 'INVALID_REPLICATION_FACTOR'],
    [1, -2, 'INVALID_REPLICATION_FACTOR'],
    [0, 1, 'INVALID_PARTITIONS'],
    [-2, 1, 'INVALID_PARTITIONS'],
    [1, 2, 'INVALID_REPLICATION_FACTOR'],
    [-1, -1, 'NONE'],
  ]
  for (const [numPartitions, replicationFactor, error] of cases) {
    assert.deepEqual(await errors(fixture(), topic('a', { numPartitions, replicationFactor })), [`a ${error}`])
  }
  const answer = await fixture().controller.createTopics(createRequest([topic('a', { replicationFactor: 3 })]))
  assert.equal(
    answer.topics[0]?.errorMessage,
    'Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.',
  )
})

test('counts of -1 take the defaults of the broker', async () => {
  const made = fixture({ 'num.partitions': '4', 'default.replication.factor': '2' }, 3)
  await errors(made, topic('a', { numPartitions: -1, replicationFactor: -1 }))
  const partitions = made.image.topicByName('a')?.partitions ?? []
  assert.equal(partitions.length, 4)
  assert.ok(partitions.every(({ replicas }) => new Set(replicas).size === 2))
  assert.ok(new Set(partitions.map(({ leader }) => leader)).size === 3)
})

test('a manual assignment needs both counts at -1, the factor is looked at first', async () => {
  const assignments = [{ partitionIndex: 0, brokerIds: [1] }]
  const answer = async (numPartitions: number, replicationFactor: number) =>
    (
      await fixture().controller.createTopics(
        createRequest([topic('a', { numPartitions, replicationFactor, assignments })]),
      )
    ).topics[0]
  assert.match((await answer(5, 5))?.errorMessage ?? '', /replication factor was not set to -1/)
  assert.match((await answer(5, -1))?.errorMessage ?? '', /numPartitions was not set to -1/)
  assert.equal((await answer(5, -1))?.errorCode, ErrorCode.INVALID_REQUEST)
  assert.equal((await answer(-1, -1))?.errorCode, ErrorCode.NONE)
})

test('a manual assignment is checked', async () => {
  const cases: [[number, number[]][], RegExp][] = [
    [
      [
        [0, [1]],
        [0, [1]],
      ],
      /multiple manual partition assignments for partition 0/,
    ],
    [[[0, [9]]], /broker 9, but no such broker is registered/],
    [[[0, [1, 1]]], /broker 1 more than once/],
    [[[0, []]], /empty replica list/],
    [
      [
        [0, [1, 2]],
        [1, [1]],
      ],
      /1 replica\(s\), but this is not consistent with previous partitions, which have 2/,
    ],
    [
      [
        [0, [1]],
        [2, [1]],
      ],
      /consecutive 0-based/,
    ],
  ]
  for (const [given, message] of cases) {
    const assignments = given.map(([partitionIndex, brokerIds]) => ({ partitionIndex, brokerIds }))
    const bad = topic('a', { numPartitions: -1, replicationFactor: -1, assignments })
    const answer = await fixture({}, 2).controller.createTopics(createRequest([bad]))
    assert.equal(answer.topics[0]?.errorCode, ErrorCode.INVALID_REPLICA_ASSIGNMENT)
    assert.match(answer.topics[0]?.errorMessage ?? '', message)
  }
})

test('a manual assignment is kept as given', async () => {
  const made = fixture({}, 3)
  const assignments = [
    { partitionIndex: 1, brokerIds: [3, 1] },
    { partitionIndex: 0, brokerIds: [2, 3] },
  ]
  await errors(made, topic('a', { numPartitions: -1, replicationFactor: -1, assignments }))
  assert.deepEqual(
    made.image.topicByName('a')?.partitions.map(({ replicas }) => replicas),
    [
      [2, 3],
      [3, 1],
    ],
  )
})

test('more than 10,000 records in a request are refused, however many partitions are asked for', async () => {
  assert.deepEqual(await errors(fixture(), topic('a', { numPartitions: 20_000 }), topic('b')), [
    'a POLICY_VIOLATION',
    'b NONE',
  ])
  assert.deepEqual(await errors(fixture(), topic('a', { numPartitions: 2_000_000_000 })), ['a POLICY_VIOLATION'])
  assert.deepEqual(await errors(fixture(), topic('a', { numPartitions: 6000 }), topic('b', { numPartitions: 6000 })), [
    'a NONE',
    'b POLICY_VIOLATION',
  ])
})

test('validateOnly checks everything and changes nothing', async () => {
  const made = fixture()
  await errors(made, topic('a'))
  const answer = await made.controller.createTopics(createRequest([topic('a'), topic('b')], { validateOnly: true }))
  assert.deepEqual(
    answer.topics.map(({ errorCode }) => errorCode),
    [ErrorCode.TOPIC_ALREADY_EXISTS, ErrorCode.NONE],
  )
  assert.notEqual(answer.topics[1]?.topicId, ZERO_UUID)
  assert.equal(made.image.topicByName('b'), undefined)
})

test('a timeout of 0 is answered at once, and the topic may still come', async () => {
  const made = fixture()
  const answer = await made.controller.createTopics(createRequest([topic('a')], { timeoutMs: 0 }))
  assert.equal(answer.topics[0]?.errorCode, ErrorCode.REQUEST_TIMED_OUT)
})

test('a log that takes too long is answered with a timeout, and the topic comes later', async () => {
  const made = fixture()
  let open = () => {}
  made.log.gate = new Promise((resolve) => {
    open = resolve
  })
  const answer = made.controller.createTopics(createRequest([topic('a')], { timeoutMs: 100 }))
  made.clock.advance(100)
  assert.equal((await answer).topics[0]?.errorCode, ErrorCode.REQUEST_TIMED_OUT)
  open()
  assert.deepEqual(await errors(made, topic('a')), ['a TOPIC_ALREADY_EXISTS'])
  assert.equal(made.clock.timerCount, 0)
})

test('two requests for one name at the same time create one topic', async () => {
  const made = fixture()
  const [first, second] = await Promise.all([errors(made, topic('a')), errors(made, topic('a'))])
  assert.deepEqual([first, second], [['a NONE'], ['a TOPIC_ALREADY_EXISTS']])
  assert.equal(made.image.topicCount, 1)
})

test('a log that refuses gives KAFKA_STORAGE_ERROR, and the next change works again', async () => {
  const made = fixture()
  made.log.failure = new Error('no space')
  assert.deepEqual(await errors(made, topic('a'), topic('')), ['a KAFKA_STORAGE_ERROR', ' INVALID_TOPIC_EXCEPTION'])
  made.log.failure = undefined
  assert.deepEqual(await errors(made, topic('a')), ['a NONE'])
})

test('too many waiting changes are refused at once', async () => {
  const made = fixture()
  let open = () => {}
  made.log.gate = new Promise((resolve) => {
    open = resolve
  })
  const waiting = Array.from({ length: 1000 }, (_, at) => errors(made, topic(`t${at}`)))
  assert.deepEqual(await errors(made, topic('late')), ['late REQUEST_TIMED_OUT'])
  open()
  assert.ok((await Promise.all(waiting)).every(([answer]) => answer?.endsWith('NONE')))
})

const byName = (name: string) => ({ name, topicId: ZERO_UUID })
const byId = (topicId: string) => ({ name: null, topicId })

test('topics are deleted by name and by id, and come back with another id', async () => {
  const made = fixture()
  await errors(made, topic('a'), topic('b'))
  const idOfA = made.image.topicByName('a')?.topicId ?? ''
  const idOfB = made.image.topicByName('b')?.topicId ?? ''
  const answer = await made.controller.deleteTopics(
    { topics: [byName('a'), byId(idOfB)], topicNames: [], timeoutMs: 1000 },
    6,
  )
  assert.deepEqual(answer.responses, [
    { name: 'a', topicId: idOfA, errorCode: 0, errorMessage: null },
    { name: 'b', topicId: idOfB, errorCode: 0, errorMessage: null },
  ])
  assert.equal(made.image.topicCount, 0)
  await errors(made, topic('a'))
  assert.notEqual(made.image.topicByName('a')?.topicId, idOfA)
})

test('what cannot be deleted is said per topic, the others go', async () => {
  const made = fixture()
  await errors(made, topic('a'), topic('b'), topic('c'), topic('d'))
  const id = (name: string) => made.image.topicByName(name)?.topicId ?? ''
  const unknown = 'BBBBBBBBBBBBBBBBBBBBBA'
  const topics = [
    { name: 'a', topicId: id('a') },
    { name: null, topicId: ZERO_UUID },
    byName('b'),
    byName('b'),
    byName('c'),
    byId(id('c')),
    byName('no such'),
    byId(unknown),
    byName('d'),
  ]
  const { responses } = await made.controller.deleteTopics({ topics, topicNames: [], timeoutMs: 1000 }, 6)
  assert.deepEqual(
    responses.map(({ name, errorCode }) => `${name} ${errorName(errorCode)}`),
    [
      'a INVALID_REQUEST',
      'null INVALID_REQUEST',
      'b INVALID_REQUEST',
      'c INVALID_REQUEST',
      'no such UNKNOWN_TOPIC_OR_PARTITION',
      'd NONE',
      'null UNKNOWN_TOPIC_ID',
    ],
  )
  assert.deepEqual(
    [...made.image.topics()].map(({ name }) => name),
    ['a', 'b', 'c'],
  )
})

test('older versions delete by topicNames', async () => {
  const made = fixture()
  await errors(made, topic('a'))
  const { responses } = await made.controller.deleteTopics({ topics: [], topicNames: ['a', 'x'], timeoutMs: 1000 }, 5)
  assert.deepEqual(
    responses.map(({ errorCode }) => errorCode),
    [ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
  )
})

test('a broker that deletes no topics says so as the version can', async () => {
  const made = fixture({ 'delete.topic.enable': 'false' })
  await errors(made, topic('a'))
  const request = { topics: [], topicNames: ['a'], timeoutMs: 1000 }
  assert.equal(
    (await made.controller.deleteTopics(request, 3)).responses[0]?.errorCode,
    ErrorCode.TOPIC_DELETION_DISABLED,
  )
  assert.equal((await made.controller.deleteTopics(request, 2)).responses[0]?.errorCode, ErrorCode.INVALID_REQUEST)
  assert.equal(made.image.topicCount, 1)
})

test("the broker's own topics are not deleted", async () => {
  const made = fixture()
  await errors(made, topic('__consumer_offsets', { configs: [config('cleanup.policy', 'compact')] }))
  const { responses } = await made.controller.deleteTopics(
    { topics: [byName('__consumer_offsets')], topicNames: [], timeoutMs: 9 },
    6,
  )
  assert.equal(responses[0]?.errorCode, ErrorCode.INVALID_REQUEST)
  assert.equal(made.image.topicCount, 1)
})

test('partitions are added behind those that are there', async () => {
  const made = fixture({}, 3)
  await errors(made, topic('a', { numPartitions: 2, replicationFactor: 2 }))
  const before = made.image.topicByName('a')?.partitions.map(({ groupId }) => groupId)
  const request = { topics: [{ name: 'a', count: 4, assignments: null }], timeoutMs: 1000, validateOnly: false }
  const checked = await made.controller.createPartitions({ ...request, validateOnly: true })
  assert.deepEqual(checked.results, [{ name: 'a', errorCode: 0, errorMessage: null }])
  assert.equal(made.image.topicByName('a')?.partitions.length, 2)
  await made.controller.createPartitions(request)
  const partitions = made.image.topicByName('a')?.partitions ?? []
  assert.deepEqual(
    partitions.slice(0, 2).map(({ groupId }) => groupId),
    before,
  )
  assert.ok(partitions.length === 4 && partitions.every(({ replicas }) => replicas.length === 2))
})

test('more partitions are refused by the rules of Kafka', async () => {
  const made = fixture({}, 2)
  await errors(made, topic('a', { numPartitions: 2 }), topic('b'), topic('c'))
  const list = (...brokerIds: number[]) => ({ brokerIds })
  const cases: [number, { brokerIds: number[] }[] | null, string, RegExp][] = [
    [2, null, 'INVALID_PARTITIONS', /^Topic already has 2 partition\(s\)\.$/],
    [1, null, 'INVALID_PARTITIONS', /currently has 2 partition\(s\); 1 would not be an increase/],
    [0, null, 'INVALID_PARTITIONS', /increase/],
    [-1, null, 'INVALID_PARTITIONS', /increase/],
    [4, [], 'INVALID_REPLICA_ASSIGNMENT', /only 0 assignment/],
    [4, [list(1)], 'INVALID_REPLICA_ASSIGNMENT', /only 1 assignment/],
    [3, [list(1, 2)], 'INVALID_REPLICA_ASSIGNMENT', /2 replica\(s\)/],
    [3, [list(7)], 'INVALID_REPLICA_ASSIGNMENT', /broker 7/],
    [3, [list(2)], 'NONE', /^$/],
    [200_000, null, 'POLICY_VIOLATION', /large number/],
  ]
  for (const [count, assignments, error, message] of cases) {
    const request = { topics: [{ name: 'a', count, assignments }], timeoutMs: 1000, validateOnly: true }
    const [result] = (await made.controller.createPartitions(request)).results
    assert.equal(errorName(result?.errorCode ?? -1), error)
    assert.match(result?.errorMessage ?? '', message)
  }
  const three = (name: string) => ({ name, count: 3, assignments: null })
  const topics = [three('b'), three('no'), three('c'), three('b')]
  const { results } = await made.controller.createPartitions({ topics, timeoutMs: 1000, validateOnly: false })
  assert.deepEqual(
    results.map(({ name, errorCode }) => `${name} ${errorName(errorCode)}`),
    ['b INVALID_REQUEST', 'no UNKNOWN_TOPIC_OR_PARTITION', 'c NONE'],
  )
  assert.equal(made.image.topicByName('b')?.partitions.length, 1)
})

test('the broker registers once and gives the cluster its id', async () => {
  const made = fixture({ 'node.id': '4', 'broker.rack': 'r' }, 0)
  await made.controller.register({ host: 'h', port: 1 })
  await made.controller.register({ host: 'h', port: 1 })
  assert.equal(made.log.commands.length, 1)
  await made.controller.register({ host: 'h', port: 2 })
  const [registered] = made.image.brokers
  assert.deepEqual([registered?.nodeId, registered?.host, registered?.port, registered?.rack], [4, 'h', 2, 'r'])
  assert.equal(made.image.controllerId, 4)
  made.log.failure = new Error('full')
  await assert.rejects(made.controller.register({ host: 'x', port: 2 }), /cannot register/)
})

test('blocks of producer ids never overlap', async () => {
  const made = fixture()
  const blocks = await Promise.all([1, 2, 3].map(() => made.controller.allocateProducerIds()))
  assert.deepEqual(
    blocks,
    [0, 1000, 2000].map((firstProducerId) => ({ firstProducerId, count: 1000 })),
  )
  made.log.failure = new Error('full')
  const refused = await made.controller.allocateProducerIds()
  assert.equal('error' in refused && refused.error, ErrorCode.KAFKA_STORAGE_ERROR)
})
