// Every API we declare, and the one list of those we serve, which ApiVersions answers from.
//
// Constants, made once at load and only read: any thread. The messages themselves are in messages/; this file does not
// import them, so that reading a header costs no module of an API that is never asked for.

/** Number of each declared API on the wire. */
export const ApiKey = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  FindCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  LeaveGroup: 13,
  SyncGroup: 14,
  DescribeGroups: 15,
  ListGroups: 16,
  SaslHandshake: 17,
  ApiVersions: 18,
  CreateTopics: 19,
  DeleteTopics: 20,
  DeleteRecords: 21,
  InitProducerId: 22,
  OffsetForLeaderEpoch: 23,
  AddPartitionsToTxn: 24,
  AddOffsetsToTxn: 25,
  EndTxn: 26,
  WriteTxnMarkers: 27,
  TxnOffsetCommit: 28,
  DescribeAcls: 29,
  CreateAcls: 30,
  DeleteAcls: 31,
  DescribeConfigs: 32,
  AlterConfigs: 33,
  DescribeLogDirs: 35,
  SaslAuthenticate: 36,
  CreatePartitions: 37,
  DeleteGroups: 42,
  ElectLeaders: 43,
  IncrementalAlterConfigs: 44,
  AlterPartitionReassignments: 45,
  ListPartitionReassignments: 46,
  OffsetDelete: 47,
  DescribeClientQuotas: 48,
  AlterClientQuotas: 49,
  DescribeUserScramCredentials: 50,
  AlterUserScramCredentials: 51,
  DescribeQuorum: 55,
  DescribeCluster: 60,
  DescribeProducers: 61,
  UnregisterBroker: 64,
  DescribeTransactions: 65,
  ListTransactions: 66,
  ConsumerGroupHeartbeat: 68,
  ConsumerGroupDescribe: 69,
  DescribeTopicPartitions: 75,
} as const
export type ApiKey = (typeof ApiKey)[keyof typeof ApiKey]

/** Never reached by a version, which is an int16. */
const NEVER_FLEXIBLE = 0x8000

/** First version with compact lengths and tagged fields, by API. */
const FLEXIBLE_SINCE: { readonly [Name in keyof typeof ApiKey]: number } = {
  Produce: 9,
  Fetch: 12,
  ListOffsets: 6,
  Metadata: 9,
  OffsetCommit: 8,
  OffsetFetch: 6,
  FindCoordinator: 3,
  JoinGroup: 6,
  Heartbeat: 4,
  LeaveGroup: 4,
  SyncGroup: 4,
  DescribeGroups: 5,
  ListGroups: 3,
  SaslHandshake: NEVER_FLEXIBLE,
  ApiVersions: 3,
  CreateTopics: 5,
  DeleteTopics: 4,
  DeleteRecords: 2,
  InitProducerId: 2,
  OffsetForLeaderEpoch: 4,
  AddPartitionsToTxn: 3,
  AddOffsetsToTxn: 3,
  EndTxn: 3,
  WriteTxnMarkers: 1,
  TxnOffsetCommit: 3,
  DescribeAcls: 2,
  CreateAcls: 2,
  DeleteAcls: 2,
  DescribeConfigs: 4,
  AlterConfigs: 2,
  DescribeLogDirs: 2,
  SaslAuthenticate: 2,
  CreatePartitions: 2,
  DeleteGroups: 2,
  ElectLeaders: 2,
  IncrementalAlterConfigs: 1,
  AlterPartitionReassignments: 0,
  ListPartitionReassignments: 0,
  OffsetDelete: NEVER_FLEXIBLE,
  DescribeClientQuotas: 1,
  AlterClientQuotas: 1,
  DescribeUserScramCredentials: 0,
  AlterUserScramCredentials: 0,
  DescribeQuorum: 0,
  DescribeCluster: 0,
  DescribeProducers: 0,
  UnregisterBroker: 0,
  DescribeTransactions: 0,
  ListTransactions: 0,
  ConsumerGroupHeartbeat: 0,
  ConsumerGroupDescribe: 0,
  DescribeTopicPartitions: 0,
}

/** An API that this broker answers, and in which versions (both inclusive). */
export interface ServedApi {
  readonly apiKey: ApiKey
  readonly minVersion: number
  readonly maxVersion: number
  /** What ApiVersions says; lower than minVersion only where clients read more into the number than they may send. */
  readonly advertisedMinVersion: number
}

