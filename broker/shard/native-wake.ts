// Waking a shard's thread through the addon: looked at once per turn of the event loop, rung only when it sleeps.
//
// One per shard. `bell` numbers are process-wide, because the doorbells are.

import type { Closable, Native } from '../../native/index.ts'
import { type LoopHook, wakeWords } from './wake.ts'

const PENDING = 0
const SLEEPING = 1

export class NativeLoopHook implements LoopHook {
  readonly #native: Native
  readonly #shardId: number
  readonly #firstBell: number
  readonly #words: Int32Array[]
  #closables: Closable[] = []

  /**
   * @param memory WAKE_BYTES per shard
   * @param firstBell doorbell of shard 0; the others follow
   */
  constructor(native: Native, memory: SharedArrayBuffer, shardId: number, shardCount: number, firstBell: number) {
    this.#native = native
    this.#shardId = shardId
    this.#firstBell = firstBell
    this.#words = Array.from({ length: shardCount }, (_, id) => wakeWords(memory, id))
  }

  start(drain: () => void): void {
    this.#closables = [
      this.#native.doorbell(this.#firstBell + this.#shardId, () => {}),
      this.#native.onLoopTurn({
        words: this.#words[this.#shardId]!,
        pendingIndex: PENDING,
        sleepingIndex: SLEEPING,
        onMail: () => drain(),
      }),
    ]
  }

  wake(shardId: number): void {
    const words = this.#words[shardId]!
    Atomics.store(words, PENDING, 1)
    if (Atomics.load(words, SLEEPING) === 1 && Atomics.exchange(words, SLEEPING, 0) === 1) {
      this.#native.ring(this.#firstBell + shardId)
    }
  }

  close(): void {
    for (const closable of this.#closables) closable.close()
    this.#closables = []
  }
}
