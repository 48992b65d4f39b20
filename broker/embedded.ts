// The broker inside an application or a test: `import { startBroker } from 'millrace'`.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { consoleLogger, type LogLevel, silentLogger } from './observe/log.ts'
import { startServer } from './server.ts'

export { OperatorError } from './operator-error.ts'

export interface StartBrokerOptions {
  /** 0, the default: any free port. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Kept at close. Without it a temporary directory is used and removed at close. */
  readonly dataDir?: string
  /** Default 1. */
  readonly shards?: number
  /** Bytes for batches in flight and in cache; default 64 MiB. */
  readonly memory?: number
  /** Kafka properties, e.g. { 'group.initial.rebalance.delay.ms': '0' }. */
  readonly config?: Readonly<Record<string, string | number | boolean>>
  /** An HTTP port for metrics; none without it. */
  readonly metricsPort?: number
  readonly logLevel?: LogLevel | 'silent'
}

export interface EmbeddedBroker {
  /** host:port, for a client's list of brokers. */
  readonly bootstrapServers: string
  readonly metricsUrl: string | undefined
  /** Finishes what is in flight, syncs, and removes the temporary directory. */
  close(): Promise<void>
}

const MEMORY_BYTES = 64 << 20

/** @throws OperatorError when the machine or a setting does not allow it */
export async function startBroker(options: StartBrokerOptions = {}): Promise<EmbeddedBroker> {
  const { port = 0, host = '127.0.0.1', dataDir, shards = 1, memory = MEMORY_BYTES, metricsPort } = options
  const temporary = dataDir === undefined ? await mkdtemp(path.join(tmpdir(), 'millrace-')) : undefined
  const configured = Object.entries(options.config ?? {}).map(([name, value]) => [name, String(value)] as const)
  const logLevel = options.logLevel ?? 'warn'
  const remove = async (): Promise<void> => {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
  }
  try {
    const server = await startServer({
      settings: [
        ['group.initial.rebalance.delay.ms', '0'],
        ...configured,
        ['log.dir', dataDir ?? temporary ?? ''],
        ['listeners', `PLAINTEXT://${host.includes(':') ? `[${host}]` : host}:${port}`],
      ],
      shardCount: shards,
      memoryBytes: memory,
      metricsPort,
      logger: logLevel === 'silent' ? silentLogger : consoleLogger(logLevel),
      onFatal(error) {
        // The application cannot go on without its broker any more than a broker without its shard.
        throw error
      },
    })
    return {
      bootstrapServers: server.bootstrapServers,
      metricsUrl: server.metricsUrl,
      async close() {
        await server.close()
        await remove()
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}
