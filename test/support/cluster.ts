// Several Millrace processes that form one cluster, on loopback or each in a network namespace of its own.
//
// Owned by the test that started it; close() stops everything and removes the data.

import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { errorName } from '../../protocol/errors.ts'
import { MillraceBroker, type MillraceOptions } from './broker.ts'
import { Namespaces, namespacesAvailable } from './namespaces.ts'
import { eventually, freePort, removeDirectory, temporaryDirectory } from './process.ts'
import { api, Wire } from './wire.ts'

const { Kafka, logLevel } = kafkajs

export interface ClusterOptions extends Pick<MillraceOptions, 'shards' | 'memory' | 'properties' | 'env'> {
  /** Default 3. */
  readonly count?: number
  /** Each broker in a network namespace, so that connections between them can be cut. */
  readonly namespaces?: boolean
  /** Data directories by broker, where they must lie on file systems of their own. */
  readonly dataDirs?: readonly string[]
  /** `broker.rack` by broker. */
  readonly racks?: readonly string[]
  /** Brokers by index, each started when the one before it is ready. Default: all at once. */
  readonly order?: readonly number[]
}

export { namespacesAvailable }

/** A broker of a cluster, whoever made it. */
export interface ClusterBroker {
  readonly host: string
  readonly port: number
  readonly pid: number
  readonly bootstrap: string
  /** `kill -9`; resolves when the process is gone. */
  kill(): Promise<void>
  restart(): Promise<void>
  close(): Promise<void>
}

/** What tests and benchmarks ask of a cluster, through an unmodified client. Broker ids are index + 1. */
export abstract class Cluster {
  abstract readonly brokers: readonly ClusterBroker[]
  abstract close(): Promise<void>

  get bootstrap(): string {
    return this.brokers.map(({ bootstrap }) => bootstrap).join(',')
  }

  kafkajs(): kafkajs.Kafka {
    return new Kafka({
      clientId: 'cluster-test',
      brokers: this.bootstrap.split(','),
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 60 },
      requestTimeout: 10_000,
    })
  }

  /**
   * Creates a topic with 3 replicas (or as many as there are brokers).
   * @param replicas broker ids of each partition, the preferred leader first; left out: the cluster decides
   */
  async createTopic(
    topic: string,
    partitions: number,
    configs: Readonly<Record<string, string>> = {},
    replicas?: readonly (readonly number[])[],
  ): Promise<void> {
    const count = {
      numPartitions: partitions,
      replicationFactor: Math.min(3, this.brokers.length),
    }
    const assigned = { replicaAssignment: replicas?.map((ids, partition) => ({ partition, replicas: [...ids] })) }
    const admin = this.kafkajs().admin()
    await admin.connect()
    try {
      await admin.createTopics({
        topics: [
          {
            topic,
            ...(replicas === undefined ? count : assigned),
            configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })),
          },
        ],
      })
    } finally {
      await admin.disconnect()
    }
  }

  /** Index of the broker that leads a partition, as the brokers say. */
  async leaderOf(topic: string, partition: number): Promise<number> {
    return (await this.describe(topic)).find(({ partitionId }) => partitionId === partition)!.leader - 1
  }

  async describe(topic: string): Promise<kafkajs.PartitionMetadata[]> {
    const admin = this.kafkajs().admin()
    await admin.connect()
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      return topics[0]!.partitions
    } finally {
      await admin.disconnect()
    }
  }

  /** Waits until every partition of the topic has all its replicas in sync. */
  async inSync(topic: string, timeoutMs = 60_000): Promise<void> {
    await eventually(`all replicas of ${topic} in sync`, timeoutMs, async () => {
      const partitions = await this.describe(topic)
      if (partitions.every(({ isr, replicas, leader }) => leader >= 0 && isr.length === replicas.length)) return true
      const seen = partitions.map(({ partitionId, leader, isr, replicas }) =>
        lineOf({ partition: partitionId, leader, isr, replicas }),
      )
      throw new Error(`${seen.join('; ')}`)
    })
  }

  /** What each broker says of the topics: leader, in-sync replicas and replicas of every partition, for a failure's report. */
  async views(topics: readonly string[]): Promise<string> {
    const views = this.brokers.map(async (broker, at) => {
      const view = await withinMs(3000, viewOf(broker, topics)).catch((error: Error) => error.message)
      return `broker ${at + 1} says:\n${view}`
    })
    return (await Promise.all(views)).join('\n')
  }
}

interface SeenPartition {
  readonly partition: number
  readonly leader: number
  readonly isr: readonly number[]
  readonly replicas: readonly number[]
}

function lineOf({ partition, leader, isr, replicas }: SeenPartition): string {
  return `${partition} led by ${leader}, in sync ${isr.join(' ')} of ${replicas.join(' ')}`
}

