// Produce (key 0): append record batches to partitions.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  int16,
  int32,
  int64,
  message,
  nullable,
  records,
  since,
  string,
  struct,
  tagged,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

/** Batches by topic and partition; acks is 0, 1 or -1 (all). From version 13 topics are named by id. */
export const ProduceRequest = message(
  'ProduceRequest',
  { apiKey: 0, versions: '3-13', flexible: '9+' },
  {
    transactionalId: withDefault(nullable(string), null),
    acks: int16,
    timeoutMs: int32,
    topicData: array({
      name: since('3-12', string),
      topicId: since('13+', uuid),
      partitionData: array({
        index: int32,
        records: records,
      }),
    }),
  },
)
export type ProduceRequest = Value<typeof ProduceRequest.fields>

const partitionProduceResponse = {
  index: int32,
  errorCode: int16,
  baseOffset: int64,
  logAppendTimeMs: withDefault(int64, -1),
  logStartOffset: since('5+', int64, -1),
  recordErrors: since(
    '8+',
    array({
      batchIndex: int32,
      batchIndexErrorMessage: withDefault(nullable(string), null),
    }),
  ),
  errorMessage: since('8+', nullable(string), null),
  currentLeader: tagged(
    0,
    '10+',
    struct({
      leaderId: withDefault(int32, -1),
      leaderEpoch: withDefault(int32, -1),
    }),
  ),
}
export type PartitionProduceResponse = Value<typeof partitionProduceResponse>

const topicProduceResponse = {
  name: since('3-12', string),
  topicId: since('13+', uuid),
  partitionResponses: array(partitionProduceResponse),
}
export type TopicProduceResponse = Value<typeof topicProduceResponse>

/** Base offset or error by partition. Not sent at all when acks is 0. */
export const ProduceResponse = message(
  'ProduceResponse',
  { apiKey: 0, versions: '3-13', flexible: '9+' },
  {
    responses: array(topicProduceResponse),
    throttleTimeMs: withDefault(int32, 0),
    nodeEndpoints: tagged(
      0,
      '10+',
      array({
        nodeId: int32,
        host: string,
        port: int32,
        rack: withDefault(nullable(string), null),
      }),
    ),
  },
)
export type ProduceResponse = Value<typeof ProduceResponse.fields>
