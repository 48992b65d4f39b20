import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DirectoryRecord, FORMAT, journalDirectory } from '../../../../broker/data-directory.ts'
import type { Environment } from '../../../../broker/environment.ts'
import { moveGroups } from '../../../../broker/shard/move-groups.ts'
import { shardOf } from '../../../../broker/shard/placement.ts'
import { DiskError } from '../../../../storage/disk.ts'
import type { GroupLog } from '../../../../storage/log.ts'
import { SimulatedDisk } from '../../../sim/disk.ts'
import { SeededRandom } from '../../../sim/random.ts'
import {
  append,
  CONFIG,
  LEADER_CHANGE,
  makeBatch,
  makeDurable,
  openShard,
  readAll,
  settle,
} from '../../storage/harness.ts'

const DATA = '/data'
const MEMORY = 16 << 20
const journalFileBytes = (memory: number): number => Math.min(256 * 1024, memory / 8)

function record(shardCount: number, generation: number): DirectoryRecord {
  return { format: FORMAT, nodeId: 1, shardCount, generation }
}

function move(disk: SimulatedDisk, from: DirectoryRecord, to: DirectoryRecord, memoryBytes = MEMORY): Promise<void> {
  const environment: Environment = {
    clock: {
      nowMs: () => 0,
      monotonicMs: () => 0,
      after: () => ({ cancel: () => {} }),
      soon: () => {},
    },
    random: new SeededRandom(1),
    disk,
    network: {
      dial: () => {
        throw new Error('nobody is called')
      },
    },
    logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  }
  return moveGroups({ environment, dataDirectory: DATA, from, to, memoryBytes, journalFileBytes })
}

async function openShards(disk: SimulatedDisk, at: DirectoryRecord, memoryBytes = MEMORY) {
  const shards = []
  for (let shard = 0; shard < at.shardCount; shard++) {
    const arenaBytes = Math.floor(memoryBytes / at.shardCount)
    shards.push(
      await openShard(disk, {
        journalDirectory: journalDirectory(DATA, at.generation, shard),
        arenaBytes,
        journalFileBytes: journalFileBytes(arenaBytes),
        chunkBytes: 4096,
      }),
    )
  }
  return shards
}

function describe(log: GroupLog): unknown {
  const items: string[] = []
  log.replay({
    entry: (index, term, kind, payload) => items.push(`entry ${index} ${term} ${kind} ${payload}`),
    batch: (index, term) => items.push(`batch ${index} ${term}`),
  })
  const { directory, term, votedFor, lastIndex, lastTerm, firstIndex, prevTerm, logStartOffset, logEndOffset } = log
  const { snapshotIndex, snapshotOffset, runs } = log
  const state = { directory, term, votedFor, lastIndex, lastTerm, firstIndex, prevTerm, logStartOffset, logEndOffset }
  return {
    ...state,
    snapshotIndex,
    snapshotOffset,
    runs,
    items,
    segments: log.files?.segments.map((one) => one.durable),
  }
}

