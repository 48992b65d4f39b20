// CreateTopics: creates topics, or only checks whether they could be.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import { CreateTopicsRequest, CreateTopicsResponse } from '../../protocol/messages/create-topics.ts'
import type { Api } from './api.ts'
import { controllerOf } from './controller-of.ts'

export const createTopics: Api<CreateTopicsRequest, CreateTopicsResponse> = {
  request: CreateTopicsRequest,
  response: CreateTopicsResponse,
  handle(shard, call, request) {
    return shard.askController(createTopics, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).createTopics(request)
  },
}
