// What both sides do when a link comes up: leaders find out where their followers are, followers find out who leads them no more.
//
// One per shard, made by driver.ts. Groups are gone through some at a time, so that ten thousand of them do not stop the loop. After the last
// one comes an end mark: a group that its follower believes to be led over there, and that was not addressed before the mark, is not.

import type { LinkInfo } from './link-types.ts'
import type { Replica } from './replica.ts'

/** Led groups per turn of the loop and link. */
const PER_TURN = 512

export interface GreetingsHost {
  /** Asks the member on that broker where it is. */
  greet(replica: Replica, nodeId: number): void
  /** @returns false when it could not be sent */
  sayEnd(link: LinkInfo): boolean
  /** Some group's message over this link is still to be said again. */
  hasRefused(link: LinkInfo): boolean
  /** That broker does not lead the group. */
  abandoned(replica: Replica, nodeId: number): void
}

interface Greeting {
  readonly link: LinkInfo
  readonly led: readonly Replica[]
  at: number
}

interface Expectation {
  readonly link: LinkInfo
  readonly replicas: Set<Replica>
}

export class Greetings {
  readonly #host: GreetingsHost
  #greetings: Greeting[] = []
  #expected: Expectation[] = []

  constructor(host: GreetingsHost) {
    this.#host = host
  }

  get isBusy(): boolean {
    return this.#greetings.length > 0
  }

  /** @param led groups led here with a member there @param followed groups led there, as far as we know */
  begin(link: LinkInfo, led: readonly Replica[], followed: readonly Replica[]): void {
    this.down(link)
    this.#greetings.push({ link, led, at: 0 })
    this.#expected.push({ link, replicas: new Set(followed) })
  }

  down(link: LinkInfo): void {
    const isOther = (other: LinkInfo): boolean => other.nodeId !== link.nodeId || other.shardId !== link.shardId
    this.#greetings = this.#greetings.filter((greeting) => isOther(greeting.link))
    this.#expected = this.#expected.filter((expectation) => isOther(expectation.link))
  }

  /** Its leader speaks to one of our groups. */
  addressed(link: LinkInfo, replica: Replica): void {
    if (this.#expected.length === 0) return
    for (const expectation of this.#expected) if (expectation.link === link) expectation.replicas.delete(replica)
  }

  /** The end mark came. */
  ended(link: LinkInfo): void {
    const expectation = this.#expected.find((other) => other.link === link)
    if (expectation === undefined) return
    this.#expected = this.#expected.filter((other) => other !== expectation)
    for (const replica of expectation.replicas) this.#host.abandoned(replica, link.nodeId)
  }

  /** This turn's part of every greeting under way. */
  sendOn(): void {
    if (this.#greetings.length === 0) return
    for (const greeting of [...this.#greetings]) {
      const { link, led } = greeting
      const end = Math.min(led.length, greeting.at + PER_TURN)
      for (; greeting.at < end; greeting.at++) this.#host.greet(led[greeting.at]!, link.nodeId)
      if (greeting.at < led.length || this.#host.hasRefused(link) || !this.#host.sayEnd(link)) continue
      this.#greetings = this.#greetings.filter((other) => other !== greeting)
    }
  }
}
