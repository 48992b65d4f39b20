// The group APIs from decoded request to encoded answer, at every version, on a broker of two shards.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Controller } from '../../../../broker/cluster/controller.ts'
import type { GroupCoordinator } from '../../../../broker/groups/coordinator.ts'
import { offsetsPartitionOf } from '../../../../broker/groups/routing.ts'
import type { Api, CallContext } from '../../../../broker/handlers/api.ts'
import { deleteGroups } from '../../../../broker/handlers/delete-groups.ts'
import { describeGroups } from '../../../../broker/handlers/describe-groups.ts'
import { findCoordinator } from '../../../../broker/handlers/find-coordinator.ts'
import { heartbeat } from '../../../../broker/handlers/heartbeat.ts'
import { joinGroup } from '../../../../broker/handlers/join-group.ts'
import { leaveGroup } from '../../../../broker/handlers/leave-group.ts'
import { listGroups } from '../../../../broker/handlers/list-groups.ts'
import { offsetCommit } from '../../../../broker/handlers/offset-commit.ts'
import { offsetDelete } from '../../../../broker/handlers/offset-delete.ts'
import { offsetFetch } from '../../../../broker/handlers/offset-fetch.ts'
import { syncGroup } from '../../../../broker/handlers/sync-group.ts'
import type { ShardContext } from '../../../../broker/shard/context.ts'
import { shardOf } from '../../../../broker/shard/placement.ts'
import { decoder, encoder } from '../../../../protocol/compile.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { Reader } from '../../../../protocol/reader.ts'
import { type Fields, type Input, type Message, ZERO_UUID } from '../../../../protocol/schema.ts'
import { Writer } from '../../../../protocol/writer.ts'
import { bytes, subscription, text } from './bench.ts'
import { settle, silent, World } from './world.ts'

const SHARDS = 2

/** Through the wire format: what the other side sees. */
function carried<T>(message: Message, version: number, value: T): T {
  const writer = new Writer()
  encoder(message, version)(writer, value as Input<Fields>)
  return decoder(message, version)(new Reader(Buffer.from(writer.toBytes()))) as T
}

class Broker {
  readonly world: World
  readonly shards: ShardContext[] = []

  private constructor(world: World, coordinators: readonly GroupCoordinator[]) {
    this.world = world
    for (let shardId = 0; shardId < SHARDS; shardId++) {
      const { clock, random, config, image } = world
      this.shards.push({
        shardId,
        shardCount: SHARDS,
        environment: { clock, random, logger: silent, disk: undefined as never, network: undefined as never },
        config,
        image,
        controller: undefined as Controller | undefined,
        coordinator: coordinators[shardId]!,
        partition: () => undefined,
        ask: async (owner, api, call, request) => {
          const { version } = call
          const part = carried(api.request, version, request)
          return carried(api.response, version, await api.serve!(this.shards[owner]!, call, part))
        },
        askController: () => Promise.reject(new Error('there is no controller')),
        askBroker: () => Promise.reject(new Error('there is no other broker')),
        isAlive: () => true,
        whenFresh: () => undefined,
        isCutOff: false,
        isController: false,
        quorum: () => undefined,
      })
    }
  }

  static async open(): Promise<Broker> {
    const world = await World.open([], 4)
    world.coordinator.close()
    world.createTopic('t', 2)
    const coordinators = [world.fresh(), world.fresh()]
    for (const { partition, groupId } of world.image.topicByName('__consumer_offsets')!.partitions) {
      await coordinators[shardOf(groupId, SHARDS)]!.lead(partition)
    }
    return new Broker(world, coordinators)
  }

  /** Two group ids, coordinated by different shards. */
  get twoGroups(): [string, string] {
    const partitions = this.world.image.topicByName('__consumer_offsets')!.partitions
    const shard = (groupId: string) =>
      shardOf(partitions[offsetsPartitionOf(groupId, this.world.image)!]!.groupId, SHARDS)
    const other = ['b', 'c', 'd', 'e', 'f'].find((groupId) => shard(groupId) !== shard('a'))
    return ['a', other!]
  }

  async send<Req, Res extends object>(api: Api<Req, Res>, version: number, request: Partial<Req>): Promise<Res> {
    const call: CallContext = {
      apiKey: api.request.apiKey,
      version,
      clientId: 'client',
      clientHost: '/127.0.0.1',
      principal: 'User:ANONYMOUS',
      listenerName: 'PLAINTEXT',
      connectionId: 1,
    }
    const asked = carried(api.request, version, request as Req)
    const answer = await api.handle(this.shards[0]!, call, asked)
    assert(typeof answer !== 'symbol')
    return carried(api.response, version, answer as Res)
  }

