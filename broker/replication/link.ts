// The link to one shard of another broker: a connection that we dialed for what we send, one that it dialed for what it sends.
//
// Pairing. Either direction can break alone, and both sides must agree from when on messages count. So a side that has both
// connections says READY on its own, naming the connection of the other side that it holds. A link is up when both stand and the
// newest READY names our present connection. Nobody sends messages before, and what comes in while the link is not up belongs
// to an earlier pairing and is dropped. So what is sent after up() is handed over after up() on the other side, or the link goes down.
//
// Liveness. Only what comes in while the link is up counts as a sign of life: a broker that we hear and cannot answer gets no pongs, so it
// has no lease of ours to rely on, and a promise to it would only stand in the way of an election.

import type { Timer } from '../environment.ts'
import type { PeerConnection } from './link-connection.ts'
import { infoOf, type LinkContext } from './link-context.ts'
import { Dial, type DialFailure } from './link-dial.ts'
import { type Hello, type Introduction, LinkKind, Purpose, RefusalCode, type Welcome } from './link-handshake.ts'
import { Lease } from './link-lease.ts'
import type { LinkInfo, LinkStats, PeerAddress } from './link-types.ts'
import { LINK_KINDS_START, MalformedPeerBytes, type PeerReader, type PeerWriter } from './peer-wire.ts'

const DIAL_MS_MAX = 1500
const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 1000
/** A connection that stood for so long was a good one: when it breaks the next is tried at once. */
const GOOD_MS = 1000
/** How long a connection of ours may wait for one from the other side. */
const UNPAIRED_MS_MAX = 3000

/** What a link needs to know about its broker. */
export interface LinkHost {
  readonly nodeId: number
  /** Undefined: not to be dialed now. */
  address(attempt: number, link: Link): PeerAddress | undefined
  /**
   * A welcome came.
   * @param isAnswer to what we sent just now; a hello may be old
   * @returns false when it is not from the process that counts; the connection is dropped then
   */
  met(who: Introduction, host: string, isAnswer: boolean): boolean
  refused(failure: DialFailure, host: string, shard: number): void
}

export class Link {
  readonly shardId: number
  isAlive = false
  readonly lease: Lease
  /** See PeerLinks.defections(): our own number for what the frames of this process said last. */
  defections: number
  readonly #context: LinkContext
  readonly #host: LinkHost
  #out: PeerConnection | undefined
  #outNumber = 0
  #outWho: Introduction | undefined
  #outSinceMs = 0
  #in: PeerConnection | undefined
  #inNumber = 0
  /** Which of our connections the other side held when it last said READY. */
  #readyFor = 0
  #info: LinkInfo | undefined
  #wasHeard = false
  #heardMs = 0
  #silentForMs = 0
  /** Ping that waits for its answer; 0: none. */
  #unanswered = 0
  #hasAnswered = false
  #unpairedMs = 0
  #wireDefections = -1
  #ownDefections: number
  /** Something left under the present number: the next defection needs another. */
  #isNumberUsed = false
  #wantsRoom = false
  #dial: Dial | undefined
  #retry: Timer | undefined
  #failures = 0
  #attempts = 0
  #connects = 0
  #isClosed = false
  // Of connections that have ended.
  #sentBytes = 0
  #sentFrames = 0
  #receivedBytes = 0
  #receivedFrames = 0

  constructor(context: LinkContext, host: LinkHost, shardId: number, ownDefections: number) {
    this.#context = context
    this.#host = host
    this.shardId = shardId
    this.lease = new Lease(context.silenceMs)
    this.defections = context.tag()
    this.#ownDefections = ownDefections
  }

  /** Defined while the link is up. */
  get info(): LinkInfo | undefined {
    return this.#info
  }

  get hasConnection(): boolean {
    return this.#in !== undefined || this.#out !== undefined
  }

  get hasIncoming(): boolean {
    return this.#in !== undefined
  }

