// A connected byte stream as connection.ts sees it: tcp.ts makes one over a TCP socket, the simulator over its network.

export interface StreamSocketEvents {
  /**
   * Bytes came in. They are valid during the call only.
   * @returns false to stop reading until resume()
   */
  read(bytes: Buffer): boolean
  /** The peer closed its side, the stream failed, or destroy() was called; nothing follows. */
  closed(error: Error | undefined): void
}

export interface StreamSocket {
  readonly remoteHost: string
  /** Bytes written that the operating system has not taken yet. */
  readonly bufferedBytes: number
  /** Bytes that the operating system has taken so far. */
  readonly takenBytes: number
  open(events: StreamSocketEvents): void
  /** Writes all fragments in order; they stay unchanged until `done` is called, which happens in every case. */
  write(fragments: readonly Uint8Array[], done: () => void): void
  resume(): void
  destroy(): void
}
