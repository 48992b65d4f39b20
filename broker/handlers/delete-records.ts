// DeleteRecords: moves the log start of partitions forward.

import { ErrorCode } from '../../protocol/errors.ts'
import { DeleteRecordsRequest, DeleteRecordsResponse } from '../../protocol/messages/delete-records.ts'
import type { Input } from '../../protocol/schema.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'
import { byTopic, ownPartition, type PartitionItem, perOwner } from './per-partition.ts'

type Response = Input<typeof DeleteRecordsResponse.fields>

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
      ({ partition }) => refused(partition, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
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
    const topics = request.topics.map(async ({ name, partitions }) => ({
      name,
      partitions: await Promise.all(
        partitions.map(({ partitionIndex, offset }) => deleteBefore(shard, name, partitionIndex, offset)),
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
): Promise<Answer> {
  const image = shard.image.topicByName(topic)
  const partition = ownPartition(shard, topic, partitionIndex)
  if (image === undefined || partition === undefined) return refused(partitionIndex, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  if (image.isInternal) return refused(partitionIndex, ErrorCode.INVALID_TOPIC_EXCEPTION)
  const policy = image.config.cleanupPolicy
  if (policy.length > 0 && !policy.includes('delete')) return refused(partitionIndex, ErrorCode.POLICY_VIOLATION)
  const { error, lowWatermark } = await partition.deleteRecords(offset)
  return { partitionIndex, lowWatermark, errorCode: error }
}
