import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OperatorError } from '../../../../broker/operator-error.ts'
import { MalformedPeerBytes } from '../../../../broker/replication/peer-wire.ts'
import { LinkWorld, PORT, TEXT } from './link-world.ts'

test('brokers that know each other are linked both ways, and messages arrive in order', () => {
  const world = new LinkWorld()
  const [a, b, c] = world.brokers(3)
  for (let at = 0; at < 1000; at++) {
    assert.ok(a!.say(2, `to b ${at}`))
    assert.ok(a!.say(3, `to c ${at}`))
    if (at % 3 === 0) assert.ok(b!.say(1, `to a ${at}`))
    if (at % 100 === 0) world.advance(1)
  }
  world.advance(10)
  assert.deepEqual(
    b!.texts,
    Array.from({ length: 1000 }, (_, at) => `to b ${at}`),
  )
  assert.equal(c!.texts.length, 1000)
  assert.equal(a!.texts.length, 334)
  assert.deepEqual(a!.lines, [])
})

test('a link comes up with the first sign of life before it, and one side is enough to know the other', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1, shardCount: 1 })
  const b = world.process({ nodeId: 2, shardCount: 1 })
  assert.equal(a.links.shardCountOf(2), undefined)
  a.knows(b)
  world.advance(100)
  assert.deepEqual(a.events, ['heard 2/0', 'up 2/0'])
  assert.deepEqual(b.events, ['heard 1/0', 'up 1/0'], 'b dials back the address of the hello')
  assert.equal(a.links.shardCountOf(2), 1)
  assert.equal(a.links.isAlive(2), true)
  assert.equal(a.links.isAlive(3), false)
  const { incarnation, ...info } = b.links.linkInfo(1, 0)!
  assert.ok(incarnation > 0)
  assert.deepEqual(info, {
    nodeId: 1,
    shardId: 0,
    shardCount: 1,
    clusterId: 'cluster',
    directoryId: 'directory1',
    address: { host: 'host1', port: PORT },
  })
})

test('what is sent in up() arrives, whichever side is up first', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1 })
  const b = world.process({ nodeId: 2 })
  a.onUp = () => assert.ok(a.say(2, 'from a'))
  b.onUp = () => assert.ok(b.say(1, 'from b'))
  const seen: string[] = []
  for (const one of [a, b]) {
    one.onReceive = (link, _, reader) => {
      assert.ok(one.links.isUp(link.nodeId, 0))
      seen.push(reader.text() ?? '')
    }
  }
  a.knows(b)
  b.knows(a)
  for (let round = 0; round < 5; round++) {
    world.advance(1500)
    assert.deepEqual(seen.splice(0).sort(), ['from a', 'from b'])
    // Each side loses the connection that it dialed, in turn.
    if (round % 2 === 0) world.network.breakDialed('host1', 'host2')
    else world.network.breakDialed('host2', 'host1')
  }
})

test('everything of one loop turn to one peer leaves in one frame', () => {
  const world = new LinkWorld()
  const [a] = world.brokers(2)
  const before = a!.links.stats()[0]!.sentFrames
  for (let at = 0; at < 50; at++) a!.say(2, 'x'.repeat(100))
  a!.links.flush()
  assert.equal(a!.links.stats()[0]!.sentFrames, before + 1)
  // Beyond a megabyte a frame does not wait for the end of the turn.
  for (let at = 0; at < 25; at++) a!.say(2, 'x'.repeat(100_000))
  a!.links.flush()
  assert.equal(a!.links.stats()[0]!.sentFrames, before + 4)
})

