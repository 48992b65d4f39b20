// CreateTopics (key 19): create topics.
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
  tagged,
  uuid,
  type Value,
  withDefault,
} from '../schema.ts'

const creatableTopic = {
  name: string,
  numPartitions: int32,
  replicationFactor: int16,
  assignments: array({
    partitionIndex: int32,
    brokerIds: array(int32),
  }),
  configs: array({
    name: string,
    value: nullable(string),
  }),
}
export type CreatableTopic = Value<typeof creatableTopic>

/** Topics with partition count and replication factor, or with a manual assignment. */
export const CreateTopicsRequest = message(
  'CreateTopicsRequest',
  { apiKey: 19, versions: '2-7', flexible: '5+' },
  {
    topics: array(creatableTopic),
    timeoutMs: withDefault(int32, 60_000),
    validateOnly: withDefault(bool, false),
  },
)
export type CreateTopicsRequest = Value<typeof CreateTopicsRequest.fields>

const creatableTopicConfigs = {
  name: string,
  value: nullable(string),
  readOnly: bool,
  configSource: withDefault(int8, -1),
  isSensitive: bool,
}
export type CreatableTopicConfigs = Value<typeof creatableTopicConfigs>

const creatableTopicResult = {
  name: string,
  topicId: since('7+', uuid),
  errorCode: int16,
  errorMessage: nullable(string),
  topicConfigErrorCode: tagged(0, '5+', int16),
  numPartitions: since('5+', int32, -1),
  replicationFactor: since('5+', int16, -1),
  configs: since('5+', nullable(array(creatableTopicConfigs))),
}
export type CreatableTopicResult = Value<typeof creatableTopicResult>

/** An error by topic; from version 5 also what was created, from version 7 its id. */
export const CreateTopicsResponse = message(
  'CreateTopicsResponse',
  { apiKey: 19, versions: '2-7', flexible: '5+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    topics: array(creatableTopicResult),
  },
)
export type CreateTopicsResponse = Value<typeof CreateTopicsResponse.fields>
