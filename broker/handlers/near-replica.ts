// Which replica a consumer should read from, by rack (KIP-392, replica.selector.class).
//
// A function of the image; the shard that leads the partition has the last word (Partition.isReadableAt).

import type { PartitionImage } from '../cluster/metadata.ts'
import type { ShardContext } from '../shard/context.ts'
import type { CallContext } from './api.ts'
import { addressOf } from './brokers.ts'

/** The one selector of Kafka that does something; any other class, and none, means the leader. */
const RACK_AWARE = 'RackAwareReplicaSelector'

/**
 * A replica in the rack of the client, when the leader is here and in another one.
 * @returns its broker id; -1 for the leader
 */
export function nearReplica(
  shard: ShardContext,
  call: CallContext,
  rackId: string,
  { leader, isr }: PartitionImage,
): number {
  const { config, image } = shard
  if (rackId === '' || leader !== config.nodeId || isr.length < 2) return -1
  if (!config.replicaSelectorClass.endsWith(RACK_AWARE)) return -1
  if (image.broker(leader)?.rack === rackId) return -1
  const near = isr.filter((nodeId) => addressOf(shard, nodeId, call.listenerName)?.rack === rackId)
  // Kafka takes the one that is furthest; here the clients of a rack are spread over its replicas.
  return near.length === 0 ? -1 : near[call.connectionId % near.length]!
}