async function viewOf({ port, host }: ClusterBroker, topics: readonly string[]): Promise<string> {
  const wire = await Wire.open({ port, host })
  try {
    const answer = await wire.call(api.metadata, 12, {
      topics: topics.map((name) => ({ name })),
      allowAutoTopicCreation: false,
    })
    const brokers = answer.brokers.map(({ nodeId }) => nodeId).join(' ')
    const lines = [`  controller ${answer.controllerId}, brokers ${brokers}`]
    for (const { name, errorCode, partitions } of answer.topics) {
      const seen = partitions
        .toSorted((one, other) => one.partitionIndex - other.partitionIndex)
        .map(({ partitionIndex, leaderId, leaderEpoch, isrNodes, replicaNodes, errorCode: partitionError }) => {
          const line = lineOf({ partition: partitionIndex, leader: leaderId, isr: isrNodes, replicas: replicaNodes })
          return `${line} in ${leaderEpoch}${partitionError === 0 ? '' : ` (${errorName(partitionError)})`}`
        })
      lines.push(`  ${name}${errorCode === 0 ? '' : ` (${errorName(errorCode)})`}: ${seen.join('; ')}`)
    }
    return lines.join('\n')
  } finally {
    wire.close()
  }
}

async function withinMs<T>(ms: number, promise: Promise<T>): Promise<T> {
  const late = new AbortController()
  try {
    const timeout = sleep(ms, undefined, { signal: late.signal, ref: false }).then(() => {
      throw new Error(`  no answer within ${ms} ms`)
    })
    return await Promise.race([promise, timeout])
  } finally {
    late.abort()
  }
}

export class MillraceCluster extends Cluster {
  readonly brokers: MillraceBroker[] = []
  readonly network: Namespaces | undefined
  readonly #options: ClusterOptions
  readonly #directories: string[] = []
  readonly #peerPorts: number[] = []

  private constructor(options: ClusterOptions, network: Namespaces | undefined) {
    super()
    this.#options = options
    this.network = network
  }

  /** Starts the brokers and resolves when all are ready. */
  static async start(options: ClusterOptions = {}): Promise<MillraceCluster> {
    const count = options.count ?? 3
    const cluster = new MillraceCluster(options, options.namespaces ? new Namespaces(count) : undefined)
    try {
      for (let at = 0; at < count; at++)
        cluster.#peerPorts.push(cluster.network === undefined ? await freePort() : 9800)
      const started: MillraceBroker[] = []
      const start = async (at: number): Promise<void> => {
        started[at] = await cluster.#startBroker(at)
      }
      try {
        if (options.order === undefined) await Promise.all(Array.from({ length: count }, (_, at) => start(at)))
        else for (const at of options.order) await start(at)
      } finally {
        cluster.brokers.push(...started.filter((broker) => broker !== undefined))
      }
      return cluster
    } catch (error) {
      await cluster.close()
      throw error
    }
  }

  #host(at: number): string {
    return this.network?.address(at) ?? '127.0.0.1'
  }

  get seeds(): string {
    return this.#peerPorts.map((port, at) => `${this.#host(at)}:${port}`).join(',')
  }

  async #startBroker(at: number): Promise<MillraceBroker> {
    const { shards = 2, memory = '128m', properties, env, dataDirs, racks } = this.#options
    const dataDir = dataDirs?.[at] ?? (await temporaryDirectory(`broker-${at + 1}`))
    this.#directories[at] = dataDir
    return await MillraceBroker.start({
      host: this.#host(at),
      ...(this.network === undefined ? {} : { port: 9092, wrapper: this.network.wrapper(at) }),
      dataDir,
      shards,
      memory,
      env,
      properties: { ...properties, ...(racks?.[at] === undefined ? {} : { 'broker.rack': racks[at] }) },
      extraArguments: this.flags(at),
    })
  }

  /** The flags that make broker `at` a member. */
  flags(at: number): string[] {
    return [
      '--node-id',
      String(at + 1),
      '--peer-host',
      this.#host(at),
      '--peer-port',
      String(this.#peerPorts[at]),
      '--seed',
      this.seeds,
    ]
  }

  dataDir(at: number): string {
    return this.#directories[at]!
  }

  /** The last of what each broker printed, for a failure's report. */
  outputs(): string {
    return this.brokers
      .map(({ child }, at) => `broker ${at + 1}:\n${child.stdout.slice(-500)}\n${child.stderr.slice(-3000)}`)
      .join('\n')
  }

  /** An empty disk in the place of broker `at`'s, which must not be running. */
  replaceDisk(at: number): void {
    removeDirectory(this.dataDir(at))
  }

  async close(): Promise<void> {
    await Promise.all(this.brokers.map((broker) => broker.close()))
    for (const [at, directory] of this.#directories.entries()) {
      if (directory !== undefined && this.#options.dataDirs?.[at] === undefined) removeDirectory(directory)
    }
    this.network?.close()
  }
}
