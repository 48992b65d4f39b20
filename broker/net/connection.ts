// One client connection: bytes in, frames out to the dispatcher, answers back in the order of the requests.
//
// Lives on one shard and is touched only from its thread. Requests of a connection are worked on concurrently; a Reply keeps the
// place of its request, and what is ready is written as soon as everything before it is. Reading stops while the client
// leaves its answers unread, while too many requests are open, or while the shard has no room.

import type { StreamSocket, StreamSocketEvents } from './stream-socket.ts'

/** The memory a frame lies in, when it had to be gathered from several reads. Sizes are known and checked beforehand. */
export interface FrameMemory {
  readonly bytes: Buffer
  /** Position in the shard's arena, so that other shards can read it; -1 when the bytes lie elsewhere. */
  readonly arenaAt: number
  /** Keeps the memory beyond the call; each retain() needs a release(). */
  retain(): void
  release(): void
}

export interface ConnectionHost {
  readonly maxFrameBytes: number
  /**
   * A complete frame, without its length prefix. The bytes are valid during the call only, unless `memory` is given and retained.
   * Throwing closes the connection.
   */
  serve(connection: Connection, frame: Buffer, memory: FrameMemory | undefined): void
  /** Room for a frame of so many bytes; undefined when there is none now: the connection stops reading and asks again. */
  allocateFrame(bytes: number): FrameMemory | undefined
  /** Calls back once when there may be room again. */
  onRoom(call: () => void): void
  /** The shard takes no new requests now (a full mailbox, a full journal). */
  congested(): boolean
  closed(connection: Connection): void
  refused(connection: Connection, reason: string): void
}

/** What goes on only as long as somebody may take the answer. */
export interface ConnectionWaiter {
  /** The connection is gone. Called at most once, and not after the waiter was taken back. */
  connectionEnded(): void
}

/** A client may have this many requests open before the broker stops reading from it. */
const OPEN_REPLIES_MAX = 512
/** Unsent answer bytes of one connection at which the broker stops reading from it. */
const UNSENT_BYTES_MAX = 1 << 20
/**
 * Bytes of open requests that their handlers keep, at which the broker stops reading: they lie on the heap, and no budget counts them. What
 * clients send of these is a hundredth of it; a single request may be as large as a frame.
 */
const OPEN_BYTES_MAX = 4 << 20

const NOTHING: readonly Uint8Array[] = []

/** The place of one answer in its connection's order. */
export class Reply {
  readonly #connection: Connection
  /** That the request keeps until it is answered. */
  readonly heldBytes: number
  fragments: readonly Uint8Array[] | undefined = undefined
  release: (() => void) | undefined = undefined

  constructor(connection: Connection, heldBytes: number) {
    this.#connection = connection
    this.heldBytes = heldBytes
  }

  /**
   * @param fragments the whole frame with its length prefix; unchanged until `release`
   * @param release called once, when the bytes were written or the connection is gone
   */
  send(fragments: readonly Uint8Array[], release: (() => void) | undefined): void {
    this.fragments = fragments
    this.release = release
    this.#connection.replied()
  }

  /** The request has no answer (acks=0). */
  skip(): void {
    this.fragments = NOTHING
    this.#connection.replied()
  }

  close(reason: string): void {
    this.#connection.refuse(reason)
  }
}

export class Connection implements StreamSocketEvents {
  readonly id: number
  readonly listenerName: string
  readonly clientHost: string
  /** Of the last request or answer: connections without traffic are closed after connections.max.idle.ms. */
  activeMs: number
  clientId: string | null = null
  isClosed = false
  readonly #socket: StreamSocket
  readonly #host: ConnectionHost
  readonly #replies: Reply[] = []
  #repliesAt = 0
  /** Of the open requests. */
  #openBytes = 0
  #takenBytes = 0
  #takenMs: number
  #stopped = false
  #waitsForRoom = false
  // A frame that is still coming in: its length prefix, then its bytes.
  readonly #prefix: Buffer = Buffer.alloc(4)
  #prefixBytes = 0
  #frame: FrameMemory | undefined = undefined
  #frameBytes = 0
  #frameFilled = 0
  // Bytes already read that are not served yet, a copy: at most one read buffer.
  #held: Buffer | undefined = undefined
  #isConsuming = false
  #waiters: Set<ConnectionWaiter> | undefined = undefined

