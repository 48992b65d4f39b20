// A read that waits at another shard: its watcher hears of what moves there, once for each read, and of nothing after its end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PartitionRead, PartitionReadResult } from '../../../../broker/partition/read.ts'
import { RefusedSequences } from '../../../../broker/partition/refused-sequences.ts'
import { DataPlane } from '../../../../broker/shard/data-plane.ts'
import type { Post } from '../../../../broker/shard/post.ts'
import { Kind, WireReader, WireWriter } from '../../../../broker/shard/wire.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { type Bench, bench, records } from '../partition/fixture.ts'

const GROUP = 7

/** Shard 1 of three has the group, the others ask it. */
class Shards {
  readonly planes: DataPlane[]
  #mail: { from: number; to: number; bytes: Buffer }[] = []

  constructor(owned: Bench) {
    const arenas = [Buffer.alloc(16), Buffer.from(owned.storage.arena.buffer), Buffer.alloc(16)]
    this.planes = [0, 1, 2].map(
      (shardId) =>
        new DataPlane({
          shardId,
          shardCount: 3,
          arenas,
          inFlight: { alloc: () => -1, release: () => {} },
          post: () => this.#post(shardId),
          partition: (groupId) => (shardId === 1 && groupId === GROUP ? owned.partition : undefined),
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

  /** Kinds of what is under way. */
  get kinds(): number[] {
    return this.#mail.map(({ bytes }) => bytes[0]!)
  }

  deliver(): void {
    for (const { from, to, bytes } of this.#mail.splice(0)) {
      const plane = this.planes[to]!
      const id = bytes.readUInt32LE(4)
      const reader = new WireReader().open(bytes)
      if (bytes[0] === Kind.READ) plane.onRead(from, id, reader)
      else if (bytes[0] === Kind.READ_DONE) plane.onReadDone(from, id, reader)
      else if (bytes[0] === Kind.RELEASE) plane.onRelease(from, id)
      else if (bytes[0] === Kind.NOTIFY) plane.onNotify(id, reader)
      else if (bytes[0] === Kind.UNWATCH) plane.onUnwatch(from, id)
      else assert.fail(`a message of kind ${bytes[0]}`)
    }
  }

  settle(): void {
    while (this.#mail.length > 0) this.deliver()
  }
}

/** A long poll on one shard. */
class Poll {
  readonly heard: number[] = []
  readonly bytes: number[] = []
  readonly id: number
  readonly #shards: Shards
  readonly #at: number

  constructor(shards: Shards, at: number) {
    this.#shards = shards
    this.#at = at
    this.id = shards.planes[at]!.newWatch(this)
  }

  moved(slot: number): void {
    this.heard.push(slot)
  }

  results(_owner: number, results: readonly PartitionReadResult[]): void {
    for (const result of results) {
      this.bytes.push(result.bytes)
      result.release()
    }
  }

  read(slot: number, fetchOffset: number, groupId = GROUP): void {
    const read: PartitionRead = {
      groupId,
      fetchOffset,
      maxBytes: 1000,
      currentLeaderEpoch: -1,
      lastFetchedEpoch: -1,
      readCommitted: false,
      fromFollower: false,
      nearReplica: -1,
      topicId: undefined,
    }
    this.#shards.planes[this.#at]!.read(1, [read], [slot], this.id, this)
    this.#shards.settle()
  }

  end(): void {
    this.#shards.planes[this.#at]!.endWatch(this.id, this, [1], this.#at === 1 ? [GROUP] : [])
  }
}

async function shards(): Promise<{ owned: Bench; all: Shards; write(): void }> {
  const owned = await bench()
  owned.replica.leads(1)
  const all = new Shards(owned)
  const write = (): void => {
    owned.append(0, records(1))
    owned.replica.commit()
    all.settle()
  }
  return { owned, all, write }
}

test('a poll on any shard hears in its own number of a partition that moves, once for each read', async () => {
  const { all, write } = await shards()
  const polls = [0, 1, 2].map((at) => new Poll(all, at))
  for (const [at, poll] of polls.entries()) poll.read(10 + at, 0)
  write()
  write()
  assert.deepEqual(
    polls.map(({ heard }) => heard),
    [[10], [11], [12]],
  )
  for (const [at, poll] of polls.entries()) poll.read(20 + at, 2)
  write()
  assert.deepEqual(
    polls.map(({ heard }) => heard),
    [
      [10, 20],
      [11, 21],
      [12, 22],
    ],
  )
  assert.deepEqual(
    polls.map(({ bytes }) => bytes),
    Array(3).fill([0, 0]),
  )
})

test('two polls of one shard are told apart', async () => {
  const { all, write } = await shards()
  const [first, second] = [new Poll(all, 0), new Poll(all, 0)]
  first.read(1, 0)
  second.read(2, 0)
  first.end()
  all.settle()
  write()
  assert.deepEqual([first.heard, second.heard], [[], [2]])
})

test('a poll that has ended hears nothing, neither of what was under way nor of what comes', async () => {
  const { owned, all, write } = await shards()
  const poll = new Poll(all, 0)
  poll.read(1, 0)
  owned.append(0, records(1))
  owned.replica.commit()
  assert.deepEqual(all.kinds, [Kind.NOTIFY])
  poll.end()
  all.settle()
  assert.deepEqual(poll.heard, [])
  write()
  assert.deepEqual(poll.heard, [])
})

test('the end of a poll takes its watch off the partition: nothing is sent for it any more', async () => {
  const { owned, all } = await shards()
  const polls = [new Poll(all, 0), new Poll(all, 2)]
  for (const poll of polls) poll.read(1, 0)
  polls[0]!.end()
  all.settle()
  owned.append(0, records(1))
  owned.replica.commit()
  assert.deepEqual(all.kinds, [Kind.NOTIFY], 'to the other shard alone, though both polls have the same number')
  all.settle()
  assert.deepEqual(
    polls.map(({ heard }) => heard),
    [[], [1]],
  )
  polls[0]!.end()
  all.settle()
})

test('a poll hears of a lost leadership like of new records', async () => {
  const { owned, all } = await shards()
  const poll = new Poll(all, 2)
  poll.read(5, 0)
  owned.replica.follows(2, 2)
  all.settle()
  assert.deepEqual(poll.heard, [5])
})

test('a partition that the other shard does not have is answered at once, and not watched', async () => {
  const { all, write } = await shards()
  const poll = new Poll(all, 0)
  poll.read(1, 0, 10)
  assert.deepEqual(poll.bytes, [0])
  write()
  poll.end()
  all.settle()
  assert.deepEqual(poll.heard, [])
})

test('a poll that reads again and again is remembered once for each partition', async () => {
  const { owned, all, write } = await shards()
  const poll = new Poll(all, 0)
  const unwatched: unknown[] = []
  const { unwatch } = owned.partition
  owned.partition.unwatch = (watcher) => {
    unwatched.push(watcher)
    unwatch.call(owned.partition, watcher)
  }
  for (let count = 0; count < 50; count++) {
    poll.read(1, 0)
    write()
  }
  poll.end()
  all.settle()
  assert.equal(unwatched.length, 1)
})
