// The load generator's own Kafka client: pre-encoded batches out, as little work as possible per answer.
//
// One Node thread runs all connections. Produce v8 and Fetch v11: the newest versions that can be written without varints,
// and that both brokers serve. Answers come in request order, so a request needs no correlation id of its own.

import { connect, type Socket } from 'node:net'
import { Bytes, recordBatch } from '../test/support/raw.ts'

const readBufferBytes = 1 << 20

/** A connection that hands over each answer as a view which is valid during the call only. */
export class LoadConnection {
  readonly #socket: Socket
  readonly #onAnswer: ((answer: Buffer) => void)[] = []
  #frame: Buffer = Buffer.allocUnsafe(readBufferBytes)
  #filled = 0
  #answered = 0
  readonly onError: (error: Error) => void

  private constructor(port: number, onError: (error: Error) => void, ready: () => void) {
    this.onError = onError
    this.#socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(readBufferBytes),
        callback: (count, buffer) => {
          this.#take(buffer as Buffer, count)
          return true
        },
      },
    })
    this.#socket.once('connect', ready)
    this.#socket.on('error', (error) => this.onError(error))
    this.#socket.on('close', () => this.onError(new Error('the broker closed the connection')))
  }

  static open(port: number): Promise<LoadConnection> {
    return new Promise((resolve, reject) => {
      const connection: LoadConnection = new LoadConnection(
        port,
        (error) => {
          if (connection.inFlight > 0) throw error
          reject(error)
        },
        () => resolve(connection),
      )
    })
  }

  get inFlight(): number {
    return this.#onAnswer.length - this.#answered
  }

  /** Sends a whole frame, kept by reference until written; `onAnswer` gets the answer behind the correlation id. */
  send(frame: Buffer, onAnswer: (answer: Buffer) => void): void {
    this.#onAnswer.push(onAnswer)
    this.#socket.write(frame)
  }

  request(frame: Buffer): Promise<Buffer> {
    return new Promise((resolve) => this.send(frame, (answer) => resolve(Buffer.from(answer))))
  }

  close(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }

  #take(chunk: Buffer, count: number): void {
    if (this.#filled + count > this.#frame.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#frame.length * 2, this.#filled + count))
      this.#frame.copy(grown, 0, 0, this.#filled)
      this.#frame = grown
    }
    chunk.copy(this.#frame, this.#filled, 0, count)
    this.#filled += count
    let at = 0
    while (this.#filled - at >= 4) {
      const end = at + 4 + this.#frame.readInt32BE(at)
      if (end > this.#filled) break
      const answer = this.#frame.subarray(at + 8, end)
      at = end
      const handler = this.#onAnswer[this.#answered++]
      // The queue is a moving window: shifting an array per answer costs more than forgetting it in one go.
      if (this.#answered === this.#onAnswer.length) {
        this.#onAnswer.length = 0
        this.#answered = 0
      } else if (this.#answered === 1024) {
        this.#onAnswer.splice(0, 1024)
        this.#answered = 0
      }
      handler?.(answer)
    }
    if (at > 0) {
      this.#frame.copyWithin(0, at, this.#filled)
      this.#filled -= at
    }
  }
}

function frame(apiKey: number, version: number, body: Buffer): Buffer {
  const header = new Bytes().int16(apiKey).int16(version).int32(0).string('bench').done()
  return new Bytes()
    .int32(header.length + body.length)
    .raw(header)
    .raw(body)
    .done()
}

/** Random bytes: neither broker compresses, and no disk should find a pattern. */
function randomValue(size: number): Buffer {
  const value = Buffer.allocUnsafe(size)
  for (let at = 0; at < size; at++) value[at] = Math.floor(Math.random() * 256)
  return value
}

/** One batch of `count` records of `valueBytes` each, with a short key when `keyed`. */
export function encodeBatch(count: number, valueBytes: number, keyed = false): Buffer {
  const values = Array.from({ length: count }, () => randomValue(valueBytes))
  return recordBatch({ values, keys: keyed ? values.map(() => randomValue(8)) : undefined })
}

/** A Produce request with acks=all: one batch for each of the given partitions. */
export function produceFrame(topic: string, parts: readonly { partition: number; batch: Buffer }[]): Buffer {
  let size = produceHead(topic).length + 4
  for (const { batch } of parts) size += 8 + batch.length
  const out = Buffer.allocUnsafe(size)
  let at = produceHead(topic).copy(out)
  out.writeInt32BE(size - 4, 0)
  at = out.writeInt32BE(parts.length, at)
  for (const { partition, batch } of parts) {
    at = out.writeInt32BE(partition, at)
    at = out.writeInt32BE(batch.length, at)
    at += batch.copy(out, at)
  }
  return out
}

