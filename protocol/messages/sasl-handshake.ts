// SaslHandshake (key 17): choose the SASL mechanism of a connection. Never flexible.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, message, string, type Value } from '../schema.ts'

/** The mechanism the client wants. */
export const SaslHandshakeRequest = message(
  'SaslHandshakeRequest',
  { apiKey: 17, versions: '0-1', flexible: 'none' },
  {
    mechanism: string,
  },
)
export type SaslHandshakeRequest = Value<typeof SaslHandshakeRequest.fields>

/** The mechanisms this listener takes. */
export const SaslHandshakeResponse = message(
  'SaslHandshakeResponse',
  { apiKey: 17, versions: '0-1', flexible: 'none' },
  {
    errorCode: int16,
    mechanisms: array(string),
  },
)
export type SaslHandshakeResponse = Value<typeof SaslHandshakeResponse.fields>
