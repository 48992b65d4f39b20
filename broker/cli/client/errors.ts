// What can go wrong between this client and a cluster, and whether trying again may help.
//
// Thrown by everything in this folder, on the command's one thread; ../exit.ts turns it into one line and an exit code.

import { type ErrorName, errorName, isRetriable } from '../../../protocol/errors.ts'

/** A broker answered with an error code. */
export class Refused extends Error {
  readonly code: number
  readonly errorName: ErrorName
  readonly retriable: boolean

  /**
   * @param what what was asked, as in "cannot create topic orders"
   * @param brokerMessage the broker's own words; without them the code's name is all there is to say
   */
  constructor(what: string, code: number, brokerMessage?: string | null) {
    const name = errorName(code)
    const said = brokerMessage === undefined || brokerMessage === null || brokerMessage === '' ? '' : brokerMessage
    super(said === '' ? `${what}: ${inWords(name)}` : `${what}: ${said}`)
    this.name = 'Refused'
    this.code = code
    this.errorName = name
    this.retriable = isRetriable(code)
  }
}

/** NOT_LEADER_OR_FOLLOWER -> "not leader or follower". */
function inWords(name: ErrorName): string {
  return name.toLowerCase().replaceAll('_', ' ')
}

/** @throws Refused unless the code is NONE */
export function check(what: string, code: number, brokerMessage?: string | null): void {
  if (code !== 0) throw new Refused(what, code, brokerMessage)
}

/** A connection ended or an answer did not come; the cluster may be fine a moment later. */
export class ConnectionLost extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.name = 'ConnectionLost'
  }
}

/** None of the addresses given leads to a broker. */
export class Unreachable extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.name = 'Unreachable'
  }
}

/** The broker is too old, or too new, for what the command needs. */
export class Unsupported extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'Unsupported'
  }
}

/** Whether the same request may succeed a moment later. */
export function mayPass(error: unknown): boolean {
  return error instanceof ConnectionLost || (error instanceof Refused && error.retriable)
}
