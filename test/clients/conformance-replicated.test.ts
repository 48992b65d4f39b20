// What three brokers answer on the data path: leaders and hints, replicas that serve, deleted records, groups whose coordinator dies, and
// a majority that is lost and comes back. In this order, since the last tests kill brokers.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { errorName } from '../../protocol/errors.ts'
import { encodeBatch } from '../../protocol/records/record.ts'
import { MillraceCluster } from '../support/cluster.ts'
import { eventually } from '../support/process.ts'
import { api, Wire } from '../support/wire.ts'

const RACK_AWARE = 'org.apache.kafka.common.replica.RackAwareReplicaSelector'
const RACKS = ['east', 'west', 'west']
const CONSUMER = { replicaId: -1, maxWaitMs: 0, minBytes: 0, sessionId: 0, sessionEpoch: -1, forgottenTopicsData: [] }

// Needs brokers of its own, which it kills.
describe('replicated data path', { skip: process.env.MILLRACE_TEST_BOOTSTRAP !== undefined }, () => {
  let cluster: MillraceCluster
  /** By broker id. */
  const wires = new Map<number, Wire>()
  let topicId = ''
  const name = 'replicated'

  before(async () => {
    cluster = await MillraceCluster.start({ racks: RACKS, properties: { 'replica.selector.class': RACK_AWARE } })
    for (const [at, broker] of cluster.brokers.entries()) wires.set(at + 1, await Wire.open(broker))
    await cluster.createTopic(name, 1, { 'min.insync.replicas': '2' })
    await cluster.inSync(name)
    topicId = (await metadata(1)).topics[0]!.topicId
  })
  after(async () => {
    for (const wire of wires.values()) wire.close()
    await cluster?.close()
  })

  const wire = (nodeId: number): Wire => wires.get(nodeId) ?? assert.fail(`no connection to broker ${nodeId}`)
  const metadata = (nodeId: number) =>
    wire(nodeId).call(api.metadata, 12, { topics: [{ name }], allowAutoTopicCreation: false })
  const leaderSeenBy = async (nodeId: number): Promise<{ leader: number; epoch: number }> => {
    const partition = (await metadata(nodeId)).topics[0]!.partitions[0]!
    return { leader: partition.leaderId, epoch: partition.leaderEpoch }
  }
  const alive = (): number[] => [...wires.keys()]
  const follower = async (): Promise<number> => {
    const { leader } = await leaderSeenBy(alive()[0]!)
    return alive().find((nodeId) => nodeId !== leader)!
  }

  async function produce(nodeId: number, acks = -1, timeoutMs = 5000, topic = name) {
    const records = encodeBatch({ records: [{ value: 'v', timestamp: Date.now() }] })
    const answer = await wire(nodeId).call(api.produce, 11, {
      acks,
      timeoutMs,
      topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
    })
    const { errorCode, currentLeader, baseOffset } = answer.responses[0]!.partitionResponses[0]!
    return { error: errorName(errorCode), currentLeader, baseOffset, endpoints: answer.nodeEndpoints }
  }

  async function fetch(nodeId: number, about: { epoch?: number; offset?: number; rackId?: string } = {}) {
    const asked = {
      partition: 0,
      currentLeaderEpoch: about.epoch ?? -1,
      fetchOffset: about.offset ?? 0,
      partitionMaxBytes: 1 << 20,
    }
    const answer = await wire(nodeId).call(api.fetch, 16, {
      ...CONSUMER,
      maxBytes: 1 << 20,
      isolationLevel: 0,
      topics: [{ topicId, partitions: [asked] }],
      rackId: about.rackId ?? '',
    })
    const shown = answer.responses[0]!.partitions[0]!
    return { ...shown, error: errorName(shown.errorCode), endpoints: answer.nodeEndpoints.map(({ nodeId }) => nodeId) }
  }

  async function listOffset(nodeId: number, timestamp: number, currentLeaderEpoch = -1): Promise<string> {
    const topics = [{ name, partitions: [{ partitionIndex: 0, timestamp, currentLeaderEpoch }] }]
    const answer = await wire(nodeId).call(api.listOffsets, 7, { replicaId: -1, isolationLevel: 0, topics })
    const { errorCode, offset } = answer.topics[0]!.partitions[0]!
    return `${errorName(errorCode)} ${offset}`
  }

  test('every broker names the same leader, and all replicas in sync', async () => {
    const seen = await eventually('one leader', 10_000, async () => {
      const views = await Promise.all(alive().map((nodeId) => leaderSeenBy(nodeId)))
      return views.every(({ leader, epoch }) => leader === views[0]!.leader && epoch === views[0]!.epoch)
        ? views[0]
        : undefined
    })
    assert.ok(seen.leader >= 1 && seen.epoch >= 0)
    const answer = await metadata(3)
    assert.deepEqual(
      answer.brokers.map(({ nodeId, rack }) => [nodeId, rack]),
      RACKS.map((rack, at) => [at + 1, rack]),
    )
    assert.deepEqual([...answer.topics[0]!.partitions[0]!.isrNodes].sort(), [1, 2, 3])
  })

  test('a produce to a follower names the leader and its address', async () => {
    const { leader, epoch } = await leaderSeenBy(1)
    const refused = await produce(await follower())
    assert.equal(refused.error, 'NOT_LEADER_OR_FOLLOWER')
    assert.deepEqual(refused.currentLeader, { leaderId: leader, leaderEpoch: epoch })
    assert.deepEqual(
      refused.endpoints.map(({ nodeId, port }) => [nodeId, port]),
      [[leader, cluster.brokers[leader - 1]!.port]],
    )
    assert.deepEqual([(await produce(leader)).error, (await produce(leader, 1)).error], ['NONE', 'NONE'])
  })

  test('a follower serves what is committed, fences epochs, and leaves what it lacks to the leader', async () => {
    const { epoch } = await leaderSeenBy(1)
    const nodeId = await follower()
    const served = await eventually('the commit is known', 10_000, async () => {
      const shown = await fetch(nodeId)
      return shown.highWatermark === 2 ? shown : undefined
    })
    assert.equal(served.error, 'NONE')
    assert.ok((served.records as Uint8Array).length > 0)
    assert.equal((await fetch(nodeId, { offset: 50 })).error, 'OFFSET_NOT_AVAILABLE')
    assert.equal((await fetch(nodeId, { epoch: epoch + 1 })).error, 'UNKNOWN_LEADER_EPOCH')
    const fenced = await fetch(nodeId, { epoch: epoch - 1 })
    assert.equal(fenced.error, 'FENCED_LEADER_EPOCH')
    assert.equal(fenced.currentLeader.leaderEpoch, epoch)
    assert.deepEqual(fenced.endpoints, [fenced.currentLeader.leaderId])
    assert.equal(await listOffset(nodeId, -1), 'NOT_LEADER_OR_FOLLOWER -1')
    for (const timestamp of [-1, -2]) {
      assert.equal(await listOffset(nodeId, timestamp, epoch), 'NOT_LEADER_OR_FOLLOWER -1')
      assert.equal(await listOffset(nodeId, timestamp, epoch - 1), 'FENCED_LEADER_EPOCH -1')
      assert.equal(await listOffset(nodeId, timestamp, epoch + 1), 'UNKNOWN_LEADER_EPOCH -1')
    }
    const { leader } = await leaderSeenBy(1)
    assert.equal(await listOffset(leader, -1), 'NONE 2')
    assert.equal((await fetch(leader, { offset: 50 })).error, 'OFFSET_OUT_OF_RANGE')
  })

  test('the leader sends a consumer to a replica in its rack, and nobody without need', async () => {
    const { leader } = await leaderSeenBy(1)
    const own = RACKS[leader - 1]!
    const other = own === 'east' ? 'west' : 'east'
    const sent = await fetch(leader, { rackId: other })
    assert.equal(sent.error, 'NONE')
    assert.equal(RACKS[sent.preferredReadReplica - 1], other)
    for (const rackId of [own, '', 'south']) {
      assert.equal((await fetch(leader, { rackId })).preferredReadReplica, -1, `rack '${rackId}'`)
    }
  })

  test('with min.insync.replicas 3 of 3 acks=all is not acknowledged while a follower stands still', async () => {
    const everywhere = 'everywhere'
    await cluster.createTopic(everywhere, 1, { 'min.insync.replicas': '3' })
    await cluster.inSync(everywhere)
    const leader = (await cluster.leaderOf(everywhere, 0)) + 1
    const { child } = cluster.brokers[alive().find((nodeId) => nodeId !== leader)! - 1]!
    await eventually('an acknowledgement by all three', 20_000, async () =>
      (await produce(leader, -1, 5000, everywhere)).error === 'NONE' ? true : undefined,
    )
    child.process.kill('SIGSTOP')
    try {
      const { error } = await produce(leader, -1, 20_000, everywhere)
      assert.ok(['NOT_ENOUGH_REPLICAS', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'].includes(error), error)
    } finally {
      child.process.kill('SIGCONT')
    }
    await eventually('an acknowledgement once it goes on', 30_000, async () => {
      const now = (await cluster.leaderOf(everywhere, 0)) + 1
      return (await produce(now, -1, 5000, everywhere)).error === 'NONE' ? true : undefined
    })
    await cluster.inSync(name)
  })

  test('deleted records are gone on every replica', async () => {
    const { leader } = await leaderSeenBy(1)
    const answer = await wire(leader).call(api.deleteRecords, 2, {
      topics: [{ name, partitions: [{ partitionIndex: 0, offset: 1 }] }],
      timeoutMs: 5000,
    })
    const { errorCode, lowWatermark } = answer.topics[0]!.partitions[0]!
    assert.deepEqual([errorName(errorCode), lowWatermark], ['NONE', 1])
    for (const nodeId of alive()) {
      await eventually(`the log start on broker ${nodeId}`, 10_000, async () =>
        (await fetch(nodeId, { offset: 1 })).logStartOffset === 1 ? true : undefined,
      )
      assert.equal((await fetch(nodeId)).error, 'OFFSET_OUT_OF_RANGE')
    }
  })

  test('a group survives the broker of its coordinator', async () => {
    const groupId = 'survivor'
    const coordinator = (asked: number): Promise<number> =>
      eventually('a coordinator', 20_000, async () => {
        const found = await wire(asked).call(api.findCoordinator, 4, { keyType: 0, coordinatorKeys: [groupId] })
        const { errorCode, nodeId } = found.coordinators[0]!
        return errorCode === 0 ? nodeId : undefined
      })
    const commit = async (nodeId: number, offset: number): Promise<string> => {
      const partitions = [{ partitionIndex: 0, committedOffset: offset, committedMetadata: '' }]
      const answer = await wire(nodeId).call(api.offsetCommit, 8, {
        groupId,
        memberId: '',
        topics: [{ name, partitions }],
      })
      return errorName(answer.topics[0]!.partitions[0]!.errorCode)
    }
    const committed = async (nodeId: number): Promise<string> => {
      const groups = [{ groupId, topics: [{ name, partitionIndexes: [0] }] }]
      const answer = await wire(nodeId).call(api.offsetFetch, 8, { groups, requireStable: false })
      const { errorCode, topics } = answer.groups[0]!
      return `${errorName(errorCode)} ${topics[0]?.partitions[0]?.committedOffset}`
    }
    const first = await coordinator(1)
    await eventually('a loaded group', 20_000, async () => ((await commit(first, 2)) === 'NONE' ? true : undefined))
    assert.equal(await committed(first), 'NONE 2')
    for (const nodeId of alive()) {
      if (nodeId !== first) assert.equal(await committed(nodeId), 'NOT_COORDINATOR undefined')
    }
    wire(first).close()
    wires.delete(first)
    await cluster.brokers[first - 1]!.kill()
    const offset = await eventually('the offset at the next coordinator', 20_000, async () => {
      const nodeId = await coordinator(alive()[0]!)
      const found = nodeId === first ? undefined : await committed(nodeId)
      return found?.startsWith('NONE') ? found : undefined
    })
    assert.equal(offset, 'NONE 2')
  })

  test('two of three go on: the dead one is offline and not listed, and acks=all has its two replicas', async () => {
    const answer = await eventually('a leader among the living', 20_000, async () => {
      const seen = await metadata(alive()[0]!)
      return wires.has(seen.topics[0]!.partitions[0]!.leaderId) ? seen : undefined
    })
    const { leaderId, isrNodes, offlineReplicas, replicaNodes } = answer.topics[0]!.partitions[0]!
    assert.deepEqual(answer.brokers.map(({ nodeId }) => nodeId).sort(), alive().sort())
    assert.deepEqual([...isrNodes].sort(), alive().sort())
    assert.equal(offlineReplicas.length, 1)
    assert.equal(replicaNodes.length, 3)
    assert.ok(alive().includes(answer.controllerId))
    assert.equal((await produce(leaderId)).error, 'NONE')
  })

  test('without a majority the last leader refuses writes and still serves what is committed; then they return', async () => {
    const { leader } = await leaderSeenBy(alive()[0]!)
    const last = alive().find((nodeId) => nodeId !== leader)!
    wire(last).close()
    wires.delete(last)
    await cluster.brokers[last - 1]!.kill()
    const errors = new Set<string>()
    await eventually('NOT_ENOUGH_REPLICAS', 20_000, async () => {
      const { error } = await produce(leader, -1, 500)
      errors.add(error)
      return error === 'NOT_ENOUGH_REPLICAS' ? true : undefined
    })
    for (const error of errors) {
      assert.ok(['NOT_ENOUGH_REPLICAS', 'NOT_LEADER_OR_FOLLOWER', 'REQUEST_TIMED_OUT'].includes(error), error)
    }
    await eventually('it knows that it leads no longer', 20_000, async () =>
      (await listOffset(leader, -1)) === 'NOT_LEADER_OR_FOLLOWER -1' ? true : undefined,
    )
    assert.equal((await produce(leader, 1, 500)).error, 'NOT_LEADER_OR_FOLLOWER')
    const served = await fetch(leader, { offset: 1 })
    assert.equal(served.error, 'NONE')
    assert.equal(served.highWatermark, 3)
    assert.ok((served.records as Uint8Array).length > 0)
    assert.equal(await listOffset(leader, -2), 'NONE 1')
    await cluster.brokers[last - 1]!.restart()
    wires.set(last, await Wire.open(cluster.brokers[last - 1]!))
    await eventually('a write', 30_000, async () => {
      for (const nodeId of alive()) if ((await produce(nodeId, -1, 2000)).error === 'NONE') return true
      return undefined
    })
  })
})
