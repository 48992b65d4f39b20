// What a broker process says when it cannot start or go on.
//
// Used by main.ts and run.ts, on the main thread. A file of its own, so that a process can complain before it has loaded a broker.

import { OperatorError } from './operator-error.ts'

/** An operator's mistake is one line; only our own mistakes show where they happened. */
export function complain(error: unknown): void {
  if (error instanceof OperatorError) {
    process.stderr.write(`millrace: ${error.message}. ${error.whatToDo} [${error.code}]\n`)
  } else if (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) {
    process.stderr.write(`millrace: ${error.message.split('. ')[0]}. See --help of the millrace command.\n`)
  } else {
    process.stderr.write(`millrace: ${error instanceof Error ? error.stack : String(error)}\n`)
  }
}
