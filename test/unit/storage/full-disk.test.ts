// A disk that is full for a while: nothing fails, nothing is lost, nothing wrong is acknowledged, and storage goes on by itself.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GroupLog } from '../../../storage/log.ts'
import type { Fault, SimulatedDisk } from '../../sim/disk.ts'
import {
  append,
  CONFIG,
  makeBatch,
  makeDurable,
  newDisk,
  openLog,
  openShard,
  readAll,
  type Shard,
  settle,
} from './harness.ts'

const SETTINGS = { journalFileBytes: 64 * 1024, journalFileCount: 3, blockBytesMax: 16 * 1024, chunkBytes: 8192 }
const SEGMENTS = { segmentBytes: 20_000, indexIntervalBytes: 1500 }

interface Appended {
  count: number
}

const batchOf = (seed: number): Uint8Array => makeBatch(1, 1900, seed)

/** Appends as the broker does: what canAccept() takes. Commits what is durable. */
async function produce(shard: Shard, log: GroupLog, appended: Appended, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let count = 0; count < 3 && shard.storage.canAccept(2000); count++) {
      append(log, batchOf(appended.count))
      appended.count += 1
    }
    shard.storage.flush()
    await settle(3)
    log.commit(log.durableIndex, log.durableOffset)
  }
}

/** Everything up to an offset is there and as it was appended. */
async function holds(log: GroupLog, count: number): Promise<void> {
  const seen = await readAll(log, 0, count)
  assert.equal(seen.length, count)
  for (const [at, batch] of seen.entries()) {
    assert.equal(batch.baseOffset, at)
    assert.deepEqual(batch.bytes.subarray(61), batchOf(at).subarray(61), `batch ${at}`)
  }
}

async function reopened(disk: SimulatedDisk, count: number): Promise<void> {
  const again = await openShard(disk, SETTINGS)
  const log = again.storage.get(1)!
  assert.ok(log.lastIndex >= count, `${log.lastIndex} of ${count} acknowledged`)
  await holds(log, count)
  await again.storage.close()
}

const KINDS: Readonly<Record<string, Omit<Fault, 'code' | 'count'>>> = {
  'the directory of a group': { operation: 'makeDirectory', path: 't-0' },
  'a new segment file': { operation: 'open', path: '.log' },
  'the reservation of a segment': { operation: 'allocate', path: '.log' },
  'a write to a segment': { operation: 'write', path: '.log' },
  'the cut of a sealed segment': { operation: 'truncate', path: '.log' },
  'an index file': { operation: 'open', path: '.index' },
  'a write to an index': { operation: 'write', path: '.timeindex' },
  'a journal block, in place': { operation: 'write', path: '.mj' },
}

for (const [kind, where] of Object.entries(KINDS)) {
  for (const code of ['ENOSPC', 'EDQUOT']) {
    test(`${code} for ${kind} is waited out: all is there afterwards, in order`, async () => {
      const disk = newDisk(7)
      const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
      await settle(20)
      const appended = { count: 0 }
      // A directory is made once, with the first segment; everything else is met in the middle of the work.
      if (where.operation !== 'makeDirectory') await produce(shard, log, appended, 5)
      disk.inject({ ...where, code, count: Number.POSITIVE_INFINITY })
      await produce(shard, log, appended, 60)
      assert.deepEqual(shard.full, [true], 'whoever is in charge was told')
      assert.equal(shard.storage.canAccept(2000), false, 'admission is closed once ring or memory are used')
      assert.ok(shard.arena.usedBytes('journal') <= shard.arena.limitBytes('journal'))
      await holds(log, log.durableOffset)
      shard.timers.advance(1000)
      await settle(5)
      assert.deepEqual(shard.full, [true], 'another attempt that fails changes nothing')
      disk.heal()
      for (let turn = 0; turn < 10; turn++) {
        shard.timers.advance(500)
        await settle(20)
        log.commit(log.durableIndex, log.durableOffset)
      }
      assert.deepEqual(shard.full, [true, false])
      assert.deepEqual(shard.failures, [])
      assert.ok(shard.roomCalls > 0, 'whoever waits for room hears of it')
      await produce(shard, log, appended, 40)
      assert.equal(log.durableOffset, appended.count)
      assert.ok(appended.count > 100, String(appended.count))
      await holds(log, appended.count)
      disk.crash()
      await reopened(disk.restart(), appended.count)
    })
  }

  test(`a crash while ${kind} finds no space loses nothing that was acknowledged`, async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const disk = newDisk(seed)
      const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
      await settle(20)
      const appended = { count: 0 }
      if (where.operation !== 'makeDirectory') await produce(shard, log, appended, 5)
      disk.inject({ ...where, code: 'ENOSPC', count: Number.POSITIVE_INFINITY })
      await produce(shard, log, appended, 5 + seed)
      shard.timers.advance(500)
      await settle(2)
      const acknowledged = log.durableOffset
      disk.crash()
      await reopened(disk.restart(), acknowledged)
    }
  })
}