/**
 * What this broker serves, by key.
 *
 * Produce is advertised from 0 as Kafka 4.x does: older librdkafka takes from that number whether it may compress. A Produce
 * of version 0 to 2 is refused all the same. InitProducerId ends at 5: version 6 is marked unstable in Kafka 4.3.
 */
export const SERVED_APIS: readonly ServedApi[] = [
  served(ApiKey.Produce, 3, 13, 0),
  served(ApiKey.Fetch, 4, 18),
  served(ApiKey.ListOffsets, 1, 11),
  served(ApiKey.Metadata, 0, 13),
  served(ApiKey.OffsetCommit, 2, 10),
  served(ApiKey.OffsetFetch, 1, 10),
  served(ApiKey.FindCoordinator, 0, 6),
  served(ApiKey.JoinGroup, 0, 9),
  served(ApiKey.Heartbeat, 0, 4),
  served(ApiKey.LeaveGroup, 0, 5),
  served(ApiKey.SyncGroup, 0, 5),
  served(ApiKey.DescribeGroups, 0, 6),
  served(ApiKey.ListGroups, 0, 5),
  served(ApiKey.ApiVersions, 0, 4),
  served(ApiKey.CreateTopics, 2, 7),
  served(ApiKey.DeleteTopics, 1, 6),
  served(ApiKey.DeleteRecords, 0, 2),
  served(ApiKey.InitProducerId, 0, 5),
  served(ApiKey.OffsetForLeaderEpoch, 2, 4),
  served(ApiKey.DescribeConfigs, 1, 4),
  served(ApiKey.AlterConfigs, 0, 2),
  served(ApiKey.DescribeLogDirs, 1, 5),
  served(ApiKey.CreatePartitions, 0, 3),
  served(ApiKey.DeleteGroups, 0, 2),
  served(ApiKey.ElectLeaders, 0, 2),
  served(ApiKey.IncrementalAlterConfigs, 0, 1),
  served(ApiKey.AlterPartitionReassignments, 0, 1),
  served(ApiKey.ListPartitionReassignments, 0, 0),
  served(ApiKey.OffsetDelete, 0, 0),
  served(ApiKey.DescribeQuorum, 0, 2),
  served(ApiKey.DescribeCluster, 0, 2),
  served(ApiKey.DescribeProducers, 0, 0),
  served(ApiKey.UnregisterBroker, 0, 0),
  served(ApiKey.DescribeTopicPartitions, 0, 0),
]

const servedByKey: (ServedApi | undefined)[] = []
for (const api of SERVED_APIS) servedByKey[api.apiKey] = api

const namesByKey: (keyof typeof ApiKey | undefined)[] = []
const flexibleSinceByKey: number[] = []
for (const [name, apiKey] of Object.entries(ApiKey) as [keyof typeof ApiKey, ApiKey][]) {
  namesByKey[apiKey] = name
  flexibleSinceByKey[apiKey] = FLEXIBLE_SINCE[name]
}

/** Whether the number is the key of an API we declare, served or not. */
export function isApiKey(apiKey: number): apiKey is ApiKey {
  return namesByKey[apiKey] !== undefined
}

/** The API's name as Kafka prints it: 'OffsetForLeaderEpoch'. Other numbers give 'UNKNOWN(99)'. */
export function apiName(apiKey: number): string {
  return namesByKey[apiKey] ?? `UNKNOWN(${apiKey})`
}

/** First flexible version of an API; beyond every version for those that have none. */
export function flexibleSince(apiKey: ApiKey): number {
  return flexibleSinceByKey[apiKey]!
}

/** The versions in which we serve an API, undefined when we do not. */
export function servedApi(apiKey: number): ServedApi | undefined {
  return servedByKey[apiKey]
}

/** Whether a request of that API and version gets an answer. */
export function isServed(apiKey: number, apiVersion: number): boolean {
  const api = servedByKey[apiKey]
  return api !== undefined && apiVersion >= api.minVersion && apiVersion <= api.maxVersion
}

function served(apiKey: ApiKey, minVersion: number, maxVersion: number, advertisedMinVersion = minVersion): ServedApi {
  return { apiKey, minVersion, maxVersion, advertisedMinVersion }
}
