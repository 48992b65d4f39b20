// A replica that leads, follows, and changes between the two.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { NOBODY } from '../../../../broker/raft/types.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { bench, nameOf, offsetsOf, records, settle } from './fixture.ts'

test('an append is answered when it is committed, with acks=1 as with acks=all', async () => {
  const { replica, answers, append } = await bench()
  replica.leads(1)
  append(0, records(2))
  append(1, records(3), false)
  assert.deepEqual(answers.text, [])
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0', '1 NONE 2'])
})

test('a replica that does not lead refuses and names the leader, by broker and not by directory', async () => {
  const { replica, answers, append } = await bench()
  replica.follows(raftIdOf(2, 5), 4)
  append(0)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1'])
  assert.deepEqual(answers.results[0]!.result.leader, { leaderId: 2, leaderEpoch: 4 })
})

test('an elected replica takes nothing before an entry of its term is committed', async () => {
  const { partition, replica, answers, append } = await bench()
  replica.elected(3)
  append(0)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1'])
  assert.deepEqual(answers.results[0]!.result.leader, { leaderId: 1, leaderEpoch: 3 })
  assert.equal(partition.isTakingOver, true)
  replica.serves()
  append(1)
  replica.commit()
  assert.deepEqual(answers.text.slice(1), ['1 NONE 0'])
})

test('when leadership is lost, appends that wait for the commit hear of the new leader, also those in the queue', async () => {
  const made = await bench()
  const { replica, answers, append, log } = made
  replica.leads(1)
  append(0)
  made.room = false
  append(1)
  append(2)
  replica.follows(2, 2)
  assert.deepEqual(answers.text, [
    '0 NOT_LEADER_OR_FOLLOWER -1',
    '1 NOT_LEADER_OR_FOLLOWER -1',
    '2 NOT_LEADER_OR_FOLLOWER -1',
  ])
  for (const { result } of answers.results) assert.deepEqual(result.leader, { leaderId: 2, leaderEpoch: 2 })
  made.room = true
  await settle(5)
  assert.equal(log.logEndOffset, 1, 'what was queued is never written')
  assert.equal(answers.results.length, 3, 'nobody is answered twice')
})

test('a replica that leads again works a new queue, and the one of before stays given up', async () => {
  const made = await bench()
  const { replica, answers, append, log } = made
  replica.leads(1)
  made.room = false
  append(0)
  replica.follows(2, 2)
  replica.leads(3)
  append(1)
  append(2)
  made.room = true
  await settle(5)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1', '1 NONE 0', '2 NONE 1'])
  assert.equal(log.logEndOffset, 2)
})

test('an append whose batch was cut off is not acknowledged by the commit of what took its place', async () => {
  const { replica, answers, append, log, partition } = await bench()
  replica.leads(1)
  append(0, records(1))
  // The cut is heard of before the new leader is.
  replica.role = 'follower'
  replica.term = 2
  replica.truncates(log.lastIndex)
  replica.receives(2, records(4))
  replica.commit()
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1'])
  assert.equal(partition.highWatermark, 4)
})

test('an append that waits for a log that a snapshot replaces is not acknowledged by what the snapshot covers', async () => {
  const { partition, replica, answers, append } = await bench()
  replica.leads(1)
  append(0)
  replica.role = 'follower'
  replica.term = 2
  partition.install(new Uint8Array(0), 40, 40)
  partition.committed(40)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1'])
})

test('a replica alone whose disk has failed says so to producers and goes on answering readers', async () => {
  const made = await bench()
  const { partition, replica, answers, append, read } = made
  replica.memberIds = [1]
  replica.leads(1)
  append(0, records(2))
  replica.commit()
  made.refusesWrites = true
  replica.follows(NOBODY, 1, true)
  append(1)
  assert.deepEqual(answers.text, ['0 NONE 0', '1 KAFKA_STORAGE_ERROR -1'])
  assert.equal(offsetsOf(read({ fromFollower: false })), 2)
  assert.equal(partition.checkLeader(-1), ErrorCode.NONE)
  assert.equal(partition.confirmLeadership(), true)
  assert.equal(nameOf((await partition.deleteRecords(1)).error), 'KAFKA_STORAGE_ERROR')
})

