// The last resort of a cluster that has lost a majority for good: one surviving broker decides alone about what it holds.
//
// Main thread, on the data directory of a broker that does not run. In every group whose majority is among the lost brokers this one becomes
// the only voter: a membership entry of a new term is appended to its log, and what its log holds is the truth from then on. What only
// the lost brokers held is gone, and what was never acknowledged may come to be. So it must be done on one survivor only, the one that
// knows most. Another survivor follows it in every group of which it knows nothing to be committed that the recovered log lacks. Where it
// does, it cuts nothing off: that partition is served there no more until it was reassigned away and back, and a broker whose metadata are
// ahead ends (raft/raft.ts, isContradicted).

import type { GroupLog } from '../../storage/log.ts'
import type { BrokerConfig } from '../config.ts'
import { type OfflineOptions, openOffline } from '../offline-storage.ts'
import { OperatorError } from '../operator-error.ts'
import { decodeMembership, encodeMembership, Membership } from '../raft/membership.ts'
import { EntryKind } from '../raft/types.ts'
import { COMMAND_ENTRY } from '../replication/metadata-group.ts'
import { decodeSnapshot } from '../replication/snapshot-blob.ts'
import { decodeCommand } from './commands.ts'
import { MetadataImage } from './metadata.ts'
import { brokerOf, raftIdOf } from './raft-id.ts'

/**
 * Terms that are skipped: the new one must be none that the other survivors have seen, so that every entry of the two histories tells which
 * it is of. Nobody holds so many elections.
 */
const RECOVERY_TERMS = 1_000_000

export interface RecoverOptions extends OfflineOptions {
  readonly config: BrokerConfig
  /** Brokers that never come back. */
  readonly lost: ReadonlySet<number>
}

/** A group without a majority, as this broker holds it. */
export interface LostGroup {
  readonly groupId: number
  /** 'orders-3', or 'the metadata'. */
  readonly name: string
  readonly voters: readonly number[]
  readonly endOffset: number
  /** Records at the end of the log of which this broker does not know whether they were ever acknowledged. */
  readonly uncertainRecords: number
  /** This broker receives the log, and has no vote; it may be far behind. */
  readonly isLearner: boolean
}

export interface RecoveryPlan {
  readonly groups: readonly LostGroup[]
  /** Partitions of the metadata whose majority is lost, and of which this broker holds nothing. */
  readonly unheld: readonly string[]
}

/** What would be done. Writes nothing. @throws OperatorError, DiskError, StorageCorruption */
export function planRecovery(options: RecoverOptions): Promise<RecoveryPlan> {
  return survey(options, async () => {})
}

/** Does it; safe to run again when it was interrupted. @throws as planRecovery */
export function recover(options: RecoverOptions): Promise<RecoveryPlan> {
  const ownId = ownRaftId(options)
  return survey(options, async (log) => {
    const payload = encodeMembership(new Membership([ownId]))
    const term = Math.max(log.term, log.lastTerm, 0) + RECOVERY_TERMS + (options.record.nodeId % RECOVERY_TERMS)
    log.saveHardState(term, ownId)
    log.appendEntry(term, log.lastIndex + 1, EntryKind.Membership, payload)
  })
}

function ownRaftId({ record }: RecoverOptions): number {
  if (record.identity === undefined || record.identity.clusterId === '') {
    throw new OperatorError(
      'NOT_A_MEMBER',
      'this data directory belongs to no cluster',
      'Give --data-dir the directory of a surviving broker.',
    )
  }
  return raftIdOf(record.nodeId, record.identity.directoryEpoch)
}

async function survey(options: RecoverOptions, rewrite: (log: GroupLog) => Promise<void>): Promise<RecoveryPlan> {
  const ownId = ownRaftId(options)
  if (options.lost.has(options.record.nodeId)) {
    throw new OperatorError(
      'FLAG_INVALID',
      `broker ${options.record.nodeId} is named as lost, and this is its directory`,
      'Name the other brokers.',
    )
  }
  let image: MetadataImage | undefined
  const groups: LostGroup[] = []
  const held = new Set<number>()
  for (let shard = 0; shard < options.record.shardCount; shard++) {
    const { storage, close } = await openOffline(options, shard)
    for (const log of [...storage.groups()].sort((left, right) => left.groupId - right.groupId)) {
      const { membership, commands } = read(log)
      // It has no records to go on with.
      if (membership.isWitness(ownId)) continue
      held.add(log.groupId)
      if (log.groupId === 0) image = imageOf(options.config, log, commands)
      if (!membership.isMember(ownId) || hasMajority(membership, options.lost)) continue
      groups.push({
        groupId: log.groupId,
        name: nameOf(image, log.groupId),
        voters: membership.voters.map(brokerOf).sort((left, right) => left - right),
        endOffset: log.logEndOffset,
        uncertainRecords: log.logEndOffset - log.committedOffset,
        isLearner: !membership.isVoter(ownId),
      })
      await rewrite(log)
    }
    storage.flush()
    for (const { groupId } of groups) await storage.get(groupId)?.whenJournaled()
    await close()
  }
  return { groups, unheld: unheldBy(image, held, options.lost) }
}

/** It can elect, and commit. */
function hasMajority(membership: Membership, lost: ReadonlySet<number>): boolean {
  const isLeft = (id: number): boolean => !lost.has(brokerOf(id))
  return membership.electionOutcome((id) => isLeft(id) || undefined) === 'won' && membership.canCommit(isLeft)
}

/** The membership in force, and the commands behind the snapshot. */
function read(log: GroupLog): { membership: Membership; commands: { index: number; payload: Uint8Array }[] } {
  const snapshot = log.snapshot === undefined ? undefined : decodeSnapshot(log.snapshot)
  let membership = snapshot?.placed?.membership ?? new Membership([])
  const commands: { index: number; payload: Uint8Array }[] = []
  log.replay({
    entry(index, _term, kind, payload) {
      if (kind === EntryKind.Membership) membership = decodeMembership(payload)
      // What is not known to be committed is about to be, and gives its groups their names.
      else if (kind === COMMAND_ENTRY) commands.push({ index, payload: payload.slice() })
    },
    batch() {},
  })
  return { membership, commands }
}

function imageOf(
  config: BrokerConfig,
  log: GroupLog,
  commands: readonly { index: number; payload: Uint8Array }[],
): MetadataImage {
  const owner = log.snapshot === undefined ? new Uint8Array(0) : decodeSnapshot(log.snapshot).owner
  const image = owner.length === 0 ? new MetadataImage(config) : MetadataImage.deserialize(owner, config)
  for (const { index, payload } of commands) {
    if (index > image.appliedIndex) image.apply(decodeCommand(payload), index)
  }
  return image
}

function nameOf(image: MetadataImage | undefined, groupId: number): string {
  if (groupId === 0) return 'the metadata'
  const location = image?.partitionByGroup(groupId)
  return location === undefined ? `group ${groupId}` : `${location.topic.name}-${location.partition.partition}`
}

function unheldBy(image: MetadataImage | undefined, held: ReadonlySet<number>, lost: ReadonlySet<number>): string[] {
  const unheld: string[] = []
  for (const topic of image?.topics() ?? []) {
    for (const { groupId, partition, replicas } of topic.partitions) {
      const left = replicas.filter((nodeId) => !lost.has(nodeId)).length
      if (!held.has(groupId) && left * 2 <= replicas.length) unheld.push(`${topic.name}-${partition}`)
    }
  }
  return unheld
}
