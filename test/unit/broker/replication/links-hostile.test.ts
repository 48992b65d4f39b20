import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StreamSocket } from '../../../../broker/net/stream-socket.ts'
import {
  LinkKind,
  Purpose,
  readHello,
  readRefusal,
  refusalName,
  writeWelcome,
} from '../../../../broker/replication/link-handshake.ts'
import { MalformedPeerBytes, PeerReader } from '../../../../broker/replication/peer-wire.ts'
import { frameOf, HELLO, helloOf } from './link-bytes.ts'
import { LinkWorld, PORT, type Process, TEXT } from './link-world.ts'

interface Stranger {
  readonly socket: StreamSocket
  isClosed: boolean
  readonly heard: Buffer
  /** Of the first message heard. */
  readonly kind: number
  readonly refusal: string
  write(bytes: Buffer): void
}

/** Somebody who writes whatever it likes to the peer port. */
function knock(world: LinkWorld, ...pieces: Buffer[]): Stranger {
  const loop = world.world.loop()
  const socket = world.network.of('stranger', loop).dial('host1', PORT)
  const heard: Buffer[] = []
  const state = {
    socket,
    isClosed: false,
    get heard() {
      return Buffer.concat(heard)
    },
    get kind() {
      return this.heard[12] ?? 0
    },
    get refusal() {
      assert.equal(this.kind, LinkKind.REFUSAL)
      return refusalName(readRefusal(new PeerReader(this.heard, 20)).code)
    },
    write(bytes: Buffer) {
      socket.write([bytes], () => {})
      world.advance(5)
    },
  }
  socket.open({
    read: (bytes) => {
      heard.push(Buffer.from(bytes))
      return true
    },
    closed: () => {
      state.isClosed = true
    },
  })
  world.advance(5)
  for (const piece of pieces) state.write(piece)
  return state
}

function listening(): { world: LinkWorld; a: Process } {
  const world = new LinkWorld()
  return { world, a: world.process({ nodeId: 1 }) }
}

test('whoever does not begin with a sound hello is cut off with one line', () => {
  const kafka = Buffer.from('0000001c001200030000000100046b636174000e6c696272646b61666b6100', 'hex')
  const damaged = helloOf()
  damaged[40] = damaged[40]! ^ 1
  const nonsense = [
    Buffer.from('GET / HTTP/1.1\r\nHost: broker\r\n\r\n'),
    kafka,
    Buffer.alloc(64),
    Buffer.alloc(64, 0xff),
    damaged,
    // A frame longer than any hello.
    frameOf((message) => message(LinkKind.HELLO).bytes(new Uint8Array(5000)).end()),
    // Sound frames that are no hello.
    frameOf((message) => message(TEXT).text('hello').end()),
    frameOf((message) => message(LinkKind.HELLO).text('hello').end()),
    frameOf((message) => message(LinkKind.HELLO).end()),
    helloOf({ versionMin: 5, versionMax: 1 }),
    helloOf({ shardId: 3 }),
    helloOf({ shardCount: 1_000_000 }),
    helloOf({ nodeId: -4 }),
    helloOf({ incarnation: Number.NaN }),
    helloOf({ address: { host: 'x'.repeat(600), port: 1 } }),
    helloOf({ address: { host: 'x', port: 70_000 } }),
  ]
  for (const [at, bytes] of nonsense.entries()) {
    const { world, a } = listening()
    const stranger = knock(world, bytes)
    assert.equal(stranger.isClosed, true, `nonsense ${at}`)
    assert.equal(stranger.heard.length, 0, `nonsense ${at}`)
    knock(world, bytes)
    assert.equal(a.lines.length, 1, `nonsense ${at}`)
    assert.match(a.lines[0]!, /connection from stranger to the peer port is cut off/)
    world.advance(60_000)
    knock(world, bytes)
    assert.equal(a.lines.length, 2, 'again after a minute')
    assert.deepEqual(a.links.stats(), [])
    assert.equal(world.network.socketCount, 0)
  }
})

