// One Raft group's log over journal tail and segments: append, commit, truncate the tail, trim the prefix, read.
//
// One object per group of the shard, also for 50,000 idle ones: what only active groups need is made when they need it.
// Touched only from the shard's thread. Appends copy a batch into the journal block being filled and return; the broker
// hears through onDurable. Everything the journal knows of a group is in its state record and the records after it.

import { invariant } from '../protocol/invariant.ts'
import { maxTimestampOf, offsetSpanOf, stampBatch, stampLogAppendTime } from '../protocol/records/batch.ts'
import type { Arena } from './arena.ts'
import { ByteWriter } from './encoding.ts'
import { type EntryRead, readEntries } from './entry-read.ts'
import type { GroupFiles } from './group-files.ts'
import type { Journal, RoundMember } from './journal.ts'
import { FLAG_CARRIED, RecordType } from './journal-format.ts'
import { emptyRead, MemoryRead, type ReadResult } from './read-result.ts'
import {
  indexOfOffset,
  lastTermOf,
  listOf,
  NO_RUNS,
  offsetAfter,
  type Run,
  type Runs,
  runsBefore,
  runsFrom,
  runsOf,
  startsAt,
  termAt,
  withRun,
} from './runs.ts'
import { encodeState, type GroupState } from './state-record.ts'
import { Tail, TailItem } from './tail.ts'

export interface LogConfig {
  segmentBytes: number
  segmentMs: number
  segmentJitterMs: number
  /** -1: for ever. */
  retentionMs: number
  /** -1: no limit. */
  retentionBytes: number
  /** Whether cleanup.policy has `delete`. */
  deletePolicy: boolean
  indexIntervalBytes: number
  fileDeleteDelayMs: number
}

/** Kafka's defaults; what a recovered group has until the broker sets its own. Keeps everything. */
export const DEFAULT_LOG_CONFIG: Readonly<LogConfig> = Object.freeze({
  segmentBytes: 1 << 30,
  segmentMs: 7 * 24 * 3600 * 1000,
  segmentJitterMs: 0,
  retentionMs: -1,
  retentionBytes: -1,
  deletePolicy: false,
  indexIntervalBytes: 4096,
  fileDeleteDelayMs: 60_000,
})

/** What the broker gets to see of a log at start: README.md, "Replay". */
export interface ReplayVisitor {
  /** `payload` is a view, valid during the call. */
  entry(index: number, term: number, kind: number, payload: Uint8Array): void
  batch(index: number, term: number, bytes: Uint8Array, at: number): void
}

/** Whoever can say what the broker knows as of a log's commitIndex. An object and no closure: there is one per group. */
export interface SnapshotProvider {
  snapshot(): Uint8Array
}

/** What a log needs of its shard. */
export interface LogHost {
  readonly arena: Arena
  readonly journal: Journal<GroupLog>
  /** Counts up about once a second while there is something to do. */
  readonly tick: number
  /** The group has a tail now. */
  onTail(group: GroupLog): void
  /** Committed data has gathered for a whole chunk. */
  onChunkReady(group: GroupLog): void
  readonly chunkBytes: number
  /** The log began anew with the state record in journal block `sequence`; `earlier` are the files of the log that went. */
  onRestart(group: GroupLog, earlier: GroupFiles, sequence: number): void
  readSegments(
    group: GroupLog,
    offset: number,
    maxBytes: number,
    endOffset: number,
    atLeastOne: boolean,
  ): ReadResult | Promise<ReadResult>
  findByTimestamp(group: GroupLog, timestampMs: number, endOffset: number): Promise<ReadResult | undefined>
  findMaxTimestamp(group: GroupLog, endOffset: number): Promise<ReadResult | undefined>
}

/** A log to begin anew: everything up to `index` is in the snapshot. */
export interface SnapshotInstall {
  readonly index: number
  /** Term of the entry at `index`. */
  readonly term: number
  /** Exclusive end of the offsets of everything up to `index`; 0 for the metadata group. */
  readonly offset: number
  /** May lie behind `offset`: what comes up to there is kept, and shown to nobody. */
  readonly logStartOffset: number
  /** The broker's, as its snapshotProvider would give it. */
  readonly snapshot: Uint8Array
}

const stateWriter = new ByteWriter(4096)

