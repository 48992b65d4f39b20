// `millrace broker`: list, drain, remove; unsafe-recover stands in broker-recover.ts.
//
// One function per command: reads what was typed, asks through client/, prints. On the process's main thread.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Argv } from 'yargs'
import { recoverCommand } from './broker-recover.ts'
import { type BrokerLoad, brokerLoads, movingCount, setDraining, unregisterBroker } from './client/brokers.ts'
import type { Cluster } from './client/cluster.ts'
import { allTopics } from './client/topics.ts'
import { CommandFailed, UsageError } from './exit.ts'
import { type ClientArguments, clientOptions, withCluster } from './options.ts'
import { formatTable, note, Progress, print, printJson } from './output.ts'

const LOOK_MS = 500
/** Partitions without a leader for so long, while nothing moves, are not just between two. */
const LEADERLESS_MS = 10_000
const NAMED_MAX = 10
/** A line of progress for those who read no terminal. */
const NOTE_MS = 10_000

export function brokerCommand(yargs: Argv): Argv {
  return recoverCommand(yargs)
    .usage('$0 broker <command>\n\nShows the brokers of a cluster, sends them away.')
    .command(['list', 'ls'], 'List brokers', listOptions, (args) => withCluster(args, (to) => list(to, args)))
    .command('drain <id>', 'Move everything away from a broker', drainOptions, (args) =>
      withCluster(args, (to) => drain(to, args)),
    )
    .command('remove <id>', 'Take a stopped broker out of the cluster', removeOptions, (args) =>
      withCluster(args, (to) => remove(to, args)),
    )
    .demandCommand(1, 'Say what to do with brokers: list, drain, remove or unsafe-recover')
}

function listOptions(yargs: Argv): Argv<ClientArguments> {
  return clientOptions(yargs)
    .usage('$0 broker list\n\nLists the brokers, dead ones too, and how many partitions each leads and holds.')
    .example('$0 broker list', 'The brokers of the cluster on this machine')
}

async function list(cluster: Cluster, args: ClientArguments): Promise<void> {
  const brokers = await brokerLoads(cluster)
  if (args.json) {
    await printJson(
      brokers.map(({ nodeId: id, host, port, rack, isAlive, leads, replicas }) => {
        return { id, host, port, rack, state: stateOf(isAlive), leads, replicas }
      }),
    )
    return
  }
  const rows = brokers.map(({ nodeId, host, port, rack, isAlive, leads, replicas }) => [
    nodeId,
    host,
    port,
    rack,
    stateOf(isAlive),
    leads,
    replicas,
  ])
  await print(formatTable(['BROKER', 'HOST', 'PORT', 'RACK', 'STATE', 'LEADS', 'REPLICAS'], rows))
}

function stateOf(isAlive: boolean): string {
  return isAlive ? 'alive' : 'dead'
}

interface BrokerArguments extends ClientArguments {
  readonly id: string
}

interface DrainArguments extends BrokerArguments {
  readonly undo: boolean
  readonly wait: boolean
}

function drainOptions(yargs: Argv): Argv<DrainArguments> {
  return clientOptions(yargs)
    .usage(
      '$0 broker drain <id>\n\nMoves the leaderships of a broker to others, then its replicas, and says how far that is. It goes on when this command is interrupted. The broker may be dead.',
    )
    .positional('id', { type: 'string', demandOption: true, describe: 'Number of the broker' })
    .option('undo', { type: 'boolean', default: false, describe: 'Let the broker keep what it still has' })
    .option('wait', { type: 'boolean', default: true, describe: 'Wait until it holds nothing' })
    .example('$0 broker drain 2', 'Empty broker 2, then it can be stopped')
    .example('$0 broker drain 2 --undo', 'Keep it after all')
}

