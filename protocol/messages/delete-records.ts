// DeleteRecords (key 21): move the start of partitions forward.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, string, type Value, withDefault } from '../schema.ts'

/** An offset by partition; -1 for the high watermark. */
export const DeleteRecordsRequest = message(
  'DeleteRecordsRequest',
  { apiKey: 21, versions: '0-2', flexible: '2+' },
  {
    topics: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
        offset: int64,
      }),
    }),
    timeoutMs: int32,
  },
)
export type DeleteRecordsRequest = Value<typeof DeleteRecordsRequest.fields>

/** The new log start offset by partition. */
export const DeleteRecordsResponse = message(
  'DeleteRecordsResponse',
  { apiKey: 21, versions: '0-2', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    topics: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
        lowWatermark: int64,
        errorCode: int16,
      }),
    }),
  },
)
export type DeleteRecordsResponse = Value<typeof DeleteRecordsResponse.fields>
