// Brokers' links over the network in memory: each process is one shard, writes down what it is told, and sends what a test asks for.

import type { Environment } from '../../../../broker/environment.ts'
import type { FrameMemory } from '../../../../broker/net/connection.ts'
import {
  type ForeignPeer,
  type LinkInfo,
  Links,
  type LinksOptions,
  type PeerAddress,
} from '../../../../broker/replication/links.ts'
import type { PeerReader } from '../../../../broker/replication/peer-wire.ts'
import type { Disk } from '../../../../storage/disk.ts'
import { type Loop, MemoryNetwork, World } from '../../../support/memory-network.ts'
import { SeededRandom } from '../../protocol/random-message.ts'

export const PORT = 9000
export const TEXT = 100

export interface ProcessOptions {
  readonly nodeId: number
  readonly shardId?: number
  readonly shardCount?: number
  readonly clusterId?: string
  readonly directoryId?: string
  /** The same for all shards of a process; default: a new one. */
  readonly incarnation?: number
  readonly host?: string
  /** Not the listener of its host: another shard of the same broker has it. */
  readonly isDeaf?: boolean
  readonly overrides?: Partial<LinksOptions>
}

let incarnations = 1000

export class Process {
  readonly nodeId: number
  readonly shardId: number
  readonly host: string
  readonly loop: Loop
  readonly links: Links
  readonly lines: string[] = []
  /** 'up 2/0', 'down 2/0', 'silent 2/0' ... in order. */
  readonly events: string[] = []
  readonly texts: string[] = []
  readonly foreign: ForeignPeer[] = []
  clusterId: string
  frameMemory = 0
  leaseAtSilenceMs = 0
  onReceive: ((link: LinkInfo, kind: number, reader: PeerReader) => void) | undefined
  onUp: ((link: LinkInfo) => void) | undefined

  constructor(world: LinkWorld, options: ProcessOptions) {
    const { nodeId, shardId = 0, shardCount = 1, overrides } = options
    this.nodeId = nodeId
    this.shardId = shardId
    this.host = options.host ?? `host${nodeId}`
    this.loop = world.world.loop()
    this.clusterId = options.clusterId ?? 'cluster'
    const random = new SeededRandom(nodeId * 100 + shardId)
    const line = (message: string): void => {
      this.lines.push(message)
    }
    const environment: Environment = {
      clock: this.loop,
      random: { next: () => random.below(1 << 30) / (1 << 30), bytes: (count) => new Uint8Array(count) },
      disk: undefined as unknown as Disk,
      network: world.network.of(this.host, this.loop),
      logger: { error: line, warn: line, info: line, debug: () => {} },
    }
    const note = (what: string) => (info: LinkInfo) => {
      this.events.push(`${what} ${info.nodeId}/${info.shardId}`)
    }
    const address: PeerAddress = { host: this.host, port: PORT }
    this.links = new Links({
      nodeId,
      shardId,
      shardCount,
      directoryId: options.directoryId ?? `directory${nodeId}`,
      incarnation: options.incarnation ?? ++incarnations,
      clusterId: () => this.clusterId,
      ownAddress: () => address,
      environment,
      frameBytesMax: 4 << 20,
      receive: (link, kind, reader) => {
        if (kind === TEXT && this.onReceive === undefined) this.texts.push(reader.text() ?? '')
        else this.onReceive?.(link, kind, reader)
      },
      up: (link) => {
        note('up')(link)
        this.onUp?.(link)
      },
      down: note('down'),
      silent: (node, shard) => {
        this.events.push(`silent ${node}/${shard}`)
        this.leaseAtSilenceMs = this.links.leaseUntilMs(node, shard)
      },
      heard: (node, shard) => this.events.push(`heard ${node}/${shard}`),
      room: note('room'),
      foreign: (peer) => this.foreign.push(peer),
      allocateFrame: (bytes) => this.#memory(bytes),
      ...overrides,
    })
    if (options.isDeaf !== true) world.network.listen(this.host, PORT, this.loop, (socket) => this.links.accept(socket))
  }

  #memory(bytes: number): FrameMemory {
    this.frameMemory++
    return {
      bytes: Buffer.alloc(bytes),
      arenaAt: -1,
      retain: () => {},
      release: () => {
        this.frameMemory--
      },
    }
  }

  /** @returns whether it could be sent */
  say(nodeId: number, text: string, shard = 0): boolean {
    return this.links.begin(nodeId, shard, TEXT)?.text(text).end() ?? false
  }

  knows(...others: Process[]): void {
    this.links.setPeers(others.map(({ nodeId, host }) => ({ nodeId, host, port: PORT })))
  }

  takeEvents(): string[] {
    return this.events.splice(0)
  }
}

export class LinkWorld {
  readonly world = new World()
  readonly network: MemoryNetwork = new MemoryNetwork(this.world)
  readonly processes: Process[] = []

  process(options: ProcessOptions): Process {
    const process = new Process(this, options)
    this.processes.push(process)
    return process
  }

  /** Brokers 1 to n that know each other, linked. */
  brokers(count: number, overrides: Partial<LinksOptions> = {}): Process[] {
    const made = Array.from({ length: count }, (_, at) => this.process({ nodeId: at + 1, overrides }))
    for (const process of made) process.knows(...made)
    this.world.until(() => made.every((one) => made.every((other) => one === other || one.links.isUp(other.nodeId, 0))))
    for (const process of made) process.takeEvents()
    return made
  }

  advance(ms: number): void {
    this.world.advance(ms)
  }

  kill(process: Process): void {
    this.network.kill(process.host, process.loop)
  }
}
