// What Kafka answers to DescribeConfigs, IncrementalAlterConfigs and AlterConfigs.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode, errorName } from '../../protocol/errors.ts'
import { eventually } from '../support/process.ts'
import { api, Bench, type NewTopic, newTopic, type Wire } from '../support/wire.ts'

const Resource = { topic: 2, broker: 4, logger: 8, clientMetrics: 16, group: 32 } as const
const Source = { topic: 1, broker: 2, staticBroker: 4, default: 5, logger: 6, clientMetrics: 7, group: 8 } as const
const Operation = { set: 0, delete: 1, append: 2, subtract: 3 } as const
const Type = { boolean: 1, string: 2, int: 3, long: 5, double: 6, list: 7, password: 9 } as const

type Change = readonly [name: string, operation: number, value: string | null]

describe('configs', () => {
  const bench = new Bench()
  let wire: Wire
  let topic: NewTopic
  let brokerId: string

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('configs'))
    brokerId = String((await wire.call(api.metadata, 13, { topics: [] })).brokers[0]?.nodeId)
  })

  async function read(
    version: number,
    resourceType: number,
    resourceName: string,
    keys: string[] | null = null,
    options: { includeSynonyms?: boolean; includeDocumentation?: boolean } = {},
  ) {
    const answer = await wire.call(api.describeConfigs, version, {
      resources: [{ resourceType, resourceName, configurationKeys: keys }],
      ...options,
    })
    const [result, ...more] = answer.results
    assert.ok(result)
    assert.deepEqual([result.resourceType, result.resourceName, more], [resourceType, resourceName, []])
    return result
  }

  async function override(name: string, key: string): Promise<string | null | undefined> {
    const { configs } = await read(4, Resource.topic, name, [key])
    return configs[0]?.configSource === Source.topic ? configs[0].value : undefined
  }

  /** Kafka answers a change before it is in the broker's own image. */
  async function settled(name: string, key: string, wanted: string | undefined): Promise<void> {
    await eventually(`${key}=${wanted}`, 10_000, async () =>
      (await override(name, key)) === wanted ? true : undefined,
    )
  }

  async function change(
    version: number,
    resources: { type?: number; name: string; changes: readonly Change[] }[],
    validateOnly = false,
  ): Promise<number[]> {
    const answer = await wire.call(api.incrementalAlterConfigs, version, {
      resources: resources.map(({ type = Resource.topic, name, changes }) => ({
        resourceType: type,
        resourceName: name,
        configs: changes.map(([name, configOperation, value]) => ({ name, configOperation, value })),
      })),
      validateOnly,
    })
    return resources.map(
      ({ name }) => answer.responses.find((result) => result.resourceName === name)?.errorCode ?? 999,
    )
  }

  /** Code and message for one resource. */
  async function said(
    type: number,
    name: string,
    changes: readonly Change[],
    validateOnly = true,
  ): Promise<[string, string | null]> {
    const configs = changes.map(([name, configOperation, value]) => ({ name, configOperation, value }))
    const { responses } = await wire.call(api.incrementalAlterConfigs, 1, {
      resources: [{ resourceType: type, resourceName: name, configs }],
      validateOnly,
    })
    const [result] = responses
    return [errorName(result?.errorCode ?? 999), result?.errorMessage ?? null]
  }

  /** As DescribeConfigs shows one config with its synonyms, each as name=value@source. */
  async function explained(type: number, name: string, key: string) {
    const { configs } = await read(4, type, name, [key], { includeSynonyms: true })
    const [entry] = configs
    if (entry === undefined) return undefined
    return [entry.value, ...entry.synonyms.map(({ name, value, source }) => `${name}=${value}@${source}`)]
  }

  /** The code for one change that is only validated, the same at the lowest and the highest version. */
  async function verdict(name: string, changes: readonly Change[], type: number = Resource.topic): Promise<number> {
    const [first] = await change(0, [{ type, name, changes }], true)
    const [second] = await change(1, [{ type, name, changes }], true)
    assert.equal(first, second)
    return first ?? 999
  }

  describe('DescribeConfigs', () => {
    test('no keys, null or an empty list, give all 33 of a topic; unknown keys are missing', async () => {
      for (const version of [1, 4]) {
        for (const keys of [null, []]) {
          const { configs, errorCode, errorMessage } = await read(version, Resource.topic, topic.name, keys)
          assert.deepEqual([errorCode, errorMessage, configs.length], [0, '', 33])
          assert.ok(configs.every(({ readOnly, isSensitive }) => !readOnly && !isSensitive))
        }
        const some = await read(version, Resource.topic, topic.name, ['retention.ms', 'nonsense'])
        assert.deepEqual(
          some.configs.map(({ name, value, configSource, synonyms }) => [name, value, configSource, synonyms]),
          [['retention.ms', '604800000', Source.default, []]],
        )
      }
    })

    test('a resource twice gives two results', async () => {
      const resource = { resourceType: Resource.topic, resourceName: topic.name, configurationKeys: ['retention.ms'] }
      const { results } = await wire.call(api.describeConfigs, 4, { resources: [resource, resource] })
      assert.equal(results.length, 2)
    })

    test('an unknown topic is UNKNOWN_TOPIC_OR_PARTITION, an illegal name INVALID_TOPIC_EXCEPTION', async () => {
      for (const version of [1, 4]) {
        const unknown = await read(version, Resource.topic, 'configs-unknown')
        assert.deepEqual([unknown.errorCode, unknown.configs], [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, []])
        assert.equal((await read(version, Resource.topic, 'not a name')).errorCode, ErrorCode.INVALID_TOPIC_EXCEPTION)
      }
    })

    test('resource types that are none, and brokers that are others, are INVALID_REQUEST', async () => {
      for (const type of [0, 3, 99]) {
        assert.equal((await read(4, type, topic.name)).errorCode, ErrorCode.INVALID_REQUEST, `type ${type}`)
      }
      for (const name of ['99', 'one']) {
        assert.equal((await read(4, Resource.broker, name)).errorCode, ErrorCode.INVALID_REQUEST, name)
      }
    })

    test('the broker shows what it was started with, read-only where it cannot be changed', async () => {
      const { configs, errorCode } = await read(4, Resource.broker, brokerId)
      assert.equal(errorCode, 0)
      const byName = new Map(configs.map((entry) => [entry.name, entry]))
      for (const [name, readOnly] of [
        ['node.id', true],
        ['log.dirs', true],
        ['num.partitions', true],
        ['listeners', false],
        ['log.retention.ms', false],
      ] as const) {
        assert.equal(byName.get(name)?.readOnly, readOnly, name)
      }
      const password = byName.get('ssl.keystore.password')
      assert.deepEqual([password?.value, password?.isSensitive, password?.configType], [null, true, Type.password])
      assert.equal(byName.get('log.retention.ms')?.value, null)
    })

    test('the broker "" has only what was set for the whole cluster', async () => {
      const { configs, errorCode } = await read(4, Resource.broker, '')
      assert.equal(errorCode, 0)
      // Kafka writes min.insync.replicas there when it formats a cluster.
      assert.ok(configs.every(({ name }) => name === 'min.insync.replicas'))
    })

    test('groups and client metrics that nobody knows have defaults', async () => {
      const group = await read(4, Resource.group, 'configs-group')
      assert.equal(group.errorCode, 0)
      assert.ok(group.configs.length > 0 && group.configs.every(({ configSource }) => configSource === Source.default))
      const metrics = await read(4, Resource.clientMetrics, 'configs-metrics')
      assert.deepEqual([metrics.errorCode, metrics.configs.length], [0, 3])
    })

    test('synonyms are listed when asked for, each under its own name', async () => {
      const name = (await newTopic(wire, bench.name('configs'), 1, { 'retention.ms': '5000' })).name
      const { configs } = await read(4, Resource.topic, name, ['retention.ms'], { includeSynonyms: true })
      assert.deepEqual(configs[0]?.synonyms, [
        { name: 'retention.ms', value: '5000', source: Source.topic },
        // Where the default belongs to another setting than log.retention.ms, Kafka leaves it out; Millrace names it.
        ...(bench.isKafka ? [] : [{ name: 'log.retention.hours', value: '168', source: Source.default }]),
      ])
      const plain = await read(4, Resource.topic, topic.name, ['segment.bytes'], { includeSynonyms: true })
      assert.deepEqual(plain.configs[0]?.synonyms, [
        { name: 'log.segment.bytes', value: '1073741824', source: Source.default },
      ])
    })

    test('types come from version 3 on, documentation when asked for', async () => {
      const keys = [
        'retention.ms',
        'cleanup.policy',
        'preallocate',
        'compression.type',
        'min.cleanable.dirty.ratio',
        'segment.bytes',
      ]
      const { configs } = await read(3, Resource.topic, topic.name, keys)
      assert.deepEqual(Object.fromEntries(configs.map(({ name, configType }) => [name, configType])), {
        'retention.ms': Type.long,
        'cleanup.policy': Type.list,
        preallocate: Type.boolean,
        'compression.type': Type.string,
        'min.cleanable.dirty.ratio': Type.double,
        'segment.bytes': Type.int,
      })
      assert.ok(configs.every(({ documentation }) => documentation === null))
      const documented = await read(4, Resource.topic, topic.name, keys, { includeDocumentation: true })
      assert.ok(documented.configs.every(({ documentation }) => documentation !== null && documentation.length > 10))
    })
  })

  describe('IncrementalAlterConfigs', () => {
    test('set, append, subtract and delete', async () => {
      const { name } = await newTopic(wire, bench.name('configs'))
      const key = 'leader.replication.throttled.replicas'
      const steps: [Change, string | undefined][] = [
        [[key, Operation.append, '0:1'], '0:1'],
        [[key, Operation.append, '1:1,0:1'], '0:1,1:1'],
        [[key, Operation.subtract, '0:1'], '1:1'],
        [[key, Operation.subtract, '7:7'], '1:1'],
        [[key, Operation.subtract, '1:1'], ''],
        [[key, Operation.set, '2:2'], '2:2'],
        [[key, Operation.delete, null], undefined],
        [[key, Operation.delete, null], undefined],
      ]
      for (const [step, wanted] of steps) {
        assert.deepEqual(await change(1, [{ name, changes: [step] }]), [0], String(step))
        await settled(name, key, wanted)
      }
    })

    test('setting the default stays an override, deleting the unknown is no error', async () => {
      const { name } = await newTopic(wire, bench.name('configs'))
      assert.deepEqual(await change(0, [{ name, changes: [['retention.ms', Operation.set, '604800000']] }]), [0])
      await settled(name, 'retention.ms', '604800000')
      assert.deepEqual(await change(1, [{ name, changes: [['nonsense', Operation.delete, null]] }]), [0])
      assert.deepEqual(await change(1, [{ name, changes: [] }]), [0])
      await settled(name, 'retention.ms', '604800000')
    })

    test('unknown keys, bad values, lists of what is none: INVALID_CONFIG', async () => {
      for (const one of [
        ['nonsense', Operation.set, '1'],
        ['retention.ms', Operation.set, 'soon'],
        ['retention.ms', Operation.append, '1'],
        ['retention.ms', Operation.subtract, '1'],
        ['max.message.bytes', Operation.set, '-1'],
        ['cleanup.policy', Operation.append, 'keep'],
      ] as const) {
        assert.equal(await verdict(topic.name, [one]), ErrorCode.INVALID_CONFIG, String(one))
      }
    })

    test('null values and keys twice: INVALID_REQUEST', async () => {
      assert.equal(await verdict(topic.name, [['retention.ms', Operation.set, null]]), ErrorCode.INVALID_REQUEST)
      assert.equal(await verdict(topic.name, [['cleanup.policy', Operation.append, null]]), ErrorCode.INVALID_REQUEST)
      const twice: Change[] = [
        ['retention.ms', Operation.set, '1'],
        ['retention.ms', Operation.set, '2'],
      ]
      assert.equal(await verdict(topic.name, twice), ErrorCode.INVALID_REQUEST)
    })

    test('an unknown operation', async () => {
      const code = await verdict(topic.name, [['retention.ms', 9, '1']])
      // Kafka fails inside; a request that is wrong deserves to hear it.
      assert.equal(code, bench.isKafka ? ErrorCode.UNKNOWN_SERVER_ERROR : ErrorCode.INVALID_REQUEST)
    })

    test('a resource twice: INVALID_REQUEST for both', async () => {
      const answer = await wire.call(api.incrementalAlterConfigs, 1, {
        resources: ['1', '2'].map((value) => ({
          resourceType: Resource.topic,
          resourceName: topic.name,
          configs: [{ name: 'retention.ms', configOperation: Operation.set, value }],
        })),
        validateOnly: true,
      })
      assert.ok(answer.responses.length > 0)
      assert.ok(answer.responses.every(({ errorCode }) => errorCode === ErrorCode.INVALID_REQUEST))
    })

    test('the value is judged before the topic: unknown, illegal, empty', async () => {
      const good: Change[] = [['retention.ms', Operation.set, '1']]
      const bad: Change[] = [['retention.ms', Operation.set, 'soon']]
      assert.equal(await verdict('configs-unknown', good), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      assert.equal(await verdict('configs-unknown', bad), ErrorCode.INVALID_CONFIG)
      assert.equal(await verdict('not a name', good), ErrorCode.INVALID_TOPIC_EXCEPTION)
      assert.equal(await verdict('', good), ErrorCode.INVALID_REQUEST)
    })

    test('one bad key, and nothing of its resource changes, while others do', async () => {
      const bad = await newTopic(wire, bench.name('configs'))
      const good = await newTopic(wire, bench.name('configs'))
      const answer = await change(1, [
        {
          name: bad.name,
          changes: [
            ['retention.ms', Operation.set, '1000'],
            ['segment.bytes', Operation.set, 'big'],
          ],
        },
        { name: good.name, changes: [['retention.ms', Operation.set, '1000']] },
      ])
      assert.deepEqual(answer, [ErrorCode.INVALID_CONFIG, 0])
      await settled(good.name, 'retention.ms', '1000')
      assert.equal(await override(bad.name, 'retention.ms'), undefined)
    })

    test('validateOnly changes nothing', async () => {
      assert.equal(await verdict(topic.name, [['retention.ms', Operation.set, '1234']]), 0)
      assert.equal(await override(topic.name, 'retention.ms'), undefined)
    })

    test('broker: what is read-only or wrong, or of another broker, is INVALID_REQUEST; unknown keys pass', async () => {
      const of = (name: string, value: string) => [[name, Operation.set, value]] as const
      assert.equal(await verdict(brokerId, of('node.id', '7'), Resource.broker), ErrorCode.INVALID_REQUEST)
      assert.equal(await verdict(brokerId, of('log.retention.ms', 'soon'), Resource.broker), ErrorCode.INVALID_REQUEST)
      assert.equal(await verdict('99', of('log.retention.ms', '1000'), Resource.broker), ErrorCode.INVALID_REQUEST)
      assert.equal(await verdict('', of('listeners', 'PLAINTEXT://:1'), Resource.broker), ErrorCode.INVALID_REQUEST)
      assert.equal(await verdict(brokerId, of('my.own.key', '1'), Resource.broker), 0)
      assert.equal(await verdict('', of('log.retention.ms', '1000'), Resource.broker), 0)
    })
  })

  describe('what is said of a broker', () => {
    const set = (name: string, value: string) => [[name, Operation.set, value]] as const
    const threads = (name: string, value: number, rule: string, current: number) =>
      'Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed for ' +
      `${name}=${value}, value should ${rule} the current value ${current} for configuration Invalid dynamic configuration`

    test('changes that cannot be are refused in so many words, for one broker and for all', async () => {
      const cannot = 'Cannot update these configs dynamically'
      for (const name of [brokerId, '']) {
        for (const [key, value, message] of [
          ['broker.id', '7', `${cannot}: [broker.id]`],
          ['log.retention.hours', '5', `${cannot}: [log.retention.hours]`],
          ['num.io.threads', 'abc', 'Invalid value abc for configuration num.io.threads: Not a number of type INT'],
          ['max.connections', '-1', 'Invalid value -1 for configuration max.connections: Value must be at least 0'],
          [
            'log.retention.ms',
            '0',
            'requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1',
          ],
          ['log.roll.ms', '0', 'requirement failed: log.roll.ms must be greater than or equal to 1'],
          ['log.roll.jitter.ms', '-1', 'requirement failed: log.roll.jitter.ms must be greater than or equal to 0'],
          [
            'ssl.keystore.password',
            'x',
            'These security configs can be dynamically updated only per-listener using the listener prefix: [ssl.keystore.password]',
          ],
        ] as const) {
          assert.deepEqual(await said(Resource.broker, name, set(key, value)), ['INVALID_REQUEST', message])
        }
        const append = [['log.retention.ms', Operation.append, '5']] as const
        const message = 'Config value append is not allowed for config key: log.retention.ms'
        assert.deepEqual(await said(Resource.broker, name, append), ['INVALID_CONFIG', message])
      }
      const single = 'Cannot update these configs at default cluster level, broker id must be specified'
      for (const key of ['listeners', 'listener.name.foo.ssl.keystore.type']) {
        const answer = await said(Resource.broker, '', set(key, 'PLAINTEXT://:1'))
        assert.deepEqual(answer, ['INVALID_REQUEST', `${single}: [${key}]`])
      }
    })

    test('a number of threads is at most doubled and at most halved', async () => {
      for (const [key, current] of [
        ['num.network.threads', 3],
        ['num.io.threads', 8],
        ['num.replica.fetchers', 1],
        ['num.recovery.threads.per.data.dir', 2],
        ['background.threads', 10],
      ] as const) {
        for (const name of [brokerId, '']) {
          const answer = (value: number) => said(Resource.broker, name, set(key, String(value)))
          const most = current * 2
          assert.deepEqual(await answer(most), ['NONE', null])
          assert.deepEqual(await answer(most + 1), [
            'INVALID_REQUEST',
            threads(key, most + 1, 'not be greater than double', current),
          ])
          const least = Math.max(1, Math.trunc(current / 2))
          assert.deepEqual(await answer(least), ['NONE', null])
          if (least === 1) continue
          assert.deepEqual(await answer(least - 1), [
            'INVALID_REQUEST',
            threads(key, least - 1, 'be at least half', current),
          ])
        }
      }
      assert.deepEqual(await said(Resource.broker, brokerId, set('log.cleaner.threads', '3')), [
        'INVALID_REQUEST',
        'Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads cannot be increased to more than double the current value 1 for configuration Invalid dynamic configuration',
      ])
    })

    test('steps of threads are taken from the present number, also on the way back to the default', async () => {
      const key = 'num.io.threads'
      const shown = (value: string) =>
        eventually(`${key}=${value}`, 10_000, async () =>
          (await explained(Resource.broker, brokerId, key))?.[0] === value ? true : undefined,
        )
      for (const value of ['16', '32']) {
        assert.deepEqual(await said(Resource.broker, brokerId, set(key, value), false), ['NONE', null])
        await shown(value)
      }
      const back = [[key, Operation.delete, null]] as const
      assert.deepEqual(await said(Resource.broker, brokerId, back), [
        'INVALID_REQUEST',
        threads(key, 8, 'be at least half', 32),
      ])
      // It is the broker's own number that counts for this broker.
      assert.deepEqual(await said(Resource.broker, '', set(key, '1000')), ['NONE', null])
      assert.deepEqual(await said(Resource.broker, brokerId, set(key, '16'), false), ['NONE', null])
      await shown('16')
      assert.deepEqual(await said(Resource.broker, brokerId, back, false), ['NONE', null])
      await shown('8')
    })

    test('a resource of another broker, or of none, is told which one was asked', async () => {
      const of = async (type: number, name: string) => (await read(4, type, name)).errorMessage
      assert.equal(
        await of(Resource.broker, '99'),
        `Unexpected broker id, expected ${brokerId} or empty string, but received 99`,
      )
      assert.equal(await of(Resource.logger, '99'), `Unexpected broker id, expected ${brokerId} but received 99`)
      assert.equal(await of(Resource.logger, 'one'), 'Broker id must be an integer, but it is: one')
      const one = set('log.retention.ms', '1000')
      const refused = async (type: number, name: string) => (await said(type, name, one))[1]
      assert.equal(await refused(Resource.broker, '99'), `Unexpected broker id, expected ${brokerId}, but received 99`)
      assert.equal(await refused(Resource.logger, '99'), `Unexpected node id. Expected ${brokerId}, but received 99`)
      assert.equal(await refused(Resource.broker, 'one'), 'Node id must be an integer, but it is: one')
      assert.equal(await refused(Resource.logger, 'one'), 'Node id must be an integer, but it is: one')
    })

    test('synonyms begin with the config itself, and are those of its own value only', async () => {
      assert.deepEqual(await explained(Resource.broker, brokerId, 'log.retention.ms'), [null])
      assert.deepEqual(await explained(Resource.broker, brokerId, 'log.flush.interval.ms'), [null])
      assert.equal((await explained(Resource.broker, brokerId, 'broker.id'))?.[0], brokerId)
      assert.deepEqual((await explained(Resource.broker, brokerId, 'broker.id'))?.slice(1), [
        `broker.id=${brokerId}@4`,
        'broker.id=-1@5',
      ])
      for (const key of ['leader.replication.throttled.rate', 'replica.alter.log.dirs.io.max.bytes.per.second']) {
        assert.equal(await explained(Resource.broker, brokerId, key), undefined, `${key} is no config until it is set`)
      }
      const changes = [
        ...set('log.retention.ms', '1000000'),
        ...set('log.flush.interval.ms', '77777'),
        ...set('leader.replication.throttled.rate', '1000'),
      ]
      assert.deepEqual(await said(Resource.broker, brokerId, changes, false), ['NONE', null])
      const wanted = [
        ['log.retention.ms', ['1000000', 'log.retention.ms=1000000@2', 'log.retention.hours=168@5']],
        ['log.retention.minutes', [null]],
        ['log.retention.hours', ['168', 'log.retention.hours=168@5']],
        [
          'log.flush.interval.ms',
          ['77777', 'log.flush.interval.ms=77777@2', 'log.flush.scheduler.interval.ms=9223372036854775807@5'],
        ],
        ['leader.replication.throttled.rate', ['1000', 'leader.replication.throttled.rate=1000@2']],
      ] as const
      await eventually('the change', 10_000, async () =>
        (await explained(Resource.broker, brokerId, 'log.retention.ms'))?.[0] === '1000000' ? true : undefined,
      )
      for (const [key, entry] of wanted) assert.deepEqual(await explained(Resource.broker, brokerId, key), entry, key)
      const back = changes.map(([key]) => [key, Operation.delete, null] as const)
      assert.deepEqual(await said(Resource.broker, brokerId, back, false), ['NONE', null])
    })

    test('a group has most of its configs from the broker, client metrics have none from anywhere', async () => {
      const name = bench.name('configs-group')
      const key = 'consumer.session.timeout.ms'
      const ofBroker = `group.${key}=45000@5`
      assert.deepEqual(await explained(Resource.group, name, key), ['45000', ofBroker])
      assert.deepEqual(await explained(Resource.group, name, 'share.isolation.level'), [
        'read_uncommitted',
        'share.isolation.level=read_uncommitted@5',
      ])
      assert.deepEqual(await said(Resource.group, name, set(key, '50000'), false), ['NONE', null])
      await eventually('the change', 10_000, async () =>
        (await explained(Resource.group, name, key))?.[0] === '50000' ? true : undefined,
      )
      assert.deepEqual(await explained(Resource.group, name, key), ['50000', `${key}=50000@${Source.group}`, ofBroker])
      assert.deepEqual(await explained(Resource.clientMetrics, bench.name('metrics'), 'interval.ms'), ['300000'])
    })

    test('the root logger has a level, which can be any of six and not be removed', async () => {
      const level = async () => {
        const { configs } = await read(4, Resource.logger, brokerId, ['root'])
        return configs.map(({ value, readOnly, configSource, configType }) => [
          value,
          readOnly,
          configSource,
          configType,
        ])
      }
      const [before] = await level()
      assert.deepEqual(before?.slice(1), [false, Source.logger, 0])
      for (const value of ['TRACE', 'FATAL', 'ERROR']) {
        assert.deepEqual(await said(Resource.logger, brokerId, set('root', value)), ['NONE', null])
      }
      assert.deepEqual(await level(), [before], 'it was only asked whether it could be')
      assert.deepEqual(await said(Resource.logger, brokerId, set('root', 'ERROR'), false), ['NONE', null])
      assert.equal((await level())[0]?.[0], 'ERROR')
      const levels = 'Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN'
      for (const value of ['debug', 'OFF', '']) {
        assert.deepEqual(await said(Resource.logger, brokerId, set('root', value)), [
          'INVALID_CONFIG',
          `Cannot set the log level of root to ${value} as it is not a supported log level. ${levels}`,
        ])
      }
      assert.deepEqual(await said(Resource.logger, brokerId, set('nosuch', 'INFO')), [
        'INVALID_CONFIG',
        'Logger nosuch does not exist!',
      ])
      assert.deepEqual(await said(Resource.logger, brokerId, [['root', Operation.delete, null]]), [
        'INVALID_REQUEST',
        'Removing the log level of the root logger is not allowed',
      ])
      assert.deepEqual(await said(Resource.logger, brokerId, [['root', Operation.append, 'INFO']]), [
        'INVALID_REQUEST',
        'APPEND operation is not allowed for the BROKER_LOGGER resource',
      ])
      await said(Resource.logger, brokerId, set('root', String(before?.[0])), false)
    })
  })

  describe('AlterConfigs', () => {
    async function replace(version: number, name: string, configs: [string, string | null][], validateOnly = false) {
      const answer = await wire.call(api.alterConfigs, version, {
        resources: [
          {
            resourceType: Resource.topic,
            resourceName: name,
            configs: configs.map(([name, value]) => ({ name, value })),
          },
        ],
        validateOnly,
      })
      return answer.responses.map(({ errorCode }) => errorCode)
    }

    test('what is left out is dropped, an empty list clears all', async () => {
      for (const version of [0, 2]) {
        const { name } = await newTopic(wire, bench.name('configs'), 1, { 'retention.ms': '1000' })
        assert.deepEqual(await replace(version, name, [['segment.bytes', '2000000']]), [0])
        await settled(name, 'segment.bytes', '2000000')
        await settled(name, 'retention.ms', undefined)
        assert.deepEqual(await replace(version, name, [['segment.bytes', '3000000']], true), [0])
        assert.deepEqual(await replace(version, name, []), [0])
        await settled(name, 'segment.bytes', undefined)
      }
    })

    test('refusals', async () => {
      const { name } = topic
      const twice: [string, string][] = [
        ['retention.ms', '1'],
        ['retention.ms', '2'],
      ]
      for (const version of [0, 2]) {
        assert.deepEqual(await replace(version, name, [['retention.ms', null]]), [ErrorCode.INVALID_REQUEST])
        assert.deepEqual(await replace(version, name, twice), [ErrorCode.INVALID_REQUEST])
        assert.deepEqual(await replace(version, name, [['retention.ms', 'soon']]), [ErrorCode.INVALID_CONFIG])
        assert.deepEqual(await replace(version, name, [['nonsense', '1']]), [ErrorCode.INVALID_CONFIG])
        assert.deepEqual(await replace(version, 'configs-unknown', [['retention.ms', '1']]), [
          ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ])
        assert.deepEqual(await replace(version, 'not a name', [['retention.ms', '1']]), [
          ErrorCode.INVALID_TOPIC_EXCEPTION,
        ])
      }
      assert.equal(await override(name, 'retention.ms'), undefined)
    })
  })
})
