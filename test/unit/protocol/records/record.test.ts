import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BATCH_HEADER_BYTES,
  batchDefect,
  compressionOf,
  crcMatches,
  lastOffsetDeltaOf,
  maxTimestampOf,
  recordCountOf,
  sizeBytesOf,
  stampLogAppendTime,
} from '../../../../protocol/records/batch.ts'
import { Codec, CompressionError, compress } from '../../../../protocol/records/compression.ts'
import {
  ControlType,
  decodeEndTransactionMarker,
  encodeEndTransactionMarker,
} from '../../../../protocol/records/control.ts'
import {
  BatchBuilder,
  type DecodedRecord,
  decodeBatch,
  decodeRecords,
  encodeBatch,
  encodeCompressedBatch,
  findMaxTimestampRecord,
  findRecordByTimestamp,
  MalformedRecords,
  payloadOf,
  RecordCursor,
  type RecordInput,
  withPayload,
} from '../../../../protocol/records/record.ts'
import { seeded } from './vectors.ts'

test('records are laid out byte by byte as the protocol guide says', () => {
  const batch = encodeBatch({
    records: [
      { key: 'k', value: 'hi', timestamp: 1000 },
      { timestamp: 1200, headers: [{ key: 'h', value: null }] },
      { value: '', timestamp: 999 },
    ],
  })
  const records = Buffer.from(payloadOf(batch, 0)).toString('hex')
  assert.equal(
    records,
    // length 9, attributes, timestamp delta 0, offset delta 0, key 'k', value 'hi', no headers
    '12' +
      '00' +
      '00' +
      '00' +
      '026b' +
      '046869' +
      '00' +
      // length 10, attributes, timestamp delta 200 (400 = 0x90 0x03), offset delta 1, nulls, one header 'h' = null
      '14' +
      '00' +
      '9003' +
      '02' +
      '01' +
      '01' +
      '02' +
      '0268' +
      '01' +
      // length 6, timestamp delta -1, offset delta 2, null key, empty value
      '0c' +
      '00' +
      '01' +
      '04' +
      '01' +
      '00' +
      '00',
  )
  assert.equal(recordCountOf(batch, 0), 3)
  assert.equal(lastOffsetDeltaOf(batch, 0), 2)
  assert.equal(maxTimestampOf(batch, 0), 1200)
  assert.equal(batchDefect(batch, 0, batch.length), undefined)
})

test('records of every shape come back, whatever the codec', async () => {
  const random = seeded(3)
  for (let round = 0; round < 60; round++) {
    const baseOffset = Math.floor(random() * 2 ** 50)
    const records = Array.from({ length: 1 + Math.floor(random() * 30) }, () => randomRecord(random))
    const codec = (round % 5) as Codec
    const batch = await encodeCompressedBatch({ records, baseOffset, compression: codec })
    assert.equal(compressionOf(batch, 0), codec)
    assert.equal(crcMatches(batch, 0), true)
    const decoded = await decodeBatch(batch, 0, 1 << 24)
    assert.deepEqual(plain(decoded), expected(records, baseOffset))
    assert.equal(maxTimestampOf(batch, 0), Math.max(...records.map((record) => record.timestamp!)))
  }
})

test('a batch is decoded where it lies: at an odd place of shared memory', () => {
  const records = Array.from({ length: 20 }, (_, at) => ({
    key: `k${at}`,
    value: 'v',
    timestamp: at,
    headers: [{ key: 'ä', value: 'ö' }],
  }))
  const batch = encodeBatch({ records })
  const memory = new Uint8Array(new SharedArrayBuffer(batch.length + 20))
  memory.set(batch, 13)
  assert.deepEqual(plain(decodeRecords(memory, 13)), expected(records, 0))
})