test('whoever says hello too slowly, or nothing at all, is cut off', () => {
  const { world, a } = listening()
  const silent = knock(world)
  const slow = knock(world)
  const hello = helloOf()
  for (let at = 0; at < 40; at++) {
    slow.write(hello.subarray(at, at + 1))
    world.advance(200)
  }
  assert.ok(silent.isClosed && slow.isClosed)
  assert.match(a.lines[0]!, /no hello within 5000 ms/)
})

test('strangers cannot take all connections', () => {
  const { world } = listening()
  const strangers = Array.from({ length: 140 }, () => knock(world))
  const turnedAway = strangers.filter(({ isClosed }) => isClosed).length
  assert.equal(turnedAway, 12)
  world.advance(6000)
  assert.ok(strangers.every(({ isClosed }) => isClosed))
  assert.equal(knock(world, helloOf()).kind, LinkKind.WELCOME)
})

test('a hello that is sound and unwelcome gets a reason', () => {
  const { world } = listening()
  const cases: [string, Parameters<typeof helloOf>[0]][] = [
    ['VERSION', { versionMin: 2, versionMax: 9 }],
    ['VERSION', { versionMin: 0, versionMax: 0 }],
    ['WRONG_NODE', { wantedNode: 2 }],
    ['NO_SUCH_SHARD', { wantedShard: 1 }],
    ['OTHER_CLUSTER', { clusterId: 'another' }],
    ['UNDECIDED', { clusterId: '' }],
    ['NODE_ID_IN_USE', { nodeId: 1 }],
  ]
  for (const [name, changes] of cases) {
    const stranger = knock(world, helloOf(changes))
    assert.equal(stranger.refusal, name)
    assert.ok(stranger.isClosed)
  }
  assert.equal(
    knock(world, helloOf({ versionMax: 9 })).kind,
    LinkKind.WELCOME,
    'a newer one that can speak our version',
  )
  // A later version may say more in its hello.
  const longer = frameOf((message) => {
    const body = helloOf({ connectionNumber: 2 }).subarray(20)
    message(LinkKind.HELLO).bytes(body).text('and more').end()
  })
  assert.equal(knock(world, longer).kind, LinkKind.WELCOME)
})

test('nonsense behind a good hello cuts the connection and harms nobody else', () => {
  const ping = frameOf((message) => message(LinkKind.PING).u32(1).end())
  const raw = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(ping)
    change(bytes)
    return bytes
  }
  const cases = [
    helloOf(),
    frameOf((message) => message(LinkKind.WELCOME).end()),
    frameOf((message) => message(255).end()),
    frameOf((message) => message(LinkKind.PONG).u32(1).end()),
    frameOf((message) => message(LinkKind.PING).end()),
    frameOf((message) => message(LinkKind.READY).u8(1).end()),
    // A reserved byte of the message header; the length of the message; both under a right checksum.
    frameOf((message) => message(0x1_0000 + TEXT).end()),
    frameOf((message) => message(0).end()),
    raw((bytes) => bytes.writeUInt32LE(0, 0)),
    raw((bytes) => bytes.writeUInt32LE(0x7fff_ffff, 0)),
    raw((bytes) => bytes.writeUInt32LE(0xffff_ffff, 0)),
    raw((bytes) => bytes.writeUInt32LE(8, 0)),
    raw((bytes) => bytes.writeUInt32LE(1, 8)),
    raw((bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(4) + 1, 4)),
  ]
  for (const [at, bytes] of cases.entries()) {
    const world = new LinkWorld()
    const [a, b] = world.brokers(2)
    const stranger = knock(world, helloOf())
    assert.equal(stranger.kind, LinkKind.WELCOME)
    stranger.write(bytes)
    assert.ok(stranger.isClosed, `nonsense ${at}`)
    assert.equal(a!.lines.length, 1, `nonsense ${at}: ${a!.lines}`)
    assert.deepEqual(a!.texts, [])
    assert.ok(b!.say(1, 'still there'))
    world.advance(5)
    assert.deepEqual(a!.texts, ['still there'])
    assert.deepEqual(a!.events, [])
  }
})

