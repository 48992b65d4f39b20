// Reads from segments: from the cache at once, else from disk with read-ahead, each batch checked by its CRC.
//
// One per shard, touched only from its worker thread. Never hands out bytes that are not what was written: a mismatch is a
// StorageCorruption that says where.

import {
  baseOffsetOf,
  batchDefect,
  completeBatchBytes,
  lastOffsetOf,
  leaderEpochOf,
  maxTimestampOf,
  nextOffsetOf,
  sizeBytesOf,
} from '../protocol/records/batch.ts'
import type { Arena } from './arena.ts'
import { type DamagedRange, StorageCorruption } from './corruption.ts'
import { BLOCK_BYTES, type Disk, DiskError } from './disk.ts'
import type { GroupLog } from './log.ts'
import { OFFSET_ENTRY_BYTES, OffsetIndex } from './offset-index.ts'
import { CacheEntry, type ReadCache } from './read-cache.ts'
import { emptyRead, MemoryRead, type ReadResult } from './read-result.ts'
import type { FilePool, MaxSoFar, Segment } from './segment.ts'
import { TimeIndex } from './time-index.ts'

const ADVICE = 'Restore the segment from a replica or a backup, or delete records up to behind it.'
/** A sealed segment's index may end this far before the segment does: less is no reason to read it all. */
const INDEX_REMAINDER_BYTES = 1 << 20
/** A piece can be evicted between being loaded and being looked at; so often in a row means that memory is spent. */
const RETRIES_MAX = 1000
/** Sealed segments whose indexes are kept in memory. */
const INDEXES_MAX = 128

const NO_INDEX = new OffsetIndex()

export interface SegmentReaderOptions {
  readonly disk: Disk
  readonly arena: Arena
  readonly cache: ReadCache
  readonly pool: FilePool
  /** What a read that follows another one takes from disk at once. */
  readonly readAheadBytes: number
  /** What a read at a new place takes. */
  readonly readBytes: number
  log(level: 'info' | 'warn', message: string): void
  /** Resolves when arena memory was freed. */
  whenFreed(): Promise<void>
}

export class SegmentReader {
  readonly #options: SegmentReaderOptions
  readonly #arena: Arena
  readonly #cache: ReadCache
  /** Sealed segments with their indexes in memory, least recently used first. */
  readonly #indexed = new Set<Segment>()

  constructor(options: SegmentReaderOptions) {
    this.#options = options
    this.#arena = options.arena
    this.#cache = options.cache
  }

  read(
    group: GroupLog,
    offset: number,
    maxBytes: number,
    endOffset: number,
    atLeastOne: boolean,
  ): ReadResult | Promise<ReadResult> {
    const segment = segmentFor(group, offset)
    if (segment === undefined) return group.readTail(offset, maxBytes, endOffset, atLeastOne)
    if (offset < segment.baseOffset) offset = segment.baseOffset
    if (offset >= endOffset) return emptyRead(offset)
    const entry = this.#cache.find(segment, offset)
    if (entry === undefined) {
      this.#cache.misses += 1
      return this.#readCold(group, segment, offset, maxBytes, endOffset, atLeastOne)
    }
    this.#cache.hits += 1
    return this.#collect(group, entry, offset, maxBytes, endOffset, atLeastOne)
  }

  async findByTimestamp(group: GroupLog, timestampMs: number, endOffset: number): Promise<ReadResult | undefined> {
    let offset = group.logStartOffset
    for (const segment of [...(group.files?.segments ?? [])]) {
      if (segment.endOffset <= offset || segment.maxTimestamp < timestampMs || segment.removed) continue
      await this.#held(group, () => this.ensureIndex(group, segment))
      const floor = segment.timeIndex?.floorBelow(timestampMs) ?? -1
      const from = Math.max(offset, segment.baseOffset + floor + 1)
      const found = await this.#firstBatch(group, from, Math.min(endOffset, segment.endOffset), timestampMs)
      if (found !== undefined) return found
      offset = Math.max(offset, segment.endOffset)
    }
    offset = Math.max(offset, group.laidOffset)
    return this.#firstBatch(group, offset, endOffset, timestampMs)
  }

