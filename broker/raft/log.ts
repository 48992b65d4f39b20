// A group's log as Raft sees it: which term wrote which index, how far it is durable and committed, and the entries in between.
//
// Owned by one Raft group, shard thread. Bytes live in storage; here are the runs of equal terms (a handful of numbers) and
// the chain of entries not yet committed, linked through the entries themselves so that a quiet group holds no array.

import { invariant } from '../../protocol/invariant.ts'
import { Entry, type EntryKind, type LogIndex, NO_INDEX, type Term } from './types.ts'

/** What storage found when it opened the group. */
export interface Recovered {
  /** First index the log still holds; 1 for a new group. */
  readonly firstIndex: LogIndex
  /** Term of the entry before firstIndex; 0 for a new group. */
  readonly prevTerm: Term
  /** Last index on disk; firstIndex - 1 when the log is empty. */
  readonly lastIndex: LogIndex
  /** First index of each term, oldest first; the oldest may begin before firstIndex. */
  readonly runs: readonly { readonly term: Term; readonly startIndex: LogIndex }[]
  /** Everything up to here is known to be committed, and applied by the state machine. */
  readonly commitIndex: LogIndex
  /**
   * The entries after commitIndex, to be given back in Ready.committed. When left out, whoever applies them follows
   * Ready.commitIndex and reads them from storage.
   */
  readonly tail?: readonly Entry[]
}

export class RaftLog {
  firstIndex: LogIndex
  prevTerm: Term
  lastIndex: LogIndex
  lastTerm: Term
  /** On our disk up to here. */
  durableIndex: LogIndex
  commitIndex: LogIndex
  /** Given out to be written up to here. */
  writtenIndex: LogIndex
  /** Given out as committed up to here. */
  appliedIndex: LogIndex
  /** Lowest index replaced since the last Ready. */
  truncateFrom: LogIndex = NO_INDEX
  /** term, start, term, start ... oldest first; exact length, since most groups hold one run for long. */
  #runs: number[]
  /** Chain of the entries above appliedIndex that are in memory. */
  #first: Entry | undefined = undefined
  #last: Entry | undefined = undefined
  /** First of the chain not yet given out to be written. */
  #unwritten: Entry | undefined = undefined

  constructor(recovered: Recovered) {
    this.firstIndex = recovered.firstIndex
    this.prevTerm = recovered.prevTerm
    this.lastIndex = recovered.lastIndex
    this.durableIndex = recovered.lastIndex
    this.commitIndex = recovered.commitIndex
    this.writtenIndex = recovered.lastIndex
    this.appliedIndex = recovered.commitIndex
    const runs: number[] = []
    for (const { term, startIndex } of recovered.runs) {
      if (startIndex <= recovered.lastIndex) runs.push(term, startIndex)
    }
    this.#runs = runs.slice()
    invariant(
      recovered.lastIndex >= recovered.firstIndex - 1,
      'a log ends where it begins or later',
      recovered.lastIndex,
    )
    invariant(
      recovered.commitIndex <= recovered.lastIndex,
      'no commit beyond the log',
      recovered.commitIndex,
      recovered.lastIndex,
    )
    this.lastTerm = recovered.prevTerm
    if (recovered.lastIndex >= recovered.firstIndex) {
      invariant(runs.length > 0, 'each held index has a term', recovered.firstIndex, recovered.lastIndex)
      this.lastTerm = runs[runs.length - 2]!
    }
    for (const entry of recovered.tail ?? []) {
      const expected = this.#last === undefined ? this.appliedIndex + 1 : lastIndexOf(this.#last) + 1
      invariant(entry.index === expected, 'the recovered tail has no gap', entry.index, expected)
      this.#link(entry)
    }
  }

  /** First index of the chain in memory; lastIndex + 1 when there is none. */
  get memoryIndex(): LogIndex {
    return this.#first === undefined ? this.lastIndex + 1 : this.#first.index
  }

