import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Lease } from '../../../../broker/replication/link-lease.ts'
import { CLOCK_DRIFT_MAX } from '../../../../broker/replication/links.ts'
import { LinkWorld, TEXT } from './link-world.ts'

const SILENCE_MS = 750
const LEASE_MS = SILENCE_MS * (1 - CLOCK_DRIFT_MAX)

test('a broker that dies is silent after the silence, not before and not much later', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  world.advance(1000)
  assert.equal(a!.links.isAlive(2, 0), true)
  world.kill(b!)
  // The newest sign of life may be as old as the interval between two pings.
  world.advance(SILENCE_MS - 110)
  // The connections broke and dials are refused: that proves no more than silence does.
  assert.deepEqual(a!.takeEvents(), ['down 2/0'])
  assert.equal(a!.links.isAlive(2, 0), true)
  world.advance(112)
  assert.deepEqual(a!.takeEvents(), ['silent 2/0'])
  assert.equal(a!.links.isAlive(2), false)
})

test('a cut network is silence on both sides, and everything stands again soon after it is mended', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  world.network.cut('host1', 'host2')
  world.network.cut('host2', 'host1')
  world.advance(1000)
  assert.deepEqual(a!.takeEvents(), ['down 2/0', 'silent 2/0'])
  assert.deepEqual(b!.takeEvents(), ['down 1/0', 'silent 1/0'])
  world.advance(20_000)
  world.network.mend('host1', 'host2')
  world.network.mend('host2', 'host1')
  world.advance(1600)
  assert.deepEqual(a!.takeEvents(), ['heard 2/0', 'up 2/0'])
  assert.deepEqual(b!.takeEvents(), ['heard 1/0', 'up 1/0'])
  world.advance(3000)
  assert.deepEqual([...a!.events, ...b!.events], [])
})

test('a network that is cut one way is silence on both sides: what cannot be answered is no sign of life', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  world.network.cut('host1', 'host2')
  world.advance(3000)
  assert.deepEqual(b!.takeEvents(), ['down 1/0', 'silent 1/0'], 'b hears nothing')
  assert.deepEqual(a!.takeEvents(), ['down 2/0', 'silent 2/0'], 'a hears b and cannot answer')
})

for (const stallMs of [300, 740, 5000]) {
  test(`a stall of ${stallMs} ms of the own loop makes nobody silent whose messages wait in the socket`, () => {
    const world = new LinkWorld()
    const [a, b] = world.brokers(2)
    // Just before the moment at which a is about to hear of b again.
    for (const offsetMs of [0, 13, 49, 50, 51, 99]) {
      world.advance(2000 + offsetMs)
      a!.takeEvents()
      a!.loop.stall(stallMs)
      for (let at = 0; at < stallMs; at += 50) {
        world.advance(50)
        if (b!.links.isUp(1, 0)) assert.ok(b!.say(1, `${at}`))
      }
      const waiting = a!.texts.length
      world.advance(1)
      // A longer stall than the silence has made b give up the connections, and with them what they held.
      if (stallMs < SILENCE_MS) assert.ok(a!.texts.length > waiting, 'what waited is read')
      assert.ok(!a!.events.includes('silent 2/0'))
      world.advance(2000)
      assert.ok(!a!.takeEvents().includes('silent 2/0'))
      assert.ok(a!.links.isUp(2, 0))
    }
  })
}

test('a peer that was quiet before a stall and has spoken during it is not silent, although its time seemed over', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  world.advance(1000)
  // b's own loop stands still: nothing comes for nearly the whole silence.
  b!.loop.stall(SILENCE_MS - 60)
  world.advance(SILENCE_MS - 61)
  assert.deepEqual(a!.events, [])
  a!.loop.stall(500)
  world.advance(505)
  assert.deepEqual(a!.events, [])
  assert.equal(a!.links.isAlive(2, 0), true)
})

