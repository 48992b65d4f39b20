// What Kafka answers where a broker setting decides: topics that are not created or deleted, limits, and how long groups wait.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why. Waits are measured from below only.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ErrorCode } from '../../protocol/errors.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import { eventually } from '../support/process.ts'
import { Bytes, recordBatch } from '../support/raw.ts'
import { api, Bench, coordinated, newTopic, type Wire } from '../support/wire.ts'

const properties = {
  'auto.create.topics.enable': 'false',
  'delete.topic.enable': 'false',
  'num.partitions': '3',
  'message.max.bytes': '2000',
  'log.message.timestamp.type': 'LogAppendTime',
  'max.request.partition.size.limit': '2',
  'offset.metadata.max.bytes': '10',
  'group.min.session.timeout.ms': '500',
  'group.max.size': '2',
  'group.initial.rebalance.delay.ms': '400',
}

// A broker that is already there has its own settings.
describe('settings', { skip: process.env.MILLRACE_TEST_BOOTSTRAP !== undefined }, () => {
  const bench = new Bench({ properties })
  let wire: Wire
  const metadata = new Bytes().int16(0).int32(0).bytes(null).done()

  before(async () => {
    wire = await bench.open()
    await coordinated(wire, 'settings')
    await eventually('a loaded group', 20_000, async () => {
      const { errorCode } = await join({ groupId: bench.name('group'), memberId: 'nobody' })
      return errorCode === ErrorCode.UNKNOWN_MEMBER_ID ? true : undefined
    })
  })

  function join(
    asked: {
      groupId: string
      memberId?: string
      groupInstanceId?: string
      sessionTimeoutMs?: number
      rebalanceTimeoutMs?: number
    },
    through: Wire = wire,
    version = 9,
  ) {
    return through.call(api.joinGroup, version, {
      memberId: '',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
      ...asked,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata }],
    })
  }

  async function enter(asked: Parameters<typeof join>[0], through: Wire = wire) {
    const first = await join(asked, through)
    return first.errorCode === ErrorCode.MEMBER_ID_REQUIRED
      ? join({ ...asked, memberId: first.memberId }, through)
      : first
  }

  async function beat(groupId: string, memberId: string, generationId: number): Promise<number> {
    return (await wire.call(api.heartbeat, 4, { groupId, memberId, generationId })).errorCode
  }

  async function sync(groupId: string, memberId: string, generationId: number): Promise<void> {
    const member = { groupId, memberId, generationId, protocolType: 'consumer', protocolName: 'range' }
    assert.equal((await wire.call(api.syncGroup, 5, { ...member, assignments: [] })).errorCode, 0)
  }

  async function stateOf(groupId: string): Promise<string | undefined> {
    return (await wire.call(api.describeGroups, 5, { groups: [groupId] })).groups[0]?.groupState
  }

  test('auto.create.topics.enable=false: no version creates a topic', async () => {
    for (const version of [0, 3, 4, 13]) {
      const name = bench.name('settings')
      for (let again = 0; again < 2; again++) {
        const answer = await wire.call(api.metadata, version, { topics: [{ name }], allowAutoTopicCreation: true })
        assert.equal(answer.topics[0]?.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      }
    }
  })

  test('delete.topic.enable=false: TOPIC_DELETION_DISABLED from version 3 on, INVALID_REQUEST before', async () => {
    const { name } = await newTopic(wire, bench.name('settings'))
    for (const version of [1, 2, 3, 6]) {
      const answer = await wire.call(api.deleteTopics, version, {
        topics: [{ name, topicId: ZERO_UUID }],
        topicNames: [name],
        timeoutMs: 10_000,
      })
      assert.deepEqual(
        answer.responses.map((result) => result.errorCode),
        [version < 3 ? ErrorCode.INVALID_REQUEST : ErrorCode.TOPIC_DELETION_DISABLED],
      )
    }
  })

  test('num.partitions is what -1 stands for', async () => {
    const topics = [
      { name: bench.name('settings'), numPartitions: -1, replicationFactor: -1, assignments: [], configs: [] },
    ]
    const answer = await wire.call(api.createTopics, 7, { topics, validateOnly: true })
    assert.deepEqual([answer.topics[0]?.errorCode, answer.topics[0]?.numPartitions], [0, 3])
  })

  test('message.max.bytes and log.message.timestamp.type are the defaults of topics, and shown as such', async () => {
    const of = await newTopic(wire, bench.name('settings'))
    const produce = async (bytes: number) => {
      const records = recordBatch({ values: [Buffer.alloc(bytes)], timestampMs: 5 })
      const answer = await wire.call(api.produce, 9, {
        acks: -1,
        timeoutMs: 10_000,
        topicData: [{ name: of.name, partitionData: [{ index: 0, records }] }],
      })
      const part = answer.responses[0]?.partitionResponses[0]
      return [part?.errorCode, Number(part?.logAppendTimeMs) > 1_000_000_000_000]
    }
    assert.deepEqual(await produce(3000), [ErrorCode.MESSAGE_TOO_LARGE, false])
    assert.deepEqual(await produce(100), [0, true])
    const { results } = await wire.call(api.describeConfigs, 4, {
      resources: [{ resourceType: 2, resourceName: of.name, configurationKeys: ['max.message.bytes'] }],
      includeSynonyms: true,
    })
    const [entry] = results[0]?.configs ?? []
    assert.deepEqual([entry?.value, entry?.configSource], ['2000', 4])
    assert.deepEqual(entry?.synonyms, [
      { name: 'message.max.bytes', value: '2000', source: 4 },
      { name: 'message.max.bytes', value: '1048588', source: 5 },
    ])
  })

  test('max.request.partition.size.limit bounds a page, whatever is asked', async () => {
    const of = await newTopic(wire, bench.name('settings'), 5)
    const answer = await wire.call(api.describeTopicPartitions, 0, {
      topics: [{ name: of.name }],
      responsePartitionLimit: 100,
    })
    assert.deepEqual(
      [answer.topics[0]?.partitions.length, answer.nextCursor],
      [2, { topicName: of.name, partitionIndex: 2 }],
    )
  })

  test('offset.metadata.max.bytes', async () => {
    const of = await newTopic(wire, bench.name('settings'))
    for (const [text, code] of [
      ['x'.repeat(10), 0],
      ['x'.repeat(11), ErrorCode.OFFSET_METADATA_TOO_LARGE],
    ] as const) {
      const answer = await wire.call(api.offsetCommit, 9, {
        groupId: bench.name('group'),
        memberId: '',
        topics: [{ name: of.name, partitions: [{ partitionIndex: 0, committedOffset: 1, committedMetadata: text }] }],
      })
      assert.equal(answer.topics[0]?.partitions[0]?.errorCode, code)
    }
  })

  test('group.initial.rebalance.delay.ms is waited from Empty, and again when somebody came meanwhile', async () => {
    const groupId = bench.name('group')
    const other = await bench.open()
    const startMs = performance.now()
    const first = join({ groupId, groupInstanceId: 'a' })
    await sleep(100)
    const second = await join({ groupId, groupInstanceId: 'b' }, other)
    assert.ok(performance.now() - startMs >= 780, 'two delays')
    assert.deepEqual([(await first).generationId, second.generationId], [1, 1])
  })

  test('group.max.size: GROUP_MAX_SIZE_REACHED without a member id, while the group goes on', async () => {
    const groupId = bench.name('group')
    const [second, third] = [await bench.open(), await bench.open()]
    const members = [join({ groupId, groupInstanceId: 'a' }), join({ groupId, groupInstanceId: 'b' }, second)]
    const [one] = await Promise.all(members)
    assert.equal(one?.errorCode, 0)
    const refused = await enter({ groupId }, third)
    assert.deepEqual([refused.errorCode, refused.memberId], [ErrorCode.GROUP_MAX_SIZE_REACHED, ''])
    assert.equal(await beat(groupId, one?.memberId ?? '', 1), 0)
  })

  test('a member whose session ends is removed, static or not', async () => {
    for (const groupInstanceId of [undefined, 'static']) {
      const groupId = bench.name('group')
      const joined = await enter({ groupId, groupInstanceId, sessionTimeoutMs: 500 })
      assert.equal(joined.errorCode, 0)
      await sync(groupId, joined.memberId, 1)
      assert.equal(await stateOf(groupId), 'Stable')
      await eventually('the end of the session', 10_000, async () =>
        (await stateOf(groupId)) === 'Empty' ? true : undefined,
      )
      assert.equal(await beat(groupId, joined.memberId, 1), ErrorCode.UNKNOWN_MEMBER_ID)
      assert.equal((await enter({ groupId })).generationId, 3)
    }
  })

  test('heartbeats and commits keep a session', async () => {
    const of = await newTopic(wire, bench.name('settings'))
    const groupId = bench.name('group')
    const { memberId } = await enter({ groupId, sessionTimeoutMs: 900 })
    await sync(groupId, memberId, 1)
    for (let round = 0; round < 6; round++) {
      await sleep(250)
      if (round % 2 === 0) assert.equal(await beat(groupId, memberId, 1), 0)
      else {
        const answer = await wire.call(api.offsetCommit, 9, {
          groupId,
          memberId,
          generationIdOrMemberEpoch: 1,
          topics: [
            { name: of.name, partitions: [{ partitionIndex: 0, committedOffset: round, committedMetadata: null }] },
          ],
        })
        assert.equal(answer.topics[0]?.partitions[0]?.errorCode, 0)
      }
    }
  })

  test('a member that does not join again within the rebalance timeout is left behind', async () => {
    const groupId = bench.name('group')
    const other = await bench.open()
    const late = await enter({ groupId, rebalanceTimeoutMs: 700 })
    await sync(groupId, late.memberId, 1)
    const joined = await enter({ groupId, rebalanceTimeoutMs: 700 }, other)
    assert.deepEqual(
      [joined.errorCode, joined.generationId, joined.leader, joined.members.length],
      [0, 2, joined.memberId, 1],
    )
    assert.equal(await beat(groupId, late.memberId, 1), ErrorCode.UNKNOWN_MEMBER_ID)
  })

  test('a pending id is forgotten after its session timeout', async () => {
    const groupId = bench.name('group')
    const { memberId, errorCode } = await join({ groupId, sessionTimeoutMs: 500 })
    assert.equal(errorCode, ErrorCode.MEMBER_ID_REQUIRED)
    await sleep(1500)
    assert.equal((await join({ groupId, memberId, sessionTimeoutMs: 500 })).errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
  })
})
