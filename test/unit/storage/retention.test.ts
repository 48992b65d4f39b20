import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseRetention, mustRoll } from '../../../storage/retention.ts'
import { Segment } from '../../../storage/segment.ts'
import { TailItem } from '../../../storage/tail.ts'
import { CONFIG } from './harness.ts'

const SEGMENTS = [0, 1, 2, 3].map((at) => ({
  baseOffset: at * 10,
  endOffset: at * 10 + 10,
  sizeBytes: 100,
  maxTimestamp: 1000 * (at + 1),
  modifiedMs: 1000 * (at + 1),
}))

test('size deletes from the oldest on while the rest is still large enough', () => {
  const config = { ...CONFIG, deletePolicy: true, retentionBytes: 1 }
  assert.deepEqual(chooseRetention(SEGMENTS, 0, config, 0), { count: 3, logStartOffset: 30, reason: 'size' })
  assert.equal(chooseRetention(SEGMENTS, 0, { ...config, retentionBytes: 300 }, 0).count, 1)
  assert.equal(chooseRetention(SEGMENTS, 0, { ...config, retentionBytes: 301 }, 0).count, 0)
})

test('time goes by the largest record timestamp and may take the active segment too', () => {
  const config = { ...CONFIG, deletePolicy: true, retentionMs: 500 }
  assert.equal(chooseRetention(SEGMENTS, 0, config, 2600).count, 2)
  assert.deepEqual(chooseRetention(SEGMENTS, 0, config, 9999), { count: 4, logStartOffset: 40, reason: 'time' })
})

test('a segment that stays keeps all behind it', () => {
  const config = { ...CONFIG, deletePolicy: true, retentionMs: 500 }
  const segments = SEGMENTS.map((segment, at) => (at === 1 ? { ...segment, maxTimestamp: 99_999 } : segment))
  assert.equal(chooseRetention(segments, 0, config, 10_000).count, 1)
})

test('without delete in the policy only what lies below the log start goes', () => {
  const config = { ...CONFIG, deletePolicy: false, retentionMs: 1, retentionBytes: 1 }
  assert.equal(chooseRetention(SEGMENTS, 0, config, 99_999).count, 0)
  assert.deepEqual(chooseRetention(SEGMENTS, 25, config, 99_999), {
    count: 2,
    logStartOffset: 25,
    reason: 'start offset',
  })
})

test('a segment rolls by size, by record time and by offsets, but never while it is empty', () => {
  const segment = new Segment('/t', 100, 101, 0)
  const batch = (endOffset: number, bytes = 50): TailItem => new TailItem(1, 1, 0, 0, endOffset - 1, bytes, 0, 0, 0)
  const config = { ...CONFIG, segmentBytes: 1000, segmentMs: 1000 }
  assert.equal(mustRoll(segment, 0, batch(101, 5000), 0, config, 0), false)
  assert.equal(mustRoll(segment, 950, batch(101), -1, config, 0), false)
  assert.equal(mustRoll(segment, 951, batch(101), -1, config, 0), true)
  segment.firstTimestamp = 5000
  assert.equal(mustRoll(segment, 10, batch(101), 6000, config, 1e9), false)
  assert.equal(mustRoll(segment, 10, batch(101), 6001, config, 0), true)
  assert.equal(mustRoll(segment, 10, batch(101 + 0x7fffffff), 5000, config, 0), false)
  assert.equal(mustRoll(segment, 10, batch(102 + 0x7fffffff), 5000, config, 0), true)
})
