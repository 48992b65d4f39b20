// Output cursor for one frame: small fields are copied, record bytes are kept by reference.
//
// Made by whoever answers, filled by the encoders that compile.ts emits, handed to the socket as fragments. Used on one
// thread; the referenced record bytes must stay unchanged until the socket has written them.

import { invariant } from './invariant.ts'

/** Record pieces from this size on travel by reference; below it a copy is cheaper than another entry in a writev. */
const REFERENCE_BYTES_MIN = 1024
const STRING_BYTES_MAX = 0x7fff
/** Up to this length a loop over char codes beats the calls into the UTF-8 encoder (README.md, "Decisions"). */
const SHORT_STRING_MAX = 40

export class Writer {
  /** Replaced when it grows: read it again after reserve(). */
  buffer: Buffer
  /** In buffer, of the next byte to write. */
  #position = 0
  /** In buffer, of the first byte that no fragment holds yet. */
  #uncutStart = 0
  #fragments: Uint8Array[] = []
  #fragmentBytes = 0
  #sizedDepth = 0

  /** @param capacityBytes a guess of the size without records; it grows by doubling */
  constructor(capacityBytes = 512) {
    this.buffer = Buffer.allocUnsafe(capacityBytes)
  }

  /** All bytes written so far. */
  get byteLength(): number {
    return this.#fragmentBytes + this.#position - this.#uncutStart
  }

  /** What was written, in order. The writer may be used further; earlier fragments stay as they are. */
  fragments(): Uint8Array[] {
    this.#cut()
    return this.#fragments
  }

