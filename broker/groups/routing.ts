// Which partition of __consumer_offsets a group belongs to, and so which broker and shard coordinate it.
//
// Pure functions of the metadata image: every shard and every broker finds the same.

import type { MetadataImage } from '../cluster/metadata.ts'
import { OFFSETS_TOPIC } from '../cluster/topic-names.ts'
import { isHostedBy } from '../partition/hosted.ts'
import type { ShardContext } from '../shard/context.ts'
import { shardOf } from '../shard/placement.ts'

/** Java's String.hashCode() over UTF-16 code units, masked (not negated) to 31 bits, as Kafka's clients and brokers do. */
export function partitionOfKey(key: string, partitionCount: number): number {
  let hash = 0
  for (let at = 0; at < key.length; at++) hash = (Math.imul(hash, 31) + key.charCodeAt(at)) | 0
  return (hash & 0x7fff_ffff) % partitionCount
}

/** @returns undefined while __consumer_offsets does not exist */
export function offsetsPartitionOf(groupId: string, image: Pick<MetadataImage, 'topicByName'>): number | undefined {
  const topic = image.topicByName(OFFSETS_TOPIC)
  return topic === undefined ? undefined : partitionOfKey(groupId, topic.partitions.length)
}

/**
 * @returns the shard of this broker that coordinates the group when this broker does, which that shard knows best; undefined when it
 * cannot be this broker, or __consumer_offsets does not exist
 */
export function coordinatorShard(
  groupId: string,
  shard: Pick<ShardContext, 'image' | 'shardCount' | 'config'>,
): number | undefined {
  const topic = shard.image.topicByName(OFFSETS_TOPIC)
  if (topic === undefined) return undefined
  const partition = topic.partitions[partitionOfKey(groupId, topic.partitions.length)]!
  return isHostedBy(partition, shard.config.nodeId) ? shardOf(partition.groupId, shard.shardCount) : undefined
}
