// Shard 0 opens the metadata group: what is on disk by the time others can hear of it, who may start, and who has to stop.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterCall } from '../../../../broker/cluster/cluster-call.ts'
import { type Command, encodeCommand } from '../../../../broker/cluster/commands.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { ProbeKind } from '../../../../broker/cluster/node.ts'
import type { SeedStatus } from '../../../../broker/cluster/node-forming.ts'
import type { NodeIdentity } from '../../../../broker/cluster/node-identity.ts'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'
import { EntryKind, type NodeId } from '../../../../broker/raft/types.ts'
import { ProbeError, type ShardLinks } from '../../../../broker/replication/link-types.ts'
import { PeerReader } from '../../../../broker/replication/peer-wire.ts'
import type { ReplicaOwner } from '../../../../broker/replication/replica.ts'
import { decodeSnapshot, foundingSnapshot } from '../../../../broker/replication/snapshot-blob.ts'
import { MetadataShard, type MetadataShardOptions } from '../../../../broker/shard/metadata-shard.ts'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import type { GroupLog } from '../../../../storage/log.ts'
import { SimulatedDisk } from '../../../sim/disk.ts'
import { CONFIG, openShard, type Shard, settle } from '../../storage/harness.ts'
import { countingRandom, ManualClock, silent } from '../cluster/fixture.ts'

const NODE = 3
const GROUP = 0
const JOINED: NodeIdentity = { clusterId: 'of-others', directoryEpoch: 2, isFounder: false, isRegistered: false }

interface Settings {
  readonly identity?: NodeIdentity
  /** Without a peer port. */
  readonly isAlone?: boolean
  readonly seed?: number
  readonly disk?: SimulatedDisk
  /** By what the log says. */
  readonly memberIds?: readonly NodeId[]
  /** What the controller answers, wherever it is. */
  readonly answer?: object
  /** What the only seed says of itself; undefined: nothing listens there. */
  readonly seed9?: () => SeedStatus | undefined
  /** Asked at each step that leaves a trace: whether the power goes before it. */
  readonly goesOn?: () => Promise<void>
}

class Bench {
  readonly metadata: MetadataShard
  readonly storage: Shard
  readonly disk: SimulatedDisk
  readonly image: MetadataImage
  readonly clock = new ManualClock()
  /** In order. */
  readonly events: string[] = []
  readonly failures: Error[] = []
  readonly warnings: string[] = []
  /** What the record says. */
  saved: NodeIdentity | undefined
  /** Called in the moment in which the group begins to take part. */
  added: (log: GroupLog) => void = () => {}
  answer: object
  /** Brokers that are heard. */
  readonly alive = new Set<number>()
  readonly replica: Record<string, unknown>
  /** What the replica tells of its group. */
  owner: ReplicaOwner | undefined

  static async open(settings: Settings = {}): Promise<Bench> {
    const disk = settings.disk ?? new SimulatedDisk({ seed: settings.seed ?? 1, directories: ['/data'] })
    return new Bench(settings, disk, await openShard(disk))
  }

