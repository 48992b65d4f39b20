// Wire-ready pieces of segments in memory: what was just laid out, what was read from disk, and which of it goes first.
//
// One per shard, touched only from its worker thread. Three queues, so that one consumer reading a log from its start does
// not throw out what others still want: 'fresh' pieces come from write-behind, 'scan' pieces from disk, and a piece that is
// read again from its beginning moves to 'kept'. Memory that a reader still holds is freed when the reader lets go.

import type { Arena, Purpose } from './arena.ts'
import type { Segment } from './segment.ts'

export type CacheQueue = 'fresh' | 'scan' | 'kept'

/** Whole batches of one segment, contiguous in the arena. */
export class CacheEntry {
  readonly segment: Segment
  /** File positions of the first batch and behind the last one. */
  readonly startPosition: number
  readonly endPosition: number
  readonly baseOffset: number
  readonly endOffset: number
  readonly runAt: number
  /** Arena position of the byte at startPosition. */
  readonly at: number
  queue: CacheQueue
  /** Not to be evicted: not on disk yet, or needed for the next write. */
  pins = 0
  /** False when evicted: the memory may be somebody else's. */
  resident = true
  /** Where the last read ended, so that the next one need not search. */
  hintOffset = -1
  hintPosition = 0
  /** Largest position read so far: reading below it again means somebody else wants it too. */
  readUpTo = 0
  newer: CacheEntry | undefined
  older: CacheEntry | undefined

  constructor(
    segment: Segment,
    startPosition: number,
    endPosition: number,
    baseOffset: number,
    endOffset: number,
    runAt: number,
    at: number,
    queue: CacheQueue,
  ) {
    this.segment = segment
    this.startPosition = startPosition
    this.endPosition = endPosition
    this.baseOffset = baseOffset
    this.endOffset = endOffset
    this.runAt = runAt
    this.at = at
    this.queue = queue
  }
}

class Queue {
  newest: CacheEntry | undefined
  oldest: CacheEntry | undefined
  bytes = 0

  add(entry: CacheEntry, bytes: number): void {
    entry.older = this.newest
    entry.newer = undefined
    if (this.newest !== undefined) this.newest.newer = entry
    this.newest = entry
    this.oldest ??= entry
    this.bytes += bytes
  }

  remove(entry: CacheEntry, bytes: number): void {
    if (entry.newer !== undefined) entry.newer.older = entry.older
    else this.newest = entry.older
    if (entry.older !== undefined) entry.older.newer = entry.newer
    else this.oldest = entry.newer
    entry.newer = undefined
    entry.older = undefined
    this.bytes -= bytes
  }
}

export class ReadCache {
  hits = 0
  misses = 0
  readonly #arena: Arena
  readonly #queues: Record<CacheQueue, Queue> = { fresh: new Queue(), scan: new Queue(), kept: new Queue() }

  constructor(arena: Arena) {
    this.#arena = arena
  }

  get bytes(): number {
    return this.#queues.fresh.bytes + this.#queues.scan.bytes + this.#queues.kept.bytes
  }

  /** Takes arena memory, evicting as needed. @returns -1 when everything left is held */
  allocate(bytes: number, purpose: Purpose): number {
    let at = this.#arena.alloc(bytes, purpose)
    while (at < 0 && this.evictOne()) at = this.#arena.alloc(bytes, purpose)
    return at
  }

  /** Takes over the caller's hold on the entry's run. */
  insert(entry: CacheEntry): void {
    const entries = entry.segment.cached
    let position = entries.length
    while (position > 0 && entries[position - 1]!.startPosition > entry.startPosition) position -= 1
    entries.splice(position, 0, entry)
    this.#arena.reassign(entry.runAt, 'cache')
    this.#queues[entry.queue].add(entry, this.#arena.runBytes(entry.runAt))
    entry.pins += 1
    while (this.#arena.room('cache') < 0 && this.evictOne()) {}
    entry.pins -= 1
  }

  /** The piece of a segment that holds an offset, or would if there were no gap before its first batch. */
  find(segment: Segment, offset: number): CacheEntry | undefined {
    const entries = segment.cached
    let low = 0
    let high = entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (entries[middle]!.endOffset > offset) high = middle
      else low = middle + 1
    }
    const entry = entries[low]
    return entry !== undefined && entry.baseOffset <= offset ? entry : undefined
  }

  /** The first piece that starts at or behind a file position. */
  following(segment: Segment, position: number): CacheEntry | undefined {
    for (const entry of segment.cached) {
      if (entry.startPosition >= position) return entry
    }
    return undefined
  }

  /** Notes that [from, end) was read. */
  touch(entry: CacheEntry, from: number, end: number): void {
    const again = from < entry.readUpTo
    if (end > entry.readUpTo) entry.readUpTo = end
    if (!again || entry.queue === 'kept') {
      if (entry.queue === 'kept' && again) this.#move(entry, 'kept')
      return
    }
    this.#move(entry, 'kept')
  }

  remove(entry: CacheEntry): void {
    if (!entry.resident) return
    entry.resident = false
    this.#queues[entry.queue].remove(entry, this.#arena.runBytes(entry.runAt))
    const position = entry.segment.cached.indexOf(entry)
    if (position >= 0) entry.segment.cached.splice(position, 1)
    this.#arena.release(entry.runAt)
  }

  /** Drops all pieces of a segment that is going away. */
  removeSegment(segment: Segment): void {
    while (segment.cached.length > 0) this.remove(segment.cached[segment.cached.length - 1]!)
  }

  /** Frees the piece that is missed least. @returns false when all are pinned */
  evictOne(): boolean {
    const { fresh, scan, kept } = this.#queues
    const total = this.bytes
    // Each of the first two has a share it may keep while the others have more than theirs.
    const order =
      scan.bytes * 4 > total ? [scan, fresh, kept] : fresh.bytes * 2 > total ? [fresh, scan, kept] : [kept, fresh, scan]
    for (const queue of order) {
      for (let entry = queue.oldest; entry !== undefined; entry = entry.newer) {
        if (entry.pins > 0) continue
        this.remove(entry)
        return true
      }
    }
    return false
  }

  #move(entry: CacheEntry, queue: CacheQueue): void {
    const bytes = this.#arena.runBytes(entry.runAt)
    this.#queues[entry.queue].remove(entry, bytes)
    entry.queue = queue
    this.#queues[queue].add(entry, bytes)
  }
}