  /** What was written in one piece: a view of the writer's memory when it holds no referenced bytes, else a copy. */
  toBytes(): Uint8Array {
    const fragments = this.fragments()
    return fragments.length === 1 ? fragments[0]! : Buffer.concat(fragments, this.#fragmentBytes)
  }

  /** Makes room for a number of bytes and returns the position of the first in `buffer`. The caller fills them all. */
  reserve(byteCount: number): number {
    const at = this.#position
    if (byteCount > this.buffer.length - at) return this.#grow(byteCount)
    this.#position = at + byteCount
    return at
  }

  bool(value: boolean): void {
    this.int8(value ? 1 : 0)
  }

  int8(value: number): void {
    const at = this.reserve(1)
    this.buffer[at] = value
  }

  int16(value: number): void {
    const at = this.reserve(2)
    this.buffer[at] = value >>> 8
    this.buffer[at + 1] = value
  }

  uint16(value: number): void {
    this.int16(value)
  }

  int32(value: number): void {
    this.int32At(this.reserve(4), value)
  }

  uint32(value: number): void {
    this.int32(value)
  }

  int64(value: number): void {
    this.int64At(this.reserve(8), value)
  }

  int64Raw(value: bigint): void {
    const at = this.reserve(8)
    this.buffer.writeBigInt64BE(value, at)
  }

  float64(value: number): void {
    const at = this.reserve(8)
    this.buffer.writeDoubleBE(value, at)
  }

  uuid(value: string): void {
    this.uuidAt(this.reserve(16), value)
  }

  /** @param value from 0 to 2^32 - 1 */
  uvarint(value: number): void {
    while (value > 0x7f) {
      this.int8((value & 0x7f) | 0x80)
      value >>>= 7
    }
    this.int8(value)
  }

  /** Cut at 32767 bytes, the most the format holds: README.md, "Decisions". */
  string(value: string): void {
    if (value.length <= SHORT_STRING_MAX) {
      const at = this.reserve(2 + value.length)
      if (this.#ascii(at + 2, value)) {
        this.buffer[at] = 0
        this.buffer[at + 1] = value.length
        return
      }
      this.#position = at
    }
    const length = utf8Length(value)
    this.int16(length)
    const at = this.reserve(length)
    this.buffer.fill(0x20, at + this.buffer.write(value, at, length, 'utf8'), at + length)
  }

  nullableString(value: string | null): void {
    if (value === null) this.int16(-1)
    else this.string(value)
  }

  compactString(value: string): void {
    if (value.length <= SHORT_STRING_MAX) {
      const at = this.reserve(1 + value.length)
      if (this.#ascii(at + 1, value)) {
        this.buffer[at] = value.length + 1
        return
      }
      this.#position = at
    }
    const length = utf8Length(value)
    this.uvarint(length + 1)
    const at = this.reserve(length)
    this.buffer.fill(0x20, at + this.buffer.write(value, at, length, 'utf8'), at + length)
  }

  compactNullableString(value: string | null): void {
    if (value === null) this.int8(0)
    else this.compactString(value)
  }

  byteString(value: Uint8Array): void {
    this.int32(value.length)
    this.copy(value)
  }

  nullableByteString(value: Uint8Array | null): void {
    if (value === null) this.int32(-1)
    else this.byteString(value)
  }

  compactByteString(value: Uint8Array): void {
    this.uvarint(value.length + 1)
    this.copy(value)
  }

  compactNullableByteString(value: Uint8Array | null): void {
    if (value === null) this.int8(0)
    else this.compactByteString(value)
  }

  records(value: Uint8Array | readonly Uint8Array[]): void {
    this.int32(byteLengthOf(value))
    this.#pieces(value)
  }

  nullableRecords(value: Uint8Array | readonly Uint8Array[] | null): void {
    if (value === null) this.int32(-1)
    else this.records(value)
  }

  compactRecords(value: Uint8Array | readonly Uint8Array[]): void {
    this.uvarint(byteLengthOf(value) + 1)
    this.#pieces(value)
  }

  compactNullableRecords(value: Uint8Array | readonly Uint8Array[] | null): void {
    if (value === null) this.int8(0)
    else this.compactRecords(value)
  }

  /** Copies bytes as they are. */
  copy(value: Uint8Array): void {
    const at = this.reserve(value.length)
    this.buffer.set(value, at)
  }

  /** Keeps bytes by reference: they must stay unchanged until the fragments are written. */
  reference(value: Uint8Array): void {
    invariant(this.#sizedDepth === 0, 'a tagged field holds no referenced bytes', this.#sizedDepth)
    this.#cut()
    this.#fragments.push(value)
    this.#fragmentBytes += value.length
  }

  /** Opens a tagged field whose size is known only at its end. Returns a mark for endSized(). */
  beginSized(): number {
    this.#sizedDepth++
    return this.reserve(1) - this.#uncutStart
  }

  /** Closes it: writes the size in front of what was written since the mark. */
  endSized(mark: number): void {
    this.#sizedDepth--
    const sizeByteCount = 1
    const bodyStart = this.#uncutStart + mark + sizeByteCount
    const size = this.#position - bodyStart
    if (size > 0x7f) {
      // One byte was left free, enough for nearly every tagged field; a larger one moves up.
      const more = size < 0x4000 ? 1 : size < 0x20_0000 ? 2 : size < 0x1000_0000 ? 3 : 4
      this.reserve(more)
      const start = this.#uncutStart + mark + sizeByteCount
      this.buffer.copyWithin(start + more, start, start + size)
    }
    const end = this.#position
    this.#position = this.#uncutStart + mark
    this.uvarint(size)
    this.#position = end
  }

  /** Overwrites four bytes near the front (the frame's length), counted from the first byte ever written. */
  patchInt32(at: number, value: number): void {
    if (this.#fragments.length === 0) {
      this.int32At(at, value)
      return
    }
    const first = this.#fragments[0]!
    invariant(at + 4 <= first.length, 'what is patched lies in the first fragment', at, first.length)
    first[at] = value >>> 24
    first[at + 1] = value >>> 16
    first[at + 2] = value >>> 8
    first[at + 3] = value
  }

  /** Writes at a position that reserve() gave. */
  int32At(at: number, value: number): void {
    const buffer = this.buffer
    buffer[at] = value >>> 24
    buffer[at + 1] = value >>> 16
    buffer[at + 2] = value >>> 8
    buffer[at + 3] = value
  }

  /** Writes at a position that reserve() gave. */
  int64At(at: number, value: number): void {
    this.int32At(at, Math.floor(value / 0x1_0000_0000))
    this.int32At(at + 4, value >>> 0)
  }

  /** Writes at a position that reserve() gave. */
  uuidAt(at: number, value: string): void {
    const written = this.buffer.write(value, at, 16, 'base64url')
    invariant(written === 16, 'a uuid is 22 characters of base64url', written, value.length)
  }

  #ascii(at: number, value: string): boolean {
    const buffer = this.buffer
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i)
      if (code > 0x7f) return false
      buffer[at + i] = code
    }
    return true
  }

  #pieces(value: Uint8Array | readonly Uint8Array[]): void {
    if (value instanceof Uint8Array) this.#piece(value)
    else for (let i = 0; i < value.length; i++) this.#piece(value[i]!)
  }

  #piece(value: Uint8Array): void {
    if (value.length >= REFERENCE_BYTES_MIN) this.reference(value)
    else this.copy(value)
  }

  /** Makes what was written since the last cut a fragment. */
  #cut(): void {
    if (this.#position === this.#uncutStart) return
    const fragment = this.buffer.subarray(this.#uncutStart, this.#position)
    this.#fragments.push(fragment)
    this.#fragmentBytes += fragment.length
    this.#uncutStart = this.#position
  }

  #grow(byteCount: number): number {
    const uncutBytes = this.#position - this.#uncutStart
    const grown = Buffer.allocUnsafe(Math.max(2 * this.buffer.length, uncutBytes + byteCount))
    this.buffer.copy(grown, 0, this.#uncutStart, this.#position)
    this.buffer = grown
    this.#uncutStart = 0
    this.#position = uncutBytes + byteCount
    return uncutBytes
  }
}

function utf8Length(value: string): number {
  return Math.min(Buffer.byteLength(value, 'utf8'), STRING_BYTES_MAX)
}

function byteLengthOf(value: Uint8Array | readonly Uint8Array[]): number {
  if (value instanceof Uint8Array) return value.length
  let length = 0
  for (let i = 0; i < value.length; i++) length += value[i]!.length
  return length
}
