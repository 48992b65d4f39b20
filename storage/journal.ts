// Flush rounds of the journal: the appends of all groups of a shard, gathered into one block and written with one durable
// write; a ring of recycled files underneath.
//
// One per shard, touched only from its worker thread. Appends that arrive while a round is in flight join the next one, so
// a round grows with the load and there is no linger setting to tune. What is in the records is storage's and recovery's
// business; the bytes are in journal-format.ts, the reasons in README.md.

import { invariant } from '../protocol/invariant.ts'
import type { Arena } from './arena.ts'
import { BLOCK_BYTES, type Disk, DiskError, type File } from './disk.ts'
import {
  alignUp,
  BLOCK_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  RecordType,
  recordBytes,
  writeBlockHeader,
  writeRecordHeader,
} from './journal-format.ts'

/** Rounds on their way to the device at once; more only when each of them is full. */
const ROUNDS_IN_FLIGHT_MAX = 4
/** What is zero-written before the very first append, so that starting takes no longer; see README.md, decision 3. */
const FIRST_FILE_BYTES = 4 << 20
const ZERO_WRITE_BYTES = 256 * 1024

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

export interface JournalFile {
  readonly slot: number
  readonly path: string
  readonly file: File
  capacityBytes: number
  /** Sequence of the block at byte 0; -1 while the file is free. */
  firstSequence: number
  /** Where the next block goes. */
  position: number
}

/** What replay found, and where writing goes on. */
export interface RingState {
  /** Files with blocks that are needed, oldest first; the last one is written to. */
  live: JournalFile[]
  free: JournalFile[]
  lastSequence: number
  lastCrc: number
  session: number
  nextSlot: number
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
  monotonicMs(): number
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
  /** Files the ring should have; grows when what is live does not fit in half of them. */
  fileTarget: number
  /** Bytes of records begun so far. */
  recordBytesTotal = 0
  failed: DiskError | undefined
  readonly #options: JournalOptions<M>
  readonly #arena: Arena
  #live: JournalFile[]
  #free: JournalFile[]
  /**
   * No longer needed, oldest first: blocks from `sequence` on say so. Those before it still name the file as the start of
   * replay, as what took its place may be in any of them.
   */
  #retired: { file: JournalFile; sequence: number }[] = []
  /** Neither live nor free, and named by nothing: being made longer, or left alone because the ring is closing. */
  #aside: JournalFile[] = []
  #filling: Round<M> | undefined
  readonly #queue: Round<M>[] = []
  readonly #inFlight: Round<M>[] = []
  #nextSequence: number
  #lastCrc: number
  readonly #session: number
  #nextSlot: number
  #runAt = -1
  #runPosition = 0
  #runEnd = 0
  #makingFile = false
  #rolling = false
  #fileWantedNext = false
  #fileWanted = false
  #closed = false
  #waiters: { sequence: number; resolve: () => void; reject: (error: DiskError) => void }[] = []
  #background: Promise<void> = Promise.resolve()

  constructor(options: JournalOptions<M>, ring: RingState) {
    this.#options = options
    this.#arena = options.arena
    this.#live = ring.live
    this.#free = ring.free
    this.#nextSequence = ring.lastSequence + 1
    this.durableSequence = ring.lastSequence
    this.#lastCrc = ring.lastCrc
    this.#session = ring.session
    this.#nextSlot = ring.nextSlot
    this.fileTarget = options.fileCount
  }

  /** Makes the first file of a new ring, so that appends can begin; does nothing when there is one. */
  async start(): Promise<void> {
    if (this.#live.length === 0 && this.#free.length === 0) {
      this.#free.push(await this.#makeFile(Math.min(this.#options.fileBytes, FIRST_FILE_BYTES)))
    }
  }

