// The flags of `npm start` and `millrace start`, and the settings they come to.

import { readFile } from 'node:fs/promises'
import { parseProperties } from './config/properties.ts'
import { parseSetting } from './config.ts'
import { OperatorError } from './operator-error.ts'

/** In the form of node:util parseArgs. */
export const START_FLAGS = {
  port: { type: 'string' },
  host: { type: 'string' },
  'data-dir': { type: 'string' },
  shards: { type: 'string' },
  memory: { type: 'string' },
  config: { type: 'string' },
  set: { type: 'string', multiple: true },
  'metrics-port': { type: 'string' },
  'node-id': { type: 'string' },
  'peer-port': { type: 'string' },
  'peer-host': { type: 'string' },
  seed: { type: 'string', multiple: true },
} as const

export interface StartFlags {
  readonly port?: string
  readonly host?: string
  readonly 'data-dir'?: string
  readonly shards?: string
  readonly memory?: string
  /** A Kafka properties file. */
  readonly config?: string
  /** name=value, stronger than the file. */
  readonly set?: readonly string[]
  readonly 'metrics-port'?: string
  readonly 'node-id'?: string
  /** Port for other brokers; without it the broker is alone. */
  readonly 'peer-port'?: string
  readonly 'peer-host'?: string
  /** host:port of peer listeners, with commas between them or one per flag. */
  readonly seed?: string | readonly string[]
}

export interface StartSettings {
  readonly settings: readonly (readonly [string, string])[]
  readonly shardCount: number | undefined
  readonly memoryBytes: number | undefined
  readonly metricsPort: number
}

const DEFAULT_PORT = 9092
const DEFAULT_METRICS_PORT = 9644
const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1 << 10, m: 1 << 20, g: 1 << 30 }

/**
 * Defaults, then the properties file, then --set, then the flags that stand for a property.
 * @throws OperatorError for a value that cannot be read
 */
export async function settingsFrom(flags: StartFlags): Promise<StartSettings> {
  const settings = new Map<string, string>()
  if (flags.config !== undefined) {
    for (const [name, value] of parseProperties(await readProperties(flags.config))) settings.set(name, value)
  }
  for (const text of flags.set ?? []) {
    const [name, value] = parseSetting(text)
    settings.set(name, value)
  }
  if (flags['data-dir'] !== undefined) {
    settings.delete('log.dirs')
    settings.set('log.dir', flags['data-dir'])
  } else if (!settings.has('log.dirs') && !settings.has('log.dir')) {
    settings.set('log.dir', './data')
  }
  if (flags.port !== undefined || flags.host !== undefined || !settings.has('listeners')) {
    const port = wholeNumber('--port', flags.port, 0, 65_535) ?? DEFAULT_PORT
    const host = flags.host ?? '127.0.0.1'
    settings.set('listeners', `PLAINTEXT://${host.includes(':') ? `[${host}]` : host}:${port}`)
  }
  const nodeId = wholeNumber('--node-id', flags['node-id'], 0, 0x7fff_ffff)
  if (nodeId !== undefined) {
    settings.delete('broker.id')
    settings.set('node.id', String(nodeId))
  }
  setPeers(flags, settings)
  return {
    settings: [...settings],
    shardCount: wholeNumber('--shards', flags.shards, 1, 64),
    memoryBytes: flags.memory === undefined ? undefined : parseSize('--memory', flags.memory),
    metricsPort: wholeNumber('--metrics-port', flags['metrics-port'], 0, 65_535) ?? defaultMetricsPort(flags.port),
  }
}

function setPeers(flags: StartFlags, settings: Map<string, string>): void {
  const port = wholeNumber('--peer-port', flags['peer-port'], 0, 65_535)
  const host = flags['peer-host']
  if (port !== undefined) {
    const address = host ?? '127.0.0.1'
    settings.set('millrace.peer.listener', `${address.includes(':') ? `[${address}]` : address}:${port}`)
  }
  const seeds = [flags.seed ?? []].flat().flatMap((text) => text.split(','))
  if (seeds.length > 0) settings.set('millrace.seeds', seeds.map((seed) => seed.trim()).join(','))
  if (!settings.has('millrace.peer.listener') && (settings.has('millrace.seeds') || host !== undefined)) {
    throw new OperatorError(
      'PEER_PORT_MISSING',
      `${host === undefined ? '--seed' : '--peer-host'} is given without --peer-port`,
      'Give --peer-port the port on which other brokers reach this one.',
    )
  }
}

/** A broker on a port of its own choosing gets a free metrics port, so that several can be started side by side. */
function defaultMetricsPort(port: string | undefined): number {
  return port === undefined || Number(port) === DEFAULT_PORT ? DEFAULT_METRICS_PORT : 0
}

async function readProperties(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new OperatorError(
      'CONFIG_UNREADABLE',
      `cannot read ${file}`,
      'Give --config the path of a properties file.',
      {
        cause,
      },
    )
  }
}

function wholeNumber(flag: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new OperatorError('FLAG_INVALID', `${flag} ${text}`, `Give ${flag} a whole number from ${least} to ${most}.`)
  }
  return value
}

/** '512MiB', '2g', '1073741824'. @throws OperatorError */
export function parseSize(flag: string, text: string): number {
  const parts = /^(\d+(?:\.\d+)?)\s*([kmg]?)i?b?$/i.exec(text.trim())
  const unit = UNITS[parts?.[2]?.toLowerCase() ?? '?']
  if (parts === null || unit === undefined) {
    throw new OperatorError('FLAG_INVALID', `${flag} ${text}`, `Give ${flag} a size such as 512MiB or 2GiB.`)
  }
  return Math.floor(Number(parts[1]) * unit)
}
