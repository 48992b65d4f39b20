// IncrementalAlterConfigs: sets, deletes, extends or shortens single configs.
//
// Handled on the connection's shard, served by the controller on shard 0.

import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../protocol/messages/incremental-alter-configs.ts'
import type { Api } from './api.ts'
import { CONTROLLER_SHARD, controllerOf } from './controller-of.ts'

export const incrementalAlterConfigs: Api<IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse> = {
  request: IncrementalAlterConfigsRequest,
  response: IncrementalAlterConfigsResponse,
  handle(shard, call, request) {
    return shard.ask(CONTROLLER_SHARD, incrementalAlterConfigs, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).incrementalAlterConfigs(request)
  },
}
