// The links of a shard to shards of other brokers: what comes in on them goes to the part of the shard that it is for.
//
// Made by shard.ts, touched only from the shard's thread.

import type { Registration } from '../cluster/controller.ts'
import type { BrokerRegistration } from '../cluster/metadata.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { Replication } from '../replication/driver.ts'
import type { LinkInfo, ShardLinks } from '../replication/link-types.ts'
import { Links } from '../replication/links.ts'
import { PeerKind, type PeerReader } from '../replication/peer-wire.ts'
import type { Asks } from './asks.ts'
import type { FrameMemories } from './frame-memory.ts'
import type { Leaders } from './leaders.ts'
import type { MetadataShard } from './metadata-shard.ts'

/** What a broker that has peers knows from its start. */
export interface PeerOptions {
  readonly directoryId: string
  /** A random number of this process life, the same on all shards. */
  readonly incarnation: number
}

/** The parts of the shard; they are asked for when something comes in, which is after all of them are made. */
export interface PeerLinksHost {
  readonly shardId: number
  readonly shardCount: number
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly registration: Registration
  readonly memories: FrameMemories
  clusterId(): string
  wantsFlush(): void
  replication(): Replication
  leaders(): Leaders
  asks(): Asks
  /** On shard 0. */
  metadata(): MetadataShard | undefined
}

/** Body of one message between brokers at most; larger than any batch. */
const PEER_MESSAGE_BYTES_MAX = 64 << 20

export function peerLinks(peer: PeerOptions, host: PeerLinksHost): ShardLinks {
  const links: ShardLinks = new Links({
    nodeId: host.config.nodeId,
    shardId: host.shardId,
    shardCount: host.shardCount,
    ...peer,
    clusterId: () => host.clusterId(),
    ownAddress: () => host.registration.peer ?? undefined,
    environment: host.environment,
    frameBytesMax: PEER_MESSAGE_BYTES_MAX,
    receive: (link, kind, reader) => receive(host, link, kind, reader),
    up: (link) => {
      host.replication().peerUp(link)
      host.leaders().peerUp(link)
      if (link.shardId !== 0) return
      // It may have come back with more shards.
      openLinks(links, host, link)
      host.metadata()?.peerUp(link)
    },
    down: (link) => {
      host.replication().peerDown(link)
      host.asks().peerDown(link)
    },
    silent: (nodeId, shard) => {
      host.replication().peerSilent(nodeId, shard)
      if (shard === 0) host.metadata()?.peerSilent(nodeId)
    },
    heard: () => host.replication().peerHeard(),
    room: (link) => host.replication().peerRoom(link),
    allocateFrame: (bytes) => host.memories.allocate(bytes),
    wantsFlush: () => host.wantsFlush(),
  })
  return links
}

function receive(host: PeerLinksHost, link: LinkInfo, kind: number, reader: PeerReader): void {
  switch (kind) {
    case PeerKind.RAFT:
      return host.replication().receive(link, reader)
    case PeerKind.ASK:
      return host.asks().onPeerAsk(link, reader)
    case PeerKind.ANSWER:
      return host.asks().onPeerAnswer(link, reader)
    case PeerKind.LEADERS:
      return host.leaders().onPeer(link, reader)
    case PeerKind.METADATA_APPLIED:
      return host.metadata()?.onPeerApplied(link, reader)
  }
}

/** To the shards of a broker that may hold a replica of a group of this shard: only who is linked is known to live. */
export function openLinks(
  links: ShardLinks,
  own: { readonly shardId: number; readonly shardCount: number },
  { nodeId, shardCount }: Pick<BrokerRegistration, 'nodeId' | 'shardCount'>,
): void {
  const step = greatestCommonDivisor(shardCount, own.shardCount)
  for (let shard = own.shardId % step; shard < shardCount; shard += step) links.open(nodeId, shard)
}

function greatestCommonDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestCommonDivisor(other, one % other)
}
