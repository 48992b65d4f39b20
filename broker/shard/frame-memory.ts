// Memory for frames that are still coming in: from the shard's arena where they are small, from the heap under one budget where not.
//
// One per shard, touched only from its thread. Whoever found no room is called when there may be some again.

import type { Arena } from '../../storage/arena.ts'
import type { Clock } from '../environment.ts'
import type { FrameMemory } from '../net/connection.ts'

/** Largest part of the in-flight budget that one unfinished frame may take from the arena; larger ones use the heap. */
const ARENA_FRAME_BYTES_MAX = 4 << 20

export class FrameMemories {
  readonly #arena: Arena
  readonly #clock: Clock
  #heldBytes = 0
  #roomCalls: (() => void)[] = []

  constructor(arena: Arena, clock: Clock) {
    this.#arena = arena
    this.#clock = clock
  }

  allocate(bytes: number): FrameMemory | undefined {
    return bytes <= ARENA_FRAME_BYTES_MAX ? this.#fromArena(bytes) : this.#fromHeap(bytes)
  }

  #fromArena(bytes: number): FrameMemory | undefined {
    const arena = this.#arena
    const at = this.allocateRun(bytes)
    if (at < 0) return undefined
    return {
      bytes: Buffer.from(arena.buffer, at, bytes),
      arenaAt: at,
      retain: () => arena.retain(at),
      release: () => this.releaseRun(at),
    }
  }

  /** Rare and large: one budget for all of them together, and at least one at a time. */
  #fromHeap(bytes: number): FrameMemory | undefined {
    const limit = Math.max(this.#arena.limitBytes('inflight'), 1)
    if (this.#heldBytes > 0 && this.#heldBytes + bytes > limit) return undefined
    this.#heldBytes += bytes
    let holders = 1
    return {
      bytes: Buffer.allocUnsafeSlow(bytes),
      arenaAt: -1,
      retain: () => holders++,
      release: () => {
        if (--holders > 0) return
        this.#heldBytes -= bytes
        this.roomMade()
      },
    }
  }

  /** @returns the position of a run of at least `bytes` in the arena's in-flight budget, or -1 */
  allocateRun(bytes: number): number {
    return this.#arena.room('inflight') >= bytes ? this.#arena.alloc(bytes, 'inflight') : -1
  }

  releaseRun(at: number): void {
    this.#arena.release(at)
    this.roomMade()
  }

  onRoom(call: () => void): void {
    this.#roomCalls.push(call)
  }

  roomMade(): void {
    if (this.#roomCalls.length === 0) return
    const calls = this.#roomCalls
    this.#roomCalls = []
    // Not from here: whoever made room is in the middle of something.
    this.#clock.soon(() => {
      for (const call of calls) call()
    })
  }
}
