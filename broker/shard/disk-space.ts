// Free space of the data directory, looked at now and then: producing is refused before the disk is full.
//
// One per shard. Below the low mark writes are refused with KAFKA_STORAGE_ERROR; they are taken again above twice the mark, so that the
// answer does not flicker at the edge.

import type { Environment } from '../environment.ts'

const CHECK_MS = 2000
const LOW_BYTES_MAX = 256 << 20
const LOW_SHARE = 0.02

export class DiskSpace {
  readonly #environment: Environment
  readonly #directory: string
  #isShort = false
  #freeBytes = -1
  #totalBytes = -1

  constructor(environment: Environment, directory: string) {
    this.#environment = environment
    this.#directory = directory
  }

  get isShort(): boolean {
    return this.#isShort
  }

  get freeBytes(): number {
    return this.#freeBytes
  }

  get totalBytes(): number {
    return this.#totalBytes
  }

  /** Looks once, then every two seconds. */
  async start(): Promise<void> {
    await this.#look()
    this.#environment.clock.after(CHECK_MS, () => void this.start())
  }

  async #look(): Promise<void> {
    try {
      const { freeBytes, totalBytes } = await this.#environment.disk.freeSpace(this.#directory)
      this.#freeBytes = freeBytes
      this.#totalBytes = totalBytes
    } catch {
      // A directory that cannot be asked says nothing about its room; writes to it will.
      return
    }
    const low = Math.min(LOW_BYTES_MAX, this.#totalBytes * LOW_SHARE)
    if (!this.#isShort && this.#freeBytes < low) {
      this.#isShort = true
      this.#environment.logger.error(
        `the disk of ${this.#directory} has ${this.#freeBytes >> 20} MiB left: producing is refused until there is more`,
      )
    } else if (this.#isShort && this.#freeBytes > 2 * low) {
      this.#isShort = false
      this.#environment.logger.info(`the disk of ${this.#directory} has room again: producing goes on`)
    }
  }
}
