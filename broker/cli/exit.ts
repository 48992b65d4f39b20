// How a command ends: the exit codes that scripts rely on, and the one line that says what went wrong.
//
// Pure but for process-wide flags it reads; main.ts prints and sets the code.

import { OperatorError } from '../operator-error.ts'
import { NoSuchItem } from './client/cluster.ts'
import { ConnectionLost, Refused, Unreachable, Unsupported } from './client/errors.ts'
import { DamagedRecords } from './client/fetcher.ts'

export const ExitCode = {
  /** It is done. */
  DONE: 0,
  /** The broker refused, is not there, or the file is damaged. */
  REFUSED: 1,
  /** The command makes no sense as it was typed. */
  USAGE: 2,
} as const
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** The command line, or a file named on it, cannot be understood. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

/** What the command found is not what it should be; said in one line. */
export class CommandFailed extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CommandFailed'
  }
}

/** The line to print and the code to exit with. */
export function outcomeOf(error: unknown): { line: string; exitCode: ExitCode } {
  if (error instanceof UsageError) return { line: oneLine(error.message), exitCode: ExitCode.USAGE }
  if (error instanceof OperatorError) {
    return {
      line: `${oneLine(error.message)}. ${error.whatToDo} [${error.code}]`,
      exitCode: error.code.startsWith('FLAG_') || error.code.startsWith('CONFIG_') ? ExitCode.USAGE : ExitCode.REFUSED,
    }
  }
  if (error instanceof Refused)
    return { line: `${oneLine(error.message)} [${error.errorName}]`, exitCode: ExitCode.REFUSED }
  if (
    error instanceof NoSuchItem ||
    error instanceof Unreachable ||
    error instanceof ConnectionLost ||
    error instanceof Unsupported ||
    error instanceof DamagedRecords ||
    error instanceof CommandFailed
  ) {
    return { line: oneLine(error.message), exitCode: ExitCode.REFUSED }
  }
  if (error instanceof Error && 'syscall' in error)
    return { line: oneLine(fileProblem(error)), exitCode: ExitCode.USAGE }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { line: `this is a mistake of millrace itself: ${oneLine(message)}`, exitCode: ExitCode.REFUSED }
}

const FILE_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'it may not be read by this user',
  EISDIR: 'it is a directory',
}

function fileProblem(error: Error): string {
  const code = 'code' in error ? String(error.code) : ''
  const path = 'path' in error ? String(error.path) : 'a file'
  return `cannot read ${path}: ${FILE_PROBLEMS[code] ?? error.message}`
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}
