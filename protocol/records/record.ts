// Records inside a batch: walking over them without allocation, decoding them, and building batches.
//
// The broker walks records when it validates or looks a timestamp up, and decodes and builds batches for its internal topics;
// the CLI, tests and benches do both for everything. Pure code, any thread. All functions take the decompressed payload;
// compression.ts makes it.
// Layout: Kafka protocol guide, "Record" (varints are zigzag, little groups of 7 bits first, as in Protocol Buffers).

import {
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseTimestampOf,
  COMPRESSION_MASK,
  CONTROL_BIT,
  compressionOf,
  hasLogAppendTime,
  LOG_APPEND_TIME_BIT,
  maxTimestampOf,
  NO_PRODUCER_EPOCH,
  NO_PRODUCER_ID,
  NO_SEQUENCE,
  recordCountOf,
  sizeBytesOf,
  stampCrc,
  TRANSACTIONAL_BIT,
  writeBatchHeader,
} from './batch.ts'
import { Codec, CompressionError, compress, decompress, isCodec } from './compression.ts'

/** The records of a batch cannot be read: a length points outside, a varint has no end, the count does not fit. */
export class MalformedRecords extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'MalformedRecords'
  }
}

export interface RecordHeader {
  key: string
  value: Uint8Array | null
}

/** A record as a reader wants it. Key, value and header values are views over the payload. */
export interface DecodedRecord {
  offset: number
  timestamp: number
  key: Uint8Array | null
  value: Uint8Array | null
  headers: RecordHeader[]
}

/**
 * Walks over the records of a decompressed payload; the fields below describe the record that next() came to.
 * Every length is checked against the record, and the record against the payload, before it is used.
 */
export class RecordCursor {
  attributes = 0
  timestampDelta = 0
  offsetDelta = 0
  /** Position of the key's first byte; length -1 for a null key. */
  keyAt = 0
  keyBytes = -1
  valueAt = 0
  valueBytes = -1
  headersAt = 0
  headerCount = 0
  /** Where the next record begins. */
  at: number
  readonly #bytes: Uint8Array
  readonly #end: number

  /** @param end exclusive end of the payload */
  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes
    this.at = start
    this.#end = end
  }

  /**
   * Steps to the next record.
   * @returns false at the end of the payload
   * @throws MalformedRecords
   */
  next(): boolean {
    if (this.at >= this.#end) return false
    const length = this.#varint(this.#end)
    const end = this.at + length
    if (length < 0 || end > this.#end) throw new MalformedRecords('a record reaches past the end of its batch')
    if (length === 0) throw new MalformedRecords('a record is empty')
    this.attributes = this.#bytes[this.at++]!
    this.timestampDelta = this.#varlong(end)
    this.offsetDelta = this.#varint(end)
    this.keyBytes = this.#skip(end, -1)
    this.keyAt = this.at - Math.max(this.keyBytes, 0)
    this.valueBytes = this.#skip(end, -1)
    this.valueAt = this.at - Math.max(this.valueBytes, 0)
    const headerCount = this.#varint(end)
    // A header takes two bytes at least.
    if (headerCount < 0 || headerCount > end - this.at)
      throw new MalformedRecords('a header count does not fit its record')
    this.headerCount = headerCount
    this.headersAt = this.at
    for (let header = 0; header < headerCount; header++) {
      this.#skip(end, 0)
      this.#skip(end, -1)
    }
    if (this.at !== end) throw new MalformedRecords('a record is longer than its fields')
    return true
  }

  /** View of the key of the record at hand. */
  key(): Uint8Array | null {
    return this.keyBytes < 0 ? null : this.#bytes.subarray(this.keyAt, this.keyAt + this.keyBytes)
  }

  value(): Uint8Array | null {
    return this.valueBytes < 0 ? null : this.#bytes.subarray(this.valueAt, this.valueAt + this.valueBytes)
  }

  /** Headers of the record at hand, decoded; not valid UTF-8 becomes U+FFFD, as in the Java client. */
  headers(): RecordHeader[] {
    const headers: RecordHeader[] = []
    const next = this.at
    this.at = this.headersAt
    for (let header = 0; header < this.headerCount; header++) {
      const keyBytes = this.#skip(next, 0)
      // Copied, because TextDecoder and Buffer refuse or distrust shared memory.
      const key = Buffer.from(this.#bytes.subarray(this.at - keyBytes, this.at)).toString('utf8')
      const valueBytes = this.#skip(next, -1)
      headers.push({ key, value: valueBytes < 0 ? null : this.#bytes.subarray(this.at - valueBytes, this.at) })
    }
    this.at = next
    return headers
  }

  /** Reads a length and steps over that many bytes; -1 is null where allowed. */
  #skip(end: number, least: number): number {
    const length = this.#varint(end)
    if (length < least || length > end - this.at) throw new MalformedRecords('a length points outside of its record')
    if (length > 0) this.at += length
    return length
  }

  #varint(end: number): number {
    const bytes = this.#bytes
    let at = this.at
    if (at < end) {
      const only = bytes[at]!
      if (only < 0x80) {
        this.at = at + 1
        return (only >>> 1) ^ -(only & 1)
      }
    }
    let raw = 0
    for (let shift = 0; shift < 35; shift += 7) {
      if (at >= end) throw new MalformedRecords('a number is cut off')
      const byte = bytes[at++]!
      raw |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        this.at = at
        return (raw >>> 1) ^ -(raw & 1)
      }
    }
    throw new MalformedRecords('a number has more than 32 bits')
  }

  /** Exact up to 2^52; beyond, the nearest double. */
  #varlong(end: number): number {
    const bytes = this.#bytes
    let at = this.at
    let raw = 0
    let scale = 1
    let negative = false
    for (let group = 0; group < 10; group++) {
      if (at >= end) throw new MalformedRecords('a number is cut off')
      const byte = bytes[at++]!
      if (group === 0) {
        negative = (byte & 1) === 1
        raw = (byte & 0x7e) >>> 1
        scale = 64
      } else {
        raw += (byte & 0x7f) * scale
        scale *= 128
      }
      if (byte < 0x80) {
        this.at = at
        return negative ? -raw - 1 : raw
      }
    }
    throw new MalformedRecords('a number has more than 64 bits')
  }
}

