// Virtual time: what happens next in a simulated cluster, one event after the other, on one thread.
//
// One per run. An event belongs to an actor (a shard's thread, a broker's main thread, a client); events of a dead actor are
// dropped, those of a stalled one wait. After each event all promises that it settled have run: the microtasks of one event
// never mix with those of the next, so a run is a function of its seed.

import { SeededRandom } from '../random.ts'

/** What an event loop does first when it comes back to life: timers, then what came in, then setImmediate. */
export const TIMER = 0
export const INPUT = 1
export const SOON = 2
export type EventKind = typeof TIMER | typeof INPUT | typeof SOON

/** Whoever runs code: a thread. It dies once; the next life of a process has actors of its own. */
export class Actor {
  readonly name: string
  readonly id: number
  isAlive = true
  /** Nothing runs here before this virtual time. */
  stalledUntilMs = 0
  /** Called after each event here, when its promises have run. */
  afterEvent: (() => void) | undefined = undefined
  /** What was thrown here, or rejected with nobody listening. */
  readonly failed: (error: unknown) => void

  constructor(name: string, id: number, failed: (error: unknown) => void) {
    this.name = name
    this.id = id
    this.failed = failed
  }
}

interface SimulatedEvent {
  timeMs: number
  kind: EventKind
  sequence: number
  readonly actor: Actor
  call: (() => void) | undefined
}

export interface Cancellable {
  cancel(): void
}

const scratch = new DataView(new ArrayBuffer(8))

/** Drains Node's microtasks at once: there is no other way to run promises to their end without a turn of the real event loop. */
const drainMicrotasks = (process as unknown as { _tickCallback(): void })._tickCallback

export class Scheduler {
  readonly random: SeededRandom
  nowMs = 0
  current: Actor
  eventCount = 0
  /** Ends the run loop after the event at hand. */
  halted = false
  readonly world: Actor
  #heap: SimulatedEvent[] = []
  #sequence = 0
  #actors = 0
  #hashLow = 0x811c_9dc5
  #hashHigh = 0x9e37_79b9

  constructor(seed: number, failed: (error: unknown) => void) {
    this.random = new SeededRandom(seed)
    this.world = new Actor('world', this.#actors++, failed)
    this.current = this.world
  }

  actor(name: string, failed: (error: unknown) => void): Actor {
    return new Actor(name, this.#actors++, failed)
  }

  /** Calls at a virtual time, as that actor. */
  at(timeMs: number, kind: EventKind, actor: Actor, call: () => void): Cancellable {
    const event: SimulatedEvent = {
      timeMs: Math.max(timeMs, this.nowMs),
      kind,
      sequence: ++this.#sequence,
      actor,
      call,
    }
    this.#push(event)
    return {
      cancel: () => {
        event.call = undefined
      },
    }
  }

  /** The virtual time passes for the caller's own code. */
  after(delayMs: number, actor: Actor, call: () => void): Cancellable {
    return this.at(this.nowMs + delayMs, TIMER, actor, call)
  }

  /** Runs events until the time is over, nothing is left, or somebody halts. */
  run(endMs: number): void {
    while (!this.halted) {
      const event = this.#heap[0]
      if (event === undefined || event.timeMs > endMs) break
      this.#pop()
      const { actor, call } = event
      if (call === undefined || !actor.isAlive) continue
      if (actor.stalledUntilMs > event.timeMs) {
        event.timeMs = actor.stalledUntilMs
        event.sequence = ++this.#sequence
        this.#push(event)
        continue
      }
      this.nowMs = event.timeMs
      this.eventCount++
      this.#mixEvent(event)
      this.current = actor
      try {
        call()
      } catch (error) {
        actor.failed(error)
      }
      drainMicrotasks()
      this.current = this.world
      actor.afterEvent?.()
    }
    if (!this.halted && Number.isFinite(endMs)) this.nowMs = Math.max(this.nowMs, endMs)
  }

  /** Runs code of an actor outside of any event. */
  enter(actor: Actor, call: () => void): void {
    const before = this.current
    this.current = actor
    try {
      call()
    } finally {
      this.current = before
    }
  }

  /** Takes a fact into the hash of the run. */
  mix(value: number): void {
    this.#hashLow = Math.imul(this.#hashLow ^ value, 0x0100_0193)
    this.#hashHigh = Math.imul(this.#hashHigh ^ (value + (this.#hashLow >>> 7)), 0x85eb_ca6b)
  }

  mixText(text: string): void {
    for (let at = 0; at < text.length; at++) this.mix(text.charCodeAt(at))
  }

  mixBytes(bytes: Uint8Array): void {
    // Every byte of short ones, and length, ends and a sample of longer ones: a difference anywhere changes later events too.
    const step = Math.max(1, bytes.length >> 5)
    for (let at = 0; at < bytes.length; at += step) this.mix(bytes[at]!)
    this.mix(bytes.length)
  }

  /** Of everything that has happened so far: 16 hex digits. */
  get hash(): string {
    return (this.#hashHigh >>> 0).toString(16).padStart(8, '0') + (this.#hashLow >>> 0).toString(16).padStart(8, '0')
  }

  #mixEvent(event: SimulatedEvent): void {
    scratch.setFloat64(0, event.timeMs)
    this.mix(scratch.getInt32(0))
    this.mix(scratch.getInt32(4))
    this.mix(event.actor.id)
  }

  #push(event: SimulatedEvent): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const other = heap[parent]!
      if (!before(event, other)) break
      heap[at] = other
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const length = heap.length
    if (length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= length) break
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}

function before(one: SimulatedEvent, other: SimulatedEvent): boolean {
  if (one.timeMs !== other.timeMs) return one.timeMs < other.timeMs
  if (one.kind !== other.kind) return one.kind < other.kind
  return one.sequence < other.sequence
}
