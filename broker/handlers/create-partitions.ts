// CreatePartitions: gives topics more partitions.
//
// Handled on the connection's shard, served by the controller on shard 0.

import { CreatePartitionsRequest, CreatePartitionsResponse } from '../../protocol/messages/create-partitions.ts'
import type { Api } from './api.ts'
import { CONTROLLER_SHARD, controllerOf } from './controller-of.ts'

export const createPartitions: Api<CreatePartitionsRequest, CreatePartitionsResponse> = {
  request: CreatePartitionsRequest,
  response: CreatePartitionsResponse,
  handle(shard, call, request) {
    return shard.ask(CONTROLLER_SHARD, createPartitions, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).createPartitions(request)
  },
}
