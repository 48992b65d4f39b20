// A network of hosts with TCP connections between them, in virtual time: late, slow, cut one way, broken half-way.
//
// One per run. What TCP hides from a process is hidden here too (bytes of one connection arrive once and in order); what it does not hide
// is all there: a loss is a pause of the whole connection, a cut path holds what was sent and delivers it when the path is back,
// a dead machine answers nothing, an old connection brings its data after a newer one, one end may believe in a connection that
// the other has forgotten. What a path brings is copied when the kernel takes it, and the reader's buffer is spoilt after each call.

import type { StreamSocket, StreamSocketEvents } from '../../../broker/net/stream-socket.ts'
import type { SeededRandom } from '../random.ts'
import { type Actor, INPUT, type Scheduler, SOON } from './scheduler.ts'

/** One direction between two hosts. */
export interface Path {
  delayMs: number
  jitterMs: number
  /** Share of chunks that are lost first and sent again later. */
  lossRate: number
  /** Infinity: no limit. */
  bytesPerMs: number
  isCut: boolean
  busyUntilMs: number
  /** Called when the path is whole again. */
  readonly waiting: (() => void)[]
}

interface Host {
  readonly name: string
  isUp: boolean
  readonly listeners: Map<number, Listener>
}

export interface Listener {
  readonly host: string
  readonly port: number
  close(): void
}

interface OpenListener extends Listener {
  readonly actor: Actor
  accept(socket: SimulatedSocket): void
}

export interface NetworkOptions {
  readonly delayMs: number
  readonly jitterMs: number
  /** Bytes on their way or unread, per connection and direction, before the sender has to wait. */
  readonly windowBytes: number
  /** Largest piece that one read brings. */
  readonly readBytes: number
}

class NetworkError extends Error {
  readonly code: string

  constructor(code: string, where: string) {
    super(`${code} ${where}`)
    this.code = code
  }
}

export class SimulatedNetwork {
  readonly scheduler: Scheduler
  readonly random: SeededRandom
  readonly options: NetworkOptions
  readonly #hosts = new Map<string, Host>()
  readonly #paths = new Map<string, Path>()
  readonly #connections = new Set<Connection>()
  readonly #readBuffer: Buffer
  deliveredBytes = 0

  constructor(scheduler: Scheduler, random: SeededRandom, options: NetworkOptions) {
    this.scheduler = scheduler
    this.random = random
    this.options = options
    this.#readBuffer = Buffer.alloc(options.readBytes)
  }

  host(name: string): Host {
    let host = this.#hosts.get(name)
    if (host === undefined) {
      host = { name, isUp: true, listeners: new Map() }
      this.#hosts.set(name, host)
    }
    return host
  }

  path(from: string, to: string): Path {
    const key = `${from}>${to}`
    let path = this.#paths.get(key)
    if (path === undefined) {
      const { delayMs, jitterMs } = this.options
      path = {
        delayMs: from === to ? 0.01 : delayMs,
        jitterMs: from === to ? 0.01 : jitterMs,
        lossRate: 0,
        bytesPerMs: Number.POSITIVE_INFINITY,
        isCut: false,
        busyUntilMs: 0,
        waiting: [],
      }
      this.#paths.set(key, path)
    }
    return path
  }

  cut(from: string, to: string): void {
    this.path(from, to).isCut = true
  }

  heal(from: string, to: string): void {
    const path = this.path(from, to)
    if (!path.isCut) return
    path.isCut = false
    const waiting = path.waiting.splice(0)
    // Retransmission timers are what notices, each connection's at its own time.
    for (const call of waiting) {
      this.scheduler.at(this.scheduler.nowMs + this.random.next() * 400, INPUT, this.scheduler.world, call)
    }
  }

  /** All paths whole, fast and lossless again. */
  healAll(): void {
    for (const [key, path] of this.#paths) {
      const [from = '', to = ''] = key.split('>')
      this.heal(from, to)
      path.lossRate = 0
      path.bytesPerMs = Number.POSITIVE_INFINITY
      path.delayMs = from === to ? 0.01 : this.options.delayMs
      path.jitterMs = from === to ? 0.01 : this.options.jitterMs
    }
  }

  /** @throws Error when the port is taken */
  listen(actor: Actor, hostName: string, port: number, accept: (socket: SimulatedSocket) => void): Listener {
    const { listeners } = this.host(hostName)
    if (listeners.has(port)) throw new NetworkError('EADDRINUSE', `${hostName}:${port}`)
    const listener: OpenListener = {
      host: hostName,
      port,
      actor,
      accept,
      close: () => {
        if (listeners.get(port) === listener) listeners.delete(port)
      },
    }
    listeners.set(port, listener)
    return listener
  }

