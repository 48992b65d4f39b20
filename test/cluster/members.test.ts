// Brokers that come to a cluster, leave it, come back with another disk, or do not belong to it.

import assert from 'node:assert/strict'
import { cp } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ErrorCode, errorName } from '../../protocol/errors.ts'
import { MillraceBroker, millrace, spawnMillrace } from '../support/broker.ts'
import { closing } from '../support/closing.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { eventually, freePort, temporaryDirectory } from '../support/process.ts'
import { createTopic, produce, RawConnection, readAll, recordBatch } from '../support/raw.ts'
import { api, Wire } from '../support/wire.ts'

const small = { shards: 2, memory: '64m' } as const
const batch = (value: string) => recordBatch({ values: [Buffer.from(value)] })

async function succeed(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await millrace(args)
  assert.equal(code, 0, `${args.join(' ')}\n${stdout}\n${stderr}`)
  return stdout + stderr
}

async function writeTo(cluster: MillraceCluster, topic: string, partition: number, value: string): Promise<void> {
  await eventually(`a write to ${topic}-${partition}`, 20_000, async () => {
    const { port, host } = cluster.brokers[await cluster.leaderOf(topic, partition)]!
    const connection = await RawConnection.open(port, host)
    const { error } = await produce(connection, topic, partition, batch(value)).finally(() => connection.close())
    if (error !== ErrorCode.NONE) throw new Error(errorName(error))
    return true
  })
}

async function valuesOf(cluster: MillraceCluster, topic: string, partition: number): Promise<string[]> {
  const { port, host } = cluster.brokers[await cluster.leaderOf(topic, partition)]!
  const connection = await RawConnection.open(port, host)
  const records = await readAll(connection, topic, partition).finally(() => connection.close())
  return records.map(({ value }) => String(value))
}

async function reassign(
  cluster: MillraceCluster,
  topic: string,
  lists: readonly number[][],
  through = cluster.brokers.at(-1)!,
): Promise<void> {
  const wire = await Wire.open(through)
  const { responses } = await wire.call(api.alterPartitionReassignments, 0, {
    topics: [{ name: topic, partitions: lists.map((replicas, partitionIndex) => ({ partitionIndex, replicas })) }],
    timeoutMs: 10_000,
  })
  assert.deepEqual(
    responses[0]?.partitions.map(({ errorCode }) => errorName(errorCode)),
    lists.map(() => 'NONE'),
  )
  await eventually(`the reassignment of ${topic}`, 30_000, async () => {
    const { topics } = await wire.call(api.listPartitionReassignments, 0, { topics: null, timeoutMs: 10_000 })
    return topics.length === 0 ? true : undefined
  })
  wire.close()
}

test('a broker that was alone is joined by two others, gives them replicas of all it has, and may die then', async () => {
  // What it was before it had peers.
  const dataDirs = await Promise.all([1, 2, 3].map((id) => temporaryDirectory(`joined-${id}`)))
  const alone = await MillraceBroker.start({ ...small, dataDir: dataDirs[0]! })
  const connection = await RawConnection.open(alone.port)
  assert.equal(await createTopic(connection, 'grown', 2), ErrorCode.NONE)
  for (const value of ['a', 'b', 'c']) {
    for (const partition of [0, 1])
      assert.equal((await produce(connection, 'grown', partition, batch(value))).error, ErrorCode.NONE)
  }
  connection.close()
  await alone.terminate()
  const cluster = closing(await MillraceCluster.start({ ...small, dataDirs, order: [0, 1, 2] }))
  assert.deepEqual(await valuesOf(cluster, 'grown', 0), ['a', 'b', 'c'])
  await reassign(cluster, 'grown', [
    [2, 1, 3],
    [3, 2, 1],
  ])
  const partitions = await cluster.describe('grown')
  assert.deepEqual(partitions.map(({ replicas }) => replicas).sort(), [
    [2, 1, 3],
    [3, 2, 1],
  ])
  await cluster.inSync('grown')
  await eventually('three voters of the metadata', 20_000, async () => {
    const wire = await Wire.open(cluster.brokers[0]!)
    const { topics } = await wire.call(api.describeQuorum, 2, {
      topics: [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }],
    })
    wire.close()
    return topics[0]?.partitions[0]?.currentVoters.length === 3 ? true : undefined
  })
  await cluster.brokers[0]!.kill()
  for (const partition of [0, 1]) {
    await writeTo(cluster, 'grown', partition, 'd')
    assert.deepEqual(await valuesOf(cluster, 'grown', partition), ['a', 'b', 'c', 'd'])
  }
})

