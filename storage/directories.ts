// Directories that are there after a crash. Used by journal and segments of a shard, on its thread.

import type { Disk } from './disk.ts'

export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash <= 0 ? '/' : path.slice(0, slash)
}

/** Directories above a group's or a journal's own that this broker may have made: topic, topics, data directory. */
const LEVELS = 3

/** Makes directories for one shard, and remembers which of those above need no second look. */
export class DurableDirectories {
  readonly #disk: Disk
  readonly #durable = new Set<string>()

  constructor(disk: Disk) {
    this.#disk = disk
  }

  /**
   * Makes a directory with all that lead to it, and makes every one of them durable: what is written into it can be found
   * again. Those that exist are synced once too, as another shard may have made them a moment ago.
   * @throws DiskError
   */
  async make(path: string): Promise<void> {
    await this.#disk.makeDirectory(path)
    const above: string[] = []
    let at = path
    while (above.length < LEVELS && at !== '/') {
      at = parentOf(at)
      above.push(at)
      if (this.#durable.has(at)) break
    }
    for (const directory of above.reverse()) await this.#disk.syncDirectory(directory)
    // Their own entries are durable now; a new entry in them needs one more sync, which is the last of this list next time.
    for (const directory of above) this.#durable.add(directory)
  }
}
