// Log lines of the broker on standard error: one line each, time first.

import type { Logger } from '../environment.ts'
import { type LoggerLevel, LogThreshold } from './log-level.ts'

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** @param level the least urgent one that is written at first; the logger's threshold changes it */
export function consoleLogger(level: LogLevel): Logger {
  const threshold = LogThreshold.at(level.toUpperCase() as LoggerLevel)
  const write = (at: LogLevel) => {
    const name = at.toUpperCase() as LoggerLevel
    return (message: string, fields?: Record<string, unknown>): void => {
      if (!threshold.writes(name)) return
      const more = fields === undefined ? '' : ` ${JSON.stringify(fields)}`
      process.stderr.write(`${new Date().toISOString()} ${name.padEnd(5)} ${message}${more}\n`)
    }
  }
  return { error: write('error'), warn: write('warn'), info: write('info'), debug: write('debug'), threshold }
}

export const silentLogger: Logger = { error() {}, warn() {}, info() {}, debug() {} }
