// Raft messages between shards of two brokers, as bodies of PeerKind.RAFT: one message of one group each.
//
// Pure but for the views it hands on; shard thread. Another process wrote what is read here, so no length and no count is believed before
// it was compared, and a batch must be as long and take as many offsets as its entry says. That the bytes are those that were
// sent is the frame's business (CRC32C in frame.ts). Numbers little-endian, as peer-wire.ts writes them:
//
//   u8 kind, u8 flags, u32 group, u32 directory epoch of the sender, u32 of the receiver, u32 term, then by kind
//   APPEND           f64 prevIndex, u32 prevTerm, f64 commitIndex, u32 entry count, entries
//                    flag LOG_START: before these, f64 offset where the sender's log begins
//     an entry       u8 kind, u32 count, u32 term, u32 length, payload (a batch as the leader's journal holds it, a membership, ...);
//                    to a witness, a batch goes without its records
//   APPEND_REPLY     f64 index, f64 hintIndex, u32 hintTerm; flags REJECTED, REFUSES
//   HEARTBEAT        f64 commitIndex, f64 context; HEARTBEAT_REPLY the same
//   VOTE_REQUEST     f64 lastIndex, u32 lastTerm; flags PRE, TRANSFER.   VOTE_REPLY: flags PRE, GRANTED.   TIMEOUT_NOW: nothing
//   SNAPSHOT         see snapshots.ts
//   STEPPED_DOWN     nothing: the sender led in this term and does not any more
//   LEADS_END        nothing; group 0, epochs 0: whoever was not addressed since the link came up is not led by the sender
//   AGAIN            nothing: an append came when there was no room for it; flag REFUSES

import { BATCH_HEADER_BYTES, leaderEpochOf, magicOf, offsetSpanOf, sizeBytesOf } from '../../protocol/records/batch.ts'
import { directoryEpochOf } from '../cluster/raft-id.ts'
import { decodeMembership } from '../raft/membership.ts'
import { type AppendMessage, Entry, EntryKind, type Message, type NodeId, type Term } from '../raft/types.ts'
import { emptied } from './emptied.ts'
import { MalformedPeerBytes, type PeerReader, type PeerWriter } from './peer-wire.ts'
import type { ReceivedPayload } from './replica.ts'
import { NO_BYTES } from './snapshot-blob.ts'

export const RaftKind = {
  APPEND: 1,
  APPEND_REPLY: 2,
  HEARTBEAT: 3,
  HEARTBEAT_REPLY: 4,
  VOTE_REQUEST: 5,
  VOTE_REPLY: 6,
  TIMEOUT_NOW: 7,
  SNAPSHOT: 8,
  STEPPED_DOWN: 9,
  LEADS_END: 10,
  AGAIN: 11,
} as const

const REJECTED = 1
/** The sender takes no batches for now: its disk is short. */
export const REFUSES = 4
const LOG_START = 1
const PRE = 1
const TRANSFER = 2
const GRANTED = 2

const ENTRY_HEADER_BYTES = 13
/** Terms and counts are int32 where the journal and Kafka keep them. */
const INT32_MAX = 0x7fff_ffff
/** Smaller payloads are copied into the frame: a fragment of its own costs more than that. */
const ATTACH_BYTES_MIN = 1024

/** What every message begins with. One object serves all: read it before the next header is. */
export class RaftHeader {
  kind = 0
  flags = 0
  groupId = 0
  fromEpoch = 0
  toEpoch = 0
  term = 0
  /** Of an append, once readMessage() has read it: where the leader's log begins, as an offset. */
  logStartOffset = 0

  read(reader: PeerReader): this {
    this.kind = reader.u8()
    this.flags = reader.u8()
    this.groupId = reader.u32()
    this.fromEpoch = reader.u32()
    this.toEpoch = reader.u32()
    this.term = int32(reader)
    return this
  }
}

export function writeHeader(
  writer: PeerWriter,
  kind: number,
  flags: number,
  groupId: number,
  from: NodeId,
  to: NodeId,
  term: Term,
): PeerWriter {
  return writer.u8(kind).u8(flags).u32(groupId).u32(directoryEpochOf(from)).u32(directoryEpochOf(to)).u32(term)
}

