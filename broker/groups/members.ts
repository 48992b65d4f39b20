// The members of one classic group: who they are, what they speak, which requests of theirs are held, who leads.
//
// Owned by one ClassicGroup (classic.ts) and touched only through it, on the shard that leads the group's partition of
// __consumer_offsets. No timers: a member's deadline is a number that classic.ts compares with the time it is handed.

import { invariant } from '../../protocol/invariant.ts'

export interface Protocol {
  readonly name: string
  readonly metadata: Uint8Array
}

export interface Member {
  memberId: string
  groupInstanceId: string | null
  clientId: string
  /** As Kafka prints it: '/127.0.0.1'. */
  clientHost: string
  rebalanceTimeoutMs: number
  sessionTimeoutMs: number
  /** In the member's order of preference, names unique. */
  protocols: readonly Protocol[]
  /** What the leader gave it in the last finished SyncGroup; empty before. */
  assignment: Uint8Array
  /** Waits in its first JoinGroup: it has no id to send heartbeats with yet. */
  isNew: boolean
  /** The JoinGroup that waits for the end of the join phase. Set through holdJoin() and releaseJoin(). */
  heldJoin: number | undefined
  /** The SyncGroup that waits for the leader's assignment. */
  heldSync: number | undefined
  /** Monotonic ms at which it is removed; Infinity while a held request vouches for it. */
  deadlineMs: number
}

export const NO_BYTES = new Uint8Array(0)

/** What a member takes beside the bytes of its protocols: its object, its ids, its places in the maps. */
const MEMBER_OVERHEAD_BYTES = 1024

/** What so many protocols take in memory, with the member whose they are. */
export function memberBytes(protocols: readonly Protocol[]): number {
  let bytes = MEMBER_OVERHEAD_BYTES
  for (const { name, metadata } of protocols) bytes += name.length + metadata.length
  return bytes
}

/** For what outlives a request: its bytes are views of the frame. (slice() of a Buffer would be a view again.) */
export function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

export class Members {
  readonly #byId = new Map<string, Member>()
  readonly #byInstance = new Map<string, string>()
  /** How many members list a protocol name. One that all list is a candidate. */
  readonly #supporterCounts = new Map<string, number>()
  #awaitingJoinCount = 0
  #heldBytes = 0
  #leaderId: string | undefined

  get count(): number {
    return this.#byId.size
  }

  /** Roughly what they take in memory; the assignments are what the log holds, and are not in it. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  get awaitingJoinCount(): number {
    return this.#awaitingJoinCount
  }

  get leaderId(): string | undefined {
    return this.#leaderId
  }

  /** In the order they joined; a static member that came back counts as new. */
  all(): IterableIterator<Member> {
    return this.#byId.values()
  }

  get(memberId: string): Member | undefined {
    return this.#byId.get(memberId)
  }

  /** The member id that now stands for this group.instance.id. */
  idOfInstance(groupInstanceId: string): string | undefined {
    return this.#byInstance.get(groupInstanceId)
  }

