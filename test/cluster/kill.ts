// Rounds of `kill -9` under load: `node test/cluster/kill.ts --rounds 200 [--seed N] [--broker kafka]`
//
// Each round three producers write with acks=all and one client commits group offsets, the broker is killed at a random
// moment and started again on the same data, the producers go on for a while and finish, and everything is read back and
// compared. Prints plain counts; exits 1 unless every count that should be 0 is 0.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { MillraceBroker } from '../support/broker.ts'
import { KafkaBroker } from '../support/kafka.ts'
import {
  commitOffset,
  committedOffset,
  createTopic,
  deleteTopic,
  findCoordinator,
  RawConnection,
  readAll,
} from '../support/raw.ts'
import { KafkajsWriter, LibrdkafkaWriter, RawIdempotentWriter, type Writer } from './writers.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string' },
    broker: { type: 'string', default: 'millrace' },
    shards: { type: 'string', default: '2' },
    /** Rounds after which new topics are used, so that reading everything stays quick. */
    generation: { type: 'string', default: '10' },
    verbose: { type: 'boolean', default: false },
  },
})
const rounds = Number(options.rounds)
const seed = options.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(options.seed)
const roundsPerGeneration = Number(options.generation)
const partitions = 4

/** Uniform in [0, 1), the same sequence for the same seed (mulberry32). */
let state = seed >>> 0
function random(): number {
  state = (state + 0x6d2b79f5) >>> 0
  let value = Math.imul(state ^ (state >>> 15), state | 1)
  value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
  return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
}

const counts = {
  acknowledged: 0,
  read: 0,
  lost: 0,
  duplicated: 0,
  retriedTwice: 0,
  unknown: 0,
  gaps: 0,
  groupOffsetsLost: 0,
}
const complaints: string[] = []

function complain(text: string): void {
  if (complaints.length < 50) complaints.push(text)
}

/** Commits 1, 2, 3, ... for one group until told to stop; the broker may die meanwhile. */
class Committer {
  readonly groupId: string
  readonly topic: string
  acknowledged = 0
  attempted = 0
  #stopping = false
  #loop: Promise<void> | undefined
  readonly #port: number

  constructor(port: number, groupId: string, topic: string) {
    this.#port = port
    this.groupId = groupId
    this.topic = topic
  }

  start(): void {
    this.#loop = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await this.#loop
  }

  async #run(): Promise<void> {
    let connection: RawConnection | undefined
    while (!this.#stopping) {
      try {
        connection ??= await RawConnection.open(this.#port)
        if (this.acknowledged === 0) await findCoordinator(connection, this.groupId)
        const offset = ++this.attempted
        if ((await commitOffset(connection, this.groupId, this.topic, 0, offset)) === 0) this.acknowledged = offset
        else await sleep(10)
      } catch {
        connection = undefined
        await sleep(10)
      }
    }
    connection?.close()
  }
}

const broker =
  options.broker === 'kafka'
    ? await KafkaBroker.start()
    : await MillraceBroker.start({ shards: Number(options.shards), memory: '256m' })

/** Everything the current topics must hold, from all rounds of this generation. */
let writers: Writer[] = []
let committers: Committer[] = []
let topics: string[] = []

async function newGeneration(number: number): Promise<void> {
  const connection = await RawConnection.open(broker.port)
  for (const topic of topics) await deleteTopic(connection, topic)
  writers = []
  committers = []
  topics = ['kafkajs', 'librdkafka', 'raw'].map((name) => `kill-${number}-${name}`)
  for (const topic of topics) {
    const error = await createTopic(connection, topic, partitions)
    if (error !== 0) throw new Error(`create ${topic}: error ${error}`)
  }
  connection.close()
}

async function runRound(round: number): Promise<void> {
  const [kafkajsTopic = '', librdkafkaTopic = '', rawTopic = ''] = topics
  const active: Writer[] = [
    new KafkajsWriter(broker.port, kafkajsTopic, `k-${round}`, partitions),
    new LibrdkafkaWriter(broker.port, librdkafkaTopic, `l-${round}`, partitions),
    new RawIdempotentWriter(broker.port, rawTopic, `r-${round}`, partitions),
  ]
  const committer = new Committer(
    broker.port,
    `kill-group-${round % 7}-${Math.floor(round / roundsPerGeneration)}`,
    rawTopic,
  )
  const earlier = committers.find((other) => other.groupId === committer.groupId)
  if (earlier) committer.attempted = earlier.attempted
  committers = committers.filter((other) => other !== earlier)
  // librdkafka's process takes the longest to begin; by then the others are under way.
  await Promise.all(active.map((writer) => writer.start()))
  committer.start()
  await sleep(50 + random() * 700)
  await broker.kill()
  await broker.restart()
  await sleep(100 + random() * 200)
  await Promise.all([...active.map((writer) => writer.stop()), committer.stop()])
  writers.push(...active)
  committers.push(committer)
  await checkEverything(round)
}

