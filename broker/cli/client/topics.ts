// Administration of topics: create, list, describe, grow, trim, delete, and their configs.
//
// Functions over a Cluster, on the command's one thread. Each is one request or a few, tried again while it may pass.

import { ErrorCode } from '../../../protocol/errors.ts'
import { CreatePartitionsRequest, CreatePartitionsResponse } from '../../../protocol/messages/create-partitions.ts'
import { CreateTopicsRequest, CreateTopicsResponse } from '../../../protocol/messages/create-topics.ts'
import { DeleteRecordsRequest, DeleteRecordsResponse } from '../../../protocol/messages/delete-records.ts'
import { DeleteTopicsRequest, DeleteTopicsResponse } from '../../../protocol/messages/delete-topics.ts'
import {
  DescribeConfigsRequest,
  type DescribeConfigsResourceResult,
  DescribeConfigsResponse,
} from '../../../protocol/messages/describe-configs.ts'
import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../../protocol/messages/incremental-alter-configs.ts'
import type { MetadataResponseTopic } from '../../../protocol/messages/metadata.ts'
import { ZERO_UUID } from '../../../protocol/schema.ts'
import { type Cluster, noSuchTopic, partitionKey, type TopicPartition } from './cluster.ts'
import { check, Refused } from './errors.ts'
import { byTopic } from './offsets.ts'

const TOPIC_RESOURCE = 2

export interface NewTopic {
  readonly name: string
  /** -1: the broker's default. */
  readonly partitions: number
  /** -1: the broker's default. */
  readonly replicationFactor: number
  readonly configs: readonly (readonly [name: string, value: string])[]
}

/** @throws Refused; with code TOPIC_ALREADY_EXISTS when it is there */
export async function createTopic(cluster: Cluster, topic: NewTopic, validateOnly: boolean): Promise<void> {
  await cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(
      CreateTopicsRequest,
      CreateTopicsResponse,
      {
        topics: [
          {
            name: topic.name,
            numPartitions: topic.partitions,
            replicationFactor: topic.replicationFactor,
            assignments: [],
            configs: topic.configs.map(([name, value]) => ({ name, value })),
          },
        ],
        timeoutMs: cluster.timeoutMs,
        validateOnly,
      },
      { timeoutMs: 2 * cluster.timeoutMs },
    )
    for (const { name, errorCode, errorMessage } of response.topics) {
      check(`cannot create topic ${name}`, errorCode, errorMessage)
    }
  })
}

/** Every topic, by name. */
export async function allTopics(cluster: Cluster): Promise<(MetadataResponseTopic & { name: string })[]> {
  const topics = await cluster.attempt(() => cluster.metadata(null))
  return topics
    .flatMap((topic) => (topic.name === null ? [] : [{ ...topic, name: topic.name }]))
    .sort((left, right) => (left.name < right.name ? -1 : 1))
}

/** The topics named, in that order. @throws NoSuchItem for the first that is missing */
export async function namedTopics(
  cluster: Cluster,
  names: readonly string[],
): Promise<(MetadataResponseTopic & { name: string })[]> {
  return cluster.attempt(async () => {
    const found = await cluster.metadata(names)
    return names.map((name) => {
      const topic = found.find((candidate) => candidate.name === name)
      if (topic === undefined || topic.errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) throw noSuchTopic(name)
      check(`cannot describe topic ${name}`, topic.errorCode)
      return { ...topic, name }
    })
  })
}

/** Every partition of the topics named. */
export async function partitionsOf(cluster: Cluster, topics: readonly string[]): Promise<TopicPartition[]> {
  const described = await namedTopics(cluster, topics)
  return described.flatMap(({ name, partitions }) =>
    partitions
      .map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex }))
      .sort((left, right) => left.partition - right.partition),
  )
}

/** @throws Refused or NoSuchItem */
export async function deleteTopic(cluster: Cluster, name: string): Promise<void> {
  await cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(
      DeleteTopicsRequest,
      DeleteTopicsResponse,
      { topics: [{ name, topicId: ZERO_UUID }], topicNames: [name], timeoutMs: cluster.timeoutMs },
      { timeoutMs: 2 * cluster.timeoutMs },
    )
    for (const { errorCode, errorMessage } of response.responses) {
      if (errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) throw noSuchTopic(name)
      check(`cannot delete topic ${name}`, errorCode, errorMessage)
    }
  })
}

