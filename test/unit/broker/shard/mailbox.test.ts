import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { MailboxReader, MailboxSender, ringBytes } from '../../../../broker/shard/mailbox.ts'

function pair(capacityBytes: number) {
  const memory = new SharedArrayBuffer(ringBytes(capacityBytes))
  let wakes = 0
  let roomWakes = 0
  const sender = new MailboxSender(memory, () => wakes++)
  const reader = new MailboxReader(memory, () => roomWakes++)
  return { sender, reader, wakes: () => wakes, roomWakes: () => roomWakes }
}

function drainAll(reader: MailboxReader): Buffer[] {
  const messages: Buffer[] = []
  reader.drain(Number.MAX_SAFE_INTEGER, (message) => messages.push(Buffer.from(message)))
  return messages
}

test('messages arrive whole and in order, over the end of the ring', () => {
  const { sender, reader } = pair(256)
  let sent = 0
  let received = 0
  for (let round = 0; round < 200; round++) {
    for (let count = 0; count < 3; count++) sender.send(Buffer.alloc((sent * 7) % 40, sent++ & 0xff))
    for (const message of drainAll(reader)) {
      assert.equal(message.length, (received * 7) % 40)
      assert.ok(message.every((byte) => byte === (received & 0xff)))
      received++
    }
  }
  assert.equal(received, sent)
})

test('a message larger than the ring arrives in one piece', () => {
  const { sender, reader } = pair(256)
  const large = Buffer.from(Array.from({ length: 1000 }, (_, at) => at & 0xff))
  sender.send(large)
  sender.send(Buffer.from('behind'))
  const messages: Buffer[] = []
  for (let turn = 0; turn < 20 && messages.length < 2; turn++) {
    messages.push(...drainAll(reader))
    sender.flush()
  }
  assert.deepEqual(messages[0], large)
  assert.equal(messages[1]?.toString(), 'behind')
  assert.equal(sender.congested, false)
})

test('a full ring keeps the rest in order on the sender’s side and says so until the reader has made room', () => {
  const { sender, reader, roomWakes } = pair(256)
  for (let at = 0; at < 50; at++) sender.send(Buffer.from([at, at, at, at, at, at, at, at, at, at]))
  assert.equal(sender.congested, true)
  const seen: number[] = []
  for (let turn = 0; turn < 50 && seen.length < 50; turn++) {
    for (const message of drainAll(reader)) seen.push(message[0]!)
    sender.flush()
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, at) => at),
  )
  assert.equal(sender.congested, false)
  assert.ok(roomWakes() > 0, 'the reader wakes a sender that waits for room')
})

test('what is sent may be changed afterwards, also while it waits for room', () => {
  const { sender, reader } = pair(256)
  const bytes = Buffer.alloc(50, 1)
  for (let at = 0; at < 10; at++) sender.send(bytes)
  bytes.fill(2)
  let count = 0
  for (let turn = 0; turn < 10; turn++) {
    for (const message of drainAll(reader)) {
      assert.ok(message.every((byte) => byte === 1))
      count++
    }
    sender.flush()
  }
  assert.equal(count, 10)
})

test('two threads exchange a hundred thousand messages without losing or changing one', async () => {
  const memory = new SharedArrayBuffer(ringBytes(1 << 14))
  const path = JSON.stringify(new URL('../../../../broker/shard/mailbox.ts', import.meta.url).href)
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads')
     import(${path}).then(({ MailboxSender }) => {
       const sender = new MailboxSender(workerData, () => {})
       let at = 0
       const turn = () => {
         sender.flush()
         for (; at < 100000 && !sender.congested; at++) {
           const message = Buffer.alloc(8 + (at % 90), at & 0xff)
           message.writeUInt32LE(at, 0)
           sender.send(message)
         }
         if (at < 100000 || sender.congested) setImmediate(turn)
       }
       turn()
     })`,
    { eval: true, workerData: memory, execArgv: [] },
  )
  const failed = new Promise<never>((_resolve, reject) => worker.once('error', reject))
  const reader = new MailboxReader(memory, () => {})
  let next = 0
  const all = new Promise<void>((resolve) => {
    const turn = (): void => {
      reader.drain(1000, (message) => {
        assert.equal(message.readUInt32LE(0), next)
        assert.equal(message.length, 8 + (next % 90))
        assert.equal(message.at(-1), message.length > 4 ? next & 0xff : message.at(-1))
        next++
      })
      if (next < 100_000) setImmediate(turn)
      else resolve()
    }
    turn()
  })
  await Promise.race([all, failed])
  await worker.terminate()
  assert.equal(next, 100_000)
})
