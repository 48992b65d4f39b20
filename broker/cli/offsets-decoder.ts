// What a record of __consumer_offsets says, as plain objects: for `log dump --offsets-decoder`.
//
// Pure. A key is the record's type (int16) and its fields, a value its layout version (int16) and its fields.

import { decoder } from '../../protocol/compile.ts'
import { ConsumerProtocolAssignment, ConsumerProtocolSubscription } from '../../protocol/messages/consumer-protocol.ts'
import * as records from '../../protocol/messages/group-records.ts'
import { MalformedFrame, Reader } from '../../protocol/reader.ts'
import { includes, type Message } from '../../protocol/schema.ts'

interface Kind {
  readonly name: string
  readonly key: Message
  readonly value: Message
}

/** By the type a key begins with. Source: Kafka's group coordinator records, CoordinatorRecordType. */
const KINDS: ReadonlyMap<number, Kind> = new Map([
  [0, kind('offset-commit', records.LegacyOffsetCommitKey, records.LegacyOffsetCommitValue)],
  [1, kind('offset-commit', records.OffsetCommitKey, records.OffsetCommitValue)],
  [2, kind('group-metadata', records.GroupMetadataKey, records.GroupMetadataValue)],
  [3, kind('consumer-group-metadata', records.ConsumerGroupMetadataKey, records.ConsumerGroupMetadataValue)],
  [
    4,
    kind(
      'consumer-group-partition-metadata',
      records.ConsumerGroupPartitionMetadataKey,
      records.ConsumerGroupPartitionMetadataValue,
    ),
  ],
  [
    5,
    kind(
      'consumer-group-member-metadata',
      records.ConsumerGroupMemberMetadataKey,
      records.ConsumerGroupMemberMetadataValue,
    ),
  ],
  [
    6,
    kind(
      'consumer-group-target-assignment-metadata',
      records.ConsumerGroupTargetAssignmentMetadataKey,
      records.ConsumerGroupTargetAssignmentMetadataValue,
    ),
  ],
  [
    7,
    kind(
      'consumer-group-target-assignment-member',
      records.ConsumerGroupTargetAssignmentMemberKey,
      records.ConsumerGroupTargetAssignmentMemberValue,
    ),
  ],
  [
    8,
    kind(
      'consumer-group-current-member-assignment',
      records.ConsumerGroupCurrentMemberAssignmentKey,
      records.ConsumerGroupCurrentMemberAssignmentValue,
    ),
  ],
  [
    16,
    kind(
      'consumer-group-regular-expression',
      records.ConsumerGroupRegularExpressionKey,
      records.ConsumerGroupRegularExpressionValue,
    ),
  ],
])

function kind(name: string, key: Message, value: Message): Kind {
  return { name, key, value }
}

export interface GroupRecordText {
  /** 'offset-commit' and the like; 'unknown' for what cannot be read. */
  readonly type: string
  readonly key: unknown
  /** Null for a tombstone. */
  readonly value: unknown
}

/** Reads a record; what is damaged or of an unknown kind comes back as such, with its bytes in hexadecimal. */
export function decodeGroupRecord(key: Uint8Array | null, value: Uint8Array | null): GroupRecordText {
  try {
    if (key === null) return unknown(key, value)
    const keyReader = new Reader(key)
    const found = KINDS.get(keyReader.int16())
    if (found === undefined) return unknown(key, value)
    const decodedKey = decoder(found.key, 0)(keyReader)
    return { type: found.name, key: decodedKey, value: value === null ? null : decodedValue(found, value) }
  } catch (error) {
    if (error instanceof MalformedFrame) return unknown(key, value)
    throw error
  }
}

function decodedValue(found: Kind, bytes: Uint8Array): unknown {
  const reader = new Reader(bytes)
  const version = reader.int16()
  if (!includes(found.value.versions, version)) return { version, bytes: hex(bytes) }
  const value: Record<string, unknown> = { version, ...decoder(found.value, version)(reader) }
  return readable(value)
}

/** Bytes inside are what consumers tell each other where they can be read so, hexadecimal otherwise; bigints become text. */
function readable(value: unknown, name = ''): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Uint8Array) {
    if (name === 'subscription') return consumerProtocol(ConsumerProtocolSubscription, value)
    if (name === 'assignment') return consumerProtocol(ConsumerProtocolAssignment, value)
    return hex(value)
  }
  if (Array.isArray(value)) return value.map((item) => readable(item))
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, readable(item, key)]))
  }
  return value
}

function consumerProtocol(message: Message, bytes: Uint8Array): unknown {
  if (bytes.length === 0) return null
  try {
    const reader = new Reader(bytes)
    const version = Math.min(reader.int16(), message.versions.last)
    return readable(decoder(message, version)(reader))
  } catch (error) {
    if (error instanceof MalformedFrame) return hex(bytes)
    throw error
  }
}

function unknown(key: Uint8Array | null, value: Uint8Array | null): GroupRecordText {
  return { type: 'unknown', key: key === null ? null : hex(key), value: value === null ? null : hex(value) }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
