// A group's log as Raft sees it: which term wrote which index, how far it is durable and committed, and the entries in between.
//
// Owned by one Raft group, shard thread. Bytes live in storage; here are the runs of equal terms (a handful of numbers) and
// the chain of entries not yet committed, linked through the entries themselves so that a quiet group holds no array; and the
// memberships, since the log decides which one is in force: the newest it holds, committed or not (dissertation, 4.1).

import { invariant } from '../../protocol/invariant.ts'
import { type Membership, UNBORN } from './membership.ts'
import { Entry, EntryKind, type LogIndex, NO_INDEX, type NodeId, type PlacedMembership, type Term } from './types.ts'

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
  /** Given out as committed up to here. */
  appliedIndex: LogIndex
  /** Lowest index replaced since the last Ready. */
  truncateFrom: LogIndex = NO_INDEX
  /** In force: the one of the highest index we know of. */
  membership: Membership
  membershipIndex: LogIndex
  /** Another membership is in force, or known to be committed, since the last Ready. */
  membershipChanged = false
  /** While the one in force is not known to be committed: those before it, oldest first; the first of them is. */
  #earlier: PlacedMembership[] | undefined = undefined
  /** Where the run of lastTerm begins; NO_INDEX in an empty log. Most groups hold this one run for long. */
  #lastStart: LogIndex = NO_INDEX
  /** The runs before it: term, start, term, start ... oldest first, of exact length. */
  #olderRuns: number[] | undefined = undefined
  /** Chain of the entries above appliedIndex that are in memory. */
  #first: Entry | undefined = undefined
  #last: Entry | undefined = undefined
  /** First of the chain not yet given out to be written. */
  #unwritten: Entry | undefined = undefined

  /** @param memberships oldest first; the first is known to be committed, whatever its index; none: an unborn replica */
  constructor(recovered: Recovered, memberships: readonly PlacedMembership[]) {
    this.membership = memberships[0]?.membership ?? UNBORN
    this.membershipIndex = memberships[0]?.index ?? 0
    this.firstIndex = recovered.firstIndex
    this.prevTerm = recovered.prevTerm
    this.lastIndex = recovered.lastIndex
    this.durableIndex = recovered.lastIndex
    this.commitIndex = recovered.commitIndex
    this.appliedIndex = recovered.commitIndex
    this.lastTerm = recovered.prevTerm
    for (const { term, startIndex } of recovered.runs) {
      if (startIndex <= recovered.lastIndex) this.#beginRun(term, startIndex)
    }
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
    if (recovered.lastIndex >= recovered.firstIndex) {
      invariant(this.#lastStart !== NO_INDEX, 'each held index has a term', recovered.firstIndex, recovered.lastIndex)
    } else {
      this.lastTerm = recovered.prevTerm
      this.#lastStart = NO_INDEX
      this.#olderRuns = undefined
    }
    for (const entry of recovered.tail ?? []) {
      const expected = this.#last === undefined ? this.appliedIndex + 1 : lastIndexOf(this.#last) + 1
      invariant(entry.index === expected, 'the recovered tail has no gap', entry.index, expected)
      this.#link(entry)
    }
    for (const { index, membership } of memberships.slice(1)) {
      invariant(index <= recovered.lastIndex, 'a recovered membership lies in the log', index, recovered.lastIndex)
      this.#place(index, membership)
    }
    this.#settle()
    this.membershipChanged = false
  }

  /** The newest membership known to be committed. */
  get committedMembership(): PlacedMembership {
    return this.#earlier?.[0] ?? { index: this.membershipIndex, membership: this.membership }
  }

  /** Whether the membership in force is known to be committed. */
  get isMembershipCommitted(): boolean {
    return this.#earlier === undefined
  }

  /** Stores no payloads: by the membership in force, or by the committed one, which it may be about to leave. */
  isWitness(id: NodeId): boolean {
    if (this.membership.isWitness(id)) return true
    return this.#earlier !== undefined && this.#earlier[0]!.membership.isWitness(id)
  }

  /**
   * May stand for election: by the membership in force, or by one before it that may still be the committed one. Who is left
   * out by an entry that nobody else holds yet may be the only one who can bring the change to its end (4.2.2, figure 4.6).
   */
  mayStand(id: NodeId): boolean {
    if (this.membership.canLead(id)) return true
    return this.#earlier?.some(({ membership }) => membership.canLead(id)) === true
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
    if (this.#lastStart !== NO_INDEX && index >= this.#lastStart) return this.lastTerm
    const runs = this.#olderRuns
    if (runs !== undefined) for (let at = runs.length - 2; at >= 0; at -= 2) if (runs[at + 1]! <= index) return runs[at]
    return undefined
  }

  /** We hold that index, and another term wrote it. */
  isOther(index: LogIndex, term: Term): boolean {
    const held = this.termAt(index)
    return held !== undefined && held !== term
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
    if (this.#lastStart !== NO_INDEX && at >= this.#lastStart && at >= this.firstIndex) {
      if (this.lastTerm <= term) return at
      at = Math.max(this.#lastStart, this.firstIndex) - 1
    }
    const runs = this.#olderRuns ?? []
    for (let run = runs.length - 2; run >= 0 && at >= this.firstIndex; run -= 2) {
      if (runs[run + 1]! > at) continue
      if (runs[run]! <= term) return at
      at = Math.max(runs[run + 1]!, this.firstIndex) - 1
    }
    return at === this.firstIndex - 1 && this.prevTerm > term ? at - 1 : at
  }

  /** Appends one entry of our own making. */
  append(term: Term, count: number, kind: EntryKind, bytes: number, ref: unknown): Entry {
    const entry = new Entry(this.lastIndex + 1, term, count, kind, bytes, ref)
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
    if (index <= this.commitIndex) return
    this.commitIndex = index
    if (this.#earlier !== undefined) this.#settle()
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
   * Entries that are in memory, at most `countMax` and `bytesMax` but at least one, beginning with the one that covers `index`.
   * @param hint an entry that may be the one before
   * @returns undefined when that one is on disk only
   */
  entriesFrom(index: LogIndex, countMax: number, bytesMax: number, hint: Entry | undefined): Entry[] | undefined {
    let entry =
      hint !== undefined && lastIndexOf(hint) + 1 === index && hint.next !== undefined ? hint.next : this.#first
    while (entry !== undefined && lastIndexOf(entry) < index) entry = entry.next
    if (entry === undefined || entry.index > index) return undefined
    const entries: Entry[] = [entry]
    let bytes = entry.bytes
    for (entry = entry.next; entry !== undefined && entries.length < countMax; entry = entry.next) {
      bytes += entry.bytes
      if (bytes > bytesMax) break
      entries.push(entry)
    }
    return entries
  }

  /** The next entry to write, or undefined; each is given out once. */
  takeUnwritten(): Entry | undefined {
    const entry = this.#unwritten
    if (entry === undefined) return undefined
    this.#unwritten = entry.next
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

  /** Given out to be written up to here. */
  get writtenIndex(): LogIndex {
    return this.#unwritten === undefined ? this.lastIndex : this.#unwritten.index - 1
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
    const runs = this.#olderRuns
    if (runs === undefined) return
    let drop = 0
    while (drop < runs.length && (runs[drop + 3] ?? this.#lastStart) <= firstIndex) drop += 2
    if (drop > 0) this.#olderRuns = drop === runs.length ? undefined : runs.slice(drop)
  }

  /** Forgets everything: the log resumes after `index`, whose state comes with a snapshot, and with it a membership. */
  restore(index: LogIndex, term: Term, membershipIndex: LogIndex, membership: Membership): void {
    invariant(index > this.commitIndex, 'a snapshot never goes back', index, this.commitIndex)
    this.durableIndex = Math.min(this.durableIndex, this.commitIndex)
    this.firstIndex = index + 1
    this.prevTerm = this.lastTerm = term
    this.lastIndex = this.commitIndex = this.appliedIndex = index
    this.truncateFrom = NO_INDEX
    this.#lastStart = NO_INDEX
    this.#olderRuns = undefined
    this.#first = this.#last = this.#unwritten = undefined
    const before = this.membership
    const committed = this.committedMembership
    const isNewer = membershipIndex > committed.index || committed.membership.isUnborn
    this.membershipIndex = isNewer ? membershipIndex : committed.index
    this.membership = isNewer ? membership : committed.membership
    if (this.#earlier !== undefined || this.membership !== before) this.membershipChanged = true
    this.#earlier = undefined
  }

  #append(entry: Entry): void {
    invariant(entry.index === this.lastIndex + 1, 'the log has no gap', entry.index, this.lastIndex + 1)
    invariant(entry.term >= this.lastTerm, 'terms never fall along the log', entry.term, this.lastTerm)
    if (entry.term !== this.lastTerm || this.#lastStart === NO_INDEX) this.#beginRun(entry.term, entry.index)
    this.lastIndex = entry.index + entry.count - 1
    this.#link(entry)
    if (this.#unwritten === undefined) this.#unwritten = entry
    if (entry.kind === EntryKind.Membership) this.#place(entry.index, entry.ref as Membership)
  }

  /** Takes a membership into force, unless a newer one is: a snapshot may have brought one from beyond our log's end. */
  #place(index: LogIndex, membership: Membership): void {
    if (index <= this.membershipIndex && !this.membership.isUnborn) return
    this.#earlier ??= []
    this.#earlier.push({ index: this.membershipIndex, membership: this.membership })
    this.membershipIndex = index
    this.membership = membership
    this.membershipChanged = true
  }

  /** The commit index moved: what is committed needs no predecessors. */
  #settle(): void {
    const earlier = this.#earlier
    if (earlier === undefined) return
    if (this.membershipIndex <= this.commitIndex) {
      this.#earlier = undefined
      this.membershipChanged = true
    } else {
      let passed = 0
      while (passed + 1 < earlier.length && earlier[passed + 1]!.index <= this.commitIndex) passed += 1
      if (passed === 0) return
      this.#earlier = earlier.slice(passed)
      this.membershipChanged = true
    }
  }

  /** The log was cut at `index`: what it held from there on is no longer in force. The first one is committed and stays. */
  #unplace(index: LogIndex): void {
    const earlier = this.#earlier
    if (earlier === undefined || this.membershipIndex < index) return
    let before = earlier.pop()!
    while (earlier.length > 0 && before.index >= index) before = earlier.pop()!
    this.membershipIndex = before.index
    this.membership = before.membership
    this.membershipChanged = true
    this.#earlier = earlier.length === 0 ? undefined : earlier
  }

  #beginRun(term: Term, startIndex: LogIndex): void {
    if (this.#lastStart !== NO_INDEX) {
      this.#olderRuns = (this.#olderRuns ?? []).concat(this.lastTerm, this.#lastStart)
    }
    this.lastTerm = term
    this.#lastStart = startIndex
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
    }
    this.durableIndex = Math.min(this.durableIndex, index - 1)
    let kept: Entry | undefined
    let entry = this.#first
    for (; entry !== undefined && entry.index < index; entry = entry.next) kept = entry
    if (this.#unwritten !== undefined && this.#unwritten.index >= index) this.#unwritten = undefined
    if (kept === undefined) this.#first = undefined
    else kept.next = undefined
    this.#last = kept
    const runs = this.#olderRuns ?? []
    let length = runs.length
    while (this.#lastStart >= index) {
      length -= 2
      this.lastTerm = length >= 0 ? runs[length]! : this.prevTerm
      this.#lastStart = length >= 0 ? runs[length + 1]! : NO_INDEX
    }
    this.#olderRuns = length > 0 ? runs.slice(0, length) : undefined
    this.lastIndex = index - 1
    this.#unplace(index)
  }
}

export function lastIndexOf(entry: Entry): LogIndex {
  return entry.index + entry.count - 1
}
