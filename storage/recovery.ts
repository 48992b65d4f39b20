// From the records of the journal to the groups of the shard: what open() does between reading blocks and serving.
//
// One per open, on the shard's thread. Records are applied in journal order. The ring may begin in the middle of a group's
// history: its items are then held until the state record that was carried forward arrives. Rules: README.md, "Replay".

import { baseOffsetOf, offsetSpanOf } from '../protocol/records/batch.ts'
import { StorageCorruption } from './corruption.ts'
import { filesOf } from './group-files.ts'
import { FLAG_CARRIED, type RecordHeader, RecordType } from './journal-format.ts'
import { DEFAULT_LOG_CONFIG, GroupLog, type LogHost } from './log.ts'
import { Segment } from './segment.ts'
import { decodeState, type GroupState } from './state-record.ts'
import { TailItem } from './tail.ts'

/** A group that is gone, whose files may still be there. */
export interface Removal {
  readonly groupId: number
  readonly incarnation: number
  readonly directory: string
  /** Journal block of the latest record that says so. */
  sequence: number
}

/** Of a group that was seen before its state record. */
const UNKNOWN_INCARNATION = -1

export class Recovery {
  readonly groups = new Map<number, GroupLog>()
  readonly removals = new Map<number, Removal>()
  lastIncarnation = 0
  /** The last record says that the shard was closed in order. */
  clean = false
  readonly #host: LogHost
  readonly #commits = new Map<number, number>()
  #records = 0

  constructor(host: LogHost) {
    this.#host = host
  }

  get recordCount(): number {
    return this.#records
  }

  apply(record: RecordHeader, payloadAt: number, runAt: number, sequence: number, path: string): void {
    this.#records += 1
    this.clean = record.type === RecordType.CLEAN_END
    switch (record.type) {
      case RecordType.BATCH:
      case RecordType.ENTRY:
        this.#item(record, payloadAt, runAt, sequence, path)
        break
      case RecordType.TRUNCATE:
        this.#group(record).cutTail(record.index)
        break
      case RecordType.HARD_STATE: {
        const group = this.#group(record)
        group.term = record.term
        group.votedFor = record.index
        break
      }
      case RecordType.TRIM: {
        const group = this.#group(record)
        group.logStartOffset = Math.max(group.logStartOffset, record.index)
        break
      }
      case RecordType.STATE:
        this.#state(record, payloadAt, sequence, path)
        break
      case RecordType.REMOVING: {
        const directory = new TextDecoder().decode(this.#payload(record, payloadAt))
        this.lastIncarnation = Math.max(this.lastIncarnation, record.index)
        this.#forget(record.groupId, record.index)
        this.removals.set(record.index, { groupId: record.groupId, incarnation: record.index, directory, sequence })
        break
      }
      case RecordType.REMOVED:
        this.removals.delete(record.index)
        break
      case RecordType.CLEAN_END:
      case RecordType.NOTHING:
        break
      default:
        throw corrupt(`a record of unknown type ${record.type} in block ${sequence}`, path)
    }
    if (record.commitIndex > 0) {
      const known = this.#commits.get(record.groupId) ?? 0
      if (record.commitIndex > known) this.#commits.set(record.groupId, record.commitIndex)
    }
  }

  /** Marks what is known to be committed, so that it may be laid out: at the end, or when memory is short. */
  commitKnown(): void {
    for (const [groupId, commitIndex] of this.#commits) {
      const group = this.groups.get(groupId)
      if (group === undefined || group.incarnation === UNKNOWN_INCARNATION) continue
      const index = Math.max(group.segmentIndex, Math.min(commitIndex, group.lastIndex))
      if (index < group.commitIndex) continue
      group.commitIndex = index
      group.tail?.commit(index)
      group.committedOffset = Math.max(group.segmentOffset, group.offsetAfter(index))
    }
  }

  /** The last checks. @throws StorageCorruption when the records do not add up */
  finish(directory: string): void {
    for (const group of this.groups.values()) {
      if (group.incarnation === UNKNOWN_INCARNATION) {
        throw corrupt(`group ${group.groupId} has records, but no state record`, directory)
      }
      const gap = group.firstGap()
      if (gap >= 0)
        throw corrupt(`group ${group.groupId} (${group.directory}) lacks the entry with index ${gap}`, directory)
      group.refreshEnd()
      group.restoreRuns()
      if (group.commitIndex < group.segmentIndex) {
        group.commitIndex = group.segmentIndex
        group.committedOffset = group.segmentOffset
      }
    }
    this.commitKnown()
    for (const group of this.groups.values()) {
      group.durableIndex = group.lastIndex
      group.replayed = false
    }
  }

  #group(record: RecordHeader): GroupLog {
    let group = this.groups.get(record.groupId)
    if (group === undefined) {
      group = new GroupLog(this.#host, record.groupId, '', UNKNOWN_INCARNATION, DEFAULT_LOG_CONFIG)
      this.groups.set(record.groupId, group)
    }
    return group
  }

  #item(record: RecordHeader, payloadAt: number, runAt: number, sequence: number, path: string): void {
    const group = this.#group(record)
    const { bytes } = this.#host.arena
    const isBatch = record.type === RecordType.BATCH
    const span = isBatch ? offsetSpanOf(bytes, payloadAt) : 0
    if (isBatch && span < 1) throw corrupt(`a batch without offsets in block ${sequence}`, path)
    const carried = (record.flags & FLAG_CARRIED) !== 0
    // An entry's place is settled in the end, by firstGap().
    const baseOffset = isBatch ? baseOffsetOf(bytes, payloadAt) : group.logEndOffset
    const { index, term, kind, payloadBytes } = record
    group.restoreItem(
      new TailItem(index, span, term, kind, baseOffset, payloadBytes, payloadAt, runAt, sequence),
      carried,
    )
  }

