// Metadata: brokers, topics, partitions and their leaders; brings topics into being that are named and do not exist.
//
// Answered on the connection's shard from its own image. Unlike Kafka, a request that creates a topic waits for it briefly
// and returns it, so that a first produce or subscribe needs no second round.

import { ErrorCode } from '../../protocol/errors.ts'
import type { MetadataResponsePartition, MetadataResponseTopic } from '../../protocol/messages/metadata.ts'
import { MetadataRequest, MetadataResponse } from '../../protocol/messages/metadata.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import type { PartitionImage, TopicImage } from '../cluster/metadata.ts'
import { isInternalTopic, topicNameProblem } from '../cluster/topic-names.ts'
import type { DataShard, ShardContext } from '../shard/context.ts'
import { type Api, type CallContext, NO_ANSWER } from './api.ts'
import { CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS } from './authorized-operations.ts'
import { createMissingTopics } from './auto-create.ts'
import { reachableBrokers, statusOf } from './brokers.ts'
import { advertisedController } from './controller-of.ts'

/** From here on topics can be asked for by id. */
const IDS_SINCE = 12
/** From here on a client understands that the leader is not on its listener. */
const LISTENER_NOT_FOUND_SINCE = 6
/** From here on the field is there, but must not be used before IDS_SINCE. */
const ID_FIELD_SINCE = 10

export const metadata: Api<MetadataRequest, MetadataResponse> = {
  request: MetadataRequest,
  response: MetadataResponse,
  handle(shard, call, request) {
    const fresh = shard.whenFresh()
    if (fresh !== undefined) return fresh.then(() => answerNow(shard, call, request))
    return answerNow(shard, call, request)
  },
}

function answerNow(
  shard: ShardContext,
  call: CallContext,
  request: MetadataRequest,
): MetadataResponse | Promise<MetadataResponse> | typeof NO_ANSWER {
  if (isStranded(shard as DataShard, call)) return NO_ANSWER
  const problem = requestProblem(call.version, request)
  if (problem !== undefined) return emptied(problem, request)
  const operations = request.includeTopicAuthorizedOperations ? TOPIC_OPERATIONS : OPERATIONS_NOT_ASKED
  const { topics } = request
  const { image } = shard
  if (topics === null || (call.version === 0 && topics.length === 0)) {
    return answer(
      shard,
      call,
      request,
      Array.from(image.topics(), (topic) => known(shard, call, topic, operations)),
    )
  }
  // With a single id in the request, Kafka serves ids only.
  const ids = new Set(topics.map(({ topicId }) => topicId).filter((topicId) => topicId !== ZERO_UUID))
  if (ids.size > 0) {
    return answer(
      shard,
      call,
      request,
      [...ids].map((topicId) => {
        const topic = image.topicById(topicId)
        return topic === undefined
          ? missing(ErrorCode.UNKNOWN_TOPIC_ID, null, topicId, OPERATIONS_NOT_ASKED)
          : known(shard, call, topic, operations)
      }),
    )
  }
  const names = [...new Set(topics.map(({ name }) => name ?? ''))]
  const creatable = request.allowAutoTopicCreation && shard.config.autoCreateTopicsEnable
  const absent = names.filter((name) => image.topicByName(name) === undefined && topicNameProblem(name) === undefined)
  if (!creatable || absent.length === 0) return byName(shard, call, request, names, operations, new Map())
  return createThenAnswer(shard, call, request, names, absent, operations)
}

/** @returns whether the connection is ended instead of an answer */
function isStranded(shard: DataShard, { connectionId }: CallContext): boolean {
  if (!shard.isCutOff) {
    shard.strandedClients.clear()
    return false
  }
  if (!shard.strandedClients.asks(connectionId, shard.environment.clock.monotonicMs())) return false
  shard.dropConnection(connectionId)
  return true
}

async function createThenAnswer(
  shard: ShardContext,
  call: CallContext,
  request: MetadataRequest,
  names: readonly string[],
  absent: readonly string[],
  operations: number,
): Promise<MetadataResponse> {
  const outcomes = await createMissingTopics(shard, absent, call)
  return byName(shard, call, request, names, operations, outcomes)
}

