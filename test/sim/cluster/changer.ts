// Changes of the metadata, one after the other: topics that nobody else uses are made, altered and deleted through any broker.
//
// One task of the workload in the profiles that are about it. What one broker has answered is asked of every other at once; and where a
// bound is given, a change is answered within it although one broker's disk has failed.

import { ErrorCode, errorName } from '../../../protocol/errors.ts'
import { CreateTopicsRequest, CreateTopicsResponse } from '../../../protocol/messages/create-topics.ts'
import { DeleteTopicsRequest, DeleteTopicsResponse } from '../../../protocol/messages/delete-topics.ts'
import { DescribeConfigsRequest, DescribeConfigsResponse } from '../../../protocol/messages/describe-configs.ts'
import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../../protocol/messages/incremental-alter-configs.ts'
import { MetadataRequest, MetadataResponse } from '../../../protocol/messages/metadata.ts'
import type { Fields, Input, Message, Value } from '../../../protocol/schema.ts'
import { ZERO_UUID } from '../../../protocol/schema.ts'
import { type Address, type Client, NoAnswer } from './client.ts'
import { Violation } from './history.ts'

export interface ChangerOptions {
  readonly client: Client
  /** Of each broker. */
  readonly addresses: ReadonlyMap<number, Address>
  readonly replicationFactor: number
  readonly everyMs: number
  /**
   * Since when nothing has been wrong with a broker, its disk and its paths to the others; Infinity while something is, or was a moment ago.
   */
  quietSinceMs(nodeId: number): number
  /** The broker that decides, undefined while nobody knows. */
  controller(): number | undefined
  /** A broker whose disk has failed, and since when nothing else has been wrong with the cluster. */
  failedDisk(): { readonly nodeId: number; readonly sinceMs: number } | undefined
  isOver(): boolean
}

const TOPIC_RESOURCE = 2
/** A change that took longer may have been answered because brokers are waited for no longer than a second (metadata-acks.ts). */
const JUDGED_MS = 900
/** In which a change is answered while one broker's disk has failed: another leader of the metadata is elected, if need be. */
const LIVENESS_MS = 15_000
/** Changes that are judged when everything is whole again. */
const CALM_ROUNDS = 2

/** What a broker says that does not know, undefined otherwise. @param isAllQuiet nothing is wrong with any broker */
type Differs = (other: number, isAllQuiet: boolean) => Promise<string | undefined>

export class Changer {
  readonly #options: ChangerOptions
  #number = 0
  #openSinceMs: number | undefined
  /** Answers of other brokers that were held against a change. */
  judged = 0
  isDone = false

  constructor(options: ChangerOptions) {
    this.#options = options
  }

