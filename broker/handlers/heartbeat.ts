// Heartbeat: a member of a classic group is alive, and learns whether it has to rejoin.

import { HeartbeatRequest, HeartbeatResponse } from '../../protocol/messages/heartbeat.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Api } from './api.ts'
import { askCoordinatorOfNamed } from './coordinated.ts'

export const heartbeat: Api<HeartbeatRequest, Input<typeof HeartbeatResponse.fields>> = {
  request: HeartbeatRequest,
  response: HeartbeatResponse,
  handle(shard, call, request) {
    return askCoordinatorOfNamed(shard, heartbeat, call, request, (errorCode) => ({ throttleTimeMs: 0, errorCode }))
  },
  async serve(shard, _call, request) {
    return { throttleTimeMs: 0, errorCode: await shard.coordinator.heartbeat(request) }
  },
}
