// Members of consumer groups (the classic protocol), and readers that ask what they must not be told too little of.
//
// A member joins, is given partitions, reads from the committed offsets on, and commits what it has read. A commit whose outcome is not known
// ends its membership: whoever follows has a newer generation, so that what arrives late is refused.

import { decoder, encoder } from '../../../protocol/compile.ts'
import { ErrorCode, errorName } from '../../../protocol/errors.ts'
import {
  ConsumerProtocolAssignment,
  ConsumerProtocolSubscription,
} from '../../../protocol/messages/consumer-protocol.ts'
import { FetchRequest, FetchResponse, type PartitionData } from '../../../protocol/messages/fetch.ts'
import { HeartbeatRequest, HeartbeatResponse } from '../../../protocol/messages/heartbeat.ts'
import { JoinGroupRequest, JoinGroupResponse } from '../../../protocol/messages/join-group.ts'
import { LeaveGroupRequest, LeaveGroupResponse } from '../../../protocol/messages/leave-group.ts'
import { ListOffsetsRequest, ListOffsetsResponse } from '../../../protocol/messages/list-offsets.ts'
import { OffsetCommitRequest, OffsetCommitResponse } from '../../../protocol/messages/offset-commit.ts'
import { OffsetFetchRequest, OffsetFetchResponse } from '../../../protocol/messages/offset-fetch.ts'
import { SyncGroupRequest, SyncGroupResponse } from '../../../protocol/messages/sync-group.ts'
import { Reader } from '../../../protocol/reader.ts'
import { batchDefect, completeBatchBytes, nextOffsetOf, recordCountOf } from '../../../protocol/records/batch.ts'
import { decodeRecords } from '../../../protocol/records/record.ts'
import { Writer } from '../../../protocol/writer.ts'
import { type Client, NoAnswer } from './client.ts'
import { type History, type PartitionKey, Violation } from './history.ts'

/** The records of a fetched partition from `fetchOffset` on, checked; and the offset that follows. */
export function consume(
  history: History,
  partition: PartitionKey,
  data: Pick<PartitionData, 'records' | 'highWatermark'>,
  fetchOffset: number,
): { nextOffset: number; count: number } {
  const bytes = data.records
  let nextOffset = fetchOffset
  let count = 0
  if (bytes === null || bytes.length === 0) return { nextOffset, count }
  for (let at = 0, size = 0; ; at += size) {
    size = completeBatchBytes(bytes, at, bytes.length)
    if (size === 0) break
    const defect = batchDefect(bytes, at, bytes.length)
    if (defect !== undefined) {
      throw new Violation(`bytes read are the bytes produced: ${partition.topic}-${partition.partition} ${defect}`)
    }
    const next = nextOffsetOf(bytes, at)
    if (next > data.highWatermark) {
      throw new Violation(
        `nothing above the high watermark is read: ${partition.topic}-${partition.partition} ${next} above ${data.highWatermark}`,
      )
    }
    if (recordCountOf(bytes, at) > 0) {
      for (const record of decodeRecords(bytes, at)) {
        if (record.offset < fetchOffset) continue
        if (record.offset !== nextOffset) {
          throw new Violation(
            `offsets are dense: ${partition.topic}-${partition.partition} expected ${nextOffset}, got ${record.offset}`,
          )
        }
        history.read(partition, record.offset, record.value)
        nextOffset = record.offset + 1
        count++
      }
    }
  }
  return { nextOffset, count }
}

export interface FetchAnswer {
  readonly errorCode: number
  readonly data: PartitionData | undefined
}

export async function fetchOnce(
  client: Client,
  partition: PartitionKey,
  offset: number,
  options: { version: number; maxBytes: number; maxWaitMs: number; nodeId: number; rack?: string },
): Promise<FetchAnswer> {
  const byId = options.version >= 13
  const answer = await client.broker(options.nodeId, FetchRequest, FetchResponse, options.version, {
    maxWaitMs: options.maxWaitMs,
    minBytes: 1,
    maxBytes: options.maxBytes,
    sessionId: 0,
    sessionEpoch: -1,
    rackId: options.rack ?? '',
    topics: [
      {
        ...(byId ? { topicId: partition.topicId } : { topic: partition.topic }),
        partitions: [{ partition: partition.partition, fetchOffset: offset, partitionMaxBytes: options.maxBytes }],
      },
    ],
  })
  if (answer.errorCode !== ErrorCode.NONE) return { errorCode: answer.errorCode, data: undefined }
  const data = answer.responses[0]?.partitions[0]
  return { errorCode: data?.errorCode ?? ErrorCode.NONE, data }
}

