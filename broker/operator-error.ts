// What the operator must hear when the machine or its settings failed: one clear line, and what to do about it.
//
// Thrown while a broker starts or is configured, on any thread; main.ts prints it and exits. Never thrown for what a client sent.

import { StorageCorruption } from '../storage/corruption.ts'
import { DiskError } from '../storage/disk.ts'

export class OperatorError extends Error {
  /** UPPER_SNAKE, for scripts and for looking it up. */
  readonly code: string
  /** One sentence: what the operator can change. */
  readonly whatToDo: string

  /**
   * @param code UPPER_SNAKE name of the failure
   * @param message what we were doing and what went wrong, one line
   * @param whatToDo what the operator can change, one sentence
   */
  constructor(code: string, message: string, whatToDo: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'OperatorError'
    this.code = code
    this.whatToDo = whatToDo
  }
}

/**
 * What the operator is told of any failure that ends a shard or keeps it from starting.
 * @param error an OperatorError is taken as it is; a damaged file and a refusing disk say themselves what and where
 */
export function operatorErrorOf(error: unknown): OperatorError {
  if (error instanceof OperatorError) return error
  if (error instanceof StorageCorruption) {
    const message = error.message.slice(0, error.message.length - error.advice.length).replace(/\.? *$/, '')
    return new OperatorError('STORAGE_DAMAGED', message, error.advice, { cause: error })
  }
  if (error instanceof DiskError) {
    const whatToDo =
      error.code === 'ENOSPC' || error.code === 'EDQUOT'
        ? 'Make room on the disk, or give this user a larger quota.'
        : 'See that the disk is sound and this user may use the files.'
    return new OperatorError('DISK_FAILED', error.message, whatToDo, { cause: error })
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return new OperatorError(
    'SHARD_FAILED',
    `a shard failed: ${text}`,
    'Start the broker again; it recovers from its journal.',
    {
      cause: error,
    },
  )
}
