// Log lines of the broker on standard error: one line each, time first.

import type { Logger } from '../environment.ts'

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** @param level the least urgent one that is written */
export function consoleLogger(level: LogLevel): Logger {
  const upTo = LOG_LEVELS.indexOf(level)
  const write = (at: LogLevel) => {
    if (LOG_LEVELS.indexOf(at) > upTo) return () => {}
    return (message: string, fields?: Record<string, unknown>): void => {
      const more = fields === undefined ? '' : ` ${JSON.stringify(fields)}`
      process.stderr.write(`${new Date().toISOString()} ${at.toUpperCase().padEnd(5)} ${message}${more}\n`)
    }
  }
  return { error: write('error'), warn: write('warn'), info: write('info'), debug: write('debug') }
}

export const silentLogger: Logger = { error() {}, warn() {}, info() {}, debug() {} }
