// DescribeGroups (key 15): state and members of classic groups.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, bytes, int16, int32, message, nullable, since, string, type Value } from '../schema.ts'

/** Group ids. */
export const DescribeGroupsRequest = message(
  'DescribeGroupsRequest',
  { apiKey: 15, versions: '0-6', flexible: '5+' },
  {
    groups: array(string),
    includeAuthorizedOperations: since('3+', bool),
  },
)
export type DescribeGroupsRequest = Value<typeof DescribeGroupsRequest.fields>

const describedGroupMember = {
  memberId: string,
  groupInstanceId: since('4+', nullable(string), null),
  clientId: string,
  clientHost: string,
  memberMetadata: bytes,
  memberAssignment: bytes,
}
export type DescribedGroupMember = Value<typeof describedGroupMember>

const describedGroup = {
  errorCode: int16,
  errorMessage: since('6+', nullable(string), null),
  groupId: string,
  groupState: string,
  protocolType: string,
  protocolData: string,
  members: array(describedGroupMember),
  authorizedOperations: since('3+', int32, -0x8000_0000),
}
export type DescribedGroup = Value<typeof describedGroup>

/** One description by group. */
export const DescribeGroupsResponse = message(
  'DescribeGroupsResponse',
  { apiKey: 15, versions: '0-6', flexible: '5+' },
  {
    throttleTimeMs: since('1+', int32),
    groups: array(describedGroup),
  },
)
export type DescribeGroupsResponse = Value<typeof DescribeGroupsResponse.fields>
