// AlterConfigs: replaces all config overrides of resources.
//
// Handled on the connection's shard, served by the controller on shard 0.

import { AlterConfigsRequest, AlterConfigsResponse } from '../../protocol/messages/alter-configs.ts'
import type { Api } from './api.ts'
import { CONTROLLER_SHARD, controllerOf } from './controller-of.ts'

export const alterConfigs: Api<AlterConfigsRequest, AlterConfigsResponse> = {
  request: AlterConfigsRequest,
  response: AlterConfigsResponse,
  handle(shard, call, request) {
    return shard.ask(CONTROLLER_SHARD, alterConfigs, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).alterConfigs(request)
  },
}
