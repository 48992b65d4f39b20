// Three brokers beside three brokers of Apache Kafka: `node bench/cluster.ts [--cases a,b] [--seconds S] [--columns ...] [--failovers N]`
//
// Replication factor 3, acks=all. Each column's cluster runs alone on this machine, with the load generator (load.ts) as a process of
// its own that talks to the leader of each partition. Prints a Markdown table.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { nodeProgram } from '../test/support/broker.ts'
import { type Cluster, MillraceCluster } from '../test/support/cluster.ts'
import { FailoverProbe } from '../test/support/failover.ts'
import { KafkaCluster } from '../test/support/kafka-cluster.ts'
import { Child, eventually, repositoryDirectory } from '../test/support/process.ts'
import { columnTitles } from './brokers.ts'
import type { Latency } from './histogram.ts'
import type { Job, Result } from './load.ts'
import { machineLine, Table } from './table.ts'

const columns = ['millrace', 'kafka', 'kafka-flush'] as const
type Column = (typeof columns)[number]

const { values: options } = parseArgs({
  options: {
    cases: { type: 'string' },
    seconds: { type: 'string', default: '10' },
    columns: { type: 'string', default: columns.join() },
    failovers: { type: 'string', default: '10' },
    'backlog-mb': { type: 'string', default: '500' },
    output: { type: 'string' },
  },
})
const seconds = Number(options.seconds)
const backlogMegabytes = Number(options['backlog-mb'])
const PARTITIONS = 16
const IN_SYNC_MS = 180_000

const table = new Table()

function startCluster(column: Column): Promise<Cluster> {
  if (column === 'millrace') return MillraceCluster.start({ memory: '512m' })
  const properties: Record<string, string> = column === 'kafka-flush' ? { 'log.flush.interval.messages': '1' } : {}
  return KafkaCluster.start({ production: true, heapMb: 1024, properties })
}

function startLoad(job: Job): Child {
  return new Child(nodeProgram, [`${repositoryDirectory}/bench/load.ts`, JSON.stringify(job)])
}

async function resultOf(child: Child): Promise<Result> {
  const { code } = await child.exited
  if (code !== 0) throw new Error(`the load generator failed\n${child.stdout}${child.stderr}`)
  return JSON.parse(child.stdout) as Result
}

async function leadersOf(cluster: Cluster, topic: string): Promise<number[]> {
  const partitions = [...(await cluster.describe(topic))].sort((left, right) => left.partitionId - right.partitionId)
  return partitions.map(({ leader }) => cluster.brokers[leader - 1]!.port)
}

async function newTopic(
  cluster: Cluster,
  topic: string,
  partitions: number,
): Promise<Pick<Job & { kind: 'open' }, 'port' | 'topic' | 'partitions' | 'leaders'>> {
  await cluster.createTopic(topic, partitions)
  await cluster.inSync(topic, IN_SYNC_MS)
  const leaders = await leadersOf(cluster, topic)
  return { port: leaders[0]!, topic, partitions, leaders }
}

function recordLatency(column: Column, label: string, latency: Latency | undefined): void {
  if (latency === undefined) throw new Error(`${label}: the generator gave no latencies`)
  table.record(column, `${label}, p50`, 'ms', false, latency.p50Ms)
  table.record(column, `${label}, p99`, 'ms', false, latency.p99Ms)
  table.record(column, `${label}, p99.9`, 'ms', false, latency.p999Ms)
}

