// When a shard stops taking records for want of disk space, and when it goes on.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Environment } from '../../../../broker/environment.ts'
import { DiskSpace } from '../../../../broker/shard/disk-space.ts'
import { ManualClock } from '../cluster/fixture.ts'

const MIB = 1 << 20
/** Of a disk of 1 GiB: a twentieth. */
const LOW = 1024 * MIB * 0.05

class Bench {
  readonly clock = new ManualClock()
  readonly lines: string[] = []
  freeBytes = 500 * MIB
  totalBytes = 1024 * MIB
  pendingBytes = 0
  looks = 0
  hasFailed = false
  readonly space: DiskSpace

  constructor() {
    const freeSpace = async (path: string) => {
      assert.equal(path, '/data')
      this.looks++
      if (this.hasFailed) throw new Error('no such directory')
      return { freeBytes: this.freeBytes, totalBytes: this.totalBytes }
    }
    const say = (level: string) => (line: string) => void this.lines.push(`${level} ${line}`)
    const logger = { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug') }
    const environment = { clock: this.clock, logger, disk: { freeSpace } } as unknown as Environment
    this.space = new DiskSpace(environment, '/data', () => this.pendingBytes)
  }

  /** The next look at the disk. */
  async look(): Promise<void> {
    this.clock.advance(2000)
    await turn()
  }
}

async function turn(): Promise<void> {
  for (let left = 0; left < 20; left++) await Promise.resolve()
}

async function started(freeBytes: number): Promise<Bench> {
  const bench = new Bench()
  bench.freeBytes = freeBytes
  await bench.space.start()
  return bench
}

test('a disk with a twentieth left is short, and is taken for sound again only with a tenth', async () => {
  const bench = await started(LOW)
  assert.equal(bench.space.isShort, false)
  bench.freeBytes = LOW - 1
  await bench.look()
  assert.equal(bench.space.isShort, true)
  bench.freeBytes = 2 * LOW - 1
  await bench.look()
  assert.equal(bench.space.isShort, true)
  bench.freeBytes = 2 * LOW
  await bench.look()
  assert.equal(bench.space.isShort, false)
})

test('of a large disk 256 MiB are enough', async () => {
  const bench = new Bench()
  bench.totalBytes = 1e13
  bench.freeBytes = 256 * MIB
  await bench.space.start()
  assert.equal(bench.space.isShort, false)
  bench.freeBytes -= 1
  await bench.look()
  assert.equal(bench.space.isShort, true)
})

test('what has no place in a segment yet counts as written', async () => {
  const bench = await started(LOW + 10)
  bench.pendingBytes = 11
  await bench.look()
  assert.equal(bench.space.isShort, true)
})

test('whoever appends more than is left stops at once, before the disk is asked', async () => {
  const bench = await started(LOW + 100)
  bench.space.spend(100)
  assert.equal(bench.space.isShort, false)
  assert.equal(bench.looks, 1)
  bench.space.spend(1)
  assert.equal(bench.space.isShort, true)
  bench.space.spend(1000)
  // The time for the next look comes before the answer to this one.
  bench.clock.advance(2000)
  await turn()
  assert.equal(bench.looks, 2, 'asked once')
  // There was more than thought: somebody has deleted something.
  assert.equal(bench.space.isShort, true)
  bench.freeBytes = 500 * MIB
  await bench.look()
  assert.equal(bench.space.isShort, false)
})

test('an operator is told once when it begins and once when it is over', async () => {
  const bench = await started(LOW - 1)
  await bench.look()
  await bench.look()
  assert.deepEqual(
    bench.lines.map((line) => line.split(' ')[0]),
    ['error'],
  )
  assert.match(bench.lines[0]!, /\/data has 51 MiB left/)
  bench.freeBytes = 500 * MIB
  await bench.look()
  await bench.look()
  assert.deepEqual(
    bench.lines.map((line) => line.split(' ')[0]),
    ['error', 'warn'],
  )
})

test('a file system that cannot be asked stops nobody', async () => {
  const bench = await started(LOW - 1)
  bench.hasFailed = true
  await bench.look()
  assert.equal(bench.space.isShort, false)
  bench.space.spend(1e15)
  assert.equal(bench.space.isShort, false)
  bench.hasFailed = false
  await bench.look()
  assert.equal(bench.space.isShort, true)
})

test('what storage found full is short at once, whatever the file system says, until storage has got over it', async () => {
  const bench = await started(500 * MIB)
  bench.space.full(true)
  assert.equal(bench.space.isShort, true)
  await bench.look()
  assert.equal(bench.space.isShort, true, 'a quota does not show in the free space')
  bench.space.full(false)
  await turn()
  assert.equal(bench.space.isShort, false)
  assert.deepEqual(
    bench.lines.map((line) => line.replace(/.*the disk/, '')),
    [' of /data is full: producing is refused until there is more', ' of /data has room again: producing goes on'],
  )
})

test('a disk that was full has to have as much room again as one that was short', async () => {
  const bench = await started(500 * MIB)
  bench.space.full(true)
  bench.freeBytes = 2 * LOW - 1
  bench.space.full(false)
  await turn()
  assert.equal(bench.space.isShort, true)
  bench.freeBytes = 2 * LOW
  await bench.look()
  assert.equal(bench.space.isShort, false)
})

test('a disk that hangs is short, however much room it has, and an operator hears of both ends', async () => {
  const bench = await started(500 * MIB)
  bench.space.hangs(false)
  bench.space.hangs(true)
  bench.space.hangs(true)
  assert.deepEqual([bench.space.isShort, bench.space.isHung], [true, true])
  await bench.look()
  assert.equal(bench.space.isShort, true)
  bench.space.hangs(false)
  assert.deepEqual([bench.space.isShort, bench.space.isHung], [false, false])
  assert.deepEqual(
    bench.lines.map((line) => line.split(' ')[0]),
    ['error', 'warn'],
  )
  assert.match(bench.lines[0]!, /\/data has not answered a write for two seconds: producing is refused/)
  assert.match(bench.lines[1]!, /\/data answers again: producing goes on$/)
})

test('a disk that is full when it answers again stays short, and is told apart', async () => {
  const bench = await started(500 * MIB)
  bench.space.hangs(true)
  bench.space.full(true)
  bench.space.hangs(false)
  assert.deepEqual([bench.space.isShort, bench.space.isHung], [true, false])
  assert.match(bench.lines.at(-1)!, /answers again$/)
  bench.space.full(false)
  await turn()
  assert.equal(bench.space.isShort, false)
  assert.match(bench.lines.at(-1)!, /has room again: producing goes on$/)
  assert.equal(bench.lines.length, 4)
})
