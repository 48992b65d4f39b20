// The words of Raft: entries, messages, effects out.
//
// Owned by raft.ts; replication/driver.ts carries them between disk, network and group. Plain data, one shard thread.

import type { Membership } from './membership.ts'

/** A member's number: any integer from 0 up to 2^53, never used again for a disk that lost what it held. */
export type NodeId = number
/** Grows with each election; a partition's leader epoch is its term (partition/offsets.ts converts). */
export type Term = number
/** Position in a group's log. One entry covers `count` of them. */
export type LogIndex = number

/** No broker: nobody was voted for, no leader is known. */
export const NOBODY: NodeId = -1

export const EntryKind = {
  /** One record batch; covers as many indexes as it has offsets. */
  Batch: 0,
  /** The first entry of each leader; no payload. */
  LeaderChange: 1,
  /** A command of a state machine that is no partition (metadata). */
  Command: 2,
  /** Voters and learners from here on; `ref` is a Membership, so this is the one payload Raft looks into. */
  Membership: 3,
} as const
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind]

/**
 * One entry of the log, covering [index, index + count - 1]. `ref` is the driver's handle on the payload, `bytes` its size, for
 * flow control only. Immutable but for `next`, which belongs to the one log that holds the entry: whoever hands an entry to a second
 * log (a test's network, say) makes a new one.
 */
export class Entry {
  readonly index: LogIndex
  readonly term: Term
  readonly count: number
  readonly kind: EntryKind
  readonly bytes: number
  readonly ref: unknown
  /** The log's own chain of uncommitted entries. */
  next: Entry | undefined

  constructor(index: LogIndex, term: Term, count: number, kind: EntryKind, bytes: number, ref: unknown) {
    this.index = index
    this.term = term
    this.count = count
    this.kind = kind
    this.bytes = bytes
    this.ref = ref
    this.next = undefined
  }
}

/** What a node must remember to keep its promises: at most one vote per term, and no return to an older term. */
export interface HardState {
  readonly term: Term
  /** NOBODY when none. */
  readonly votedFor: NodeId
}

/** Leader to peer: what follows prevIndex. Without entries it carries the commit index and probes. */
export interface AppendMessage {
  readonly type: 'append'
  readonly term: Term
  readonly prevIndex: LogIndex
  readonly prevTerm: Term
  readonly commitIndex: LogIndex
  /** Consecutive from prevIndex + 1; the receiver's log takes them over. */
  readonly entries: readonly Entry[]
}

/** Answer to append and snapshot. */
export interface AppendReply {
  readonly type: 'append-reply'
  readonly term: Term
  readonly rejected: boolean
  /** Accepted: the last index durable here that matches the leader's log. Rejected: the prevIndex that did not match. */
  readonly index: LogIndex
  /** Rejected: where the two logs may still agree, at the latest. */
  readonly hintIndex: LogIndex
  readonly hintTerm: Term
}

export interface HeartbeatMessage {
  readonly type: 'heartbeat'
  readonly term: Term
  /** Never beyond what the receiver is known to hold. */
  readonly commitIndex: LogIndex
  /** Comes back in the answer: the newest quorum read this heartbeat asks for, 0 when none. */
  readonly context: number
}

export interface HeartbeatReply {
  readonly type: 'heartbeat-reply'
  readonly term: Term
  /** The follower's; shows that a snapshot is installed although its acknowledgement was lost. */
  readonly commitIndex: LogIndex
  readonly context: number
}

export interface VoteRequest {
  readonly type: 'vote-request'
  /** The term to be elected for; with `pre` nobody has entered it yet. */
  readonly term: Term
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  /** Asks whether a vote would be granted; binds nobody. */
  readonly pre: boolean
  /** The leader itself asked for this election, so its lease does not stand against it. */
  readonly transfer: boolean
}

export interface VoteReply {
  readonly type: 'vote-reply'
  /** Granted: the term asked for. Refused: the voter's own. */
  readonly term: Term
  readonly pre: boolean
  readonly granted: boolean
}

/** Leader to the chosen successor: campaign at once. */
export interface TimeoutNow {
  readonly type: 'timeout-now'
  readonly term: Term
}

/**
 * Leader to a peer that is behind the log start; the driver adds the state itself, and may send a newer one: any committed
 * index with its term.
 */
export interface SnapshotMessage {
  readonly type: 'snapshot'
  readonly term: Term
  /** The log resumes after this index; */
  readonly index: LogIndex
  /** which was written in this term. */
  readonly indexTerm: Term
  /** The newest membership the leader knows to be committed; it may be newer than the state, which harms nobody. */
  readonly membershipIndex: LogIndex
  readonly membership: Membership
  readonly ref: unknown
}

export type Message =
  | AppendMessage
  | AppendReply
  | HeartbeatMessage
  | HeartbeatReply
  | VoteRequest
  | VoteReply
  | TimeoutNow
  | SnapshotMessage

export interface Envelope {
  readonly to: NodeId
  readonly message: Message
}

/** Entries a lagging peer needs that the log no longer holds in memory. */
export interface LoadRequest {
  readonly to: NodeId
  /** Beginning with the entry that covers this index. */
  readonly firstIndex: LogIndex
}

/** A membership and the index of the entry that holds it; 0 for the one the group was founded with. */
export interface PlacedMembership {
  readonly index: LogIndex
  readonly membership: Membership
}

/** A quorum read that may be answered from the state as of `index`. */
export interface ConfirmedRead {
  /** As given to requestRead(). */
  readonly context: number
  readonly index: LogIndex
}

/**
 * Answer to changeMembership(). `busy`: not now, ask again (a change is under way, nothing of this term is committed yet,
 * leadership is being handed over, or a future voter does not yet hold the entry that made it a learner). `refused`: never.
 */
export type MembershipChange = 'proposed' | 'unchanged' | 'busy' | 'not-leader' | 'refused'

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

/**
 * What the driver must do, in this order: install the snapshot, cut the log at `truncateFrom`, save the hard state, append the
 * entries (all of it in one sync round), and meanwhile send `sendNow`; give `committed` to the state machine; release
 * `sendWhenDurable` when that round, and every round this group was part of before it, is on disk. An envelope to ourselves
 * (our own vote) goes back into receive().
 *
 * The object and its arrays are reused: valid until ready() is called again on any group with the same settings.
 */
export interface Ready {
  /** The role or the known leader changed; read them from the group. */
  readonly roleChanged: boolean
  /** The membership in force, or which one is known to be committed, changed; read them from the group. */
  readonly membershipChanged: boolean
  /** The state below it replaces ours. */
  readonly snapshot: SnapshotMessage | undefined
  /** Entries from this index on are replaced; NO_INDEX when none are. Never at or below the commit index. */
  readonly truncateFrom: LogIndex
  /** Term or vote changed. */
  readonly hardState: HardState | undefined
  /** To append, after the hard state. */
  readonly entries: readonly Entry[]
  /** May race our disk: a leader's appends, heartbeats, refusals. */
  readonly sendNow: readonly Envelope[]
  /** Promises about our disk: votes, requests for them, append acknowledgements. */
  readonly sendWhenDurable: readonly Envelope[]
  /** In order, exactly once: what the log holds in memory of the newly committed; see Recovered.tail for the rest. */
  readonly committed: readonly Entry[]
  /** Inclusive. */
  readonly commitIndex: LogIndex
  readonly loads: readonly LoadRequest[]
  /** Answered once commitIndex is applied; requests still open when leadership ends are forgotten. */
  readonly reads: readonly ConfirmedRead[]
}

/** Below every index; a small integer, so that fields holding it cost no number object. */
export const NO_INDEX = -1
