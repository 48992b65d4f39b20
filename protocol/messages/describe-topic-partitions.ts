// DescribeTopicPartitions (key 75): topics with their partitions, page by page.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  bool,
  int16,
  int32,
  message,
  nullable,
  string,
  struct,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

/** Topics, and where the previous page ended. */
export const DescribeTopicPartitionsRequest = message(
  'DescribeTopicPartitionsRequest',
  { apiKey: 75, versions: '0', flexible: '0+' },
  {
    topics: array({
      name: string,
    }),
    responsePartitionLimit: withDefault(int32, 2000),
    cursor: withDefault(
      nullable(
        struct({
          topicName: string,
          partitionIndex: int32,
        }),
      ),
      null,
    ),
  },
)
export type DescribeTopicPartitionsRequest = Value<typeof DescribeTopicPartitionsRequest.fields>

const describeTopicPartitionsResponsePartition = {
  errorCode: int16,
  partitionIndex: int32,
  leaderId: int32,
  leaderEpoch: withDefault(int32, -1),
  replicaNodes: array(int32),
  isrNodes: array(int32),
  eligibleLeaderReplicas: withDefault(nullable(array(int32)), null),
  lastKnownElr: withDefault(nullable(array(int32)), null),
  offlineReplicas: array(int32),
}
export type DescribeTopicPartitionsResponsePartition = Value<typeof describeTopicPartitionsResponsePartition>

const describeTopicPartitionsResponseTopic = {
  errorCode: int16,
  name: nullable(string),
  topicId: uuid,
  isInternal: withDefault(bool, false),
  partitions: array(describeTopicPartitionsResponsePartition),
  topicAuthorizedOperations: withDefault(int32, -0x8000_0000),
}
export type DescribeTopicPartitionsResponseTopic = Value<typeof describeTopicPartitionsResponseTopic>

/** One page, and where the next begins. */
export const DescribeTopicPartitionsResponse = message(
  'DescribeTopicPartitionsResponse',
  { apiKey: 75, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    topics: array(describeTopicPartitionsResponseTopic),
    nextCursor: withDefault(
      nullable(
        struct({
          topicName: string,
          partitionIndex: int32,
        }),
      ),
      null,
    ),
  },
)
export type DescribeTopicPartitionsResponse = Value<typeof DescribeTopicPartitionsResponse.fields>
