// A broker that does nothing: acknowledges every Produce at once and keeps no byte. `node bench/null-broker.ts PORT`
//
// The column "nothing" of run.ts: what the generator and the machine allow, so that a figure close to it says nothing about
// the broker beside it. Only what the open-loop and max-rate cases send is answered.

import { createServer } from 'node:net'

/** Length of a Produce v8 partition entry in an answer. */
const partitionAnswerBytes = 36

createServer({ noDelay: true }, (socket) => {
  let pending: Buffer = Buffer.alloc(0)
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
    let at = 0
    while (pending.length - at >= 4) {
      const end = at + 4 + pending.readInt32BE(at)
      if (end > pending.length) break
      socket.write(answer(pending.subarray(at + 4, end)))
      at = end
    }
    pending = pending.subarray(at)
  })
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'))

function answer(request: Buffer): Buffer {
  const apiKey = request.readInt16BE(0)
  const body = 10 + Math.max(0, request.readInt16BE(8))
  if (apiKey === 0) return produced(request, body)
  if (apiKey === 2) return listed(request, body)
  const out = Buffer.alloc(64)
  out.writeInt32BE(60, 0)
  request.copy(out, 4, 4, 8)
  return out
}

function produced(request: Buffer, body: number): Buffer {
  const topicAt = body + 2 + 2 + 4 + 4
  const topicBytes = 2 + request.readInt16BE(topicAt)
  const parts = request.readInt32BE(topicAt + topicBytes)
  const out = Buffer.alloc(4 + 4 + 4 + topicBytes + 4 + parts * partitionAnswerBytes + 4)
  out.writeInt32BE(out.length - 4, 0)
  request.copy(out, 4, 4, 8)
  out.writeInt32BE(1, 8)
  request.copy(out, 12, topicAt, topicAt + topicBytes)
  let at = 12 + topicBytes
  at = out.writeInt32BE(parts, at)
  let from = topicAt + topicBytes + 4
  for (let index = 0; index < parts; index++) {
    out.writeInt32BE(request.readInt32BE(from), at)
    out.writeInt16BE(-1, at + 34)
    at += partitionAnswerBytes
    from += 8 + request.readInt32BE(from + 4)
  }
  return out
}

function listed(request: Buffer, body: number): Buffer {
  const topicAt = body + 4 + 4
  const topicBytes = 2 + request.readInt16BE(topicAt)
  const out = Buffer.alloc(12 + topicBytes + 4 + 22)
  out.writeInt32BE(out.length - 4, 0)
  request.copy(out, 4, 4, 8)
  out.writeInt32BE(1, 8)
  request.copy(out, 12, topicAt, topicAt + topicBytes)
  out.writeInt32BE(1, 12 + topicBytes)
  return out
}
