// Flush rounds of the journal: the appends of all groups of a shard, gathered into one block and written with one durable
// write. The files underneath are journal-ring.ts.
//
// One per shard, touched only from its worker thread. Appends that arrive while a round is in flight join the next one, so
// a round grows with the load and there is no linger setting to tune. What is in the records is storage's and recovery's
// business; the bytes are in journal-format.ts, the reasons in README.md.

import { invariant } from '../protocol/invariant.ts'
import type { Arena } from './arena.ts'
import { asDiskError, BLOCK_BYTES, type Disk, DiskError } from './disk.ts'
import {
  alignUp,
  BLOCK_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  RecordType,
  recordBytes,
  writeBlockHeader,
  writeRecordHeader,
} from './journal-format.ts'
import { type JournalFile, JournalRing, type RingState } from './journal-ring.ts'
import { isOutOfSpace, type Space } from './space.ts'

/** Rounds on their way to the device at once; more only when each of them is full. */
const ROUNDS_IN_FLIGHT_MAX = 4

/** A group in a round. Kept in the group itself, so that a round needs no map. */
export interface RoundMember {
  roundSequence: number
  roundSlot: number
}

/** One block of the journal, from its first record until it is durable. */
export class Round<M extends RoundMember> {
  readonly sequence: number
  readonly runAt: number
  readonly at: number
  readonly capacityBytes: number
  usedBytes = BLOCK_HEADER_BYTES
  blockBytes = 0
  recordCount = 0
  done = false
  submittedMs = 0
  /** Groups with a record in this round, and beside each the last index it appended here, 0 when none. */
  readonly members: M[] = []
  readonly lastIndexes: number[] = []

  constructor(sequence: number, runAt: number, at: number, capacityBytes: number) {
    this.sequence = sequence
    this.runAt = runAt
    this.at = at
    this.capacityBytes = capacityBytes
  }
}

export interface JournalOptions<M extends RoundMember> {
  readonly disk: Disk
  readonly directory: string
  readonly arena: Arena
  readonly fileBytes: number
  readonly fileCount: number
  /** A round that reaches this size is sent off and the next begun. */
  readonly blockBytesMax: number
  readonly runBytes: number
  readonly space: Space
  monotonicMs(): number
  after(delayMs: number, call: () => void): { cancel(): void }
  log(level: 'info' | 'warn', message: string): void
  /** Frees arena memory that can be read again from disk. @returns false when there is none */
  makeRoom(bytes: number): boolean
  /** In order, once per round, when it and all before it are on stable storage. */
  onRound(round: Round<M>): void
  /** A file was begun or became free: time to look at the ring. */
  onRing(): void
  onFailure(error: DiskError): void
}

/** Rounds by their time on the device: bucket i counts those below 2^i microseconds. */
export const LATENCY_BUCKETS = 24

export class Journal<M extends RoundMember> {
  readonly roundMicros = new Array<number>(LATENCY_BUCKETS).fill(0)
  roundCount = 0
  roundBytes = 0
  roundMicrosTotal = 0
  /** Every block up to this sequence is on stable storage. */
  durableSequence: number
  /** Bytes of records begun so far. */
  recordBytesTotal = 0
  failed: DiskError | undefined
  readonly ring: JournalRing
  readonly #options: JournalOptions<M>
  readonly #arena: Arena
  #filling: Round<M> | undefined
  readonly #queue: Round<M>[] = []
  readonly #inFlight: Round<M>[] = []
  /** Rounds in flight that the disk had no space for, although their place was reserved. */
  #stalledCount = 0
  #nextSequence: number
  #lastCrc: number
  readonly #session: number
  #runAt = -1
  #runPosition = 0
  #runEnd = 0
  #fileWantedNext = false
  #closed = false
  #waiters: { sequence: number; resolve: () => void; reject: (error: DiskError) => void }[] = []

