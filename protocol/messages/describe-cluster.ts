// DescribeCluster (key 60): brokers, controller and cluster id.
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

/** From version 1 which kind of endpoint, from version 2 whether to show fenced brokers. */
export const DescribeClusterRequest = message(
  'DescribeClusterRequest',
  { apiKey: 60, versions: '0-2', flexible: '0+' },
  {
    includeClusterAuthorizedOperations: bool,
    endpointType: since('1+', int8, 1),
    includeFencedBrokers: since('2+', bool),
  },
)
export type DescribeClusterRequest = Value<typeof DescribeClusterRequest.fields>

/** The brokers of the cluster. */
export const DescribeClusterResponse = message(
  'DescribeClusterResponse',
  { apiKey: 60, versions: '0-2', flexible: '0+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    errorMessage: withDefault(nullable(string), null),
    endpointType: since('1+', int8, 1),
    clusterId: string,
    controllerId: withDefault(int32, -1),
    brokers: array({
      brokerId: int32,
      host: string,
      port: int32,
      rack: withDefault(nullable(string), null),
      isFenced: since('2+', bool),
    }),
    clusterAuthorizedOperations: withDefault(int32, -0x8000_0000),
  },
)
export type DescribeClusterResponse = Value<typeof DescribeClusterResponse.fields>