test('a dead peer is found out after a stall too: running time goes on', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  b!.loop.isDead = true
  world.advance(100)
  a!.loop.stall(5000)
  world.advance(5001)
  assert.deepEqual(a!.events, [], 'five seconds of stall are no silence')
  world.advance(SILENCE_MS + 100)
  assert.deepEqual(a!.takeEvents(), ['down 2/0', 'silent 2/0'])
})

test('a lease runs from the sending of the newest ping that was answered', () => {
  const world = new LinkWorld()
  world.network.latencyMs = 40
  const [a, b] = world.brokers(2)
  assert.equal(a!.links.leaseUntilMs(3, 0), Number.NEGATIVE_INFINITY)
  world.advance(1000)
  const now = world.world.nowMs
  const until = a!.links.leaseUntilMs(2, 0)
  // 80 ms there and back, up to 100 ms between pings, and as much for which an answer may wait.
  assert.ok(until >= now + LEASE_MS - 280 && until <= now + LEASE_MS - 80, `${until - now}`)
  world.kill(b!)
  world.advance(500)
  // An answer that was already on its way still counts; nothing does after it.
  const last = a!.links.leaseUntilMs(2, 0)
  assert.ok(last <= now + LEASE_MS)
  world.advance(5000)
  assert.equal(a!.links.leaseUntilMs(2, 0), last)
  assert.ok(a!.links.stats()[0]!.rttMs >= 80)
})

test('between brokers that are well no lease ever comes near its end, whoever pings first', () => {
  for (const latencyMs of [0.1, 10, 45]) {
    for (const offsetMs of [1, 49, 50, 51, 99]) {
      const world = new LinkWorld()
      world.network.latencyMs = latencyMs
      const all = [1, 2, 3].map((nodeId) => {
        world.advance(offsetMs)
        const process = world.process({ nodeId })
        process.knows(...world.processes)
        return process
      })
      const pairs = all.flatMap((one) => all.filter((other) => other !== one).map((other) => ({ one, other })))
      for (const { one, other } of pairs) one.knows(...all.filter((each) => each !== one), other)
      world.world.until(() => pairs.every(({ one, other }) => one.links.isUp(other.nodeId, 0)))
      // The first answer does not wait: a leader has its lease as soon as it has its link.
      world.advance(2 * latencyMs + 1)
      for (let ms = 0; ms < 2000; ms++) {
        for (const { one, other } of pairs) {
          const leftMs = one.links.leaseUntilMs(other.nodeId, 0) - world.world.nowMs
          assert.ok(leftMs > LEASE_MS - 2 * 100 - 3 * latencyMs - 2, `${leftMs} ms left`)
        }
        world.advance(1)
      }
    }
  }
})

test('what is said to a shard takes the answer along that it waits for', () => {
  const world = new LinkWorld()
  const [a, b] = world.brokers(2)
  world.advance(1000)
  const leases = (): number[] => [a!.links.leaseUntilMs(2, 0), b!.links.leaseUntilMs(1, 0)]
  const inRound = leases().join()
  world.world.until(() => leases().join() !== inRound)
  world.advance(5)
  // Pings crossed, or one came with an answer: what answers are left wait for the next round.
  const before = leases()
  world.advance(20)
  assert.deepEqual(leases(), before)
  assert.ok(a!.say(2, 'x') && b!.say(1, 'x'))
  world.advance(1)
  const after = leases()
  assert.ok(after.some((untilMs, at) => untilMs > before[at]!))
  assert.ok(Math.min(...after) > world.world.nowMs + LEASE_MS - 30)
})

test('an answer that was owed to a process that is gone is not given to the next one', () => {
  for (let waitMs = 0; waitMs < 100; waitMs += 7) {
    const world = new LinkWorld()
    const [a, b] = world.brokers(2)
    world.advance(1000 + waitMs)
    b!.loop.isDead = true
    const after = world.process({ nodeId: 2 })
    after.knows(a!)
    world.world.until(() => after.links.isUp(1, 0))
    world.advance(300)
    assert.deepEqual(after.lines, [])
    assert.deepEqual(after.events, ['heard 1/0', 'up 1/0'])
  }
})

