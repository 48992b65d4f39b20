// What a Ready asks of a group's log, and what the owner hears of it: entries, cuts, snapshots, committed commands.
//
// Called by driver.ts while it carries out a Ready, on the shard's thread; keeps nothing.

import { invariant } from '../../protocol/invariant.ts'
import { baseOffsetOf } from '../../protocol/records/batch.ts'
import { encodeMembership, type Membership } from '../raft/membership.ts'
import { type Entry, EntryKind, type LogIndex, type SnapshotMessage } from '../raft/types.ts'
import { takePayload } from './raft-codec.ts'
import type { Replica } from './replica.ts'
import { encodeSnapshot } from './snapshot-blob.ts'
import type { ReceivedState } from './snapshots.ts'

/** Bytes looked at at a time for commands among entries that recovery found. */
const LOOK_BYTES = 64 * 1024

/** The leader's snapshot takes the place of everything that the log held. */
export function install(replica: Replica, message: SnapshotMessage): void {
  const { log, owner } = replica
  const { offset, logStartOffset, owner: state } = message.ref as ReceivedState
  const { index, indexTerm, membershipIndex, membership } = message
  const snapshot = encodeSnapshot(membershipIndex, membership, state)
  log.installSnapshot({ index, term: indexTerm, offset, logStartOffset, snapshot })
  replica.appliedIndex = index
  owner.install?.(state, offset, logStartOffset)
  owner.committed(offset)
}

/** Entries from `index` on are replaced. */
export function truncate({ log, owner }: Replica, index: LogIndex): void {
  if (index > log.lastIndex) return
  const offset = log.offsetAfter(index - 1)
  log.truncateTail(index)
  owner.truncated?.(offset)
}

/** Copies an entry into the journal, unless it was put there when it was proposed. */
export function write({ log, owner }: Replica, entry: Entry): void {
  const { index, term, kind } = entry
  if (index <= log.lastIndex) {
    invariant(log.termAt(index) === term, 'what was written ahead is what raft gives out', index, term)
    return
  }
  switch (kind) {
    case EntryKind.Batch: {
      const bytes = takePayload(entry)
      const baseOffset = log.logEndOffset
      invariant(baseOffsetOf(bytes, 0) === baseOffset, 'a batch has one offset everywhere', baseOffset, index)
      log.appendBatch(term, index, baseOffset, bytes, -1)
      owner.appended?.(bytes, 0, baseOffset)
      return
    }
    case EntryKind.Membership:
      log.appendEntry(term, index, kind, encodeMembership(entry.ref as Membership))
      return
    default:
      log.appendEntry(term, index, kind, takePayload(entry))
  }
}

/**
 * Indexes of the commands that are committed now; each is given out once.
 * @param committed what Raft has in memory of them; the entries before these were found by recovery
 * @returns undefined when there are none, or nobody wants them
 */
export function takeCommands(
  replica: Replica,
  committed: readonly Entry[],
  commitIndex: LogIndex,
): LogIndex[] | undefined {
  const { owner, log } = replica
  const from = replica.appliedIndex + 1
  replica.appliedIndex = commitIndex
  if (owner.entry === undefined) return undefined
  let commands: LogIndex[] | undefined
  const memoryIndex = committed[0]?.index ?? commitIndex + 1
  for (let index = from; index < memoryIndex; ) {
    const read = log.readEntries(index, LOOK_BYTES)
    invariant(!(read instanceof Promise), 'what is not committed lies in memory', index, log.laidIndex)
    invariant(read.entries.length > 0, 'what is to be committed is held', index, log.lastIndex)
    for (const found of read.entries) {
      index = found.index + found.count
      if (found.index >= memoryIndex) break
      if (found.kind === EntryKind.Command) (commands ??= []).push(found.index)
    }
    read.release()
  }
  for (const { kind, index } of committed) if (kind === EntryKind.Command) (commands ??= []).push(index)
  return commands
}

/** Hands a committed command to the owner; before log.commit(), so that it is still in the journal's memory. */
export function applyCommand({ log, owner }: Replica, index: LogIndex): void {
  const read = log.readEntries(index, 1)
  invariant(!(read instanceof Promise), 'what is not committed lies in memory', index, log.laidIndex)
  const entry = read.entries[0]
  invariant(entry !== undefined && entry.index === index, 'a command begins at its index', index)
  owner.entry!(index, entry.term, entry.kind, entry.bytes)
  read.release()
}
