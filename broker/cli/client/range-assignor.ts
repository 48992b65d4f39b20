// Kafka's range assignment: each topic's partitions in a row, split evenly over the members that subscribe to it.
//
// Pure. Any member may lead a group, and what it assigns must be what the Java client would.

import type { TopicPartition } from './cluster.ts'

export interface Subscriber {
  readonly memberId: string
  /** Static members are ordered by it, and before the others. */
  readonly instanceId: string | null
  readonly topics: readonly string[]
}

/**
 * @param partitionCounts by topic; topics that do not exist are left out
 * @returns partitions by member id, an empty array for members without any
 * Source: org.apache.kafka.clients.consumer.RangeAssignor (racks aside).
 */
export function assignRanges(
  subscribers: readonly Subscriber[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, TopicPartition[]> {
  const assignment = new Map<string, TopicPartition[]>(subscribers.map(({ memberId }) => [memberId, []]))
  for (const [topic, partitionCount] of partitionCounts) {
    const members = subscribers.filter(({ topics }) => topics.includes(topic)).sort(byInstanceThenMember)
    const least = Math.floor(partitionCount / members.length)
    const larger = partitionCount % members.length
    let partition = 0
    for (const [index, { memberId }] of members.entries()) {
      const end = partition + least + (index < larger ? 1 : 0)
      for (; partition < end; partition++) assignment.get(memberId)?.push({ topic, partition })
    }
  }
  return assignment
}

function byInstanceThenMember(left: Subscriber, right: Subscriber): number {
  if (left.instanceId !== null && right.instanceId !== null) return left.instanceId < right.instanceId ? -1 : 1
  if (left.instanceId !== null) return -1
  if (right.instanceId !== null) return 1
  return left.memberId < right.memberId ? -1 : 1
}
