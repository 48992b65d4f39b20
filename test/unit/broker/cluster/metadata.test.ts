import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Command } from '../../../../broker/cluster/commands.ts'
import { decodeCommand, encodeCommand } from '../../../../broker/cluster/commands.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { newUuid } from '../../../../broker/cluster/uuid.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'

const create = (name: string, partitionCount: number, configs: Record<string, string> = {}): Command => ({
  type: 'create-topic',
  name,
  topicId: `id-of-${name}`,
  assignments: Array.from({ length: partitionCount }, () => [1]),
  configs,
})

const image = (...commands: Command[]) => {
  const made = new MetadataImage(new BrokerConfig())
  for (const command of commands) made.apply(command)
  return made
}

const full: Command[] = [
  { type: 'set-cluster-id', clusterId: 'cluster' },
  {
    type: 'register-broker',
    nodeId: 2,
    host: 'b',
    port: 2,
    rack: 'r',
    endpoints: [{ listener: 'X', host: 'x', port: 9 }],
  },
  { type: 'register-broker', nodeId: 1, host: 'a', port: 1, rack: null, endpoints: [] },
  create('one', 2, { 'retention.ms': '5' }),
  create('two', 1),
  { type: 'add-partitions', topicId: 'id-of-one', firstPartition: 2, assignments: [[1, 2]] },
  create('gone', 3),
  { type: 'delete-topic', topicId: 'id-of-gone' },
  { type: 'set-configs', resource: 'topic', name: 'id-of-two', configs: { 'segment.ms': '7' } },
  { type: 'set-configs', resource: 'broker', name: '', configs: { 'log.retention.ms': '99' } },
  { type: 'set-configs', resource: 'group', name: 'g', configs: { 'consumer.session.timeout.ms': '50000' } },
  { type: 'allocate-producer-ids', token: 't', count: 1000 },
]

test('group numbers begin at 1 and are never used again', () => {
  const made = image(create('a', 2), { type: 'delete-topic', topicId: 'id-of-a' }, create('b', 2))
  assert.deepEqual(
    made.topicByName('b')?.partitions.map(({ groupId }) => groupId),
    [3, 4],
  )
  assert.equal(made.partitionByGroup(1), undefined)
  assert.equal(made.partitionByGroup(4)?.partition.partition, 1)
  assert.equal(made.partitionCount, 2)
})

test('a snapshot gives the same image, byte for byte, and goes on from there', () => {
  const made = image(...full)
  const copy = MetadataImage.deserialize(made.serialize(), new BrokerConfig())
  assert.deepEqual(copy.serialize(), made.serialize())
  assert.equal(copy.clusterId, 'cluster')
  assert.equal(copy.appliedIndex, full.length - 1)
  assert.deepEqual(
    copy.brokers.map(({ nodeId }) => nodeId),
    [1, 2],
  )
  assert.deepEqual(copy.topicByName('one')?.partitions, made.topicByName('one')?.partitions)
  assert.equal(copy.topicByName('one')?.config.retentionMs, 5)
  assert.equal(copy.topicByName('two')?.config.retentionMs, 99)
  assert.equal(copy.resourceConfigs('group', 'g').get('consumer.session.timeout.ms'), '50000')
  for (const next of [made, copy]) next.apply(create('later', 1))
  assert.deepEqual(copy.serialize(), made.serialize())
})

test('the order of the log alone decides: two images of the same commands are the same', () => {
  assert.deepEqual(
    image(...full).serialize(),
    image(...full.map((command) => decodeCommand(encodeCommand(command)))).serialize(),
  )
})

test('a command that no longer fits changes nothing', () => {
  const made = image(create('a', 1))
  const before = [made.topicsVersion, made.partitionCount, made.nextGroupId]
  const late: Command[] = [
    create('a', 5),
    { type: 'delete-topic', topicId: 'id-of-nobody' },
    { type: 'add-partitions', topicId: 'id-of-a', firstPartition: 3, assignments: [[1]] },
    { type: 'add-partitions', topicId: 'id-of-nobody', firstPartition: 0, assignments: [[1]] },
    { type: 'set-configs', resource: 'topic', name: 'id-of-nobody', configs: {} },
  ]
  for (const command of late) assert.deepEqual(made.apply(command), { type: 'none' })
  assert.deepEqual([made.topicsVersion, made.partitionCount, made.nextGroupId], before)
})

test('the cluster keeps its first id', () => {
  const made = image({ type: 'set-cluster-id', clusterId: 'a' }, { type: 'set-cluster-id', clusterId: 'b' })
  assert.equal(made.clusterId, 'a')
})

