// Disk over plain Node fs: buffered writes and fdatasync, for systems where the addon cannot be loaded.
//
// Also the directory work that the native disk shares, as it is rare and waits for no flush of ours. One per shard, used only on
// its thread; Node's own pool does the waiting.

import { readFileSync } from 'node:fs'
import {
  constants,
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { threadId } from 'node:worker_threads'
import {
  type DirectoryLock,
  type Disk,
  DiskError,
  type File,
  type FileStat,
  type FreeSpace,
  type OpenOptions,
} from './disk.ts'

/** The file that the native disk locks with flock, named as Kafka names it. */
export const LOCK_FILE = '.lock'
/** The file whose existence is the lock where there is no flock. */
const PID_FILE = '.lock.pid'

/** errno of what Node threw, as a DiskError about an operation on a path. */
export function toDiskError(error: unknown, operation: string, path: string): DiskError {
  if (error instanceof DiskError) return error
  const { code } = error as { code?: unknown }
  return new DiskError(typeof code === 'string' ? code : 'EIO', operation, path, { cause: error })
}

async function said<T>(work: Promise<T>, operation: string, path: string): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw toDiskError(error, operation, path)
  }
}

const openFlags: Record<OpenOptions['mode'], number> = {
  r: constants.O_RDONLY,
  rw: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT,
  'create-new': constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
}

/** The open(2) flags of a mode, without O_DIRECT. */
export function flagsOf(mode: OpenOptions['mode']): number {
  return openFlags[mode]
}

/** Directories, names and locks: the part of a Disk that needs no addon. */
export abstract class DirectoryDisk implements Disk {
  abstract readonly method: string
  abstract readonly direct: boolean
  abstract open(path: string, options: OpenOptions): Promise<File>
  abstract lock(path: string): Promise<DirectoryLock | undefined>
  abstract close(): Promise<void>

  async stat(path: string): Promise<FileStat | undefined> {
    try {
      const info = await stat(path)
      return {
        sizeBytes: info.size,
        allocatedBytes: info.blocks * 512,
        modifiedMs: info.mtimeMs,
        isDirectory: info.isDirectory(),
        uid: info.uid,
      }
    } catch (error) {
      const failure = toDiskError(error, 'stat', path)
      if (failure.code === 'ENOENT' || failure.code === 'ENOTDIR') return undefined
      throw failure
    }
  }

  async list(path: string): Promise<string[]> {
    try {
      return await readdir(path)
    } catch (error) {
      const failure = toDiskError(error, 'list', path)
      if (failure.code === 'ENOENT') return []
      throw failure
    }
  }

  async makeDirectory(path: string): Promise<void> {
    await said(mkdir(path, { recursive: true }), 'make directory', path)
  }

  rename(from: string, to: string): Promise<void> {
    return said(rename(from, to), 'rename', from)
  }

  async remove(path: string): Promise<void> {
    try {
      await unlink(path)
    } catch (error) {
      const failure = toDiskError(error, 'remove', path)
      if (failure.code !== 'ENOENT') throw failure
    }
  }

  removeDirectory(path: string): Promise<void> {
    return said(rm(path, { recursive: true, force: true }), 'remove directory', path)
  }

  async syncDirectory(path: string): Promise<void> {
    const handle = await said(open(path, constants.O_RDONLY), 'sync directory', path)
    try {
      // fsync and not fdatasync: the latter may leave out changed names.
      await said(handle.sync(), 'sync directory', path)
    } finally {
      await handle.close()
    }
  }

  async freeSpace(path: string): Promise<FreeSpace> {
    const info = await said(statfs(path), 'free space', path)
    return { freeBytes: info.bavail * info.bsize, totalBytes: info.blocks * info.bsize }
  }
}

class NodeFile implements File {
  readonly path: string
  readonly direct = false
  readonly #handle: FileHandle