export class GroupLog implements RoundMember {
  readonly groupId: number
  readonly directory: string
  /** Tells the group from an earlier one with the same id. */
  readonly incarnation: number
  config: LogConfig
  term = -1
  votedFor = -1
  lastIndex = 0
  durableIndex = 0
  commitIndex = 0
  firstIndex = 1
  logStartOffset = 0
  /** Exclusive: everything appended. */
  logEndOffset = 0
  /** Exclusive. */
  committedOffset = 0
  /** Up to here the batches lie in segment chunks or segments; readers of these offsets do not look at the tail. */
  laidIndex = 0
  laidOffset = 0
  /** Up to here segments hold the data on stable storage. */
  segmentIndex = 0
  segmentOffset = 0
  /** Oldest journal block with records that no durable state record covers yet, not counting the tail. */
  uncoveredSequence = Number.POSITIVE_INFINITY
  /** Block of the latest state record. */
  stateSequence = 0
  roundSequence = -1
  roundSlot = 0
  removed = false
  tail: Tail | undefined
  files: GroupFiles | undefined
  /** The recovered one, the one given at creation or installation; dropped when the provider answers in its place. */
  snapshot: Uint8Array | undefined
  snapshotIndex = 0
  snapshotOffset = 0
  /** The broker has seen what recovery found; true for a new group. */
  replayed = true
  #runs: Runs = NO_RUNS
  #snapshotProvider: SnapshotProvider | undefined
  #hardStateSequence = 0
  readonly #host: LogHost

  constructor(host: LogHost, groupId: number, directory: string, incarnation: number, config: LogConfig) {
    this.#host = host
    this.groupId = groupId
    this.directory = directory
    this.incarnation = incarnation
    this.config = config
  }

  /** The metadata group has no segments: its snapshot takes their place. */
  get isMetadata(): boolean {
    return this.groupId === 0
  }

  /**
   * What the broker knows as of commitIndex (producers, membership, metadata image). Asked only after replay(), as it replaces
   * what that shows. Called from timers and disk completions, never from within a call of the broker.
   */
  get snapshotProvider(): SnapshotProvider | undefined {
    return this.#snapshotProvider
  }

  set snapshotProvider(provider: SnapshotProvider | undefined) {
    this.#snapshotProvider = provider
    this.#dropSnapshot()
  }

  /**
   * Whether the broker has taken over: only then may data leave the tail and a state record stand for it. Until replay() was
   * called and the provider is there, a recovered snapshot and the tail are all that is known, and stay.
   */
  get attached(): boolean {
    if (!this.replayed) return false
    return this.#snapshotProvider !== undefined || (this.snapshot === undefined && !this.isMetadata)
  }

