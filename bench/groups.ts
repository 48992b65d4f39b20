// What many partitions cost a broker: `node bench/groups.ts [--groups 10000,50000] [--memory 1g] [--alone] [--idle-seconds 20]`
//
// Partitions are Raft groups of one replica, on a broker that belongs to a cluster (`--alone`: on one without peers). Per count a fresh
// broker: time to create them in topics of 1,000, then what it uses while nothing happens, and the latency of 1,000 records/s
// spread over 1,000 of them. Prints a Markdown table.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { MillraceBroker, nodeProgram } from '../test/support/broker.ts'
import { Child, freePort, repositoryDirectory } from '../test/support/process.ts'
import { createTopicOnly, RawConnection } from '../test/support/raw.ts'
import { cpuSeconds, residentMegabytes } from './brokers.ts'
import type { Job, Result } from './load.ts'
import { machineLine, printed } from './table.ts'

const { values: options } = parseArgs({
  options: {
    groups: { type: 'string', default: '10000,50000' },
    memory: { type: 'string', default: '1g' },
    alone: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '10' },
    'idle-seconds': { type: 'string', default: '20' },
  },
})
const PARTITIONS_PER_TOPIC = 1000
/** What a start and the creation leave behind is over by then: timers of the first minute, first entries that storage lets go of. */
const SETTLE_MS = 60_000

interface Figures {
  readonly createSeconds: number
  readonly idlePercent: number
  readonly residentMb: number
  readonly heapBytes: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly restartSeconds: number
}

async function startBroker(): Promise<MillraceBroker> {
  const collector = `${repositoryDirectory}/bench/collect-garbage.ts`
  return await MillraceBroker.start({
    memory: options.memory,
    readyTimeoutMs: 120_000,
    env: { ...process.env, NODE_OPTIONS: `--import=${collector}` },
    properties: { 'offsets.topic.num.partitions': '1' },
    extraArguments: options.alone ? [] : ['--node-id', '1', '--peer-port', String(await freePort())],
  })
}

/** Bytes of JavaScript heap in use in all threads that own partitions, after a collection. */
async function heapBytes(broker: MillraceBroker): Promise<number> {
  process.kill(broker.pid, 'SIGUSR2')
  await sleep(3000)
  const [, url] = /metrics at (\S+)/.exec(broker.child.stdout) ?? []
  const text = await (await fetch(`${url}?partitions=off`)).text()
  let sum = 0
  for (const [, bytes] of text.matchAll(/^millrace_heap_used_bytes\S* (\S+)$/gm)) sum += Number(bytes)
  return sum
}

async function createGroups(broker: MillraceBroker, count: number): Promise<number> {
  const connection = await RawConnection.open(broker.port)
  const startedAt = performance.now()
  for (let made = 0; made < count; made += PARTITIONS_PER_TOPIC) {
    const topic = `groups-${made / PARTITIONS_PER_TOPIC}`
    const error = await createTopicOnly(connection, topic, Math.min(PARTITIONS_PER_TOPIC, count - made))
    if (error !== 0) throw new Error(`${topic}: error ${error}`)
  }
  connection.close()
  return (performance.now() - startedAt) / 1000
}

async function idlePercent(broker: MillraceBroker): Promise<number> {
  const idleSeconds = Number(options['idle-seconds'])
  const before = cpuSeconds(broker.pid)
  await sleep(idleSeconds * 1000)
  return ((cpuSeconds(broker.pid) - before) / idleSeconds) * 100
}

async function load(job: Job): Promise<Result> {
  const child = new Child(nodeProgram, [`${repositoryDirectory}/bench/load.ts`, JSON.stringify(job)])
  const { code } = await child.exited
  if (code !== 0) throw new Error(`the load generator failed\n${child.stdout}${child.stderr}`)
  return JSON.parse(child.stdout) as Result
}

async function measure(count: number): Promise<Figures> {
  const broker = await startBroker()
  try {
    const emptyHeap = await heapBytes(broker)
    const createSeconds = await createGroups(broker, count)
    await sleep(SETTLE_MS)
    const idle = await idlePercent(broker)
    const residentMb = residentMegabytes(broker.pid)
    const heap = (await heapBytes(broker)) - emptyHeap
    const partitions = Math.min(count, PARTITIONS_PER_TOPIC)
    const { latency } = await load({
      kind: 'open',
      port: broker.port,
      topic: 'groups-0',
      partitions,
      connections: 4,
      rate: 1000,
      tickMs: 0.5,
      seconds: Number(options.seconds),
    })
    if (latency === undefined) throw new Error('the generator gave no latencies')
    await broker.terminate()
    await broker.restart()
    const restartSeconds = broker.readyMs / 1000
    return {
      createSeconds,
      idlePercent: idle,
      residentMb,
      heapBytes: heap / count,
      p50Ms: latency.p50Ms,
      p99Ms: latency.p99Ms,
      restartSeconds,
    }
  } finally {
    await broker.close()
  }
}

const lines = [
  '| groups | creation, s | idle, % of one core | resident, MB | heap per group, bytes | 1,000/s over 1,000 of them, p50 ms | p99 ms | restart, s |',
  '|---:|---:|---:|---:|---:|---:|---:|---:|',
]
for (const text of options.groups.split(',')) {
  const figures = await measure(Number(text))
  const { createSeconds, residentMb, p50Ms, p99Ms, restartSeconds } = figures
  const cells = [createSeconds, figures.idlePercent, residentMb, figures.heapBytes, p50Ms, p99Ms, restartSeconds]
  lines.push(`| ${[Number(text).toLocaleString('en-US'), ...cells.map(printed)].join(' | ')} |`)
}
console.log(`${machineLine()}\n\n${lines.join('\n')}`)
process.exit(0)
