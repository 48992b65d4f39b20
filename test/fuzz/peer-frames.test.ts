import assert from 'node:assert/strict'
import { test } from 'node:test'
import { frameOf } from '../unit/broker/replication/link-bytes.ts'
import { seedOfRun } from '../unit/protocol/random-message.ts'
import { fuzzPeerFrames, mend } from './peer-frames.ts'

test('mutated conversations on the peer port are understood, refused or cut off, and hold no memory', (t) => {
  const seed = seedOfRun()
  t.diagnostic(`MILLRACE_SEED=${seed}`)
  const report = fuzzPeerFrames({ count: 5000, seed })
  assert.equal(report.mutations, 5000)
  // All outcomes must be common, else the mutations test nothing.
  for (const outcome of ['welcomed', 'refused', 'cut', 'cutLater', 'onLinks', 'broken', 'received'] as const) {
    assert.ok(report[outcome] > 50, `${outcome}: ${report[outcome]}`)
  }
})

test('mended frames are sound frames again', () => {
  const frame = frameOf((message) => message(1).text('text').end(), 3)
  const damaged = Buffer.from(frame)
  damaged.writeUInt32LE(0xffff_ffff, 0)
  assert.deepEqual(mend(damaged), frame)
})
