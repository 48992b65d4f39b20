// TCP under the broker: accepting on the main thread, and sockets that a shard has taken over.
//
// The main thread accepts and moves each socket to a shard (Node can transfer a connected socket to a worker thread; where
// it cannot, each shard listens itself with SO_REUSEPORT). A shard reads all its sockets into one reused buffer, which costs a third of what
// 'data' events cost, and writes views of shared memory without copying them first.

import net from 'node:net'
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

export class TcpStreamSocket implements StreamSocket {
  readonly remoteHost: string
  readonly #readBuffer: Buffer
  readonly #accepted: net.Socket
  #socket: net.Socket | undefined
  #events: StreamSocketEvents | undefined
  #error: Error | undefined

  /** @param accepted a paused, connected socket nobody has read from */
  constructor(accepted: net.Socket, readBuffer: Buffer) {
    this.#accepted = accepted
    this.#readBuffer = readBuffer
    this.remoteHost = (accepted.remoteAddress ?? 'unknown').replace(/^::ffff:/, '')
  }

  get bufferedBytes(): number {
    return this.#socket?.writableLength ?? 0
  }

  get takenBytes(): number {
    // What the stream has given away may still lie in libuv's queue: only the handle knows how much of it.
    const handle = (this.#socket as unknown as SocketInternals | undefined)?._handle
    return handle == null ? 0 : handle.bytesWritten - handle.writeQueueSize
  }

  open(events: StreamSocketEvents): void {
    this.#events = events
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
    const buffer = this.#readBuffer
    const options = {
      handle,
      noDelay: true,
      onread: { buffer, callback: (count: number) => events.read(buffer.subarray(0, count)) },
    }
    const socket = new net.Socket(options as unknown as net.SocketConstructorOpts)
    this.#socket = socket
    socket.on('error', (error) => {
      this.#error = error
    })
    socket.on('close', () => this.#closed())
    socket.resume()
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

  #closed(): void {
    const events = this.#events
    this.#events = undefined
    events?.closed(this.#error)
  }
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
