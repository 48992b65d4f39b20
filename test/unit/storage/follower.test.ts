// What a follower does to its log: cut and overwrite what a new leader does not have, begin anew behind a snapshot.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GroupLog, SnapshotInstall } from '../../../storage/log.ts'
import { SimulatedDisk } from '../../sim/disk.ts'
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
  settle,
} from './harness.ts'

const NOTHING = new Uint8Array(0)
const text = (log: GroupLog): string | undefined => log.snapshot && new TextDecoder().decode(log.snapshot)
const bytes = (of: string): Uint8Array => new TextEncoder().encode(of)

/** Only what the test flushes is sent, and only what it pumps is written. */
function manualDisk(): SimulatedDisk {
  return new SimulatedDisk({ seed: 7, directories: ['/data'], delivery: 'manual' })
}

async function openManual(disk: SimulatedDisk): ReturnType<typeof openLog> {
  let opened: Awaited<ReturnType<typeof openLog>> | undefined
  openLog(disk).then((made) => {
    opened = made
  })
  while (opened === undefined) await disk.settle()
  return opened
}

function install(index: number, offset: number, term: number, snapshot: string): SnapshotInstall {
  return { index, term, offset, logStartOffset: Math.max(0, offset - 3), snapshot: bytes(snapshot) }
}

test('what was cut is never reported durable, though its round is, and though its index is used again', async () => {
  const disk = manualDisk()
  const { shard, log } = await openManual(disk)
  append(log, makeBatch(2, 50, 1), 1)
  append(log, makeBatch(5, 50, 2), 1)
  shard.storage.flush()
  assert.equal(disk.inFlightCount, 1)
  log.truncateTail(3)
  log.saveHardState(2, 1)
  append(log, makeBatch(3, 60, 3), 2)
  assert.deepEqual([log.lastIndex, log.lastTerm, log.logEndOffset], [6, 2, 5])
  disk.pump()
  await settle(3)
  assert.equal(log.durableIndex, 2, 'the round that held 1..7 speaks for 1..2 only')
  assert.equal(log.durableTerm, 1)
  assert.equal(log.hardStateDurable, false)
  await disk.settle()
  assert.equal(log.durableIndex, 6)
  assert.equal(log.hardStateDurable, true)
  disk.crash()
  const again = await openShard(disk.restart({ delivery: 'auto' }))
  const found = again.storage.get(1)!
  assert.deepEqual([found.term, found.votedFor, found.lastIndex, found.lastTerm], [2, 1, 6, 2])
  assert.deepEqual(found.runs, log.runs)
})

test('a log that was cut before what replaced it is durable comes back as it was', async () => {
  const disk = manualDisk()
  const { shard, log } = await openManual(disk)
  append(log, makeBatch(2, 50, 1), 1)
  append(log, makeBatch(5, 50, 2), 1)
  shard.storage.flush()
  await disk.settle()
  assert.equal(log.durableIndex, 7)
  log.truncateTail(3)
  assert.equal(log.durableIndex, 2, 'what was cut is not durable at once')
  disk.crash()
  const again = await openShard(disk.restart({ delivery: 'auto' }))
  assert.equal(again.storage.get(1)!.lastIndex, 7)
})

test('an entry is cut as a whole, and what is committed never', async () => {
  const { shard, log } = await openLog(newDisk(7))
  append(log, makeBatch(4, 50, 1), 1)
  await makeDurable(shard, log)
  append(log, makeBatch(4, 50, 2), 1)
  log.truncateTail(9)
  assert.equal(log.lastIndex, 8, 'there is nothing behind the end')
  assert.throws(() => log.truncateTail(4), /only what is not committed/)
  assert.throws(() => log.truncateTail(7), /as a whole/)
})

test('a term begins with an entry without offset', async () => {
  const { log } = await openLog(newDisk(7))
  append(log, makeBatch(1, 50, 1), 1)
  assert.throws(() => log.appendBatch(2, 2, 1, makeBatch(1, 50, 2), -1), /begins with an entry/)
})

