// Disk over the addon: files past the page cache, durable writes in one call, through io_uring or the addon's own threads.
//
// One per shard, used only on its thread. Bytes move by the addon's queue; names and directories by Node fs.

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { constants, rm } from 'node:fs/promises'
import { threadId } from 'node:worker_threads'
import { loadNative, type Native, type Queue, type QueueMethod } from '../native/index.ts'
import { invariant } from '../protocol/invariant.ts'
import {
  BLOCK_BYTES,
  type DirectoryLock,
  type Disk,
  DiskError,
  type File,
  type FileStat,
  type OpenOptions,
} from './disk.ts'
import { DirectoryDisk, flagsOf, isPidLocked, LOCK_FILE, lockHolder, toDiskError } from './node-disk.ts'

export interface NativeDiskOptions {
  /** Only this method; without it io_uring, else threads. */
  readonly forceMethod?: QueueMethod
  /** Files through the page cache even where the file system can do without. */
  readonly buffered?: boolean
}

/** A disk, and why it is not a better one. */
export interface NativeDisk extends Disk {
  /** Half sentences such as 'io_uring: EPERM', for the start-up line. */
  readonly fallbacks: readonly string[]
}

const failure = (code: string, operation: string, path: string) => new DiskError(code, operation, path)

class NativeFile implements File {
  readonly path: string
  readonly direct: boolean
  readonly #queue: Queue
  readonly #fd: number
  #closed = false

  constructor(queue: Queue, path: string, fd: number, direct: boolean) {
    this.#queue = queue
    this.path = path
    this.#fd = fd
    this.direct = direct
  }

