// Requests between shards and between brokers, over mailboxes and links that only hold: nothing arrives before the test lets it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BrokerConfig } from '../../../../broker/config.ts'
import type { Api, CallContext } from '../../../../broker/handlers/api.ts'
import { deleteTopics } from '../../../../broker/handlers/delete-topics.ts'
import { produce } from '../../../../broker/handlers/produce.ts'
import type { LinkInfo, ShardLinks } from '../../../../broker/replication/link-types.ts'
import { PeerKind, PeerReader, type PeerWriter } from '../../../../broker/replication/peer-wire.ts'
import { Asks, type ControllerPlace } from '../../../../broker/shard/asks.ts'
import { BrokerUnreachable, type DataShard } from '../../../../broker/shard/context.ts'
import type { Post } from '../../../../broker/shard/post.ts'
import { HEADER_BYTES, Kind, WireReader, WireWriter } from '../../../../broker/shard/wire.ts'
import { ApiKey } from '../../../../protocol/api.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import type { DeleteTopicsRequest, DeleteTopicsResponse } from '../../../../protocol/messages/delete-topics.ts'
import { ZERO_UUID } from '../../../../protocol/schema.ts'
import { ManualClock, silent } from '../cluster/fixture.ts'
import { call } from '../handlers/fixture.ts'

const SHARDS = 2

/** One message under way. */
interface Parcel {
  readonly path: string
  readonly bytes: Buffer
  arrive(): void
}

/** A message to a peer; the link takes no other one before its end. */
class Written {
  readonly #writer = new WireWriter().begin(0, 0, 0)
  readonly #end: (bytes: Buffer) => boolean

  constructor(end: (bytes: Buffer) => boolean) {
    this.#end = end
  }

  u8(value: number): this {
    this.#writer.u8(value)
    return this
  }

  i32(value: number): this {
    this.#writer.i32(value)
    return this
  }

  f64(value: number): this {
    this.#writer.f64(value)
    return this
  }

  text(value: string | null): this {
    this.#writer.text(value)
    return this
  }

  bytes(value: Uint8Array): this {
    this.#writer.rest(value)
    return this
  }

  end(): boolean {
    return this.#end(Buffer.from(this.#writer.finish().subarray(HEADER_BYTES)))
  }
}

/** One life of a broker: its shards number their requests from 1. */
class Life {
  readonly world: World
  readonly nodeId: number
  readonly shards: Asks[] = []
  place: ControllerPlace = { leader: -1, isHere: false }
  /** What its shards served, as `shard version names`. */
  readonly served: string[] = []
  /** How DeleteTopics is served on its shards. */
  serve: (shardId: number, request: DeleteTopicsRequest) => Promise<DeleteTopicsResponse>
  readonly calls: CallContext[] = []

  constructor(world: World, nodeId: number, number: number) {
    this.world = world
    this.nodeId = nodeId
    this.serve = async (shardId, { topicNames }) => answer(`${nodeId}/${shardId} has ${topicNames.join()}`)
    for (let shardId = 0; shardId < SHARDS; shardId++) this.shards.push(this.#asks(shardId, number))
  }

  #asks(shardId: number, number: number): Asks {
    const { world, nodeId } = this
    let lastId = 0
    const controller = {
      deleteTopics: (request: DeleteTopicsRequest, version: number) => {
        this.served.push(`${shardId} v${version} ${request.topicNames.join()}`)
        return this.serve(shardId, request)
      },
    }
    const shard = {
      shardId,
      shardCount: SHARDS,
      controller,
      config: new BrokerConfig([['node.id', String(nodeId)]]),
      environment: { clock: world.clock, random: { next: () => number / 1000 }, logger: silent },
    } as unknown as DataShard
    return new Asks({
      shard,
      post: () => world.postOf(this, shardId),
      links: world.linksOf(nodeId, shardId),
      place: () => this.place,
      nextId: () => ++lastId,
      wantsFlush: () => {},
    })
  }
}