test('a vote for a broker with a replaced disk is kept to the last bit', async () => {
  const disk = newDisk(7)
  let shard = await openShard(disk)
  const votes = [3 * 2 ** 32 + 1001, 2 ** 53, 2 ** 31, -1]
  for (const [at, vote] of votes.entries()) {
    shard.storage.create(at + 1, `/data/t-${at}`, CONFIG).saveHardState(5, vote)
  }
  shard.storage.flush()
  await settle(10)
  disk.crash()
  const restarted = disk.restart()
  shard = await openShard(restarted)
  const seen = (): number[] => votes.map((_, at) => shard.storage.get(at + 1)!.votedFor)
  assert.deepEqual(seen(), votes, 'from their own records')
  for (const group of shard.storage.groups()) group.replay({ entry: () => {}, batch: () => {} })
  for (const group of shard.storage.groups()) group.emitState()
  await shard.storage.close()
  shard = await openShard(restarted)
  assert.deepEqual(seen(), votes, 'from state records')
})

test('a group is created with its first snapshot, or not at all', async () => {
  const disk = newDisk(7)
  let shard = await openShard(disk)
  shard.storage.create(1, '/data/t-0', CONFIG, bytes('founders'))
  shard.storage.flush()
  await settle(10)
  disk.crash()
  shard = await openShard(disk.restart())
  const log = shard.storage.get(1)!
  assert.equal(text(log), 'founders')
  assert.deepEqual([log.snapshotIndex, log.lastIndex, log.firstIndex, log.lastTerm], [0, 0, 1, -1])
  assert.equal(log.attached, false, 'nothing stands for the snapshot until the broker has taken it')
  log.replay({ entry: () => {}, batch: () => {} })
  log.snapshotProvider = { snapshot: () => bytes('taken') }
  assert.equal(log.snapshot, undefined, 'the provider answers in its place')
})

test('a log begins anew behind a snapshot, and is durable there when the round is', async () => {
  const disk = newDisk(7)
  let { shard, log } = await openLog(disk, { chunkBytes: 2048 })
  log.snapshotProvider = { snapshot: () => bytes('of before') }
  for (let at = 0; at < 10; at++) append(log, makeBatch(1, 900, at), 1)
  await makeDurable(shard, log)
  await settle(20)
  append(log, makeBatch(1, 900, 10), 1)
  assert.ok(log.files!.segments.length > 0)
  const old = disk.paths().filter((path) => path.startsWith('/data/t-0/'))
  assert.ok(old.length > 0)
  log.installSnapshot(install(500, 490, 4, 'of the leader'))
  assert.deepEqual(
    [log.firstIndex, log.lastIndex, log.commitIndex, log.logEndOffset, log.committedOffset, log.logStartOffset],
    [501, 500, 500, 490, 490, 487],
  )
  assert.deepEqual([log.lastTerm, log.prevTerm, log.termAt(500), log.offsetAfter(500)], [4, 4, 4, 490])
  assert.ok(log.durableIndex <= 10, 'not before it is on disk')
  assert.equal((await log.read(2, 1000, log.committedOffset, true)).bytes, 0, 'what was before is gone')
  append(log, makeBatch(2, 900, 11), 4)
  await makeDurable(shard, log)
  assert.equal(log.durableIndex, 502)
  await settle(20)
  assert.ok(!disk.paths().some((path) => old.includes(path)), 'the old files go')
  await shard.storage.close()
  shard = await openShard(disk)
  log = shard.storage.get(1)!
  assert.equal(text(log), 'of before', 'the provider was asked since')
  assert.deepEqual([log.firstIndex, log.lastIndex, log.logStartOffset, log.lastTerm], [501, 502, 487, 4])
  assert.deepEqual(
    (await readAll(log)).map(({ baseOffset }) => baseOffset),
    [490],
  )
  const read = await log.readEntries(501, 10_000)
  assert.deepEqual(
    read.entries.map(({ index, term, count, baseOffset }) => [index, term, count, baseOffset]),
    [[501, 4, 2, 490]],
  )
  read.release()
})

