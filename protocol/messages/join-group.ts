// JoinGroup (key 11): join a classic consumer group.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  bool,
  bytes,
  int16,
  int32,
  message,
  nullable,
  since,
  string,
  type Value,
  withDefault,
} from '../schema.ts'

/** The protocols a member offers, in its order of preference. */
export const JoinGroupRequest = message(
  'JoinGroupRequest',
  { apiKey: 11, versions: '0-9', flexible: '6+' },
  {
    groupId: string,
    sessionTimeoutMs: int32,
    rebalanceTimeoutMs: since('1+', int32, -1),
    memberId: string,
    groupInstanceId: since('5+', nullable(string), null),
    protocolType: string,
    protocols: array({
      name: string,
      metadata: bytes,
    }),
    reason: since('8+', nullable(string), null),
  },
)
export type JoinGroupRequest = Value<typeof JoinGroupRequest.fields>

/** Generation, chosen protocol, and to the leader alone the members. */
export const JoinGroupResponse = message(
  'JoinGroupResponse',
  { apiKey: 11, versions: '0-9', flexible: '6+' },
  {
    throttleTimeMs: since('2+', int32),
    errorCode: int16,
    generationId: withDefault(int32, -1),
    protocolType: since('7+', nullable(string), null),
    protocolName: nullable(string, '7+'),
    leader: string,
    skipAssignment: since('9+', bool),
    memberId: string,
    members: array({
      memberId: string,
      groupInstanceId: since('5+', nullable(string), null),
      metadata: bytes,
    }),
  },
)
export type JoinGroupResponse = Value<typeof JoinGroupResponse.fields>
