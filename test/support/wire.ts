// A typed client of single requests: any API at any version, built and read with protocol/, over a connection of raw frames.
//
// For the conformance suites, which state what Kafka answers to one request. An answer must be decoded to its last byte.

import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import { type ApiKey, apiName } from '../../protocol/api.ts'
import { decoder, encoder } from '../../protocol/compile.ts'
import { readResponseHeader, writeRequestHeader } from '../../protocol/frame.ts'
import { AlterConfigsRequest, AlterConfigsResponse } from '../../protocol/messages/alter-configs.ts'
import {
  AlterPartitionReassignmentsRequest,
  AlterPartitionReassignmentsResponse,
} from '../../protocol/messages/alter-partition-reassignments.ts'
import { ApiVersionsRequest, ApiVersionsResponse } from '../../protocol/messages/api-versions.ts'
import { CreatePartitionsRequest, CreatePartitionsResponse } from '../../protocol/messages/create-partitions.ts'
import { CreateTopicsRequest, CreateTopicsResponse } from '../../protocol/messages/create-topics.ts'
import { DeleteGroupsRequest, DeleteGroupsResponse } from '../../protocol/messages/delete-groups.ts'
import { DeleteRecordsRequest, DeleteRecordsResponse } from '../../protocol/messages/delete-records.ts'
import { DeleteTopicsRequest, DeleteTopicsResponse } from '../../protocol/messages/delete-topics.ts'
import { DescribeClusterRequest, DescribeClusterResponse } from '../../protocol/messages/describe-cluster.ts'
import { DescribeConfigsRequest, DescribeConfigsResponse } from '../../protocol/messages/describe-configs.ts'
import { DescribeGroupsRequest, DescribeGroupsResponse } from '../../protocol/messages/describe-groups.ts'
import { DescribeLogDirsRequest, DescribeLogDirsResponse } from '../../protocol/messages/describe-log-dirs.ts'
import { DescribeProducersRequest, DescribeProducersResponse } from '../../protocol/messages/describe-producers.ts'
import { DescribeQuorumRequest, DescribeQuorumResponse } from '../../protocol/messages/describe-quorum.ts'
import {
  DescribeTopicPartitionsRequest,
  DescribeTopicPartitionsResponse,
} from '../../protocol/messages/describe-topic-partitions.ts'
import { ElectLeadersRequest, ElectLeadersResponse } from '../../protocol/messages/elect-leaders.ts'
import { FetchRequest, FetchResponse } from '../../protocol/messages/fetch.ts'
import { FindCoordinatorRequest, FindCoordinatorResponse } from '../../protocol/messages/find-coordinator.ts'
import { HeartbeatRequest, HeartbeatResponse } from '../../protocol/messages/heartbeat.ts'
import {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponse,
} from '../../protocol/messages/incremental-alter-configs.ts'
import { InitProducerIdRequest, InitProducerIdResponse } from '../../protocol/messages/init-producer-id.ts'
import { JoinGroupRequest, JoinGroupResponse } from '../../protocol/messages/join-group.ts'
import { LeaveGroupRequest, LeaveGroupResponse } from '../../protocol/messages/leave-group.ts'
import { ListGroupsRequest, ListGroupsResponse } from '../../protocol/messages/list-groups.ts'
import { ListOffsetsRequest, ListOffsetsResponse } from '../../protocol/messages/list-offsets.ts'
import {
  ListPartitionReassignmentsRequest,
  ListPartitionReassignmentsResponse,
} from '../../protocol/messages/list-partition-reassignments.ts'
import { MetadataRequest, MetadataResponse } from '../../protocol/messages/metadata.ts'
import { OffsetCommitRequest, OffsetCommitResponse } from '../../protocol/messages/offset-commit.ts'
import { OffsetDeleteRequest, OffsetDeleteResponse } from '../../protocol/messages/offset-delete.ts'
import { OffsetFetchRequest, OffsetFetchResponse } from '../../protocol/messages/offset-fetch.ts'
import {
  OffsetForLeaderEpochRequest,
  OffsetForLeaderEpochResponse,
} from '../../protocol/messages/offset-for-leader-epoch.ts'
import { ProduceRequest, ProduceResponse } from '../../protocol/messages/produce.ts'
import { SyncGroupRequest, SyncGroupResponse } from '../../protocol/messages/sync-group.ts'
import { UnregisterBrokerRequest, UnregisterBrokerResponse } from '../../protocol/messages/unregister-broker.ts'
import { Reader } from '../../protocol/reader.ts'
import type { Fields, Input, Message, Value } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import { eventually } from './process.ts'
import { RawConnection } from './raw.ts'
import { openTarget, type Target, type TargetOptions } from './target.ts'

