// How records become text and text becomes records.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../../../../broker/cli/exit.ts'
import { linesOf } from '../../../../broker/cli/lines.ts'
import { recordReader } from '../../../../broker/cli/produce.ts'
import {
  compileFormat,
  fromJson,
  type PlacedRecord,
  plainFormat,
  toJson,
  unescaped,
} from '../../../../broker/cli/record-format.ts'

const record: PlacedRecord = {
  topic: 'orders',
  partition: 3,
  offset: 42,
  timestamp: Date.UTC(2026, 0, 31, 12),
  key: Buffer.from('k'),
  value: Buffer.from([0xff, 0x00]),
  headers: [
    { key: 'a', value: Buffer.from('1') },
    { key: 'b', value: null },
  ],
}

function render(format: string, of: PlacedRecord = record): string {
  return Buffer.from(compileFormat(format)(of)).toString('latin1')
}

test('every conversion and escape of a format prints what the help says', () => {
  assert.equal(
    render('%t %p %o %k %h %T %D %K %V %%\\n'),
    'orders 3 42 k a=1,b= 1769860800000 2026-01-31T12:00:00.000Z 1 2 %\n',
  )
  assert.equal(render('\\t\\r\\0\\\\\\x41'), '\t\r\0\\A')
  assert.equal(render('%d %s'), '1769860800000 \xff\x00')
})

test('values are printed byte for byte, and null prints nothing', () => {
  assert.deepEqual(Buffer.from(compileFormat('%v')(record)), Buffer.from([0xff, 0x00]))
  assert.equal(render('[%k|%v|%K|%V]', { ...record, key: null, value: null }), '[||-1|-1]')
})

test('a format with an unknown conversion or escape, or cut off in one, is refused', () => {
  for (const format of ['%x', '%', '\\q', '\\', '\\x4']) assert.throws(() => compileFormat(format), UsageError, format)
})

test('plain columns stand before the value, with the separator between them', () => {
  const none = { partition: false, offset: false, timestamp: false, headers: false, key: false }
  const ascii = { ...record, value: Buffer.from('v') }
  assert.equal(render(plainFormat({ ...none, separator: '\\t' }), ascii), 'v\n')
  assert.equal(render(plainFormat({ ...none, offset: true, key: true, separator: ' %% ' }), ascii), '42 %% k %% v\n')
})

test('JSON printed for a record is read back as the same record, bytes that are no text included', () => {
  const line = JSON.stringify(toJson(record))
  const read = fromJson(line, 1, 0)
  assert.deepEqual(
    { key: Buffer.from(read.key ?? ''), value: Buffer.from(read.value ?? ''), timestamp: read.timestamp },
    { key: record.key, value: record.value, timestamp: record.timestamp },
  )
  assert.deepEqual(
    read.headers.map(({ key, value }) => [key, value === null ? null : Buffer.from(value).toString()]),
    [
      ['a', '1'],
      ['b', null],
    ],
  )
})

test('JSON input takes headers as an object, other values as their JSON, and now without a timestamp', () => {
  const read = fromJson('{"value":{"base64":"AA==","x":1},"headers":{"h":"1"}}', 1, 77)
  assert.equal(Buffer.from(read.value ?? '').toString(), '{"base64":"AA==","x":1}')
  assert.deepEqual(
    read.headers.map(({ key }) => key),
    ['h'],
  )
  assert.deepEqual([read.key, read.timestamp], [null, 77])
})

test('JSON input that is no record names its line', () => {
  for (const line of ['', '[]', '1', '{"headers":1}', '{"headers":[{"value":"x"}]}', '{"timestamp":"x"}']) {
    assert.throws(() => fromJson(line, 5, 0), /^UsageError: line 5/, line)
  }
})

test('separators may be written as a shell cannot', () => {
  assert.equal(unescaped('--separator', '\\t\\x3a\\\\'), '\t:\\')
  assert.throws(() => unescaped('--separator', '\\q'), UsageError)
})

test('lines are split at line feeds, across chunks, with or without a last one', async () => {
  const split = async (...chunks: string[]): Promise<string[]> => {
    const lines: string[] = []
    const source = (async function* () {
      for (const chunk of chunks) yield Buffer.from(chunk)
    })()
    for await (const some of linesOf(source)) lines.push(...some.map(String))
    return lines
  }
  assert.deepEqual(await split('a\nb\n'), ['a', 'b'])
  assert.deepEqual(await split('a', 'b', '\nc'), ['ab', 'c'])
  assert.deepEqual(await split('a\r', '\n\nb'), ['a', '', 'b'])
  assert.deepEqual(await split(''), [])
})

test('lines become records with the key of the flags, of the separator, or none', () => {
  const flags = { json: false, key: undefined, 'key-separator': undefined, header: undefined, acks: 'all' }
  const reader = (changes: object) => recordReader({ ...flags, idempotent: undefined, tombstone: false, ...changes })
  const read = (changes: object, line: string) => {
    const { key, value } = reader(changes)(Buffer.from(line), 1)
    return [key === null ? null : Buffer.from(key).toString(), value === null ? null : Buffer.from(value).toString()]
  }
  assert.deepEqual(read({}, 'a:b'), [null, 'a:b'])
  assert.deepEqual(read({ key: 'k' }, 'a:b'), ['k', 'a:b'])
  assert.deepEqual(read({ 'key-separator': ':' }, 'a:b:c'), ['a', 'b:c'])
  assert.deepEqual(read({ 'key-separator': '\\t' }, 'a\tb'), ['a', 'b'])
  assert.deepEqual(read({ 'key-separator': ':', tombstone: true }, 'a:'), ['a', null])
  assert.deepEqual(read({ 'key-separator': ':' }, 'a:'), ['a', ''])
  assert.throws(() => read({ 'key-separator': ':' }, 'ab'), /line 1/)
  assert.throws(() => reader({ json: true, key: 'k' }), UsageError)
  assert.throws(() => reader({ idempotent: true, acks: '1' }), UsageError)
})
