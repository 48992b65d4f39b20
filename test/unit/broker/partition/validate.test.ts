import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type ProduceRules,
  RECORD_ERRORS_MAX,
  type ValidationOutcome,
  type ValidationRefusal,
  type ValidBatch,
  validateBatch,
} from '../../../../broker/partition/validate.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import {
  compressionOf,
  crcMatches,
  hasLogAppendTime,
  maxTimestampOf,
  stampBatch,
  stampCrc,
} from '../../../../protocol/records/batch.ts'
import { Codec } from '../../../../protocol/records/compression.ts'
import {
  type BatchOptions,
  decodeBatch,
  encodeBatch,
  encodeCompressedBatch,
  payloadOf,
  type RecordInput,
  withPayload,
} from '../../../../protocol/records/record.ts'
import { seeded } from '../../protocol/records/vectors.ts'

const NOW = 1_800_000_000_000
const HOUR = 3_600_000

const defaults: ProduceRules = {
  maxMessageBytes: 1_048_588,
  segmentBytes: 1 << 30,
  messageTimestampType: 'CreateTime',
  beforeMaxMs: 2 ** 63,
  afterMaxMs: HOUR,
  compressionType: 'producer',
  levels: { gzip: -1, lz4: 9, zstd: 3 },
  compact: false,
}

const records: RecordInput[] = [
  { key: 'a', value: 'one', timestamp: NOW - 3000 },
  { key: 'b', value: 'two', timestamp: NOW - 1000 },
  { key: 'c', value: 'three', timestamp: NOW - 2000 },
]

function batchOf(options: BatchOptions & { records?: readonly RecordInput[] } = {}): Uint8Array {
  return encodeBatch({ records, ...options })
}

/** The answer of the synchronous path. */
function validate(batch: Uint8Array, rules: Partial<ProduceRules> = {}): ValidationOutcome {
  const outcome = validateBatch(batch, { ...defaults, ...rules }, NOW)
  assert.ok(!(outcome instanceof Promise), 'answered at once')
  return outcome
}

async function validateLater(batch: Uint8Array, rules: Partial<ProduceRules> = {}): Promise<ValidationOutcome> {
  const bytes = Uint8Array.from(batch)
  const outcome = validateBatch(bytes, { ...defaults, ...rules }, NOW)
  assert.ok(outcome instanceof Promise, 'answered later')
  // The caller's memory is free for other use as soon as the call is over.
  bytes.fill(0xaa)
  return outcome
}

function refused(outcome: ValidationOutcome, error: ErrorCode): ValidationRefusal {
  assert.equal(outcome.error, error, 'reason' in outcome ? outcome.reason : '')
  assert.ok('reason' in outcome)
  return outcome
}

function accepted(outcome: ValidationOutcome): ValidBatch {
  assert.equal(outcome.error, ErrorCode.NONE, 'reason' in outcome ? outcome.reason : '')
  assert.ok('batch' in outcome)
  return outcome
}

/** The batch with a field changed and its CRC made right again. */
function changed(batch: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = Uint8Array.from(batch)
  copy.set(values, at)
  stampCrc(copy, 0)
  return copy
}

test('a sound batch is answered with the very bytes that came', () => {
  const batch = batchOf()
  assert.deepEqual(validate(batch), { error: ErrorCode.NONE, batch, logAppendTimeMs: -1 })
  assert.equal(accepted(validate(batch)).batch, batch)
})

test('a sound compressed batch is answered at once and untouched with every codec', async () => {
  for (const compression of [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]) {
    const batch = await encodeCompressedBatch({ records, compression })
    assert.equal(accepted(validate(batch)).batch, batch)
  }
})

test('a base offset other than 0 comes before size and CRC', () => {
  const batch = batchOf()
  stampBatch(batch, 0, 5, 0)
  batch[batch.length - 1]! ^= 1
  const refusal = refused(validate(batch, { maxMessageBytes: 10 }), ErrorCode.INVALID_RECORD)
  assert.equal(refusal.tellsLogStart, true)
})

test('a batch over max.message.bytes comes before the CRC; the limit itself fits', () => {
  const batch = batchOf()
  accepted(validate(batch, { maxMessageBytes: batch.length }))
  batch[batch.length - 1]! ^= 1
  const refusal = refused(validate(batch, { maxMessageBytes: batch.length - 1 }), ErrorCode.MESSAGE_TOO_LARGE)
  assert.equal(refusal.tellsLogStart, false)
})

test('a wrong CRC is a corrupt message', () => {
  const batch = batchOf()
  batch[batch.length - 1]! ^= 1
  const refusal = refused(validate(batch), ErrorCode.CORRUPT_MESSAGE)
  assert.equal(refusal.tellsLogStart, false)
})

