// A broker of a few lines: answers requests with what a test says, over real sockets, in one process.

import { createServer, type Server, type Socket } from 'node:net'
import { ApiKey } from '../../../../protocol/api.ts'
import { decoder, encoder } from '../../../../protocol/compile.ts'
import { beginFrame, endFrame, readRequestHeader, writeResponseHeader } from '../../../../protocol/frame.ts'
import { API_MESSAGES } from '../../../../protocol/messages/index.ts'
import { Reader } from '../../../../protocol/reader.ts'
import type { Fields, Input } from '../../../../protocol/schema.ts'
import { Writer } from '../../../../protocol/writer.ts'

/** Gives the fields of the answer; undefined closes the connection instead. */
export type Answer = (request: Record<string, unknown>, version: number) => object | undefined

export class FakeBroker {
  readonly nodeId: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #answers = new Map<ApiKey, { answer: Answer; first: number; last: number }>()
  /** Names of what was asked, ApiVersions aside. */
  readonly asked: ApiKey[] = []
  port = 0

  private constructor(nodeId: number) {
    this.nodeId = nodeId
    this.#server = createServer((socket) => this.#serve(socket))
  }

  static async start(nodeId: number): Promise<FakeBroker> {
    const broker = new FakeBroker(nodeId)
    await new Promise<void>((resolve) => broker.#server.listen(0, '127.0.0.1', resolve))
    const address = broker.#server.address()
    broker.port = typeof address === 'object' && address !== null ? address.port : 0
    return broker
  }

  /** Serves an API in these versions. */
  on(apiKey: ApiKey, first: number, last: number, answer: Answer): void {
    this.#answers.set(apiKey, { answer, first, last })
  }

  /** Ends the connections there are; new ones are taken. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.disconnect()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {})
    let received = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      while (received.length >= 4 && received.length >= 4 + received.readInt32BE(0)) {
        const end = 4 + received.readInt32BE(0)
        const reader = new Reader(received, 4, end)
        received = received.subarray(end)
        this.#handle(socket, reader)
      }
    })
  }

  #handle(socket: Socket, reader: Reader): void {
    const { apiKey, apiVersion, correlationId } = readRequestHeader(reader)
    const messages = API_MESSAGES.get(apiKey)
    const served = this.#answers.get(apiKey)
    let body: object | undefined
    let version = apiVersion
    if (apiKey === ApiKey.ApiVersions) {
      // As old as can be: the newest version is not known, so the answer comes in version 0.
      version = 0
      const apiKeys = [...this.#answers].map(([key, { first, last }]) => ({
        apiKey: key,
        minVersion: first,
        maxVersion: last,
      }))
      apiKeys.push({ apiKey: ApiKey.ApiVersions, minVersion: 0, maxVersion: 0 })
      body = { errorCode: apiVersion > 0 ? 35 : 0, apiKeys }
    } else if (messages !== undefined) {
      this.asked.push(apiKey)
      body = served?.answer(decoder(messages.request, apiVersion)(reader), apiVersion)
    }
    if (body === undefined || messages === undefined) {
      socket.destroy()
      return
    }
    const writer = new Writer()
    beginFrame(writer)
    writeResponseHeader(writer, apiKey, version, correlationId)
    encoder(messages.response, version)(writer, body as Input<Fields>)
    socket.write(Buffer.concat(endFrame(writer)))
  }
}
