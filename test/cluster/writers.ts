// Producers that write through the crash of a broker and remember what was acknowledged.
//
// Each round of kill.ts and of faults.ts makes new ones. Every record's value is unique, so what the log holds can be told record by record:
// acknowledged, merely attempted, doubled, or never sent.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { startKafkaTool } from '../support/kafka.ts'
import { type Child, temporaryDirectory } from '../support/process.ts'
import { startLibrdkafka } from '../support/python.ts'
import { initProducerId, type ProduceAnswer, produce, RawConnection, recordBatch } from '../support/raw.ts'

/** An acknowledged record. */
export interface Acknowledged {
  value: string
  partition: number
  offset: number
}

export interface Writer {
  readonly name: string
  readonly topic: string
  /** Whether a record may be in the log twice: only without idempotence. */
  readonly mayDuplicate: boolean
  /** Grows as answers come in. */
  readonly acknowledged: Acknowledged[]
  /** What it gave up on, once it has. */
  readonly failure: string | undefined
  /** Whether the value is one that this writer sent. */
  attempted(value: string): boolean
  start(): Promise<void>
  /** Stops sending and waits for every answer that is still due. */
  stop(): Promise<void>
}

const { Kafka, logLevel, Partitioners } = kafkajs

abstract class Numbered implements Writer {
  abstract readonly name: string
  abstract readonly mayDuplicate: boolean
  readonly topic: string
  readonly acknowledged: Acknowledged[] = []
  failure: string | undefined
  protected readonly prefix: string
  protected readonly bootstrap: string
  protected readonly partitions: number
  protected next = 0
  protected stopping = false

  /** @param bootstrap host:port of one broker, or of several with commas between */
  constructor(bootstrap: string, topic: string, prefix: string, partitions: number) {
    this.bootstrap = bootstrap
    this.topic = topic
    this.prefix = prefix
    this.partitions = partitions
  }

  abstract start(): Promise<void>
  abstract stop(): Promise<void>

  attempted(value: string): boolean {
    const at = value.lastIndexOf('-')
    return value.slice(0, at) === this.prefix && Number(value.slice(at + 1)) < this.next
  }

  protected take(): string {
    return `${this.prefix}-${this.next++}`
  }
}

/** kafkajs with acks=all and its own retries; without idempotence a retry may write twice. */
export class KafkajsWriter extends Numbered {
  readonly name: string = 'kafkajs'
  readonly mayDuplicate: boolean = true
  #loops: Promise<void>[] = []
  #producer: kafkajs.Producer | undefined

  async start(): Promise<void> {
    const retry = { initialRetryTime: 30, maxRetryTime: 200, retries: 200 }
    const brokers = this.bootstrap.split(',')
    const kafka = new Kafka({ clientId: 'kill', brokers, logLevel: logLevel.NOTHING, retry, requestTimeout: 5000 })
    this.#producer = kafka.producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      idempotent: !this.mayDuplicate,
      maxInFlightRequests: this.mayDuplicate ? undefined : 1,
    })
    await this.#producer.connect()
    this.#loops = Array.from({ length: this.partitions }, (_, partition) => this.#loop(partition))
  }

  async stop(): Promise<void> {
    this.stopping = true
    await Promise.all(this.#loops)
    await this.#producer?.disconnect()
  }

  async #loop(partition: number): Promise<void> {
    while (!this.stopping) {
      const values = Array.from({ length: 10 }, () => this.take())
      const sent = await this.#producer?.send({
        topic: this.topic,
        acks: -1,
        messages: values.map((value) => ({ partition, value })),
      })
      const baseOffset = Number(sent?.[0]?.baseOffset)
      values.forEach((value, index) => {
        this.acknowledged.push({ value, partition, offset: baseOffset + index })
      })
      await sleep(2)
    }
  }
}

/** kafkajs with idempotence, which it calls experimental. */
export class IdempotentKafkajsWriter extends KafkajsWriter {
  override readonly name = 'kafkajs, idempotent'
  override readonly mayDuplicate = false
}

/** librdkafka with idempotence, in a process of its own. */
export class LibrdkafkaWriter extends Numbered {
  readonly name = 'librdkafka, idempotent'
  readonly mayDuplicate = false
  #child: Child | undefined
  /** Of its last line. */
  #ended = false

  async start(): Promise<void> {
    this.#child = startLibrdkafka(['stream', this.bootstrap, this.topic, this.prefix, '0'])
    this.#child.eachLine((line) => this.#told(line))
    await this.#child.waitFor(/\n/, 30_000)
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    child.process.stdin?.end('\n')
    const { code } = await child.exited
    if (code !== 0) throw new Error(`librdkafka ended with ${code}\n${child.stderr}`)
    if (this.failure !== undefined) throw new Error(`librdkafka ${this.failure}`)
    if (!this.#ended) throw new Error('librdkafka ended without its last line')
  }

  #told(line: string): void {
    const [value = '', partition, offset] = line.split(' ')
    if (value === '!') {
      this.failure ??= `gave up on a record: ${line}`
    } else if (value === 'end') {
      this.next = Number(partition)
      if (Number(offset) > 0) this.failure ??= `left ${offset} records unsent`
      this.#ended = true
    } else {
      this.acknowledged.push({ value, partition: Number(partition), offset: Number(offset) })
    }
  }
}

