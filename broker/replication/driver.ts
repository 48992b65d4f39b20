// Drives the Raft groups of a shard: what each wants persisted goes to the journal, what became durable comes back to it.
//
// One per shard, touched only from its thread. All groups of a loop turn share one flush round; a promise about our disk (a vote) leaves only when
// the round that holds it is done. Peers on other brokers come with replication across brokers; here a group has one voter.

import type { GroupLog } from '../../storage/log.ts'
import type { Random } from '../environment.ts'
import { Membership } from '../raft/membership.ts'
import { Raft, RaftSettings } from '../raft/raft.ts'
import { Replica, type ReplicaDriver, type ReplicaOwner } from './replica.ts'

export interface ReplicationOptions {
  readonly nodeId: number
  readonly random: Random
  /** Something was appended to the journal: a flush is due at the end of this loop turn. */
  wantsFlush(): void
}

export class Replication implements ReplicaDriver {
  readonly #options: ReplicationOptions
  readonly #settings: RaftSettings
  /** Shared by all groups that live on this broker alone. */
  readonly #alone: Membership
  readonly #replicas = new Map<number, Replica>()

  constructor(options: ReplicationOptions) {
    this.#options = options
    this.#settings = new RaftSettings({ jitter: () => options.random.next() })
    this.#alone = new Membership([options.nodeId])
  }

  add(log: GroupLog, owner: ReplicaOwner): Replica {
    const raft = new Raft(this.#settings, {
      id: this.#options.nodeId,
      membership: this.#alone,
      // A log that never had a term says -1; Raft counts from 0.
      hardState: { term: Math.max(0, log.term), votedFor: log.votedFor },
      log: {
        firstIndex: log.firstIndex,
        prevTerm: termBefore(log),
        lastIndex: log.lastIndex,
        runs: log.epochs.map(({ term, startIndex }) => ({ term, startIndex })),
        commitIndex: log.commitIndex,
      },
    })
    const replica = new Replica(log, raft, owner, this)
    this.#replicas.set(log.groupId, replica)
    return replica
  }

  remove(groupId: number): void {
    this.#replicas.delete(groupId)
  }

  /** Carries out what a group wants, until it wants nothing more. */
  process(replica: Replica): void {
    const { raft, log } = replica
    for (let ready = raft.ready(); ready !== undefined; ready = raft.ready()) {
      // The Ready is one object for all groups: everything is taken out of it before anybody else is called.
      const { hardState, commitIndex } = ready
      if (hardState !== undefined) log.saveHardState(hardState.term, hardState.votedFor)
      for (const entry of ready.entries) replica.write(entry)
      if (hardState !== undefined || ready.entries.length > 0) this.#options.wantsFlush()
      if (ready.sendWhenDurable.length > 0) (replica.promises ??= []).push(...ready.sendWhenDurable)
      if (commitIndex > log.commitIndex) replica.commit(commitIndex)
    }
  }

  /** A flush round is on disk. */
  onDurable(groups: readonly GroupLog[]): void {
    for (const log of groups) {
      const replica = this.#replicas.get(log.groupId)
      if (replica === undefined) continue
      const { raft, promises } = replica
      if (promises !== undefined && log.hardStateDurable) {
        replica.promises = undefined
        for (const { to, message } of promises) if (to === raft.id) raft.receive(raft.id, message)
      }
      raft.durable(log.durableTerm, log.durableIndex)
      this.process(replica)
    }
  }
}

function termBefore(log: GroupLog): number {
  let term = 0
  for (const epoch of log.epochs) if (epoch.startIndex < log.firstIndex) term = epoch.term
  return term
}
