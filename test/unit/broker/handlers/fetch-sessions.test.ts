import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FetchSessions } from '../../../../broker/handlers/fetch-sessions.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import type { FetchRequest } from '../../../../protocol/messages/fetch.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'

interface Asked {
  readonly id?: number
  readonly epoch: number
  readonly read?: Record<string, readonly [partition: number, offset: number][]>
  readonly forget?: Record<string, readonly number[]>
}

function request({ id = 0, epoch, read = {}, forget = {} }: Asked): FetchRequest {
  const topics = Object.entries(read).map(([topic, partitions]) => ({
    topic,
    topicId: ZERO_UUID,
    partitions: partitions.map(([partition, fetchOffset]) => ({
      partition,
      fetchOffset,
      currentLeaderEpoch: -1,
      lastFetchedEpoch: -1,
      logStartOffset: -1,
      partitionMaxBytes: 1000,
    })),
  }))
  const forgottenTopicsData = Object.entries(forget).map(([topic, partitions]) => ({
    topic,
    topicId: ZERO_UUID,
    partitions,
  }))
  return { sessionId: id, sessionEpoch: epoch, topics, forgottenTopicsData } as unknown as FetchRequest
}

function sessions(slots = 10): FetchSessions {
  let next = 100
  return new FetchSessions(slots, () => next++)
}

const V = 11

function shown(cache: FetchSessions, asked: Asked, version = V, nowMs = 0) {
  const plan = cache.plan(request(asked), version, nowMs)
  const partitions = [...plan.partitions].map((p) => `${p.topic}-${p.partition}@${p.fetchOffset}`)
  return { error: plan.error, id: plan.session?.id ?? 0, incremental: plan.incremental, partitions }
}

test('a fetch without a session reads what it lists and leaves nothing behind', () => {
  const cache = sessions()
  assert.deepEqual(shown(cache, { epoch: -1, read: { t: [[0, 5]] } }), {
    error: ErrorCode.NONE,
    id: 0,
    incremental: false,
    partitions: ['t-0@5'],
  })
  assert.equal(cache.count, 0)
})

test('a session repeats its partitions; a request names only what changed', () => {
  const cache = sessions()
  const read = { t: [[0, 5] as [number, number], [1, 7] as [number, number]] }
  const { id } = shown(cache, { epoch: 0, read })
  assert.ok(id > 0)
  assert.deepEqual(shown(cache, { id, epoch: 1 }).partitions, ['t-0@5', 't-1@7'])
  assert.deepEqual(shown(cache, { id, epoch: 2, read: { t: [[1, 9]] } }).partitions, ['t-0@5', 't-1@9'])
  assert.deepEqual(shown(cache, { id, epoch: 3, read: { u: [[0, 0]] }, forget: { t: [0] } }).partitions, [
    't-1@9',
    'u-0@0',
  ])
})

test('a partition both added and forgotten is forgotten', () => {
  const cache = sessions()
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } })
  assert.deepEqual(shown(cache, { id, epoch: 1, read: { t: [[1, 0]] }, forget: { t: [1] } }).partitions, ['t-0@0'])
})

test('a session that forgets everything is closed', () => {
  const cache = sessions()
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } })
  assert.deepEqual(shown(cache, { id, epoch: 1, forget: { t: [0] } }), {
    error: ErrorCode.NONE,
    id: 0,
    incremental: true,
    partitions: [],
  })
  assert.equal(shown(cache, { id, epoch: 2 }).error, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
})

test('an unknown session and a wrong epoch are told apart, and a wrong epoch does not end the session', () => {
  const cache = sessions()
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } })
  assert.equal(shown(cache, { id: id + 1, epoch: 1 }).error, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
  assert.equal(shown(cache, { id: 0, epoch: 1 }).error, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
  assert.equal(shown(cache, { id, epoch: 2 }).error, ErrorCode.INVALID_FETCH_SESSION_EPOCH)
  assert.equal(shown(cache, { id, epoch: 1 }).error, ErrorCode.NONE)
  assert.equal(shown(cache, { id, epoch: 1 }).error, ErrorCode.INVALID_FETCH_SESSION_EPOCH, 'a resend')
})

