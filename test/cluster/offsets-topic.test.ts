// The topic of the groups in a cluster that grew: what groups rely on must not stay on the one broker that was there first.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OFFSETS_TOPIC } from '../../broker/cluster/topic-names.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import { MillraceBroker } from '../support/broker.ts'
import { closing } from '../support/closing.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { eventually, temporaryDirectory } from '../support/process.ts'
import { createTopic, RawConnection } from '../support/raw.ts'
import { api, Wire } from '../support/wire.ts'

const small = { shards: 2, memory: '64m', properties: { 'offsets.topic.num.partitions': '6' } } as const
const groups = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
const TOPIC = 'grown'

type Address = Pick<MillraceBroker, 'host' | 'port'>

async function asked<T>(broker: Address, ask: (wire: Wire) => Promise<T>): Promise<T> {
  const wire = await Wire.open(broker)
  try {
    return await ask(wire)
  } finally {
    wire.close()
  }
}

async function commit(broker: Address, groupId: string, committedOffset: number): Promise<void> {
  await eventually(`an offset of group ${groupId}`, 20_000, () =>
    asked(broker, async (wire) => {
      await wire.call(api.findCoordinator, 4, { keyType: 0, coordinatorKeys: [groupId] })
      const partitions = [{ partitionIndex: 0, committedOffset, committedMetadata: null }]
      const topics = [{ name: TOPIC, partitions }]
      const answer = await wire.call(api.offsetCommit, 7, { groupId, memberId: '', topics })
      const errorCode = answer.topics[0]?.partitions[0]?.errorCode
      if (errorCode !== ErrorCode.NONE) throw new Error(`error ${errorCode}`)
      return true
    }),
  )
}

async function committed(brokers: readonly Address[], groupId: string): Promise<number | undefined> {
  for (const broker of brokers) {
    const answer = await asked(broker, (wire) => wire.call(api.offsetFetch, 7, { groupId, topics: null }))
    if (answer.errorCode === ErrorCode.NONE) return answer.topics[0]?.partitions[0]?.committedOffset
  }
  return undefined
}

test('groups that began on a broker alone survive its loss once two others have joined', async () => {
  const dataDirs = await Promise.all([1, 2, 3].map((id) => temporaryDirectory(`offsets-${id}`)))
  const alone = await MillraceBroker.start({ ...small, dataDir: dataDirs[0]! })
  const connection = await RawConnection.open(alone.port)
  assert.equal(await createTopic(connection, TOPIC, 1), ErrorCode.NONE)
  connection.close()
  for (const [at, group] of groups.entries()) await commit(alone, group, at)
  await alone.terminate()

  const cluster = closing(await MillraceCluster.start({ ...small, dataDirs, order: [0, 1, 2] }))
  await eventually('three replicas of the topic of the groups', 60_000, async () => {
    const partitions = await cluster.describe(OFFSETS_TOPIC)
    const isGrown = partitions.every(({ isr, replicas }) => replicas.length === 3 && isr.length === 3)
    if (!isGrown) throw new Error(JSON.stringify(partitions.map(({ replicas, isr }) => [replicas, isr])))
    return partitions.length === 6 ? true : undefined
  })
  const said = cluster.brokers.map(({ child }) => child.stderr).join('')
  assert.match(said, /there are brokers for more replicas of __consumer_offsets/)
  // They share the work now.
  await eventually('each broker leads some of it', 30_000, async () => {
    const leaders = new Set((await cluster.describe(OFFSETS_TOPIC)).map(({ leader }) => leader))
    return leaders.size === 3 ? true : undefined
  })
  const [first, ...others] = cluster.brokers
  await first!.kill()
  for (const [at, group] of groups.entries()) {
    assert.equal(await eventually(`the offset of ${group}`, 20_000, () => committed(others, group)), at)
  }
})
