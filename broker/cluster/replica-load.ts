// How many replicas and preferred leaders each broker and each of its shards has: what placement balances by.
//
// Kept by the metadata image of the controller's shard from the first question on. A partition being reassigned counts where it
// is going.

import { shardOf } from '../shard/placement.ts'
import type { PartitionImage } from './metadata.ts'
import { targetReplicas } from './target.ts'

export interface BrokerLoad {
  replicas: number
  /** Partitions that prefer this broker as their leader. */
  leaders: number
  readonly shards: { replicas: number; leaders: number }[]
}

type Counted = Pick<PartitionImage, 'groupId' | 'replicas' | 'removing'>

export class ReplicaLoad {
  readonly #shardCountOf: (nodeId: number) => number
  readonly #brokers = new Map<number, BrokerLoad>()

  constructor(shardCountOf: (nodeId: number) => number) {
    this.#shardCountOf = shardCountOf
  }

  of(nodeId: number): BrokerLoad {
    let load = this.#brokers.get(nodeId)
    if (load === undefined) {
      const shards = Array.from({ length: this.#shardCountOf(nodeId) }, () => ({ replicas: 0, leaders: 0 }))
      load = { replicas: 0, leaders: 0, shards }
      this.#brokers.set(nodeId, load)
    }
    return load
  }

  add(partition: Counted): void {
    this.#count(partition, 1)
  }

  remove(partition: Counted): void {
    this.#count(partition, -1)
  }

  #count(partition: Counted, by: 1 | -1): void {
    const replicas = targetReplicas(partition)
    for (let at = 0; at < replicas.length; at++) {
      const load = this.of(replicas[at]!)
      const shard = load.shards[shardOf(partition.groupId, load.shards.length)]!
      load.replicas += by
      shard.replicas += by
      if (at > 0) continue
      load.leaders += by
      shard.leaders += by
    }
  }
}
