// Hostile and broken input: each has a stated outcome, and the connection of somebody else never notices.
//
// Runs against Millrace, or against Apache Kafka (MILLRACE_TEST_BROKER=kafka) as far as the answers are Kafka's own.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { eventually } from '../support/process.ts'
import {
  Bytes,
  createTopic,
  decodeRecords,
  fetch,
  fetchBody,
  frame,
  listOffset,
  produce,
  produceBody,
  RawConnection,
  recordBatch,
} from '../support/raw.ts'
import { openTarget, type Target } from '../support/target.ts'

const code = {
  UNKNOWN_SERVER_ERROR: -1,
  NONE: 0,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  MESSAGE_TOO_LARGE: 10,
  INVALID_REQUIRED_ACKS: 21,
  UNSUPPORTED_VERSION: 35,
  UNSUPPORTED_COMPRESSION_TYPE: 76,
  INVALID_RECORD: 87,
}

const one = (text: string) => recordBatch({ values: [Buffer.from(text)] })

describe('bad input', () => {
  let target: Target
  let bystander: RawConnection
  const topic = `bad-input-${process.pid}`
  const bystanderTopic = `${topic}-bystander`
  let written = 0
  const opened: RawConnection[] = []

  before(async () => {
    target = await openTarget({ properties: { 'auto.create.topics.enable': 'false', 'max.connections': '20000' } })
    bystander = await RawConnection.open(target.port, target.host)
    assert.equal(await createTopic(bystander, topic, 1, { 'max.message.bytes': '100000' }), code.NONE)
    assert.equal(await createTopic(bystander, bystanderTopic, 1), code.NONE)
  })

  after(async () => {
    bystander?.close()
    await target?.close()
  })

  // The promise of every case: a connection that was open before and one that comes now both work as ever.
  afterEach(async () => {
    for (const connection of opened.splice(0)) connection.close()
    assert.equal(bystander.isClosed, false, 'the other connection stays open')
    assert.deepEqual(await produce(bystander, bystanderTopic, 0, one(`after ${written}`)), {
      error: 0,
      baseOffset: written,
      message: null,
    })
    const newcomer = await RawConnection.open(target.port, target.host)
    const read = await fetch(newcomer, bystanderTopic, 0, written)
    assert.deepEqual(
      decodeRecords(read.records).map(({ offset, value }) => [offset, value?.toString()]),
      [[written, `after ${written}`]],
    )
    newcomer.close()
    written++
  })

  async function open(): Promise<RawConnection> {
    const connection = await RawConnection.open(target.port, target.host)
    opened.push(connection)
    return connection
  }

  /** Waits for the broker to close the connection; nothing may have been answered on it before. */
  async function expectClosed(connection: RawConnection): Promise<void> {
    const answered = connection.next().then(
      () => 'an answer',
      () => 'closed',
    )
    assert.equal(await Promise.race([answered, sleep(10_000, 'neither', { ref: false })]), 'closed')
  }

  async function expectRefused(records: Uint8Array, errors: number[]): Promise<void> {
    const connection = await open()
    const before = await listOffset(connection, topic, 0, -1)
    const { error, baseOffset } = await produce(connection, topic, 0, records)
    assert.ok(errors.includes(error), `error ${error}, wanted one of ${errors}`)
    assert.equal(baseOffset, -1)
    assert.deepEqual(await listOffset(connection, topic, 0, -1), before, 'nothing was appended')
    assert.equal((await produce(connection, topic, 0, one('still fine'))).error, code.NONE, 'the connection goes on')
  }

  test('an unknown topic is UNKNOWN_TOPIC_OR_PARTITION for produce, fetch and list offsets', async () => {
    const connection = await open()
    const wanted = code.UNKNOWN_TOPIC_OR_PARTITION
    assert.equal((await produce(connection, 'no-such-topic', 0, one('x'))).error, wanted)
    assert.equal((await produce(connection, topic, 99, one('x'))).error, wanted)
    assert.equal((await fetch(connection, 'no-such-topic', 0, 0)).error, wanted)
    assert.equal((await listOffset(connection, 'no-such-topic', 0, -1)).error, wanted)
    assert.equal((await listOffset(connection, topic, 99, -1)).error, wanted)
  })

  test('acks other than -1, 0 and 1 is INVALID_REQUIRED_ACKS', async () => {
    assert.equal((await produce(await open(), topic, 0, one('x'), 2)).error, code.INVALID_REQUIRED_ACKS)
  })

  test('acks 0 with an error closes the connection, which is all the client can see', async () => {
    const connection = await open()
    connection.write(frame(0, 8, 1, produceBody('no-such-topic', 0, one('x'), 0)))
    await expectClosed(connection)
  })

  test('a batch beyond max.message.bytes is MESSAGE_TOO_LARGE', async () => {
    await expectRefused(recordBatch({ values: [Buffer.alloc(120_000)] }), [code.MESSAGE_TOO_LARGE])
  })

  test('a wrong CRC is CORRUPT_MESSAGE', async () => {
    await expectRefused(recordBatch({ values: [Buffer.from('x')], crc: 12_345 }), [code.CORRUPT_MESSAGE])
    const flipped = one('some bytes that change on the way')
    flipped.writeUInt8(flipped.readUInt8(flipped.length - 3) ^ 0x10, flipped.length - 3)
    await expectRefused(flipped, [code.CORRUPT_MESSAGE])
  })

  // Kafka says UNKNOWN_SERVER_ERROR to both, which no client depends on; a code that names the fault is as good.
  const badCompression = [
    code.UNKNOWN_SERVER_ERROR,
    code.UNSUPPORTED_COMPRESSION_TYPE,
    code.INVALID_RECORD,
    code.CORRUPT_MESSAGE,
  ]

  test('an unknown compression codec is refused', async () => {
    for (const codec of [5, 6, 7]) {
      await expectRefused(recordBatch({ values: [Buffer.from('x')], attributes: codec }), badCompression)
    }
  })

  test('a payload that does not decompress is refused', async () => {
    const payload = Buffer.from('this is not compressed at all')
    for (const codec of [1, 2, 3, 4]) {
      await expectRefused(recordBatch({ values: [Buffer.from('x')], attributes: codec, payload }), badCompression)
    }
  })

  test('a decompression bomb is refused or stored as it is, and does not fill memory', async () => {
    const payload = gzipSync(Buffer.alloc(200 << 20))
    assert.ok(payload.length > 100_000, 'larger than this topic takes')
    await expectRefused(recordBatch({ values: [Buffer.from('x')], attributes: 1, payload }), [code.MESSAGE_TOO_LARGE])
    const small = gzipSync(Buffer.alloc(60 << 20))
    const before = residentMegabytes()
    const connection = await open()
    await produce(connection, topic, 0, recordBatch({ values: [Buffer.from('x')], attributes: 1, payload: small }))
    if (target.kind === 'millrace')
      assert.ok(residentMegabytes() - before < 300, `${before} MB before, ${residentMegabytes()} MB after`)
  })

  test('a truncated batch, an old magic, and a count that does not match are INVALID_RECORD', async () => {
    await expectRefused(one('x').subarray(0, 40), [code.INVALID_RECORD, code.CORRUPT_MESSAGE])
    await expectRefused(recordBatch({ values: [Buffer.from('x')], magic: 1 }), [
      code.INVALID_RECORD,
      code.CORRUPT_MESSAGE,
    ])
    const payload = Buffer.from([2, 0, 0])
    await expectRefused(recordBatch({ values: [Buffer.from('x')], payload }), [
      code.INVALID_RECORD,
      code.CORRUPT_MESSAGE,
      code.UNKNOWN_SERVER_ERROR,
    ])
  })

  test('a future version of ApiVersions is answered in version 0 with UNSUPPORTED_VERSION', async () => {
    const connection = await open()
    // Behind the header of a flexible version, which ends with its (empty) tagged fields, no body at all.
    const answer = await connection.request(18, 99, Buffer.of(0))
    assert.equal(answer.int16(), code.UNSUPPORTED_VERSION)
    assert.deepEqual(
      answer.array(() => [answer.int16(), answer.int16(), answer.int16()]),
      [[18, 0, 4]],
    )
    assert.equal(
      (await connection.request(18, 0, Buffer.alloc(0))).int16(),
      code.NONE,
      'the connection stays open for another try',
    )
  })

  for (const [what, apiKey, version] of [
    ['a future version of Metadata', 3, 99],
    ['a version of Produce that is no longer served', 0, 2],
    ['an API key that does not exist', 9999, 0],
    ['a negative API key', -5, 0],
  ] as const) {
    test(`${what} closes the connection`, async () => {
      const connection = await open()
      connection.write(frame(apiKey, version, 1, Buffer.alloc(40)))
      await expectClosed(connection)
    })
  }

  test('a body that ends early closes the connection', async () => {
    const connection = await open()
    connection.write(frame(0, 8, 1, produceBody(topic, 0, one('x')).subarray(0, 25)))
    await expectClosed(connection)
  })

  test('an array length far beyond the frame closes the connection', async () => {
    const connection = await open()
    connection.write(frame(3, 1, 1, new Bytes().int32(0x7fff_ffff).done()))
    await expectClosed(connection)
  })

  for (const [what, bytes] of [
    ['a length prefix of 2 GiB', new Bytes().int32(0x7fff_ffff).done()],
    ['a negative length prefix', new Bytes().int32(-1).done()],
    ['a length prefix of 0', new Bytes().int32(0).done()],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a TLS hello', Buffer.from('1603010200010001fc0303', 'hex')],
  ] as const) {
    test(`${what} closes the connection at once`, async () => {
      const connection = await open()
      connection.write(bytes)
      await expectClosed(connection)
    })
  }

  test('half a frame keeps nobody waiting, and is answered when its other half comes', async () => {
    const connection = await open()
    const request = frame(0, 8, 7, produceBody(topic, 0, one('in two halves')))
    connection.write(request.subarray(0, 30))
    for (let round = 0; round < 20; round++) {
      assert.equal((await produce(bystander, topic, 0, one('meanwhile'))).error, code.NONE)
    }
    assert.equal(connection.isClosed, false)
    connection.write(request.subarray(30))
    assert.equal((await connection.next()).readInt32BE(0), 7)
  })

  test('frames cut at every byte are put together again', async () => {
    const connection = await open()
    const request = frame(18, 0, 1, Buffer.alloc(0))
    for (let cut = 1; cut < request.length; cut += 3) {
      connection.write(request.subarray(0, cut))
      await sleep(2)
      connection.write(request.subarray(cut))
      assert.equal((await connection.next()).readInt16BE(4), code.NONE)
    }
  })

  test('a hundred requests in one write are answered in order', async () => {
    const connection = await open()
    const requests = Array.from({ length: 100 }, (_, index) => frame(18, 0, index, Buffer.alloc(0)))
    connection.write(Buffer.concat(requests))
    for (let index = 0; index < 100; index++) assert.equal((await connection.next()).readInt32BE(0), index)
  })

  test('a client that never reads its answers holds up itself only, within bounded memory', async () => {
    const large = `${topic}-large`
    assert.equal(await createTopic(bystander, large, 1), code.NONE)
    for (let index = 0; index < 20; index++) {
      assert.equal(
        (await produce(bystander, large, 0, recordBatch({ values: [Buffer.alloc(900_000, 'x')] }))).error,
        code.NONE,
      )
    }
    const before = residentMegabytes()
    const connection = await open()
    connection.socket.pause()
    // 2,000 answers of about 10 MB each would be 20 GB.
    const request = frame(1, 11, 1, fetchBody(large, 0, 0, { maxBytes: 10 << 20 }))
    for (let index = 0; index < 2000; index++) connection.write(request)
    for (let round = 0; round < 50; round++) {
      assert.equal((await produce(bystander, topic, 0, one('meanwhile'))).error, code.NONE)
      await sleep(20)
    }
    if (target.kind === 'millrace')
      assert.ok(residentMegabytes() - before < 200, `${before} MB before, ${residentMegabytes()} MB after`)
  })

  test('5,000 idle connections are held, and then let go', async () => {
    const before = residentMegabytes()
    const idle: RawConnection[] = []
    for (let round = 0; round < 50; round++) {
      idle.push(...(await Promise.all(Array.from({ length: 100 }, () => RawConnection.open(target.port, target.host)))))
    }
    const last = idle.at(-1)
    assert.ok(last)
    assert.equal((await last.request(18, 0, Buffer.alloc(0))).int16(), code.NONE, 'the last one is served')
    assert.equal((await produce(bystander, topic, 0, one('meanwhile'))).error, code.NONE)
    if (target.kind === 'millrace')
      assert.ok(residentMegabytes() - before < 400, `${before} MB before, ${residentMegabytes()} MB after`)
    assert.equal(idle.filter(({ isClosed }) => isClosed).length, 0)
    for (const connection of idle) connection.close()
    const pid = target.pid
    if (pid === undefined) return
    await eventually('the sockets to be closed', 20_000, async () => (openFileCount(pid) < 2000 ? true : undefined))
  })

  function residentMegabytes(): number {
    if (target.pid === undefined) return 0
    const status = readFileSync(`/proc/${target.pid}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
  }
})

function openFileCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

describe('a connection that idles', () => {
  test('is closed after connections.max.idle.ms, half a frame or not', async () => {
    const target = await openTarget({ properties: { 'connections.max.idle.ms': '2000' } })
    try {
      const silent = await RawConnection.open(target.port, target.host)
      const half = await RawConnection.open(target.port, target.host)
      half.write(frame(18, 0, 1, Buffer.alloc(0)).subarray(0, 7))
      const closed = Promise.all([silent.closed, half.closed]).then(() => 'closed')
      assert.equal(await Promise.race([closed, sleep(20_000, 'open', { ref: false })]), 'closed')
    } finally {
      await target.close()
    }
  })
})
