// The wire protocol by hand, for what no client library does: broken frames, half frames, pipelines, old versions.
//
// Written apart from protocol/ on purpose: a mistake made there in an encoder and a decoder alike would cancel out in a
// test that used both. Only non-flexible versions are built here.

import { connect, type Socket } from 'node:net'

/** Builds one request body or record set, growing as needed. */
export class Bytes {
  #buffer = Buffer.allocUnsafe(256)
  #length = 0

  #room(count: number): number {
    const at = this.#length
    if (at + count > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, at + count))
      this.#buffer.copy(grown, 0, 0, at)
      this.#buffer = grown
    }
    this.#length = at + count
    return at
  }

  int8(value: number): this {
    const at = this.#room(1)
    this.#buffer.writeInt8(value, at)
    return this
  }

  int16(value: number): this {
    const at = this.#room(2)
    this.#buffer.writeInt16BE(value, at)
    return this
  }

  int32(value: number): this {
    const at = this.#room(4)
    this.#buffer.writeInt32BE(value, at)
    return this
  }

  uint32(value: number): this {
    const at = this.#room(4)
    this.#buffer.writeUInt32BE(value, at)
    return this
  }

  int64(value: number | bigint): this {
    const at = this.#room(8)
    this.#buffer.writeBigInt64BE(BigInt(value), at)
    return this
  }

  varint(value: number): this {
    return this.unsignedVarint((value << 1) ^ (value >> 31))
  }

  unsignedVarint(value: number): this {
    let rest = value >>> 0
    while (rest > 0x7f) {
      this.raw(Buffer.of((rest & 0x7f) | 0x80))
      rest >>>= 7
    }
    return this.raw(Buffer.of(rest))
  }

  string(value: string | null): this {
    if (value === null) return this.int16(-1)
    const text = Buffer.from(value)
    return this.int16(text.length).raw(text)
  }

  bytes(value: Uint8Array | null): this {
    return value === null ? this.int32(-1) : this.int32(value.length).raw(value)
  }

  raw(value: Uint8Array): this {
    const at = this.#room(value.length)
    this.#buffer.set(value, at)
    return this
  }

  done(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#length))
  }
}

/** Reads an answer; running past its end throws a RangeError. */
export class Cursor {
  readonly buffer: Buffer
  at: number

  constructor(buffer: Buffer, at = 0) {
    this.buffer = buffer
    this.at = at
  }

  int8(): number {
    return this.buffer.readInt8((this.at += 1) - 1)
  }

  int16(): number {
    return this.buffer.readInt16BE((this.at += 2) - 2)
  }

  int32(): number {
    return this.buffer.readInt32BE((this.at += 4) - 4)
  }

  int64(): number {
    return Number(this.buffer.readBigInt64BE((this.at += 8) - 8))
  }

  string(): string | null {
    const length = this.int16()
    return length < 0 ? null : this.take(length).toString()
  }

  bytes(): Buffer | null {
    const length = this.int32()
    return length < 0 ? null : this.take(length)
  }

  take(length: number): Buffer {
    if (this.at + length > this.buffer.length) throw new RangeError('the answer ends early')
    return this.buffer.subarray(this.at, (this.at += length))
  }

  array<T>(element: () => T): T[] {
    const count = this.int32()
    return Array.from({ length: Math.max(0, count) }, element)
  }
}

/** A whole request frame with header v1 (non-flexible versions). */
export function frame(
  apiKey: number,
  version: number,
  correlationId: number,
  body: Uint8Array,
  clientId = 'raw',
): Buffer {
  const inner = new Bytes().int16(apiKey).int16(version).int32(correlationId).string(clientId).raw(body).done()
  return new Bytes().int32(inner.length).raw(inner).done()
}

