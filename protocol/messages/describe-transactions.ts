// DescribeTransactions (key 65): state of transactional ids.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, string, type Value, withDefault } from '../schema.ts'

/** Transactional ids. */
export const DescribeTransactionsRequest = message(
  'DescribeTransactionsRequest',
  { apiKey: 65, versions: '0', flexible: '0+' },
  {
    transactionalIds: array(string),
  },
)
export type DescribeTransactionsRequest = Value<typeof DescribeTransactionsRequest.fields>

const transactionState = {
  errorCode: int16,
  transactionalId: string,
  transactionState: string,
  transactionTimeoutMs: int32,
  transactionStartTimeMs: int64,
  producerId: int64,
  producerEpoch: int16,
  topics: array({
    topic: string,
    partitions: array(int32),
  }),
}
export type TransactionState = Value<typeof transactionState>

/** One description by id. */
export const DescribeTransactionsResponse = message(
  'DescribeTransactionsResponse',
  { apiKey: 65, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    transactionStates: array(transactionState),
  },
)
export type DescribeTransactionsResponse = Value<typeof DescribeTransactionsResponse.fields>
