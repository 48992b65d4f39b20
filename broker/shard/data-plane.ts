// The data path between shards: batches to the shard that owns their partition, reads from it, by reference where it pays.
//
// One per shard, touched only from its thread. For a partition of this shard everything is a direct call; for another shard's it is a
// mailbox message, and the bytes stay in this shard's arena until the owner has answered. What is read from another shard is
// written to the socket straight from that shard's arena and released with a message when the socket is done.

import type { ErrorCode } from '../../protocol/errors.ts'
import type { FrameMemory } from '../net/connection.ts'
import { type AppendResult, type AppendSink, appendRefused, type RecordError } from '../partition/append.ts'
import type { Partition, Watcher } from '../partition/partition.ts'
import { type PartitionRead, type PartitionReadResult, readRefused } from '../partition/read.ts'
import type { RefusedSequences } from '../partition/refused-sequences.ts'
import { shardOf } from './placement.ts'
import type { Post } from './post.ts'
import { Kind, type WireReader } from './wire.ts'

/** Batches up to this size travel inside the message: cheaper than taking arena memory for them. */
const INLINE_BYTES_MAX = 4096

/** Flags of a READ. */
const READ_COMMITTED = 1
const FROM_FOLLOWER = 2

/** The part of Arena that in-flight batches need. */
export interface InFlightMemory {
  /** @returns the position of a run of at least `bytes`, or -1 */
  alloc(bytes: number): number
  release(at: number): void
}

export interface DataPlaneOptions {
  readonly shardId: number
  readonly shardCount: number
  /** The arenas of all shards, by shard. */
  readonly arenas: readonly Buffer[]
  readonly inFlight: InFlightMemory
  post(): Post
  partition(groupId: number): Partition | undefined
  /** Why partition() knows nothing of a group: deleted, or led elsewhere. */
  whyMissing(groupId: number): Exclude<ErrorCode, typeof ErrorCode.NONE>
  readonly refusedSequences: RefusedSequences
}

export interface ReadSink {
  /** Called once with one result per read, in order. Each result is released by the receiver. */
  results(owner: number, results: readonly PartitionReadResult[]): void
}

interface PendingAppend {
  readonly sink: AppendSink
  readonly slot: number
  readonly free: (() => void) | undefined
}

interface PendingRead {
  readonly sink: ReadSink
  readonly owner: number
}

export class DataPlane {
  readonly #options: DataPlaneOptions
  #nextId = 1
  readonly #appends = new Map<number, PendingAppend>()
  readonly #reads = new Map<number, PendingRead>()
  /** Watches this shard holds at others, by id. */
  readonly #watches = new Map<number, Watcher>()
  /** Watches others hold here: asker, then their id. */
  readonly #watchers = new Map<number, RemoteWatcher>()
  /** Read results other shards still use. */
  readonly #lent = new Map<number, readonly PartitionReadResult[]>()

  constructor(options: DataPlaneOptions) {
    this.#options = options
  }

  /**
   * Sends a batch to its partition, whose replica here is on one of this broker's shards; the bytes are needed during the call only.
   * @param requiresAll acks=all
   * @param memory the frame the batch lies in, when that can be kept; saves a copy on the way to another shard
   */
  append(
    groupId: number,
    batch: Uint8Array,
    requiresAll: boolean,
    memory: FrameMemory | undefined,
    sink: AppendSink,
    slot: number,
  ): void {
    const owner = shardOf(groupId, this.#options.shardCount)
    if (owner === this.#options.shardId) {
      this.#appendHere(groupId, batch, requiresAll, sink, slot)
      return
    }
    this.#appendAt(owner, groupId, batch, requiresAll, memory, sink, slot)
  }

  #appendAt(
    owner: number,
    groupId: number,
    batch: Uint8Array,
    requiresAll: boolean,
    memory: FrameMemory | undefined,
    sink: AppendSink,
    slot: number,
  ): void {
    const id = this.#id()
    const { inFlight, arenas, shardId } = this.#options
    const post = this.#options.post()
    let at = -1
    let free: (() => void) | undefined
    if (batch.length > INLINE_BYTES_MAX) {
      if (memory !== undefined && memory.arenaAt >= 0) {
        at = memory.arenaAt + (batch.byteOffset - memory.bytes.byteOffset)
        memory.retain()
        free = () => memory.release()
      } else {
        const taken = inFlight.alloc(batch.length)
        if (taken >= 0) {
          arenas[shardId]!.set(batch, taken)
          at = taken
          free = () => inFlight.release(taken)
        }
      }
    }
    this.#appends.set(id, { sink, slot, free })
    const message = post
      .message(Kind.APPEND, id)
      .i32(groupId)
      .u8(requiresAll ? 1 : 0)
      .f64(at)
      .i32(batch.length)
    if (at < 0) message.rest(batch)
    post.send(owner, message)
  }

