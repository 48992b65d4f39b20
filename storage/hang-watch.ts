// Whether the disk under a journal hangs: a flush round that neither comes back nor fails.
//
// One per shard, touched only from its worker thread, looked at once a second by the broker's own timer: appends pay nothing for it. It
// goes by looks and not by a clock. A process that stood still for ten seconds finds rounds that seem ten seconds old and are long done;
// but its looks were as far apart as its event loop was, and between two of them everything that had come back was heard.

/** The oldest round is still the same that often after it was first seen: under way for more than two seconds, and at most three. */
const AGAIN_TO_HANG = 2
/** Looks in a row without such a round before the disk is trusted again, so that one that answers now and then does not flicker. */
const CALM_TO_TRUST = 3

export class HangWatch {
  #isHung = false
  /** The oldest round at the last look. */
  #oldest: number | undefined
  #again = 0
  #calm = 0

  get isHung(): boolean {
    return this.#isHung
  }

  /**
   * Once a second.
   * @param oldest sequence of the oldest round that the disk owes an answer, or that waits for a file; undefined when there is none
   * @returns isHung
   */
  look(oldest: number | undefined): boolean {
    this.#again = oldest !== undefined && oldest === this.#oldest ? this.#again + 1 : 0
    this.#oldest = oldest
    // One that was there a whole look ago is no proof of good health, nor enough of a reason to begin with.
    this.#calm = this.#again > 0 ? 0 : this.#calm + 1
    if (this.#again >= AGAIN_TO_HANG) this.#isHung = true
    else if (this.#calm >= CALM_TO_TRUST) this.#isHung = false
    return this.#isHung
  }

  /** A round was sent right after a look: the next look should not find it any more. */
  sent(sequence: number): void {
    this.#oldest = sequence
  }
}
