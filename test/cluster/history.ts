// What writers were told, set against what the log holds: the checks that kill.ts and faults.ts make after each round.
//
// A history belongs to one run. Writers and committers are added when they have stopped; check() reads every partition and
// counts what must not be.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from '../support/cluster.ts'
import { eventually } from '../support/process.ts'
import {
  commitOffset,
  committedOffset,
  findCoordinator,
  listOffset,
  RawConnection,
  type RawRecord,
  readAll,
} from '../support/raw.ts'
import type { Writer } from './writers.ts'

const COMPLAINTS_MAX = 50
/** The coordinator is moving or still reads its log. */
const COORDINATOR_ERRORS = [14, 15, 16]

export interface HistoryAccess {
  readonly partitions: number
  /** Every record of a partition, from the start to the high watermark. */
  read(topic: string, partition: number): Promise<readonly RawRecord[]>
  /** A connection to the coordinator of a group. */
  coordinator(groupId: string): Promise<RawConnection>
}

/** Any broker that runs is asked who leads, and who coordinates. */
export function accessOf(cluster: Cluster, partitions: number): HistoryAccess {
  return {
    partitions,
    read: (topic, partition) =>
      eventually(`reading ${topic}-${partition}`, 60_000, async (): Promise<RawRecord[]> => {
        const { port, host } = cluster.brokers[await cluster.leaderOf(topic, partition)]!
        const connection = await RawConnection.open(port, host)
        try {
          // Only a leader that is sure of it says where the log ends: one that was cut off a moment ago still serves what it had.
          const { error, offset: end } = await listOffset(connection, topic, partition, -1)
          if (error !== 0) throw new Error(`end of ${topic}-${partition}: error ${error}`)
          const records = await readAll(connection, topic, partition)
          const readEnd = (records.at(-1)?.offset ?? -1) + 1
          if (readEnd < end) throw new Error(`${topic}-${partition} is read to ${readEnd}, it ends at ${end}`)
          return records
        } finally {
          connection.close()
        }
      }),
    async coordinator(groupId) {
      for (const { port, host } of cluster.brokers) {
        try {
          const any = await RawConnection.open(port, host)
          const found = await findCoordinator(any, groupId).finally(() => any.close())
          if (found.error === 0) return await RawConnection.open(found.port, found.host)
        } catch {
          // That broker is down, or says nothing: the next one.
        }
      }
      throw new Error(`no broker names the coordinator of ${groupId}`)
    },
  }
}

export class History {
  readonly counts = {
    acknowledged: 0,
    read: 0,
    lost: 0,
    duplicated: 0,
    retriedTwice: 0,
    unknown: 0,
    gaps: 0,
    groupOffsetsLost: 0,
  }
  readonly complaints: string[] = []
  #topics: readonly string[] = []
  #writers: Writer[] = []
  #committers: Committer[] = []

  /** Everything the topics so far held is done with; these are checked from now on. */
  begin(topics: readonly string[]): void {
    this.#topics = topics
    this.#writers = []
    this.#committers = []
  }

  add(writers: readonly Writer[], committer: Committer): void {
    this.#writers.push(...writers)
    this.#committers = this.#committers.filter(({ groupId }) => groupId !== committer.groupId)
    this.#committers.push(committer)
    for (const { acknowledged } of writers) this.counts.acknowledged += acknowledged.length
  }

  /** The committer of an earlier round for the same group. */
  committerOf(groupId: string): Committer | undefined {
    return this.#committers.find((other) => other.groupId === groupId)
  }

  get bad(): number {
    const { lost, duplicated, gaps, unknown, groupOffsetsLost } = this.counts
    return lost + duplicated + gaps + unknown + groupOffsetsLost
  }

  complain(text: string): void {
    if (this.complaints.length < COMPLAINTS_MAX) this.complaints.push(text)
  }

  report(): string {
    const { acknowledged, read, lost, duplicated, gaps, groupOffsetsLost, unknown, retriedTwice } = this.counts
    return (
      `${acknowledged} records acknowledged, ${read} read; ${lost} lost, ${duplicated} duplicated with ` +
      `idempotence on, ${gaps} gaps in offsets, ${unknown} never sent, ${groupOffsetsLost} group offsets lost ` +
      `(${retriedTwice} written twice by retries without idempotence)`
    )
  }

