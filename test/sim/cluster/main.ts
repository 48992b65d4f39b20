// Runs the simulator: `--seed N` replays one run exactly, `--count N` runs many and stops at the first that breaks a promise.
//
// --from S   first seed of --count (1)        --profile P   one subject instead of the usual mixture
// --verbose  prints the story of each run      --twice       runs each seed twice and compares
// --keep     goes on after a failure           --brief       one line for a failure

import { parseArgs } from 'node:util'
import { type RunReport, simulate } from './simulation.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    count: { type: 'string' },
    from: { type: 'string', default: '1' },
    profile: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    brief: { type: 'boolean', default: false },
  },
})

function line(report: RunReport): string {
  const { seed, hash, virtualMs, events, ackedRecords, readRecords, commits, faults } = report
  return `seed ${seed}: ${hash} ${(virtualMs / 1000).toFixed(1)} virtual s, ${events} events, ${faults} faults, ${ackedRecords} records acknowledged, ${readRecords} read, ${commits} commits`
}

async function run(seed: number): Promise<RunReport> {
  const { profile, verbose, twice } = values
  const say = verbose ? (text: string) => process.stdout.write(`${text}\n`) : undefined
  const { report, story } = await simulate({
    seed,
    ...(profile === undefined ? {} : { profile }),
    ...(say === undefined ? {} : { say }),
  })
  if (report.failure !== undefined && (values.keep || values.brief)) {
    process.stdout.write(`seed ${seed}: ${report.failure.message.split('\n')[0]}\n`)
  } else if (report.failure !== undefined) {
    if (!verbose) for (const text of story) process.stdout.write(`${text}\n`)
    process.stdout.write(`${line(report)}\n${report.failure.stack ?? report.failure.message}\n`)
    if (report.failure.cause instanceof Error) process.stdout.write(`caused by ${report.failure.cause.stack}\n`)
    process.stdout.write(
      `FAILED: node test/sim/cluster/main.ts --seed ${seed}${profile === undefined ? '' : ` --profile ${profile}`} --verbose\n`,
    )
  } else if (twice) {
    const again = await simulate({ seed, ...(profile === undefined ? {} : { profile }) })
    if (again.report.hash !== report.hash) {
      throw new Error(`seed ${seed} is not deterministic: ${report.hash}, then ${again.report.hash}`)
    }
  }
  return report
}

const first = Number(values.seed ?? values.from)
const count = values.seed === undefined ? Number(values.count ?? 100) : 1
const startMs = performance.now()
let virtualMs = 0
let done = 0
let failed = 0
for (let seed = first; seed < first + count; seed++) {
  const report = await run(seed)
  virtualMs += report.virtualMs
  done++
  if (report.failure !== undefined) {
    process.exitCode = 1
    failed++
    if (!values.keep) break
  }
  if (count === 1) process.stdout.write(`${line(report)}\n`)
}
const minutes = (performance.now() - startMs) / 60_000
process.stdout.write(
  `${done} seeds from ${first}, ${failed} failed, in ${(minutes * 60).toFixed(1)} s: ${(done / minutes).toFixed(0)} seeds per minute, ${(virtualMs / 60_000 / minutes).toFixed(0)} times real time\n`,
)
