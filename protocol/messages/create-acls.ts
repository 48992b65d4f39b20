// CreateAcls (key 30): add ACLs.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** The ACLs. */
export const CreateAclsRequest = message(
  'CreateAclsRequest',
  { apiKey: 30, versions: '1-3', flexible: '2+' },
  {
    creations: array({
      resourceType: int8,
      resourceName: string,
      resourcePatternType: withDefault(int8, 3),
      principal: string,
      host: string,
      operation: int8,
      permissionType: int8,
    }),
  },
)
export type CreateAclsRequest = Value<typeof CreateAclsRequest.fields>

/** An error by ACL, in request order. */
export const CreateAclsResponse = message(
  'CreateAclsResponse',
  { apiKey: 30, versions: '1-3', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    results: array({
      errorCode: int16,
      errorMessage: nullable(string),
    }),
  },
)
export type CreateAclsResponse = Value<typeof CreateAclsResponse.fields>
