// What goes wrong in a run, when, and how it ends: machines, disks, clocks, paths and connections.
//
// One per run. Faults come at random times until stop(), which ends all of them: every machine runs, every path is whole, every disk answers.
// At most a minority of the brokers loses its data for good.

import type { SeededRandom } from '../random.ts'
import type { SimulatedBroker } from './broker.ts'
import type { Simulation } from './simulation.ts'

export interface FaultWeights {
  kill: number
  losePower: number
  stop: number
  pause: number
  stall: number
  breakConnections: number
  isolateClient: number
  slowDisk: number
  /** Operations of one disk neither complete nor fail for some seconds. */
  hangDisk: number
  diskError: number
  diskFull: number
  jumpClock: number
  slowNetwork: number
  /** Starts again with another number of shards. */
  reshard: number
  partition: number
  oneWay: number
  loseDisk: number
  bitRot: number
  /** All machines lose power at once. */
  blackout: number
  /** The leader of a group and the others do not hear each other; clients hear all. */
  isolateLeader: number
  /** The next leader that is elected is cut off at once, and one of those who voted loses power. */
  chase: number
  /** Leaders are cut off one after the other, each some milliseconds after its election. */
  rotate: number
  /** A disk takes no more writes, for longer than most faults last; the process stays. */
  failDisk: number
}

/** After something was wrong with a broker it is given so long until it counts as one that others can rely on. */
const SETTLE_MS = 1500

/**
 * Together, jumps leave a wall clock this wrong at most. An hour behind (message.timestamp.after.max.ms) a broker refuses what producers with
 * a true clock send, the retry of an acknowledged batch too: as in Apache Kafka, record validation comes before the look for duplicates.
 */
const MOST_CLOCK_ERROR_MS = 3_000_000

/** Faults that concern the clients, or nothing that brokers say to each other. */
const HARMLESS: ReadonlySet<keyof FaultWeights> = new Set(['isolateClient', 'slowDisk', 'jumpClock', 'stall'])
/** Faults of one machine alone. */
const LOCAL: ReadonlySet<keyof FaultWeights> = new Set([
  'kill',
  'losePower',
  'stop',
  'pause',
  'hangDisk',
  'diskError',
  'diskFull',
  'reshard',
  'loseDisk',
  'bitRot',
  'failDisk',
])

/** What is wrong with a broker. */
interface Trouble {
  /** Faults that have not ended. */
  open: number
  untilMs: number
}

/** Faults after which a broker's port is closed. */
const STOPPING: ReadonlySet<keyof FaultWeights> = new Set([
  'kill',
  'losePower',
  'stop',
  'reshard',
  'diskError',
  'diskFull',
  'loseDisk',
  'bitRot',
  'blackout',
  'chase',
])

export class Faults {
  readonly #simulation: Simulation
  readonly #random: SeededRandom
  readonly #names: (keyof FaultWeights)[]
  readonly #weightSum: number
  #stopped = false
  #spoilt: SimulatedBroker | undefined
  /** Its disk holds bits that have turned: in the end the operator replaces it. */
  #rotten: SimulatedBroker | undefined
  /** Started with an empty disk, and not ready yet. */
  #joining: SimulatedBroker | undefined
  /** Its disk has failed, and nothing else happens. */
  #failing: { readonly nodeId: number; readonly sinceMs: number } | undefined
  readonly #troubles: ReadonlyMap<number, Trouble>
  /** Those whom the fault that happens now concerns. */
  #troubled: readonly Trouble[] = []
  /** Leaders are hunted from now on, so nobody can be relied on. */
  #isWild = false
  count = 0

  constructor(simulation: Simulation, random: SeededRandom) {
    this.#simulation = simulation
    this.#random = random
    const { faults, driftMax } = simulation.scenario
    this.#names = Object.keys(faults) as (keyof FaultWeights)[]
    this.#weightSum = this.#names.reduce((sum, name) => sum + faults[name], 0)
    this.#troubles = new Map(simulation.brokers.map(({ nodeId }) => [nodeId, { open: 0, untilMs: 0 }]))
    for (const broker of simulation.brokers) {
      broker.clock.rate =
        1 + (driftMax < 0.05 ? random.pick([-1, random.next() * 2 - 1, 1]) : random.pick([-1, 1])) * driftMax
      broker.clock.offsetMs = random.below(2000) - 1000
    }
  }

  /** Nothing is left to be mended. */
  get isOver(): boolean {
    return this.#rotten === undefined
  }

