// The state record of a group: everything the journal must still know of it when its older records are forgotten.
//
// Pure; written by log.ts at creation, at each checkpoint and when it is carried forward, read by recovery.
// Format: README.md, "State record".

import { ByteReader, type ByteWriter } from './encoding.ts'

/** Where a leader's term begins in the log. */
export interface EpochStart {
  readonly term: number
  readonly startIndex: number
  readonly startOffset: number
}

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
  epochs: EpochStart[]
  segments: SegmentState[]
  /** Whether the last segment is still written to. */
  lastIsActive: boolean
  snapshotIndex: number
  snapshotOffset: number
  snapshot: Uint8Array | undefined
}

const STATE_VERSION = 1

export function encodeState(writer: ByteWriter, state: GroupState): void {
  writer.int32(STATE_VERSION)
  writer.int53(state.incarnation)
  writer.string(state.directory)
  writer.int32(state.term)
  writer.int32(state.votedFor)
  writer.int53(state.checkpointIndex)
  writer.int53(state.checkpointOffset)
  writer.int53(state.logStartOffset)
  writer.int53(state.firstIndex)
  writer.int32(state.epochs.length)
  for (const epoch of state.epochs) {
    writer.int32(epoch.term)
    writer.int53(epoch.startIndex)
    writer.int53(epoch.startOffset)
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
  writer.int32(state.lastIsActive ? 1 : 0)
  writer.int53(state.snapshotIndex)
  writer.int53(state.snapshotOffset)
  writer.int32(state.snapshot === undefined ? 0 : 1)
  if (state.snapshot !== undefined) writer.bytes(state.snapshot)
}

/** @throws RangeError when the bytes are not a state record this version knows */
export function decodeState(bytes: Uint8Array): GroupState {
  const reader = new ByteReader(bytes)
  if (reader.int32() !== STATE_VERSION) throw new RangeError('unknown version of a state record')
  const state: GroupState = {
    incarnation: reader.int53(),
    directory: reader.string(),
    term: reader.int32(),
    votedFor: reader.int32(),
    checkpointIndex: reader.int53(),
    checkpointOffset: reader.int53(),
    logStartOffset: reader.int53(),
    firstIndex: reader.int53(),
    epochs: [],
    segments: [],
    lastIsActive: false,
    snapshotIndex: 0,
    snapshotOffset: 0,
    snapshot: undefined,
  }
  for (let count = reader.int32(); count > 0; count--) {
    state.epochs.push({ term: reader.int32(), startIndex: reader.int53(), startOffset: reader.int53() })
  }
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
  state.lastIsActive = reader.int32() === 1
  state.snapshotIndex = reader.int53()
  state.snapshotOffset = reader.int53()
  if (reader.int32() === 1) state.snapshot = reader.bytes()
  return state
}
