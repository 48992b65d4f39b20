// TxnOffsetCommit (key 28): store the offsets of a group as part of a transaction.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

const txnOffsetCommitRequestPartition = {
  partitionIndex: int32,
  committedOffset: int64,
  committedLeaderEpoch: since('2+', int32, -1),
  committedMetadata: nullable(string),
}
export type TxnOffsetCommitRequestPartition = Value<typeof txnOffsetCommitRequestPartition>

/** Offsets by partition, with the producer that owns the transaction. */
export const TxnOffsetCommitRequest = message(
  'TxnOffsetCommitRequest',
  { apiKey: 28, versions: '0-5', flexible: '3+' },
  {
    transactionalId: string,
    groupId: string,
    producerId: int64,
    producerEpoch: int16,
    generationId: since('3+', int32, -1),
    memberId: since('3+', string),
    groupInstanceId: since('3+', nullable(string), null),
    topics: array({
      name: string,
      partitions: array(txnOffsetCommitRequestPartition),
    }),
  },
)
export type TxnOffsetCommitRequest = Value<typeof TxnOffsetCommitRequest.fields>

/** An error by partition. */
export const TxnOffsetCommitResponse = message(
  'TxnOffsetCommitResponse',
  { apiKey: 28, versions: '0-5', flexible: '3+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    topics: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
        errorCode: int16,
      }),
    }),
  },
)
export type TxnOffsetCommitResponse = Value<typeof TxnOffsetCommitResponse.fields>
