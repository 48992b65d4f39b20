// SaslAuthenticate (key 36): one exchange of SASL tokens.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { bytes, int16, int64, message, nullable, since, string, type Value } from '../schema.ts'

/** A token of the client. */
export const SaslAuthenticateRequest = message(
  'SaslAuthenticateRequest',
  { apiKey: 36, versions: '0-2', flexible: '2+' },
  {
    authBytes: bytes,
  },
)
export type SaslAuthenticateRequest = Value<typeof SaslAuthenticateRequest.fields>

/** A token of the server; from version 1 how long the login lasts. */
export const SaslAuthenticateResponse = message(
  'SaslAuthenticateResponse',
  { apiKey: 36, versions: '0-2', flexible: '2+' },
  {
    errorCode: int16,
    errorMessage: nullable(string),
    authBytes: bytes,
    sessionLifetimeMs: since('1+', int64),
  },
)
export type SaslAuthenticateResponse = Value<typeof SaslAuthenticateResponse.fields>
