// DeleteRecords in a replicated log: the new log start is an entry, so that every replica moves and no later leader moves back.
//
// One per partition replica that is asked for it, touched only from its shard's thread.

import { ErrorCode } from '../../protocol/errors.ts'
import { DiskError } from '../../storage/disk.ts'
import type { GroupLog } from '../../storage/log.ts'

const PAYLOAD_BYTES = 8
/** Requests of one partition that wait for the commit: each is an entry of its log, and nobody needs to ask that often. */
const WAITING_MAX = 1000

/** Payload of the entry: the new log start offset, f64 big-endian. */
export function encodeTrim(offset: number): Uint8Array {
  const bytes = new Uint8Array(PAYLOAD_BYTES)
  new DataView(bytes.buffer).setFloat64(0, offset)
  return bytes
}

/** @returns -1 for bytes that are no trim: an entry that is only known to have been there has no payload */
export function decodeTrim(payload: Uint8Array): number {
  if (payload.length !== PAYLOAD_BYTES) return -1
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getFloat64(0)
}

interface Waiting {
  readonly index: number
  resolve(error: ErrorCode): void
}

export class Trims {
  #waiting: Waiting[] = []

  /** Whether nobody more may wait: asking again is right. */
  get isFull(): boolean {
    return this.#waiting.length >= WAITING_MAX
  }

  /** @returns when the entry at this index was carried out here, or why nobody can tell */
  done(index: number): Promise<ErrorCode> {
    return new Promise((resolve) => this.#waiting.push({ index, resolve }))
  }

  /** The entries up to `index` are carried out. */
  committed(index: number): void {
    while (this.#waiting.length > 0 && this.#waiting[0]!.index <= index) this.#waiting.shift()!.resolve(ErrorCode.NONE)
  }

  refuseAll(error: ErrorCode): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { resolve } of waiting) resolve(error)
  }
}

/** Moves the log start and waits until that survives a crash. */
export async function trimNow(log: GroupLog, offset: number): Promise<ErrorCode> {
  try {
    log.trimPrefix(offset)
    await log.whenJournaled()
    return ErrorCode.NONE
  } catch (error) {
    if (!(error instanceof DiskError)) throw error
    return ErrorCode.KAFKA_STORAGE_ERROR
  }
}
