// DeleteRecords: moves the log start of partitions forward, on all their replicas.

import { ErrorCode } from '../../protocol/errors.ts'
import { DeleteRecordsRequest, DeleteRecordsResponse } from '../../protocol/messages/delete-records.ts'
import type { Input } from '../../protocol/schema.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'
import { byTopic, ownPartition, type PartitionItem, perOwner } from './per-partition.ts'

type Response = Input<typeof DeleteRecordsResponse.fields>

/** Waiting for the disk here is no waiting for replicas: a request that allows no time for those has this much. */
const OWN_DISK_MS = 200

interface Answer {
  readonly partitionIndex: number
  readonly lowWatermark: number
  readonly errorCode: ErrorCode
}

interface Item extends PartitionItem {
  readonly offset: number
}

export const deleteRecords: Api<DeleteRecordsRequest, Response> = {
  request: DeleteRecordsRequest,
  response: DeleteRecordsResponse,
  async handle(shard, call, request) {
    // Of a partition named twice the last entry counts.
    const byKey = new Map<string, Item>()
    for (const { name, partitions } of request.topics) {
      for (const { partitionIndex, offset } of partitions) {
        byKey.set(`${partitionIndex}/${name}`, { topic: name, partition: partitionIndex, offset })
      }
    }
    const items = [...byKey.values()]
    const answers = await perOwner<Item, Answer>(
      shard,
      items,
      ({ partition }, error) => refused(partition, error),
      async (owner, part) => {
        const topics = part.map(({ topic, partition, offset }) => ({
          name: topic,
          partitions: [{ partitionIndex: partition, offset }],
        }))
        const response = await shard.ask(owner, deleteRecords, call, { ...request, topics })
        return response.topics.flatMap(({ partitions }) => partitions as readonly Answer[])
      },
    )
    return {
      throttleTimeMs: 0,
      topics: byTopic(items, answers).map(({ topic, answers }) => ({ name: topic, partitions: answers })),
    }
  },
  async serve(shard, _call, request) {
    const { timeoutMs } = request
    const topics = request.topics.map(async ({ name, partitions }) => ({
      name,
      partitions: await Promise.all(
        partitions.map(({ partitionIndex, offset }) => deleteBefore(shard, name, partitionIndex, offset, timeoutMs)),
      ),
    }))
    return { throttleTimeMs: 0, topics: await Promise.all(topics) }
  },
}

function refused(partitionIndex: number, errorCode: ErrorCode): Answer {
  return { partitionIndex, lowWatermark: -1, errorCode }
}

async function deleteBefore(
  shard: ShardContext,
  topic: string,
  partitionIndex: number,
  offset: number,
  timeoutMs: number,
): Promise<Answer> {
  const image = shard.image.topicByName(topic)
  const partition = ownPartition(shard, topic, partitionIndex)
  if (image === undefined || partition === undefined) return refused(partitionIndex, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  if (image.isInternal) return refused(partitionIndex, ErrorCode.INVALID_TOPIC_EXCEPTION)
  const policy = image.config.cleanupPolicy
  if (policy.length > 0 && !policy.includes('delete')) return refused(partitionIndex, ErrorCode.POLICY_VIOLATION)
  const outcome = await inTime(shard, timeoutMs, partition.deleteRecords(offset))
  if (outcome === undefined) return refused(partitionIndex, ErrorCode.REQUEST_TIMED_OUT)
  return { partitionIndex, lowWatermark: outcome.lowWatermark, errorCode: outcome.error }
}

/** The outcome, or undefined when it is not known in time; the records go all the same. */
function inTime<Outcome>(
  shard: ShardContext,
  timeoutMs: number,
  outcome: Promise<Outcome>,
): Promise<Outcome | undefined> {
  return new Promise((resolve, reject) => {
    const timer = shard.environment.clock.after(Math.max(OWN_DISK_MS, timeoutMs), () => resolve(undefined))
    outcome.then(resolve, reject).finally(() => timer.cancel())
  })
}
