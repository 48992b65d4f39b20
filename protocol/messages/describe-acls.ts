// DescribeAcls (key 29): list ACLs that match a filter.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, message, nullable, string, type Value, withDefault } from '../schema.ts'

/** The filter. */
export const DescribeAclsRequest = message(
  'DescribeAclsRequest',
  { apiKey: 29, versions: '1-3', flexible: '2+' },
  {
    resourceTypeFilter: int8,
    resourceNameFilter: nullable(string),
    patternTypeFilter: withDefault(int8, 3),
    principalFilter: nullable(string),
    hostFilter: nullable(string),
    operation: int8,
    permissionType: int8,
  },
)
export type DescribeAclsRequest = Value<typeof DescribeAclsRequest.fields>

const aclDescription = {
  principal: string,
  host: string,
  operation: int8,
  permissionType: int8,
}
export type AclDescription = Value<typeof aclDescription>

const describeAclsResource = {
  resourceType: int8,
  resourceName: string,
  patternType: withDefault(int8, 3),
  acls: array(aclDescription),
}
export type DescribeAclsResource = Value<typeof describeAclsResource>

/** ACLs by resource. */
export const DescribeAclsResponse = message(
  'DescribeAclsResponse',
  { apiKey: 29, versions: '1-3', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: nullable(string),
    resources: array(describeAclsResource),
  },
)
export type DescribeAclsResponse = Value<typeof DescribeAclsResponse.fields>