/** @param outcomes of topics that were brought into being */
function byName(
  shard: ShardContext,
  call: CallContext,
  request: MetadataRequest,
  names: readonly string[],
  operations: number,
  outcomes: ReadonlyMap<string, ErrorCode>,
): MetadataResponse {
  const { image } = shard
  const topics = names.map((name) => {
    const topic = image.topicByName(name)
    if (topic !== undefined) return known(shard, call, topic, operations)
    if (topicNameProblem(name) !== undefined) {
      return missing(ErrorCode.INVALID_TOPIC_EXCEPTION, name, ZERO_UUID, operations)
    }
    const outcome = outcomes.get(name)
    // Created, and already gone again or not here yet: the client asks once more.
    if (outcome === ErrorCode.NONE) return missing(ErrorCode.LEADER_NOT_AVAILABLE, name, ZERO_UUID, operations)
    return missing(outcome ?? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name, ZERO_UUID, operations)
  })
  return answer(shard, call, request, topics)
}

function requestProblem(version: number, request: MetadataRequest): ErrorCode | undefined {
  if (request.topics === null || version < ID_FIELD_SINCE) return undefined
  if (version < IDS_SINCE) {
    const usesIds = request.topics.some(({ name, topicId }) => name === null || topicId !== ZERO_UUID)
    return usesIds ? ErrorCode.INVALID_REQUEST : undefined
  }
  const isNameless = request.topics.some(({ name, topicId }) => name === null && topicId === ZERO_UUID)
  return isNameless ? ErrorCode.UNKNOWN_SERVER_ERROR : undefined
}

function emptied(errorCode: ErrorCode, request: MetadataRequest): MetadataResponse {
  return {
    throttleTimeMs: 0,
    brokers: [],
    clusterId: null,
    controllerId: -1,
    topics: (request.topics ?? []).map(({ name, topicId }) => missing(errorCode, name, topicId, OPERATIONS_NOT_ASKED)),
    clusterAuthorizedOperations: OPERATIONS_NOT_ASKED,
    errorCode,
  }
}

function answer(
  shard: ShardContext,
  call: CallContext,
  request: MetadataRequest,
  topics: MetadataResponseTopic[],
): MetadataResponse {
  return {
    throttleTimeMs: 0,
    brokers: reachableBrokers(shard, call.listenerName),
    clusterId: shard.image.clusterId,
    controllerId: advertisedController(shard),
    topics,
    clusterAuthorizedOperations: request.includeClusterAuthorizedOperations ? CLUSTER_OPERATIONS : OPERATIONS_NOT_ASKED,
    errorCode: ErrorCode.NONE,
  }
}

function known(shard: ShardContext, call: CallContext, topic: TopicImage, operations: number): MetadataResponseTopic {
  return {
    errorCode: ErrorCode.NONE,
    name: topic.name,
    topicId: topic.topicId,
    isInternal: topic.isInternal,
    partitions: topic.partitions.map((partition) => partitionOf(shard, call, partition)),
    topicAuthorizedOperations: operations,
  }
}

function partitionOf(shard: ShardContext, call: CallContext, partition: PartitionImage): MetadataResponsePartition {
  const listenerError =
    call.version >= LISTENER_NOT_FOUND_SINCE ? ErrorCode.LISTENER_NOT_FOUND : ErrorCode.LEADER_NOT_AVAILABLE
  const { errorCode, leaderId, isr, offline } = statusOf(shard, partition, call.listenerName, listenerError)
  return {
    errorCode,
    partitionIndex: partition.partition,
    leaderId,
    leaderEpoch: partition.leaderEpoch,
    replicaNodes: [...partition.replicas],
    isrNodes: isr,
    offlineReplicas: offline,
  }
}

function missing(
  errorCode: ErrorCode,
  name: string | null,
  topicId: string,
  topicAuthorizedOperations: number,
): MetadataResponseTopic {
  const isInternal = name !== null && isInternalTopic(name)
  return { errorCode, name, topicId, isInternal, partitions: [], topicAuthorizedOperations }
}
