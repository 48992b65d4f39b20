// Rounds of `kill -9` under load: `node test/cluster/kill.ts --rounds 200 [--seed N] [--broker kafka]`
//
// Each round three producers write with acks=all and one client commits group offsets, the broker is killed at a random
// moment and started again on the same data, the producers go on for a while and finish, and everything is read back and
// compared. Prints plain counts; exits 1 unless every count that should be 0 is 0.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SeededRandom } from '../sim/random.ts'
import { MillraceBroker } from '../support/broker.ts'
import { KafkaBroker } from '../support/kafka.ts'
import { createTopic, deleteTopic, findCoordinator, RawConnection, readAll } from '../support/raw.ts'
import { Committer, History, type HistoryAccess } from './history.ts'
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

const random = new SeededRandom(seed)
const history = new History()

const broker =
  options.broker === 'kafka'
    ? await KafkaBroker.start()
    : await MillraceBroker.start({ shards: Number(options.shards), memory: '256m' })

let topics: string[] = []

const access: HistoryAccess = {
  partitions,
  read: async (topic, partition) => {
    const connection = await RawConnection.open(broker.port)
    try {
      return await readAll(connection, topic, partition)
    } finally {
      connection.close()
    }
  },
  coordinator: async (groupId) => {
    const connection = await RawConnection.open(broker.port)
    await findCoordinator(connection, groupId)
    return connection
  },
}

async function newGeneration(number: number): Promise<void> {
  const connection = await RawConnection.open(broker.port)
  for (const topic of topics) await deleteTopic(connection, topic)
  topics = ['kafkajs', 'librdkafka', 'raw'].map((name) => `kill-${number}-${name}`)
  for (const topic of topics) {
    const error = await createTopic(connection, topic, partitions)
    if (error !== 0) throw new Error(`create ${topic}: error ${error}`)
  }
  history.begin(topics)
  connection.close()
}

async function runRound(round: number): Promise<void> {
  const [kafkajsTopic = '', librdkafkaTopic = '', rawTopic = ''] = topics
  const active: Writer[] = [
    new KafkajsWriter(broker.bootstrap, kafkajsTopic, `k-${round}`, partitions),
    new LibrdkafkaWriter(broker.bootstrap, librdkafkaTopic, `l-${round}`, partitions),
    new RawIdempotentWriter(broker.bootstrap, rawTopic, `r-${round}`, partitions),
  ]
  const groupId = `kill-group-${round % 7}-${Math.floor(round / roundsPerGeneration)}`
  const committer = new Committer(groupId, rawTopic, access.coordinator, history.committerOf(groupId))
  // librdkafka's process takes the longest to begin; by then the others are under way.
  await Promise.all(active.map((writer) => writer.start()))
  committer.start()
  await sleep(50 + random.next() * 700)
  await broker.kill()
  await broker.restart()
  await sleep(100 + random.next() * 200)
  await Promise.all([...active.map((writer) => writer.stop()), committer.stop()])
  history.add(active, committer)
  await history.check(`round ${round}`, access)
}

const report = () => `${done} rounds, ${history.report()}; seed ${seed}`
let done = 0
try {
  while (done < rounds && history.bad === 0) {
    if (done % roundsPerGeneration === 0) await newGeneration(done / roundsPerGeneration)
    const startedAt = performance.now()
    await runRound(done)
    done++
    if (options.verbose) console.error(`round ${done}: ${Math.round(performance.now() - startedAt)} ms`)
    if (done % 10 === 0 && done < rounds) console.error(report())
  }
} catch (error) {
  history.complain(`round ${done}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  history.complain(`broker output:\n${broker.child.stdout.slice(-2000)}\n${broker.child.stderr.slice(-4000)}`)
}
await broker.close()
for (const complaint of history.complaints) console.error(complaint)
console.log(report())
process.exit(done === rounds && history.bad === 0 ? 0 : 1)
