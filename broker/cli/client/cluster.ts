// A cluster seen from a client: where its brokers are, who leads what, whom to ask; and trying again while that changes.
//
// Made by a command, closed by it, used on its one thread. Connections are kept by address and opened when first needed;
// metadata is fetched when asked for and again after every failure that may pass.

import { setTimeout as sleep } from 'node:timers/promises'
import { ErrorCode } from '../../../protocol/errors.ts'
import { FindCoordinatorRequest, FindCoordinatorResponse } from '../../../protocol/messages/find-coordinator.ts'
import { MetadataRequest, MetadataResponse, type MetadataResponseTopic } from '../../../protocol/messages/metadata.ts'
import { type Address, Connection, nameOf } from './connection.ts'
import { ConnectionLost, check, mayPass, Refused, Unreachable, Unsupported } from './errors.ts'

export interface ClusterOptions {
  readonly bootstrap: readonly Address[]
  /** How long one step of a command may take, tries included. */
  readonly timeoutMs: number
}

export interface BrokerNode extends Address {
  readonly nodeId: number
  readonly rack: string | null
}

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

const BACKOFF_FIRST_MS = 50
const BACKOFF_MAX_MS = 1000
const GROUP_KEY_TYPE = 0

export class Cluster {
  readonly timeoutMs: number
  readonly #bootstrap: readonly Address[]
  readonly #connections = new Map<string, Promise<Connection>>()
  #brokers = new Map<number, BrokerNode>()
  #controllerId = -1
  #clusterId: string | null = null
  readonly #topics = new Map<string, MetadataResponseTopic>()
  readonly #coordinators = new Map<string, number>()
  /** Whether a broker has answered yet: only then is a lost connection worth waiting out. */
  #reached = false
  #closed = false

  constructor(options: ClusterOptions) {
    this.#bootstrap = options.bootstrap
    this.timeoutMs = options.timeoutMs
  }

  get clusterId(): string | null {
    return this.#clusterId
  }

  get controllerId(): number {
    return this.#controllerId
  }

