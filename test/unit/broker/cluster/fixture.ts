// A controller over a metadata log in memory, for tests of its rules: no disk, no clock but the one the test turns.

import type { Command, MetadataLog } from '../../../../broker/cluster/commands.ts'
import { decodeCommand, encodeCommand } from '../../../../broker/cluster/commands.ts'
import { Controller } from '../../../../broker/cluster/controller.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import type { Clock, Logger, Random } from '../../../../broker/environment.ts'
import type { CreatableTopic, CreateTopicsRequest } from '../../../../protocol/messages/create-topics.ts'

export class MemoryLog implements MetadataLog {
  readonly commands: Command[] = []
  readonly #image: () => MetadataImage
  /** Set: the next appends wait for it. */
  gate: Promise<void> | undefined
  /** Set: the next append is refused. */
  failure: Error | undefined

  constructor(image: () => MetadataImage) {
    this.#image = image
  }

  async confirm(): Promise<boolean> {
    return this.failure === undefined
  }

  async append(commands: readonly Command[]): Promise<void> {
    await this.gate
    if (this.failure !== undefined) throw this.failure
    for (const command of commands) {
      this.commands.push(command)
      this.#image().apply(decodeCommand(encodeCommand(command)))
    }
  }
}

/** A clock that stands still until turned. */
export class ManualClock implements Clock {
  #now = 0
  #timers: { at: number; call: () => void }[] = []

  nowMs(): number {
    return this.#now
  }

  monotonicMs(): number {
    return this.#now
  }

  after(delayMs: number, call: () => void) {
    const timer = { at: this.#now + delayMs, call }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  soon(call: () => void): void {
    queueMicrotask(call)
  }

  get timerCount(): number {
    return this.#timers.length
  }

  advance(byMs: number): void {
    this.#now += byMs
    const due = this.#timers.filter(({ at }) => at <= this.#now)
    this.#timers = this.#timers.filter(({ at }) => at > this.#now)
    for (const { call } of due) call()
  }
}

export function countingRandom(): Random {
  let count = 0
  return {
    next: () => 0.5,
    bytes: (length) => {
      count++
      return Uint8Array.from({ length }, (_, at) =>
        at === length - 1 ? count & 0xff : at === length - 2 ? count >> 8 : 7,
      )
    },
  }
}

export const silent: Logger = { error() {}, warn() {}, info() {}, debug() {} }

export interface Fixture {
  readonly controller: Controller
  readonly image: MetadataImage
  readonly log: MemoryLog
  readonly clock: ManualClock
  readonly config: BrokerConfig
  /** Brokers that are dead; all others are alive. */
  readonly dead: Set<number>
  alive(nodeId: number): boolean
}

export function fixture(settings: Record<string, string> = {}, brokers = 1): Fixture {
  const config = new BrokerConfig(Object.entries(settings))
  const image = new MetadataImage(config)
  const log = new MemoryLog(() => image)
  const clock = new ManualClock()
  const environment = { clock, random: countingRandom(), logger: silent }
  const dead = new Set<number>()
  const alive = (nodeId: number) => !dead.has(nodeId)
  const controller = new Controller({ environment, config, image: () => image, log, isAlive: alive })
  image.apply({ type: 'set-cluster-id', clusterId: 'test-cluster' })
  for (let nodeId = 1; nodeId <= brokers; nodeId++) {
    const host = `broker-${nodeId}`
    image.apply({ type: 'register-broker', nodeId, host, port: 9092, rack: null, endpoints: [] })
  }
  return { controller, image, log, clock, config, dead, alive }
}

export function topic(name: string, about: Partial<CreatableTopic> = {}): CreatableTopic {
  return { name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [], ...about }
}

export function createRequest(topics: CreatableTopic[], about: Partial<CreateTopicsRequest> = {}): CreateTopicsRequest {
  return { topics, timeoutMs: 1000, validateOnly: false, ...about }
}
