// What a produced batch must be before a partition takes it: Kafka's checks, in Kafka's order, as a pure function.
//
// Called by partition.ts on the owner's thread, after payloadShape() found the one complete batch. Nothing is read but the
// arguments. The usual batch is answered synchronously and untouched: its header is checked, its CRC, and its records are
// walked where they lie (30 to 50 ns each, 20 GB/s at 1 KiB, so a batch whose count or lengths lie never reaches a consumer).
// A compressed batch is not decompressed for that: its container is checked, which finds garbage, wrong codecs and cut data;
// records are looked at only when a rule needs them (see needsRecords). Then, or when the topic wants another codec, the
// answer is a promise, and the work is done on a copy of the batch, so the caller's bytes are needed during the call only.

import { ErrorCode } from '../../protocol/errors.ts'
import {
  attributesOf,
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseSequenceOf,
  baseTimestampOf,
  compressionOf,
  crcMatches,
  hasLogAppendTime,
  isControl,
  lastOffsetDeltaOf,
  maxTimestampOf,
  NO_TIMESTAMP,
  producerEpochOf,
  producerIdOf,
  recordCountOf,
  sizeBytesOf,
  stampCreateTime,
  TRANSACTIONAL_BIT,
} from '../../protocol/records/batch.ts'
import {
  Codec,
  CompressionError,
  codecByName,
  compress,
  compressedDefect,
  decompress,
  isCodec,
} from '../../protocol/records/compression.ts'
import { MalformedRecords, payloadOf, RecordCursor, withPayload } from '../../protocol/records/record.ts'
import type { RecordError } from './append.ts'

/** The topic configs that a produced batch is measured by. */
export interface ProduceRules {
  readonly maxMessageBytes: number
  readonly segmentBytes: number
  readonly messageTimestampType: 'CreateTime' | 'LogAppendTime'
  /** message.timestamp.before.max.ms; Kafka's default of Long.MAX switches the check off. */
  readonly beforeMaxMs: number
  readonly afterMaxMs: number
  /** compression.type: 'producer' keeps what was sent. */
  readonly compressionType: string
  /** Effort where the broker compresses; lz4 has one only, whatever the config says. */
  readonly levels: { readonly gzip: number; readonly lz4: number; readonly zstd: number }
  /** Whether cleanup.policy holds 'compact', which needs keys. */
  readonly compact: boolean
  /** Most bytes that the records of one compressed batch may take when the broker must look at them. */
  readonly decompressedMaxBytes?: number
}

export interface ValidationRefusal {
  readonly error: Exclude<ErrorCode, typeof ErrorCode.NONE>
  readonly reason: string
  /** Whether Kafka answers this one with the real log start offset rather than -1. */
  readonly tellsLogStart: boolean
  /** The records at fault, KIP-467; empty when it is the batch as a whole. */
  readonly recordErrors: readonly RecordError[]
}

export interface ValidBatch {
  readonly error: typeof ErrorCode.NONE
  /** The caller's own bytes, or a rewritten copy; base offset and leader epoch are not stamped yet. */
  readonly batch: Uint8Array
  /** The time to stamp when the topic has LogAppendTime, else -1. */
  readonly logAppendTimeMs: number
}

export type ValidationOutcome = ValidBatch | ValidationRefusal

/** A default for rules that name none: a batch of 1 MiB may well expand 20 times, hardly ever 60 times. */
export const DECOMPRESSED_MAX_BYTES = 64 << 20
/** So many records at fault are listed; beyond, the answer could outgrow the batch a hundred times. */
export const RECORD_ERRORS_MAX = 1000

const NO_RECORD_ERRORS: readonly RecordError[] = []

/**
 * Checks one batch from a client.
 * @param batch exactly one complete batch of magic 2 (see payloadShape); read only, and during the call only
 * @param nowMs wall clock
 * @returns a promise only when records must be decompressed or compressed
 * Order: base offset, size, CRC, header fields, records, size again when it was compressed anew.
 */
export function validateBatch(
  batch: Uint8Array,
  rules: ProduceRules,
  nowMs: number,
): ValidationOutcome | Promise<ValidationOutcome> {
  const refusal = checkHeader(batch, rules)
  if (refusal !== undefined) return refusal
  const source = compressionOf(batch, 0)
  if (!isCodec(source)) return refuse(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, `Unknown compression type id ${source}.`)
  const target = rules.compressionType === 'producer' ? source : (codecByName(rules.compressionType) ?? source)
  if (source !== Codec.NONE) {
    const defect = compressedDefect(source, payloadOf(batch, 0))
    if (defect !== undefined) return refuse(ErrorCode.INVALID_RECORD, `The batch cannot be decompressed: ${defect}.`)
    if (source !== target || needsRecords(batch, rules, nowMs)) {
      return validateDecompressed(new Uint8Array(batch), source, target, rules, nowMs)
    }
    return finish(batch, maxTimestampOf(batch, 0), rules, nowMs)
  }
  const checked = checkRecords(batch, batch, BATCH_HEADER_BYTES, batch.length, rules, nowMs)
  if (typeof checked !== 'number') return checked
  if (target === Codec.NONE) return finish(batch, checked, rules, nowMs)
  const copy = new Uint8Array(batch)
  return repack(copy, payloadOf(copy, 0), target, checked, rules, nowMs)
}