  constructor(settings: Settings, disk: SimulatedDisk, storage: Shard) {
    const { identity, isAlone = false, answer = { error: ErrorCode.NOT_CONTROLLER } } = settings
    this.disk = disk
    this.storage = storage
    this.answer = answer
    this.saved = identity
    const { seed9 = () => undefined, goesOn = async () => {} } = settings
    const config = new BrokerConfig([
      ['node.id', String(NODE)],
      ['millrace.seeds', 'seed:9'],
    ])
    const { clock, events } = this
    const image = new MetadataImage(config)
    this.image = image
    const ownId = raftIdOf(NODE, identity?.directoryEpoch ?? 0)
    const replica = {
      memberIds: settings.memberIds ?? [ownId],
      isLeader: false,
      lead: async () => void events.push('lead'),
    }
    this.replica = replica
    /** As the links say it to others: who has another cluster gets no answer. */
    let clusterId = identity?.clusterId ?? ''
    const probe = async (_host: string, _port: number, kind: number) => {
      const status = seed9()
      await Promise.resolve()
      if (status === undefined) throw new ProbeError('ECONNREFUSED', 'nothing listens there')
      const isOther = clusterId !== '' && status.clusterId !== '' && clusterId !== status.clusterId
      if (isOther) throw new ProbeError('REFUSED', 'this is another cluster', 'OTHER_CLUSTER')
      const joined = { error: ErrorCode.NONE, clusterId: status.clusterId, directoryEpoch: 0 }
      events.push(kind === ProbeKind.JOIN ? 'join' : 'ask')
      return { reply: new PeerReader(Buffer.from(JSON.stringify(kind === ProbeKind.JOIN ? joined : status))) }
    }
    const links = { onProbe() {}, setPeers() {}, isAlive: () => false, probe } as unknown as ShardLinks
    const options = {
      shard: {
        isAlive: (nodeId: number) => this.alive.has(nodeId),
        askController: async (api: unknown) => {
          assert.equal(api, clusterCall)
          return { body: Buffer.from(JSON.stringify(this.answer)) }
        },
      },
      environment: {
        clock,
        random: countingRandom(),
        logger: { ...silent, warn: (message: string) => void this.warnings.push(message) },
        disk,
      },
      config,
      dataDirectory: '/data',
      links: isAlone ? undefined : links,
      registration: { nodeId: NODE, host: 'h', port: 9092, rack: null },
      identity,
      publication: {
        image,
        start: ({ clusterId }: NodeIdentity) => void events.push(`start ${clusterId}`),
        caughtUp: async () => void events.push('caught up'),
        givenUp: async () => void events.push('given up'),
      },
      leaders: { leading() {}, left() {}, learned() {}, leads: () => false },
      replication: {
        foundingSnapshot: (_groupId: number, founders: readonly NodeId[]) => foundingSnapshot(founders),
        add: (log: GroupLog, owner: ReplicaOwner, start: { founders: readonly NodeId[] | undefined }) => {
          this.owner = owner
          events.push(`add ${start.founders ?? 'nobody'}`)
          this.added(log)
          return replica
        },
        retarget() {},
      },
      storage: () => storage.storage,
      saveIdentity: async (saved: NodeIdentity) => {
        await goesOn()
        this.saved = saved
        const name = saved.clusterId === '' ? 'none' : saved.isRegistered ? 'registered' : 'unregistered'
        events.push(`save ${name}`)
        await goesOn()
      },
      identifiedAs: (directoryEpoch: number) => void events.push(`directory ${directoryEpoch}`),
      identified: (known: NodeIdentity) => {
        clusterId = known.clusterId
        events.push(`identified ${known.clusterId}`)
      },
      wantsFlush() {},
      onFailure: (error: Error) => void this.failures.push(error),
    }
    this.metadata = new MetadataShard(options as unknown as MetadataShardOptions)
  }

  registers(nodeId = NODE): void {
    this.image.apply({ type: 'register-broker', nodeId, host: 'h', port: 9092, rack: null, endpoints: [] })
  }
}

const codeIs = (code: string) => (error: unknown) => error instanceof OperatorError && error.code === code

test('by the time others can hear of a member its metadata group survives a power cut', async () => {
  const founder = { ...JOINED, isFounder: true }
  for (const settings of [{ identity: JOINED }, { identity: founder }, { isAlone: true }] as Settings[]) {
    for (let seed = 1; seed <= 8; seed++) {
      const bench = await Bench.open({ ...settings, seed })
      bench.added = () => bench.disk.crash()
      await bench.metadata.open()
      const found = (await openShard(bench.disk.restart())).storage.get(GROUP)
      assert.ok(found !== undefined, `seed ${seed}`)
      const isFirst = settings.identity !== JOINED
      assert.equal(found.snapshot === undefined, !isFirst)
      if (!isFirst) continue
      // Known from the log alone from now on, whatever becomes of the record.
      const { placed } = decodeSnapshot(found.snapshot!)
      assert.deepEqual(placed?.membership.voters, [raftIdOf(NODE, settings.identity?.directoryEpoch ?? 0)])
    }
  }
})

