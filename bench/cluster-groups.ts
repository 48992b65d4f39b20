// Many partitions on three brokers: `node bench/cluster-groups.ts [--partitions 10000,50000] [--memory 512m]`
//
// Replication factor 3, topics of 1,000. Per count a fresh cluster on this machine: time to create them, what brokers use while nothing
// happens, and after the death of one the time until the others name a leader for every partition, the time that the answer takes included;
// then its restart, until all replicas are in sync again. Prints a Markdown table.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import { MillraceCluster } from '../test/support/cluster.ts'
import { eventually } from '../test/support/process.ts'
import { cpuSeconds, residentMegabytes } from './brokers.ts'
import { machineLine, printed } from './table.ts'

const { values: options } = parseArgs({
  options: {
    partitions: { type: 'string', default: '10000,50000' },
    memory: { type: 'string', default: '512m' },
  },
})
const PARTITIONS_PER_TOPIC = 1000
/** As in groups.ts. */
const SETTLE_MS = 60_000
const IDLE_SECONDS = 20
const GIVE_UP_MS = 120_000

interface Figures {
  readonly createSeconds: number
  readonly idlePercent: number
  readonly residentMb: number
  readonly ledSeconds: number
  readonly readySeconds: number
  readonly inSyncSeconds: number
}

/** How many partitions the brokers say each broker leads, and how many have all replicas in sync. */
async function lookAt(admin: kafkajs.Admin, topics: string[]): Promise<{ led: Map<number, number>; inSync: number }> {
  const led = new Map<number, number>()
  let inSync = 0
  for (const { partitions } of (await admin.fetchTopicMetadata({ topics })).topics) {
    for (const { leader, isr, replicas } of partitions) {
      led.set(leader, (led.get(leader) ?? 0) + 1)
      if (isr.length === replicas.length) inSync++
    }
  }
  return { led, inSync }
}

async function createTopics(admin: kafkajs.Admin, topics: readonly string[]): Promise<number> {
  const startedAt = performance.now()
  for (const topic of topics) {
    const numPartitions = PARTITIONS_PER_TOPIC
    await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 3 }], timeout: GIVE_UP_MS })
  }
  return (performance.now() - startedAt) / 1000
}

async function measure(count: number): Promise<Figures> {
  const topics = Array.from({ length: Math.ceil(count / PARTITIONS_PER_TOPIC) }, (_, at) => `groups-${at}`)
  const partitions = topics.length * PARTITIONS_PER_TOPIC
  const properties = { 'offsets.topic.num.partitions': '1' }
  const cluster = await MillraceCluster.start({ memory: options.memory, properties })
  const [victim, survivor] = cluster.brokers
  const admin = new kafkajs.Kafka({
    brokers: [survivor!.bootstrap],
    logLevel: kafkajs.logLevel.NOTHING,
    requestTimeout: GIVE_UP_MS,
  }).admin()
  try {
    await admin.connect()
    const createSeconds = await createTopics(admin, topics)
    const allInSync = async () => ((await lookAt(admin, topics)).inSync === partitions ? true : undefined)
    await eventually('all replicas in sync', GIVE_UP_MS, allInSync)
    await sleep(SETTLE_MS)
    const used = () => cluster.brokers.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0) / cluster.brokers.length
    const usedBefore = used()
    await sleep(IDLE_SECONDS * 1000)
    const idlePercent = ((used() - usedBefore) / IDLE_SECONDS) * 100
    const residentMb = Math.max(...cluster.brokers.map(({ pid }) => residentMegabytes(pid)))
    await victim!.kill()
    const killedAt = performance.now()
    await eventually('leaders elsewhere for all', GIVE_UP_MS, async () => {
      const { led } = await lookAt(admin, topics)
      return (led.get(2) ?? 0) + (led.get(3) ?? 0) === partitions ? true : undefined
    })
    const ledSeconds = (performance.now() - killedAt) / 1000
    const restartedAt = performance.now()
    await victim!.restart()
    const readySeconds = victim!.readyMs / 1000
    await eventually('all replicas in sync again', GIVE_UP_MS, allInSync)
    const inSyncSeconds = (performance.now() - restartedAt) / 1000
    return { createSeconds, idlePercent, residentMb, ledSeconds, readySeconds, inSyncSeconds }
  } finally {
    await admin.disconnect().catch(() => {})
    await cluster.close()
  }
}

const lines = [
  '| partitions | creation, s | idle, % of one core per broker | resident, MB | all led after a death, s | restart, s | all in sync again, s |',
  '|---:|---:|---:|---:|---:|---:|---:|',
]
for (const text of options.partitions.split(',')) {
  const { createSeconds, idlePercent, residentMb, ...times } = await measure(Number(text))
  const cells = [createSeconds, idlePercent, residentMb, times.ledSeconds, times.readySeconds, times.inSyncSeconds]
  lines.push(`| ${[Number(text).toLocaleString('en-US'), ...cells.map(printed)].join(' | ')} |`)
}
console.log(`${machineLine()}\nThree brokers on this machine, replication factor 3.\n\n${lines.join('\n')}`)
process.exit(0)