test('topicsVersion changes with topics and partitions, not with configs', () => {
  const made = image(create('a', 1))
  const first = made.topicsVersion
  made.apply({ type: 'set-configs', resource: 'topic', name: 'id-of-a', configs: { 'segment.ms': '7' } })
  assert.equal(made.topicsVersion, first)
  made.apply({ type: 'add-partitions', topicId: 'id-of-a', firstPartition: 1, assignments: [[1]] })
  assert.notEqual(made.topicsVersion, first)
})

test('apply says what changed', () => {
  const made = image()
  const created = made.apply(create('a', 1))
  assert.equal(created.type === 'topic-created' && created.topic.name, 'a')
  const added = made.apply({ type: 'add-partitions', topicId: 'id-of-a', firstPartition: 1, assignments: [[1], [1]] })
  assert.deepEqual(added.type === 'partitions-added' && added.added.map(({ partition }) => partition), [1, 2])
  const broker = made.apply({
    type: 'set-configs',
    resource: 'broker',
    name: '',
    configs: { 'message.max.bytes': '9' },
  })
  assert.equal(broker.type, 'broker-configs-changed')
  assert.equal(made.topicByName('a')?.config.maxMessageBytes, 9)
  const other = made.apply({
    type: 'set-configs',
    resource: 'broker',
    name: '8',
    configs: { 'message.max.bytes': '7' },
  })
  assert.equal(other.type, 'none')
  const deleted = made.apply({ type: 'delete-topic', topicId: 'id-of-a' })
  assert.equal(deleted.type, 'topic-deleted')
})

test('topics with the same overrides share one effective config', () => {
  const made = image(create('a', 1, { 'segment.ms': '7' }), create('b', 1, { 'segment.ms': '7' }), create('c', 1))
  assert.equal(made.topicByName('a')?.config, made.topicByName('b')?.config)
  assert.notEqual(made.topicByName('a')?.config, made.topicByName('c')?.config)
})

test('a leader announces its epoch, and an older announcement is passed over', () => {
  const made = image(create('a', 1))
  assert.equal(made.partitionByGroup(1)?.partition.leaderEpoch, -1)
  made.setLeader(1, 2, 4)
  made.setLeader(1, 1, 3)
  made.setLeader(77, 1, 1)
  const partition = made.topicByName('a')?.partitions[0]
  assert.deepEqual([partition?.leader, partition?.leaderEpoch], [2, 4])
})

test('an announced leader brings who is in sync, and says whether anything is new', () => {
  const made = image(create('a', 1))
  assert.equal(made.setLeader(1, 2, 4, [2, 1]), true)
  assert.equal(made.setLeader(1, 2, 4, [2, 1]), false)
  assert.equal(made.setLeader(1, 1, 3, [1]), false)
  assert.equal(made.setLeader(1, 2, 4, [2]), true)
  assert.equal(made.setLeader(1, -1, 5), true)
  assert.equal(made.setLeader(77, 1, 9), false)
  const partition = made.partitionByGroup(1)?.partition
  assert.deepEqual([partition?.leader, partition?.leaderEpoch, partition?.isr], [-1, 5, [2]])
})

test('the controller is the announced leader of the metadata group, while it is registered', () => {
  const made = image(...full)
  assert.deepEqual([made.controllerId, made.controllerEpoch], [1, -1])
  assert.equal(made.setLeader(0, 2, 7), true)
  assert.equal(made.setLeader(0, 1, 6), false)
  assert.equal(made.setLeader(0, 2, 7), false)
  assert.deepEqual([made.controllerId, made.controllerEpoch], [2, 7])
  made.apply({ type: 'unregister-broker', nodeId: 2 })
  assert.equal(made.controllerId, 1)
})

const registered = (nodeId: number, directoryId?: string): Command => {
  const base = { type: 'register-broker', nodeId, host: 'h', port: 1, rack: null, endpoints: [] } as const
  return directoryId === undefined ? base : { ...base, directoryId, peer: { host: 'p', port: 2 }, shardCount: 4 }
}

