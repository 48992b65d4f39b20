// Connections between brokers that break, in both directions or in one, while clients reach every broker.
//
// Each broker in a network namespace of its own, which takes the right to make them: root and iproute2.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { closing } from '../support/closing.ts'
import { MillraceCluster, namespacesAvailable } from '../support/cluster.ts'
import { eventually } from '../support/process.ts'
import { produce, RawConnection, recordBatch } from '../support/raw.ts'
import { api, Wire } from '../support/wire.ts'
import { accessOf, Committer, History } from './history.ts'
import { IdempotentKafkajsWriter, KafkajsWriter } from './writers.ts'

const PARTITIONS = 3

describe('brokers that do not reach each other', {
  skip: namespacesAvailable() ? false : 'no network namespaces can be made here',
}, () => {
  let cluster: MillraceCluster | undefined
  after(() => cluster?.close())

  async function started(): Promise<MillraceCluster> {
    cluster ??= await MillraceCluster.start({
      memory: '64m',
      namespaces: true,
      properties: { 'offsets.topic.num.partitions': '3' },
    })
    return cluster
  }

  for (const how of ['both', 'outgoing', 'incoming'] as const) {
    const what = { both: 'is cut off', outgoing: 'is not heard', incoming: 'does not hear' }[how]
    test(`nothing acknowledged is lost, and clients go on, when the leader ${what}`, async () => {
      const whole = await started()
      const network = whole.network!
      const topics = [`${how}-plain`, `${how}-idempotent`]
      for (const topic of topics) await whole.createTopic(topic, PARTITIONS)
      const writers = [
        new KafkajsWriter(whole.bootstrap, topics[0]!, `p-${how}`, PARTITIONS),
        new IdempotentKafkajsWriter(whole.bootstrap, topics[1]!, `i-${how}`, PARTITIONS),
      ]
      const access = accessOf(whole, PARTITIONS)
      const committer = new Committer(`${how}-commits`, topics[0]!, access.coordinator, undefined)
      const history = new History()
      history.begin(topics)
      await Promise.all(writers.map((writer) => writer.start()))
      committer.start()
      await sleep(500)
      const victim = await whole.leaderOf(topics[0]!, 0)
      const stale = await RawConnection.open(whole.brokers[victim]!.port, whole.brokers[victim]!.host)
      network.isolate(victim, how)
      try {
        await eventually('another leader', 20_000, async () =>
          (await leaderSeenBy(whole, (victim + 1) % 3, topics[0]!)) !== victim + 1 ? true : undefined,
        )
        // It must not take what it cannot replicate, and must not claim that it could.
        const batch = recordBatch({ values: [Buffer.from(`p-${how}-0`)] })
        const answer = await produce(stale, topics[0]!, 0, batch)
        assert.notEqual(answer.error, 0, 'a leader that is cut off acknowledges nothing')
        const counts = writers.map(({ acknowledged }) => acknowledged.length)
        await eventually('further acknowledgements', 30_000, async () =>
          writers.every(({ acknowledged }, at) => acknowledged.length > counts[at]! + 30) ? true : undefined,
        )
      } finally {
        network.healAll()
        stale.close()
        await Promise.all([...writers.map((writer) => writer.stop()), committer.stop()])
      }
      history.add(writers, committer)
      await history.check(how, access)
      assert.equal(history.bad, 0, `${history.report()}\n${history.complaints.join('\n')}\n${whole.outputs()}`)
      for (const topic of topics) await whole.inSync(topic)
    })
  }

  test('a broker that is cut off tells its clients of all brokers and the last leaders, and is no controller', async () => {
    const whole = await started()
    const network = whole.network!
    await whole.createTopic('told', 3, {}, [
      [1, 2, 3],
      [2, 3, 1],
      [3, 1, 2],
    ])
    await whole.inSync('told')
    const before = await metadataOf(whole, 0, 'told')
    const controller = await eventually('a controller', 20_000, async () => {
      const { controllerId } = await metadataOf(whole, 0, 'told')
      return controllerId > 0 ? controllerId : undefined
    })
    // The controller itself, then a follower of it.
    for (const victim of [controller - 1, controller % 3]) {
      network.isolate(victim, 'both')
      try {
        await eventually('another leader', 20_000, async () =>
          (await leaderSeenBy(whole, (victim + 1) % 3, 'told')) > 0 ? true : undefined,
        )
        await sleep(2000)
        const told = await metadataOf(whole, victim, 'told')
        assert.deepEqual(
          [told.brokers, told.errors, told.offline],
          [
            [1, 2, 3],
            [0, 0, 0],
            [[], [], []],
          ],
        )
        assert.notEqual(told.controllerId, victim + 1)
        assert.ok(told.brokers.includes(told.controllerId))
        const others = await metadataOf(whole, (victim + 1) % 3, 'told')
        assert.ok(!others.brokers.includes(victim + 1), 'those who have a majority know that it is gone')
      } finally {
        network.healAll()
      }
      await whole.inSync('told')
      await eventually('the same answers everywhere', 20_000, async () => {
        const answers = await Promise.all([0, 1, 2].map((at) => metadataOf(whole, at, 'told')))
        const controllers = new Set(answers.map(({ controllerId }) => controllerId))
        return controllers.size === 1 && answers.every(({ brokers }) => brokers.length === 3) ? true : undefined
      })
    }
    assert.deepEqual(before.brokers, [1, 2, 3])
  })
})