test('messages of every size arrive unchanged, by copy and by reference, however the reads are cut', () => {
  for (const readBytesMax of [1000, 4099, 65536]) {
    const world = new LinkWorld()
    world.network.readBytesMax = readBytesMax
    const [a, b] = world.brokers(2)
    const sizes = [0, 1, 100, 4096, 4097, 16_000, 40_000, 70_000, 1_200_000, 3]
    const got: string[] = []
    b!.onReceive = (_, kind, reader) => {
      assert.equal(kind, TEXT)
      assert.equal(reader.integer(), 2 ** 53 - 1)
      const copied = Buffer.from(reader.bytes(reader.u32()))
      const attached = reader.rest()
      assert.ok(copied.equals(attached))
      got.push(`${attached.length} ${attached[0] ?? '-'}`)
    }
    let released = 0
    for (const [at, size] of sizes.entries()) {
      const bytes = new Uint8Array(size).fill(at)
      const writer = a!.links.begin(2, 0, TEXT)!
      writer
        .f64(2 ** 53 - 1)
        .u32(size)
        .bytes(bytes)
      assert.equal(writer.length, 12 + size)
      assert.ok(writer.attach(bytes, () => released++).end())
      if (at % 4 === 3) world.advance(1)
    }
    world.advance(50)
    assert.deepEqual(
      got,
      sizes.map((size, at) => `${size} ${size === 0 ? '-' : at}`),
    )
    assert.equal(released, sizes.length)
    assert.equal(b!.frameMemory, 0, 'frame memory is given back')
  }
})

test('what was attached is released exactly once, also when the connection breaks or the message is taken back', () => {
  const world = new LinkWorld()
  const [a] = world.brokers(2)
  const releases = new Map<string, number>()
  const attach = (name: string): (() => void) => {
    releases.set(name, 0)
    return () => releases.set(name, releases.get(name)! + 1)
  }
  world.network.block('host1', 'host2', true)
  const big = new Uint8Array(10_000)
  a!.links.begin(2, 0, TEXT)!.attach(big, attach('waits in the socket')).end()
  world.advance(1)
  const cancelled = a!.links.begin(2, 0, TEXT)!.attach(big, attach('cancelled'))
  cancelled.cancel()
  assert.equal(releases.get('cancelled'), 1)
  a!.links.begin(2, 0, TEXT)!.attach(big, attach('not flushed')).attach(new Uint8Array(3), attach('small')).end()
  assert.equal(releases.get('waits in the socket'), 0)
  world.network.breakDialed('host1', 'host2')
  const open = a!.links.begin(2, 0, TEXT)!.attach(big, attach('open'))
  world.advance(1)
  assert.equal(open.end(), false, 'the link went down while the message was being written')
  world.advance(100)
  assert.deepEqual(
    [...releases].filter(([, count]) => count !== 1),
    [],
  )
  world.network.block('host1', 'host2', false)
  world.advance(1000)
  assert.ok(a!.say(2, 'again'))
})

test('a message that the other side would not take is not sent, and costs no connection', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1 })
  const b = world.process({ nodeId: 2, overrides: { frameBytesMax: 1000 } })
  a.knows(b)
  world.advance(100)
  let released = 0
  assert.equal(
    a.links
      .begin(2, 0, TEXT)!
      .attach(new Uint8Array(1001), () => released++)
      .end(),
    false,
  )
  assert.equal(released, 1)
  assert.ok(a.say(2, 'small'))
  world.advance(100)
  assert.deepEqual(b.texts, ['small'])
  assert.ok(a.links.isUp(2, 0))
})

test('a peer that takes nothing holds a bounded queue, and the sender is told when there is room', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2, { queueBytesMax: 100_000 })
  world.network.block('host1', 'host2', true)
  let sent = 0
  while (a!.say(2, 'x'.repeat(1000))) sent++
  assert.ok(sent >= 95 && sent <= 100, `${sent} messages of 1000 bytes`)
  world.advance(10)
  assert.equal(a!.say(2, 'x'), false)
  assert.deepEqual(a!.takeEvents(), [])
  world.network.block('host1', 'host2', false)
  world.advance(10)
  assert.deepEqual(a!.takeEvents(), ['room 2/0'])
  assert.equal(b!.texts.length, sent)
  assert.ok(a!.say(2, 'x'))
})

test('a damaged frame cuts the connection before anything of it is believed, and the link comes back', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  let damage = 0
  world.network.tamper = (from, _, bytes) => {
    if (from !== 'host1' || damage !== 0 || bytes.length < 500) return bytes
    damage = 1 + (bytes.length >> 1)
    const copy = Buffer.from(bytes)
    copy[damage] = copy[damage]! ^ 0x10
    return copy
  }
  a!.say(2, 'x'.repeat(600))
  a!.say(2, 'behind')
  world.advance(2)
  assert.ok(damage > 0)
  assert.deepEqual(b!.texts, [])
  assert.deepEqual(b!.takeEvents(), ['down 1/0'])
  world.advance(1000)
  assert.deepEqual(b!.takeEvents(), ['up 1/0'])
  assert.equal(b!.lines.length, 1, 'one line')
  assert.match(b!.lines[0]!, /broker 1 .* cut off: a frame whose checksum is wrong/)
  // Again and again is still one line in a minute.
  for (let round = 0; round < 5; round++) {
    damage = 0
    a!.say(2, 'x'.repeat(600))
    world.advance(2000)
  }
  assert.equal(b!.lines.length, 1)
  damage = 1
  assert.ok(a!.say(2, 'sound'))
  world.advance(10)
  assert.deepEqual(b!.texts, ['sound'])
})

