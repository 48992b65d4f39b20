// Apache Kafka beside us: its jars from Maven Central, a single-node broker to compare with, and its command-line tools.
//
// The jars are fetched once into .cache/kafka (git-ignored) with the Maven that the machine has. Nothing here is needed by
// the unit tests; a suite asks `kafkaUnavailable()` first and skips itself with the reason.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Child,
  cacheDirectory,
  freePort,
  hasProgram,
  removeDirectory,
  repositoryDirectory,
  run,
  type ToolResult,
  temporaryDirectory,
} from './process.ts'
import { answersApiVersions } from './raw.ts'

export const kafkaVersion = '4.3.0'
const jarDirectory = join(cacheDirectory, 'kafka', kafkaVersion)
const log4jConfig = join(repositoryDirectory, 'test/support/kafka-log4j2.properties')

/** Main classes of the tools, by the name of their shell script without `kafka-` and `.sh`. */
export const kafkaTools = {
  topics: 'org.apache.kafka.tools.TopicCommand',
  'console-producer': 'org.apache.kafka.tools.ConsoleProducer',
  'console-consumer': 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'consumer-groups': 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  groups: 'org.apache.kafka.tools.GroupsCommand',
  configs: 'kafka.admin.ConfigCommand',
  'get-offsets': 'org.apache.kafka.tools.GetOffsetShell',
  'delete-records': 'org.apache.kafka.tools.DeleteRecordsCommand',
  'producer-perf-test': 'org.apache.kafka.tools.ProducerPerformance',
  'consumer-perf-test': 'org.apache.kafka.tools.ConsumerPerformance',
  'dump-log': 'org.apache.kafka.tools.DumpLogSegments',
  'log-dirs': 'org.apache.kafka.tools.LogDirsCommand',
  'broker-api-versions': 'org.apache.kafka.tools.BrokerApiVersionsCommand',
  cluster: 'org.apache.kafka.tools.ClusterTool',
  transactions: 'org.apache.kafka.tools.TransactionsCommand',
  storage: 'kafka.tools.StorageTool',
  'verifiable-producer': 'org.apache.kafka.tools.VerifiableProducer',
  'verifiable-consumer': 'org.apache.kafka.tools.VerifiableConsumer',
  reassign: 'org.apache.kafka.tools.reassign.ReassignPartitionsCommand',
  'leader-election': 'org.apache.kafka.tools.LeaderElectionCommand',
  'metadata-quorum': 'org.apache.kafka.tools.MetadataQuorumCommand',
} as const
export type KafkaTool = keyof typeof kafkaTools

/**
 * Why Kafka cannot be run here, or undefined when it can. With MILLRACE_REQUIRE_CLIENTS=1 (the CI run) a missing piece is
 * an error instead of a reason to skip.
 */
export async function kafkaUnavailable(): Promise<string | undefined> {
  const reason = await unavailableReason()
  if (reason !== undefined && process.env.MILLRACE_REQUIRE_CLIENTS === '1') throw new Error(reason)
  return reason
}

async function unavailableReason(): Promise<string | undefined> {
  if (!(await hasProgram('java', ['-version']))) return 'Java is missing: apt-get install default-jdk-headless'
  if (!existsSync(jarDirectory)) return "Kafka's jars are missing: node test/support/setup.ts"
  return undefined
}

/** Fetches the jars unless they are there. @throws Error with Maven's last lines */
export async function installKafka(): Promise<void> {
  if (existsSync(jarDirectory)) return
  const work = `${jarDirectory}.${process.pid}`
  mkdirSync(work, { recursive: true })
  const result = await run(
    'mvn',
    [
      '-q',
      '-B',
      '-f',
      join(repositoryDirectory, 'test/support/kafka-pom.xml'),
      'dependency:copy-dependencies',
      '-DincludeScope=runtime',
      `-DoutputDirectory=${work}`,
    ],
    { timeoutMs: 600_000 },
  )
  if (result.code !== 0) {
    rmSync(work, { recursive: true, force: true })
    throw new Error(`mvn could not fetch Kafka ${kafkaVersion}\n${(result.stdout + result.stderr).slice(-2000)}`)
  }
  // Two processes may fetch at once: the first rename wins, and both copies are the same.
  if (existsSync(jarDirectory)) rmSync(work, { recursive: true, force: true })
  else renameSync(work, jarDirectory)
}

function javaArguments(heapMb: number, quickStart: boolean): string[] {
  const flags = [`-Xmx${heapMb}m`, '-Xshare:auto', `-Dlog4j2.configurationFile=${log4jConfig}`]
  if (quickStart) flags.push('-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1')
  const classPath = readdirSync(jarDirectory).map((name) => join(jarDirectory, name))
  return [...flags, '-cp', classPath.join(':')]
}

