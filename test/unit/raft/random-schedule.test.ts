// Raft under random schedules: three and five nodes, messages late, lost, doubled and out of order, disks slow, nodes crashing.
//
// After every step the five properties of the Raft dissertation (figure 3.2) must hold, and one of ours: what is committed is
// on the disks of a majority. A failing run prints its seed; RAFT_SEED=n repeats it, RAFT_RUNS=n makes more of them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Membership } from '../../../broker/raft/membership.ts'
import { RaftSettings } from '../../../broker/raft/raft.ts'
import { type Entry, EntryKind, type LogIndex, NO_INDEX, type NodeId, type Term } from '../../../broker/raft/types.ts'
import { SeededRandom } from '../../sim/random.ts'
import { copyMessage, lastOf, ModelNode, type Parcel } from './model-node.ts'

interface Committed {
  readonly entry: Entry
  /** The leader's term when it was committed. */
  readonly term: Term
}

class World {
  readonly random: SeededRandom
  readonly nodes: ModelNode[]
  readonly voterCount: number
  network: Parcel[] = []
  /** Pairs that do not hear each other, as from * 100 + to. */
  readonly cuts = new Set<number>()
  readonly leaders = new Map<Term, string>()
  readonly committed = new Map<LogIndex, Committed>()
  committedIndex: LogIndex = 0
  readonly leaderLasts = new Map<string, LogIndex>()
  /** What may happen next, and how often: each seed has its own mixture, so that some are all crashes and some all votes. */
  readonly #actions: readonly { weight: number; act: (node: ModelNode) => void }[]
  readonly #weightSum: number
  electionCount = 0
  proposalCount = 0
  snapshotCount = 0
  truncationCount = 0

