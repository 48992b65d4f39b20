// Files that are not needed any more: what retention drops, groups that were removed, logs that began anew behind a snapshot.
//
// One per shard, on its thread; shard-storage.ts asks for it. The order is always the same: a durable record that no longer
// names the files, then nobody who still uses them, then the files. A crash in between leaves files that a sweep finds.

import type { Arena } from './arena.ts'
import { parentOf } from './directories.ts'
import { asDiskError, type Disk } from './disk.ts'
import { activeOf, filesOf, type GroupFiles, isOver, whenUnused } from './group-files.ts'
import type { Journal } from './journal.ts'
import { RecordType } from './journal-format.ts'
import type { GroupLog } from './log.ts'
import type { ReadCache } from './read-cache.ts'
import type { Removal } from './recovery.ts'
import { chooseRetention } from './retention.ts'
import type { FilePool, Segment } from './segment.ts'
import { isOutOfSpace, type Space } from './space.ts'
import { LAY_OUT_ALL, type WriteBehind } from './write-behind.ts'

export interface CleanupOptions {
  readonly disk: Disk
  readonly arena: Arena
  readonly journal: Journal<GroupLog>
  readonly cache: ReadCache
  readonly pool: FilePool
  readonly writeBehind: WriteBehind
  readonly space: Space
  nowMs(): number
  after(delayMs: number, call: () => void): { cancel(): void }
  log(level: 'info' | 'warn', message: string): void
  /** Asks for a job of write-behind.ts. */
  request(group: GroupLog, wanted: number): Promise<void>
  isClosing(): boolean
  inBackground(work: Promise<void>): void
}

export class Cleanup {
  /** Groups on their way out, by incarnation. */
  readonly removals = new Map<number, Removal>()
  readonly #options: CleanupOptions
  /** Directories whose old files are being removed. */
  readonly #busyDirectories = new Map<string, { incarnation: number; done: Promise<void> }>()
  readonly #deletions = new Set<{ cancel(): void }>()

  constructor(options: CleanupOptions) {
    this.#options = options
  }

  /** Files that wait for their time stay: the shard is closed. */
  stop(): void {
    for (const timer of this.#deletions) timer.cancel()
  }

  /** Retention of one group: start offset, time, size. Resolves when the files are renamed. */
  async retain(group: GroupLog): Promise<void> {
    const { config } = group
    const nowMs = this.#options.nowMs()
    if (group.tail !== undefined && group.tail.committedLength > 0 && config.deletePolicy) {
      // Where segments end decides what may go, so what has gathered is laid out first if any of it may.
      const byTime = config.retentionMs >= 0 && group.tailHasOlderThan(nowMs - config.retentionMs)
      const bySize = config.retentionBytes >= 0 && group.sizeBytes > config.retentionBytes
      // On a full disk that waits for space, which this is to make: what is sealed may go without it.
      const { space } = this.#options
      if ((byTime || bySize) && !space.isFull) await space.unlessFull(this.#options.request(group, LAY_OUT_ALL))
    }
    const { files } = group
    if (files === undefined || group.removed || files.segments.length === 0) return
    // Until the files are gone nothing of the same name may be made.
    files.readers += 1
    try {
      await this.#removeSegments(group, files, nowMs)
    } finally {
      files.readers -= 1
      if (files.readers === 0) files.whenUnread?.()
    }
  }

  async #removeSegments(group: GroupLog, files: GroupFiles, nowMs: number): Promise<void> {
    const { config } = group
    let choice = chooseRetention(files.segments, group.logStartOffset, config, nowMs)
    if (choice.count === 0) return
    const { space } = this.#options
    if (choice.count === files.segments.length && activeOf(files) !== undefined && !space.isFull) {
      await space.unlessFull(this.#options.writeBehind.sealActive(group))
      choice = chooseRetention(files.segments, group.logStartOffset, config, nowMs)
      if (this.#options.journal.failed !== undefined || isOver(group, files)) return
    }
    const doomed = files.segments.slice(0, choice.count).filter((segment) => segment.sealed)
    if (doomed.length === 0) return
    const end = doomed.at(-1)!.endOffset
    group.logStartOffset = Math.max(group.logStartOffset, end)
    files.segments.splice(0, doomed.length)
    group.firstIndex = files.segments[0]?.baseIndex ?? group.tail?.first?.index ?? group.laidIndex + 1
    // The state that no longer names the segments is durable before their files change.
    await this.#options.journal.whenDurable(group.emitState())
    this.#options.log(
      'info',
      `${group.directory}: ${doomed.length} segments up to offset ${end} go, by ${choice.reason}`,
    )
    for (const segment of doomed) await this.#deleteSegment(segment, config.fileDeleteDelayMs)
  }

  /** Renames a segment's files now and removes them later. */
  async #deleteSegment(segment: Segment, delayMs: number): Promise<void> {
    const { disk } = this.#options
    segment.removed = true
    this.#options.cache.removeSegment(segment)
    if (segment.users === 0) this.#options.pool.close(segment)
    const paths = ['.log', '.index', '.timeindex'].map((suffix) => segment.path(suffix))
    for (const path of paths) {
      try {
        await disk.rename(path, `${path}.deleted`)
      } catch (error) {
        // A longer name may take space in the directory: then it goes at once.
        if (isOutOfSpace(error)) await disk.remove(path)
        else if (asDiskError(error, 'rename', path).code !== 'ENOENT') throw error
      }
    }
    const remove = async (): Promise<void> => {
      for (const path of paths) await disk.remove(`${path}.deleted`)
      this.#options.space.wake()
    }
    if (delayMs <= 0) {
      await remove()
      return
    }
    const timer = this.#options.after(delayMs, () => {
      this.#deletions.delete(timer)
      // A file that stays is found by the sweep of the next unclean start, or does no harm.
      if (!this.#options.isClosing()) remove().catch(() => undefined)
    })
    this.#deletions.add(timer)
  }

