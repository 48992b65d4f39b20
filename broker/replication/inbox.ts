// What a link brings for the groups, taken apart and handed to their Rafts; and what to do when a message cannot be taken.
//
// One per shard, made by driver.ts. A leader's entries are carried out within the call, since their payloads are views of the frame. What the
// journal or the disk does not take now is not kept: the leader is asked to send it again. Messages for groups that are not open
// yet wait in strangers.ts.

import { directoryEpochOf, raftIdOf } from '../cluster/raft-id.ts'
import type { Logger } from '../environment.ts'
import { type AppendMessage, EntryKind, type NodeId } from '../raft/types.ts'
import { shardOf } from '../shard/placement.ts'
import type { Elections } from './elections.ts'
import type { Greetings } from './greetings.ts'
import type { LinkInfo, PeerLinks } from './link-types.ts'
import type { Outbox } from './outbox.ts'
import { isNonsense, MalformedPeerBytes, PeerReader } from './peer-wire.ts'
import { RaftHeader, RaftKind, REFUSES, readMessage } from './raft-codec.ts'
import type { Refusals } from './refusals.ts'
import type { Replica } from './replica.ts'
import type { Snapshots } from './snapshots.ts'
import { type KeptMessage, Strangers } from './strangers.ts'

export interface InboxOptions {
  readonly links: PeerLinks | undefined
  readonly logger: Logger | undefined
  readonly outbox: Outbox
  readonly greetings: Greetings
  readonly elections: Elections
  readonly snapshots: Snapshots
  readonly refusals: Refusals
  replica(groupId: number): Replica | undefined
  /** Nothing is taken any more. */
  isOver(): boolean
  /** Carries out what the group wants now. */
  process(replica: Replica): void
  /** It has something to be carried out at the turn's end. */
  changed(replica: Replica): void
  /** Its leader says that it does not lead. */
  leaveLeader(replica: Replica): void
  /** The leader's log begins at `offset`. */
  leaderStart(replica: Replica, from: NodeId, term: number, offset: number): void
  /** A member refuses batches, or does so no longer. */
  refusalChanged(replica: Replica): void
  /** An earlier life of this process may have promised somebody to vote for nobody else. */
  isBound(replica: Replica): boolean
  /** The journal takes so many bytes now. */
  canAccept(bytes: number): boolean
  /** This shard takes no batches now. */
  refusesBatches(): boolean
  /** Entries, so many bytes, are about to be appended. */
  appending(bytes: number): void
  nowMs(): number
}

const DIRECTORY_EPOCH_MAX = 2 ** 21 - 1

export class Inbox {
  messagesReceived = 0
  readonly #options: InboxOptions
  readonly #strangers = new Strangers()
  /** For groups opened in this turn. */
  #kept: KeptMessage[] = []
  readonly #header = new RaftHeader()
  readonly #reader = new PeerReader(Buffer.alloc(0))
  readonly #keptReader = new PeerReader(Buffer.alloc(0))

  constructor(options: InboxOptions) {
    this.#options = options
  }

  get strangersCount(): number {
    return this.#strangers.count
  }

  /** A group is open now: what came for it is received at the turn's end. */
  opened(groupId: number): void {
    const kept = this.#strangers.take(groupId)
    if (kept.length > 0) this.#kept.push(...kept)
  }

  tick(): void {
    this.#strangers.tick(this.#options.nowMs())
  }

  /**
   * One message of PeerKind.RAFT.
   * @throws what isNonsense() when it makes no sense
   */
  receive(link: LinkInfo, reader: PeerReader): void {
    const body = reader.rest()
    reader = this.#reader.open(body, 0, body.length)
    this.messagesReceived += 1
    const header = this.#header.read(reader)
    if (header.kind === RaftKind.LEADS_END) {
      this.#options.greetings.ended(link)
      return
    }
    const { groupId, fromEpoch, toEpoch } = header
    if (fromEpoch > DIRECTORY_EPOCH_MAX) throw new MalformedPeerBytes(`directory epoch ${fromEpoch}`)
    if (shardOf(groupId, link.shardCount) !== link.shardId) return
    const replica = this.#options.replica(groupId)
    if (replica === undefined) {
      this.#strangers.keep(groupId, link, body, this.#options.nowMs())
      return
    }
    // Words to or from another data directory of either broker: that member is gone.
    if (toEpoch !== directoryEpochOf(replica.raft.id)) return
    this.#receive(replica, raftIdOf(link.nodeId, fromEpoch), link, reader)
  }