  get brokers(): readonly BrokerNode[] {
    return [...this.#brokers.values()].sort((left, right) => left.nodeId - right.nodeId)
  }

  /** The addresses given, as text. */
  get bootstrapName(): string {
    return this.#bootstrap.map(nameOf).join(',')
  }

  /**
   * Runs a step again, with fresh metadata, as long as it fails with what may pass and the timeout allows.
   * @throws what the last try threw
   */
  async attempt<T>(step: () => Promise<T>, timeoutMs = this.timeoutMs): Promise<T> {
    const deadlineMs = performance.now() + timeoutMs
    for (let backoffMs = BACKOFF_FIRST_MS; ; backoffMs = Math.min(2 * backoffMs, BACKOFF_MAX_MS)) {
      try {
        return await step()
      } catch (error) {
        if (!mayPass(error) || this.#closed || performance.now() + backoffMs > deadlineMs) throw error
        this.#topics.clear()
        this.#coordinators.clear()
      }
      await sleep(backoffMs)
    }
  }

  /**
   * A connection to any broker.
   * @throws Unreachable when no broker was ever reached and none answers, ConnectionLost afterwards
   */
  async any(): Promise<Connection> {
    let last: unknown
    const addresses = [...this.#brokers.values(), ...this.#bootstrap]
    // One that answers, before those that may not: a broker that is cut off names the others, dead or alive.
    for (const address of addresses) {
      const kept = await this.#connections.get(nameOf(address))?.catch(() => undefined)
      if (kept?.isOpen === true) return kept
    }
    for (const address of addresses) {
      try {
        return await this.#connect(address)
      } catch (error) {
        last = error
      }
    }
    if (last instanceof Unsupported) throw last
    const reason = last instanceof Error ? last.message : String(last)
    if (this.#reached) throw new ConnectionLost(reason, { cause: last })
    const tried = this.#bootstrap.length === 1 ? reason : `${this.bootstrapName}; the last said: ${reason}`
    throw new Unreachable(`no broker answers at ${tried}`, { cause: last })
  }

  /** @throws Refused when no such broker is alive, ConnectionLost */
  async node(nodeId: number): Promise<Connection> {
    if (!this.#brokers.has(nodeId)) await this.metadata([])
    const broker = this.#brokers.get(nodeId)
    if (broker === undefined) throw new Refused(`broker ${nodeId} is not there`, ErrorCode.BROKER_NOT_AVAILABLE)
    return this.#connect(broker)
  }

  /** Whom to ask for changes of topics. Falls back to any broker, which passes the request on where there is KRaft. */
  async controller(): Promise<Connection> {
    await this.metadata([])
    const controller = this.#brokers.get(this.#controllerId)
    if (controller === undefined) return this.any()
    try {
      return await this.#connect(controller)
    } catch (error) {
      // A broker that is cut off names the last one it knew.
      if (error instanceof ConnectionLost) return this.any()
      throw error
    }
  }

  /** The broker that coordinates a group. */
  async coordinator(groupId: string): Promise<Connection> {
    let nodeId = this.#coordinators.get(groupId)
    if (nodeId === undefined) {
      nodeId = await this.#findCoordinator(groupId)
      this.#coordinators.set(groupId, nodeId)
    }
    return this.node(nodeId)
  }

  /** Forgets what a failed request has shown to be out of date. */
  forgetCoordinator(groupId: string): void {
    this.#coordinators.delete(groupId)
  }

  /**
   * Asks for topics by name, for all (null), or for brokers only ([]).
   * @param options.create lets the broker create what is missing, if it does so at all
   * @returns the topics asked for, each with its error code
   */
  async metadata(
    topics: readonly string[] | null,
    options: { create?: boolean } = {},
  ): Promise<readonly MetadataResponseTopic[]> {
    const connection = await this.any()
    const response = await connection.request(MetadataRequest, MetadataResponse, {
      topics: topics === null ? null : topics.map((name) => ({ name })),
      allowAutoTopicCreation: options.create === true,
    })
    check('cannot read the metadata', response.errorCode)
    this.#brokers = new Map(response.brokers.map((broker) => [broker.nodeId, broker]))
    this.#controllerId = response.controllerId
    this.#clusterId = response.clusterId
    for (const topic of response.topics) {
      if (topic.name !== null && topic.errorCode === ErrorCode.NONE) this.#topics.set(topic.name, topic)
    }
    return response.topics
  }

  /**
   * One topic's metadata, from memory when it is known.
   * @throws Refused UNKNOWN_TOPIC_OR_PARTITION at once: a missing topic is an answer, not a passing state
   */
  async topic(name: string, options: { create?: boolean } = {}): Promise<MetadataResponseTopic> {
    const known = this.#topics.get(name)
    if (known !== undefined) return known
    const [topic] = await this.metadata([name], options)
    const missing = topic === undefined || topic.errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if (topic === undefined || (missing && options.create !== true)) throw noSuchTopic(name)
    check(`topic ${name} is not available`, topic.errorCode)
    return topic
  }

  /** Forgets a topic's leaders. */
  forgetTopic(name: string): void {
    this.#topics.delete(name)
  }

  /** @throws Refused when the topic or partition is missing, or has no leader now */
  async leaderOf(topic: string, partition: number): Promise<number> {
    const { partitions } = await this.topic(topic)
    const found = partitions.find(({ partitionIndex }) => partitionIndex === partition)
    if (found === undefined) {
      throw new NoSuchItem(`topic ${topic} has no partition ${partition}, only ${partitions.length}`)
    }
    if (found.leaderId < 0)
      throw new Refused(`${topic}, partition ${partition} has no leader`, ErrorCode.LEADER_NOT_AVAILABLE)
    return found.leaderId
  }

  /** Splits work on partitions by the broker that leads each. */
  async byLeader<T extends TopicPartition>(items: readonly T[]): Promise<Map<number, T[]>> {
    const split = new Map<number, T[]>()
    for (const item of items) {
      const leader = await this.leaderOf(item.topic, item.partition)
      const share = split.get(leader)
      if (share === undefined) split.set(leader, [item])
      else share.push(item)
    }
    return split
  }

  close(): void {
    this.#closed = true
    for (const connection of this.#connections.values()) {
      connection.then(
        (open) => open.close(),
        () => {},
      )
    }
    this.#connections.clear()
  }

  async #findCoordinator(groupId: string): Promise<number> {
    const connection = await this.any()
    const what = `no coordinator for group ${groupId}`
    const answer = await connection.request(FindCoordinatorRequest, FindCoordinatorResponse, {
      key: groupId,
      keyType: GROUP_KEY_TYPE,
      coordinatorKeys: [groupId],
    })
    check(what, answer.errorCode, answer.errorMessage)
    const [first] = answer.coordinators
    if (first === undefined) return answer.nodeId
    check(what, first.errorCode, first.errorMessage)
    return first.nodeId
  }

  async #connect(address: Address): Promise<Connection> {
    const name = nameOf(address)
    const kept = this.#connections.get(name)
    if (kept !== undefined) {
      const connection = await kept.catch(() => undefined)
      if (connection?.isOpen) return connection
    }
    if (this.#closed) throw new Unreachable('the command was stopped')
    const again = this.#connections.get(name)
    // Another caller may have begun to connect while this one waited.
    if (again !== undefined && again !== kept) return again
    const opening = Connection.open(address, this.timeoutMs)
    this.#connections.set(name, opening)
    const connection = await opening
    this.#reached = true
    return connection
  }
}

/** What was named does not exist: known for certain, so nothing is tried again. */
export class NoSuchItem extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'NoSuchItem'
  }
}

export function noSuchTopic(name: string): NoSuchItem {
  return new NoSuchItem(`topic ${name} does not exist`)
}

/** One string for a partition, to look it up by; a topic's name holds no slash. */
export function partitionKey(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
