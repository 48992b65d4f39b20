// The header of a record batch (magic 2) as a view: fields are read from the bytes where they lie, nothing is decoded.
//
// Pure functions over (bytes, at), used by every shard on the produce, replication and fetch path and by tools. `bytes` may
// lie in an ArrayBuffer or a SharedArrayBuffer, at any alignment. Nothing here checks bounds for the caller: look with
// completeBatchBytes() or batchDefect() before reading fields of bytes that came from outside.
// Layout: Kafka protocol guide, "Record Batch".

import { crc32c } from './crc32c.ts'

// Field positions from the first byte of the batch.
export const BASE_OFFSET_AT = 0
export const BATCH_LENGTH_AT = 8
export const LEADER_EPOCH_AT = 12
export const MAGIC_AT = 16
export const CRC_AT = 17
export const ATTRIBUTES_AT = 21
export const LAST_OFFSET_DELTA_AT = 23
export const BASE_TIMESTAMP_AT = 27
export const MAX_TIMESTAMP_AT = 35
export const PRODUCER_ID_AT = 43
export const PRODUCER_EPOCH_AT = 51
export const BASE_SEQUENCE_AT = 53
export const RECORD_COUNT_AT = 57
/** Where the records begin; also the size of a batch without any. */
export const BATCH_HEADER_BYTES = 61
/** The base offset and length fields, which the length field does not count. */
export const LENGTH_OVERHEAD_BYTES = 12
/** As far as one must see to know length and magic: less than this is no batch at all. */
export const MAGIC_END_BYTES = 17

export const COMPRESSION_MASK = 0x07
export const LOG_APPEND_TIME_BIT = 0x08
export const TRANSACTIONAL_BIT = 0x10
export const CONTROL_BIT = 0x20

export const NO_TIMESTAMP = -1
export const NO_PRODUCER_ID = -1
export const NO_PRODUCER_EPOCH = -1
export const NO_SEQUENCE = -1

const TWO_32 = 0x1_0000_0000

function int16(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16)) >> 16
}

function int32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}

/** Exact up to 2^53; beyond, the nearest double, which only hostile input has. */
function int64(bytes: Uint8Array, at: number): number {
  return int32(bytes, at) * TWO_32 + (int32(bytes, at + 4) >>> 0)
}

function putInt16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

function putInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

function putInt64(bytes: Uint8Array, at: number, value: number): void {
  putInt32(bytes, at, Math.floor(value / TWO_32))
  putInt32(bytes, at + 4, value)
}

export function baseOffsetOf(bytes: Uint8Array, at: number): number {
  return int64(bytes, at + BASE_OFFSET_AT)
}

/** The length field: bytes after it, so 12 less than the batch. Signed, as hostile input may have it. */
export function batchLengthOf(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + BATCH_LENGTH_AT)
}

/** Bytes of the whole batch, header included. */
export function sizeBytesOf(bytes: Uint8Array, at: number): number {
  return LENGTH_OVERHEAD_BYTES + int32(bytes, at + BATCH_LENGTH_AT)
}

export function leaderEpochOf(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + LEADER_EPOCH_AT)
}

/** Signed, as Kafka reads it. */
export function magicOf(bytes: Uint8Array, at: number): number {
  return (bytes[at + MAGIC_AT]! << 24) >> 24
}

/** Unsigned 32-bit. */
export function crcOf(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + CRC_AT) >>> 0
}

export function attributesOf(bytes: Uint8Array, at: number): number {
  return int16(bytes, at + ATTRIBUTES_AT)
}

/** Codec id 0 to 7, of which 0 to 4 exist: see compression.ts. */
export function compressionOf(bytes: Uint8Array, at: number): number {
  return bytes[at + ATTRIBUTES_AT + 1]! & COMPRESSION_MASK
}

export function hasLogAppendTime(bytes: Uint8Array, at: number): boolean {
  return (bytes[at + ATTRIBUTES_AT + 1]! & LOG_APPEND_TIME_BIT) !== 0
}

export function isTransactional(bytes: Uint8Array, at: number): boolean {
  return (bytes[at + ATTRIBUTES_AT + 1]! & TRANSACTIONAL_BIT) !== 0
}

export function isControl(bytes: Uint8Array, at: number): boolean {
  return (bytes[at + ATTRIBUTES_AT + 1]! & CONTROL_BIT) !== 0
}

export function lastOffsetDeltaOf(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + LAST_OFFSET_DELTA_AT)
}

/** Offset of the last record (inclusive). */
export function lastOffsetOf(bytes: Uint8Array, at: number): number {
  return baseOffsetOf(bytes, at) + lastOffsetDeltaOf(bytes, at)
}

