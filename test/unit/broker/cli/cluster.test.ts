// Finding brokers, leaders and coordinators, and trying again while they change.

import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { Cluster, NoSuchItem } from '../../../../broker/cli/client/cluster.ts'
import { Refused, Unreachable, Unsupported } from '../../../../broker/cli/client/errors.ts'
import { committedOffsets, describeGroup } from '../../../../broker/cli/client/groups.ts'
import { LATEST, listOffsets } from '../../../../broker/cli/client/offsets.ts'
import { createTopic } from '../../../../broker/cli/client/topics.ts'
import { ApiKey } from '../../../../protocol/api.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { FakeBroker } from './fake-broker.ts'

describe('a cluster of several brokers', () => {
  let brokers: [FakeBroker, FakeBroker]
  let cluster: Cluster
  /** Leader by partition of the one topic. */
  let leaders: number[]
  let controllerId: number

  before(async () => {
    brokers = [await FakeBroker.start(1), await FakeBroker.start(2)]
  })

  after(async () => {
    for (const broker of brokers) await broker.close()
  })

  beforeEach(() => {
    leaders = [1, 2]
    controllerId = 2
    for (const broker of brokers) {
      broker.asked.length = 0
      broker.on(ApiKey.Metadata, 4, 9, (request) => {
        const topics = request.topics as { name: string }[] | null
        return {
          brokers: brokers.map(({ nodeId, port }) => ({ nodeId, host: '127.0.0.1', port })),
          controllerId,
          topics: (topics ?? [{ name: 't' }]).map(({ name }) => ({
            errorCode: name === 't' ? ErrorCode.NONE : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            name,
            partitions: leaders.map((leaderId, partitionIndex) => ({
              errorCode: 0,
              partitionIndex,
              leaderId,
              replicaNodes: [leaderId],
              isrNodes: [leaderId],
            })),
          })),
        }
      })
      broker.on(ApiKey.ListOffsets, 1, 3, (request) => {
        const [topic] = request.topics as { partitions: { partitionIndex: number }[] }[]
        const partitions = topic?.partitions ?? []
        return {
          topics: [
            {
              name: 't',
              partitions: partitions.map(({ partitionIndex }) => ({
                partitionIndex,
                errorCode: leaders[partitionIndex] === broker.nodeId ? 0 : ErrorCode.NOT_LEADER_OR_FOLLOWER,
                offset: 100 * broker.nodeId + partitionIndex,
              })),
            },
          ],
        }
      })
    }
    cluster = new Cluster({ bootstrap: [{ host: '127.0.0.1', port: brokers[0].port }], timeoutMs: 5000 })
  })

  afterEach(() => cluster.close())

  const partitions = [
    { topic: 't', partition: 0 },
    { topic: 't', partition: 1 },
  ]

  test('each partition is asked of its leader, in a version that both sides know', async () => {
    assert.deepEqual(
      [...(await listOffsets(cluster, partitions, LATEST))],
      [
        ['t/0', 100],
        ['t/1', 201],
      ],
    )
    assert.equal(brokers[1].asked.filter((key) => key === ApiKey.ListOffsets).length, 1)
  })

  test('a leader that has moved is looked up again', async () => {
    await listOffsets(cluster, partitions, LATEST)
    leaders = [2, 2]
    assert.deepEqual(
      [...(await listOffsets(cluster, partitions, LATEST))],
      [
        ['t/0', 200],
        ['t/1', 201],
      ],
    )
  })

  test('a connection that was lost is opened again', async () => {
    await listOffsets(cluster, partitions, LATEST)
    for (const broker of brokers) broker.disconnect()
    assert.equal((await listOffsets(cluster, partitions, LATEST)).get('t/1'), 201)
  })

  test('topics are created at the controller, and refusals keep their words', async () => {
    const create = { name: 'new', partitions: 1, replicationFactor: 1, configs: [] }
    brokers[1].on(ApiKey.CreateTopics, 2, 4, () => ({
      topics: [{ name: 'new', errorCode: ErrorCode.POLICY_VIOLATION, errorMessage: 'not that name' }],
    }))
    await assert.rejects(createTopic(cluster, create, false), (error) => {
      assert.ok(error instanceof Refused)
      assert.equal(error.message, 'cannot create topic new: not that name')
      return error.code === ErrorCode.POLICY_VIOLATION
    })
    assert.ok(!brokers[0].asked.includes(ApiKey.CreateTopics))
  })

  test('a request to the wrong controller is sent again to the right one', async () => {
    const create = { name: 'new', partitions: 1, replicationFactor: 1, configs: [] }
    const answer = (errorCode: number) => () => ({ topics: [{ name: 'new', errorCode, errorMessage: null }] })
    brokers[1].on(ApiKey.CreateTopics, 2, 4, () => {
      controllerId = 1
      return answer(ErrorCode.NOT_CONTROLLER)()
    })
    brokers[0].on(ApiKey.CreateTopics, 2, 4, answer(ErrorCode.NONE))
    await createTopic(cluster, create, false)
    assert.ok(brokers[0].asked.includes(ApiKey.CreateTopics))
  })

  test('group requests go to the coordinator, old versions of them included', async () => {
    let coordinatorId = 1
    for (const broker of brokers) {
      broker.on(ApiKey.FindCoordinator, 0, 1, () => ({ errorCode: 0, nodeId: coordinatorId, host: '', port: 0 }))
      broker.on(ApiKey.OffsetFetch, 1, 2, () => {
        const moved = broker.nodeId === 1
        if (moved) coordinatorId = 2
        const errorCode = moved ? ErrorCode.NOT_COORDINATOR : ErrorCode.NONE
        const partition = { partitionIndex: 1, committedOffset: 7, metadata: '', errorCode: 0 }
        return { errorCode, topics: moved ? [] : [{ name: 't', partitions: [partition] }] }
      })
    }
    assert.deepEqual(await committedOffsets(cluster, 'g', null), [
      { topic: 't', partition: 1, offset: 7, metadata: '' },
    ])
  })

  test('an API that the broker lacks is named, and nothing is tried again', async () => {
    await assert.rejects(describeGroup(cluster, 'g'), (error) => {
      assert.ok(error instanceof Unsupported)
      return /DescribeGroups is needed/.test(error.message)
    })
  })

  test('a missing topic or partition is an answer, not something to wait for', async () => {
    await assert.rejects(listOffsets(cluster, [{ topic: 'u', partition: 0 }], LATEST), NoSuchItem)
    await assert.rejects(listOffsets(cluster, [{ topic: 't', partition: 9 }], LATEST), NoSuchItem)
  })

  test('any of the addresses will do, and none is an error at once', async () => {
    const gone = await FakeBroker.start(3)
    await gone.close()
    const dead = { host: '127.0.0.1', port: gone.port }
    const some = new Cluster({ bootstrap: [dead, { host: '127.0.0.1', port: brokers[1].port }], timeoutMs: 5000 })
    assert.equal((await some.metadata([])).length, 0)
    some.close()
    const none = new Cluster({ bootstrap: [dead], timeoutMs: 5000 })
    await assert.rejects(
      none.attempt(() => none.metadata([])),
      Unreachable,
    )
    none.close()
  })
})