export interface MemberOptions {
  readonly client: Client
  readonly history: History
  readonly group: string
  readonly partitions: readonly PartitionKey[]
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  /** Set when the run is over: members leave. */
  isOver(): boolean
  /** Sometimes leaves and comes back. */
  readonly isFickle: boolean
  /** Reads from a replica in its rack where there is one; undefined: from leaders. */
  readonly rack: string | undefined
}

class Rejoin extends Error {}

export class GroupMember {
  readonly #options: MemberOptions
  #memberId = ''
  #generation = -1
  #coordinator = -1
  #positions = new Map<PartitionKey, number>()
  #uncommitted = new Set<PartitionKey>()
  /** Replicas near by, as leaders have named them. */
  readonly #near = new Map<PartitionKey, number>()
  isDone = false

  constructor(options: MemberOptions) {
    this.#options = options
  }

  /** What this member has committed up to, by partition, as far as it owns it. */
  get positions(): ReadonlyMap<PartitionKey, number> {
    return this.#positions
  }

  async run(): Promise<void> {
    const { client, isOver, isFickle } = this.#options
    while (!isOver()) {
      try {
        if (this.#generation < 0) await this.#join()
        await this.#work()
        if (isFickle && client.random.chance(0.02)) await this.#leave()
      } catch (error) {
        if (error instanceof NoAnswer) this.#forget()
        else if (!(error instanceof Rejoin)) throw error
        this.#generation = -1
        await client.sleep(20 + client.random.below(150))
      }
    }
    await this.#leave().catch((error) => {
      if (!(error instanceof NoAnswer) && !(error instanceof Rejoin)) throw error
    })
    client.closeAll()
    this.isDone = true
  }

  #forget(): void {
    this.#memberId = ''
    this.#coordinator = -1
  }

  /** What a group API answered. Returns for NONE, and starts again for everything else that may happen. */
  #checked(errorCode: number): void {
    switch (errorCode) {
      case ErrorCode.NONE:
        return
      case ErrorCode.UNKNOWN_MEMBER_ID:
      case ErrorCode.FENCED_INSTANCE_ID:
        this.#memberId = ''
        throw new Rejoin()
      case ErrorCode.NOT_COORDINATOR:
      case ErrorCode.COORDINATOR_NOT_AVAILABLE:
        this.#coordinator = -1
        throw new Rejoin()
      case ErrorCode.ILLEGAL_GENERATION:
      case ErrorCode.REBALANCE_IN_PROGRESS:
      case ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
      case ErrorCode.GROUP_MAX_SIZE_REACHED:
      case ErrorCode.REQUEST_TIMED_OUT:
      case ErrorCode.NOT_ENOUGH_REPLICAS:
      case ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
      case ErrorCode.KAFKA_STORAGE_ERROR:
      case ErrorCode.UNKNOWN_SERVER_ERROR:
        throw new Rejoin()
      default:
        throw new Violation(`group ${this.#options.group} gets ${errorName(errorCode)}`)
    }
  }

  async #findCoordinator(): Promise<number> {
    const { client, group } = this.#options
    const found = await client.coordinatorOf(group)
    if (found === undefined) throw new Rejoin()
    this.#coordinator = found
    return found
  }

  async #join(): Promise<void> {
    const { client, group, partitions, sessionTimeoutMs, rebalanceTimeoutMs } = this.#options
    const nodeId = this.#coordinator >= 0 ? this.#coordinator : await this.#findCoordinator()
    this.#positions.clear()
    this.#uncommitted.clear()
    const writer = new Writer()
    writer.int16(1)
    const topics = [...new Set(partitions.map(({ topic }) => topic))]
    encoder(ConsumerProtocolSubscription, 1)(writer, { topics, ownedPartitions: [] })
    const joined = await client.broker(
      nodeId,
      JoinGroupRequest,
      JoinGroupResponse,
      7,
      {
        groupId: group,
        sessionTimeoutMs,
        rebalanceTimeoutMs,
        memberId: this.#memberId,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: writer.toBytes() }],
      },
      rebalanceTimeoutMs + client.timeoutMs,
    )
    if (joined.errorCode === ErrorCode.MEMBER_ID_REQUIRED) {
      this.#memberId = joined.memberId
      throw new Rejoin()
    }
    this.#checked(joined.errorCode)
    this.#memberId = joined.memberId
    this.#generation = joined.generationId
    const assignments: { memberId: string; assignment: Uint8Array }[] = []
    if (joined.leader === joined.memberId) {
      joined.members.forEach(({ memberId }, at) => {
        const own = partitions.filter((_, index) => index % joined.members.length === at)
        assignments.push({ memberId, assignment: encodeAssignment(own) })
      })
    }
    const synced = await client.broker(
      nodeId,
      SyncGroupRequest,
      SyncGroupResponse,
      4,
      { groupId: group, generationId: this.#generation, memberId: this.#memberId, assignments },
      rebalanceTimeoutMs + client.timeoutMs,
    )
    this.#checked(synced.errorCode)
    const own = decodeAssignment(synced.assignment, partitions)
    if (own.length > 0) await this.#fetchCommitted(nodeId, own)
  }

  async #fetchCommitted(nodeId: number, own: readonly PartitionKey[]): Promise<void> {
    const { client, history, group, isOver } = this.#options
    const least = own.map((partition) => history.leastCommitted(group, partition))
    const answer = await client.broker(nodeId, OffsetFetchRequest, OffsetFetchResponse, 6, {
      groupId: group,
      topics: own.map(({ topic, partition }) => ({ name: topic, partitionIndexes: [partition] })),
    })
    this.#checked(answer.errorCode)
    if (isOver()) throw new Rejoin()
    own.forEach((partition, at) => {
      const found = answer.topics[at]?.partitions[0]
      if (found === undefined) throw new Violation('an offset fetch is answered for each of its partitions')
      this.#checked(found.errorCode)
      history.fetchedOffset(group, partition, this.#generation, found.committedOffset, least[at]!)
      this.#positions.set(partition, Math.max(0, found.committedOffset))
    })
  }

  /** Reads from each partition once, commits at times, and shows a sign of life. */
  async #work(): Promise<void> {
    const { client } = this.#options
    for (const partition of this.#positions.keys()) await this.#read(partition)
    if (this.#uncommitted.size > 0 && client.random.chance(0.5)) await this.#commit()
    await this.#heartbeat()
    await client.sleep(20 + client.random.below(120))
  }

  async #read(partition: PartitionKey): Promise<void> {
    const { client, history, rack } = this.#options
    const leader = await client.leaderOf(partition.topic, partition.partition).catch(() => undefined)
    if (leader === undefined) {
      client.forgetLeader(partition.topic, partition.partition)
      return
    }
    // A replica near by is asked for a while, then the leader again.
    const near = client.random.chance(0.8) ? this.#near.get(partition) : undefined
    const position = this.#positions.get(partition)!
    let answer: FetchAnswer
    try {
      answer = await fetchOnce(client, partition, position, {
        version: client.random.pick(rack === undefined ? [4, 7, 11, 12, 13, 16] : [11, 12, 13, 16]),
        maxBytes: client.random.chance(0.5) ? 1 : 1 << 16,
        maxWaitMs: client.random.chance(0.5) ? 0 : client.random.below(100),
        nodeId: near ?? leader,
        ...(rack === undefined ? {} : { rack }),
      })
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
      this.#near.delete(partition)
      client.forgetLeader(partition.topic, partition.partition)
      return
    }
    if (answer.errorCode !== ErrorCode.NONE || answer.data === undefined) {
      // A replica that lags says so in the same way; what counts is what the leader says.
      if (answer.errorCode === ErrorCode.OFFSET_OUT_OF_RANGE && near === undefined) {
        this.#outOfRange(partition, position, answer.data)
      }
      this.#near.delete(partition)
      client.forgetLeader(partition.topic, partition.partition)
      return
    }
    if (answer.data.preferredReadReplica >= 0) this.#near.set(partition, answer.data.preferredReadReplica)
    const { nextOffset, count } = consume(history, partition, answer.data, position)
    this.#positions.set(partition, nextOffset)
    if (count > 0) this.#uncommitted.add(partition)
  }

  /** Only what was deleted on request may be gone. */
  #outOfRange(partition: PartitionKey, position: number, data: PartitionData | undefined): void {
    const { history } = this.#options
    const trimmed = history.trimmedTo(partition)
    const start = data?.logStartOffset ?? -1
    if (position >= trimmed) {
      if (history.committedEnd(partition) > position) {
        throw new Violation(
          `no acknowledged record is lost: ${partition.topic}-${partition.partition} at ${position} is out of range, though ${history.committedEnd(partition)} is acknowledged`,
        )
      }
      return
    }
    this.#positions.set(partition, start >= 0 ? Math.max(start, position) : trimmed)
  }

  async #commit(): Promise<void> {
    const { client, history, group } = this.#options
    const own = [...this.#uncommitted].map((partition) => ({ partition, offset: this.#positions.get(partition)! }))
    for (const { partition, offset } of own) history.committing(group, partition, offset)
    const answer = await client.broker(this.#coordinator, OffsetCommitRequest, OffsetCommitResponse, 6, {
      groupId: group,
      generationIdOrMemberEpoch: this.#generation,
      memberId: this.#memberId,
      topics: own.map(({ partition, offset }) => ({
        name: partition.topic,
        partitions: [{ partitionIndex: partition.partition, committedOffset: offset, committedMetadata: null }],
      })),
    })
    let failure: number = ErrorCode.NONE
    own.forEach(({ partition, offset }, at) => {
      const errorCode = answer.topics[at]?.partitions[0]?.errorCode
      if (errorCode === undefined) throw new Violation('an offset commit is answered for each of its partitions')
      if (errorCode !== ErrorCode.NONE) {
        failure = errorCode
        return
      }
      history.committedOffset(group, partition, this.#generation, offset)
      this.#uncommitted.delete(partition)
    })
    // An error may come after the commit was written: it counts as one whose outcome is not known.
    if (failure !== ErrorCode.NONE) this.#memberId = ''
    this.#checked(failure)
  }

  async #heartbeat(): Promise<void> {
    const { client, group } = this.#options
    const answer = await client.broker(this.#coordinator, HeartbeatRequest, HeartbeatResponse, 3, {
      groupId: group,
      generationId: this.#generation,
      memberId: this.#memberId,
    })
    this.#checked(answer.errorCode)
  }

  async #leave(): Promise<void> {
    const { client, group } = this.#options
    if (this.#memberId === '' || this.#coordinator < 0) return
    if (this.#uncommitted.size > 0 && this.#generation >= 0) await this.#commit()
    await client.broker(this.#coordinator, LeaveGroupRequest, LeaveGroupResponse, 2, {
      groupId: group,
      memberId: this.#memberId,
    })
    this.#memberId = ''
    this.#generation = -1
    this.#positions.clear()
  }
}

