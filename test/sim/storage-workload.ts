// A seeded workload over one shard's storage, on a disk whose power goes, and what must hold afterwards.
//
// Used by storage-crash.test.ts. The model remembers per group what was appended, acknowledged, committed and read; after each
// crash the reopened storage is held against it. A run is a function of its seed alone.

import { Arena } from '../../storage/arena.ts'
import type { Disk, DiskError } from '../../storage/disk.ts'
import { BATCH_KIND, FORGOTTEN_KIND, type LogEntry } from '../../storage/entry-read.ts'
import type { GroupLog, LogConfig } from '../../storage/log.ts'
import { DEFAULT_LOG_CONFIG } from '../../storage/log.ts'
import { ShardStorage } from '../../storage/shard-storage.ts'
import { batchesOf, ManualTimers, makeBatch } from '../unit/storage/harness.ts'
import { SimulatedDisk } from './disk.ts'
import { SeededRandom } from './random.ts'

export interface WorkloadOptions {
  readonly seed: number
  /** Operations of the workload between two crashes. */
  readonly steps: number
  /** Lives: one crash after each. */
  readonly crashes: number
  /** Wraps the disk, to plant a bug. */
  readonly wrap?: (disk: SimulatedDisk) => Disk
  /** Gets every group when it is made or found, to plant a bug. */
  readonly tamper?: (group: GroupLog, disk: Disk) => void
  /** The disk is full every now and then, for a while. */
  readonly fills?: boolean
}

/** What an item of a group's log must look like. */
interface Item {
  index: number
  span: number
  term: number
  baseOffset: number
  /** Content as appended; the stamped fields are compared apart. */
  bytes: Uint8Array
}

/** The log as it was before something that is not known to be durable took its place. */
interface Earlier {
  readonly items: Item[]
  readonly base: Base
  readonly commitIndex: number
  readonly committedOffset: number
  readonly logStartOffset: number
  readonly ackedLogStart: number
  /** What came in its place is durable when this index is. */
  index: number
}

/** What a log begins behind. */
interface Base {
  readonly index: number
  readonly term: number
  readonly offset: number
}

const NOTHING: Base = { index: 0, term: -1, offset: 0 }

interface GroupModel {
  groupId: number
  directory: string
  config: LogConfig
  /** The snapshot that was installed last. */
  base: Base
  /** By index order, from the base on; what was truncated is gone. */
  items: Item[]
  alternatives: Earlier[]
  lastIndex: number
  logEndOffset: number
  /** Everything up to here was reported durable. */
  ackedIndex: number
  commitIndex: number
  committedOffset: number
  logStartOffset: number
  /** The log start that was reported durable. */
  ackedLogStart: number
  /** Durable term and vote, and the last ones written. */
  ackedTerm: number
  ackedVote: number
  term: number
  vote: number
  /** The creation was reported durable. */
  created: boolean
  removed: boolean
  snapshot: number
}

export interface RunReport {
  operations: number
  crashPoints: number
  acked: number
  deletedSegments: number
  truncations: number
  overwrites: number
  installs: number
  /** Crashes that left the log as it was before a truncation or an installation. */
  reverted: number
  /** Times that something waited for space. */
  waits: number
}

const JOURNAL_FILE_BYTES = 32 * 1024

export class Violation extends Error {}

function check(holds: boolean, rule: string, ...facts: unknown[]): asserts holds {
  if (!holds) throw new Violation(`${rule} (${facts.map(String).join(', ')})`)
}

/** Bytes 0 to 7 (offset) and 12 to 15 (leader epoch) are stamped; the rest is the producer's. */
function sameContent(stored: Uint8Array, sent: Uint8Array): boolean {
  if (stored.length !== sent.length) return false
  for (let at = 8; at < sent.length; at++) {
    if (at >= 12 && at < 16) continue
    if (stored[at] !== sent[at]) return false
  }
  return true
}