  constructor(id: number, socket: StreamSocket, host: ConnectionHost, listenerName: string, nowMs: number) {
    this.id = id
    this.#socket = socket
    this.#host = host
    this.listenerName = listenerName
    this.clientHost = `/${socket.remoteHost}`
    this.activeMs = nowMs
    this.#takenMs = nowMs
  }

  /** Whether part of a frame has come in and the rest has not. */
  get isMidFrame(): boolean {
    return this.#prefixBytes > 0 || this.#frame !== undefined
  }

  get openReplies(): number {
    return this.#replies.length - this.#repliesAt
  }

  /** For how long the client has taken nothing of the answers that wait for it; 0 when none wait. To be asked regularly. */
  unreadForMs(nowMs: number): number {
    const { bufferedBytes, takenBytes } = this.#socket
    if (bufferedBytes === 0 || takenBytes !== this.#takenBytes) {
      this.#takenBytes = takenBytes
      this.#takenMs = nowMs
    }
    return nowMs - this.#takenMs
  }

  get unsentBytes(): number {
    return this.#socket.bufferedBytes
  }

  start(): void {
    this.#socket.open(this)
  }

  /** Until endWait() the waiter hears of the end of this connection. */
  beginWait(waiter: ConnectionWaiter): void {
    this.#waiters ??= new Set()
    this.#waiters.add(waiter)
  }

  endWait(waiter: ConnectionWaiter): void {
    this.#waiters?.delete(waiter)
  }

  /** @param heldBytes of the request, as long as it is not answered */
  begin(heldBytes = 0): Reply {
    const reply = new Reply(this, heldBytes)
    this.#openBytes += heldBytes
    this.#replies.push(reply)
    return reply
  }

  read(bytes: Buffer): boolean {
    if (this.isClosed) return false
    this.#consume(bytes, false)
    return this.#mayRead()
  }

  closed(_error: Error | undefined): void {
    if (!this.isClosed) this.#close()
  }

  /** Closes without an answer, as Kafka does with what it cannot understand, and says why in the log. */
  refuse(reason: string): void {
    if (this.isClosed) return
    this.#host.refused(this, reason)
    this.destroy()
  }

  destroy(): void {
    if (this.isClosed) return
    this.#close()
    this.#socket.destroy()
  }

  replied(): void {
    if (this.isClosed) {
      this.#drop()
      return
    }
    while (this.#repliesAt < this.#replies.length) {
      const reply = this.#replies[this.#repliesAt]!
      const fragments = reply.fragments
      if (fragments === undefined) break
      this.#repliesAt++
      this.#openBytes -= reply.heldBytes
      if (fragments.length === 0) reply.release?.()
      else this.#socket.write(fragments, reply.release === undefined ? this.#written : this.#writtenThen(reply.release))
    }
    if (this.#repliesAt === this.#replies.length) {
      this.#replies.length = 0
      this.#repliesAt = 0
    } else if (this.#repliesAt > 64) {
      this.#replies.splice(0, this.#repliesAt)
      this.#repliesAt = 0
    }
    if (this.#stopped) this.#tryResume()
  }

  /** Reads on when what made it stop is over. */
  #tryResume(): void {
    // An answer that is made at once comes back here out of what is being consumed, which may leave a rest to go first.
    if (this.isClosed || !this.#stopped || this.#isConsuming) return
    if (this.#held !== undefined && !this.#hasTooMuchOpen) {
      const held = this.#held
      this.#held = undefined
      this.#consume(held, true)
    }
    if (!this.isClosed && this.#mayRead()) {
      this.#stopped = false
      this.#socket.resume()
    }
  }

  #mayRead(): boolean {
    if (this.isClosed) return false
    if (this.#held !== undefined || this.#hasTooMuchOpen || this.#isCongested()) {
      this.#stopped = true
      return false
    }
    return true
  }

