// The surface of storage/ for the broker. What is not listed here is storage's own business.

export { Arena, type Purpose, SLAB_BYTES } from './arena.ts'
export { StorageCorruption } from './corruption.ts'
export {
  BLOCK_BYTES,
  type DirectoryLock,
  type Disk,
  DiskError,
  type File,
  type FileStat,
  type FreeSpace,
} from './disk.ts'
export { DEFAULT_LOG_CONFIG, type GroupLog, type LogConfig, type ReplayVisitor } from './log.ts'
export type { ReadResult } from './read-result.ts'
export { ShardStorage, type StorageOptions, type StorageStats } from './shard-storage.ts'
export type { EpochStart } from './state-record.ts'
