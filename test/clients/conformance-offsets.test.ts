// What Kafka answers to ListOffsets, OffsetForLeaderEpoch, DeleteRecords and DescribeProducers.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode } from '../../protocol/errors.ts'
import { eventually } from '../support/process.ts'
import { decodeRecords, recordBatch } from '../support/raw.ts'
import { api, Bench, coordinated, type NewTopic, newTopic, type Wire } from '../support/wire.ts'

const Timestamp = { latest: -1, earliest: -2, max: -3, earliestLocal: -4, latestTiered: -5, pendingUpload: -6 } as const

describe('offsets', () => {
  const bench = new Bench()
  let wire: Wire
  /** Offsets 0 to 4 with the times 1000, 1000, 1000, 3000, 2000. */
  let topic: NewTopic
  let empty: NewTopic
  let leaderEpoch: number

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('offsets'))
    empty = await newTopic(wire, bench.name('offsets'))
    await append(topic, ['a', 'b', 'c'], 1000)
    await append(topic, ['d'], 3000)
    await append(topic, ['e'], 2000)
    leaderEpoch = (await list(11, topic, Timestamp.latest)).leaderEpoch
  })

  async function append(to: NewTopic, values: string[], timestampMs: number): Promise<void> {
    const records = recordBatch({ values: values.map((value) => Buffer.from(value)), timestampMs })
    const answer = await wire.call(api.produce, 9, {
      acks: -1,
      timeoutMs: 10_000,
      topicData: [{ name: to.name, partitionData: [{ index: 0, records }] }],
    })
    assert.equal(answer.responses[0]?.partitionResponses[0]?.errorCode, 0)
  }

  async function list(
    version: number,
    of: NewTopic | string,
    timestamp: number,
    options: { replicaId?: number; isolationLevel?: number; currentLeaderEpoch?: number; partitionIndex?: number } = {},
  ) {
    const { replicaId = -1, isolationLevel = 0, currentLeaderEpoch = -1, partitionIndex = 0 } = options
    const answer = await wire.call(api.listOffsets, version, {
      replicaId,
      isolationLevel,
      topics: [
        {
          name: typeof of === 'string' ? of : of.name,
          partitions: [{ partitionIndex, currentLeaderEpoch, timestamp }],
        },
      ],
      timeoutMs: 10_000,
    })
    const found = answer.topics[0]?.partitions[0]
    assert.ok(found)
    return found
  }

  async function found(version: number, of: NewTopic, timestamp: number, options = {}): Promise<[number, number]> {
    const { errorCode, timestamp: time, offset } = await list(version, of, timestamp, options)
    assert.equal(errorCode, 0)
    return [time, offset]
  }

  async function deleteBefore(
    name: string,
    offsets: number[],
    version = 2,
    partitionIndex = 0,
  ): Promise<[number, number][]> {
    const answer = await wire.call(api.deleteRecords, version, {
      topics: [{ name, partitions: offsets.map((offset) => ({ partitionIndex, offset })) }],
      timeoutMs: 10_000,
    })
    return answer.topics.flatMap(({ partitions }) =>
      partitions.map(({ errorCode, lowWatermark }): [number, number] => [errorCode, lowWatermark]),
    )
  }

  describe('ListOffsets', () => {
    test('latest and earliest, in both isolation levels', async () => {
      for (const version of [1, 2, 11]) {
        for (const isolationLevel of [0, 1]) {
          assert.deepEqual(await found(version, topic, Timestamp.latest, { isolationLevel }), [-1, 5])
          assert.deepEqual(await found(version, topic, Timestamp.earliest, { isolationLevel }), [-1, 0])
        }
        assert.deepEqual(await found(version, empty, Timestamp.latest), [-1, 0])
      }
    })

    test('the largest timestamp, from version 7 on', async () => {
      for (const version of [7, 11]) {
        assert.deepEqual(await found(version, topic, Timestamp.max), [3000, 3])
        assert.deepEqual(await found(version, empty, Timestamp.max), [-1, -1])
      }
    })

    test('the first record at or after a time, found inside its batch', async () => {
      for (const version of [1, 11]) {
        assert.deepEqual(await found(version, topic, 0), [1000, 0])
        assert.deepEqual(await found(version, topic, 1000), [1000, 0])
        assert.deepEqual(await found(version, topic, 1001), [3000, 3])
        assert.deepEqual(await found(version, topic, 3000), [3000, 3])
        assert.deepEqual(await found(version, topic, 3001), [-1, -1])
        assert.deepEqual(await found(version, empty, 0), [-1, -1])
      }
    })

    test('the largest timestamp behind a log start that was moved', async () => {
      const moved = await newTopic(wire, bench.name('offsets'))
      await append(moved, ['a'], 9000)
      await append(moved, ['b'], 1000)
      assert.deepEqual(await deleteBefore(moved.name, [1]), [[0, 1]])
      // Kafka goes on naming a record that can no longer be read; Millrace names one that can.
      assert.deepEqual(await found(11, moved, Timestamp.max), bench.isKafka ? [9000, 0] : [1000, 1])
      assert.deepEqual(await found(11, moved, 5000), [-1, -1])
    })

    test('tiers that do not exist: the local start is the start, the others are -1', async () => {
      assert.deepEqual(await found(8, topic, Timestamp.earliestLocal), [-1, 0])
      assert.deepEqual(await found(9, topic, Timestamp.latestTiered), [-1, -1])
      assert.deepEqual(await found(11, topic, Timestamp.pendingUpload), [-1, -1])
    })

    test('other negative times, or those of later versions, are UNSUPPORTED_VERSION', async () => {
      for (const [version, timestamp] of [
        [1, Timestamp.max],
        [6, Timestamp.max],
        [7, Timestamp.earliestLocal],
        [8, Timestamp.latestTiered],
        [10, Timestamp.pendingUpload],
        [11, -7],
        [11, -100],
      ] as const) {
        const { errorCode, offset } = await list(version, topic, timestamp)
        assert.deepEqual([errorCode, offset], [ErrorCode.UNSUPPORTED_VERSION, -1], `v${version} ${timestamp}`)
      }
    })

    test('the leader epoch is told from version 4 on; -1 where nothing is found', async () => {
      assert.ok(leaderEpoch >= 0)
      assert.equal((await list(3, topic, Timestamp.latest)).leaderEpoch, -1)
      for (const version of [4, 11]) {
        assert.equal((await list(version, topic, Timestamp.latest)).leaderEpoch, leaderEpoch)
        assert.equal((await list(version, topic, Timestamp.earliest)).leaderEpoch, leaderEpoch)
        assert.equal((await list(version, topic, 1000)).leaderEpoch, leaderEpoch)
        assert.equal((await list(version, topic, 9000)).leaderEpoch, -1)
        assert.ok((await list(version, empty, Timestamp.latest)).leaderEpoch >= 0)
      }
    })

    test('unknown topics and partitions are UNKNOWN_TOPIC_OR_PARTITION', async () => {
      for (const version of [1, 11]) {
        const unknown = await list(version, 'offsets-unknown', Timestamp.latest)
        assert.deepEqual(
          [unknown.errorCode, unknown.offset, unknown.timestamp],
          [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1],
        )
        const partition = await list(version, topic, Timestamp.latest, { partitionIndex: 9 })
        assert.equal(partition.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      }
    })

    test('leader epochs are fenced', async () => {
      for (const version of [4, 11]) {
        const newer = await list(version, topic, Timestamp.latest, { currentLeaderEpoch: leaderEpoch + 1 })
        assert.equal(newer.errorCode, ErrorCode.UNKNOWN_LEADER_EPOCH)
        if (leaderEpoch > 0) {
          const older = await list(version, topic, Timestamp.latest, { currentLeaderEpoch: leaderEpoch - 1 })
          assert.equal(older.errorCode, ErrorCode.FENCED_LEADER_EPOCH)
        }
        assert.equal((await list(version, topic, Timestamp.latest, { currentLeaderEpoch: leaderEpoch })).errorCode, 0)
      }
    })

    test('a partition twice is one INVALID_REQUEST', async () => {
      for (const version of [1, 11]) {
        const answer = await wire.call(api.listOffsets, version, {
          replicaId: -1,
          topics: [
            {
              name: topic.name,
              partitions: [
                { partitionIndex: 0, timestamp: Timestamp.latest },
                { partitionIndex: 0, timestamp: Timestamp.earliest },
              ],
            },
          ],
          timeoutMs: 1000,
        })
        assert.deepEqual(
          answer.topics[0]?.partitions.map(({ errorCode, offset }) => [errorCode, offset]),
          [[ErrorCode.INVALID_REQUEST, -1]],
        )
      }
    })

    test('with LogAppendTime a batch answers with its first offset', async () => {
      const stamped = await newTopic(wire, bench.name('offsets'), 1, { 'message.timestamp.type': 'LogAppendTime' })
      await append(stamped, ['a', 'b', 'c'], 1000)
      const [time, offset] = await found(11, stamped, 5000)
      assert.ok(time > 1_000_000_000_000)
      assert.equal(offset, 0)
      assert.deepEqual(await found(11, stamped, Timestamp.max), [time, 0])
    })
  })

  describe('DeleteRecords', () => {
    test('-1 is the high watermark; what lies at or below the start changes nothing', async () => {
      for (const version of [0, 2]) {
        const { name } = await newTopic(wire, bench.name('offsets'))
        const of = { name, id: '' }
        await append(of, ['a', 'b', 'c', 'd'], 1000)
        assert.deepEqual(await deleteBefore(name, [2], version), [[0, 2]])
        assert.deepEqual(await found(11, of, Timestamp.earliest), [-1, 2])
        assert.deepEqual(await deleteBefore(name, [1], version), [[0, 2]])
        assert.deepEqual(await deleteBefore(name, [2], version), [[0, 2]])
        assert.deepEqual(await deleteBefore(name, [0], version), [[0, 2]])
        assert.deepEqual(await deleteBefore(name, [-1], version), [[0, 4]])
        assert.deepEqual(await found(11, of, Timestamp.earliest), [-1, 4])
        assert.deepEqual(await found(11, of, Timestamp.latest), [-1, 4])
        await append(of, ['e'], 1000)
        assert.deepEqual(await found(11, of, Timestamp.latest), [-1, 5])
      }
    })

    test('below -1 and above the high watermark: OFFSET_OUT_OF_RANGE', async () => {
      for (const offset of [-2, 6, 1_000_000]) {
        assert.deepEqual(await deleteBefore(topic.name, [offset]), [[ErrorCode.OFFSET_OUT_OF_RANGE, -1]])
      }
    })

    test('unknown: UNKNOWN_TOPIC_OR_PARTITION', async () => {
      for (const version of [0, 2]) {
        assert.deepEqual(await deleteBefore('offsets-unknown', [0], version), [
          [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1],
        ])
        assert.deepEqual(await deleteBefore(topic.name, [0], version, 7), [[ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1]])
      }
    })

    test('a partition twice: the last offset counts', async () => {
      const of = await newTopic(wire, bench.name('offsets'))
      await append(of, ['a', 'b', 'c'], 1000)
      assert.deepEqual(await deleteBefore(of.name, [3, 1]), [[0, 1]])
      assert.deepEqual(await found(11, of, Timestamp.earliest), [-1, 1])
    })

    test('an internal topic is INVALID_TOPIC_EXCEPTION', async () => {
      await coordinated(wire, 'offsets')
      assert.deepEqual(await deleteBefore('__consumer_offsets', [0]), [[ErrorCode.INVALID_TOPIC_EXCEPTION, -1]])
    })

    test('in the middle of a batch, and the lookup by time does not look below', async () => {
      const of = await newTopic(wire, bench.name('offsets'))
      await append(of, ['a', 'b', 'c'], 1000)
      await append(of, ['d'], 2000)
      assert.deepEqual(await deleteBefore(of.name, [1]), [[0, 1]])
      const answer = await wire.call(api.fetch, 11, {
        maxWaitMs: 0,
        minBytes: 0,
        topics: [{ topic: of.name, partitions: [{ partition: 0, fetchOffset: 1, partitionMaxBytes: 10_000 }] }],
      })
      assert.deepEqual(
        decodeRecords(Buffer.from(answer.responses[0]?.partitions[0]?.records ?? [])).map(({ offset }) => offset),
        [0, 1, 2, 3],
      )
      assert.deepEqual(await found(11, of, 1000), [1000, 1])
    })
  })

  describe('OffsetForLeaderEpoch', () => {
    async function endOf(version: number, name: string, epoch: number, partition = 0, currentLeaderEpoch = -1) {
      const answer = await wire.call(api.offsetForLeaderEpoch, version, {
        topics: [{ topic: name, partitions: [{ partition, leaderEpoch: epoch, currentLeaderEpoch }] }],
      })
      const found = answer.topics[0]?.partitions[0]
      return [found?.errorCode, found?.leaderEpoch, found?.endOffset]
    }

    test('the current epoch ends at the log end, unknown ones at -1', async () => {
      for (const version of [2, 3, 4]) {
        assert.deepEqual(await endOf(version, topic.name, leaderEpoch), [0, leaderEpoch, 5])
        assert.deepEqual(await endOf(version, topic.name, leaderEpoch + 1), [0, -1, -1])
        assert.deepEqual(await endOf(version, topic.name, -1), [0, -1, -1])
        const [error, epoch, offset] = await endOf(version, empty.name, leaderEpoch)
        assert.deepEqual([error, epoch, offset], [0, leaderEpoch, 0])
      }
    })

    test('unknown: UNKNOWN_TOPIC_OR_PARTITION; leader epochs are fenced', async () => {
      for (const version of [2, 4]) {
        assert.deepEqual(await endOf(version, 'offsets-unknown', 0), [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1])
        assert.deepEqual(await endOf(version, topic.name, 0, 7), [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1])
        assert.deepEqual(await endOf(version, topic.name, 0, 0, leaderEpoch + 1), [
          ErrorCode.UNKNOWN_LEADER_EPOCH,
          -1,
          -1,
        ])
      }
    })
  })

  describe('DescribeProducers', () => {
    async function producers(name: string, partition = 0) {
      const answer = await wire.call(api.describeProducers, 0, { topics: [{ name, partitionIndexes: [partition] }] })
      const found = answer.topics[0]?.partitions[0]
      assert.ok(found)
      return found
    }

    test('what an idempotent producer has written last', async () => {
      const of = await newTopic(wire, bench.name('offsets'))
      assert.deepEqual((await producers(of.name)).activeProducers, [])
      const { producerId } = await eventually('a producer id', 20_000, async () => {
        const answer = await wire.call(api.initProducerId, 4, { transactionalId: null, transactionTimeoutMs: 1000 })
        return answer.errorCode === 0 ? answer : undefined
      })
      const values = ['a', 'b', 'c'].map((value) => Buffer.from(value))
      const records = recordBatch({ values, producerId, producerEpoch: 3, baseSequence: 0, timestampMs: 4321 })
      await wire.call(api.produce, 9, {
        acks: -1,
        timeoutMs: 10_000,
        topicData: [{ name: of.name, partitionData: [{ index: 0, records }] }],
      })
      const { errorCode, errorMessage, activeProducers } = await producers(of.name)
      assert.deepEqual([errorCode, errorMessage], [0, null])
      assert.deepEqual(activeProducers, [
        {
          producerId,
          producerEpoch: 3,
          lastSequence: 2,
          lastTimestamp: 4321,
          coordinatorEpoch: -1,
          currentTxnStartOffset: -1,
        },
      ])
    })

    test('unknown is UNKNOWN_TOPIC_OR_PARTITION, an illegal name INVALID_TOPIC_EXCEPTION with a message', async () => {
      assert.equal((await producers('offsets-unknown')).errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      assert.equal((await producers(topic.name, 7)).errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      const illegal = await producers('not a name')
      assert.equal(illegal.errorCode, ErrorCode.INVALID_TOPIC_EXCEPTION)
      assert.ok(illegal.errorMessage)
    })
  })
})
