// @platformatic/kafka against a running broker: it speaks the newest (flexible) versions, where kafkajs speaks old ones.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import {
  Admin,
  ConfigResourceTypes,
  Consumer,
  IncrementalAlterConfigOperationTypes,
  ListOffsetTimestamps,
  Producer,
  stringDeserializers,
  stringSerializers,
} from '@platformatic/kafka'
import { eventually } from '../support/process.ts'
import { openTarget, type Target } from '../support/target.ts'

describe('@platformatic/kafka', () => {
  let target: Target
  let admin: Admin
  let topicNumber = 0
  const open: { close(): Promise<void> }[] = []

  before(async () => {
    target = await openTarget()
    admin = new Admin({ clientId: 'platformatic-test', bootstrapBrokers: [target.bootstrap] })
  })

  after(async () => {
    for (const client of open.reverse()) await client.close()
    await admin?.close()
    await target?.close()
  })

  async function makeTopic(partitions: number): Promise<string> {
    const topic = `platformatic-${process.pid}-${topicNumber++}`
    const [created] = await admin.createTopics({ topics: [topic], partitions, replicas: 1 })
    assert.equal(created?.partitions, partitions)
    return topic
  }

  function openProducer(options: { idempotent?: boolean } = {}) {
    const producer = new Producer({
      clientId: 'platformatic-test',
      bootstrapBrokers: [target.bootstrap],
      serializers: stringSerializers,
      ...options,
    })
    open.push(producer)
    return producer
  }

  function openConsumer(groupId: string) {
    const consumer = new Consumer({
      clientId: 'platformatic-test',
      groupId,
      bootstrapBrokers: [target.bootstrap],
      deserializers: stringDeserializers,
      maxWaitTime: 100,
      heartbeatInterval: 200,
    })
    open.push({ close: () => consumer.close(true) })
    return consumer
  }

  async function readSome(groupId: string, topic: string, count: number) {
    const stream = await openConsumer(groupId).consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest' })
    const seen: { partition: number; offset: bigint; key: string; value: string; headers: Map<string, string> }[] = []
    if (count === 0) return seen
    for await (const { partition, offset, key, value, headers, commit } of stream) {
      seen.push({ partition, offset, key, value, headers })
      await commit()
      if (seen.length >= count) break
    }
    return seen
  }

  test('records come back in order with keys and headers', async () => {
    const topic = await makeTopic(1)
    const producer = openProducer()
    const messages = Array.from({ length: 100 }, (_, index) => ({
      topic,
      key: `k${index}`,
      value: `v${index}`,
      headers: { n: `${index}` },
    }))
    const sent = await producer.send({ messages, acks: -1 })
    assert.deepEqual(sent.offsets, [{ topic, partition: 0, offset: 0n }])
    const seen = await readSome(`${topic}-group`, topic, 100)
    assert.deepEqual(
      seen.map(({ offset, key, value, headers }) => [offset, key, value, headers.get('n')]),
      messages.map(({ key, value }, index) => [BigInt(index), key, value, `${index}`]),
    )
  })

  for (const compression of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    test(`${compression} batches pass through unchanged`, async () => {
      const topic = await makeTopic(1)
      const values = Array.from({ length: 200 }, (_, index) => `compressed ${index}`)
      await openProducer().send({ messages: values.map((value) => ({ topic, value })), compression })
      const seen = await readSome(`${topic}-group`, topic, values.length)
      assert.deepEqual(
        seen.map(({ value }) => value),
        values,
      )
    })
  }

  test('an idempotent producer writes each record once', async () => {
    const topic = await makeTopic(1)
    const producer = openProducer({ idempotent: true })
    for (let index = 0; index < 50; index++) await producer.send({ messages: [{ topic, value: String(index) }] })
    const [listed] = await admin.listOffsets({
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: ListOffsetTimestamps.LATEST }] }],
    })
    assert.equal(listed?.partitions[0]?.offset, 50n)
  })

  test('a second member takes half of the partitions, and gives them back when it leaves', async () => {
    const topic = await makeTopic(4)
    const groupId = `${topic}-group`
    const first = openConsumer(groupId)
    const second = openConsumer(groupId)
    const held = (consumer: typeof first) => consumer.assignments?.flatMap(({ partitions }) => partitions).length ?? 0
    const drain = async (consumer: typeof first) => {
      const stream = await consumer.consume({ topics: [topic], mode: 'latest' })
      stream.on('data', () => {})
      stream.on('error', () => {})
    }
    await drain(first)
    assert.equal(held(first), 4)
    await drain(second)
    await eventually('two each', 30_000, async () => (held(first) === 2 && held(second) === 2 ? true : undefined))
    await second.close(true)
    await eventually('all four again', 30_000, async () => (held(first) === 4 ? true : undefined))
  })

  test('a member that comes later goes on from the committed offset', async () => {
    const topic = await makeTopic(1)
    const groupId = `${topic}-group`
    const messages = Array.from({ length: 10 }, (_, index) => ({ topic, value: String(index) }))
    await openProducer().send({ messages })
    await admin.alterConsumerGroupOffsets({
      groupId,
      topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 7n }] }],
    })
    const seen = await readSome(groupId, topic, 3)
    assert.deepEqual(
      seen.map(({ value }) => value),
      ['7', '8', '9'],
    )
  })

  test('admin lists, grows and deletes topics', async () => {
    const topic = await makeTopic(1)
    assert.ok((await admin.listTopics()).includes(topic))
    // The client's types want assignments, so the new partitions are placed by hand.
    const [brokerId] = [...(await admin.metadata({ topics: [topic] })).brokers.keys()]
    const assignments = [{ brokerIds: [brokerId ?? -1] }, { brokerIds: [brokerId ?? -1] }]
    await admin.createPartitions({ topics: [{ name: topic, count: 3, assignments }] })
    await eventually('three partitions', 10_000, async () => {
      const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
      return topics.get(topic)?.partitionsCount === 3 ? true : undefined
    })
    await admin.deleteTopics({ topics: [topic] })
    await eventually('no topic', 10_000, async () => ((await admin.listTopics()).includes(topic) ? undefined : true))
    await assert.rejects(admin.deleteTopics({ topics: [topic] }))
  })

  test('admin changes configs one key at a time', async () => {
    const topic = await makeTopic(1)
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
    const set = (name: string, value: string) =>
      admin.incrementalAlterConfigs({
        resources: [
          { ...resource, configs: [{ name, value, configOperation: IncrementalAlterConfigOperationTypes.SET }] },
        ],
      })
    await set('retention.ms', '60000')
    await set('segment.bytes', '1048576')
    await eventually('both values', 10_000, async () => {
      const [described] = await admin.describeConfigs({ resources: [{ ...resource, configurationKeys: null }] })
      const found = Object.fromEntries(described?.configs.map(({ name, value }) => [name, value]) ?? [])
      return found['retention.ms'] === '60000' && found['segment.bytes'] === '1048576' ? true : undefined
    })
    await assert.rejects(set('retention.ms', 'soon'))
  })

  test('admin deletes records, and reads earliest, latest and by time', async () => {
    const topic = await makeTopic(1)
    const producer = openProducer()
    const startMs = Date.now() - 10_000
    for (let index = 0; index < 5; index++) {
      await producer.send({ messages: [{ topic, value: String(index), timestamp: BigInt(startMs + index * 1000) }] })
    }
    const listed = async (timestamp: bigint) => {
      const [answer] = await admin.listOffsets({
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }],
      })
      return answer?.partitions[0]?.offset
    }
    assert.equal(await listed(BigInt(startMs + 1500)), 2n)
    await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 3n }] }] })
    assert.equal(await listed(ListOffsetTimestamps.EARLIEST), 3n)
    assert.equal(await listed(ListOffsetTimestamps.LATEST), 5n)
  })

  test('admin reads, deletes and describes group offsets and groups', async () => {
    const topic = await makeTopic(1)
    const groupId = `${topic}-group`
    await openProducer().send({ messages: [{ topic, value: 'v' }] })
    await admin.alterConsumerGroupOffsets({
      groupId,
      topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 1n }] }],
    })
    const [found] = await admin.listConsumerGroupOffsets({ groups: [groupId] })
    assert.equal(found?.topics[0]?.partitions[0]?.committedOffset, 1n)
    assert.equal((await admin.describeGroups({ groups: [groupId] })).get(groupId)?.state?.toUpperCase(), 'EMPTY')
    assert.ok((await admin.listGroups()).has(groupId))
    await admin.deleteConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionIndexes: [0] }] })
    const [left] = await admin.listConsumerGroupOffsets({
      groups: [{ groupId, topics: [{ name: topic, partitionIndexes: [0] }] }],
    })
    assert.equal(left?.topics[0]?.partitions[0]?.committedOffset, -1n)
    await eventually('the group to go', 10_000, async () => {
      await admin.deleteGroups({ groups: [groupId] }).catch(() => {}) // emptied of its offsets, it may have gone by itself
      return (await admin.listGroups()).has(groupId) ? undefined : true
    })
  })

  test('admin describes log directories', async () => {
    const topic = await makeTopic(1)
    await openProducer().send({ messages: [{ topic, value: 'v' }] })
    const [broker] = await admin.describeLogDirs({ topics: [{ name: topic, partitions: [0] }] })
    const partitions = broker?.results.flatMap(({ topics }) => topics.flatMap((entry) => entry.partitions)) ?? []
    assert.equal(partitions.length, 1)
  })
})
