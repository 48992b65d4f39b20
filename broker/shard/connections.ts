// The connections of a shard: taken from the main thread, served, swept when they are idle, finished when the broker stops.
//
// One per shard, touched only from its thread.

import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import { Connection, type ConnectionHost, type ConnectionWaiter, type FrameMemory } from '../net/connection.ts'
import type { StreamSocket } from '../net/stream-socket.ts'
import type { ShardMetrics } from '../observe/shard-metrics.ts'
import type { DataShard } from './context.ts'
import { Dispatcher } from './dispatch.ts'
import type { FrameMemories } from './frame-memory.ts'

export interface ConnectionsOptions {
  readonly shard: DataShard
  readonly environment: Environment
  readonly config: BrokerConfig
  readonly metrics: ShardMetrics
  readonly memories: FrameMemories
  /** The shard takes no new requests now: a full mailbox, a full journal. */
  congested(): boolean
  withFrameMemory<T>(memory: FrameMemory | undefined, call: () => T): T
  onClosed(): void
}

const SWEEP_MS = 1000
/** An answer lies in the memory of the shard until the client has taken it: one that takes none for so long is let go. */
const UNREAD_MS_MAX = 60_000
/** A stopping shard waits so long for the answers to what it has read. */
const FINISH_MS_MAX = 800

export class Connections implements ConnectionHost {
  readonly maxFrameBytes: number
  readonly #options: ConnectionsOptions
  readonly #connections = new Map<number, Connection>()
  readonly #dispatcher: Dispatcher
  #isStopping = false

  constructor(options: ConnectionsOptions) {
    this.#options = options
    this.maxFrameBytes = options.config.socketRequestMaxBytes
    const { shard, metrics, withFrameMemory } = options
    this.#dispatcher = new Dispatcher({ shard, metrics, withFrameMemory })
  }

  get count(): number {
    return this.#connections.size
  }

  accept(id: number, socket: StreamSocket, listenerName: string): void {
    const connection = new Connection(id, socket, this, listenerName, this.#options.environment.clock.monotonicMs())
    this.#connections.set(id, connection)
    connection.start()
  }

  serve(connection: Connection, frame: Buffer, memory: FrameMemory | undefined): void {
    this.#dispatcher.serve(connection, frame, memory)
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection.id)
    this.#options.onClosed()
  }

  refused(connection: Connection, reason: string): void {
    this.#options.metrics.connectionsRefused++
    this.#options.environment.logger.warn(`closing the connection of ${connection.clientHost}: ${reason}`)
  }

  /** Ends a connection whose request may not be answered otherwise. */
  close(connectionId: number, reason: string): void {
    this.#connections.get(connectionId)?.refuse(reason)
  }

  /** The same without a line in the log. */
  drop(connectionId: number): void {
    this.#connections.get(connectionId)?.destroy()
  }

  /** Until endWait() the waiter hears of the end of that connection: at once when it has ended. */
  beginWait(connectionId: number, waiter: ConnectionWaiter): void {
    const connection = this.#connections.get(connectionId)
    if (connection === undefined) waiter.connectionEnded()
    else connection.beginWait(waiter)
  }

  endWait(connectionId: number, waiter: ConnectionWaiter): void {
    this.#connections.get(connectionId)?.endWait(waiter)
  }

  allocateFrame(bytes: number): FrameMemory | undefined {
    return this.#options.memories.allocate(bytes)
  }

  onRoom(call: () => void): void {
    this.#options.memories.onRoom(call)
  }

  congested(): boolean {
    return this.#isStopping || this.#options.congested()
  }

  /** Looks for idle connections from now on. */
  sweep(): void {
    if (this.#isStopping) return
    const { config, environment } = this.#options
    const idleMs = config.connectionsMaxIdleMs
    const nowMs = environment.clock.monotonicMs()
    for (const connection of [...this.#connections.values()]) {
      if (idleMs > 0 && nowMs - connection.activeMs > idleMs) connection.destroy()
      else if (connection.unreadForMs(nowMs) > UNREAD_MS_MAX) connection.refuse('the client does not read its answers')
    }
    environment.clock.after(SWEEP_MS, () => this.sweep())
  }

  /** Nothing is read any more; what was read is answered, if that does not take too long. */
  async finish(): Promise<void> {
    this.#isStopping = true
    const { clock } = this.#options.environment
    const endMs = clock.monotonicMs() + FINISH_MS_MAX
    while (this.#isBusy() && clock.monotonicMs() < endMs) await new Promise<void>((resolve) => clock.after(5, resolve))
    for (const connection of [...this.#connections.values()]) connection.destroy()
  }

  #isBusy(): boolean {
    if (this.#dispatcher.openRequests > 0) return true
    for (const connection of this.#connections.values()) if (connection.unsentBytes > 0) return true
    return false
  }
}
