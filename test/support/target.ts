// The broker a client suite runs against: Millrace by default, Apache Kafka to prove the suite right, or any address.
//
//   MILLRACE_TEST_BROKER=kafka        start Apache Kafka 4.3.0 instead of Millrace
//   MILLRACE_TEST_BOOTSTRAP=host:port use a broker that is already there

import { MillraceBroker } from './broker.ts'
import { KafkaBroker } from './kafka.ts'

export interface Target {
  readonly kind: 'millrace' | 'kafka' | 'external'
  /** host:port */
  readonly bootstrap: string
  readonly host: string
  readonly port: number
  /** Where the broker we started keeps its files; undefined for a broker that was already there. */
  readonly directory: string | undefined
  /** Process that can be looked at; undefined for one that was already there. */
  readonly pid: number | undefined
  close(): Promise<void>
}

export interface TargetOptions {
  /** Kafka properties for the broker, whichever it is. */
  properties?: Readonly<Record<string, string>>
  shards?: number
  /** Millrace inside this process, through startBroker, instead of as a child. */
  inProcess?: boolean
}

export async function openTarget(options: TargetOptions = {}): Promise<Target> {
  const external = process.env.MILLRACE_TEST_BOOTSTRAP
  if (external !== undefined && external !== '') {
    const [host = '127.0.0.1', port = '9092'] = external.split(':')
    const close = async () => {}
    return {
      kind: 'external',
      bootstrap: external,
      host,
      port: Number(port),
      directory: undefined,
      pid: undefined,
      close,
    }
  }
  if (process.env.MILLRACE_TEST_BROKER === 'kafka') {
    const kafka = await KafkaBroker.start({ properties: options.properties })
    return {
      kind: 'kafka',
      bootstrap: kafka.bootstrap,
      host: '127.0.0.1',
      port: kafka.port,
      directory: kafka.directory,
      pid: kafka.child.pid,
      close: () => kafka.close(),
    }
  }
  if (options.inProcess) return openInProcess()
  const broker = await MillraceBroker.start({
    properties: { 'group.initial.rebalance.delay.ms': '0', ...options.properties },
    shards: options.shards ?? 2,
    memory: '256m',
  })
  return {
    kind: 'millrace',
    bootstrap: broker.bootstrap,
    host: '127.0.0.1',
    port: broker.port,
    directory: broker.dataDir,
    pid: broker.pid,
    close: () => broker.close(),
  }
}

async function openInProcess(): Promise<Target> {
  // Loaded when asked for: a suite that runs against Kafka needs none of our sources.
  const { startBroker } = await import('../../broker/embedded.ts')
  const broker = await startBroker({ port: 0 })
  const [host = '127.0.0.1', port = ''] = broker.bootstrapServers.split(':')
  return {
    kind: 'millrace',
    bootstrap: broker.bootstrapServers,
    host,
    port: Number(port),
    directory: undefined,
    pid: process.pid,
    close: () => broker.close(),
  }
}