  /** The first member to join leads until it leaves. */
  add(member: Member): void {
    invariant(!this.#byId.has(member.memberId), 'a member id joins once')
    this.#byId.set(member.memberId, member)
    if (member.groupInstanceId !== null) this.#byInstance.set(member.groupInstanceId, member.memberId)
    this.#countProtocols(member.protocols, 1)
    if (member.heldJoin !== undefined) this.#awaitingJoinCount += 1
    this.#leaderId ??= member.memberId
  }

  /** Takes the member out; its held requests are the caller's to answer. The next in order leads when it was the leader. */
  remove(member: Member): void {
    const wasThere = this.#byId.delete(member.memberId)
    invariant(wasThere, 'only a member is removed')
    if (member.groupInstanceId !== null) this.#byInstance.delete(member.groupInstanceId)
    this.#countProtocols(member.protocols, -1)
    if (member.heldJoin !== undefined) this.#awaitingJoinCount -= 1
    if (this.#leaderId === member.memberId) {
      const next = this.#byId.values().next()
      this.#leaderId = next.done ? undefined : next.value.memberId
    }
  }

  /** Puts `successor` where `member` was, leadership included. Held requests of the old one are the caller's to answer. */
  replace(member: Member, successor: Member): void {
    const wasLeader = this.#leaderId === member.memberId
    this.remove(member)
    this.add(successor)
    if (wasLeader) this.#leaderId = successor.memberId
  }

  holdJoin(member: Member, request: number): void {
    if (member.heldJoin === undefined) this.#awaitingJoinCount += 1
    member.heldJoin = request
  }

  /** @returns the request that was held, now the caller's to answer */
  releaseJoin(member: Member): number | undefined {
    const request = member.heldJoin
    if (request !== undefined) {
      this.#awaitingJoinCount -= 1
      member.heldJoin = undefined
    }
    return request
  }

  setProtocols(member: Member, protocols: readonly Protocol[]): void {
    this.#countProtocols(member.protocols, -1)
    member.protocols = protocols
    this.#countProtocols(protocols, 1)
  }

  /** True when at least one of the names is spoken by every member. */
  allSupportOneOf(protocols: readonly Protocol[]): boolean {
    return protocols.some((protocol) => (this.#supporterCounts.get(protocol.name) ?? 0) === this.#byId.size)
  }

  /** Restores the leader of a stored group; passed over when it is no member. */
  lead(memberId: string): void {
    if (this.#byId.has(memberId)) this.#leaderId = memberId
  }

  /** Makes the first member that waits in JoinGroup the leader when the old one did not come; false when none waits. */
  electJoinedLeader(): boolean {
    if (this.#leaderId === undefined) return false
    if (this.#byId.get(this.#leaderId)!.heldJoin !== undefined) return true
    for (const member of this.#byId.values()) {
      if (member.heldJoin !== undefined) {
        this.#leaderId = member.memberId
        return true
      }
    }
    return false
  }

  /**
   * Each member votes for the first of its own protocols that all members speak; most votes win. A tie goes to the protocol
   * that comes first in the leader's list, so that the same members always choose the same.
   */
  vote(): string {
    const votes = new Map<string, number>()
    for (const member of this.#byId.values()) {
      const choice = member.protocols.find((protocol) => this.#supporterCounts.get(protocol.name) === this.#byId.size)
      invariant(choice !== undefined, 'all members have a protocol in common', this.#byId.size)
      votes.set(choice.name, (votes.get(choice.name) ?? 0) + 1)
    }
    const leader = this.#byId.get(this.#leaderId ?? '')
    invariant(leader !== undefined, 'a group with members has a leader', this.#byId.size)
    let winner = ''
    let most = 0
    for (const { name } of leader.protocols) {
      const count = votes.get(name) ?? 0
      if (count > most) {
        winner = name
        most = count
      }
    }
    return winner
  }

  #countProtocols(protocols: readonly Protocol[], step: 1 | -1): void {
    this.#heldBytes += step * memberBytes(protocols)
    for (const { name } of protocols) {
      const count = (this.#supporterCounts.get(name) ?? 0) + step
      if (count === 0) this.#supporterCounts.delete(name)
      else this.#supporterCounts.set(name, count)
    }
  }
}

export function metadataOf(member: Member, protocolName: string | undefined): Uint8Array {
  return member.protocols.find((protocol) => protocol.name === protocolName)?.metadata ?? NO_BYTES
}

export function sameProtocols(left: readonly Protocol[], right: readonly Protocol[]): boolean {
  return left.length === right.length && left.every((protocol, at) => sameProtocol(protocol, right[at]!))
}

function sameProtocol(left: Protocol, right: Protocol): boolean {
  return left.name === right.name && Buffer.compare(left.metadata, right.metadata) === 0
}

/** A name given twice counts once, with its first metadata. */
export function withoutRepeats(protocols: readonly Protocol[]): readonly Protocol[] {
  if (new Set(protocols.map((protocol) => protocol.name)).size === protocols.length) return protocols
  const first = new Map<string, Protocol>()
  for (const protocol of protocols) if (!first.has(protocol.name)) first.set(protocol.name, protocol)
  return [...first.values()]
}
