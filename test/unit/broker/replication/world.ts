// Brokers of one shard each in one thread: the driver over real storage and simulated disks, links that a test may cut, and virtual time.
//
// The links here are a stand-in that keeps the promises of link-types.ts: messages in order and whole while a link stands, nothing across a
// break, silence and leases in virtual time. Real ones are tested in links.test.ts.

import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import type { Clock, Timer } from '../../../../broker/environment.ts'
import { NOBODY, type NodeId } from '../../../../broker/raft/types.ts'
import { Replication, type ReplicationOptions } from '../../../../broker/replication/driver.ts'
import type { LinkInfo, PeerLinks } from '../../../../broker/replication/link-types.ts'
import { PeerReader, type PeerWriter } from '../../../../broker/replication/peer-wire.ts'
import type { Replica, ReplicaOwner } from '../../../../broker/replication/replica.ts'
import { baseOffsetOf, offsetSpanOf } from '../../../../protocol/records/batch.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import { Arena } from '../../../../storage/arena.ts'
import { DEFAULT_LOG_CONFIG, type GroupLog } from '../../../../storage/log.ts'
import { ShardStorage } from '../../../../storage/shard-storage.ts'
import { SimulatedDisk } from '../../../sim/disk.ts'
import { SeededRandom } from '../../../sim/random.ts'

export const SILENCE_MS = 750
const PING_MS = 100
const LATENCY_MS = 1

interface WorldEvent {
  readonly timeMs: number
  readonly order: number
  call: (() => void) | undefined
}

interface Frame {
  readonly bodies: Buffer[]
  readonly defections: number
}

export interface WorldOptions {
  readonly seed?: number
  readonly arenaBytes?: number
  /** Quiet for so long, a group's data leaves the journal. */
  readonly idleMs?: number
  /** Bytes of messages gathered for one peer before begin() refuses. */
  readonly queueBytesMax?: number
  readonly replication?: Partial<ReplicationOptions>
}

export class World {
  nowMs = 0
  readonly options: WorldOptions
  readonly random: SeededRandom
  readonly brokers = new Map<number, Broker>()
  /** Messages delivered, by kind. */
  readonly delivered = new Map<number, number>()
  /** Sees every message; false: it is lost, and the link with it. */
  filter: ((from: number, to: number, kind: number) => boolean) | undefined
  #events: WorldEvent[] = []
  #order = 0
  #soon: (() => void)[] = []
  readonly #cuts = new Set<string>()
  #incarnation = 0

  constructor(options: WorldOptions = {}) {
    this.options = options
    this.random = new SeededRandom(options.seed ?? 1)
    this.#ping()
  }

  get deliveredCount(): number {
    let sum = 0
    for (const count of this.delivered.values()) sum += count
    return sum
  }

  /** Starts a broker; the links to all that run come up. @param disk of an earlier life */
  async start(nodeId: number, disk?: SimulatedDisk, directoryEpoch = 0): Promise<Broker> {
    this.#incarnation += 1
    const broker = new Broker(this, nodeId, directoryEpoch, this.#incarnation, disk)
    await broker.open()
    this.brokers.set(nodeId, broker)
    for (const other of this.brokers.values()) if (other !== broker) this.connect(broker, other)
    return broker
  }

  /** The process is gone; its connections break at once. @returns its disk, without what was not synced */
  kill(nodeId: number): SimulatedDisk {
    const broker = this.brokers.get(nodeId)!
    broker.isDead = true
    this.brokers.delete(nodeId)
    broker.replication.close()
    for (const other of this.brokers.values()) other.links.break(nodeId)
    broker.disk.crash()
    return broker.disk.restart()
  }

  /** Nothing passes between two brokers any more. */
  cut(one: number, other: number): void {
    this.#cuts.add(`${one}-${other}`).add(`${other}-${one}`)
    this.brokers.get(one)?.links.break(other)
    this.brokers.get(other)?.links.break(one)
  }

  heal(one: number, other: number): void {
    this.#cuts.delete(`${one}-${other}`)
    this.#cuts.delete(`${other}-${one}`)
    const [first, second] = [this.brokers.get(one), this.brokers.get(other)]
    if (first !== undefined && second !== undefined) this.connect(first, second)
  }

  isCut(from: number, to: number): boolean {
    return this.#cuts.has(`${from}-${to}`)
  }

  connect(one: Broker, other: Broker): void {
    this.at(LATENCY_MS, () => {
      if (one.isDead || other.isDead || this.isCut(one.nodeId, other.nodeId)) return
      const isStanding =
        one.links.standing(other.nodeId) !== undefined && other.links.standing(one.nodeId) !== undefined
      if (isStanding) return
      one.links.connect(other)
      other.links.connect(one)
      one.links.raise(other.nodeId)
      other.links.raise(one.nodeId)
    })
  }

  #ping(): void {
    this.at(PING_MS, () => {
      for (const broker of this.brokers.values()) broker.links.ping()
      this.#ping()
    })
  }

