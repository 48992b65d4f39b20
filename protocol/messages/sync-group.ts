// SyncGroup (key 14): hand in and receive the assignment of a classic group.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bytes, int16, int32, message, nullable, since, string, type Value } from '../schema.ts'

/** From the leader the assignment of every member, from the others none. */
export const SyncGroupRequest = message(
  'SyncGroupRequest',
  { apiKey: 14, versions: '0-5', flexible: '4+' },
  {
    groupId: string,
    generationId: int32,
    memberId: string,
    groupInstanceId: since('3+', nullable(string), null),
    protocolType: since('5+', nullable(string), null),
    protocolName: since('5+', nullable(string), null),
    assignments: array({
      memberId: string,
      assignment: bytes,
    }),
  },
)
export type SyncGroupRequest = Value<typeof SyncGroupRequest.fields>

/** The assignment of this member. */
export const SyncGroupResponse = message(
  'SyncGroupResponse',
  { apiKey: 14, versions: '0-5', flexible: '4+' },
  {
    throttleTimeMs: since('1+', int32),
    errorCode: int16,
    protocolType: since('5+', nullable(string), null),
    protocolName: since('5+', nullable(string), null),
    assignment: bytes,
  },
)
export type SyncGroupResponse = Value<typeof SyncGroupResponse.fields>
