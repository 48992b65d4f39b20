// The metadata image: what this cluster consists of, as the metadata log says.
//
// Each shard has its own copy, changed only on that shard's thread by the commands of the log, in the same order
// everywhere; nothing here depends on time, chance or the broker it runs on. Leader epochs are not in the log: shards
// announce them (setLeaderEpoch) and a snapshot does not hold them.

import { invariant } from '../../protocol/invariant.ts'
import type { BrokerConfig } from '../config.ts'
import { OperatorError } from '../operator-error.ts'
import type { TopicConfig } from '../topic-config.ts'
import { effectiveTopicConfig } from '../topic-config.ts'
import type { Command, ConfigResource, Endpoint } from './commands.ts'
import { collisionKey, isInternalTopic } from './topic-names.ts'

export interface BrokerRegistration {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly rack: string | null
  readonly endpoints: readonly Endpoint[]
}

export interface PartitionImage {
  readonly partition: number
  /** Number of the partition's Raft group, never used twice in a cluster. */
  readonly groupId: number
  /** Broker id, -1 for none. */
  readonly leader: number
  /** -1 until the leader has announced itself. */
  readonly leaderEpoch: number
  readonly replicas: readonly number[]
  readonly isr: readonly number[]
}

export interface TopicImage {
  readonly name: string
  /** As Kafka prints it: base64url, 22 characters. */
  readonly topicId: string
  readonly isInternal: boolean
  readonly partitions: readonly PartitionImage[]
  /** Overrides only. */
  readonly configs: ReadonlyMap<string, string>
  /** Effective values on this broker; the same object for topics with the same overrides. */
  readonly config: TopicConfig
}

export interface PartitionLocation {
  readonly topic: TopicImage
  readonly partition: PartitionImage
}

/** What a command changed, for the shard that has partitions to open, close or adjust. */
export type MetadataChange =
  | { readonly type: 'none' }
  | { readonly type: 'topic-created'; readonly topic: TopicImage }
  | { readonly type: 'topic-deleted'; readonly topic: TopicImage }
  | { readonly type: 'partitions-added'; readonly topic: TopicImage; readonly added: readonly PartitionImage[] }
  | { readonly type: 'topic-configs-changed'; readonly topic: TopicImage }
  /** Effective configs of any topic may have changed. */
  | { readonly type: 'broker-configs-changed' }
  | { readonly type: 'broker-registered'; readonly broker: BrokerRegistration }

interface MutablePartition extends PartitionImage {
  leader: number
  leaderEpoch: number
}

interface MutableTopic extends TopicImage {
  partitions: MutablePartition[]
  configs: ReadonlyMap<string, string>
  config: TopicConfig
}

/** Layout of a serialized image. A field added later is optional; another meaning gets another number. */
interface Snapshot {
  readonly format: 1
  readonly appliedIndex: number
  readonly clusterId: string
  readonly nextGroupId: number
  readonly nextProducerId: number
  readonly producerIdToken: string
  readonly topicsVersion: number
  readonly brokers: readonly BrokerRegistration[]
  /** Per topic: name, id, overrides, then [groupId, replicas] per partition. */
  readonly topics: readonly (readonly [
    string,
    string,
    Record<string, string>,
    readonly (readonly [number, readonly number[]])[],
  ])[]
  readonly configs: readonly (readonly [ConfigResource, string, Record<string, string>])[]
}

const NO_CHANGE: MetadataChange = { type: 'none' }
const NO_CONFIGS: ReadonlyMap<string, string> = new Map()
/** Sets of overrides remembered for sharing; past it, later topics begin a new round of sharing. */
const SHARED_CONFIGS_MAX = 1000

export class MetadataImage {
  readonly #config: BrokerConfig
  readonly #topicsByName = new Map<string, MutableTopic>()
  readonly #topicsById = new Map<string, MutableTopic>()
  readonly #nameByCollisionKey = new Map<string, Set<string>>()
  readonly #byGroup = new Map<number, { topic: MutableTopic; partition: MutablePartition }>()
  #brokers: readonly BrokerRegistration[] = []
  /** Overrides of brokers, groups and client metrics, by `resource/name`. */
  readonly #configs = new Map<string, ReadonlyMap<string, string>>()
  #effective = new Map<string, TopicConfig>()
  #clusterId = ''
  #nextGroupId = 1
  #nextProducerId = 0
  #producerIdToken = ''
  #topicsVersion = 0
  #appliedIndex = -1

