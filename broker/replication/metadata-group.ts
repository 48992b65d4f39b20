// Raft group 0 on this broker: the metadata log, applied in commit order on every broker, appended to where it leads.
//
// Lives on shard 0. What is committed is decoded and published to all shards. An append is answered when its commands are committed, every shard of this broker has applied them, and the other live brokers say the
// same of theirs (or a second has passed): whoever asks any broker then sees the change.

import { invariant } from '../../protocol/invariant.ts'
import type { GroupLog } from '../../storage/log.ts'
import { type Command, decodeCommand, encodeCommand, type MetadataLog, NotController } from '../cluster/commands.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import { brokerOf } from '../cluster/raft-id.ts'
import type { Replica, ReplicaOwner } from './replica.ts'

/** Kind of the entries that hold a metadata command. */
export const COMMAND_ENTRY = 2

export interface MetadataPublisher {
  /** The image of shard 0, which publish() changes before it returns. */
  image(): MetadataImage
  /**
   * Applies committed commands here and on every other shard.
   * @param firstIndex index of the first one in the metadata log; the others follow
   * @returns when all of them have, and their new partitions accept requests
   */
  publish(commands: readonly Command[], firstIndex: number): Promise<void>
  /** Puts another image in the place of the present one, on every shard. */
  install(snapshot: Uint8Array): Promise<void>
  /** Every shard of this broker has the metadata up to this index. */
  appliedHere(index: number): void
  /** Resolves when the other live brokers have it, too, or have had time enough. */
  appliedElsewhere(index: number): Promise<void>
  /** This broker decides from now on: everything committed before is applied. */
  leading(): void
  /** @param leader broker id, -1 while none is known */
  following(leader: number): void
  /** The leader's log has something else where ours is committed. @param leader broker id */
  contradicted(leader: number): void
  inSyncChanged(): void
}

interface Waiting {
  readonly lastIndex: number
  resolve(): void
  reject(error: Error): void
}

/** Applies what the log holds beyond the snapshot that the image was made from. @throws OperatorError for a newer command */
export async function replayCommands(log: GroupLog, image: MetadataImage): Promise<void> {
  await log.replay({
    entry: (index, _term, kind, payload) => {
      if (kind === COMMAND_ENTRY && index > image.appliedIndex) image.apply(decodeCommand(payload), index)
    },
    batch: () => {},
  })
}

export class MetadataGroup implements ReplicaOwner, MetadataLog {
  readonly groupId = 0
  readonly #publisher: MetadataPublisher
  #replica: Replica | undefined
  /** Committed commands that wait for the end of this commit, and the index of the first; they follow each other. */
  #committed: Command[] = []
  #firstIndex = -1
  #waiting: Waiting[] = []
  #leader = -1
  #isActive = false
  #appliedIndex = -1
  /** Publications at work: every shard has everything below the first of them. */
  #publishing: number[] = []

  constructor(publisher: MetadataPublisher) {
    this.#publisher = publisher
  }

  attach(replica: Replica): void {
    this.#replica = replica
  }

  get replica(): Replica | undefined {
    return this.#replica
  }

  /** Whether this broker decides: it leads and has applied what was committed before. */
  get isActive(): boolean {
    return this.#isActive && this.#replica?.isLeader === true
  }

  /** Broker id, -1 while there is none. */
  get leader(): number {
    return this.#leader
  }

  get leaderEpoch(): number {
    return this.#replica?.term ?? -1
  }

  get isr(): readonly number[] {
    return this.#replica?.inSync() ?? []
  }

  async append(commands: readonly Command[]): Promise<void> {
    if (commands.length === 0) return
    const replica = this.#replica
    if (replica === undefined || !this.isActive) throw new NotController()
    let lastIndex = -1
    for (const command of commands) {
      lastIndex = replica.proposeEntry(COMMAND_ENTRY, encodeCommand(command))
    }
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ lastIndex, resolve, reject })
    })
    await this.#publisher.appliedElsewhere(lastIndex)
  }

  async confirm(): Promise<boolean> {
    return this.isActive && (await this.#replica?.confirm()) === true
  }

  // From the replica

  /** A committed command; some come again after a snapshot that has them. @throws OperatorError for a newer command */
  entry(index: number, _term: number, kind: number, payload: Uint8Array): void {
    const appliedIndex = this.#committed.length > 0 ? this.#lastIndex : this.#publisher.image().appliedIndex
    if (kind !== COMMAND_ENTRY || index <= appliedIndex) return
    // Other entries stand between commands: what is published together is consecutive.
    if (this.#committed.length > 0 && index !== this.#lastIndex + 1) this.#publish(this.#lastIndex)
    if (this.#committed.length === 0) this.#firstIndex = index
    this.#committed.push(decodeCommand(payload))
  }

  get #lastIndex(): number {
    return this.#firstIndex + this.#committed.length - 1
  }

  committedIndex(index: number): void {
    if (this.#committed.length > 0) this.#publish(index)
    else this.#applied(index)
  }

  /** @param index up to which everything is applied with these */
  #publish(index: number): void {
    const commands = this.#committed
    const first = this.#firstIndex
    this.#committed = []
    this.#publishing.push(first)
    void this.#publisher.publish(commands, first).then(() => {
      this.#publishing = this.#publishing.filter((other) => other !== first)
      this.#applied(index)
    })
  }

  #applied(index: number): void {
    this.#appliedIndex = Math.max(this.#appliedIndex, index)
    const reached = this.#publishing.length === 0 ? this.#appliedIndex : Math.min(...this.#publishing) - 1
    this.#publisher.appliedHere(reached)
    while (this.#waiting.length > 0 && this.#waiting[0]!.lastIndex <= reached) this.#waiting.shift()!.resolve()
  }

  committed(_offset: number): void {}

  leading(): void {
    this.#isActive = true
    invariant(this.#replica !== undefined, 'a group that leads has a replica')
    this.#leader = brokerOf(this.#replica.leaderId)
    this.#publisher.leading()
  }

  following(leader: number): void {
    this.#isActive = false
    this.#leader = leader < 0 ? -1 : brokerOf(leader)
    this.#giveUp(() => new NotController())
    this.#publisher.following(this.#leader)
  }

  contradicted(leader: number): void {
    this.#publisher.contradicted(brokerOf(leader))
  }

  inSyncChanged(_brokerIds: readonly number[]): void {
    this.#publisher.inSyncChanged()
  }

  snapshot(): Uint8Array {
    return this.#publisher.image().serialize()
  }

  install(snapshot: Uint8Array): void {
    // A group that has just been made has no state yet.
    if (snapshot.length === 0) return
    this.#committed = []
    void this.#publisher.install(snapshot).then(() => this.#applied(this.#publisher.image().appliedIndex))
  }

  failed(): void {
    this.#giveUp(() => new Error('the disk of the metadata log has failed'))
  }

  #giveUp(reason: () => Error): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { reject } of waiting) reject(reason())
  }
}
