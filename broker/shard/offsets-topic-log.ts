// The group coordinator's view of __consumer_offsets: appends of its records and the reading of a partition from its start.
//
// One per shard, for the partitions that live on it.

import { ErrorCode } from '../../protocol/errors.ts'
import { completeBatchBytes, isControl, nextOffsetOf } from '../../protocol/records/batch.ts'
import { decodeBatch, encodeBatch } from '../../protocol/records/record.ts'
import type { LogRecord, OffsetsLog } from '../groups/coordinator.ts'
import type { AppendResult, AppendSink } from '../partition/append.ts'
import type { Partition } from '../partition/partition.ts'

export interface OffsetsTopicLogOptions {
  partition(index: number): Partition | undefined
  readonly segmentReadBytes: number
  nowMs(): number
}

/** Largest decompressed batch of our own making. */
const BATCH_BYTES_MAX = 64 << 20

export class OffsetsTopicLog implements OffsetsLog {
  readonly #options: OffsetsTopicLogOptions

  constructor(options: OffsetsTopicLogOptions) {
    this.#options = options
  }

  append(index: number, records: readonly { key: Uint8Array; value: Uint8Array | null }[]): Promise<ErrorCode> {
    const partition = this.#options.partition(index)
    if (partition === undefined) return Promise.resolve(ErrorCode.NOT_COORDINATOR)
    const timestamp = this.#options.nowMs()
    const batch = encodeBatch({ records: records.map(({ key, value }) => ({ key, value, timestamp })) })
    return new Promise((resolve) => partition.appendInternal(batch, new Settles(resolve), 0))
  }

  confirm(index: number): true | Promise<boolean> {
    return this.#options.partition(index)?.confirmLeadership() ?? Promise.resolve(false)
  }

  async *read(index: number): AsyncIterable<LogRecord> {
    const partition = this.#options.partition(index)
    if (partition === undefined) return
    const end = partition.highWatermark
    let offset = partition.logStartOffset
    while (offset < end) {
      const result = await partition.log.read(offset, this.#options.segmentReadBytes, end, true)
      const before = offset
      try {
        for (const fragment of result.fragments) {
          const bytes = new Uint8Array(fragment)
          for (let at = 0, size = 0; (size = completeBatchBytes(bytes, at, bytes.length)) > 0; at += size) {
            offset = Math.max(offset, nextOffsetOf(bytes, at))
            if (isControl(bytes, at)) continue
            for (const record of await decodeBatch(bytes, at, BATCH_BYTES_MAX)) {
              const { key, value } = record
              yield { key, value, timestampMs: record.timestamp, offset: record.offset }
            }
          }
        }
      } finally {
        result.release()
      }
      if (offset === before) return
    }
  }
}

class Settles implements AppendSink {
  readonly #resolve: (error: ErrorCode) => void

  constructor(resolve: (error: ErrorCode) => void) {
    this.#resolve = resolve
  }

  appended(_slot: number, result: AppendResult): void {
    this.#resolve(result.error)
  }
}