test('a handler that finds nonsense in a message cuts the connection off; any other error passes through', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  b!.onReceive = () => {
    throw new MalformedPeerBytes('kind 77 is not known')
  }
  a!.say(2, 'x')
  a!.say(2, 'y')
  world.advance(2)
  assert.deepEqual(b!.takeEvents(), ['down 1/0'])
  assert.match(b!.lines[0]!, /kind 77 is not known/)
  world.advance(1000)
  assert.ok(b!.links.isUp(1, 0))
  b!.onReceive = () => {
    throw new OperatorError('UNKNOWN_METADATA', 'a command of a newer release', 'start that release')
  }
  a!.say(2, 'x')
  assert.throws(() => world.advance(2), /a command of a newer release/)
})

test('a broker of another cluster is refused by both sides, and said once', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1, clusterId: 'here' })
  const b = world.process({ nodeId: 2, clusterId: 'there' })
  a.knows(b)
  world.advance(10_000)
  assert.deepEqual([...a.events, ...b.events], [])
  assert.equal(a.lines.length, 1)
  assert.match(a.lines[0]!, /OTHER_CLUSTER.*this is the cluster there/)
  assert.match(b.lines[0]!, /broker 1 belongs to the cluster here/)
  assert.equal(b.lines.length, 1)
  assert.deepEqual(b.foreign[0], {
    reason: 'cluster',
    nodeId: 1,
    clusterId: 'here',
    directoryId: 'directory1',
    host: 'host1',
  })
  assert.equal(a.foreign[0]?.clusterId, 'there')
})

test('brokers without a cluster are not linked until they belong to the same one', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1, clusterId: '' })
  const b = world.process({ nodeId: 2 })
  a.knows(b)
  b.knows(a)
  world.advance(3000)
  assert.deepEqual([...a.events, ...b.events], [])
  a.clusterId = 'cluster'
  world.advance(2000)
  assert.ok(a.links.isUp(2, 0) && b.links.isUp(1, 0))
  assert.deepEqual([...a.lines, ...b.lines], [])
})

test('a second broker with the id of a living one is refused, and takes its place once that one is silent', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  const impostor = world.process({ nodeId: 2, host: 'elsewhere', directoryId: 'another' })
  impostor.knows(a!)
  world.advance(2000)
  assert.deepEqual(impostor.events, [])
  assert.equal(impostor.foreign[0]?.reason, 'node-id')
  assert.deepEqual(a!.events, [])
  assert.equal(a!.foreign[0]?.directoryId, 'another')
  assert.ok(b!.links.isUp(1, 0))
  world.kill(b!)
  world.advance(4000)
  assert.deepEqual(a!.takeEvents(), ['down 2/0', 'silent 2/0', 'heard 2/0', 'up 2/0'])
  assert.equal(a!.links.linkInfo(2, 0)?.directoryId, 'another')
})

test('a process with a copy of the directory of a linked broker is refused elsewhere, until that one is silent', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  const copy = world.process({ nodeId: 2, host: 'elsewhere' })
  copy.knows(a!)
  world.advance(3000)
  assert.deepEqual([copy.events, a!.events, b!.events], [[], [], []])
  assert.equal(a!.foreign[0]?.reason, 'node-id')
  assert.equal(a!.links.linkInfo(2, 0)?.address.host, 'host2')
  // Power lost: nothing closes the connections of the one that was there.
  b!.loop.isDead = true
  world.advance(4000)
  assert.deepEqual(a!.takeEvents(), ['down 2/0', 'silent 2/0', 'heard 2/0', 'up 2/0'])
  assert.equal(a!.links.linkInfo(2, 0)?.address.host, 'elsewhere')
})

