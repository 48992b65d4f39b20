// ListOffsets: log start, high watermark, and the offset at a time. Answered by leaders that know that they lead.

import { ErrorCode } from '../../protocol/errors.ts'
import { ListOffsetsRequest, ListOffsetsResponse } from '../../protocol/messages/list-offsets.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Partition, TimestampOffset } from '../partition/partition.ts'
import type { Api } from './api.ts'
import { byTopic, ownPartition, type PartitionItem, perOwner } from './per-partition.ts'

type Response = Input<typeof ListOffsetsResponse.fields>
type Asked = ListOffsetsRequest['topics'][number]['partitions'][number]

interface Answer {
  readonly partitionIndex: number
  readonly errorCode: ErrorCode
  readonly timestamp: number
  readonly offset: number
  readonly leaderEpoch: number
}

interface Item extends PartitionItem {
  readonly asked: Asked
  readonly isRepeated: boolean
}

/** Timestamps that mean something else than a time. */
const LATEST = -1
const EARLIEST = -2
const MAX_TIMESTAMP = -3
const EARLIEST_LOCAL = -4
const LATEST_TIERED = -5
const EARLIEST_PENDING_UPLOAD = -6

/** From here on a client understands that a new leader does not know its high watermark yet. */
const OFFSET_NOT_AVAILABLE_SINCE = 5

const CONSUMER = -1
const DEBUGGING_CONSUMER = -2

export const listOffsets: Api<ListOffsetsRequest, Response> = {
  request: ListOffsetsRequest,
  response: ListOffsetsResponse,
  async handle(shard, call, request) {
    const items = itemsOf(request)
    const answers = await perOwner<Item, Answer>(
      shard,
      items,
      ({ partition }, error) => refused(partition, error),
      async (owner, part) => {
        const response = await shard.ask(owner, listOffsets, call, {
          ...request,
          topics: part.map(({ topic, asked }) => ({ name: topic, partitions: [asked] })),
        })
        return response.topics.flatMap(({ partitions }) => partitions as readonly Answer[])
      },
    )
    const shown = answers.map((answer, at) =>
      items[at]!.isRepeated ? refused(answer.partitionIndex, ErrorCode.INVALID_REQUEST) : answer,
    )
    const topics = byTopic(items, shown).map(({ topic, answers }) => ({ name: topic, partitions: answers }))
    return { throttleTimeMs: 0, topics }
  },
  async serve(shard, call, request) {
    const topics = await Promise.all(
      request.topics.map(async ({ name, partitions }) => ({
        name,
        partitions: await Promise.all(
          partitions.map((asked) =>
            answer(ownPartition(shard, name, asked.partitionIndex), request, asked, call.version),
          ),
        ),
      })),
    )
    return { throttleTimeMs: 0, topics }
  },
}

/** One item per partition; a partition named twice keeps one entry, which is refused. */
function itemsOf(request: ListOffsetsRequest): Item[] {
  const seen = new Map<string, Item>()
  const repeated = new Set<string>()
  for (const { name, partitions } of request.topics) {
    for (const asked of partitions) {
      const key = `${asked.partitionIndex}/${name}`
      if (seen.has(key)) repeated.add(key)
      else seen.set(key, { topic: name, partition: asked.partitionIndex, asked, isRepeated: false })
    }
  }
  return [...seen].map(([key, item]) => (repeated.has(key) ? { ...item, isRepeated: true } : item))
}

function refused(partitionIndex: number, errorCode: ErrorCode): Answer {
  return { partitionIndex, errorCode, timestamp: -1, offset: -1, leaderEpoch: -1 }
}

async function answer(
  partition: Partition | undefined,
  request: ListOffsetsRequest,
  asked: Asked,
  version: number,
): Promise<Answer> {
  const { partitionIndex, timestamp } = asked
  if (partition === undefined) return refused(partitionIndex, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  if (!isKnown(timestamp, version)) return refused(partitionIndex, ErrorCode.UNSUPPORTED_VERSION)
  const { replicaId } = request
  const error = await readiness(partition, asked, replicaId, version)
  if (error !== ErrorCode.NONE) return refused(partitionIndex, error)
  const isConsumer = replicaId === CONSUMER || replicaId === DEBUGGING_CONSUMER
  const stableEnd = request.isolationLevel === 1 ? partition.lastStableOffset : partition.highWatermark
  const endOffset = isConsumer ? stableEnd : partition.log.logEndOffset
  const found = await find(partition, timestamp, endOffset)
  return {
    partitionIndex,
    errorCode: ErrorCode.NONE,
    timestamp: found.timestampMs,
    offset: found.offset,
    leaderEpoch: found.leaderEpoch,
  }
}

/**
 * Whether the replica may answer. The end of the log, and whatever is looked for up to there, is a question of who leads now: a leader
 * that was replaced and has not heard of it must not answer, so it asks for its lease or a majority. The start changes nothing for who
 * reads from there: the last leader tells it without a majority too.
 */
async function readiness(
  partition: Partition,
  { timestamp, currentLeaderEpoch }: Asked,
  replicaId: number,
  version: number,
): Promise<ErrorCode> {
  if (replicaId === DEBUGGING_CONSUMER) return partition.checkReader(currentLeaderEpoch, true)
  if (timestamp === EARLIEST || timestamp === EARLIEST_LOCAL) return partition.checkReader(currentLeaderEpoch, false)
  const error = partition.checkLeader(currentLeaderEpoch)
  if (error === ErrorCode.NOT_LEADER_OR_FOLLOWER && partition.isTakingOver) {
    return version >= OFFSET_NOT_AVAILABLE_SINCE ? ErrorCode.OFFSET_NOT_AVAILABLE : ErrorCode.LEADER_NOT_AVAILABLE
  }
  if (error !== ErrorCode.NONE) return error
  const confirmed = partition.confirmLeadership()
  const leads = confirmed === true || (await confirmed)
  return leads ? ErrorCode.NONE : ErrorCode.NOT_LEADER_OR_FOLLOWER
}

function isKnown(timestamp: number, version: number): boolean {
  if (timestamp >= EARLIEST) return true
  if (timestamp === MAX_TIMESTAMP) return version >= 7
  if (timestamp === EARLIEST_LOCAL) return version >= 8
  if (timestamp === LATEST_TIERED) return version >= 9
  return timestamp === EARLIEST_PENDING_UPLOAD && version >= 11
}

async function find(partition: Partition, timestamp: number, endOffset: number): Promise<TimestampOffset> {
  switch (timestamp) {
    case LATEST:
      return { timestampMs: -1, offset: endOffset, leaderEpoch: partition.leaderEpoch }
    case EARLIEST:
    case EARLIEST_LOCAL:
      return {
        timestampMs: -1,
        offset: partition.logStartOffset,
        leaderEpoch: partition.epochAt(partition.logStartOffset),
      }
    case MAX_TIMESTAMP:
      return partition.offsetForMaxTimestamp(endOffset)
    case LATEST_TIERED:
    case EARLIEST_PENDING_UPLOAD:
      return { timestampMs: -1, offset: -1, leaderEpoch: -1 }
    default:
      return partition.offsetForTimestamp(timestamp, endOffset)
  }
}
