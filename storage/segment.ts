// One file of wire-ready batches with its indexes, and the pool that bounds how many such files are open.
//
// Segments belong to one group; written by write-behind.ts, read by segment-reader.ts, on the shard's thread. Only
// committed batches get here, so a segment never shrinks at its end.

import { lastOffsetOf, maxTimestampOf, sizeBytesOf } from '../protocol/records/batch.ts'
import type { Disk, File } from './disk.ts'
import { OFFSET_ENTRY_BYTES, OffsetIndex } from './offset-index.ts'
import type { CacheEntry } from './read-cache.ts'
import type { SegmentState } from './state-record.ts'
import { TIME_ENTRY_BYTES, TimeIndex } from './time-index.ts'

/** Kafka's segment.index.bytes: a segment whose index would be larger is rolled. */
const INDEX_BYTES_MAX = 10 << 20

export class Segment {
  readonly directory: string
  readonly baseOffset: number
  /** Raft index of its first batch. */
  readonly baseIndex: number
  /** Bytes laid out: the logical end. The file may be longer (reserved) or shorter (not written yet). */
  sizeBytes = 0
  /** Exclusive. */
  endOffset: number
  firstTimestamp = -1
  maxTimestamp = -1
  maxTimestampOffset = -1
  modifiedMs: number
  sealed = false
  /** What is on stable storage; undefined as long as nothing is. */
  durable: SegmentState | undefined
  /** Pieces in memory, by position. */
  cached: CacheEntry[] = []
  /** Loads under way, by position. */
  loads: Map<number, Promise<CacheEntry>> | undefined
  /** Undefined until they are needed. */
  offsetIndex: OffsetIndex | undefined
  timeIndex: TimeIndex | undefined
  indexLoading: Promise<void> | undefined
  /** The indexes were made from the batches in this life. */
  indexRemade = false
  bytesSinceIndex = 0
  /** Index entries that are in the files already. */
  savedOffsetEntries = 0
  savedTimeEntries = 0
  /** Whole blocks before this position were handed to the disk. */
  writtenEnd = 0
  /** File space is reserved up to here. */
  allocatedEnd = 0
  /** Has writes that no sync has covered yet. */
  unsynced = false
  removed = false
  file: File | undefined
  opening: Promise<File> | undefined
  users = 0

  constructor(directory: string, baseOffset: number, baseIndex: number, modifiedMs: number) {
    this.directory = directory
    this.baseOffset = baseOffset
    this.baseIndex = baseIndex
    this.endOffset = baseOffset
    this.modifiedMs = modifiedMs
  }

  /** A segment as a state record describes it; its files are not looked at. */
  static recovered(directory: string, state: SegmentState, sealed: boolean): Segment {
    const segment = new Segment(directory, state.baseOffset, state.baseIndex, state.modifiedMs)
    segment.sizeBytes = state.sizeBytes
    segment.endOffset = state.endOffset
    segment.firstTimestamp = state.firstTimestamp
    segment.maxTimestamp = state.maxTimestamp
    segment.maxTimestampOffset = state.maxTimestampOffset
    segment.durable = state
    segment.sealed = sealed
    // The last partial block is complete on disk, so the next write begins with it.
    segment.writtenEnd = state.sizeBytes
    segment.allocatedEnd = state.sizeBytes
    return segment
  }

  path(suffix: string): string {
    return `${this.directory}/${segmentName(this.baseOffset)}${suffix}`
  }

  /** The state as of everything laid out so far. */
  describe(): SegmentState {
    return {
      baseOffset: this.baseOffset,
      baseIndex: this.baseIndex,
      endOffset: this.endOffset,
      sizeBytes: this.sizeBytes,
      firstTimestamp: this.firstTimestamp,
      maxTimestamp: this.maxTimestamp,
      maxTimestampOffset: this.maxTimestampOffset,
      modifiedMs: this.modifiedMs,
    }
  }

