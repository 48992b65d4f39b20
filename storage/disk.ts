// Disk and File: the interface all storage code is written against.
//
// native-disk.ts implements it over the addon (O_DIRECT, io_uring or its own threads), node-disk.ts over plain Node fs,
// and the simulator over memory that lies until it is synced. One Disk belongs to one shard's thread.

/** Every offset, length and buffer address of a direct read or write is a multiple of this many bytes. */
export const BLOCK_BYTES = 4096

export interface OpenOptions {
  /** 'r' existing, reading; 'rw' existing, both; 'create' made when missing, both; 'create-new' must not exist yet. */
  readonly mode: 'r' | 'rw' | 'create' | 'create-new'
  /** Bypass the page cache where the file system can; the caller then keeps to BLOCK_BYTES alignment. */
  readonly direct: boolean
}

export interface FileStat {
  readonly sizeBytes: number
  /** Bytes the file system has really set aside, preallocation included. */
  readonly allocatedBytes: number
  readonly modifiedMs: number
  readonly isDirectory: boolean
  readonly uid: number
}

export interface File {
  readonly path: string
  /** True when the file was opened past the page cache. */
  readonly direct: boolean
  /** Reads up to `into.length` bytes; resolves with the bytes read, fewer only at the end of the file. @throws DiskError */
  read(into: Uint8Array, position: number): Promise<number>
  /**
   * Writes all of `from`. The memory must stay unchanged until it resolves.
   * @param durable true: resolves only when the bytes are on stable storage (RWF_DSYNC, or write and fdatasync)
   * @throws DiskError when the device refuses; nothing may be assumed about the range then
   */
  write(from: Uint8Array, position: number, durable: boolean): Promise<void>
  /** fdatasync: everything written before is on stable storage when it resolves. Never retried after a failure. @throws DiskError */
  sync(): Promise<void>
  /** Reserves `length` bytes from `position` on; 'keep-size' leaves the file's size, 'extend' grows it (reads as zeros). */
  allocate(position: number, length: number, how: 'keep-size' | 'extend'): Promise<void>
  truncate(sizeBytes: number): Promise<void>
  stat(): Promise<FileStat>
  close(): Promise<void>
}

export interface FreeSpace {
  readonly freeBytes: number
  readonly totalBytes: number
}

export interface Disk {
  /** How bytes move, for the start-up line and the metrics: 'io_uring', 'threads' or 'node-fs'. */
  readonly method: string
  /** Whether files can be opened past the page cache in the probed directory. */
  readonly direct: boolean
  /** @throws DiskError, with code ENOENT, EEXIST, EACCES ... */
  open(path: string, options: OpenOptions): Promise<File>
  stat(path: string): Promise<FileStat | undefined>
  /** Names in a directory, unsorted; empty when the directory is missing. */
  list(path: string): Promise<string[]>
  makeDirectory(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Removes one file; a missing one is no error. */
  remove(path: string): Promise<void>
  /** Removes a directory with all it holds; a missing one is no error. */
  removeDirectory(path: string): Promise<void>
  /** Makes creations, renames and removals inside the directory durable. */
  syncDirectory(path: string): Promise<void>
  freeSpace(path: string): Promise<FreeSpace>
  /**
   * Takes the exclusive lock of a directory for as long as this process lives.
   * @returns undefined when another process holds it
   */
  lock(path: string): Promise<DirectoryLock | undefined>
  close(): Promise<void>
}

export interface DirectoryLock {
  release(): Promise<void>
}

/** What the machine answered, with the operation and the file. */
export class DiskError extends Error {
  /** errno as a name: EIO, ENOSPC, ENOENT ... */
  readonly code: string
  readonly operation: string
  readonly path: string

  constructor(code: string, operation: string, path: string, options?: ErrorOptions) {
    super(`${operation} ${path}: ${code}`, options)
    this.name = 'DiskError'
    this.code = code
    this.operation = operation
    this.path = path
  }
}

/** Storage fails on the machine's errors only: anything else is ours and goes up. */
export function asDiskError(error: unknown, operation: string, path: string): DiskError {
  if (error instanceof DiskError) return error
  if (error instanceof Error && error.name === 'InvariantViolation') throw error
  return new DiskError('EIO', operation, path, { cause: error })
}