test('a session of names is not continued by a version that names topics by id', () => {
  const cache = sessions()
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } }, 12)
  assert.equal(shown(cache, { id, epoch: 1 }, 13).error, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
  assert.equal(shown(cache, { id, epoch: 1 }, 12).error, ErrorCode.NONE, 'the epoch was not used up')
})

test('opening anew closes the session named with it; epoch -1 closes it for good', () => {
  const cache = sessions()
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } })
  const again = shown(cache, { id, epoch: 0, read: { t: [[0, 3]] } })
  assert.notEqual(again.id, id)
  assert.equal(cache.count, 1)
  assert.equal(shown(cache, { id: again.id, epoch: -1, read: { t: [[0, 3]] } }).id, 0)
  assert.equal(cache.count, 0)
})

test('a full cache gives no session, unless one has not been used for two minutes', () => {
  const cache = sessions(1)
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } }, V, 0)
  assert.equal(shown(cache, { epoch: 0, read: { t: [[0, 0]] } }, V, 60_000).id, 0)
  const later = shown(cache, { epoch: 0, read: { t: [[0, 0]] } }, V, 200_000)
  assert.notEqual(later.id, 0)
  assert.equal(shown(cache, { id, epoch: 1 }).error, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
})

test('the epoch goes on at 1 after the largest number', () => {
  const cache = sessions()
  const { id } = shown(cache, { epoch: 0, read: { t: [[0, 0]] } })
  const plan = cache.plan(request({ id, epoch: 1 }), V, 0)
  plan.session!.nextEpoch = 0x7fff_ffff
  assert.equal(shown(cache, { id, epoch: 0x7fff_ffff }).error, ErrorCode.NONE)
  assert.equal(shown(cache, { id, epoch: 1 }).error, ErrorCode.NONE)
})

test('what was read goes to the end of the order', () => {
  const cache = sessions()
  const read = { t: [[0, 0] as [number, number], [1, 0] as [number, number]] }
  const { id } = shown(cache, { epoch: 0, read })
  const plan = cache.plan(request({ id, epoch: 1 }), V, 0)
  cache.rotate(plan.session!, [...plan.partitions][0]!)
  assert.deepEqual(shown(cache, { id, epoch: 2 }).partitions, ['t-1@0', 't-0@0'])
})

test('the sessions of a shard remember so many partitions together; a fetch of more goes without a session', () => {
  let next = 100
  const cache = new FetchSessions(10, () => next++, 5)
  const offsets = (count: number): [number, number][] => Array.from({ length: count }, (_, at) => [at, 0])
  assert.equal(shown(cache, { epoch: 0, read: { a: offsets(3) } }).id, 100)
  const without = shown(cache, { epoch: 0, read: { b: offsets(3) } })
  assert.deepEqual([without.error, without.id, without.partitions.length], [ErrorCode.NONE, 0, 3])
  const second = shown(cache, { epoch: 0, read: { b: offsets(2) } })
  assert.notEqual(second.id, 0)
  // Known ones may be named again, forgotten ones make room.
  assert.equal(shown(cache, { id: 100, epoch: 1, read: { a: offsets(3) } }).error, ErrorCode.NONE)
  assert.equal(shown(cache, { id: 100, epoch: 2, forget: { a: [0] } }).error, ErrorCode.NONE)
  assert.equal(shown(cache, { id: second.id, epoch: 1, read: { c: offsets(1) } }).error, ErrorCode.NONE)
  // A client that hears this opens a session anew, with all that it reads.
  assert.equal(
    shown(cache, { id: second.id, epoch: 2, read: { d: offsets(1) } }).error,
    ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
  )
  assert.equal(cache.count, 1)
  assert.notEqual(shown(cache, { epoch: 0, read: { e: offsets(3) } }).id, 0, 'the session that grew too large is gone')
})