test('a broker that stood still knows, when it goes on, what the others have changed meanwhile', async () => {
  const cluster = closing(await MillraceCluster.start({ shards: 2, memory: '64m' }))
  await cluster.createTopic('before', 1)
  const victim = cluster.brokers[2]!
  for (let round = 0; round < 3; round++) {
    const wires = await Promise.all(Array.from({ length: 4 }, () => Wire.open(victim)))
    // Compiled, and connected with every shard.
    for (const wire of wires) await wire.call(api.metadata, 12, { topics: null })
    process.kill(victim.pid, 'SIGSTOP')
    try {
      await sleep(1200)
      const admin = await Wire.open(cluster.brokers[0]!)
      const name = `meanwhile-${round}`
      const { topics } = await admin.call(api.createTopics, 7, {
        topics: [{ name, numPartitions: 1, replicationFactor: 2, assignments: [], configs: [] }],
        timeoutMs: 10_000,
        validateOnly: false,
      })
      assert.equal(topics[0]?.errorCode, 0)
      admin.close()
      // The first thing that it finds when it goes on.
      const asked = { topics: [{ name }], allowAutoTopicCreation: false }
      const answers = wires.map((wire) => wire.call(api.metadata, 12, asked))
      await sleep(50)
      process.kill(victim.pid, 'SIGCONT')
      for (const { topics } of await Promise.all(answers)) assert.equal(topics[0]?.errorCode, 0, `round ${round}`)
    } finally {
      process.kill(victim.pid, 'SIGCONT')
      for (const wire of wires) wire.close()
    }
    await cluster.inSync('before')
  }
})

async function metadataOf(cluster: MillraceCluster, at: number, topic: string) {
  const { port, host } = cluster.brokers[at]!
  const wire = await Wire.open({ port, host })
  try {
    const { brokers, controllerId, topics } = await wire.call(api.metadata, 12, { topics: [{ name: topic }] })
    const partitions = topics[0]?.partitions ?? []
    return {
      brokers: brokers.map(({ nodeId }) => nodeId),
      controllerId,
      errors: partitions.map(({ errorCode }) => errorCode),
      offline: partitions.map(({ offlineReplicas }) => offlineReplicas),
    }
  } finally {
    wire.close()
  }
}

/** Broker id of the leader of partition 0, as one broker sees it. */
async function leaderSeenBy(cluster: MillraceCluster, at: number, topic: string): Promise<number> {
  const { port, host } = cluster.brokers[at]!
  const wire = await Wire.open({ port, host })
  try {
    const { topics } = await wire.call(api.metadata, 12, { topics: [{ name: topic }] })
    return topics[0]?.partitions.find(({ partitionIndex }) => partitionIndex === 0)?.leaderId ?? -1
  } finally {
    wire.close()
  }
}
