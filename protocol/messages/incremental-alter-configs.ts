// IncrementalAlterConfigs (key 44): set, delete, append to or subtract from single configs.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Operations by config: 0 set, 1 delete, 2 append, 3 subtract. */
export const IncrementalAlterConfigsRequest = message(
  'IncrementalAlterConfigsRequest',
  { apiKey: 44, versions: '0-1', flexible: '1+' },
  {
    resources: array({
      resourceType: int8,
      resourceName: string,
      configs: array({
        name: string,
        configOperation: int8,
        value: nullable(string),
      }),
    }),
    validateOnly: bool,
  },
)
export type IncrementalAlterConfigsRequest = Value<typeof IncrementalAlterConfigsRequest.fields>

/** An error by resource. */
export const IncrementalAlterConfigsResponse = message(
  'IncrementalAlterConfigsResponse',
  { apiKey: 44, versions: '0-1', flexible: '1+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    responses: array({
      errorCode: int16,
      errorMessage: nullable(string),
      resourceType: int8,
      resourceName: string,
    }),
  },
)
export type IncrementalAlterConfigsResponse = Value<typeof IncrementalAlterConfigsResponse.fields>
