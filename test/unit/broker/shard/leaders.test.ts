import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import type { LinkInfo, ShardLinks } from '../../../../broker/replication/link-types.ts'
import { PeerReader, type PeerWriter } from '../../../../broker/replication/peer-wire.ts'
import { Leaders } from '../../../../broker/shard/leaders.ts'
import type { Post } from '../../../../broker/shard/post.ts'
import { WireReader, WireWriter } from '../../../../broker/shard/wire.ts'
import { ManualClock } from '../cluster/fixture.ts'

/** Keeps what is written to a peer. */
class Written {
  readonly writer = new WireWriter()
  readonly #done: (bytes: Buffer) => void

  constructor(done: (bytes: Buffer) => void) {
    this.#done = done
    this.writer.begin(0, 0, 0)
  }

  i32(value: number): this {
    this.writer.i32(value)
    return this
  }

  u8(value: number): this {
    this.writer.u8(value)
    return this
  }

  end(): boolean {
    this.#done(Buffer.from(this.writer.finish().subarray(8)))
    return true
  }
}

class World {
  readonly image: MetadataImage
  readonly clock = new ManualClock()
  readonly toShards: { to: number; bytes: Buffer }[] = []
  readonly toBrokers: { to: string; bytes: Buffer }[] = []
  readonly leaders: Leaders
  isConnected = true

  constructor(nodeId: number, shardId = 0, shardCount = 2) {
    this.image = new MetadataImage(new BrokerConfig([['node.id', String(nodeId)]]))
    for (const id of [1, 2]) {
      const broker = { nodeId: id, host: 'h', port: 9092, rack: null, endpoints: [], shardCount: 3 }
      this.image.apply({ type: 'register-broker', ...broker })
    }
    const writer = new WireWriter()
    const links = {
      shardCountOf: () => 3,
      begin: (to: number, shard: number) =>
        this.isConnected
          ? (new Written((bytes) => this.toBrokers.push({ to: `${to}/${shard}`, bytes })) as unknown as PeerWriter)
          : undefined,
    } as unknown as ShardLinks
    const post = {
      message: (kind: number, id: number) => writer.begin(kind, id, 0),
      send: (to: number, message: WireWriter) => this.toShards.push({ to, bytes: Buffer.from(message.finish()) }),
    } as unknown as Post
    this.leaders = new Leaders({
      nodeId,
      shardId,
      shardCount,
      clock: this.clock,
      image: () => this.image,
      post: () => post,
      links,
      wantsFlush: () => {},
    })
  }

  /** One topic; its groups are numbered from 1. */
  createTopic(partitions: number): void {
    const assignments = Array.from({ length: partitions }, () => [1, 2])
    this.image.apply({ type: 'create-topic', name: 't', topicId: 'AAAAAAAAAAAAAAAAAAAAAQ', assignments, configs: {} })
    this.leaders.imageChanged()
  }

  partition(groupId: number) {
    return this.image.partitionByGroup(groupId)!.partition
  }

  async turn(): Promise<void> {
    for (let left = 0; left < 10; left++) await Promise.resolve()
  }
}

const link = (nodeId: number, shardId: number) => ({ nodeId, shardId, shardCount: 3 }) as LinkInfo
const led = (groupId: number, leaderEpoch: number, isr: readonly number[]) => ({ groupId, leaderEpoch, isr })

test('what begins to lead in one turn is told once to every shard and every other broker, and they take it over', async () => {
  const here = new World(1)
  here.createTopic(2)
  here.leaders.leading(led(1, 4, [1, 2]))
  here.leaders.leading(led(2, 5, [1]))
  await here.turn()
  assert.equal(here.toShards.length, 1)
  assert.deepEqual(
    here.toBrokers.map(({ to }) => to),
    ['2/0'],
  )
  const sibling = new World(1, 1)
  sibling.createTopic(2)
  sibling.leaders.onLocal(new WireReader().open(here.toShards[0]!.bytes))
  const other = new World(2)
  other.createTopic(2)
  other.leaders.onPeer(link(1, 0), new PeerReader(here.toBrokers[0]!.bytes))
  for (const world of [here, sibling, other]) {
    assert.deepEqual([world.partition(1).leader, world.partition(1).leaderEpoch], [1, 4])
    assert.deepEqual([...world.partition(2).isr], [1])
  }
  // Whoever hears it from another broker passes it on to the shards beside it.
  const passed = new World(2, 1)
  passed.createTopic(2)
  passed.leaders.onLocal(new WireReader().open(other.toShards[0]!.bytes))
  assert.deepEqual([passed.partition(2).leader, passed.partition(2).leaderEpoch], [1, 5])
})