  read(into: Uint8Array, position: number): Promise<number> {
    if (this.#closed) return this.#refuse('read')
    this.#checkAlignment(into.length, position)
    return this.#queue.read(this.#fd, into, position, this.path)
  }

  // The queue's promise of a number serves as one of nothing: no promise is chained per write.
  write(from: Uint8Array, position: number, durable: boolean): Promise<void> {
    if (this.#closed) return this.#refuse('write')
    this.#checkAlignment(from.length, position)
    return this.#queue.write(this.#fd, from, position, durable, this.path) as Promise<unknown> as Promise<void>
  }

  sync(): Promise<void> {
    if (this.#closed) return this.#refuse('sync')
    return this.#queue.sync(this.#fd, this.path) as Promise<unknown> as Promise<void>
  }

  async allocate(position: number, length: number, how: 'keep-size' | 'extend'): Promise<void> {
    if (this.#closed) return this.#refuse('allocate')
    try {
      await this.#queue.allocate(this.#fd, position, length, how === 'keep-size', this.path)
    } catch (error) {
      const { code } = toDiskError(error, 'allocate', this.path)
      if (code !== 'EOPNOTSUPP' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error
      // NFS before 4.2, macOS: the size is kept as promised, the space is found out when it is written.
      if (how === 'extend' && this.#queue.stat(this.#fd, this.path)[0]! < position + length) {
        await this.truncate(position + length)
      }
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    if (this.#closed) return this.#refuse('truncate')
    await this.#queue.truncate(this.#fd, sizeBytes, this.path)
  }

  async stat(): Promise<FileStat> {
    if (this.#closed) return this.#refuse('stat')
    const raw = this.#queue.stat(this.#fd, this.path)
    return { sizeBytes: raw[0]!, allocatedBytes: raw[1]!, modifiedMs: raw[2]!, isDirectory: raw[3] === 1, uid: raw[4]! }
  }

  /** Waits for what is in flight on it. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#queue.closeFile(this.#fd, this.path)
  }

  #checkAlignment(length: number, position: number): void {
    if (!this.direct) return
    invariant(length % BLOCK_BYTES === 0, 'a direct transfer moves whole blocks', length, BLOCK_BYTES)
    invariant(position % BLOCK_BYTES === 0, 'a direct transfer starts on a block', position, BLOCK_BYTES)
  }

  // After close its descriptor may be another file's.
  #refuse(operation: string): Promise<never> {
    return Promise.reject(new DiskError('EBADF', operation, this.path))
  }
}

class AddonDisk extends DirectoryDisk implements NativeDisk {
  readonly method: string
  readonly direct: boolean
  readonly fallbacks: readonly string[]
  readonly #native: Native
  readonly #queue: Queue

  constructor(native: Native, queue: Queue, direct: boolean, fallbacks: readonly string[]) {
    super()
    this.#native = native
    this.#queue = queue
    this.method = queue.method
    this.direct = direct
    this.fallbacks = fallbacks
  }

  async open(path: string, options: OpenOptions): Promise<File> {
    const flags = flagsOf(options.mode)
    if (options.direct && this.direct) {
      try {
        const fd = await this.#queue.open(path, flags | this.#native.openDirect, 0o644)
        return new NativeFile(this.#queue, path, fd, true)
      } catch (error) {
        if (toDiskError(error, 'open', path).code !== 'EINVAL') throw error
        // A directory of another file system than the probed one. The failed call may have made the file already.
        const again = options.mode === 'create-new' ? flags & ~constants.O_EXCL : flags
        return new NativeFile(this.#queue, path, await this.#queue.open(path, again, 0o644), false)
      }
    }
    return new NativeFile(this.#queue, path, await this.#queue.open(path, flags, 0o644), false)
  }

  async lock(path: string): Promise<DirectoryLock | undefined> {
    const file = `${path}/${LOCK_FILE}`
    let fd = -1
    const release = async () => {
      if (fd < 0) return
      const own = fd
      fd = -1
      ftruncateSync(own, 0)
      closeSync(own)
    }
    try {
      fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o644)
      if (!this.#native.lockFile(fd, file)) {
        closeSync(fd)
        return undefined
      }
      // For brokers on plain Node fs, which cannot see the lock itself. They look here after they made their own mark, we look
      // at theirs after ours: two can never both go on.
      ftruncateSync(fd, 0)
      writeSync(fd, lockHolder(), 0)
      if (await isPidLocked(path)) {
        await release()
        return undefined
      }
      return { release }
    } catch (error) {
      if (fd >= 0) closeSync(fd)
      throw toDiskError(error, 'lock', file)
    }
  }

  close(): Promise<void> {
    return this.#queue.close()
  }
}

/**
 * Opens a disk over the addon and finds out what the directory's file system can do.
 * @param directory an existing directory of the file system that will be used
 * @throws DiskError ENOSYS without the addon; what the system said when the forced method does not work here
 */
export async function openNativeDisk(directory: string, options: NativeDiskOptions = {}): Promise<NativeDisk> {
  const native = loadNative()
  if (native === undefined) throw new DiskError('ENOSYS', 'load the addon for', directory)
  const fallbacks: string[] = []
  const queue = openQueue(native, options.forceMethod, fallbacks)
  let direct = false
  if (options.buffered) {
    fallbacks.push('O_DIRECT: switched off')
  } else {
    try {
      await probeDirect(native, queue, directory)
      direct = true
    } catch (error) {
      const { code } = toDiskError(error, 'probe', directory)
      // A full disk says nothing about the method.
      direct = code === 'ENOSPC' || code === 'EDQUOT'
      if (!direct) fallbacks.push(`O_DIRECT: ${code}`)
    }
  }
  return new AddonDisk(native, queue, direct, fallbacks)
}

function openQueue(native: Native, forced: QueueMethod | undefined, fallbacks: string[]): Queue {
  if (forced !== undefined) return native.openQueue({ method: forced, failure })
  try {
    return native.openQueue({ method: 'io_uring', failure })
  } catch (error) {
    fallbacks.push(`io_uring: ${toDiskError(error, 'open queue', 'io_uring').code}`)
    return native.openQueue({ method: 'threads', failure })
  }
}

// A file system may accept the flag and refuse the transfer, so one block goes there and back.
async function probeDirect(native: Native, queue: Queue, directory: string): Promise<void> {
  const path = `${directory}/.probe-${process.pid}-${threadId}`
  const fd = await queue.open(path, flagsOf('create') | native.openDirect, 0o600)
  try {
    const block = new Uint8Array(native.alignedMemory(BLOCK_BYTES))
    block.fill(0xa5)
    await queue.write(fd, block, 0, false, path)
    block.fill(0)
    const bytes = await queue.read(fd, block, 0, path)
    if (bytes !== BLOCK_BYTES || block.some((byte) => byte !== 0xa5)) throw new DiskError('EIO', 'probe', path)
  } finally {
    await queue.closeFile(fd, path).finally(() => rm(path, { force: true }))
  }
}