test('rounds of the log that was given up say nothing of the new one', async () => {
  const disk = manualDisk()
  const { shard, log } = await openManual(disk)
  append(log, makeBatch(5, 50, 1), 1)
  shard.storage.flush()
  log.installSnapshot(install(3, 3, 2, 'x'))
  append(log, makeBatch(2, 50, 1), 2)
  disk.pump()
  await settle(3)
  assert.equal(log.durableIndex, 0)
  await disk.settle()
  assert.equal(log.durableIndex, 5)
  assert.equal(log.durableTerm, 2)
})

test('after a crash there is the old log or the new one, whole, whenever it happens', async () => {
  let olds = 0
  let news = 0
  for (let after = 1; after <= 40; after++) {
    let disk = newDisk(after)
    let { shard, log } = await openLog(disk, { chunkBytes: 2048 }, { segmentBytes: 4000 })
    log.snapshotProvider = { snapshot: () => bytes(`old ${log.commitIndex}`) }
    for (let at = 0; at < 12; at++) append(log, makeBatch(1, 900, at), 1)
    await makeDurable(shard, log)
    append(log, makeBatch(3, 900, 20), 1)
    if (after % 2 === 0) await settle(20)
    disk.crashAtOperation = disk.operationCount + after
    // The base offset of an old segment is used again, with other content.
    log.installSnapshot(install(30, 8, 3, 'new'))
    for (let at = 0; at < 6; at++) append(log, makeBatch(1, 800, 100 + at), 3)
    shard.storage.flush()
    await settle(10)
    log.commit(log.durableIndex, log.durableOffset)
    await settle(20)
    const wasAcked = log.durableIndex >= 30
    disk.crash()
    disk = disk.restart()
    shard = await openShard(disk)
    log = shard.storage.get(1)!
    const isNew = log.firstIndex > 30
    assert.ok(isNew || !wasAcked, 'what was reported durable is there')
    if (isNew) {
      news += 1
      assert.ok(text(log) === 'new' || Number(text(log)?.split(' ')[1]) >= 30, String(text(log)))
      for (const batch of await readAll(log, 8)) assert.equal(batch.bytes.length, 861)
    } else {
      olds += 1
      assert.ok(text(log) === undefined || Number(text(log)?.split(' ')[1]) <= 12, String(text(log)))
      const batches = await readAll(log)
      assert.ok(batches.length >= 12)
      for (const batch of batches) assert.equal(batch.bytes.length, 961)
    }
    await shard.storage.close()
  }
  assert.ok(olds > 0 && news > 0, `${olds} old, ${news} new`)
})

test('files of a log that was given up are looked for at the next start, even after an orderly stop', async () => {
  const disk = newDisk(7)
  let shard = await openShard(disk, { chunkBytes: 2048 })
  const log = shard.storage.create(1, '/data/t-0', CONFIG)
  log.snapshotProvider = { snapshot: () => NOTHING }
  for (let at = 0; at < 10; at++) append(log, makeBatch(1, 900, at), 1)
  await makeDurable(shard, log)
  await settle(20)
  const segment = log.files!.segments[0]!.path('.log')
  log.installSnapshot(install(100, 100, 2, 'x'))
  await shard.storage.close()
  assert.ok(disk.paths().includes(segment), 'there was no time to remove it')
  shard = await openShard(disk)
  await settle(20)
  assert.equal(shard.storage.get(1)!.firstIndex, 101)
  assert.ok(!disk.paths().includes(segment))
})

