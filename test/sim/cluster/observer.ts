// Looks into the brokers after every event, and compares them at the end: what no client can see, and must hold all the same.
//
// One per run. It only reads public state of partitions; nothing in the brokers knows of it.

import { brokerOf } from '../../../broker/cluster/raft-id.ts'
import type { Partition } from '../../../broker/partition/partition.ts'
import type { Replica } from '../../../broker/replication/replica.ts'
import type { Shard } from '../../../broker/shard/shard.ts'
import {
  ATTRIBUTES_AT,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_AT,
  baseOffsetOf,
  CRC_AT,
  LEADER_EPOCH_AT,
  RECORD_COUNT_AT,
  recordCountOf,
  sizeBytesOf,
} from '../../../protocol/records/batch.ts'
import { crc32c } from '../../../protocol/records/crc32c.ts'
import type { SimulatedBroker } from './broker.ts'
import { type History, Violation } from './history.ts'
import { canDoWithout } from './quorums.ts'

type Hosted = ReturnType<Shard['partitions']> extends Iterable<infer P> ? P : never

interface Leadership {
  readonly seat: Seat
  readonly replica: Replica
  readonly term: number
}

/** One shard of a running broker. */
export interface Seat {
  readonly nodeId: number
  readonly shard: Shard
  readonly replicas: Map<number, Replica>
  isAlive(): boolean
}

export class Observer {
  readonly #history: History
  readonly #seats = new Set<Seat>()
  /** Newest leader seen of each group; those of earlier terms are looked up by term. */
  readonly #newest = new Map<number, Leadership>()
  readonly #leaders = new Map<string, number>()
  readonly #highWatermarks = new WeakMap<Hosted, number>()
  readonly #inSync = new WeakMap<Replica, readonly number[]>()
  /** By group and member: up to which offset its disk holds the log, as last seen; kept when the broker is down. */
  readonly #held = new Map<number, Map<number, number>>()
  leaderships = 0
  acknowledgements = 0
  /** Called once for the next leader that is elected. */
  onElected: ((nodeId: number, groupId: number) => void) | undefined

  constructor(history: History) {
    this.#history = history
  }

  sit(seat: Seat): void {
    this.#seats.add(seat)
  }

