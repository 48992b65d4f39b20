// LeaveGroup (key 13): leave a classic group.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

/** One member in line up to version 2, several in `members` from version 3. */
export const LeaveGroupRequest = message(
  'LeaveGroupRequest',
  { apiKey: 13, versions: '0-5', flexible: '4+' },
  {
    groupId: string,
    memberId: since('0-2', string),
    members: since(
      '3+',
      array({
        memberId: string,
        groupInstanceId: withDefault(nullable(string), null),
        reason: since('5+', nullable(string), null),
      }),
    ),
  },
)
export type LeaveGroupRequest = Value<typeof LeaveGroupRequest.fields>

/** An error by member from version 3. */
export const LeaveGroupResponse = message(
  'LeaveGroupResponse',
  { apiKey: 13, versions: '0-5', flexible: '4+' },
  {
    throttleTimeMs: since('1+', int32),
    errorCode: int16,
    members: since(
      '3+',
      array({
        memberId: string,
        groupInstanceId: nullable(string),
        errorCode: int16,
      }),
    ),
  },
)
export type LeaveGroupResponse = Value<typeof LeaveGroupResponse.fields>