  at(delayMs: number, call: () => void): Timer {
    const event: WorldEvent = { timeMs: this.nowMs + delayMs, order: ++this.#order, call }
    const events = this.#events
    let at = events.length
    while (at > 0 && events[at - 1]!.timeMs > event.timeMs) at -= 1
    events.splice(at, 0, event)
    return {
      cancel: () => {
        event.call = undefined
      },
    }
  }

  soon(call: () => void): void {
    this.#soon.push(call)
  }

  /** Lets time pass. */
  async run(ms: number): Promise<void> {
    const endMs = this.nowMs + ms
    await this.#settle()
    while (this.#events.length > 0 && this.#events[0]!.timeMs <= endMs) {
      const event = this.#events.shift()!
      this.nowMs = Math.max(this.nowMs, event.timeMs)
      event.call?.()
      if (this.#events[0]?.timeMs !== event.timeMs) await this.#settle()
    }
    this.nowMs = endMs
  }

  /** Lets time pass until something holds. @returns how long it took */
  async until(holds: () => boolean, maxMs = 10_000): Promise<number> {
    const startMs = this.nowMs
    while (!holds()) {
      if (this.nowMs - startMs >= maxMs) {
        const groups = new Set([...this.brokers.values()].flatMap((broker) => [...broker.replicas.keys()]))
        const states = [...groups].slice(0, 3).map((groupId) => this.describe(groupId))
        throw new Error(`it does not come to that in ${maxMs} ms\n${states.join('\n')}`)
      }
      await this.run(1)
    }
    return this.nowMs - startMs
  }

  /** A group as each broker has it, for messages of failed tests. */
  describe(groupId: number): string {
    const lines: string[] = [`group ${groupId} at ${this.nowMs}`]
    for (const { nodeId, replicas, links } of this.brokers.values()) {
      const replica = replicas.get(groupId)
      if (replica === undefined) continue
      const { raft, log } = replica
      const { voters, learners, outgoing, members } = raft.membership
      const peers = members.map((id) => {
        const progress = raft.progressOf(id)
        if (progress === undefined) return ''
        return `${id}:${progress.state}${progress.isLost ? ' lost' : ''}${progress.loading ? ' loading' : ''}${progress.probeSent ? ' sent' : ''} ${progress.matchIndex}/${progress.nextIndex}`
      })
      lines.push(
        `${nodeId} ${raft.role} term ${raft.term} vote ${raft.votedFor} leader ${raft.leaderId} log ${log.firstIndex}..${log.lastIndex} durable ${log.durableIndex} commit ${raft.commitIndex} offset ${log.committedOffset}/${log.logEndOffset} voters ${voters} outgoing ${outgoing} learners ${learners} at ${raft.membershipIndex} up ${[1, 2, 3, 4].filter((id) => links.isUp(id))} alive ${[1, 2, 3, 4].filter((id) => links.isAlive(id))} [${peers.join(', ')}]`,
      )
    }
    return lines.join('\n')
  }

  async #settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; ) {
      const calls = this.#soon
      this.#soon = []
      for (const call of calls) call()
      await new Promise<void>((resolve) => setImmediate(resolve))
      const isBusy = this.#soon.length > 0 || [...this.brokers.values()].some((broker) => broker.disk.inFlightCount > 0)
      quiet = isBusy ? 0 : quiet + 1
    }
  }

