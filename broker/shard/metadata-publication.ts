// From the metadata log to the images of all shards: shard 0 hands on what was committed, each shard applies it and opens what is new.
//
// One per shard, touched only from its thread. A shard answers when it has applied the commands, its new partitions are open, and it knows the
// leaders of all new partitions of the cluster: so shard 0 knows when whoever asks any shard sees the change.

import type { Command } from '../cluster/commands.ts'
import { decodeCommand, encodeCommand } from '../cluster/commands.ts'
import { type MetadataChange, MetadataImage } from '../cluster/metadata.ts'
import type { NodeIdentity } from '../cluster/node-identity.ts'
import type { BrokerConfig } from '../config.ts'
import type { Leaders } from './leaders.ts'
import { AT_START, type Standing } from './metadata-standing.ts'
import type { Partitions } from './partitions.ts'
import type { Post } from './post.ts'
import { Kind, type WireReader } from './wire.ts'

export interface PublicationOptions {
  readonly shardId: number
  readonly shardCount: number
  readonly config: BrokerConfig
  readonly partitions: Partitions
  readonly leaders: Leaders
  post(): Post
  nextId(): number
  /** Who this broker is in its cluster: known to shard 0 first. */
  identified(identity: Pick<NodeIdentity, 'clusterId' | 'directoryEpoch'>): void
  /** The image is another object, or what it says of the brokers has changed. */
  imageChanged(): void
  /** This broker was cut off, and is not any more. */
  inContact(): void
  topicGone(name: string, topicId: string): void
}

/** What a METADATA message is. */
const IMAGE = 0
const COMMANDS = 1
const CAUGHT_UP = 2
const GIVEN_UP = 3
const STANDING = 4

/** How long a change waits for the leaders of partitions that other brokers hold. */
const LEADERS_WAIT_MS = 1000
/** And of those that live here alone: tens of thousands of them take that long to make, and a shard whose disk has failed leads none. */
const OWN_LEADERS_WAIT_MS = 10_000

interface Publication {
  left: number
  resolve(): void
}

export class MetadataPublication {
  readonly #options: PublicationOptions
  image: MetadataImage
  /** As shard 0 last said. */
  standing: Standing = AT_START
  readonly #publications = new Map<number, Publication>()
  /** Settled when shard 0 has sent the first image, which may be before this shard has opened its storage. */
  readonly #arrived = Promise.withResolvers<void>()
  #hasImage = false
  readonly #begun = Promise.withResolvers<void>()
  #hasBegun = false

  constructor(options: PublicationOptions) {
    this.#options = options
    this.image = new MetadataImage(options.config)
  }

  /** On other shards than 0. */
  get firstImage(): Promise<void> {
    return this.#arrived.promise
  }

  // Shard 0

