import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { brokerConfigDefinitions, configsWithoutEffect } from '../../../../broker/config/definitions.ts'
import { groupConfigDefinitions } from '../../../../broker/config/group-definitions.ts'
import { javaDouble, parseValue } from '../../../../broker/config/values.ts'
import { BrokerConfig, brokerSynonyms, parseSetting } from '../../../../broker/config.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'
import { topicConfigDefinitions } from '../../../../broker/topic-config.ts'

const config = (settings: Record<string, string> = {}) => new BrokerConfig(Object.entries(settings))
const none: ReadonlyMap<string, string> = new Map()

test('every default of every table is a good value of its own config', () => {
  const tables = [brokerConfigDefinitions, topicConfigDefinitions, groupConfigDefinitions]
  for (const definition of tables.flatMap((table) => [...table.values()])) {
    assert.ok(
      ['boolean', 'string', 'int', 'short', 'long', 'double', 'list', 'class', 'password'].includes(definition.type),
    )
    assert.ok(definition.documentation.length > 10, definition.name)
    if (definition.defaultText === null) continue
    const parsed = parseValue(definition, definition.defaultText)
    assert.ok(!('error' in parsed), 'error' in parsed ? parsed.error : '')
    assert.equal(parsed.text, definition.defaultText, definition.name)
  }
  for (const { scope } of brokerConfigDefinitions.values()) assert.match(scope, /^(read-only|per-broker|cluster)$/)
})

