// What brokers ask the controller for themselves, beside what clients ask: one private API, never served to clients.
//
// Any shard of any broker asks through askController; served on shard 0 of the broker that leads the metadata group. The bodies are JSON: rare
// messages, and fields can be added.

import { ErrorCode } from '../../protocol/errors.ts'
import { bytes, message } from '../../protocol/schema.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import type { ShardContext } from '../shard/context.ts'
import type { PeerAddress } from './commands.ts'
import type { Registration } from './controller.ts'
import { registrationOf, replicasOf } from './peer-json.ts'

/** Outside the range of Kafka's keys. */
export const CLUSTER_CALL = 20_000

export type ClusterAsk =
  /** newClusterId: of the founder, for a metadata log that has none yet. */
  | { readonly type: 'register'; readonly registration: Registration; readonly newClusterId?: string }
  | { readonly type: 'complete-reassignment'; readonly groupId: number; readonly targetReplicas: readonly number[] }
  | { readonly type: 'allocate-producer-ids' }
  | { readonly type: 'metadata-index' }

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

export interface MetadataIndexAnswer extends Outcome {
  readonly metadataIndex?: number
}

export interface ProducerIdAnswer extends Outcome {
  readonly firstProducerId?: number
  readonly count?: number
}

// Not a string: that ends at 32767 bytes, and a registration is answered with the addresses of all brokers.
const ClusterCallRequest = message('MillraceClusterCallRequest', { versions: '0', flexible: 'none' }, { body: bytes })
const ClusterCallResponse = message('MillraceClusterCallResponse', { versions: '0', flexible: 'none' }, { body: bytes })

interface Body {
  readonly body: Uint8Array
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
    return { body: encoded(await answer(shard, decoded(request.body) as ClusterAsk)) }
  },
}

/**
 * @returns the answer of the controller; NOT_CONTROLLER when there is none now, UNKNOWN_SERVER_ERROR when it makes no sense
 * @throws Error with the words of a broker that failed over it
 */
export async function askCluster<A extends Outcome>(shard: ShardContext, ask: ClusterAsk): Promise<A> {
  const { body } = await shard.askController(clusterCall, OWN_CALL, { body: encoded(ask) })
  return (parsed(body) ?? unclear(ask)) as A
}

/** @returns undefined for what is no answer */
function parsed(body: Uint8Array): Outcome | undefined {
  try {
    const answer = decoded(body) as Outcome | null
    return Number.isInteger(answer?.error) ? (answer as Outcome) : undefined
  } catch {
    return undefined
  }
}

function unclear({ type }: ClusterAsk): Outcome {
  return { error: ErrorCode.UNKNOWN_SERVER_ERROR, message: `the answer of the controller to ${type} makes no sense` }
}

async function answer(shard: ShardContext, ask: ClusterAsk): Promise<Outcome> {
  const { controller } = shard
  if (controller === undefined) return { error: ErrorCode.NOT_CONTROLLER }
  switch (ask.type) {
    case 'register': {
      const registration = registrationOf(ask.registration)
      if (registration === undefined) return senseless(ask)
      const registered = await controller.registerBroker(registration, ask.newClusterId)
      if (registered.error !== ErrorCode.NONE) return registered
      const { clusterId, appliedIndex, brokers } = shard.image
      const peers = brokers.flatMap(({ nodeId, peer }) => (peer === null ? [] : [{ nodeId, ...peer }]))
      const answered: RegisterAnswer = { ...registered, clusterId, metadataIndex: appliedIndex, peers }
      return answered
    }
    case 'complete-reassignment': {
      const targetReplicas = replicasOf(ask.targetReplicas)
      return targetReplicas === undefined
        ? senseless(ask)
        : controller.completeReassignment(ask.groupId, targetReplicas)
    }
    case 'allocate-producer-ids': {
      const block = await controller.allocateProducerIds()
      return 'error' in block ? block : { error: ErrorCode.NONE, ...block }
    }
    case 'metadata-index':
      return controller.metadataIndex()
    default: {
      const { type } = ask as { readonly type: unknown }
      return { error: ErrorCode.UNSUPPORTED_VERSION, message: `this controller knows nothing of ${type}` }
    }
  }
}

/** Nothing is decided on it: it would reach the metadata of every broker. */
function senseless({ type }: ClusterAsk): Outcome {
  return { error: ErrorCode.INVALID_REQUEST, message: `a ${type} that makes no sense` }
}

function encoded(value: ClusterAsk | Outcome): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function decoded(body: Uint8Array): unknown {
  return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
}
