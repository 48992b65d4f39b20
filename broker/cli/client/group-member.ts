// A member of a classic consumer group: joins, leads when told to, beats its heart, leaves.
//
// Made by `consume --group`, used on its one thread. The command asks `mustRejoin` between fetches; nothing is taken away
// from it in the middle of a batch. Protocol: Kafka's classic rebalance protocol, assignment strategy "range".

import { setTimeout as sleep } from 'node:timers/promises'
import { decoder, encoder } from '../../../protocol/compile.ts'
import { ErrorCode } from '../../../protocol/errors.ts'
import {
  ConsumerProtocolAssignment,
  ConsumerProtocolSubscription,
} from '../../../protocol/messages/consumer-protocol.ts'
import { HeartbeatRequest, HeartbeatResponse } from '../../../protocol/messages/heartbeat.ts'
import { JoinGroupRequest, JoinGroupResponse } from '../../../protocol/messages/join-group.ts'
import { LeaveGroupRequest, LeaveGroupResponse } from '../../../protocol/messages/leave-group.ts'
import { SyncGroupRequest, SyncGroupResponse } from '../../../protocol/messages/sync-group.ts'
import { Reader } from '../../../protocol/reader.ts'
import type { Fields, Input, Message } from '../../../protocol/schema.ts'
import { Writer } from '../../../protocol/writer.ts'
import type { Cluster, TopicPartition } from './cluster.ts'
import { check, mayPass, Refused } from './errors.ts'
import { assignedPartitions, byTopicAndPartition, type Committer, onCoordinator } from './groups.ts'
import { byTopic } from './offsets.ts'
import { assignRanges, type Subscriber } from './range-assignor.ts'

const STRATEGY = 'range'
const PROTOCOL_TYPE = 'consumer'
/** Kafka's defaults of session.timeout.ms, max.poll.interval.ms and heartbeat.interval.ms, the second shortened. */
const SESSION_TIMEOUT_MS = 45_000
const REBALANCE_TIMEOUT_MS = 60_000
const HEARTBEAT_MS = 3000
/** What brokers of all versions can read; owned partitions are for the cooperative strategy. */
const CONSUMER_PROTOCOL_VERSION = 0
const REJOIN_MS = 100

export class GroupMember implements Committer {
  readonly #cluster: Cluster
  readonly groupId: string
  readonly #topics: readonly string[]
  memberId = ''
  generationId = -1
  mustRejoin = true
  /** What ended the membership for good, as found by a heartbeat. */
  failure: unknown
  #heartbeats: NodeJS.Timeout | undefined

  constructor(cluster: Cluster, groupId: string, topics: readonly string[]) {
    this.#cluster = cluster
    this.groupId = groupId
    this.#topics = topics
  }

  /** Joins, or joins again. @returns the partitions that are this member's now @throws Refused */
  async join(): Promise<TopicPartition[]> {
    this.#stopHeartbeats()
    for (;;) {
      const joined = await this.#joinGroup()
      const assignment = joined === undefined ? undefined : await this.#syncGroup(joined)
      if (assignment !== undefined) {
        this.mustRejoin = false
        this.#heartbeats = setInterval(() => this.#beat(), HEARTBEAT_MS)
        return assignedPartitions(assignment).sort(byTopicAndPartition)
      }
      await sleep(REJOIN_MS)
    }
  }

  /** Says goodbye, so that the others need not wait for the session to end. */
  async leave(): Promise<void> {
    this.#stopHeartbeats()
    if (this.memberId === '') return
    await onCoordinator(this.#cluster, this.groupId, (connection) =>
      connection.request(LeaveGroupRequest, LeaveGroupResponse, {
        groupId: this.groupId,
        memberId: this.memberId,
        members: [{ memberId: this.memberId, reason: 'the command ends' }],
      }),
    )
    this.memberId = ''
  }