  /** @param config this shard's configs; the image owns its dynamic layers */
  constructor(config: BrokerConfig) {
    this.#config = config
  }

  /** Empty until the cluster has its id. */
  get clusterId(): string {
    return this.#clusterId
  }

  /** Registered brokers, sorted by id; replaced as a whole when one changes. */
  get brokers(): readonly BrokerRegistration[] {
    return this.#brokers
  }

  broker(nodeId: number): BrokerRegistration | undefined {
    return this.#brokers.find((broker) => broker.nodeId === nodeId)
  }

  /** Broker id told to clients as the controller: the lowest registered one, as any broker takes controller requests; -1 for none. */
  get controllerId(): number {
    return this.#brokers[0]?.nodeId ?? -1
  }

  /** Changes with every command that creates, deletes or grows a topic. */
  get topicsVersion(): number {
    return this.#topicsVersion
  }

  /** Index of the last applied entry of the metadata log, -1 for none. */
  get appliedIndex(): number {
    return this.#appliedIndex
  }

  /** Group number of the next partition created. */
  get nextGroupId(): number {
    return this.#nextGroupId
  }

  /** One past the last producer id given out. */
  get nextProducerId(): number {
    return this.#nextProducerId
  }

  /** Whose block of producer ids was given out last. */
  get producerIdToken(): string {
    return this.#producerIdToken
  }

  get topicCount(): number {
    return this.#topicsByName.size
  }

  get partitionCount(): number {
    return this.#byGroup.size
  }

  topicByName(name: string): TopicImage | undefined {
    return this.#topicsByName.get(name)
  }

  topicById(topicId: string): TopicImage | undefined {
    return this.#topicsById.get(topicId)
  }

  /** In order of creation. */
  topics(): IterableIterator<TopicImage> {
    return this.#topicsByName.values()
  }

  partitionByGroup(groupId: number): PartitionLocation | undefined {
    return this.#byGroup.get(groupId)
  }

  /** A topic whose name differs from this one only in '.' and '_'. */
  collidingTopic(name: string): string | undefined {
    const names = this.#nameByCollisionKey.get(collisionKey(name))
    if (names !== undefined) for (const other of names) if (other !== name) return other
    return undefined
  }

  /** Overrides of a broker (its node id, '' for all brokers), a group or a client-metrics subscription. */
  resourceConfigs(resource: Exclude<ConfigResource, 'topic'>, name: string): ReadonlyMap<string, string> {
    return this.#configs.get(`${resource}/${name}`) ?? NO_CONFIGS
  }

  /** Where clients of a listener reach a broker. */
  endpoint(nodeId: number, listener: string): { readonly host: string; readonly port: number } | undefined {
    const broker = this.broker(nodeId)
    return broker?.endpoints.find((endpoint) => endpoint.listener === listener) ?? broker
  }

  /**
   * The leader of a group has announced itself.
   * @param leaderEpoch its term; an older one than known is passed over
   * @param leader its broker id, when it changed
   */
  setLeaderEpoch(groupId: number, leaderEpoch: number, leader?: number): void {
    const location = this.#byGroup.get(groupId)
    if (location === undefined || leaderEpoch < location.partition.leaderEpoch) return
    location.partition.leaderEpoch = leaderEpoch
    if (leader !== undefined) location.partition.leader = leader
  }

