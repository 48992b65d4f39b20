// OffsetDelete: forgets what a group has committed for partitions that none of its members reads.

import { ErrorCode } from '../../protocol/errors.ts'
import { OffsetDeleteRequest, OffsetDeleteResponse } from '../../protocol/messages/offset-delete.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Api } from './api.ts'
import { askCoordinatorOfNamed } from './coordinated.ts'

type Response = Input<typeof OffsetDeleteResponse.fields>

export const offsetDelete: Api<OffsetDeleteRequest, Response> = {
  request: OffsetDeleteRequest,
  response: OffsetDeleteResponse,
  async handle(shard, call, request) {
    const isKnown = (name: string, partition: number) =>
      shard.image.topicByName(name)?.partitions[partition] !== undefined
    const known = request.topics
      .map(({ name, partitions }) => ({
        name,
        partitions: partitions.filter(({ partitionIndex }) => isKnown(name, partitionIndex)),
      }))
      .filter(({ partitions }) => partitions.length > 0)
    if (request.groupId === '') return refused(ErrorCode.INVALID_GROUP_ID)
    const errors = new Map<string, number>()
    if (known.length > 0) {
      const answer = await askCoordinatorOfNamed(shard, offsetDelete, call, { ...request, topics: known }, refused)
      if (answer.errorCode !== ErrorCode.NONE) return answer
      for (const { name, partitions } of answer.topics) {
        for (const { partitionIndex, errorCode } of partitions) errors.set(`${partitionIndex}/${name}`, errorCode)
      }
    }
    return {
      errorCode: ErrorCode.NONE,
      throttleTimeMs: 0,
      topics: request.topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex }) => ({
          partitionIndex,
          errorCode: errors.get(`${partitionIndex}/${name}`) ?? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        })),
      })),
    }
  },
  async serve(shard, _call, request) {
    const wanted = request.topics.flatMap(({ name, partitions }) =>
      partitions.map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex })),
    )
    const { error, errors } = await shard.coordinator.deleteOffsets(request.groupId, wanted)
    if (error !== ErrorCode.NONE) return refused(error)
    const next = errors.values()
    return {
      errorCode: ErrorCode.NONE,
      throttleTimeMs: 0,
      topics: request.topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex }) => ({
          partitionIndex,
          errorCode: next.next().value ?? ErrorCode.UNKNOWN_SERVER_ERROR,
        })),
      })),
    }
  },
}

function refused(errorCode: ErrorCode): Response {
  return { errorCode, throttleTimeMs: 0, topics: [] }
}
