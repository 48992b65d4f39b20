// ApiVersions (key 18): what this broker serves, and its features. A client's first request.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int16, int32, int64, message, since, string, tagged, type Value } from '../schema.ts'

/** From version 3 the client tells its software. */
export const ApiVersionsRequest = message(
  'ApiVersionsRequest',
  { apiKey: 18, versions: '0-4', flexible: '3+' },
  {
    clientSoftwareName: since('3+', string),
    clientSoftwareVersion: since('3+', string),
  },
)
export type ApiVersionsRequest = Value<typeof ApiVersionsRequest.fields>

/** Version ranges by API. A version that is too new is answered in version 0 with UNSUPPORTED_VERSION. */
export const ApiVersionsResponse = message(
  'ApiVersionsResponse',
  { apiKey: 18, versions: '0-4', flexible: '3+' },
  {
    errorCode: int16,
    apiKeys: array({
      apiKey: int16,
      minVersion: int16,
      maxVersion: int16,
    }),
    throttleTimeMs: since('1+', int32),
    supportedFeatures: tagged(
      0,
      '3+',
      array({
        name: string,
        minVersion: int16,
        maxVersion: int16,
      }),
    ),
    finalizedFeaturesEpoch: tagged(1, '3+', int64, -1),
    finalizedFeatures: tagged(
      2,
      '3+',
      array({
        name: string,
        maxVersionLevel: int16,
        minVersionLevel: int16,
      }),
    ),
    zkMigrationReady: tagged(3, '3+', bool),
  },
)
export type ApiVersionsResponse = Value<typeof ApiVersionsResponse.fields>