  /** @returns undefined outside [firstIndex - 1, lastIndex] */
  termAt(index: LogIndex): Term | undefined {
    if (index > this.lastIndex || index < this.firstIndex - 1) return undefined
    if (index === this.lastIndex) return this.lastTerm
    if (index === this.firstIndex - 1) return this.prevTerm
    const runs = this.#runs
    for (let at = runs.length - 2; at >= 0; at -= 2) if (runs[at + 1]! <= index) return runs[at]
    return undefined
  }

  /** Our log ends at least where a candidate's must (Raft dissertation, 3.6.1). */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /**
   * The last index at or below `index` whose term is `term` or older: where two logs may still agree. Before our first index
   * nothing is known: what lies there may agree, unless the term just before it is already too new.
   */
  lastIndexOfTerm(index: LogIndex, term: Term): LogIndex {
    let at = Math.min(index, this.lastIndex)
    const runs = this.#runs
    for (let run = runs.length - 2; run >= 0 && at >= this.firstIndex; run -= 2) {
      if (runs[run + 1]! > at) continue
      if (runs[run]! <= term) return at
      at = Math.max(runs[run + 1]!, this.firstIndex) - 1
    }
    return at === this.firstIndex - 1 && this.prevTerm > term ? at - 1 : at
  }

  /** Appends one entry of our own making. */
  append(term: Term, count: number, kind: EntryKind, ref: unknown): Entry {
    const entry = new Entry(this.lastIndex + 1, term, count, kind, ref)
    this.#append(entry)
    return entry
  }

  /**
   * Appends what a leader sent after `prevIndex`, where the logs agree; drops our suffix at the first conflict.
   * @returns the last index the message vouches for
   */
  merge(prevIndex: LogIndex, entries: readonly Entry[]): LogIndex {
    let lastIndex = prevIndex
    for (const entry of entries) {
      invariant(entry.index === lastIndex + 1, 'the entries of a message have no gap', entry.index, lastIndex + 1)
      lastIndex = lastIndexOf(entry)
      if (entry.index <= this.lastIndex) {
        if (this.termAt(entry.index) === entry.term) continue
        this.#truncate(entry.index)
      }
      this.#append(entry)
    }
    return lastIndex
  }

  commit(index: LogIndex): void {
    invariant(index <= this.lastIndex, 'no commit beyond the log', index, this.lastIndex)
    if (index > this.commitIndex) this.commitIndex = index
  }

  /** @returns whether the durable index moved */
  durable(term: Term, index: LogIndex): boolean {
    if (index <= this.durableIndex || this.termAt(index) !== term) return false
    invariant(
      index <= this.writtenIndex,
      'nothing is durable that was not given out to be written',
      index,
      this.writtenIndex,
    )
    this.durableIndex = index
    return true
  }

  /**
   * Entries that are in memory, at most `countMax`, beginning with the one that covers `index`.
   * @param hint an entry that may be the one before
   * @returns undefined when that one is on disk only
   */
  entriesFrom(index: LogIndex, countMax: number, hint: Entry | undefined): Entry[] | undefined {
    let entry =
      hint !== undefined && lastIndexOf(hint) + 1 === index && hint.next !== undefined ? hint.next : this.#first
    while (entry !== undefined && lastIndexOf(entry) < index) entry = entry.next
    if (entry === undefined || entry.index > index) return undefined
    const entries: Entry[] = []
    for (; entry !== undefined && entries.length < countMax; entry = entry.next) entries.push(entry)
    return entries
  }

  /** The next entry to write, or undefined; each is given out once. */
  takeUnwritten(): Entry | undefined {
    const entry = this.#unwritten
    if (entry === undefined) return undefined
    this.#unwritten = entry.next
    this.writtenIndex = lastIndexOf(entry)
    return entry
  }

