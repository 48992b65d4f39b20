// From a group's members to links: which shard of which broker holds the replica, whether it lives, whether its promise still runs.
//
// One per shard, made by driver.ts. A replica's place on a broker follows from the group number and that broker's number of shards.

import { brokerOf } from '../cluster/raft-id.ts'
import type { Raft } from '../raft/raft.ts'
import type { NodeId } from '../raft/types.ts'
import { shardOf } from '../shard/placement.ts'
import type { PeerLinks } from './link-types.ts'
import { PeerKind, type PeerWriter } from './peer-wire.ts'

export class Peers {
  readonly #links: PeerLinks | undefined
  readonly #ownId: () => NodeId
  readonly #raftIdAt: (nodeId: number) => NodeId
  readonly #wantsFlush: () => void

  /** @param raftIdAt the id of a broker with the data directory that it has now */
  constructor(
    links: PeerLinks | undefined,
    ownId: () => NodeId,
    raftIdAt: (nodeId: number) => NodeId,
    wantsFlush: () => void,
  ) {
    this.#links = links
    this.#ownId = ownId
    this.#raftIdAt = raftIdAt
    this.#wantsFlush = wantsFlush
  }

  /** Shard that holds the group's replica there; undefined as long as that broker was never reached. */
  shardAt(nodeId: number, groupId: number): number | undefined {
    const count = this.#links?.shardCountOf(nodeId)
    return count === undefined ? undefined : shardOf(groupId, count)
  }

  /** Whether this member's shard was heard lately. Ourselves always; a data directory that was replaced never again. */
  isAlive(id: NodeId, groupId: number): boolean {
    if (id === this.#ownId()) return true
    const nodeId = brokerOf(id)
    if (nodeId === brokerOf(this.#ownId()) || id < this.#raftIdAt(nodeId)) return false
    const shard = this.shardAt(nodeId, groupId)
    return shard !== undefined && this.#links!.isAlive(nodeId, shard)
  }

  isUp(id: NodeId, groupId: number): boolean {
    const nodeId = brokerOf(id)
    const shard = this.shardAt(nodeId, groupId)
    return shard !== undefined && this.#links!.isUp(nodeId, shard)
  }

  /** @returns undefined when the message cannot leave: treat it as lost */
  begin(id: NodeId, groupId: number): PeerWriter | undefined {
    const nodeId = brokerOf(id)
    const shard = this.shardAt(nodeId, groupId)
    if (shard !== undefined) {
      this.#wantsFlush()
      return this.#links!.begin(nodeId, shard, PeerKind.RAFT)
    }
    // Reached for the first time, it says how many shards it has, and peerUp() follows.
    this.#links?.open(nodeId, 0)
    return undefined
  }

  /**
   * Whether a voter's promise still holds: to vote for nobody else in this group and term while it hears us. It was given with the
   * last reply that it sent as our follower, and taken back for all groups at once by another number of defections.
   */
  isConfirmed(raft: Raft, id: NodeId, groupId: number, nowMs: number): boolean {
    const nodeId = brokerOf(id)
    const shard = this.shardAt(nodeId, groupId)
    const progress = raft.progressOf(id)
    if (shard === undefined || progress === undefined) return false
    const links = this.#links!
    return nowMs < links.leaseUntilMs(nodeId, shard) && progress.lastReplyTag === links.defections(nodeId, shard)
  }

  /** As a follower of `leader` in that group we are free again, and it must not count on us. */
  defect(leader: NodeId, groupId: number): void {
    const nodeId = brokerOf(leader)
    const shard = this.shardAt(nodeId, groupId)
    if (shard !== undefined) this.#links!.defect(nodeId, shard)
  }
}