const facts = new URL('../../../../../shared/kafka/configs.md', import.meta.url)
test('every config of the published list is known', {
  skip: existsSync(facts) ? false : 'the list is not here',
}, () => {
  const text = readFileSync(facts, 'utf8')
  const names = (part: string) => [...part.matchAll(/^\| ([a-z][a-z0-9]*\.[a-z0-9.]+) \|/gm)].map((row) => row[1] ?? '')
  const [, topics = '', rest = ''] = text.split(/^## \(.\)/m)
  assert.ok(names(rest).length > 150)
  for (const name of names(topics.split('\n## Group')[0] ?? '')) assert.ok(topicConfigDefinitions.has(name), name)
  for (const name of names(rest)) assert.ok(brokerConfigDefinitions.has(name), name)
})

test('without settings a broker has Kafka defaults and an address of its own machine', () => {
  const defaults = config()
  assert.equal(defaults.nodeId, 1)
  assert.equal(defaults.numPartitions, 1)
  assert.equal(defaults.logRetentionMs, 604_800_000)
  assert.equal(defaults.messageMaxBytes, 1_048_588)
  assert.equal(defaults.dataDirectory, 'data')
  assert.deepEqual(defaults.listeners, [
    { name: 'PLAINTEXT', host: '127.0.0.1', port: 9092, securityProtocol: 'PLAINTEXT' },
  ])
  assert.deepEqual(defaults.warnings, [])
})

test('log.retention.ms goes before minutes, and minutes before hours', () => {
  assert.equal(config({ 'log.retention.hours': '2' }).logRetentionMs, 7_200_000)
  assert.equal(config({ 'log.retention.hours': '2', 'log.retention.minutes': '3' }).logRetentionMs, 180_000)
  assert.equal(config({ 'log.retention.minutes': '3', 'log.retention.ms': '4' }).logRetentionMs, 4)
  assert.equal(config({ 'log.retention.hours': '-1' }).logRetentionMs, -1)
  assert.deepEqual(brokerSynonyms('log.retention.ms'), [
    'log.retention.ms',
    'log.retention.minutes',
    'log.retention.hours',
  ])
  assert.deepEqual(brokerSynonyms('log.retention.hours'), ['log.retention.hours'], 'nothing else decides about it')
})

test('the number of the node has two names, and both show it', () => {
  for (const key of ['node.id', 'broker.id']) {
    const made = config({ [key]: '7' })
    assert.equal(made.nodeId, 7)
    assert.deepEqual(made.warnings, [])
    for (const name of ['node.id', 'broker.id']) {
      assert.equal(made.text(name), '7', name)
      assert.deepEqual(made.links([name])[0], { name, text: '7', source: 4 })
    }
  }
  assert.equal(config({ 'broker.id': '-1' }).nodeId, 1)
  assert.equal(config({ 'node.id': '2', 'broker.id': '3' }).nodeId, 2)
})

test('replication is unlimited until a rate is set', () => {
  assert.equal(config({}).leaderReplicationThrottledRate, Number.MAX_SAFE_INTEGER)
  const limited = config({})
  limited.setDynamic(new Map([['leader.replication.throttled.rate', '1000']]), none)
  assert.equal(limited.leaderReplicationThrottledRate, 1000)
})

test('an unknown name is one warning, and the broker starts', () => {
  const { warnings } = config({ 'zookeeper.connect': 'x:2181', 'num.partitions': '3', 'no.such.name': '1' })
  assert.deepEqual(warnings, [
    'unknown configuration zookeeper.connect is ignored',
    'unknown configuration no.such.name is ignored',
  ])
})

test('a bad value is one clear line with what to do', () => {
  const check = (settings: Record<string, string>, message: RegExp) =>
    assert.throws(
      () => config(settings),
      (error) => error instanceof OperatorError && message.test(error.message) && error.whatToDo !== '',
    )
  check({ 'num.partitions': 'x' }, /^Invalid value x for configuration num\.partitions: Not a number of type INT$/)
  check({ 'num.partitions': '0' }, /^Invalid value 0 for configuration num\.partitions: Value must be at least 1$/)
  check({ 'num.partitions': '3000000000' }, /Not a number of type INT/)
  check({ 'log.segment.bytes': '1000' }, /Value must be at least 1048576/)
  check({ 'auto.create.topics.enable': 'yes' }, /Expected value to be either true or false/)
  check({ 'compression.type': 'zip' }, /String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer/)
  check({ 'log.cleanup.policy': 'compact' }, /compaction is not available/)
  check({ 'log.retention.ms': '0' }, /unlimited \(-1\)/)
  check({ listeners: 'PLAINTEXT:9092' }, /NAME:\/\/host:port/)
  check({ listeners: 'SSL://:9093' }, /does not serve yet/)
  check({ listeners: 'INSIDE://:9093' }, /no security protocol is defined for listener INSIDE/)
  check({ listeners: 'PLAINTEXT://:1,PLAINTEXT://:2' }, /twice/)
  check({ 'advertised.listeners': 'SSL://h:1' }, /no name in listeners/)
  check({ 'authorizer.class.name': 'a.b.C' }, /cannot follow/)
})

test('the value of a password is not repeated in an error', () => {
  const definition = brokerConfigDefinitions.get('ssl.key.password')
  assert.ok(definition !== undefined)
  const refused = parseValue({ ...definition, check: () => 'too short' }, 'secret')
  assert.ok('error' in refused && !refused.error.includes('secret'))
})

test('listeners of Kafka controllers are not opened, IPv6 addresses and several listeners are read', () => {
  const several = config({
    listeners: 'IN://[::1]:9092,OUT://:0,CONTROLLER://:9093',
    'advertised.listeners': 'IN://inside:9092,OUT://outside:19092,CONTROLLER://x:9093',
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'IN:PLAINTEXT,OUT:PLAINTEXT,CONTROLLER:PLAINTEXT',
  })
  assert.deepEqual(
    several.listeners.map(({ name, host, port }) => [name, host, port]),
    [
      ['IN', '::1', 9092],
      ['OUT', '', 0],
    ],
  )
  assert.deepEqual(
    several.advertisedListeners.map(({ host }) => host),
    ['inside', 'outside'],
  )
  assert.equal(several.warnings.length, 1)
})

test('node.id goes before broker.id', () => {
  assert.equal(config({ 'broker.id': '7' }).nodeId, 7)
  assert.equal(config({ 'broker.id': '7', 'node.id': '3' }).nodeId, 3)
})

test('a name with a listener prefix is known and checked', () => {
  assert.deepEqual(config({ 'listener.name.plaintext.ssl.key.password': 'x' }).warnings, [])
  assert.deepEqual(config({ 'listener.name.sasl_ssl.plain.sasl.jaas.config': 'x' }).warnings, [])
  assert.throws(() => config({ 'listener.name.plaintext.max.connections': 'x' }), OperatorError)
})

test('values set at run time go before the file, this broker before the cluster', () => {
  const changing = config({ 'log.retention.ms': '10', 'message.max.bytes': '50' })
  assert.equal(changing.logRetentionMs, 10)
  const before = changing.revision
  changing.setDynamic(
    new Map([['log.retention.ms', '30']]),
    new Map([
      ['log.retention.ms', '20'],
      ['message.max.bytes', '60'],
    ]),
  )
  assert.equal(changing.logRetentionMs, 30)
  assert.equal(changing.messageMaxBytes, 60)
  assert.notEqual(changing.revision, before)
  assert.deepEqual(
    changing.links(brokerSynonyms('log.retention.ms')).map(({ name, text, source }) => [name, text, source]),
    [
      ['log.retention.ms', '30', 2],
      ['log.retention.ms', '20', 3],
      ['log.retention.ms', '10', 4],
      ['log.retention.hours', '168', 5],
    ],
  )
  changing.setDynamic(none, none)
  assert.equal(changing.logRetentionMs, 10)
})

test('settings make the same configs on another thread', () => {
  const first = config({ 'num.partitions': '5', 'log.retention.hours': '1' })
  const second = new BrokerConfig(first.settings)
  assert.equal(second.numPartitions, 5)
  assert.equal(second.logRetentionMs, 3_600_000)
})

test('a setting of the command line is name=value', () => {
  assert.deepEqual(parseSetting('listeners=PLAINTEXT://:1?a=b'), ['listeners', 'PLAINTEXT://:1?a=b'])
  assert.throws(() => parseSetting('num.partitions'), OperatorError)
})

test('configs without effect are named, those with effect are not', () => {
  const idle = configsWithoutEffect()
  assert.ok(idle.includes('num.io.threads'))
  assert.ok(!idle.includes('num.partitions'))
})

test('doubles print as Java prints them', () => {
  assert.deepEqual([0, 0.5, 1, 1e7, 123456.5, 1.5e-4, Number.MAX_VALUE].map(javaDouble), [
    '0.0',
    '0.5',
    '1.0',
    '1.0E7',
    '123456.5',
    '1.5E-4',
    '1.7976931348623157E308',
  ])
})
