// Faults of a cluster of processes under load: `node test/cluster/faults.ts [--scenarios a,b] [--rounds N] [--seed N] [--verbose]`
//
// Each round producers of several client libraries write with acks=all and one client commits group offsets; a fault is made and
// undone; the producers finish, and everything is read back and compared. Prints plain counts per scenario; exits 1 unless every
// count that should be 0 is 0. Without the right to make network namespaces the scenarios that cut connections say so and are
// left out.

import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SeededRandom } from '../sim/random.ts'
import { MillraceCluster, namespacesAvailable } from '../support/cluster.ts'
import { kafkaUnavailable } from '../support/kafka.ts'
import { eventually, temporaryDirectory } from '../support/process.ts'
import { librdkafkaUnavailable } from '../support/python.ts'
import { accessOf, Committer, History } from './history.ts'
import { IdempotentKafkajsWriter, JavaWriter, KafkajsWriter, LibrdkafkaWriter, type Writer } from './writers.ts'

const { values: options } = parseArgs({
  options: {
    scenarios: { type: 'string' },
    rounds: { type: 'string', default: '2' },
    seed: { type: 'string' },
    brokers: { type: 'string', default: '3' },
    shards: { type: 'string', default: '2' },
    verbose: { type: 'boolean', default: false },
  },
})
const rounds = Number(options.rounds)
const seed = options.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(options.seed)
const random = new SeededRandom(seed)
const partitions = 4
const canCut = namespacesAvailable()
const withoutJava = await kafkaUnavailable()
const withoutLibrdkafka = librdkafkaUnavailable()

interface Scenario {
  readonly cuts?: boolean
  /** Brokers on small file systems of their own. */
  readonly smallDisks?: boolean
  /** @param goesOn resolves when every partition of the kafkajs writer has taken more */
  run(cluster: MillraceCluster, goesOn: () => Promise<void>): Promise<void>
}

/** Under load, and long enough for a new leader: the fault lasts. */
const faultMs = () => 500 + random.below(2500)
const victimOf = (cluster: MillraceCluster) => random.below(cluster.brokers.length)

function stopped(ms: number): Scenario {
  return {
    async run(cluster) {
      const { child } = cluster.brokers[victimOf(cluster)]!
      child.process.kill('SIGSTOP')
      await sleep(ms)
      child.process.kill('SIGCONT')
    },
  }
}

function isolated(how: 'both' | 'outgoing' | 'incoming'): Scenario {
  return {
    cuts: true,
    async run(cluster) {
      cluster.network!.isolate(victimOf(cluster), how)
      await sleep(faultMs() * 2)
      cluster.network!.healAll()
    },
  }
}

const scenarios: Record<string, Scenario> = {
  kill: {
    async run(cluster) {
      const broker = cluster.brokers[victimOf(cluster)]!
      await broker.kill()
      await sleep(faultMs())
      await broker.restart()
    },
  },
  'kill-all': {
    async run(cluster) {
      await Promise.all(cluster.brokers.map((broker) => broker.kill()))
      await Promise.all(cluster.brokers.map((broker) => broker.restart()))
    },
  },
  'stop-1': stopped(1000),
  'stop-5': stopped(5000),
  'stop-20': stopped(20_000),
  cut: isolated('both'),
  'cut-outgoing': isolated('outgoing'),
  'cut-incoming': isolated('incoming'),
  'cut-pair': {
    cuts: true,
    async run(cluster) {
      const one = victimOf(cluster)
      const other = (one + 1) % cluster.brokers.length
      cluster.network!.cut(one, other)
      cluster.network!.cut(other, one)
      await sleep(faultMs() * 2)
      cluster.network!.healAll()
    },
  },
  'full-disk': {
    smallDisks: true,
    async run(cluster) {
      const ballast = `${cluster.dataDir(victimOf(cluster))}/../ballast`
      execFileSync('sh', ['-c', `head -c 100000000000 /dev/zero > ${ballast} 2>/dev/null || true`])
      await sleep(faultMs() * 2)
      rmSync(ballast)
      // A write that found no room at all makes a broker read-only, and it says what to do about that.
      await sleep(1000)
      for (const broker of cluster.brokers) {
        if (!/Restart the broker when the disk is sound/.test(broker.child.stderr)) continue
        await broker.terminate()
        await broker.restart()
      }
    },
  },
  /** Less than what a broker keeps free, and not nothing: it says so, and the others take its place. */
  'short-disk': {
    smallDisks: true,
    async run(cluster, goesOn) {
      const mount = `${cluster.dataDir(victimOf(cluster))}/..`
      const { bavail, bsize } = statfsSync(mount)
      execFileSync('fallocate', ['-l', String(bavail * bsize - (20 << 20)), `${mount}/ballast`])
      await sleep(4000)
      await goesOn()
      rmSync(`${mount}/ballast`)
      for (const { child } of cluster.brokers) {
        if (/read-only/.test(child.stderr)) throw new Error(`a short disk was filled up\n${child.stderr}`)
      }
    },
  },
  'replaced-disk': {
    async run(cluster) {
      const at = victimOf(cluster)
      await cluster.brokers[at]!.kill()
      cluster.replaceDisk(at)
      await sleep(faultMs())
      await cluster.brokers[at]!.restart()
    },
  },
  rolling: {
    async run(cluster) {
      for (const broker of cluster.brokers) {
        const { code } = await broker.terminate()
        if (code !== 0) throw new Error(`a broker ended with ${code}\n${broker.child.stderr}`)
        await broker.restart()
        for (const topic of currentTopics) await cluster.inSync(topic)
      }
    },
  },
}