  async join(
    version: number,
    groupId: string,
    memberId = '',
  ): Promise<Awaited<ReturnType<NonNullable<(typeof joinGroup)['serve']>>>> {
    const sent = this.send(joinGroup, version, {
      groupId,
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 60_000,
      memberId,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: subscription('t') }],
    })
    await settle()
    await this.world.clock.advance(0)
    return sent
  }

  /** @returns the id of the only member of a Stable group */
  async stable(groupId: string): Promise<string> {
    const { memberId, generationId } = await this.join(3, groupId)
    const assignments = [{ memberId, assignment: bytes('mine') }]
    const synced = await this.send(syncGroup, 3, { groupId, memberId, generationId: generationId!, assignments })
    assert.equal(text(synced.assignment), 'mine')
    return memberId
  }

  commit(
    version: number,
    groupId: string,
    topics: readonly { name?: string; topicId?: string; at: readonly number[] }[],
    generationIdOrMemberEpoch = -1,
  ) {
    return this.send(offsetCommit, version, {
      groupId,
      generationIdOrMemberEpoch,
      memberId: '',
      topics: topics.map(({ name = '', topicId = ZERO_UUID, at }) => ({
        name,
        topicId,
        partitions: at.map((partitionIndex) => ({
          partitionIndex,
          committedOffset: 5,
          committedLeaderEpoch: 1,
          committedMetadata: null,
        })),
      })),
    })
  }
}

const versions = ({ request }: { request: Message }) =>
  Array.from({ length: request.versions.last - request.versions.first + 1 }, (_, at) => request.versions.first + at)

test('every version of a group request is answered in its own layout', async () => {
  for (const api of [
    heartbeat,
    joinGroup,
    syncGroup,
    leaveGroup,
    describeGroups,
    listGroups,
    deleteGroups,
    offsetCommit,
    offsetFetch,
    offsetDelete,
    findCoordinator,
  ]) {
    for (const version of versions(api)) {
      const broker = await Broker.open()
      const request = decoder(api.request, version)
      const empty = new Writer()
      encoder(api.request, version)(empty, zeroOf(api.request) as Input<Fields>)
      await broker.send(
        api as Api<unknown, object>,
        version,
        request(new Reader(Buffer.from(empty.toBytes()))) as object,
      )
    }
  }
})

function zeroOf(message: Message): object {
  const value: Record<string, unknown> = {}
  for (const [name, { spec }] of Object.entries(message.fields)) {
    if (spec.kind === 'string') value[name] = 'g'
    else if (spec.kind === 'array') value[name] = []
    else if (spec.kind === 'bool') value[name] = false
    else value[name] = 0
  }
  return value
}

test('an empty group id is INVALID_GROUP_ID for members and OffsetDelete', async () => {
  const broker = await Broker.open()
  assert.equal((await broker.join(5, '')).errorCode, ErrorCode.INVALID_GROUP_ID)
  assert.equal(
    (await broker.send(syncGroup, 5, { groupId: '', generationId: 0, memberId: '', assignments: [] })).errorCode,
    ErrorCode.INVALID_GROUP_ID,
  )
  assert.equal(
    (await broker.send(heartbeat, 4, { groupId: '', generationId: 0, memberId: '' })).errorCode,
    ErrorCode.INVALID_GROUP_ID,
  )
  assert.equal((await broker.send(leaveGroup, 4, { groupId: '', members: [] })).errorCode, ErrorCode.INVALID_GROUP_ID)
  assert.equal((await broker.send(offsetDelete, 0, { groupId: '', topics: [] })).errorCode, ErrorCode.INVALID_GROUP_ID)
})

