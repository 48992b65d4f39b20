// What an API of the Kafka protocol is to the broker: its two messages and the code that answers it.
//
// `handle` runs on the thread of the connection's shard. What another shard owns is sent there with shard.ask(), which runs
// `serve` of the same API on that shard's thread.

import type { Message } from '../../protocol/schema.ts'
import type { ShardContext } from '../shard/context.ts'

/** Who is asking, and in which version. Plain data: it travels between shards. */
export interface CallContext {
  readonly apiKey: number
  readonly version: number
  readonly clientId: string | null
  /** As Kafka prints it: '/127.0.0.1'. */
  readonly clientHost: string
  /** 'User:ANONYMOUS' without authentication. */
  readonly principal: string
  readonly listenerName: string
  readonly connectionId: number
}

/** A response may hold memory that its bytes lie in: called once when the socket has taken them, or never will. */
export const HELD: unique symbol = Symbol('held')

export interface Held {
  readonly [HELD]?: () => void
}

/** Answered by handle() for a request that has no answer (acks=0). */
export const NO_ANSWER: unique symbol = Symbol('no answer')

export interface Api<Req, Res> {
  readonly request: Message
  readonly response: Message
  handle(shard: ShardContext, call: CallContext, request: Req): Res | typeof NO_ANSWER | Promise<Res | typeof NO_ANSWER>
  serve?(shard: ShardContext, call: CallContext, request: Req): Res | Promise<Res>
}
