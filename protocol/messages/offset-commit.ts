// OffsetCommit (key 8): store the offsets a group has consumed up to.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  int16,
  int32,
  int64,
  message,
  nullable,
  since,
  string,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

const offsetCommitRequestPartition = {
  partitionIndex: int32,
  committedOffset: int64,
  committedLeaderEpoch: since('6+', int32, -1),
  committedMetadata: nullable(string),
}
export type OffsetCommitRequestPartition = Value<typeof offsetCommitRequestPartition>

/** Offsets by partition. From version 10 topics are named by id. */
export const OffsetCommitRequest = message(
  'OffsetCommitRequest',
  { apiKey: 8, versions: '2-10', flexible: '8+' },
  {
    groupId: string,
    generationIdOrMemberEpoch: withDefault(int32, -1),
    memberId: string,
    groupInstanceId: since('7+', nullable(string), null),
    retentionTimeMs: since('2-4', int64, -1),
    topics: array({
      name: since('2-9', string),
      topicId: since('10+', uuid),
      partitions: array(offsetCommitRequestPartition),
    }),
  },
)
export type OffsetCommitRequest = Value<typeof OffsetCommitRequest.fields>

/** An error by partition. */
export const OffsetCommitResponse = message(
  'OffsetCommitResponse',
  { apiKey: 8, versions: '2-10', flexible: '8+' },
  {
    throttleTimeMs: since('3+', int32),
    topics: array({
      name: since('2-9', string),
      topicId: since('10+', uuid),
      partitions: array({
        partitionIndex: int32,
        errorCode: int16,
      }),
    }),
  },
)
export type OffsetCommitResponse = Value<typeof OffsetCommitResponse.fields>
