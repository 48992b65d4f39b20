// TCP under the broker: accepting on the main thread, sockets that a shard has taken over, and connections to other brokers.
//
// The main thread accepts and moves each socket to a shard (Node can transfer a connected socket to a worker thread; where
// it cannot, each shard listens itself with SO_REUSEPORT). A shard reads all its sockets into one reused buffer, which costs a third of what
// 'data' events cost, and writes views of shared memory without copying them first.

import net from 'node:net'
import type { Network } from '../environment.ts'
import type { StreamSocket, StreamSocketEvents } from './stream-socket.ts'

interface RawHandle {
  reading: boolean
  readonly bytesWritten: number
  readonly writeQueueSize: number
}

interface SocketInternals {
  _handle: RawHandle | null
}

/** One shard's sockets share this buffer: what a read brings is consumed before the next read begins. */
export const READ_BUFFER_BYTES = 256 * 1024

abstract class NodeStreamSocket implements StreamSocket {
  abstract readonly remoteHost: string
  protected readonly readBuffer: Buffer
  #socket: net.Socket | undefined
  #events: StreamSocketEvents | undefined
  #error: Error | undefined

  constructor(readBuffer: Buffer) {
    this.readBuffer = readBuffer
  }

  abstract open(events: StreamSocketEvents): void

  get bufferedBytes(): number {
    return this.#socket?.writableLength ?? 0
  }

  get takenBytes(): number {
    // What the stream has given away may still lie in libuv's queue: only the handle knows how much of it.
    const handle = (this.#socket as unknown as SocketInternals | undefined)?._handle
    return handle == null ? 0 : handle.bytesWritten - handle.writeQueueSize
  }

  write(fragments: readonly Uint8Array[], done: () => void): void {
    const socket = this.#socket
    if (socket === undefined || socket.destroyed) {
      done()
      return
    }
    if (fragments.length === 1) {
      socket.write(fragments[0]!, done)
      return
    }
    socket.cork()
    const last = fragments.length - 1
    for (let at = 0; at < last; at++) socket.write(fragments[at]!)
    socket.write(fragments[last]!, done)
    socket.uncork()
  }

  resume(): void {
    this.#socket?.resume()
  }

  destroy(): void {
    this.#socket?.destroy()
  }

  /** A socket made with our read buffer. `handle`: of a connection that exists already. */
  protected make(events: StreamSocketEvents, handle: RawHandle | undefined): net.Socket {
    const buffer = this.readBuffer
    const options = {
      ...(handle === undefined ? {} : { handle }),
      noDelay: true,
      onread: { buffer, callback: (count: number) => events.read(buffer.subarray(0, count)) },
    }
    const socket = new net.Socket(options as unknown as net.SocketConstructorOpts)
    this.#events = events
    this.#socket = socket
    socket.on('error', (error) => {
      this.#error = error
    })
    socket.on('close', () => this.#closed())
    return socket
  }

  #closed(): void {
    const events = this.#events
    this.#events = undefined
    events?.closed(this.#error)
  }
}

/** A connection that a listener took. */
export class TcpStreamSocket extends NodeStreamSocket {
  readonly remoteHost: string
  readonly #accepted: net.Socket

  /** @param accepted a paused, connected socket nobody has read from */
  constructor(accepted: net.Socket, readBuffer: Buffer) {
    super(readBuffer)
    this.#accepted = accepted
    this.remoteHost = (accepted.remoteAddress ?? 'unknown').replace(/^::ffff:/, '')
  }

  open(events: StreamSocketEvents): void {
    // net.Server offers no way to give its sockets a read buffer, so the handle moves into a socket made with one.
    const internals = this.#accepted as unknown as SocketInternals
    const handle = internals._handle
    if (handle === null) {
      queueMicrotask(() => events.closed(undefined))
      return
    }
    internals._handle = null
    handle.reading = false
    this.#accepted.destroy()
    this.make(events, handle).resume()
  }

  override destroy(): void {
    // A no-op once open() has taken the connection out of it.
    this.#accepted.destroy()
    super.destroy()
  }
}

/** A connection that we ask for. What is written before it stands waits for it. */
class DialedStreamSocket extends NodeStreamSocket {
  readonly remoteHost: string
  readonly #port: number

  constructor(host: string, port: number, readBuffer: Buffer) {
    super(readBuffer)
    this.remoteHost = host
    this.#port = port
  }

  open(events: StreamSocketEvents): void {
    const socket = this.make(events, undefined)
    try {
      socket.connect({ host: this.remoteHost, port: this.#port })
      socket.resume()
    } catch (error) {
      // A port that is no port: said like any other failure.
      socket.destroy(error instanceof Error ? error : undefined)
    }
  }
}

/** @param readBuffer of READ_BUFFER_BYTES; may be the one of this thread's other sockets */
export function tcpNetwork(readBuffer: Buffer): Network {
  return { dial: (host, port) => new DialedStreamSocket(host, port, readBuffer) }
}

export interface ListenOptions {
  readonly host: string
  readonly port: number
  readonly backlog: number
  /** Several threads listen on the same port and the kernel spreads the connections. */
  readonly reusePort: boolean
}

export interface Acceptor {
  readonly port: number
  close(): Promise<void>
}

/** @throws the error of listen(), EADDRINUSE and EACCES among them */
export function listen(options: ListenOptions, accept: (socket: net.Socket) => void): Promise<Acceptor> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ pauseOnConnect: true, noDelay: true }, accept)
    server.once('error', reject)
    server.listen(
      { host: options.host, port: options.port, backlog: options.backlog, reusePort: options.reusePort },
      () => {
        server.off('error', reject)
        server.on('error', () => {})
        const address = server.address()
        const port = address !== null && typeof address === 'object' ? address.port : options.port
        resolve({ port, close: () => new Promise((closed) => server.close(() => closed())) })
      },
    )
  })
}

/** Whether connected sockets can be moved to worker threads: Node 26 and later. */
export const canTransferSockets = Number(process.versions.node.split('.')[0]) >= 26
