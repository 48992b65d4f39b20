// What a witness gets in place of a batch: the batch without its records.
//
// Pure but for one buffer per thread. Such a batch is what Kafka's cleaner leaves when it removes every record of one: it takes the same
// offsets, names the same producer and sequence, and is sound for logs, indexes, producers' state and tools. The log of a witness so
// has the entries of the others, and its votes mean the same.

import {
  ATTRIBUTES_AT,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_AT,
  COMPRESSION_MASK,
  isControl,
  LENGTH_OVERHEAD_BYTES,
  RECORD_COUNT_AT,
  stampCrc,
} from '../../protocol/records/batch.ts'

const scratch = new Uint8Array(BATCH_HEADER_BYTES)
const view = new DataView(scratch.buffer)

/**
 * Base offset, span, leader epoch, timestamps and producer stay. A control batch stays whole: its one record is state, not data.
 * @param batch as the leader's journal holds it
 * @returns bytes that the next call writes over, or the batch itself
 */
export function emptied(batch: Uint8Array): Uint8Array {
  if (isControl(batch, 0)) return batch
  for (let at = 0; at < BATCH_HEADER_BYTES; at++) scratch[at] = batch[at]!
  view.setInt32(BATCH_LENGTH_AT, BATCH_HEADER_BYTES - LENGTH_OVERHEAD_BYTES)
  view.setInt32(RECORD_COUNT_AT, 0)
  // Nothing is compressed to nothing: without records there is no codec.
  scratch[ATTRIBUTES_AT + 1]! &= ~COMPRESSION_MASK
  stampCrc(scratch, 0)
  return scratch
}