test('a builder grows past its first guess and knows its size', () => {
  const builder = new BatchBuilder({ producerId: 5, producerEpoch: 1, baseSequence: 9 }, 8)
  for (let at = 0; at < 1000; at++) builder.append({ value: Buffer.alloc(at % 50, at), timestamp: at })
  const batch = builder.build()
  assert.equal(builder.recordCount, 1000)
  assert.equal(builder.sizeBytes, batch.length)
  assert.equal(sizeBytesOf(batch, 0), batch.length)
  assert.equal(decodeRecords(batch, 0).at(-1)!.value!.length, 49)
})

test('records of a batch with append time all carry that time', () => {
  const batch = encodeBatch({ baseOffset: 10, records: [{ timestamp: 1 }, { timestamp: 2 }] })
  stampLogAppendTime(batch, 0, 5000)
  assert.deepEqual(
    decodeRecords(batch, 0).map((record) => record.timestamp),
    [5000, 5000],
  )
  assert.deepEqual(findRecordByTimestamp(batch, 0, 4000, 0), { offset: 10, timestamp: 5000 })
  assert.equal(findRecordByTimestamp(batch, 0, 5001, 0), undefined)
  assert.deepEqual(findMaxTimestampRecord(batch, 0), { offset: 10, timestamp: 5000 })
})

test('a time finds the first record at or after it, not before the least offset', () => {
  const batch = encodeBatch({ baseOffset: 10, records: [100, 300, 200, 300].map((timestamp) => ({ timestamp })) })
  assert.deepEqual(findRecordByTimestamp(batch, 0, 0, 0), { offset: 10, timestamp: 100 })
  assert.deepEqual(findRecordByTimestamp(batch, 0, 101, 0), { offset: 11, timestamp: 300 })
  assert.deepEqual(findRecordByTimestamp(batch, 0, 150, 12), { offset: 12, timestamp: 200 })
  assert.equal(findRecordByTimestamp(batch, 0, 301, 0), undefined)
  assert.deepEqual(findMaxTimestampRecord(batch, 0), { offset: 11, timestamp: 300 })
})

test('a compressed batch is looked up in its decompressed records', async () => {
  const records = [100, 300, 200].map((timestamp) => ({ timestamp, value: 'v' }))
  const batch = await encodeCompressedBatch({ records, compression: Codec.ZSTD })
  assert.throws(() => findRecordByTimestamp(batch, 0, 150, 0), MalformedRecords)
  const payload = payloadOf(encodeBatch({ records }), 0)
  assert.deepEqual(findRecordByTimestamp(batch, 0, 150, 0, payload), { offset: 1, timestamp: 300 })
})

test('the records of a batch can be put in another codec, everything else staying', async () => {
  const options = { producerId: 7, producerEpoch: 2, baseSequence: 4, transactional: true, baseOffset: 33 }
  const records = [{ key: 'a', value: 'b'.repeat(500), timestamp: 100 }]
  const plainBatch = encodeBatch({ ...options, records })
  const packed = withPayload(plainBatch, 0, await compress(Codec.LZ4, payloadOf(plainBatch, 0)), Codec.LZ4)
  assert.deepEqual(
    Buffer.from(packed),
    Buffer.from(await encodeCompressedBatch({ ...options, records, compression: Codec.LZ4 })),
  )
  assert.deepEqual(withPayload(packed, 0, payloadOf(plainBatch, 0), Codec.NONE), plainBatch)
})

test('codecs that do not exist are corrupt', async () => {
  const batch = encodeBatch({ records: [{ value: 'v' }] })
  batch[22] = 5
  await assert.rejects(decodeBatch(batch, 0, 100), CompressionError)
})