export interface ApiPair<Q extends Fields, A extends Fields> {
  readonly request: Message<Q>
  readonly response: Message<A>
}

/** The APIs by name, each its two messages. */
export const api = {
  alterConfigs: { request: AlterConfigsRequest, response: AlterConfigsResponse },
  alterPartitionReassignments: {
    request: AlterPartitionReassignmentsRequest,
    response: AlterPartitionReassignmentsResponse,
  },
  apiVersions: { request: ApiVersionsRequest, response: ApiVersionsResponse },
  createPartitions: { request: CreatePartitionsRequest, response: CreatePartitionsResponse },
  createTopics: { request: CreateTopicsRequest, response: CreateTopicsResponse },
  deleteGroups: { request: DeleteGroupsRequest, response: DeleteGroupsResponse },
  deleteRecords: { request: DeleteRecordsRequest, response: DeleteRecordsResponse },
  deleteTopics: { request: DeleteTopicsRequest, response: DeleteTopicsResponse },
  describeCluster: { request: DescribeClusterRequest, response: DescribeClusterResponse },
  describeConfigs: { request: DescribeConfigsRequest, response: DescribeConfigsResponse },
  describeGroups: { request: DescribeGroupsRequest, response: DescribeGroupsResponse },
  describeLogDirs: { request: DescribeLogDirsRequest, response: DescribeLogDirsResponse },
  describeProducers: { request: DescribeProducersRequest, response: DescribeProducersResponse },
  describeQuorum: { request: DescribeQuorumRequest, response: DescribeQuorumResponse },
  describeTopicPartitions: { request: DescribeTopicPartitionsRequest, response: DescribeTopicPartitionsResponse },
  electLeaders: { request: ElectLeadersRequest, response: ElectLeadersResponse },
  fetch: { request: FetchRequest, response: FetchResponse },
  findCoordinator: { request: FindCoordinatorRequest, response: FindCoordinatorResponse },
  heartbeat: { request: HeartbeatRequest, response: HeartbeatResponse },
  incrementalAlterConfigs: { request: IncrementalAlterConfigsRequest, response: IncrementalAlterConfigsResponse },
  initProducerId: { request: InitProducerIdRequest, response: InitProducerIdResponse },
  joinGroup: { request: JoinGroupRequest, response: JoinGroupResponse },
  leaveGroup: { request: LeaveGroupRequest, response: LeaveGroupResponse },
  listGroups: { request: ListGroupsRequest, response: ListGroupsResponse },
  listOffsets: { request: ListOffsetsRequest, response: ListOffsetsResponse },
  listPartitionReassignments: {
    request: ListPartitionReassignmentsRequest,
    response: ListPartitionReassignmentsResponse,
  },
  metadata: { request: MetadataRequest, response: MetadataResponse },
  offsetCommit: { request: OffsetCommitRequest, response: OffsetCommitResponse },
  offsetDelete: { request: OffsetDeleteRequest, response: OffsetDeleteResponse },
  offsetFetch: { request: OffsetFetchRequest, response: OffsetFetchResponse },
  offsetForLeaderEpoch: { request: OffsetForLeaderEpochRequest, response: OffsetForLeaderEpochResponse },
  produce: { request: ProduceRequest, response: ProduceResponse },
  syncGroup: { request: SyncGroupRequest, response: SyncGroupResponse },
  unregisterBroker: { request: UnregisterBrokerRequest, response: UnregisterBrokerResponse },
} as const

export interface CallOptions {
  readonly clientId?: string | null
  readonly timeoutMs?: number
  /** Appended to the body. */
  readonly trailing?: Uint8Array
}

/** One connection. Calls are answered in order; several may be under way. */
export class Wire {
  readonly connection: RawConnection
  #correlationId = 0

  constructor(connection: RawConnection) {
    this.connection = connection
  }

  static async open(target: { readonly host: string; readonly port: number }): Promise<Wire> {
    return new Wire(await RawConnection.open(target.port, target.host))
  }

  /** Sends one request without waiting; gives its correlation id. */
  send<Q extends Fields>(request: Message<Q>, apiVersion: number, body: Input<Q>, options: CallOptions = {}): number {
    const correlationId = ++this.#correlationId
    const apiKey = request.apiKey as ApiKey
    const writer = new Writer()
    const clientId = options.clientId === undefined ? 'conformance' : options.clientId
    writeRequestHeader(writer, { apiKey, apiVersion, correlationId, clientId })
    encoder(request, apiVersion)(writer, body)
    this.#write(Buffer.concat([writer.toBytes(), options.trailing ?? Buffer.alloc(0)]))
    return correlationId
  }