describe('a cluster of four', () => {
  let cluster: MillraceCluster

  test('a broker that is drained holds nothing any more, and is taken out', async () => {
    cluster = closing(
      await MillraceCluster.start({ ...small, count: 4, properties: { 'offsets.topic.num.partitions': '2' } }),
    )
    await cluster.createTopic('drained', 8)
    await cluster.inSync('drained')
    for (let partition = 0; partition < 8; partition++) await writeTo(cluster, 'drained', partition, 'before')
    const target = ['--bootstrap', cluster.brokers[0]!.bootstrap]
    const running = await millrace(['broker', 'remove', '4', ...target])
    assert.notEqual(running.code, 0)
    assert.match(running.stderr, /Broker 4 holds \d+ partition/)
    assert.match(await succeed(['broker', 'drain', '4', ...target]), /Broker 4 holds nothing any more/)
    for (const { replicas, isr } of await cluster.describe('drained')) {
      assert.deepEqual([replicas.includes(4), replicas.length, isr.length], [false, 3, 3])
    }
    assert.match((await millrace(['broker', 'remove', '4', ...target])).stderr, /Broker 4 is running: stop it first/)
    await cluster.brokers[3]!.terminate()
    await eventually('broker 4 taken out', 10_000, async () =>
      (await millrace(['broker', 'remove', '4', ...target])).code === 0 ? true : undefined,
    )
    const listed = JSON.parse(await succeed(['broker', 'list', '--json', ...target])) as { id: number }[]
    assert.deepEqual(
      listed.map(({ id }) => id),
      [1, 2, 3],
    )
    cluster.brokers.pop()
    for (let partition = 0; partition < 8; partition++) {
      await writeTo(cluster, 'drained', partition, 'after')
      assert.deepEqual(await valuesOf(cluster, 'drained', partition), ['before', 'after'])
    }
  })

  test('a broker with an empty disk in place of its own gets everything again', async () => {
    const broker = cluster.brokers[1]!
    await broker.kill()
    cluster.replaceDisk(1)
    await writeTo(cluster, 'drained', 0, 'meanwhile')
    await broker.restart()
    await cluster.inSync('drained')
    // The others go, one after the other: what is left comes from the new disk.
    await cluster.brokers[0]!.kill()
    for (let partition = 1; partition < 8; partition++) await writeTo(cluster, 'drained', partition, 'later')
    await cluster.brokers[0]!.restart()
    await cluster.inSync('drained')
    await cluster.brokers[2]!.kill()
    for (let partition = 1; partition < 8; partition++) {
      await writeTo(cluster, 'drained', partition, 'last')
      assert.deepEqual(await valuesOf(cluster, 'drained', partition), ['before', 'after', 'later', 'last'])
    }
    assert.deepEqual(await valuesOf(cluster, 'drained', 0), ['before', 'after', 'meanwhile'])
    await cluster.brokers[2]!.restart()
  })

  test('a broker of another cluster is refused with one line, and disturbs nobody', async () => {
    const dataDir = await temporaryDirectory('other-cluster')
    const peerPort = String(await freePort())
    const flags = ['--node-id', '9', '--peer-port', peerPort]
    const other = await MillraceBroker.start({ ...small, dataDir, extraArguments: flags })
    const connection = await RawConnection.open(other.port)
    assert.equal(await createTopic(connection, 'of-the-other', 1), ErrorCode.NONE)
    connection.close()
    await other.terminate()
    const refused = spawnMillrace(await freePort(), dataDir, {
      ...small,
      extraArguments: [...flags, '--seed', cluster.seeds],
    })
    const late = setTimeout(() => refused.process.kill('SIGKILL'), 20_000)
    const { code } = await refused.exited
    clearTimeout(late)
    assert.equal(code, 1, `${refused.stdout}${refused.stderr}`)
    assert.match(refused.stderr, /the data directory belongs to cluster .* to another one.*WRONG_CLUSTER/)
    assert.equal(refused.stderr.trim().split('\n').length, 1, refused.stderr)
    await writeTo(cluster, 'drained', 0, 'undisturbed')
  })
})

