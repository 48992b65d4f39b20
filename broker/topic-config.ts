// Topic configs: definitions, checks with Kafka's error texts, and the effective typed values of a topic.
//
// Pure functions, used by the controller (checks) and by every shard's metadata image (effective values).

import { checkOf, defaultText, tableRows } from './config/definitions.ts'
import type { ConfigDefinition, ConfigType, ConfigValue } from './config/values.ts'
import { defaultValue, parseValue, throttledReplicas, UNLIMITED } from './config/values.ts'
import type { BrokerConfig, ConfigLink } from './config.ts'
import { brokerSynonyms, ConfigSource, policyProblem } from './config.ts'

export type CleanupPolicy = 'delete' | 'compact'
export type CompressionType = 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
export type TimestampType = 'CreateTime' | 'LogAppendTime'

/** Effective values of a topic. Times in ms, sizes in bytes; UNLIMITED (2^53 - 1) stands for Long.MAX. */
export interface TopicConfig {
  /** Empty: nothing is removed by policy. */
  readonly cleanupPolicy: readonly CleanupPolicy[]
  readonly compressionType: CompressionType
  readonly compressionGzipLevel: number
  readonly compressionLz4Level: number
  readonly compressionZstdLevel: number
  readonly maxMessageBytes: number
  readonly messageTimestampType: TimestampType
  readonly messageTimestampBeforeMaxMs: number
  readonly messageTimestampAfterMaxMs: number
  readonly minInsyncReplicas: number
  /** -1: no limit. */
  readonly retentionBytes: number
  /** -1: for ever. */
  readonly retentionMs: number
  /** internal.segment.bytes where that is set. */
  readonly segmentBytes: number
  readonly segmentMs: number
  readonly segmentJitterMs: number
  readonly segmentIndexBytes: number
  readonly indexIntervalBytes: number
  readonly fileDeleteDelayMs: number
  readonly deleteRetentionMs: number
  readonly minCompactionLagMs: number
  readonly maxCompactionLagMs: number
  readonly minCleanableDirtyRatio: number
}

export interface TopicConfigDefinition extends ConfigDefinition {
  /** Broker config that gives the default. */
  readonly synonym: string | undefined
  /** Not shown by DescribeConfigs; for tests. */
  readonly internal: boolean
}

