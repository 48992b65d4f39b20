// The only place where Raft's numbers become Kafka's: log index <-> record offset, and term = leader epoch.
//
// One per partition replica, touched only from its shard's thread; pure. A partition's leader epoch IS its Raft term: the same
// number, stored in each batch's header; nothing is converted but the name.
//
// An entry that is a record batch covers one index per offset, so index - offset stays the same from batch to batch. An entry
// that Kafka must not see (leader change, membership) takes one index and no offset, and raises the difference by one. So the
// map is a list of runs, one per stretch between such entries: a handful of numbers however long the log is.

import { invariant } from '../../protocol/invariant.ts'

/** Where a stretch of batches begins: its first index and the offset of that index. */
export interface OffsetRun {
  readonly startIndex: number
  readonly startOffset: number
}

export class OffsetMap {
  // Ascending in both; parallel, so that an idle partition holds two short arrays of small numbers.
  #startIndexes: number[]
  #startOffsets: number[]
  #lastIndex: number

  /**
   * @param runs stretches between invisible entries, oldest first; the default is an empty log, whose first index is 1
   * @param lastIndex last index of the log, whatever its entry
   */
  constructor(runs: readonly OffsetRun[] = [{ startIndex: 1, startOffset: 0 }], lastIndex = 0) {
    invariant(runs.length > 0, 'a log has at least one run', runs.length)
    this.#startIndexes = runs.map((run) => run.startIndex)
    this.#startOffsets = runs.map((run) => run.startOffset)
    this.#lastIndex = lastIndex
  }

  /**
   * The map of a log whose only invisible entries are the first of each term, as storage lists them. Other invisible entries
   * that a replay comes to must be given in the order of the log before anything is converted: see skipped().
   * @param epochs of each leader term its first index (the invisible entry) and the offset of the first record after it
   */
  static fromEpochs(epochs: readonly OffsetRun[], lastIndex: number): OffsetMap {
    if (epochs.length === 0) return new OffsetMap(undefined, lastIndex)
    const runs = epochs.map(({ startIndex, startOffset }) => ({ startIndex: startIndex + 1, startOffset }))
    return new OffsetMap(runs, lastIndex)
  }

  get lastIndex(): number {
    return this.#lastIndex
  }

  /** Offset after everything in the log (exclusive). */
  get logEndOffset(): number {
    return this.endOffset(this.#lastIndex)
  }

  get runs(): OffsetRun[] {
    return this.#startIndexes.map((startIndex, at) => ({ startIndex, startOffset: this.#startOffsets[at]! }))
  }

  /** A batch was appended at the end of the log. */
  appended(index: number, baseOffset: number, offsetSpan: number): void {
    invariant(index === this.#lastIndex + 1, 'a batch follows the last entry', index, this.#lastIndex)
    invariant(baseOffset === this.logEndOffset, 'offsets are dense', baseOffset, this.logEndOffset)
    this.#lastIndex = index + offsetSpan - 1
  }

  /** An entry that Kafka does not see was appended at the end of the log. */
  appendedInvisible(index: number): void {
    invariant(index === this.#lastIndex + 1, 'an entry follows the last entry', index, this.#lastIndex)
    const endOffset = this.logEndOffset
    this.#lastIndex = index
    this.#beginRun(index + 1, endOffset)
  }

  /** The log lost every entry from `index` on. */
  truncated(index: number): void {
    if (index > this.#lastIndex) return
    this.#lastIndex = index - 1
    const indexes = this.#startIndexes
    const offsets = this.#startOffsets
    while (indexes[indexes.length - 1]! > index) {
      const last = indexes.length - 1
      // Where the run before ends, so the first of the invisible entries between the two.
      const invisible = last === 0 ? 0 : indexes[last - 1]! + (offsets[last]! - offsets[last - 1]!)
      if (invisible < index) {
        indexes[last] = index
        return
      }
      indexes.pop()
      offsets.pop()
    }
  }

  /** Nothing below `index` will be asked for any more: runs that end before it are dropped. */
  trimmed(index: number): void {
    let dropped = 0
    while (dropped + 1 < this.#startIndexes.length && this.#startIndexes[dropped + 1]! <= index) dropped++
    if (dropped === 0) return
    this.#startIndexes = this.#startIndexes.slice(dropped)
    this.#startOffsets = this.#startOffsets.slice(dropped)
  }

  /**
   * Offset (exclusive) up to which the entries at and before `index` reach: the high watermark when `index` is committed. An
   * invisible entry adds nothing.
   */
  endOffset(index: number): number {
    const run = floor(this.#startIndexes, index)
    if (run < 0) return this.#startOffsets[0]!
    const endOffset = this.#startOffsets[run]! + (index - this.#startIndexes[run]!) + 1
    // Indexes between the end of this run and the start of the next one are invisible.
    const next = this.#startOffsets[run + 1]
    return next === undefined || endOffset < next ? endOffset : next
  }

  /** Index of the record at `offset`, which must be in the log. */
  index(offset: number): number {
    const run = floor(this.#startOffsets, offset)
    invariant(run >= 0, 'an offset is not before the log', offset, this.#startOffsets[0]!)
    return this.#startIndexes[run]! + (offset - this.#startOffsets[run]!)
  }

  #beginRun(startIndex: number, startOffset: number): void {
    const last = this.#startOffsets.length - 1
    if (this.#startOffsets[last] === startOffset) {
      // Nothing visible between two invisible entries: the empty run moves on.
      this.#startIndexes[last] = startIndex
      return
    }
    this.#startIndexes.push(startIndex)
    this.#startOffsets.push(startOffset)
  }
}

/** Position of the last number that is not above `value`, -1 when all are. */
function floor(ascending: readonly number[], value: number): number {
  let low = 0
  let high = ascending.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ascending[middle]! <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}