  #write(bytes: Uint8Array): void {
    const length = Buffer.alloc(4)
    length.writeInt32BE(bytes.length)
    this.connection.write(Buffer.concat([length, bytes]))
  }

  /** Sends a frame as it is; its correlation id is the caller's affair. */
  sendFrame(bytes: Uint8Array): void {
    this.#write(bytes)
  }

  /** One request and its answer. @throws Error when the connection closes or nothing comes in time */
  async call<Q extends Fields, A extends Fields>(
    { request, response }: ApiPair<Q, A>,
    apiVersion: number,
    body: Input<Q>,
    options: CallOptions = {},
  ): Promise<Value<A>> {
    const correlationId = this.send(request, apiVersion, body, options)
    return this.answer(response, request.apiKey, apiVersion, correlationId, options.timeoutMs)
  }

  async answer<A extends Fields>(
    response: Message<A>,
    apiKey: number,
    apiVersion: number,
    correlationId: number,
    timeoutMs = 20_000,
  ): Promise<Value<A>> {
    const name = `${apiName(apiKey)} v${apiVersion}`
    const bytes = await this.connection.next(timeoutMs).catch((cause: unknown) => {
      throw new Error(`${name} is not answered`, { cause })
    })
    const reader = new Reader(bytes)
    assert.equal(readResponseHeader(reader, apiKey as ApiKey, apiVersion), correlationId)
    const answer = decoder(response, apiVersion)(reader)
    assert.equal(reader.remaining, 0, `${name} has bytes left over`)
    return answer
  }

  close(): void {
    this.connection.close()
  }
}

/** The broker of a conformance suite: started before its tests, closed after them, and every connection with it. */
export class Bench {
  target!: Target
  /** Whether Apache Kafka answers, where Millrace differs on purpose. */
  readonly isKafka = process.env.MILLRACE_TEST_BROKER === 'kafka'
  readonly #wires: Wire[] = []
  #names = 0

  /** To be made in the suite's describe(). */
  constructor(options: TargetOptions = {}) {
    before(async () => {
      this.target = await openTarget(options)
    })
    after(async () => {
      for (const wire of this.#wires) wire.close()
      await this.target?.close()
    })
  }

  async open(): Promise<Wire> {
    const wire = await Wire.open(this.target)
    this.#wires.push(wire)
    return wire
  }

  /** A name nobody else uses. */
  name(prefix: string): string {
    return `${prefix}-${process.pid}-${++this.#names}`
  }
}

/** The id of no topic. */
export const UNKNOWN_ID = 'aaaaaaaaaaaaaaaaaaaaaA'

export interface NewTopic {
  readonly name: string
  readonly id: string
}

/** Creates a topic with one replica and waits until its partitions have leaders: Kafka answers before. */
export async function newTopic(
  wire: Wire,
  name: string,
  partitions = 1,
  configs: Readonly<Record<string, string>> = {},
): Promise<NewTopic> {
  const created = await wire.call(api.createTopics, 7, {
    topics: [
      {
        name,
        numPartitions: partitions,
        replicationFactor: 1,
        assignments: [],
        configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
      },
    ],
    timeoutMs: 30_000,
  })
  assert.deepEqual([created.topics[0]?.errorCode, created.topics[0]?.errorMessage], [0, null])
  await eventually(`leaders of ${name}`, 20_000, async () => {
    const answer = await wire.call(api.listOffsets, 1, {
      replicaId: -1,
      topics: [
        {
          name,
          partitions: Array.from({ length: partitions }, (_, partitionIndex) => ({ partitionIndex, timestamp: -1 })),
        },
      ],
    })
    return answer.topics[0]?.partitions.every(({ errorCode }) => errorCode === 0) ? true : undefined
  })
  return { name, id: created.topics[0]?.topicId ?? '' }
}

/** Waits until the group has a coordinator: the first one to ask makes the topic of the offsets. */
export async function coordinated(wire: Wire, groupId: string): Promise<void> {
  await eventually('a coordinator', 20_000, async () => {
    const answer = await wire.call(api.findCoordinator, 0, { key: groupId })
    return answer.errorCode === 0 ? true : undefined
  })
}

/** Deletes a topic and waits until the broker has forgotten it. */
export async function dropTopic(wire: Wire, name: string): Promise<void> {
  await wire.call(api.deleteTopics, 6, { topics: [{ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA' }], timeoutMs: 30_000 })
  await eventually(`${name} to be gone`, 20_000, async () => {
    const answer = await wire.call(api.metadata, 12, { topics: [{ name }], allowAutoTopicCreation: false })
    return answer.topics[0]?.errorCode === 3 ? true : undefined
  })
}

/** Whether the broker closes the connection instead of answering. */
export async function isClosedBy(wire: Wire, send: () => void): Promise<boolean> {
  send()
  return wire.connection.next(10_000).then(
    () => false,
    () => wire.connection.isClosed,
  )
}
