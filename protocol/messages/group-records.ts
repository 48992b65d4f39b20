// Records of the internal topic __consumer_offsets: classic groups, offsets, and groups of the new protocol (KIP-848).
//
// A record's key is an int16 with the record type and then the key's fields; its value is an int16 with the value's version
// and then the value's fields. Both int16 are read and written by groups/, not declared here. Readers skip types and
// versions they do not know. Declarations only, made once at load: any thread.

import {
  array,
  bytes,
  int8,
  int32,
  int64,
  int64Raw,
  message,
  nullable,
  since,
  string,
  struct,
  tagged,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

/** Record type 0: an offset as brokers before 0.9 wrote it; read, never written. */
export const LegacyOffsetCommitKey = message(
  'LegacyOffsetCommitKey',
  { versions: '0', flexible: 'none' },
  {
    group: string,
    topic: string,
    partition: int32,
  },
)
export type LegacyOffsetCommitKey = Value<typeof LegacyOffsetCommitKey.fields>

/** Record type 0. */
export const LegacyOffsetCommitValue = message(
  'LegacyOffsetCommitValue',
  { versions: '0', flexible: 'none' },
  {
    offset: int64,
    metadata: string,
    commitTimestamp: int64,
  },
)
export type LegacyOffsetCommitValue = Value<typeof LegacyOffsetCommitValue.fields>

/** Record type 1: the offset of a group for a partition. */
export const OffsetCommitKey = message(
  'OffsetCommitKey',
  { versions: '0', flexible: 'none' },
  {
    group: string,
    topic: string,
    partition: int32,
  },
)
export type OffsetCommitKey = Value<typeof OffsetCommitKey.fields>

/** Record type 1. Kafka 4.3 writes version 4, and version 1 when an explicit expiry is stored. */
export const OffsetCommitValue = message(
  'OffsetCommitValue',
  { versions: '0-4', flexible: '4+' },
  {
    offset: int64,
    leaderEpoch: since('3+', int32, -1),
    metadata: string,
    commitTimestamp: int64,
    expireTimestamp: since('1', int64, -1),
    topicId: tagged(0, '4+', uuid),
  },
)
export type OffsetCommitValue = Value<typeof OffsetCommitValue.fields>

/** Record type 2: a classic group. */
export const GroupMetadataKey = message(
  'GroupMetadataKey',
  { versions: '0', flexible: 'none' },
  {
    group: string,
  },
)
export type GroupMetadataKey = Value<typeof GroupMetadataKey.fields>

const memberMetadata = {
  memberId: string,
  groupInstanceId: since('3+', nullable(string), null),
  clientId: string,
  clientHost: string,
  rebalanceTimeout: since('1+', int32, -1),
  sessionTimeout: int32,
  subscription: bytes,
  assignment: bytes,
}
export type MemberMetadata = Value<typeof memberMetadata>

/** Record type 2. Kafka 4.3 writes version 3. */
export const GroupMetadataValue = message(
  'GroupMetadataValue',
  { versions: '0-4', flexible: '4+' },
  {
    protocolType: string,
    generation: int32,
    protocol: nullable(string),
    leader: nullable(string),
    currentStateTimestamp: since('2+', int64, -1),
    members: array(memberMetadata),
  },
)
export type GroupMetadataValue = Value<typeof GroupMetadataValue.fields>

/** Record type 3: a group of the new protocol. */
export const ConsumerGroupMetadataKey = message(
  'ConsumerGroupMetadataKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
  },
)
export type ConsumerGroupMetadataKey = Value<typeof ConsumerGroupMetadataKey.fields>

/** Record type 3. metadataHash is 0 where older brokers wrote none. */
export const ConsumerGroupMetadataValue = message(
  'ConsumerGroupMetadataValue',
  { versions: '0', flexible: '0+' },
  {
    epoch: int32,
    metadataHash: tagged(0, '0+', int64Raw),
  },
)
export type ConsumerGroupMetadataValue = Value<typeof ConsumerGroupMetadataValue.fields>

/** Record type 4: the partition counts a group saw; replaced by the hash of type 3, only tombstoned today. */
export const ConsumerGroupPartitionMetadataKey = message(
  'ConsumerGroupPartitionMetadataKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
  },
)
export type ConsumerGroupPartitionMetadataKey = Value<typeof ConsumerGroupPartitionMetadataKey.fields>

/** Record type 4. */
export const ConsumerGroupPartitionMetadataValue = message(
  'ConsumerGroupPartitionMetadataValue',
  { versions: '0', flexible: '0+' },
  {
    topics: array({
      topicId: uuid,
      topicName: string,
      numPartitions: int32,
      partitionMetadata: array({
        partition: int32,
        racks: array(string),
      }),
    }),
  },
)
export type ConsumerGroupPartitionMetadataValue = Value<typeof ConsumerGroupPartitionMetadataValue.fields>

