// Looks into the brokers after every event, and compares them at the end: what no client can see, and must hold all the same.
//
// One per run. It only reads public state of partitions; nothing in the brokers knows of it.

import { brokerOf } from '../../../broker/cluster/raft-id.ts'
import type { Replica } from '../../../broker/replication/replica.ts'
import type { Shard } from '../../../broker/shard/shard.ts'
import { baseOffsetOf, sizeBytesOf } from '../../../protocol/records/batch.ts'
import { crc32c } from '../../../protocol/records/crc32c.ts'
import type { SimulatedBroker } from './broker.ts'
import { type History, Violation } from './history.ts'

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
  leaderships = 0
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
        const { voters, outgoing } = raft.membership
        if (groupId === 0 && voters.length < Math.min(votersMin, 5)) return false
        for (const list of [voters, outgoing]) {
          const left = list.filter((id) => brokerOf(id) !== nodeId).length
          if (list.length > 0 && 2 * left <= list.length) return false
        }
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
      if (!replica.raft.isLeader) continue
      this.#leads(seat, replica, partition)
      if (replica.isr !== this.#inSync.get(replica)) this.#lookAtInSync(replica, groupId)
    }
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

/** CRC32C of every batch below the high watermark, by base offset, as the log holds it: stamped. */
export async function fingerprint(partition: Hosted): Promise<Map<number, number>> {
  const prints = new Map<number, number>()
  const end = partition.highWatermark
  for (let offset = partition.log.logStartOffset; offset < end; ) {
    const result = await partition.log.read(offset, 1 << 16, end, true)
    if (result.bytes === 0)
      throw new Violation(`what is committed can be read: ${nameOf(partition)} at ${offset} of ${end}`)
    for (const fragment of result.fragments) {
      for (let at = 0; at < fragment.length; at += sizeBytesOf(fragment, at)) {
        prints.set(baseOffsetOf(fragment, at), crc32c(fragment, at, at + sizeBytesOf(fragment, at)))
      }
    }
    offset = result.nextOffset
    result.release()
  }
  return prints
}

/** @throws Violation unless both hold the same bytes where both have the log. */
export function compareReplicas(
  one: { name: string; partition: Hosted; prints: ReadonlyMap<number, number> },
  other: { name: string; partition: Hosted; prints: ReadonlyMap<number, number> },
): void {
  const start = Math.max(one.partition.log.logStartOffset, other.partition.log.logStartOffset)
  const end = Math.min(one.partition.highWatermark, other.partition.highWatermark)
  const offsets = new Set([...one.prints.keys(), ...other.prints.keys()])
  for (const offset of offsets) {
    if (offset < start || offset >= end) continue
    if (one.prints.get(offset) === other.prints.get(offset)) continue
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