class World {
  readonly clock = new ManualClock()
  readonly lives = new Map<number, Life>()
  parcels: Parcel[] = []
  /** By link, as `from>to`: who is at the other end. */
  readonly #infos = new Map<string, LinkInfo>()
  /** Links whose queue is full. */
  readonly full = new Set<string>()
  messageBytesMax = 1 << 20
  #lifeCount = 0

  constructor(...nodeIds: number[]) {
    for (const nodeId of nodeIds) this.start(nodeId)
    for (const from of nodeIds) for (const to of nodeIds) if (from < to) this.connect(from, to)
  }

  start(nodeId: number): Life {
    const life = new Life(this, nodeId, ++this.#lifeCount)
    this.lives.set(nodeId, life)
    return life
  }

  life(nodeId: number): Life {
    return this.lives.get(nodeId)!
  }

  asks(nodeId: number, shardId = 0): Asks {
    return this.life(nodeId).shards[shardId]!
  }

  connect(one: number, other: number): void {
    for (let from = 0; from < SHARDS; from++) {
      for (let to = 0; to < SHARDS; to++) {
        this.#infos.set(`${one}/${from}>${other}/${to}`, infoOf(other, to))
        this.#infos.set(`${other}/${to}>${one}/${from}`, infoOf(one, from))
      }
    }
  }

  /** What is under way between them is lost, and both notice. */
  cut(one: number, other: number): void {
    for (const [path, info] of [...this.#infos]) {
      const [from, to] = path.split('>').map((end) => end.split('/').map(Number)) as [number[], number[]]
      const ends = [from[0], to[0]]
      if (!ends.includes(one) || !ends.includes(other)) continue
      this.#infos.delete(path)
      this.parcels = this.parcels.filter((parcel) => parcel.path !== path)
      this.asks(from[0]!, from[1]).peerDown(info)
    }
  }

  postOf(life: Life, from: number): Post {
    const writer = new WireWriter()
    const post = {
      message: (kind: number, id: number) => writer.begin(kind, id, 0),
      send: (to: number, message: WireWriter) => {
        const bytes = Buffer.from(message.finish())
        const arrive = (): void => {
          const [kind, id, reader] = [bytes[0], bytes.readUInt32LE(4), new WireReader().open(bytes)]
          if (kind === Kind.ASK) life.shards[to]!.onAsk(from, id, reader)
          else life.shards[to]!.onAnswer(id, reader)
        }
        this.parcels.push({ path: `${life.nodeId}/${from}>${life.nodeId}/${to}`, bytes, arrive })
      },
    }
    return post as unknown as Post
  }

  linksOf(nodeId: number, shardId: number): ShardLinks {
    const open = new Set<string>()
    const pathTo = (to: number, shard: number): string => `${nodeId}/${shardId}>${to}/${shard}`
    const links = {
      isUp: (to: number, shard: number) => this.#infos.has(pathTo(to, shard)),
      linkInfo: (to: number, shard: number) => this.#infos.get(pathTo(to, shard)),
      begin: (to: number, shard: number, kind: number) => {
        const path = pathTo(to, shard)
        if (!this.#infos.has(path) || this.full.has(path)) return undefined
        assert.ok(!open.has(path), 'a message is ended before the next one begins')
        open.add(path)
        return new Written((bytes) => {
          open.delete(path)
          if (bytes.length > this.messageBytesMax || !this.#infos.has(path)) return false
          this.send(path, kind, bytes)
          return true
        }) as unknown as PeerWriter
      },
    }
    return links as unknown as ShardLinks
  }

  /** @param path `from>to`, each `broker/shard` */
  send(path: string, kind: number, bytes: Buffer): void {
    const [from, to] = path.split('>') as [string, string]
    const arrive = (): void => {
      const info = this.#infos.get(`${to}>${from}`)!
      const [nodeId, shardId] = to.split('/').map(Number) as [number, number]
      const reader = new PeerReader(bytes)
      if (kind === PeerKind.ASK) this.asks(nodeId, shardId).onPeerAsk(info, reader)
      else this.asks(nodeId, shardId).onPeerAnswer(info, reader)
    }
    this.parcels.push({ path, bytes, arrive })
  }

  get paths(): string[] {
    return this.parcels.map(({ path }) => path)
  }

  /** What is under way arrives. */
  async deliver(): Promise<void> {
    await turn()
    for (const { arrive } of this.parcels.splice(0)) arrive()
    await turn()
  }

  /** Until nothing is under way any more. */
  async run(): Promise<void> {
    do await this.deliver()
    while (this.parcels.length > 0)
  }

  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 25) {
      this.clock.advance(Math.min(25, left))
      await turn()
    }
  }
}

const infoOf = (nodeId: number, shardId: number) => ({ nodeId, shardId, shardCount: SHARDS }) as LinkInfo

async function turn(): Promise<void> {
  for (let left = 0; left < 30; left++) await Promise.resolve()
}

function request(...topicNames: string[]): DeleteTopicsRequest {
  return { topics: [], topicNames, timeoutMs: 1000 }
}

function answer(errorMessage: string, errorCode: ErrorCode = ErrorCode.NONE): DeleteTopicsResponse {
  return { throttleTimeMs: 0, responses: [{ name: 't', topicId: ZERO_UUID, errorCode, errorMessage }] }
}

const callOf = (version: number): CallContext => call(ApiKey.DeleteTopics, version)

/** What became of a question, as far as it is answered. */
function watched(work: Promise<DeleteTopicsResponse>): { state: string } {
  const seen = { state: 'open' }
  work.then(
    ({ responses }) => {
      seen.state = String(responses[0]?.errorMessage)
    },
    (error: Error) => {
      seen.state = `${error.name}: ${error.message}`
    },
  )
  return seen
}

// Across shards

test('a question to another shard travels with its call, both ways in the version of that call', async () => {
  const world = new World(1)
  const asked: CallContext[] = []
  world.life(1).serve = async (_shardId, { topicNames }) => answer(`has ${topicNames}`)
  const serve = deleteTopics.serve!
  const spied: typeof serve = (shard, context, body) => {
    asked.push(context)
    return serve(shard, context, body)
  }
  deleteTopics.serve = spied
  try {
    for (const version of [1, 4, 5]) {
      const context = { ...callOf(version), clientId: version === 4 ? null : `client ${version}`, connectionId: 70_000 }
      const outcome = watched(world.asks(1).ask(1, deleteTopics, context, request('a', 'b')))
      await world.run()
      // The text is in the response from version 5.
      assert.equal(outcome.state, version === 5 ? 'has a,b' : 'null')
      assert.deepEqual(asked.pop(), context)
    }
  } finally {
    deleteTopics.serve = serve
  }
  assert.deepEqual(world.life(1).served, ['1 v1 a,b', '1 v4 a,b', '1 v5 a,b'])
  assert.equal(world.asks(1).openCount, 0)
})

test('a shard that asks itself sends nothing', async () => {
  const world = new World(1)
  const outcome = watched(world.asks(1, 1).ask(1, deleteTopics, callOf(4), request('t')))
  await turn()
  // Not encoded either: version 4 has no text.
  assert.equal(outcome.state, '1/1 has t')
  assert.deepEqual(world.paths, [])
})

test('answers find their questions in whatever order they come', async () => {
  const world = new World(1)
  const outcomes = ['a', 'b', 'c'].map((name) => watched(world.asks(1).ask(1, deleteTopics, callOf(5), request(name))))
  assert.equal(world.asks(1).openCount, 3)
  await world.deliver()
  world.parcels.reverse()
  await world.deliver()
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['1/1 has a', '1/1 has b', '1/1 has c'],
  )
})

test('an error of who serves comes back in its words, from a shard and from a broker', async () => {
  const world = new World(1, 2)
  for (const life of world.lives.values()) life.serve = () => Promise.reject(new TypeError(`no luck on ${life.nodeId}`))
  for (const life of world.lives.values()) life.place = { leader: 2, isHere: life.nodeId === 2 }
  const outcomes = [
    watched(world.asks(1).ask(1, deleteTopics, callOf(5), request('t'))),
    watched(world.asks(1).askBroker(2, 1, deleteTopics, callOf(5), request('t'))),
    watched(world.asks(1).askController(deleteTopics, callOf(5), request('t'))),
  ]
  await world.run()
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['Error: no luck on 1', 'Error: no luck on 2', 'Error: no luck on 2'],
  )
  assert.equal(world.asks(1).openCount, 0)
})

