// Process entry: flags, shards, signals, nothing else.
//
//   node broker/main.ts --port N --host H --data-dir DIR --shards N --memory SIZE --config FILE --set name=value --metrics-port N

import { parseArgs } from 'node:util'
import { consoleLogger, LOG_LEVELS, type LogLevel } from './observe/log.ts'
import { OperatorError } from './operator-error.ts'
import { startServer } from './server.ts'
import { START_FLAGS, type StartFlags, settingsFrom } from './start-flags.ts'

async function main(): Promise<void> {
  const level = process.env.MILLRACE_LOG ?? 'warn'
  const logger = consoleLogger(LOG_LEVELS.includes(level as LogLevel) ? (level as LogLevel) : 'warn')
  const { values } = parseArgs({ args: process.argv.slice(2), options: START_FLAGS, strict: true })
  const { settings, shardCount, memoryBytes, metricsPort } = await settingsFrom(values as StartFlags)
  const server = await startServer({
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
  process.stdout.write(
    `Millrace listening on ${server.bootstrapServers} (${server.shardCount} shards)\n` +
      `data in ${server.dataDirectory} (${server.ioMethod})\n` +
      `metrics at ${server.metricsUrl ?? 'no port'}\n`,
  )
  let stopping = false
  const stop = (): void => {
    if (stopping) return
    stopping = true
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
}

/** An operator's mistake is one line; only our own mistakes show where they happened. */
function complain(error: unknown): void {
  if (error instanceof OperatorError) {
    process.stderr.write(`millrace: ${error.message}. ${error.whatToDo} [${error.code}]\n`)
  } else if (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) {
    process.stderr.write(`millrace: ${error.message.split('. ')[0]}. See --help of the millrace command.\n`)
  } else {
    process.stderr.write(`millrace: ${error instanceof Error ? error.stack : String(error)}\n`)
  }
}

main().catch((error: unknown) => {
  complain(error)
  process.exit(1)
})
