// Brokers' sockets without an operating system: time that a test moves, event loops with Node's phases, streams between them.
//
// A World holds the time. Each process of a test is a Loop in it: its timers run first, then what came in from the network, then
// what was put off with soon(), as in Node; a loop that stalls does none of this and finds everything waiting afterwards. A MemoryNetwork
// connects loops: bytes arrive in order after a latency, or not at all while the way is cut.

import type { Clock, Network, Timer } from '../../broker/environment.ts'
import type { StreamSocket, StreamSocketEvents } from '../../broker/net/stream-socket.ts'

interface Scheduled {
  readonly atMs: number
  readonly order: number
  readonly call: () => void
}

/** A list sorted by time, then by the order of adding. */
class Schedule {
  readonly #items: Scheduled[] = []

  get nextMs(): number {
    return this.#items[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  add(item: Scheduled): void {
    let at = this.#items.length
    while (at > 0 && this.#items[at - 1]!.atMs > item.atMs) at--
    this.#items.splice(at, 0, item)
  }

  remove(item: Scheduled): void {
    const at = this.#items.indexOf(item)
    if (at >= 0) this.#items.splice(at, 1)
  }

  takeDue(nowMs: number): Scheduled | undefined {
    return this.nextMs <= nowMs ? this.#items.shift() : undefined
  }
}

export class World {
  nowMs = 0
  readonly #loops: Loop[] = []
  readonly #events = new Schedule()
  #order = 0

  /** A process's event loop. */
  loop(): Loop {
    const loop = new Loop(this)
    this.#loops.push(loop)
    return loop
  }

  /** Forgets a loop that has nothing left to do. */
  leave(loop: Loop): void {
    const at = this.#loops.indexOf(loop)
    if (at >= 0) this.#loops.splice(at, 1)
  }

  at(atMs: number, call: () => void): void {
    this.#events.add({ atMs, order: this.order(), call })
  }

  order(): number {
    return ++this.#order
  }

