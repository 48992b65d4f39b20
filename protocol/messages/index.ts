// Every declared API by its key: for what must know them all (tests, fuzzing, tools that print frames).
//
// Constants, made once at load: any thread. Handlers import the one file they need instead.

import type { ApiKey } from '../api.ts'
import type { Message } from '../schema.ts'
import { AddOffsetsToTxnRequest, AddOffsetsToTxnResponse } from './add-offsets-to-txn.ts'
import { AddPartitionsToTxnRequest, AddPartitionsToTxnResponse } from './add-partitions-to-txn.ts'
import { AlterClientQuotasRequest, AlterClientQuotasResponse } from './alter-client-quotas.ts'
import { AlterConfigsRequest, AlterConfigsResponse } from './alter-configs.ts'
import {
  AlterPartitionReassignmentsRequest,
  AlterPartitionReassignmentsResponse,
} from './alter-partition-reassignments.ts'
import { AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse } from './alter-user-scram-credentials.ts'
import { ApiVersionsRequest, ApiVersionsResponse } from './api-versions.ts'
import { ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse } from './consumer-group-describe.ts'
import { ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse } from './consumer-group-heartbeat.ts'
import { CreateAclsRequest, CreateAclsResponse } from './create-acls.ts'
import { CreatePartitionsRequest, CreatePartitionsResponse } from './create-partitions.ts'
import { CreateTopicsRequest, CreateTopicsResponse } from './create-topics.ts'
import { DeleteAclsRequest, DeleteAclsResponse } from './delete-acls.ts'
import { DeleteGroupsRequest, DeleteGroupsResponse } from './delete-groups.ts'
import { DeleteRecordsRequest, DeleteRecordsResponse } from './delete-records.ts'
import { DeleteTopicsRequest, DeleteTopicsResponse } from './delete-topics.ts'
import { DescribeAclsRequest, DescribeAclsResponse } from './describe-acls.ts'
import { DescribeClientQuotasRequest, DescribeClientQuotasResponse } from './describe-client-quotas.ts'
import { DescribeClusterRequest, DescribeClusterResponse } from './describe-cluster.ts'
import { DescribeConfigsRequest, DescribeConfigsResponse } from './describe-configs.ts'
import { DescribeGroupsRequest, DescribeGroupsResponse } from './describe-groups.ts'
import { DescribeLogDirsRequest, DescribeLogDirsResponse } from './describe-log-dirs.ts'
import { DescribeProducersRequest, DescribeProducersResponse } from './describe-producers.ts'
import { DescribeQuorumRequest, DescribeQuorumResponse } from './describe-quorum.ts'
import { DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse } from './describe-topic-partitions.ts'
import { DescribeTransactionsRequest, DescribeTransactionsResponse } from './describe-transactions.ts'
import {
  DescribeUserScramCredentialsRequest,
  DescribeUserScramCredentialsResponse,
} from './describe-user-scram-credentials.ts'
import { ElectLeadersRequest, ElectLeadersResponse } from './elect-leaders.ts'
import { EndTxnRequest, EndTxnResponse } from './end-txn.ts'
import { FetchRequest, FetchResponse } from './fetch.ts'
import { FindCoordinatorRequest, FindCoordinatorResponse } from './find-coordinator.ts'
import { HeartbeatRequest, HeartbeatResponse } from './heartbeat.ts'
import { IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse } from './incremental-alter-configs.ts'
import { InitProducerIdRequest, InitProducerIdResponse } from './init-producer-id.ts'
import { JoinGroupRequest, JoinGroupResponse } from './join-group.ts'
import { LeaveGroupRequest, LeaveGroupResponse } from './leave-group.ts'
import { ListGroupsRequest, ListGroupsResponse } from './list-groups.ts'
import { ListOffsetsRequest, ListOffsetsResponse } from './list-offsets.ts'
import {
  ListPartitionReassignmentsRequest,
  ListPartitionReassignmentsResponse,
} from './list-partition-reassignments.ts'
import { ListTransactionsRequest, ListTransactionsResponse } from './list-transactions.ts'
import { MetadataRequest, MetadataResponse } from './metadata.ts'
import { OffsetCommitRequest, OffsetCommitResponse } from './offset-commit.ts'
import { OffsetDeleteRequest, OffsetDeleteResponse } from './offset-delete.ts'
import { OffsetFetchRequest, OffsetFetchResponse } from './offset-fetch.ts'
import { OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse } from './offset-for-leader-epoch.ts'
import { ProduceRequest, ProduceResponse } from './produce.ts'
import { SaslAuthenticateRequest, SaslAuthenticateResponse } from './sasl-authenticate.ts'
import { SaslHandshakeRequest, SaslHandshakeResponse } from './sasl-handshake.ts'
import { SyncGroupRequest, SyncGroupResponse } from './sync-group.ts'
import { TxnOffsetCommitRequest, TxnOffsetCommitResponse } from './txn-offset-commit.ts'
import { UnregisterBrokerRequest, UnregisterBrokerResponse } from './unregister-broker.ts'
import { WriteTxnMarkersRequest, WriteTxnMarkersResponse } from './write-txn-markers.ts'

