// Stored bytes that are not what was written: an error of the machine, told to the operator, never passed over.
//
// Thrown by recovery and by reads, on the shard's thread.

export class StorageCorruption extends Error {
  readonly path: string
  /** Byte position in the file, -1 when the file as a whole is meant. */
  readonly position: number
  /** What the operator can do about it. */
  readonly advice: string

  constructor(what: string, path: string, position: number, advice: string, options?: ErrorOptions) {
    super(position < 0 ? `${path}: ${what}. ${advice}` : `${path} at byte ${position}: ${what}. ${advice}`, options)
    this.name = 'StorageCorruption'
    this.path = path
    this.position = position
    this.advice = advice
  }
}