test('groups move as they are: nothing is committed by it, nothing is lost', async () => {
  let disk = new SimulatedDisk({ seed: 1, directories: [`${DATA}/journal`] })
  const before = record(2, 1)
  const after = record(3, 2)
  const shards = await openShards(disk, before)
  for (let groupId = 0; groupId <= 12; groupId++) {
    const { storage } = shards[shardOf(groupId, 2)]!
    const log = storage.create(groupId, groupId === 0 ? '' : `${DATA}/t-${groupId}`, CONFIG, new Uint8Array([groupId]))
    log.snapshotProvider = { snapshot: () => new Uint8Array([groupId, log.commitIndex]) }
    log.saveHardState(3, 2 ** 32 * groupId + 5)
    log.appendEntry(3, 1, LEADER_CHANGE, new Uint8Array(0))
    for (let at = 0; at < groupId * 3; at++) {
      if (groupId === 0) log.appendEntry(3, log.lastIndex + 1, 2, new Uint8Array([at]))
      else append(log, makeBatch(2, 900, at), 3)
    }
  }
  for (const shard of shards) await makeDurable(shard, ...shard.storage.groups())
  await settle(10)
  // Tails that nobody has committed: of a term of their own, with a membership and a few batches.
  for (const shard of shards) {
    for (const log of shard.storage.groups()) {
      log.appendEntry(4, log.lastIndex + 1, 3, new Uint8Array([1, 2]))
      if (log.groupId > 0 && log.groupId % 3 > 0) append(log, makeBatch(3, 700, log.groupId), 4)
    }
    shard.storage.flush()
  }
  await settle(20)
  const committed = new Map<number, number>()
  for (const shard of shards) for (const log of shard.storage.groups()) committed.set(log.groupId, log.commitIndex)
  disk.crash()
  disk = disk.restart()
  const expected = new Map<number, unknown>()
  for (const shard of await openShards(disk, before)) {
    for (const log of shard.storage.groups()) expected.set(log.groupId, describe(log))
  }
  disk.crash()
  disk = disk.restart()
  await move(disk, before, after)
  disk.crash()
  disk = disk.restart()
  let seen = 0
  for (const [at, shard] of (await openShards(disk, after)).entries()) {
    for (const log of shard.storage.groups()) {
      seen += 1
      assert.equal(shardOf(log.groupId, 3), at)
      assert.ok(log.commitIndex <= committed.get(log.groupId)!, `group ${log.groupId}: ${log.commitIndex}`)
      assert.ok(log.lastIndex > log.commitIndex, 'the uncommitted tail came along')
      assert.deepEqual(describe(log), expected.get(log.groupId), `group ${log.groupId}`)
      // A new leader may still have it otherwise.
      log.truncateTail(committed.get(log.groupId)! + 1)
      log.commit(log.lastIndex, log.logEndOffset)
      if (log.groupId > 0) assert.equal((await readAll(log)).length, log.groupId * 3)
    }
  }
  assert.equal(seen, 13)
  assert.ok(!disk.paths().some((path) => path.startsWith(`${DATA}/journal/1/`)), 'the old journals are gone')
})

test('what fills several journal files moves whole', async () => {
  const disk = new SimulatedDisk({ seed: 2, directories: [`${DATA}/journal`] })
  const [shard] = await openShards(disk, record(1, 1))
  const logs = Array.from({ length: 40 }, (_, at) => shard!.storage.create(at + 1, `${DATA}/t-${at}`, CONFIG))
  for (const log of logs) {
    log.appendEntry(1, 1, LEADER_CHANGE, new Uint8Array(0))
    for (let at = 0; at < 5; at++) append(log, makeBatch(1, 7000, at), 1)
  }
  shard!.storage.flush()
  await settle(50)
  disk.crash()
  let restarted = disk.restart()
  await move(restarted, record(1, 1), record(2, 2))
  restarted.crash()
  restarted = restarted.restart()
  let seen = 0
  for (const moved of await openShards(restarted, record(2, 2))) {
    for (const log of moved.storage.groups()) {
      assert.deepEqual([log.lastIndex, log.commitIndex], [6, 0])
      seen += 1
    }
  }
  assert.equal(seen, 40)
})

test('what has no room in a shard is refused, and stays as it was', async () => {
  const disk = new SimulatedDisk({ seed: 3, directories: [`${DATA}/journal`] })
  const [shard] = await openShards(disk, record(1, 1), 8 << 20)
  const log = shard!.storage.create(1, `${DATA}/t-1`, CONFIG)
  log.appendEntry(1, 1, LEADER_CHANGE, new Uint8Array(0))
  for (let at = 0; at < 300; at++) append(log, makeBatch(1, 8000, at), 1)
  shard!.storage.flush()
  await settle(100)
  assert.equal(log.durableIndex, 301)
  disk.crash()
  const restarted = disk.restart()
  await assert.rejects(move(restarted, record(1, 1), record(4, 2), 8 << 20), (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error && !(error instanceof DiskError))
    assert.equal(error.code, 'TOO_MUCH_TO_MOVE')
    return true
  })
  const [again] = await openShards(restarted, record(1, 1), 8 << 20)
  assert.equal(again!.storage.get(1)!.lastIndex, 301)
})
