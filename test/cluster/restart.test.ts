// What a broker finds changed when it comes back.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorName } from '../../protocol/errors.ts'
import { closing } from '../support/closing.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { createTopicOnly, RawConnection } from '../support/raw.ts'
import { api, Wire } from '../support/wire.ts'

test('a broker starts although topics that lived on it alone were deleted, and made again, while it was down', async () => {
  const cluster = closing(await MillraceCluster.start({ count: 3, shards: 2, memory: '64m' }))
  const [, , third] = cluster.brokers
  for (let round = 0; round < 3; round++) {
    const alone = [[3], [3], [3], [3]]
    for (const name of ['a', 'b', 'c']) await cluster.createTopic(`${name}-${round}`, 4, {}, alone)
    await third!.kill()
    const wire = await Wire.open(cluster.brokers[0]!)
    const deleted = await wire.call(api.deleteTopics, 5, {
      topicNames: [`a-${round}`, `b-${round}`],
      timeoutMs: 10_000,
    })
    wire.close()
    assert.deepEqual(
      deleted.responses.map(({ errorCode }) => errorName(errorCode)),
      ['NONE', 'NONE'],
    )
    // Not by kafkajs: it looks at all topics first, and some have no leader now.
    const connection = await RawConnection.open(cluster.brokers[0]!.port)
    await createTopicOnly(connection, `d-${round}`, 4)
    connection.close()
    await third!.restart()
    const kept = await cluster.describe(`c-${round}`)
    assert.deepEqual(
      kept.map(({ leader }) => leader),
      [3, 3, 3, 3],
    )
  }
})

test('a broker that is stopped in order leaves partitions of two replicas to the other one, which serves reads', async () => {
  const cluster = closing(await MillraceCluster.start({ count: 3, shards: 2, memory: '64m' }))
  const replicas = [
    [2, 3],
    [2, 1],
    [2, 3],
    [2, 1],
  ]
  await cluster.createTopic('two', 4, {}, replicas)
  await cluster.inSync('two')
  const { code } = await cluster.brokers[1]!.terminate()
  assert.equal(code, 0)
  // The stopped one is missed after 750 ms; what is said then has to last.
  await sleep(2000)
  const left = await cluster.describe('two')
  assert.deepEqual(
    left.map(({ leader }) => leader),
    replicas.map(([, other]) => other),
  )
})