// Columns: name | type | default | valid values | broker config that gives the default | documentation.
const TABLE = `
cleanup.policy | list | delete | [compact, delete] | log.cleanup.policy | What happens to old segments: delete, compact, both, or nothing when empty.
compression.gzip.level | int | -1 | gzip | compression.gzip.level | gzip level where the broker compresses; -1 is the library's own.
compression.lz4.level | int | 9 | [1,...,17] | compression.lz4.level | lz4 level where the broker compresses.
compression.type | string | producer | [uncompressed, zstd, lz4, snappy, gzip, producer] | compression.type | Compression of stored batches; producer keeps what the client chose.
compression.zstd.level | int | 3 | [-131072,...,22] | compression.zstd.level | zstd level where the broker compresses.
delete.retention.ms | long | 86400000 | [0,...] | log.cleaner.delete.retention.ms | How long compaction keeps tombstones.
file.delete.delay.ms | long | 60000 | [0,...] | log.segment.delete.delay.ms | How long a deleted segment's file stays.
flush.messages | long | Long.MAX | [1,...] | log.flush.interval.messages | Records after which the log is flushed; here every acknowledged record is on disk already.
flush.ms | long | Long.MAX | [0,...] | log.flush.interval.ms | Time after which the log is flushed; here every acknowledged record is on disk already.
follower.replication.throttled.replicas | list | (empty) | throttled | - | Replicas whose replication is throttled on the follower's side.
index.interval.bytes | int | 4096 | [0,...] | log.index.interval.bytes | Bytes of log between two index entries.
internal.segment.bytes | int | null | - | - | Size at which a new segment is begun, without a lower limit; for tests.
leader.replication.throttled.replicas | list | (empty) | throttled | - | Replicas whose replication is throttled on the leader's side.
local.retention.bytes | long | -2 | [-2,...] | log.local.retention.bytes | How much tiered data stays local; -2 follows retention.bytes.
local.retention.ms | long | -2 | [-2,...] | log.local.retention.ms | How long tiered data stays local; -2 follows retention.ms.
max.compaction.lag.ms | long | Long.MAX | [1,...] | log.cleaner.max.compaction.lag.ms | Longest time a record stays uncompacted.
max.message.bytes | int | 1048588 | [0,...] | message.max.bytes | Largest batch the topic accepts, after compression.
message.timestamp.after.max.ms | long | 3600000 | [0,...] | log.message.timestamp.after.max.ms | How far a record's time may lie in the future.
message.timestamp.before.max.ms | long | Long.MAX | [0,...] | log.message.timestamp.before.max.ms | How far a record's time may lie in the past.
message.timestamp.type | string | CreateTime | [CreateTime, LogAppendTime] | log.message.timestamp.type | Whether records keep the client's time or get the broker's.
min.cleanable.dirty.ratio | double | 0.5 | [0,...,1] | log.cleaner.min.cleanable.ratio | Dirty share of the log at which compaction begins.
min.compaction.lag.ms | long | 0 | [0,...] | log.cleaner.min.compaction.lag.ms | Shortest time a record stays uncompacted.
min.insync.replicas | int | 1 | [1,...] | min.insync.replicas | Replicas that must hold a record before acks=all is answered, never more than the topic has.
preallocate | boolean | false | - | log.preallocate | Whether segment files are preallocated; they always are where the file system can.
remote.log.copy.disable | boolean | false | - | - | Whether tiered data is no longer copied to remote storage.
remote.log.delete.on.disable | boolean | false | - | - | Whether remote data goes when tiering is turned off.
remote.storage.enable | boolean | false | - | - | Whether the topic uses tiered storage; not available.
retention.bytes | long | -1 | - | log.retention.bytes | Size per partition above which old segments are deleted; -1 for no limit.
retention.ms | long | 604800000 | [-1,...] | log.retention.ms | Age at which records may be deleted; -1 keeps them for ever.
segment.bytes | int | 1073741824 | [1048576,...] | log.segment.bytes | Size at which a new segment is begun.
segment.index.bytes | int | 10485760 | [4,...] | log.index.size.max.bytes | Largest size of an index file.
segment.jitter.ms | long | 0 | [0,...] | log.roll.jitter.ms | Random time by which segments roll earlier.
segment.ms | long | 604800000 | [1,...] | log.roll.ms | Age at which a new segment is begun.
unclean.leader.election.enable | boolean | false | - | unclean.leader.election.enable | Whether a replica that lacks acknowledged records may lead; never needed here.
`

function readTable(): Map<string, TopicConfigDefinition> {
  const definitions = new Map<string, TopicConfigDefinition>()
  for (const [name = '', typeColumn = '', standard = '', valid = '-', synonym = '-', documentation = ''] of tableRows(
    TABLE,
  )) {
    const type = typeColumn as ConfigType
    definitions.set(name, {
      name,
      type,
      defaultText: defaultText(standard),
      check: valid === 'throttled' ? throttledReplicas : checkOf(type, valid),
      documentation,
      synonym: synonym === '-' ? undefined : synonym,
      internal: name.startsWith('internal.'),
    })
  }
  return definitions
}

/** All topic configs by name, sorted by name. */
export const topicConfigDefinitions: ReadonlyMap<string, TopicConfigDefinition> = readTable()

/**
 * Checks a whole set of overrides.
 * @param overrides name and text; null is no value
 * @param isInternal the broker's own topics may be compacted
 * @param broker gives the values of what is not overridden
 * @returns the problem in Kafka's words (INVALID_CONFIG), or undefined
 */