test('a snapshot is installed while the log is laid out, read and trimmed', async () => {
  const disk = newDisk(7)
  const { shard, log } = await openLog(
    disk,
    { chunkBytes: 2048, readBytes: 4096, readAheadBytes: 4096 },
    { segmentBytes: 5000, fileDeleteDelayMs: 0 },
  )
  log.snapshotProvider = { snapshot: () => NOTHING }
  for (let round = 1; round <= 20; round++) {
    for (let at = 0; at < 20; at++) append(log, makeBatch(1, 900, at), round)
    await makeDurable(shard, log)
    const reads = [0, 5, 11].map((behind) =>
      Promise.resolve(log.readEntries(Math.max(log.firstIndex, log.lastIndex - behind), 3000)).then((read) =>
        read.release(),
      ),
    )
    log.trimPrefix(log.committedOffset - 3)
    const retention = shard.storage.enforceRetention()
    for (let turns = 0; turns < round; turns++) await undefined
    log.installSnapshot(install(log.lastIndex + round, log.logEndOffset + 1, round, 'x'))
    await Promise.all([...reads, retention])
    assert.deepEqual(shard.failures, [])
  }
  append(log, makeBatch(1, 900, 1), 20)
  await makeDurable(shard, log)
  await settle(30)
  await shard.storage.close()
  assert.deepEqual(shard.failures, [])
  assert.equal(shard.arena.usedBytes('journal'), 0)
  const again = await openShard(disk)
  assert.equal((await readAll(again.storage.get(1)!)).length, 1)
  const files = disk.paths().filter((path) => path.startsWith('/data/t-0/') && path.endsWith('.log'))
  assert.equal(files.length, 1, files.join())
})

test('the metadata log begins anew, too', async () => {
  let disk = newDisk(7)
  let shard = await openShard(disk)
  let log = shard.storage.create(0, '', CONFIG)
  log.snapshotProvider = { snapshot: () => bytes(`image ${log.commitIndex}`) }
  for (let index = 1; index <= 9; index++) log.appendEntry(1, index, 2, new Uint8Array(50))
  await makeDurable(shard, log)
  log.installSnapshot({ index: 40, term: 3, offset: 0, logStartOffset: 0, snapshot: bytes('image 40') })
  log.appendEntry(3, 41, 2, new Uint8Array(50))
  log.appendEntry(5, 42, LEADER_CHANGE, NOTHING)
  await makeDurable(shard, log)
  assert.equal(log.durableIndex, 42)
  disk.crash()
  disk = disk.restart()
  shard = await openShard(disk)
  log = shard.storage.get(0)!
  assert.equal(text(log), 'image 40')
  assert.deepEqual([log.firstIndex, log.prevTerm, log.lastIndex, log.lastTerm, log.logEndOffset], [41, 3, 42, 5, 0])
  const seen: number[] = []
  log.replay({ entry: (index) => seen.push(index), batch: () => assert.fail('no batches') })
  assert.deepEqual(seen, [41, 42])
})

test('a quiet group that once elected a leader holds no memory for it', async () => {
  const disk = newDisk(7)
  let shard = await openShard(disk)
  const log = shard.storage.create(1, '/data/t-0', CONFIG)
  log.snapshotProvider = { snapshot: () => NOTHING }
  log.appendEntry(1, 1, LEADER_CHANGE, NOTHING)
  const waiting = shard.storage.create(2, '/data/t-1', CONFIG)
  waiting.snapshotProvider = { snapshot: () => NOTHING }
  waiting.appendEntry(1, 1, LEADER_CHANGE, NOTHING)
  await makeDurable(shard, log)
  for (let second = 0; second < 10; second++) shard.timers.advance(1000)
  await settle(10)
  assert.equal(log.tail, undefined)
  assert.equal(log.files, undefined)
  assert.ok(waiting.tail !== undefined, 'what is not committed stays')
  assert.deepEqual([log.lastIndex, log.lastTerm, log.firstIndex], [1, 1, 1])
  disk.crash()
  shard = await openShard(disk.restart())
  const again = shard.storage.get(1)!
  assert.deepEqual([again.lastIndex, again.lastTerm, again.commitIndex], [1, 1, 1])
  assert.equal(again.tail, undefined)
  append(again, makeBatch(1, 50, 1), 2)
  assert.equal(again.logEndOffset, 1)
  assert.equal(shard.storage.get(2)!.tail!.length, 1)
})
