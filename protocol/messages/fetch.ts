// Fetch (key 1): read record batches from offsets, waiting for them if asked to.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import {
  array,
  int8,
  int16,
  int32,
  int64,
  int64Raw,
  message,
  nullable,
  records,
  since,
  string,
  struct,
  tagged,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

const fetchPartition = {
  partition: int32,
  currentLeaderEpoch: since('9+', int32, -1),
  fetchOffset: int64,
  lastFetchedEpoch: since('12+', int32, -1),
  logStartOffset: since('5+', int64, -1),
  partitionMaxBytes: int32,
  replicaDirectoryId: tagged(0, '17+', uuid),
  highWatermark: tagged(1, '18+', int64Raw, 0x7fff_ffff_ffff_ffffn),
}
export type FetchPartition = Value<typeof fetchPartition>

const fetchTopic = {
  topic: since('4-12', string),
  topicId: since('13+', uuid),
  partitions: array(fetchPartition),
}
export type FetchTopic = Value<typeof fetchTopic>

/** Offsets by partition; incremental within a session from version 7. From version 13 topics are named by id. */
export const FetchRequest = message(
  'FetchRequest',
  { apiKey: 1, versions: '4-18', flexible: '12+' },
  {
    clusterId: tagged(0, '12+', nullable(string), null),
    replicaId: since('4-14', int32, -1),
    replicaState: tagged(
      1,
      '15+',
      struct({
        replicaId: withDefault(int32, -1),
        replicaEpoch: withDefault(int64, -1),
      }),
    ),
    maxWaitMs: int32,
    minBytes: int32,
    maxBytes: withDefault(int32, 0x7fff_ffff),
    isolationLevel: withDefault(int8, 0),
    sessionId: since('7+', int32),
    sessionEpoch: since('7+', int32, -1),
    topics: array(fetchTopic),
    forgottenTopicsData: since(
      '7+',
      array({
        topic: since('7-12', string),
        topicId: since('13+', uuid),
        partitions: array(int32),
      }),
    ),
    rackId: since('11+', string),
  },
)
export type FetchRequest = Value<typeof FetchRequest.fields>

const partitionData = {
  partitionIndex: int32,
  errorCode: int16,
  highWatermark: int64,
  lastStableOffset: withDefault(int64, -1),
  logStartOffset: since('5+', int64, -1),
  divergingEpoch: tagged(
    0,
    '12+',
    struct({
      epoch: withDefault(int32, -1),
      endOffset: withDefault(int64, -1),
    }),
  ),
  currentLeader: tagged(
    1,
    '12+',
    struct({
      leaderId: withDefault(int32, -1),
      leaderEpoch: withDefault(int32, -1),
    }),
  ),
  snapshotId: tagged(
    2,
    '12+',
    struct({
      endOffset: withDefault(int64, -1),
      epoch: withDefault(int32, -1),
    }),
  ),
  abortedTransactions: nullable(
    array({
      producerId: int64,
      firstOffset: int64,
    }),
  ),
  preferredReadReplica: since('11+', int32, -1),
  records: records,
}
export type PartitionData = Value<typeof partitionData>

const fetchableTopicResponse = {
  topic: since('4-12', string),
  topicId: since('13+', uuid),
  partitions: array(partitionData),
}
export type FetchableTopicResponse = Value<typeof fetchableTopicResponse>

/** Batches by partition, as they lie in the log. */
export const FetchResponse = message(
  'FetchResponse',
  { apiKey: 1, versions: '4-18', flexible: '12+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: since('7+', int16),
    sessionId: since('7+', int32),
    responses: array(fetchableTopicResponse),
    nodeEndpoints: tagged(
      0,
      '16+',
      array({
        nodeId: int32,
        host: string,
        port: int32,
        rack: withDefault(nullable(string), null),
      }),
    ),
  },
)
export type FetchResponse = Value<typeof FetchResponse.fields>
