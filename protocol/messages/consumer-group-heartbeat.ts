// ConsumerGroupHeartbeat (key 68): join, stay in and leave a group of the new protocol (KIP-848), and receive the assignment.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
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

/** What changed for the member; null for unchanged. */
export const ConsumerGroupHeartbeatRequest = message(
  'ConsumerGroupHeartbeatRequest',
  { apiKey: 68, versions: '0-1', flexible: '0+' },
  {
    groupId: string,
    memberId: string,
    memberEpoch: int32,
    instanceId: withDefault(nullable(string), null),
    rackId: withDefault(nullable(string), null),
    rebalanceTimeoutMs: withDefault(int32, -1),
    subscribedTopicNames: withDefault(nullable(array(string)), null),
    subscribedTopicRegex: since('1+', nullable(string), null),
    serverAssignor: withDefault(nullable(string), null),
    topicPartitions: withDefault(
      nullable(
        array({
          topicId: uuid,
          partitions: array(int32),
        }),
      ),
      null,
    ),
  },
)
export type ConsumerGroupHeartbeatRequest = Value<typeof ConsumerGroupHeartbeatRequest.fields>

const topicPartitions = {
  topicId: uuid,
  partitions: array(int32),
}
export type TopicPartitions = Value<typeof topicPartitions>

/** The member's epoch, and its assignment when that changed. */
export const ConsumerGroupHeartbeatResponse = message(
  'ConsumerGroupHeartbeatResponse',
  { apiKey: 68, versions: '0-1', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: withDefault(nullable(string), null),
    memberId: withDefault(nullable(string), null),
    memberEpoch: int32,
    heartbeatIntervalMs: int32,
    assignment: withDefault(
      nullable(
        struct({
          topicPartitions: array(topicPartitions),
        }),
      ),
      null,
    ),
  },
)
export type ConsumerGroupHeartbeatResponse = Value<typeof ConsumerGroupHeartbeatResponse.fields>
