// How long another shard's promise to us holds, and why a leader may read without asking while it does.
//
// The promise. A follower that hears a shard grants no vote against the leaders there until it has heard nothing for silenceMs (unless
// the leader itself hands over). A leader that knows a quorum of its group to be under the promise knows that there is no newer leader,
// so what it has committed is the newest there is.
//
// What the leader may conclude from a pong. The ping left at t by the leader's clock, or later. It was heard after t, so the follower's
// silence cannot have lasted silenceMs before t + silenceMs by the follower's clock. Monotonic clocks run apart by CLOCK_DRIFT_MAX at
// most, so by the leader's clock the promise holds until t + silenceMs * (1 - CLOCK_DRIFT_MAX). The follower judges silence in running
// time (links.ts), of which never more passes than of its real time, and starts to count after it has heard: both make
// it keep the promise longer, never shorter. Only the stall of the follower lengthens; the leader counts in real time, so its own
// stall ends the lease. How long ping and pong took does not matter, because the count begins when the ping was written: so a pong may
// wait over there for the next frame. With pings every 100 ms the newest answered one is 200 ms old at most where all is well, and a lease never
// has less than 475 of its 675 ms left.
//
// One promise for many groups. The promise is about following: a follower that stops following in one group (a vote after silence, a
// newer term, a hand-over) still answers pings for the others. So it counts its defections. Every frame carries the number; a
// defection first seals the frame being filled and then raises the number. Messages and pongs of a shard pair share one connection, so
// they arrive in order: an accepted reply from before the defection lies in a frame with the old number, every pong from after it in
// one with the new. The leader keeps the number of the frame in which a peer last accepted something in this group and term, and counts
// that peer for this group only while the number has not moved since. Two things are asked of those who send: defect() comes before
// the vote (or the newer term) is told to anybody, and an accepted reply that waited for the disk while the group left its term is
// dropped, not sent with the new number.
//
// A new process has forgotten its promises. Its numbers never equal earlier ones, so tags of its former life are void at once; and a
// broker grants no vote in a group that it took part in before until silenceMs after its start, so that leases it gave in
// its former life have run out.
//
// What this does not cover: a machine whose monotonic clock stands still while others' go on (a suspended virtual machine on some
// hosts) breaks the bound on drift.

/** Two brokers' monotonic clocks run apart by this share at most. */
export const CLOCK_DRIFT_MAX = 0.1

/** Pings that may be open; older ones have no lease to give any more. */
const PINGS = 64

export class Lease {
  /** Monotonic; -Infinity while there is no promise. */
  untilMs = Number.NEGATIVE_INFINITY
  /** Round trip of the newest answered ping; NaN before the first. */
  rttMs = Number.NaN
  readonly #durationMs: number
  readonly #sentMs = new Float64Array(PINGS).fill(Number.NEGATIVE_INFINITY)
  #next = 1
  #answered = 0

  constructor(silenceMs: number) {
    this.#durationMs = silenceMs * (1 - CLOCK_DRIFT_MAX)
  }

  /** @returns the number of a ping that leaves now or later */
  ping(nowMs: number): number {
    const number = this.#next
    this.#next = number === 0xffff_ffff ? 1 : number + 1
    this.#sentMs[number % PINGS] = nowMs
    return number
  }

  /** @returns false for a number that no ping has */
  pong(number: number, nowMs: number): boolean {
    if (number >= this.#next || number === 0) return false
    if (number <= this.#answered || number <= this.#next - PINGS) return true
    this.#answered = number
    const sentMs = this.#sentMs[number % PINGS]!
    this.rttMs = nowMs - sentMs
    this.untilMs = Math.max(this.untilMs, sentMs + this.#durationMs)
    return true
  }

  /** The process that promised is gone. */
  end(): void {
    this.untilMs = Number.NEGATIVE_INFINITY
    // Pings that went to it are answered by nobody.
    this.#answered = this.#next - 1
  }
}
