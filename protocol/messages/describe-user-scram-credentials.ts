// DescribeUserScramCredentials (key 50): which SCRAM credentials users have.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Users; null for all. */
export const DescribeUserScramCredentialsRequest = message(
  'DescribeUserScramCredentialsRequest',
  { apiKey: 50, versions: '0', flexible: '0+' },
  {
    users: nullable(
      array({
        name: string,
      }),
    ),
  },
)
export type DescribeUserScramCredentialsRequest = Value<typeof DescribeUserScramCredentialsRequest.fields>

/** Mechanisms and iterations by user, never the credentials. */
export const DescribeUserScramCredentialsResponse = message(
  'DescribeUserScramCredentialsResponse',
  { apiKey: 50, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: nullable(string),
    results: array({
      user: string,
      errorCode: int16,
      errorMessage: nullable(string),
      credentialInfos: array({
        mechanism: int8,
        iterations: int32,
      }),
    }),
  },
)
export type DescribeUserScramCredentialsResponse = Value<typeof DescribeUserScramCredentialsResponse.fields>
