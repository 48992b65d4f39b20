// OffsetForLeaderEpoch (key 23): where a leader epoch ends, for clients that look for truncation.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, int64, message, since, string, type Value, withDefault } from '../schema.ts'

/** A leader epoch by partition. */
export const OffsetForLeaderEpochRequest = message(
  'OffsetForLeaderEpochRequest',
  { apiKey: 23, versions: '2-4', flexible: '4+' },
  {
    replicaId: since('3+', int32, -2),
    topics: array({
      topic: string,
      partitions: array({
        partition: int32,
        currentLeaderEpoch: withDefault(int32, -1),
        leaderEpoch: int32,
      }),
    }),
  },
)
export type OffsetForLeaderEpochRequest = Value<typeof OffsetForLeaderEpochRequest.fields>

const epochEndOffset = {
  errorCode: int16,
  partition: int32,
  leaderEpoch: withDefault(int32, -1),
  endOffset: withDefault(int64, -1),
}
export type EpochEndOffset = Value<typeof epochEndOffset>

/** The epoch found and its end offset (exclusive) by partition. */
export const OffsetForLeaderEpochResponse = message(
  'OffsetForLeaderEpochResponse',
  { apiKey: 23, versions: '2-4', flexible: '4+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    topics: array({
      topic: string,
      partitions: array(epochEndOffset),
    }),
  },
)
export type OffsetForLeaderEpochResponse = Value<typeof OffsetForLeaderEpochResponse.fields>
