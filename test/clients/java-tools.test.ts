// Kafka 4.3.0's own command-line tools, unmodified, against a running broker, and kafka-dump-log against its files.

import assert from 'node:assert/strict'
import { readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type KafkaTool, kafkaTool, kafkaUnavailable } from '../support/kafka.ts'
import { eventually, removeDirectory, temporaryDirectory } from '../support/process.ts'
import { commitOffset, createTopic, findCoordinator, produce, RawConnection, recordBatch } from '../support/raw.ts'
import { openTarget, type Target } from '../support/target.ts'

describe("Kafka's Java tools", { skip: (await kafkaUnavailable()) ?? false }, () => {
  let target: Target
  let connection: RawConnection
  let work: string
  let topicNumber = 0

  before(async () => {
    target = await openTarget()
    connection = await RawConnection.open(target.port, target.host)
    work = await temporaryDirectory('java-tools')
  })

  after(async () => {
    connection?.close()
    await target?.close()
    if (work) removeDirectory(work)
  })

  /** Runs a tool that must succeed; gives what it printed. */
  async function tool(name: KafkaTool, args: readonly string[], input?: string): Promise<string> {
    const result = await kafkaTool(name, ['--bootstrap-server', target.bootstrap, ...args], { input })
    assert.equal(result.code, 0, `${name} ${args.join(' ')}\n${result.stdout}\n${result.stderr}`)
    return result.stdout
  }

  /** Runs a tool that must be refused; gives all of what it said. */
  async function refused(name: KafkaTool, args: readonly string[]): Promise<string> {
    const result = await kafkaTool(name, ['--bootstrap-server', target.bootstrap, ...args])
    assert.notEqual(result.code, 0, `${name} ${args.join(' ')}\n${result.stdout}`)
    return result.stdout + result.stderr
  }

  async function makeTopic(partitions: number, configs: Record<string, string> = {}): Promise<string> {
    const topic = `java-${process.pid}-${topicNumber++}`
    assert.equal(await createTopic(connection, topic, partitions, configs), 0)
    return topic
  }

  /** Writes `count` records of one batch each to a partition, their timestamps 10 ms apart. */
  async function fill(topic: string, partition: number, count: number, size = 10): Promise<void> {
    const startMs = Date.now() - 10 * count
    for (let index = 0; index < count; index++) {
      const value = Buffer.from(`${index}:`.padEnd(size, 'x'))
      const batch = recordBatch({ values: [value], timestampMs: startMs + 10 * index })
      assert.equal((await produce(connection, topic, partition, batch)).error, 0)
    }
  }

  test('kafka-topics creates, lists, describes, grows and deletes a topic', async () => {
    const topic = `java-${process.pid}-topics`
    const create = [
      '--create',
      '--topic',
      topic,
      '--partitions',
      '3',
      '--replication-factor',
      '1',
      '--config',
      'retention.ms=60000',
    ]
    assert.match(await tool('topics', create), new RegExp(`Created topic ${topic}`))
    assert.match(await refused('topics', create), /already exists/)
    await tool('topics', [...create, '--if-not-exists'])
    assert.ok((await tool('topics', ['--list'])).split('\n').includes(topic))
    const described = await tool('topics', ['--describe', '--topic', topic])
    assert.match(
      described,
      /TopicId: \S{22}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs:.*retention\.ms=60000/,
    )
    assert.equal(described.match(/Partition: \d\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+/g)?.length, 3)
    await tool('topics', ['--alter', '--topic', topic, '--partitions', '6'])
    assert.match(await tool('topics', ['--describe', '--topic', topic]), /PartitionCount: 6/)
    assert.match(
      await refused('topics', ['--alter', '--topic', topic, '--partitions', '2']),
      /InvalidPartitions|fewer|increase|less/i,
    )
    assert.match(await tool('topics', ['--describe', '--topics-with-overrides']), new RegExp(topic))
    assert.equal((await tool('topics', ['--describe', '--unavailable-partitions'])).trim(), '')
    await tool('topics', ['--delete', '--topic', topic])
    assert.match(await refused('topics', ['--describe', '--topic', topic]), /does not exist/)
  })

  test('kafka-console-producer writes what kafka-console-consumer reads', async () => {
    const topic = await makeTopic(1)
    const properties = ['parse.key=true', 'key.separator=:', 'parse.headers=true'].flatMap((pair) => [
      '--reader-property',
      pair,
    ])
    await tool(
      'console-producer',
      ['--topic', topic, ...properties, '--compression-codec', 'zstd'],
      'h1:v1\tk1:one\nh2:v2\tk2:two\n',
    )
    const shown = ['print.key=true', 'print.offset=true', 'print.headers=true', 'print.partition=true']
    const formatter = shown.flatMap((pair) => ['--formatter-property', pair])
    const limits = ['--from-beginning', '--max-messages', '2', '--timeout-ms', '20000']
    const printed = await tool('console-consumer', ['--topic', topic, ...formatter, ...limits])
    assert.deepEqual(printed.trim().split('\n'), [
      'Partition:0\tOffset:0\th1:v1\tk1\tone',
      'Partition:0\tOffset:1\th2:v2\tk2\ttwo',
    ])
    const one = ['--partition', '0', '--offset', '1', '--max-messages', '1', '--timeout-ms', '20000']
    assert.equal(
      (await tool('console-consumer', ['--topic', topic, ...one, '--isolation-level', 'read_committed'])).trim(),
      'two',
    )
  })

  test('kafka-consumer-groups lists, describes, resets and deletes a group', async () => {
    const topic = await makeTopic(2)
    const group = `${topic}-group`
    await fill(topic, 0, 6)
    await fill(topic, 1, 4)
    const consume = [
      '--topic',
      topic,
      '--group',
      group,
      '--from-beginning',
      '--max-messages',
      '10',
      '--timeout-ms',
      '20000',
    ]
    assert.equal((await tool('console-consumer', consume)).trim().split('\n').length, 10)
    const rows = async (args: string[]) => {
      const printed = await tool('consumer-groups', ['--describe', '--group', group, ...args])
      return printed
        .split('\n')
        .filter((line) => line.includes(topic))
        .map((line) => line.trim().split(/\s+/))
    }
    const offsets = async () => {
      const found = await rows(['--offsets'])
      return found.map(([, , partition, current, end, lag]) => [partition, current, end, lag].join(' ')).sort()
    }
    assert.ok((await tool('consumer-groups', ['--list'])).split('\n').includes(group))
    assert.match(await tool('consumer-groups', ['--list', '--state']), new RegExp(`${group}\\s+Empty`))
    assert.deepEqual(await offsets(), ['0 6 6 0', '1 4 4 0'])
    const reset = (how: string[], mode = '--execute') =>
      tool('consumer-groups', ['--group', group, '--reset-offsets', '--topic', topic, ...how, mode])
    await reset(['--to-earliest'], '--dry-run')
    assert.deepEqual(await offsets(), ['0 6 6 0', '1 4 4 0'], 'a dry run changes nothing')
    await reset(['--to-earliest'])
    assert.deepEqual(await offsets(), ['0 0 6 6', '1 0 4 4'])
    await reset(['--shift-by', '2'])
    assert.deepEqual(await offsets(), ['0 2 6 4', '1 2 4 2'])
    await reset(['--to-datetime', '2001-01-01T00:00:00.000'])
    assert.deepEqual(await offsets(), ['0 0 6 6', '1 0 4 4'])
    await reset(['--to-latest'])
    assert.deepEqual(await offsets(), ['0 6 6 0', '1 4 4 0'])
    await tool('consumer-groups', ['--group', group, '--delete-offsets', '--topic', `${topic}:1`])
    assert.deepEqual(await offsets(), ['0 6 6 0'])
    assert.match(await tool('consumer-groups', ['--group', group, '--describe', '--state']), /Empty/)
    assert.match(await tool('consumer-groups', ['--group', group, '--delete']), /successful/)
    assert.ok(!(await tool('consumer-groups', ['--list'])).split('\n').includes(group))
  })

  test('kafka-consumer-groups shows the members of a group that is at work', async () => {
    const topic = await makeTopic(2)
    const group = `${topic}-group`
    const running = kafkaTool('console-consumer', [
      '--bootstrap-server',
      target.bootstrap,
      '--topic',
      topic,
      '--group',
      group,
      '--timeout-ms',
      '12000',
    ])
    const members = await eventually('a member with two partitions', 30_000, async () => {
      const printed = await tool('consumer-groups', ['--describe', '--group', group, '--members', '--verbose'])
      return new RegExp(`${group}\\s+console-consumer.*${topic}`).exec(printed) ? printed : undefined
    })
    assert.match(members, new RegExp(`${topic}[:(]0,1`))
    const reset = ['--group', group, '--reset-offsets', '--topic', topic, '--to-earliest', '--execute']
    const result = await kafkaTool('consumer-groups', ['--bootstrap-server', target.bootstrap, ...reset])
    assert.match(result.stdout + result.stderr, /can only be reset if the group .* is inactive.*Stable/)
    await running
  })

  test('kafka-groups lists classic groups', async () => {
    const topic = await makeTopic(1)
    await fill(topic, 0, 1)
    await tool('console-consumer', [
      '--topic',
      topic,
      '--group',
      `${topic}-group`,
      '--from-beginning',
      '--max-messages',
      '1',
      '--timeout-ms',
      '20000',
    ])
    assert.match(await tool('groups', ['--list']), new RegExp(`${topic}-group\\s+Classic\\s+consumer`))
  })

  test('kafka-configs adds, shows and takes back a topic config', async () => {
    const topic = await makeTopic(1)
    const entity = ['--entity-type', 'topics', '--entity-name', topic]
    await tool('configs', [...entity, '--alter', '--add-config', 'retention.ms=60000,max.message.bytes=123456'])
    const described = await tool('configs', [...entity, '--describe'])
    assert.match(described, /retention\.ms=60000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:retention\.ms=60000/)
    assert.match(described, /max\.message\.bytes=123456/)
    await tool('configs', [...entity, '--alter', '--delete-config', 'retention.ms'])
    assert.doesNotMatch(await tool('configs', [...entity, '--describe']), /retention\.ms/)
    const all = await tool('configs', [...entity, '--describe', '--all'])
    assert.equal(all.match(/^ {2}\S+=/gm)?.length, 33)
    assert.match(await refused('configs', [...entity, '--alter', '--add-config', 'retention.ms=soon']), /retention\.ms/)
    assert.match(
      await refused('configs', [...entity, '--alter', '--add-config', 'no.such.config=1']),
      /no\.such\.config/,
    )
  })

  test('kafka-get-offsets gives earliest, latest, largest time and a point in time', async () => {
    const topic = await makeTopic(2)
    await fill(topic, 0, 5)
    const at = async (time: string) =>
      (await tool('get-offsets', ['--topic', topic, '--time', time])).trim().split('\n').sort()
    assert.deepEqual(await at('latest'), [`${topic}:0:5`, `${topic}:1:0`])
    assert.deepEqual(await at('earliest'), [`${topic}:0:0`, `${topic}:1:0`])
    assert.deepEqual(await at('max-timestamp'), [`${topic}:0:4`], 'an empty partition has none')
    assert.deepEqual((await at('1'))[0], `${topic}:0:0`)
  })

  test('kafka-delete-records moves the log start', async () => {
    const topic = await makeTopic(1)
    await fill(topic, 0, 5)
    const file = join(work, 'delete.json')
    writeFileSync(file, JSON.stringify({ version: 1, partitions: [{ topic, partition: 0, offset: 3 }] }))
    assert.match(
      await tool('delete-records', ['--offset-json-file', file]),
      new RegExp(`${topic}-0\\s+low_watermark: 3`),
    )
    assert.equal((await tool('get-offsets', ['--topic', topic, '--time', 'earliest'])).trim(), `${topic}:0:3`)
    writeFileSync(file, JSON.stringify({ version: 1, partitions: [{ topic, partition: 0, offset: 99 }] }))
    const tooFar = await kafkaTool('delete-records', [
      '--bootstrap-server',
      target.bootstrap,
      '--offset-json-file',
      file,
    ])
    assert.match(tooFar.stdout + tooFar.stderr, /OffsetOutOfRange|not.*within|out of range/i)
  })

  test('kafka-producer-perf-test and kafka-consumer-perf-test run to their end', async () => {
    const topic = await makeTopic(4)
    const size = ['--num-records', '50000', '--record-size', '500', '--throughput', '-1']
    const settings = ['acks=all', 'batch.size=65536'].flatMap((pair) => ['--command-property', pair])
    const printed = await kafkaTool('producer-perf-test', [
      '--topic',
      topic,
      ...size,
      '--bootstrap-server',
      target.bootstrap,
      ...settings,
    ])
    assert.equal(printed.code, 0, printed.stderr)
    assert.match(printed.stdout, /50000 records sent/)
    const consumed = await tool('consumer-perf-test', [
      '--topic',
      topic,
      '--num-records',
      '50000',
      '--timeout',
      '30000',
    ])
    const [header, figures] = consumed
      .trim()
      .split('\n')
      .slice(-2)
      .map((line) => line.split(',').map((cell) => cell.trim()))
    assert.equal(
      figures?.[header?.findIndex((name) => /nMsg$|num.*msg|data\.consumed\.in\.nMsg/i.test(name)) ?? -1],
      '50000',
      consumed,
    )
  })

  test('kafka-log-dirs shows the size of each partition', async () => {
    const topic = await makeTopic(2)
    await fill(topic, 0, 3, 1000)
    const printed = await tool('log-dirs', ['--describe', '--topic-list', topic])
    interface Described {
      brokers: {
        logDirs: {
          error: string | null
          partitions: { partition: string; size: number; offsetLag: number; isFuture: boolean }[]
        }[]
      }[]
    }
    const described = JSON.parse(printed.split('\n').find((line) => line.startsWith('{')) ?? '') as Described
    const partitions = described.brokers.flatMap(({ logDirs }) => logDirs.flatMap((directory) => directory.partitions))
    assert.deepEqual(partitions.map(({ partition }) => partition).sort(), [`${topic}-0`, `${topic}-1`])
    const full = partitions.find(({ partition }) => partition === `${topic}-0`)
    assert.deepEqual([full?.offsetLag, full?.isFuture], [0, false])
    assert.ok((full?.size ?? 0) >= 3000, `size ${full?.size}`)
  })

  test('kafka-broker-api-versions understands the list of APIs', async () => {
    const printed = await tool('broker-api-versions', [])
    assert.match(printed, /Produce\(0\): \S+ to 13 \[usable: 13\]/)
    assert.match(printed, /Fetch\(1\): 4 to \d+ \[usable: \d+\]/)
    assert.match(printed, /ApiVersions\(18\): 0 to 4 \[usable: 4\]/)
  })

  test('kafka-cluster shows the cluster id and the endpoints', async () => {
    assert.match(await tool('cluster', ['cluster-id']).catch(() => clusterTool('cluster-id')), /Cluster ID: \S+/)
    assert.match(await clusterTool('list-endpoints'), new RegExp(`${target.host}\\s+${target.port}`))
  })

  /** kafka-cluster takes its action before the address. */
  async function clusterTool(action: string): Promise<string> {
    const result = await kafkaTool('cluster', [action, '--bootstrap-server', target.bootstrap])
    assert.equal(result.code, 0, result.stdout + result.stderr)
    return result.stdout
  }

  test('kafka-transactions describes the producers of a partition', async () => {
    const topic = await makeTopic(1)
    await kafkaTool('producer-perf-test', [
      '--topic',
      topic,
      '--num-records',
      '100',
      '--record-size',
      '10',
      '--throughput',
      '-1',
      '--bootstrap-server',
      target.bootstrap,
      '--command-property',
      'enable.idempotence=true',
    ])
    const printed = await tool('transactions', ['describe-producers', '--topic', topic, '--partition', '0'])
    assert.match(
      printed,
      /ProducerId\s+ProducerEpoch\s+LatestCoordinatorEpoch\s+LastSequence\s+LastTimestamp\s+CurrentTransactionStartOffset/,
    )
    assert.match(printed, /^\d+\s+0\s+-1\s+99\s+\d+\s+None/m)
  })

  test('kafka-dump-log reads a sealed segment to the last record', async (t) => {
    if (target.directory === undefined) return t.skip('the files of a broker that was already there are not ours')
    const topic = await makeTopic(1, { 'segment.bytes': '1048576' })
    const value = Buffer.alloc(50_000, 'v')
    for (let index = 0; index < 60; index++) {
      const batch = recordBatch({
        values: [Buffer.from(`n${index}`), value],
        keys: [null, Buffer.from(`key-${index}`)],
      })
      assert.equal((await produce(connection, topic, 0, batch)).error, 0)
    }
    const segment = await sealedSegment(topic, 2)
    const dumped = await kafkaTool('dump-log', ['--files', segment, '--deep-iteration', '--print-data-log'])
    assert.equal(dumped.code, 0, dumped.stderr)
    assert.doesNotMatch(dumped.stdout, /isvalid: false|Found \d+ invalid|mismatch|out of order|Non-consecutive/i)
    const offsets = [...dumped.stdout.matchAll(/^\|\s+offset: (\d+)/gm)].map((match) => Number(match[1]))
    const base = Number(/(\d{20})\.log$/.exec(segment)?.[1])
    assert.ok(offsets.length > 20, `${offsets.length} records`)
    assert.deepEqual(
      offsets,
      Array.from({ length: offsets.length }, (_, index) => base + index),
    )
    assert.match(dumped.stdout, new RegExp(`payload: n${base / 2}\n`))
  })

  test('kafka-dump-log decodes a sealed segment of the offsets topic', async (t) => {
    if (target.directory === undefined) return t.skip('the files of a broker that was already there are not ours')
    const topic = await makeTopic(1)
    const group = `${topic}-group`
    await eventually('a coordinator', 20_000, async () =>
      (await findCoordinator(connection, group)).error === 0 ? true : undefined,
    )
    const entity = ['--entity-type', 'topics', '--entity-name', '__consumer_offsets']
    await tool('configs', [...entity, '--alter', '--add-config', 'segment.bytes=1048576'])
    for (let offset = 1; offset <= 600; ) {
      const error = await commitOffset(connection, group, topic, 0, offset, 'm'.repeat(4000))
      if (error === 0) offset++
      else assert.ok([14, 15, 16].includes(error), `error ${error}`)
    }
    const segment = await sealedSegment('__consumer_offsets', 1)
    const dumped = await kafkaTool('dump-log', ['--files', segment, '--offsets-decoder', '--print-data-log'])
    assert.equal(dumped.code, 0, dumped.stderr)
    assert.match(dumped.stdout, new RegExp(`"group":"${group}","topic":"${topic}","partition":0`))
    assert.match(dumped.stdout, /"offset":100,/)
  })

  /** Path of a segment that is complete: there are `after` newer ones in its directory. */
  async function sealedSegment(topic: string, after: number): Promise<string> {
    return await eventually(`a sealed segment of ${topic}`, 20_000, async () => {
      const files = findFiles(target.directory ?? '', (path) => isSegmentOf(path, topic)).sort()
      return files.find(
        (file) => files.filter((other) => dirname(other) === dirname(file) && other > file).length >= after,
      )
    })
  }
})

/** Kafka keeps a partition in `topic-0/`, Millrace in `topic/0-<number of its Raft group>/`. */
function isSegmentOf(path: string, topic: string): boolean {
  return /\/\d{20}\.log$/.test(path) && (path.includes(`/${topic}-`) || path.includes(`/${topic}/`))
}

function findFiles(directory: string, wanted: (path: string) => boolean): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter(wanted)
}
