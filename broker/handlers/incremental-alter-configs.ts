// IncrementalAlterConfigs: sets, deletes, extends or shortens single configs.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../protocol/messages/incremental-alter-configs.ts'
import { incrementalChanges } from '../cluster/config-changes.ts'
import type { Api } from './api.ts'
import { changeConfigs } from './config-requests.ts'
import { controllerOf } from './controller-of.ts'

export const incrementalAlterConfigs: Api<IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse> = {
  request: IncrementalAlterConfigsRequest,
  response: IncrementalAlterConfigsResponse,
  handle(shard, call, request) {
    const changes = incrementalChanges(request)
    return changeConfigs(shard, request.resources, changes, request.validateOnly, (resources) =>
      shard.askController(incrementalAlterConfigs, call, { ...request, resources }),
    )
  },
  serve(shard, _call, request) {
    return controllerOf(shard).incrementalAlterConfigs(request)
  },
}