  /** Those of running brokers. */
  seats(): readonly Seat[] {
    return [...this.#seats].filter((seat) => seat.isAlive())
  }

  /**
   * Whether every group that anybody knows has its quorums without that broker, as far as running brokers know.
   * @param votersMin of the metadata group; with fewer it is still forming
   */
  canLose(nodeId: number, votersMin: number): boolean {
    for (const { replicas } of this.seats()) {
      for (const [groupId, { raft }] of replicas) {
        const { membership } = raft
        if (groupId === 0 && membership.voters.length < Math.min(votersMin, 5)) return false
        if (!canDoWithout(membership, nodeId)) return false
      }
    }
    return true
  }

  /** The broker that led a group last, of all that are known. */
  leaderOf(groupId: number): number | undefined {
    return this.#newest.get(groupId)?.seat.nodeId
  }

  groups(): readonly number[] {
    return [...this.#newest.keys()]
  }

  /** After an event of that shard. @throws Violation */
  look(seat: Seat): void {
    const { shard, replicas, nodeId } = seat
    for (const [groupId, replica] of replicas) {
      if (replica.isRemoved) {
        replicas.delete(groupId)
        continue
      }
      const partition = shard.partition(groupId)
      if (partition !== undefined) this.#lookAtEnd(nodeId, partition)
      this.#heldBy(groupId).set(replica.raft.id, replica.log.durableOffset)
      if (!replica.raft.isLeader) continue
      this.#leads(seat, replica, partition)
      if (replica.isr !== this.#inSync.get(replica)) this.#lookAtInSync(replica, groupId)
    }
  }

  #heldBy(groupId: number): Map<number, number> {
    let held = this.#held.get(groupId)
    if (held === undefined) {
      held = new Map()
      this.#held.set(groupId, held)
    }
    return held
  }

  /**
   * A leader tells a client that a batch is safe. In the leader's turn, so that what disks hold later does not count.
   * @param endOffset exclusive
   * @param minInsyncReplicas copies that were asked for besides those that a commit takes
   * @throws Violation
   */
  acknowledged(partition: Partition, endOffset: number, minInsyncReplicas: number): void {
    this.acknowledgements++
    const { replica } = partition as Hosted
    const { raft } = replica
    const held = this.#heldBy(replica.groupId)
    const holds = (id: number): boolean =>
      (id === raft.id ? replica.log.durableOffset : (held.get(id) ?? 0)) >= endOffset
    if (!raft.membership.canCommit(holds)) {
      throw new Violation(
        `acknowledged means on the disks of a majority, whatever the acks: ${nameOf(partition as Hosted)} up to ${endOffset}`,
      )
    }
    const copies = raft.membership.members.filter((id) => !raft.isWitness(id))
    const holders = copies.filter(holds)
    const wanted = Math.min(minInsyncReplicas, copies.length)
    if (holders.length >= wanted) return
    throw new Violation(
      `acks=all means min.insync.replicas copies: ${nameOf(partition as Hosted)} up to ${endOffset} is acknowledged with ${holders.length} of ${wanted}`,
    )
  }

  #lookAtEnd(nodeId: number, partition: Hosted): void {
    const { highWatermark } = partition
    const before = this.#highWatermarks.get(partition) ?? 0
    if (highWatermark === before) return
    if (highWatermark < before) {
      throw new Violation(
        `the high watermark never moves back: ${nameOf(partition)} on broker ${nodeId}, from ${before} to ${highWatermark}`,
      )
    }
    this.#highWatermarks.set(partition, highWatermark)
  }

  #leads(seat: Seat, replica: Replica, partition: Hosted | undefined): void {
    const { groupId, term } = replica
    const newest = this.#newest.get(groupId)
    if (newest !== undefined && newest.term === term && newest.replica === replica) return
    const name = partition === undefined ? `group ${groupId}` : nameOf(partition)
    if (newest !== undefined && newest.term > term) {
      if (replica.hasLease) {
        throw new Violation(
          `while a lease holds nobody else leads: ${name} is led by broker ${newest.seat.nodeId} in term ${newest.term}, broker ${seat.nodeId} has a lease of term ${term}`,
        )
      }
      return
    }
    const key = `${groupId}/${term}`
    const other = this.#leaders.get(key)
    if (other !== undefined && other !== replica.raft.id) {
      throw new Violation(
        `one leader per term: ${name} is led by nodes ${other} and ${replica.raft.id} in term ${term}`,
      )
    }
    this.#leaders.set(key, replica.raft.id)
    this.leaderships++
    this.#newest.set(groupId, { seat, replica, term })
    if (
      newest?.seat.isAlive() &&
      newest.replica !== replica &&
      newest.replica.raft.isLeader &&
      newest.replica.hasLease
    ) {
      throw new Violation(
        `while a lease holds nobody else leads: ${name} is led by broker ${seat.nodeId} in term ${term}, broker ${newest.seat.nodeId} has a lease of term ${newest.term}`,
      )
    }
    if (replica.raft.isWitness(replica.raft.id)) {
      throw new Violation(`a witness never leads: ${name} is led by broker ${seat.nodeId} in term ${term}`)
    }
    this.#lookAtCommitted(seat, replica, name)
    const acknowledged = partition === undefined ? 0 : this.#history.committedEnd(partition)
    if (partition !== undefined && partition.log.logEndOffset < acknowledged) {
      throw new Violation(
        `a new leader has everything that was acknowledged: ${name} on broker ${seat.nodeId} ends at ${partition.log.logEndOffset} in term ${term}, acknowledged is ${acknowledged}`,
      )
    }
    const call = this.onElected
    this.onElected = undefined
    call?.(seat.nodeId, groupId)
  }

  /** What any broker takes for committed, the new leader has. */
  #lookAtCommitted(seat: Seat, leader: Replica, name: string): void {
    for (const other of this.#seats) {
      if (!other.isAlive()) {
        this.#seats.delete(other)
        continue
      }
      const replica = other.replicas.get(leader.groupId)
      if (replica === undefined || replica === leader || replica.isRemoved) continue
      const { commitIndex } = replica.raft
      // Below 0: trimmed away there, so it was committed once.
      const own = leader.log.termAt(commitIndex)
      const theirs = replica.log.termAt(commitIndex)
      const isMissing = leader.log.lastIndex < commitIndex
      if (!isMissing && (own < 0 || theirs < 0 || own === theirs)) continue
      throw new Violation(
        `a new leader has everything that is committed: ${name} on broker ${seat.nodeId} in term ${leader.term} has term ${own} at index ${commitIndex}, broker ${other.nodeId} committed term ${theirs}`,
      )
    }
  }

  #lookAtInSync(leader: Replica, groupId: number): void {
    const before = this.#inSync.get(leader) ?? []
    this.#inSync.set(leader, leader.isr)
    for (const nodeId of leader.isr) {
      if (before.includes(nodeId)) continue
      const { raft } = leader
      if (raft.membership.members.every((id) => brokerOf(id) !== nodeId || raft.isWitness(id))) {
        throw new Violation(`who is in sync stores records: group ${groupId} has broker ${nodeId} in sync`)
      }
      for (const seat of this.#seats) {
        if (seat.nodeId !== nodeId) continue
        if (!seat.isAlive()) {
          this.#seats.delete(seat)
          continue
        }
        const follower = seat.replicas.get(groupId)
        if (follower === undefined || follower.isRemoved || follower.log.lastIndex >= leader.raft.commitIndex) continue
        // With another disk it is another member; that the old one is gone is learned a moment later.
        if (!leader.raft.membership.members.includes(follower.raft.id)) continue
        throw new Violation(
          `who is in sync holds what is committed: group ${groupId} has broker ${nodeId} in sync at ${follower.log.lastIndex}, committed is ${leader.raft.commitIndex}`,
        )
      }
    }
  }
}

