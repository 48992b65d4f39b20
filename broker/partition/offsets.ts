// Offsets by leader epoch and by time. The only place where Raft's words become Kafka's.
//
// Pure but for reading the log, on the thread of the partition's shard. A partition's leader epoch IS the term of its Raft group: the same
// number, stored in each batch's header; nothing is converted but the name. Where a term's entries begin, in indexes and in offsets, the log
// knows (storage); an entry that Kafka must not see takes an index and no offset.

import {
  baseOffsetOf,
  compressionOf,
  hasLogAppendTime,
  leaderEpochOf,
  maxTimestampOf,
  sizeBytesOf,
} from '../../protocol/records/batch.ts'
import { Codec, decompress, isCodec } from '../../protocol/records/compression.ts'
import { findMaxTimestampRecord, findRecordByTimestamp, payloadOf } from '../../protocol/records/record.ts'
import type { GroupLog } from '../../storage/log.ts'
import type { ReadResult } from '../../storage/read-result.ts'

/** Where the batches of a term begin. A term may have several entries, oldest first. */
export interface TermStart {
  readonly term: number
  readonly startOffset: number
}

/** The part of a GroupLog that says where its terms are. */
interface EpochLog {
  readonly epochs: readonly TermStart[]
  readonly logStartOffset: number
  readonly logEndOffset: number
}

export interface EpochEnd {
  readonly leaderEpoch: number
  /** Exclusive. */
  readonly endOffset: number
}

export interface TimestampOffset {
  readonly timestampMs: number
  readonly offset: number
  readonly leaderEpoch: number
}

const NO_EPOCH: EpochEnd = { leaderEpoch: -1, endOffset: -1 }
const NOT_FOUND: TimestampOffset = { timestampMs: -1, offset: -1, leaderEpoch: -1 }

/**
 * The largest known epoch not above the asked one, and where it ends. One from before everything in the log ends where the log begins, as
 * in Kafka: its records are gone, and so is what could contradict the asker. -1 and -1 for an epoch that is yet to come.
 */
export function endOffsetOfEpoch(
  { epochs: terms, logStartOffset, logEndOffset }: EpochLog,
  leaderEpoch: number,
  currentEpoch: number,
): EpochEnd {
  if (leaderEpoch < 0 || leaderEpoch > currentEpoch) return NO_EPOCH
  // Known also when nothing was written in it.
  if (leaderEpoch === currentEpoch) return { leaderEpoch, endOffset: logEndOffset }
  let endOffset = logEndOffset
  for (let at = terms.length - 1; at >= 0; at--) {
    const { term, startOffset } = terms[at]!
    if (term <= leaderEpoch) return { leaderEpoch: term, endOffset }
    endOffset = startOffset
  }
  return { leaderEpoch, endOffset: Math.max(endOffset, logStartOffset) }
}

/** The epoch under which the record at this offset was written. */
export function epochAt(terms: readonly TermStart[], offset: number, currentEpoch: number): number {
  for (let at = terms.length - 1; at >= 0; at--) if (terms[at]!.startOffset <= offset) return terms[at]!.term
  return currentEpoch
}

/** The first record at or after the time and below `endOffset`; offset -1 when there is none. */
export async function offsetForTimestamp(
  log: GroupLog,
  timestampMs: number,
  endOffset: number,
  decompressedBytesMax: number,
): Promise<TimestampOffset> {
  const found = await log.findByTimestamp(timestampMs, endOffset)
  return inBatch(found, endOffset, decompressedBytesMax, (bytes, payload) =>
    findRecordByTimestamp(bytes, 0, timestampMs, log.logStartOffset, payload),
  )
}

/** The record that holds the largest timestamp below `endOffset`. */
export async function offsetForMaxTimestamp(
  log: GroupLog,
  endOffset: number,
  decompressedBytesMax: number,
): Promise<TimestampOffset> {
  return inBatch(await log.findMaxTimestamp(endOffset), endOffset, decompressedBytesMax, (bytes, payload) =>
    findMaxTimestampRecord(bytes, 0, payload),
  )
}

async function inBatch(
  found: ReadResult | undefined,
  endOffset: number,
  decompressedBytesMax: number,
  pick: (bytes: Uint8Array, payload: Uint8Array | undefined) => { timestamp: number; offset: number } | undefined,
): Promise<TimestampOffset> {
  const bytes = found?.fragments[0]
  if (found === undefined || bytes === undefined) {
    found?.release()
    return NOT_FOUND
  }
  try {
    const leaderEpoch = leaderEpochOf(bytes, 0)
    if (hasLogAppendTime(bytes, 0)) {
      return { timestampMs: maxTimestampOf(bytes, 0), offset: baseOffsetOf(bytes, 0), leaderEpoch }
    }
    const copy = new Uint8Array(bytes.subarray(0, sizeBytesOf(bytes, 0)))
    const codec = compressionOf(copy, 0)
    const payload =
      codec === Codec.NONE || !isCodec(codec)
        ? undefined
        : await decompress(codec, payloadOf(copy, 0), decompressedBytesMax)
    const record = pick(copy, payload)
    if (record === undefined || record.offset >= endOffset) return NOT_FOUND
    return { timestampMs: record.timestamp, offset: record.offset, leaderEpoch }
  } finally {
    found.release()
  }
}
