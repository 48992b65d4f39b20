// The partitions of a shard: opened, adjusted and closed as the metadata says, their leadership told to whom it concerns.
//
// One per shard, touched only from its thread. A partition that lives on this broker alone is opened when it leads; a replicated one at once, and
// who leads it shows later. What lies in the storage and is not in the metadata is kept until this broker has caught up with the
// metadata: an image that is behind must not delete data, nor found a group anew that has long moved on.

import { ErrorCode } from '../../protocol/errors.ts'
import type { GroupLog, LogConfig } from '../../storage/log.ts'
import type { ShardStorage } from '../../storage/shard-storage.ts'
import { askCluster } from '../cluster/cluster-call.ts'
import type { MetadataChange, MetadataImage, PartitionImage, TopicImage } from '../cluster/metadata.ts'
import { brokerOf, raftIdOf } from '../cluster/raft-id.ts'
import { targetOf, targetReplicas } from '../cluster/target.ts'
import { OFFSETS_TOPIC } from '../cluster/topic-names.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { GroupCoordinator } from '../groups/coordinator.ts'
import { Partition, type PartitionHost } from '../partition/partition.ts'
import type { NodeId } from '../raft/types.ts'
import { canDoWithout } from '../replication/do-without.ts'
import type { Replication } from '../replication/driver.ts'
import type { Replica } from '../replication/replica.ts'
import type { TopicConfig } from '../topic-config.ts'
import type { ShardContext } from './context.ts'
import type { Leaders, LedGroup } from './leaders.ts'
import { shardOf } from './placement.ts'

export interface PartitionsOptions {
  readonly shardId: number
  readonly shardCount: number
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly dataDirectory: string
  readonly host: PartitionHost
  readonly leaders: Leaders
  image(): MetadataImage
  storage(): ShardStorage
  replication(): Replication
  coordinator(): GroupCoordinator
  /** Raft id of this broker. */
  raftId(): number
  isAlive(nodeId: number): boolean
  diskHangs(): boolean
  readonly shard: ShardContext
  wantsFlush(): void
}

/** Leaderships given away per second, so that a returning broker is not met by a wave. */
const TRANSFERS_PER_SECOND = 5
/** Of a shard whose disk is short: nobody can write to what it still leads. */
const TRANSFERS_WHEN_SHORT = 100
/** Of tens of thousands of partitions nearly all are where they belong. */
const LOOKS_PER_SECOND = 2000
const ASK_AGAIN_MS = 1000
const NOBODY: readonly number[] = []
const METADATA_GROUP = 0

/** A partition and what the shard has to do when its role changes. */
export class HostedPartition extends Partition implements LedGroup {
  readonly #owner: Partitions
  replica!: Replica
  /** The metadata was asked to note that the reassignment is done. */
  isCompleting = false
  /** For a new partition of __consumer_offsets: until its groups can be coordinated. */
  loaded: Promise<void> | undefined = undefined

  constructor(
    owner: Partitions,
    identity: { topic: string; topicId: string; partition: number },
    log: GroupLog,
    config: TopicConfig,
    host: PartitionHost,
  ) {
    super(identity, log, config, host)
    this.#owner = owner
  }

  get isr(): readonly number[] {
    return this.replica === undefined ? NOBODY : this.replica.inSync()
  }

  override leading(): void {
    super.leading()
    this.#owner.leads(this)
  }

  override following(leader: number): void {
    super.following(leader)
    this.#owner.follows(this, leader)
  }

  override inSyncChanged(brokerIds: readonly number[]): void {
    super.inSyncChanged?.(brokerIds)
    this.#owner.inSyncChanged(this)
  }

  reconciled(): void {
    this.#owner.reconciled(this)
  }
}

export class Partitions {
  readonly #options: PartitionsOptions
  readonly #nodeId: number
  readonly #open = new Map<number, HostedPartition>()
  /** This broker knows all that was decided about it: what is missing may be made, what is left over may go. */
  #isCaughtUp = false
  /** Where balance() goes on. */
  #balanced: MapIterator<HostedPartition> = this.#open.values()

