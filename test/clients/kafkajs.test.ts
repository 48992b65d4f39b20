// kafkajs against a running broker: producing, consumer groups through rebalances, administration.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import kafkajs, { type Admin, type Consumer } from 'kafkajs'
import { eventually } from '../support/process.ts'
import { openTarget, type Target } from '../support/target.ts'

// A CommonJS module whose names Node does not all find by itself.
const { ConfigResourceTypes, Kafka, KafkaJSProtocolError, logLevel, Partitioners } = kafkajs
const createPartitioner = Partitioners.DefaultPartitioner

describe('kafkajs', () => {
  let target: Target
  let kafka: kafkajs.Kafka
  let admin: Admin
  let topicNumber = 0
  const open: { disconnect(): Promise<void> }[] = []

  before(async () => {
    target = await openTarget({ inProcess: true })
    kafka = new Kafka({ clientId: 'kafkajs-test', brokers: [target.bootstrap], logLevel: logLevel.NOTHING })
    admin = kafka.admin()
    await admin.connect()
  })

  after(async () => {
    for (const client of open) await client.disconnect()
    await admin?.disconnect()
    await target?.close()
  })

  async function makeTopic(numPartitions: number): Promise<string> {
    const topic = `kafkajs-${process.pid}-${topicNumber++}`
    assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] }), true)
    return topic
  }

  async function openProducer(options: { idempotent?: boolean } = {}) {
    const producer = kafka.producer({ createPartitioner, ...options })
    await producer.connect()
    open.push(producer)
    return producer
  }

  async function openConsumer(groupId: string, options: { sessionTimeout?: number; heartbeatInterval?: number } = {}) {
    const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100, heartbeatInterval: 200, ...options })
    await consumer.connect()
    open.push(consumer)
    return consumer
  }

  async function offsetsOf(topic: string): Promise<[number, string, string][]> {
    const offsets = await admin.fetchTopicOffsets(topic)
    return offsets
      .map(({ partition, low, high }) => [partition, low, high] as [number, string, string])
      .sort((a, b) => a[0] - b[0])
  }

  /** Runs the consumer and resolves when `count` messages have come. */
  async function readSome(consumer: Consumer, topic: string, count: number) {
    const seen: {
      partition: number
      offset: string
      key: string | null
      value: string | null
      headers: Record<string, string>
    }[] = []
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ partition, message }) => {
        const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)])
        const key = message.key?.toString() ?? null
        const value = message.value?.toString() ?? null
        seen.push({ partition, offset: message.offset, key, value, headers: Object.fromEntries(headers) })
      },
    })
    await eventually(`${count} messages of ${topic}`, 30_000, async () => (seen.length >= count ? true : undefined))
    return seen
  }

  test('a batch gets consecutive offsets and comes back with keys, headers and nulls intact', async () => {
    const topic = await makeTopic(1)
    const producer = await openProducer()
    const messages = [
      { key: 'a', value: 'one', headers: { trace: '1' } },
      { key: null, value: 'two' },
      { key: 'c', value: null },
    ]
    const first = await producer.send({ topic, acks: -1, messages })
    const second = await producer.send({ topic, acks: 1, messages: [{ value: 'Grüße, 世界' }] })
    assert.equal(first[0]?.baseOffset, '0')
    assert.equal(second[0]?.baseOffset, '3')
    const seen = await readSome(await openConsumer(`${topic}-group`), topic, 4)
    assert.deepEqual(
      seen.map(({ offset, key, value, headers }) => [offset, key, value, headers]),
      [
        ['0', 'a', 'one', { trace: '1' }],
        ['1', null, 'two', {}],
        ['2', 'c', null, {}],
        ['3', null, 'Grüße, 世界', {}],
      ],
    )
  })

  test('acks 0 is not answered, and the records are there all the same', async () => {
    const topic = await makeTopic(1)
    const producer = await openProducer()
    await producer.send({ topic, acks: 0, messages: [{ value: 'unanswered' }] })
    await eventually('the record', 10_000, async () => ((await offsetsOf(topic))[0]?.[2] === '1' ? true : undefined))
  })

  test('gzip batches pass through unchanged', async () => {
    const topic = await makeTopic(1)
    const producer = await openProducer()
    const values = Array.from({ length: 500 }, (_, index) => `compressed ${index}`)
    await producer.send({ topic, compression: 1, messages: values.map((value) => ({ value })) })
    const seen = await readSome(await openConsumer(`${topic}-group`), topic, values.length)
    assert.deepEqual(
      seen.map(({ value }) => value),
      values,
    )
  })

  test('an idempotent producer writes each record once', async () => {
    const topic = await makeTopic(2)
    const producer = await openProducer({ idempotent: true })
    for (let round = 0; round < 20; round++) {
      const messages = Array.from({ length: 50 }, (_, index) => ({ key: String(index), value: `${round}-${index}` }))
      await producer.send({ topic, messages })
    }
    const ends = await offsetsOf(topic)
    assert.equal(
      ends.reduce((sum, [, , high]) => sum + Number(high), 0),
      1000,
    )
  })

  test('a topic that does not exist is made by its first message', async () => {
    const topic = `kafkajs-${process.pid}-auto`
    const producer = await openProducer()
    await producer.send({ topic, messages: [{ value: 'first' }] })
    assert.ok((await admin.listTopics()).includes(topic))
  })

  test('a batch beyond max.message.bytes is refused with MESSAGE_TOO_LARGE', async () => {
    const topic = `kafkajs-${process.pid}-small`
    const configEntries = [{ name: 'max.message.bytes', value: '2000' }]
    await admin.createTopics({ topics: [{ topic, configEntries }] })
    const producer = await openProducer()
    await assert.rejects(producer.send({ topic, messages: [{ value: 'x'.repeat(5000) }] }), (error: Error) => {
      return error instanceof KafkaJSProtocolError && error.type === 'MESSAGE_TOO_LARGE'
    })
    await producer.send({ topic, messages: [{ value: 'small' }] })
  })

  test('members that join and leave share the partitions without overlap', async () => {
    const topic = await makeTopic(4)
    const groupId = `${topic}-group`
    const assigned = new Map<string, number[]>()
    const join = async (name: string) => {
      const consumer = await openConsumer(groupId)
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        assigned.set(name, [...(payload.memberAssignment[topic] ?? [])].sort())
      })
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({ eachMessage: async () => {} })
      return consumer
    }
    const holds = (wanted: Record<string, number>) =>
      eventually(`assignment ${JSON.stringify(wanted)}`, 30_000, async () => {
        const names = Object.keys(wanted)
        const parts = names.flatMap((name) => assigned.get(name) ?? []).sort()
        const sizes = names.every((name) => assigned.get(name)?.length === wanted[name])
        return sizes && JSON.stringify(parts) === '[0,1,2,3]' ? true : undefined
      })
    await join('first')
    await holds({ first: 4 })
    const second = await join('second')
    await holds({ first: 2, second: 2 })
    const third = await join('third')
    await eventually('three members', 30_000, async () => {
      const sizes = ['first', 'second', 'third'].map((name) => assigned.get(name)?.length ?? 0)
      return sizes.sort().join() === '1,1,2' ? true : undefined
    })
    await third.disconnect()
    await holds({ first: 2, second: 2 })
    await second.disconnect()
    await holds({ first: 4 })
  })

  test('a member that comes later goes on from the committed offset', async () => {
    const topic = await makeTopic(1)
    const groupId = `${topic}-group`
    const producer = await openProducer()
    await producer.send({ topic, messages: Array.from({ length: 10 }, (_, index) => ({ value: String(index) })) })
    const early = await openConsumer(groupId)
    await readSome(early, topic, 10)
    await early.commitOffsets([{ topic, partition: 0, offset: '7' }])
    await early.stop()
    await early.disconnect()
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '7' }] })
    const seen = await readSome(await openConsumer(groupId), topic, 3)
    assert.deepEqual(
      seen.map(({ value }) => value),
      ['7', '8', '9'],
    )
  })

  test('admin creates, lists, describes, grows and deletes topics', async () => {
    const topic = await makeTopic(2)
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false, 'it exists')
    assert.ok((await admin.listTopics()).includes(topic))
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    assert.deepEqual(
      topics[0]?.partitions
        .map(({ partitionId, partitionErrorCode, replicas, isr }) => {
          return [partitionId, partitionErrorCode, replicas.length, isr.length]
        })
        .sort(),
      [
        [0, 0, 1, 1],
        [1, 0, 1, 1],
      ],
    )
    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    await eventually('five partitions', 10_000, async () => ((await offsetsOf(topic)).length === 5 ? true : undefined))
    await admin.deleteTopics({ topics: [topic] })
    await eventually('no topic', 10_000, async () => ((await admin.listTopics()).includes(topic) ? undefined : true))
  })

  test('admin reads and changes topic configs', async () => {
    const topic = await makeTopic(1)
    const read = async () => {
      const resources = [
        { type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms', 'cleanup.policy'] },
      ]
      const { resources: found } = await admin.describeConfigs({ resources, includeSynonyms: false })
      const entries = found[0]?.configEntries ?? []
      return Object.fromEntries(entries.map(({ configName, configValue }) => [configName, configValue]))
    }
    assert.deepEqual(await read(), { 'retention.ms': '604800000', 'cleanup.policy': 'delete' })
    const configEntries = [{ name: 'retention.ms', value: '60000' }]
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }],
    })
    await eventually('the new value', 10_000, async () =>
      (await read())['retention.ms'] === '60000' ? true : undefined,
    )
  })

  test('admin finds offsets by time and deletes records', async () => {
    const topic = await makeTopic(1)
    const producer = await openProducer()
    const startMs = Date.now() - 10_000
    for (let index = 0; index < 5; index++) {
      await producer.send({ topic, messages: [{ value: String(index), timestamp: String(startMs + index * 1000) }] })
    }
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, startMs + 1500)
    assert.deepEqual(found, [{ partition: 0, offset: '2' }])
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] })
    assert.deepEqual(await offsetsOf(topic), [[0, '3', '5']])
    const seen = await readSome(await openConsumer(`${topic}-group`), topic, 2)
    assert.deepEqual(
      seen.map(({ offset }) => offset),
      ['3', '4'],
    )
  })

  test('admin sets, resets and reads group offsets, and lists, describes and deletes groups', async () => {
    const topic = await makeTopic(2)
    const groupId = `${topic}-group`
    const producer = await openProducer()
    await producer.sendBatch({
      topicMessages: [{ topic, messages: [0, 1, 2, 3].map((index) => ({ partition: index % 2, value: 'v' })) }],
    })
    await admin.setOffsets({
      groupId,
      topic,
      partitions: [
        { partition: 0, offset: '1' },
        { partition: 1, offset: '2' },
      ],
    })
    const committed = async () => {
      const [entry] = await admin.fetchOffsets({ groupId, topics: [topic] })
      return entry?.partitions.map(({ partition, offset }) => [partition, offset]).sort()
    }
    assert.deepEqual(await committed(), [
      [0, '1'],
      [1, '2'],
    ])
    await admin.resetOffsets({ groupId, topic, earliest: true })
    // kafkajs stores the special offset itself and resolves it when it reads.
    assert.deepEqual(await committed(), [
      [0, '-2'],
      [1, '-2'],
    ])
    const consumer = await openConsumer(groupId)
    await readSome(consumer, topic, 4)
    const described = await admin.describeGroups([groupId])
    assert.deepEqual(
      described.groups.map(({ state, protocolType, members }) => [state, protocolType, members.length]),
      [['Stable', 'consumer', 1]],
    )
    assert.ok(
      (await admin.listGroups()).groups.some((group) => group.groupId === groupId && group.protocolType === 'consumer'),
    )
    await assert.rejects(admin.deleteGroups([groupId]), 'a group with members cannot be deleted')
    await consumer.disconnect()
    await eventually('the group to be empty', 10_000, async () =>
      (await admin.describeGroups([groupId])).groups[0]?.state === 'Empty' ? true : undefined,
    )
    await admin.deleteGroups([groupId])
    assert.ok(!(await admin.listGroups()).groups.some((group) => group.groupId === groupId))
  })

  test('admin describes the cluster', async () => {
    const cluster = await admin.describeCluster()
    assert.equal(cluster.brokers.length, 1)
    assert.equal(cluster.brokers[0]?.port, target.port)
    assert.ok(cluster.clusterId.length > 0)
  })
})
