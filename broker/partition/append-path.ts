// The way of a batch into a partition that leads: checks, the queue before the journal, and who waits for the commit.
//
// One per partition replica that was ever appended to, touched only from its shard's thread. An append is answered when its last offset
// is committed, whatever its acks: acks=1 asks for less, and gets the same. acks=all asks besides that enough replicas are in sync, before
// the append and after (min.insync.replicas), and where that is more than a commit takes, it waits until so many members hold the batch. When
// leadership is lost, everybody who waits is told at once; the data may survive or not.

import { ErrorCode } from '../../protocol/errors.ts'
import { BATCH_HEADER_BYTES, lastOffsetDeltaOf, producerIdOf } from '../../protocol/records/batch.ts'
import type { GroupLog } from '../../storage/log.ts'
import { type AppendResult, type AppendSink, appendDone, appendRefused, type LeaderHint, notLeader } from './append.ts'
import type { PartitionHost } from './host.ts'
import type { ProducerState } from './producer-state.ts'
import { type ProduceRules, type ValidationOutcome, validateBatch } from './validate.ts'

/** The part of a Partition that appends use. */
export interface AppendOwner {
  readonly log: GroupLog
  readonly host: PartitionHost
  readonly producers: ProducerState
  readonly rules: ProduceRules
  readonly highWatermark: number
  readonly isLeader: boolean
  readonly isDeleted: boolean
  readonly leader: LeaderHint
  /** Led last, and knows of nobody who leads now: no majority can be reached. */
  readonly hasLostMajority: boolean
  /** Whether as many replicas are in sync as min.insync.replicas wants. */
  readonly isEnoughInSync: boolean
  proposeBatch(batch: Uint8Array, offsetSpan: number, baseOffset: number, logAppendTimeMs: number): void
  /** Below this offset (exclusive) as many members hold the log as acks=all asks for; infinite where a commit says so. */
  readonly heldOffset: number
  /** Whether heldMoved() is to be called from now on. */
  watchHeld(isWanted: boolean): void
  /** Whether this replica leads now, beyond doubt. */
  confirmLeadership(): true | Promise<boolean>
}

/** An append whose batch is in the journal and not yet committed. */
interface Waiting {
  readonly endOffset: number
  readonly requiresAll: boolean
  readonly sink: AppendSink
  readonly slot: number
  readonly baseOffset: number
  readonly logAppendTimeMs: number
}

/** An append that could not be made at once: something asynchronous stands before it. */
interface Queued {
  /** Ours, unless its outcome is on the way already: then the bytes may be the caller's again, and only its length counts. */
  readonly batch: Uint8Array
  /** Our own copy of at least the batch's header. */
  readonly header: Uint8Array
  readonly requiresAll: boolean
  readonly sink: AppendSink
  readonly slot: number
  readonly outcome: ValidationOutcome | Promise<ValidationOutcome> | undefined
}

/** What a batch in the queue costs beside its bytes. */
const QUEUED_OVERHEAD_BYTES = 256
/** Of the queue's head, what is done is let go when it is so long and most of the queue. */
const QUEUE_DONE_MAX = 64

/** While the majority is lost, one answer in so long a time sends the client to look for another leader. */
const LOOK_ELSEWHERE_MS = 1000

export class AppendPath {
  readonly #owner: AppendOwner
  #waiting: Waiting[] = []
  #waitingAt = 0
  /** Committed, acks=all, and not yet on as many members as min.insync.replicas asks for. */
  #holding: Waiting[] | undefined
  #queue: Queued[] | undefined
  /** First of the queue that has no answer. */
  #queueAt = 0
  #lookElsewhereMs = 0

  constructor(owner: AppendOwner) {
    this.#owner = owner
  }

