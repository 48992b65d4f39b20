// A disk that hangs: writes neither come back nor fail. Leaders move to brokers whose disks answer, nobody waits in vain, and the broker
// goes on by itself when its disk does.
//
// On a file system of its own that is frozen for a while, which takes the right to mount one.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { errorName } from '../../protocol/errors.ts'
import { MillraceBroker } from '../support/broker.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { eventually, temporaryDirectory } from '../support/process.ts'
import { createTopic, fetch, produce, RawConnection, readAll, recordBatch } from '../support/raw.ts'

const MIB = 1 << 20
const SKIPPED = 'no ext4 file system can be mounted on a file and frozen here'

let base: string
let mount: string
let isMounted = false
let isFrozen = false

function freeze(): void {
  execFileSync('fsfreeze', ['--freeze', mount])
  isFrozen = true
}

function thaw(): void {
  if (isFrozen) execFileSync('fsfreeze', ['--unfreeze', mount])
  isFrozen = false
}

before(async () => {
  base = await temporaryDirectory('hung-disk')
  mount = `${base}/mount`
  mkdirSync(mount)
  const image = `${base}/image`
  writeFileSync(image, '')
  truncateSync(image, 600 * MIB)
  try {
    execFileSync('mkfs.ext4', ['-q', '-F', image], { stdio: 'ignore' })
    execFileSync('mount', ['-o', 'loop', image, mount], { stdio: 'ignore' })
    isMounted = true
    freeze()
    thaw()
  } catch {
    if (isMounted) execFileSync('umount', [mount])
    isMounted = false
  }
})

after(() => {
  thaw()
  // A broker that a failed test has left there may take a while to go.
  if (isMounted) execFileSync('umount', ['--lazy', mount])
  rmSync(base, { recursive: true, force: true })
})

/** @returns the name of the error that the broker answers, or the waiting for an answer */
async function put(connection: RawConnection, topic: string, text: string): Promise<string> {
  return errorName((await produce(connection, topic, 0, recordBatch({ values: [Buffer.from(text)] }))).error)
}

async function said(broker: MillraceBroker, pattern: RegExp): Promise<void> {
  await eventually(`the broker says ${pattern}`, 30_000, async () =>
    pattern.test(broker.child.stderr) ? true : undefined,
  )
}

const HANGS = /has not answered a write for two seconds/
const ANSWERS = /answers again: producing goes on/

test('leaders leave a broker whose disk hangs, and it takes part again when its disk does', async (t) => {
  if (!isMounted) return t.skip(SKIPPED)
  const dataDirs = [`${mount}/cluster`, await temporaryDirectory('sound-2'), await temporaryDirectory('sound-3')]
  mkdirSync(dataDirs[0]!)
  // The first broker founds the cluster, and decides for it.
  const cluster = await MillraceCluster.start({ count: 3, shards: 1, memory: '64m', dataDirs, order: [0, 1, 2] })
  const [hung, sound] = cluster.brokers as [MillraceBroker, MillraceBroker]
  const connections: RawConnection[] = []
  const connect = async (broker: MillraceBroker): Promise<RawConnection> => {
    connections.push(await RawConnection.open(broker.port))
    return connections.at(-1)!
  }
  const acknowledged: string[] = []
  try {
    await cluster.createTopic('moves', 1, {}, [[1, 2, 3]])
    await cluster.createTopic('alone', 1, {}, [[1]])
    await cluster.inSync('moves')
    const connection = await connect(hung)
    assert.equal(await put(connection, 'moves', 'before'), 'NONE')
    acknowledged.push('before')
    assert.equal(await put(await connect(hung), 'alone', 'before'), 'NONE')

    freeze()
    // Of a partition that lives there alone the record waits; it is answered when it is on the disk.
    const waiting = put(await connect(hung), 'alone', 'waits')
    waiting.catch(() => {})
    let error = 'NONE'
    for (let count = 0; error === 'NONE'; count++) {
      error = await put(connection, 'moves', `held by two ${count}`)
      if (error === 'NONE') acknowledged.push(`held by two ${count}`)
    }
    assert.match(error, /^(KAFKA_STORAGE_ERROR|NOT_LEADER_OR_FOLLOWER)$/)
    await said(hung, HANGS)
    assert.equal(await put(await connect(hung), 'alone', 'refused'), 'KAFKA_STORAGE_ERROR')
    await eventually('another leader', 30_000, async () => {
      const leader = await cluster.leaderOf('moves', 0)
      return leader > 0 ? true : undefined
    })
    const elsewhere = await connect(cluster.brokers[await cluster.leaderOf('moves', 0)] as MillraceBroker)
    for (let count = 0; count < 20; count++) {
      assert.equal(await put(elsewhere, 'moves', `elsewhere ${count}`), 'NONE')
      acknowledged.push(`elsewhere ${count}`)
    }
    const { error: readError, records } = await fetch(await connect(hung), 'alone', 0, 0)
    assert.equal(readError, 0)
    assert.ok(records.length > 0, 'what is there is served')
    await eventually('a topic is made by another controller', 30_000, async () =>
      (await createTopic(await connect(sound), 'made', 1)) === 0 ? true : undefined,
    )

    thaw()
    assert.equal(await waiting, 'NONE')
    await said(hung, ANSWERS)
    await eventually('records are taken again', 30_000, async () =>
      (await put(await connect(hung), 'alone', 'after')) === 'NONE' ? true : undefined,
    )
    await cluster.inSync('moves')
    const values = (await readAll(await connect(hung), 'alone', 0)).map(({ value }) => value?.toString())
    assert.deepEqual(values.slice(0, 2), ['before', 'waits'])
    const leader = cluster.brokers[await cluster.leaderOf('moves', 0)] as MillraceBroker
    const seen = (await readAll(await connect(leader), 'moves', 0)).map(({ value }) => value?.toString())
    assert.deepEqual(
      acknowledged.filter((text) => !seen.includes(text)),
      [],
    )
    assert.equal(hung.child.stderr.match(new RegExp(HANGS, 'g'))!.length, 1)
    assert.doesNotMatch(cluster.outputs(), /read-only/)
  } finally {
    thaw()
    for (const connection of connections) connection.close()
    await cluster.close()
  }
})

test('a broker that is stopped while its disk hangs gives up on it', async (t) => {
  if (!isMounted) return t.skip(SKIPPED)
  const dataDir = `${mount}/stopped`
  mkdirSync(dataDir)
  const broker = await MillraceBroker.start({ dataDir, shards: 2, memory: '64m' })
  try {
    let connection = await RawConnection.open(broker.port)
    await createTopic(connection, 'kept', 1)
    assert.equal(await put(connection, 'kept', 'acknowledged'), 'NONE')
    freeze()
    void put(connection, 'kept', 'nobody hears').catch(() => undefined)
    await said(broker, HANGS)
    const ended = broker.terminate()
    // The kernel keeps the process until the disk answers; what the broker itself can do is done by then.
    await said(broker, /DISK_HANGS/)
    thaw()
    await ended
    connection.close()
    await broker.restart()
    connection = await RawConnection.open(broker.port)
    const values = (await readAll(connection, 'kept', 0)).map(({ value }) => value?.toString())
    assert.equal(values[0], 'acknowledged')
    connection.close()
  } finally {
    thaw()
    await broker.close()
  }
})
