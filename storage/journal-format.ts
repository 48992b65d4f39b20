// The bytes of the journal: block header and record header, as README.md, "Journal format", has them in tables.
//
// Pure functions over a DataView of the arena; used by the journal when it writes and by replay when it reads.

import { crc32c } from '../protocol/records/crc32c.ts'
import { getInt53, putInt53 } from './encoding.ts'

/** 'MRJ1' read as a little-endian number. */
export const BLOCK_MAGIC = 0x314a524d
export const FORMAT_VERSION = 1
export const BLOCK_HEADER_BYTES = 64
export const RECORD_HEADER_BYTES = 32
/** Records start at multiples of this many bytes from the start of their block. */
export const RECORD_ALIGNMENT = 8

/** What a record says. Numbers are on disk: never reused. */
export const RecordType = {
  /** Payload: one v2 record batch with offset and leader epoch stamped. index: of its first record. */
  BATCH: 1,
  /** Payload: the broker's bytes; takes one index, no offset. */
  ENTRY: 2,
  /** index: first one that is dropped. */
  TRUNCATE: 3,
  /** term: current term; index: votedFor. */
  HARD_STATE: 4,
  /** Payload: state record (state-record.ts). Creates the group when it is not known. */
  STATE: 5,
  /** The group is removed, its files may still be there. index: incarnation; payload: directory. */
  REMOVING: 6,
  /** The removed group's files are gone. index: incarnation. */
  REMOVED: 7,
  /** index: new logStartOffset. */
  TRIM: 8,
  /** Nothing follows: the shard was closed in order. */
  CLEAN_END: 9,
  /** Nothing: makes a round where one is needed. */
  NOTHING: 10,
} as const

/** The record repeats an earlier one whose file is about to be recycled. */
export const FLAG_CARRIED = 1

export interface BlockHeader {
  /** Bytes of the block in the file, a multiple of 4096. */
  blockBytes: number
  /** Bytes of header and records; the rest is padding. */
  usedBytes: number
  sequence: number
  /** Every block up to this sequence was on stable storage when this one was sent to disk. */
  durableThrough: number
  /** Replay starts at the file whose first block has this sequence. */
  replayFrom: number
  session: number
  recordCount: number
  /** headerCrc of the block before. */
  previousCrc: number
  bodyCrc: number
  headerCrc: number
}

export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

/** Writes a header, all but nothing: both CRCs are computed here. @returns the headerCrc */
export function writeBlockHeader(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  usedBytes: number,
  blockBytes: number,
  sequence: number,
  durableThrough: number,
  replayFrom: number,
  session: number,
  recordCount: number,
  previousCrc: number,
): number {
  view.setUint32(at, BLOCK_MAGIC, true)
  view.setUint16(at + 4, FORMAT_VERSION, true)
  view.setUint16(at + 6, BLOCK_HEADER_BYTES, true)
  view.setUint32(at + 8, blockBytes, true)
  view.setUint32(at + 12, usedBytes, true)
  putInt53(view, at + 16, sequence)
  putInt53(view, at + 24, durableThrough)
  putInt53(view, at + 32, replayFrom)
  view.setUint32(at + 40, session, true)
  view.setUint32(at + 44, recordCount, true)
  view.setUint32(at + 48, previousCrc, true)
  view.setUint32(at + 52, crc32c(bytes, at + BLOCK_HEADER_BYTES, at + usedBytes, 0), true)
  view.setUint32(at + 56, 0, true)
  const headerCrc = crc32c(bytes, at, at + BLOCK_HEADER_BYTES - 4, 0)
  view.setUint32(at + 60, headerCrc, true)
  return headerCrc
}

export type HeaderFault = 'no block' | 'newer format'

/** Reads and checks a block header; the body is not looked at. At least BLOCK_HEADER_BYTES must be there. */
export function readBlockHeader(view: DataView, bytes: Uint8Array, at: number): BlockHeader | HeaderFault {
  if (view.getUint32(at, true) !== BLOCK_MAGIC) return 'no block'
  const headerCrc = view.getUint32(at + 60, true)
  if (crc32c(bytes, at, at + BLOCK_HEADER_BYTES - 4, 0) !== headerCrc) return 'no block'
  if (view.getUint16(at + 4, true) !== FORMAT_VERSION) return 'newer format'
  return {
    blockBytes: view.getUint32(at + 8, true),
    usedBytes: view.getUint32(at + 12, true),
    sequence: getInt53(view, at + 16),
    durableThrough: getInt53(view, at + 24),
    replayFrom: getInt53(view, at + 32),
    session: view.getUint32(at + 40, true),
    recordCount: view.getUint32(at + 44, true),
    previousCrc: view.getUint32(at + 48, true),
    bodyCrc: view.getUint32(at + 52, true),
    headerCrc,
  }
}

export function bodyMatches(bytes: Uint8Array, at: number, header: BlockHeader): boolean {
  return crc32c(bytes, at + BLOCK_HEADER_BYTES, at + header.usedBytes, 0) === header.bodyCrc
}

/** Bytes a record takes in its block. */
export function recordBytes(payloadBytes: number): number {
  return alignUp(RECORD_HEADER_BYTES + payloadBytes, RECORD_ALIGNMENT)
}

/** @param commitIndex every entry of the group up to here was committed when the record was made */
export function writeRecordHeader(
  view: DataView,
  at: number,
  type: number,
  flags: number,
  kind: number,
  payloadBytes: number,
  groupId: number,
  term: number,
  index: number,
  commitIndex: number,
): void {
  view.setUint8(at, type)
  view.setUint8(at + 1, flags)
  view.setUint16(at + 2, kind, true)
  view.setUint32(at + 4, payloadBytes, true)
  view.setUint32(at + 8, groupId, true)
  view.setInt32(at + 12, term, true)
  putInt53(view, at + 16, index)
  putInt53(view, at + 24, commitIndex)
}

export interface RecordHeader {
  type: number
  flags: number
  kind: number
  payloadBytes: number
  groupId: number
  term: number
  index: number
  commitIndex: number
}

/** Fills `into`, so that replay makes no object per record. */
export function readRecordHeader(view: DataView, at: number, into: RecordHeader): void {
  into.type = view.getUint8(at)
  into.flags = view.getUint8(at + 1)
  into.kind = view.getUint16(at + 2, true)
  into.payloadBytes = view.getUint32(at + 4, true)
  into.groupId = view.getUint32(at + 8, true)
  into.term = view.getInt32(at + 12, true)
  into.index = getInt53(view, at + 16)
  into.commitIndex = getInt53(view, at + 24)
}
