// What all Raft groups of a shard share: their options, and the one Ready that each fills in turn.
//
// Made by replication/driver.ts, one per shard thread; filled by raft.ts only.

import type { RaftLog } from './log.ts'
import {
  type ConfirmedRead,
  type Entry,
  type Envelope,
  type HardState,
  type LoadRequest,
  type LogIndex,
  NO_INDEX,
  type Ready,
  type SnapshotMessage,
} from './types.ts'

export interface RaftOptions {
  /** Ticks without a leader before a campaign; each wait adds up to as many again, by chance. */
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** Ask whether a vote would be granted before entering a new term (9.6). */
  readonly preVote: boolean
  /** A leader that hears no quorum for electionTicks steps down; nobody votes while its leader lives (6.2, 4.2.3). */
  readonly checkQuorum: boolean
  /** Appends in flight to one peer. */
  readonly inflightAppendsMax: number
  /** Entries in one append. */
  readonly appendEntriesMax: number
  /** Payload bytes in one append; a single larger entry travels alone. */
  readonly appendBytesMax: number
  /** Payload bytes in flight to one peer. */
  readonly inflightBytesMax: number
  /** Quorum reads of a group that wait for their answer. */
  readonly readsMax: number
  /**
   * True: leaders and followers of each group watch each other by heartbeats and ticks. False: whoever watches the brokers
   * says leaderLost(), unreachable(), reachable() and checkQuorum(); a follower that knows its leader needs no tick.
   */
  readonly groupHeartbeats: boolean
  /** Uniform in [0, 1): Random.next of the environment. */
  readonly jitter: () => number
}

export const defaultRaftOptions: Omit<RaftOptions, 'jitter'> = {
  electionTicks: 10,
  heartbeatTicks: 1,
  preVote: true,
  checkQuorum: true,
  inflightAppendsMax: 64,
  appendEntriesMax: 64,
  appendBytesMax: 1024 * 1024,
  inflightBytesMax: 8 * 1024 * 1024,
  readsMax: 1024,
  groupHeartbeats: true,
}

/** What all groups of a shard share: their options and the one Ready that each fills in turn. */
export class RaftSettings {
  readonly options: RaftOptions
  /** @internal filled by Raft.ready() */
  readonly ready: ReadyBuffer = new ReadyBuffer()

  constructor(options: Partial<RaftOptions> & Pick<RaftOptions, 'jitter'>) {
    this.options = { ...defaultRaftOptions, ...options }
  }
}

export const NO_ENVELOPES: readonly Envelope[] = []
export const NO_LOADS: readonly LoadRequest[] = []
export const NO_READS: readonly ConfirmedRead[] = []
export const NO_ENTRIES: readonly Entry[] = []

/** @internal */
export class ReadyBuffer implements Ready {
  roleChanged = false
  membershipChanged = false
  snapshot: SnapshotMessage | undefined = undefined
  truncateFrom: LogIndex = NO_INDEX
  hardState: HardState | undefined = undefined
  entries: readonly Entry[] = NO_ENTRIES
  sendNow: readonly Envelope[] = NO_ENVELOPES
  sendWhenDurable: readonly Envelope[] = NO_ENVELOPES
  committed: readonly Entry[] = NO_ENTRIES
  commitIndex: LogIndex = 0
  loads: readonly LoadRequest[] = NO_LOADS
  reads: readonly ConfirmedRead[] = NO_READS
  // One entry per turn is the common case: a list of one is written over, longer lists are made afresh.
  readonly #oneEntry: Entry[] = []
  readonly #oneCommitted: Entry[] = []

  /** Moves out of the log what is to be written, and then what is committed. */
  takeEntries(log: RaftLog): void {
    let first = log.takeUnwritten()
    let next = first && log.takeUnwritten()
    if (first === undefined) {
      this.entries = NO_ENTRIES
    } else if (next === undefined) {
      this.#oneEntry[0] = first
      this.entries = this.#oneEntry
    } else {
      const many = [first]
      for (; next !== undefined; next = log.takeUnwritten()) many.push(next)
      this.entries = many
    }
    first = log.takeCommitted()
    next = first && log.takeCommitted()
    if (first === undefined) {
      this.committed = NO_ENTRIES
    } else if (next === undefined) {
      this.#oneCommitted[0] = first
      this.committed = this.#oneCommitted
    } else {
      const many = [first]
      for (; next !== undefined; next = log.takeCommitted()) many.push(next)
      this.committed = many
    }
  }
}
