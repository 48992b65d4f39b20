// Whole brokers in one thread under a seed: the promises hold whatever fails, and a run is a function of its number.
//
// SEEDS=n runs n seeds instead of the quick number; FROM=s starts at seed s. `node test/sim/cluster/main.ts --seed N --verbose` tells the story of one.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { simulate } from './simulation.ts'

const SEEDS = Number(process.env.SEEDS ?? 30)
const FROM = Number(process.env.FROM ?? 1)
const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const run = promisify(execFile)

test('a cluster keeps its promises through every fault', async (t) => {
  let acked = 0
  let faults = 0
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const { report } = await simulate({ seed })
    if (report.failure !== undefined) {
      throw new Error(`seed ${seed}: ${report.failure.message}`, { cause: report.failure })
    }
    acked += report.ackedRecords
    faults += report.faults
  }
  t.diagnostic(`${SEEDS} seeds from ${FROM}: ${faults} faults, ${acked} records acknowledged`)
  assert.ok(acked > SEEDS)
})

test('the same seed gives the same run, event for event, in one process and in two', async () => {
  for (const seed of [3, 4, 5]) {
    const first = (await simulate({ seed })).report
    const second = (await simulate({ seed })).report
    assert.equal(second.hash, first.hash)
    assert.equal(second.events, first.events)
    const { stdout } = await run(process.execPath, [main, '--seed', `${seed}`])
    assert.match(stdout, new RegExp(`seed ${seed}: ${first.hash} `))
  }
})

test('another seed gives another run', async () => {
  const hashes = new Set<string>()
  for (const seed of [1, 2, 3, 4]) hashes.add((await simulate({ seed })).report.hash)
  assert.equal(hashes.size, 4)
})
