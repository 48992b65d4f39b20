// One question to an address, one answer: how brokers find each other before they have a cluster.
//
// A probe is a connection of its own, made like a link's but with another purpose; it ends with the answer.

import type { Timer } from '../environment.ts'
import type { PeerConnection } from './link-connection.ts'
import { infoOf, type LinkContext } from './link-context.ts'
import { Dial } from './link-dial.ts'
import { type Hello, LinkKind, Purpose, refusalName } from './link-handshake.ts'
import { type ProbeAnswer, ProbeError, type ProbeHandler, type ProbeOptions } from './link-types.ts'
import { isNonsense, MalformedPeerBytes, PeerReader } from './peer-wire.ts'

const TIMEOUT_MS = 2000
/** Whoever was welcomed asks, is answered and leaves within this time. */
const SERVE_MS_MAX = 10_000
const FAILURE_CHARACTERS_MAX = 500

/** Probes that we send: kept so that close() ends them. */
export class Prober {
  readonly #context: LinkContext
  readonly #open = new Set<(error: ProbeError) => void>()

  constructor(context: LinkContext) {
    this.#context = context
  }

  ask(host: string, port: number, kind: number, body: Uint8Array, options: ProbeOptions): Promise<ProbeAnswer> {
    const { shard = 0, timeoutMs = TIMEOUT_MS } = options
    return new Promise((resolve, reject) => {
      let connection: PeerConnection | undefined
      const settle = (): void => {
        this.#open.delete(fail)
        timeout.cancel()
        dial.cancel()
        connection?.destroy()
      }
      const fail = (error: ProbeError): void => {
        settle()
        reject(error)
      }
      this.#open.add(fail)
      const timeout = this.#context.clock.after(timeoutMs, () =>
        fail(new ProbeError('TIMEOUT', `no answer from ${host}:${port} within ${timeoutMs} ms`)),
      )
      const target = { host, port, purpose: Purpose.PROBE, wantedNode: -1, wantedShard: shard, timeoutMs }
      const dial = new Dial(this.#context, target, {
        failed: ({ code, message, refusal }) =>
          // The dial may fail before its constructor has returned.
          this.#context.clock.soon(() =>
            fail(new ProbeError(code, message, refusal === undefined ? undefined : refusalName(refusal.code))),
          ),
        welcomed: (welcomed, welcome) => {
          connection = welcomed
          welcomed.listener = {
            message: (answerKind, reader) => {
              const bytes = Buffer.from(reader.rest())
              if (answerKind === LinkKind.PROBE_ANSWER) {
                settle()
                resolve({ info: infoOf(welcome), reply: new PeerReader(bytes) })
              } else if (answerKind === LinkKind.PROBE_FAILED) {
                fail(new ProbeError('REFUSED', `${host}:${port} cannot answer: ${new PeerReader(bytes).text() ?? ''}`))
              } else {
                throw new MalformedPeerBytes(`a message of kind ${answerKind} in answer to a probe`)
              }
            },
            ended: (error) => {
              const code = error instanceof MalformedPeerBytes ? 'MALFORMED' : 'CLOSED'
              fail(new ProbeError(code, `${host}:${port} closed without an answer${error ? `: ${error.message}` : ''}`))
            },
          }
          if (!welcomed.begin(kind).bytes(body).end()) {
            fail(new ProbeError('REFUSED', `${host}:${port} takes no question of ${body.length} bytes`))
            return
          }
          welcomed.flush()
        },
      })
    })
  }

  close(): void {
    for (const fail of [...this.#open]) fail(new ProbeError('CLOSED', 'this broker stops'))
  }
}

/** Probes that come to us. */
export class ProbeDesk {
  readonly #context: LinkContext
  readonly #handlers = new Map<number, ProbeHandler>()
  readonly #serving = new Map<PeerConnection, Timer>()

  constructor(context: LinkContext) {
    this.#context = context
  }

  on(kind: number, handler: ProbeHandler): void {
    this.#handlers.set(kind, handler)
  }

  get count(): number {
    return this.#serving.size
  }

  /** Takes over a connection that was just welcomed. */
  serve(connection: PeerConnection, hello: Hello): void {
    const info = infoOf(hello)
    const over = (): void => {
      this.#serving.get(connection)?.cancel()
      this.#serving.delete(connection)
      connection.destroy()
    }
    this.#serving.set(connection, this.#context.clock.after(SERVE_MS_MAX, over))
    const cut = (error: Error): void => {
      over()
      this.#context.complain(connection.host, `a probe from ${connection.host} is cut off: ${error.message}`)
    }
    let isAsked = false
    connection.listener = {
      message: (kind, reader) => {
        if (isAsked) throw new MalformedPeerBytes('a second question in one probe')
        isAsked = true
        const handler = this.#handlers.get(kind)
        if (handler === undefined) {
          this.#fail(connection, `nothing is known of question ${kind}`)
          return
        }
        const question = new PeerReader(Buffer.from(reader.rest()))
        const answer = async (): Promise<Uint8Array> => handler(info, question)
        answer().then(
          (bytes) => this.#answer(connection, bytes),
          (error: unknown) => {
            if (isNonsense(error)) {
              cut(error)
              return
            }
            const { name, message } = error as Error
            if (name === 'InvariantViolation') throw error
            this.#fail(connection, message)
          },
        )
      },
      ended: (error) => {
        if (isNonsense(error)) cut(error)
        else over()
      },
    }
  }

  #answer(connection: PeerConnection, bytes: Uint8Array): void {
    if (!connection.isOpen) return
    if (connection.begin(LinkKind.PROBE_ANSWER).bytes(bytes).end()) connection.flush()
    else this.#fail(connection, 'the answer is too long')
  }

  #fail(connection: PeerConnection, reason: string): void {
    if (!connection.isOpen) return
    connection.begin(LinkKind.PROBE_FAILED).text(reason.slice(0, FAILURE_CHARACTERS_MAX)).end()
    connection.flush()
  }

  close(): void {
    for (const [connection, timer] of this.#serving) {
      timer.cancel()
      connection.destroy()
    }
    this.#serving.clear()
  }
}
