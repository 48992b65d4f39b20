// CreatePartitions: gives topics more partitions.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import { CreatePartitionsRequest, CreatePartitionsResponse } from '../../protocol/messages/create-partitions.ts'
import type { Api } from './api.ts'
import { controllerOf } from './controller-of.ts'

export const createPartitions: Api<CreatePartitionsRequest, CreatePartitionsResponse> = {
  request: CreatePartitionsRequest,
  response: CreatePartitionsResponse,
  handle(shard, call, request) {
    return shard.askController(createPartitions, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).createPartitions(request)
  },
}
