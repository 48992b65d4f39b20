// What the disk does to stored bytes, and what storage says about it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StorageCorruption } from '../../../storage/corruption.ts'
import type { SimulatedDisk } from '../../sim/disk.ts'
import { append, batchesOf, makeBatch, makeDurable, newDisk, openLog, openShard, readAll, settle } from './harness.ts'

const JOURNAL = '/data/journal/journal-0.mj'
const SEGMENT = '/data/t-0/00000000000000000000'

async function filled(disk: SimulatedDisk, rounds: number, settings?: Parameters<typeof openLog>[1]) {
  const { shard, log } = await openLog(disk, settings, { indexIntervalBytes: 300 })
  for (let round = 0; round < rounds; round++) {
    append(log, makeBatch(2, 700, round, 1000 + round))
    await makeDurable(shard, log)
  }
  return { shard, log }
}

test('a damaged last block is a torn tail: it is cut and the journal goes on', async () => {
  let disk = newDisk(3)
  const { log } = await filled(disk, 10)
  assert.equal(log.lastIndex, 20)
  disk.crash()
  disk = disk.restart()
  // Each round is one block of 4 KiB here, the first holds the creation too.
  disk.flipBit(JOURNAL, 9 * 4096 + 200)
  const again = await openShard(disk)
  const recovered = again.storage.get(1)!
  assert.equal(recovered.lastIndex, 18)
  recovered.replay({ entry: () => {}, batch: () => {} })
  append(recovered, makeBatch(5, 100, 77))
  await makeDurable(again, recovered)
  disk.crash()
  const third = await openShard(disk.restart())
  assert.equal(third.storage.get(1)!.lastIndex, 23)
})

test('a damaged block before the end is reported with its place, never passed over', async () => {
  for (const block of [0, 1, 5, 8]) {
    let disk = newDisk(3)
    await filled(disk, 10)
    disk.crash()
    disk = disk.restart()
    disk.flipBit(JOURNAL, block * 4096 + 100)
    await assert.rejects(openShard(disk), (error: unknown) => {
      assert.ok(error instanceof StorageCorruption)
      assert.match(error.message, /damaged or missing/)
      assert.match(error.advice, /replica or a backup/)
      if (block > 0) assert.equal(error.position, block * 4096)
      return true
    })
  }
})

test('a journal of a newer format is refused by name', async () => {
  let disk = newDisk(3)
  await filled(disk, 2)
  const bytes = disk.peek(JOURNAL)!
  const { crc32cJs } = await import('../../../protocol/records/crc32c.ts')
  bytes[4] = 9
  new DataView(bytes.buffer).setUint32(60, crc32cJs(bytes, 0, 60, 0), true)
  disk.crash()
  disk = disk.restart()
  const file = await disk.open(JOURNAL, { mode: 'rw', direct: false })
  await file.write(bytes.subarray(0, 64), 0, true)
  await assert.rejects(openShard(disk), /another format than this version knows/)
})

test('a flipped bit in a segment is an error with the place, never other bytes', async () => {
  const disk = newDisk(3)
  const { shard, log } = await filled(disk, 40, { chunkBytes: 4096 })
  await shard.storage.close()
  assert.equal(log.logEndOffset, 80)
  disk.flipBit(`${SEGMENT}.log`, 12_345)
  const again = await openShard(disk, { readBytes: 4096, readAheadBytes: 4096 })
  const recovered = again.storage.get(1)!
  const bad = Math.floor(12_345 / 761)
  await assert.rejects(readAll(recovered), (error: unknown) => {
    assert.ok(error instanceof StorageCorruption)
    assert.equal(error.path, `${SEGMENT}.log`)
    assert.equal(error.position, bad * 761)
    assert.match(error.message, /CRC does not match/)
    return true
  })
  const before = await readAll(recovered, 0, bad * 2)
  assert.equal(before.length, bad)
  const behind = await readAll(recovered, bad * 2 + 2)
  assert.equal(behind.at(-1)!.lastOffset, 79)
  assert.equal(again.storage.failed, undefined, 'a bad segment stops nobody else')
})

test('indexes that are missing, cut, zeroed or wrong are made anew', async () => {
  for (const harm of ['missing', 'cut', 'zeroed', 'wrong'] as const) {
    const disk = newDisk(3)
    const { shard, log } = await filled(disk, 40, { chunkBytes: 4096 })
    const all = await readAll(log)
    await shard.storage.close()
    for (const suffix of ['.index', '.timeindex']) {
      const path = SEGMENT + suffix
      assert.ok(disk.peek(path)!.length > 24, 'there is an index to harm')
      if (harm === 'missing') await disk.remove(path)
      else {
        const file = await disk.open(path, { mode: 'rw', direct: false })
        const bytes = disk.peek(path)!
        if (harm === 'cut') await file.truncate(13)
        else if (harm === 'zeroed') await file.write(new Uint8Array(bytes.length - 12), 12, true)
        else {
          // Entries that rise as they should and point to the middle of batches.
          for (let at = 7; at < bytes.length; at += 8) bytes[at]! ^= 0x15
          await file.write(bytes, 0, true)
        }
      }
    }
    const again = await openShard(disk, { readBytes: 4096, readAheadBytes: 4096 })
    const recovered = again.storage.get(1)!
    for (const offset of [0, 1, 33, 50, 79]) {
      const result = await recovered.read(offset, 1, 80, true)
      const [batch] = batchesOf(result)
      assert.deepEqual(batch!.bytes, all[Math.floor(offset / 2)]!.bytes, `${harm}: offset ${offset}`)
      result.release()
    }
    const found = await recovered.findByTimestamp(1025, 80)
    assert.equal(batchesOf(found!)[0]!.baseOffset, 50, harm)
  }
})

test('a failed journal write makes the shard read-only: nothing more is acknowledged, reads go on', async () => {
  const disk = newDisk(3)
  const { shard, log } = await filled(disk, 3)
  disk.inject({ operation: 'write', code: 'EIO', path: 'journal' })
  append(log, makeBatch(1, 100, 50))
  shard.storage.flush()
  await settle(20)
  assert.equal(shard.storage.failed?.code, 'EIO')
  assert.equal(shard.failures.length, 1)
  assert.equal(log.durableIndex, 6)
  assert.throws(() => append(log, makeBatch(1, 100, 51)), /EIO/)
  assert.equal(shard.storage.canAccept(10), false)
  assert.equal((await readAll(log, 0, 6)).length, 3)
  await shard.storage.close()
})

test('a failed segment sync is never taken for a checkpoint', async () => {
  let disk = newDisk(3)
  const { shard, log } = await filled(disk, 20, { chunkBytes: 64 * 1024 })
  disk.inject({ operation: 'sync', code: 'EIO', path: '.log' })
  await shard.storage.close()
  assert.equal(shard.storage.failed?.code, 'EIO')
  disk.crash()
  disk = disk.restart()
  disk.heal()
  const again = await openShard(disk)
  const recovered = again.storage.get(1)!
  assert.equal(recovered.logEndOffset, log.logEndOffset)
  assert.equal((await readAll(recovered)).length, 20)
})
