// What is asked of the group coordinator and what it answers, and the log it stands on.
//
// Plain data between handlers, shard and coordinator; the coordinator keeps none of the bytes it is handed.

import type { ErrorCode } from '../../protocol/errors.ts'
import type { GroupState, JoinEvent, SyncEvent } from './classic-events.ts'
import type { CommittedOffset, TopicPartition } from './offsets.ts'
import type { KeyValue } from './records.ts'

/** The partitions of __consumer_offsets on this shard. */
export interface OffsetsLog {
  /**
   * Appends one batch to a partition of __consumer_offsets.
   * @returns when it is durable, NONE; or why it will not be. Appends to one partition resolve in the order they were made.
   */
  append(partition: number, records: readonly KeyValue[]): Promise<ErrorCode>
  /** Whether the partition is led here at this moment, beyond doubt: nobody else can have taken records since. */
  confirm(partition: number): true | Promise<boolean>
  /** All records of the partition in order. The bytes are used before the next one is asked for. */
  read(partition: number): AsyncIterable<LogRecord>
}

export interface LogRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly timestampMs: number
  readonly offset: number
}

export type JoinCall = Omit<JoinEvent, 'type' | 'request' | 'newMemberId'> & { readonly groupId: string }
export type SyncCall = Omit<SyncEvent, 'type' | 'request'> & { readonly groupId: string }

export interface MemberIdentity {
  readonly groupId: string
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly generationId: number
}

export interface CommitCall extends MemberIdentity {
  /** -1: as offsets.retention.minutes says. */
  readonly retentionTimeMs: number
  /** What a client of this version understands when the group does not exist and it names a generation. */
  readonly unknownGroupError: ErrorCode
  readonly offsets: readonly CommitEntry[]
}

export interface CommitEntry extends TopicPartition {
  readonly topicId: string
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
}

export interface FetchedOffset extends TopicPartition {
  readonly committed: CommittedOffset | undefined
}

export interface GroupDescription {
  readonly state: GroupState
  readonly protocolType: string
  /** Name of the chosen protocol; '' unless Stable. */
  readonly protocolData: string
  readonly members: readonly {
    readonly memberId: string
    readonly groupInstanceId: string | null
    readonly clientId: string
    readonly clientHost: string
    /** Both empty unless Stable. */
    readonly memberMetadata: Uint8Array
    readonly memberAssignment: Uint8Array
  }[]
}

export interface ListedGroup {
  readonly groupId: string
  readonly protocolType: string
  readonly state: GroupState
}

export interface DeleteOffsetsAnswer {
  readonly error: ErrorCode
  /** One per asked partition, in order; empty when `error` is set. */
  readonly errors: readonly ErrorCode[]
}
