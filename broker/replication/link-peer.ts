// One other broker as a shard sees it: which process it is, where it listens, the links to its shards.

import { Link, type LinkHost } from './link.ts'
import type { LinkContext } from './link-context.ts'
import type { DialFailure } from './link-dial.ts'
import { type Introduction, RefusalCode } from './link-handshake.ts'
import type { PeerAddress } from './link-types.ts'

/** Processes that were replaced: a late hello of theirs must not replace their successor. */
const RETIRED_MAX = 8

export class Peer implements LinkHost {
  readonly nodeId: number
  /** Metadata knows it: it is dialed. Others are dialed back for as long as they keep a connection to us. */
  isListed = false
  listedAddress: PeerAddress | undefined
  shardCount: number | undefined
  readonly links = new Map<number, Link>()
  readonly #context: LinkContext
  readonly #nextDefections: () => number
  readonly #retired: number[] = []
  #incarnation: number | undefined
  #directoryId = ''
  #ownAddress: PeerAddress | undefined

  constructor(context: LinkContext, nodeId: number, nextDefections: () => number) {
    this.#context = context
    this.nodeId = nodeId
    this.#nextDefections = nextDefections
  }

  get isAlive(): boolean {
    for (const link of this.links.values()) if (link.isAlive) return true
    return false
  }

  /** The link to that shard, made when there is none; undefined when the broker has no such shard. */
  link(shard: number): Link | undefined {
    const existing = this.links.get(shard)
    if (existing !== undefined) return existing
    if (this.shardCount !== undefined && shard >= this.shardCount) return undefined
    // A number of its own: whatever an earlier link to that shard said is over.
    const link = new Link(this.#context, this, shard, this.#nextDefections())
    this.links.set(shard, link)
    return link
  }

  address(attempt: number, link: Link): PeerAddress | undefined {
    if (this.#context.options.clusterId() === '' || (!this.isListed && !link.hasIncoming)) return undefined
    const own = this.#ownAddress
    const listed = this.listedAddress
    if (own === undefined || listed === undefined) return own ?? listed
    // What the running process said is newer than what metadata says; but it may have moved since.
    return attempt % 2 === 0 ? own : listed
  }

  met(who: Introduction, host: string, isAnswer: boolean): boolean {
    const { incarnation, directoryId, shardCount } = who
    if (incarnation !== this.#incarnation) {
      // A hello may come late, after its sender has been replaced, or even have replaced its successor here: but who answers us is there.
      const retiredAt = this.#retired.indexOf(incarnation)
      if (retiredAt >= 0) {
        if (!isAnswer || this.isAlive) return false
        this.#retired.splice(retiredAt, 1)
      }
      if (this.#incarnation !== undefined) {
        const isOther = directoryId !== this.#directoryId || (!isAnswer && this.#isLinkedElsewhere(who.address))
        if (isOther && this.isAlive) {
          this.#claimed(who, host)
          return false
        }
        this.#retired.push(this.#incarnation)
        if (this.#retired.length > RETIRED_MAX) this.#retired.shift()
        for (const link of [...this.links.values()]) link.forget()
      }
      this.#incarnation = incarnation
      this.#directoryId = directoryId
    }
    this.#hasShards(shardCount)
    if (who.address.port > 0) this.#ownAddress = who.address
    return true
  }

  /**
   * A process with a copy of the data directory, at another address. The one that is there is believed as long as it is linked: a process
   * that came in its place has seen its connections closed, or falls silent.
   */
  #isLinkedElsewhere({ host, port }: PeerAddress): boolean {
    const own = this.#ownAddress
    if (own === undefined || port === 0 || (own.host === host && own.port === port)) return false
    for (const { info } of this.links.values()) if (info !== undefined) return true
    return false
  }

  refused({ code, message, refusal }: DialFailure, host: string, shard: number): void {
    const { options } = this.#context
    const about = `broker ${this.nodeId}`
    switch (refusal?.code) {
      case undefined:
        // Every shard meets the same: one of them says so.
        if (options.shardId === 0 && shard === 0) this.#context.complain(about, `broker ${this.nodeId}: ${message}`)
        else this.#context.debug(`broker ${this.nodeId}: ${message} (${code})`)
        return
      case RefusalCode.OTHER_CLUSTER: {
        const { nodeId, clusterId, directoryId } = refusal
        this.#context.complain(about, `broker ${this.nodeId}: ${message}`)
        options.foreign?.({ reason: 'cluster', nodeId, clusterId, directoryId, host })
        return
      }
      case RefusalCode.NODE_ID_IN_USE:
        this.#context.complain(about, `broker ${this.nodeId}: ${message}`)
        options.foreign?.({
          reason: 'node-id',
          nodeId: options.nodeId,
          clusterId: refusal.clusterId,
          directoryId: '',
          host,
        })
        return
      case RefusalCode.NO_SUCH_SHARD:
        this.#hasShards(Math.max(1, refusal.shardCount))
        return
      case RefusalCode.WRONG_NODE:
      case RefusalCode.VERSION:
      case RefusalCode.SELF:
        this.#context.complain(about, `broker ${this.nodeId}: ${message}`)
        return
      default:
        this.#context.debug(`broker ${this.nodeId}: ${message}`)
    }
  }

  /**
   * Metadata knows it no more. Promises to it run out as always: whoever leads there may count on them until then. If it goes on to
   * dial us it is linked for as long as it does.
   */
  unlist(): void {
    this.isListed = false
    this.listedAddress = undefined
    for (const link of this.links.values()) link.letGo()
  }

  /** Nothing of it is left. */
  remove(): void {
    for (const link of [...this.links.values()]) this.#removeLink(link)
  }

  close(): void {
    for (const link of this.links.values()) link.close()
  }

  #hasShards(count: number): void {
    if (this.shardCount === count) return
    this.shardCount = count
    for (const link of [...this.links.values()]) if (link.shardId >= count) this.#removeLink(link)
  }

  #removeLink(link: Link): void {
    this.links.delete(link.shardId)
    link.forget()
    link.close()
  }

  #claimed(who: Introduction, host: string): void {
    const { nodeId, clusterId, directoryId } = who
    this.#context.complain(
      `broker ${nodeId} twice`,
      `somebody at ${host} claims to be broker ${nodeId}, which is alive: two brokers with one node.id`,
    )
    this.#context.options.foreign?.({ reason: 'node-id', nodeId, clusterId, directoryId, host })
  }
}