async function checkEverything(round: number): Promise<void> {
  const connection = await RawConnection.open(broker.port)
  for (const topic of topics) {
    const own = writers.filter((writer) => writer.topic === topic)
    const byOffset: string[][] = []
    const seen = new Map<string, number>()
    for (let partition = 0; partition < partitions; partition++) {
      const records = await readAll(connection, topic, partition)
      byOffset[partition] = records.map((record) => record.value?.toString() ?? '')
      counts.read += records.length
      records.forEach((record, index) => {
        if (record.offset !== index) {
          counts.gaps++
          complain(`round ${round}: ${topic}-${partition} has offset ${record.offset} where ${index} is due`)
        }
        const value = record.value?.toString() ?? ''
        seen.set(value, (seen.get(value) ?? 0) + 1)
      })
    }
    for (const writer of own) {
      for (const { value, partition, offset } of writer.acknowledged) {
        // Without idempotence the acknowledged copy is one of several; with it there is one, at the offset that was answered.
        if (byOffset[partition]?.[offset] === value) continue
        counts.lost++
        complain(
          `round ${round}: ${writer.name} ${value} is not at ${topic}-${partition}@${offset}: ${byOffset[partition]?.[offset]}`,
        )
      }
    }
    for (const [value, times] of seen) {
      const writer = own.find((candidate) => candidate.attempted(value))
      if (writer === undefined) {
        counts.unknown++
        complain(`round ${round}: ${topic} holds ${JSON.stringify(value)}, which nobody sent`)
      } else if (times > 1 && writer.mayDuplicate) {
        counts.retriedTwice++
      } else if (times > 1) {
        counts.duplicated++
        complain(`round ${round}: ${writer.name} ${value} is in ${topic} ${times} times`)
      }
    }
  }
  for (const committer of committers) await checkCommitted(connection, committer, round)
  connection.close()
}

async function checkCommitted(connection: RawConnection, committer: Committer, round: number): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const { error, offset } = await committedOffset(connection, committer.groupId, committer.topic, 0)
    if (error === 0) {
      if (offset >= committer.acknowledged && offset <= committer.attempted) return
      complain(
        `round ${round}: ${committer.groupId} has ${offset}, acknowledged ${committer.acknowledged} of ${committer.attempted}`,
      )
      break
    }
    // The coordinator may still be reading its log; anything else, or for long, is an error.
    if (attempt > 200 || ![14, 15, 16].includes(error)) {
      complain(`round ${round}: OffsetFetch of ${committer.groupId}: error ${error}`)
      break
    }
    await sleep(20)
  }
  counts.groupOffsetsLost++
}

function report(done: number): string {
  const { acknowledged, read, lost, duplicated, gaps, groupOffsetsLost, unknown, retriedTwice } = counts
  return (
    `${done} rounds, ${acknowledged} records acknowledged, ${read} read; ${lost} lost, ${duplicated} duplicated with ` +
    `idempotence on, ${gaps} gaps in offsets, ${unknown} never sent, ${groupOffsetsLost} group offsets lost ` +
    `(${retriedTwice} written twice by retries without idempotence); seed ${seed}`
  )
}

const bad = () => counts.lost + counts.duplicated + counts.gaps + counts.unknown + counts.groupOffsetsLost
let done = 0
try {
  while (done < rounds && bad() === 0) {
    if (done % roundsPerGeneration === 0) await newGeneration(done / roundsPerGeneration)
    const startedAt = performance.now()
    await runRound(done)
    counts.acknowledged += writers.slice(-3).reduce((sum, writer) => sum + writer.acknowledged.length, 0)
    done++
    if (options.verbose) console.error(`round ${done}: ${Math.round(performance.now() - startedAt)} ms`)
    if (done % 10 === 0 && done < rounds) console.error(report(done))
  }
} catch (error) {
  complain(`round ${done}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  complain(`broker output:\n${broker.child.stdout.slice(-2000)}\n${broker.child.stderr.slice(-4000)}`)
}
await broker.close()
for (const complaint of complaints) console.error(complaint)
console.log(report(done))
process.exit(done === rounds && bad() === 0 ? 0 : 1)
