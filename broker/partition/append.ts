// How an append to a partition is asked for and answered, on the owner's thread or across shards alike.

import { ErrorCode } from '../../protocol/errors.ts'

export interface RecordError {
  readonly batchIndex: number
  readonly batchIndexErrorMessage: string | null
}

/** The leader a replica knows of, for the hint beside an error: broker id, -1 for none, and the epoch it belongs to. */
export interface LeaderHint {
  readonly leaderId: number
  readonly leaderEpoch: number
}

export const NO_LEADER: LeaderHint = { leaderId: -1, leaderEpoch: -1 }

/** What became of one batch. Success means: durable on a majority. */
export interface AppendResult {
  readonly error: ErrorCode
  /** -1 when nothing was written. */
  readonly baseOffset: number
  /** -1 unless the topic stamps LogAppendTime. */
  readonly logAppendTimeMs: number
  /** -1 where Kafka does not tell it either. */
  readonly logStartOffset: number
  readonly message: string | null
  readonly recordErrors: readonly RecordError[]
  readonly leader: LeaderHint
}

/** Takes the answers of one request's batches; `slot` is the asker's own number for the batch. */
export interface AppendSink {
  appended(slot: number, result: AppendResult): void
}

const NO_RECORD_ERRORS: readonly RecordError[] = []

export function appendRefused(
  error: ErrorCode,
  message: string | null = null,
  logStartOffset = -1,
  recordErrors: readonly RecordError[] = NO_RECORD_ERRORS,
  leader: LeaderHint = NO_LEADER,
): AppendResult {
  return { error, baseOffset: -1, logAppendTimeMs: -1, logStartOffset, message, recordErrors, leader }
}

/** @param error NONE, or NOT_ENOUGH_REPLICAS_AFTER_APPEND: the batch is in the log all the same */
export function appendDone(
  error: ErrorCode,
  baseOffset: number,
  logAppendTimeMs: number,
  logStartOffset: number,
): AppendResult {
  return {
    error,
    baseOffset,
    logAppendTimeMs,
    logStartOffset,
    message: null,
    recordErrors: NO_RECORD_ERRORS,
    leader: NO_LEADER,
  }
}

export function notLeader(leader: LeaderHint): AppendResult {
  return appendRefused(ErrorCode.NOT_LEADER_OR_FOLLOWER, null, -1, NO_RECORD_ERRORS, leader)
}
