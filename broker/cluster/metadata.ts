// The metadata image: what this cluster consists of, as the metadata log says.
//
// Each shard has its own copy, changed only on that shard's thread by the commands of the log, in the same order
// everywhere; nothing here depends on time, chance or the broker it runs on. Leaders, their epochs and who is in sync are not
// in the log: leaders announce them (setLeader), and a snapshot does not hold them.

import { invariant } from '../../protocol/invariant.ts'
import type { BrokerConfig } from '../config.ts'
import type { NodeId } from '../raft/types.ts'
import type { TopicConfig } from '../topic-config.ts'
import { effectiveTopicConfig } from '../topic-config.ts'
import type {
  Command,
  CompleteReassignment,
  ConfigResource,
  Endpoint,
  PeerAddress,
  ReassignPartition,
  RegisterBroker,
} from './commands.ts'
import {
  type PartitionSnapshot,
  readSnapshot,
  SNAPSHOT_FORMAT,
  type Snapshot,
  type TopicSnapshot,
} from './metadata-snapshot.ts'
import { raftIdOf } from './raft-id.ts'
import { ReplicaLoad } from './replica-load.ts'
import { isReassigning, targetReplicas } from './target.ts'
import { collisionKey, isInternalTopic } from './topic-names.ts'

export interface BrokerRegistration {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly rack: string | null
  readonly endpoints: readonly Endpoint[]
  /** Id of its data directory, '' for a broker alone. */
  readonly directoryId: string
  /** How many other data directories the broker id had before this one. */
  readonly directoryEpoch: number
  /** Where other brokers reach it; null for a broker alone. */
  readonly peer: PeerAddress | null
  /** A group's number modulo this is its shard there. */
  readonly shardCount: number
  /** Index in the metadata log of its first registration (since it was last unregistered). */
  readonly joinedAt: number
}

export interface PartitionImage {
  readonly partition: number
  /** Number of the partition's Raft group, never used twice in a cluster. */
  readonly groupId: number
  /** Broker id, -1 for none; before the first announcement the preferred one. */
  readonly leader: number
  /** -1 until the leader has announced itself. */
  readonly leaderEpoch: number
  /** Broker ids, the preferred leader first; while reassigning the future ones in their order, then those that will go. */
  readonly replicas: readonly number[]
  /** As the leader announced it; before, all replicas. */
  readonly isr: readonly number[]
  /** Part of replicas; empty unless a reassignment is under way. */
  readonly adding: readonly number[]
  readonly removing: readonly number[]
  /** While reassigning: the replicas before it began. */
  readonly original: readonly number[]
  /** Raft ids of the replicas at creation; empty once a reassignment has changed them. */
  readonly founders: readonly NodeId[]
}

export interface TopicImage {
  readonly name: string
  /** As Kafka prints it: base64url, 22 characters. */
  readonly topicId: string
  readonly isInternal: boolean
  readonly partitions: readonly PartitionImage[]
  /** Of an internal topic: a client has said how many replicas it is to have, so the broker adds none by itself. */
  readonly isFactorChosen: boolean
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
  /** Effective configs of any topic, or which brokers are draining, may have changed. */
  | { readonly type: 'broker-configs-changed' }
  /** New, or back with another address, shard count or data directory (then with another directoryEpoch). */
  | {
      readonly type: 'broker-registered'
      readonly broker: BrokerRegistration
      readonly before: BrokerRegistration | undefined
    }
  | { readonly type: 'broker-unregistered'; readonly broker: BrokerRegistration }
  /** Also when it was aimed elsewhere or taken back: the target of the group is another one now. */
  | { readonly type: 'reassignment-started'; readonly topic: TopicImage; readonly partition: PartitionImage }
  | {
      readonly type: 'reassignment-completed'
      readonly topic: TopicImage
      readonly partition: PartitionImage
      /** Brokers that no longer hold the partition and delete what they have of it. */
      readonly removed: readonly number[]
    }

interface MutablePartition extends PartitionImage {
  leader: number
  leaderEpoch: number
  isr: readonly number[]
  replicas: readonly number[]
  adding: readonly number[]
  removing: readonly number[]
  original: readonly number[]
  founders: readonly NodeId[]
}

interface MutableTopic extends TopicImage {
  isFactorChosen: boolean
  partitions: MutablePartition[]
  configs: ReadonlyMap<string, string>
  config: TopicConfig
}

interface Directory {
  readonly directoryId: string
  readonly directoryEpoch: number
}

const NO_CHANGE: MetadataChange = { type: 'none' }
const NO_CONFIGS: ReadonlyMap<string, string> = new Map()
/** Sets of overrides remembered for sharing; past it, later topics begin a new round of sharing. */
const SHARED_CONFIGS_MAX = 1000
/** The same for lists of replicas. */
const SHARED_LISTS_MAX = 10_000
const NOBODY: readonly number[] = []
/** Of group 0, whose leader is the controller. */
const METADATA_GROUP = 0
const NO_LEADER = { leader: -1, leaderEpoch: -1 } as const

/** Per-broker dynamic config: the broker is to lead nothing and to hold nothing. */
export const DRAINING_CONFIG = 'millrace.broker.draining'

export class MetadataImage {
  readonly #config: BrokerConfig
  readonly #topicsByName = new Map<string, MutableTopic>()
  readonly #topicsById = new Map<string, MutableTopic>()
  readonly #nameByCollisionKey = new Map<string, Set<string>>()
  readonly #byGroup = new Map<number, { topic: MutableTopic; partition: MutablePartition }>()
  #brokers: readonly BrokerRegistration[] = []
  /** Of every broker id ever registered: an epoch is not given twice, also after an unregistration. */
  readonly #directories = new Map<number, Directory>()
  #draining: ReadonlySet<number> = new Set()
  #controller: { readonly leader: number; readonly leaderEpoch: number } = NO_LEADER
  readonly #features = new Map<string, number>()
  readonly #lists = new Map<string, readonly number[]>()
  #load: ReplicaLoad | undefined
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

