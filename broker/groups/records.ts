// What the group coordinator writes to __consumer_offsets, byte for byte as Kafka 4.3 does, and how it is read back.
//
// Pure. A key is the record's type (int16) and its fields, a value is its layout version (int16) and its fields, a null
// value is a tombstone. Types and versions: README.md, "Records". Types and versions of other brokers are passed over.

import { decoder, encoder } from '../../protocol/compile.ts'
import {
  GroupMetadataKey,
  GroupMetadataValue,
  OffsetCommitKey,
  OffsetCommitValue,
} from '../../protocol/messages/group-records.ts'
import { MalformedFrame, Reader } from '../../protocol/reader.ts'
import { type Fields, type Input, includes, type Message, ZERO_UUID } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import type { GroupMetadata } from './classic-events.ts'
import { copyOf } from './members.ts'
import type { CommittedOffset } from './offsets.ts'

export interface KeyValue {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
}

const RecordType = {
  /** Written by brokers of long ago; the layout is the same. */
  oldOffsetCommit: 0,
  offsetCommit: 1,
  groupMetadata: 2,
} as const

const KEY_VERSION = 0
const GROUP_METADATA_VERSION = 3
const OFFSET_COMMIT_VERSION = 4
/** The only version with an expiry of its own; leader epoch and topic id have no place in it. */
const OFFSET_COMMIT_WITH_EXPIRY_VERSION = 1

export type GroupRecord =
  | {
      readonly type: 'offset'
      readonly groupId: string
      readonly topic: string
      readonly partition: number
      readonly committed: CommittedOffset | null
    }
  | { readonly type: 'group'; readonly groupId: string; readonly metadata: GroupMetadata | null }
  /** Of a kind that this broker does not know; `reason` says which. */
  | { readonly type: 'foreign'; readonly reason: string }

export function offsetRecord(
  groupId: string,
  topic: string,
  partition: number,
  committed: CommittedOffset | null,
): KeyValue {
  const key = encode(RecordType.offsetCommit, OffsetCommitKey, KEY_VERSION, { group: groupId, topic, partition })
  if (committed === null) return { key, value: null }
  const version = committed.expireTimestampMs < 0 ? OFFSET_COMMIT_VERSION : OFFSET_COMMIT_WITH_EXPIRY_VERSION
  const value = encode(version, OffsetCommitValue, version, {
    offset: committed.offset,
    leaderEpoch: committed.leaderEpoch,
    metadata: committed.metadata,
    commitTimestamp: committed.commitTimestampMs,
    expireTimestamp: committed.expireTimestampMs,
    topicId: committed.topicId,
  })
  return { key, value }
}

export function groupRecord(groupId: string, metadata: GroupMetadata | null): KeyValue {
  const key = encode(RecordType.groupMetadata, GroupMetadataKey, KEY_VERSION, { group: groupId })
  if (metadata === null) return { key, value: null }
  const value = encode(GROUP_METADATA_VERSION, GroupMetadataValue, GROUP_METADATA_VERSION, {
    protocolType: metadata.protocolType,
    generation: metadata.generationId,
    protocol: metadata.protocolName,
    leader: metadata.leader,
    currentStateTimestamp: metadata.currentStateTimestampMs,
    members: metadata.members.map((member) => ({
      memberId: member.memberId,
      groupInstanceId: member.groupInstanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      rebalanceTimeout: member.rebalanceTimeoutMs,
      sessionTimeout: member.sessionTimeoutMs,
      subscription: member.subscription,
      assignment: member.assignment,
    })),
  })
  return { key, value }
}

/** Never throws for what lies in the log: anybody may produce to __consumer_offsets. */
export function readRecord(key: Uint8Array | null, value: Uint8Array | null): GroupRecord {
  if (key === null) return { type: 'foreign', reason: 'no key' }
  try {
    const reader = new Reader(key)
    const type = reader.int16()
    switch (type) {
      case RecordType.oldOffsetCommit:
      case RecordType.offsetCommit:
        return readOffset(reader, value)
      case RecordType.groupMetadata:
        return readGroup(reader, value)
      default:
        return { type: 'foreign', reason: `record type ${type}` }
    }
  } catch (error) {
    if (error instanceof MalformedFrame) return { type: 'foreign', reason: error.message }
    throw error
  }
}

function readOffset(keyReader: Reader, bytes: Uint8Array | null): GroupRecord {
  const { group: groupId, topic, partition } = decoder(OffsetCommitKey, KEY_VERSION)(keyReader)
  if (bytes === null) return { type: 'offset', groupId, topic, partition, committed: null }
  const reader = new Reader(bytes)
  const version = reader.int16()
  if (!includes(OffsetCommitValue.versions, version)) return { type: 'foreign', reason: `offset layout ${version}` }
  const value = decoder(OffsetCommitValue, version)(reader)
  const committed: CommittedOffset = {
    offset: value.offset,
    leaderEpoch: value.leaderEpoch,
    metadata: value.metadata,
    commitTimestampMs: value.commitTimestamp,
    expireTimestampMs: value.expireTimestamp,
    topicId: value.topicId,
  }
  return { type: 'offset', groupId, topic, partition, committed }
}

function readGroup(keyReader: Reader, bytes: Uint8Array | null): GroupRecord {
  const { group: groupId } = decoder(GroupMetadataKey, KEY_VERSION)(keyReader)
  if (bytes === null) return { type: 'group', groupId, metadata: null }
  const reader = new Reader(bytes)
  const version = reader.int16()
  if (!includes(GroupMetadataValue.versions, version)) return { type: 'foreign', reason: `group layout ${version}` }
  const value = decoder(GroupMetadataValue, version)(reader)
  const metadata: GroupMetadata = {
    protocolType: value.protocolType,
    generationId: value.generation,
    protocolName: value.protocol,
    leader: value.leader,
    currentStateTimestampMs: value.currentStateTimestamp,
    members: value.members.map((member) => ({
      memberId: member.memberId,
      groupInstanceId: member.groupInstanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      rebalanceTimeoutMs: member.rebalanceTimeout,
      sessionTimeoutMs: member.sessionTimeout,
      // Views of the log's memory, which goes away: a group keeps its own.
      subscription: copyOf(member.subscription),
      assignment: copyOf(member.assignment),
    })),
  }
  return { type: 'group', groupId, metadata }
}

function encode<F extends Fields>(prefix: number, message: Message<F>, version: number, value: Input<F>): Uint8Array {
  const writer = new Writer()
  writer.int16(prefix)
  encoder(message, version)(writer, value)
  return writer.toBytes()
}

/** A topic id that says nothing. */
export const NO_TOPIC_ID = ZERO_UUID