test('a batch that survives its leader is a duplicate for the next one, and answered when that one has committed it', async () => {
  const { replica, answers, append, log } = await bench()
  replica.follows(2, 1)
  replica.receives(1, records(2, 0))
  replica.commit(1)
  replica.elected(2)
  replica.isServing = true
  append(0, records(2, 0))
  assert.deepEqual(answers.text, [])
  assert.equal(log.logEndOffset, 2)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0'])
})

test('what is cut off is forgotten of the producers, and what takes its place is known', async () => {
  const { partition, replica, answers, append, log } = await bench()
  replica.follows(2, 1)
  replica.receives(1, records(1, 0), records(1, 1))
  replica.commit(log.lastIndex - 1)
  replica.receives(1, records(1, 2))
  replica.follows(3, 2)
  replica.truncates(log.lastIndex - 1)
  assert.equal(log.logEndOffset, 1)
  assert.equal(partition.describeProducers()[0]?.lastSequence, 0)
  replica.receives(2, records(3, 1))
  assert.equal(partition.describeProducers()[0]?.lastSequence, 3)
  replica.leads(3)
  append(0, records(1, 3))
  append(1, records(1, 4))
  replica.commit()
  assert.deepEqual(answers.text, ['0 OUT_OF_ORDER_SEQUENCE_NUMBER -1', '1 NONE 4'])
})

test('a snapshot of producers ahead of the log does not count batches twice', async () => {
  const leader = await bench()
  leader.replica.leads(1)
  leader.append(0, records(1, 0))
  leader.append(1, records(1, 1))
  leader.replica.commit()
  const snapshot = leader.partition.snapshot()
  const follower = await bench()
  follower.replica.follows(2, 1)
  follower.partition.install(snapshot, 0, 0)
  follower.replica.receives(1, records(1, 0), records(1, 1), records(1, 2))
  assert.equal(follower.partition.describeProducers()[0]?.lastSequence, 2)
  follower.replica.commit()
  follower.replica.leads(2)
  follower.append(0, records(1, 1))
  assert.deepEqual(follower.answers.text, ['0 NONE 1'], 'a duplicate, at its place')
})

test('a snapshot holds what is committed and nothing behind it', async () => {
  const { partition, replica, append, log } = await bench()
  replica.leads(1)
  append(0, records(1, 0))
  replica.commit()
  append(1, records(1, 1))
  const other = await bench()
  other.partition.install(partition.snapshot(), log.committedOffset, 0)
  assert.equal(other.partition.describeProducers()[0]?.lastSequence, 0)
  assert.equal(other.partition.highWatermark, 1)
})

test('watchers hear of new data, of a lost leadership, and of a snapshot that moved the end', async () => {
  const { partition, replica, append } = await bench()
  const heard: number[] = []
  const watcher = { moved: (slot: number) => heard.push(slot) }
  replica.leads(1)
  partition.watch(watcher, 1)
  append(0)
  assert.deepEqual(heard, [])
  replica.commit()
  assert.deepEqual(heard, [1])
  partition.watch(watcher, 2)
  replica.follows(2, 2)
  assert.deepEqual(heard, [1, 2])
  partition.watch(watcher, 3)
  partition.install(new Uint8Array(0), 40, 40)
  assert.deepEqual(heard, [1, 2, 3])
})

test('the high watermark of a follower moves with the commit and never back', async () => {
  const { partition, replica } = await bench()
  replica.follows(2, 1)
  replica.receives(1, records(5))
  assert.equal(partition.highWatermark, 0)
  replica.commit()
  assert.equal(partition.highWatermark, 5)
  assert.throws(() => partition.committed(4), /never moves back/)
})

// min.insync.replicas

