import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  indexOfOffset,
  lastTermOf,
  listOf,
  NO_RUNS,
  offsetAfter,
  type Runs,
  runsBefore,
  runsFrom,
  runsOf,
  startsAt,
  termAt,
  withRun,
} from '../../../storage/runs.ts'

// Indexes:  1 entry (term 1), 2..4 offsets 0..2, 5 entry (term 2), 6 entry (term 4), 7..8 offsets 3..4, 9 entry (term 4), 10 offset 5
const RUNS: Runs = runsOf([
  { term: 1, startIndex: 1, startOffset: 0 },
  { term: 2, startIndex: 5, startOffset: 3 },
  { term: 4, startIndex: 6, startOffset: 3 },
  { term: 4, startIndex: 9, startOffset: 5 },
])
const OFFSETS_AFTER = [0, 0, 1, 2, 3, 3, 3, 4, 5, 5, 6]
const TERMS = [-1, 1, 1, 1, 1, 2, 4, 4, 4, 4, 4]

test('every index has its offset and its term', () => {
  for (let index = 0; index <= 10; index++) {
    assert.equal(offsetAfter(RUNS, index), OFFSETS_AFTER[index], `index ${index}`)
    assert.equal(termAt(RUNS, index), TERMS[index], `index ${index}`)
    assert.equal(startsAt(RUNS, index), [1, 5, 6, 9].includes(index), `index ${index}`)
  }
})

test('every offset has its index, and the next one the index to come', () => {
  for (const [offset, index] of [2, 3, 4, 7, 8, 10, 11].entries()) assert.equal(indexOfOffset(RUNS, offset), index)
})

test('what was trimmed away is not known, what is held stays exact', () => {
  const trimmed = runsFrom(RUNS, 7)
  assert.deepEqual(listOf(trimmed), listOf(RUNS).slice(2))
  for (let index = 7; index <= 10; index++) assert.equal(offsetAfter(trimmed, index), OFFSETS_AFTER[index])
  assert.equal(termAt(trimmed, 5), -1)
  assert.equal(indexOfOffset(trimmed, 2), -1)
  assert.equal(runsFrom(RUNS, 4), RUNS, 'nothing to trim, nothing copied')
})

test('a cut drops the runs that begin at or behind it', () => {
  assert.deepEqual(listOf(runsBefore(RUNS, 6)), listOf(RUNS).slice(0, 2))
  assert.equal(runsBefore(RUNS, 10), RUNS)
  assert.equal(runsBefore(RUNS, 1), NO_RUNS)
  assert.equal(lastTermOf(runsBefore(RUNS, 6)), 2)
})

test('a run is added at the end and leaves the ones before alone', () => {
  const one = withRun(NO_RUNS, 3, 1, 0)
  const two = withRun(one, 4, 8, 6)
  assert.deepEqual(listOf(one), [{ term: 3, startIndex: 1, startOffset: 0 }])
  assert.deepEqual(listOf(two).at(-1), { term: 4, startIndex: 8, startOffset: 6 })
})

test('an empty log begins at offset 0', () => {
  assert.equal(offsetAfter(NO_RUNS, 0), 0)
  assert.equal(lastTermOf(NO_RUNS), -1)
})
