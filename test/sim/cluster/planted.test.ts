// The simulator can see: mistakes planted in shipped code, one at a time, are found by some seed among the first 500.
//
// Each runs in a process of its own, whose loader replaces one line (plant.ts). MISTAKE=name runs one of them; COUNT=n tries so many seeds.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { MISTAKES, plant, sourceOf } from './plant.ts'
import { simulate } from './simulation.ts'

const COUNT = Number(process.env.COUNT ?? 500)
const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const loader = new URL('./plant-loader.ts', import.meta.url).href
const chosen = MISTAKES.filter(({ name }) => process.env.MISTAKE === undefined || process.env.MISTAKE === name)

interface Ended {
  readonly code: number | null
  readonly output: string
}

function runWith(name: string, profile: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ['--import', loader, main, '--count', `${COUNT}`, '--profile', profile, '--brief'],
      { env: { ...process.env, MILLRACE_MISTAKE: name }, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    let output = ''
    child.stdout.on('data', (text) => {
      output += String(text)
    })
    child.stderr.on('data', (text) => {
      output += String(text)
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

test('every line that a mistake replaces stands in the shipped code exactly once', () => {
  for (const mistake of MISTAKES) assert.notEqual(plant(mistake, sourceOf(mistake)), sourceOf(mistake))
})

test('without a mistake the same seeds find nothing', async () => {
  for (const profile of new Set(chosen.map((mistake) => mistake.profile))) {
    for (let seed = 1; seed <= 2; seed++) {
      const { report } = await simulate({ seed, profile })
      assert.equal(report.failure, undefined, `${profile} seed ${seed}: ${report.failure?.message}`)
    }
  }
})

for (const { name, profile } of chosen) {
  test(`a planted mistake is found: ${name}`, async (t) => {
    const { code, output } = await runWith(name, profile)
    const found = /^seed (\d+): (.*)$/m.exec(output)
    assert.ok(code === 1 && found !== null, `no seed of ${COUNT} found it: ${output}`)
    t.diagnostic(`seed ${found[1]}: ${found[2]}`)
  })
}
