// ApiVersions: what this broker serves. A client's first request, answered before anything is known about it.
//
// Answered on the connection's shard. A version that is too new is caught by the connection, which cannot decode it and sends
// apiVersionsTooNew() in version 0.

import { ApiKey, SERVED_APIS, servedApi } from '../../protocol/api.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import { ApiVersionsRequest, ApiVersionsResponse } from '../../protocol/messages/api-versions.ts'
import type { Api } from './api.ts'

/** Kafka's rule for names and versions of client software. */
const SOFTWARE = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/
/** First version in which the client tells its software. */
const SOFTWARE_SINCE = 3

/** metadata.version 3.3-IV3 to 4.3-IV0: the surface we stand for. Tools read the Kafka release from it. */
const METADATA_VERSION = { name: 'metadata.version', first: 7, last: 30 } as const

const SERVED = SERVED_APIS.map(({ apiKey, advertisedMinVersion, maxVersion }) => ({
  apiKey,
  minVersion: advertisedMinVersion,
  maxVersion,
}))

export const apiVersions: Api<ApiVersionsRequest, ApiVersionsResponse> = {
  request: ApiVersionsRequest,
  response: ApiVersionsResponse,
  handle({ image }, call, request) {
    if (
      call.version >= SOFTWARE_SINCE &&
      !(SOFTWARE.test(request.clientSoftwareName) && SOFTWARE.test(request.clientSoftwareVersion))
    ) {
      return answer(ErrorCode.INVALID_REQUEST, [], image.appliedIndex)
    }
    return answer(ErrorCode.NONE, SERVED, image.appliedIndex)
  },
}

/** The answer to a version of ApiVersions we do not know, to be written in version 0: which versions we do know. */
export function apiVersionsTooNew(): ApiVersionsResponse {
  const known = servedApi(ApiKey.ApiVersions)
  const own = { apiKey: ApiKey.ApiVersions, minVersion: known?.minVersion ?? 0, maxVersion: known?.maxVersion ?? 0 }
  return answer(ErrorCode.UNSUPPORTED_VERSION, [own], -1)
}

/**
 * @param epoch index of the metadata log the features are read at, -1 when not known
 */
function answer(errorCode: ErrorCode, apiKeys: ApiVersionsResponse['apiKeys'], epoch: number): ApiVersionsResponse {
  const { name, first, last } = METADATA_VERSION
  const isGood = errorCode === ErrorCode.NONE
  return {
    errorCode,
    apiKeys,
    throttleTimeMs: 0,
    // group.version and transaction.version are left out: clients would take KIP-848 and KIP-890 from them.
    supportedFeatures: isGood ? [{ name, minVersion: first, maxVersion: last }] : [],
    finalizedFeaturesEpoch: isGood ? epoch : -1,
    finalizedFeatures: isGood ? [{ name, maxVersionLevel: last, minVersionLevel: last }] : [],
    zkMigrationReady: false,
  }
}