/** The records as stored: the whole payload of an uncompressed batch, as a view. */
export function payloadOf(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.subarray(at + BATCH_HEADER_BYTES, at + sizeBytesOf(bytes, at))
}

/**
 * Decodes the records of one batch.
 * @param payload the decompressed records; by default those in the batch, which then must not be compressed
 * @throws MalformedRecords, also when their number is not the header's record count
 */
export function decodeRecords(bytes: Uint8Array, at: number, payload?: Uint8Array): DecodedRecord[] {
  const cursor = openRecords(bytes, at, payload)
  const baseOffset = baseOffsetOf(bytes, at)
  const baseTimestamp = baseTimestampOf(bytes, at)
  const appendTime = hasLogAppendTime(bytes, at) ? maxTimestampOf(bytes, at) : undefined
  const records: DecodedRecord[] = []
  while (cursor.next()) {
    records.push({
      offset: baseOffset + cursor.offsetDelta,
      timestamp: appendTime ?? baseTimestamp + cursor.timestampDelta,
      key: cursor.key(),
      value: cursor.value(),
      headers: cursor.headers(),
    })
  }
  if (records.length !== recordCountOf(bytes, at))
    throw new MalformedRecords('the record count does not fit the records')
  return records
}

/**
 * The records of one batch as they are without compression: a view when they are stored so, else decompressed.
 * @param payloadMaxBytes refuses more than this, decompressed
 * @throws CompressionError
 */
export async function decompressedPayload(bytes: Uint8Array, at: number, payloadMaxBytes: number): Promise<Uint8Array> {
  const codec = compressionOf(bytes, at)
  if (codec === Codec.NONE) return payloadOf(bytes, at)
  if (!isCodec(codec)) throw new CompressionError('corrupt', `unknown codec ${codec}`)
  return decompress(codec, payloadOf(bytes, at), payloadMaxBytes)
}

/**
 * Decodes the records of one batch, decompressing them first when need be.
 * @param payloadMaxBytes refuses more than this, decompressed
 * @throws MalformedRecords, CompressionError
 */
export async function decodeBatch(bytes: Uint8Array, at: number, payloadMaxBytes: number): Promise<DecodedRecord[]> {
  return decodeRecords(bytes, at, await decompressedPayload(bytes, at, payloadMaxBytes))
}

/** A record found by its time. */
export interface FoundRecord {
  offset: number
  timestamp: number
}

/**
 * The first record at or after both a timestamp and an offset: what ListOffsets asks of the batch that storage found.
 * A batch with LogAppendTime answers its first offset that qualifies.
 * @param payload decompressed records; undefined when those in the batch are not compressed
 * @throws MalformedRecords
 */
