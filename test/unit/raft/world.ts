// A world of Raft nodes for random schedules: messages late, lost, doubled and out of order, disks slow, nodes crashing, members
// coming and going, disks replaced.
//
// After every step the five properties of the Raft dissertation (figure 3.2) must hold, across membership changes too, and four
// of ours: what a leader commits is on the disks of a commit quorum of the configuration in force, a confirmed quorum read sees
// every index committed before it was asked, so does a read under a lease, and a node without data never votes. One thread.

import assert from 'node:assert/strict'
import { Membership, type MembershipOptions } from '../../../broker/raft/membership.ts'
import { electionSizeFor } from '../../../broker/raft/quorum.ts'
import { RaftSettings } from '../../../broker/raft/raft.ts'
import { type Entry, EntryKind, type LogIndex, NO_INDEX, type NodeId, type Term } from '../../../broker/raft/types.ts'
import { SeededRandom } from '../../sim/random.ts'
import { copyMessage, lastOf, ModelNode, type Parcel } from './model-node.ts'

interface Committed {
  readonly entry: Entry
  /** The leader's term when it was committed. */
  readonly term: Term
}

export interface WorldOptions {
  readonly voterCount: number
  /** Members come, go and are replaced. */
  readonly changes: boolean
  /** Other quorums than majorities, and witnesses. */
  readonly flexible?: boolean
  /**
   * Schedules that go for one rule. rivals: many candidates of one term, and voters that crash (one vote per term, kept).
   * old-term: leaders that reach a few others for a short while, one entry at a time (figure 3.8). reads: leaders on the smaller
   * side of a cut that go on reading, and transfers.
   */
  readonly aim?: 'rivals' | 'old-term' | 'reads'
}

interface Action {
  readonly weight: number
  act(node: ModelNode): void
}

const NODES_MAX = 9

export class World {
  readonly random: SeededRandom
  readonly nodes: ModelNode[] = []
  /** Nodes whose disk is gone for good; kept for what it held. */
  readonly gone: ModelNode[] = []
  readonly #byId = new Map<NodeId, ModelNode>()
  readonly #options: WorldOptions
  readonly settings: RaftSettings
  #network: Parcel[] = []
  /** Pairs that do not hear each other, as from * 100 + to. */
  readonly #cuts = new Set<number>()
  readonly #leaders = new Map<Term, string>()
  readonly committed = new Map<LogIndex, Committed>()
  readonly #leaderLasts = new Map<Term, LogIndex>()
  /** The highest commit index any node ever knew. */
  #highestCommit: LogIndex = 0
  #stepCount = 0
  /** Until when a node votes for nobody but the leader it told so: what links between brokers do in the shipped code. */
  readonly #promises = new Map<NodeId, { endStep: number; life: number }>()
  /** What leaders know of it, as leader * 100 + voter. */
  readonly #leases = new Map<number, { term: Term; endStep: number }>()
  readonly #leaseSteps: number
  /** Who hears each other, in schedules that are aimed at old terms. */
  #group: readonly ModelNode[] = []
  readonly #asked = new Map<number, LogIndex>()
  /** What may happen next, and how often: each seed has its own mixture, so that some are all crashes and some all votes. */
  readonly #actions: readonly Action[]
  readonly #weightSum: number
  readonly seen = {
    elections: 0,
    snapshots: 0,
    truncations: 0,
    changes: 0,
    replaced: 0,
    reads: 0,
    leases: 0,
    transfers: 0,
  }
  #proposalCount = 0
  #readCount = 0

