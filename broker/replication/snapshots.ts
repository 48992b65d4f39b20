// Snapshots for members that are behind the log start, in parts: what the log begins with, the members, and the owner's state.
//
// One per shard, made by driver.ts. Parts of one snapshot go over one link, in order; the link's queue and the catch-up budget say how fast. A
// link that breaks ends them on both sides, and Raft begins again. Body of a part, after the header of raft-codec.ts:
//
//   f64 index, u32 term of that entry, f64 offset behind it, f64 logStartOffset, f64 index of the membership, u32 length, membership,
//   u32 bytes of the whole state, u32 where this part begins, the part: all that is left

import { decodeMembership, encodeMembership, type Membership } from '../raft/membership.ts'
import type { NodeId, SnapshotMessage } from '../raft/types.ts'
import type { LinkInfo } from './link-types.ts'
import { MalformedPeerBytes, type PeerReader, type PeerWriter } from './peer-wire.ts'
import { type RaftHeader, RaftKind, writeHeader } from './raft-codec.ts'
import type { Replica } from './replica.ts'
import { NO_BYTES } from './snapshot-blob.ts'

const PART_BYTES = 128 * 1024
/** A state beyond this is refused: it must fit in memory several times over. */
const STATE_BYTES_MAX = 512 << 20
/** Snapshots that come in at a time; the next ones are refused until there is room, and sent again. */
const ARRIVING_MAX = 256
/** Dropped when nothing came for so long: the leader has begun another one, or is gone. */
const ARRIVING_MS_MAX = 10_000
/** An installed snapshot is acknowledged by then. */
const ANSWER_MS_MAX = 10_000

/** `ref` of a snapshot message that arrived. */
export interface ReceivedState {
  readonly offset: number
  readonly logStartOffset: number
  readonly owner: Uint8Array
}

interface Sending {
  readonly replica: Replica
  readonly to: NodeId
  readonly message: SnapshotMessage
  readonly membership: Uint8Array
  readonly offset: number
  readonly logStartOffset: number
  readonly state: Uint8Array
  sentBytes: number
  /** When the last part left; -1 before. */
  sentMs: number
}

interface Arriving {
  readonly link: LinkInfo
  readonly term: number
  readonly index: number
  readonly totalBytes: number
  readonly parts: Uint8Array[]
  bytes: number
  newestMs: number
}

export interface SnapshotsHost {
  begin(to: NodeId, groupId: number): PeerWriter | undefined
  /** It did not arrive: Raft is to find out where the member is. */
  lost(replica: Replica, to: NodeId): void
  /** Takes bytes out of the catch-up budget. @returns false when there are none now */
  take(bytes: number): boolean
  nowMs(): number
}

export class Snapshots {
  readonly #host: SnapshotsHost
  #sending: Sending[] = []
  readonly #arriving = new Map<number, Arriving>()

  constructor(host: SnapshotsHost) {
    this.#host = host
  }

  get isWaiting(): boolean {
    return this.#sending.length > 0 || this.#arriving.size > 0
  }

  get sendingCount(): number {
    return this.#sending.length
  }

