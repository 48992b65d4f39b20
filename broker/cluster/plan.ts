// What a change of the cluster is before it happens: commands for the metadata log, and how its request is answered.
//
// Made by the controller while the change has its turn; the pieces here are shared by the files that plan.

import { ErrorCode } from '../../protocol/errors.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { Refusal } from './assignment.ts'
import type { Command } from './commands.ts'
import type { MetadataImage } from './metadata.ts'

/** Answered as planned, or with a refusal of everything planned. */
export interface Plan<T> {
  readonly commands: readonly Command[]
  answer(failed: Refusal | undefined): T
}

/** What plans are made from. */
export interface PlanContext {
  /** As it is at the moment of the call: once when planning, again when answering. */
  readonly image: () => MetadataImage
  readonly config: BrokerConfig
  readonly random: Environment['random']
  readonly isAlive: (nodeId: number) => boolean
}

/** Kafka writes at most this many metadata records for one request. */
export const RECORDS_PER_REQUEST_MAX = 10_000

export const UNKNOWN_TOPIC: Refusal = {
  error: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  message: 'This server does not host this topic-partition.',
}

export function invalidRequest(message: string): Refusal {
  return { error: ErrorCode.INVALID_REQUEST, message }
}

export function tooManyRecords(): Refusal {
  return { error: ErrorCode.POLICY_VIOLATION, message: 'Excessively large number of partitions per request.' }
}
