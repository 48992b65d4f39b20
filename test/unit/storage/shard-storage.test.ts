import assert from 'node:assert/strict'
import { test } from 'node:test'
import { append, CONFIG, makeBatch, makeDurable, newDisk, openLog, openShard, readAll, settle } from './harness.ts'

test('a group that holds no data has no file', async () => {
  const disk = newDisk(5)
  const shard = await openShard(disk, { arenaBytes: 32 << 20, journalFileBytes: 1 << 20 })
  for (let groupId = 1; groupId <= 500; groupId++) shard.storage.create(groupId, `/data/topics/t-${groupId}`, CONFIG)
  shard.storage.flush()
  await settle(30)
  assert.ok(disk.paths().every((path) => path.startsWith('/data/journal/')))
  disk.crash()
  const again = await openShard(disk.restart(), { arenaBytes: 32 << 20, journalFileBytes: 1 << 20 })
  assert.equal([...again.storage.groups()].length, 500)
  assert.equal(again.storage.get(77)!.directory, '/data/topics/t-77')
})

test('the ring is recycled for ever, and idle groups are carried along', async () => {
  let disk = newDisk(5)
  const settings = { journalFileBytes: 64 * 1024, journalFileCount: 3, blockBytesMax: 16 * 1024, chunkBytes: 8192 }
  let shard = await openShard(disk, settings)
  const idle = shard.storage.create(1, '/data/idle-0', CONFIG)
  append(idle, makeBatch(3, 200, 1))
  await makeDurable(shard, idle)
  const busy = shard.storage.create(2, '/data/busy-0', CONFIG)
  for (let round = 0; round < 300; round++) {
    for (let count = 0; count < 3; count++) {
      assert.ok(shard.storage.canAccept(2000))
      append(busy, makeBatch(1, 2000, round * 3 + count))
    }
    await makeDurable(shard, busy)
    await settle(2)
  }
  assert.ok(shard.storage.stats().journalBytes > 20 * settings.journalFileBytes)
  assert.equal(disk.paths().filter((path) => path.includes('journal')).length, 3)
  disk.crash()
  disk = disk.restart()
  shard = await openShard(disk, settings)
  assert.equal((await readAll(shard.storage.get(1)!)).length, 1)
  assert.equal((await readAll(shard.storage.get(2)!)).length, 900)
})

test('uncommitted data is never laid out; it fills the ring and closes admission until it is committed', async () => {
  const disk = newDisk(5)
  const shard = await openShard(disk, {
    journalFileBytes: 64 * 1024,
    journalFileCount: 3,
    blockBytesMax: 16 * 1024,
    chunkBytes: 8192,
  })
  const log = shard.storage.create(1, '/data/t-0', CONFIG)
  let accepted = 0
  for (let round = 0; round < 200; round++) {
    if (!shard.storage.canAccept(4000)) break
    append(log, makeBatch(1, 3900, round))
    accepted += 1
    shard.storage.flush()
    await settle(2)
  }
  assert.ok(accepted > 10 && accepted < 100, String(accepted))
  assert.equal(shard.storage.canAccept(4000), false)
  assert.equal(shard.roomCalls, 0)
  assert.equal(log.files, undefined, 'nothing uncommitted is in a segment')
  log.commit(log.durableIndex, log.durableOffset)
  shard.timers.advance(1000)
  await settle(50)
  assert.ok(shard.roomCalls > 0)
  assert.ok(shard.storage.canAccept(4000))
})

test('memory that slow commits hold closes admission before it is spent', async () => {
  const { shard, log } = await openLog(newDisk(5), { arenaBytes: 2 << 20, journalFileBytes: 4 << 20 })
  let accepted = 0
  while (shard.storage.canAccept(20_000) && accepted < 1000) {
    append(log, makeBatch(1, 19_900, accepted))
    accepted += 1
  }
  assert.ok(accepted > 0 && accepted < 50, String(accepted))
  assert.ok(shard.arena.usedBytes('journal') <= shard.arena.limitBytes('journal') + (64 << 10))
})

test('one very large batch goes through, longer than a journal file', async () => {
  let disk = newDisk(5)
  const settings = { arenaBytes: 16 << 20, journalFileBytes: 256 * 1024 }
  let shard = await openShard(disk, settings)
  const log = shard.storage.create(1, '/data/t-0', CONFIG)
  const size = shard.storage.batchBytesMax - 4096
  assert.ok(size > 2 << 20)
  assert.ok(shard.storage.canAccept(size))
  const batch = makeBatch(10, size - 61, 1)
  append(log, batch)
  append(log, makeBatch(1, 100, 2))
  await makeDurable(shard, log)
  assert.equal(log.durableIndex, 11)
  disk.crash()
  disk = disk.restart()
  shard = await openShard(disk, settings)
  const recovered = shard.storage.get(1)!
  recovered.replay({ entry: () => {}, batch: () => {} })
  recovered.commit(recovered.lastIndex, recovered.logEndOffset)
  await shard.storage.close()
  shard = await openShard(disk, settings)
  const seen = await readAll(shard.storage.get(1)!)
  assert.deepEqual(seen[0]!.bytes.subarray(61), batch.subarray(61))
  assert.equal(seen.length, 2)
})

