// What clients were promised and what they saw: the facts that the checkers hold the cluster against.
//
// One per run, written by the workload as it goes. A lane is what one producer sends to one partition: records 0, 1, 2 ... in order. A
// record's bytes follow from its lane and number, so that invented or damaged ones are told apart from real ones.

import type { Scheduler } from './scheduler.ts'

/** A promise was broken. Ends the run. */
export class Violation extends Error {}

export interface PartitionKey {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

export function keyOf({ topicId, partition }: PartitionKey): string {
  return `${topicId}-${partition}`
}

export interface LaneOptions {
  readonly id: number
  readonly idempotent: boolean
}

export class Lane {
  readonly id: number
  readonly idempotent: boolean
  readonly partition: PartitionKey
  /** Payload sizes by number of the record. */
  readonly sizes: number[] = []
  /** How often each record was sent. */
  readonly attempts: number[] = []
  /** Offset by number; -1: acknowledged as a duplicate whose offset the broker has forgotten. */
  readonly acked = new Map<number, number>()

  constructor(partition: PartitionKey, options: LaneOptions) {
    this.partition = partition
    this.id = options.id
    this.idempotent = options.idempotent
  }
}

const HEADER_BYTES = 12

/** The value of a record: its lane, its number, its size, and bytes that follow from them. */
export function recordValue(lane: number, number: number, sizeBytes: number): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES + sizeBytes)
  bytes.writeUInt32LE(lane, 0)
  bytes.writeUInt32LE(number, 4)
  bytes.writeUInt32LE(sizeBytes, 8)
  let state = (Math.imul(lane + 1, 2654435761) + number) >>> 0
  for (let at = HEADER_BYTES; at < bytes.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

/** Which record a value is; undefined when it is none that was ever made. */
export function recordOf(value: Uint8Array | null): { lane: number; number: number } | undefined {
  if (value === null || value.length < HEADER_BYTES) return undefined
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const lane = view.readUInt32LE(0)
  const number = view.readUInt32LE(4)
  const sizeBytes = view.readUInt32LE(8)
  if (sizeBytes !== value.length - HEADER_BYTES) return undefined
  return view.equals(recordValue(lane, number, sizeBytes)) ? { lane, number } : undefined
}

interface Commit {
  readonly generation: number
  readonly offset: number
}

interface GroupPartition {
  /** Of the newest generation that had one acknowledged. */
  acked: Commit | undefined
  readonly attempted: Set<number>
}

/** One record as a consumer saw it. */
interface Seen {
  readonly lane: number
  readonly number: number
}

export class History {
  readonly scheduler: Scheduler
  readonly lanes: Lane[] = []
  readonly topics = new Map<string, { readonly name: string; readonly partitions: number; deleted: boolean }>()
  readonly #seen = new Map<string, Map<number, Seen>>()
  readonly #highWatermarks = new Map<string, number>()
  readonly #groups = new Map<string, GroupPartition>()
  /** Offsets below this one may have been deleted on request. */
  readonly #trims = new Map<string, number>()
  ackedRecords = 0
  readRecords = 0
  ackedCommits = 0

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler
  }

  lane(partition: PartitionKey, idempotent: boolean): Lane {
    const lane = new Lane(partition, { id: this.lanes.length, idempotent })
    this.lanes.push(lane)
    return lane
  }

  sent(lane: Lane, number: number, sizeBytes: number): void {
    lane.sizes[number] = sizeBytes
    lane.attempts[number] = (lane.attempts[number] ?? 0) + 1
  }

  acked(lane: Lane, number: number, offset: number): void {
    const before = lane.acked.get(number)
    if (before !== undefined && before >= 0 && offset >= 0 && before !== offset && lane.idempotent) {
      throw new Violation(
        `an idempotent record has one offset: lane ${lane.id} record ${number} was acknowledged at ${before} and at ${offset}`,
      )
    }
    lane.acked.set(number, offset >= 0 ? offset : (before ?? -1))
    this.ackedRecords++
    this.scheduler.mix(lane.id)
    this.scheduler.mix(offset)
    // Whatever its acks: a producer is answered when a majority has it.
    if (offset >= 0) this.committed(lane.partition, offset + 1)
  }

  /** Everything below `endOffset` is known to be committed: the promise about it stands from now on. */
  committed(partition: PartitionKey, endOffset: number): void {
    const key = keyOf(partition)
    if (endOffset > (this.#highWatermarks.get(key) ?? 0)) this.#highWatermarks.set(key, endOffset)
  }

  /** The least that a reader may be told from now on. */
  committedEnd(partition: PartitionKey): number {
    return this.#highWatermarks.get(keyOf(partition)) ?? 0
  }

  /** Everything below this one was acknowledged or read. */
  knownEnd(partition: PartitionKey): number {
    let end = this.committedEnd(partition)
    for (const offset of this.seen(partition).keys()) if (offset >= end) end = offset + 1
    return end
  }

  trimming(partition: PartitionKey, offset: number): void {
    const key = keyOf(partition)
    this.#trims.set(key, Math.max(this.#trims.get(key) ?? 0, offset))
  }

  trimmedTo(partition: PartitionKey): number {
    return this.#trims.get(keyOf(partition)) ?? 0
  }

  /** A consumer was given this record: it is real, and whoever reads the offset again is given the same. */
  read(partition: PartitionKey, offset: number, value: Uint8Array | null): void {
    const record = recordOf(value)
    if (record === undefined) {
      throw new Violation(`no record is invented or damaged: ${partition.topic}-${partition.partition} at ${offset}`)
    }
    const lane = this.lanes[record.lane]
    if (lane === undefined || keyOf(lane.partition) !== keyOf(partition) || lane.sizes[record.number] === undefined) {
      throw new Violation(
        `no record is invented: ${partition.topic}-${partition.partition} at ${offset} holds lane ${record.lane} record ${record.number}, never sent there`,
      )
    }
    let seen = this.#seen.get(keyOf(partition))
    if (seen === undefined) {
      seen = new Map()
      this.#seen.set(keyOf(partition), seen)
    }
    const before = seen.get(offset)
    if (before !== undefined && (before.lane !== record.lane || before.number !== record.number)) {
      throw new Violation(
        `an offset never changes its record: ${partition.topic}-${partition.partition} at ${offset} was lane ${before.lane} record ${before.number}, now lane ${record.lane} record ${record.number}`,
      )
    }
    seen.set(offset, record)
    this.readRecords++
    this.scheduler.mix(offset)
  }

  /** Everything that was ever read of a partition, by offset. */
  seen(partition: PartitionKey): ReadonlyMap<number, Seen> {
    return this.#seen.get(keyOf(partition)) ?? new Map()
  }

  // Groups

  #group(group: string, partition: PartitionKey): GroupPartition {
    const key = `${group}/${keyOf(partition)}`
    let found = this.#groups.get(key)
    if (found === undefined) {
      found = { acked: undefined, attempted: new Set() }
      this.#groups.set(key, found)
    }
    return found
  }

  committing(group: string, partition: PartitionKey, offset: number): void {
    this.#group(group, partition).attempted.add(offset)
  }

  committedOffset(group: string, partition: PartitionKey, generation: number, offset: number): void {
    const found = this.#group(group, partition)
    this.ackedCommits++
    this.scheduler.mix(offset)
    if (found.acked === undefined || generation >= found.acked.generation) found.acked = { generation, offset }
  }

  /** What a group must at least remember for a partition. -1: nothing. */
  leastCommitted(group: string, partition: PartitionKey): number {
    return this.#group(group, partition).acked?.offset ?? -1
  }

  /**
   * What a member was told when it began: also a commit whose outcome was not known stands once it has been seen.
   * @param least leastCommitted() as it was when the question was asked
   */
  fetchedOffset(group: string, partition: PartitionKey, generation: number, offset: number, least: number): void {
    const where = `${group} ${partition.topic}-${partition.partition}`
    if (offset >= 0 && !this.#group(group, partition).attempted.has(offset)) {
      throw new Violation(`a committed offset is one that somebody committed: ${where} has ${offset}`)
    }
    if (offset < least) {
      throw new Violation(`committed group offsets never move back: ${where} was ${least}, is ${offset}`)
    }
    const found = this.#group(group, partition)
    if (offset >= 0 && (found.acked === undefined || generation >= found.acked.generation)) {
      found.acked = { generation, offset }
    }
  }
}
