import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Connection, type ConnectionHost, type FrameMemory, type Reply } from '../../../../broker/net/connection.ts'
import type { StreamSocket, StreamSocketEvents } from '../../../../broker/net/stream-socket.ts'

class FakeSocket implements StreamSocket {
  readonly remoteHost = '127.0.0.1'
  bufferedBytes = 0
  takenBytes = 0
  events!: StreamSocketEvents
  readonly written: string[] = []
  readonly done: (() => void)[] = []
  resumed = 0
  destroyed = false

  open(events: StreamSocketEvents): void {
    this.events = events
  }

  write(fragments: readonly Uint8Array[], done: () => void): void {
    this.written.push(Buffer.concat(fragments).toString())
    this.done.push(done)
  }

  resume(): void {
    this.resumed++
  }

  destroy(): void {
    this.destroyed = true
  }
}

class FakeHost implements ConnectionHost {
  maxFrameBytes = 1000
  readonly frames: string[] = []
  readonly replies: Reply[] = []
  readonly refusals: string[] = []
  isCongested = false
  hasRoom = true
  allocated = 0
  closedCount = 0
  roomCalls: (() => void)[] = []
  fail: Error | undefined
  /** Given to each request at once. */
  answer: Buffer | undefined

  serve(connection: Connection, frame: Buffer, _memory: FrameMemory | undefined): void {
    if (this.fail !== undefined) throw this.fail
    this.frames.push(frame.toString())
    const reply = connection.begin(frame.length)
    this.replies.push(reply)
    if (this.answer !== undefined) reply.send([this.answer], undefined)
  }

  allocateFrame(bytes: number): FrameMemory | undefined {
    if (!this.hasRoom) return undefined
    this.allocated++
    return {
      bytes: Buffer.alloc(bytes),
      arenaAt: -1,
      retain: () => {},
      release: () => {
        this.allocated--
      },
    }
  }

  onRoom(call: () => void): void {
    this.roomCalls.push(call)
  }

  room(): void {
    for (const call of this.roomCalls.splice(0)) call()
  }

  congested(): boolean {
    return this.isCongested
  }

  closed(): void {
    this.closedCount++
  }

  refused(_connection: Connection, reason: string): void {
    this.refusals.push(reason)
  }
}

function frame(text: string): Buffer {
  const bytes = Buffer.alloc(4 + text.length)
  bytes.writeInt32BE(text.length, 0)
  bytes.write(text, 4)
  return bytes
}

function open() {
  const socket = new FakeSocket()
  const host = new FakeHost()
  const connection = new Connection(1, socket, host, 'PLAINTEXT', 0)
  connection.start()
  return { socket, host, connection }
}

test('frames are found however the bytes are cut', () => {
  const texts = ['a', 'bb', 'c'.repeat(300), 'd', 'e'.repeat(999)]
  const bytes = Buffer.concat(texts.map(frame))
  for (const step of [1, 2, 3, 5, 7, 64, 301, bytes.length]) {
    const { socket, host } = open()
    // The read buffer is reused, as the real one is.
    const buffer = Buffer.alloc(bytes.length)
    for (let at = 0; at < bytes.length; at += step) {
      const count = Math.min(step, bytes.length - at)
      bytes.copy(buffer, 0, at, at + count)
      assert.equal(socket.events.read(buffer.subarray(0, count)), true)
      buffer.fill(0xee)
    }
    assert.deepEqual(host.frames, texts)
    assert.equal(host.allocated, 0, 'frame memory is given back')
  }
})

test('answers leave in the order of the requests, whatever order they are made in', () => {
  const { socket, host } = open()
  socket.events.read(Buffer.concat([frame('1'), frame('2'), frame('3'), frame('4')]))
  const [one, two, three, four] = host.replies as [Reply, Reply, Reply, Reply]
  three.send([Buffer.from('third')], undefined)
  one.skip()
  assert.deepEqual(socket.written, [])
  two.send([Buffer.from('sec'), Buffer.from('ond')], undefined)
  assert.deepEqual(socket.written, ['second', 'third'])
  four.send([Buffer.from('fourth')], undefined)
  assert.deepEqual(socket.written, ['second', 'third', 'fourth'])
})

test('what an answer holds is released once: after its write, or when the connection ends before', () => {
  const { socket, host, connection } = open()
  socket.events.read(Buffer.concat([frame('1'), frame('2'), frame('3')]))
  const released = [0, 0, 0]
  const [one, two, three] = host.replies as [Reply, Reply, Reply]
  one.send([Buffer.from('x')], () => released[0]!++)
  assert.equal(released[0], 0)
  socket.done[0]!()
  assert.equal(released[0], 1)
  three.send([Buffer.from('z')], () => released[2]!++)
  connection.destroy()
  assert.deepEqual(released, [1, 0, 1])
  two.send([Buffer.from('y')], () => released[1]!++)
  assert.deepEqual(released, [1, 1, 1])
  assert.equal(host.closedCount, 1)
})

for (const length of [0, -1, 1001, 0x7fff_ffff, -0x8000_0000]) {
  test(`a length prefix of ${length} closes the connection without an answer`, () => {
    const { socket, host } = open()
    const bytes = Buffer.alloc(4)
    bytes.writeInt32BE(length, 0)
    socket.events.read(bytes)
    assert.equal(socket.destroyed, true)
    assert.equal(host.refusals.length, 1)
    assert.deepEqual(host.frames, [])
    assert.equal(host.allocated, 0)
  })
}

