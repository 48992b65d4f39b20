// One run of the simulator: a cluster, its clients, its faults and its end, all of it a function of one number.
//
// The scenario is drawn from the seed (scenario.ts). Faults happen for a while, then everything is made whole, and the cluster must
// finish what it was asked within a bound; then everything it holds is read and judged.

import type { MetadataImage } from '../../../broker/cluster/metadata.ts'
import type { Replica } from '../../../broker/replication/replica.ts'
import { SeededRandom } from '../random.ts'
import { SimulatedBroker, type World } from './broker.ts'
import { checkPartition } from './checkers.ts'
import { NoAnswer } from './client.ts'
import { Faults } from './faults.ts'
import { History, Violation } from './history.ts'
import { instrument } from './instrument.ts'
import { SimulatedNetwork } from './network.ts'
import { compareReplicas, fingerprint, Observer, replicasOf, type Seat } from './observer.ts'
import { makeScenario, type Scenario } from './scenario.ts'
import { type Actor, Scheduler } from './scheduler.ts'
import { Workload } from './workload.ts'

export interface RunOptions {
  readonly seed: number
  /** Name of a profile of scenario.ts. */
  readonly profile?: string
  /** Where the story of the run goes. */
  readonly say?: (line: string) => void
}

export interface RunReport {
  readonly seed: number
  /** What broke, undefined when all promises were kept. */
  readonly failure: Error | undefined
  readonly hash: string
  readonly virtualMs: number
  readonly events: number
  readonly ackedRecords: number
  readonly readRecords: number
  readonly commits: number
  readonly faults: number
  /** Answers of brokers that were held against a change that another had answered. */
  readonly judgedChanges: number
}

/** The story of a run that is not printed is kept this far back. */
const STORY_LINES = 60

export class Simulation implements World {
  readonly scheduler: Scheduler
  readonly network: SimulatedNetwork
  readonly scenario: Scenario
  readonly brokers: SimulatedBroker[]
  readonly history: History
  readonly workload: Workload
  readonly faults: Faults
  readonly observer: Observer
  readonly story: string[] = []
  readonly #options: RunOptions
  readonly #replicas = new WeakMap<Actor, Map<number, Replica>>()
  #unwatched: [Seat, Actor][] | undefined
  #failure: Error | undefined
  #verified = false

  constructor(options: RunOptions) {
    this.#options = options
    const random = new SeededRandom(options.seed)
    this.scheduler = new Scheduler(random.uint32(), (error) => this.violated(error))
    this.scenario = makeScenario(random, options.profile)
    this.network = new SimulatedNetwork(this.scheduler, new SeededRandom(random.uint32()), this.scenario.network)
    this.history = new History(this.scheduler)
    this.observer = new Observer(this.history)
    this.brokers = this.scenario.brokers.map(
      (spec) => new SimulatedBroker(this, spec, new SeededRandom(random.uint32())),
    )
    this.workload = new Workload({
      ...this.scenario.workload,
      world: this,
      history: this.history,
      seed: random.uint32(),
      bootstrap: this.scenario.brokers.map(({ host, port }) => ({ host, port })),
      whole: {
        quietSinceMs: (nodeId) => this.faults.quietSinceMs(nodeId),
        controller: () => this.observer.leaderOf(0),
        failedDisk: () => this.faults.failedDisk(),
      },
    })
    this.faults = new Faults(this, new SeededRandom(random.uint32()))
  }

  watch(seat: Seat, actor: Actor): void {
    this.#replicas.set(actor, seat.replicas)
    // What clusters that are given up did is nothing to the one that stays.
    if (this.#unwatched === undefined) this.#look(seat, actor)
    else this.#unwatched.push([seat, actor])
  }

  #look(seat: Seat, actor: Actor): void {
    this.observer.sit(seat)
    actor.afterEvent = () => {
      try {
        this.observer.look(seat)
      } catch (error) {
        this.violated(error)
      }
    }
  }

  say(who: string, text: string): void {
    this.scheduler.mixText(text)
    const line = `${this.scheduler.nowMs.toFixed(3).padStart(11)}  ${who.padEnd(10)} ${text}`
    this.#options.say?.(line)
    this.story.push(line)
    if (this.story.length > 2 * STORY_LINES) this.story.splice(0, STORY_LINES)
  }

