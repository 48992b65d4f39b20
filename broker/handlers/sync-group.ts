// SyncGroup: the leader of a classic group hands in the assignment, every member gets its part.

import { ErrorCode } from '../../protocol/errors.ts'
import { SyncGroupRequest, SyncGroupResponse } from '../../protocol/messages/sync-group.ts'
import type { Input } from '../../protocol/schema.ts'
import { NO_BYTES } from '../groups/members.ts'
import type { Api } from './api.ts'
import { askCoordinatorOfNamed } from './coordinated.ts'

type Response = Input<typeof SyncGroupResponse.fields>

/** From here on a member has to say which protocol it thinks was chosen. */
const NAMES_PROTOCOL_SINCE = 5

export const syncGroup: Api<SyncGroupRequest, Response> = {
  request: SyncGroupRequest,
  response: SyncGroupResponse,
  handle(shard, call, request) {
    const lacksProtocol = request.protocolType === null || request.protocolName === null
    if (request.groupId !== '' && call.version >= NAMES_PROTOCOL_SINCE && lacksProtocol) {
      return refused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    }
    return askCoordinatorOfNamed(shard, syncGroup, call, request, refused)
  },
  async serve(shard, _call, request) {
    const { error, ...answer } = await shard.coordinator.sync(request)
    return { throttleTimeMs: 0, errorCode: error, ...answer }
  },
}

function refused(errorCode: ErrorCode): Response {
  return { throttleTimeMs: 0, errorCode, protocolType: null, protocolName: null, assignment: NO_BYTES }
}
