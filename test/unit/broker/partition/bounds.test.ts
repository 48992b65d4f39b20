// What waits at a partition is bounded, and whoever is refused for that may try again.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode, isRetriable } from '../../../../protocol/errors.ts'
import { bench, records, settle } from './fixture.ts'

/** What a waiting batch counts beside its bytes. */
const OVERHEAD_BYTES = 256

test('batches that wait for room may hold so many bytes; the next one is told to try again', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.room = false
  const bytes = records(1).length + OVERHEAD_BYTES
  made.queueBytesLeft = 3 * bytes
  for (let slot = 0; slot < 4; slot++) made.append(slot)
  assert.deepEqual(made.answers.text, ['3 REQUEST_TIMED_OUT -1'])
  assert.ok(isRetriable(ErrorCode.REQUEST_TIMED_OUT))
  assert.match(made.answers.results[0]!.result.message ?? '', /wait/)
  made.room = true
  await settle()
  made.replica.commit()
  assert.deepEqual(made.answers.text.slice(1), ['0 NONE 0', '1 NONE 1', '2 NONE 2'])
  assert.equal(made.queueBytesLeft, 3 * bytes, 'all of it is given back')
})

test('records of the broker itself are refused like those of clients when too much waits', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.room = false
  made.queueBytesLeft = 0
  made.partition.appendInternal(records(1), made.answers, 5)
  assert.deepEqual(made.answers.text, ['5 REQUEST_TIMED_OUT -1'])
})

test('records of the broker itself that no journal could take are refused, and hold up nobody', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.partition.appendInternal(new Uint8Array((1 << 20) + 1), made.answers, 5)
  assert.deepEqual(made.answers.text, ['5 MESSAGE_TOO_LARGE -1'])
  made.append(6)
  made.replica.commit()
  assert.deepEqual(made.answers.text.slice(1), ['6 NONE 0'])
})

test('whoever waits for room when leadership is lost gives back what it held', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.room = false
  const before = made.queueBytesLeft
  for (let slot = 0; slot < 3; slot++) made.append(slot)
  made.replica.follows(2, 2)
  assert.equal(made.answers.results.length, 3)
  assert.equal(made.queueBytesLeft, before)
  made.room = true
  await settle()
  assert.equal(made.queueBytesLeft, before)
})

test('a batch out of the queue whose proposal costs the leadership is answered once, like those behind it', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.room = false
  const before = made.queueBytesLeft
  for (let slot = 0; slot < 3; slot++) made.append(slot)
  made.replica.proposeBatch = () => made.replica.follows(2, 2)
  made.room = true
  await settle()
  assert.deepEqual(
    made.answers.results.map(({ slot }) => slot),
    [0, 1, 2],
  )
  assert.equal(made.queueBytesLeft, before)
})

test('so many deletions of records wait for their commit; the next one is told to try again', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.append(0, records(10))
  made.replica.commit()
  const outcomes: string[] = []
  const ask = (offset: number): void => {
    void made.partition.deleteRecords(offset).then(({ error }) => outcomes.push(String(error)))
  }
  for (let count = 0; count < 1000; count++) ask(5)
  await settle()
  assert.deepEqual(outcomes, [])
  ask(5)
  await settle()
  assert.deepEqual(outcomes, [String(ErrorCode.REQUEST_TIMED_OUT)])
  made.replica.commit()
  await settle()
  assert.deepEqual(outcomes.slice(1), Array(1000).fill(String(ErrorCode.NONE)))
  ask(6)
  made.replica.commit()
  await settle()
  assert.equal(outcomes.at(-1), String(ErrorCode.NONE))
})
