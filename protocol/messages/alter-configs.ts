// AlterConfigs (key 33): replace the whole config of resources.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Every config a resource shall have; those left out go back to their default. */
export const AlterConfigsRequest = message(
  'AlterConfigsRequest',
  { apiKey: 33, versions: '0-2', flexible: '2+' },
  {
    resources: array({
      resourceType: int8,
      resourceName: string,
      configs: array({
        name: string,
        value: nullable(string),
      }),
    }),
    validateOnly: bool,
  },
)
export type AlterConfigsRequest = Value<typeof AlterConfigsRequest.fields>

/** An error by resource. */
export const AlterConfigsResponse = message(
  'AlterConfigsResponse',
  { apiKey: 33, versions: '0-2', flexible: '2+' },
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
export type AlterConfigsResponse = Value<typeof AlterConfigsResponse.fields>
