// A full disk, waited out: what is refused for want of space is tried again at a steady pace until there is some.
//
// One per shard, touched only from its worker thread. The journal, write-behind and cleanup bring what the disk refused; who
// waits here, who must not, and why a retry is safe is in README.md, "A full disk".

import { DiskError } from './disk.ts'

/** From one attempt to the next. Room comes from deletions, which take longer than that to be noticed anyway. */
const RETRY_MS = 500

/**
 * Whether the disk refused something for want of space, so that it may be tried again. What a sync or a close says is never that:
 * it speaks of earlier writes, and which of them are lost nobody knows.
 */
export function isOutOfSpace(error: unknown): boolean {
  if (!(error instanceof DiskError) || (error.code !== 'ENOSPC' && error.code !== 'EDQUOT')) return false
  return error.operation !== 'close' && !error.operation.startsWith('sync')
}

export interface SpaceOptions {
  /** For the log lines. */
  readonly directory: string
  /** false: nothing waits, and a full disk is a failure like any other. */
  readonly waits: boolean
  after(delayMs: number, call: () => void): { cancel(): void }
  log(level: 'info' | 'warn', message: string): void
  /** isFull has changed. */
  onChange(): void
}

export class Space {
  readonly #options: SpaceOptions
  #waiting = 0
  #closed: boolean
  #lastError: DiskError | undefined
  #paused: (() => void)[] = []
  #timer: { cancel(): void } | undefined
  readonly #onFull = new Set<() => void>()

  constructor(options: SpaceOptions) {
    this.#options = options
    this.#closed = !options.waits
  }

  /** Something waits that the disk had no space for. */
  get isFull(): boolean {
    return this.#waiting > 0
  }

  /**
   * Does work that takes space, as often as it needs to find some.
   * @param work safe to repeat after it was refused
   * @param isOver nobody needs the work any more
   * @throws DiskError the refusal, when the work is over or the storage closes; any other error at once
   */
  async retry<T>(work: () => Promise<T>, isOver: () => boolean): Promise<T> {
    try {
      return await work()
    } catch (error) {
      return await this.retryAfter(error, work, isOver)
    }
  }

  /** retry() of what was refused once already, with `error`. */
  async retryAfter<T>(error: unknown, work: () => Promise<T>, isOver: () => boolean): Promise<T> {
    if (!isOutOfSpace(error) || this.#closed || isOver()) throw error
    let refusal = error
    this.#enter(error as DiskError)
    try {
      for (;;) {
        await this.#pause()
        if (this.#closed || isOver()) throw refusal
        try {
          return await work()
        } catch (again) {
          if (!isOutOfSpace(again)) throw again
          refusal = again
        }
      }
    } finally {
      this.#leave()
    }
  }

  /**
   * Waits while the disk is full, without asking it: for work that would only take memory to wait with.
   * @throws DiskError what others were refused, when the work is over or the storage closes
   */
  async whenNotFull(isOver: () => boolean): Promise<void> {
    while (this.isFull) {
      if (this.#closed || isOver()) throw this.#lastError!
      await this.#pause()
    }
  }

  /** Resolves with the work, or as soon as the disk is full: for what must not hang on work that waits for space. */
  async unlessFull(work: Promise<void>): Promise<void> {
    if (this.isFull) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onFull.add(resolve)
    try {
      await Promise.race([work, promise])
    } finally {
      this.#onFull.delete(resolve)
    }
  }

  /** Everything that waits looks again now: some of it may be over. */
  wake(): void {
    const paused = this.#paused
    this.#paused = []
    for (const resume of paused) resume()
  }

  /** Nothing waits any longer. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.wake()
  }

  #pause(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#timer ??= this.#options.after(RETRY_MS, () => {
      this.#timer = undefined
      this.wake()
    })
    return new Promise((resume) => this.#paused.push(resume))
  }

  #enter(error: DiskError): void {
    this.#lastError = error
    this.#waiting += 1
    if (this.#waiting > 1) return
    const { directory, log, onChange } = this.#options
    log('warn', `${directory}: no space on the disk (${error.message}), trying again until there is some`)
    for (const call of this.#onFull) call()
    onChange()
  }

  #leave(): void {
    this.#waiting -= 1
    if (this.#waiting > 0) return
    if (!this.#closed) this.#options.log('info', `${this.#options.directory}: nothing waits for space any more`)
    // Whoever waits with nothing of its own to try.
    this.wake()
    this.#options.onChange()
  }
}
