// DescribeProducers (key 61): active producers by partition.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Partitions. */
export const DescribeProducersRequest = message(
  'DescribeProducersRequest',
  { apiKey: 61, versions: '0', flexible: '0+' },
  {
    topics: array({
      name: string,
      partitionIndexes: array(int32),
    }),
  },
)
export type DescribeProducersRequest = Value<typeof DescribeProducersRequest.fields>

const producerState = {
  producerId: int64,
  producerEpoch: int32,
  lastSequence: withDefault(int32, -1),
  lastTimestamp: withDefault(int64, -1),
  coordinatorEpoch: int32,
  currentTxnStartOffset: withDefault(int64, -1),
}
export type ProducerState = Value<typeof producerState>

const partitionResponse = {
  partitionIndex: int32,
  errorCode: int16,
  errorMessage: withDefault(nullable(string), null),
  activeProducers: array(producerState),
}
export type PartitionResponse = Value<typeof partitionResponse>

const topicResponse = {
  name: string,
  partitions: array(partitionResponse),
}
export type TopicResponse = Value<typeof topicResponse>

/** Producers by partition. */
export const DescribeProducersResponse = message(
  'DescribeProducersResponse',
  { apiKey: 61, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    topics: array(topicResponse),
  },
)
export type DescribeProducersResponse = Value<typeof DescribeProducersResponse.fields>
