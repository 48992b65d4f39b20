// The state record of a group: everything the journal must still know of it when its older records are forgotten.
//
// Pure; written by log.ts at creation, at each checkpoint and when it is carried forward, read by recovery.
// Format: README.md, "State record".

import { ByteReader, type ByteWriter } from './encoding.ts'
import { NO_RUNS, type Run, type Runs, runsOf } from './runs.ts'

/** What must be known of a segment without opening it. */
export interface SegmentState {
  baseOffset: number
  /** Raft index of its first batch. */
  baseIndex: number
  /** Exclusive end of what is on stable storage. */
  endOffset: number
  /** Bytes on stable storage: the logical end of the file. */
  sizeBytes: number
  /** Timestamp of the first batch, -1 when it has none. */
  firstTimestamp: number
  maxTimestamp: number
  /** Last offset of the batch that holds maxTimestamp. */
  maxTimestampOffset: number
  /** Wall clock of the last append, for batches without timestamps. */
  modifiedMs: number
}

export interface GroupState {
  /** Tells a group from an earlier one with the same id. */
  incarnation: number
  directory: string
  term: number
  votedFor: number
  /** Everything up to this index lies in segments (group 0: in the snapshot). */
  checkpointIndex: number
  /** Exclusive end of the offsets that lie in segments. */
  checkpointOffset: number
  logStartOffset: number
  /** First index still held. */
  firstIndex: number
  /** Those that begin up to checkpointIndex; what is behind says its own. */
  runs: Runs
  /** The log begins anew with this record: nothing that the journal said of its entries before counts any more. */
  isRestart: boolean
  /** The directory may hold files of the log that was given up. */
  hasLitter: boolean
  segments: SegmentState[]
  /** Whether the last segment is still written to. */
  lastIsActive: boolean
  snapshotIndex: number
  snapshotOffset: number
  snapshot: Uint8Array | undefined
}

const STATE_VERSION = 2
const LAST_IS_ACTIVE = 1
const IS_RESTART = 2
const HAS_LITTER = 4

export function encodeState(writer: ByteWriter, state: GroupState): void {
  writer.int32(STATE_VERSION)
  writer.int53(state.incarnation)
  writer.string(state.directory)
  writer.int32(state.term)
  writer.int53(state.votedFor)
  writer.int53(state.checkpointIndex)
  writer.int53(state.checkpointOffset)
  writer.int53(state.logStartOffset)
  writer.int53(state.firstIndex)
  const { runs } = state
  writer.int32(runs.length / 3)
  for (let at = 0; at < runs.length; at += 3) {
    writer.int32(runs[at]!)
    writer.int53(runs[at + 1]!)
    writer.int53(runs[at + 2]!)
  }
  writer.int32(state.segments.length)
  for (const segment of state.segments) {
    writer.int53(segment.baseOffset)
    writer.int53(segment.baseIndex)
    writer.int53(segment.endOffset)
    writer.int53(segment.sizeBytes)
    writer.int53(segment.firstTimestamp)
    writer.int53(segment.maxTimestamp)
    writer.int53(segment.maxTimestampOffset)
    writer.int53(segment.modifiedMs)
  }
  writer.int32(
    (state.lastIsActive ? LAST_IS_ACTIVE : 0) | (state.isRestart ? IS_RESTART : 0) | (state.hasLitter ? HAS_LITTER : 0),
  )
  writer.int53(state.snapshotIndex)
  writer.int53(state.snapshotOffset)
  writer.int32(state.snapshot === undefined ? 0 : 1)
  if (state.snapshot !== undefined) writer.bytes(state.snapshot)
}

/**
 * Reads a record of this version or of version 1.
 * @param isMetadata of group 0, whose entries have no offsets
 * @throws RangeError when the bytes are not a state record this version knows
 */
export function decodeState(bytes: Uint8Array, isMetadata: boolean): GroupState {
  const reader = new ByteReader(bytes)
  const version = reader.int32()
  if (version !== 1 && version !== STATE_VERSION) throw new RangeError('unknown version of a state record')
  const state: GroupState = {
    incarnation: reader.int53(),
    directory: reader.string(),
    term: reader.int32(),
    votedFor: version === 1 ? reader.int32() : reader.int53(),
    checkpointIndex: reader.int53(),
    checkpointOffset: reader.int53(),
    logStartOffset: reader.int53(),
    firstIndex: reader.int53(),
    runs: NO_RUNS,
    isRestart: false,
    hasLitter: false,
    segments: [],
    lastIsActive: false,
    snapshotIndex: 0,
    snapshotOffset: 0,
    snapshot: undefined,
  }
  const runs: Run[] = []
  for (let count = reader.int32(); count > 0; count--) {
    runs.push({ term: reader.int32(), startIndex: reader.int53(), startOffset: reader.int53() })
  }
  if (version === 1) takeEpochs(state, runs, isMetadata)
  else state.runs = runsOf(runs)
  for (let count = reader.int32(); count > 0; count--) {
    state.segments.push({
      baseOffset: reader.int53(),
      baseIndex: reader.int53(),
      endOffset: reader.int53(),
      sizeBytes: reader.int53(),
      firstTimestamp: reader.int53(),
      maxTimestamp: reader.int53(),
      maxTimestampOffset: reader.int53(),
      modifiedMs: reader.int53(),
    })
  }
  const flags = reader.int32()
  state.lastIsActive = (flags & LAST_IS_ACTIVE) !== 0
  state.isRestart = (flags & IS_RESTART) !== 0
  state.hasLitter = (flags & HAS_LITTER) !== 0
  state.snapshotIndex = reader.int53()
  state.snapshotOffset = reader.int53()
  if (reader.int32() === 1) state.snapshot = reader.bytes()
  return state
}

/**
 * Runs from what version 1 kept: of each term its start, but not of terms without offsets. Those were committed entries of a
 * single replica, one each, so any rising term does as well as the one that was forgotten.
 */
function takeEpochs(state: GroupState, epochs: readonly Run[], isMetadata: boolean): void {
  const { checkpointIndex } = state
  const known = epochs.filter((epoch) => epoch.startIndex <= checkpointIndex)
  const runs: Run[] = []
  const first = known[0]
  if (first !== undefined && first.startIndex > 1) {
    // What was before is forgotten with its terms: a peer that needs it gets a snapshot.
    const { startIndex, startOffset } = first
    runs.push({ term: Math.max(0, first.term - 1), startIndex: startIndex - 1, startOffset })
    state.firstIndex = Math.max(state.firstIndex, startIndex)
  }
  for (const [at, epoch] of known.entries()) {
    runs.push(epoch)
    if (isMetadata) continue
    const next = known[at + 1] ?? { startIndex: checkpointIndex + 1, startOffset: state.checkpointOffset }
    const lastBatchIndex = epoch.startIndex + (next.startOffset - epoch.startOffset)
    for (let index = lastBatchIndex + 1; index < next.startIndex; index++) {
      runs.push({ term: epoch.term, startIndex: index, startOffset: next.startOffset })
    }
  }
  state.runs = runsOf(runs)
}