  violated(error: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = error instanceof Error ? error : new Error(String(error))
    this.say('FAILURE', this.#failure.message)
    this.scheduler.halted = true
    for (const broker of this.brokers) this.#describe(broker)
  }

  /** Where every replica stands, for the story of a failure. */
  #describe(broker: SimulatedBroker): void {
    if (broker.shards.length === 0) this.say(broker.name, 'is down')
    for (const { nodeId, replicas } of this.observer.seats()) {
      if (nodeId !== broker.nodeId) continue
      for (const [groupId, { raft }] of replicas) {
        if (!raft.isLeader) continue
        const peers = raft.membership.members.flatMap((id) => raft.progressOf(id) ?? [])
        const told = peers.map(({ id, matchIndex, nextIndex, state, loading, isLost }) =>
          JSON.stringify({ id, matchIndex, nextIndex, state, loading, isLost }),
        )
        this.say(
          broker.name,
          `leads group ${groupId} at ${raft.log.lastIndex}, committed ${raft.commitIndex}: ${told.join(' ')}`,
        )
      }
    }
    for (const shard of broker.shards) {
      if (shard === undefined) continue
      for (const partition of shard.partitions()) {
        const { topic, partition: number, groupId, log, leaderEpoch, highWatermark, isLeader } = partition
        const producers = partition
          .describeProducers()
          .map(({ producerId, lastSequence }) => `${producerId}@${lastSequence}`)
        this.say(
          broker.name,
          `${topic}-${number} (${groupId}) ${isLeader ? 'leads' : 'follows'} in ${leaderEpoch}: start ${log.logStartOffset}, high watermark ${highWatermark}, end ${log.logEndOffset}, index ${log.lastIndex}, durable ${log.durableIndex}, last term ${log.lastTerm}, producers ${producers.join(' ')}`,
        )
      }
    }
  }

