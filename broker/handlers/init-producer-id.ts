// InitProducerId for idempotent producers. Transactional ids are refused until transactions are served.

import { ErrorCode } from '../../protocol/errors.ts'
import { InitProducerIdRequest, InitProducerIdResponse } from '../../protocol/messages/init-producer-id.ts'
import type { Input } from '../../protocol/schema.ts'
import type { DataShard } from '../shard/context.ts'
import type { Api } from './api.ts'

type Response = Input<typeof InitProducerIdResponse.fields>

export const initProducerId: Api<InitProducerIdRequest, Response> = {
  request: InitProducerIdRequest,
  response: InitProducerIdResponse,
  handle(shard, call, request) {
    if (request.transactionalId === '') return refused(ErrorCode.INVALID_REQUEST)
    // A code that clients take for final: asking again would not help.
    if (request.transactionalId !== null) return refused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return shard.ask(0, initProducerId, call, request)
  },
  async serve(shard) {
    const { producerIds } = shard as DataShard
    if (producerIds === undefined) return refused(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    const { error, producerId } = await producerIds.next()
    return error === ErrorCode.NONE
      ? { throttleTimeMs: 0, errorCode: error, producerId, producerEpoch: 0 }
      : refused(error)
  },
}

function refused(errorCode: ErrorCode): Response {
  return { throttleTimeMs: 0, errorCode, producerId: -1, producerEpoch: -1 }
}