  async run(): Promise<void> {
    const { client, everyMs, isOver } = this.#options
    let calm = 0
    while (calm < CALM_ROUNDS) {
      await client.sleep(client.random.below(2 * everyMs))
      const wasOver = isOver()
      const before = this.judged
      await this.#round(`change-${this.#number++}`)
      // Three changes, and every broker but the one that answered was asked after each.
      if (wasOver && this.judged - before === 3 * (this.#options.addresses.size - 1)) calm++
    }
    client.closeAll()
    this.isDone = true
  }

  async #round(name: string): Promise<void> {
    const { client, replicationFactor } = this.#options
    await this.#change(
      `${name} is there`,
      async (by) => {
        const answer = await this.#ask(by, CreateTopicsRequest, CreateTopicsResponse, 5, {
          topics: [{ name, numPartitions: 1, replicationFactor, assignments: [], configs: [] }],
          timeoutMs: client.timeoutMs,
        })
        // An earlier attempt may have succeeded: then nobody knows when.
        const errorCode = answer.topics[0]?.errorCode
        return errorCode === ErrorCode.TOPIC_ALREADY_EXISTS ? 'unknown' : errorCode
      },
      async (other, isAllQuiet) => {
        const { topics } = await this.#ask(other, MetadataRequest, MetadataResponse, 12, {
          topics: [{ name }],
          allowAutoTopicCreation: false,
        })
        const [topic] = topics
        const errorCode = topic?.errorCode ?? -1
        if (errorCode !== ErrorCode.NONE) return errorName(errorCode)
        // Who leads it may be away, where anybody is.
        const partitionError = topic?.partitions[0]?.errorCode ?? -1
        return isAllQuiet && partitionError !== ErrorCode.NONE
          ? `${errorName(partitionError)} of its partition`
          : undefined
      },
    )
    const value = `${1 + client.random.below(1_000_000)}`
    await this.#change(
      `${name} has flush.messages=${value}`,
      async (by) => {
        const answer = await this.#ask(by, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, 1, {
          resources: [
            {
              resourceType: TOPIC_RESOURCE,
              resourceName: name,
              configs: [{ name: 'flush.messages', configOperation: 0, value }],
            },
          ],
          validateOnly: false,
        })
        return answer.responses[0]?.errorCode
      },
      async (other) => {
        const { results } = await this.#ask(other, DescribeConfigsRequest, DescribeConfigsResponse, 4, {
          resources: [{ resourceType: TOPIC_RESOURCE, resourceName: name, configurationKeys: ['flush.messages'] }],
        })
        const seen = results[0]?.configs[0]?.value ?? errorName(results[0]?.errorCode ?? -1)
        return seen === value ? undefined : seen
      },
    )
    await this.#change(
      `${name} is gone`,
      async (by) => {
        const answer = await this.#ask(by, DeleteTopicsRequest, DeleteTopicsResponse, 6, {
          topics: [{ name, topicId: ZERO_UUID }],
          timeoutMs: client.timeoutMs,
        })
        const errorCode = answer.responses[0]?.errorCode
        return errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION ? 'unknown' : errorCode
      },
      async (other) => {
        const { topics } = await this.#ask(other, MetadataRequest, MetadataResponse, 12, {
          topics: [{ name }],
          allowAutoTopicCreation: false,
        })
        const errorCode = topics[0]?.errorCode ?? -1
        return errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION ? undefined : errorName(errorCode)
      },
    )
  }

  /**
   * Asks until it is done, then everybody else whether they know.
   * @param ask 'unknown': it was done by an earlier attempt without an answer
   */
  async #change(
    what: string,
    ask: (by: number) => Promise<number | 'unknown' | undefined>,
    differs: Differs,
  ): Promise<void> {
    const { client, addresses, controller, quietSinceMs } = this.#options
    this.#openSinceMs = client.nowMs
    for (;;) {
      this.#mustGoOn(what)
      const by = client.random.pick([...addresses.keys()].filter((id) => id !== this.#options.failedDisk()?.nodeId))
      const decides = controller()
      const askedMs = client.nowMs
      try {
        const done = await ask(by)
        if (done === 'unknown') return
        if (done === ErrorCode.NONE) {
          const answeredMs = client.nowMs
          if (decides === undefined || decides !== controller() || answeredMs - askedMs > JUDGED_MS) return
          const isQuiet = (nodeId: number): boolean => quietSinceMs(nodeId) <= askedMs
          if (!isQuiet(by) || !isQuiet(decides)) return
          const others = [...addresses.keys()].filter((other) => other !== by && isQuiet(other))
          await Promise.all(others.map((other) => this.#judge(what, by, other, differs, isQuiet)))
          return
        }
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await client.sleep(50 + client.random.below(200))
    }
  }

  async #judge(
    what: string,
    by: number,
    other: number,
    differs: Differs,
    isQuiet: (nodeId: number) => boolean,
  ): Promise<void> {
    try {
      const difference = await differs(other, [...this.#options.addresses.keys()].every(isQuiet))
      // Something that befell it before it could answer counts as before.
      if (!isQuiet(other)) return
      this.judged++
      if (difference === undefined) return
      throw new Violation(
        `what one broker has answered every other knows: ${what} says broker ${by}, broker ${other} says ${difference}`,
      )
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
    }
  }

  /** @throws Violation when a change has taken too long although nothing but one disk is out of order */
  #mustGoOn(what: string): void {
    const { client, failedDisk } = this.#options
    const failed = failedDisk()
    if (failed === undefined || this.#openSinceMs === undefined) return
    const waitedMs = client.nowMs - Math.max(this.#openSinceMs, failed.sinceMs)
    if (waitedMs <= LIVENESS_MS) return
    throw new Violation(
      `the cluster goes on changing while a disk has failed: "${what}" not in ${waitedMs.toFixed(0)} ms, broker ${failed.nodeId} is read-only`,
    )
  }

  #ask<Q extends Fields, A extends Fields>(
    nodeId: number,
    request: Message<Q>,
    response: Message<A>,
    version: number,
    body: Input<Q>,
  ): Promise<Value<A>> {
    const { client, addresses } = this.#options
    return client.connect(addresses.get(nodeId)!).call(request, response, version, body, client.timeoutMs)
  }
}
