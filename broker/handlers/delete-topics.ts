// DeleteTopics: deletes topics by name or id.
//
// Handled on the connection's shard, served by the controller on shard 0.

import { DeleteTopicsRequest, DeleteTopicsResponse } from '../../protocol/messages/delete-topics.ts'
import type { Api } from './api.ts'
import { CONTROLLER_SHARD, controllerOf } from './controller-of.ts'

export const deleteTopics: Api<DeleteTopicsRequest, DeleteTopicsResponse> = {
  request: DeleteTopicsRequest,
  response: DeleteTopicsResponse,
  handle(shard, call, request) {
    return shard.ask(CONTROLLER_SHARD, deleteTopics, call, request)
  },
  serve(shard, call, request) {
    return controllerOf(shard).deleteTopics(request, call.version)
  },
}