  constructor(options: JournalOptions<M>, ring: RingState) {
    this.#options = options
    this.#arena = options.arena
    const { disk, directory, arena, fileBytes, fileCount, space, after, log, onRing } = options
    this.ring = new JournalRing(
      {
        ...{ disk, directory, arena, fileBytes, fileCount, space, after, log, onRing },
        isWanted: () => this.#queue.length > 0,
        onFree: () => this.#pump(),
        hasFailed: () => this.failed !== undefined,
        fail: (error) => this.fail(error),
      },
      ring,
    )
    this.#nextSequence = ring.lastSequence + 1
    this.durableSequence = ring.lastSequence
    this.#lastCrc = ring.lastCrc
    this.#session = ring.session
  }

  /** Bytes of blocks that can be written before the ring needs another free file. */
  get roomBytes(): number {
    let room = this.ring.roomBytes
    for (const round of this.#queue) room -= round.blockBytes
    return room - (this.#filling === undefined ? 0 : alignUp(this.#filling.usedBytes, BLOCK_BYTES))
  }

  /** Bytes that can still be taken without a new run of memory. */
  get runRoomBytes(): number {
    const filling = this.#filling
    if (filling !== undefined) return filling.capacityBytes - filling.usedBytes
    return Math.max(0, this.#runEnd - this.#runPosition - BLOCK_HEADER_BYTES)
  }

  /** Sequence and run of the block that the last begin() wrote into. */
  get fillingSequence(): number {
    return this.#filling!.sequence
  }

  get fillingRunAt(): number {
    return this.#filling!.runAt
  }

  /** Sequence that the next record gets at least. */
  get nextRecordSequence(): number {
    return this.#filling?.sequence ?? this.#nextSequence
  }

  get hasFilling(): boolean {
    return this.#filling !== undefined
  }

  /** The oldest round that the disk owes an answer, or that waits for a file; undefined when there is none. */
  get oldestPending(): number | undefined {
    return (this.#inFlight[0] ?? this.#queue[0])?.sequence
  }

  get pendingBytes(): number {
    let bytes = this.#filling === undefined ? 0 : this.#filling.usedBytes
    for (const round of this.#queue) bytes += round.usedBytes
    for (const round of this.#inFlight) bytes += round.usedBytes
    return bytes
  }

  /**
   * Takes room for one record in the block being filled and writes its header.
   * @param member the group that wants to hear when the record is durable
   * @param lastIndex last index the record covers, 0 when it covers none
   * @returns position of the payload in the arena; the caller fills it before it returns to the event loop
   * @throws DiskError when the journal has failed or the arena is spent
   */
  begin(
    member: M | undefined,
    lastIndex: number,
    type: number,
    flags: number,
    kind: number,
    payloadBytes: number,
    groupId: number,
    term: number,
    index: number,
    commitIndex: number,
  ): number {
    if (this.failed !== undefined) throw this.failed
    const need = recordBytes(payloadBytes)
    let round = this.#filling
    if (round === undefined || round.usedBytes + need > round.capacityBytes) round = this.#nextRound(need)
    const at = round.at + round.usedBytes
    round.usedBytes += need
    this.recordBytesTotal += need
    round.recordCount += 1
    writeRecordHeader(this.#arena.view32, at, type, flags, kind, payloadBytes, groupId, term, index, commitIndex)
    if (member !== undefined) {
      if (member.roundSequence !== round.sequence) {
        member.roundSequence = round.sequence
        member.roundSlot = round.members.length
        round.members.push(member)
        round.lastIndexes.push(lastIndex)
      } else if (lastIndex > 0) {
        round.lastIndexes[member.roundSlot] = lastIndex
      }
    }
    return at + RECORD_HEADER_BYTES
  }

  /** Sends a round, be it an empty one, to a disk that owes no answer. @returns its sequence */
  probe(): number {
    if (this.#filling === undefined) this.begin(undefined, 0, RecordType.NOTHING, 0, 0, 0, 0, 0, 0, 0)
    const sequence = this.fillingSequence
    this.flush()
    return sequence
  }

  /** Sends what has gathered to the device when nothing is in flight; otherwise it goes when the round in flight is done. */
  flush(): void {
    if (this.#inFlight.length > 0 || this.#queue.length > 0) return
    this.#seal()
    this.#pump()
  }

  /** Resolves when the block with this sequence is durable; it is sent off as soon as the device is free. */
  whenDurable(sequence: number): Promise<void> {
    if (this.failed !== undefined) return Promise.reject(this.failed)
    if (sequence <= this.durableSequence) return Promise.resolve()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiters.push({ sequence, resolve, reject })
    this.flush()
    return promise
  }

  /** A truncated group's later entries are not made durable by rounds that held what they replaced. */
  forgetFrom(member: M, index: number): void {
    const clamp = (round: Round<M>): void => {
      const slot = round.members.indexOf(member)
      if (slot >= 0 && round.lastIndexes[slot]! >= index) round.lastIndexes[slot] = index - 1
    }
    for (const round of this.#inFlight) clamp(round)
    for (const round of this.#queue) clamp(round)
    if (this.#filling !== undefined) clamp(this.#filling)
  }

  /** The round being filled makes the group durable up to an index, by a record that stands for all before it. */
  cover(member: M, lastIndex: number): void {
    const round = this.#filling
    invariant(round !== undefined && member.roundSequence === round.sequence, 'the record is in the round', lastIndex)
    round.lastIndexes[member.roundSlot] = lastIndex
  }

  /** The oldest file holds nothing that is needed: it may be written again once blocks on disk say so too. */
  retireOldest(): void {
    // The blocks to come name the new start of replay; without traffic there would be none. What was moved out of the file may
    // be in the block being filled, so none before that one does.
    if (this.#filling === undefined) this.begin(undefined, 0, RecordType.NOTHING, 0, 0, 0, 0, 0, 0, 0)
    this.ring.retireOldest(this.fillingSequence)
    this.flush()
  }

  /** The next block begins a free file, if there is one. @returns whether it does */
  beginFile(): boolean {
    if (this.ring.freeFileCount === 0 || this.#queue.length > 0 || this.#inFlight.length > 0) return false
    this.#seal()
    this.#pump()
    this.#fileWantedNext = this.ring.freeFileCount > 0
    return this.#fileWantedNext
  }

  /** close() was called: nothing may be appended any more. */
  get isClosed(): boolean {
    return this.#closed
  }

  /** Waits for everything appended so far, then for the background, and closes the files. */
  async close(): Promise<void> {
    try {
      if (this.failed === undefined && this.pendingBytes > 0) await this.whenDurable(this.#nextSequence - 1)
    } finally {
      this.#closed = true
      await this.ring.close()
      if (this.#runAt >= 0) this.#arena.release(this.#runAt)
      this.#runAt = -1
    }
  }

  fail(error: DiskError): void {
    if (this.failed !== undefined) return
    this.failed = error
    for (const waiter of this.#waiters) waiter.reject(error)
    this.#waiters = []
    this.#options.onFailure(error)
  }

  #nextRound(need: number): Round<M> {
    this.#seal()
    this.#pump()
    const wanted = alignUp(BLOCK_HEADER_BYTES + need, BLOCK_BYTES)
    if (this.#runEnd - this.#runPosition < wanted) this.#nextRun(wanted)
    const at = this.#runPosition
    const capacityBytes = Math.min(this.#runEnd - at, Math.max(wanted, this.#options.blockBytesMax))
    this.#arena.retain(this.#runAt)
    const round = new Round<M>(this.#nextSequence, this.#runAt, at, capacityBytes)
    this.#nextSequence += 1
    this.#filling = round
    return round
  }

  #nextRun(wanted: number): void {
    const bytes = Math.max(wanted, this.#options.runBytes)
    let at = this.#arena.alloc(bytes, 'journal')
    while (at < 0 && this.#options.makeRoom(bytes)) at = this.#arena.alloc(bytes, 'journal')
    if (at < 0) at = this.#arena.alloc(wanted, 'journal')
    if (at < 0) throw new DiskError('ENOMEM', 'append', this.#options.directory)
    if (this.#runAt >= 0) this.#arena.release(this.#runAt)
    this.#runAt = at
    this.#runPosition = at
    this.#runEnd = at + this.#arena.runBytes(at)
  }

  #seal(): void {
    const round = this.#filling
    if (round === undefined) return
    this.#filling = undefined
    round.blockBytes = alignUp(round.usedBytes, BLOCK_BYTES)
    this.#runPosition = round.at + round.blockBytes
    this.#queue.push(round)
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#inFlight.length < ROUNDS_IN_FLIGHT_MAX && this.failed === undefined) {
      // Where one round found no space the next will not either.
      if (this.#stalledCount > 0) return
      const round = this.#queue[0]!
      let file = this.ring.current
      const next = this.#fileWantedNext && this.ring.freeFileCount > 0
      if (file === undefined || next || file.position + round.blockBytes > file.capacityBytes) {
        file = this.ring.roll(round.sequence, round.blockBytes)
        if (file === undefined) return
        this.#fileWantedNext = false
      }
      this.#queue.shift()
      this.#submit(round, file)
    }
  }

  #submit(round: Round<M>, file: JournalFile): void {
    const position = file.position
    file.position = position + round.blockBytes
    this.#lastCrc = writeBlockHeader(
      this.#arena.view32,
      this.#arena.bytes,
      round.at,
      round.usedBytes,
      round.blockBytes,
      round.sequence,
      this.durableSequence,
      this.ring.replayFrom(round.sequence),
      this.#session,
      round.recordCount,
      this.#lastCrc,
    )
    round.submittedMs = this.#options.monotonicMs()
    this.#inFlight.push(round)
    file.file.write(this.#arena.view(round.at, round.blockBytes), position, true).then(
      () => this.#onWritten(round),
      (error) => this.#onRefused(round, file, position, error),
    )
  }

  /**
   * The block is not on the disk, or a part of it is. For want of space the same bytes are written again to the same place: rounds
   * are acknowledged in order, so nothing behind it counts before it does, and replay takes it for a torn tail meanwhile.
   */
  #onRefused(round: Round<M>, file: JournalFile, position: number, error: unknown): void {
    // Through the page cache the error may be about another block that was written back, and about one that nobody hears of.
    if (!file.file.direct || !isOutOfSpace(error)) {
      this.fail(asDiskError(error, 'write', file.path))
      return
    }
    this.#stalledCount += 1
    const write = (): Promise<void> => file.file.write(this.#arena.view(round.at, round.blockBytes), position, true)
    this.#options.space
      .retryAfter(error, write, () => this.failed !== undefined)
      .then(
        () => {
          this.#stalledCount -= 1
          this.#onWritten(round)
        },
        (last) => this.fail(asDiskError(last, 'write', file.path)),
      )
  }

  #onWritten(round: Round<M>): void {
    round.done = true
    this.#count(round)
    while (this.#inFlight.length > 0 && this.#inFlight[0]!.done && this.failed === undefined) {
      const first = this.#inFlight.shift()!
      this.durableSequence = first.sequence
      this.#options.onRound(first)
      this.#arena.release(first.runAt)
    }
    if (this.failed !== undefined) return
    this.ring.freeRetired(this.durableSequence)
    this.#wake()
    this.#pump()
    this.flush()
  }

  #wake(): void {
    if (this.#waiters.length === 0) return
    const due = this.#waiters.filter((waiter) => waiter.sequence <= this.durableSequence)
    if (due.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => waiter.sequence > this.durableSequence)
    for (const waiter of due) waiter.resolve()
  }

  #count(round: Round<M>): void {
    const micros = Math.max(0, Math.round((this.#options.monotonicMs() - round.submittedMs) * 1000))
    const bucket = Math.min(LATENCY_BUCKETS - 1, micros === 0 ? 0 : 32 - Math.clz32(micros))
    this.roundMicros[bucket]! += 1
    this.roundMicrosTotal += micros
    this.roundCount += 1
    this.roundBytes += round.blockBytes
  }
}