for (const fullness of ['growth', 'changes'] as const) {
  test(`a disk that refuses ${fullness} again and again holds everything up, and nothing else`, async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const disk = newDisk(seed)
      const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
      const appended = { count: 0 }
      for (let turn = 0; turn < 8; turn++) {
        await produce(shard, log, appended, 3 + seed)
        disk.fullness = fullness
        await produce(shard, log, appended, 10)
        disk.fullness = 'none'
        shard.timers.advance(500)
        await settle(10)
      }
      shard.timers.advance(500)
      await settle(50)
      assert.deepEqual(shard.failures, [])
      assert.equal(log.durableOffset, appended.count)
      await holds(log, appended.count)
      disk.crash()
      await reopened(disk.restart(), appended.count)
    }
  })
}

test('rounds that need another journal file wait for it, unacknowledged and in order', async () => {
  const disk = newDisk(3)
  const { shard, log } = await openLog(disk, SETTINGS)
  await settle(20)
  const files = () => disk.paths().filter((path) => path.endsWith('.mj')).length
  const made = files()
  disk.fullness = 'growth'
  // The broker's own appends do not ask canAccept().
  for (let at = 0; at < 120; at++) {
    append(log, batchOf(at))
    if (at % 3 === 2) {
      shard.storage.flush()
      await settle(2)
    }
  }
  await settle(20)
  const acknowledged = log.durableOffset
  assert.ok(acknowledged > 60 && acknowledged < 120, String(acknowledged))
  assert.deepEqual(shard.full, [true])
  for (let attempt = 0; attempt < 3; attempt++) {
    shard.timers.advance(500)
    await settle(5)
  }
  assert.equal(files(), made, 'what cannot be made whole is taken away again')
  assert.equal(log.durableOffset, acknowledged)
  disk.fullness = 'none'
  shard.timers.advance(500)
  await settle(50)
  assert.deepEqual(shard.failures, [])
  assert.equal(log.durableOffset, 120)
  assert.deepEqual(shard.full, [true, false])
  disk.crash()
  await reopened(disk.restart(), 120)
})

test('a ring that a full disk left short closes admission, says so, and is completed later', async () => {
  const disk = newDisk(3)
  disk.capacityBytes = 400 * 1024
  const { shard, log } = await openLog(disk)
  append(log, makeBatch(1, 100, 1))
  await makeDurable(shard, log)
  await settle(20)
  assert.ok(shard.messages.some((message) => message.includes('no space for another file')))
  assert.deepEqual(shard.full, [], 'nothing waits yet')
  let accepted = 0
  for (; accepted < 50 && shard.storage.canAccept(30_000); accepted++) {
    append(log, makeBatch(1, 29_900, accepted))
    await makeDurable(shard, log)
  }
  await settle(10)
  assert.ok(accepted < 50)
  assert.deepEqual(shard.failures, [])
  assert.deepEqual(shard.full, [true])
  disk.capacityBytes = 1 << 30
  shard.timers.advance(10_000)
  await settle(50)
  assert.deepEqual(shard.full, [true, false])
  assert.ok(shard.roomCalls > 0)
  assert.ok(shard.storage.canAccept(30_000))
  assert.equal(disk.paths().filter((path) => path.endsWith('.mj')).length, 4)
})

