// DescribeLogDirs (key 35): sizes of replicas by log directory.
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
  type Value,
  withDefault,
} from '../schema.ts'

/** Partitions; null for all. */
export const DescribeLogDirsRequest = message(
  'DescribeLogDirsRequest',
  { apiKey: 35, versions: '1-5', flexible: '2+' },
  {
    topics: nullable(
      array({
        topic: string,
        partitions: array(int32),
      }),
    ),
  },
)
export type DescribeLogDirsRequest = Value<typeof DescribeLogDirsRequest.fields>

const describeLogDirsPartition = {
  partitionIndex: int32,
  partitionSize: int64,
  offsetLag: int64,
  isFutureKey: bool,
}
export type DescribeLogDirsPartition = Value<typeof describeLogDirsPartition>

const describeLogDirsResult = {
  errorCode: int16,
  logDir: string,
  topics: array({
    name: string,
    partitions: array(describeLogDirsPartition),
  }),
  totalBytes: since('4+', int64, -1),
  usableBytes: since('4+', int64, -1),
  isCordoned: since('5+', bool),
}
export type DescribeLogDirsResult = Value<typeof describeLogDirsResult>

/** Replicas and free space by log directory. */
export const DescribeLogDirsResponse = message(
  'DescribeLogDirsResponse',
  { apiKey: 35, versions: '1-5', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: since('3+', int16),
    results: array(describeLogDirsResult),
  },
)
export type DescribeLogDirsResponse = Value<typeof DescribeLogDirsResponse.fields>
