// Who leads which partition: what this shard leads is told to all shards of all brokers, and what they say goes into the image.
//
// One per shard, touched only from its thread. News of one loop turn travel together. Between brokers they go from a shard to one shard of each
// other broker, which passes them on to its own; a link that has just come up gets everything that is led here, so nothing
// depends on a message that was lost.

import type { MetadataImage } from '../cluster/metadata.ts'
import type { Clock } from '../environment.ts'
import type { LinkInfo, ShardLinks } from '../replication/link-types.ts'
import { PeerKind, type PeerReader } from '../replication/peer-wire.ts'
import type { Post } from './post.ts'
import { Kind, type WireReader } from './wire.ts'

export interface LeadersOptions {
  readonly nodeId: number
  readonly shardId: number
  readonly shardCount: number
  readonly clock: Clock
  image(): MetadataImage
  post(): Post
  readonly links: ShardLinks | undefined
  /** Something waits to leave at the end of this loop turn. */
  wantsFlush(): void
}

/** A group that is led here. */
export interface LedGroup {
  readonly groupId: number
  readonly leaderEpoch: number
  /** Broker ids. */
  readonly isr: readonly number[]
}

interface Wait {
  readonly missing: Set<number>
  done(): void
}

const METADATA_GROUP = 0
/** Of a partition that nobody has led. */
const NO_LEADER = -1
const NO_EPOCH = -1
const EARLY_MAX = 100_000
/** Groups in one message to another broker. */
const MESSAGE_GROUPS_MAX = 2000

export class Leaders {
  readonly #options: LeadersOptions
  /** Groups led here. */
  readonly #led = new Map<number, LedGroup>()
  #changed = new Set<LedGroup>()
  #announcing = false
  /** Other brokers that may have missed something: they get everything, as soon as they can be reached. */
  readonly #owed = new Set<number>()
  #waits: Wait[] = []
  /** Leaders of groups that the image does not have yet. */
  readonly #early = new Map<number, { leader: number; epoch: number; isr: readonly number[] }>()

  constructor(options: LeadersOptions) {
    this.#options = options
  }

  /** A group of this shard leads, or its ISR is another. */
  leading(group: LedGroup): void {
    const { groupId, leaderEpoch, isr } = group
    this.#led.set(groupId, group)
    this.#learn(groupId, this.#options.nodeId, leaderEpoch, isr)
    this.#changed.add(group)
    if (this.#announcing) return
    this.#announcing = true
    this.#options.clock.soon(() => this.#announce())
  }

  leads(groupId: number): boolean {
    return this.#led.has(groupId)
  }

  /** A group of this shard leads no longer. */
  left(groupId: number): void {
    const group = this.#led.get(groupId)
    if (group === undefined) return
    this.#led.delete(groupId)
    this.#changed.delete(group)
  }

  /**
   * A follower of this shard knows its leader. Of a new group only the leader's own word counts: it is given when it serves, and
   * that is what known() waits for.
   */
  learned(groupId: number, leader: number, epoch: number): void {
    const known = this.#options.image().partitionByGroup(groupId)?.partition
    if (known === undefined ? groupId !== METADATA_GROUP : known.leaderEpoch < 0) return
    this.#options.image().setLeader(groupId, leader, epoch)
  }

  /**
   * Waits until this shard knows the leaders of these groups, or that there will be none.
   * @param maxMs no longer than this
   */
  known(groupIds: readonly number[], maxMs: number): Promise<void> {
    const missing = new Set(groupIds.filter((groupId) => this.#isMissing(groupId)))
    if (missing.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(maxMs, () => done())
      const done = (): void => {
        timer.cancel()
        this.#waits = this.#waits.filter((other) => other !== wait)
        resolve()
      }
      const wait: Wait = { missing, done }
      this.#waits.push(wait)
    })
  }

  /** New groups of this shard that nobody will lead, as its disk has failed: nobody waits for their leaders, on no shard of this broker. */
  unled(groupIds: readonly number[]): void {
    const { shardId, shardCount } = this.#options
    for (const groupId of groupIds) this.#settle(groupId)
    for (let other = 0; other < shardCount; other++) {
      if (other === shardId || groupIds.length === 0) continue
      const message = this.#options.post().message(Kind.LEADERS, 0)
      for (const groupId of groupIds) message.i32(groupId).i32(NO_LEADER).i32(NO_EPOCH).u8(0)
      this.#options.post().send(other, message)
    }
  }

  /** A group is gone: nobody waits for its leader. */
  gone(groupId: number): void {
    this.left(groupId)
    this.#settle(groupId)
  }

  /** A broker has left for good. */
  brokerGone(nodeId: number): void {
    this.#owed.delete(nodeId)
  }

  #isMissing(groupId: number): boolean {
    const location = this.#options.image().partitionByGroup(groupId)
    return location !== undefined && location.partition.leaderEpoch < 0
  }

  #learn(groupId: number, leader: number, epoch: number, isr: readonly number[]): void {
    const image = this.#options.image()
    if (groupId >= image.nextGroupId) {
      // Another broker was quicker: its leader is known here before the partition itself.
      const earlier = this.#early.get(groupId)
      const isNews = earlier === undefined ? this.#early.size < EARLY_MAX : epoch >= earlier.epoch
      if (isNews) this.#early.set(groupId, { leader, epoch, isr })
      return
    }
    image.setLeader(groupId, leader, epoch, isr)
    this.#settle(groupId)
  }

