import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiKey } from '../../../protocol/api.ts'
import { encoder } from '../../../protocol/compile.ts'
import { beginFrame, endFrame, writeResponseHeader } from '../../../protocol/frame.ts'
import { FetchResponse } from '../../../protocol/messages/fetch.ts'
import { JoinGroupResponse } from '../../../protocol/messages/join-group.ts'
import { MetadataResponse } from '../../../protocol/messages/metadata.ts'
import { Writer } from '../../../protocol/writer.ts'

test('record bytes of a kibibyte and more travel by reference, smaller ones are copied', () => {
  const large = new Uint8Array(1024).fill(1)
  const small = new Uint8Array(1023).fill(2)
  const writer = new Writer(16)
  writer.records([small, large, small])
  const fragments = writer.fragments()
  assert.equal(fragments.length, 3)
  assert.equal(fragments[1], large)
  assert.equal(fragments[0]!.length, 4 + 1023)
  assert.equal(writer.byteLength, 4 + 1023 + 1024 + 1023)
  small.fill(3)
  assert.equal(fragments[2]![0], 2)
})

test('fragments joined are the message in one piece, however often the writer grew', () => {
  const partitions = Array.from({ length: 50 }, (_, index) => ({
    partitionIndex: index,
    errorCode: 0,
    highWatermark: index,
    abortedTransactions: [],
    records: new Uint8Array(index % 3 === 0 ? 3000 : 10).fill(index),
  }))
  const write = (capacityBytes: number) => {
    const writer = new Writer(capacityBytes)
    encoder(FetchResponse, 12)(writer, { responses: [{ topic: 'a topic', partitions }] })
    return writer
  }
  const joined = Buffer.concat(write(1).fragments())
  assert.deepEqual(joined, Buffer.from(write(100_000).toBytes()))
  assert.equal(write(1).byteLength, joined.length)
  assert.equal(
    write(1)
      .fragments()
      .filter((fragment) => fragment.length === 3000).length,
    17,
  )
})

test('the length in front of a frame counts everything behind it, referenced bytes too', () => {
  const writer = new Writer(8)
  beginFrame(writer)
  writeResponseHeader(writer, ApiKey.Fetch, 4, 77)
  encoder(FetchResponse, 4)(writer, {
    responses: [
      {
        topic: 't',
        partitions: [
          {
            partitionIndex: 0,
            errorCode: 0,
            highWatermark: 1,
            abortedTransactions: null,
            records: new Uint8Array(5000),
          },
        ],
      },
    ],
  })
  const frame = Buffer.concat(endFrame(writer))
  assert.equal(frame.readInt32BE(0), frame.length - 4)
  assert.equal(frame.readInt32BE(4), 77)

  const empty = new Writer(1)
  beginFrame(empty)
  assert.deepEqual(Buffer.concat(endFrame(empty)), Buffer.from([0, 0, 0, 0]))
})

test('a tagged field may be of any size', () => {
  for (const size of [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
    const writer = new Writer(4)
    writer.int8(0x55)
    const mark = writer.beginSized()
    writer.copy(new Uint8Array(size).fill(7))
    writer.endSized(mark)
    writer.int8(0x66)
    const expected = new Writer()
    expected.int8(0x55)
    expected.uvarint(size)
    expected.copy(new Uint8Array(size).fill(7))
    expected.int8(0x66)
    assert.ok(Buffer.compare(writer.toBytes(), expected.toBytes()) === 0, String(size))
  }
})

test('null becomes empty in a version that has no null, so an answer can be sent in every version', () => {
  const answer = { errorCode: 25, protocolName: null, leader: '', memberId: 'm', members: [] }
  const join = (version: number) => {
    const writer = new Writer()
    encoder(JoinGroupResponse, version)(writer, answer)
    return Buffer.from(writer.toBytes()).toString('hex')
  }
  assert.equal(join(1), '0019ffffffff0000000000016d00000000')
  // Version 7 has null, and compact lengths: throttle, error, generation, protocol type and name null, leader, member.
  assert.equal(join(7), '00000000' + '0019' + 'ffffffff' + '00' + '00' + '01' + '026d' + '01' + '00')
  const writer = new Writer()
  encoder(MetadataResponse, 1)(writer, {
    brokers: [],
    topics: [{ errorCode: 3, name: null, partitions: [] }],
  })
  assert.equal(Buffer.from(writer.toBytes()).toString('hex'), '00000000ffffffff00000001000300000000000000')
})

test('a string too long for the format is cut at 32767 bytes, the format stays right', () => {
  const writer = new Writer()
  writer.string('\u20ac'.repeat(20_000))
  writer.int8(9)
  const bytes = Buffer.from(writer.toBytes())
  assert.equal(bytes.readInt16BE(0), 32_767)
  assert.equal(bytes.length, 2 + 32_767 + 1)
  assert.equal(bytes.toString('utf8', 2, 2 + 32_766), '\u20ac'.repeat(10_922))
  assert.equal(bytes.at(-1), 9)
})

test('64-bit numbers are written exactly', () => {
  for (const value of [0, 1, -1, 2 ** 32, -(2 ** 32), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    const writer = new Writer()
    writer.int64(value)
    assert.equal(Buffer.from(writer.toBytes()).readBigInt64BE(0), BigInt(value))
  }
})

test('a text that is no uuid is our mistake', () => {
  assert.throws(() => new Writer().uuid('short'), { name: 'InvariantViolation' })
})
