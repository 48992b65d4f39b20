// Brokers as processes that form a cluster: together, one after another, from a broker that was alone, and those that are not let in.

import assert from 'node:assert/strict'
import { renameSync, rmSync } from 'node:fs'
import { test } from 'node:test'
import { MillraceBroker, millrace, spawnMillrace } from '../support/broker.ts'
import { closing } from '../support/closing.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { eventually, freePort, removeDirectory, temporaryDirectory } from '../support/process.ts'

/** Groups are coordinated at once, and quickly made. */
const PROPERTIES = { 'group.initial.rebalance.delay.ms': '0', 'offsets.topic.num.partitions': '3' }

type Clients = Pick<MillraceCluster, 'kafkajs'>

function clientsOf({ bootstrap }: MillraceBroker): Clients {
  return { kafkajs: () => MillraceCluster.prototype.kafkajs.call({ bootstrap }) }
}

async function produce(clients: Clients, topic: string, values: readonly string[]): Promise<void> {
  const producer = clients.kafkajs().producer()
  await producer.connect()
  for (const value of values) await producer.send({ topic, acks: -1, messages: [{ value }] })
  await producer.disconnect()
}

/** Reads so many records with a consumer group. */
async function consume(
  clients: Clients,
  topic: string,
  count: number,
  groupId = `${topic}-readers`,
): Promise<string[]> {
  const consumer = clients.kafkajs().consumer({ groupId })
  const values: string[] = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => void values.push(String(message.value)) })
  await eventually(`${count} records of ${topic}`, 30_000, async () => (values.length >= count ? true : undefined))
  await consumer.disconnect()
  return values
}

test('three brokers form a cluster that goes on when any one of them is killed', async () => {
  const cluster = closing(await MillraceCluster.start({ properties: PROPERTIES }))
  await cluster.createTopic('t', 3)
  await cluster.inSync('t')
  await produce(cluster, 't', ['a', 'b', 'c'])
  const leader = await cluster.leaderOf('t', 0)
  await cluster.brokers[leader]!.kill()
  await produce(cluster, 't', ['d', 'e', 'f'])
  assert.deepEqual((await consume(cluster, 't', 6)).sort(), ['a', 'b', 'c', 'd', 'e', 'f'])
  await cluster.brokers[leader]!.restart()
  await cluster.inSync('t')
  // Leadership comes back to where it belongs.
  await eventually('preferred leaders', 30_000, async () => {
    const partitions = await cluster.describe('t')
    return partitions.every(({ leader: led, replicas }) => led === replicas[0]) ? true : undefined
  })
})

test('a broker that was alone keeps its data when others join it', async () => {
  const peerPorts = [await freePort(), await freePort()]
  const seeds = peerPorts.map((port) => `127.0.0.1:${port}`).join(',')
  const flags = (at: number) => ['--node-id', `${at + 1}`, '--peer-port', `${peerPorts[at]}`, '--seed', seeds]
  const first = closing(await MillraceBroker.start({ shards: 1, memory: '64m', properties: PROPERTIES }))
  const alone = clientsOf(first)
  await produce(alone, 'kept', ['x', 'y'])
  await first.terminate()
  await first.restart({ extraArguments: flags(0) })
  const second = closing(
    await MillraceBroker.start({ shards: 2, memory: '64m', properties: PROPERTIES, extraArguments: flags(1) }),
  )
  const both = clientsOf(second)
  assert.deepEqual(await consume(both, 'kept', 2), ['x', 'y'])
})

/** Three brokers with one seed list, none of them started. */
async function threeSeeds(
  properties: Readonly<Record<string, string>> = PROPERTIES,
): Promise<(at: number) => Promise<MillraceBroker>> {
  const peerPorts = [await freePort(), await freePort(), await freePort()]
  const seeds = peerPorts.map((port) => `127.0.0.1:${port}`).join(',')
  return async (at) => {
    const flags = ['--node-id', `${at + 1}`, '--peer-port', `${peerPorts[at]}`, '--seed', seeds]
    return closing(await MillraceBroker.start({ shards: 2, memory: '64m', properties, extraArguments: flags }))
  }
}

