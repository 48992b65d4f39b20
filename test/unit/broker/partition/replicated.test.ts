// Partitions on three brokers over the real driver: what a commit alone does not say, and what an old entry no longer says.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../../../broker/environment.ts'
import { Partition, type PartitionHost } from '../../../../broker/partition/partition.ts'
import { RefusedSequences } from '../../../../broker/partition/refused-sequences.ts'
import type { Replica } from '../../../../broker/replication/replica.ts'
import { foundingSnapshot } from '../../../../broker/replication/snapshot-blob.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import { DEFAULT_LOG_CONFIG, type GroupLog } from '../../../../storage/log.ts'
import { silent } from '../cluster/fixture.ts'
import { type Broker, leaderOf, SILENCE_MS, threeBrokers, type World } from '../replication/world.ts'
import { Answers, configOf, records } from './fixture.ts'

const GROUP = 1

const CLOCK: Clock = { nowMs: () => 0, monotonicMs: () => 0, after: () => assert.fail(), soon: () => assert.fail() }
const HOST: PartitionHost = {
  clock: CLOCK,
  logger: silent,
  refusesWrites: false,
  canAccept: () => true,
  onRoom: () => {},
  readBytesLeft: 1 << 20,
  lent: () => {},
  queueBytesLeft: 1 << 20,
  queued: () => {},
  appending: () => {},
  batchBytesMax: 1 << 20,
  refusedSequences: new RefusedSequences(CLOCK),
  producerIdExpirationMs: 86_400_000,
  decompressedBytesMax: 1 << 20,
}

interface Held {
  readonly broker: Broker
  readonly partition: Partition
  readonly replica: Replica
  readonly log: GroupLog
}

/** A replica of the partition, made now unless the broker's disk has it. */
function hold(broker: Broker, minInsync: string, isPreferred = false): Held {
  const founders = [1, 2, 3]
  const config = { ...DEFAULT_LOG_CONFIG, segmentBytes: 64 * 1024 }
  const log = broker.storage.get(GROUP) ?? broker.storage.create(GROUP, '/data/g', config, foundingSnapshot(founders))
  const identity = { topic: 't', topicId: 'AAAAAAAAAAAAAAAAAAAABA', partition: 0 }
  const partition = new Partition(identity, log, configOf({ 'min.insync.replicas': minInsync }), HOST)
  const replica = broker.replication.add(log, partition, { founders, preferred: isPreferred })
  partition.attach(replica)
  broker.replicas.set(GROUP, replica)
  return { broker, partition, replica, log }
}

/** Broker 1 leads, all three are in sync. */
async function ledByFirst(minInsync: string): Promise<{ world: World; held: Held[] }> {
  const world = await threeBrokers()
  const held = [...world.brokers.values()].map((broker) => hold(broker, minInsync, broker.nodeId === 1))
  await world.until(() => leaderOf(world, GROUP) === 1 && held[0]!.replica.inSync().length === 3)
  return { world, held }
}

test('with min.insync.replicas 3 of 3 nothing is acknowledged before the slowest disk has it', async () => {
  const { world, held } = await ledByFirst('3')
  const [leader, , slow] = held as [Held, Held, Held]
  const answers = new Answers()
  slow.broker.stalledUntilMs = world.nowMs + SILENCE_MS / 2
  leader.partition.append(records(2), true, answers, 0)
  leader.partition.append(records(1), false, answers, 1)
  await world.until(() => leader.partition.highWatermark === 3)
  await world.run(SILENCE_MS / 4)
  assert.deepEqual(answers.text, ['1 NONE 2'])
  await world.until(() => answers.results.length === 2)
  assert.deepEqual(answers.text[1], '0 NONE 0')
  assert.equal(slow.log.durableOffset, 3)
  assert.equal(leader.replica.watchesHeld, false)
})

test('with min.insync.replicas 3 of 3 a follower that stays away is an error, and later appends are refused', async () => {
  const { world, held } = await ledByFirst('3')
  const [leader, , away] = held as [Held, Held, Held]
  const answers = new Answers()
  away.broker.stalledUntilMs = world.nowMs + 10 * SILENCE_MS
  leader.partition.append(records(2), true, answers, 0)
  await world.until(() => answers.results.length === 1)
  assert.deepEqual(answers.text, ['0 NOT_ENOUGH_REPLICAS_AFTER_APPEND 0'])
  assert.equal(leader.partition.highWatermark, 2)
  leader.partition.append(records(1), true, answers, 1)
  assert.deepEqual(answers.text[1], '1 NOT_ENOUGH_REPLICAS -1')
  await world.until(() => leader.replica.inSync().length === 3, 20_000)
  leader.partition.append(records(1), true, answers, 2)
  await world.until(() => answers.results.length === 3)
  assert.deepEqual(answers.text[2], '2 NONE 2')
})

test('a leader that is replaced while it waits for a slow member says so, and the next one answers for the duplicate', async () => {
  const { world, held } = await ledByFirst('3')
  const [leader, next, slow] = held as [Held, Held, Held]
  const answers = new Answers()
  slow.broker.stalledUntilMs = world.nowMs + SILENCE_MS / 2
  leader.partition.append(records(2, 0), true, answers, 0)
  await world.until(() => next.partition.highWatermark === 2)
  void leader.replica.transfer(2)
  await world.until(() => next.replica.isLeader && !leader.replica.isLeader)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1'])
  await world.until(() => next.replica.inSync().length === 3)
  next.partition.append(records(2, 0), true, answers, 1)
  await world.until(() => answers.results.length === 2)
  assert.deepEqual(answers.text[1], '1 NONE 0')
  assert.equal(slow.log.durableOffset, 2)
})

test('a replica that catches up from segments takes over what was deleted meanwhile, and keeps it after a restart', async () => {
  const { world, held } = await ledByFirst('2')
  const leader = held[0]!
  const answers = new Answers()
  const value = Buffer.alloc(4000)
  const fill = async (count: number): Promise<void> => {
    for (let at = 0; at < count; at++) {
      leader.partition.append(encodeBatch({ records: [{ value, timestamp: 1 }] }), true, answers, at)
      if (at % 16 === 0) await world.run(3)
    }
    await world.until(() => leader.partition.highWatermark === leader.log.logEndOffset)
  }
  await fill(10)
  await world.until(() => held[2]!.partition.highWatermark === 10)
  const disk = world.kill(3)
  await fill(20)
  const deleted = leader.partition.deleteRecords(25)
  const deletedIndex = leader.log.lastIndex
  await world.run(20)
  assert.deepEqual(await deleted, { error: ErrorCode.NONE, lowWatermark: 25 })
  await fill(100)
  assert.ok(leader.log.laidIndex > deletedIndex, 'the entry lost its payload')
  assert.ok(leader.log.firstIndex < 10, 'no snapshot is needed')
  const back = hold(await world.start(3, disk), '2')
  let lowest = Number.POSITIVE_INFINITY
  await world.until(() => {
    if (back.log.logStartOffset > 0) lowest = Math.min(lowest, back.partition.highWatermark)
    return back.partition.highWatermark === 130
  })
  assert.equal(back.partition.logStartOffset, 25)
  assert.ok(lowest >= 25, `deleted when ${lowest} was committed`)
  await world.run(50)
  const again = hold(await world.start(3, world.kill(3)), '2')
  assert.equal(again.partition.logStartOffset, 25)
})
