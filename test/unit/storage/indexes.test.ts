import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OffsetIndex } from '../../../storage/offset-index.ts'
import { TimeIndex } from '../../../storage/time-index.ts'

test('the offset index finds the last entry at or below an offset', () => {
  const index = new OffsetIndex()
  for (let entry = 1; entry <= 100; entry++) index.append(entry * 10, entry * 4096)
  assert.equal(index.floor(9), -1)
  assert.equal(index.positionAt(index.floor(10)), 4096)
  assert.equal(index.positionAt(index.floor(19)), 4096)
  assert.equal(index.positionAt(index.floor(5000)), 100 * 4096)
})

test('an offset index file is big-endian pairs, and reads back as it was', () => {
  const index = new OffsetIndex()
  index.append(5, 300)
  index.append(0x01020304, 0x05060708)
  const bytes = index.encode()
  assert.deepEqual([...bytes], [0, 0, 0, 5, 0, 0, 1, 44, 1, 2, 3, 4, 5, 6, 7, 8])
  const read = OffsetIndex.decode(bytes, 0x7fffffff, 0x7fffffff)
  assert.equal(read.count, 2)
  assert.equal(read.offsetAt(1), 0x01020304)
})

test('an offset index file is read up to the first entry that cannot be', () => {
  const index = new OffsetIndex()
  index.append(5, 300)
  index.append(9, 600)
  const zeroed = new Uint8Array(32)
  zeroed.set(index.encode())
  assert.equal(OffsetIndex.decode(zeroed, 100, 1000).count, 2, 'zeros follow after a power failure')
  assert.equal(OffsetIndex.decode(index.encode(), 9, 1000).count, 1, 'an offset behind the segment')
  assert.equal(OffsetIndex.decode(index.encode(), 100, 600).count, 1, 'a position behind the segment')
})

test('the time index takes rising timestamps only and says where to start looking', () => {
  const index = new TimeIndex()
  index.append(1000, 5)
  index.append(900, 7)
  index.append(1000, 8)
  index.append(2000, 20)
  assert.equal(index.count, 2)
  assert.equal(index.floorBelow(1000), -1)
  assert.equal(index.floorBelow(1001), 5)
  assert.equal(index.floorBelow(9999), 20)
  const read = TimeIndex.decode(index.encode(), 100)
  assert.equal(read.count, 2)
  assert.equal(read.lastTimestamp, 2000)
  assert.deepEqual([...index.encode(1)], [0, 0, 0, 0, 0, 0, 7, 208, 0, 0, 0, 20])
})
