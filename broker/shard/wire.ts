// The messages that shards send each other, as bytes in a mailbox.
//
// Every message opens with the same eight bytes: kind, a spare byte, the sender's load, an id. Payload of batches is never in here: it is named by
// its place in the sender's arena. Integers are little-endian; offsets and arena positions are doubles, exact up to 2^53.

/** What a message is. */
export const Kind = {
  /** A request of some API for the shard that owns its subject. Body: call context, request. */
  ASK: 1,
  /** Its answer. Body: 1 and the response, or 0 and an error text. */
  ANSWER: 2,
  /** One batch for a partition, by reference. */
  APPEND: 3,
  /** What became of it: durable and committed, or refused. Also gives the reference back. */
  APPENDED: 4,
  /** Reads of several partitions. */
  READ: 5,
  /** Their results, by reference. */
  READ_DONE: 6,
  /** The asker is done with the memory of these reads. */
  RELEASE: 7,
  /** A watched partition has more to read. */
  NOTIFY: 8,
  /** A watch is no longer of interest. */
  UNWATCH: 9,
  /** Metadata: the whole image or commands to apply to it. */
  METADATA: 10,
  METADATA_APPLIED: 11,
  /** Partitions led here, and their epochs. */
  LEADERS: 12,
} as const

export const HEADER_BYTES = 8

/** Builds one message at a time in a buffer that grows and is reused; `finish` gives a view that is valid until the next `begin`. */
export class WireWriter {
  #buffer = Buffer.allocUnsafeSlow(4096)
  #at = 0

  begin(kind: number, id: number, load: number): this {
    const buffer = this.#buffer
    buffer[0] = kind
    buffer[1] = 0
    buffer.writeUInt16LE(Math.min(load, 0xffff), 2)
    buffer.writeUInt32LE(id, 4)
    this.#at = HEADER_BYTES
    return this
  }

  #need(bytes: number): Buffer {
    if (this.#at + bytes > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#at + bytes))
      this.#buffer.copy(grown, 0, 0, this.#at)
      this.#buffer = grown
    }
    return this.#buffer
  }

  u8(value: number): this {
    this.#need(1)[this.#at++] = value
    return this
  }

  i16(value: number): this {
    this.#at = this.#need(2).writeInt16LE(value, this.#at)
    return this
  }

  i32(value: number): this {
    this.#at = this.#need(4).writeInt32LE(value, this.#at)
    return this
  }

  f64(value: number): this {
    this.#at = this.#need(8).writeDoubleLE(value, this.#at)
    return this
  }

  /** Null is told from the empty string. */
  text(value: string | null): this {
    if (value === null) return this.i32(-1)
    const bytes = Buffer.byteLength(value)
    this.i32(bytes)
    this.#need(bytes).write(value, this.#at)
    this.#at += bytes
    return this
  }

  /** The rest of the message. */
  rest(bytes: Uint8Array): this {
    this.#need(bytes.length).set(bytes, this.#at)
    this.#at += bytes.length
    return this
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#at)
  }
}

/** Reads one message; only our own threads write them, so positions are trusted. */
export class WireReader {
  #buffer: Buffer = Buffer.alloc(0)
  #at = 0

  open(message: Buffer): this {
    this.#buffer = message
    this.#at = HEADER_BYTES
    return this
  }

  get hasMore(): boolean {
    return this.#at < this.#buffer.length
  }

  u8(): number {
    return this.#buffer[this.#at++]!
  }

  i16(): number {
    const value = this.#buffer.readInt16LE(this.#at)
    this.#at += 2
    return value
  }

  i32(): number {
    const value = this.#buffer.readInt32LE(this.#at)
    this.#at += 4
    return value
  }

  f64(): number {
    const value = this.#buffer.readDoubleLE(this.#at)
    this.#at += 8
    return value
  }

  text(): string | null {
    const bytes = this.i32()
    if (bytes < 0) return null
    const value = this.#buffer.toString('utf8', this.#at, this.#at + bytes)
    this.#at += bytes
    return value
  }

  /** A view of what is left, valid as long as the message. */
  rest(): Buffer {
    return this.#buffer.subarray(this.#at)
  }
}
