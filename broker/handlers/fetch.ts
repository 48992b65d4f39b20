// Fetch: reads of many partitions, joined over the shards that own them, with long polling.
//
// Runs on the connection's shard. Bytes stay in the owners' arenas until the socket has taken them; what exceeds the request's
// budget is given back unsent. A fetch that finds too little waits for its partitions to move, for MaxWaitMs, or for the end of its
// connection: so as many wait as the connections that are open may have requests open. Clients that say in which rack
// they are may be sent to a replica there, and are served by followers (KIP-392).

import { ErrorCode } from '../../protocol/errors.ts'
import { FetchRequest, FetchResponse } from '../../protocol/messages/fetch.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Timer } from '../environment.ts'
import type { ConnectionWaiter } from '../net/connection.ts'
import type { Watcher } from '../partition/partition.ts'
import { type PartitionRead, type PartitionReadResult, readRefused, withoutBytes } from '../partition/read.ts'
import type { DataShard } from '../shard/context.ts'
import type { ReadSink } from '../shard/data-plane.ts'
import { shardOf } from '../shard/placement.ts'
import { type Api, type CallContext, HELD, type Held } from './api.ts'
import { isHosted, leaderHint, nodeEndpoints } from './brokers.ts'
import type { FetchPlan, SessionPartition } from './fetch-sessions.ts'
import { nearReplica } from './near-replica.ts'

type Response = Input<typeof FetchResponse.fields> & Held
type TopicResponse = NonNullable<Response['responses']>[number]
type PartitionResponse = {
  -readonly [K in keyof TopicResponse['partitions'][number]]: TopicResponse['partitions'][number][K]
}

interface Target {
  readonly asked: SessionPartition
  /** -1 for a partition that is not known. */
  readonly groupId: number
  /** Whether a shard of this broker is asked; otherwise `result` says from the start why not. */
  readonly isHere: boolean
  readonly name: string
  readonly topicId: string
  read: PartitionRead | undefined
  result: PartitionReadResult | undefined
}

const CONSUMER = -1
const DEBUGGING_CONSUMER = -2
/** From here on consumers take data from followers. */
const FROM_FOLLOWER_SINCE = 11
/** From here on an answer says who leads instead. */
const NAMES_LEADER_SINCE = 16

export const fetch: Api<FetchRequest, Response> = {
  request: FetchRequest,
  response: FetchResponse,
  handle(shard, call, request) {
    const data = shard as DataShard
    const plan = data.fetchSessions.plan(request, call.version, shard.environment.clock.nowMs())
    if (plan.error !== ErrorCode.NONE) return { throttleTimeMs: 0, errorCode: plan.error, sessionId: 0, responses: [] }
    return new Promise((resolve) => new FetchWork(data, call, request, plan, resolve).start())
  },
}

class FetchWork implements Watcher, ReadSink, ConnectionWaiter {
  readonly #shard: DataShard
  readonly #call: CallContext
  readonly #request: FetchRequest
  readonly #plan: FetchPlan
  readonly #resolve: (response: Response) => void
  readonly #targets: Target[] = []
  readonly #owners = new Set<number>()
  readonly #maxBytes: number
  readonly #minBytes: number
  #slotsInFlight = new Map<number, number[][]>()
  #reads = 0
  #watchId = 0
  #timer: Timer | undefined
  #moved = new Set<number>()
  #finished = false
  #expired = false

  constructor(
    shard: DataShard,
    call: CallContext,
    request: FetchRequest,
    plan: FetchPlan,
    resolve: (r: Response) => void,
  ) {
    this.#shard = shard
    this.#call = call
    this.#request = request
    this.#plan = plan
    this.#resolve = resolve
    this.#maxBytes = Math.max(0, Math.min(request.maxBytes, shard.config.fetchMaxBytes))
    this.#minBytes = Math.min(request.minBytes, this.#maxBytes)
  }

  start(): void {
    const readable: number[] = []
    for (const asked of this.#plan.partitions) {
      const target = this.#resolveTarget(asked)
      const slot = this.#targets.push(target) - 1
      if (target.isHere) readable.push(slot)
    }
    if (readable.length === 0) {
      this.#idle()
      return
    }
    if (this.#request.maxWaitMs > 0 && this.#minBytes > 0) this.#watchId = this.#shard.data.newWatch(this)
    this.#readSlots(readable)
  }

  /** An incremental session with nothing to read waits as long as the client allows, so that it does not spin. */
  #idle(): void {
    if (this.#targets.length > 0 || this.#request.maxWaitMs <= 0 || !this.#plan.incremental) {
      this.#finish()
      return
    }
    this.#wait(() => this.#finish())
  }

