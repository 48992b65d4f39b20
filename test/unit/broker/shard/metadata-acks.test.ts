// How far brokers have applied the metadata: who is told, who waits for whom, and for how long.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LinkInfo, ShardLinks } from '../../../../broker/replication/link-types.ts'
import { MalformedPeerBytes, PeerKind, PeerReader } from '../../../../broker/replication/peer-wire.ts'
import { MetadataAcks } from '../../../../broker/shard/metadata-acks.ts'
import { ManualClock } from '../cluster/fixture.ts'

/** Broker 1 of three. */
class Bench {
  readonly clock = new ManualClock()
  readonly alive = new Set([2, 3])
  /** `to index` each. */
  readonly said: string[] = []
  leader = 1
  isConnected = true
  flushes = 0
  readonly acks: MetadataAcks

  constructor(hasLinks = true) {
    const links = {
      isAlive: (nodeId: number) => this.alive.has(nodeId),
      begin: (to: number, shard: number, kind: number) => {
        assert.deepEqual([shard, kind], [0, PeerKind.METADATA_APPLIED])
        if (!this.isConnected) return undefined
        return { f64: (index: number) => ({ end: () => this.said.push(`${to} ${index}`) > 0 }) }
      },
    } as unknown as ShardLinks
    this.acks = new MetadataAcks({
      nodeId: 1,
      links: hasLinks ? links : undefined,
      clock: this.clock,
      brokers: () => [1, 2, 3].map((nodeId) => ({ nodeId })),
      leader: () => this.leader,
      wantsFlush: () => {
        this.flushes++
      },
    })
  }

  hears(nodeId: number, index: number): void {
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleLE(index)
    this.acks.onPeer({ nodeId } as LinkInfo, new PeerReader(bytes))
  }
}

async function turn(): Promise<void> {
  for (let left = 0; left < 10; left++) await Promise.resolve()
}

function watched(work: Promise<void>): { isDone: boolean } {
  const seen = { isDone: false }
  void work.then(() => {
    seen.isDone = true
  })
  return seen
}

test('a change waits for every other live broker, and for exactly that change', async () => {
  const made = new Bench()
  made.hears(2, 4)
  const [four, five] = [watched(made.acks.whenElsewhere(4)), watched(made.acks.whenElsewhere(5))]
  await turn()
  assert.deepEqual([four.isDone, five.isDone], [false, false])
  made.hears(3, 4)
  await turn()
  assert.deepEqual([four.isDone, five.isDone], [true, false])
  made.hears(2, 5)
  made.hears(3, 7)
  await turn()
  assert.equal(five.isDone, true)
  assert.equal(made.clock.timerCount, 0)
  await made.acks.whenElsewhere(5)
})

test('a broker that is dead, or falls silent, is waited for no more', async () => {
  const made = new Bench()
  made.alive.delete(3)
  const wait = watched(made.acks.whenElsewhere(1))
  made.hears(2, 1)
  await turn()
  assert.equal(wait.isDone, true)
  const next = watched(made.acks.whenElsewhere(2))
  await turn()
  assert.equal(next.isDone, false)
  made.alive.delete(2)
  made.acks.silent(2)
  await turn()
  assert.equal(next.isDone, true)
})

test('what a broker said before it fell silent counts no more: it may be another process by now', async () => {
  const made = new Bench()
  made.alive.delete(3)
  made.hears(2, 9)
  made.acks.silent(2)
  const wait = watched(made.acks.whenElsewhere(5))
  await turn()
  assert.equal(wait.isDone, false)
  // It has begun anew, with less.
  made.hears(2, 3)
  await turn()
  assert.equal(wait.isDone, false)
  made.hears(2, 5)
  await turn()
  assert.equal(wait.isDone, true)
})

test('a slow broker is waited for a second and not longer', async () => {
  const made = new Bench()
  const wait = watched(made.acks.whenElsewhere(1))
  made.clock.advance(999)
  await turn()
  assert.equal(wait.isDone, false)
  made.clock.advance(1)
  await turn()
  assert.equal(wait.isDone, true)
  assert.equal(made.clock.timerCount, 0)
})

test('what is to be applied here is waited for as long as it takes', async () => {
  const made = new Bench()
  const wait = watched(made.acks.whenHere(3))
  made.clock.advance(1_000_000)
  made.acks.appliedHere(2)
  await turn()
  assert.equal(wait.isDone, false)
  made.acks.appliedHere(3)
  await turn()
  assert.equal(wait.isDone, true)
  await made.acks.whenHere(1)
})

test('the leader is told of every step once, and again when it is another one', () => {
  const made = new Bench()
  made.acks.appliedHere(1)
  assert.deepEqual(made.said, [], 'this broker leads')
  made.leader = 2
  made.acks.tellLeader()
  made.acks.appliedHere(4)
  made.acks.appliedHere(4)
  made.acks.appliedHere(3)
  assert.deepEqual(made.said, ['2 1', '2 4'])
  made.leader = -1
  made.acks.appliedHere(5)
  made.leader = 3
  made.isConnected = false
  made.acks.appliedHere(6)
  assert.equal(made.flushes, 2)
  made.isConnected = true
  made.acks.tellLeader()
  assert.deepEqual(made.said.slice(2), ['3 6'])
  assert.equal(made.flushes, 3)
})

test('nothing is said before anything is applied', () => {
  const made = new Bench()
  made.leader = 2
  made.acks.tellLeader()
  assert.deepEqual(made.said, [])
})

test('a broker alone waits for nobody', async () => {
  const made = new Bench(false)
  await made.acks.whenElsewhere(5)
  made.leader = 2
  made.acks.appliedHere(5)
  assert.deepEqual(made.said, [])
})

test('an index that is none is malformed', () => {
  const made = new Bench()
  assert.throws(() => made.hears(2, 0.5), MalformedPeerBytes)
  assert.throws(() => made.hears(2, Number.NaN), MalformedPeerBytes)
})
