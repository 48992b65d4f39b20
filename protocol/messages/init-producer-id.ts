// InitProducerId (key 22): a producer id and epoch for an idempotent or transactional producer.
//
// Version 6 (two-phase commit) is marked unstable in Kafka 4.3, which hides it; it is not declared.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { int16, int32, int64, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

/** Null transactional id for a producer that is idempotent only. */
export const InitProducerIdRequest = message(
  'InitProducerIdRequest',
  { apiKey: 22, versions: '0-5', flexible: '2+' },
  {
    transactionalId: nullable(string),
    transactionTimeoutMs: int32,
    producerId: since('3+', int64, -1),
    producerEpoch: since('3+', int16, -1),
  },
)
export type InitProducerIdRequest = Value<typeof InitProducerIdRequest.fields>

/** The producer id and the epoch to use from now on. */
export const InitProducerIdResponse = message(
  'InitProducerIdResponse',
  { apiKey: 22, versions: '0-5', flexible: '2+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    errorCode: int16,
    producerId: withDefault(int64, -1),
    producerEpoch: int16,
  },
)
export type InitProducerIdResponse = Value<typeof InitProducerIdResponse.fields>
