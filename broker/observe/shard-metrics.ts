// What one shard counts. Plain numbers on the hot path; the main thread asks for a copy when somebody scrapes.
//
// Owned by the shard's thread. prom-client lives on the main thread (metrics.ts) and adds the shards up.

/** Upper bounds of the latency buckets, milliseconds. */
export const LATENCY_BUCKETS_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000] as const

export interface ApiCounts {
  requests: number
  failures: number
  bytesIn: number
  bytesOut: number
  sumMs: number
  /** One per bucket, not cumulative; the last counts what is above all bounds. */
  readonly buckets: number[]
}

export interface PartitionFigures {
  readonly topic: string
  readonly partition: number
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly highWatermark: number
  readonly sizeBytes: number
}

export interface GroupLagFigures {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly committedOffset: number
}

export interface ShardFigures {
  readonly shardId: number
  readonly apis: readonly (readonly [number, ApiCounts])[]
  readonly connections: number
  readonly connectionsRefused: number
  readonly partitions: readonly PartitionFigures[]
  readonly groupOffsets: readonly GroupLagFigures[]
  readonly fetchSessions: number
  readonly mailboxQueued: number
  /** What every other shard last said of its load, 0 to 1; by shard. */
  readonly peerLoads: readonly number[]
  readonly storage: Readonly<Record<string, unknown>>
  readonly eventLoopDelayMs: { readonly mean: number; readonly p99: number; readonly max: number }
  readonly gc: { readonly count: number; readonly sumMs: number; readonly maxMs: number }
  readonly heapUsedBytes: number
}

export class ShardMetrics {
  readonly #apis = new Map<number, ApiCounts>()
  connectionsRefused = 0

  received(apiKey: number, bytes: number): void {
    const counts = this.#of(apiKey)
    counts.requests++
    counts.bytesIn += bytes
  }

  answered(apiKey: number, bytes: number, tookMs: number): void {
    const counts = this.#of(apiKey)
    counts.bytesOut += bytes
    counts.sumMs += tookMs
    let bucket = 0
    while (bucket < LATENCY_BUCKETS_MS.length && tookMs > LATENCY_BUCKETS_MS[bucket]!) bucket++
    counts.buckets[bucket]!++
  }

  failed(apiKey: number): void {
    this.#of(apiKey).failures++
  }

  apis(): (readonly [number, ApiCounts])[] {
    return [...this.#apis]
  }

  #of(apiKey: number): ApiCounts {
    let counts = this.#apis.get(apiKey)
    if (counts === undefined) {
      const buckets = new Array<number>(LATENCY_BUCKETS_MS.length + 1).fill(0)
      counts = { requests: 0, failures: 0, bytesIn: 0, bytesOut: 0, sumMs: 0, buckets }
      this.#apis.set(apiKey, counts)
    }
    return counts
  }
}
