import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Command } from '../../../../broker/cluster/commands.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { Placement } from '../../../../broker/cluster/placement.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'

interface About {
  rack?: string
  shardCount?: number
}

const cluster = (brokers: Record<number, About>, ...commands: Command[]) => {
  const made = new MetadataImage(new BrokerConfig())
  for (const [nodeId, { rack = null, shardCount = 1 }] of Object.entries(brokers)) {
    const address = { host: 'h', port: 1, endpoints: [] }
    made.apply({ type: 'register-broker', nodeId: Number(nodeId), rack, shardCount, ...address })
  }
  for (const command of commands) made.apply(command)
  return made
}

const alive = () => true

function placed(
  image: MetadataImage,
  partitionCount: number,
  replicationFactor: number,
  isAlive: (nodeId: number) => boolean = alive,
): readonly (readonly number[])[] {
  const planned = new Placement(image, isAlive).place(partitionCount, replicationFactor)
  assert.ok('assignments' in planned, JSON.stringify(planned))
  return planned.assignments
}

let topics = 0
const create = (assignments: readonly (readonly number[])[]): Command => {
  topics++
  return { type: 'create-topic', name: `t${topics}`, topicId: `id${topics}`, assignments, configs: {} }
}

const tally = <Key>(keys: readonly Key[]): Map<Key, number> => {
  const counts = new Map<Key, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  return counts
}
const spread = (counts: Iterable<number>) => {
  const all = [...counts]
  return Math.max(...all) - Math.min(...all)
}

test('replicas of a partition are on distinct brokers, and leaders and replicas are even within a topic', () => {
  for (const brokers of [3, 4, 5, 7]) {
    const image = cluster(Object.fromEntries(Array.from({ length: brokers }, (_, at) => [at + 1, {}])))
    for (const replicationFactor of [1, 2, 3]) {
      const assignments = placed(image, 2 * brokers, replicationFactor)
      for (const replicas of assignments) assert.equal(new Set(replicas).size, replicationFactor)
      assert.ok(spread(tally(assignments.flat()).values()) <= 2)
      assert.ok(spread(tally(assignments.map(([leader]) => leader)).values()) <= 1)
    }
  }
})

test('replicas are spread over racks as far as there are racks', () => {
  const image = cluster({ 1: { rack: 'a' }, 2: { rack: 'a' }, 3: { rack: 'b' }, 4: { rack: 'b' }, 5: { rack: 'c' } })
  const rackOf = new Map(image.brokers.map(({ nodeId, rack }) => [nodeId, rack]))
  for (const replicas of placed(image, 30, 3)) assert.equal(new Set(replicas.map((id) => rackOf.get(id))).size, 3)
  const two = cluster({ 1: { rack: 'a' }, 2: { rack: 'a' }, 3: { rack: 'b' }, 4: { rack: 'b' } })
  for (const replicas of placed(two, 30, 3)) {
    assert.deepEqual(new Set(replicas.map((id) => rackOf.get(id))), new Set(['a', 'b']))
  }
})

test('topics of one partition go round, also those of one request', () => {
  const image = cluster({ 1: {}, 2: {}, 3: {} })
  const placement = new Placement(image, alive)
  const leaders = Array.from({ length: 6 }, () => {
    const planned = placement.place(1, 1)
    return 'assignments' in planned ? planned.assignments[0]?.[0] : undefined
  })
  assert.deepEqual([...tally(leaders).values()], [2, 2, 2])
})

test('a broker with less gets the first replicas of the next topics, and a topic stays even all the same', () => {
  const image = cluster({ 1: {}, 2: {}, 3: {} }, create(Array(10).fill([1, 2])))
  assert.deepEqual(placed(image, 1, 1), [[3]])
  const leaders = tally(placed(image, 9, 1).flat())
  assert.deepEqual([...leaders.values()], [3, 3, 3])
})

test('further partitions of a topic go where the topic has least', () => {
  const image = cluster({ 1: {}, 2: {}, 3: {} }, create([[1], [1], [2]]))
  const present = image.topicByName(`t${topics}`)?.partitions ?? []
  const planned = new Placement(image, alive).place(3, 1, present)
  assert.ok('assignments' in planned)
  assert.deepEqual([...tally(planned.assignments.flat())].sort(), [
    [2, 1],
    [3, 2],
  ])
})

test('leaders are even over the shards of a broker where the group numbers allow it', () => {
  for (const brokers of [2, 3, 4]) {
    const image = cluster(Object.fromEntries(Array.from({ length: brokers }, (_, at) => [at + 1, { shardCount: 4 }])))
    for (let count = 0; count < 10; count++) image.apply(create(placed(image, 16, 2)))
    for (const { nodeId } of image.brokers) {
      const leaders = image.load.of(nodeId).shards.map((shard) => shard.leaders)
      const even = 160 / brokers / 4
      assert.ok(
        leaders.every((leading) => Math.abs(leading - even) <= even / 4),
        `${brokers} brokers: ${leaders}`,
      )
    }
  }
})

test('dead brokers get replicas only where the living do not suffice, and lead nothing', () => {
  const image = cluster({ 1: {}, 2: {}, 3: {}, 4: {} })
  const isAlive = (nodeId: number) => nodeId !== 2
  assert.ok(!placed(image, 12, 3, isAlive).flat().includes(2))
  const all = placed(image, 12, 4, isAlive)
  for (const replicas of all) assert.notEqual(replicas[0], 2)
  assert.equal(tally(all.flat()).get(2), 12)
})

test('a draining broker gets nothing, and is not counted', () => {
  const drain: Command = {
    type: 'set-configs',
    resource: 'broker',
    name: '2',
    configs: { 'millrace.broker.draining': 'true' },
  }
  const image = cluster({ 1: {}, 2: {}, 3: {} }, drain)
  assert.ok(!placed(image, 12, 2).flat().includes(2))
  assert.deepEqual(new Placement(image, alive).place(1, 3), {
    error: ErrorCode.INVALID_REPLICATION_FACTOR,
    message:
      'Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only ' +
      '2 broker(s) are registered and not being drained.',
  })
})

test('the same image gives the same placement', () => {
  const make = () => cluster({ 3: { rack: 'a' }, 1: { rack: 'b' }, 2: { rack: 'a' } }, create([[1, 2]]))
  assert.deepEqual(placed(make(), 50, 2), placed(make(), 50, 2))
})

test('placing ten thousand partitions on many brokers takes no more than a look at each broker per replica', () => {
  const image = cluster(Object.fromEntries(Array.from({ length: 30 }, (_, at) => [at + 1, { rack: `r${at % 3}` }])))
  assert.equal(placed(image, 10_000, 3).length, 10_000)
})
