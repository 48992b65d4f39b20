// EndTxn (key 26): commit or abort a transaction.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { bool, int16, int32, int64, message, since, string, type Value, withDefault } from '../schema.ts'

/** `committed` tells which. */
export const EndTxnRequest = message(
  'EndTxnRequest',
  { apiKey: 26, versions: '0-5', flexible: '3+' },
  {
    transactionalId: string,
    producerId: int64,
    producerEpoch: int16,
    committed: bool,
  },
)
export type EndTxnRequest = Value<typeof EndTxnRequest.fields>

/** From version 5 the producer id and epoch of the next transaction. */
export const EndTxnResponse = message(
  'EndTxnResponse',
  { apiKey: 26, versions: '0-5', flexible: '3+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    producerId: since('5+', int64, -1),
    producerEpoch: since('5+', int16, -1),
  },
)
export type EndTxnResponse = Value<typeof EndTxnResponse.fields>