  /** An APPEND from another shard. */
  onAppend(from: number, id: number, reader: WireReader): void {
    const groupId = reader.i32()
    const requiresAll = reader.u8() === 1
    const at = reader.f64()
    const length = reader.i32()
    const batch = at < 0 ? reader.rest() : this.#options.arenas[from]!.subarray(at, at + length)
    const sink = new RemoteAppendSink(this.#options.post(), from)
    this.#appendHere(groupId, batch, requiresAll, sink, id)
  }

  #appendHere(groupId: number, batch: Uint8Array, requiresAll: boolean, sink: AppendSink, slot: number): void {
    const { partition, whyMissing, refusedSequences } = this.#options
    const here = partition(groupId)
    if (here !== undefined) {
      here.append(batch, requiresAll, sink, slot)
      return
    }
    refusedSequences.add(groupId, batch)
    sink.appended(slot, appendRefused(whyMissing(groupId)))
  }

  onAppended(id: number, reader: WireReader): void {
    const pending = this.#appends.get(id)
    if (pending === undefined) return
    this.#appends.delete(id)
    pending.free?.()
    const error = reader.i16() as ErrorCode
    const baseOffset = reader.f64()
    const logAppendTimeMs = reader.f64()
    const logStartOffset = reader.f64()
    const leader = { leaderId: reader.i32(), leaderEpoch: reader.i32() }
    const message = reader.text()
    const recordErrors: RecordError[] = []
    for (let left = reader.i32(); left > 0; left--) {
      recordErrors.push({ batchIndex: reader.i32(), batchIndexErrorMessage: reader.text() })
    }
    const result: AppendResult = {
      error,
      baseOffset,
      logAppendTimeMs,
      logStartOffset,
      message,
      recordErrors,
      leader,
    }
    pending.sink.appended(pending.slot, result)
  }

  /** A number for a watch that spans several reads and shards. */
  newWatch(watcher: Watcher): number {
    const id = this.#id()
    this.#watches.set(id, watcher)
    return id
  }

