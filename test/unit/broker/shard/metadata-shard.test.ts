// Shard 0 opens the metadata group: what is on disk by the time others can hear of it, who may start, and who has to stop.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterCall } from '../../../../broker/cluster/cluster-call.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import type { NodeIdentity } from '../../../../broker/cluster/node-identity.ts'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'
import type { NodeId } from '../../../../broker/raft/types.ts'
import type { ShardLinks } from '../../../../broker/replication/link-types.ts'
import { decodeSnapshot, foundingSnapshot } from '../../../../broker/replication/snapshot-blob.ts'
import { MetadataShard, type MetadataShardOptions } from '../../../../broker/shard/metadata-shard.ts'
import { ErrorCode, errorName } from '../../../../protocol/errors.ts'
import type { GroupLog } from '../../../../storage/log.ts'
import { SimulatedDisk } from '../../../sim/disk.ts'
import { openShard, type Shard, settle } from '../../storage/harness.ts'
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
  /** Called in the moment in which the group begins to take part. */
  added: (log: GroupLog) => void = () => {}
  answer: object

  static async open(settings: Settings = {}): Promise<Bench> {
    const disk = settings.disk ?? new SimulatedDisk({ seed: settings.seed ?? 1, directories: ['/data'] })
    return new Bench(settings, disk, await openShard(disk))
  }

  constructor(settings: Settings, disk: SimulatedDisk, storage: Shard) {
    const { identity, isAlone = false, answer = { error: ErrorCode.NOT_CONTROLLER } } = settings
    this.disk = disk
    this.storage = storage
    this.answer = answer
    const config = new BrokerConfig([['node.id', String(NODE)]])
    const { clock, events } = this
    const image = new MetadataImage(config)
    this.image = image
    const ownId = raftIdOf(NODE, identity?.directoryEpoch ?? 0)
    const replica = {
      memberIds: settings.memberIds ?? [ownId],
      isLeader: false,
      lead: async () => void events.push('lead'),
    }
    const links = { onProbe() {}, setPeers() {}, isAlive: () => false } as unknown as ShardLinks
    const options = {
      shard: {
        isAlive: () => false,
        askController: async (api: unknown) => {
          assert.equal(api, clusterCall)
          return { body: Buffer.from(JSON.stringify(this.answer)) }
        },
      },
      environment: { clock, random: countingRandom(), logger: silent, disk },
      config,
      links: isAlone ? undefined : links,
      registration: { nodeId: NODE, host: 'h', port: 9092, rack: null },
      identity,
      publication: {
        image,
        start: ({ clusterId }: NodeIdentity) => void events.push(`start ${clusterId}`),
        caughtUp: async () => void events.push('caught up'),
      },
      leaders: { leading() {}, left() {}, learned() {}, leads: () => false },
      replication: {
        foundingSnapshot: (_groupId: number, founders: readonly NodeId[]) => foundingSnapshot(founders),
        add: (log: GroupLog, _owner: unknown, start: { founders: readonly NodeId[] | undefined }) => {
          events.push(`add ${start.founders ?? 'nobody'}`)
          this.added(log)
          return replica
        },
        retarget() {},
      },
      storage: () => storage.storage,
      saveIdentity: async (saved: NodeIdentity) => {
        events.push(`save ${saved.isRegistered ? 'registered' : 'unregistered'}`)
      },
      identifiedAs: (directoryEpoch: number) => void events.push(`directory ${directoryEpoch}`),
      identified: ({ clusterId }: NodeIdentity) => void events.push(`identified ${clusterId}`),
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
