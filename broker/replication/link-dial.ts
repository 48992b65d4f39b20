// Getting a connection to one shard of another broker: dial, introduce ourselves, be welcomed.
//
// The listener over there hands connections to its shards in turn, so a dial may meet another shard than it wants. It then tries
// again at once, and after one round with a little jitter: two dialers that each meet the other's shard must fall out of step.

import type { Timer } from '../environment.ts'
import { PeerConnection } from './link-connection.ts'
import type { LinkContext } from './link-context.ts'
import {
  LinkKind,
  type Refusal,
  RefusalCode,
  readRefusal,
  readWelcome,
  refusalName,
  VERSION_MAX,
  VERSION_MIN,
  type Welcome,
  writeHello,
} from './link-handshake.ts'
import type { ProbeErrorCode } from './link-types.ts'
import { MalformedPeerBytes, type PeerReader } from './peer-wire.ts'

export interface DialTarget {
  readonly host: string
  readonly port: number
  /** One of Purpose. */
  readonly purpose: number
  /** -1: whoever is there. */
  readonly wantedNode: number
  readonly wantedShard: number
  /** For everything together. */
  readonly timeoutMs: number
}

export interface DialFailure {
  readonly code: ProbeErrorCode
  readonly message: string
  readonly refusal: Refusal | undefined
}

export interface DialEvents {
  /** The connection is the receiver's now, and it gives it a listener before it returns. */
  welcomed(connection: PeerConnection, welcome: Welcome, connectionNumber: number): void
  failed(failure: DialFailure): void
}

const RETRY_MS_MAX = 5
const ROUNDS_MAX = 4

export class Dial {
  readonly #context: LinkContext
  readonly #target: DialTarget
  readonly #events: DialEvents
  readonly #timeout: Timer
  #connection: PeerConnection | undefined
  #retry: Timer | undefined
  #tries = 0
  #isOver = false

  constructor(context: LinkContext, target: DialTarget, events: DialEvents) {
    this.#context = context
    this.#target = target
    this.#events = events
    const { host, port, timeoutMs } = target
    this.#timeout = context.clock.after(timeoutMs, () =>
      this.#fail('TIMEOUT', `no answer from ${host}:${port} within ${timeoutMs} ms`, undefined),
    )
    this.#try()
  }

  cancel(): void {
    if (this.#isOver) return
    this.#over()
    this.#connection?.destroy()
  }

  #over(): void {
    this.#isOver = true
    this.#timeout.cancel()
    this.#retry?.cancel()
  }

  #fail(code: ProbeErrorCode, message: string, refusal: Refusal | undefined): void {
    if (this.#isOver) return
    this.cancel()
    this.#events.failed({ code, message, refusal })
  }

  #try(): void {
    this.#tries++
    const { host, port, purpose, wantedNode, wantedShard } = this.#target
    const context = this.#context
    const connectionNumber = context.connectionNumber()
    const connection = new PeerConnection(context.network.dial(host, port), context, {
      message: (kind, reader) => this.#answered(connection, connectionNumber, kind, reader),
      ended: (error) => this.#ended(connection, error),
    })
    this.#connection = connection
    connection.open()
    if (!connection.isOpen) return
    const hello = connection.begin(LinkKind.HELLO)
    writeHello(hello, {
      ...context.introduction(),
      versionMin: VERSION_MIN,
      versionMax: VERSION_MAX,
      purpose,
      wantedNode,
      wantedShard,
      connectionNumber,
    })
    hello.end()
    connection.flush()
  }

  #answered(connection: PeerConnection, connectionNumber: number, kind: number, reader: PeerReader): void {
    if (this.#isOver || connection !== this.#connection) return
    const { wantedNode, wantedShard } = this.#target
    if (kind === LinkKind.REFUSAL) {
      this.#refused(connection, readRefusal(reader))
      return
    }
    if (kind !== LinkKind.WELCOME) throw new MalformedPeerBytes(`a message of kind ${kind} before the welcome`)
    const welcome = readWelcome(reader)
    if (welcome.shardId !== wantedShard || (wantedNode >= 0 && welcome.nodeId !== wantedNode)) {
      throw new MalformedPeerBytes(`a welcome from shard ${welcome.shardId} of broker ${welcome.nodeId}`)
    }
    this.#over()
    connection.establish(this.#context.options.frameBytesMax, welcome.messageBytesMax)
    this.#events.welcomed(connection, welcome, connectionNumber)
  }

  #refused(connection: PeerConnection, refusal: Refusal): void {
    connection.destroy()
    const { shardCount } = refusal
    const isWrongShard = refusal.code === RefusalCode.WRONG_SHARD
    if (isWrongShard && this.#tries < ROUNDS_MAX * Math.max(1, Math.min(shardCount, 64)) + 2) {
      const delayMs = this.#tries < shardCount ? 0 : this.#context.random.next() * RETRY_MS_MAX
      this.#retry = this.#context.clock.after(delayMs, () => this.#try())
      return
    }
    const { host, port } = this.#target
    const name = refusalName(refusal.code)
    this.#fail('REFUSED', `${host}:${port} refuses (${name}): ${refusal.reason}`, refusal)
  }

  #ended(connection: PeerConnection, error: Error | undefined): void {
    if (this.#isOver || connection !== this.#connection) return
    const { host, port } = this.#target
    if (error instanceof MalformedPeerBytes) {
      this.#fail('MALFORMED', `${host}:${port} does not speak our language: ${error.message}`, undefined)
      return
    }
    const code = (error as NodeJS.ErrnoException | undefined)?.code ?? 'CLOSED'
    const message = `no connection to ${host}:${port}: ${error?.message ?? 'closed before the welcome'}`
    this.#fail(code, message, undefined)
  }
}
