// The options that every command talking to a cluster has, and the cluster they lead to.

import type { Argv } from 'yargs'
import { Cluster } from './client/cluster.ts'
import { UsageError } from './exit.ts'
import { parseBootstrap, parseDurationMs } from './parse.ts'

export const DEFAULT_BOOTSTRAP = '127.0.0.1:9092'
/** After Kafka's own tools, whose users need not relearn. */
const BOOTSTRAP_ALIASES = ['b', 'bootstrap-server', 'brokers']

export interface ClientArguments {
  readonly bootstrap: string
  readonly json: boolean
  readonly timeout: string
}

/** Adds --bootstrap, --json and --timeout. */
export function clientOptions<T>(
  yargs: Argv<T>,
  jsonMeaning = 'Print JSON instead of tables',
): Argv<T & ClientArguments> {
  return yargs
    .option('bootstrap', {
      alias: BOOTSTRAP_ALIASES,
      type: 'string',
      requiresArg: true,
      default: process.env.MILLRACE_BOOTSTRAP || DEFAULT_BOOTSTRAP,
      defaultDescription: `$MILLRACE_BOOTSTRAP or ${DEFAULT_BOOTSTRAP}`,
      describe: 'Brokers to start from, host:port[,host:port]',
    })
    .option('json', { type: 'boolean', default: false, describe: jsonMeaning })
    .option('timeout', {
      type: 'string',
      requiresArg: true,
      default: '30s',
      describe: 'How long to wait for the cluster, tries included',
    })
}

/** Runs a command's work on a cluster and closes its connections, whatever happens. */
export async function withCluster<T>(args: ClientArguments, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  const timeoutMs = parseDurationMs(/^\d+$/.test(args.timeout) ? `${args.timeout}ms` : args.timeout)
  if (timeoutMs < 1) throw new UsageError('--timeout must be longer than nothing')
  const cluster = new Cluster({ bootstrap: parseBootstrap(args.bootstrap), timeoutMs })
  try {
    return await work(cluster)
  } finally {
    cluster.close()
  }
}

/** What was given for an option that may be repeated; a single one is no array to yargs. */
export function listOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return []
  return typeof value === 'string' ? [value] : value
}
