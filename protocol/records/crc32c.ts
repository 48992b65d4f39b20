// CRC32C (Castagnoli), the checksum of record batches, journal blocks and frames between brokers.
//
// A table-driven version in plain JavaScript lives here (about 1 GB/s), and the door through which a thread's start-up puts
// the hardware one of the addon in its place. The hook is per thread, as modules are: every shard sets it once, before it
// opens storage or sockets.

/**
 * @param seed the CRC of the bytes before these, 0 at the beginning
 * @returns the CRC as an unsigned 32-bit number
 */
export type Crc32c = (bytes: Uint8Array, start: number, end: number, seed: number) => number

/** Below this many bytes the table is faster than a call into the addon. */
const TABLE_BELOW_BYTES = 64

/** Eight tables of 256 entries for slicing-by-8: table k advances a byte over k further zero bytes. */
const tables = makeTables()

function makeTables(): Int32Array {
  const made = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
    made[byte] = crc
  }
  for (let at = 256; at < made.length; at++) {
    const before = made[at - 256]!
    made[at] = (before >>> 8) ^ made[before & 0xff]!
  }
  return made
}

/**
 * CRC32C without the addon.
 * @param start first byte
 * @param end exclusive end
 * @param seed the CRC of the bytes before these
 * Source: RFC 3720, appendix B.4; slicing-by-8 after Kounavis and Berry.
 */
export function crc32cJs(bytes: Uint8Array, start = 0, end = bytes.length, seed = 0): number {
  const table = tables
  let crc = ~seed
  let at = start
  for (const last = end - 8; at <= last; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc =
      table[1792 + (crc & 0xff)]! ^
      table[1536 + ((crc >>> 8) & 0xff)]! ^
      table[1280 + ((crc >>> 16) & 0xff)]! ^
      table[1024 + (crc >>> 24)]! ^
      table[768 + bytes[at + 4]!]! ^
      table[512 + bytes[at + 5]!]! ^
      table[256 + bytes[at + 6]!]! ^
      table[bytes[at + 7]!]!
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ table[(crc ^ bytes[at]!) & 0xff]!
  return ~crc >>> 0
}

let installed: Crc32c = crc32cJs

/** Puts another implementation (the addon's) in place for this thread; undefined brings the table back. */
export function setCrc32c(implementation: Crc32c | undefined): void {
  installed = implementation ?? crc32cJs
}

/**
 * CRC32C of bytes[start, end) by the fastest implementation this thread has.
 * @param seed the CRC of the bytes before these, so that fragments chain
 * @returns unsigned 32-bit
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, seed = 0): number {
  return end - start < TABLE_BELOW_BYTES ? crc32cJs(bytes, start, end, seed) : installed(bytes, start, end, seed)
}