  deliver(from: Broker, to: Broker, frame: Frame): void {
    this.at(Math.max(LATENCY_MS, to.stalledUntilMs - this.nowMs), () => {
      if (to.stalledUntilMs > this.nowMs) {
        this.deliver(from, to, frame)
        return
      }
      const link = to.links.standing(from.nodeId)
      if (to.isDead || from.isDead || link === undefined || link.incarnation !== from.incarnation) return
      to.links.heardFrom(from.nodeId)
      to.links.counted.set(from.nodeId, frame.defections)
      for (const body of frame.bodies) {
        const kind = body[0]!
        if (this.filter !== undefined && !this.filter(from.nodeId, to.nodeId, kind)) {
          to.links.break(from.nodeId)
          from.links.break(to.nodeId)
          this.connect(from, to)
          return
        }
        this.delivered.set(kind, (this.delivered.get(kind) ?? 0) + 1)
        to.replication.receive(link, new PeerReader(body))
        // What was a view of the frame is gone.
        body.fill(0xee)
      }
    })
  }
}

/** The links of one broker. */
export class FakeLinks implements PeerLinks {
  readonly #world: World
  readonly #own: Broker
  readonly #standing = new Map<number, LinkInfo>()
  readonly #known = new Set<number>()
  readonly #heardMs = new Map<number, number>()
  readonly #silent = new Set<number>()
  readonly #leases = new Map<number, number>()
  readonly #pending = new Map<number, Frame>()
  readonly #defections = new Map<number, number>()
  /** Peers' numbers, as last received. */
  readonly counted = new Map<number, number>()
  readonly #queued = new Map<number, number>()

  constructor(world: World, own: Broker) {
    this.#world = world
    this.#own = own
  }

  // What the world does