test('a frame that cannot be understood closes the connection and is no crash', () => {
  const { socket, host } = open()
  host.fail = new Error('not a request')
  socket.events.read(Buffer.concat([frame('1'), frame('2')]))
  assert.deepEqual(host.refusals, ['not a request'])
  assert.equal(socket.destroyed, true)
})

test('reading stops while the client leaves its answers unread, and goes on when it has read them', () => {
  const { socket, host } = open()
  socket.bufferedBytes = 10 << 20
  assert.equal(socket.events.read(frame('1')), false)
  socket.bufferedBytes = 0
  host.replies[0]!.send([Buffer.from('x')], undefined)
  assert.equal(socket.resumed, 1)
})

test('reading stops while too many requests are open', () => {
  const { socket, host } = open()
  let goesOn = true
  let count = 0
  while (goesOn && count < 10_000) {
    goesOn = socket.events.read(frame('r'))
    count++
  }
  assert.ok(count < 10_000, 'it stopped')
  for (const reply of host.replies.slice(0, 200)) reply.send([Buffer.from('x')], undefined)
  assert.ok(socket.resumed > 0)
})

test('a frame that finds no room is held, and served when there is room', () => {
  const { socket, host } = open()
  host.hasRoom = false
  const bytes = frame('f'.repeat(500))
  assert.equal(socket.events.read(bytes.subarray(0, 100)), false)
  host.hasRoom = true
  host.room()
  assert.equal(socket.resumed, 1)
  assert.equal(socket.events.read(bytes.subarray(100)), true)
  assert.deepEqual(host.frames, ['f'.repeat(500)])
})

test('a congested shard stops its connections from reading until there is room', () => {
  const { socket, host } = open()
  host.isCongested = true
  assert.equal(socket.events.read(frame('1')), false)
  assert.deepEqual(host.frames, ['1'], 'what was read is served')
  host.isCongested = false
  host.room()
  assert.equal(socket.resumed, 1)
})

test('a client that takes nothing of its answers is told from a slow one', () => {
  const { socket, connection } = open()
  assert.equal(connection.unreadForMs(1000), 0, 'nothing waits for it')
  socket.bufferedBytes = 500
  assert.equal(connection.unreadForMs(3000), 2000)
  socket.takenBytes = 100
  assert.equal(connection.unreadForMs(5000), 0, 'it took some')
  assert.equal(connection.unreadForMs(9000), 4000)
})

test('a read that brings more requests than may be open is served in part, and goes on with each answer', () => {
  const { socket, host } = open()
  const texts = Array.from({ length: 600 }, (_, at) => `r${at}`)
  const buffer = Buffer.concat(texts.map(frame))
  assert.equal(socket.events.read(buffer), false)
  buffer.fill(0xee)
  assert.equal(host.frames.length, 512)
  host.replies[0]!.send([Buffer.from('x')], undefined)
  assert.deepEqual([host.frames.length, socket.resumed], [513, 0])
  for (let at = 1; at < 90; at++) host.replies[at]!.send([Buffer.from('x')], undefined)
  assert.deepEqual(host.frames, texts)
  assert.equal(socket.resumed, 1)
})

test('answers that are made at once wait for the client too: what it does not read is not asked for', () => {
  const { socket, host } = open()
  // As a socket behaves that takes nothing.
  host.answer = Buffer.alloc(300_000)
  socket.write = (fragments, done) => {
    for (const { length } of fragments) socket.bufferedBytes += length
    socket.done.push(done)
  }
  const texts = Array.from({ length: 50 }, (_, at) => `r${at}`)
  assert.equal(socket.events.read(Buffer.concat(texts.map(frame))), false)
  const served = (): number => host.frames.length
  assert.equal(served(), 4)
  while (socket.done.length > 0) {
    socket.bufferedBytes -= host.answer.length
    socket.done.shift()!()
    assert.ok(socket.bufferedBytes <= 1 << 20 || socket.bufferedBytes - host.answer.length <= 1 << 20)
    assert.ok(socket.resumed === 0 || served() === 50, 'nothing new comes before what is held')
  }
  assert.deepEqual(host.frames, texts)
})

test('reading stops while the open requests of a connection hold much memory', () => {
  const { socket, host } = open()
  host.maxFrameBytes = 8 << 20
  const large = frame('l'.repeat(3 << 20))
  assert.equal(socket.events.read(large), true)
  assert.equal(socket.events.read(large), false)
  assert.equal(host.frames.length, 2)
  host.replies[0]!.send([Buffer.from('x')], undefined)
  assert.equal(socket.resumed, 1)
  assert.equal(socket.events.read(large), false)
  host.replies[1]!.skip()
  assert.equal(socket.resumed, 2)
})

test('who waits with a connection hears of its end once, and not after having taken that back', () => {
  const { connection } = open()
  const heard: string[] = []
  const waiters = ['a', 'b', 'c'].map((name) => ({
    connectionEnded: () => {
      heard.push(name)
      connection.endWait(waiters[2]!)
    },
  }))
  for (const waiter of waiters) connection.beginWait(waiter)
  connection.endWait(waiters[1]!)
  connection.endWait(waiters[2]!)
  connection.destroy()
  connection.destroy()
  assert.deepEqual(heard, ['a'])
})
