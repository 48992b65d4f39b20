// Where the replicas of a partition are, as its image says. Pure; any thread.

/** The part of a PartitionImage that says so. */
interface Places {
  readonly replicas: readonly number[]
  readonly leader: number
}

/** Whether that broker has, or is to have, a replica of the partition. */
export function isHostedBy({ replicas, leader }: Places, nodeId: number): boolean {
  return replicas.includes(nodeId) || leader === nodeId
}
