// OffsetDelete (key 47): delete offsets a group has stored. Never flexible.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, message, string, type Value, withDefault } from '../schema.ts'

/** Partitions of one group. */
export const OffsetDeleteRequest = message(
  'OffsetDeleteRequest',
  { apiKey: 47, versions: '0', flexible: 'none' },
  {
    groupId: string,
    topics: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
      }),
    }),
  },
)
export type OffsetDeleteRequest = Value<typeof OffsetDeleteRequest.fields>

/** An error by partition. */
export const OffsetDeleteResponse = message(
  'OffsetDeleteResponse',
  { apiKey: 47, versions: '0', flexible: 'none' },
  {
    errorCode: int16,
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
export type OffsetDeleteResponse = Value<typeof OffsetDeleteResponse.fields>