test('what no shard serves is an error and not a question without an answer', async () => {
  const world = new World(1, 2)
  const unknown = { ...deleteTopics, serve: deleteTopics.serve! } as Api<DeleteTopicsRequest, DeleteTopicsResponse>
  const context = { ...callOf(5), apiKey: 999 }
  const far = watched(world.asks(1).askBroker(2, 0, unknown, context, request('t')))
  const near = watched(world.asks(1).ask(1, unknown, context, request('t')))
  // Produce has a way of its own between shards.
  const data = produce as unknown as typeof deleteTopics
  const own = watched(world.asks(1).ask(0, data, call(ApiKey.Produce, 9), request('t')))
  await world.run()
  assert.deepEqual([far.state, near.state], Array(2).fill('Error: API 999 is not served'))
  assert.equal(own.state, 'Error: API 0 is not served across shards')
})

test('an answer that cannot be read is an error', async () => {
  const world = new World(1, 2)
  const near = watched(world.asks(1).ask(1, deleteTopics, callOf(5), request('t')))
  const far = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.deliver()
  for (const [at, parcel] of world.parcels.entries()) {
    const bytes = parcel.bytes.subarray(0, parcel.bytes.length - 4)
    if (at === 0) world.asks(1).onAnswer(1, new WireReader().open(bytes))
    else world.asks(1).onPeerAnswer(infoOf(2, 0), new PeerReader(bytes))
  }
  await turn()
  assert.match(near.state, /^MalformedFrame/)
  assert.match(far.state, /^MalformedFrame/)
  assert.equal(world.asks(1).openCount, 0)
})

