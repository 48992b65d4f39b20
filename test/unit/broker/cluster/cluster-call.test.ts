// What brokers ask the controller for themselves: the answers, and what becomes of one that makes no sense.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  askCluster,
  CLUSTER_CALL,
  type ClusterAsk,
  clusterCall,
  type MetadataIndexAnswer,
  type ProducerIdAnswer,
  type RegisterAnswer,
} from '../../../../broker/cluster/cluster-call.ts'
import type { ShardContext } from '../../../../broker/shard/context.ts'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import { call, handlerFixture, travel } from '../handlers/fixture.ts'

const ALLOCATE: ClusterAsk = { type: 'allocate-producer-ids' }

function registration(nodeId: number) {
  return { nodeId, host: `host-${nodeId}`, port: 9092, rack: null, directoryId: `d${nodeId}`, peer: peerOf(nodeId) }
}

const peerOf = (nodeId: number) => ({ host: `peer-${nodeId}.a-long-name-of-a-data-centre.example`, port: 9192 })

/** A controller elsewhere that answers with this text. */
function answering(body: string): ShardContext {
  const askController: ShardContext['askController'] = async (api) =>
    travel(api.response, 0, { body: Buffer.from(body) } as never) as never
  return { askController } as ShardContext
}

test('a registration is answered with the cluster, the directory and the addresses of all brokers', async () => {
  const { shard } = handlerFixture()
  const first = { type: 'register', registration: registration(7), newClusterId: 'not this one' } as const
  const answer = await askCluster<RegisterAnswer>(shard, first)
  assert.deepEqual([answer.error, answer.clusterId, answer.directoryEpoch], [ErrorCode.NONE, 'test-cluster', 0])
  // Broker 1 of the fixture gave no address for brokers.
  assert.deepEqual(answer.peers, [{ nodeId: 7, ...peerOf(7) }])
  assert.equal(answer.metadataIndex, shard.image.appliedIndex)
  const twin = { type: 'register', registration: { ...registration(7), directoryId: 'another' } } as const
  const refused = await askCluster<RegisterAnswer>(shard, twin)
  assert.equal(errorName(refused.error), 'DUPLICATE_BROKER_REGISTRATION')
  assert.equal(refused.clusterId, undefined)
})

test('the answer to a registration is whole, however many brokers there are', async () => {
  const { shard, image } = handlerFixture({}, 0)
  for (let nodeId = 1; nodeId <= 1000; nodeId++) {
    image.apply({ type: 'register-broker', endpoints: [], ...registration(nodeId) })
  }
  const answer = await askCluster<RegisterAnswer>(shard, { type: 'register', registration: registration(1001) })
  assert.equal(answer.error, ErrorCode.NONE)
  assert.equal(answer.peers?.length, 1001)
  assert.deepEqual(answer.peers?.at(-1), { nodeId: 1001, ...peerOf(1001) })
})

test('producer ids come in blocks that do not overlap', async () => {
  const { shard } = handlerFixture()
  const first = await askCluster<ProducerIdAnswer>(shard, ALLOCATE)
  const second = await askCluster<ProducerIdAnswer>(shard, ALLOCATE)
  assert.equal(first.error, ErrorCode.NONE)
  assert.ok(first.count! > 0)
  assert.ok(second.firstProducerId! >= first.firstProducerId! + first.count!)
})

test('without a controller here nothing is decided', async () => {
  const nobody = { controller: undefined } as ShardContext
  for (const ask of [ALLOCATE, { type: 'complete-reassignment', groupId: 1, targetReplicas: [1] }]) {
    const { body } = await clusterCall.serve!(nobody, call(CLUSTER_CALL, 0), {
      body: Buffer.from(JSON.stringify(ask)),
    })
    assert.deepEqual(JSON.parse(Buffer.from(body).toString()), { error: ErrorCode.NOT_CONTROLLER })
  }
})

test('what a newer broker asks for is refused, with a reason', async () => {
  const { shard } = handlerFixture()
  const answer: ProducerIdAnswer = await askCluster(shard, { type: 'fly' } as unknown as ClusterAsk)
  assert.equal(errorName(answer.error), 'UNSUPPORTED_VERSION')
  assert.match(String(answer.message), /fly/)
})

test('an answer that makes no sense is an error that says so, and not an exception', async () => {
  for (const body of ['', '{', 'null', '7', '"NONE"', '[]', '{}', '{"error":"none"}', '{"error":0.5}']) {
    const answer: ProducerIdAnswer = await askCluster(answering(body), ALLOCATE)
    assert.equal(errorName(answer.error), 'UNKNOWN_SERVER_ERROR', body)
    assert.match(String(answer.message), /allocate-producer-ids/)
  }
  assert.deepEqual(await askCluster(answering('{"error":41,"message":null}'), ALLOCATE), { error: 41, message: null })
})

test('a registration that makes no sense is refused, and nobody hears of it', async () => {
  const { shard, image } = handlerFixture()
  const before = image.appliedIndex
  for (const nonsense of [
    null,
    7,
    [],
    {},
    { ...registration(7), nodeId: '7' },
    { ...registration(7), peer: { port: 1 } },
  ]) {
    const ask = { type: 'register', registration: nonsense } as unknown as ClusterAsk
    assert.equal(errorName((await askCluster(shard, ask)).error), 'INVALID_REQUEST', JSON.stringify(nonsense))
  }
  for (const targetReplicas of [undefined, 1, 'x', [1.5], [null], [-1]]) {
    const ask = { type: 'complete-reassignment', groupId: 1, targetReplicas } as unknown as ClusterAsk
    assert.equal(errorName((await askCluster(shard, ask)).error), 'INVALID_REQUEST', JSON.stringify(targetReplicas))
  }
  assert.equal(image.appliedIndex, before)
  assert.equal(image.broker(7), undefined)
})

test('clients are not served', () => {
  assert.throws(
    () => clusterCall.handle({} as ShardContext, call(CLUSTER_CALL, 0), { body: Buffer.from('{}') }),
    /not for clients/,
  )
})

test('how far the metadata are is said by a controller that is sure to be it, and by no other', async () => {
  const { shard, image, log } = handlerFixture()
  const sure = await askCluster<MetadataIndexAnswer>(shard, { type: 'metadata-index' })
  assert.deepEqual([errorName(sure.error), sure.metadataIndex], ['NONE', image.appliedIndex])
  log.failure = new Error('another broker may lead by now')
  const unsure = await askCluster<MetadataIndexAnswer>(shard, { type: 'metadata-index' })
  assert.deepEqual([errorName(unsure.error), unsure.metadataIndex], ['NOT_CONTROLLER', undefined])
})
