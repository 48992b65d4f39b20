// The part of a group's log that lies in journal memory: entries not yet laid out in a segment.
//
// Owned by log.ts; made when a group gets its first entry and dropped when it has none, so that idle groups stay small.
// One small object per batch; the bytes are in the arena, in the journal block they were written to disk from.

/** One batch, or one entry without offsets. */
export class TailItem {
  /** First Raft index. */
  readonly index: number
  /** Offsets it takes, as many as indexes; 0: an entry that takes one index and no offset. */
  readonly span: number
  readonly term: number
  /** The broker's number for an entry; 0 for batches. */
  readonly kind: number
  /** First offset; for an entry the log end offset at its place. */
  baseOffset: number
  readonly bytes: number
  /** Position in the arena. Changes when the item is carried to a newer block. */
  at: number
  runAt: number
  /** Sequence of the journal block that holds it. */
  sequence: number

  constructor(
    index: number,
    span: number,
    term: number,
    kind: number,
    baseOffset: number,
    bytes: number,
    at: number,
    runAt: number,
    sequence: number,
  ) {
    this.index = index
    this.span = span
    this.term = term
    this.kind = kind
    this.baseOffset = baseOffset
    this.bytes = bytes
    this.at = at
    this.runAt = runAt
    this.sequence = sequence
  }

  get endOffset(): number {
    return this.baseOffset + this.span
  }

  get lastIndex(): number {
    return this.span === 0 ? this.index : this.index + this.span - 1
  }
}

const COMPACT_AFTER = 256

/** Items in index order without gaps; taken away at the front, added and cut at the back. */
export class Tail {
  /** Bytes of all batches. */
  batchBytes = 0
  /** Bytes of all committed batches. */
  committedBytes = 0
  /** Bytes of all entries. */
  entryBytes = 0
  /** Some item was repeated in a newer block than items behind it. */
  carried = false
  /** Storage's tick of the last append. */
  lastTick = 0
  #items: TailItem[] = []
  #head = 0
  /** Position behind the last committed item. */
  #committed = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get committedLength(): number {
    return this.#committed - this.#head
  }

  get first(): TailItem | undefined {
    return this.#items[this.#head]
  }

  get last(): TailItem | undefined {
    return this.#items.length > this.#head ? this.#items[this.#items.length - 1] : undefined
  }

  /** Oldest journal block that holds an item, Infinity when there is none. */
  get oldestSequence(): number {
    if (!this.carried) return this.first?.sequence ?? Number.POSITIVE_INFINITY
    let oldest = Number.POSITIVE_INFINITY
    for (let at = this.#head; at < this.#items.length; at++) oldest = Math.min(oldest, this.#items[at]!.sequence)
    return oldest
  }

  /** @param position 0 is the first item */
  item(position: number): TailItem | undefined {
    return this.#items[this.#head + position]
  }

  push(item: TailItem): void {
    this.#items.push(item)
    if (item.span === 0) this.entryBytes += item.bytes
    else this.batchBytes += item.bytes
  }

  /** Puts a carried item where it belongs; for recovery only, before anything is committed. @returns the item it replaces */
  insert(item: TailItem): TailItem | undefined {
    let position = this.#items.length
    while (position > this.#head && this.#items[position - 1]!.index >= item.index) position -= 1
    const present = this.#items[position]
    if (present !== undefined && present.index === item.index) {
      this.#items[position] = item
      return present
    }
    this.#items.splice(position, 0, item)
    if (item.span === 0) this.entryBytes += item.bytes
    else this.batchBytes += item.bytes
    return undefined
  }

  shift(): TailItem | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    if (this.#committed > this.#head) {
      if (item.span !== 0) this.committedBytes -= item.bytes
    } else {
      this.#committed += 1
    }
    this.#head += 1
    if (item.span === 0) this.entryBytes -= item.bytes
    else this.batchBytes -= item.bytes
    if (this.#head > COMPACT_AFTER && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#committed -= this.#head
      this.#head = 0
    }
    return item
  }

  /** Takes the last item away. */
  pop(): TailItem | undefined {
    if (this.#items.length <= this.#head) return undefined
    const item = this.#items.pop()!
    if (item.span === 0) this.entryBytes -= item.bytes
    else this.batchBytes -= item.bytes
    if (this.#committed > this.#items.length) {
      this.#committed = this.#items.length
      if (item.span !== 0) this.committedBytes -= item.bytes
    }
    return item
  }

  /** Marks everything up to an index as committed. */
  commit(index: number): void {
    while (this.#committed < this.#items.length) {
      const item = this.#items[this.#committed]!
      if (item.lastIndex > index) break
      if (item.span !== 0) this.committedBytes += item.bytes
      this.#committed += 1
    }
  }

  /** Position of the item that holds `index`, or of the first one behind it. */
  findIndex(index: number): number {
    let low = this.#head
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#items[middle]!.lastIndex >= index) high = middle
      else low = middle + 1
    }
    return low - this.#head
  }

  /** Position of the first batch that ends behind `offset`, `length` when there is none. */
  findOffset(offset: number): number {
    let low = this.#head
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#items[middle]!.endOffset > offset) high = middle
      else low = middle + 1
    }
    while (low < this.#items.length && this.#items[low]!.span === 0) low += 1
    return low - this.#head
  }
}
