// What the metadata log holds: versioned commands that change the metadata image, as JSON in UTF-8.
//
// Made by the controller, applied in log order by the image of every shard of every broker. A command once written stays
// readable: a changed meaning gets a higher version, and a broker that does not know it says so and stops.

import { OperatorError } from '../operator-error.ts'

export interface Endpoint {
  readonly listener: string
  readonly host: string
  readonly port: number
}

export interface PeerAddress {
  readonly host: string
  readonly port: number
}

/** A broker as it is now. The directory epoch is given out when the command is applied. */
export interface RegisterBroker {
  readonly type: 'register-broker'
  readonly nodeId: number
  /** Address told to clients of the first listener. */
  readonly host: string
  readonly port: number
  readonly rack: string | null
  /** Address by listener, where there are several. */
  readonly endpoints: readonly Endpoint[]
  /** Id of its data directory. Version 1 and a broker alone have none. */
  readonly directoryId?: string
  /** Where other brokers reach it. Version 1 and a broker alone have none. */
  readonly peer?: PeerAddress | null
  /** Threads that own groups there: a group's number modulo this is its shard. 1 in version 1. */
  readonly shardCount?: number
}

/** The broker left for good; its id may register again. */
export interface UnregisterBroker {
  readonly type: 'unregister-broker'
  readonly nodeId: number
}

export interface SetClusterId {
  readonly type: 'set-cluster-id'
  readonly clusterId: string
}

export interface CreateTopic {
  readonly type: 'create-topic'
  readonly name: string
  readonly topicId: string
  /** Broker ids per partition, the preferred leader first. Raft group numbers are given out when the command is applied. */
  readonly assignments: readonly (readonly number[])[]
  readonly configs: Readonly<Record<string, string>>
  /** Of an internal topic: see TopicImage.isFactorChosen. A release that does not know it adds no replicas by itself either. */
  readonly isFactorChosen?: boolean
}

export interface DeleteTopic {
  readonly type: 'delete-topic'
  readonly topicId: string
}

export interface AddPartitions {
  readonly type: 'add-partitions'
  readonly topicId: string
  /** Partitions the topic has before; the command does nothing when it has another count by then. */
  readonly firstPartition: number
  /** For the new partitions only. */
  readonly assignments: readonly (readonly number[])[]
}

/**
 * Sets the replicas of a partition on their way to another list. Without `adding` and `removing` the list is what the partition
 * has (another order, or a reassignment taken back). A partition that is gone by then: nothing.
 */
export interface ReassignPartition {
  readonly type: 'reassign-partition'
  readonly groupId: number
  /** While moving: first the replicas it will have, in their order, then those that will go. */
  readonly replicas: readonly number[]
  readonly adding: readonly number[]
  readonly removing: readonly number[]
  /** Somebody wants another number of replicas for a partition of an internal topic. */
  readonly isFactorChosen?: boolean
}

/** The leader of the group has made its members those of the target. Does nothing when the target is another one by then. */
export interface CompleteReassignment {
  readonly type: 'complete-reassignment'
  readonly groupId: number
  readonly targetReplicas: readonly number[]
}

/** Finalized levels of features; those not named stay, 0 takes one away. */
export interface SetFeatures {
  readonly type: 'set-features'
  readonly levels: Readonly<Record<string, number>>
}

export type ConfigResource = 'topic' | 'broker' | 'group' | 'client-metrics'

/** Replaces all overrides of one resource. */
export interface SetConfigs {
  readonly type: 'set-configs'
  readonly resource: ConfigResource
  /** Topic id (not name), node id as text or '' for all brokers, group id, or subscription name. */
  readonly name: string
  readonly configs: Readonly<Record<string, string>>
}

export interface AllocateProducerIds {
  readonly type: 'allocate-producer-ids'
  /** Tells the asker that the block last given out is its own. */
  readonly token: string
  readonly count: number
}

export type Command =
  | RegisterBroker
  | SetClusterId
  | CreateTopic
  | DeleteTopic
  | AddPartitions
  | SetConfigs
  | AllocateProducerIds
  | UnregisterBroker
  | ReassignPartition
  | CompleteReassignment
  | SetFeatures

/** This broker does not lead the metadata group, or no longer: another controller decides. */
export class NotController extends Error {
  override readonly name = 'NotController'

  constructor() {
    super('this broker does not lead the metadata group')
  }
}

/** Appends to Raft group 0. */
export interface MetadataLog {
  /**
   * Resolves when the commands are durable, applied on every shard of this broker, and new partitions accept requests.
   * A rejection leaves open whether they will be applied; NotController says that this broker cannot tell.
   */
  append(commands: readonly Command[]): Promise<void>
  /** Whether this broker led the metadata group at some moment after the call, with everything decided before applied. */
  confirm(): Promise<boolean>
}

/** The newest version of each command this broker writes and reads. */
const VERSIONS: Readonly<Record<Command['type'], number>> = {
  'register-broker': 2,
  'set-cluster-id': 1,
  'create-topic': 1,
  'delete-topic': 1,
  'add-partitions': 1,
  'set-configs': 1,
  'allocate-producer-ids': 1,
  'unregister-broker': 1,
  'reassign-partition': 1,
  'complete-reassignment': 1,
  'set-features': 1,
}

export function encodeCommand(command: Command): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ version: VERSIONS[command.type], ...command }))
}

/**
 * Reads what encodeCommand wrote, of this or an older release.
 * @throws OperatorError for a command of a newer release, or one that is no command
 */
export function decodeCommand(bytes: Uint8Array): Command {
  let decoded: unknown
  try {
    decoded = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw unreadable('an entry that is not JSON', cause)
  }
  if (typeof decoded !== 'object' || decoded === null) throw unreadable('an entry that is no command')
  const { version, ...command } = decoded as { version?: unknown; type?: unknown }
  const { type } = command
  const isKnown = typeof type === 'string' && Object.hasOwn(VERSIONS, type)
  const known = isKnown ? VERSIONS[type as Command['type']] : undefined
  if (known === undefined || typeof version !== 'number') {
    throw unreadable(`a command of type ${JSON.stringify(command.type)}, which this release does not know`)
  }
  if (version > known) {
    throw unreadable(`version ${version} of the command ${command.type}, and this release reads up to ${known}`)
  }
  return command as Command
}

function unreadable(what: string, cause?: unknown): OperatorError {
  return new OperatorError(
    'METADATA_COMMAND_UNREADABLE',
    `the metadata log holds ${what}`,
    'Start the release that wrote this data directory, or a newer one.',
    { cause },
  )
}
