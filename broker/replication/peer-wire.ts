// The messages that brokers send each other, as bytes in a frame: a header of eight bytes, then a body that the kind defines.
//
// Header: u8 kind, three bytes 0, u32 length of the body. All numbers are little-endian; offsets, indexes and times are doubles, exact
// up to 2^53. Another process wrote what a PeerReader reads, so it believes no length before it has compared it.

import { MalformedFrame } from '../../protocol/reader.ts'
import { MalformedMembership } from '../raft/membership.ts'

/** What a message is. The numbers are part of the protocol: a new meaning takes a new number. */
export const PeerKind = {
  /** Raft messages of many groups. */
  RAFT: 1,
  /** A request of some API for a shard of another broker, and its answer. */
  ASK: 2,
  ANSWER: 3,
  /** Partitions led there, with epochs and in-sync replicas. */
  LEADERS: 4,
  /** How far a broker has applied the metadata. */
  METADATA_APPLIED: 5,
} as const

/** From here on kinds belong to the links themselves. */
export const LINK_KINDS_START = 240

export const MESSAGE_HEADER_BYTES = 8

/** What came makes no sense: the connection is cut. */
export class MalformedPeerBytes extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MalformedPeerBytes'
  }
}

/**
 * Whether an error says that a peer's bytes make no sense, which costs the peer its connection. Everything else that is thrown while a message is
 * dealt with is ours, or the operator's, and must stop the broker: state may have been changed by half.
 */
export function isNonsense(error: unknown): error is Error {
  return error instanceof MalformedPeerBytes || error instanceof MalformedFrame || error instanceof MalformedMembership
}

/** Fills one message; end() closes it. Every method but end() and cancel() returns the writer itself. */
export interface PeerWriter {
  u8(value: number): PeerWriter
  i32(value: number): PeerWriter
  u32(value: number): PeerWriter
  f64(value: number): PeerWriter
  /** Length and UTF-8; null is told from the empty string. */
  text(value: string | null): PeerWriter
  /** A copy of these bytes, without their length. */
  bytes(value: Uint8Array): PeerWriter
  /**
   * These bytes by reference, without their length: unchanged until `release`. All releases of a frame come together, once, when the
   * socket has taken the frame or the connection has ended; also when the message is cancelled, then at once.
   */
  attach(view: Uint8Array, release?: () => void): PeerWriter
  /** Bytes of the body so far. */
  readonly length: number
  /** @returns false when the message is lost at once: larger than the peer takes, or the link has just gone down */
  end(): boolean
  /** Takes the message back. */
  cancel(): void
}

/** A view of one message's body; @throws MalformedPeerBytes from every method when the body ends too early. */
export class PeerReader {
  #buffer: Buffer
  #at: number
  #end: number

  constructor(buffer: Buffer, start = 0, end = buffer.length) {
    this.#buffer = buffer
    this.#at = start
    this.#end = end
  }

  /** Reads something else from now on. */
  open(buffer: Buffer, start: number, end: number): this {
    this.#buffer = buffer
    this.#at = start
    this.#end = end
    return this
  }

  /** Bytes left. */
  get left(): number {
    return this.#end - this.#at
  }

  get hasMore(): boolean {
    return this.#at < this.#end
  }

  #take(count: number): number {
    const at = this.#at
    if (count > this.#end - at) throw new MalformedPeerBytes(`${count} bytes wanted where ${this.#end - at} are left`)
    this.#at = at + count
    return at
  }

  u8(): number {
    return this.#buffer[this.#take(1)]!
  }

  i32(): number {
    return this.#buffer.readInt32LE(this.#take(4))
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4))
  }

  f64(): number {
    return this.#buffer.readDoubleLE(this.#take(8))
  }

  /** An integer of -2^53 to 2^53 that travels as a double: nothing else is let through. */
  integer(): number {
    const value = this.f64()
    if (!Number.isSafeInteger(value)) throw new MalformedPeerBytes(`${value} where an integer belongs`)
    return value
  }

  text(): string | null {
    const length = this.i32()
    if (length === -1) return null
    if (length < 0) throw new MalformedPeerBytes(`a text of ${length} bytes`)
    const at = this.#take(length)
    return this.#buffer.toString('utf8', at, at + length)
  }

  /** A view, valid as long as the message. */
  bytes(count: number): Buffer {
    if (count < 0) throw new MalformedPeerBytes(`${count} bytes wanted`)
    const at = this.#take(count)
    return this.#buffer.subarray(at, at + count)
  }

  /** A view of what is left, valid as long as the message. */
  rest(): Buffer {
    return this.bytes(this.#end - this.#at)
  }
}
