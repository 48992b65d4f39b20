// What a partition stands on: the shard that owns it and the replica that agrees with the others.
//
// Interfaces only. The shard's is made in shard.ts, the replica in replication/; unit tests hand in their own.

import type { Clock, Logger } from '../environment.ts'
import type { NodeId, Role } from '../raft/types.ts'
import type { SharedProducers } from './producer-state.ts'
import type { RefusedSequences } from './refused-sequences.ts'

/** What the partitions of a shard share. */
export interface PartitionHost {
  readonly clock: Clock
  readonly logger: Logger
  /** KAFKA_STORAGE_ERROR while true: the disk failed or is nearly full. */
  readonly refusesWrites: boolean
  /** Whether the journal takes so many bytes now; after a no, onRoom() calls when it may again. */
  canAccept(bytes: number): boolean
  onRoom(call: () => void): void
  /**
   * Bytes that reads may still hold until their sockets have taken them: clients that do not read must not pin the whole
   * memory. Nothing is read when it is 0 or less.
   */
  readonly readBytesLeft: number
  /** So many bytes are held by a read, or, negative, no longer. */
  lent(bytes: number): void
  /**
   * Bytes that batches may still hold that wait for the journal, or for batches before them that do: clients that do not wait for answers must
   * not fill the heap. Nothing more may wait when it is 0 or less.
   */
  readonly queueBytesLeft: number
  /** So many bytes wait, or, negative, no longer. */
  queued(bytes: number): void
  /** So many bytes go into the log now: counted against the room on the disk. */
  appending(bytes: number): void
  /** What canAccept() would never say yes to: the shard's memory is too small for it. */
  readonly batchBytesMax: number
  readonly refusedSequences: RefusedSequences
  readonly producerIdExpirationMs: number
  /** Counts the producers of all its partitions. */
  readonly producers?: SharedProducers
  /** Decompressed bytes that the shard is willing to look at for one batch. */
  readonly decompressedBytesMax: number
}

/** The part of a Replica that a partition uses. */
export interface PartitionReplica {
  /** Leads, has committed an entry of its term and is not handing over: it may answer clients. */
  readonly isLeader: boolean
  readonly role: Role
  /** Leads beyond doubt at this moment: nobody else can have been elected. */
  readonly hasLease: boolean
  /** Leads, or led last while nobody newer is known: what it has committed may be read. */
  readonly canServeReads: boolean
  /** Raft id of the leader of `term`, NOBODY while none is known. */
  readonly leaderId: NodeId
  readonly term: number
  /** Everybody the log is replicated to, this replica included. */
  readonly memberIds: readonly NodeId[]
  /** How many of them store the records. */
  readonly copyCount: number
  /** A member that stores the records: what it holds may be read. */
  readonly holdsRecords: boolean
  /** Broker ids of the members that are alive and hold what is committed, this one included; empty unless it leads. */
  inSync(): readonly number[]
  /** Of a leader: up to which index a member is known to hold the log. */
  progressOf(id: NodeId): { readonly matchIndex: number } | undefined
  /** Whether everything committed is on the disks of so many members, whoever they are. */
  isCommitHeldBy(count: number): boolean
  /** Of a leader: up to which index so many members are known to hold the log durably; -1 for none. */
  indexHeldBy(count: number): number
  /** Set while the partition wants to hear heldMoved(). */
  watchesHeld: boolean
  /** Whether this replica led at some moment after the call: by its lease, or by asking a majority. */
  confirm(): Promise<boolean>
  /** Hands leadership over. @returns whether the other one leads now */
  transfer(to: NodeId): Promise<boolean>
  /** Appends a batch at the log's end; the log holds it on return. The bytes are needed during the call only. */
  proposeBatch(batch: Uint8Array, offsetSpan: number, baseOffset: number, logAppendTimeMs: number): void
  /** Appends an entry without offset. @returns its index */
  proposeEntry(kind: number, payload: Uint8Array): number
}
