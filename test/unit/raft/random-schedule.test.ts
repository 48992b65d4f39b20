// Raft under random schedules (world.ts): fixed members of several numbers, members that change, other quorums than majorities.
//
// A failing run prints its seed; RAFT_SEED=n repeats it, RAFT_RUNS=n makes more of them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { World, type WorldOptions } from './world.ts'

function run(seed: number, options: WorldOptions, stepCount: number): World {
  const world = new World(seed, options)
  try {
    for (let step = 0; step < stepCount; step += 1) world.step()
    world.recover()
  } catch (error) {
    throw new Error(`RAFT_SEED=${seed} with ${JSON.stringify(options)}`, { cause: error })
  }
  return world
}

const runCount = Number(process.env.RAFT_RUNS ?? 60)
const firstSeed = Number(process.env.RAFT_SEED ?? 1)
const count = process.env.RAFT_SEED === undefined || process.env.RAFT_RUNS !== undefined ? runCount : 1

/** Runs many seeds. @returns how often what was seen */
function runAll(
  options: WorldOptions,
  stepCount: number,
  say: (text: string) => void,
): World['seen'] & { committed: number } {
  const seen: Record<string, number> = { committed: 0 }
  for (let seed = firstSeed; seed < firstSeed + count; seed += 1) {
    const world = run(seed, options, stepCount)
    for (const [what, times] of Object.entries(world.seen)) seen[what] = (seen[what] ?? 0) + times
    seen.committed! += world.committed.size
  }
  say(`seeds ${firstSeed} to ${firstSeed + count - 1}: ${JSON.stringify(seen)}`)
  return seen as World['seen'] & { committed: number }
}

for (const voterCount of [1, 2, 3, 5]) {
  test(`the Raft properties hold under random schedules of ${voterCount} voters`, (t) => {
    const seen = runAll({ voterCount, changes: false }, 1500, (text) => t.diagnostic(text))
    if (count < 20) return
    assert.ok(
      seen.elections > count && seen.committed > count && seen.reads > 0,
      'the schedules elect, commit and read',
    )
    if (voterCount >= 3) assert.ok(seen.snapshots > 0 && seen.truncations > 0 && seen.leases > 0, 'and cut and copy')
  })
}

for (const voterCount of [1, 3]) {
  test(`the Raft properties hold while ${voterCount} voters become others`, (t) => {
    const seen = runAll({ voterCount, changes: true }, 2500, (text) => t.diagnostic(text))
    if (count < 20) return
    assert.ok(seen.changes > 3 * count && seen.replaced > 0 && seen.transfers > 0, 'members come, go and are replaced')
  })
}

test('the Raft properties hold with flexible quorums and witnesses', (t) => {
  const seen = runAll({ voterCount: 4, changes: true, flexible: true }, 2000, (text) => t.diagnostic(text))
  if (count >= 20)
    assert.ok(seen.committed > count && seen.changes > count && seen.leases > 0, 'they commit and change')
})

test('a term has one leader however often voters of many candidates crash', (t) => {
  const seen = runAll({ voterCount: 3, changes: false, aim: 'rivals' }, 600, (text) => t.diagnostic(text))
  if (count >= 20) assert.ok(seen.elections > count, 'the rivals are elected')
})

test('what earlier terms left behind is committed only through an entry of the current one', (t) => {
  const seen = runAll({ voterCount: 3, changes: false, aim: 'old-term' }, 1000, (text) => t.diagnostic(text))
  if (count >= 20) assert.ok(seen.elections > count && seen.truncations > 0, 'leaders follow each other and differ')
})

for (const voterCount of [3, 5]) {
  test(`reads of ${voterCount} voters are never stale, whoever believes to lead`, (t) => {
    const seen = runAll({ voterCount, changes: false, aim: 'reads' }, 1500, (text) => t.diagnostic(text))
    if (count >= 20) assert.ok(seen.reads > count && seen.leases > count && seen.transfers > count, 'leaders read')
  })
}