  /** Since when nothing has been wrong with a broker, its disk and its paths to the others; Infinity while something is. */
  quietSinceMs(nodeId: number): number {
    const { open, untilMs } = this.#troubles.get(nodeId)!
    const { isRunning, runningSinceMs, hasFailedDisk, hasRot } = this.#simulation.brokers.find(
      (one) => one.nodeId === nodeId,
    )!
    if (this.#isWild || open > 0 || !isRunning || hasFailedDisk || hasRot) return Number.POSITIVE_INFINITY
    return Math.max(untilMs, runningSinceMs) + SETTLE_MS
  }

  /** The broker whose disk has failed, while that is all that is wrong, and since when. */
  failedDisk(): { readonly nodeId: number; readonly sinceMs: number } | undefined {
    return this.#failing
  }

  start(): void {
    if (this.#weightSum > 0) this.#whenFormed(() => this.#next())
    this.#supervise()
  }

  /** A broker that founded a cluster and went away at once may be taken for one that never was, and clients use both: the cluster forms in peace. */
  #whenFormed(call: () => void): void {
    const { scheduler, brokers } = this.#simulation
    if (this.#stopped) return
    if (brokers.every(({ isRunning }) => isRunning)) call()
    else scheduler.after(100, scheduler.world, () => this.#whenFormed(call))
  }

  /** Everything is made whole: for good. */
  stop(): void {
    this.#stopped = true
    this.#isWild = false
    this.#failing = undefined
    const { brokers, network, scheduler } = this.#simulation
    for (const trouble of this.#troubles.values()) {
      trouble.open = 0
      trouble.untilMs = Math.max(trouble.untilMs, scheduler.nowMs)
    }
    network.healAll()
    for (const broker of brokers) {
      this.#mendDisk(broker)
      broker.pause(0)
      if (broker.isDown) this.#start(broker)
      else if (broker.hasFailedDisk) {
        broker.kill()
        this.#start(broker)
      }
    }
  }

  /** A disk whose bits have turned is replaced in the end, as soon as the others hold everything without it. */
  #replaceRotten(): void {
    const { observer, brokers } = this.#simulation
    const broker = this.#rotten
    if (broker === undefined || !observer.canLose(broker.nodeId, brokers.length)) return
    if (!brokers.every((other) => other === broker || other.isRunning)) return
    this.#rotten = undefined
    broker.losePower()
    broker.replaceDisk()
  }

  /** Somebody watches: a broker that went away by itself, or whose disk failed, is started again after a while. */
  #supervise(): void {
    const { scheduler, brokers } = this.#simulation
    if (this.#stopped) this.#replaceRotten()
    for (const broker of brokers) {
      // A write that was in flight when everything became whole may still fail.
      if (this.#stopped && broker.hasFailedDisk) broker.kill()
      if (broker.isDown && (this.#stopped || this.#random.chance(0.3))) this.#start(broker)
    }
    scheduler.after(500, scheduler.world, () => this.#supervise())
  }

  #next(): void {
    const { scheduler, scenario } = this.#simulation
    const pauseMs = -Math.log(1 - this.#random.next()) * scenario.faultEveryMs
    scheduler.after(pauseMs, scheduler.world, () => {
      if (this.#stopped) return
      this.#happen()
      this.#next()
    })
  }

  #happen(): void {
    const { scenario, brokers } = this.#simulation
    let at = this.#random.next() * this.#weightSum
    const name = this.#names.find((candidate) => {
      at -= scenario.faults[candidate]
      return at < 0
    })
    if (name === undefined) return
    if (this.#joining?.isRunning) this.#joining = undefined
    if (this.#joining !== undefined && STOPPING.has(name)) return
    this.count++
    const broker = this.#random.pick(brokers)
    const concerned = HARMLESS.has(name) ? [] : LOCAL.has(name) ? [broker] : brokers
    this.#troubling(
      concerned.map(({ nodeId }) => this.#troubles.get(nodeId)!),
      () => this.#act(name, broker),
    )
  }

  /** Something happens to these brokers; what it does #later() is part of it. */
  #troubling(troubled: readonly Trouble[], call: () => void): void {
    const { nowMs } = this.#simulation.scheduler
    const before = this.#troubled
    this.#troubled = troubled
    for (const trouble of troubled) trouble.untilMs = Math.max(trouble.untilMs, nowMs)
    call()
    this.#troubled = before
  }

  /** Calls after a random time, unless everything is whole by then. */
  #later(mostMs: number, call: () => void): void {
    const { scheduler } = this.#simulation
    const troubled = this.#troubled
    for (const trouble of troubled) trouble.open++
    scheduler.after(this.#random.next() * mostMs, scheduler.world, () => {
      if (this.#stopped) return
      for (const trouble of troubled) trouble.open--
      this.#troubling(troubled, call)
    })
  }

  #act(name: keyof FaultWeights, broker: SimulatedBroker): void {
    const { network, brokers } = this.#simulation
    const random = this.#random
    const say = (text: string): void => this.#simulation.say('fault', text)
    switch (name) {
      case 'kill':
        broker.kill()
        this.#later(2000, () => this.#start(broker))
        return
      case 'losePower':
        broker.losePower()
        this.#later(3000, () => this.#start(broker))
        return
      case 'stop':
        broker.stop()
        return
      case 'reshard':
        broker.stop()
        this.#later(3000, () => {
          if (!broker.isDown) return
          broker.spec.shardCount = 1 + random.below(3)
          this.#start(broker)
        })
        return
      case 'pause': {
        const ms = random.pick([20, 200, 1000, 4000]) * random.next()
        say(`${broker.name} is paused for ${ms.toFixed(0)} ms`)
        broker.pause(ms)
        for (const trouble of this.#troubled) trouble.untilMs += ms
        return
      }
      case 'stall': {
        const ms = 300 * random.next()
        const shard = random.below(broker.spec.shardCount)
        say(`shard ${shard} of ${broker.name} stalls for ${ms.toFixed(0)} ms`)
        broker.stallShard(shard, ms)
        return
      }
      case 'breakConnections': {
        const all = network.connections()
        const share = random.pick([0.05, 0.3, 1])
        let broken = 0
        for (const connection of all) {
          if (!random.chance(share)) continue
          network.break(connection, random.pick(['dialer', 'acceptor', 'both'] as const))
          broken++
        }
        say(`${broken} of ${all.length} connections break`)
        return
      }
      case 'isolateClient': {
        const connection = network.connections().filter(({ from }) => !from.startsWith('broker'))
        if (connection.length === 0) return
        const { from, to } = random.pick(connection)
        const oneWay = random.pick(['out', 'in', 'both'] as const)
        say(`${from} and ${to} do not hear each other (${oneWay})`)
        if (oneWay !== 'in') network.cut(from, to)
        if (oneWay !== 'out') network.cut(to, from)
        this.#later(3000, () => {
          network.heal(from, to)
          network.heal(to, from)
        })
        return
      }
      case 'slowDisk': {
        const extraMs = random.pick([5, 50, 400])
        say(`the disk of ${broker.name} is slow: up to ${extraMs} ms more`)
        broker.diskSpeed.extraMs = extraMs
        this.#later(3000, () => {
          broker.diskSpeed.extraMs = 0
        })
        return
      }
      case 'hangDisk': {
        const { scheduler } = this.#simulation
        const ms = 3000 + 7000 * random.next()
        say(`the disk of ${broker.name} hangs for ${ms.toFixed(0)} ms`)
        broker.diskSpeed.hangsUntilMs = scheduler.nowMs + ms
        for (const trouble of this.#troubled) trouble.untilMs += ms
        return
      }
      case 'diskError': {
        const operation = random.pick(['write', 'sync', 'read', 'open', 'allocate'] as const)
        say(`the disk of ${broker.name} fails at ${operation}`)
        broker.diskFails()
        broker.disk.inject({ operation, code: 'EIO', after: random.below(10), count: 1 + random.below(3) })
        // The operator sees the line in the log, and starts it again.
        this.#later(4000, () => {
          this.#mendDisk(broker)
          if (!broker.isDown) broker.kill()
          this.#start(broker)
        })
        return
      }
      case 'failDisk':
        this.#failDisk(broker)
        return
      case 'diskFull': {
        say(`the disk of ${broker.name} is full`)
        broker.diskFails()
        broker.disk.capacityBytes = broker.disk.usedBytes() + random.below(64 << 10)
        this.#later(4000, () => {
          this.#mendDisk(broker)
          if (!broker.isDown) broker.kill()
          this.#start(broker)
        })
        return
      }
      case 'jumpClock': {
        const ms = (random.next() * 2 - 1) * random.pick([100, 5000, 1_500_000])
        say(`the clock of ${broker.name} jumps by ${ms.toFixed(0)} ms`)
        broker.clock.offsetMs = Math.min(
          Math.max(broker.clock.offsetMs + ms, -MOST_CLOCK_ERROR_MS),
          MOST_CLOCK_ERROR_MS,
        )
        return
      }
      case 'slowNetwork': {
        const from = random.pick(brokers).spec.host
        const hosts = network.peersOf(from)
        if (hosts.length === 0) return
        const other = random.pick(hosts)
        const path = network.path(from, other)
        say(`the path from ${from} to ${other} is slow`)
        path.delayMs = random.pick([20, 100, 400])
        path.jitterMs = path.delayMs
        path.lossRate = random.pick([0, 0.05, 0.3])
        path.bytesPerMs = random.pick([1, 50, Number.POSITIVE_INFINITY])
        this.#later(4000, () => {
          const { delayMs, jitterMs } = network.options
          Object.assign(path, { delayMs, jitterMs, lossRate: 0, bytesPerMs: Number.POSITIVE_INFINITY })
        })
        return
      }
      case 'partition': {
        const some = random.shuffle([...brokers]).slice(0, 1 + random.below(Math.max(1, brokers.length - 1)))
        const others = brokers.filter((other) => !some.includes(other))
        const isPartial = random.chance(0.3)
        say(
          `cut: ${some.map((one) => one.name).join(' ')} from ${others.map((one) => one.name).join(' ')}${isPartial ? ', in part' : ''}`,
        )
        const undo: (() => void)[] = []
        for (const one of some) {
          for (const other of others) {
            if (isPartial && random.chance(0.5)) continue
            for (const [from, to] of [
              [one.spec.host, other.spec.host],
              [other.spec.host, one.spec.host],
            ] as const) {
              network.cut(from, to)
              undo.push(() => network.heal(from, to))
            }
          }
        }
        this.#later(6000, () => {
          for (const call of undo) call()
        })
        return
      }
      case 'oneWay': {
        const other = random.pick(brokers)
        if (other === broker) return
        const from = broker.spec.host
        const to = other.spec.host
        say(`${to} does not hear ${from}`)
        network.cut(from, to)
        this.#later(6000, () => network.heal(from, to))
        return
      }
      case 'blackout':
        for (const one of brokers) {
          one.losePower()
          this.#later(random.pick([50, 3000]), () => this.#start(one))
        }
        return
      case 'isolateLeader': {
        const { observer } = this.#simulation
        const groups = observer.groups()
        const leader = groups.length === 0 ? undefined : observer.leaderOf(random.pick(groups))
        if (leader !== undefined) this.#isolate(leader, random.pick([100, 1000, 4000]))
        return
      }
      case 'chase':
        this.#isWild = true
        this.#simulation.observer.onElected = (nodeId) => {
          if (this.#stopped || this.#joining !== undefined) return
          this.#isolate(nodeId, 4000)
          const other = random.pick(brokers.filter((one) => one.nodeId !== nodeId))
          this.#later(random.pick([1, 10, 100]), () => {
            other.losePower()
            this.#later(50, () => this.#start(other))
          })
        }
        // Somebody has to be elected for it.
        broker.kill()
        this.#later(500, () => this.#start(broker))
        return
      case 'rotate': {
        this.#isWild = true
        this.#rotate(4 + random.below(6))
        // Somebody has to be elected first.
        const { observer } = this.#simulation
        const groups = observer.groups().filter((groupId) => groupId !== 0)
        const leader = groups.length === 0 ? undefined : observer.leaderOf(random.pick(groups))
        if (leader !== undefined) this.#isolate(leader, 4000)
        return
      }
      case 'loseDisk':
        if (!this.#maySpoil(broker)) return
        broker.losePower()
        broker.replaceDisk()
        this.#later(3000, () => this.#start(broker))
        return
      case 'bitRot': {
        const files = broker.disk.paths().filter((path) => path.endsWith('.log') || path.endsWith('.mj'))
        if (files.length === 0 || !this.#maySpoil(broker)) return
        this.#rotten = broker
        broker.hasRot = true
        for (let bits = 1 + random.below(20); bits > 0; bits--) {
          const path = random.pick(files)
          const sizeBytes = broker.disk.peek(path)?.length ?? 0
          if (sizeBytes > 0) broker.disk.flipBit(path, random.below(sizeBytes), random.below(8))
        }
        say(`bits rot on the disk of ${broker.name}`)
        return
      }
    }
  }

  /** One at a time, and only when the others are whole: of three brokers two go on. */
  #failDisk(broker: SimulatedBroker): void {
    const { brokers, scheduler } = this.#simulation
    const { nowMs } = scheduler
    const random = this.#random
    if (this.#failing !== undefined) return
    if (!brokers.every((one) => one === broker || this.quietSinceMs(one.nodeId) + 2000 <= nowMs)) return
    const shard = random.below(broker.spec.shardCount)
    // All of it, or what one shard writes: the others may not notice for long.
    const path = random.pick([undefined, `/shard-${shard}/`, '/topics/'])
    const operation = random.pick(['write', 'sync'] as const)
    this.#simulation.say('fault', `the disk of ${broker.name} fails at each ${operation} ${path ?? ''}`)
    this.#failing = { nodeId: broker.nodeId, sinceMs: nowMs }
    broker.diskFails()
    broker.disk.inject({ operation, code: 'EIO', count: Number.POSITIVE_INFINITY, ...(path && { path }) })
    const lastsMs = random.pick([6000, 20_000]) * (1 + random.next() / 2)
    const trouble = this.#troubles.get(broker.nodeId)!
    trouble.open++
    scheduler.after(lastsMs, scheduler.world, () => {
      if (this.#stopped) return
      trouble.open--
      this.#failing = undefined
      this.#mendDisk(broker)
      if (!broker.isDown) broker.kill()
      this.#start(broker)
    })
  }

  /** Cuts a broker off from the others, one way or both, for at most so long. */
  #isolate(nodeId: number, mostMs: number): void {
    const { brokers, network } = this.#simulation
    const hosts = brokers.filter((one) => one.nodeId !== nodeId).map(({ spec }) => spec.host)
    const own = brokers.find((one) => one.nodeId === nodeId)!.spec.host
    const way = this.#random.pick(['out', 'in', 'both', 'both'] as const)
    this.#simulation.say('fault', `${own} is cut off from the other brokers (${way})`)
    for (const host of hosts) {
      if (way !== 'in') network.cut(own, host)
      if (way !== 'out') network.cut(host, own)
    }
    this.#later(mostMs, () => {
      for (const host of hosts) {
        network.heal(own, host)
        network.heal(host, own)
      }
    })
  }

  #rotate(left: number): void {
    const { brokers, network, observer, scheduler } = this.#simulation
    if (left === 0 || this.#stopped) return
    const between = (call: (from: string, to: string) => void): void => {
      for (const { spec } of brokers)
        for (const other of brokers) if (other.spec !== spec) call(spec.host, other.spec.host)
    }
    const elected = (nodeId: number, groupId: number): void => {
      // The metadata group has its own leader, whose turn this is not.
      if (groupId === 0) {
        observer.onElected = elected
        return
      }
      between((from, to) => network.heal(from, to))
      scheduler.after(this.#random.next() * this.#random.pick([1, 12]), scheduler.world, () => {
        if (this.#stopped) return
        const own = brokers.find((one) => one.nodeId === nodeId)!.spec.host
        this.#simulation.say('fault', `${own} is cut off after its election`)
        between((from, to) => {
          if (from === own || to === own) network.cut(from, to)
        })
        this.#rotate(left - 1)
      })
    }
    observer.onElected = elected
    if (left > 1) return
    this.#later(3000, () => between((from, to) => network.heal(from, to)))
  }

  /**
   * An operator starts a machine with an empty disk while the cluster can be seen to run, since one that meets nobody founds another; and
   * until it is in, the others are left alone.
   */
  #start(broker: SimulatedBroker): void {
    if (!broker.isDown) return
    if (broker.hasEmptyDisk && broker.wasInCluster) {
      const { scheduler, brokers } = this.#simulation
      if (!brokers.every((other) => other === broker || other.isRunning)) {
        scheduler.after(200, scheduler.world, () => this.#start(broker))
        return
      }
      this.#joining = broker
    }
    broker.start()
  }

  /** One broker of a run may lose what it holds, and only while every group does without it: what replaces it takes time. */
  #maySpoil(broker: SimulatedBroker): boolean {
    const { brokers, observer } = this.#simulation
    if (brokers.length < 3 || (this.#spoilt !== undefined && this.#spoilt !== broker)) return false
    if (!observer.canLose(broker.nodeId, brokers.length)) return false
    this.#spoilt = broker
    return true
  }

  #mendDisk(broker: SimulatedBroker): void {
    broker.disk.heal()
    broker.diskIsMended()
    broker.disk.capacityBytes = broker.spec.diskBytes
    broker.diskSpeed.extraMs = 0
    broker.diskSpeed.hangsUntilMs = 0
  }
}
