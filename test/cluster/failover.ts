// Failover in figures: `node test/cluster/failover.ts [--rounds 50] [--brokers 3] [--broker kafka]`
//
// What is measured, and how: test/support/failover.ts. Prints p50, p99 and the worst, and checks that nothing acknowledged is
// missing.

import { parseArgs } from 'node:util'
import { type Cluster, MillraceCluster } from '../support/cluster.ts'
import { FailoverProbe } from '../support/failover.ts'
import { KafkaCluster } from '../support/kafka-cluster.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '50' },
    brokers: { type: 'string', default: '3' },
    broker: { type: 'string', default: 'millrace' },
    verbose: { type: 'boolean', default: false },
  },
})
const rounds = Number(options.rounds)
const count = Number(options.brokers)
const TOPIC = 'failover'

const cluster: Cluster =
  options.broker === 'kafka' ? await KafkaCluster.start({ count }) : await MillraceCluster.start({ count })
let exitCode = 0
try {
  await cluster.createTopic(TOPIC, 1)
  const probe = new FailoverProbe(cluster, TOPIC)
  const times: number[] = []
  for (let round = 0; round < rounds; round++) {
    times.push(await probe.round())
    if (options.verbose) console.error(`round ${round}: ${times.at(-1)!.toFixed(0)} ms`)
  }
  const lost = await probe.lost()
  times.sort((left, right) => left - right)
  const at = (share: number) => times[Math.min(times.length - 1, Math.ceil(times.length * share) - 1)]!.toFixed(0)
  console.log(
    `${times.length} rounds, ${cluster.brokers.length} brokers: kill -9 of the leader to the next acknowledged record ` +
      `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(1)} ms; ${probe.acknowledgedCount} acknowledged, ${lost} lost`,
  )
  if (lost > 0) exitCode = 1
} catch (error) {
  console.error(error)
  if (cluster instanceof MillraceCluster) console.error(cluster.outputs())
  exitCode = 1
} finally {
  await cluster.close()
}
process.exit(exitCode)
