// Stored bytes that are not what was written: an error of the machine, told to the operator, never passed over.
//
// Thrown by recovery and by reads, on the shard's thread.

/** Offsets whose records cannot be read where they should be; what lies outside is not affected. */
export interface DamagedRange {
  readonly startOffset: number
  /** Exclusive. */
  readonly endOffset: number
}

export class StorageCorruption extends Error {
  readonly what: string
  readonly path: string
  /** Byte position in the file, -1 when the file as a whole is meant. */
  readonly position: number
  /** What the operator can do about it. */
  readonly advice: string
  /** The records that are concerned, where that is known: what a good copy would have to give. */
  readonly range: DamagedRange | undefined

  constructor(
    what: string,
    path: string,
    position: number,
    advice: string,
    options?: ErrorOptions,
    range?: DamagedRange,
  ) {
    super(position < 0 ? `${path}: ${what}. ${advice}` : `${path} at byte ${position}: ${what}. ${advice}`, options)
    this.name = 'StorageCorruption'
    this.what = what
    this.path = path
    this.position = position
    this.advice = advice
    this.range = range
  }

  /** The same, with the records that are concerned. */
  within(range: DamagedRange): StorageCorruption {
    return new StorageCorruption(this.what, this.path, this.position, this.advice, { cause: this.cause }, range)
  }
}
