// What brokers tell each other of themselves as JSON, checked field by field before it is believed.
//
// Whoever reaches the peer listener may send it: what is registered goes to the metadata of every broker, and from there to every client. Pure.
// Fields that are not known are left out.

import type { RegisterAnswer } from './cluster-call.ts'
import type { Endpoint, PeerAddress } from './commands.ts'
import type { Registration } from './controller.ts'
import type { SeedStatus } from './node-forming.ts'

/** Far beyond any host, rack or id. */
const NAME_CHARACTERS_MAX = 1024
const ENDPOINTS_MAX = 64
const PEERS_MAX = 10_000
const SHARDS_MAX = 1024
const INT32_MAX = 0x7fff_ffff

type Fields = Readonly<Record<string, unknown>>

/** @returns undefined for what is no JSON */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
}

/** @returns undefined for what is no registration */
export function registrationOf(value: unknown): Registration | undefined {
  const address = addressOf(value)
  if (address === undefined) return undefined
  const { nodeId, rack, endpoints, directoryId, peer, shardCount, directoryEpoch } = value as Fields
  if (!isWhole(nodeId, INT32_MAX)) return undefined
  if (rack !== null && !isName(rack, 0)) return undefined
  const known = endpoints === undefined ? undefined : endpointsOf(endpoints)
  if (endpoints !== undefined && known === undefined) return undefined
  if (directoryId !== undefined && !isName(directoryId, 0)) return undefined
  const reachedAt = peer === undefined || peer === null ? peer : addressOf(peer)
  if (reachedAt === undefined && peer !== undefined) return undefined
  if (shardCount !== undefined && (!isWhole(shardCount, SHARDS_MAX) || shardCount === 0)) return undefined
  if (directoryEpoch !== undefined && !isWhole(directoryEpoch)) return undefined
  return {
    ...{ nodeId, ...address, rack },
    ...(known === undefined ? {} : { endpoints: known }),
    ...(directoryId === undefined ? {} : { directoryId }),
    ...(reachedAt === undefined ? {} : { peer: reachedAt }),
    ...(shardCount === undefined ? {} : { shardCount }),
    ...(directoryEpoch === undefined ? {} : { directoryEpoch }),
  }
}

/** Broker ids of the replicas a partition is to have. @returns undefined for what is no such list */
export function replicasOf(value: unknown): number[] | undefined {
  return listOf(value, PEERS_MAX, (item) => (isWhole(item, INT32_MAX) ? item : undefined))
}

/** @returns undefined for what is no answer to a registration */
export function registerAnswerOf(value: unknown): RegisterAnswer | undefined {
  if (!isObject(value)) return undefined
  const { error, message, clusterId, directoryEpoch, metadataIndex, peers } = value
  if (!Number.isInteger(error)) return undefined
  if (message != null && typeof message !== 'string') return undefined
  if (clusterId !== undefined && !isName(clusterId)) return undefined
  if (directoryEpoch !== undefined && !isWhole(directoryEpoch)) return undefined
  if (metadataIndex !== undefined && !isWhole(metadataIndex)) return undefined
  const known = peers === undefined ? undefined : peersOf(peers)
  if (peers !== undefined && known === undefined) return undefined
  return {
    error: error as RegisterAnswer['error'],
    ...(message === undefined ? {} : { message }),
    ...(clusterId === undefined ? {} : { clusterId }),
    ...(directoryEpoch === undefined ? {} : { directoryEpoch }),
    ...(metadataIndex === undefined ? {} : { metadataIndex }),
    ...(known === undefined ? {} : { peers: known }),
  }
}

/** @returns undefined for what a seed would not say of itself */
export function seedStatusOf(value: unknown): SeedStatus | undefined {
  if (!isObject(value)) return undefined
  const { nodeId, clusterId, isDeciding, isIdTaken } = value
  if (!isWhole(nodeId, INT32_MAX) || !isName(clusterId, 0)) return undefined
  return {
    ...{ nodeId, clusterId },
    ...(isDeciding === true ? { isDeciding } : {}),
    ...(isIdTaken === true ? { isIdTaken } : {}),
  }
}

function endpointsOf(value: unknown): Endpoint[] | undefined {
  return listOf(value, ENDPOINTS_MAX, (item) => {
    const address = addressOf(item)
    const { listener } = (item ?? {}) as Fields
    return address !== undefined && isName(listener) ? { listener, ...address } : undefined
  })
}

function peersOf(value: unknown): (PeerAddress & { nodeId: number })[] | undefined {
  return listOf(value, PEERS_MAX, (item) => {
    const address = addressOf(item)
    const { nodeId } = (item ?? {}) as Fields
    return address !== undefined && isWhole(nodeId, INT32_MAX) ? { nodeId, ...address } : undefined
  })
}

function addressOf(value: unknown): PeerAddress | undefined {
  if (!isObject(value)) return undefined
  const { host, port } = value
  return isName(host) && isWhole(port, 65_535) ? { host, port } : undefined
}

function listOf<T>(value: unknown, lengthMax: number, itemOf: (item: unknown) => T | undefined): T[] | undefined {
  if (!Array.isArray(value) || value.length > lengthMax) return undefined
  const items = value.map(itemOf)
  return items.includes(undefined) ? undefined : (items as T[])
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

function isWhole(value: unknown, max = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max
}

function isName(value: unknown, lengthMin = 1): value is string {
  return typeof value === 'string' && value.length >= lengthMin && value.length <= NAME_CHARACTERS_MAX
}
