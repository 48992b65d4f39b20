// How many replicas the topics have that the broker makes for itself, and which they get when the cluster grows.
//
// Pure functions over the image, run by the controller while it holds its turn. A topic that came into being while few brokers were there
// has few replicas; every broker that joins later can take some, up to offsets.topic.replication.factor. Never fewer than
// there are; and never where somebody has chosen the number: by creating the topic with one, or by a reassignment to another one.

import type { BrokerConfig } from '../config.ts'
import type { ReassignPartition } from './commands.ts'
import type { MetadataImage, PartitionImage } from './metadata.ts'
import { Placement } from './placement.ts'
import { type MoveLimits, towards } from './reassignment.ts'
import { isReassigning, targetReplicas } from './target.ts'
import { OFFSETS_TOPIC } from './topic-names.ts'

export interface RaisePlan {
  readonly commands: readonly ReassignPartition[]
  readonly topic: string
  readonly replicationFactor: number
  /** Partitions that have fewer, those on their way included. */
  readonly left: number
}

/** What the topic gets when the broker makes it: a smaller cluster than Kafka asks for works at once. */
export function offsetsReplicationFactor(
  image: Pick<MetadataImage, 'brokers' | 'isDraining'>,
  config: BrokerConfig,
): number {
  const takers = image.brokers.filter(({ nodeId }) => !image.isDraining(nodeId)).length
  return Math.max(1, Math.min(config.offsetsTopicReplicationFactor, takers))
}

/**
 * The next partitions that get more replicas. Called again when something has moved; nothing is remembered between the calls.
 * @returns undefined when nothing is to be begun now
 */
export function planRaise(
  image: MetadataImage,
  config: BrokerConfig,
  isAlive: (nodeId: number) => boolean,
  { movingMax }: MoveLimits,
): RaisePlan | undefined {
  const topic = image.topicByName(OFFSETS_TOPIC)
  if (topic === undefined || topic.isFactorChosen) return undefined
  const replicationFactor = offsetsReplicationFactor(image, config)
  const short = topic.partitions.filter(({ replicas, removing, adding }) => {
    return targetReplicas({ replicas, removing }).length < replicationFactor || adding.length > 0
  })
  if (short.length === 0 || topic.partitions.some((partition) => isReassigning(partition) && !isRaising(partition))) {
    return undefined
  }
  let room = movingMax - movingCount(image)
  const waiting: { readonly partition: PartitionImage; readonly staying: readonly number[] }[] = []
  for (const partition of short) {
    if (!isAlive(partition.leader) || partition.replicas.some((nodeId) => image.isDraining(nodeId))) continue
    const isGone = (nodeId: number) => partition.adding.includes(nodeId) && !isAlive(nodeId)
    if (isReassigning(partition) ? !partition.adding.some(isGone) : room-- <= 0) continue
    waiting.push({ partition, staying: targetReplicas(partition).filter((nodeId) => !isGone(nodeId)) })
  }
  if (waiting.length === 0) return undefined
  const targets = new Placement(image, isAlive).extend(waiting, replicationFactor, topic.partitions)
  const commands: ReassignPartition[] = []
  for (const [at, { partition, staying }] of waiting.entries()) {
    const target = targets[at]!
    if (target.length > staying.length) commands.push(towards(partition, target))
  }
  return commands.length === 0 ? undefined : { commands, topic: topic.name, replicationFactor, left: short.length }
}

/** Whether a running reassignment adds to what there was: on a topic whose number nobody has chosen that is one of ours. */
function isRaising(partition: PartitionImage): boolean {
  return targetReplicas(partition).length > partition.original.length
}

function movingCount(image: MetadataImage): number {
  let count = 0
  for (const { partitions } of image.topics()) {
    for (const partition of partitions) if (isReassigning(partition)) count++
  }
  return count
}
