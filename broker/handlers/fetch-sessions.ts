// Fetch sessions (KIP-227): what a consumer reads again and again, remembered so that it need not be repeated in each request.
//
// One cache per shard, touched only from its thread. A session opened over one shard's connection is unknown on another: a client that reconnects
// there is told FETCH_SESSION_ID_NOT_FOUND and opens a new one, as after any broker restart.

import { ErrorCode } from '../../protocol/errors.ts'
import type { FetchRequest } from '../../protocol/messages/fetch.ts'

/** A partition of a session: what is asked, and what was last answered. */
export interface SessionPartition {
  /** Empty when the request names topics by id. */
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  fetchOffset: number
  maxBytes: number
  currentLeaderEpoch: number
  lastFetchedEpoch: number
  /** -1: the next answer shows the partition whatever it holds. */
  shownHighWatermark: number
  shownLogStartOffset: number
  /** The name an id stood for when it was first resolved. */
  resolvedName: string | undefined
}

export interface FetchSession {
  readonly id: number
  readonly byId: boolean
  /** The next incremental request carries this number. */
  nextEpoch: number
  lastUsedMs: number
  /** In the order in which they are read. */
  readonly partitions: Map<string, SessionPartition>
}

export interface FetchPlan {
  readonly error: ErrorCode
  /** Undefined for a fetch without a session. */
  readonly session: FetchSession | undefined
  /** Only what changed is answered. */
  readonly incremental: boolean
  readonly partitions: Iterable<SessionPartition>
}

const NO_PARTITIONS: readonly SessionPartition[] = []
const STALE_AFTER_MS = 120_000
/**
 * Partitions in all sessions of a shard. A session could name ever more, also of topics that do not exist; at some 300 bytes each this many
 * take about 75 MB. Beyond it fetches go without a session, which only makes them longer.
 */
const PARTITIONS_MAX = 250_000

function refused(error: ErrorCode): FetchPlan {
  return { error, session: undefined, incremental: false, partitions: NO_PARTITIONS }
}

function keyOf(byId: boolean, topic: string, topicId: string, partition: number): string {
  return byId ? `${topicId}/${partition}` : `${topic}/${partition}`
}

function* listed(request: FetchRequest): Iterable<SessionPartition> {
  for (const topic of request.topics) {
    for (const partition of topic.partitions) {
      yield {
        topic: topic.topic,
        topicId: topic.topicId,
        partition: partition.partition,
        fetchOffset: partition.fetchOffset,
        maxBytes: partition.partitionMaxBytes,
        currentLeaderEpoch: partition.currentLeaderEpoch,
        lastFetchedEpoch: partition.lastFetchedEpoch,
        shownHighWatermark: -1,
        shownLogStartOffset: -1,
        resolvedName: undefined,
      }
    }
  }
}

export class FetchSessions {
  readonly #slots: number
  readonly #idOf: () => number
  readonly #partitionsMax: number
  readonly #sessions = new Map<number, FetchSession>()
  /** In all sessions. */
  #partitionCount = 0

  /**
   * @param slots sessions this shard keeps at most; 0 keeps none
   * @param idOf a random positive int32
   * @param partitionsMax in all sessions together
   */
  constructor(slots: number, idOf: () => number, partitionsMax = PARTITIONS_MAX) {
    this.#slots = slots
    this.#idOf = idOf
    this.#partitionsMax = partitionsMax
  }

  get count(): number {
    return this.#sessions.size
  }

  /** What this request reads, with the session that it opens, continues or closes. */
  plan(request: FetchRequest, version: number, nowMs: number): FetchPlan {
    const { sessionId, sessionEpoch } = request
    if (sessionEpoch === 0 || sessionEpoch === -1) {
      if (sessionId !== 0) this.#close(sessionId)
      if (sessionEpoch === -1) {
        return { error: ErrorCode.NONE, session: undefined, incremental: false, partitions: [...listed(request)] }
      }
      return this.#open(request, version, nowMs)
    }
    const session = this.#sessions.get(sessionId)
    if (session === undefined) return refused(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    if (session.nextEpoch !== sessionEpoch) return refused(ErrorCode.INVALID_FETCH_SESSION_EPOCH)
    if (session.byId !== version >= 13) return refused(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
    return this.#continue(session, request, nowMs)
  }

  /** Read partitions go to the end, so that a small limit reaches all of them in turn. */
  rotate(session: FetchSession, partition: SessionPartition): void {
    const key = keyOf(session.byId, partition.topic, partition.topicId, partition.partition)
    if (session.partitions.delete(key)) session.partitions.set(key, partition)
  }

  #open(request: FetchRequest, version: number, nowMs: number): FetchPlan {
    const byId = version >= 13
    const partitions = new Map<string, SessionPartition>()
    for (const partition of listed(request)) {
      partitions.set(keyOf(byId, partition.topic, partition.topicId, partition.partition), partition)
    }
    if (!this.#makeRoom(nowMs, partitions.size)) {
      return { error: ErrorCode.NONE, session: undefined, incremental: false, partitions: partitions.values() }
    }
    let id = this.#idOf()
    while (id === 0 || this.#sessions.has(id)) id = this.#idOf()
    const session: FetchSession = { id, byId, nextEpoch: 1, lastUsedMs: nowMs, partitions }
    this.#sessions.set(id, session)
    this.#partitionCount += partitions.size
    return { error: ErrorCode.NONE, session, incremental: false, partitions: [...partitions.values()] }
  }

  #continue(session: FetchSession, request: FetchRequest, nowMs: number): FetchPlan {
    session.lastUsedMs = nowMs
    session.nextEpoch = session.nextEpoch === 0x7fff_ffff ? 1 : session.nextEpoch + 1
    const before = session.partitions.size
    for (const next of listed(request)) {
      const key = keyOf(session.byId, next.topic, next.topicId, next.partition)
      const known = session.partitions.get(key)
      if (known === undefined) {
        session.partitions.set(key, next)
      } else {
        known.fetchOffset = next.fetchOffset
        known.maxBytes = next.maxBytes
        known.currentLeaderEpoch = next.currentLeaderEpoch
        known.lastFetchedEpoch = next.lastFetchedEpoch
      }
    }
    for (const forgotten of request.forgottenTopicsData) {
      for (const partition of forgotten.partitions) {
        session.partitions.delete(keyOf(session.byId, forgotten.topic, forgotten.topicId, partition))
      }
    }
    this.#partitionCount += session.partitions.size - before
    if (this.#partitionCount > this.#partitionsMax && session.partitions.size > before) {
      this.#close(session.id)
      return refused(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    }
    const partitions = [...session.partitions.values()]
    if (partitions.length === 0) {
      this.#close(session.id)
      return { error: ErrorCode.NONE, session: undefined, incremental: true, partitions }
    }
    return { error: ErrorCode.NONE, session, incremental: true, partitions }
  }

  /** For one session more, with so many partitions. */
  #makeRoom(nowMs: number, count: number): boolean {
    if (this.#hasRoom(count)) return true
    for (const [id, session] of this.#sessions) {
      if (nowMs - session.lastUsedMs <= STALE_AFTER_MS) continue
      this.#close(id)
      if (this.#hasRoom(count)) return true
    }
    return false
  }

  #hasRoom(count: number): boolean {
    return this.#sessions.size < this.#slots && this.#partitionCount + count <= this.#partitionsMax
  }

  #close(id: number): void {
    this.#partitionCount -= this.#sessions.get(id)?.partitions.size ?? 0
    this.#sessions.delete(id)
  }
}
