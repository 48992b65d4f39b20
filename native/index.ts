// The only door from TypeScript to the addon: disk queues, doorbells, CRC32C, pinning.
//
// Loaded by each thread that wants it, and stateful per thread. The addon moves aligned bytes between memory and files and
// wakes threads; it decides nothing, and nothing here knows what the bytes mean.

import { type Binding, errnoName, loadBinding } from './binding.ts'
import { Queue, type QueueOptions } from './queue.ts'

export type { FailureMaker, QueueMethod, QueueOptions, RawStat } from './queue.ts'
export { Queue } from './queue.ts'

/** Memory for O_DIRECT starts at a multiple of this. */
export const ALIGNMENT_BYTES = 4096
/** Doorbell ids are below this. */
export const BELLS_MAX = 1024

/** A call into the system that failed: what errno says, and about what. */
export class NativeFailure extends Error {
  /** errno as a name: EIO, ENOSPC ... */
  readonly code: string
  readonly operation: string
  readonly path: string

  constructor(code: string, operation: string, path: string) {
    super(`${operation} ${path}: ${code}`)
    this.name = 'NativeFailure'
    this.code = code
    this.operation = operation
    this.path = path
  }
}

export interface Closable {
  close(): void
}

export interface LoopTurnOptions {
  /** Shared between threads: an Int32Array over a SharedArrayBuffer, kept referenced. */
  readonly words: Int32Array
  /** Others make this word nonzero (Atomics.or with a bit of their own) after they left something for this thread. */
  readonly pendingIndex: number
  /**
   * 1 while this thread is about to wait for events, or waits: who changes it from 1 to 0 (Atomics.exchange) after setting
   * the pending word has to ring; everybody else need not.
   */
  readonly sleepingIndex?: number
  /** Called with the pending word's value, already set back to 0: everything left before must be read now. */
  readonly onMail: (pending: number) => void
}

export interface Native {
  /**
   * CRC32C of bytes[start..end), by the fastest way this processor has.
   * @param seed the CRC of what precedes them, 0 for nothing
   * @throws RangeError when start and end do not lie within the bytes
   */
  crc32c(bytes: Uint8Array, start: number, end: number, seed?: number): number
  /** Ways to compute it on this processor, the one in use first. */
  readonly crc32cMethods: readonly string[]
  /** By a named way, for comparing them. */
  crc32cBy(method: string, bytes: Uint8Array, seed: number): number

  /** Ties the calling thread to one core (a number out of allowedCores). @returns false where the system refuses */
  pinThread(core: number): boolean
  unpinThread(): void
  /** Cores this process may use; empty where the system does not say. */
  allowedCores(): number[]
  /** Name in ps, top and profiles; 15 bytes are kept. */
  setThreadName(name: string): void

  /**
   * Registers this thread under a process-wide id, so that others can wake it. Rings that arrive before onRing runs count
   * once. Neither keeps the event loop alive. @throws NativeFailure EEXIST when a thread holds the id
   */
  doorbell(id: number, onRing: () => void): Closable
  /** Wakes the thread behind an id, from any thread. @returns false when there is none */
  ring(id: number): boolean
  /**
   * Looks at a shared word at both ends of each turn of the event loop (right before and right after it waits for events) and
   * calls onMail when it is nonzero. Does not wake the loop by itself: see sleepingIndex and doorbell.
   */
  onLoopTurn(options: LoopTurnOptions): Closable
  /**
   * How long to look for mail before sleeping, if some came within the last millisecond. 0, the default, sleeps at once.
   * Worth it only where each shard has a core of its own.
   */
  setSpinMicros(micros: number): void

  /** @throws what options.failure makes, when the method does not work here */
  openQueue(options: QueueOptions): Queue
  /** The open(2) flag for a file past the page cache. */
  readonly openDirect: number
  /** flock: exclusive among all opens, those of this process included. @returns false when another open holds it */
  lockFile(fd: number, path: string): boolean

  /**
   * Fixed memory for O_DIRECT, shareable between threads, zeroed and not touched before use.
   * @returns a growable SharedArrayBuffer: those are reserved as whole pages and never move, plain ones start anywhere
   */
  alignedMemory(bytes: number): SharedArrayBuffer
  isAligned(bytes: Uint8Array): boolean
}

function wrap(binding: Binding): Native {
  const crc32c = binding.crc32c
  const isAligned = (bytes: Uint8Array) => binding.addressModulo(bytes, ALIGNMENT_BYTES) === 0
  return {
    crc32c: (bytes, start, end, seed = 0) => crc32c(bytes, start, end, seed),
    crc32cMethods: binding.crc32cMethods(),
    crc32cBy(method, bytes, seed) {
      const crc = binding.crc32cBy(method, bytes, seed)
      if (crc === undefined) throw new RangeError(`no such way on this processor: ${method}`)
      return crc
    },
    pinThread: (core) => binding.pinThread(core) === 0,
    unpinThread: binding.unpinThread,
    allowedCores: binding.allowedCores,
    setThreadName: binding.setThreadName,
    doorbell(id, onRing) {
      const result = binding.openBell(id, onRing)
      if (result < 0) throw new NativeFailure(errnoName(result), 'open doorbell', String(id))
      return closeOnce(() => binding.closeBell(id))
    },
    ring: binding.ring,
    onLoopTurn({ words, pendingIndex, sleepingIndex = -1, onMail }) {
      const id = binding.watch(words, pendingIndex, sleepingIndex, onMail)
      return closeOnce(() => binding.unwatch(id))
    },
    setSpinMicros: binding.setSpin,
    openQueue: (options) => new Queue(binding, options),
    openDirect: binding.openDirect,
    lockFile(fd, path) {
      const result = binding.lockFile(fd)
      const code = result < 0 ? errnoName(result) : undefined
      if (code !== undefined && code !== 'EAGAIN' && code !== 'EWOULDBLOCK') throw new NativeFailure(code, 'lock', path)
      return code === undefined
    },
    alignedMemory(bytes) {
      const memory = new SharedArrayBuffer(bytes, { maxByteLength: bytes })
      if (!isAligned(new Uint8Array(memory))) throw new NativeFailure('EFAULT', 'align', `${bytes} bytes of memory`)
      return memory
    },
    isAligned,
  }
}

function closeOnce(close: () => void): Closable {
  let closed = false
  return {
    close() {
      if (closed) return
      closed = true
      close()
    },
  }
}

let loaded: { native: Native | undefined; reason: string } | undefined

function load(): { native: Native | undefined; reason: string } {
  if (loaded === undefined) {
    const binding = loadBinding()
    loaded =
      typeof binding === 'string' ? { native: undefined, reason: binding } : { native: wrap(binding), reason: '' }
  }
  return loaded
}

/** The addon, or undefined when it cannot be had here (nativeMissingReason says why). */
export function loadNative(): Native | undefined {
  return load().native
}

/** Why loadNative returns undefined, as half a sentence; empty when it does not. */
export function nativeMissingReason(): string {
  return load().reason
}
