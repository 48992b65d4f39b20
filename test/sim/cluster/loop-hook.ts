// How the shards of a simulated broker wake each other: the mailboxes are drained by an event of the shard that was rung for.

import type { LoopHook } from '../../../broker/shard/wake.ts'
import { type Actor, INPUT, type Scheduler } from './scheduler.ts'

/** The hooks of one life of a broker, by shard. */
export class Bells {
  readonly #scheduler: Scheduler
  readonly #actors: readonly Actor[]
  readonly #drains: ((() => void) | undefined)[] = []
  readonly #rung: boolean[] = []

  constructor(scheduler: Scheduler, actors: readonly Actor[]) {
    this.#scheduler = scheduler
    this.#actors = actors
  }

  hook(shardId: number): LoopHook {
    return {
      start: (drain) => {
        this.#drains[shardId] = drain
        // Others may have started before: what they left here is found at the first look.
        this.#ring(shardId)
      },
      wake: (other) => this.#ring(other),
      close: () => {
        this.#drains[shardId] = undefined
      },
    }
  }

  #ring(shardId: number): void {
    if (this.#rung[shardId] === true) return
    this.#rung[shardId] = true
    // A hop to another thread: microseconds when it is busy, more when it sleeps.
    const { nowMs, random } = this.#scheduler
    this.#scheduler.at(nowMs + random.next() * 0.06, INPUT, this.#actors[shardId]!, () => {
      this.#rung[shardId] = false
      this.#drains[shardId]?.()
    })
  }
}