  /** The link stands from now on, but nobody has been told. */
  connect(other: Broker): void {
    const { nodeId, incarnation } = other
    const address = { host: `host${nodeId}`, port: 1 }
    const earlier = this.#standing.get(nodeId)
    if (earlier !== undefined) this.break(nodeId)
    this.#known.add(nodeId)
    this.#standing.set(nodeId, {
      nodeId,
      shardId: 0,
      shardCount: 1,
      clusterId: 'c',
      directoryId: `d${nodeId}`,
      incarnation,
      address,
    })
    this.#pending.delete(nodeId)
    this.#queued.delete(nodeId)
    this.#leases.delete(nodeId)
  }

  raise(nodeId: number): void {
    this.heardFrom(nodeId)
    this.#own.replication.peerUp(this.#standing.get(nodeId)!)
  }

  break(nodeId: number): void {
    const link = this.#standing.get(nodeId)
    if (link === undefined) return
    this.#standing.delete(nodeId)
    this.#pending.delete(nodeId)
    this.#queued.delete(nodeId)
    this.#own.replication.peerDown(link)
  }

  standing(nodeId: number): LinkInfo | undefined {
    return this.#standing.get(nodeId)
  }

  heardFrom(nodeId: number): void {
    const isFirst = !this.#heardMs.has(nodeId)
    this.#heardMs.set(nodeId, this.#world.nowMs)
    if (this.#silent.delete(nodeId) || isFirst) this.#own.replication.peerHeard()
  }

  ping(): void {
    const { nowMs, brokers } = this.#world
    if (this.#own.stalledUntilMs > nowMs) return
    for (const nodeId of this.#known) {
      const other = brokers.get(nodeId)
      const link = this.#standing.get(nodeId)
      const answers = other !== undefined && link?.incarnation === other.incarnation && other.stalledUntilMs <= nowMs
      if (answers) {
        this.heardFrom(nodeId)
        this.#leases.set(nodeId, nowMs + SILENCE_MS * 0.9)
        this.counted.set(nodeId, other.links.defectionsTo(this.#own.nodeId))
      } else if (!this.#silent.has(nodeId) && nowMs - this.#heardMs.get(nodeId)! >= SILENCE_MS) {
        this.#silent.add(nodeId)
        this.break(nodeId)
        other?.links.break(this.#own.nodeId)
        this.#own.replication.peerSilent(nodeId, 0)
      } else if (link === undefined && other !== undefined && other.stalledUntilMs <= nowMs) {
        this.#world.connect(this.#own, other)
      }
    }
  }

  defectionsTo(nodeId: number): number {
    return this.#defections.get(nodeId) ?? 0
  }

  // What the driver uses

  shardCountOf(nodeId: number): number | undefined {
    return this.#known.has(nodeId) ? 1 : undefined
  }

  isAlive(nodeId: number): boolean {
    return this.#known.has(nodeId) && !this.#silent.has(nodeId)
  }

  isUp(nodeId: number): boolean {
    return this.#standing.has(nodeId)
  }

  linkInfo(nodeId: number): LinkInfo | undefined {
    return this.#standing.get(nodeId)
  }

  open(): void {}

  begin(nodeId: number): PeerWriter | undefined {
    if (!this.#standing.has(nodeId)) return undefined
    const queued = this.#queued.get(nodeId) ?? 0
    if (queued > (this.#world.options.queueBytesMax ?? Number.POSITIVE_INFINITY)) return undefined
    return new FakeWriter((body) => {
      this.#queued.set(nodeId, queued + body.length)
      let frame = this.#pending.get(nodeId)
      if (frame === undefined) {
        frame = { bodies: [], defections: this.defectionsTo(nodeId) }
        this.#pending.set(nodeId, frame)
      }
      frame.bodies.push(body)
    })
  }

  flush(): void {
    for (const nodeId of [...this.#pending.keys()]) this.#seal(nodeId)
  }

  leaseUntilMs(nodeId: number): number {
    return this.#leases.get(nodeId) ?? Number.NEGATIVE_INFINITY
  }

  defections(nodeId: number): number {
    return this.counted.get(nodeId) ?? 0
  }

  defect(nodeId: number): void {
    this.#seal(nodeId)
    this.#defections.set(nodeId, this.defectionsTo(nodeId) + 1)
  }

  #seal(nodeId: number): void {
    const frame = this.#pending.get(nodeId)
    const other = this.#world.brokers.get(nodeId)
    this.#pending.delete(nodeId)
    this.#queued.delete(nodeId)
    if (frame !== undefined && other !== undefined) this.#world.deliver(this.#own, other, frame)
  }
}

export class FakeWriter implements PeerWriter {
  #parts: Buffer[] = []
  #releases: (() => void)[] = []
  readonly #done: (body: Buffer) => void

  constructor(done: (body: Buffer) => void) {
    this.#done = done
  }

  get length(): number {
    return this.#parts.reduce((sum, part) => sum + part.length, 0)
  }

  #number(bytes: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.alloc(bytes)
    write(buffer)
    this.#parts.push(buffer)
    return this
  }

  u8(value: number): PeerWriter {
    return this.#number(1, (buffer) => buffer.writeUInt8(value))
  }

  i32(value: number): PeerWriter {
    return this.#number(4, (buffer) => buffer.writeInt32LE(value))
  }

  u32(value: number): PeerWriter {
    return this.#number(4, (buffer) => buffer.writeUInt32LE(value))
  }

  f64(value: number): PeerWriter {
    return this.#number(8, (buffer) => buffer.writeDoubleLE(value))
  }

  text(): PeerWriter {
    throw new Error('raft messages have no text')
  }

  bytes(value: Uint8Array): PeerWriter {
    this.#parts.push(Buffer.from(value))
    return this
  }

  attach(view: Uint8Array, release?: () => void): PeerWriter {
    this.#parts.push(Buffer.from(view))
    if (release !== undefined) this.#releases.push(release)
    return this
  }

  end(): boolean {
    this.#done(Buffer.concat(this.#parts))
    for (const release of this.#releases) release()
    return true
  }

  cancel(): void {
    for (const release of this.#releases) release()
  }
}

/** A partition of the tests: what it was told, and the records it takes to be committed. */
export class Owner implements ReplicaOwner {
  readonly events: string[] = []
  committedOffset = 0
  isLeading = false
  leader: NodeId = NOBODY
  isr: readonly number[] = []
  reconciledCount = 0
  /** Base offsets of the batches that the log took from others, or that replay showed. */
  appendedOffsets: number[] = []
  readonly commands: string[] = []
  /** Stands for the state of the owner. */
  state = ''

  leading(): void {
    this.isLeading = true
    this.events.push('leading')
  }

  following(leader: NodeId): void {
    this.isLeading = false
    this.leader = leader
    this.events.push(`following ${leader}`)
  }

  committed(offset: number): void {
    if (offset < this.committedOffset) throw new Error(`committed ${offset} after ${this.committedOffset}`)
    this.committedOffset = offset
  }

  entry(_index: number, _term: number, _kind: number, payload: Uint8Array): void {
    this.commands.push(Buffer.from(payload).toString())
  }

  appended(bytes: Uint8Array, at: number, baseOffset: number): void {
    if (baseOffsetOf(bytes, at) !== baseOffset) throw new Error('a batch without its offset')
    this.appendedOffsets.push(baseOffset)
  }

  truncated(offset: number): void {
    if (offset < this.committedOffset) throw new Error(`truncated below ${this.committedOffset}`)
    this.events.push(`truncated ${offset}`)
    this.appendedOffsets = this.appendedOffsets.filter((base) => base < offset)
  }

  snapshot(): Uint8Array {
    return Buffer.from(`state ${this.committedOffset}`)
  }

  install(snapshot: Uint8Array, offset: number): void {
    this.state = Buffer.from(snapshot).toString()
    this.events.push(`install ${offset}`)
    this.appendedOffsets = []
  }

  inSyncChanged(brokerIds: readonly number[]): void {
    this.isr = brokerIds
    this.events.push(`isr ${brokerIds}`)
  }

  reconciled(): void {
    this.reconciledCount += 1
  }
}

export class Broker {
  readonly nodeId: number
  readonly raftId: NodeId
  readonly incarnation: number
  readonly disk: SimulatedDisk
  readonly links: FakeLinks
  readonly replication: Replication
  readonly owners = new Map<number, Owner>()
  readonly replicas = new Map<number, Replica>()
  storage!: ShardStorage
  isDead = false
  stalledUntilMs = 0
  acceptsBytes = true
  /** Its disk is short. */
  refusesBatches = false
  /** How often the driver asked to be woken later. */
  timersSet = 0
  readonly #world: World
  #isFlushDue = false

  constructor(
    world: World,
    nodeId: number,
    directoryEpoch: number,
    incarnation: number,
    disk: SimulatedDisk | undefined,
  ) {
    this.#world = world
    this.nodeId = nodeId
    this.raftId = raftIdOf(nodeId, directoryEpoch)
    this.incarnation = incarnation
    this.disk = disk ?? new SimulatedDisk({ seed: nodeId * 1000 + incarnation, directories: ['/data'] })
    this.links = new FakeLinks(world, this)
    const random = new SeededRandom(nodeId * 77 + incarnation + (world.options.seed ?? 1) * 1000)
    this.replication = new Replication({
      nodeId: () => this.raftId,
      clock: this.#clock(),
      random,
      links: this.links,
      shardCount: 1,
      wantsFlush: () => this.#wantsFlush(),
      canAccept: (bytes) => this.acceptsBytes && this.storage.canAccept(bytes),
      refusesBatches: () => this.refusesBatches,
      silenceMs: SILENCE_MS,
      ...world.options.replication,
    })
  }

  #clock(): Clock {
    const world = this.#world
    return {
      nowMs: () => world.nowMs,
      monotonicMs: () => world.nowMs,
      after: (delayMs, call) => {
        this.timersSet += 1
        return this.#after(delayMs, call)
      },
      soon: (call) => world.soon(call),
    }
  }

  #after(delayMs: number, call: () => void): Timer {
    const world = this.#world
    const timer = { inner: undefined as Timer | undefined, cancel: () => timer.inner?.cancel() }
    const run = (): void => {
      if (this.isDead) return
      // A stalled process runs its timers when it comes back.
      if (this.stalledUntilMs > world.nowMs) timer.inner = world.at(this.stalledUntilMs - world.nowMs, run)
      else call()
    }
    timer.inner = world.at(delayMs, run)
    return timer
  }

  #wantsFlush(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#world.soon(() => {
      this.#isFlushDue = false
      if (this.isDead || this.storage === undefined) return
      this.replication.endOfTurn()
      this.storage.flush()
    })
  }

  async open(): Promise<void> {
    this.storage = await ShardStorage.open({
      disk: this.disk,
      nowMs: () => this.#world.nowMs,
      monotonicMs: () => this.#world.nowMs,
      after: (delayMs, call) => this.#after(delayMs, call),
      journalDirectory: '/data/journal',
      arena: Arena.create(this.#world.options.arenaBytes ?? 32 << 20),
      journalFileBytes: 1 << 20,
      onDurable: (groups) => {
        if (!this.isDead) this.replication.onDurable(groups)
      },
      onFailure: () => {
        if (!this.isDead) this.replication.stepDownAll()
      },
      log: () => {},
      chunkBytes: 16 * 1024,
      // By default what a test leaves in the journal stays there.
      idleMs: this.#world.options.idleMs ?? 1e12,
    })
  }

  /** Opens a group, made now unless the disk has it. @param founders raft ids; undefined: unborn */
  add(groupId: number, founders: readonly NodeId[] | undefined, preferred = false): Replica {
    const known = this.storage.get(groupId)
    const snapshot = founders && this.replication.foundingSnapshot(groupId, founders)
    const log =
      known ??
      this.storage.create(groupId, `/data/g${groupId}`, { ...DEFAULT_LOG_CONFIG, segmentBytes: 64 * 1024 }, snapshot)
    const owner = new Owner()
    this.owners.set(groupId, owner)
    const replica = this.replication.add(log, owner, { founders, preferred })
    this.replicas.set(groupId, replica)
    return replica
  }

  /** The group is not to be here any more. */
  close(groupId: number): void {
    if (!this.replicas.delete(groupId)) return
    this.owners.delete(groupId)
    this.replication.remove(groupId)
    this.storage.remove(groupId)
  }

  owner(groupId: number): Owner {
    return this.owners.get(groupId)!
  }

  replica(groupId: number): Replica {
    return this.replicas.get(groupId)!
  }

  log(groupId: number): GroupLog {
    return this.replica(groupId).log
  }

  /** Appends a batch of `count` records. @returns the offset behind it */
  append(groupId: number, count = 1, valueBytes = 10): number {
    const replica = this.replica(groupId)
    const records = Array.from({ length: count }, (_, at) => ({ timestamp: at, value: Buffer.alloc(valueBytes, at) }))
    const batch = encodeBatch({ records })
    const baseOffset = replica.log.logEndOffset
    replica.proposeBatch(batch, offsetSpanOf(batch, 0), baseOffset, -1)
    return baseOffset + count
  }
}

/** All batches of a log up to what is committed, as bytes. */
export async function contentOf(broker: Broker, groupId: number): Promise<Buffer> {
  const log = broker.log(groupId)
  const parts: Buffer[] = []
  for (let offset = log.logStartOffset; offset < log.committedOffset; ) {
    const read = await log.read(offset, 1 << 20, log.committedOffset, true)
    for (const fragment of read.fragments) parts.push(Buffer.from(fragment))
    if (read.nextOffset === offset) throw new Error(`nothing at ${offset}`)
    offset = read.nextOffset
    read.release()
  }
  return Buffer.concat(parts)
}

/** Brokers 1, 2 and 3, all links up. */
export async function threeBrokers(options: WorldOptions = {}): Promise<World> {
  const world = new World(options)
  for (const nodeId of [1, 2, 3]) await world.start(nodeId)
  // Past the time in which a process that has just begun refuses to vote.
  await world.run(800)
  return world
}

/** The broker that serves a group, -1 when there is none. @throws when there are two in one term */
export function leaderOf(world: World, groupId: number): number {
  let found: Broker | undefined
  for (const broker of world.brokers.values()) {
    const replica = broker.replicas.get(groupId)
    if (replica === undefined || !replica.isLeader) continue
    if (found !== undefined && found.replica(groupId).term === replica.term) throw new Error('two leaders in one term')
    // An older one may not know yet.
    if (found === undefined || found.replica(groupId).term < replica.term) found = broker
  }
  return found?.nodeId ?? -1
}
