// The simulated disk: what it promises to storage tests, and how it lies.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DiskError } from '../../../storage/disk.ts'
import { SimulatedDisk } from '../../sim/disk.ts'

const filled = (byte: number, length: number): Uint8Array => new Uint8Array(length).fill(byte)

/** What a fresh machine finds in a file after the crash, for many seeds. */
async function afterCrashes(
  prepare: (disk: SimulatedDisk) => Promise<void>,
  seedCount = 60,
): Promise<(Uint8Array | undefined)[]> {
  const found: (Uint8Array | undefined)[] = []
  for (let seed = 1; seed <= seedCount; seed += 1) {
    const disk = new SimulatedDisk({ seed, directories: ['/d'] })
    await prepare(disk)
    disk.crash()
    found.push(disk.restart().peek('/d/f'))
  }
  return found
}

async function durableFile(
  disk: SimulatedDisk,
  bytes: Uint8Array,
): Promise<Awaited<ReturnType<SimulatedDisk['open']>>> {
  const file = await disk.open('/d/f', { mode: 'create', direct: false })
  await file.write(bytes, 0, true)
  await disk.syncDirectory('/d')
  return file
}

test('a durable write in a synced directory survives every crash', async () => {
  for (const bytes of await afterCrashes(async (disk) => void (await durableFile(disk, filled(1, 5000))))) {
    assert.deepEqual(bytes, filled(1, 5000))
  }
})

test('a write followed by a sync survives every crash', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(1, 512))
    await file.write(filled(2, 4096), 0, false)
    await file.sync()
  })
  for (const bytes of found) assert.deepEqual(bytes, filled(2, 4096))
})

test('an unsynced write is lost, kept or torn at sectors, never inside one', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(1, 8192))
    await file.write(filled(2, 8192), 0, false)
  })
  const outcomes = new Set<string>()
  for (const bytes of found) {
    assert.equal(bytes?.length, 8192)
    const sectors: number[] = []
    for (let at = 0; at < 8192; at += 512) {
      const sector: Uint8Array = bytes.subarray(at, at + 512)
      assert.deepEqual(sector, filled(sector[0]!, 512))
      sectors.push(sector[0]!)
    }
    const kinds = new Set(sectors)
    outcomes.add(kinds.size === 2 ? 'torn' : kinds.has(1) ? 'lost' : 'kept')
  }
  assert.deepEqual([...outcomes].sort(), ['kept', 'lost', 'torn'])
})

test('a later unsynced write can survive an earlier one', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(0, 1024))
    await file.write(filled(1, 512), 0, false)
    await file.write(filled(2, 512), 512, false)
  })
  assert.ok(found.some((bytes) => bytes?.[0] === 0 && bytes[512] === 2))
  assert.ok(found.some((bytes) => bytes?.[0] === 1 && bytes[512] === 0))
})

test('a durable write does not make an earlier unsynced write of other sectors durable', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(0, 1024))
    await file.write(filled(1, 512), 0, false)
    await file.write(filled(2, 512), 512, true)
  })
  assert.ok(found.every((bytes) => bytes?.[512] === 2))
  assert.ok(found.some((bytes) => bytes?.[0] === 0))
})

test('a durable write is never replaced by an older unsynced write of the same sectors', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(0, 1024))
    await file.write(filled(1, 1024), 0, false)
    await file.write(filled(2, 1024), 0, true)
  })
  for (const bytes of found) assert.deepEqual(bytes, filled(2, 1024))
})

test('a sync does not cover writes that were in flight when it started', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(0, 512))
    const synced = file.sync()
    const wrote = file.write(filled(1, 512), 0, false)
    await Promise.all([synced, wrote])
  })
  assert.ok(found.some((bytes) => bytes?.[0] === 0))
  assert.ok(found.some((bytes) => bytes?.[0] === 1))
})

test('a creation without a directory sync may be lost, and may be kept', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await disk.open('/d/f', { mode: 'create-new', direct: false })
    await file.write(filled(1, 512), 0, true)
  })
  assert.ok(found.some((bytes) => bytes === undefined))
  assert.ok(found.some((bytes) => bytes !== undefined))
})

