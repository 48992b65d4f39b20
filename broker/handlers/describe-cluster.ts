// DescribeCluster: the cluster's id, its brokers and its controller.
//
// Answered on the connection's shard from its own image.

import { ErrorCode } from '../../protocol/errors.ts'
import { DescribeClusterRequest, DescribeClusterResponse } from '../../protocol/messages/describe-cluster.ts'
import type { Api } from './api.ts'
import { CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED } from './authorized-operations.ts'
import { isShown } from './brokers.ts'
import { advertisedController } from './controller-of.ts'

const BROKERS = 1
const CONTROLLERS = 2

export const describeCluster: Api<DescribeClusterRequest, DescribeClusterResponse> = {
  request: DescribeClusterRequest,
  response: DescribeClusterResponse,
  handle(shard, call, request) {
    const { image } = shard
    const { endpointType } = request
    if (endpointType === CONTROLLERS) {
      return refused(
        ErrorCode.MISMATCHED_ENDPOINT_TYPE,
        'The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER',
      )
    }
    if (endpointType !== BROKERS) {
      return refused(ErrorCode.UNSUPPORTED_ENDPOINT_TYPE, `Unsupported endpoint type ${endpointType}`)
    }
    return {
      throttleTimeMs: 0,
      errorCode: ErrorCode.NONE,
      errorMessage: null,
      endpointType,
      clusterId: image.clusterId,
      controllerId: advertisedController(shard),
      // Kafka calls a registered broker that is not alive fenced.
      brokers: image.brokers.flatMap((broker) => {
        const isFenced = !isShown(shard, broker.nodeId)
        if (isFenced && !request.includeFencedBrokers) return []
        const { host, port } = image.endpoint(broker.nodeId, call.listenerName) ?? broker
        return [{ brokerId: broker.nodeId, host, port, rack: broker.rack, isFenced }]
      }),
      clusterAuthorizedOperations: request.includeClusterAuthorizedOperations
        ? CLUSTER_OPERATIONS
        : OPERATIONS_NOT_ASKED,
    }
  },
}

function refused(errorCode: ErrorCode, errorMessage: string): DescribeClusterResponse {
  return {
    throttleTimeMs: 0,
    errorCode,
    errorMessage,
    endpointType: BROKERS,
    clusterId: '',
    controllerId: -1,
    brokers: [],
    clusterAuthorizedOperations: OPERATIONS_NOT_ASKED,
  }
}
