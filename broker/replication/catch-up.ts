// Entries for members that are behind: read from the log again, a bounded amount at a time and per second.
//
// One per shard, made by driver.ts. What is still in the journal's memory costs nothing and goes at once: live followers that are a little
// late ask for it often. What must be read from segments waits for its turn, so that a broker that was away for an hour takes its
// share of disk and network and no more, and live traffic keeps its latency.

import { invariant } from '../../protocol/invariant.ts'
import type { EntryRead } from '../../storage/entry-read.ts'
import type { LogIndex, NodeId } from '../raft/types.ts'
import type { LoadedEntries } from './payloads.ts'
import { loadedEntries } from './payloads.ts'
import type { Replica } from './replica.ts'

/** Segment reads of a shard under way. */
const READS_MAX = 4
/** Bytes read for laggards that no socket has taken yet. */
const HELD_BYTES_MAX = 8 << 20
const READ_BYTES = 512 * 1024
/** What may be saved up for later, as a share of a second's rate. */
const BURST_SECONDS = 0.1

export interface CatchUpHost {
  /** Hands entries to the group's raft and sends what it makes of them. @param loaded undefined: nothing could be read */
  deliver(replica: Replica, to: NodeId, loaded: LoadedEntries | undefined): void
  nowMs(): number
  readFailed(replica: Replica, error: Error): void
}

interface Request {
  readonly replica: Replica
  readonly to: NodeId
  readonly firstIndex: LogIndex
  readonly term: number
}

export class CatchUp {
  readonly #host: CatchUpHost
  readonly #bytesPerSecond: () => number
  #queue: Request[] = []
  #reading = 0
  #heldBytes = 0
  /** Bytes that may be read now; below zero after a read that brought more than was left. */
  #tokens: number
  #refilledMs: number

  /** @param bytesPerSecond asked each time, as it may change */
  constructor(host: CatchUpHost, bytesPerSecond: () => number) {
    this.#host = host
    this.#bytesPerSecond = bytesPerSecond
    this.#tokens = bytesPerSecond() * BURST_SECONDS
    this.#refilledMs = host.nowMs()
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  get waitingCount(): number {
    return this.#queue.length + this.#reading
  }

  request(replica: Replica, to: NodeId, firstIndex: LogIndex): void {
    const { log, raft } = replica
    if (firstIndex > log.laidIndex || firstIndex < log.firstIndex) {
      const read = log.readEntries(firstIndex, READ_BYTES)
      invariant(!(read instanceof Promise), 'the tail is read at once', firstIndex, log.laidIndex)
      this.#deliver(replica, to, read, undefined)
      return
    }
    this.#queue.push({ replica, to, firstIndex, term: raft.term })
    this.pump()
  }

  /** Takes so many bytes out of this second's share. @returns false when there is none left now */
  take(bytes: number): boolean {
    this.#refill()
    if (this.#tokens <= 0) return false
    this.#tokens -= bytes
    return true
  }

  /** Starts what may start; every tick, and when something ended. */
  pump(): void {
    this.#refill()
    while (
      this.#queue.length > 0 &&
      this.#reading < READS_MAX &&
      this.#heldBytes < HELD_BYTES_MAX &&
      this.#tokens > 0
    ) {
      const request = this.#queue.shift()!
      if (!isWanted(request)) continue
      this.#reading += 1
      // Counted before it is known, so that reads under way are not all given the same tokens.
      this.#tokens -= READ_BYTES
      this.#heldBytes += READ_BYTES
      void this.#read(request)
    }
  }

  async #read(request: Request): Promise<void> {
    let bytes = 0
    try {
      const found = await request.replica.log.readEntries(request.firstIndex, READ_BYTES)
      bytes = found.bytes
      this.#tokens += READ_BYTES - bytes
      this.#reading -= 1
      if (isWanted(request)) this.#deliver(request.replica, request.to, found, () => this.#free(bytes))
      else {
        found.release()
        this.#free(bytes)
      }
      this.#heldBytes -= READ_BYTES - bytes
    } catch (error) {
      this.#tokens += READ_BYTES
      this.#reading -= 1
      this.#heldBytes -= READ_BYTES
      this.#failed(request, error)
    }
    this.pump()
  }

  #failed(request: Request, error: unknown): void {
    if (!(error instanceof Error) || error.name === 'InvariantViolation') throw error
    this.#host.readFailed(request.replica, error)
    if (isWanted(request)) this.#host.deliver(request.replica, request.to, undefined)
  }

  #deliver(replica: Replica, to: NodeId, read: EntryRead, released: (() => void) | undefined): void {
    if (read.entries.length === 0) {
      read.release()
      released?.()
      this.#host.deliver(replica, to, undefined)
      return
    }
    const loaded = loadedEntries(read, replica.raft.committedMembership, released)
    this.#host.deliver(replica, to, loaded)
    loaded.payloads.release()
  }

  #free(bytes: number): void {
    this.#heldBytes -= bytes
    this.pump()
  }

  #refill(): void {
    const nowMs = this.#host.nowMs()
    const rate = this.#bytesPerSecond()
    this.#tokens = Math.min(rate * BURST_SECONDS, this.#tokens + ((nowMs - this.#refilledMs) / 1000) * rate)
    this.#refilledMs = nowMs
  }
}

function isWanted({ replica, term, to }: Request): boolean {
  return !replica.isRemoved && replica.raft.term === term && replica.raft.progressOf(to)?.loading === true
}
