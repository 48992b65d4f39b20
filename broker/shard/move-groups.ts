// Groups to other shards: what a broker does at start when its number of shards has changed.
//
// Main thread, before any shard runs. The old journals are first brought to a state in which nothing lies in them alone; then every group's
// state is written into the journal of its new shard, in a directory of a new generation. The directory's record names the
// generation in use and is replaced last, in one step: a crash before that leaves the old journals as they were, whole.

import { baseOffsetOf } from '../../protocol/records/batch.ts'
import { Arena } from '../../storage/arena.ts'
import type { DiskError } from '../../storage/disk.ts'
import type { GroupLog } from '../../storage/log.ts'
import { ShardStorage } from '../../storage/shard-storage.ts'
import { MetadataImage } from '../cluster/metadata.ts'
import type { BrokerConfig } from '../config.ts'
import { type DirectoryRecord, journalDirectory, writeRecord } from '../data-directory.ts'
import type { Environment } from '../environment.ts'
import { ProducerState } from '../partition/producer-state.ts'
import { replayCommands } from '../replication/metadata-group.ts'
import { shardOf } from './placement.ts'

export interface MoveOptions {
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly dataDirectory: string
  readonly from: DirectoryRecord
  readonly to: DirectoryRecord
  readonly memoryBytes: number
  /** As the shards choose it, for their share of the memory. */
  journalFileBytes(shardMemoryBytes: number): number
}

/** @throws DiskError, StorageCorruption */
export async function moveGroups(options: MoveOptions): Promise<void> {
  const { environment, dataDirectory, from, to } = options
  const { disk } = environment
  await disk.removeDirectory(generationDirectory(dataDirectory, to))
  const targets: ShardStorage[] = []
  for (let shard = 0; shard < to.shardCount; shard++) targets.push(await open(options, to, shard))
  for (let shard = 0; shard < from.shardCount; shard++) {
    await settle(options, shard)
    const source = await open(options, from, shard)
    for (const [groupId, state] of source.states()) targets[shardOf(groupId, to.shardCount)]!.adopt(groupId, state)
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

async function open(options: MoveOptions, record: DirectoryRecord, shard: number): Promise<ShardStorage> {
  const { clock, disk, logger } = options.environment
  const shardMemory = Math.floor(options.memoryBytes / Math.max(options.from.shardCount, options.to.shardCount))
  let failure: DiskError | undefined
  const storage = await ShardStorage.open({
    disk,
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs(),
    after: (delayMs, call) => clock.after(delayMs, call),
    journalDirectory: journalDirectory(options.dataDirectory, record.generation, shard),
    arena: Arena.create(shardMemory),
    journalFileBytes: options.journalFileBytes(shardMemory),
    onDurable: () => {},
    onFailure: (error) => {
      failure ??= error
    },
    closeBudgetMs: Number.MAX_SAFE_INTEGER,
    log: (level, message) => logger[level](message),
  })
  return Object.assign(storage, {
    async close(): Promise<void> {
      await ShardStorage.prototype.close.call(storage)
      if (failure !== undefined) throw failure
    },
  })
}

/** Everything that the journal of a shard holds goes to segments and snapshots; it is all committed, as nobody else votes. */
async function settle(options: MoveOptions, shard: number): Promise<void> {
  const storage = await open(options, options.from, shard)
  for (const log of storage.groups()) {
    if (log.groupId === 0) await restoreMetadata(options.config, log)
    else await restoreProducers(options.config, log)
    log.commit(log.lastIndex, log.logEndOffset)
  }
  await storage.close()
}

async function restoreMetadata(config: BrokerConfig, log: GroupLog): Promise<void> {
  const image = log.snapshot === undefined ? new MetadataImage(config) : MetadataImage.deserialize(log.snapshot, config)
  await replayCommands(log, image)
  log.snapshotProvider = () => image.serialize()
}

async function restoreProducers(config: BrokerConfig, log: GroupLog): Promise<void> {
  const producers = new ProducerState({ expirationMs: config.producerIdExpirationMs })
  if (log.snapshot !== undefined) producers.restore(log.snapshot)
  await log.replay({
    entry: () => {},
    batch: (_index, _term, bytes, at) => {
      const baseOffset = baseOffsetOf(bytes, at)
      if (baseOffset >= producers.coveredOffset) producers.apply(bytes, at, baseOffset)
    },
  })
  log.snapshotProvider = () => producers.snapshot(log.committedOffset)
}
