// The best disk this machine and this directory can have: io_uring, else the addon's threads, else plain Node fs.
//
// Called by each shard at its start, on its own thread: a ring belongs to the thread that made it.

import { loadNative, nativeMissingReason } from '../native/index.ts'
import type { Disk } from './disk.ts'
import { openNativeDisk } from './native-disk.ts'
import { openNodeDisk } from './node-disk.ts'

export type DiskMethod = 'auto' | 'io_uring' | 'threads' | 'node-fs'

export interface OpenDiskOptions {
  /** 'auto' falls back as far as needed; any other works or throws. MILLRACE_IO says it where this is left out. */
  readonly method?: DiskMethod
  /** Files through the page cache even where the file system can do without. */
  readonly buffered?: boolean
}

export interface OpenedDisk extends Disk {
  /** 'io_uring, O_DIRECT', or 'threads, page cache (io_uring: EPERM; O_DIRECT: EINVAL)', for the start-up line. */
  readonly description: string
}

const methods: readonly string[] = ['auto', 'io_uring', 'threads', 'node-fs'] satisfies DiskMethod[]

/**
 * Opens a disk for a directory.
 * @param directory exists, and lies on the file system that will be used
 * @throws DiskError when a method other than 'auto' does not work here; RangeError when MILLRACE_IO names none
 */
export async function openDisk(directory: string, options: OpenDiskOptions = {}): Promise<OpenedDisk> {
  const method = options.method ?? process.env.MILLRACE_IO ?? 'auto'
  if (!methods.includes(method)) throw new RangeError(`MILLRACE_IO is one of ${methods.join(', ')}, not ${method}`)
  if (method === 'node-fs') return described(await openNodeDisk(directory), [])
  if (method === 'auto' && loadNative() === undefined) {
    return described(await openNodeDisk(directory), [`addon: ${nativeMissingReason()}`])
  }
  const forceMethod = method === 'io_uring' || method === 'threads' ? method : undefined
  const disk = await openNativeDisk(directory, { forceMethod, buffered: options.buffered ?? false })
  return described(disk, disk.fallbacks)
}

function described(disk: Disk, fallbacks: readonly string[]): OpenedDisk {
  const why = fallbacks.length > 0 ? ` (${fallbacks.join('; ')})` : ''
  const description = `${disk.method}, ${disk.direct ? 'O_DIRECT' : 'page cache'}${why}`
  return Object.assign(disk, { description })
}
