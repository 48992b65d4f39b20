// The storage of one shard, opened while no shard runs: for what moves or mends groups between two lives of a broker.
//
// Main thread, on a data directory that the caller has locked.

import { Arena } from '../storage/arena.ts'
import type { DiskError } from '../storage/disk.ts'
import { ShardStorage } from '../storage/shard-storage.ts'
import { type DirectoryRecord, journalDirectory } from './data-directory.ts'
import type { Environment } from './environment.ts'

export interface OfflineOptions {
  readonly environment: Environment
  readonly dataDirectory: string
  /** Says which generation of journals. */
  readonly record: DirectoryRecord
  readonly memoryBytes: number
  readonly journalFileBytes: number
  /** As StorageOptions has it. */
  readonly closeBudgetMs?: number
}

export interface OfflineStorage {
  readonly storage: ShardStorage
  /** @throws DiskError when anything has failed meanwhile */
  close(): Promise<void>
}

/** @throws DiskError, StorageCorruption */
export async function openOffline(options: OfflineOptions, shardId: number): Promise<OfflineStorage> {
  const { environment, dataDirectory, record, memoryBytes, journalFileBytes, closeBudgetMs } = options
  const { clock, disk, logger } = environment
  let failure: DiskError | undefined
  const storage = await ShardStorage.open({
    disk,
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs(),
    after: (delayMs, call) => clock.after(delayMs, call),
    journalDirectory: journalDirectory(dataDirectory, record.generation, shardId),
    arena: Arena.create(memoryBytes),
    journalFileBytes,
    onDurable: () => {},
    onFailure: (error) => {
      failure ??= error
    },
    closeBudgetMs,
    log: (level, message) => logger[level](message),
  })
  const close = async (): Promise<void> => {
    await storage.close()
    if (failure !== undefined) throw failure
  }
  return { storage, close }
}
