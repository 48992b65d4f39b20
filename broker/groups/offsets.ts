// The committed offsets of one group, and which of them may be forgotten.
//
// Owned by coordinator.ts, on the shard that leads the group's partition of __consumer_offsets. It holds what is durable: an
// offset enters when its record is on disk. What is on its way there is counted, so that no tombstone forgets a newer commit.

export interface CommittedOffset {
  readonly offset: number
  /** -1: the client did not say. */
  readonly leaderEpoch: number
  readonly metadata: string
  /** Wall clock ms. */
  readonly commitTimestampMs: number
  /** Wall clock ms at which it ends whatever the retention; -1 for none (OffsetCommit v2-4 could ask for it). */
  readonly expireTimestampMs: number
  /** Of the topic it was committed for; ZERO_UUID when the record does not say. */
  readonly topicId: string
}

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

export interface ExpiryRule {
  /** offsets.retention.minutes in ms */
  readonly retentionMs: number
  /** Wall clock ms since when nobody needs this offset; undefined: somebody does. */
  readonly unusedSinceMs: (topic: string, committed: CommittedOffset) => number | undefined
}

/** What a committed offset takes beside its metadata: its object, and its place in the map. */
const OFFSET_OVERHEAD_BYTES = 200

export class GroupOffsets {
  readonly #byTopic = new Map<string, Map<number, CommittedOffset>>()
  /** Commits that are being written, by `partition:topic`. */
  readonly #writing = new Map<string, number>()
  #count = 0
  #heldBytes = 0

  /** Durable ones. */
  get count(): number {
    return this.#count
  }

  /** Roughly what the durable ones take in memory. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  get writingCount(): number {
    return this.#writing.size
  }

  get(topic: string, partition: number): CommittedOffset | undefined {
    return this.#byTopic.get(topic)?.get(partition)
  }

  topics(): IterableIterator<[string, ReadonlyMap<number, CommittedOffset>]> {
    return this.#byTopic.entries()
  }

  set(topic: string, partition: number, committed: CommittedOffset): void {
    let ofTopic = this.#byTopic.get(topic)
    if (ofTopic === undefined) this.#byTopic.set(topic, (ofTopic = new Map()))
    const before = ofTopic.get(partition)
    if (before === undefined) this.#count += 1
    this.#heldBytes += offsetBytes(committed) - offsetBytes(before)
    ofTopic.set(partition, committed)
  }

  delete(topic: string, partition: number): void {
    const ofTopic = this.#byTopic.get(topic)
    const before = ofTopic?.get(partition)
    if (ofTopic === undefined || before === undefined) return
    ofTopic.delete(partition)
    this.#count -= 1
    this.#heldBytes -= offsetBytes(before)
    if (ofTopic.size === 0) this.#byTopic.delete(topic)
  }

  beginWriting({ topic, partition }: TopicPartition): void {
    const key = `${partition}:${topic}`
    this.#writing.set(key, (this.#writing.get(key) ?? 0) + 1)
  }

  endWriting({ topic, partition }: TopicPartition): void {
    const key = `${partition}:${topic}`
    const count = this.#writing.get(key) ?? 0
    if (count > 1) this.#writing.set(key, count - 1)
    else this.#writing.delete(key)
  }

  isWriting({ topic, partition }: TopicPartition): boolean {
    return this.#writing.has(`${partition}:${topic}`)
  }

  /** Everything a tombstone is needed for: what is durable, and what will be before the tombstone is. */
  all(topicName?: string): TopicPartition[] {
    const found: TopicPartition[] = []
    for (const [topic, ofTopic] of this.#byTopic) {
      if (topicName !== undefined && topic !== topicName) continue
      for (const partition of ofTopic.keys()) found.push({ topic, partition })
    }
    for (const key of this.#writing.keys()) {
      const colon = key.indexOf(':')
      const topic = key.slice(colon + 1)
      const partition = Number(key.slice(0, colon))
      if (topicName !== undefined && topic !== topicName) continue
      if (this.get(topic, partition) === undefined) found.push({ topic, partition })
    }
    return found
  }

  /** Offsets whose time is over at `wallMs`. A partition that is being committed is in use. */
  expired(rule: ExpiryRule, wallMs: number): TopicPartition[] {
    const found: TopicPartition[] = []
    for (const [topic, ofTopic] of this.#byTopic) {
      for (const [partition, committed] of ofTopic) {
        const sinceMs = rule.unusedSinceMs(topic, committed)
        if (sinceMs === undefined) continue
        const isOver =
          committed.expireTimestampMs >= 0
            ? wallMs >= committed.expireTimestampMs
            : wallMs - sinceMs >= rule.retentionMs
        if (isOver && !this.isWriting({ topic, partition })) found.push({ topic, partition })
      }
    }
    return found
  }
}

function offsetBytes(committed: CommittedOffset | undefined): number {
  return committed === undefined ? 0 : OFFSET_OVERHEAD_BYTES + committed.metadata.length
}