  /** Begins to send what Raft asked for; an earlier one to the same member ends. */
  send(replica: Replica, to: NodeId, asked: SnapshotMessage): void {
    const { log, raft, owner } = replica
    this.#sending = this.#sending.filter((other) => other.replica !== replica || other.to !== to)
    // Group 0 has no segments: its state is sent as of now, so that fewer entries follow. Partitions keep their records. Not Raft's
    // commit index: what was committed a moment ago may not be in the owner's state yet.
    const index = log.isMetadata ? log.commitIndex : asked.index
    const indexTerm = log.isMetadata ? raft.termAt(index)! : asked.indexTerm
    const { index: membershipIndex, membership } = raft.committedMembership
    this.#sending.push({
      replica,
      to,
      message: { ...asked, index, indexTerm, membershipIndex, membership },
      membership: encodeMembership(membership),
      offset: log.offsetAfter(index),
      logStartOffset: log.logStartOffset,
      state: owner.snapshot?.() ?? NO_BYTES,
      sentBytes: 0,
      sentMs: -1,
    })
    this.pump()
  }

  /** Sends on; every tick. */
  pump(): void {
    if (this.#sending.length === 0) return
    // A copy: what is lost is begun anew, which changes the list.
    const ended = new Set(this.#sending.filter((sending) => this.#sendOn(sending)))
    if (ended.size > 0) this.#sending = this.#sending.filter((sending) => !ended.has(sending))
  }

  /** @returns whether it has ended */
  #sendOn(sending: Sending): boolean {
    const { replica, to, message, state } = sending
    const progress = replica.raft.progressOf(to)
    if (replica.isRemoved || replica.raft.term !== message.term || progress?.state !== 'snapshot') return true
    if (sending.sentMs >= 0) {
      // On a living connection nothing but a full memory over there loses it.
      if (this.#host.nowMs() - sending.sentMs < ANSWER_MS_MAX) return false
      this.#host.lost(replica, to)
      return true
    }
    do {
      if (!this.#host.take(Math.min(PART_BYTES, state.length - sending.sentBytes))) return false
      const writer = this.#host.begin(to, replica.groupId)
      if (writer === undefined) return false
      const part = state.subarray(sending.sentBytes, sending.sentBytes + PART_BYTES)
      writeHeader(writer, RaftKind.SNAPSHOT, 0, replica.groupId, replica.raft.id, to, message.term)
      writer.f64(message.index).u32(message.indexTerm).f64(sending.offset).f64(sending.logStartOffset)
      writer.f64(message.membershipIndex).u32(sending.membership.length).bytes(sending.membership)
      writer.u32(state.length).u32(sending.sentBytes)
      if (part.length > 0) writer.attach(part)
      if (!writer.end()) {
        this.#host.lost(replica, to)
        return true
      }
      sending.sentBytes += part.length
    } while (sending.sentBytes < state.length)
    sending.sentMs = this.#host.nowMs()
    return false
  }

  /**
   * Takes a part.
   * @returns the whole snapshot with the last part of it, else undefined
   * @throws MalformedPeerBytes or MalformedFrame
   */
  receive(header: RaftHeader, link: LinkInfo, reader: PeerReader): SnapshotMessage | undefined {
    const { groupId, term } = header
    const index = positive(reader)
    const indexTerm = reader.u32()
    const offset = positive(reader)
    const logStartOffset = positive(reader)
    const membershipIndex = positive(reader)
    const membership: Membership = decodeMembership(reader.bytes(reader.u32()))
    const totalBytes = reader.u32()
    const at = reader.u32()
    const part = reader.rest()
    if (totalBytes > STATE_BYTES_MAX || at + part.length > totalBytes || indexTerm > term) {
      throw new MalformedPeerBytes(`a part of ${part.length} bytes at ${at} of a snapshot of ${totalBytes}`)
    }
    let arriving = this.#arriving.get(groupId)
    if (at === 0) {
      if (arriving === undefined && this.#arriving.size >= ARRIVING_MAX) return undefined
      arriving = { link, term, index, totalBytes, parts: [], bytes: 0, newestMs: 0 }
      this.#arriving.set(groupId, arriving)
    }
    const isNext =
      arriving !== undefined &&
      arriving.link === link &&
      arriving.term === term &&
      arriving.index === index &&
      arriving.totalBytes === totalBytes &&
      arriving.bytes === at
    if (!isNext) return undefined
    arriving!.parts.push(new Uint8Array(part))
    arriving!.bytes += part.length
    arriving!.newestMs = this.#host.nowMs()
    if (arriving!.bytes < totalBytes) return undefined
    this.#arriving.delete(groupId)
    const ref: ReceivedState = { offset, logStartOffset, owner: joined(arriving!.parts, totalBytes) }
    return { type: 'snapshot', term, index, indexTerm, membershipIndex, membership, ref }
  }

  /** A link broke, and with it what came over it. */
  down(link: LinkInfo): void {
    for (const [groupId, arriving] of this.#arriving) {
      const from = arriving.link
      if (from.nodeId === link.nodeId && from.shardId === link.shardId) this.#arriving.delete(groupId)
    }
  }

  tick(): void {
    this.pump()
    if (this.#arriving.size === 0) return
    const nowMs = this.#host.nowMs()
    for (const [groupId, arriving] of this.#arriving) {
      if (nowMs - arriving.newestMs > ARRIVING_MS_MAX) this.#arriving.delete(groupId)
    }
  }
}

function positive(reader: PeerReader): number {
  const value = reader.integer()
  if (value < 0) throw new MalformedPeerBytes(`${value} where nothing below 0 belongs`)
  return value
}

function joined(parts: readonly Uint8Array[], totalBytes: number): Uint8Array {
  if (parts.length === 1) return parts[0]!
  const bytes = new Uint8Array(totalBytes)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
