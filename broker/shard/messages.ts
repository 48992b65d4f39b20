// What the main thread and a shard's worker say to each other. Rare: start, sockets, scrapes, stop.

import type { Socket } from 'node:net'
import type { Registration } from '../cluster/controller.ts'
import type { NodeIdentity } from '../cluster/node-identity.ts'
import type { ShardFigures } from '../observe/shard-metrics.ts'
import type { PeerOptions } from './peer-links.ts'

export interface WorkerSetup {
  readonly shardId: number
  readonly shardCount: number
  readonly settings: readonly (readonly [string, string])[]
  readonly dataDirectory: string
  readonly journalDirectory: string
  readonly memoryBytes: number
  readonly journalFileBytes: number
  /** A method of storage/open-disk.ts. */
  readonly ioMethod: string
  readonly rings: readonly SharedArrayBuffer[]
  readonly wakeMemory: SharedArrayBuffer
  readonly firstBell: number
  /** -1: not pinned. */
  readonly core: number
  /** Undefined for a broker alone. */
  readonly peer: PeerOptions | undefined
  readonly identity: NodeIdentity | undefined
  /** Of the broker's log; undefined where it cannot be changed. */
  readonly logThreshold: SharedArrayBuffer | undefined
}

export type ToShard =
  | {
      readonly type: 'start'
      readonly arenas: readonly SharedArrayBuffer[]
      readonly registration: Registration
    }
  /** A connection of another broker. */
  | { readonly type: 'peer-socket'; readonly socket: Socket }
  | { readonly type: 'identity-saved' }
  | { readonly type: 'socket'; readonly id: number; readonly listener: string; readonly socket: Socket }
  | {
      readonly type: 'listen'
      readonly host: string
      readonly port: number
      readonly listener: string
      readonly backlog: number
      readonly isPeer: boolean
    }
  | { readonly type: 'figures'; readonly id: number; readonly perPartition: boolean }
  | { readonly type: 'stop' }

export type FromShard =
  | { readonly type: 'arena'; readonly buffer: SharedArrayBuffer }
  | { readonly type: 'ready'; readonly io: string }
  | { readonly type: 'listening'; readonly port: number }
  /** To be written into the data directory's record; answered with identity-saved. */
  | { readonly type: 'identity'; readonly identity: NodeIdentity }
  | { readonly type: 'closed-connection' }
  | { readonly type: 'figures'; readonly id: number; readonly figures: ShardFigures }
  | { readonly type: 'log'; readonly level: 'error' | 'warn' | 'info' | 'debug'; readonly message: string }
  | { readonly type: 'failed'; readonly code: string; readonly message: string; readonly whatToDo: string }
  | { readonly type: 'stopped' }
