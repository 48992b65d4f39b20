// One broker in this process: its shards' worker threads, the listening sockets, the metrics endpoint; start and stop.
//
// Runs on the main thread, which owns no partition and serves no request: it accepts connections and hands each to the shard with the
// fewest, supervises the workers, and adds up their figures.

import { mkdir } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { availableParallelism, hostname, totalmem } from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { loadNative, nativeMissingReason } from '../native/index.ts'
import { StorageCorruption } from '../storage/corruption.ts'
import { type Disk, DiskError } from '../storage/disk.ts'
import { openDisk } from '../storage/open-disk.ts'
import type { Registration } from './cluster/controller.ts'
import { parseAddress } from './cluster/node-forming.ts'
import type { NodeIdentity } from './cluster/node-identity.ts'
import { newUuid } from './cluster/uuid.ts'
import type { Listener } from './config/listeners.ts'
import { BrokerConfig } from './config.ts'
import {
  type DirectoryRecord,
  directoryProblem,
  FORMAT,
  journalDirectory,
  type OpenedDirectory,
  openDataDirectory,
  writeRecord,
} from './data-directory.ts'
import { type Logger, noNetwork, systemClock, systemRandom } from './environment.ts'
import { type Acceptor, canTransferSockets, listen } from './net/tcp.ts'
import type { ShardFigures } from './observe/shard-metrics.ts'
import { OperatorError, operatorErrorOf } from './operator-error.ts'
import { ringBytes, ringCapacity } from './shard/mailbox.ts'
import type { FromShard, ToShard, WorkerSetup } from './shard/messages.ts'
import { moveGroups } from './shard/move-groups.ts'
import { WAKE_BYTES } from './shard/wake.ts'

export interface ServerOptions {
  /** Kafka properties; the stronger ones last. `log.dirs` and `listeners` are taken from here. */
  readonly settings: readonly (readonly [string, string])[]
  /** Undefined: one per core. */
  readonly shardCount?: number | undefined
  /** Arena bytes of all shards together. Undefined: a quarter of what this process may use. */
  readonly memoryBytes?: number | undefined
  /** Undefined: no metrics endpoint. 0: any free port. */
  readonly metricsPort?: number | undefined
  readonly metricsHost?: string
  readonly logger: Logger
  /** A shard died; the broker cannot go on. */
  onFatal(error: OperatorError): void
}

export interface RunningServer {
  /** host:port of each listener, as clients are told. */
  readonly bootstrapServers: string
  readonly dataDirectory: string
  /** 'io_uring, O_DIRECT' and the like. */
  readonly ioMethod: string
  readonly metricsUrl: string | undefined
  readonly shardCount: number
  /** @throws OperatorError DISK_HANGS when the disk does not answer in time: threads go on waiting for it, and the directory stays locked */
  close(): Promise<void>
}

const SHARDS_MAX = 64
const MEMORY_MIN_BYTES = 32 << 20
const MEMORY_DEFAULT_MAX_BYTES = 1 << 30
const STOP_MS_MAX = 10_000
/** A worker ends at once, but for what the disk still owes it. */
const END_MS_MAX = 1000
/** Code of what close() rejects with when threads wait for a disk that does not answer. Until it does they stay, and so does the lock. */
export const DISK_HANGS = 'DISK_HANGS'
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'

/** Doorbells are numbered for the whole process: several brokers may run in one. */
const bellsInUse = new Set<number>()

function takeBells(count: number): number {
  for (let first = 0; first + count <= 1024; first++) {
    let free = true
    for (let at = first; at < first + count; at++) if (bellsInUse.has(at)) free = false
    if (!free) continue
    for (let at = first; at < first + count; at++) bellsInUse.add(at)
    return first
  }
  throw new OperatorError('TOO_MANY_BROKERS', 'this process runs too many brokers already', 'Close some of them.')
}

function defaultMemoryBytes(): number {
  const constrained = process.constrainedMemory()
  const limit = constrained > 0 && constrained < totalmem() ? constrained : totalmem()
  return Math.min(MEMORY_DEFAULT_MAX_BYTES, Math.floor(limit / 4))
}

/** @throws OperatorError with one clear line for everything an operator can mend */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const server = new Server(options)
  try {
    await server.start()
  } catch (error) {
    await server.close().catch(() => {})
    throw error
  }
  return server
}

interface ShardHandle {
  readonly worker: Worker
  connections: number
  listeningPort: ((port: number) => void) | undefined
  stopped: (() => void) | undefined
}

