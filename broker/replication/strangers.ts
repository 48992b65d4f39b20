// Messages for groups that are not open here (yet): a leader that applied the metadata sooner writes to replicas which do not exist.
//
// One per shard, made by driver.ts. Of each sender and group the newest message is kept for a while, as a copy; what does not fit is lost,
// as any message may be.

import type { LinkInfo } from './link-types.ts'

const MESSAGES_MAX = 8192
const MESSAGE_BYTES_MAX = 64 * 1024
const BYTES_MAX = 4 << 20
const KEPT_MS = 10_000

export interface KeptMessage {
  readonly link: LinkInfo
  readonly bytes: Buffer
  readonly untilMs: number
}

export class Strangers {
  /** By group, then by broker. */
  readonly #groups = new Map<number, Map<number, KeptMessage>>()
  #count = 0
  #bytes = 0

  get count(): number {
    return this.#count
  }

  keep(groupId: number, link: LinkInfo, bytes: Buffer, nowMs: number): void {
    let messages = this.#groups.get(groupId)
    const earlier = messages?.get(link.nodeId)
    if (earlier !== undefined) this.#lose(earlier)
    const fits = bytes.length <= MESSAGE_BYTES_MAX && this.#bytes + bytes.length <= BYTES_MAX
    if (!fits || this.#count >= MESSAGES_MAX) {
      messages?.delete(link.nodeId)
      return
    }
    if (messages === undefined) {
      messages = new Map()
      this.#groups.set(groupId, messages)
    }
    messages.set(link.nodeId, { link, bytes: Buffer.from(bytes), untilMs: nowMs + KEPT_MS })
    this.#count += 1
    this.#bytes += bytes.length
  }

  /** The group is open now. */
  take(groupId: number): readonly KeptMessage[] {
    const messages = this.#groups.get(groupId)
    if (messages === undefined) return []
    this.#groups.delete(groupId)
    const kept = [...messages.values()]
    for (const message of kept) this.#lose(message)
    return kept
  }

  tick(nowMs: number): void {
    if (this.#count === 0) return
    for (const [groupId, messages] of this.#groups) {
      for (const [nodeId, message] of messages) {
        if (message.untilMs > nowMs) continue
        messages.delete(nodeId)
        this.#lose(message)
      }
      if (messages.size === 0) this.#groups.delete(groupId)
    }
  }

  #lose(message: KeptMessage): void {
    this.#count -= 1
    this.#bytes -= message.bytes.length
  }
}
