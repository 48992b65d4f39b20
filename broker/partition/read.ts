// How a read of a partition is asked for and answered, on the owner's thread or across shards alike.

import { ErrorCode } from '../../protocol/errors.ts'
import { type LeaderHint, NO_LEADER } from './append.ts'

export interface PartitionRead {
  readonly groupId: number
  readonly fetchOffset: number
  readonly maxBytes: number
  /** Negative: not checked. */
  readonly currentLeaderEpoch: number
  /** Negative: not checked. */
  readonly lastFetchedEpoch: number
  readonly readCommitted: boolean
  /** Whether the asker takes data from a follower too. */
  readonly fromFollower: boolean
  /** Broker id of a replica that is nearer to the asker than the leader; -1 for none. */
  readonly nearReplica: number
  /** The topic id the asker means, or undefined when it named the topic. */
  readonly topicId: string | undefined
}

export interface DivergingEpoch {
  readonly epoch: number
  readonly endOffset: number
}

/** Bytes stay where they lie, in the owner's arena, until `release`. */
export interface PartitionReadResult {
  readonly error: ErrorCode
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly logStartOffset: number
  readonly divergingEpoch: DivergingEpoch | undefined
  /** Where the asker shall read instead, as it is nearer: broker id, -1 for here. */
  readonly preferredReadReplica: number
  readonly leader: LeaderHint
  readonly fragments: readonly Uint8Array[]
  readonly arenaOffsets: readonly number[]
  readonly bytes: number
  release(): void
}

const NONE: readonly Uint8Array[] = []
const NOWHERE: readonly number[] = []
const nothing = (): void => {}

export function readRefused(error: ErrorCode, leader: LeaderHint = NO_LEADER): PartitionReadResult {
  return {
    error,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    divergingEpoch: undefined,
    preferredReadReplica: -1,
    leader,
    fragments: NONE,
    arenaOffsets: NOWHERE,
    bytes: 0,
    release: nothing,
  }
}

export function readEmpty(
  highWatermark: number,
  lastStableOffset: number,
  logStartOffset: number,
  divergingEpoch: DivergingEpoch | undefined = undefined,
  preferredReadReplica = -1,
): PartitionReadResult {
  return {
    error: ErrorCode.NONE,
    highWatermark,
    lastStableOffset,
    logStartOffset,
    divergingEpoch,
    preferredReadReplica,
    leader: NO_LEADER,
    fragments: NONE,
    arenaOffsets: NOWHERE,
    bytes: 0,
    release: nothing,
  }
}

/** As `result`, without the bytes: they are given back. */
export function withoutBytes(result: PartitionReadResult): PartitionReadResult {
  result.release()
  return { ...result, fragments: NONE, arenaOffsets: NOWHERE, bytes: 0, release: nothing }
}