function refuse(
  error: ValidationRefusal['error'],
  reason: string,
  tellsLogStart = true,
  recordErrors = NO_RECORD_ERRORS,
): ValidationRefusal {
  return { error, reason, tellsLogStart, recordErrors }
}

function checkHeader(batch: Uint8Array, rules: ProduceRules): ValidationRefusal | undefined {
  if (baseOffsetOf(batch, 0) !== 0) {
    return refuse(ErrorCode.INVALID_RECORD, `The base offset must be 0, but it is ${baseOffsetOf(batch, 0)}.`)
  }
  const tooLarge = checkSize(batch, rules)
  if (tooLarge !== undefined) return tooLarge
  if (sizeBytesOf(batch, 0) !== batch.length || !crcMatches(batch, 0)) {
    return refuse(ErrorCode.CORRUPT_MESSAGE, 'The CRC of the batch does not match its bytes.', false)
  }
  const count = recordCountOf(batch, 0)
  if (count <= 0 || lastOffsetDeltaOf(batch, 0) !== count - 1) {
    return refuse(
      ErrorCode.INVALID_RECORD,
      `The batch has ${count} records and a last offset delta of ${lastOffsetDeltaOf(batch, 0)}.`,
    )
  }
  if (isControl(batch, 0)) return refuse(ErrorCode.INVALID_RECORD, 'Clients cannot write control records.')
  const producerId = producerIdOf(batch, 0)
  if (producerId >= 0) {
    if (baseSequenceOf(batch, 0) < 0 || producerEpochOf(batch, 0) < 0 || producerId > Number.MAX_SAFE_INTEGER) {
      return refuse(ErrorCode.INVALID_RECORD, 'The producer id of the batch comes without a valid epoch and sequence.')
    }
  } else if ((attributesOf(batch, 0) & TRANSACTIONAL_BIT) !== 0) {
    return refuse(ErrorCode.INVALID_RECORD, 'A transactional batch needs a producer id.')
  }
  if (rules.messageTimestampType === 'LogAppendTime' && hasLogAppendTime(batch, 0)) {
    return refuse(ErrorCode.INVALID_TIMESTAMP, 'Clients must not set the timestamp type to LogAppendTime.')
  }
  return undefined
}

function checkSize(batch: Uint8Array, rules: ProduceRules): ValidationRefusal | undefined {
  if (batch.length > rules.maxMessageBytes) {
    return refuse(
      ErrorCode.MESSAGE_TOO_LARGE,
      `The batch takes ${batch.length} bytes, the topic accepts ${rules.maxMessageBytes} (max.message.bytes).`,
      false,
    )
  }
  return undefined
}

function checkSegment(batch: Uint8Array, rules: ProduceRules): ValidationRefusal | undefined {
  if (batch.length > rules.segmentBytes) {
    return refuse(
      ErrorCode.RECORD_LIST_TOO_LARGE,
      `The batch takes ${batch.length} bytes, a segment holds ${rules.segmentBytes} (segment.bytes).`,
      false,
    )
  }
  return undefined
}

/**
 * Whether the header of a compressed batch is not enough: a compacted topic looks at keys, a limit into the past at every
 * timestamp (the header names the first and the largest, not the smallest), and an answer about bad ones names the records.
 */
function needsRecords(batch: Uint8Array, rules: ProduceRules, nowMs: number): boolean {
  if (rules.compact) return true
  if (rules.messageTimestampType === 'LogAppendTime') return false
  if (nowMs - rules.beforeMaxMs > 0) return true
  return !isInTime(baseTimestampOf(batch, 0), rules, nowMs) || !isInTime(maxTimestampOf(batch, 0), rules, nowMs)
}

function isInTime(timestamp: number, rules: ProduceRules, nowMs: number): boolean {
  if (timestamp === NO_TIMESTAMP) return true
  return (
    timestamp >= nowMs - rules.beforeMaxMs &&
    timestamp <= nowMs + rules.afterMaxMs &&
    timestamp <= Number.MAX_SAFE_INTEGER
  )
}

/**
 * Walks the decompressed records in bytes[start, end) of a batch.
 * Unlike Kafka, refuses offset deltas with gaps also in uncompressed batches: offsets are dense here.
 * @returns the largest timestamp, or why the batch is refused
 */
