// What shard 0 does beside its partitions: the metadata group, the controller, and this broker's place in its cluster.
//
// One per broker, on shard 0's thread, made by shard.ts.

import { ErrorCode } from '../../protocol/errors.ts'
import type { GroupLog, LogConfig } from '../../storage/log.ts'
import type { ShardStorage } from '../../storage/shard-storage.ts'
import { askCluster, type ProducerIdAnswer } from '../cluster/cluster-call.ts'
import type { PeerAddress } from '../cluster/commands.ts'
import { Controller, type Registration } from '../cluster/controller.ts'
import { holdsNothing } from '../cluster/empty-cluster.ts'
import { ClusterNode } from '../cluster/node.ts'
import type { NodeIdentity } from '../cluster/node-identity.ts'
import { ProducerIds } from '../cluster/producer-ids.ts'
import { brokerOf, raftIdOf } from '../cluster/raft-id.ts'
import { metadataTargetOf } from '../cluster/target.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import { OperatorError } from '../operator-error.ts'
import { canDoWithout } from '../replication/do-without.ts'
import type { Replication } from '../replication/driver.ts'
import type { LinkInfo, ShardLinks } from '../replication/link-types.ts'
import { MetadataGroup } from '../replication/metadata-group.ts'
import type { PeerReader } from '../replication/peer-wire.ts'
import type { ControllerPlace } from './asks.ts'
import type { QuorumMember, QuorumState, ShardContext } from './context.ts'
import { LastHeard } from './last-heard.ts'
import type { Leaders } from './leaders.ts'
import { MetadataAcks } from './metadata-acks.ts'
import type { MetadataPublication } from './metadata-publication.ts'
import { MetadataStanding } from './metadata-standing.ts'

export interface MetadataShardOptions {
  readonly shard: ShardContext
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly dataDirectory: string
  readonly links: ShardLinks | undefined
  readonly registration: Registration
  readonly identity: NodeIdentity | undefined
  readonly publication: MetadataPublication
  readonly leaders: Leaders
  readonly replication: Replication
  storage(): ShardStorage
  saveIdentity(identity: NodeIdentity): Promise<void>
  identifiedAs(directoryEpoch: number): void
  identified(identity: NodeIdentity): void
  wantsFlush(): void
  onFailure(error: Error): void
}

const METADATA_GROUP = 0

const METADATA_LOG_CONFIG: LogConfig = {
  segmentBytes: 1 << 30,
  segmentMs: Number.MAX_SAFE_INTEGER,
  segmentJitterMs: 0,
  retentionMs: -1,
  retentionBytes: -1,
  deletePolicy: false,
  indexIntervalBytes: 4096,
  fileDeleteDelayMs: 0,
}

export class MetadataShard implements ControllerPlace {
  readonly controller: Controller
  readonly producerIds: ProducerIds
  readonly #options: MetadataShardOptions
  readonly #node: ClusterNode
  readonly #group: MetadataGroup
  readonly #acks: MetadataAcks
  readonly #standing: MetadataStanding
  readonly #lastHeard = new LastHeard()
  #isRegistered = false
  #isPlanning = false
  /** Partitions that cannot be moved away now, as last said. */
  #stuckCount = 0
  /** Replicas that the broker's own topics are being given, as last said. */
  #raisingTo = 0

