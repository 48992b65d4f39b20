// What clients do during a run: topics come and go, producers write, groups read, an auditor asks.
//
// One per run. Everything is decided by the seed before it happens; the history keeps what was promised.

import { ErrorCode, errorName } from '../../../protocol/errors.ts'
import { CreateTopicsRequest, CreateTopicsResponse } from '../../../protocol/messages/create-topics.ts'
import { DeleteRecordsRequest, DeleteRecordsResponse } from '../../../protocol/messages/delete-records.ts'
import { DeleteTopicsRequest, DeleteTopicsResponse } from '../../../protocol/messages/delete-topics.ts'
import { ZERO_UUID } from '../../../protocol/schema.ts'
import { SeededRandom } from '../random.ts'
import type { World } from './broker.ts'
import { Changer, type ChangerOptions } from './changer.ts'
import { type Address, Client, NoAnswer } from './client.ts'
import { Auditor, consume, fetchOnce, GroupMember } from './consumer.ts'
import { type History, type PartitionKey, Violation } from './history.ts'
import { Operator } from './operator.ts'
import { Producer } from './producer.ts'

export interface WorkloadOptions {
  readonly world: World
  readonly history: History
  readonly seed: number
  readonly bootstrap: readonly Address[]
  readonly replicationFactor: number
  readonly minInsyncReplicas: number
  readonly topics: number
  readonly partitionsMax: number
  readonly producers: number
  readonly batches: number
  readonly batchRecordsMax: number
  readonly recordBytesMax: number
  readonly pauseMs: number
  readonly groups: number
  readonly membersMax: number
  readonly auditors: number
  readonly timeoutMs: number
  /** Share of producers that are idempotent. */
  readonly idempotentShare: number
  readonly acksOneShare: number
  /** Topics are deleted on the way with this chance each. */
  readonly deleteShare: number
  readonly trimShare: number
  readonly segmentBytes: number
  readonly brokerIds: readonly number[]
  /** Mean pause between what the operator does; 0: there is none. */
  readonly operatorEveryMs: number
  readonly operatorDrains: boolean
  /** Mean pause between changes that are asked of every broker; 0: there are none. */
  readonly changeEveryMs: number
  readonly whole: Pick<ChangerOptions, 'quietSinceMs' | 'controller' | 'failedDisk'>
}

interface Topic {
  readonly name: string
  readonly topicId: string
  readonly partitions: readonly PartitionKey[]
  isGone: boolean
}