  async findMaxTimestamp(group: GroupLog, endOffset: number): Promise<ReadResult | undefined> {
    let best = -1
    let bestOffset = -1
    const look = (bytes: Uint8Array, at: number): boolean => {
      const timestamp = maxTimestampOf(bytes, at)
      if (timestamp > best) {
        best = timestamp
        bestOffset = baseOffsetOf(bytes, at)
      }
      return false
    }
    for (const segment of [...(group.files?.segments ?? [])]) {
      if (segment.endOffset <= group.logStartOffset || segment.removed) continue
      if (segment.endOffset <= endOffset && segment.baseOffset >= group.logStartOffset) {
        if (segment.maxTimestamp > best && segment.maxTimestampOffset >= 0) {
          best = segment.maxTimestamp
          bestOffset = segment.maxTimestampOffset
        }
      } else if (segment.maxTimestamp > best) {
        const from = Math.max(segment.baseOffset, group.logStartOffset)
        await this.#walk(group, from, Math.min(endOffset, segment.endOffset), look)
      }
    }
    await this.#walk(group, Math.max(group.laidOffset, group.logStartOffset), endOffset, look)
    if (bestOffset < 0) return undefined
    return group.read(bestOffset, 1, endOffset, true)
  }

  /** Loads the segment's indexes, or makes what is missing or wrong of them from the batches. @throws DiskError, StorageCorruption */
  ensureIndex(group: GroupLog, segment: Segment): Promise<void> {
    this.noteIndex(segment)
    if (segment.offsetIndex !== undefined) return Promise.resolve()
    segment.indexLoading ??= this.#loadIndex(group, segment).finally(() => {
      segment.indexLoading = undefined
    })
    return segment.indexLoading
  }

  /** The indexes of sealed segments stay in memory for those used last. */
  noteIndex(segment: Segment): void {
    if (!segment.sealed) return
    this.#indexed.delete(segment)
    this.#indexed.add(segment)
    if (this.#indexed.size <= INDEXES_MAX) return
    for (const oldest of this.#indexed) {
      this.#indexed.delete(oldest)
      if (oldest.indexLoading === undefined) {
        oldest.offsetIndex = undefined
        oldest.timeIndex = undefined
      }
      return
    }
  }

  async #firstBatch(
    group: GroupLog,
    offset: number,
    endOffset: number,
    timestampMs: number,
  ): Promise<ReadResult | undefined> {
    const found = await this.#walk(group, offset, endOffset, (bytes, at) => maxTimestampOf(bytes, at) >= timestampMs)
    return found < 0 ? undefined : group.read(found, 1, endOffset, true)
  }

  /** Visits batch headers; stops when the visitor says true. @returns base offset of that batch or -1 */
  async #walk(
    group: GroupLog,
    offset: number,
    endOffset: number,
    visit: (bytes: Uint8Array, at: number) => boolean,
  ): Promise<number> {
    while (offset < endOffset) {
      const result = await group.read(offset, this.#options.readBytes, endOffset, true)
      try {
        if (result.bytes === 0) return -1
        for (const fragment of result.fragments) {
          for (let at = 0; at < fragment.length; at += sizeBytesOf(fragment, at)) {
            if (visit(fragment, at)) return Math.max(offset, baseOffsetOf(fragment, at))
          }
        }
        offset = result.nextOffset
      } finally {
        result.release()
      }
    }
    return -1
  }

  /** Counts a read that is under way, so that files stay until it is done. */
  async #held<T>(group: GroupLog, work: () => Promise<T>): Promise<T> {
    const files = group.files!
    files.readers += 1
    try {
      return await work()
    } finally {
      files.readers -= 1
      if (files.readers === 0) files.whenUnread?.()
    }
  }

  #readCold(
    group: GroupLog,
    segment: Segment,
    offset: number,
    maxBytes: number,
    endOffset: number,
    atLeastOne: boolean,
  ): Promise<ReadResult> {
    return this.#held(group, async () => {
      for (let tries = 0; tries < RETRIES_MAX; tries++) {
        let entry: CacheEntry | undefined
        try {
          entry = await this.#entryFor(group, segment, offset, maxBytes)
        } catch (error) {
          // Retention or removal was quicker: there is nothing left to read.
          if (segment.removed) return emptyRead(offset)
          throw error
        }
        if (entry === undefined) return emptyRead(offset)
        if (entry.resident) return this.#collect(group, entry, offset, maxBytes, endOffset, atLeastOne)
      }
      throw new DiskError('ENOMEM', 'read', segment.path('.log'))
    })
  }

  /** The piece that holds the first batch ending behind `offset`, loaded when it is not in memory; it may be evicted by now. */
  async #entryFor(
    group: GroupLog,
    segment: Segment,
    offset: number,
    maxBytes: number,
  ): Promise<CacheEntry | undefined> {
    await this.ensureIndex(group, segment)
    for (;;) {
      const index = segment.offsetIndex ?? NO_INDEX
      const floor = index.floor(offset - segment.baseOffset)
      let position = floor < 0 ? 0 : index.positionAt(floor)
      // No batch before `position` reaches this offset.
      let reached = segment.baseOffset + (floor < 1 ? 0 : index.offsetAt(floor - 1) + 1)
      try {
        let checked = floor < 0
        while (position < segment.sizeBytes) {
          const present = this.#cache.find(segment, offset)
          if (present !== undefined) return present
          const bytes = Math.max(this.#options.readBytes, Math.min(maxBytes, this.#options.readAheadBytes))
          const entry = await this.#load(group, segment, position, bytes)
          if (!entry.resident) continue
          if (!checked) {
            const last = lastOffsetOf(this.#arena.bytes, entry.at + (position - entry.startPosition))
            if (last - segment.baseOffset !== index.offsetAt(floor)) {
              throw corrupt(segment, position, 'the offset index points at another batch')
            }
            checked = true
          }
          if (entry.endOffset > offset) return entry
          position = entry.endPosition
          reached = entry.endOffset
        }
        return undefined
      } catch (caught) {
        const error =
          caught instanceof StorageCorruption
            ? caught.within(damagedRange(segment, index, reached, caught.position))
            : caught
        if (error instanceof StorageCorruption) {
          const behind = await this.#entryBehind(group, segment, index, floor + 1, offset)
          if (behind !== undefined) return behind
        }
        // A wrong index is no damage: the batches are what counts. Tried once, as real damage looks the same.
        if (!(error instanceof StorageCorruption) || segment.indexRemade || floor < 0) throw error
        this.#options.log('warn', `${segment.path('.index')} does not fit its segment, making it anew`)
        const { offsetIndex, timeIndex, bytesSinceIndex } = segment
        segment.indexRemade = true
        segment.startIndexes()
        segment.bytesSinceIndex = 0
        try {
          await this.#scanIndex(group, segment, 0, { timestamp: -1, offset: -1 })
        } catch {
          segment.offsetIndex = offsetIndex
          segment.timeIndex = timeIndex
          segment.bytesSinceIndex = bytesSinceIndex
          throw error
        }
        segment.savedOffsetEntries = 0
        segment.savedTimeEntries = 0
      }
    }
  }

  /** Past a damaged batch: the next index entry's batch, if that is the one looked for. */
  async #entryBehind(
    group: GroupLog,
    segment: Segment,
    index: OffsetIndex,
    next: number,
    offset: number,
  ): Promise<CacheEntry | undefined> {
    if (next >= index.count) return undefined
    try {
      const entry = await this.#load(group, segment, index.positionAt(next), this.#options.readBytes)
      return entry.resident && entry.baseOffset <= offset && entry.endOffset > offset ? entry : undefined
    } catch {
      // The damage that led here is the one to report.
      return undefined
    }
  }

  #collect(
    group: GroupLog,
    first: CacheEntry,
    offset: number,
    maxBytes: number,
    endOffset: number,
    atLeastOne: boolean,
  ): ReadResult {
    const { bytes } = this.#arena
    const result = new MemoryRead(this.#arena, offset)
    let entry: CacheEntry | undefined = first
    let position = this.#positionIn(first, offset)
    let nextOffset = offset
    let full = false
    while (entry !== undefined && !full) {
      const from = position
      while (position < entry.endPosition) {
        const at: number = entry.at + (position - entry.startPosition)
        const size = sizeBytesOf(bytes, at)
        const next = nextOffsetOf(bytes, at)
        const taken = result.bytes + (position - from)
        if (next > endOffset || (taken + size > maxBytes && !(atLeastOne && taken === 0))) {
          full = true
          break
        }
        position += size
        nextOffset = next
      }
      if (position > from) {
        result.add(entry.at + (from - entry.startPosition), position - from, entry.runAt, nextOffset)
        entry.hintOffset = nextOffset
        entry.hintPosition = position
        this.#cache.touch(entry, from, position)
      }
      if (full || position < entry.endPosition) break
      const following = this.#cache.find(first.segment, nextOffset)
      if (following === undefined || following.startPosition !== position) {
        this.#readAhead(group, entry)
        break
      }
      entry = following
    }
    if (!full && entry !== undefined && position >= entry.endPosition) this.#readAhead(group, entry)
    return result
  }

  /** Position of the first batch in the piece that ends behind `offset`. */
  #positionIn(entry: CacheEntry, offset: number): number {
    const { bytes } = this.#arena
    let position = entry.startPosition
    if (entry.hintOffset >= 0 && entry.hintOffset <= offset) {
      position = entry.hintPosition
    } else {
      const { offsetIndex, baseOffset } = entry.segment
      const floor = offsetIndex?.floor(offset - baseOffset) ?? -1
      const indexed = floor < 0 ? 0 : offsetIndex!.positionAt(floor)
      if (indexed > position && indexed < entry.endPosition && lastOffsetAt(bytes, entry, indexed) <= offset) {
        position = indexed
      }
    }
    while (position < entry.endPosition) {
      const at = entry.at + (position - entry.startPosition)
      if (nextOffsetOf(bytes, at) > offset) break
      position += sizeBytesOf(bytes, at)
    }
    return position
  }

  /** A consumer came to the end of a piece: have the next one ready. */
  #readAhead(group: GroupLog, entry: CacheEntry): void {
    const { segment } = entry
    const position = entry.endPosition
    if (position >= segment.sizeBytes || segment.removed || segment.loads?.has(position) === true) return
    if (this.#arena.room('readahead') < this.#options.readAheadBytes) return
    if (segment.cached.some((other) => other.startPosition <= position && other.endPosition > position)) return
    // Whoever needs the piece reports what is wrong with it.
    this.#held(group, () => this.#load(group, segment, position, this.#options.readAheadBytes)).catch(() => undefined)
  }

  /** The piece that begins at a batch's file position. */
  #load(group: GroupLog, segment: Segment, position: number, bytes: number): Promise<CacheEntry> {
    const present = segment.cached.find((entry) => entry.startPosition <= position && entry.endPosition > position)
    if (present !== undefined) return Promise.resolve(present)
    const underWay = segment.loads?.get(position)
    if (underWay !== undefined) return underWay
    segment.loads ??= new Map()
    const loading = this.#loadFromDisk(group, segment, position, bytes).finally(() => {
      segment.loads?.delete(position)
      if (segment.loads?.size === 0) segment.loads = undefined
    })
    segment.loads.set(position, loading)
    return loading
  }

  async #loadFromDisk(group: GroupLog, segment: Segment, position: number, bytes: number): Promise<CacheEntry> {
    const arena = this.#arena
    const start = position - (position % BLOCK_BYTES)
    for (let wanted = bytes; ; ) {
      const end = Math.min(position + wanted, this.#loadEnd(segment, position))
      const length = Math.ceil((end - start) / BLOCK_BYTES) * BLOCK_BYTES
      const runAt = await this.#allocate(length, segment)
      let handedOver = false
      try {
        const file = await this.#options.pool.use(segment, false)
        let count: number
        try {
          count = await readAll(file, arena, runAt, length, start)
        } finally {
          this.#options.pool.done(segment)
        }
        const from = runAt + (position - start)
        const to = Math.min(runAt + count, runAt + (end - start))
        let at = from
        let nextOffset = -1
        const baseOffset = to - from >= 12 ? baseOffsetOf(arena.bytes, from) : -1
        let defect: string | undefined
        for (let size = 0; (size = completeBatchBytes(arena.bytes, at, to)) > 0; at += size) {
          defect = batchDefect(arena.bytes, at, to) ?? misplaced(group, segment, arena.bytes, at, nextOffset)
          if (defect !== undefined) break
          nextOffset = nextOffsetOf(arena.bytes, at)
        }
        if (at === from) {
          const size = to - from >= 12 ? sizeBytesOf(arena.bytes, from) : -1
          const limit = segment.sizeBytes - position
          if (defect === undefined && size > to - from && size <= limit && wanted < limit && count >= end - start) {
            wanted = size
            continue
          }
          throw corrupt(segment, position, defect ?? 'there is no complete batch')
        }
        const entry = new CacheEntry(
          segment,
          position,
          position + (at - from),
          baseOffset,
          nextOffset,
          runAt,
          from,
          'scan',
        )
        if (segment.removed) throw new DiskError('ENOENT', 'read', segment.path('.log'))
        // Another load from a batch further on may have been quicker: the pieces of a segment never overlap.
        const overlapping = this.#cache.following(segment, position)
        if (overlapping !== undefined && overlapping.startPosition < entry.endPosition) {
          if (overlapping.startPosition === position) return overlapping
          return this.#insertShorter(segment, entry, overlapping.startPosition, () => {
            handedOver = true
          })
        }
        handedOver = true
        this.#cache.insert(entry)
        return entry
      } finally {
        if (!handedOver) arena.release(runAt)
      }
    }
  }

  #insertShorter(segment: Segment, entry: CacheEntry, end: number, taken: () => void): CacheEntry {
    const { bytes } = this.#arena
    let position = entry.startPosition
    let nextOffset = entry.baseOffset
    while (position < end) {
      const at = entry.at + (position - entry.startPosition)
      nextOffset = nextOffsetOf(bytes, at)
      position += sizeBytesOf(bytes, at)
    }
    const { startPosition, baseOffset, runAt, at } = entry
    const shorter = new CacheEntry(segment, startPosition, position, baseOffset, nextOffset, runAt, at, 'scan')
    taken()
    this.#cache.insert(shorter)
    return shorter
  }

  /** Where a load from a position must end: at the next piece in memory, which may not be on disk yet. */
  #loadEnd(segment: Segment, position: number): number {
    return this.#cache.following(segment, position)?.startPosition ?? segment.sizeBytes
  }

  async #allocate(bytes: number, segment: Segment): Promise<number> {
    for (let tries = 0; tries < RETRIES_MAX; tries++) {
      const at = this.#cache.allocate(bytes, 'readahead')
      if (at >= 0) return at
      await this.#options.whenFreed()
    }
    throw new DiskError('ENOMEM', 'read', segment.path('.log'))
  }

  async #loadIndex(group: GroupLog, segment: Segment): Promise<void> {
    const endOffset = segment.endOffset - segment.baseOffset
    const offsetBytes = await this.#readFile(segment.path('.index'))
    const timeBytes = await this.#readFile(segment.path('.timeindex'))
    const offsets = OffsetIndex.decode(offsetBytes, endOffset, segment.sizeBytes)
    const times = TimeIndex.decode(timeBytes, endOffset)
    times.truncateFrom(Math.max(0, offsets.lastOffset + 1))
    const remainder = segment.sizeBytes - offsets.lastPosition
    const complete = segment.sealed && remainder <= INDEX_REMAINDER_BYTES
    segment.savedOffsetEntries = offsets.count
    segment.savedTimeEntries = times.count
    segment.offsetIndex = offsets
    segment.timeIndex = times
    if (complete) {
      // The entry that sealing added may lie behind the last offset entry.
      if (segment.maxTimestampOffset >= 0)
        times.append(segment.maxTimestamp, segment.maxTimestampOffset - segment.baseOffset)
      return
    }
    if (remainder > INDEX_REMAINDER_BYTES) {
      this.#options.log('info', `${segment.path('.index')}: making entries for ${remainder} bytes`)
    }
    const seen = {
      timestamp: times.lastTimestamp,
      offset: times.lastOffset < 0 ? -1 : times.lastOffset + segment.baseOffset,
    }
    segment.bytesSinceIndex = 0
    try {
      await this.#scanIndex(group, segment, offsets.lastPosition, seen)
      return
    } catch (error) {
      if (!(error instanceof StorageCorruption)) {
        segment.offsetIndex = undefined
        segment.timeIndex = undefined
        throw error
      }
    }
    // The entries led to no batch, or there is damage: start from the first batch and go as far as it goes.
    segment.startIndexes()
    segment.bytesSinceIndex = 0
    segment.savedOffsetEntries = 0
    segment.savedTimeEntries = 0
    try {
      await this.#scanIndex(group, segment, 0, { timestamp: -1, offset: -1 })
    } catch (error) {
      if (!(error instanceof StorageCorruption)) throw error
      segment.indexRemade = true
      this.#options.log('warn', error.message)
    }
  }

  /** Makes index entries for the batches from a position on. */
  async #scanIndex(group: GroupLog, segment: Segment, position: number, seen: MaxSoFar): Promise<void> {
    const { indexIntervalBytes } = group.config
    const end = segment.sizeBytes
    // The batch of the last entry is counted, but not entered again.
    let first = position > 0
    while (position < end) {
      const entry = await this.#load(group, segment, position, this.#options.readAheadBytes)
      if (!entry.resident) continue
      while (position < entry.endPosition && position < end) {
        const at = entry.at + (position - entry.startPosition)
        const size = sizeBytesOf(this.#arena.bytes, at)
        if (first) segment.bytesSinceIndex = size
        else segment.reindexBatch(this.#arena.bytes, at, position, indexIntervalBytes, seen)
        first = false
        position += size
      }
    }
  }

  async #readFile(path: string): Promise<Uint8Array> {
    const { disk } = this.#options
    const stat = await disk.stat(path)
    if (stat === undefined || stat.sizeBytes < OFFSET_ENTRY_BYTES) return new Uint8Array(0)
    const file = await disk.open(path, { mode: 'r', direct: false })
    try {
      const bytes = new Uint8Array(stat.sizeBytes)
      let done = 0
      while (done < bytes.length) {
        const count = await file.read(bytes.subarray(done), done)
        if (count === 0) break
        done += count
      }
      return bytes.subarray(0, done)
    } finally {
      await file.close()
    }
  }
}