interface Pending {
  values: string[]
  bytes: Buffer
}

/** Errors after which the same batch is sent again; a gap is one, because what came before it is sent again too. */
const retriable = new Set([3, 5, 6, 7, 13, 14, 19, 20, 45, 56])

/** Kafka's own verifiable producer (idempotent, acks=all), in a process of its own. */
export class JavaWriter extends Numbered {
  readonly name = 'java, idempotent'
  readonly mayDuplicate = false
  #child: Child | undefined

  async start(): Promise<void> {
    const properties = join(await temporaryDirectory('java-writer'), 'producer.properties')
    writeFileSync(
      properties,
      'enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=90000\nrequest.timeout.ms=5000\nlinger.ms=5\nretry.backoff.ms=50\n',
    )
    this.#child = startKafkaTool('verifiable-producer', [
      ...['--bootstrap-server', this.bootstrap, '--topic', this.topic, '--acks', '-1', '--throughput', '2000'],
      ...['--value-prefix', String(this.#number), '--command-config', properties],
    ])
    this.#child.eachLine((line) => this.#told(line))
    await this.#child.waitFor(/producer_send_success/, 60_000)
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    await child.stop('SIGTERM', 100_000)
    if (this.failure !== undefined) throw new Error(`the Java producer ${this.failure}`)
  }

  #told(line: string): void {
    if (!line.startsWith('{')) return
    const { name, value, partition, offset } = JSON.parse(line) as Acknowledged & { name: string }
    if (name === 'producer_send_error') this.failure ??= `gave up on a record: ${line}`
    else if (name === 'producer_send_success') this.acknowledged.push({ value, partition, offset })
  }

  /** Its values are `<number>.<count>`. */
  override attempted(value: string): boolean {
    return value.startsWith(`${this.#number}.`)
  }

  /** The tool takes a number only. */
  get #number(): number {
    return Number(this.prefix.replaceAll(/\D/g, ''))
  }
}

/** An idempotent producer by hand: three batches in flight per partition, sent again in order after every failure. */
export class RawIdempotentWriter extends Numbered {
  readonly name = 'raw, idempotent'
  readonly mayDuplicate = false
  #loops: Promise<void>[] = []
  #connection: Promise<RawConnection> | undefined
  #producerId = -1
  #producerEpoch = -1

  async start(): Promise<void> {
    const connection = await this.#connect()
    for (;;) {
      const { error, producerId, producerEpoch } = await initProducerId(connection)
      if (error === 0) {
        this.#producerId = producerId
        this.#producerEpoch = producerEpoch
        break
      }
      if (!retriable.has(error)) throw new Error(`InitProducerId: error ${error}`)
      await sleep(20)
    }
    this.#loops = Array.from({ length: this.partitions }, (_, partition) => this.#loop(partition))
  }

  async stop(): Promise<void> {
    this.stopping = true
    await Promise.all(this.#loops)
    ;(await this.#connection)?.close()
  }

  #connect(): Promise<RawConnection> {
    this.#connection ??= (async () => {
      for (;;) {
        try {
          const [host = '', port] = this.bootstrap.split(':')
          return await RawConnection.open(Number(port), host)
        } catch {
          await sleep(20)
        }
      }
    })()
    return this.#connection
  }

  async #loop(partition: number): Promise<void> {
    let sequence = 0
    let pending: Pending[] = []
    const deadline = performance.now() + 60_000
    while (!this.stopping || pending.length > 0) {
      if (performance.now() > deadline) throw new Error(`partition ${partition} takes nothing`)
      while (!this.stopping && pending.length < 3) {
        const values = Array.from({ length: 5 }, () => this.take())
        pending.push({ values, bytes: this.#batch(values, sequence) })
        sequence += values.length
      }
      const connection = await this.#connect()
      const answers = await Promise.allSettled(
        pending.map(({ bytes }) => produce(connection, this.topic, partition, bytes)),
      )
      const failed = pending.filter((batch, index) => !this.#settle(partition, batch, answers[index]))
      if (failed.length > 0) {
        if (connection.isClosed) this.#forget(connection)
        await sleep(20)
      }
      pending = failed
      await sleep(2)
    }
  }

  /** Notes an acknowledgement; gives whether the batch is done with. */
  #settle(partition: number, batch: Pending, answer: PromiseSettledResult<ProduceAnswer> | undefined): boolean {
    if (answer === undefined || answer.status === 'rejected') return false
    const { error, baseOffset } = answer.value
    if (error !== 0) {
      if (!retriable.has(error)) throw new Error(`${this.topic}-${partition}: error ${error} for ${batch.values[0]}`)
      return false
    }
    batch.values.forEach((value, index) => {
      this.acknowledged.push({ value, partition, offset: baseOffset + index })
    })
    return true
  }

  /** The next `#connect` opens a new one; only the first loop that notices does this. */
  #forget(connection: RawConnection): void {
    void this.#connection?.then((current) => {
      if (current === connection) this.#connection = undefined
    })
  }

  #batch(values: readonly string[], baseSequence: number): Buffer {
    const { producerId, producerEpoch } = { producerId: this.#producerId, producerEpoch: this.#producerEpoch }
    return recordBatch({ values: values.map((value) => Buffer.from(value)), producerId, producerEpoch, baseSequence })
  }
}
