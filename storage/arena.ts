// The shard's fixed memory: runs of slabs for every batch byte, with reference counts and a budget per purpose.
//
// One per shard, made before the shard starts and touched only from its worker thread; other shards see the buffer, never
// this bookkeeping. Memory that was never handed out is never touched, so the resident size grows with use.

import { invariant } from '../protocol/invariant.ts'

/** Unit of allocation. A multiple of BLOCK_BYTES, so that every run can be read and written past the page cache. */
export const SLAB_BYTES = 16 * 1024

/**
 * What memory is taken for: 'inflight' requests on their way in or out, 'journal' batches not yet laid out in a segment,
 * 'cache' segment chunks, 'readahead' reads from disk under way.
 */
export type Purpose = 'inflight' | 'journal' | 'cache' | 'readahead'

const PURPOSES: readonly Purpose[] = ['inflight', 'journal', 'cache', 'readahead']

/** Runs of n slabs hang in bin floor(log2(n)). */
const BIN_COUNT = 24

export class Arena {
  readonly buffer: SharedArrayBuffer
  readonly bytes: Uint8Array
  readonly view32: DataView
  readonly capacityBytes: number
  /** Called after memory came back; it must only note the fact or start work, never allocate in a loop. */
  onFree: (() => void) | undefined

  readonly #slabCount: number
  /** By first slab of a run: its length in slabs; by last slab of a free run: its first slab + 1. */
  readonly #length: Int32Array
  readonly #freeEnd: Int32Array
  /** 0: not the head of an allocated run; otherwise the number of holders. */
  readonly #references: Int32Array
  readonly #purpose: Uint8Array
  readonly #isFree: Uint8Array
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #bins = new Int32Array(BIN_COUNT).fill(-1)
  readonly #used = [0, 0, 0, 0]
  readonly #limits: number[]
  #freeSlabs: number

  /**
   * @param bytes size, rounded down to whole slabs; at least 16 slabs
   * @param limits most bytes a purpose may hold; defaults: inflight 1/8, journal 3/8, cache 7/16, readahead 1/16
   */
  static create(bytes: number, limits: Partial<Record<Purpose, number>> = {}): Arena {
    return new Arena(bytes, limits)
  }

