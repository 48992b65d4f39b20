import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProducerSnapshotError, ProducerState } from '../../../../broker/partition/producer-state.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { lastOffsetDeltaOf } from '../../../../protocol/records/batch.ts'
import { ControlType, encodeEndTransactionMarker } from '../../../../protocol/records/control.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import { seeded } from '../../protocol/records/vectors.ts'

const DAY_MS = 86_400_000

function batch(
  sequence: number,
  options: { id?: number; epoch?: number; count?: number; time?: number; transactional?: boolean } = {},
) {
  const { id = 7, epoch = 0, count = 1, time = 1000, transactional = false } = options
  const records = Array.from({ length: count }, () => ({ value: 'v', timestamp: time }))
  return encodeBatch({ producerId: id, producerEpoch: epoch, baseSequence: sequence, transactional, records })
}

/** A log that appends what the state accepts. */
class Log {
  readonly state: ProducerState
  endOffset: number

  constructor(state = new ProducerState({ expirationMs: DAY_MS }), endOffset = 0) {
    this.state = state
    this.endOffset = endOffset
  }

  append(bytes: Uint8Array, firstMustBeZero = false): ReturnType<ProducerState['check']> {
    const check = this.state.check(bytes, 0, firstMustBeZero)
    if (check.kind === 'accept') this.write(bytes)
    return check
  }

  write(bytes: Uint8Array): void {
    this.state.apply(bytes, 0, this.endOffset)
    this.endOffset += lastOffsetDeltaOf(bytes, 0) + 1
  }
}

const errorOf = (check: ReturnType<ProducerState['check']>) => (check.kind === 'error' ? check.error : check.kind)

test('a producer not known yet may begin with any sequence', () => {
  const log = new Log()
  assert.equal(log.append(batch(7)).kind, 'accept')
  assert.equal(log.append(batch(8)).kind, 'accept')
})