test('acks=all is refused before the append when too few are in sync, acks=1 is not', async () => {
  const { replica, answers, append, log } = await bench({ 'min.insync.replicas': '2' })
  replica.leads(1)
  replica.isr = [1]
  append(0)
  append(1, records(1), false)
  assert.equal(log.logEndOffset, 1)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NOT_ENOUGH_REPLICAS -1', '1 NONE 0'])
  assert.equal(answers.results[0]!.result.logStartOffset, 0)
})

test('acks=all whose replicas fell behind after the append hears so, and the data stays', async () => {
  const { partition, replica, answers, append } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  append(0)
  append(1, records(1), false)
  replica.isr = [1, 2]
  replica.commit()
  assert.deepEqual(answers.text, ['0 NOT_ENOUGH_REPLICAS_AFTER_APPEND 0', '1 NONE 1'])
  assert.equal(partition.highWatermark, 2)
})

test('min.insync.replicas above the majority: acks=all waits until that many hold the batch, acks=1 for the commit', async () => {
  const { partition, replica, answers, append, log } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  const before = log.lastIndex
  replica.heldIndex = before
  append(0, records(2))
  append(1, records(1), false)
  append(2, records(3))
  assert.equal(replica.watchesHeld, false)
  replica.commit()
  assert.deepEqual(answers.text, ['1 NONE 2'])
  assert.equal(partition.highWatermark, 6, 'readers see what is committed')
  replica.holds(before + 1)
  assert.deepEqual(answers.text.slice(1), [], 'not all of the first batch')
  replica.holds(before + 2)
  assert.deepEqual(answers.text.slice(1), ['0 NONE 0'])
  replica.holds(log.lastIndex)
  assert.deepEqual(answers.text.slice(2), ['2 NONE 3'])
  assert.equal(replica.watchesHeld, false, 'nobody waits any more')
})

test('a batch that enough members hold is acknowledged at the commit and not before', async () => {
  const { replica, answers, append } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  append(0)
  assert.deepEqual(answers.text, [])
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0'])
})

test('acks=all that waits for a member that falls out of sync hears so, and the data stays', async () => {
  const { partition, replica, answers, append, log } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  replica.heldIndex = log.lastIndex
  append(0)
  append(1)
  replica.commit()
  assert.deepEqual(answers.text, [])
  replica.inSyncIs(1, 2)
  assert.deepEqual(answers.text, ['0 NOT_ENOUGH_REPLICAS_AFTER_APPEND 0', '1 NOT_ENOUGH_REPLICAS_AFTER_APPEND 1'])
  assert.equal(partition.highWatermark, 2)
  assert.equal(replica.watchesHeld, false)
  append(2)
  assert.equal(answers.text[2], '2 NOT_ENOUGH_REPLICAS -1')
})

test('acks=all that waits for a member hears of a lost leadership, once', async () => {
  const { replica, answers, append, log } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  replica.heldIndex = log.lastIndex
  append(0)
  replica.commit()
  append(1)
  replica.follows(2, 2)
  assert.deepEqual(answers.text, ['0 NOT_LEADER_OR_FOLLOWER -1', '1 NOT_LEADER_OR_FOLLOWER -1'])
  assert.equal(replica.watchesHeld, false)
  replica.leads(3)
  replica.holds(log.lastIndex)
  assert.equal(answers.text.length, 2)
})

test('a duplicate is acknowledged when enough members hold what it repeats', async () => {
  const { replica, answers, append, log } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  replica.heldIndex = log.lastIndex
  append(0, records(1, 0))
  replica.commit()
  replica.inSyncIs(1, 2)
  replica.inSyncIs(1, 2, 3)
  append(1, records(1, 0))
  assert.deepEqual(answers.text, ['0 NOT_ENOUGH_REPLICAS_AFTER_APPEND 0'])
  append(2, records(1, 0), false)
  assert.deepEqual(answers.text.slice(1), ['2 NONE 0'])
  replica.holds(log.lastIndex)
  assert.deepEqual(answers.text.slice(2), ['1 NONE 0'])
  append(3, records(1, 0))
  assert.deepEqual(answers.text.slice(3), ['3 NONE 0'])
})

