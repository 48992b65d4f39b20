// Mailboxes between shards: one bounded single-producer single-consumer ring per ordered pair of threads.
//
// The memory is shared; each ring has exactly one thread that writes it and one that reads it, so two counters and no lock are
// enough. A message is bytes: [length][bytes], never a structured clone. A message larger than a quarter of the ring goes in
// pieces. When the ring is full the sender keeps the rest in order on its side, says so through `congested`, and the
// shard stops reading from its sockets until the reader has made room: the queue is bounded by what those sockets had sent.

import { invariant } from '../../protocol/invariant.ts'

const HEAD = 0
const TAIL = 16
const SENDER_WAITS = 32
const HEADER_BYTES = 256
const WRAP = -1
const MORE = 0x4000_0000
const LENGTH_MASK = 0x3fff_ffff

/** Bytes of shared memory that a ring with room for `capacityBytes` takes. */
export function ringBytes(capacityBytes: number): number {
  return HEADER_BYTES + capacityBytes
}

/** Ring size for a broker of so many shards: large for few, so that all rings together stay small. */
export function ringCapacity(shardCount: number): number {
  if (shardCount <= 4) return 1 << 20
  if (shardCount <= 16) return 1 << 18
  return 1 << 16
}

/** The sending end. Positions count bytes modulo 2^31 and are compared by their difference. */
export class MailboxSender {
  readonly #words: Int32Array
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #capacity: number
  readonly #wake: () => void
  #overflow: Uint8Array[] = []
  #overflowAt = 0

  /** @param wake rings the reading thread; called after each message that it might sleep through */
  constructor(memory: SharedArrayBuffer, wake: () => void) {
    this.#words = new Int32Array(memory, 0, HEADER_BYTES / 4)
    this.#capacity = memory.byteLength - HEADER_BYTES
    invariant((this.#capacity & (this.#capacity - 1)) === 0, 'a ring holds a power of two of bytes', this.#capacity)
    this.#bytes = Buffer.from(memory, HEADER_BYTES, this.#capacity)
    this.#view = new DataView(memory, HEADER_BYTES, this.#capacity)
    this.#wake = wake
  }

  /** True while messages wait on this side because the ring is full. */
  get congested(): boolean {
    return this.#overflow.length > 0
  }

  /** Sends one message; never blocks. The bytes are copied, or kept until there is room when the ring is full. */
  send(message: Uint8Array): void {
    if (this.#overflow.length > 0) {
      this.#overflow.push(new Uint8Array(message))
      return
    }
    const left = this.#write(message)
    if (left !== undefined) {
      this.#overflow.push(new Uint8Array(left))
      this.#askForRoom()
    }
    this.#wake()
  }

  /** Moves what waited into the ring as far as it goes. @returns true when nothing waits any more */
  flush(): boolean {
    if (this.#overflow.length === 0) return true
    while (this.#overflowAt < this.#overflow.length) {
      const left = this.#write(this.#overflow[this.#overflowAt]!)
      if (left !== undefined) {
        this.#overflow[this.#overflowAt] = left
        this.#askForRoom()
        this.#wake()
        return false
      }
      this.#overflowAt++
    }
    this.#overflow = []
    this.#overflowAt = 0
    this.#wake()
    return true
  }

  #askForRoom(): void {
    Atomics.store(this.#words, SENDER_WAITS, 1)
  }

  /** @returns what did not fit: the rest of a message whose first pieces are in the ring, or all of it */
  #write(message: Uint8Array): Uint8Array | undefined {
    const pieceMax = (this.#capacity >> 2) - 8
    let rest = message
    do {
      const piece = rest.length > pieceMax ? rest.subarray(0, pieceMax) : rest
      if (!this.#writePiece(piece, rest.length > pieceMax)) return rest
      rest = rest.subarray(piece.length)
    } while (rest.length > 0)
    return undefined
  }

  #writePiece(piece: Uint8Array, more: boolean): boolean {
    const mask = this.#capacity - 1
    const size = (piece.length + 4 + 7) & ~7
    let tail = this.#words[TAIL]!
    const head = Atomics.load(this.#words, HEAD)
    const used = (tail - head) & 0x7fff_ffff
    const at = tail & mask
    const toEnd = this.#capacity - at
    const needed = toEnd < size ? toEnd + size : size
    if (used + needed > this.#capacity) return false
    if (toEnd < size) {
      this.#view.setInt32(at, WRAP, true)
      tail = (tail + toEnd) & 0x7fff_ffff
    }
    const position = tail & mask
    this.#view.setInt32(position, piece.length | (more ? MORE : 0), true)
    this.#bytes.set(piece, position + 4)
    Atomics.store(this.#words, TAIL, (tail + size) & 0x7fff_ffff)
    return true
  }
}

/** The reading end. */
export class MailboxReader {
  readonly #words: Int32Array
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #capacity: number
  readonly #wakeSender: () => void
  #pieces: Buffer[] = []

  constructor(memory: SharedArrayBuffer, wakeSender: () => void) {
    this.#words = new Int32Array(memory, 0, HEADER_BYTES / 4)
    this.#capacity = memory.byteLength - HEADER_BYTES
    this.#bytes = Buffer.from(memory, HEADER_BYTES, this.#capacity)
    this.#view = new DataView(memory, HEADER_BYTES, this.#capacity)
    this.#wakeSender = wakeSender
  }

  /**
   * Hands over up to `max` messages. The bytes are valid during the call only.
   * @returns how many messages were handed over
   */
  drain(max: number, receive: (message: Buffer) => void): number {
    const mask = this.#capacity - 1
    let head = this.#words[HEAD]!
    let count = 0
    let tail = Atomics.load(this.#words, TAIL)
    while (head !== tail && count < max) {
      const at = head & mask
      const word = this.#view.getInt32(at, true)
      if (word === WRAP) {
        head = (head + this.#capacity - at) & 0x7fff_ffff
        continue
      }
      const length = word & LENGTH_MASK
      const piece = this.#bytes.subarray(at + 4, at + 4 + length)
      if ((word & MORE) !== 0) {
        this.#pieces.push(Buffer.from(piece))
      } else if (this.#pieces.length > 0) {
        const whole = Buffer.concat([...this.#pieces, piece])
        this.#pieces = []
        receive(whole)
        count++
      } else {
        receive(piece)
        count++
      }
      head = (head + ((length + 4 + 7) & ~7)) & 0x7fff_ffff
      Atomics.store(this.#words, HEAD, head)
      if (head === tail) tail = Atomics.load(this.#words, TAIL)
    }
    Atomics.store(this.#words, HEAD, head)
    if (this.#words[SENDER_WAITS] === 1 && Atomics.exchange(this.#words, SENDER_WAITS, 0) === 1) this.#wakeSender()
    return count
  }
}