  /** Term of the last entry, or of the snapshot the log begins behind; -1 in a log that never had one. */
  get lastTerm(): number {
    return lastTermOf(this.#runs)
  }

  get durableTerm(): number {
    return this.termAt(this.durableIndex)
  }

  /** Term of the entry before firstIndex; 0 for a log that begins with its first entry. */
  get prevTerm(): number {
    return Math.max(0, this.termAt(this.firstIndex - 1))
  }

  /** Whether the last saveHardState() is on stable storage. */
  get hardStateDurable(): boolean {
    return this.#hardStateSequence <= this.#host.journal.durableSequence
  }

  /** Journal blocks up to this one are on stable storage; what the group has said so far is in roundSequence and before. */
  get journaledSequence(): number {
    return this.#host.journal.durableSequence
  }

  /**
   * What relates indexes, terms and offsets, oldest first, exactly: see runs.ts. The first one holds firstIndex - 1 or begins the
   * log. Of the metadata group one for each term.
   */
  get runs(): Run[] {
    return listOf(this.#runs)
  }

  /** Start of each leader term in the records that are there, oldest first; a term without records has its successor's offset. */
  get epochs(): readonly Run[] {
    const epochs: Run[] = []
    for (const run of listOf(this.#runs)) {
      const last = epochs.at(-1)
      if (last?.term === run.term) continue
      if (last !== undefined && run.startOffset <= this.logStartOffset) epochs.pop()
      epochs.push(run)
    }
    return epochs
  }

  /** Bytes in segments and of batches in the tail. */
  get sizeBytes(): number {
    let bytes = this.tail?.batchBytes ?? 0
    if (this.files !== undefined) for (const segment of this.files.segments) bytes += segment.sizeBytes
    return bytes
  }

  /** Exclusive end of what is durable, in offsets. */
  get durableOffset(): number {
    return Math.min(this.offsetAfter(this.durableIndex), this.logEndOffset)
  }

  /** Term of the entry at an index, which is held or the one before firstIndex; -1 before that. */
  termAt(index: number): number {
    return index <= 0 ? -1 : termAt(this.#runs, index)
  }

  /** Whether the entry at an index, which is held, is one without offset. Not of the metadata group. */
  beginsRun(index: number): boolean {
    return startsAt(this.#runs, index)
  }

  /** Exclusive end of the offsets of everything up to an index, which is held or the one before firstIndex. */
  offsetAfter(index: number): number {
    return this.isMetadata ? 0 : offsetAfter(this.#runs, index)
  }

  /** Index of the record at an offset that is held; for logEndOffset the index it gets if a batch comes next. */
  indexOfOffset(offset: number): number {
    return this.#runs.length === 0 ? 1 : indexOfOffset(this.#runs, offset)
  }

  /**
   * Keeps term and vote; they join the next round. hardStateDurable tells when they are safe.
   * @param votedFor up to 2 ** 53, -1 for nobody
   */
  saveHardState(term: number, votedFor: number): void {
    const { journal } = this.#host
    journal.begin(this, 0, RecordType.HARD_STATE, 0, 0, 0, this.groupId, term, votedFor, this.commitIndex)
    this.term = term
    this.votedFor = votedFor
    this.#hardStateSequence = journal.fillingSequence
  }

  /**
   * Copies one v2 batch into the journal block being filled and stamps baseOffset and leader epoch in the copy.
   * @param term lastTerm: a term begins with an entry; only the very first batch of a log may do without
   * @param index lastIndex + 1
   * @param baseOffset logEndOffset
   * @param batch checked by the caller; takes lastOffsetDelta + 1 indexes and offsets
   * @param logAppendTimeMs broker time for a LogAppendTime topic, -1 to leave the producer's
   * @throws DiskError after a failure of the journal, or ENOMEM when canAccept() was not asked
   */
  appendBatch(term: number, index: number, baseOffset: number, batch: Uint8Array, logAppendTimeMs: number): void {
    invariant(index === this.lastIndex + 1, 'a batch follows the last entry', index, this.lastIndex)
    invariant(baseOffset === this.logEndOffset, 'a batch starts at the log end offset', baseOffset, this.logEndOffset)
    const span = offsetSpanOf(batch, 0)
    invariant(span > 0, 'a batch takes at least one offset', span)
    const { journal, arena } = this.#host
    const lastIndex = index + span - 1
    const { groupId, commitIndex } = this
    const at = journal.begin(this, lastIndex, RecordType.BATCH, 0, 0, batch.length, groupId, term, index, commitIndex)
    arena.bytes.set(batch, at)
    stampBatch(arena.bytes, at, baseOffset, term)
    if (logAppendTimeMs >= 0) stampLogAppendTime(arena.bytes, at, logAppendTimeMs)
    this.#append(
      new TailItem(index, span, term, 0, baseOffset, batch.length, at, journal.fillingRunAt, journal.fillingSequence),
    )
  }

  /**
   * Appends an entry Kafka must not see: one index, no offset.
   * @param kind the broker's number for what it is, 0 to 65535
   * @param payload copied
   */
  appendEntry(term: number, index: number, kind: number, payload: Uint8Array): void {
    invariant(index === this.lastIndex + 1, 'an entry follows the last entry', index, this.lastIndex)
    const { journal, arena } = this.#host
    const { groupId, commitIndex } = this
    const at = journal.begin(this, index, RecordType.ENTRY, 0, kind, payload.length, groupId, term, index, commitIndex)
    arena.bytes.set(payload, at)
    this.#append(
      new TailItem(
        index,
        0,
        term,
        kind,
        this.logEndOffset,
        payload.length,
        at,
        journal.fillingRunAt,
        journal.fillingSequence,
      ),
    )
  }

  /**
   * Drops the entries from `index` on; nothing committed is ever dropped. What is appended in their place follows in the journal,
   * so none of it counts as durable before this does, and durableIndex never again speaks for what was cut.
   * @param index first of an entry
   */
  truncateTail(index: number): void {
    if (index > this.lastIndex) return
    invariant(index > this.commitIndex, 'only what is not committed can be dropped', index, this.commitIndex)
    const { journal } = this.#host
    journal.begin(this, 0, RecordType.TRUNCATE, 0, 0, 0, this.groupId, this.term, index, this.commitIndex)
    journal.forgetFrom(this, index)
    this.cutTail(index)
    invariant(this.lastIndex === index - 1, 'an entry is dropped as a whole', this.lastIndex, index)
    if (this.durableIndex >= index) this.durableIndex = index - 1
  }

  /**
   * Gives up the whole log and begins anew behind `index`, with a snapshot in place of what was before. After a crash the log is
   * the earlier one, whole, or this one. durableIndex reaches `index` with the round that holds it (onDurable).
   * The state that the snapshotProvider answers from must be the snapshot's when this call's turn of the event loop ends.
   * @throws DiskError after a failure of the journal; nothing has changed then
   */
  installSnapshot(install: SnapshotInstall): void {
    const { index, term, logStartOffset, snapshot } = install
    const offset = this.isMetadata ? 0 : install.offset
    invariant(index >= this.commitIndex, 'a snapshot never goes back', index, this.commitIndex)
    const { journal } = this.#host
    const earlier = this.files
    const runs = runsOf([{ term, startIndex: index, startOffset: offset }])
    const sequence = this.#writeState({
      ...this.state(),
      checkpointIndex: index,
      checkpointOffset: offset,
      logStartOffset,
      firstIndex: index + 1,
      runs,
      isRestart: true,
      hasLitter: earlier !== undefined && !this.isMetadata,
      segments: [],
      lastIsActive: false,
      snapshotIndex: index,
      snapshotOffset: offset,
      snapshot,
    })
    // Rounds on their way may hold more of the log that is given up than was committed of it.
    journal.forgetFrom(this, this.commitIndex + 1)
    journal.cover(this, index)
    this.durableIndex = Math.min(this.durableIndex, this.commitIndex)
    this.dropTail()
    this.files = undefined
    this.#runs = runs
    this.lastIndex = this.commitIndex = this.laidIndex = this.segmentIndex = index
    this.logEndOffset = this.committedOffset = this.laidOffset = this.segmentOffset = offset
    this.firstIndex = index + 1
    this.logStartOffset = logStartOffset
    this.snapshot = snapshot
    this.snapshotIndex = index
    this.snapshotOffset = offset
    this.replayed = true
    // Older blocks are needed only as long as this record is not durable, which no file is recycled before.
    this.uncoveredSequence = Number.POSITIVE_INFINITY
    this.#dropSnapshot()
    if (earlier !== undefined) this.#host.onRestart(this, earlier, sequence)
  }

  /**
   * Everything up to an index is committed: readers may see it, and it may go to segments.
   * @param index inclusive
   * @param offset exclusive
   */
  commit(index: number, offset: number): void {
    if (index <= this.commitIndex) return
    invariant(index <= this.lastIndex, 'only what was appended can be committed', index, this.lastIndex)
    invariant(offset <= this.logEndOffset, 'the committed offset lies within the log', offset, this.logEndOffset)
    this.commitIndex = index
    this.committedOffset = offset
    const tail = this.tail
    if (tail === undefined) return
    tail.commit(index)
    if (tail.committedBytes >= this.#host.chunkBytes) this.#host.onChunkReady(this)
  }

  /** Makes records below an offset unreadable (DeleteRecords). Files go with the next retention pass. */
  trimPrefix(newLogStartOffset: number): void {
    if (newLogStartOffset <= this.logStartOffset) return
    invariant(newLogStartOffset <= this.committedOffset, 'only committed records are trimmed', newLogStartOffset)
    const { journal } = this.#host
    journal.begin(this, 0, RecordType.TRIM, 0, 0, 0, this.groupId, this.term, newLogStartOffset, this.commitIndex)
    this.logStartOffset = newLogStartOffset
  }

  /** Resolves when everything said so far is on stable storage: a trim or a truncation too. @throws DiskError, as a rejection */
  whenJournaled(): Promise<void> {
    return this.#host.journal.whenDurable(this.roundSequence)
  }

  /**
   * Shows what the recovered snapshot does not cover, in order: entries, and of partitions every batch. All of it is in
   * memory: nothing leaves the tail of a recovered group before this was called. Before appending.
   */
  replay(visit: ReplayVisitor): void {
    const { bytes } = this.#host.arena
    const tail = this.tail
    for (let position = 0; tail !== undefined && position < tail.length; position++) {
      const item = tail.item(position)!
      if (item.index <= this.snapshotIndex) continue
      if (item.span === 0) visit.entry(item.index, item.term, item.kind, bytes.slice(item.at, item.at + item.bytes))
      else visit.batch(item.index, item.term, bytes, item.at)
    }
    this.replayed = true
    this.#dropSnapshot()
  }

  /**
   * Reads whole batches from the one that holds `offset`, or follows it, on: from one segment or from the tail.
   * @param maxBytes most bytes; the first batch may be larger when atLeastOne is set
   * @param endOffset exclusive: no batch that reaches beyond
   * @returns views over the arena, to be released; at once when the bytes are in memory
   * @throws DiskError or StorageCorruption, as a rejection
   */
  read(offset: number, maxBytes: number, endOffset: number, atLeastOne: boolean): ReadResult | Promise<ReadResult> {
    if (offset >= endOffset) return emptyRead(offset)
    if (offset < this.laidOffset && this.files !== undefined) {
      return this.#host.readSegments(this, offset, maxBytes, endOffset, atLeastOne)
    }
    return this.readTail(offset, maxBytes, endOffset, atLeastOne)
  }

  /** The part of read() that looks at journal memory only. */
  readTail(offset: number, maxBytes: number, endOffset: number, atLeastOne: boolean): ReadResult {
    const tail = this.tail
    if (tail === undefined) return emptyRead(offset)
    const { arena } = this.#host
    const result = new MemoryRead(arena, offset)
    for (let position = tail.findOffset(offset); position < tail.length; position++) {
      const item = tail.item(position)!
      if (item.span === 0) continue
      if (item.endOffset > endOffset) break
      if (result.bytes + item.bytes > maxBytes && !(atLeastOne && result.bytes === 0)) break
      result.add(item.at, item.bytes, item.runAt, item.endOffset)
    }
    return result
  }

  /**
   * Reads consecutive entries from the one that holds an index on, committed or not. From the journal's memory at once; what lies
   * in segments may need the disk. Entries without offset that lie there too come back without their payload (FORGOTTEN_KIND).
   * @param maxBytes about that much; at least one entry comes if the index is held
   * @returns to be released; without entries when the index is not held, then or any more
   * @throws DiskError or StorageCorruption, as a rejection
   */
  readEntries(fromIndex: number, maxBytes: number): EntryRead | Promise<EntryRead> {
    const host = this.#host
    return readEntries(this, host.arena, fromIndex, maxBytes, (offset, bytes) =>
      host.readSegments(this, offset, bytes, this.laidOffset, true),
    )
  }

  /**
   * Finds the first batch at or behind logStartOffset whose largest timestamp reaches `timestampMs`.
   * @returns that one batch, or undefined
   */
  findByTimestamp(timestampMs: number, endOffset: number): Promise<ReadResult | undefined> {
    return this.#host.findByTimestamp(this, timestampMs, endOffset)
  }

  /** The first batch that holds the largest timestamp below endOffset, or undefined in an empty log. */
  findMaxTimestamp(endOffset: number): Promise<ReadResult | undefined> {
    return this.#host.findMaxTimestamp(this, endOffset)
  }

  // What follows is for the rest of storage.

  /** A round with records of this group is durable. */
  onRound(lastIndex: number): void {
    if (lastIndex > this.durableIndex) this.durableIndex = lastIndex
  }

  /** Oldest journal block the group still needs. */
  get neededSequence(): number {
    const needed = Math.min(this.stateSequence, this.uncoveredSequence)
    return this.tail === undefined ? needed : Math.min(needed, this.tail.oldestSequence)
  }

  /** Takes the first item of the tail; what holds its memory then is up to the caller. */
  takeFirst(): TailItem {
    const item = this.tail!.shift()!
    this.laidIndex = item.lastIndex
    this.laidOffset = item.endOffset
    if (item.sequence < this.uncoveredSequence) this.uncoveredSequence = item.sequence
    return item
  }

  dropEmptyTail(): void {
    if (this.tail !== undefined && this.tail.length === 0) this.tail = undefined
  }

  /**
   * Lets a state record stand for a tail that is committed and holds entries without offset only, so that a quiet group that once
   * elected a leader needs no memory for it.
   * @returns whether it did
   */
  settleEntries(): boolean {
    const { tail } = this
    if (tail === undefined || tail.batchBytes > 0 || tail.committedLength < tail.length) return false
    const isSettled = this.segmentIndex === this.laidIndex && this.files?.running === undefined
    if (!this.attached || this.isMetadata || !isSettled) return false
    while (tail.length > 0) this.#host.arena.release(this.takeFirst().runAt)
    this.tail = undefined
    this.segmentIndex = this.laidIndex
    this.segmentOffset = this.laidOffset
    this.emitState()
    // No file of the ring is recycled before that record is durable.
    this.uncoveredSequence = Number.POSITIVE_INFINITY
    return true
  }

  /** Repeats the items that lie in journal blocks before `sequence` in the block being filled, so that theirs can go. */
  carryItems(sequence: number): number {
    const { journal, arena } = this.#host
    const tail = this.tail
    let bytes = 0
    for (let position = 0; tail !== undefined && position < tail.length; position++) {
      const item = tail.item(position)!
      if (item.sequence >= sequence) continue
      const type = item.span === 0 ? RecordType.ENTRY : RecordType.BATCH
      const { groupId, commitIndex } = this
      const { kind, term, index } = item
      const at = journal.begin(this, 0, type, FLAG_CARRIED, kind, item.bytes, groupId, term, index, commitIndex)
      arena.bytes.copyWithin(at, item.at, item.at + item.bytes)
      arena.retain(journal.fillingRunAt)
      arena.release(item.runAt)
      item.at = at
      item.runAt = journal.fillingRunAt
      item.sequence = journal.fillingSequence
      tail.carried = true
      bytes += item.bytes
    }
    return bytes
  }

  /** Writes the group's state into the block being filled. @returns the block's sequence */
  emitState(): number {
    this.#runs = runsFrom(this.#runs, this.firstIndex - 1)
    if (this.attached) {
      this.snapshot = this.#snapshotProvider?.snapshot()
      this.snapshotIndex = this.commitIndex
      this.snapshotOffset = this.committedOffset
      if (this.isMetadata) {
        this.segmentIndex = this.commitIndex
        this.segmentOffset = this.committedOffset
      }
    }
    this.#writeState(this.state())
    // Given by the provider, it can be asked for again; only a recovered one must be kept.
    if (this.#snapshotProvider !== undefined && this.replayed) this.snapshot = undefined
    return this.stateSequence
  }

  #writeState(state: GroupState): number {
    const { journal, arena } = this.#host
    stateWriter.reset()
    encodeState(stateWriter, state)
    const bytes = stateWriter.written
    const { term, checkpointIndex } = state
    const commitIndex = Math.max(this.commitIndex, checkpointIndex)
    const at = journal.begin(
      this,
      0,
      RecordType.STATE,
      0,
      0,
      bytes.length,
      this.groupId,
      term,
      checkpointIndex,
      commitIndex,
    )
    arena.bytes.set(bytes, at)
    this.stateSequence = journal.fillingSequence
    return this.stateSequence
  }

  /** What a state record holds: the group as it is on stable storage, and its last snapshot. */
  state(): GroupState {
    const segments = this.files?.segments ?? []
    const state: GroupState = {
      incarnation: this.incarnation,
      directory: this.directory,
      term: this.term,
      votedFor: this.votedFor,
      checkpointIndex: this.segmentIndex,
      checkpointOffset: this.segmentOffset,
      logStartOffset: this.logStartOffset,
      firstIndex: this.isMetadata ? this.segmentIndex + 1 : this.firstIndex,
      runs: runsBefore(this.#runs, this.segmentIndex + 1),
      isRestart: false,
      hasLitter: this.files?.hasLitter ?? false,
      segments: [],
      lastIsActive: false,
      snapshotIndex: this.snapshotIndex,
      snapshotOffset: this.snapshotOffset,
      snapshot: this.snapshot,
    }
    for (const segment of segments) {
      if (segment.durable === undefined) continue
      state.segments.push(segment.durable)
      state.lastIsActive = !segment.sealed
    }
    return state
  }

  /** Takes over a state record. Entries of the tail that it covers are dropped. */
  restoreState(state: GroupState, sequence: number): void {
    this.term = state.term
    this.votedFor = state.votedFor
    this.#runs = state.runs
    this.logStartOffset = state.logStartOffset
    this.firstIndex = state.firstIndex
    this.snapshot = state.snapshot
    this.snapshotIndex = state.snapshotIndex
    this.snapshotOffset = state.snapshotOffset
    this.stateSequence = sequence
    this.segmentIndex = state.checkpointIndex
    this.segmentOffset = state.checkpointOffset
    this.laidIndex = state.checkpointIndex
    this.laidOffset = state.checkpointOffset
    while (this.tail !== undefined && this.tail.length > 0 && this.tail.first!.lastIndex <= state.checkpointIndex) {
      this.#host.arena.release(this.tail.shift()!.runAt)
    }
    this.dropEmptyTail()
    this.refreshEnd()
  }

  /** The last of recovery: the runs behind the checkpoint, from the items. */
  restoreRuns(): void {
    this.#runs = runsBefore(this.#runs, this.laidIndex + 1)
    const tail = this.tail
    for (let position = 0; tail !== undefined && position < tail.length; position++) this.#noteRun(tail.item(position)!)
  }

  /** Puts a replayed item in its place. */
  restoreItem(item: TailItem, carried: boolean): void {
    if (item.lastIndex <= this.laidIndex) return
    this.#host.arena.retain(item.runAt)
    if (this.tail === undefined) {
      this.tail = new Tail()
      this.#host.onTail(this)
    }
    if (carried) {
      this.tail.carried = true
      const replaced = this.tail.insert(item)
      if (replaced !== undefined) this.#host.arena.release(replaced.runAt)
    } else {
      // A record that does not carry an earlier one follows everything the log had.
      this.cutTail(item.index)
      this.tail ??= new Tail()
      this.tail.push(item)
    }
    this.refreshEnd()
  }

  /** Sets the ends from segments and tail. */
  refreshEnd(): void {
    const last = this.tail?.last
    this.lastIndex = last?.lastIndex ?? this.laidIndex
    this.logEndOffset = last?.endOffset ?? this.laidOffset
  }

  /** Index of the first gap in the tail, -1 when there is none: recovery's last check, which also places the entries. */
  firstGap(): number {
    let expected = this.laidIndex + 1
    let offset = this.laidOffset
    const tail = this.tail
    for (let position = 0; tail !== undefined && position < tail.length; position++) {
      const item = tail.item(position)!
      // The record of an entry names no offset: seen before the state record, its place was not known.
      if (item.span === 0) item.baseOffset = offset
      if (item.index !== expected || item.baseOffset !== offset) return expected
      expected = item.lastIndex + 1
      offset = item.endOffset
    }
    return -1
  }

  /** Drops the entries from an index on, in memory only. */
  cutTail(index: number): void {
    const tail = this.tail
    if (tail !== undefined) {
      while (tail.last !== undefined && tail.last.lastIndex >= index) this.#host.arena.release(tail.pop()!.runAt)
    }
    this.dropEmptyTail()
    this.#runs = runsBefore(this.#runs, index)
    this.refreshEnd()
  }

  /** Lets go of all journal memory: the group is removed. */
  dropTail(): void {
    while (this.tail !== undefined && this.tail.length > 0) this.#host.arena.release(this.tail.shift()!.runAt)
    this.tail = undefined
  }

  /** Whether a committed batch of the tail has no timestamp after a time. */
  tailHasOlderThan(timeMs: number): boolean {
    const tail = this.tail
    for (let position = 0; tail !== undefined && position < tail.committedLength; position++) {
      const item = tail.item(position)!
      if (item.span > 0 && maxTimestampOf(this.#host.arena.bytes, item.at) < timeMs) return true
    }
    return false
  }

  #append(item: TailItem): void {
    const host = this.#host
    if (this.tail === undefined) {
      this.tail = new Tail()
      host.onTail(this)
    }
    host.arena.retain(item.runAt)
    this.tail.push(item)
    this.tail.lastTick = host.tick
    this.#noteRun(item)
    this.lastIndex = item.lastIndex
    this.logEndOffset = item.endOffset
  }

  #noteRun(item: TailItem): void {
    const last = this.lastTerm
    invariant(item.term >= last, 'terms in a log only rise', item.term, last)
    if (item.span === 0) {
      // Commands are all without offset: there is nothing to convert.
      if (this.isMetadata && item.term === last) return
      this.#runs = withRun(this.#runs, item.term, item.index, item.baseOffset)
    } else if (this.#runs.length === 0) {
      this.#runs = withRun(this.#runs, item.term, item.index - 1, item.baseOffset)
    } else {
      invariant(item.term === last, 'a term begins with an entry without offset', item.term, last)
    }
  }

  /** With a provider the broker can always be asked again. */
  #dropSnapshot(): void {
    if (this.replayed && this.#snapshotProvider !== undefined) this.snapshot = undefined
  }
}
