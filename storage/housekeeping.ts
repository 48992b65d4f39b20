// What keeps a shard's ring and journal memory within their bounds: when one of them runs short, the oldest data is moved on.
//
// One per shard, on its thread; shard-storage.ts says when to look. Committed data goes to segments, what cannot go there yet is
// carried to newer blocks, and then the oldest file of the ring can be written again. Why: README.md, "Write-behind".

import type { Arena } from './arena.ts'
import type { Cleanup } from './cleanup.ts'
import type { Journal } from './journal.ts'
import type { GroupLog } from './log.ts'
import { CHECKPOINT, LAY_OUT_ALL } from './write-behind.ts'

/** A tail this small is repeated in the journal rather than flushed to a segment of its own. */
const CARRY_MAX_BYTES = 4096
const JOBS_AT_ONCE = 32
const EMIT_AT_ONCE = 256
/** The ring grows to so many files when there are very many groups. */
const FILES_MAX = 64

export interface HousekeepingOptions {
  readonly arena: Arena
  readonly journal: Journal<GroupLog>
  readonly cleanup: Cleanup
  /** Groups with a tail; those that have none any more are dropped from it here. */
  readonly dirty: Set<GroupLog>
  /** Of a file of the ring. */
  readonly fileBytes: number
  groups(): Iterable<GroupLog>
  /** Asks for a job of write-behind.ts. */
  request(group: GroupLog, wanted: number): Promise<void>
  /** Bytes that appends wait for. */
  roomWanted(): number
  isClosing(): boolean
  inBackground(work: Promise<void>): void
}

export class Housekeeping {
  readonly #options: HousekeepingOptions
  #relieving = false
  #releasing = false

  constructor(options: HousekeepingOptions) {
    this.#options = options
  }

