// ElectLeaders: gives partitions back to the first broker of their replica list.
//
// Handled on the connection's shard, served on the shard that leads the partition: a leader hands over by itself, so nothing is
// lost and nobody is asked to vote against it. An unclean election has nothing to do here: a group with a majority of its
// replicas elects by itself, and one without could only lose what was acknowledged.

import { ApiKey } from '../../protocol/api.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import { ElectLeadersRequest, ElectLeadersResponse } from '../../protocol/messages/elect-leaders.ts'
import type { PartitionImage } from '../cluster/metadata.ts'
import { BrokerUnreachable, type ShardContext } from '../shard/context.ts'
import { shardOf } from '../shard/placement.ts'
import type { Api, CallContext } from './api.ts'

const ElectionType = { PREFERRED: 0, UNCLEAN: 1 } as const
/** In which the handler asks leaders, whatever the client speaks. */
const OWN_VERSION = 2

interface Outcome {
  readonly errorCode: ErrorCode
  readonly errorMessage: string | null
}

/** One partition of the answer; `outcome` is missing until its leader has said how it went. */
interface Election {
  readonly topic: string
  readonly partitionId: number
  outcome: Outcome | undefined
  readonly leads: PartitionImage | undefined
}

const DONE: Outcome = { errorCode: ErrorCode.NONE, errorMessage: null }
const NOT_NEEDED: Outcome = {
  errorCode: ErrorCode.ELECTION_NOT_NEEDED,
  errorMessage: 'Leader election not needed for topic partition.',
}
const PREFERRED_NOT_AVAILABLE: Outcome = {
  errorCode: ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
  errorMessage: 'The preferred leader was not available.',
}
const NONE_ELIGIBLE: Outcome = {
  errorCode: ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
  errorMessage: 'Eligible topic partition leaders are not available.',
}

export const electLeaders: Api<ElectLeadersRequest, ElectLeadersResponse> = {
  request: ElectLeadersRequest,
  response: ElectLeadersResponse,
  async handle(shard, call, request) {
    const { electionType, topicPartitions } = request
    if (electionType !== ElectionType.PREFERRED && electionType !== ElectionType.UNCLEAN) return unknownType(request)
    const asked =
      topicPartitions ??
      [...shard.image.topics()].map(({ name, partitions }) => ({
        topic: name,
        partitions: partitions.map(({ partition }) => partition),
      }))
    const elections = asked.map(({ topic, partitions }) => ({
      topic,
      elections: partitions.map((partitionId) => judged(shard, topic, partitionId, electionType)),
    }))
    await runElections(
      shard,
      call,
      elections.flatMap(({ elections }) => elections),
      request.timeoutMs,
    )
    return {
      throttleTimeMs: 0,
      errorCode: ErrorCode.NONE,
      replicaElectionResults: elections.map(({ topic, elections }) => ({
        topic,
        partitionResult: elections
          // Who asks for all does not want to read about those that are as they should be.
          .filter(({ outcome }) => topicPartitions !== null || outcome !== NOT_NEEDED)
          .map(({ partitionId, outcome }) => ({ partitionId, ...(outcome ?? PREFERRED_NOT_AVAILABLE) })),
      })),
    }
  },
  async serve(shard, _call, request) {
    const answered = (request.topicPartitions ?? []).map(async ({ topic, partitions }) => ({
      topic,
      partitionResult: await Promise.all(
        partitions.map(async (partitionId) => ({ partitionId, ...(await transferred(shard, topic, partitionId)) })),
      ),
    }))
    return { throttleTimeMs: 0, errorCode: ErrorCode.NONE, replicaElectionResults: await Promise.all(answered) }
  },
}