  get #hasTooMuchOpen(): boolean {
    return (
      this.openReplies >= OPEN_REPLIES_MAX ||
      this.#openBytes > OPEN_BYTES_MAX ||
      this.#socket.bufferedBytes > UNSENT_BYTES_MAX
    )
  }

  #isCongested(): boolean {
    if (!this.#host.congested()) return false
    this.#waitForRoom()
    return true
  }

  #waitForRoom(): void {
    if (this.#waitsForRoom) return
    this.#waitsForRoom = true
    this.#host.onRoom(() => {
      this.#waitsForRoom = false
      this.#tryResume()
    })
  }

  /** @param isOwn the bytes stay as they are */
  #consume(bytes: Buffer, isOwn: boolean): void {
    this.#isConsuming = true
    try {
      this.#consumeFrames(bytes, isOwn)
    } finally {
      this.#isConsuming = false
    }
  }

  #consumeFrames(bytes: Buffer, isOwn: boolean): void {
    let at = 0
    let served = 0
    while (at < bytes.length) {
      // After each frame, as one read may bring thousands of small ones.
      if (served > 0 && this.#hasTooMuchOpen) {
        this.#held = isOwn ? bytes.subarray(at) : Buffer.from(bytes.subarray(at))
        this.#stopped = true
        return
      }
      if (this.#frame !== undefined) {
        const count = Math.min(this.#frameBytes - this.#frameFilled, bytes.length - at)
        bytes.copy(this.#frame.bytes, this.#frameFilled, at, at + count)
        this.#frameFilled += count
        at += count
        if (this.#frameFilled < this.#frameBytes) return
        const memory = this.#frame
        this.#frame = undefined
        served++
        try {
          if (!this.#serve(memory.bytes.subarray(0, this.#frameBytes), memory)) return
        } finally {
          memory.release()
        }
        continue
      }
      let length: number
      if (this.#prefixBytes === 0 && bytes.length - at >= 4) {
        length = bytes.readInt32BE(at)
        at += 4
      } else {
        const count = Math.min(4 - this.#prefixBytes, bytes.length - at)
        bytes.copy(this.#prefix, this.#prefixBytes, at, at + count)
        this.#prefixBytes += count
        at += count
        if (this.#prefixBytes < 4) return
        length = this.#prefix.readInt32BE(0)
      }
      this.#prefixBytes = 0
      if (length <= 0 || length > this.#host.maxFrameBytes) {
        this.refuse(`frame of ${length} bytes, allowed are 1 to ${this.#host.maxFrameBytes} (socket.request.max.bytes)`)
        return
      }
      if (bytes.length - at >= length) {
        const frame = bytes.subarray(at, at + length)
        at += length
        served++
        if (!this.#serve(frame, undefined)) return
        continue
      }
      const memory = this.#host.allocateFrame(length)
      if (memory === undefined) {
        // The prefix is read again when there is room.
        this.#prefix.writeInt32BE(length, 0)
        this.#prefixBytes = 4
        this.#holdFrom(bytes, at)
        return
      }
      this.#frame = memory
      this.#frameBytes = length
      this.#frameFilled = 0
    }
  }

  #holdFrom(bytes: Buffer, at: number): void {
    const prefix = this.#prefix
    this.#prefixBytes = 0
    this.#held = Buffer.concat([prefix, bytes.subarray(at)])
    this.#waitForRoom()
  }

  #serve(frame: Buffer, memory: FrameMemory | undefined): boolean {
    try {
      this.#host.serve(this, frame, memory)
    } catch (error) {
      if (error instanceof Error && error.name === 'InvariantViolation') throw error
      this.refuse(error instanceof Error ? error.message : String(error))
    }
    return !this.isClosed
  }

  readonly #written = (): void => {
    if (this.#stopped) this.#tryResume()
  }

  #writtenThen(release: () => void): () => void {
    return () => {
      release()
      this.#written()
    }
  }

  /** Gives back what the answers that can no longer be sent hold. */
  #drop(): void {
    for (let at = this.#repliesAt; at < this.#replies.length; at++) {
      const reply = this.#replies[at]!
      const release = reply.release
      reply.release = undefined
      release?.()
    }
  }

  #close(): void {
    this.isClosed = true
    this.#frame?.release()
    this.#frame = undefined
    this.#held = undefined
    this.#drop()
    this.#host.closed(this)
    const waiters = this.#waiters
    this.#waiters = undefined
    if (waiters !== undefined) for (const waiter of waiters) waiter.connectionEnded()
  }
}
