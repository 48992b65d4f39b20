// Who votes in a group, who only listens, and how many of them are enough.
//
// Immutable; one object may serve every group with the same replicas (MembershipTable). Owned by raft.ts, shard thread.
// `outgoing` is the second half of a joint configuration (Raft dissertation, 4.3): while it is not empty, both halves must agree
// on everything.

import { invariant } from '../../protocol/invariant.ts'
import {
  areSafeSizes,
  blockingSize,
  committedIndex,
  electionSizeFor,
  majoritySizes,
  type QuorumSizes,
  type VoteOutcome,
  voteOutcome,
} from './quorum.ts'
import type { LogIndex, NodeId } from './types.ts'

export interface MembershipOptions {
  /** Voters that elect. With one of the two sizes given, the other is the smallest that is safe; with none, a majority. */
  readonly electionSize?: number | undefined
  /** Voters that commit. */
  readonly commitSize?: number | undefined
  readonly outgoingElectionSize?: number | undefined
  readonly outgoingCommitSize?: number | undefined
  /** Members that store no payload, voters of either half or learners about to be ones: they acknowledge and vote, and never lead. */
  readonly witnesses?: readonly NodeId[] | undefined
}

const NO_NODES: readonly NodeId[] = []

export class Membership {
  readonly voters: readonly NodeId[]
  /** The voters before, while the group moves from them to `voters`; else empty. */
  readonly outgoing: readonly NodeId[]
  /** Receive the log, count in no quorum. */
  readonly learners: readonly NodeId[]
  readonly witnesses: readonly NodeId[]
  /** Every member once, in order of id; empty for a replica that does not know its group yet. */
  readonly members: readonly NodeId[]
  readonly sizes: QuorumSizes
  readonly outgoingSizes: QuorumSizes

  constructor(
    voters: readonly NodeId[],
    learners: readonly NodeId[] = NO_NODES,
    outgoing: readonly NodeId[] = NO_NODES,
    options: MembershipOptions = {},
  ) {
    this.voters = voters
    this.learners = learners
    this.outgoing = outgoing
    this.witnesses = options.witnesses ?? NO_NODES
    this.members = [...new Set([...voters, ...outgoing, ...learners])].sort((a, b) => a - b)
    this.sizes = sizesOf(voters.length, options.electionSize, options.commitSize)
    this.outgoingSizes = sizesOf(outgoing.length, options.outgoingElectionSize, options.outgoingCommitSize)
    invariant(areSafeSizes(voters.length, this.sizes), 'the quorums of the voters meet', this.sizes.election)
    invariant(
      areSafeSizes(outgoing.length, this.outgoingSizes),
      'the quorums of the outgoing voters meet',
      this.outgoingSizes.election,
    )
    const isList = [voters, outgoing, learners].every((ids) => new Set(ids).size === ids.length)
    invariant(isList, 'each member is named once', voters.length, learners.length)
    for (const half of [voters, outgoing]) {
      invariant(half.length === 0 || half.some((id) => !this.isWitness(id)), 'a voter stores payloads', half.length)
    }
    for (const id of this.witnesses) invariant(this.isMember(id), 'a witness is a member', id)
  }

  /** A change is half done: both halves decide. */
  get isJoint(): boolean {
    return this.outgoing.length > 0
  }

  /** This replica was opened without data and was told of no founders: it neither votes nor stands. */
  get isUnborn(): boolean {
    return this.members.length === 0
  }

  isVoter(id: NodeId): boolean {
    return this.voters.includes(id) || this.outgoing.includes(id)
  }

  isWitness(id: NodeId): boolean {
    return this.witnesses.includes(id)
  }

  isMember(id: NodeId): boolean {
    return this.members.includes(id)
  }

  /** May stand for election: a voter that holds what it acknowledged. */
  canLead(id: NodeId): boolean {
    return this.isVoter(id) && !this.isWitness(id)
  }

  /** True when this voter decides alone: no message and no other disk is ever needed. */
  decidesAlone(id: NodeId): boolean {
    return this.voters.length === 1 && this.voters[0] === id && this.outgoing.length === 0
  }

  /** @param voteOf true granted, false refused, undefined not answered */
  electionOutcome(voteOf: (id: NodeId) => boolean | undefined): VoteOutcome {
    const one = tally(this.voters, this.sizes.election, voteOf)
    const other = this.outgoing.length === 0 ? 'won' : tally(this.outgoing, this.outgoingSizes.election, voteOf)
    if (one === 'lost' || other === 'lost') return 'lost'
    return one === 'won' && other === 'won' ? 'won' : 'pending'
  }

  /** Highest index held by a commit quorum (of both halves). @param heldBy last index a voter holds durably */
  committedIndex(heldBy: (id: NodeId) => LogIndex): LogIndex {
    const one = this.#committedBy(this.voters, this.sizes.commit, heldBy)
    if (this.outgoing.length === 0) return one
    return Math.min(one, this.#committedBy(this.outgoing, this.outgoingSizes.commit, heldBy))
  }

  #committedBy(voters: readonly NodeId[], commitSize: number, heldBy: (id: NodeId) => LogIndex): LogIndex {
    const index = committedIndex(voters.map(heldBy), commitSize)
    if (this.witnesses.length === 0) return index
    // Witnesses alone must not commit what only they know of: nobody could be elected who holds it.
    const full = voters.filter((id) => !this.isWitness(id)).map(heldBy)
    return Math.min(index, committedIndex(full, 1))
  }

