// Frames between brokers: what one link gathers in a loop turn, length and CRC32C in front.
//
//   u32 length    bytes of the payload
//   u32 crc       CRC32C of the length, the defections and the payload, in this order
//   u32 defections   see link-lease.ts
//   payload       messages, one after the other (peer-wire.ts)
//
// A FrameWriter belongs to one connection and fills one frame after the other; numbers and small bytes are copied into chunks that are
// used again, large ones stay where they are until the socket has taken them. A FrameReader finds the frames in a connection's
// bytes and hands them out only when length and CRC are right. Both are touched from the shard's thread alone.

import { invariant } from '../../protocol/invariant.ts'
import { crc32c } from '../../protocol/records/crc32c.ts'
import type { FrameMemory } from '../net/connection.ts'
import { MalformedPeerBytes, MESSAGE_HEADER_BYTES, type PeerWriter } from './peer-wire.ts'

export const FRAME_HEADER_BYTES = 12

/** A frame that has become this long leaves at once, so that the receiver can work on it while the next one is filled. */
export const FRAME_CUT_BYTES = 1 << 20

const CHUNK_BYTES = 32 * 1024
const FREE_CHUNKS_MAX = 64

/** Up to here a copy costs less than one more piece for the socket. */
const COPY_BYTES_MAX = 1024

/** Frames up to here that span reads are put together in a buffer of their connection, so that they never lack memory. */
const SMALL_FRAME_BYTES = 16 * 1024

/** The longest payload when a message's body has at most so many bytes. */
export function payloadBytesMax(messageBytesMax: number): number {
  return FRAME_CUT_BYTES + MESSAGE_HEADER_BYTES + messageBytesMax
}

interface Chunk {
  readonly bytes: Buffer
  /** Frames that lie in it and are not done. */
  users: number
}

/** The chunks of one shard's links. */
export class ChunkPool {
  readonly #free: Chunk[] = []

  take(): Chunk {
    return this.#free.pop() ?? { bytes: Buffer.allocUnsafeSlow(CHUNK_BYTES), users: 0 }
  }

  give(chunk: Chunk): void {
    if (this.#free.length < FREE_CHUNKS_MAX) this.#free.push(chunk)
  }
}

/** A frame on its way: done() once, when the socket has taken it or never will. */
export class SealedFrame {
  readonly fragments: readonly Uint8Array[]
  readonly byteLength: number
  #release: (() => void) | undefined

  constructor(fragments: readonly Uint8Array[], byteLength: number, release: () => void) {
    this.fragments = fragments
    this.byteLength = byteLength
    this.#release = release
  }

  done(): void {
    const release = this.#release
    this.#release = undefined
    release?.()
  }
}

export class FrameWriter implements PeerWriter {
  /** Goes into every frame that is sealed from now on. */
  defections = 0
  /** Longest body the other side takes. */
  messageBytesMax: number
  readonly #pool: ChunkPool
  readonly #send: (frame: SealedFrame) => void
  #chunk: Chunk | undefined
  #at = 0
  #runStart = 0
  #fragments: Uint8Array[] = []
  #chunks: Chunk[] = []
  #releases: (() => void)[] = []
  #isFrameOpen = false
  #isMessageOpen = false
  #isEnded = false
  /** Bytes in `#fragments`. */
  #closedBytes = 0
  // The open message, and what cancel() goes back to.
  #bodyStart = 0
  #messageChunk: Chunk | undefined
  #messageAt = 0
  #messageRunStart = 0
  #messageClosedBytes = 0
  #messageFragments = 0
  #messageChunks = 0
  #messageReleases = 0

  constructor(pool: ChunkPool, messageBytesMax: number, send: (frame: SealedFrame) => void) {
    this.#pool = pool
    this.messageBytesMax = messageBytesMax
    this.#send = send
  }

  /** Bytes of the frame being filled, its header included; 0 when there is none. */
  get pendingBytes(): number {
    return this.#isFrameOpen ? this.#closedBytes + this.#at - this.#runStart : 0
  }

  get isMessageOpen(): boolean {
    return this.#isMessageOpen
  }

  get length(): number {
    return this.pendingBytes - this.#bodyStart
  }

