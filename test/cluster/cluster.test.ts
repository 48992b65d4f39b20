// Three brokers as processes with clients at work: what one of them may lose, and what all of them promise.
//
// One cluster for all tests of the file; each leaves it whole. Long runs with more clients: faults.ts, failover.ts.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ErrorCode, errorName } from '../../protocol/errors.ts'
import { type ClusterBroker, MillraceCluster } from '../support/cluster.ts'
import { eventually } from '../support/process.ts'
import { commitOffset, fetch, listOffset, produce, RawConnection, readAll, recordBatch } from '../support/raw.ts'
import { api, Wire } from '../support/wire.ts'
import { accessOf, Committer, History } from './history.ts'
import { GroupReader } from './readers.ts'
import { IdempotentKafkajsWriter, KafkajsWriter } from './writers.ts'

const PARTITIONS = 3

const batch = (...values: string[]) => recordBatch({ values: values.map((value) => Buffer.from(value)) })

async function withConnection<T>(broker: ClusterBroker, use: (connection: RawConnection) => Promise<T>): Promise<T> {
  const connection = await RawConnection.open(broker.port, broker.host)
  try {
    return await use(connection)
  } finally {
    connection.close()
  }
}

describe('three brokers', () => {
  let cluster: MillraceCluster
  let number = 0

  before(async () => {
    cluster = await MillraceCluster.start({
      memory: '64m',
      properties: { 'offsets.topic.num.partitions': '3', 'group.initial.rebalance.delay.ms': '0' },
      // Not the order of the seeds, and each alone with those before it.
      order: [2, 0, 1],
    })
  })
  after(() => cluster?.close())

  /** Two producers and a consumer group at work while something is done; then everything must be where it belongs. */
  async function underLoad(what: string, act: () => Promise<void>): Promise<void> {
    const topics = [`${what}-plain`, `${what}-idempotent`]
    for (const topic of topics) await cluster.createTopic(topic, PARTITIONS)
    const writers = [
      new KafkajsWriter(cluster.bootstrap, topics[0]!, `p-${what}`, PARTITIONS),
      new IdempotentKafkajsWriter(cluster.bootstrap, topics[1]!, `i-${what}`, PARTITIONS),
    ]
    const access = accessOf(cluster, PARTITIONS)
    const committer = new Committer(`${what}-commits`, topics[0]!, access.coordinator, undefined)
    const reader = new GroupReader(cluster.bootstrap, `${what}-readers`, topics)
    const history = new History()
    history.begin(topics)
    await Promise.all([...writers.map((writer) => writer.start()), reader.start()])
    committer.start()
    try {
      await eventually('the first acknowledgements', 10_000, async () =>
        writers.every(({ acknowledged }) => acknowledged.length > 0) ? true : undefined,
      )
      await act()
      const counts = writers.map(({ acknowledged }) => acknowledged.length)
      await eventually('further acknowledgements', 20_000, async () =>
        writers.every(({ acknowledged }, at) => acknowledged.length > counts[at]! + 30) ? true : undefined,
      )
    } finally {
      // A producer that met an error it may not repeat rejects here.
      await Promise.all([...writers.map((writer) => writer.stop()), committer.stop()])
    }
    history.add(writers, committer)
    await history.check(what, access)
    for (const writer of writers) await reader.caughtUp(writer)
    await reader.stop()
    assert.deepEqual(reader.changed, [])
    assert.equal(history.bad, 0, `${history.report()}\n${history.complaints.join('\n')}\n${cluster.outputs()}`)
  }

  test('started one after another they are one cluster', async () => {
    const wires = await Promise.all(cluster.brokers.map((broker) => Wire.open(broker)))
    const answers = await Promise.all(wires.map((wire) => wire.call(api.metadata, 12, { topics: [] })))
    for (const wire of wires) wire.close()
    for (const { clusterId, brokers, controllerId } of answers) {
      assert.equal(clusterId, answers[0]!.clusterId)
      assert.deepEqual(
        brokers.map(({ nodeId, port }) => [nodeId, port]).sort(),
        cluster.brokers.map(({ port }, at) => [at + 1, port]),
      )
      assert.ok(controllerId >= 1 && controllerId <= 3)
    }
  })

  test('what one broker has answered, every other knows: no client waits after a change', async () => {
    const connections = await Promise.all(cluster.brokers.map(({ port, host }) => RawConnection.open(port, host)))
    const wires = connections.map((connection) => new Wire(connection))
    for (let round = 0; round < 9; round++) {
      const name = `read-your-writes-${round}`
      const by = round % 3
      const created = await wires[by]!.call(api.createTopics, 7, {
        topics: [{ name, numPartitions: 2, replicationFactor: 3, assignments: [], configs: [] }],
        timeoutMs: 10_000,
      })
      assert.equal(created.topics[0]?.errorCode, ErrorCode.NONE)
      // Through each broker: who leads, a record to that leader, and what is there now.
      for (let through = 0; through < 3; through++) {
        const { topics, brokers } = await wires[through]!.call(api.metadata, 12, { topics: [{ name }] })
        const [topic] = topics
        assert.deepEqual([topic?.errorCode, topic?.partitions.length], [ErrorCode.NONE, 2], `through ${through + 1}`)
        for (const { errorCode, leaderId, partitionIndex, replicaNodes } of topic!.partitions) {
          assert.deepEqual([errorCode, replicaNodes.length], [ErrorCode.NONE, 3], `through ${through + 1}`)
          const leader = brokers.find(({ nodeId }) => nodeId === leaderId)!
          const to = connections[cluster.brokers.findIndex(({ port }) => port === leader.port)]!
          const answer = await produce(to, name, partitionIndex, batch(`${through}`))
          assert.deepEqual([answer.error, answer.baseOffset], [ErrorCode.NONE, through], `through ${through + 1}`)
        }
      }
      const altered = await wires[by]!.call(api.incrementalAlterConfigs, 1, {
        resources: [
          {
            resourceType: 2,
            resourceName: name,
            configs: [{ name: 'retention.ms', configOperation: 0, value: `${1000 + round}` }],
          },
        ],
        validateOnly: false,
      })
      assert.equal(altered.responses[0]?.errorCode, ErrorCode.NONE)
      for (const wire of wires) {
        const { results } = await wire.call(api.describeConfigs, 4, {
          resources: [{ resourceType: 2, resourceName: name, configurationKeys: ['retention.ms'] }],
        })
        assert.equal(results[0]?.configs[0]?.value, `${1000 + round}`)
      }
      const deleted = await wires[by]!.call(api.deleteTopics, 5, { topicNames: [name], timeoutMs: 10_000 })
      assert.equal(deleted.responses[0]?.errorCode, ErrorCode.NONE)
      for (const wire of wires) {
        const { topics } = await wire.call(api.metadata, 12, { topics: [{ name }], allowAutoTopicCreation: false })
        assert.equal(topics[0]?.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      }
    }
    for (const connection of connections) connection.close()
  })

  for (const at of [0, 1, 2]) {
    test(`producers and a consumer group go on when broker ${at + 1} is killed`, async () => {
      await underLoad(`kill-${at + 1}`, async () => {
        await cluster.brokers[at]!.kill()
        await sleep(1500)
        await cluster.brokers[at]!.restart()
      })
      await cluster.inSync(`kill-${at + 1}-plain`)
    })
  }

  test('a rolling restart costs no client an error that it may not repeat', async () => {
    await underLoad('rolling', async () => {
      for (const broker of cluster.brokers) {
        const { code } = await broker.terminate()
        assert.equal(code, 0, broker.child.stderr)
        await broker.restart()
        await cluster.inSync('rolling-plain')
        await cluster.inSync('rolling-idempotent')
      }
    })
  })

  test('a broker that stands still for a while loses nothing and invents nothing', async () => {
    await underLoad('still', async () => {
      const { child } = cluster.brokers[await cluster.leaderOf('still-plain', 0)]!
      child.process.kill('SIGSTOP')
      await sleep(2500)
      child.process.kill('SIGCONT')
    })
  })

  test('leadership comes back to where it belongs', async () => {
    await eventually('preferred leaders', 30_000, async () => {
      const partitions = await cluster.describe('rolling-plain')
      return partitions.every(({ leader, replicas }) => leader === replicas[0]) ? true : undefined
    })
  })

  test('without a majority writes are refused and what was committed is served; with it all is well again', async () => {
    const topic = `majority-${number++}`
    await cluster.createTopic(topic, PARTITIONS)
    await cluster.inSync(topic)
    const ledBy = await cluster.describe(topic)
    for (const { leader, partitionId } of ledBy) {
      const answer = await withConnection(cluster.brokers[leader - 1]!, (to) =>
        produce(to, topic, partitionId, batch(`${partitionId}`)),
      )
      assert.equal(answer.error, ErrorCode.NONE)
    }
    const survivorId = ledBy.find(({ partitionId }) => partitionId === 0)!.leader
    const survivor = cluster.brokers[survivorId - 1]!
    const others = cluster.brokers.filter((broker) => broker !== survivor)
    // A follower hears of a commit with the next message, which a kill may come before.
    await withConnection(survivor, async (connection) => {
      for (let partition = 0; partition < PARTITIONS; partition++) {
        await eventually(`the survivor knows what of ${topic}-${partition} is committed`, 10_000, async () =>
          (await fetch(connection, topic, partition, 0)).highWatermark === 1 ? true : undefined,
        )
      }
    })
    await Promise.all(others.map((broker) => broker.kill()))
    await withConnection(survivor, async (connection) => {
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const write = async (acks: number): Promise<string> =>
          errorName((await produce(connection, topic, partition, batch('nobody else has it'), acks)).error)
        // It waits for its commit until the leader has noticed that it leads no more; whoever comes later is refused at once.
        assert.equal(await write(-1), 'NOT_LEADER_OR_FOLLOWER')
        const isLast = ledBy.find(({ partitionId }) => partitionId === partition)!.leader === survivorId
        // acks=all hears from the last leader what Kafka says, but for one answer a second, which sends clients to look elsewhere.
        const beganMs = performance.now()
        const heard: string[] = []
        for (let attempt = 0; attempt < 10; attempt++) {
          assert.equal(await write(1), 'NOT_LEADER_OR_FOLLOWER', 'acks=1 without a majority')
          heard.push(await write(-1))
        }
        const elsewhere = heard.filter((name) => name === 'NOT_LEADER_OR_FOLLOWER').length
        const refused = heard.filter((name) => name === 'NOT_ENOUGH_REPLICAS').length
        assert.equal(elsewhere + refused, heard.length, heard.join(' '))
        const most = isLast ? 1 + Math.floor((performance.now() - beganMs) / 1000) : heard.length
        assert.ok(
          elsewhere <= most && (isLast || elsewhere === heard.length),
          `${heard.join(' ')}, led last: ${isLast}`,
        )
        const read = await fetch(connection, topic, partition, 0)
        assert.equal(read.error, ErrorCode.NONE, `${errorName(read.error)} to a read of what was committed`)
        assert.equal(read.highWatermark, 1)
        const [record] = await readAll(connection, topic, partition)
        assert.equal(String(record?.value), `${partition}`)
      }
      const wire = new Wire(connection)
      const refused = await wire.call(api.createTopics, 7, {
        topics: [{ name: `${topic}-new`, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }],
        timeoutMs: 2000,
      })
      const error = refused.topics[0]!.errorCode
      assert.ok(
        [ErrorCode.NOT_CONTROLLER, ErrorCode.REQUEST_TIMED_OUT].some((code) => code === error),
        `${errorName(error)} to a change without a majority`,
      )
    })
    await Promise.all(others.map((broker) => broker.restart()))
    await cluster.inSync(topic)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const values = await eventually(`a write to ${topic}-${partition}`, 20_000, () =>
        cluster
          .leaderOf(topic, partition)
          .then((leader) =>
            withConnection(cluster.brokers[leader]!, async (to) =>
              (await produce(to, topic, partition, batch('again'))).error === 0
                ? (await readAll(to, topic, partition)).map(({ value }) => String(value))
                : undefined,
            ),
          ),
      )
      assert.deepEqual(
        values.filter((value) => value !== 'nobody else has it'),
        [`${partition}`, 'again'],
      )
    }
  })

  test('a group without its coordinator finds another one, with the offsets that were committed', async () => {
    const topic = `coordinated-${number++}`
    await cluster.createTopic(topic, 1)
    await cluster.inSync('__consumer_offsets')
    const access = accessOf(cluster, 1)
    let connection = await access.coordinator('moving')
    for (let offset = 1; offset <= 5; offset++) {
      // Leadership may still be on its way back to a broker that was started again.
      await eventually(`offset ${offset} committed`, 20_000, async () => {
        const error = await commitOffset(connection, 'moving', topic, 0, offset)
        if (error === ErrorCode.NONE) return true
        assert.equal(errorName(error), 'NOT_COORDINATOR')
        connection.close()
        connection = await access.coordinator('moving')
        return undefined
      })
    }
    const { remotePort } = connection.socket
    connection.close()
    const coordinator = cluster.brokers.find(({ port }) => port === remotePort)!
    await coordinator.kill()
    const history = new History()
    const committer = new Committer('moving', topic, access.coordinator, undefined)
    committer.acknowledged = committer.attempted = 5
    history.begin([])
    history.add([], committer)
    await history.check('moving', access)
    await coordinator.restart()
    assert.deepEqual(history.complaints, [])
  })

  test('what the cluster cannot do is refused with the code for it', async () => {
    const wire = await Wire.open(cluster.brokers[1]!)
    const topic = `refused-${number++}`
    await cluster.createTopic(topic, 1)
    const create = async (replicationFactor: number, brokerIds: number[]): Promise<string> => {
      const assignments = brokerIds.length === 0 ? [] : [{ partitionIndex: 0, brokerIds }]
      const numPartitions = brokerIds.length === 0 ? 1 : -1
      const { topics } = await wire.call(api.createTopics, 7, {
        topics: [{ name: `${topic}-not`, numPartitions, replicationFactor, assignments, configs: [] }],
        timeoutMs: 10_000,
      })
      return errorName(topics[0]!.errorCode)
    }
    assert.equal(await create(4, []), 'INVALID_REPLICATION_FACTOR')
    assert.equal(await create(-1, [1, 9]), 'INVALID_REPLICA_ASSIGNMENT')
    assert.equal(await create(-1, [1, 1]), 'INVALID_REPLICA_ASSIGNMENT')

    const reassign = async (replicas: number[]): Promise<string> => {
      const { responses } = await wire.call(api.alterPartitionReassignments, 0, {
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, replicas }] }],
        timeoutMs: 10_000,
      })
      return errorName(responses[0]!.partitions[0]!.errorCode)
    }
    assert.equal(await reassign([1, 9]), 'INVALID_REPLICA_ASSIGNMENT')
    assert.equal(await reassign([]), 'INVALID_REPLICA_ASSIGNMENT')

    const remove = async (brokerId: number): Promise<string> =>
      errorName((await wire.call(api.unregisterBroker, 0, { brokerId })).errorCode)
    assert.equal(await remove(9), 'BROKER_ID_NOT_REGISTERED')
    for (const brokerId of [1, 2, 3]) assert.equal(await remove(brokerId), 'INVALID_REQUEST')
    wire.close()
    for (const { port, host } of cluster.brokers) {
      const connection = await RawConnection.open(port, host)
      const { error } = await listOffset(connection, `${topic}-not`, 0, -1)
      assert.equal(error, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'nothing was made')
      connection.close()
    }
  })
})
