// The millrace command, as users run it, against a running broker: ours, and with the same expectations Apache Kafka.

import assert from 'node:assert/strict'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { commandFile, millrace, nodeProgram } from '../support/broker.ts'
import {
  Child,
  eventually,
  freePort,
  removeDirectory,
  type ToolResult,
  temporaryDirectory,
} from '../support/process.ts'
import { openTarget, type Target } from '../support/target.ts'

interface JsonRecord {
  partition: number
  offset: number
  timestamp: number
  key: string | null
  value: string | null | { base64: string }
  headers: { key: string; value: string }[]
}

describe('the millrace command', () => {
  let target: Target
  let work: string
  let number = 0

  before(async () => {
    target = await openTarget()
    work = await temporaryDirectory('cli')
  })

  after(async () => {
    await target?.close()
    if (work) removeDirectory(work)
  })

  function call(args: readonly string[], input?: string): Promise<ToolResult> {
    const env = { ...process.env, MILLRACE_BOOTSTRAP: target.bootstrap }
    return millrace(args, { input, env })
  }

  /** Runs a command that must succeed; gives what it printed. */
  async function succeed(args: readonly string[], input?: string): Promise<string> {
    const result = await call(args, input)
    assert.equal(result.code, 0, `${args.join(' ')}\n${result.stdout}\n${result.stderr}`)
    return result.stdout
  }

  async function json<T>(args: readonly string[], input?: string): Promise<T> {
    return JSON.parse(await succeed([...args, '--json'], input)) as T
  }

  /** Runs a command that must fail with a code and a single line on standard error, which is given back. */
  async function fail(exitCode: number, args: readonly string[], input?: string): Promise<string> {
    const result = await call(args, input)
    assert.equal(result.code, exitCode, `${args.join(' ')}\n${result.stdout}\n${result.stderr}`)
    assert.match(result.stderr, /^millrace: [^\n]+\n$/)
    return result.stderr
  }

  async function makeTopic(partitions: number, ...configs: string[]): Promise<string> {
    const topic = `cli-${process.pid}-${number++}`
    await succeed(['topic', 'create', topic, '-p', String(partitions), ...configs.flatMap((config) => ['-c', config])])
    return topic
  }

  async function records(args: readonly string[]): Promise<JsonRecord[]> {
    const printed = await succeed(['consume', ...args, '--json'])
    return printed
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as JsonRecord)
  }

  async function values(args: readonly string[]): Promise<unknown[]> {
    return (await records(args)).map(({ value }) => value)
  }

  test('topic creates, lists, describes, alters and deletes', async () => {
    const topic = `cli-${process.pid}-topics`
    const create = ['topic', 'create', topic, '--partitions', '2', '--config', 'retention.ms=86400000']
    assert.equal(await succeed(create), `Created topic ${topic}.\n`)
    assert.match(await fail(1, create), /already exists.*\[TOPIC_ALREADY_EXISTS\]/)
    assert.equal(await succeed([...create, '--if-not-exists']), `Topic ${topic} is there already.\n`)
    assert.match(await succeed(['topic', 'list']), new RegExp(`^TOPIC +PARTITIONS +REPLICAS\n(.*\n)*${topic} +2 +1\n`))
    await succeed(['topic', 'alter', topic, '--set', 'max.message.bytes=2000', '--delete', 'retention.ms'])
    await succeed(['topic', 'alter', topic, '--partitions', '3'])
    type Described = { partitions: { partition: number; endOffset: number }[]; configs: object[] }
    const described = await eventually('the new partition to be seen', 10_000, async () => {
      const [found] = await json<Described[]>(['topic', 'describe', topic])
      return found?.partitions.length === 3 ? found : undefined
    })
    assert.deepEqual(described.configs, [{ name: 'max.message.bytes', value: '2000', source: 'topic' }])
    assert.match(await succeed(['topic', 'describe', topic]), /Configs +max\.message\.bytes=2000\n/)
    assert.match(await succeed(['topic', 'describe', topic, '--configs']), /retention\.ms +604800000 +default\n/)
    assert.equal(await succeed(['topic', 'delete', topic]), `Deleted topic ${topic}.\n`)
    await eventually('the topic to be gone', 10_000, async () =>
      (await call(['topic', 'describe', topic])).code === 1 ? true : undefined,
    )
    assert.match(await fail(1, ['topic', 'delete', topic]), /does not exist/)
    assert.equal(await succeed(['topic', 'delete', topic, '--if-exists']), `There is no topic ${topic}.\n`)
  })

  test('what the broker refuses is one line and exit code 1, what makes no sense is exit code 2', async () => {
    const topic = await makeTopic(1)
    assert.match(await fail(1, ['topic', 'alter', topic, '--set', 'no.such.config=1']), /\[INVALID_CONFIG\]/)
    assert.match(await fail(1, ['topic', 'alter', topic, '--partitions', '1']), /\[INVALID_PARTITIONS\]/)
    assert.match(await fail(1, ['topic', 'create', 'no/such/name']), /\[INVALID_TOPIC_EXCEPTION\]/)
    assert.match(await fail(1, ['consume', 'cli-no-such-topic']), /does not exist/)
    assert.match(await fail(1, ['consume', `${topic}:7`]), /has no partition 7/)
    assert.match(await fail(1, ['group', 'describe', 'cli-no-such-group']), /does not exist/)
    assert.match(await fail(1, ['topic', 'list', '-b', `127.0.0.1:${await freePort()}`]), /nothing listens there/)
    await fail(2, ['topic', 'create'])
    await fail(2, ['topic', 'create', 'x', '--partitions', 'many'])
    await fail(2, ['topic', 'alter', topic])
    await fail(2, ['no-such-command'])
    await fail(2, ['consume', topic, '--no-such-flag'])
    await fail(2, ['consume', topic, '--offset', 'soon'])
    await fail(2, ['produce', topic, '--json'], 'no json\n')
    await fail(2, ['produce', topic, '--file', join(work, 'no-such-file')])
    await fail(2, ['group', 'reset-offsets', 'g', '--to-earliest', '--to-latest'])
  })

  test('produce writes keys, headers and tombstones, consume prints them in every form', async () => {
    const topic = await makeTopic(1)
    await succeed(['produce', topic, '-K', ':', '-H', 'origin=test', '--tombstone'], 'a:1\nb:x:y\r\nc:\n')
    const found = await records([topic])
    assert.deepEqual(
      found.map(({ offset, key, value, headers }) => ({ offset, key, value, headers })),
      [
        { offset: 0, key: 'a', value: '1', headers: [{ key: 'origin', value: 'test' }] },
        { offset: 1, key: 'b', value: 'x:y', headers: [{ key: 'origin', value: 'test' }] },
        { offset: 2, key: 'c', value: null, headers: [{ key: 'origin', value: 'test' }] },
      ],
    )
    assert.equal(await succeed(['consume', topic]), '1\nx:y\n\n')
    assert.equal(
      await succeed(['consume', topic, '-f', '%t/%p@%o %k=%v [%h]\\n', '-n', '1']),
      `${topic}/0@0 a=1 [origin=test]\n`,
    )
    assert.equal(await succeed(['consume', topic, '--print-offset', '--print-key', '-n', '2']), '0\ta\t1\n1\tb\tx:y\n')
    assert.equal(await succeed(['consume', topic, '--offset', '-1', '-f', '%o %V\\n']), '2 -1\n')
  })

  test('a topic copied through JSON keeps keys, headers, times and bytes that are no text', async () => {
    // The times are old, and must not be a reason to delete.
    const source = await makeTopic(1, 'retention.ms=-1')
    const copy = await makeTopic(1, 'retention.ms=-1')
    const lines = [
      { key: 'k1', value: 'v1', headers: [{ key: 'h', value: 'x' }], timestamp: 1_600_000_000_000 },
      { key: null, value: { base64: '/wD+' }, headers: { h: 'y' } },
      { value: { answer: 42 } },
    ]
    await succeed(['produce', source, '--json'], lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    const first = await records([source])
    assert.deepEqual(first[1]?.value, { base64: '/wD+' })
    assert.equal(first[2]?.value, '{"answer":42}')
    assert.equal(first[0]?.timestamp, 1_600_000_000_000)
    const acknowledged = await succeed(['produce', copy, '--json'], await succeed(['consume', source, '--json']))
    assert.match(acknowledged, new RegExp(`"topic":"${copy}","partition":0,"offset":2`))
    assert.deepEqual(
      (await records([copy])).map((record) => ({ ...record, topic: source })),
      first,
    )
  })

  test('every compression and acknowledgement writes all lines of a large input in order', async () => {
    const file = join(work, 'lines')
    const count = 20_000
    const lines = Array.from({ length: count }, (_, index) => `line ${index}`)
    writeFileSync(file, `${lines.join('\n')}\n`)
    for (const [compression, acks] of [
      ['none', 'all'],
      ['gzip', '1'],
      ['snappy', 'all'],
      ['lz4', 'all'],
      ['zstd', 'all'],
    ] as const) {
      const topic = await makeTopic(1)
      await succeed(['produce', topic, '-i', file, '-z', compression, '--acks', acks])
      assert.equal(await succeed(['consume', topic]), `${lines.join('\n')}\n`, compression)
    }
    const topic = await makeTopic(1)
    await succeed(['produce', topic, '-i', file, '--acks', '0'])
    await eventually('records sent without an acknowledgement', 10_000, async () =>
      (await succeed(['consume', topic])).split('\n').length === count + 1 ? true : undefined,
    )
  })

  test('batches larger than the topic allows are split until only a record of its own is too large', async () => {
    const topic = await makeTopic(1, 'max.message.bytes=1000')
    const lines = Array.from({ length: 50 }, (_, index) => `${index}`.padEnd(100, '.'))
    await succeed(['produce', topic], `${lines.join('\n')}\n`)
    assert.deepEqual(await values([topic]), lines)
    assert.match(await fail(1, ['produce', topic], `${'x'.repeat(2000)}\n`), /record 1 .*\[MESSAGE_TOO_LARGE\]/)
  })

  test('keys go to the partitions that the Java client gives them, and --partition overrides it', async () => {
    const topic = await makeTopic(3)
    await succeed(['produce', topic, '-K', '='], 'a=1\nb=2\nc=3\nd=4\n')
    const byKey = new Map((await records([topic])).map(({ key, partition }) => [key, partition]))
    // murmur2 of the key, as org.apache.kafka.clients.producer.internals.BuiltInPartitioner has it.
    assert.deepEqual([byKey.get('a'), byKey.get('b'), byKey.get('c'), byKey.get('d')], [1, 2, 1, 2])
    await succeed(['produce', topic, '--partition', '0', '--key', 'b'], 'forced\n')
    assert.deepEqual(await values([`${topic}:0`]), ['forced'])
    assert.deepEqual(await values([topic, '--partition', '0']), ['forced'])
  })

  test('consume begins at offsets and times, and stops where it is told', async () => {
    const topic = await makeTopic(1, 'retention.ms=-1')
    const start = 1_700_000_000_000
    const lines = Array.from({ length: 10 }, (_, index) => ({ value: `${index}`, timestamp: start + 60_000 * index }))
    await succeed(['produce', topic, '--json'], lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    assert.deepEqual(await values([topic, '-o', '7']), ['7', '8', '9'])
    assert.deepEqual(await values([topic, '-o', '-2']), ['8', '9'])
    assert.deepEqual(await values([topic, '-o', 'end']), [])
    assert.deepEqual(await values([topic, '-o', `@${start + 1}`, '-n', '2']), ['1', '2'])
    assert.deepEqual(await values([topic, '-o', `@${new Date(start + 480_000).toISOString()}`]), ['8', '9'])
    assert.deepEqual(await values([topic, '-o', '@now']), [])
    assert.deepEqual(await values([topic, '--from-beginning', '-n', '1']), ['0'])
  })

  test('consume --follow prints what comes later, until it is interrupted', async () => {
    const topic = await makeTopic(2)
    await succeed(['produce', topic, '-p', '0'], 'first\n')
    const child = new Child(nodeProgram, [commandFile, 'consume', topic, '--follow', '-b', target.bootstrap])
    await child.waitFor(/first\n/, 20_000)
    await succeed(['produce', topic, '-p', '1'], 'second\n')
    await child.waitFor(/second\n/, 20_000)
    assert.equal((await child.stop('SIGINT')).code, 0)
    assert.equal(child.stderr, '')
  })

  test('trim deletes what precedes an offset or time, and nothing without --execute', async () => {
    const topic = await makeTopic(2)
    await succeed(['produce', topic, '-p', '0'], '0\n1\n2\n3\n')
    await succeed(['produce', topic, '-p', '1'], 'a\nb\n')
    await succeed(['topic', 'trim', `${topic}:0`, '--before', '3'])
    assert.equal((await values([topic])).length, 6)
    const planned = await json<object[]>(['topic', 'trim', `${topic}:0`, '--before', '3', '--execute'])
    assert.deepEqual(planned, [{ topic, partition: 0, startOffset: 0, newStartOffset: 3, executed: true }])
    assert.deepEqual(await values([`${topic}:0`]), ['3'])
    assert.match(await fail(1, ['topic', 'trim', `${topic}:0`, '--before', '100', '--execute']), /ends at offset 4/)
    await succeed(['topic', 'trim', topic, '--before', 'end', '--execute'])
    assert.deepEqual(await values([topic]), [])
  })

  test('a group reads on where it stopped, and describe tells its lag in total, per topic and per partition', async () => {
    const topic = await makeTopic(2)
    const group = `${topic}-group`
    await succeed(['produce', topic, '-p', '0'], '0\n1\n2\n')
    await succeed(['produce', topic, '-p', '1'], '3\n4\n')
    const first = await values([topic, '--group', group, '--count', '3'])
    assert.equal(first.length, 3)
    type Report = { state: string; totalLag: number; lagByTopic: Record<string, number>; partitions: { lag: number }[] }
    const [lagging] = await json<Report[]>(['group', 'describe', group])
    assert.equal(lagging?.state, 'Empty')
    assert.equal(lagging?.totalLag, 2)
    const second = await values([topic, '--group', group])
    assert.deepEqual([...first, ...second].sort(), ['0', '1', '2', '3', '4'])
    const [done] = await json<Report[]>(['group', 'describe', group])
    assert.deepEqual([done?.totalLag, done?.lagByTopic[topic]], [0, 0])
    assert.match(await succeed(['group', 'describe', group]), /Total lag +0\n/)
    assert.match(await succeed(['group', 'list']), new RegExp(`\n${group} +\\S+ +consumer +Empty\n`))
    assert.equal(await succeed(['group', 'delete', group]), `Deleted group ${group}.\n`)
    assert.match(await fail(1, ['group', 'delete', group]), /does not exist/)
  })

  test('two members share the partitions, and the one that stays takes over', async () => {
    const topic = await makeTopic(2)
    const group = `${topic}-shared`
    const args = [commandFile, 'consume', topic, '--group', group, '--follow', '-f', '%p:%v\\n', '-b', target.bootstrap]
    const one = new Child(nodeProgram, args)
    const two = new Child(nodeProgram, args)
    type Report = { state: string; members: { memberId: string; partitions: object[]; lag: number }[] }
    await eventually('one partition each', 60_000, async () => {
      const [report] = await json<Report[]>(['group', 'describe', group])
      return report?.members.map(({ partitions }) => partitions.length).join() === '1,1' ? true : undefined
    })
    assert.match(await fail(1, ['group', 'delete', group]), /\[NON_EMPTY_GROUP\]/)
    await fail(1, ['group', 'reset-offsets', group, '--topic', topic, '--to-earliest', '--execute'])
    await succeed(['produce', topic, '-p', '0'], 'x\n')
    await succeed(['produce', topic, '-p', '1'], 'y\n')
    await eventually('both records', 20_000, async () =>
      /0:x/.test(one.stdout + two.stdout) && /1:y/.test(one.stdout + two.stdout) ? true : undefined,
    )
    assert.ok(one.stdout !== '' && two.stdout !== '', 'each member printed the record of its partition')
    assert.equal((await one.stop('SIGTERM')).code, 0)
    await eventually('both partitions for the other', 60_000, async () => {
      const [report] = await json<Report[]>(['group', 'describe', group])
      return report?.members.map(({ partitions }) => partitions.length).join() === '2' ? true : undefined
    })
    const inherited = one.stdout.startsWith('0:') ? '0' : '1'
    await succeed(['produce', topic, '-p', inherited], 'z\n')
    await two.waitFor(new RegExp(`${inherited}:z\n`), 20_000)
    assert.equal((await two.stop('SIGINT')).code, 0)
    assert.doesNotMatch(two.stdout, new RegExp(`${inherited}:[xy]`), 'nothing that the first had committed came again')
  })

  test('reset-offsets plans first, and moves by every kind of target with --execute', async () => {
    const topic = await makeTopic(1, 'retention.ms=-1')
    const group = `${topic}-moved`
    const start = 1_700_000_000_000
    const lines = Array.from({ length: 10 }, (_, index) => ({ value: `${index}`, timestamp: start + 1000 * index }))
    await succeed(['produce', topic, '--json'], lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    await values([topic, '--group', group])
    type Plan = { partition: number; currentOffset: number | null; offset: number; executed: boolean }[]
    const reset = async (...args: string[]): Promise<number | undefined> => {
      const plan = await json<Plan>(['group', 'reset-offsets', group, ...args])
      return plan[0]?.offset
    }
    assert.equal(await reset('--to-earliest'), 0)
    assert.deepEqual(await values([topic, '--group', group]), [], 'the plan alone moved nothing')
    assert.equal(await reset('--to-offset', '4', '--execute'), 4)
    assert.equal(await reset('--shift-by', '3', '--execute'), 7)
    assert.equal(await reset('--shift-by=-2', '--execute'), 5)
    assert.deepEqual(await values([topic, '--group', group]), ['5', '6', '7', '8', '9'])
    assert.equal(await reset('--to-datetime', new Date(start + 2500).toISOString()), 3)
    assert.equal(await reset('--by-duration', '1h'), 10)
    assert.equal(await reset('--to-latest'), 10)
    assert.equal(await reset('--shift-by', '100'), 10)
    assert.equal(await reset('--topic', `${topic}:0`, '--to-offset', '6', '--execute'), 6)
    const file = join(work, 'offsets.csv')
    writeFileSync(file, await succeed(['group', 'reset-offsets', group, '--to-current', '--export']))
    await succeed(['group', 'reset-offsets', `${group}-2`, '--from-file', file, '--execute'])
    assert.deepEqual(await values([topic, '--group', `${group}-2`, '-n', '1']), ['6'])
    const copied = await json<Plan>(['group', 'reset-offsets', group, '--to-group', `${group}-2`])
    assert.deepEqual(copied[0], { topic, partition: 0, currentOffset: 6, offset: 7, executed: false })
    await succeed(['group', 'delete-offsets', group, '--topic', topic])
    const [forgetful] = await json<{ partitions: object[] }[]>(['group', 'describe', group])
    assert.deepEqual(forgetful?.partitions, [])
  })

  test('cluster info shows the brokers and what they serve', async () => {
    type Info = { clusterId: string; brokers: { id: number; port: number }[]; apiVersions: { name: string }[] }
    const info = await json<Info>(['cluster', 'info', '--api-versions'])
    assert.equal(info.clusterId.length, 22)
    assert.equal(info.brokers[0]?.port, target.port)
    assert.ok(info.apiVersions.some(({ name }) => name === 'Produce'))
    assert.match(await succeed(['cluster', 'info']), new RegExp(`BROKER +HOST +PORT.*\n +1 +\\S+ +${target.port} `))
  })

  test('log dump reads the segments of the broker', async (t) => {
    const { directory } = target
    if (directory === undefined) return t.skip('the files of a broker that was already there are not ours')
    const topic = await makeTopic(1, 'segment.bytes=1048576')
    const value = 'v'.repeat(50_000)
    await succeed(
      ['produce', topic, '-K', '='],
      Array.from({ length: 60 }, (_, index) => `${index}=${value}\n`).join(''),
    )
    // What is in sealed segments stays as it is; the newest may still be in the journal of a broker that writes behind.
    const file = await eventually('a sealed segment', 30_000, async () => {
      const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
      const segments = names.filter((name) => name.endsWith('.log') && name.includes(topic)).sort()
      return segments.length >= 2 ? join(directory, segments[0] ?? '') : undefined
    })
    await eventually('its batches', 30_000, async () => {
      const printed = await succeed(['log', 'dump', file, '--records', '--json'])
      const batches = printed.split('\n').filter((line) => line !== '')
      if (batches.length === 0) return undefined
      const first = JSON.parse(batches[0] ?? '') as { baseOffset: number; records: { key: string; value: string }[] }
      assert.equal(first.baseOffset, 0)
      assert.deepEqual([first.records[0]?.key, first.records[0]?.value], ['0', value])
      return true
    })
    assert.match(await succeed(['log', 'dump', file]), /^.*\.log\nat 0 {2}offsets 0-\d+ {2}/)
  })

  test('completion prints a script that asks the command for words', async () => {
    assert.match(await succeed(['completion', 'bash']), /complete .*millrace\n/)
    assert.match(await succeed(['completion', 'zsh']), /^#compdef millrace\n/)
    const words = (await succeed(['--get-yargs-completions', 'millrace', 'topic', ''])).split('\n')
    assert.ok(words.includes('create') && words.includes('describe'))
  })

  test('start runs a broker until it is told to stop', async () => {
    const port = await freePort()
    const directory = join(work, 'data')
    const args = ['start', '--port', String(port), '--data-dir', directory, '--shards', '1', '--metrics-port', '0']
    const child = new Child(nodeProgram, [commandFile, ...args])
    await child.waitFor(/listening on .*\ndata in .*\nmetrics at .*\n/, 30_000)
    assert.match(await succeed(['cluster', 'info', '-b', `127.0.0.1:${port}`]), /Controller +1\n/)
    assert.equal((await child.stop('SIGTERM')).code, 0)
    assert.match(await fail(2, ['start', '--port', 'many']), /--port many/)
  })
})
