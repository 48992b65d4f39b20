// What Kafka answers to FindCoordinator and to the members of classic groups: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode } from '../../protocol/errors.ts'
import type { JoinGroupResponse } from '../../protocol/messages/join-group.ts'
import { eventually } from '../support/process.ts'
import { Bytes } from '../support/raw.ts'
import { api, Bench, coordinated, type Wire } from '../support/wire.ts'

const subscription = (topic = 'groups') => new Bytes().int16(0).int32(1).string(topic).bytes(null).done()
const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

interface Join {
  readonly groupId: string
  readonly memberId?: string
  readonly groupInstanceId?: string | null
  readonly protocolType?: string
  readonly protocols?: readonly string[]
  readonly topic?: string
  readonly sessionTimeoutMs?: number
  readonly rebalanceTimeoutMs?: number
}

describe('groups', () => {
  const bench = new Bench()
  let wire: Wire

  before(async () => {
    wire = await bench.open()
    await coordinated(wire, 'groups')
    await eventually('a loaded group', 20_000, async () => {
      const answer = await wire.call(api.joinGroup, 0, {
        groupId: bench.name('group'),
        memberId: 'nobody',
        sessionTimeoutMs: 10_000,
        protocolType: 'consumer',
        protocols: [],
      })
      return answer.errorCode === ErrorCode.UNKNOWN_MEMBER_ID ? true : undefined
    })
  })

  function join(version: number, asked: Join, through: Wire = wire): Promise<JoinGroupResponse> {
    const { protocols = ['range'], topic, ...rest } = asked
    return through.call(api.joinGroup, version, {
      memberId: '',
      protocolType: 'consumer',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
      ...rest,
      protocols: protocols.map((name) => ({ name, metadata: subscription(topic) })),
    })
  }

  /** Joins with the id that is given out first, where the version asks for that. */
  async function enter(version: number, asked: Join, through: Wire = wire): Promise<JoinGroupResponse> {
    const first = await join(version, asked, through)
    if (first.errorCode !== ErrorCode.MEMBER_ID_REQUIRED) return first
    return join(version, { ...asked, memberId: first.memberId }, through)
  }

  async function sync(
    version: number,
    groupId: string,
    member: { memberId: string; generationId: number },
    options: {
      assignments?: [string, string][]
      protocolType?: string | null
      protocolName?: string | null
      groupInstanceId?: string
    } = {},
    through: Wire = wire,
  ) {
    const { assignments = [], protocolType = 'consumer', protocolName = 'range', groupInstanceId = null } = options
    const answer = await through.call(api.syncGroup, version, {
      groupId,
      memberId: member.memberId,
      generationId: member.generationId,
      groupInstanceId,
      protocolType,
      protocolName,
      assignments: assignments.map(([memberId, text]) => ({ memberId, assignment: Buffer.from(text) })),
    })
    return [answer.errorCode, Buffer.from(answer.assignment).toString()]
  }

  async function beat(groupId: string, memberId: string, generationId: number, groupInstanceId: string | null = null) {
    const codes: number[] = []
    for (const version of groupInstanceId === null ? [0, 4] : [3, 4]) {
      codes.push(
        (await wire.call(api.heartbeat, version, { groupId, memberId, generationId, groupInstanceId })).errorCode,
      )
    }
    assert.equal(codes[0], codes[1])
    return codes[0]
  }

  /** A Stable group of one member. */
  async function single(options: Partial<Join> = {}, version = 9) {
    const groupId = options.groupId ?? bench.name('group')
    const joined = await enter(version, { groupId, ...options })
    assert.deepEqual([joined.errorCode, joined.leader], [0, joined.memberId])
    const [error, mine] = await sync(version >= 7 ? 5 : 2, groupId, joined, {
      assignments: [[joined.memberId, 'mine']],
      protocolName: joined.protocolName,
    })
    assert.deepEqual([error, mine], [0, 'mine'])
    return { groupId, joined }
  }

  /** A Stable group of two: the leader on `wire`, the follower on a connection of its own. */
  async function pair() {
    const { groupId, joined } = await single()
    const other = await bench.open()
    const first = await join(9, { groupId }, other)
    assert.equal(first.errorCode, ErrorCode.MEMBER_ID_REQUIRED)
    const held = join(9, { groupId, memberId: first.memberId }, other)
    await eventually('the rebalance', 10_000, async () => {
      return (await beat(groupId, joined.memberId, joined.generationId)) === ErrorCode.REBALANCE_IN_PROGRESS
        ? true
        : undefined
    })
    const leader = await join(9, { groupId, memberId: joined.memberId })
    const follower = await held
    return { groupId, leader, follower, other }
  }

  async function stablePair() {
    const two = await pair()
    const { groupId, leader, follower, other } = two
    const waits = sync(5, groupId, follower, {}, other)
    await sync(5, groupId, leader, {
      assignments: [
        [leader.memberId, 'one'],
        [follower.memberId, 'two'],
      ],
    })
    assert.deepEqual(await waits, [0, 'two'])
    return two
  }

  async function stateOf(groupId: string): Promise<string | undefined> {
    const answer = await wire.call(api.describeGroups, 5, { groups: [groupId] })
    return answer.groups[0]?.groupState
  }

  describe('FindCoordinator', () => {
    test('versions up to 3 know one key, with the message NONE; later ones a list, without', async () => {
      for (const version of [0, 1, 3]) {
        const answer = await wire.call(api.findCoordinator, version, { key: 'groups' })
        assert.deepEqual([answer.errorCode, answer.port], [0, bench.target.port])
        if (version > 0) assert.equal(answer.errorMessage, 'NONE')
      }
      for (const version of [4, 6]) {
        const { coordinators } = await wire.call(api.findCoordinator, version, { coordinatorKeys: ['groups', ''] })
        assert.deepEqual(
          coordinators.map(({ key, errorCode, errorMessage, port }) => [key, errorCode, errorMessage, port]),
          [
            ['groups', 0, '', bench.target.port],
            ['', 0, '', bench.target.port],
          ],
        )
        assert.deepEqual((await wire.call(api.findCoordinator, version, { coordinatorKeys: [] })).coordinators, [])
      }
    })

    test('a key type that is none is INVALID_REQUEST for every key', async () => {
      for (const [version, keyType] of [
        [4, 3],
        [6, 3],
        [6, -1],
        [5, 2],
      ] as const) {
        const { coordinators } = await wire.call(api.findCoordinator, version, { keyType, coordinatorKeys: ['a', 'b'] })
        assert.deepEqual(
          coordinators.map(({ errorCode, nodeId, host, port }) => [errorCode, nodeId, host, port]),
          [
            [ErrorCode.INVALID_REQUEST, -1, '', -1],
            [ErrorCode.INVALID_REQUEST, -1, '', -1],
          ],
        )
      }
      const single = await wire.call(api.findCoordinator, 1, { keyType: 5, key: 'a' })
      assert.deepEqual(
        [single.errorCode, single.nodeId, single.host, single.port],
        [ErrorCode.INVALID_REQUEST, -1, '', -1],
      )
    })

    test('share coordinators are asked for with well-made keys', async () => {
      const { coordinators } = await wire.call(api.findCoordinator, 6, { keyType: 2, coordinatorKeys: ['no such key'] })
      assert.equal(coordinators[0]?.errorCode, ErrorCode.INVALID_REQUEST)
    })
  })

  describe('JoinGroup', () => {
    test('an empty group id is INVALID_GROUP_ID, and comes first', async () => {
      for (const version of [0, 4, 9]) {
        const answer = await join(version, { groupId: '', memberId: 'm', sessionTimeoutMs: 1 })
        assert.equal(answer.errorCode, ErrorCode.INVALID_GROUP_ID)
      }
    })

    test('a session timeout beyond the limits is INVALID_SESSION_TIMEOUT, with the member id that was sent', async () => {
      for (const version of [0, 4, 9]) {
        for (const sessionTimeoutMs of [5999, 1_800_001]) {
          const answer = await join(version, { groupId: bench.name('group'), memberId: 'm', sessionTimeoutMs })
          assert.deepEqual([answer.errorCode, answer.memberId], [ErrorCode.INVALID_SESSION_TIMEOUT, 'm'])
        }
      }
    })

    test('a member id in an unknown group is UNKNOWN_MEMBER_ID; an error has no generation, leader, protocol or members', async () => {
      for (const version of [0, 2, 6, 7, 9]) {
        const answer = await join(version, { groupId: bench.name('group'), memberId: 'nobody' })
        assert.deepEqual(
          [
            answer.errorCode,
            answer.generationId,
            answer.leader,
            answer.protocolName,
            answer.members,
            answer.protocolType,
          ],
          [ErrorCode.UNKNOWN_MEMBER_ID, -1, '', version >= 7 ? null : '', [], null],
          `v${version}`,
        )
      }
    })

    test('no protocols, or no protocol type, is INCONSISTENT_GROUP_PROTOCOL', async () => {
      for (const version of [0, 4, 9]) {
        for (const odd of [{ protocols: [] }, { protocolType: '' }]) {
          const answer = await join(version, { groupId: bench.name('group'), ...odd })
          assert.equal(answer.errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        }
      }
    })

    test('up to version 3 a member joins at once, later it is given an id first', async () => {
      for (const version of [0, 3]) {
        const answer = await join(version, { groupId: bench.name('group') })
        assert.deepEqual([answer.errorCode, answer.generationId, answer.protocolName], [0, 1, 'range'])
        assert.match(answer.memberId, uuid)
        assert.ok(answer.memberId.startsWith('conformance-'))
        assert.deepEqual(
          answer.members.map(({ memberId, metadata }) => [memberId, Buffer.from(metadata)]),
          [[answer.memberId, subscription()]],
        )
      }
      for (const version of [4, 9]) {
        const groupId = bench.name('group')
        const first = await join(version, { groupId })
        assert.deepEqual(
          [first.errorCode, first.generationId, first.leader, first.members],
          [ErrorCode.MEMBER_ID_REQUIRED, -1, '', []],
        )
        assert.ok(first.memberId.startsWith('conformance-'))
        assert.equal(await beat(groupId, first.memberId, 0), ErrorCode.UNKNOWN_MEMBER_ID, 'a pending id is no member')
        const joined = await join(version, { groupId, memberId: first.memberId })
        assert.deepEqual([joined.errorCode, joined.generationId, joined.memberId], [0, 1, first.memberId])
        assert.equal(joined.protocolType, version >= 7 ? 'consumer' : null)
      }
    })

    test('a group is there after a first join that was refused', async () => {
      for (const odd of [{}, { protocols: [] }]) {
        const groupId = bench.name('group')
        await join(9, { groupId, ...odd })
        assert.equal(await stateOf(groupId), 'Empty')
      }
    })

    test('another protocol type, or no protocol in common, is INCONSISTENT_GROUP_PROTOCOL', async () => {
      const { groupId } = await single({ protocols: ['a', 'b'] })
      for (const version of [0, 9]) {
        for (const odd of [{ protocolType: 'connect' }, { protocols: ['c'] }]) {
          const answer = await join(version, { groupId, ...odd })
          assert.equal(answer.errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        }
      }
    })

    test('a follower that joins again is answered at once, the leader rebalances', async () => {
      const { groupId, leader, follower } = await stablePair()
      assert.equal(leader.generationId, 2)
      const again = await join(9, { groupId, memberId: follower.memberId })
      assert.deepEqual([again.errorCode, again.generationId, again.leader, again.members], [0, 2, leader.memberId, []])
      assert.equal(await beat(groupId, leader.memberId, 2), 0)
      const other = await bench.open()
      const held = join(9, { groupId, memberId: leader.memberId })
      await eventually('the rebalance', 10_000, async () => {
        const { errorCode } = await other.call(api.heartbeat, 4, {
          groupId,
          memberId: follower.memberId,
          generationId: 2,
        })
        return errorCode === ErrorCode.REBALANCE_IN_PROGRESS ? true : undefined
      })
      const rejoined = await join(9, { groupId, memberId: follower.memberId }, other)
      assert.deepEqual([rejoined.generationId, rejoined.leader, rejoined.members], [3, leader.memberId, []])
      assert.deepEqual([(await held).generationId, (await held).members.length], [3, 2])
    })

    test('a follower that joins with another subscription rebalances', async () => {
      const { groupId, leader, follower, other } = await stablePair()
      const held = join(9, { groupId, memberId: follower.memberId, topic: 'another' }, other)
      await eventually('the rebalance', 10_000, async () =>
        (await beat(groupId, leader.memberId, 2)) === ErrorCode.REBALANCE_IN_PROGRESS ? true : undefined,
      )
      assert.equal((await join(9, { groupId, memberId: leader.memberId })).generationId, 3)
      assert.equal((await held).generationId, 3)
    })

    test('while assignments are awaited, a member that lost its answer is given it again', async () => {
      const { groupId, leader, follower } = await pair()
      const again = await join(9, { groupId, memberId: leader.memberId })
      assert.deepEqual([again.errorCode, again.generationId, again.members.length], [0, 2, 2])
      const follows = await join(9, { groupId, memberId: follower.memberId })
      assert.deepEqual([follows.errorCode, follows.generationId, follows.members], [0, 2, []])
    })

    test('the protocol with most votes wins', async () => {
      const { groupId, joined } = await single({ protocols: ['a', 'b', 'c'] })
      const [second, third] = [await bench.open(), await bench.open()]
      const ids = [
        await join(9, { groupId, protocols: ['b', 'a'] }, second),
        await join(9, { groupId, protocols: ['b', 'c', 'a'] }, third),
      ]
      const held = [
        join(9, { groupId, protocols: ['b', 'a'], memberId: ids[0]?.memberId ?? '' }, second),
        join(9, { groupId, protocols: ['b', 'c', 'a'], memberId: ids[1]?.memberId ?? '' }, third),
      ]
      await eventually('the rebalance', 10_000, async () =>
        (await beat(groupId, joined.memberId, 1)) === ErrorCode.REBALANCE_IN_PROGRESS ? true : undefined,
      )
      const leader = await join(9, { groupId, protocols: ['a', 'b', 'c'], memberId: joined.memberId })
      const answers = [leader, ...(await Promise.all(held))]
      for (const answer of answers) assert.deepEqual([answer.errorCode, answer.protocolName], [0, 'b'])
    })
  })

  describe('static members', () => {
    test('an instance joins at once, its member id begins with the instance id', async () => {
      for (const version of [5, 9]) {
        const answer = await join(version, { groupId: bench.name('group'), groupInstanceId: 'instance' })
        assert.equal(answer.errorCode, 0)
        assert.match(answer.memberId, uuid)
        assert.ok(answer.memberId.startsWith('instance-'))
        assert.equal(answer.members[0]?.groupInstanceId, 'instance')
      }
    })

    test('an unknown instance with a member id is UNKNOWN_MEMBER_ID, a known one with another id FENCED_INSTANCE_ID', async () => {
      const { groupId, joined } = await single({ groupInstanceId: 'known' })
      for (const version of [5, 9]) {
        const unknown = await join(version, { groupId, groupInstanceId: 'unknown', memberId: joined.memberId })
        assert.equal(unknown.errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
        const fenced = await join(version, { groupId, groupInstanceId: 'known', memberId: 'somebody' })
        assert.equal(fenced.errorCode, ErrorCode.FENCED_INSTANCE_ID)
      }
      assert.equal(await beat(groupId, 'somebody', 1, 'known'), ErrorCode.FENCED_INSTANCE_ID)
      assert.equal(await beat(groupId, joined.memberId, 1, 'unknown'), ErrorCode.UNKNOWN_MEMBER_ID)
      assert.equal(await beat(groupId, joined.memberId, 9, 'known'), ErrorCode.ILLEGAL_GENERATION)
      assert.equal(await beat(groupId, joined.memberId, 1, 'known'), 0)
    })

    test('an instance that comes back gets a new id and its assignment, without a rebalance', async () => {
      const { groupId, joined } = await single({ groupInstanceId: 'back' })
      const again = await join(9, { groupId, groupInstanceId: 'back' })
      assert.deepEqual(
        [again.errorCode, again.generationId, again.leader, again.skipAssignment, again.members.length],
        [0, 1, again.memberId, true, 1],
      )
      assert.notEqual(again.memberId, joined.memberId)
      assert.deepEqual(await sync(5, groupId, again, { groupInstanceId: 'back' }), [0, 'mine'])
      assert.equal(await beat(groupId, joined.memberId, 1, 'back'), ErrorCode.FENCED_INSTANCE_ID)
      const older = await join(5, { groupId, groupInstanceId: 'back' })
      // Before skipAssignment there was, a leader that came back is told of a leader that is gone, so that it only follows.
      assert.deepEqual([older.errorCode, older.generationId, older.leader, older.members], [0, 1, again.memberId, []])
    })
  })

  describe('SyncGroup', () => {
    test('who, then which generation, then which protocol', async () => {
      const { groupId, joined } = await single()
      const { memberId, generationId } = joined
      for (const version of [0, 5]) {
        assert.deepEqual(await sync(version, '', joined), [ErrorCode.INVALID_GROUP_ID, ''])
        assert.deepEqual(await sync(version, bench.name('group'), joined), [ErrorCode.UNKNOWN_MEMBER_ID, ''])
        const nobody = { memberId: 'nobody', generationId: 99 }
        assert.deepEqual(await sync(version, groupId, nobody), [ErrorCode.UNKNOWN_MEMBER_ID, ''])
        assert.deepEqual(await sync(version, groupId, { memberId, generationId: 99 }), [
          ErrorCode.ILLEGAL_GENERATION,
          '',
        ])
        assert.deepEqual(await sync(version, groupId, { memberId, generationId }), [0, 'mine'])
      }
      const inconsistent = [ErrorCode.INCONSISTENT_GROUP_PROTOCOL, '']
      for (const odd of [
        { protocolType: null },
        { protocolName: null },
        { protocolType: 'connect' },
        { protocolName: 'other' },
      ]) {
        assert.deepEqual(await sync(5, groupId, joined, odd), inconsistent)
      }
      const wrong = { memberId, generationId: 99 }
      assert.deepEqual(await sync(5, groupId, wrong, { protocolName: 'other' }), [ErrorCode.ILLEGAL_GENERATION, ''])
    })

    test('the answer names the protocol from version 5 on', async () => {
      const { groupId, joined } = await single()
      const request = { groupId, memberId: joined.memberId, generationId: 1, assignments: [] }
      const named = { protocolType: 'consumer', protocolName: 'range' }
      const answer = await wire.call(api.syncGroup, 5, { ...request, ...named })
      assert.deepEqual([answer.protocolType, answer.protocolName], ['consumer', 'range'])
    })

    test('members the leader left out get nothing, without an error; what a stable group is sent is ignored', async () => {
      const { groupId, leader, follower, other } = await pair()
      const waits = sync(5, groupId, follower, {}, other)
      assert.deepEqual(await sync(5, groupId, leader, { assignments: [[leader.memberId, 'all']] }), [0, 'all'])
      assert.deepEqual(await waits, [0, ''])
      assert.deepEqual(await sync(5, groupId, leader, { assignments: [[leader.memberId, 'changed']] }), [0, 'all'])
    })

    test('a rebalance answers REBALANCE_IN_PROGRESS', async () => {
      const { groupId, joined } = await single()
      const other = await bench.open()
      const first = await join(9, { groupId }, other)
      const held = join(9, { groupId, memberId: first.memberId }, other)
      await eventually('the rebalance', 10_000, async () =>
        (await beat(groupId, joined.memberId, 1)) === ErrorCode.REBALANCE_IN_PROGRESS ? true : undefined,
      )
      assert.deepEqual(await sync(5, groupId, joined), [ErrorCode.REBALANCE_IN_PROGRESS, ''])
      assert.deepEqual(await sync(5, groupId, { ...joined, generationId: 9 }), [ErrorCode.ILLEGAL_GENERATION, ''])
      assert.equal(await beat(groupId, joined.memberId, 9), ErrorCode.ILLEGAL_GENERATION)
      await join(9, { groupId, memberId: joined.memberId })
      assert.equal((await held).errorCode, 0)
    })
  })

  describe('Heartbeat and LeaveGroup', () => {
    test('unknown groups and members are UNKNOWN_MEMBER_ID, before the generation', async () => {
      const { groupId, joined } = await single()
      assert.equal(await beat(bench.name('group'), joined.memberId, 1), ErrorCode.UNKNOWN_MEMBER_ID)
      assert.equal(await beat(groupId, 'nobody', 99), ErrorCode.UNKNOWN_MEMBER_ID)
      assert.equal(await beat(groupId, joined.memberId, 99), ErrorCode.ILLEGAL_GENERATION)
      assert.equal(await beat(groupId, joined.memberId, 1), 0)
      assert.equal(await beat('', 'm', 1), ErrorCode.INVALID_GROUP_ID)
    })

    test('while the leader is awaited a heartbeat is fine', async () => {
      const groupId = bench.name('group')
      const joined = await enter(9, { groupId })
      assert.equal(await stateOf(groupId), 'CompletingRebalance')
      assert.equal(await beat(groupId, joined.memberId, 1), 0)
    })

    test('up to version 2 one member leaves, and its error is the error', async () => {
      for (const version of [0, 2]) {
        const { groupId, joined } = await single()
        const leave = async (memberId: string, of = groupId) =>
          (await wire.call(api.leaveGroup, version, { groupId: of, memberId })).errorCode
        assert.equal(await leave('nobody'), ErrorCode.UNKNOWN_MEMBER_ID)
        assert.equal(await leave('nobody', bench.name('group')), ErrorCode.UNKNOWN_MEMBER_ID)
        assert.equal(await leave(joined.memberId), 0)
        assert.equal(await stateOf(groupId), 'Empty')
        assert.equal(await leave(joined.memberId), ErrorCode.UNKNOWN_MEMBER_ID)
        assert.equal(await beat(groupId, joined.memberId, 1), ErrorCode.UNKNOWN_MEMBER_ID)
      }
    })

    test('from version 3 on each member has its own error, in the order of the request', async () => {
      for (const version of [3, 5]) {
        const { groupId, joined } = await single({ groupInstanceId: 'leaver' })
        const leave = async (members: { memberId: string; groupInstanceId?: string }[], of = groupId) => {
          const answer = await wire.call(api.leaveGroup, version, { groupId: of, members })
          assert.equal(answer.errorCode, 0)
          return answer.members.map(({ memberId, groupInstanceId, errorCode }) => [
            memberId,
            groupInstanceId,
            errorCode,
          ])
        }
        assert.deepEqual(await leave([{ memberId: 'nobody' }], bench.name('group')), [
          ['nobody', null, ErrorCode.UNKNOWN_MEMBER_ID],
        ])
        const answer = await leave([
          { memberId: 'nobody' },
          { memberId: 'wrong', groupInstanceId: 'leaver' },
          { memberId: '', groupInstanceId: 'unknown' },
          { memberId: '', groupInstanceId: 'leaver' },
        ])
        assert.deepEqual(answer, [
          ['nobody', null, ErrorCode.UNKNOWN_MEMBER_ID],
          ['wrong', 'leaver', ErrorCode.FENCED_INSTANCE_ID],
          ['', 'unknown', ErrorCode.UNKNOWN_MEMBER_ID],
          ['', 'leaver', 0],
        ])
        assert.equal(await beat(groupId, joined.memberId, 1), ErrorCode.UNKNOWN_MEMBER_ID)
      }
    })

    test('a pending id can leave', async () => {
      const groupId = bench.name('group')
      const { memberId } = await join(9, { groupId })
      const answer = await wire.call(api.leaveGroup, 5, { groupId, members: [{ memberId }] })
      assert.deepEqual(
        answer.members.map(({ errorCode }) => errorCode),
        [0],
      )
      assert.equal((await join(9, { groupId, memberId })).errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
    })

    test('when one leaves the other rebalances, and leads alone', async () => {
      const { groupId, leader, follower, other } = await stablePair()
      await wire.call(api.leaveGroup, 5, { groupId, members: [{ memberId: leader.memberId }] })
      assert.equal(await beat(groupId, follower.memberId, 2), ErrorCode.REBALANCE_IN_PROGRESS)
      const alone = await join(9, { groupId, memberId: follower.memberId }, other)
      assert.deepEqual([alone.errorCode, alone.generationId, alone.leader], [0, 3, follower.memberId])
    })

    test('an empty group keeps its generation, and the next one is higher', async () => {
      const { groupId, joined } = await single()
      await wire.call(api.leaveGroup, 5, { groupId, members: [{ memberId: joined.memberId }] })
      const again = await enter(9, { groupId })
      assert.equal(again.generationId, 3)
    })
  })
})
