// Fetches that wait: for as long as they may, and no longer than their connection.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fetch } from '../../../../broker/handlers/fetch.ts'
import { records } from '../partition/fixture.ts'
import { DataBench } from './data-fixture.ts'

async function leading(): Promise<{ made: DataBench; write(): void }> {
  const made = new DataBench()
  const [t] = await made.topic('t', [[1, 2, 3]])
  t!.replica.leads(1)
  made.announce('t', 0, 1, 1)
  const write = (): void => {
    t!.append(0, records(1))
    t!.replica.commit()
  }
  return { made, write }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a fetch that waits ends with its connection, and leaves neither a timer nor a watch', async () => {
  const { made, write } = await leading()
  const waiting = made.send(fetch, 12, made.fetchOf('t', 0, { maxWaitMs: 0x7fff_ffff }))
  await turn()
  assert.deepEqual([made.waiters.size, made.clock.timerCount], [1, 1])
  for (const waiter of made.waiters) waiter.connectionEnded()
  await waiting
  assert.deepEqual([made.waiters.size, made.clock.timerCount], [0, 0])
  write()
})

test('a fetch that is answered waits for the end of its connection no longer', async () => {
  const { made, write } = await leading()
  const waiting = made.send(fetch, 12, made.fetchOf('t', 0, { maxWaitMs: 1000 }))
  await turn()
  write()
  assert.ok((await waiting).responses![0]!.partitions[0]!.records!.length > 0)
  assert.deepEqual([made.waiters.size, made.clock.timerCount], [0, 0])
  const late = made.send(fetch, 12, made.fetchOf('t', 0, { maxWaitMs: 1000, offset: 1 }))
  await turn()
  assert.equal(made.waiters.size, 1)
  made.clock.advance(1000)
  await late
  assert.deepEqual([made.waiters.size, made.clock.timerCount], [0, 0])
})

test('a fetch whose connection ends before it waits is over at once', async () => {
  const { made } = await leading()
  made.shard.beginWait = (_id, waiter) => waiter.connectionEnded()
  await made.send(fetch, 12, made.fetchOf('t', 0, { maxWaitMs: 0x7fff_ffff }))
  assert.equal(made.clock.timerCount, 0)
})
