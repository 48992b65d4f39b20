// When a disk that does not answer counts as one that hangs, and when it is trusted again.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HangWatch } from '../../../storage/hang-watch.ts'

const NOTHING = undefined

/** @returns what each look said, as 0 and 1 */
function looks(watch: HangWatch, oldest: readonly (number | undefined)[]): string {
  return oldest.map((sequence) => (watch.look(sequence) ? '1' : '0')).join('')
}

test('a round that is there at three looks hangs', () => {
  assert.equal(looks(new HangWatch(), [7, 7, 7, 7, 7]), '00111')
  assert.equal(looks(new HangWatch(), [7, 7, 8, 8, 8]), '00001', 'each of them for itself')
})

test('a disk with rounds under way at every look does not hang while they are others each time', () => {
  assert.equal(looks(new HangWatch(), [1, 2, 3, 4, NOTHING, 5, 6, 6, 7, 8, 8, 9]), '000000000000')
})

test('a disk without work does not hang, and what came before nothing is forgotten', () => {
  assert.equal(looks(new HangWatch(), [NOTHING, NOTHING, NOTHING, NOTHING]), '0000')
  assert.equal(looks(new HangWatch(), [7, 7, NOTHING, 7, 7]), '00000')
})

test('it is trusted again when nothing was late for three looks in a row', () => {
  const watch = new HangWatch()
  looks(watch, [7, 7, 7])
  assert.equal(looks(watch, [8, 9, NOTHING, 10]), '1100')
  assert.equal(watch.isHung, false)
  assert.equal(looks(watch, [11, 11, 11]), '001', 'and may hang again')
})

test('a disk that answers now and then is not trusted in between', () => {
  const watch = new HangWatch()
  looks(watch, [7, 7, 7])
  assert.equal(looks(watch, [8, 8, 9, 9, NOTHING, NOTHING, 10, 11, 11, 12, NOTHING]), '11111100000')
})

test('a round sent right after a look is late when the next look finds it', () => {
  const watch = new HangWatch()
  looks(watch, [7, 7, 7])
  watch.look(NOTHING)
  watch.sent(8)
  watch.look(8)
  assert.equal(looks(watch, [NOTHING, NOTHING, NOTHING]), '110')
})
