// Administration of consumer groups: list, describe, committed offsets, delete.
//
// Functions over a Cluster, on the command's one thread. Groups of both protocols look alike to the caller.

import { ApiKey } from '../../../protocol/api.ts'
import { decoder } from '../../../protocol/compile.ts'
import { ErrorCode } from '../../../protocol/errors.ts'
import {
  ConsumerGroupDescribeRequest,
  ConsumerGroupDescribeResponse,
} from '../../../protocol/messages/consumer-group-describe.ts'
import { ConsumerProtocolAssignment } from '../../../protocol/messages/consumer-protocol.ts'
import { DeleteGroupsRequest, DeleteGroupsResponse } from '../../../protocol/messages/delete-groups.ts'
import { DescribeGroupsRequest, DescribeGroupsResponse } from '../../../protocol/messages/describe-groups.ts'
import { ListGroupsRequest, ListGroupsResponse } from '../../../protocol/messages/list-groups.ts'
import { OffsetCommitRequest, OffsetCommitResponse } from '../../../protocol/messages/offset-commit.ts'
import { OffsetDeleteRequest, OffsetDeleteResponse } from '../../../protocol/messages/offset-delete.ts'
import { OffsetFetchRequest, OffsetFetchResponse } from '../../../protocol/messages/offset-fetch.ts'
import { MalformedFrame, Reader } from '../../../protocol/reader.ts'
import { type Cluster, NoSuchItem, type TopicPartition } from './cluster.ts'
import type { Connection } from './connection.ts'
import { ConnectionLost, check, mayPass } from './errors.ts'
import { byTopic } from './offsets.ts'

/** Later versions name topics by id, which a topic deleted meanwhile has no name for. */
const OFFSETS_BY_NAME_VERSION_MAX = 9

export interface ListedGroup {
  readonly groupId: string
  readonly protocolType: string
  /** '' from a broker too old to say. */
  readonly state: string
  readonly type: string
}

export interface GroupMember {
  readonly memberId: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly partitions: readonly TopicPartition[]
}

export interface GroupDescription {
  readonly groupId: string
  readonly state: string
  readonly type: 'classic' | 'consumer'
  readonly protocolType: string
  /** Of the chosen assignment strategy. */
  readonly assignor: string
  readonly coordinator: string
  readonly members: readonly GroupMember[]
}

export interface CommittedOffset extends TopicPartition {
  readonly offset: number
  readonly metadata: string
}

/** The groups of every broker, by name. */
export async function listGroups(cluster: Cluster, states: readonly string[]): Promise<ListedGroup[]> {
  return cluster.attempt(async () => {
    await cluster.metadata([])
    const groups = new Map<string, ListedGroup>()
    const answers = await Promise.all(
      cluster.brokers.map(async ({ nodeId }) => {
        const connection = await cluster.node(nodeId)
        return connection.request(ListGroupsRequest, ListGroupsResponse, { statesFilter: states, typesFilter: [] })
      }),
    )
    for (const answer of answers) {
      check('cannot list the groups', answer.errorCode)
      for (const { groupId, protocolType, groupState, groupType } of answer.groups) {
        groups.set(groupId, { groupId, protocolType, state: groupState, type: groupType })
      }
    }
    return [...groups.values()].sort((left, right) => (left.groupId < right.groupId ? -1 : 1))
  })
}

/** Runs a step on a group's coordinator; one that has moved is looked up again. */
export async function onCoordinator<T>(
  cluster: Cluster,
  groupId: string,
  step: (connection: Connection) => Promise<T>,
): Promise<T> {
  return cluster.attempt(async () => {
    try {
      return await step(await cluster.coordinator(groupId))
    } catch (error) {
      if (mayPass(error) || error instanceof ConnectionLost) cluster.forgetCoordinator(groupId)
      throw error
    }
  })
}

