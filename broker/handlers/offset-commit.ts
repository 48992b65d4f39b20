// OffsetCommit: stores how far a group has come.
//
// Topics are checked against the metadata of the connection's shard; what is unknown does not stop the rest.

import { ErrorCode } from '../../protocol/errors.ts'
import {
  OffsetCommitRequest,
  type OffsetCommitRequestPartition,
  OffsetCommitResponse,
} from '../../protocol/messages/offset-commit.ts'
import type { Input } from '../../protocol/schema.ts'
import type { TopicImage } from '../cluster/metadata.ts'
import type { CommitEntry } from '../groups/calls.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'
import { askCoordinator } from './coordinated.ts'

type Response = Input<typeof OffsetCommitResponse.fields>
type Topic = OffsetCommitRequest['topics'][number]

const TOPICS_BY_ID_SINCE = 10
/** From here on a client understands that its group is gone. */
const GROUP_ID_NOT_FOUND_SINCE = 9

export const offsetCommit: Api<OffsetCommitRequest, Response> = {
  request: OffsetCommitRequest,
  response: OffsetCommitResponse,
  async handle(shard, call, request) {
    const known: Topic[] = []
    const refusals = request.topics.map((topic) => {
      const image = topicImage(shard, topic, call.version)
      const isKnown = ({ partitionIndex }: OffsetCommitRequestPartition) =>
        image?.partitions[partitionIndex] !== undefined
      const accepted = topic.partitions.filter(isKnown)
      if (accepted.length > 0) known.push({ ...topic, partitions: accepted })
      return { topic, error: unknownError(image, call.version), isKnown }
    })
    const refused = (error: ErrorCode) => responseOf(known, () => error)
    const answer: Response =
      known.length === 0
        ? { topics: [] }
        : await askCoordinator(shard, offsetCommit, call, { ...request, topics: known }, refused)
    // Both lists keep the order of the request.
    const answered = answer.topics.flatMap(({ partitions }) => partitions).values()
    const topics = refusals.map(({ topic, error, isKnown }) => ({
      name: topic.name,
      topicId: topic.topicId,
      partitions: topic.partitions.map((partition) => ({
        partitionIndex: partition.partitionIndex,
        errorCode: isKnown(partition) ? (answered.next().value?.errorCode ?? ErrorCode.UNKNOWN_SERVER_ERROR) : error,
      })),
    }))
    return { throttleTimeMs: 0, topics }
  },
  async serve(shard, call, request) {
    const offsets: CommitEntry[] = []
    for (const topic of request.topics) {
      const image = topicImage(shard, topic, call.version)
      if (image === undefined) continue
      for (const partition of topic.partitions) {
        offsets.push({
          topic: image.name,
          topicId: image.topicId,
          partition: partition.partitionIndex,
          offset: partition.committedOffset,
          leaderEpoch: partition.committedLeaderEpoch,
          metadata: partition.committedMetadata ?? '',
        })
      }
    }
    const errors = await shard.coordinator.commit({
      groupId: request.groupId,
      memberId: request.memberId,
      groupInstanceId: request.groupInstanceId,
      generationId: request.generationIdOrMemberEpoch,
      retentionTimeMs: request.retentionTimeMs,
      unknownGroupError:
        call.version >= GROUP_ID_NOT_FOUND_SINCE ? ErrorCode.GROUP_ID_NOT_FOUND : ErrorCode.ILLEGAL_GENERATION,
      offsets,
    })
    const byPlace = new Map(offsets.map(({ topic, partition }, at) => [`${partition}/${topic}`, errors[at]!]))
    return responseOf(request.topics, (topic, partition) => {
      const image = topicImage(shard, topic, call.version)
      const error = image === undefined ? undefined : byPlace.get(`${partition.partitionIndex}/${image.name}`)
      return error ?? unknownError(image, call.version)
    })
  },
}

function topicImage(shard: ShardContext, topic: Topic, version: number): TopicImage | undefined {
  return version >= TOPICS_BY_ID_SINCE ? shard.image.topicById(topic.topicId) : shard.image.topicByName(topic.name)
}

function unknownError(image: TopicImage | undefined, version: number): ErrorCode {
  return image === undefined && version >= TOPICS_BY_ID_SINCE
    ? ErrorCode.UNKNOWN_TOPIC_ID
    : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
}

function responseOf(
  topics: readonly Topic[],
  errorOf: (topic: Topic, partition: OffsetCommitRequestPartition) => ErrorCode,
): Response {
  return {
    throttleTimeMs: 0,
    topics: topics.map((topic) => ({
      name: topic.name,
      topicId: topic.topicId,
      partitions: topic.partitions.map((partition) => ({
        partitionIndex: partition.partitionIndex,
        errorCode: errorOf(topic, partition),
      })),
    })),
  }
}
