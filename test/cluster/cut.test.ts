// Connections between brokers that break, in both directions or in one, while clients reach every broker.
//
// Each broker in a network namespace of its own, which takes the right to make them: root and iproute2.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
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
})

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
