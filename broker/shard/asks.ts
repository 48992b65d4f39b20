// Requests that another thread serves: another shard of this broker, or a shard of another broker.
//
// One per shard, touched only from its thread. Request and response travel encoded as clients encode them, with the call they belong to. What
// changes the cluster is asked of the controller: every shard asks shard 0 of its broker, and that one the broker that leads group 0.
// Inside a broker what is open is bounded by the requests that clients have open. Between brokers it has bounds here, and whoever is refused
// for one sees a broker that cannot be reached.

import { decoder, encoder } from '../../protocol/compile.ts'
import { Reader } from '../../protocol/reader.ts'
import type { Fields, Input } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import { CLUSTER_CALL, clusterCall } from '../cluster/cluster-call.ts'
import type { Clock } from '../environment.ts'
import type { Api, CallContext } from '../handlers/api.ts'
import { apis } from '../handlers/registry.ts'
import type { LinkInfo, ShardLinks } from '../replication/link-types.ts'
import { PeerKind, type PeerReader } from '../replication/peer-wire.ts'
import { BrokerUnreachable, type DataShard } from './context.ts'
import type { Post } from './post.ts'
import { Kind, type WireReader } from './wire.ts'

type AnyApi = Api<unknown, object>

/** What the metadata group says of its leadership; used on shard 0. */
export interface ControllerPlace {
  /** Broker id of the leader, -1 while there is none. */
  readonly leader: number
  /** Whether this broker leads and serves. */
  readonly isHere: boolean
}

export interface AsksOptions {
  readonly shard: DataShard
  post(): Post
  readonly links: ShardLinks | undefined
  place(): ControllerPlace
  nextId(): number
  /** Something waits to leave at the end of this loop turn. */
  wantsFlush(): void
}

interface Asked {
  resolve(response: object | typeof NOT_HERE): void
  reject(error: Error): void
  readonly api: AnyApi
  readonly version: number
  /** The broker that was asked, -1 for this one, and its shard. */
  readonly nodeId: number
  readonly shardId: number
}

/** What goes on between this shard and one shard of another broker. */
interface Peer {
  /** Questions asked there that have no answer yet. */
  openCount: number
  /** Questions from there that are at work, or whose answers have not left. */
  servedCount: number
  /** Answers that found their link full, in order. */
  readonly unsent: PeerAnswer[]
  unsentBytes: number
}

interface PeerAnswer {
  /** The question came over it. */
  readonly link: LinkInfo
  readonly id: number
  readonly life: number
  readonly status: number
  readonly bytes: Uint8Array
}

const NOT_HERE: unique symbol = Symbol('the controller is elsewhere')

const NO_BYTES = new Uint8Array(0)

/** Flags of an ASK. */
const FOR_CONTROLLER = 1
/** First byte of an ANSWER. */
const FAILED = 0
const ANSWERED = 1
const ELSEWHERE = 2
/** Not served, or the answer found no room: the asker takes it for a broker that cannot be reached. */
const REFUSED = 3

/** How long a change of the cluster waits for a controller. */
const CONTROLLER_WAIT_MS = 4000
const CONTROLLER_LOOK_MS = 25
/** No broker takes longer to answer another one. */
const PEER_ANSWER_MS_MAX = 35_000
/** Requests that may wait for a controller on this shard: without one, clients that ask again and again must not add up. */
const CONTROLLER_WAITS_MAX = 1000
/** Questions open to one shard of another broker: far more than a broker that answers ever has, few enough to be forgotten at once. */
const OPEN_TO_PEER_MAX = 256
/** Questions of one shard of another broker at work here. Twice what it may have open, as those it gave up are at work still. */
const SERVED_FOR_PEER_MAX = 2 * OPEN_TO_PEER_MAX
/** Bytes of answers that wait for room in one link; a single one may be larger. */
const UNSENT_BYTES_MAX = 8 << 20
/** How often answers that found their link full look for room, all of a shard together. */
const ROOM_LOOK_MS = 10
/** Of an error's text: its sense is at the beginning. */
const FAILURE_CHARACTERS_MAX = 1000

