// What the parts of a shard's links share: settings with their defaults, the way to the outside world, one log line per peer and minute.

import type { Clock, Environment, Network, Random } from '../environment.ts'
import type { FrameMemory } from '../net/connection.ts'
import { ChunkPool } from './frame.ts'
import type { ConnectionContext, PeerConnection } from './link-connection.ts'
import type { Introduction } from './link-handshake.ts'
import type { LinkInfo, LinksOptions } from './link-types.ts'

/** The same complaint about the same peer is logged once in so long. */
const COMPLAINT_MS = 60_000
const COMPLAINTS_MAX = 1000

export class LinkContext implements ConnectionContext {
  readonly options: LinksOptions
  readonly clock: Clock
  readonly random: Random
  readonly network: Network
  readonly pingMs: number
  readonly silenceMs: number
  readonly queueBytesMax: number
  readonly chunks = new ChunkPool()
  readonly allocateFrame: ((bytes: number) => FrameMemory | undefined) | undefined
  /** A ping came: ours may leave with its answer. Set by links.ts. */
  pinged: () => void = () => {}
  readonly #environment: Environment
  readonly #complainedMs = new Map<string, number>()
  #dirty: PeerConnection[] = []
  #isFlushDue = false
  #isRound = false
  #connectionNumber = 0
  #tag = 0

  constructor(options: LinksOptions) {
    this.options = options
    this.#environment = options.environment
    this.clock = options.environment.clock
    this.random = options.environment.random
    this.network = options.environment.network
    this.pingMs = options.pingMs ?? 100
    this.silenceMs = options.silenceMs ?? 750
    this.queueBytesMax = options.queueBytesMax ?? 8 << 20
    const { allocateFrame } = options
    this.allocateFrame = allocateFrame === undefined ? undefined : (bytes) => options.allocateFrame?.(bytes)
  }

  /** The next connection that this shard dials. */
  connectionNumber(): number {
    return ++this.#connectionNumber
  }

  /** A number that stood for no peer's state yet. */
  tag(): number {
    return ++this.#tag
  }

  introduction(): Introduction {
    const { options } = this
    return {
      nodeId: options.nodeId,
      shardId: options.shardId,
      shardCount: options.shardCount,
      clusterId: options.clusterId(),
      directoryId: options.directoryId,
      incarnation: options.incarnation,
      address: options.ownAddress() ?? { host: '', port: 0 },
      messageBytesMax: options.frameBytesMax,
    }
  }

  dirty(connection: PeerConnection): void {
    this.#dirty.push(connection)
    if (this.#isFlushDue || this.#isRound) return
    this.#isFlushDue = true
    const { wantsFlush } = this.options
    if (wantsFlush === undefined) this.clock.soon(() => this.flush())
    else this.options.wantsFlush?.()
  }

  /** What is written during the call leaves at its end: a round of pings needs no turn's end of the shard. */
  round(write: () => void): void {
    this.#isRound = true
    write()
    this.#isRound = false
    this.flush()
  }

  /** Sends what was gathered, in the order in which the connections were first written to. */
  flush(): void {
    this.#isFlushDue = false
    if (this.#dirty.length === 0) return
    const connections = this.#dirty
    this.#dirty = []
    for (const connection of connections) connection.flush()
  }

  /** @param about whom: one line for each in a minute */
  complain(about: string, message: string): void {
    const nowMs = this.clock.monotonicMs()
    const lastMs = this.#complainedMs.get(about)
    if (lastMs !== undefined && nowMs - lastMs < COMPLAINT_MS) return
    // Whoever knocks from many addresses does not fill the memory with them.
    if (this.#complainedMs.size >= COMPLAINTS_MAX) this.#complainedMs.clear()
    this.#complainedMs.set(about, nowMs)
    this.#environment.logger.warn(message)
  }

  debug(message: string): void {
    this.#environment.logger.debug(message)
  }
}

export function infoOf(who: Introduction): LinkInfo {
  const { nodeId, shardId, shardCount, clusterId, directoryId, incarnation, address } = who
  return { nodeId, shardId, shardCount, clusterId, directoryId, incarnation, address }
}