  /** Books a batch that was laid out at the logical end. Order of the steps is Kafka's, so that its tools agree. */
  addBatch(bytes: Uint8Array, at: number, indexIntervalBytes: number, nowMs: number): void {
    const lastOffset = lastOffsetOf(bytes, at)
    const timestamp = maxTimestampOf(bytes, at)
    const size = sizeBytesOf(bytes, at)
    if (this.sizeBytes === 0) this.firstTimestamp = timestamp
    if (timestamp > this.maxTimestamp) {
      this.maxTimestamp = timestamp
      this.maxTimestampOffset = lastOffset
    }
    this.#index(lastOffset, this.sizeBytes, size, indexIntervalBytes, this.maxTimestamp, this.maxTimestampOffset)
    this.sizeBytes += size
    this.endOffset = lastOffset + 1
    this.modifiedMs = nowMs
  }

  /** Index entries for a batch that lies in the segment already: for rebuilding. */
  reindexBatch(bytes: Uint8Array, at: number, position: number, indexIntervalBytes: number, seen: MaxSoFar): void {
    const lastOffset = lastOffsetOf(bytes, at)
    const timestamp = maxTimestampOf(bytes, at)
    if (timestamp > seen.timestamp) {
      seen.timestamp = timestamp
      seen.offset = lastOffset
    }
    this.#index(lastOffset, position, sizeBytesOf(bytes, at), indexIntervalBytes, seen.timestamp, seen.offset)
  }

  #index(
    lastOffset: number,
    position: number,
    size: number,
    indexIntervalBytes: number,
    maxTimestamp: number,
    maxTimestampOffset: number,
  ): void {
    if (this.bytesSinceIndex > indexIntervalBytes) {
      this.offsetIndex!.append(lastOffset - this.baseOffset, position)
      if (maxTimestampOffset >= 0) this.timeIndex!.append(maxTimestamp, maxTimestampOffset - this.baseOffset)
      this.bytesSinceIndex = 0
    }
    this.bytesSinceIndex += size
  }

  /** Whether an index is as large as Kafka lets it become. */
  get indexIsFull(): boolean {
    return (
      ((this.offsetIndex?.count ?? 0) + 1) * OFFSET_ENTRY_BYTES > INDEX_BYTES_MAX ||
      ((this.timeIndex?.count ?? 0) + 1) * TIME_ENTRY_BYTES > INDEX_BYTES_MAX
    )
  }

  startIndexes(): void {
    this.offsetIndex = new OffsetIndex()
    this.timeIndex = new TimeIndex()
  }
}

export interface MaxSoFar {
  timestamp: number
  offset: number
}

export function segmentName(baseOffset: number): string {
  return String(baseOffset).padStart(20, '0')
}

/** Keeps at most so many segment files open; one in use, or with writes to sync, is never closed. */
export class FilePool {
  readonly #disk: Disk
  readonly #openMax: number
  /** Least recently used first. */
  readonly #open = new Set<Segment>()

  constructor(disk: Disk, openMax: number) {
    this.#disk = disk
    this.#openMax = openMax
  }

  /** Opens the segment's file if need be and keeps it open until done(). @throws DiskError */
  async use(segment: Segment, create: boolean): Promise<File> {
    segment.users += 1
    try {
      if (segment.file === undefined) {
        segment.opening ??= this.#openFile(segment, create)
        await segment.opening
      }
      this.#open.delete(segment)
      this.#open.add(segment)
      return segment.file!
    } catch (error) {
      segment.users -= 1
      throw error
    }
  }

  done(segment: Segment): void {
    segment.users -= 1
    if (segment.removed && segment.users === 0) this.close(segment)
    else this.#trim()
  }

  close(segment: Segment): void {
    const file = segment.file
    segment.file = undefined
    this.#open.delete(segment)
    // Nothing depends on the answer: what matters was synced.
    file?.close().catch(() => undefined)
  }

  async closeAll(): Promise<void> {
    const files: Promise<void>[] = []
    for (const segment of this.#open) {
      if (segment.file !== undefined) files.push(segment.file.close())
      segment.file = undefined
    }
    this.#open.clear()
    await Promise.allSettled(files)
  }

  async #openFile(segment: Segment, create: boolean): Promise<File> {
    try {
      const file = await this.#disk.open(segment.path('.log'), { mode: create ? 'create' : 'rw', direct: true })
      segment.file = file
      this.#open.add(segment)
      return file
    } finally {
      segment.opening = undefined
    }
  }

  #trim(): void {
    if (this.#open.size <= this.#openMax) return
    for (const segment of this.#open) {
      if (segment.users > 0 || segment.unsynced) continue
      this.close(segment)
      if (this.#open.size <= this.#openMax) return
    }
  }
}