/** The payloads of an append, one per entry, and who keeps their memory. */
export interface Payloads {
  readonly views: readonly Uint8Array[]
  /** Holds the views once more; each call is followed by one call of `release`. */
  retain(): void
  readonly release: () => void
}

export const NO_PAYLOADS: Payloads = { views: [], retain: () => {}, release: () => {} }

/**
 * All messages but snapshots, which travel in parts.
 * @param logStartOffset of the leader, for appends
 * @param withoutRecords the receiver is a witness
 */
export function writeMessage(
  writer: PeerWriter,
  groupId: number,
  from: NodeId,
  to: NodeId,
  message: Exclude<Message, { type: 'snapshot' }>,
  payloads: Payloads,
  refuses = false,
  logStartOffset = 0,
  withoutRecords = false,
): void {
  const { term } = message
  switch (message.type) {
    case 'append':
      writeHeader(writer, RaftKind.APPEND, logStartOffset > 0 ? LOG_START : 0, groupId, from, to, term)
      if (logStartOffset > 0) writer.f64(logStartOffset)
      writeAppend(writer, message, payloads, withoutRecords)
      return
    case 'append-reply': {
      const flags = (message.rejected ? REJECTED : 0) | (refuses ? REFUSES : 0)
      writeHeader(writer, RaftKind.APPEND_REPLY, flags, groupId, from, to, term)
      writer.f64(message.index).f64(message.hintIndex).u32(message.hintTerm)
      return
    }
    case 'heartbeat':
      writeHeader(writer, RaftKind.HEARTBEAT, 0, groupId, from, to, term)
      writer.f64(message.commitIndex).f64(message.context)
      return
    case 'heartbeat-reply':
      writeHeader(writer, RaftKind.HEARTBEAT_REPLY, 0, groupId, from, to, term)
      writer.f64(message.commitIndex).f64(message.context)
      return
    case 'vote-request': {
      const flags = (message.pre ? PRE : 0) | (message.transfer ? TRANSFER : 0)
      writeHeader(writer, RaftKind.VOTE_REQUEST, flags, groupId, from, to, term)
      writer.f64(message.lastIndex).u32(message.lastTerm)
      return
    }
    case 'vote-reply': {
      const flags = (message.pre ? PRE : 0) | (message.granted ? GRANTED : 0)
      writeHeader(writer, RaftKind.VOTE_REPLY, flags, groupId, from, to, term)
      return
    }
    case 'timeout-now':
      writeHeader(writer, RaftKind.TIMEOUT_NOW, 0, groupId, from, to, term)
      return
  }
}

function writeAppend(writer: PeerWriter, message: AppendMessage, payloads: Payloads, withoutRecords: boolean): void {
  const { entries, prevIndex, prevTerm, commitIndex } = message
  writer.f64(prevIndex).u32(prevTerm).f64(commitIndex).u32(entries.length)
  for (let at = 0; at < entries.length; at++) {
    const { kind, count, term } = entries[at]!
    const held = payloads.views[at]!
    const view = withoutRecords && kind === EntryKind.Batch ? emptied(held) : held
    writer.u8(kind).u32(count).u32(term).u32(view.length)
    if (view.length < ATTACH_BYTES_MIN) {
      if (view.length > 0) writer.bytes(view)
    } else {
      payloads.retain()
      writer.attach(view, payloads.release)
    }
  }
}

/**
 * What follows a header.
 * @returns payloads as views of the frame, valid as long as the message; undefined when the kind is none of these
 * @throws MalformedPeerBytes or MalformedFrame
 */
