// What a partition knows about its idempotent producers: epoch, last sequence, and the last five batches of each.
//
// One per partition replica, touched only from its shard's thread; pure, time is an argument. The leader checks a batch at
// append and applies it at once, so batches in flight count; followers and replay only apply. Appended batches may still be
// truncated, so what each of them replaced is kept until it is committed; snapshots hold committed batches only.
// Rules: KIP-98, KIP-360; tables in Kafka's ProducerAppendInfo.

import { ErrorCode } from '../../protocol/errors.ts'
import { invariant } from '../../protocol/invariant.ts'
import {
  addToSequence,
  baseSequenceOf,
  isControl,
  isTransactional,
  lastOffsetDeltaOf,
  lastSequenceOf,
  maxTimestampOf,
  NO_SEQUENCE,
  NO_TIMESTAMP,
  offsetSpanOf,
  producerEpochOf,
  producerIdOf,
} from '../../protocol/records/batch.ts'
import { decodeEndTransactionMarker } from '../../protocol/records/control.ts'

/** Batches remembered per producer: as many as a client may have in flight. */
const BATCHES_MAX = 5
/** Numbers per batch in Producer.batches: base sequence, last offset delta, base offset, timestamp. */
const BATCH_FIELDS = 4

/** One producer; never changed, replaced. So truncation only has to put the one before back. */
interface Producer {
  readonly epoch: number
  /** -1 until a transaction of this producer ended here. */
  readonly coordinatorEpoch: number
  /** First offset of the open transaction, -1 without. */
  readonly currentTxnStartOffset: number
  /** Max timestamp of the last batch or marker: what expiry counts from. */
  readonly lastTimestamp: number
  /** Offset after the last batch or marker (exclusive). */
  readonly nextOffset: number
  /** Up to five batches, oldest first, BATCH_FIELDS numbers each; empty after a marker with a new epoch. */
  readonly batches: readonly number[]
}

/** What an appended batch replaced, until it is committed. */
interface Undo {
  readonly endOffset: number
  readonly producerId: number
  readonly before: Producer | undefined
}

export type ProducerCheck =
  | { readonly kind: 'accept' }
  /** The same batch is in the log already (perhaps not committed yet): answer as it was answered. */
  | {
      readonly kind: 'duplicate'
      readonly baseOffset: number
      readonly lastOffset: number
      readonly timestampMs: number
    }
  | { readonly kind: 'error'; readonly error: Exclude<ErrorCode, typeof ErrorCode.NONE>; readonly reason: string }

export interface ProducerDescription {
  producerId: number
  producerEpoch: number
  /** -1 when nothing was written in this epoch. */
  lastSequence: number
  lastTimestamp: number
  coordinatorEpoch: number
  currentTxnStartOffset: number
}

export interface ProducerStateOptions {
  /** producer.id.expiration.ms */
  expirationMs: number
  /** Most producers remembered; beyond, the quarter that was silent longest is forgotten. */
  producersMax?: number
  /** Counts the producers of several partitions together. */
  shared?: SharedProducers
}

/** Of all partitions of a shard: at the bound, a partition that gets a new producer forgets a quarter of its own first. */
export interface SharedProducers {
  count: number
  readonly max: number
}

/** The bytes are no snapshot of this version. */
export class ProducerSnapshotError extends Error {
  constructor(reason: string) {
    super(`cannot read a producer snapshot: ${reason}`)
    this.name = 'ProducerSnapshotError'
  }
}

const ACCEPT: ProducerCheck = { kind: 'accept' }
const NO_UNDO: Undo[] = []
const PRODUCERS_MAX = 100_000

// Snapshot, big-endian: version u8, covered offset f64, producer count u32; per producer: id f64, epoch i16, coordinator
// epoch i32, transaction start f64, last timestamp f64, batch count u8, next offset f64; per batch: base sequence i32,
// last offset delta i32, base offset f64, timestamp f64. f64 holds every number that a field can have here.
const SNAPSHOT_VERSION = 1
const SNAPSHOT_HEADER_BYTES = 13
const SNAPSHOT_PRODUCER_BYTES = 39
const SNAPSHOT_BATCH_BYTES = 24

export class ProducerState {
  readonly #expirationMs: number
  readonly #producersMax: number
  /** Not made before the first idempotent producer: most partitions of a large node never see one. */
  #producers: Map<number, Producer> | undefined
  /** Oldest first; those before #undoAt are committed. */
  #undo = NO_UNDO
  #undoAt = 0
  #shared: SharedProducers | undefined
  /** Of these producers, as #shared counts them. */
  #counted = 0
  #committedOffset = 0
  #coveredOffset = 0

  constructor(options: ProducerStateOptions) {
    this.#expirationMs = options.expirationMs
    this.#producersMax = options.producersMax ?? PRODUCERS_MAX
    this.#shared = options.shared
  }

