// The brokers as clients are told of them: who is alive, where each is reached, who leads a partition, which are here.
//
// Answered from the image of the shard that handles the request. A broker that has shown no sign of life lately is left out everywhere, as Kafka
// leaves out fenced ones. Unless it is this one that is cut off: then it cannot tell who lives, and says what it knew last, all registered brokers
// and the last leaders, as Kafka's do. So its clients find a broker that knows better.

import { ErrorCode } from '../../protocol/errors.ts'
import type { BrokerRegistration, PartitionImage } from '../cluster/metadata.ts'
import type { LeaderHint } from '../partition/append.ts'
import { isHostedBy } from '../partition/hosted.ts'
import type { ShardContext } from '../shard/context.ts'

export interface BrokerAddress {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly rack: string | null
}

/** Whether clients are told of a registered broker as one that serves. */
export function isShown(shard: Pick<ShardContext, 'isAlive' | 'isCutOff'>, nodeId: number): boolean {
  return shard.isCutOff || shard.isAlive(nodeId)
}

/** Where clients of a listener reach a broker that is shown to them; undefined when they cannot. */
export function addressOf(shard: ShardContext, nodeId: number, listenerName: string): BrokerAddress | undefined {
  const broker = shard.image.broker(nodeId)
  return broker === undefined || !isShown(shard, nodeId) ? undefined : onListener(broker, listenerName)
}

function onListener({ nodeId, host, port, rack, endpoints }: BrokerRegistration, listenerName: string) {
  // A broker that names no listeners is reached at its one address.
  if (endpoints.length === 0) return { nodeId, host, port, rack }
  const endpoint = endpoints.find(({ listener }) => listener === listenerName)
  return endpoint === undefined ? undefined : { nodeId, host: endpoint.host, port: endpoint.port, rack }
}

/** The brokers that clients of a listener can reach, by id. */
export function reachableBrokers(shard: ShardContext, listenerName: string): BrokerAddress[] {
  const found: BrokerAddress[] = []
  for (const broker of shard.image.brokers) {
    const address = isShown(shard, broker.nodeId) ? onListener(broker, listenerName) : undefined
    if (address !== undefined) found.push(address)
  }
  return found
}

/** Whether this broker has, or is to have, a replica of the partition. */
export function isHosted({ config }: ShardContext, partition: PartitionImage): boolean {
  return isHostedBy(partition, config.nodeId)
}

/**
 * The leader to name beside an error: the newer of what the replica here and the metadata know; Kafka's clients go there at once. Nobody
 * is named who is not alive: a client would only wait for him.
 * @param known of the replica, NO_LEADER when there is none here
 */
export function leaderHint(shard: ShardContext, groupId: number, known: LeaderHint): LeaderHint {
  const hint = newestLeader(shard, groupId, known)
  return mayName(shard, hint.leaderId) ? hint : { leaderId: -1, leaderEpoch: hint.leaderEpoch }
}

/** Whether clients may be sent to that leader. */
function mayName(shard: ShardContext, leader: number): boolean {
  return shard.image.broker(leader) !== undefined && isShown(shard, leader)
}

function newestLeader({ config, image }: ShardContext, groupId: number, known: LeaderHint): LeaderHint {
  const announced = image.partitionByGroup(groupId)?.partition
  if (announced === undefined || announced.leaderEpoch < known.leaderEpoch) return known
  if (announced.leaderEpoch === known.leaderEpoch && known.leaderId >= 0) return known
  // A replica that was asked here and does not lead knows better than an older announcement of its own.
  const isStale = announced.leader === config.nodeId && known.leaderEpoch >= 0
  return { leaderId: isStale ? -1 : announced.leader, leaderEpoch: announced.leaderEpoch }
}

/** What Metadata and its like say of a partition. */
export interface PartitionStatus {
  readonly errorCode: ErrorCode
  /** -1 while there is none that the client could reach. */
  readonly leaderId: number
  readonly isr: number[]
  readonly offline: number[]
}

/** @param listenerError for a leader that is alive and not on the client's listener */
export function statusOf(
  shard: ShardContext,
  { leader, leaderEpoch, replicas, isr }: PartitionImage,
  listenerName: string,
  listenerError: ErrorCode = ErrorCode.LISTENER_NOT_FOUND,
): PartitionStatus {
  const isOffline = (nodeId: number): boolean => addressOf(shard, nodeId, listenerName) === undefined
  // Until it has announced itself, the first replica is only the one that should lead.
  const isAlive = leaderEpoch >= 0 && mayName(shard, leader)
  const hasLeader = isAlive && !isOffline(leader)
  return {
    errorCode: hasLeader ? ErrorCode.NONE : isAlive ? listenerError : ErrorCode.LEADER_NOT_AVAILABLE,
    leaderId: hasLeader ? leader : -1,
    // In the order of the replicas, as in Kafka: the preferred leader first.
    isr: replicas.filter((nodeId) => isr.includes(nodeId) && isShown(shard, nodeId)),
    offline: replicas.filter(isOffline),
  }
}

/** The brokers of leader hints, as the answers of Produce and Fetch carry them. */
export function nodeEndpoints(
  shard: ShardContext,
  listenerName: string,
  leaderIds: ReadonlySet<number>,
): BrokerAddress[] {
  const found: BrokerAddress[] = []
  for (const nodeId of leaderIds) {
    const address = addressOf(shard, nodeId, listenerName)
    if (address !== undefined) found.push(address)
  }
  return found
}
