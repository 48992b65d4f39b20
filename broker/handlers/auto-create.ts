// Topics that come into being because somebody asked for them: by name in a Metadata request, or the broker for itself.
//
// Runs on any shard; the controller creates, and has the topic in place on every shard of every live broker when it answers.

import { ApiKey } from '../../protocol/api.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import type { CreatableTopic } from '../../protocol/messages/create-topics.ts'
import type { TopicImage } from '../cluster/metadata.ts'
import { isInternalTopic, OFFSETS_TOPIC } from '../cluster/topic-names.ts'
import type { ShardContext } from '../shard/context.ts'
import type { CallContext } from './api.ts'
import { createTopics } from './create-topics.ts'

/** How long a request waits for a topic it brings into being. */
const WAIT_MS = 2000
const CREATE_TOPICS_VERSION = 7

/** The broker's own call, where no client's is at hand. */
const OWN_CALL: CallContext = {
  apiKey: ApiKey.CreateTopics,
  version: CREATE_TOPICS_VERSION,
  clientId: null,
  clientHost: '',
  principal: 'User:ANONYMOUS',
  listenerName: '',
  connectionId: -1,
}

/**
 * Creates topics with the broker's default counts.
 * @param names good names of topics that do not exist
 * @returns per name NONE (it exists now), LEADER_NOT_AVAILABLE (not ready in time: ask again), or
 *   UNKNOWN_TOPIC_OR_PARTITION (a rule forbids it)
 */
export async function createMissingTopics(
  shard: ShardContext,
  names: readonly string[],
  call: CallContext = OWN_CALL,
): Promise<Map<string, ErrorCode>> {
  const outcomes = new Map<string, ErrorCode>()
  const topics: CreatableTopic[] = []
  for (const name of names) {
    const topic = missingTopic(shard, name)
    if (topic === undefined) outcomes.set(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    else topics.push(topic)
  }
  if (topics.length === 0) return outcomes
  const answer = await shard.askController(
    createTopics,
    { ...call, apiKey: ApiKey.CreateTopics, version: CREATE_TOPICS_VERSION },
    { topics, timeoutMs: WAIT_MS, validateOnly: false },
  )
  for (const { name, errorCode } of answer.topics) outcomes.set(name, outcomeOf(errorCode))
  return outcomes
}

function outcomeOf(errorCode: number): ErrorCode {
  switch (errorCode) {
    case ErrorCode.NONE:
    case ErrorCode.TOPIC_ALREADY_EXISTS:
      return ErrorCode.NONE
    case ErrorCode.REQUEST_TIMED_OUT:
    case ErrorCode.KAFKA_STORAGE_ERROR:
    case ErrorCode.NOT_CONTROLLER:
    case ErrorCode.UNKNOWN_SERVER_ERROR:
      return ErrorCode.LEADER_NOT_AVAILABLE
    default:
      return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
  }
}

/**
 * The topic that holds groups and their offsets, created when it does not exist yet.
 * @returns undefined when it could not be created in time; asking again is right
 */
export async function ensureOffsetsTopic(shard: ShardContext): Promise<TopicImage | undefined> {
  const present = shard.image.topicByName(OFFSETS_TOPIC)
  if (present !== undefined) return present
  await createMissingTopics(shard, [OFFSETS_TOPIC])
  return shard.image.topicByName(OFFSETS_TOPIC)
}

function missingTopic(shard: ShardContext, name: string): CreatableTopic | undefined {
  if (!isInternalTopic(name)) return { name, numPartitions: -1, replicationFactor: -1, assignments: [], configs: [] }
  // The state topics of transactions and share groups have no use here yet.
  if (name !== OFFSETS_TOPIC) return undefined
  const { config } = shard
  // Kafka waits until there are as many brokers as offsets.topic.replication.factor says. Here a smaller cluster works at once: the
  // controller gives it as many replicas as brokers are registered, and more when further ones join (cluster/internal-replicas.ts).
  return {
    name,
    numPartitions: config.offsetsTopicNumPartitions,
    replicationFactor: -1,
    assignments: [],
    configs: [
      { name: 'cleanup.policy', value: 'compact' },
      { name: 'compression.type', value: 'producer' },
      { name: 'segment.bytes', value: String(Math.max(1024 * 1024, config.offsetsTopicSegmentBytes)) },
    ],
  }
}
