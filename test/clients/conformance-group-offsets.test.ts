// What Kafka answers to OffsetCommit, OffsetFetch, OffsetDelete, and to those who administer groups.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode } from '../../protocol/errors.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import { eventually } from '../support/process.ts'
import { Bytes } from '../support/raw.ts'
import { api, Bench, coordinated, dropTopic, type NewTopic, newTopic, UNKNOWN_ID, type Wire } from '../support/wire.ts'

const NOT_ASKED = -0x8000_0000

interface Commit {
  readonly generation?: number
  readonly memberId?: string
  readonly groupInstanceId?: string | null
  readonly topic?: string
  readonly topicId?: string
  /** [partition, offset, metadata] */
  readonly offsets?: readonly (readonly [number, number, (string | null)?])[]
  readonly leaderEpoch?: number
}

describe('group offsets', () => {
  const bench = new Bench()
  let wire: Wire
  let topic: NewTopic

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('commits'), 3)
    await coordinated(wire, 'groups')
    await eventually('a loaded group', 20_000, async () =>
      (await commit(2, bench.name('group')))[0] === 0 ? true : undefined,
    )
  })

  /** The codes in the order of the partitions. */
  async function commit(version: number, groupId: string, options: Commit = {}): Promise<number[]> {
    const { generation = -1, memberId = '', groupInstanceId = null, leaderEpoch = -1, offsets = [[0, 5]] } = options
    const answer = await wire.call(api.offsetCommit, version, {
      groupId,
      generationIdOrMemberEpoch: generation,
      memberId,
      groupInstanceId,
      topics: [
        {
          name: options.topic ?? topic.name,
          topicId: options.topicId ?? topic.id,
          partitions: offsets.map(([partitionIndex, committedOffset, committedMetadata = null]) => ({
            partitionIndex,
            committedOffset,
            committedMetadata,
            committedLeaderEpoch: leaderEpoch,
          })),
        },
      ],
    })
    const results = answer.topics.flatMap(({ partitions }) => partitions)
    return results
      .toSorted((left, right) => left.partitionIndex - right.partitionIndex)
      .map(({ errorCode }) => errorCode)
  }

  /** Topics of one group as [name or id, partition, offset, epoch, metadata, code], or the error of the group. */
  async function fetchOffsets(
    version: number,
    groupId: string,
    wanted: readonly [NewTopic, number[]][] | null,
    member: { memberId?: string | null; memberEpoch?: number } = {},
  ) {
    const answer = await wire.call(api.offsetFetch, version, {
      groupId,
      topics: wanted?.map(([{ name }, partitionIndexes]) => ({ name, partitionIndexes })) ?? null,
      groups: [
        {
          groupId,
          topics: wanted?.map(([{ name, id }, partitionIndexes]) => ({ name, topicId: id, partitionIndexes })) ?? null,
          ...member,
        },
      ],
    })
    const [group] = answer.groups
    assert.equal(version >= 8 ? group?.errorCode : answer.errorCode, 0)
    const topics =
      version >= 8 ? (group?.topics ?? []) : answer.topics.map((topic) => ({ ...topic, topicId: ZERO_UUID }))
    return topics
      .flatMap(({ name, topicId, partitions }) =>
        partitions.map((found) => [
          version >= 10 ? topicId : name,
          found.partitionIndex,
          found.committedOffset,
          found.committedLeaderEpoch,
          found.metadata,
          found.errorCode,
        ]),
      )
      .sort((left, right) => Number(left[1]) - Number(right[1]))
  }

  /** A group with one member; Stable unless told to wait for its assignment. */
  async function group(
    options: { sync?: boolean; protocolType?: string; metadata?: Buffer; groupInstanceId?: string } = {},
  ) {
    const groupId = bench.name('group')
    const { protocolType = 'consumer', groupInstanceId = null } = options
    const metadata = options.metadata ?? new Bytes().int16(0).int32(1).string(topic.name).bytes(null).done()
    const join = (memberId: string) =>
      wire.call(api.joinGroup, 9, {
        groupId,
        memberId,
        groupInstanceId,
        protocolType,
        sessionTimeoutMs: 10_000,
        rebalanceTimeoutMs: 10_000,
        protocols: [{ name: 'range', metadata }],
      })
    const first = await join('')
    const { memberId, generationId, errorCode } = first.errorCode === 0 ? first : await join(first.memberId)
    assert.equal(errorCode, 0)
    if (options.sync !== false) {
      const synced = await wire.call(api.syncGroup, 5, {
        groupId,
        memberId,
        generationId,
        groupInstanceId,
        protocolType,
        protocolName: 'range',
        assignments: [{ memberId, assignment: Buffer.from('mine') }],
      })
      assert.equal(synced.errorCode, 0)
    }
    const leave = () => wire.call(api.leaveGroup, 5, { groupId, members: [{ memberId, groupInstanceId }] })
    return { groupId, memberId, generation: generationId, leave }
  }

  describe('OffsetCommit', () => {
    test('unknown topics and partitions are refused beside those that are stored', async () => {
      for (const version of [2, 9]) {
        const groupId = bench.name('group')
        assert.deepEqual(await commit(version, groupId, { topic: 'commits-unknown' }), [
          ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ])
        const mixed = await commit(version, groupId, {
          offsets: [
            [0, 1],
            [7, 1],
          ],
        })
        assert.deepEqual(mixed, [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
        assert.deepEqual(await fetchOffsets(5, groupId, [[topic, [0]]]), [[topic.name, 0, 1, -1, '', 0]])
      }
    })

    test('version 10 names topics by id: UNKNOWN_TOPIC_ID', async () => {
      const groupId = bench.name('group')
      for (const topicId of [UNKNOWN_ID, ZERO_UUID]) {
        assert.deepEqual(await commit(10, groupId, { topicId }), [ErrorCode.UNKNOWN_TOPIC_ID])
      }
      assert.deepEqual(await commit(10, groupId), [0])
      assert.deepEqual(await fetchOffsets(10, groupId, [[topic, [0]]]), [[topic.id, 0, 5, -1, '', 0]])
    })

    test('outside of a membership a commit makes a simple group', async () => {
      for (const version of [2, 10]) {
        const groupId = bench.name('group')
        assert.deepEqual(await commit(version, groupId), [0])
        const { groups } = await wire.call(api.describeGroups, 6, { groups: [groupId] })
        assert.deepEqual(
          groups.map(({ groupState, protocolType, errorCode }) => [groupState, protocolType, errorCode]),
          [['Empty', '', 0]],
        )
      }
    })

    test('with a generation in an unknown group: GROUP_ID_NOT_FOUND from version 9 on, before ILLEGAL_GENERATION', async () => {
      for (const [version, code] of [
        [2, ErrorCode.ILLEGAL_GENERATION],
        [8, ErrorCode.ILLEGAL_GENERATION],
        [9, ErrorCode.GROUP_ID_NOT_FOUND],
        [10, ErrorCode.GROUP_ID_NOT_FOUND],
      ] as const) {
        assert.deepEqual(await commit(version, bench.name('group'), { generation: 1, memberId: 'm' }), [code])
      }
    })

    test('an empty group takes any member id as long as there is no generation', async () => {
      const { groupId, leave } = await group()
      await leave()
      for (const version of [7, 10]) {
        assert.deepEqual(await commit(version, groupId, { memberId: 'anybody', groupInstanceId: 'anything' }), [0])
        assert.deepEqual(await commit(version, groupId), [0])
      }
    })

    test('a member: who, then which generation', async () => {
      const { groupId, memberId, generation } = await group()
      for (const version of [2, 7, 10]) {
        assert.deepEqual(await commit(version, groupId, { memberId, generation }), [0])
        assert.deepEqual(await commit(version, groupId, { memberId: 'nobody', generation: 9 }), [
          ErrorCode.UNKNOWN_MEMBER_ID,
        ])
        assert.deepEqual(await commit(version, groupId, { memberId, generation: 9 }), [ErrorCode.ILLEGAL_GENERATION])
        assert.deepEqual(await commit(version, groupId, { memberId, generation: -1 }), [ErrorCode.ILLEGAL_GENERATION])
        assert.deepEqual(await commit(version, groupId), [ErrorCode.UNKNOWN_MEMBER_ID])
      }
      const instance = await group({ groupInstanceId: 'instance' })
      const asOther = { generation: 1, groupInstanceId: 'instance', memberId: 'other' }
      assert.deepEqual(await commit(7, instance.groupId, asOther), [ErrorCode.FENCED_INSTANCE_ID])
      const unknown = { generation: 1, groupInstanceId: 'unknown', memberId: instance.memberId }
      assert.deepEqual(await commit(7, instance.groupId, unknown), [ErrorCode.UNKNOWN_MEMBER_ID])
    })

    test('while the assignment is awaited: REBALANCE_IN_PROGRESS', async () => {
      const { groupId, memberId, generation } = await group({ sync: false })
      for (const version of [2, 10]) {
        assert.deepEqual(await commit(version, groupId, { memberId, generation }), [ErrorCode.REBALANCE_IN_PROGRESS])
        assert.deepEqual(await commit(version, groupId, { memberId, generation: 9 }), [ErrorCode.ILLEGAL_GENERATION])
      }
    })

    test('metadata beyond 4096 characters is refused for its partition alone', async () => {
      const groupId = bench.name('group')
      const offsets = [
        [0, 1, 'x'.repeat(4096)],
        [1, 1, 'x'.repeat(4097)],
        [2, 1, 'é'.repeat(4096)],
      ] as const
      assert.deepEqual(await commit(9, groupId, { offsets }), [0, ErrorCode.OFFSET_METADATA_TOO_LARGE, 0])
    })

    test('any offset is stored, the leader epoch with it from version 6 on; null metadata comes back empty', async () => {
      const groupId = bench.name('group')
      assert.deepEqual(
        await commit(9, groupId, {
          offsets: [
            [0, -5],
            [1, 7, 'note'],
          ],
          leaderEpoch: 3,
        }),
        [0, 0],
      )
      assert.deepEqual(await fetchOffsets(9, groupId, [[topic, [0, 1]]]), [
        [topic.name, 0, -5, 3, '', 0],
        [topic.name, 1, 7, 3, 'note', 0],
      ])
      assert.deepEqual(await commit(5, groupId, { leaderEpoch: 3 }), [0])
      assert.deepEqual(await fetchOffsets(5, groupId, [[topic, [0]]]), [[topic.name, 0, 5, -1, '', 0]])
    })

    test('the group "" may commit', async () => {
      assert.deepEqual(await commit(9, ''), [0])
      assert.deepEqual(await fetchOffsets(9, '', [[topic, [0]]]), [[topic.name, 0, 5, -1, '', 0]])
    })
  })

  describe('OffsetFetch', () => {
    const none = (name: string, partition: number) => [name, partition, -1, -1, '', 0]

    test('what nobody has committed is -1 without an error, whatever does not exist', async () => {
      const unknown = { name: 'commits-unknown', id: UNKNOWN_ID }
      for (const version of [1, 5, 7, 8, 9]) {
        assert.deepEqual(await fetchOffsets(version, bench.name('group'), [[topic, [0, 9]]]), [
          none(topic.name, 0),
          none(topic.name, 9),
        ])
        assert.deepEqual(await fetchOffsets(version, bench.name('group'), [[unknown, [0]]]), [none(unknown.name, 0)])
      }
      const groupId = bench.name('group')
      await commit(9, groupId)
      assert.deepEqual(await fetchOffsets(9, groupId, [[topic, [1]]]), [none(topic.name, 1)])
    })

    test('null topics are all that is stored', async () => {
      const groupId = bench.name('group')
      await commit(9, groupId, {
        offsets: [
          [0, 1],
          [2, 3],
        ],
      })
      for (const version of [2, 7, 8, 10]) {
        const name = version >= 10 ? topic.id : topic.name
        assert.deepEqual(await fetchOffsets(version, groupId, null), [
          [name, 0, 1, -1, '', 0],
          [name, 2, 3, -1, '', 0],
        ])
        assert.deepEqual(await fetchOffsets(version, bench.name('group'), null), [])
      }
    })

    test('version 10 names topics by id: UNKNOWN_TOPIC_ID in each partition', async () => {
      const found = await fetchOffsets(10, bench.name('group'), [[{ name: '', id: UNKNOWN_ID }, [0, 1]]])
      assert.deepEqual(
        found.map((partition) => partition[5]),
        [ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.UNKNOWN_TOPIC_ID],
      )
    })

    test('a classic group does not look at member and epoch; several groups are answered on their own', async () => {
      const { groupId } = await group()
      const member = { memberId: 'nobody', memberEpoch: 99 }
      assert.deepEqual(await fetchOffsets(9, groupId, [[topic, [0]]], member), [none(topic.name, 0)])
      const other = bench.name('group')
      await commit(9, other)
      const topics = [{ name: topic.name, partitionIndexes: [0] }]
      const { groups } = await wire.call(api.offsetFetch, 8, {
        groups: [
          { groupId: other, topics },
          { groupId, topics },
        ],
      })
      assert.deepEqual(
        groups.map((group) => [group.groupId, group.errorCode, group.topics[0]?.partitions[0]?.committedOffset]),
        [
          [other, 0, 5],
          [groupId, 0, -1],
        ],
      )
    })

    test('offsets of a deleted topic are gone, also for a new one of its name', async () => {
      const doomed = await newTopic(wire, bench.name('commits'))
      const groupId = bench.name('group')
      assert.deepEqual(await commit(9, groupId, { topic: doomed.name }), [0])
      await dropTopic(wire, doomed.name)
      await eventually('the offset to go', 10_000, async () =>
        (await fetchOffsets(9, groupId, [[doomed, [0]]]))[0]?.[2] === -1 ? true : undefined,
      )
      const again = await newTopic(wire, doomed.name)
      assert.deepEqual(await fetchOffsets(9, groupId, [[again, [0]]]), [none(doomed.name, 0)])
    })
  })

  describe('OffsetDelete', () => {
    async function forget(groupId: string, name: string, partitions: number[]) {
      const answer = await wire.call(api.offsetDelete, 0, {
        groupId,
        topics: [{ name, partitions: partitions.map((partitionIndex) => ({ partitionIndex })) }],
      })
      const codes = answer.topics.flatMap(({ partitions }) => partitions)
      codes.sort((left, right) => left.partitionIndex - right.partitionIndex)
      return [answer.errorCode, codes.map(({ errorCode }) => errorCode)]
    }

    test('an unknown group is GROUP_ID_NOT_FOUND', async () => {
      assert.deepEqual(await forget(bench.name('group'), topic.name, [0]), [ErrorCode.GROUP_ID_NOT_FOUND, []])
    })

    test('what is unknown is UNKNOWN_TOPIC_OR_PARTITION, what has no offset is fine', async () => {
      const groupId = bench.name('group')
      await commit(9, groupId, {
        offsets: [
          [0, 1],
          [1, 1],
        ],
      })
      assert.deepEqual(await forget(groupId, topic.name, [0, 2, 7]), [0, [0, 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]])
      assert.deepEqual(await forget(groupId, 'commits-unknown', [0]), [0, [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]])
      assert.deepEqual(await fetchOffsets(9, groupId, null), [[topic.name, 1, 1, -1, '', 0]])
    })

    test('a topic that a member reads is GROUP_SUBSCRIBED_TO_TOPIC, others are not', async () => {
      const other = await newTopic(wire, bench.name('commits'))
      const { groupId, memberId, generation } = await group()
      await commit(9, groupId, { memberId, generation })
      await commit(9, groupId, { memberId, generation, topic: other.name })
      assert.deepEqual(await forget(groupId, topic.name, [0]), [0, [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC]])
      assert.deepEqual(await forget(groupId, other.name, [0]), [0, [0]])
    })

    test('a group of another protocol type that has members is NON_EMPTY_GROUP', async () => {
      const { groupId } = await group({ protocolType: 'connect' })
      assert.deepEqual(await forget(groupId, topic.name, [0]), [ErrorCode.NON_EMPTY_GROUP, []])
    })
  })

  describe('administration', () => {
    test('DeleteGroups: unknown is GROUP_ID_NOT_FOUND, with members NON_EMPTY_GROUP', async () => {
      for (const version of [0, 2]) {
        const live = await group()
        const empty = bench.name('group')
        await commit(9, empty)
        const unknown = bench.name('group')
        const answer = await wire.call(api.deleteGroups, version, { groupsNames: [live.groupId, empty, unknown] })
        const codes = new Map(answer.results.map(({ groupId, errorCode }) => [groupId, errorCode]))
        assert.deepEqual(
          [live.groupId, empty, unknown].map((groupId) => codes.get(groupId)),
          [ErrorCode.NON_EMPTY_GROUP, 0, ErrorCode.GROUP_ID_NOT_FOUND],
        )
        assert.deepEqual(await fetchOffsets(9, empty, null), [])
        await live.leave()
        const again = await wire.call(api.deleteGroups, version, { groupsNames: [live.groupId] })
        assert.deepEqual(
          again.results.map(({ errorCode }) => errorCode),
          [0],
        )
      }
    })

    test('ListGroups: state and type, filters of either case, unknown values match nothing', async () => {
      const stable = await group()
      const empty = bench.name('group')
      await commit(9, empty)
      const list = async (version: number, statesFilter: string[] = [], typesFilter: string[] = []) => {
        const { groups, errorCode } = await wire.call(api.listGroups, version, { statesFilter, typesFilter })
        assert.equal(errorCode, 0)
        return groups
          .filter(({ groupId }) => groupId === stable.groupId || groupId === empty)
          .map(({ groupId, protocolType, groupState, groupType }) => [groupId, protocolType, groupState, groupType])
          .sort()
      }
      const shown = (version: number) =>
        [
          [stable.groupId, 'consumer', version >= 4 ? 'Stable' : '', version >= 5 ? 'classic' : ''],
          [empty, '', version >= 4 ? 'Empty' : '', version >= 5 ? 'classic' : ''],
        ].sort()
      for (const version of [0, 3, 4, 5]) assert.deepEqual(await list(version), shown(version))
      assert.deepEqual(await list(5, ['sTABLE']), [[stable.groupId, 'consumer', 'Stable', 'classic']])
      assert.deepEqual(await list(5, ['stable', 'EMPTY'], ['Classic', 'consumer']), shown(5))
      assert.deepEqual(await list(5, ['nonsense']), [])
      assert.deepEqual(await list(5, [], ['nonsense']), [])
      assert.deepEqual(await list(5, [], ['consumer']), [])
    })

    test('DescribeGroups: an unknown group is Dead, and from version 6 on an error', async () => {
      const groupId = bench.name('group')
      for (const version of [0, 5]) {
        const { groups } = await wire.call(api.describeGroups, version, { groups: [groupId] })
        assert.deepEqual(
          groups.map((group) => [
            group.errorCode,
            group.groupId,
            group.groupState,
            group.protocolType,
            group.protocolData,
            group.members,
          ]),
          [[0, groupId, 'Dead', '', '', []]],
        )
      }
      const { groups } = await wire.call(api.describeGroups, 6, { groups: [groupId] })
      assert.deepEqual([groups[0]?.errorCode, groups[0]?.groupState], [ErrorCode.GROUP_ID_NOT_FOUND, 'Dead'])
      assert.ok(groups[0]?.errorMessage)
    })

    test('DescribeGroups: protocol, metadata and assignments are shown when the group is Stable', async () => {
      const stable = await group({ groupInstanceId: 'shown' })
      const waiting = await group({ sync: false })
      for (const version of [0, 3, 4, 6]) {
        const { groups } = await wire.call(api.describeGroups, version, { groups: [stable.groupId, waiting.groupId] })
        // Kafka answers in an order of its own.
        const first = groups.find(({ groupId }) => groupId === stable.groupId)
        const second = groups.find(({ groupId }) => groupId === waiting.groupId)
        const member = first?.members[0]
        assert.deepEqual(
          [
            first?.groupState,
            first?.protocolType,
            first?.protocolData,
            member?.memberId,
            member?.clientId,
            member?.clientHost,
          ],
          ['Stable', 'consumer', 'range', stable.memberId, 'conformance', '/127.0.0.1'],
        )
        assert.equal(member?.groupInstanceId, version >= 4 ? 'shown' : null)
        assert.equal(Buffer.from(member?.memberAssignment ?? []).toString(), 'mine')
        assert.ok(Number(member?.memberMetadata.length) > 0)
        assert.deepEqual(
          [second?.groupState, second?.protocolType, second?.protocolData, second?.members[0]?.memberMetadata.length],
          ['CompletingRebalance', 'consumer', '', 0],
        )
      }
    })

    test('DescribeGroups: operations are told when asked for', async () => {
      const { groupId } = await group()
      for (const version of [3, 6]) {
        const plain = await wire.call(api.describeGroups, version, { groups: [groupId] })
        assert.equal(plain.groups[0]?.authorizedOperations, NOT_ASKED)
        const asked = await wire.call(api.describeGroups, version, {
          groups: [groupId],
          includeAuthorizedOperations: true,
        })
        assert.equal(asked.groups[0]?.authorizedOperations, operationBits)
      }
      const unknown = { groups: [bench.name('group')], includeAuthorizedOperations: true }
      assert.equal((await wire.call(api.describeGroups, 5, unknown)).groups[0]?.authorizedOperations, operationBits)
      assert.equal((await wire.call(api.describeGroups, 6, unknown)).groups[0]?.authorizedOperations, NOT_ASKED)
    })

    // READ 3, DELETE 6, DESCRIBE 8, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11
    const operationBits = (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11)
  })
})
