// What a read hands out: views over the arena that stay as they are until they are released.
//
// Made on the shard's thread; released there too, when the bytes have left for the socket or the asking shard says so.

import type { Arena } from './arena.ts'

export interface ReadResult {
  /** Wire-ready bytes, whole batches; a batch never spans two fragments. Valid until release(). */
  readonly fragments: readonly Uint8Array[]
  readonly bytes: number
  /** Offset behind the last batch; the offset asked for when there is none. */
  readonly nextOffset: number
  /** Position of each fragment in arena.buffer, for other shards. */
  readonly arenaOffsets: readonly number[]
  /** Lets the memory go; a second call does nothing. */
  release(): void
}

const NOTHING: readonly never[] = Object.freeze([])

export function emptyRead(offset: number): ReadResult {
  return { fragments: NOTHING, bytes: 0, nextOffset: offset, arenaOffsets: NOTHING, release() {} }
}

export class MemoryRead implements ReadResult {
  readonly fragments: Uint8Array[] = []
  readonly arenaOffsets: number[] = []
  bytes = 0
  nextOffset: number
  readonly #arena: Arena
  #runs: number[] = []

  constructor(arena: Arena, offset: number) {
    this.#arena = arena
    this.nextOffset = offset
  }

  /** Adds bytes of a run and holds the run. */
  add(at: number, length: number, runAt: number, nextOffset: number): void {
    this.fragments.push(this.#arena.view(at, length))
    this.arenaOffsets.push(at)
    if (this.#runs[this.#runs.length - 1] !== runAt) {
      this.#arena.retain(runAt)
      this.#runs.push(runAt)
    }
    this.bytes += length
    this.nextOffset = nextOffset
  }

  release(): void {
    const runs = this.#runs
    this.#runs = []
    for (const runAt of runs) this.#arena.release(runAt)
  }
}
