// Metadata (key 3): brokers, topics, partitions and their leaders; may create topics.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, bool, int16, int32, message, nullable, since, string, uuid, type Value } from '../schema.ts'

/** Topics by name, from version 12 also by id; null for all. In version 0 an empty list means all. */
export const MetadataRequest = message(
  'MetadataRequest',
  { apiKey: 3, versions: '0-13', flexible: '9+' },
  {
    topics: nullable(
      array({
        topicId: since('10+', uuid),
        name: nullable(string, '10+'),
      }),
      '1+',
    ),
    allowAutoTopicCreation: since('4+', bool, true),
    includeClusterAuthorizedOperations: since('8-10', bool),
    includeTopicAuthorizedOperations: since('8+', bool),
  },
)
export type MetadataRequest = Value<typeof MetadataRequest.fields>

const metadataResponsePartition = {
  errorCode: int16,
  partitionIndex: int32,
  leaderId: int32,
  leaderEpoch: since('7+', int32, -1),
  replicaNodes: array(int32),
  isrNodes: array(int32),
  offlineReplicas: since('5+', array(int32)),
}
export type MetadataResponsePartition = Value<typeof metadataResponsePartition>

const metadataResponseTopic = {
  errorCode: int16,
  name: nullable(string, '12+'),
  topicId: since('10+', uuid),
  isInternal: since('1+', bool),
  partitions: array(metadataResponsePartition),
  topicAuthorizedOperations: since('8+', int32, -0x8000_0000),
}
export type MetadataResponseTopic = Value<typeof metadataResponseTopic>

/** The cluster as this broker sees it. */
export const MetadataResponse = message(
  'MetadataResponse',
  { apiKey: 3, versions: '0-13', flexible: '9+' },
  {
    throttleTimeMs: since('3+', int32),
    brokers: array({
      nodeId: int32,
      host: string,
      port: int32,
      rack: since('1+', nullable(string), null),
    }),
    clusterId: since('2+', nullable(string), null),
    controllerId: since('1+', int32, -1),
    topics: array(metadataResponseTopic),
    clusterAuthorizedOperations: since('8-10', int32, -0x8000_0000),
    errorCode: since('13+', int16),
  },
)
export type MetadataResponse = Value<typeof MetadataResponse.fields>