  constructor(options: PartitionsOptions) {
    this.#options = options
    this.#nodeId = options.config.nodeId
  }

  get(groupId: number): HostedPartition | undefined {
    return this.#open.get(groupId)
  }

  all(): Iterable<HostedPartition> {
    return this.#open.values()
  }

  get count(): number {
    return this.#open.size
  }

  /** At start: what the image gives this shard and what it has data of. */
  async openAll(): Promise<void> {
    const opened: Promise<void>[] = []
    this.reconcile(opened)
    await Promise.all(opened)
  }

  /** This broker has the metadata as it was when it registered. */
  async caughtUp(): Promise<void> {
    if (this.#isCaughtUp) return
    this.#isCaughtUp = true
    const opened: Promise<void>[] = []
    this.reconcile(opened)
    await Promise.all(opened)
  }

  /** Brings the open partitions to what the image says; after another image has taken its place, too. */
  reconcile(opened: Promise<void>[]): void {
    const image = this.#options.image()
    for (const partition of [...this.#open.values()]) {
      const location = image.partitionByGroup(partition.groupId)
      if (location === undefined || !this.#isOwn(location.partition)) this.#close(partition)
    }
    for (const topic of image.topics()) {
      this.#configure(topic)
      for (const partition of topic.partitions) this.#adjust(topic, partition, opened)
    }
    if (this.#isCaughtUp) this.#dropStrays()
  }

  /** What a command of the metadata log means for the partitions here. */
  changed(change: MetadataChange, opened: Promise<void>[]): void {
    switch (change.type) {
      case 'topic-created':
        for (const partition of change.topic.partitions) this.#adjust(change.topic, partition, opened)
        return
      case 'partitions-added':
        for (const partition of change.added) this.#adjust(change.topic, partition, opened)
        return
      case 'topic-deleted':
        for (const { groupId } of change.topic.partitions) {
          const partition = this.#open.get(groupId)
          if (partition !== undefined) this.#close(partition)
          this.#options.leaders.gone(groupId)
        }
        this.#options.coordinator().topicDeleted(change.topic.name, change.topic.topicId)
        return
      case 'topic-configs-changed':
        this.#configure(change.topic)
        return
      case 'broker-configs-changed':
        for (const topic of this.#options.image().topics()) this.#configure(topic)
        return
      case 'reassignment-started':
      case 'reassignment-completed':
        this.#adjust(change.topic, change.partition, opened)
        return
      case 'broker-registered':
        if (change.before?.directoryEpoch !== change.broker.directoryEpoch) this.#retargetAll()
        return
    }
  }

  #isOwn(partition: PartitionImage): boolean {
    return partition.replicas.includes(this.#nodeId) && this.#isOfThisShard(partition.groupId)
  }

  #isOfThisShard(groupId: number): boolean {
    return shardOf(groupId, this.#options.shardCount) === this.#options.shardId
  }

  #adjust(topic: TopicImage, image: PartitionImage, opened: Promise<void>[]): void {
    if (!this.#isOfThisShard(image.groupId)) return
    // Created and deleted by commands that came together.
    if (this.#options.image().partitionByGroup(image.groupId) === undefined) return
    const partition = this.#open.get(image.groupId)
    const isOwn = this.#isOwn(image)
    if (partition !== undefined) {
      if (isOwn) this.#retarget(partition, image)
      else this.#close(partition)
      return
    }
    if (!isOwn) return
    const log = this.#options.storage().get(image.groupId)
    // An image that is behind does not say whether this group still begins here.
    if (log === undefined && !this.#isCaughtUp) return
    opened.push(this.#openOne(topic, image, log))
  }

  async #openOne(topic: TopicImage, image: PartitionImage, known: GroupLog | undefined): Promise<void> {
    const { groupId, partition: number } = image
    if (known === undefined && this.#options.storage().failed !== undefined) {
      // It cannot be made here. Other replicas, or this broker after a restart, will serve it.
      if (image.replicas.length === 1) this.#options.leaders.unled([groupId])
      return
    }
    const config = logConfigOf(topic.config)
    const replication = this.#options.replication()
    const raftId = this.#options.raftId()
    const founders = image.founders.includes(raftId) ? image.founders : undefined
    const log = known ?? this.#create(topic, image, config, founders)
    log.config = config
    const identity = { topic: topic.name, topicId: topic.topicId, partition: number }
    const partition = new HostedPartition(this, identity, log, topic.config, this.#options.host)
    this.#open.set(groupId, partition)
    const isPreferred = image.replicas.find((nodeId) => this.#options.isAlive(nodeId)) === this.#nodeId
    const replica = replication.add(log, partition, { founders, preferred: known === undefined && isPreferred })
    partition.replica = replica
    partition.attach(replica)
    this.#retarget(partition, image)
    const members = replica.memberIds
    // Nobody else can lead it, so whoever opens it can wait until it serves.
    if (members.length === 1 && members[0] === raftId) {
      await replica.lead()
      if (!partition.isLeader) this.#options.leaders.unled([groupId])
      await partition.loaded
    }
  }

  #create(
    topic: TopicImage,
    image: PartitionImage,
    config: LogConfig,
    founders: readonly NodeId[] | undefined,
  ): GroupLog {
    const directory = `${this.#options.dataDirectory}/topics/${topic.name}/${image.partition}-${image.groupId}`
    const members = founders && this.#options.replication().foundingSnapshot(image.groupId, founders)
    return this.#options.storage().create(image.groupId, directory, config, members)
  }

  #close(partition: HostedPartition): void {
    const { groupId } = partition
    if (this.#open.get(groupId) !== partition) return
    this.#open.delete(groupId)
    this.#options.leaders.left(groupId)
    if (partition.topic === OFFSETS_TOPIC) this.#options.coordinator().resign(partition.partition)
    partition.deleted()
    this.#options.replication().remove(groupId)
    this.#options.storage().remove(groupId)
    this.#options.wantsFlush()
  }

  /** Groups whose topic was deleted, or that moved to other brokers, while this shard did not see it. */
  #dropStrays(): void {
    const image = this.#options.image()
    for (const log of [...this.#options.storage().groups()]) {
      const { groupId } = log
      if (groupId === METADATA_GROUP || this.#open.has(groupId)) continue
      const location = image.partitionByGroup(groupId)
      if (location === undefined || !this.#isOwn(location.partition)) {
        this.#options.storage().remove(groupId)
        this.#options.wantsFlush()
      }
    }
  }

  #configure(topic: TopicImage): void {
    let config: LogConfig | undefined
    for (const { groupId } of topic.partitions) {
      const partition = this.#open.get(groupId)
      if (partition === undefined) continue
      config ??= logConfigOf(topic.config)
      partition.configure(topic.config)
      partition.log.config = config
    }
  }

  #retarget(partition: HostedPartition, image: PartitionImage): void {
    partition.isCompleting = false
    // An image that is behind may name members that have long been replaced.
    if (!this.#isCaughtUp) return
    this.#options.replication().retarget(partition.replica, targetOf(this.#options.image(), image))
  }

  /** A broker has another data directory: it is another member of every group it belongs to. */
  #retargetAll(): void {
    const image = this.#options.image()
    for (const partition of this.#open.values()) {
      const location = image.partitionByGroup(partition.groupId)
      if (location !== undefined) this.#retarget(partition, location.partition)
    }
  }

  // Leadership

  leads(partition: HostedPartition): void {
    if (partition.topic !== OFFSETS_TOPIC) {
      this.#options.leaders.leading(partition)
      return
    }
    const loaded = this.#options
      .coordinator()
      .lead(partition.partition)
      .catch((error: Error) => {
        if (error.name === 'InvariantViolation') throw error
        this.#options.environment.logger.error(
          `the groups of ${OFFSETS_TOPIC}-${partition.partition} cannot be loaded: ${error.message}`,
        )
      })
    // A new partition is announced with its groups loaded; an old one at once: its groups are told so meanwhile.
    if (partition.log.logEndOffset > 0) {
      this.#options.leaders.leading(partition)
      return
    }
    partition.loaded = loaded.then(() => {
      if (partition.isLeader) this.#options.leaders.leading(partition)
    })
  }

  follows(partition: HostedPartition, leader: number): void {
    const { groupId } = partition
    if (this.#options.leaders.leads(groupId)) this.#options.leaders.left(groupId)
    if (partition.topic === OFFSETS_TOPIC) this.#options.coordinator().resign(partition.partition)
    if (leader >= 0) this.#options.leaders.learned(groupId, brokerOf(leader), partition.leaderEpoch)
  }

  inSyncChanged(partition: HostedPartition): void {
    if (this.#options.leaders.leads(partition.groupId)) this.#options.leaders.leading(partition)
  }

  /** The group led here consists of those who are to have it. */
  reconciled(partition: HostedPartition): void {
    const image = this.#options.image().partitionByGroup(partition.groupId)?.partition
    if (image === undefined || partition.isCompleting) return
    if (image.adding.length === 0 && image.removing.length === 0) return
    partition.isCompleting = true
    const again = (): void => {
      this.#options.environment.clock.after(ASK_AGAIN_MS, () => {
        partition.isCompleting = false
        if (partition.isLeader) this.reconciled(partition)
      })
    }
    const ask = {
      type: 'complete-reassignment',
      groupId: partition.groupId,
      targetReplicas: targetReplicas(image),
    } as const
    askCluster(this.#options.shard, ask).then(({ error }) => {
      if (error !== ErrorCode.NONE) again()
    }, again)
  }

  /** Once a second: leaderships to where they belong. Looks at a part of the partitions, the next time at the next part. */
  balance(): void {
    const image = this.#options.image()
    // A broker that takes no writes leaves them to others, as long as others can.
    const isShort = this.#options.host.refusesWrites
    const isDraining = isShort || image.isDraining(this.#nodeId)
    if (!this.#options.config.autoLeaderRebalanceEnable && !isDraining) return
    let transfers = isShort ? TRANSFERS_WHEN_SHORT : TRANSFERS_PER_SECOND
    for (let looks = Math.min(LOOKS_PER_SECOND, this.#open.size); looks > 0 && transfers > 0; looks--) {
      let next = this.#balanced.next()
      if (next.done === true) {
        this.#balanced = this.#open.values()
        next = this.#balanced.next()
        if (next.done === true) return
      }
      if (next.value.isLeader && this.#handOver(next.value, image, isDraining)) transfers--
    }
  }

  /** @returns whether a transfer was begun */
  #handOver(partition: HostedPartition, image: MetadataImage, isDraining: boolean): boolean {
    const located = image.partitionByGroup(partition.groupId)?.partition
    if (located === undefined || located.replicas.length < 2) return false
    const { isr } = partition
    const fits = (nodeId: number): boolean =>
      nodeId !== this.#nodeId && isr.includes(nodeId) && this.#options.isAlive(nodeId) && !image.isDraining(nodeId)
    const targets = targetReplicas(located)
    const preferred = targets[0]!
    const heir = isDraining ? targets.find(fits) : fits(preferred) ? preferred : undefined
    if (heir === undefined) return false
    if (this.#options.diskHangs() && !canDoWithout(partition.replica, this.#options.isAlive)) return false
    void partition.replica.transfer(raftIdOf(heir, image.directoryEpoch(heir)))
    return true
  }

  /** The storage has failed. */
  failed(): void {
    for (const partition of this.#open.values()) partition.failed()
  }
}

/** One object for all partitions of a topic; nobody changes it, and a changed configuration is another TopicConfig. */
const logConfigs = new WeakMap<TopicConfig, LogConfig>()

export function logConfigOf(config: TopicConfig): LogConfig {
  const known = logConfigs.get(config)
  if (known !== undefined) return known
  const logConfig: LogConfig = {
    segmentBytes: config.segmentBytes,
    segmentMs: config.segmentMs,
    segmentJitterMs: config.segmentJitterMs,
    retentionMs: config.retentionMs,
    retentionBytes: config.retentionBytes,
    deletePolicy: config.cleanupPolicy.includes('delete'),
    indexIntervalBytes: config.indexIntervalBytes,
    fileDeleteDelayMs: config.fileDeleteDelayMs,
  }
  logConfigs.set(config, logConfig)
  return logConfig
}