export class Asks {
  readonly #options: AsksOptions
  readonly #clock: Clock
  readonly #asked = new Map<number, Asked>()
  /** By broker and shard; those once met are few and stay. */
  readonly #peers = new Map<string, Peer>()
  #unsentCount = 0
  #controllerWaits = 0
  /** Ends when all who wait for a controller look again. */
  #controllerLook: Promise<void> | undefined
  /** Tells what this process asks other brokers from what its predecessor asked. */
  readonly #life: number

  constructor(options: AsksOptions) {
    this.#options = options
    const { clock, random } = options.shard.environment
    this.#clock = clock
    this.#life = random.next()
  }

  get openCount(): number {
    return this.#asked.size
  }

  /** Runs api.serve on a shard of this broker. */
  async ask<Req, Res>(shardId: number, api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res> {
    const { shard } = this.#options
    if (shardId === shard.shardId) return serveOf(api, call)(shard, call, request)
    return (await this.#askShard(shardId, api as unknown as AnyApi, call, request, 0)) as Res
  }

  async askBroker<Req, Res>(
    nodeId: number,
    shardId: number,
    api: Api<Req, Res>,
    call: CallContext,
    request: Req,
  ): Promise<Res> {
    if (nodeId === this.#options.shard.config.nodeId) return this.ask(shardId, api, call, request)
    return (await this.#askPeer(nodeId, shardId, api as unknown as AnyApi, call, request, 0)) as Res
  }

  async askController<Req, Res>(api: Api<Req, Res>, call: CallContext, request: Req): Promise<Res> {
    const { shard } = this.#options
    if (shard.shardId !== 0) {
      return (await this.#askShard(0, api as unknown as AnyApi, call, request, FOR_CONTROLLER)) as Res
    }
    const outcome = await this.#findController(api as unknown as AnyApi, call, request)
    // Nobody decides now, or it is not known what became of it: the controller here says so in the words of the request.
    return outcome === NOT_HERE ? serveOf(api, call)(shard, call, request) : (outcome as Res)
  }

  async #findController(api: AnyApi, call: CallContext, request: unknown): Promise<object | typeof NOT_HERE> {
    const { shard, links } = this.#options
    const endMs = this.#clock.monotonicMs() + CONTROLLER_WAIT_MS
    for (;;) {
      const { leader, isHere } = this.#options.place()
      if (isHere) return NOT_HERE
      if (leader >= 0 && leader !== shard.config.nodeId && links?.isUp(leader, 0) === true) {
        try {
          const outcome = await this.#askPeer(leader, 0, api, call, request, FOR_CONTROLLER)
          if (outcome !== NOT_HERE) return outcome
        } catch (error) {
          if (error instanceof BrokerUnreachable) return NOT_HERE
          throw error
        }
      }
      if (this.#clock.monotonicMs() >= endMs || this.#controllerWaits >= CONTROLLER_WAITS_MAX) return NOT_HERE
      this.#controllerWaits++
      await this.#nextControllerLook()
      this.#controllerWaits--
    }
  }

  /** One timer for all who wait. */
  #nextControllerLook(): Promise<void> {
    this.#controllerLook ??= new Promise((resolve) => {
      this.#clock.after(CONTROLLER_LOOK_MS, () => {
        this.#controllerLook = undefined
        resolve()
      })
    })
    return this.#controllerLook
  }

