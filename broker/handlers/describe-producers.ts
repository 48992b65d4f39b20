// DescribeProducers: the producers that a replica remembers; a follower answers too, as in Kafka.

import { ErrorCode } from '../../protocol/errors.ts'
import { DescribeProducersRequest, DescribeProducersResponse } from '../../protocol/messages/describe-producers.ts'
import type { Input } from '../../protocol/schema.ts'
import { topicNameProblem } from '../cluster/topic-names.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'
import { byTopic, ownPartition, type PartitionItem, perOwner } from './per-partition.ts'

type Response = Input<typeof DescribeProducersResponse.fields>
type Answer = NonNullable<Response['topics']>[number]['partitions'][number]

export const describeProducers: Api<DescribeProducersRequest, Response> = {
  request: DescribeProducersRequest,
  response: DescribeProducersResponse,
  async handle(shard, call, request) {
    const items: PartitionItem[] = request.topics.flatMap(({ name, partitionIndexes }) =>
      partitionIndexes.map((partition) => ({ topic: name, partition })),
    )
    const answers = await perOwner<PartitionItem, Answer>(shard, items, refused, async (owner, part) => {
      const topics = part.map(({ topic, partition }) => ({ name: topic, partitionIndexes: [partition] }))
      const response = await shard.ask(owner, describeProducers, call, { topics })
      return response.topics.flatMap(({ partitions }) => partitions)
    })
    return {
      throttleTimeMs: 0,
      topics: byTopic(items, answers).map(({ topic, answers }) => ({ name: topic, partitions: answers })),
    }
  },
  serve(shard, _call, request) {
    const topics = request.topics.map(({ name, partitionIndexes }) => ({
      name,
      partitions: partitionIndexes.map((partition) => answer(shard, name, partition)),
    }))
    return { throttleTimeMs: 0, topics }
  },
}

function refused({ topic, partition }: PartitionItem, error: ErrorCode): Answer {
  const problem = topicNameProblem(topic)
  const errorCode = problem === undefined ? error : ErrorCode.INVALID_TOPIC_EXCEPTION
  return { partitionIndex: partition, errorCode, errorMessage: problem ?? null, activeProducers: [] }
}

function answer(shard: ShardContext, topic: string, partitionIndex: number): Answer {
  const partition = ownPartition(shard, topic, partitionIndex)
  if (partition === undefined) return refused({ topic, partition: partitionIndex }, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  return {
    partitionIndex,
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    activeProducers: partition.describeProducers(),
  }
}
