// Which of this shard's leaderless groups stands for election, and when: a few at a time, the best placed first.
//
// One per shard, made by driver.ts, which says what became of each role. Raft's own election timers are not used: with a timer per group, the
// death of a broker would start thousands of elections at once, on all survivors at the same moment. Here each replica waits for its
// turn among the living (the preferred replica first), at most CAMPAIGNS_MAX stand at once, and a group whose living
// voters are no quorum does nothing until somebody comes back.

import { NOBODY, type NodeId } from '../raft/types.ts'
import type { Replica } from './replica.ts'

/** Elections of a shard at a time. */
const CAMPAIGNS_MAX = 256
/** The next in line waits so much longer than the one before it. */
const RANK_MS = 150
const JITTER_MS = 40
/** A new group is first left to its preferred replica. */
const NEW_GROUP_MS = 1000
/** An election not won by then was lost without an answer. */
const CAMPAIGN_MS = 500
const BACKOFF_MS = 200
const BACKOFF_MAX_MS = 2000

export interface ElectionsHost {
  /** This replica itself included. */
  isAlive(id: NodeId, groupId: number): boolean
  /** @param force without asking first whether it can be won */
  campaign(replica: Replica, force: boolean): void
  /** Ends a candidacy. */
  giveUp(replica: Replica): void
  /** Uniform in [0, 1). */
  random(): number
  nowMs(): number
}

export class Elections {
  readonly #host: ElectionsHost
  /** Before this time no replica with a past stands: promises of an earlier process life may still be counted on. */
  readonly #graceUntilMs: number
  /** Waits for its time. */
  readonly #later = new Map<Replica, number>()
  /** May stand as soon as there is room; in no order. */
  readonly #due: Replica[] = []
  readonly #isDue = new Set<Replica>()
  /** Stands; until when. */
  readonly #standing = new Map<Replica, number>()
  /** No quorum of its voters lives. */
  readonly #stranded = new Set<Replica>()
  /** Elections lost in a row, of groups without a leader. */
  readonly #lost = new Map<Replica, number>()

  constructor(host: ElectionsHost, graceUntilMs: number) {
    this.#host = host
    this.#graceUntilMs = graceUntilMs
  }

  /** Groups that wait for a leader which this replica might become. */
  get leaderlessCount(): number {
    return this.#later.size + this.#due.length + this.#standing.size + this.#stranded.size
  }

  get standingCount(): number {
    return this.#standing.size
  }

  /** Some group waits for its time; stranded ones wait for somebody to be heard. */
  get isWaiting(): boolean {
    return this.#later.size > 0 || this.#due.length > 0 || this.#standing.size > 0
  }

  get hasDue(): boolean {
    return this.#due.length > 0
  }

  /** A group was opened. @param preferred it is new, and this replica is to lead it first */
  opened(replica: Replica, preferred: boolean): void {
    if (!replica.raft.membership.canLead(replica.raft.id)) return
    const nowMs = this.#host.nowMs()
    const isNew = hasNoPast(replica)
    if (replica.raft.membership.decidesAlone(replica.raft.id)) this.#makeDue(replica)
    else if (isNew && (preferred || standsIn(replica))) this.#campaign(replica, true)
    else if (isNew) this.#later.set(replica, nowMs + NEW_GROUP_MS + this.#host.random() * NEW_GROUP_MS)
    else this.#wait(replica, nowMs)
  }