export function findRecordByTimestamp(
  bytes: Uint8Array,
  at: number,
  timestampMs: number,
  leastOffset: number,
  payload?: Uint8Array,
): FoundRecord | undefined {
  const baseOffset = baseOffsetOf(bytes, at)
  const baseTimestamp = baseTimestampOf(bytes, at)
  const appendTime = hasLogAppendTime(bytes, at) ? maxTimestampOf(bytes, at) : undefined
  const cursor = openRecords(bytes, at, payload)
  while (cursor.next()) {
    const offset = baseOffset + cursor.offsetDelta
    const timestamp = appendTime ?? baseTimestamp + cursor.timestampDelta
    if (timestamp >= timestampMs && offset >= leastOffset) return { offset, timestamp }
  }
  return undefined
}

/**
 * The first record that holds the largest timestamp of the batch; undefined when the batch has no records.
 * @param payload decompressed records; undefined when those in the batch are not compressed
 * @throws MalformedRecords
 */
export function findMaxTimestampRecord(bytes: Uint8Array, at: number, payload?: Uint8Array): FoundRecord | undefined {
  const baseOffset = baseOffsetOf(bytes, at)
  const baseTimestamp = baseTimestampOf(bytes, at)
  const appendTime = hasLogAppendTime(bytes, at) ? maxTimestampOf(bytes, at) : undefined
  const cursor = openRecords(bytes, at, payload)
  let found: FoundRecord | undefined
  while (cursor.next()) {
    const timestamp = appendTime ?? baseTimestamp + cursor.timestampDelta
    if (found === undefined || timestamp > found.timestamp) {
      found = { offset: baseOffset + cursor.offsetDelta, timestamp }
    }
  }
  return found
}

function openRecords(bytes: Uint8Array, at: number, payload: Uint8Array | undefined): RecordCursor {
  if (payload !== undefined) return new RecordCursor(payload)
  if (compressionOf(bytes, at) !== Codec.NONE) throw new MalformedRecords('the records are compressed')
  return new RecordCursor(bytes, at + BATCH_HEADER_BYTES, at + sizeBytesOf(bytes, at))
}

/** Text is written as UTF-8; null and undefined as null. */
export type Bytes = Uint8Array | string | null

export interface RecordInput {
  key?: Bytes
  value?: Bytes
  /** Milliseconds since 1970; by default the batch's `timestamp`. */
  timestamp?: number
  headers?: readonly { key: string; value: Bytes }[]
}

export interface BatchOptions {
  /** For records without one of their own. Default -1. */
  timestamp?: number
  baseOffset?: number
  leaderEpoch?: number
  producerId?: number
  producerEpoch?: number
  baseSequence?: number
  transactional?: boolean
  control?: boolean
  logAppendTime?: boolean
}

const utf8 = new TextEncoder()

/** Builds one batch record by record. The memory grows by doubling; a built batch is a copy of its own. */
export class BatchBuilder {
  #bytes: Uint8Array
  #at = BATCH_HEADER_BYTES
  #count = 0
  #baseTimestamp = 0
  #maxTimestamp = -1
  readonly #options: BatchOptions

  constructor(options: BatchOptions = {}, expectedBytes = 512) {
    this.#options = options
    this.#bytes = new Uint8Array(BATCH_HEADER_BYTES + expectedBytes)
  }

  get recordCount(): number {
    return this.#count
  }

  /** Size of the batch so far, header included, uncompressed. */
  get sizeBytes(): number {
    return this.#at
  }

  append(record: RecordInput): void {
    const timestamp = record.timestamp ?? this.#options.timestamp ?? -1
    if (this.#count === 0) this.#baseTimestamp = timestamp
    const timestampDelta = timestamp - this.#baseTimestamp
    const key = toBytes(record.key)
    const value = toBytes(record.value)
    const headers = (record.headers ?? []).map((header) => [utf8.encode(header.key), toBytes(header.value)] as const)
    let length =
      1 +
      varlongBytes(timestampDelta) +
      varintBytes(this.#count) +
      fieldBytes(key) +
      fieldBytes(value) +
      varintBytes(headers.length)
    for (const [name, content] of headers) length += fieldBytes(name) + fieldBytes(content)
    this.#reserve(varintBytes(length) + length)
    this.#putVarint(length)
    this.#bytes[this.#at++] = 0
    this.#putVarlong(timestampDelta)
    this.#putVarint(this.#count)
    this.#putField(key)
    this.#putField(value)
    this.#putVarint(headers.length)
    for (const [name, content] of headers) {
      this.#putField(name)
      this.#putField(content)
    }
    this.#count++
    if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
  }

  /** The batch, uncompressed. */
  build(): Uint8Array {
    return this.#finish(this.#bytes.subarray(BATCH_HEADER_BYTES, this.#at), Codec.NONE)
  }

  /**
   * The batch with its records compressed.
   * @param level as the codec counts; undefined takes its default
   * @throws CompressionError
   */
  async buildCompressed(codec: Codec, level?: number): Promise<Uint8Array> {
    const payload = this.#bytes.subarray(BATCH_HEADER_BYTES, this.#at)
    return this.#finish(await compress(codec, payload, level), codec)
  }

  #finish(payload: Uint8Array, codec: Codec): Uint8Array {
    const options = this.#options
    const batch = new Uint8Array(BATCH_HEADER_BYTES + payload.length)
    writeBatchHeader(batch, 0, {
      baseOffset: options.baseOffset ?? 0,
      payloadBytes: payload.length,
      leaderEpoch: options.leaderEpoch ?? -1,
      attributes:
        codec |
        (options.logAppendTime === true ? LOG_APPEND_TIME_BIT : 0) |
        (options.transactional === true ? TRANSACTIONAL_BIT : 0) |
        (options.control === true ? CONTROL_BIT : 0),
      lastOffsetDelta: this.#count - 1,
      baseTimestamp: this.#count === 0 ? -1 : this.#baseTimestamp,
      maxTimestamp: this.#maxTimestamp,
      producerId: options.producerId ?? NO_PRODUCER_ID,
      producerEpoch: options.producerEpoch ?? NO_PRODUCER_EPOCH,
      baseSequence: options.baseSequence ?? NO_SEQUENCE,
      recordCount: this.#count,
    })
    batch.set(payload, BATCH_HEADER_BYTES)
    stampCrc(batch, 0)
    return batch
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + bytes))
    grown.set(this.#bytes.subarray(0, this.#at))
    this.#bytes = grown
  }

