// What counts as a cluster that holds nothing, and who gives way when two clusters meet.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Command, encodeCommand } from '../../../../broker/cluster/commands.ts'
import { holdsNothing, isEmptyImage, meetingOf } from '../../../../broker/cluster/empty-cluster.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import type { SeedAnswer, SeedStatus } from '../../../../broker/cluster/node-forming.ts'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { encodeMembership, Membership } from '../../../../broker/raft/membership.ts'
import { EntryKind, type NodeId } from '../../../../broker/raft/types.ts'
import { encodeSnapshot, foundingSnapshot, NO_BYTES } from '../../../../broker/replication/snapshot-blob.ts'
import type { GroupLog } from '../../../../storage/log.ts'
import { CONFIG, newDisk, openShard } from '../../storage/harness.ts'

const NODE = 3
const OWN = raftIdOf(NODE, 0)

const register = (nodeId: number): Command => ({
  ...{ type: 'register-broker', nodeId, host: 'h', port: 9092, rack: null, endpoints: [] },
})
const USUAL: readonly Command[] = [{ type: 'set-cluster-id', clusterId: 'c' }, register(NODE)]
const CREATE: Command = { type: 'create-topic', name: 't', topicId: 'id', assignments: [[NODE]], configs: {} }

/** A log as the next start finds it. @param members of an entry behind the others */
async function reopened(snapshot: Uint8Array | undefined, commands: readonly Command[], members?: readonly NodeId[]) {
  const disk = newDisk(1)
  const { storage } = await openShard(disk)
  const log = storage.create(0, '', CONFIG, snapshot)
  log.saveHardState(2, OWN)
  let index = log.lastIndex
  log.appendEntry(2, ++index, EntryKind.LeaderChange, new Uint8Array(0))
  for (const command of commands) log.appendEntry(2, ++index, EntryKind.Command, encodeCommand(command))
  if (members !== undefined) {
    log.appendEntry(2, ++index, EntryKind.Membership, encodeMembership(new Membership(members)))
  }
  storage.flush()
  await log.whenJournaled()
  await storage.close()
  const found = (await openShard(disk.reopen())).storage.get(0)
  assert.ok(found !== undefined)
  return found
}

function imageOf(commands: readonly Command[]): Uint8Array {
  const image = new MetadataImage(new BrokerConfig([]))
  for (const command of commands) image.apply(command)
  return image.serialize()
}

test('a log with this broker as its only member and nothing but its registration holds nothing', async () => {
  for (const snapshot of [
    undefined,
    foundingSnapshot([OWN]),
    encodeSnapshot(0, new Membership([OWN]), imageOf(USUAL)),
  ]) {
    for (const commands of [[], USUAL, [...USUAL, register(NODE)]]) {
      assert.equal(holdsNothing(await reopened(snapshot, commands), OWN), true)
    }
  }
  assert.equal(holdsNothing(await reopened(foundingSnapshot([OWN]), USUAL, [OWN]), OWN), true)
})

test('whatever else a log holds, committed or not, is something', async () => {
  const others: readonly Command[] = [
    register(4),
    CREATE,
    { type: 'set-configs', resource: 'broker', name: '', configs: { a: 'b' } } as unknown as Command,
    { type: 'allocate-producer-ids', token: 't', count: 10 },
    { type: 'unregister-broker', nodeId: NODE },
    { type: 'set-features' } as unknown as Command,
  ]
  for (const command of others) {
    assert.equal(holdsNothing(await reopened(foundingSnapshot([OWN]), [...USUAL, command]), OWN), false, command.type)
  }
  assert.equal(holdsNothing(await reopened(foundingSnapshot([OWN]), USUAL, [OWN, 4]), OWN), false)
  assert.equal(holdsNothing(await reopened(foundingSnapshot([OWN, 4]), []), OWN), false)
  assert.equal(holdsNothing(await reopened(foundingSnapshot([4]), []), OWN), false)
  // Of this broker with another disk.
  assert.equal(holdsNothing(await reopened(foundingSnapshot([raftIdOf(NODE, 1)]), []), OWN), false)
  const snapshot = encodeSnapshot(0, new Membership([OWN]), imageOf([...USUAL, CREATE]))
  assert.equal(holdsNothing(await reopened(snapshot, []), OWN), false)
})

test('a replica is shown everything that was read before it', async () => {
  const log: GroupLog = await reopened(encodeSnapshot(0, new Membership([OWN]), NO_BYTES), USUAL)
  assert.equal(holdsNothing(log, OWN), true)
  assert.equal(log.replayed, false)
  assert.ok(log.snapshot !== undefined)
  let entries = 0
  log.replay({
    entry() {
      entries++
    },
    batch() {},
  })
  assert.equal(entries, 1 + USUAL.length)
})

test('an image keeps the traces of what is gone', () => {
  const gone: readonly (readonly Command[])[] = [
    [CREATE, { type: 'delete-topic', topicId: 'id' }],
    [register(4), { type: 'unregister-broker', nodeId: 4 }],
    [{ type: 'allocate-producer-ids', token: 't', count: 10 }],
  ]
  assert.equal(isEmptyImage(imageOf([]), NODE), true)
  assert.equal(isEmptyImage(imageOf(USUAL), NODE), true)
  for (const commands of gone) assert.equal(isEmptyImage(imageOf([...USUAL, ...commands]), NODE), false)
})

// Two clusters meet. This one is 'm'.

const says = (clusterId: string, more: Partial<SeedStatus> = {}): SeedAnswer => ({
  kind: 'answered',
  status: { nodeId: 9, clusterId, ...more },
})
const meets = (...answers: SeedAnswer[]) => meetingOf(answers, 'm').type

test('a broker that meets nobody with another cluster stays', () => {
  assert.equal(meets(), 'stay')
  assert.equal(meets({ kind: 'self' }, { kind: 'absent' }, { kind: 'unclear', reason: '' }, says('')), 'stay')
  assert.equal(meets(says('z'), says('m')), 'stay', 'it is not alone')
})

test('a broker gives way to one that runs in another cluster, whatever the order of their ids', () => {
  for (const other of ['a', 'z']) {
    assert.deepEqual(meetingOf([{ kind: 'self' }, { kind: 'absent' }, says(other), says(other)], 'm'), {
      type: 'give-way',
      at: 2,
    })
    assert.equal(meets(says('a', { isDeciding: true }), says(other)), 'give-way')
  }
})

test('of two that are only starting the first in the order of their ids stays, and the other one waits for it', () => {
  const ids = ['a', 'm', 'z']
  for (const own of ids) {
    const others = ids.filter((id) => id !== own).map((id) => says(id, { isDeciding: true }))
    assert.equal(meetingOf(others, own).type, own === 'a' ? 'stay' : 'wait')
  }
})

test('a broker keeps its cluster when it would push out another directory, or cannot tell which cluster to join', () => {
  assert.match(
    JSON.stringify(meetingOf([says('z'), says('z', { isIdTaken: true })], 'm')),
    /stay.*another data directory/,
  )
  assert.match(JSON.stringify(meetingOf([says('z'), says('y')], 'm')), /stay.*different clusters/)
})