async function drain(cluster: Cluster, args: DrainArguments): Promise<void> {
  const nodeId = brokerId(args.id)
  await loadOf(cluster, nodeId)
  await setDraining(cluster, nodeId, !args.undo)
  if (args.undo) {
    note(`Broker ${nodeId} keeps what it has.`)
    return
  }
  if (!args.wait) {
    note(`Broker ${nodeId} is being emptied.`)
    return
  }
  const progress = new Progress()
  const begun = await loadOf(cluster, nodeId)
  let { isAlive } = begun
  let notedMs = performance.now()
  let movedMs = notedMs
  let left = begun.replicas
  try {
    for (;;) {
      const now = await loadOf(cluster, nodeId)
      const { leads, replicas } = now
      isAlive = now.isAlive
      if (replicas === 0) break
      if (replicas !== left) movedMs = performance.now()
      left = replicas
      if (leads === 0) await refuseStuck(cluster, nodeId, performance.now() - movedMs)
      const text = `broker ${nodeId} leads ${leads} and holds ${replicas} of ${begun.replicas} partitions`
      progress.update(() => text)
      if (performance.now() - notedMs > NOTE_MS) {
        notedMs = performance.now()
        note(text)
      }
      await sleep(LOOK_MS)
    }
  } finally {
    progress.end()
  }
  if (args.json) await printJson({ broker: nodeId, replicas: 0 })
  else {
    const next = isAlive ? 'Stop it, then take it out' : 'Take it out'
    note(`Broker ${nodeId} holds nothing any more. ${next} with: millrace broker remove ${nodeId}`)
  }
}

/**
 * @param stillMs how long nothing has moved
 * @throws CommandFailed when nothing that is left fits on the other brokers, or is led by anybody; the broker goes on giving away when that changes
 */
async function refuseStuck(cluster: Cluster, nodeId: number, stillMs: number): Promise<void> {
  // What moves has the replicas of both places, so only what stands still tells.
  if ((await movingCount(cluster)) > 0) return
  const topics = await allTopics(cluster)
  const left = topics.flatMap(({ name, partitions }) =>
    partitions
      .filter(({ replicaNodes }) => replicaNodes.includes(nodeId))
      .map((partition) => ({ name: `${name}-${partition.partitionIndex}`, ...partition })),
  )
  if (left.length === 0) return
  const led = left.filter(({ leaderId }) => leaderId >= 0)
  if (led.length === 0) {
    // Leaders change while brokers come and go.
    if (stillMs < LEADERLESS_MS) return
    const names = left.slice(0, NAMED_MAX).map(({ name }) => name)
    if (left.length > NAMED_MAX) names.push('...')
    throw new CommandFailed(
      `${left.length} partitions stay, as nobody leads them: ${names.join(', ')}. Start the brokers that hold them, or give these topics up and delete them`,
    )
  }
  const others = cluster.brokers.filter((broker) => broker.nodeId !== nodeId).length
  if (led.some(({ replicaNodes }) => replicaNodes.length <= others)) return
  const most = Math.max(...left.map(({ replicaNodes }) => replicaNodes.length))
  throw new CommandFailed(
    `broker ${nodeId} leads nothing any more, but ${left.length} partitions stay: they have up to ${most} replicas, and there are ${others} other brokers. Start another broker, and they move`,
  )
}

async function loadOf(cluster: Cluster, nodeId: number): Promise<BrokerLoad> {
  const found = (await brokerLoads(cluster)).find((broker) => broker.nodeId === nodeId)
  if (found === undefined) throw new CommandFailed(`there is no broker ${nodeId}`)
  return found
}

function removeOptions(yargs: Argv): Argv<BrokerArguments> {
  return clientOptions(yargs)
    .usage('$0 broker remove <id>\n\nTakes a broker that is stopped and holds nothing out of the cluster.')
    .positional('id', { type: 'string', demandOption: true, describe: 'Number of the broker' })
    .example('$0 broker remove 2', 'After it was drained and stopped')
}

async function remove(cluster: Cluster, args: BrokerArguments): Promise<void> {
  const nodeId = brokerId(args.id)
  await unregisterBroker(cluster, nodeId)
  note(`Broker ${nodeId} is out of the cluster.`)
}

function brokerId(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new UsageError(`${text} is no broker id`)
  return Number(text)
}