test('groups are removed while the disk is full, also when their data waits for space', async () => {
  const disk = newDisk(4)
  const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
  const other = shard.storage.create(2, '/data/t-1', { ...CONFIG, ...SEGMENTS })
  const appended = { count: 0 }
  await produce(shard, log, appended, 12)
  assert.ok(disk.paths().some((path) => path.startsWith('/data/t-0/')))
  disk.fullness = 'growth'
  for (let round = 0; round < 10; round++) {
    if (shard.storage.canAccept(4000)) for (const group of [log, other]) append(group, batchOf(round))
    await makeDurable(shard, log, other)
    await settle(3)
  }
  assert.deepEqual(shard.full, [true])
  shard.storage.remove(1)
  shard.storage.remove(2)
  shard.storage.flush()
  await settle(50)
  assert.ok(!disk.paths().some((path) => path.startsWith('/data/t-')), 'the files are gone')
  assert.deepEqual(shard.full, [true, false], 'nobody waits any more')
  assert.deepEqual(shard.failures, [])
  disk.fullness = 'none'
  await shard.storage.close()
  for (const purpose of ['inflight', 'journal', 'cache', 'readahead'] as const) {
    assert.equal(shard.arena.usedBytes(purpose), 0, purpose)
  }
})

for (const fullness of ['growth', 'changes'] as const) {
  test(`retention makes room on a disk that refuses ${fullness}, with data waiting to be laid out`, async () => {
    const disk = newDisk(4)
    const config = { ...SEGMENTS, deletePolicy: true, retentionBytes: 30_000, fileDeleteDelayMs: 0 }
    const { shard, log } = await openLog(disk, SETTINGS, { ...config, retentionBytes: -1 })
    const appended = { count: 0 }
    await produce(shard, log, appended, 20)
    await settle(20)
    disk.fullness = 'growth'
    await produce(shard, log, appended, 10)
    assert.deepEqual(shard.full, [true])
    // With every change refused, only what the journal says can no longer be written; removing goes on behind what it said.
    const before = disk.usedBytes()
    log.config = { ...log.config, ...config }
    const pass = shard.storage.enforceRetention()
    await settle(20)
    await pass
    assert.ok(log.logStartOffset > 10, String(log.logStartOffset))
    assert.ok(disk.usedBytes() < before)
    assert.ok(!disk.paths().some((path) => path.endsWith('.deleted')))
    disk.fullness = fullness
    await settle(20)
    disk.fullness = 'none'
    for (let turn = 0; turn < 4; turn++) {
      shard.timers.advance(500)
      await settle(20)
    }
    assert.deepEqual(shard.failures, [])
    assert.deepEqual(shard.full, [true, false])
    const seen = await readAll(log)
    assert.equal(seen.length, appended.count - log.logStartOffset)
  })
}

test('retention that began before the disk was full does not hang on it', async () => {
  const disk = newDisk(4)
  const config = { ...SEGMENTS, deletePolicy: true, retentionBytes: 10_000, fileDeleteDelayMs: 0 }
  const { shard, log } = await openLog(disk, { chunkBytes: 256 * 1024 }, { ...config, retentionBytes: -1 })
  const appended = { count: 0 }
  await produce(shard, log, appended, 12)
  log.config = { ...log.config, ...config }
  assert.equal(log.files, undefined, 'all of it is in the journal still')
  const pass = shard.storage.enforceRetention()
  disk.fullness = 'growth'
  await settle(20)
  await pass
  assert.deepEqual(shard.full, [true])
  assert.deepEqual(shard.failures, [])
})