/** Offset after the last record (exclusive end). */
export function nextOffsetOf(bytes: Uint8Array, at: number): number {
  return lastOffsetOf(bytes, at) + 1
}

/** Offsets the batch takes, which is the Raft indexes it takes too. */
export function offsetSpanOf(bytes: Uint8Array, at: number): number {
  return lastOffsetDeltaOf(bytes, at) + 1
}

/** Milliseconds since 1970 of the first record, or -1: what timestamp deltas count from, not the smallest one. */
export function baseTimestampOf(bytes: Uint8Array, at: number): number {
  return int64(bytes, at + BASE_TIMESTAMP_AT)
}

/** Largest timestamp of the batch in milliseconds since 1970, or -1. With LogAppendTime: the time of every record. */
export function maxTimestampOf(bytes: Uint8Array, at: number): number {
  return int64(bytes, at + MAX_TIMESTAMP_AT)
}

export function producerIdOf(bytes: Uint8Array, at: number): number {
  return int64(bytes, at + PRODUCER_ID_AT)
}

export function producerEpochOf(bytes: Uint8Array, at: number): number {
  return int16(bytes, at + PRODUCER_EPOCH_AT)
}

export function baseSequenceOf(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + BASE_SEQUENCE_AT)
}

/** Sequence of the last record; after 2147483647 comes 0. -1 without sequences. */
export function lastSequenceOf(bytes: Uint8Array, at: number): number {
  const baseSequence = baseSequenceOf(bytes, at)
  return baseSequence < 0 ? NO_SEQUENCE : addToSequence(baseSequence, lastOffsetDeltaOf(bytes, at))
}

export function recordCountOf(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + RECORD_COUNT_AT)
}

/** Sequences count from 0 to 2147483647 and start again at 0. */
export function addToSequence(sequence: number, increment: number): number {
  return (sequence + increment) % 0x8000_0000
}

/**
 * Writes what the broker decides about a batch: where it lies and under which leader. Both are outside the CRC.
 * @param leaderEpoch the partition's Raft term
 */
export function stampBatch(bytes: Uint8Array, at: number, baseOffset: number, leaderEpoch: number): void {
  putInt64(bytes, at + BASE_OFFSET_AT, baseOffset)
  putInt32(bytes, at + LEADER_EPOCH_AT, leaderEpoch)
}

/** Gives all records the broker's time: attribute bit 3 and the max timestamp; the CRC is made anew. */
export function stampLogAppendTime(bytes: Uint8Array, at: number, timeMs: number): void {
  putInt16(bytes, at + ATTRIBUTES_AT, attributesOf(bytes, at) | LOG_APPEND_TIME_BIT)
  putInt64(bytes, at + MAX_TIMESTAMP_AT, timeMs)
  stampCrc(bytes, at)
}

/** Says that timestamps are the producer's, with this largest one; the CRC is made anew. */
export function stampCreateTime(bytes: Uint8Array, at: number, maxTimestamp: number): void {
  putInt16(bytes, at + ATTRIBUTES_AT, attributesOf(bytes, at) & ~LOG_APPEND_TIME_BIT)
  putInt64(bytes, at + MAX_TIMESTAMP_AT, maxTimestamp)
  stampCrc(bytes, at)
}

/** Writes the CRC of everything from the attributes on. The length field must be right. */
export function stampCrc(bytes: Uint8Array, at: number): void {
  putInt32(bytes, at + CRC_AT, computeCrc(bytes, at))
}

function computeCrc(bytes: Uint8Array, at: number): number {
  return crc32c(bytes, at + ATTRIBUTES_AT, at + sizeBytesOf(bytes, at), 0)
}

/** Whether the stored CRC fits the bytes. The whole batch must be there: see completeBatchBytes(). */
export function crcMatches(bytes: Uint8Array, at: number): boolean {
  return computeCrc(bytes, at) === crcOf(bytes, at)
}

export interface BatchHeader {
  baseOffset: number
  /** Bytes of the records, as stored. */
  payloadBytes: number
  leaderEpoch: number
  attributes: number
  lastOffsetDelta: number
  baseTimestamp: number
  maxTimestamp: number
  producerId: number
  producerEpoch: number
  baseSequence: number
  recordCount: number
}

