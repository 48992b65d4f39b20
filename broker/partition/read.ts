// How a read of a partition is asked for and answered, on the owner's thread or across shards alike.

import { ErrorCode } from '../../protocol/errors.ts'

export interface PartitionRead {
  readonly groupId: number
  readonly fetchOffset: number
  readonly maxBytes: number
  /** Negative: not checked. */
  readonly currentLeaderEpoch: number
  /** Negative: not checked. */
  readonly lastFetchedEpoch: number
  /** Below which fetch version followers are refused, see behaviour of Fetch; the leader answers every version. */
  readonly readCommitted: boolean
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
  readonly leaderEpoch: number
  readonly fragments: readonly Uint8Array[]
  readonly arenaOffsets: readonly number[]
  readonly bytes: number
  release(): void
}

const NONE: readonly Uint8Array[] = []
const NOWHERE: readonly number[] = []
const nothing = (): void => {}

export function readRefused(error: ErrorCode, leaderEpoch = -1): PartitionReadResult {
  return {
    error,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    divergingEpoch: undefined,
    leaderEpoch,
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
  leaderEpoch: number,
  divergingEpoch: DivergingEpoch | undefined = undefined,
): PartitionReadResult {
  return {
    error: ErrorCode.NONE,
    highWatermark,
    lastStableOffset,
    logStartOffset,
    divergingEpoch,
    leaderEpoch,
    fragments: NONE,
    arenaOffsets: NOWHERE,
    bytes: 0,
    release: nothing,
  }
}
