import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UNLIMITED } from '../../../../broker/config/values.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import {
  effectiveTopicConfig,
  topicConfigDefinitions,
  topicConfigLinks,
  topicConfigProblem,
  topicConfigValue,
} from '../../../../broker/topic-config.ts'

const broker = new BrokerConfig()
const problem = (overrides: Record<string, string | null>, isInternal = false) =>
  topicConfigProblem(new Map(Object.entries(overrides)), isInternal, broker)

test('there are 33 public topic configs and one internal, sorted by name', () => {
  const names = [...topicConfigDefinitions.keys()]
  assert.equal(names.length, 34)
  assert.deepEqual(names, [...names].sort())
  assert.deepEqual(
    [...topicConfigDefinitions.values()].filter(({ internal }) => internal).map(({ name }) => name),
    ['internal.segment.bytes'],
  )
})

test('bad values are refused in the words of Kafka', () => {
  const cases: [Record<string, string | null>, string][] = [
    [{ 'retention.ms': 'x' }, 'Invalid value x for configuration retention.ms: Not a number of type LONG'],
    [{ 'retention.ms': '-2' }, 'Invalid value -2 for configuration retention.ms: Value must be at least -1'],
    [
      { 'segment.bytes': '1048575' },
      'Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576',
    ],
    [
      { 'min.cleanable.dirty.ratio': '1.5' },
      'Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1',
    ],
    [
      { 'cleanup.policy': 'delete,archive' },
      'Invalid value archive for configuration cleanup.policy: String must be one of: compact, delete',
    ],
    [
      { 'compression.gzip.level': '0' },
      'Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1',
    ],
    [
      { preallocate: 'maybe' },
      'Invalid value maybe for configuration preallocate: Expected value to be either true or false',
    ],
    [
      { 'retention.ms': null, 'segment.ms': null },
      'Null value not supported for topic configs: retention.ms,segment.ms',
    ],
    [{ 'redpanda.remote.read': 'true' }, 'Unknown topic config name: redpanda.remote.read'],
  ]
  for (const [overrides, text] of cases) assert.equal(problem(overrides), text)
  assert.match(
    problem({ 'leader.replication.throttled.replicas': '1:x' }) ?? '',
    /must be the literal '\*' or a list of replicas/,
  )
  assert.match(problem({ 'remote.storage.enable': 'true' }) ?? '', /Tiered Storage functionality is disabled/)
  assert.match(
    problem({ 'max.compaction.lag.ms': '5', 'min.compaction.lag.ms': '6' }) ?? '',
    /conflict topic config setting/,
  )
})

test('good values of every kind are taken', () => {
  assert.equal(problem({ 'leader.replication.throttled.replicas': '0:1, 1:2' }), undefined)
  assert.equal(problem({ 'follower.replication.throttled.replicas': '*' }), undefined)
  assert.equal(problem({ 'cleanup.policy': '' }), undefined)
  assert.equal(problem({ 'retention.ms': ' -1 ', 'flush.messages': '9223372036854775807' }), undefined)
  assert.equal(problem({ 'internal.segment.bytes': '4096' }), undefined)
})

test('compaction is refused for topics of clients and allowed for those of the broker', () => {
  assert.match(
    problem({ 'cleanup.policy': 'compact' }) ?? '',
    /^Invalid value compact for configuration cleanup\.policy: compaction is not available/,
  )
  assert.ok(problem({ 'cleanup.policy': 'compact,delete' }) !== undefined)
  assert.equal(problem({ 'cleanup.policy': 'compact' }, true), undefined)
})

test('the effective config takes overrides, then the broker, then the default', () => {
  const configured = new BrokerConfig([
    ['log.retention.hours', '1'],
    ['message.max.bytes', '2000'],
  ])
  const effective = effectiveTopicConfig(
    new Map([
      ['max.message.bytes', '3000'],
      ['cleanup.policy', ''],
    ]),
    configured,
  )
  assert.equal(effective.retentionMs, 3_600_000)
  assert.equal(effective.maxMessageBytes, 3000)
  assert.equal(effective.segmentBytes, 1_073_741_824)
  assert.equal(effective.messageTimestampBeforeMaxMs, UNLIMITED)
  assert.deepEqual(effective.cleanupPolicy, [])
  assert.equal(effectiveTopicConfig(new Map([['internal.segment.bytes', '4096']]), configured).segmentBytes, 4096)
})

test('values are reported in full and in canonical form', () => {
  const none = new Map<string, string>()
  assert.equal(topicConfigValue('flush.messages', none, broker).text, '9223372036854775807')
  assert.equal(topicConfigValue('flush.ms', none, broker).text, '9223372036854775807')
  assert.equal(
    topicConfigValue('min.cleanable.dirty.ratio', new Map([['min.cleanable.dirty.ratio', '1']]), broker).text,
    '1.0',
  )
  assert.equal(topicConfigValue('retention.ms', new Map([['retention.ms', ' +5 ']]), broker).text, '5')
})

test('the source chain of retention.ms ends at log.retention.hours', () => {
  const links = topicConfigLinks('retention.ms', new Map([['retention.ms', '5']]), broker)
  assert.deepEqual(links, [
    { name: 'retention.ms', text: '5', source: 1 },
    { name: 'log.retention.hours', text: '168', source: 5 },
  ])
})