  /** A socket on its way to an address; failures come as closed(error). */
  dial(actor: Actor, from: string, to: string, port: number): SimulatedSocket {
    const connection = new Connection(this, from, to, actor)
    this.#connections.add(connection)
    this.#knock(connection, port, 0)
    return connection.ends[0]
  }

  #knock(connection: Connection, port: number, attempt: number): void {
    const [caller] = connection.ends
    if (caller.isClosed) return
    const { from, to } = connection
    if (attempt > 5) {
      caller.fail(new NetworkError('ETIMEDOUT', `${to}:${port}`))
      return
    }
    const again = (): void => {
      const waitMs = 200 * 2 ** attempt * (0.9 + this.random.next() * 0.2)
      this.#later(waitMs, () => this.#knock(connection, port, attempt + 1))
    }
    if (!this.#passes(from, to)) {
      again()
      return
    }
    this.#later(this.travelMs(this.path(from, to), 60), () => {
      if (caller.isClosed) return
      const host = this.host(to)
      if (!host.isUp || !this.#passes(to, from)) {
        again()
        return
      }
      const listener = host.listeners.get(port) as OpenListener | undefined
      const backMs = this.travelMs(this.path(to, from), 60)
      if (listener === undefined) {
        this.#later(backMs, () => caller.fail(new NetworkError('ECONNREFUSED', `${to}:${port}`)))
        return
      }
      const [, callee] = connection.ends
      callee.actor = listener.actor
      callee.isConnected = true
      this.scheduler.at(this.scheduler.nowMs, INPUT, listener.actor, () => listener.accept(callee))
      this.#later(backMs, () => caller.connected())
    })
  }

  /** Breaks one connection. @param who of its ends gets to know */
  break(connection: Connection, who: 'dialer' | 'acceptor' | 'both'): void {
    const error = new NetworkError('ECONNRESET', `${connection.from} to ${connection.to}`)
    if (who !== 'acceptor') connection.ends[0].fail(error)
    if (who !== 'dialer') connection.ends[1].fail(error)
  }

  connections(): readonly Connection[] {
    return [...this.#connections]
  }

  /** Hosts that have a connection with this one. */
  peersOf(hostName: string): string[] {
    const names = new Set<string>()
    for (const { from, to } of this.#connections) {
      if (from === hostName) names.add(to)
      else if (to === hostName) names.add(from)
    }
    names.delete(hostName)
    return [...names]
  }

  /**
   * The process that these actors belong to is gone. Its kernel closes its sockets, or, when the whole machine lost power, nothing is said.
   */
  processDied(hostName: string, withPower: boolean): void {
    const host = this.host(hostName)
    host.listeners.clear()
    if (!withPower) host.isUp = false
    for (const connection of [...this.#connections]) {
      for (const end of connection.ends) if (end.hostName === hostName) end.abandon(withPower)
    }
  }

  /** The machine has power again; it knows no connection of before. */
  machineStarted(hostName: string): void {
    this.host(hostName).isUp = true
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection)
  }

  #passes(from: string, to: string): boolean {
    return !this.path(from, to).isCut
  }

  /** Virtual milliseconds a piece takes, with losses and the queue of a slow path. */
  travelMs(path: Path, bytes: number): number {
    const { nowMs } = this.scheduler
    let ms = path.delayMs + path.jitterMs * this.random.next()
    if (path.lossRate > 0 && this.random.chance(path.lossRate)) ms += 200 + this.random.below(600)
    if (path.bytesPerMs !== Number.POSITIVE_INFINITY) {
      path.busyUntilMs = Math.max(path.busyUntilMs, nowMs) + bytes / path.bytesPerMs
      ms += path.busyUntilMs - nowMs
    }
    return ms
  }

  #later(ms: number, call: () => void): void {
    this.scheduler.at(this.scheduler.nowMs + ms, INPUT, this.scheduler.world, call)
  }

  /** Hands pieces to a reader in the shared buffer, which is spoilt afterwards. @returns the number of bytes read, and whether to go on */
  read(pieces: Buffer[], events: StreamSocketEvents): { count: number; more: boolean } {
    const buffer = this.#readBuffer
    // Often what fits, sometimes an odd piece: frames are cut anywhere.
    const most = this.random.chance(0.8) ? buffer.length : 1 + this.random.below(Math.min(buffer.length, 400))
    let count = 0
    while (pieces.length > 0 && count < most) {
      const piece = pieces[0]!
      const part = Math.min(piece.length, most - count)
      piece.copy(buffer, count, 0, part)
      count += part
      if (part === piece.length) pieces.shift()
      else pieces[0] = piece.subarray(part)
    }
    const bytes = buffer.subarray(0, count)
    this.scheduler.mixBytes(bytes)
    this.deliveredBytes += count
    const more = events.read(bytes)
    bytes.fill(0xdb)
    return { count, more }
  }
}

