// CreatePartitions (key 37): add partitions to topics.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** The new partition count by topic. */
export const CreatePartitionsRequest = message(
  'CreatePartitionsRequest',
  { apiKey: 37, versions: '0-3', flexible: '2+' },
  {
    topics: array({
      name: string,
      count: int32,
      assignments: nullable(
        array({
          brokerIds: array(int32),
        }),
      ),
    }),
    timeoutMs: int32,
    validateOnly: bool,
  },
)
export type CreatePartitionsRequest = Value<typeof CreatePartitionsRequest.fields>

/** An error by topic. */
export const CreatePartitionsResponse = message(
  'CreatePartitionsResponse',
  { apiKey: 37, versions: '0-3', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    results: array({
      name: string,
      errorCode: int16,
      errorMessage: withDefault(nullable(string), null),
    }),
  },
)
export type CreatePartitionsResponse = Value<typeof CreatePartitionsResponse.fields>