test('a batch that does not fit a segment is too large a list', () => {
  const batch = batchOf()
  accepted(validate(batch, { segmentBytes: batch.length }))
  refused(validate(batch, { segmentBytes: batch.length - 1 }), ErrorCode.RECORD_LIST_TOO_LARGE)
})

test('counts that do not fit, in the header or against the records, are invalid', () => {
  const batch = batchOf()
  const int = (value: number) => [value >> 24, value >> 16, value >> 8, value]
  const counts = (count: number, delta: number) => changed(changed(batch, 57, ...int(count)), 23, ...int(delta))
  for (const [count, delta] of [
    [3, 1],
    [2, 2],
    [0, -1],
    [-1, -2],
    [2, 1],
    [4, 3],
  ] as const) {
    refused(validate(counts(count, delta)), ErrorCode.INVALID_RECORD)
  }
  accepted(validate(counts(3, 2)))
})

test('bytes behind the last record, a cut record and offset gaps are invalid', () => {
  const batch = batchOf()
  const payload = payloadOf(batch, 0)
  const longer = new Uint8Array(payload.length + 1)
  longer.set(payload)
  refused(validate(withPayload(batch, 0, longer, Codec.NONE)), ErrorCode.INVALID_RECORD)
  refused(validate(withPayload(batch, 0, payload.subarray(0, -1), Codec.NONE)), ErrorCode.INVALID_RECORD)
  refused(validate(withPayload(batch, 0, new Uint8Array(0), Codec.NONE)), ErrorCode.INVALID_RECORD)
  // The offset delta of the first record: after length, attributes and a timestamp delta of one byte.
  refused(validate(changed(batch, 61 + 3, 2)), ErrorCode.INVALID_RECORD)
})

test('control batches and producer ids without epoch or sequence are invalid', () => {
  refused(validate(batchOf({ control: true })), ErrorCode.INVALID_RECORD)
  refused(validate(batchOf({ producerId: 1, producerEpoch: 0, baseSequence: -1 })), ErrorCode.INVALID_RECORD)
  refused(validate(batchOf({ producerId: 1, producerEpoch: -1, baseSequence: 0 })), ErrorCode.INVALID_RECORD)
  refused(validate(batchOf({ producerId: 2 ** 60, producerEpoch: 0, baseSequence: 0 })), ErrorCode.INVALID_RECORD)
  refused(validate(batchOf({ transactional: true })), ErrorCode.INVALID_RECORD)
  accepted(validate(batchOf({ producerId: 1, producerEpoch: 0, baseSequence: 0 })))
})

test('timestamps out of range are named record by record', () => {
  const times = [NOW, NOW + HOUR + 1, NOW + HOUR, NOW + 2 * HOUR, -1]
  const batch = batchOf({ records: times.map((timestamp) => ({ timestamp })) })
  const refusal = refused(validate(batch), ErrorCode.INVALID_TIMESTAMP)
  assert.deepEqual(
    refusal.recordErrors.map((error) => error.batchIndex),
    [1, 3],
  )
  assert.match(
    refusal.recordErrors[0]!.batchIndexErrorMessage!,
    /^Timestamp \d+ of message with offset 1 is out of range/,
  )
  assert.equal(refusal.tellsLogStart, true)
})

test('a limit into the past counts when it is set, and no timestamp always passes', () => {
  const old = batchOf({ records: [{ timestamp: NOW - HOUR }, { timestamp: 0 }, { timestamp: -1 }] })
  accepted(validate(old))
  const refusal = refused(validate(old, { beforeMaxMs: HOUR }), ErrorCode.INVALID_TIMESTAMP)
  assert.deepEqual(
    refusal.recordErrors.map((error) => error.batchIndex),
    [1],
  )
})

