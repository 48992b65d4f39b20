// Whether this shard may take its metadata for the newest: not after it stood still, or its broker was cut off, for longer than the others wait.
//
// One per shard, touched only from its thread. A change of the cluster is answered when every live broker has it. One that has said nothing for so
// long does not count as alive, so what was decided meanwhile is not here yet when it goes on. Then the shard asks the controller how far the metadata
// are, and answers no client until it has them; only for a moment, as there may be no controller. That it stood still a shard
// sees by its own clock, at the first question that it finds when it goes on, or at its next look.

import { ErrorCode } from '../../protocol/errors.ts'
import type { Clock } from '../environment.ts'

/** What the controller says of the metadata, or why it does not. */
export interface IndexAnswer {
  readonly error: ErrorCode
  /** Everything that was answered to anybody when the question arrived is at or below it. */
  readonly metadataIndex?: number
}

export interface MetadataFreshnessOptions {
  readonly clock: Clock
  ask(): Promise<IndexAnswer>
  /** Index of the last entry of the metadata log that this shard has applied. */
  appliedIndex(): number
}

const LOOK_MS = 200
/** Less than the silence after which a broker counts as dead, by more than a ping comes late. */
const STOOD_STILL_MS = 500
const RETRY_MS = 50
/** A client waits no longer. */
const WAIT_MS = 1000

export class MetadataFreshness {
  readonly #options: MetadataFreshnessOptions
  /** -1 before it watches itself. */
  #lookedMs = -1
  /** Set while the metadata may be old; a new one for each reason to think so. */
  #doubt: object | undefined
  /** The metadata are new from here on; undefined while that is asked. */
  #neededIndex: number | undefined
  #waiting: (() => void)[] = []
  #isClosed = false

  constructor(options: MetadataFreshnessOptions) {
    this.#options = options
  }

  /** From now on the shard watches itself. A broker alone need not: nothing is decided without it. */
  start(): void {
    this.#lookedMs = this.#options.clock.monotonicMs()
    this.#lookLater()
  }

  close(): void {
    this.#isClosed = true
    this.#settle()
  }

  /** The metadata may be old, and nothing newer has been heard of yet. */
  get isInDoubt(): boolean {
    this.#look()
    return this.#doubt !== undefined
  }

  /** @returns undefined when the metadata are the newest; otherwise resolves when they are, or after a second */
  whenFresh(): Promise<void> | undefined {
    if (!this.isInDoubt) return undefined
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(WAIT_MS, () => {
        this.#waiting = this.#waiting.filter((other) => other !== done)
        resolve()
      })
      const done = (): void => {
        timer.cancel()
        resolve()
      }
      this.#waiting.push(done)
    })
  }

  /** Something may have been decided that this broker was not told of. */
  doubt(): void {
    const doubt = {}
    this.#doubt = doubt
    this.#neededIndex = undefined
    void this.#resolve(doubt)
  }

  /** The shard has applied something. */
  applied(): void {
    if (this.#neededIndex === undefined || this.#options.appliedIndex() < this.#neededIndex) return
    this.#neededIndex = undefined
    this.#doubt = undefined
    this.#settle()
  }

  async #resolve(doubt: object): Promise<void> {
    const { clock } = this.#options
    while (this.#doubt === doubt && !this.#isClosed) {
      const { error, metadataIndex } = await this.#options.ask()
      if (this.#doubt !== doubt) return
      if (error === ErrorCode.NONE && metadataIndex !== undefined) {
        this.#neededIndex = metadataIndex
        this.applied()
        return
      }
      await new Promise<void>((resolve) => {
        clock.after(RETRY_MS, resolve)
      })
    }
  }

  #settle(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const done of waiting) done()
  }

  #look(): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (this.#lookedMs < 0 || nowMs - this.#lookedMs < STOOD_STILL_MS) return
    this.#lookedMs = nowMs
    this.doubt()
  }

  #lookLater(): void {
    this.#options.clock.after(LOOK_MS, () => {
      if (this.#isClosed) return
      this.#look()
      this.#lookedMs = this.#options.clock.monotonicMs()
      this.#lookLater()
    })
  }
}
