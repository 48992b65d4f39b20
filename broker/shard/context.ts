// What a handler may use of the shard it runs on. shard.ts implements it; tests hand in their own.

import type { Controller } from '../cluster/controller.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import type { ProducerIds } from '../cluster/producer-ids.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { GroupCoordinator } from '../groups/coordinator.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import type { FetchSessions } from '../handlers/fetch-sessions.ts'
import type { StrandedClients } from '../handlers/stranded-clients.ts'
import type { ConnectionWaiter, FrameMemory } from '../net/connection.ts'
import type { Partition } from '../partition/partition.ts'
import type { DataPlane } from './data-plane.ts'

/** A member of Raft group 0, as its leader sees it. */
export interface QuorumMember {
  readonly nodeId: number
  readonly directoryId: string
  /** Index of the last entry that it is known to have. */
  readonly lastIndex: number
  /** Wall clock; -1 when never. */
  readonly lastHeardMs: number
  readonly lastCaughtUpMs: number
}

export interface QuorumState {
  readonly leaderId: number
  readonly leaderEpoch: number
  readonly commitIndex: number
  readonly voters: readonly QuorumMember[]
  readonly observers: readonly QuorumMember[]
}

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
  /**
   * Runs api.serve where the metadata is decided: on shard 0 of the broker that leads group 0. Waits briefly for a leader; without one it is
   * served by shard 0 of this broker, whose controller then refuses with NOT_CONTROLLER.
   */
  askController<Req, Res>(api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res>
  /**
   * Runs api.serve on a shard of any broker.
   * @param shard of that broker; numbers from its registration
   * @throws BrokerUnreachable when it cannot be asked or does not answer in time: whether it served the request is not known
   */
  askBroker<Req, Res>(nodeId: number, shard: number, api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res>
  /** Whether that broker has shown a sign of life lately. This one always has. */
  isAlive(nodeId: number): boolean
  /**
   * No leader of the metadata group is heard, and none is about to be elected among those who are; or this shard stood still and has not heard from it
   * since. What the image says may be old then.
   */
  readonly isCutOff: boolean
  /** Whether this broker leads the metadata group. */
  readonly isController: boolean
  /**
   * What was decided while this broker did not count as alive may be missing in the image.
   * @returns undefined when it is not; otherwise resolves when it is there, or after a second
   */
  whenFresh(): Promise<void> | undefined
  /** The members of group 0; on shard 0 of the broker that leads it, undefined elsewhere. */
  quorum(): QuorumState | undefined
}

/** A broker could not be asked, or its answer did not come. */
export class BrokerUnreachable extends Error {
  override readonly name = 'BrokerUnreachable'

  constructor(nodeId: number) {
    super(`broker ${nodeId} does not answer`)
  }
}

/** What Produce and Fetch use besides: the data path. */
export interface DataShard extends ShardContext {
  readonly data: DataPlane
  readonly fetchSessions: FetchSessions
  readonly strandedClients: StrandedClients
  /** On shard 0 only. */
  readonly producerIds: ProducerIds | undefined
  /** The memory of the frame that is being handled, when it can be kept; valid while handle() has not returned. */
  readonly frameMemory: FrameMemory | undefined
  /** Ends a connection whose request may not be answered otherwise. */
  closeConnection(connectionId: number, reason: string): void
  /** The same for a client that has done nothing wrong: nothing is said about it. */
  dropConnection(connectionId: number): void
  /** Until endWait() the waiter hears of the end of that connection: at once when it has ended. */
  beginWait(connectionId: number, waiter: ConnectionWaiter): void
  endWait(connectionId: number, waiter: ConnectionWaiter): void
}
