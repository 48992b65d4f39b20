// CreateTopics: creates topics, or only checks whether they could be.
//
// Handled on the connection's shard, served by the controller on shard 0.

import { CreateTopicsRequest, CreateTopicsResponse } from '../../protocol/messages/create-topics.ts'
import type { Api } from './api.ts'
import { CONTROLLER_SHARD, controllerOf } from './controller-of.ts'

export const createTopics: Api<CreateTopicsRequest, CreateTopicsResponse> = {
  request: CreateTopicsRequest,
  response: CreateTopicsResponse,
  handle(shard, call, request) {
    return shard.ask(CONTROLLER_SHARD, createTopics, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).createTopics(request)
  },
}
