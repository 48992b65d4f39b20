// LeaveGroup: members leave a classic group, or an administrator removes static ones by their instance.

import type { ErrorCode } from '../../protocol/errors.ts'
import { LeaveGroupRequest, LeaveGroupResponse } from '../../protocol/messages/leave-group.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Api } from './api.ts'
import { askCoordinatorOfNamed } from './coordinated.ts'

type Response = Input<typeof LeaveGroupResponse.fields>

const SEVERAL_MEMBERS_SINCE = 3

export const leaveGroup: Api<LeaveGroupRequest, Response> = {
  request: LeaveGroupRequest,
  response: LeaveGroupResponse,
  handle(shard, call, request) {
    return askCoordinatorOfNamed(shard, leaveGroup, call, request, refused)
  },
  async serve(shard, call, request) {
    const isSingle = call.version < SEVERAL_MEMBERS_SINCE
    const asked = isSingle ? [{ memberId: request.memberId, groupInstanceId: null }] : request.members
    const members = asked.map(({ memberId, groupInstanceId }) => ({ memberId, groupInstanceId }))
    const answer = await shard.coordinator.leave(request.groupId, members)
    if (isSingle) return refused(answer.members[0]?.error ?? answer.error)
    return {
      throttleTimeMs: 0,
      errorCode: answer.error,
      members: answer.members.map(({ memberId, groupInstanceId, error }) => ({
        memberId,
        groupInstanceId,
        errorCode: error,
      })),
    }
  },
}

function refused(errorCode: ErrorCode): Response {
  return { throttleTimeMs: 0, errorCode, members: [] }
}