export class Workload {
  readonly topics: Topic[] = []
  readonly #options: WorkloadOptions
  readonly #random: SeededRandom
  readonly #producers: Producer[] = []
  readonly #members: GroupMember[] = []
  readonly #auditors: Auditor[] = []
  readonly #groupsOf = new Map<string, readonly PartitionKey[]>()
  #clients = 0
  #started = 0
  #producersDue = 0
  #isOver = false
  #faultsAreOver = false
  #operator: Operator | undefined
  #changer: Changer | undefined

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.#random = new SeededRandom(options.seed)
  }

  /** A client with a host of its own. */
  client(kind: string): Client {
    const { world, bootstrap, timeoutMs } = this.#options
    const number = ++this.#clients
    const name = `${kind}-${number}`
    return new Client({
      scheduler: world.scheduler,
      network: world.network,
      random: new SeededRandom(this.#random.uint32()),
      actor: world.scheduler.actor(name, (error) => world.violated(error)),
      host: name,
      bootstrap,
      timeoutMs,
    })
  }

  get clientHosts(): number {
    return this.#clients
  }

  start(): void {
    const { world, topics, auditors, brokerIds, operatorEveryMs, operatorDrains, minInsyncReplicas } = this.#options
    if (operatorEveryMs > 0) {
      this.#task('operator', 1000, (client) => {
        this.#operator = new Operator({
          client,
          brokerIds,
          replicasMin: Math.min(brokerIds.length, Math.max(3, minInsyncReplicas)),
          everyMs: operatorEveryMs,
          drains: operatorDrains,
          partitions: () => this.topics.filter(({ isGone }) => !isGone).flatMap(({ partitions }) => partitions),
          say: (text) => world.say('operator', text),
          isOver: () => this.#faultsAreOver,
        })
        return this.#operator.run()
      })
    }
    if (this.#options.changeEveryMs > 0) {
      const { bootstrap, replicationFactor, changeEveryMs, whole } = this.#options
      this.#task('changer', 1000, (client) => {
        this.#changer = new Changer({
          ...whole,
          client,
          addresses: new Map(bootstrap.map((address, at) => [brokerIds[at]!, address])),
          replicationFactor,
          everyMs: changeEveryMs,
          isOver: () => this.#faultsAreOver,
        })
        return this.#changer.run()
      })
    }
    for (let topic = 0; topic < topics; topic++) {
      this.#task('admin', topic === 0 ? 0 : this.#random.below(3000), (client) =>
        this.#liveTopic(client, `topic-${topic}`),
      )
    }
    for (let at = 0; at < auditors; at++) {
      this.#task('auditor', 0, (client) => {
        const auditor = new Auditor({
          client,
          history: this.#options.history,
          partitions: () => this.topics.filter(({ isGone }) => !isGone).flatMap(({ partitions }) => partitions),
          isTopicGone: (partition) => this.#topicOf(partition).isGone,
          isOver: () => this.#isOver,
        })
        this.#auditors.push(auditor)
        return auditor.run()
      })
    }
  }

  /** Whether all producers have had everything acknowledged that they had to say. */
  get isWritten(): boolean {
    // Some begin a while after their topic was made.
    const haveBegun = this.#started === this.#options.topics && this.#producers.length === this.#producersDue
    return haveBegun && this.#producers.every(({ isDone }) => isDone)
  }

  /** Whether every group has committed up to the end of its partitions. */
  get isRead(): boolean {
    const { history } = this.#options
    for (const [group, partitions] of this.#groupsOf) {
      for (const partition of partitions) {
        if (this.#topicOf(partition).isGone) continue
        if (Math.max(0, history.leastCommitted(group, partition)) < history.committedEnd(partition)) return false
      }
    }
    return true
  }

  /** What still has to happen, for the message of a run that does not end. */
  pending(): string {
    const { history } = this.#options
    const parts: string[] = []
    if (this.#changer?.isDone === false) parts.push('changes that every broker is asked about')
    if (this.#started < this.#options.topics) parts.push(`${this.#options.topics - this.#started} topics to create`)
    for (const { lane, isDone } of this.#producers) {
      if (!isDone) {
        parts.push(
          `lane ${lane.id} of ${lane.partition.topic}-${lane.partition.partition}: ${lane.acked.size} of ${lane.sizes.length} acknowledged`,
        )
      }
    }
    for (const [group, partitions] of this.#groupsOf) {
      for (const partition of partitions) {
        if (this.#topicOf(partition).isGone) continue
        const committed = Math.max(0, history.leastCommitted(group, partition))
        const end = history.committedEnd(partition)
        if (committed < end)
          parts.push(`${group} of ${partition.topic}-${partition.partition}: ${committed} of ${end} committed`)
      }
    }
    return parts.join('; ')
  }

  /** Answers that were held against a change that another broker had answered. */
  get judgedChanges(): number {
    return this.#changer?.judged ?? 0
  }

  /** Everything is whole again: the operator ends, too. */
  calm(): void {
    this.#faultsAreOver = true
  }

  get isCalm(): boolean {
    return this.#operator?.isDone !== false && this.#changer?.isDone !== false
  }

  finish(): void {
    this.#isOver = true
  }

  get isFinished(): boolean {
    return this.#members.every(({ isDone }) => isDone) && this.#auditors.every(({ isDone }) => isDone)
  }

  #topicOf(partition: PartitionKey): Topic {
    return this.topics.find(({ topicId }) => topicId === partition.topicId)!
  }

  #task(kind: string, delayMs: number, run: (client: Client) => Promise<void>): void {
    const client = this.client(kind)
    client.scheduler.after(delayMs, client.actor, () => {
      run(client).catch((error) => this.#options.world.violated(error))
    })
  }

  async #liveTopic(client: Client, name: string): Promise<void> {
    const { world, history, producers, batches, groups, membersMax, deleteShare, trimShare } = this.#options
    const topic = await this.#createTopic(client, name)
    this.topics.push(topic)
    world.say('admin', `${name} has ${topic.partitions.length} partitions`)
    this.#producersDue += producers
    for (let at = 0; at < producers; at++) {
      const partition = client.random.pick(topic.partitions)
      const idempotent = client.random.chance(this.#options.idempotentShare)
      this.#task('producer', client.random.below(500), (own) => {
        const producer = new Producer({
          client: own,
          history,
          partition,
          idempotent,
          acks: !idempotent && own.random.chance(this.#options.acksOneShare) ? 1 : -1,
          batches,
          batchRecordsMax: this.#options.batchRecordsMax,
          recordBytesMax: this.#options.recordBytesMax,
          pauseMs: this.#options.pauseMs,
          isTopicGone: () => topic.isGone,
        })
        this.#producers.push(producer)
        return producer.run()
      })
    }
    for (let at = 0; at < groups; at++) {
      const group = `group-${name}-${at}`
      this.#groupsOf.set(group, topic.partitions)
      for (let member = 1 + client.random.below(membersMax); member > 0; member--) {
        this.#task('member', client.random.below(1500), (own) => {
          const one = new GroupMember({
            client: own,
            history,
            group,
            partitions: topic.partitions,
            sessionTimeoutMs: 2000,
            rebalanceTimeoutMs: 1500,
            isOver: () => this.#isOver || topic.isGone,
            isFickle: own.random.chance(0.3),
            rack: own.random.chance(0.3) ? `rack-${own.random.below(3)}` : undefined,
          })
          this.#members.push(one)
          return one.run()
        })
      }
    }
    this.#started++
    if (client.random.chance(trimShare)) await this.#trim(client, topic)
    if (client.random.chance(deleteShare)) {
      await client.sleep(2000 + client.random.below(6000))
      await this.#deleteTopic(client, topic)
    }
    client.closeAll()
  }

  async #createTopic(client: Client, name: string): Promise<Topic> {
    const { replicationFactor, minInsyncReplicas, partitionsMax, segmentBytes } = this.#options
    const count = 1 + client.random.below(partitionsMax)
    for (;;) {
      try {
        const answer = await client.any(CreateTopicsRequest, CreateTopicsResponse, 5, {
          topics: [
            {
              name,
              numPartitions: count,
              replicationFactor,
              assignments: [],
              configs: [
                { name: 'internal.segment.bytes', value: `${segmentBytes}` },
                { name: 'min.insync.replicas', value: `${minInsyncReplicas}` },
                { name: 'file.delete.delay.ms', value: `${client.random.below(2000)}` },
                { name: 'index.interval.bytes', value: `${client.random.below(2000)}` },
              ],
            },
          ],
          timeoutMs: 2000,
        })
        const errorCode = answer.topics[0]?.errorCode
        // An earlier attempt may have succeeded.
        if (errorCode === ErrorCode.NONE || errorCode === ErrorCode.TOPIC_ALREADY_EXISTS) {
          if ((await client.refresh(name)) === count) {
            const topicId = client.topicId(name)!
            const partitions = Array.from({ length: count }, (_, partition) => ({ topic: name, topicId, partition }))
            return { name, topicId, partitions, isGone: false }
          }
        } else if (!RETRIED.has(errorCode ?? -1)) {
          throw new Violation(`a topic can be created: ${errorName(errorCode ?? -1)} ${answer.topics[0]?.errorMessage}`)
        }
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await client.sleep(50 + client.random.below(200))
    }
  }

  async #deleteTopic(client: Client, topic: Topic): Promise<void> {
    // From the first attempt on nothing is promised about it any more.
    topic.isGone = true
    this.#options.world.say('admin', `deletes ${topic.name}`)
    while (!this.#isOver) {
      try {
        const answer = await client.any(DeleteTopicsRequest, DeleteTopicsResponse, 6, {
          topics: [{ name: topic.name, topicId: ZERO_UUID }],
          timeoutMs: 2000,
        })
        const errorCode = answer.responses[0]?.errorCode
        if (errorCode === ErrorCode.NONE || errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) return
        if (!RETRIED.has(errorCode ?? -1)) throw new Violation(`a topic can be deleted: ${errorName(errorCode ?? -1)}`)
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await client.sleep(50 + client.random.below(200))
    }
  }

  /** Deletes the older half of a partition's records once. */
  async #trim(client: Client, topic: Topic): Promise<void> {
    const { history } = this.#options
    await client.sleep(2000 + client.random.below(3000))
    const partition = client.random.pick(topic.partitions)
    const offset = Math.floor(history.committedEnd(partition) / 2)
    if (offset === 0) return
    history.trimming(partition, offset)
    this.#options.world.say('admin', `deletes the records of ${topic.name}-${partition.partition} below ${offset}`)
    while (!this.#isOver && !topic.isGone) {
      try {
        const leader = await client.leaderOf(topic.name, partition.partition)
        if (leader !== undefined) {
          const answer = await client.broker(leader, DeleteRecordsRequest, DeleteRecordsResponse, 2, {
            topics: [{ name: topic.name, partitions: [{ partitionIndex: partition.partition, offset }] }],
            timeoutMs: 2000,
          })
          if (answer.topics[0]?.partitions[0]?.errorCode === ErrorCode.NONE) return
        }
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      client.forgetLeader(topic.name, partition.partition)
      await client.sleep(50 + client.random.below(200))
    }
  }

  /** Reads a partition from its start to its high watermark, as a consumer without a group. @throws NoAnswer */
  async readAll(
    client: Client,
    partition: PartitionKey,
  ): Promise<{ startOffset: number; endOffset: number } | undefined> {
    const { history } = this.#options
    const leader = await client.leaderOf(partition.topic, partition.partition)
    if (leader === undefined) return undefined
    let offset = history.trimmedTo(partition)
    const first = await fetchOnce(client, partition, offset, { version: 12, maxBytes: 1, maxWaitMs: 0, nodeId: leader })
    if (first.errorCode !== ErrorCode.NONE || first.data === undefined) return undefined
    const startOffset = offset
    for (;;) {
      const answer = await fetchOnce(client, partition, offset, {
        version: 12,
        maxBytes: 1 << 18,
        maxWaitMs: 0,
        nodeId: leader,
      })
      if (answer.errorCode !== ErrorCode.NONE || answer.data === undefined) return undefined
      const { nextOffset } = consume(history, partition, answer.data, offset)
      offset = nextOffset
      if (offset >= answer.data.highWatermark) return { startOffset, endOffset: offset }
    }
  }
}

const RETRIED: ReadonlySet<number> = new Set([
  ErrorCode.NOT_CONTROLLER,
  ErrorCode.REQUEST_TIMED_OUT,
  ErrorCode.LEADER_NOT_AVAILABLE,
  ErrorCode.KAFKA_STORAGE_ERROR,
  ErrorCode.COORDINATOR_NOT_AVAILABLE,
  ErrorCode.INVALID_REPLICATION_FACTOR,
  ErrorCode.UNKNOWN_SERVER_ERROR,
  ErrorCode.NETWORK_EXCEPTION,
  ErrorCode.BROKER_NOT_AVAILABLE,
])
