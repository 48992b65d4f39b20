// What a shard's links look like from outside: who is at the other end, what is called when, and what can be asked for.
//
// links.ts keeps these promises; the driver, the lifecycle code and their tests are written against this file. Everything runs on
// the shard's thread.

import type { Environment } from '../environment.ts'
import type { FrameMemory } from '../net/connection.ts'
import type { StreamSocket } from '../net/stream-socket.ts'
import type { PeerReader, PeerWriter } from './peer-wire.ts'

export interface PeerAddress {
  readonly host: string
  readonly port: number
}

/** One shard of another broker, as it introduced itself. A new object for each time the link comes up. */
export interface LinkInfo {
  readonly nodeId: number
  readonly shardId: number
  readonly shardCount: number
  /** '' while that broker belongs to no cluster, which only probes meet. */
  readonly clusterId: string
  readonly directoryId: string
  readonly incarnation: number
  /** Its own word for where its peer listener is; port 0 when it does not say. */
  readonly address: PeerAddress
}

/** Somebody who should not be here, for a line that an operator understands. */
export interface ForeignPeer {
  /** 'cluster': it belongs to another cluster. 'node-id': it claims the id of this broker, or of one that is alive. */
  readonly reason: 'cluster' | 'node-id'
  readonly nodeId: number
  readonly clusterId: string
  readonly directoryId: string
  /** Where it knocked from, or where we found it. */
  readonly host: string
}

export interface LinksOptions {
  readonly nodeId: number
  readonly shardId: number
  readonly shardCount: number
  readonly directoryId: string
  /** A random number of this process life, the same on all shards; exact as a double. */
  readonly incarnation: number
  /** '' while unknown: probes are possible then, links are not. */
  clusterId(): string
  ownAddress(): PeerAddress | undefined
  readonly environment: Environment
  /** Bytes of one message's body at most, the same order of magnitude on all brokers: the smaller one of both sides counts. */
  readonly frameBytesMax: number
  /** Default 100. */
  readonly pingMs?: number
  /** Default 750. The same on all brokers: leases count on it. */
  readonly silenceMs?: number
  /** Bytes that may wait for one link's socket before begin() refuses; default 8 MiB. */
  readonly queueBytesMax?: number
  /**
   * A message, in the order of sending; the bytes are valid during the call. Called between up() and down() of its link only. When it throws
   * what makes no sense (isNonsense(): MalformedPeerBytes and its like), the connection is cut; any other error passes through.
   */
  receive(link: LinkInfo, kind: number, reader: PeerReader): void
  /**
   * Both directions stand, and the other side has seen the same. Whatever was sent before and not answered is to be taken as lost;
   * what is sent from now on arrives, in order, after up() over there, until down().
   */
  up(link: LinkInfo): void
  /** A connection broke: what was sent may be lost. A new up() comes when the link stands again. */
  down(link: LinkInfo): void
  /**
   * Nothing came from that shard for silenceMs of our running time, or its process was replaced by another. The promise not to vote
   * against leaders there is over. Comes after down().
   */
  silent(nodeId: number, shard: number): void
  /** The first sign of life ever, or since silent(). Comes before up(). */
  heard(nodeId: number, shard: number): void
  /** begin() refused because of a full queue, and there is room again. */
  room?(link: LinkInfo): void
  foreign?(peer: ForeignPeer): void
  /** Memory for a frame that spans reads. Without any the heap serves: one frame per connection, so it is bounded. */
  allocateFrame?(bytes: number): FrameMemory | undefined
  /** Something waits for flush(), which the shard calls at the end of this loop turn. Absent: the links see to it themselves. */
  wantsFlush?(): void
}

/** What the parts that send use; a test may put something else in its place. */
export interface PeerLinks {
  /** How many shards that broker has; undefined before it was reached. */
  shardCountOf(nodeId: number): number | undefined
  /** Whether that shard (without one: any shard of the broker that we are linked with) was heard within silenceMs. */
  isAlive(nodeId: number, shard?: number): boolean
  isUp(nodeId: number, shard: number): boolean
  linkInfo(nodeId: number, shard: number): LinkInfo | undefined
  /** Keeps a link to that shard from now on. Shard 0 of every peer is linked anyway, and begin() opens what is missing. */
  open(nodeId: number, shard: number): void
  /**
   * Starts a message; finish it with end() before the next one to the same shard.
   * @returns undefined when the link is not up (wait for up()) or has too much in its queue (wait for room())
   */
  begin(nodeId: number, shard: number, kind: number): PeerWriter | undefined
  /** The end of a loop turn: what was gathered for each link leaves as one frame. */
  flush(): void
  /** Monotonic time until which that shard keeps its promise to us; -Infinity without one. */
  leaseUntilMs(nodeId: number, shard: number): number
  /**
   * Changes whenever that shard may have left one of our groups, and never comes back to an earlier value. Inside receive() it is the
   * number of the frame that holds the message.
   */
  defections(nodeId: number, shard: number): number
  /** We stop following leaders of that shard (of all shards, without one) in some group. Before any vote that breaks the promise. */
  defect(nodeId: number, shard?: number): void
}

export type ProbeErrorCode = 'TIMEOUT' | 'REFUSED' | 'CLOSED' | 'MALFORMED' | (string & {})

/** Why a probe() came to nothing: a code of the system (ECONNREFUSED, ENOTFOUND ...) or one of ours. */
export class ProbeError extends Error {
  readonly code: ProbeErrorCode
  /** With REFUSED: the name in RefusalCode, 'OTHER_CLUSTER' and the like. */
  readonly refusal: string | undefined

  constructor(code: ProbeErrorCode, message: string, refusal?: string) {
    super(message)
    this.name = 'ProbeError'
    this.code = code
    this.refusal = refusal
  }
}

export interface ProbeOptions {
  /** Which shard answers; default 0. */
  readonly shard?: number
  /** For everything together; default 2000. */
  readonly timeoutMs?: number
}

export interface ProbeAnswer {
  readonly info: LinkInfo
  /** The handler's bytes, a copy of the caller's own. */
  readonly reply: PeerReader
}

export type ProbeHandler = (info: LinkInfo, reader: PeerReader) => Uint8Array | Promise<Uint8Array>

export interface LinkStats {
  readonly nodeId: number
  readonly shardId: number
  readonly isUp: boolean
  readonly isAlive: boolean
  readonly sentBytes: number
  readonly sentFrames: number
  readonly receivedBytes: number
  readonly receivedFrames: number
  /** Not taken by the socket yet. */
  readonly queuedBytes: number
  /** Of the newest ping; NaN before the first. The answer may have waited over there for a frame to leave with, an interval of pings at most. */
  readonly rttMs: number
  readonly connects: number
}

/** All that links.ts offers to the shard that owns it. */
export interface ShardLinks extends PeerLinks {
  /**
   * The brokers that metadata knows, this one left out or not. Links to those that are not listed any more go down and fall silent in their
   * time; a broker that is not listed and dials us is linked all the same, since its metadata may be newer than ours.
   */
  setPeers(peers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[]): void
  /** One question to an address of which nothing is known yet. @throws ProbeError */
  probe(host: string, port: number, kind: number, body: Uint8Array, options?: ProbeOptions): Promise<ProbeAnswer>
  onProbe(kind: number, handler: ProbeHandler): void
  /** A connection that the peer listener took. */
  accept(socket: StreamSocket): void
  stats(): LinkStats[]
  close(): void
}
