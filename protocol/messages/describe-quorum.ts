// DescribeQuorum (key 55): Raft state of the metadata log.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, nullable, since, string, uint16, uuid, type Value } from '../schema.ts'

/** The metadata partition. */
export const DescribeQuorumRequest = message(
  'DescribeQuorumRequest',
  { apiKey: 55, versions: '0-2', flexible: '0+' },
  {
    topics: array({
      topicName: string,
      partitions: array({
        partitionIndex: int32,
      }),
    }),
  },
)
export type DescribeQuorumRequest = Value<typeof DescribeQuorumRequest.fields>

const replicaState = {
  replicaId: int32,
  replicaDirectoryId: since('2+', uuid),
  logEndOffset: int64,
  lastFetchTimestamp: since('1+', int64, -1),
  lastCaughtUpTimestamp: since('1+', int64, -1),
}
export type ReplicaState = Value<typeof replicaState>

const partitionData = {
  partitionIndex: int32,
  errorCode: int16,
  errorMessage: since('2+', nullable(string)),
  leaderId: int32,
  leaderEpoch: int32,
  highWatermark: int64,
  currentVoters: array(replicaState),
  observers: array(replicaState),
}
export type PartitionData = Value<typeof partitionData>

const topicData = {
  topicName: string,
  partitions: array(partitionData),
}
export type TopicData = Value<typeof topicData>

/** Leader, voters and observers. */
export const DescribeQuorumResponse = message(
  'DescribeQuorumResponse',
  { apiKey: 55, versions: '0-2', flexible: '0+' },
  {
    errorCode: int16,
    errorMessage: since('2+', nullable(string)),
    topics: array(topicData),
    nodes: since(
      '2+',
      array({
        nodeId: int32,
        listeners: array({
          name: string,
          host: string,
          port: uint16,
        }),
      }),
    ),
  },
)
export type DescribeQuorumResponse = Value<typeof DescribeQuorumResponse.fields>
