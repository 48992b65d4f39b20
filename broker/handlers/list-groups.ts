// ListGroups: the groups this broker coordinates, on all its shards.

import { ErrorCode } from '../../protocol/errors.ts'
import { ListGroupsRequest, ListGroupsResponse } from '../../protocol/messages/list-groups.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Api } from './api.ts'

type Response = Input<typeof ListGroupsResponse.fields>

const CLASSIC = 'classic'

export const listGroups: Api<ListGroupsRequest, Response> = {
  request: ListGroupsRequest,
  response: ListGroupsResponse,
  async handle(shard, call, request) {
    const shards = Array.from({ length: shard.shardCount }, (_, shardId) => shardId)
    const parts = await Promise.all(shards.map((shardId) => shard.ask(shardId, listGroups, call, request)))
    const failed = parts.find(({ errorCode }) => errorCode !== ErrorCode.NONE)
    if (failed !== undefined) return { throttleTimeMs: 0, errorCode: failed.errorCode, groups: [] }
    return { throttleTimeMs: 0, errorCode: ErrorCode.NONE, groups: parts.flatMap(({ groups }) => groups) }
  },
  serve(shard, _call, request) {
    const listed = shard.coordinator.list()
    if (typeof listed === 'number') return { throttleTimeMs: 0, errorCode: listed, groups: [] }
    const passes = filterOf(request.statesFilter)
    const groups = filterOf(request.typesFilter)(CLASSIC) ? listed.filter(({ state }) => passes(state)) : []
    return {
      throttleTimeMs: 0,
      errorCode: ErrorCode.NONE,
      groups: groups.map(({ groupId, protocolType, state }) => ({
        groupId,
        protocolType,
        groupState: state,
        groupType: CLASSIC,
      })),
    }
  },
}

/** No values: everything passes. Unknown values let nothing pass, which is no error. */
function filterOf(values: readonly string[]): (value: string) => boolean {
  const wanted = new Set(values.map((value) => value.toLowerCase()))
  return (value) => wanted.size === 0 || wanted.has(value.toLowerCase())
}