  /**
   * Applies the next command of the metadata log. A command that no longer fits (the topic exists or is gone by then) changes
   * nothing: its maker sees that in the image.
   * @param index its place in the log; by default the one after the last
   */
  apply(command: Command, index = this.#appliedIndex + 1): MetadataChange {
    invariant(index > this.#appliedIndex, 'commands are applied once and in order', index, this.#appliedIndex)
    this.#appliedIndex = index
    switch (command.type) {
      case 'set-cluster-id':
        if (this.#clusterId === '') this.#clusterId = command.clusterId
        return NO_CHANGE
      case 'register-broker': {
        const { nodeId, host, port, rack, endpoints } = command
        const broker = { nodeId, host, port, rack, endpoints }
        const others = this.#brokers.filter((other) => other.nodeId !== nodeId)
        this.#brokers = [...others, broker].sort((left, right) => left.nodeId - right.nodeId)
        return { type: 'broker-registered', broker }
      }
      case 'create-topic': {
        if (this.#topicsByName.has(command.name) || this.#topicsById.has(command.topicId)) return NO_CHANGE
        const configs = new Map(Object.entries(command.configs))
        const topic = this.#addTopic(command.name, command.topicId, configs)
        for (const replicas of command.assignments) this.#addPartition(topic, this.#nextGroupId++, replicas)
        this.#topicsVersion++
        return { type: 'topic-created', topic }
      }
      case 'delete-topic':
        return this.#deleteTopic(command.topicId)
      case 'add-partitions': {
        const topic = this.#topicsById.get(command.topicId)
        if (topic?.partitions.length !== command.firstPartition) return NO_CHANGE
        const added = command.assignments.map((replicas) => this.#addPartition(topic, this.#nextGroupId++, replicas))
        this.#topicsVersion++
        return { type: 'partitions-added', topic, added }
      }
      case 'set-configs':
        return this.#setConfigs(command.resource, command.name, new Map(Object.entries(command.configs)))
      case 'allocate-producer-ids':
        this.#nextProducerId += command.count
        this.#producerIdToken = command.token
        return NO_CHANGE
    }
  }

  /** The image as bytes, the same on every broker at the same index. Format: Snapshot above, JSON in UTF-8. */
  serialize(): Uint8Array {
    const snapshot: Snapshot = {
      format: 1,
      appliedIndex: this.#appliedIndex,
      clusterId: this.#clusterId,
      nextGroupId: this.#nextGroupId,
      nextProducerId: this.#nextProducerId,
      producerIdToken: this.#producerIdToken,
      topicsVersion: this.#topicsVersion,
      brokers: this.#brokers,
      topics: [...this.#topicsByName.values()].map((topic) => [
        topic.name,
        topic.topicId,
        Object.fromEntries(topic.configs),
        topic.partitions.map(({ groupId, replicas }) => [groupId, replicas] as const),
      ]),
      configs: [...this.#configs].map(([key, configs]) => {
        const slash = key.indexOf('/')
        return [key.slice(0, slash) as ConfigResource, key.slice(slash + 1), Object.fromEntries(configs)]
      }),
    }
    return new TextEncoder().encode(JSON.stringify(snapshot))
  }

  /**
   * Rebuilds an image from serialize().
   * @param config this shard's configs
   * @throws OperatorError when the bytes are of a newer release or damaged
   */
  static deserialize(bytes: Uint8Array, config: BrokerConfig): MetadataImage {
    const snapshot = readSnapshot(bytes)
    const image = new MetadataImage(config)
    image.#clusterId = snapshot.clusterId
    image.#nextGroupId = snapshot.nextGroupId
    image.#nextProducerId = snapshot.nextProducerId
    image.#producerIdToken = snapshot.producerIdToken
    image.#topicsVersion = snapshot.topicsVersion
    image.#appliedIndex = snapshot.appliedIndex
    image.#brokers = snapshot.brokers
    for (const [resource, name, configs] of snapshot.configs) {
      image.#configs.set(`${resource}/${name}`, new Map(Object.entries(configs)))
    }
    image.#refreshBrokerConfig()
    for (const [name, topicId, configs, groups] of snapshot.topics) {
      const topic = image.#addTopic(name, topicId, new Map(Object.entries(configs)))
      for (const [groupId, replicas] of groups) image.#addPartition(topic, groupId, replicas)
    }
    return image
  }

  #addTopic(name: string, topicId: string, configs: ReadonlyMap<string, string>): MutableTopic {
    const topic: MutableTopic = {
      name,
      topicId,
      isInternal: isInternalTopic(name),
      partitions: [],
      configs,
      config: this.#topicConfig(configs),
    }
    this.#topicsByName.set(name, topic)
    this.#topicsById.set(topicId, topic)
    const key = collisionKey(name)
    const colliding = this.#nameByCollisionKey.get(key)
    if (colliding === undefined) this.#nameByCollisionKey.set(key, new Set([name]))
    else colliding.add(name)
    return topic
  }

  #addPartition(topic: MutableTopic, groupId: number, replicas: readonly number[]): PartitionImage {
    const partition: MutablePartition = {
      partition: topic.partitions.length,
      groupId,
      leader: replicas[0] ?? -1,
      leaderEpoch: -1,
      replicas,
      isr: replicas,
    }
    topic.partitions.push(partition)
    this.#byGroup.set(groupId, { topic, partition })
    return partition
  }