  /**
   * Appends one batch of a client. The bytes are needed during the call only.
   * @param batch complete, of magic 2; everything else about it is checked here
   * @param requiresAll acks=all
   */
  append(batch: Uint8Array, requiresAll: boolean, sink: AppendSink, slot: number): void {
    const { host, rules } = this.#owner
    const refusal = this.#refusal(requiresAll)
    if (refusal !== undefined) {
      this.#refuse(batch, refusal, sink, slot)
      return
    }
    const tooLarge = this.#tooLarge(batch)
    if (tooLarge !== undefined) {
      sink.appended(slot, tooLarge)
      return
    }
    if (this.#queue !== undefined || !host.canAccept(batch.length)) {
      // Not slice(): of a Buffer that would be another view of the bytes that are about to change.
      const copy = new Uint8Array(batch)
      this.#enqueue({ batch: copy, header: copy, requiresAll, sink, slot, outcome: undefined })
      return
    }
    const outcome = validateBatch(batch, rules, host.clock.nowMs())
    if (outcome instanceof Promise) {
      // The validation works on its own copy of what it needs; the queue keeps the order of the batches behind it.
      const header = new Uint8Array(batch.subarray(0, BATCH_HEADER_BYTES))
      this.#enqueue({ batch, header, requiresAll, sink, slot, outcome })
      return
    }
    this.#appendValidated(outcome, requiresAll, sink, slot)
  }

  /**
   * Appends records of the broker itself as one batch, without a client's rules; keeps the bytes. As acks=all before the append. After it,
   * what is committed counts as done whoever is in sync by then: the broker's state is what its log says.
   */
  appendInternal(batch: Uint8Array, sink: AppendSink, slot: number): void {
    const refusal = this.#refusal(true)
    if (refusal !== undefined) {
      sink.appended(slot, refusal)
      return
    }
    const tooLarge = this.#tooLarge(batch)
    if (tooLarge !== undefined) {
      sink.appended(slot, tooLarge)
      return
    }
    const outcome: ValidationOutcome = { error: ErrorCode.NONE, batch, logAppendTimeMs: -1 }
    if (this.#queue !== undefined || !this.#owner.host.canAccept(batch.length)) {
      this.#enqueue({ batch, header: batch, requiresAll: false, sink, slot, outcome })
      return
    }
    this.#appendValidated(outcome, false, sink, slot)
  }

  /** Everything below `offset` (exclusive) is committed: whoever waited for that is answered. */
  committed(offset: number): void {
    const waiting = this.#waiting
    // One look for all that this commit answers.
    if (this.#holding !== undefined) this.heldMoved()
    const isAwaited = this.#waitingAt < waiting.length
    const isEnough = isAwaited && this.#owner.isEnoughInSync
    const heldOffset = isEnough ? this.#owner.heldOffset : Number.POSITIVE_INFINITY
    while (this.#waitingAt < waiting.length) {
      const next = waiting[this.#waitingAt]!
      if (next.endOffset > offset) break
      this.#waitingAt++
      if (next.requiresAll && next.endOffset > heldOffset) {
        this.#hold(next)
        continue
      }
      const error = next.requiresAll && !isEnough ? ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND : ErrorCode.NONE
      this.#done(error, next.sink, next.slot, next.baseOffset, next.logAppendTimeMs)
    }
    if (this.#waitingAt === waiting.length) {
      waiting.length = 0
      this.#waitingAt = 0
    } else if (this.#waitingAt > 1024) {
      waiting.splice(0, this.#waitingAt)
      this.#waitingAt = 0
    }
  }

  #hold(held: Waiting): void {
    if (this.#holding === undefined) {
      this.#holding = []
      this.#owner.watchHeld(true)
    }
    this.#holding.push(held)
  }

  /** Members hold more than before, others are in sync, or another number of them is asked for. */
  heldMoved(): void {
    const holding = this.#holding
    if (holding === undefined) return
    const { isEnoughInSync, heldOffset } = this.#owner
    let count = 0
    while (count < holding.length && (!isEnoughInSync || holding[count]!.endOffset <= heldOffset)) count++
    if (count === 0) return
    const error = isEnoughInSync ? ErrorCode.NONE : ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
    const answered = holding.splice(0, count)
    if (holding.length === 0) this.#holdNobody()
    for (const { sink, slot, baseOffset, logAppendTimeMs } of answered) {
      this.#done(error, sink, slot, baseOffset, logAppendTimeMs)
    }
  }

  #holdNobody(): void {
    this.#holding = undefined
    this.#owner.watchHeld(false)
  }

  /** Nobody who waits will get what they wait for, as far as this replica can tell. */
  refuseAll(refusal: AppendResult): void {
    const waiting = this.#waiting
    const waitingAt = this.#waitingAt
    const queue = this.#queue
    const queueAt = this.#queueAt
    const holding = this.#holding
    if (holding !== undefined) this.#holdNobody()
    this.#waiting = []
    this.#waitingAt = 0
    this.#queue = undefined
    this.#queueAt = 0
    if (holding !== undefined) for (const { sink, slot } of holding) sink.appended(slot, refusal)
    for (let at = waitingAt; at < waiting.length; at++) waiting[at]!.sink.appended(waiting[at]!.slot, refusal)
    if (queue === undefined) return
    for (let at = queueAt; at < queue.length; at++) {
      const { batch, header, sink, slot } = queue[at]!
      this.#owner.host.queued(-queuedBytesOf(batch))
      this.#refuse(header, refusal, sink, slot)
    }
  }

  /** Not for anything about the batch itself: it may come again. */
  #refuse(header: Uint8Array, refusal: AppendResult, sink: AppendSink, slot: number): void {
    const { host, log } = this.#owner
    host.refusedSequences.add(log.groupId, header)
    sink.appended(slot, refusal)
  }

