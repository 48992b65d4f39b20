// AddOffsetsToTxn (key 25): add the offsets of a group to a transaction.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { int16, int32, int64, message, string, type Value, withDefault } from '../schema.ts'

/** The producer and the group. */
export const AddOffsetsToTxnRequest = message(
  'AddOffsetsToTxnRequest',
  { apiKey: 25, versions: '0-4', flexible: '3+' },
  {
    transactionalId: string,
    producerId: int64,
    producerEpoch: int16,
    groupId: string,
  },
)
export type AddOffsetsToTxnRequest = Value<typeof AddOffsetsToTxnRequest.fields>

/** NONE or why not. */
export const AddOffsetsToTxnResponse = message(
  'AddOffsetsToTxnResponse',
  { apiKey: 25, versions: '0-4', flexible: '3+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
  },
)
export type AddOffsetsToTxnResponse = Value<typeof AddOffsetsToTxnResponse.fields>
