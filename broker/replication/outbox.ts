// What a group's Raft says to its peers, put into frames; and what to do when a message cannot leave.
//
// One per shard, made by driver.ts. Entries travel as views over the journal's memory. A leader's message that no link took is not kept:
// Raft is told that the member is out of reach, and asked again when there is room, as after a break. What others say (votes, answers)
// is lost, and whoever misses it asks again.

import { invariant } from '../../protocol/invariant.ts'
import { brokerOf } from '../cluster/raft-id.ts'
import type { Entry, Envelope, Message, NodeId, SnapshotMessage } from '../raft/types.ts'
import type { LinkInfo, PeerLinks } from './link-types.ts'
import { type LoadedEntries, payloadsOf } from './payloads.ts'
import { PeerKind } from './peer-wire.ts'
import type { Peers } from './peers.ts'
import { NO_PAYLOADS, type Payloads, RaftKind, REFUSES, writeHeader, writeMessage } from './raft-codec.ts'
import type { Replica } from './replica.ts'

export interface OutboxOptions {
  readonly peers: Peers
  readonly links: PeerLinks | undefined
  sendSnapshot(replica: Replica, to: NodeId, message: SnapshotMessage): void
  changed(replica: Replica): void
  /** This shard takes no batches now. */
  refusesBatches?(): boolean
}

interface Refused {
  readonly link: LinkInfo
  /** Led groups, and the member that waits. */
  readonly replicas: Map<Replica, NodeId>
}

export class Outbox {
  messagesSent = 0
  /** What catch-up.ts has just read, while Raft makes messages of it. */
  loaded: LoadedEntries | undefined = undefined
  readonly #options: OutboxOptions
  /** By link. */
  readonly #refused = new Map<string, Refused>()

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  sendAll(replica: Replica, envelopes: readonly Envelope[]): void {
    let payloads: Payloads | undefined
    let shared: readonly Entry[] | undefined
    for (const { to, message } of envelopes) {
      if (message.type !== 'append' || message.entries.length === 0) {
        this.send(replica, to, message, NO_PAYLOADS)
        continue
      }
      const { entries } = message
      // Or the first ones of them.
      if (this.loaded !== undefined && entries[0] === this.loaded.entries[0]) {
        this.send(replica, to, message, this.loaded.payloads)
        continue
      }
      // The same entries go to several members nearly always.
      if (shared === undefined || !areSame(shared, entries)) {
        payloads?.release()
        payloads = payloadsOf(replica.log, entries)
        shared = entries
      }
      this.send(replica, to, message, payloads!)
    }
    payloads?.release()
  }

  send(replica: Replica, to: NodeId, message: Message, payloads: Payloads): void {
    if (message.type === 'snapshot') {
      this.#options.sendSnapshot(replica, to, message)
      return
    }
    const { raft, log, groupId } = replica
    const writer = this.#options.peers.begin(to, groupId)
    if (writer !== undefined) {
      this.messagesSent += 1
      const refuses = this.#options.refusesBatches?.()
      const withoutRecords = message.type === 'append' && raft.isWitness(to)
      // What a witness holds would be taken for the real thing.
      if (withoutRecords) invariant(!raft.isWitness(raft.id), 'a witness sends no entries', groupId)
      writeMessage(writer, groupId, raft.id, to, message, payloads, refuses, log.logStartOffset, withoutRecords)
      if (writer.end()) return
    }
    if (raft.isLeader) this.again(replica, to)
  }

  /** A member has lost, or could not take, what it was sent: Raft asks it where it is, but not at once. */
  again(replica: Replica, to: NodeId): void {
    replica.raft.unreachable(to)
    const { links, peers } = this.#options
    const nodeId = brokerOf(to)
    const shard = peers.shardAt(nodeId, replica.groupId)
    const link = shard === undefined ? undefined : links!.linkInfo(nodeId, shard)
    // Without a link peerUp() comes, and asks for all of them.
    if (link === undefined || !links!.isUp(nodeId, shard!)) return
    const key = keyOf(link)
    let refused = this.#refused.get(key)
    if (refused === undefined) {
      refused = { link, replicas: new Map() }
      this.#refused.set(key, refused)
    }
    refused.replicas.set(replica, to)
  }

  get isWaiting(): boolean {
    return this.#refused.size > 0
  }

  hasRefused(link: LinkInfo): boolean {
    return this.#refused.has(keyOf(link))
  }

  /** There is room on a link again. */
  retry(link: LinkInfo): void {
    const refused = this.#refused.get(keyOf(link))
    if (refused === undefined) return
    this.#refused.delete(keyOf(link))
    for (const [replica, to] of refused.replicas) {
      if (replica.isRemoved) continue
      replica.raft.reachable(to)
      this.#options.changed(replica)
    }
  }

  /** Every tick: nobody waits longer for a word about room. */
  retryAll(): void {
    for (const { link } of [...this.#refused.values()]) this.retry(link)
  }

  /** The link broke: whoever waits for it is asked for when it is up again. */
  down(link: LinkInfo): void {
    this.#refused.delete(keyOf(link))
  }

  /** We led in ledTerm and do not any more: whoever still follows us need not wait for silence. */
  sayStepDown(replica: Replica): void {
    const { raft, ledTerm, groupId } = replica
    for (const id of raft.membership.members) {
      if (id !== raft.id && this.#options.peers.isUp(id, groupId)) this.say(RaftKind.STEPPED_DOWN, replica, id, ledTerm)
    }
  }

  /** A message without a body. */
  say(kind: number, replica: Replica, to: NodeId, term: number): void {
    const writer = this.#options.peers.begin(to, replica.groupId)
    if (writer === undefined) return
    this.messagesSent += 1
    const flags = kind === RaftKind.AGAIN && this.#options.refusesBatches?.() === true ? REFUSES : 0
    writeHeader(writer, kind, flags, replica.groupId, replica.raft.id, to, term).end()
  }

  /** @returns false when it could not be sent */
  sayLeadsEnd(link: LinkInfo): boolean {
    const writer = this.#options.links!.begin(link.nodeId, link.shardId, PeerKind.RAFT)
    if (writer === undefined) return false
    this.messagesSent += 1
    return writeHeader(writer, RaftKind.LEADS_END, 0, 0, 0, 0, 0).end()
  }
}

function keyOf(link: LinkInfo): string {
  return `${link.nodeId}/${link.shardId}`
}

function areSame(one: readonly Entry[], other: readonly Entry[]): boolean {
  return one.length === other.length && one[0] === other[0] && one[one.length - 1] === other[other.length - 1]
}
