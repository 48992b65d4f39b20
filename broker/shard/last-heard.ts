// When the members of the metadata group were last heard of and last had everything, for those who ask how the quorum is.
//
// One on shard 0 of each broker, looked at every second while the broker leads the group: a member that has died keeps the times of its
// last life. A leader knows of its own time only, as in Kafka: nothing is told on.

export interface MemberTimes {
  /** Wall clock, milliseconds since 1970; -1: never while this broker leads. */
  readonly lastHeardMs: number
  readonly lastCaughtUpMs: number
}

export class LastHeard {
  readonly #times = new Map<number, MemberTimes>()

  /**
   * Notes how a member is now.
   * @param isAlive heard of within the silence that makes a broker dead: the time may be later than its last word by so much
   * @param isCaughtUp holds all that is committed
   */
  look(nodeId: number, nowMs: number, isAlive: boolean, isCaughtUp: boolean): MemberTimes {
    const before = this.#times.get(nodeId)
    const times: MemberTimes = {
      lastHeardMs: isAlive ? nowMs : (before?.lastHeardMs ?? -1),
      lastCaughtUpMs: isAlive && isCaughtUp ? nowMs : (before?.lastCaughtUpMs ?? -1),
    }
    this.#times.set(nodeId, times)
    return times
  }

  /** Begins anew with another leadership. */
  forget(): void {
    this.#times.clear()
  }
}
