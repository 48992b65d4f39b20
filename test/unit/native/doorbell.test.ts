// Doorbells and mail words between real threads: nothing is lost, nothing is kept alive, microtasks run.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setImmediate as turnOfLoop } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { BELLS_MAX, loadNative } from '../../../native/index.ts'
import {
  MAIN_PENDING,
  MAIN_SLEEPING,
  type MailPlan,
  pendingOf,
  post,
  sleepingOf,
  toMain,
  toWorker,
} from './mail-worker.ts'

const native = loadNative()
const skip = native === undefined && 'the addon is not built'
const timeout = 60_000
const MAIN = 100

function startWorker(index: number, role: MailPlan['role'], words: Int32Array, count: number): Worker {
  const workerData: MailPlan = { role, words, own: MAIN + 1 + index, main: MAIN, count }
  return new Worker(new URL('./mail-worker.ts', import.meta.url), { workerData })
}

test('10,000 round trips between two sleeping threads lose no wake-up', { skip, timeout }, async () => {
  const count = 10_000
  const words = new Int32Array(new SharedArrayBuffer(64))
  const worker = startWorker(0, 'echo', words, count)
  await once(worker, 'message')
  let value = 0
  let rings = 0
  const bell = native!.doorbell(MAIN, () => {})
  const done = Promise.withResolvers<void>()
  const send = () => {
    Atomics.store(words, toWorker(0), ++value)
    if (post(native!, words, pendingOf(0), sleepingOf(0), 1, MAIN + 1)) rings++
  }
  const turn = native!.onLoopTurn({
    words,
    pendingIndex: MAIN_PENDING,
    sleepingIndex: MAIN_SLEEPING,
    onMail() {
      assert.equal(Atomics.load(words, toMain(0)), value)
      if (value === count) done.resolve()
      else send()
    },
  })
  send()
  await Promise.all([done.promise, once(worker, 'exit')])
  bell.close()
  turn.close()
  assert.ok(rings > 0, 'the other side did sleep at times')
})

test('mail of two threads at once arrives whole, bit by bit', { skip, timeout }, async () => {
  const count = 50_000
  const words = new Int32Array(new SharedArrayBuffer(64))
  const bell = native!.doorbell(MAIN, () => {})
  const done = Promise.withResolvers<void>()
  let bits = 0
  const turn = native!.onLoopTurn({
    words,
    pendingIndex: MAIN_PENDING,
    sleepingIndex: MAIN_SLEEPING,
    onMail(pending) {
      bits |= pending
      if (words[toMain(0)]! + words[toMain(1)]! === 2 * count) done.resolve()
    },
  })
  const workers = [0, 1].map((index) => startWorker(index, 'flood', words, count))
  await Promise.all([done.promise, ...workers.map((worker) => once(worker, 'exit'))])
  assert.equal(bits, 3)
  bell.close()
  turn.close()
})

test('rings that come before the callback count once, and the callback runs microtasks', {
  skip,
  timeout,
}, async () => {
  const events: string[] = []
  const rung = Promise.withResolvers<void>()
  const bell = native!.doorbell(7, () => {
    events.push('ring')
    process.nextTick(() => events.push('tick'))
    queueMicrotask(() => events.push('microtask'))
    setImmediate(rung.resolve)
  })
  for (let i = 0; i < 100; i++) assert.equal(native!.ring(7), true)
  await rung.promise
  assert.deepEqual(events, ['ring', 'tick', 'microtask'])
  bell.close()
  bell.close()
})

test('an id has one holder at a time, and nobody answers for a free one', { skip, timeout }, async () => {
  assert.equal(native!.ring(8), false)
  const bell = native!.doorbell(8, () => {})
  assert.throws(() => native!.doorbell(8, () => {}), { code: 'EEXIST', operation: 'open doorbell', path: '8' })
  bell.close()
  assert.equal(native!.ring(8), false)
  native!.doorbell(8, () => {}).close()
  for (const id of [-1, BELLS_MAX]) {
    assert.throws(() => native!.doorbell(id, () => {}), { code: 'EINVAL' })
    assert.equal(native!.ring(id), false)
  }
})

test('a thread that ends gives its doorbell back', { skip, timeout }, async () => {
  const words = new Int32Array(new SharedArrayBuffer(64))
  for (let i = 0; i < 5; i++) {
    const worker = startWorker(0, 'echo', words, 1_000_000)
    await once(worker, 'message')
    assert.equal(native!.ring(MAIN + 1), true)
    await worker.terminate()
    assert.equal(native!.ring(MAIN + 1), false)
  }
})

test('mail that this thread leaves itself is read in the same turn, and only then', { skip, timeout }, async () => {
  const words = new Int32Array(2)
  const seen: number[] = []
  const turn = native!.onLoopTurn({ words, pendingIndex: 1, onMail: (pending) => seen.push(pending) })
  await turnOfLoop()
  assert.deepEqual(seen, [])
  words[1] = 5
  await turnOfLoop()
  await turnOfLoop()
  assert.deepEqual(seen, [5])
  assert.equal(words[1], 0)
  turn.close()
  words[1] = 6
  await turnOfLoop()
  await turnOfLoop()
  assert.deepEqual(seen, [5])
})

test('a watch may be closed by its own callback, and another one opened', { skip, timeout }, async () => {
  const words = new Int32Array([1, 1])
  const seen: string[] = []
  const first = native!.onLoopTurn({
    words,
    pendingIndex: 0,
    onMail() {
      seen.push('first')
      first.close()
      const second = native!.onLoopTurn({
        words,
        pendingIndex: 1,
        onMail() {
          seen.push('second')
          second.close()
        },
      })
    },
  })
  for (let i = 0; i < 4; i++) await turnOfLoop()
  assert.deepEqual(seen, ['first', 'second'])
})

test('indexes outside the shared words are refused', { skip }, () => {
  const words = new Int32Array(4)
  for (const [pendingIndex, sleepingIndex] of [
    [4, 0],
    [-1, 0],
    [0, 4],
  ] as const) {
    assert.throws(() => native!.onLoopTurn({ words, pendingIndex, sleepingIndex, onMail() {} }), TypeError)
  }
})

test('a callback that throws is an uncaught exception of its thread, not a crash', { skip, timeout }, async () => {
  const index = new URL('../../../native/index.ts', import.meta.url).href
  const worker = new Worker(
    `import(${JSON.stringify(index)}).then(({ loadNative }) => {
      loadNative().doorbell(9, () => { throw new Error('from the bell') })
      loadNative().ring(9)
      setInterval(() => {}, 1000)
    })`,
    { eval: true },
  )
  const [error] = await once(worker, 'error')
  assert.equal((error as Error).message, 'from the bell')
})
