// The brokers of a cluster as `millrace broker` sees them, dead ones included.

import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { brokerLoads } from '../../../../broker/cli/client/brokers.ts'
import { Cluster } from '../../../../broker/cli/client/cluster.ts'
import { createTopic } from '../../../../broker/cli/client/topics.ts'
import { ApiKey } from '../../../../protocol/api.ts'
import { FakeBroker } from './fake-broker.ts'

const GONE = { nodeId: 2, host: '127.0.0.1', port: 1 }

describe('a cluster with a dead broker', () => {
  let broker: FakeBroker
  let cluster: Cluster
  /** In the answers of Metadata. */
  let named: { nodeId: number; host: string; port: number }[]

  before(async () => {
    broker = await FakeBroker.start(1)
  })

  after(() => broker.close())
  afterEach(() => cluster.close())

  beforeEach(() => {
    const own = { nodeId: 1, host: '127.0.0.1', port: broker.port }
    named = [own]
    broker.on(ApiKey.Metadata, 4, 9, () => ({
      brokers: named,
      controllerId: named.at(-1)!.nodeId,
      topics: [
        {
          errorCode: 0,
          name: 't',
          partitions: [
            { errorCode: 0, partitionIndex: 0, leaderId: 1, replicaNodes: [1, 2], isrNodes: [1] },
            { errorCode: 5, partitionIndex: 1, leaderId: -1, replicaNodes: [2], isrNodes: [] },
          ],
        },
      ],
    }))
    cluster = new Cluster({ bootstrap: [own], timeoutMs: 5000 })
  })

  test('is listed with it, and with what it holds', async () => {
    broker.on(ApiKey.DescribeCluster, 0, 2, ({ includeFencedBrokers }) => ({
      clusterId: 'c',
      brokers: [
        ...(includeFencedBrokers === true ? [{ brokerId: 2, host: 'gone', port: 1, isFenced: true }] : []),
        { brokerId: 1, host: '127.0.0.1', port: broker.port, isFenced: false },
      ],
    }))
    assert.deepEqual(await brokerLoads(cluster), [
      { nodeId: 1, host: '127.0.0.1', port: broker.port, rack: null, isAlive: true, leads: 1, replicas: 1 },
      { nodeId: 2, host: 'gone', port: 1, rack: null, isAlive: false, leads: 0, replicas: 2 },
    ])
  })

  test('administration goes to another broker when the controller that is named does not answer', async () => {
    named.push(GONE)
    let created = 0
    broker.on(ApiKey.CreateTopics, 2, 4, () => {
      created++
      return { topics: [{ name: 'new', errorCode: 0, errorMessage: null }] }
    })
    await createTopic(cluster, { name: 'new', partitions: 1, replicationFactor: 1, configs: [] }, false)
    assert.equal(created, 1)
  })
})

test('brokers that do not describe their cluster are listed as they name themselves', async () => {
  const older = await FakeBroker.start(7)
  older.on(ApiKey.Metadata, 4, 9, () => ({
    brokers: [{ nodeId: 7, host: '127.0.0.1', port: older.port }],
    controllerId: 7,
    topics: [],
  }))
  const cluster = new Cluster({ bootstrap: [{ host: '127.0.0.1', port: older.port }], timeoutMs: 5000 })
  const loads = await brokerLoads(cluster).finally(() => cluster.close())
  assert.deepEqual(
    loads.map(({ nodeId, isAlive }) => [nodeId, isAlive]),
    [[7, true]],
  )
  await older.close()
})
