// A Raft group's node for tests: the real core over a model of a disk that writes in rounds, and of a network that only holds.
//
// The disk keeps what completed rounds wrote; a crash forgets the others. Messages wait in `outbox` until the test moves them.
// Used by the transcripts and by the random schedules; one thread, nothing happens unless the test says so.

import assert from 'node:assert/strict'
import { type Membership, UNBORN } from '../../../broker/raft/membership.ts'
import { Raft, type RaftSettings } from '../../../broker/raft/raft.ts'
import {
  type ConfirmedRead,
  Entry,
  EntryKind,
  type Envelope,
  type HardState,
  type LogIndex,
  type Message,
  NO_INDEX,
  NOBODY,
  type NodeId,
  type PlacedMembership,
  type Ready,
  type Term,
} from '../../../broker/raft/types.ts'

/** What one Ready asks of the disk. */
interface Round {
  readonly hardState: HardState | undefined
  readonly truncateFrom: LogIndex
  readonly entries: readonly Entry[]
  readonly snapshot: { index: LogIndex; term: Term; placed: PlacedMembership } | undefined
  readonly promises: readonly Envelope[]
}

export interface Parcel {
  readonly from: NodeId
  readonly to: NodeId
  readonly message: Message
}

export const lastOf = (entry: Entry): LogIndex => entry.index + entry.count - 1

/** Entries with their place: a log that may begin after a snapshot. */
export class ModelLog {
  startIndex: LogIndex = 0
  startTerm: Term = 0
  /** Known to be committed; none for a node without data that is no founder. */
  placed: PlacedMembership | undefined
  entries: Entry[] = []

  get lastIndex(): LogIndex {
    const last = this.entries.at(-1)
    return last === undefined ? this.startIndex : lastOf(last)
  }

  termAt(index: LogIndex): Term {
    if (index === this.startIndex) return this.startTerm
    return this.entries.find((entry) => entry.index <= index && lastOf(entry) >= index)?.term ?? -1
  }

  write(round: Pick<Round, 'truncateFrom' | 'entries' | 'snapshot'>): void {
    if (round.snapshot !== undefined) {
      this.startIndex = round.snapshot.index
      this.startTerm = round.snapshot.term
      this.placed = round.snapshot.placed
      this.entries = []
    }
    if (round.truncateFrom !== NO_INDEX) this.entries = this.entries.filter((entry) => entry.index < round.truncateFrom)
    for (const entry of round.entries) {
      assert.equal(entry.index, this.lastIndex + 1, 'what is written has no gap')
      this.entries.push(entry)
    }
  }

  trim(firstIndex: LogIndex, placed: PlacedMembership): void {
    this.placed = placed
    this.startTerm = this.termAt(firstIndex - 1)
    this.startIndex = firstIndex - 1
    this.entries = this.entries.filter((entry) => entry.index >= firstIndex)
  }

  runs(): { term: Term; startIndex: LogIndex }[] {
    const runs: { term: Term; startIndex: LogIndex }[] = []
    for (const entry of this.entries) {
      if (runs.at(-1)?.term !== entry.term) runs.push({ term: entry.term, startIndex: entry.index })
    }
    return runs
  }

  memberships(): PlacedMembership[] {
    const later = this.entries
      .filter(({ kind, index }) => kind === EntryKind.Membership && index > (this.placed?.index ?? 0))
      .map(({ index, ref }) => ({ index, membership: ref as Membership }))
    return this.placed === undefined && later.length === 0 ? [] : [this.placed ?? NOT_BORN, ...later]
  }

  copy(): ModelLog {
    const copy = new ModelLog()
    copy.placed = this.placed
    copy.startIndex = this.startIndex
    copy.startTerm = this.startTerm
    copy.entries = [...this.entries]
    return copy
  }
}

const NOT_BORN: PlacedMembership = { index: 0, membership: UNBORN }

export class ModelNode {
  readonly id: NodeId
  raft: Raft
  /** Counts restarts, so that leading a term twice shows. */
  life = 0
  readonly settings: RaftSettings
  /** On disk for certain. */
  disk = new ModelLog()
  hardState: HardState = { term: 0, votedFor: NOBODY }
  /** Disk plus what is being written. */
  log = new ModelLog()
  rounds: Round[] = []
  outbox: Parcel[] = []
  /** Given to the state machine in this life, in order. */
  applied: Entry[] = []
  /** Quorum reads that were confirmed, until the test takes them. */
  reads: ConfirmedRead[] = []
  appliedIndex: LogIndex = 0

  /** @param founding undefined: without data, and no founder */
  constructor(settings: RaftSettings, id: NodeId, founding: Membership | undefined) {
    this.settings = settings
    this.id = id
    if (founding !== undefined) this.disk.placed = { index: 0, membership: founding }
    this.raft = this.#open()
  }

  /** Starts with this on disk instead. */
  install(hardState: HardState, entries: readonly Entry[]): void {
    this.hardState = hardState
    this.disk.write({ truncateFrom: NO_INDEX, entries, snapshot: undefined })
    this.restart(0)
  }