  #askShard(shardId: number, api: AnyApi, call: CallContext, request: unknown, flags: number) {
    const id = this.#options.nextId()
    const message = this.#options
      .post()
      .message(Kind.ASK, id)
      .u8(flags)
      .i16(call.apiKey)
      .i16(call.version)
      .i32(call.connectionId)
      .text(call.clientId)
      .text(call.clientHost)
      .text(call.principal)
      .text(call.listenerName)
      .rest(encoded(api.request, call.version, request))
    return new Promise<object | typeof NOT_HERE>((resolve, reject) => {
      this.#asked.set(id, { api, version: call.version, nodeId: -1, shardId, resolve, reject })
      this.#options.post().send(shardId, message)
    })
  }

  #askPeer(nodeId: number, shardId: number, api: AnyApi, call: CallContext, request: unknown, flags: number) {
    const peer = this.#peer(nodeId, shardId)
    if (peer.openCount >= OPEN_TO_PEER_MAX) return Promise.reject(new BrokerUnreachable(nodeId))
    // Before the message is begun: what cannot be encoded must not leave one open.
    const body = encoded(api.request, call.version, request)
    const message = this.#options.links?.begin(nodeId, shardId, PeerKind.ASK)
    if (message === undefined) return Promise.reject(new BrokerUnreachable(nodeId))
    const id = this.#options.nextId()
    message.i32(id).f64(this.#life).u8(flags).i32(call.apiKey).i32(call.version).i32(call.connectionId)
    message.text(call.clientId).text(call.clientHost).text(call.principal).text(call.listenerName)
    if (!message.bytes(body).end()) return Promise.reject(new BrokerUnreachable(nodeId))
    this.#options.wantsFlush()
    return new Promise<object | typeof NOT_HERE>((resolve, reject) => {
      peer.openCount++
      const settled = (): void => {
        peer.openCount--
        timer.cancel()
      }
      const settle = {
        resolve: (response: object | typeof NOT_HERE) => {
          settled()
          resolve(response)
        },
        reject: (error: Error) => {
          settled()
          reject(error)
        },
      }
      const timer = this.#clock.after(PEER_ANSWER_MS_MAX, () => {
        if (this.#asked.delete(id)) settle.reject(new BrokerUnreachable(nodeId))
      })
      this.#asked.set(id, { api, version: call.version, nodeId, shardId, ...settle })
    })
  }

  /** ASK of another shard. */
  onAsk(from: number, id: number, reader: WireReader): void {
    const flags = reader.u8()
    const call: CallContext = {
      apiKey: reader.i16(),
      version: reader.i16(),
      connectionId: reader.i32(),
      clientId: reader.text(),
      clientHost: reader.text() ?? '',
      principal: reader.text() ?? '',
      listenerName: reader.text() ?? '',
    }
    this.#serve(flags, call, Buffer.from(reader.rest()), false, (status, bytes) => {
      this.#options.post().send(from, this.#options.post().message(Kind.ANSWER, id).u8(status).rest(bytes))
    })
  }

  /** ASK of another broker. */
  onPeerAsk(link: LinkInfo, reader: PeerReader): void {
    const id = reader.i32()
    const life = reader.f64()
    const flags = reader.u8()
    const call: CallContext = {
      apiKey: reader.i32(),
      version: reader.i32(),
      connectionId: reader.i32(),
      clientId: reader.text(),
      clientHost: reader.text() ?? '',
      principal: reader.text() ?? '',
      listenerName: reader.text() ?? '',
    }
    const peer = this.#peer(link.nodeId, link.shardId)
    if (peer.servedCount >= SERVED_FOR_PEER_MAX) {
      // Without room for even that the asker waits until it has waited enough.
      this.#sendAnswer({ link, id, life, status: REFUSED, bytes: NO_BYTES })
      return
    }
    peer.servedCount++
    const body = Buffer.from(reader.rest())
    this.#serve(flags, call, body, true, (status, bytes) => this.#answerPeer(peer, { link, id, life, status, bytes }))
  }

  #answerPeer(peer: Peer, answer: PeerAnswer): void {
    if (peer.unsent.length === 0 && this.#sendAnswer(answer)) {
      peer.servedCount--
      return
    }
    const isTooMuch = peer.unsentBytes > 0 && peer.unsentBytes + answer.bytes.length > UNSENT_BYTES_MAX
    const kept = isTooMuch ? { ...answer, status: REFUSED, bytes: NO_BYTES } : answer
    peer.unsent.push(kept)
    peer.unsentBytes += kept.bytes.length
    if (this.#unsentCount++ === 0) this.#lookForRoom()
  }

  /** @returns false while there is no room; true also for an answer that nobody waits for any more */
  #sendAnswer({ link, id, life, status, bytes }: PeerAnswer): boolean {
    const { links } = this.#options
    // When the connection broke, the asker learned from its own side that no answer will come.
    if (links?.linkInfo(link.nodeId, link.shardId) !== link) return true
    const message = links.begin(link.nodeId, link.shardId, PeerKind.ANSWER)
    if (message === undefined) return false
    if (message.i32(id).f64(life).u8(status).bytes(bytes).end()) {
      this.#options.wantsFlush()
      return true
    }
    if (status !== ANSWERED) return true
    const failure = Buffer.from('the answer is larger than a message between brokers')
    return this.#sendAnswer({ link, id, life, status: FAILED, bytes: failure })
  }

  /** One timer for all answers that wait; the links tell replication when they have room, and nobody else. */
  #lookForRoom(): void {
    this.#clock.after(ROOM_LOOK_MS, () => {
      for (const peer of this.#peers.values()) this.#sendUnsent(peer)
      if (this.#unsentCount > 0) this.#lookForRoom()
    })
  }

  #sendUnsent(peer: Peer): void {
    const { unsent } = peer
    let count = 0
    while (count < unsent.length && this.#sendAnswer(unsent[count]!)) peer.unsentBytes -= unsent[count++]!.bytes.length
    unsent.splice(0, count)
    peer.servedCount -= count
    this.#unsentCount -= count
  }

  #peer(nodeId: number, shardId: number): Peer {
    const key = `${nodeId}/${shardId}`
    let peer = this.#peers.get(key)
    if (peer === undefined) {
      peer = { openCount: 0, servedCount: 0, unsent: [], unsentBytes: 0 }
      this.#peers.set(key, peer)
    }
    return peer
  }

  #serve(
    flags: number,
    call: CallContext,
    body: Buffer,
    isPeer: boolean,
    reply: (status: number, bytes: Uint8Array) => void,
  ): void {
    const { shard } = this.#options
    const forController = (flags & FOR_CONTROLLER) !== 0
    if (forController && isPeer && !this.#options.place().isHere) {
      reply(ELSEWHERE, NO_BYTES)
      return
    }
    const work = async (): Promise<Uint8Array> => {
      const api = apiOf(call.apiKey)
      if (api === undefined) throw new Error(`API ${call.apiKey} is not served`)
      const request = decoder(api.request, call.version)(new Reader(body))
      const response =
        forController && !isPeer
          ? await this.askController(api, call, request)
          : await serveOf(api, call)(shard, call, request)
      return encoded(api.response, call.version, response)
    }
    work().then(
      (bytes) => reply(ANSWERED, bytes),
      (error: Error) => {
        if (error.name === 'InvariantViolation') throw error
        shard.environment.logger.error(`API ${call.apiKey} failed: ${error.stack ?? error.message}`)
        reply(FAILED, Buffer.from(error.message.slice(0, FAILURE_CHARACTERS_MAX)))
      },
    )
  }

  onAnswer(id: number, reader: WireReader): void {
    const status = reader.u8()
    this.#answered(id, -1, status, Buffer.from(reader.rest()))
  }

  onPeerAnswer(link: LinkInfo, reader: PeerReader): void {
    const id = reader.i32()
    // The answer to a question of the process that was here before us: the numbers begin anew with each.
    if (reader.f64() !== this.#life) return
    const status = reader.u8()
    this.#answered(id, link.nodeId, status, Buffer.from(reader.rest()))
  }

  #answered(id: number, nodeId: number, status: number, bytes: Buffer): void {
    const asked = this.#asked.get(id)
    if (asked === undefined || asked.nodeId !== nodeId) return
    this.#asked.delete(id)
    if (status === ELSEWHERE) asked.resolve(NOT_HERE)
    else if (status === REFUSED) asked.reject(new BrokerUnreachable(nodeId))
    else if (status !== ANSWERED) asked.reject(new Error(bytes.toString()))
    else {
      try {
        asked.resolve(decoder(asked.api.response, asked.version)(new Reader(bytes)) as object)
      } catch (error) {
        asked.reject(error as Error)
      }
    }
  }

  /** A connection broke: answers may be lost. */
  peerDown({ nodeId, shardId }: LinkInfo): void {
    for (const [id, asked] of [...this.#asked]) {
      if (asked.nodeId !== nodeId || asked.shardId !== shardId) continue
      this.#asked.delete(id)
      asked.reject(new BrokerUnreachable(nodeId))
    }
  }
}

function apiOf(apiKey: number): AnyApi | undefined {
  return apiKey === CLUSTER_CALL ? (clusterCall as unknown as AnyApi) : (apis.get(apiKey) as AnyApi | undefined)
}

function serveOf<Req, Res>(api: Api<Req, Res>, call: CallContext) {
  if (api.serve === undefined) throw new Error(`API ${call.apiKey} is not served across shards`)
  return api.serve.bind(api)
}

function encoded(message: AnyApi['request'], version: number, value: unknown): Uint8Array {
  const writer = new Writer()
  encoder(message, version)(writer, value as Input<Fields>)
  return writer.toBytes()
}
