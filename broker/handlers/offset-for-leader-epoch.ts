// OffsetForLeaderEpoch: where a leader epoch ends, so that a consumer can tell whether what it has read is still the log.

import { ErrorCode } from '../../protocol/errors.ts'
import {
  OffsetForLeaderEpochRequest,
  OffsetForLeaderEpochResponse,
} from '../../protocol/messages/offset-for-leader-epoch.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Partition } from '../partition/partition.ts'
import type { Api } from './api.ts'
import { byTopic, ownPartition, type PartitionItem, perOwner } from './per-partition.ts'

type Response = Input<typeof OffsetForLeaderEpochResponse.fields>
type Asked = OffsetForLeaderEpochRequest['topics'][number]['partitions'][number]

interface Answer {
  readonly errorCode: ErrorCode
  readonly partition: number
  readonly leaderEpoch: number
  readonly endOffset: number
}

interface Item extends PartitionItem {
  readonly asked: Asked
}

export const offsetForLeaderEpoch: Api<OffsetForLeaderEpochRequest, Response> = {
  request: OffsetForLeaderEpochRequest,
  response: OffsetForLeaderEpochResponse,
  async handle(shard, call, request) {
    const items: Item[] = request.topics.flatMap(({ topic, partitions }) =>
      partitions.map((asked) => ({ topic, partition: asked.partition, asked })),
    )
    const answers = await perOwner<Item, Answer>(
      shard,
      items,
      ({ partition }, error) => refused(partition, error),
      async (owner, part) => {
        const topics = part.map(({ topic, asked }) => ({ topic, partitions: [asked] }))
        const response = await shard.ask(owner, offsetForLeaderEpoch, call, { ...request, topics })
        return response.topics.flatMap(({ partitions }) => partitions as readonly Answer[])
      },
    )
    return {
      throttleTimeMs: 0,
      topics: byTopic(items, answers).map(({ topic, answers }) => ({ topic, partitions: answers })),
    }
  },
  serve(shard, _call, request) {
    const topics = request.topics.map(({ topic, partitions }) => ({
      topic,
      partitions: partitions.map((asked) => answer(ownPartition(shard, topic, asked.partition), asked)),
    }))
    return { throttleTimeMs: 0, topics }
  },
}

function refused(partition: number, errorCode: ErrorCode): Answer {
  return { errorCode, partition, leaderEpoch: -1, endOffset: -1 }
}

function answer(partition: Partition | undefined, asked: Asked): Answer {
  if (partition === undefined) return refused(asked.partition, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  const error = partition.checkLeader(asked.currentLeaderEpoch)
  if (error !== ErrorCode.NONE) return refused(asked.partition, error)
  const { leaderEpoch, endOffset } = partition.endOffsetOfEpoch(asked.leaderEpoch)
  return { errorCode: ErrorCode.NONE, partition: asked.partition, leaderEpoch, endOffset }
}
