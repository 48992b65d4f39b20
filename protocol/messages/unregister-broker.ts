// UnregisterBroker (key 64): forget a broker that left for good.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** The broker. */
export const UnregisterBrokerRequest = message(
  'UnregisterBrokerRequest',
  { apiKey: 64, versions: '0', flexible: '0+' },
  { brokerId: int32 },
)
export type UnregisterBrokerRequest = Value<typeof UnregisterBrokerRequest.fields>

/** An error. */
export const UnregisterBrokerResponse = message(
  'UnregisterBrokerResponse',
  { apiKey: 64, versions: '0', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: nullable(string),
  },
)
export type UnregisterBrokerResponse = Value<typeof UnregisterBrokerResponse.fields>
