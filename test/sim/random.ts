// Seeded chance for tests and the simulator: the same seed gives the same numbers on every machine.
//
// One instance per subject (a disk, a network), so that one subject's draws do not shift another's.

import type { Random } from '../../broker/environment.ts'

/** sfc32 (Chris Doty-Humphrey, PractRand), seeded from one number. */
export class SeededRandom implements Random {
  readonly seed: number
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    this.seed = seed
    this.#a = seed | 0
    this.#b = Math.floor(seed / 0x1_0000_0000) | 0
    this.#c = 0x9e37_79b9 | 0
    for (let round = 0; round < 12; round += 1) this.uint32()
  }

  uint32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    this.#c |= 0
    return sum >>> 0
  }

  next(): number {
    return this.uint32() / 0x1_0000_0000
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count)
    for (let at = 0; at < count; at += 1) bytes[at] = this.uint32() & 0xff
    return bytes
  }

  /** Uniform in [0, end). */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T
  }

  /** Shuffles in place (Fisher and Yates). */
  shuffle<T>(items: T[]): T[] {
    for (let at = items.length - 1; at > 0; at -= 1) {
      const other = this.below(at + 1)
      const kept = items[at] as T
      items[at] = items[other] as T
      items[other] = kept
    }
    return items
  }
}
