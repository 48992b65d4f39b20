import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { ApiKey } from '../../protocol/api.ts'
import { seedOfRun } from '../unit/protocol/random-message.ts'
import { decodeFrame, type FuzzReport, fuzzDecoders, recordedFrames } from './decoders.ts'

test('mutated requests decode or are refused as malformed, and take no more memory than their bytes', (t) => {
  const seed = seedOfRun()
  t.diagnostic(`MILLRACE_SEED=${seed}`)
  const report = fuzzDecoders({ count: 20_000, seed })
  assert.equal(report.mutations, 20_000)
  assert.equal(report.apis.size, Object.keys(ApiKey).length, 'every request decoder ran')
  // Both outcomes must be common, else the mutations test nothing.
  assert.ok(report.decoded > 1000, `${report.decoded} decoded`)
  assert.ok(report.refused > 1000, `${report.refused} refused`)
})

test('recorded connections are split into their frames, a cut one at the end left out', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-corpus-'))
  t.after(() => rmSync(folder, { recursive: true }))
  // ApiVersions 0 twice, then the beginning of a third.
  const frame = '0000000a 0012 0000 00000001 ffff'
  writeFileSync(path.join(folder, 'a.bin'), Buffer.from(`${frame}${frame}0000000a0012`.replaceAll(' ', ''), 'hex'))
  const frames = recordedFrames(folder)
  assert.deepEqual(
    frames.map((bytes) => bytes.length),
    [10, 10],
  )
  const report: FuzzReport = { mutations: 0, decoded: 0, refused: 0, notOurs: 0, slowestMicros: 0, apis: new Set() }
  for (const bytes of frames) decodeFrame(bytes, report)
  assert.equal(report.decoded, 2)
  assert.deepEqual(recordedFrames(path.join(folder, 'absent')), [])
})
