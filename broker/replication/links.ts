// All connections of one shard to shards of other brokers: who is linked with whom, who knocks, who has fallen silent.
//
// One per shard, touched only from its thread. The parts: link.ts (one shard of another broker: pairing, pings), link-peer.ts (one
// broker: process, address), link-dial.ts and link-handshake.ts (introductions), link-connection.ts and frame.ts (bytes),
// link-lease.ts (what a pong is worth), link-probe.ts (questions to strangers).
//
// Rounds. A shard pings all its links at the same time. When a ping comes in and our own round is due within half an interval, it is
// held at once: ours leave with the answers, and after a few intervals all shards of the cluster, whoever is first, have
// their rounds together. An idle pair of shards then costs one frame in each direction per interval, and a shard few wakes.
//
// Silence is judged in running time. A round that comes late says that our own loop stood still, and what the others sent meanwhile
// lies unread in the sockets: so it adds half an interval more than was intended at most, and whoever then seems to have been silent
// for too long is judged only after the loop has read what there was to read (Clock.soon() runs behind the sockets' turn).

import { invariant } from '../../protocol/invariant.ts'
import type { Timer } from '../environment.ts'
import type { StreamSocket } from '../net/stream-socket.ts'
import type { Link } from './link.ts'
import { PeerConnection } from './link-connection.ts'
import { LinkContext } from './link-context.ts'
import {
  commonVersion,
  type Hello,
  LinkKind,
  Purpose,
  RefusalCode,
  readHello,
  VERSION_MAX,
  VERSION_MIN,
  writeRefusal,
  writeWelcome,
} from './link-handshake.ts'
import { Peer } from './link-peer.ts'
import { ProbeDesk, Prober } from './link-probe.ts'
import type {
  LinkInfo,
  LinkStats,
  LinksOptions,
  PeerAddress,
  ProbeAnswer,
  ProbeHandler,
  ProbeOptions,
  ShardLinks,
} from './link-types.ts'
import { MalformedPeerBytes, type PeerReader, type PeerWriter } from './peer-wire.ts'

export { CLOCK_DRIFT_MAX } from './link-lease.ts'
export type {
  ForeignPeer,
  LinkInfo,
  LinkStats,
  LinksOptions,
  PeerAddress,
  PeerLinks,
  ShardLinks,
} from './link-types.ts'
export { ProbeError } from './link-types.ts'

/** Whoever connects says hello within this time. */
const HELLO_MS_MAX = 5000
/** Connections that have not been welcomed yet, and probes. */
const STRANGERS_MAX = 128

interface RefusedHello {
  readonly code: number
  readonly reason: string
}

export class Links implements ShardLinks {
  readonly #options: LinksOptions
  readonly #context: LinkContext
  readonly #peers = new Map<number, Peer>()
  readonly #strangers = new Map<PeerConnection, Timer>()
  readonly #prober: Prober
  readonly #desk: ProbeDesk
  /** The next round; undefined while there is nobody to ping. */
  #timer: Timer | undefined
  #roundMs = 0
  /** From the last round to the next. */
  #delayMs = 0
  #defections = 0
  #isClosed = false

  constructor(options: LinksOptions) {
    this.#options = options
    const context = new LinkContext(options)
    this.#context = context
    invariant(
      context.silenceMs >= 3 * context.pingMs,
      'several pings fit in a silence',
      context.pingMs,
      context.silenceMs,
    )
    this.#prober = new Prober(context)
    this.#desk = new ProbeDesk(context)
    context.pinged = () => this.#pinged()
  }

