import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Command } from '../../../../broker/cluster/commands.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { brokerOf, directoryEpochOf, raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { metadataTargetOf, targetOf } from '../../../../broker/cluster/target.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { InvariantViolation } from '../../../../protocol/invariant.ts'

const register = (nodeId: number, directoryId: string): Command => ({
  type: 'register-broker',
  nodeId,
  host: 'h',
  port: nodeId,
  rack: null,
  endpoints: [],
  directoryId,
})

const image = (...commands: Command[]) => {
  const made = new MetadataImage(new BrokerConfig())
  for (const command of commands) made.apply(command)
  return made
}

const create = (...replicas: number[]): Command => ({
  type: 'create-topic',
  name: 't',
  topicId: 'id',
  assignments: [replicas],
  configs: {},
})

const drain = (nodeId: number, draining: string): Command => ({
  type: 'set-configs',
  resource: 'broker',
  name: String(nodeId),
  configs: { 'millrace.broker.draining': draining },
})

test('a raft id says the broker and which of its directories, up to the largest of both', () => {
  for (const [brokerId, epoch] of [
    [0, 0],
    [2 ** 31 - 1, 0],
    [7, 3],
    [2 ** 31 - 1, 2 ** 21 - 1],
  ] as const) {
    const raftId = raftIdOf(brokerId, epoch)
    assert.ok(Number.isSafeInteger(raftId))
    assert.deepEqual([brokerOf(raftId), directoryEpochOf(raftId)], [brokerId, epoch])
  }
  assert.equal(raftIdOf(5, 0), 5)
  assert.throws(() => raftIdOf(-1, 0), InvariantViolation)
  assert.throws(() => raftIdOf(1, 2 ** 21), InvariantViolation)
})

test('the target of a group is its replicas, with the present directory of each broker', () => {
  const made = image(register(1, 'a'), register(2, 'b'), register(3, 'c'), create(2, 1, 3))
  const partition = made.partitionByGroup(1)?.partition
  assert.ok(partition)
  assert.deepEqual(targetOf(made, partition), { voters: [2, 1, 3], learners: [] })
  made.apply(register(1, 'another'))
  assert.deepEqual(targetOf(made, partition).voters, [2, raftIdOf(1, 1), 3])
  assert.deepEqual(partition.founders, [2, 1, 3])
})

test('the target of a partition on the move is where it goes', () => {
  const made = image(register(1, 'a'), register(2, 'b'), register(3, 'c'), create(1, 2))
  made.apply({ type: 'reassign-partition', groupId: 1, replicas: [3, 2, 1], adding: [3], removing: [1] })
  const partition = made.partitionByGroup(1)?.partition
  assert.ok(partition)
  assert.deepEqual(targetOf(made, partition), { voters: [3, 2], learners: [] })
})

test('the first five brokers to join vote on the metadata, the others follow', () => {
  const joined = [9, 2, 7, 1, 5, 3, 4]
  const made = image(...joined.map((nodeId) => register(nodeId, `d${nodeId}`)))
  assert.deepEqual(metadataTargetOf(made), { voters: [9, 2, 7, 1, 5], learners: [3, 4] })
  made.apply(register(9, 'd9'))
  assert.deepEqual(metadataTargetOf(made).voters, [9, 2, 7, 1, 5])
  made.apply({ type: 'unregister-broker', nodeId: 2 })
  assert.deepEqual(metadataTargetOf(made), { voters: [9, 7, 1, 5, 3], learners: [4] })
  made.apply(register(2, 'd2'))
  assert.deepEqual(metadataTargetOf(made).learners, [4, 2])
})

test('a draining broker gives its vote on the metadata away, unless nobody else is there', () => {
  const made = image(register(1, 'a'), register(2, 'b'), drain(1, 'true'))
  assert.deepEqual(metadataTargetOf(made), { voters: [2], learners: [1] })
  made.apply(drain(2, 'TRUE'))
  assert.deepEqual(metadataTargetOf(made), { voters: [1, 2], learners: [] })
  made.apply(drain(1, 'false'))
  assert.deepEqual(metadataTargetOf(made), { voters: [1], learners: [2] })
})