test('a lease is shorter than the silence by the share that clocks may run apart', () => {
  const lease = new Lease(SILENCE_MS)
  const first = lease.ping(1000)
  const second = lease.ping(1100)
  const third = lease.ping(1200)
  assert.ok(lease.pong(second, 5000))
  assert.equal(lease.untilMs, 1100 + LEASE_MS)
  assert.equal(lease.rttMs, 3900)
  assert.ok(lease.pong(first, 5000), 'late, and worth nothing')
  assert.equal(lease.untilMs, 1100 + LEASE_MS)
  assert.equal(lease.pong(third + 1, 5000), false, 'no such ping')
  assert.equal(lease.pong(0, 5000), false)
  lease.end()
  assert.ok(lease.pong(third, 5000))
  assert.equal(lease.untilMs, Number.NEGATIVE_INFINITY, 'the process that was asked is gone')
  // So old that its place was taken by a newer one.
  const old = lease.ping(2000)
  for (let at = 0; at < 64; at++) lease.ping(3000)
  assert.ok(lease.pong(old, 5000))
  assert.equal(lease.untilMs, Number.NEGATIVE_INFINITY)
})

test('a lease is over before the one who promised may call us silent, whatever stalls and delays there are', () => {
  for (const latencyMs of [0.1, 30, 120, 300]) {
    for (const stalled of [undefined, 'leader', 'follower']) {
      const world = new LinkWorld()
      world.network.latencyMs = latencyMs
      const [leader, follower] = world.brokers(2)
      world.advance(1500)
      if (stalled === 'leader') leader!.loop.stall(900)
      if (stalled === 'follower') follower!.loop.stall(900)
      world.advance(50)
      world.network.cut('host1', 'host2')
      const limitMs = world.world.nowMs + 5000
      while (!follower!.events.includes('silent 1/0')) {
        assert.ok(world.world.nowMs < limitMs)
        world.advance(1)
      }
      const silentMs = world.world.nowMs
      const untilMs = leader!.links.leaseUntilMs(2, 0)
      const slackMs = SILENCE_MS * CLOCK_DRIFT_MAX - 1
      assert.ok(untilMs + slackMs <= silentMs, `latency ${latencyMs}, stalled ${stalled}: ${untilMs} and ${silentMs}`)
    }
  }
})

test('a defection seals the frame being filled: what was said before carries the number from before', () => {
  const world = new LinkWorld()
  const [leader, follower] = world.brokers(2)
  const seen: [string, number][] = []
  leader!.onReceive = (link, _, reader) =>
    seen.push([reader.text() ?? '', leader!.links.defections(link.nodeId, link.shardId)])
  const say = (text: string): void => assert.ok(follower!.say(1, text) || true)
  say('accepted 1')
  world.advance(5)
  say('accepted 2')
  follower!.links.defect(1)
  say('accepted 3')
  world.advance(5)
  const [one, two, three] = seen.map(([, number]) => number)
  assert.deepEqual(
    seen.map(([text]) => text),
    ['accepted 1', 'accepted 2', 'accepted 3'],
  )
  assert.equal(one, two)
  assert.notEqual(two, three)
  assert.equal(leader!.links.defections(2, 0), three)
})

test('a defection shows with the next pong at the latest, and many of them cost one number', () => {
  const world = new LinkWorld()
  const [leader, follower] = world.brokers(2)
  follower!.say(1, 'accepted')
  world.advance(5)
  const tag = leader!.links.defections(2, 0)
  const frames = follower!.links.stats()[0]!.sentFrames
  for (let group = 0; group < 1000; group++) follower!.links.defect(1, 0)
  assert.equal(follower!.links.stats()[0]!.sentFrames, frames, 'there was nothing to seal')
  const leaseMs = leader!.links.leaseUntilMs(2, 0)
  world.world.until(() => leader!.links.leaseUntilMs(2, 0) !== leaseMs, 200)
  assert.notEqual(leader!.links.defections(2, 0), tag, 'whoever has a newer lease knows of the defection')
})

