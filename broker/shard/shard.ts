// One shard: a worker thread with its connections, its partitions and their Raft groups, its storage, its mailboxes and its links.
//
// Everything here runs on the shard's own thread; other shards are reached through the post, other brokers through the links, the main thread
// through shard-worker.ts. This file puts the parts together, starts and stops them; what they do stands in the files beside it.
// Start-up: storage replays its journal, shard 0 finds out who this broker is and opens the metadata, the others open their partitions by
// the image that it hands them, and the broker registers.

import { ErrorCode } from '../../protocol/errors.ts'
import type { Arena } from '../../storage/arena.ts'
import type { DiskError } from '../../storage/disk.ts'
import { ShardStorage } from '../../storage/shard-storage.ts'
import { askCluster, type MetadataIndexAnswer } from '../cluster/cluster-call.ts'
import type { Controller, Registration } from '../cluster/controller.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import type { NodeIdentity } from '../cluster/node-identity.ts'
import type { ProducerIds } from '../cluster/producer-ids.ts'
import { raftIdOf } from '../cluster/raft-id.ts'
import { OFFSETS_TOPIC } from '../cluster/topic-names.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import { GroupCoordinator } from '../groups/coordinator.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import { FetchSessions } from '../handlers/fetch-sessions.ts'
import { StrandedClients } from '../handlers/stranded-clients.ts'
import type { ConnectionWaiter, FrameMemory } from '../net/connection.ts'
import type { StreamSocket } from '../net/stream-socket.ts'
import { type GroupLagFigures, ShardMetrics } from '../observe/shard-metrics.ts'
import { RefusedSequences } from '../partition/refused-sequences.ts'
import { Replication } from '../replication/driver.ts'
import type { ShardLinks } from '../replication/link-types.ts'
import type { MembershipPolicy } from '../replication/membership-policy.ts'
import { Asks } from './asks.ts'
import { Connections } from './connections.ts'
import type { DataShard, QuorumState } from './context.ts'
import { DataPlane } from './data-plane.ts'
import { DiskSpace } from './disk-space.ts'
import { FrameMemories } from './frame-memory.ts'
import { Leaders } from './leaders.ts'
import { MetadataFreshness } from './metadata-freshness.ts'
import { MetadataPublication } from './metadata-publication.ts'
import { MetadataShard } from './metadata-shard.ts'
import { OffsetsTopicLog } from './offsets-topic-log.ts'
import { partitionHost } from './partition-host.ts'
import { type HostedPartition, Partitions } from './partitions.ts'
import { openLinks, type PeerOptions, peerLinks } from './peer-links.ts'
import { Post } from './post.ts'
import type { LoopHook } from './wake.ts'
import { Kind, type WireReader } from './wire.ts'

export interface ShardOptions {
  readonly shardId: number
  readonly shardCount: number
  readonly environment: Environment
  readonly config: BrokerConfig
  /** Holds topics/ and journal/. */
  readonly dataDirectory: string
  readonly journalDirectory: string
  readonly journalFileBytes: number
  readonly arena: Arena
  /** Of all shards, by shard. */
  readonly arenas: readonly Buffer[]
  readonly rings: readonly SharedArrayBuffer[]
  readonly hook: LoopHook
  /** What clients and other brokers are told of this broker. */
  readonly registration: Registration
  /** Undefined for a broker alone. */
  readonly peer: PeerOptions | undefined
  /** Quorums and witnesses of the groups. Default: majorities, and none. */
  readonly membershipPolicy?: MembershipPolicy | undefined
  /** From the data directory's record; used on shard 0. */
  readonly identity: NodeIdentity | undefined
  /** Writes the record; used on shard 0. */
  saveIdentity(identity: NodeIdentity): Promise<void>
  /** The shard cannot go on: its disk failed, an invariant broke, or the cluster does not take it. */
  onFailure(error: Error): void
}

const SECOND_MS = 1000
/** Leaderships are given away for so long before a stop. */
const TRANSFER_MS_MAX = 3000