test('closing on a full disk waits for nothing: what is acknowledged is in the journal', async () => {
  for (const fullness of ['growth', 'changes'] as const) {
    let disk = newDisk(6)
    const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
    const appended = { count: 0 }
    await produce(shard, log, appended, 6)
    disk.fullness = fullness
    await produce(shard, log, appended, 20)
    const acknowledged = log.durableOffset
    assert.deepEqual(shard.full, [true])
    await shard.storage.close()
    disk = disk.reopen()
    await reopened(disk, acknowledged)
  }
})

test('a sync that fails is never tried again, whatever it says', async () => {
  for (const [operation, path] of [
    ['sync', '.log'],
    ['syncDirectory', '/data/t-0'],
  ] as const) {
    let disk = newDisk(3)
    const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
    const appended = { count: 0 }
    disk.inject({ operation, code: 'ENOSPC', path })
    await produce(shard, log, appended, 30)
    assert.equal(shard.storage.failed?.code, 'ENOSPC')
    assert.equal(shard.failures.length, 1)
    const acknowledged = log.durableOffset
    disk.crash()
    disk = disk.restart()
    await reopened(disk, acknowledged)
  }
})

test('EIO stays a failure, also for what was waiting for space', async () => {
  const disk = newDisk(3)
  const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
  const appended = { count: 0 }
  disk.inject({ operation: 'write', code: 'ENOSPC', path: '.log' })
  disk.inject({ operation: 'write', code: 'EIO', path: '.log' })
  await produce(shard, log, appended, 10)
  assert.deepEqual(shard.full, [true])
  shard.timers.advance(500)
  await settle(20)
  assert.equal(shard.storage.failed?.code, 'EIO')
  await holds(log, log.durableOffset)
  await shard.storage.close()
})

test('a write through the page cache that finds no space is a failure: what it speaks of is not known', async () => {
  for (const path of ['.mj', '.log']) {
    const disk = newDisk(3)
    Object.assign(disk, { direct: false })
    const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
    await settle(20)
    disk.inject({ operation: 'write', code: 'ENOSPC', path })
    await produce(shard, log, { count: 0 }, 10)
    assert.equal(shard.storage.failed?.code, 'ENOSPC', path)
  }
})

test('storage that nobody listens to does not wait: it fails', async () => {
  const disk = newDisk(3)
  const { shard, log } = await openLog(disk, { ...SETTINGS, onFull: undefined }, SEGMENTS)
  await settle(20)
  disk.fullness = 'growth'
  await produce(shard, log, { count: 0 }, 10)
  assert.equal(shard.storage.failed?.code, 'ENOSPC')
})

test('storage that is opened on a full disk serves what it has, and takes more when there is room', async () => {
  let disk = newDisk(9)
  const { shard, log } = await openLog(disk, SETTINGS, SEGMENTS)
  const appended = { count: 0 }
  await produce(shard, log, appended, 8)
  disk.fullness = 'growth'
  await produce(shard, log, appended, 20)
  const acknowledged = log.durableOffset
  disk.crash()
  disk = disk.restart()
  disk.fullness = 'growth'
  const again = await openShard(disk, SETTINGS)
  const found = again.storage.get(1)!
  found.config = log.config
  await holds(found, acknowledged)
  found.replay({ entry: () => {}, batch: () => {} })
  found.commit(found.lastIndex, found.logEndOffset)
  appended.count = found.logEndOffset
  await produce(again, found, appended, 10)
  again.timers.advance(1000)
  await settle(20)
  assert.deepEqual(again.full, [true])
  disk.fullness = 'none'
  for (let turn = 0; turn < 4; turn++) {
    again.timers.advance(500)
    await settle(20)
  }
  assert.deepEqual(again.full, [true, false])
  await produce(again, found, appended, 20)
  assert.deepEqual(again.failures, [])
  assert.equal(found.durableOffset, appended.count)
  await holds(found, appended.count)
  await again.storage.close()
})
