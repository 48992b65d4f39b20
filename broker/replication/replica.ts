// One Raft group on this shard: the pure core, the log it decides about, and whoever the group belongs to.
//
// Made by driver.ts, touched only from the shard's thread.

import { invariant } from '../../protocol/invariant.ts'
import type { GroupLog } from '../../storage/log.ts'
import type { Raft } from '../raft/raft.ts'
import { type Entry, EntryKind, type Envelope, type LogIndex } from '../raft/types.ts'

/** The state machine behind a group: a partition, or the metadata. */
export interface ReplicaOwner {
  /** This replica leads, and everything of earlier terms is committed. */
  leading(): void
  /** Offsets below this one (exclusive) are committed. */
  committed(offset: number): void
  /** Entries up to this one (inclusive) are committed: for groups whose entries are no batches. */
  committedIndex?(index: LogIndex): void
}

/** Payload of a proposed batch. The bytes are let go of as soon as the journal has its copy. */
export interface BatchPayload {
  batch: Uint8Array
  readonly baseOffset: number
  readonly logAppendTimeMs: number
}

export interface ReplicaDriver {
  process(replica: Replica): void
}

const NO_BYTES = new Uint8Array(0)

export class Replica {
  readonly log: GroupLog
  readonly raft: Raft
  readonly owner: ReplicaOwner
  readonly #driver: ReplicaDriver
  /** Promises that wait for the hard state to be on disk. */
  promises: Envelope[] | undefined = undefined
  /** Index of the entry that opened our term: once it is committed, this replica serves. */
  #servesFrom: LogIndex = -1
  #leads: (() => void) | undefined = undefined

  constructor(log: GroupLog, raft: Raft, owner: ReplicaOwner, driver: ReplicaDriver) {
    this.log = log
    this.raft = raft
    this.owner = owner
    this.#driver = driver
  }

  /** Whether this replica may answer producers and consumers: it leads and has committed an entry of its term. */
  get isLeader(): boolean {
    return this.#servesFrom >= 0 && this.raft.isLeader
  }

  get term(): number {
    return this.raft.term
  }

  /** Stands for election; resolves when this replica leads and serves. */
  lead(): Promise<void> {
    return new Promise((resolve) => {
      this.#leads = resolve
      this.raft.campaign()
      this.#driver.process(this)
    })
  }

  /** @param batch needed during the call only; its offsets start at `baseOffset`, the log's end */
  proposeBatch(batch: Uint8Array, offsetSpan: number, baseOffset: number, logAppendTimeMs: number): void {
    const payload: BatchPayload = { batch, baseOffset, logAppendTimeMs }
    const entry = this.raft.propose(EntryKind.Batch, offsetSpan, payload)
    invariant(entry !== undefined, 'only a leader is asked to append', this.log.groupId)
    this.#driver.process(this)
    payload.batch = NO_BYTES
  }

  /** @returns the index of the entry */
  proposeEntry(kind: number, payload: Uint8Array): LogIndex {
    const entry = this.raft.propose(kind as EntryKind, 1, payload)
    invariant(entry !== undefined, 'only a leader is asked to append', this.log.groupId)
    this.#driver.process(this)
    return entry.index
  }

  /** Copies an entry of a Ready into the journal. */
  write(entry: Entry): void {
    if (entry.kind === EntryKind.Batch) {
      const { batch, baseOffset, logAppendTimeMs } = entry.ref as BatchPayload
      this.log.appendBatch(entry.term, entry.index, baseOffset, batch, logAppendTimeMs)
    } else {
      this.log.appendEntry(entry.term, entry.index, entry.kind, (entry.ref as Uint8Array | undefined) ?? NO_BYTES)
    }
  }

  /** Everything up to `index` is committed: lets it go to segments and tells the owner. */
  commit(index: LogIndex): void {
    const offset = this.log.offsetAfter(index)
    // The log may ask for a snapshot from here on, so entries that are no batches are applied before it hears of them.
    this.owner.committedIndex?.(index)
    this.log.commit(index, offset)
    this.owner.committed(offset)
    if (this.#servesFrom < 0 && this.raft.isLeader && this.log.epochs.at(-1)?.term === this.raft.term) {
      this.#servesFrom = index
      this.owner.leading()
      this.#leads?.()
      this.#leads = undefined
    }
  }
}