test('each further data directory of a broker id raises its epoch, also across an unregistration', () => {
  const made = image(registered(1), registered(1, 'a'))
  assert.equal(made.directoryEpoch(1), 0)
  made.apply(registered(1, 'a'))
  assert.equal(made.directoryEpoch(1), 0)
  const change = made.apply(registered(1, 'b'))
  assert.ok(change.type === 'broker-registered')
  assert.deepEqual([change.before?.directoryEpoch, change.broker.directoryEpoch], [0, 1])
  made.apply({ type: 'unregister-broker', nodeId: 1 })
  assert.deepEqual([made.broker(1), made.directoryEpoch(1), made.directoryId(1)], [undefined, 1, 'b'])
  const copy = MetadataImage.deserialize(made.serialize(), new BrokerConfig())
  for (const each of [made, copy]) {
    each.apply(registered(1, 'c'))
    assert.equal(each.broker(1)?.directoryEpoch, 2)
  }
  assert.deepEqual([made.broker(1)?.shardCount, made.broker(1)?.peer], [4, { host: 'p', port: 2 }])
})

test('a reassignment keeps everybody who may hold the partition until it is complete', () => {
  const made = image(create('a', 1))
  const location = made.partitionByGroup(1)
  assert.ok(location)
  const { partition } = location
  const started = made.apply({
    type: 'reassign-partition',
    groupId: 1,
    replicas: [2, 3, 1],
    adding: [2, 3],
    removing: [1],
  })
  assert.ok(started.type === 'reassignment-started')
  assert.equal(started.partition, partition)
  assert.deepEqual([partition.replicas, partition.original, partition.founders], [[2, 3, 1], [1], [1]])
  made.setLeader(1, 2, 1, [1, 2, 3])
  const copy = MetadataImage.deserialize(made.serialize(), new BrokerConfig())
  assert.deepEqual(copy.serialize(), made.serialize())
  assert.deepEqual(copy.partitionByGroup(1)?.partition.original, [1])
  for (const late of [[1], [2], [3, 2]]) {
    const none = made.apply({ type: 'complete-reassignment', groupId: 1, targetReplicas: late })
    assert.deepEqual(none, { type: 'none' })
  }
  const completed = made.apply({ type: 'complete-reassignment', groupId: 1, targetReplicas: [2, 3] })
  assert.ok(completed.type === 'reassignment-completed')
  assert.deepEqual(completed.removed, [1])
  assert.deepEqual(
    [partition.replicas, partition.adding, partition.removing, partition.original, partition.founders, partition.isr],
    [[2, 3], [], [], [], [], [2, 3]],
  )
  const again = MetadataImage.deserialize(made.serialize(), new BrokerConfig())
  assert.deepEqual(again.partitionByGroup(1)?.partition.founders, [])
  assert.deepEqual(again.serialize(), made.serialize())
})

test('another order of the same replicas is in force at once', () => {
  const made = image({ ...create('a', 1), assignments: [[1, 2]] } as Command)
  made.apply({ type: 'reassign-partition', groupId: 1, replicas: [2, 1], adding: [], removing: [] })
  const partition = made.partitionByGroup(1)?.partition
  assert.deepEqual([partition?.replicas, partition?.original, partition?.founders], [[2, 1], [], [1, 2]])
})

test('replicas are counted per broker and shard where they are going, from the first question on', () => {
  const made = image(registered(1, 'a'), registered(2, 'b'), create('a', 3))
  const { load } = made
  assert.deepEqual([load.of(1).replicas, load.of(1).leaders, load.of(2).replicas], [3, 3, 0])
  made.apply({ type: 'reassign-partition', groupId: 2, replicas: [2, 1], adding: [2], removing: [1] })
  assert.deepEqual([load.of(1).replicas, load.of(2).leaders, load.of(2).shards[2]?.leaders], [2, 1, 1])
  made.apply({ type: 'complete-reassignment', groupId: 2, targetReplicas: [2] })
  assert.deepEqual([load.of(1).replicas, load.of(2).leaders], [2, 1])
  made.apply(create('b', 1))
  assert.equal(load.of(1).replicas, 3)
  made.apply({ type: 'delete-topic', topicId: 'id-of-a' })
  assert.deepEqual([made.load.of(1).replicas, made.load.of(2).replicas], [1, 0])
  assert.equal(made.load, load)
})

test('which brokers drain is seen by all, and forgotten when the broker has left', () => {
  const made = image(registered(1, 'a'), registered(2, 'b'))
  const drain = {
    type: 'set-configs',
    resource: 'broker',
    name: '2',
    configs: { 'millrace.broker.draining': 'true' },
  } as const
  assert.equal(made.apply(drain).type, 'broker-configs-changed')
  assert.deepEqual([made.isDraining(1), made.isDraining(2)], [false, true])
  assert.equal(MetadataImage.deserialize(made.serialize(), new BrokerConfig()).isDraining(2), true)
  made.apply({ type: 'unregister-broker', nodeId: 2 })
  assert.equal(made.isDraining(2), false)
  assert.equal(made.resourceConfigs('broker', '2').size, 0)
})