  /** Journal memory above half its budget: lay out the older half of what is held. */
  relieve(): void {
    const limit = this.#options.arena.limitBytes('journal')
    if (this.#relieving || this.#options.isClosing() || this.#options.dirty.size === 0) return
    if (this.#options.arena.usedBytes('journal') <= limit / 2 && this.#options.roomWanted() === 0) return
    this.#relieving = true
    this.#options.inBackground(
      this.#relieveMemory().finally(() => {
        this.#relieving = false
      }),
    )
  }

  async #relieveMemory(): Promise<void> {
    let oldest = Number.POSITIVE_INFINITY
    for (const group of this.#options.dirty) oldest = Math.min(oldest, group.tail?.oldestSequence ?? oldest)
    const newest = this.#options.journal.nextRecordSequence
    const cutoff = oldest + Math.max(1, Math.ceil((newest - oldest) / 2))
    const carryTotalMax = this.#options.arena.limitBytes('journal') / 8
    const due: GroupLog[] = []
    let carried = 0
    for (const group of this.#options.dirty) {
      const { tail } = group
      if (tail === undefined) this.#options.dirty.delete(group)
      else if (tail.oldestSequence >= cutoff) continue
      else if (tail.batchBytes + tail.entryBytes <= CARRY_MAX_BYTES && carried < carryTotalMax) {
        // A batch or two would hold a whole run: they move together with others like them.
        carried += group.carryItems(cutoff)
      } else if (tail.committedLength > 0) due.push(group)
    }
    if (carried > 0) this.#options.journal.flush()
    await this.forEach(due, (group) => this.#options.request(group, group.isMetadata ? CHECKPOINT : LAY_OUT_ALL))
  }

  /** A file was begun or became free, or time has passed. */
  turnRing(): void {
    const { journal, isClosing, inBackground } = this.#options
    if (this.#releasing || isClosing() || journal.failed !== undefined || !this.#ringIsShort()) return
    this.#releasing = true
    inBackground(
      this.#releaseRing().finally(() => {
        this.#releasing = false
      }),
    )
  }

  /** Half of the ring is kept free, so that the next file is always ready. */
  #ringIsShort(): boolean {
    const journal = this.#options.journal
    const files = journal.ring.isCramped ? journal.ring.fileCount : journal.ring.fileTarget
    return journal.ring.liveFileCount > Math.max(1, Math.floor(files / 2)) && journal.ring.oldestFileEnd !== undefined
  }

  async #releaseRing(): Promise<void> {
    // A turn later: the journal calls in the middle of beginning a file, where nothing may be appended.
    await undefined
    const journal = this.#options.journal
    while (!this.#options.isClosing() && journal.failed === undefined && this.#ringIsShort()) {
      const cutoff = journal.ring.oldestFileEnd!
      // What must be repeated because it can go nowhere yet would only run in circles: it waits for its commit.
      if (this.#bytesToCarry(cutoff) > this.#options.fileBytes / 2) return
      const before = journal.recordBytesTotal
      await this.#moveOn(cutoff)
      if (journal.failed !== undefined || this.#options.isClosing() || this.#neededBelow(cutoff)) return
      journal.retireOldest()
      if (journal.recordBytesTotal - before > this.#options.fileBytes / 2 && journal.ring.fileTarget < FILES_MAX) {
        // The groups' states alone fill the files as fast as they are freed: the ring is too short for so many groups.
        journal.ring.fileTarget += 2
        journal.ring.fill()
      }
    }
  }

  #bytesToCarry(cutoff: number): number {
    let bytes = 0
    for (const group of this.#options.groups()) {
      const { tail } = group
      if (tail === undefined || tail.oldestSequence >= cutoff) continue
      bytes += tail.batchBytes + tail.entryBytes - (group.attached ? tail.committedBytes : 0)
      if (group.isMetadata && group.attached) bytes -= tail.entryBytes
    }
    return bytes
  }

  #neededBelow(cutoff: number): boolean {
    for (const group of this.#options.groups()) if (group.neededSequence < cutoff) return true
    for (const removal of this.#options.cleanup.removals.values()) if (removal.sequence < cutoff) return true
    return false
  }

  /** Makes the journal blocks before `cutoff` unneeded. */
  async #moveOn(cutoff: number): Promise<void> {
    const journal = this.#options.journal
    const jobs: GroupLog[] = []
    const carryTotalMax = this.#options.fileBytes / 2
    let carried = 0
    let emitted = 0
    for (const removal of this.#options.cleanup.removals.values())
      if (removal.sequence < cutoff) this.#options.cleanup.emitRemoving(removal)
    for (const group of this.#options.groups()) {
      if (group.neededSequence >= cutoff) continue
      const { tail } = group
      const tailIsOld = tail !== undefined && tail.oldestSequence < cutoff
      const uncovered = group.uncoveredSequence < cutoff
      const small =
        tail !== undefined && tail.batchBytes + tail.entryBytes <= CARRY_MAX_BYTES && carried < carryTotalMax
      if (group.attached && (uncovered || (tailIsOld && tail!.committedLength > 0 && !small))) {
        jobs.push(group)
        continue
      }
      if (tailIsOld) carried += group.carryItems(cutoff)
      if (group.stateSequence < cutoff) group.emitState()
      emitted += 1
      // A shard has other things to do than repeating 50,000 states in one go.
      if (emitted % EMIT_AT_ONCE === 0) await journal.whenDurable(journal.nextRecordSequence - 1)
      if (journal.failed !== undefined) return
    }
    await this.forEach(
      jobs,
      (group) => this.#options.request(group, CHECKPOINT),
      false,
      () => this.#checkpointsAtOnce(),
    )
    if (journal.failed !== undefined || this.#options.isClosing()) return
    for (const group of jobs) {
      if (!group.removed && (group.tail?.oldestSequence ?? cutoff) < cutoff) group.carryItems(cutoff)
    }
    await journal.whenDurable(journal.nextRecordSequence - (journal.hasFilling ? 0 : 1))
  }

  /**
   * Checkpoints at once while the ring turns: few as long as it has room, because what they change in the file system holds
   * up flush rounds; all there may be when the files run out.
   */
  #checkpointsAtOnce(): number {
    const room = this.#options.journal.roomBytes / this.#options.fileBytes
    return room > 1.6 ? 2 : room > 1.3 ? 8 : JOBS_AT_ONCE
  }

  /** A few at once; stops in between when the shard is closed, unless the work is part of closing. */
  async forEach(
    groups: readonly GroupLog[],
    work: (group: GroupLog) => Promise<void>,
    closing = false,
    atOnce = () => JOBS_AT_ONCE,
  ): Promise<void> {
    const active = new Set<Promise<void>>()
    for (const group of groups) {
      while (active.size >= atOnce()) await Promise.race(active)
      if (this.#options.isClosing() !== closing) break
      if (group.removed) continue
      const job: Promise<void> = work(group).finally(() => active.delete(job))
      active.add(job)
    }
    await Promise.all(active)
  }
}
