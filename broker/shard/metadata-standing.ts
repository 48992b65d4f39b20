// How this broker stands with the metadata group: whether it leads it, hears its leader, or is cut off from it.
//
// On shard 0, touched only from its thread; every shard of the broker is told when it changes. Raft says who leads, and forgets a leader as soon
// as the links have fallen silent. Between two leaders there is a moment without one, in which what the links say of the others is as good as
// ever: that alone is not being cut off.

import { brokerOf } from '../cluster/raft-id.ts'
import type { Clock } from '../environment.ts'
import { NOBODY } from '../raft/types.ts'
import type { Replica } from '../replication/replica.ts'

export interface Standing {
  /** No leader is heard, and none is about to be elected among those who are. */
  readonly isCutOff: boolean
  /** This broker leads the metadata group: with a quorum, or it would have stepped down. */
  readonly isController: boolean
}

export const AT_START: Standing = { isCutOff: false, isController: false }

export interface MetadataStandingOptions {
  readonly clock: Clock
  /** Of group 0, undefined before it is opened. */
  replica(): Pick<Replica, 'raft'> | undefined
  /** Whether shard 0 of another broker is heard. */
  isAlive(nodeId: number): boolean
  changed(standing: Standing): void
}

/** An election that could be won takes no longer. If it does, this broker is heard by others than those it hears. */
const ELECTION_MS_MAX = 3000

export class MetadataStanding {
  readonly #options: MetadataStandingOptions
  #standing = AT_START
  #leaderlessSinceMs: number | undefined

  constructor(options: MetadataStandingOptions) {
    this.#options = options
  }

  /** Something may have changed: the leader of the group, or who is heard. Called once a second besides. */
  look(): void {
    const replica = this.#options.replica()
    if (replica === undefined) return
    const { raft } = replica
    const isController = raft.role === 'leader'
    const isCutOff = raft.leaderId === NOBODY && !this.#isElectionDue(raft)
    if (raft.leaderId !== NOBODY) this.#leaderlessSinceMs = undefined
    if (isCutOff === this.#standing.isCutOff && isController === this.#standing.isController) return
    this.#standing = { isCutOff, isController }
    this.#options.changed(this.#standing)
  }

  #isElectionDue({ id: ownId, membership }: Replica['raft']): boolean {
    const nowMs = this.#options.clock.monotonicMs()
    this.#leaderlessSinceMs ??= nowMs
    if (nowMs - this.#leaderlessSinceMs >= ELECTION_MS_MAX) return false
    const votes = (id: number): true | undefined => id === ownId || this.#options.isAlive(brokerOf(id)) || undefined
    return membership.electionOutcome(votes) === 'won'
  }
}
