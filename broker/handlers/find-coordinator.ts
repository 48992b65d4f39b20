// FindCoordinator: which broker coordinates a group: the one that leads its partition of __consumer_offsets. The first one asks for __consumer_offsets to be made.
//
// Answered on the connection's shard from its metadata. Kafka answers the first request COORDINATOR_NOT_AVAILABLE and lets the
// client come back; here it waits for the topic, so that the first consumer of a new broker does not sit out a retry.

import { ErrorCode } from '../../protocol/errors.ts'
import { FindCoordinatorRequest, FindCoordinatorResponse } from '../../protocol/messages/find-coordinator.ts'
import type { Input } from '../../protocol/schema.ts'
import { OFFSETS_TOPIC } from '../cluster/topic-names.ts'
import { partitionOfKey } from '../groups/routing.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'
import { ensureOffsetsTopic } from './auto-create.ts'
import { addressOf } from './brokers.ts'

type Response = Input<typeof FindCoordinatorResponse.fields>
type Coordinator = NonNullable<Response['coordinators']>[number]

const SEVERAL_KEYS_SINCE = 4
const KeyType = { group: 0, transaction: 1, share: 2 } as const
const SHARE_SINCE = 6

const NOT_AVAILABLE = 'The coordinator is not available.'
const NO_TRANSACTIONS = 'This broker does not serve transactions.'
const NO_SHARE_GROUPS = 'This broker does not serve share groups.'
const UNKNOWN_KEY_TYPE = 'The key type is not known in this version of the request.'

export const findCoordinator: Api<FindCoordinatorRequest, Response> = {
  request: FindCoordinatorRequest,
  response: FindCoordinatorResponse,
  async handle(shard, call, request) {
    const isSingle = call.version < SEVERAL_KEYS_SINCE
    const keys = isSingle ? [request.key] : request.coordinatorKeys
    const refusal = refusalOf(request.keyType, call.version)
    if (refusal === undefined && keys.length > 0 && shard.image.topicByName(OFFSETS_TOPIC) === undefined) {
      await ensureOffsetsTopic(shard)
    }
    const coordinators = keys.map((key) =>
      refusal === undefined
        ? coordinatorOf(shard, call.listenerName, key)
        : refused(key, refusal.error, refusal.message),
    )
    if (!isSingle) return { throttleTimeMs: 0, coordinators }
    const { nodeId, host, port, errorCode, errorMessage } = coordinators[0]!
    const shownMessage = errorCode === ErrorCode.NONE ? 'NONE' : errorMessage
    return { throttleTimeMs: 0, errorCode, errorMessage: shownMessage, nodeId, host, port }
  },
}

interface Refusal {
  readonly error: ErrorCode
  readonly message: string
}

function refusalOf(keyType: number, version: number): Refusal | undefined {
  if (keyType === KeyType.group) return undefined
  // A code that every client takes for final, as InitProducerId gives it: asking again would not help.
  if (keyType === KeyType.transaction) {
    return { error: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message: NO_TRANSACTIONS }
  }
  const isShare = keyType === KeyType.share && version >= SHARE_SINCE
  return { error: ErrorCode.INVALID_REQUEST, message: isShare ? NO_SHARE_GROUPS : UNKNOWN_KEY_TYPE }
}

function coordinatorOf(shard: ShardContext, listenerName: string, key: string): Coordinator {
  const topic = shard.image.topicByName(OFFSETS_TOPIC)
  const partition = topic?.partitions[partitionOfKey(key, topic.partitions.length)]
  // Until it has announced itself, the first replica is only the one that should lead.
  const leader = partition === undefined || partition.leaderEpoch < 0 ? -1 : partition.leader
  const address = addressOf(shard, leader, listenerName)
  if (address === undefined) return refused(key, ErrorCode.COORDINATOR_NOT_AVAILABLE, NOT_AVAILABLE)
  const { host, port } = address
  return { key, nodeId: leader, host, port, errorCode: ErrorCode.NONE, errorMessage: '' }
}

function refused(key: string, errorCode: ErrorCode, errorMessage: string): Coordinator {
  return { key, nodeId: -1, host: '', port: -1, errorCode, errorMessage }
}