const produceHeads = new Map<string, Buffer>()

/** Everything before the number of partitions; the length in front is still to be filled in. */
function produceHead(topic: string): Buffer {
  let head = produceHeads.get(topic)
  if (head === undefined) {
    head = frame(0, 8, new Bytes().string(null).int16(-1).int32(60_000).int32(1).string(topic).done())
    produceHeads.set(topic, head)
  }
  return head
}

/** Throws on the first error code in a Produce v8 answer; gives the base offset of its first partition. */
export function checkProduced(answer: Buffer): number {
  let at = 4
  at += 2 + answer.readInt16BE(at)
  const parts = answer.readInt32BE(at)
  at += 4
  let first = -1
  for (let index = 0; index < parts; index++) {
    const error = answer.readInt16BE(at + 4)
    if (error !== 0) throw new Error(`produce to partition ${answer.readInt32BE(at)}: error ${error}`)
    if (index === 0) first = Number(answer.readBigInt64BE(at + 6))
    if (answer.readInt32BE(at + 30) > 0) throw new Error('record errors without an error')
    at += 34
    at += 2 + Math.max(0, answer.readInt16BE(at))
  }
  return first
}

/** A Fetch request of 1 MiB per partition that waits up to 500 ms for the first byte, as consumers do by default. */
export function fetchFrame(topic: string, parts: readonly { partition: number; offset: number }[]): Buffer {
  const body = new Bytes()
    .int32(-1)
    .int32(500)
    .int32(1)
    .int32(50 << 20)
    .int8(0)
    .int32(0)
    .int32(-1)
  body.int32(1).string(topic).int32(parts.length)
  for (const { partition, offset } of parts)
    body
      .int32(partition)
      .int32(-1)
      .int64(offset)
      .int64(-1)
      .int32(1 << 20)
  return frame(1, 11, body.int32(0).string('').done())
}

/**
 * Walks the batches of a Fetch v11 answer without decoding records.
 * @param onBatch called with partition, first offset, last offset and size in bytes of every whole batch
 */
export function readFetched(
  answer: Buffer,
  onBatch: (partition: number, baseOffset: number, lastOffset: number, bytes: number) => void,
): void {
  const topError = answer.readInt16BE(4)
  if (topError !== 0) throw new Error(`fetch: error ${topError}`)
  let at = 10
  const topics = answer.readInt32BE(at)
  at += 4
  for (let topic = 0; topic < topics; topic++) {
    at += 2 + answer.readInt16BE(at)
    const parts = answer.readInt32BE(at)
    at += 4
    for (let index = 0; index < parts; index++) {
      const partition = answer.readInt32BE(at)
      const error = answer.readInt16BE(at + 4)
      if (error !== 0) throw new Error(`fetch of partition ${partition}: error ${error}`)
      at += 30
      at += 4 + 16 * Math.max(0, answer.readInt32BE(at))
      at += 4
      const size = Math.max(0, answer.readInt32BE(at))
      at += 4
      const end = at + size
      while (at + 61 <= end) {
        const bytes = 12 + answer.readInt32BE(at + 8)
        if (at + bytes > end) break
        const baseOffset = Number(answer.readBigInt64BE(at))
        onBatch(partition, baseOffset, baseOffset + answer.readInt32BE(at + 23), bytes)
        at += bytes
      }
      at = end
    }
  }
}

/** Creates a topic with replication factor 1 and waits until every partition takes a record. */
export async function createBenchTopic(port: number, topic: string, partitions: number): Promise<void> {
  const connection = await LoadConnection.open(port)
  const body = new Bytes().int32(1).string(topic).int32(partitions).int16(1).int32(0).int32(0).int32(30_000).int8(0)
  await connection.request(frame(19, 4, body.done()))
  const deadline = performance.now() + 30_000
  for (let partition = 0; partition < partitions; ) {
    const list = new Bytes().int32(-1).int32(1).string(topic).int32(1).int32(partition).int64(-1).done()
    const answer = await connection.request(frame(2, 1, list))
    const error = answer.readInt16BE(4 + 2 + Buffer.byteLength(topic) + 4 + 4)
    if (error === 0) partition++
    else if (performance.now() > deadline) throw new Error(`partition ${partition} of ${topic}: error ${error}`)
  }
  connection.close()
}

export async function deleteBenchTopic(port: number, topic: string): Promise<void> {
  const connection = await LoadConnection.open(port)
  await connection.request(frame(20, 3, new Bytes().int32(1).string(topic).int32(30_000).done()))
  connection.close()
}
