// UnregisterBroker: forgets a broker that left for good.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import { UnregisterBrokerRequest, UnregisterBrokerResponse } from '../../protocol/messages/unregister-broker.ts'
import type { Api } from './api.ts'
import { controllerOf } from './controller-of.ts'

export const unregisterBroker: Api<UnregisterBrokerRequest, UnregisterBrokerResponse> = {
  request: UnregisterBrokerRequest,
  response: UnregisterBrokerResponse,
  handle(shard, call, request) {
    return shard.askController(unregisterBroker, call, request)
  },
  serve(shard, _call, request) {
    return controllerOf(shard).unregisterBroker(request.brokerId)
  },
}