  /** Forgets a group's files, in the background; nothing of the group may be begun any more. */
  remove(group: GroupLog): void {
    // Nothing can be written down any more: the next start finds the group, and that nobody wants it.
    if (this.#options.journal.failed !== undefined) return
    const { groupId, incarnation, directory } = group
    const removal: Removal = { groupId, incarnation, directory, sequence: 0 }
    this.emitRemoving(removal)
    this.removals.set(incarnation, removal)
    this.#options.inBackground(this.#removeFiles(removal, group))
  }

  /** Goes on with a removal that a crash interrupted. */
  resume(removal: Removal): void {
    this.removals.set(removal.incarnation, removal)
    this.#options.inBackground(this.#removeFiles(removal, undefined))
  }

  /** Resolves when an earlier group's files in the same directory are gone. */
  whenDirectoryFree(group: GroupLog): Promise<void> | undefined {
    const busy = this.#busyDirectories.get(group.directory)
    return busy !== undefined && busy.incarnation < group.incarnation ? busy.done : undefined
  }

  /** Says in the block being filled that a group is on its way out. */
  emitRemoving(removal: Removal): void {
    const bytes = new TextEncoder().encode(removal.directory)
    const { groupId, incarnation } = removal
    const at = this.#options.journal.begin(
      undefined,
      0,
      RecordType.REMOVING,
      0,
      0,
      bytes.length,
      groupId,
      0,
      incarnation,
      0,
    )
    this.#options.arena.bytes.set(bytes, at)
    removal.sequence = this.#options.journal.fillingSequence
  }

  async #removeFiles(removal: Removal, group: GroupLog | undefined): Promise<void> {
    const { disk } = this.#options
    const before = this.#busyDirectories.get(removal.directory)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#busyDirectories.set(removal.directory, { incarnation: removal.incarnation, done: promise })
    try {
      await before?.done
      await this.#options.journal.whenDurable(removal.sequence)
      const files = group?.files
      if (files !== undefined) {
        await files.barrier?.catch(() => undefined)
        await this.#closeFiles(files)
      }
      // The metadata group lives in the journal alone.
      if (removal.directory !== '') {
        await disk.removeDirectory(removal.directory)
        this.#options.space.wake()
        // A group that never had a file has no directory, and perhaps none above it.
        const parent = parentOf(removal.directory)
        if ((await disk.stat(parent)) !== undefined) await disk.syncDirectory(parent)
      }
      // Stopped meanwhile: the next start finds the removal begun, and ends it.
      if (this.#options.journal.isClosed) return
      const { groupId, incarnation } = removal
      this.#options.journal.begin(undefined, 0, RecordType.REMOVED, 0, 0, 0, groupId, 0, incarnation, 0)
      this.removals.delete(incarnation)
    } catch (error) {
      if (this.#options.journal.failed === undefined) throw error
    } finally {
      if (this.#busyDirectories.get(removal.directory)?.done === promise)
        this.#busyDirectories.delete(removal.directory)
      resolve()
    }
  }

  /** Waits for whatever still runs on files that are given up, and lets go of them. */
  async #closeFiles(files: GroupFiles): Promise<void> {
    for (const segment of files.segments) segment.removed = true
    await whenUnused(files)
    for (const segment of files.segments) {
      this.#options.cache.removeSegment(segment)
      if (segment.users === 0) this.#options.pool.close(segment)
    }
  }

  /** A log began anew: its earlier files go once the record that says so is durable and nobody uses them. */
  restart(group: GroupLog, earlier: GroupFiles, sequence: number): void {
    if (group.isMetadata) return
    for (const segment of earlier.segments) segment.removed = true
    const files = filesOf(group)
    files.hasLitter = true
    files.directoryMade = earlier.directoryMade
    files.directoryDirty = earlier.directoryDirty
    const settle = async (): Promise<void> => {
      await earlier.barrier
      await this.#options.journal.whenDurable(sequence)
      await this.#closeFiles(earlier)
    }
    files.barrier = settle()
    this.#options.inBackground(files.barrier)
    this.#options.inBackground(
      files.barrier.then(() =>
        this.#options.isClosing() || group.removed ? undefined : this.#options.writeBehind.sweep(group, files),
      ),
    )
  }

  /** Files that no state record mentions, group by group, without hurry: of all after an unclean stop. */
  async sweepAll(groups: readonly GroupLog[], all: boolean): Promise<void> {
    for (const group of groups) {
      if (this.#options.isClosing() || this.#options.journal.failed !== undefined) return
      if (group.removed || group.isMetadata || group.files === undefined) continue
      if (!all && !group.files.hasLitter) continue
      try {
        await this.#options.writeBehind.sweep(group)
      } catch (error) {
        // Removed meanwhile, with its directory.
        if (!group.removed) throw error
      }
    }
  }
}
