// A whole broker of the simulator: the shipped shards, with what its main thread does around them, and the machine it runs on.
//
// One per node for the whole run; each start makes a Life with actors, shards, arenas and mailboxes of its own, and a crash drops all of it. Only
// the disk goes from one life to the next.

import { LEFT_BEHIND, type NodeIdentity } from '../../../broker/cluster/node-identity.ts'
import { newUuid } from '../../../broker/cluster/uuid.ts'
import { BrokerConfig } from '../../../broker/config.ts'
import {
  type DirectoryRecord,
  FORMAT,
  journalDirectory,
  openDataDirectory,
  writeRecord,
} from '../../../broker/data-directory.ts'
import type { Environment, Logger } from '../../../broker/environment.ts'
import { OperatorError } from '../../../broker/operator-error.ts'
import type { MembershipPolicy } from '../../../broker/replication/membership-policy.ts'
import { ringBytes } from '../../../broker/shard/mailbox.ts'
import { moveGroups } from '../../../broker/shard/move-groups.ts'
import { Shard } from '../../../broker/shard/shard.ts'
import { loadNative } from '../../../native/index.ts'
import { setCrc32c } from '../../../protocol/records/crc32c.ts'
import { Arena } from '../../../storage/arena.ts'
import { StorageCorruption } from '../../../storage/corruption.ts'
import { DiskError } from '../../../storage/disk.ts'
import { SimulatedDisk } from '../disk.ts'
import { SeededRandom } from '../random.ts'
import { MachineClock, ThreadClock } from './clock.ts'
import { Violation } from './history.ts'
import { Bells } from './loop-hook.ts'
import type { SimulatedNetwork, SimulatedSocket } from './network.ts'
import type { Seat } from './observer.ts'
import { type Actor, INPUT, type Scheduler } from './scheduler.ts'

const native = loadNative()
if (native !== undefined) setCrc32c((bytes, start, end, seed) => native.crc32c(bytes, start, end, seed))

export interface BrokerSpec {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  /** Undefined for a broker alone. */
  readonly peerPort: number | undefined
  /** host:port of peer listeners. */
  readonly seeds: readonly string[]
  /** May change from one life to the next. */
  shardCount: number
  readonly memoryBytes: number
  readonly journalFileBytes: number
  readonly ringCapacityBytes: number
  readonly settings: readonly (readonly [string, string])[]
  readonly rack: string | null
  readonly diskBytes: number
  /** Undefined: as shipped. */
  readonly membershipPolicy: MembershipPolicy | undefined
}

export interface World {
  readonly scheduler: Scheduler
  readonly network: SimulatedNetwork
  /** A shard is about to start: its replicas are looked at after each of its events. */
  watch(seat: Seat, actor: Actor): void
  /** A line of the run's story. */
  say(who: string, text: string): void
  /** The run has failed. */
  violated(error: unknown): void
}

/** How the disk of a machine behaves now. */
export interface DiskSpeed {
  latencyMs: number
  /** Every operation takes this much longer. */
  extraMs: number
  /** No operation completes before. */
  hangsUntilMs: number
}

const DATA = '/data'
/** What a disk that hangs owes is looked at again so often. */
const HELD_MS = 100

interface Life {
  readonly actors: Actor[]
  readonly main: Actor
  readonly shards: Shard[]
  readonly connections: number[]
  state: 'starting' | 'running' | 'stopping' | 'over'
}

export class SimulatedBroker {
  readonly spec: BrokerSpec
  readonly clock = new MachineClock()
  readonly diskSpeed: DiskSpeed = { latencyMs: 0.15, extraMs: 0, hangsUntilMs: 0 }
  readonly #world: World
  readonly #random: SeededRandom
  #disk: SimulatedDisk
  #life: Life | undefined
  #lives = 0
  #nextConnection = 1
  #hasFailedDisk = false
  /** Its disk holds nothing yet. */
  hasEmptyDisk = true
  /** Of this life. */
  runningSinceMs = Number.POSITIVE_INFINITY
  /** It was ready once, so there is a cluster. */
  wasInCluster = false
  /** Why the last life ended by itself. */
  lastFailure: Error | undefined
  /** Some brokers have founded alone, and may refuse each other until one of them starts again. */
  mayRefuse = false
  /** The run itself made operations of the disk fail, or took its space; what was in flight when it was mended may still fail in this life. */
  #diskState: 'sound' | 'faulty' | 'mended' = 'sound'
  /** The run itself turned bits on the disk. */
  hasRot = false

  constructor(world: World, spec: BrokerSpec, random: SeededRandom) {
    this.#world = world
    this.spec = spec
    this.#random = random
    this.#disk = this.#emptyDisk()
  }

