// DeleteGroups: removes groups without members, and what they have committed.

import { ErrorCode } from '../../protocol/errors.ts'
import { DeleteGroupsRequest, DeleteGroupsResponse } from '../../protocol/messages/delete-groups.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Api } from './api.ts'
import { perCoordinator } from './coordinated.ts'

type Response = Input<typeof DeleteGroupsResponse.fields>

export const deleteGroups: Api<DeleteGroupsRequest, Response> = {
  request: DeleteGroupsRequest,
  response: DeleteGroupsResponse,
  async handle(shard, call, request) {
    const results = await perCoordinator<string, Response['results'][number]>(
      shard,
      [...new Set(request.groupsNames)],
      (groupId) => groupId,
      (groupId) => ({ groupId, errorCode: ErrorCode.NOT_COORDINATOR }),
      async (owner, groupsNames) => (await shard.ask(owner, deleteGroups, call, { groupsNames })).results,
    )
    return { throttleTimeMs: 0, results }
  },
  async serve(shard, _call, request) {
    const results = await Promise.all(
      request.groupsNames.map(async (groupId) => ({
        groupId,
        errorCode: await shard.coordinator.deleteGroup(groupId),
      })),
    )
    return { throttleTimeMs: 0, results }
  },
}