  /** Lets so much time pass, with everything that happens in it. */
  advance(ms: number): void {
    const endMs = this.nowMs + ms
    for (let steps = 0; ; steps++) {
      if (steps > 1_000_000) throw new Error('the loops never come to rest')
      let nextMs = this.#events.nextMs
      for (const loop of this.#loops) nextMs = Math.min(nextMs, loop.nextMs)
      if (nextMs > endMs) break
      this.nowMs = Math.max(this.nowMs, nextMs)
      for (let event = this.#events.takeDue(this.nowMs); event; event = this.#events.takeDue(this.nowMs)) event.call()
      for (const loop of this.#loops) if (loop.nextMs <= this.nowMs) loop.turn()
    }
    this.nowMs = endMs
  }

  /** Advances until the condition holds. */
  until(condition: () => boolean, limitMs = 10_000): void {
    const endMs = this.nowMs + limitMs
    while (!condition()) {
      if (this.nowMs >= endMs) throw new Error(`not so within ${limitMs} ms`)
      this.advance(1)
    }
  }
}

export class Loop implements Clock {
  /** A process that is no more: nothing of it runs again. */
  isDead = false
  readonly #world: World
  readonly #timers = new Schedule()
  #io: (() => void)[] = []
  #soon: (() => void)[] = []
  #stalledUntilMs = 0

  constructor(world: World) {
    this.#world = world
  }

  nowMs(): number {
    return 1_700_000_000_000 + this.#world.nowMs
  }

  monotonicMs(): number {
    return this.#world.nowMs
  }

  after(delayMs: number, call: () => void): Timer {
    const item = { atMs: this.#world.nowMs + Math.max(0, delayMs), order: this.#world.order(), call }
    this.#timers.add(item)
    return { cancel: () => this.#timers.remove(item) }
  }

  soon(call: () => void): void {
    this.#soon.push(call)
  }

  /** Something came in from outside. */
  io(call: () => void): void {
    this.#io.push(call)
  }

  /** Does nothing for so long, as in a long calculation or a stopped process. */
  stall(ms: number): void {
    this.#stalledUntilMs = this.#world.nowMs + ms
  }

  get nextMs(): number {
    if (this.isDead) return Number.POSITIVE_INFINITY
    const wantsMs = this.#io.length > 0 || this.#soon.length > 0 ? this.#world.nowMs : this.#timers.nextMs
    return Math.max(wantsMs, this.#stalledUntilMs)
  }

  /** Timers, then the network, then what was put off. */
  turn(): void {
    const nowMs = this.#world.nowMs
    const due: Scheduled[] = []
    for (let item = this.#timers.takeDue(nowMs); item; item = this.#timers.takeDue(nowMs)) due.push(item)
    for (const { call } of due) call()
    const io = this.#io
    this.#io = []
    for (const call of io) call()
    const soon = this.#soon
    this.#soon = []
    for (const call of soon) call()
  }
}

/** What a cut way keeps from the sender as the kernel would, before the sender notices that nothing is taken any more. */
const KERNEL_BYTES = 64 * 1024

interface Sent {
  readonly bytes: Buffer
  readonly done: () => void
}

class MemorySocket implements StreamSocket {
  readonly remoteHost: string
  readonly network: MemoryNetwork
  readonly from: string
  readonly loop: Loop
  peer: MemorySocket | undefined
  takenBytes = 0
  isOver = false
  isDialer = false
  /** A dialed one that was not accepted yet. */
  isConnecting = false
  #events: StreamSocketEvents | undefined
  #sent: Sent[] = []
  #sentBytes = 0
  #heldBytes = 0
  #arrived: Buffer[] = []
  #isPaused = false
  #closedWith: { error: Error | undefined } | undefined

  constructor(network: MemoryNetwork, loop: Loop, from: string, to: string) {
    this.network = network
    this.loop = loop
    this.from = from
    this.remoteHost = to
  }

  get bufferedBytes(): number {
    return this.#sentBytes
  }

  open(events: StreamSocketEvents): void {
    this.#events = events
    if (this.#closedWith !== undefined) this.loop.io(() => this.#deliver())
    if (this.#arrived.length > 0) this.loop.io(() => this.#deliver())
  }

  write(fragments: readonly Uint8Array[], done: () => void): void {
    if (this.isOver) {
      done()
      return
    }
    // Read only when they leave, so that a test notices who changes them before.
    const bytes = { length: fragments.reduce((sum, { length }) => sum + length, 0) }
    this.#sentBytes += bytes.length
    this.#sent.push({
      get bytes() {
        return Buffer.concat(fragments)
      },
      done,
    })
    this.loop.io(() => this.push())
  }

  resume(): void {
    this.#isPaused = false
    this.loop.io(() => this.#deliver())
  }

  destroy(): void {
    if (this.isOver) return
    this.#end(undefined)
    const peer = this.peer
    if (peer !== undefined) this.network.carry(this.from, this.remoteHost, () => peer.fail(undefined))
  }

  /** Both ends hear of it now. */
  break(error: Error): void {
    this.fail(error)
    this.peer?.fail(error)
  }

  /** Hands to the network what it takes now. */
  push(): void {
    if (this.isConnecting || this.isOver) return
    const { network, from, remoteHost, peer } = this
    while (this.#sent.length > 0) {
      const isCut = network.isCut(from, remoteHost)
      if (!isCut) this.#heldBytes = 0
      if (network.isFull(from, remoteHost) || this.#heldBytes >= KERNEL_BYTES) return
      const { bytes, done } = this.#sent.shift()!
      this.#sentBytes -= bytes.length
      this.takenBytes += bytes.length
      if (isCut) this.#heldBytes += bytes.length
      const tampered = network.tamper?.(from, remoteHost, bytes) ?? bytes
      network.carry(from, remoteHost, () => peer?.arrive(tampered))
      this.loop.io(done)
    }
  }

  arrive(bytes: Buffer): void {
    if (this.isOver) return
    this.#arrived.push(bytes)
    this.loop.io(() => this.#deliver())
  }

  #deliver(): void {
    const events = this.#events
    if (events === undefined) return
    while (this.#arrived.length > 0 && !this.#isPaused && !this.isOver) {
      let bytes = this.#arrived.shift()!
      const most = Math.min(this.network.readBytesMax, this.network.readBuffer.length)
      if (bytes.length > most) {
        this.#arrived.unshift(bytes.subarray(most))
        bytes = bytes.subarray(0, most)
      }
      // As with a real socket the buffer is used again, and what it held is gone.
      const buffer = this.network.readBuffer
      bytes.copy(buffer)
      if (!events.read(buffer.subarray(0, bytes.length))) this.#isPaused = true
      buffer.fill(0xee, 0, bytes.length)
    }
    if (this.#closedWith === undefined || (this.#arrived.length > 0 && !this.isOver)) return
    const { error } = this.#closedWith
    this.#closedWith = undefined
    this.#events = undefined
    this.isOver = true
    this.#giveUp()
    events.closed(error)
  }

  /** The other side or the way between is gone; what has arrived can still be read when it just closed. */
  fail(error: Error | undefined): void {
    if (this.isOver) return
    this.#closedWith = { error }
    if (error !== undefined) this.#arrived.length = 0
    this.loop.io(() => this.#deliver())
  }

  #end(error: Error | undefined): void {
    this.isOver = true
    this.#closedWith = { error }
    this.#arrived.length = 0
    this.loop.io(() => this.#deliver())
    this.#giveUp()
  }

  #giveUp(): void {
    this.network.forget(this)
    for (const { done } of this.#sent.splice(0)) this.loop.io(done)
    this.#sentBytes = 0
  }

  /** Ends without a word to the own process, which is no more. */
  die(): void {
    this.isOver = true
    this.network.forget(this)
    const peer = this.peer
    if (peer !== undefined) this.network.carry(this.from, this.remoteHost, () => peer.fail(undefined))
  }

  refuse(code: string): void {
    this.fail(Object.assign(new Error(`connect ${code} ${this.remoteHost}`), { code }))
  }
}

export class MemoryNetwork {
  latencyMs = 0.1
  /** Reads bring at most so many bytes. */
  readBytesMax = 65536
  readonly readBuffer: Buffer = Buffer.alloc(65536)
  /** Changes what goes from one host to another. */
  tamper: ((from: string, to: string, bytes: Buffer) => Buffer) | undefined
  dials = 0
  readonly #world: World
  readonly #listeners = new Map<string, { loop: Loop; accept: (socket: StreamSocket) => void }>()
  readonly #sockets = new Set<MemorySocket>()
  readonly #cuts = new Set<string>()
  readonly #held = new Map<string, (() => void)[]>()
  readonly #full = new Set<string>()

  constructor(world: World) {
    this.#world = world
  }

  /** What a process at this host dials with. */
  of(host: string, loop: Loop): Network {
    return { dial: (to, port) => this.#dial(host, loop, to, port) }
  }

  listen(host: string, port: number, loop: Loop, accept: (socket: StreamSocket) => void): void {
    this.#listeners.set(`${host}:${port}`, { loop, accept })
  }

  unlisten(host: string, port: number): void {
    this.#listeners.delete(`${host}:${port}`)
  }

  /** Nothing gets from one to the other until mend(); connections stay, as TCP's do. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`)
  }

  mend(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`)
    const held = this.#held.get(`${from}>${to}`) ?? []
    this.#held.delete(`${from}>${to}`)
    for (const call of held) this.carry(from, to, call)
    for (const socket of [...this.#sockets]) {
      if (socket.from !== from || socket.remoteHost !== to) continue
      socket.push()
    }
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`)
  }

  /** The receiver's window is shut: writes are not taken. */
  block(from: string, to: string, isBlocked: boolean): void {
    if (isBlocked) this.#full.add(`${from}>${to}`)
    else this.#full.delete(`${from}>${to}`)
    for (const socket of [...this.#sockets]) if (socket.from === from && socket.remoteHost === to) socket.push()
  }

  isFull(from: string, to: string): boolean {
    return this.#full.has(`${from}>${to}`)
  }

  /** Breaks what one has dialed to the other. */
  breakDialed(from: string, to: string): void {
    for (const socket of [...this.#sockets]) {
      if (socket.from === from && socket.remoteHost === to && socket.isDialer) {
        socket.break(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
      }
    }
  }

  /** The process is no more: its sockets close as the kernel closes them. */
  kill(host: string, loop: Loop): void {
    loop.isDead = true
    for (const [key, listener] of [...this.#listeners]) if (listener.loop === loop) this.#listeners.delete(key)
    for (const socket of [...this.#sockets]) if (socket.from === host && socket.loop === loop) socket.die()
  }

  get socketCount(): number {
    return this.#sockets.size
  }

  forget(socket: MemorySocket): void {
    this.#sockets.delete(socket)
  }

  /** Happens over there after the latency; waits, in order, while the way is cut. */
  carry(from: string, to: string, call: () => void): void {
    this.#world.at(this.#world.nowMs + this.latencyMs, () => {
      const way = `${from}>${to}`
      if (!this.#cuts.has(way)) {
        call()
        return
      }
      const held = this.#held.get(way)
      if (held === undefined) this.#held.set(way, [call])
      else held.push(call)
    })
  }

  #dial(host: string, loop: Loop, to: string, port: number): StreamSocket {
    this.dials++
    const socket = new MemorySocket(this, loop, host, to)
    socket.isConnecting = true
    socket.isDialer = true
    this.#sockets.add(socket)
    this.carry(host, to, () => {
      const listener = this.#listeners.get(`${to}:${port}`)
      if (listener === undefined) {
        this.carry(to, host, () => socket.refuse('ECONNREFUSED'))
        return
      }
      const accepted = new MemorySocket(this, listener.loop, to, host)
      accepted.peer = socket
      this.#sockets.add(accepted)
      listener.loop.io(() => listener.accept(accepted))
      this.carry(to, host, () => {
        if (socket.isOver) {
          accepted.break(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
          return
        }
        socket.peer = accepted
        socket.isConnecting = false
        loop.io(() => socket.push())
      })
    })
    return socket
  }
}
