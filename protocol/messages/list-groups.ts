// ListGroups (key 16): the groups of this broker.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, message, since, string, type Value } from '../schema.ts'

/** Filters by state (version 4) and type (version 5); empty for no filter. */
export const ListGroupsRequest = message(
  'ListGroupsRequest',
  { apiKey: 16, versions: '0-5', flexible: '3+' },
  {
    statesFilter: since('4+', array(string)),
    typesFilter: since('5+', array(string)),
  },
)
export type ListGroupsRequest = Value<typeof ListGroupsRequest.fields>

/** Group ids with protocol type, state and type. */
export const ListGroupsResponse = message(
  'ListGroupsResponse',
  { apiKey: 16, versions: '0-5', flexible: '3+' },
  {
    throttleTimeMs: since('1+', int32),
    errorCode: int16,
    groups: array({
      groupId: string,
      protocolType: string,
      groupState: since('4+', string),
      groupType: since('5+', string),
    }),
  },
)
export type ListGroupsResponse = Value<typeof ListGroupsResponse.fields>