  /** What came before its group was open. */
  receiveKept(): void {
    if (this.#kept.length === 0) return
    const { links, logger } = this.#options
    const kept = this.#kept
    this.#kept = []
    for (const { link, bytes } of kept) {
      if (this.#options.isOver()) return
      // A link that broke meanwhile takes what it brought with it.
      if (links!.linkInfo(link.nodeId, link.shardId) !== link) continue
      try {
        this.receive(link, this.#keptReader.open(bytes, 0, bytes.length))
      } catch (error) {
        if (!isNonsense(error)) throw error
        logger?.warn(`broker ${link.nodeId} sent what makes no sense: ${error.message}`)
      }
    }
  }

  #receive(replica: Replica, from: NodeId, link: LinkInfo, reader: PeerReader): void {
    const { greetings, outbox, refusals, snapshots } = this.#options
    const { raft } = replica
    const header = this.#header
    const { kind, term } = header
    // What was said in an earlier term leaves before we enter the next: afterwards it would look like a promise kept on.
    if (replica.isDirty && term > raft.term) this.#options.process(replica)
    switch (kind) {
      case RaftKind.STEPPED_DOWN:
        if (raft.leaderId === from && raft.term === term) this.#options.leaveLeader(replica)
        return
      case RaftKind.AGAIN:
        if (!raft.isLeader || raft.term !== term) return
        this.#noteRefusal(replica, from)
        // Whoever refuses is asked again now and then, not as soon as there is room on the link.
        if (refusals.has(replica, from)) raft.unreachable(from)
        else outbox.again(replica, from)
        return
      case RaftKind.APPEND:
      case RaftKind.HEARTBEAT:
      case RaftKind.SNAPSHOT:
        greetings.addressed(link, replica)
        break
      default:
        break
    }
    const message = kind === RaftKind.SNAPSHOT ? snapshots.receive(header, link, reader) : readMessage(header, reader)
    if (message === undefined) return
    if (reader.hasMore) throw new MalformedPeerBytes(`${reader.left} bytes after a message`)
    const logStartOffset = kind === RaftKind.APPEND ? header.logStartOffset : 0
    if (message.type === 'append' && message.entries.length > 0) {
      const fitting = this.#fitting(message)
      if (fitting === undefined) {
        outbox.say(RaftKind.AGAIN, replica, from, term)
        return
      }
      this.#options.appending(bytesOf(fitting))
      raft.receive(from, fitting)
      // The payloads are views of a frame that ends with this call.
      this.#options.process(replica)
      this.#options.leaderStart(replica, from, term, logStartOffset)
      return
    }
    if (message.type === 'vote-request' && !message.transfer && this.#options.isBound(replica)) return
    raft.receive(from, message)
    this.#options.changed(replica)
    this.#options.leaderStart(replica, from, term, logStartOffset)
    if (message.type === 'append-reply' || message.type === 'heartbeat-reply') {
      if (raft.isLeader && raft.term === term) {
        raft.setReplyTag(from, this.#options.links!.defections(link.nodeId, link.shardId))
        if (kind === RaftKind.APPEND_REPLY) this.#noteRefusal(replica, from)
      }
    } else if (message.type === 'vote-request' && !message.pre && raft.votedFor === from) {
      this.#options.elections.voted(replica)
    }
  }

  /** As many entries as the journal and the disk take now. */
  #fitting(message: AppendMessage): AppendMessage | undefined {
    const { entries } = message
    const refuses = this.#options.refusesBatches()
    let bytes = 0
    let count = 0
    for (const entry of entries) {
      bytes += entry.bytes
      if ((refuses && entry.kind === EntryKind.Batch) || !this.#options.canAccept(bytes)) break
      count += 1
    }
    if (count === entries.length) return message
    return count === 0 ? undefined : { ...message, entries: entries.slice(0, count) }
  }

  /** By the message whose header was read last. */
  #noteRefusal(replica: Replica, from: NodeId): void {
    if (this.#options.refusals.note(replica, from, (this.#header.flags & REFUSES) !== 0))
      this.#options.refusalChanged(replica)
  }
}

function bytesOf({ entries }: AppendMessage): number {
  let bytes = 0
  for (const entry of entries) bytes += entry.bytes
  return bytes
}
