// A broker as a process: started from flags, its three lines printed, stopped by a signal.
//
// What `npm start` (main.ts) and `millrace start` (cli/start.ts) have in common. Runs on the main thread.

import { LEFT_BEHIND } from './cluster/node-identity.ts'
import { complain } from './complain.ts'
import { consoleLogger, LOG_LEVELS, type LogLevel } from './observe/log.ts'
import { OperatorError } from './operator-error.ts'
import { DISK_HANGS, type RunningServer, startServer } from './server.ts'
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
    server.close().then(() => process.exit(0), fail)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  const fail = (error: unknown): void => {
    complain(error)
    // An exit waits for all threads, and some of them for the disk.
    if (error instanceof OperatorError && error.code === DISK_HANGS) process.kill(process.pid, 'SIGKILL')
    process.exit(1)
  }
  const start = async (): Promise<void> => {
    for (;;) {
      try {
        server = await startServer({ settings, shardCount, memoryBytes, metricsPort, logger, onFatal: failed })
        break
      } catch (error) {
        if (!isLeftBehind(error)) throw error
        logger.warn(`${error.message}: it starts again to join that one`)
      }
    }
    // Last, because whoever waits for these lines may stop us right after.
    process.stdout.write(
      `Millrace listening on ${server.bootstrapServers} (${server.shardCount} shards)\n` +
        `data in ${server.dataDirectory} (${server.ioMethod})\n` +
        `metrics at ${server.metricsUrl ?? 'no port'}\n`,
    )
  }
  /** While it runs. What was promised until then is on disk, and the next start decides by that alone. */
  const failed = (error: OperatorError): void => {
    const running = server
    if (!isLeftBehind(error) || running === undefined) return fail(error)
    if (stopping) return
    server = undefined
    logger.warn(`${error.message}: it starts again to join that one`)
    running.close().then(start).catch(fail)
  }
  await start()
}

function isLeftBehind(error: unknown): error is OperatorError {
  return error instanceof OperatorError && error.code === LEFT_BEHIND
}