test('a broker alone leads before it says who it is, and its record is written before other shards open', async () => {
  const { metadata, events } = await Bench.open({ isAlone: true })
  await metadata.open()
  const [name] = events.splice(-1)
  assert.deepEqual(events, [
    'directory 0',
    `add ${raftIdOf(NODE, 0)}`,
    'lead',
    'save unregistered',
    `identified ${name!.slice('start '.length)}`,
  ])
  assert.match(name!, /^start .{22}$/)
})

test('who joins is no founder, leads nothing, and keeps the identity that it was given', async () => {
  const { metadata, events } = await Bench.open({ identity: JOINED, memberIds: [] })
  await metadata.open()
  assert.deepEqual(events, ['directory 2', 'add nobody', 'identified of-others', 'start of-others'])
})

test('a group that is on disk is opened and not made again', async () => {
  const first = await Bench.open({ isAlone: true })
  await first.metadata.open()
  first.disk.crash()
  const disk = first.disk.restart()
  const identity = { ...JOINED, clusterId: 'c', directoryEpoch: 0, isRegistered: true }
  const second = await Bench.open({ disk, identity })
  let opened: GroupLog | undefined
  second.added = (log) => {
    opened = log
  }
  await second.metadata.open()
  assert.ok(opened !== undefined)
  assert.equal(opened, second.storage.storage.get(GROUP))
  assert.deepEqual(
    decodeSnapshot(opened.snapshot!).placed?.membership.voters,
    [raftIdOf(NODE, 0)],
    'with what it began with',
  )
})

test('a registered member whose journals hold no metadata does not start, and makes none', async () => {
  const { metadata, events, storage } = await Bench.open({ identity: { ...JOINED, isRegistered: true } })
  await assert.rejects(metadata.open(), codeIs('DATA_DIRECTORY_DAMAGED'))
  assert.equal(storage.storage.get(GROUP), undefined)
  assert.deepEqual(events, [])
})

test('a member of a larger cluster is not served alone', async () => {
  const settings = { identity: { ...JOINED, directoryEpoch: 0 }, isAlone: true }
  const { metadata, events } = await Bench.open({ ...settings, memberIds: [raftIdOf(NODE, 0), raftIdOf(1, 0)] })
  await assert.rejects(metadata.open(), codeIs('PEER_PORT_MISSING'))
  assert.ok(!events.includes('lead'))
  assert.ok(!events.some((event) => event.startsWith('start')), 'no other shard opens')
})

test('a broker is registered when it has what was decided before, and that is remembered first', async () => {
  const { metadata, events, clock } = await Bench.open({ isAlone: true, answer: { error: ErrorCode.NONE } })
  await metadata.open()
  events.length = 0
  await metadata.register()
  assert.deepEqual(events, ['save registered', 'caught up'])
  await settle(1)
  assert.equal(clock.timerCount, 0)
})

test('a voter that dies keeps the times of its last life while the same broker leads', async () => {
  const { metadata, replica, owner, alive, clock } = await led()
  const times = () => metadata.quorum()!.voters.map(({ lastHeardMs, lastCaughtUpMs }) => [lastHeardMs, lastCaughtUpMs])
  const startMs = clock.nowMs()
  metadata.everySecond()
  alive.delete(4)
  clock.advance(1000)
  metadata.everySecond()
  assert.deepEqual(times(), [
    [startMs + 1000, startMs + 1000],
    [startMs, startMs],
  ])
  alive.add(4)
  replica.progressOf = () => ({ matchIndex: 3 })
  assert.deepEqual(times()[1], [startMs + 1000, startMs], 'it is there, and lacks what is committed')
  alive.delete(4)
  owner.leading()
  assert.deepEqual(times()[1], [-1, -1], 'not heard in this leadership')
})

async function led() {
  const bench = await Bench.open({ isAlone: true })
  await bench.metadata.open()
  const [own, other] = [raftIdOf(NODE, 0), raftIdOf(4, 0)]
  bench.alive.add(NODE).add(4)
  Object.assign(bench.replica, {
    memberIds: [own, other],
    isLeader: true,
    leaderId: own,
    term: 1,
    raft: { id: own, membership: { voters: [own, other] } },
    log: { lastIndex: 5, commitIndex: 5 },
    progressOf: () => ({ matchIndex: 5 }),
  })
  bench.owner!.leading()
  return { ...bench, metadata: bench.metadata, replica: bench.replica, owner: bench.owner! }
}

