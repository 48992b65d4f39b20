// What Kafka answers to Metadata, DescribeTopicPartitions, DescribeCluster, DescribeLogDirs.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode } from '../../protocol/errors.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import { eventually } from '../support/process.ts'
import { recordBatch } from '../support/raw.ts'
import { api, Bench, coordinated, type NewTopic, newTopic, UNKNOWN_ID, type Wire } from '../support/wire.ts'

const NOT_ASKED = -0x8000_0000
const TOPIC_OPERATIONS = 3576
const CLUSTER_OPERATIONS = 8096

describe('metadata', () => {
  const bench = new Bench()
  let wire: Wire
  let topic: NewTopic
  let other: NewTopic

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('metadata'), 2)
    other = await newTopic(wire, bench.name('metadata'), 1)
  })

  async function ask(version: number, topics: { name?: string | null; topicId?: string }[] | null, create = false) {
    return wire.call(api.metadata, version, {
      topics: topics?.map(({ name = null, topicId = ZERO_UUID }) => ({ name, topicId })) ?? null,
      allowAutoTopicCreation: create,
    })
  }

  test('version 0 with no topics and later ones with null list every topic', async () => {
    for (const answer of [await ask(0, []), await ask(1, null), await ask(13, null)]) {
      const names = answer.topics.map(({ name }) => name)
      assert.ok(names.includes(topic.name) && names.includes(other.name))
    }
  })

  test('an empty list from version 1 on lists no topics, but brokers', async () => {
    for (const version of [1, 9, 13]) {
      const answer = await ask(version, [])
      assert.deepEqual(answer.topics, [])
      assert.deepEqual(
        answer.brokers.map(({ port }) => port),
        [bench.target.port],
      )
    }
  })

  test('the cluster id comes from version 2 on, the controller is a broker from 1 on', async () => {
    const brokerId = (await ask(13, [])).brokers[0]?.nodeId
    assert.equal((await ask(1, [])).controllerId, brokerId)
    assert.equal((await ask(1, [])).clusterId, null)
    assert.equal(typeof (await ask(2, [])).clusterId, 'string')
  })

  test('an unknown topic is UNKNOWN_TOPIC_OR_PARTITION, an illegal name INVALID_TOPIC_EXCEPTION', async () => {
    for (const version of [4, 8, 9, 10, 12, 13]) {
      const answer = await ask(version, [
        { name: 'metadata-unknown' },
        { name: 'not a name' },
        { name: '' },
        { name: '..' },
      ])
      assert.deepEqual(
        answer.topics.map(({ name, errorCode, partitions, topicId }) => [name, errorCode, partitions, topicId]).sort(),
        [
          ['', ErrorCode.INVALID_TOPIC_EXCEPTION, [], ZERO_UUID],
          ['..', ErrorCode.INVALID_TOPIC_EXCEPTION, [], ZERO_UUID],
          ['metadata-unknown', ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, [], ZERO_UUID],
          ['not a name', ErrorCode.INVALID_TOPIC_EXCEPTION, [], ZERO_UUID],
        ],
        `v${version}`,
      )
    }
  })

  test('an illegal name is INVALID_TOPIC_EXCEPTION also where the topic would be created', async () => {
    for (const version of [0, 4, 13]) {
      const answer = await ask(version, [{ name: 'not a name' }], true)
      assert.equal(answer.topics[0]?.errorCode, ErrorCode.INVALID_TOPIC_EXCEPTION)
    }
  })

  test('a topic named twice is listed once', async () => {
    for (const version of [0, 9, 13]) {
      const answer = await ask(version, [{ name: topic.name }, { name: topic.name }])
      assert.deepEqual(
        answer.topics.map(({ name, errorCode }) => [name, errorCode]),
        [[topic.name, ErrorCode.NONE]],
      )
    }
  })

  test('a topic has its id from version 10 on, its partitions leader and replicas', async () => {
    for (const version of [0, 1, 5, 7, 9, 10, 13]) {
      const { brokers, topics } = await ask(version, [{ name: topic.name }])
      const leader = brokers[0]?.nodeId ?? -1
      const [found] = topics
      assert.equal(found?.topicId, version >= 10 ? topic.id : ZERO_UUID)
      assert.equal(found?.isInternal, false)
      const shown = found?.partitions.map((partition) => ({ ...partition, leaderEpoch: 0 }))
      shown?.sort((left, right) => left.partitionIndex - right.partitionIndex)
      assert.deepEqual(
        shown,
        [0, 1].map((partitionIndex) => ({
          errorCode: 0,
          partitionIndex,
          leaderId: leader,
          leaderEpoch: 0,
          replicaNodes: [leader],
          isrNodes: [leader],
          offlineReplicas: [],
        })),
      )
      assert.ok(found?.partitions.every(({ leaderEpoch }) => (version >= 7 ? leaderEpoch >= 0 : leaderEpoch === -1)))
    }
  })

  test('a topic is found by id from version 12 on, whatever name stands beside it', async () => {
    for (const version of [12, 13]) {
      const answer = await ask(version, [{ topicId: topic.id }, { name: 'ignored', topicId: other.id }])
      assert.deepEqual(
        answer.topics.map(({ name, errorCode, topicId }) => [name, errorCode, topicId]).sort(),
        [
          [topic.name, ErrorCode.NONE, topic.id],
          [other.name, ErrorCode.NONE, other.id],
        ].sort(),
      )
    }
  })

  test('an unknown id is UNKNOWN_TOPIC_ID with a null name', async () => {
    for (const version of [12, 13]) {
      const { topics } = await ask(version, [{ topicId: UNKNOWN_ID }])
      assert.deepEqual(
        topics.map(({ name, errorCode, topicId, partitions }) => [name, errorCode, topicId, partitions]),
        [[null, ErrorCode.UNKNOWN_TOPIC_ID, UNKNOWN_ID, []]],
      )
    }
  })

  test('one id in the request, and names without one vanish', async () => {
    const { topics } = await ask(13, [{ topicId: topic.id }, { name: other.name }])
    assert.deepEqual(
      topics.map(({ name }) => name),
      [topic.name],
    )
  })

  test('versions 10 and 11 refuse ids and null names, all with INVALID_REQUEST and an emptied answer', async () => {
    for (const version of [10, 11]) {
      for (const odd of [{ topicId: topic.id, name: 'x' }, { name: null }]) {
        const answer = await ask(version, [{ name: topic.name }, odd])
        assert.deepEqual(
          answer.topics.map(({ errorCode }) => errorCode),
          [ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST],
        )
        assert.deepEqual([answer.brokers, answer.clusterId, answer.controllerId], [[], null, -1])
      }
    }
  })

  test('a null name without id is UNKNOWN_SERVER_ERROR from version 12 on, with an emptied answer', async () => {
    const answer = await ask(12, [{ name: null }])
    assert.deepEqual(
      answer.topics.map(({ errorCode }) => errorCode),
      [ErrorCode.UNKNOWN_SERVER_ERROR],
    )
    assert.deepEqual([answer.brokers, answer.clusterId, answer.controllerId], [[], null, -1])
  })

  test('authorized operations are told when asked for, also of unknown topics', async () => {
    for (const version of [8, 10]) {
      const request = { topics: [{ name: topic.name }, { name: 'metadata-unknown' }], allowAutoTopicCreation: false }
      const asked = await wire.call(api.metadata, version, {
        ...request,
        includeClusterAuthorizedOperations: true,
        includeTopicAuthorizedOperations: true,
      })
      assert.equal(asked.clusterAuthorizedOperations, CLUSTER_OPERATIONS)
      assert.deepEqual(
        asked.topics.map(({ topicAuthorizedOperations }) => topicAuthorizedOperations),
        [TOPIC_OPERATIONS, TOPIC_OPERATIONS],
      )
      const plain = await wire.call(api.metadata, version, request)
      assert.equal(plain.clusterAuthorizedOperations, NOT_ASKED)
      assert.equal(plain.topics[0]?.topicAuthorizedOperations, NOT_ASKED)
    }
  })

  test('a topic is created because it is named, in versions 0 to 3 always', async () => {
    for (const version of [0, 3, 4, 13]) {
      const name = bench.name('metadata-auto')
      const first = await ask(version, [{ name }], version >= 4)
      if (bench.isKafka) {
        assert.deepEqual(
          first.topics.map(({ errorCode }) => errorCode),
          [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
        )
      } else {
        // Millrace creates first and answers then, so that the first produce needs no second round.
        assert.deepEqual(
          first.topics.map(({ errorCode, partitions }) => [errorCode, partitions.length]),
          [[ErrorCode.NONE, 1]],
        )
      }
      await eventually('the topic', 10_000, async () => {
        const again = await ask(13, [{ name }])
        return again.topics[0]?.errorCode === ErrorCode.NONE ? true : undefined
      })
    }
  })

  test('a name that collides with a topic is never created', async () => {
    const base = bench.name('metadata')
    await newTopic(wire, `${base}.x`)
    for (let again = 0; again < 2; again++) {
      const answer = await ask(9, [{ name: `${base}_x` }], true)
      assert.equal(answer.topics[0]?.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    }
  })

  test('internal is __consumer_offsets, and not every name with underscores', async () => {
    await coordinated(wire, 'metadata')
    const plain = await newTopic(wire, `__${bench.name('metadata')}`)
    const answer = await ask(13, [{ name: '__consumer_offsets' }, { name: plain.name }])
    assert.deepEqual(
      answer.topics.map(({ name, isInternal }) => [name, isInternal]).sort(),
      [
        ['__consumer_offsets', true],
        [plain.name, false],
      ].sort(),
    )
    assert.equal(answer.topics.find(({ isInternal }) => isInternal)?.partitions.length, 50)
  })

  describe('DescribeTopicPartitions', () => {
    let a: NewTopic
    let b: NewTopic
    let c: NewTopic

    before(async () => {
      const base = bench.name('paged')
      a = await newTopic(wire, `${base}-a`, 3)
      b = await newTopic(wire, `${base}-b`, 2)
      c = await newTopic(wire, `${base}-c`, 1)
    })

    async function page(
      names: string[],
      limit: number,
      cursor: { topicName: string; partitionIndex: number } | null = null,
    ) {
      const answer = await wire.call(api.describeTopicPartitions, 0, {
        topics: names.map((name) => ({ name })),
        responsePartitionLimit: limit,
        cursor,
      })
      const topics = answer.topics.map(({ name, errorCode, partitions }) => [
        name,
        errorCode,
        partitions.map(({ partitionIndex }) => partitionIndex),
      ])
      return { topics, nextCursor: answer.nextCursor }
    }

    test('topics are sorted by name, duplicates merged', async () => {
      assert.deepEqual(await page([c.name, a.name, c.name], 2000), {
        topics: [
          [a.name, 0, [0, 1, 2]],
          [c.name, 0, [0]],
        ],
        nextCursor: null,
      })
    })

    test('the cursor names the first partition that was not sent', async () => {
      const all = [a.name, b.name, c.name]
      const first = await page(all, 2)
      assert.deepEqual(first, {
        topics: [[a.name, 0, [0, 1]]],
        nextCursor: { topicName: a.name, partitionIndex: 2 },
      })
      assert.deepEqual(await page(all, 3, first.nextCursor), {
        topics: [
          [a.name, 0, [2]],
          [b.name, 0, [0, 1]],
        ],
        nextCursor: { topicName: c.name, partitionIndex: 0 },
      })
      assert.deepEqual(await page(all, 3, { topicName: c.name, partitionIndex: 0 }), {
        topics: [[c.name, 0, [0]]],
        nextCursor: null,
      })
    })

    test('a limit of 0 or less counts as 1', async () => {
      for (const limit of [0, -5]) {
        assert.deepEqual(await page([b.name], limit), {
          topics: [[b.name, 0, [0]]],
          nextCursor: { topicName: b.name, partitionIndex: 1 },
        })
      }
    })

    test('a cursor beyond the last partition gives the topic without partitions and goes on', async () => {
      assert.deepEqual(await page([a.name, b.name], 10, { topicName: a.name, partitionIndex: 9 }), {
        topics: [
          [a.name, 0, []],
          [b.name, 0, [0, 1]],
        ],
        nextCursor: null,
      })
    })

    test('a cursor on a topic that is not listed, or on a negative partition, is INVALID_REQUEST for every topic', async () => {
      for (const cursor of [
        { topicName: c.name, partitionIndex: 0 },
        { topicName: a.name, partitionIndex: -1 },
      ]) {
        const { topics } = await page([a.name, b.name], 10, cursor)
        assert.deepEqual(
          topics.map(([name, errorCode]) => [name, errorCode]),
          [
            [a.name, ErrorCode.INVALID_REQUEST],
            [b.name, ErrorCode.INVALID_REQUEST],
          ],
        )
      }
    })

    test('without names all topics are paged, from a cursor that need not exist', async () => {
      const { topics, nextCursor } = await page([], 4, { topicName: `${a.name}0`, partitionIndex: 0 })
      assert.deepEqual(topics.slice(0, 2), [
        [b.name, 0, [0, 1]],
        [c.name, 0, [0]],
      ])
      assert.ok(nextCursor === null || nextCursor.topicName > c.name)
    })

    test('unknown and illegal names are told and use none of the limit', async () => {
      assert.deepEqual(await page([a.name, '0-unknown', '1 illegal'], 3), {
        topics: [
          ['0-unknown', ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, []],
          ['1 illegal', ErrorCode.INVALID_TOPIC_EXCEPTION, []],
          [a.name, 0, [0, 1, 2]],
        ],
        nextCursor: null,
      })
      // Behind a full page even what does not exist waits for the next one.
      const unknown = `${a.name}-unknown`
      assert.deepEqual(await page([a.name, unknown], 3), {
        topics: [[a.name, 0, [0, 1, 2]]],
        nextCursor: { topicName: unknown, partitionIndex: 0 },
      })
    })

    test('operations are always told, ELR lists are empty', async () => {
      const answer = await wire.call(api.describeTopicPartitions, 0, { topics: [{ name: a.name }] })
      assert.deepEqual(
        [answer.topics[0]?.topicId, answer.topics[0]?.topicAuthorizedOperations, answer.topics[0]?.isInternal],
        [a.id, TOPIC_OPERATIONS, false],
      )
      const partition = answer.topics[0]?.partitions[0]
      assert.deepEqual(
        [partition?.eligibleLeaderReplicas, partition?.lastKnownElr, partition?.offlineReplicas],
        [[], [], []],
      )
    })
  })

  describe('DescribeCluster', () => {
    test('brokers are told with operations when asked', async () => {
      for (const version of [0, 1, 2]) {
        const answer = await wire.call(api.describeCluster, version, { includeClusterAuthorizedOperations: true })
        assert.deepEqual([answer.errorCode, answer.errorMessage], [0, null])
        assert.equal(answer.clusterAuthorizedOperations, CLUSTER_OPERATIONS)
        assert.deepEqual(
          answer.brokers.map(({ brokerId, port, isFenced }) => [brokerId, port, isFenced]),
          [[answer.controllerId, bench.target.port, false]],
        )
        const plain = await wire.call(api.describeCluster, version, { includeClusterAuthorizedOperations: false })
        assert.equal(plain.clusterAuthorizedOperations, NOT_ASKED)
      }
    })

    test('endpoint type 2 is MISMATCHED_ENDPOINT_TYPE, others UNSUPPORTED_ENDPOINT_TYPE', async () => {
      for (const [endpointType, error] of [
        [2, ErrorCode.MISMATCHED_ENDPOINT_TYPE],
        [0, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE],
        [3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE],
      ] as const) {
        const answer = await wire.call(api.describeCluster, 1, {
          includeClusterAuthorizedOperations: false,
          endpointType,
        })
        assert.deepEqual(
          [answer.errorCode, answer.clusterId, answer.controllerId, answer.brokers],
          [error, '', -1, []],
          `type ${endpointType}`,
        )
        assert.ok(answer.errorMessage)
      }
    })
  })

  describe('DescribeLogDirs', () => {
    test('null lists every replica, an empty list none', async () => {
      for (const version of [1, 2, 5]) {
        const all = await wire.call(api.describeLogDirs, version, { topics: null })
        assert.ok(all.results[0]?.topics.some(({ name }) => name === topic.name))
        const none = await wire.call(api.describeLogDirs, version, { topics: [] })
        assert.deepEqual(
          none.results.map(({ errorCode, topics }) => [errorCode, topics]),
          [[0, []]],
        )
        assert.ok(version < 4 || Number(none.results[0]?.totalBytes) > Number(none.results[0]?.usableBytes))
        if (version < 4) assert.equal(none.results[0]?.totalBytes, -1)
      }
    })

    test('unknown topics and partitions are missing without an error, sizes are of the batches', async () => {
      const batch = recordBatch({ values: [Buffer.from('sized')] })
      await wire.call(api.produce, 9, {
        acks: -1,
        timeoutMs: 10_000,
        topicData: [{ name: topic.name, partitionData: [{ index: 1, records: batch }] }],
      })
      const answer = await wire.call(api.describeLogDirs, 5, {
        topics: [
          { topic: topic.name, partitions: [0, 1, 7] },
          { topic: 'metadata-unknown', partitions: [0] },
        ],
      })
      assert.equal(answer.errorCode, 0)
      const [found, ...more] = answer.results[0]?.topics ?? []
      assert.deepEqual(more, [])
      assert.deepEqual(
        found?.partitions.toSorted((left, right) => left.partitionIndex - right.partitionIndex),
        [
          { partitionIndex: 0, partitionSize: 0, offsetLag: 0, isFutureKey: false },
          { partitionIndex: 1, partitionSize: batch.length, offsetLag: 0, isFutureKey: false },
        ],
      )
    })
  })
})