test('with transactions v2 an unknown transactional producer begins with sequence 0', () => {
  const log = new Log()
  assert.equal(errorOf(log.append(batch(5, { transactional: true }), true)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  assert.equal(log.append(batch(5), true).kind, 'accept', 'idempotence alone asks for nothing')
  assert.equal(log.append(batch(0, { id: 8, transactional: true }), true).kind, 'accept')
  assert.equal(log.append(batch(5, { id: 9, transactional: true }), false).kind, 'accept')
})

test('the last five batches are answered as duplicates with their own offset and time', () => {
  const log = new Log()
  for (let sequence = 0; sequence < 12; sequence += 2) log.append(batch(sequence, { count: 2, time: 1000 + sequence }))
  for (let sequence = 2; sequence < 12; sequence += 2) {
    const expected = { kind: 'duplicate', baseOffset: sequence, lastOffset: sequence + 1, timestampMs: 1000 + sequence }
    assert.deepEqual(log.append(batch(sequence, { count: 2 })), expected)
  }
  assert.equal(log.endOffset, 12)
})

test('the sixth oldest batch, an overlap in part and a gap are out of order', () => {
  const log = new Log()
  for (let sequence = 0; sequence < 12; sequence += 2) log.append(batch(sequence, { count: 2 }))
  const outOfOrder = [
    batch(0, { count: 2 }),
    batch(10, { count: 1 }),
    batch(10, { count: 3 }),
    batch(11),
    batch(13),
    batch(14),
  ]
  for (const bytes of outOfOrder) assert.equal(errorOf(log.append(bytes)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  assert.equal(log.append(batch(12)).kind, 'accept')
})

test('sequences go on at 0 after 2147483647, also inside a batch', () => {
  const log = new Log()
  log.append(batch(2_147_483_645, { count: 2 }))
  assert.equal(log.append(batch(2_147_483_647, { count: 3 })).kind, 'accept', 'takes 2147483647, 0 and 1')
  assert.equal(errorOf(log.append(batch(0))), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  assert.equal(log.append(batch(2_147_483_647, { count: 3 })).kind, 'duplicate')
  assert.equal(log.append(batch(2)).kind, 'accept')
  const exact = new Log()
  exact.append(batch(2_147_483_647))
  assert.equal(exact.append(batch(0)).kind, 'accept')
})

test('a higher epoch begins at sequence 0 and forgets the batches before; a lower one is refused', () => {
  const log = new Log()
  log.append(batch(0))
  log.append(batch(1))
  assert.equal(errorOf(log.append(batch(2, { epoch: 1 }))), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  assert.equal(log.append(batch(0, { epoch: 1 })).kind, 'accept')
  assert.equal(errorOf(log.append(batch(1, { epoch: 0 }))), ErrorCode.INVALID_PRODUCER_EPOCH, 'even an exact duplicate')
  assert.equal(errorOf(log.append(batch(1, { epoch: 1 }))), 'accept')
  assert.deepEqual(log.append(batch(0, { epoch: 1 })), {
    kind: 'duplicate',
    baseOffset: 2,
    lastOffset: 2,
    timestampMs: 1000,
  })
})

test('producers do not mix', () => {
  const log = new Log()
  log.append(batch(0))
  assert.equal(log.append(batch(0, { id: 8 })).kind, 'accept')
  assert.equal(log.append(batch(0, { id: 8 })).kind, 'duplicate')
  assert.equal(log.append(batch(1)).kind, 'accept')
})

test('a batch without a producer id changes nothing but the covered offset', () => {
  const log = new Log()
  log.write(encodeBatch({ records: [{}, {}] }))
  assert.equal(log.state.coveredOffset, 2)
  assert.equal(log.state.producerCount, 0)
  assert.throws(() => log.state.apply(batch(0), 0, 1), /in order/)
})

test('with LogAppendTime a duplicate is answered with the time that was stamped', () => {
  const { state } = new Log()
  state.apply(batch(0), 0, 0, 5000)
  assert.equal(state.describe()[0]!.lastTimestamp, 5000)
  const check = state.check(batch(0), 0)
  assert.equal(check.kind === 'duplicate' && check.timestampMs, 5000)
})

test('an open transaction refuses batches outside of it until its marker comes', () => {
  const log = new Log()
  log.append(batch(0, { transactional: true }))
  log.append(batch(1, { transactional: true }))
  assert.equal(errorOf(log.append(batch(2))), ErrorCode.INVALID_TXN_STATE)
  assert.equal(log.state.describe()[0]!.currentTxnStartOffset, 0)
  log.state.committed(2)
  log.state.expire(10 * DAY_MS)
  assert.equal(log.state.producerCount, 1, 'never expires')
  log.write(
    encodeEndTransactionMarker({
      type: ControlType.COMMIT,
      coordinatorEpoch: 3,
      producerId: 7,
      producerEpoch: 1,
      timestamp: 2000,
    }),
  )
  assert.deepEqual(log.state.describe(), [
    {
      producerId: 7,
      producerEpoch: 1,
      lastSequence: -1,
      lastTimestamp: 2000,
      coordinatorEpoch: 3,
      currentTxnStartOffset: -1,
    },
  ])
  assert.equal(errorOf(log.append(batch(2, { epoch: 1 }))), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  assert.equal(log.append(batch(0, { epoch: 1 })).kind, 'accept', 'the marker carried the next epoch')
})

test('a producer is forgotten when its last batch is old by its own time, not while that is in flight', () => {
  const log = new Log()
  log.append(batch(0, { time: 1000 }))
  log.append(batch(0, { id: 8, time: 2000 }))
  log.state.expire(1000 + DAY_MS)
  assert.equal(log.state.producerCount, 2, 'nothing is committed')
  log.state.committed(2)
  log.state.expire(999 + DAY_MS)
  assert.equal(log.state.producerCount, 2)
  log.state.expire(1000 + DAY_MS)
  assert.deepEqual(
    log.state.describe().map(({ producerId }) => producerId),
    [8],
  )
  assert.equal(log.append(batch(40)).kind, 'accept', 'any sequence again')
})

test('the number of producers is bounded; the longest silent go first', () => {
  const log = new Log(new ProducerState({ expirationMs: DAY_MS, producersMax: 100 }))
  for (let id = 0; id < 1000; id++) {
    log.append(batch(0, { id }))
    log.state.committed(log.endOffset - 1)
    if (id > 0) assert.equal(log.append(batch(id, { id: 0 })).kind, 'accept', 'a busy one stays')
  }
  assert.ok(log.state.producerCount <= 101)
  const known = new Set(log.state.describe().map(({ producerId }) => producerId))
  assert.ok(known.has(0) && known.has(999) && known.has(950) && !known.has(1))
})

test('the producers of all partitions of a shard are bounded together; a partition that gets a new one forgets silent ones', () => {
  const shared = { count: 0, max: 40 }
  const logs = [0, 1, 2].map(() => new Log(new ProducerState({ expirationMs: DAY_MS, shared })))
  for (let id = 0; id < 300; id++) {
    const log = logs[id % 3]!
    log.append(batch(0, { id }))
    log.state.committed(log.endOffset)
    assert.ok(shared.count <= 41, `${shared.count} after ${id}`)
    assert.equal(
      shared.count,
      logs.reduce((sum, { state }) => sum + state.producerCount, 0),
    )
    assert.ok(log.state.knows(id))
  }
  logs[0]!.state.expire(Number.MAX_SAFE_INTEGER)
  assert.equal(logs[0]!.state.producerCount, 0)
  logs[1]!.state.restore(new ProducerState({ expirationMs: DAY_MS }).snapshot(0))
  assert.equal(shared.count, logs[2]!.state.producerCount)
  logs[2]!.state.close()
  assert.equal(shared.count, 0)
})

test('producers whose batches were cut off count no longer', () => {
  const shared = { count: 0, max: 40 }
  const log = new Log(new ProducerState({ expirationMs: DAY_MS, shared }))
  for (let id = 0; id < 10; id++) log.append(batch(0, { id }))
  assert.equal(shared.count, 10)
  log.state.truncateTo(4)
  assert.equal(shared.count, 4)
})

test('truncation brings back exactly what was before, whatever was appended, seed by seed', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seeded(seed)
    const log = new Log()
    const history: { endOffset: number; image: string }[] = [{ endOffset: 0, image: image(log.state, 0) }]
    const batches: Uint8Array[] = []
    let committed = 0
    for (let step = 0; step < 80; step++) {
      const action = random()
      if (action < 0.8) {
        const bytes = randomBatch(log, random)
        batches.push(bytes)
        log.write(bytes)
        // What a state knows that saw these batches and nothing else.
        const fresh = new Log()
        for (const seen of batches) fresh.write(seen)
        history.push({ endOffset: log.endOffset, image: image(fresh.state, log.endOffset) })
      } else if (action < 0.9) {
        committed = history[Math.floor(random() * history.length)]!.endOffset
        committed = Math.max(committed, history[0]!.endOffset)
        log.state.committed(committed)
        while (history[0]!.endOffset < committed) history.shift()
      } else {
        const keep = Math.floor(random() * history.length)
        batches.length -= history.length - 1 - keep
        history.length = keep + 1
        log.endOffset = history[keep]!.endOffset
        log.state.truncateTo(log.endOffset)
      }
      // The snapshot holds what is committed, the state itself all of it.
      assert.equal(image(log.state, history[0]!.endOffset), history[0]!.image, `seed ${seed} step ${step}: snapshot`)
    }
    assert.equal(image(log.state, log.endOffset), history.at(-1)!.image, `seed ${seed}: at the end`)
  }
})

test('committed batches are not truncated', () => {
  const log = new Log()
  log.append(batch(0))
  log.state.committed(1)
  assert.throws(() => log.state.truncateTo(0), /not truncated/)
})

test('a snapshot brings everything back and says where replay goes on', () => {
  const log = new Log(undefined, 2 ** 40)
  for (let sequence = 0; sequence < 7; sequence++) log.append(batch(sequence, { time: 1_700_000_000_000 + sequence }))
  log.append(batch(0, { id: 2 ** 52, epoch: 32_767, transactional: true }))
  const inFlight = batch(7)
  const offset = log.endOffset
  log.append(inFlight)
  const bytes = log.state.snapshot(offset)
  // Anywhere in a larger buffer.
  const memory = new Uint8Array(bytes.length + 3)
  memory.set(bytes, 3)
  const state = new ProducerState({ expirationMs: DAY_MS })
  state.restore(memory.subarray(3))
  assert.equal(state.coveredOffset, offset)
  assert.deepEqual(state.snapshot(offset), bytes)
  const again = new Log(state, offset)
  assert.equal(again.append(inFlight).kind, 'accept', 'what was in flight is not in it')
  assert.deepEqual(state.describe(), log.state.describe())
  for (let sequence = 3; sequence < 8; sequence++) {
    assert.deepEqual(state.check(batch(sequence), 0), log.state.check(batch(sequence), 0))
  }
})

test('the snapshot of a partition without producers is 13 bytes', () => {
  const bytes = new ProducerState({ expirationMs: DAY_MS }).snapshot(77)
  assert.equal(bytes.length, 13)
  const state = new ProducerState({ expirationMs: DAY_MS })
  state.restore(bytes)
  assert.equal(state.coveredOffset, 77)
})

test('a snapshot that is cut or of another version is refused', () => {
  const log = new Log()
  log.append(batch(0))
  log.append(batch(0, { id: 8 }))
  const bytes = log.state.snapshot(2)
  const state = new ProducerState({ expirationMs: DAY_MS })
  for (let end = 0; end < bytes.length; end++) {
    assert.throws(() => state.restore(bytes.subarray(0, end)), ProducerSnapshotError, `${end} bytes`)
  }
  const newer = Uint8Array.from(bytes)
  newer[0] = 2
  assert.throws(() => state.restore(newer), /version 2/)
})

/** The state as of an offset, as text: producers sorted, since their order may differ after a truncation. */
function image(state: ProducerState, offset: number): string {
  const bytes = Buffer.from(state.snapshot(offset))
  const producers: string[] = []
  for (let at = 13; at < bytes.length; ) {
    const end = at + 39 + bytes[at + 30]! * 24
    producers.push(bytes.toString('hex', at, end))
    at = end
  }
  return `${bytes.readDoubleBE(1)} ${producers.sort().join(' ')}`
}

function randomBatch(log: Log, random: () => number): Uint8Array {
  const id = Math.floor(random() * 3)
  const known = log.state.describe().find(({ producerId }) => producerId === id)
  const epoch = (known?.producerEpoch ?? 0) + (random() < 0.1 ? 1 : 0)
  const count = 1 + Math.floor(random() * 3)
  const time = Math.floor(random() * 1000)
  if (random() < 0.1) {
    const type = ControlType.ABORT
    return encodeEndTransactionMarker({
      type,
      coordinatorEpoch: log.endOffset,
      producerId: id,
      producerEpoch: epoch,
      timestamp: time,
    })
  }
  const sequence = known === undefined || epoch > known.producerEpoch ? 0 : known.lastSequence + 1
  return batch(sequence, { id, epoch, count, time, transactional: random() < 0.3 })
}
