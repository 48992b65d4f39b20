import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseProperties } from '../../../../broker/config/properties.ts'

const entries = (text: string) => Object.fromEntries(parseProperties(text))

test('name and value are separated by =, : or white space', () => {
  assert.deepEqual(entries('a=1\nb:2\nc 3\nd = 4\ne : 5\nf\t6'), { a: '1', b: '2', c: '3', d: '4', e: '5', f: '6' })
})

test('comments and blank lines are passed over, a comment sign later in a line is not one', () => {
  assert.deepEqual(entries('# a=1\n  ! b=2\n\n   \nc=3 # not a comment'), { c: '3 # not a comment' })
})

test('a backslash at the end continues a line, and the next line loses its indent', () => {
  assert.deepEqual(entries('a=one,\\\n   two,\\\n\tthree\nb=1'), { a: 'one,two,three', b: '1' })
})

test('two backslashes at the end are one backslash and no continuation', () => {
  assert.deepEqual(entries('a=x\\\\\nb=1'), { a: 'x\\', b: '1' })
})

test('escapes are decoded in names and values', () => {
  assert.deepEqual(entries('a\\=b\\ c=\\u0041\\t\\n\\z'), { 'a=b c': 'A\t\nz' })
})

test('a value may hold separators', () => {
  assert.deepEqual(entries('listeners=PLAINTEXT://:9092,X://h:1'), { listeners: 'PLAINTEXT://:9092,X://h:1' })
})

test('a name without a value has the empty value, the last of two values stays, trailing blanks stay', () => {
  assert.deepEqual(entries('a\nb=\nc=1\nc=2 '), { a: '', b: '', c: '2 ' })
})

test('all line ends are read, a comment is not continued, a malformed unicode escape stays', () => {
  assert.deepEqual(entries('a=1\r\nb=2\rc=3\n# x\\\nd=\\u12'), { a: '1', b: '2', c: '3', d: '\\u12' })
})
