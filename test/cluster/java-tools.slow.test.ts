// Kafka's Java tools against three brokers: what only shows where there are several.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { MillraceCluster } from '../support/cluster.ts'
import { type KafkaTool, kafkaTool, kafkaUnavailable } from '../support/kafka.ts'
import { eventually, removeDirectory, temporaryDirectory } from '../support/process.ts'

interface Described {
  readonly partition: number
  readonly leader: number
  readonly replicas: string
  readonly isr: string
}

describe("Kafka's Java tools and three brokers", { skip: (await kafkaUnavailable()) ?? false }, () => {
  let cluster: MillraceCluster
  let work: string

  before(async () => {
    cluster = await MillraceCluster.start({ memory: '64m', properties: { 'offsets.topic.num.partitions': '2' } })
    work = await temporaryDirectory('java-cluster')
  })
  after(async () => {
    await cluster?.close()
    if (work) removeDirectory(work)
  })

  async function tool(name: KafkaTool, args: readonly string[]): Promise<string> {
    const result = await kafkaTool(name, ['--bootstrap-server', cluster.bootstrap, ...args])
    assert.equal(result.code, 0, `${name} ${args.join(' ')}\n${result.stdout}\n${result.stderr}`)
    return result.stdout
  }

  async function described(topic: string): Promise<Described[]> {
    const lines = (await tool('topics', ['--describe', '--topic', topic])).split('\n')
    return lines.flatMap((line) => {
      const found = /Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: (\S*)/.exec(line)
      if (found === null) return []
      const [, partition, leader, replicas = '', isr = ''] = found
      return [{ partition: Number(partition), leader: Number(leader), replicas, isr: sorted(isr) }]
    })
  }

  const sorted = (list: string) => list.split(',').sort().join()
  const file = (name: string, content: unknown): string => {
    const path = join(work, name)
    writeFileSync(path, JSON.stringify(content))
    return path
  }

  test('kafka-topics shows who is in sync, without a broker and with it', async () => {
    await tool('topics', ['--create', '--topic', 'seen', '--partitions', '3', '--replication-factor', '3'])
    await cluster.inSync('seen')
    for (const { isr } of await described('seen')) assert.equal(isr, '1,2,3')
    await cluster.brokers[2]!.kill()
    await eventually('an ISR without broker 3', 20_000, async () => {
      const partitions = await cluster.describe('seen')
      return partitions.every(({ isr, leader }) => leader > 0 && !isr.includes(3)) ? true : undefined
    })
    for (const { isr, leader } of await described('seen')) {
      assert.equal(isr, '1,2')
      assert.notEqual(leader, 3)
    }
    const short = ['--describe', '--under-replicated-partitions', '--topic', 'seen']
    assert.equal((await tool('topics', short)).match(/Partition: \d/g)?.length, 3)
    await cluster.brokers[2]!.restart()
    await cluster.inSync('seen')
    for (const { isr } of await described('seen')) assert.equal(isr, '1,2,3')
    assert.equal((await tool('topics', short)).match(/Partition: \d/g), null)
  })

  test('kafka-reassign-partitions moves replicas, and says so when it is done', async () => {
    await tool('topics', ['--create', '--topic', 'moved', '--replica-assignment', '1,1'])
    const partitions = [
      { topic: 'moved', partition: 0, replicas: [2, 3] },
      { topic: 'moved', partition: 1, replicas: [3, 1, 2] },
    ]
    const brokerConfigs = ['--describe', '--entity-type', 'brokers', '--entity-name', '2']
    const plan = ['--reassignment-json-file', file('plan.json', { version: 1, partitions })]
    const started = await tool('reassign', [...plan, '--execute', '--throttle', '50000000'])
    assert.match(started, /The inter-broker throttle limit was set to 50000000 B\/s/)
    assert.match(started, /Successfully started partition reassignments/)
    assert.match(await tool('configs', brokerConfigs), /leader\.replication\.throttled\.rate=50000000/)
    await eventually('the reassignment to be complete', 30_000, async () => {
      const text = await tool('reassign', [...plan, '--verify'])
      return text.match(/Reassignment of partition moved-\d is completed/g)?.length === 2 ? true : undefined
    })
    await cluster.inSync('moved')
    const now = await described('moved')
    assert.deepEqual(
      now.map(({ replicas, isr }) => [replicas, isr]),
      [
        ['2,3', '2,3'],
        ['3,1,2', '1,2,3'],
      ],
    )
    assert.ok(now.every(({ leader, partition }) => partitions[partition]?.replicas.includes(leader)))
    assert.match(await tool('reassign', ['--list']), /No partition reassignments found/)
    assert.doesNotMatch(await tool('configs', brokerConfigs), /throttled\.rate=50000000/)
  })

  test('kafka-leader-election gives a partition back to its preferred replica', async () => {
    // Not by itself, or there would be nothing to elect.
    await Promise.all(cluster.brokers.map((broker) => broker.terminate()))
    const properties = { 'auto.leader.rebalance.enable': 'false', 'offsets.topic.num.partitions': '2' }
    await Promise.all(cluster.brokers.map((broker) => broker.restart({ properties })))
    await tool('topics', ['--create', '--topic', 'elected', '--replica-assignment', '2:1:3'])
    await cluster.inSync('elected')
    await cluster.brokers[1]!.terminate()
    await eventually('another leader', 20_000, async () =>
      [0, 2].includes(await cluster.leaderOf('elected', 0)) ? true : undefined,
    )
    await cluster.brokers[1]!.restart({ properties })
    await cluster.inSync('elected')
    assert.notEqual((await described('elected'))[0]?.leader, 2)
    const path = file('election.json', { partitions: [{ topic: 'elected', partition: 0 }] })
    const elect = ['--election-type', 'preferred', '--path-to-json-file', path]
    assert.match(await tool('leader-election', elect), /Successfully completed leader election.*elected-0/)
    assert.equal((await described('elected'))[0]?.leader, 2)
    assert.match(await tool('leader-election', elect), /Valid replica already elected for partitions elected-0/)
  })

  test('kafka-metadata-quorum shows the voters of the metadata, and how far each is', async () => {
    const status = await eventually('three voters', 20_000, async () => {
      const text = await tool('metadata-quorum', ['describe', '--status'])
      return text.match(/CurrentVoters:.*$/m)?.[0].match(/"id": \d/g)?.length === 3 ? text : undefined
    })
    assert.match(status, /LeaderId:\s+[123]/)
    assert.match(status, /CurrentObservers:\s+\[\]/)
    const replication = await tool('metadata-quorum', ['describe', '--replication'])
    assert.equal(replication.match(/\bFollower\b/g)?.length, 2)
    assert.equal(replication.match(/\bLeader\b/g)?.length, 1)
  })
})
