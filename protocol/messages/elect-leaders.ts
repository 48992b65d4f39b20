// ElectLeaders (key 43): elect preferred or unclean leaders.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

/** Partitions; null for all. */
export const ElectLeadersRequest = message(
  'ElectLeadersRequest',
  { apiKey: 43, versions: '0-2', flexible: '2+' },
  {
    electionType: since('1+', int8),
    topicPartitions: nullable(
      array({
        topic: string,
        partitions: array(int32),
      }),
    ),
    timeoutMs: withDefault(int32, 60_000),
  },
)
export type ElectLeadersRequest = Value<typeof ElectLeadersRequest.fields>

/** An error by partition. */
export const ElectLeadersResponse = message(
  'ElectLeadersResponse',
  { apiKey: 43, versions: '0-2', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: since('1+', int16),
    replicaElectionResults: array({
      topic: string,
      partitionResult: array({
        partitionId: int32,
        errorCode: int16,
        errorMessage: nullable(string),
      }),
    }),
  },
)
export type ElectLeadersResponse = Value<typeof ElectLeadersResponse.fields>
