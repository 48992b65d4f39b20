// The storage of one shard: its journal, its groups' logs, and what the broker calls.
//
// Created once per shard by open() and touched only from its worker thread. What each part does is in README.md; here is who
// calls whom: appends go to the journal, finished rounds to the broker, committed data to write-behind, and when the ring or
// the arena runs short housekeeping moves the oldest data on.

import { invariant } from '../protocol/invariant.ts'
import type { Arena, Purpose } from './arena.ts'
import { Cleanup } from './cleanup.ts'
import { DurableDirectories } from './directories.ts'
import { asDiskError, BLOCK_BYTES, type Disk, type DiskError } from './disk.ts'
import { BATCH_KIND } from './entry-read.ts'
import { HangWatch } from './hang-watch.ts'
import { Housekeeping } from './housekeeping.ts'
import { Journal } from './journal.ts'
import { RecordType, recordBytes } from './journal-format.ts'
import { replayJournal } from './journal-replay.ts'
import { GroupLog, type LogConfig, type LogHost } from './log.ts'
import { ReadCache } from './read-cache.ts'
import { Recovery, restoreFiles } from './recovery.ts'
import { FilePool } from './segment.ts'
import { SegmentReader } from './segment-reader.ts'
import { Space } from './space.ts'
import { CHECKPOINT, LAY_OUT_CHUNKS, WriteBehind } from './write-behind.ts'

export interface StorageOptions {
  readonly disk: Disk
  /** Wall clock, for retention and segments without timestamps. */
  nowMs(): number
  monotonicMs(): number
  after(delayMs: number, call: () => void): { cancel(): void }
  /** This shard's own; made when missing. */
  readonly journalDirectory: string
  readonly arena: Arena
  /** Default 64 MiB, at most an eighth of the arena, so that what the ring holds fits in memory at replay. */
  readonly journalFileBytes?: number
  /** Default 4, at least 3. */
  readonly journalFileCount?: number
  /** These groups' durable state moved; once per finished round, in order. */
  onDurable(groups: readonly GroupLog[]): void
  /** Storage is read-only from now on. */
  onFailure(error: DiskError): void
  /** canAccept() said no before and may say yes now. */
  onRoom?(): void
  /**
   * The disk is full and something waits for space, or not any more. Meanwhile nothing is lost, and what cannot be written is not
   * acknowledged; nothing more should be appended than must be. Without this a full disk makes storage read-only for good.
   */
  onFull?(isFull: boolean): void
  log(level: 'info' | 'warn', message: string): void
  /** Largest flush round, default 1 MiB. */
  readonly blockBytesMax?: number
  /** What a partition gathers before it is laid out, default 256 KiB. */
  readonly chunkBytes?: number
  /** Default 1 MiB. */
  readonly readAheadBytes?: number
  /** Default 128 KiB. */
  readonly readBytes?: number
  /** Chunk writes in flight, default 8. */
  readonly writesInFlightMax?: number
  /** Segment files kept open, default 512. */
  readonly openFilesMax?: number
  /** Quiet for so long, a partition's gathered data goes to its segment. Default 5000. */
  readonly idleMs?: number
  /** close() leaves what is not in segments after so long to the journal. Default 1500. */
  readonly closeBudgetMs?: number
}

export interface StorageStats {
  journalRounds: number
  journalBytes: number
  /** Bucket i: rounds that took less than 2^i microseconds from submission to stable storage. */
  journalRoundMicros: readonly number[]
  journalRoundMicrosTotal: number
  journalPendingBytes: number
  journalFilesLive: number
  journalFilesFree: number
  arenaBytes: Record<Purpose, number>
  arenaFreeBytes: number
  cacheBytes: number
  cacheHits: number
  cacheMisses: number
  /** Committed bytes that are in journal memory only. */
  writeBehindPendingBytes: number
  segmentBytesWritten: number
  checkpoints: number
  groups: number
}

const TICK_MS = 1000
/** Idle data below this stays in the journal until ring or memory needs the room. */
const IDLE_MIN_BYTES = 64 * 1024
/** Partitions that fell quiet are in no hurry, and their syncs would hold up the flush rounds of those that are not. */
const IDLE_JOBS_PER_TICK = 2
const ADOPT_PENDING_MAX = 1 << 20
/** Quiet groups whose tail is entries alone are checkpointed so many at a time: one small record each. */
const SETTLE_PER_TICK = 1000
/** close() repeats all states in a fresh journal file for up to so many groups, when there is so much to replay otherwise. */
const STATES_AT_CLOSE_MAX = 20_000
const SHORT_REPLAY_BYTES = 8 << 20

