import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addToSequence,
  attributesOf,
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseSequenceOf,
  baseTimestampOf,
  batchDefect,
  batchPositions,
  completeBatchBytes,
  compressionOf,
  crcMatches,
  crcOf,
  hasLogAppendTime,
  isControl,
  isTransactional,
  lastOffsetDeltaOf,
  lastOffsetOf,
  lastSequenceOf,
  leaderEpochOf,
  magicOf,
  maxTimestampOf,
  nextOffsetOf,
  offsetSpanOf,
  payloadShape,
  producerEpochOf,
  producerIdOf,
  recordCountOf,
  sizeBytesOf,
  stampBatch,
  stampCreateTime,
  stampLogAppendTime,
  writeBatchHeader,
} from '../../../../protocol/records/batch.ts'
import { crc32c } from '../../../../protocol/records/crc32c.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'

const records = [
  { key: 'a', value: 'one', timestamp: 1000 },
  { key: 'b', value: 'two', timestamp: 3000 },
  { key: 'c', value: 'three', timestamp: 2000 },
]

test('every field is read where the protocol guide puts it', () => {
  const bytes = new Uint8Array(100)
  const view = new DataView(bytes.buffer, 7)
  view.setBigInt64(0, 9_007_199_254_740_991n)
  view.setInt32(8, 60)
  view.setInt32(12, 77)
  view.setInt8(16, 2)
  view.setUint32(17, 0xfedcba98)
  view.setInt16(21, 0x33)
  view.setInt32(23, 6)
  view.setBigInt64(27, 1_700_000_000_123n)
  view.setBigInt64(35, -1n)
  view.setBigInt64(43, 5_000_000_000n)
  view.setInt16(51, -2)
  view.setInt32(53, 2_147_483_645)
  view.setInt32(57, 7)
  assert.equal(baseOffsetOf(bytes, 7), Number.MAX_SAFE_INTEGER)
  assert.equal(sizeBytesOf(bytes, 7), 72)
  assert.equal(leaderEpochOf(bytes, 7), 77)
  assert.equal(magicOf(bytes, 7), 2)
  assert.equal(crcOf(bytes, 7), 0xfedcba98)
  assert.equal(attributesOf(bytes, 7), 0x33)
  assert.equal(compressionOf(bytes, 7), 3)
  assert.equal(isTransactional(bytes, 7), true)
  assert.equal(isControl(bytes, 7), true)
  assert.equal(hasLogAppendTime(bytes, 7), false)
  assert.equal(lastOffsetDeltaOf(bytes, 7), 6)
  assert.equal(offsetSpanOf(bytes, 7), 7)
  assert.equal(baseTimestampOf(bytes, 7), 1_700_000_000_123)
  assert.equal(maxTimestampOf(bytes, 7), -1)
  assert.equal(producerIdOf(bytes, 7), 5_000_000_000)
  assert.equal(producerEpochOf(bytes, 7), -2)
  assert.equal(baseSequenceOf(bytes, 7), 2_147_483_645)
  assert.equal(lastSequenceOf(bytes, 7), 3, 'sequences wrap to 0')
  assert.equal(recordCountOf(bytes, 7), 7)
})

test('a written header reads back, in shared memory and at odd positions', () => {
  const header = {
    baseOffset: 2 ** 52 + 3,
    payloadBytes: 11,
    leaderEpoch: -1,
    attributes: 0x18,
    lastOffsetDelta: 0,
    baseTimestamp: -1,
    maxTimestamp: 1_800_000_000_000,
    producerId: -1,
    producerEpoch: -1,
    baseSequence: -1,
    recordCount: 1,
  }
  const bytes = new Uint8Array(new SharedArrayBuffer(100))
  writeBatchHeader(bytes, 3, header)
  assert.deepEqual(
    {
      baseOffset: baseOffsetOf(bytes, 3),
      payloadBytes: sizeBytesOf(bytes, 3) - BATCH_HEADER_BYTES,
      leaderEpoch: leaderEpochOf(bytes, 3),
      attributes: attributesOf(bytes, 3),
      lastOffsetDelta: lastOffsetDeltaOf(bytes, 3),
      baseTimestamp: baseTimestampOf(bytes, 3),
      maxTimestamp: maxTimestampOf(bytes, 3),
      producerId: producerIdOf(bytes, 3),
      producerEpoch: producerEpochOf(bytes, 3),
      baseSequence: baseSequenceOf(bytes, 3),
      recordCount: recordCountOf(bytes, 3),
    },
    header,
  )
  assert.equal(lastSequenceOf(bytes, 3), -1)
})

test('sequences count up to 2147483647 and go on at 0', () => {
  assert.equal(addToSequence(2_147_483_646, 1), 2_147_483_647)
  assert.equal(addToSequence(2_147_483_647, 1), 0)
  assert.equal(addToSequence(2_147_483_647, 5), 4)
})

