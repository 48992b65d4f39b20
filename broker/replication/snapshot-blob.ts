// A group's snapshot as the log keeps it and a peer gets it: who the members are, and the owner's own state.
//
// Pure. The same bytes are in state records of the journal and in snapshots for followers that are behind the log start:
//
//   u8 0xa1, f64 index of the membership, u32 length, membership (raft/membership.ts), the owner's bytes; little-endian
//
// Journals written before groups had members hold the owner's bytes alone, which begin with 1 (producers) or '{' (metadata).

import { decodeMembership, encodeMembership, Membership } from '../raft/membership.ts'
import type { NodeId, PlacedMembership } from '../raft/types.ts'

const FORMAT = 0xa1
export const NO_BYTES: Uint8Array = new Uint8Array(0)
const HEADER_BYTES = 13

export interface GroupSnapshot {
  /** Undefined in snapshots of earlier releases. */
  readonly placed: PlacedMembership | undefined
  /** A view; empty: the owner has nothing to begin from. */
  readonly owner: Uint8Array
}

export function encodeSnapshot(index: number, membership: Membership, owner: Uint8Array): Uint8Array {
  const members = encodeMembership(membership)
  const bytes = new Uint8Array(HEADER_BYTES + members.length + owner.length)
  const view = new DataView(bytes.buffer)
  bytes[0] = FORMAT
  view.setFloat64(1, index, true)
  view.setUint32(9, members.length, true)
  bytes.set(members, HEADER_BYTES)
  bytes.set(owner, HEADER_BYTES + members.length)
  return bytes
}

/** @throws MalformedFrame or RangeError when they are not what encodeSnapshot() or an earlier release wrote */
export function decodeSnapshot(bytes: Uint8Array): GroupSnapshot {
  if (bytes.length === 0 || bytes[0] !== FORMAT) return { placed: undefined, owner: bytes }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const index = view.getFloat64(1, true)
  const end = HEADER_BYTES + view.getUint32(9, true)
  if (end > bytes.length || !Number.isSafeInteger(index) || index < 0) throw new RangeError('a snapshot is cut off')
  const membership = decodeMembership(bytes.subarray(HEADER_BYTES, end))
  return { placed: { index, membership }, owner: bytes.subarray(end) }
}

/** What a new group's log begins with, so that its members are known whatever the metadata says later. */
export function foundingSnapshot(founders: readonly NodeId[] | Membership): Uint8Array {
  const membership = founders instanceof Membership ? founders : new Membership(founders)
  return encodeSnapshot(0, membership, NO_BYTES)
}

/** The owner's part of what a log holds; undefined when it has nothing. */
export function ownerSnapshot(snapshot: Uint8Array | undefined): Uint8Array | undefined {
  if (snapshot === undefined) return undefined
  const { owner } = decodeSnapshot(snapshot)
  return owner.length === 0 ? undefined : owner
}