  /** How many data directories the broker id had before its last one; 0 for an id that never registered. */
  directoryEpoch(nodeId: number): number {
    return this.#directories.get(nodeId)?.directoryEpoch ?? 0
  }

  /** Id of the last data directory of a broker id, also after it was unregistered; '' for none. */
  directoryId(nodeId: number): string {
    return this.#directories.get(nodeId)?.directoryId ?? ''
  }

  /** Whether a broker is to lead nothing and to give away what it holds. */
  isDraining(nodeId: number): boolean {
    return this.#draining.has(nodeId)
  }

  /** Broker that leads the metadata group, as last announced; before that the lowest registered one, -1 for none. */
  get controllerId(): number {
    const { leader } = this.#controller
    return this.broker(leader) !== undefined ? leader : (this.#brokers[0]?.nodeId ?? -1)
  }

  /** Term of the announced leader of the metadata group, -1 for none. */
  get controllerEpoch(): number {
    return this.#controller.leaderEpoch
  }

  /** Finalized levels of features, as far as they were ever set. */
  get features(): ReadonlyMap<string, number> {
    return this.#features
  }

  /** Replicas and preferred leaders per broker and shard. Counted at the first use, then kept. */
  get load(): ReplicaLoad {
    if (this.#load === undefined) {
      this.#load = new ReplicaLoad((nodeId) => this.broker(nodeId)?.shardCount ?? 1)
      for (const { partition } of this.#byGroup.values()) this.#load.add(partition)
    }
    return this.#load
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
   * The leader of a group has announced itself, or who is in sync with it.
   * @param groupId 0 for the metadata group, whose leader is the controller
   * @param leader broker id, -1 for none
   * @param leaderEpoch its term; an older one than known is passed over
   * @param isr broker ids; by default as they were
   * @returns whether anything changed
   */
  setLeader(groupId: number, leader: number, leaderEpoch: number, isr?: readonly number[]): boolean {
    if (groupId === METADATA_GROUP) {
      const known = this.#controller
      if (leaderEpoch < known.leaderEpoch || (leader === known.leader && leaderEpoch === known.leaderEpoch))
        return false
      this.#controller = { leader, leaderEpoch }
      return true
    }
    const partition = this.#byGroup.get(groupId)?.partition
    if (partition === undefined || leaderEpoch < partition.leaderEpoch) return false
    const inSync = isr === undefined ? partition.isr : this.#shared(isr)
    const isSame =
      leader === partition.leader && leaderEpoch === partition.leaderEpoch && sameList(inSync, partition.isr)
    if (isSame) return false
    partition.leader = leader
    partition.leaderEpoch = leaderEpoch
    partition.isr = inSync
    return true
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
      case 'register-broker':
        return this.#register(command, index)
      case 'unregister-broker':
        return this.#unregister(command.nodeId)
      case 'reassign-partition':
        return this.#reassign(command)
      case 'complete-reassignment':
        return this.#completeReassignment(command)
      case 'set-features':
        for (const [name, level] of Object.entries(command.levels)) {
          if (level === 0) this.#features.delete(name)
          else this.#features.set(name, level)
        }
        return NO_CHANGE
      case 'create-topic': {
        if (this.#topicsByName.has(command.name) || this.#topicsById.has(command.topicId)) return NO_CHANGE
        const configs = new Map(Object.entries(command.configs))
        const topic = this.#addTopic(command.name, command.topicId, configs, command.isFactorChosen === true)
        for (const replicas of command.assignments) this.#createPartition(topic, replicas)
        this.#topicsVersion++
        return { type: 'topic-created', topic }
      }
      case 'delete-topic':
        return this.#deleteTopic(command.topicId)
      case 'add-partitions': {
        const topic = this.#topicsById.get(command.topicId)
        if (topic?.partitions.length !== command.firstPartition) return NO_CHANGE
        const added = command.assignments.map((replicas) => this.#createPartition(topic, replicas))
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

  /** The image as bytes, the same on every broker at the same index. Format: metadata-snapshot.ts, JSON in UTF-8. */
  serialize(): Uint8Array {
    const snapshot: Snapshot = {
      format: SNAPSHOT_FORMAT,
      appliedIndex: this.#appliedIndex,
      clusterId: this.#clusterId,
      nextGroupId: this.#nextGroupId,
      nextProducerId: this.#nextProducerId,
      producerIdToken: this.#producerIdToken,
      topicsVersion: this.#topicsVersion,
      brokers: this.#brokers,
      directories: [...this.#directories].map(([nodeId, { directoryId, directoryEpoch }]) => {
        return [nodeId, directoryId, directoryEpoch] as const
      }),
      features: Object.fromEntries(this.#features),
      topics: Array.from(this.#topicsByName.values(), topicSnapshot),
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
    for (const [nodeId, directoryId, directoryEpoch] of snapshot.directories) {
      image.#directories.set(nodeId, { directoryId, directoryEpoch })
    }
    for (const [name, level] of Object.entries(snapshot.features)) image.#features.set(name, level)
    for (const [resource, name, configs] of snapshot.configs) {
      image.#configs.set(`${resource}/${name}`, new Map(Object.entries(configs)))
    }
    image.#refreshDraining()
    image.#refreshBrokerConfig()
    for (const [name, topicId, configs, groups, isFactorChosen = false] of snapshot.topics) {
      const topic = image.#addTopic(name, topicId, new Map(Object.entries(configs)), isFactorChosen)
      for (const [groupId, replicas, founders = replicas, reassignment] of groups) {
        const partition = image.#addPartition(topic, groupId, replicas, founders)
        if (reassignment === undefined) continue
        const [adding, removing, original] = reassignment
        partition.adding = image.#shared(adding)
        partition.removing = image.#shared(removing)
        partition.original = image.#shared(original)
      }
    }
    return image
  }

  #addTopic(
    name: string,
    topicId: string,
    configs: ReadonlyMap<string, string>,
    isFactorChosen: boolean,
  ): MutableTopic {
    const topic: MutableTopic = {
      name,
      topicId,
      isInternal: isInternalTopic(name),
      isFactorChosen,
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

  #createPartition(topic: MutableTopic, replicas: readonly number[]): PartitionImage {
    const founders = replicas.map((nodeId) => raftIdOf(nodeId, this.directoryEpoch(nodeId)))
    return this.#addPartition(topic, this.#nextGroupId++, replicas, founders)
  }

  #addPartition(
    topic: MutableTopic,
    groupId: number,
    replicaIds: readonly number[],
    founders: readonly NodeId[],
  ): MutablePartition {
    const replicas = this.#shared(replicaIds)
    const partition: MutablePartition = {
      partition: topic.partitions.length,
      groupId,
      leader: replicas[0] ?? -1,
      leaderEpoch: -1,
      replicas,
      isr: replicas,
      adding: NOBODY,
      removing: NOBODY,
      original: NOBODY,
      founders: this.#shared(founders),
    }
    topic.partitions.push(partition)
    this.#byGroup.set(groupId, { topic, partition })
    this.#load?.add(partition)
    return partition
  }

  /** One list for all partitions with the same replicas: 50,000 partitions have few different ones. */
  #shared(list: readonly number[]): readonly number[] {
    if (list.length === 0) return NOBODY
    const key = list.join()
    let shared = this.#lists.get(key)
    if (shared === undefined) {
      if (this.#lists.size >= SHARED_LISTS_MAX) this.#lists.clear()
      shared = [...list]
      this.#lists.set(key, shared)
    }
    return shared
  }

  #register(command: RegisterBroker, index: number): MetadataChange {
    const { nodeId, host, port, rack, endpoints, directoryId = '', peer = null, shardCount = 1 } = command
    const known = this.#directories.get(nodeId)
    // A broker that had no directory id before is the same one: it only learned to tell.
    const isOther =
      known !== undefined && known.directoryId !== '' && directoryId !== '' && known.directoryId !== directoryId
    const directory: Directory = {
      directoryId: directoryId === '' ? (known?.directoryId ?? '') : directoryId,
      directoryEpoch: (known?.directoryEpoch ?? 0) + (isOther ? 1 : 0),
    }
    this.#directories.set(nodeId, directory)
    const before = this.broker(nodeId)
    const joinedAt = before?.joinedAt ?? index
    const broker = { nodeId, host, port, rack, endpoints, ...directory, peer, shardCount, joinedAt }
    const others = this.#brokers.filter((other) => other.nodeId !== nodeId)
    this.#brokers = [...others, broker].sort((left, right) => left.nodeId - right.nodeId)
    if (before?.shardCount !== shardCount) this.#load = undefined
    return { type: 'broker-registered', broker, before }
  }

  #unregister(nodeId: number): MetadataChange {
    const broker = this.broker(nodeId)
    if (broker === undefined) return NO_CHANGE
    this.#brokers = this.#brokers.filter((other) => other !== broker)
    // Whoever takes the id later is not meant by the order to leave.
    const configs = new Map(this.resourceConfigs('broker', String(nodeId)))
    if (configs.delete(DRAINING_CONFIG)) this.#setConfigs('broker', String(nodeId), configs)
    return { type: 'broker-unregistered', broker }
  }

  #reassign({ groupId, replicas, adding, removing, isFactorChosen }: ReassignPartition): MetadataChange {
    const location = this.#byGroup.get(groupId)
    if (location === undefined) return NO_CHANGE
    const { topic, partition } = location
    if (isFactorChosen === true) topic.isFactorChosen = true
    this.#load?.remove(partition)
    if (!isReassigning(partition)) partition.original = partition.replicas
    partition.replicas = this.#shared(replicas)
    partition.adding = this.#shared(adding)
    partition.removing = this.#shared(removing)
    if (!isReassigning(partition)) partition.original = NOBODY
    this.#load?.add(partition)
    return { type: 'reassignment-started', topic, partition }
  }

  #completeReassignment({ groupId, targetReplicas: reached }: CompleteReassignment): MetadataChange {
    const location = this.#byGroup.get(groupId)
    if (location === undefined) return NO_CHANGE
    const { topic, partition } = location
    const target = targetReplicas(partition)
    if (!isReassigning(partition) || !sameList(target, reached)) return NO_CHANGE
    const removed = partition.removing
    partition.replicas = this.#shared(target)
    partition.adding = NOBODY
    partition.removing = NOBODY
    partition.original = NOBODY
    partition.founders = NOBODY
    partition.isr = this.#shared(partition.isr.filter((nodeId) => !removed.includes(nodeId)))
    return { type: 'reassignment-completed', topic, partition, removed }
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
    for (const partition of topic.partitions) {
      this.#byGroup.delete(partition.groupId)
      this.#load?.remove(partition)
    }
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
    const drainingChanged = this.#refreshDraining()
    const configChanged = this.#refreshBrokerConfig()
    return drainingChanged || configChanged ? { type: 'broker-configs-changed' } : NO_CHANGE
  }

  #refreshDraining(): boolean {
    const draining = new Set<number>()
    for (const [key, configs] of this.#configs) {
      if (!key.startsWith('broker/') || configs.get(DRAINING_CONFIG)?.trim().toLowerCase() !== 'true') continue
      const name = key.slice('broker/'.length)
      if (name !== '') draining.add(Number(name))
    }
    const before = this.#draining
    this.#draining = draining
    return before.size !== draining.size || [...before].some((nodeId) => !draining.has(nodeId))
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

function topicSnapshot({ name, topicId, configs, partitions, isFactorChosen }: TopicImage): TopicSnapshot {
  const topic = [name, topicId, Object.fromEntries(configs), partitions.map(partitionSnapshot)] as const
  return isFactorChosen ? [...topic, true] : topic
}

function partitionSnapshot(partition: PartitionImage): PartitionSnapshot {
  const { groupId, replicas, founders, adding, removing, original } = partition
  if (isReassigning(partition)) return [groupId, replicas, founders, [adding, removing, original]]
  return sameList(founders, replicas) ? [groupId, replicas] : [groupId, replicas, founders]
}

export function sameList(left: readonly number[], right: readonly number[]): boolean {
  if (left === right) return true
  if (left.length !== right.length) return false
  for (let at = 0; at < left.length; at++) if (left[at] !== right[at]) return false
  return true
}