/** Undefined when there is no such group. */
export async function describeGroup(cluster: Cluster, groupId: string): Promise<GroupDescription | undefined> {
  return onCoordinator(cluster, groupId, async (connection) => {
    const answer = await connection.request(DescribeGroupsRequest, DescribeGroupsResponse, { groups: [groupId] })
    const [group] = answer.groups
    const missing =
      group === undefined || group.errorCode === ErrorCode.GROUP_ID_NOT_FOUND || group.groupState === 'Dead'
    if (missing) return describeConsumerGroup(connection, groupId)
    check(`cannot describe group ${groupId}`, group.errorCode, group.errorMessage)
    return {
      groupId,
      state: group.groupState,
      type: 'classic',
      protocolType: group.protocolType,
      assignor: group.protocolData,
      coordinator: coordinatorName(connection),
      members: group.members.map((member) => ({
        memberId: member.memberId,
        instanceId: member.groupInstanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        partitions: group.protocolType === 'consumer' ? assignedPartitions(member.memberAssignment) : [],
      })),
    }
  })
}

/** A group of the KIP-848 protocol. */
async function describeConsumerGroup(connection: Connection, groupId: string): Promise<GroupDescription | undefined> {
  if (!connection.versions.has(ApiKey.ConsumerGroupDescribe)) return undefined
  const answer = await connection.request(ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, {
    groupIds: [groupId],
    includeAuthorizedOperations: false,
  })
  const [group] = answer.groups
  if (group === undefined || group.errorCode === ErrorCode.GROUP_ID_NOT_FOUND) return undefined
  check(`cannot describe group ${groupId}`, group.errorCode, group.errorMessage)
  return {
    groupId,
    state: group.groupState,
    type: 'consumer',
    protocolType: 'consumer',
    assignor: group.assignorName,
    coordinator: coordinatorName(connection),
    members: group.members.map((member) => ({
      memberId: member.memberId,
      instanceId: member.instanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      partitions: member.assignment.topicPartitions.flatMap(({ topicName, partitions }) =>
        partitions.map((partition) => ({ topic: topicName, partition })),
      ),
    })),
  }
}

function coordinatorName({ address }: Connection): string {
  return `${address.host}:${address.port}`
}

/** Reads the assignment of a member of a classic group; what is no assignment reads as none. */
export function assignedPartitions(assignment: Uint8Array): TopicPartition[] {
  if (assignment.length === 0) return []
  try {
    const reader = new Reader(assignment)
    const version = Math.min(reader.int16(), ConsumerProtocolAssignment.versions.last)
    const { assignedPartitions } = decoder(ConsumerProtocolAssignment, version)(reader)
    return assignedPartitions.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })))
  } catch (error) {
    if (error instanceof MalformedFrame) return []
    throw error
  }
}

/**
 * What a group has committed.
 * @param partitions null for all it has
 * @returns only partitions with an offset, by topic and partition
 */
export async function committedOffsets(
  cluster: Cluster,
  groupId: string,
  partitions: readonly TopicPartition[] | null,
): Promise<CommittedOffset[]> {
  return onCoordinator(cluster, groupId, async (connection) => {
    const topics =
      partitions === null ? null : byTopic(partitions).map(([name, partitionIndexes]) => ({ name, partitionIndexes }))
    const answer = await connection.request(
      OffsetFetchRequest,
      OffsetFetchResponse,
      { groupId, topics, groups: [{ groupId, topics }], requireStable: false },
      { versionMax: OFFSETS_BY_NAME_VERSION_MAX },
    )
    const what = `cannot read the offsets of group ${groupId}`
    check(what, answer.errorCode)
    const [group] = answer.groups
    if (group?.errorCode === ErrorCode.GROUP_ID_NOT_FOUND) return []
    if (group !== undefined) check(what, group.errorCode)
    const offsets: CommittedOffset[] = []
    for (const { name, partitions } of group?.topics ?? answer.topics) {
      for (const { partitionIndex, committedOffset, metadata, errorCode } of partitions) {
        check(what, errorCode)
        if (committedOffset < 0) continue
        offsets.push({ topic: name, partition: partitionIndex, offset: committedOffset, metadata: metadata ?? '' })
      }
    }
    return offsets.sort(byTopicAndPartition)
  })
}

