// Tables, sizes and counts as they are printed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type LagRow, lagBy, sumLag } from '../../../../broker/cli/group.ts'
import { formatBytes, formatCount, formatFacts, formatTable } from '../../../../broker/cli/output.ts'

test('a table pads its columns, sets numbers to the right and ends no line with blanks', () => {
  const table = formatTable(
    ['TOPIC', 'LAG', 'OWNER'],
    [
      ['orders', 5, 'a'],
      ['x', 1234, null],
    ],
  )
  assert.equal(table, 'TOPIC    LAG  OWNER\norders     5  a\nx       1234  -\n')
})

test('a table without rows is its titles, and a column of missing values shows dashes', () => {
  assert.equal(formatTable(['A', 'B'], []), 'A  B\n')
  assert.equal(formatTable(['A', 'B'], [['x', undefined]]), 'A  B\nx  -\n')
})

test('line breaks and tabs in a cell cannot look like rows and columns', () => {
  assert.equal(formatTable(['A'], [['x\ny\tz']]), 'A\nx y z\n')
})

test('letters beyond ASCII take one column each', () => {
  assert.equal(
    formatTable(
      ['A', 'B'],
      [
        ['äöü', 'x'],
        ['a', 'y'],
      ],
    ),
    'A    B\näöü  x\na    y\n',
  )
})

test('facts stand under each other', () => {
  assert.equal(
    formatFacts([
      ['Topic', 'a'],
      ['Id', ''],
      ['Partitions', 3],
    ]),
    'Topic       a\nId          -\nPartitions  3\n',
  )
})

test('sizes and counts are readable', () => {
  assert.equal(formatBytes(1023), '1023 B')
  assert.equal(formatBytes(1536), '1.5 KiB')
  assert.equal(formatBytes(3 * 2 ** 30), '3.0 GiB')
  assert.equal(formatCount(1_234_567), '1,234,567')
})

test('lag is summed up in total, per topic and per member, and unknown lag counts as none', () => {
  const row = (topic: string, lag: number | undefined, memberId?: string): LagRow => ({
    topic,
    partition: 0,
    committedOffset: 0,
    endOffset: lag,
    lag,
    memberId,
  })
  const rows = [row('a', 3, 'm1'), row('a', 4, 'm2'), row('b', undefined, 'm1'), row('b', 5)]
  assert.equal(sumLag(rows), 12)
  assert.deepEqual(
    [...lagBy(rows, ({ topic }) => topic)],
    [
      ['a', 7],
      ['b', 5],
    ],
  )
  assert.deepEqual(
    [...lagBy(rows, ({ memberId }) => memberId)],
    [
      ['m1', 3],
      ['m2', 4],
    ],
  )
})