// Across brokers

test('a question to another broker is served by the shard that was asked, one to this broker without a link', async () => {
  const world = new World(1, 2)
  const far = watched(world.asks(1, 1).askBroker(2, 1, deleteTopics, callOf(5), request('t')))
  const near = watched(world.asks(1, 1).askBroker(1, 0, deleteTopics, callOf(5), request('t')))
  assert.deepEqual(world.paths, ['1/1>2/1', '1/1>1/0'])
  await world.run()
  assert.deepEqual([far.state, near.state], ['2/1 has t', '1/0 has t'])
  assert.equal(world.clock.timerCount, 0)
})

test('a broker that cannot be reached, or whose link is full, is not asked', async () => {
  const world = new World(1, 2)
  world.full.add('1/0>2/0')
  const full = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  const nobody = watched(world.asks(1).askBroker(3, 0, deleteTopics, callOf(5), request('t')))
  world.messageBytesMax = 20
  const large = watched(world.asks(1).askBroker(2, 1, deleteTopics, callOf(5), request('t')))
  await turn()
  assert.deepEqual(
    [full.state, nobody.state, large.state],
    [2, 3, 2].map((nodeId) => `BrokerUnreachable: broker ${nodeId} does not answer`),
  )
  assert.deepEqual([world.asks(1).openCount, world.clock.timerCount, world.paths.length], [0, 0, 0])
})

test('a question that cannot be written leaves its link as it was', async () => {
  const world = new World(1, 2)
  const wrong = { ...request('t'), topicNames: [null] } as unknown as DeleteTopicsRequest
  const refused = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), wrong))
  await turn()
  assert.match(refused.state, /^TypeError/)
  const next = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.run()
  assert.equal(next.state, '2/0 has t')
})

