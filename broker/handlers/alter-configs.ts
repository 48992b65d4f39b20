// AlterConfigs: replaces all config overrides of resources.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import { AlterConfigsRequest, AlterConfigsResponse } from '../../protocol/messages/alter-configs.ts'
import { replacingChanges } from '../cluster/config-changes.ts'
import type { Api } from './api.ts'
import { changeConfigs } from './config-requests.ts'
import { controllerOf } from './controller-of.ts'

export const alterConfigs: Api<AlterConfigsRequest, AlterConfigsResponse> = {
  request: AlterConfigsRequest,
  response: AlterConfigsResponse,
  handle(shard, call, request) {
    const changes = replacingChanges(request)
    return changeConfigs(shard, request.resources, changes, request.validateOnly, (resources) =>
      shard.askController(alterConfigs, call, { ...request, resources }),
    )
  },
  serve(shard, _call, request) {
    return controllerOf(shard).alterConfigs(request)
  },
}