  /** Undefined: try again. */
  async #joinGroup(): Promise<JoinGroupResponse | undefined> {
    return onCoordinator(this.#cluster, this.groupId, async (connection) => {
      const subscription = { topics: [...this.#topics].sort(), userData: null }
      const answer = await connection.request(
        JoinGroupRequest,
        JoinGroupResponse,
        {
          groupId: this.groupId,
          sessionTimeoutMs: SESSION_TIMEOUT_MS,
          rebalanceTimeoutMs: REBALANCE_TIMEOUT_MS,
          memberId: this.memberId,
          protocolType: PROTOCOL_TYPE,
          protocols: [{ name: STRATEGY, metadata: versioned(ConsumerProtocolSubscription, subscription) }],
        },
        { timeoutMs: REBALANCE_TIMEOUT_MS + this.#cluster.timeoutMs },
      )
      if (answer.errorCode === ErrorCode.MEMBER_ID_REQUIRED) {
        this.memberId = answer.memberId
        return undefined
      }
      if (this.#isOutdated(answer.errorCode)) return undefined
      check(`cannot join group ${this.groupId}`, answer.errorCode, joinProblem(answer.errorCode))
      this.memberId = answer.memberId
      this.generationId = answer.generationId
      return answer
    })
  }

  /** Undefined: join again. */
  async #syncGroup(joined: JoinGroupResponse): Promise<Uint8Array | undefined> {
    const leads = joined.leader === joined.memberId && !joined.skipAssignment
    const assignments = leads ? await this.#assign(joined) : []
    return onCoordinator(this.#cluster, this.groupId, async (connection) => {
      const answer = await connection.request(
        SyncGroupRequest,
        SyncGroupResponse,
        {
          groupId: this.groupId,
          generationId: this.generationId,
          memberId: this.memberId,
          protocolType: joined.protocolType ?? PROTOCOL_TYPE,
          protocolName: joined.protocolName ?? STRATEGY,
          assignments,
        },
        { timeoutMs: REBALANCE_TIMEOUT_MS + this.#cluster.timeoutMs },
      )
      if (this.#isOutdated(answer.errorCode)) return undefined
      check(`cannot get an assignment in group ${this.groupId}`, answer.errorCode)
      // A view of the frame would do, were it not kept while the next frame arrives.
      return answer.assignment.slice()
    })
  }

  async #assign(joined: JoinGroupResponse): Promise<{ memberId: string; assignment: Uint8Array }[]> {
    const subscribers: Subscriber[] = joined.members.map(({ memberId, groupInstanceId, metadata }) => {
      const reader = new Reader(metadata)
      const version = Math.min(reader.int16(), ConsumerProtocolSubscription.versions.last)
      const { topics } = decoder(ConsumerProtocolSubscription, version)(reader)
      return { memberId, instanceId: groupInstanceId, topics }
    })
    const names = [...new Set(subscribers.flatMap(({ topics }) => topics))].sort()
    const topics = await this.#cluster.attempt(() => this.#cluster.metadata(names))
    const counts = new Map<string, number>()
    for (const { name, errorCode, partitions } of topics) {
      if (name !== null && errorCode === ErrorCode.NONE) counts.set(name, partitions.length)
    }
    return [...assignRanges(subscribers, counts)].map(([memberId, partitions]) => ({
      memberId,
      assignment: versioned(ConsumerProtocolAssignment, {
        assignedPartitions: byTopic(partitions).map(([topic, indexes]) => ({ topic, partitions: indexes })),
        userData: null,
      }),
    }))
  }

  async #beat(): Promise<void> {
    const { memberId, generationId } = this
    try {
      const connection = await this.#cluster.coordinator(this.groupId)
      const body = { groupId: this.groupId, generationId, memberId }
      const { errorCode } = await connection.request(HeartbeatRequest, HeartbeatResponse, body)
      // The answer may be about a membership that has been renewed since.
      if (memberId !== this.memberId || generationId !== this.generationId) return
      if (!this.#isOutdated(errorCode)) check(`group ${this.groupId} lost this member`, errorCode)
    } catch (error) {
      if (mayPass(error)) this.#cluster.forgetCoordinator(this.groupId)
      else this.failure = error
    }
  }

  /** Whether the code says that the generation has passed: notes what must happen, and gives true. */
  #isOutdated(errorCode: number): boolean {
    switch (errorCode) {
      case ErrorCode.UNKNOWN_MEMBER_ID:
        this.memberId = ''
        break
      case ErrorCode.ILLEGAL_GENERATION:
      case ErrorCode.REBALANCE_IN_PROGRESS:
        break
      default:
        return false
    }
    this.mustRejoin = true
    return true
  }

  #stopHeartbeats(): void {
    clearInterval(this.#heartbeats)
    this.#heartbeats = undefined
  }
}

function joinProblem(errorCode: number): string | null {
  if (errorCode !== ErrorCode.INCONSISTENT_GROUP_PROTOCOL) return null
  return `its members share no assignment strategy with this one, which knows "${STRATEGY}" only`
}

/** Whether a commit was refused because the partitions are another member's by now. */
export function isFenced(error: unknown): boolean {
  return (
    error instanceof Refused &&
    (error.code === ErrorCode.ILLEGAL_GENERATION ||
      error.code === ErrorCode.UNKNOWN_MEMBER_ID ||
      error.code === ErrorCode.REBALANCE_IN_PROGRESS)
  )
}

/** What JoinGroup and SyncGroup carry: the version as an int16, then the message. */
function versioned<F extends Fields>(message: Message<F>, value: Input<F>): Uint8Array {
  const writer = new Writer()
  writer.int16(CONSUMER_PROTOCOL_VERSION)
  encoder(message, CONSUMER_PROTOCOL_VERSION)(writer, value)
  return writer.toBytes()
}