/** @param count how many partitions the topic shall have afterwards */
export async function growTopic(cluster: Cluster, name: string, count: number, validateOnly: boolean): Promise<void> {
  await cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(
      CreatePartitionsRequest,
      CreatePartitionsResponse,
      { topics: [{ name, count, assignments: null }], timeoutMs: cluster.timeoutMs, validateOnly },
      { timeoutMs: 2 * cluster.timeoutMs },
    )
    for (const { errorCode, errorMessage } of response.results) {
      if (errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) throw noSuchTopic(name)
      check(`cannot add partitions to topic ${name}`, errorCode, errorMessage)
    }
  })
}

export type TopicConfig = DescribeConfigsResourceResult

/** The configs of topics, by topic. */
export async function topicConfigs(
  cluster: Cluster,
  names: readonly string[],
  includeSynonyms = false,
): Promise<Map<string, TopicConfig[]>> {
  if (names.length === 0) return new Map()
  return cluster.attempt(async () => {
    const connection = await cluster.any()
    const response = await connection.request(DescribeConfigsRequest, DescribeConfigsResponse, {
      resources: names.map((name) => ({ resourceType: TOPIC_RESOURCE, resourceName: name, configurationKeys: null })),
      includeSynonyms,
    })
    const configs = new Map<string, TopicConfig[]>()
    for (const result of response.results) {
      if (result.errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) throw noSuchTopic(result.resourceName)
      check(`cannot read the configs of topic ${result.resourceName}`, result.errorCode, result.errorMessage)
      configs.set(
        result.resourceName,
        result.configs.sort((left, right) => (left.name < right.name ? -1 : 1)),
      )
    }
    return configs
  })
}

/** As IncrementalAlterConfigs numbers them. */
export const ConfigOperation = { set: 0, delete: 1, append: 2, subtract: 3 } as const

export interface ConfigChange {
  readonly operation: (typeof ConfigOperation)[keyof typeof ConfigOperation]
  readonly name: string
  /** Null to delete. */
  readonly value: string | null
}

export async function alterTopicConfigs(
  cluster: Cluster,
  topic: string,
  changes: readonly ConfigChange[],
  validateOnly: boolean,
): Promise<void> {
  await cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, {
      resources: [
        {
          resourceType: TOPIC_RESOURCE,
          resourceName: topic,
          configs: changes.map(({ operation, name, value }) => ({ name, configOperation: operation, value })),
        },
      ],
      validateOnly,
    })
    for (const { errorCode, errorMessage } of response.responses) {
      if (errorCode === ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) throw noSuchTopic(topic)
      check(`cannot alter the configs of topic ${topic}`, errorCode, errorMessage)
    }
  })
}

/**
 * Deletes every record before an offset.
 * @returns the new start of each partition, by partitionKey
 */
export async function trimPartitions(
  cluster: Cluster,
  trims: readonly (TopicPartition & { beforeOffset: number })[],
): Promise<Map<string, number>> {
  return cluster.attempt(async () => {
    const starts = new Map<string, number>()
    for (const [leader, share] of await cluster.byLeader(trims)) {
      const offsets = new Map(share.map((trim) => [partitionKey(trim.topic, trim.partition), trim.beforeOffset]))
      const connection = await cluster.node(leader)
      const response = await connection.request(
        DeleteRecordsRequest,
        DeleteRecordsResponse,
        {
          topics: byTopic(share).map(([name, partitions]) => ({
            name,
            partitions: partitions.map((partitionIndex) => ({
              partitionIndex,
              offset: offsets.get(partitionKey(name, partitionIndex)) ?? 0,
            })),
          })),
          timeoutMs: cluster.timeoutMs,
        },
        { timeoutMs: 2 * cluster.timeoutMs },
      )
      for (const { name, partitions } of response.topics) {
        for (const { partitionIndex, lowWatermark, errorCode } of partitions) {
          const what = `cannot trim ${name}, partition ${partitionIndex}`
          if (errorCode === ErrorCode.OFFSET_OUT_OF_RANGE) {
            const beforeOffset = offsets.get(partitionKey(name, partitionIndex)) ?? 0
            throw new Refused(what, errorCode, `offset ${beforeOffset} lies outside of the partition`)
          }
          check(what, errorCode)
          starts.set(partitionKey(name, partitionIndex), lowWatermark)
        }
      }
    }
    return starts
  })
}
