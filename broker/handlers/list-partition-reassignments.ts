// ListPartitionReassignments: the partitions whose replicas are on the move. Unknown and idle ones are left out.
//
// Answered on the connection's shard from its own image: a reassignment is in every image before its request is answered.

import { ErrorCode } from '../../protocol/errors.ts'
import type { OngoingPartitionReassignment } from '../../protocol/messages/list-partition-reassignments.ts'
import {
  ListPartitionReassignmentsRequest,
  ListPartitionReassignmentsResponse,
} from '../../protocol/messages/list-partition-reassignments.ts'
import type { TopicImage } from '../cluster/metadata.ts'
import { isReassigning } from '../cluster/target.ts'
import type { Api } from './api.ts'

export const listPartitionReassignments: Api<ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse> = {
  request: ListPartitionReassignmentsRequest,
  response: ListPartitionReassignmentsResponse,
  handle({ image }, _call, request) {
    const asked =
      request.topics?.map(({ name, partitionIndexes }) => ({
        topic: image.topicByName(name),
        wanted: new Set(partitionIndexes),
      })) ?? [...image.topics()].map((topic) => ({ topic, wanted: undefined }))
    const topics = asked.flatMap(({ topic, wanted }) => {
      const partitions = topic === undefined ? [] : moving(topic, wanted)
      return topic === undefined || partitions.length === 0 ? [] : [{ name: topic.name, partitions }]
    })
    return { throttleTimeMs: 0, errorCode: ErrorCode.NONE, errorMessage: null, topics }
  },
}

function moving({ partitions }: TopicImage, wanted: ReadonlySet<number> | undefined): OngoingPartitionReassignment[] {
  const found: OngoingPartitionReassignment[] = []
  for (const partition of partitions) {
    if (!isReassigning(partition) || wanted?.has(partition.partition) === false) continue
    found.push({
      partitionIndex: partition.partition,
      replicas: [...partition.replicas],
      addingReplicas: [...partition.adding],
      removingReplicas: [...partition.removing],
    })
  }
  return found
}
