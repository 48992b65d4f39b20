// Sparse largest timestamp so far -> offset of one segment, in memory and in Kafka's own file format.
//
// One per segment that is written to or read, owned by segment.ts. An entry is (timestamp int64, last offset of the batch
// that holds it - base offset int32), big-endian; timestamps only rise, also when the records' do not.
// Format: Kafka's TimeIndex; kafka-dump-log --index-sanity-check reads it.

export const TIME_ENTRY_BYTES = 12

export class TimeIndex {
  count = 0
  #timestamps: Float64Array
  #offsets: Int32Array

  constructor(capacity = 0) {
    this.#timestamps = new Float64Array(capacity)
    this.#offsets = new Int32Array(capacity)
  }

  get lastTimestamp(): number {
    return this.count === 0 ? -1 : this.#timestamps[this.count - 1]!
  }

  get lastOffset(): number {
    return this.count === 0 ? -1 : this.#offsets[this.count - 1]!
  }

  /** Adds an entry when the timestamp is larger than the last one. */
  append(timestamp: number, relativeOffset: number): void {
    if (timestamp <= this.lastTimestamp) return
    if (this.count === this.#timestamps.length) {
      const capacity = Math.max(16, this.count * 2)
      const timestamps = new Float64Array(capacity)
      timestamps.set(this.#timestamps)
      this.#timestamps = timestamps
      const offsets = new Int32Array(capacity)
      offsets.set(this.#offsets)
      this.#offsets = offsets
    }
    this.#timestamps[this.count] = timestamp
    this.#offsets[this.count] = relativeOffset
    this.count += 1
  }

  /** Relative offset of the last entry whose timestamp is below the given one, -1 when there is none. */
  floorBelow(timestamp: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#timestamps[middle]! < timestamp) low = middle + 1
      else high = middle
    }
    return low === 0 ? -1 : this.#offsets[low - 1]!
  }

  /** Drops entries for offsets from `relativeOffset` on. */
  truncateFrom(relativeOffset: number): void {
    while (this.count > 0 && this.#offsets[this.count - 1]! >= relativeOffset) this.count -= 1
  }

  /** The file bytes of the entries from `first` on. */
  encode(first = 0): Uint8Array {
    const bytes = new Uint8Array((this.count - first) * TIME_ENTRY_BYTES)
    const view = new DataView(bytes.buffer)
    for (let entry = first; entry < this.count; entry++) {
      view.setBigInt64((entry - first) * TIME_ENTRY_BYTES, BigInt(this.#timestamps[entry]!))
      view.setInt32((entry - first) * TIME_ENTRY_BYTES + 8, this.#offsets[entry]!)
    }
    return bytes
  }

  /** Reads a file, up to the first entry that does not follow its predecessor or lies behind the end of the segment. */
  static decode(bytes: Uint8Array, endRelativeOffset: number): TimeIndex {
    const index = new TimeIndex(Math.floor(bytes.length / TIME_ENTRY_BYTES))
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; at + TIME_ENTRY_BYTES <= bytes.length; at += TIME_ENTRY_BYTES) {
      const timestamp = Number(view.getBigInt64(at))
      const offset = view.getInt32(at + 8)
      if (timestamp <= index.lastTimestamp || offset < 0 || offset < index.lastOffset) break
      if (offset >= endRelativeOffset) break
      index.append(timestamp, offset)
    }
    return index
  }
}
