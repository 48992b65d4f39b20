// Faults of a cluster of processes under load: `node test/cluster/faults.ts [--scenarios a,b] [--rounds N] [--seed N] [--verbose]`
//
// Each round producers of several client libraries write with acks=all and one client commits group offsets; a fault is made and
// undone; every producer has to go on after it, and in the first round also while it lasts where a majority is left; the producers
// finish, and everything is read back and compared. Prints plain counts per scenario; exits 1 unless every count that should be 0 is 0.
// Without the right to make network namespaces the scenarios that cut connections say so and are left out, or fail with
// MILLRACE_REQUIRE_CLIENTS=1.

import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { errorName } from '../../protocol/errors.ts'
import { SeededRandom } from '../sim/random.ts'
import { MillraceCluster, namespacesAvailable } from '../support/cluster.ts'
import { kafkaUnavailable } from '../support/kafka.ts'
import { eventually, temporaryDirectory } from '../support/process.ts'
import { librdkafkaUnavailable } from '../support/python.ts'
import { produce, RawConnection, recordBatch } from '../support/raw.ts'
import { api, Wire } from '../support/wire.ts'
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
const withoutJava = await kafkaUnavailable()
const withoutLibrdkafka = librdkafkaUnavailable()

interface Scenario {
  readonly cuts?: boolean
  /** Brokers on small file systems of their own. */
  readonly smallDisks?: boolean
  run(cluster: MillraceCluster, load: Load): Promise<void>
}

/** A new leader is there by then: what is acknowledged later owes nothing to the time before the fault. */
const FAILOVER_MS = 3000
/** Every writer goes on within so long of a fault that leaves a majority, and of the end of any. */
const GOES_ON_MS = 15_000
const GOES_ON_AFTER_MS = 30_000

/** The writers of a round, and what is asked of them and of the cluster. */
class Load {
  readonly #cluster: MillraceCluster
  readonly #probeTopic: string
  readonly #writers: readonly Writer[]
  readonly #isDemanding: boolean

  /**
   * @param probeTopic has as many partitions as the others, and no writer
   * @param isDemanding faults that leave a majority last until everybody has gone on
   */
  constructor(cluster: MillraceCluster, probeTopic: string, writers: readonly Writer[], isDemanding: boolean) {
    this.#cluster = cluster
    this.#probeTopic = probeTopic
    this.#writers = writers
    this.#isDemanding = isDemanding
  }

  /** A fault of one broker has begun: lets it last, and long enough to see that every partition is served by the others, and every writer goes on. */
  async through(ms: number, victim: number): Promise<void> {
    const beganMs = performance.now()
    const passedMs = (): number => Math.round(performance.now() - beganMs)
    if (this.#isDemanding) {
      await this.#isServedWithout(victim)
      if (options.verbose) console.error(`every partition took a record ${passedMs()} ms after the fault began`)
      await sleep(Math.max(0, FAILOVER_MS - passedMs()))
      await this.goesOn('during the fault', Math.max(0, GOES_ON_MS - passedMs()))
      if (options.verbose) console.error(`every writer went on ${passedMs()} ms after the fault began`)
    }
    await sleep(Math.max(0, ms - passedMs()))
  }