test('a broken link ends the questions that went over it, and no others', async () => {
  const world = new World(1, 2, 3)
  const asks = world.asks(1)
  const lost = watched(asks.askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  const other = watched(asks.askBroker(3, 0, deleteTopics, callOf(5), request('t')))
  const near = watched(asks.ask(1, deleteTopics, callOf(5), request('t')))
  world.cut(1, 2)
  await turn()
  assert.equal(lost.state, 'BrokerUnreachable: broker 2 does not answer')
  assert.deepEqual([other.state, near.state], ['open', 'open'])
  await world.run()
  assert.deepEqual([other.state, near.state], ['3/0 has t', '1/1 has t'])
  assert.equal(world.clock.timerCount, 0)
})

test('an answer that is ready after its link broke goes to nobody, also when there is a new link', async () => {
  const world = new World(1, 2)
  const served = Promise.withResolvers<DeleteTopicsResponse>()
  world.life(2).serve = () => served.promise
  const lost = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.deliver()
  world.cut(1, 2)
  world.connect(1, 2)
  served.resolve(answer('late'))
  await turn()
  assert.deepEqual(world.paths, [])
  assert.equal(lost.state, 'BrokerUnreachable: broker 2 does not answer')
})

test('a broker that takes too long counts as unreachable, and its late answer for nothing', async () => {
  const world = new World(1, 2)
  const served = Promise.withResolvers<DeleteTopicsResponse>()
  world.life(2).serve = () => served.promise
  const late = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.deliver()
  await world.advance(34_999)
  assert.equal(late.state, 'open')
  await world.advance(1)
  assert.equal(late.state, 'BrokerUnreachable: broker 2 does not answer')
  assert.equal(world.asks(1).openCount, 0)
  served.resolve(answer('late'))
  await world.run()
  assert.equal(late.state, 'BrokerUnreachable: broker 2 does not answer')
})

test('the answer to what an earlier life of this broker asked answers nothing of this one', async () => {
  const world = new World(1, 2)
  void watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('before')))
  await world.deliver()
  // It comes over a link of the new process: the other side saw the link to the old one break too late, say.
  const stale = world.parcels.splice(0)
  world.start(1)
  const fresh = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('now')))
  for (const { arrive } of stale) arrive()
  await turn()
  assert.equal(fresh.state, 'open', 'both have the number 1')
  await world.run()
  assert.equal(fresh.state, '2/0 has now')
})

