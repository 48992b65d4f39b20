// Starting and stopping a real broker process, what it prints, its metrics, and the broker inside this process.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startBroker } from '../../broker/embedded.ts'
import { MillraceBroker } from '../support/broker.ts'
import { closing } from '../support/closing.ts'
import { Child, freePort, hasProgram, repositoryDirectory, temporaryDirectory } from '../support/process.ts'
import * as raw from '../support/raw.ts'

async function start(options: Parameters<typeof MillraceBroker.start>[0] = {}): Promise<MillraceBroker> {
  return closing(await MillraceBroker.start({ shards: 2, memory: '64m', ...options }))
}

const threeLines =
  /^Millrace listening on (?<address>\S+) \((?<shards>\d+) shards?\)\ndata in (?<directory>.+) \((?<io>[^()]+.*)\)\nmetrics at (?<metrics>http:\S+)\n$/

function isSetUp(): boolean {
  const stamp = join(repositoryDirectory, 'node_modules/.setup-done')
  return existsSync(stamp) && readFileSync(stamp).equals(readFileSync(join(repositoryDirectory, 'package-lock.json')))
}

test('npm start takes flags, prints address, data directory with the I/O method, and metrics, and stops on SIGTERM', async (t) => {
  if (!isSetUp() || !(await hasProgram('npm', ['--version']))) return t.skip('this checkout is not set up by npm')
  const base = await temporaryDirectory('npm start')
  const dataDir = join(base, 'the data')
  const port = await freePort()
  const flags = [
    '--port',
    `${port}`,
    '--data-dir',
    dataDir,
    '--shards',
    '1',
    '--memory',
    '64MiB',
    '--set',
    'num.partitions=3',
  ]
  const child = new Child('npm', ['start', '--silent', '--', ...flags], { cwd: repositoryDirectory })
  const { groups } = await child.waitFor(threeLines, 60_000)
  assert.equal(groups?.address, `127.0.0.1:${port}`)
  assert.equal(groups?.directory, dataDir)
  assert.equal(groups?.shards, '1')
  assert.match(groups?.io ?? '', /io_uring|threads|node-fs|Node fs/)
  assert.equal((await fetch(groups?.metrics ?? '')).status, 200)
  const { code } = await child.stop('SIGTERM')
  assert.equal(code, 0, child.stderr)
})

test('without the addon the broker starts on plain Node fs and keeps what it acknowledged', async () => {
  const broker = await start({ env: { ...process.env, MILLRACE_ADDON: 'off' } })
  assert.match(broker.child.stdout, /data in .*\([^)]*node/i)
  const connection = await raw.RawConnection.open(broker.port)
  assert.equal(await raw.createTopic(connection, 'plain', 2), 0)
  assert.equal((await raw.produce(connection, 'plain', 1, batch(['a', 'b']))).error, 0)
  connection.close()
  await broker.kill()
  await broker.restart()
  const again = await raw.RawConnection.open(broker.port)
  assert.deepEqual(await valuesOf(again, 'plain', 1), ['a', 'b'])
  again.close()
  await broker.close()
})

test('SIGTERM with idle clients attached ends with exit code 0, and the next start has everything', async () => {
  const broker = await start()
  const idle = await Promise.all(Array.from({ length: 20 }, () => raw.RawConnection.open(broker.port)))
  const [first] = idle
  assert.equal(await raw.createTopic(first!, 'kept', 2), 0)
  assert.equal((await raw.produce(first!, 'kept', 0, batch(['one']))).error, 0)
  // A long poll is an idle client too.
  const polling = raw.fetch(first!, 'kept', 0, 1, { maxWaitMs: 60_000 }).catch(() => undefined)
  const { code } = await broker.terminate()
  assert.equal(code, 0, broker.child.stderr)
  await Promise.all(idle.map((connection) => connection.closed))
  await polling
  await broker.restart()
  const again = await raw.RawConnection.open(broker.port)
  assert.deepEqual(await valuesOf(again, 'kept', 0), ['one'])
  again.close()
  await broker.close()
})

