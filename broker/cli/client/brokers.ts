// Brokers as an operator sees them: what each leads and holds, sent away, taken out of the cluster.

import { DescribeClusterRequest, DescribeClusterResponse } from '../../../protocol/messages/describe-cluster.ts'
import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../../protocol/messages/incremental-alter-configs.ts'
import {
  ListPartitionReassignmentsRequest,
  ListPartitionReassignmentsResponse,
} from '../../../protocol/messages/list-partition-reassignments.ts'
import { UnregisterBrokerRequest, UnregisterBrokerResponse } from '../../../protocol/messages/unregister-broker.ts'
import { DRAINING_CONFIG } from '../../cluster/metadata.ts'
import type { BrokerNode, Cluster } from './cluster.ts'
import { check } from './errors.ts'
import { allTopics, ConfigOperation } from './topics.ts'

const BROKER_RESOURCE = 4
const BROKER_ENDPOINTS = 1

export interface KnownBroker extends BrokerNode {
  /** False for one that is registered and does not answer the others. */
  readonly isAlive: boolean
}

export interface BrokerLoad extends KnownBroker {
  readonly leads: number
  readonly replicas: number
}

/** Every registered broker, by id. What Metadata leaves out is only known from brokers that describe their cluster in version 2: Kafka 4.0, and ours. */
async function registeredBrokers(cluster: Cluster): Promise<KnownBroker[]> {
  return cluster.attempt(async () => {
    const connection = await cluster.any()
    if (connection.versionOf(DescribeClusterRequest) === undefined) {
      return cluster.brokers.map((broker) => ({ ...broker, isAlive: true }))
    }
    const { brokers, errorCode, errorMessage } = await connection.request(
      DescribeClusterRequest,
      DescribeClusterResponse,
      { includeClusterAuthorizedOperations: false, endpointType: BROKER_ENDPOINTS, includeFencedBrokers: true },
    )
    check('cannot list the brokers', errorCode, errorMessage)
    return brokers
      .map(({ brokerId, host, port, rack, isFenced }) => ({ nodeId: brokerId, host, port, rack, isAlive: !isFenced }))
      .sort((left, right) => left.nodeId - right.nodeId)
  })
}

export async function brokerLoads(cluster: Cluster): Promise<BrokerLoad[]> {
  const topics = await allTopics(cluster)
  const partitions = topics.flatMap((topic) => topic.partitions)
  return (await registeredBrokers(cluster)).map((broker) => ({
    ...broker,
    leads: partitions.filter(({ leaderId }) => leaderId === broker.nodeId).length,
    replicas: partitions.filter(({ replicaNodes }) => replicaNodes.includes(broker.nodeId)).length,
  }))
}

/** Tells the cluster to move everything away from a broker, or that it may keep it. */
export async function setDraining(cluster: Cluster, nodeId: number, isDraining: boolean): Promise<void> {
  await cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, {
      resources: [
        {
          resourceType: BROKER_RESOURCE,
          resourceName: String(nodeId),
          configs: [
            {
              name: DRAINING_CONFIG,
              configOperation: isDraining ? ConfigOperation.set : ConfigOperation.delete,
              value: isDraining ? 'true' : null,
            },
          ],
        },
      ],
      validateOnly: false,
    })
    for (const { errorCode, errorMessage } of response.responses) {
      check(`cannot change broker ${nodeId}`, errorCode, errorMessage)
    }
  })
}

/** How many partitions are moving from brokers to brokers now. */
export async function movingCount(cluster: Cluster): Promise<number> {
  return cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, {
      timeoutMs: cluster.timeoutMs,
      topics: null,
    })
    check('cannot list what moves', response.errorCode, response.errorMessage)
    return response.topics.reduce((sum, { partitions }) => sum + partitions.length, 0)
  })
}

/** Takes a broker that is not running, and holds nothing, out of the cluster. */
export async function unregisterBroker(cluster: Cluster, nodeId: number): Promise<void> {
  await cluster.attempt(async () => {
    const connection = await cluster.controller()
    const response = await connection.request(UnregisterBrokerRequest, UnregisterBrokerResponse, { brokerId: nodeId })
    check(`cannot remove broker ${nodeId}`, response.errorCode, response.errorMessage)
  })
}