/** Broker 1 founds alone; then, while it is stopped, 2 and 3 found another cluster. */
async function foundedTwice(use: (alone: Clients) => Promise<void>, properties?: Readonly<Record<string, string>>) {
  const start = await threeSeeds(properties)
  const first = await start(0)
  await use(clientsOf(first))
  await first.terminate()
  const others = await Promise.all([start(1), start(2)])
  return { first, others }
}

async function clusterOf(broker: MillraceBroker): Promise<{ clusterId: string; nodeIds: number[] }> {
  const admin = clientsOf(broker).kafkajs().admin()
  await admin.connect()
  const { brokers, clusterId } = await admin.describeCluster()
  await admin.disconnect()
  return { clusterId, nodeIds: brokers.map(({ nodeId }) => nodeId).sort() }
}

/** Links come up one after the other once a broker has joined. */
async function seenBy(broker: MillraceBroker, wanted: readonly number[]): Promise<void> {
  await eventually(`brokers ${wanted.join(' ')}`, 10_000, async () =>
    `${(await clusterOf(broker)).nodeIds}` === `${wanted}` ? true : undefined,
  )
}

test('a broker that founded a cluster nobody used gives it up for the one that its seeds founded without it', async () => {
  const { first, others } = await foundedTwice(async () => {}, { ...PROPERTIES, 'default.replication.factor': '3' })
  await first.restart()
  assert.match(first.child.stderr, /nobody has used, is given up for the one of 127/)
  await seenBy(first, [1, 2, 3])
  await produce(clientsOf(first), 'after', ['b'])
  // As a member like any other from now on, which the others can count on.
  await first.kill()
  await first.restart()
  assert.doesNotMatch(first.child.stderr, /given up/)
  await others[1]!.kill()
  await produce(clientsOf(first), 'after', ['c'])
  assert.deepEqual((await consume(clientsOf(first), 'after', 2)).sort(), ['b', 'c'])
})

test('a broker that founded a cluster with a topic keeps it, and is refused by the other cluster', async () => {
  const { first, others } = await foundedTwice((alone) => produce(alone, 'own', ['a']))
  // A majority by itself, it may be ready before its seeds have answered.
  await first.restart().catch(() => {})
  assert.equal((await first.child.exited).code, 1)
  assert.match(first.child.stderr, /WRONG_CLUSTER/)
  assert.doesNotMatch(first.child.stderr, /given up/)
  await seenBy(others[0]!, [2, 3])
})

test('of two brokers that each founded a cluster nobody used, and start again together, one joins the other', async () => {
  const start = await threeSeeds()
  const first = await start(0)
  await first.terminate()
  const second = await start(1)
  await second.terminate()
  await Promise.all([first.restart(), second.restart()])
  const both = [first, second]
  assert.equal(both.filter(({ child }) => /given up/.test(child.stderr)).length, 1)
  for (const broker of both) await seenBy(broker, [1, 2])
  await produce(clientsOf(second), 't', ['a'])
  assert.deepEqual(await consume(clientsOf(first), 't', 1), ['a'])
})

test('an empty founder that runs when its seeds come back with another cluster joins that by itself', async () => {
  const { first, others } = await foundedTwice(async () => {})
  await produce(clientsOf(others[0]!), 't', ['a'])
  await Promise.all(others.map((broker) => broker.terminate()))
  await first.restart()
  assert.doesNotMatch(first.child.stderr, /given up/)
  await Promise.all(others.map((broker) => broker.restart()))
  await eventually('the founder has started again', 30_000, async () =>
    /starts again.*is given up/s.test(first.child.stderr) ? true : undefined,
  )
  await seenBy(others[0]!, [1, 2, 3])
  assert.deepEqual(await consume(clientsOf(first), 't', 1), ['a'])
})