test('an unsynced rename leaves the file under exactly one of its names', async () => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 60; seed += 1) {
    const disk = new SimulatedDisk({ seed, directories: ['/d', '/e'] })
    await durableFile(disk, filled(1, 512))
    await disk.rename('/d/f', '/e/g')
    await disk.rename('/e/g', '/e/h')
    disk.crash()
    const paths = disk.restart().paths()
    assert.equal(paths.length, 1)
    seen.add(paths[0]!)
  }
  assert.deepEqual([...seen].sort(), ['/d/f', '/e/g', '/e/h'])
})

test('an unsynced truncation is lost or kept, as a whole', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(1, 4096))
    await file.truncate(700)
  })
  assert.deepEqual([...new Set(found.map((bytes) => bytes?.length))].sort(), [4096, 700])
  for (const bytes of found) assert.deepEqual(bytes, filled(1, bytes!.length))
})

test('bytes beyond a truncation read as zeros when the file grows again', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'] })
  const file = await durableFile(disk, filled(1, 2048))
  await file.truncate(100)
  await file.allocate(0, 2048, 'extend')
  const bytes = disk.peek('/d/f')!
  assert.deepEqual(bytes.subarray(0, 100), filled(1, 100))
  assert.deepEqual(bytes.subarray(100), filled(0, 1948))
})

test('a reservation counts as used space and does not move the end of the file', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'], capacityBytes: 1 << 20 })
  const file = await durableFile(disk, filled(1, 512))
  await file.allocate(0, 1 << 19, 'keep-size')
  assert.equal((await file.stat()).sizeBytes, 512)
  assert.equal((await disk.freeSpace('/d')).freeBytes, 1 << 19)
})

test('a full disk refuses writes and reservations with ENOSPC', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'], capacityBytes: 8192 })
  const file = await durableFile(disk, filled(1, 8192))
  await assert.rejects(file.write(filled(2, 1), 8192, true), { code: 'ENOSPC' })
  await assert.rejects(file.allocate(0, 8193, 'extend'), { code: 'ENOSPC' })
  await file.write(filled(2, 8192), 0, true)
})

test('a failed sync drops the dirty data, and the next sync does not bring it back', async () => {
  const found = await afterCrashes(async (disk) => {
    const file = await durableFile(disk, filled(1, 512))
    await file.write(filled(2, 512), 0, false)
    disk.inject({ operation: 'sync', code: 'EIO' })
    await assert.rejects(file.sync(), (error) => error instanceof DiskError && error.code === 'EIO')
    await file.sync()
  })
  assert.ok(found.some((bytes) => bytes?.[0] === 1))
})

test('faults hit the chosen operation and path, after and as often as told', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'] })
  const file = await durableFile(disk, filled(1, 512))
  disk.inject({ operation: 'write', code: 'EIO', path: '/d/f', after: 1, count: 2 })
  await file.write(filled(2, 512), 0, true)
  await assert.rejects(file.write(filled(2, 512), 0, true), { code: 'EIO' })
  await assert.rejects(file.write(filled(2, 512), 0, true), { code: 'EIO' })
  await file.write(filled(2, 512), 0, true)
})

test('a direct file refuses positions and lengths off the block', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'] })
  const file = await disk.open('/d/f', { mode: 'create', direct: true })
  await assert.rejects(file.write(filled(1, 512), 0, true), { code: 'EINVAL' })
  await assert.rejects(file.write(filled(1, 4096), 512, true), { code: 'EINVAL' })
  await assert.rejects(file.read(new Uint8Array(8192).subarray(1, 4097), 0), { code: 'EINVAL' })
  await file.write(filled(1, 4096), 4096, true)
})

test('memory changed during a write is an error, not a silent difference', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'] })
  const file = await durableFile(disk, filled(1, 512))
  const bytes = filled(2, 512)
  const written = file.write(bytes, 0, true)
  bytes[7] = 9
  await assert.rejects(written, /memory changed/)
})

