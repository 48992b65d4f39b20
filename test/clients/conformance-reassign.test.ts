// What Kafka answers to AlterPartitionReassignments, ListPartitionReassignments, ElectLeaders, DescribeQuorum, UnregisterBroker
// and DescribeCluster on one broker: everything but real moves, which need more of them.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode, errorName } from '../../protocol/errors.ts'
import { api, Bench, type NewTopic, newTopic, type Wire } from '../support/wire.ts'

/** No broker of the bench has it. */
const NOBODY = 77
const METADATA = { topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }

describe('reassignments and elections', () => {
  const bench = new Bench()
  let wire: Wire
  let topic: NewTopic
  let brokerId: number

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('reassign'))
    brokerId = (await wire.call(api.metadata, 13, { topics: [] })).brokers[0]?.nodeId ?? assert.fail()
  })

  /** Code and message of one partition's answer; both versions must agree. */
  async function alter(
    replicas: number[] | null,
    { name = topic.name, partitionIndex = 0 } = {},
  ): Promise<[string, string | null]> {
    const answers = []
    for (const version of [0, 1]) {
      const answer = await wire.call(api.alterPartitionReassignments, version, {
        topics: [{ name, partitions: [{ partitionIndex, replicas }] }],
      })
      assert.deepEqual([answer.errorCode, answer.errorMessage], [ErrorCode.NONE, null])
      const [result, ...more] = answer.responses
      assert.deepEqual([result?.name, more], [name, []])
      const [partition] = result?.partitions ?? []
      assert.equal(partition?.partitionIndex, partitionIndex)
      answers.push([errorName(partition.errorCode), partition.errorMessage] as [string, string | null])
    }
    assert.deepEqual(answers[0], answers[1])
    return answers[0] ?? assert.fail()
  }

  test('the list a partition already has is no change', async () => {
    assert.deepEqual(await alter([brokerId]), ['NONE', null])
    const { topics } = await wire.call(api.listPartitionReassignments, 0, { topics: null })
    assert.deepEqual(topics, [])
  })

  test('nothing can be cancelled where nothing moves', async () => {
    assert.deepEqual(await alter(null), ['NO_REASSIGNMENT_IN_PROGRESS', null])
  })

  test('a list with unknown brokers, one broker twice, or nobody is refused', async () => {
    const code = 'INVALID_REPLICA_ASSIGNMENT'
    const assignment = 'The manual partition assignment includes'
    assert.deepEqual(await alter([brokerId, NOBODY]), [
      code,
      `${assignment} broker ${NOBODY}, but no such broker is registered.`,
    ])
    assert.deepEqual(await alter([brokerId, brokerId]), [code, `${assignment} the broker ${brokerId} more than once.`])
    assert.deepEqual(await alter([]), [code, `${assignment} an empty replica list.`])
  })

  test('unknown topics and partitions are named', async () => {
    const code = 'UNKNOWN_TOPIC_OR_PARTITION'
    assert.deepEqual(await alter([brokerId], { partitionIndex: 9 }), [
      code,
      `Unable to find partition ${topic.name}:9.`,
    ])
    assert.deepEqual(await alter(null, { name: 'no-such-topic' }), [
      code,
      'Unable to find a topic named no-such-topic.',
    ])
  })

  test('partitions are answered one by one, also the same one twice', async () => {
    const answer = await wire.call(api.alterPartitionReassignments, 1, {
      topics: [
        {
          name: topic.name,
          partitions: [
            { partitionIndex: 0, replicas: null },
            { partitionIndex: 0, replicas: [brokerId] },
          ],
        },
        { name: topic.name, partitions: [{ partitionIndex: 0, replicas: [NOBODY] }] },
      ],
      allowReplicationFactorChange: false,
    })
    assert.equal(answer.allowReplicationFactorChange, false)
    assert.deepEqual(
      answer.responses.map(({ partitions }) => partitions.map(({ errorCode }) => errorName(errorCode))),
      [['NO_REASSIGNMENT_IN_PROGRESS', 'NONE'], ['INVALID_REPLICA_ASSIGNMENT']],
    )
  })

  test('who asks for nothing gets the defaults of the answer', async () => {
    const answer = await wire.call(api.alterPartitionReassignments, 1, {
      topics: [],
      allowReplicationFactorChange: false,
    })
    assert.deepEqual(answer, {
      throttleTimeMs: 0,
      allowReplicationFactorChange: true,
      errorCode: ErrorCode.NONE,
      errorMessage: '',
      responses: [],
    })
  })

  test('without time the answer is a timeout, at the top and per partition', async () => {
    const answer = await wire.call(api.alterPartitionReassignments, 1, {
      timeoutMs: 0,
      topics: [{ name: topic.name, partitions: [{ partitionIndex: 0, replicas: null }] }],
    })
    const codes = [answer.errorCode, answer.responses[0]?.partitions[0]?.errorCode]
    assert.deepEqual(codes, [ErrorCode.REQUEST_TIMED_OUT, ErrorCode.REQUEST_TIMED_OUT])
  })

  test('partitions that do not move, and unknown ones, are not listed', async () => {
    const answer = await wire.call(api.listPartitionReassignments, 0, {
      topics: [
        { name: topic.name, partitionIndexes: [0, 8] },
        { name: 'no-such-topic', partitionIndexes: [0] },
      ],
    })
    assert.deepEqual([answer.errorCode, answer.errorMessage, answer.topics], [ErrorCode.NONE, null, []])
  })

  test('a leader that is the preferred one needs no election, of either type', async () => {
    const needless = {
      partitionId: 0,
      errorCode: ErrorCode.ELECTION_NOT_NEEDED,
      errorMessage: 'Leader election not needed for topic partition.',
    }
    for (const [version, electionType] of [
      [0, 0],
      [1, 0],
      [1, 1],
      [2, 0],
      [2, 1],
    ] as const) {
      const answer = await wire.call(api.electLeaders, version, {
        electionType,
        topicPartitions: [{ topic: topic.name, partitions: [0] }],
      })
      assert.equal(answer.errorCode, ErrorCode.NONE)
      assert.deepEqual(answer.replicaElectionResults, [{ topic: topic.name, partitionResult: [needless] }])
    }
  })

  test('an election for all leaves out what needs none', async () => {
    for (const electionType of [0, 1]) {
      const answer = await wire.call(api.electLeaders, 2, { electionType, topicPartitions: null })
      const own = answer.replicaElectionResults.filter((result) => result.topic === topic.name)
      assert.deepEqual(own, [{ topic: topic.name, partitionResult: [] }])
    }
  })

  test('an election of unknown partitions names them, in the order of the request', async () => {
    const answer = await wire.call(api.electLeaders, 2, {
      topicPartitions: [
        { topic: 'no-such-topic', partitions: [1] },
        { topic: topic.name, partitions: [5, 0, 0] },
      ],
    })
    assert.deepEqual(
      answer.replicaElectionResults.flatMap(({ partitionResult }) =>
        partitionResult.map(({ partitionId, errorCode, errorMessage }) => [
          partitionId,
          errorName(errorCode),
          errorMessage,
        ]),
      ),
      [
        [1, 'UNKNOWN_TOPIC_OR_PARTITION', 'No such topic as no-such-topic'],
        [5, 'UNKNOWN_TOPIC_OR_PARTITION', `No such partition as ${topic.name}-5`],
        [0, 'ELECTION_NOT_NEEDED', 'Leader election not needed for topic partition.'],
        [0, 'ELECTION_NOT_NEEDED', 'Leader election not needed for topic partition.'],
      ],
    )
  })

  test('an unknown type of election is refused at the top and per partition', async () => {
    const ask = (topicPartitions: { topic: string; partitions: number[] }[] | null) =>
      wire.call(api.electLeaders, 2, { electionType: 7, topicPartitions })
    const named = await ask([{ topic: topic.name, partitions: [0] }])
    assert.equal(named.errorCode, ErrorCode.INVALID_REQUEST)
    assert.deepEqual(named.replicaElectionResults[0]?.partitionResult, [
      { partitionId: 0, errorCode: ErrorCode.INVALID_REQUEST, errorMessage: 'Unknown election type 7' },
    ])
    const all = await ask(null)
    assert.deepEqual([all.errorCode, all.replicaElectionResults], [ErrorCode.INVALID_REQUEST, []])
  })

  test('a broker nobody knows is not unregistered', async () => {
    for (const unknown of [NOBODY, -1]) {
      const answer = await wire.call(api.unregisterBroker, 0, { brokerId: unknown })
      assert.deepEqual(
        [answer.errorCode, answer.errorMessage],
        [ErrorCode.BROKER_ID_NOT_REGISTERED, `Broker ID ${unknown} is not currently registered`],
      )
    }
  })

  test('the quorum of the metadata is described with its leader and where everybody is', async () => {
    for (const version of [0, 1, 2]) {
      const answer = await wire.call(api.describeQuorum, version, { topics: [METADATA] })
      assert.equal(answer.errorCode, ErrorCode.NONE)
      const [partition] = answer.topics[0]?.partitions ?? []
      assert.ok(partition)
      assert.deepEqual(
        [partition.errorCode, partition.leaderId, partition.currentVoters.map(({ replicaId }) => replicaId)],
        [ErrorCode.NONE, brokerId, [brokerId]],
      )
      const [leader] = partition.currentVoters
      assert.ok(leader && leader.logEndOffset >= partition.highWatermark && partition.highWatermark > 0)
      assert.ok(partition.leaderEpoch > 0)
      assert.equal(leader.lastCaughtUpTimestamp > 0, version >= 1)
      assert.deepEqual(
        answer.nodes.map(({ nodeId }) => nodeId),
        version >= 2 ? [brokerId] : [],
      )
    }
  })

  test('the quorum of any other partition, or of several, is unknown', async () => {
    for (const topics of [
      [{ topicName: topic.name, partitions: [{ partitionIndex: 0 }, { partitionIndex: 3 }] }],
      [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 1 }] }],
      [METADATA, { topicName: 'x', partitions: [{ partitionIndex: 0 }] }],
      [],
    ]) {
      const answer = await wire.call(api.describeQuorum, 2, { topics })
      assert.deepEqual([answer.errorCode, answer.errorMessage, answer.nodes], [ErrorCode.NONE, '', []])
      assert.deepEqual(
        answer.topics.map(({ topicName, partitions }) => ({
          topicName,
          partitions: partitions.map(({ partitionIndex }) => ({ partitionIndex })),
        })),
        topics,
      )
      for (const { partitions } of answer.topics) {
        for (const { errorCode, leaderId, highWatermark, currentVoters } of partitions) {
          assert.deepEqual(
            [errorName(errorCode), leaderId, highWatermark, currentVoters],
            ['UNKNOWN_TOPIC_OR_PARTITION', 0, 0, []],
          )
        }
      }
    }
  })

  test('more replicas than brokers are refused', async () => {
    const { topics } = await wire.call(api.createTopics, 7, {
      topics: [{ name: bench.name('wide'), numPartitions: 1, replicationFactor: 99, assignments: [], configs: [] }],
      validateOnly: true,
    })
    assert.equal(topics[0]?.errorCode, ErrorCode.INVALID_REPLICATION_FACTOR)
    assert.match(
      topics[0]?.errorMessage ?? '',
      /^Unable to replicate the partition 99 time\(s\): The target replication factor of 99 cannot be reached because only 1 broker/,
    )
  })
})