test('features keep their last level, and level 0 takes one away', () => {
  const made = image({ type: 'set-features', levels: { a: 3, b: 1 } }, { type: 'set-features', levels: { a: 4, b: 0 } })
  assert.deepEqual([...made.features], [['a', 4]])
  assert.deepEqual([...MetadataImage.deserialize(made.serialize(), new BrokerConfig()).features], [['a', 4]])
})

test('a snapshot of a broker that stood alone is read with what it could not know', () => {
  const old = {
    format: 1,
    appliedIndex: 12,
    clusterId: 'c',
    nextGroupId: 3,
    nextProducerId: 1000,
    producerIdToken: 't',
    topicsVersion: 4,
    brokers: [{ nodeId: 1, host: 'h', port: 9092, rack: null, endpoints: [] }],
    topics: [
      [
        'a',
        'id-of-a',
        {},
        [
          [1, [1]],
          [2, [1]],
        ],
      ],
    ],
    configs: [],
  }
  const made = MetadataImage.deserialize(new TextEncoder().encode(JSON.stringify(old)), new BrokerConfig())
  const { directoryId, directoryEpoch, peer, shardCount, joinedAt } = made.broker(1) ?? assert.fail()
  assert.deepEqual(
    { directoryId, directoryEpoch, peer, shardCount, joinedAt },
    {
      directoryId: '',
      directoryEpoch: 0,
      peer: null,
      shardCount: 1,
      joinedAt: 0,
    },
  )
  const { founders, adding, removing } = made.partitionByGroup(2)?.partition ?? assert.fail()
  assert.deepEqual({ founders, adding, removing }, { founders: [1], adding: [], removing: [] })
  made.apply(registered(1, 'a'))
  assert.equal(made.directoryEpoch(1), 0)
})

test('names that differ in dots and underscores collide, before and after a deletion', () => {
  const made = image(create('a.b_c', 1))
  assert.equal(made.collidingTopic('a_b.c'), 'a.b_c')
  assert.equal(made.collidingTopic('a.b_c'), undefined)
  made.apply({ type: 'delete-topic', topicId: 'id-of-a.b_c' })
  assert.equal(made.collidingTopic('a_b.c'), undefined)
})

test('a broker is reached at the address of the listener asked for', () => {
  const made = image(...full)
  assert.equal(made.endpoint(2, 'X')?.port, 9)
  assert.equal(made.endpoint(2, 'PLAINTEXT')?.port, 2)
  assert.equal(made.endpoint(5, 'X'), undefined)
})

test('50,000 partitions are created, announced and snapshotted', () => {
  const made = image()
  for (let count = 0; count < 500; count++) made.apply(create(`topic-${count}`, 100))
  for (let groupId = 1; groupId <= 50_000; groupId++) made.setLeader(groupId, 1, 1, [1])
  const copy = MetadataImage.deserialize(made.serialize(), new BrokerConfig())
  assert.equal(copy.partitionCount, 50_000)
  assert.equal(copy.partitionByGroup(50_000)?.topic.name, 'topic-499')
})

test('a command or snapshot of a newer release is refused with the reason', () => {
  const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))
  const refused = (message: RegExp) => (error: unknown) => error instanceof OperatorError && message.test(error.message)
  assert.throws(
    () => decodeCommand(bytes({ version: 2, type: 'delete-topic', topicId: 'x' })),
    refused(/version 2 of the command delete-topic/),
  )
  assert.throws(() => decodeCommand(bytes({ version: 1, type: 'split-topic' })), refused(/"split-topic"/))
  assert.throws(() => decodeCommand(bytes({ version: 1, type: 'toString' })), refused(/"toString"/))
  assert.throws(() => decodeCommand(bytes(null)), OperatorError)
  assert.throws(() => decodeCommand(Uint8Array.of(0xff)), refused(/not JSON/))
  assert.throws(() => MetadataImage.deserialize(bytes({ format: 3 }), new BrokerConfig()), refused(/format 3/))
  assert.throws(() => MetadataImage.deserialize(Uint8Array.of(1), new BrokerConfig()), OperatorError)
})

test('an id has the form of Kafka and never begins with a dash', () => {
  const dash = Uint8Array.from({ length: 16 }, () => 0xfb)
  const plain = Uint8Array.from({ length: 16 }, () => 1)
  const given = [dash, plain]
  const id = newUuid({ bytes: () => given.shift() ?? plain })
  assert.match(id, /^[A-Za-z0-9_][A-Za-z0-9_-]{21}$/)
  assert.equal(given.length, 0)
})
