// How two shards introduce themselves: HELLO from the one that dialed, WELCOME or REFUSAL from the other.
//
// These three travel in frames like everything else and never change their beginning, whatever version the two agree on: a reader
// takes the fields that it knows and leaves what follows them.

import type { LinkInfo } from './link-types.ts'
import { MalformedPeerBytes, type PeerReader, type PeerWriter } from './peer-wire.ts'

/** Opens a hello: a Kafka client or a browser on the peer port is told from a broker. */
const MAGIC = 0x4d69_6c6c

export const VERSION_MIN = 1
export const VERSION_MAX = 1

/** A hello with every name at its longest. */
export const HANDSHAKE_BYTES_MAX = 4096
const TEXT_BYTES_MAX = 512

/** The links' own messages. */
export const LinkKind = {
  HELLO: 240,
  WELCOME: 241,
  REFUSAL: 242,
  /** Both directions stand here; body: number of the other side's connection. */
  READY: 243,
  /** Body: number of the ping; the pong repeats it. */
  PING: 244,
  PONG: 245,
  PROBE_ANSWER: 246,
  PROBE_FAILED: 247,
} as const

export const Purpose = { LINK: 0, PROBE: 1 } as const

/** Why a hello is turned away. */
export const RefusalCode = {
  /** No version that both speak. */
  VERSION: 1,
  OTHER_CLUSTER: 2,
  /** The connection came to another shard than the wanted one. */
  WRONG_SHARD: 3,
  /** No shard of that number here. */
  NO_SUCH_SHARD: 4,
  /** The address belongs to another broker now. */
  WRONG_NODE: 5,
  /** The id is the one of another, living broker. */
  NODE_ID_IN_USE: 6,
  /** This very broker dialed itself. */
  SELF: 7,
  /** One of both belongs to no cluster yet. */
  UNDECIDED: 8,
  /** Stopping, or too many strangers at once. */
  BUSY: 9,
} as const

const REFUSAL_NAMES = new Map<number, string>(Object.entries(RefusalCode).map(([name, code]) => [code, name]))

export function refusalName(code: number): string {
  return REFUSAL_NAMES.get(code) ?? `refusal ${code}`
}

/** Who somebody is. */
export interface Introduction extends LinkInfo {
  /** Longest body of a message that it takes. */
  readonly messageBytesMax: number
}

export interface Hello extends Introduction {
  readonly versionMin: number
  readonly versionMax: number
  readonly purpose: number
  /** -1: whoever is there. */
  readonly wantedNode: number
  readonly wantedShard: number
  /** Counts the connections that the dialing shard has asked for: tells an older one from a newer one. */
  readonly connectionNumber: number
}

export interface Welcome extends Introduction {
  readonly version: number
}

export interface Refusal {
  readonly code: number
  readonly nodeId: number
  readonly shardId: number
  readonly shardCount: number
  readonly clusterId: string
  readonly directoryId: string
  readonly reason: string
}

function writeIntroduction(writer: PeerWriter, who: Introduction): void {
  writer
    .i32(who.nodeId)
    .i32(who.shardId)
    .i32(who.shardCount)
    .text(who.clusterId)
    .text(who.directoryId)
    .f64(who.incarnation)
    .text(who.address.host)
    .i32(who.address.port)
    .u32(who.messageBytesMax)
}

function readIntroduction(reader: PeerReader): Introduction {
  const who = {
    nodeId: reader.i32(),
    shardId: reader.i32(),
    shardCount: reader.i32(),
    clusterId: shortText(reader),
    directoryId: shortText(reader),
    incarnation: reader.f64(),
    address: { host: shortText(reader), port: reader.i32() },
    messageBytesMax: reader.u32(),
  }
  const isSound =
    who.nodeId >= 0 &&
    who.shardCount >= 1 &&
    who.shardCount <= 1024 &&
    who.shardId >= 0 &&
    who.shardId < who.shardCount &&
    Number.isFinite(who.incarnation) &&
    who.address.port >= 0 &&
    who.address.port <= 0xffff
  if (!isSound) throw new MalformedPeerBytes('an introduction that makes no sense')
  return who
}

function shortText(reader: PeerReader): string {
  const text = reader.text() ?? ''
  if (text.length > TEXT_BYTES_MAX) throw new MalformedPeerBytes(`a name of ${text.length} characters`)
  return text
}

export function writeHello(writer: PeerWriter, hello: Hello): void {
  writer
    .u32(MAGIC)
    .u8(hello.versionMin)
    .u8(hello.versionMax)
    .u8(hello.purpose)
    .i32(hello.wantedNode)
    .i32(hello.wantedShard)
    .u32(hello.connectionNumber)
  writeIntroduction(writer, hello)
}

export function readHello(reader: PeerReader): Hello {
  if (reader.u32() !== MAGIC) throw new MalformedPeerBytes('a hello without the magic number')
  const ask = {
    versionMin: reader.u8(),
    versionMax: reader.u8(),
    purpose: reader.u8(),
    wantedNode: reader.i32(),
    wantedShard: reader.i32(),
    connectionNumber: reader.u32(),
  }
  if (ask.versionMin > ask.versionMax || ask.purpose > Purpose.PROBE || ask.wantedShard < 0) {
    throw new MalformedPeerBytes('a hello that makes no sense')
  }
  return { ...ask, ...readIntroduction(reader) }
}

export function writeWelcome(writer: PeerWriter, welcome: Welcome): void {
  writer.u32(MAGIC).u8(welcome.version)
  writeIntroduction(writer, welcome)
}

export function readWelcome(reader: PeerReader): Welcome {
  if (reader.u32() !== MAGIC) throw new MalformedPeerBytes('a welcome without the magic number')
  const version = reader.u8()
  if (version < VERSION_MIN || version > VERSION_MAX) throw new MalformedPeerBytes(`a welcome in version ${version}`)
  return { version, ...readIntroduction(reader) }
}

export function writeRefusal(writer: PeerWriter, refusal: Refusal): void {
  writer
    .u32(MAGIC)
    .u8(refusal.code)
    .i32(refusal.nodeId)
    .i32(refusal.shardId)
    .i32(refusal.shardCount)
    .text(refusal.clusterId)
    .text(refusal.directoryId)
    .text(refusal.reason)
}

export function readRefusal(reader: PeerReader): Refusal {
  if (reader.u32() !== MAGIC) throw new MalformedPeerBytes('a refusal without the magic number')
  return {
    code: reader.u8(),
    nodeId: reader.i32(),
    shardId: reader.i32(),
    shardCount: reader.i32(),
    clusterId: shortText(reader),
    directoryId: shortText(reader),
    reason: shortText(reader),
  }
}

/** The version that both speak, undefined when there is none. */
export function commonVersion(hello: Hello): number | undefined {
  const version = Math.min(hello.versionMax, VERSION_MAX)
  return version >= Math.max(hello.versionMin, VERSION_MIN) ? version : undefined
}
