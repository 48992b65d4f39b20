// What happens to a classic group and what it wants done: the two sides of ClassicGroup.step().
//
// Plain data. Requests are numbers here; coordinator.ts knows which waiting client stands behind each.

import { ErrorCode } from '../../protocol/errors.ts'
import type { Protocol } from './members.ts'

export const GroupState = {
  empty: 'Empty',
  preparingRebalance: 'PreparingRebalance',
  completingRebalance: 'CompletingRebalance',
  stable: 'Stable',
  dead: 'Dead',
} as const
/** Spelled as DescribeGroups and ListGroups print them. */
export type GroupState = (typeof GroupState)[keyof typeof GroupState]

export interface Moment {
  /** For timers. */
  readonly monotonicMs: number
  /** For what is written to the log. */
  readonly wallMs: number
}

export interface JoinEvent {
  readonly type: 'join'
  readonly request: number
  /** '' from a client that has none yet. */
  readonly memberId: string
  readonly groupInstanceId: string | null
  /** The id to give when memberId is ''. */
  readonly newMemberId: string
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocolType: string
  readonly protocols: readonly Protocol[]
  /** JoinGroup v4 on: a dynamic member is first told its id, and joins with it. */
  readonly requiresKnownMemberId: boolean
  /** JoinGroup v9 on: the answer can tell a returning leader not to compute an assignment. */
  readonly supportsSkipAssignment: boolean
}

export interface SyncEvent {
  readonly type: 'sync'
  readonly request: number
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly generationId: number
  /** null: not sent (before v5). */
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignments: readonly { readonly memberId: string; readonly assignment: Uint8Array }[]
}

export interface HeartbeatEvent {
  readonly type: 'heartbeat'
  readonly request: number
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly generationId: number
}

export interface LeaveEvent {
  readonly type: 'leave'
  readonly request: number
  readonly members: readonly { readonly memberId: string; readonly groupInstanceId: string | null }[]
}

export type Event =
  | JoinEvent
  | SyncEvent
  | HeartbeatEvent
  | LeaveEvent
  /** A member committed offsets: its session is extended. */
  | { readonly type: 'committed'; readonly memberId: string }
  /** The outcome of a `store` effect. */
  | { readonly type: 'stored'; readonly store: number; readonly error: ErrorCode }
  /** The group came out of the log: sessions start now. */
  | { readonly type: 'loaded' }
  /** Time passed: whatever is due happens. */
  | { readonly type: 'tick' }
  /** Our own thread stood still for so long: no session may end for that. */
  | { readonly type: 'stalled'; readonly stallMs: number }
  /** The group was deleted, or its partition of __consumer_offsets went away: held requests get this error. */
  | { readonly type: 'retire'; readonly error: ErrorCode }

export interface JoinAnswer {
  readonly error: ErrorCode
  readonly generationId: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leader: string
  readonly skipAssignment: boolean
  readonly memberId: string
  readonly members: readonly { memberId: string; groupInstanceId: string | null; metadata: Uint8Array }[]
}

export interface SyncAnswer {
  readonly error: ErrorCode
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignment: Uint8Array
}

export interface LeaveAnswer {
  readonly error: ErrorCode
  /** In the order of the request. */
  readonly members: readonly { memberId: string; groupInstanceId: string | null; error: ErrorCode }[]
}

/** What the log keeps of a group. Layout: GroupMetadataValue of Kafka, see records.ts. */
export interface GroupMetadata {
  /** '' when no member has joined yet. */
  readonly protocolType: string
  readonly generationId: number
  readonly protocolName: string | null
  readonly leader: string | null
  /** Wall clock ms; -1 when unknown. */
  readonly currentStateTimestampMs: number
  readonly members: readonly StoredMember[]
}

export interface StoredMember {
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly rebalanceTimeoutMs: number
  readonly sessionTimeoutMs: number
  /** Metadata of the chosen protocol. */
  readonly subscription: Uint8Array
  readonly assignment: Uint8Array
}

export type Effect =
  | { readonly type: 'join-answer'; readonly request: number; readonly answer: JoinAnswer }
  | { readonly type: 'sync-answer'; readonly request: number; readonly answer: SyncAnswer }
  | { readonly type: 'heartbeat-answer'; readonly request: number; readonly answer: ErrorCode }
  | { readonly type: 'leave-answer'; readonly request: number; readonly answer: LeaveAnswer }
  /** Append this; then a `stored` event with the same number. Answers of the same step wait for it. */
  | { readonly type: 'store'; readonly store: number; readonly metadata: GroupMetadata }

/** Kafka's answer to a client whose group record could not be written. */
export function storeErrorToAnswer(error: ErrorCode): ErrorCode {
  switch (error) {
    case ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
    case ErrorCode.NOT_ENOUGH_REPLICAS:
    case ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case ErrorCode.REQUEST_TIMED_OUT:
      return ErrorCode.COORDINATOR_NOT_AVAILABLE
    case ErrorCode.NOT_LEADER_OR_FOLLOWER:
    case ErrorCode.KAFKA_STORAGE_ERROR:
      return ErrorCode.NOT_COORDINATOR
    case ErrorCode.MESSAGE_TOO_LARGE:
    case ErrorCode.RECORD_LIST_TOO_LARGE:
    case ErrorCode.INVALID_FETCH_SIZE:
      return ErrorCode.UNKNOWN_SERVER_ERROR
    default:
      return error
  }
}