test('a broker that is dead for good is listed as dead, drained, and taken out; what only it held is said', async () => {
  const cluster = closing(
    await MillraceCluster.start({ ...small, count: 4, properties: { 'offsets.topic.num.partitions': '2' } }),
  )
  await cluster.createTopic('held', 8)
  await cluster.createTopic('single', 1, {}, [[4]])
  await cluster.inSync('held')
  for (let partition = 0; partition < 8; partition++) await writeTo(cluster, 'held', partition, 'before')
  await cluster.brokers[3]!.kill()
  cluster.brokers.pop()
  const target = ['--bootstrap', cluster.brokers[0]!.bootstrap]
  const listed = await eventually('broker 4 listed as dead', 10_000, async () => {
    const brokers = JSON.parse(await succeed(['broker', 'list', '--json', ...target])) as {
      id: number
      state: string
      replicas: number
    }[]
    return brokers[3]?.state === 'dead' ? brokers : undefined
  })
  assert.deepEqual(
    listed.map(({ id, state }) => `${id} ${state}`),
    ['1 alive', '2 alive', '3 alive', '4 dead'],
  )
  assert.ok(listed[3]!.replicas > 1)
  assert.match(await succeed(['broker', 'list', ...target]), /^ +4 .* dead /m)
  // Its only replica is on the dead broker: nothing can be moved.
  const stuck = await millrace(['broker', 'drain', '4', ...target])
  assert.equal(stuck.code, 1, stuck.stdout)
  assert.match(stuck.stderr, /1 partitions stay, as nobody leads them: single-0\./)
  await succeed(['topic', 'delete', 'single', ...target])
  assert.match(await succeed(['broker', 'drain', '4', ...target]), /Broker 4 holds nothing any more\. Take it out/)
  await succeed(['broker', 'remove', '4', ...target])
  for (const { replicas, isr } of await cluster.describe('held')) {
    assert.deepEqual([replicas.includes(4), replicas.length, isr.length], [false, 3, 3])
  }
  for (let partition = 0; partition < 8; partition++) {
    assert.deepEqual(await valuesOf(cluster, 'held', partition), ['before'])
  }
})

