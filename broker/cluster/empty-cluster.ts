// Whether a cluster that this broker founded holds nothing but the broker itself, and who gives way when two clusters meet.
//
// On shard 0, at start, before the metadata group is open. Founding is decided with whoever runs; a broker that founded while the others were
// down, and was stopped before anybody joined, must not be shut out by the cluster that they founded without it.

import type { GroupLog } from '../../storage/log.ts'
import { decodeMembership, type Membership } from '../raft/membership.ts'
import { EntryKind, type NodeId } from '../raft/types.ts'
import { COMMAND_ENTRY } from '../replication/metadata-group.ts'
import { decodeSnapshot } from '../replication/snapshot-blob.ts'
import { decodeCommand } from './commands.ts'
import { readSnapshot } from './metadata-snapshot.ts'
import type { SeedAnswer } from './node-forming.ts'
import { brokerOf } from './raft-id.ts'

/**
 * Reads the whole log of the metadata group, committed or not, before a replica takes it over.
 * @returns whether it has one member, this one, and nothing but its registration was ever written to it
 */
export function holdsNothing(log: GroupLog, raftId: NodeId): boolean {
  const isOnlyMember = ({ voters, members }: Membership): boolean =>
    voters.length === 1 && voters[0] === raftId && members.length === 1
  const nodeId = brokerOf(raftId)
  let isEmpty = true
  if (log.snapshot !== undefined) {
    const { placed, owner } = decodeSnapshot(log.snapshot)
    if (placed !== undefined && !isOnlyMember(placed.membership)) isEmpty = false
    if (owner.length > 0 && !isEmptyImage(owner, nodeId)) isEmpty = false
  }
  const { replayed } = log
  log.replay({
    entry(_index, _term, kind, payload) {
      if (kind === EntryKind.Membership) isEmpty &&= isOnlyMember(decodeMembership(payload))
      else if (kind === COMMAND_ENTRY) {
        const command = decodeCommand(payload)
        isEmpty &&=
          command.type === 'set-cluster-id' || (command.type === 'register-broker' && command.nodeId === nodeId)
      } else if (kind !== EntryKind.LeaderChange) isEmpty = false
    },
    batch() {
      isEmpty = false
    },
  })
  // Its replica is shown everything again.
  log.replayed = replayed
  return isEmpty
}

function isEmptyImage(bytes: Uint8Array, nodeId: number): boolean {
  const { nextGroupId, nextProducerId, brokers, directories, topics, configs } = readSnapshot(bytes)
  const isOthers = (other: number): boolean => other !== nodeId
  return (
    // Topics that were deleted count, too: somebody has worked with this cluster.
    nextGroupId === 1 &&
    nextProducerId === 0 &&
    topics.length === 0 &&
    configs.length === 0 &&
    !brokers.some((broker) => isOthers(broker.nodeId)) &&
    !directories.some(([other]) => isOthers(other))
  )
}

/** What a founder does, by what its seeds say of their clusters. */
export type Meeting =
  /** Nobody speaks of another cluster, or those of its own answer. */
  | 'stay'
  /** A broker that stands later in the list has not decided yet, and will give way if it can. */
  | 'wait'
  /** Another cluster runs: this one goes, if it is empty. */
  | 'give-way'

/**
 * @param answers by position in the seed list; undefined for this broker itself
 * @param own position of this broker there, -1 for none
 */
export function meetingOf(answers: readonly (SeedAnswer | undefined)[], own: number, clusterId: string): Meeting {
  let meeting: Meeting = 'stay'
  for (let at = 0; at < answers.length; at++) {
    const answer = answers[at]
    if (answer?.kind !== 'answered' || answer.status.clusterId === '') continue
    const { status } = answer
    if (status.clusterId === clusterId) return 'stay'
    // Of two that are only starting the later one goes; with one that already runs there may be clients.
    const isLater = status.isDeciding === true && own >= 0 && own < at
    if (!isLater) meeting = 'give-way'
    else if (meeting === 'stay') meeting = 'wait'
  }
  return meeting
}
