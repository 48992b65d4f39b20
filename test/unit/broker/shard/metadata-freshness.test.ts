// A shard that stood still answers from metadata that are as new as the controller's, or says after a moment what it has.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type IndexAnswer, MetadataFreshness } from '../../../../broker/shard/metadata-freshness.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { settle } from '../../storage/harness.ts'
import { ManualClock } from '../cluster/fixture.ts'

class Bench {
  readonly clock = new ManualClock()
  readonly asked: ((answer: IndexAnswer) => void)[] = []
  appliedIndex = 5
  readonly freshness = new MetadataFreshness({
    clock: this.clock,
    ask: () => new Promise((resolve) => void this.asked.push(resolve)),
    appliedIndex: () => this.appliedIndex,
  })
  done = 0

  constructor(isStarted = true) {
    if (isStarted) this.freshness.start()
  }

  /** @returns whether it waits */
  question(): boolean {
    const waits = this.freshness.whenFresh()
    void waits?.then(() => this.done++)
    return waits !== undefined
  }

  async answer(metadataIndex: number | undefined): Promise<void> {
    const error = metadataIndex === undefined ? ErrorCode.NOT_CONTROLLER : ErrorCode.NONE
    this.asked.shift()!({ error, ...(metadataIndex === undefined ? {} : { metadataIndex }) })
    await settle(1)
  }

  apply(index: number): void {
    this.appliedIndex = index
    this.freshness.applied()
  }
}

test('a shard that runs asks nobody, also when its timers come a little late', () => {
  const bench = new Bench()
  for (const ms of [200, 200, 450, 200, 499]) {
    bench.clock.advance(ms)
    assert.equal(bench.question(), false)
  }
  assert.equal(bench.asked.length, 0)
})

test('the first question after a stall waits for what the controller has, and so do the others', async () => {
  const stalled = new Bench()
  // Sockets are read before the timer runs.
  Object.assign(stalled.clock, { monotonicMs: () => 700 })
  assert.equal(stalled.question(), true)
  assert.equal(stalled.question(), true)
  assert.equal(stalled.asked.length, 1)
  await stalled.answer(7)
  stalled.apply(6)
  await settle(1)
  assert.equal(stalled.done, 0)
  stalled.apply(7)
  await settle(1)
  assert.equal(stalled.done, 2)
  assert.equal(stalled.question(), false)
})

test('a stall is seen without a question, too, and nothing has to be new', async () => {
  const bench = new Bench()
  bench.clock.advance(800)
  assert.equal(bench.asked.length, 1)
  await bench.answer(5)
  assert.equal(bench.question(), false)
})

test('without a controller the question is asked again, and a client waits for a second at most', async () => {
  const bench = new Bench()
  bench.clock.advance(800)
  assert.equal(bench.question(), true)
  await bench.answer(undefined)
  assert.equal(bench.asked.length, 0)
  bench.clock.advance(50)
  await settle(1)
  assert.equal(bench.asked.length, 1)
  for (let times = 0; times < 5; times++) bench.clock.advance(190)
  await settle(1)
  assert.deepEqual([bench.done, bench.freshness.isInDoubt], [1, true])
  await bench.answer(5)
  assert.equal(bench.freshness.isInDoubt, false)
})

test('an answer to an older question says nothing of what came later', async () => {
  const bench = new Bench()
  bench.freshness.doubt()
  bench.freshness.doubt()
  assert.equal(bench.asked.length, 2)
  await bench.answer(5)
  assert.equal(bench.freshness.isInDoubt, true)
  await bench.answer(6)
  assert.equal(bench.freshness.isInDoubt, true)
  bench.apply(6)
  assert.equal(bench.freshness.isInDoubt, false)
})

test('a shard that does not watch itself has no doubts', () => {
  const bench = new Bench(false)
  bench.clock.advance(5000)
  assert.deepEqual([bench.question(), bench.asked.length, bench.clock.timerCount], [false, 0, 0])
})

test('nobody waits for a shard that stops', async () => {
  const bench = new Bench()
  bench.clock.advance(800)
  bench.question()
  bench.freshness.close()
  await settle(1)
  assert.equal(bench.done, 1)
})
