// One shard: a worker thread with its connections, its partitions and their Raft groups, its storage and its mailboxes.
//
// Everything here runs on the shard's own thread; other shards are reached through the post, the main thread through shard-worker.ts. Start-up:
// storage replays its journal, shard 0 makes the metadata image and hands it to the others, each shard opens its partitions, elects
// their leaders, and tells everybody.

import { decoder, encoder } from '../../protocol/compile.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import { Reader } from '../../protocol/reader.ts'
import type { Fields, Input } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import type { Arena } from '../../storage/arena.ts'
import type { DiskError } from '../../storage/disk.ts'
import type { GroupLog, LogConfig } from '../../storage/log.ts'
import { ShardStorage } from '../../storage/shard-storage.ts'
import { type Command, decodeCommand, encodeCommand, type RegisterBroker } from '../cluster/commands.ts'
import { Controller } from '../cluster/controller.ts'
import { type MetadataChange, MetadataImage, type PartitionImage, type TopicImage } from '../cluster/metadata.ts'
import { ProducerIds } from '../cluster/producer-ids.ts'
import { OFFSETS_TOPIC } from '../cluster/topic-names.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import { GroupCoordinator } from '../groups/coordinator.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import { FetchSessions } from '../handlers/fetch-sessions.ts'
import { apis } from '../handlers/registry.ts'
import { Connection, type ConnectionHost, type FrameMemory } from '../net/connection.ts'
import type { StreamSocket } from '../net/stream-socket.ts'
import { type GroupLagFigures, ShardMetrics } from '../observe/shard-metrics.ts'
import { Partition, type PartitionHost } from '../partition/partition.ts'
import { Replication } from '../replication/driver.ts'
import { MetadataGroup, replayCommands } from '../replication/metadata-group.ts'
import type { TopicConfig } from '../topic-config.ts'
import type { DataShard } from './context.ts'
import { DataPlane } from './data-plane.ts'
import { DiskSpace } from './disk-space.ts'
import { Dispatcher } from './dispatch.ts'
import { OffsetsTopicLog } from './offsets-topic-log.ts'
import { shardOf } from './placement.ts'
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
  /** What clients are told of this broker; used on shard 0. */
  readonly registration: Omit<RegisterBroker, 'type'>
  /** The shard cannot go on: its disk failed, or an invariant broke. */
  onFailure(error: Error): void
}

const METADATA_GROUP = 0
/** Body kinds of METADATA messages. */
const IMAGE = 0
const COMMANDS = 1
const SWEEP_MS = 1000
/** An answer lies in the memory of the shard until the client has taken it: one that takes none for so long is let go. */
const UNREAD_MS_MAX = 60_000
/** A stopping shard waits so long for the answers to what it has read. */
const FINISH_MS_MAX = 800
/** Largest part of the in-flight budget that one unfinished frame may take from the arena; larger ones use the heap. */
const ARENA_FRAME_BYTES_MAX = 4 << 20

interface Asked {
  resolve(response: object): void
  reject(error: Error): void
  readonly api: Api<unknown, object>
  readonly version: number
}

interface Publication {
  left: number
  resolve(): void
}

export class Shard implements DataShard, ConnectionHost {
  readonly shardId: number
  readonly shardCount: number
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly metrics = new ShardMetrics()
  readonly data: DataPlane
  readonly fetchSessions: FetchSessions
  readonly maxFrameBytes: number
  image: MetadataImage
  controller: Controller | undefined
  producerIds: ProducerIds | undefined
  coordinator!: GroupCoordinator
  frameMemory: FrameMemory | undefined = undefined
  /** As each other shard last said of itself: share of its journal memory in use, 0 to 65535. */
  readonly peerLoads: Uint16Array
  readonly #options: ShardOptions
  readonly #post: Post
  readonly #partitions = new Map<number, Partition>()
  readonly #connections = new Map<number, Connection>()
  readonly #dispatcher: Dispatcher
  readonly #diskSpace: DiskSpace
  readonly #asked = new Map<number, Asked>()
  readonly #publications = new Map<number, Publication>()
  readonly #leading = new Set<number>()
  readonly #partitionHost: PartitionHost
  #storage!: ShardStorage
  #replication!: Replication
  #offsetsLog!: OffsetsTopicLog
  #metadata: MetadataGroup | undefined
  #nextId = 1
  /** Settled when shard 0 has sent the metadata, which may be before this shard has opened its storage. */
  readonly #imageArrived = Promise.withResolvers<void>()
  #roomCalls: (() => void)[] = []
  #heldFrameBytes = 0
  #stopping = false
  #flushScheduled = false