test('a removed group is gone with its files, also when the power goes in between', async () => {
  for (const crashAfter of [0, 1, 2, 3, 5, 8]) {
    let disk = newDisk(crashAfter + 1)
    const settings = { chunkBytes: 4096 }
    let shard = await openShard(disk, settings)
    const log = shard.storage.create(1, '/data/t-0', CONFIG)
    for (let at = 0; at < 20; at++) append(log, makeBatch(1, 1000, at))
    await makeDurable(shard, log)
    await settle(10)
    assert.ok(disk.paths().some((path) => path.startsWith('/data/t-0/')))
    const held = await log.read(0, 100_000, 20, true)
    shard.storage.remove(1)
    const next = shard.storage.create(2, '/data/t-0', CONFIG)
    append(next, makeBatch(7, 5000, 99))
    shard.storage.flush()
    assert.equal(held.fragments[0]![16], 2, 'bytes in a reader hands stay')
    held.release()
    disk.crashAtOperation = disk.operationCount + crashAfter
    await settle(20)
    disk.crash()
    disk = disk.restart()
    shard = await openShard(disk, settings)
    await settle(20)
    const again = shard.storage.get(2)
    if (again !== undefined) {
      assert.equal(shard.storage.get(1), undefined)
      again.replay({ entry: () => {}, batch: () => {} })
      again.commit(again.lastIndex, again.logEndOffset)
      await shard.storage.close()
      shard = await openShard(disk, settings)
      for (const batch of await readAll(shard.storage.get(2)!)) assert.equal(batch.bytes.length, 5061)
    }
  }
})

test('retention removes whole segments, moves the log start and renames before it removes', async () => {
  const disk = newDisk(5)
  const shard = await openShard(disk, { chunkBytes: 2048 })
  const config = { ...CONFIG, segmentBytes: 5000, deletePolicy: true, retentionBytes: 9000, fileDeleteDelayMs: 60_000 }
  const log = shard.storage.create(1, '/data/t-0', config)
  for (let at = 0; at < 40; at++) append(log, makeBatch(1, 900, at, 1000 + at))
  await makeDurable(shard, log)
  await shard.storage.enforceRetention()
  assert.ok(log.sizeBytes >= 9000 && log.sizeBytes < 15_000, String(log.sizeBytes))
  assert.ok(log.logStartOffset > 20)
  assert.equal(log.firstIndex, log.logStartOffset + 1)
  assert.ok(disk.paths().some((path) => path.endsWith('.log.deleted')))
  assert.equal((await readAll(log)).length, 40 - log.logStartOffset)
  shard.timers.advance(60_000)
  await settle(30)
  assert.ok(!disk.paths().some((path) => path.endsWith('.deleted')))
})

test('retention by time takes the active segment too, and appends go on at the same offset', async () => {
  const disk = newDisk(5)
  const shard = await openShard(disk, { chunkBytes: 2048 })
  const config = { ...CONFIG, deletePolicy: true, retentionMs: 1000, fileDeleteDelayMs: 0 }
  const log = shard.storage.create(1, '/data/t-0', config)
  for (let at = 0; at < 5; at++) append(log, makeBatch(2, 900, at, 500))
  await makeDurable(shard, log)
  shard.timers.nowMs = 1400
  await shard.storage.enforceRetention()
  assert.equal(log.logStartOffset, 0)
  shard.timers.nowMs = 1501
  await shard.storage.enforceRetention()
  assert.equal(log.logStartOffset, 10)
  assert.equal(log.sizeBytes, 0)
  append(log, makeBatch(1, 900, 9, 5000))
  await makeDurable(shard, log)
  assert.deepEqual(
    (await readAll(log)).map((batch) => batch.baseOffset),
    [10],
  )
  await shard.storage.close()
  const again = await openShard(disk)
  assert.equal(again.storage.get(1)!.logStartOffset, 10)
  assert.deepEqual(
    (await readAll(again.storage.get(1)!)).map((batch) => batch.baseOffset),
    [10],
  )
})

test('trimming hides records at once and frees segments with the next pass', async () => {
  const disk = newDisk(5)
  const { shard, log } = await openLog(disk, { chunkBytes: 2048 }, { segmentBytes: 5000, fileDeleteDelayMs: 0 })
  for (let at = 0; at < 30; at++) append(log, makeBatch(1, 900, at))
  await makeDurable(shard, log)
  await settle(20)
  const segments = log.files!.segments.length
  log.trimPrefix(17)
  assert.equal(log.logStartOffset, 17)
  await shard.storage.enforceRetention()
  assert.equal(log.logStartOffset, 17)
  assert.ok(log.files!.segments.length < segments)
  assert.equal((await readAll(log))[0]!.baseOffset, 17)
})

