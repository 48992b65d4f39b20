// The coordinator of a shard over a log in memory: loading, durability before answers, offsets, administration, expiry.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readRecord } from '../../../../broker/groups/records.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { bytes, text } from './bench.ts'
import { settle, World } from './world.ts'

const DAY_MS = 86_400_000

test('a partition that is not led is NOT_COORDINATOR, everywhere', async () => {
  const world = await World.open()
  world.coordinator.resign(0)
  const { coordinator } = world
  assert.equal((await coordinator.join(world.joinCall('g', ''))).error, ErrorCode.NOT_COORDINATOR)
  assert.equal(
    await coordinator.heartbeat({ groupId: 'g', memberId: 'm', groupInstanceId: null, generationId: 1 }),
    ErrorCode.NOT_COORDINATOR,
  )
  assert.equal((await coordinator.leave('g', [])).error, ErrorCode.NOT_COORDINATOR)
  assert.equal(await world.commit('g', 1), ErrorCode.NOT_COORDINATOR)
  assert.equal(coordinator.fetchOffsets('g', null), ErrorCode.NOT_COORDINATOR)
  assert.equal(coordinator.describe('g'), ErrorCode.NOT_COORDINATOR)
  assert.equal(await coordinator.deleteGroup('g'), ErrorCode.NOT_COORDINATOR)
  assert.equal((await coordinator.deleteOffsets('g', [])).error, ErrorCode.NOT_COORDINATOR)
  assert.deepEqual(coordinator.list(), [])
})