test('a lower min.insync.replicas answers those who waited for more', async () => {
  const { replica, answers, append, log, configure } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  replica.heldIndex = log.lastIndex
  append(0)
  replica.commit()
  configure({ 'min.insync.replicas': '2' })
  assert.deepEqual(answers.text, ['0 NONE 0'])
})

test('whoever asks for no more than a majority has nobody asked for more', async () => {
  const { replica, answers, append } = await bench({ 'min.insync.replicas': '2' })
  replica.indexHeldBy = () => assert.fail('a commit says enough')
  replica.leads(1)
  append(0)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0'])
})

test('records of the broker itself wait for the commit only', async () => {
  const { partition, replica, answers, log } = await bench({ 'min.insync.replicas': '3' })
  replica.leads(1)
  replica.heldIndex = log.lastIndex
  partition.appendInternal(records(1), answers, 0)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0'])
})

test('min.insync.replicas counts to the number of replicas at most, and a change of it holds at once', async () => {
  const { replica, answers, append, configure } = await bench({ 'min.insync.replicas': '5' })
  replica.memberIds = [1]
  replica.isr = [1]
  replica.leads(1)
  append(0)
  replica.commit()
  replica.memberIds = [1, 2, 3]
  append(1)
  configure({ 'min.insync.replicas': '1' })
  append(2)
  replica.commit()
  assert.deepEqual(answers.text, ['0 NONE 0', '1 NOT_ENOUGH_REPLICAS -1', '2 NONE 1'])
})

test('records of the broker itself need the replicas before the append; what is committed then counts as written', async () => {
  const { partition, replica, answers } = await bench({ 'min.insync.replicas': '2' })
  replica.leads(1)
  partition.appendInternal(records(1), answers, 0)
  replica.isr = [1]
  replica.commit()
  partition.appendInternal(records(1), answers, 1)
  assert.deepEqual(answers.text, ['0 NONE 0', '1 NOT_ENOUGH_REPLICAS -1'])
})

test('without a majority acks=all hears NOT_ENOUGH_REPLICAS, and once a second that somebody else may lead', async () => {
  const { replica, answers, append, clock } = await bench()
  replica.leads(1)
  replica.follows(NOBODY, 1, true)
  for (let slot = 0; slot < 3; slot++) append(slot)
  append(3, records(1), false)
  clock.advance(1000)
  append(4)
  append(5)
  assert.deepEqual(
    answers.results.map(({ result }) => nameOf(result.error)),
    [
      'NOT_LEADER_OR_FOLLOWER',
      'NOT_ENOUGH_REPLICAS',
      'NOT_ENOUGH_REPLICAS',
      'NOT_LEADER_OR_FOLLOWER',
      'NOT_LEADER_OR_FOLLOWER',
      'NOT_ENOUGH_REPLICAS',
    ],
  )
  replica.follows(2, 2)
  append(6)
  assert.deepEqual(answers.results.at(-1)!.result.leader, { leaderId: 2, leaderEpoch: 2 })
})

// Reads

test('a leader fences older epochs and does not know newer ones', async () => {
  const { replica, read } = await bench()
  replica.leads(4)
  assert.equal(nameOf(read({ currentLeaderEpoch: 3 }).error), 'FENCED_LEADER_EPOCH')
  assert.deepEqual(read({ currentLeaderEpoch: 3 }).leader, { leaderId: 1, leaderEpoch: 4 })
  assert.equal(nameOf(read({ currentLeaderEpoch: 5 }).error), 'UNKNOWN_LEADER_EPOCH')
  assert.equal(nameOf(read({ currentLeaderEpoch: 4 }).error), 'NONE')
})

