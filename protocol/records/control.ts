// Control batches: the one record that ends a transaction in a partition, which consumers skip.
//
// Pure code, any thread. The producer state reads them; the transaction coordinator's markers write them.
// Layout: Kafka protocol guide, "Control Batches". Key = int16 version, int16 type; value = int16 version, int32
// coordinator epoch; a reader takes any version from 0 up and ignores what follows the fields it knows.

import { BATCH_HEADER_BYTES, sizeBytesOf } from './batch.ts'
import { encodeBatch, RecordCursor } from './record.ts'

export const ControlType = { ABORT: 0, COMMIT: 1 } as const
export type ControlType = (typeof ControlType)[keyof typeof ControlType]

export interface EndTransactionMarker {
  type: ControlType
  coordinatorEpoch: number
}

export function encodeEndTransactionMarker(
  marker: EndTransactionMarker & { producerId: number; producerEpoch: number; timestamp: number },
): Uint8Array {
  const value = new Uint8Array(6)
  for (let byte = 0; byte < 4; byte++) value[2 + byte] = marker.coordinatorEpoch >>> (24 - 8 * byte)
  return encodeBatch({
    control: true,
    transactional: true,
    producerId: marker.producerId,
    producerEpoch: marker.producerEpoch,
    records: [{ key: Uint8Array.of(0, 0, 0, marker.type), value, timestamp: marker.timestamp }],
  })
}

/**
 * Reads the marker of a control batch; undefined when it is of another kind (snapshot header, leader change).
 * @throws MalformedRecords
 */
export function decodeEndTransactionMarker(bytes: Uint8Array, at: number): EndTransactionMarker | undefined {
  const cursor = new RecordCursor(bytes, at + BATCH_HEADER_BYTES, at + sizeBytesOf(bytes, at))
  if (!cursor.next()) return undefined
  const key = cursor.key()
  const value = cursor.value()
  if (key === null || key.length < 4 || value === null || value.length < 6) return undefined
  const type = (key[2]! << 8) | key[3]!
  if (type !== ControlType.ABORT && type !== ControlType.COMMIT) return undefined
  return { type, coordinatorEpoch: (value[2]! << 24) | (value[3]! << 16) | (value[4]! << 8) | value[5]! }
}
