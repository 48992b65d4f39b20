// Offsets of partitions by time, from whoever leads them.
//
// Functions over a Cluster, on the command's one thread.

import { ListOffsetsRequest, ListOffsetsResponse } from '../../../protocol/messages/list-offsets.ts'
import { type Cluster, partitionKey, type TopicPartition } from './cluster.ts'
import { check } from './errors.ts'

/** What ListOffsets takes instead of a timestamp. */
export const LATEST = -1
export const EARLIEST = -2

export const READ_UNCOMMITTED = 0
export const READ_COMMITTED = 1

/**
 * The offset of each partition at a time: the first record at or after it, -1 when there is none.
 * @param timestamp milliseconds since 1970, EARLIEST or LATEST
 * @returns by partitionKey
 */
export async function listOffsets(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  timestamp: number,
  isolationLevel = READ_UNCOMMITTED,
): Promise<Map<string, number>> {
  return cluster.attempt(async () => {
    const offsets = new Map<string, number>()
    const shares = [...(await cluster.byLeader(partitions))]
    const answers = await Promise.all(
      shares.map(async ([leader, share]) => {
        const connection = await cluster.node(leader)
        return connection.request(ListOffsetsRequest, ListOffsetsResponse, {
          replicaId: -1,
          isolationLevel,
          topics: byTopic(share).map(([name, indexes]) => ({
            name,
            partitions: indexes.map((partitionIndex) => ({ partitionIndex, timestamp })),
          })),
          timeoutMs: cluster.timeoutMs,
        })
      }),
    )
    for (const answer of answers) {
      for (const { name, partitions } of answer.topics) {
        for (const { partitionIndex, errorCode, offset } of partitions) {
          check(`cannot read the offsets of ${name}, partition ${partitionIndex}`, errorCode)
          offsets.set(partitionKey(name, partitionIndex), offset)
        }
      }
    }
    return offsets
  })
}

/** Start (inclusive) and end (exclusive) of each partition. */
export async function offsetRanges(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  isolationLevel = READ_UNCOMMITTED,
): Promise<Map<string, { startOffset: number; endOffset: number }>> {
  const [starts, ends] = await Promise.all([
    listOffsets(cluster, partitions, EARLIEST),
    listOffsets(cluster, partitions, LATEST, isolationLevel),
  ])
  const ranges = new Map<string, { startOffset: number; endOffset: number }>()
  for (const [key, startOffset] of starts) ranges.set(key, { startOffset, endOffset: ends.get(key) ?? startOffset })
  return ranges
}

/** Topics with the partitions named, in the order they first come. */
export function byTopic(partitions: readonly TopicPartition[]): [topic: string, partitions: number[]][] {
  const topics = new Map<string, number[]>()
  for (const { topic, partition } of partitions) {
    const known = topics.get(topic)
    if (known === undefined) topics.set(topic, [partition])
    else known.push(partition)
  }
  return [...topics]
}