test('only who was asked can answer', async () => {
  const world = new World(1, 2, 3)
  const asks = world.asks(1)
  const outcome = watched(asks.askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.deliver()
  const [reply] = world.parcels
  asks.onPeerAnswer(infoOf(3, 0), new PeerReader(reply!.bytes))
  asks.onAnswer(1, new WireReader().open(new WireWriter().begin(Kind.ANSWER, 1, 0).u8(0).finish()))
  await turn()
  assert.equal(outcome.state, 'open')
  await world.run()
  assert.equal(outcome.state, '2/0 has t')
})

test('an answer waits for room on a link that is full', async () => {
  const world = new World(1, 2)
  const outcome = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  world.full.add('2/0>1/0')
  await world.deliver()
  assert.deepEqual(world.paths, [])
  await world.advance(200)
  world.full.clear()
  await world.advance(200)
  await world.run()
  assert.equal(outcome.state, '2/0 has t')
  assert.equal(world.clock.timerCount, 0)
})

test('an answer that waits for room is given up with its link', async () => {
  const world = new World(1, 2)
  void watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  world.full.add('2/0>1/0')
  await world.deliver()
  world.cut(1, 2)
  await world.advance(200)
  assert.equal(world.clock.timerCount, 0)
})

test('an answer larger than a message between brokers is an error at once', async () => {
  const world = new World(1, 2)
  world.messageBytesMax = 400
  world.life(2).serve = async () => answer('x'.repeat(1000))
  const outcome = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.run()
  assert.match(outcome.state, /^Error: .*larger/)
})

// The controller

test('a change asked of any shard is decided where group 0 is led', async () => {
  const world = new World(1, 2)
  world.life(1).place = { leader: 1, isHere: true }
  world.life(2).place = { leader: 1, isHere: false }
  const outcome = watched(world.asks(2, 1).askController(deleteTopics, callOf(5), request('t')))
  assert.deepEqual(world.paths, ['2/1>2/0'])
  await world.deliver()
  assert.deepEqual(world.paths, ['2/0>1/0'])
  await world.run()
  assert.equal(outcome.state, '1/0 has t')
  const here = watched(world.asks(1, 1).askController(deleteTopics, callOf(5), request('u')))
  await world.run()
  assert.equal(here.state, '1/0 has u')
  assert.deepEqual(world.life(2).served, [])
})

test('whoever is asked and decides no more says so, and the next one is looked for', async () => {
  const world = new World(1, 2, 3)
  world.life(1).place = { leader: 2, isHere: false }
  world.life(2).place = { leader: 3, isHere: false }
  world.life(3).place = { leader: 3, isHere: true }
  const outcome = watched(world.asks(1).askController(deleteTopics, callOf(5), request('t')))
  await world.run()
  assert.equal(outcome.state, 'open')
  world.life(1).place = { leader: 3, isHere: false }
  await world.advance(25)
  await world.run()
  assert.equal(outcome.state, '3/0 has t')
  assert.deepEqual(world.life(2).served, [])
})

test('without a controller the one here refuses in the words of the request, after a while', async () => {
  const world = new World(1, 2)
  world.life(1).serve = async () => answer('not me', ErrorCode.NOT_CONTROLLER)
  const outcome = watched(world.asks(1, 1).askController(deleteTopics, callOf(5), request('t')))
  await world.run()
  await world.advance(3950)
  await world.run()
  assert.equal(outcome.state, 'open')
  await world.advance(100)
  await world.run()
  assert.equal(outcome.state, 'not me')
  assert.deepEqual(world.life(1).served, ['0 v5 t'])
})

test('a leader that is found while the question waits is asked at once', async () => {
  const world = new World(1, 2)
  world.life(2).place = { leader: 2, isHere: true }
  const outcome = watched(world.asks(1).askController(deleteTopics, callOf(5), request('t')))
  await world.advance(1000)
  world.life(1).place = { leader: 2, isHere: false }
  world.cut(1, 2)
  await world.advance(1000)
  assert.deepEqual(world.paths, [])
  world.connect(1, 2)
  await world.advance(25)
  await world.run()
  assert.equal(outcome.state, '2/0 has t')
})

test('when the way to the controller breaks, nobody asks a second time: it may have been done', async () => {
  const world = new World(1, 2)
  world.life(1).place = { leader: 2, isHere: false }
  world.life(2).place = { leader: 2, isHere: true }
  world.life(1).serve = async () => answer('not me', ErrorCode.NOT_CONTROLLER)
  const outcome = watched(world.asks(1).askController(deleteTopics, callOf(5), request('t')))
  await world.deliver()
  assert.deepEqual(world.life(2).served, ['0 v5 t'])
  world.cut(1, 2)
  world.connect(1, 2)
  await world.advance(100)
  await world.run()
  assert.equal(outcome.state, 'not me')
  assert.deepEqual(world.life(2).served, ['0 v5 t'])
})

test('BrokerUnreachable is told from other errors by its class', async () => {
  const world = new World(1)
  await assert.rejects(world.asks(1).askBroker(9, 0, deleteTopics, callOf(5), request('t')), BrokerUnreachable)
})

// Bounds

test('so many questions may be open to a broker; the next one finds it unreachable, until one is answered', async () => {
  const world = new World(1, 2, 3)
  const ask = (nodeId: number, shardId = 0) =>
    watched(world.asks(1).askBroker(nodeId, shardId, deleteTopics, callOf(5), request('t')))
  const open = Array.from({ length: 256 }, () => ask(2))
  const refused = ask(2)
  const [otherShard, otherBroker] = [ask(2, 1), ask(3)]
  await turn()
  assert.equal(refused.state, 'BrokerUnreachable: broker 2 does not answer')
  assert.equal(world.asks(1).openCount, 258)
  await world.run()
  assert.deepEqual(new Set(open.map(({ state }) => state)), new Set(['2/0 has t']))
  assert.deepEqual([otherShard.state, otherBroker.state], ['2/1 has t', '3/0 has t'])
  const next = ask(2)
  await world.run()
  assert.equal(next.state, '2/0 has t')
})

test('questions that were given up or lost with their link are open no longer', async () => {
  const world = new World(1, 2)
  world.life(2).serve = () => new Promise(() => {})
  const ask = () => watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  for (let count = 0; count < 256; count++) ask()
  await world.deliver()
  await world.advance(35_000)
  assert.equal(world.asks(1).openCount, 0)
  for (let count = 0; count < 256; count++) ask()
  assert.equal(world.asks(1).openCount, 256)
  world.cut(1, 2)
  world.connect(1, 2)
  ask()
  assert.equal(world.asks(1).openCount, 1)
})

test('a broker serves so many questions of another one at a time, also when that one has forgotten them', async () => {
  const world = new World(1, 2)
  const served = Promise.withResolvers<void>()
  world.life(2).serve = async () => {
    await served.promise
    return answer('served')
  }
  const ask = () => watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  for (let round = 0; round < 2; round++) {
    for (let count = 0; count < 256; count++) ask()
    await world.deliver()
    world.cut(1, 2)
    world.connect(1, 2)
  }
  assert.equal(world.life(2).served.length, 512)
  const refused = ask()
  const far = watched(world.asks(1, 1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.run()
  assert.equal(refused.state, 'BrokerUnreachable: broker 2 does not answer')
  assert.deepEqual([world.life(2).served.length, far.state], [513, 'open'], 'another shard has a count of its own')
  served.resolve()
  await world.run()
  const next = ask()
  await world.run()
  assert.deepEqual([far.state, next.state], ['served', 'served'])
})

test('answers that wait for room share one timer, and leave in order when there is some', async () => {
  const world = new World(1, 2)
  const outcomes = ['a', 'b', 'c'].map((name) =>
    watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request(name))),
  )
  world.full.add('2/0>1/0')
  await world.deliver()
  // Those who wait for an answer have one each.
  assert.equal(world.clock.timerCount, 3 + 1)
  await world.advance(100)
  assert.equal(world.clock.timerCount, 3 + 1)
  world.full.clear()
  await world.advance(10)
  await world.run()
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['2/0 has a', '2/0 has b', '2/0 has c'],
  )
  assert.equal(world.clock.timerCount, 0)
})