const cases: Record<string, (column: Column, cluster: Cluster) => Promise<void>> = {
  async open(column, cluster) {
    const target = await newTopic(cluster, 'bench-open', PARTITIONS)
    const result = await resultOf(
      startLoad({ kind: 'open', ...target, connections: 6, rate: 2000, tickMs: 0.5, seconds }),
    )
    recordLatency(column, 'Open loop 2,000/s, 16 partitions', result.latency)
  },
  async max(column, cluster) {
    const target = await newTopic(cluster, 'bench-max', PARTITIONS)
    const result = await resultOf(startLoad({ kind: 'max', ...target, connections: 6, batchBytes: 65_536, seconds }))
    table.record(column, 'Max rate, 16 partitions', 'MB/s', true, result.bytes / result.seconds / 1e6)
  },
  async failover(column, cluster) {
    await cluster.createTopic('bench-failover', 1)
    const probe = new FailoverProbe(cluster, 'bench-failover')
    const times: number[] = []
    for (let round = 0; round < Number(options.failovers); round++) times.push(await probe.round())
    if ((await probe.lost()) > 0) throw new Error('an acknowledged record is missing')
    times.sort((left, right) => left - right)
    table.record(column, 'Failover, median', 'ms', false, times[times.length >> 1]!)
    table.record(column, 'Failover, worst', 'ms', false, times.at(-1)!)
  },
  /** A follower is away while data is written; it comes back while 2,000 records/s go on to leaders elsewhere. */
  async 'catch-up'(column, cluster) {
    const topic = 'bench-catch-up'
    // Led elsewhere before and after: the generator does not look for leaders again.
    const replicas = Array.from({ length: PARTITIONS }, (_, at) => (at % 2 === 0 ? [1, 2, 3] : [2, 1, 3]))
    await cluster.createTopic(topic, PARTITIONS, {}, replicas)
    await cluster.inSync(topic, IN_SYNC_MS)
    const away = cluster.brokers[2]!
    await away.kill()
    await eventually('leaders without the broker that is away', 60_000, async () => {
      const partitions = await cluster.describe(topic)
      return partitions.every(({ leader }) => leader >= 1 && leader <= 2) ? true : undefined
    })
    const before = await leadersOf(cluster, topic)
    const target = { port: before[0]!, topic, partitions: PARTITIONS, leaders: before }
    let written = 0
    while (written < backlogMegabytes * 1e6) {
      const job: Job = { kind: 'max', ...target, connections: 6, batchBytes: 65_536, seconds: 2 }
      const filled = await resultOf(startLoad(job))
      // The warm-up writes as well.
      written += (filled.bytes / filled.seconds) * (filled.seconds + 3)
    }
    const live = startLoad({ kind: 'open', ...target, connections: 6, rate: 2000, tickMs: 0.5, seconds: 15 })
    await sleep(2000)
    const startedAt = performance.now()
    await away.restart()
    await cluster.inSync(topic, IN_SYNC_MS)
    const tookSeconds = (performance.now() - startedAt) / 1000
    const result = await resultOf(live)
    table.record(column, 'Catch-up of a returning follower', 'MB/s', true, written / 1e6 / tookSeconds)
    table.record(column, 'Producers beside the catch-up, p99', 'ms', false, result.latency?.p99Ms ?? Number.NaN)
  },
}

const shown = options.columns.split(',').map((name) => {
  const column = columns.find((known) => known === name)
  if (column === undefined) throw new Error(`no column ${name}: ${columns.join()}`)
  return column
})
const chosen = (options.cases?.split(',') ?? Object.keys(cases)).map((name) => {
  const run = cases[name]
  if (run === undefined) throw new Error(`no case ${name}: ${Object.keys(cases).join()}`)
  return { name, run }
})

for (const column of shown) {
  execFileSync('sync')
  const cluster = await startCluster(column)
  try {
    const warm = await newTopic(cluster, 'bench-warm-up', PARTITIONS)
    await resultOf(startLoad({ kind: 'open', ...warm, connections: 6, rate: 2000, tickMs: 0.5, seconds: 5 }))
    for (const { name, run } of chosen) {
      execFileSync('sync')
      console.error(`${column} ${name}`)
      await run(column, cluster)
    }
  } finally {
    await cluster.close()
  }
}
const text = `${machineLine()}\nThree brokers, replication factor 3, acks=all; ${seconds} s a case.\n\n${table.markdown(shown, columnTitles)}`
console.log(text)
if (options.output !== undefined) writeFileSync(options.output, `${text}\n`)
process.exit(0)