  #emptyDisk(): SimulatedDisk {
    const { scheduler } = this.#world
    return new SimulatedDisk({
      seed: this.#random.uint32(),
      directories: [DATA],
      capacityBytes: this.spec.diskBytes,
      nowMs: () => 1_795_000_000_000 + scheduler.nowMs,
      deliver: (operation, path, complete) => this.#deliver(operation, path, complete),
    })
  }

  get nodeId(): number {
    return this.spec.nodeId
  }

  get disk(): SimulatedDisk {
    return this.#disk
  }

  get isRunning(): boolean {
    return this.#life?.state === 'running'
  }

  /** A shard of the running process is read-only: an operator has to start it again. */
  get hasFailedDisk(): boolean {
    return this.#hasFailedDisk
  }

  get isDown(): boolean {
    return this.#life === undefined
  }

  get shards(): readonly Shard[] {
    return this.#life?.shards ?? []
  }

  get name(): string {
    return `broker-${this.spec.nodeId}`
  }

  /** Starts a life; isRunning when its shards are ready. */
  start(): void {
    if (this.#life !== undefined) return
    const { scheduler, network } = this.#world
    const life = ++this.#lives
    network.machineStarted(this.spec.host)
    this.lastFailure = undefined
    this.#hasFailedDisk = false
    if (this.#diskState === 'mended') this.#diskState = 'sound'
    const actor = (name: string): Actor =>
      scheduler.actor(`${this.name}.${life}/${name}`, (error) => this.#failed(error))
    const main = actor('main')
    const actors = [main]
    for (let shard = 0; shard < this.spec.shardCount; shard++) actors.push(actor(`shard-${shard}`))
    const made: Life = { actors, main, shards: [], connections: [], state: 'starting' }
    this.#life = made
    this.#world.say(this.name, `starts with ${this.spec.shardCount} shards`)
    scheduler.at(scheduler.nowMs + 5 + scheduler.random.next() * 50, INPUT, main, () => {
      this.#boot(made).catch((error) => this.#failed(error))
    })
  }

  /** Stops in good order, as after SIGTERM. */
  stop(): void {
    const life = this.#life
    if (life === undefined || life.state !== 'running') return
    life.state = 'stopping'
    this.#world.say(this.name, 'stops in order')
    const { scheduler, network } = this.#world
    let left = life.shards.length
    life.shards.forEach((shard, at) => {
      scheduler.at(scheduler.nowMs, INPUT, life.actors[1 + at]!, () => {
        shard.stop().then(
          () => {
            left--
            if (left > 0) return
            this.#end(life)
            network.processDied(this.spec.host, true)
            this.#disk = this.#disk.reopen()
            this.#world.say(this.name, 'has stopped')
          },
          (error) => this.#failed(error),
        )
      })
    })
  }

  /** kill -9: the kernel closes its sockets and keeps what was written. */
  kill(): void {
    if (this.#life === undefined) return
    this.#world.say(this.name, 'is killed')
    this.#end(this.#life)
    this.#world.network.processDied(this.spec.host, true)
    this.#disk = this.#disk.reopen()
  }

  /** The machine loses power: nobody is told, and what was not synced is lost or torn. */
  losePower(): void {
    this.#world.say(this.name, 'loses power')
    if (this.#life !== undefined) this.#end(this.#life)
    this.#world.network.processDied(this.spec.host, false)
    this.#disk = this.#disk.restart()
  }

  /** Nothing of the process runs until then; its machine goes on. */
  pause(ms: number): void {
    const end = this.#world.scheduler.nowMs + ms
    for (const actor of this.#life?.actors ?? []) actor.stalledUntilMs = Math.max(actor.stalledUntilMs, end)
  }

  /** Runs code on a shard's thread. */
  onShard(shardId: number, call: () => void): void {
    const { scheduler } = this.#world
    if (this.#life !== undefined) scheduler.at(scheduler.nowMs, INPUT, this.#life.actors[1 + shardId]!, call)
  }

  /** The disk is gone for good; the machine gets an empty one. */
  replaceDisk(): void {
    this.#world.say(this.name, 'gets an empty disk')
    this.#disk = this.#emptyDisk()
    this.#diskState = 'sound'
    this.hasRot = false
    this.hasEmptyDisk = true
  }

  stallShard(shard: number, ms: number): void {
    const actor = this.#life?.actors[1 + shard]
    if (actor !== undefined) actor.stalledUntilMs = Math.max(actor.stalledUntilMs, this.#world.scheduler.nowMs + ms)
  }

  #end(life: Life): void {
    life.state = 'over'
    for (const actor of life.actors) actor.isAlive = false
    if (this.#life === life) this.#life = undefined
  }

  /** A failure that takes the process with it, as in shard-worker.ts. */
  #failed(error: unknown): void {
    const life = this.#life
    if (life === undefined) return
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    this.#world.say(this.name, `fails: ${text}`)
    if (!this.#mayEndBy(error, life)) {
      this.#world.violated(
        error instanceof OperatorError || error instanceof DiskError || error instanceof StorageCorruption
          ? new Violation(`a broker runs as long as its disk does: ${this.name} (${life.state}) ${text}`, {
              cause: error,
            })
          : error,
      )
    }
    this.lastFailure = error instanceof Error ? error : new Error(text)
    this.#end(life)
    this.#world.network.processDied(this.spec.host, true)
    this.#disk = this.#disk.reopen()
  }

  /** Whether the run itself planted the cause of a process that ends by itself, and nothing promises that it goes on all the same. */
  #mayEndBy(error: unknown, { state }: Life): boolean {
    if (error instanceof OperatorError && [LEFT_BEHIND, 'SEEDS_DISAGREE'].includes(error.code)) return this.mayRefuse
    if (this.hasRot && (error instanceof StorageCorruption || error instanceof OperatorError)) return true
    if (this.#diskState === 'sound') return false
    // A start says in one line what it cannot do. Later a failed disk makes a shard read-only, and the process stays.
    if (error instanceof OperatorError) return state === 'starting'
    return error instanceof DiskError && state !== 'running'
  }

  /** Operations of the disk fail from now on, or find no space. */
  diskFails(): void {
    this.#diskState = 'faulty'
  }

  diskIsMended(): void {
    if (this.#diskState === 'faulty') this.#diskState = 'mended'
  }

  #deliver(operation: string, _path: string, complete: () => void): void {
    const { scheduler } = this.#world
    const { latencyMs, extraMs } = this.diskSpeed
    // Sometimes a device takes long for no reason; metadata operations are quick.
    let ms = latencyMs * (0.5 + this.#random.next()) + extraMs * this.#random.next()
    if (operation === 'sync') ms += latencyMs
    if (this.#random.chance(0.005)) ms += 20 * this.#random.next()
    const { current } = scheduler
    // The end of it may come earlier than was said, when everything is made whole.
    const finish = (): void => {
      if (scheduler.nowMs >= this.diskSpeed.hangsUntilMs) complete()
      else scheduler.at(scheduler.nowMs + HELD_MS * this.#random.next(), INPUT, current, finish)
    }
    scheduler.at(scheduler.nowMs + ms, INPUT, current, finish)
  }

  #logger(): Logger {
    const line = (level: string) => (message: string) => {
      this.#world.say(this.name, `${level}: ${message}`)
      if (message.startsWith('the disk has failed')) this.#hasFailedDisk = true
      if (level === 'error' && message.startsWith('API ')) {
        this.#world.violated(new Violation(`no handler fails: ${message}`))
      }
    }
    return { error: line('error'), warn: line('warn'), info: line('info'), debug: () => {} }
  }

  #environment(actor: Actor): Environment {
    const { scheduler, network } = this.#world
    const random = new SeededRandom(this.#random.uint32())
    return {
      clock: new ThreadClock(scheduler, actor, this.clock),
      random,
      disk: this.#disk,
      network: { dial: (host, port) => network.dial(actor, this.spec.host, host, port) },
      logger: this.#logger(),
    }
  }

  async #boot(life: Life): Promise<void> {
    const { scheduler, network } = this.#world
    const { nodeId, host, port, peerPort, seeds, shardCount, memoryBytes, journalFileBytes, ringCapacityBytes, rack } =
      this.spec
    const settings: (readonly [string, string])[] = [
      ...this.spec.settings,
      ['node.id', `${nodeId}`],
      ['log.dir', DATA],
      ['listeners', `PLAINTEXT://${host}:${port}`],
    ]
    if (peerPort !== undefined) {
      settings.push(['millrace.peer.listener', `${host}:${peerPort}`], ['millrace.seeds', seeds.join(',')])
    }
    let record = await this.#openDirectory(life)
    const arenas = Array.from({ length: shardCount }, () => Arena.create(memoryBytes))
    const rings = Array.from({ length: shardCount * shardCount }, (_, at) => {
      const isUsed = at % shardCount !== Math.floor(at / shardCount)
      return new SharedArrayBuffer(isUsed ? ringBytes(ringCapacityBytes) : 0)
    })
    const bells = new Bells(scheduler, life.actors.slice(1))
    const incarnation = Math.floor(scheduler.random.next() * Number.MAX_SAFE_INTEGER)
    const directoryId = record.directoryId ?? ''
    const early: SimulatedSocket[] = []
    const earlyPeers: SimulatedSocket[][] = []
    let nextPeerShard = 0
    if (peerPort !== undefined) {
      network.listen(life.main, host, peerPort, (socket) => {
        const shardId = nextPeerShard++ % shardCount
        this.#onShard(life, shardId, () => {
          const shard = life.shards[shardId]
          if (shard === undefined) (earlyPeers[shardId] ??= []).push(socket)
          else shard.acceptPeer(socket)
        })
      })
    }
    network.listen(life.main, host, port, (socket) => {
      if (life.state === 'running') this.#hand(life, socket)
      else early.push(socket)
    })
    /** The main thread writes the record, and tells the shard. */
    const saveIdentity = (identity: NodeIdentity): Promise<void> =>
      new Promise((resolve) => {
        scheduler.at(scheduler.nowMs + 0.05, INPUT, life.main, () => {
          record = { ...record, identity }
          writeRecord(this.#disk, DATA, record).then(
            () => this.#onShard(life, 0, resolve),
            (error) => this.#failed(error),
          )
        })
      })
    const started: Promise<void>[] = []
    for (let shardId = 0; shardId < shardCount; shardId++) {
      const actor = life.actors[1 + shardId]!
      started.push(
        new Promise((resolve, reject) => {
          scheduler.at(scheduler.nowMs + scheduler.random.next() * 5, INPUT, actor, () => {
            const shard = new Shard({
              shardId,
              shardCount,
              environment: this.#environment(actor),
              config: new BrokerConfig(settings),
              dataDirectory: DATA,
              journalDirectory: journalDirectory(DATA, record.generation, shardId),
              journalFileBytes,
              arena: arenas[shardId]!,
              arenas: arenas.map(({ buffer }) => Buffer.from(buffer)),
              rings,
              hook: bells.hook(shardId),
              registration: {
                nodeId,
                host,
                port,
                rack,
                endpoints: [{ listener: 'PLAINTEXT', host, port }],
                directoryId,
                peer: peerPort === undefined ? null : { host, port: peerPort },
                shardCount,
              },
              peer: peerPort === undefined ? undefined : { directoryId, incarnation },
              membershipPolicy: this.spec.membershipPolicy,
              identity: record.identity,
              saveIdentity,
              onFailure: (error) => this.#failed(error),
            })
            life.shards[shardId] = shard
            this.#world.watch({ nodeId, shard, replicas: new Map(), isAlive: () => actor.isAlive }, actor)
            life.connections[shardId] = 0
            shard.onConnectionClosed = () => {
              life.connections[shardId]!--
            }
            for (const socket of earlyPeers[shardId] ?? []) shard.acceptPeer(socket)
            shard.start().then(resolve, reject)
          })
        }),
      )
    }
    await Promise.all(started)
    if (life.state !== 'starting') return
    life.state = 'running'
    this.runningSinceMs = scheduler.nowMs
    this.hasEmptyDisk = false
    this.wasInCluster = true
    this.#world.say(this.name, 'is ready')
    for (const socket of early) this.#hand(life, socket)
  }

  /** A message of the main thread to a shard's. */
  #onShard(life: Life, shardId: number, call: () => void): void {
    const { scheduler } = this.#world
    scheduler.at(scheduler.nowMs + 0.05, INPUT, life.actors[1 + shardId]!, call)
  }

  async #openDirectory(life: Life): Promise<DirectoryRecord> {
    const { nodeId, shardCount, memoryBytes, journalFileBytes } = this.spec
    const { record } = await openDataDirectory(this.#disk, DATA, undefined)
    if (record === undefined) {
      const directoryId = newUuid(this.#random)
      const fresh: DirectoryRecord = { format: FORMAT, nodeId, shardCount, generation: 1, directoryId }
      await writeRecord(this.#disk, DATA, fresh)
      return fresh
    }
    if (record.shardCount === shardCount) return record
    const moved: DirectoryRecord = { ...record, shardCount, generation: record.generation + 1 }
    this.#world.say(this.name, `moves its groups from ${record.shardCount} shards to ${shardCount}`)
    await moveGroups({
      environment: this.#environment(life.main),
      dataDirectory: DATA,
      from: record,
      to: moved,
      memoryBytes: memoryBytes * Math.max(record.shardCount, shardCount),
      journalFileBytes: () => journalFileBytes,
    })
    return moved
  }

  /** To the shard with the fewest connections. */
  #hand(life: Life, socket: SimulatedSocket): void {
    let least = 0
    for (let shard = 1; shard < life.shards.length; shard++) {
      if (life.connections[shard]! < life.connections[least]!) least = shard
    }
    life.connections[least]!++
    const id = this.#nextConnection++
    this.#onShard(life, least, () => life.shards[least]!.accept(id, socket, 'PLAINTEXT'))
  }
}