  #deleteTopic(topicId: string): MetadataChange {
    const topic = this.#topicsById.get(topicId)
    if (topic === undefined) return NO_CHANGE
    this.#topicsById.delete(topicId)
    this.#topicsByName.delete(topic.name)
    const key = collisionKey(topic.name)
    const colliding = this.#nameByCollisionKey.get(key)
    colliding?.delete(topic.name)
    if (colliding?.size === 0) this.#nameByCollisionKey.delete(key)
    for (const { groupId } of topic.partitions) this.#byGroup.delete(groupId)
    this.#topicsVersion++
    return { type: 'topic-deleted', topic }
  }

  #setConfigs(resource: ConfigResource, name: string, configs: ReadonlyMap<string, string>): MetadataChange {
    if (resource === 'topic') {
      const topic = this.#topicsById.get(name)
      if (topic === undefined) return NO_CHANGE
      topic.configs = configs
      topic.config = this.#topicConfig(configs)
      return { type: 'topic-configs-changed', topic }
    }
    const key = `${resource}/${name}`
    if (configs.size === 0) this.#configs.delete(key)
    else this.#configs.set(key, configs)
    if (resource !== 'broker') return NO_CHANGE
    return this.#refreshBrokerConfig() ? { type: 'broker-configs-changed' } : NO_CHANGE
  }

  /** Broker configs give topics their defaults, so a change of them reaches every topic. */
  #refreshBrokerConfig(): boolean {
    const before = this.#config.revision
    this.#config.setDynamic(
      this.resourceConfigs('broker', String(this.#config.nodeId)),
      this.resourceConfigs('broker', ''),
    )
    if (this.#config.revision === before) return false
    this.#effective = new Map()
    for (const topic of this.#topicsByName.values()) topic.config = this.#topicConfig(topic.configs)
    return true
  }

  /** Topics with the same overrides share one object: 50,000 topics mostly have none. */
  #topicConfig(configs: ReadonlyMap<string, string>): TopicConfig {
    const key =
      configs.size === 0 ? '' : JSON.stringify([...configs].sort(([left], [right]) => (left < right ? -1 : 1)))
    let config = this.#effective.get(key)
    if (config === undefined) {
      if (this.#effective.size >= SHARED_CONFIGS_MAX) this.#effective.clear()
      config = effectiveTopicConfig(configs, this.#config)
      this.#effective.set(key, config)
    }
    return config
  }
}

function readSnapshot(bytes: Uint8Array): Snapshot {
  let snapshot: { readonly format: unknown }
  try {
    snapshot = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new OperatorError(
      'METADATA_SNAPSHOT_DAMAGED',
      'the snapshot of the metadata cannot be read',
      'Restore the data directory from a copy.',
      { cause },
    )
  }
  if (snapshot.format !== 1) {
    throw new OperatorError(
      'METADATA_SNAPSHOT_NEWER',
      `the snapshot of the metadata has format ${String(snapshot.format)}, and this release reads format 1`,
      'Start the release that wrote this data directory, or a newer one.',
    )
  }
  return snapshot as Snapshot
}
