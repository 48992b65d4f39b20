import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasLogAppendTime, leaderEpochOf, maxTimestampOf } from '../../../protocol/records/batch.ts'
import {
  append,
  batchesOf,
  CONFIG,
  makeBatch,
  makeDurable,
  newDisk,
  openLog,
  openShard,
  readAll,
  settle,
} from './harness.ts'

test('an append is durable when a round says so, and not before', async () => {
  const { shard, log } = await openLog(newDisk(1))
  append(log, makeBatch(3, 100, 1))
  assert.equal(log.lastIndex, 3)
  assert.equal(log.logEndOffset, 3)
  assert.equal(log.durableIndex, 0)
  await makeDurable(shard, log)
  assert.equal(log.durableIndex, 3)
  assert.equal(log.durableOffset, 3)
  assert.equal(shard.rounds, 1, 'creation and append share a round')
})

test('appends of many groups share one flush round', async () => {
  const disk = newDisk(1)
  const shard = await openShard(disk)
  const logs = [1, 2, 3, 4, 5].map((groupId) => shard.storage.create(groupId, `/data/t-${groupId}`, CONFIG))
  shard.storage.flush()
  await settle(20)
  const before = disk.durableWriteCount
  for (const log of logs) append(log, makeBatch(1, 200, log.groupId))
  await makeDurable(shard, ...logs)
  assert.equal(disk.durableWriteCount, before + 1)
})

test('the copy is stamped with offset, leader epoch and, if asked, the broker time', async () => {
  const { shard, log } = await openLog(newDisk(1))
  append(log, makeBatch(2, 50, 1), 4)
  append(log, makeBatch(2, 50, 2), 5, 777_000)
  await makeDurable(shard, log)
  const [first, second] = await readAll(log)
  assert.equal(first!.baseOffset, 0)
  assert.equal(leaderEpochOf(first!.bytes, 0), 4)
  assert.equal(second!.baseOffset, 2)
  assert.equal(leaderEpochOf(second!.bytes, 0), 5)
  assert.equal(maxTimestampOf(second!.bytes, 0), 777_000)
  assert.ok(hasLogAppendTime(second!.bytes, 0))
  assert.deepEqual(log.epochs, [
    { term: 4, startIndex: 0, startOffset: 0 },
    { term: 5, startIndex: 3, startOffset: 2 },
  ])
})

test('an entry takes an index and no offset, and readers do not see it', async () => {
  const { shard, log } = await openLog(newDisk(1))
  log.appendEntry(1, 1, 9, new Uint8Array([1, 2, 3]))
  append(log, makeBatch(2, 50, 1), 1)
  await makeDurable(shard, log)
  assert.equal(log.lastIndex, 3)
  assert.equal(log.logEndOffset, 2)
  const seen = await readAll(log)
  assert.deepEqual(
    seen.map((batch) => batch.baseOffset),
    [0],
  )
})

test('a read starts with the batch that holds the offset and keeps to its limits', async () => {
  const { shard, log } = await openLog(newDisk(1))
  for (let at = 0; at < 4; at++) append(log, makeBatch(3, 39, at))
  await makeDurable(shard, log)
  const whole = await log.read(4, 250, 12, false)
  assert.deepEqual(
    batchesOf(whole).map((batch) => batch.baseOffset),
    [3, 6],
  )
  assert.equal(whole.nextOffset, 9)
  assert.equal((await log.read(4, 10, 12, false)).bytes, 0, 'nothing fits')
  assert.equal((await log.read(4, 10, 12, true)).bytes, 100, 'the first one always does')
  assert.equal((await log.read(4, 1000, 8, false)).nextOffset, 6, 'no batch reaches beyond the end')
  assert.equal((await log.read(12, 1000, 12, true)).bytes, 0)
  assert.equal(whole.arenaOffsets.length, whole.fragments.length)
  whole.release()
  whole.release()
})

test('truncation drops the uncommitted tail, and old rounds do not make its successors durable', async () => {
  const { shard, log } = await openLog(newDisk(1))
  append(log, makeBatch(2, 50, 1), 1)
  await makeDurable(shard, log)
  append(log, makeBatch(3, 50, 2), 1)
  shard.storage.flush()
  log.truncateTail(3)
  log.saveHardState(2, 1)
  append(log, makeBatch(2, 60, 3), 2)
  await Promise.resolve()
  assert.equal(log.durableIndex, 2)
  assert.equal(log.lastTerm, 2)
  await makeDurable(shard, log)
  assert.equal(log.durableIndex, 5)
  assert.deepEqual(
    (await readAll(log)).map((batch) => batch.bytes.length),
    [111, 121],
  )
  assert.throws(() => log.truncateTail(4), /only what is not committed/)
})