  constructor(seed: number, options: WorldOptions) {
    this.random = new SeededRandom(seed)
    this.#options = options
    const { voterCount, changes, aim } = options
    const isAimed = aim === 'rivals' || aim === 'old-term'
    const voters = Array.from({ length: voterCount }, (_, at) => at + 1)
    const learners = !isAimed && this.random.chance(0.3) ? [voterCount + 1] : []
    this.settings = new RaftSettings({
      electionTicks: 5,
      heartbeatTicks: 1,
      preVote: !isAimed && this.random.chance(0.5),
      checkQuorum: aim === 'reads' || (!isAimed && this.random.chance(0.5)),
      inflightAppendsMax: isAimed ? 1 : this.random.pick([1, 2, 64]),
      appendEntriesMax: isAimed ? 1 : this.random.pick([1, 3, 64]),
      appendBytesMax: this.random.pick([1, 20, 1000]),
      inflightBytesMax: this.random.pick([1, 50, 1000]),
      readsMax: 4,
      groupHeartbeats: aim !== 'reads' && this.random.chance(0.5),
      jitter: () => this.random.next(),
    })
    this.#leaseSteps = this.random.pick([20, 60, 200])
    const membership = new Membership(voters, learners, [], this.#quorums(voters, undefined))
    for (const id of membership.members) this.#add(new ModelNode(this.settings, id, membership))
    const aims = { rivals: () => this.#rivals(), 'old-term': () => this.#oldTerm(), reads: () => this.#reads() }
    this.#actions = aim === undefined ? this.#mixture(changes) : aims[aim]()
    this.#weightSum = this.#actions.reduce((sum, { weight }) => sum + weight, 0)
  }

  #mixture(changes: boolean): Action[] {
    const often = (weight: number): number => weight * this.random.pick([0, 0.1, 0.3, 1, 3])
    const change = (weight: number): number => (changes ? often(weight) : 0)
    return [
      { weight: 45, act: () => this.#deliver() },
      { weight: 30, act: (node) => this.#ready(node) },
      { weight: 15, act: (node) => this.#completeRound(node) },
      { weight: often(10), act: (node) => this.#watch(node, () => node.raft.tick()) },
      { weight: often(8), act: () => this.#propose() },
      { weight: often(2), act: () => this.#cutOrHeal() },
      { weight: often(1.5), act: (node) => this.#crash(node) },
      { weight: often(1), act: (node) => this.#trim(node) },
      { weight: often(1), act: (node) => node.raft.unreachable(this.random.pick(this.nodes).id) },
      { weight: often(2), act: (node) => node.raft.reachable(this.random.pick(this.nodes).id) },
      { weight: often(0.5), act: (node) => this.#transfer(node) },
      { weight: often(1.5), act: (node) => this.#campaign(node) },
      { weight: often(2), act: (node) => this.#loseLeader(node) },
      { weight: often(0.3), act: (node) => node.raft.stepDown() },
      { weight: often(0.3), act: (node) => void node.raft.checkQuorum(() => this.random.chance(0.7)) },
      { weight: often(1), act: () => this.#loseOne() },
      { weight: often(4), act: (node) => this.#read(node) },
      { weight: often(10), act: (node) => this.#promise(node) },
      { weight: change(3), act: () => this.#change() },
      { weight: change(0.4), act: () => this.#bear() },
      { weight: change(0.2), act: (node) => this.#destroy(node) },
    ]
  }

  #rivals(): Action[] {
    return [
      { weight: 40, act: () => this.#deliver() },
      { weight: 40, act: (node) => this.#settle(node) },
      { weight: 2, act: (node) => this.#rival(node) },
      // Voters, not candidates: those would only be missing.
      { weight: 8, act: (node) => (node.raft.role === 'follower' ? this.#crash(node) : undefined) },
    ]
  }

  #oldTerm(): Action[] {
    this.#group = this.nodes
    const inGroup = (act: (node: ModelNode) => void) => () => act(this.random.pick(this.#group))
    return [
      { weight: 40, act: () => this.#deliver() },
      { weight: 40, act: inGroup((node) => this.#settle(node)) },
      { weight: 10, act: inGroup((node) => this.#ready(node)) },
      { weight: 1, act: () => this.#propose() },
      { weight: 3, act: (node) => this.#regroup(node) },
      { weight: 0.5, act: (node) => this.#crash(node) },
    ]
  }

  #reads(): Action[] {
    const onLeader = (act: (node: ModelNode) => void) => () => {
      const leaders = this.nodes.filter(({ raft }) => raft.isLeader)
      if (leaders.length > 0) act(this.random.pick(leaders))
    }
    return [
      { weight: 40, act: () => this.#deliver() },
      { weight: 40, act: (node) => this.#settle(node) },
      { weight: 3, act: () => this.#propose() },
      { weight: 5, act: onLeader((node) => this.#read(node)) },
      { weight: 5, act: onLeader((node) => this.#promise(node)) },
      { weight: 1, act: onLeader((node) => this.#transfer(node)) },
      { weight: 5, act: (node) => this.#watch(node, () => node.raft.tick()) },
      { weight: 2, act: (node) => this.#loseLeader(node) },
      { weight: 1.5, act: (node) => this.#campaign(node) },
      { weight: 1, act: (node) => this.#split(node) },
      { weight: 3, act: onLeader((node) => node.raft.reachable(this.random.pick(this.nodes).id)) },
      { weight: 0.3, act: (node) => this.#crash(node) },
    ]
  }

  step(): void {
    this.#stepCount += 1
    const node = this.random.pick(this.nodes)
    let dice = this.random.next() * this.#weightSum
    for (const { weight, act } of this.#actions) {
      dice -= weight
      if (dice >= 0) continue
      act(node)
      break
    }
    for (const sender of this.#group) this.#collect(sender)
    this.#collect(node)
    this.check()
  }

  #add(node: ModelNode): void {
    this.nodes.push(node)
    this.#byId.set(node.id, node)
  }

  /** Sizes and witnesses for these voters, by chance; who votes already stays what it is. */
  #quorums(voters: readonly NodeId[], before: Membership | undefined, learners: NodeId[] = []): MembershipOptions {
    if (this.#options.flexible !== true) return {}
    const commitSize = 1 + this.random.below(voters.length)
    const witnesses = [...voters, ...learners].filter((id) => before?.isWitness(id))
    const others = voters.filter((id) => !witnesses.includes(id) && !before?.isVoter(id))
    if (others.length > 0 && voters.length >= 3 && this.random.chance(0.5)) witnesses.push(this.random.pick(others))
    return { commitSize, electionSize: electionSizeFor(voters.length, commitSize), witnesses }
  }

  // What happens

  #loseOne(): void {
    if (this.#network.length > 0) this.#lose(...this.#network.splice(this.random.below(this.#network.length), 1))
  }

  #deliver(): void {
    if (this.#network.length === 0) return
    const at = this.random.chance(0.6) ? 0 : this.random.below(this.#network.length)
    const parcel = this.#network[at]!
    if (!this.random.chance(0.05)) this.#network.splice(at, 1)
    if (this.#cuts.has(parcel.from * 100 + parcel.to)) this.#lose(parcel)
    else this.#hand(parcel)
  }

  #hand({ from, to, message }: Parcel): void {
    const node = this.#byId.get(to)
    if (node === undefined) return
    // A node that came back remembers no promise, so it keeps still until any that it gave is over.
    if (message.type === 'vote-request' && !message.transfer && this.#hasPromisedBefore(node)) return
    this.#watch(node, () => node.raft.receive(from, copyMessage(message)))
  }

  #ready(node: ModelNode): void {
    const wasLeader = node.raft.isLeader
    const ready = node.takeReady()
    if (ready === undefined) return
    if (ready.snapshot !== undefined) this.seen.snapshots += 1
    if (ready.truncateFrom !== NO_INDEX) {
      this.seen.truncations += 1
      assert.ok(!wasLeader, 'leader append-only: a leader cuts nothing off its log')
    }
    if (ready.membershipChanged) this.seen.changes += 1
    const isVote = ready.sendWhenDurable.some(({ message }) => message.type === 'vote-reply' && message.granted)
    assert.ok(!isVote || !node.raft.membership.isUnborn, `node ${node.id} votes before it knows of its group`)
    assert.ok(!node.raft.isContradicted, `node ${node.id} holds something committed that a leader does not`)
    for (const { context, index } of node.reads.splice(0)) {
      this.seen.reads += 1
      const asked = this.#asked.get(context)!
      assert.ok(index >= asked, `a quorum read of node ${node.id} sees ${index}, but ${asked} was committed before`)
    }
  }

  #completeRound(node: ModelNode): void {
    this.#watch(node, () => node.completeRound())
  }

  #settle(node: ModelNode): void {
    this.#ready(node)
    this.#completeRound(node)
  }

  #propose(): void {
    const leader = this.nodes.find((node) => node.raft.isLeader && this.random.chance(0.7))
    if (leader === undefined) return
    this.#proposalCount += 1
    leader.raft.propose(EntryKind.Batch, 1 + this.random.below(3), this.#proposalCount, this.random.below(20))
  }

  #crash(node: ModelNode): void {
    node.restart(this.random.below(node.rounds.length + 1))
    for (const { raft } of this.nodes) raft.unreachable(node.id)
  }

  #trim(node: ModelNode): void {
    const applied = node.disk.entries.filter(
      (entry) => lastOf(entry) <= Math.min(node.appliedIndex, node.log.lastIndex),
    )
    const cutsAhead = node.rounds.some((round) => round.truncateFrom !== NO_INDEX || round.snapshot !== undefined)
    if (applied.length > 1 && !cutsAhead) node.trim(lastOf(this.random.pick(applied)) + 1)
  }

  #transfer(node: ModelNode): void {
    if (node.raft.transfer(this.random.pick(this.nodes).id)) this.seen.transfers += 1
  }

  #campaign(node: ModelNode): void {
    if (this.#hasPromised(node)) return
    this.#watch(node, () => node.raft.campaign({ force: this.random.chance(0.2) }))
  }

  #loseLeader(node: ModelNode): void {
    if (!this.#hasPromised(node)) node.raft.leaderLost()
  }

  #cutOrHeal(): void {
    if (this.random.chance(0.5)) {
      this.#cuts.clear()
      return
    }
    const lonely = this.random.pick(this.nodes).id
    const oneWay = this.random.chance(0.3)
    for (const { id } of this.nodes) {
      this.#cuts.add(lonely * 100 + id)
      if (!oneWay) this.#cuts.add(id * 100 + lonely)
    }
  }

  /** Several stand in one term; the others hear of that term before they are asked, as by an answer to an old question. */
  #rival(first: ModelNode): void {
    const { term } = first.raft
    const candidates = this.nodes.filter(
      (node) => node === first || (node.raft.term <= term && this.random.chance(0.5)),
    )
    for (const node of candidates) {
      const message = { type: 'vote-reply', term, pre: false, granted: false } as const
      this.#watch(node, () => node.raft.receive(first.id, message))
      this.#watch(node, () => node.raft.campaign())
    }
    for (const node of this.nodes) {
      if (candidates.includes(node)) continue
      const message = { type: 'vote-reply', term: first.raft.term, pre: false, granted: false } as const
      this.#watch(node, () => node.raft.receive(first.id, message))
    }
  }

  /** Two sides that do not hear each other; what is on its way arrives, perhaps late. */
  #split(node: ModelNode): void {
    this.#cuts.clear()
    if (this.random.chance(0.4)) return
    const others = this.random.shuffle(this.nodes.filter((other) => other !== node))
    const side = [node, ...others.splice(this.random.below(others.length + 1))]
    for (const one of side) {
      for (const other of others) this.#cuts.add(one.id * 100 + other.id).add(other.id * 100 + one.id)
    }
  }

  /** Only this node and a bare majority hear each other now, and it stands for election. */
  #regroup(node: ModelNode): void {
    this.#lose(...this.#network.splice(0))
    this.#cuts.clear()
    const others = this.random.shuffle(this.nodes.filter((other) => other !== node))
    const outside = others.splice(Math.floor(this.nodes.length / 2))
    this.#group = [node, ...others]
    for (const { id } of outside)
      for (const other of this.nodes) this.#cuts.add(id * 100 + other.id).add(other.id * 100 + id)
    for (const { raft } of this.nodes) for (const { id } of this.nodes) raft.unreachable(id)
    this.#watch(node, () => node.raft.campaign())
  }

  /**
   * With heartbeats, plain messages are lost in silence, and whoever sends a snapshot notices that its connection broke; without
   * them every loss is noticed.
   */
  #lose(...parcels: Parcel[]): void {
    for (const { from, to, message } of parcels) {
      const isNoticed = message.type === 'snapshot' || !this.settings.options.groupHeartbeats
      if (isNoticed) this.#byId.get(from)?.raft.unreachable(to)
    }
  }

  #collect(node: ModelNode): void {
    this.#network.push(...node.outbox.splice(0))
    if (this.#network.length > 60) this.#lose(...this.#network.splice(0, this.#network.length - 60))
  }

  // Reads

  get #leasesCount(): boolean {
    return this.settings.options.checkQuorum && !this.settings.options.groupHeartbeats
  }

  #hasPromised(node: ModelNode): boolean {
    return this.#leasesCount && (this.#promises.get(node.id)?.endStep ?? 0) > this.#stepCount
  }

  /** A promise of an earlier life is still running: this one knows nothing of it. */
  #hasPromisedBefore(node: ModelNode): boolean {
    return this.#hasPromised(node) && this.#promises.get(node.id)!.life !== node.life
  }

  /** Followers tell their leader that they vote for nobody else for a while; that one stops following is never told in time. */
  #promise(leader: ModelNode): void {
    if (!leader.raft.isLeader) return
    for (const { id, life, raft } of this.nodes) {
      if (raft.leaderId !== leader.id || raft.term !== leader.raft.term || this.random.chance(0.2)) continue
      if (this.#cuts.has(leader.id * 100 + id) || this.#cuts.has(id * 100 + leader.id)) continue
      const endStep = this.#stepCount + this.#leaseSteps
      this.#promises.set(id, { endStep, life })
      this.#leases.set(leader.id * 100 + id, { term: raft.term, endStep })
    }
  }

  #read(node: ModelNode): void {
    this.#readCount += 1
    this.#asked.set(this.#readCount, this.#highestCommit)
    node.raft.requestRead(this.#readCount)
  }

  #checkLease({ id, raft }: ModelNode): void {
    const hasLease = raft.hasLease((voter) => {
      const lease = this.#leases.get(id * 100 + voter)
      return lease !== undefined && lease.term === raft.term && lease.endStep > this.#stepCount
    })
    if (!hasLease) return
    this.seen.leases += 1
    assert.ok(
      raft.commitIndex >= this.#highestCommit,
      `node ${id} reads ${raft.commitIndex} under its lease, but ${this.#highestCommit} is committed`,
    )
  }

  // Membership

  #change(): void {
    const leader = this.nodes.find((node) => node.raft.isLeader && this.random.chance(0.7))
    if (leader === undefined) return
    const { membership } = leader.raft
    const candidates = this.random.shuffle(membership.members.filter((id) => this.#byId.has(id)))
    const voters = candidates.slice(0, 1 + this.random.below(Math.min(5, candidates.length)))
    const others = this.nodes.map(({ id }) => id).filter((id) => !voters.includes(id))
    const learners = others.filter(() => this.random.chance(0.5))
    const options = this.#quorums(voters, membership, learners)
    this.#watch(leader, () => void leader.raft.changeMembership(voters, learners, options))
  }

  #bear(): void {
    const id = this.#byId.size + this.gone.length + 1
    if (id <= NODES_MAX) this.#add(new ModelNode(this.settings, id, undefined))
  }

  /** A disk is lost for good, when those who stay can go on in every membership that any of them knows. */
  #destroy(node: ModelNode): void {
    if (this.#options.flexible === true) return
    const rest = this.nodes.filter((other) => other !== node)
    const canGoOn = rest.every(({ raft, disk }) => {
      const known = [
        raft.membership,
        raft.committedMembership.membership,
        ...disk.memberships().map((p) => p.membership),
      ]
      return known.every((membership) => membership.canCommit((id) => rest.some((other) => other.id === id)))
    })
    if (!canGoOn || rest.every(({ raft }) => raft.membership.isUnborn)) return
    this.seen.replaced += 1
    this.#remove(node)
    this.#bear()
  }

  #remove(node: ModelNode): void {
    this.nodes.splice(this.nodes.indexOf(node), 1)
    this.#byId.delete(node.id)
    this.gone.push(node)
    this.#lose(...this.#network.splice(0))
    for (const { raft } of this.nodes) raft.unreachable(node.id)
  }

  // What must hold

  /** Whatever may move the commit index: if it does on a leader, a commit quorum of the configuration in force holds it. */
  #watch(node: ModelNode, act: () => void): void {
    const { commitIndex, membership } = node.raft
    act()
    const { raft } = node
    this.#highestCommit = Math.max(this.#highestCommit, raft.commitIndex)
    if (!raft.isLeader || raft.commitIndex <= commitIndex) return
    const index = raft.commitIndex
    const term = raft.termAt(index)
    const disks = new Map([...this.nodes, ...this.gone].map(({ id, disk }) => [id, disk]))
    const holds = (id: NodeId): boolean => {
      const disk = disks.get(id)!
      return disk.startIndex >= index || (disk.lastIndex >= index && disk.termAt(index) === term)
    }
    const isHeld = membership.canCommit(holds) || raft.membership.canCommit(holds)
    assert.ok(isHeld, `index ${index} is committed by node ${node.id} without a quorum of disks`)
  }

  check(): void {
    for (const node of this.nodes) this.#checkNode(node)
    for (const one of this.nodes) for (const other of this.nodes) if (one.id < other.id) checkLogsMatch(one, other)
  }

  #checkNode(node: ModelNode): void {
    const { raft } = node
    this.#highestCommit = Math.max(this.#highestCommit, raft.commitIndex)
    if (raft.isLeader) {
      const name = `${node.id} in life ${node.life}`
      const before = this.#leaders.get(raft.term)
      if (before === undefined) {
        this.#leaders.set(raft.term, name)
        this.seen.elections += 1
        this.#checkLeaderCompleteness(node)
      } else {
        assert.equal(name, before, `election safety: one leader in term ${raft.term}`)
      }
      const last = this.#leaderLasts.get(raft.term) ?? 0
      assert.ok(raft.lastIndex >= last, 'leader append-only: its log never gets shorter')
      this.#leaderLasts.set(raft.term, raft.lastIndex)
      if (this.#leasesCount) this.#checkLease(node)
    }
    let index = node.applied[0]?.index ?? 0
    for (const entry of node.applied.splice(0)) {
      assert.equal(entry.index, index, 'entries are applied in order, each once')
      index = lastOf(entry) + 1
      const known = this.committed.get(entry.index)
      if (known === undefined) this.committed.set(entry.index, { entry, term: raft.term })
      else assert.ok(isSame(known.entry, entry), `state-machine safety at index ${entry.index}`)
    }
  }

  #checkLeaderCompleteness(node: ModelNode): void {
    const entries = new Map(node.log.entries.map((entry) => [entry.index, entry]))
    for (const [index, { entry, term }] of this.committed) {
      if (term >= node.raft.term || index <= node.log.startIndex) continue
      const held = entries.get(index)
      const isHeld = held !== undefined && isSame(held, entry)
      assert.ok(isHeld, `leader completeness: ${node.id} lacks committed index ${index}`)
    }
  }

  // The end

  /** No more faults: everything is delivered until a leader has committed an entry on all members. */
  recover(): void {
    this.#cuts.clear()
    const proposal = ++this.#proposalCount
    let proposed = false
    for (let round = 0; round < 4000; round += 1) {
      this.#stepCount += 1
      if (round % 8 === 0) this.#tendLinks()
      for (const node of [...this.nodes]) {
        if (round % 8 === 0) this.#watch(node, () => node.raft.tick())
        this.#ready(node)
        this.#completeRound(node)
        this.#network.push(...node.outbox.splice(0))
      }
      for (const parcel of this.#network.splice(0)) this.#hand(parcel)
      const leader = this.nodes.find((node) => node.raft.hasCommittedInTerm)
      if (leader !== undefined && !proposed) {
        proposed = leader.raft.propose(EntryKind.Batch, 1, proposal) !== undefined
      }
      this.check()
      if (leader === undefined) continue
      this.#dismiss(leader)
      const members = this.nodes.filter(({ id }) => leader.raft.membership.isMember(id))
      const last = leader.raft.commitIndex
      const agreed = members.every(({ raft }) => raft.commitIndex === last && raft.lastIndex === last)
      if (agreed && [...this.committed.values()].some(({ entry }) => entry.ref === proposal)) return
      if (agreed && proposed && round % 50 === 49) proposed = false
    }
    const states = this.nodes.map(({ id, raft }) => {
      const { voters, outgoing, learners } = raft.membership
      return `${id} ${raft.role} ${raft.term} ${raft.lastIndex} ${raft.commitIndex} (${voters}|${outgoing}|${learners})`
    })
    assert.fail(`no progress after the faults ended: ${states.join(', ')}`)
  }

  /** What those do who watch the connections between brokers: leaders ask anew, followers of a leader that is none hear of it. */
  #tendLinks(): void {
    for (const { id, raft } of this.nodes) {
      if (raft.isLeader) for (const other of this.nodes) if (raft.progressOf(other.id)?.isLost) raft.reachable(other.id)
      const leader = this.#byId.get(raft.leaderId)
      const isLost = leader === undefined || !leader.raft.isLeader || leader.raft.term < raft.term
      if (raft.leaderId !== id && isLost) raft.leaderLost()
    }
  }

  /** Who is no member any more is shut down, as a broker does that is told to. */
  #dismiss(leader: ModelNode): void {
    const { membership, index } = leader.raft.committedMembership
    if (membership.isJoint || index !== leader.raft.membershipIndex) return
    for (const node of [...this.nodes]) if (!membership.isMember(node.id)) this.#remove(node)
  }
}

function isSame(one: Entry, other: Entry): boolean {
  return one.index === other.index && one.term === other.term && one.count === other.count && one.ref === other.ref
}

function checkLogsMatch(one: ModelNode, other: ModelNode): void {
  const others = new Map(other.log.entries.map((entry) => [entry.index, entry]))
  const start = Math.max(one.log.startIndex, other.log.startIndex)
  let isBelowMatch = false
  for (let at = one.log.entries.length - 1; at >= 0; at -= 1) {
    const entry = one.log.entries[at]!
    if (entry.index <= start) break
    const counterpart = others.get(entry.index)
    if (counterpart !== undefined && counterpart.term === entry.term) isBelowMatch = true
    if (!isBelowMatch) continue
    const matches = counterpart !== undefined && isSame(entry, counterpart)
    assert.ok(matches, `log matching: nodes ${one.id} and ${other.id} at index ${entry.index}`)
  }
}
