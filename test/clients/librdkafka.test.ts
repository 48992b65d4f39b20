// librdkafka (confluent-kafka of PyPI) against a running broker: each codec, groups through a rebalance, administration.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { librdkafka, librdkafkaUnavailable } from '../support/python.ts'
import { createTopic, RawConnection } from '../support/raw.ts'
import { sharedChecksum } from '../support/records.ts'
import { openTarget, type Target } from '../support/target.ts'

describe('librdkafka', { skip: librdkafkaUnavailable() ?? false }, () => {
  let target: Target
  let connection: RawConnection

  before(async () => {
    target = await openTarget()
    connection = await RawConnection.open(target.port, target.host)
  })

  after(async () => {
    connection?.close()
    await target?.close()
  })

  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    test(`what it writes with codec ${codec} it reads back`, async () => {
      const topic = `librdkafka-${process.pid}-${codec}`
      assert.equal(await createTopic(connection, topic, 3), 0)
      const settings = [`compression.type=${codec}`, 'acks=all', 'enable.idempotence=true']
      const sent = await librdkafka<{ count: number; errors: string[] }>([
        'produce',
        target.bootstrap,
        topic,
        '5000',
        ...settings,
      ])
      assert.deepEqual(sent, { count: 5000, errors: [] })
      const read = await librdkafka(['consume', target.bootstrap, topic, '5000', `${topic}-group`])
      assert.deepEqual(read, { count: 5000, checksum: sharedChecksum(5000), committed: 5000 })
      const offsets = await librdkafka<Record<string, number>>(['committed', target.bootstrap, topic, `${topic}-group`])
      assert.equal(
        Object.values(offsets).reduce((sum, offset) => sum + offset, 0),
        5000,
      )
    })
  }

  test('two members share four partitions, and one keeps all when the other leaves', async () => {
    const topic = `librdkafka-${process.pid}-members`
    assert.equal(await createTopic(connection, topic, 4), 0)
    type Assigned = Record<string, number[]>
    const seen = await librdkafka<{ alone: Assigned; both: Assigned; left: Assigned }>([
      'members',
      target.bootstrap,
      topic,
      `${topic}-group`,
    ])
    assert.deepEqual(seen.alone.first, [0, 1, 2, 3])
    assert.deepEqual([seen.both.first?.length, seen.both.second?.length], [2, 2])
    assert.deepEqual([...(seen.both.first ?? []), ...(seen.both.second ?? [])].sort(), [0, 1, 2, 3])
    assert.deepEqual(seen.left.first, [0, 1, 2, 3])
  })

  test('its admin client creates, alters, describes, grows and deletes a topic', async () => {
    const answer = await librdkafka(['admin', target.bootstrap, `librdkafka-${process.pid}-admin`])
    assert.deepEqual(answer, { before: '123456', after: '654321', partitions: 5, nodes: 1, gone: true })
  })
})
