// DeleteTopics: deletes topics by name or id.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import { DeleteTopicsRequest, DeleteTopicsResponse } from '../../protocol/messages/delete-topics.ts'
import type { Api } from './api.ts'
import { controllerOf } from './controller-of.ts'

export const deleteTopics: Api<DeleteTopicsRequest, DeleteTopicsResponse> = {
  request: DeleteTopicsRequest,
  response: DeleteTopicsResponse,
  handle(shard, call, request) {
    return shard.askController(deleteTopics, call, request)
  },
  serve(shard, call, request) {
    return controllerOf(shard).deleteTopics(request, call.version)
  },
}