/** Writes the 61 bytes before the records, all but the CRC: call stampCrc() when the records are in place. */
export function writeBatchHeader(bytes: Uint8Array, at: number, header: BatchHeader): void {
  putInt64(bytes, at + BASE_OFFSET_AT, header.baseOffset)
  putInt32(bytes, at + BATCH_LENGTH_AT, BATCH_HEADER_BYTES - LENGTH_OVERHEAD_BYTES + header.payloadBytes)
  putInt32(bytes, at + LEADER_EPOCH_AT, header.leaderEpoch)
  bytes[at + MAGIC_AT] = 2
  putInt32(bytes, at + CRC_AT, 0)
  putInt16(bytes, at + ATTRIBUTES_AT, header.attributes)
  putInt32(bytes, at + LAST_OFFSET_DELTA_AT, header.lastOffsetDelta)
  putInt64(bytes, at + BASE_TIMESTAMP_AT, header.baseTimestamp)
  putInt64(bytes, at + MAX_TIMESTAMP_AT, header.maxTimestamp)
  putInt64(bytes, at + PRODUCER_ID_AT, header.producerId)
  putInt16(bytes, at + PRODUCER_EPOCH_AT, header.producerEpoch)
  putInt32(bytes, at + BASE_SEQUENCE_AT, header.baseSequence)
  putInt32(bytes, at + RECORD_COUNT_AT, header.recordCount)
}

/**
 * Size of the batch at `at` when all of it lies before `end`, else 0. For walking over batches:
 * `for (let at = start, size = 0; (size = completeBatchBytes(bytes, at, end)) > 0; at += size)`.
 * A length field too small for a magic 2 header counts as no batch.
 */
export function completeBatchBytes(bytes: Uint8Array, at: number, end: number): number {
  if (end - at < BATCH_HEADER_BYTES) return 0
  const size = sizeBytesOf(bytes, at)
  return size >= BATCH_HEADER_BYTES && size <= end - at ? size : 0
}

/** Positions of the complete batches in bytes[start, end), in order; what is cut off at the end is left out. For tools. */
export function* batchPositions(bytes: Uint8Array, start = 0, end = bytes.length): Generator<number, void> {
  for (let at = start, size = 0; (size = completeBatchBytes(bytes, at, end)) > 0; at += size) yield at
}

/**
 * What is wrong with the batch at `at` as stored bytes: length, magic, CRC, counts. For what comes from a disk or a peer.
 * @param end exclusive end of what may be read
 * @returns a constant sentence, or undefined when the batch is whole
 */
export function batchDefect(bytes: Uint8Array, at: number, end: number): string | undefined {
  if (end - at < BATCH_HEADER_BYTES) return 'fewer bytes than a batch header'
  if (magicOf(bytes, at) !== 2) return 'magic is not 2'
  const size = sizeBytesOf(bytes, at)
  if (size < BATCH_HEADER_BYTES) return 'length is less than a batch header'
  if (size > end - at) return 'length reaches past the end'
  if (!crcMatches(bytes, at)) return 'CRC does not match'
  if (lastOffsetDeltaOf(bytes, at) < 0) return 'last offset delta is negative'
  // Compaction removes records but keeps the span, so fewer records than offsets is sound here; more is not.
  if (recordCountOf(bytes, at) < 0 || recordCountOf(bytes, at) > offsetSpanOf(bytes, at))
    return 'record count does not fit'
  return undefined
}

/** What a client sent as the records of one partition. */
export type PayloadShape =
  /** One batch of magic 2, complete, as a view; its fields are not checked yet. */
  | { kind: 'batch'; batch: Uint8Array }
  /** No complete batch, an old format, or more than one batch: Kafka's INVALID_RECORD. */
  | { kind: 'invalid'; reason: string }
  /** Not a sequence of batches at all: Kafka's CORRUPT_MESSAGE. */
  | { kind: 'corrupt'; reason: string }

/**
 * Finds the one batch in the records field of a Produce request. What is cut off behind it is ignored, as Kafka does.
 * Looks at lengths and magic only.
 */
export function payloadShape(payload: Uint8Array): PayloadShape {
  let batch: Uint8Array | undefined
  for (let at = 0; payload.length - at >= LENGTH_OVERHEAD_BYTES; ) {
    const length = batchLengthOf(payload, at)
    // The smallest record of any format Kafka ever had.
    if (length < 14) return { kind: 'corrupt', reason: 'a batch is shorter than its header' }
    if (payload.length - at < MAGIC_END_BYTES) break
    const magic = magicOf(payload, at)
    if (magic < 0 || magic > 2) return { kind: 'corrupt', reason: `unknown magic ${magic}` }
    if (length > payload.length - at - LENGTH_OVERHEAD_BYTES) break
    if (batch !== undefined) return { kind: 'invalid', reason: 'more than one batch for a partition' }
    if (magic < 2) return { kind: 'invalid', reason: `records of magic ${magic}, only 2 is taken` }
    const size = LENGTH_OVERHEAD_BYTES + length
    if (size < BATCH_HEADER_BYTES) return { kind: 'corrupt', reason: 'a batch is shorter than its header' }
    batch = at === 0 && size === payload.length ? payload : payload.subarray(at, at + size)
    at += size
  }
  return batch === undefined ? { kind: 'invalid', reason: 'no complete batch' } : { kind: 'batch', batch }
}