export class Shard implements DataShard {
  readonly shardId: number
  readonly shardCount: number
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly metrics = new ShardMetrics()
  readonly data: DataPlane
  readonly fetchSessions: FetchSessions
  readonly strandedClients = new StrandedClients()
  coordinator!: GroupCoordinator
  frameMemory: FrameMemory | undefined = undefined
  /** As each other shard last said of itself: share of its journal memory in use, 0 to 65535. */
  readonly peerLoads: Uint16Array
  /** Tells the main thread, which balances connections. */
  onConnectionClosed: (() => void) | undefined
  readonly links: ShardLinks | undefined
  readonly #options: ShardOptions
  readonly #post: Post
  readonly #memories: FrameMemories
  readonly #connections: Connections
  readonly #diskSpace: DiskSpace
  readonly #asks: Asks
  readonly #leaders: Leaders
  readonly #partitions: Partitions
  readonly #publication: MetadataPublication
  readonly #freshness: MetadataFreshness
  readonly #replication: Replication
  /** On shard 0. */
  readonly #metadata: MetadataShard | undefined
  #storage!: ShardStorage
  #directoryEpoch: number | undefined
  #clusterId: string
  #nextId = 1
  #isStopping = false
  #flushScheduled = false

  constructor(options: ShardOptions) {
    const { shardId, shardCount, environment, config } = options
    this.#options = options
    this.shardId = shardId
    this.shardCount = shardCount
    this.environment = environment
    this.config = config
    this.#clusterId = options.identity?.clusterId ?? ''
    this.#directoryEpoch = options.identity?.directoryEpoch
    this.peerLoads = new Uint16Array(shardCount)
    this.#memories = new FrameMemories(options.arena, environment.clock)
    const slots = Math.ceil(config.maxIncrementalFetchSessionCacheSlots / shardCount)
    this.fetchSessions = new FetchSessions(slots, () => Math.floor(environment.random.next() * 0x7fff_fffe) + 1)
    this.#diskSpace = new DiskSpace(environment, options.dataDirectory, () =>
      this.#storage === undefined ? 0 : this.#storage.stats().writeBehindPendingBytes,
    )
    const post = (): Post => this.#post
    const image = (): MetadataImage => this.image
    const nextId = (): number => this.#id()
    const wantsFlush = (): void => this.#scheduleFlush()
    const refusedSequences = new RefusedSequences(environment.clock)
    this.data = new DataPlane({
      shardId,
      shardCount,
      arenas: options.arenas,
      inFlight: {
        alloc: (bytes) => this.#memories.allocateRun(bytes),
        release: (at) => this.#memories.releaseRun(at),
      },
      post,
      partition: (groupId) => this.#partitions.get(groupId),
      whyMissing: (groupId) =>
        this.image.partitionByGroup(groupId) === undefined
          ? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
          : ErrorCode.NOT_LEADER_OR_FOLLOWER,
      refusedSequences,
    })
    this.links =
      options.peer === undefined
        ? undefined
        : peerLinks(options.peer, {
            ...{ shardId, shardCount, environment, config, memories: this.#memories, wantsFlush },
            registration: options.registration,
            clusterId: () => this.#clusterId,
            replication: () => this.#replication,
            leaders: () => this.#leaders,
            asks: () => this.#asks,
            metadata: () => this.#metadata,
          })
    this.#replication = this.#makeReplication()
    const { links } = this
    const nodeId = config.nodeId
    const { clock } = environment
    this.#leaders = new Leaders({ nodeId, shardId, shardCount, clock, image, post, links, wantsFlush })
    this.#partitions = new Partitions({
      shardId,
      shardCount,
      environment,
      config,
      dataDirectory: options.dataDirectory,
      host: partitionHost({
        environment,
        config,
        storage: () => this.#storage,
        diskSpace: this.#diskSpace,
        memories: this.#memories,
        refusedSequences,
        lendBytesMax: options.arena.capacityBytes / 4,
        queueBytesMax: options.arena.capacityBytes / 4,
      }),
      leaders: this.#leaders,
      image,
      storage: () => this.#storage,
      replication: () => this.#replication,
      coordinator: () => this.coordinator,
      raftId: () => this.#raftId(),
      isAlive: (other) => this.isAlive(other),
      diskHangs: () => this.#diskSpace.isHung,
      shard: this,
      wantsFlush,
    })
    this.#publication = new MetadataPublication({
      shardId,
      shardCount,
      config,
      partitions: this.#partitions,
      leaders: this.#leaders,
      post,
      nextId,
      identified: (identity) => this.#identified(identity),
      imageChanged: () => this.#imageChanged(),
      inContact: () => this.#freshness.doubt(),
      topicGone: (name, topicId) => this.coordinator.topicDeleted(name, topicId),
    })
    this.#freshness = new MetadataFreshness({
      clock,
      // A broker that failed over the question has not answered it.
      ask: () =>
        askCluster<MetadataIndexAnswer>(this, { type: 'metadata-index' }).catch(() => {
          return { error: ErrorCode.UNKNOWN_SERVER_ERROR }
        }),
      appliedIndex: () => this.image.appliedIndex,
    })
    this.#metadata =
      shardId !== 0
        ? undefined
        : new MetadataShard({
            shard: this,
            ...options,
            links,
            publication: this.#publication,
            leaders: this.#leaders,
            replication: this.#replication,
            storage: () => this.#storage,
            identified: (identity) => this.#identified(identity),
            identifiedAs: (directoryEpoch) => {
              this.#directoryEpoch = directoryEpoch
            },
            wantsFlush,
          })
    this.#asks = new Asks({
      shard: this,
      post,
      links,
      place: () => this.#metadata ?? { leader: -1, isHere: false },
      nextId,
      wantsFlush,
    })
    this.#connections = new Connections({
      shard: this,
      environment,
      config,
      metrics: this.metrics,
      memories: this.#memories,
      congested: () => this.#congested(),
      withFrameMemory: (memory, call) => {
        this.frameMemory = memory
        try {
          return call()
        } finally {
          this.frameMemory = undefined
        }
      },
      onClosed: () => this.onConnectionClosed?.(),
    })
    this.#post = new Post({
      shardId,
      shardCount,
      rings: options.rings,
      hook: options.hook,
      receive: (from, kind, id, load, reader) => {
        this.peerLoads[from] = load
        this.#receive(from, kind, id, reader)
      },
      load: () => this.#load(),
      onRoom: () => this.#memories.roomMade(),
    })
  }

  // Parts

  #makeReplication(): Replication {
    const { clock, random, logger } = this.environment
    return new Replication({
      nodeId: () => this.#raftId(),
      raftIdAt: (nodeId) => raftIdOf(nodeId, this.image.directoryEpoch(nodeId)),
      clock,
      random,
      logger,
      links: this.links,
      shardCount: this.shardCount,
      membershipPolicy: this.#options.membershipPolicy,
      wantsFlush: () => this.#scheduleFlush(),
      canAccept: (bytes) => this.#storage.canAccept(bytes),
      refusesBatches: () => this.#diskSpace.isShort,
      appending: (bytes) => this.#diskSpace.spend(bytes),
      replicaLagTimeMaxMs: this.config.replicaLagTimeMaxMs,
      catchUpBytesPerSecond: () => this.config.leaderReplicationThrottledRate / this.shardCount,
    })
  }

  // Start and stop

  async start(): Promise<void> {
    const { environment, arena, journalDirectory, journalFileBytes } = this.#options
    const { clock, disk, logger } = environment
    await this.#diskSpace.start()
    this.#storage = await ShardStorage.open({
      disk,
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, call) => clock.after(delayMs, call),
      journalDirectory,
      arena,
      journalFileBytes,
      journalFileCount: 4,
      onDurable: (groups) => this.#replication.onDurable(groups),
      onFailure: (error) => this.#storageFailed(error),
      onRoom: () => this.#memories.roomMade(),
      onFull: (isFull) => {
        this.#diskSpace.full(isFull)
        // Whoever waits for room is refused now.
        this.#memories.roomMade()
      },
      log: (level, message) => logger[level](message),
    })
    const offsetsLog = new OffsetsTopicLog({
      partition: (index) => {
        const offsets = this.image.topicByName(OFFSETS_TOPIC)?.partitions[index]
        return offsets === undefined ? undefined : this.#partitions.get(offsets.groupId)
      },
      segmentReadBytes: 1 << 20,
      nowMs: () => clock.nowMs(),
    })
    const image = (): MetadataImage => this.image
    this.coordinator = new GroupCoordinator({ config: this.config, environment, log: offsetsLog, image })
    if (this.#metadata === undefined) await this.#publication.firstImage
    else await this.#metadata.open()
    const opened = this.#partitions.openAll()
    this.#publication.begin()
    await opened
    await this.#metadata?.register()
    this.#connections.sweep()
    this.#everySecond()
    this.#retentionPass()
    if (this.links !== undefined) this.#freshness.start()
  }

  async stop(): Promise<void> {
    if (this.#isStopping) return
    this.#isStopping = true
    if (this.links !== undefined && this.#storage !== undefined && this.config.controlledShutdownEnable) {
      await this.#giveAway()
    }
    this.#metadata?.stop()
    this.#freshness.close()
    await this.#connections.finish()
    // A start that failed half-way is stopped too.
    this.coordinator?.close()
    this.#replication.close()
    this.links?.close()
    await this.#storage?.close()
    this.#options.hook.close()
  }

  /** Leaders to brokers that are in sync: then nobody has to miss this one before it is replaced. */
  #giveAway(): Promise<void> {
    return new Promise((resolve) => {
      const late = this.environment.clock.after(TRANSFER_MS_MAX, resolve)
      this.#replication.transferAll().then(() => {
        late.cancel()
        resolve()
      }, resolve)
    })
  }

  // Who this is

  #raftId(): number {
    return raftIdOf(this.config.nodeId, this.#directoryEpoch ?? 0)
  }

  #identified({ clusterId, directoryEpoch }: Pick<NodeIdentity, 'clusterId' | 'directoryEpoch'>): void {
    this.#clusterId = clusterId
    this.#directoryEpoch = directoryEpoch
  }

  #imageChanged(): void {
    const { nodeId } = this.config
    this.#leaders.imageChanged()
    this.#freshness.applied()
    const peers = this.image.brokers.filter((broker) => broker.peer !== null && broker.nodeId !== nodeId)
    if (this.#metadata !== undefined) this.#metadata.imageChanged()
    else this.links?.setPeers(peers.map((broker) => ({ nodeId: broker.nodeId, ...broker.peer! })))
    if (this.links !== undefined) for (const broker of peers) openLinks(this.links, this, broker)
  }

  // ShardContext

  get image(): MetadataImage {
    return this.#publication.image
  }

  get controller(): Controller | undefined {
    return this.#metadata?.controller
  }

  get producerIds(): ProducerIds | undefined {
    return this.#metadata?.producerIds
  }

  partition(groupId: number): HostedPartition | undefined {
    return this.#partitions.get(groupId)
  }

  partitions(): Iterable<HostedPartition> {
    return this.#partitions.all()
  }

  ask<Req, Res>(shard: number, api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res> {
    return this.#asks.ask(shard, api, call, request)
  }

  askController<Req, Res>(api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res> {
    return this.#asks.askController(api, call, request)
  }

  askBroker<Req, Res>(
    nodeId: number,
    shard: number,
    api: Api<Req, Res>,
    call: CallContext,
    request: Req,
  ): Promise<Res> {
    return this.#asks.askBroker(nodeId, shard, api, call, request)
  }

  isAlive(nodeId: number): boolean {
    return nodeId === this.config.nodeId || this.links?.isAlive(nodeId) === true
  }

  get isCutOff(): boolean {
    return this.#publication.standing.isCutOff || this.#freshness.isInDoubt
  }

  whenFresh(): Promise<void> | undefined {
    return this.#publication.standing.isCutOff ? undefined : this.#freshness.whenFresh()
  }

  get isController(): boolean {
    return this.#publication.standing.isController
  }

  quorum(): QuorumState | undefined {
    return this.#metadata?.quorum()
  }

  // Messages

  #receive(from: number, kind: number, id: number, reader: WireReader): void {
    switch (kind) {
      case Kind.APPEND:
        return this.data.onAppend(from, id, reader)
      case Kind.APPENDED:
        return this.data.onAppended(id, reader)
      case Kind.READ:
        return this.data.onRead(from, id, reader)
      case Kind.READ_DONE:
        return this.data.onReadDone(from, id, reader)
      case Kind.RELEASE:
        return this.data.onRelease(from, id)
      case Kind.NOTIFY:
        return this.data.onNotify(id, reader)
      case Kind.UNWATCH:
        return this.data.onUnwatch(from, id)
      case Kind.ASK:
        return this.#asks.onAsk(from, id, reader)
      case Kind.ANSWER:
        return this.#asks.onAnswer(id, reader)
      case Kind.METADATA:
        return this.#publication.onMetadata(from, id, reader)
      case Kind.METADATA_APPLIED:
        return this.#publication.onApplied(id)
      case Kind.LEADERS:
        return this.#leaders.onLocal(reader)
    }
  }

  #id(): number {
    const id = this.#nextId
    this.#nextId = id >= 0x7fff_fffe ? 1 : id + 1
    return id
  }

  // Work of a loop turn, and of a while

  /** One flush per loop turn, after everything that this turn brings has been appended. */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    this.environment.clock.soon(this.#flush)
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    // A start that is not that far yet has links already, and nothing else.
    if (this.#storage === undefined) {
      this.links?.flush()
      return
    }
    this.#replication.endOfTurn()
    this.#storage.flush()
  }

  #everySecond(): void {
    if (this.#isStopping) return
    this.#lookAtDisk()
    this.#leaders.retry()
    if (this.links !== undefined) this.#partitions.balance()
    this.#metadata?.everySecond()
    this.environment.clock.after(SECOND_MS, () => this.#everySecond())
  }

  #lookAtDisk(): void {
    const isHung = this.#storage.look()
    if (isHung !== this.#diskSpace.isHung) {
      this.#diskSpace.hangs(isHung)
      // Whoever waits for room is refused now.
      this.#memories.roomMade()
    }
    if (isHung) this.#metadata?.giveWay()
  }

  #retentionPass(): void {
    this.environment.clock.after(this.config.logRetentionCheckIntervalMs, () => {
      if (this.#isStopping) return
      for (const partition of this.#partitions.all()) partition.expireProducers()
      this.#storage.enforceRetention().then(
        () => this.#retentionPass(),
        (error: Error) => {
          this.environment.logger.error(`old segments could not be removed: ${error.message}`)
          this.#retentionPass()
        },
      )
    })
  }

  #storageFailed(error: DiskError): void {
    this.environment.logger.error(
      `the disk has failed and this shard is read-only now: ${error.message}. Restart the broker when the disk is sound again.`,
    )
    this.#partitions.failed()
    this.#metadata?.failed()
    this.#replication.stepDownAll()
    this.#memories.roomMade()
  }

  // Connections

  accept(id: number, socket: StreamSocket, listenerName: string): void {
    this.#connections.accept(id, socket, listenerName)
  }

  /** A connection of another broker. */
  acceptPeer(socket: StreamSocket): void {
    if (this.links === undefined || this.#isStopping) socket.destroy()
    else this.links.accept(socket)
  }

  closeConnection(connectionId: number, reason: string): void {
    this.#connections.close(connectionId, reason)
  }

  dropConnection(connectionId: number): void {
    this.#connections.drop(connectionId)
  }

  beginWait(connectionId: number, waiter: ConnectionWaiter): void {
    this.#connections.beginWait(connectionId, waiter)
  }

  endWait(connectionId: number, waiter: ConnectionWaiter): void {
    this.#connections.endWait(connectionId, waiter)
  }

  #congested(): boolean {
    // A failed disk, a full one, or one that hangs, refuses each batch with its error; it must not stop the reads that still work.
    const refuses = this.#storage.failed !== undefined || this.#diskSpace.isShort
    return this.#post.congested || (!refuses && !this.#storage.canAccept(0))
  }

  #load(): number {
    const { arena } = this.#options
    return Math.max(
      0,
      Math.min(0xffff, Math.round((arena.usedBytes('journal') / arena.limitBytes('journal')) * 0xffff)),
    )
  }

  // Figures

  get connectionCount(): number {
    return this.#connections.count
  }

  get mailboxQueued(): number {
    return this.#asks.openCount
  }

  groupOffsets(): GroupLagFigures[] {
    const figures: GroupLagFigures[] = []
    for (const { groupId, topic, partition, offset } of this.coordinator.committedOffsets()) {
      figures.push({ group: groupId, topic, partition, committedOffset: offset })
    }
    return figures
  }

  storageStats(): ReturnType<ShardStorage['stats']> {
    return this.#storage.stats()
  }
}