  private constructor(bytes: number, limits: Partial<Record<Purpose, number>>) {
    const slabCount = Math.max(16, Math.floor(bytes / SLAB_BYTES))
    const capacityBytes = slabCount * SLAB_BYTES
    // Growable, because V8 maps such buffers page-aligned; a plain SharedArrayBuffer is aligned to 16 bytes only.
    this.buffer = new SharedArrayBuffer(capacityBytes, { maxByteLength: capacityBytes })
    this.bytes = new Uint8Array(this.buffer, 0, capacityBytes)
    this.view32 = new DataView(this.buffer, 0, capacityBytes)
    this.capacityBytes = capacityBytes
    this.#slabCount = slabCount
    this.#length = new Int32Array(slabCount)
    this.#freeEnd = new Int32Array(slabCount)
    this.#references = new Int32Array(slabCount)
    this.#purpose = new Uint8Array(slabCount)
    this.#isFree = new Uint8Array(slabCount)
    this.#next = new Int32Array(slabCount)
    this.#previous = new Int32Array(slabCount)
    this.#limits = [
      limits.inflight ?? capacityBytes / 8,
      limits.journal ?? (capacityBytes / 8) * 3,
      limits.cache ?? (capacityBytes / 16) * 7,
      limits.readahead ?? capacityBytes / 16,
    ]
    this.#freeSlabs = slabCount
    this.#addFree(0, slabCount)
  }

  /**
   * Takes a contiguous run, held once by the caller.
   * @returns the position of its first byte in `buffer`, a multiple of SLAB_BYTES; -1 when no run is long enough. Budgets
   *   are not enforced here: whoever admits work looks at room() first, so that internal work can always go on.
   */
  alloc(bytes: number, purpose: Purpose = 'inflight'): number {
    const wanted = Math.max(1, Math.ceil(bytes / SLAB_BYTES))
    const slab = this.#findFree(wanted)
    if (slab < 0) return -1
    const length = this.#length[slab]!
    this.#removeFree(slab, length)
    if (length > wanted) this.#addFree(slab + wanted, length - wanted)
    this.#length[slab] = wanted
    this.#references[slab] = 1
    const kind = PURPOSES.indexOf(purpose)
    this.#purpose[slab] = kind
    this.#used[kind]! += wanted * SLAB_BYTES
    this.#freeSlabs -= wanted
    return slab * SLAB_BYTES
  }

  /** One more holder of the run that starts at `at`. */
  retain(at: number): void {
    const slab = at / SLAB_BYTES
    invariant(this.#references[slab]! > 0, 'only a run that is held can be held once more', at)
    this.#references[slab]!++
  }

  /** One holder less; the run is free when nobody holds it. */
  release(at: number): void {
    const slab = at / SLAB_BYTES
    const references = this.#references[slab]!
    invariant(references > 0, 'a run is released as often as it was held', at)
    this.#references[slab] = references - 1
    if (references > 1) return
    let start = slab
    let length = this.#length[slab]!
    this.#used[this.#purpose[slab]!]! -= length * SLAB_BYTES
    this.#freeSlabs += length
    const after = start + length
    if (after < this.#slabCount && this.#isFree[after] === 1) {
      const more = this.#length[after]!
      this.#removeFree(after, more)
      length += more
    }
    if (start > 0) {
      const head = this.#freeEnd[start - 1]! - 1
      if (head >= 0) {
        const more = this.#length[head]!
        this.#removeFree(head, more)
        start = head
        length += more
      }
    }
    this.#addFree(start, length)
    this.onFree?.()
  }

  /** Books an allocated run under another purpose: what was read ahead becomes cache. */
  reassign(at: number, purpose: Purpose): void {
    const slab = at / SLAB_BYTES
    const bytes = this.#length[slab]! * SLAB_BYTES
    const kind = PURPOSES.indexOf(purpose)
    this.#used[this.#purpose[slab]!]! -= bytes
    this.#purpose[slab] = kind
    this.#used[kind]! += bytes
  }

  /** Holders of the run at `at`; 0 when it is free. */
  references(at: number): number {
    return this.#references[at / SLAB_BYTES]!
  }

  /** Bytes of the run at `at`, whole slabs. */
  runBytes(at: number): number {
    return this.#length[at / SLAB_BYTES]! * SLAB_BYTES
  }

  /** A view over the arena; it keeps nothing alive by itself. */
  view(at: number, length: number): Uint8Array {
    return new Uint8Array(this.buffer, at, length)
  }

  usedBytes(purpose: Purpose): number {
    return this.#used[PURPOSES.indexOf(purpose)]!
  }

  limitBytes(purpose: Purpose): number {
    return this.#limits[PURPOSES.indexOf(purpose)]!
  }

  /** Bytes left in the budget of a purpose; negative when internal work went over it. */
  room(purpose: Purpose): number {
    return this.limitBytes(purpose) - this.usedBytes(purpose)
  }

  /** Bytes that belong to nobody, whether contiguous or not. */
  get freeBytes(): number {
    return this.#freeSlabs * SLAB_BYTES
  }

  #findFree(wanted: number): number {
    // Any run in a bin above fits; the bin of the same size class is looked through first, but not for long.
    const own = 31 - Math.clz32(wanted)
    let slab = this.#bins[own]!
    for (let tries = 0; slab >= 0 && tries < 16; tries++) {
      if (this.#length[slab]! >= wanted) return slab
      slab = this.#next[slab]!
    }
    for (let bin = own + 1; bin < BIN_COUNT; bin++) {
      if (this.#bins[bin]! >= 0) return this.#bins[bin]!
    }
    while (slab >= 0) {
      if (this.#length[slab]! >= wanted) return slab
      slab = this.#next[slab]!
    }
    return -1
  }

  #addFree(start: number, length: number): void {
    const bin = 31 - Math.clz32(length)
    const head = this.#bins[bin]!
    this.#length[start] = length
    this.#freeEnd[start + length - 1] = start + 1
    this.#isFree[start] = 1
    this.#next[start] = head
    this.#previous[start] = -1
    if (head >= 0) this.#previous[head] = start
    this.#bins[bin] = start
  }

  #removeFree(start: number, length: number): void {
    const next = this.#next[start]!
    const previous = this.#previous[start]!
    if (previous >= 0) this.#next[previous] = next
    else this.#bins[31 - Math.clz32(length)] = next
    if (next >= 0) this.#previous[next] = previous
    this.#freeEnd[start + length - 1] = 0
    this.#isFree[start] = 0
  }
}