test('a second broker with the same id is not let in', async () => {
  const peerPorts = [await freePort(), await freePort()]
  const seeds = `127.0.0.1:${peerPorts[0]}`
  const flags = (at: number) => ['--node-id', '7', '--peer-port', `${peerPorts[at]}`, '--seed', seeds]
  closing(await MillraceBroker.start({ shards: 1, memory: '64m', extraArguments: flags(0) }))
  const dataDir = await temporaryDirectory('twin')
  const twin = spawnMillrace(await freePort(), dataDir, { shards: 1, memory: '64m', extraArguments: flags(1) })
  const { code } = await twin.exited
  assert.equal(code, 1)
  assert.match(twin.stderr, /another broker with id 7 is running.*NODE_ID_IN_USE/)
})

test('a broker with a replaced disk gets everything again, and the old disk is refused', async (t) => {
  const cluster = closing(await MillraceCluster.start({ shards: 1, properties: PROPERTIES }))
  await cluster.createTopic('t', 2)
  await produce(cluster, 't', ['a', 'b', 'c'])
  const broker = cluster.brokers[1]!
  await broker.kill()
  const old = `${broker.dataDir}-old`
  t.after(() => removeDirectory(old))
  renameSync(broker.dataDir, old)
  await broker.restart()
  await cluster.inSync('t')
  assert.deepEqual((await consume(cluster, 't', 3)).sort(), ['a', 'b', 'c'])
  await broker.kill()
  rmSync(broker.dataDir, { recursive: true })
  renameSync(old, broker.dataDir)
  await assert.rejects(broker.restart(), /was replaced by another one since.*DATA_DIRECTORY_REPLACED/s)
})

test("a member's disk is served neither alone nor in another cluster", async () => {
  const peerPort = await freePort()
  const own = ['--node-id', '5', '--peer-port', `${peerPort}`, '--seed', `127.0.0.1:${peerPort}`]
  const member = closing(await MillraceCluster.start({ shards: 1, properties: PROPERTIES }))
  const other = closing(await MillraceBroker.start({ shards: 1, memory: '64m', extraArguments: own }))
  const { port, dataDir } = member.brokers[2]!
  await member.brokers[2]!.kill()
  const start = async (flags: readonly string[]): Promise<string> => {
    const child = spawnMillrace(port, dataDir, {
      shards: 1,
      memory: '64m',
      extraArguments: ['--node-id', '3', ...flags],
    })
    assert.equal((await child.exited).code, 1)
    return child.stderr
  }
  assert.match(await start([]), /PEER_PORT_MISSING/)
  // The rest of its cluster is gone, and the seed belongs to another one.
  await Promise.all([member.brokers[0]!.kill(), member.brokers[1]!.kill()])
  assert.match(await start(['--peer-port', '0', '--seed', `127.0.0.1:${peerPort}`]), /WRONG_CLUSTER/)
  assert.equal(other.child.running, true)
})

test('a survivor goes on alone after unsafe-recover, which says what is at risk and changes nothing unasked', async () => {
  const cluster = closing(await MillraceCluster.start({ shards: 2, properties: PROPERTIES }))
  await cluster.createTopic('t', 2)
  await produce(cluster, 't', ['a', 'b', 'c'])
  assert.deepEqual((await consume(cluster, 't', 3)).sort(), ['a', 'b', 'c'])
  await Promise.all(cluster.brokers.map((broker) => broker.kill()))
  const command = ['broker', 'unsafe-recover', '--data-dir', cluster.dataDir(0), '--lost', '2,3']
  const asked = await millrace(command)
  assert.equal(asked.code, 1)
  assert.match(asked.stdout, /the metadata +1,2,3/)
  assert.match(asked.stdout, /t-0 /)
  assert.match(asked.stderr, /nothing is changed/)
  assert.equal((await millrace([...command, '--yes'])).code, 0)
  const survivor = cluster.brokers[0]!
  await survivor.restart()
  const alone = clientsOf(survivor)
  await produce(alone, 't', ['d'])
  assert.deepEqual((await consume(alone, 't', 4, 'after')).sort(), ['a', 'b', 'c', 'd'])
})
