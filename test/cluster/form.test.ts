// Brokers as processes that form a cluster: together, one after another, from a broker that was alone, and those that are not let in.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { MillraceBroker, spawnMillrace } from '../support/broker.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { eventually, freePort, removeDirectory, temporaryDirectory } from '../support/process.ts'

const toClose: { close(): Promise<void> }[] = []
const directories: string[] = []
after(async () => {
  await Promise.all(toClose.map((each) => each.close()))
  directories.forEach(removeDirectory)
})

function closing<T extends { close(): Promise<void> }>(each: T): T {
  toClose.push(each)
  return each
}

async function produce(cluster: MillraceCluster, topic: string, values: readonly string[]): Promise<void> {
  const producer = cluster.kafkajs().producer()
  await producer.connect()
  for (const value of values) await producer.send({ topic, acks: -1, messages: [{ value }] })
  await producer.disconnect()
}

/** Reads so many records with a consumer group. */
async function consume(cluster: MillraceCluster, topic: string, count: number): Promise<string[]> {
  const consumer = cluster.kafkajs().consumer({ groupId: `${topic}-readers` })
  const values: string[] = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => void values.push(String(message.value)) })
  await eventually(`${count} records of ${topic}`, 30_000, async () => (values.length >= count ? true : undefined))
  await consumer.disconnect()
  return values
}

test('three brokers form a cluster that goes on when any one of them is killed', async () => {
  const cluster = closing(await MillraceCluster.start({ properties: { 'offsets.topic.num.partitions': '3' } }))
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
  const first = closing(await MillraceBroker.start({ shards: 1, memory: '64m' }))
  const alone = {
    kafkajs: () => MillraceCluster.prototype.kafkajs.call({ bootstrap: first.bootstrap }),
  } as MillraceCluster
  await produce(alone, 'kept', ['x', 'y'])
  await first.terminate()
  await first.restart({ extraArguments: flags(0) })
  const second = closing(await MillraceBroker.start({ shards: 2, memory: '64m', extraArguments: flags(1) }))
  const both = {
    kafkajs: () => MillraceCluster.prototype.kafkajs.call({ bootstrap: second.bootstrap }),
  } as MillraceCluster
  assert.deepEqual(await consume(both, 'kept', 2), ['x', 'y'])
})

test('a second broker with the same id is not let in', async () => {
  const peerPorts = [await freePort(), await freePort()]
  const seeds = `127.0.0.1:${peerPorts[0]}`
  const flags = (at: number) => ['--node-id', '7', '--peer-port', `${peerPorts[at]}`, '--seed', seeds]
  closing(await MillraceBroker.start({ shards: 1, memory: '64m', extraArguments: flags(0) }))
  const dataDir = await temporaryDirectory('twin')
  directories.push(dataDir)
  const twin = spawnMillrace(await freePort(), dataDir, { shards: 1, memory: '64m', extraArguments: flags(1) })
  const { code } = await twin.exited
  assert.equal(code, 1)
  assert.match(twin.stderr, /another broker with id 7 is running.*NODE_ID_IN_USE/)
})
