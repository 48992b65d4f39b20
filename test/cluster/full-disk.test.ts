// A disk that fills up: producing is refused, before it is full if the broker sees it come, what was acknowledged stays readable, and
// producing goes on when there is room.
//
// On a file system of its own in memory, which takes the right to mount one.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceBroker } from '../support/broker.ts'
import { temporaryDirectory } from '../support/process.ts'
import { createTopic, fetch, produce, RawConnection, readAll, recordBatch } from '../support/raw.ts'

const KAFKA_STORAGE_ERROR = 56
const TOPIC = 'filling'
const MIB = 1 << 20

let directory: string
let mounted = false

before(async () => {
  directory = await temporaryDirectory('full-disk')
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400m', 'tmpfs', directory], { stdio: 'ignore' })
    mounted = true
  } catch {
    mounted = false
  }
})

after(() => {
  if (mounted) execFileSync('umount', [directory])
  rmSync(directory, { recursive: true, force: true })
})

test('a full disk refuses producing with KAFKA_STORAGE_ERROR, serves what it has, and takes more when there is room', async (t) => {
  if (!mounted) return t.skip('no file system can be mounted here')
  const dataDir = `${directory}/data`
  mkdirSync(dataDir)
  const ballast = `${directory}/ballast`
  writeFileSync(ballast, Buffer.alloc(120 * MIB))
  const broker = await MillraceBroker.start({ dataDir, shards: 2, memory: '128MiB' })
  const connection = await RawConnection.open(broker.port)
  try {
    await createTopic(connection, TOPIC, 1)
    const value = Buffer.alloc(900_000, 7)
    let acknowledged = 0
    let error = 0
    while (error === 0 && acknowledged < 600) {
      error = (await produce(connection, TOPIC, 0, recordBatch({ values: [value] }))).error
      if (error === 0) acknowledged++
    }
    assert.equal(error, KAFKA_STORAGE_ERROR)
    assert.ok(acknowledged > 20, `${acknowledged} batches before the disk was short`)

    for (const offset of [0, acknowledged - 1]) {
      const answer = await fetch(connection, TOPIC, 0, offset)
      assert.equal(answer.error, 0)
      assert.ok(answer.records.length > value.length, `offset ${offset} is readable`)
    }

    rmSync(ballast)
    let took = KAFKA_STORAGE_ERROR
    for (let tries = 0; took !== 0 && tries < 40; tries++) {
      took = (await produce(connection, TOPIC, 0, recordBatch({ values: [Buffer.from('again')] }))).error
      if (took !== 0) await sleep(250)
    }
    assert.equal(took, 0, 'producing goes on without a restart')
  } finally {
    connection.close()
    await broker.close()
    rmSync(dataDir, { recursive: true })
  }
})

/** Takes all the space there is, at once. */
function fill(path: string): void {
  const file = openSync(path, 'w')
  try {
    for (let size = MIB; size >= 4096; size /= 2) {
      try {
        for (;;) if (writeSync(file, Buffer.alloc(size)) < size) break
      } catch (error) {
        if ((error as { code?: string }).code !== 'ENOSPC') throw error
      }
    }
  } finally {
    closeSync(file)
  }
}

test('a disk that somebody else fills within a moment loses nothing, and the broker goes on by itself', async (t) => {
  if (!mounted) return t.skip('no file system can be mounted here')
  const dataDir = `${directory}/outrun`
  mkdirSync(dataDir)
  const ballast = `${directory}/ballast`
  const partitions = 4
  const broker = await MillraceBroker.start({ dataDir, shards: 1, memory: '128MiB' })
  let connection = await RawConnection.open(broker.port)
  const acknowledged: string[][] = Array.from({ length: partitions }, () => [])
  let sent = 0
  const send = async (partition: number): Promise<number> => {
    const text = `${sent++} `.padEnd(200_000, 'x')
    const answer = await produce(connection, TOPIC, partition, recordBatch({ values: [Buffer.from(text)] }))
    if (answer.error === 0) acknowledged[partition]!.push(text)
    return answer.error
  }
  const check = async (): Promise<void> => {
    for (const [partition, texts] of acknowledged.entries()) {
      const seen = (await readAll(connection, TOPIC, partition)).map(({ value }) => value?.toString())
      // What was refused may be there too: a refusal says that nobody knows.
      assert.deepEqual(
        texts.filter((text) => !seen.includes(text)).map((text) => text.slice(0, 10)),
        [],
        `all that was acknowledged is in partition ${partition}`,
      )
      const places = texts.map((text) => seen.indexOf(text))
      assert.deepEqual(
        places,
        places.toSorted((one, other) => one - other),
        'in order',
      )
    }
  }
  try {
    assert.equal(await createTopic(connection, TOPIC, partitions), 0)
    // Little enough for the journal alone: its place in a segment is still to be found when there is none.
    for (let at = 0; at < partitions; at++) assert.equal(await send(at), 0)

    fill(ballast)
    let error = 0
    for (let at = 0; error === 0 && at < 400; at++) error = await send(at % partitions)
    assert.equal(error, KAFKA_STORAGE_ERROR)
    // What the operator reads: the disk itself has said so, and not the look at what is left.
    for (let tries = 0; !/no space on the disk \(.*ENOSPC\)/.test(broker.child.stderr); tries++) {
      assert.ok(tries < 80, broker.child.stderr)
      await sleep(250)
    }
    assert.ok(acknowledged.flat().length >= partitions)
    assert.equal(await send(1), KAFKA_STORAGE_ERROR)
    await check()

    rmSync(ballast)
    let took = KAFKA_STORAGE_ERROR
    for (let tries = 0; took !== 0 && tries < 60; tries++) {
      took = await send(1)
      if (took !== 0) await sleep(250)
    }
    assert.equal(took, 0, 'producing goes on without a restart')
    for (let at = 0; at < 40; at++) assert.equal(await send(at % partitions), 0)
    assert.doesNotMatch(broker.child.stdout + broker.child.stderr, /read-only/)
    await check()

    connection.close()
    await broker.kill()
    await broker.restart()
    connection = await RawConnection.open(broker.port)
    await check()
  } finally {
    connection.close()
    await broker.close()
  }
})
