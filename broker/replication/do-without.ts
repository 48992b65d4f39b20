// Whether a group gets on without its leader's disk: asked before leadership is handed over because that disk hangs.
//
// Called by the shard, on its thread; keeps nothing. Whoever hands over is a voter whose vote waits for its own disk. Where the others
// are too few without it, as in a group of two, nobody would lead until the disk answers, and then not even reads are served.

import { brokerOf } from '../cluster/raft-id.ts'
import type { NodeId } from '../raft/types.ts'
import type { Replica } from './replica.ts'

/** @returns whether the other members that live, and are in sync or witnesses, can elect one of them and commit */
export function canDoWithout({ raft, isr }: Replica, isAlive: (nodeId: number) => boolean): boolean {
  const { membership } = raft
  const counts = (id: NodeId): boolean => {
    const nodeId = brokerOf(id)
    return id !== raft.id && isAlive(nodeId) && (isr.includes(nodeId) || membership.isWitness(id))
  }
  const canElect = membership.electionOutcome((id) => counts(id) || undefined) === 'won'
  return canElect && membership.canCommit(counts)
}