test('stamping offset and epoch leaves the CRC valid', () => {
  const batch = encodeBatch({ records })
  stampBatch(batch, 0, 5_000_000_000, 12)
  assert.equal(baseOffsetOf(batch, 0), 5_000_000_000)
  assert.equal(lastOffsetOf(batch, 0), 5_000_000_002)
  assert.equal(nextOffsetOf(batch, 0), 5_000_000_003)
  assert.equal(leaderEpochOf(batch, 0), 12)
  assert.equal(crcMatches(batch, 0), true)
})

test('stamping the append time sets the bit and the max timestamp and makes the CRC anew', () => {
  const batch = encodeBatch({ records })
  const before = crcOf(batch, 0)
  stampLogAppendTime(batch, 0, 1_900_000_000_000)
  assert.equal(hasLogAppendTime(batch, 0), true)
  assert.equal(maxTimestampOf(batch, 0), 1_900_000_000_000)
  assert.equal(baseTimestampOf(batch, 0), 1000, 'deltas stay as they were sent')
  assert.notEqual(crcOf(batch, 0), before)
  assert.equal(crcOf(batch, 0), crc32c(batch, 21))
  stampCreateTime(batch, 0, 3000)
  assert.equal(crcOf(batch, 0), before)
})

test('the CRC covers everything behind it', () => {
  const good = encodeBatch({ records })
  for (let at = 21; at < good.length; at++) {
    const bad = Uint8Array.from(good)
    bad[at]! ^= 1
    assert.equal(crcMatches(bad, 0), false, `byte ${at}`)
  }
})

test('walking stops at the first batch that is not complete', () => {
  const one = encodeBatch({ records })
  const two = encodeBatch({ records: records.slice(1) })
  const bytes = Buffer.concat([one, two, one])
  assert.deepEqual([...batchPositions(bytes)], [0, one.length, one.length + two.length])
  assert.deepEqual([...batchPositions(bytes, 0, bytes.length - 1)], [0, one.length])
  assert.deepEqual([...batchPositions(bytes, one.length, one.length + two.length)], [one.length])
  assert.equal(completeBatchBytes(bytes, 0, one.length), one.length)
  assert.equal(completeBatchBytes(bytes, 0, one.length - 1), 0)
  assert.equal(completeBatchBytes(new Uint8Array(200), 0, 200), 0, 'a length of 0 is no batch')
})

test('a stored batch says what is wrong with it', () => {
  const good = encodeBatch({ records })
  assert.equal(batchDefect(good, 0, good.length), undefined)
  assert.equal(batchDefect(good, 0, 60), 'fewer bytes than a batch header')
  assert.equal(batchDefect(good, 0, good.length - 1), 'length reaches past the end')
  assert.equal(batchDefect(changed(good, 16, 1), 0, good.length), 'magic is not 2')
  assert.equal(batchDefect(changed(good, 11, 3), 0, good.length), 'length is less than a batch header')
  assert.equal(batchDefect(changed(good, 8, 0x80), 0, good.length), 'length is less than a batch header')
  assert.equal(batchDefect(changed(good, good.length - 1, 0xaa), 0, good.length), 'CRC does not match')
})

test('one batch is found in a payload, whatever short rest follows it', () => {
  const batch = encodeBatch({ records })
  const shape = payloadShape(batch)
  assert.equal(shape.kind, 'batch')
  for (const rest of [1, 11, 16]) {
    const cut = payloadShape(Buffer.concat([batch, batch.subarray(0, rest)]))
    assert.deepEqual(cut.kind === 'batch' && Buffer.from(cut.batch), Buffer.from(batch), `${rest} bytes behind it`)
  }
  assert.equal(payloadShape(Buffer.concat([batch, batch.subarray(0, batch.length - 1)])).kind, 'batch')
})

test('payloads without exactly one batch of magic 2 are refused', () => {
  const batch = encodeBatch({ records })
  const kinds = (bytes: Uint8Array) => payloadShape(bytes).kind
  assert.equal(kinds(new Uint8Array(0)), 'invalid')
  assert.equal(kinds(batch.subarray(0, 11)), 'invalid')
  assert.equal(kinds(batch.subarray(0, batch.length - 1)), 'invalid')
  assert.equal(kinds(Buffer.concat([batch, batch])), 'invalid')
  assert.equal(kinds(changed(batch, 16, 0)), 'invalid')
  assert.equal(kinds(changed(batch, 16, 1)), 'invalid')
  assert.equal(kinds(changed(batch, 16, 3)), 'corrupt')
  assert.equal(kinds(changed(batch, 16, 0xff)), 'corrupt')
  assert.equal(kinds(changed(batch, 8, 0xff)), 'corrupt', 'negative length')
  assert.equal(kinds(changed(batch, 11, 13)), 'corrupt', 'shorter than any record')
  assert.equal(kinds(changed(batch, 11, 48)), 'corrupt', 'shorter than a header')
  assert.equal(kinds(changed(batch, 8, 0x7f)), 'invalid', 'length past the end')
})

function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at] = value
  return copy
}
