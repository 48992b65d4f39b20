// What the partitions of a shard share: its clock, its journal's room, its disk's, and how much memory readers may hold.

import type { ShardStorage } from '../../storage/shard-storage.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { PartitionHost } from '../partition/partition.ts'
import type { RefusedSequences } from '../partition/refused-sequences.ts'
import type { DiskSpace } from './disk-space.ts'
import type { FrameMemories } from './frame-memory.ts'

export interface PartitionHostOptions {
  readonly environment: Environment
  readonly config: BrokerConfig
  storage(): ShardStorage
  readonly diskSpace: DiskSpace
  readonly memories: FrameMemories
  readonly refusedSequences: RefusedSequences
  /** What reads may hold until their sockets have taken it. */
  readonly lendBytesMax: number
}

export function partitionHost(options: PartitionHostOptions): PartitionHost {
  const { environment, config, storage, diskSpace, memories, lendBytesMax } = options
  let lentBytes = 0
  return {
    clock: environment.clock,
    logger: environment.logger,
    get refusesWrites() {
      return storage().failed !== undefined || diskSpace.isShort
    },
    canAccept: (bytes) => storage().failed !== undefined || storage().canAccept(bytes),
    get readBytesLeft() {
      return lendBytesMax - lentBytes
    },
    lent: (bytes) => {
      lentBytes += bytes
    },
    appending: (bytes) => diskSpace.spend(bytes),
    get batchBytesMax() {
      return storage().batchBytesMax
    },
    onRoom: (call) => memories.onRoom(call),
    refusedSequences: options.refusedSequences,
    producerIdExpirationMs: config.producerIdExpirationMs,
    decompressedBytesMax: config.socketRequestMaxBytes,
  }
}