/** Broker 7 by hand: it says hello to broker 1, and welcomes the one that dials back while `isWelcoming`. */
function byHand(world: LinkWorld) {
  const loop = world.world.loop()
  const stranger = knock(world)
  const state = {
    stranger,
    write: (bytes: Buffer) => stranger.write(bytes),
    isWelcoming: true,
    /** Of the newest connection that was dialed back. */
    connectionNumber: 0,
    back: undefined as StreamSocket | undefined,
  }
  world.network.listen('stranger', 9000, loop, (socket) => {
    if (!state.isWelcoming) {
      socket.destroy()
      return
    }
    state.back = socket
    socket.open({
      read: (bytes) => {
        if (bytes[12] !== LinkKind.HELLO) return true
        state.connectionNumber = readHello(new PeerReader(Buffer.from(bytes), 20)).connectionNumber
        const welcome = frameOf((message) => {
          const writer = message(LinkKind.WELCOME)
          writeWelcome(writer, { ...HELLO, version: 1 })
          writer.end()
        })
        socket.write([welcome], () => {})
        return true
      },
      closed: () => {},
    })
  })
  state.write(helloOf())
  world.advance(10)
  return state
}

const text = (words: string): Buffer => frameOf((message) => message(TEXT).text(words).end())
const ready = (number: number): Buffer => frameOf((message) => message(LinkKind.READY).u32(number).end())

test('messages count only after the other side has said that it holds our present connection', () => {
  const { world, a } = listening()
  const peer = byHand(world)
  assert.ok(peer.connectionNumber > 0)
  peer.write(text('before READY'))
  peer.write(ready(peer.connectionNumber + 1))
  peer.write(text('after a READY for another connection'))
  assert.deepEqual([...a.texts, ...a.events], [])
  peer.write(ready(peer.connectionNumber))
  assert.deepEqual(a.events, ['heard 7/0', 'up 7/0'])
  peer.write(text('now'))
  assert.deepEqual(a.texts, ['now'])
  // Our connection breaks and is made again: the READY for the old one says nothing about the new one.
  const before = peer.connectionNumber
  peer.back!.destroy()
  world.advance(100)
  assert.ok(peer.connectionNumber > before)
  assert.deepEqual(a.events, ['heard 7/0', 'up 7/0', 'down 7/0'])
  peer.write(text('for the old one'))
  peer.write(ready(peer.connectionNumber))
  peer.write(text('for the new one'))
  assert.deepEqual(a.texts, ['now', 'for the new one'])
})

test('a peer that we hear and cannot reach falls silent', () => {
  const { world, a } = listening()
  const peer = byHand(world)
  peer.write(ready(peer.connectionNumber))
  peer.isWelcoming = false
  peer.back!.destroy()
  for (let at = 0; at < 12; at++) {
    assert.ok(!peer.stranger.isClosed)
    peer.write(frameOf((message) => message(LinkKind.PING).u32(at).end()))
    world.advance(50)
  }
  assert.deepEqual(a.events, ['heard 7/0', 'up 7/0', 'down 7/0'])
  world.advance(250)
  assert.deepEqual(a.events.slice(3), ['silent 7/0'])
})

test('an older connection that arrives late does not replace the newer one', () => {
  const { world } = listening()
  const newer = knock(world, helloOf({ connectionNumber: 8 }))
  const older = knock(world, helloOf({ connectionNumber: 7 }))
  assert.ok(older.isClosed && !newer.isClosed)
  const newest = knock(world, helloOf({ connectionNumber: 9 }))
  assert.ok(newer.isClosed && !newest.isClosed)
})

test('a process that was replaced does not come back', () => {
  const { world } = listening()
  knock(world, helloOf({ incarnation: 1 }))
  const second = knock(world, helloOf({ incarnation: 2 }))
  assert.equal(knock(world, helloOf({ incarnation: 1, connectionNumber: 5 })).refusal, 'NODE_ID_IN_USE')
  assert.ok(!second.isClosed)
})

test('a late hello of a process that is gone does not lock out the one that lives', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1 })
  const b = world.process({ nodeId: 2 })
  a.links.setPeers([{ nodeId: 2, host: 'host2', port: PORT }])
  b.links.setPeers([{ nodeId: 1, host: 'host1', port: PORT }])
  world.advance(1000)
  assert.ok(a.links.isUp(2, 0))
  const late = knock(world, helloOf({ nodeId: 2, directoryId: 'directory2', incarnation: 7, connectionNumber: 1000 }))
  late.socket.destroy()
  world.advance(10_000)
  assert.ok(a.links.isUp(2, 0) && b.links.isUp(1, 0))
})