export interface ApiMessages {
  readonly request: Message
  readonly response: Message
}

const declared: readonly (readonly [request: Message, response: Message])[] = [
  [ProduceRequest, ProduceResponse],
  [FetchRequest, FetchResponse],
  [ListOffsetsRequest, ListOffsetsResponse],
  [MetadataRequest, MetadataResponse],
  [OffsetCommitRequest, OffsetCommitResponse],
  [OffsetFetchRequest, OffsetFetchResponse],
  [FindCoordinatorRequest, FindCoordinatorResponse],
  [JoinGroupRequest, JoinGroupResponse],
  [HeartbeatRequest, HeartbeatResponse],
  [LeaveGroupRequest, LeaveGroupResponse],
  [SyncGroupRequest, SyncGroupResponse],
  [DescribeGroupsRequest, DescribeGroupsResponse],
  [ListGroupsRequest, ListGroupsResponse],
  [SaslHandshakeRequest, SaslHandshakeResponse],
  [ApiVersionsRequest, ApiVersionsResponse],
  [CreateTopicsRequest, CreateTopicsResponse],
  [DeleteTopicsRequest, DeleteTopicsResponse],
  [DeleteRecordsRequest, DeleteRecordsResponse],
  [InitProducerIdRequest, InitProducerIdResponse],
  [OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse],
  [AddPartitionsToTxnRequest, AddPartitionsToTxnResponse],
  [AddOffsetsToTxnRequest, AddOffsetsToTxnResponse],
  [EndTxnRequest, EndTxnResponse],
  [WriteTxnMarkersRequest, WriteTxnMarkersResponse],
  [TxnOffsetCommitRequest, TxnOffsetCommitResponse],
  [DescribeAclsRequest, DescribeAclsResponse],
  [CreateAclsRequest, CreateAclsResponse],
  [DeleteAclsRequest, DeleteAclsResponse],
  [DescribeConfigsRequest, DescribeConfigsResponse],
  [AlterConfigsRequest, AlterConfigsResponse],
  [DescribeLogDirsRequest, DescribeLogDirsResponse],
  [SaslAuthenticateRequest, SaslAuthenticateResponse],
  [CreatePartitionsRequest, CreatePartitionsResponse],
  [DeleteGroupsRequest, DeleteGroupsResponse],
  [ElectLeadersRequest, ElectLeadersResponse],
  [IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse],
  [AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse],
  [ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse],
  [OffsetDeleteRequest, OffsetDeleteResponse],
  [DescribeClientQuotasRequest, DescribeClientQuotasResponse],
  [AlterClientQuotasRequest, AlterClientQuotasResponse],
  [DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse],
  [AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse],
  [DescribeQuorumRequest, DescribeQuorumResponse],
  [DescribeClusterRequest, DescribeClusterResponse],
  [DescribeProducersRequest, DescribeProducersResponse],
  [UnregisterBrokerRequest, UnregisterBrokerResponse],
  [DescribeTransactionsRequest, DescribeTransactionsResponse],
  [ListTransactionsRequest, ListTransactionsResponse],
  [ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse],
  [ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse],
  [DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse],
]

export const API_MESSAGES: ReadonlyMap<ApiKey, ApiMessages> = new Map(
  declared.map(([request, response]) => [request.apiKey as ApiKey, { request, response }]),
)
