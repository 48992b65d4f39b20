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
  readonly maxFrameBytes = 1000
  readonly frames: string[] = []
  readonly replies: Reply[] = []
  readonly refusals: string[] = []
  isCongested = false
  hasRoom = true
  allocated = 0
  closedCount = 0
  roomCalls: (() => void)[] = []
  fail: Error | undefined

  serve(connection: Connection, frame: Buffer, _memory: FrameMemory | undefined): void {
    if (this.fail !== undefined) throw this.fail
    this.frames.push(frame.toString())
    this.replies.push(connection.begin())
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