test('a large frame that never comes to its end holds its memory no longer than its connection', () => {
  const { world, a } = listening()
  const stranger = knock(world, helloOf())
  const large = frameOf((message) => message(TEXT).bytes(new Uint8Array(100_000)).end())
  stranger.write(large.subarray(0, 60_000))
  assert.equal(a.frameMemory, 1)
  stranger.socket.destroy()
  world.advance(5)
  assert.equal(a.frameMemory, 0)
})

test('a probe is answered by its handler, also before there is a cluster', async () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1, clusterId: '' })
  const b = world.process({ nodeId: 2, clusterId: '' })
  b.links.onProbe(20, (info, reader) => Buffer.from(`${reader.text()} to broker ${info.nodeId}`))
  b.links.onProbe(21, async () => {
    throw new Error('not today')
  })
  const body = frameOf((message) => message(1).text('hello').end()).subarray(20)
  const ask = async (kind: number, host = 'host2', port = PORT) => {
    const answer = a.links.probe(host, port, kind, body)
    // Promises move on between the steps of virtual time.
    let isOver = false
    answer.then(
      () => (isOver = true),
      () => (isOver = true),
    )
    for (let step = 0; step < 3000 && !isOver; step++) {
      world.advance(1)
      await Promise.resolve()
    }
    return answer
  }
  const { info, reply } = await ask(20)
  assert.equal(reply.rest().toString(), 'hello to broker 1')
  assert.equal(info.nodeId, 2)
  assert.equal(info.clusterId, '')
  await assert.rejects(ask(21), { code: 'REFUSED', message: 'host2:9000 cannot answer: not today' })
  await assert.rejects(ask(22), { code: 'REFUSED' })
  b.links.onProbe(23, () => {
    throw new MalformedPeerBytes('a question about nothing')
  })
  await assert.rejects(ask(23), { code: 'CLOSED' })
  assert.match(b.lines.join(), /a probe from .* is cut off: a question about nothing/)
  await assert.rejects(ask(20, 'nowhere'), { code: 'ECONNREFUSED' })
  await assert.rejects(ask(20, 'host1'), { code: 'REFUSED', refusal: 'SELF' })
  world.network.cut('host1', 'host2')
  await assert.rejects(ask(20), { code: 'TIMEOUT' })
  world.network.mend('host1', 'host2')
  b.clusterId = 'one'
  await ask(20)
  a.clusterId = 'another'
  await assert.rejects(ask(20), { code: 'REFUSED', refusal: 'OTHER_CLUSTER' })
  const open = a.links.probe('host2', PORT, 20, body)
  a.links.close()
  await assert.rejects(open, { code: 'CLOSED' })
  world.advance(20_000)
  b.links.close()
  world.advance(10)
  assert.equal(world.network.socketCount, 0)
})

test('a probe to a wrong shard finds the right one', async () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1 })
  const shards = [0, 1].map((shardId) =>
    world.process({ nodeId: 2, host: 'host2', incarnation: 7, shardId, shardCount: 2, isDeaf: true }),
  )
  let turn = 1
  world.network.listen('host2', PORT, shards[0]!.loop, (socket) => shards[turn++ % 2]!.links.accept(socket))
  for (const { links, shardId } of shards) links.onProbe(20, () => Buffer.from(`shard ${shardId}`))
  const answer = a.links.probe('host2', PORT, 20, new Uint8Array(0))
  world.advance(5)
  await Promise.resolve()
  world.advance(5)
  assert.equal((await answer).reply.rest().toString(), 'shard 0')
})

test('purposes other than the known ones are nonsense', () => {
  const { world } = listening()
  const stranger = knock(world, helloOf({ purpose: Purpose.PROBE + 1 }))
  assert.ok(stranger.isClosed)
  assert.equal(stranger.heard.length, 0)
})