function lastOffsetAt(bytes: Uint8Array, entry: CacheEntry, position: number): number {
  return lastOffsetOf(bytes, entry.at + (position - entry.startPosition))
}

/** The segment that holds the first batch ending behind an offset. */
export function segmentFor(group: GroupLog, offset: number): Segment | undefined {
  const segments = group.files?.segments
  if (segments === undefined) return undefined
  let low = 0
  let high = segments.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (segments[middle]!.endOffset > offset) high = middle
    else low = middle + 1
  }
  return segments[low]
}

/** Where a batch lies and under which term is outside its CRC, but the log knows both. */
function misplaced(
  group: GroupLog,
  segment: Segment,
  bytes: Uint8Array,
  at: number,
  expected: number,
): string | undefined {
  const offset = baseOffsetOf(bytes, at)
  if (offset < segment.baseOffset || nextOffsetOf(bytes, at) > segment.endOffset) {
    return 'the batch belongs to other offsets'
  }
  if (expected >= 0 && offset !== expected) return `the batch has offset ${offset}, not ${expected}`
  if (segment.removed) return undefined
  const index = group.indexOfOffset(offset)
  if (index < group.firstIndex) return undefined
  const term = group.termAt(index)
  if (leaderEpochOf(bytes, at) !== term) return `the batch has leader epoch ${leaderEpochOf(bytes, at)}, not ${term}`
  return undefined
}

function corrupt(segment: Segment, position: number, what: string): StorageCorruption {
  return new StorageCorruption(what, segment.path('.log'), position, ADVICE)
}

/** Where the damage at a position lies in offsets: it ends at the latest with the next batch that the index knows. */
function damagedRange(segment: Segment, index: OffsetIndex, startOffset: number, position: number): DamagedRange {
  let next = 0
  while (next < index.count && index.positionAt(next) <= position) next++
  const endOffset = next < index.count ? segment.baseOffset + index.offsetAt(next) + 1 : segment.endOffset
  return { startOffset, endOffset }
}

async function readAll(
  file: { read(into: Uint8Array, position: number): Promise<number> },
  arena: Arena,
  at: number,
  length: number,
  position: number,
): Promise<number> {
  let done = 0
  while (done < length) {
    const count = await file.read(arena.view(at + done, length - done), position + done)
    done += count
    if (count === 0 || done % BLOCK_BYTES !== 0) break
  }
  return done
}
