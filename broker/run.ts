// A broker as a process: started from flags, its three lines printed, stopped by a signal.
//
// What `npm start` (main.ts) and `millrace start` (cli/start.ts) have in common. Runs on the main thread.

import { complain } from './complain.ts'
import { consoleLogger, LOG_LEVELS, type LogLevel } from './observe/log.ts'
import { type RunningServer, startServer } from './server.ts'
import { type StartFlags, settingsFrom } from './start-flags.ts'

/**
 * Starts a broker and returns when it is ready; from then on it ends the process itself, with 0 after SIGTERM or SIGINT.
 * @throws OperatorError
 */
export async function runBroker(flags: StartFlags): Promise<void> {
  const level = process.env.MILLRACE_LOG ?? 'warn'
  const logger = consoleLogger(LOG_LEVELS.includes(level as LogLevel) ? (level as LogLevel) : 'warn')
  const { settings, shardCount, memoryBytes, metricsPort } = await settingsFrom(flags)
  let server: RunningServer | undefined
  let stopping = false
  const stop = (): void => {
    if (stopping) return
    stopping = true
    // A broker that still looks for its cluster has promised nothing to anybody.
    if (server === undefined) process.exit(0)
    server.close().then(
      () => process.exit(0),
      (error) => {
        complain(error)
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  server = await startServer({
    settings,
    shardCount,
    memoryBytes,
    metricsPort,
    logger,
    onFatal(error) {
      complain(error)
      process.exit(1)
    },
  })
  // Last, because whoever waits for these lines may stop us right after.
  process.stdout.write(
    `Millrace listening on ${server.bootstrapServers} (${server.shardCount} shards)\n` +
      `data in ${server.dataDirectory} (${server.ioMethod})\n` +
      `metrics at ${server.metricsUrl ?? 'no port'}\n`,
  )
}
