// Disk work as promises over the addon's queue.
//
// One per disk, on the thread that made it. Work gathers during a turn of the event loop and is submitted at its end; what
// completed comes back with one call from the addon per wake-up. Errors are made by the owner, so that no promise is
// chained per I/O only to translate them.

import { type Binding, errnoName } from './binding.ts'

/** The kernel moves at most this much in one call. */
export const TRANSFER_BYTES_MAX = 0x7fff_f000

/** More disk work than this at once is refused with EAGAIN: whoever asks for it has lost count. */
const JOBS_MAX = 65_536
const COMPLETIONS_MAX = 1024

// As in src/job.h and src/queue.h.
const READ = 0
const WRITE = 1
const SYNC = 2
const OPEN = 3
const CLOSE = 4
const ALLOCATE = 5
const TRUNCATE = 6
const OPERATION_NAMES = ['read', 'write', 'sync', 'open', 'close', 'allocate', 'truncate'] as const
const METHODS = ['io_uring', 'threads'] as const

export type QueueMethod = (typeof METHODS)[number]

/** Makes the error that a failed operation is rejected with. */
export type FailureMaker = (code: string, operation: string, path: string) => Error

export interface QueueOptions {
  readonly method: QueueMethod
  /** Jobs in the kernel at once; more wait in the addon. A power of two up to 4096. */
  readonly depth?: number
  /** Threads for what the kernel cannot do without waiting: everything, without a ring. They start when needed. */
  readonly threadsMax?: number
  readonly failure: FailureMaker
}

/** sizeBytes, allocatedBytes, modifiedMs, isDirectory (0 or 1), uid. */
export type RawStat = Float64Array

export class Queue {
  readonly method: QueueMethod
  readonly #binding: Binding
  readonly #id: number
  readonly #failure: FailureMaker
  readonly #completions = new Int32Array(2 * COMPLETIONS_MAX)
  // By slot. The addon holds on to #buffers, so memory in flight outlives even this object.
  readonly #buffers: (Uint8Array | undefined)[] = []
  readonly #resolves: ((result: number) => void)[] = []
  readonly #rejects: ((error: Error) => void)[] = []
  readonly #operations: number[] = []
  readonly #paths: string[] = []
  readonly #descriptors: number[] = []
  // By descriptor: jobs in flight on it, and who waits to close it. A number must not be closed, and used by the system for
  // another file, while work on the old one is still to come.
  readonly #uses: number[] = []
  readonly #closers = new Map<number, () => void>()
  readonly #freeSlots: number[] = []
  #inFlight = 0
  #closed = false
  #whenIdle: (() => void) | undefined