/** Record type 5: a member and what it subscribes to. */
export const ConsumerGroupMemberMetadataKey = message(
  'ConsumerGroupMemberMetadataKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
    memberId: string,
  },
)
export type ConsumerGroupMemberMetadataKey = Value<typeof ConsumerGroupMemberMetadataKey.fields>

/** Record type 5. classicMemberMetadata is set for members that speak the classic protocol. */
export const ConsumerGroupMemberMetadataValue = message(
  'ConsumerGroupMemberMetadataValue',
  { versions: '0', flexible: '0+' },
  {
    instanceId: nullable(string),
    rackId: nullable(string),
    clientId: string,
    clientHost: string,
    subscribedTopicNames: array(string),
    subscribedTopicRegex: nullable(string),
    rebalanceTimeoutMs: withDefault(int32, -1),
    serverAssignor: nullable(string),
    classicMemberMetadata: tagged(
      0,
      '0+',
      nullable(
        struct({
          sessionTimeoutMs: int32,
          supportedProtocols: array({
            name: string,
            metadata: bytes,
          }),
        }),
      ),
      null,
    ),
  },
)
export type ConsumerGroupMemberMetadataValue = Value<typeof ConsumerGroupMemberMetadataValue.fields>

/** Record type 6: the epoch of the target assignment. */
export const ConsumerGroupTargetAssignmentMetadataKey = message(
  'ConsumerGroupTargetAssignmentMetadataKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
  },
)
export type ConsumerGroupTargetAssignmentMetadataKey = Value<typeof ConsumerGroupTargetAssignmentMetadataKey.fields>

/** Record type 6. */
export const ConsumerGroupTargetAssignmentMetadataValue = message(
  'ConsumerGroupTargetAssignmentMetadataValue',
  { versions: '0', flexible: '0+' },
  {
    assignmentEpoch: int32,
    assignmentTimestamp: tagged(0, '0+', int64),
  },
)
export type ConsumerGroupTargetAssignmentMetadataValue = Value<typeof ConsumerGroupTargetAssignmentMetadataValue.fields>

/** Record type 7: the target assignment of a member. */
export const ConsumerGroupTargetAssignmentMemberKey = message(
  'ConsumerGroupTargetAssignmentMemberKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
    memberId: string,
  },
)
export type ConsumerGroupTargetAssignmentMemberKey = Value<typeof ConsumerGroupTargetAssignmentMemberKey.fields>

/** Record type 7. */
export const ConsumerGroupTargetAssignmentMemberValue = message(
  'ConsumerGroupTargetAssignmentMemberValue',
  { versions: '0', flexible: '0+' },
  {
    topicPartitions: array({
      topicId: uuid,
      partitions: array(int32),
    }),
  },
)
export type ConsumerGroupTargetAssignmentMemberValue = Value<typeof ConsumerGroupTargetAssignmentMemberValue.fields>

/** Record type 8: what a member has now. */
export const ConsumerGroupCurrentMemberAssignmentKey = message(
  'ConsumerGroupCurrentMemberAssignmentKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
    memberId: string,
  },
)
export type ConsumerGroupCurrentMemberAssignmentKey = Value<typeof ConsumerGroupCurrentMemberAssignmentKey.fields>

const topicPartitions = {
  topicId: uuid,
  partitions: array(int32),
  assignmentEpochs: tagged(0, '0+', nullable(array(int32)), null),
}
export type TopicPartitions = Value<typeof topicPartitions>

/** Record type 8. state: 0 stable, 1 unrevoked partitions, 2 unreleased partitions, 127 unknown. */
export const ConsumerGroupCurrentMemberAssignmentValue = message(
  'ConsumerGroupCurrentMemberAssignmentValue',
  { versions: '0', flexible: '0+' },
  {
    memberEpoch: int32,
    previousMemberEpoch: int32,
    state: int8,
    assignedPartitions: array(topicPartitions),
    partitionsPendingRevocation: array(topicPartitions),
  },
)
export type ConsumerGroupCurrentMemberAssignmentValue = Value<typeof ConsumerGroupCurrentMemberAssignmentValue.fields>

/** Record type 16: a subscribed pattern. */
export const ConsumerGroupRegularExpressionKey = message(
  'ConsumerGroupRegularExpressionKey',
  { versions: '0', flexible: 'none' },
  {
    groupId: string,
    regularExpression: string,
  },
)
export type ConsumerGroupRegularExpressionKey = Value<typeof ConsumerGroupRegularExpressionKey.fields>

/** Record type 16: the topics the pattern matched. */
export const ConsumerGroupRegularExpressionValue = message(
  'ConsumerGroupRegularExpressionValue',
  { versions: '0', flexible: '0+' },
  {
    topics: array(string),
    version: int64,
    timestamp: int64,
  },
)
export type ConsumerGroupRegularExpressionValue = Value<typeof ConsumerGroupRegularExpressionValue.fields>
