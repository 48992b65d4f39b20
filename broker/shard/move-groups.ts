// Groups to other shards: what a broker does at start when its number of shards has changed.
//
// Main thread, before any shard runs.

import type { Disk } from '../../storage/disk.ts'
import type { DirectoryRecord } from '../data-directory.ts'
import type { Logger } from '../environment.ts'

export interface MoveOptions {
  readonly disk: Disk
  readonly dataDirectory: string
  readonly from: DirectoryRecord
  readonly to: DirectoryRecord
  readonly memoryBytes: number
  readonly logger: Logger
}

export function moveGroups(_options: MoveOptions): Promise<void> {
  return Promise.reject(new Error('unfinished'))
}
