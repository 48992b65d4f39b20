// More requests than a broker keeps: it stops reading where a client does not take its answers, and what it refuses may be asked again.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceBroker } from '../support/broker.ts'
import { Bytes, Cursor, createTopic, fetchBody, frame, produce, RawConnection, recordBatch } from '../support/raw.ts'

const NONE = 0
const REQUEST_TIMED_OUT = 7
const LARGE = 'large'
/** One Metadata answer tells of all of them, in some 100 kB. */
const PARTITIONS = 4000

let broker: MillraceBroker
let bystander: RawConnection

before(async () => {
  broker = await MillraceBroker.start({ shards: 2, memory: '128MiB' })
  bystander = await RawConnection.open(broker.port)
  assert.equal(await createTopic(bystander, 'small', 1), NONE)
  assert.equal(createdError(await bystander.request(19, 4, createBody(LARGE, PARTITIONS, false))), NONE)
})

after(async () => {
  bystander?.close()
  await broker?.close()
})

function createBody(topic: string, partitions: number, validateOnly: boolean): Buffer {
  const body = new Bytes().int32(1).string(topic).int32(partitions).int16(1).int32(0).int32(0)
  return body
    .int32(60_000)
    .int8(validateOnly ? 1 : 0)
    .done()
}

function createdError(answer: Cursor): number {
  answer.int32()
  answer.int32()
  answer.string()
  return answer.int16()
}

test('a burst of changes beyond what may wait is answered in full: done, or REQUEST_TIMED_OUT, which is asked again', async () => {
  const connections = await Promise.all([0, 1, 2, 3].map(() => RawConnection.open(broker.port)))
  try {
    const creating = bystander.request(19, 4, createBody('slow', PARTITIONS, false))
    const errors: number[] = []
    const answered = connections.map(async (connection, at) => {
      const requests = Array.from({ length: 500 }, (_, id) => frame(19, 4, id, createBody(`t-${at}-${id}`, 1, true)))
      connection.write(Buffer.concat(requests))
      for (let id = 0; id < requests.length; id++) {
        const answer = await connection.next()
        assert.equal(answer.readInt32BE(0), id, 'in order')
        errors.push(createdError(new Cursor(answer, 4)))
      }
    })
    await Promise.all(answered)
    assert.equal(createdError(await creating), NONE)
    const refused = errors.filter((error) => error === REQUEST_TIMED_OUT).length
    assert.equal(errors.filter((error) => error === NONE).length + refused, 2000)
    assert.ok(refused > 0 && refused < 2000, `${refused} of 2000 were refused`)
    const again = await connections[0]!.request(19, 4, createBody('again', 1, true))
    assert.equal(createdError(again), NONE)
  } finally {
    for (const connection of connections) connection.close()
  }
})

test('large answers to small requests in one write are made as the client takes them', async () => {
  const connection = await RawConnection.open(broker.port)
  try {
    const residentBefore = residentMegabytes()
    connection.socket.pause()
    const body = new Bytes().int32(1).string(LARGE).done()
    const requests = Array.from({ length: 2000 }, (_, id) => frame(3, 1, id, body))
    connection.write(Buffer.concat(requests))
    for (let round = 0; round < 20; round++) {
      const { error } = await produce(bystander, 'small', 0, recordBatch({ values: [Buffer.from('meanwhile')] }))
      assert.equal(error, NONE)
      await sleep(20)
    }
    const grownMegabytes = residentMegabytes() - residentBefore
    assert.ok(grownMegabytes < 150, `${grownMegabytes} MB more`)
    connection.socket.resume()
    let bytes = 0
    for (let id = 0; id < requests.length; id++) {
      const answer = await connection.next()
      assert.equal(answer.readInt32BE(0), id)
      bytes += answer.length
    }
    assert.ok(bytes > 200_000_000, `${bytes} bytes in all`)
  } finally {
    connection.close()
  }
})

test('more requests than may be open are all answered, in order', async () => {
  const connection = await RawConnection.open(broker.port)
  try {
    const fetches = 2000
    const body = fetchBody('small', 0, 1_000_000, { maxWaitMs: 0 })
    const poll = fetchBody('small', 0, 20, { maxWaitMs: 500 })
    const requests = Array.from({ length: fetches }, (_, id) => frame(1, 11, id, id === 0 ? poll : body))
    connection.write(Buffer.concat(requests))
    for (let id = 0; id < fetches; id++) assert.equal((await connection.next()).readInt32BE(0), id)
  } finally {
    connection.close()
  }
})

function residentMegabytes(): number {
  const status = readFileSync(`/proc/${broker.pid}/status`, 'utf8')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024)
}
