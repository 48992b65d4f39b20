// Little-endian numbers of the storage formats: a growing writer, a reader that checks bounds, and 53-bit integers.
//
// Pure; used for the state records and headers of the journal. Kafka's own formats are big-endian and live elsewhere.

const TWO_32 = 0x1_0000_0000

/** Writes an integer of up to 53 bits, or -1, as 8 bytes. */
export function putInt53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setInt32(at + 4, Math.floor(value / TWO_32), true)
}

/** Reads what putInt53() wrote. */
export function getInt53(view: DataView, at: number): number {
  const high = view.getInt32(at + 4, true)
  const low = view.getUint32(at, true)
  // Small ones stay integers of the engine: a double is an object of its own, in each of very many groups.
  return high === 0 ? low : high * TWO_32 + low
}

const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder('utf-8', { fatal: true })

export class ByteWriter {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** The bytes written so far; valid until reset(). */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  reset(): void {
    this.#length = 0
  }

  int32(value: number): void {
    this.#view.setInt32(this.#grow(4), value, true)
  }

  int53(value: number): void {
    putInt53(this.#view, this.#grow(8), value)
  }

  bytes(value: Uint8Array): void {
    this.int32(value.length)
    const at = this.#grow(value.length)
    this.#bytes.set(value, at)
  }

  string(value: string): void {
    this.bytes(textEncoder.encode(value))
  }

  #grow(count: number): number {
    const at = this.#length
    this.#length += count
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2))
      larger.set(this.#bytes)
      this.#bytes = larger
      this.#view = new DataView(larger.buffer)
    }
    return at
  }
}

/** Reads what ByteWriter wrote. @throws RangeError when a length reaches past the end */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  int32(): number {
    return this.#view.getInt32(this.#take(4), true)
  }

  int53(): number {
    return getInt53(this.#view, this.#take(8))
  }

  /** A copy, so that it outlives the memory it was read from. */
  bytes(): Uint8Array {
    const length = this.int32()
    const at = this.#take(length)
    return this.#bytes.slice(at, at + length)
  }

  string(): string {
    return textDecoder.decode(new Uint8Array(this.bytes()))
  }

  #take(count: number): number {
    const at = this.#at
    if (count < 0 || count > this.#bytes.length - at) throw new RangeError('a length reaches past the end')
    this.#at = at + count
    return at
  }
}
