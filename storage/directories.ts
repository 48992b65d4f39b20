// Directories that are there after a crash. Used by journal and segments of a shard, on its thread.

import type { Disk } from './disk.ts'

export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash <= 0 ? '/' : path.slice(0, slash)
}

/** Directories above a group's or a journal's own that this broker may have made: topic, topics, data directory. */
const LEVELS = 3

/**
 * Makes a directory with all that lead to it, and makes every one of them durable: what is written into it can be found again.
 * Those that exist are synced too, as another group, perhaps of another shard, may have made them a moment ago.
 * @throws DiskError
 */
export async function makeDurableDirectory(disk: Disk, path: string): Promise<void> {
  await disk.makeDirectory(path)
  const above: string[] = []
  for (let at = path; above.length < LEVELS && at !== '/'; at = parentOf(at)) above.push(parentOf(at))
  for (const directory of above.reverse()) await disk.syncDirectory(directory)
}
