// AlterPartitionReassignments: sends partitions to other replicas, or takes that back.
//
// Handled on the connection's shard, served where the controller is: shard 0 of the broker that leads the metadata group.

import {
  AlterPartitionReassignmentsRequest,
  AlterPartitionReassignmentsResponse,
} from '../../protocol/messages/alter-partition-reassignments.ts'
import type { Api } from './api.ts'
import { controllerOf } from './controller-of.ts'

export const alterPartitionReassignments: Api<AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse> =
  {
    request: AlterPartitionReassignmentsRequest,
    response: AlterPartitionReassignmentsResponse,
    handle(shard, call, request) {
      return shard.askController(alterPartitionReassignments, call, request)
    },
    serve(shard, _call, request) {
      return controllerOf(shard).alterPartitionReassignments(request)
    },
  }
