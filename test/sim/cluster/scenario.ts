// What a seed stands for: how large the cluster is, how small its limits, what clients do and which faults happen.
//
// Pure: a scenario is drawn once per run, before anything happens. A profile turns the dice towards one subject.

import type { SeededRandom } from '../random.ts'
import type { BrokerSpec } from './broker.ts'
import type { FaultWeights } from './faults.ts'
import type { Instruments } from './instrument.ts'
import type { NetworkOptions } from './network.ts'
import { canDoWithoutAny, policyOf, type QuorumChoice } from './quorums.ts'
import type { WorkloadOptions } from './workload.ts'

export interface Scenario {
  readonly brokers: readonly BrokerSpec[]
  readonly network: NetworkOptions
  readonly limits: Pick<Instruments, 'raft' | 'storage'>
  readonly workload: Omit<WorkloadOptions, 'world' | 'history' | 'seed' | 'bootstrap' | 'whole'>
  readonly faults: FaultWeights
  /** Mean pause between faults. */
  readonly faultEveryMs: number
  /** Faults happen until then. */
  readonly faultyMs: number
  /** Bound for everything to be written and read after that. */
  readonly recoveryMs: number
  readonly startSpreadMs: number
  /** Brokers come and go while the cluster forms, and nobody uses it before it has: some found alone, and have to find each other. */
  readonly isFormedInTrouble: boolean
  /** Clocks run at most so much faster or slower. */
  readonly driftMax: number
}

/** Faults that concern a broker by itself. */
const ALONE: FaultWeights = {
  kill: 3,
  losePower: 4,
  stop: 2,
  pause: 2,
  stall: 2,
  breakConnections: 3,
  isolateClient: 1,
  slowDisk: 2,
  hangDisk: 1,
  diskError: 1,
  diskFull: 1,
  jumpClock: 1,
  slowNetwork: 1,
  reshard: 1,
  partition: 0,
  oneWay: 0,
  loseDisk: 0,
  bitRot: 0,
  blackout: 0,
  isolateLeader: 0,
  chase: 0,
  rotate: 0,
  failDisk: 0,
}

/** What several brokers have besides. */
const TOGETHER: Partial<FaultWeights> = {
  partition: 4,
  oneWay: 2,
  loseDisk: 0.5,
  bitRot: 0.5,
  blackout: 1,
  isolateLeader: 3,
  chase: 1,
  rotate: 0.3,
}

/** Profiles that look for one kind of mistake: three brokers, what is given, and nothing else. */
const FOCUSED: Readonly<Record<string, Focus>> = {
  votes: { faults: { chase: 5, kill: 1 }, faultEveryMs: 600, topics: 2, quick: true },
  commits: {
    faults: { rotate: 1 },
    faultEveryMs: 2000,
    topics: 1,
    delayMs: 1,
    tinyRaft: true,
    alone: true,
    busy: true,
  },
  blackouts: { faults: { blackout: 3, slowDisk: 2, losePower: 3 }, faultEveryMs: 500, quick: true },
  leases: {
    faults: { isolateLeader: 5, partition: 1, pause: 5 },
    faultEveryMs: 800,
    driftMax: 0.05,
    auditors: 4,
    quick: true,
  },
  drift: { faults: { isolateLeader: 5, partition: 1 }, faultEveryMs: 1200, driftMax: 0.05, quick: true, busy: true },
  restarts: { faults: { kill: 3, losePower: 3, stop: 2, blackout: 1 }, faultEveryMs: 400, quick: true },
  rot: { faults: { bitRot: 3, kill: 3, stop: 1 }, faultEveryMs: 400 },
  /** A disk that has failed for good, for longer than clients would wait: the others go on, also with changes of the metadata. */
  'read-only': { faults: { failDisk: 1 }, faultEveryMs: 3000, faultyMs: 45_000 },
  hangs: { faults: { hangDisk: 3, slowDisk: 1, isolateLeader: 1, stop: 1 }, faultEveryMs: 2500 },
  lag: { faults: { slowNetwork: 4, kill: 2, isolateLeader: 2, slowDisk: 2 }, faultEveryMs: 300 },
}

