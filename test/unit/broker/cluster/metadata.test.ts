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
  made.setLeaderEpoch(1, 4, 2)
  made.setLeaderEpoch(1, 3, 1)
  made.setLeaderEpoch(77, 1)
  const partition = made.topicByName('a')?.partitions[0]
  assert.deepEqual([partition?.leader, partition?.leaderEpoch], [2, 4])
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
  for (let groupId = 1; groupId <= 50_000; groupId++) made.setLeaderEpoch(groupId, 1)
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
  assert.throws(() => MetadataImage.deserialize(bytes({ format: 2 }), new BrokerConfig()), refused(/format 2/))
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