  async check(round: string, access: HistoryAccess): Promise<void> {
    for (const topic of this.#topics) await this.#checkTopic(round, topic, access)
    for (const committer of this.#committers) await this.#checkCommitted(round, committer, access)
  }

  async #checkTopic(round: string, topic: string, access: HistoryAccess): Promise<void> {
    const own = this.#writers.filter((writer) => writer.topic === topic)
    const byOffset: string[][] = []
    const seen = new Map<string, number>()
    for (let partition = 0; partition < access.partitions; partition++) {
      const records = await access.read(topic, partition)
      byOffset[partition] = records.map((record) => record.value?.toString() ?? '')
      this.counts.read += records.length
      records.forEach((record, index) => {
        if (record.offset !== index) {
          this.counts.gaps++
          this.complain(`${round}: ${topic}-${partition} has offset ${record.offset} where ${index} is due`)
        }
        const value = record.value?.toString() ?? ''
        seen.set(value, (seen.get(value) ?? 0) + 1)
      })
    }
    for (const writer of own) {
      for (const { value, partition, offset } of writer.acknowledged) {
        // Without idempotence the acknowledged copy is one of several; with it there is one, at the offset that was answered.
        if (byOffset[partition]?.[offset] === value) continue
        this.counts.lost++
        this.complain(
          `${round}: ${writer.name} ${value} is not at ${topic}-${partition}@${offset}: ${byOffset[partition]?.[offset]}`,
        )
      }
    }
    for (const [value, times] of seen) {
      const writer = own.find((candidate) => candidate.attempted(value))
      if (writer === undefined) {
        this.counts.unknown++
        this.complain(`${round}: ${topic} holds ${JSON.stringify(value)}, which nobody sent`)
      } else if (times > 1 && writer.mayDuplicate) {
        this.counts.retriedTwice++
      } else if (times > 1) {
        this.counts.duplicated++
        this.complain(`${round}: ${writer.name} ${value} is in ${topic} ${times} times`)
      }
    }
  }

  async #checkCommitted(round: string, committer: Committer, access: HistoryAccess): Promise<void> {
    const { groupId, topic, acknowledged, attempted } = committer
    let problem = ''
    for (let attempt = 0; attempt < 200; attempt++) {
      try {
        const connection = await access.coordinator(groupId)
        const { error, offset } = await committedOffset(connection, groupId, topic, 0)
        connection.close()
        if (error === 0) {
          if (offset >= acknowledged && offset <= attempted) return
          problem = `has ${offset}, acknowledged ${acknowledged} of ${attempted}`
          break
        }
        problem = `OffsetFetch: error ${error}`
        if (!COORDINATOR_ERRORS.includes(error)) break
      } catch (error) {
        problem = String(error)
      }
      await sleep(50)
    }
    this.counts.groupOffsetsLost++
    this.complain(`${round}: group ${groupId}: ${problem}`)
  }
}

/** Commits 1, 2, 3, ... for one group until told to stop; brokers may die meanwhile. */
export class Committer {
  readonly groupId: string
  readonly topic: string
  acknowledged = 0
  attempted = 0
  #stopping = false
  #loop: Promise<void> | undefined
  readonly #open: (groupId: string) => Promise<RawConnection>

  /** @param earlier the committer of an earlier round for the same group, whose numbers go on */
  constructor(
    groupId: string,
    topic: string,
    open: (groupId: string) => Promise<RawConnection>,
    earlier: Committer | undefined,
  ) {
    this.groupId = groupId
    this.topic = topic
    this.#open = open
    this.attempted = earlier?.attempted ?? 0
    this.acknowledged = earlier?.acknowledged ?? 0
  }

  start(): void {
    this.#loop = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await this.#loop
  }

  async #run(): Promise<void> {
    let connection: RawConnection | undefined
    while (!this.#stopping) {
      try {
        connection ??= await this.#open(this.groupId)
        const offset = ++this.attempted
        const error = await commitOffset(connection, this.groupId, this.topic, 0, offset)
        if (error === 0) {
          this.acknowledged = offset
          continue
        }
        connection.close()
        connection = undefined
      } catch {
        connection?.close()
        connection = undefined
      }
      await sleep(20)
    }
    connection?.close()
  }
}