  /** Ends a watch everywhere; `owners` are the shards that were asked with it. */
  endWatch(id: number, watcher: Watcher, owners: Iterable<number>, ownGroups: Iterable<number>): void {
    this.#watches.delete(id)
    for (const owner of owners) {
      if (owner === this.#options.shardId) continue
      const post = this.#options.post()
      post.send(owner, post.message(Kind.UNWATCH, id))
    }
    for (const groupId of ownGroups) this.#options.partition(groupId)?.unwatch(watcher)
  }

  /**
   * Reads several partitions of one shard.
   * @param watchId of newWatch(): the watcher hears once of each partition that moves after this read; 0 for none
   * @param slots the watcher's own number for each read
   */
  read(
    owner: number,
    reads: readonly PartitionRead[],
    slots: readonly number[],
    watchId: number,
    sink: ReadSink,
  ): void {
    if (owner === this.#options.shardId) {
      const watcher = watchId === 0 ? undefined : this.#watches.get(watchId)
      this.#readHere(reads, slots, watcher, (results) => sink.results(owner, results))
      return
    }
    const id = this.#id()
    this.#reads.set(id, { sink, owner })
    const post = this.#options.post()
    const message = post.message(Kind.READ, id).i32(watchId).i32(reads.length)
    for (let at = 0; at < reads.length; at++) {
      const read = reads[at]!
      message
        .i32(slots[at]!)
        .i32(read.groupId)
        .f64(read.fetchOffset)
        .i32(read.maxBytes)
        .i32(read.currentLeaderEpoch)
        .i32(read.lastFetchedEpoch)
        .u8((read.readCommitted ? READ_COMMITTED : 0) | (read.fromFollower ? FROM_FOLLOWER : 0))
        .i32(read.nearReplica)
        .text(read.topicId ?? null)
    }
    post.send(owner, message)
  }

  #readHere(
    reads: readonly PartitionRead[],
    slots: readonly number[],
    watcher: Watcher | undefined,
    done: (results: readonly PartitionReadResult[]) => void,
  ): void {
    const results: (PartitionReadResult | Promise<PartitionReadResult>)[] = []
    let waits = false
    for (let at = 0; at < reads.length; at++) {
      const read = reads[at]!
      const partition = this.#options.partition(read.groupId)
      if (partition === undefined) {
        results.push(readRefused(this.#options.whyMissing(read.groupId)))
        continue
      }
      if (watcher !== undefined) partition.watch(watcher, slots[at]!)
      const result = partition.read(read)
      if (result instanceof Promise) waits = true
      results.push(result)
    }
    if (waits) void Promise.all(results).then(done)
    else done(results as PartitionReadResult[])
  }

  onRead(from: number, id: number, reader: WireReader): void {
    const watchId = reader.i32()
    const count = reader.i32()
    const reads: PartitionRead[] = []
    const slots: number[] = []
    for (let left = count; left > 0; left--) {
      slots.push(reader.i32())
      const groupId = reader.i32()
      const fetchOffset = reader.f64()
      const maxBytes = reader.i32()
      const currentLeaderEpoch = reader.i32()
      const lastFetchedEpoch = reader.i32()
      const flags = reader.u8()
      reads.push({
        groupId,
        fetchOffset,
        maxBytes,
        currentLeaderEpoch,
        lastFetchedEpoch,
        readCommitted: (flags & READ_COMMITTED) !== 0,
        fromFollower: (flags & FROM_FOLLOWER) !== 0,
        nearReplica: reader.i32(),
        topicId: reader.text() ?? undefined,
      })
    }
    const watcher = watchId === 0 ? undefined : this.#remoteWatcher(from, watchId)
    if (watcher !== undefined) for (const read of reads) watcher.groupIds.add(read.groupId)
    this.#readHere(reads, slots, watcher, (results) => this.#readDone(from, id, results))
  }

  #readDone(to: number, id: number, results: readonly PartitionReadResult[]): void {
    const post = this.#options.post()
    const message = post.message(Kind.READ_DONE, id).i32(results.length)
    let bytes = 0
    for (const result of results) {
      bytes += result.bytes
      message
        .i16(result.error)
        .f64(result.highWatermark)
        .f64(result.lastStableOffset)
        .f64(result.logStartOffset)
        .i32(result.leader.leaderId)
        .i32(result.leader.leaderEpoch)
        .i32(result.divergingEpoch?.epoch ?? -1)
        .f64(result.divergingEpoch?.endOffset ?? -1)
        .i32(result.preferredReadReplica)
        .i32(result.fragments.length)
      for (let at = 0; at < result.fragments.length; at++) {
        message.f64(result.arenaOffsets[at]!).i32(result.fragments[at]!.length)
      }
    }
    if (bytes > 0) this.#lent.set(remoteKey(to, id), results)
    else for (const result of results) result.release()
    post.send(to, message)
  }

  onReadDone(from: number, id: number, reader: WireReader): void {
    const pending = this.#reads.get(id)
    if (pending === undefined) return
    this.#reads.delete(id)
    const arena = this.#options.arenas[from]!
    const count = reader.i32()
    let held = 0
    const release = (): void => {
      if (--held > 0) return
      const post = this.#options.post()
      post.send(from, post.message(Kind.RELEASE, id))
    }
    const results: PartitionReadResult[] = []
    for (let left = count; left > 0; left--) {
      const error = reader.i16() as ErrorCode
      const highWatermark = reader.f64()
      const lastStableOffset = reader.f64()
      const logStartOffset = reader.f64()
      const leader = { leaderId: reader.i32(), leaderEpoch: reader.i32() }
      const epoch = reader.i32()
      const endOffset = reader.f64()
      const preferredReadReplica = reader.i32()
      const fragments: Uint8Array[] = []
      const arenaOffsets: number[] = []
      let bytes = 0
      for (let more = reader.i32(); more > 0; more--) {
        const at = reader.f64()
        const length = reader.i32()
        arenaOffsets.push(at)
        fragments.push(arena.subarray(at, at + length))
        bytes += length
      }
      if (bytes > 0) held++
      results.push({
        error,
        highWatermark,
        lastStableOffset,
        logStartOffset,
        divergingEpoch: epoch < 0 ? undefined : { epoch, endOffset },
        preferredReadReplica,
        leader,
        fragments,
        arenaOffsets,
        bytes,
        release: bytes > 0 ? release : nothing,
      })
    }
    pending.sink.results(from, results)
  }

  onRelease(from: number, id: number): void {
    const key = remoteKey(from, id)
    const results = this.#lent.get(key)
    if (results === undefined) return
    this.#lent.delete(key)
    for (const result of results) result.release()
  }

  onNotify(id: number, reader: WireReader): void {
    this.#watches.get(id)?.moved(reader.i32())
  }

  onUnwatch(from: number, id: number): void {
    const key = remoteKey(from, id)
    const watcher = this.#watchers.get(key)
    if (watcher === undefined) return
    this.#watchers.delete(key)
    for (const groupId of watcher.groupIds) this.#options.partition(groupId)?.unwatch(watcher)
  }

  #remoteWatcher(from: number, id: number): RemoteWatcher {
    const key = remoteKey(from, id)
    let watcher = this.#watchers.get(key)
    if (watcher === undefined) {
      watcher = new RemoteWatcher(this.#options.post(), from, id)
      this.#watchers.set(key, watcher)
    }
    return watcher
  }

  #id(): number {
    const id = this.#nextId
    this.#nextId = id >= 0x7fff_fffe ? 1 : id + 1
    return id
  }
}

