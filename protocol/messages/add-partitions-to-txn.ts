// AddPartitionsToTxn (key 24): add partitions to a transaction, or ask whether they are in it.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int16, int32, int64, message, since, string, type Value, withDefault } from '../schema.ts'

const addPartitionsToTxnTopic = {
  name: string,
  partitions: array(int32),
}
export type AddPartitionsToTxnTopic = Value<typeof addPartitionsToTxnTopic>

/** One transaction in the `v3AndBelow` fields up to version 3, several from version 4. */
export const AddPartitionsToTxnRequest = message(
  'AddPartitionsToTxnRequest',
  { apiKey: 24, versions: '0-5', flexible: '3+' },
  {
    transactions: since(
      '4+',
      array({
        transactionalId: string,
        producerId: int64,
        producerEpoch: int16,
        verifyOnly: withDefault(bool, false),
        topics: array(addPartitionsToTxnTopic),
      }),
    ),
    v3AndBelowTransactionalId: since('0-3', string),
    v3AndBelowProducerId: since('0-3', int64),
    v3AndBelowProducerEpoch: since('0-3', int16),
    v3AndBelowTopics: since('0-3', array(addPartitionsToTxnTopic)),
  },
)
export type AddPartitionsToTxnRequest = Value<typeof AddPartitionsToTxnRequest.fields>

const addPartitionsToTxnPartitionResult = {
  partitionIndex: int32,
  partitionErrorCode: int16,
}
export type AddPartitionsToTxnPartitionResult = Value<typeof addPartitionsToTxnPartitionResult>

const addPartitionsToTxnTopicResult = {
  name: string,
  resultsByPartition: array(addPartitionsToTxnPartitionResult),
}
export type AddPartitionsToTxnTopicResult = Value<typeof addPartitionsToTxnTopicResult>

/** Results in the shape of the request. */
export const AddPartitionsToTxnResponse = message(
  'AddPartitionsToTxnResponse',
  { apiKey: 24, versions: '0-5', flexible: '3+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: since('4+', int16),
    resultsByTransaction: since(
      '4+',
      array({
        transactionalId: string,
        topicResults: array(addPartitionsToTxnTopicResult),
      }),
    ),
    resultsByTopicV3AndBelow: since('0-3', array(addPartitionsToTxnTopicResult)),
  },
)
export type AddPartitionsToTxnResponse = Value<typeof AddPartitionsToTxnResponse.fields>