  constructor(options: MetadataShardOptions) {
    this.#options = options
    const { shard, environment, config, links, publication, leaders } = options
    const image = () => publication.image
    this.#group = new MetadataGroup({
      image,
      publish: (commands, firstIndex) => publication.publish(commands, firstIndex),
      install: (snapshot) => publication.install(snapshot, this.#node.identity),
      appliedHere: (index) => this.#acks.appliedHere(index),
      appliedElsewhere: (index) => this.#acks.whenElsewhere(index),
      leading: () => {
        this.#lastHeard.forget()
        leaders.leading(this.#group)
        this.#retarget()
        this.#standing.look()
      },
      following: (leader) => {
        leaders.left(METADATA_GROUP)
        this.#standing.look()
        if (leader < 0) return
        leaders.learned(METADATA_GROUP, leader, this.#group.leaderEpoch)
        this.#acks.tellLeader()
      },
      contradicted: (leader) => options.onFailure(contradicted(leader)),
      inSyncChanged: () => {
        if (leaders.leads(METADATA_GROUP)) leaders.leading(this.#group)
      },
    })
    this.#acks = new MetadataAcks({
      nodeId: config.nodeId,
      links,
      clock: environment.clock,
      brokers: () => publication.image.brokers,
      leader: () => this.leader,
      wantsFlush: options.wantsFlush,
    })
    this.#standing = new MetadataStanding({
      clock: environment.clock,
      replica: () => this.#group.replica,
      isAlive: (nodeId) => links?.isAlive(nodeId, 0) === true,
      changed: (standing) => publication.stands(standing),
    })
    this.#node = new ClusterNode({
      ...options,
      image,
      askCluster: (ask) => askCluster(shard, ask),
      whenApplied: (index) => this.#acks.whenHere(index),
      onFatal: (error) => options.onFailure(error),
    })
    this.controller = new Controller({
      environment,
      config,
      image,
      log: this.#group,
      isAlive: (nodeId) => shard.isAlive(nodeId),
      linkedAddress: (nodeId) => this.#linkedAddress(nodeId),
      isActive: () => this.isHere,
    })
    this.producerIds = new ProducerIds({
      allocateProducerIds: async () => {
        const answer = await askCluster<ProducerIdAnswer>(shard, { type: 'allocate-producer-ids' })
        const { error, firstProducerId, count } = answer
        if (error !== ErrorCode.NONE || firstProducerId === undefined || count === undefined) {
          return { error: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, message: null }
        }
        return { firstProducerId, count }
      },
    })
  }

  #linkedAddress(nodeId: number): PeerAddress | undefined {
    const { config, registration, links } = this.#options
    if (nodeId === config.nodeId) return registration.peer ?? undefined
    const address = links?.linkInfo(nodeId, 0)?.address
    return address === undefined || address.port === 0 ? undefined : address
  }

  get leader(): number {
    return this.#group.leader
  }

  get isHere(): boolean {
    return this.#group.isActive
  }

  /** Finds out who this broker is and opens the metadata group; then releases the other shards. */
  async open(): Promise<void> {
    const { config, replication, publication } = this.#options
    if (await this.#givesWay()) await this.#forget()
    const known = this.#node.hasGivenUp ? undefined : this.#options.storage().get(METADATA_GROUP)
    const { directoryEpoch } = await this.#node.identify(known !== undefined)
    this.#options.identifiedAs(directoryEpoch)
    const raftId = raftIdOf(config.nodeId, directoryEpoch)
    const founders = this.#node.isFounder ? [raftId] : undefined
    // On disk before the cluster hears of it: a member whose journals hold no metadata is taken for one that lost them.
    const log = known ?? (await this.#newGroup(founders && replication.foundingSnapshot(METADATA_GROUP, founders)))
    const replica = replication.add(log, this.#group, { founders, preferred: true })
    this.#group.attach(replica)
    const members = replica.memberIds
    if (this.#options.links === undefined && members.length > 1) throw peerPortMissing(members)
    if (members.length === 1 && members[0] === raftId) await replica.lead()
    const identity = await this.#node.settle(publication.image.clusterId)
    this.#options.identified(identity)
    publication.start(identity)
    this.imageChanged()
  }

  /** @returns whether what the storage holds of a metadata group is of a cluster that was given up, now or before a crash */
  async #givesWay(): Promise<boolean> {
    const { identity, identified } = this.#options
    if (this.#node.hasGivenUp) return true
    if (identity === undefined || !this.#node.mayGiveWay || !(await this.#isEmpty(identity))) return false
    identified({ ...identity, clusterId: '' })
    const givesWay = await this.#node.givesWay()
    if (!givesWay) identified(identity)
    return givesWay
  }

  /** Whether nothing was decided in the cluster of this broker but its own registration, and nothing else is in its directory. */
  async #isEmpty({ directoryEpoch, isRegistered }: NodeIdentity): Promise<boolean> {
    const { config, environment, dataDirectory, storage } = this.#options
    const held = storage().get(METADATA_GROUP)
    // A member that lost its journals is told so.
    if (held === undefined) return !isRegistered
    if (!holdsNothing(held, raftIdOf(config.nodeId, directoryEpoch))) return false
    for (const { groupId } of storage().groups()) if (groupId !== METADATA_GROUP) return false
    const topics = `${dataDirectory}/topics`
    return (await environment.disk.stat(topics)) === undefined || (await environment.disk.list(topics)).length === 0
  }

  /** Nothing of the cluster that was given up is left when this resolves: terms and entries of the next one would be taken for its own. */
  async #forget(): Promise<void> {
    if (this.#options.storage().get(METADATA_GROUP) !== undefined) await this.#newGroup(undefined)
    await this.#options.publication.givenUp()
  }

  /** @returns the metadata group, when it is durable and the one that was there is gone for good */
  async #newGroup(snapshot: Uint8Array | undefined): Promise<GroupLog> {
    const storage = this.#options.storage()
    // In the same journal, so what comes later is durable only with it.
    if (storage.get(METADATA_GROUP) !== undefined) storage.remove(METADATA_GROUP)
    const log = storage.create(METADATA_GROUP, '', METADATA_LOG_CONFIG, snapshot)
    storage.flush()
    await log.whenJournaled()
    return log
  }

  /** @returns when the metadata knows this broker as it is now, or when it seems that no quorum is running */
  register(): Promise<void> {
    return this.#node.register(async () => {
      this.#isRegistered = true
      await this.#options.publication.caughtUp()
    })
  }

  imageChanged(): void {
    const { publication, config } = this.#options
    if (this.#isRegistered && publication.image.broker(config.nodeId) === undefined) {
      this.#isRegistered = false
      this.#options.onFailure(takenOut(config.nodeId))
      return
    }
    this.#node.peersChanged()
    this.#retarget()
    this.#acks.check()
  }

  /** Who is to be in the metadata group; carried out by its leader. */
  #retarget(): void {
    const { replica } = this.#group
    const { image } = this.#options.publication
    if (replica === undefined || image.brokers.length === 0) return
    this.#options.replication.retarget(replica, metadataTargetOf(image))
  }

  everySecond(): void {
    this.#acks.check()
    this.#standing.look()
    // So that who dies is remembered as it was.
    this.quorum()
    void this.#moveReplicas()
  }

  /** The disk of shard 0 hangs: another broker is to decide, if the others can without this one. */
  giveWay(): void {
    const { replica } = this.#group
    const { shard, config, publication } = this.#options
    const isAlive = (nodeId: number): boolean => shard.isAlive(nodeId)
    if (replica === undefined || !replica.isLeader || !canDoWithout(replica, isAlive)) return
    const heir = replica.inSync().find((nodeId) => nodeId !== config.nodeId && shard.isAlive(nodeId))
    if (heir !== undefined) void replica.transfer(raftIdOf(heir, publication.image.directoryEpoch(heir)))
  }

  /** What this broker moves by itself while it leads the metadata group: one plan after the other. */
  async #moveReplicas(): Promise<void> {
    if (this.#isPlanning || !this.isHere) return
    this.#isPlanning = true
    try {
      await this.#drain()
      await this.#raise()
    } finally {
      this.#isPlanning = false
    }
  }

  /** More replicas for the broker's own topics, when the cluster has grown since they were made. */
  async #raise(): Promise<void> {
    const raised = await this.controller.raiseStep()
    if (raised === undefined || this.#raisingTo === raised.replicationFactor) return
    this.#raisingTo = raised.replicationFactor
    const { topic, replicationFactor, left } = raised
    this.#options.environment.logger.warn(
      `there are brokers for more replicas of ${topic}: ${left} partitions get ${replicationFactor} each`,
    )
  }

  /** While a broker is draining: the next partitions to move, until it holds nothing. */
  async #drain(): Promise<void> {
    const { image } = this.#options.publication
    if (!image.brokers.some(({ nodeId }) => image.isDraining(nodeId))) return
    const plan = await this.controller.drainStep()
    if ('error' in plan || plan.left === 0) return
    const stuck = plan.withoutPlace + plan.withoutLeader
    if (stuck === this.#stuckCount) return
    this.#stuckCount = stuck
    if (stuck > 0) {
      this.#options.environment.logger.warn(
        `draining: ${plan.left} partitions are left; ${plan.withoutPlace} of them fit on no other live broker, ${plan.withoutLeader} have no leader`,
      )
    }
  }

  peerUp(link: LinkInfo): void {
    if (link.nodeId === this.leader) this.#acks.tellLeader()
  }

  peerSilent(nodeId: number): void {
    this.#acks.silent(nodeId)
    this.#standing.look()
  }

  onPeerApplied(link: LinkInfo, reader: PeerReader): void {
    this.#acks.onPeer(link, reader)
  }

  quorum(): QuorumState | undefined {
    const { replica } = this.#group
    if (replica === undefined || !this.isHere) return undefined
    const { voters } = replica.raft.membership
    const { image } = this.#options.publication
    const nowMs = this.#options.environment.clock.nowMs()
    const members: (QuorumMember & { isVoter: boolean })[] = replica.memberIds.map((id) => {
      const nodeId = brokerOf(id)
      const isSelf = id === replica.raft.id
      const progress = replica.progressOf(id)
      const lastIndex = isSelf ? replica.log.lastIndex : (progress?.matchIndex ?? -1)
      const isAlive = this.#options.shard.isAlive(nodeId)
      return {
        nodeId,
        directoryId: image.directoryId(nodeId),
        lastIndex,
        ...this.#lastHeard.look(nodeId, nowMs, isAlive, lastIndex >= replica.log.commitIndex),
        isVoter: voters.includes(id),
      }
    })
    return {
      leaderId: this.#options.config.nodeId,
      leaderEpoch: replica.term,
      commitIndex: replica.log.commitIndex,
      voters: members.filter(({ isVoter }) => isVoter),
      observers: members.filter(({ isVoter }) => !isVoter),
    }
  }

  failed(): void {
    this.#group.failed()
  }

  stop(): void {
    this.#node.stop()
  }
}

function peerPortMissing(members: readonly number[]): OperatorError {
  return new OperatorError(
    'PEER_PORT_MISSING',
    `the data directory belongs to a member of a cluster of ${members.length} brokers, and cannot be served alone`,
    'Give --peer-port and --seed as before.',
  )
}

function contradicted(leader: number): OperatorError {
  return new OperatorError(
    'METADATA_CONTRADICTED',
    `the metadata here hold changes that those of broker ${leader}, which leads the cluster, do not: it was recovered without them`,
    'Start this broker with an empty data directory; what only it held is lost to the cluster then, so keep the old one.',
  )
}

function takenOut(nodeId: number): OperatorError {
  return new OperatorError(
    'BROKER_REMOVED',
    `broker ${nodeId} was taken out of the cluster`,
    'Start it again to bring it back, or leave it stopped.',
  )
}
