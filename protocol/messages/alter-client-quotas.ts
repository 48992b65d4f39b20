// AlterClientQuotas (key 49): set and remove quotas.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, float64, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Operations by entity. */
export const AlterClientQuotasRequest = message(
  'AlterClientQuotasRequest',
  { apiKey: 49, versions: '0-1', flexible: '1+' },
  {
    entries: array({
      entity: array({
        entityType: string,
        entityName: nullable(string),
      }),
      ops: array({
        key: string,
        value: float64,
        remove: bool,
      }),
    }),
    validateOnly: bool,
  },
)
export type AlterClientQuotasRequest = Value<typeof AlterClientQuotasRequest.fields>

/** An error by entity. */
export const AlterClientQuotasResponse = message(
  'AlterClientQuotasResponse',
  { apiKey: 49, versions: '0-1', flexible: '1+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    entries: array({
      errorCode: int16,
      errorMessage: nullable(string),
      entity: array({
        entityType: string,
        entityName: nullable(string),
      }),
    }),
  },
)
export type AlterClientQuotasResponse = Value<typeof AlterClientQuotasResponse.fields>