/** The replicas of every group, by group number. */
export function replicasOf(
  brokers: readonly SimulatedBroker[],
): Map<number, { broker: SimulatedBroker; shardId: number; partition: Hosted }[]> {
  const groups = new Map<number, { broker: SimulatedBroker; shardId: number; partition: Hosted }[]>()
  for (const broker of brokers) {
    broker.shards.forEach((shard, shardId) => {
      for (const partition of shard.partitions()) {
        const list = groups.get(partition.groupId) ?? []
        list.push({ broker, shardId, partition })
        groups.set(partition.groupId, list)
      }
    })
  }
  return groups
}

/** A batch as a log holds it, stamped. */
interface Print {
  /** CRC32C of all of it. */
  readonly whole: number
  /** CRC32C of what a witness has as well: where it lies, its leader epoch, its producer, its times. */
  readonly header: number
}

/** Every batch below the high watermark, by base offset. @throws Violation when a witness holds records */
export async function fingerprint(partition: Hosted): Promise<Map<number, Print>> {
  const prints = new Map<number, Print>()
  const witness = isWitness(partition)
  const end = partition.highWatermark
  for (let offset = partition.log.logStartOffset; offset < end; ) {
    const result = await partition.log.read(offset, 1 << 16, end, true)
    if (result.bytes === 0)
      throw new Violation(`what is committed can be read: ${nameOf(partition)} at ${offset} of ${end}`)
    for (const fragment of result.fragments) {
      for (let at = 0; at < fragment.length; at += sizeBytesOf(fragment, at)) {
        const end = at + sizeBytesOf(fragment, at)
        if (witness && (end - at !== BATCH_HEADER_BYTES || recordCountOf(fragment, at) !== 0)) {
          throw new Violation(`a witness stores no records: ${nameOf(partition)} at ${baseOffsetOf(fragment, at)}`)
        }
        const place = crc32c(fragment, at, at + BATCH_LENGTH_AT)
        const epoch = crc32c(fragment, at + LEADER_EPOCH_AT, at + CRC_AT, place)
        const header = crc32c(fragment, at + ATTRIBUTES_AT, at + RECORD_COUNT_AT, epoch)
        prints.set(baseOffsetOf(fragment, at), { whole: crc32c(fragment, at, end), header })
      }
    }
    offset = result.nextOffset
    result.release()
  }
  return prints
}

function isWitness({ replica }: Hosted): boolean {
  return replica.raft.isWitness(replica.raft.id)
}

/** @throws Violation unless both hold the same bytes where both have the log; of a witness, the same headers. */
export function compareReplicas(
  one: { name: string; partition: Hosted; prints: ReadonlyMap<number, Print> },
  other: { name: string; partition: Hosted; prints: ReadonlyMap<number, Print> },
): void {
  const start = Math.max(one.partition.log.logStartOffset, other.partition.log.logStartOffset)
  const end = Math.min(one.partition.highWatermark, other.partition.highWatermark)
  const offsets = new Set([...one.prints.keys(), ...other.prints.keys()])
  const part = isWitness(one.partition) || isWitness(other.partition) ? 'header' : 'whole'
  for (const offset of offsets) {
    if (offset < start || offset >= end) continue
    if (one.prints.get(offset)?.[part] === other.prints.get(offset)?.[part]) continue
    throw new Violation(
      `replicas are equal below the high watermark: ${nameOf(one.partition)} at ${offset} differs between ${one.name} and ${other.name}`,
    )
  }
  if (one.partition.log.logEndOffset !== other.partition.log.logEndOffset) return
  if (one.partition.highWatermark !== one.partition.log.logEndOffset) return
  const state = producersOf(one.partition)
  if (state !== producersOf(other.partition)) {
    throw new Violation(
      `replicas remember the same of their producers: ${nameOf(one.partition)} ${one.name} has ${state}, ${other.name} ${producersOf(other.partition)}`,
    )
  }
}

function producersOf(partition: Hosted): string {
  return partition
    .describeProducers()
    .map(({ producerId, producerEpoch, lastSequence }) => `${producerId}/${producerEpoch}@${lastSequence}`)
    .sort()
    .join(' ')
}

function nameOf(partition: Hosted): string {
  return `${partition.topic}-${partition.partition}`
}
