// ListPartitionReassignments (key 46): replica moves in progress.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Partitions; null for all. */
export const ListPartitionReassignmentsRequest = message(
  'ListPartitionReassignmentsRequest',
  { apiKey: 46, versions: '0', flexible: '0+' },
  {
    timeoutMs: withDefault(int32, 60_000),
    topics: withDefault(
      nullable(
        array({
          name: string,
          partitionIndexes: array(int32),
        }),
      ),
      null,
    ),
  },
)
export type ListPartitionReassignmentsRequest = Value<typeof ListPartitionReassignmentsRequest.fields>

const ongoingPartitionReassignment = {
  partitionIndex: int32,
  replicas: array(int32),
  addingReplicas: array(int32),
  removingReplicas: array(int32),
}
export type OngoingPartitionReassignment = Value<typeof ongoingPartitionReassignment>

/** Moves by partition. */
export const ListPartitionReassignmentsResponse = message(
  'ListPartitionReassignmentsResponse',
  { apiKey: 46, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: nullable(string),
    topics: array({
      name: string,
      partitions: array(ongoingPartitionReassignment),
    }),
  },
)
export type ListPartitionReassignmentsResponse = Value<typeof ListPartitionReassignmentsResponse.fields>
