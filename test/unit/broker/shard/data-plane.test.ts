// Appends and reads between two shards: what one asks and the other answers arrives as it was meant.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PartitionRead, PartitionReadResult } from '../../../../broker/partition/read.ts'
import { RefusedSequences } from '../../../../broker/partition/refused-sequences.ts'
import { DataPlane } from '../../../../broker/shard/data-plane.ts'
import type { Post } from '../../../../broker/shard/post.ts'
import { Kind, WireReader, WireWriter } from '../../../../broker/shard/wire.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { Answers, type Bench, bench, offsetsOf, records } from '../partition/fixture.ts'

/** Group 7 belongs to shard 1 of two; messages arrive when they are delivered. */
class TwoShards {
  readonly planes: DataPlane[]
  readonly #mail: { from: number; to: number; bytes: Buffer }[] = []

  constructor(owned: Bench) {
    const arenas = [Buffer.alloc(16), Buffer.from(owned.storage.arena.buffer)]
    this.planes = [0, 1].map(
      (shardId) =>
        new DataPlane({
          shardId,
          shardCount: 2,
          arenas,
          inFlight: { alloc: () => -1, release: () => {} },
          post: () => this.#post(shardId),
          partition: (groupId) => (shardId === 1 && groupId === 7 ? owned.partition : undefined),
          whyMissing: () => ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
          refusedSequences: new RefusedSequences(owned.clock),
        }),
    )
  }

  #post(from: number): Post {
    const writer = new WireWriter()
    return {
      message: (kind: number, id: number) => writer.begin(kind, id, 0),
      send: (to: number, message: WireWriter) => this.#mail.push({ from, to, bytes: Buffer.from(message.finish()) }),
    } as unknown as Post
  }

  deliver(): void {
    for (let next = this.#mail.shift(); next !== undefined; next = this.#mail.shift()) {
      const { from, to, bytes } = next
      const plane = this.planes[to]!
      const id = bytes.readUInt32LE(4)
      const reader = new WireReader().open(bytes)
      if (bytes[0] === Kind.APPEND) plane.onAppend(from, id, reader)
      else if (bytes[0] === Kind.APPENDED) plane.onAppended(id, reader)
      else if (bytes[0] === Kind.READ) plane.onRead(from, id, reader)
      else if (bytes[0] === Kind.READ_DONE) plane.onReadDone(from, id, reader)
      else if (bytes[0] === Kind.RELEASE) plane.onRelease(from, id)
    }
  }

  read(about: Partial<PartitionRead>): PartitionReadResult {
    const read: PartitionRead = {
      groupId: 7,
      fetchOffset: 0,
      maxBytes: 1000,
      currentLeaderEpoch: -1,
      lastFetchedEpoch: -1,
      readCommitted: false,
      fromFollower: false,
      nearReplica: -1,
      topicId: undefined,
      ...about,
    }
    let got: PartitionReadResult | undefined
    const sink = { results: (_owner: number, [result]: readonly PartitionReadResult[]) => (got = result) }
    this.planes[0]!.read(1, [read], [0], 0, sink as never)
    this.deliver()
    assert.ok(got !== undefined)
    return got
  }
}

test('an append from another shard keeps its acks, and a refusal its leader', async () => {
  const owned = await bench({ 'min.insync.replicas': '2' })
  const shards = new TwoShards(owned)
  const answers = new Answers()
  const append = (slot: number, requiresAll: boolean) => {
    shards.planes[0]!.append(7, records(1), requiresAll, undefined, answers, slot)
    shards.deliver()
  }
  owned.replica.leads(3)
  owned.replica.isr = [1]
  append(0, true)
  append(1, false)
  owned.replica.commit()
  shards.deliver()
  owned.replica.follows(2, 4)
  append(2, true)
  assert.deepEqual(answers.text, ['0 NOT_ENOUGH_REPLICAS -1', '1 NONE 0', '2 NOT_LEADER_OR_FOLLOWER -1'])
  assert.deepEqual(answers.results[2]!.result.leader, { leaderId: 2, leaderEpoch: 4 })
})

test('a read from another shard says who asks, and learns where to read and who leads', async () => {
  const owned = await bench()
  const shards = new TwoShards(owned)
  owned.replica.leads(3)
  owned.append(0, records(4))
  owned.replica.commit()
  owned.replica.matchIndexes.set(2, owned.log.lastIndex)
  assert.equal(shards.read({ nearReplica: 2 }).preferredReadReplica, 2)
  assert.deepEqual(shards.read({ currentLeaderEpoch: 2 }).leader, { leaderId: 1, leaderEpoch: 3 })
  assert.deepEqual(shards.read({ fetchOffset: 4, lastFetchedEpoch: 2 }).divergingEpoch, { epoch: 2, endOffset: 0 })
  const served = shards.read({})
  assert.deepEqual([served.preferredReadReplica, served.highWatermark], [-1, 4])
  assert.equal(offsetsOf(served), 4)
  shards.deliver()
  owned.replica.follows(2, 4)
  assert.equal(shards.read({}).error, ErrorCode.NOT_LEADER_OR_FOLLOWER)
  assert.equal(offsetsOf(shards.read({ fromFollower: true, readCommitted: true })), 4)
})