class Server implements RunningServer {
  readonly #options: ServerOptions
  readonly #config: BrokerConfig
  readonly shardCount: number
  readonly dataDirectory: string
  readonly #shards: ShardHandle[] = []
  readonly #acceptors: Acceptor[] = []
  /** Undefined for a broker alone. */
  readonly #peerListener: { readonly host: string; readonly port: number } | undefined
  #peerPort = 0
  #nextPeerShard = 0
  #record: DirectoryRecord | undefined
  /** Accepted before the shards were ready. */
  #early: { socket: Socket; listener: string }[] | undefined = []
  #ports: number[] = []
  #directory: OpenedDirectory | undefined
  #disk: Disk | undefined
  #firstBell = -1
  #nextConnection = 1
  #nextFigures = 1
  readonly #figures = new Map<number, { left: number; parts: ShardFigures[]; resolve(parts: ShardFigures[]): void }>()
  #metrics: { url: string; close(): Promise<void> } | undefined
  #ready: { left: number; io: string; resolve(): void; reject(error: Error): void } | undefined
  #closing: Promise<void> | undefined
  ioMethod = ''

  constructor(options: ServerOptions) {
    this.#options = options
    this.#config = new BrokerConfig(options.settings)
    for (const warning of this.#config.warnings) options.logger.warn(warning)
    this.shardCount = options.shardCount ?? availableParallelism()
    if (!Number.isInteger(this.shardCount) || this.shardCount < 1 || this.shardCount > SHARDS_MAX) {
      throw new OperatorError('SHARDS_INVALID', `${this.shardCount} shards`, `Choose between 1 and ${SHARDS_MAX}.`)
    }
    const peerListener = this.#config.millracePeerListener
    this.#peerListener = peerListener === null ? undefined : parseAddress('millrace.peer.listener', peerListener)
    for (const seed of this.#config.millraceSeeds) parseAddress('--seed', seed)
    this.dataDirectory = path.resolve(this.#config.dataDirectory)
  }

  get bootstrapServers(): string {
    return this.#endpoints()
      .map(({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`))
      .join(',')
  }

  get metricsUrl(): string | undefined {
    return this.#metrics?.url
  }

  async start(): Promise<void> {
    const { memoryBytes = defaultMemoryBytes() } = this.#options
    if (memoryBytes < MEMORY_MIN_BYTES) {
      throw new OperatorError('MEMORY_TOO_SMALL', `${memoryBytes} bytes of memory`, 'Give the broker at least 32MiB.')
    }
    const record = await this.#openDirectory(memoryBytes)
    this.#record = record
    this.#startWorkers(record, memoryBytes)
    const arenas = this.#arenas()
    await this.#listen()
    await this.#startShards(await arenas)
    await this.#startMetrics()
    const early = this.#early ?? []
    this.#early = undefined
    for (const { socket, listener } of early) this.#hand(socket, listener)
  }

  async #openDirectory(memoryBytes: number): Promise<DirectoryRecord> {
    const { dataDirectory } = this
    try {
      await mkdir(dataDirectory, { recursive: true })
      this.#disk = await openDisk(dataDirectory)
      this.#directory = await openDataDirectory(this.#disk, dataDirectory, process.getuid?.())
      const { record } = this.#directory
      const { nodeId } = this.#config
      if (record !== undefined && record.nodeId !== nodeId) {
        throw new OperatorError(
          'NODE_ID_DIFFERS',
          `the data directory ${dataDirectory} belongs to broker ${record.nodeId}, and this is broker ${nodeId}`,
          'Set node.id to that number, or choose another directory with --data-dir.',
        )
      }
      const { shardCount } = this
      if (record === undefined) {
        const fresh: DirectoryRecord = {
          format: FORMAT,
          nodeId,
          shardCount,
          generation: 1,
          directoryId: newUuid(systemRandom),
        }
        await writeRecord(this.#disk, dataDirectory, fresh)
        return fresh
      }
      if (record.shardCount === shardCount && record.directoryId !== undefined) return record
      if (record.shardCount === shardCount) {
        const named: DirectoryRecord = { ...record, directoryId: newUuid(systemRandom) }
        await writeRecord(this.#disk, dataDirectory, named)
        return named
      }
      this.#options.logger.info(`moving the partitions from ${record.shardCount} shards to ${shardCount}`)
      const moved: DirectoryRecord = {
        ...record,
        shardCount,
        generation: record.generation + 1,
        directoryId: record.directoryId ?? newUuid(systemRandom),
      }
      await moveGroups({
        environment: {
          clock: systemClock,
          random: systemRandom,
          disk: this.#disk,
          network: noNetwork,
          logger: this.#options.logger,
        },
        dataDirectory,
        from: record,
        to: moved,
        memoryBytes,
        journalFileBytes,
      })
      return moved
    } catch (error) {
      throw error instanceof StorageCorruption ? operatorErrorOf(error) : directoryProblem(dataDirectory, error)
    }
  }

  #startWorkers(record: DirectoryRecord, memoryBytes: number): void {
    const { shardCount } = this
    const capacity = ringCapacity(shardCount)
    const rings = Array.from({ length: shardCount * shardCount }, (_, at) => {
      const isUsed = at % shardCount !== Math.floor(at / shardCount)
      return new SharedArrayBuffer(isUsed ? ringBytes(capacity) : 0)
    })
    const wakeMemory = new SharedArrayBuffer(shardCount * WAKE_BYTES)
    this.#firstBell = takeBells(shardCount)
    const shardMemory = Math.floor(memoryBytes / shardCount)
    const incarnation = Math.floor(systemRandom.next() * Number.MAX_SAFE_INTEGER)
    const native = loadNative()
    const cores = native?.allowedCores() ?? []
    if (native === undefined) {
      const reason = nativeMissingReason()
      this.#options.logger.warn(`files go through plain Node fs, which is slower: no addon, because ${reason}`)
    }
    for (let shardId = 0; shardId < shardCount; shardId++) {
      const setup: WorkerSetup = {
        shardId,
        shardCount,
        settings: this.#options.settings,
        dataDirectory: this.dataDirectory,
        journalDirectory: journalDirectory(this.dataDirectory, record.generation, shardId),
        memoryBytes: shardMemory,
        journalFileBytes: journalFileBytes(shardMemory),
        ioMethod: process.env.MILLRACE_IO ?? 'auto',
        rings,
        wakeMemory,
        firstBell: this.#firstBell,
        core: cores.length >= shardCount && shardCount > 1 ? cores[shardId]! : -1,
        peer: this.#peerListener === undefined ? undefined : { directoryId: record.directoryId ?? '', incarnation },
        identity: record.identity,
        logThreshold: this.#options.logger.threshold?.memory,
      }
      const worker = new Worker(new URL(`./shard/shard-worker.${extension}`, import.meta.url), {
        workerData: setup,
        name: `shard-${shardId}`,
        // What an application sets for itself (a test runner's flags, a loader) is not for the broker's threads.
        execArgv: [],
      })
      const handle: ShardHandle = { worker, connections: 0, listeningPort: undefined, stopped: undefined }
      this.#shards.push(handle)
      worker.on('message', (message: FromShard) => this.#received(handle, message))
      worker.on('error', (error) => this.#fatal(operatorErrorOf(error)))
      worker.on('exit', (code) => this.#exited(handle, code))
    }
  }

  #arenaBuffers: SharedArrayBuffer[] = []
  #arenasReady: (() => void) | undefined

  #arenas(): Promise<readonly SharedArrayBuffer[]> {
    return new Promise((resolve, reject) => {
      this.#ready = { left: this.shardCount, io: '', resolve: () => {}, reject }
      this.#arenasReady = () => resolve(this.#arenaBuffers)
    })
  }

  async #listen(): Promise<void> {
    await this.#listenForPeers()
    for (const listener of this.#config.listeners) {
      const host = listener.host === '' ? '::' : listener.host
      const backlog = Math.max(this.#config.socketListenBacklogSize, 511)
      try {
        if (canTransferSockets) {
          const acceptor = await listen({ host, port: listener.port, backlog, reusePort: false }, (socket) =>
            this.#hand(socket, listener.name),
          )
          this.#acceptors.push(acceptor)
          this.#ports.push(acceptor.port)
        } else {
          this.#ports.push(await this.#listenOnShards(host, listener.port, listener.name, backlog, false))
        }
      } catch (error) {
        throw listenProblem(listener, error)
      }
    }
  }

  /** Before the directory is looked at for a cluster: brokers that start together find each other listening. */
  async #listenForPeers(): Promise<void> {
    const listener = this.#peerListener
    if (listener === undefined) return
    const { host, port } = listener
    try {
      if (canTransferSockets) {
        const acceptor = await listen({ host, port, backlog: 511, reusePort: false }, (socket) =>
          this.#handPeer(socket),
        )
        this.#acceptors.push(acceptor)
        this.#peerPort = acceptor.port
      } else this.#peerPort = await this.#listenOnShards(host, port, '', 511, true)
    } catch (error) {
      throw listenProblem({ host, port }, error)
    }
  }

  async #listenOnShards(
    host: string,
    wantedPort: number,
    listener: string,
    backlog: number,
    isPeer: boolean,
  ): Promise<number> {
    let port = wantedPort
    for (const shard of this.#shards) {
      port = await new Promise<number>((resolve) => {
        shard.listeningPort = resolve
        this.#tell(shard, { type: 'listen', host, port, listener, backlog, isPeer })
      })
    }
    return port
  }

  async #startShards(arenas: readonly SharedArrayBuffer[]): Promise<void> {
    const registration = this.#registration()
    await new Promise<void>((resolve, reject) => {
      this.#ready = { left: this.shardCount, io: '', resolve, reject }
      for (const shard of this.#shards) this.#tell(shard, { type: 'start', arenas, registration })
    })
    this.ioMethod = this.#ready?.io ?? ''
    this.#ready = undefined
  }

  async #startMetrics(): Promise<void> {
    const { metricsPort, metricsHost = '127.0.0.1' } = this.#options
    if (metricsPort === undefined) return
    const { startMetricsEndpoint } = await import('./observe/metrics.ts')
    this.#metrics = await startMetricsEndpoint({
      host: metricsHost,
      port: metricsPort,
      figures: (perPartition) => this.figures(perPartition),
    })
  }

  /** What every shard counts. Not answered for a shard that hangs. */
  figures(perPartition: boolean): Promise<ShardFigures[]> {
    const id = this.#nextFigures++
    return new Promise((resolve) => {
      this.#figures.set(id, { left: this.shardCount, parts: [], resolve })
      for (const shard of this.#shards) this.#tell(shard, { type: 'figures', id, perPartition })
    })
  }

  #endpoints(): { listener: string; host: string; port: number }[] {
    return this.#config.listeners.map(({ name, host, port }, at) => {
      const advertised = this.#config.advertisedListeners.find((listener) => listener.name === name)
      const bound = this.#ports[at] ?? port
      if (advertised !== undefined) {
        return { listener: name, host: advertised.host, port: advertised.port === 0 ? bound : advertised.port }
      }
      const everywhere = host === '' || host === '0.0.0.0' || host === '::'
      return { listener: name, host: everywhere ? hostname() : host, port: bound }
    })
  }

  #registration(): Registration {
    const endpoints = this.#endpoints()
    const { host, port } = endpoints[0]!
    const everywhere = this.#peerListener?.host === '0.0.0.0' || this.#peerListener?.host === '::'
    const peer =
      this.#peerListener === undefined
        ? null
        : { host: everywhere ? hostname() : this.#peerListener.host, port: this.#peerPort }
    return {
      nodeId: this.#config.nodeId,
      host,
      port,
      rack: this.#config.brokerRack,
      endpoints,
      directoryId: this.#record?.directoryId ?? '',
      peer,
      shardCount: this.shardCount,
    }
  }

  #tell(shard: ShardHandle, message: ToShard): void {
    shard.worker.postMessage(message)
  }

  /** To the shard with the fewest connections. */
  #hand(socket: Socket, listener: string): void {
    if (this.#early !== undefined) {
      if (this.#early.length < this.#config.maxConnections) this.#early.push({ socket, listener })
      else socket.destroy()
      return
    }
    if (this.#closing !== undefined) {
      socket.destroy()
      return
    }
    let least = this.#shards[0]!
    let total = 0
    for (const shard of this.#shards) {
      total += shard.connections
      if (shard.connections < least.connections) least = shard
    }
    if (total >= this.#config.maxConnections) {
      socket.destroy()
      return
    }
    least.connections++
    const message: ToShard = { type: 'socket', id: this.#nextConnection++, listener, socket }
    try {
      least.worker.postMessage(message, [socket as unknown as MessagePort])
    } catch {
      // The peer was gone before its socket could be moved.
      least.connections--
      socket.destroy()
    }
  }

  /** To one shard after the other; a shard that is not the one meant says so, and the peer dials again. */
  #handPeer(socket: Socket): void {
    const shard = this.#shards[this.#nextPeerShard++ % this.#shards.length]
    if (shard === undefined || this.#closing !== undefined) {
      socket.destroy()
      return
    }
    try {
      shard.worker.postMessage({ type: 'peer-socket', socket } satisfies ToShard, [socket as unknown as MessagePort])
    } catch {
      // The peer was gone before its socket could be moved.
      socket.destroy()
    }
  }

  async #saveIdentity(shard: ShardHandle, identity: NodeIdentity): Promise<void> {
    const record: DirectoryRecord = { ...this.#record!, identity }
    await writeRecord(this.#disk!, this.dataDirectory, record)
    this.#record = record
    this.#tell(shard, { type: 'identity-saved' })
  }

  #received(shard: ShardHandle, message: FromShard): void {
    switch (message.type) {
      case 'arena': {
        this.#arenaBuffers[this.#shards.indexOf(shard)] = message.buffer
        if (this.#arenaBuffers.filter(Boolean).length === this.shardCount) this.#arenasReady?.()
        return
      }
      case 'ready': {
        const ready = this.#ready
        if (ready === undefined) return
        ready.io = message.io
        if (--ready.left === 0) ready.resolve()
        return
      }
      case 'listening':
        shard.listeningPort?.(message.port)
        return
      case 'identity':
        this.#saveIdentity(shard, message.identity).catch((error: unknown) => {
          this.#fatal(operatorErrorOf(directoryProblem(this.dataDirectory, error)))
        })
        return
      case 'closed-connection':
        shard.connections--
        return
      case 'figures': {
        const waiting = this.#figures.get(message.id)
        if (waiting === undefined) return
        waiting.parts.push(message.figures)
        if (--waiting.left > 0) return
        this.#figures.delete(message.id)
        waiting.resolve(waiting.parts)
        return
      }
      case 'log':
        this.#options.logger[message.level](message.message)
        return
      case 'failed':
        this.#fatal(new OperatorError(message.code, message.message, message.whatToDo))
        return
      case 'stopped':
        shard.stopped?.()
        return
    }
  }

  #exited(shard: ShardHandle, code: number): void {
    shard.stopped?.()
    if (this.#closing === undefined && code !== 0) {
      this.#fatal(
        new OperatorError('SHARD_EXITED', `a shard's thread ended with code ${code}`, 'Start the broker again.'),
      )
    }
  }

  #fatal(error: OperatorError): void {
    if (this.#ready !== undefined) this.#ready.reject(error)
    else if (this.#closing === undefined) this.#options.onFatal(error)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const { socket } of this.#early ?? []) socket.destroy()
    const accepting = this.#acceptors.map((acceptor) => acceptor.close())
    await Promise.all(
      this.#shards.map(
        (shard) =>
          new Promise<void>((resolve) => {
            const late = setTimeout(resolve, STOP_MS_MAX)
            shard.stopped = () => {
              clearTimeout(late)
              resolve()
            }
            this.#tell(shard, { type: 'stop' })
          }),
      ),
    )
    const ended = Promise.all(this.#shards.map((shard) => shard.worker.terminate()))
    const late = new Promise<'late'>((resolve) => setTimeout(resolve, END_MS_MAX, 'late').unref())
    if ((await Promise.race([ended, late])) === 'late') {
      throw new OperatorError(
        DISK_HANGS,
        `the disk of ${this.dataDirectory} does not answer, and the broker stops without it`,
        'What was acknowledged is on enough disks; start the broker again when this one answers.',
      )
    }
    await Promise.all(accepting)
    await this.#metrics?.close()
    await this.#directory?.lock.release()
    await this.#disk?.close()
    if (this.#firstBell >= 0) for (let at = 0; at < this.shardCount; at++) bellsInUse.delete(this.#firstBell + at)
  }
}

/** Four of them are a shard's journal ring: large enough to be rare to turn, small beside the memory that they stand behind. */
export function journalFileBytes(shardMemoryBytes: number): number {
  const target = shardMemoryBytes / 8
  for (let bytes = 64 << 20; bytes > 8 << 20; bytes /= 2) if (bytes <= target) return bytes
  return 8 << 20
}

function listenProblem(listener: Pick<Listener, 'host' | 'port'>, error: unknown): unknown {
  if (error instanceof DiskError || !(error instanceof Error) || !('code' in error)) return error
  const address = `${listener.host === '' ? '*' : listener.host}:${listener.port}`
  const advice =
    error.code === 'EADDRINUSE'
      ? 'Stop what listens there, or choose another port with --port.'
      : 'Choose another address.'
  return new OperatorError('CANNOT_LISTEN', `cannot listen on ${address}: ${String(error.code)}`, advice, {
    cause: error,
  })
}
