// Committed batches from journal memory into segments, then the checkpoint that lets the journal forget them.
//
// One per shard, touched only from its worker thread. One job per group at a time lays batches out in chunks, rolls
// segments, syncs and writes the state record; several groups' jobs and several chunk writes of a group run at once. A chunk
// never changes once it is made, so it can be written and read while the next one is filled. Order of the steps: README.md,
// "Write-behind".

import { maxTimestampOf } from '../protocol/records/batch.ts'
import type { Arena } from './arena.ts'
import { DurableDirectories } from './directories.ts'
import { asDiskError, BLOCK_BYTES, type Disk, DiskError, type File } from './disk.ts'
import { activeOf, filesOf, type GroupFiles, isOver } from './group-files.ts'
import type { Journal } from './journal.ts'
import { alignUp } from './journal-format.ts'
import type { GroupLog } from './log.ts'
import { OFFSET_ENTRY_BYTES } from './offset-index.ts'
import { CacheEntry, type ReadCache } from './read-cache.ts'
import { mustRoll } from './retention.ts'
import { type FilePool, Segment } from './segment.ts'
import type { SegmentReader } from './segment-reader.ts'
import { isOutOfSpace, type Space } from './space.ts'
import type { TailItem } from './tail.ts'
import { TIME_ENTRY_BYTES } from './time-index.ts'

/** What a job is asked to do. */
export const LAY_OUT_CHUNKS = 1
export const LAY_OUT_ALL = 2
export const CHECKPOINT = 3

/** New segments at once while there is memory to wait in, and when there is not. */
const CREATIONS_EASY = 1
const CREATIONS_MAX = 16
const ALLOCATE_MIN_BYTES = 256 * 1024
const ALLOCATE_MAX_BYTES = 32 << 20
/** Index entries that gather before they are written to the file of an active segment. */
const SAVE_INDEX_ENTRIES = 64

export interface WriteBehindOptions {
  readonly disk: Disk
  readonly arena: Arena
  readonly journal: Journal<GroupLog>
  readonly cache: ReadCache
  readonly pool: FilePool
  readonly reader: SegmentReader
  readonly chunkBytes: number
  readonly writesInFlightMax: number
  readonly space: Space
  isClosing(): boolean
  nowMs(): number
  log(level: 'info' | 'warn', message: string): void
  whenFreed(): Promise<void>
  /** Resolves when an earlier group's files in the same directory are gone. */
  whenDirectoryFree(group: GroupLog): Promise<void> | undefined
}

export class WriteBehind {
  writtenBytes = 0
  checkpointCount = 0
  readonly #options: WriteBehindOptions
  readonly #arena: Arena
  readonly #directories: DurableDirectories
  #writesInFlight = 0
  #slotWaiters: (() => void)[] = []
  #creations = 0
  #creationWaiters: (() => void)[] = []
  #canReserve = true

  constructor(options: WriteBehindOptions) {
    this.#options = options
    this.#directories = new DurableDirectories(options.disk)
    this.#arena = options.arena
  }

  /** Starts the group's job, or asks the running one for more. Resolves when that much is done, or storage has failed. */
  request(group: GroupLog, wanted: number): Promise<void> {
    if (!group.attached || group.removed) return Promise.resolve()
    const files = filesOf(group)
    if (wanted > files.wanted) files.wanted = wanted
    files.running ??= this.#run(group, files)
    return files.running
  }

