// Bounds-checked cursor over the bytes of one frame.
//
// Made by a connection for each frame and used by the decoders that compile.ts emits, on that connection's thread. It owns
// nothing: bytes it hands out are views of the frame.

import { ZERO_UUID } from './schema.ts'

/** The bytes are not what the protocol allows: the sender's mistake, answered by closing its connection. */
export class MalformedFrame extends Error {
  constructor(problem: string, position: number) {
    super(`malformed frame: ${problem} at byte ${position}`)
    this.name = 'MalformedFrame'
  }
}

const STRING_BYTES_MAX = 0x7fff
/** Array elements one frame may hold: an element of three bytes decodes to an object of fifty (README.md, "Decisions"). */
const ELEMENTS_MAX = 0x10_0000
/** High halves within this bound keep a 64-bit value a safe integer. */
const HIGH_HALF_END = 0x20_0000

export class Reader {
  /** The memory that holds the frame; positions are relative to its start. */
  readonly bytes: Buffer
  /** Of the next byte to read. */
  position: number
  /** Exclusive. */
  end: number
  /** How many more array elements the frame may hold. */
  #elementsLeft: number

  /**
   * @param bytes kept by reference; unchanged while the decoded message is in use
   * @param start of the frame in bytes
   * @param end of the frame, exclusive
   * @param elementsMax array elements in all; a client that trusts its broker may allow more
   */
  constructor(bytes: Uint8Array, start = 0, end = bytes.length, elementsMax = ELEMENTS_MAX) {
    this.bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.position = start
    this.end = end
    this.#elementsLeft = elementsMax
    if (start < 0 || start > end || end > bytes.length) throw new RangeError(`no frame from ${start} to ${end}`)
  }

  get remaining(): number {
    return this.end - this.position
  }

  /**
   * Steps over a number of bytes and returns the position of the first.
   * @throws MalformedFrame when the frame has fewer
   */
  take(byteCount: number): number {
    const at = this.position
    if (byteCount > this.end - at) this.#tooShort(byteCount)
    this.position = at + byteCount
    return at
  }

  bool(): boolean {
    return this.bytes[this.take(1)] !== 0
  }

  int8(): number {
    return (this.bytes[this.take(1)]! << 24) >> 24
  }

  int16(): number {
    const at = this.take(2)
    return ((this.bytes[at]! << 24) >> 16) | this.bytes[at + 1]!
  }

  uint16(): number {
    return this.int16() & 0xffff
  }

  int32(): number {
    return this.int32At(this.take(4))
  }

  uint32(): number {
    return this.int32() >>> 0
  }

  /** @throws MalformedFrame also for values beyond 2^53 */
  int64(): number {
    return this.int64At(this.take(8))
  }

  int64Raw(): bigint {
    return this.bytes.readBigInt64BE(this.take(8))
  }

  float64(): number {
    return this.bytes.readDoubleBE(this.take(8))
  }

  uuid(): string {
    return this.uuidAt(this.take(16))
  }