  /** @throws what `failure` makes, when the method does not work here */
  constructor(binding: Binding, options: QueueOptions) {
    this.#binding = binding
    this.#failure = options.failure
    this.method = options.method
    const threadsMax = options.threadsMax ?? (options.method === 'io_uring' ? 2 : 4)
    this.#id = binding.openQueue(
      METHODS.indexOf(options.method),
      options.depth ?? 256,
      threadsMax,
      this.#completions,
      this.#buffers,
      (count) => this.#onCompleted(count),
    )
    if (this.#id < 0) throw this.#failure(errnoName(this.#id), 'open queue', options.method)
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** IORING_SETUP_* flags that the kernel granted; 0 without a ring. */
  get ringFlags(): number {
    return this.#binding.ringFlags(this.#id)
  }

  /** Resolves with a descriptor. It belongs to this queue, which closes it at the latest with itself. */
  open(path: string, flags: number, mode: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const slot = this.#take(OPEN, -1, path, undefined, resolve, reject)
      if (slot >= 0) this.#binding.openFile(this.#id, slot, path, flags, mode)
    })
  }

  /** Resolves with the bytes read; fewer than asked for only at the end of the file. */
  read(fd: number, into: Uint8Array, position: number, path: string): Promise<number> {
    return this.#start(READ, fd, into, position, 0, 0, path)
  }

  /** Resolves with `from.length`. @param durable only when the bytes are on stable storage */
  write(fd: number, from: Uint8Array, position: number, durable: boolean, path: string): Promise<number> {
    return this.#start(WRITE, fd, from, position, 0, durable ? 1 : 0, path)
  }

  sync(fd: number, path: string): Promise<number> {
    return this.#start(SYNC, fd, undefined, 0, 0, 0, path)
  }

  allocate(fd: number, position: number, length: number, keepSize: boolean, path: string): Promise<number> {
    return this.#start(ALLOCATE, fd, undefined, position, length, keepSize ? 1 : 0, path)
  }

  truncate(fd: number, sizeBytes: number, path: string): Promise<number> {
    return this.#start(TRUNCATE, fd, undefined, 0, sizeBytes, 0, path)
  }

  /** Waits for what is in flight on it. The descriptor is gone whatever this answers; nothing may be asked of it meanwhile. */
  async closeFile(fd: number, path: string): Promise<void> {
    if ((this.#uses[fd] ?? 0) > 0) await new Promise<void>((resolve) => this.#closers.set(fd, resolve))
    await this.#start(CLOSE, fd, undefined, 0, 0, 0, path)
  }

  stat(fd: number, path: string): RawStat {
    const out = new Float64Array(5)
    const result = this.#binding.statFile(fd, out)
    if (result < 0) throw this.#failure(errnoName(result), 'stat', path)
    return out
  }

  /** Hands gathered work to the kernel now rather than at the end of this turn. */
  submit(): void {
    if (!this.#closed) this.#binding.submit(this.#id)
  }

  /** Waits for what is in flight, then closes files still open. */
  async close(): Promise<void> {
    if (this.#closed) return
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve
      })
    }
    if (this.#closed) return
    this.#closed = true
    this.#binding.closeQueue(this.#id)
  }

  #start(
    operation: number,
    fd: number,
    bytes: Uint8Array | undefined,
    position: number,
    size: number,
    flag: number,
    path: string,
  ): Promise<number> {
    return new Promise((resolve, reject) => {
      const slot = this.#take(operation, fd, path, bytes, resolve, reject)
      if (slot >= 0) this.#binding.enqueue(this.#id, operation, slot, fd, bytes, position, size, flag)
    })
  }

  #take(
    operation: number,
    fd: number,
    path: string,
    bytes: Uint8Array | undefined,
    resolve: (result: number) => void,
    reject: (error: Error) => void,
  ): number {
    const refusal = this.#closed
      ? 'EBADF'
      : this.#inFlight === JOBS_MAX
        ? 'EAGAIN'
        : bytes !== undefined && bytes.length > TRANSFER_BYTES_MAX
          ? 'EINVAL'
          : undefined
    if (refusal !== undefined) {
      reject(this.#failure(refusal, OPERATION_NAMES[operation]!, path))
      return -1
    }
    const slot = this.#freeSlots.pop() ?? this.#resolves.length
    this.#buffers[slot] = bytes
    this.#resolves[slot] = resolve
    this.#rejects[slot] = reject
    this.#operations[slot] = operation
    this.#paths[slot] = path
    this.#descriptors[slot] = fd
    if (fd >= 0) this.#uses[fd] = (this.#uses[fd] ?? 0) + 1
    this.#inFlight++
    return slot
  }

  #onCompleted(count: number): void {
    const completions = this.#completions
    for (let i = 0; i < count; i++) {
      const slot = completions[2 * i]!
      const result = completions[2 * i + 1]!
      this.#buffers[slot] = undefined
      if (result >= 0) {
        this.#resolves[slot]!(result)
      } else {
        const operation = OPERATION_NAMES[this.#operations[slot]!]!
        this.#rejects[slot]!(this.#failure(errnoName(result), operation, this.#paths[slot]!))
      }
      this.#freeSlots.push(slot)
      const fd = this.#descriptors[slot]!
      if (fd >= 0 && --this.#uses[fd]! === 0 && this.#closers.size > 0) this.#releaseCloser(fd)
    }
    this.#inFlight -= count
    if (this.#inFlight === 0) this.#whenIdle?.()
  }

  #releaseCloser(fd: number): void {
    const closer = this.#closers.get(fd)
    this.#closers.delete(fd)
    closer?.()
  }
}