export class Workload {
  readonly report: RunReport = {
    operations: 0,
    crashPoints: 0,
    acked: 0,
    deletedSegments: 0,
    truncations: 0,
    overwrites: 0,
    installs: 0,
    reverted: 0,
    waits: 0,
  }
  readonly #options: WorkloadOptions
  readonly #random: SeededRandom
  #disk: SimulatedDisk
  #storage!: ShardStorage
  #timers = new ManualTimers()
  #models = new Map<number, GroupModel>()
  /** Removed groups: whether they are gone or still there is open until the removal was durable. */
  #uncertain = new Map<number, GroupModel>()
  #nextGroup = 1
  #seedOfBatch = 1
  #failures: DiskError[] = []
  #crashing = false
  #verified = false

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.#random = new SeededRandom(options.seed)
    this.#disk = new SimulatedDisk({ seed: options.seed, directories: ['/data'], turnsMax: 1 + this.#random.below(12) })
  }

  async run(): Promise<RunReport> {
    const { steps, crashes } = this.#options
    await this.#open(Number.POSITIVE_INFINITY)
    for (let life = 0; life < crashes; life++) {
      const before = this.#disk.operationCount
      // The power goes at any operation of the life to come, known only by its number.
      const lifeOperations = 20 + this.#random.below(steps * 3)
      this.#disk.crashAtOperation = before + lifeOperations
      await this.#live(steps)
      this.#crash()
      // Often it goes again while the journal is being replayed, or right after.
      for (let again = 0; this.#random.chance(0.4) && again < 3; again++) {
        const died = await this.#open(1 + this.#random.below(40))
        if (!died) await this.#verify(false)
        this.#crash()
      }
      await this.#open(Number.POSITIVE_INFINITY)
      await this.#verify(true)
      this.report.crashPoints += 1
    }
    await this.#live(steps)
    if (!this.#disk.crashed) {
      this.#disk.fullness = 'none'
      this.#timers.advance(500)
      await this.#settle()
      await Promise.race([this.#storage.close(), this.#disk.whenCrashed])
    }
    this.#disk = this.#disk.restart()
    await this.#open(Number.POSITIVE_INFINITY)
    await this.#verify(true)
    return this.report
  }

  #crash(): void {
    this.report.operations += this.#disk.operationCount
    this.#disk = this.#disk.restart()
  }

  /** @returns whether the power went meanwhile */
  async #open(crashAtOperation: number): Promise<boolean> {
    this.#disk.crashAtOperation = crashAtOperation
    this.#crashing = crashAtOperation !== Number.POSITIVE_INFINITY
    this.#verified = this.#models.size === 0
    this.#timers = new ManualTimers()
    this.#failures = []
    const arena = Arena.create(2 << 20)
    const disk = this.#options.wrap?.(this.#disk) ?? this.#disk
    const opening = ShardStorage.open({
      disk,
      nowMs: () => 10_000,
      monotonicMs: () => this.#timers.nowMs,
      after: this.#timers.after,
      journalDirectory: '/data/journal',
      arena,
      journalFileBytes: JOURNAL_FILE_BYTES,
      journalFileCount: 3 + (this.#options.seed % 2),
      blockBytesMax: 8192,
      chunkBytes: 4096 + 4096 * (this.#options.seed % 3),
      readAheadBytes: 16 * 1024,
      readBytes: 8192,
      openFilesMax: 3,
      onDurable: (groups) => this.#onDurable(groups),
      onFailure: (error) => this.#failures.push(error),
      onRoom: () => undefined,
      onFull: (isFull) => {
        if (isFull) this.report.waits += 1
      },
      log: (_level, message) => {
        if (message.includes('segments up to')) this.report.deletedSegments += 1
      },
    })
    const opened = await Promise.race([opening, this.#disk.whenCrashed.then(() => undefined)])
    if (opened === undefined) return true
    this.#storage = opened
    return false
  }

  #onDurable(groups: readonly GroupLog[]): void {
    // What recovery carries forward says nothing new before it was held against the model.
    if (!this.#verified) return
    for (const group of groups) {
      const model = this.#models.get(group.groupId)
      if (model === undefined || group.removed) continue
      check(
        group.durableIndex >= Math.min(model.ackedIndex, group.lastIndex),
        'what is durable stays so',
        group.groupId,
      )
      model.ackedIndex = group.durableIndex
      model.created = true
      // A durable index speaks for the log as it is now, not for what was cut off.
      model.alternatives = model.alternatives.filter((earlier) => earlier.index > group.durableIndex)
      if (group.hardStateDurable) {
        model.ackedTerm = model.term
        model.ackedVote = model.vote
        // Each truncation and installation is followed by a hard state, so it is durable too.
        model.alternatives = []
      }
      this.report.acked += 1
    }
  }

  async #turn(): Promise<void> {
    for (let turns = this.#random.below(40); turns > 0; turns--) await undefined
  }

  async #settle(): Promise<void> {
    for (let turn = 0; turn < 50 && !this.#disk.crashed; turn++) await new Promise<void>((wake) => setImmediate(wake))
  }

  async #live(steps: number): Promise<void> {
    for (let step = 0; step < steps && !this.#disk.crashed; step++) {
      if (this.#options.fills === true) this.#fill()
      this.#step()
      if (this.#random.chance(0.7)) this.#storage.flush()
      await this.#turn()
      check(
        this.#failures.length === 0,
        'a disk without faults makes no failure',
        this.#failures[0]?.message,
        this.#failures[0]?.cause,
      )
    }
  }

  /** The disk fills up, or somebody makes room. */
  #fill(): void {
    const disk = this.#disk
    if (disk.fullness === 'none') {
      if (!this.#random.chance(0.03)) return
      disk.fullness = this.#random.chance(0.5) ? 'growth' : 'changes'
      disk.fullCode = this.#random.chance(0.8) ? 'ENOSPC' : 'EDQUOT'
      return
    }
    if (this.#random.chance(0.15)) this.#timers.advance(500)
    if (this.#random.chance(0.1)) disk.fullness = 'none'
  }

  #step(): void {
    const chance = this.#random.below(100)
    const model = this.#pick()
    if (model === undefined || chance < 3) {
      this.#create()
      return
    }
    const group = this.#storage.get(model.groupId)!
    if (chance < 55) this.#append(model, group)
    else if (chance < 60) this.#appendEntry(model, group)
    else if (chance < 80) this.#commit(model, group)
    else if (chance < 82) this.#truncate(model, group)
    else if (chance < 84) this.#overwrite(model, group)
    else if (chance < 85) this.#install(model, group)
    else if (chance < 87) this.#hardState(model, group)
    else if (chance < 90) this.#trim(model, group)
    else if (chance < 91) this.#remove(model)
    else if (chance < 92) this.#storage.enforceRetention().catch((error) => this.#failures.push(error))
    else if (chance < 94) this.#timers.advance(3000)
    else this.#read(model, group)
  }

  #pick(): GroupModel | undefined {
    const models = [...this.#models.values()]
    return models.length === 0 ? undefined : models[this.#random.below(models.length)]
  }

  #create(): void {
    if (this.#models.size >= 6) return
    const groupId = this.#random.chance(0.1) && !this.#models.has(0) ? 0 : this.#nextGroup++
    if (this.#uncertain.has(groupId)) return
    const config: LogConfig = {
      ...DEFAULT_LOG_CONFIG,
      segmentBytes: 4000 + this.#random.below(30_000),
      indexIntervalBytes: this.#random.below(1000),
      deletePolicy: this.#random.chance(0.3),
      retentionBytes: 8000 + this.#random.below(30_000),
      fileDeleteDelayMs: this.#random.chance(0.5) ? 0 : 1000,
    }
    // Few names, so that a new group often gets the directory of one that is on its way out.
    const directory = `/data/t-${this.#random.below(8)}`
    for (const other of this.#models.values()) if (other.directory === directory) return
    const snapshot = this.#random.chance(0.5) ? snapshotOf(0) : undefined
    const group = this.#storage.create(groupId, directory, config, snapshot)
    this.#tamper(group)
    const model: GroupModel = {
      groupId,
      directory,
      config,
      base: NOTHING,
      items: [],
      alternatives: [],
      lastIndex: 0,
      logEndOffset: 0,
      ackedIndex: 0,
      commitIndex: 0,
      committedOffset: 0,
      logStartOffset: 0,
      ackedLogStart: 0,
      ackedTerm: -1,
      ackedVote: -1,
      term: -1,
      vote: -1,
      created: false,
      removed: false,
      snapshot: 0,
    }
    this.#models.set(groupId, model)
    this.#provide(model, group)
  }

  #provide(model: GroupModel, group: GroupLog): void {
    group.snapshotProvider = { snapshot: () => snapshotOf(model.commitIndex) }
  }

  #tamper(group: GroupLog): void {
    this.#options.tamper?.(group, this.#disk)
  }

  #append(model: GroupModel, group: GroupLog): void {
    if (model.groupId === 0) {
      this.#appendEntry(model, group)
      return
    }
    const count = 1 + this.#random.below(4)
    const size = this.#random.chance(0.03) ? 9000 + this.#random.below(20_000) : this.#random.below(1200)
    const batch = makeBatch(count, size, this.#seedOfBatch++, this.#seedOfBatch * 10)
    if (!this.#storage.canAccept(batch.length)) return
    const term = this.#beginTerm(model, group)
    const item = { index: model.lastIndex + 1, span: count, term, baseOffset: model.logEndOffset, bytes: batch }
    group.appendBatch(term, item.index, item.baseOffset, batch, -1)
    model.items.push(item)
    model.lastIndex += count
    model.logEndOffset += count
  }

  /** A term begins with an entry, as each leader's does. @returns the term to append in */
  #beginTerm(model: GroupModel, group: GroupLog): number {
    const term = Math.max(model.term, group.lastTerm, 0)
    if (term === group.lastTerm) return term
    if (term > model.term) {
      model.term = term
      group.saveHardState(term, model.vote)
    }
    group.appendEntry(term, model.lastIndex + 1, 1, new Uint8Array(0))
    model.lastIndex += 1
    const { lastIndex, logEndOffset } = model
    model.items.push({ index: lastIndex, span: 0, term, baseOffset: logEndOffset, bytes: new Uint8Array(0) })
    return term
  }

  #appendEntry(model: GroupModel, group: GroupLog): void {
    const payload = new Uint8Array(this.#random.below(200)).fill(this.#seedOfBatch++ & 0xff)
    if (!this.#storage.canAccept(payload.length)) return
    const term = Math.max(model.term, group.lastTerm, 0)
    group.appendEntry(term, model.lastIndex + 1, 7, payload)
    model.lastIndex += 1
    model.items.push({ index: model.lastIndex, span: 0, term, baseOffset: model.logEndOffset, bytes: payload })
  }

  #commit(model: GroupModel, group: GroupLog): void {
    if (group.durableIndex <= model.commitIndex) return
    model.commitIndex = group.durableIndex
    model.committedOffset = group.durableOffset
    group.commit(model.commitIndex, model.committedOffset)
  }

  /** A new leader's log differs from some uncommitted entry on. */
  #truncate(model: GroupModel, group: GroupLog): void {
    const uncommitted = model.items.filter((other) => other.index > model.commitIndex)
    if (uncommitted.length === 0) return
    // Mostly a little, sometimes all.
    const last = Math.min(uncommitted.length, this.#random.chance(0.8) ? 3 : uncommitted.length)
    const item = uncommitted[uncommitted.length - 1 - this.#random.below(last)]!
    this.#remember(model, item.index)
    group.truncateTail(item.index)
    model.items = model.items.filter((other) => other.index < item.index)
    model.lastIndex = item.index - 1
    model.logEndOffset = item.baseOffset
    model.ackedIndex = Math.min(model.ackedIndex, model.lastIndex)
    this.report.truncations += 1
    // The replacement is written in a later term, as Raft has it.
    this.#hardState(model, group)
    check(group.lastIndex === model.lastIndex, 'truncation leaves what is before', group.lastIndex, model.lastIndex)
    check(group.durableIndex <= model.lastIndex, 'what was cut is not durable', group.durableIndex, model.lastIndex)
  }

  /** What a follower does with a new leader's append: cut, and write other entries under the same indexes, in one round. */
  #overwrite(model: GroupModel, group: GroupLog): void {
    if (this.#random.chance(0.5)) this.#append(model, group)
    if (this.#random.chance(0.5)) this.#storage.flush()
    this.#truncate(model, group)
    for (let count = 1 + this.#random.below(3); count > 0; count--) this.#append(model, group)
    this.report.overwrites += 1
    this.#endangerSoon(0.1)
  }

  /** What replaces acknowledged data is best interrupted right there. */
  #endangerSoon(chance: number): void {
    if (!this.#random.chance(chance)) return
    this.#storage.flush()
    const soon = this.#disk.operationCount + 1 + this.#random.below(5)
    this.#disk.crashAtOperation = Math.min(this.#disk.crashAtOperation, soon)
  }

  /** What a follower does that is behind the log start of its leader. */
  #install(model: GroupModel, group: GroupLog): void {
    const index = Math.max(model.lastIndex - this.#random.below(5), model.commitIndex + 1) + this.#random.below(40)
    const skipped = index - model.commitIndex
    const offset = model.groupId === 0 ? 0 : model.committedOffset + this.#random.below(skipped + 1)
    const logStartOffset = this.#random.below(offset + 1)
    const term = Math.max(model.term, group.lastTerm, 0) + 1
    this.#remember(model, index)
    const ackedIndex = Math.min(model.ackedIndex, model.commitIndex)
    group.installSnapshot({ index, term, offset, logStartOffset, snapshot: snapshotOf(index) })
    model.base = { index, term, offset }
    model.items = []
    model.lastIndex = model.commitIndex = index
    model.logEndOffset = model.committedOffset = offset
    model.logStartOffset = logStartOffset
    model.ackedLogStart = 0
    model.ackedIndex = ackedIndex
    this.report.installs += 1
    model.term = term - 1
    this.#hardState(model, group)
    check(group.durableIndex <= ackedIndex, 'an installation is not durable at once', group.durableIndex, ackedIndex)
    if (this.#random.chance(0.5)) this.#append(model, group)
    this.#endangerSoon(0.3)
  }

  #remember(model: GroupModel, index: number): void {
    for (const earlier of model.alternatives) earlier.index = Math.min(earlier.index, index)
    const { items, base, commitIndex, committedOffset, logStartOffset, ackedLogStart } = model
    model.alternatives.push({ items, base, commitIndex, committedOffset, logStartOffset, ackedLogStart, index })
  }

  #hardState(model: GroupModel, group: GroupLog): void {
    model.term = Math.max(model.term, group.lastTerm) + 1
    model.vote = this.#random.below(3) * 2 ** 32 + this.#random.below(3)
    group.saveHardState(model.term, model.vote)
  }

  #trim(model: GroupModel, group: GroupLog): void {
    if (model.groupId === 0 || model.committedOffset <= model.logStartOffset) return
    const offset = Math.min(model.committedOffset, group.logStartOffset + this.#random.below(30))
    group.trimPrefix(offset)
    model.logStartOffset = group.logStartOffset
    const { base } = model
    group.whenJournaled().then(
      () => {
        if (model.base === base) model.ackedLogStart = Math.max(model.ackedLogStart, offset)
      },
      (error) => this.#failures.push(error),
    )
  }

  #remove(model: GroupModel): void {
    this.#models.delete(model.groupId)
    model.removed = true
    this.#uncertain.set(model.groupId, model)
    this.#storage.remove(model.groupId)
  }

  #read(model: GroupModel, group: GroupLog): void {
    if (this.#random.chance(0.4)) this.#readEntries(model, group)
    if (model.groupId === 0) return
    const start = Math.max(group.logStartOffset, model.base.offset)
    const offset = start + this.#random.below(Math.max(1, model.committedOffset - start))
    if (offset >= model.committedOffset) return
    const items = model.items
    const committed = model.committedOffset
    const expect = async (): Promise<void> => {
      const result = await group.read(offset, 1 + this.#random.below(20_000), committed, true)
      // Also when a snapshot came meanwhile nothing else may be read than what was there, or nothing.
      if (!group.removed && offset >= group.logStartOffset && model.items === items) {
        check(result.bytes > 0, 'a committed offset is readable', group.groupId, offset, group.logStartOffset)
        compareBatches(batchesOf(result), items, offset, false)
      }
      result.release()
    }
    expect().catch((error) => this.#failures.push(error))
  }

  /** What is sent to a peer: from anywhere in the log, committed or not, while appends, truncations and retention go on. */
  #readEntries(model: GroupModel, group: GroupLog): void {
    const { items, base } = model
    const fromIndex = group.firstIndex + this.#random.below(group.lastIndex - group.firstIndex + 2)
    const expect = async (): Promise<void> => {
      const read = await group.readEntries(fromIndex, 1 + this.#random.below(20_000))
      if (model.base === base && !group.removed) compareEntries(read.entries, items, group, fromIndex)
      read.release()
    }
    expect().catch((error) => this.#failures.push(error))
  }

  /** Holds the reopened storage against the model, and the model against what survived. */
  async #verify(whole: boolean): Promise<void> {
    for (const [groupId, model] of this.#uncertain) {
      // A removal that did not become durable leaves the group; it is then removed again.
      if (!this.#models.has(groupId) && this.#storage.get(groupId) !== undefined) this.#storage.remove(groupId)
      if (model.removed && whole) this.#uncertain.delete(groupId)
    }
    for (const model of [...this.#models.values()]) {
      const group = this.#storage.get(model.groupId)
      if (group === undefined) {
        check(!model.created, 'a group whose creation was durable is there', model.groupId)
        this.#models.delete(model.groupId)
        continue
      }
      group.config = model.config
      this.#tamper(group)
      await this.#verifyGroup(model, group)
      if (this.#disk.crashed) return
    }
    for (const group of this.#storage.groups()) {
      check(this.#models.has(group.groupId), 'no group comes from nowhere', group.groupId)
    }
    this.#verified = true
    if (!whole) return
    await this.#settle()
    check(
      this.#failures.length === 0,
      'recovery makes no failure',
      this.#failures[0]?.message,
      this.#failures[0]?.cause,
    )
  }

  async #verifyGroup(model: GroupModel, group: GroupLog): Promise<void> {
    const { groupId } = model
    check(
      group.lastIndex >= model.ackedIndex,
      'nothing acknowledged is lost',
      groupId,
      group.lastIndex,
      model.ackedIndex,
    )
    check(group.durableIndex === group.lastIndex, 'what was recovered is durable', groupId)
    check(group.commitIndex <= group.lastIndex, 'the commit index lies in the log', groupId)
    check(group.term >= model.ackedTerm, 'the acknowledged term is kept', groupId, group.term, model.ackedTerm)
    if (group.term === model.ackedTerm)
      check(group.votedFor === model.ackedVote, 'the acknowledged vote is kept', groupId)
    check(group.logStartOffset <= Math.max(model.committedOffset, 0), 'the log starts below its committed end', groupId)
    const snapshotIndex = group.snapshot === undefined ? 0 : new DataView(group.snapshot.buffer).getFloat64(0)
    check(group.snapshotIndex >= snapshotIndex, 'the snapshot is of its index', groupId, group.snapshotIndex)
    check(
      snapshotIndex <= group.lastIndex,
      'a snapshot is not ahead of the log',
      groupId,
      snapshotIndex,
      group.lastIndex,
    )
    // What was not acknowledged may be gone; what is left is the prefix, of this log or of one that it took the place of.
    const logs = [{ ...model, index: Number.POSITIVE_INFINITY }, ...model.alternatives]
    const found = logs.find(({ items, base }) => {
      const last = items.findLast((item) => item.index <= group.lastIndex)
      if (last === undefined) return group.lastIndex === base.index && group.lastTerm === base.term
      return last.index + Math.max(1, last.span) - 1 === group.lastIndex && last.term === group.lastTerm
    })
    check(found !== undefined, 'nothing comes from nowhere', groupId, group.lastIndex, group.lastTerm)
    if (found !== logs[0]) this.report.reverted += 1
    const { base } = found
    model.base = base
    model.items = found.items.filter((item) => item.index <= group.lastIndex)
    model.commitIndex = found.commitIndex
    model.committedOffset = found.committedOffset
    model.ackedLogStart = found.ackedLogStart
    model.alternatives = []
    check(
      group.logStartOffset >= found.ackedLogStart,
      'an acknowledged log start is kept',
      groupId,
      group.logStartOffset,
      found.ackedLogStart,
    )
    check(group.firstIndex > base.index, 'nothing is left of a log that was given up', groupId, group.firstIndex)
    check(snapshotIndex >= base.index, 'the snapshot came with the log', groupId, snapshotIndex, base.index)
    model.lastIndex = group.lastIndex
    model.logEndOffset = group.logEndOffset
    model.ackedIndex = group.lastIndex
    model.term = group.term
    model.vote = group.votedFor
    model.ackedTerm = group.term
    model.ackedVote = group.votedFor
    model.created = true
    const last = model.items.at(-1)
    if (last !== undefined) {
      check(group.logEndOffset === last.baseOffset + last.span, 'offsets are dense', groupId, group.logEndOffset)
      check(group.lastTerm === last.term, 'the last term is that of the last entry', groupId, group.lastTerm, last.term)
    }
    check(
      model.commitIndex <= group.lastIndex,
      'what was committed is durable on the only replica',
      groupId,
      model.commitIndex,
    )
    const visited: number[] = []
    group.replay({
      entry: (index, term) => {
        visited.push(index)
        check(
          model.items.some((item) => item.index === index && item.term === term && item.span === 0),
          'an entry keeps its place',
          groupId,
          index,
        )
      },
      batch: (index, term, _bytes, _at) => {
        visited.push(index)
        check(
          model.items.some((item) => item.index === index && item.term === term && item.span > 0),
          'a batch keeps its place',
          groupId,
          index,
          term,
        )
      },
    })
    const expected = model.items.filter((item) => item.index > snapshotIndex).map((item) => item.index)
    if (this.#disk.crashed) return
    this.#verifyRuns(model, group)
    check(
      visited.join() === expected.join(),
      'replay shows what the snapshot lacks',
      groupId,
      snapshotIndex,
      visited.join(),
      expected.join(),
    )
    group.commit(model.commitIndex, model.committedOffset)
    if (this.#random.chance(0.5)) {
      group.commit(group.lastIndex, group.logEndOffset)
      model.commitIndex = group.lastIndex
      model.committedOffset = group.logEndOffset
    }
    model.logStartOffset = group.logStartOffset
    if (groupId !== 0) await this.#verifyContent(model, group)
    await this.#verifyEntries(model, group)
    this.#provide(model, group)
  }

  /** Index, term and offset say the same of every entry that is held. */
  #verifyRuns(model: GroupModel, group: GroupLog): void {
    const { groupId, firstIndex } = group
    let term = Math.max(0, model.base.term)
    for (const item of model.items) {
      const lastIndex = item.index + Math.max(1, item.span) - 1
      if (lastIndex === firstIndex - 1)
        check(group.prevTerm === item.term, 'the term before the first is known', groupId)
      if (item.index >= firstIndex) {
        if (item.index === firstIndex)
          check(group.prevTerm === term, 'the term before the first is known', groupId, term)
        check(group.termAt(item.index) === item.term, 'each entry keeps its term', groupId, item.index)
        const after = groupId === 0 ? 0 : item.baseOffset + item.span
        check(group.offsetAfter(lastIndex) === after, 'each index knows its offset', groupId, lastIndex, after)
        if (item.span > 0) {
          check(group.indexOfOffset(item.baseOffset) === item.index, 'each offset knows its index', groupId, item.index)
        }
      }
      term = item.term
    }
  }

  /** All entries as they would be sent to a peer. */
  async #verifyEntries(model: GroupModel, group: GroupLog): Promise<void> {
    let index = group.firstIndex
    while (index <= group.lastIndex && !this.#disk.crashed) {
      const read = await this.#unlessCrashed(Promise.resolve(group.readEntries(index, 8000)))
      if (read === undefined) return
      check(read.entries.length > 0, 'every entry that is held can be read', model.groupId, index, group.lastIndex)
      compareEntries(read.entries, model.items, group, index)
      const last = read.entries.at(-1)!
      index = last.index + last.count
      read.release()
    }
  }

  async #verifyContent(model: GroupModel, group: GroupLog): Promise<void> {
    let offset = Math.max(group.logStartOffset, model.base.offset)
    while (offset < group.logEndOffset && !this.#disk.crashed) {
      const result = await this.#unlessCrashed(Promise.resolve(group.read(offset, 8000, group.logEndOffset, true)))
      if (result === undefined) return
      check(result.bytes > 0, 'everything above the log start is readable', model.groupId, offset, group.logEndOffset)
      compareBatches(batchesOf(result), model.items, offset, true)
      offset = result.nextOffset
      result.release()
    }
  }

  async #unlessCrashed<T>(work: Promise<T> | T): Promise<T | undefined> {
    return this.#crashing ? Promise.race([work, this.#disk.whenCrashed.then(() => undefined)]) : work
  }
}

function snapshotOf(index: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, index)
  return bytes
}

function compareEntries(
  entries: readonly LogEntry[],
  items: readonly Item[],
  group: GroupLog,
  fromIndex: number,
): void {
  let next = fromIndex
  for (const entry of entries) {
    const item = items.find((other) => other.index === entry.index)
    check(item !== undefined, 'an entry read was appended there', group.groupId, entry.index, fromIndex)
    check(entry.index <= next && entry.index + entry.count > next, 'no entry is missing', entry.index, next)
    next = entry.index + entry.count
    check(entry.term === item.term, 'an entry has its term', group.groupId, entry.index, entry.term, item.term)
    check(entry.count === Math.max(1, item.span), 'an entry has its indexes', entry.index, entry.count)
    check(entry.baseOffset === item.baseOffset, 'an entry has its offset', group.groupId, entry.index, entry.baseOffset)
    check((entry.kind === BATCH_KIND) === item.span > 0, 'an entry has its kind', entry.index, entry.kind)
    if (item.span > 0) check(sameContent(entry.bytes, item.bytes), 'a batch is sent as it was written', entry.index)
    else if (entry.kind !== FORGOTTEN_KIND) {
      check(Buffer.compare(entry.bytes, item.bytes) === 0, 'an entry keeps its payload', entry.index)
    }
  }
}

function compareBatches(
  seen: { baseOffset: number; lastOffset: number; bytes: Uint8Array }[],
  items: readonly Item[],
  offset: number,
  dense: boolean,
): void {
  let next = offset
  for (const batch of seen) {
    const item = items.find((other) => other.span > 0 && other.baseOffset === batch.baseOffset)
    check(item !== undefined, 'a batch read was appended there', batch.baseOffset)
    check(sameContent(batch.bytes, item.bytes), 'a record never changes', batch.baseOffset)
    check(batch.lastOffset === item.baseOffset + item.span - 1, 'a batch keeps its offsets', batch.baseOffset)
    if (dense) check(batch.baseOffset <= next, 'no offset is missing', batch.baseOffset, next)
    next = batch.lastOffset + 1
  }
}