export class ShardStorage {
  readonly #options: StorageOptions
  readonly #arena: Arena
  readonly #cache: ReadCache
  readonly #pool: FilePool
  readonly #reader: SegmentReader
  readonly #host: LogHost
  readonly #space: Space
  readonly #hangWatch = new HangWatch()
  #writeBehind!: WriteBehind
  #cleanup!: Cleanup
  #housekeeping!: Housekeeping
  #journal!: Journal<GroupLog>
  #groups = new Map<number, GroupLog>()
  #lastIncarnation = 0
  /** Groups with a tail. */
  readonly #dirty = new Set<GroupLog>()
  readonly #fileBytes: number
  readonly #fileCount: number
  #tick = 0
  #timer: { cancel(): void } | undefined
  #opened = false
  #closing = false
  #roomWanted = 0
  #freedScheduled = false
  #saidFull = false
  #freedWaiters: (() => void)[] = []
  #background = new Set<Promise<void>>()

  /**
   * Replays the journal; the groups it knows are then in groups(), with the config of DEFAULT_LOG_CONFIG until the broker
   * sets theirs.
   * @throws StorageCorruption on damage (what, where, what the operator can do); DiskError
   */
  static async open(options: StorageOptions): Promise<ShardStorage> {
    const storage = new ShardStorage(options)
    await storage.#open()
    return storage
  }

