// ListOffsets (key 2): the offset for a timestamp, or for the earliest or latest record.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, int64, message, since, string, type Value, withDefault } from '../schema.ts'

/** A timestamp by partition; -1 latest, -2 earliest, -3 of the largest timestamp, -4 to -6 for tiered logs. */
export const ListOffsetsRequest = message(
  'ListOffsetsRequest',
  { apiKey: 2, versions: '1-11', flexible: '6+' },
  {
    replicaId: int32,
    isolationLevel: since('2+', int8),
    topics: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
        currentLeaderEpoch: since('4+', int32, -1),
        timestamp: int64,
      }),
    }),
    timeoutMs: since('10+', int32),
  },
)
export type ListOffsetsRequest = Value<typeof ListOffsetsRequest.fields>

const listOffsetsPartitionResponse = {
  partitionIndex: int32,
  errorCode: int16,
  timestamp: withDefault(int64, -1),
  offset: withDefault(int64, -1),
  leaderEpoch: since('4+', int32, -1),
}
export type ListOffsetsPartitionResponse = Value<typeof listOffsetsPartitionResponse>

/** Offset, timestamp and leader epoch by partition. */
export const ListOffsetsResponse = message(
  'ListOffsetsResponse',
  { apiKey: 2, versions: '1-11', flexible: '6+' },
  {
    throttleTimeMs: since('2+', int32),
    topics: array({
      name: string,
      partitions: array(listOffsetsPartitionResponse),
    }),
  },
)
export type ListOffsetsResponse = Value<typeof ListOffsetsResponse.fields>
