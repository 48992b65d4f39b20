// DescribeTopicPartitions: topics page by page, sorted by name.
//
// Answered on the connection's shard from its own image.

import { ErrorCode } from '../../protocol/errors.ts'
import type {
  DescribeTopicPartitionsResponsePartition,
  DescribeTopicPartitionsResponseTopic,
} from '../../protocol/messages/describe-topic-partitions.ts'
import {
  DescribeTopicPartitionsRequest,
  DescribeTopicPartitionsResponse,
} from '../../protocol/messages/describe-topic-partitions.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import type { PartitionImage } from '../cluster/metadata.ts'
import { isInternalTopic, topicNameProblem } from '../cluster/topic-names.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api, CallContext } from './api.ts'
import { TOPIC_OPERATIONS } from './authorized-operations.ts'
import { statusOf } from './brokers.ts'

export const describeTopicPartitions: Api<DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse> = {
  request: DescribeTopicPartitionsRequest,
  response: DescribeTopicPartitionsResponse,
  handle(shard, call, request) {
    const fresh = shard.whenFresh()
    return fresh === undefined ? answer(shard, call, request) : fresh.then(() => answer(shard, call, request))
  },
}

function answer(
  shard: ShardContext,
  call: CallContext,
  { topics: named, responsePartitionLimit, cursor }: DescribeTopicPartitionsRequest,
): DescribeTopicPartitionsResponse {
  const { image, config } = shard
  const all = named.length === 0
  if (cursor !== null) {
    const isListed = all || named.some(({ name }) => name === cursor.topicName)
    if (!isListed || cursor.partitionIndex < 0) {
      const topics = named.map(({ name }) => failed(ErrorCode.INVALID_REQUEST, name))
      return { throttleTimeMs: 0, topics, nextCursor: null }
    }
  }
  const names = all ? Array.from(image.topics(), ({ name }) => name) : [...new Set(named.map(({ name }) => name))]
  const wanted = names.filter((name) => cursor === null || name >= cursor.topicName).sort()
  let remaining = Math.max(1, Math.min(responsePartitionLimit, config.maxRequestPartitionSizeLimit))
  const topics: DescribeTopicPartitionsResponseTopic[] = []
  for (const name of wanted) {
    if (remaining === 0) return { throttleTimeMs: 0, topics, nextCursor: { topicName: name, partitionIndex: 0 } }
    const topic = image.topicByName(name)
    if (topic === undefined) {
      const isIllegal = topicNameProblem(name) !== undefined
      topics.push(failed(isIllegal ? ErrorCode.INVALID_TOPIC_EXCEPTION : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name))
      continue
    }
    const first = name === cursor?.topicName ? cursor.partitionIndex : 0
    const partitions = topic.partitions.slice(first, first + remaining)
    topics.push({
      errorCode: ErrorCode.NONE,
      name,
      topicId: topic.topicId,
      isInternal: topic.isInternal,
      partitions: partitions.map((partition) => partitionOf(shard, partition, call.listenerName)),
      topicAuthorizedOperations: TOPIC_OPERATIONS,
    })
    remaining -= partitions.length
    if (first + partitions.length < topic.partitions.length) {
      const nextCursor = { topicName: name, partitionIndex: first + partitions.length }
      return { throttleTimeMs: 0, topics, nextCursor }
    }
  }
  return { throttleTimeMs: 0, topics, nextCursor: null }
}

function partitionOf(
  shard: ShardContext,
  partition: PartitionImage,
  listenerName: string,
): DescribeTopicPartitionsResponsePartition {
  const { leaderId, isr, offline } = statusOf(shard, partition, listenerName)
  return {
    // Also without a leader: this answer says what is, where Metadata says whether a client can go on.
    errorCode: ErrorCode.NONE,
    partitionIndex: partition.partition,
    leaderId,
    leaderEpoch: partition.leaderEpoch,
    replicaNodes: [...partition.replicas],
    isrNodes: isr,
    // A majority decides who may lead, not a list of those who were in sync last.
    eligibleLeaderReplicas: [],
    lastKnownElr: [],
    offlineReplicas: offline,
  }
}

function failed(errorCode: ErrorCode, name: string): DescribeTopicPartitionsResponseTopic {
  return {
    errorCode,
    name,
    topicId: ZERO_UUID,
    isInternal: isInternalTopic(name),
    partitions: [],
    topicAuthorizedOperations: TOPIC_OPERATIONS,
  }
}