  constructor(seed: number, voterCount: number) {
    this.random = new SeededRandom(seed)
    this.voterCount = voterCount
    const voters = Array.from({ length: voterCount }, (_, at) => at + 1)
    const learners = this.random.chance(0.3) ? [voterCount + 1] : []
    const membership = new Membership(voters, learners)
    const settings = new RaftSettings({
      electionTicks: 5,
      heartbeatTicks: 1,
      preVote: this.random.chance(0.5),
      checkQuorum: this.random.chance(0.5),
      inflightAppendsMax: this.random.pick([1, 2, 64]),
      appendEntriesMax: this.random.pick([1, 3, 64]),
      jitter: () => this.random.next(),
    })
    this.nodes = membership.members.map((id) => new ModelNode(settings, id, membership))
    this.#actions = [
      { weight: 45, act: () => this.deliver() },
      { weight: 30, act: (node) => this.ready(node) },
      { weight: 15, act: (node) => void node.completeRound() },
      { weight: this.#often(10), act: (node) => node.raft.tick() },
      { weight: this.#often(8), act: () => this.propose() },
      { weight: this.#often(2), act: () => this.cutOrHeal() },
      { weight: this.#often(1.5), act: (node) => this.crash(node) },
      { weight: this.#often(1), act: (node) => this.trim(node) },
      { weight: this.#often(1), act: (node) => node.raft.unreachable(this.random.pick(this.nodes).id) },
      { weight: this.#often(0.5), act: (node) => void node.raft.transfer(this.random.pick(this.nodes).id) },
      { weight: this.#often(1.5), act: (node) => node.raft.campaign() },
      { weight: this.#often(0.3), act: (node) => node.raft.stepDown() },
      { weight: this.#often(1), act: () => this.loseOne() },
    ]
    this.#weightSum = this.#actions.reduce((sum, { weight }) => sum + weight, 0)
  }

  node(id: NodeId): ModelNode {
    return this.nodes[id - 1]!
  }

  #often(weight: number): number {
    return weight * this.random.pick([0, 0.1, 0.3, 1, 3])
  }

  step(): void {
    const node = this.random.pick(this.nodes)
    let dice = this.random.next() * this.#weightSum
    for (const { weight, act } of this.#actions) {
      dice -= weight
      if (dice >= 0) continue
      act(node)
      break
    }
    this.collect(node)
    this.check()
  }

  loseOne(): void {
    if (this.network.length > 0) this.lose(...this.network.splice(this.random.below(this.network.length), 1))
  }

  deliver(): void {
    if (this.network.length === 0) return
    const at = this.random.chance(0.6) ? 0 : this.random.below(this.network.length)
    const parcel = this.network[at]!
    if (!this.random.chance(0.05)) this.network.splice(at, 1)
    if (this.cuts.has(parcel.from * 100 + parcel.to)) {
      this.lose(parcel)
      return
    }
    this.node(parcel.to).raft.receive(parcel.from, copyMessage(parcel.message))
  }

  ready(node: ModelNode): void {
    const wasLeader = node.raft.isLeader
    const ready = node.takeReady()
    if (ready === undefined) return
    if (ready.snapshot !== undefined) this.snapshotCount += 1
    if (ready.truncateFrom !== NO_INDEX) {
      this.truncationCount += 1
      assert.ok(!wasLeader, 'leader append-only: a leader cuts nothing off its log')
    }
  }

  propose(): void {
    const leader = this.nodes.find((node) => node.raft.isLeader && this.random.chance(0.7))
    if (leader === undefined) return
    this.proposalCount += 1
    leader.raft.propose(EntryKind.Batch, 1 + this.random.below(3), this.proposalCount)
  }

  crash(node: ModelNode): void {
    node.restart(this.random.below(node.rounds.length + 1))
    for (const { raft } of this.nodes) raft.unreachable(node.id)
  }

  trim(node: ModelNode): void {
    const applied = node.disk.entries.filter(
      (entry) => lastOf(entry) <= Math.min(node.appliedIndex, node.log.lastIndex),
    )
    const cutsAhead = node.rounds.some((round) => round.truncateFrom !== NO_INDEX || round.snapshot !== undefined)
    if (applied.length > 1 && !cutsAhead) node.trim(lastOf(this.random.pick(applied)) + 1)
  }

  cutOrHeal(): void {
    if (this.random.chance(0.5)) {
      this.cuts.clear()
      return
    }
    const lonely = this.random.pick(this.nodes).id
    const oneWay = this.random.chance(0.3)
    for (const { id } of this.nodes) {
      this.cuts.add(lonely * 100 + id)
      if (!oneWay) this.cuts.add(id * 100 + lonely)
    }
  }

  /** Plain messages are lost in silence; whoever sends a snapshot notices that its connection broke. */
  lose(...parcels: Parcel[]): void {
    for (const { from, to, message } of parcels) if (message.type === 'snapshot') this.node(from).raft.unreachable(to)
  }

  collect(node: ModelNode): void {
    this.network.push(...node.outbox.splice(0))
    if (this.network.length > 60) this.lose(...this.network.splice(0, this.network.length - 60))
  }

  check(): void {
    for (const node of this.nodes) this.checkNode(node)
    for (const one of this.nodes) for (const other of this.nodes) if (one.id < other.id) checkLogsMatch(one, other)
  }

  checkNode(node: ModelNode): void {
    const { raft } = node
    if (raft.isLeader) {
      const name = `${node.id} in life ${node.life}`
      const before = this.leaders.get(raft.term)
      if (before === undefined) {
        this.leaders.set(raft.term, name)
        this.electionCount += 1
        this.checkLeaderCompleteness(node)
      } else {
        assert.equal(name, before, `election safety: one leader in term ${raft.term}`)
      }
      const key = `${raft.term}`
      assert.ok(raft.lastIndex >= (this.leaderLasts.get(key) ?? 0), 'leader append-only: its log never gets shorter')
      this.leaderLasts.set(key, raft.lastIndex)
    }
    let index = node.applied[0]?.index ?? 0
    for (const entry of node.applied.splice(0)) {
      assert.equal(entry.index, index, 'entries are applied in order, each once')
      index = lastOf(entry) + 1
      const known = this.committed.get(entry.index)
      if (known === undefined) this.commit(entry, raft.term)
      else assert.ok(isSame(known.entry, entry), `state-machine safety at index ${entry.index}`)
    }
  }

  /** An entry is seen committed for the first time. */
  commit(entry: Entry, term: Term): void {
    this.committed.set(entry.index, { entry, term })
    this.committedIndex = Math.max(this.committedIndex, lastOf(entry))
    const holders = this.nodes.filter(({ id, disk }) => {
      return (
        id <= this.voterCount && (disk.startIndex >= lastOf(entry) || disk.entries.some((held) => isSame(held, entry)))
      )
    })
    assert.ok(2 * holders.length > this.voterCount, `index ${entry.index} is committed by ${holders.length} disks`)
  }

  checkLeaderCompleteness(node: ModelNode): void {
    const entries = new Map(node.log.entries.map((entry) => [entry.index, entry]))
    for (const [index, { entry, term }] of this.committed) {
      if (term >= node.raft.term || index <= node.log.startIndex) continue
      const held = entries.get(index)
      assert.ok(
        held !== undefined && isSame(held, entry),
        `leader completeness: ${node.id} lacks committed index ${index}`,
      )
    }
  }

  /** No more faults: everything is delivered until a leader has committed an entry on all nodes. */
  recover(): void {
    this.cuts.clear()
    const proposal = ++this.proposalCount
    let proposed = false
    for (let round = 0; round < 4000; round += 1) {
      for (const node of this.nodes) {
        if (round % 8 === 0) node.raft.tick()
        this.ready(node)
        node.completeRound()
        this.collect(node)
      }
      for (const parcel of this.network.splice(0))
        this.node(parcel.to).raft.receive(parcel.from, copyMessage(parcel.message))
      const leader = this.nodes.find((node) => node.raft.isLeader)
      if (leader !== undefined && !proposed) {
        proposed = leader.raft.propose(EntryKind.Batch, 1, proposal) !== undefined
      }
      this.check()
      const last = this.nodes[0]!.raft.commitIndex
      const agreed = this.nodes.every(({ raft }) => raft.commitIndex === last && raft.lastIndex === last)
      if (agreed && [...this.committed.values()].some(({ entry }) => entry.ref === proposal)) return
      if (agreed && proposed && round % 50 === 49) proposed = false
    }
    assert.fail(
      `no progress after the faults ended: ${this.nodes.map(({ raft }) => `${raft.role} ${raft.term} ${raft.lastIndex} ${raft.commitIndex}`).join(', ')}`,
    )
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

function run(seed: number, voterCount: number, stepCount: number): World {
  const world = new World(seed, voterCount)
  try {
    for (let step = 0; step < stepCount; step += 1) world.step()
    world.recover()
  } catch (error) {
    throw new Error(`seed ${seed} with ${voterCount} voters (RAFT_SEED=${seed})`, { cause: error })
  }
  return world
}

const runCount = Number(process.env.RAFT_RUNS ?? 60)
const firstSeed = Number(process.env.RAFT_SEED ?? 1)

for (const voterCount of [1, 2, 3, 5]) {
  test(`the Raft properties hold under random schedules of ${voterCount} voters`, (t) => {
    const seen = { elections: 0, committed: 0, snapshots: 0, truncations: 0 }
    const count = process.env.RAFT_SEED === undefined ? runCount : 1
    for (let seed = firstSeed; seed < firstSeed + count; seed += 1) {
      const world = run(seed, voterCount, 1500)
      seen.elections += world.electionCount
      seen.committed += world.committed.size
      seen.snapshots += world.snapshotCount
      seen.truncations += world.truncationCount
    }
    t.diagnostic(`seeds ${firstSeed} to ${firstSeed + count - 1}: ${JSON.stringify(seen)}`)
    assert.ok(seen.elections > count && seen.committed > count, 'the schedules elect and commit')
    if (voterCount >= 3 && count > 20) assert.ok(seen.snapshots > 0 && seen.truncations > 0, 'and cut and copy')
  })
}
