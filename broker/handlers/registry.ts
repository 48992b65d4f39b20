// Every API this broker answers, by key. ApiVersions lists protocol/api.ts; a test holds the two against each other.

import { ApiKey } from '../../protocol/api.ts'
import { alterConfigs } from './alter-configs.ts'
import { alterPartitionReassignments } from './alter-partition-reassignments.ts'
import type { Api } from './api.ts'
import { apiVersions } from './api-versions.ts'
import { createPartitions } from './create-partitions.ts'
import { createTopics } from './create-topics.ts'
import { deleteGroups } from './delete-groups.ts'
import { deleteRecords } from './delete-records.ts'
import { deleteTopics } from './delete-topics.ts'
import { describeCluster } from './describe-cluster.ts'
import { describeConfigs } from './describe-configs.ts'
import { describeGroups } from './describe-groups.ts'
import { describeLogDirs } from './describe-log-dirs.ts'
import { describeProducers } from './describe-producers.ts'
import { describeQuorum } from './describe-quorum.ts'
import { describeTopicPartitions } from './describe-topic-partitions.ts'
import { electLeaders } from './elect-leaders.ts'
import { fetch } from './fetch.ts'
import { findCoordinator } from './find-coordinator.ts'
import { heartbeat } from './heartbeat.ts'
import { incrementalAlterConfigs } from './incremental-alter-configs.ts'
import { initProducerId } from './init-producer-id.ts'
import { joinGroup } from './join-group.ts'
import { leaveGroup } from './leave-group.ts'
import { listGroups } from './list-groups.ts'
import { listOffsets } from './list-offsets.ts'
import { listPartitionReassignments } from './list-partition-reassignments.ts'
import { metadata } from './metadata.ts'
import { offsetCommit } from './offset-commit.ts'
import { offsetDelete } from './offset-delete.ts'
import { offsetFetch } from './offset-fetch.ts'
import { offsetForLeaderEpoch } from './offset-for-leader-epoch.ts'
import { produce } from './produce.ts'
import { syncGroup } from './sync-group.ts'
import { unregisterBroker } from './unregister-broker.ts'

/** The handlers know their own messages; whoever looks one up by number does not. */
export type AnyApi = Api<unknown, object>

function entry<Req, Res extends object>(key: ApiKey, api: Api<Req, Res>): [number, AnyApi] {
  return [key, api as unknown as AnyApi]
}

export const apis: ReadonlyMap<number, AnyApi> = new Map([
  entry(ApiKey.Produce, produce),
  entry(ApiKey.Fetch, fetch),
  entry(ApiKey.ListOffsets, listOffsets),
  entry(ApiKey.Metadata, metadata),
  entry(ApiKey.OffsetCommit, offsetCommit),
  entry(ApiKey.OffsetFetch, offsetFetch),
  entry(ApiKey.FindCoordinator, findCoordinator),
  entry(ApiKey.JoinGroup, joinGroup),
  entry(ApiKey.Heartbeat, heartbeat),
  entry(ApiKey.LeaveGroup, leaveGroup),
  entry(ApiKey.SyncGroup, syncGroup),
  entry(ApiKey.DescribeGroups, describeGroups),
  entry(ApiKey.ListGroups, listGroups),
  entry(ApiKey.ApiVersions, apiVersions),
  entry(ApiKey.CreateTopics, createTopics),
  entry(ApiKey.DeleteTopics, deleteTopics),
  entry(ApiKey.DeleteRecords, deleteRecords),
  entry(ApiKey.InitProducerId, initProducerId),
  entry(ApiKey.OffsetForLeaderEpoch, offsetForLeaderEpoch),
  entry(ApiKey.DescribeConfigs, describeConfigs),
  entry(ApiKey.AlterConfigs, alterConfigs),
  entry(ApiKey.DescribeLogDirs, describeLogDirs),
  entry(ApiKey.CreatePartitions, createPartitions),
  entry(ApiKey.DeleteGroups, deleteGroups),
  entry(ApiKey.ElectLeaders, electLeaders),
  entry(ApiKey.IncrementalAlterConfigs, incrementalAlterConfigs),
  entry(ApiKey.AlterPartitionReassignments, alterPartitionReassignments),
  entry(ApiKey.ListPartitionReassignments, listPartitionReassignments),
  entry(ApiKey.OffsetDelete, offsetDelete),
  entry(ApiKey.DescribeQuorum, describeQuorum),
  entry(ApiKey.DescribeCluster, describeCluster),
  entry(ApiKey.DescribeProducers, describeProducers),
  entry(ApiKey.UnregisterBroker, unregisterBroker),
  entry(ApiKey.DescribeTopicPartitions, describeTopicPartitions),
])
