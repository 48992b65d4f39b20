// Replica lists that a client gives, checked. Pure functions; placement.ts chooses where the client leaves it to us.

import { ErrorCode } from '../../protocol/errors.ts'

/** A refused change: a code of the protocol and a sentence for error_message. */
export interface Refusal {
  readonly error: ErrorCode
  readonly message: string | null
}

export interface PlannedAssignments {
  readonly error: typeof ErrorCode.NONE
  /** Broker ids per partition, the preferred leader first. */
  readonly assignments: readonly (readonly number[])[]
}

/**
 * Checks one replica list a client has given.
 * @param size replicas the other partitions have, undefined for the first one
 */
export function replicaListProblem(
  replicas: readonly number[],
  size: number | undefined,
  isRegistered: (nodeId: number) => boolean,
): string | undefined {
  if (replicas.length === 0) return 'The manual partition assignment includes an empty replica list.'
  const seen = new Set<number>()
  for (const nodeId of [...replicas].sort((left, right) => left - right)) {
    if (!isRegistered(nodeId)) {
      return `The manual partition assignment includes broker ${nodeId}, but no such broker is registered.`
    }
    if (seen.has(nodeId)) return `The manual partition assignment includes the broker ${nodeId} more than once.`
    seen.add(nodeId)
  }
  if (size !== undefined && replicas.length !== size) {
    return (
      `The manual partition assignment includes a partition with ${replicas.length} replica(s), but this is not ` +
      `consistent with previous partitions, which have ${size} replica(s).`
    )
  }
  return undefined
}

/** What is said of a partition whose given brokers are all dead. */
export function noneAlive(partition: number): string {
  return `All brokers specified in the manual partition assignment for partition ${partition} are fenced or in controlled shutdown.`
}

/** Checks the assignments of a new topic and puts them in the order of their partitions. */
export function checkManualAssignments(
  given: readonly { readonly partitionIndex: number; readonly brokerIds: readonly number[] }[],
  isRegistered: (nodeId: number) => boolean,
  isAlive: (nodeId: number) => boolean,
): PlannedAssignments | Refusal {
  const refuse = (message: string): Refusal => ({ error: ErrorCode.INVALID_REPLICA_ASSIGNMENT, message })
  const byPartition = new Map<number, readonly number[]>()
  let size: number | undefined
  for (const { partitionIndex, brokerIds } of given) {
    if (byPartition.has(partitionIndex)) {
      return refuse(`Found multiple manual partition assignments for partition ${partitionIndex}`)
    }
    const problem = replicaListProblem(brokerIds, size, isRegistered)
    if (problem !== undefined) return refuse(problem)
    size = brokerIds.length
    byPartition.set(partitionIndex, [...brokerIds])
  }
  const assignments: (readonly number[])[] = []
  for (let partition = 0; partition < byPartition.size; partition++) {
    const replicas = byPartition.get(partition)
    if (replicas === undefined) return refuse('partitions should be a consecutive 0-based integer sequence')
    if (!replicas.some(isAlive)) return refuse(noneAlive(partition))
    assignments.push(replicas)
  }
  return { error: ErrorCode.NONE, assignments }
}
