import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { crc32c, crc32cJs, setCrc32c } from '../../../../protocol/records/crc32c.ts'
import { seeded } from './vectors.ts'

afterEach(() => setCrc32c(undefined))

test('the check value of CRC32C comes out', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
})

test('the examples of RFC 3720 come out', () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at)), 0x46dd794e)
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, at) => 31 - at)), 0x113fdb5c)
})

test('every length and alignment agrees with the bit by bit definition', () => {
  const random = seeded(1)
  const bytes = Uint8Array.from({ length: 80 }, () => random() * 256)
  for (let start = 0; start < 9; start++) {
    for (let end = start; end <= bytes.length; end++) {
      assert.equal(crc32cJs(bytes, start, end), bitByBit(bytes.subarray(start, end)), `${start} to ${end}`)
    }
  }
})

test('the CRC of pieces chains through the seed', () => {
  const bytes = Uint8Array.from({ length: 200 }, (_, at) => at * 7)
  for (const cut of [0, 1, 63, 100, 200]) {
    assert.equal(crc32c(bytes, cut, 200, crc32c(bytes, 0, cut)), crc32c(bytes))
  }
})

test('bytes in shared memory have the same CRC', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(9)
  assert.equal(crc32c(shared), crc32c(new Uint8Array(100).fill(9)))
})

test('an installed implementation is asked for long ranges, with start, end and seed', () => {
  const asked: number[][] = []
  setCrc32c((_, ...rest) => asked.push(rest) + 41)
  assert.equal(crc32c(new Uint8Array(500), 10, 490, 7), 42)
  assert.deepEqual(asked, [[10, 490, 7]])
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'short ranges stay with the table')
})

function bitByBit(bytes: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}
