// What an operator does to a cluster while it runs: moves replicas, moves leaders back, drains brokers and lets them in again.
//
// One task of the workload in runs with several brokers. Nothing it asks for may lose what was promised, and in the end nothing of it is left
// half-done.

import { ErrorCode } from '../../../protocol/errors.ts'
import {
  AlterPartitionReassignmentsRequest,
  AlterPartitionReassignmentsResponse,
} from '../../../protocol/messages/alter-partition-reassignments.ts'
import { ElectLeadersRequest, ElectLeadersResponse } from '../../../protocol/messages/elect-leaders.ts'
import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../../protocol/messages/incremental-alter-configs.ts'
import { type Client, NoAnswer } from './client.ts'
import type { PartitionKey } from './history.ts'

export interface OperatorOptions {
  readonly client: Client
  readonly brokerIds: readonly number[]
  /** Fewest replicas a partition is moved to. */
  readonly replicasMin: number
  readonly everyMs: number
  readonly drains: boolean
  partitions(): readonly PartitionKey[]
  say(text: string): void
  isOver(): boolean
}

const BROKER_RESOURCE = 4

export class Operator {
  readonly #options: OperatorOptions
  readonly #drained = new Set<number>()
  isDone = false

  constructor(options: OperatorOptions) {
    this.#options = options
  }

  /** Works until the run is over, then takes back what would stay. */
  async run(): Promise<void> {
    const { client, isOver, everyMs } = this.#options
    while (!isOver()) {
      await client.sleep(client.random.below(2 * everyMs))
      try {
        await this.#act()
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
    }
    for (const nodeId of [...this.#drained]) await this.#untilSet(nodeId, false)
    client.closeAll()
    this.isDone = true
  }

  async #act(): Promise<void> {
    const { client, partitions, isOver, drains, brokerIds } = this.#options
    const all = partitions()
    if (all.length === 0 || isOver()) return
    const partition = client.random.pick(all)
    const die = client.random.below(10)
    if (die < 4) await this.#reassign(partition)
    else if (die < 8 || !drains) await this.#elect()
    else if (this.#drained.size > 0) await this.#set([...this.#drained][0]!, false)
    else await this.#set(client.random.pick(brokerIds), true)
  }

  async #reassign({ topic, partition }: PartitionKey): Promise<void> {
    const { client, brokerIds, replicasMin, say } = this.#options
    const { random } = client
    const count = replicasMin + random.below(brokerIds.length - replicasMin + 1)
    const replicas = random.chance(0.1) ? null : random.shuffle([...brokerIds]).slice(0, count)
    say(
      replicas === null
        ? `cancels moving ${topic}-${partition}`
        : `moves ${topic}-${partition} to ${replicas.join(' ')}`,
    )
    await client.any(AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, 1, {
      timeoutMs: 2000,
      topics: [{ name: topic, partitions: [{ partitionIndex: partition, replicas }] }],
    })
  }

  async #elect(): Promise<void> {
    const { client, say } = this.#options
    say('elects preferred leaders')
    await client.any(ElectLeadersRequest, ElectLeadersResponse, 2, {
      electionType: 0,
      topicPartitions: null,
      timeoutMs: 2000,
    })
  }

  /** @returns whether the cluster has taken it */
  async #set(nodeId: number, draining: boolean): Promise<boolean> {
    const { client, say } = this.#options
    say(`${draining ? 'drains' : 'lets in again'} broker ${nodeId}`)
    this.#drained.add(nodeId)
    const answer = await client.any(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, 1, {
      resources: [
        {
          resourceType: BROKER_RESOURCE,
          resourceName: `${nodeId}`,
          configs: [
            { name: 'millrace.broker.draining', configOperation: draining ? 0 : 1, value: draining ? 'true' : null },
          ],
        },
      ],
      validateOnly: false,
    })
    const done = answer.responses[0]?.errorCode === ErrorCode.NONE
    if (done && !draining) this.#drained.delete(nodeId)
    return done
  }

  async #untilSet(nodeId: number, draining: boolean): Promise<void> {
    for (;;) {
      try {
        if (await this.#set(nodeId, draining)) return
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await this.#options.client.sleep(200)
    }
  }
}