test('the Nth operation cuts the power and is never answered', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'], crashAtOperation: 4 })
  const file = await durableFile(disk, filled(1, 512))
  let answered = false
  file.write(filled(2, 512), 0, true).then(
    () => (answered = true),
    () => (answered = true),
  )
  await disk.whenCrashed
  for (let turn = 0; turn < 50; turn += 1) await undefined
  assert.equal(answered, false)
  assert.ok([1, 2].includes(disk.restart().peek('/d/f')![0]!))
})

test('completions come in an order chosen by the seed', async () => {
  const orderOf = async (seed: number): Promise<string> => {
    const disk = new SimulatedDisk({ seed, directories: ['/d'], delivery: 'manual' })
    const opened = disk.open('/d/f', { mode: 'create', direct: false })
    disk.pump()
    const file = await opened
    const order: number[] = []
    for (let at = 0; at < 6; at += 1) void file.write(filled(at, 512), at * 512, true).then(() => order.push(at))
    await disk.settle()
    return order.join(' ')
  }
  const orders = new Set<string>()
  for (let seed = 1; seed <= 20; seed += 1) {
    const order = await orderOf(seed)
    assert.equal(order, await orderOf(seed))
    orders.add(order)
  }
  assert.ok(orders.size > 10)
})

test('the same seed leaves the same bytes after a crash', async () => {
  const run = async (): Promise<Uint8Array | undefined> => {
    const disk = new SimulatedDisk({ seed: 77, directories: ['/d'] })
    const file = await durableFile(disk, filled(1, 65536))
    for (let at = 0; at < 16; at += 1) void file.write(filled(at + 2, 4096), at * 4096, at % 3 === 0)
    for (let turn = 0; turn < 3; turn += 1) await undefined
    disk.crash()
    return disk.restart().peek('/d/f')
  }
  assert.deepEqual(await run(), await run())
})

test('a directory lock is exclusive until it is released or the machine restarts', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'] })
  const lock = await disk.lock('/d')
  assert.equal(await disk.lock('/d'), undefined)
  await lock!.release()
  assert.notEqual(await disk.lock('/d'), undefined)
  disk.crash()
  assert.notEqual(await disk.restart().lock('/d'), undefined)
})

test('a flipped bit is what the next read returns', async () => {
  const disk = new SimulatedDisk({ seed: 1, directories: ['/d'] })
  const file = await durableFile(disk, filled(1, 1024))
  disk.flipBit('/d/f', 600, 1)
  const bytes = new Uint8Array(1024)
  assert.equal(await file.read(bytes, 0), 1024)
  assert.equal(bytes[600], 3)
  assert.equal(bytes[599], 1)
})

test('bits rot where something was written, and stay so', async () => {
  const disk = new SimulatedDisk({ seed: 4, directories: ['/d'] })
  const file = await durableFile(disk, filled(1, 8192))
  await file.allocate(0, 1 << 20, 'extend')
  const other = await disk.open('/d/other', { mode: 'create', direct: false })
  await other.write(filled(1, 8192), 0, true)
  const hits = disk.rot(3, (path) => path === '/d/f')
  assert.equal(hits.length, 3)
  const expected = filled(1, 8192)
  for (const { path, position, bit } of hits) {
    assert.equal(path, '/d/f')
    expected[position]! ^= 1 << bit
  }
  assert.deepEqual(disk.peek('/d/f')!.subarray(0, 8192), expected)
  assert.deepEqual(disk.peek('/d/other'), filled(1, 8192))
  disk.crash()
  assert.deepEqual(disk.restart().peek('/d/f')!.subarray(0, 8192), expected)
  assert.deepEqual(
    disk.rot(3, () => false),
    [],
  )
})

test('a replaced disk is empty, of the same kind, and answers nothing of the old one', async () => {
  const disk = new SimulatedDisk({ seed: 4, directories: ['/d'], capacityBytes: 1 << 20 })
  await durableFile(disk, filled(1, 8192))
  let answered = false
  void disk.list('/d').then(() => {
    answered = true
  })
  const fresh = disk.replaced()
  assert.deepEqual(fresh.paths(), [])
  assert.equal((await fresh.stat('/d'))?.isDirectory, true)
  assert.equal((await fresh.freeSpace('/d')).freeBytes, 1 << 20)
  assert.ok(disk.crashed && !answered)
})
