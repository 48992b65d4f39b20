// DeleteGroups (key 42): delete groups without members.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, message, string, type Value, withDefault } from '../schema.ts'

/** Group ids. */
export const DeleteGroupsRequest = message(
  'DeleteGroupsRequest',
  { apiKey: 42, versions: '0-2', flexible: '2+' },
  {
    groupsNames: array(string),
  },
)
export type DeleteGroupsRequest = Value<typeof DeleteGroupsRequest.fields>

/** An error by group. */
export const DeleteGroupsResponse = message(
  'DeleteGroupsResponse',
  { apiKey: 42, versions: '0-2', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    results: array({
      groupId: string,
      errorCode: int16,
    }),
  },
)
export type DeleteGroupsResponse = Value<typeof DeleteGroupsResponse.fields>
