// AlterPartitionReassignments (key 45): set or cancel the target replicas of partitions.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int16, int32, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

/** Target replicas by partition; null cancels. */
export const AlterPartitionReassignmentsRequest = message(
  'AlterPartitionReassignmentsRequest',
  { apiKey: 45, versions: '0-1', flexible: '0+' },
  {
    timeoutMs: withDefault(int32, 60_000),
    allowReplicationFactorChange: since('1+', bool, true),
    topics: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
        replicas: withDefault(nullable(array(int32)), null),
      }),
    }),
  },
)
export type AlterPartitionReassignmentsRequest = Value<typeof AlterPartitionReassignmentsRequest.fields>

/** An error by partition. */
export const AlterPartitionReassignmentsResponse = message(
  'AlterPartitionReassignmentsResponse',
  { apiKey: 45, versions: '0-1', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    allowReplicationFactorChange: since('1+', bool, true),
    errorCode: int16,
    errorMessage: nullable(string),
    responses: array({
      name: string,
      partitions: array({
        partitionIndex: int32,
        errorCode: int16,
        errorMessage: nullable(string),
      }),
    }),
  },
)
export type AlterPartitionReassignmentsResponse = Value<typeof AlterPartitionReassignmentsResponse.fields>
