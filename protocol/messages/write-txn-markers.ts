// WriteTxnMarkers (key 27): write the commit or abort markers of transactions into partitions. Between brokers.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int8, int16, int32, int64, message, since, string, type Value } from '../schema.ts'

const writableTxnMarker = {
  producerId: int64,
  producerEpoch: int16,
  transactionResult: bool,
  topics: array({
    name: string,
    partitionIndexes: array(int32),
  }),
  coordinatorEpoch: int32,
  transactionVersion: since('2+', int8),
}
export type WritableTxnMarker = Value<typeof writableTxnMarker>

/** Markers by producer. */
export const WriteTxnMarkersRequest = message(
  'WriteTxnMarkersRequest',
  { apiKey: 27, versions: '1-2', flexible: '1+' },
  {
    markers: array(writableTxnMarker),
  },
)
export type WriteTxnMarkersRequest = Value<typeof WriteTxnMarkersRequest.fields>

/** An error by producer and partition. */
export const WriteTxnMarkersResponse = message(
  'WriteTxnMarkersResponse',
  { apiKey: 27, versions: '1-2', flexible: '1+' },
  {
    markers: array({
      producerId: int64,
      topics: array({
        name: string,
        partitions: array({
          partitionIndex: int32,
          errorCode: int16,
        }),
      }),
    }),
  },
)
export type WriteTxnMarkersResponse = Value<typeof WriteTxnMarkersResponse.fields>