  #putField(field: Uint8Array | null): void {
    this.#putVarint(field === null ? -1 : field.length)
    if (field === null) return
    this.#bytes.set(field, this.#at)
    this.#at += field.length
  }

  #putVarint(value: number): void {
    let raw = ((value << 1) ^ (value >> 31)) >>> 0
    for (; raw > 0x7f; raw >>>= 7) this.#bytes[this.#at++] = raw | 0x80
    this.#bytes[this.#at++] = raw
  }

  #putVarlong(value: number): void {
    let raw = zigzag(value)
    for (; raw > 0x7f; raw = Math.floor(raw / 128)) this.#bytes[this.#at++] = (raw % 128) | 0x80
    this.#bytes[this.#at++] = raw
  }
}

/** One uncompressed batch of these records. */
export function encodeBatch(options: BatchOptions & { records: readonly RecordInput[] }): Uint8Array {
  return filled(options).build()
}

/**
 * One batch of these records with any codec.
 * @throws CompressionError
 */
export function encodeCompressedBatch(
  options: BatchOptions & { records: readonly RecordInput[]; compression: Codec; level?: number },
): Promise<Uint8Array> {
  return filled(options).buildCompressed(options.compression, options.level)
}

function filled(options: BatchOptions & { records: readonly RecordInput[] }): BatchBuilder {
  const builder = new BatchBuilder(options)
  for (const record of options.records) builder.append(record)
  return builder
}

/**
 * A copy of a batch with other record bytes and their codec in its attributes; the CRC is made anew.
 * @param payload the same records, compressed by `codec`
 */
export function withPayload(bytes: Uint8Array, at: number, payload: Uint8Array, codec: Codec): Uint8Array {
  const batch = new Uint8Array(BATCH_HEADER_BYTES + payload.length)
  batch.set(bytes.subarray(at, at + BATCH_HEADER_BYTES))
  const length = batch.length - 12
  batch[8] = length >>> 24
  batch[9] = length >>> 16
  batch[10] = length >>> 8
  batch[11] = length
  batch[22] = (batch[22]! & ~COMPRESSION_MASK) | codec
  batch.set(payload, BATCH_HEADER_BYTES)
  stampCrc(batch, 0)
  return batch
}

function toBytes(field: Bytes | undefined): Uint8Array | null {
  if (field === null || field === undefined) return null
  return typeof field === 'string' ? utf8.encode(field) : field
}

/** Zigzag without 32-bit operators: exact up to 2^52. */
function zigzag(value: number): number {
  return value < 0 ? -value * 2 - 1 : value * 2
}

function varintBytes(value: number): number {
  const raw = ((value << 1) ^ (value >> 31)) >>> 0
  return raw < 0x80 ? 1 : raw < 0x4000 ? 2 : raw < 0x20_0000 ? 3 : raw < 0x1000_0000 ? 4 : 5
}

function varlongBytes(value: number): number {
  let bytes = 1
  for (let raw = zigzag(value); raw > 0x7f; raw = Math.floor(raw / 128)) bytes++
  return bytes
}

function fieldBytes(field: Uint8Array | null): number {
  return field === null ? 1 : varintBytes(field.length) + field.length
}