test('a broker that restarts is silent first, at once, and then there again', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  a!.links.begin(2, 0, TEXT)!.text('x').end()
  world.advance(100)
  assert.ok(a!.links.leaseUntilMs(2, 0) > world.world.nowMs)
  const before = a!.links.defections(2, 0)
  // The machine lost its power: nothing closes its connections.
  b!.loop.isDead = true
  const after = world.process({ nodeId: 2 })
  after.knows(a!)
  world.world.until(() => a!.events.length >= 2)
  world.advance(100)
  assert.deepEqual(a!.takeEvents(), ['down 2/0', 'silent 2/0', 'heard 2/0', 'up 2/0'])
  assert.equal(a!.leaseAtSilenceMs, Number.NEGATIVE_INFINITY, 'what the old process promised is worth nothing')
  assert.notEqual(a!.links.defections(2, 0), before)
})

test('a dial that meets another shard than it wants tries again until it meets that one', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1 })
  const shards = [0, 1, 2, 3].map((shardId) =>
    world.process({ nodeId: 2, host: 'host2', incarnation: 7, shardId, shardCount: 4, isDeaf: true }),
  )
  let turn = 2
  world.network.listen('host2', PORT, shards[0]!.loop, (socket) => shards[turn++ % 4]!.links.accept(socket))
  a.knows(shards[0]!)
  world.advance(200)
  assert.deepEqual(a.takeEvents(), ['heard 2/0', 'up 2/0'])
  assert.equal(a.links.shardCountOf(2), 4)
  assert.equal(a.links.begin(2, 3, TEXT), undefined, 'the first message opens the link')
  a.links.open(2, 1)
  a.links.open(2, 4)
  world.advance(200)
  assert.deepEqual(a.takeEvents().sort(), ['heard 2/1', 'heard 2/3', 'up 2/1', 'up 2/3'])
  assert.ok(a.say(2, 'to the third', 3))
  world.advance(10)
  assert.deepEqual(shards[3]!.texts, ['to the third'])
  assert.equal(a.links.stats().length, 3)
  assert.deepEqual(a.lines, [])
  // One shard's thread hangs: the broker is alive, that shard is not.
  shards[3]!.loop.stall(100_000)
  world.advance(1500)
  assert.deepEqual(a.takeEvents(), ['down 2/3', 'silent 2/3'])
  assert.equal(a.links.isAlive(2), true)
  assert.equal(a.links.isAlive(2, 3), false)
})

test('a broker that leaves the list is let go, and comes back when it is listed again', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  a!.knows()
  b!.knows()
  assert.deepEqual(a!.takeEvents(), ['down 2/0'])
  world.advance(700)
  assert.deepEqual(a!.events, [], 'a promise to it holds for its time')
  world.advance(1300)
  assert.deepEqual(a!.takeEvents(), ['silent 2/0'])
  assert.equal(a!.links.isAlive(2), false)
  assert.deepEqual(a!.links.stats(), [])
  assert.equal(world.network.socketCount, 0)
  a!.knows(b!)
  world.advance(1000)
  assert.ok(a!.links.isUp(2, 0))
})

test('a broker that cannot be dialed back is tried again, and an operator learns why', () => {
  const world = new LinkWorld()
  const a = world.process({ nodeId: 1 })
  const b = world.process({ nodeId: 2 })
  world.network.unlisten('host1', PORT)
  a.knows(b)
  world.advance(4000)
  assert.deepEqual(a.events, [])
  assert.match(a.lines[0]!, /broker 2 .*does not connect to this broker; is host1:9000 reachable from there/)
  world.network.listen('host1', PORT, a.loop, (socket) => a.links.accept(socket))
  world.advance(2500)
  assert.ok(a.links.isUp(2, 0) && b.links.isUp(1, 0))
})

test('nothing is left behind by close()', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  let released = 0
  a!.links
    .begin(2, 0, TEXT)!
    .attach(new Uint8Array(9000), () => released++)
    .end()
  a!.links.close()
  assert.equal(released, 1)
  assert.equal(a!.say(2, 'x'), false)
  world.advance(5)
  assert.deepEqual(b!.takeEvents(), ['down 1/0'])
  b!.links.close()
  world.advance(5000)
  assert.equal(world.network.socketCount, 0)
  assert.deepEqual(a!.events, [])
})