  private constructor(options: StorageOptions) {
    const { disk, arena } = options
    this.#options = options
    this.#arena = arena
    // What is live in the ring must fit in memory when it is replayed.
    const eighth = Math.max(BLOCK_BYTES * 4, Math.floor(arena.capacityBytes / 8 / BLOCK_BYTES) * BLOCK_BYTES)
    this.#fileBytes = Math.min(options.journalFileBytes ?? 64 << 20, eighth)
    this.#fileCount = Math.max(3, options.journalFileCount ?? 4)
    this.#cache = new ReadCache(arena)
    this.#pool = new FilePool(disk, options.openFilesMax ?? 512)
    this.#reader = new SegmentReader({
      disk,
      arena,
      cache: this.#cache,
      pool: this.#pool,
      readAheadBytes: options.readAheadBytes ?? 1 << 20,
      readBytes: options.readBytes ?? 128 * 1024,
      log: options.log,
      whenFreed: () => this.#whenFreed(),
    })
    this.#space = new Space({
      directory: options.journalDirectory,
      waits: options.onFull !== undefined,
      after: options.after,
      log: options.log,
      onChange: () => this.#lookFull(),
    })
    const storage = this
    this.#host = {
      arena,
      get journal() {
        return storage.#journal
      },
      get tick() {
        return storage.#tick
      },
      chunkBytes: options.chunkBytes ?? 256 * 1024,
      onTail(group) {
        storage.#dirty.add(group)
        storage.#armTimer()
      },
      onChunkReady(group) {
        const { files } = group
        // The job that runs looks again before it ends: no promise per commit.
        if (files?.running !== undefined) files.wanted = Math.max(files.wanted, LAY_OUT_CHUNKS)
        else storage.#request(group, LAY_OUT_CHUNKS)
      },
      onRestart: (group, earlier, sequence) => {
        this.#cleanup.restart(group, earlier, sequence)
        this.#writeBehind.wake()
      },
      readSegments: (group, offset, maxBytes, endOffset, atLeastOne) =>
        this.#reader.read(group, offset, maxBytes, endOffset, atLeastOne),
      findByTimestamp: (group, timestampMs, endOffset) => this.#reader.findByTimestamp(group, timestampMs, endOffset),
      findMaxTimestamp: (group, endOffset) => this.#reader.findMaxTimestamp(group, endOffset),
    }
    arena.onFree = () => this.#onFree()
  }

  async #open(): Promise<void> {
    const { disk, arena, journalDirectory, log } = this.#options
    await new DurableDirectories(disk).make(journalDirectory)
    const startedMs = this.#options.monotonicMs()
    const recovery = new Recovery(this.#host)
    const ring = await replayJournal({
      disk,
      directory: journalDirectory,
      arena,
      windowBytes: Math.max(64 * 1024, Math.min(4 << 20, Math.floor(arena.capacityBytes / 64 / 65_536) * 65_536)),
      log,
      visit: (record, payloadAt, runAt, sequence, path) => recovery.apply(record, payloadAt, runAt, sequence, path),
    })
    recovery.finish(journalDirectory)
    this.#groups = recovery.groups
    this.#lastIncarnation = recovery.lastIncarnation
    this.#dirty.clear()
    for (const group of this.#groups.values()) if (group.tail !== undefined) this.#dirty.add(group)
    const blockBytesMax = Math.min(this.#options.blockBytesMax ?? 1 << 20, this.#fileBytes)
    this.#journal = new Journal<GroupLog>(
      {
        disk,
        directory: journalDirectory,
        arena,
        fileBytes: this.#fileBytes,
        fileCount: this.#fileCount,
        blockBytesMax,
        runBytes: Math.min(1 << 20, Math.max(64 * 1024, Math.floor(arena.capacityBytes / 64 / 65_536) * 65_536)),
        space: this.#space,
        monotonicMs: this.#options.monotonicMs,
        after: this.#options.after,
        log,
        makeRoom: () => this.#cache.evictOne(),
        onRound: (round) => {
          const { members, lastIndexes } = round
          for (let slot = 0; slot < members.length; slot++) members[slot]!.onRound(lastIndexes[slot]!)
          this.#options.onDurable(members)
        },
        onRing: () => {
          this.#onRing()
        },
        onFailure: (error) => this.#onFailure(error),
      },
      ring,
    )
    this.#writeBehind = new WriteBehind({
      disk,
      arena,
      journal: this.#journal,
      cache: this.#cache,
      pool: this.#pool,
      reader: this.#reader,
      chunkBytes: this.#host.chunkBytes,
      writesInFlightMax: this.#options.writesInFlightMax ?? 8,
      space: this.#space,
      isClosing: () => this.#closing,
      nowMs: this.#options.nowMs,
      log,
      whenFreed: () => this.#whenFreed(),
      whenDirectoryFree: (group) => this.#cleanup.whenDirectoryFree(group),
    })
    this.#cleanup = new Cleanup({
      disk,
      arena,
      journal: this.#journal,
      cache: this.#cache,
      pool: this.#pool,
      writeBehind: this.#writeBehind,
      space: this.#space,
      nowMs: this.#options.nowMs,
      after: this.#options.after,
      log,
      request: (group, wanted) => this.#request(group, wanted),
      isClosing: () => this.#closing,
      inBackground: (work) => this.#inBackground(work),
    })
    this.#housekeeping = new Housekeeping({
      arena,
      journal: this.#journal,
      cleanup: this.#cleanup,
      dirty: this.#dirty,
      fileBytes: this.#fileBytes,
      groups: () => this.#groups.values(),
      request: (group, wanted) => this.#request(group, wanted),
      roomWanted: () => this.#roomWanted,
      isClosing: () => this.#closing,
      inBackground: (work) => this.#inBackground(work),
    })
    await this.#journal.ring.start()
    if (recovery.recordCount > 0) {
      const tookMs = Math.round(this.#options.monotonicMs() - startedMs)
      log(
        'info',
        `${journalDirectory}: ${this.#groups.size} groups from ${recovery.recordCount} records in ${tookMs} ms`,
      )
    }
    for (const removal of recovery.removals.values()) this.#cleanup.resume(removal)
    if (this.#groups.size > 0) {
      this.#inBackground(this.#cleanup.sweepAll([...this.#groups.values()], !recovery.clean))
    }
    this.#journal.ring.fill()
    this.#opened = true
    this.#armTimer()
    this.#onRing()
  }

  groups(): Iterable<GroupLog> {
    return this.#groups.values()
  }

  get(groupId: number): GroupLog | undefined {
    return this.#groups.get(groupId)
  }

  get failed(): DiskError | undefined {
    return this.#journal.failed
  }

  /** Largest batch that canAccept() will ever say yes to. */
  get batchBytesMax(): number {
    return Math.floor(Math.min(this.#arena.capacityBytes / 4, this.#arena.limitBytes('journal') / 2))
  }

  /**
   * Adds a group. Nothing touches the disk but the journal's next round; files come with the first segment.
   * @param groupId not in use; 0 is the metadata group
   * @param directory absolute; an earlier group that had it may still be on its way out
   * @param snapshot of the empty log (its membership), to be there with the group or not at all; kept by reference until the
   *   group has a snapshotProvider
   */
  create(groupId: number, directory: string, config: LogConfig, snapshot?: Uint8Array): GroupLog {
    invariant(!this.#groups.has(groupId), 'a group is created once', groupId)
    this.#lastIncarnation += 1
    const group = new GroupLog(this.#host, groupId, directory, this.#lastIncarnation, config)
    group.snapshot = snapshot
    this.#groups.set(groupId, group)
    group.emitState()
    return group
  }

  /** Forgets a group at once; its files go in the background, also after a crash. Reads under way still end well. */
  remove(groupId: number): void {
    const group = this.#groups.get(groupId)
    if (group === undefined) return
    this.#groups.delete(groupId)
    this.#dirty.delete(group)
    group.removed = true
    group.dropTail()
    this.#cleanup.remove(group)
    this.#writeBehind.wake()
  }

  /** Sends what was appended to the device when it is free, else with the next round. Once per loop turn with appends. */
  flush(): void {
    if (this.#journal.failed !== undefined) return
    this.#journal.flush()
    this.#housekeeping.relieve()
  }

  /**
   * Whether an append of so many bytes fits in memory and ring now. After a no, onRoom is called when it may be yes.
   * A batch above batchBytesMax never fits.
   */
  canAccept(bytes: number): boolean {
    if (this.#journal.failed !== undefined) return false
    if (this.#hasRoom(bytes)) return true
    this.#roomWanted = Math.max(this.#roomWanted, Math.min(bytes, this.batchBytesMax))
    if (this.#journal.ring.isCramped) this.#lookFull()
    this.#housekeeping.relieve()
    this.#onRing()
    return false
  }

  /**
   * To be called once a second. Whether the disk hangs: for more than two seconds no flush round has come back, nor failed. It is trusted
   * again after some seconds in which rounds came back in time. Meanwhile nothing is lost, and nothing more is acknowledged; what is
   * appended gathers in memory, so no more should be appended than must be. A disk that is full does not hang.
   */
  look(): boolean {
    const journal = this.#journal
    if (journal.failed !== undefined || this.#closing) return false
    const oldest = this.#space.isFull ? undefined : journal.oldestPending
    const isHung = this.#hangWatch.look(oldest)
    // Whoever is told to append nothing learns nothing about the disk.
    if (isHung && journal.oldestPending === undefined && this.#hasRoom(0)) this.#hangWatch.sent(journal.probe())
    return isHung
  }

  /**
   * Takes a group of another shard over as it is: its state, and what only that journal holds, committed or not. Its segments
   * stay where they are. The group is there when this is durable; it is not to be used before this storage is opened anew.
   * @param from of a storage that was just opened, in which nobody has replayed it
   * @throws DiskError with code ENOMEM when it does not fit in memory, as it would not after a start either
   */
  async adopt(from: GroupLog): Promise<void> {
    const { groupId, directory } = from
    const state = from.state()
    this.#lastIncarnation += 1
    const group = new GroupLog(this.#host, groupId, directory, this.#lastIncarnation, from.config)
    restoreFiles(group, state)
    group.restoreState(state, 0)
    group.replayed = false
    this.#groups.set(groupId, group)
    group.emitState()
    const tail = await from.readEntries(from.laidIndex + 1, Number.MAX_SAFE_INTEGER)
    try {
      for (const { index, term, kind, baseOffset, bytes } of tail.entries) {
        if (kind === BATCH_KIND) group.appendBatch(term, index, baseOffset, bytes, -1)
        else group.appendEntry(term, index, kind, bytes)
        // What waits for the disk is in memory beside what was read.
        if (this.#journal.pendingBytes > ADOPT_PENDING_MAX) await group.whenJournaled()
      }
    } finally {
      tail.release()
    }
    group.commit(from.commitIndex, from.committedOffset)
    // The last record says what is known to be committed.
    group.saveHardState(from.term, from.votedFor)
    await group.whenJournaled()
  }

  /** One pass of retention over all groups: start offset, time, size. Resolves when the files are renamed. */
  async enforceRetention(): Promise<void> {
    for (const group of [...this.#groups.values()]) {
      if (this.#closing || this.#journal.failed !== undefined) return
      if (group.isMetadata || group.removed || (group.files === undefined && group.tail === undefined)) continue
      try {
        await this.#cleanup.retain(group)
      } catch (error) {
        if (this.#journal.failed !== undefined) return
        throw error
      }
    }
  }

  /** Clean stop: committed data into segments, checkpoints, files closed. What takes too long stays safe in the journal. */
  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    this.#timer?.cancel()
    this.#cleanup.stop()
    this.#space.close()
    const endMs = this.#options.monotonicMs() + (this.#options.closeBudgetMs ?? 1500)
    const waiting = [...this.#groups.values()].filter((group) => {
      const hasTail = group.tail !== undefined && group.tail.committedLength > 0
      return hasTail || group.uncoveredSequence !== Number.POSITIVE_INFINITY
    })
    const finish = async (group: GroupLog): Promise<void> => {
      if (this.#options.monotonicMs() > endMs || this.#journal.failed !== undefined) return
      await this.#request(group, CHECKPOINT)
      if (this.#journal.failed === undefined) await this.#writeBehind.saveIndex(group)
    }
    await this.#housekeeping.forEach(waiting, finish, true)
    await Promise.allSettled([...this.#background])
    for (const group of this.#groups.values()) await group.files?.running
    if (this.#journal.failed === undefined) {
      await this.#shortenReplay(endMs)
      this.#journal.begin(undefined, 0, RecordType.CLEAN_END, 0, 0, 0, 0, 0, 0, 0)
      this.#journal.flush()
    }
    await this.#journal.close().catch(() => undefined)
    await this.#pool.closeAll()
    this.#arena.onFree = undefined
  }

  /** All states into a fresh file when nothing else is needed, so that the next start reads that file's beginning only. */
  async #shortenReplay(endMs: number): Promise<void> {
    const journal = this.#journal
    if (
      this.#groups.size > STATES_AT_CLOSE_MAX ||
      this.#cleanup.removals.size > 0 ||
      journal.ring.liveBytes < SHORT_REPLAY_BYTES
    )
      return
    for (const group of this.#groups.values()) {
      if (group.tail !== undefined || group.uncoveredSequence !== Number.POSITIVE_INFINITY) return
    }
    await journal.whenDurable(journal.nextRecordSequence - (journal.hasFilling ? 0 : 1))
    if (this.#options.monotonicMs() > endMs || !journal.beginFile()) return
    for (const group of this.#groups.values()) group.emitState()
    await journal.whenDurable(journal.nextRecordSequence - (journal.hasFilling ? 0 : 1))
    journal.ring.forgetOlder()
  }

  stats(): StorageStats {
    const journal = this.#journal
    let pending = 0
    for (const group of this.#dirty) pending += group.tail?.committedBytes ?? 0
    return {
      journalRounds: journal.roundCount,
      journalBytes: journal.roundBytes,
      journalRoundMicros: journal.roundMicros,
      journalRoundMicrosTotal: journal.roundMicrosTotal,
      journalPendingBytes: journal.pendingBytes,
      journalFilesLive: journal.ring.liveFileCount,
      journalFilesFree: journal.ring.freeFileCount,
      arenaBytes: {
        inflight: this.#arena.usedBytes('inflight'),
        journal: this.#arena.usedBytes('journal'),
        cache: this.#arena.usedBytes('cache'),
        readahead: this.#arena.usedBytes('readahead'),
      },
      arenaFreeBytes: this.#arena.freeBytes,
      cacheBytes: this.#cache.bytes,
      cacheHits: this.#cache.hits,
      cacheMisses: this.#cache.misses,
      writeBehindPendingBytes: pending,
      segmentBytesWritten: this.#writeBehind.writtenBytes,
      checkpoints: this.#writeBehind.checkpointCount,
      groups: this.#groups.size,
    }
  }

  #hasRoom(bytes: number): boolean {
    const need = recordBytes(bytes)
    if (need > this.#journal.runRoomBytes && this.#arena.room('journal') < need + BLOCK_BYTES) return false
    const canGrow = !this.#journal.ring.isCramped && !this.#space.isFull
    const unmadeFiles = canGrow ? Math.max(0, this.#journal.ring.fileTarget - this.#journal.ring.fileCount) : 0
    // A block longer than a file makes its file longer.
    if (need > this.#fileBytes) return this.#journal.ring.freeFileCount + unmadeFiles >= 2
    const unmade = unmadeFiles * this.#fileBytes
    // One file is kept for what storage itself must write to make room: states, checkpoints, carried entries. A ring made
    // when there was less memory has smaller files, and keeps them.
    const kept = unmade > 0 ? this.#fileBytes : Math.min(this.#fileBytes, this.#journal.ring.largestFileBytes)
    return this.#journal.roomBytes + unmade - need >= kept
  }

  #request(group: GroupLog, wanted: number): Promise<void> {
    const done = this.#writeBehind.request(group, wanted)
    this.#inBackground(done)
    return done.then(() => {
      if (group.tail === undefined) this.#dirty.delete(group)
    })
  }

  #inBackground(work: Promise<void>): void {
    if (this.#background.has(work)) return
    const tracked = work.catch((error) =>
      this.#journal.fail(asDiskError(error, 'write', this.#options.journalDirectory)),
    )
    this.#background.add(work)
    tracked.finally(() => this.#background.delete(work))
  }

  /** A file was begun or became free. */
  #onRing(): void {
    this.#onFree()
    this.#housekeeping.turnRing()
  }

  #onFailure(error: DiskError): void {
    this.#options.log('warn', `storage of ${this.#options.journalDirectory} is read-only: ${error.message}`)
    this.#onFree()
    this.#space.close()
    this.#options.onFailure(error)
  }

  /** Memory or ring room came back; whoever waits is told in a turn of its own. */
  #onFree(): void {
    if (this.#freedScheduled || (this.#roomWanted === 0 && this.#freedWaiters.length === 0)) return
    this.#freedScheduled = true
    queueMicrotask(() => {
      this.#freedScheduled = false
      const waiters = this.#freedWaiters
      this.#freedWaiters = []
      for (const wake of waiters) wake()
      if (this.#roomWanted === 0 || this.#journal.failed !== undefined || this.#closing) return
      if (!this.#hasRoom(this.#roomWanted)) return
      this.#roomWanted = 0
      this.#lookFull()
      this.#options.onRoom?.()
    })
  }

  /** Whether the disk's fullness is in the way of appends has perhaps changed; whoever wants to know is told in a turn of its own. */
  #lookFull(): void {
    queueMicrotask(() => {
      if (this.#journal.failed !== undefined || this.#closing) return
      const isFull = this.#space.isFull || (this.#journal.ring.isCramped && this.#roomWanted > 0)
      if (isFull === this.#saidFull) return
      this.#saidFull = isFull
      this.#options.onFull?.(isFull)
      this.#onFree()
    })
  }

  #whenFreed(): Promise<void> {
    return new Promise((wake) => this.#freedWaiters.push(wake))
  }

  #armTimer(): void {
    if (
      this.#timer !== undefined ||
      !this.#opened ||
      this.#closing ||
      (this.#dirty.size === 0 && this.#roomWanted === 0)
    )
      return
    this.#timer = this.#options.after(TICK_MS, () => {
      this.#timer = undefined
      this.#onTick()
      this.#armTimer()
    })
  }

  #onTick(): void {
    if (this.#closing || this.#journal.failed !== undefined) return
    this.#tick += 1
    const idleTicks = Math.ceil((this.#options.idleMs ?? 5000) / TICK_MS)
    let started = 0
    let settled = 0
    for (const group of this.#dirty) {
      const { tail } = group
      if (tail === undefined) this.#dirty.delete(group)
      else if (this.#tick - tail.lastTick < idleTicks) continue
      else if (tail.batchBytes === 0 && settled < SETTLE_PER_TICK) {
        if (group.settleEntries()) settled += 1
      } else if (tail.committedBytes >= IDLE_MIN_BYTES && started < IDLE_JOBS_PER_TICK) {
        started += 1
        this.#request(group, CHECKPOINT)
      }
    }
    if (settled > 0) this.#journal.flush()
    this.#onRing()
    this.#housekeeping.relieve()
  }
}