  #wait(over: () => void): void {
    this.#timer = this.#shard.environment.clock.after(this.#request.maxWaitMs, over)
    this.#shard.beginWait(this.#call.connectionId, this)
  }

  connectionEnded(): void {
    this.#expired = true
    if (this.#reads === 0) this.#finish()
  }

  #readFrom(owner: number, slots: number[]): void {
    this.#owners.add(owner)
    const reads: PartitionRead[] = []
    for (const slot of slots) reads.push(this.#targets[slot]!.read!)
    const queue = this.#slotsInFlight.get(owner)
    if (queue === undefined) this.#slotsInFlight.set(owner, [slots])
    else queue.push(slots)
    this.#shard.data.read(owner, reads, slots, this.#expired ? 0 : this.#watchId, this)
  }

  results(owner: number, results: readonly PartitionReadResult[]): void {
    const slots = this.#slotsInFlight.get(owner)!.shift()!
    for (let at = 0; at < slots.length; at++) {
      const target = this.#targets[slots[at]!]!
      target.result?.release()
      target.result = this.#orDeleted(target, results[at]!)
    }
    this.#reads--
    if (this.#reads > 0) return
    if (this.#isEnough()) {
      this.#finish()
      return
    }
    if (this.#moved.size > 0) {
      this.#readMoved()
      return
    }
    if (this.#timer !== undefined) return
    this.#wait(() => {
      this.#expired = true
      if (this.#reads === 0) this.#finish()
    })
  }

  /** A shard that has no such replica cannot say whether it was deleted meanwhile; the metadata can. */
  #orDeleted(target: Target, result: PartitionReadResult): PartitionReadResult {
    if (result.error !== ErrorCode.NOT_LEADER_OR_FOLLOWER || result.leader.leaderEpoch >= 0) return result
    const isDeleted = this.#shard.image.partitionByGroup(target.groupId) === undefined
    return isDeleted ? readRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) : result
  }

  /** A watched partition has moved: what was read of it is read again. */
  moved(slot: number): void {
    if (this.#finished) return
    this.#moved.add(slot)
    if (this.#reads === 0) this.#readMoved()
  }

  #readMoved(): void {
    const moved = [...this.#moved]
    this.#moved.clear()
    this.#readSlots(moved)
  }

  /** Reads these partitions, with one message to each shard that owns some. */
  #readSlots(slots: readonly number[]): void {
    const byOwner = new Map<number, number[]>()
    for (const slot of slots) {
      const owner = shardOf(this.#targets[slot]!.groupId, this.#shard.shardCount)
      const owned = byOwner.get(owner)
      if (owned === undefined) byOwner.set(owner, [slot])
      else owned.push(slot)
    }
    this.#reads = byOwner.size
    for (const [owner, owned] of byOwner) this.#readFrom(owner, owned)
  }

  #isEnough(): boolean {
    if (this.#watchId === 0 || this.#expired) return true
    let bytes = 0
    for (const { result, groupId } of this.#targets) {
      if (result === undefined) continue
      if (groupId >= 0 && endsTheWait(result)) return true
      bytes += result.bytes
    }
    return bytes >= this.#minBytes
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    if (this.#timer !== undefined) {
      this.#timer.cancel()
      this.#shard.endWait(this.#call.connectionId, this)
    }
    if (this.#watchId !== 0) {
      const own: number[] = []
      for (const { groupId, isHere } of this.#targets) {
        if (isHere && shardOf(groupId, this.#shard.shardCount) === this.#shard.shardId) own.push(groupId)
      }
      this.#shard.data.endWatch(this.#watchId, this, this.#owners, own)
    }
    this.#resolve(this.#respond())
  }

  #resolveTarget(asked: SessionPartition): Target {
    const { image } = this.#shard
    const byId = this.#call.version >= 13
    const topic = byId ? image.topicById(asked.topicId) : image.topicByName(asked.topic)
    const refuse = (error: ErrorCode, groupId = -1): Target => ({
      asked,
      groupId,
      isHere: false,
      name: asked.topic,
      topicId: asked.topicId,
      read: undefined,
      result: readRefused(error),
    })
    if (topic === undefined) {
      if (!byId) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      if (asked.resolvedName === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_ID)
      const recreated = image.topicByName(asked.resolvedName) !== undefined
      return refuse(recreated ? ErrorCode.INCONSISTENT_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    }
    asked.resolvedName = topic.name
    const partition = topic.partitions[asked.partition]
    if (partition === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if (asked.maxBytes < 0) return refuse(ErrorCode.INVALID_REQUEST)
    const asker = this.#asker
    // A broker that fetches as a follower must be one; Millrace's own followers do not come this way.
    const isForeignFollower = asker >= 0 && !partition.replicas.includes(asker)
    if (isForeignFollower || !isHosted(this.#shard, partition)) {
      return refuse(ErrorCode.NOT_LEADER_OR_FOLLOWER, partition.groupId)
    }
    const read: PartitionRead = {
      groupId: partition.groupId,
      fetchOffset: asked.fetchOffset,
      maxBytes: Math.min(asked.maxBytes, this.#maxBytes),
      currentLeaderEpoch: asked.currentLeaderEpoch,
      lastFetchedEpoch: asked.lastFetchedEpoch,
      readCommitted: this.#request.isolationLevel === 1,
      fromFollower: asker === DEBUGGING_CONSUMER || (asker === CONSUMER && this.#call.version >= FROM_FOLLOWER_SINCE),
      nearReplica: asker === CONSUMER ? nearReplica(this.#shard, this.#call, this.#request.rackId, partition) : -1,
      topicId: byId ? asked.topicId : undefined,
    }
    const { groupId } = partition
    return { asked, groupId, isHere: true, name: topic.name, topicId: topic.topicId, read, result: undefined }
  }

  /** Broker id of a follower, or what kind of consumer. */
  get #asker(): number {
    const { replicaId, replicaState } = this.#request
    return this.#call.version >= 15 ? replicaState.replicaId : replicaId
  }

  #respond(): Response {
    const { session, incremental } = this.#plan
    const releases: PartitionReadResult[] = []
    const topics = new Map<string, TopicResponse>()
    let budget = this.#maxBytes
    let any = false
    const hinted = new Set<number>()
    for (const target of this.#targets) {
      const { asked } = target
      let result = target.result!
      if (result.bytes > 0 && any && result.bytes > budget) {
        result = withoutBytes(result)
      }
      if (result.bytes > 0) {
        any = true
        budget -= result.bytes
        releases.push(result)
      } else {
        result.release()
      }
      if (incremental && !this.#isWorthShowing(asked, result)) continue
      asked.shownHighWatermark = result.error === ErrorCode.NONE ? result.highWatermark : -1
      asked.shownLogStartOffset = result.error === ErrorCode.NONE ? result.logStartOffset : -1
      // The answer that opens a session leaves its order alone, as in Kafka.
      if (incremental && session !== undefined && result.bytes > 0) this.#shard.fetchSessions.rotate(session, asked)
      const key = this.#call.version >= 13 ? asked.topicId : asked.topic
      let topic = topics.get(key)
      if (topic === undefined) {
        topic = { topic: asked.topic, topicId: asked.topicId, partitions: [] }
        topics.set(key, topic)
      }
      const shown = this.#partitionResponse(target, result)
      const hint = shown.currentLeader?.leaderId ?? -1
      if (hint >= 0) hinted.add(hint)
      ;(topic.partitions as PartitionResponse[]).push(shown)
    }
    return {
      [HELD]: () => {
        for (const result of releases) result.release()
      },
      throttleTimeMs: 0,
      errorCode: ErrorCode.NONE,
      sessionId: session?.id ?? 0,
      responses: [...topics.values()],
      nodeEndpoints: hinted.size > 0 ? nodeEndpoints(this.#shard, this.#call.listenerName, hinted) : [],
    }
  }

  #isWorthShowing(asked: SessionPartition, result: PartitionReadResult): boolean {
    return (
      result.bytes > 0 ||
      result.error !== ErrorCode.NONE ||
      result.divergingEpoch !== undefined ||
      result.preferredReadReplica >= 0 ||
      result.highWatermark !== asked.shownHighWatermark ||
      result.logStartOffset !== asked.shownLogStartOffset
    )
  }

  /** An empty list or none at all: who reads committed records is told of none, and so is whoever names what nobody knows. */
  #hasAbortedTransactions(error: ErrorCode): boolean {
    if (error === ErrorCode.NONE) return this.#request.isolationLevel === 1
    return error === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION || error === ErrorCode.UNKNOWN_TOPIC_ID
  }

  #partitionResponse({ asked, groupId }: Target, result: PartitionReadResult): PartitionResponse {
    const response: PartitionResponse = {
      partitionIndex: asked.partition,
      errorCode: result.error,
      highWatermark: result.highWatermark,
      lastStableOffset: result.lastStableOffset,
      logStartOffset: result.logStartOffset,
      abortedTransactions: this.#hasAbortedTransactions(result.error) ? [] : null,
      preferredReadReplica: result.preferredReadReplica,
      records: result.fragments,
    }
    if (result.divergingEpoch !== undefined) response.divergingEpoch = result.divergingEpoch
    const leaderMoved =
      result.error === ErrorCode.NOT_LEADER_OR_FOLLOWER || result.error === ErrorCode.FENCED_LEADER_EPOCH
    if (leaderMoved && this.#call.version >= NAMES_LEADER_SINCE) {
      response.currentLeader = leaderHint(this.#shard, groupId, result.leader)
    }
    return response
  }
}

/** What the client must hear at once, however little there is to read. */
function endsTheWait({ error, divergingEpoch, preferredReadReplica }: PartitionReadResult): boolean {
  return error !== ErrorCode.NONE || divergingEpoch !== undefined || preferredReadReplica >= 0
}