test('hard state, truncation, trim and entries survive a restart', async () => {
  let disk = newDisk(1)
  let { shard, log } = await openLog(disk)
  log.saveHardState(3, 2)
  log.appendEntry(3, 1, 1, new Uint8Array([7]))
  append(log, makeBatch(4, 50, 1), 3)
  append(log, makeBatch(4, 50, 2), 3)
  await makeDurable(shard, log)
  log.trimPrefix(5)
  append(log, makeBatch(1, 50, 3), 3)
  log.truncateTail(10)
  await log.whenJournaled()
  disk.crash()
  disk = disk.restart()
  shard = await openShard(disk)
  log = shard.storage.get(1)!
  assert.deepEqual([log.term, log.votedFor, log.lastIndex, log.lastTerm, log.logEndOffset], [3, 2, 9, 3, 8])
  assert.equal(log.logStartOffset, 5)
  assert.equal(log.durableIndex, 9)
  const seen: string[] = []
  log.replay({
    entry: (index, term, kind, payload) => seen.push(`entry ${index} ${term} ${kind} ${payload}`),
    batch: (index, term, bytes, at) => seen.push(`batch ${index} ${term} ${leaderEpochOf(bytes, at)}`),
  })
  assert.deepEqual(seen, ['entry 1 3 1 7', 'batch 2 3 3', 'batch 6 3 3'])
})

test('the snapshot of the last checkpoint comes back, and replay goes on behind it', async () => {
  let disk = newDisk(1)
  let { shard, log } = await openLog(disk, { chunkBytes: 2000 })
  log.snapshotProvider = { snapshot: () => new TextEncoder().encode(`as of ${log.commitIndex}`) }
  for (let at = 0; at < 20; at++) append(log, makeBatch(1, 500, at))
  await makeDurable(shard, log)
  await shard.storage.close()
  shard = await openShard(disk)
  log = shard.storage.get(1)!
  append(log, makeBatch(1, 500, 99))
  await makeDurable(shard, log)
  disk.crash()
  disk = disk.restart()
  shard = await openShard(disk)
  log = shard.storage.get(1)!
  assert.equal(new TextDecoder().decode(log.snapshot), 'as of 20')
  const indexes: number[] = []
  log.replay({ entry: () => {}, batch: (index) => indexes.push(index) })
  assert.deepEqual(indexes, [21])
})

test('the metadata group keeps entries until a snapshot covers them', async () => {
  const disk = newDisk(1)
  let shard = await openShard(disk)
  let log = shard.storage.create(0, '', CONFIG)
  log.snapshotProvider = { snapshot: () => new Uint8Array([log.commitIndex]) }
  for (let index = 1; index <= 30; index++) log.appendEntry(1, index, 2, new Uint8Array(100))
  await makeDurable(shard, log)
  await shard.storage.close()
  shard = await openShard(disk)
  log = shard.storage.get(0)!
  assert.deepEqual([...log.snapshot!], [30])
  assert.equal(log.lastIndex, 30)
  assert.equal(log.firstIndex, 31)
  log.replay({ entry: () => assert.fail('all entries are covered'), batch: () => {} })
})

test('timestamps are found in segments and in the tail', async () => {
  const { shard, log } = await openLog(
    newDisk(1),
    { chunkBytes: 4096, readBytes: 4096, readAheadBytes: 4096 },
    { segmentBytes: 10_000, indexIntervalBytes: 500 },
  )
  for (let at = 0; at < 60; at++) append(log, makeBatch(1, 500, at, 1000 + at * 10))
  await makeDurable(shard, log)
  await settle(20)
  assert.ok(log.files!.segments.length > 2)
  assert.ok(log.laidOffset < 60, 'some of it is still in the tail')
  for (const [timestampMs, offset] of [
    [0, 0],
    [1000, 0],
    [1001, 1],
    [1255, 26],
    [1590, 59],
  ] as const) {
    const found = await log.findByTimestamp(timestampMs, 60)
    assert.deepEqual(
      batchesOf(found!).map((batch) => batch.baseOffset),
      [offset],
    )
    found!.release()
  }
  assert.equal(await log.findByTimestamp(1591, 60), undefined)
  assert.equal(await log.findByTimestamp(1590, 59), undefined, 'what lies behind the end is not found')
  const largest = await log.findMaxTimestamp(60)
  assert.equal(batchesOf(largest!)[0]!.baseOffset, 59)
  const before = await log.findMaxTimestamp(25)
  assert.equal(batchesOf(before!)[0]!.baseOffset, 24)
})

test('the largest timestamp is the first of its kind, also out of order', async () => {
  const { shard, log } = await openLog(newDisk(1), { chunkBytes: 1024 })
  for (const timestamp of [50, 90, 90, 10, 20]) append(log, makeBatch(1, 300, timestamp, timestamp))
  await makeDurable(shard, log)
  const largest = await log.findMaxTimestamp(5)
  assert.equal(batchesOf(largest!)[0]!.baseOffset, 1)
})