export function topicConfigProblem(
  overrides: ReadonlyMap<string, string | null>,
  isInternal: boolean,
  broker: BrokerConfig,
): string | undefined {
  const values = new Map<string, string>()
  const withoutValue: string[] = []
  for (const [name, text] of overrides) {
    if (text === null) withoutValue.push(name)
    else values.set(name, text)
  }
  if (withoutValue.length > 0) return `Null value not supported for topic configs: ${withoutValue.join(',')}`
  for (const [name, text] of values) {
    const definition = topicConfigDefinitions.get(name)
    if (definition === undefined) return `Unknown topic config name: ${name}`
    const parsed = parseValue(definition, text)
    if ('error' in parsed) return parsed.error
    if (name === 'cleanup.policy' && !isInternal) {
      const problem = policyProblem(parsed.value)
      if (problem !== undefined) return `Invalid value ${text} for configuration ${name}: ${problem}`
    }
    if (name === 'remote.storage.enable' && parsed.value === true) {
      return 'Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.'
    }
  }
  const minLag = topicConfigValue('min.compaction.lag.ms', values, broker)
  const maxLag = topicConfigValue('max.compaction.lag.ms', values, broker)
  if (Number(minLag.value) > Number(maxLag.value)) {
    return `conflict topic config setting max.compaction.lag.ms (${maxLag.text}) < min.compaction.lag.ms (${minLag.text})`
  }
  return undefined
}

/** The effective value of one topic config: the override, else the broker's, else Kafka's default. */
export function topicConfigValue(
  name: string,
  overrides: ReadonlyMap<string, string>,
  broker: BrokerConfig,
): ConfigValue {
  const definition = topicConfigDefinitions.get(name)
  if (definition === undefined) return { value: null, text: null }
  const text = overrides.get(name)
  if (text !== undefined) {
    const parsed = parseValue(definition, text)
    if (!('error' in parsed)) return parsed
  }
  if (definition.synonym !== undefined) {
    const fromBroker = broker.valueWithAlternatives(definition.synonym)
    if (fromBroker.text !== null) return fromBroker
  }
  return defaultValue(definition)
}

/** Where the value of a topic config comes from, the strongest first. */
export function topicConfigLinks(
  name: string,
  overrides: ReadonlyMap<string, string>,
  broker: BrokerConfig,
): ConfigLink[] {
  const synonym = topicConfigDefinitions.get(name)?.synonym
  const links = synonym === undefined ? [] : broker.links(brokerSynonyms(synonym))
  if (overrides.has(name)) {
    links.unshift({ name, text: topicConfigValue(name, overrides, broker).text, source: ConfigSource.TOPIC })
  }
  return links
}

/** The effective values of a topic, parsed. Depends on nothing but its two arguments. */
export function effectiveTopicConfig(overrides: ReadonlyMap<string, string>, broker: BrokerConfig): TopicConfig {
  const number = (name: string): number => {
    const { value } = topicConfigValue(name, overrides, broker)
    return typeof value === 'number' ? value : UNLIMITED
  }
  const text = (name: string): string => topicConfigValue(name, overrides, broker).text ?? ''
  const internalSegmentBytes = topicConfigValue('internal.segment.bytes', overrides, broker).value
  return {
    cleanupPolicy: topicConfigValue('cleanup.policy', overrides, broker).value as readonly CleanupPolicy[],
    compressionType: text('compression.type') as CompressionType,
    compressionGzipLevel: number('compression.gzip.level'),
    compressionLz4Level: number('compression.lz4.level'),
    compressionZstdLevel: number('compression.zstd.level'),
    maxMessageBytes: number('max.message.bytes'),
    messageTimestampType: text('message.timestamp.type') as TimestampType,
    messageTimestampBeforeMaxMs: number('message.timestamp.before.max.ms'),
    messageTimestampAfterMaxMs: number('message.timestamp.after.max.ms'),
    minInsyncReplicas: number('min.insync.replicas'),
    retentionBytes: number('retention.bytes'),
    retentionMs: number('retention.ms'),
    segmentBytes: typeof internalSegmentBytes === 'number' ? internalSegmentBytes : number('segment.bytes'),
    segmentMs: number('segment.ms'),
    segmentJitterMs: number('segment.jitter.ms'),
    segmentIndexBytes: number('segment.index.bytes'),
    indexIntervalBytes: number('index.interval.bytes'),
    fileDeleteDelayMs: number('file.delete.delay.ms'),
    deleteRetentionMs: number('delete.retention.ms'),
    minCompactionLagMs: number('min.compaction.lag.ms'),
    maxCompactionLagMs: number('max.compaction.lag.ms'),
    minCleanableDirtyRatio: number('min.cleanable.dirty.ratio'),
  }
}