  /** The partition is gone: its producers count no longer. */
  close(): void {
    if (this.#shared !== undefined) this.#shared.count -= this.#counted
    this.#shared = undefined
  }

  #count(): void {
    if (this.#shared === undefined) return
    const count = this.producerCount
    this.#shared.count += count - this.#counted
    this.#counted = count
  }

  /** Batches below this offset (exclusive) are in the state: replay begins here. */
  get coveredOffset(): number {
    return this.#coveredOffset
  }

  /** Batches below this offset (exclusive) will never be truncated. */
  get committedOffset(): number {
    return this.#committedOffset
  }

  get producerCount(): number {
    return this.#producers?.size ?? 0
  }

  knows(producerId: number): boolean {
    return this.#producers?.has(producerId) === true
  }

  /**
   * Whether a validated batch with a producer id may be appended now.
   * @param firstMustBeZero transactions v2 (Produce v12 and later): a transactional batch of a producer unknown here must
   * begin at sequence 0
   */
  check(bytes: Uint8Array, at: number, firstMustBeZero = false): ProducerCheck {
    const producer = this.#producers?.get(producerIdOf(bytes, at))
    const baseSequence = baseSequenceOf(bytes, at)
    if (producer === undefined) {
      if (!firstMustBeZero || baseSequence === 0 || !isTransactional(bytes, at)) return ACCEPT
      return outOfOrder('The first batch of a transactional producer must have sequence 0', baseSequence, 0)
    }
    const epoch = producerEpochOf(bytes, at)
    if (epoch < producer.epoch) {
      return {
        kind: 'error',
        error: ErrorCode.INVALID_PRODUCER_EPOCH,
        reason: `The producer epoch is ${producer.epoch} by now, the batch has ${epoch}.`,
      }
    }
    const { batches } = producer
    if (epoch > producer.epoch) {
      if (baseSequence !== 0) return outOfOrder('A new producer epoch must begin with sequence 0', baseSequence, 0)
    } else {
      const delta = lastOffsetDeltaOf(bytes, at)
      for (let batch = batches.length - BATCH_FIELDS; batch >= 0; batch -= BATCH_FIELDS) {
        if (batches[batch] !== baseSequence || batches[batch + 1] !== delta) continue
        const baseOffset = batches[batch + 2]!
        return { kind: 'duplicate', baseOffset, lastOffset: baseOffset + delta, timestampMs: batches[batch + 3]! }
      }
      const expected = nextSequence(batches)
      if (baseSequence !== expected) return outOfOrder('The batch is out of sequence', baseSequence, expected)
    }
    if (producer.currentTxnStartOffset >= 0 && !isTransactional(bytes, at)) {
      return {
        kind: 'error',
        error: ErrorCode.INVALID_TXN_STATE,
        reason: 'The producer has an open transaction in this partition, the batch is not transactional.',
      }
    }
    return ACCEPT
  }

  /**
   * Takes a batch that is in the log now, as data or as the end of a transaction; one without producer id changes nothing.
   * Batches come in the order of their offsets.
   * @param baseOffset where it lies; the field in the bytes may not be stamped yet
   * @param logAppendTimeMs the time that storage will stamp on it, -1 when the bytes say it all
   */
  apply(bytes: Uint8Array, at: number, baseOffset: number, logAppendTimeMs = NO_TIMESTAMP): void {
    invariant(baseOffset >= this.#coveredOffset, 'batches are applied in order', baseOffset, this.#coveredOffset)
    const nextOffset = baseOffset + offsetSpanOf(bytes, at)
    this.#coveredOffset = nextOffset
    const producerId = producerIdOf(bytes, at)
    if (producerId < 0) return
    this.#producers ??= new Map()
    const before = this.#producers.get(producerId)
    const timestamp = logAppendTimeMs === NO_TIMESTAMP ? maxTimestampOf(bytes, at) : logAppendTimeMs
    const after = isControl(bytes, at)
      ? afterMarker(before, bytes, at, nextOffset)
      : afterBatch(before, bytes, at, baseOffset, nextOffset, timestamp)
    if (after === undefined) return
    if (this.#undo === NO_UNDO) this.#undo = []
    this.#undo.push({ endOffset: nextOffset, producerId, before })
    this.#producers.set(producerId, after)
    if (before !== undefined) return
    this.#count()
    const { size } = this.#producers
    if (size > this.#producersMax) this.#forgetSilent(this.#producersMax / 4)
    else if (this.#shared !== undefined && this.#shared.count > this.#shared.max) this.#forgetSilent(size / 4)
  }

  /** Everything below `offset` (exclusive) is committed: it cannot be truncated any more. */
  committed(offset: number): void {
    if (offset <= this.#committedOffset) return
    this.#committedOffset = offset
    const undo = this.#undo
    let at = this.#undoAt
    while (at < undo.length && undo[at]!.endOffset <= offset) at++
    if (at === undo.length) {
      if (at > 0) this.#undo = NO_UNDO
      this.#undoAt = 0
    } else if (at > 1024) {
      undo.splice(0, at)
      this.#undoAt = 0
    } else {
      this.#undoAt = at
    }
  }

  /** The log lost every batch that ends above `offset`: the state is what it was when the log ended there. */
  truncateTo(offset: number): void {
    if (offset >= this.#coveredOffset) return
    invariant(offset >= this.#committedOffset, 'committed batches are not truncated', offset, this.#committedOffset)
    this.#coveredOffset = offset
    while (this.#undo.length > this.#undoAt) {
      const { endOffset, producerId, before } = this.#undo[this.#undo.length - 1]!
      if (endOffset <= offset) break
      this.#undo.pop()
      if (before === undefined) this.#producers?.delete(producerId)
      else this.#producers?.set(producerId, before)
    }
    this.#count()
  }

  /** Forgets producers whose last batch is older than the limit by its own timestamp; never one with an open transaction. */
  expire(nowMs: number): void {
    if (this.#producers === undefined) return
    for (const [producerId, producer] of this.#producers) {
      if (this.#isIdle(producer) && nowMs - producer.lastTimestamp >= this.#expirationMs) {
        this.#producers.delete(producerId)
      }
    }
    if (this.#producers.size === 0) this.#producers = undefined
    this.#count()
  }

  describe(): ProducerDescription[] {
    const described: ProducerDescription[] = []
    for (const [producerId, producer] of this.#producers ?? []) {
      described.push({
        producerId,
        producerEpoch: producer.epoch,
        lastSequence: lastSequence(producer.batches),
        lastTimestamp: producer.lastTimestamp,
        coordinatorEpoch: producer.coordinatorEpoch,
        currentTxnStartOffset: producer.currentTxnStartOffset,
      })
    }
    return described
  }

  /**
   * The state as of a committed offset, without the batches in flight behind it.
   * @param offset exclusive; committed, and not below what committed() was told
   */
  snapshot(offset: number): Uint8Array {
    this.committed(offset)
    const producers = this.#withoutTail()
    let size = SNAPSHOT_HEADER_BYTES
    for (const { batches } of producers.values()) {
      size += SNAPSHOT_PRODUCER_BYTES + (batches.length / BATCH_FIELDS) * SNAPSHOT_BATCH_BYTES
    }
    const bytes = new Uint8Array(size)
    const view = new DataView(bytes.buffer)
    view.setUint8(0, SNAPSHOT_VERSION)
    view.setFloat64(1, offset)
    view.setUint32(9, producers.size)
    let at = SNAPSHOT_HEADER_BYTES
    for (const [producerId, producer] of producers) {
      view.setFloat64(at, producerId)
      view.setInt16(at + 8, producer.epoch)
      view.setInt32(at + 10, producer.coordinatorEpoch)
      view.setFloat64(at + 14, producer.currentTxnStartOffset)
      view.setFloat64(at + 22, producer.lastTimestamp)
      view.setUint8(at + 30, producer.batches.length / BATCH_FIELDS)
      view.setFloat64(at + 31, producer.nextOffset)
      at += SNAPSHOT_PRODUCER_BYTES
      for (let batch = 0; batch < producer.batches.length; batch += BATCH_FIELDS) {
        view.setInt32(at, producer.batches[batch]!)
        view.setInt32(at + 4, producer.batches[batch + 1]!)
        view.setFloat64(at + 8, producer.batches[batch + 2]!)
        view.setFloat64(at + 16, producer.batches[batch + 3]!)
        at += SNAPSHOT_BATCH_BYTES
      }
    }
    return bytes
  }

  /**
   * Takes the state from a snapshot, in place of what it was.
   * @throws ProducerSnapshotError when the bytes are cut or of another version
   */
  restore(bytes: Uint8Array): void {
    if (bytes.length < SNAPSHOT_HEADER_BYTES) throw new ProducerSnapshotError('it is cut off')
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const version = view.getUint8(0)
    if (version !== SNAPSHOT_VERSION) throw new ProducerSnapshotError(`version ${version} is not known`)
    const count = view.getUint32(9)
    if (count * SNAPSHOT_PRODUCER_BYTES > bytes.length) throw new ProducerSnapshotError('it is cut off')
    const producers = new Map<number, Producer>()
    let at = SNAPSHOT_HEADER_BYTES
    for (let producer = 0; producer < count; producer++) {
      if (bytes.length - at < SNAPSHOT_PRODUCER_BYTES) throw new ProducerSnapshotError('it is cut off')
      const head = at
      const batchCount = view.getUint8(head + 30)
      at += SNAPSHOT_PRODUCER_BYTES
      if (bytes.length - at < batchCount * SNAPSHOT_BATCH_BYTES) throw new ProducerSnapshotError('it is cut off')
      const batches: number[] = []
      for (let batch = 0; batch < batchCount; batch++, at += SNAPSHOT_BATCH_BYTES) {
        batches.push(view.getInt32(at), view.getInt32(at + 4), view.getFloat64(at + 8), view.getFloat64(at + 16))
      }
      producers.set(view.getFloat64(head), {
        epoch: view.getInt16(head + 8),
        coordinatorEpoch: view.getInt32(head + 10),
        currentTxnStartOffset: view.getFloat64(head + 14),
        lastTimestamp: view.getFloat64(head + 22),
        nextOffset: view.getFloat64(head + 31),
        batches,
      })
    }
    this.#producers = producers.size === 0 ? undefined : producers
    this.#count()
    this.#undo = NO_UNDO
    this.#undoAt = 0
    this.#coveredOffset = view.getFloat64(1)
    this.#committedOffset = this.#coveredOffset
  }

  /** The producers as they were before the batches that are not committed yet. */
  #withoutTail(): ReadonlyMap<number, Producer> {
    const producers = this.#producers ?? new Map<number, Producer>()
    if (this.#undoAt === this.#undo.length) return producers
    const committed = new Map(producers)
    for (let at = this.#undo.length - 1; at >= this.#undoAt; at--) {
      const { producerId, before } = this.#undo[at]!
      if (before === undefined) committed.delete(producerId)
      else committed.set(producerId, before)
    }
    return committed
  }

  /** Whether it may be forgotten: no open transaction, nothing in flight that a truncation could ask about. */
  #isIdle(producer: Producer): boolean {
    return producer.currentTxnStartOffset < 0 && producer.nextOffset <= this.#committedOffset
  }

  /**
   * A quarter at once, so that the sort is paid rarely. By offset and not by timestamp, which clients choose. What is still in
   * flight stays, so the bound may be passed by as much.
   */
  #forgetSilent(count: number): void {
    const idle = [...this.#producers!].filter(([, producer]) => this.#isIdle(producer))
    idle.sort(([, left], [, right]) => left.nextOffset - right.nextOffset)
    for (const [producerId] of idle.slice(0, Math.ceil(count))) this.#producers!.delete(producerId)
    this.#count()
  }
}

function outOfOrder(rule: string, found: number, expected: number): ProducerCheck {
  return {
    kind: 'error',
    error: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    reason: `${rule}: expected ${expected}, found ${found}.`,
  }
}

function lastSequence(batches: readonly number[]): number {
  const last = batches.length - BATCH_FIELDS
  return last < 0 ? NO_SEQUENCE : addToSequence(batches[last]!, batches[last + 1]!)
}

/** 0 when nothing was written in this epoch. */
function nextSequence(batches: readonly number[]): number {
  const last = lastSequence(batches)
  return last === NO_SEQUENCE ? 0 : addToSequence(last, 1)
}

function afterBatch(
  before: Producer | undefined,
  bytes: Uint8Array,
  at: number,
  baseOffset: number,
  nextOffset: number,
  timestamp: number,
): Producer {
  const epoch = producerEpochOf(bytes, at)
  const kept = before === undefined || before.epoch !== epoch ? [] : before.batches
  const batches = kept.slice(kept.length === BATCHES_MAX * BATCH_FIELDS ? BATCH_FIELDS : 0)
  if (lastSequenceOf(bytes, at) !== NO_SEQUENCE) {
    batches.push(baseSequenceOf(bytes, at), lastOffsetDeltaOf(bytes, at), baseOffset, timestamp)
  }
  const openedAt = before?.currentTxnStartOffset ?? -1
  return {
    epoch,
    coordinatorEpoch: before?.coordinatorEpoch ?? -1,
    currentTxnStartOffset: openedAt < 0 && isTransactional(bytes, at) ? baseOffset : openedAt,
    lastTimestamp: timestamp,
    nextOffset,
    batches,
  }
}

function afterMarker(
  before: Producer | undefined,
  bytes: Uint8Array,
  at: number,
  nextOffset: number,
): Producer | undefined {
  const marker = decodeEndTransactionMarker(bytes, at)
  if (marker === undefined) return before
  const epoch = producerEpochOf(bytes, at)
  return {
    epoch,
    coordinatorEpoch: marker.coordinatorEpoch,
    currentTxnStartOffset: -1,
    lastTimestamp: maxTimestampOf(bytes, at),
    nextOffset,
    // With transactions v2 the marker carries the next epoch, whose sequences begin at 0.
    batches: before !== undefined && before.epoch === epoch ? before.batches : [],
  }
}