test('a broker that is not registered yet may be missing from the metadata, later it has been taken out', async () => {
  const bench = await Bench.open({ isAlone: true, answer: { error: ErrorCode.NONE } })
  const { metadata, failures, image } = bench
  await metadata.open()
  metadata.imageChanged()
  assert.deepEqual(failures, [])
  bench.registers()
  bench.registers(4)
  await metadata.register()
  metadata.imageChanged()
  assert.deepEqual(failures, [])
  image.apply({ type: 'unregister-broker', nodeId: 4 })
  metadata.imageChanged()
  assert.deepEqual(failures, [])
  image.apply({ type: 'unregister-broker', nodeId: NODE })
  metadata.imageChanged()
  metadata.imageChanged()
  assert.equal(failures.length, 1, 'said once')
  assert.ok(codeIs('BROKER_REMOVED')(failures[0]))
})

test('a registration without a controller is tried again, and one that is refused for good is not', async () => {
  const bench = await Bench.open({ isAlone: true })
  await bench.metadata.open()
  let outcome = 'open'
  bench.metadata.register().then(
    () => {
      outcome = 'done'
    },
    (error: OperatorError) => {
      outcome = error.code
    },
  )
  // An answer that makes no sense is no reason to stop either.
  for (const answer of [{ error: ErrorCode.NOT_CONTROLLER }, {}]) {
    bench.answer = answer
    for (let round = 0; round < 3; round++) {
      await settle(5)
      bench.clock.advance(250)
    }
    assert.equal(outcome, 'open')
  }
  bench.answer = { error: ErrorCode.INVALID_REGISTRATION, message: 'replaced' }
  await settle(5)
  bench.clock.advance(250)
  await settle(5)
  assert.equal(outcome, 'DATA_DIRECTORY_REPLACED')
  assert.ok(codeIs('DATA_DIRECTORY_REPLACED')(bench.failures[0]))
})

test('producer ids come from the controller; while it gives none, clients are to ask again', async () => {
  const bench = await Bench.open({ isAlone: true })
  const { producerIds } = bench.metadata
  const notNow = { error: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, producerId: -1 }
  for (const answer of [{ error: ErrorCode.NOT_CONTROLLER }, {}, { error: ErrorCode.NONE, count: 5 }]) {
    bench.answer = answer
    assert.deepEqual(await producerIds.next(), notNow, errorName(notNow.error))
  }
  bench.answer = { error: ErrorCode.NONE, firstProducerId: 70, count: 2 }
  const given = [await producerIds.next(), await producerIds.next()]
  assert.deepEqual(
    given.map(({ producerId }) => producerId),
    [70, 71],
  )
  bench.answer = { error: ErrorCode.NONE, firstProducerId: 90, count: 2 }
  assert.equal((await producerIds.next()).producerId, 90)
})

// A founder whose cluster holds nothing

const FOUNDED: NodeIdentity = { clusterId: 'of-mine', directoryEpoch: 0, isFounder: true, isRegistered: true }
const OWN = raftIdOf(NODE, 0)
const USUAL: readonly Command[] = [
  { type: 'set-cluster-id', clusterId: 'of-mine' },
  { type: 'register-broker', nodeId: NODE, host: 'h', port: 9092, rack: null, endpoints: [] },
]
const OTHERS = (): SeedStatus => ({ nodeId: 9, clusterId: 'of-others' })

/** The disk of a broker that founded, and was then stopped in order. */
async function foundedDisk(commands: readonly Command[], options: { seed?: number } = {}): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: options.seed ?? 1, directories: ['/data'] })
  const { storage } = await openShard(disk)
  const log = storage.create(GROUP, '', CONFIG, foundingSnapshot([OWN]))
  log.saveHardState(7, OWN)
  log.appendEntry(7, 1, EntryKind.LeaderChange, new Uint8Array(0))
  commands.forEach((command, at) => void log.appendEntry(7, 2 + at, EntryKind.Command, encodeCommand(command)))
  log.commit(1 + commands.length, 0)
  storage.flush()
  await log.whenJournaled()
  await storage.close()
  return disk.reopen()
}

