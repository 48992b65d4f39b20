// Entry of a shard's worker thread: makes the real environment, then the shard, and speaks with the main thread.

import type { Socket } from 'node:net'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { parentPort, workerData } from 'node:worker_threads'
import { loadNative } from '../../native/index.ts'
import { setCrc32c } from '../../protocol/records/crc32c.ts'
import { Arena } from '../../storage/arena.ts'
import { type DiskMethod, openDisk } from '../../storage/open-disk.ts'
import { BrokerConfig } from '../config.ts'
import { type Environment, type Logger, systemClock, systemRandom } from '../environment.ts'
import { listen, READ_BUFFER_BYTES, TcpStreamSocket, tcpNetwork } from '../net/tcp.ts'
import type { LogLevel } from '../observe/log.ts'
import { type LoggerLevel, LogThreshold } from '../observe/log-level.ts'
import type { ShardFigures } from '../observe/shard-metrics.ts'
import { operatorErrorOf } from '../operator-error.ts'
import type { FromShard, ToShard, WorkerSetup } from './messages.ts'
import { NativeLoopHook } from './native-wake.ts'
import { Shard, type ShardOptions } from './shard.ts'
import { AtomicsLoopHook } from './wake.ts'

const setup = workerData as WorkerSetup
const config = new BrokerConfig(setup.settings)
const port = parentPort!
const tell = (message: FromShard): void => port.postMessage(message)

const threshold = setup.logThreshold === undefined ? undefined : new LogThreshold(setup.logThreshold)
const say = (level: LogLevel) => {
  const name = level.toUpperCase() as LoggerLevel
  return (message: string): void => {
    if (threshold?.writes(name) !== false) tell({ type: 'log', level, message })
  }
}
const logger: Logger = { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug'), threshold }

const native = loadNative()
if (native !== undefined) {
  setCrc32c((bytes, start, end, seed) => native.crc32c(bytes, start, end, seed))
  native.setThreadName(`shard-${setup.shardId}`)
  if (setup.core >= 0) native.pinThread(setup.core)
}

const arena = Arena.create(setup.memoryBytes)
tell({ type: 'arena', buffer: arena.buffer })

/** The timer that is watched wakes an idle shard: often enough to see a stall, rarely enough to cost nothing. */
const DELAY_TIMER_MS = 100
const delay = monitorEventLoopDelay({ resolution: DELAY_TIMER_MS })
/** What is recorded is the time from one wake-up to the next. */
const lateMs = (ns: number): number => Math.max(0, ns * 1e-6 - DELAY_TIMER_MS)
const gc = { count: 0, sumMs: 0, maxMs: 0 }
const observer = new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) {
    gc.count++
    gc.sumMs += duration
    if (duration > gc.maxMs) gc.maxMs = duration
  }
})

const readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
/** Takes clients: everything that it needs to answer them is there. */
let shard: Shard | undefined
/** The same one from its making on: it speaks with other brokers before it is ready. */
let starting: Shard | undefined
let identitySaved: (() => void) | undefined
let nextLocalConnection = 0

function fail(error: unknown): void {
  const { code, message, whatToDo } = operatorErrorOf(error)
  tell({ type: 'failed', code, message, whatToDo })
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)

async function start(arenas: readonly SharedArrayBuffer[], registration: ShardOptions['registration']): Promise<void> {
  const disk = await openDisk(setup.dataDirectory, { method: setup.ioMethod as DiskMethod })
  const environment: Environment = {
    clock: systemClock,
    random: systemRandom,
    disk,
    network: tcpNetwork(readBuffer),
    logger,
  }
  const { shardId, shardCount, wakeMemory, firstBell } = setup
  const hook =
    native === undefined
      ? new AtomicsLoopHook(wakeMemory, shardId, shardCount)
      : new NativeLoopHook(native, wakeMemory, shardId, shardCount, firstBell)
  const { peer, identity } = setup
  starting = new Shard({
    shardId,
    shardCount,
    environment,
    config,
    dataDirectory: setup.dataDirectory,
    journalDirectory: setup.journalDirectory,
    journalFileBytes: setup.journalFileBytes,
    arena,
    arenas: arenas.map((buffer) => Buffer.from(buffer)),
    rings: setup.rings,
    hook,
    registration,
    peer,
    identity,
    saveIdentity: (known) =>
      new Promise((resolve) => {
        identitySaved = resolve
        tell({ type: 'identity', identity: known })
      }),
    onFailure: fail,
  })
  starting.onConnectionClosed = () => {
    connections--
    tell({ type: 'closed-connection' })
  }
  for (const socket of earlyPeers.splice(0)) acceptPeer(socket)
  await starting.start()
  shard = starting
  for (const [id, socket, listener] of early.splice(0)) accept(id, socket, listener)
  delay.enable()
  observer.observe({ entryTypes: ['gc'] })
  tell({ type: 'ready', io: disk.description })
}

