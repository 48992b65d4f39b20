// Groups to other shards: what a broker does at start when its number of shards has changed.
//
// Main thread, before any shard runs. Every group is taken over as its old journal has it: state, and the entries that no segment
// holds yet, committed or not. Nothing is decided about them here, as other replicas may have a say. They go into the journal of
// their new shard, in a directory of a new generation; the directory's record names the generation in use and is replaced last,
// in one step: a crash before that leaves the old journals as they were, whole.

import { DiskError } from '../../storage/disk.ts'
import { type DirectoryRecord, writeRecord } from '../data-directory.ts'
import type { Environment } from '../environment.ts'
import { type OfflineStorage, openOffline } from '../offline-storage.ts'
import { OperatorError } from '../operator-error.ts'
import { shardOf } from './placement.ts'

export interface MoveOptions {
  readonly environment: Environment
  readonly dataDirectory: string
  readonly from: DirectoryRecord
  readonly to: DirectoryRecord
  readonly memoryBytes: number
  /** As the shards choose it, for their share of the memory. */
  journalFileBytes(shardMemoryBytes: number): number
}

/** @throws OperatorError, DiskError, StorageCorruption */
export async function moveGroups(options: MoveOptions): Promise<void> {
  const { environment, dataDirectory, from, to } = options
  const { disk } = environment
  await disk.removeDirectory(generationDirectory(dataDirectory, to))
  const targets: OfflineStorage[] = []
  for (let shard = 0; shard < to.shardCount; shard++) targets.push(await open(options, to, shard))
  for (let shard = 0; shard < from.shardCount; shard++) {
    const source = await open(options, from, shard)
    for (const group of source.storage.groups()) {
      const target = targets[shardOf(group.groupId, to.shardCount)]!
      await target.storage.adopt(group).catch((error) => {
        throw error instanceof DiskError && error.code === 'ENOMEM' ? tooMuch(options, error) : error
      })
    }
    await source.close()
  }
  for (const target of targets) await target.close()
  await disk.syncDirectory(`${dataDirectory}/journal`)
  await writeRecord(disk, dataDirectory, to)
  await disk.removeDirectory(generationDirectory(dataDirectory, from))
}

function generationDirectory(dataDirectory: string, record: DirectoryRecord): string {
  return `${dataDirectory}/journal/${record.generation}`
}

function open(options: MoveOptions, record: DirectoryRecord, shard: number): Promise<OfflineStorage> {
  const { environment, dataDirectory } = options
  // A shard that will run with this record must be able to hold what is put into its journal.
  const memoryBytes = Math.floor(options.memoryBytes / record.shardCount)
  const journalFileBytes = options.journalFileBytes(memoryBytes)
  const closeBudgetMs = Number.MAX_SAFE_INTEGER
  return openOffline({ environment, dataDirectory, record, memoryBytes, journalFileBytes, closeBudgetMs }, shard)
}

function tooMuch(options: MoveOptions, cause: DiskError): OperatorError {
  const { from, to, dataDirectory } = options
  return new OperatorError(
    'TOO_MUCH_TO_MOVE',
    `the journals of ${dataDirectory} hold more than one of ${to.shardCount} shards has memory for`,
    `Start once with ${from.shardCount} shards and stop the broker in order, or give it more memory.`,
    { cause },
  )
}