test('no number comes back, whatever breaks or is forgotten between defections', () => {
  const world = new LinkWorld()
  const [leader, follower] = world.brokers(2)
  const tags = new Set<number>()
  const note = (): void => {
    follower!.say(1, 'x')
    world.advance(10)
    const tag = leader!.links.defections(2, 0)
    assert.ok(!tags.has(tag), `${tag} again`)
    tags.add(tag)
  }
  const relist = (): void => {
    // The follower forgets the leader altogether, the leader remembers what it heard last.
    follower!.knows()
    world.network.cut('host1', 'host2')
    world.network.cut('host2', 'host1')
    world.advance(2000)
    assert.deepEqual(follower!.links.stats(), [])
    follower!.links.defect(1)
    world.network.mend('host1', 'host2')
    world.network.mend('host2', 'host1')
    follower!.knows(leader!)
    world.advance(2000)
  }
  note()
  relist()
  note()
  for (let round = 0; round < 4; round++) {
    follower!.links.defect(1)
    note()
    world.network.breakDialed('host2', 'host1')
    follower!.links.defect(1)
    world.advance(2000)
    note()
    relist()
    note()
  }
  // A connection that breaks changes nothing by itself: whoever followed still does.
  const before = leader!.links.defections(2, 0)
  world.network.breakDialed('host2', 'host1')
  world.advance(2000)
  assert.equal(leader!.links.defections(2, 0), before)
})

test('an idle link costs ten small frames per second, and nobody has to flush', () => {
  const world = new LinkWorld()
  const [a] = world.brokers(2)
  const before = a!.links.stats()[0]!
  world.advance(10_000)
  const after = a!.links.stats()[0]!
  const frames = after.sentFrames - before.sentFrames
  assert.ok(frames >= 99 && frames <= 105, `${frames} frames`)
  assert.ok(after.sentBytes - before.sentBytes < 4000)
  assert.equal(after.queuedBytes, 0)
  assert.ok(a!.links.begin(2, 0, TEXT)!.end())
})

test('shards that began to ping at different times do it together after a while, each link once per interval', () => {
  const world = new LinkWorld()
  for (const offsetMs of [0, 13, 41, 22, 67]) {
    world.advance(offsetMs)
    world.process({ nodeId: world.processes.length + 1 })
    for (const process of world.processes) process.knows(...world.processes)
  }
  world.advance(3000)
  const sentMs: number[] = []
  world.network.tamper = (_from, _to, bytes) => {
    sentMs.push(world.world.nowMs)
    return bytes
  }
  world.advance(1000)
  // Without the round that the beginning may have cut, and the one that the end may.
  const startMs = sentMs[0]! + 10
  const endMs = world.world.nowMs - 10
  const first = sentMs.filter((ms, at) => ms > startMs && ms < endMs && ms - sentMs[at - 1]! > 20)
  assert.ok(first.length >= 8 && first.length <= 10, `frames left from ${first} on`)
  for (const ms of first) {
    const count = sentMs.filter((other) => other >= ms && other <= ms + 5).length
    assert.equal(count, 5 * 4, `frames from ${ms} on`)
  }
})

test('a shard without peers has nothing to wake up for', () => {
  const world = new LinkWorld()
  const alone = world.process({ nodeId: 1 })
  assert.equal(alone.loop.nextMs, Number.POSITIVE_INFINITY)
  const other = world.process({ nodeId: 2 })
  alone.knows(other)
  world.advance(200)
  assert.ok(alone.links.isUp(2, 0))
  alone.knows()
  other.knows()
  world.advance(2000)
  assert.equal(alone.loop.nextMs, Number.POSITIVE_INFINITY)
})
