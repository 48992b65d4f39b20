// Where keys and partitions go: as in the Java client.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { murmur2, partitionOfKey } from '../../../../broker/cli/client/partitioner.ts'
import { assignRanges } from '../../../../broker/cli/client/range-assignor.ts'

test('keys are hashed as the Java client hashes them', () => {
  // From org.apache.kafka.common.utils.UtilsTest.
  const vectors: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [text, hash] of vectors) assert.equal(murmur2(Buffer.from(text)), hash, text)
  assert.equal(partitionOfKey(Buffer.from('21'), 10), (-973932308 & 0x7fff_ffff) % 10)
})

function ranges(members: Record<string, string[]>, counts: Record<string, number>): Record<string, string> {
  const subscribers = Object.entries(members).map(([memberId, topics]) => ({ memberId, instanceId: null, topics }))
  const assignment = assignRanges(subscribers, new Map(Object.entries(counts)))
  return Object.fromEntries(
    [...assignment].map(([memberId, partitions]) => [
      memberId,
      partitions.map(({ topic, partition }) => `${topic}${partition}`).join(' '),
    ]),
  )
}

test('each topic is split into ranges, the first members getting one more', () => {
  assert.deepEqual(ranges({ m2: ['t'], m1: ['t'] }, { t: 3 }), { m2: 't2', m1: 't0 t1' })
  assert.deepEqual(ranges({ m1: ['t', 'u'], m2: ['t', 'u'] }, { t: 1, u: 3 }), { m1: 't0 u0 u1', m2: 'u2' })
})

test('only subscribers of a topic share it, and topics that do not exist are left out', () => {
  assert.deepEqual(ranges({ m1: ['t'], m2: ['u', 'gone'] }, { t: 2, u: 1 }), { m1: 't0 t1', m2: 'u0' })
})

test('static members come first, in the order of their instance ids', () => {
  const assignment = assignRanges(
    [
      { memberId: 'a', instanceId: null, topics: ['t'] },
      { memberId: 'y', instanceId: 'i2', topics: ['t'] },
      { memberId: 'z', instanceId: 'i1', topics: ['t'] },
    ],
    new Map([['t', 3]]),
  )
  const first = (memberId: string) => assignment.get(memberId)?.[0]?.partition
  assert.deepEqual([first('z'), first('y'), first('a')], [0, 1, 2])
})
