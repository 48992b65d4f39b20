// What the storage tests share: batches with a content that tells them apart, a clock that stands still, a shard to open.

import {
  baseOffsetOf,
  batchDefect,
  lastOffsetOf,
  sizeBytesOf,
  stampCrc,
  writeBatchHeader,
} from '../../../protocol/records/batch.ts'
import { Arena } from '../../../storage/arena.ts'
import type { Disk, DiskError } from '../../../storage/disk.ts'
import type { GroupLog, LogConfig } from '../../../storage/log.ts'
import { DEFAULT_LOG_CONFIG } from '../../../storage/log.ts'
import type { ReadResult } from '../../../storage/read-result.ts'
import { ShardStorage, type StorageOptions } from '../../../storage/shard-storage.ts'
import { SimulatedDisk } from '../../sim/disk.ts'

export const CONFIG: LogConfig = { ...DEFAULT_LOG_CONFIG }

/** A batch of `count` offsets with `payloadBytes` bytes that follow from `seed`. Its payload is no list of records. */
export function makeBatch(count: number, payloadBytes: number, seed: number, timestamp = 1000): Uint8Array {
  const batch = new Uint8Array(61 + payloadBytes)
  writeBatchHeader(batch, 0, {
    baseOffset: 0,
    payloadBytes,
    leaderEpoch: 0,
    attributes: 0,
    lastOffsetDelta: count - 1,
    baseTimestamp: timestamp,
    maxTimestamp: timestamp,
    producerId: -1,
    producerEpoch: -1,
    baseSequence: -1,
    recordCount: count,
  })
  let state = (seed * 2654435761) >>> 0
  for (let at = 61; at < batch.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    batch[at] = state >>> 24
  }
  stampCrc(batch, 0)
  return batch
}

/** Timers that fire when the test says so. */
export class ManualTimers {
  nowMs = 0
  #timers: { dueMs: number; call: () => void }[] = []

  after = (delayMs: number, call: () => void): { cancel(): void } => {
    const timer = { dueMs: this.nowMs + delayMs, call }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  advance(ms: number): void {
    this.nowMs += ms
    const due = this.#timers.filter((timer) => timer.dueMs <= this.nowMs)
    this.#timers = this.#timers.filter((timer) => timer.dueMs > this.nowMs)
    for (const timer of due) timer.call()
  }
}

export interface Shard {
  storage: ShardStorage
  arena: Arena
  timers: ManualTimers
  failures: DiskError[]
  messages: string[]
  rounds: number
  roomCalls: number
  /** What onFull said, in order. */
  full: boolean[]
}

export interface ShardSettings extends Partial<StorageOptions> {
  arenaBytes?: number
  timers?: ManualTimers
}

export async function openShard(disk: Disk, settings: ShardSettings = {}): Promise<Shard> {
  const { arenaBytes, timers = new ManualTimers(), ...options } = settings
  const arena = Arena.create(arenaBytes ?? 8 << 20)
  const shard: Omit<Shard, 'storage'> & { storage?: ShardStorage } = {
    arena,
    timers,
    failures: [],
    messages: [],
    rounds: 0,
    roomCalls: 0,
    full: [],
  }
  shard.storage = await ShardStorage.open({
    disk,
    nowMs: () => timers.nowMs,
    monotonicMs: () => timers.nowMs,
    after: timers.after,
    journalDirectory: '/data/journal',
    arena,
    journalFileBytes: 256 * 1024,
    journalFileCount: 4,
    onDurable: () => {
      shard.rounds += 1
    },
    onFailure: (error) => {
      shard.failures.push(error)
    },
    onRoom: () => {
      shard.roomCalls += 1
    },
    onFull: (isFull) => {
      shard.full.push(isFull)
    },
    log: (level, message) => {
      shard.messages.push(`${level}: ${message}`)
    },
    ...options,
  })
  return shard as Shard
}

/** A disk with an empty /data. */
export function newDisk(seed: number): SimulatedDisk {
  return new SimulatedDisk({ seed, directories: ['/data'] })
}

/** A shard with one group that holds nothing. */
export async function openLog(
  disk: Disk,
  settings: ShardSettings = {},
  config: Partial<LogConfig> = {},
): Promise<{ shard: Shard; log: GroupLog }> {
  const shard = await openShard(disk, settings)
  return { shard, log: shard.storage.create(1, '/data/t-0', { ...CONFIG, ...config }) }
}

/** Kind of the entry that begins a term. */
export const LEADER_CHANGE = 1

/** Appends at the end; a new term begins with an entry without offset, as each leader begins its own. */
export function append(
  group: GroupLog,
  batch: Uint8Array,
  term = Math.max(0, group.lastTerm),
  logAppendTimeMs = -1,
): void {
  if (group.lastTerm >= 0 && term > group.lastTerm) {
    group.appendEntry(term, group.lastIndex + 1, LEADER_CHANGE, new Uint8Array(0))
  }
  group.appendBatch(term, group.lastIndex + 1, group.logEndOffset, batch, logAppendTimeMs)
}

/** Lets promises and simulated disk operations run until nothing moves any more. */
export async function settle(turns = 200): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((wake) => setImmediate(wake))
}

/** Flushes and waits until everything appended is durable, then commits it. */
export async function makeDurable(shard: Shard, ...groups: GroupLog[]): Promise<void> {
  shard.storage.flush()
  for (let turn = 0; turn < 1000; turn++) {
    if (groups.every((group) => group.durableIndex === group.lastIndex) || shard.storage.failed !== undefined) break
    await new Promise<void>((wake) => setImmediate(wake))
  }
  for (const group of groups) group.commit(group.durableIndex, group.durableOffset)
}

export interface SeenBatch {
  baseOffset: number
  lastOffset: number
  bytes: Uint8Array
}

/** Reads everything in a range, checks each batch, and releases. */
export async function readAll(
  group: GroupLog,
  offset = group.logStartOffset,
  endOffset = group.logEndOffset,
  maxBytes = 64 * 1024,
): Promise<SeenBatch[]> {
  const seen: SeenBatch[] = []
  while (offset < endOffset) {
    const result = await group.read(offset, maxBytes, endOffset, true)
    if (result.bytes === 0) {
      result.release()
      break
    }
    seen.push(...batchesOf(result))
    if (result.nextOffset <= offset) throw new Error(`read does not move on from ${offset}`)
    offset = result.nextOffset
    result.release()
  }
  return seen
}

export function batchesOf(result: ReadResult): SeenBatch[] {
  const seen: SeenBatch[] = []
  for (const fragment of result.fragments) {
    for (let at = 0; at < fragment.length; ) {
      const defect = batchDefect(fragment, at, fragment.length)
      if (defect !== undefined) throw new Error(`a read gave a batch that is not whole: ${defect}`)
      const size = sizeBytesOf(fragment, at)
      seen.push({
        baseOffset: baseOffsetOf(fragment, at),
        lastOffset: lastOffsetOf(fragment, at),
        bytes: fragment.slice(at, at + size),
      })
      at += size
    }
  }
  return seen
}
