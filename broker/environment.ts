// Everything that is not a function of its input enters the broker here: time, chance, disk, network, log lines.
//
// The real one is made by main.ts and by each shard; the simulator hands in its own. Nothing else in broker/, storage/ or
// protocol/ reads a clock, makes a random number, or opens a file or a socket (test/tidy.test.ts checks it).

import { randomBytes } from 'node:crypto'
import type { Disk } from '../storage/disk.ts'

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump. */
  nowMs(): number
  /** Monotonic clock, milliseconds with fractions. */
  monotonicMs(): number
  /** Calls once, not before `delayMs` have passed. */
  after(delayMs: number, call: () => void): Timer
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number
  /** Fresh bytes, for ids. */
  bytes(count: number): Uint8Array
}

export interface Logger {
  error(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  debug(message: string, fields?: Record<string, unknown>): void
}

export interface Environment {
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly logger: Logger
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, call) {
    const handle = setTimeout(call, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
}

export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (count) => randomBytes(count),
}
