// Batches of idempotent producers that a shard refused, so that no later batch of theirs takes the place of an earlier one.
//
// One per shard. A producer sends several batches without waiting for answers. Where the partition knows it, one that comes too early is seen by its
// sequence. Of a producer that it does not know any sequence is taken, as its state may have been forgotten: so when leadership arrives between
// two batches of a new producer, the second would be written and the first refused for ever. Apache Kafka has that gap.

import { baseSequenceOf, producerEpochOf, producerIdOf } from '../../protocol/records/batch.ts'
import type { Clock } from '../environment.ts'

/** No batch that was under way beside a refused one arrives later: clients have given up waiting by then. */
const REMEMBERED_MS = 30_000
/** Producers and partitions; beyond that the oldest are forgotten. */
const REMEMBERED_MAX = 4096

interface Refused {
  /** Lowest sequence that was refused and has not been written since. */
  readonly sequence: number
  readonly atMs: number
}

export class RefusedSequences {
  readonly #clock: Clock
  /** By partition, producer and epoch; those refused last are last. */
  readonly #refused = new Map<string, Refused>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get isEmpty(): boolean {
    return this.#refused.size === 0
  }

  /** @param batch of magic 2, its header at least; one without a producer is nothing to remember */
  add(groupId: number, batch: Uint8Array): void {
    if (producerIdOf(batch, 0) < 0) return
    const key = keyOf(groupId, batch)
    const sequence = Math.min(baseSequenceOf(batch, 0), this.#refused.get(key)?.sequence ?? Infinity)
    this.#refused.delete(key)
    this.#refused.set(key, { sequence, atMs: this.#clock.monotonicMs() })
    for (const oldest of this.#refused.keys()) {
      if (this.#refused.size <= REMEMBERED_MAX) break
      this.#refused.delete(oldest)
    }
  }

  /**
   * Of a batch whose producer the partition does not know: whether an earlier one of it was refused a moment ago. When not, it is as good as
   * written, and forgotten here.
   * @returns the sequence that must come first, or undefined
   */
  earlierThan(groupId: number, batch: Uint8Array): number | undefined {
    this.#forgetOld()
    const key = keyOf(groupId, batch)
    const sequence = this.#refused.get(key)?.sequence
    if (sequence !== undefined && sequence < baseSequenceOf(batch, 0)) return sequence
    this.#refused.delete(key)
    return undefined
  }

  #forgetOld(): void {
    const since = this.#clock.monotonicMs() - REMEMBERED_MS
    for (const [key, { atMs }] of this.#refused) {
      if (atMs > since) return
      this.#refused.delete(key)
    }
  }
}

function keyOf(groupId: number, batch: Uint8Array): string {
  return `${groupId} ${producerIdOf(batch, 0)} ${producerEpochOf(batch, 0)}`
}