  /**
   * Highest index of which at least `count` voters (of each half; all of a smaller one) store the payloads.
   * @param heldBy last index a voter holds durably
   */
  storedIndex(count: number, heldBy: (id: NodeId) => LogIndex): LogIndex {
    const one = this.#storedBy(this.voters, count, heldBy)
    return this.isJoint ? Math.min(one, this.#storedBy(this.outgoing, count, heldBy)) : one
  }

  #storedBy(voters: readonly NodeId[], count: number, heldBy: (id: NodeId) => LogIndex): LogIndex {
    const held: LogIndex[] = []
    for (const id of voters) if (!this.isWitness(id)) held.push(heldBy(id))
    return committedIndex(held, Math.min(count, held.length))
  }

  /** Whether at least `count` voters (of each half; all of a smaller one) store whatever is committed. */
  isCommitStoredBy(count: number): boolean {
    const one = this.#commitStores(this.voters, this.sizes.commit, count)
    return one && (!this.isJoint || this.#commitStores(this.outgoing, this.outgoingSizes.commit, count))
  }

  #commitStores(voters: readonly NodeId[], commitSize: number, count: number): boolean {
    if (count <= 1 || this.witnesses.length === 0) return Math.min(count, voters.length) <= commitSize
    const witnessCount = voters.filter((id) => this.isWitness(id)).length
    return Math.min(count, voters.length - witnessCount) <= Math.max(1, commitSize - witnessCount)
  }

  /** Whether those who answer could still commit something: what a leader checks about itself. */
  canCommit(isActive: (id: NodeId) => boolean): boolean {
    return this.committedIndex((id) => (isActive(id) ? 1 : 0)) >= 1
  }

  /** Whether nobody can be elected as long as these voters refuse: what a lease or a quorum read rests on. */
  canBlock(refuses: (id: NodeId) => boolean): boolean {
    return this.blockedFrom((id) => (refuses(id) ? 1 : 0)) === 1
  }

  /**
   * The highest number for which enough voters (of both halves) to block every election have said that number or a higher one.
   * @param saidBy for instance the newest quorum read that a voter has answered
   */
  blockedFrom(saidBy: (id: NodeId) => number): number {
    const one = committedIndex(this.voters.map(saidBy), blockingSize(this.voters.length, this.sizes))
    if (this.outgoing.length === 0) return one
    const size = blockingSize(this.outgoing.length, this.outgoingSizes)
    return Math.min(one, committedIndex(this.outgoing.map(saidBy), size))
  }

  /** The same members in the same roles, in whatever order they were named. */
  equals(other: Membership): boolean {
    return (
      this === other ||
      (this.hasSameVoters(other) &&
        areSameSets(this.learners, other.learners) &&
        areSameSets(this.witnesses, other.witnesses))
    )
  }

  /** Equal but for the learners: no quorum differs. */
  hasSameVoters(other: Membership): boolean {
    return (
      areSameSets(this.voters, other.voters) &&
      areSameSets(this.outgoing, other.outgoing) &&
      areSameSets(this.#votingWitnesses, other.#votingWitnesses) &&
      areSameSizes(this.sizes, other.sizes) &&
      areSameSizes(this.outgoingSizes, other.outgoingSizes)
    )
  }

  get #votingWitnesses(): readonly NodeId[] {
    return this.witnesses.length === 0 ? NO_NODES : this.witnesses.filter((id) => this.isVoter(id))
  }

