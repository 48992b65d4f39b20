// Free space of the data directory: producing is refused before the disk is full, and taken again when there is room. And while the disk
// hangs: whoever would wait for it is refused, and leadership goes to brokers whose disks answer.
//
// One per shard, touched only from its thread. The file system is asked every two seconds; in between, what is appended is counted, so that a
// fast producer does not run past the mark between two looks. The mark to go on lies above the one to stop, so that the
// answer does not flicker at the edge. Others may take the space faster, and a quota does not show in it: what the disk said to
// storage counts more than what the file system says.

import type { Environment } from '../environment.ts'

const CHECK_MS = 2000
const LOW_BYTES_MAX = 256 << 20
const LOW_SHARE = 0.05

export class DiskSpace {
  readonly #environment: Environment
  readonly #directory: string
  readonly #pendingBytes: () => number
  #isShort = false
  /** Storage waits for space. */
  #isFull = false
  #isHung = false
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

  /** Whether appends are refused: there is no room for them, or the disk hangs. */
  get isShort(): boolean {
    return this.#isShort || this.#isFull || this.#isHung
  }

  /** Whether what is written does not come back: nothing that needs this disk gets done. */
  get isHung(): boolean {
    return this.#isHung
  }

  /** Looks once, then every two seconds. */
  async start(): Promise<void> {
    await this.#look()
    this.#environment.clock.after(CHECK_MS, () => void this.start())
  }

  /** Storage found the disk full, or waits for space no more. */
  full(isFull: boolean): void {
    this.#isFull = isFull
    if (isFull) {
      // Also when it is over there has to be as much room as after any shortage.
      this.#isShort = true
      this.#say(0)
    } else {
      void this.#look()
    }
  }

  /** Storage waits for a round that neither comes back nor fails, or has had answers in time for a while. */
  hangs(isHung: boolean): void {
    if (isHung === this.#isHung) return
    this.#isHung = isHung
    const { logger } = this.#environment
    if (isHung) {
      const refused = 'producing is refused, and others are asked to lead, until it does'
      logger.error(`the disk of ${this.#directory} has not answered a write for two seconds: ${refused}`)
    } else {
      logger.warn(`the disk of ${this.#directory} answers again${this.isShort ? '' : ': producing goes on'}`)
    }
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
    this.#say(free)
  }

  #say(freeBytes: number): void {
    const isShort = this.#isShort || this.#isFull
    if (isShort && !this.#said) {
      const left = this.#isFull ? 'is full' : `has ${Math.floor(freeBytes / (1 << 20))} MiB left`
      this.#environment.logger.error(`the disk of ${this.#directory} ${left}: producing is refused until there is more`)
    } else if (!isShort && this.#said) {
      this.#environment.logger.warn(`the disk of ${this.#directory} has room again: producing goes on`)
    }
    this.#said = isShort
  }
}
