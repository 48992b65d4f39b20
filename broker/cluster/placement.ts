// Where new replicas go: distinct brokers, spread over racks, balanced over brokers and their shards.
//
// Pure: the same image, liveness and order of calls give the same answer. One Placement serves one plan of the controller and
// counts what it has already given out, so that the topics of one request do not all choose the same broker.
//
// First the preferred leader: of those alive the one that leads fewest partitions of the topic, fewest at all, fewest on the shard
// that the group falls to there. Then the others, one by one: alive, in the rack that holds fewest of the partition's replicas,
// with fewest replicas of the topic, fewest at all, fewest on the shard. Where all is equal, the next one round.
// Balance within the topic goes first: a new, empty broker would otherwise get all partitions of the next topics.

import { ErrorCode } from '../../protocol/errors.ts'
import { shardOf } from '../shard/placement.ts'
import type { PlannedAssignments, Refusal } from './assignment.ts'
import type { BrokerRegistration, MetadataImage, PartitionImage } from './metadata.ts'
import { targetReplicas } from './target.ts'

interface Candidate {
  readonly nodeId: number
  readonly rack: string
  readonly isAlive: boolean
  readonly shards: readonly { replicas: number; leaders: number }[]
  replicas: number
  leaders: number
  /** Of the topic being placed. */
  topicReplicas: number
  topicLeaders: number
}

type PlacementImage = Pick<MetadataImage, 'brokers' | 'load' | 'nextGroupId' | 'isDraining'>

export class Placement {
  /** Every broker that may take new replicas, in order of id. */
  readonly #candidates: readonly Candidate[]
  readonly #registeredCount: number
  #nextGroupId: number

  constructor(image: PlacementImage, isAlive: (nodeId: number) => boolean) {
    const takes = image.brokers.filter(({ nodeId }) => !image.isDraining(nodeId))
    this.#registeredCount = image.brokers.length
    this.#nextGroupId = image.nextGroupId
    this.#candidates = takes.map((broker) => candidate(broker, image, isAlive))
  }

  /**
   * Places the partitions of a new topic, or further ones of a topic. They count as placed from then on.
   * @param present the topic's partitions so far
   */
  place(
    partitionCount: number,
    replicationFactor: number,
    present: readonly PartitionImage[] = [],
  ): PlannedAssignments | Refusal {
    if (replicationFactor > this.#candidates.length) return this.#tooFewBrokers(replicationFactor)
    if (!this.#candidates.some(({ isAlive }) => isAlive))
      return refused(replicationFactor, 'All brokers are not alive.')
    this.#countTopic(present)
    const assignments: number[][] = []
    for (let partition = 0; partition < partitionCount; partition++) {
      const groupId = this.#nextGroupId++
      const chosen: Candidate[] = []
      while (chosen.length < replicationFactor) {
        const best = chosen.length === 0 ? this.#bestLeader(this.#candidates, groupId) : this.#best(chosen, groupId)
        if (best === undefined) return this.#tooFewBrokers(replicationFactor)
        chosen.push(best)
      }
      for (const broker of chosen) counted(broker, groupId, broker === chosen[0])
      assignments.push(chosen.map(({ nodeId }) => nodeId))
    }
    return { error: ErrorCode.NONE, assignments }
  }

  /** Counts partitions whose replicas a client has chosen. */
  count(assignments: readonly (readonly number[])[]): void {
    for (const replicas of assignments) {
      const groupId = this.#nextGroupId++
      replicas.forEach((nodeId, at) => {
        const broker = this.#candidates.find((other) => other.nodeId === nodeId)
        if (broker !== undefined) counted(broker, groupId, at === 0)
      })
    }
  }

  /**
   * The replicas of a partition without some brokers, as many as before.
   * @param leaving brokers to be replaced
   * @returns undefined when nobody alive can take their place
   */
  replace(
    { groupId, replicas, removing }: Pick<PartitionImage, 'groupId' | 'replicas' | 'removing'>,
    leaving: (nodeId: number) => boolean,
    topic: readonly PartitionImage[],
  ): readonly number[] | undefined {
    this.#countTopic(topic)
    const target = targetReplicas({ replicas, removing })
    const staying = target.filter((nodeId) => !leaving(nodeId))
    const chosen = staying.map((nodeId) => this.#candidates.find((broker) => broker.nodeId === nodeId)).filter(isKnown)
    const added: Candidate[] = []
    while (staying.length + added.length < target.length) {
      const best = this.#best([...chosen, ...added], groupId, staying)
      if (best === undefined || !best.isAlive) return undefined
      added.push(best)
    }
    for (const broker of added) counted(broker, groupId, false)
    const next = [...staying, ...added.map(({ nodeId }) => nodeId)]
    if (target[0] === next[0]) return next
    // The preferred leader leaves: the role goes to the one that has it least often.
    const leader = this.#bestLeader([...chosen, ...added], groupId)
    if (leader === undefined) return next
    countedLeader(leader, groupId)
    return [leader.nodeId, ...next.filter((nodeId) => nodeId !== leader.nodeId)]
  }

  /**
   * Further replicas for partitions of a topic, on live brokers only; the preferred leaders are spread over all that hold them then.
   * @param asked each with those of its replicas that stay
   * @returns per partition up to `replicationFactor` replicas, fewer where there are not so many live brokers
   */
  extend(
    asked: readonly { readonly partition: PartitionImage; readonly staying: readonly number[] }[],
    replicationFactor: number,
    topic: readonly PartitionImage[],
  ): readonly (readonly number[])[] {
    this.#countTopic(topic)
    return asked.map(({ partition, staying }) => {
      const { groupId } = partition
      const held = staying.map((nodeId) => this.#candidate(nodeId)).filter(isKnown)
      const added: Candidate[] = []
      while (staying.length + added.length < replicationFactor) {
        const best = this.#best([...held, ...added], groupId, staying)
        if (best === undefined || !best.isAlive) break
        counted(best, groupId, false)
        added.push(best)
      }
      if (added.length === 0) return staying
      const before = this.#candidate(targetReplicas(partition)[0])
      if (before !== undefined) countedLeader(before, groupId, -1)
      const leader = this.#bestLeader([...held, ...added], groupId)!
      countedLeader(leader, groupId)
      const next = [...staying, ...added.map(({ nodeId }) => nodeId)]
      return [leader.nodeId, ...next.filter((nodeId) => nodeId !== leader.nodeId)]
    })
  }

  #candidate(nodeId: number | undefined): Candidate | undefined {
    return this.#candidates.find((broker) => broker.nodeId === nodeId)
  }

  #best(chosen: readonly Candidate[], groupId: number, excluded: readonly number[] = []): Candidate | undefined {
    let best: Candidate | undefined
    const count = this.#candidates.length
    for (let at = 0; at < count; at++) {
      // Begins at another broker for each group: where all else is equal, the next one round.
      const broker = this.#candidates[(groupId + at) % count]!
      if (chosen.includes(broker) || excluded.includes(broker.nodeId)) continue
      if (best === undefined || comparePlaces(broker, best, chosen, groupId) < 0) best = broker
    }
    return best
  }

  #bestLeader(among: readonly Candidate[], groupId: number): Candidate | undefined {
    let best: Candidate | undefined
    for (let at = 0; at < among.length; at++) {
      const broker = among[(groupId + at) % among.length]!
      if (best === undefined || compareLeaders(broker, best, groupId) < 0) best = broker
    }
    return best
  }

  #countTopic(partitions: readonly PartitionImage[]): void {
    for (const broker of this.#candidates) {
      broker.topicReplicas = 0
      broker.topicLeaders = 0
    }
    for (const partition of partitions) {
      const replicas = targetReplicas(partition)
      for (const broker of this.#candidates) {
        if (!replicas.includes(broker.nodeId)) continue
        broker.topicReplicas++
        if (replicas[0] === broker.nodeId) broker.topicLeaders++
      }
    }
  }

