// Data directories a broker must not start on, or must not trust: each gives one clear line and leaves the files alone.

import assert from 'node:assert/strict'
import { chmodSync, chownSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceBroker, spawnMillrace } from '../support/broker.ts'
import { freePort, removeDirectory, temporaryDirectory } from '../support/process.ts'
import { createTopic, decodeRecords, fetch, produce, RawConnection, readAll, recordBatch } from '../support/raw.ts'

const one = (text: string) => recordBatch({ values: [Buffer.from(text)] })

describe('the data directory', () => {
  const brokers: MillraceBroker[] = []
  const directories: string[] = []

  afterEach(async () => {
    for (const broker of brokers.splice(0)) await broker.close()
    for (const directory of directories.splice(0)) removeDirectory(directory)
  })

  async function directory(): Promise<string> {
    const path = await temporaryDirectory('data-directory')
    directories.push(path)
    return path
  }

  async function start(dataDir: string): Promise<MillraceBroker> {
    const broker = await MillraceBroker.start({ dataDir, shards: 1, memory: '128m' })
    brokers.push(broker)
    return broker
  }

  /** Starts a broker that must refuse; gives its one line. */
  async function refusal(dataDir: string): Promise<string> {
    const child = spawnMillrace(await freePort(), dataDir, { shards: 1, memory: '128m' })
    const ended = await Promise.race([child.exited, sleep(20_000, undefined, { ref: false })])
    if (ended === undefined) {
      await child.stop('SIGKILL')
      assert.fail(`it started: ${child.stdout}`)
    }
    assert.notEqual(ended.code, 0)
    const lines = child.stderr.split('\n').filter((line) => line !== '')
    assert.equal(lines.length, 1, child.stderr)
    return lines[0] ?? ''
  }

  /** Writes `count` records to a new topic and leaves the directory as a crash would. */
  async function written(dataDir: string, count: number, segmentBytes = 1 << 30): Promise<void> {
    const broker = await start(dataDir)
    const connection = await RawConnection.open(broker.port)
    assert.equal(await createTopic(connection, 'kept', 1, { 'segment.bytes': String(segmentBytes) }), 0)
    for (let index = 0; index < count; index++) {
      assert.equal((await produce(connection, 'kept', 0, one(`record number ${index} `.padEnd(10_000, '.')))).error, 0)
    }
    connection.close()
    await broker.kill()
  }

  async function recordCount(broker: MillraceBroker): Promise<number> {
    const connection = await RawConnection.open(broker.port)
    const records = await readAll(connection, 'kept', 0)
    connection.close()
    return records.length
  }

  test('in use by another broker is refused, and the other broker works on', async () => {
    const dataDir = await directory()
    const first = await start(dataDir)
    const connection = await RawConnection.open(first.port)
    assert.equal(await createTopic(connection, 'kept', 1), 0)
    assert.match(await refusal(dataDir), /another broker is running/)
    assert.equal((await produce(connection, 'kept', 0, one('still mine'))).error, 0)
    connection.close()
  })

  test('the lock of a killed broker holds nobody up', async () => {
    const dataDir = await directory()
    await written(dataDir, 3)
    assert.equal(await recordCount(await start(dataDir)), 3)
  })

  test('owned by another user is refused with both users named', { skip: process.getuid?.() !== 0 }, async () => {
    const dataDir = await directory()
    await written(dataDir, 1)
    const everything = [
      dataDir,
      ...readdirSync(dataDir, { recursive: true, encoding: 'utf8' }).map((name) => join(dataDir, name)),
    ]
    for (const path of everything) chownSync(path, 12_345, 12_345)
    assert.match(await refusal(dataDir), /belongs to user 12345.*runs as user 0/)
  })

  test('not writable is refused in one line', { skip: process.getuid?.() === 0 }, async () => {
    const dataDir = await directory()
    chmodSync(dataDir, 0o500)
    assert.match(await refusal(dataDir), /cannot use the data directory/)
    chmodSync(dataDir, 0o700)
  })

  test('a file in its place is refused in one line', async () => {
    const file = join(await directory(), 'file')
    writeFileSync(file, 'not a directory')
    assert.match(await refusal(file), /file/)
    assert.equal(readFileSync(file, 'utf8'), 'not a directory')
  })

  test('from a newer format is refused with both formats named, and untouched', async () => {
    const dataDir = await directory()
    await written(dataDir, 2)
    const file = join(dataDir, 'millrace.json')
    const record = JSON.parse(readFileSync(file, 'utf8')) as { format: number }
    const newer = `${JSON.stringify({ ...record, format: record.format + 1 })}\n`
    writeFileSync(file, newer)
    assert.match(await refusal(dataDir), new RegExp(`format ${record.format + 1}.*format ${record.format}\\b`))
    assert.equal(readFileSync(file, 'utf8'), newer)
    writeFileSync(file, `${JSON.stringify(record)}\n`)
    assert.equal(await recordCount(await start(dataDir)), 2)
  })

  test('with an unreadable or missing record is refused rather than begun anew', async () => {
    const dataDir = await directory()
    await written(dataDir, 2)
    const file = join(dataDir, 'millrace.json')
    const before = readFileSync(file)
    writeFileSync(file, 'not JSON at all')
    assert.match(await refusal(dataDir), /millrace\.json/)
    writeFileSync(file, before)
    assert.equal(await recordCount(await start(dataDir)), 2)
  })

  test('with damage in the middle of the journal is refused with the place named', async () => {
    const dataDir = await directory()
    await written(dataDir, 40)
    const damaged = flipWhereFound(dataDir, 'record number 20 ', (path) => path.includes('/journal/'))
    assert.ok(damaged > 0, 'the record is in the journal')
    assert.match(await refusal(dataDir), /journal.*at byte \d+/)
  })

  test('with a damaged segment answers the fetch with an error, never with other bytes, and serves the rest', async () => {
    const dataDir = await directory()
    await written(dataDir, 400, 1 << 20)
    const first = await start(dataDir)
    assert.equal(await recordCount(first), 400)
    assert.equal((await first.terminate()).code, 0)
    const damaged = flipWhereFound(
      dataDir,
      'record number 20 ',
      (path) => path.endsWith('.log') && path.includes('/kept'),
    )
    assert.ok(damaged > 0, 'the record is in a segment')
    const broker = await start(dataDir)
    const connection = await RawConnection.open(broker.port)
    const bad = await fetch(connection, 'kept', 0, 20)
    assert.ok(bad.error === 2 || bad.error === 56, `error ${bad.error}, wanted CORRUPT_MESSAGE or KAFKA_STORAGE_ERROR`)
    const good = await fetch(connection, 'kept', 0, 300)
    assert.equal(decodeRecords(good.records)[0]?.offset, 300)
    connection.close()
  })
})

/** Turns one bit in every file that holds the text; gives how many places. */
function flipWhereFound(directory: string, text: string, wanted: (path: string) => boolean): number {
  let found = 0
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const path = join(directory, name)
    if (!wanted(path) || !statSync(path).isFile()) continue
    const bytes = readFileSync(path)
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
      bytes.writeUInt8(bytes.readUInt8(at + 5) ^ 1, at + 5)
      found++
    }
    if (found > 0) writeFileSync(path, bytes)
  }
  return found
}
