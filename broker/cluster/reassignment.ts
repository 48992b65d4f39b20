// Replicas that move: what AlterPartitionReassignments asks for, and what draining a broker needs, turned into commands.
//
// Pure functions over the image, run by the controller while it holds its turn. The metadata log only says where a partition is
// to go; the leader of its group brings it there and reports with `complete-reassignment`.

import { ErrorCode } from '../../protocol/errors.ts'
import type { Refusal } from './assignment.ts'
import { replicaListProblem } from './assignment.ts'
import type { ReassignPartition } from './commands.ts'
import type { MetadataImage, PartitionImage } from './metadata.ts'
import { sameList } from './metadata.ts'
import { Placement } from './placement.ts'
import { isReassigning, targetReplicas } from './target.ts'

export interface PlannedReassignment {
  readonly error: typeof ErrorCode.NONE
  /** undefined: the partition is on its way there already. */
  readonly command: ReassignPartition | undefined
}

/**
 * Sends a partition to another list of replicas, or elsewhere than it is going now.
 * @param mayChangeCount false: as many replicas as it has
 */
export function planReassignment(
  image: Pick<MetadataImage, 'broker'>,
  partition: PartitionImage,
  target: readonly number[],
  mayChangeCount: boolean,
): PlannedReassignment | Refusal {
  const message = replicaListProblem(target, undefined, (nodeId) => image.broker(nodeId) !== undefined)
  if (message !== undefined) return { error: ErrorCode.INVALID_REPLICA_ASSIGNMENT, message }
  const count = targetReplicas(partition).length
  if (!mayChangeCount && target.length !== count) {
    return {
      error: ErrorCode.INVALID_REPLICATION_FACTOR,
      message: `The replication factor is changed from ${count} to ${target.length}`,
    }
  }
  const command = towards(partition, target)
  return { error: ErrorCode.NONE, command: changesNothing(partition, command) ? undefined : command }
}

/**
 * Takes a running reassignment back: the partition keeps, or gets back, what it had before.
 * @param topic name, for what is said of a partition that cannot go back
 */
export function planCancellation(
  topic: string,
  partition: PartitionImage,
  isAlive: (nodeId: number) => boolean,
): PlannedReassignment | Refusal {
  const { original } = partition
  if (!isReassigning(partition) || sameList(targetReplicas(partition), original)) {
    return { error: ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, message: null }
  }
  if (!original.some(isAlive)) {
    return {
      error: ErrorCode.INVALID_REPLICA_ASSIGNMENT,
      message: `Unable to revert partition assignment for ${topic}:${partition.partition} because it would require an unclean leader election.`,
    }
  }
  // Those being added may be members of the group by now: they leave it as in any reassignment.
  return { error: ErrorCode.NONE, command: towards(partition, original) }
}

/** The replicas on their way: future ones in their order, then those that go. */
export function towards(partition: PartitionImage, target: readonly number[]): ReassignPartition {
  const { groupId, replicas } = partition
  const had = isReassigning(partition) ? partition.original : replicas
  const removing = replicas.filter((nodeId) => !target.includes(nodeId))
  return {
    type: 'reassign-partition',
    groupId,
    replicas: [...target, ...removing],
    adding: target.filter((nodeId) => !had.includes(nodeId)),
    removing,
  }
}

function changesNothing(partition: PartitionImage, { replicas, adding, removing }: ReassignPartition): boolean {
  const isSameList = sameList(partition.replicas, replicas)
  return isSameList && sameList(partition.adding, adding) && sameList(partition.removing, removing)
}

export interface MoveLimits {
  /** Partitions of the cluster that may be moving at a time. */
  readonly movingMax: number
}

export interface DrainPlan {
  readonly commands: readonly ReassignPartition[]
  /** Partitions that draining brokers hold and are not to keep, those on their way included. */
  readonly left: number
  /** Of those: no broker can take them. */
  readonly withoutPlace: number
  /** Of those: nobody leads them, so nothing can move. */
  readonly withoutLeader: number
}

/**
 * The next batch of moves that empty the draining brokers. A move towards a broker that has died since is aimed elsewhere.
 * Called again when something has moved; nothing is remembered between the calls.
 */
export function planDrain(
  image: MetadataImage,
  isAlive: (nodeId: number) => boolean,
  { movingMax }: MoveLimits,
): DrainPlan {
  const commands: ReassignPartition[] = []
  let left = 0
  let withoutPlace = 0
  let withoutLeader = 0
  let moving = 0
  const waiting: { partition: PartitionImage; topic: readonly PartitionImage[] }[] = []
  const isDraining = (nodeId: number) => image.isDraining(nodeId)
  const isDead = (nodeId: number) => !isAlive(nodeId)
  if (!image.brokers.some(({ nodeId }) => isDraining(nodeId))) return { commands, left, withoutPlace, withoutLeader }
  for (const { partitions } of image.topics()) {
    for (const partition of partitions) {
      const drains = partition.replicas.some(isDraining)
      if (drains) left++
      if (!isAlive(partition.leader)) {
        if (drains) withoutLeader++
        continue
      }
      if (!isReassigning(partition)) {
        if (drains) waiting.push({ partition, topic: partitions })
        continue
      }
      moving++
      const goesWrong = targetReplicas(partition).some(isDraining) || partition.adding.some(isDead)
      if (drains && goesWrong) waiting.push({ partition, topic: partitions })
    }
  }
  const placement = new Placement(image, isAlive)
  for (const { partition, topic } of waiting) {
    const isMoving = isReassigning(partition)
    if (!isMoving && moving >= movingMax) continue
    const leaves = (nodeId: number) => isDraining(nodeId) || (partition.adding.includes(nodeId) && isDead(nodeId))
    const target = placement.replace(partition, leaves, topic)
    if (target === undefined) {
      withoutPlace++
      continue
    }
    if (!isMoving) moving++
    commands.push(towards(partition, target))
  }
  return { commands, left, withoutPlace, withoutLeader }
}