  #state(record: RecordHeader, payloadAt: number, sequence: number, path: string): void {
    let state: ReturnType<typeof decodeState>
    try {
      state = decodeState(this.#payload(record, payloadAt), record.groupId === 0)
    } catch (error) {
      throw new StorageCorruption(`the state record of group ${record.groupId} cannot be read`, path, -1, ADVICE, {
        cause: error,
      })
    }
    this.lastIncarnation = Math.max(this.lastIncarnation, state.incarnation)
    let group = this.groups.get(record.groupId)
    if (group === undefined || group.incarnation !== state.incarnation) {
      const before = group
      group = new GroupLog(this.#host, record.groupId, state.directory, state.incarnation, DEFAULT_LOG_CONFIG)
      if (before !== undefined && before.incarnation === UNKNOWN_INCARNATION) group.tail = before.tail
      else before?.dropTail()
      this.groups.set(record.groupId, group)
    }
    if (state.isRestart) {
      group.dropTail()
      group.files = undefined
    }
    restoreFiles(group, state)
    group.restoreState(state, sequence)
  }

  #payload(record: RecordHeader, at: number): Uint8Array {
    return this.#host.arena.bytes.slice(at, at + record.payloadBytes)
  }

  #forget(groupId: number, incarnation: number): void {
    const group = this.groups.get(groupId)
    if (group === undefined || group.incarnation > incarnation) return
    group.dropTail()
    group.removed = true
    this.groups.delete(groupId)
    this.#commits.delete(groupId)
  }
}

/** The segments that a state record names. */
export function restoreFiles(group: GroupLog, state: GroupState): void {
  if (state.segments.length === 0 && !state.hasLitter && group.files === undefined) return
  const files = filesOf(group)
  files.segments = state.segments.map((segment, at) =>
    Segment.recovered(state.directory, segment, at < state.segments.length - 1 || !state.lastIsActive),
  )
  files.directoryMade = state.segments.length > 0
  files.hasLitter = state.hasLitter
}

const ADVICE = 'Restore the data directory from a replica or a backup.'

function corrupt(what: string, path: string): StorageCorruption {
  return new StorageCorruption(what, path, -1, ADVICE)
}