  run(): RunReport {
    const { scheduler, scenario, brokers, workload, faults } = this
    const release = catchLoose((error) => scheduler.current.failed(error))
    instrument({
      ...scenario.limits,
      made: (replica) => this.#replicas.get(scheduler.current)?.set(replica.groupId, replica),
      nonsense: (error) =>
        this.violated(new Violation(`brokers understand each other: ${error.message}`, { cause: error })),
      acknowledged: (partition, endOffset, isAll) => {
        try {
          this.observer.acknowledged(partition, endOffset, isAll ? scenario.workload.minInsyncReplicas : 0)
        } catch (error) {
          this.violated(error)
        }
      },
    })
    try {
      if (scenario.isFormedInTrouble) this.#formInTrouble()
      for (const broker of brokers)
        scheduler.after(scenario.startSpreadMs * scheduler.random.next(), scheduler.world, () => broker.start())
      workload.start()
      faults.start()
      scheduler.run(scenario.faultyMs)
      faults.stop()
      workload.calm()
      this.say('world', 'everything is whole again')
      this.#until(
        scenario.recoveryMs,
        'the cluster makes progress again',
        () => faults.isOver && workload.isCalm && workload.isWritten && workload.isRead,
        () => workload.pending(),
      )
      workload.finish()
      this.#until(
        20_000,
        'clients can end',
        () => workload.isFinished,
        () => '',
      )
      this.#verify()
      this.#compare()
    } catch (error) {
      this.violated(error)
    } finally {
      instrument(undefined)
      release()
    }
    return {
      seed: this.#options.seed,
      failure: this.#failure,
      hash: scheduler.hash,
      virtualMs: scheduler.nowMs,
      events: scheduler.eventCount,
      ackedRecords: this.history.ackedRecords,
      readRecords: this.history.readRecords,
      commits: this.history.ackedCommits,
      faults: faults.count,
      judgedChanges: workload.judgedChanges,
    }
  }

  /** Any of the brokers is started, and any is stopped again, before there is a cluster: in the end they have one. */
  #formInTrouble(): void {
    const { scheduler, brokers } = this
    const { random } = scheduler
    const unwatched: [Seat, Actor][] = []
    this.#unwatched = unwatched
    for (const broker of brokers) broker.mayRefuse = true
    for (let left = 5 + random.below(15); left > 0 && !scheduler.halted; left--) {
      const broker = random.pick(brokers)
      scheduler.after(0, scheduler.world, () => {
        if (broker.isDown) broker.start()
        else random.pick([() => broker.stop(), () => broker.kill(), () => broker.losePower()])()
      })
      scheduler.run(scheduler.nowMs + random.pick([20, 200, 1500]) * random.next())
    }
    this.say('world', 'the brokers are left alone')
    const start = (): void => {
      for (const broker of brokers) if (broker.isDown) broker.start()
      if (!isFormed()) scheduler.after(200, scheduler.world, start)
    }
    const isFormed = (): boolean => {
      const images = this.#images()
      const first = images[0]?.clusterId
      return (
        brokers.every(({ isRunning }) => isRunning) &&
        images.every((image) => image.clusterId === first && image.brokers.length === brokers.length)
      )
    }
    scheduler.after(0, scheduler.world, start)
    this.#until(30_000, 'brokers that founded alone find each other', isFormed, () => '')
    for (const broker of brokers) broker.mayRefuse = false
    this.#unwatched = undefined
    for (const [seat, actor] of unwatched) if (seat.isAlive()) this.#look(seat, actor)
  }

  #until(boundMs: number, promise: string, holds: () => boolean, why: () => string): void {
    const endMs = this.scheduler.nowMs + boundMs
    while (!this.scheduler.halted && !holds()) {
      if (this.scheduler.nowMs >= endMs) throw new Violation(`${promise}: not in ${boundMs} ms; ${why()}`)
      this.scheduler.run(Math.min(endMs, this.scheduler.nowMs + 100))
    }
  }

  /** Reads every partition of every topic to its end, and judges the whole. */
  #verify(): void {
    if (this.scheduler.halted) return
    const client = this.workload.client('verifier')
    const patientMs = this.scheduler.nowMs + 12_000
    const verify = async (): Promise<void> => {
      for (const topic of this.workload.topics) {
        if (topic.isGone) continue
        for (const partition of topic.partitions) {
          let range: { startOffset: number; endOffset: number } | undefined
          // A leader that is being replaced may still show what it knows: an end that is too low has to be the last word.
          const leastEnd = this.history.knownEnd(partition)
          while (range === undefined || (range.endOffset < leastEnd && this.scheduler.nowMs < patientMs)) {
            try {
              range = await this.workload.readAll(client, partition)
            } catch (error) {
              if (!(error instanceof NoAnswer)) throw error
            }
            if (range === undefined || range.endOffset < leastEnd) {
              client.forgetLeader(partition.topic, partition.partition)
              await client.sleep(100)
            }
          }
          checkPartition(this.history, partition, this.history.seen(partition), range)
        }
      }
      this.#verified = true
    }
    this.scheduler.after(0, client.actor, () => {
      verify().catch((error) => this.violated(error))
    })
    this.#until(
      20_000,
      'every partition can be read at the end',
      () => this.#verified,
      () => '',
    )
  }

  #images(): readonly MetadataImage[] {
    return this.brokers.flatMap(({ shards }) => shards.map(({ image }) => image))
  }

  /** Holds the replicas of every group against each other, when they have come to rest. */
  #compare(): void {
    if (this.scheduler.halted) return
    let why = ''
    const areAtRest = (): boolean => {
      why = ''
      for (const [groupId, replicas] of replicasOf(this.brokers)) {
        const ends = new Set(replicas.flatMap(({ partition }) => [partition.highWatermark, partition.log.logEndOffset]))
        const leaders = replicas.filter(({ partition }) => partition.isLeader).length
        const place = this.brokers[0]!.shards[0]?.image.partitionByGroup(groupId)
        const wanted = place?.partition.replicas.length ?? 0
        if (ends.size === 1 && leaders === 1 && replicas.length === wanted) continue
        why += `group ${groupId}: ${replicas.length} of ${wanted} replicas, ${leaders} lead, ends ${[...ends].join(' ')}; `
      }
      const applied = new Set(this.#images().map(({ appliedIndex }) => appliedIndex))
      if (applied.size > 1) why += `metadata applied up to ${[...applied].join(' ')}`
      return why === ''
    }
    this.#until(this.scenario.recoveryMs, 'replicas become equal', areAtRest, () => why)
    const images = new Set(this.#images().map((image) => Buffer.from(image.serialize()).toString()))
    if (images.size > 1) throw new Violation(`all shards have the same metadata: ${[...images].join(' | ')}`)
    let open = 0
    for (const replicas of replicasOf(this.brokers).values()) {
      const done: {
        name: string
        partition: (typeof replicas)[0]['partition']
        prints: Awaited<ReturnType<typeof fingerprint>>
      }[] = []
      for (const { broker, shardId, partition } of replicas) {
        open++
        broker.onShard(shardId, () => {
          fingerprint(partition)
            .then((prints) => {
              const one = { name: broker.name, partition, prints }
              for (const other of done) compareReplicas(one, other)
              done.push(one)
              open--
            })
            .catch((error) => this.violated(error))
        })
      }
    }
    this.#until(
      10_000,
      'every replica can be read',
      () => open === 0,
      () => `${open} replicas left`,
    )
  }
}

/** Rejections and errors that nobody catches belong to the actor that runs; the listeners of whoever runs us must not see them. */
function catchLoose(failed: (error: unknown) => void): () => void {
  const events = ['unhandledRejection', 'uncaughtException'] as const
  const kept = events.map((event) => [event, process.rawListeners(event)] as const)
  for (const event of events) {
    process.removeAllListeners(event)
    process.on(event, failed)
  }
  return () => {
    for (const [event, listeners] of kept) {
      process.removeAllListeners(event)
      for (const listener of listeners) process.on(event, listener as (...rest: unknown[]) => void)
    }
  }
}

/** Runs a seed from a fresh turn of the real event loop: promises can be drained from there only. */
export function simulate(options: RunOptions): Promise<{ report: RunReport; story: readonly string[] }> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        const simulation = new Simulation(options)
        const report = simulation.run()
        resolve({ report, story: simulation.story })
      } catch (error) {
        reject(error)
      }
    })
  })
}