test('while a partition loads requests get COORDINATOR_LOAD_IN_PROGRESS, and heartbeats get 0 blindly', async () => {
  const world = await World.open()
  let open = () => {}
  world.log.gate = new Promise((resolve) => (open = resolve))
  const coordinator = world.fresh()
  world.coordinator = coordinator
  const loading = coordinator.lead(0)
  assert.equal((await coordinator.join(world.joinCall('g', ''))).error, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  assert.equal(await world.commit('g', 1), ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  assert.equal(coordinator.list(), ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  assert.equal(
    await coordinator.heartbeat({ groupId: 'g', memberId: 'nobody', groupInstanceId: null, generationId: 1 }),
    ErrorCode.NONE,
  )
  open()
  await loading
  assert.equal(await world.commit('g', 1), ErrorCode.NONE)
})

test('who waits when the partition goes away is sent to find the coordinator', async () => {
  const world = await World.open([['group.initial.rebalance.delay.ms', '3000']])
  const joining = world.coordinator.join(world.joinCall('g', ''))
  await settle()
  world.coordinator.resign(0)
  assert.equal((await joining).error, ErrorCode.NOT_COORDINATOR)
})

test('committed offsets are told only by a coordinator that leads for sure', async () => {
  const world = await World.open()
  assert.equal(await world.coordinator.confirm('g'), ErrorCode.NONE)
  world.log.confirms = false
  assert.equal(await world.coordinator.confirm('g'), ErrorCode.NOT_COORDINATOR)
  world.log.confirms = true
  world.coordinator.resign(0)
  assert.equal(await world.coordinator.confirm('g'), ErrorCode.NOT_COORDINATOR)
})

test('a coordinator that is replaced while it asks whether it leads does not answer', async () => {
  const world = await World.open()
  world.log.confirm = () => Promise.resolve(true)
  const confirmed = world.coordinator.confirm('g')
  world.coordinator.resign(0)
  await world.coordinator.lead(0)
  assert.equal(await confirmed, ErrorCode.NOT_COORDINATOR)
})

test('a commit whose leader lost its place is refused, and counts for the next one when it survived', async () => {
  const world = await World.open()
  assert.equal(await world.commit('g', 4), ErrorCode.NONE)
  world.log.error = ErrorCode.NOT_LEADER_OR_FOLLOWER
  world.log.holds = true
  const lost = world.commit('g', 5)
  world.coordinator.resign(0)
  world.log.release()
  assert.equal(await lost, ErrorCode.NOT_COORDINATOR)
  world.log.error = ErrorCode.NONE
  await world.coordinator.lead(0)
  assert.equal(world.offset('g'), 4)
})

test('a closed coordinator leaves no timer behind', async () => {
  const world = await World.open()
  await world.stable('g')
  world.coordinator.close()
  assert.equal(world.clock.timerCount, 0)
})

test('a closed coordinator that is told to lead once more leads nothing', async () => {
  const world = await World.open()
  await world.stable('g')
  world.coordinator.close()
  await world.coordinator.lead(0)
  assert.deepEqual(world.coordinator.list(), [])
  assert.equal(world.clock.timerCount, 0)
})

test('a refused first join creates the group durably, Empty, with protocol type "" and generation 0', async () => {
  const world = await World.open()
  const told = await world.coordinator.join(world.joinCall('g', '', { requiresKnownMemberId: true }))
  assert.equal(told.error, ErrorCode.MEMBER_ID_REQUIRED)
  assert.match(told.memberId, /^client-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  const refused = await world.coordinator.join(world.joinCall('h', '', { protocols: [] }))
  assert.equal(refused.error, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  await world.restart()
  assert.deepEqual(world.coordinator.list(), [
    { groupId: 'g', protocolType: '', state: 'Empty' },
    { groupId: 'h', protocolType: '', state: 'Empty' },
  ])
})

test('two first joins at once meet in one group', async () => {
  const world = await World.open()
  const joins = [world.coordinator.join(world.joinCall('g', '')), world.coordinator.join(world.joinCall('g', ''))]
  await world.clock.advance(0)
  const [first, second] = await Promise.all(joins)
  assert.equal(first!.members.length, 2)
  assert.equal(second!.leader, first!.memberId)
})

test('a static member gets an id made of its instance', async () => {
  const world = await World.open()
  assert.match(await world.stable('g', { groupInstanceId: 'inst' }), /^inst-[0-9a-f-]{36}$/)
})

test('a member id stays within a string of the protocol however long the client id is', async () => {
  const world = await World.open()
  const memberId = await world.stable('g', { clientId: '€'.repeat(10_900) })
  assert(Buffer.byteLength(memberId) <= 32_767)
})

test('a session timeout out of bounds is refused and echoes the member id', async () => {
  const world = await World.open()
  for (const sessionTimeoutMs of [5_999, 1_800_001]) {
    const answer = await world.coordinator.join(world.joinCall('g', 'm', { sessionTimeoutMs }))
    assert.equal(answer.error, ErrorCode.INVALID_SESSION_TIMEOUT)
    assert.equal(answer.memberId, 'm')
  }
  assert.deepEqual(world.coordinator.list(), [])
})

test('an unknown group has no member to join, sync, beat or leave', async () => {
  const world = await World.open()
  const { coordinator } = world
  assert.equal((await coordinator.join(world.joinCall('g', 'm'))).error, ErrorCode.UNKNOWN_MEMBER_ID)
  const identity = { groupId: 'g', memberId: 'm', groupInstanceId: null, generationId: 1 }
  assert.equal(await coordinator.heartbeat(identity), ErrorCode.UNKNOWN_MEMBER_ID)
  const sync = await coordinator.sync({ ...identity, protocolType: null, protocolName: null, assignments: [] })
  assert.equal(sync.error, ErrorCode.UNKNOWN_MEMBER_ID)
  const left = await coordinator.leave('g', [{ memberId: 'm', groupInstanceId: null }])
  assert.equal(left.error, ErrorCode.NONE)
  assert.equal(left.members[0]!.error, ErrorCode.UNKNOWN_MEMBER_ID)
})

test('a group comes back from the log Stable, with members, assignments and generation', async () => {
  const world = await World.open()
  const memberId = await world.stable('g', { groupInstanceId: 'i' })
  const before = JSON.stringify(world.coordinator.describe('g'))
  await world.restart()
  assert.equal(JSON.stringify(world.coordinator.describe('g')), before)
  const identity = { groupId: 'g', memberId, groupInstanceId: 'i', generationId: 1 }
  assert.equal(await world.coordinator.heartbeat(identity), ErrorCode.NONE)
  const sync = await world.coordinator.sync({ ...identity, protocolType: null, protocolName: null, assignments: [] })
  assert.equal(text(sync.assignment), 'mine')
})

test('what a request carries is kept after its frame is gone', async () => {
  const world = await World.open()
  const metadata = Buffer.from('metadata')
  const joining = world.coordinator.join(world.joinCall('g', '', { protocols: [{ name: 'range', metadata }] }))
  await world.clock.advance(0)
  const { memberId } = await joining
  metadata.fill(0xee)
  const assignment = Buffer.from('mine')
  const identity = {
    groupId: 'g',
    memberId,
    groupInstanceId: null,
    generationId: 1,
    protocolType: null,
    protocolName: null,
  }
  await world.coordinator.sync({ ...identity, assignments: [{ memberId, assignment }] })
  assignment.fill(0xee)
  const described = world.coordinator.describe('g')
  assert(typeof described === 'object')
  assert.equal(text(described.members[0]!.memberMetadata), 'metadata')
  assert.equal(text(described.members[0]!.memberAssignment), 'mine')
})

test('sessions of a loaded group start with the load', async () => {
  const world = await World.open()
  await world.stable('g')
  world.clock.stall(60_000)
  await world.restart()
  await world.clock.advance(9_999)
  assert.equal(world.list()[0]!.state, 'Stable')
  await world.clock.advance(1)
  assert.equal(world.list()[0]!.state, 'Empty')
})

test('a loaded group over group.max.size rebalances', async () => {
  const world = await World.open()
  const joins = [world.coordinator.join(world.joinCall('g', '')), world.coordinator.join(world.joinCall('g', ''))]
  await world.clock.advance(0)
  const [first, second] = await Promise.all(joins)
  const rest = {
    groupId: 'g',
    groupInstanceId: null,
    generationId: 1,
    protocolType: null,
    protocolName: null,
    assignments: [],
  }
  await Promise.all([first!, second!].map(({ memberId }) => world.coordinator.sync({ ...rest, memberId })))
  world.config.setDynamic(new Map(), new Map([['group.max.size', '1']]))
  await world.restart()
  assert.equal(world.list()[0]!.state, 'PreparingRebalance')
})

test('several groups share a partition and come back apart', async () => {
  const world = await World.open()
  world.createTopic('t')
  await world.stable('a')
  await world.stable('b', { protocolType: 'connect' })
  await world.commit('c', 5)
  await world.restart()
  assert.deepEqual(world.coordinator.list(), [
    { groupId: 'a', protocolType: 'consumer', state: 'Stable' },
    { groupId: 'b', protocolType: 'connect', state: 'Stable' },
    { groupId: 'c', protocolType: '', state: 'Empty' },
  ])
  assert.equal(world.offset('c'), 5)
  assert.equal(world.offset('a'), undefined)
})

test('the last member to leave is answered when the Empty group is durable, and a restart finds it Empty', async () => {
  const world = await World.open()
  const memberId = await world.stable('g')
  world.log.holds = true
  let isAnswered = false
  const leaving = world.coordinator.leave('g', [{ memberId, groupInstanceId: null }]).then((answer) => {
    isAnswered = true
    return answer
  })
  await settle()
  assert(!isAnswered)
  world.log.release()
  assert.equal((await leaving).members[0]!.error, ErrorCode.NONE)
  await world.restart()
  assert.deepEqual(world.coordinator.list(), [{ groupId: 'g', protocolType: 'consumer', state: 'Empty' }])
})

test('records of other kinds in the log are passed over', async () => {
  const world = await World.open()
  await world.commit('g', 5)
  world.log.of(0).push({ key: bytes('?'), value: bytes('?') }, { key: new Uint8Array([0, 99]), value: null })
  world.log.of(0).push({ key: new Uint8Array([0, 3, 0, 1, 0x67]), value: bytes('xx') })
  await world.restart()
  assert.equal(world.offset('g'), 5)
})

test('a commit is answered and readable only when it is durable', async () => {
  const world = await World.open()
  world.log.holds = true
  const committing = world.commit('g', 5)
  await settle()
  assert.equal(world.offset('g'), undefined)
  world.log.release()
  assert.equal(await committing, ErrorCode.NONE)
  assert.equal(world.offset('g'), 5)
})

test('a commit that is not durable in offsets.commit.timeout.ms is COORDINATOR_NOT_AVAILABLE, and counts when it is', async () => {
  const world = await World.open()
  world.log.holds = true
  const committing = world.commit('g', 5)
  await world.clock.advance(5_000)
  assert.equal(await committing, ErrorCode.COORDINATOR_NOT_AVAILABLE)
  world.log.release()
  await settle()
  assert.equal(world.offset('g'), 5)
})

test('errors of the log are mapped', async () => {
  const world = await World.open()
  world.log.error = ErrorCode.NOT_LEADER_OR_FOLLOWER
  assert.equal(await world.commit('g', 5), ErrorCode.NOT_COORDINATOR)
  world.log.error = ErrorCode.NOT_ENOUGH_REPLICAS
  assert.equal(await world.commit('g', 5), ErrorCode.COORDINATOR_NOT_AVAILABLE)
  assert.equal(
    (await world.coordinator.join(world.joinCall('h', '', { requiresKnownMemberId: true }))).error,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
  )
  assert.equal(world.offset('g'), undefined)
})

test('OffsetCommit to an unknown group: without a generation it makes a simple group, with one it is refused', async () => {
  const world = await World.open()
  assert.equal(await world.commit('g', 5, { generationId: 0 }), ErrorCode.GROUP_ID_NOT_FOUND)
  assert.deepEqual(world.coordinator.list(), [])
  assert.equal(await world.commit('g', 5), ErrorCode.NONE)
  assert.deepEqual(world.coordinator.list(), [{ groupId: 'g', protocolType: '', state: 'Empty' }])
})

test('group id "" may commit and fetch', async () => {
  const world = await World.open()
  assert.equal(await world.commit('', 5), ErrorCode.NONE)
  assert.equal(world.offset(''), 5)
})

test('metadata longer than offset.metadata.max.bytes is refused for that partition only', async () => {
  const world = await World.open()
  const entry = { topic: 't', topicId: 'AAAAAAAAAAAAAAAAAAAAAA', offset: -5, leaderEpoch: -1 }
  const errors = await world.coordinator.commit({
    groupId: 'g',
    memberId: '',
    groupInstanceId: null,
    generationId: -1,
    retentionTimeMs: -1,
    unknownGroupError: ErrorCode.GROUP_ID_NOT_FOUND,
    offsets: [
      { ...entry, partition: 0, metadata: 'x'.repeat(4_097) },
      { ...entry, partition: 1, metadata: 'é'.repeat(4_096) },
    ],
  })
  assert.deepEqual(errors, [ErrorCode.OFFSET_METADATA_TOO_LARGE, ErrorCode.NONE])
  assert.equal(world.offset('g', 't', 0), undefined)
  assert.equal(world.offset('g', 't', 1), -5, 'the value is not checked')
})

test('a commit extends the session of the member', async () => {
  const world = await World.open()
  const memberId = await world.stable('g')
  await world.clock.advance(9_000)
  assert.equal(await world.commit('g', 5, { memberId, generationId: 1 }), ErrorCode.NONE)
  await world.clock.advance(9_000)
  assert.equal(world.list()[0]!.state, 'Stable')
})

test('committed offsets come back with epoch and metadata', async () => {
  const world = await World.open()
  await world.commit('g', 41, { metadata: 'note' })
  await world.commit('g', 42, { metadata: 'note' })
  await world.restart()
  const fetched = world.coordinator.fetchOffsets('g', null)
  assert(typeof fetched === 'object')
  assert.equal(fetched.length, 1)
  const { committed } = fetched[0]!
  assert.deepEqual([committed?.offset, committed?.leaderEpoch, committed?.metadata], [42, 7, 'note'])
})

test('fetching from an unknown group is no error', async () => {
  const world = await World.open()
  assert.equal(world.offset('g'), undefined)
  assert.deepEqual(world.coordinator.fetchOffsets('g', null), [])
})

test('OffsetDelete by state and subscription', async () => {
  const world = await World.open()
  const wanted = [
    { topic: 't', partition: 0 },
    { topic: 'u', partition: 0 },
    { topic: 'u', partition: 9 },
  ]
  assert.equal((await world.coordinator.deleteOffsets('g', wanted)).error, ErrorCode.GROUP_ID_NOT_FOUND)
  const memberId = await world.stable('g')
  await world.commit('g', 1, { topic: 't', memberId, generationId: 1 })
  await world.commit('g', 2, { topic: 'u', memberId, generationId: 1 })
  assert.deepEqual(await world.coordinator.deleteOffsets('g', wanted), {
    error: ErrorCode.NONE,
    errors: [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ErrorCode.NONE, ErrorCode.NONE],
  })
  assert.equal(world.offset('g', 't'), 1)
  assert.equal(world.offset('g', 'u'), undefined)
  await world.restart()
  assert.equal(world.offset('g', 'u'), undefined)
  await world.stable('c', { protocolType: 'connect' })
  assert.equal((await world.coordinator.deleteOffsets('c', wanted)).error, ErrorCode.NON_EMPTY_GROUP)
  await world.coordinator.leave('g', [{ memberId, groupInstanceId: null }])
  assert.deepEqual((await world.coordinator.deleteOffsets('g', wanted)).errors, [0, 0, 0])
})

test('DeleteGroups removes an empty group with its offsets, for good', async () => {
  const world = await World.open()
  assert.equal(await world.coordinator.deleteGroup('g'), ErrorCode.GROUP_ID_NOT_FOUND)
  const memberId = await world.stable('g')
  assert.equal(await world.commit('g', 5, { memberId, generationId: 1 }), ErrorCode.NONE)
  assert.equal(await world.coordinator.deleteGroup('g'), ErrorCode.NON_EMPTY_GROUP)
  await world.coordinator.leave('g', [{ memberId, groupInstanceId: null }])
  assert.equal(await world.coordinator.deleteGroup('g'), ErrorCode.NONE)
  assert.equal(world.coordinator.describe('g'), ErrorCode.GROUP_ID_NOT_FOUND)
  await world.restart()
  assert.deepEqual(world.coordinator.list(), [])
  assert.equal(world.offset('g'), undefined)
})

test('a commit that was on its way when the group was deleted does not bring it back', async () => {
  const world = await World.open()
  await world.commit('g', 1)
  world.log.holds = true
  const committing = world.commit('g', 2, { partition: 1 })
  await settle()
  const deleting = world.coordinator.deleteGroup('g')
  await settle()
  const late = world.commit('g', 3, { partition: 2 })
  world.log.release()
  assert.equal(await committing, ErrorCode.NONE)
  assert.equal(await deleting, ErrorCode.NONE)
  assert.equal(await late, ErrorCode.NONE, 'who comes after the deletion makes a new group')
  for (let round = 0; round < 2; round++) {
    assert.equal(world.offset('g', 't', 0), undefined)
    assert.equal(world.offset('g', 't', 1), undefined)
    assert.equal(world.offset('g', 't', 2), 3)
    await world.restart()
  }
})

test('a deletion that cannot be written leaves the group as it was', async () => {
  const world = await World.open()
  await world.commit('g', 1)
  world.log.error = ErrorCode.KAFKA_STORAGE_ERROR
  assert.equal(await world.coordinator.deleteGroup('g'), ErrorCode.NOT_COORDINATOR)
  assert.equal(world.offset('g'), 1)
  world.log.error = ErrorCode.NONE
  assert.equal(await world.coordinator.deleteGroup('g'), ErrorCode.NONE)
})

test('a deleted topic takes its offsets with it at once, in every group, and on disk', async () => {
  const world = await World.open()
  world.createTopic('t')
  world.createTopic('u')
  await world.commit('g', 1)
  await world.commit('h', 2)
  await world.commit('h', 3, { topic: 'u' })
  world.deleteTopic('t')
  assert.equal(world.offset('g'), undefined)
  assert.equal(world.offset('h'), undefined)
  assert.equal(world.offset('h', 'u'), 3)
  await settle()
  await world.restart()
  assert.equal(world.offset('h'), undefined)
  assert.equal(world.offset('h', 'u'), 3)
})

test('a topic created again under the same name does not inherit offsets', async () => {
  const world = await World.open()
  world.createTopicWithId('t', 'AAAAAAAAAAAAAAAAAAAAAQ')
  await world.commit('g', 1)
  const { topicId } = world.image.topicByName('t')!
  // The coordinator did not hear of the deletion: it was down.
  world.image.apply({ type: 'delete-topic', topicId })
  world.createTopicWithId('t', 'AAAAAAAAAAAAAAAAAAAAAg')
  assert.equal(world.offset('g'), undefined)
  assert.deepEqual(world.coordinator.fetchOffsets('g', null), [])
  await world.commit('g', 2)
  assert.equal(world.offset('g'), 2)
})

test('a topic deleted while the log is read is forgotten when it is loaded', async () => {
  const world = await World.open()
  world.createTopic('t')
  await world.commit('g', 1)
  let open = () => {}
  world.log.gate = new Promise((resolve) => (open = resolve))
  world.coordinator = world.fresh()
  const loading = world.coordinator.lead(0)
  world.deleteTopic('t')
  open()
  await loading
  assert.equal(world.offset('g'), undefined)
})

test('offsets of a simple group expire by their commit time, and the group with the last of them', async () => {
  const world = await World.open()
  await world.commit('g', 1)
  await world.clock.advance(3 * DAY_MS)
  await world.commit('g', 2, { partition: 1 })
  await world.clock.advance(4 * DAY_MS + 600_000)
  assert.equal(world.offset('g', 't', 0), undefined)
  assert.equal(world.offset('g', 't', 1), 2)
  await world.clock.advance(3 * DAY_MS)
  assert.deepEqual(world.coordinator.list(), [])
  await world.restart()
  assert.deepEqual(world.coordinator.list(), [])
})

test('offsets of a group that had members expire since it is empty', async () => {
  const world = await World.open()
  const memberId = await world.stable('g', { sessionTimeoutMs: 1_800_000 })
  await world.commit('g', 1, { memberId, generationId: 1 })
  for (let hours = 0; hours < 8 * 24; hours++) {
    await world.clock.advance(3_600_000 / 3)
    await world.coordinator.heartbeat({ groupId: 'g', memberId, groupInstanceId: null, generationId: 1 })
    await world.clock.advance(3_600_000 / 3)
    await world.coordinator.heartbeat({ groupId: 'g', memberId, groupInstanceId: null, generationId: 1 })
    await world.clock.advance(3_600_000 / 3)
    await world.coordinator.heartbeat({ groupId: 'g', memberId, groupInstanceId: null, generationId: 1 })
  }
  assert.equal(world.offset('g'), 1, 'a subscribed topic of a live group never expires')
  await world.coordinator.leave('g', [{ memberId, groupInstanceId: null }])
  await world.clock.advance(6 * DAY_MS)
  await world.restart()
  assert.equal(world.offset('g'), 1)
  await world.clock.advance(DAY_MS + 600_000)
  assert.equal(world.offset('g'), undefined)
  assert.deepEqual(world.coordinator.list(), [])
})

test('a topic that no member reads any more expires by commit time while the group is Stable', async () => {
  const world = await World.open([['offsets.retention.minutes', '20']])
  const memberId = await world.stable('g', { sessionTimeoutMs: 1_800_000 })
  await world.commit('g', 1, { memberId, generationId: 1, topic: 't' })
  await world.commit('g', 2, { memberId, generationId: 1, topic: 'u' })
  await world.clock.advance(20 * 60_000)
  assert.equal(world.offset('g', 't'), 1)
  assert.equal(world.offset('g', 'u'), undefined)
})

test('an explicit expiry (OffsetCommit v2-4) is kept, and ends the offset at its instant', async () => {
  const world = await World.open()
  await world.commit('g', 1, { retentionTimeMs: 3_600_000 })
  await world.commit('g', 2, { partition: 1 })
  await world.restart()
  await world.clock.advance(3_600_000 - 1)
  await world.coordinator.expireOffsets()
  assert.equal(world.offset('g'), 1)
  await world.clock.advance(600_000)
  assert.equal(world.offset('g'), undefined)
  assert.equal(world.offset('g', 't', 1), 2)
})

test('a commit that is on its way is not swept away by expiry', async () => {
  const world = await World.open()
  await world.commit('g', 1, { retentionTimeMs: 1 })
  await world.clock.advance(1_000)
  world.log.holds = true
  const committing = world.commit('g', 2)
  await settle()
  const expiring = world.coordinator.expireOffsets()
  world.log.release()
  await committing
  await expiring
  assert.equal(world.offset('g'), 2)
  await world.restart()
  assert.equal(world.offset('g'), 2)
})

test('an id that waits for its member keeps an empty group from being removed', async () => {
  const world = await World.open([['offsets.retention.check.interval.ms', '5000']])
  await world.coordinator.join(world.joinCall('g', '', { requiresKnownMemberId: true }))
  await world.clock.advance(5_000)
  assert.equal(world.list().length, 1)
  await world.clock.advance(10_000)
  assert.deepEqual(world.coordinator.list(), [])
})

test('a stalled process ends no session by the stall alone', async () => {
  const world = await World.open()
  const memberId = await world.stable('g')
  world.clock.stall(60_000)
  await world.clock.advance(0)
  const identity = { groupId: 'g', memberId, groupInstanceId: null, generationId: 1 }
  assert.equal(await world.coordinator.heartbeat(identity), ErrorCode.NONE)
})

test('DescribeGroups shows protocol, metadata and assignment only in Stable', async () => {
  const world = await World.open([['group.initial.rebalance.delay.ms', '3000']])
  const joining = world.coordinator.join(world.joinCall('g', ''))
  await settle()
  const preparing = world.coordinator.describe('g')
  assert(typeof preparing === 'object')
  assert.equal(preparing.state, 'PreparingRebalance')
  assert.equal(preparing.protocolData, '')
  assert.equal(preparing.members[0]!.memberMetadata.length, 0)
  await world.clock.advance(3_000)
  const { memberId } = await joining
  await world.coordinator.sync({
    groupId: 'g',
    memberId,
    groupInstanceId: null,
    generationId: 1,
    protocolType: null,
    protocolName: null,
    assignments: [{ memberId, assignment: bytes('mine') }],
  })
  const stable = world.coordinator.describe('g')
  assert(typeof stable === 'object')
  assert.equal(stable.state, 'Stable')
  assert.equal(stable.protocolType, 'consumer')
  assert.equal(stable.protocolData, 'range')
  assert.equal(stable.members[0]!.clientHost, '/127.0.0.1')
  assert.equal(text(stable.members[0]!.memberAssignment), 'mine')
  assert(stable.members[0]!.memberMetadata.length > 0)
})

test('what was committed is there for metrics', async () => {
  const world = await World.open()
  await world.commit('g', 5)
  assert.equal(world.coordinator.groupCount, 1)
  assert.deepEqual([...world.coordinator.committedOffsets()], [{ groupId: 'g', topic: 't', partition: 0, offset: 5 }])
})

test('after any history the log holds what memory holds', async () => {
  const world = await World.open()
  world.createTopic('t')
  await world.stable('a')
  await world.commit('b', 1)
  await world.commit('b', 2)
  await world.coordinator.deleteGroup('b')
  await world.commit('c', 3)
  const kinds = world.log.of(0).map(({ key, value }) => `${readRecord(key, value).type}${value === null ? '-' : '+'}`)
  assert.deepEqual(kinds, ['group+', 'group+', 'offset+', 'offset+', 'offset-', 'group-', 'offset+'])
})