test('JoinGroup: refusals carry generation -1, no leader, and a protocol name of "" or null by version', async () => {
  const broker = await Broker.open()
  for (const version of versions(joinGroup)) {
    const answer = await broker.join(version, 'g', 'nobody')
    assert.equal(answer.errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
    assert.equal(answer.generationId, -1)
    assert.equal(answer.leader, '')
    assert.equal(answer.protocolName, version >= 7 ? null : '')
    assert.deepEqual(answer.members, [])
  }
})

test('JoinGroup: an id is required first from version 4 on', async () => {
  const broker = await Broker.open()
  assert.equal((await broker.join(3, 'g')).errorCode, ErrorCode.NONE)
  for (const version of [4, 9]) {
    const told = await broker.join(version, `g${version}`)
    assert.equal(told.errorCode, ErrorCode.MEMBER_ID_REQUIRED)
    const joined = await broker.join(version, `g${version}`, told.memberId)
    assert.equal(joined.errorCode, ErrorCode.NONE)
    assert.equal(joined.leader, told.memberId)
    assert.equal(joined.members.length, 1)
  }
})

test('SyncGroup: version 5 must name the protocol', async () => {
  const broker = await Broker.open()
  const request = { groupId: 'g', generationId: 1, memberId: 'm', assignments: [] }
  assert.equal((await broker.send(syncGroup, 5, request)).errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  assert.equal((await broker.send(syncGroup, 4, request)).errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('LeaveGroup: the single member of versions 0-2 fails at the top, later ones by member', async () => {
  const broker = await Broker.open()
  const old = await broker.send(leaveGroup, 2, { groupId: 'g', memberId: 'm' })
  assert.equal(old.errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
  const members = [{ memberId: 'm', groupInstanceId: null, reason: null }]
  const answer = await broker.send(leaveGroup, 3, { groupId: 'g', members })
  assert.equal(answer.errorCode, ErrorCode.NONE)
  assert.equal(answer.members![0]!.errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
  const memberId = await broker.stable('g')
  assert.equal((await broker.send(leaveGroup, 0, { groupId: 'g', memberId })).errorCode, ErrorCode.NONE)
})

test('OffsetCommit: unknown topics and partitions do not stop the others, and answers keep the order', async () => {
  const broker = await Broker.open()
  const answer = await broker.commit(9, 'g', [
    { name: 'gone', at: [0] },
    { name: 't', at: [7, 1, 0] },
  ])
  assert.deepEqual(
    answer.topics.map(({ name, partitions }) => [
      name,
      partitions.map(({ partitionIndex, errorCode }) => [partitionIndex, errorCode]),
    ]),
    [
      ['gone', [[0, 3]]],
      [
        't',
        [
          [7, 3],
          [1, 0],
          [0, 0],
        ],
      ],
    ],
  )
  const byId = await broker.commit(10, 'g', [
    { at: [0] },
    { topicId: broker.world.image.topicByName('t')!.topicId, at: [0, 9] },
  ])
  assert.deepEqual(
    byId.topics.map(({ partitions }) => partitions.map(({ errorCode }) => errorCode)),
    [[ErrorCode.UNKNOWN_TOPIC_ID], [ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]],
  )
})

test('OffsetCommit with a generation to an unknown group fails by version', async () => {
  const broker = await Broker.open()
  const code = async (version: number) =>
    (await broker.commit(version, 'g', [{ name: 't', at: [0] }], 3)).topics[0]!.partitions[0]!.errorCode
  assert.equal(await code(8), ErrorCode.ILLEGAL_GENERATION)
  assert.equal(await code(9), ErrorCode.GROUP_ID_NOT_FOUND)
})

test('OffsetFetch gives what was committed at every version, and -1 for the rest', async () => {
  const broker = await Broker.open()
  await broker.commit(9, 'a', [{ name: 't', at: [0] }])
  const { topicId } = broker.world.image.topicByName('t')!
  for (const version of versions(offsetFetch)) {
    const groups = [
      { groupId: 'a', memberId: null, memberEpoch: -1, topics: [{ name: 't', topicId, partitionIndexes: [0, 1] }] },
    ]
    const request = version >= 8 ? { groups } : { groupId: 'a', topics: [{ name: 't', partitionIndexes: [0, 1] }] }
    const answer = await broker.send(offsetFetch, version, request)
    const topics = version >= 8 ? answer.groups![0]!.topics : answer.topics!
    assert.equal(topics.length, 1)
    assert.deepEqual(
      topics[0]!.partitions.map((partition) => [
        partition.partitionIndex,
        partition.committedOffset,
        partition.committedLeaderEpoch,
        partition.metadata,
        partition.errorCode,
      ]),
      [
        [0, 5, version >= 5 ? 1 : -1, '', 0],
        [1, -1, -1, '', 0],
      ],
    )
  }
})

test('OffsetFetch: null topics give everything; several groups are independent and stay in order', async () => {
  const broker = await Broker.open()
  const [first, second] = broker.twoGroups
  await broker.commit(9, second, [{ name: 't', at: [1] }])
  const asked = (groupId: string) => ({ groupId, memberId: null, memberEpoch: -1, topics: null })
  for (const version of [8, 9, 10]) {
    const { groups } = await broker.send(offsetFetch, version, { groups: [asked(first), asked(second), asked('none')] })
    assert.deepEqual(
      groups!.map(({ groupId, topics, errorCode }) => [groupId, topics.length, errorCode]),
      [
        [first, 0, 0],
        [second, 1, 0],
        ['none', 0, 0],
      ],
    )
  }
  const old = await broker.send(offsetFetch, 7, { groupId: second, topics: null })
  assert.equal(old.topics![0]!.partitions[0]!.committedOffset, 5)
})

test('OffsetFetch: an unknown topic id is an error of its partitions', async () => {
  const broker = await Broker.open()
  const topics = [{ name: '', topicId: 'AAAAAAAAAAAAAAAAAAAACw', partitionIndexes: [0] }]
  const { groups } = await broker.send(offsetFetch, 10, {
    groups: [{ groupId: 'g', memberId: null, memberEpoch: -1, topics }],
  })
  assert.equal(groups![0]!.topics[0]!.partitions[0]!.errorCode, ErrorCode.UNKNOWN_TOPIC_ID)
})

test('OffsetFetch of a partition that is not led fails at the place its version has for that', async () => {
  const broker = await Broker.open()
  for (const { coordinator } of broker.shards)
    for (let partition = 0; partition < 4; partition++) coordinator.resign(partition)
  const topics = [{ name: 't', partitionIndexes: [0] }]
  const v1 = await broker.send(offsetFetch, 1, { groupId: 'g', topics })
  assert.equal(v1.topics![0]!.partitions[0]!.errorCode, ErrorCode.NOT_COORDINATOR)
  const v2 = await broker.send(offsetFetch, 2, { groupId: 'g', topics })
  assert.equal(v2.errorCode, ErrorCode.NOT_COORDINATOR)
  const groups = [{ groupId: 'g', memberId: null, memberEpoch: -1, topics: null }]
  const v8 = await broker.send(offsetFetch, 8, { groups })
  assert.equal(v8.groups![0]!.errorCode, ErrorCode.NOT_COORDINATOR)
})

test('OffsetDelete: unknown partitions are told apart, an unknown group is an error at the top', async () => {
  const broker = await Broker.open()
  const topics = [
    { name: 't', partitions: [{ partitionIndex: 0 }, { partitionIndex: 9 }] },
    { name: 'gone', partitions: [{ partitionIndex: 0 }] },
  ]
  assert.equal((await broker.send(offsetDelete, 0, { groupId: 'g', topics })).errorCode, ErrorCode.GROUP_ID_NOT_FOUND)
  await broker.commit(9, 'g', [{ name: 't', at: [0] }])
  const answer = await broker.send(offsetDelete, 0, { groupId: 'g', topics })
  assert.deepEqual(
    answer.topics.map(({ partitions }) => partitions.map(({ errorCode }) => errorCode)),
    [[0, 3], [3]],
  )
})

test('DescribeGroups over two shards keeps the order; unknown groups are Dead, an error only from version 6 on', async () => {
  const broker = await Broker.open()
  const [first, second] = broker.twoGroups
  await broker.stable(second)
  for (const version of versions(describeGroups)) {
    const { groups } = await broker.send(describeGroups, version, {
      groups: [first, second],
      includeAuthorizedOperations: true,
    })
    assert.deepEqual(
      groups.map(({ groupId, groupState }) => [groupId, groupState]),
      [
        [first, 'Dead'],
        [second, 'Stable'],
      ],
    )
    assert.equal(groups[0]!.errorCode, version >= 6 ? ErrorCode.GROUP_ID_NOT_FOUND : ErrorCode.NONE)
    assert.equal(groups[0]!.errorMessage, version >= 6 ? `Group ${first} not found.` : null)
    assert.equal(groups[1]!.members[0]!.clientHost, '/127.0.0.1')
    if (version < 3) continue
    assert.equal(groups[0]!.authorizedOperations, version >= 6 ? -0x8000_0000 : 3400)
    assert.equal(groups[1]!.authorizedOperations, 3400)
  }
})

test('ListGroups covers all shards; filters ignore case and unknown values list nothing', async () => {
  const broker = await Broker.open()
  const [first, second] = broker.twoGroups
  await broker.stable(first)
  await broker.commit(9, second, [{ name: 't', at: [0] }])
  const list = async (statesFilter: string[], typesFilter: string[]) => {
    const { groups } = await broker.send(listGroups, 5, { statesFilter, typesFilter })
    return groups
      .map(({ groupId, protocolType, groupState, groupType }) =>
        [groupId, protocolType, groupState, groupType].join(' '),
      )
      .sort()
  }
  const stable = `${first} consumer Stable classic`
  const empty = `${second}  Empty classic`
  assert.deepEqual(await list([], []), [stable, empty])
  assert.deepEqual(await list(['stable'], ['CLASSIC']), [stable])
  assert.deepEqual(await list(['EMPTY', 'stable'], []), [stable, empty])
  assert.deepEqual(await list(['odd'], []), [])
  assert.deepEqual(await list([], ['consumer']), [])
})

test('DeleteGroups over two shards answers each group once', async () => {
  const broker = await Broker.open()
  const [first, second] = broker.twoGroups
  await broker.stable(first)
  await broker.commit(9, second, [{ name: 't', at: [0] }])
  const { results } = await broker.send(deleteGroups, 2, { groupsNames: [first, second, '', second] })
  assert.deepEqual(results, [
    { groupId: first, errorCode: ErrorCode.NON_EMPTY_GROUP },
    { groupId: second, errorCode: ErrorCode.NONE },
    { groupId: '', errorCode: ErrorCode.GROUP_ID_NOT_FOUND },
  ])
})

test('OffsetFetch is NOT_COORDINATOR at every version when somebody else may coordinate by now', async () => {
  const broker = await Broker.open()
  broker.world.log.confirms = false
  for (const version of versions(offsetFetch)) {
    const topics = [{ name: 't', topicId: broker.world.image.topicByName('t')!.topicId, partitionIndexes: [0] }]
    const groups = [{ groupId: 'a', memberId: null, memberEpoch: -1, topics }]
    const answer = await broker.send(offsetFetch, version, { groupId: 'a', topics, groups, requireStable: false })
    const code =
      version >= 8
        ? answer.groups![0]!.errorCode
        : version >= 2
          ? answer.errorCode
          : answer.topics![0]!.partitions[0]!.errorCode
    assert.equal(code, ErrorCode.NOT_COORDINATOR, `version ${version}`)
  }
})

test('FindCoordinator names the leader at every version', async () => {
  const broker = await Broker.open()
  for (const version of versions(findCoordinator)) {
    const answer = await broker.send(findCoordinator, version, { key: 'g', keyType: 0, coordinatorKeys: ['g', ''] })
    const found = version >= 4 ? answer.coordinators! : [{ ...answer, key: 'g' }]
    assert.equal(found.length, version >= 4 ? 2 : 1)
    for (const { nodeId, host, port, errorCode } of found) {
      assert.deepEqual([nodeId, host, port, errorCode], [1, 'localhost', 9092, 0])
    }
    if (version >= 4) assert.equal(found[0]!.errorMessage, '')
    else if (version >= 1) assert.equal(found[0]!.errorMessage, 'NONE')
  }
  const none = await broker.send(findCoordinator, 4, { keyType: 0, coordinatorKeys: [] })
  assert.deepEqual(none.coordinators, [])
})

test('FindCoordinator refuses what is not served, for every key', async () => {
  const broker = await Broker.open()
  const codes = async (version: number, keyType: number) => {
    const { coordinators } = await broker.send(findCoordinator, version, { keyType, coordinatorKeys: ['x', 'y'] })
    return coordinators!.map(({ errorCode, nodeId }) => [errorCode, nodeId])
  }
  assert.deepEqual(await codes(4, 1), [
    [ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1],
    [ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1],
  ])
  assert.deepEqual(await codes(5, 2), [
    [ErrorCode.INVALID_REQUEST, -1],
    [ErrorCode.INVALID_REQUEST, -1],
  ])
  assert.deepEqual(await codes(6, 9), [
    [ErrorCode.INVALID_REQUEST, -1],
    [ErrorCode.INVALID_REQUEST, -1],
  ])
})

test('a member of another shard is reached: join, sync, heartbeat, commit', async () => {
  const broker = await Broker.open()
  for (const groupId of broker.twoGroups) {
    const memberId = await broker.stable(groupId)
    assert.equal((await broker.send(heartbeat, 4, { groupId, memberId, generationId: 1 })).errorCode, ErrorCode.NONE)
    const partitions = [{ partitionIndex: 0, committedOffset: 9, committedLeaderEpoch: -1, committedMetadata: 'x' }]
    const request = {
      groupId,
      memberId,
      generationIdOrMemberEpoch: 1,
      topics: [{ name: 't', topicId: ZERO_UUID, partitions }],
    }
    assert.equal((await broker.send(offsetCommit, 8, request)).topics[0]!.partitions[0]!.errorCode, ErrorCode.NONE)
  }
})