test('when a majority is lost for good, one survivor goes on with what it has, once it was told to', async () => {
  const cluster = closing(
    await MillraceCluster.start({ ...small, properties: { 'offsets.topic.num.partitions': '2' } }),
  )
  await cluster.createTopic('survives', 3)
  await cluster.inSync('survives')
  for (const partition of [0, 1, 2]) await writeTo(cluster, 'survives', partition, 'kept')
  const survivor = cluster.brokers[0]!
  await Promise.all(cluster.brokers.map((broker) => broker.terminate()))
  const dataDir = ['--data-dir', cluster.dataDir(0)]
  const unsure = await millrace(['broker', 'unsafe-recover', ...dataDir, '--lost', '2,3'])
  assert.notEqual(unsure.code, 0)
  assert.match(unsure.stderr, /whatever was acknowledged behind the end shown here is lost/)
  assert.match(unsure.stderr, /Give --yes/)
  for (const partition of [0, 1, 2]) assert.match(unsure.stdout, new RegExp(`survives-${partition}`))
  assert.match(
    await succeed(['broker', 'unsafe-recover', ...dataDir, '--lost', '2,3', '--yes']),
    /Broker 1 decides alone/,
  )
  await survivor.restart()
  const connection = await RawConnection.open(survivor.port, survivor.host)
  for (const partition of [0, 1, 2]) {
    await eventually(`a write to survives-${partition}`, 20_000, async () =>
      (await produce(connection, 'survives', partition, batch('alone'))).error === ErrorCode.NONE ? true : undefined,
    )
    const records = await readAll(connection, 'survives', partition)
    assert.deepEqual(
      records.map(({ value }) => String(value)),
      ['kept', 'alone'],
    )
  }
  connection.close()
})

test('a copy of the directory of a broker that lives ends with one line, and draws no client to itself', async () => {
  const cluster = closing(await MillraceCluster.start(small))
  await cluster.createTopic('copied', 3)
  await cluster.inSync('copied')
  const ports = cluster.brokers.map(({ port }) => port)
  const seeds = cluster.seeds.split(',')
  // One that is told where the broker runs whose copy it is, and one that is not.
  const copies = [seeds, seeds.slice(0, 2)].map(async (known) => {
    const dataDir = await temporaryDirectory('copied')
    await cp(cluster.dataDir(2), dataDir, { recursive: true })
    const extraArguments = cluster.flags(2)
    extraArguments[extraArguments.indexOf('--peer-port') + 1] = String(await freePort())
    extraArguments[extraArguments.indexOf('--seed') + 1] = known.join(',')
    return spawnMillrace(await freePort(), dataDir, { ...small, extraArguments })
  })
  const ended = copies.map(async (copy) => {
    const { exited, process } = await copy
    const late = setTimeout(() => process.kill('SIGKILL'), 30_000)
    const { code } = await exited
    clearTimeout(late)
    return code
  })
  const named = async (): Promise<number[]> => {
    const wire = await Wire.open(cluster.brokers[0]!)
    const { brokers } = await wire.call(api.metadata, 12, { topics: [], allowAutoTopicCreation: false })
    wire.close()
    return brokers.map(({ port }) => port).sort()
  }
  let running = true
  const all = Promise.all(ended).finally(() => {
    running = false
  })
  while (running) {
    assert.deepEqual(await named(), [...ports].sort())
    await sleep(50)
  }
  assert.deepEqual(await all, [1, 1])
  for (const copy of copies) assert.match((await copy).stderr, /NODE_ID_IN_USE/)
  assert.deepEqual(await named(), [...ports].sort())
  assert.equal(cluster.brokers[2]!.child.running, true)
  for (const partition of [0, 1, 2]) await writeTo(cluster, 'copied', partition, 'undisturbed')
  await cluster.inSync('copied')
})

