import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DiskError } from '../../../storage/disk.ts'
import { isOutOfSpace, Space } from '../../../storage/space.ts'
import { ManualTimers, settle } from './harness.ts'

const never = (): boolean => false

class Bench {
  readonly timers = new ManualTimers()
  readonly changes: boolean[] = []
  readonly lines: string[] = []
  attempts = 0
  code: string | undefined = 'ENOSPC'
  readonly space: Space

  constructor(waits = true) {
    this.space = new Space({
      directory: '/data',
      waits,
      after: this.timers.after,
      log: (level, line) => void this.lines.push(`${level}: ${line}`),
      onChange: () => void this.changes.push(this.space.isFull),
    })
  }

  readonly work = async (): Promise<number> => {
    this.attempts += 1
    if (this.code !== undefined) throw new DiskError(this.code, 'allocate', '/data/file')
    return this.attempts
  }
}

test('work that finds no space is done again every half second, however often, and says once that it waits', async () => {
  const bench = new Bench()
  const first = bench.space.retry(bench.work, never)
  const second = bench.space.retry(bench.work, never)
  await settle(3)
  assert.equal(bench.attempts, 2)
  for (let turn = 0; turn < 20; turn++) {
    bench.timers.advance(100)
    await settle(2)
  }
  assert.equal(bench.attempts, 2 + 2 * 4)
  assert.deepEqual(bench.changes, [true])
  bench.code = undefined
  bench.timers.advance(500)
  assert.deepEqual(await Promise.all([first, second]), [11, 12])
  assert.deepEqual(bench.changes, [true, false])
  assert.equal(bench.lines.length, 2)
  assert.match(bench.lines[0]!, /warn: \/data: no space on the disk \(allocate \/data\/file: ENOSPC\)/)
})

test('another error ends the waiting', async () => {
  const bench = new Bench()
  const done = bench.space.retry(bench.work, never)
  await settle(2)
  bench.code = 'EIO'
  bench.timers.advance(500)
  await assert.rejects(done, { code: 'EIO' })
  assert.equal(bench.space.isFull, false)
})

test('work that nobody wants any more ends as soon as somebody says so', async () => {
  const bench = new Bench()
  let isOver = false
  const done = bench.space.retry(bench.work, () => isOver)
  await settle(2)
  isOver = true
  bench.space.wake()
  await assert.rejects(done, { code: 'ENOSPC' })
  assert.equal(bench.attempts, 1)
})

test('nothing waits once it is closed, and nothing ever does where nobody listens', async () => {
  const bench = new Bench()
  const done = bench.space.retry(bench.work, never)
  await settle(2)
  bench.space.close()
  await assert.rejects(done, { code: 'ENOSPC' })
  await assert.rejects(bench.space.retry(bench.work, never), { code: 'ENOSPC' })
  await assert.rejects(new Bench(false).space.retry(bench.work, never), { code: 'ENOSPC' })
})

test('what must not hang on a full disk goes on when it fills up, and waits for its work otherwise', async () => {
  const bench = new Bench()
  const { promise: work, resolve } = Promise.withResolvers<void>()
  let gone = false
  const passed = bench.space.unlessFull(work).then(() => {
    gone = true
  })
  await settle(2)
  assert.equal(gone, false)
  const waiting = bench.space.retry(bench.work, never)
  await passed
  resolve()
  bench.code = undefined
  bench.timers.advance(500)
  await waiting
  await bench.space.unlessFull(work)
})

test('what a sync or a close says is never taken for a lack of space', () => {
  for (const operation of ['sync', 'syncDirectory', 'sync directory', 'close']) {
    assert.equal(isOutOfSpace(new DiskError('ENOSPC', operation, '/data')), false, operation)
  }
  assert.equal(isOutOfSpace(new DiskError('EDQUOT', 'write', '/data')), true)
  assert.equal(isOutOfSpace(new DiskError('EIO', 'write', '/data')), false)
  assert.equal(isOutOfSpace(new Error('ENOSPC')), false)
})