  /** The image has other partitions now. */
  imageChanged(): void {
    if (this.#early.size === 0) return
    const { nextGroupId } = this.#options.image()
    for (const [groupId, { leader, epoch, isr }] of this.#early) {
      if (groupId >= nextGroupId) continue
      this.#early.delete(groupId)
      this.#learn(groupId, leader, epoch, isr)
    }
  }

  #settle(groupId: number): void {
    for (const wait of [...this.#waits]) {
      if (wait.missing.delete(groupId) && wait.missing.size === 0) wait.done()
    }
  }

  #announce(): void {
    this.#announcing = false
    const groups = [...this.#changed]
    this.#changed = new Set()
    if (groups.length === 0) return
    const { shardId, shardCount } = this.#options
    for (let other = 0; other < shardCount; other++) if (other !== shardId) this.#tellShard(other, groups)
    const { links, nodeId } = this.#options
    if (links === undefined) return
    for (const broker of this.#options.image().brokers) {
      if (broker.nodeId !== nodeId && !this.#tellBroker(broker.nodeId, groups)) this.#owed.add(broker.nodeId)
    }
  }

  #tellShard(to: number, groups: readonly LedGroup[]): void {
    const message = this.#options.post().message(Kind.LEADERS, 0)
    for (const { groupId, leaderEpoch, isr } of groups) {
      message.i32(groupId).i32(this.#options.nodeId).i32(leaderEpoch).u8(isr.length)
      for (const nodeId of isr) message.i32(nodeId)
    }
    this.#options.post().send(to, message)
  }

  /** @returns whether all of it is on its way */
  #tellBroker(nodeId: number, groups: readonly LedGroup[]): boolean {
    const links = this.#options.links!
    const shards = links.shardCountOf(nodeId)
    if (shards === undefined) return false
    for (let from = 0; from < groups.length; from += MESSAGE_GROUPS_MAX) {
      const message = links.begin(nodeId, this.#options.shardId % shards, PeerKind.LEADERS)
      if (message === undefined) return false
      for (const { groupId, leaderEpoch, isr } of groups.slice(from, from + MESSAGE_GROUPS_MAX)) {
        message.i32(groupId).i32(leaderEpoch).u8(isr.length)
        for (const id of isr) message.i32(id)
      }
      if (!message.end()) return false
    }
    this.#options.wantsFlush()
    return true
  }

  get #all(): LedGroup[] {
    return [...this.#led.values()]
  }

  /** The link to a shard of another broker has come up: what was sent before may be lost. */
  peerUp(link: LinkInfo): void {
    if (link.shardId !== this.#options.shardId % link.shardCount) return
    if (this.#led.size > 0 && !this.#tellBroker(link.nodeId, this.#all)) this.#owed.add(link.nodeId)
  }

  /** Once a second: brokers that could not be told. */
  retry(): void {
    for (const nodeId of [...this.#owed]) {
      if (this.#led.size === 0 || this.#tellBroker(nodeId, this.#all)) this.#owed.delete(nodeId)
    }
  }

  /** LEADERS of another shard of this broker. */
  onLocal(reader: WireReader): void {
    while (reader.hasMore) {
      const groupId = reader.i32()
      const leader = reader.i32()
      const epoch = reader.i32()
      const isr: number[] = []
      for (let left = reader.u8(); left > 0; left--) isr.push(reader.i32())
      if (epoch === NO_EPOCH) this.#settle(groupId)
      else this.#learn(groupId, leader, epoch, isr)
    }
  }

  /** LEADERS of another broker: for this shard and, passed on, for its siblings. */
  onPeer(link: LinkInfo, reader: PeerReader): void {
    const news: { groupId: number; epoch: number; isr: number[] }[] = []
    while (reader.hasMore) {
      const groupId = reader.i32()
      const epoch = reader.i32()
      const isr: number[] = []
      for (let left = reader.u8(); left > 0; left--) isr.push(reader.i32())
      news.push({ groupId, epoch, isr })
    }
    for (const { groupId, epoch, isr } of news) this.#learn(groupId, link.nodeId, epoch, isr)
    const { shardId, shardCount } = this.#options
    const post = this.#options.post()
    for (let other = 0; other < shardCount; other++) {
      if (other === shardId) continue
      const message = post.message(Kind.LEADERS, 0)
      for (const { groupId, epoch, isr } of news) {
        message.i32(groupId).i32(link.nodeId).i32(epoch).u8(isr.length)
        for (const id of isr) message.i32(id)
      }
      post.send(other, message)
    }
  }
}