  setPeers(peers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[]): void {
    const listed = new Set<number>()
    for (const { nodeId, host, port } of peers) {
      if (nodeId === this.#options.nodeId) continue
      listed.add(nodeId)
      const peer = this.#peer(nodeId)
      peer.isListed = true
      peer.listedAddress = { host, port }
      peer.link(0)?.maintain()
    }
    for (const peer of this.#peers.values()) if (peer.isListed && !listed.has(peer.nodeId)) peer.unlist()
  }

  shardCountOf(nodeId: number): number | undefined {
    return this.#peers.get(nodeId)?.shardCount
  }

  isAlive(nodeId: number, shard?: number): boolean {
    const peer = this.#peers.get(nodeId)
    if (peer === undefined) return false
    return shard === undefined ? peer.isAlive : peer.links.get(shard)?.isAlive === true
  }

  isUp(nodeId: number, shard: number): boolean {
    return this.linkInfo(nodeId, shard) !== undefined
  }

  linkInfo(nodeId: number, shard: number): LinkInfo | undefined {
    return this.#link(nodeId, shard)?.info
  }

  open(nodeId: number, shard: number): void {
    const peer = this.#peers.get(nodeId)
    if (peer === undefined || peer.links.has(shard)) return
    peer.link(shard)?.maintain()
  }

  begin(nodeId: number, shard: number, kind: number): PeerWriter | undefined {
    const link = this.#link(nodeId, shard)
    if (link !== undefined) return link.begin(kind)
    this.open(nodeId, shard)
    return undefined
  }

  flush(): void {
    this.#context.flush()
  }

  leaseUntilMs(nodeId: number, shard: number): number {
    return this.#link(nodeId, shard)?.lease.untilMs ?? Number.NEGATIVE_INFINITY
  }

  defections(nodeId: number, shard: number): number {
    return this.#link(nodeId, shard)?.defections ?? 0
  }

  defect(nodeId: number, shard?: number): void {
    const peer = this.#peers.get(nodeId)
    if (peer === undefined) return
    if (shard !== undefined) {
      peer.links.get(shard)?.defect(this.#nextDefections)
      return
    }
    for (const link of peer.links.values()) link.defect(this.#nextDefections)
  }

  probe(host: string, port: number, kind: number, body: Uint8Array, options: ProbeOptions = {}): Promise<ProbeAnswer> {
    return this.#prober.ask(host, port, kind, body, options)
  }

  onProbe(kind: number, handler: ProbeHandler): void {
    this.#desk.on(kind, handler)
  }

  accept(socket: StreamSocket): void {
    if (this.#isClosed || this.#strangers.size + this.#desk.count >= STRANGERS_MAX) {
      socket.destroy()
      return
    }
    const connection = new PeerConnection(socket, this.#context, {
      message: (kind, reader) => this.#hello(connection, kind, reader),
      ended: (error) => {
        this.#isStrangeNoMore(connection)
        if (error instanceof MalformedPeerBytes) this.#cutOff(connection, error.message)
      },
    })
    const timer = this.#context.clock.after(HELLO_MS_MAX, () => {
      this.#isStrangeNoMore(connection)
      connection.destroy()
      this.#cutOff(connection, `no hello within ${HELLO_MS_MAX} ms`)
    })
    this.#strangers.set(connection, timer)
    connection.open()
  }

  stats(): LinkStats[] {
    return [...this.#peers.values()].flatMap((peer) => [...peer.links.values()].map((link) => link.stats()))
  }

  /** Ends everything without a word to anybody. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#timer?.cancel()
    this.#prober.close()
    this.#desk.close()
    for (const [connection, timer] of this.#strangers) {
      timer.cancel()
      connection.destroy()
    }
    this.#strangers.clear()
    for (const peer of this.#peers.values()) peer.close()
    this.#peers.clear()
  }

  #link(nodeId: number, shard: number): Link | undefined {
    return this.#peers.get(nodeId)?.links.get(shard)
  }

  #peer(nodeId: number): Peer {
    let peer = this.#peers.get(nodeId)
    if (peer === undefined) {
      peer = new Peer(this.#context, nodeId, this.#nextDefections)
      this.#peers.set(nodeId, peer)
      if (this.#timer === undefined) this.#schedule(this.#context.clock.monotonicMs(), this.#context.pingMs)
    }
    return peer
  }

  readonly #nextDefections = (): number => {
    this.#defections = (this.#defections + 1) >>> 0
    return this.#defections
  }

  // Time

  #schedule(nowMs: number, delayMs: number): void {
    this.#timer?.cancel()
    this.#roundMs = nowMs
    this.#delayMs = delayMs
    this.#timer = this.#context.clock.after(delayMs, this.#onTimer)
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    this.#context.round(this.#round)
  }

  #pinged(): void {
    if (this.#context.clock.monotonicMs() - this.#roundMs >= this.#context.pingMs / 2) this.#context.round(this.#round)
  }

  readonly #round = (): void => {
    const { clock, pingMs } = this.#context
    const nowMs = clock.monotonicMs()
    const runningMs = Math.min(nowMs - this.#roundMs, this.#delayMs + pingMs / 2)
    let silent: Link[] | undefined
    let delayMs = pingMs
    for (const peer of this.#peers.values()) {
      let isKept = peer.isListed
      for (const link of peer.links.values()) {
        const leftMs = link.passed(runningMs, nowMs)
        if (leftMs === 0) {
          silent ??= []
          silent.push(link)
        } else if (leftMs < delayMs) {
          delayMs = Math.ceil(leftMs)
        }
        link.ping()
        link.maintain()
        isKept ||= link.hasConnection || link.isAlive
      }
      if (isKept) continue
      this.#peers.delete(peer.nodeId)
      peer.remove()
    }
    if (this.#peers.size > 0) this.#schedule(nowMs, delayMs)
    if (silent === undefined) return
    const judged = silent
    clock.soon(() => {
      for (const link of judged) if (!this.#isClosed) link.confirmSilence()
    })
  }

  // Whoever knocks

  #hello(connection: PeerConnection, kind: number, reader: PeerReader): void {
    if (kind !== LinkKind.HELLO) throw new MalformedPeerBytes(`a message of kind ${kind} before the hello`)
    const hello = readHello(reader)
    this.#isStrangeNoMore(connection)
    const version = commonVersion(hello)
    const refused = version === undefined ? this.#noVersion(hello) : this.#judge(hello, connection.host)
    if (refused !== undefined || version === undefined) {
      this.#refuse(connection, refused ?? this.#noVersion(hello))
      return
    }
    connection.establish(this.#options.frameBytesMax, hello.messageBytesMax)
    const link = hello.purpose === Purpose.LINK ? this.#peer(hello.nodeId).link(hello.shardId) : undefined
    if (link === undefined) this.#desk.serve(connection, hello)
    else if (!link.accept(connection, hello)) {
      connection.destroy()
      return
    }
    if (!connection.isOpen) return
    const writer = connection.begin(LinkKind.WELCOME)
    writeWelcome(writer, { ...this.#context.introduction(), version })
    writer.end()
    connection.flush()
    link?.accepted()
  }

  /** Why this hello is turned away; undefined when it is welcome. */
  #judge(hello: Hello, host: string): RefusedHello | undefined {
    const { nodeId, shardId, shardCount, incarnation } = this.#options
    const isOwnId = hello.nodeId === nodeId
    if (isOwnId && hello.incarnation === incarnation) return { code: RefusalCode.SELF, reason: 'this is you' }
    if (hello.wantedNode >= 0 && hello.wantedNode !== nodeId) {
      return { code: RefusalCode.WRONG_NODE, reason: `this is broker ${nodeId}, not ${hello.wantedNode}` }
    }
    if (hello.wantedShard >= shardCount) {
      return { code: RefusalCode.NO_SUCH_SHARD, reason: `there are ${shardCount} shards` }
    }
    if (hello.wantedShard !== shardId) return { code: RefusalCode.WRONG_SHARD, reason: `this is shard ${shardId}` }
    const clusterId = this.#options.clusterId()
    const areBothDecided = clusterId !== '' && hello.clusterId !== ''
    if (areBothDecided && clusterId !== hello.clusterId) {
      this.#options.foreign?.({ ...foreignOf(hello, host), reason: 'cluster' })
      this.#cutOffHost(
        host,
        `broker ${hello.nodeId} belongs to the cluster ${hello.clusterId}, and this is ${clusterId}`,
      )
      return { code: RefusalCode.OTHER_CLUSTER, reason: `this is the cluster ${clusterId}` }
    }
    if (isOwnId) {
      this.#options.foreign?.({ ...foreignOf(hello, host), reason: 'node-id' })
      this.#cutOffHost(host, `it has the node.id of this broker, ${nodeId}`)
      return { code: RefusalCode.NODE_ID_IN_USE, reason: `the node.id ${nodeId} is the one of this broker` }
    }
    if (hello.purpose === Purpose.PROBE) return undefined
    if (!areBothDecided) return { code: RefusalCode.UNDECIDED, reason: 'one of us belongs to no cluster yet' }
    if (this.#peer(hello.nodeId).met(hello, host, false)) return undefined
    return { code: RefusalCode.NODE_ID_IN_USE, reason: `the node.id ${hello.nodeId} is in use by another process` }
  }

  #noVersion(hello: Hello): RefusedHello {
    const reason = `versions ${VERSION_MIN} to ${VERSION_MAX} here, ${hello.versionMin} to ${hello.versionMax} there`
    return { code: RefusalCode.VERSION, reason }
  }

  #refuse(connection: PeerConnection, { code, reason }: RefusedHello): void {
    const { nodeId, shardId, shardCount, directoryId } = this.#options
    // What its sender may still say does not matter any more.
    connection.listener = { message: () => {}, ended: () => {} }
    const writer = connection.begin(LinkKind.REFUSAL)
    writeRefusal(writer, {
      code,
      nodeId,
      shardId,
      shardCount,
      clusterId: this.#options.clusterId(),
      directoryId,
      reason,
    })
    writer.end()
    connection.flushAndClose()
  }

  #isStrangeNoMore(connection: PeerConnection): void {
    this.#strangers.get(connection)?.cancel()
    this.#strangers.delete(connection)
  }

  #cutOff(connection: PeerConnection, reason: string): void {
    this.#cutOffHost(connection.host, reason)
  }

  #cutOffHost(host: string, reason: string): void {
    this.#context.complain(`host ${host}`, `a connection from ${host} to the peer port is cut off: ${reason}`)
  }
}

function foreignOf(
  hello: Hello,
  host: string,
): { nodeId: number; clusterId: string; directoryId: string; host: PeerAddress['host'] } {
  return { nodeId: hello.nodeId, clusterId: hello.clusterId, directoryId: hello.directoryId, host }
}
