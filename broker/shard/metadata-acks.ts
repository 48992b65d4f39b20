// How far each broker has applied the metadata: said to the leader of group 0, and awaited there before a change is answered.
//
// On shard 0, touched only from its thread.

import type { Clock } from '../environment.ts'
import type { LinkInfo, ShardLinks } from '../replication/link-types.ts'
import { PeerKind, type PeerReader } from '../replication/peer-wire.ts'

export interface MetadataAcksOptions {
  readonly nodeId: number
  readonly links: ShardLinks | undefined
  readonly clock: Clock
  /** Broker ids registered. */
  brokers(): readonly { readonly nodeId: number }[]
  /** Broker that leads group 0, -1 for none. */
  leader(): number
  wantsFlush(): void
}

/** A broker that takes longer is waited for no more: its clients may see the change a little later. */
const WAIT_MS = 1000

interface Wait {
  readonly index: number
  check(): void
}

export class MetadataAcks {
  readonly #options: MetadataAcksOptions
  /** By broker, as it last said. */
  readonly #elsewhere = new Map<number, number>()
  #here = -1
  #waits: Wait[] = []

  constructor(options: MetadataAcksOptions) {
    this.#options = options
  }

  /** Every shard of this broker has the metadata up to this index. */
  appliedHere(index: number): void {
    if (index <= this.#here) return
    this.#here = index
    this.tellLeader()
    this.check()
  }

  /** Says it again: the leader is another one, or can be reached again. */
  tellLeader(): void {
    const { links, nodeId } = this.#options
    const leader = this.#options.leader()
    if (links === undefined || leader < 0 || leader === nodeId || this.#here < 0) return
    const message = links.begin(leader, 0, PeerKind.METADATA_APPLIED)
    if (message === undefined) return
    message.f64(this.#here).end()
    this.#options.wantsFlush()
  }

  onPeer(link: LinkInfo, reader: PeerReader): void {
    this.#elsewhere.set(link.nodeId, reader.integer())
    this.check()
  }

  /** That broker does not answer: nobody waits for it, and when it is back it says how far it is. */
  silent(nodeId: number): void {
    this.#elsewhere.delete(nodeId)
    this.check()
  }

  whenHere(index: number): Promise<void> {
    return this.#wait(index, undefined, () => this.#here >= index)
  }

  /** Resolves when every other live broker has it, or after a second. */
  whenElsewhere(index: number): Promise<void> {
    return this.#wait(index, WAIT_MS, () => this.#haveAll(index))
  }

  #haveAll(index: number): boolean {
    const { links, nodeId } = this.#options
    if (links === undefined) return true
    for (const broker of this.#options.brokers()) {
      if (broker.nodeId === nodeId || !links.isAlive(broker.nodeId)) continue
      if ((this.#elsewhere.get(broker.nodeId) ?? -1) < index) return false
    }
    return true
  }

  #wait(index: number, maxMs: number | undefined, isDone: () => boolean): Promise<void> {
    if (isDone()) return Promise.resolve()
    return new Promise((resolve) => {
      const finish = (): void => {
        timer?.cancel()
        this.#waits = this.#waits.filter((other) => other !== wait)
        resolve()
      }
      const timer = maxMs === undefined ? undefined : this.#options.clock.after(maxMs, finish)
      const wait: Wait = { index, check: () => isDone() && finish() }
      this.#waits.push(wait)
    })
  }

  check(): void {
    for (const wait of [...this.#waits]) wait.check()
  }
}
