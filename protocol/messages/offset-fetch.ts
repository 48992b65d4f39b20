// OffsetFetch (key 9): read the offsets a group has stored.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  bool,
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

/** One group in line up to version 7, several in `groups` from version 8; null topics for all. */
export const OffsetFetchRequest = message(
  'OffsetFetchRequest',
  { apiKey: 9, versions: '1-10', flexible: '6+' },
  {
    groupId: since('1-7', string),
    topics: since(
      '1-7',
      nullable(
        array({
          name: string,
          partitionIndexes: array(int32),
        }),
        '2-7',
      ),
    ),
    groups: since(
      '8+',
      array({
        groupId: string,
        memberId: since('9+', nullable(string), null),
        memberEpoch: since('9+', int32, -1),
        topics: nullable(
          array({
            name: since('8-9', string),
            topicId: since('10+', uuid),
            partitionIndexes: array(int32),
          }),
        ),
      }),
    ),
    requireStable: since('7+', bool),
  },
)
export type OffsetFetchRequest = Value<typeof OffsetFetchRequest.fields>

const offsetFetchResponsePartition = {
  partitionIndex: int32,
  committedOffset: int64,
  committedLeaderEpoch: since('5-7', int32, -1),
  metadata: nullable(string),
  errorCode: int16,
}
export type OffsetFetchResponsePartition = Value<typeof offsetFetchResponsePartition>

const offsetFetchResponsePartitions = {
  partitionIndex: int32,
  committedOffset: int64,
  committedLeaderEpoch: withDefault(int32, -1),
  metadata: nullable(string),
  errorCode: int16,
}
export type OffsetFetchResponsePartitions = Value<typeof offsetFetchResponsePartitions>

const offsetFetchResponseGroup = {
  groupId: string,
  topics: array({
    name: since('8-9', string),
    topicId: since('10+', uuid),
    partitions: array(offsetFetchResponsePartitions),
  }),
  errorCode: withDefault(int16, 0),
}
export type OffsetFetchResponseGroup = Value<typeof offsetFetchResponseGroup>

/** Offsets in the shape of the request: in line up to version 7, by group from version 8. */
export const OffsetFetchResponse = message(
  'OffsetFetchResponse',
  { apiKey: 9, versions: '1-10', flexible: '6+' },
  {
    throttleTimeMs: since('3+', int32),
    topics: since(
      '1-7',
      array({
        name: string,
        partitions: array(offsetFetchResponsePartition),
      }),
    ),
    errorCode: since('2-7', int16),
    groups: since('8+', array(offsetFetchResponseGroup)),
  },
)
export type OffsetFetchResponse = Value<typeof OffsetFetchResponse.fields>
