// AlterUserScramCredentials (key 51): set and remove SCRAM credentials.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bytes, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** Deletions and upsertions; the password comes salted. */
export const AlterUserScramCredentialsRequest = message(
  'AlterUserScramCredentialsRequest',
  { apiKey: 51, versions: '0', flexible: '0+' },
  {
    deletions: array({
      name: string,
      mechanism: int8,
    }),
    upsertions: array({
      name: string,
      mechanism: int8,
      iterations: int32,
      salt: bytes,
      saltedPassword: bytes,
    }),
  },
)
export type AlterUserScramCredentialsRequest = Value<typeof AlterUserScramCredentialsRequest.fields>

/** An error by user. */
export const AlterUserScramCredentialsResponse = message(
  'AlterUserScramCredentialsResponse',
  { apiKey: 51, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    results: array({
      user: string,
      errorCode: int16,
      errorMessage: nullable(string),
    }),
  },
)
export type AlterUserScramCredentialsResponse = Value<typeof AlterUserScramCredentialsResponse.fields>