/** Runs one of Kafka's tools to its end, with flags that start a JVM fast rather than run it fast. */
export function kafkaTool(
  tool: KafkaTool,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<ToolResult> {
  return run('java', [...javaArguments(256, true), kafkaTools[tool], ...args], options)
}

/** Starts one of Kafka's tools and leaves it running. */
export function startKafkaTool(tool: KafkaTool, args: readonly string[]): Child {
  return new Child('java', [...javaArguments(256, true), kafkaTools[tool], ...args])
}

export interface KafkaOptions {
  /** Broker properties on top of the single-node defaults below. */
  properties?: Readonly<Record<string, string>>
  port?: number
  /** Where its log goes; by default a temporary directory, removed by `close`. */
  directory?: string
  heapMb?: number
  /** Where its controller listens; by default any free port. */
  controllerPort?: number
  /** False: one of several nodes, whose `properties` name the controllers. Default true. */
  standalone?: boolean
  /** Full JIT and G1, as a real installation runs; tests prefer a fast start. */
  production?: boolean
}

/** A running single-node Kafka. */
export class KafkaBroker {
  readonly port: number
  readonly directory: string
  child: Child
  readonly #options: KafkaOptions
  readonly #ownDirectory: boolean

  private constructor(child: Child, port: number, directory: string, options: KafkaOptions) {
    this.child = child
    this.port = port
    this.directory = directory
    this.#options = options
    this.#ownDirectory = options.directory === undefined
  }

  static async start(options: KafkaOptions = {}): Promise<KafkaBroker> {
    await installKafka()
    const directory = options.directory ?? (await temporaryDirectory('kafka'))
    const port = options.port ?? (await freePort())
    const controllerPort = options.controllerPort ?? (await freePort())
    const standalone = options.standalone ?? true
    const properties: Record<string, string> = {
      'process.roles': 'broker,controller',
      'node.id': '1',
      ...(standalone ? { 'controller.quorum.bootstrap.servers': `127.0.0.1:${controllerPort}` } : {}),
      listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
      'controller.listener.names': 'CONTROLLER',
      'log.dirs': join(directory, 'log'),
      'offsets.topic.replication.factor': '1',
      'transaction.state.log.replication.factor': '1',
      'transaction.state.log.min.isr': '1',
      'share.coordinator.state.topic.replication.factor': '1',
      'share.coordinator.state.topic.min.isr': '1',
      'group.initial.rebalance.delay.ms': '0',
      ...options.properties,
    }
    const file = join(directory, 'server.properties')
    writeFileSync(
      file,
      Object.entries(properties)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    )
    if (!existsSync(join(directory, 'log', 'meta.properties'))) {
      const clusterId = 'MillraceTestClusterIdA'
      const formatted = await kafkaTool('storage', [
        'format',
        ...(standalone ? ['--standalone'] : []),
        ...['-t', clusterId, '-c', file],
      ])
      if (formatted.code !== 0) throw new Error(`kafka-storage format failed\n${formatted.stdout}${formatted.stderr}`)
    }
    const broker = new KafkaBroker(KafkaBroker.#spawn(file, options), port, directory, options)
    await broker.ready()
    return broker
  }

  static #spawn(file: string, options: KafkaOptions): Child {
    const heapMb = options.heapMb ?? (options.production ? 1024 : 384)
    const flags = javaArguments(heapMb, options.production !== true)
    if (options.production) flags.unshift('-server', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', `-Xms${heapMb}m`)
    return new Child('java', [...flags, 'kafka.Kafka', file])
  }

  readonly host = '127.0.0.1'

  get bootstrap(): string {
    return `${this.host}:${this.port}`
  }

  get pid(): number {
    return this.child.pid
  }

  /** Resolves when the broker answers ApiVersions. */
  async ready(timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs
    while (performance.now() < deadline) {
      if (!this.child.running) break
      if (await answersApiVersions(this.port)) return
      await sleep(20)
    }
    throw new Error(`Kafka did not get ready\n${this.child.stdout.slice(-3000)}\n${this.child.stderr.slice(-3000)}`)
  }

  async kill(): Promise<void> {
    await this.child.stop('SIGKILL')
  }

  async restart(): Promise<void> {
    this.child = KafkaBroker.#spawn(join(this.directory, 'server.properties'), this.#options)
    await this.ready()
  }

  async close(): Promise<void> {
    if (this.child.running) await this.child.stop('SIGKILL')
    if (this.#ownDirectory) removeDirectory(this.directory)
  }
}
