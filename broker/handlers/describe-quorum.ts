// DescribeQuorum: the Raft group of the metadata log, under the name Kafka gives it: partition 0 of __cluster_metadata.
//
// Handled on the connection's shard, served on shard 0 of the broker that leads the group: only a leader knows how far the
// others are.

import { ErrorCode } from '../../protocol/errors.ts'
import type { ReplicaState } from '../../protocol/messages/describe-quorum.ts'
import { DescribeQuorumRequest, DescribeQuorumResponse } from '../../protocol/messages/describe-quorum.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import { CLUSTER_METADATA_TOPIC } from '../cluster/topic-names.ts'
import type { QuorumMember, QuorumState } from '../shard/context.ts'
import type { Api } from './api.ts'

/** Kafka names the listeners of its controllers; ours is the one that brokers use among themselves. */
const LISTENER = 'CONTROLLER'

export const describeQuorum: Api<DescribeQuorumRequest, DescribeQuorumResponse> = {
  request: DescribeQuorumRequest,
  response: DescribeQuorumResponse,
  handle(shard, call, request) {
    const problem = unknownPartitions(request)
    return problem ?? shard.askController(describeQuorum, call, request)
  },
  serve(shard) {
    const quorum = shard.quorum()
    if (quorum === undefined) {
      const errorMessage =
        'For requests intended only for the leader, this error indicates that the broker is not the current leader.'
      return { errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER, errorMessage, topics: [], nodes: [] }
    }
    return described(quorum, shard.image)
  },
}

/** The answer to a request for anything but the metadata partition. */
function unknownPartitions({ topics }: DescribeQuorumRequest): DescribeQuorumResponse | undefined {
  const [topic] = topics
  const isGood =
    topics.length === 1 &&
    topic?.topicName === CLUSTER_METADATA_TOPIC &&
    topic.partitions.length === 1 &&
    topic.partitions[0]?.partitionIndex === 0
  if (isGood) return undefined
  return {
    errorCode: ErrorCode.NONE,
    errorMessage: '',
    topics: topics.map(({ topicName, partitions }) => ({
      topicName,
      partitions: partitions.map(({ partitionIndex }) => ({
        partitionIndex,
        errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        errorMessage: 'This server does not host this topic-partition.',
        leaderId: 0,
        leaderEpoch: 0,
        highWatermark: 0,
        currentVoters: [],
        observers: [],
      })),
    })),
    nodes: [],
  }
}

function described(quorum: QuorumState, image: MetadataImage): DescribeQuorumResponse {
  const { leaderId, leaderEpoch, commitIndex, voters, observers } = quorum
  return {
    errorCode: ErrorCode.NONE,
    errorMessage: '',
    topics: [
      {
        topicName: CLUSTER_METADATA_TOPIC,
        partitions: [
          {
            partitionIndex: 0,
            errorCode: ErrorCode.NONE,
            errorMessage: '',
            leaderId,
            leaderEpoch,
            highWatermark: commitIndex + 1,
            currentVoters: voters.map(replicaState),
            observers: observers.map(replicaState),
          },
        ],
      },
    ],
    nodes: [...voters, ...observers].map(({ nodeId }) => {
      const peer = image.broker(nodeId)?.peer
      const listeners = peer ? [{ name: LISTENER, host: peer.host, port: peer.port }] : []
      return { nodeId, listeners }
    }),
  }
}

function replicaState(member: QuorumMember): ReplicaState {
  return {
    replicaId: member.nodeId,
    replicaDirectoryId: member.directoryId === '' ? ZERO_UUID : member.directoryId,
    logEndOffset: member.lastIndex + 1,
    lastFetchTimestamp: member.lastHeardMs,
    lastCaughtUpTimestamp: member.lastCaughtUpMs,
  }
}
