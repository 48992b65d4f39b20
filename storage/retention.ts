// Which segments end and which may go: pure choices after Kafka's rules; the work is done by write-behind and shard-storage.
//
// No state, any thread. Rules: Kafka's UnifiedLog and LocalLog (roll, retention by start offset, time, size).

import type { LogConfig } from './log.ts'
import type { Segment } from './segment.ts'
import type { TailItem } from './tail.ts'

const RELATIVE_OFFSET_MAX = 0x7fff_ffff

/**
 * Whether a segment ends before a batch is added.
 * @param sizeBytes of the segment, with what is planned for it
 * @param timestamp largest of the batch, -1 when it has none
 */
export function mustRoll(
  segment: Segment,
  sizeBytes: number,
  batch: TailItem,
  timestamp: number,
  config: LogConfig,
  nowMs: number,
): boolean {
  if (sizeBytes === 0) return false
  if (sizeBytes + batch.bytes > config.segmentBytes) return true
  // Time is the records' time: old data rolls by it, whatever the clock says; the clock counts only without timestamps.
  const waitedMs = segment.firstTimestamp >= 0 ? timestamp - segment.firstTimestamp : nowMs - segment.modifiedMs
  if (waitedMs > config.segmentMs - jitterMs(segment.baseOffset, config.segmentJitterMs)) return true
  if (segment.indexIsFull) return true
  return batch.endOffset - 1 - segment.baseOffset > RELATIVE_OFFSET_MAX
}

/** A number in [0, maxMs) that is the segment's own: spread is what counts, so a hash of the offset does. */
function jitterMs(baseOffset: number, maxMs: number): number {
  if (maxMs <= 0) return 0
  return (Math.imul(baseOffset % 0x1_0000_0000, 0x9e3779b1) >>> 0) % maxMs
}

/** What retention needs to know of a segment. */
export interface RetainedSegment {
  readonly baseOffset: number
  readonly endOffset: number
  readonly sizeBytes: number
  readonly maxTimestamp: number
  readonly modifiedMs: number
}

export interface RetentionChoice {
  /** So many segments may go, from the oldest on. */
  count: number
  /** logStartOffset afterwards. */
  logStartOffset: number
  reason: 'start offset' | 'time' | 'size' | 'none'
}

/**
 * Chooses the segments that may go, oldest first, up to the first one that stays.
 * @param segments all of them, the active one last; it may be chosen too, and is then replaced by a new one
 */
export function chooseRetention(
  segments: readonly RetainedSegment[],
  logStartOffset: number,
  config: LogConfig,
  nowMs: number,
): RetentionChoice {
  let total = 0
  for (const segment of segments) total += segment.sizeBytes
  let count = 0
  let reason: RetentionChoice['reason'] = 'none'
  for (const segment of segments) {
    if (segment.endOffset <= logStartOffset) reason = 'start offset'
    else if (!config.deletePolicy) break
    else if (config.retentionMs >= 0 && nowMs - timeOf(segment) > config.retentionMs) reason = 'time'
    else if (config.retentionBytes >= 0 && total - segment.sizeBytes >= config.retentionBytes) reason = 'size'
    else break
    total -= segment.sizeBytes
    logStartOffset = Math.max(logStartOffset, segment.endOffset)
    count += 1
  }
  return { count, logStartOffset, reason }
}

function timeOf(segment: RetainedSegment): number {
  return segment.maxTimestamp >= 0 ? segment.maxTimestamp : segment.modifiedMs
}
