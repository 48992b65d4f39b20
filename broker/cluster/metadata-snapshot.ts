// Layout of a serialized metadata image, and how older layouts are read. Pure; used by metadata.ts on the thread of its shard.

import { OperatorError } from '../operator-error.ts'
import type { ConfigResource } from './commands.ts'
import type { BrokerRegistration } from './metadata.ts'

/**
 * One partition: group number, broker ids, then what differs from the usual: the founders (raft ids) when they are not the
 * broker ids themselves, and what a running reassignment adds, removes and came from.
 */
export type PartitionSnapshot = readonly [
  groupId: number,
  replicas: readonly number[],
  founders?: readonly number[],
  reassignment?: readonly [adding: readonly number[], removing: readonly number[], original: readonly number[]],
]

/** One topic; the last one is true for an internal topic whose number of replicas a client has chosen. */
export type TopicSnapshot = readonly [
  name: string,
  topicId: string,
  configs: Record<string, string>,
  partitions: readonly PartitionSnapshot[],
  isFactorChosen?: boolean,
]

/** A field added later is optional; another meaning gets another number. */
export interface Snapshot {
  readonly format: typeof SNAPSHOT_FORMAT
  readonly appliedIndex: number
  readonly clusterId: string
  readonly nextGroupId: number
  readonly nextProducerId: number
  readonly producerIdToken: string
  readonly topicsVersion: number
  readonly brokers: readonly BrokerRegistration[]
  /** Of every broker id that was ever registered: the id of its last data directory, and how many it had before. */
  readonly directories: readonly (readonly [nodeId: number, directoryId: string, directoryEpoch: number])[]
  readonly features: Readonly<Record<string, number>>
  readonly topics: readonly TopicSnapshot[]
  readonly configs: readonly (readonly [ConfigResource, string, Record<string, string>])[]
}

export const SNAPSHOT_FORMAT = 2

/** Format 1, of brokers that stood alone, knew neither directories nor reassignments. */
type SnapshotOfOneBroker = Omit<Snapshot, 'format' | 'brokers' | 'directories' | 'features'> & {
  readonly format: 1
  readonly brokers: readonly Pick<BrokerRegistration, 'nodeId' | 'host' | 'port' | 'rack' | 'endpoints'>[]
}

/** @throws OperatorError when the bytes are of a newer release or damaged */
export function readSnapshot(bytes: Uint8Array): Snapshot {
  let snapshot: Snapshot | SnapshotOfOneBroker | { readonly format: unknown }
  try {
    snapshot = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new OperatorError(
      'METADATA_SNAPSHOT_DAMAGED',
      'the snapshot of the metadata cannot be read',
      'Restore the data directory from a copy.',
      { cause },
    )
  }
  if (snapshot.format === SNAPSHOT_FORMAT) return snapshot as Snapshot
  if (snapshot.format === 1) return upgraded(snapshot as SnapshotOfOneBroker)
  throw new OperatorError(
    'METADATA_SNAPSHOT_NEWER',
    `the snapshot of the metadata has format ${String(snapshot.format)}, and this release reads up to ${SNAPSHOT_FORMAT}`,
    'Start the release that wrote this data directory, or a newer one.',
  )
}

function upgraded(old: SnapshotOfOneBroker): Snapshot {
  return {
    ...old,
    format: SNAPSHOT_FORMAT,
    brokers: old.brokers.map((broker) => ({
      ...broker,
      directoryId: '',
      directoryEpoch: 0,
      peer: null,
      shardCount: 1,
      joinedAt: 0,
    })),
    directories: old.brokers.map(({ nodeId }) => [nodeId, '', 0]),
    features: {},
  }
}
