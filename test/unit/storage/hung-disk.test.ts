// A disk that hangs for a while: storage finds out, acknowledges nothing, and goes on by itself with all it was given.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { append, makeBatch, makeDurable, newDisk, openLog, openShard, readAll, type Shard, settle } from './harness.ts'

/** Looks so often, with time for everything in between that does come back. @returns what each look said, as 0 and 1 */
async function looks(shard: Shard, count: number): Promise<string> {
  let said = ''
  for (let look = 0; look < count; look++) {
    said += shard.storage.look() ? '1' : '0'
    await settle(20)
  }
  return said
}

test('a round that does not come back is noticed, counts as nothing, and is there when it does', async () => {
  const disk = newDisk(1)
  const { shard, log } = await openLog(disk)
  append(log, makeBatch(1, 100, 1))
  await makeDurable(shard, log)
  disk.hang()
  append(log, makeBatch(1, 100, 2))
  shard.storage.flush()
  assert.equal(await looks(shard, 5), '00111')
  append(log, makeBatch(1, 100, 3))
  shard.storage.flush()
  await settle()
  assert.equal(log.durableOffset, 1, 'nothing more is durable')
  disk.resume()
  await settle()
  assert.equal(log.durableOffset, 3)
  assert.equal(await looks(shard, 5), '11000', 'trusted again after a while')
  assert.deepEqual(shard.failures, [])
  log.commit(log.durableIndex, log.durableOffset)
  assert.equal((await readAll(log)).length, 3)
  await shard.storage.close()
  const again = await openShard(disk)
  assert.equal(again.storage.get(1)!.logEndOffset, 3)
  await again.storage.close()
})

test('a file of the ring that rounds wait for and that does not come is a disk that hangs', async () => {
  const disk = newDisk(2)
  const { shard, log } = await openLog(disk, {
    journalFileBytes: 64 * 1024,
    journalFileCount: 3,
    blockBytesMax: 16 << 10,
  })
  await settle()
  const files = disk.paths()
  // Blocks are written; only what makes another file hangs.
  disk.hang((path) => path.endsWith('.mj') && !files.includes(path))
  // Uncommitted, so no file comes free.
  for (let seed = 0; log.durableIndex === log.lastIndex; seed++) {
    append(log, makeBatch(1, 4000, seed))
    shard.storage.flush()
    await settle(10)
  }
  assert.match(shard.messages.join(), /all 3 files are in use, adding one/)
  assert.equal(await looks(shard, 4), '0011')
  disk.resume()
  await settle()
  assert.equal(log.durableIndex, log.lastIndex)
  assert.equal(await looks(shard, 4), '1100')
  await shard.storage.close()
})

test('a disk that is busy all the time, or has nothing to do, does not hang', async () => {
  const disk = newDisk(3)
  const { shard, log } = await openLog(disk)
  for (let seed = 0; seed < 10; seed++) {
    append(log, makeBatch(1, 100, seed))
    shard.storage.flush()
    assert.equal(shard.storage.look(), false)
    await settle(20)
  }
  const { journalRounds } = shard.storage.stats()
  assert.equal(await looks(shard, 10), '0000000000')
  assert.equal(shard.storage.stats().journalRounds, journalRounds, 'and is asked nothing by those who look')
  await shard.storage.close()
})

test('while it is not trusted yet it is asked to write something at every look', async () => {
  const disk = newDisk(4)
  const { shard, log } = await openLog(disk)
  disk.hang()
  append(log, makeBatch(1, 100, 1))
  shard.storage.flush()
  assert.equal(await looks(shard, 3), '001')
  disk.resume()
  await settle()
  assert.equal(await looks(shard, 1), '1')
  disk.hang()
  // Nobody appends, and still it shows.
  assert.equal(await looks(shard, 5), '11111')
  disk.resume()
  await settle()
  assert.equal(await looks(shard, 4), '1100')
  await shard.storage.close()
})

test('a disk that is full does not hang', async () => {
  const disk = newDisk(5)
  const { shard, log } = await openLog(disk)
  disk.inject({ operation: 'write', path: '.mj', code: 'ENOSPC', count: Number.POSITIVE_INFINITY })
  append(log, makeBatch(1, 100, 1))
  shard.storage.flush()
  await settle()
  assert.deepEqual(shard.full, [true])
  assert.equal(await looks(shard, 5), '00000')
  disk.heal()
  shard.timers.advance(500)
  await settle()
  assert.deepEqual(shard.full, [true, false])
  await shard.storage.close()
})

test('a crash while it hangs takes nothing that was acknowledged, and nothing else counts', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const disk = newDisk(seed)
    const { shard, log } = await openLog(disk)
    append(log, makeBatch(1, 100, 1))
    await makeDurable(shard, log)
    disk.hang()
    for (let more = 2; more < 6; more++) {
      append(log, makeBatch(1, 5000, more))
      shard.storage.flush()
      await settle(5)
    }
    await looks(shard, 3)
    assert.equal(log.durableOffset, 1)
    disk.crash()
    const again = await openShard(disk.restart())
    const end = again.storage.get(1)!.logEndOffset
    assert.ok(end >= 1 && end <= 5, `${end}`)
    await again.storage.close()
  }
})
