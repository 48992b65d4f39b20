// Who should be in a Raft group, from what the metadata log says. Pure functions over the image.
//
// The leader of a group moves its membership here (replication/): it adds who is missing as a learner, waits until those have
// caught up, and then makes one joint change to the voters. So the target is where a reassignment ends, not a step of it.

import type { NodeId } from '../raft/types.ts'
import type { MetadataImage, PartitionImage } from './metadata.ts'
import { raftIdOf } from './raft-id.ts'

/** Voters of the metadata group; further brokers follow it without a vote. */
const METADATA_VOTERS_MAX = 5

export interface GroupTarget {
  /** In the order of the replica list: the preferred leader first. */
  readonly voters: readonly NodeId[]
  /** Members for good that have no vote. */
  readonly learners: readonly NodeId[]
}

/** Broker ids a partition is to have when nothing is being moved any more, the preferred leader first. */
export function targetReplicas(partition: Pick<PartitionImage, 'replicas' | 'removing'>): readonly number[] {
  const { replicas, removing } = partition
  return removing.length === 0 ? replicas : replicas.filter((nodeId) => !removing.includes(nodeId))
}

export function isReassigning(partition: Pick<PartitionImage, 'adding' | 'removing'>): boolean {
  return partition.adding.length > 0 || partition.removing.length > 0
}

/** The final members of a partition's group; of a broker with a replaced data directory, the new one. */
export function targetOf(
  image: Pick<MetadataImage, 'directoryEpoch'>,
  partition: Pick<PartitionImage, 'replicas' | 'removing'>,
): GroupTarget {
  const voters = targetReplicas(partition).map((nodeId) => raftIdOf(nodeId, image.directoryEpoch(nodeId)))
  return { voters, learners: [] }
}

/**
 * The final members of group 0: all registered brokers, of which the first ones to join vote. A draining broker keeps its vote
 * only when there is nobody else.
 */
export function metadataTargetOf(image: Pick<MetadataImage, 'brokers' | 'isDraining'>): GroupTarget {
  const byAge = [...image.brokers].sort((left, right) => left.joinedAt - right.joinedAt || left.nodeId - right.nodeId)
  const staying = byAge.filter(({ nodeId }) => !image.isDraining(nodeId))
  const voting = new Set((staying.length > 0 ? staying : byAge).slice(0, METADATA_VOTERS_MAX))
  const idOf = ({ nodeId, directoryEpoch }: (typeof byAge)[number]) => raftIdOf(nodeId, directoryEpoch)
  return {
    voters: byAge.filter((broker) => voting.has(broker)).map(idOf),
    learners: byAge.filter((broker) => !voting.has(broker)).map(idOf),
  }
}