/** One TCP connection; frames are matched to their requests in order. */
export class RawConnection {
  readonly socket: Socket
  /** Resolves when either side has closed. */
  readonly closed: Promise<void>
  isClosed = false
  #pending: Buffer = Buffer.alloc(0)
  #correlationId = 0
  readonly #waiting: { resolve: (answer: Buffer) => void; reject: (error: Error) => void }[] = []
  readonly #answers: Buffer[] = []

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      socket.on('end', () => socket.end())
      socket.on('close', () => {
        this.isClosed = true
        for (const waiter of this.#waiting.splice(0)) waiter.reject(new Error('the connection was closed'))
        resolve()
      })
    })
  }

  static async open(port: number, host = '127.0.0.1'): Promise<RawConnection> {
    const socket = connect({ port, host, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new RawConnection(socket)
  }

  /** Writes bytes as they are. */
  write(bytes: Uint8Array): void {
    this.socket.write(bytes)
  }

  /** Sends one request and resolves with the answer's bytes behind the correlation id. */
  async request(apiKey: number, version: number, body: Uint8Array, clientId = 'raw'): Promise<Cursor> {
    const id = ++this.#correlationId
    this.write(frame(apiKey, version, id, body, clientId))
    const answer = await this.next()
    if (answer.readInt32BE(0) !== id) throw new Error(`answer ${answer.readInt32BE(0)} to request ${id}`)
    return new Cursor(answer, 4)
  }

  /** The next frame that arrives, without its length. Rejects when the connection closes or nothing comes in time. */
  next(timeoutMs = 30_000): Promise<Buffer> {
    const answer = this.#answers.shift()
    if (answer) return Promise.resolve(answer)
    if (this.isClosed) return Promise.reject(new Error('the connection was closed'))
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => waiter.reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
      const waiter = {
        resolve: (bytes: Buffer) => {
          clearTimeout(timer)
          resolve(bytes)
        },
        reject: (error: Error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      this.#waiting.push(waiter)
    })
  }

  close(): void {
    this.socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    while (this.#pending.length >= 4) {
      const length = this.#pending.readInt32BE(0)
      if (this.#pending.length < 4 + length) return
      const answer = Buffer.from(this.#pending.subarray(4, 4 + length))
      this.#pending = this.#pending.subarray(4 + length)
      const waiter = this.#waiting.shift()
      if (waiter) waiter.resolve(answer)
      else this.#answers.push(answer)
    }
  }
}

/** Whether something on the port answers ApiVersions v0 with NONE. */
export async function answersApiVersions(port: number): Promise<boolean> {
  let connection: RawConnection | undefined
  try {
    connection = await RawConnection.open(port)
    return (await connection.request(18, 0, Buffer.alloc(0))).int16() === 0
  } catch {
    return false
  } finally {
    connection?.close()
  }
}

const crcTable = new Uint32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  crcTable[byte] = value
}

/** CRC32C, Castagnoli polynomial. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (crcTable[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

export interface BatchOptions {
  values: readonly Uint8Array[]
  keys?: readonly (Uint8Array | null)[]
  timestampMs?: number
  producerId?: number
  producerEpoch?: number
  baseSequence?: number
  /** Attribute bits; 0 is uncompressed, CreateTime. */
  attributes?: number
  /** Replaces the encoded records, for a compressed or broken payload. */
  payload?: Uint8Array
  crc?: number
  magic?: number
}

/** One record batch v2 with base offset 0. */
export function recordBatch(options: BatchOptions): Buffer {
  const records = new Bytes()
  options.values.forEach((value, index) => {
    const key = options.keys?.[index] ?? null
    const record = new Bytes().int8(0).varint(0).varint(index)
    if (key === null) record.varint(-1)
    else record.varint(key.length).raw(key)
    const body = record.varint(value.length).raw(value).varint(0).done()
    records.varint(body.length).raw(body)
  })
  const timestampMs = options.timestampMs ?? Date.now()
  const sealed = new Bytes()
    .int16(options.attributes ?? 0)
    .int32(options.values.length - 1)
    .int64(timestampMs)
    .int64(timestampMs)
    .int64(options.producerId ?? -1)
    .int16(options.producerEpoch ?? -1)
    .int32(options.baseSequence ?? -1)
    .int32(options.values.length)
    .raw(options.payload ?? records.done())
    .done()
  return new Bytes()
    .int64(0)
    .int32(sealed.length + 9)
    .int32(-1)
    .int8(options.magic ?? 2)
    .uint32(options.crc ?? crc32c(sealed))
    .raw(sealed)
    .done()
}

/** Body of Produce v3 to v8 for one partition. */
export function produceBody(topic: string, partition: number, records: Uint8Array | null, acks = -1): Buffer {
  return new Bytes()
    .string(null)
    .int16(acks)
    .int32(30_000)
    .int32(1)
    .string(topic)
    .int32(1)
    .int32(partition)
    .bytes(records)
    .done()
}

export interface ProduceAnswer {
  error: number
  baseOffset: number
  message: string | null
}

/** Produces to one partition at v8. */
export async function produce(
  connection: RawConnection,
  topic: string,
  partition: number,
  records: Uint8Array | null,
  acks = -1,
): Promise<ProduceAnswer> {
  const answer = await connection.request(0, 8, produceBody(topic, partition, records, acks))
  answer.int32()
  answer.string()
  answer.int32()
  answer.int32()
  const error = answer.int16()
  const baseOffset = answer.int64()
  answer.int64()
  answer.int64()
  answer.array(() => [answer.int32(), answer.string()])
  return { error, baseOffset, message: answer.string() }
}

export interface FetchAnswer {
  error: number
  highWatermark: number
  logStartOffset: number
  records: Buffer
}

/** Body of Fetch v11 for one partition, without a session. */
export function fetchBody(
  topic: string,
  partition: number,
  offset: number,
  options: { maxWaitMs?: number; maxBytes?: number } = {},
): Buffer {
  const maxBytes = options.maxBytes ?? 1 << 20
  return new Bytes()
    .int32(-1)
    .int32(options.maxWaitMs ?? 0)
    .int32(1)
    .int32(maxBytes)
    .int8(0)
    .int32(0)
    .int32(-1)
    .int32(1)
    .string(topic)
    .int32(1)
    .int32(partition)
    .int32(-1)
    .int64(offset)
    .int64(-1)
    .int32(maxBytes)
    .int32(0)
    .string('')
    .done()
}

/** Fetches from one partition at v11. */
export async function fetch(
  connection: RawConnection,
  topic: string,
  partition: number,
  offset: number,
  options: { maxWaitMs?: number; maxBytes?: number } = {},
): Promise<FetchAnswer> {
  const answer = await connection.request(1, 11, fetchBody(topic, partition, offset, options))
  answer.int32()
  const topError = answer.int16()
  answer.int32()
  if (topError !== 0 || answer.int32() === 0)
    return { error: topError, highWatermark: -1, logStartOffset: -1, records: Buffer.alloc(0) }
  answer.string()
  answer.int32()
  answer.int32()
  const error = answer.int16()
  const highWatermark = answer.int64()
  answer.int64()
  const logStartOffset = answer.int64()
  answer.array(() => [answer.int64(), answer.int64()])
  answer.int32()
  return { error, highWatermark, logStartOffset, records: answer.bytes() ?? Buffer.alloc(0) }
}

/** Creates a topic with replication factor 1 at v4; gives the error code. */
export async function createTopicOnly(
  connection: RawConnection,
  topic: string,
  partitions: number,
  configs: Readonly<Record<string, string>> = {},
): Promise<number> {
  const entries = Object.entries(configs)
  const body = new Bytes().int32(1).string(topic).int32(partitions).int16(1).int32(0).int32(entries.length)
  for (const [name, value] of entries) body.string(name).string(value)
  const answer = await connection.request(19, 4, body.int32(30_000).int8(0).done())
  answer.int32()
  answer.int32()
  answer.string()
  return answer.int16()
}

/** Creates a topic and waits until each partition has a leader: Kafka answers before that, Millrace after. */
export async function createTopic(
  connection: RawConnection,
  topic: string,
  partitions: number,
  configs: Readonly<Record<string, string>> = {},
): Promise<number> {
  const error = await createTopicOnly(connection, topic, partitions, configs)
  if (error !== 0) return error
  const deadline = performance.now() + 10_000
  for (let partition = 0; partition < partitions; ) {
    const { error: listError } = await listOffset(connection, topic, partition, -1)
    if (listError === 0) partition++
    else if (performance.now() > deadline) return listError
  }
  return 0
}

/** Offset for a timestamp, -1 for the latest and -2 for the earliest (ListOffsets v1). */
export async function listOffset(
  connection: RawConnection,
  topic: string,
  partition: number,
  timestamp: number,
): Promise<{ error: number; offset: number }> {
  const body = new Bytes().int32(-1).int32(1).string(topic).int32(1).int32(partition).int64(timestamp)
  const answer = await connection.request(2, 1, body.done())
  answer.int32()
  answer.string()
  answer.int32()
  answer.int32()
  const error = answer.int16()
  answer.int64()
  return { error, offset: answer.int64() }
}

/** Deletes a topic at v3; gives the error code. */
export async function deleteTopic(connection: RawConnection, topic: string): Promise<number> {
  const answer = await connection.request(20, 3, new Bytes().int32(1).string(topic).int32(30_000).done())
  answer.int32()
  answer.int32()
  answer.string()
  return answer.int16()
}

/** Gives a producer id and epoch for an idempotent producer (InitProducerId v1). */
export async function initProducerId(
  connection: RawConnection,
): Promise<{ error: number; producerId: number; producerEpoch: number }> {
  const answer = await connection.request(22, 1, new Bytes().string(null).int32(60_000).done())
  answer.int32()
  return { error: answer.int16(), producerId: answer.int64(), producerEpoch: answer.int16() }
}

export interface RawRecord {
  offset: number
  key: Buffer | null
  value: Buffer | null
}

/** Decodes the uncompressed batches of a fetch answer; a cut-off last batch is left out. Checks magic and CRC. */
export function decodeRecords(bytes: Buffer): RawRecord[] {
  const records: RawRecord[] = []
  let at = 0
  while (at + 61 <= bytes.length) {
    const end = at + 12 + bytes.readInt32BE(at + 8)
    if (end > bytes.length) break
    if (bytes[at + 16] !== 2) throw new Error(`magic ${bytes[at + 16]} at byte ${at}`)
    if (bytes.readUInt32BE(at + 17) !== crc32c(bytes.subarray(at + 21, end))) throw new Error(`wrong CRC at byte ${at}`)
    if ((bytes.readInt16BE(at + 21) & 7) !== 0) throw new Error('a compressed batch')
    decodeBatch(bytes, at, end, records)
    at = end
  }
  return records
}

function decodeBatch(bytes: Buffer, at: number, end: number, records: RawRecord[]): void {
  const baseOffset = Number(bytes.readBigInt64BE(at))
  const count = bytes.readInt32BE(at + 57)
  let position = at + 61
  const varint = (): number => {
    let value = 0
    let shift = 0
    let byte: number
    do {
      byte = bytes.readUInt8(position++)
      value |= (byte & 0x7f) << shift
      shift += 7
    } while (byte & 0x80)
    return (value >>> 1) ^ -(value & 1)
  }
  // A timestamp delta may be wider than 32 bits; nobody here needs its value.
  const skipVarlong = () => {
    while (bytes.readUInt8(position++) & 0x80);
  }
  const field = (): Buffer | null => {
    const length = varint()
    return length < 0 ? null : bytes.subarray(position, (position += length))
  }
  for (let index = 0; index < count; index++) {
    const recordEnd = varint() + position
    position++
    skipVarlong()
    const offset = baseOffset + varint()
    records.push({ offset, key: field(), value: field() })
    position = recordEnd
  }
  if (position !== end) throw new Error(`records end at byte ${position}, the batch at ${end}`)
}

/** Reads one partition from `offset` to its high watermark. */
export async function readAll(
  connection: RawConnection,
  topic: string,
  partition: number,
  offset = 0,
): Promise<RawRecord[]> {
  const records: RawRecord[] = []
  let next = offset
  let idle = 0
  for (;;) {
    const answer = await fetch(connection, topic, partition, next, { maxBytes: 4 << 20, maxWaitMs: 100 })
    if (answer.error !== 0) throw new Error(`fetch of ${topic}-${partition} at ${next}: error ${answer.error}`)
    const before = next
    for (const record of decodeRecords(answer.records)) {
      if (record.offset < next) continue
      records.push(record)
      next = record.offset + 1
    }
    if (next >= answer.highWatermark) return records
    idle = next === before ? idle + 1 : 0
    if (idle > 50)
      throw new Error(`${topic}-${partition} gives nothing at ${next}, high watermark ${answer.highWatermark}`)
  }
}

/** Where a group is coordinated; makes the broker create the offsets topic if need be (FindCoordinator v0). */
export async function findCoordinator(
  connection: RawConnection,
  groupId: string,
): Promise<{ error: number; host: string; port: number }> {
  const answer = await connection.request(10, 0, new Bytes().string(groupId).done())
  const error = answer.int16()
  answer.int32()
  return { error, host: answer.string() ?? '', port: answer.int32() }
}

/** Commits one offset outside of any membership (OffsetCommit v2); gives the error code. */
export async function commitOffset(
  connection: RawConnection,
  groupId: string,
  topic: string,
  partition: number,
  offset: number,
  metadata = '',
): Promise<number> {
  const body = new Bytes().string(groupId).int32(-1).string('').int64(-1).int32(1).string(topic)
  const answer = await connection.request(8, 2, body.int32(1).int32(partition).int64(offset).string(metadata).done())
  answer.int32()
  answer.string()
  answer.int32()
  answer.int32()
  return answer.int16()
}

/** The committed offset of one partition (OffsetFetch v1). */
export async function committedOffset(
  connection: RawConnection,
  groupId: string,
  topic: string,
  partition: number,
): Promise<{ error: number; offset: number }> {
  const body = new Bytes().string(groupId).int32(1).string(topic).int32(1).int32(partition).done()
  const answer = await connection.request(9, 1, body)
  answer.int32()
  answer.string()
  answer.int32()
  answer.int32()
  const offset = answer.int64()
  answer.string()
  return { error: answer.int16(), offset }
}
