// The files under a journal: a ring of preallocated ones, written one after the other and used again when nothing in them is needed.
//
// Belongs to one journal.ts, on its thread. The journal says which blocks are durable and what is needed; here files are made, in
// the background as far as possible, begun, retired and freed. On a full disk the ring stays as long as it is.

import { invariant } from '../protocol/invariant.ts'
import type { Arena } from './arena.ts'
import { asDiskError, type Disk, type DiskError, type File } from './disk.ts'
import { isOutOfSpace, type Space } from './space.ts'

/** What is zero-written before the very first append, so that starting takes no longer; see README.md, decision 3. */
const FIRST_FILE_BYTES = 4 << 20
const ZERO_WRITE_BYTES = 256 * 1024
/** A ring that a full disk left short is looked at again: in no hurry, as nothing waits for it. */
const FILL_AGAIN_MS = 10_000

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

export interface JournalRingOptions {
  readonly disk: Disk
  readonly directory: string
  readonly arena: Arena
  readonly fileBytes: number
  readonly fileCount: number
  readonly space: Space
  after(delayMs: number, call: () => void): { cancel(): void }
  log(level: 'info' | 'warn', message: string): void
  /** Whether blocks wait for a file. */
  isWanted(): boolean
  /** A file is free. */
  onFree(): void
  /** A file was begun or became free: time to look at the ring. */
  onRing(): void
  hasFailed(): boolean
  fail(error: DiskError): void
}

export class JournalRing {
  /** Files the ring should have; grows when what is live does not fit in half of them. */
  fileTarget: number
  /** The last attempt to bring the ring to its number of files found no space. */
  isCramped = false
  readonly #options: JournalRingOptions
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
  #nextSlot: number
  #makingFile = false
  #rolling = false
  #fileWanted = false
  #closed = false
  #background: Promise<void> = Promise.resolve()
  /** Apart from the background: what takes files away must not wait for what has no space to make them. */
  #removing: Promise<void> = Promise.resolve()
  #fillTimer: { cancel(): void } | undefined

  constructor(options: JournalRingOptions, state: RingState) {
    this.#options = options
    this.#arena = options.arena
    this.#live = state.live
    this.#free = state.free
    this.#nextSlot = state.nextSlot
    this.fileTarget = options.fileCount
  }

  /** Makes the first file of a new ring, so that appends can begin; does nothing when there is one. */
  async start(): Promise<void> {
    if (this.#live.length === 0 && this.#free.length === 0) {
      this.#free.push(await this.#makeFile(Math.min(this.#options.fileBytes, FIRST_FILE_BYTES)))
    }
  }