export class Connection {
  readonly network: SimulatedNetwork
  readonly from: string
  readonly to: string
  readonly ends: readonly [SimulatedSocket, SimulatedSocket]

  constructor(network: SimulatedNetwork, from: string, to: string, dialer: Actor) {
    this.network = network
    this.from = from
    this.to = to
    const one = new SimulatedSocket(this, from, to, dialer)
    const other = new SimulatedSocket(this, to, from, dialer)
    one.peer = other
    other.peer = one
    this.ends = [one, other]
  }
}

interface Outgoing {
  readonly fragments: readonly Uint8Array[]
  readonly done: () => void
  index: number
  at: number
}

export class SimulatedSocket implements StreamSocket {
  readonly remoteHost: string
  readonly hostName: string
  readonly connection: Connection
  peer!: SimulatedSocket
  readonly #out: Path
  readonly #back: Path
  actor: Actor
  isConnected = false
  isClosed = false
  takenBytes = 0
  bufferedBytes = 0
  #events: StreamSocketEvents | undefined
  #opened = false
  /** Nobody is there any more: the process died, or has closed it. */
  #isGone = false
  #outgoing: Outgoing[] = []
  /** Bytes on their way to the peer, or unread there. */
  #windowUsed = 0
  #lastArrivalMs = 0
  #incoming: Buffer[] = []
  #paused = false
  #reading = false
  #ended = false
  #error: Error | undefined
  #closeTold = false
  /** Pieces that a cut path holds, in order, with those behind them. */
  #held: Buffer[] = []
  #finHeld = false
  #isHolding = false

  constructor(connection: Connection, hostName: string, remote: string, actor: Actor) {
    this.connection = connection
    this.hostName = hostName
    this.remoteHost = remote
    this.#out = connection.network.path(hostName, remote)
    this.#back = connection.network.path(remote, hostName)
    this.actor = actor
  }

  open(events: StreamSocketEvents): void {
    this.#events = events
    this.#opened = true
    // The socket may have moved to another thread since it was accepted.
    this.actor = this.#scheduler.current
    if (this.#error !== undefined || this.isClosed) this.#tellClosed()
    else this.#scheduleRead()
  }

  write(fragments: readonly Uint8Array[], done: () => void): void {
    if (this.isClosed) {
      done()
      return
    }
    for (const fragment of fragments) this.bufferedBytes += fragment.length
    this.#outgoing.push({ fragments, done, index: 0, at: 0 })
    this.#take()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#scheduleRead()
  }

  destroy(): void {
    if (this.isClosed) return
    this.#close()
    this.#sayEnd(this.#incoming.length > 0)
    this.#tellClosed()
  }

  // From the network

  connected(): void {
    if (this.isClosed || this.isConnected) return
    this.isConnected = true
    this.#take()
  }

  /** The connection failed, as this end sees it. */
  fail(error: Error): void {
    if (this.isClosed) return
    this.#error = error
    this.#incoming = []
    this.#close()
    if (this.#opened) this.#tellClosed()
  }

  /** The process is gone. */
  abandon(withPower: boolean): void {
    if (this.#isGone) return
    const wasClosed = this.isClosed
    this.isClosed = true
    this.#isGone = true
    this.#events = undefined
    this.#outgoing = []
    if (withPower) {
      if (!wasClosed) this.#sayEnd(this.#incoming.length > 0)
    } else {
      this.#held = []
      this.#finHeld = false
    }
    this.#incoming = []
    this.#settle()
  }

  get #scheduler(): Scheduler {
    return this.connection.network.scheduler
  }

  #later(ms: number, call: () => void): void {
    this.#scheduler.at(this.#scheduler.nowMs + ms, INPUT, this.#scheduler.world, call)
  }

  #close(): void {
    this.isClosed = true
    const outgoing = this.#outgoing
    this.#outgoing = []
    this.bufferedBytes = 0
    for (const { done } of outgoing) this.#scheduler.at(this.#scheduler.nowMs, SOON, this.actor, done)
  }

