// How a broker with an empty data directory finds its cluster, or founds one.
//
// On shard 0, before there is metadata. Brokers ask each other by the addresses of their seed lists. Whoever has a cluster is joined; where nobody
// has one, the broker that stands earliest in the list founds it. Two must never found: so a seed that does not answer in time is
// waited for (only a refused connection says that nothing runs there), and a broker that told an earlier one that it was undecided asks
// again before it decides.

import type { Clock, Logger } from '../environment.ts'
import { OperatorError } from '../operator-error.ts'
import type { PeerAddress } from './commands.ts'

/** What a broker says of itself to one it does not know. */
export interface SeedStatus {
  readonly nodeId: number
  /** '' while it is undecided itself. */
  readonly clusterId: string
  /** It has just started, and looks whether it gives up this cluster, which is empty but for itself. */
  readonly isDeciding?: boolean
  /** The cluster has known the asker's broker id with another data directory than the asker's. */
  readonly isIdTaken?: boolean
}

export type SeedAnswer =
  | { readonly kind: 'answered'; readonly status: SeedStatus }
  /** It is this very broker: the address is another name of its host. */
  | { readonly kind: 'self' }
  /** Another broker with the id of this one runs there. */
  | { readonly kind: 'twin' }
  /** It belongs to a cluster that is not the one of this broker. */
  | { readonly kind: 'other-cluster' }
  /** Nothing listens there. */
  | { readonly kind: 'absent' }
  /** Something may run there, and did not tell. */
  | { readonly kind: 'unclear'; readonly reason: string }

export interface FormingOptions {
  readonly nodeId: number
  /** Where this broker's own peer listener is. */
  readonly own: PeerAddress
  readonly seeds: readonly PeerAddress[]
  readonly clock: Clock
  readonly logger: Logger
  /** @param position of this broker in the seed list, -1 while not known */
  ask(seed: PeerAddress, position: number): Promise<SeedAnswer>
}

export type Formed =
  | { readonly type: 'found' }
  | { readonly type: 'join'; readonly through: PeerAddress; readonly clusterId: string }

const ROUND_MS = 200

export class Forming {
  readonly #options: FormingOptions
  #position: number
  /** An earlier seed was told in this round that we are undecided. */
  #toldEarlier = false
  /** A seed had a cluster: it exists, whoever is away now. */
  #hasMetCluster = false
  readonly #said = new Set<string>()
  #stopped = false

  constructor(options: FormingOptions) {
    this.#options = options
    const { own, seeds } = options
    this.#position = seeds.findIndex(({ host, port }) => host === own.host && port === own.port)
  }

  /**
   * Somebody asks who has not found its cluster either, or not decided to keep it, and hears that we have none.
   * @param position its place in the seed list
   * @param hasCluster whether it may have a cluster to be joined when we ask again
   */
  asked(position: number, hasCluster = false): void {
    if (hasCluster || (position >= 0 && (this.#position < 0 || position < this.#position))) this.#toldEarlier = true
  }

  stop(): void {
    this.#stopped = true
  }

  /** @throws OperatorError when it cannot come to a good end */
  async run(): Promise<Formed> {
    const { seeds, clock } = this.#options
    if (seeds.length === 0) return { type: 'found' }
    while (!this.#stopped) {
      const formed = await this.#round()
      if (formed !== undefined) return formed
      await new Promise<void>((resolve) => clock.after(ROUND_MS, resolve))
    }
    throw stopped()
  }

  async #round(): Promise<Formed | undefined> {
    const { seeds, nodeId } = this.#options
    const asked = this.#position
    this.#toldEarlier = false
    const answers = await Promise.all(
      seeds.map((seed, at) => (at === asked ? undefined : this.#options.ask(seed, asked))),
    )
    const unclear: string[] = []
    let earliest = Number.POSITIVE_INFINITY
    let joined: Formed | undefined
    for (let at = 0; at < seeds.length; at++) {
      const seed = seeds[at]!
      const answer = answers[at]
      if (answer === undefined) {
        earliest = Math.min(earliest, at)
        continue
      }
      if (answer.kind === 'absent') continue
      if (answer.kind === 'unclear' || answer.kind === 'other-cluster') {
        unclear.push(answer.kind === 'unclear' ? `${addressText(seed)} (${answer.reason})` : addressText(seed))
        continue
      }
      if (answer.kind === 'self') {
        if (this.#position < 0 || at < this.#position) this.#position = at
        earliest = Math.min(earliest, at)
        continue
      }
      if (answer.kind === 'twin') throw idInUse(nodeId, addressText(seed))
      const { status } = answer
      if (status.isDeciding === true) {
        unclear.push(`${addressText(seed)} (it has just started)`)
        continue
      }
      if (status.clusterId === '') earliest = Math.min(earliest, at)
      else if (joined?.type === 'join' && joined.clusterId !== status.clusterId) {
        throw new OperatorError(
          'SEEDS_DISAGREE',
          `the seeds belong to different clusters: ${joined.clusterId} at ${addressText(joined.through)}, ${status.clusterId} at ${addressText(seed)}`,
          'Give --seed the peer addresses of one cluster.',
        )
      } else joined ??= { type: 'join', through: seed, clusterId: status.clusterId }
    }
    if (joined !== undefined) {
      this.#hasMetCluster = true
      return joined
    }
    if (unclear.length > 0) {
      this.#say('unclear', `waiting for an answer of ${unclear.join(', ')} before a cluster is founded or joined`)
      return undefined
    }
    if (this.#position < 0) {
      this.#say('absent', 'waiting for a cluster to join: this broker is not among the seeds, so it founds none')
      return undefined
    }
    if (this.#hasMetCluster) {
      this.#say(
        'gone',
        'the cluster that was found does not answer any more: waiting for it, and no other one is founded',
      )
      return undefined
    }
    // Somebody earlier counts on us, or we asked before we knew our place: the next round tells.
    if (this.#toldEarlier || asked !== this.#position) return undefined
    return earliest === this.#position ? { type: 'found' } : undefined
  }

  #say(topic: string, message: string): void {
    if (this.#said.has(topic)) return
    this.#said.add(topic)
    this.#options.logger.warn(message)
  }
}

export function stopped(): OperatorError {
  return new OperatorError('STOPPED', 'the broker was stopped before it had found its cluster', 'Start it again.')
}

export function idInUse(nodeId: number, where: string): OperatorError {
  return new OperatorError(
    'NODE_ID_IN_USE',
    `another broker with id ${nodeId} is running${where === '' ? ' in this cluster' : ` at ${where}`}`,
    'Give every broker a number of its own with --node-id.',
  )
}

export function addressText({ host, port }: PeerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** 'host:port' or '[ipv6]:port'. @throws OperatorError */
export function parseAddress(setting: string, text: string): PeerAddress {
  const parts = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text.trim())
  const port = Number(parts?.[3])
  if (parts === null || port > 65_535) {
    throw new OperatorError('PEER_ADDRESS_INVALID', `${setting} ${text}`, `Write ${setting} as host:port.`)
  }
  return { host: parts[1] ?? parts[2] ?? '', port }
}
