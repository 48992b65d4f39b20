// Waking a shard's thread when another thread has put something into its mailbox.
//
// With the addon: a word in shared memory that the event loop looks at once per turn, and a doorbell rung only when the thread
// sleeps. Without it: Atomics.waitAsync, which costs more per wake-up and needs nothing.

export interface LoopHook {
  /** Calls `drain` on this thread whenever somebody has called wake() for it. */
  start(drain: () => void): void
  /** Makes the thread of that shard drain its mailboxes soon. Callable from any shard. */
  wake(shardId: number): void
  close(): void
}

/** Bytes of the shared words of one shard: one cache line, so that shards do not slow each other. */
export const WAKE_BYTES = 64

export function wakeWords(memory: SharedArrayBuffer, shardId: number): Int32Array {
  return new Int32Array(memory, shardId * WAKE_BYTES, WAKE_BYTES / 4)
}

/** Waking over Atomics alone. `memory` has WAKE_BYTES per shard. */
export class AtomicsLoopHook implements LoopHook {
  readonly #shardId: number
  readonly #words: Int32Array[]
  #closed = false

  constructor(memory: SharedArrayBuffer, shardId: number, shardCount: number) {
    this.#shardId = shardId
    this.#words = Array.from({ length: shardCount }, (_, id) => wakeWords(memory, id))
  }

  start(drain: () => void): void {
    const own = this.#words[this.#shardId]!
    const turn = (): void => {
      while (!this.#closed) {
        Atomics.store(own, 0, 0)
        drain()
        const wait = Atomics.waitAsync(own, 0, 0)
        if (wait.async) {
          void wait.value.then(turn)
          return
        }
      }
    }
    turn()
  }

  wake(shardId: number): void {
    const words = this.#words[shardId]!
    if (Atomics.exchange(words, 0, 1) === 0) Atomics.notify(words, 0)
  }

  close(): void {
    this.#closed = true
    this.wake(this.#shardId)
  }
}
