// Clocks of a simulated machine: they drift against virtual time, and the wall clock jumps.
//
// One Machine clock per broker or client host; a ShardClock per thread and life, whose monotonic time starts anywhere, as performance.now() does.

import type { Clock, Timer } from '../../../broker/environment.ts'
import { type Actor, type Scheduler, SOON, TIMER } from './scheduler.ts'

/** 22 November 2026: records carry believable timestamps. */
const EPOCH_MS = 1_795_000_000_000

/** The oscillator and the wall clock of a machine. */
export class MachineClock {
  /** Seconds of this machine per second of virtual time. */
  rate: number
  /** Wall clock against virtual time. */
  offsetMs: number

  constructor(rate = 1, offsetMs = 0) {
    this.rate = rate
    this.offsetMs = offsetMs
  }
}

export class ThreadClock implements Clock {
  readonly #scheduler: Scheduler
  readonly #actor: Actor
  readonly #machine: MachineClock
  readonly #rate: number
  readonly #startMs: number
  readonly #originMs: number

  constructor(scheduler: Scheduler, actor: Actor, machine: MachineClock) {
    this.#scheduler = scheduler
    this.#actor = actor
    this.#machine = machine
    this.#rate = machine.rate
    this.#startMs = scheduler.nowMs
    this.#originMs = scheduler.random.below(100_000)
  }

  nowMs(): number {
    const { offsetMs } = this.#machine
    return Math.floor(EPOCH_MS + this.#scheduler.nowMs * this.#rate + offsetMs)
  }

  monotonicMs(): number {
    return this.#originMs + (this.#scheduler.nowMs - this.#startMs) * this.#rate
  }

  after(delayMs: number, call: () => void): Timer {
    // As setTimeout: whole milliseconds, at least one, never early, often a little late.
    const delay = Math.max(1, Math.ceil(delayMs)) / this.#rate
    const { nowMs, random } = this.#scheduler
    return this.#scheduler.at(nowMs + delay + random.next(), TIMER, this.#actor, call)
  }

  soon(call: () => void): void {
    this.#scheduler.at(this.#scheduler.nowMs, SOON, this.#actor, call)
  }
}
