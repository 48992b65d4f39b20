// Records of the internal topic __transaction_state.
//
// Key and value begin with an int16, the version, which the caller reads or writes. Declarations only, made once at load:
// any thread.

import { array, int8, int16, int32, int64, message, nullable, string, tagged, type Value } from '../schema.ts'

/** A transactional id. */
export const TransactionLogKey = message(
  'TransactionLogKey',
  { versions: '0', flexible: 'none' },
  {
    transactionalId: string,
  },
)
export type TransactionLogKey = Value<typeof TransactionLogKey.fields>

/** The state of its transaction; null (a tombstone) once it has expired. Version 1 is flexible. */
export const TransactionLogValue = message(
  'TransactionLogValue',
  { versions: '0-1', flexible: '1+' },
  {
    producerId: int64,
    previousProducerId: tagged(0, '1+', int64, -1),
    nextProducerId: tagged(1, '1+', int64, -1),
    producerEpoch: int16,
    nextProducerEpoch: tagged(3, '1+', int16, -1),
    transactionTimeoutMs: int32,
    transactionStatus: int8,
    transactionPartitions: nullable(
      array({
        topic: string,
        partitionIds: array(int32),
      }),
    ),
    transactionLastUpdateTimestampMs: int64,
    transactionStartTimestampMs: int64,
    clientTransactionVersion: tagged(2, '1+', int16),
  },
)
export type TransactionLogValue = Value<typeof TransactionLogValue.fields>