  begin(kind: number): this {
    invariant(!this.#isMessageOpen, 'a message to a peer is ended before the next begins', kind)
    invariant(!this.#isEnded, 'no message is begun on a connection that has ended', kind)
    if (!this.#isFrameOpen) this.#openFrame()
    const chunk = this.#need(MESSAGE_HEADER_BYTES)
    this.#isMessageOpen = true
    this.#messageChunk = this.#chunk
    this.#messageAt = this.#at
    this.#messageRunStart = this.#runStart
    this.#messageClosedBytes = this.#closedBytes
    this.#messageFragments = this.#fragments.length
    this.#messageChunks = this.#chunks.length
    this.#messageReleases = this.#releases.length
    chunk.writeUInt32LE(kind, this.#at)
    this.#at += MESSAGE_HEADER_BYTES
    this.#bodyStart = this.pendingBytes
    return this
  }

  u8(value: number): this {
    this.#need(1)[this.#at++] = value
    return this
  }

  i32(value: number): this {
    this.#at = this.#need(4).writeInt32LE(value, this.#at)
    return this
  }

  u32(value: number): this {
    this.#at = this.#need(4).writeUInt32LE(value, this.#at)
    return this
  }

  f64(value: number): this {
    this.#at = this.#need(8).writeDoubleLE(value, this.#at)
    return this
  }

  text(value: string | null): this {
    if (value === null) return this.i32(-1)
    const length = Buffer.byteLength(value)
    this.i32(length)
    if (length > CHUNK_BYTES) return this.#reference(Buffer.from(value))
    this.#need(length).write(value, this.#at)
    this.#at += length
    return this
  }

  bytes(value: Uint8Array): this {
    for (let from = 0; from < value.length; ) {
      const chunk = this.#need(1)
      const count = Math.min(value.length - from, CHUNK_BYTES - this.#at)
      chunk.set(value.subarray(from, from + count), this.#at)
      this.#at += count
      from += count
    }
    return this
  }

  attach(view: Uint8Array, release?: () => void): this {
    if (release !== undefined) this.#releases.push(release)
    return view.length <= COPY_BYTES_MAX ? this.bytes(view) : this.#reference(view)
  }

  end(): boolean {
    invariant(this.#isMessageOpen, 'a message to a peer is ended once')
    const { length } = this
    if (this.#isEnded || length > this.messageBytesMax) {
      this.cancel()
      return false
    }
    this.#isMessageOpen = false
    this.#messageChunk!.bytes.writeUInt32LE(length, this.#messageAt + 4)
    if (this.pendingBytes >= FRAME_CUT_BYTES) this.seal()
    return true
  }

  cancel(): void {
    if (!this.#isMessageOpen) return
    this.#isMessageOpen = false
    const releases = this.#releases.splice(this.#messageReleases)
    for (const chunk of this.#chunks.splice(this.#messageChunks)) {
      chunk.users--
      this.#pool.give(chunk)
    }
    this.#fragments.length = this.#messageFragments
    this.#chunk = this.#messageChunk
    this.#at = this.#messageAt
    this.#runStart = this.#messageRunStart
    this.#closedBytes = this.#messageClosedBytes
    if (this.#isEnded) this.#drop()
    for (const release of releases) release()
  }

  /** Sends what has been gathered, if anything has. */
  seal(): void {
    invariant(!this.#isMessageOpen, 'a frame is sealed between messages')
    const byteLength = this.pendingBytes
    if (byteLength <= FRAME_HEADER_BYTES) return
    this.#closeRun()
    const head = this.#fragments[0] as Buffer
    const payloadBytes = byteLength - FRAME_HEADER_BYTES
    head.writeUInt32LE(payloadBytes, 0)
    head.writeUInt32LE(this.defections, 8)
    let crc = crc32c(head, 8, head.length, crc32c(head, 0, 4, 0))
    for (let at = 1; at < this.#fragments.length; at++) {
      const fragment = this.#fragments[at]!
      crc = crc32c(fragment, 0, fragment.length, crc)
    }
    head.writeUInt32LE(crc, 4)
    const releases = this.#releases
    const chunks = this.#chunks
    const frame = new SealedFrame(this.#fragments, byteLength, () => {
      this.#give(chunks)
      for (const release of releases) release()
    })
    this.#forgetFrame()
    this.#send(frame)
  }

  /** The connection has ended: what was not sealed is given back, and nothing can be begun any more. */
  abandon(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    // A message that somebody is writing right now holds on to its memory until its end().
    if (!this.#isMessageOpen) this.#drop()
  }

  #drop(): void {
    const releases = this.#releases
    const chunks = this.#chunks
    const last = this.#chunk
    this.#chunk = undefined
    this.#forgetFrame()
    if (last !== undefined && last.users === 0) this.#pool.give(last)
    this.#give(chunks)
    for (const release of releases) release()
  }

  #give(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) {
      chunk.users--
      if (chunk.users === 0 && chunk !== this.#chunk) this.#pool.give(chunk)
    }
  }

  #forgetFrame(): void {
    this.#isFrameOpen = false
    this.#fragments = []
    this.#chunks = []
    this.#releases = []
    this.#closedBytes = 0
    this.#runStart = this.#at
  }

  #openFrame(): void {
    this.#isFrameOpen = true
    const chunk = this.#chunk
    if (chunk !== undefined) {
      if (chunk.users === 0) this.#at = this.#runStart = 0
      // Header of the frame and of its first message lie in one piece.
      if (CHUNK_BYTES - this.#at >= FRAME_HEADER_BYTES + MESSAGE_HEADER_BYTES) {
        chunk.users++
        this.#chunks.push(chunk)
      }
    }
    if (this.#chunks.length === 0) this.#nextChunk()
    this.#at += FRAME_HEADER_BYTES
  }

  /** The chunk in which the next `count` bytes lie together. */
  #need(count: number): Buffer {
    if (CHUNK_BYTES - this.#at < count) {
      this.#closeRun()
      this.#nextChunk()
    }
    return this.#chunk!.bytes
  }

  #nextChunk(): void {
    const full = this.#chunk
    const chunk = this.#pool.take()
    chunk.users = 1
    this.#chunk = chunk
    this.#chunks.push(chunk)
    this.#at = this.#runStart = 0
    if (full !== undefined && full.users === 0) this.#pool.give(full)
  }

  #closeRun(): void {
    if (this.#at === this.#runStart) return
    this.#fragments.push(this.#chunk!.bytes.subarray(this.#runStart, this.#at))
    this.#closedBytes += this.#at - this.#runStart
    this.#runStart = this.#at
  }

  #reference(view: Uint8Array): this {
    this.#closeRun()
    this.#fragments.push(view)
    this.#closedBytes += view.length
    return this
  }
}

/** A whole frame, checked; the payload is valid during the call. */
export type FrameHandler = (payload: Buffer, start: number, end: number, defections: number) => void

export class FrameReader {
  /** Longest payload that is believed. */
  payloadBytesMax: number
  readonly #handle: FrameHandler
  readonly #allocate: ((bytes: number) => FrameMemory | undefined) | undefined
  readonly #head: Buffer = Buffer.alloc(FRAME_HEADER_BYTES)
  #headFilled = 0
  #small: Buffer | undefined
  #memory: FrameMemory | undefined
  #body: Buffer | undefined
  #bodyBytes = 0
  #bodyFilled = 0
  #isClosed = false
  #isHandling = false

  /** @param allocate where large frames that span reads are put together; the heap serves when it has nothing */
  constructor(
    payloadMax: number,
    handle: FrameHandler,
    allocate: ((bytes: number) => FrameMemory | undefined) | undefined,
  ) {
    this.payloadBytesMax = payloadMax
    this.#handle = handle
    this.#allocate = allocate
  }

  /**
   * Hands out every frame that these bytes complete. close() during a frame stops it.
   * @throws MalformedPeerBytes when the bytes are no frames, and whatever the handler throws; nothing is to be read after either
   */
  read(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length && !this.#isClosed) {
      const body = this.#body
      if (body !== undefined) {
        const count = Math.min(this.#bodyBytes - this.#bodyFilled, bytes.length - at)
        bytes.copy(body, this.#bodyFilled, at, at + count)
        this.#bodyFilled += count
        at += count
        if (this.#bodyFilled < this.#bodyBytes) return
        this.#complete(body, 0, this.#bodyBytes)
        continue
      }
      const wanted = Math.min(FRAME_HEADER_BYTES - this.#headFilled, bytes.length - at)
      bytes.copy(this.#head, this.#headFilled, at, at + wanted)
      this.#headFilled += wanted
      at += wanted
      if (this.#headFilled < FRAME_HEADER_BYTES) return
      const length = this.#head.readUInt32LE(0)
      if (length < MESSAGE_HEADER_BYTES || length > this.payloadBytesMax) {
        throw new MalformedPeerBytes(`a frame of ${length} bytes, allowed are up to ${this.payloadBytesMax}`)
      }
      if (bytes.length - at >= length) {
        this.#complete(bytes, at, at + length)
        at += length
      } else {
        this.#gather(length)
      }
    }
  }

  /** Gives back the memory of a frame that will not be complete. */
  close(): void {
    this.#isClosed = true
    if (!this.#isHandling) this.#giveBack()
  }

  #gather(length: number): void {
    this.#bodyBytes = length
    this.#bodyFilled = 0
    if (length <= SMALL_FRAME_BYTES) {
      this.#body = this.#small ??= Buffer.allocUnsafeSlow(SMALL_FRAME_BYTES)
      return
    }
    this.#memory = this.#allocate?.(length)
    this.#body = this.#memory?.bytes ?? Buffer.allocUnsafeSlow(length)
  }

  #complete(payload: Buffer, start: number, end: number): void {
    const head = this.#head
    this.#headFilled = 0
    const crc = crc32c(payload, start, end, crc32c(head, 8, FRAME_HEADER_BYTES, crc32c(head, 0, 4, 0)))
    const defections = head.readUInt32LE(8)
    this.#isHandling = true
    try {
      if (crc !== head.readUInt32LE(4)) throw new MalformedPeerBytes('a frame whose checksum is wrong')
      this.#handle(payload, start, end, defections)
    } finally {
      this.#isHandling = false
      this.#giveBack()
    }
  }

  #giveBack(): void {
    const memory = this.#memory
    this.#memory = undefined
    this.#body = undefined
    memory?.release()
  }
}
