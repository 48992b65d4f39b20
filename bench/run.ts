// Millrace beside Apache Kafka on this machine: `node bench/run.ts [--cases a,b] [--rounds N] [--seconds S] [--columns ...]`
//
// Each round starts the brokers one after the other, in an order that changes with the round, and runs every case on each
// with the load generator (load.ts) as a process of its own. Printed are medians over the rounds, as a Markdown table.

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { nodeProgram } from '../test/support/broker.ts'
import { Child, repositoryDirectory } from '../test/support/process.ts'
import {
  type BenchBroker,
  type Column,
  columns,
  columnTitles,
  cpuSeconds,
  defaultColumns,
  residentMegabytes,
  startBroker,
} from './brokers.ts'
import type { Latency } from './histogram.ts'
import type { Job, Result } from './load.ts'
import { machineLine, printed, Table } from './table.ts'

const { values: options } = parseArgs({
  options: {
    cases: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '10' },
    columns: { type: 'string', default: defaultColumns.join() },
    'backlog-mb': { type: 'string', default: '1000' },
    output: { type: 'string' },
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)
const backlogMegabytes = Number(options['backlog-mb'])

const table = new Table()

function recordLatency(column: Column, label: string, latency: Latency | undefined): void {
  if (latency === undefined) throw new Error(`${label}: the generator gave no latencies`)
  table.record(column, `${label}, p50`, 'ms', false, latency.p50Ms)
  table.record(column, `${label}, p99`, 'ms', false, latency.p99Ms)
  table.record(column, `${label}, p99.9`, 'ms', false, latency.p999Ms)
  table.record(column, `${label}, max`, 'ms', false, latency.maxMs)
}

let worstLatenessMs = 0

function startLoad(job: Job): Child {
  return new Child(nodeProgram, [join(repositoryDirectory, 'bench/load.ts'), JSON.stringify(job)])
}

async function load(job: Job): Promise<Result> {
  const child = startLoad(job)
  const { code } = await child.exited
  if (code !== 0) throw new Error(`load ${job.kind} failed\n${child.stdout}${child.stderr}`)
  const result = JSON.parse(child.stdout) as Result
  if (result.lateness) worstLatenessMs = Math.max(worstLatenessMs, result.lateness.p99Ms)
  return result
}

/** Writes back what the case before left dirty, so that no broker pays for another's pages. */
function settle(): void {
  execFileSync('sync')
}

let coldMethod = ''

/** Empties the page cache where that is allowed; a restarted broker has no cache of its own. */
function dropPageCache(): void {
  settle()
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '1')
    coldMethod = 'broker restarted, page cache dropped'
  } catch {
    coldMethod = 'broker restarted, page cache not dropped (not allowed here)'
  }
}

interface Bench {
  column: Column
  broker: BenchBroker
  topic: string
}

const cases: Record<string, { partitions: number; run(bench: Bench): Promise<void> }> = {
  start: {
    partitions: 1,
    run: async ({ column, broker }) => {
      table.record(column, 'Start to ready', 'ms', false, broker.readyMs)
      table.record(column, 'Memory, idle', 'MB', false, residentMegabytes(broker.pid))
    },
  },
  'open-1': { partitions: 1, run: (bench) => open(bench, 'Open loop 5,000/s, 1 partition', 1, 5000) },
  'open-16': { partitions: 16, run: (bench) => open(bench, 'Open loop 5,000/s, 16 partitions', 16, 5000) },
  'open-180': { partitions: 180, run: (bench) => open(bench, 'Open loop 15,000/s, 180 partitions', 180, 15_000) },
  'end-to-end': {
    partitions: 1,
    run: async ({ column, broker, topic }) => {
      const result = await load({ kind: 'end-to-end', port: broker.port, topic, rate: 1000, seconds })
      recordLatency(column, 'Produce to consume, 1,000/s', result.latency)
    },
  },
  keyed: {
    partitions: 64,
    run: async ({ column, broker, topic }) => {
      const result = await load({ kind: 'keyed', port: broker.port, topic, partitions: 64, connections: 50, seconds })
      table.record(column, '50 keyed producers, 64 partitions', 'records/s', true, result.records / result.seconds)
      table.record(column, '50 keyed producers, 64 partitions, p99', 'ms', false, result.latency?.p99Ms ?? Number.NaN)
    },
  },
  'max-1': { partitions: 1, run: (bench) => max(bench, 1) },
  'max-16': { partitions: 16, run: (bench) => max(bench, 16) },
  drain: {
    partitions: 16,
    run: async ({ column, broker, topic }) => {
      await load({ kind: 'fill', port: broker.port, topic, partitions: 16, megabytes: backlogMegabytes })
      settle()
      const megabytes = backlogMegabytes
      const result = await load({ kind: 'drain', port: broker.port, topic, partitions: 16, megabytes, rate: 5000 })
      table.record(
        column,
        'Backlog drained beside 5,000/s',
        'MB/s',
        true,
        (result.consumedBytesPerSecond ?? Number.NaN) / 1e6,
      )
      table.record(column, 'Producers beside the drain, p99', 'ms', false, result.latency?.p99Ms ?? Number.NaN)
    },
  },
  cold: {
    partitions: 16,
    run: async ({ column, broker, topic }) => {
      await load({ kind: 'fill', port: broker.port, topic, partitions: 16, megabytes: backlogMegabytes })
      table.record(column, 'Memory, after load', 'MB', false, residentMegabytes(broker.pid))
      await broker.kill()
      dropPageCache()
      await broker.restart()
      const megabytes = backlogMegabytes
      const result = await load({ kind: 'consume', port: broker.port, topic, partitions: 16, megabytes })
      table.record(column, 'Cold topic from the start', 'MB/s', true, result.bytes / result.seconds / 1e6)
    },
  },
  kill: {
    partitions: 16,
    run: async ({ column, broker, topic }) => {
      await load({ kind: 'fill', port: broker.port, topic, partitions: 16, megabytes: 1000 })
      const child = startLoad({ kind: 'until-killed', port: broker.port, topic, partitions: 16 })
      await new Promise((resolve) => setTimeout(resolve, 2000))
      await broker.kill()
      await child.exited
      table.record(column, 'Ready after kill -9, 1 GB of log', 'ms', false, await broker.restart())
    },
  },
}