  /** The configuration between this one and `target`, in which both decide (4.3). */
  jointWith(target: Membership): Membership {
    invariant(!this.isJoint && !target.isJoint, 'a joint configuration leads from one plain one to another')
    return new Membership(target.voters, target.learners, this.voters, {
      electionSize: target.sizes.election,
      commitSize: target.sizes.commit,
      outgoingElectionSize: this.sizes.election,
      outgoingCommitSize: this.sizes.commit,
      witnesses: [...new Set([...target.witnesses, ...this.#votingWitnesses])],
    })
  }

  /** What a joint configuration leads to. */
  withoutOutgoing(): Membership {
    return new Membership(this.voters, this.learners, NO_NODES, {
      electionSize: this.sizes.election,
      commitSize: this.sizes.commit,
      witnesses: this.witnesses.filter((id) => this.voters.includes(id) || this.learners.includes(id)),
    })
  }
}

/** The membership of a replica that has no data and was told of no founders. */
export const UNBORN = new Membership([])

/** Keeps one object per membership, so that thousands of groups with the same replicas share it. */
export class MembershipTable {
  readonly #byKey = new Map<string, Membership>()
  readonly #countMax: number

  constructor(countMax = 4096) {
    this.#countMax = countMax
  }

  /** @returns an equal membership, the same object for the same members in the same order */
  shared(membership: Membership): Membership {
    const key = keyOf(membership)
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    // Forgetting all costs memory for a while, nothing else; reassignments rarely make that many.
    if (this.#byKey.size >= this.#countMax) this.#byKey.clear()
    this.#byKey.set(key, membership)
    return membership
  }
}

/** Of this thread: each worker loads its own. What is decoded, and what groups are opened with, is shared through it. */
export const sharedMemberships = new MembershipTable()

const FORMAT_VERSION = 1

/** The bytes are no membership: damage, or a peer that does not speak our language. */
export class MalformedMembership extends Error {
  constructor(problem: string, position: number) {
    super(`malformed membership: ${problem} at byte ${position}`)
    this.name = 'MalformedMembership'
  }
}

/**
 * Bytes for disks and peers: u8 version, four u16 (election and commit size, the same of the outgoing half, 0 without one),
 * then four lists (voters, outgoing, learners, witnesses), each u16 count and 8 bytes per id (float64). Big-endian.
 */
export function encodeMembership(membership: Membership): Uint8Array {
  const { voters, outgoing, learners, witnesses, sizes, outgoingSizes } = membership
  const lists = [voters, outgoing, learners, witnesses]
  const bytes = new Uint8Array(1 + 8 + lists.reduce((sum, list) => sum + 2 + 8 * list.length, 0))
  const view = new DataView(bytes.buffer)
  let at = 1
  bytes[0] = FORMAT_VERSION
  for (const size of [sizes.election, sizes.commit, outgoingSizes.election, outgoingSizes.commit]) {
    view.setUint16(at, size)
    at += 2
  }
  for (const list of lists) {
    view.setUint16(at, list.length)
    at += 2
    for (const id of list) {
      view.setFloat64(at, id)
      at += 8
    }
  }
  return bytes
}

/**
 * @param bytes exactly one encoded membership
 * @throws MalformedMembership when they are not what encodeMembership writes
 */
export function decodeMembership(bytes: Uint8Array): Membership {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 1
  const u16 = (): number => {
    if (at + 2 > bytes.length) throw new MalformedMembership('cut short', at)
    at += 2
    return view.getUint16(at - 2)
  }
  if (bytes[0] !== FORMAT_VERSION) throw new MalformedMembership(`unknown version ${bytes[0]}`, 0)
  const sizes = [u16(), u16(), u16(), u16()]
  const list = (): NodeId[] => {
    const length = u16()
    if (at + 8 * length > bytes.length) throw new MalformedMembership('cut short', at)
    const ids: NodeId[] = []
    for (let item = 0; item < length; item += 1, at += 8) {
      const id = view.getFloat64(at)
      if (!Number.isSafeInteger(id) || id < 0 || ids.includes(id))
        throw new MalformedMembership('no list of node ids', at)
      ids.push(id)
    }
    return ids
  }
  const [voters, outgoing, learners, witnesses] = [list(), list(), list(), list()]
  if (at !== bytes.length) throw new MalformedMembership('bytes after its end', at)
  const [election, commit, outgoingElection, outgoingCommit] = sizes as [number, number, number, number]
  const fits =
    areSafeSizes(voters.length, { election, commit }) &&
    areSafeSizes(outgoing.length, { election: outgoingElection, commit: outgoingCommit }) &&
    witnesses.every((id) => voters.includes(id) || outgoing.includes(id) || learners.includes(id)) &&
    [voters, outgoing].every((half) => half.length === 0 || half.some((id) => !witnesses.includes(id)))
  if (!fits) throw new MalformedMembership('its quorums do not meet', 1)
  return sharedMemberships.shared(
    new Membership(voters, learners, outgoing, {
      electionSize: election,
      commitSize: commit,
      outgoingElectionSize: outgoingElection,
      outgoingCommitSize: outgoingCommit,
      witnesses,
    }),
  )
}

function keyOf({ voters, outgoing, learners, witnesses, sizes, outgoingSizes }: Membership): string {
  const numbers = [sizes.election, sizes.commit, outgoingSizes.election, outgoingSizes.commit]
  return `${voters}|${outgoing}|${learners}|${witnesses}|${numbers}`
}

function sizesOf(voterCount: number, election: number | undefined, commit: number | undefined): QuorumSizes {
  if (election === undefined && commit === undefined) return majoritySizes(voterCount)
  if (election === undefined) return { election: electionSizeFor(voterCount, commit!), commit: commit! }
  return { election, commit: commit ?? voterCount - election + 1 }
}

function areSameSizes(one: QuorumSizes, other: QuorumSizes): boolean {
  return one.election === other.election && one.commit === other.commit
}

function areSameSets(one: readonly NodeId[], other: readonly NodeId[]): boolean {
  return one.length === other.length && one.every((id) => other.includes(id))
}

function tally(
  voters: readonly NodeId[],
  electionSize: number,
  voteOf: (id: NodeId) => boolean | undefined,
): VoteOutcome {
  let granted = 0
  let refused = 0
  for (const id of voters) {
    const vote = voteOf(id)
    if (vote === true) granted += 1
    else if (vote === false) refused += 1
  }
  return voteOutcome(voters.length, granted, refused, electionSize)
}