  /** Brings the ring to its number of files, in the background. */
  fillRing(): void {
    this.#inBackground(async () => {
      // A disk that was full when they were made has left files that hold nothing, or next to nothing.
      const leastBytes = Math.min(this.#options.fileBytes, FIRST_FILE_BYTES)
      for (const file of this.#free.filter(({ capacityBytes }) => capacityBytes < leastBytes)) {
        if (this.#closed || this.failed !== undefined) return
        if (!this.#free.includes(file)) continue
        this.#free = this.#free.filter((other) => other !== file)
        this.#aside.push(file)
        await this.#lengthen(file)
      }
      while (!this.#closed && this.failed === undefined && this.fileCount < this.fileTarget) {
        this.#fileWanted = false
        const file = await this.#makeFile(this.#options.fileBytes)
        this.#addFree(file)
      }
    })
  }

  get fileCount(): number {
    return this.#live.length + this.#free.length + this.#retired.length + this.#aside.length
  }

  get freeFileCount(): number {
    return this.#free.length
  }

  get liveFileCount(): number {
    return this.#live.length
  }

  /** Bytes that a replay would read now. */
  get liveBytes(): number {
    let bytes = this.#live.at(-1)?.position ?? 0
    for (let at = 0; at < this.#live.length - 1; at++) bytes += this.#live[at]!.capacityBytes
    return bytes
  }

  /** Sequence of the first block that is not in the oldest file, when the oldest is not the one written to. */
  get oldestFileEnd(): number | undefined {
    return this.#live.length < 2 ? undefined : this.#live[1]!.firstSequence
  }

  /** Bytes of blocks that can be written before the ring needs another free file. */
  get roomBytes(): number {
    const current = this.#live.at(-1)
    let room = current === undefined ? 0 : Math.max(0, current.capacityBytes - current.position)
    for (const file of this.#free) room += file.capacityBytes
    for (const round of this.#queue) room -= round.blockBytes
    return room - (this.#filling === undefined ? 0 : alignUp(this.#filling.usedBytes, BLOCK_BYTES))
  }

  /** Size of the largest file of the ring. */
  get largestFileBytes(): number {
    let largest = 0
    for (const file of this.#live) largest = Math.max(largest, file.capacityBytes)
    for (const file of this.#free) largest = Math.max(largest, file.capacityBytes)
    for (const { file } of this.#retired) largest = Math.max(largest, file.capacityBytes)
    for (const file of this.#aside) largest = Math.max(largest, file.capacityBytes)
    return largest
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
    invariant(this.#live.length > 1, 'the file being written is never retired', this.#live.length)
    const file = this.#live.shift()!
    // The blocks to come name the new start of replay; without traffic there would be none. What was moved out of the file may
    // be in the block being filled, so none before that one does.
    if (this.#filling === undefined) this.begin(undefined, 0, RecordType.NOTHING, 0, 0, 0, 0, 0, 0, 0)
    this.#retired.push({ file, sequence: this.fillingSequence })
    this.flush()
  }

  /** The next block begins a free file, if there is one. @returns whether it does */
  beginFile(): boolean {
    if (this.#free.length === 0 || this.#queue.length > 0 || this.#inFlight.length > 0) return false
    this.#seal()
    this.#pump()
    this.#fileWantedNext = this.#free.length > 0
    return this.#fileWantedNext
  }

  /** Replay starts at the file being written: nothing before it is needed. For a clean stop. */
  forgetOlderFiles(): void {
    for (const { file } of this.#retired) this.#aside.push(file)
    this.#retired = []
    while (this.#live.length > 1) this.#aside.push(this.#live.shift()!)
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
      this.#fileWanted = true
      await this.#background
      const files = [...this.#live, ...this.#free, ...this.#aside, ...this.#retired.map((entry) => entry.file)]
      await Promise.allSettled(files.map((entry) => entry.file.close()))
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
      const round = this.#queue[0]!
      let file = this.#live.at(-1)
      const next = this.#fileWantedNext && this.#free.length > 0
      if (file === undefined || next || file.position + round.blockBytes > file.capacityBytes) {
        file = this.#roll(round)
        if (file === undefined) return
        this.#fileWantedNext = false
      }
      this.#queue.shift()
      this.#submit(round, file)
    }
  }

  /** Begins a free file. @returns undefined when one has to be made first; #pump() is called again then */
  #roll(round: Round<M>): JournalFile | undefined {
    const file = this.#free.shift()
    if (file === undefined) {
      if (this.#rolling) return undefined
      this.#rolling = true
      this.#fileWanted = true
      this.#inBackground(async () => {
        if (this.#free.length > 0) return
        this.#options.log(
          'warn',
          `journal ${this.#options.directory}: all ${this.fileCount} files are in use, adding one`,
        )
        this.#free.push(await this.#makeFile(this.#options.fileBytes))
      }).then(() => {
        this.#rolling = false
        this.#pump()
      })
      return undefined
    }
    file.firstSequence = round.sequence
    file.position = 0
    // A block longer than the file makes it longer; the durable write covers the new size.
    file.capacityBytes = Math.max(file.capacityBytes, round.blockBytes)
    this.#live.push(file)
    this.#options.onRing()
    return file
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
      this.#replayFrom(round.sequence),
      this.#session,
      round.recordCount,
      this.#lastCrc,
    )
    round.submittedMs = this.#options.monotonicMs()
    this.#inFlight.push(round)
    file.file.write(this.#arena.view(round.at, round.blockBytes), position, true).then(
      () => this.#onWritten(round),
      (error) => this.fail(asDiskError(error, 'write', file.path)),
    )
  }

  /** First block of the oldest file that a block with this sequence must name. */
  #replayFrom(sequence: number): number {
    for (const retired of this.#retired) if (retired.sequence > sequence) return retired.file.firstSequence
    return this.#live[0]!.firstSequence
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
    this.#freeRetired()
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

  #freeRetired(): void {
    while (this.#retired.length > 0 && this.#retired[0]!.sequence <= this.durableSequence) {
      const { file } = this.#retired[0]!
      if (this.fileCount > this.fileTarget) {
        this.#retired.shift()
        this.#inBackground(() => this.#removeFile(file))
      } else if (file.capacityBytes < this.#options.fileBytes) {
        this.#retired.shift()
        this.#aside.push(file)
        this.#inBackground(() => this.#lengthen(file))
      } else {
        this.#retired.shift()
        this.#addFree(file)
      }
    }
  }

  /** A file that was put aside gets the length of all, and is free. */
  async #lengthen(file: JournalFile): Promise<void> {
    this.#fileWanted = false
    const from = file.capacityBytes
    await this.#extend(file.file, from, this.#options.fileBytes)
    file.capacityBytes = this.#options.fileBytes
    this.#aside = this.#aside.filter((other) => other !== file)
    this.#addFree(file)
  }

  #addFree(file: JournalFile): void {
    file.firstSequence = -1
    file.position = 0
    this.#free.push(file)
    this.#pump()
    this.#options.onRing()
  }

  async #removeFile(file: JournalFile): Promise<void> {
    await file.file.close()
    await this.#options.disk.remove(file.path)
  }

  async #makeFile(sizeBytes: number): Promise<JournalFile> {
    const slot = this.#nextSlot
    this.#nextSlot += 1
    const path = `${this.#options.directory}/journal-${slot}.mj`
    const file = await this.#options.disk.open(path, { mode: 'create', direct: true })
    await this.#extend(file, 0, sizeBytes)
    await this.#options.disk.syncDirectory(this.#options.directory)
    return { slot, path, file, capacityBytes: sizeBytes, firstSequence: -1, position: 0 }
  }

  /** Reserves and zero-writes a file, so that later writes change no metadata. Stops early when the file is needed now. */
  async #extend(file: File, from: number, sizeBytes: number): Promise<void> {
    await file.allocate(from, sizeBytes - from, 'extend')
    if (this.#makingFile) return
    this.#makingFile = true
    const at = this.#arena.alloc(ZERO_WRITE_BYTES, 'inflight')
    try {
      if (at >= 0) {
        const zeros = this.#arena.view(at, ZERO_WRITE_BYTES)
        zeros.fill(0)
        for (let position = from; position < sizeBytes && !this.#fileWanted; position += ZERO_WRITE_BYTES) {
          const length = Math.min(ZERO_WRITE_BYTES, sizeBytes - position)
          await file.write(length === ZERO_WRITE_BYTES ? zeros : zeros.subarray(0, length), position, false)
        }
      }
      await file.sync()
    } finally {
      this.#makingFile = false
      if (at >= 0) this.#arena.release(at)
    }
  }

  /** One piece of background work after the other. A full disk is no failure here: the ring stays short and admission closes. */
  #inBackground(work: () => Promise<void>): Promise<void> {
    const run = async (): Promise<void> => {
      if (this.#closed || this.failed !== undefined) return
      try {
        await work()
      } catch (error) {
        const failure = asDiskError(error, 'extend', this.#options.directory)
        if (failure.code === 'ENOSPC' && (this.#queue.length === 0 || this.#inFlight.length > 0)) {
          this.#options.log('warn', `journal ${this.#options.directory}: no space for another file`)
        } else {
          this.fail(failure)
        }
      }
    }
    this.#background = this.#background.then(run)
    return this.#background
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

/** Storage fails on the machine's errors only: anything else is ours and goes up. */
export function asDiskError(error: unknown, operation: string, path: string): DiskError {
  if (error instanceof DiskError) return error
  if (error instanceof Error && error.name === 'InvariantViolation') throw error
  return new DiskError('EIO', operation, path, { cause: error })
}
