// Times, durations, offsets, addresses and partitions as users write them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../../../../broker/cli/exit.ts'
import {
  parseAssignment,
  parseBootstrap,
  parseDurationMs,
  parseOffsetsFile,
  parseStartPoint,
  parseTimeMs,
  parseTopicSelection,
  parseWholeNumber,
} from '../../../../broker/cli/parse.ts'

const NOW_MS = Date.UTC(2026, 0, 31, 12)

test('durations are read with units, in sums, and as ISO 8601', () => {
  const readings: [string, number][] = [
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5s', 1500],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['1w', 604_800_000],
    ['PT1H30M', 5_400_000],
    ['P2DT0.5S', 172_800_500],
    ['p1w', 604_800_000],
  ]
  for (const [text, durationMs] of readings) assert.equal(parseDurationMs(text), durationMs, text)
})

test('a duration without a unit, with an unknown one, or with none of its parts is refused', () => {
  for (const text of ['', '10', '10x', '-1h', '1h ago', 'P', 'PT', '1h-30m']) {
    assert.throws(() => parseDurationMs(text), UsageError, text)
  }
})

test('times are read as dates, with and without a zone, as numbers, and before now', () => {
  const readings: [string, number][] = [
    ['now', NOW_MS],
    ['-1h', NOW_MS - 3_600_000],
    ['-PT1H', NOW_MS - 3_600_000],
    ['2026-01-31', Date.UTC(2026, 0, 31)],
    ['2026-01-31T12:30', Date.UTC(2026, 0, 31, 12, 30)],
    ['2026-01-31 12:30:15', Date.UTC(2026, 0, 31, 12, 30, 15)],
    ['2026-01-31T12:30:15.250', Date.UTC(2026, 0, 31, 12, 30, 15, 250)],
    ['2026-01-31T12:30:15Z', Date.UTC(2026, 0, 31, 12, 30, 15)],
    ['2026-01-31T12:30:15+02:00', Date.UTC(2026, 0, 31, 10, 30, 15)],
    ['2026-01-31T12:30:15-0530', Date.UTC(2026, 0, 31, 18, 0, 15)],
    ['1769860800', 1_769_860_800_000],
    ['1769860800123', 1_769_860_800_123],
  ]
  for (const [text, timeMs] of readings) assert.equal(parseTimeMs(text, NOW_MS), timeMs, text)
})

test('what is no time is refused, impossible dates included', () => {
  for (const text of ['', 'yesterday', '2026-13-01', '2026-01-31T25:00', '31.01.2026', '1h']) {
    assert.throws(() => parseTimeMs(text, NOW_MS), UsageError, text)
  }
})

test('a start point is the start, the end, an offset, so many before the end, or a time', () => {
  assert.deepEqual(parseStartPoint('start', NOW_MS), { kind: 'start' })
  assert.deepEqual(parseStartPoint('earliest', NOW_MS), { kind: 'start' })
  assert.deepEqual(parseStartPoint('end', NOW_MS), { kind: 'end' })
  assert.deepEqual(parseStartPoint('0', NOW_MS), { kind: 'offset', offset: 0 })
  assert.deepEqual(parseStartPoint('1234', NOW_MS), { kind: 'offset', offset: 1234 })
  assert.deepEqual(parseStartPoint('-10', NOW_MS), { kind: 'before-end', count: 10 })
  assert.deepEqual(parseStartPoint('@-1h', NOW_MS), { kind: 'time', timeMs: NOW_MS - 3_600_000 })
  for (const text of ['', 'middle', '1.5', '@', '99999999999999999999']) {
    assert.throws(() => parseStartPoint(text, NOW_MS), UsageError, text)
  }
})

test('brokers are read with ports, without, and as IPv6', () => {
  assert.deepEqual(parseBootstrap('a:1, b ,[::1]:9093'), [
    { host: 'a', port: 1 },
    { host: 'b', port: 9092 },
    { host: '::1', port: 9093 },
  ])
  for (const text of ['', ',', 'a:0', 'a:70000', 'a:b', '::1', 'http://a:1']) {
    assert.throws(() => parseBootstrap(text), UsageError, text)
  }
})

test('a topic is selected whole, or with partitions and ranges of them', () => {
  assert.deepEqual(parseTopicSelection('orders'), { topic: 'orders', partitions: undefined })
  assert.deepEqual(parseTopicSelection('orders:2,0,5-7,6'), { topic: 'orders', partitions: [0, 2, 5, 6, 7] })
  for (const text of ['', ':1', 'orders:', 'orders:a', 'orders:3-1', 'orders:-1', 'orders:0-999999999']) {
    assert.throws(() => parseTopicSelection(text), UsageError, text)
  }
})

test('an assignment keeps all behind its first equals sign', () => {
  assert.deepEqual(parseAssignment('--set', 'a=b=c'), ['a', 'b=c'])
  assert.deepEqual(parseAssignment('--set', 'a='), ['a', ''])
  assert.throws(() => parseAssignment('--set', 'a'), /--set/)
  assert.throws(() => parseAssignment('--set', '=a'), UsageError)
})

test('whole numbers keep to their bounds', () => {
  assert.equal(parseWholeNumber('-n', '5', 1, 5), 5)
  assert.equal(parseWholeNumber('-n', '-5', -10), -5)
  for (const text of ['0', '6', '1.5', '1e3', '', 'x', '0x5']) {
    assert.throws(() => parseWholeNumber('-n', text, 1, 5), UsageError, text)
  }
})

test('an offsets file holds lines or a JSON array, and says where it is wrong', () => {
  const rows = [
    { topic: 'a', partition: 0, offset: 5 },
    { topic: 'b.c', partition: 11, offset: 0 },
  ]
  assert.deepEqual(parseOffsetsFile('a,0,5\r\n\n# note\n"b.c", 11, 0\n', 'f'), rows)
  assert.deepEqual(parseOffsetsFile(JSON.stringify(rows.map((row) => ({ ...row, executed: true }))), 'f'), rows)
  assert.throws(() => parseOffsetsFile('a,0,5\na,0\n', 'f'), /f, line 2/)
  for (const text of ['', '[]', '[{"topic":"a"}]', '[{"topic":"a","partition":-1,"offset":0}]', '[', 'a,0,-1']) {
    assert.throws(() => parseOffsetsFile(text, 'f'), UsageError, text)
  }
})