  #tellClosed(): void {
    if (this.#closeTold) return
    this.#closeTold = true
    this.#scheduler.at(this.#scheduler.nowMs, SOON, this.actor, () => {
      const events = this.#events
      this.#events = undefined
      this.#isGone = true
      events?.closed(this.#error)
      this.#settle()
    })
  }

  #settle(): void {
    if (this.#isGone && this.peer.#isGone) this.connection.network.forget(this.connection)
  }

  /** The kernel takes what fits into the window. */
  #take(): void {
    if (!this.isConnected) return
    const { windowBytes } = this.connection.network.options
    while (this.#outgoing.length > 0 && this.#windowUsed < windowBytes) {
      const next = this.#outgoing[0]!
      const fragment = next.fragments[next.index]
      if (fragment === undefined) {
        this.#outgoing.shift()
        this.#scheduler.at(this.#scheduler.nowMs, SOON, this.actor, next.done)
        continue
      }
      const count = Math.min(fragment.length - next.at, windowBytes - this.#windowUsed)
      if (count > 0) {
        const piece = Buffer.from(fragment.subarray(next.at, next.at + count))
        this.#windowUsed += count
        this.bufferedBytes -= count
        this.takenBytes += count
        next.at += count
        this.#send(piece)
      }
      if (next.at === fragment.length) {
        next.index++
        next.at = 0
      }
    }
    // What was written to its end is done although the window is full.
    while (this.#outgoing.length > 0 && this.#outgoing[0]!.index === this.#outgoing[0]!.fragments.length) {
      const { done } = this.#outgoing.shift()!
      this.#scheduler.at(this.#scheduler.nowMs, SOON, this.actor, done)
    }
  }

  #send(piece: Buffer): void {
    const { network } = this.connection
    const { nowMs } = this.#scheduler
    const arrivalMs = Math.max(nowMs + network.travelMs(this.#out, piece.length), this.#lastArrivalMs)
    this.#lastArrivalMs = arrivalMs
    this.#later(arrivalMs - nowMs, () => this.#arrive(piece))
  }

  #arrive(piece: Buffer): void {
    if (this.#mustHold()) {
      this.#held.push(piece)
      return
    }
    const { peer } = this
    if (peer.isClosed) {
      this.#refused()
      return
    }
    peer.#incoming.push(piece)
    peer.#scheduleRead()
  }

  /** Data or an end that cannot pass now waits until the path is whole, and everything behind it. */
  #mustHold(): boolean {
    if (this.#isHolding) return true
    const { network } = this.connection
    const path = this.#out
    if (!path.isCut && network.host(this.remoteHost).isUp) return false
    this.#isHolding = true
    const go = (): void => {
      if (path.isCut) {
        path.waiting.push(go)
        return
      }
      if (!network.host(this.remoteHost).isUp) {
        this.#later(300 + network.random.below(500), go)
        return
      }
      this.#isHolding = false
      const held = this.#held
      this.#held = []
      for (const piece of held) this.#arrive(piece)
      if (this.#finHeld) {
        this.#finHeld = false
        this.#end(false)
      }
    }
    if (path.isCut) path.waiting.push(go)
    else this.#later(300 + network.random.below(500), go)
    return true
  }

  /** Nobody is at the other end: its kernel says so, if the way back is open. */
  #refused(): void {
    const { network } = this.connection
    if (this.#back.isCut) return
    const error = new NetworkError('ECONNRESET', `${this.hostName} to ${this.remoteHost}`)
    this.#later(network.travelMs(this.#back, 60), () => this.fail(error))
  }

  /** Tells the peer that this end is closed, behind the data on its way. @param abrupt bytes were left unread */
  #sayEnd(abrupt: boolean): void {
    if (!this.isConnected) return
    const { network } = this.connection
    const { nowMs } = this.#scheduler
    const arrivalMs = Math.max(nowMs + network.travelMs(this.#out, 60), this.#lastArrivalMs)
    this.#lastArrivalMs = arrivalMs
    this.#later(arrivalMs - nowMs, () => this.#end(abrupt))
  }

  #end(abrupt: boolean): void {
    if (this.#mustHold()) {
      this.#finHeld = true
      return
    }
    const { peer } = this
    if (peer.isClosed) return
    if (abrupt) {
      peer.fail(new NetworkError('ECONNRESET', `${this.hostName} to ${this.remoteHost}`))
      return
    }
    peer.#ended = true
    peer.#scheduleRead()
  }

  #scheduleRead(): void {
    if (this.#reading || this.#paused || this.isClosed || this.#events === undefined) return
    if (this.#incoming.length === 0 && !this.#ended) return
    this.#reading = true
    this.#scheduler.at(this.#scheduler.nowMs, INPUT, this.actor, this.#read)
  }

  readonly #read = (): void => {
    this.#reading = false
    const events = this.#events
    if (this.isClosed || this.#paused || events === undefined) return
    if (this.#incoming.length === 0) {
      if (!this.#ended) return
      // As net.Socket without allowHalfOpen: the end of the peer's side ends ours.
      this.#close()
      this.#sayEnd(false)
      this.#tellClosed()
      return
    }
    const { count, more } = this.connection.network.read(this.#incoming, events)
    this.peer.#windowUsed -= count
    this.peer.#roomMade()
    if (!more) this.#paused = true
    this.#scheduleRead()
  }

  #roomMade(): void {
    if (this.#outgoing.length === 0 || this.isClosed) return
    const { network } = this.connection
    this.#later(network.travelMs(this.#back, 60), () => {
      if (!this.isClosed) this.#take()
    })
  }
}