test('a time beyond what a number holds is refused even without a limit', () => {
  const batch = changed(batchOf({ records: [{ timestamp: NOW }] }), 27, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
  refused(validate(batch, { afterMaxMs: 2 ** 63 }), ErrorCode.INVALID_TIMESTAMP)
})

test('a compressed batch is opened to name the records whose time is out of range', async () => {
  const late = [NOW, NOW + 2 * HOUR].map((timestamp) => ({ timestamp }))
  const batch = await encodeCompressedBatch({ records: late, compression: Codec.ZSTD })
  const refusal = refused(await validateLater(batch), ErrorCode.INVALID_TIMESTAMP)
  assert.deepEqual(
    refusal.recordErrors.map((error) => error.batchIndex),
    [1],
  )
})

test('with a limit into the past a compressed batch is opened, since its header does not name the oldest record', async () => {
  const mixed = [NOW, NOW - 2 * HOUR].map((timestamp) => ({ timestamp }))
  const batch = await encodeCompressedBatch({ records: mixed, compression: Codec.GZIP })
  refused(await validateLater(batch, { beforeMaxMs: HOUR }), ErrorCode.INVALID_TIMESTAMP)
  accepted(await validateLater(batch, { beforeMaxMs: 3 * HOUR }))
})

test('records without key are named on a compacted topic, plain and compressed', async () => {
  const keys = [{ key: 'a' }, { value: 'no key' }, { key: '' }]
  for (const outcome of [
    validate(batchOf({ records: keys }), { compact: true }),
    await validateLater(await encodeCompressedBatch({ records: keys, compression: Codec.LZ4 }), { compact: true }),
  ]) {
    const refusal = refused(outcome, ErrorCode.INVALID_RECORD)
    assert.deepEqual(refusal.recordErrors, [
      { batchIndex: 1, batchIndexErrorMessage: 'Compacted topic cannot accept message without key.' },
    ])
  }
  accepted(validate(batchOf(), { compact: true }))
})

test('one bad time among bad keys makes it an invalid timestamp, and both are listed', () => {
  const both = [{ timestamp: NOW }, { key: 'k', timestamp: NOW + 2 * HOUR }]
  const refusal = refused(validate(batchOf({ records: both }), { compact: true }), ErrorCode.INVALID_TIMESTAMP)
  assert.equal(refusal.recordErrors.length, 2)
})

test('the list of records at fault is bounded', () => {
  const many = Array.from({ length: RECORD_ERRORS_MAX + 500 }, () => ({ timestamp: NOW + 2 * HOUR }))
  const refusal = refused(validate(batchOf({ records: many })), ErrorCode.INVALID_TIMESTAMP)
  assert.equal(refusal.recordErrors.length, RECORD_ERRORS_MAX)
})

test('on a LogAppendTime topic the time to stamp is answered, and the times of the records do not count', async () => {
  const far = batchOf({ records: [{ timestamp: NOW + 9 * HOUR }] })
  const valid = accepted(validate(far, { messageTimestampType: 'LogAppendTime' }))
  assert.equal(valid.logAppendTimeMs, NOW)
  assert.equal(valid.batch, far)
  const packed = await encodeCompressedBatch({ records: [{ timestamp: NOW + 9 * HOUR }], compression: Codec.GZIP })
  assert.equal(accepted(validate(packed, { messageTimestampType: 'LogAppendTime', beforeMaxMs: HOUR })).batch, packed)
})

test('a client that sets LogAppendTime is refused on such a topic; on a CreateTime topic the bit is cleared', () => {
  const batch = batchOf({ logAppendTime: true })
  refused(validate(batch, { messageTimestampType: 'LogAppendTime' }), ErrorCode.INVALID_TIMESTAMP)
  const before = Uint8Array.from(batch)
  const valid = accepted(validate(batch))
  assert.equal(hasLogAppendTime(valid.batch, 0), false)
  assert.equal(crcMatches(valid.batch, 0), true)
  assert.deepEqual(batch, before, 'in a copy')
})

test('a max timestamp that the records do not bear out is put right', () => {
  const batch = changed(batchOf(), 35, 0, 0, 0, 0, 0, 0, 0, 99)
  const valid = accepted(validate(batch))
  assert.equal(maxTimestampOf(valid.batch, 0), NOW - 1000)
  assert.equal(crcMatches(valid.batch, 0), true)
})

test('a topic with a codec of its own stores every batch so, and leaves alone what is so already', async () => {
  const many = Array.from({ length: 50 }, (_, at) => ({ key: `k${at}`, value: 'v'.repeat(at), timestamp: NOW - at }))
  const sent = encodeBatch({ records: many, producerId: 3, producerEpoch: 1, baseSequence: 8 })
  for (const [name, target] of [
    ['uncompressed', Codec.NONE],
    ['gzip', Codec.GZIP],
    ['snappy', Codec.SNAPPY],
    ['lz4', Codec.LZ4],
    ['zstd', Codec.ZSTD],
  ] as const) {
    for (const source of [0, 1, 2, 3, 4] as const) {
      const batch = await encodeCompressedBatch({
        records: many,
        producerId: 3,
        producerEpoch: 1,
        baseSequence: 8,
        compression: source,
      })
      if (source === target) {
        assert.equal(accepted(validate(batch, { compressionType: name })).batch, batch)
        continue
      }
      const { batch: stored } = accepted(await validateLater(batch, { compressionType: name }))
      assert.equal(compressionOf(stored, 0), target)
      assert.equal(crcMatches(stored, 0), true)
      assert.deepEqual(
        Buffer.from(stored.subarray(27, 61)),
        Buffer.from(sent.subarray(27, 61)),
        'times, producer, count',
      )
      const decoded = await decodeBatch(stored, 0, 1 << 20)
      assert.equal(decoded.length, 50)
      assert.equal(Buffer.from(decoded[49]!.key!).toString(), 'k49')
    }
  }
})

test('the level of the topic is used', async () => {
  const random = seeded(4)
  const words = Array.from({ length: 50 }, () => Math.floor(random() * 1e9).toString(36))
  const many = Array.from({ length: 5000 }, () => ({ value: words[Math.floor(random() ** 2 * 50)]!, timestamp: NOW }))
  const batch = batchOf({ records: many })
  const size = async (gzip: number) => {
    const rules = { compressionType: 'gzip', levels: { gzip, lz4: 9, zstd: 3 } }
    return accepted(await validateLater(batch, rules)).batch.length
  }
  assert.ok((await size(9)) < (await size(1)))
})

test('a batch that is too large once it is stored the way the topic wants is refused', async () => {
  const batch = await encodeCompressedBatch({ records: [{ value: 'a'.repeat(5000) }], compression: Codec.GZIP })
  const rules = { compressionType: 'uncompressed', maxMessageBytes: 4000 }
  refused(await validateLater(batch, rules), ErrorCode.MESSAGE_TOO_LARGE)
  refused(
    await validateLater(batch, { ...rules, maxMessageBytes: 6000, segmentBytes: 4000 }),
    ErrorCode.RECORD_LIST_TOO_LARGE,
  )
})

test('codecs that do not exist are not supported', () => {
  for (const codec of [5, 6, 7])
    refused(validate(changed(batchOf(), 22, codec)), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
})

test('records that are not what their codec says are invalid without being opened', () => {
  for (const codec of [Codec.GZIP, Codec.LZ4, Codec.ZSTD]) {
    refused(validate(changed(batchOf(), 22, codec)), ErrorCode.INVALID_RECORD)
  }
  refused(validate(withPayload(batchOf(), 0, new Uint8Array(50).fill(0xff), Codec.SNAPPY)), ErrorCode.INVALID_RECORD)
})

test('what cannot be decompressed, or lies about its records, is invalid once it is opened', async () => {
  const batch = await encodeCompressedBatch({ records, compression: Codec.GZIP })
  refused(
    await validateLater(changed(batch, batch.length - 8, 1, 2, 3, 4), { compact: true }),
    ErrorCode.INVALID_RECORD,
  )
  const lie = changed(changed(batch, 57, 0, 0, 0, 9), 23, 0, 0, 0, 8)
  refused(await validateLater(lie, { compressionType: 'lz4' }), ErrorCode.INVALID_RECORD)
})

test('a bomb is too large', async () => {
  const bomb = await encodeCompressedBatch({ records: [{ value: new Uint8Array(3_000_000) }], compression: Codec.ZSTD })
  const rules = { compressionType: 'gzip', decompressedMaxBytes: 1_000_000 }
  refused(await validateLater(bomb, rules), ErrorCode.MESSAGE_TOO_LARGE)
})

test('a batch in shared memory is validated where it lies', async () => {
  const batch = batchOf()
  const memory = new Uint8Array(new SharedArrayBuffer(batch.length + 9))
  memory.set(batch, 5)
  const view = memory.subarray(5, 5 + batch.length)
  assert.equal(accepted(validate(view)).batch, view)
  assert.equal(accepted(await validateLater(view, { compressionType: 'lz4' })).error, ErrorCode.NONE)
})

test('mutated batches with a right CRC end in an answer, never in an exception', async () => {
  const random = seeded(11)
  const many = Array.from({ length: 8 }, (_, at) => ({ key: `k${at}`, value: 'v'.repeat(20), timestamp: NOW + at }))
  for (let round = 0; round < 5000; round++) {
    const compression = (round % 5) as Codec
    const bytes = Uint8Array.from(
      compression === Codec.NONE || round > 500
        ? encodeBatch({ records: many })
        : await encodeCompressedBatch({ records: many, compression }),
    )
    for (let flips = 1 + random() * 3; flips > 0; flips--) {
      const at = 16 + Math.floor(random() * (bytes.length - 16))
      if (at < 21) continue
      bytes[at] = random() * 256
    }
    stampCrc(bytes, 0)
    const outcome = await validateBatch(bytes, { ...defaults, compact: round % 2 === 0 }, NOW)
    if (outcome.error === ErrorCode.NONE) assert.ok(crcMatches(outcome.batch, 0))
  }
})
