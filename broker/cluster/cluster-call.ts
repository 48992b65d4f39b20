// What brokers ask the controller for themselves, beside what clients ask: one private API, never served to clients.
//
// Any shard of any broker asks through askController; served on shard 0 of the broker that leads the metadata group. The bodies are JSON: rare
// messages, and fields can be added.

import { ErrorCode } from '../../protocol/errors.ts'
import { message, string } from '../../protocol/schema.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import type { ShardContext } from '../shard/context.ts'
import type { PeerAddress } from './commands.ts'
import type { Registration } from './controller.ts'

/** Outside the range of Kafka's keys. */
export const CLUSTER_CALL = 20_000

export type ClusterAsk =
  /** newClusterId: of the founder, for a metadata log that has none yet. */
  | { readonly type: 'register'; readonly registration: Registration; readonly newClusterId?: string }
  | { readonly type: 'complete-reassignment'; readonly groupId: number; readonly targetReplicas: readonly number[] }
  | { readonly type: 'allocate-producer-ids' }

/** What every answer has. */
interface Outcome {
  readonly error: ErrorCode
  readonly message?: string | null
}

export interface RegisterAnswer extends Outcome {
  readonly clusterId?: string
  readonly directoryEpoch?: number
  /** Whoever has applied the metadata up to here knows all that was decided before it was registered. */
  readonly metadataIndex?: number
  readonly peers?: readonly (PeerAddress & { readonly nodeId: number })[]
}

export interface ProducerIdAnswer extends Outcome {
  readonly firstProducerId?: number
  readonly count?: number
}

const ClusterCallRequest = message('MillraceClusterCallRequest', { versions: '0', flexible: 'none' }, { body: string })
const ClusterCallResponse = message(
  'MillraceClusterCallResponse',
  { versions: '0', flexible: 'none' },
  { body: string },
)

interface Body {
  readonly body: string
}

const OWN_CALL: CallContext = {
  apiKey: CLUSTER_CALL,
  version: 0,
  clientId: null,
  clientHost: '',
  principal: 'User:ANONYMOUS',
  listenerName: '',
  connectionId: -1,
}

export const clusterCall: Api<Body, Body> = {
  request: ClusterCallRequest,
  response: ClusterCallResponse,
  handle() {
    throw new Error('not for clients')
  },
  async serve(shard, _call, request) {
    return { body: JSON.stringify(await answer(shard, JSON.parse(request.body) as ClusterAsk)) }
  },
}

/** @returns the answer of the controller; NOT_CONTROLLER when there is none now */
export async function askCluster<A extends Outcome>(shard: ShardContext, ask: ClusterAsk): Promise<A> {
  const { body } = await shard.askController(clusterCall, OWN_CALL, { body: JSON.stringify(ask) })
  return JSON.parse(body) as A
}

async function answer(shard: ShardContext, ask: ClusterAsk): Promise<Outcome> {
  const { controller } = shard
  if (controller === undefined) return { error: ErrorCode.NOT_CONTROLLER }
  switch (ask.type) {
    case 'register': {
      const registered = await controller.registerBroker(ask.registration, ask.newClusterId)
      if (registered.error !== ErrorCode.NONE) return registered
      const { clusterId, appliedIndex, brokers } = shard.image
      const peers = brokers.flatMap(({ nodeId, peer }) => (peer === null ? [] : [{ nodeId, ...peer }]))
      const answered: RegisterAnswer = { ...registered, clusterId, metadataIndex: appliedIndex, peers }
      return answered
    }
    case 'complete-reassignment':
      return controller.completeReassignment(ask.groupId, ask.targetReplicas)
    case 'allocate-producer-ids': {
      const block = await controller.allocateProducerIds()
      return 'error' in block ? block : { error: ErrorCode.NONE, ...block }
    }
  }
}
