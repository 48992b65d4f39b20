// ConsumerGroupDescribe (key 69): state and members of groups of the new protocol (KIP-848).
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  bool,
  int8,
  int16,
  int32,
  message,
  nullable,
  since,
  string,
  struct,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

/** Group ids. */
export const ConsumerGroupDescribeRequest = message(
  'ConsumerGroupDescribeRequest',
  { apiKey: 69, versions: '0-1', flexible: '0+' },
  {
    groupIds: array(string),
    includeAuthorizedOperations: bool,
  },
)
export type ConsumerGroupDescribeRequest = Value<typeof ConsumerGroupDescribeRequest.fields>

const topicPartitions = {
  topicId: uuid,
  topicName: string,
  partitions: array(int32),
}
export type TopicPartitions = Value<typeof topicPartitions>

const assignment = {
  topicPartitions: array(topicPartitions),
}
export type Assignment = Value<typeof assignment>

const member = {
  memberId: string,
  instanceId: withDefault(nullable(string), null),
  rackId: withDefault(nullable(string), null),
  memberEpoch: int32,
  clientId: string,
  clientHost: string,
  subscribedTopicNames: array(string),
  subscribedTopicRegex: withDefault(nullable(string), null),
  assignment: struct(assignment),
  targetAssignment: struct(assignment),
  memberType: since('1+', int8, -1),
}
export type Member = Value<typeof member>

const describedGroup = {
  errorCode: int16,
  errorMessage: withDefault(nullable(string), null),
  groupId: string,
  groupState: string,
  groupEpoch: int32,
  assignmentEpoch: int32,
  assignorName: string,
  members: array(member),
  authorizedOperations: withDefault(int32, -0x8000_0000),
}
export type DescribedGroup = Value<typeof describedGroup>

/** One description by group. */
export const ConsumerGroupDescribeResponse = message(
  'ConsumerGroupDescribeResponse',
  { apiKey: 69, versions: '0-1', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    groups: array(describedGroup),
  },
)
export type ConsumerGroupDescribeResponse = Value<typeof ConsumerGroupDescribeResponse.fields>
