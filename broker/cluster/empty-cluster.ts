// Whether a cluster that this broker founded holds nothing but the broker itself, and who gives way when two clusters meet.
//
// Pure; on shard 0 at a start, before the metadata group is open. Founding is decided with whoever runs. A broker that founded while the
// others were down, and was stopped before anybody joined, must not be shut out by the cluster that they founded without it.
//
// Never do both sides give way. A broker gives its cluster up only while it starts, and only for a cluster that another broker says it runs
// in: one that has decided to keep it, for that life at least. To follow a circle of such answers back would need a broker that runs in a
// cluster and gives it up in the same life. Two that are both starting agree by the order of their cluster ids: the first runs, and the
// other one waits for that.

import type { GroupLog } from '../../storage/log.ts'
import { decodeMembership, type Membership } from '../raft/membership.ts'
import { EntryKind, type NodeId } from '../raft/types.ts'
import { COMMAND_ENTRY } from '../replication/metadata-group.ts'
import { decodeSnapshot } from '../replication/snapshot-blob.ts'
import { decodeCommand } from './commands.ts'
import { readSnapshot } from './metadata-snapshot.ts'
import type { SeedAnswer } from './node-forming.ts'
import { brokerOf } from './raft-id.ts'

/** An image of one broker with all its addresses is far smaller: whatever is larger need not be read. */
const EMPTY_IMAGE_BYTES_MAX = 64 * 1024

/**
 * Reads the whole log of the metadata group, committed or not, before a replica takes it over.
 * @returns whether it never had a member but this one, and nothing but its registration was ever written to it
 */
export function holdsNothing(log: GroupLog, raftId: NodeId): boolean {
  const isAlone = ({ voters, members }: Membership): boolean =>
    voters.length === 1 && voters[0] === raftId && members.length === 1
  const nodeId = brokerOf(raftId)
  if (log.snapshot !== undefined) {
    const { placed, owner } = decodeSnapshot(log.snapshot)
    if (placed !== undefined && !isAlone(placed.membership)) return false
    if (owner.length > 0 && !isEmptyImage(owner, nodeId)) return false
  }
  let isEmpty = true
  const { replayed } = log
  log.replay({
    entry(_index, _term, kind, payload) {
      if (!isEmpty || kind === EntryKind.LeaderChange) return
      if (kind === EntryKind.Membership) isEmpty = isAlone(decodeMembership(payload))
      else isEmpty = kind === COMMAND_ENTRY && isOwn(payload, nodeId)
    },
    batch() {
      isEmpty = false
    },
  })
  // Its replica is shown everything again.
  log.replayed = replayed
  return isEmpty
}

function isOwn(payload: Uint8Array, nodeId: number): boolean {
  const command = decodeCommand(payload)
  return command.type === 'set-cluster-id' || (command.type === 'register-broker' && command.nodeId === nodeId)
}

/** @param bytes a serialized metadata image */
export function isEmptyImage(bytes: Uint8Array, nodeId: number): boolean {
  if (bytes.length > EMPTY_IMAGE_BYTES_MAX) return false
  const { nextGroupId, nextProducerId, brokers, directories, topics, configs, features } = readSnapshot(bytes)
  const isOther = (other: number): boolean => other !== nodeId
  return (
    // Topics that were deleted count, too: somebody has worked with this cluster.
    nextGroupId === 1 &&
    nextProducerId === 0 &&
    topics.length === 0 &&
    configs.length === 0 &&
    Object.keys(features).length === 0 &&
    !brokers.some((broker) => isOther(broker.nodeId)) &&
    !directories.some(([other]) => isOther(other))
  )
}

/** What the founder of an empty cluster does, by what its seeds say of theirs. */
export type Meeting =
  /** Nobody speaks of another cluster, or a broker of its own answers; or there is a reason why it may not join the other one. */
  | { readonly type: 'stay'; readonly reason?: string }
  /** Another founder of an empty cluster is starting, and comes first: it will run. */
  | { readonly type: 'wait' }
  /** The seed at that place in the list runs in another cluster. */
  | { readonly type: 'give-way'; readonly at: number }

/** @param answers by position in the seed list */
export function meetingOf(answers: readonly SeedAnswer[], clusterId: string): Meeting {
  let found: { readonly at: number; readonly clusterId: string; readonly isTaken: boolean } | undefined
  let areDifferent = false
  let isLater = false
  for (let at = 0; at < answers.length; at++) {
    const answer = answers[at]!
    if (answer.kind !== 'answered' || answer.status.clusterId === '') continue
    const { status } = answer
    if (status.clusterId === clusterId) return { type: 'stay' }
    if (status.isDeciding === true) isLater ||= status.clusterId < clusterId
    else if (found === undefined) found = { at, clusterId: status.clusterId, isTaken: status.isIdTaken === true }
    else if (found.clusterId !== status.clusterId) areDifferent = true
    else if (status.isIdTaken === true) found = { ...found, isTaken: true }
  }
  if (found === undefined) return { type: isLater ? 'wait' : 'stay' }
  if (areDifferent) return { type: 'stay', reason: 'its seeds belong to different clusters' }
  // It would push out the directory that broker has there, and what that holds.
  if (found.isTaken) {
    return {
      type: 'stay',
      reason: `the cluster ${found.clusterId} has a broker with its id and another data directory`,
    }
  }
  return { type: 'give-way', at: found.at }
}
