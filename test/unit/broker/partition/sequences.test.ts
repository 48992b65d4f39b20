// Batches of idempotent producers at a leader: duplicates, gaps, several in flight; and who may be told so by a leader that is not sure.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import { type Bench, bench, offsetsOf, records } from './fixture.ts'

/** What is asynchronous has come so far. */
async function until(isSo: () => boolean): Promise<void> {
  for (let turns = 0; !isSo(); turns++) {
    assert.ok(turns < 1_000_000, 'it does not come')
    await new Promise<void>((wake) => setImmediate(wake))
  }
}

async function leading(overrides: Record<string, string> = {}): Promise<Bench> {
  const made = await bench(overrides)
  made.replica.leads(1)
  return made
}

/** One record of producer 7 in that epoch. */
function inEpoch(producerEpoch: number, baseSequence: number): Uint8Array {
  return encodeBatch({ records: [{ value: 'v', timestamp: 1000 }], producerId: 7, producerEpoch, baseSequence })
}

test('a duplicate of a batch in flight is answered with it, at the same offset', async () => {
  const { replica, append, answers, log } = await leading()
  append(0, records(3, 0))
  append(1, records(3, 0))
  assert.deepEqual(answers.text, [])
  assert.equal(log.logEndOffset, 3)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0', '1 NONE 0'])
})

test('a duplicate of a committed batch is answered at once, behind batches in flight with them', async () => {
  const { replica, append, answers, log } = await leading()
  append(0, records(2, 0))
  replica.commit()
  append(1, records(2, 0))
  append(2, records(1, 2))
  // The first batch is committed, but answers of one partition keep their order.
  append(3, records(2, 0))
  assert.deepEqual(answers.text, ['0 NONE 0', '1 NONE 0'])
  replica.commit()
  assert.deepEqual(answers.text.slice(2), ['2 NONE 2', '3 NONE 0'])
  assert.equal(log.logEndOffset, 3)
})

test('a duplicate waits for its own commit only, and hears of a lost leadership like the batch itself', async () => {
  const { replica, append, answers } = await leading()
  append(0, records(1, 0))
  append(1, records(1, 0))
  replica.follows(2, 2)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1', '1 NOT_LEADER_OR_FOLLOWER -1'])
})

test('a gap and a part of an earlier batch are out of order, and nothing of them is written', async () => {
  const { replica, append, answers, log } = await leading()
  append(0, records(3, 0))
  append(1, records(1, 4))
  append(2, records(2, 0))
  append(3, records(4, 0))
  append(4, records(1, 3))
  assert.equal(log.logEndOffset, 4)
  replica.commit()
  assert.deepEqual(answers.text, [
    '1 OUT_OF_ORDER_SEQUENCE_NUMBER -1',
    '2 OUT_OF_ORDER_SEQUENCE_NUMBER -1',
    '3 OUT_OF_ORDER_SEQUENCE_NUMBER -1',
    '0 NONE 0',
    '4 NONE 3',
  ])
  assert.match(String(answers.results[0]!.result.message), /sequence/)
})

test('a producer not known here may begin anywhere, and goes on from there', async () => {
  const { replica, append, answers } = await leading()
  append(0, records(1, 40))
  append(1, records(1, 0))
  append(2, records(1, 41))
  replica.commit()
  assert.deepEqual(answers.text, ['1 OUT_OF_ORDER_SEQUENCE_NUMBER -1', '0 NONE 0', '2 NONE 1'])
})

test('of several batches in flight none is written behind one that was refused, and all are when they come again', async () => {
  const { replica, append, answers, log, read } = await leading({ 'min.insync.replicas': '2' })
  append(0, records(1, 0))
  replica.commit()
  replica.inSyncIs(1)
  append(1, records(1, 1))
  replica.inSyncIs(1, 2, 3)
  for (const sequence of [2, 3, 4, 5]) append(sequence, records(1, sequence))
  assert.equal(log.logEndOffset, 1)
  assert.deepEqual(answers.text.slice(1), [
    '1 NOT_ENOUGH_REPLICAS -1',
    ...[2, 3, 4, 5].map((slot) => `${slot} OUT_OF_ORDER_SEQUENCE_NUMBER -1`),
  ])
  for (const sequence of [1, 2, 3, 4, 5]) append(10 + sequence, records(1, sequence))
  replica.commit()
  assert.deepEqual(
    answers.text.slice(6),
    [1, 2, 3, 4, 5].map((sequence) => `${10 + sequence} NONE ${sequence}`),
  )
  assert.equal(offsetsOf(read()), 6)
})

