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
import type { MetadataImage, PartitionImage } from '../cluster/metadata.ts'
import { isInternalTopic, topicNameProblem } from '../cluster/topic-names.ts'
import type { Api } from './api.ts'
import { TOPIC_OPERATIONS } from './authorized-operations.ts'

export const describeTopicPartitions: Api<DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse> = {
  request: DescribeTopicPartitionsRequest,
  response: DescribeTopicPartitionsResponse,
  handle({ image, config }, _call, { topics: named, responsePartitionLimit, cursor }) {
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
        partitions: partitions.map((partition) => partitionOf(partition, image)),
        topicAuthorizedOperations: TOPIC_OPERATIONS,
      })
      remaining -= partitions.length
      if (first + partitions.length < topic.partitions.length) {
        const nextCursor = { topicName: name, partitionIndex: first + partitions.length }
        return { throttleTimeMs: 0, topics, nextCursor }
      }
    }
    return { throttleTimeMs: 0, topics, nextCursor: null }
  },
}

function partitionOf(partition: PartitionImage, image: MetadataImage): DescribeTopicPartitionsResponsePartition {
  const hasLeader = image.broker(partition.leader) !== undefined
  return {
    errorCode: hasLeader ? ErrorCode.NONE : ErrorCode.LEADER_NOT_AVAILABLE,
    partitionIndex: partition.partition,
    leaderId: hasLeader ? partition.leader : -1,
    leaderEpoch: partition.leaderEpoch,
    replicaNodes: [...partition.replicas],
    isrNodes: [...partition.isr],
    eligibleLeaderReplicas: [],
    lastKnownElr: [],
    offlineReplicas: partition.replicas.filter((nodeId) => image.broker(nodeId) === undefined),
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
