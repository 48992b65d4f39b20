// DeleteAcls (key 31): remove ACLs that match filters.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** The filters. */
export const DeleteAclsRequest = message(
  'DeleteAclsRequest',
  { apiKey: 31, versions: '1-3', flexible: '2+' },
  {
    filters: array({
      resourceTypeFilter: int8,
      resourceNameFilter: nullable(string),
      patternTypeFilter: withDefault(int8, 3),
      principalFilter: nullable(string),
      hostFilter: nullable(string),
      operation: int8,
      permissionType: int8,
    }),
  },
)
export type DeleteAclsRequest = Value<typeof DeleteAclsRequest.fields>

const deleteAclsMatchingAcl = {
  errorCode: int16,
  errorMessage: nullable(string),
  resourceType: int8,
  resourceName: string,
  patternType: withDefault(int8, 3),
  principal: string,
  host: string,
  operation: int8,
  permissionType: int8,
}
export type DeleteAclsMatchingAcl = Value<typeof deleteAclsMatchingAcl>

const deleteAclsFilterResult = {
  errorCode: int16,
  errorMessage: nullable(string),
  matchingAcls: array(deleteAclsMatchingAcl),
}
export type DeleteAclsFilterResult = Value<typeof deleteAclsFilterResult>

/** What each filter removed, in request order. */
export const DeleteAclsResponse = message(
  'DeleteAclsResponse',
  { apiKey: 31, versions: '1-3', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    filterResults: array(deleteAclsFilterResult),
  },
)
export type DeleteAclsResponse = Value<typeof DeleteAclsResponse.fields>
