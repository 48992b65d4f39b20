import assert from 'node:assert/strict'
import { test } from 'node:test'
import { baseOffsetOf, leaderEpochOf } from '../../../protocol/records/batch.ts'
import { StorageCorruption } from '../../../storage/corruption.ts'
import { BATCH_KIND, type EntryRead, FORGOTTEN_KIND } from '../../../storage/entry-read.ts'
import type { GroupLog } from '../../../storage/log.ts'
import type { SimulatedDisk } from '../../sim/disk.ts'
import {
  append,
  CONFIG,
  LEADER_CHANGE,
  makeBatch,
  makeDurable,
  newDisk,
  openLog,
  openShard,
  readAll,
  type Shard,
} from './harness.ts'

const MEMBERSHIP = 3

function entry(log: GroupLog, term: number, kind: number, payload: readonly number[] = []): void {
  log.appendEntry(term, log.lastIndex + 1, kind, new Uint8Array(payload))
}

/** 1 leader change, 2..10 three batches, 11 membership, 12 leader change, 13..18 two batches. */
function fill(log: GroupLog): void {
  entry(log, 1, LEADER_CHANGE)
  for (let at = 0; at < 3; at++) append(log, makeBatch(3, 900, at), 1)
  entry(log, 1, MEMBERSHIP, [7, 8])
  entry(log, 4, LEADER_CHANGE)
  for (let at = 3; at < 5; at++) append(log, makeBatch(3, 900, at), 4)
}

function shape(read: EntryRead): string[] {
  return read.entries.map(({ index, term, count, kind, baseOffset, bytes }) =>
    [index, term, count, kind, baseOffset, bytes.length].join(' '),
  )
}

const IN_MEMORY = [
  '1 1 1 1 0 0',
  '2 1 3 0 0 961',
  '5 1 3 0 3 961',
  '8 1 3 0 6 961',
  '11 1 1 3 9 2',
  '12 4 1 1 9 0',
  '13 4 3 0 9 961',
  '16 4 3 0 12 961',
]
/** Entries without offset have lost their payload, and nobody knows any more what they were. */
const LAID_OUT = IN_MEMORY.map((line) => (line === '11 1 1 3 9 2' ? '11 1 1 1 9 0' : line))

async function reopened(disk: SimulatedDisk, shard: Shard): Promise<{ shard: Shard; log: GroupLog }> {
  await shard.storage.close()
  const again = await openShard(disk, { chunkBytes: 2048 })
  return { shard: again, log: again.storage.get(1)! }
}

test('entries come from memory at once, committed or not', async () => {
  const { log } = await openLog(newDisk(3))
  fill(log)
  const read = log.readEntries(1, 1 << 20)
  assert.ok(!(read instanceof Promise))
  assert.deepEqual(shape(read), IN_MEMORY)
  const batch = read.entries[6]!
  assert.equal(baseOffsetOf(batch.bytes, 0), 9, 'a batch is as stamped')
  assert.equal(leaderEpochOf(batch.bytes, 0), 4)
  assert.deepEqual([...read.entries[4]!.bytes], [7, 8])
  read.release()
  read.release()
})

test('a read keeps to its bytes, begins with the entry that holds the index, and always has one', async () => {
  const { log } = await openLog(newDisk(3))
  fill(log)
  for (const [from, maxBytes, indexes] of [
    [1, 1, [1]],
    [1, 1200, [1, 2]],
    [6, 1, [5]],
    [6, 2040, [5, 8, 11]],
    [18, 1 << 20, [16]],
    [19, 1 << 20, []],
    [0, 1 << 20, []],
  ] as const) {
    const read = await log.readEntries(from, maxBytes)
    assert.deepEqual(
      read.entries.map(({ index }) => index),
      indexes,
      `from ${from}`,
    )
    read.release()
  }
})

test('what lies in segments comes back with the entries in between filled in', async () => {
  const disk = newDisk(3)
  const { shard: first, log: before } = await openLog(disk, { chunkBytes: 2048 })
  fill(before)
  await makeDurable(first, before)
  const { shard, log } = await reopened(disk, first)
  assert.equal(log.tail, undefined, 'nothing is left in the journal')
  const read = log.readEntries(1, 1 << 20)
  assert.ok(read instanceof Promise, 'it takes the disk')
  const found = await read
  assert.deepEqual(shape(found), LAID_OUT)
  found.release()
  for (let from = 1; from <= 18; from++) {
    const one = await log.readEntries(from, 1)
    const line = LAID_OUT.findLast((text) => Number(text.split(' ')[0]) <= from)!
    assert.deepEqual(shape(one), [line], `from ${from}`)
    one.release()
  }
  assert.equal(found.entries[0]!.kind, FORGOTTEN_KIND)
  assert.equal(found.entries[1]!.kind, BATCH_KIND)
  await shard.storage.close()
  assert.equal(shard.arena.usedBytes('cache') + shard.arena.usedBytes('readahead'), shard.storage.stats().cacheBytes)
})