export function byTopicAndPartition(left: TopicPartition, right: TopicPartition): number {
  if (left.topic !== right.topic) return left.topic < right.topic ? -1 : 1
  return left.partition - right.partition
}

/** Who commits: a member of the running generation, or, by default, nobody (allowed while the group is empty). */
export interface Committer {
  readonly generationId: number
  readonly memberId: string
}

export async function commitOffsets(
  cluster: Cluster,
  groupId: string,
  offsets: readonly (TopicPartition & { offset: number })[],
  committer: Committer = { generationId: -1, memberId: '' },
): Promise<void> {
  if (offsets.length === 0) return
  await onCoordinator(cluster, groupId, async (connection) => {
    const topics = new Map<string, { partitionIndex: number; committedOffset: number; committedMetadata: string }[]>()
    for (const { topic, partition, offset } of offsets) {
      const commit = { partitionIndex: partition, committedOffset: offset, committedMetadata: '' }
      const known = topics.get(topic)
      if (known === undefined) topics.set(topic, [commit])
      else known.push(commit)
    }
    const answer = await connection.request(
      OffsetCommitRequest,
      OffsetCommitResponse,
      {
        groupId,
        generationIdOrMemberEpoch: committer.generationId,
        memberId: committer.memberId,
        topics: [...topics].map(([name, partitions]) => ({ name, partitions })),
      },
      { versionMax: OFFSETS_BY_NAME_VERSION_MAX },
    )
    for (const { name, partitions } of answer.topics) {
      for (const { partitionIndex, errorCode } of partitions) {
        check(`cannot set the offset of group ${groupId} for ${name}, partition ${partitionIndex}`, errorCode)
      }
    }
  })
}

/** Makes a group forget its offsets for partitions. */
export async function deleteOffsets(
  cluster: Cluster,
  groupId: string,
  partitions: readonly TopicPartition[],
): Promise<void> {
  await onCoordinator(cluster, groupId, async (connection) => {
    const answer = await connection.request(OffsetDeleteRequest, OffsetDeleteResponse, {
      groupId,
      topics: byTopic(partitions).map(([name, indexes]) => ({
        name,
        partitions: indexes.map((partitionIndex) => ({ partitionIndex })),
      })),
    })
    if (answer.errorCode === ErrorCode.GROUP_ID_NOT_FOUND) throw noSuchGroup(groupId)
    check(`cannot delete offsets of group ${groupId}`, answer.errorCode)
    for (const { name, partitions } of answer.topics) {
      for (const { partitionIndex, errorCode } of partitions) {
        check(`cannot delete the offset of group ${groupId} for ${name}, partition ${partitionIndex}`, errorCode)
      }
    }
  })
}

/** @throws NoSuchItem, Refused NON_EMPTY_GROUP */
export async function deleteGroup(cluster: Cluster, groupId: string): Promise<void> {
  await onCoordinator(cluster, groupId, async (connection) => {
    const answer = await connection.request(DeleteGroupsRequest, DeleteGroupsResponse, { groupsNames: [groupId] })
    for (const { errorCode } of answer.results) {
      if (errorCode === ErrorCode.GROUP_ID_NOT_FOUND) throw noSuchGroup(groupId)
      const active = errorCode === ErrorCode.NON_EMPTY_GROUP
      check(`cannot delete group ${groupId}`, errorCode, active ? 'it has members; stop them first' : null)
    }
  })
}

export function noSuchGroup(groupId: string): NoSuchItem {
  return new NoSuchItem(`group ${groupId} does not exist`)
}