function checkRecords(
  batch: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
  rules: ProduceRules,
  nowMs: number,
): number | ValidationRefusal {
  const count = recordCountOf(batch, 0)
  const baseTimestamp = baseTimestampOf(batch, 0)
  const checksTime = rules.messageTimestampType === 'CreateTime'
  const cursor = new RecordCursor(bytes, start, end)
  let maxTimestamp = NO_TIMESTAMP
  let seen = 0
  let badTimes = 0
  let badKeys = 0
  let recordErrors: RecordError[] | undefined
  try {
    for (; cursor.next(); seen++) {
      if (cursor.offsetDelta !== seen) {
        return refuse(
          ErrorCode.INVALID_RECORD,
          `Record ${seen} of the batch has the offset delta ${cursor.offsetDelta}.`,
        )
      }
      const timestamp = baseTimestamp + cursor.timestampDelta
      if (timestamp > maxTimestamp) maxTimestamp = timestamp
      let message: string | undefined
      if (rules.compact && cursor.keyBytes < 0) {
        badKeys++
        message = 'Compacted topic cannot accept message without key.'
      } else if (checksTime && !isInTime(timestamp, rules, nowMs)) {
        badTimes++
        message =
          `Timestamp ${timestamp} of message with offset ${seen} is out of range. The timestamp should be within ` +
          `[${nowMs - rules.beforeMaxMs}, ${nowMs + rules.afterMaxMs}]`
      }
      if (message === undefined) continue
      recordErrors ??= []
      if (recordErrors.length < RECORD_ERRORS_MAX)
        recordErrors.push({ batchIndex: seen, batchIndexErrorMessage: message })
    }
  } catch (error) {
    if (error instanceof MalformedRecords)
      return refuse(ErrorCode.INVALID_RECORD, `The records cannot be read: ${error.message}.`)
    throw error
  }
  if (seen !== count) {
    return refuse(ErrorCode.INVALID_RECORD, `The batch holds ${seen} records, its header says ${count}.`)
  }
  if (recordErrors === undefined) return maxTimestamp
  if (badTimes > 0) {
    const reason = 'One or more records have been rejected due to invalid timestamp'
    return refuse(ErrorCode.INVALID_TIMESTAMP, reason, true, recordErrors)
  }
  const reason = `One or more records have been rejected due to ${badKeys} record errors in total`
  return refuse(ErrorCode.INVALID_RECORD, reason, true, recordErrors)
}

/** @param batch our own copy */
async function validateDecompressed(
  batch: Uint8Array,
  source: Codec,
  target: Codec,
  rules: ProduceRules,
  nowMs: number,
): Promise<ValidationOutcome> {
  let payload: Uint8Array
  try {
    payload = await decompress(source, payloadOf(batch, 0), rules.decompressedMaxBytes ?? DECOMPRESSED_MAX_BYTES)
  } catch (error) {
    return compressionRefusal(error)
  }
  const checked = checkRecords(batch, payload, 0, payload.length, rules, nowMs)
  if (typeof checked !== 'number') return checked
  return source === target
    ? finish(batch, checked, rules, nowMs)
    : repack(batch, payload, target, checked, rules, nowMs)
}

/** Stores the records with the topic's own codec. */
async function repack(
  batch: Uint8Array,
  payload: Uint8Array,
  target: Codec,
  maxTimestamp: number,
  rules: ProduceRules,
  nowMs: number,
): Promise<ValidationOutcome> {
  try {
    const level = target === Codec.GZIP ? rules.levels.gzip : target === Codec.ZSTD ? rules.levels.zstd : undefined
    const packed = withPayload(batch, 0, await compress(target, payload, level), target)
    return checkSize(packed, rules) ?? finish(packed, maxTimestamp, rules, nowMs)
  } catch (error) {
    return compressionRefusal(error)
  }
}

function compressionRefusal(error: unknown): ValidationRefusal {
  if (!(error instanceof CompressionError)) throw error
  switch (error.kind) {
    case 'corrupt':
      return refuse(ErrorCode.INVALID_RECORD, `The batch cannot be decompressed: ${error.message}.`)
    case 'too-large':
      return refuse(ErrorCode.MESSAGE_TOO_LARGE, `The batch is refused: ${error.message}.`, false)
    case 'unavailable':
      return refuse(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, error.message)
  }
}

/** @param maxTimestamp the true one, if the records were seen: it replaces what the header says */
function finish(batch: Uint8Array, maxTimestamp: number, rules: ProduceRules, nowMs: number): ValidationOutcome {
  const tooLarge = checkSegment(batch, rules)
  if (tooLarge !== undefined) return tooLarge
  if (rules.messageTimestampType === 'LogAppendTime') return { error: ErrorCode.NONE, batch, logAppendTimeMs: nowMs }
  if (maxTimestampOf(batch, 0) !== maxTimestamp || hasLogAppendTime(batch, 0)) {
    batch = new Uint8Array(batch)
    stampCreateTime(batch, 0, maxTimestamp)
  }
  return { error: ErrorCode.NONE, batch, logAppendTimeMs: NO_TIMESTAMP }
}
