// The post office of one shard: its mailboxes to and from every other shard, and what wakes a sleeping thread.
//
// Created by shard.ts, touched only from the shard's thread. A shard drains its mailboxes once per loop turn; another thread rings only
// when this one sleeps. Without the addon Atomics.waitAsync does the waking.

import { MailboxReader, MailboxSender } from './mailbox.ts'
import type { LoopHook } from './wake.ts'
import { WireReader, WireWriter } from './wire.ts'

/** How many messages of one sender are handled before the next sender's turn. */
const DRAIN_MAX = 256

export interface PostOptions {
  readonly shardId: number
  readonly shardCount: number
  /** rings[from * shardCount + to]; unused where from = to. */
  readonly rings: readonly SharedArrayBuffer[]
  readonly hook: LoopHook
  /** One message; the bytes are valid during the call. */
  receive(from: number, kind: number, id: number, load: number, reader: WireReader): void
  /** Own load, 0 to 65535: carried to the others on every message. */
  load(): number
  /** Called when a congested mailbox has room again. */
  onRoom(): void
}

export class Post {
  readonly #options: PostOptions
  readonly #senders: (MailboxSender | undefined)[] = []
  readonly #readers: (MailboxReader | undefined)[] = []
  readonly #writer = new WireWriter()
  readonly #reader = new WireReader()
  #draining = false
  #congested = false

  constructor(options: PostOptions) {
    this.#options = options
    const { shardId, shardCount, rings, hook } = options
    for (let other = 0; other < shardCount; other++) {
      if (other === shardId) {
        this.#senders.push(undefined)
        this.#readers.push(undefined)
        continue
      }
      const wake = () => hook.wake(other)
      this.#senders.push(new MailboxSender(rings[shardId * shardCount + other]!, wake))
      this.#readers.push(new MailboxReader(rings[other * shardCount + shardId]!, wake))
    }
    hook.start(() => this.drain())
  }

  /** True while some message waits because its reader has not made room: sockets are not read then. */
  get congested(): boolean {
    return this.#congested
  }

  /** Opens a message; give it to send() before opening the next. */
  message(kind: number, id: number): WireWriter {
    return this.#writer.begin(kind, id, this.#options.load())
  }

  send(to: number, message: WireWriter): void {
    const sender = this.#senders[to]!
    sender.send(message.finish())
    if (sender.congested) this.#congested = true
  }

  /** Handles what has come in and moves on what waited. */
  drain(): void {
    if (this.#draining) return
    this.#draining = true
    try {
      let again = true
      while (again) {
        again = false
        for (let from = 0; from < this.#readers.length; from++) {
          const reader = this.#readers[from]
          if (reader === undefined) continue
          const count = reader.drain(DRAIN_MAX, (message) => this.#receive(from, message))
          if (count === DRAIN_MAX) again = true
        }
      }
      if (this.#congested) this.#flush()
    } finally {
      this.#draining = false
    }
  }

  #receive(from: number, message: Buffer): void {
    const kind = message[0]!
    const load = message.readUInt16LE(2)
    const id = message.readUInt32LE(4)
    this.#options.receive(from, kind, id, load, this.#reader.open(message))
  }

  #flush(): void {
    let congested = false
    for (const sender of this.#senders) {
      if (sender !== undefined && !sender.flush()) congested = true
    }
    if (congested) return
    this.#congested = false
    this.#options.onRoom()
  }
}
