// The records of __consumer_offsets, byte for byte, and what a reader makes of strange ones.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GroupMetadata } from '../../../../broker/groups/classic-events.ts'
import { groupRecord, NO_TOPIC_ID, offsetRecord, readRecord } from '../../../../broker/groups/records.ts'
import { partitionOfKey } from '../../../../broker/groups/routing.ts'
import { bytes } from './bench.ts'

const hex = (value: Uint8Array | null) => (value === null ? null : Buffer.from(value).toString('hex'))

const COMMITTED = {
  offset: 42,
  leaderEpoch: 7,
  metadata: 'm',
  commitTimestampMs: 0x0102,
  expireTimestampMs: -1,
  topicId: NO_TOPIC_ID,
}

test('an offset is type 1 with layout 4; the topic id is tag 0', () => {
  const { key, value } = offsetRecord('g', 'top', 3, COMMITTED)
  assert.equal(hex(key), '0001' + '000167' + '0003746f70' + '00000003')
  assert.equal(hex(value), '0004' + '000000000000002a' + '00000007' + '026d' + '0000000000000102' + '00')
  const withId = offsetRecord('g', 'top', 3, { ...COMMITTED, topicId: 'AAAAAAAAAAAAAAAAAAAAAQ' })
  assert.equal(hex(withId.value), `${hex(value)!.slice(0, -2)}010010${'00'.repeat(15)}01`)
})

test('an offset with an expiry of its own has layout 1', () => {
  const { key, value } = offsetRecord('g', 't', 0, { ...COMMITTED, expireTimestampMs: 0x0304 })
  assert.equal(hex(value), '0001' + '000000000000002a' + '00016d' + '0000000000000102' + '0000000000000304')
  const read = readRecord(key, value)
  assert(read.type === 'offset')
  assert.equal(read.committed?.expireTimestampMs, 0x0304)
  assert.equal(read.committed?.leaderEpoch, -1)
})

test('a group is type 2 with layout 3', () => {
  const metadata: GroupMetadata = {
    protocolType: 'consumer',
    generationId: 5,
    protocolName: 'range',
    leader: 'a',
    currentStateTimestampMs: 9,
    members: [
      {
        memberId: 'a',
        groupInstanceId: 'i',
        clientId: 'c',
        clientHost: '/h',
        rebalanceTimeoutMs: 1,
        sessionTimeoutMs: 2,
        subscription: bytes('s'),
        assignment: bytes('xy'),
      },
    ],
  }
  const { key, value } = groupRecord('g', metadata)
  assert.equal(hex(key), '0002' + '000167')
  assert.equal(
    hex(value),
    '0003' +
      '0008636f6e73756d6572' +
      '00000005' +
      '000572616e6765' +
      '000161' +
      '0000000000000009' +
      '00000001' +
      '000161' +
      '000169' +
      '000163' +
      '00022f68' +
      '00000001' +
      '00000002' +
      '0000000173' +
      '000000027879',
  )
  assert.deepEqual(readRecord(key, value), {
    type: 'group',
    groupId: 'g',
    metadata: {
      ...metadata,
      members: [
        { ...metadata.members[0], subscription: new Uint8Array([0x73]), assignment: new Uint8Array([0x78, 0x79]) },
      ],
    },
  })
})

test('an Empty group has no protocol and no leader', () => {
  const metadata = {
    protocolType: 'consumer',
    generationId: 6,
    protocolName: null,
    leader: null,
    currentStateTimestampMs: 9,
    members: [],
  }
  const { value } = groupRecord('g', metadata)
  assert.equal(
    hex(value),
    '0003' + '0008636f6e73756d6572' + '00000006' + 'ffff' + 'ffff' + '0000000000000009' + '00000000',
  )
})

test('tombstones have no value', () => {
  assert.equal(offsetRecord('g', 't', 0, null).value, null)
  assert.equal(groupRecord('g', null).value, null)
  const { key } = offsetRecord('g', 't', 0, null)
  assert.deepEqual(readRecord(key, null), { type: 'offset', groupId: 'g', topic: 't', partition: 0, committed: null })
})

test('old layouts are read', () => {
  const key = Buffer.from(`0000${'000167'}${'000174'}00000000`, 'hex')
  const v0 = readRecord(key, Buffer.from('0000000000000000002a00016d0000000000000102', 'hex'))
  assert(v0.type === 'offset')
  assert.deepEqual(v0.committed, { ...COMMITTED, leaderEpoch: -1 })
  const v3 = readRecord(key, Buffer.from('0003000000000000002a0000000700016d0000000000000102', 'hex'))
  assert(v3.type === 'offset')
  assert.deepEqual(v3.committed, COMMITTED)
  const group = readRecord(Buffer.from('0002000167', 'hex'), Buffer.from('0000000000000001ffffffff00000000', 'hex'))
  assert(group.type === 'group')
  assert.equal(group.metadata?.currentStateTimestampMs, -1)
})

test('other types, other layouts and damaged bytes are foreign, never thrown', () => {
  const { key, value } = offsetRecord('g', 't', 0, COMMITTED)
  assert.equal(readRecord(null, value).type, 'foreign')
  assert.equal(readRecord(new Uint8Array(0), value).type, 'foreign')
  assert.equal(readRecord(new Uint8Array([0, 3, 0, 1, 0x67]), value).type, 'foreign')
  assert.equal(readRecord(key, new Uint8Array([0, 9])).type, 'foreign')
  for (let length = 0; length < value!.length; length++)
    assert.equal(readRecord(key, value!.subarray(0, length)).type, 'foreign')
  for (let length = 0; length < key.length; length++)
    assert.equal(readRecord(key.subarray(0, length), value).type, 'foreign')
})

test('the partition of a group is the masked hash of Java', () => {
  assert.equal(partitionOfKey('', 50), 0)
  assert.equal(partitionOfKey('a', 50), 97 % 50)
  // "polygenelubricants".hashCode() is -2^31: the mask gives 0 where Math.abs would overflow.
  assert.equal(partitionOfKey('polygenelubricants', 50), 0)
  assert.equal(partitionOfKey('hello', 50), 99162322 % 50)
})
