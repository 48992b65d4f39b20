// What a handler may use of the shard it runs on. shard.ts implements it; tests hand in their own.

import type { Controller } from '../cluster/controller.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import type { ProducerIds } from '../cluster/producer-ids.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { GroupCoordinator } from '../groups/coordinator.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import type { FetchSessions } from '../handlers/fetch-sessions.ts'
import type { FrameMemory } from '../net/connection.ts'
import type { Partition } from '../partition/partition.ts'
import type { DataPlane } from './data-plane.ts'

export interface ShardContext {
  readonly shardId: number
  readonly shardCount: number
  readonly environment: Environment
  readonly config: BrokerConfig
  /** This shard's own copy of the metadata. */
  readonly image: MetadataImage
  /** On shard 0 only. */
  readonly controller: Controller | undefined
  /** For the groups whose partition of __consumer_offsets lives on this shard. */
  readonly coordinator: GroupCoordinator
  /** A partition owned by this shard, by the number of its Raft group. */
  partition(groupId: number): Partition | undefined
  /** Runs api.serve on that shard (directly when it is this one); both messages travel encoded at call.version. */
  ask<Req, Res>(shard: number, api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res>
}

/** What Produce and Fetch use besides: the data path. */
export interface DataShard extends ShardContext {
  readonly data: DataPlane
  readonly fetchSessions: FetchSessions
  /** On shard 0 only. */
  readonly producerIds: ProducerIds | undefined
  /** The memory of the frame that is being handled, when it can be kept; valid while handle() has not returned. */
  readonly frameMemory: FrameMemory | undefined
  /** Ends a connection whose request may not be answered otherwise. */
  closeConnection(connectionId: number, reason: string): void
}