/** Accepted by this shard itself before it was ready. */
const early: [number, Socket, string][] = []
/** Open ones, with the early. */
let connections = 0

function accept(id: number, socket: Socket, listener: string): void {
  connections++
  if (shard === undefined) early.push([id, socket, listener])
  else shard.accept(id, new TcpStreamSocket(socket, readBuffer), listener)
}

/** Where shards listen themselves nobody counts the connections of all of them: each holds its share of max.connections. */
function acceptWithinShare(socket: Socket, listener: string): void {
  if (connections >= Math.ceil(config.maxConnections / setup.shardCount)) socket.destroy()
  else accept(++nextLocalConnection * setup.shardCount + setup.shardId, socket, listener)
}

/** More than brokers that dial while this one starts. */
const EARLY_PEERS_MAX = 1024
/** Accepted from other brokers before there was a shard to speak with them. */
const earlyPeers: Socket[] = []

function acceptPeer(socket: Socket): void {
  if (starting === undefined) {
    if (earlyPeers.length < EARLY_PEERS_MAX) earlyPeers.push(socket)
    else socket.destroy()
  } else starting.acceptPeer(new TcpStreamSocket(socket, readBuffer))
}

function figures(running: Shard, perPartition: boolean): ShardFigures {
  const partitions = perPartition
    ? [...running.partitions()].map((partition) => ({
        topic: partition.topic,
        partition: partition.partition,
        logStartOffset: partition.logStartOffset,
        logEndOffset: partition.log.logEndOffset,
        highWatermark: partition.highWatermark,
        sizeBytes: partition.log.sizeBytes,
      }))
    : []
  const result: ShardFigures = {
    shardId: running.shardId,
    apis: running.metrics.apis(),
    connections: running.connectionCount,
    connectionsRefused: running.metrics.connectionsRefused,
    partitions,
    groupOffsets: perPartition ? running.groupOffsets() : [],
    fetchSessions: running.fetchSessions.count,
    mailboxQueued: running.mailboxQueued,
    peerLoads: Array.from(running.peerLoads, (load) => load / 0xffff),
    storage: { ...running.storageStats() },
    eventLoopDelayMs: { mean: lateMs(delay.mean), p99: lateMs(delay.percentile(99)), max: lateMs(delay.max) },
    gc: { ...gc },
    heapUsedBytes: process.memoryUsage().heapUsed,
  }
  delay.reset()
  return result
}

async function stop(): Promise<void> {
  try {
    await starting?.stop()
  } catch (error) {
    fail(error)
  } finally {
    tell({ type: 'stopped' })
    port.close()
  }
}

port.on('message', (message: ToShard) => {
  switch (message.type) {
    case 'start':
      start(message.arenas, message.registration).catch(fail)
      return
    case 'socket':
      accept(message.id, message.socket, message.listener)
      return
    case 'peer-socket':
      acceptPeer(message.socket)
      return
    case 'identity-saved':
      identitySaved?.()
      return
    case 'listen': {
      const { host, port: listenPort, listener, backlog, isPeer } = message
      listen({ host, port: listenPort, backlog, reusePort: true }, (socket) => {
        if (isPeer) acceptPeer(socket)
        else acceptWithinShare(socket, listener)
      }).then(({ port: bound }) => tell({ type: 'listening', port: bound }), fail)
      return
    }
    case 'figures':
      if (shard !== undefined) tell({ type: 'figures', id: message.id, figures: figures(shard, message.perPartition) })
      return
    case 'stop':
      void stop()
      return
  }
})
