// The records every client writes in the interchange tests: the same bytes from every language, so that one checksum says
// whether what one client wrote is what another read.

import { crc32 } from 'node:zlib'

export const sharedRecordCount = 100_000
const letters = 'abcdefghijklmnopqrstuvwxyz'

/** Value of record `index`; librdkafka.py has the same function. */
export function sharedValue(index: number): string {
  return `${String(index).padStart(8, '0')}:${(letters[index % 26] ?? '').repeat(20 + (index % 81))}`
}

export function sharedKey(index: number): string {
  return String(index % 1000)
}

/** XOR of the CRC-32 of every value: does not depend on the order in which partitions are read. */
export class Checksum {
  count = 0
  value = 0

  add(bytes: Uint8Array | string): void {
    this.count++
    this.value = (this.value ^ crc32(bytes)) >>> 0
  }
}

/** What reading the first `count` shared records must give. */
export function sharedChecksum(count: number): number {
  const checksum = new Checksum()
  for (let index = 0; index < count; index++) checksum.add(sharedValue(index))
  return checksum.value
}
