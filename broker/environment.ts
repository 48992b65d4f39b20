// Everything that is not a function of its input enters the broker here: time, chance, disk, network, log lines.
//
// The real one is made by main.ts and by each shard; the simulator hands in its own. Nothing else in broker/, storage/ or
// protocol/ reads a clock, makes a random number, or opens a file or a socket (test/tidy.test.ts checks it).

import { randomBytes } from 'node:crypto'
import type { Disk } from '../storage/disk.ts'
import type { StreamSocket, StreamSocketEvents } from './net/stream-socket.ts'
import type { LogThreshold } from './observe/log-level.ts'

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
  /** Calls once, after what this turn of the event loop still brings; calls come in the order in which they were asked for. */
  soon(call: () => void): void
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
  /** Undefined where nobody can change how much is written. */
  readonly threshold?: LogThreshold | undefined
}

/** Connections to other brokers. */
export interface Network {
  /** Never throws: a failure comes as closed(error), with the code of the system (ECONNREFUSED and the like). */
  dial(host: string, port: number): StreamSocket
}

export interface Environment {
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly network: Network
  readonly logger: Logger
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, call) {
    const handle = setTimeout(call, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
  soon: (call) => {
    setImmediate(call)
  },
}

export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (count) => randomBytes(count),
}

/** Of a broker that has no peers: nobody can be reached. */
export const noNetwork: Network = {
  dial: (host) => {
    let events: StreamSocketEvents | undefined
    const close = (): void => {
      const listener = events
      events = undefined
      listener?.closed(Object.assign(new Error('this broker has no network'), { code: 'ENETUNREACH' }))
    }
    return {
      remoteHost: host,
      bufferedBytes: 0,
      takenBytes: 0,
      open(opened) {
        events = opened
        setImmediate(close)
      },
      write: (_fragments, done) => done(),
      resume() {},
      destroy: close,
    }
  },
}