test('answers that wait for room hold so many bytes; of the next one only a refusal is kept', async () => {
  const world = new World(1, 2)
  const text = 'x'.repeat(30_000)
  world.life(2).serve = async () => ({
    throttleTimeMs: 0,
    responses: Array.from({ length: 100 }, () => answer(text).responses[0]!),
  })
  world.messageBytesMax = 64 << 20
  const ask = () => watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  const outcomes = [ask(), ask(), ask()]
  world.full.add('2/0>1/0')
  await world.deliver()
  world.full.clear()
  await world.advance(10)
  assert.ok(world.parcels.length === 3 && world.parcels[2]!.bytes.length < 100, 'three answers of 3 MB are too many')
  await world.run()
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    [text, text, 'BrokerUnreachable: broker 2 does not answer'],
  )
})

test('so many requests may wait for a controller, on one timer; the next one is refused at once', async () => {
  const world = new World(1)
  world.life(1).serve = async () => answer('not me', ErrorCode.NOT_CONTROLLER)
  const ask = () => watched(world.asks(1).askController(deleteTopics, callOf(5), request('t')))
  const waiting = Array.from({ length: 1000 }, ask)
  const refused = ask()
  await turn()
  assert.equal(refused.state, 'not me')
  assert.deepEqual([waiting[0]!.state, waiting[999]!.state, world.clock.timerCount], ['open', 'open', 1])
  world.life(1).place = { leader: 1, isHere: true }
  world.life(1).serve = async () => answer('done')
  await world.advance(25)
  assert.deepEqual(new Set(waiting.map(({ state }) => state)), new Set(['done']))
  assert.equal(world.clock.timerCount, 0)
})

test('of an endless error text another broker tells the beginning', async () => {
  const world = new World(1, 2)
  world.messageBytesMax = 5000
  world.life(2).serve = () => Promise.reject(new Error('x'.repeat(10_000)))
  const outcome = watched(world.asks(1).askBroker(2, 0, deleteTopics, callOf(5), request('t')))
  await world.run()
  assert.equal(outcome.state, `Error: ${'x'.repeat(1000)}`)
})