  /** Removes what an earlier life left in the group's directory and no state record mentions. */
  sweep(group: GroupLog, files = filesOf(group)): Promise<void> {
    if (files.swept) return Promise.resolve()
    files.sweeping ??= this.#sweep(group, files).finally(() => {
      files.sweeping = undefined
    })
    return files.sweeping
  }

  /** Writes the index entries of the active segment that are in memory only, so that the next start need not make them. */
  async saveIndex(group: GroupLog): Promise<void> {
    const segment = group.files === undefined ? undefined : activeOf(group.files)
    if (segment !== undefined) await this.#saveIndex(segment, 1)
  }

  /** Closes the segment being written, so that its successor starts at the next batch. Within no job: for retention. */
  async sealActive(group: GroupLog): Promise<void> {
    const files = filesOf(group)
    while (files.running !== undefined) await files.running
    const active = activeOf(files)
    if (active === undefined || isOver(group, files) || this.#options.journal.failed !== undefined) return
    files.running = this.#guarded(group, files, () => this.#seal(group, files, active))
    await files.running
  }

  /** Groups have lost their files: whoever waits for its turn, or for space, looks whether it is still wanted. */
  wake(): void {
    for (const waiters of [this.#slotWaiters.splice(0), this.#creationWaiters.splice(0)]) {
      for (const wake of waiters) wake()
    }
    this.#options.space.wake()
  }

  /** Does what takes space, as often as it needs to find some. @throws DiskError when the group does not want it any more */
  #retry<T>(group: GroupLog, files: GroupFiles, work: () => Promise<T>): Promise<T> {
    return this.#options.space.retry(work, () => this.#isOver(group, files))
  }

  #isOver(group: GroupLog, files: GroupFiles): boolean {
    return isOver(group, files) || this.#options.journal.failed !== undefined
  }

  async #run(group: GroupLog, files: GroupFiles): Promise<void> {
    await this.#guarded(group, files, async () => {
      while (files.wanted > 0 && !isOver(group, files) && this.#options.journal.failed === undefined) {
        const { wanted } = files
        files.wanted = 0
        if (!group.isMetadata) await this.#layOut(group, files, wanted >= LAY_OUT_ALL)
        if (wanted >= CHECKPOINT && !isOver(group, files)) await this.#checkpoint(group, files)
      }
    })
  }

  async #guarded(group: GroupLog, files: GroupFiles, work: () => Promise<void>): Promise<void> {
    // A turn later, so that the caller has noted the promise before it can be over.
    await undefined
    try {
      await work()
    } catch (error) {
      if (isOver(group, files) && error instanceof DiskError) return
      // Closing does not wait for space: what is not in a segment is in the journal, and no state record says otherwise.
      if (this.#options.isClosing() && isOutOfSpace(error)) return
      this.#options.journal.fail(asDiskError(error, 'write', group.directory))
    } finally {
      files.running = undefined
    }
  }

  async #layOut(group: GroupLog, files: GroupFiles, all: boolean): Promise<void> {
    const { chunkBytes } = this.#options
    for (;;) {
      const tail = group.tail
      if (tail === undefined || tail.committedLength === 0 || isOver(group, files)) break
      // Nothing is taken from the tail once the journal has failed: without this the loop would never end.
      if (this.#options.journal.failed !== undefined) break
      if (!all && tail.committedBytes < chunkBytes) break
      const first = tail.first!
      if (first.span === 0) {
        this.#arena.release(group.takeFirst().runAt)
        group.dropEmptyTail()
        continue
      }
      // A chunk that cannot be written holds memory that readers need.
      await this.#options.space.whenNotFull(() => this.#isOver(group, files))
      if (isOver(group, files)) break
      let segment = activeOf(files)
      if (segment !== undefined) {
        await this.#options.reader.ensureIndex(group, segment)
        if (isOver(group, files)) break
        if (
          mustRoll(segment, segment.sizeBytes, first, this.#timestampOf(first), group.config, this.#options.nowMs())
        ) {
          await this.#seal(group, files, segment)
          segment = undefined
          if (isOver(group, files)) break
        }
      }
      segment ??= await this.#createSegment(group, files, first)
      if (segment === undefined || isOver(group, files)) break
      const { count, bytes } = this.#plan(group, segment, chunkBytes)
      await this.#makeChunk(group, files, segment, count, bytes)
    }
    group.dropEmptyTail()
  }

  #timestampOf(item: TailItem): number {
    return maxTimestampOf(this.#arena.bytes, item.at)
  }

  /** How many of the first items go into the next chunk, and the bytes of their batches. */
  #plan(group: GroupLog, segment: Segment, chunkBytes: number): { count: number; bytes: number } {
    const tail = group.tail!
    const nowMs = this.#options.nowMs()
    let count = 0
    let bytes = 0
    while (count < tail.committedLength) {
      const item = tail.item(count)!
      if (item.span > 0) {
        if (bytes > 0 && bytes + item.bytes > chunkBytes) break
        const size = segment.sizeBytes + bytes
        // The first batch was judged before; a fresh segment takes its first batch whatever it is.
        if (bytes > 0 && mustRoll(segment, size, item, this.#timestampOf(item), group.config, nowMs)) break
        if (bytes === 0 && segment.sizeBytes === 0) segment.firstTimestamp = this.#timestampOf(item)
        bytes += item.bytes
      }
      count += 1
    }
    return { count, bytes }
  }

  async #makeChunk(group: GroupLog, files: GroupFiles, segment: Segment, count: number, bytes: number): Promise<void> {
    const { cache, journal, nowMs } = this.#options
    const { indexIntervalBytes } = group.config
    const startPosition = segment.sizeBytes
    const headBytes = startPosition % BLOCK_BYTES
    const end = headBytes + bytes
    const blockEnd = alignUp(end, BLOCK_BYTES)
    const runAt = await this.#allocate(group, files, blockEnd)
    if (runAt < 0) return
    try {
      if (headBytes > 0) await this.#copyHead(files, segment, startPosition, headBytes, runAt)
    } catch (error) {
      this.#arena.release(runAt)
      throw error
    }
    if (isOver(group, files) || journal.failed !== undefined) {
      this.#arena.release(runAt)
      return
    }
    const arenaBytes = this.#arena.bytes
    const time = nowMs()
    const baseOffset = group.laidOffset
    let at = runAt + headBytes
    for (let taken = 0; taken < count; taken++) {
      const item = group.takeFirst()
      if (item.span > 0) {
        arenaBytes.copyWithin(at, item.at, item.at + item.bytes)
        segment.addBatch(arenaBytes, at, indexIntervalBytes, time)
        at += item.bytes
      }
      this.#arena.release(item.runAt)
    }
    arenaBytes.fill(0, at, runAt + blockEnd)
    const entry = new CacheEntry(
      segment,
      startPosition,
      segment.sizeBytes,
      baseOffset,
      segment.endOffset,
      runAt,
      runAt + headBytes,
      'fresh',
    )
    entry.pins = 1
    cache.insert(entry)
    files.lastChunk = entry
    group.dropEmptyTail()
    // Whole blocks now; what is behind them with the next chunk, or with the checkpoint. Until the block that holds its
    // last bytes is on disk, a chunk is the only place to read them from.
    const wholeEnd = segment.sizeBytes - (segment.sizeBytes % BLOCK_BYTES)
    const from = startPosition - headBytes
    const covered = wholeEnd > from ? files.unwritten : []
    if (wholeEnd > from) files.unwritten = []
    files.unwritten.push(entry)
    if (wholeEnd > from) await this.#write(group, files, segment, entry, from, wholeEnd, runAt, covered)
  }

  /** The bytes between the last block boundary and the end of the segment: the next write begins with them. */
  async #copyHead(
    files: GroupFiles,
    segment: Segment,
    startPosition: number,
    headBytes: number,
    runAt: number,
  ): Promise<void> {
    const last = files.lastChunk
    const { bytes } = this.#arena
    if (last?.resident && last.segment === segment && last.endPosition === startPosition) {
      // Also when the chunk itself begins within the block: its own head lies before it.
      const end = last.at + (last.endPosition - last.startPosition)
      bytes.copyWithin(runAt, end - headBytes, end)
      return
    }
    const file = await this.#options.pool.use(segment, false)
    try {
      const position = startPosition - headBytes
      let count = 0
      while (count < headBytes) {
        const read = await file.read(this.#arena.view(runAt, BLOCK_BYTES), position)
        if (read <= count) break
        count = read
      }
      if (count < headBytes) throw new DiskError('EIO', 'read', segment.path('.log'))
    } finally {
      this.#options.pool.done(segment)
    }
  }

  /** Hands blocks of a chunk to the disk; resolves when it is under way, not when it is done. */
  async #write(
    group: GroupLog,
    files: GroupFiles,
    segment: Segment,
    entry: CacheEntry,
    from: number,
    end: number,
    runAt: number,
    covered: readonly CacheEntry[],
  ): Promise<void> {
    const { pool, journal, writesInFlightMax } = this.#options
    entry.pins += 1
    segment.writtenEnd = Math.max(segment.writtenEnd, Math.min(end, segment.sizeBytes))
    segment.unsynced = true
    let file: File | undefined
    const letGo = (): void => {
      if (file !== undefined) pool.done(segment)
      unpin(entry)
      for (const other of covered) unpin(other)
    }
    try {
      file = await this.#retry(group, files, () => pool.use(segment, true))
      await this.#reserve(group, files, segment, file, end)
      while (this.#writesInFlight >= writesInFlightMax && !this.#isOver(group, files)) {
        await new Promise<void>((wake) => this.#slotWaiters.push(wake))
      }
    } catch (error) {
      files.refused ??= asDiskError(error, 'write', segment.path('.log'))
      letGo()
      throw error
    }
    if (this.#isOver(group, files)) {
      letGo()
      return
    }
    this.#writesInFlight += 1
    files.writesInFlight += 1
    this.writtenBytes += end - from
    const over = (): void => {
      this.#writesInFlight -= 1
      files.writesInFlight -= 1
      letGo()
      this.#slotWaiters.shift()?.()
      if (files.writesInFlight === 0) files.whenWritten?.()
    }
    this.#put(group, files, file, this.#arena.view(runAt, end - from), from).then(over, (error) => {
      const failure = asDiskError(error, 'write', segment.path('.log'))
      files.refused ??= failure
      const isGivenUp = isOver(group, files) || this.#options.isClosing()
      if (!isGivenUp || !isOutOfSpace(failure)) journal.fail(failure)
      over()
    })
  }

  /** Through the page cache a refusal may be about what was written before, and lost: only a direct write is tried again. */
  #put(group: GroupLog, files: GroupFiles, file: File, bytes: Uint8Array, position: number): Promise<void> {
    const write = (): Promise<void> => file.write(bytes, position, false)
    return file.direct ? this.#retry(group, files, write) : write()
  }

  async #written(files: GroupFiles): Promise<void> {
    while (files.writesInFlight > 0) {
      await new Promise<void>((wake) => {
        files.whenWritten = wake
      })
    }
    files.whenWritten = undefined
    if (this.#options.journal.failed !== undefined) throw this.#options.journal.failed
    if (files.refused !== undefined) throw files.refused
  }

  /** Sets file space aside in steps that grow with the segment: idle partitions take little, busy ones rarely ask. */
  async #reserve(group: GroupLog, files: GroupFiles, segment: Segment, file: File, end: number): Promise<void> {
    if (end <= segment.allocatedEnd || !this.#canReserve) return
    const { segmentBytes } = group.config
    const from = segment.allocatedEnd - (segment.allocatedEnd % BLOCK_BYTES)
    const step = Math.min(ALLOCATE_MAX_BYTES, Math.max(ALLOCATE_MIN_BYTES, from))
    const length = alignUp(Math.max(end - from, Math.min(step, segmentBytes - from)), BLOCK_BYTES)
    try {
      await this.#retry(group, files, () => file.allocate(from, length, 'keep-size'))
      segment.allocatedEnd = from + length
    } catch (error) {
      const failure = asDiskError(error, 'allocate', segment.path('.log'))
      if (isOutOfSpace(failure)) throw failure
      this.#canReserve = false
      this.#options.log('info', `${failure.message}: files grow as they are written instead`)
    }
  }

  /** Writes the last, partial block too and waits until all of the segment is written. */
  async #writeTail(group: GroupLog, files: GroupFiles, segment: Segment): Promise<void> {
    const last = files.lastChunk
    if (last !== undefined && last.segment === segment && segment.writtenEnd < segment.sizeBytes) {
      // A block written before is written again with the same bytes in front; never while that write is under way.
      await this.#written(files)
      const position = segment.sizeBytes - (segment.sizeBytes % BLOCK_BYTES)
      const at = last.at + (position - last.startPosition)
      const covered = files.unwritten
      files.unwritten = []
      await this.#write(group, files, segment, last, position, position + BLOCK_BYTES, at, covered)
      segment.writtenEnd = segment.sizeBytes
    }
    await this.#written(files)
    for (const entry of files.unwritten) unpin(entry)
    files.unwritten = []
  }

  async #sync(group: GroupLog, files: GroupFiles, segment: Segment): Promise<void> {
    const { pool } = this.#options
    const file = await pool.use(segment, true)
    try {
      await file.sync()
      segment.unsynced = false
    } finally {
      pool.done(segment)
    }
    if (files.directoryDirty) {
      await this.#options.disk.syncDirectory(group.directory)
      files.directoryDirty = false
    }
  }

  async #checkpoint(group: GroupLog, files: GroupFiles): Promise<void> {
    const { journal } = this.#options
    const segment = activeOf(files)
    if (segment !== undefined && (segment.unsynced || segment.writtenEnd < segment.sizeBytes)) {
      await this.#writeTail(group, files, segment)
      await this.#sync(group, files, segment)
      await this.#saveIndex(segment, SAVE_INDEX_ENTRIES)
      if (isOver(group, files)) return
    }
    if (segment !== undefined && segment.sizeBytes > 0) segment.durable = segment.describe()
    if (!group.isMetadata) {
      group.segmentIndex = group.laidIndex
      group.segmentOffset = group.laidOffset
    }
    const sequence = group.emitState()
    const snapshotIndex = group.snapshotIndex
    await journal.whenDurable(sequence)
    this.checkpointCount += 1
    if (isOver(group, files)) return
    if (group.isMetadata) {
      while (group.tail !== undefined && group.tail.committedLength > 0) {
        if (group.tail.first!.lastIndex > snapshotIndex) break
        this.#arena.release(group.takeFirst().runAt)
        group.firstIndex = group.laidIndex + 1
      }
      group.dropEmptyTail()
    }
    // Nothing was laid out meanwhile: this job is the only one that does.
    group.uncoveredSequence = Number.POSITIVE_INFINITY
  }

  /**
   * Makes the next segment's files, a few groups at a time: what that changes in the file system holds up flush rounds, and
   * partitions that are written to evenly would all do it at the same moment.
   */
  async #createSegment(group: GroupLog, files: GroupFiles, first: TailItem): Promise<Segment | undefined> {
    while (this.#creations >= this.#creationsAtOnce() && !isOver(group, files)) {
      await new Promise<void>((wake) => this.#creationWaiters.push(wake))
    }
    if (isOver(group, files)) return undefined
    this.#creations += 1
    try {
      return await this.#createSegmentFiles(group, files, first)
    } finally {
      this.#creations -= 1
      this.#creationWaiters.shift()?.()
    }
  }

  #creationsAtOnce(): number {
    const used = this.#arena.usedBytes('journal') / this.#arena.limitBytes('journal')
    return used > 0.4 ? CREATIONS_MAX : CREATIONS_EASY
  }

  async #createSegmentFiles(group: GroupLog, files: GroupFiles, first: TailItem): Promise<Segment | undefined> {
    const { pool, nowMs } = this.#options
    if (!files.directoryMade) {
      await this.#options.whenDirectoryFree(group)
      if (isOver(group, files)) return undefined
      await this.#retry(group, files, () => this.#directories.make(group.directory))
      files.directoryMade = true
    }
    await this.sweep(group, files)
    if (isOver(group, files)) return undefined
    const segment = new Segment(group.directory, first.baseOffset, first.index, nowMs())
    segment.startIndexes()
    await this.#retry(group, files, () => pool.use(segment, true))
    pool.done(segment)
    files.directoryDirty = true
    files.lastChunk = undefined
    files.segments.push(segment)
    return segment
  }

  async #seal(group: GroupLog, files: GroupFiles, segment: Segment): Promise<void> {
    const { pool, reader } = this.#options
    await reader.ensureIndex(group, segment)
    await this.#writeTail(group, files, segment)
    const file = await pool.use(segment, true)
    try {
      // What was reserved behind the end must not show: a sealed segment is exactly its batches.
      await this.#retry(group, files, () => file.truncate(segment.sizeBytes))
    } finally {
      pool.done(segment)
    }
    if (segment.maxTimestampOffset >= 0) {
      segment.timeIndex!.append(segment.maxTimestamp, segment.maxTimestampOffset - segment.baseOffset)
    }
    await this.#retry(group, files, () => this.#saveWholeIndex(segment))
    files.directoryDirty = true
    await this.#sync(group, files, segment)
    if (isOver(group, files)) return
    segment.sealed = true
    segment.durable = segment.describe()
    // All chunks of earlier segments are synced as well: everything laid out so far is on stable storage.
    group.segmentIndex = group.laidIndex
    group.segmentOffset = group.laidOffset
    files.lastChunk = undefined
    reader.noteIndex(segment)
  }

  /** Appends new index entries to the files of a segment that is still written to. Not synced: what is lost is made anew. */
  async #saveIndex(segment: Segment, entriesMin: number): Promise<void> {
    const { offsetIndex, timeIndex } = segment
    if (offsetIndex === undefined || timeIndex === undefined) return
    if (offsetIndex.count - segment.savedOffsetEntries < entriesMin) return
    const offsets = offsetIndex.encode(segment.savedOffsetEntries)
    const times = timeIndex.encode(segment.savedTimeEntries)
    try {
      await this.#writeIndex(segment.path('.index'), offsets, segment.savedOffsetEntries * OFFSET_ENTRY_BYTES, false)
      await this.#writeIndex(segment.path('.timeindex'), times, segment.savedTimeEntries * TIME_ENTRY_BYTES, false)
    } catch (error) {
      if (!isOutOfSpace(error)) throw error
      // The next checkpoint writes them too, and whoever finds them missing makes them.
      return
    }
    segment.savedOffsetEntries = offsetIndex.count
    segment.savedTimeEntries = timeIndex.count
  }

  /** Writes both index files in full, exactly as long as their entries. */
  async #saveWholeIndex(segment: Segment): Promise<void> {
    await this.#writeIndex(segment.path('.index'), segment.offsetIndex!.encode(), 0, true)
    await this.#writeIndex(segment.path('.timeindex'), segment.timeIndex!.encode(), 0, true)
  }

  async #writeIndex(path: string, bytes: Uint8Array, position: number, seal: boolean): Promise<void> {
    const file = await this.#options.disk.open(path, { mode: 'create', direct: false })
    try {
      if (bytes.length > 0) await file.write(bytes, position, false)
      if (seal) {
        await file.truncate(bytes.length)
        await file.sync()
      }
    } finally {
      await file.close()
    }
  }

  async #sweep(group: GroupLog, files: GroupFiles): Promise<void> {
    const { disk } = this.#options
    await this.#options.whenDirectoryFree(group)
    await files.barrier
    if (isOver(group, files)) return
    const names = await disk.list(group.directory)
    const known = new Set(files.segments.map((segment) => segment.path('').slice(group.directory.length + 1)))
    let removed = false
    for (const name of names) {
      const match = /^(\d{20})\.(log|index|timeindex)(\.deleted)?$/.exec(name)
      if (match === null || (match[3] === undefined && known.has(match[1]!))) continue
      await disk.remove(`${group.directory}/${name}`)
      removed = true
    }
    if (removed) await disk.syncDirectory(group.directory)
    files.swept = true
    files.hasLitter = false
    files.barrier = undefined
  }

  /** @returns -1 when the group does not want the memory any more */
  async #allocate(group: GroupLog, files: GroupFiles, bytes: number): Promise<number> {
    for (;;) {
      if (isOver(group, files)) return -1
      const at = this.#options.cache.allocate(bytes, 'cache')
      if (at >= 0) return at
      await this.#options.whenFreed()
      if (this.#options.journal.failed !== undefined) throw this.#options.journal.failed
    }
  }
}

function unpin(entry: CacheEntry): void {
  entry.pins -= 1
}
