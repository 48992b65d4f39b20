// OffsetFetch: what groups have committed. A group that does not exist has committed nothing, which is no error.
//
// Answered by a coordinator that knows that it still is one: committed offsets never seem to move back.

import { ErrorCode } from '../../protocol/errors.ts'
import { OffsetFetchRequest, OffsetFetchResponse } from '../../protocol/messages/offset-fetch.ts'
import { type Input, ZERO_UUID } from '../../protocol/schema.ts'
import type { FetchedOffset } from '../groups/calls.ts'
import type { CommittedOffset, TopicPartition } from '../groups/offsets.ts'
import { coordinatorShard } from '../groups/routing.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'
import { perCoordinator } from './coordinated.ts'

type Response = Input<typeof OffsetFetchResponse.fields>
type Group = OffsetFetchRequest['groups'][number]
type FetchedGroup = NonNullable<Response['groups']>[number]
type FetchedPartition = FetchedGroup['topics'][number]['partitions'][number]

const SEVERAL_GROUPS_SINCE = 8
const TOPICS_BY_ID_SINCE = 10
/** From here on there is one error for the whole answer. */
const TOP_ERROR_SINCE = 2

export const offsetFetch: Api<OffsetFetchRequest, Response> = {
  request: OffsetFetchRequest,
  response: OffsetFetchResponse,
  async handle(shard, call, request) {
    if (call.version < SEVERAL_GROUPS_SINCE) {
      const owner = coordinatorShard(request.groupId, shard)
      if (owner !== undefined) return shard.ask(owner, offsetFetch, call, request)
      return singleResponse(request, call.version, refused(request.groupId, ErrorCode.NOT_COORDINATOR))
    }
    const groups = await perCoordinator<Group, FetchedGroup>(
      shard,
      request.groups,
      ({ groupId }) => groupId,
      ({ groupId }) => refused(groupId, ErrorCode.NOT_COORDINATOR),
      async (owner, groups) => (await shard.ask(owner, offsetFetch, call, { ...request, groups })).groups ?? [],
    )
    return { throttleTimeMs: 0, groups }
  },
  async serve(shard, call, request) {
    if (call.version >= SEVERAL_GROUPS_SINCE) {
      const groups = request.groups.map((group) => fetchGroup(shard, group, call.version))
      return { throttleTimeMs: 0, groups: await Promise.all(groups) }
    }
    const topics = request.topics?.map((topic) => ({ ...topic, topicId: ZERO_UUID })) ?? null
    const group = { groupId: request.groupId, memberId: null, memberEpoch: -1, topics }
    return singleResponse(request, call.version, await fetchGroup(shard, group, call.version))
  },
}

async function fetchGroup(shard: ShardContext, group: Group, version: number): Promise<FetchedGroup> {
  const { groupId } = group
  const error = await shard.coordinator.confirm(groupId)
  if (error !== ErrorCode.NONE) return refused(groupId, error)
  const byId = version >= TOPICS_BY_ID_SINCE
  if (group.topics === null) {
    const fetched = shard.coordinator.fetchOffsets(groupId, null)
    return typeof fetched === 'number' ? refused(groupId, fetched) : everything(shard, groupId, fetched, byId)
  }
  const asked = group.topics.map((topic) => ({
    ...topic,
    name: byId ? shard.image.topicById(topic.topicId)?.name : topic.name,
  }))
  const wanted: TopicPartition[] = []
  for (const { name, partitionIndexes } of asked) {
    if (name !== undefined) for (const partition of partitionIndexes) wanted.push({ topic: name, partition })
  }
  const fetched = shard.coordinator.fetchOffsets(groupId, wanted)
  if (typeof fetched === 'number') return refused(groupId, fetched)
  const next = fetched.values()
  const topics = asked.map(({ name, topicId, partitionIndexes }) => ({
    name: name ?? '',
    topicId,
    partitions: partitionIndexes.map((partition) =>
      name === undefined
        ? fetchedPartition(partition, undefined, ErrorCode.UNKNOWN_TOPIC_ID)
        : fetchedPartition(partition, next.next().value?.committed),
    ),
  }))
  return { groupId, topics, errorCode: ErrorCode.NONE }
}

function everything(
  shard: ShardContext,
  groupId: string,
  fetched: readonly FetchedOffset[],
  byId: boolean,
): FetchedGroup {
  const partitionsByTopic = new Map<string, FetchedPartition[]>()
  for (const { topic, partition, committed } of fetched) {
    const answer = fetchedPartition(partition, committed)
    const partitions = partitionsByTopic.get(topic)
    if (partitions === undefined) partitionsByTopic.set(topic, [answer])
    else partitions.push(answer)
  }
  const topics: FetchedGroup['topics'][number][] = []
  for (const [name, partitions] of partitionsByTopic) {
    const topicId = shard.image.topicByName(name)?.topicId
    // A topic that is gone has no id to be called by.
    if (!byId || topicId !== undefined) topics.push({ name, topicId: topicId ?? ZERO_UUID, partitions })
  }
  return { groupId, topics, errorCode: ErrorCode.NONE }
}

function fetchedPartition(
  partitionIndex: number,
  committed: CommittedOffset | undefined,
  errorCode: ErrorCode = ErrorCode.NONE,
): FetchedPartition {
  return {
    partitionIndex,
    committedOffset: committed?.offset ?? -1,
    committedLeaderEpoch: committed?.leaderEpoch ?? -1,
    metadata: committed?.metadata ?? '',
    errorCode,
  }
}

function refused(groupId: string, errorCode: ErrorCode): FetchedGroup {
  return { groupId, topics: [], errorCode }
}

/** The answer about one group as versions 1-7 give it. */
function singleResponse(request: OffsetFetchRequest, version: number, group: FetchedGroup): Response {
  const errorCode = group.errorCode as ErrorCode
  if (errorCode === ErrorCode.NONE || version >= TOP_ERROR_SINCE) {
    return {
      throttleTimeMs: 0,
      topics: group.topics.map(({ name, partitions }) => ({ name: name ?? '', partitions })),
      errorCode,
    }
  }
  const topics = request.topics ?? []
  return {
    throttleTimeMs: 0,
    topics: topics.map(({ name, partitionIndexes }) => ({
      name,
      partitions: partitionIndexes.map((partition) => fetchedPartition(partition, undefined, errorCode)),
    })),
  }
}
