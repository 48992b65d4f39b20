// The files of one group and the work under way on them; made with its first segment, so that most groups have none.
//
// Belongs to write-behind.ts and shard-storage.ts, on the shard's thread. When a log begins anew behind a snapshot it gets a new
// object, and whatever still runs on the earlier one finds that out by comparing.

import type { DiskError } from './disk.ts'
import type { GroupLog } from './log.ts'
import type { CacheEntry } from './read-cache.ts'
import type { Segment } from './segment.ts'

export interface GroupFiles {
  segments: Segment[]
  /** Leftovers of an earlier life were looked for and removed. */
  swept: boolean
  sweeping: Promise<void> | undefined
  /** The directory may hold files of a log that was given up; in the state record, so that a restart looks too. */
  hasLitter: boolean
  /** Nothing is looked for, removed or made before this: the log that was given up is still needed, or in use. */
  barrier: Promise<void> | undefined
  directoryMade: boolean
  /** Files were made that no directory sync has covered. */
  directoryDirty: boolean
  /** Ends where the segment being written ends: the next write begins with its last bytes. */
  lastChunk: CacheEntry | undefined
  /** Chunks whose last bytes, behind the last whole block, are not on disk; pinned. */
  unwritten: CacheEntry[]
  /** What the job under way, or the next, must do: 0 nothing, else LAY_OUT_CHUNKS ... of write-behind.ts. */
  wanted: number
  running: Promise<void> | undefined
  writesInFlight: number
  whenWritten: (() => void) | undefined
  /** A write of a chunk that was given up: no checkpoint may follow. */
  refused: DiskError | undefined
  /** Reads from segments, and removals of old ones, under way. */
  readers: number
  whenUnread: (() => void) | undefined
}

export function filesOf(group: GroupLog): GroupFiles {
  group.files ??= {
    segments: [],
    swept: false,
    sweeping: undefined,
    hasLitter: false,
    barrier: undefined,
    directoryMade: false,
    directoryDirty: false,
    lastChunk: undefined,
    unwritten: [],
    wanted: 0,
    running: undefined,
    writesInFlight: 0,
    whenWritten: undefined,
    refused: undefined,
    readers: 0,
    whenUnread: undefined,
  }
  return group.files
}

/** The segment that is written to. */
export function activeOf(files: GroupFiles): Segment | undefined {
  const last = files.segments.at(-1)
  return last === undefined || last.sealed ? undefined : last
}

/** Whether work that began on these files has lost its object: the group was removed, or its log began anew. */
export function isOver(group: GroupLog, files: GroupFiles): boolean {
  return group.removed || group.files !== files
}

/** Resolves when nothing runs on the files any more. Nothing new may be begun on them. */
export async function whenUnused(files: GroupFiles): Promise<void> {
  while (files.running !== undefined) await files.running
  await files.sweeping?.catch(() => undefined)
  while (files.writesInFlight > 0) {
    await new Promise<void>((wake) => {
      files.whenWritten = wake
    })
  }
  while (files.readers > 0) {
    await new Promise<void>((wake) => {
      files.whenUnread = wake
    })
  }
}
