import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Forming, parseAddress, type SeedAnswer } from '../../../../broker/cluster/node-forming.ts'
import { silentLogger } from '../../../../broker/observe/log.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'
import { ManualClock } from './fixture.ts'

interface Peer {
  forming: Forming
  clusterId: string
  /** It has just started with that cluster, and may give it up. */
  isDeciding: boolean
  outcome: string
  isListening: boolean
}

/** Brokers 1.. with the same seed list; `hears(from, to)` says whether an answer comes. */
class Seeds {
  readonly clock = new ManualClock()
  readonly peers: Peer[] = []
  readonly addresses = [1, 2, 3].map((port) => ({ host: 'seed', port }))
  hears: (from: number, to: number) => boolean = () => true

  start(at: number): Peer {
    const peer: Peer = { forming: this.#forming(at), clusterId: '', isDeciding: false, outcome: '', isListening: true }
    this.peers[at] = peer
    peer.forming.run().then(
      (formed) => {
        peer.outcome = formed.type
        peer.clusterId = formed.type === 'join' ? formed.clusterId : `cluster-of-${at + 1}`
      },
      (error: OperatorError) => {
        peer.outcome = error.code
      },
    )
    return peer
  }

  #forming(at: number): Forming {
    return new Forming({
      nodeId: at + 1,
      own: this.addresses[at]!,
      seeds: this.addresses,
      clock: this.clock,
      logger: silentLogger,
      ask: async ({ port }, position): Promise<SeedAnswer> => {
        const to = port - 1
        await Promise.resolve()
        if (!this.hears(at, to)) return { kind: 'unclear', reason: 'no answer' }
        const other = this.peers[to]
        if (other === undefined || !other.isListening) return { kind: 'absent' }
        if (other.clusterId === '') other.forming.asked(position)
        return {
          kind: 'answered',
          status: { nodeId: to + 1, clusterId: other.clusterId, isDeciding: other.isDeciding },
        }
      },
    })
  }

  async run(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
      this.clock.advance(1000)
    }
  }

  get outcomes(): string[] {
    return this.peers.map(({ outcome }) => outcome)
  }
}

test('of brokers that start together the earliest seed founds and the others join it', async () => {
  const seeds = new Seeds()
  for (const at of [2, 1, 0]) seeds.start(at)
  await seeds.run(5)
  assert.deepEqual(seeds.outcomes, ['found', 'join', 'join'])
  assert.deepEqual(new Set(seeds.peers.map(({ clusterId }) => clusterId)), new Set(['cluster-of-1']))
})

test('a later seed that starts first founds, and the earlier one joins it', async () => {
  const seeds = new Seeds()
  seeds.start(2)
  await seeds.run(2)
  seeds.start(0)
  await seeds.run(3)
  assert.equal(seeds.peers[2]!.outcome, 'found')
  assert.equal(seeds.peers[0]!.outcome, 'join')
  assert.equal(seeds.peers[0]!.clusterId, 'cluster-of-3')
})

test('a broker that told an earlier seed that it is undecided does not found in that round', async () => {
  const seeds = new Seeds()
  // Broker 2 finds nobody at first; before its round ends, broker 1 has started and asked it.
  const second = seeds.start(1)
  second.forming.asked(0)
  const first = seeds.start(0)
  await seeds.run(4)
  assert.equal(first.outcome, 'found')
  assert.equal(second.outcome, 'join')
})

test('a seed that does not answer is waited for, and one that refuses is not', async () => {
  const seeds = new Seeds()
  let isCut = true
  seeds.hears = (_from, to) => !isCut || to !== 2
  seeds.start(0)
  await seeds.run(5)
  assert.equal(seeds.peers[0]!.outcome, '')
  isCut = false
  await seeds.run(3)
  assert.equal(seeds.peers[0]!.outcome, 'found')
})

test('two brokers with one id do not form a cluster', async () => {
  const seeds = new Seeds()
  const twin = new Forming({
    nodeId: 2,
    own: seeds.addresses[0]!,
    seeds: seeds.addresses.slice(0, 2),
    clock: seeds.clock,
    logger: silentLogger,
    ask: async () => ({ kind: 'twin' }),
  })
  await assert.rejects(twin.run(), (error) => error instanceof OperatorError && error.code === 'NODE_ID_IN_USE')
})

test('seeds of two clusters are refused', async () => {
  const seeds = new Seeds()
  const joiner = new Forming({
    nodeId: 3,
    own: seeds.addresses[2]!,
    seeds: seeds.addresses,
    clock: seeds.clock,
    logger: silentLogger,
    ask: async ({ port }) => ({
      kind: 'answered',
      status: { nodeId: port, clusterId: `cluster-of-${port}` },
    }),
  })
  await assert.rejects(joiner.run(), (error) => error instanceof OperatorError && error.code === 'SEEDS_DISAGREE')
})

test('a broker that is listed under another name of its host recognises itself', async () => {
  const seeds = new Seeds()
  const forming = new Forming({
    nodeId: 1,
    own: { host: '10.0.0.1', port: 1 },
    seeds: seeds.addresses.slice(0, 1),
    clock: seeds.clock,
    logger: silentLogger,
    ask: async () => ({ kind: 'self' }),
  })
  const formed = forming.run()
  await seeds.run(3)
  assert.deepEqual(await formed, { type: 'found' })
})

test('addresses are host:port, with brackets around IPv6', () => {
  assert.deepEqual(parseAddress('--seed', ' broker-1:9192'), { host: 'broker-1', port: 9192 })
  assert.deepEqual(parseAddress('--seed', '[::1]:9192'), { host: '::1', port: 9192 })
  for (const text of ['broker', ':9192', 'broker:99999', '::1:9192']) {
    assert.throws(() => parseAddress('--seed', text), OperatorError)
  }
})

test('a broker that has met its cluster founds no other one when the cluster goes away', async () => {
  const seeds = new Seeds()
  const founder = seeds.start(1)
  await seeds.run(5)
  const late = seeds.start(0)
  await seeds.run(5)
  assert.deepEqual([founder.outcome, late.outcome], ['found', 'join'])
  // It could not join yet, and looks again when nobody listens any more.
  founder.isListening = false
  let again = ''
  late.forming.run().then(
    ({ type }) => {
      again = type
    },
    () => {},
  )
  await seeds.run(5)
  assert.equal(again, '')
  founder.isListening = true
  await seeds.run(5)
  assert.equal(again, 'join')
})

test('a broker that has not decided to keep its cluster is waited for, and neither joined nor outvoted', async () => {
  for (const keeps of [true, false]) {
    const seeds = new Seeds()
    const decider = { ...seeds.start(2), clusterId: 'old', isDeciding: true }
    seeds.peers[2] = decider
    const first = seeds.start(0)
    await seeds.run(5)
    assert.equal(first.outcome, '')
    decider.isDeciding = false
    if (!keeps) decider.clusterId = ''
    await seeds.run(5)
    assert.deepEqual([first.outcome, first.clusterId], keeps ? ['join', 'old'] : ['found', 'cluster-of-1'])
  }
})

test('a broker that told one with a cluster that it is undecided does not found in that round, wherever that one stands', async () => {
  const seeds = new Seeds()
  const first = seeds.start(0)
  // Broker 3 is not there when it is asked for the first time, and asks before that round is over.
  let asks = 0
  seeds.peers[2] = Object.defineProperty({ ...first, clusterId: 'old' }, 'isListening', { get: () => asks++ > 0 })
  first.forming.asked(-1, true)
  await seeds.run(4)
  assert.deepEqual([first.outcome, first.clusterId], ['join', 'old'])
})