test('a sealed segment is exactly its batches, with indexes as long as their entries', async () => {
  const disk = newDisk(5)
  const { shard, log } = await openLog(disk, { chunkBytes: 2048 }, { segmentBytes: 9700, indexIntervalBytes: 1500 })
  for (let at = 0; at < 40; at++) append(log, makeBatch(2, 900, at, 1000 + at))
  await makeDurable(shard, log)
  await shard.storage.close()
  const sealed = log.files!.segments.filter((segment) => segment.sealed)
  assert.ok(sealed.length >= 3)
  for (const segment of sealed) {
    const bytes = disk.peek(segment.path('.log'))!
    assert.equal(bytes.length, segment.sizeBytes)
    assert.equal(bytes.length, 961 * 10)
    const index = disk.peek(segment.path('.index'))!
    const view = new DataView(index.buffer)
    assert.equal(index.length, 8 * 4)
    for (let at = 0; at < index.length; at += 8) {
      // An entry names the last offset of the batch at its position.
      const position = view.getInt32(at + 4)
      assert.equal(position % 961, 0)
      assert.equal(view.getInt32(at), (position / 961) * 2 + 1)
    }
    const times = new DataView(disk.peek(segment.path('.timeindex'))!.buffer)
    assert.equal(times.byteLength % 12, 0)
    assert.equal(Number(times.getBigInt64(times.byteLength - 12)), segment.maxTimestamp, 'sealing adds the last one')
  }
})

test('a reader that goes through an old log does not throw out what others read again', async () => {
  const disk = newDisk(5)
  const settings = { arenaBytes: 4 << 20, chunkBytes: 16 * 1024, readAheadBytes: 32 * 1024, readBytes: 16 * 1024 }
  let shard = await openShard(disk, settings)
  const hot = shard.storage.create(1, '/data/hot-0', CONFIG)
  const cold = shard.storage.create(2, '/data/cold-0', CONFIG)
  for (let at = 0; at < 60; at++) append(hot, makeBatch(1, 2000, at))
  await makeDurable(shard, hot)
  for (let at = 0; at < 1500; at++) {
    append(cold, makeBatch(1, 3000, at))
    if (at % 20 === 19) await makeDurable(shard, cold)
  }
  await makeDurable(shard, cold)
  await shard.storage.close()
  shard = await openShard(disk, settings)
  const hotAgain = shard.storage.get(1)!
  await readAll(hotAgain)
  await readAll(hotAgain)
  const { cacheMisses } = shard.storage.stats()
  assert.equal((await readAll(shard.storage.get(2)!)).length, 1500)
  const missesOfScan = shard.storage.stats().cacheMisses - cacheMisses
  assert.ok(missesOfScan > 0)
  const before = shard.storage.stats().cacheMisses
  await readAll(hotAgain)
  assert.equal(shard.storage.stats().cacheMisses, before, 'the hot log is still in memory')
  assert.ok(shard.arena.usedBytes('cache') <= shard.arena.limitBytes('cache'))
})

test('all memory comes back when everything is released and closed', async () => {
  const disk = newDisk(5)
  const { shard, log } = await openLog(disk, { chunkBytes: 4096, readBytes: 4096 }, { segmentBytes: 20_000 })
  for (let at = 0; at < 100; at++) append(log, makeBatch(1, 900, at))
  await makeDurable(shard, log)
  await readAll(log)
  shard.storage.remove(1)
  await settle(50)
  await shard.storage.close()
  for (const purpose of ['inflight', 'journal', 'cache', 'readahead'] as const) {
    assert.equal(shard.arena.usedBytes(purpose), 0, purpose)
  }
})

test('after a clean stop the next start replays states only', async () => {
  const disk = newDisk(5)
  const settings = { arenaBytes: 128 << 20, journalFileBytes: 16 << 20 }
  let shard = await openShard(disk, settings)
  const log = shard.storage.create(1, '/data/t-0', CONFIG)
  for (let at = 0; at < 300; at++) {
    append(log, makeBatch(1, 50_000, at))
    if (at % 10 === 9) await makeDurable(shard, log)
  }
  await shard.storage.close()
  shard = await openShard(disk, settings)
  assert.ok(
    shard.messages.some((message) => message.includes('1 groups from 2 records')),
    shard.messages.join('\n'),
  )
  assert.equal((await readAll(shard.storage.get(1)!)).length, 300)
})

test('journal files that a full disk left empty are made whole at the next start with room', async () => {
  const disk = newDisk(5)
  const settings = { journalFileBytes: 64 * 1024, journalFileCount: 4, blockBytesMax: 16 * 1024 }
  let shard = await openShard(disk, settings)
  shard.storage.create(1, '/data/topics/t-1', CONFIG)
  await shard.storage.close()
  // As a start leaves them that could make the files and not lengthen them.
  const used = disk.paths().filter((path) => path.endsWith('.mj'))
  for (const path of used.slice(1)) {
    const file = await disk.open(path, { mode: 'rw', direct: false })
    await file.truncate(0)
    await file.close()
  }
  shard = await openShard(disk, settings)
  await settle(50)
  assert.ok(shard.storage.canAccept(2000))
  for (const path of disk.paths().filter((one) => one.endsWith('.mj'))) assert.ok(disk.peek(path)!.length >= 64 * 1024)
})