  #tooFewBrokers(replicationFactor: number): Refusal {
    const count = this.#candidates.length
    const reason =
      count < this.#registeredCount
        ? 'and not being drained'
        : 'or some brokers have all their log directories cordoned'
    return refused(
      replicationFactor,
      `The target replication factor of ${replicationFactor} cannot be reached because only ${count} broker(s) are ` +
        `registered ${reason}.`,
    )
  }
}

function candidate(
  { nodeId, rack }: BrokerRegistration,
  { load }: PlacementImage,
  isAlive: (nodeId: number) => boolean,
): Candidate {
  const { replicas, leaders, shards } = load.of(nodeId)
  return {
    nodeId,
    rack: rack ?? '',
    isAlive: isAlive(nodeId),
    shards: shards.map((shard) => ({ ...shard })),
    replicas,
    leaders,
    topicReplicas: 0,
    topicLeaders: 0,
  }
}

function refused(replicationFactor: number, reason: string): Refusal {
  return {
    error: ErrorCode.INVALID_REPLICATION_FACTOR,
    message: `Unable to replicate the partition ${replicationFactor} time(s): ${reason}`,
  }
}

function comparePlaces(left: Candidate, right: Candidate, chosen: readonly Candidate[], groupId: number): number {
  return (
    Number(right.isAlive) - Number(left.isAlive) ||
    inRack(left, chosen) - inRack(right, chosen) ||
    left.topicReplicas - right.topicReplicas ||
    left.replicas - right.replicas ||
    shardOfGroup(left, groupId).replicas - shardOfGroup(right, groupId).replicas
  )
}

function compareLeaders(left: Candidate, right: Candidate, groupId: number): number {
  return (
    Number(right.isAlive) - Number(left.isAlive) ||
    left.topicLeaders - right.topicLeaders ||
    left.leaders - right.leaders ||
    shardOfGroup(left, groupId).leaders - shardOfGroup(right, groupId).leaders ||
    left.topicReplicas - right.topicReplicas ||
    left.replicas - right.replicas
  )
}

function inRack({ rack }: Candidate, chosen: readonly Candidate[]): number {
  let count = 0
  for (const other of chosen) if (other.rack === rack) count++
  return count
}

function shardOfGroup({ shards }: Candidate, groupId: number): { replicas: number; leaders: number } {
  return shards[shardOf(groupId, shards.length)]!
}

function counted(broker: Candidate, groupId: number, leads: boolean): void {
  broker.replicas++
  broker.topicReplicas++
  shardOfGroup(broker, groupId).replicas++
  if (leads) countedLeader(broker, groupId)
}

function countedLeader(broker: Candidate, groupId: number, by: 1 | -1 = 1): void {
  broker.leaders += by
  broker.topicLeaders += by
  shardOfGroup(broker, groupId).leaders += by
}

function isKnown(broker: Candidate | undefined): broker is Candidate {
  return broker !== undefined
}