let currentTopics: string[] = []

/** File systems in memory, of this run. */
const mounted = new Set<string>()
function unmount(mount: string): void {
  if (mounted.delete(mount)) execFileSync('umount', ['-l', mount])
}
process.on('exit', () => mounted.forEach(unmount))

async function startCluster(scenario: Scenario): Promise<{ cluster: MillraceCluster; close(): Promise<void> }> {
  const count = Number(options.brokers)
  const mounts: string[] = []
  if (scenario.smallDisks) {
    for (let at = 0; at < count; at++) {
      const mount = await temporaryDirectory('small-disk')
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600m', 'tmpfs', mount])
      mounted.add(mount)
      mkdirSync(`${mount}/data`)
      mounts.push(mount)
    }
  }
  const cluster = await MillraceCluster.start({
    count,
    shards: Number(options.shards),
    namespaces: scenario.cuts === true,
    ...(mounts.length > 0 ? { dataDirs: mounts.map((mount) => `${mount}/data`) } : {}),
    properties: { 'group.initial.rebalance.delay.ms': '0' },
  })
  return {
    cluster,
    async close() {
      await cluster.close()
      mounts.forEach(unmount)
    },
  }
}

async function runRound(cluster: MillraceCluster, name: string, round: number, history: History): Promise<void> {
  const [kafkajsTopic = '', librdkafkaTopic = '', javaTopic = '', idempotentTopic = ''] = currentTopics
  const writers: Writer[] = [
    new KafkajsWriter(cluster.bootstrap, kafkajsTopic, `k-${round}`, partitions),
    new IdempotentKafkajsWriter(cluster.bootstrap, idempotentTopic, `i-${round}`, partitions),
  ]
  if (withoutLibrdkafka === undefined)
    writers.push(new LibrdkafkaWriter(cluster.bootstrap, librdkafkaTopic, `l-${round}`, partitions))
  if (withoutJava === undefined) writers.push(new JavaWriter(cluster.bootstrap, javaTopic, `j-${round}`, partitions))
  const groupId = `${name}-group`
  const access = accessOf(cluster, partitions)
  const committer = new Committer(groupId, kafkajsTopic, access.coordinator, history.committerOf(groupId))
  await Promise.all(writers.map((writer) => writer.start()))
  committer.start()
  await sleep(500 + random.below(1000))
  const acknowledgedBefore = writers.map(({ acknowledged }) => acknowledged.length)
  const goesOn = (): Promise<void> => {
    const { length } = writers[0]!.acknowledged
    return eventually('every partition takes more', 20_000, async () => {
      const taken = new Set(writers[0]!.acknowledged.slice(length).map(({ partition }) => partition))
      return taken.size === partitions ? true : undefined
    }).then(() => {})
  }
  await scenarios[name]!.run(cluster, goesOn)
  // Progress after the fault, not only no loss.
  await sleep(1500)
  await Promise.all([...writers.map((writer) => writer.stop()), committer.stop()])
  for (const [at, writer] of writers.entries()) {
    if (writer.acknowledged.length <= acknowledgedBefore[at]!) throw new Error(`${writer.name} wrote nothing any more`)
  }
  history.add(writers, committer)
  await history.check(`${name}, round ${round}`, access)
}

async function runScenario(name: string, scenario: Scenario): Promise<History> {
  const history = new History()
  const { cluster, close } = await startCluster(scenario)
  let round = 0
  try {
    currentTopics = ['kafkajs', 'librdkafka', 'java', 'idempotent'].map((library) => `${name}-${library}`)
    for (const topic of currentTopics) await cluster.createTopic(topic, partitions)
    history.begin(currentTopics)
    for (; round < rounds && history.bad === 0; round++) {
      const startedAt = performance.now()
      await runRound(cluster, name, round, history)
      if (options.verbose) console.error(`${name} ${round}: ${Math.round(performance.now() - startedAt)} ms`)
      for (const topic of currentTopics) await cluster.inSync(topic)
    }
  } catch (error) {
    const where = `${name}, round ${round}`
    history.counts.lost++
    history.complain(`${where}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
    history.complain(cluster.outputs())
  } finally {
    await close()
  }
  return history
}

const chosen = options.scenarios?.split(',') ?? Object.keys(scenarios)
let failed = 0
if (withoutJava !== undefined) console.log(`no Java producer takes part: ${withoutJava}`)
if (withoutLibrdkafka !== undefined) console.log(`no librdkafka producer takes part: ${withoutLibrdkafka}`)
for (const name of chosen) {
  const scenario = scenarios[name]
  if (scenario === undefined) throw new Error(`no scenario ${name}: ${Object.keys(scenarios).join()}`)
  if (scenario.cuts && !canCut) {
    console.log(`${name}: left out, no network namespaces can be made here`)
    continue
  }
  const history = await runScenario(name, scenario)
  for (const complaint of history.complaints) console.error(complaint)
  console.log(`${name}: ${rounds} rounds, ${history.report()}`)
  if (history.bad > 0) failed++
}
console.log(`${chosen.length} scenarios, ${failed} failed; seed ${seed}`)
process.exit(failed === 0 ? 0 : 1)