  /** Somebody asks that this replica stand now; it does when that breaks no promise. */
  hurry(replica: Replica): void {
    const { raft } = replica
    if (!this.#isLeaderless(replica)) return
    this.#forgetPlace(replica)
    const isFree = hasNoPast(replica) || this.#host.nowMs() >= this.#graceUntilMs
    if (isFree || raft.membership.decidesAlone(raft.id)) this.#campaign(replica, false)
    else this.#later.set(replica, this.#graceUntilMs)
  }

  /** Role or known leader of a group changed. */
  roleChanged(replica: Replica): void {
    const { raft } = replica
    const nowMs = this.#host.nowMs()
    if (raft.role === 'candidate' || raft.role === 'pre-candidate') {
      this.#forgetPlace(replica)
      this.#standing.set(replica, nowMs + CAMPAIGN_MS * (1 + this.#host.random() / 2))
      return
    }
    const stood = this.#standing.delete(replica)
    if (!this.#isLeaderless(replica)) {
      this.forget(replica)
    } else if (stood) {
      const lost = (this.#lost.get(replica) ?? 0) + 1
      this.#lost.set(replica, lost)
      const backoffMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** Math.min(lost - 1, 8))
      this.#forgetPlace(replica)
      this.#later.set(replica, nowMs + backoffMs * (0.25 + this.#host.random()))
    } else if (!this.#later.has(replica) && !this.#stranded.has(replica) && !this.#isDue.has(replica)) {
      this.#wait(replica, nowMs)
    }
  }

  /** It has voted for somebody, who should have the time to win. */
  voted(replica: Replica): void {
    if (!this.#isLeaderless(replica) || this.#standing.has(replica)) return
    this.#forgetPlace(replica)
    this.#later.set(replica, this.#host.nowMs() + CAMPAIGN_MS * (1 + this.#host.random()))
  }

  /** Another member lives (again): what could not be won may be won now. */
  heard(): void {
    if (this.#stranded.size === 0) return
    const nowMs = this.#host.nowMs()
    const stranded = [...this.#stranded]
    this.#stranded.clear()
    for (const replica of stranded) this.#wait(replica, nowMs)
  }

  tick(): void {
    const nowMs = this.#host.nowMs()
    for (const [replica, untilMs] of this.#standing) {
      if (untilMs > nowMs) continue
      // What follows is roleChanged(), as after any lost election.
      if (replica.raft.role !== 'follower') this.#host.giveUp(replica)
      else if (this.#standing.delete(replica) && this.#isLeaderless(replica)) this.#wait(replica, nowMs)
    }
    for (const [replica, dueMs] of this.#later) {
      if (dueMs > nowMs) continue
      this.#later.delete(replica)
      this.#makeDue(replica)
    }
    this.fill()
  }

  /** Lets the next ones stand, as far as there is room. */
  fill(): void {
    const due = this.#due
    while (due.length > 0 && this.#standing.size < CAMPAIGNS_MAX) {
      // By chance: survivors that go through the same groups in the same order would stand against each other in each of them.
      const at = Math.floor(this.#host.random() * due.length)
      const replica = due[at]!
      due[at] = due[due.length - 1]!
      due.pop()
      this.#isDue.delete(replica)
      if (!this.#isLeaderless(replica)) continue
      const { membership } = replica.raft
      const outcome = membership.electionOutcome((id) => this.#host.isAlive(id, replica.groupId) || undefined)
      if (outcome === 'won') this.#campaign(replica, false)
      else this.#stranded.add(replica)
    }
  }

  /** The group has a leader, or is gone. */
  forget(replica: Replica): void {
    this.#forgetPlace(replica)
    this.#standing.delete(replica)
    this.#lost.delete(replica)
  }

  #makeDue(replica: Replica): void {
    if (this.#isDue.has(replica)) return
    this.#isDue.add(replica)
    this.#due.push(replica)
  }

  #campaign(replica: Replica, force: boolean): void {
    this.#forgetPlace(replica)
    this.#standing.set(replica, this.#host.nowMs() + CAMPAIGN_MS)
    this.#host.campaign(replica, force)
  }

  /** Its turn among the living voters, in the order in which the group prefers them. */
  #wait(replica: Replica, nowMs: number): void {
    const { raft, target, groupId } = replica
    const order = target === undefined ? raft.membership.voters : target.voters
    let rank = 0
    for (const id of order) {
      if (id === raft.id) break
      if (!raft.membership.isWitness(id) && this.#host.isAlive(id, groupId)) rank += 1
    }
    const dueMs = nowMs + rank * RANK_MS + this.#host.random() * JITTER_MS
    this.#later.set(replica, hasNoPast(replica) ? dueMs : Math.max(dueMs, this.#graceUntilMs))
  }

  #forgetPlace(replica: Replica): void {
    this.#later.delete(replica)
    this.#stranded.delete(replica)
    // A leftover in #due is seen to have a leader, or to stand already, when its turn comes.
  }

  #isLeaderless(replica: Replica): boolean {
    const { raft } = replica
    return (
      !replica.isRemoved &&
      raft.role === 'follower' &&
      raft.leaderId === NOBODY &&
      raft.membership.canLead(raft.id) &&
      !this.#standing.has(replica)
    )
  }
}

/** The preferred replica of its group is a witness, and it is the next one. */
function standsIn({ raft }: Replica): boolean {
  const { voters, witnesses } = raft.membership
  if (witnesses.length === 0 || !witnesses.includes(voters[0]!)) return false
  return voters.find((id) => !witnesses.includes(id)) === raft.id
}

/** No leader can ever have counted on it: its log is empty and it has never voted. */
export function hasNoPast(replica: Replica): boolean {
  return replica.raft.term === 0 && replica.raft.lastIndex === 0
}
