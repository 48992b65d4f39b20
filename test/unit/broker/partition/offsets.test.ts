import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OffsetMap } from '../../../../broker/partition/offsets.ts'
import { seeded } from '../../protocol/records/vectors.ts'

test('offsets follow indexes, less the entries that Kafka does not see', () => {
  const map = new OffsetMap()
  assert.equal(map.logEndOffset, 0)
  map.appendedInvisible(1)
  map.appended(2, 0, 3)
  map.appended(5, 3, 1)
  map.appendedInvisible(6)
  map.appended(7, 4, 10)
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 16].map((index) => map.endOffset(index)),
    [0, 1, 2, 3, 4, 4, 5, 14],
  )
  assert.deepEqual(
    [0, 2, 3, 4, 13].map((offset) => map.index(offset)),
    [2, 4, 5, 7, 16],
  )
  assert.equal(map.logEndOffset, 14)
  assert.equal(map.lastIndex, 16)
})

test('an entry that leaves a gap in indexes or offsets is our own mistake', () => {
  const map = new OffsetMap()
  assert.throws(() => map.appended(2, 0, 1), /follows the last entry/)
  assert.throws(() => map.appended(1, 5, 1), /dense/)
  assert.throws(() => map.appendedInvisible(3), /follows the last entry/)
})

test('the epochs of a recovered log give its map back', () => {
  const map = new OffsetMap()
  map.appendedInvisible(1)
  map.appended(2, 0, 5)
  map.appendedInvisible(7)
  map.appendedInvisible(8)
  map.appended(9, 5, 2)
  const again = OffsetMap.fromEpochs(
    [
      { startIndex: 1, startOffset: 0 },
      { startIndex: 7, startOffset: 5 },
      { startIndex: 8, startOffset: 5 },
    ],
    10,
  )
  for (let index = 1; index <= 10; index++) assert.equal(again.endOffset(index), map.endOffset(index), `index ${index}`)
  for (let offset = 0; offset < 7; offset++) assert.equal(again.index(offset), map.index(offset), `offset ${offset}`)
  assert.deepEqual(new OffsetMap(map.runs, 10).runs, map.runs)
})

test('appends, truncations and trims agree with a list of entries, seed by seed', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seeded(seed)
    const map = new OffsetMap()
    // The offset of each index, -1 for an entry that is not visible; index 1 first.
    const entries: number[] = []
    let trimmedTo = 1
    for (let step = 0; step < 60; step++) {
      const endOffset = entries.filter((offset) => offset >= 0).length
      const action = random()
      if (action < 0.4) {
        const span = 1 + Math.floor(random() * 4)
        map.appended(entries.length + 1, endOffset, span)
        for (let delta = 0; delta < span; delta++) entries.push(endOffset + delta)
      } else if (action < 0.75) {
        map.appendedInvisible(entries.length + 1)
        entries.push(-1)
      } else if (action < 0.95) {
        const index = trimmedTo + Math.floor(random() * (entries.length + 2 - trimmedTo))
        map.truncated(index)
        entries.length = Math.min(entries.length, index - 1)
      } else {
        trimmedTo = Math.max(trimmedTo, Math.floor(entries.length * random()) + 1)
        map.trimmed(trimmedTo)
      }
      let visible = entries.slice(0, trimmedTo - 1).filter((offset) => offset >= 0).length
      for (let index = trimmedTo; index <= entries.length; index++) {
        const offset = entries[index - 1]!
        if (offset >= 0) {
          visible++
          assert.equal(map.index(offset), index, `seed ${seed} step ${step}: index of offset ${offset}`)
        }
        assert.equal(map.endOffset(index), visible, `seed ${seed} step ${step}: end offset of index ${index}`)
      }
    }
  }
})
