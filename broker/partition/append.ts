// How an append to a partition is asked for and answered, on the owner's thread or across shards alike.

import { ErrorCode } from '../../protocol/errors.ts'

export interface RecordError {
  readonly batchIndex: number
  readonly batchIndexErrorMessage: string | null
}

/** What became of one batch. Success means: durable on a majority. */
export interface AppendResult {
  readonly error: ErrorCode
  /** -1 on failure. */
  readonly baseOffset: number
  /** -1 unless the topic stamps LogAppendTime. */
  readonly logAppendTimeMs: number
  /** -1 where Kafka does not tell it either. */
  readonly logStartOffset: number
  readonly message: string | null
  readonly recordErrors: readonly RecordError[]
  /** Epoch of the leader, for the hint beside NOT_LEADER_OR_FOLLOWER. */
  readonly leaderEpoch: number
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
): AppendResult {
  return { error, baseOffset: -1, logAppendTimeMs: -1, logStartOffset, message, recordErrors, leaderEpoch: -1 }
}

export function appendDone(
  baseOffset: number,
  logAppendTimeMs: number,
  logStartOffset: number,
  leaderEpoch: number,
): AppendResult {
  return {
    error: ErrorCode.NONE,
    baseOffset,
    logAppendTimeMs,
    logStartOffset,
    message: null,
    recordErrors: NO_RECORD_ERRORS,
    leaderEpoch,
  }
}
