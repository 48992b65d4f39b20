// DescribeGroups: state, protocol and members of classic groups.

import { ErrorCode } from '../../protocol/errors.ts'
import {
  type DescribedGroup,
  DescribeGroupsRequest,
  DescribeGroupsResponse,
} from '../../protocol/messages/describe-groups.ts'
import type { Input } from '../../protocol/schema.ts'
import type { GroupDescription } from '../groups/calls.ts'
import { GroupState } from '../groups/classic-events.ts'
import type { Api } from './api.ts'
import { GROUP_OPERATIONS, OPERATIONS_NOT_ASKED } from './authorized-operations.ts'
import { perCoordinator } from './coordinated.ts'

type Response = Input<typeof DescribeGroupsResponse.fields>
type Described = Response['groups'][number]

/** From here on an unknown group is an error; before, it is described as dead. */
const SAYS_NOT_FOUND_SINCE = 6

export const describeGroups: Api<DescribeGroupsRequest, Response> = {
  request: DescribeGroupsRequest,
  response: DescribeGroupsResponse,
  async handle(shard, call, request) {
    const groups = await perCoordinator<string, Described>(
      shard,
      request.groups,
      (groupId) => groupId,
      (groupId) => refused(groupId, ErrorCode.NOT_COORDINATOR),
      async (owner, groups) => (await shard.ask(owner, describeGroups, call, { ...request, groups })).groups,
    )
    return { throttleTimeMs: 0, groups }
  },
  serve(shard, call, request) {
    const operations = request.includeAuthorizedOperations ? GROUP_OPERATIONS : OPERATIONS_NOT_ASKED
    const groups = request.groups.map((groupId) => {
      const description = shard.coordinator.describe(groupId)
      if (typeof description === 'object') return described(groupId, description, operations)
      if (description !== ErrorCode.GROUP_ID_NOT_FOUND) return refused(groupId, description)
      return call.version >= SAYS_NOT_FOUND_SINCE ? notFound(groupId) : dead(groupId, operations)
    })
    return { throttleTimeMs: 0, groups }
  },
}

function described(groupId: string, group: GroupDescription, authorizedOperations: number): DescribedGroup {
  return {
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    groupId,
    groupState: group.state,
    protocolType: group.protocolType,
    protocolData: group.protocolData,
    members: group.members.map((member) => ({ ...member })),
    authorizedOperations,
  }
}

function refused(groupId: string, errorCode: ErrorCode): DescribedGroup {
  return {
    errorCode,
    errorMessage: null,
    groupId,
    groupState: '',
    protocolType: '',
    protocolData: '',
    members: [],
    authorizedOperations: OPERATIONS_NOT_ASKED,
  }
}

function notFound(groupId: string): DescribedGroup {
  const group = refused(groupId, ErrorCode.GROUP_ID_NOT_FOUND)
  return { ...group, errorMessage: `Group ${groupId} not found.`, groupState: GroupState.dead }
}

function dead(groupId: string, authorizedOperations: number): DescribedGroup {
  return { ...refused(groupId, ErrorCode.NONE), groupState: GroupState.dead, authorizedOperations }
}