  constructor(options: ShardOptions) {
    const { shardId, shardCount, environment, config } = options
    this.#options = options
    this.shardId = shardId
    this.shardCount = shardCount
    this.environment = environment
    this.config = config
    this.maxFrameBytes = config.socketRequestMaxBytes
    this.image = new MetadataImage(config)
    this.peerLoads = new Uint16Array(shardCount)
    const slots = Math.ceil(config.maxIncrementalFetchSessionCacheSlots / shardCount)
    this.fetchSessions = new FetchSessions(slots, () => Math.floor(environment.random.next() * 0x7fff_fffe) + 1)
    this.#diskSpace = new DiskSpace(environment, options.dataDirectory, () =>
      this.#storage === undefined ? 0 : this.#storage.stats().writeBehindPendingBytes,
    )
    this.data = new DataPlane({
      shardId,
      shardCount,
      arenas: options.arenas,
      inFlight: {
        alloc: (bytes) => (options.arena.room('inflight') >= bytes ? options.arena.alloc(bytes, 'inflight') : -1),
        release: (at) => {
          options.arena.release(at)
          this.#roomMade()
        },
      },
      post: () => this.#post,
      partition: (groupId) => this.#partitions.get(groupId),
      whyMissing: (groupId) =>
        this.image.partitionByGroup(groupId) === undefined
          ? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
          : ErrorCode.NOT_LEADER_OR_FOLLOWER,
    })
    this.#dispatcher = new Dispatcher({
      shard: this,
      metrics: this.metrics,
      withFrameMemory: (memory, call) => {
        this.frameMemory = memory
        try {
          return call()
        } finally {
          this.frameMemory = undefined
        }
      },
    })
    const storage = () => this.#storage
    const diskSpace = this.#diskSpace
    const lendMax = options.arena.capacityBytes / 4
    let lentBytes = 0
    this.#partitionHost = {
      clock: environment.clock,
      logger: environment.logger,
      get refusesWrites() {
        return storage().failed !== undefined || diskSpace.isShort
      },
      canAccept: (bytes) => this.#storage.failed !== undefined || this.#storage.canAccept(bytes),
      get readBytesLeft() {
        return lendMax - lentBytes
      },
      lent: (bytes) => {
        lentBytes += bytes
      },
      appending: (bytes) => diskSpace.spend(bytes),
      get batchBytesMax() {
        return storage().batchBytesMax
      },
      onRoom: (call) => this.onRoom(call),
      producerIdExpirationMs: config.producerIdExpirationMs,
      decompressedBytesMax: config.socketRequestMaxBytes,
    }
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
      onRoom: () => this.#roomMade(),
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
      onDurable: (groups) => this.#onDurable(groups),
      onFailure: (error) => this.#storageFailed(error),
      onRoom: () => this.#roomMade(),
      log: (level, message) => logger[level](message),
    })
    this.#replication = new Replication({
      nodeId: this.config.nodeId,
      random: environment.random,
      wantsFlush: () => this.#scheduleFlush(),
    })
    this.#offsetsLog = new OffsetsTopicLog({
      partition: (index) => this.#offsetsPartition(index),
      segmentReadBytes: 1 << 20,
      nowMs: () => clock.nowMs(),
    })
    this.coordinator = new GroupCoordinator({
      config: this.config,
      environment,
      log: this.#offsetsLog,
      image: () => this.image,
    })
    if (this.shardId === 0) await this.#startMetadata()
    else await this.#imageArrived.promise
    this.#dropUnknownGroups()
    const opened: Promise<void>[] = []
    for (const topic of this.image.topics()) {
      for (const partition of topic.partitions) {
        if (this.#isOwn(partition)) opened.push(this.#open(topic, partition))
      }
    }
    await Promise.all(opened)
    this.#announce([...this.#leading])
    this.#sweep()
    this.#retentionPass()
  }

  async #startMetadata(): Promise<void> {
    const log = this.#storage.get(METADATA_GROUP) ?? this.#storage.create(METADATA_GROUP, '', METADATA_LOG_CONFIG)
    if (log.snapshot !== undefined) this.image = MetadataImage.deserialize(log.snapshot, this.config)
    const group = new MetadataGroup(log, { publish: (commands, firstIndex) => this.#publish(commands, firstIndex) })
    await replayCommands(log, this.image)
    log.snapshotProvider = () => this.image.serialize()
    this.#metadata = group
    const replica = this.#replication.add(log, group)
    group.attach(replica)
    await replica.lead()
    this.controller = new Controller({
      image: () => this.image,
      log: group,
      config: this.config,
      environment: this.environment,
    })
    this.producerIds = new ProducerIds(this.controller)
    await this.controller.register(this.#options.registration)
    // Everything before this point changed the image of this shard only.
    const image = this.image.serialize()
    for (let other = 1; other < this.shardCount; other++) {
      this.#post.send(other, this.#post.message(Kind.METADATA, 0).u8(IMAGE).rest(image))
    }
  }

  async stop(): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    await this.#finishRequests()
    for (const connection of [...this.#connections.values()]) connection.destroy()
    // A start that failed half-way is stopped too.
    this.coordinator?.close()
    await this.#storage?.close()
    this.#options.hook.close()
  }

  /** Nothing is read any more; what was read is answered, if that does not take too long. */
  async #finishRequests(): Promise<void> {
    const { clock } = this.environment
    const endMs = clock.monotonicMs() + FINISH_MS_MAX
    const isBusy = (): boolean => {
      if (this.#dispatcher.openRequests > 0) return true
      for (const connection of this.#connections.values()) if (connection.unsentBytes > 0) return true
      return false
    }
    while (isBusy() && clock.monotonicMs() < endMs) await new Promise<void>((resolve) => clock.after(5, resolve))
  }

  // Partitions

  partition(groupId: number): Partition | undefined {
    return this.#partitions.get(groupId)
  }

  partitions(): Iterable<Partition> {
    return this.#partitions.values()
  }

  #isOwn(partition: PartitionImage): boolean {
    return (
      partition.replicas.includes(this.config.nodeId) && shardOf(partition.groupId, this.shardCount) === this.shardId
    )
  }

  /** Groups whose topic was deleted while this shard did not see it. */
  #dropUnknownGroups(): void {
    for (const log of [...this.#storage.groups()]) {
      if (log.groupId !== METADATA_GROUP && this.image.partitionByGroup(log.groupId) === undefined) {
        this.#storage.remove(log.groupId)
      }
    }
  }

  async #open(topic: TopicImage, image: PartitionImage): Promise<void> {
    const { groupId, partition: number } = image
    const config = logConfigOf(topic.config)
    const known = this.#storage.get(groupId)
    const log =
      known ??
      this.#storage.create(groupId, `${this.#options.dataDirectory}/topics/${topic.name}/${number}-${groupId}`, config)
    log.config = config
    const identity = { topic: topic.name, topicId: topic.topicId, partition: number }
    const partition = new Partition(identity, log, topic.config, this.#partitionHost)
    this.#partitions.set(groupId, partition)
    if (known !== undefined) {
      await log.replay({ entry: () => {}, batch: (_index, _term, bytes, at) => partition.replayBatch(bytes, at) })
    }
    const replica = this.#replication.add(log, partition)
    partition.attach(replica)
    await replica.lead()
    this.#leading.add(groupId)
    this.image.setLeaderEpoch(groupId, replica.term, this.config.nodeId)
    if (topic.name === OFFSETS_TOPIC) {
      const loaded = this.coordinator.lead(number).catch((error: Error) => {
        if (error.name === 'InvariantViolation') throw error
        this.environment.logger.error(`the groups of ${OFFSETS_TOPIC}-${number} cannot be loaded: ${error.message}`)
      })
      // A new partition is loaded at once; an old one loads behind, and its groups are told so meanwhile.
      if (known === undefined) await loaded
    }
  }

  #close(topic: TopicImage): void {
    for (const { groupId, partition: number } of topic.partitions) {
      const partition = this.#partitions.get(groupId)
      if (partition === undefined) continue
      this.#partitions.delete(groupId)
      this.#leading.delete(groupId)
      if (topic.name === OFFSETS_TOPIC) this.coordinator.resign(number)
      partition.deleted()
      this.#replication.remove(groupId)
      this.#storage.remove(groupId)
      this.#scheduleFlush()
    }
  }

  #offsetsPartition(index: number): Partition | undefined {
    const image = this.image.topicByName(OFFSETS_TOPIC)?.partitions[index]
    return image === undefined ? undefined : this.#partitions.get(image.groupId)
  }

  #onDurable(groups: readonly GroupLog[]): void {
    this.#replication.onDurable(groups)
  }

  #storageFailed(error: DiskError): void {
    this.environment.logger.error(
      `the disk has failed and this shard is read-only now: ${error.message}. Restart the broker when the disk is sound again.`,
    )
    for (const partition of this.#partitions.values()) partition.failed()
    this.#metadata?.failed()
    this.#roomMade()
  }

  /** One flush per loop turn, after everything that this turn brings has been appended. */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    this.#storage.flush()
  }

  // Metadata

  /** Shard 0: committed commands to this image and to all others. */
  async #publish(commands: readonly Command[], firstIndex: number): Promise<void> {
    const body = Buffer.from(JSON.stringify(commands.map((command) => Buffer.from(encodeCommand(command)).toString())))
    const applied = this.#toOthers((to, id) =>
      this.#post.send(to, this.#post.message(Kind.METADATA, id).u8(COMMANDS).f64(firstIndex).rest(body)),
    )
    await this.#apply(commands, firstIndex)
    await applied
    // All shards lead their new partitions now; nobody is told before everybody knows of all leaders.
    const leaders = this.#newLeaders
    this.#newLeaders = []
    await this.#toOthers((to, id) => this.#sendLeaders(to, id, leaders))
  }

  /** Leaders reported to shard 0 that not every shard has been told of: (group, epoch) pairs. */
  #newLeaders: number[] = []

  /** Sends to every other shard, and resolves when all have answered METADATA_APPLIED. */
  #toOthers(send: (to: number, id: number) => void): Promise<void> {
    if (this.shardCount === 1) return Promise.resolve()
    const id = this.#id()
    return new Promise((resolve) => {
      this.#publications.set(id, { left: this.shardCount - 1, resolve })
      for (let other = 0; other < this.shardCount; other++) if (other !== this.shardId) send(other, id)
    })
  }

  #sendLeaders(to: number, id: number, pairs: readonly number[]): void {
    const message = this.#post.message(Kind.LEADERS, id)
    for (const value of pairs) message.i32(value)
    this.#post.send(to, message)
  }

  /** Tells all shards of leaders here; nobody waits for it. */
  #announce(groupIds: readonly number[]): void {
    const pairs: number[] = []
    for (const groupId of groupIds) pairs.push(groupId, this.#partitions.get(groupId)?.leaderEpoch ?? -1)
    for (let other = 0; other < this.shardCount; other++) {
      if (other !== this.shardId && pairs.length > 0) this.#sendLeaders(other, 0, pairs)
    }
  }

  async #apply(commands: readonly Command[], firstIndex: number): Promise<void> {
    const opened: Promise<void>[] = []
    let index = firstIndex
    for (const command of commands) this.#changed(this.image.apply(command, index++), opened)
    await Promise.all(opened)
  }

  #changed(change: MetadataChange, opened: Promise<void>[]): void {
    switch (change.type) {
      case 'topic-created':
        for (const partition of change.topic.partitions) {
          if (this.#isOwn(partition)) opened.push(this.#openNew(change.topic, partition))
        }
        return
      case 'partitions-added':
        for (const partition of change.added) {
          if (this.#isOwn(partition)) opened.push(this.#openNew(change.topic, partition))
        }
        return
      case 'topic-deleted':
        this.#close(change.topic)
        this.coordinator.topicDeleted(change.topic.name, change.topic.topicId)
        return
      case 'topic-configs-changed':
        this.#configure(change.topic)
        return
      case 'broker-configs-changed':
        for (const topic of this.image.topics()) this.#configure(topic)
        return
    }
  }

  async #openNew(topic: TopicImage, partition: PartitionImage): Promise<void> {
    await this.#open(topic, partition)
    if (this.shardId === 0)
      this.#newLeaders.push(partition.groupId, this.#partitions.get(partition.groupId)?.leaderEpoch ?? -1)
  }

  #configure(topic: TopicImage): void {
    const config = logConfigOf(topic.config)
    for (const { groupId } of topic.partitions) {
      const partition = this.#partitions.get(groupId)
      if (partition === undefined) continue
      partition.configure(topic.config)
      partition.log.config = config
    }
  }

  #onMetadata(from: number, id: number, reader: WireReader): void {
    if (reader.u8() === IMAGE) {
      this.image = MetadataImage.deserialize(Buffer.from(reader.rest()), this.config)
      this.#imageArrived.resolve()
      return
    }
    const firstIndex = reader.f64()
    const texts = JSON.parse(reader.rest().toString()) as string[]
    const commands = texts.map((text) => decodeCommand(Buffer.from(text)))
    const before = new Set(this.#leading)
    void this.#apply(commands, firstIndex).then(() => {
      const message = this.#post.message(Kind.METADATA_APPLIED, id)
      for (const groupId of this.#leading) {
        if (!before.has(groupId)) message.i32(groupId).i32(this.#partitions.get(groupId)?.leaderEpoch ?? -1)
      }
      this.#post.send(from, message)
    })
  }

  #onMetadataApplied(id: number, reader: WireReader): void {
    while (reader.hasMore) {
      const groupId = reader.i32()
      const epoch = reader.i32()
      this.image.setLeaderEpoch(groupId, epoch, this.config.nodeId)
      this.#newLeaders.push(groupId, epoch)
    }
    const publication = this.#publications.get(id)
    if (publication === undefined || --publication.left > 0) return
    this.#publications.delete(id)
    publication.resolve()
  }

  #onLeaders(from: number, id: number, reader: WireReader): void {
    while (reader.hasMore) this.image.setLeaderEpoch(reader.i32(), reader.i32(), this.config.nodeId)
    if (id !== 0) this.#post.send(from, this.#post.message(Kind.METADATA_APPLIED, id))
  }

  // Other shards

  #load(): number {
    const { arena } = this.#options
    return Math.max(
      0,
      Math.min(0xffff, Math.round((arena.usedBytes('journal') / arena.limitBytes('journal')) * 0xffff)),
    )
  }

  ask<Req, Res>(shard: number, api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res> {
    const { serve } = api
    if (shard === this.shardId) {
      if (serve === undefined) return Promise.reject(new Error(`API ${call.apiKey} is not served across shards`))
      return Promise.resolve(serve(this, call, request))
    }
    const id = this.#id()
    const writer = new Writer()
    encoder(api.request, call.version)(writer, request as Input<Fields>)
    const message = this.#post
      .message(Kind.ASK, id)
      .i16(call.apiKey)
      .i16(call.version)
      .i32(call.connectionId)
      .text(call.clientId)
      .text(call.clientHost)
      .text(call.principal)
      .text(call.listenerName)
      .rest(writer.toBytes())
    return new Promise<Res>((resolve, reject) => {
      this.#asked.set(id, {
        api: api as unknown as Api<unknown, object>,
        version: call.version,
        resolve: resolve as unknown as (response: object) => void,
        reject,
      })
      this.#post.send(shard, message)
    })
  }

  #onAsk(from: number, id: number, reader: WireReader): void {
    const apiKey = reader.i16()
    const version = reader.i16()
    const connectionId = reader.i32()
    const clientId = reader.text()
    const call: CallContext = {
      apiKey,
      version,
      connectionId,
      clientId,
      clientHost: reader.text() ?? '',
      principal: reader.text() ?? '',
      listenerName: reader.text() ?? '',
    }
    const api = apis.get(apiKey) as unknown as Api<unknown, object>
    const answer = async (): Promise<Uint8Array> => {
      const request = decoder(api.request, version)(new Reader(body))
      const response = await api.serve!(this, call, request)
      const writer = new Writer()
      encoder(api.response, version)(writer, response as Input<Fields>)
      return writer.toBytes()
    }
    const body = Buffer.from(reader.rest())
    answer().then(
      (bytes) => this.#post.send(from, this.#post.message(Kind.ANSWER, id).u8(1).rest(bytes)),
      (error: Error) => {
        if (error.name === 'InvariantViolation') throw error
        this.environment.logger.error(`API ${apiKey} failed: ${error.stack ?? error.message}`)
        this.#post.send(from, this.#post.message(Kind.ANSWER, id).u8(0).text(error.message))
      },
    )
  }

  #onAnswer(id: number, reader: WireReader): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#asked.delete(id)
    if (reader.u8() === 0) {
      asked.reject(new Error(reader.text() ?? ''))
      return
    }
    asked.resolve(decoder(asked.api.response, asked.version)(new Reader(Buffer.from(reader.rest()))))
  }

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
        return this.#onAsk(from, id, reader)
      case Kind.ANSWER:
        return this.#onAnswer(id, reader)
      case Kind.METADATA:
        return this.#onMetadata(from, id, reader)
      case Kind.METADATA_APPLIED:
        return this.#onMetadataApplied(id, reader)
      case Kind.LEADERS:
        return this.#onLeaders(from, id, reader)
    }
  }

  #id(): number {
    const id = this.#nextId
    this.#nextId = id >= 0x7fff_fffe ? 1 : id + 1
    return id
  }

  // Connections

  accept(id: number, socket: StreamSocket, listenerName: string): void {
    const connection = new Connection(id, socket, this, listenerName, this.environment.clock.monotonicMs())
    this.#connections.set(id, connection)
    connection.start()
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  get mailboxQueued(): number {
    return this.#asked.size
  }

  serve(connection: Connection, frame: Buffer, memory: FrameMemory | undefined): void {
    this.#dispatcher.serve(connection, frame, memory)
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection.id)
    this.onConnectionClosed?.()
  }

  /** Tells the main thread, which balances connections. */
  onConnectionClosed: (() => void) | undefined

  refused(connection: Connection, reason: string): void {
    this.metrics.connectionsRefused++
    this.environment.logger.warn(`closing the connection of ${connection.clientHost}: ${reason}`)
  }

  closeConnection(connectionId: number, reason: string): void {
    this.#connections.get(connectionId)?.refuse(reason)
  }

  allocateFrame(bytes: number): FrameMemory | undefined {
    const { arena } = this.#options
    if (bytes <= ARENA_FRAME_BYTES_MAX) {
      if (arena.room('inflight') < bytes) return undefined
      const at = arena.alloc(bytes, 'inflight')
      if (at < 0) return undefined
      return {
        bytes: Buffer.from(arena.buffer, at, bytes),
        arenaAt: at,
        retain: () => arena.retain(at),
        release: () => {
          arena.release(at)
          this.#roomMade()
        },
      }
    }
    // Rare and large: from the heap, one budget for all of them together, and at least one at a time.
    const limit = Math.max(arena.limitBytes('inflight'), 1)
    if (this.#heldFrameBytes > 0 && this.#heldFrameBytes + bytes > limit) return undefined
    this.#heldFrameBytes += bytes
    let holders = 1
    return {
      bytes: Buffer.allocUnsafeSlow(bytes),
      arenaAt: -1,
      retain: () => holders++,
      release: () => {
        if (--holders > 0) return
        this.#heldFrameBytes -= bytes
        this.#roomMade()
      },
    }
  }

  onRoom(call: () => void): void {
    this.#roomCalls.push(call)
  }

  congested(): boolean {
    // A failed disk refuses each batch with its error; it must not stop the reads that still work.
    return this.#stopping || this.#post.congested || (this.#storage.failed === undefined && !this.#storage.canAccept(0))
  }

  #roomMade(): void {
    if (this.#roomCalls.length === 0) return
    const calls = this.#roomCalls
    this.#roomCalls = []
    // Not from here: whoever made room is in the middle of something.
    setImmediate(() => {
      for (const call of calls) call()
    })
  }

  // Time

  #sweep(): void {
    if (this.#stopping) return
    const idleMs = this.config.connectionsMaxIdleMs
    const nowMs = this.environment.clock.monotonicMs()
    for (const connection of [...this.#connections.values()]) {
      if (idleMs > 0 && nowMs - connection.activeMs > idleMs) connection.destroy()
      else if (connection.unreadForMs(nowMs) > UNREAD_MS_MAX) connection.refuse('the client does not read its answers')
    }
    this.environment.clock.after(SWEEP_MS, () => this.#sweep())
  }

  #retentionPass(): void {
    this.environment.clock.after(this.config.logRetentionCheckIntervalMs, () => {
      if (this.#stopping) return
      for (const partition of this.#partitions.values()) partition.expireProducers()
      this.#storage.enforceRetention().then(
        () => this.#retentionPass(),
        (error: Error) => {
          this.environment.logger.error(`old segments could not be removed: ${error.message}`)
          this.#retentionPass()
        },
      )
    })
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

export function logConfigOf(config: TopicConfig): LogConfig {
  return {
    segmentBytes: config.segmentBytes,
    segmentMs: config.segmentMs,
    segmentJitterMs: config.segmentJitterMs,
    retentionMs: config.retentionMs,
    retentionBytes: config.retentionBytes,
    deletePolicy: config.cleanupPolicy.includes('delete'),
    indexIntervalBytes: config.indexIntervalBytes,
    fileDeleteDelayMs: config.fileDeleteDelayMs,
  }
}
