// Raft group 0 on the shard that leads it: the metadata log, applied to the image and published to every other shard.
//
// Lives on shard 0. An append is answered when its commands are committed, every shard has applied them and opened the partitions
// they make, and every shard knows the leaders of those: whoever asks any shard then sees the change.

import type { GroupLog } from '../../storage/log.ts'
import { type Command, decodeCommand, encodeCommand, type MetadataLog } from '../cluster/commands.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import type { Replica, ReplicaOwner } from './replica.ts'

/** Kind of the entries that hold a metadata command. */
export const COMMAND_ENTRY = 2

export interface MetadataPublisher {
  /**
   * Applies committed commands here and on every other shard.
   * @param firstIndex index of the first one in the metadata log; the others follow
   * @returns when all of them have, and their new partitions accept requests
   */
  publish(commands: readonly Command[], firstIndex: number): Promise<void>
}

interface Waiting {
  readonly firstIndex: number
  readonly lastIndex: number
  readonly commands: readonly Command[]
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
  readonly #log: GroupLog
  readonly #publisher: MetadataPublisher
  #replica: Replica | undefined
  #waiting: Waiting[] = []

  constructor(log: GroupLog, publisher: MetadataPublisher) {
    this.#log = log
    this.#publisher = publisher
  }

  attach(replica: Replica): void {
    this.#replica = replica
  }

  async append(commands: readonly Command[]): Promise<void> {
    if (commands.length === 0) return
    const replica = this.#replica
    if (replica === undefined || !replica.isLeader) throw new Error('the metadata group has no leader here')
    const firstIndex = this.#log.lastIndex + 1
    for (const command of commands) replica.proposeEntry(COMMAND_ENTRY, encodeCommand(command))
    const lastIndex = firstIndex + commands.length - 1
    await new Promise<void>((resolve, reject) =>
      this.#waiting.push({ firstIndex, lastIndex, commands, resolve, reject }),
    )
  }

  leading(): void {}

  committedIndex(index: number): void {
    while (this.#waiting.length > 0 && this.#waiting[0]!.lastIndex <= index) {
      const { commands, firstIndex, resolve, reject } = this.#waiting.shift()!
      this.#publisher.publish(commands, firstIndex).then(resolve, reject)
    }
  }

  committed(_offset: number): void {}

  failed(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { reject } of waiting) reject(new Error('the disk of the metadata log has failed'))
  }
}
