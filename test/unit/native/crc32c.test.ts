// CRC32C of the addon against published vectors and against a table written down here a second time.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadNative } from '../../../native/index.ts'

const native = loadNative()
const skip = native === undefined && 'the addon is not built'

const table = new Uint32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  table[byte] = value
}

function byTable(bytes: Uint8Array, seed: number): number {
  let crc = ~seed
  for (const byte of bytes) crc = (crc >>> 8) ^ table[(crc ^ byte) & 0xff]!
  return ~crc >>> 0
}

// A small generator, so that a failing case can be repeated.
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state
  }
}

const ascending = Uint8Array.from({ length: 32 }, (_, i) => i)

// RFC 3720, appendix B.4, and the check value of the Rocksoft catalogue.
const vectors: [name: string, bytes: Uint8Array, crc: number][] = [
  ['nothing', new Uint8Array(0), 0],
  ['"123456789"', Buffer.from('123456789'), 0xe3069283],
  ['32 zeros', new Uint8Array(32), 0x8a9136aa],
  ['32 times 0xff', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['ascending bytes', ascending, 0x46dd794e],
  ['descending bytes', ascending.toReversed(), 0x113fdb5c],
]

test('every way of this processor gives the published values', { skip }, () => {
  for (const [name, bytes, crc] of vectors) {
    assert.equal(native!.crc32c(bytes, 0, bytes.length), crc, name)
    for (const method of native!.crc32cMethods)
      assert.equal(native!.crc32cBy(method, bytes, 0), crc, `${method}: ${name}`)
  }
  assert.equal(native!.crc32cMethods.at(-1), 'table')
})

test('every way agrees with a table over random lengths, alignments and seeds', { skip }, () => {
  const random = generator(20261122)
  const memory = new Uint8Array(120_000)
  for (let i = 0; i < memory.length; i++) memory[i] = random() >>> 24
  // Around each lane length and its multiples, where one way of summing hands over to the next.
  const lengths = [
    1, 7, 8, 9, 127, 128, 383, 384, 385, 3071, 3072, 3073, 3456, 24_575, 24_576, 24_577, 28_040, 49_152, 100_003,
  ]
  for (let i = 0; i < 200; i++) lengths.push(random() % 5000)
  for (const length of lengths) {
    const start = random() % 64
    const seed = random()
    const bytes = memory.subarray(start, start + length)
    const expected = byTable(bytes, seed)
    assert.equal(native!.crc32c(memory, start, start + length, seed), expected, `${length} bytes at ${start}`)
    for (const method of native!.crc32cMethods) {
      assert.equal(native!.crc32cBy(method, bytes, seed), expected, `${method}: ${length} bytes at ${start}`)
    }
  }
})

test('the sum of the parts is the sum of the whole', { skip }, () => {
  const bytes = Uint8Array.from({ length: 40_000 }, (_, i) => (i * 31) >>> 3)
  const whole = native!.crc32c(bytes, 0, bytes.length)
  for (const cut of [0, 1, 4096, 24_577, 39_999, 40_000]) {
    const first = native!.crc32c(bytes, 0, cut)
    assert.equal(native!.crc32c(bytes, cut, bytes.length, first), whole, `cut at ${cut}`)
  }
})

test('memory is read the same through every kind of buffer', { skip }, () => {
  const growable = new SharedArrayBuffer(4096, { maxByteLength: 16_384 })
  const resizable = new ArrayBuffer(4096, { maxByteLength: 16_384 })
  const views = [
    new Uint8Array(4096),
    new Uint8Array(new SharedArrayBuffer(4096)),
    new Uint8Array(growable),
    new Uint8Array(growable, 0, 4096),
    new Uint8Array(resizable),
    Buffer.alloc(4096),
    new Uint8Array(new ArrayBuffer(5000), 11, 4096),
  ]
  for (const view of views) for (let i = 0; i < 4096; i++) view[i] = i * 7
  const expected = byTable(views[0]!, 0)
  for (const view of views) assert.equal(native!.crc32c(view, 0, 4096), expected)
  // A view of changing length shows the grown part as well, and the memory has not moved.
  const address = native!.isAligned(views[2]!)
  growable.grow(16_384)
  assert.equal(native!.isAligned(views[2]!), address)
  assert.equal(native!.crc32c(views[2]!, 0, 16_384), byTable(new Uint8Array(growable), 0))
})

test('a range outside the bytes is refused', { skip }, () => {
  const bytes = new Uint8Array(10)
  for (const [start, end] of [
    [0, 11],
    [-1, 5],
    [6, 5],
    [Number.NaN, 5],
    [0, Number.POSITIVE_INFINITY],
  ] as const) {
    assert.throws(() => native!.crc32c(bytes, start, end), RangeError, `${start}..${end}`)
  }
  assert.throws(() => native!.crc32c([1, 2, 3] as unknown as Uint8Array, 0, 1), TypeError)
})
