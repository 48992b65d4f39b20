// Clients that ask a broker for metadata again and again while it is cut off from the others and cannot know better.
//
// One per shard, touched only from its thread. Kafka's clients ask whom they are connected with, for as long as the connection stands. One whose
// partitions were all led by the broker that is cut off is connected with nobody else, gets the same answer each time, and would never hear of
// the leaders that the others have elected. Without its connection it asks one of the others that the first answer named. When none of them
// lives it comes back, and is answered again.

/** How long after its first question a client may ask again: those that start do so more than once. */
const ASKS_AGAIN_MS_MAX = 1000
/** Connections remembered; past it, those that asked first are forgotten. */
const CONNECTIONS_MAX = 10_000

export class StrandedClients {
  /** When a connection first asked, in that order. */
  readonly #askedMs = new Map<number, number>()

  /**
   * A question for metadata that this broker cannot answer well.
   * @returns whether the connection is to be ended
   */
  asks(connectionId: number, nowMs: number): boolean {
    const firstMs = this.#askedMs.get(connectionId)
    if (firstMs !== undefined && nowMs - firstMs < ASKS_AGAIN_MS_MAX) return false
    if (firstMs !== undefined) {
      this.#askedMs.delete(connectionId)
      return true
    }
    if (this.#askedMs.size >= CONNECTIONS_MAX) {
      const [oldest] = this.#askedMs.keys()
      this.#askedMs.delete(oldest!)
    }
    this.#askedMs.set(connectionId, nowMs)
    return false
  }

  /** The broker hears the others. */
  clear(): void {
    if (this.#askedMs.size > 0) this.#askedMs.clear()
  }
}
