// A consumer group that reads on while brokers come and go, and remembers what it was given.
//
// Belongs to one test; stop() leaves the group.

import kafkajs from 'kafkajs'
import { eventually } from '../support/process.ts'
import type { Writer } from './writers.ts'

const { Kafka, logLevel } = kafkajs

/** One kafkajs consumer with its own retries and automatic commits. */
export class GroupReader {
  readonly #consumer: kafkajs.Consumer
  readonly #topics: string[]
  /** By topic and partition, the value at each offset. */
  readonly #seen = new Map<string, Map<number, string>>()
  /** Offsets that came with another value the second time. */
  readonly changed: string[] = []

  constructor(bootstrap: string, groupId: string, topics: readonly string[]) {
    const retry = { initialRetryTime: 50, maxRetryTime: 300, retries: 100 }
    const brokers = bootstrap.split(',')
    const kafka = new Kafka({ clientId: groupId, brokers, logLevel: logLevel.NOTHING, retry, requestTimeout: 5000 })
    this.#consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 })
    this.#topics = [...topics]
  }

  async start(): Promise<void> {
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topics: this.#topics, fromBeginning: true })
    await this.#consumer.run({
      autoCommitInterval: 200,
      eachMessage: async ({ topic, partition, message }) => this.#take(topic, partition, message),
    })
  }

  #take(topic: string, partition: number, { offset, value }: kafkajs.KafkaMessage): void {
    const name = `${topic}-${partition}`
    let seen = this.#seen.get(name)
    if (seen === undefined) {
      seen = new Map()
      this.#seen.set(name, seen)
    }
    const text = String(value)
    const before = seen.get(Number(offset))
    if (before !== undefined && before !== text) this.changed.push(`${name}@${offset}: ${before}, then ${text}`)
    seen.set(Number(offset), text)
  }

  /** Waits until everything that the writer was told is written has come, each record from where it was said to be. */
  async caughtUp(writer: Writer, timeoutMs = 30_000): Promise<void> {
    const missing = (): string | undefined => {
      for (const { value, partition, offset } of writer.acknowledged) {
        if (this.#seen.get(`${writer.topic}-${partition}`)?.get(offset) !== value)
          return `${value} of ${writer.topic}-${partition}@${offset}`
      }
      return undefined
    }
    await eventually('the group reads everything', timeoutMs, async () => {
      const first = missing()
      if (first !== undefined) throw new Error(`${first} is missing`)
      return true
    })
  }

  async stop(): Promise<void> {
    await this.#consumer.disconnect()
  }
}
