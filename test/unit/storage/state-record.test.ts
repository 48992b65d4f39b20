import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ByteWriter } from '../../../storage/encoding.ts'
import { listOf, runsOf } from '../../../storage/runs.ts'
import { decodeState, encodeState, type GroupState } from '../../../storage/state-record.ts'

const STATE: GroupState = {
  incarnation: 12,
  directory: '/data/topics/t-0',
  term: 7,
  votedFor: 2 ** 53,
  checkpointIndex: 200,
  checkpointOffset: 190,
  logStartOffset: 30,
  firstIndex: 21,
  runs: runsOf([
    { term: 3, startIndex: 1, startOffset: 0 },
    { term: 5, startIndex: 150, startOffset: 148 },
    { term: 6, startIndex: 151, startOffset: 148 },
  ]),
  isRestart: true,
  hasLitter: false,
  segments: [
    {
      baseOffset: 19,
      baseIndex: 21,
      endOffset: 190,
      sizeBytes: 9000,
      firstTimestamp: 5,
      maxTimestamp: 6,
      maxTimestampOffset: 100,
      modifiedMs: 7,
    },
  ],
  lastIsActive: true,
  snapshotIndex: 180,
  snapshotOffset: 170,
  snapshot: new Uint8Array([1, 2, 3]),
}

test('a state record reads back as it was, whoever was voted for', () => {
  for (const votedFor of [-1, 0, 2 ** 31, 3 * 2 ** 32 + 5, 2 ** 53]) {
    const writer = new ByteWriter()
    encodeState(writer, { ...STATE, votedFor })
    assert.deepEqual(decodeState(writer.written, false), { ...STATE, votedFor })
  }
})

interface Version1 {
  checkpointIndex: number
  checkpointOffset: number
  firstIndex: number
  votedFor: number
  epochs: readonly (readonly [term: number, startIndex: number, startOffset: number])[]
}

/** As version 1 wrote it. */
function version1(state: Version1): Uint8Array {
  const writer = new ByteWriter()
  writer.int32(1)
  writer.int53(4)
  writer.string('/data/topics/t-0')
  writer.int32(9)
  writer.int32(state.votedFor)
  writer.int53(state.checkpointIndex)
  writer.int53(state.checkpointOffset)
  writer.int53(0)
  writer.int53(state.firstIndex)
  writer.int32(state.epochs.length)
  for (const [term, startIndex, startOffset] of state.epochs) {
    writer.int32(term)
    writer.int53(startIndex)
    writer.int53(startOffset)
  }
  writer.int32(0)
  writer.int32(0)
  writer.int53(state.checkpointIndex)
  writer.int53(state.checkpointOffset)
  writer.int32(0)
  return writer.written
}

test('a record of version 1 is read, and the terms it left out are entries again', () => {
  // Index 1 is term 1's entry, 2..101 are offsets 0..99, 102 to 104 are entries whose terms were forgotten, 105 is term 5's,
  // 106..110 are offsets 100..104, 111 is one that was forgotten, too.
  const state = decodeState(
    version1({
      checkpointIndex: 111,
      checkpointOffset: 105,
      firstIndex: 1,
      votedFor: -1,
      epochs: [
        [1, 1, 0],
        [5, 105, 100],
        [6, 112, 105],
      ],
    }),
    false,
  )
  assert.deepEqual(
    listOf(state.runs).map(({ term, startIndex, startOffset }) => [term, startIndex, startOffset]),
    [
      [1, 1, 0],
      [1, 102, 100],
      [1, 103, 100],
      [1, 104, 100],
      [5, 105, 100],
      [5, 111, 105],
    ],
    'and what begins behind the checkpoint says so itself',
  )
  assert.equal(state.votedFor, -1)
  assert.equal(state.firstIndex, 1)
  assert.equal(state.isRestart, false)
})

test('what version 1 forgot at its beginning cannot be sent to anybody', () => {
  const state = decodeState(
    version1({ checkpointIndex: 60, checkpointOffset: 50, firstIndex: 1, votedFor: 3, epochs: [[4, 41, 31]] }),
    false,
  )
  assert.equal(state.firstIndex, 41)
  assert.equal(state.votedFor, 3)
  assert.deepEqual(listOf(state.runs)[0], { term: 3, startIndex: 40, startOffset: 31 }, 'a term before, up to there')
})

test('terms of the metadata log are taken as they are', () => {
  const epochs = [
    [1, 1, 0],
    [3, 40, 0],
  ] as const
  const state = decodeState(
    version1({ checkpointIndex: 60, checkpointOffset: 0, firstIndex: 61, votedFor: 1, epochs }),
    true,
  )
  assert.deepEqual(listOf(state.runs), [
    { term: 1, startIndex: 1, startOffset: 0 },
    { term: 3, startIndex: 40, startOffset: 0 },
  ])
})

test('a record of a version to come is refused', () => {
  const writer = new ByteWriter()
  writer.int32(3)
  assert.throws(() => decodeState(writer.written, false), RangeError)
})