export function readMessage(header: RaftHeader, reader: PeerReader): Message | undefined {
  const { flags, term } = header
  switch (header.kind) {
    case RaftKind.APPEND:
      header.logStartOffset = (flags & LOG_START) !== 0 ? index(reader) : 0
      return readAppend(term, reader)
    case RaftKind.APPEND_REPLY: {
      const index = reader.integer()
      const hintIndex = reader.integer()
      const rejected = (flags & REJECTED) !== 0
      return { type: 'append-reply', term, rejected, index, hintIndex, hintTerm: int32(reader) }
    }
    case RaftKind.HEARTBEAT:
      return { type: 'heartbeat', term, commitIndex: index(reader), context: index(reader) }
    case RaftKind.HEARTBEAT_REPLY:
      return { type: 'heartbeat-reply', term, commitIndex: index(reader), context: index(reader) }
    case RaftKind.VOTE_REQUEST: {
      const [pre, transfer] = [(flags & PRE) !== 0, (flags & TRANSFER) !== 0]
      return { type: 'vote-request', term, lastIndex: index(reader), lastTerm: int32(reader), pre, transfer }
    }
    case RaftKind.VOTE_REPLY:
      return { type: 'vote-reply', term, pre: (flags & PRE) !== 0, granted: (flags & GRANTED) !== 0 }
    case RaftKind.TIMEOUT_NOW:
      return { type: 'timeout-now', term }
    default:
      return undefined
  }
}

function readAppend(term: Term, reader: PeerReader): AppendMessage {
  const prevIndex = index(reader)
  const prevTerm = int32(reader)
  const commitIndex = index(reader)
  const count = reader.u32()
  if (count * ENTRY_HEADER_BYTES > reader.left) throw new MalformedPeerBytes(`${count} entries in ${reader.left} bytes`)
  const entries: Entry[] = []
  let next = prevIndex + 1
  let lastTerm = prevTerm
  for (let at = 0; at < count; at++) {
    const entry = readEntry(next, reader)
    if (entry.term < lastTerm || entry.term > term) {
      throw new MalformedPeerBytes(`an entry of term ${entry.term} after ${lastTerm} from a leader of ${term}`)
    }
    lastTerm = entry.term
    next += entry.count
    entries.push(entry)
  }
  if (!Number.isSafeInteger(next)) throw new MalformedPeerBytes('indexes beyond 2^53')
  return { type: 'append', term, prevIndex, prevTerm, commitIndex, entries }
}

function readEntry(at: number, reader: PeerReader): Entry {
  const kind = reader.u8() as EntryKind
  const count = int32(reader)
  const term = int32(reader)
  const length = reader.u32()
  const bytes = reader.bytes(length)
  if (count !== 1 && (kind !== EntryKind.Batch || count < 1))
    throw new MalformedPeerBytes(`an entry of ${count} indexes`)
  switch (kind) {
    case EntryKind.Batch: {
      const isBatch =
        length >= BATCH_HEADER_BYTES &&
        sizeBytesOf(bytes, 0) === length &&
        magicOf(bytes, 0) === 2 &&
        offsetSpanOf(bytes, 0) === count &&
        leaderEpochOf(bytes, 0) === term
      if (!isBatch) throw new MalformedPeerBytes('an entry whose batch is another')
      const payload: ReceivedPayload = { bytes }
      return new Entry(at, term, count, kind, length, payload)
    }
    case EntryKind.LeaderChange:
      if (length > 0) throw new MalformedPeerBytes('a leader change with a payload')
      return new Entry(at, term, 1, kind, 0, undefined)
    case EntryKind.Command: {
      const payload: ReceivedPayload = { bytes }
      return new Entry(at, term, 1, kind, length, payload)
    }
    case EntryKind.Membership:
      return new Entry(at, term, 1, kind, length, decodeMembership(bytes))
    default:
      throw new MalformedPeerBytes(`an entry of unknown kind ${kind}`)
  }
}

/** The bytes of a received entry; they are gone once the journal has them. */
export function takePayload(entry: Entry): Uint8Array {
  const payload = entry.ref as ReceivedPayload | undefined
  if (payload === undefined) return NO_BYTES
  const { bytes } = payload
  // The entry stays in memory until it is committed, and would keep the frame.
  payload.bytes = NO_BYTES
  return bytes
}

function int32(reader: PeerReader): number {
  const value = reader.u32()
  if (value > INT32_MAX) throw new MalformedPeerBytes(`${value} where an int32 belongs`)
  return value
}

function index(reader: PeerReader): number {
  const value = reader.integer()
  if (value < 0) throw new MalformedPeerBytes(`index ${value}`)
  return value
}
