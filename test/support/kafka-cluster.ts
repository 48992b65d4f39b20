// Several Apache Kafka processes as one KRaft cluster, to compare with: every node is broker and controller.

import { Cluster } from './cluster.ts'
import { KafkaBroker, type KafkaOptions } from './kafka.ts'
import { freePort, removeDirectory, temporaryDirectory } from './process.ts'

export class KafkaCluster extends Cluster {
  readonly brokers: KafkaBroker[] = []
  readonly #directories: string[] = []

  static async start(options: Pick<KafkaOptions, 'properties' | 'production' | 'heapMb'> & { count?: number } = {}) {
    const cluster = new KafkaCluster()
    const { count = 3, properties, ...rest } = options
    const controllers: number[] = []
    for (let at = 0; at < count; at++) controllers.push(await freePort())
    const voters = controllers.map((port, at) => `${at + 1}@127.0.0.1:${port}`).join(',')
    const replicas = String(Math.min(3, count))
    try {
      await Promise.all(
        controllers.map(async (controllerPort, at) => {
          const directory = await temporaryDirectory(`kafka-${at + 1}`)
          cluster.#directories.push(directory)
          cluster.brokers[at] = await KafkaBroker.start({
            ...rest,
            directory,
            controllerPort,
            // A fixed set of voters instead of one that a first node founds.
            standalone: false,
            properties: {
              'node.id': String(at + 1),
              'controller.quorum.voters': voters,
              'offsets.topic.replication.factor': replicas,
              'transaction.state.log.replication.factor': replicas,
              ...properties,
            },
          })
        }),
      )
      return cluster
    } catch (error) {
      await cluster.close()
      throw error
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.brokers.map((broker) => broker.close()))
    for (const directory of this.#directories) removeDirectory(directory)
  }
}
