// How much the broker says: one level for the whole process, which can be changed while it runs.
//
// The number lies in memory that the main thread and all shards share. One thread is asked to change it; the others see it at their next
// line, and a line that would not be written is not even sent to the main thread.

/** Kafka's names, the quietest first. Nothing is fatal here but what ends the process, so FATAL is silence; TRACE is as DEBUG. */
export const LOGGER_LEVELS = ['FATAL', 'ERROR', 'WARN', 'INFO', 'DEBUG', 'TRACE'] as const
export type LoggerLevel = (typeof LOGGER_LEVELS)[number]

export class LogThreshold {
  /** To be handed to other threads. */
  readonly memory: SharedArrayBuffer
  readonly #level: Int32Array

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#level = new Int32Array(memory)
  }

  static at(level: LoggerLevel): LogThreshold {
    const threshold = new LogThreshold(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
    threshold.level = level
    return threshold
  }

  get level(): LoggerLevel {
    return LOGGER_LEVELS[Atomics.load(this.#level, 0)] ?? 'WARN'
  }

  set level(level: LoggerLevel) {
    Atomics.store(this.#level, 0, LOGGER_LEVELS.indexOf(level))
  }

  /** Whether lines of this level are written. */
  writes(level: LoggerLevel): boolean {
    return LOGGER_LEVELS.indexOf(level) <= Atomics.load(this.#level, 0)
  }
}