async function open({ column, broker, topic }: Bench, label: string, partitions: number, rate: number): Promise<void> {
  // About 5,000 requests/s in each case: with 180 partitions a request carries three of them.
  const shape = partitions > 16 ? { connections: 2, tickMs: 0.4 } : { connections: 4, tickMs: 0.2 }
  const result = await load({ kind: 'open', port: broker.port, topic, partitions, rate, seconds, ...shape })
  recordLatency(column, label, result.latency)
}

async function max({ column, broker, topic }: Bench, partitions: number): Promise<void> {
  const before = cpuSeconds(broker.pid)
  const job: Job = { kind: 'max', port: broker.port, topic, partitions, connections: 4, batchBytes: 65_536, seconds }
  const result = await load(job)
  const used = cpuSeconds(broker.pid) - before
  const name = partitions === 1 ? '1 partition' : `${partitions} partitions`
  table.record(column, `Max rate, ${name}`, 'MB/s', true, result.bytes / result.seconds / 1e6)
  // The warm-up wrote too: the CPU time is set against the whole run at the measured rate.
  const gigabytes = ((result.bytes / result.seconds) * (result.seconds + 3)) / 1e9
  table.record(column, `Broker CPU, ${name}`, 's/GB', false, used / gigabytes)
}

/** A JIT needs its time: what follows is measured on a broker that has worked for a while. */
async function warmUp(broker: BenchBroker): Promise<void> {
  const topic = 'bench-warm-up'
  const shape = { port: broker.port, topic, partitions: 16, connections: 4 }
  await load({ kind: 'create', ...shape })
  await load({ kind: 'open', ...shape, rate: 5000, tickMs: 0.2, seconds: Math.min(8, seconds) })
  await load({ kind: 'max', ...shape, batchBytes: 16_384, seconds: 1 })
}

function pressure(): string {
  try {
    return `load ${readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ')}`
  } catch {
    return ''
  }
}

const shown = options.columns.split(',').map((name) => {
  const column = columns.find((known) => known === name)
  if (column === undefined) throw new Error(`no column ${name}: ${columns.join()}`)
  return column
})
const chosen = (options.cases?.split(',') ?? Object.keys(cases)).map((name) => {
  const found = cases[name]
  if (found === undefined) throw new Error(`no case ${name}: ${Object.keys(cases).join()}`)
  return { name, ...found }
})

console.error(`${machineLine()} (${pressure()})`)
for (let round = 0; round < rounds; round++) {
  // The order turns with each round, so that no broker is always the one that runs after another's writeback.
  const order = shown.map((_, index) => shown[(index + round) % shown.length] ?? 'millrace')
  for (const column of order) {
    settle()
    const broker = await startBroker(column)
    try {
      let warm = false
      for (const { name, partitions, run } of chosen) {
        if (!warm && name !== 'start') {
          await warmUp(broker)
          warm = true
        }
        settle()
        const topic = `bench-${name}`
        await load({ kind: 'create', port: broker.port, topic, partitions })
        console.error(`round ${round + 1} of ${rounds}: ${column} ${name}`)
        await run({ column, broker, topic })
      }
    } finally {
      await broker.close()
    }
  }
}

const ratios = 'Ratios above 1 are in favour of Millrace.'
const text = [
  machineLine(),
  `Settings: ${rounds} rounds, ${seconds} s a case after 3 s of warm-up, medians; schedule late by ${printed(worstLatenessMs)} ms at p99 at worst.`,
  ...(coldMethod === '' ? [] : [`Cold: ${coldMethod}.`]),
  '',
  table.markdown(shown, columnTitles),
  ...(shown.includes('millrace') && shown.length > 1 ? ['', ratios] : []),
].join('\n')
console.log(text)
if (options.output !== undefined) writeFileSync(options.output, `${text}\n`)
process.exit(0)