  constructor(path: string, handle: FileHandle) {
    this.path = path
    this.#handle = handle
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0
    while (done < into.length) {
      const part = this.#handle.read(into, done, into.length - done, position + done)
      const { bytesRead } = await said(part, 'read', this.path)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return done
  }

  async write(from: Uint8Array, position: number, durable: boolean): Promise<void> {
    let done = 0
    while (done < from.length) {
      const part = this.#handle.write(from, done, from.length - done, position + done)
      done += (await said(part, 'write', this.path)).bytesWritten
    }
    if (durable) await said(this.#handle.datasync(), 'write', this.path)
  }

  sync(): Promise<void> {
    return said(this.#handle.datasync(), 'sync', this.path)
  }

  async allocate(position: number, length: number, how: 'keep-size' | 'extend'): Promise<void> {
    // Node has no fallocate: the size is kept as promised, the space is found out when it is written.
    if (how === 'keep-size') return
    const { size } = await said(this.#handle.stat(), 'allocate', this.path)
    if (size < position + length) await said(this.#handle.truncate(position + length), 'allocate', this.path)
  }

  truncate(sizeBytes: number): Promise<void> {
    return said(this.#handle.truncate(sizeBytes), 'truncate', this.path)
  }

  async stat(): Promise<FileStat> {
    const info = await said(this.#handle.stat(), 'stat', this.path)
    return {
      sizeBytes: info.size,
      allocatedBytes: info.blocks * 512,
      modifiedMs: info.mtimeMs,
      isDirectory: info.isDirectory(),
      uid: info.uid,
    }
  }

  /** Waits for what is in flight on it. */
  close(): Promise<void> {
    return said(this.#handle.close(), 'close', this.path)
  }
}

class NodeDisk extends DirectoryDisk {
  readonly method = 'node-fs'
  readonly direct = false

  async open(path: string, options: OpenOptions): Promise<File> {
    return new NodeFile(path, await said(open(path, flagsOf(options.mode), 0o644), 'open', path))
  }

  async lock(path: string): Promise<DirectoryLock | undefined> {
    const file = `${path}/${PID_FILE}`
    if (!(await takePidFile(file))) return undefined
    const lock = { release: () => said(rm(file, { force: true }), 'release lock', file) }
    // A broker with the addon holds the other file; it looks at ours as well, after taking its own.
    if (await isHeld(`${path}/${LOCK_FILE}`)) {
      await lock.release()
      return undefined
    }
    return lock
  }

  async close(): Promise<void> {}
}

/** Opens a disk that needs nothing but Node. Every directory will do. */
export async function openNodeDisk(_directory: string): Promise<Disk> {
  return new NodeDisk()
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return otherwise
  }
}

// A process by more than its number: in a container every broker may be process 1. Empty parts where there is no /proc.
function identityOf(pid: number | 'self'): string {
  const boot = readOr('/proc/sys/kernel/random/boot_id', '')
  const line = readOr(`/proc/${pid}/stat`, '')
  // The name before the last bracket may hold anything; the start time is the 20th word after it.
  const startTicks = line.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  return `${boot} ${startTicks}`
}

/** What a lock file holds: the process that took it. */
export function lockHolder(): string {
  return `${process.pid} ${identityOf('self')}\n`
}

/** Whether a lock file names a process that still runs, this one included. */
async function isHeld(file: string): Promise<boolean> {
  let holder: string
  try {
    holder = await readFile(file, 'utf8')
  } catch (error) {
    const failure = toDiskError(error, 'read lock', file)
    if (failure.code === 'ENOENT') return false
    throw failure
  }
  return isAlive(holder)
}

function isAlive(holder: string): boolean {
  const pid = Number.parseInt(holder, 10)
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it runs, but is somebody else's.
    if ((error as { code?: string }).code !== 'EPERM') return false
  }
  return `${pid} ${identityOf(pid)}` === holder.trimEnd()
}

/** Whether a broker on plain Node fs holds the directory. */
export function isPidLocked(directory: string): Promise<boolean> {
  return isHeld(`${directory}/${PID_FILE}`)
}

async function takePidFile(file: string): Promise<boolean> {
  const mine = `${file}.${process.pid}.${threadId}`
  for (let attempt = 0; attempt < 3; attempt++) {
    await said(writeFile(mine, lockHolder()), 'lock', mine)
    try {
      // The name appears together with its content, or not at all.
      await link(mine, file)
      return true
    } catch (error) {
      const failure = toDiskError(error, 'lock', file)
      if (failure.code !== 'EEXIST') throw failure
    } finally {
      await rm(mine, { force: true })
    }
    const holder = await readFile(file, 'utf8').catch(() => '')
    if (isAlive(holder)) return false
    // Left by a process that died. Taken away by renaming, so that of two who try only one goes on.
    try {
      await rename(file, mine)
      if ((await readFile(mine, 'utf8')) !== holder) {
        // Somebody was faster, and this is the new lock: put it back.
        await link(mine, file)
        return false
      }
    } catch (error) {
      const failure = toDiskError(error, 'lock', file)
      if (failure.code !== 'ENOENT' && failure.code !== 'EEXIST') throw failure
    } finally {
      await rm(mine, { force: true })
    }
  }
  return false
}
