// Broker 1 of three as its handlers see it: one shard, an image with three brokers on two racks, partitions with replicas whose role the
// test decides, clients whose requests and answers travel encoded.

import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import type { GroupCoordinator } from '../../../../broker/groups/coordinator.ts'
import type { Api, CallContext } from '../../../../broker/handlers/api.ts'
import { FetchSessions } from '../../../../broker/handlers/fetch-sessions.ts'
import { StrandedClients } from '../../../../broker/handlers/stranded-clients.ts'
import type { ConnectionWaiter } from '../../../../broker/net/connection.ts'
import { RefusedSequences } from '../../../../broker/partition/refused-sequences.ts'
import type { DataShard } from '../../../../broker/shard/context.ts'
import { DataPlane } from '../../../../broker/shard/data-plane.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import type { FetchRequest } from '../../../../protocol/messages/fetch.ts'
import type { Message } from '../../../../protocol/schema.ts'
import { ManualClock, silent } from '../cluster/fixture.ts'
import { type Bench, bench } from '../partition/fixture.ts'
import { call, travel } from './fixture.ts'

export const RACK_AWARE = 'org.apache.kafka.common.replica.RackAwareReplicaSelector'

export class DataBench {
  readonly config: BrokerConfig
  readonly image: MetadataImage
  readonly clock = new ManualClock()
  readonly dead = new Set<number>()
  /** By Raft group. */
  readonly partitions = new Map<number, Bench>()
  readonly closed: string[] = []
  /** Connections that were ended without a word. */
  readonly dropped: number[] = []
  /** Requests that hear of the end of their connection, all of one. */
  readonly waiters = new Set<ConnectionWaiter>()
  readonly shard: DataShard

  constructor(settings: Record<string, string> = {}) {
    this.config = new BrokerConfig(Object.entries({ 'node.id': '1', ...settings }))
    this.image = new MetadataImage(this.config)
    for (const nodeId of [1, 2, 3]) {
      const endpoints = [
        { listener: 'PLAINTEXT', host: `in-${nodeId}`, port: 9092 },
        { listener: 'OUTSIDE', host: `out-${nodeId}`, port: 9093 },
      ]
      const rack = nodeId === 1 ? 'east' : 'west'
      this.image.apply({ type: 'register-broker', nodeId, host: `in-${nodeId}`, port: 9092, rack, endpoints })
    }
    const data = new DataPlane({
      shardId: 0,
      shardCount: 1,
      arenas: [],
      inFlight: { alloc: () => -1, release: () => {} },
      post: () => {
        throw new Error('there is one shard')
      },
      partition: (groupId) => this.partitions.get(groupId)?.partition,
      whyMissing: () => ErrorCode.NOT_LEADER_OR_FOLLOWER,
      refusedSequences: new RefusedSequences(this.clock),
    })
    const bench = this
    let session = 0
    this.shard = {
      shardId: 0,
      shardCount: 1,
      environment: {
        clock: this.clock,
        logger: silent,
        random: { next: () => 0.5, bytes: (count) => new Uint8Array(count) },
        disk: undefined as never,
        network: undefined as never,
      },
      config: this.config,
      image: this.image,
      controller: undefined,
      coordinator: undefined as unknown as GroupCoordinator,
      partition: (groupId) => bench.partitions.get(groupId)?.partition,
      async ask(_shard, api, context, request) {
        return api.serve!(bench.shard, context, request)
      },
      askController: () => Promise.reject(new Error('there is no controller')),
      askBroker: () => Promise.reject(new Error('there is no other broker')),
      isAlive: (nodeId) => !bench.dead.has(nodeId),
      whenFresh: () => undefined,
      isCutOff: false,
      get isController() {
        return bench.image.controllerId === bench.config.nodeId
      },
      quorum: () => undefined,
      data,
      fetchSessions: new FetchSessions(10, () => ++session),
      producerIds: undefined,
      frameMemory: undefined,
      closeConnection: (_id, reason) => bench.closed.push(reason),
      dropConnection: (id) => bench.dropped.push(id),
      strandedClients: new StrandedClients(),
      beginWait: (_id, waiter) => bench.waiters.add(waiter),
      endWait: (_id, waiter) => bench.waiters.delete(waiter),
    }
  }

  /** A topic with a partition per list of replicas; those here get a replica without a role. */
  async topic(name: string, assignments: number[][], configs: Record<string, string> = {}): Promise<Bench[]> {
    const topicId = Buffer.from(`${name}................`.slice(0, 16)).toString('base64url')
    this.image.apply({ type: 'create-topic', name, topicId, assignments, configs })
    const made: Bench[] = []
    for (const { groupId, replicas } of this.image.topicByName(name)!.partitions) {
      if (!replicas.includes(this.config.nodeId)) continue
      const partition = await bench(configs, { topic: name, topicId })
      this.partitions.set(groupId, partition)
      made.push(partition)
    }
    return made
  }

  /** A leader has announced itself. */
  announce(topic: string, partition: number, leader: number, epoch: number, isr: number[] = [1, 2, 3]): void {
    this.image.setLeader(this.image.topicByName(topic)!.partitions[partition]!.groupId, leader, epoch, isr)
  }

  async send<Req, Res>(
    api: Api<Req, Res>,
    version: number,
    request: Req,
    about: Partial<CallContext> = {},
  ): Promise<Res> {
    const read = travel(api.request, version, request as never)
    const context = { ...call(api.request.apiKey, version), ...about }
    const answer = await api.handle(this.shard, context, read as Req)
    return travel(api.response as Message, version, answer as never) as Res
  }

  topicId(name: string): string {
    return this.image.topicByName(name)!.topicId
  }

  /** A fetch of one partition by a consumer. */
  fetchOf(topic: string, partition = 0, about: Partial<FetchRequest> & { epoch?: number; offset?: number } = {}) {
    const { epoch = -1, offset = 0, ...more } = about
    const asked = {
      partition,
      currentLeaderEpoch: epoch,
      fetchOffset: offset,
      lastFetchedEpoch: -1,
      logStartOffset: -1,
      partitionMaxBytes: 1 << 20,
    }
    return {
      replicaId: -1,
      maxWaitMs: 0,
      minBytes: 1,
      maxBytes: 1 << 20,
      isolationLevel: 0,
      sessionId: 0,
      sessionEpoch: -1,
      topics: [{ topic, topicId: this.image.topicByName(topic)!.topicId, partitions: [asked] }],
      forgottenTopicsData: [],
      rackId: '',
      ...more,
    } as unknown as FetchRequest
  }
}