function unknownType({ electionType, topicPartitions }: ElectLeadersRequest): ElectLeadersResponse {
  const errorMessage = `Unknown election type ${electionType}`
  return {
    throttleTimeMs: 0,
    errorCode: ErrorCode.INVALID_REQUEST,
    replicaElectionResults: (topicPartitions ?? []).map(({ topic, partitions }) => ({
      topic,
      partitionResult: partitions.map((partitionId) => {
        return { partitionId, errorCode: ErrorCode.INVALID_REQUEST, errorMessage }
      }),
    })),
  }
}

/** What can be said without asking the leader. */
function judged(shard: ShardContext, topic: string, partitionId: number, electionType: number): Election {
  const partitions = shard.image.topicByName(topic)?.partitions
  const leads = partitions?.[partitionId]
  const known = (outcome: Outcome): Election => ({ topic, partitionId, outcome, leads: undefined })
  if (leads === undefined) {
    const errorMessage =
      partitions === undefined ? `No such topic as ${topic}` : `No such partition as ${topic}-${partitionId}`
    return known({ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, errorMessage })
  }
  const { leader, replicas, isr } = leads
  const preferred = replicas[0] ?? -1
  const hasLeader = leader >= 0 && shard.isAlive(leader)
  if (electionType === ElectionType.UNCLEAN) return known(hasLeader ? NOT_NEEDED : NONE_ELIGIBLE)
  if (hasLeader && leader === preferred) return known(NOT_NEEDED)
  if (!hasLeader || !shard.isAlive(preferred) || !isr.includes(preferred)) return known(PREFERRED_NOT_AVAILABLE)
  return { topic, partitionId, outcome: undefined, leads }
}

/** Asks every leader once for all of its partitions that are to move. */
async function runElections(
  shard: ShardContext,
  call: CallContext,
  elections: readonly Election[],
  timeoutMs: number,
): Promise<void> {
  const byOwner = new Map<string, { nodeId: number; shardId: number; elections: Election[] }>()
  for (const election of elections) {
    if (election.leads === undefined) continue
    const { leader: nodeId, groupId } = election.leads
    const shardCount = nodeId === shard.config.nodeId ? shard.shardCount : shard.image.broker(nodeId)?.shardCount
    const shardId = shardOf(groupId, shardCount ?? 1)
    const key = `${nodeId}/${shardId}`
    const owner = byOwner.get(key)
    if (owner === undefined) byOwner.set(key, { nodeId, shardId, elections: [election] })
    else owner.elections.push(election)
  }
  const ownCall = { ...call, apiKey: ApiKey.ElectLeaders, version: OWN_VERSION }
  await Promise.all(
    [...byOwner.values()].map(async ({ nodeId, shardId, elections }) => {
      const request: ElectLeadersRequest = {
        electionType: ElectionType.PREFERRED,
        topicPartitions: elections.map(({ topic, partitionId }) => ({ topic, partitions: [partitionId] })),
        timeoutMs,
      }
      let answer: ElectLeadersResponse
      try {
        answer = await shard.askBroker(nodeId, shardId, electLeaders, ownCall, request)
      } catch (error) {
        if (!(error instanceof BrokerUnreachable)) throw error
        return
      }
      elections.forEach((election, at) => {
        const result = answer.replicaElectionResults[at]?.partitionResult[0]
        if (result === undefined) return
        election.outcome = { errorCode: result.errorCode as ErrorCode, errorMessage: result.errorMessage }
      })
    }),
  )
}

async function transferred(shard: ShardContext, topic: string, partitionId: number): Promise<Outcome> {
  const image = shard.image.topicByName(topic)?.partitions[partitionId]
  const partition = image === undefined ? undefined : shard.partition(image.groupId)
  if (image === undefined || partition === undefined) {
    return {
      errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      errorMessage: `No such partition as ${topic}-${partitionId}`,
    }
  }
  const preferred = image.replicas[0] ?? -1
  if (preferred === shard.config.nodeId && partition.isLeader) return DONE
  const errorCode = await partition.transferLeadership(preferred)
  return errorCode === ErrorCode.NONE ? DONE : { errorCode, errorMessage: null }
}