  /** The cluster that the record named is given up: until the first image this broker has none. @returns when every shard knows */
  givenUp(): Promise<void> {
    return this.#tellOthers((to, id) =>
      this.#options.post().send(to, this.#options.post().message(Kind.METADATA, id).u8(GIVEN_UP)),
    )
  }

  /** Releases the other shards: they open their partitions by this image. */
  start(identity: NodeIdentity): void {
    this.#hasImage = true
    void this.#sendImage(identity)
  }

  /** Committed commands, in order. @returns when every shard has answered */
  async publish(commands: readonly Command[], firstIndex: number): Promise<void> {
    const body = Buffer.from(JSON.stringify(commands.map((command) => Buffer.from(encodeCommand(command)).toString())))
    const others = this.#toOthers((to, id) => {
      const message = this.#options.post().message(Kind.METADATA, id).u8(COMMANDS).f64(firstIndex)
      this.#options.post().send(to, message.rest(body))
    })
    await Promise.all([this.#apply(commands, firstIndex), others])
  }

  /** Another image in the place of the present one: this broker was too far behind for single commands. */
  async install(snapshot: Uint8Array, identity: NodeIdentity | undefined): Promise<void> {
    const here = this.#replace(snapshot)
    await Promise.all([here, identity === undefined ? undefined : this.#sendImage(identity)])
  }

  /** How this broker stands with the metadata group has changed. */
  stands(standing: Standing): void {
    this.#stands(standing)
    const { isCutOff, isController } = standing
    void this.#tellOthers((to, id) => {
      const message = this.#options.post().message(Kind.METADATA, id).u8(STANDING)
      this.#options.post().send(to, message.u8(Number(isCutOff)).u8(Number(isController)))
    })
  }

  /** This broker has all that was decided before it registered. */
  async caughtUp(): Promise<void> {
    const others = this.#toOthers((to, id) =>
      this.#options.post().send(to, this.#options.post().message(Kind.METADATA, id).u8(CAUGHT_UP)),
    )
    await Promise.all([this.#options.partitions.caughtUp(), others])
  }

  #sendImage({ clusterId, directoryEpoch }: NodeIdentity): Promise<void> {
    const bytes = this.image.serialize()
    return this.#toOthers((to, id) => {
      const message = this.#options.post().message(Kind.METADATA, id).u8(IMAGE).text(clusterId).i32(directoryEpoch)
      this.#options.post().send(to, message.rest(bytes))
    })
  }

  #toOthers(send: (to: number, id: number) => void): Promise<void> {
    // Before the first image the others know nothing that could change.
    return this.#hasImage ? this.#tellOthers(send) : Promise.resolve()
  }

  #tellOthers(send: (to: number, id: number) => void): Promise<void> {
    if (this.#options.shardCount === 1) return Promise.resolve()
    const id = this.#options.nextId()
    return new Promise((resolve) => {
      this.#publications.set(id, { left: this.#options.shardCount - 1, resolve })
      for (let other = 1; other < this.#options.shardCount; other++) send(other, id)
    })
  }

  onApplied(id: number): void {
    const publication = this.#publications.get(id)
    if (publication === undefined || --publication.left > 0) return
    this.#publications.delete(id)
    publication.resolve()
  }

  // Every shard

  onMetadata(from: number, id: number, reader: WireReader): void {
    void this.#onMetadata(reader).then(() => {
      this.#options.post().send(from, this.#options.post().message(Kind.METADATA_APPLIED, id))
    })
  }

  #onMetadata(reader: WireReader): Promise<void> {
    switch (reader.u8()) {
      case IMAGE: {
        const clusterId = reader.text() ?? ''
        this.#options.identified({ clusterId, directoryEpoch: reader.i32() })
        const bytes = Buffer.from(reader.rest())
        if (this.#hasImage) return this.#begun.promise.then(() => this.#replace(bytes))
        this.#hasImage = true
        this.image = MetadataImage.deserialize(bytes, this.#options.config)
        this.#options.imageChanged()
        this.#arrived.resolve()
        return Promise.resolve()
      }
      case GIVEN_UP:
        this.#options.identified({ clusterId: '', directoryEpoch: 0 })
        return Promise.resolve()
      case STANDING: {
        const isCutOff = reader.u8() !== 0
        this.#stands({ isCutOff, isController: reader.u8() !== 0 })
        return Promise.resolve()
      }
      case CAUGHT_UP:
        return this.#begun.promise.then(() => this.#options.partitions.caughtUp())
      default: {
        const firstIndex = reader.f64()
        const texts = JSON.parse(reader.rest().toString()) as string[]
        const commands = texts.map((text) => decodeCommand(Buffer.from(text)))
        return this.#begun.promise.then(() => this.#apply(commands, firstIndex))
      }
    }
  }

  #stands(standing: Standing): void {
    const { isCutOff } = this.standing
    this.standing = standing
    if (isCutOff && !standing.isCutOff) this.#options.inContact()
  }

  /** This shard opens its partitions: from here on changes open and close what they name. Before, they only change the image. */
  begin(): void {
    this.#hasBegun = true
    this.#begun.resolve()
    // What other brokers said of its partitions before they were known here counts from now on.
    this.#options.imageChanged()
  }

  async #apply(commands: readonly Command[], firstIndex: number): Promise<void> {
    const opened: Promise<void>[] = []
    const created: MetadataChange[] = []
    let index = firstIndex
    for (const command of commands) {
      const change = this.image.apply(command, index++)
      created.push(change)
    }
    if (!this.#hasBegun) return
    // Opened by what the image says after all of them: a group that began and moved on within these is not founded again.
    for (const change of created) this.#options.partitions.changed(change, opened)
    this.#options.imageChanged()
    await Promise.all([...opened, this.#leadersKnown(created)])
  }

  async #leadersKnown(changes: readonly MetadataChange[]): Promise<void> {
    const own: number[] = []
    const others: number[] = []
    for (const change of changes) {
      const added =
        change.type === 'topic-created'
          ? change.topic.partitions
          : change.type === 'partitions-added'
            ? change.added
            : []
      for (const { groupId, replicas } of added) {
        const isOwn = replicas.length === 1 && replicas[0] === this.#options.config.nodeId
        ;(isOwn ? own : others).push(groupId)
      }
    }
    const { leaders } = this.#options
    await Promise.all([leaders.known(own, OWN_LEADERS_WAIT_MS), leaders.known(others, LEADERS_WAIT_MS)])
  }

  async #replace(snapshot: Uint8Array): Promise<void> {
    const before = this.image
    const image = MetadataImage.deserialize(snapshot, this.#options.config)
    // Leaders are not in the snapshot: what is known of them stays known.
    for (const topic of before.topics()) {
      for (const { groupId, leader, leaderEpoch, isr } of topic.partitions) {
        if (leaderEpoch >= 0) image.setLeader(groupId, leader, leaderEpoch, isr)
      }
    }
    this.image = image
    if (!this.#hasBegun) return
    for (const topic of before.topics()) {
      if (image.topicById(topic.topicId) === undefined) this.#options.topicGone(topic.name, topic.topicId)
    }
    const opened: Promise<void>[] = []
    this.#options.partitions.reconcile(opened)
    this.#options.imageChanged()
    await Promise.all(opened)
  }
}