  /** Waits until every partition has taken a record with acks=all, as brokers other than the victim know its leader: what the cluster owes any client. */
  async #isServedWithout(victim: number): Promise<void> {
    const { brokers } = this.#cluster
    const batch = recordBatch({ values: [Buffer.from('probe')] })
    const left = new Set(Array.from({ length: partitions }, (_, partition) => partition))
    await eventually(`every partition is served without broker ${victim + 1}`, GOES_ON_MS, async () => {
      const wire = await Wire.open(brokers[(victim + 1) % brokers.length]!)
      try {
        const { topics } = await wire.call(api.metadata, 12, { topics: [{ name: this.#probeTopic }] })
        for (const { partitionIndex, leaderId, errorCode } of topics[0]!.partitions) {
          if (!left.has(partitionIndex)) continue
          const at = leaderId - 1
          if (at < 0 || at === victim)
            throw new Error(`${partitionIndex} is led by ${leaderId} (${errorName(errorCode)})`)
          const leader = await RawConnection.open(brokers[at]!.port, brokers[at]!.host)
          const { error } = await produce(leader, this.#probeTopic, partitionIndex, batch).finally(() => leader.close())
          if (error !== 0) throw new Error(`${partitionIndex} at broker ${leaderId}: ${errorName(error)}`)
          left.delete(partitionIndex)
        }
      } finally {
        wire.close()
      }
      return left.size === 0 ? true : undefined
    })
  }

  /** Waits until every writer has more acknowledged than now. */
  async goesOn(when: string, timeoutMs: number): Promise<void> {
    const before = this.#writers.map(({ acknowledged }) => acknowledged.length)
    await eventually(`every writer goes on ${when}`, timeoutMs, async () => {
      const stuck = this.#writers.flatMap(({ name, acknowledged, failure }, at) => {
        if (failure !== undefined) throw new Error(`${name} ${failure}`)
        return acknowledged.length > before[at]! ? [] : [`${name} has nothing acknowledged`]
      })
      if (stuck.length > 0) throw new Error(stuck.join('; '))
      return true
    })
  }
}

/** Under load, and long enough for a new leader: the fault lasts. */
const faultMs = () => 500 + random.below(2500)
const victimOf = (cluster: MillraceCluster) => random.below(cluster.brokers.length)

function stopped(ms: number): Scenario {
  return {
    async run(cluster, load) {
      const victim = victimOf(cluster)
      const { child } = cluster.brokers[victim]!
      child.process.kill('SIGSTOP')
      // Somebody who is away for a second may not be missed.
      if (ms < FAILOVER_MS) await sleep(ms)
      else await load.through(ms, victim)
      child.process.kill('SIGCONT')
    },
  }
}

function isolated(how: 'both' | 'outgoing' | 'incoming'): Scenario {
  return {
    cuts: true,
    async run(cluster, load) {
      const victim = victimOf(cluster)
      cluster.network!.isolate(victim, how)
      await load.through(faultMs() * 2, victim)
      cluster.network!.healAll()
    },
  }
}

const scenarios: Record<string, Scenario> = {
  kill: {
    async run(cluster, load) {
      const victim = victimOf(cluster)
      const broker = cluster.brokers[victim]!
      await broker.kill()
      await load.through(faultMs(), victim)
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
    async run(cluster, load) {
      const mount = `${cluster.dataDir(victimOf(cluster))}/..`
      const { bavail, bsize } = statfsSync(mount)
      execFileSync('fallocate', ['-l', String(bavail * bsize - (20 << 20)), `${mount}/ballast`])
      await sleep(4000)
      await load.goesOn('while a disk is short', GOES_ON_AFTER_MS)
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

const probeTopicOf = (scenario: string): string => `${scenario}-probe`

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
  const load = new Load(cluster, probeTopicOf(name), writers, round === 0)
  await scenarios[name]!.run(cluster, load)
  // Progress, not only no loss.
  await load.goesOn('after the fault', GOES_ON_AFTER_MS)
  await Promise.all([...writers.map((writer) => writer.stop()), committer.stop()])
  history.add(writers, committer)
  await history.check(`${name}, round ${round}`, access)
}

async function runScenario(name: string, scenario: Scenario): Promise<History> {
  const history = new History()
  const { cluster, close } = await startCluster(scenario)
  let round = 0
  try {
    currentTopics = ['kafkajs', 'librdkafka', 'java', 'idempotent'].map((library) => `${name}-${library}`)
    for (const topic of [...currentTopics, probeTopicOf(name)]) await cluster.createTopic(topic, partitions)
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
    history.complain(await cluster.views([...currentTopics, probeTopicOf(name)]))
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
  if (scenario.cuts && !namespacesAvailable()) {
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
