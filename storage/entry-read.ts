// What replication reads of a log: its entries by Raft index, from journal memory at once, from segments with a disk read.
//
// Made on the shard's thread for one message to one peer; the views stay as they are until release().

import { baseOffsetOf, leaderEpochOf, offsetSpanOf, sizeBytesOf } from '../protocol/records/batch.ts'
import type { Arena } from './arena.ts'
import { StorageCorruption } from './corruption.ts'
import type { GroupLog } from './log.ts'
import type { ReadResult } from './read-result.ts'
import type { TailItem } from './tail.ts'

/** Kind of an entry that is a record batch. Raft's EntryKind.Batch is the same number. */
export const BATCH_KIND = 0
/**
 * Kind under which an entry without offset comes when its payload is no longer in the journal: Raft's EntryKind.LeaderChange,
 * which has none. Whoever knows better (the membership at that index) puts it in its place.
 */
export const FORGOTTEN_KIND = 1

export interface LogEntry {
  /** First Raft index. */
  readonly index: number
  readonly term: number
  /** Indexes it takes. */
  readonly count: number
  readonly kind: number
  /** First offset; of an entry without offset the log end offset at its place. */
  readonly baseOffset: number
  /** A view over the arena: the batch as stamped, or the entry's payload. */
  readonly bytes: Uint8Array
}

/** What an entry counts for beside its bytes, so that a message holds not too many small ones. */
const ENTRY_COST_BYTES = 32
/** Less is not worth another read: what a message lacks comes with the next. */
const READ_ON_BYTES = 4096
const NO_BYTES = new Uint8Array(0)

/** Consecutive entries. Empty when the index asked for is not held (any more): look at firstIndex and lastIndex then. */
export class EntryRead {
  readonly entries: LogEntry[] = []
  /** Bytes of all entries. */
  bytes = 0
  readonly #arena: Arena
  #runs: number[] = []
  #reads: ReadResult[] = []
  #cost = 0

  constructor(arena: Arena) {
    this.#arena = arena
  }

  /** Whether so many more bytes fit; the first entry always does. */
  fits(bytes: number, maxBytes: number): boolean {
    return this.#cost === 0 || this.#cost + bytes + ENTRY_COST_BYTES <= maxBytes
  }

  addItem(item: TailItem): void {
    const { index, term, kind, baseOffset, at, runAt } = item
    if (this.#runs[this.#runs.length - 1] !== runAt) {
      this.#arena.retain(runAt)
      this.#runs.push(runAt)
    }
    this.#add(index, term, Math.max(1, item.span), kind, baseOffset, this.#arena.view(at, item.bytes))
  }

  addForgotten(index: number, term: number, baseOffset: number): void {
    this.#add(index, term, 1, FORGOTTEN_KIND, baseOffset, NO_BYTES)
  }

  addBatch(index: number, bytes: Uint8Array): void {
    this.#add(index, leaderEpochOf(bytes, 0), offsetSpanOf(bytes, 0), BATCH_KIND, baseOffsetOf(bytes, 0), bytes)
  }

  /** Takes over what holds the memory of added batches. */
  hold(read: ReadResult): void {
    this.#reads.push(read)
  }

  /** Lets the memory go; a second call does nothing. */
  release(): void {
    const runs = this.#runs
    const reads = this.#reads
    this.#runs = []
    this.#reads = []
    for (const runAt of runs) this.#arena.release(runAt)
    for (const read of reads) read.release()
  }

  #add(index: number, term: number, count: number, kind: number, baseOffset: number, bytes: Uint8Array): void {
    this.entries.push({ index, term, count, kind, baseOffset, bytes })
    this.bytes += bytes.length
    this.#cost += bytes.length + ENTRY_COST_BYTES
  }
}

type ReadSegments = (offset: number, maxBytes: number) => ReadResult | Promise<ReadResult>

/** See GroupLog.readEntries(). @param readSegments reads what is laid out, from the batch that holds an offset on */
export function readEntries(
  log: GroupLog,
  arena: Arena,
  fromIndex: number,
  maxBytes: number,
  readSegments: ReadSegments,
): EntryRead | Promise<EntryRead> {
  const read = new EntryRead(arena)
  if (fromIndex < log.firstIndex || fromIndex > log.lastIndex) return read
  const index = addForgotten(log, read, fromIndex, maxBytes)
  if (index > log.laidIndex || !read.fits(READ_ON_BYTES, maxBytes)) {
    addTail(log, read, index, maxBytes)
    return read
  }
  const { files } = log
  const batches = readSegments(log.offsetAfter(index - 1), Math.max(0, maxBytes - read.bytes))
  if (!(batches instanceof Promise)) return addBatches(log, read, batches, index, maxBytes)
  return batches.then((found) => {
    if (!log.removed && log.files === files) return addBatches(log, read, found, index, maxBytes)
    found.release()
    return read
  })
}

/** Adds the entries without offset that begin at an index and are laid out. @returns the index behind them */
function addForgotten(log: GroupLog, read: EntryRead, index: number, maxBytes: number): number {
  while (index <= log.laidIndex && log.beginsRun(index) && read.fits(0, maxBytes)) {
    read.addForgotten(index, log.termAt(index), log.offsetAfter(index))
    index += 1
  }
  return index
}

function addTail(log: GroupLog, read: EntryRead, index: number, maxBytes: number): void {
  const { tail } = log
  if (tail === undefined || index <= log.laidIndex) return
  for (let position = tail.findIndex(index); position < tail.length; position++) {
    const item = tail.item(position)!
    if (!read.fits(item.bytes, maxBytes)) return
    read.addItem(item)
  }
}

/** Adds what a read from segments found at an index, and what follows in memory. */
function addBatches(log: GroupLog, read: EntryRead, batches: ReadResult, index: number, maxBytes: number): EntryRead {
  read.hold(batches)
  let found = false
  let next = index
  for (const fragment of batches.fragments) {
    for (let at = 0, size = 0; at < fragment.length; at += size) {
      size = sizeBytesOf(fragment, at)
      if (found && !read.fits(size, maxBytes)) return read
      const baseIndex = log.indexOfOffset(baseOffsetOf(fragment, at))
      const span = offsetSpanOf(fragment, at)
      // The first one may begin before the index that was asked for.
      const fits = found ? baseIndex === next : baseIndex <= next && baseIndex + span > next
      if (!fits && next < log.firstIndex) return read
      if (!fits || leaderEpochOf(fragment, at) !== log.termAt(baseIndex)) {
        read.release()
        throw misfit(log, next)
      }
      read.addBatch(baseIndex, fragment.subarray(at, at + size))
      found = true
      next = addForgotten(log, read, baseIndex + span, maxBytes)
    }
  }
  if (found) addTail(log, read, next, maxBytes)
  return read
}

function misfit(log: GroupLog, index: number): StorageCorruption {
  const startOffset = log.offsetAfter(index - 1)
  const what = `the records from offset ${startOffset} on are not those of the log`
  const range = { startOffset, endOffset: log.laidOffset }
  return new StorageCorruption(what, log.directory, -1, 'Restore the replica from another one.', undefined, range)
}