/** That nothing of a cluster but an unborn replica is on disk. */
async function assertUnborn(disk: SimulatedDisk, what: string): Promise<void> {
  const found = (await openShard(disk)).storage.get(GROUP)
  assert.ok(found !== undefined, what)
  const { term, votedFor, lastIndex, commitIndex, snapshot } = found
  assert.ok(term <= 0 && lastIndex <= 0 && commitIndex <= 0 && snapshot === undefined, `${what}: ${term} ${lastIndex}`)
  assert.notEqual(votedFor, OWN, what)
}

test('a founder gives its empty cluster up for another one: the record first, then what is on disk, then it joins', async () => {
  const bench = await Bench.open({ disk: await foundedDisk(USUAL), identity: FOUNDED, seed9: OTHERS, memberIds: [] })
  bench.added = () => bench.disk.crash()
  await bench.metadata.open()
  assert.deepEqual(bench.events, [
    'identified ',
    'ask',
    'save none',
    'given up',
    'ask',
    'join',
    'save unregistered',
    'directory 0',
    'add nobody',
    'identified of-others',
    'start of-others',
  ])
  assert.deepEqual(bench.saved, { ...FOUNDED, clusterId: 'of-others', isFounder: false, isRegistered: false })
  assert.equal(bench.warnings.length, 1)
  assert.match(bench.warnings[0]!, /^the cluster of-mine.*is given up for the one of seed:9$/)
  await assertUnborn(bench.disk.restart(), 'after')
})

test('a founder keeps a cluster with anything in it, and does not even ask', async () => {
  const something: readonly Command[] = [...USUAL, { type: 'allocate-producer-ids', token: 't', count: 10 }]
  const bench = await Bench.open({ disk: await foundedDisk(something), identity: FOUNDED, seed9: OTHERS })
  await bench.metadata.open()
  assert.deepEqual(bench.events, ['directory 0', `add ${OWN}`, 'lead', 'identified of-mine', 'start of-mine'])
  await assert.rejects(bench.metadata.register(), codeIs('WRONG_CLUSTER'))
})

test('a founder keeps its cluster when anything else is in its directory', async () => {
  const disk = await foundedDisk(USUAL)
  await disk.makeDirectory('/data/topics/t')
  const bench = await Bench.open({ disk, identity: FOUNDED, seed9: OTHERS })
  await bench.metadata.open()
  assert.ok(!bench.events.includes('save none'))
})

test('a member that did not found its cluster never gives it up, whatever its log holds', async () => {
  const identity = { ...FOUNDED, isFounder: false }
  const bench = await Bench.open({ disk: await foundedDisk([]), identity, seed9: OTHERS })
  await bench.metadata.open()
  assert.ok(!bench.events.includes('save none'))
})

test('a founder whose seeds are down, undecided, or of its own cluster goes on at once', async () => {
  for (const status of [undefined, { nodeId: 9, clusterId: '' }, { nodeId: 9, clusterId: 'of-mine' }]) {
    const disk = await foundedDisk(USUAL)
    const bench = await Bench.open({ disk, identity: FOUNDED, seed9: () => status })
    await bench.metadata.open()
    assert.equal(bench.clock.timerCount, 0)
    assert.equal(bench.saved, FOUNDED)
    assert.deepEqual(
      bench.events.filter((event) => event !== 'ask'),
      ['identified ', 'identified of-mine', 'directory 0', `add ${OWN}`, 'lead', 'identified of-mine', 'start of-mine'],
    )
  }
})

test('a founder waits a bounded time for one that comes before it and does not end its own start', async () => {
  const earlier: SeedStatus = { nodeId: 9, clusterId: 'a', isDeciding: true }
  const bench = await Bench.open({ disk: await foundedDisk(USUAL), identity: FOUNDED, seed9: () => earlier })
  let isOpen = false
  const opened = bench.metadata.open().then(() => {
    isOpen = true
  })
  await settle(30)
  assert.equal(isOpen, false)
  for (let round = 0; round < 100 && !isOpen; round++) {
    bench.clock.advance(50)
    await settle(30)
  }
  await opened
  assert.equal(bench.saved, FOUNDED)
})