const nothing = (): void => {}

function remoteKey(shard: number, id: number): number {
  return shard * 0x8000_0000 + id
}

/** Sends what became of another shard's batch back to it. */
class RemoteAppendSink implements AppendSink {
  readonly #post: Post
  readonly #to: number

  constructor(post: Post, to: number) {
    this.#post = post
    this.#to = to
  }

  appended(id: number, result: AppendResult): void {
    const message = this.#post
      .message(Kind.APPENDED, id)
      .i16(result.error)
      .f64(result.baseOffset)
      .f64(result.logAppendTimeMs)
      .f64(result.logStartOffset)
      .i32(result.leader.leaderId)
      .i32(result.leader.leaderEpoch)
      .text(result.message)
      .i32(result.recordErrors.length)
    for (const error of result.recordErrors) message.i32(error.batchIndex).text(error.batchIndexErrorMessage)
    this.#post.send(this.#to, message)
  }
}

/** Stands for a watcher on another shard. */
class RemoteWatcher implements Watcher {
  /** A long poll reads what moves again and again. */
  readonly groupIds = new Set<number>()
  readonly #post: Post
  readonly #to: number
  readonly #id: number

  constructor(post: Post, to: number, id: number) {
    this.#post = post
    this.#to = to
    this.#id = id
  }

  moved(slot: number): void {
    this.#post.send(this.#to, this.#post.message(Kind.NOTIFY, this.#id).i32(slot))
  }
}