test('lengths that point outside, numbers without end and wrong counts are refused', () => {
  const refused = (hex: string, reason: RegExp) => {
    const cursor = new RecordCursor(Buffer.from(hex, 'hex'))
    assert.throws(
      () => {
        while (cursor.next());
      },
      (error) => error instanceof MalformedRecords && reason.test(error.message),
      hex,
    )
  }
  refused('16000000026b04686900', /past the end/)
  refused('01', /past the end/)
  refused('00', /empty/)
  refused('0e0000000c0000000000', /points outside/)
  refused('0c00000003000000', /points outside/)
  refused('0c00000001030000', /points outside/)
  refused('0c0000000101ffff', /cut off/)
  refused('0e0000000101ff7f', /header count/)
  refused('0c000000010101' + '00', /header count/)
  refused('1000000001010000', /past the end/)
  refused('0e0000000101000000', /longer than its fields/)
  refused('ffffffffff01', /32 bits/)
  refused('1a00ffffffffffffffffffff0100000000', /64 bits/)
  refused('80', /cut off/)
  const batch = encodeBatch({ records: [{ value: 'v' }, { value: 'w' }] })
  batch[60] = 3
  assert.throws(() => decodeRecords(batch, 0), /record count/)
})

test('numbers at the edges of their types are read', () => {
  const cursor = new RecordCursor(
    Buffer.from('26' + '00' + 'ffffffffffffffffff01' + 'feffffff0f' + '01' + '01' + '00', 'hex'),
  )
  assert.equal(cursor.next(), true)
  assert.equal(cursor.timestampDelta, -(2 ** 63))
  assert.equal(cursor.offsetDelta, 2_147_483_647)
  assert.equal(cursor.next(), false)
})

test('mutated records end in records or in MalformedRecords', () => {
  const random = seeded(5)
  const records = Array.from({ length: 10 }, () => randomRecord(random))
  const good = encodeBatch({ records })
  for (let round = 0; round < 20_000; round++) {
    const bad = Buffer.from(good)
    for (let flips = 1 + random() * 4; flips > 0; flips--) {
      bad[BATCH_HEADER_BYTES + Math.floor(random() * (bad.length - BATCH_HEADER_BYTES))] = random() * 256
    }
    try {
      assert.equal(decodeRecords(bad, 0).length, 10)
    } catch (error) {
      assert.ok(error instanceof MalformedRecords, String(error))
    }
  }
})

test('an end of transaction is written and read', () => {
  const marker = { type: ControlType.COMMIT, coordinatorEpoch: 70_000 }
  const batch = encodeEndTransactionMarker({ ...marker, producerId: 4, producerEpoch: 3, timestamp: 9 })
  assert.deepEqual(decodeEndTransactionMarker(batch, 0), marker)
  assert.equal(
    Buffer.from(payloadOf(batch, 0)).toString('hex'),
    '20' + '000000' + '0800000001' + '0c' + '000000011170' + '00',
  )
  const other = encodeBatch({
    control: true,
    records: [{ key: Buffer.from('00000002', 'hex'), value: Buffer.alloc(8) }],
  })
  assert.equal(decodeEndTransactionMarker(other, 0), undefined)
})

function randomRecord(random: () => number): RecordInput & { timestamp: number } {
  const bytes = () => {
    const kind = random()
    if (kind < 0.15) return null
    return Buffer.from(
      Array.from({ length: Math.floor(random() ** 3 * (kind < 0.2 ? 20_000 : 200)) }, () => random() * 256),
    )
  }
  return {
    key: bytes(),
    value: bytes(),
    timestamp: Math.floor(random() * 2 ** 41),
    headers: Array.from({ length: Math.floor(random() ** 4 * 5) }, (_, at) => ({ key: `häder${at}`, value: bytes() })),
  }
}

function plain(records: DecodedRecord[]): unknown {
  return records.map((record) => ({
    ...record,
    key: record.key && Buffer.from(record.key).toString('hex'),
    value: record.value && Buffer.from(record.value).toString('hex'),
    headers: record.headers.map(({ key, value }) => ({ key, value: value && Buffer.from(value).toString('hex') })),
  }))
}

function expected(records: readonly RecordInput[], baseOffset: number): unknown {
  const hex = (bytes: RecordInput['key']) => (bytes == null ? null : Buffer.from(bytes as string).toString('hex'))
  return records.map(({ key, value, timestamp, headers }, at) => ({
    offset: baseOffset + at,
    timestamp,
    key: hex(key),
    value: hex(value),
    headers: (headers ?? []).map((header) => ({ key: header.key, value: hex(header.value) })),
  }))
}