  /** What the journal would never take, and those behind it would wait for. */
  #tooLarge({ length }: Uint8Array): AppendResult | undefined {
    if (length <= this.#owner.host.batchBytesMax) return undefined
    return appendRefused(ErrorCode.MESSAGE_TOO_LARGE, 'the batch is too large for the memory of a shard')
  }

  #refusal(requiresAll: boolean): AppendResult | undefined {
    const owner = this.#owner
    if (owner.isDeleted) return appendRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if (!owner.isLeader) {
      // A disk that has failed takes leadership with it. Without a successor that is the reason to give.
      const isFault = owner.host.refusesWrites && owner.leader.leaderId < 0
      return isFault ? appendRefused(ErrorCode.KAFKA_STORAGE_ERROR) : this.#notLeader(requiresAll)
    }
    if (owner.host.refusesWrites) return appendRefused(ErrorCode.KAFKA_STORAGE_ERROR)
    if (!requiresAll || owner.isEnoughInSync) return undefined
    return appendRefused(ErrorCode.NOT_ENOUGH_REPLICAS, null, owner.log.logStartOffset)
  }

  /**
   * A leader that lost its majority steps down and knows no other. acks=all hears NOT_ENOUGH_REPLICAS then, as from Kafka. But clients
   * do not look for another leader after that code, and on the other side of a cut there may be one: so every now and then they hear
   * NOT_LEADER_OR_FOLLOWER, as acks=1 always does.
   */
  #notLeader(requiresAll: boolean): AppendResult {
    const { leader, host, log, hasLostMajority } = this.#owner
    if (requiresAll && hasLostMajority) {
      const nowMs = host.clock.monotonicMs()
      if (nowMs < this.#lookElsewhereMs) {
        return appendRefused(ErrorCode.NOT_ENOUGH_REPLICAS, null, log.logStartOffset)
      }
      this.#lookElsewhereMs = nowMs + LOOK_ELSEWHERE_MS
    }
    return notLeader(leader)
  }

  #enqueue(queued: Queued): void {
    const { host } = this.#owner
    if (host.queueBytesLeft <= 0) {
      // What a client hears that waits longer than it wants to, only sooner.
      const reason = 'Too much waits for the disk of this broker.'
      this.#refuse(queued.header, appendRefused(ErrorCode.REQUEST_TIMED_OUT, reason), queued.sink, queued.slot)
      return
    }
    host.queued(queuedBytesOf(queued.batch))
    if (this.#queue !== undefined) {
      this.#queue.push(queued)
      return
    }
    this.#queue = [queued]
    this.#queueAt = 0
    void this.#workQueue(this.#queue)
  }

  /** One at a time and in order, until nothing waits any more or all were refused. */
  async #workQueue(queue: Queued[]): Promise<void> {
    const { host, rules } = this.#owner
    while (this.#queueAt < queue.length) {
      const { batch, header, requiresAll, sink, slot, outcome } = queue[this.#queueAt]!
      while (!host.canAccept(batch.length)) {
        await new Promise<void>((resolve) => host.onRoom(resolve))
        if (this.#queue !== queue) return
      }
      const checked = await (outcome ?? validateBatch(batch, rules, host.clock.nowMs()))
      if (this.#queue !== queue) return
      // Out of the queue before it is answered: to propose it may cost the leadership, and all that is in the queue is refused then.
      this.#takeFirst(queue)
      host.queued(-queuedBytesOf(batch))
      const refusal = this.#refusal(requiresAll)
      if (refusal !== undefined) this.#refuse(header, refusal, sink, slot)
      else this.#appendValidated(checked, requiresAll, sink, slot)
      if (this.#queue !== queue) return
    }
    this.#queue = undefined
    this.#queueAt = 0
  }

  /** A queue that is never empty must not keep all that ever went through it. */
  #takeFirst(queue: Queued[]): void {
    this.#queueAt++
    if (this.#queueAt <= QUEUE_DONE_MAX || this.#queueAt * 2 <= queue.length) return
    queue.splice(0, this.#queueAt)
    this.#queueAt = 0
  }

  #appendValidated(outcome: ValidationOutcome, requiresAll: boolean, sink: AppendSink, slot: number): void {
    const { log, host, producers, highWatermark } = this.#owner
    if (outcome.error !== ErrorCode.NONE) {
      const start = outcome.tellsLogStart ? log.logStartOffset : -1
      sink.appended(slot, appendRefused(outcome.error, outcome.reason, start, outcome.recordErrors))
      return
    }
    const { batch, logAppendTimeMs } = outcome
    const lastOffsetDelta = lastOffsetDeltaOf(batch, 0)
    if (producerIdOf(batch, 0) >= 0) {
      const check = producers.check(batch, 0)
      if (check.kind === 'duplicate') {
        const { baseOffset, timestampMs } = check
        const endOffset = Math.min(baseOffset + lastOffsetDelta + 1, log.logEndOffset)
        const isCommitted = endOffset <= highWatermark && this.#waitingAt === this.#waiting.length
        const isHeld = isCommitted && (!requiresAll || endOffset <= this.#owner.heldOffset)
        const repeated = { endOffset, requiresAll, sink, slot, baseOffset, logAppendTimeMs: timestampMs }
        if (isHeld) this.#done(ErrorCode.NONE, sink, slot, baseOffset, timestampMs)
        else if (isCommitted) this.#hold(repeated)
        else this.#waiting.push(repeated)
        return
      }
      if (check.kind === 'error') {
        this.#refuseSequence(appendRefused(check.error, check.reason, log.logStartOffset), sink, slot)
        return
      }
      if (!host.refusedSequences.isEmpty && !producers.knows(producerIdOf(batch, 0))) {
        const expected = host.refusedSequences.earlierThan(log.groupId, batch)
        if (expected !== undefined) {
          const reason = `The batch with sequence ${expected} was refused and has to come first.`
          sink.appended(slot, appendRefused(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, reason, log.logStartOffset))
          return
        }
      }
    }
    const baseOffset = log.logEndOffset
    const endOffset = baseOffset + lastOffsetDelta + 1
    // Before it is proposed: an entry may be committed, or refused to all who wait, before that returns.
    this.#waiting.push({ endOffset, requiresAll, sink, slot, baseOffset, logAppendTimeMs })
    host.appending(batch.length)
    producers.apply(batch, 0, baseOffset, logAppendTimeMs)
    this.#owner.proposeBatch(batch, lastOffsetDelta + 1, baseOffset, logAppendTimeMs)
  }

  /** A leader that was replaced without knowing it has old sequences in mind: what it holds against a producer counts only if it leads still. */
  #refuseSequence(refusal: AppendResult, sink: AppendSink, slot: number): void {
    const confirmed = this.#owner.confirmLeadership()
    if (confirmed === true) {
      sink.appended(slot, refusal)
      return
    }
    void confirmed.then((leads) =>
      sink.appended(slot, leads ? refusal : appendRefused(ErrorCode.NOT_LEADER_OR_FOLLOWER)),
    )
  }

  #done(error: ErrorCode, sink: AppendSink, slot: number, baseOffset: number, logAppendTimeMs: number): void {
    sink.appended(slot, appendDone(error, baseOffset, logAppendTimeMs, this.#owner.log.logStartOffset))
  }
}

function queuedBytesOf(batch: Uint8Array): number {
  return batch.length + QUEUED_OVERHEAD_BYTES
}