  begin(kind: number): PeerWriter | undefined {
    const out = this.#out
    if (this.#info === undefined || out === undefined) return undefined
    if (out.queuedBytes >= this.#context.queueBytesMax) {
      this.#wantsRoom = true
      return undefined
    }
    this.#isNumberUsed = true
    if (this.#unanswered !== 0) this.#answer()
    return out.begin(kind)
  }

  /** @param next a number that no frame has carried */
  defect(next: () => number): void {
    if (!this.#isNumberUsed) return
    this.#isNumberUsed = false
    this.#ownDefections = next()
    this.#out?.raiseDefections(this.#ownDefections)
  }

  // Time

  /** Dials when there is a reason to and nothing under way. */
  maintain(): void {
    if (this.#isClosed || this.#out !== undefined || this.#dial !== undefined || this.#retry !== undefined) return
    const address = this.#host.address(this.#attempts, this)
    if (address === undefined) return
    const { host, port } = address
    const target = { host, port, purpose: Purpose.LINK, wantedNode: this.#host.nodeId, wantedShard: this.shardId }
    let isOver = false
    const dial = new Dial(
      this.#context,
      { ...target, timeoutMs: DIAL_MS_MAX },
      {
        welcomed: (connection, welcome, number) => {
          isOver = true
          this.#dial = undefined
          this.#welcomed(connection, welcome, number)
        },
        failed: (failure) => {
          isOver = true
          this.#dial = undefined
          this.#dialFailed(failure, host)
        },
      },
    )
    if (!isOver) this.#dial = dial
  }

  /** Asks, and says what it was asked. */
  ping(): void {
    if (this.#info === undefined) return
    if (this.#unanswered !== 0) this.#answer()
    this.#write(LinkKind.PING, this.lease.ping(this.#context.clock.monotonicMs()))
  }

  /**
   * Some running time has passed since the last call.
   * @returns running time that is left before this is silence, 0 when confirmSilence() is to be called, Infinity when nobody is there
   */
  passed(runningMs: number, nowMs: number): number {
    if (this.#info === undefined) this.#unpaired(runningMs)
    if (this.#wasHeard) {
      this.#wasHeard = false
      this.#silentForMs = Math.min(runningMs, nowMs - this.#heardMs)
    } else {
      this.#silentForMs += runningMs
    }
    return this.isAlive ? Math.max(0, this.#context.silenceMs - this.#silentForMs) : Number.POSITIVE_INFINITY
  }

  /** Asked after what waited in the sockets was read. */
  confirmSilence(): void {
    if (!this.isAlive || this.#wasHeard) return
    this.#drop()
    this.#fallSilent()
    this.#failures = 0
    this.maintain()
  }

  #fallSilent(): void {
    if (!this.isAlive) return
    this.isAlive = false
    this.#context.options.silent(this.#host.nodeId, this.shardId)
  }

  // Connections

  /** A connection that the other side dialed and whose hello was found good. @returns false when a newer one is there */
  accept(connection: PeerConnection, hello: Hello): boolean {
    if (this.#in !== undefined && hello.connectionNumber < this.#inNumber) {
      return false
    }
    this.#dropIn()
    this.#in = connection
    this.#inNumber = hello.connectionNumber
    connection.listener = {
      touched: () => {
        if (this.#info !== undefined) this.#heard()
      },
      frame: (defections) => this.#sawDefections(defections),
      message: (kind, reader) => this.#received(kind, reader),
      ended: (error) => this.#inEnded(connection, error),
    }
    return true
  }

  /** After the welcome to an accepted connection was written. */
  accepted(): void {
    // Whoever dials us is there: no reason to wait any longer.
    this.#retry?.cancel()
    this.#retry = undefined
    this.#failures = 0
    this.maintain()
    this.#pair()
  }

  /** The process at the other end is another one now: nothing of the old one counts any more. */
  forget(): void {
    this.lease.end()
    this.#wireDefections = -1
    this.defections = this.#context.tag()
    this.#drop()
    this.#fallSilent()
    this.#silentForMs = 0
    this.#wasHeard = false
    this.#failures = 0
  }

  /** Ends the connections; without a reason to dial, silence follows. */
  letGo(): void {
    this.#dial?.cancel()
    this.#dial = undefined
    this.#drop()
  }

  /** Ends the link without a word to anybody. */
  close(): void {
    this.#isClosed = true
    this.#retry?.cancel()
    this.#dial?.cancel()
    this.#info = undefined
    this.#in?.destroy()
    this.#out?.destroy()
  }

  stats(): LinkStats {
    const connections = [this.#in, this.#out].filter((connection) => connection !== undefined)
    const sum = (part: (connection: PeerConnection) => number): number =>
      connections.reduce((total, connection) => total + part(connection), 0)
    return {
      nodeId: this.#host.nodeId,
      shardId: this.shardId,
      isUp: this.#info !== undefined,
      isAlive: this.isAlive,
      sentBytes: this.#sentBytes + sum(({ sentBytes }) => sentBytes),
      sentFrames: this.#sentFrames + sum(({ sentFrames }) => sentFrames),
      receivedBytes: this.#receivedBytes + sum(({ receivedBytes }) => receivedBytes),
      receivedFrames: this.#receivedFrames + sum(({ receivedFrames }) => receivedFrames),
      queuedBytes: sum(({ queuedBytes }) => queuedBytes),
      rttMs: this.lease.rttMs,
      connects: this.#connects,
    }
  }

  #welcomed(connection: PeerConnection, welcome: Welcome, number: number): void {
    // A new process makes the host forget what this link has; the new connection comes after that.
    if (!this.#host.met(welcome, connection.host, true) || this.#isClosed) {
      connection.destroy()
      if (!this.#isClosed) this.#backOff(true)
      return
    }
    this.#out = connection
    this.#outNumber = number
    this.#outWho = welcome
    this.#outSinceMs = this.#context.clock.monotonicMs()
    this.#unpairedMs = 0
    this.#connects++
    connection.raiseDefections(this.#ownDefections)
    connection.listener = {
      message: (kind) => {
        throw new MalformedPeerBytes(`a message of kind ${kind} on the connection that is ours to write`)
      },
      ended: (error) => this.#outEnded(connection, error),
      taken: this.#taken,
    }
    this.#pair()
  }

  #dialFailed(failure: DialFailure, host: string): void {
    this.#host.refused(failure, host, this.shardId)
    if (this.#isClosed) return
    this.#attempts++
    this.#backOff(failure.refusal !== undefined && failure.refusal.code !== RefusalCode.WRONG_SHARD)
  }

  #backOff(atMost: boolean): void {
    this.#retry?.cancel()
    const fullMs = atMost ? BACKOFF_MS_MAX : Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** this.#failures)
    this.#failures = Math.min(this.#failures + 1, 10)
    const delayMs = fullMs * (0.5 + this.#context.random.next() / 2)
    this.#retry = this.#context.clock.after(delayMs, () => {
      this.#retry = undefined
      this.maintain()
    })
  }

  #outEnded(connection: PeerConnection, error: Error | undefined): void {
    if (connection !== this.#out) return
    this.#ended(connection, error)
    this.#out = undefined
    this.#goDown()
    if (this.#isClosed) return
    const stoodMs = this.#context.clock.monotonicMs() - this.#outSinceMs
    if (stoodMs >= GOOD_MS) this.maintain()
    else this.#backOff(false)
  }

  #inEnded(connection: PeerConnection, error: Error | undefined): void {
    if (connection !== this.#in) return
    this.#ended(connection, error)
    this.#in = undefined
    this.#readyFor = 0
    this.#goDown()
  }

  #ended(connection: PeerConnection, error: Error | undefined): void {
    this.#count(connection)
    const { nodeId } = this.#host
    const who = `broker ${nodeId} (shard ${this.shardId}, ${connection.host})`
    if (error !== undefined && (error as NodeJS.ErrnoException).code === undefined) {
      this.#context.complain(`broker ${nodeId}`, `the connection with ${who} is cut off: ${error.message}`)
    } else {
      this.#context.debug(`the connection with ${who} ended: ${error?.message ?? 'closed'}`)
    }
  }

  #count(connection: PeerConnection): void {
    this.#sentBytes += connection.sentBytes
    this.#sentFrames += connection.sentFrames
    this.#receivedBytes += connection.receivedBytes
    this.#receivedFrames += connection.receivedFrames
  }

  #dropIn(): void {
    const connection = this.#in
    if (connection === undefined) return
    this.#in = undefined
    this.#readyFor = 0
    this.#count(connection)
    connection.destroy()
    this.#goDown()
  }

  #drop(): void {
    this.#dropIn()
    const connection = this.#out
    if (connection === undefined) return
    this.#out = undefined
    this.#count(connection)
    connection.destroy()
    this.#goDown()
  }

  // Pairing

  #pair(): void {
    const out = this.#out
    if (out === undefined || this.#in === undefined) return
    out.begin(LinkKind.READY).u32(this.#inNumber).end()
    this.#goUp()
  }

  /** What stands without its counterpart may be dead without our knowing: nothing is sent on it. So it is made anew. */
  #unpaired(runningMs: number): void {
    if (this.#out === undefined) return
    this.#unpairedMs += runningMs
    if (this.#unpairedMs < UNPAIRED_MS_MAX) return
    const { options } = this.#context
    const own = options.ownAddress()
    const { nodeId } = this.#host
    this.#context.complain(
      `broker ${nodeId}`,
      `broker ${nodeId} (shard ${this.shardId}) can be reached and does not connect to this broker; ` +
        `${own === undefined ? 'its peer address is not known' : `is ${own.host}:${own.port} reachable from there?`}`,
    )
    this.#drop()
    this.#backOff(true)
  }

  #goUp(): void {
    const isPaired = this.#out !== undefined && this.#in !== undefined && this.#readyFor === this.#outNumber
    if (!isPaired || this.#info !== undefined || this.#outWho === undefined) return
    this.#info = infoOf(this.#outWho)
    this.#wantsRoom = false
    this.#heard()
    const { options } = this.#context
    this.ping()
    if (!this.isAlive) {
      this.isAlive = true
      options.heard(this.#host.nodeId, this.shardId)
    }
    if (this.#info !== undefined) options.up(this.#info)
  }

  #goDown(): void {
    const info = this.#info
    if (info === undefined) return
    this.#unpairedMs = 0
    this.#info = undefined
    // It may be another process that is there next, which has not asked this.
    this.#unanswered = 0
    this.#hasAnswered = false
    this.#context.options.down(info)
  }

  // What comes in

  #heard(): void {
    this.#wasHeard = true
    this.#heardMs = this.#context.clock.monotonicMs()
  }

  #sawDefections(defections: number): void {
    if (defections === this.#wireDefections) return
    this.#wireDefections = defections
    this.defections = this.#context.tag()
  }

  #received(kind: number, reader: PeerReader): void {
    if (kind === LinkKind.READY) {
      this.#readyFor = reader.u32()
      this.#goUp()
      return
    }
    const info = this.#info
    if (kind < LINK_KINDS_START) {
      if (info !== undefined) this.#context.options.receive(info, kind, reader)
      return
    }
    const number = reader.u32()
    if (kind === LinkKind.PING) {
      if (info !== undefined) this.#pinged(number)
    } else if (kind !== LinkKind.PONG || !this.lease.pong(number, this.#context.clock.monotonicMs())) {
      throw new MalformedPeerBytes(`a message of kind ${kind} that makes no sense here`)
    }
  }

  /**
   * The answer leaves with whatever we say next to this shard, a ping of ours at the latest: so an idle pair of shards needs one frame in
   * each direction per interval. Only the first ping of a pairing is answered at once, since no earlier lease is there to bridge the time.
   */
  #pinged(number: number): void {
    this.#unanswered = number
    this.#context.pinged()
    if (this.#unanswered !== 0 && !this.#hasAnswered) this.#answer()
  }

  #answer(): void {
    const number = this.#unanswered
    this.#unanswered = 0
    this.#hasAnswered = true
    this.#write(LinkKind.PONG, number)
  }

  #write(kind: number, number: number): void {
    this.#isNumberUsed = true
    this.#out?.begin(kind).u32(number).end()
  }

  readonly #taken = (): void => {
    const out = this.#out
    if (!this.#wantsRoom || out === undefined || this.#info === undefined) return
    if (out.queuedBytes > this.#context.queueBytesMax / 2) return
    this.#wantsRoom = false
    this.#context.options.room?.(this.#info)
  }
}