  /** Forgets what no completed round wrote, but for the first `keptRoundCount` rounds: written, not yet answered. */
  restart(keptRoundCount: number): void {
    for (const round of this.rounds.slice(0, keptRoundCount)) this.#persist(round)
    this.rounds = []
    this.outbox = []
    this.log = this.disk.copy()
    this.applied = []
    this.reads = []
    this.appliedIndex = this.disk.startIndex
    this.life += 1
    this.raft = this.#open()
  }

  /** Carries out what the core wants: a round for the disk, messages into the outbox, entries to the state machine. */
  takeReady(): Ready | undefined {
    const ready = this.raft.ready()
    if (ready === undefined) return undefined
    const snapshot = ready.snapshot && {
      index: ready.snapshot.index,
      term: ready.snapshot.indexTerm,
      placed: { index: ready.snapshot.membershipIndex, membership: ready.snapshot.membership },
    }
    this.reads.push(...ready.reads)
    const { hardState, truncateFrom } = ready
    const round = {
      hardState,
      truncateFrom,
      entries: [...ready.entries],
      snapshot,
      promises: [...ready.sendWhenDurable],
    }
    this.log.write(round)
    if (snapshot !== undefined) this.appliedIndex = snapshot.index
    for (const envelope of ready.sendNow) this.#post(envelope)
    for (const entry of ready.committed) {
      if (entry.index <= this.appliedIndex) continue
      this.applied.push(...this.#between(this.appliedIndex + 1, entry.index - 1), entry)
      this.appliedIndex = lastOf(entry)
    }
    this.applied.push(...this.#between(this.appliedIndex + 1, ready.commitIndex))
    this.appliedIndex = Math.max(this.appliedIndex, ready.commitIndex)
    const loads = [...ready.loads]
    if (this.#concernsDisk(round)) this.rounds.push(round)
    for (const { to, firstIndex } of loads) {
      const countMax = Math.min(3, this.settings.options.appendEntriesMax)
      const entries = this.log.entries.filter((entry) => lastOf(entry) >= firstIndex).slice(0, countMax)
      this.raft.loaded(to, (entries[0]?.index ?? Number.POSITIVE_INFINITY) <= firstIndex ? entries.map(copyEntry) : [])
    }
    return ready
  }

  /** The oldest round is on disk: promises leave, and the core hears of it. */
  completeRound(): boolean {
    const round = this.rounds.shift()
    if (round === undefined) return false
    this.#persist(round)
    let durableIndex = this.disk.lastIndex
    for (const later of this.rounds) {
      // What a later round cuts or replaces is no longer ours to report, even if it writes the same entry again.
      if (later.snapshot !== undefined) durableIndex = Math.min(durableIndex, this.disk.startIndex)
      if (later.truncateFrom !== NO_INDEX) durableIndex = Math.min(durableIndex, later.truncateFrom - 1)
    }
    this.raft.durable(this.disk.termAt(durableIndex), durableIndex)
    for (const envelope of round.promises) {
      if (envelope.to === this.id) this.raft.receive(this.id, envelope.message)
      else this.#post(envelope)
    }
    return true
  }

  trim(firstIndex: LogIndex): void {
    this.raft.trim(firstIndex)
    const placed = this.raft.committedMembership
    this.disk.trim(firstIndex, placed)
    this.log.trim(firstIndex, placed)
  }

  #concernsDisk(round: Round): boolean {
    const writes = round.hardState !== undefined || round.entries.length > 0 || round.truncateFrom !== NO_INDEX
    return writes || round.promises.length > 0 || round.snapshot !== undefined
  }

  #between(firstIndex: LogIndex, lastIndex: LogIndex): Entry[] {
    return this.log.entries.filter((entry) => entry.index >= firstIndex && lastOf(entry) <= lastIndex)
  }

  #persist(round: Round): void {
    this.disk.write(round)
    if (round.hardState !== undefined) this.hardState = round.hardState
  }

  #post(envelope: Envelope): void {
    this.outbox.push({ from: this.id, to: envelope.to, message: copyMessage(envelope.message) })
  }

  #open(): Raft {
    const { startIndex, startTerm, lastIndex } = this.disk
    return new Raft(this.settings, {
      id: this.id,
      memberships: this.disk.memberships(),
      hardState: this.hardState,
      log: {
        firstIndex: startIndex + 1,
        prevTerm: startTerm,
        lastIndex,
        runs: this.disk.runs(),
        commitIndex: startIndex,
        // Some drivers hand the tail back, some read it from storage.
        ...(this.life % 2 === 0 ? { tail: this.disk.entries.map(copyEntry) } : {}),
      },
    })
  }
}

export function copyEntry(entry: Entry): Entry {
  return new Entry(entry.index, entry.term, entry.count, entry.kind, entry.bytes, entry.ref)
}

export function copyMessage(message: Message): Message {
  return message.type === 'append' ? { ...message, entries: message.entries.map(copyEntry) } : { ...message }
}