test('a follower serves what is committed to those who take it, and names the leader to the others', async () => {
  const { replica, read } = await bench()
  replica.follows(2, 3)
  replica.receives(3, records(2), records(3))
  replica.commit(3)
  const refused = read({ fromFollower: false })
  assert.equal(nameOf(refused.error), 'NOT_LEADER_OR_FOLLOWER')
  assert.deepEqual(refused.leader, { leaderId: 2, leaderEpoch: 3 })
  const served = read()
  assert.equal(served.highWatermark, 2)
  assert.equal(offsetsOf(served), 2)
  assert.equal(read({ fetchOffset: 5 }).error, ErrorCode.NONE, 'held, and not committed as far as it knows')
  assert.equal(nameOf(read({ fetchOffset: 6 }).error), 'OFFSET_NOT_AVAILABLE')
  assert.equal(nameOf(read({ currentLeaderEpoch: 2 }).error), 'FENCED_LEADER_EPOCH')
})

test('an offset beyond the end is out of range on the leader only', async () => {
  const { replica, read } = await bench()
  replica.leads(1)
  assert.equal(nameOf(read({ fetchOffset: 1 }).error), 'OFFSET_OUT_OF_RANGE')
  replica.follows(NOBODY, 1, true)
  assert.equal(nameOf(read({ fetchOffset: 1, fromFollower: false }).error), 'OFFSET_NOT_AVAILABLE')
})

test('the epoch of an asker is compared before it is told who does not lead', async () => {
  const { partition, replica } = await bench()
  assert.equal(nameOf(partition.checkLeader(3)), 'NOT_LEADER_OR_FOLLOWER', 'no leader was heard of')
  replica.follows(2, 4)
  for (const check of [
    (epoch: number) => partition.checkLeader(epoch),
    (epoch: number) => partition.checkReader(epoch, false),
  ]) {
    assert.equal(nameOf(check(3)), 'FENCED_LEADER_EPOCH')
    assert.equal(nameOf(check(5)), 'UNKNOWN_LEADER_EPOCH')
    assert.equal(nameOf(check(4)), 'NOT_LEADER_OR_FOLLOWER')
    assert.equal(nameOf(check(-1)), 'NOT_LEADER_OR_FOLLOWER')
  }
  partition.deleted()
  assert.equal(nameOf(partition.checkLeader(5)), 'UNKNOWN_TOPIC_OR_PARTITION')
})

test('a follower that knows more than its leader serves nothing, whoever asks', async () => {
  const { partition, replica, read, append } = await bench()
  replica.leads(1)
  append(0, records(3))
  replica.commit()
  replica.follows(2, 9)
  assert.equal(nameOf(read({ fromFollower: true }).error), 'NONE')
  partition.contradicted(2)
  for (const fromFollower of [true, false]) assert.equal(nameOf(read({ fromFollower }).error), 'KAFKA_STORAGE_ERROR')
  assert.equal(nameOf(partition.checkLeader(-1)), 'KAFKA_STORAGE_ERROR')
})

test('the last leader serves what is committed while nobody newer is known', async () => {
  const { partition, replica, read, append } = await bench()
  replica.leads(1)
  append(0, records(3))
  replica.commit()
  append(1)
  replica.follows(NOBODY, 1, true)
  const served = read({ fromFollower: false, currentLeaderEpoch: 1 })
  assert.equal(served.highWatermark, 3)
  assert.equal(offsetsOf(served), 3)
  assert.equal(nameOf(partition.checkLeader(1)), 'NOT_LEADER_OR_FOLLOWER')
  replica.follows(2, 2)
  assert.equal(nameOf(read({ fromFollower: false }).error), 'NOT_LEADER_OR_FOLLOWER')
})

test('a reader whose last epoch ended earlier is told where, by a follower only of what is committed', async () => {
  const { replica, read, log } = await bench()
  replica.follows(2, 1)
  replica.receives(1, records(3))
  replica.receives(2, records(2))
  replica.commit(log.lastIndex)
  replica.follows(3, 3)
  replica.receives(3, records(4))
  assert.deepEqual(read({ fetchOffset: 5, lastFetchedEpoch: 1 }).divergingEpoch, { epoch: 1, endOffset: 3 })
  assert.equal(read({ fetchOffset: 5, lastFetchedEpoch: 2 }).divergingEpoch, undefined)
  // A reader of the true leader may have more of epoch 2: this follower's epoch 3 proves nothing.
  const ahead = read({ fetchOffset: 7, lastFetchedEpoch: 2 })
  assert.deepEqual([ahead.error, ahead.divergingEpoch], [ErrorCode.NONE, undefined])
})