test('a batch that is refused for what is in it takes those behind it along, also when its check takes a while', async () => {
  const { replica, append, answers, log } = await leading({ 'compression.type': 'gzip' })
  append(0, records(1, 0))
  await until(() => log.logEndOffset === 1)
  const broken = records(1, 1)
  broken[broken.length - 1]! ^= 1
  append(1, broken)
  append(2, records(1, 2))
  await until(() => answers.results.length === 2)
  assert.deepEqual(answers.text, ['1 CORRUPT_MESSAGE -1', '2 OUT_OF_ORDER_SEQUENCE_NUMBER -1'])
  append(3, records(1, 1))
  append(4, records(1, 2))
  await until(() => log.logEndOffset === 3)
  replica.commit()
  assert.deepEqual(answers.text.slice(2), ['0 NONE 0', '3 NONE 1', '4 NONE 2'])
})

test('batches that wait for room keep their order, and a duplicate among them is no second copy', async () => {
  const made = await leading()
  const { replica, append, answers, log } = made
  made.room = false
  append(0, records(1, 0))
  append(1, records(1, 1))
  append(2, records(1, 0))
  append(3, records(1, 3))
  assert.equal(log.logEndOffset, 0)
  made.room = true
  await until(() => answers.results.length === 1)
  assert.equal(log.logEndOffset, 2)
  replica.commit()
  assert.deepEqual(answers.text, ['3 OUT_OF_ORDER_SEQUENCE_NUMBER -1', '0 NONE 0', '1 NONE 1', '2 NONE 0'])
})

test('an older epoch of a producer is fenced, a newer one begins at 0', async () => {
  const { replica, append, answers } = await leading()
  append(0, inEpoch(1, 0))
  append(1, inEpoch(0, 1))
  append(2, inEpoch(2, 1))
  append(3, inEpoch(2, 0))
  append(4, inEpoch(1, 1))
  replica.commit()
  assert.deepEqual(answers.text, [
    '1 INVALID_PRODUCER_EPOCH -1',
    '2 OUT_OF_ORDER_SEQUENCE_NUMBER -1',
    '4 INVALID_PRODUCER_EPOCH -1',
    '0 NONE 0',
    '3 NONE 1',
  ])
})

// A leader that may have been replaced without knowing it

test('a leader that is not sure refuses a sequence only after a majority has said that it still leads', async () => {
  const { replica, append, answers } = await leading()
  append(0, records(1, 0))
  replica.commit()
  replica.hasLease = false
  append(1, records(1, 5))
  append(2, inEpoch(0, 1))
  assert.deepEqual(answers.text, ['0 NONE 0'])
  await until(() => answers.results.length === 2)
  assert.deepEqual(answers.text[1], '1 OUT_OF_ORDER_SEQUENCE_NUMBER -1')
  replica.commit()
  assert.deepEqual(answers.text[2], '2 NONE 1')
})

test('a leader that a majority does not confirm holds nothing against a producer: another one may know more', async () => {
  const { replica, append, answers } = await leading()
  append(0, inEpoch(1, 0))
  replica.commit()
  replica.hasLease = false
  replica.confirms = false
  append(1, inEpoch(1, 5))
  append(2, inEpoch(0, 1))
  await until(() => answers.results.length === 3)
  assert.deepEqual(answers.text.slice(1), ['1 NOT_LEADER_OR_FOLLOWER -1', '2 NOT_LEADER_OR_FOLLOWER -1'])
})

test('leadership lost while a majority is asked is answered once', async () => {
  const { replica, append, answers } = await leading()
  append(0, records(1, 0))
  replica.commit()
  replica.hasLease = false
  const asked = Promise.withResolvers<boolean>()
  replica.confirm = () => asked.promise
  append(1, records(1, 5))
  append(2, records(1, 1))
  replica.follows(2, 2)
  assert.deepEqual(answers.text.slice(1), ['2 NOT_LEADER_OR_FOLLOWER -1'])
  asked.resolve(false)
  await until(() => answers.results.length === 3)
  assert.deepEqual(answers.text[2], '1 NOT_LEADER_OR_FOLLOWER -1')
})

test('a batch whose leader went while it was checked is remembered as refused by what it was, not by what its memory holds now', async () => {
  const { replica, append, answers, log } = await bench({ 'compression.type': 'gzip' })
  replica.leads(1)
  const first = records(1, 0)
  append(0, first)
  // The frame's memory is used again.
  first.fill(0)
  replica.follows(2, 2)
  replica.leads(3)
  append(1, records(1, 1))
  await until(() => answers.results.length === 2 || log.logEndOffset === 1)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1', '1 OUT_OF_ORDER_SEQUENCE_NUMBER -1'])
})
