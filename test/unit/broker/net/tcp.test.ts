import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { systemClock, systemRandom } from '../../../../broker/environment.ts'
import type { StreamSocket } from '../../../../broker/net/stream-socket.ts'
import { listen, READ_BUFFER_BYTES, TcpStreamSocket, tcpNetwork } from '../../../../broker/net/tcp.ts'
import { type LinkInfo, Links } from '../../../../broker/replication/links.ts'
import type { PeerReader } from '../../../../broker/replication/peer-wire.ts'
import type { Disk } from '../../../../storage/disk.ts'

const readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
const network = tcpNetwork(readBuffer)

function closing(socket: StreamSocket): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => socket.open({ read: () => true, closed: resolve }))
}

/** A port nobody listens on. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

test('a dial that fails says why, and never throws', async () => {
  const refused = await closing(network.dial('127.0.0.1', await freePort()))
  assert.equal(refused?.code, 'ECONNREFUSED')
  const byName = await closing(network.dial('localhost', await freePort()))
  assert.equal(byName?.code, 'ECONNREFUSED')
  const noPort = await closing(network.dial('127.0.0.1', 70_000))
  assert.equal(noPort?.code, 'ERR_SOCKET_BAD_PORT')
})

test('what is written before a dialed connection stands arrives in order, and each write is done once', async () => {
  const server = net.createServer().listen(0)
  await once(server, 'listening')
  const socket = network.dial('localhost', (server.address() as net.AddressInfo).port)
  let done = 0
  const heard: string[] = []
  const closed = new Promise<void>((resolve) => {
    socket.open({
      read: (bytes) => {
        heard.push(bytes.toString())
        socket.destroy()
        return true
      },
      closed: () => resolve(),
    })
  })
  socket.write([Buffer.from('one '), Buffer.from('two ')], () => done++)
  socket.write([Buffer.from('three')], () => done++)
  const [accepted] = (await once(server, 'connection')) as [net.Socket]
  let text = ''
  for await (const bytes of accepted) {
    text += bytes
    if (text.endsWith('three')) accepted.write('answer')
  }
  await closed
  assert.equal(text, 'one two three')
  assert.deepEqual(heard, ['answer'])
  assert.equal(done, 2)
  socket.write([Buffer.from('late')], () => done++)
  assert.equal(done, 3, 'a write on a closed connection is done at once')
  server.close()
})

test('an accepted connection that nobody opened can be closed', async () => {
  const acceptor = await listen({ host: '127.0.0.1', port: 0, backlog: 16, reusePort: false }, (socket) =>
    new TcpStreamSocket(socket, readBuffer).destroy(),
  )
  assert.equal(await closing(network.dial('127.0.0.1', acceptor.port)), undefined)
  await acceptor.close()
})

interface Peer {
  readonly links: Links
  readonly up: Promise<LinkInfo>
  readonly down: Promise<LinkInfo>
  receive: (kind: number, reader: PeerReader) => void
  port: number
  close(): Promise<void>
}

async function peer(nodeId: number): Promise<Peer> {
  const up = Promise.withResolvers<LinkInfo>()
  const down = Promise.withResolvers<LinkInfo>()
  const logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
  const acceptor = await listen({ host: '127.0.0.1', port: 0, backlog: 16, reusePort: false }, (socket) =>
    made.links.accept(new TcpStreamSocket(socket, readBuffer)),
  )
  const made: Peer = {
    links: new Links({
      nodeId,
      shardId: 0,
      shardCount: 1,
      directoryId: `directory${nodeId}`,
      incarnation: nodeId,
      clusterId: () => 'cluster',
      ownAddress: () => ({ host: '127.0.0.1', port: acceptor.port }),
      environment: {
        clock: systemClock,
        random: systemRandom,
        disk: undefined as unknown as Disk,
        network,
        logger,
      },
      frameBytesMax: 4 << 20,
      receive: (_, kind, reader) => made.receive(kind, reader),
      up: up.resolve,
      down: down.resolve,
      silent: () => {},
      heard: () => {},
    }),
    up: up.promise,
    down: down.promise,
    receive: () => {},
    port: acceptor.port,
    close: () => {
      made.links.close()
      return acceptor.close()
    },
  }
  return made
}

test('links over real sockets carry views of shared memory, and hear of the end of the other process', async () => {
  const a = await peer(1)
  const b = await peer(2)
  a.links.setPeers([{ nodeId: 2, host: '127.0.0.1', port: b.port }])
  assert.equal((await a.up).nodeId, 2)
  assert.equal((await b.up).nodeId, 1)
  const arena = new Uint8Array(new SharedArrayBuffer(3 << 20, { maxByteLength: 3 << 20 }))
  for (let at = 0; at < arena.length; at++) arena[at] = at % 251
  const sizes = [10, 5000, 100_000, 3 << 20, 700]
  let released = 0
  const sums: number[] = []
  const all = new Promise<void>((resolve) => {
    b.receive = (_, reader) => {
      const bytes = reader.rest()
      let isSame = true
      for (let at = 0; at < bytes.length; at++) isSame &&= bytes[at] === at % 251
      sums.push(isSame ? bytes.length : -1)
      if (sums.length === sizes.length) resolve()
    }
  })
  for (const size of sizes) {
    a.links
      .begin(2, 0, 100)!
      .attach(arena.subarray(0, size), () => released++)
      .end()
  }
  await all
  assert.deepEqual(sums, sizes)
  b.links.onProbe(30, (_, reader) => Buffer.from(reader.rest()).reverse())
  const { reply, info } = await a.links.probe('localhost', b.port, 30, Buffer.from('abc'))
  assert.equal(reply.rest().toString(), 'cba')
  assert.equal(info.nodeId, 2)
  await b.close()
  assert.equal((await a.down).nodeId, 2)
  assert.equal(released, sizes.length)
  await a.close()
})
