// Sparse offset -> file position of one segment, in memory and in Kafka's own file format.
//
// One per segment that is written to or read, owned by segment.ts. An entry is (last offset of a batch - base offset, file
// position of that batch), both big-endian int32, about one per index.interval.bytes.
// Format: Kafka's OffsetIndex; kafka-dump-log --index-sanity-check reads it.

export const OFFSET_ENTRY_BYTES = 8

export class OffsetIndex {
  count = 0
  #entries: Int32Array

  constructor(capacity = 0) {
    this.#entries = new Int32Array(capacity * 2)
  }

  get lastOffset(): number {
    return this.count === 0 ? -1 : this.#entries[(this.count - 1) * 2]!
  }

  get lastPosition(): number {
    return this.count === 0 ? 0 : this.#entries[(this.count - 1) * 2 + 1]!
  }

  get byteLength(): number {
    return this.#entries.byteLength
  }

  /** @param relativeOffset last offset of the batch at `position`, minus the segment's base offset */
  append(relativeOffset: number, position: number): void {
    if (this.count * 2 === this.#entries.length) {
      const larger = new Int32Array(Math.max(16, this.#entries.length * 2))
      larger.set(this.#entries)
      this.#entries = larger
    }
    this.#entries[this.count * 2] = relativeOffset
    this.#entries[this.count * 2 + 1] = position
    this.count += 1
  }

  /** Entry number of the last entry at or below an offset, -1 when there is none. */
  floor(relativeOffset: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#entries[middle * 2]! <= relativeOffset) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  offsetAt(entry: number): number {
    return this.#entries[entry * 2]!
  }

  positionAt(entry: number): number {
    return this.#entries[entry * 2 + 1]!
  }

  /** Drops the entries from `count` on. */
  truncate(count: number): void {
    this.count = Math.min(this.count, count)
  }

  /** The file bytes of the entries from `first` on. */
  encode(first = 0): Uint8Array {
    const bytes = new Uint8Array((this.count - first) * OFFSET_ENTRY_BYTES)
    const view = new DataView(bytes.buffer)
    for (let entry = first; entry < this.count; entry++) {
      view.setInt32((entry - first) * OFFSET_ENTRY_BYTES, this.#entries[entry * 2]!)
      view.setInt32((entry - first) * OFFSET_ENTRY_BYTES + 4, this.#entries[entry * 2 + 1]!)
    }
    return bytes
  }

  /** Reads a file, up to the first entry that does not follow its predecessor or lies behind the end of the segment. */
  static decode(bytes: Uint8Array, endRelativeOffset: number, endPosition: number): OffsetIndex {
    const index = new OffsetIndex(Math.floor(bytes.length / OFFSET_ENTRY_BYTES))
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; at + OFFSET_ENTRY_BYTES <= bytes.length; at += OFFSET_ENTRY_BYTES) {
      const offset = view.getInt32(at)
      const position = view.getInt32(at + 4)
      // A batch never starts at position 0 of an entry: the first batch of a segment gets none.
      if (offset <= index.lastOffset || position <= index.lastPosition) break
      if (offset >= endRelativeOffset || position >= endPosition) break
      index.append(offset, position)
    }
    return index
  }
}