test('a leader that is announced before its partition is known here counts when the partition comes', async () => {
  const here = new World(1)
  here.createTopic(1)
  here.leaders.leading(led(1, 7, [1]))
  await here.turn()
  const behind = new World(2)
  behind.leaders.onPeer(link(1, 0), new PeerReader(here.toBrokers[0]!.bytes))
  behind.createTopic(1)
  assert.equal(behind.partition(1).leaderEpoch, 7)
  await behind.leaders.known([1], 1000)
})

test('of two leaders that are announced before their partition is known here the one of the newer epoch counts, in any order', async () => {
  const message = (leader: number, epoch: number) =>
    new WireReader().open(Buffer.from(new WireWriter().begin(0, 0, 0).i32(1).i32(leader).i32(epoch).u8(0).finish()))
  for (const epochs of [
    [3, 4],
    [4, 3],
  ]) {
    const behind = new World(2)
    for (const epoch of epochs) behind.leaders.onLocal(message(epoch === 4 ? 2 : 1, epoch))
    behind.createTopic(1)
    assert.deepEqual([behind.partition(1).leader, behind.partition(1).leaderEpoch], [2, 4])
  }
})

test('nobody on any shard of the broker waits for the leader of a group that a failed disk cannot lead', async () => {
  const failed = new World(1)
  failed.createTopic(2)
  const here = failed.leaders.known([1, 2], 60_000)
  failed.leaders.unled([1, 2])
  await here
  const sibling = new World(1, 1)
  sibling.createTopic(2)
  const there = sibling.leaders.known([1, 2], 60_000)
  sibling.leaders.onLocal(new WireReader().open(failed.toShards[0]!.bytes))
  await there
  assert.equal(sibling.partition(1).leaderEpoch, -1)
})

test('known() waits for the leader itself: what a follower believes is not enough', async () => {
  const world = new World(2)
  world.createTopic(1)
  let isKnown = false
  void world.leaders.known([1], 1000).then(() => {
    isKnown = true
  })
  world.leaders.learned(1, 1, 3)
  await world.turn()
  assert.equal(isKnown, false)
  const bytes = new WireWriter().begin(0, 0, 0).i32(1).i32(1).i32(3).u8(1).i32(1).finish()
  world.leaders.onLocal(new WireReader().open(Buffer.from(bytes)))
  await world.turn()
  assert.equal(isKnown, true)
})

test('known() ends in time, and for a group that is gone', async () => {
  const world = new World(1)
  world.createTopic(2)
  const late = world.leaders.known([1], 1000)
  world.clock.advance(1000)
  await late
  const gone = world.leaders.known([2], 1000)
  world.leaders.gone(2)
  await gone
})

test('a broker that could not be reached gets everything as soon as its link is up', async () => {
  const world = new World(1, 1)
  world.createTopic(2)
  world.isConnected = false
  world.leaders.leading(led(1, 1, [1]))
  world.leaders.leading(led(2, 1, [1]))
  await world.turn()
  assert.equal(world.toBrokers.length, 0)
  world.isConnected = true
  world.leaders.peerUp(link(2, 0))
  assert.equal(world.toBrokers.length, 0, 'another shard of this broker tells that one')
  world.leaders.peerUp(link(2, 1))
  assert.equal(world.toBrokers.length, 1)
  assert.equal(world.toBrokers[0]!.to, '2/1')
  assert.equal(world.toBrokers[0]!.bytes.length, 2 * (4 + 4 + 1 + 4))
})

test('who stopped leading is announced no more', async () => {
  const world = new World(1)
  world.createTopic(1)
  world.leaders.leading(led(1, 1, [1]))
  world.leaders.left(1)
  await world.turn()
  assert.equal(world.toShards.length + world.toBrokers.length, 0)
})
