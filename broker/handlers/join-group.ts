// JoinGroup: become or stay a member of a classic group; answered when the join phase ends.

import { JoinGroupRequest, JoinGroupResponse } from '../../protocol/messages/join-group.ts'
import type { Input } from '../../protocol/schema.ts'
import { joinRefusal } from '../groups/classic.ts'
import type { JoinAnswer } from '../groups/classic-events.ts'
import type { Api } from './api.ts'
import { askCoordinatorOfNamed } from './coordinated.ts'

type Response = Input<typeof JoinGroupResponse.fields>

const REQUIRES_KNOWN_MEMBER_ID_SINCE = 4
const SKIP_ASSIGNMENT_SINCE = 9

export const joinGroup: Api<JoinGroupRequest, Response> = {
  request: JoinGroupRequest,
  response: JoinGroupResponse,
  handle(shard, call, request) {
    const refused = (error: JoinAnswer['error']) => responseOf(joinRefusal(request.memberId, error))
    return askCoordinatorOfNamed(shard, joinGroup, call, request, refused)
  },
  async serve(shard, call, request) {
    const answer = await shard.coordinator.join({
      groupId: request.groupId,
      memberId: request.memberId,
      groupInstanceId: request.groupInstanceId,
      clientId: call.clientId ?? '',
      clientHost: call.clientHost,
      sessionTimeoutMs: request.sessionTimeoutMs,
      // Version 0 knows one timeout for both.
      rebalanceTimeoutMs: call.version === 0 ? request.sessionTimeoutMs : request.rebalanceTimeoutMs,
      protocolType: request.protocolType,
      protocols: request.protocols,
      requiresKnownMemberId: call.version >= REQUIRES_KNOWN_MEMBER_ID_SINCE,
      supportsSkipAssignment: call.version >= SKIP_ASSIGNMENT_SINCE,
    })
    return responseOf(answer)
  },
}

function responseOf({ error, ...answer }: JoinAnswer): Response {
  return { throttleTimeMs: 0, errorCode: error, ...answer }
}