  /** Brings the ring to its number of files, in the background. On a full disk it stays short, and this is tried again. */
  fill(): void {
    this.#inBackground(async () => {
      this.#fillTimer?.cancel()
      this.#fillTimer = undefined
      try {
        const isWhole = await this.#lengthenShort()
        await this.#makeMissing()
        this.isCramped = !isWhole
      } catch (error) {
        if (!isOutOfSpace(error)) throw error
        if (!this.isCramped) {
          this.#options.log('warn', `journal ${this.#options.directory}: no space for another file`)
        }
        this.isCramped = true
      }
      if (this.isCramped && !this.#closed) this.#fillTimer = this.#options.after(FILL_AGAIN_MS, () => this.fill())
      this.#options.onRing()
    })
  }

  /** A disk that was full when they were made has left files that hold nothing, or next to nothing. @returns false when it still is */
  async #lengthenShort(): Promise<boolean> {
    const leastBytes = Math.min(this.#options.fileBytes, FIRST_FILE_BYTES)
    for (const file of this.#free.filter(({ capacityBytes }) => capacityBytes < leastBytes)) {
      if (this.#closed || this.#options.hasFailed()) return true
      if (!this.#free.includes(file)) continue
      this.#free = this.#free.filter((other) => other !== file)
      this.#aside.push(file)
      await this.#lengthen(file)
      if (file.capacityBytes < leastBytes) return false
    }
    return true
  }

  async #makeMissing(): Promise<void> {
    while (!this.#closed && !this.#options.hasFailed() && this.fileCount < this.fileTarget) {
      this.#fileWanted = false
      const file = await this.#makeFile(this.#options.fileBytes)
      this.#addFree(file)
    }
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

  /** Bytes that the current file and the free ones still have. */
  get roomBytes(): number {
    const { current } = this
    let room = current === undefined ? 0 : Math.max(0, current.capacityBytes - current.position)
    for (const file of this.#free) room += file.capacityBytes
    return room
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

  /** The file being written. */
  get current(): JournalFile | undefined {
    return this.#live.at(-1)
  }

  /**
   * The oldest file holds nothing that is needed.
   * @param sequence of the first block that says so
   */
  retireOldest(sequence: number): void {
    invariant(this.#live.length > 1, 'the file being written is never retired', this.#live.length)
    this.#retired.push({ file: this.#live.shift()!, sequence })
  }

  /** Replay starts at the file being written: nothing before it is needed. For a clean stop. */
  forgetOlder(): void {
    for (const { file } of this.#retired) this.#aside.push(file)
    this.#retired = []
    while (this.#live.length > 1) this.#aside.push(this.#live.shift()!)
  }

  /** Waits for the background and closes the files. */
  async close(): Promise<void> {
    this.#closed = true
    this.#fileWanted = true
    this.#fillTimer?.cancel()
    await this.#background
    await this.#removing
    const files = [...this.#live, ...this.#free, ...this.#aside, ...this.#retired.map((entry) => entry.file)]
    await Promise.allSettled(files.map((entry) => entry.file.close()))
  }

  /** First block of the oldest file that a block with this sequence must name. */
  replayFrom(sequence: number): number {
    for (const retired of this.#retired) if (retired.sequence > sequence) return retired.file.firstSequence
    return this.#live[0]!.firstSequence
  }

  /**
   * Begins a free file.
   * @param sequence of the block that goes to its start
   * @returns undefined when one has to be made first; onFree() is called then
   */
  roll(sequence: number, blockBytes: number): JournalFile | undefined {
    const file = this.#free.shift()
    if (file === undefined) {
      if (this.#rolling) return undefined
      this.#rolling = true
      this.#fileWanted = true
      this.#inBackground(() => this.#addWanted()).then(() => {
        this.#rolling = false
        this.#options.onFree()
      })
      return undefined
    }
    file.firstSequence = sequence
    file.position = 0
    // A block longer than the file makes it longer; the durable write covers the new size.
    file.capacityBytes = Math.max(file.capacityBytes, blockBytes)
    this.#live.push(file)
    this.#options.onRing()
    return file
  }

  /** Makes the file that rounds wait for. On a full disk they go on waiting, unacknowledged. */
  async #addWanted(): Promise<void> {
    const { directory, fileBytes, log, space } = this.#options
    if (this.#free.length > 0) return
    log('warn', `journal ${directory}: all ${this.fileCount} files are in use, adding one`)
    const make = async (): Promise<void> => {
      // One that was in use may have come free meanwhile, and the rounds be gone.
      if (this.#free.length > 0 || !this.#options.isWanted()) return
      this.#free.push(await this.#makeFile(fileBytes))
    }
    await space.retry(make, () => this.#options.hasFailed())
  }

  /** Retired files are free once a durable block no longer names them. */
  freeRetired(durableSequence: number): void {
    while (this.#retired.length > 0 && this.#retired[0]!.sequence <= durableSequence) {
      const { file } = this.#retired[0]!
      if (this.fileCount > this.fileTarget) {
        this.#retired.shift()
        this.#removing = this.#removing.then(() => this.#removeFile(file))
      } else if (file.capacityBytes < this.#options.fileBytes && !this.#rolling) {
        this.#retired.shift()
        this.#aside.push(file)
        this.#inBackground(() => this.#lengthen(file))
      } else {
        this.#retired.shift()
        this.#addFree(file)
      }
    }
  }

  /** A file that was put aside gets the length of all, if there is space for that, and is free. */
  async #lengthen(file: JournalFile): Promise<void> {
    this.#fileWanted = false
    const from = file.capacityBytes
    try {
      await this.#extend(file.file, from, this.#options.fileBytes)
      file.capacityBytes = this.#options.fileBytes
    } catch (error) {
      if (!isOutOfSpace(error)) throw error
    }
    this.#aside = this.#aside.filter((other) => other !== file)
    this.#addFree(file)
  }

  #addFree(file: JournalFile): void {
    file.firstSequence = -1
    file.position = 0
    this.#free.push(file)
    this.#options.onFree()
    this.#options.onRing()
  }

  async #removeFile(file: JournalFile): Promise<void> {
    if (this.#closed || this.#options.hasFailed()) return
    try {
      await file.file.close()
      await this.#options.disk.remove(file.path)
    } catch (error) {
      this.#options.fail(asDiskError(error, 'remove', file.path))
    }
  }

  /** @throws DiskError, and leaves nothing behind when it is for want of space */
  async #makeFile(sizeBytes: number): Promise<JournalFile> {
    const { disk, directory } = this.#options
    const slot = this.#nextSlot
    const path = `${directory}/journal-${slot}.mj`
    const file = await disk.open(path, { mode: 'create', direct: true })
    try {
      await this.#extend(file, 0, sizeBytes)
    } catch (error) {
      await file.close().catch(() => undefined)
      if (isOutOfSpace(error)) await disk.remove(path)
      throw error
    }
    await disk.syncDirectory(directory)
    this.#nextSlot += 1
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

  /** One piece of background work after the other. */
  #inBackground(work: () => Promise<void>): Promise<void> {
    const run = async (): Promise<void> => {
      if (this.#closed || this.#options.hasFailed()) return
      try {
        await work()
      } catch (error) {
        this.#options.fail(asDiskError(error, 'extend', this.#options.directory))
      }
    }
    this.#background = this.#background.then(run)
    return this.#background
  }
}
