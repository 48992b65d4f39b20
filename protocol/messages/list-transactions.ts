// ListTransactions (key 66): the transactions of this broker.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

/** Filters by state, producer, duration (version 1) and id pattern (version 2); empty for no filter. */
export const ListTransactionsRequest = message(
  'ListTransactionsRequest',
  { apiKey: 66, versions: '0-2', flexible: '0+' },
  {
    stateFilters: array(string),
    producerIdFilters: array(int64),
    durationFilter: since('1+', int64, -1),
    transactionalIdPattern: since('2+', nullable(string), null),
  },
)
export type ListTransactionsRequest = Value<typeof ListTransactionsRequest.fields>

/** Transactional ids with producer and state. */
export const ListTransactionsResponse = message(
  'ListTransactionsResponse',
  { apiKey: 66, versions: '0-2', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    unknownStateFilters: array(string),
    transactionStates: array({
      transactionalId: string,
      producerId: int64,
      transactionState: string,
    }),
  },
)
export type ListTransactionsResponse = Value<typeof ListTransactionsResponse.fields>