test('a read goes on from segments into memory', async () => {
  const disk = newDisk(3)
  const { shard: first, log: before } = await openLog(disk, { chunkBytes: 2048 })
  fill(before)
  await makeDurable(first, before)
  const { log } = await reopened(disk, first)
  entry(log, 5, LEADER_CHANGE)
  append(log, makeBatch(2, 100, 9), 5)
  entry(log, 5, MEMBERSHIP, [1])
  const read = await log.readEntries(12, 1 << 20)
  assert.deepEqual(shape(read), [...LAID_OUT.slice(5), '19 5 1 1 15 0', '20 5 2 0 15 161', '22 5 1 3 17 1'])
  read.release()
})

test('indexes, terms and offsets stay exact over a restart, also of terms without a record', async () => {
  const disk = newDisk(3)
  const { shard: first, log: before } = await openLog(disk, { chunkBytes: 2048 })
  fill(before)
  for (const term of [5, 6, 9]) entry(before, term, LEADER_CHANGE)
  append(before, makeBatch(2, 900, 9), 9)
  await makeDurable(first, before)
  const { log } = await reopened(disk, first)
  assert.deepEqual(log.runs, before.runs)
  assert.equal(log.lastTerm, 9)
  assert.equal(log.prevTerm, 0)
  assert.equal(log.termAt(20), 6)
  assert.equal(log.offsetAfter(11), 9)
  assert.equal(log.indexOfOffset(9), 13)
  assert.equal(log.indexOfOffset(15), 22)
  assert.equal(log.indexOfOffset(log.logEndOffset), log.lastIndex + 1)
  assert.deepEqual(
    log.epochs.map(({ term, startOffset }) => [term, startOffset]),
    [
      [1, 0],
      [4, 9],
      [5, 15],
      [6, 15],
      [9, 15],
    ],
  )
})

test('retention moves the first index up, with the term before it', async () => {
  const disk = newDisk(3)
  const first = await openShard(disk, { chunkBytes: 2048 })
  const config = { ...CONFIG, segmentBytes: 2000, fileDeleteDelayMs: 0 }
  const before = first.storage.create(1, '/data/t-0', config)
  fill(before)
  await makeDurable(first, before)
  await first.storage.close()
  const shard = await openShard(disk, { chunkBytes: 2048 })
  const log = shard.storage.get(1)!
  log.config = config
  assert.equal(log.firstIndex, 1)
  log.trimPrefix(11)
  await shard.storage.enforceRetention()
  assert.equal(log.firstIndex, 8, 'the segment that holds the log start stays')
  assert.equal(log.prevTerm, 1)
  assert.deepEqual(shape(await log.readEntries(7, 1 << 20)), [])
  assert.deepEqual(shape(await log.readEntries(8, 1 << 20)), LAID_OUT.slice(3, 7), 'up to the end of its segment')
  log.trimPrefix(15)
  await shard.storage.enforceRetention()
  assert.equal(log.firstIndex, 19)
  assert.equal(log.prevTerm, 4)
  assert.equal(log.lastTerm, 4)
  assert.deepEqual(log.epochs, [{ term: 4, startIndex: 12, startOffset: 9 }])
  await shard.storage.close()
  const again = (await openShard(disk)).storage.get(1)!
  assert.deepEqual([again.firstIndex, again.prevTerm, again.lastTerm, again.lastIndex], [19, 4, 4, 18])
  assert.deepEqual(again.runs, log.runs)
})

test('damage at rest is refused with its place, and what lies outside stays readable', async () => {
  const disk = newDisk(3)
  const { shard: first, log: before } = await openLog(disk, { chunkBytes: 2048 }, { indexIntervalBytes: 1 })
  entry(before, 1, LEADER_CHANGE)
  for (let at = 0; at < 10; at++) append(before, makeBatch(2, 900, at), 1)
  await makeDurable(first, before)
  await first.storage.close()
  const path = before.files!.segments[0]!.path('.log')
  // The record bytes, the offset, and the leader epoch, which no CRC covers.
  for (const within of [500, 7, 15]) {
    const bit = 4
    disk.flipBit(path, 961 * 5 + within, bit)
    const shard = await openShard(disk, { readBytes: 4096, readAheadBytes: 4096 })
    const log = shard.storage.get(1)!
    log.config = { ...CONFIG, indexIntervalBytes: 1 }
    const failed = async (work: () => unknown): Promise<StorageCorruption> => {
      const error = await Promise.resolve()
        .then(work)
        .then(
          () => undefined,
          (caught: unknown) => caught,
        )
      assert.ok(error instanceof StorageCorruption, `byte ${within}: ${error}`)
      return error
    }
    const index = log.indexOfOffset(10)
    const { range, position } = await failed(() => log.readEntries(index, 1))
    assert.ok(range !== undefined && range.startOffset <= 10 && range.endOffset >= 12, JSON.stringify(range))
    assert.ok(range.startOffset >= 8 && range.endOffset <= 14, JSON.stringify(range))
    assert.equal(position, 961 * 5)
    assert.deepEqual((await failed(() => readAll(log, 10, 12))).range, range)
    const below = await log.readEntries(2, 1 << 20)
    assert.ok(below.entries.length > 0 && below.entries.at(-1)!.baseOffset <= 8)
    below.release()
    const behind = await log.readEntries(log.indexOfOffset(12), 1 << 20)
    assert.equal(behind.entries[0]!.baseOffset, 12)
    behind.release()
    disk.flipBit(path, 961 * 5 + within, bit)
    await shard.storage.close()
  }
})