test('the metrics say what was asked, what the logs hold, who lags, and how each shard fares', async () => {
  const broker = await start()
  const url = threeLines.exec(broker.child.stdout)?.groups?.metrics ?? ''
  const connection = await raw.RawConnection.open(broker.port)
  assert.equal(await raw.createTopic(connection, 'watched', 1), 0)
  assert.equal((await raw.produce(connection, 'watched', 0, batch(['a', 'b', 'c']))).error, 0)
  assert.equal((await raw.findCoordinator(connection, 'readers')).error, 0)
  assert.equal(await raw.commitOffset(connection, 'readers', 'watched', 0, 1), 0)
  const text = await (await fetch(url)).text()
  const value = (series: string): number => {
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `))
    assert.ok(line, `${series} is not in\n${text}`)
    return Number(line.slice(series.length + 1))
  }
  assert.equal(value('millrace_requests_total{api="Produce"}'), 1)
  assert.equal(value('millrace_request_seconds_bucket{api="Produce",le="+Inf"}'), 1)
  assert.ok(value('millrace_request_bytes_total{api="Produce"}') > 61)
  assert.ok(value('millrace_response_bytes_total{api="Produce"}') > 0)
  assert.equal(value('millrace_partition_log_start_offset{topic="watched",partition="0"}'), 0)
  assert.equal(value('millrace_partition_log_end_offset{topic="watched",partition="0"}'), 3)
  assert.equal(value('millrace_partition_high_watermark{topic="watched",partition="0"}'), 3)
  assert.equal(value('millrace_group_lag{group="readers",topic="watched",partition="0"}'), 2)
  let rounds = 0
  for (const shard of [0, 1]) {
    for (const name of ['event_loop_delay_p99_seconds', 'gc_pauses_total', 'gc_seconds_total', 'heap_used_bytes']) {
      assert.ok(value(`millrace_${name}{shard="${shard}"}`) >= 0)
    }
    const storage = (figure: string) => value(`millrace_storage{shard="${shard}",figure="${figure}"}`)
    rounds += storage('journal_rounds')
    assert.ok(storage('journal_bytes') >= 0)
    assert.ok(storage('journal_round_micros_total') >= 0)
    assert.ok(storage('arena_free_bytes') > 0)
    assert.ok(storage('arena_bytes_journal') >= 0)
  }
  assert.ok(rounds > 0)
  const without = await (await fetch(`${url}?partitions=off`)).text()
  assert.doesNotMatch(without, /topic="watched"/)
  connection.close()
  await broker.close()
})

test('another number of shards at the next start keeps every record and every committed offset', async () => {
  const broker = await start({ shards: 3 })
  const partitions = 7
  const written = new Map<number, string[]>()
  const connection = await raw.RawConnection.open(broker.port)
  assert.equal(await raw.createTopic(connection, 'moved', partitions), 0)
  assert.equal((await raw.findCoordinator(connection, 'readers')).error, 0)
  const produceRound = async (on: raw.RawConnection, round: string): Promise<void> => {
    for (let partition = 0; partition < partitions; partition++) {
      const values = [`${round}-${partition}-a`, `${round}-${partition}-b`]
      const { error, baseOffset } = await raw.produce(on, 'moved', partition, batch(values))
      const before = written.get(partition) ?? []
      assert.deepEqual([error, baseOffset], [0, before.length])
      written.set(partition, [...before, ...values])
      assert.equal(await raw.commitOffset(on, 'readers', 'moved', partition, before.length + 1), 0)
    }
  }
  await produceRound(connection, 'three')
  connection.close()
  for (const shards of [1, 2, 4]) {
    // Once in order, once by kill -9.
    if (shards === 2) await broker.kill()
    else assert.equal((await broker.terminate()).code, 0, broker.child.stderr)
    await broker.restart({ shards })
    assert.match(broker.child.stdout, new RegExp(`\\(${shards} shards?\\)`))
    const again = await raw.RawConnection.open(broker.port)
    for (const [partition, values] of written) {
      assert.deepEqual(await valuesOf(again, 'moved', partition), values)
      const committed = await raw.committedOffset(again, 'readers', 'moved', partition)
      assert.deepEqual(committed, { error: 0, offset: values.length - 1 })
    }
    await produceRound(again, `${shards}`)
    again.close()
  }
  await broker.close()
})

test('a broker in this process has a temporary directory of its own, gone when it is closed', async () => {
  const ours = () => readdirSync(tmpdir()).filter((name) => /^millrace-[A-Za-z0-9]{6}$/.test(name))
  const before = new Set(ours())
  const broker = await startBroker({ port: 0, logLevel: 'silent' })
  const made = ours().filter((name) => !before.has(name) && existsSync(join(tmpdir(), name, 'millrace.json')))
  assert.equal(made.length, 1)
  const connection = await raw.RawConnection.open(Number(broker.bootstrapServers.split(':')[1]))
  assert.equal(await raw.createTopic(connection, 'here', 1), 0)
  assert.equal((await raw.produce(connection, 'here', 0, batch(['x']))).baseOffset, 0)
  await broker.close()
  await connection.closed
  assert.equal(existsSync(join(tmpdir(), made[0]!)), false)
})

test('a broker in this process keeps the directory it was given', async () => {
  const dataDir = await temporaryDirectory('kept')
  for (const expected of [0, 1]) {
    const broker = await startBroker({ dataDir, shards: 2, logLevel: 'silent', config: { 'num.partitions': 1 } })
    const connection = await raw.RawConnection.open(Number(broker.bootstrapServers.split(':')[1]))
    if (expected === 0) assert.equal(await raw.createTopic(connection, 'stays', 1), 0)
    assert.equal((await raw.produce(connection, 'stays', 0, batch(['x']))).baseOffset, expected)
    connection.close()
    await broker.close()
  }
  assert.ok(existsSync(join(dataDir, 'millrace.json')))
})

async function valuesOf(connection: raw.RawConnection, topic: string, partition: number): Promise<string[]> {
  return (await raw.readAll(connection, topic, partition)).map(({ value }) => String(value))
}

function batch(values: readonly string[]): Buffer {
  return raw.recordBatch({ values: values.map((value) => Buffer.from(value)) })
}
