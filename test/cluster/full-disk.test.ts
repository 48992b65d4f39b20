// A disk that fills up: producing is refused before it is full, what was acknowledged stays readable, and producing goes on when there is room.
//
// On a file system of its own in memory, which takes the right to mount one.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceBroker } from '../support/broker.ts'
import { temporaryDirectory } from '../support/process.ts'
import { createTopic, fetch, produce, RawConnection, recordBatch } from '../support/raw.ts'

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
  }
})