describe('a survivor that knows more than the one that was recovered', () => {
  async function recovered(cluster: MillraceCluster, at: number, survivor: number): Promise<void> {
    const lost = cluster.brokers.map((_, other) => other).filter((other) => other !== at && other !== survivor)
    const args = ['--data-dir', cluster.dataDir(at), '--lost', lost.map((other) => other + 1).join(','), '--yes']
    assert.match(await succeed(['broker', 'unsafe-recover', ...args]), /Start the other survivors/)
    await cluster.brokers[at]!.restart()
  }

  test('its records are neither cut off nor served beside those of the leader, and it says so', async () => {
    const properties = { 'offsets.topic.num.partitions': '1' }
    const cluster = closing(await MillraceCluster.start({ ...small, shards: 1, count: 5, properties }))
    const wire = await Wire.open(cluster.brokers[0]!)
    const { controllerId } = await wire.call(api.metadata, 12, { topics: [], allowAutoTopicCreation: false })
    wire.close()
    // Whoever stands still must miss nothing of the metadata, not even an election.
    const [behind, ahead, first] = [0, 1, 2, 3, 4].filter((at) => at !== controllerId - 1) as [number, number, number]
    const all = [1, 2, 3, 4, 5].sort((one, other) => Number(other === first + 1) - Number(one === first + 1))
    await cluster.createTopic('two', 1, {}, [all])
    await cluster.inSync('two')
    for (const value of ['a', 'b']) await writeTo(cluster, 'two', 0, value)
    await cluster.brokers[behind]!.kill()
    for (const value of ['c', 'd', 'e']) await writeTo(cluster, 'two', 0, value)
    await cluster.brokers[ahead]!.terminate()
    await Promise.all(cluster.brokers.map((broker) => broker.kill()))

    await recovered(cluster, behind, ahead)
    const leader = cluster.brokers[behind]!
    const connection = await RawConnection.open(leader.port, leader.host)
    await eventually('a write to the recovered broker', 20_000, async () =>
      (await produce(connection, 'two', 0, batch('x'))).error === ErrorCode.NONE ? true : undefined,
    )
    for (let count = 0; count < 9; count++) await produce(connection, 'two', 0, batch('y'))
    const truth = (await readAll(connection, 'two', 0)).map(({ value }) => String(value))
    assert.deepEqual(truth, ['a', 'b', 'x', ...Array(9).fill('y')])

    const other = cluster.brokers[ahead]!
    await other.restart()
    await eventually('the survivor says that it knows more', 20_000, async () =>
      /two-0 is not served here any more/.test(other.child.stderr) ? true : undefined,
    )
    const there = await RawConnection.open(other.port, other.host)
    await assert.rejects(readAll(there, 'two', 0), new RegExp(`error ${ErrorCode.KAFKA_STORAGE_ERROR}$`))
    assert.equal(other.child.stderr.match(/is not served here/g)?.length, 1)

    // Away and back: it is filled again.
    await reassign(cluster, 'two', [[behind + 1]], leader)
    await reassign(cluster, 'two', [[behind + 1, ahead + 1]], leader)
    const again = await eventually('the survivor serves what the leader has', 20_000, async () => {
      const values = (await readAll(there, 'two', 0)).map(({ value }) => String(value))
      return values.length === truth.length ? values : undefined
    })
    assert.deepEqual(again, truth)
    there.close()
    connection.close()
    assert.equal(leader.child.running && other.child.running, true)
  })

  test('a broker whose metadata are ahead ends with one line', async () => {
    const cluster = closing(await MillraceCluster.start({ ...small, shards: 1, count: 4 }))
    await cluster.createTopic('known', 1)
    await cluster.inSync('known')
    await cluster.brokers[0]!.kill()
    await eventually('a topic of the others', 20_000, async () => {
      const wire = await Wire.open(cluster.brokers[1]!)
      const about = { name: 'unknown', numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }
      const { topics } = await wire.call(api.createTopics, 5, { topics: [about], timeoutMs: 5000, validateOnly: false })
      wire.close()
      return [ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS].some((code) => code === topics[0]?.errorCode)
        ? true
        : undefined
    })
    const ahead = cluster.brokers[1]!
    // Killed at once it might not have it on disk yet that the last entries are committed, and would let them go.
    await ahead.terminate()
    await Promise.all(cluster.brokers.map((broker) => broker.kill()))
    await recovered(cluster, 0, 1)
    await ahead.restart().catch(() => {})
    const late = setTimeout(() => ahead.child.process.kill('SIGKILL'), 30_000)
    const { code } = await ahead.child.exited
    clearTimeout(late)
    assert.equal(code, 1, ahead.child.stderr)
    assert.match(ahead.child.stderr, /METADATA_CONTRADICTED/)
    assert.equal(cluster.brokers[0]!.child.running, true)
  })
})
