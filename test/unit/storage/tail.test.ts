import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Tail, TailItem } from '../../../storage/tail.ts'

function item(index: number, span: number, baseOffset: number, sequence = 1): TailItem {
  return new TailItem(index, span, 0, 0, baseOffset, 10, 0, 0, sequence)
}

test('an offset is found in the batch that holds it, entries are passed over', () => {
  const tail = new Tail()
  tail.push(item(1, 3, 0))
  tail.push(item(4, 0, 3))
  tail.push(item(5, 2, 3))
  assert.equal(tail.findOffset(0), 0)
  assert.equal(tail.findOffset(2), 0)
  assert.equal(tail.findOffset(3), 2)
  assert.equal(tail.findOffset(5), 3)
})

test('committed bytes follow commits, takes from the front and cuts at the back', () => {
  const tail = new Tail()
  for (let at = 0; at < 1000; at++) tail.push(item(at + 1, 1, at))
  tail.commit(600)
  assert.equal(tail.committedBytes, 6000)
  for (let count = 0; count < 500; count++) tail.shift()
  assert.equal(tail.committedLength, 100)
  assert.equal(tail.committedBytes, 1000)
  while (tail.last!.index > 700) tail.pop()
  assert.equal(tail.length, 200)
  assert.equal(tail.batchBytes, 2000)
  for (let count = 0; count < 150; count++) tail.shift()
  assert.equal(tail.committedBytes, 0)
  assert.equal(tail.first!.index, 651)
})

test('a carried item takes its place among the others, or replaces itself', () => {
  const tail = new Tail()
  tail.push(item(3, 1, 2, 7))
  tail.push(item(4, 1, 3, 7))
  assert.equal(tail.insert(item(1, 2, 0, 9)), undefined)
  assert.equal(tail.insert(item(3, 1, 2, 9))!.sequence, 7)
  tail.carried = true
  assert.deepEqual(
    [0, 1, 2].map((at) => [tail.item(at)!.index, tail.item(at)!.sequence]),
    [
      [1, 9],
      [3, 9],
      [4, 7],
    ],
  )
  assert.equal(tail.oldestSequence, 7)
  assert.equal(tail.batchBytes, 30)
})
