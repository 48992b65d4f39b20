// DescribeClientQuotas (key 48): read quotas that match a filter.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  bool,
  float64,
  int8,
  int16,
  int32,
  message,
  nullable,
  string,
  type Value,
  withDefault,
} from '../schema.ts'

/** The filter. */
export const DescribeClientQuotasRequest = message(
  'DescribeClientQuotasRequest',
  { apiKey: 48, versions: '0-1', flexible: '1+' },
  {
    components: array({
      entityType: string,
      matchType: int8,
      match: nullable(string),
    }),
    strict: bool,
  },
)
export type DescribeClientQuotasRequest = Value<typeof DescribeClientQuotasRequest.fields>

/** Quotas by entity. */
export const DescribeClientQuotasResponse = message(
  'DescribeClientQuotasResponse',
  { apiKey: 48, versions: '0-1', flexible: '1+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: nullable(string),
    entries: nullable(
      array({
        entity: array({
          entityType: string,
          entityName: nullable(string),
        }),
        values: array({
          key: string,
          value: float64,
        }),
      }),
    ),
  },
)
export type DescribeClientQuotasResponse = Value<typeof DescribeClientQuotasResponse.fields>