test('a leader sends a reader to a nearer replica that is in sync and has the offset', async () => {
  const { replica, read, append, log } = await bench()
  replica.leads(1)
  append(0, records(4))
  replica.commit()
  const lastIndex = log.lastIndex
  replica.matchIndexes.set(2, lastIndex).set(3, 1)
  assert.equal(read({ nearReplica: 2 }).preferredReadReplica, 2)
  assert.equal(read({ nearReplica: 2 }).bytes, 0)
  assert.equal(read({ nearReplica: 3, fetchOffset: 4 }).preferredReadReplica, -1, 'it does not have offset 4 yet')
  assert.equal(read({ nearReplica: 3, fetchOffset: 0 }).preferredReadReplica, 3)
  replica.isr = [1, 3]
  assert.equal(offsetsOf(read({ nearReplica: 2 })), 4)
})

test('a leader that is not sure asks a majority before it says that it leads', async () => {
  const { partition, replica } = await bench()
  assert.equal(await partition.confirmLeadership(), false)
  replica.leads(1)
  assert.equal(partition.confirmLeadership(), true)
  replica.hasLease = false
  assert.equal(await partition.confirmLeadership(), true)
  replica.confirms = false
  assert.equal(await partition.confirmLeadership(), false)
})

// Epochs

test('an epoch ends where the next one with records begins', async () => {
  const { partition, replica, log } = await bench()
  replica.follows(2, 0)
  assert.deepEqual(partition.endOffsetOfEpoch(0), { leaderEpoch: 0, endOffset: 0 })
  replica.receives(1, records(3))
  replica.receives(4, records(2))
  replica.leads(6)
  assert.deepEqual(partition.endOffsetOfEpoch(0), { leaderEpoch: 0, endOffset: 0 }, 'from before the log')
  assert.deepEqual(partition.endOffsetOfEpoch(1), { leaderEpoch: 1, endOffset: 3 })
  assert.deepEqual(partition.endOffsetOfEpoch(3), { leaderEpoch: 1, endOffset: 3 })
  assert.deepEqual(partition.endOffsetOfEpoch(4), { leaderEpoch: 4, endOffset: 5 })
  assert.deepEqual(partition.endOffsetOfEpoch(6), { leaderEpoch: 6, endOffset: 5 })
  assert.deepEqual(partition.endOffsetOfEpoch(7), { leaderEpoch: -1, endOffset: -1 })
  assert.deepEqual(
    [0, 2, 3, 4].map((offset) => partition.epochAt(offset)),
    [1, 1, 4, 4],
  )
  assert.equal(log.logEndOffset, 5)
})

// DeleteRecords

test('records are deleted on every replica when a majority has agreed', async () => {
  const leader = await bench()
  leader.replica.leads(1)
  leader.append(0, records(5))
  leader.replica.commit()
  const deleting = leader.partition.deleteRecords(3)
  await settle(3)
  assert.equal(leader.partition.logStartOffset, 0, 'not before the entry is committed')
  const { index, kind, payload } = leader.replica.entries[0]!
  leader.replica.commit()
  leader.storage.storage.flush()
  assert.deepEqual(await deleting, { error: ErrorCode.NONE, lowWatermark: 3 })

  const follower = await bench()
  follower.replica.follows(1, 1)
  follower.replica.receives(1, records(5))
  follower.partition.entry(index, 1, kind, payload)
  assert.equal(follower.partition.logStartOffset, 0, 'not committed here yet')
  follower.replica.commit()
  assert.equal(follower.partition.logStartOffset, 3)
})

test("a follower takes over the leader's log start when it has committed so far, and never goes back", async () => {
  const { partition, replica } = await bench()
  replica.follows(2, 1)
  replica.receives(1, records(5))
  replica.receives(1, records(5))
  partition.leaderStart(7)
  assert.equal(partition.logStartOffset, 0, 'nothing is committed here yet')
  replica.commit(replica.log.lastIndex - 5)
  assert.equal(partition.logStartOffset, 0, 'committed up to 5')
  replica.commit()
  assert.equal(partition.logStartOffset, 7)
  partition.leaderStart(3)
  assert.equal(partition.logStartOffset, 7)
})