function encodeAssignment(own: readonly PartitionKey[]): Uint8Array {
  const writer = new Writer()
  writer.int16(1)
  encoder(ConsumerProtocolAssignment, 1)(writer, {
    assignedPartitions: own.map(({ topic, partition }) => ({ topic, partitions: [partition] })),
  })
  return writer.toBytes()
}

function decodeAssignment(bytes: Uint8Array, partitions: readonly PartitionKey[]): PartitionKey[] {
  if (bytes.length === 0) return []
  const reader = new Reader(bytes)
  reader.int16()
  const { assignedPartitions } = decoder(ConsumerProtocolAssignment, 1)(reader)
  return assignedPartitions.flatMap(({ topic, partitions: numbers }) =>
    partitions.filter((known) => known.topic === topic && numbers.includes(known.partition)),
  )
}

export interface AuditorOptions {
  readonly client: Client
  readonly history: History
  partitions(): readonly PartitionKey[]
  isTopicGone(partition: PartitionKey): boolean
  isOver(): boolean
}

/** Asks leaders for the end of their partitions: less than what was acknowledged before the question would be stale. */
export class Auditor {
  readonly #options: AuditorOptions
  isDone = false
  answers = 0

  constructor(options: AuditorOptions) {
    this.#options = options
  }

  async run(): Promise<void> {
    const { client, isOver, partitions } = this.#options
    while (!isOver()) {
      const all = partitions()
      if (all.length > 0) {
        try {
          await this.#ask(client.random.pick(all))
        } catch (error) {
          if (!(error instanceof NoAnswer)) throw error
        }
      }
      await client.sleep(10 + client.random.below(150))
    }
    client.closeAll()
    this.isDone = true
  }

  async #ask(partition: PartitionKey): Promise<void> {
    const { client, history, isTopicGone } = this.#options
    const leader = await client.leaderOf(partition.topic, partition.partition)
    if (leader === undefined || client.random.chance(0.1)) client.forgetLeader(partition.topic, partition.partition)
    if (leader === undefined) return
    const least = history.committedEnd(partition)
    const answer = await client.broker(leader, ListOffsetsRequest, ListOffsetsResponse, 6, {
      replicaId: -1,
      topics: [{ name: partition.topic, partitions: [{ partitionIndex: partition.partition, timestamp: -1 }] }],
    })
    const found = answer.topics[0]?.partitions[0]
    if (found === undefined) throw new Violation('a list of offsets is answered for each of its partitions')
    if (found.errorCode !== ErrorCode.NONE) {
      client.forgetLeader(partition.topic, partition.partition)
      return
    }
    if (isTopicGone(partition)) return
    this.answers++
    if (found.offset < least) {
      throw new Violation(
        `reads under a lease are never stale: broker ${leader} says ${partition.topic}-${partition.partition} ends at ${found.offset}, though ${least} was acknowledged before it was asked`,
      )
    }
    history.committed(partition, found.offset)
  }
}
