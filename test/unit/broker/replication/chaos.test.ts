// Random faults over drivers, storage and disks of four brokers; REPLICATION_SEED=n repeats one run, REPLICATION_RUNS=n makes more.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import type { SimulatedDisk } from '../../../sim/disk.ts'
import { SeededRandom } from '../../../sim/random.ts'
import { contentOf, leaderOf, World } from './world.ts'

const GROUPS = [1, 2, 3]
const BROKERS = [1, 2, 3, 4]
const RUNS = Number(process.env.REPLICATION_RUNS ?? 12)
const SEED = process.env.REPLICATION_SEED

interface Acked {
  readonly offset: number
  readonly bytes: Buffer
}

class Chaos {
  readonly world: World
  readonly random: SeededRandom
  readonly #off = new Map<number, SimulatedDisk>()
  /** By group: batches that a leader told to be committed, by offset. */
  readonly acked = new Map<number, Acked[]>()
  readonly #targets = new Map<number, number[]>()
  /** By group: appends that wait for their commit. */
  #waiting: { readonly groupId: number; readonly nodeId: number; readonly term: number; readonly end: number }[] = []

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    this.world = new World({ seed, queueBytesMax: this.random.chance(0.3) ? 30_000 : undefined! })
    for (const groupId of GROUPS) {
      this.acked.set(groupId, [])
      this.#targets.set(groupId, [1, 2, 3])
    }
  }

  async start(): Promise<void> {
    for (const nodeId of BROKERS) await this.world.start(nodeId)
    await this.world.run(10)
    for (const nodeId of BROKERS) this.#open(nodeId)
  }

  #open(nodeId: number): void {
    const broker = this.world.brokers.get(nodeId)!
    for (const groupId of GROUPS) {
      const target = this.#targets.get(groupId)!
      const isFounder = nodeId <= 3
      if (!isFounder && broker.storage.get(groupId) === undefined && !target.includes(nodeId)) continue
      broker.add(groupId, isFounder ? [1, 2, 3] : undefined, nodeId === groupId)
      broker.replication.retarget(broker.replica(groupId), { voters: target, learners: [] })
    }
  }

  #retarget(groupId: number, voters: number[]): void {
    this.#targets.set(groupId, voters)
    for (const broker of this.world.brokers.values()) {
      if (voters.includes(broker.nodeId) && !broker.replicas.has(groupId)) broker.add(groupId, undefined)
      const replica = broker.replicas.get(groupId)
      if (replica !== undefined) broker.replication.retarget(replica, { voters, learners: [] })
    }
  }

  async step(): Promise<void> {
    const { random, world } = this
    const running = [...world.brokers.keys()]
    const [one, other] = [random.pick(BROKERS), random.pick(BROKERS)]
    const groupId = random.pick(GROUPS)
    switch (random.below(12)) {
      case 0:
        if (running.length > 2 && world.brokers.has(one)) this.#off.set(one, world.kill(one))
        break
      case 1:
      case 2: {
        const [nodeId, disk] = [...this.#off][0] ?? []
        if (nodeId === undefined) break
        this.#off.delete(nodeId)
        await world.start(nodeId, disk)
        this.#open(nodeId)
        break
      }
      case 3:
        if (one !== other) world.cut(one, other)
        break
      case 4:
      case 5:
        for (const left of BROKERS) if (left !== one) world.heal(one, left)
        break
      case 6: {
        const broker = world.brokers.get(one)
        if (broker !== undefined) broker.stalledUntilMs = world.nowMs + random.below(1500)
        break
      }
      case 7:
        world.filter = () => {
          world.filter = undefined
          return false
        }
        break
      case 8:
        this.#retarget(groupId, random.shuffle([...BROKERS]).slice(0, 3))
        break
      case 9: {
        const leader = world.brokers.get(leaderOf(world, groupId))
        if (leader !== undefined) void leader.replica(groupId).transfer(raftIdOf(one, 0))
        break
      }
      default:
        for (let count = random.below(5); count >= 0; count--) this.#append(groupId)
    }
    for (let ms = random.below(400); ms >= 0; ms -= 5) {
      if (random.chance(0.1)) this.#append(random.pick(GROUPS))
      await world.run(5)
      await this.check()
    }
  }

  #append(groupId: number): void {
    for (const broker of this.world.brokers.values()) {
      // Two may believe to lead, and both may take what comes.
      const replica = broker.replicas.get(groupId)
      if (replica?.isLeader !== true) continue
      const end = broker.append(groupId, 1 + this.random.below(3), this.random.below(3000))
      this.#waiting.push({ groupId, nodeId: broker.nodeId, term: replica.term, end })
    }
  }

  async check(): Promise<void> {
    const { world } = this
    const waiting = this.#waiting
    this.#waiting = []
    for (const append of waiting) {
      const broker = world.brokers.get(append.nodeId)
      const replica = broker?.replicas.get(append.groupId)
      if (broker === undefined || replica === undefined || replica.term !== append.term || !replica.isServing) continue
      if (broker.owner(append.groupId).committedOffset < append.end) this.#waiting.push(append)
      else {
        const acked = this.acked.get(append.groupId)!
        const known = acked.at(-1)?.offset ?? 0
        if (append.end > known) acked.push({ offset: append.end, bytes: await contentOf(broker, append.groupId) })
        if (acked.length > 3) acked.splice(0, acked.length - 3)
      }
    }
    for (const groupId of GROUPS) {
      const serving = [...world.brokers.values()]
        .map((broker) => broker.replicas.get(groupId))
        .filter((replica) => replica?.isServing === true && replica.raft.isLeader)
      const newest = Math.max(...serving.map((replica) => replica!.term))
      for (const replica of serving) {
        if (replica!.term < newest)
          assert.equal(replica!.hasLease, false, `a lease of an earlier term, group ${groupId}`)
      }
    }
  }

  /** Everything is whole again: each group has a leader, and its members hold the same. */
  async finish(): Promise<void> {
    const { world } = this
    world.filter = undefined
    for (const [nodeId, disk] of [...this.#off]) {
      this.#off.delete(nodeId)
      await world.start(nodeId, disk)
      this.#open(nodeId)
    }
    for (const one of BROKERS) for (const other of BROKERS) if (one < other) world.heal(one, other)
    await world.until(() => GROUPS.every((groupId) => this.#isWhole(groupId)), 20_000)
    for (const groupId of GROUPS) {
      // A transfer asked for at the end may still be under way.
      await world.until(() => this.#isWhole(groupId))
      const leader = world.brokers.get(leaderOf(world, groupId))!
      leader.append(groupId, 1)
      const end = leader.log(groupId).logEndOffset
      const members = this.#targets.get(groupId)!.map((nodeId) => world.brokers.get(nodeId)!)
      await world.until(() => members.every((broker) => broker.owner(groupId).committedOffset === end), 5000)
      const content = await contentOf(leader, groupId)
      for (const member of members) {
        assert.ok(
          (await contentOf(member, groupId)).equals(content),
          `group ${groupId}: ${member.nodeId} holds the same`,
        )
      }
      for (const { offset, bytes } of this.acked.get(groupId)!) {
        assert.ok(content.subarray(0, bytes.length).equals(bytes), `group ${groupId}: what was committed at ${offset}`)
      }
    }
    // Who is no member any more is closed when the metadata says so; until then it may stand for election, in vain.
    for (const broker of world.brokers.values()) {
      for (const groupId of GROUPS) if (!this.#targets.get(groupId)!.includes(broker.nodeId)) broker.close(groupId)
    }
    await world.run(2000)
    const before = world.deliveredCount
    await world.run(3000)
    assert.equal(world.deliveredCount, before, 'it is quiet')
  }

  #isWhole(groupId: number): boolean {
    const leader = this.world.brokers.get(leaderOf(this.world, groupId))
    if (leader === undefined) return false
    const { membership } = leader.replica(groupId).raft
    const target = this.#targets.get(groupId)!
    return (
      !membership.isJoint &&
      membership.learners.length === 0 &&
      [...membership.voters].sort().join() === [...target].sort().join()
    )
  }
}

const seeds = SEED === undefined ? Array.from({ length: RUNS }, (_, at) => at + 1) : [Number(SEED)]
for (const seed of seeds) {
  test(`four brokers under random faults lose nothing and agree in the end, seed ${seed}`, async () => {
    const chaos = new Chaos(seed)
    await chaos.start()
    for (let step = 0; step < 40; step++) await chaos.step()
    await chaos.finish()
  })
}
