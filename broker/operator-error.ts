// What the operator must hear when the machine or its settings failed: one clear line, and what to do about it.
//
// Thrown while a broker starts or is configured, on any thread; main.ts prints it and exits. Never thrown for what a client sent.

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
