// What the partitions of a shard share: its clock, its journal's room, its disk's, and how much memory readers may hold.

import type { ShardStorage } from '../../storage/shard-storage.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { PartitionHost } from '../partition/partition.ts'
import type { RefusedSequences } from '../partition/refused-sequences.ts'
import type { DiskSpace } from './disk-space.ts'
import type { FrameMemories } from './frame-memory.ts'

/**
 * Idempotent producers that all partitions of a shard remember together, at some 350 bytes each. Any client may make up ever new ones, in
 * every partition, and they are remembered for a day.
 */
const PRODUCERS_MAX = 1_000_000

export interface PartitionHostOptions {
  readonly environment: Environment
  readonly config: BrokerConfig
  storage(): ShardStorage
  readonly diskSpace: DiskSpace
  readonly memories: FrameMemories
  readonly refusedSequences: RefusedSequences
  /** What reads may hold until their sockets have taken it. */
  readonly lendBytesMax: number
  /** What batches that wait for the journal may hold, on the heap. */
  readonly queueBytesMax: number
}

export function partitionHost(options: PartitionHostOptions): PartitionHost {
  const { environment, config, storage, diskSpace, memories, lendBytesMax, queueBytesMax } = options
  let lentBytes = 0
  let queuedBytes = 0
  return {
    clock: environment.clock,
    logger: environment.logger,
    get refusesWrites() {
      return storage().failed !== undefined || diskSpace.isShort
    },
    // What is refused anyway waits for nothing.
    canAccept: (bytes) => storage().failed !== undefined || diskSpace.isShort || storage().canAccept(bytes),
    get readBytesLeft() {
      return lendBytesMax - lentBytes
    },
    lent: (bytes) => {
      lentBytes += bytes
    },
    get queueBytesLeft() {
      return queueBytesMax - queuedBytes
    },
    queued: (bytes) => {
      queuedBytes += bytes
    },
    appending: (bytes) => diskSpace.spend(bytes),
    get batchBytesMax() {
      return storage().batchBytesMax
    },
    onRoom: (call) => memories.onRoom(call),
    refusedSequences: options.refusedSequences,
    producerIdExpirationMs: config.producerIdExpirationMs,
    producers: { count: 0, max: PRODUCERS_MAX },
    decompressedBytesMax: config.socketRequestMaxBytes,
  }
}
