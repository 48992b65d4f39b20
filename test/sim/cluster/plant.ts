// Mistakes that are planted to see whether the simulator sees them: each one line of a shipped file, replaced while it is loaded.
//
// plant-loader.ts does the replacing, in a process of its own; planted.test.ts runs seeds there. A line that is not found exactly once is an
// error: whoever changes it has to look here.

import { readFileSync } from 'node:fs'

export interface Mistake {
  readonly name: string
  /** From the root of the repository. */
  readonly file: string
  readonly find: string
  readonly put: string
  /** Profile of scenario.ts that gives it a chance to show. */
  readonly profile: string
}

export const MISTAKES: readonly Mistake[] = [
  {
    name: 'vote not persisted',
    file: 'broker/replication/driver.ts',
    find: 'if (hardState !== undefined) log.saveHardState(hardState.term, hardState.votedFor)',
    put: 'if (hardState !== undefined) log.saveHardState(hardState.term, NOBODY)',
    profile: 'votes',
  },
  {
    name: 'commit of an old term',
    file: 'broker/raft/leadership.ts',
    find: 'return index > log.commitIndex && log.termAt(index) === term ? index : NO_INDEX',
    put: 'return index > log.commitIndex ? index : NO_INDEX',
    profile: 'commits',
  },
  {
    name: 'acknowledged before sync',
    file: 'broker/replication/promises.ts',
    find: 'if (sequence <= log.journaledSequence) {',
    put: 'if (sequence >= 0) {',
    profile: 'blackouts',
  },
  {
    name: 'journal written without sync',
    file: 'storage/journal.ts',
    find: 'file.file.write(this.#arena.view(round.at, round.blockBytes), position, true).then(',
    put: 'file.file.write(this.#arena.view(round.at, round.blockBytes), position, false).then(',
    profile: 'blackouts',
  },
  {
    name: 'truncation below commit',
    file: 'broker/replication/driver.ts',
    find: 'const raft = new Raft(this.#settings, {',
    put: 'log.truncateTail(log.commitIndex + 1); const raft = new Raft(this.#settings, {',
    profile: 'blackouts',
  },
  {
    name: 'lease without drift bound',
    file: 'broker/replication/link-lease.ts',
    find: 'this.#durationMs = silenceMs * (1 - CLOCK_DRIFT_MAX)',
    put: 'this.#durationMs = silenceMs',
    profile: 'drift',
  },
  {
    name: 'read without a lease',
    file: 'broker/partition/partition.ts',
    find: 'return replica.hasLease || !replica.isLeader ? true : replica.confirm()',
    put: 'return true',
    profile: 'leases',
  },
  {
    name: 'producer state lost in a snapshot',
    file: 'broker/partition/producer-state.ts',
    find: 'const producers = this.#withoutTail()',
    put: 'const producers = new Map()',
    profile: 'restarts',
  },
  {
    name: 'in sync too early',
    file: 'broker/replication/in-sync.ts',
    find: 'nowMs - lag.caughtUpMs <= this.#lagMaxMs : progress.matchIndex >= raft.commitIndex',
    put: 'nowMs - lag.caughtUpMs <= this.#lagMaxMs : true',
    profile: 'lag',
  },
  {
    name: 'checksum not checked',
    file: 'storage/segment-reader.ts',
    find: 'defect = batchDefect(arena.bytes, at, to) ?? misplaced(',
    put: 'defect = misplaced(',
    profile: 'rot',
  },
  {
    name: 'sequences not checked',
    file: 'broker/partition/append-path.ts',
    find: "if (check.kind === 'duplicate') {",
    put: "if (check.kind === 'duplicate' && producers === undefined) {",
    profile: 'restarts',
  },
  {
    name: 'acknowledged with too few copies',
    file: 'broker/partition/append-path.ts',
    find: 'if (next.requiresAll && next.endOffset > heldOffset) {',
    put: 'if (next.requiresAll && next.endOffset > heldOffset + 1_000_000) {',
    profile: 'three',
  },
  {
    name: 'acks=1 answered before commit',
    file: 'broker/partition/append-path.ts',
    find: 'this.#appendValidated(outcome, requiresAll, sink, slot)',
    put: 'const { logEndOffset } = this.#owner.log; this.#appendValidated(outcome, requiresAll, requiresAll ? sink : { appended() {} }, slot); if (!requiresAll) this.#done(ErrorCode.NONE, sink, slot, logEndOffset, -1)',
    profile: 'three',
  },
  {
    name: 'a change is answered before others know',
    file: 'broker/replication/metadata-group.ts',
    find: 'await this.#publisher.appliedElsewhere(lastIndex)',
    put: '',
    profile: 'changes',
  },
  {
    name: 'elected by a majority',
    file: 'broker/raft/membership.ts',
    find: 'const one = tally(this.voters, this.sizes.election, voteOf)',
    put: 'const one = tally(this.voters, Math.floor(this.voters.length / 2) + 1, voteOf)',
    profile: 'flexible',
  },
  {
    name: 'a witness stands for election',
    file: 'broker/raft/membership.ts',
    find: 'return this.isVoter(id) && !this.isWitness(id)',
    put: 'return this.isVoter(id)',
    profile: 'witness',
  },
  {
    name: 'a witness counts as a copy',
    file: 'broker/replication/in-sync.ts',
    find: 'if (brokers.includes(broker) || membership.isWitness(id)) continue',
    put: 'if (brokers.includes(broker)) continue',
    profile: 'witness',
  },
  {
    name: 'a witness is sent records',
    file: 'broker/replication/raft-codec.ts',
    find: 'withoutRecords && kind === EntryKind.Batch ? emptied(held) : held',
    put: 'held',
    profile: 'witness',
  },
]

/** @throws Error unless the line stands there exactly once */
export function plant(mistake: Mistake, source: string): string {
  const parts = source.split(mistake.find)
  if (mistake.find === '' || parts.length !== 2) {
    throw new Error(`${mistake.name}: the line to change stands ${parts.length - 1} times in ${mistake.file}`)
  }
  return parts.join(mistake.put)
}

/** The source as shipped. */
export function sourceOf(mistake: Mistake): string {
  return readFileSync(new URL(`../../../${mistake.file}`, import.meta.url), 'utf8')
}
