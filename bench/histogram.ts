// Latencies in buckets that get wider with the value: 64 per power of two, so a percentile is off by at most 1.6 %.
//
// Used by the load generator, one histogram per question; nothing is allocated per value.

const subBuckets = 64
const octaves = 32

/** Counts of values in microseconds, up to about an hour. */
export class Histogram {
  readonly #counts = new Uint32Array(subBuckets * octaves)
  count = 0
  maxMicros = 0

  record(micros: number): void {
    const value = micros < 0 ? 0 : Math.floor(micros)
    const octave = value < subBuckets ? 0 : 26 - Math.clz32(value)
    // Within an octave the top 6 bits below the leading one choose the bucket.
    const slot = octave === 0 ? value : octave * subBuckets + ((value >>> (octave - 1)) - subBuckets)
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1
    this.count++
    if (value > this.maxMicros) this.maxMicros = value
  }

  /** The value below which `percent` of all values lie, in milliseconds; NaN when there are none. */
  percentileMs(percent: number): number {
    if (this.count === 0) return Number.NaN
    const wanted = Math.ceil((this.count * percent) / 100)
    let seen = 0
    for (let slot = 0; slot < this.#counts.length; slot++) {
      seen += this.#counts[slot] ?? 0
      if (seen >= wanted) return Math.min(highestMicros(slot), this.maxMicros) / 1000
    }
    return this.maxMicros / 1000
  }

  summary(): Latency {
    return {
      count: this.count,
      p50Ms: this.percentileMs(50),
      p99Ms: this.percentileMs(99),
      p999Ms: this.percentileMs(99.9),
      maxMs: this.maxMicros / 1000,
    }
  }
}

function highestMicros(slot: number): number {
  const octave = Math.floor(slot / subBuckets)
  if (octave === 0) return slot
  return ((slot % subBuckets) + subBuckets + 1) * 2 ** (octave - 1) - 1
}

export interface Latency {
  count: number
  p50Ms: number
  p99Ms: number
  p999Ms: number
  maxMs: number
}