test('a deletion whose leader loses its place is answered, and a replica alone needs no entry', async () => {
  const made = await bench()
  made.replica.leads(1)
  made.append(0, records(5))
  made.replica.commit()
  const deleting = made.partition.deleteRecords(-1)
  made.replica.follows(2, 2)
  assert.deepEqual(await deleting, { error: ErrorCode.NOT_LEADER_OR_FOLLOWER, lowWatermark: -1 })

  const alone = await bench()
  alone.replica.memberIds = [1]
  alone.replica.leads(1)
  alone.append(0, records(5))
  alone.replica.commit()
  const done = alone.partition.deleteRecords(2)
  alone.storage.storage.flush()
  assert.deepEqual(await done, { error: ErrorCode.NONE, lowWatermark: 2 })
  assert.deepEqual(alone.replica.entries, [])
})

// Transfer

test('leadership goes to a broker that is in sync, and the answer is that of ElectLeaders', async () => {
  const { partition, replica } = await bench()
  assert.equal(nameOf(await partition.transferLeadership(2)), 'NOT_LEADER_OR_FOLLOWER')
  replica.memberIds = [1, raftIdOf(2, 1), 3]
  replica.leads(1)
  assert.equal(nameOf(await partition.transferLeadership(1)), 'ELECTION_NOT_NEEDED')
  assert.equal(nameOf(await partition.transferLeadership(2)), 'NONE')
  assert.deepEqual(replica.transferred, [raftIdOf(2, 1)])
  assert.equal(nameOf(await partition.transferLeadership(3)), 'PREFERRED_LEADER_NOT_AVAILABLE')
  assert.equal(nameOf(await partition.transferLeadership(9)), 'PREFERRED_LEADER_NOT_AVAILABLE')
  replica.isr = [1]
  assert.equal(nameOf(await partition.transferLeadership(2)), 'PREFERRED_LEADER_NOT_AVAILABLE')
})

test('a batch of a new producer does not take the place of one that was refused before it', async () => {
  const { replica, answers, append } = await bench()
  replica.follows(2, 1)
  append(0, records(3, 0))
  append(1, records(2, 3))
  replica.leads(2)
  append(2, records(1, 5))
  assert.deepEqual(answers.text, [
    '0 NOT_LEADER_OR_FOLLOWER -1',
    '1 NOT_LEADER_OR_FOLLOWER -1',
    '2 OUT_OF_ORDER_SEQUENCE_NUMBER -1',
  ])
  append(3, records(3, 0))
  append(4, records(2, 3))
  append(5, records(1, 5))
  replica.commit()
  assert.deepEqual(answers.text.slice(3), ['3 NONE 0', '4 NONE 3', '5 NONE 5'])
})

test('a producer whose first batches were refused long ago begins with any sequence', async () => {
  const { replica, answers, append, clock } = await bench()
  replica.follows(2, 1)
  append(0, records(3, 0))
  replica.leads(2)
  clock.advance(31_000)
  append(1, records(1, 3))
  replica.commit()
  assert.deepEqual(answers.text.slice(1), ['1 NONE 0'])
})

test('a batch that was refused in the queue comes before those behind it, also when it leads again', async () => {
  const made = await bench()
  const { replica, answers, append } = made
  replica.leads(1)
  made.room = false
  append(0, records(1, 0))
  replica.follows(2, 2)
  made.room = true
  await settle(5)
  replica.leads(3)
  append(1, records(1, 1))
  append(2, records(1, 0))
  append(3, records(1, 1))
  replica.commit()
  assert.deepEqual(answers.text, [
    '0 NOT_LEADER_OR_FOLLOWER -1',
    '1 OUT_OF_ORDER_SEQUENCE_NUMBER -1',
    '2 NONE 0',
    '3 NONE 1',
  ])
})