  /** An unsigned varint of at most 32 bits. */
  uvarint(): number {
    const bytes = this.bytes
    let at = this.take(1)
    let byte = bytes[at]!
    if (byte < 0x80) return byte
    let value = byte & 0x7f
    for (let shift = 7; shift < 28; shift += 7) {
      at = this.take(1)
      byte = bytes[at]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    at = this.take(1)
    byte = bytes[at]!
    if (byte > 0x0f) throw new MalformedFrame('a varint of more than 32 bits', at)
    return (value | (byte << 28)) >>> 0
  }

  string(): string {
    return this.#text(this.#notNull(this.int16()))
  }

  nullableString(): string | null {
    const length = this.int16()
    return length === -1 ? null : this.#text(length)
  }

  compactString(): string {
    return this.#text(this.#notNull(this.uvarint() - 1))
  }

  compactNullableString(): string | null {
    const length = this.uvarint() - 1
    return length === -1 ? null : this.#text(length)
  }

  /** A view of the frame. */
  byteString(): Uint8Array {
    return this.view(this.#notNull(this.int32()))
  }

  nullableByteString(): Uint8Array | null {
    const length = this.int32()
    return length === -1 ? null : this.view(length)
  }

  compactByteString(): Uint8Array {
    return this.view(this.#notNull(this.uvarint() - 1))
  }

  compactNullableByteString(): Uint8Array | null {
    const length = this.uvarint() - 1
    return length === -1 ? null : this.view(length)
  }

  /**
   * The length of an array, checked against what is left of the frame before anything is made for it.
   * @param elementBytesMin the fewest bytes an element takes in this version
   */
  arrayLength(elementBytesMin: number): number {
    return this.#fits(this.#notNull(this.int32()), elementBytesMin)
  }

  /** As arrayLength; -1 for null. */
  nullableArrayLength(elementBytesMin: number): number {
    const length = this.int32()
    return length === -1 ? -1 : this.#fits(length, elementBytesMin)
  }

  compactArrayLength(elementBytesMin: number): number {
    return this.#fits(this.#notNull(this.uvarint() - 1), elementBytesMin)
  }

  compactNullableArrayLength(elementBytesMin: number): number {
    const length = this.uvarint() - 1
    return length === -1 ? -1 : this.#fits(length, elementBytesMin)
  }

  /** The byte before a nullable struct: true when the struct follows. */
  present(): boolean {
    return this.int8() >= 0
  }

  /**
   * Confines reading to the next bytes of a tagged field.
   * @returns the end of what encloses it, for leave()
   */
  enter(byteCount: number): number {
    const enclosingEnd = this.end
    if (byteCount > enclosingEnd - this.position) this.#tooShort(byteCount)
    this.end = this.position + byteCount
    return enclosingEnd
  }

  /** @throws MalformedFrame when the tagged field was longer than what it should hold */
  leave(enclosingEnd: number): void {
    if (this.position !== this.end) throw new MalformedFrame('a tagged field with bytes left over', this.position)
    this.end = enclosingEnd
  }

  /** Steps over all tagged fields of a struct that declares none in this version. */
  skipTaggedFields(): void {
    for (let count = this.uvarint(); count > 0; count--) {
      this.uvarint()
      this.take(this.uvarint())
    }
  }

  /** The next bytes as a view of the frame. */
  view(byteCount: number): Uint8Array {
    if (byteCount < 0) throw new MalformedFrame(`a length of ${byteCount}`, this.position)
    const at = this.take(byteCount)
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + at, byteCount)
  }

  /** Reads at a position that take() has checked. */
  int32At(at: number): number {
    const bytes = this.bytes
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
  }

  /** Reads at a position that take() has checked. */
  int64At(at: number): number {
    const high = this.int32At(at)
    const value = high * 0x1_0000_0000 + (this.int32At(at + 4) >>> 0)
    if (high >= HIGH_HALF_END || value < Number.MIN_SAFE_INTEGER) throw new MalformedFrame('an int64 beyond 2^53', at)
    return value
  }

  /** Reads at a position that take() has checked. */
  uuidAt(at: number): string {
    const bytes = this.bytes
    // Most ids that are sent unset are zero; their first byte tells nearly always.
    if (bytes[at] === 0 && this.int32At(at) === 0 && this.int32At(at + 4) === 0) {
      if (this.int32At(at + 8) === 0 && this.int32At(at + 12) === 0) return ZERO_UUID
    }
    return bytes.toString('base64url', at, at + 16)
  }

  #text(length: number): string {
    if (length < 0 || length > STRING_BYTES_MAX) throw new MalformedFrame(`a string of ${length} bytes`, this.position)
    const at = this.take(length)
    // The built-in decoder beats a loop of our own over ASCII at every length (README.md, "Decisions").
    return length === 0 ? '' : this.bytes.toString('utf8', at, at + length)
  }

  #fits(length: number, elementBytesMin: number): number {
    if (length < 0 || length * elementBytesMin > this.end - this.position) {
      throw new MalformedFrame(`an array of ${length} elements in ${this.end - this.position} bytes`, this.position)
    }
    this.#elementsLeft -= length
    if (this.#elementsLeft < 0) throw new MalformedFrame('more array elements than a frame may hold', this.position)
    return length
  }

  #notNull(length: number): number {
    if (length === -1) throw new MalformedFrame('null where the version allows none', this.position)
    return length
  }

  #tooShort(byteCount: number): never {
    throw new MalformedFrame(`${byteCount} bytes wanted, ${this.end - this.position} left`, this.position)
  }
}
