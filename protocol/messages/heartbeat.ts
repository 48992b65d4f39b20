// Heartbeat (key 12): keep a member of a classic group alive.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { int16, int32, message, nullable, since, string, type Value } from '../schema.ts'

/** Who is alive, in which generation. */
export const HeartbeatRequest = message(
  'HeartbeatRequest',
  { apiKey: 12, versions: '0-4', flexible: '4+' },
  {
    groupId: string,
    generationId: int32,
    memberId: string,
    groupInstanceId: since('3+', nullable(string), null),
  },
)
export type HeartbeatRequest = Value<typeof HeartbeatRequest.fields>

/** NONE, or what the member must do now. */
export const HeartbeatResponse = message(
  'HeartbeatResponse',
  { apiKey: 12, versions: '0-4', flexible: '4+' },
  {
    throttleTimeMs: since('1+', int32),
    errorCode: int16,
  },
)
export type HeartbeatResponse = Value<typeof HeartbeatResponse.fields>
