// Reads a segment file batch by batch, without a broker: Kafka's .log files and ours have the same layout.
//
// Opened and closed by `log dump`; holds one window of the file in memory. Layout: Kafka protocol guide, "Record Batch".

import { type FileHandle, open } from 'node:fs/promises'
import { BATCH_HEADER_BYTES, sizeBytesOf } from '../../protocol/records/batch.ts'

const WINDOW_BYTES = 4 << 20
/** A length beyond this is taken for damage: no broker is configured to accept so large a batch. */
const BATCH_BYTES_MAX = 1 << 30

export type SegmentItem =
  | { readonly kind: 'batch'; readonly position: number; readonly bytes: Uint8Array }
  /** The file goes on, but not with batches: zeros are space reserved for more, anything else is damage. */
  | { readonly kind: 'rest'; readonly position: number; readonly restBytes: number; readonly zeros: boolean }

/**
 * The batches of a file in order, each as bytes valid until the next is asked for, then what is left over, if anything is.
 * Lengths are believed only as far as the file reaches; nothing else is checked.
 */
export async function* segmentItems(path: string): AsyncGenerator<SegmentItem, void> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const window = new Window(file, size)
    let position = 0
    while (position < size) {
      const header = await window.read(position, Math.min(BATCH_HEADER_BYTES, size - position))
      const sizeBytes = header.length < BATCH_HEADER_BYTES ? 0 : sizeBytesOf(header, 0)
      if (sizeBytes < BATCH_HEADER_BYTES || sizeBytes > BATCH_BYTES_MAX || position + sizeBytes > size) {
        const zeros = await window.isZeroFrom(position)
        yield { kind: 'rest', position, restBytes: size - position, zeros }
        return
      }
      yield { kind: 'batch', position, bytes: await window.read(position, sizeBytes) }
      position += sizeBytes
    }
  } finally {
    await file.close()
  }
}

class Window {
  readonly #file: FileHandle
  readonly #size: number
  #bytes = Buffer.alloc(0)
  #position = 0

  constructor(file: FileHandle, size: number) {
    this.#file = file
    this.#size = size
  }

  /** Bytes of the file; the caller has checked that they are within it. */
  async read(position: number, length: number): Promise<Uint8Array> {
    const offset = position - this.#position
    if (offset < 0 || offset + length > this.#bytes.length) await this.#fill(position, length)
    const start = position - this.#position
    return this.#bytes.subarray(start, start + length)
  }

  async isZeroFrom(position: number): Promise<boolean> {
    for (let at = position; at < this.#size; at += WINDOW_BYTES) {
      const bytes = await this.read(at, Math.min(WINDOW_BYTES, this.#size - at))
      if (bytes.some((byte) => byte !== 0)) return false
    }
    return true
  }

  async #fill(position: number, length: number): Promise<void> {
    const bytes = Buffer.allocUnsafe(Math.min(Math.max(length, WINDOW_BYTES), this.#size - position))
    let filled = 0
    while (filled < bytes.length) {
      const { bytesRead } = await this.#file.read(bytes, filled, bytes.length - filled, position + filled)
      if (bytesRead === 0) throw new RangeError('the file became shorter while it was read')
      filled += bytesRead
    }
    this.#bytes = bytes
    this.#position = position
  }
}
