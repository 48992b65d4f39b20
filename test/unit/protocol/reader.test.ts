import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decoder } from '../../../protocol/compile.ts'
import { FetchRequest } from '../../../protocol/messages/fetch.ts'
import { ListOffsetsRequest } from '../../../protocol/messages/list-offsets.ts'
import { MetadataRequest } from '../../../protocol/messages/metadata.ts'
import { OffsetForLeaderEpochRequest } from '../../../protocol/messages/offset-for-leader-epoch.ts'
import { Reader } from '../../../protocol/reader.ts'
import { array, int32, message, string } from '../../../protocol/schema.ts'

const malformed = { name: 'MalformedFrame' }

function reader(hex: string): Reader {
  return new Reader(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
}

test('an array of two billion elements in a small frame is refused before anything is made for it', () => {
  assert.throws(() => decoder(MetadataRequest, 1)(reader('7fffffff 0001 61')), malformed)
  assert.throws(() => decoder(MetadataRequest, 12)(reader('ffffffff0f 00')), malformed)
  assert.throws(() => decoder(OffsetForLeaderEpochRequest, 2)(reader('7fffffff 0001 61')), malformed)
})

test('an array that fits by count but not by the least size of its elements is refused', () => {
  // Twelve bytes follow, an element of version 1 takes six at least.
  assert.equal(reader('00000002 000000000000 000000000000').arrayLength(6), 2)
  assert.throws(() => reader('00000003 000000000000 000000000000').arrayLength(6), malformed)
})

test('a frame of millions of tiny elements is refused, however many bytes it has', () => {
  const frame = Buffer.alloc(2_100_000, 1)
  frame.set([0x80, 0x89, 0x7a]) // 1,999,999 compact strings, all empty
  const names = array(string)
  const decode = decoder(message('Names', { versions: '0', flexible: '0+' }, { names }), 0)
  assert.throws(() => decode(new Reader(frame)), malformed)
  assert.equal(decode(new Reader(frame, 0, frame.length, 3_000_000)).names.length, 1_999_999)
  // Nested arrays count together.
  const nested = Buffer.from('0000000200000001000000050000000200000006 00000007'.replaceAll(' ', ''), 'hex')
  const lists = message('Lists', { versions: '0', flexible: 'none' }, { lists: array({ list: array(int32) }) })
  assert.throws(() => decoder(lists, 0)(new Reader(nested, 0, nested.length, 4)), malformed)
  const decoded = decoder(lists, 0)(new Reader(nested, 0, nested.length, 5))
  assert.deepEqual(decoded, { lists: [{ list: [5] }, { list: [6, 7] }] })
})

test('negative lengths other than null are refused', () => {
  assert.throws(() => reader('fffffffe').nullableArrayLength(1), malformed)
  assert.throws(() => reader('80000000').arrayLength(1), malformed)
  assert.throws(() => reader('fffe').nullableString(), malformed)
  assert.throws(() => reader('fffffffe 00').nullableByteString(), malformed)
})

test('null is refused where the version allows none', () => {
  assert.throws(() => reader('ffff').string(), malformed)
  assert.throws(() => reader('00').compactString(), malformed)
  assert.throws(() => reader('ffffffff').byteString(), malformed)
  assert.throws(() => reader('00').compactArrayLength(1), malformed)
  // Metadata names all topics by null from version 1 on.
  assert.throws(() => decoder(MetadataRequest, 0)(reader('ffffffff')), malformed)
  assert.equal(decoder(MetadataRequest, 1)(reader('ffffffff')).topics, null)
})

test('an int64 is refused beyond 2^53 and exact within', () => {
  assert.equal(reader('001fffffffffffff').int64(), Number.MAX_SAFE_INTEGER)
  assert.equal(reader('ffe0000000000001').int64(), Number.MIN_SAFE_INTEGER)
  assert.equal(reader('ffffffffffffffff').int64(), -1)
  assert.equal(reader('fffffffeffffffff').int64(), -4_294_967_297)
  for (const hex of ['0020000000000000', '7fffffffffffffff', '8000000000000000', 'ffe0000000000000']) {
    assert.throws(() => reader(hex).int64(), malformed, hex)
  }
  const request = 'ffffffff 00 00000001 0001 61 00000001 00000000'
  assert.throws(() => decoder(ListOffsetsRequest, 2)(reader(`${request} 7fffffffffffffff`)), malformed)
})

test('a field that may hold any 64 bits is a bigint', () => {
  assert.equal(reader('7fffffffffffffff').int64Raw(), 0x7fff_ffff_ffff_ffffn)
  assert.equal(reader('8000000000000000').int64Raw(), -0x8000_0000_0000_0000n)
})

test('varints have up to 32 bits', () => {
  assert.equal(reader('7f').uvarint(), 127)
  assert.equal(reader('8001').uvarint(), 128)
  assert.equal(reader('ffffffff0f').uvarint(), 0xffff_ffff)
  assert.throws(() => reader('ffffffff1f').uvarint(), malformed)
  assert.throws(() => reader('ffffffffff01').uvarint(), malformed)
  assert.throws(() => reader('ffff').uvarint(), malformed)
})

test('a tagged field must end where it says', () => {
  // Fetch 12: everything empty, then the cluster id (tag 0).
  const body = '00000000 00000000 00000000 00000000 00 00000000 00000000 01 01 01'
  assert.equal(decoder(FetchRequest, 12)(reader(`${body} 01 00 02 02 63`)).clusterId, 'c')
  assert.throws(() => decoder(FetchRequest, 12)(reader(`${body} 01 00 03 02 63 00`)), malformed)
  assert.throws(() => decoder(FetchRequest, 12)(reader(`${body} 01 00 01 02 63`)), malformed)
  assert.throws(() => decoder(FetchRequest, 12)(reader(`${body} 01 00 7f 02 63`)), malformed)
  assert.throws(() => decoder(FetchRequest, 12)(reader(`${body} ffffffff0f 00 02 02 63`)), malformed)
})

test('a string of more than 32767 bytes is refused', () => {
  const bytes = Buffer.alloc(40_000, 0x61)
  bytes.set([0x81, 0x80, 0x02]) // 32769 - 1
  assert.throws(() => new Reader(bytes).compactString(), malformed)
  bytes.set([0x80, 0x80, 0x02])
  assert.equal(new Reader(bytes).compactString().length, 32_767)
})

test('bytes that are no UTF-8 become replacement characters, as in Kafka', () => {
  assert.equal(reader('0003 61 ff 62').string(), 'a\ufffdb')
})

test('bytes are views of the frame, also of shared memory', () => {
  const memory = new Uint8Array(new SharedArrayBuffer(16), 4, 10)
  memory.set([0, 0, 0, 3, 7, 8, 9])
  const view = new Reader(memory).byteString()
  assert.equal(view.buffer, memory.buffer)
  assert.deepEqual([...view], [7, 8, 9])
  memory[4] = 1
  assert.equal(view[0], 1)
})

test('a frame ends where it was said to end', () => {
  const bytes = Buffer.from('0002616263', 'hex')
  assert.equal(new Reader(bytes, 0, 4).string(), 'ab')
  assert.throws(() => new Reader(bytes, 0, 3).string(), malformed)
  assert.throws(() => new Reader(bytes, 0, 6), RangeError)
})