  /** The next committed entry in memory, or undefined; each is given out once and forgotten. */
  takeCommitted(): Entry | undefined {
    const entry = this.#first
    if (entry === undefined || entry === this.#unwritten || lastIndexOf(entry) > this.commitIndex) {
      // Entries that recovery left on disk have no object here; the commit index speaks for them.
      if (entry === undefined || entry.index > this.commitIndex) this.appliedIndex = this.commitIndex
      return undefined
    }
    this.#first = entry.next
    if (entry.next === undefined) this.#last = undefined
    // Whoever keeps a committed entry must not keep all later ones with it.
    entry.next = undefined
    this.appliedIndex = lastIndexOf(entry)
    return entry
  }

  get hasUnwritten(): boolean {
    return this.#unwritten !== undefined
  }

  /** Storage dropped everything before `firstIndex` (retention, snapshot). */
  trim(firstIndex: LogIndex): void {
    if (firstIndex <= this.firstIndex) return
    invariant(firstIndex <= this.commitIndex + 1, 'only committed entries are trimmed', firstIndex, this.commitIndex)
    this.prevTerm = this.termAt(firstIndex - 1)!
    this.firstIndex = firstIndex
    let drop = 0
    while (drop + 2 < this.#runs.length && this.#runs[drop + 3]! <= firstIndex) drop += 2
    if (drop > 0) this.#runs = this.#runs.slice(drop)
  }

  /** Forgets everything: the log resumes after `index`, whose state comes with a snapshot. */
  restore(index: LogIndex, term: Term): void {
    invariant(index > this.commitIndex, 'a snapshot never goes back', index, this.commitIndex)
    this.durableIndex = Math.min(this.durableIndex, this.commitIndex)
    this.firstIndex = index + 1
    this.prevTerm = this.lastTerm = term
    this.lastIndex = this.commitIndex = this.appliedIndex = this.writtenIndex = index
    this.truncateFrom = NO_INDEX
    this.#runs = []
    this.#first = this.#last = this.#unwritten = undefined
  }

  #append(entry: Entry): void {
    invariant(entry.index === this.lastIndex + 1, 'the log has no gap', entry.index, this.lastIndex + 1)
    invariant(entry.term >= this.lastTerm, 'terms never fall along the log', entry.term, this.lastTerm)
    if (entry.term !== this.lastTerm || this.#runs.length === 0) this.#runs = [...this.#runs, entry.term, entry.index]
    this.lastIndex = entry.index + entry.count - 1
    this.lastTerm = entry.term
    this.#link(entry)
    if (this.#unwritten === undefined) this.#unwritten = entry
  }

  #link(entry: Entry): void {
    entry.next = undefined
    if (this.#last === undefined) this.#first = entry
    else this.#last.next = entry
    this.#last = entry
  }

  #truncate(index: LogIndex): void {
    invariant(index > this.commitIndex, 'a committed entry is never replaced', index, this.commitIndex)
    if (index <= this.writtenIndex) {
      this.truncateFrom = this.truncateFrom === NO_INDEX ? index : Math.min(this.truncateFrom, index)
      this.writtenIndex = index - 1
    }
    this.durableIndex = Math.min(this.durableIndex, index - 1)
    let kept: Entry | undefined
    let entry = this.#first
    for (; entry !== undefined && entry.index < index; entry = entry.next) kept = entry
    if (this.#unwritten !== undefined && this.#unwritten.index >= index) this.#unwritten = undefined
    if (kept === undefined) this.#first = undefined
    else kept.next = undefined
    this.#last = kept
    let length = this.#runs.length
    while (length > 0 && this.#runs[length - 1]! >= index) length -= 2
    this.#runs = this.#runs.slice(0, length)
    this.lastIndex = index - 1
    this.lastTerm = length > 0 ? this.#runs[length - 2]! : this.prevTerm
  }
}

export function lastIndexOf(entry: Entry): LogIndex {
  return entry.index + entry.count - 1
}