test('a founder that learns of another cluster while it runs says that another start joins that one', async () => {
  let status: SeedStatus | undefined
  const answer = { error: ErrorCode.NONE }
  const bench = await Bench.open({ disk: await foundedDisk(USUAL), identity: FOUNDED, seed9: () => status, answer })
  await bench.metadata.open()
  bench.registers()
  await bench.metadata.register()
  status = OTHERS()
  bench.clock.advance(5000)
  await settle(10)
  assert.equal(bench.failures.length, 1)
  assert.ok(codeIs('CLUSTER_LEFT_BEHIND')(bench.failures[0]))
})

test('a founder that is used while it runs does not look for another cluster any more', async () => {
  let status: SeedStatus | undefined
  const answer = { error: ErrorCode.NONE }
  const bench = await Bench.open({ disk: await foundedDisk(USUAL), identity: FOUNDED, seed9: () => status, answer })
  await bench.metadata.open()
  bench.registers()
  await bench.metadata.register()
  status = OTHERS()
  bench.image.apply({ type: 'create-topic', name: 't', topicId: 'id', assignments: [[NODE]], configs: {} })
  bench.clock.advance(5000)
  await settle(10)
  assert.deepEqual(bench.failures, [])
  assert.equal(bench.clock.timerCount, 0)
})

test('wherever a broker loses power while it changes its cluster, its next start ends well', async () => {
  const outcomes = new Set<string>()
  for (let stopAt = 1; ; stopAt++) {
    let left = stopAt
    const crashed = Promise.withResolvers<'crashed'>()
    let disk = await foundedDisk(USUAL, { seed: stopAt })
    const deliver = (_operation: string, _path: string, complete: () => void): void => {
      // Of the record there is the old one or the new one; of the journal whatever the disk makes of it.
      if (--left === 0) {
        disk.crash()
        crashed.resolve('crashed')
      } else if (left > 0) queueMicrotask(complete)
    }
    disk = disk.reopen({ deliver })
    const goesOn = async (): Promise<void> => {
      if (--left > 0) return
      disk.crash()
      crashed.resolve('crashed')
      await new Promise(() => {})
    }
    let saved: NodeIdentity = FOUNDED
    let first: Bench | undefined
    const life = async (): Promise<'ready'> => {
      first = await Bench.open({ disk, identity: FOUNDED, seed9: OTHERS, memberIds: [], goesOn })
      await first.metadata.open()
      return 'ready'
    }
    const outcome = await Promise.race([life(), crashed.promise])
    saved = first?.saved ?? FOUNDED
    disk.crash()
    const again = disk.restart({ deliver: undefined })
    outcomes.add(`${outcome} ${saved.clusterId}`)
    const second = await Bench.open({ disk: again, identity: saved, seed9: OTHERS, memberIds: [] })
    await second.metadata.open()
    const what = `stopped at ${stopAt}, with the record of '${saved.clusterId}'`
    assert.equal(second.saved?.clusterId, 'of-others', what)
    assert.equal(second.events.at(-1), 'start of-others', what)
    again.crash()
    await assertUnborn(again.restart(), what)
    if (outcome === 'ready') break
  }
  assert.deepEqual([...outcomes].sort(), ['crashed ', 'crashed of-mine', 'crashed of-others', 'ready of-others'])
})

test('a broker that gave its cluster up and is started alone founds one, with nothing of the old', async () => {
  const identity = { ...FOUNDED, clusterId: '', isFounder: false, isRegistered: false }
  const bench = await Bench.open({ disk: await foundedDisk(USUAL), identity, isAlone: true })
  await bench.metadata.open()
  assert.match(bench.saved?.clusterId ?? '', /^.{22}$/)
  bench.disk.crash()
  const found = (await openShard(bench.disk.restart())).storage.get(GROUP)
  assert.ok(found !== undefined && found.term <= 0 && found.lastIndex <= 0)
  assert.deepEqual(decodeSnapshot(found.snapshot!).placed?.membership.voters, [OWN])
})
