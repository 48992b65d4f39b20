// Free space of the data directory: producing is refused before the disk is full, and taken again when there is room.
//
// One per shard, touched only from its thread. The file system is asked every two seconds; in between, what is appended is counted, so that a
// fast producer does not run past the mark between two looks. The mark to go on lies above the one to stop, so that the
// answer does not flicker at the edge.

import type { Environment } from '../environment.ts'

const CHECK_MS = 2000
const LOW_BYTES_MAX = 256 << 20
const LOW_SHARE = 0.05

export class DiskSpace {
  readonly #environment: Environment
  readonly #directory: string
  readonly #pendingBytes: () => number
  #isShort = false
  #looking: Promise<void> | undefined
  #said = false
  /** What may still be appended before the mark, by the last look. */
  #leftBytes = Number.POSITIVE_INFINITY

  /** @param pendingBytes appended data that has no place in a segment yet, and will need one */
  constructor(environment: Environment, directory: string, pendingBytes: () => number) {
    this.#environment = environment
    this.#directory = directory
    this.#pendingBytes = pendingBytes
  }

  /** Whether appends are refused. */
  get isShort(): boolean {
    return this.#isShort
  }

  /** Looks once, then every two seconds. */
  async start(): Promise<void> {
    await this.#look()
    this.#environment.clock.after(CHECK_MS, () => void this.start())
  }

  /** So many bytes are about to be appended. */
  spend(bytes: number): void {
    this.#leftBytes -= bytes
    if (this.#leftBytes >= 0 || this.#isShort) return
    // Until the file system has said how much there really is, there is none.
    this.#isShort = true
    void this.#look()
  }

  #look(): Promise<void> {
    this.#looking ??= this.#ask().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #ask(): Promise<void> {
    let free: number
    let low: number
    try {
      const { freeBytes, totalBytes } = await this.#environment.disk.freeSpace(this.#directory)
      free = freeBytes - this.#pendingBytes()
      low = Math.min(LOW_BYTES_MAX, totalBytes * LOW_SHARE)
    } catch {
      // A directory that cannot be asked says nothing about its room; writes to it will.
      this.#isShort = false
      this.#leftBytes = Number.POSITIVE_INFINITY
      return
    }
    const wasShort = this.#isShort
    this.#leftBytes = free - low
    this.#isShort = this.#leftBytes < (wasShort ? low : 0)
    if (this.#isShort && !this.#said) {
      this.#environment.logger.error(
        `the disk of ${this.#directory} has ${Math.floor(free / (1 << 20))} MiB left: producing is refused until there is more`,
      )
    } else if (!this.#isShort && this.#said) {
      this.#environment.logger.warn(`the disk of ${this.#directory} has room again: producing goes on`)
    }
    this.#said = this.#isShort
  }
}
