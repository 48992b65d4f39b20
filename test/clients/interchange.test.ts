// 100,000 records from each client to each client: counts and checksums must agree, whoever wrote and whoever reads.
//
// Java and librdkafka take part where they are installed; each writer has a topic of its own with three partitions.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Consumer, Producer, stringSerializers } from '@platformatic/kafka'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import { kafkaTool, kafkaUnavailable } from '../support/kafka.ts'
import { eventually } from '../support/process.ts'
import { librdkafka, librdkafkaUnavailable } from '../support/python.ts'
import { createTopic, RawConnection } from '../support/raw.ts'
import { Checksum, sharedChecksum, sharedKey, sharedRecordCount, sharedValue } from '../support/records.ts'
import { openTarget, type Target } from '../support/target.ts'

const count = sharedRecordCount

interface Client {
  name: string
  skip: string | undefined
  write(bootstrap: string, topic: string): Promise<void>
  read(bootstrap: string, topic: string, groupId: string): Promise<{ count: number; checksum: number }>
}

const chunk = 2000

function kafkajs(bootstrap: string): Kafka {
  return new Kafka({ clientId: 'interchange', brokers: [bootstrap], logLevel: logLevel.NOTHING })
}

const kafkajsClient: Client = {
  name: 'kafkajs',
  skip: undefined,
  async write(bootstrap, topic) {
    const producer = kafkajs(bootstrap).producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    for (let at = 0; at < count; at += chunk) {
      const messages = Array.from({ length: chunk }, (_, index) => ({
        key: sharedKey(at + index),
        value: sharedValue(at + index),
      }))
      await producer.send({ topic, acks: -1, messages })
    }
    await producer.disconnect()
  },
  async read(bootstrap, topic, groupId) {
    const consumer = kafkajs(bootstrap).consumer({ groupId, maxWaitTimeInMs: 100 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    const checksum = new Checksum()
    await consumer.run({
      eachBatch: async ({ batch }) => {
        for (const message of batch.messages) checksum.add(message.value ?? '')
      },
    })
    await eventually(`${count} records`, 60_000, async () => (checksum.count >= count ? true : undefined))
    await consumer.disconnect()
    return { count: checksum.count, checksum: checksum.value }
  },
}

const platformaticClient: Client = {
  name: '@platformatic/kafka',
  skip: undefined,
  async write(bootstrap, topic) {
    const producer = new Producer({
      clientId: 'interchange',
      bootstrapBrokers: [bootstrap],
      serializers: stringSerializers,
    })
    for (let at = 0; at < count; at += chunk) {
      const messages = Array.from({ length: chunk }, (_, index) => ({
        topic,
        key: sharedKey(at + index),
        value: sharedValue(at + index),
      }))
      await producer.send({ messages, acks: -1 })
    }
    await producer.close()
  },
  async read(bootstrap, topic, groupId) {
    const consumer = new Consumer({ clientId: 'interchange', groupId, bootstrapBrokers: [bootstrap], maxWaitTime: 100 })
    const stream = await consumer.consume({ topics: [topic], mode: 'earliest', maxBytes: 4 << 20, highWaterMark: 4096 })
    const checksum = new Checksum()
    for await (const message of stream) {
      checksum.add(message.value)
      if (checksum.count >= count) break
    }
    await consumer.close(true)
    return { count: checksum.count, checksum: checksum.value }
  },
}

const librdkafkaClient: Client = {
  name: 'librdkafka',
  skip: librdkafkaUnavailable(),
  async write(bootstrap, topic) {
    const sent = await librdkafka(['produce', bootstrap, topic, String(count), 'acks=all'])
    assert.deepEqual(sent, { count, errors: [] })
  },
  async read(bootstrap, topic, groupId) {
    const read = await librdkafka<{ count: number; checksum: number }>([
      'consume',
      bootstrap,
      topic,
      String(count),
      groupId,
    ])
    return { count: read.count, checksum: read.checksum }
  },
}

const javaClient: Client = {
  name: "Kafka's Java console tools",
  skip: await kafkaUnavailable(),
  async write(bootstrap, topic) {
    const input = Array.from({ length: count }, (_, index) => `${sharedKey(index)}\t${sharedValue(index)}\n`).join('')
    const args = ['--bootstrap-server', bootstrap, '--topic', topic, '--reader-property', 'parse.key=true']
    const result = await kafkaTool('console-producer', args, { input })
    assert.equal(result.code, 0, result.stderr)
  },
  async read(bootstrap, topic, groupId) {
    const limits = ['--from-beginning', '--max-messages', String(count), '--timeout-ms', '30000', '--group', groupId]
    const result = await kafkaTool('console-consumer', ['--bootstrap-server', bootstrap, '--topic', topic, ...limits])
    assert.equal(result.code, 0, result.stderr)
    const checksum = new Checksum()
    for (const line of result.stdout.split('\n')) if (line !== '') checksum.add(line)
    return { count: checksum.count, checksum: checksum.value }
  },
}

const clients = [kafkajsClient, platformaticClient, librdkafkaClient, javaClient]

describe('interchange between clients', () => {
  let target: Target
  const expected = { count, checksum: sharedChecksum(count) }

  before(async () => {
    target = await openTarget()
  })

  after(async () => {
    await target?.close()
  })

  for (const [number, writer] of clients.entries()) {
    describe(`100,000 records written by ${writer.name}`, { skip: writer.skip ?? false }, () => {
      const topic = `interchange-${process.pid}-${number}`

      before(async () => {
        const connection = await RawConnection.open(target.port, target.host)
        assert.equal(await createTopic(connection, topic, 3), 0)
        connection.close()
        await writer.write(target.bootstrap, topic)
      })

      for (const [index, reader] of clients.entries()) {
        test(`are read complete by ${reader.name}`, { skip: reader.skip ?? false }, async () => {
          assert.deepEqual(await reader.read(target.bootstrap, topic, `${topic}-reader-${index}`), expected)
        })
      }
    })
  }
})
