// What Kafka answers to Fetch: errors, waiting, sizes, and sessions.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why. Waits are measured from below only: an answer that must not come early.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ErrorCode } from '../../protocol/errors.ts'
import type { FetchRequest, FetchResponse } from '../../protocol/messages/fetch.ts'
import { type Input, ZERO_UUID } from '../../protocol/schema.ts'
import { decodeRecords, recordBatch } from '../support/raw.ts'
import { api, Bench, dropTopic, type NewTopic, newTopic, UNKNOWN_ID, type Wire } from '../support/wire.ts'

const HIGHEST = 18

type Request = Partial<Input<typeof FetchRequest.fields>>
interface Wanted {
  readonly topic: NewTopic
  readonly partition?: number
  readonly offset?: number
  readonly maxBytes?: number
  readonly currentLeaderEpoch?: number
  readonly lastFetchedEpoch?: number
}

describe('fetch', () => {
  const bench = new Bench()
  let wire: Wire
  let topic: NewTopic
  /** Three batches of 3, 1 and 1 records in partition 0, one record in partition 1, none in 2. */
  let full: NewTopic
  let leaderEpoch: number

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('fetch'), 3)
    full = await newTopic(wire, bench.name('fetch'), 3)
    await append(full, 0, ['a', 'b', 'c'])
    await append(full, 0, ['d'])
    await append(full, 0, ['e'])
    await append(full, 1, ['f'])
    const answer = await wire.call(api.metadata, 12, { topics: [{ name: full.name }] })
    leaderEpoch = answer.topics[0]?.partitions.find(({ partitionIndex }) => partitionIndex === 0)?.leaderEpoch ?? -1
  })

  async function append(to: NewTopic, index: number, values: string[], through: Wire = wire): Promise<void> {
    const records = recordBatch({ values: values.map((value) => Buffer.from(value)) })
    const answer = await through.call(api.produce, 9, {
      acks: -1,
      timeoutMs: 10_000,
      topicData: [{ name: to.name, partitionData: [{ index, records }] }],
    })
    assert.equal(answer.responses[0]?.partitionResponses[0]?.errorCode, 0)
  }

  function fetchAt(version: number, wanted: Wanted[], options: Request = {}): Promise<FetchResponse> {
    return wire.call(api.fetch, version, {
      maxWaitMs: 0,
      minBytes: 1,
      topics: wanted.map(
        ({ topic, partition = 0, offset = 0, maxBytes = 1 << 20, currentLeaderEpoch = -1, lastFetchedEpoch = -1 }) => ({
          topic: topic.name,
          topicId: topic.id,
          partitions: [
            { partition, fetchOffset: offset, partitionMaxBytes: maxBytes, currentLeaderEpoch, lastFetchedEpoch },
          ],
        }),
      ),
      ...options,
    })
  }

  /** Partitions in the order of the answer: [partition, code, values]. */
  function shown(answer: FetchResponse) {
    return answer.responses.flatMap(({ partitions }) =>
      partitions.map(({ partitionIndex, errorCode, records }) => [
        partitionIndex,
        errorCode,
        decodeRecords(Buffer.from(records ?? []))
          .map(({ value }) => value?.toString())
          .join(''),
      ]),
    )
  }

  const part = (answer: FetchResponse) => answer.responses[0]?.partitions[0]
  const code = async (version: number, wanted: Wanted, options: Request = {}) =>
    part(await fetchAt(version, [wanted], options))?.errorCode
  const nobody: NewTopic = { name: 'fetch-unknown', id: UNKNOWN_ID }

  describe('errors', () => {
    test('an unknown id, also the zero id, is UNKNOWN_TOPIC_ID from version 13 on', async () => {
      for (const version of [13, HIGHEST]) {
        for (const id of [UNKNOWN_ID, ZERO_UUID]) {
          assert.equal(await code(version, { topic: { name: '', id } }), ErrorCode.UNKNOWN_TOPIC_ID)
        }
        assert.equal(await code(version, { topic: full, partition: 9 }), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      }
    })

    test('what nobody knows has an empty list of aborted transactions, other refusals have none', async () => {
      const lists = async (wanted: Wanted) =>
        (await fetchAt(16, [wanted])).responses.flatMap(({ partitions }) =>
          partitions.map(({ abortedTransactions }) => abortedTransactions),
        )
      assert.deepEqual(await lists({ topic: full, partition: 9 }), [[]])
      assert.deepEqual(await lists({ topic: { name: '', id: UNKNOWN_ID } }), [[]])
      assert.deepEqual(await lists({ topic: full, offset: 999 }), [null])
    })

    test('an unknown name or partition is UNKNOWN_TOPIC_OR_PARTITION', async () => {
      for (const version of [4, 12]) {
        assert.equal(await code(version, { topic: nobody }), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        assert.equal(await code(version, { topic: full, partition: 9 }), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      }
    })

    test('an error comes without offsets and with empty records', async () => {
      const found = part(await fetchAt(12, [{ topic: nobody }]))
      assert.deepEqual(
        [
          found?.highWatermark,
          found?.lastStableOffset,
          found?.logStartOffset,
          found?.preferredReadReplica,
          found?.records?.length,
        ],
        [-1, -1, -1, -1, 0],
      )
    })

    test('a leader epoch that is older is FENCED_LEADER_EPOCH, a newer one UNKNOWN_LEADER_EPOCH, a negative one not looked at', async () => {
      for (const version of [9, 12, 13, HIGHEST]) {
        if (leaderEpoch > 0) {
          assert.equal(
            await code(version, { topic: full, currentLeaderEpoch: leaderEpoch - 1 }),
            ErrorCode.FENCED_LEADER_EPOCH,
          )
        }
        assert.equal(
          await code(version, { topic: full, currentLeaderEpoch: leaderEpoch + 1 }),
          ErrorCode.UNKNOWN_LEADER_EPOCH,
        )
        assert.equal(await code(version, { topic: full, currentLeaderEpoch: leaderEpoch }), 0)
        assert.equal(await code(version, { topic: full, currentLeaderEpoch: -5 }), 0)
      }
      assert.equal(
        await code(13, { topic: full, currentLeaderEpoch: leaderEpoch + 1, offset: 99 }),
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        'the epoch comes before the offset',
      )
    })

    test('a last fetched epoch above every known one is OFFSET_OUT_OF_RANGE, one within which the offset is not yet diverges', async () => {
      assert.equal(await code(12, { topic: full, lastFetchedEpoch: leaderEpoch + 5 }), ErrorCode.OFFSET_OUT_OF_RANGE)
      const found = part(await fetchAt(12, [{ topic: full, offset: 50, lastFetchedEpoch: leaderEpoch }]))
      assert.deepEqual(
        [found?.errorCode, found?.divergingEpoch, found?.records?.length],
        [0, { epoch: leaderEpoch, endOffset: 5 }, 0],
      )
      assert.deepEqual(shown(await fetchAt(12, [{ topic: full, offset: 3, lastFetchedEpoch: leaderEpoch }])), [
        [0, 0, 'de'],
      ])
    })

    test('offsets below the start or beyond the end are OFFSET_OUT_OF_RANGE, the end itself is empty', async () => {
      for (const version of [4, 12, HIGHEST]) {
        for (const offset of [-1, -5, 6, 1_000_000]) {
          assert.equal(await code(version, { topic: full, offset }), ErrorCode.OFFSET_OUT_OF_RANGE, `offset ${offset}`)
        }
        const end = part(await fetchAt(version, [{ topic: full, offset: 5 }]))
        assert.deepEqual(
          [end?.errorCode, end?.highWatermark, end?.lastStableOffset, end?.records?.length],
          [0, 5, 5, 0],
        )
      }
    })

    test('offsets below a log start that was moved are OFFSET_OUT_OF_RANGE', async () => {
      const moved = await newTopic(wire, bench.name('fetch'))
      await append(moved, 0, ['a', 'b', 'c'])
      await wire.call(api.deleteRecords, 2, {
        topics: [{ name: moved.name, partitions: [{ partitionIndex: 0, offset: 2 }] }],
        timeoutMs: 10_000,
      })
      assert.equal(await code(12, { topic: moved, offset: 1 }), ErrorCode.OFFSET_OUT_OF_RANGE)
      const found = part(await fetchAt(12, [{ topic: moved, offset: 2 }]))
      assert.deepEqual([found?.errorCode, found?.logStartOffset], [0, 2])
      // In the middle of a batch the whole batch comes, from its base.
      assert.deepEqual(
        decodeRecords(Buffer.from(found?.records ?? [])).map(({ offset }) => offset),
        [0, 1, 2],
      )
    })

    test('somebody who fetches as a follower without being one gets NOT_LEADER_OR_FOLLOWER; -2 may', async () => {
      assert.equal(await code(11, { topic: full }, { replicaId: 77 }), ErrorCode.NOT_LEADER_OR_FOLLOWER)
      assert.equal(
        await code(16, { topic: full }, { replicaState: { replicaId: 77 } }),
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
      )
      assert.equal(await code(11, { topic: full }, { replicaId: -2 }), 0)
    })

    test('a cluster id is not looked at', async () => {
      assert.equal(await code(12, { topic: full }, { clusterId: 'another' }), 0)
    })

    test('a negative limit of a partition', async () => {
      const found = await code(12, { topic: full, maxBytes: -1 })
      // Kafka fails inside; Millrace says what is wrong.
      assert.equal(found, bench.isKafka ? ErrorCode.UNKNOWN_SERVER_ERROR : ErrorCode.INVALID_REQUEST)
    })
  })

  describe('offsets and isolation', () => {
    test('aborted transactions are null, and an empty list when only committed ones are read', async () => {
      for (const version of [4, 12, HIGHEST]) {
        const plain = part(await fetchAt(version, [{ topic: full }]))
        assert.deepEqual([plain?.abortedTransactions, plain?.lastStableOffset], [null, 5])
        const committed = part(await fetchAt(version, [{ topic: full }], { isolationLevel: 1 }))
        assert.deepEqual([committed?.abortedTransactions, committed?.lastStableOffset], [[], 5])
      }
    })

    test('a fetch within a batch gives the batch from its base', async () => {
      const found = part(await fetchAt(12, [{ topic: full, offset: 1, maxBytes: 1 }]))
      assert.deepEqual(
        decodeRecords(Buffer.from(found?.records ?? [])).map(({ offset }) => offset),
        [0, 1, 2],
      )
    })
  })

  describe('sizes', () => {
    test('the first partition with data gives its first batch whole, whatever the limits say', async () => {
      for (const version of [4, 11, HIGHEST]) {
        for (const limit of [0, 1]) {
          const answer = await fetchAt(
            version,
            [
              { topic: full, partition: 2 },
              { topic: full, maxBytes: limit },
            ],
            { maxBytes: limit },
          )
          assert.deepEqual(shown(answer), [
            [2, 0, ''],
            [0, 0, 'abc'],
          ])
        }
      }
    })

    test('a later partition whose first batch does not fit comes back empty', async () => {
      const first = await fetchAt(
        11,
        [
          { topic: full, offset: 4 },
          { topic: full, partition: 1 },
        ],
        { maxBytes: 80 },
      )
      assert.deepEqual(shown(first), [
        [0, 0, 'e'],
        [1, 0, ''],
      ])
      const both = await fetchAt(
        11,
        [
          { topic: full, offset: 4 },
          { topic: full, partition: 1 },
        ],
        { maxBytes: 1000 },
      )
      assert.deepEqual(shown(both), [
        [0, 0, 'e'],
        [1, 0, 'f'],
      ])
    })

    test('a partition gives no more than its own limit, and a cut batch is not counted', async () => {
      const sizes = [3, 1, 1].map(
        (count) => recordBatch({ values: Array.from({ length: count }, () => Buffer.from('x')) }).length,
      )
      const limit = (sizes[0] ?? 0) + (sizes[1] ?? 0) + 5
      const answer = await fetchAt(11, [{ topic: full, maxBytes: limit }])
      assert.deepEqual(shown(answer), [[0, 0, 'abcd']])
      assert.ok((part(answer)?.records?.length ?? 0) <= limit)
    })
  })

  describe('waiting', () => {
    /** Whether the answer came before `behindMs` had passed. */
    async function took(wanted: Wanted[], options: Request): Promise<number> {
      const startMs = performance.now()
      await fetchAt(12, wanted, options)
      return performance.now() - startMs
    }
    const long = { maxWaitMs: 15_000 }

    test('too few bytes wait until the time is over, and are given then', async () => {
      const waitMs = await took([{ topic: full, offset: 5 }], { maxWaitMs: 200 })
      assert.ok(waitMs >= 195, `${waitMs} ms`)
      assert.ok((await took([{ topic: full, offset: 3 }], { maxWaitMs: 200, minBytes: 1_000_000 })) >= 195)
      const answer = await fetchAt(12, [{ topic: full, offset: 3 }], { maxWaitMs: 100, minBytes: 1_000_000 })
      assert.deepEqual(shown(answer), [[0, 0, 'de']])
    })

    test('an unknown partition beside good ones does not end the wait, a bad offset does', async () => {
      assert.ok((await took([{ topic: full, offset: 5 }, { topic: nobody }], { maxWaitMs: 200 })) >= 195)
      assert.ok(
        (await took(
          [
            { topic: full, offset: 5 },
            { topic: full, partition: 1, offset: 99 },
          ],
          long,
        )) < 10_000,
      )
    })

    test('only unknown partitions, no partitions, or no bytes wanted: answered at once', async () => {
      assert.ok((await took([{ topic: nobody }], long)) < 10_000)
      assert.ok((await took([], long)) < 10_000)
      assert.ok((await took([{ topic: full, offset: 5 }], { ...long, minBytes: 0 })) < 10_000)
    })

    test('minBytes beyond maxBytes is satisfied with maxBytes', async () => {
      assert.ok((await took([{ topic: full }], { ...long, minBytes: 1_000_000, maxBytes: 50 })) < 10_000)
    })

    test('a wait ends when records come, and gives them', async () => {
      const writer = await bench.open()
      const polled = fetchAt(
        HIGHEST,
        [
          { topic, partition: 0 },
          { topic, partition: 1 },
        ],
        long,
      )
      await append(topic, 1, ['woken'], writer)
      const answer = await polled
      assert.deepEqual(shown(answer), [
        [0, 0, ''],
        [1, 0, 'woken'],
      ])
    })

    test('a wait ends when the topic is deleted', async () => {
      const doomed = await newTopic(wire, bench.name('fetch'))
      const writer = await bench.open()
      const polled = fetchAt(12, [{ topic: doomed }], long)
      await dropTopic(writer, doomed.name)
      const error = (await polled).responses[0]?.partitions[0]?.errorCode ?? 0
      // In Millrace the owner of a partition may hear of its end before the shard that is asked; clients ask again on both.
      const fine: number[] = [
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ...(bench.isKafka ? [] : [ErrorCode.NOT_LEADER_OR_FOLLOWER]),
      ]
      assert.ok(fine.includes(error), `error ${error}`)
    })
  })

  describe('sessions', () => {
    const session = (sessionId: number, sessionEpoch: number): Request => ({ sessionId, sessionEpoch })

    test('a fetch without a session has id 0', async () => {
      for (const version of [7, 12, 13, HIGHEST]) {
        assert.equal((await fetchAt(version, [{ topic: full }], session(0, -1))).sessionId, 0)
      }
    })

    test('epoch 0 makes a session, also an empty one', async () => {
      for (const version of [7, 12, 13, HIGHEST]) {
        const answer = await fetchAt(version, [{ topic: full }], session(0, 0))
        assert.ok(answer.sessionId > 0)
        assert.deepEqual(shown(answer), [[0, 0, 'abcde']])
      }
      assert.ok((await fetchAt(12, [], session(0, 0))).sessionId > 0)
    })

    test('unknown ids are FETCH_SESSION_ID_NOT_FOUND, wrong epochs INVALID_FETCH_SESSION_EPOCH, and the session lives on', async () => {
      for (const version of [7, 12, 13]) {
        for (const id of [123_456_789, 0]) {
          const answer = await fetchAt(version, [], session(id, 1))
          assert.deepEqual(
            [answer.errorCode, answer.sessionId, answer.responses],
            [ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0, []],
          )
        }
        const { sessionId } = await fetchAt(version, [{ topic: full, offset: 5 }], session(0, 0))
        for (const epoch of [2, 7]) {
          const answer = await fetchAt(version, [], session(sessionId, epoch))
          assert.deepEqual(
            [answer.errorCode, answer.sessionId, answer.responses],
            [ErrorCode.INVALID_FETCH_SESSION_EPOCH, 0, []],
          )
        }
        const next = await fetchAt(version, [], session(sessionId, 1))
        assert.deepEqual([next.errorCode, next.sessionId], [0, sessionId])
        assert.equal(
          (await fetchAt(version, [], session(sessionId, 1))).errorCode,
          ErrorCode.INVALID_FETCH_SESSION_EPOCH,
        )
      }
    })

    test('a session of names is not one of ids: FETCH_SESSION_TOPIC_ID_ERROR, epoch not used up', async () => {
      const named = (await fetchAt(12, [{ topic: full, offset: 5 }], session(0, 0))).sessionId
      assert.equal((await fetchAt(13, [], session(named, 1))).errorCode, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
      assert.equal((await fetchAt(12, [], session(named, 1))).errorCode, 0)
      const byId = (await fetchAt(13, [{ topic: full, offset: 5 }], session(0, 0))).sessionId
      assert.equal((await fetchAt(12, [], session(byId, 1))).errorCode, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
    })

    test('an incremental answer shows what changed, and a new partition once', async () => {
      const live = await newTopic(wire, bench.name('fetch'), 3)
      for (const version of [7, HIGHEST]) {
        const { sessionId } = await fetchAt(
          version,
          [{ topic: live, partition: 0, offset: version === 7 ? 0 : 1 }],
          session(0, 0),
        )
        assert.deepEqual(shown(await fetchAt(version, [], session(sessionId, 1))), [])
        assert.deepEqual(shown(await fetchAt(version, [{ topic: live, partition: 1 }], session(sessionId, 2))), [
          [1, 0, ''],
        ])
        await append(live, 0, ['n'])
        assert.deepEqual(shown(await fetchAt(version, [], session(sessionId, 3))), [[0, 0, 'n']])
        // Where nobody says how far it has read, the same comes again.
        assert.deepEqual(shown(await fetchAt(version, [], session(sessionId, 4))), [[0, 0, 'n']])
        const end = version === 7 ? 1 : 2
        assert.deepEqual(
          shown(await fetchAt(version, [{ topic: live, partition: 0, offset: end }], session(sessionId, 5))),
          [],
        )
      }
    })

    test('a moved log start is shown', async () => {
      const live = await newTopic(wire, bench.name('fetch'))
      await append(live, 0, ['a', 'b'])
      const { sessionId } = await fetchAt(11, [{ topic: live, offset: 2 }], session(0, 0))
      await wire.call(api.deleteRecords, 2, {
        topics: [{ name: live.name, partitions: [{ partitionIndex: 0, offset: 2 }] }],
        timeoutMs: 10_000,
      })
      const answer = await fetchAt(11, [], session(sessionId, 1))
      assert.deepEqual([shown(answer), part(answer)?.logStartOffset], [[[0, 0, '']], 2])
    })

    test('an error is shown each time', async () => {
      const { sessionId } = await fetchAt(11, [{ topic: full, offset: 99 }], session(0, 0))
      for (const epoch of [1, 2]) {
        assert.deepEqual(shown(await fetchAt(11, [], session(sessionId, epoch))), [
          [0, ErrorCode.OFFSET_OUT_OF_RANGE, ''],
        ])
      }
      assert.deepEqual(shown(await fetchAt(11, [{ topic: full, offset: 5 }], session(sessionId, 3))), [[0, 0, '']])
      assert.deepEqual(shown(await fetchAt(11, [], session(sessionId, 4))), [])
    })

    test('forgotten partitions go, also when the same request names them; without any the session ends', async () => {
      const forget = (partitions: number[]): Request => ({
        forgottenTopicsData: [{ topic: full.name, topicId: full.id, partitions }],
      })
      for (const version of [7, HIGHEST]) {
        const { sessionId } = await fetchAt(version, [{ topic: full }, { topic: full, partition: 1 }], session(0, 0))
        const fewer = await fetchAt(version, [], { ...session(sessionId, 1), ...forget([0]) })
        assert.deepEqual(shown(fewer), [[1, 0, 'f']])
        const both = await fetchAt(version, [{ topic: full }], { ...session(sessionId, 2), ...forget([0]) })
        assert.deepEqual(shown(both), [[1, 0, 'f']])
        const none = await fetchAt(version, [], { ...session(sessionId, 3), ...forget([1]) })
        assert.deepEqual([none.errorCode, none.sessionId, none.responses], [0, 0, []])
        assert.equal(
          (await fetchAt(version, [], session(sessionId, 4))).errorCode,
          ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        )
      }
    })

    test('epoch 0 with an id makes a new session in its place, epoch -1 ends it', async () => {
      const first = (await fetchAt(11, [{ topic: full }], session(0, 0))).sessionId
      const second = await fetchAt(11, [{ topic: full, partition: 1 }], session(first, 0))
      assert.ok(second.sessionId > 0 && second.sessionId !== first)
      assert.deepEqual(shown(second), [[1, 0, 'f']])
      assert.equal((await fetchAt(11, [], session(first, 1))).errorCode, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
      const last = await fetchAt(11, [{ topic: full }], session(second.sessionId, -1))
      assert.deepEqual([last.sessionId, shown(last)], [0, [[0, 0, 'abcde']]])
      assert.equal(
        (await fetchAt(11, [], session(second.sessionId, 1))).errorCode,
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
      )
    })

    test('partitions that gave data move behind the others, so that a small limit reaches all', async () => {
      const wanted = [{ topic: full }, { topic: full, partition: 1 }]
      const first = await fetchAt(11, wanted, { ...session(0, 0), maxBytes: 1 })
      assert.deepEqual(shown(first), [
        [0, 0, 'abc'],
        [1, 0, ''],
      ])
      for (const [epoch, wanted] of [
        [1, [0, 0, 'abc']],
        [2, [1, 0, 'f']],
        [3, [0, 0, 'abc']],
      ] as const) {
        const next = await fetchAt(11, [], { ...session(first.sessionId, epoch), maxBytes: 1 })
        assert.deepEqual(shown(next), [wanted])
      }
    })

    test('a quiet session waits as long as it is allowed', async () => {
      const { sessionId } = await fetchAt(12, [{ topic: full, offset: 5 }], session(0, 0))
      const startMs = performance.now()
      const answer = await fetchAt(12, [], { ...session(sessionId, 1), maxWaitMs: 200 })
      assert.deepEqual(shown(answer), [])
      assert.ok(performance.now() - startMs >= 195)
    })

    test('a session belongs to no connection', async () => {
      const { sessionId } = await fetchAt(12, [{ topic: full }], session(0, 0))
      const other = await bench.open()
      const answer = await other.call(api.fetch, 12, {
        maxWaitMs: 0,
        minBytes: 1,
        topics: [],
        ...session(sessionId, 1),
      })
      // Millrace keeps sessions by shard, and a connection may land on another one: the client then opens a new session.
      const fine = bench.isKafka ? [0] : [0, ErrorCode.FETCH_SESSION_ID_NOT_FOUND]
      assert.ok(fine.includes(answer.errorCode), `error ${answer.errorCode}`)
    })

    test('a resolved id keeps its name: gone, then another topic of that name', async () => {
      const first = await newTopic(wire, bench.name('fetch'))
      const { sessionId } = await fetchAt(13, [{ topic: first }], session(0, 0))
      await dropTopic(wire, first.name)
      assert.deepEqual(shown(await fetchAt(13, [], session(sessionId, 1))), [
        [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ''],
      ])
      await newTopic(wire, first.name)
      assert.deepEqual(shown(await fetchAt(13, [], session(sessionId, 2))), [[0, ErrorCode.INCONSISTENT_TOPIC_ID, '']])
    })
  })
})