interface Focus {
  readonly faults: Partial<FaultWeights>
  readonly faultEveryMs: number
  readonly faultyMs?: number
  readonly driftMax?: number
  readonly topics?: number
  readonly auditors?: number
  /** A fast network and fast disks: what happens in milliseconds can be seen. */
  readonly quick?: boolean
  /** Producers that write all the time, for longer. */
  readonly busy?: boolean
  /** One partition, no groups, no operator. */
  readonly alone?: boolean
  /** Of the network, without jitter. */
  readonly delayMs?: number
  /** One entry per message, one message on its way. */
  readonly tinyRaft?: boolean
}

const NO_FAULTS: FaultWeights = Object.fromEntries(
  Object.keys(ALONE).map((name) => [name, 0]),
) as unknown as FaultWeights

/** Names that `--profile` takes. */
export const PROFILES: readonly string[] = [
  'single',
  'one',
  'three',
  'five',
  'flexible',
  'witness',
  'founders',
  'changes',
  ...Object.keys(FOCUSED),
]

export function makeScenario(random: SeededRandom, profile: string | undefined): Scenario {
  // Most seeds are small clusters: three brokers show what five do, in less time.
  const die = random.next()
  const kind = profile ?? (die < 0.25 ? 'single' : die < 0.35 ? 'one' : usualKind(die))
  const focus = FOCUSED[kind]
  if (!PROFILES.includes(kind)) throw new Error(`no profile ${kind}; there are ${PROFILES.join(' ')}`)
  // Drawn for these profiles alone: all others are what they were without them.
  const isSpecial = kind === 'flexible' || kind === 'witness'
  const hasChanges = kind === 'changes' || kind === 'read-only'
  const isLarge = kind === 'five' || (isSpecial && random.chance(0.5))
  // Of five, two each may have joined different founders: that no start mends.
  const isFormedInTrouble = kind === 'founders'
  const brokerCount = isLarge
    ? 5
    : ['three', 'founders', 'changes'].includes(kind) || isSpecial || focus !== undefined
      ? 3
      : 1
  const quorums = isSpecial ? drawQuorums(random, kind, brokerCount) : undefined
  const replicationFactor = isSpecial && random.chance(0.5) ? brokerCount : Math.min(3, brokerCount)
  const isMoved = isSpecial ? random.chance(0.5) : brokerCount > 1 && !focus?.alone
  // Each subject is often left alone, so that the others can be seen without it.
  const usual = { ...ALONE, ...(brokerCount > 1 ? TOGETHER : {}) }
  const faults = focus === undefined ? usual : { ...NO_FAULTS, ...focus.faults }
  for (const name of Object.keys(faults) as (keyof FaultWeights)[]) {
    if (focus === undefined && random.chance(0.3)) faults[name] = 0
  }
  // An operator may leave three replicas of any number.
  if (quorums !== undefined && !canDoWithoutAny(quorums, brokerCount, isMoved ? 3 : replicationFactor)) {
    faults.loseDisk = 0
    faults.bitRot = 0
  }
  const faultyMs = focus?.faultyMs ?? (focus?.busy ? 2 : 1) * (6000 + random.below(6000))
  const batches = (focus?.busy ? 4 : 1) * (15 + random.below(30))
  const isTiny = random.chance(0.4)
  const journalFileBytes = isTiny ? 64 << 10 : random.pick([128 << 10, 256 << 10])
  const memoryBytes = journalFileBytes * random.pick([8, 12, 16])
  const settings: [string, string][] = [
    ['offsets.topic.num.partitions', `${1 + random.below(3)}`],
    ['offsets.topic.replication.factor', `${replicationFactor}`],
    ['group.initial.rebalance.delay.ms', `${random.below(200)}`],
    ['group.min.session.timeout.ms', '500'],
    ['log.retention.check.interval.ms', `${1000 + random.below(5000)}`],
    ['auto.create.topics.enable', 'false'],
    ['replica.selector.class', 'org.apache.kafka.common.replica.RackAwareReplicaSelector'],
  ]
  const brokers = Array.from(
    { length: brokerCount },
    (_, at): BrokerSpec => ({
      nodeId: at + 1,
      host: `broker-${at + 1}`,
      port: 9092,
      peerPort: kind === 'single' ? undefined : 9192,
      seeds: Array.from({ length: brokerCount }, (_, other) => `broker-${other + 1}:9192`),
      shardCount: 1 + random.below(3),
      memoryBytes,
      journalFileBytes,
      ringCapacityBytes: random.pick([4 << 10, 16 << 10, 64 << 10]),
      settings,
      rack: random.chance(0.5) ? `rack-${at % 3}` : null,
      diskBytes: 64 << 20,
      membershipPolicy: quorums && policyOf(quorums, brokerCount),
    }),
  )
  return {
    brokers,
    network: {
      delayMs: focus?.delayMs ?? (focus?.quick ? 0.1 : random.pick([0.1, 0.3, 1, 5])),
      jitterMs: focus?.quick || focus?.delayMs !== undefined ? 0.1 : random.pick([0.1, 1, 10]),
      windowBytes: random.pick([2 << 10, 16 << 10, 256 << 10]),
      readBytes: random.pick([512, 16 << 10, 64 << 10]),
    },
    limits: {
      raft: {
        appendEntriesMax: focus?.tinyRaft ? 1 : random.pick([1, 3, 64]),
        appendBytesMax: random.pick([200, 4000, 1 << 20]),
        inflightAppendsMax: focus?.tinyRaft ? 1 : random.pick([1, 2, 64]),
        inflightBytesMax: random.pick([1000, 64 << 10, 8 << 20]),
      },
      storage: {
        blockBytesMax: random.pick([8 << 10, 32 << 10]),
        chunkBytes: random.pick([4 << 10, 16 << 10, 64 << 10]),
        readAheadBytes: random.pick([8 << 10, 64 << 10]),
        readBytes: random.pick([8 << 10, 32 << 10]),
        openFilesMax: random.pick([3, 64]),
        idleMs: random.pick([500, 5000]),
      },
    },
    workload: {
      replicationFactor,
      minInsyncReplicas: brokerCount >= 3 ? 1 + random.below(3) : 1,
      topics: focus?.topics ?? 1 + random.below(2),
      partitionsMax: focus?.alone ? 1 : 3,
      producers: focus?.busy ? 3 : 1 + random.below(3),
      batches,
      batchRecordsMax: 1 + random.below(5),
      recordBytesMax: random.pick([20, 200, 1000]),
      pauseMs: (2 * faultyMs * random.pick([0.2, 1, 1])) / batches,
      groups: focus?.alone ? 0 : 1,
      membersMax: 2,
      auditors: focus?.auditors ?? 1,
      timeoutMs: 1000 + random.below(2000),
      idempotentShare: 0.7,
      acksOneShare: 0.2,
      deleteShare: 0.1,
      trimShare: 0.1,
      brokerIds: brokers.map(({ nodeId }) => nodeId),
      operatorEveryMs: isMoved && random.chance(isSpecial ? 1 : 0.5) ? random.pick([500, 2000]) : 0,
      operatorDrains: brokerCount > 3,
      changeEveryMs: hasChanges ? random.pick([200, 1000]) : 0,
      segmentBytes: random.pick([4 << 10, 16 << 10, 1 << 20]),
    },
    faults,
    faultEveryMs: focus?.faultEveryMs ?? random.pick([300, 800, 2000]),
    faultyMs,
    recoveryMs: 40_000,
    startSpreadMs: 200,
    isFormedInTrouble,
    driftMax: focus?.driftMax ?? 0.04,
  }
}

function usualKind(die: number): string {
  if (die >= 0.95) return 'five'
  if (die >= 0.35 && die < 0.38) return 'changes'
  if (die >= 0.38 && die < 0.4) return 'read-only'
  return die < 0.85 ? 'three' : die < 0.9 ? 'flexible' : 'witness'
}

function drawQuorums(random: SeededRandom, kind: string, brokerCount: number): QuorumChoice {
  // Of five: elected by 4, 5, 3; of three by 3, 2.
  if (kind === 'flexible') {
    return { commitSize: random.pick(brokerCount === 5 ? [2, 2, 1, 4] : [1, 1, 3]), hasWitnesses: false }
  }
  return { commitSize: random.pick([undefined, undefined, 2, 1]), hasWitnesses: true }
}
