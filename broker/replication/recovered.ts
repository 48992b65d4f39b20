// A group as its log has it at a start: who its members are, what Raft needs to know, and the owner brought up to it.
//
// Called by driver.ts when a group is opened, on the shard's thread; keeps nothing.

import { baseOffsetOf } from '../../protocol/records/batch.ts'
import type { GroupLog } from '../../storage/log.ts'
import { decodeMembership, Membership } from '../raft/membership.ts'
import type { GroupStart } from '../raft/raft.ts'
import { EntryKind, type NodeId, type PlacedMembership } from '../raft/types.ts'
import { foundingMembership, type MembershipPolicy } from './membership-policy.ts'
import type { ReplicaOwner } from './replica.ts'
import { decodeSnapshot } from './snapshot-blob.ts'

export interface ReplicaStart {
  /** Raft ids the group was founded with; undefined when the log's snapshot knows its members, or nobody does: an unborn replica. */
  readonly founders: readonly NodeId[] | undefined
  /** This replica is the one to lead the group first. Of a group that has had a leader already it means nothing. */
  readonly preferred: boolean
}

/** Shows the owner what the log holds. @throws MalformedFrame or RangeError when the snapshot is damaged */
export function recoveredGroup(
  log: GroupLog,
  owner: ReplicaOwner,
  id: NodeId,
  start: ReplicaStart | undefined,
  policy: MembershipPolicy,
): Omit<GroupStart, 'id'> {
  const snapshot = log.snapshot === undefined ? undefined : decodeSnapshot(log.snapshot)
  let memberships: PlacedMembership[] = []
  if (snapshot?.placed !== undefined) memberships = [snapshot.placed]
  else if (start === undefined) memberships = [{ index: 0, membership: new Membership([id]) }]
  else if (start.founders !== undefined) {
    memberships = [{ index: 0, membership: foundingMembership(policy, log.groupId, start.founders) }]
  }
  if (snapshot !== undefined && snapshot.owner.length > 0) {
    owner.install?.(snapshot.owner, log.snapshotOffset, log.logStartOffset)
  }
  if (!log.replayed) memberships = replay(log, owner, memberships)
  return {
    memberships,
    // A log that never had a term says -1; Raft counts from 0.
    hardState: { term: Math.max(0, log.term), votedFor: log.votedFor },
    log: {
      firstIndex: log.firstIndex,
      prevTerm: log.prevTerm,
      lastIndex: log.lastIndex,
      runs: log.runs,
      commitIndex: log.commitIndex,
    },
  }
}

/** @returns the memberships, those that the log holds behind the snapshot with them */
function replay(log: GroupLog, owner: ReplicaOwner, from: PlacedMembership[]): PlacedMembership[] {
  const { commitIndex } = log
  let memberships = from
  let isCommitSaid = false
  const sayCommit = (): void => {
    if (isCommitSaid) return
    isCommitSaid = true
    owner.committedIndex?.(commitIndex)
    owner.committed(log.committedOffset)
  }
  log.replay({
    entry: (index, term, kind, payload) => {
      if (index > commitIndex) sayCommit()
      if (kind === EntryKind.Membership) {
        const placed = { index, membership: decodeMembership(payload) }
        const known = memberships.at(-1)
        // A snapshot may know a newer one than the entries behind it.
        if (known === undefined || index > known.index) {
          memberships = index <= commitIndex ? [placed] : [...memberships, placed]
        }
      } else if (kind === EntryKind.Command && index <= commitIndex) {
        owner.entry?.(index, term, kind, payload)
      }
    },
    batch: (index, _term, bytes, at) => {
      if (index > commitIndex) sayCommit()
      owner.appended?.(bytes, at, baseOffsetOf(bytes, at))
    },
  })
  sayCommit()
  return memberships
}
