// One connection between two shards: frames in both directions, counted, cut off at the first thing that makes no sense.
//
// Who is at the other end and what messages mean is for its listener, which changes when the introduction is over. Touched from the
// shard's thread only.

import type { FrameMemory } from '../net/connection.ts'
import type { StreamSocket, StreamSocketEvents } from '../net/stream-socket.ts'
import { type ChunkPool, FrameReader, FrameWriter, payloadBytesMax, type SealedFrame } from './frame.ts'
import { HANDSHAKE_BYTES_MAX } from './link-handshake.ts'
import { isNonsense, MalformedPeerBytes, MESSAGE_HEADER_BYTES, PeerReader, type PeerWriter } from './peer-wire.ts'

export interface ConnectionListener {
  /** Bytes came in, whatever they are. */
  touched?(): void
  /** A sound frame begins. */
  frame?(defections: number): void
  /** What isNonsense() cuts the connection, any other error passes through. */
  message(kind: number, reader: PeerReader): void
  /** Once, unless destroy() was called: undefined when the other side just closed. */
  ended(error: Error | undefined): void
  /** The socket has taken a frame. */
  taken?(): void
}

export interface ConnectionContext {
  readonly chunks: ChunkPool
  readonly allocateFrame: ((bytes: number) => FrameMemory | undefined) | undefined
  /** Something was begun on it that flush() must send. */
  dirty(connection: PeerConnection): void
}

export class PeerConnection implements StreamSocketEvents {
  readonly host: string
  isOpen = true
  listener: ConnectionListener
  sentBytes = 0
  sentFrames = 0
  receivedBytes = 0
  receivedFrames = 0
  readonly #socket: StreamSocket
  readonly #context: ConnectionContext
  readonly #writer: FrameWriter
  readonly #frames: FrameReader
  readonly #reader = new PeerReader(Buffer.alloc(0))
  #queuedBytes = 0
  #isDirty = false
  #closesWhenTaken = false

  constructor(socket: StreamSocket, context: ConnectionContext, listener: ConnectionListener) {
    this.#socket = socket
    this.#context = context
    this.host = socket.remoteHost
    this.listener = listener
    this.#writer = new FrameWriter(context.chunks, HANDSHAKE_BYTES_MAX, (frame) => this.#send(frame))
    this.#frames = new FrameReader(
      HANDSHAKE_BYTES_MAX,
      (payload, start, end, defections) => this.#frame(payload, start, end, defections),
      context.allocateFrame,
    )
  }

  open(): void {
    this.#socket.open(this)
  }

  /** The introduction is over. */
  establish(ownMessageBytesMax: number, peerMessageBytesMax: number): void {
    this.#frames.payloadBytesMax = payloadBytesMax(ownMessageBytesMax)
    this.#writer.messageBytesMax = Math.min(ownMessageBytesMax, peerMessageBytesMax)
  }

  /** Bytes that the socket has not taken, with the frame being filled. */
  get queuedBytes(): number {
    return this.#queuedBytes + this.#writer.pendingBytes
  }

  begin(kind: number): PeerWriter {
    if (!this.#isDirty) {
      this.#isDirty = true
      this.#context.dirty(this)
    }
    return this.#writer.begin(kind)
  }

  /** Frames from now on carry this number; what was gathered leaves with the one before. */
  raiseDefections(defections: number): void {
    if (this.isOpen) this.#writer.seal()
    this.#writer.defections = defections
  }

  /** Sends what was gathered. */
  flush(): void {
    this.#isDirty = false
    if (this.isOpen) this.#writer.seal()
  }

  /** Sends what was gathered, and closes when the socket has taken it. */
  flushAndClose(): void {
    this.#closesWhenTaken = true
    this.flush()
    if (this.#queuedBytes === 0) this.destroy()
  }

  /** Ends it without a word to the listener. */
  destroy(): void {
    if (!this.isOpen) return
    this.#end()
    this.#socket.destroy()
  }

  /** Ends it because of what the other side did. */
  cut(error: Error): void {
    if (!this.isOpen) return
    this.destroy()
    this.listener.ended(error)
  }

  read(bytes: Buffer): boolean {
    if (!this.isOpen) return false
    this.receivedBytes += bytes.length
    this.listener.touched?.()
    try {
      this.#frames.read(bytes)
    } catch (error) {
      if (!isNonsense(error)) throw error
      this.cut(error)
    }
    return this.isOpen
  }

  closed(error: Error | undefined): void {
    if (!this.isOpen) return
    this.#end()
    this.listener.ended(error)
  }

  #end(): void {
    this.isOpen = false
    this.#frames.close()
    this.#writer.abandon()
  }

  #send(frame: SealedFrame): void {
    this.#queuedBytes += frame.byteLength
    this.sentBytes += frame.byteLength
    this.sentFrames++
    this.#socket.write(frame.fragments, () => {
      this.#queuedBytes -= frame.byteLength
      frame.done()
      if (!this.isOpen) return
      if (this.#closesWhenTaken && this.#queuedBytes === 0) this.destroy()
      else this.listener.taken?.()
    })
  }

  #frame(payload: Buffer, start: number, end: number, defections: number): void {
    checkMessages(payload, start, end)
    this.receivedFrames++
    this.listener.frame?.(defections)
    for (let at = start; at < end && this.isOpen; ) {
      const bodyStart = at + MESSAGE_HEADER_BYTES
      const bodyEnd = bodyStart + payload.readUInt32LE(at + 4)
      this.listener.message(payload[at]!, this.#reader.open(payload, bodyStart, bodyEnd))
      at = bodyEnd
    }
  }
}

/** Nothing of a frame is handed out when its parts do not add up. */
function checkMessages(payload: Buffer, start: number, end: number): void {
  for (let at = start; at < end; ) {
    if (end - at < MESSAGE_HEADER_BYTES) throw new MalformedPeerBytes(`${end - at} bytes behind the last message`)
    // One byte of kind, three that are 0.
    const kind = payload.readUInt32LE(at)
    if (kind === 0 || kind > 0xff) throw new MalformedPeerBytes(`a message of kind ${kind}`)
    const length = payload.readUInt32LE(at + 4)
    at += MESSAGE_HEADER_BYTES
    if (length > end - at) throw new MalformedPeerBytes(`a message of ${length} bytes where ${end - at} are left`)
    at += length
  }
}
