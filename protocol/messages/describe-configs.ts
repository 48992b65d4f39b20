// DescribeConfigs (key 32): read configs of topics, brokers and other resources.
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
  type Value,
  withDefault,
} from '../schema.ts'

/** Resources and the configs wanted of each; null for all. */
export const DescribeConfigsRequest = message(
  'DescribeConfigsRequest',
  { apiKey: 32, versions: '1-4', flexible: '4+' },
  {
    resources: array({
      resourceType: int8,
      resourceName: string,
      configurationKeys: nullable(array(string)),
    }),
    includeSynonyms: withDefault(bool, false),
    includeDocumentation: since('3+', bool),
  },
)
export type DescribeConfigsRequest = Value<typeof DescribeConfigsRequest.fields>

const describeConfigsResourceResult = {
  name: string,
  value: nullable(string),
  readOnly: bool,
  configSource: withDefault(int8, -1),
  isSensitive: bool,
  synonyms: array({
    name: string,
    value: nullable(string),
    source: int8,
  }),
  configType: since('3+', int8),
  documentation: since('3+', nullable(string)),
}
export type DescribeConfigsResourceResult = Value<typeof describeConfigsResourceResult>

const describeConfigsResult = {
  errorCode: int16,
  errorMessage: nullable(string),
  resourceType: int8,
  resourceName: string,
  configs: array(describeConfigsResourceResult),
}
export type DescribeConfigsResult = Value<typeof describeConfigsResult>

/** Configs with their source and synonyms by resource. */
export const DescribeConfigsResponse = message(
  'DescribeConfigsResponse',
  { apiKey: 32, versions: '1-4', flexible: '4+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    results: array(describeConfigsResult),
  },
)
export type DescribeConfigsResponse = Value<typeof DescribeConfigsResponse.fields>
