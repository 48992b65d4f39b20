// `millrace cluster info`: who is there.
//
// On the process's main thread.

import type { Argv } from 'yargs'
import { apiName } from '../../protocol/api.ts'
import type { Cluster } from './client/cluster.ts'
import { allTopics } from './client/topics.ts'
import { type ClientArguments, clientOptions, withCluster } from './options.ts'
import { formatFacts, formatTable, print, printJson } from './output.ts'

interface InfoArguments extends ClientArguments {
  readonly 'api-versions': boolean
}

export function clusterCommand(yargs: Argv): Argv {
  return yargs
    .usage('$0 cluster <command>\n\nShows the cluster.')
    .command('info', 'Show brokers, controller and totals', infoOptions, (args) =>
      withCluster(args, (to) => info(to, args)),
    )
    .demandCommand(1, 'Say what to do with the cluster: info')
}

function infoOptions(yargs: Argv): Argv<InfoArguments> {
  return clientOptions(yargs)
    .usage('$0 cluster info\n\nShows brokers, controller, and how many topics and partitions there are.')
    .option('api-versions', { type: 'boolean', default: false, describe: 'Show which requests the broker serves' })
    .example('$0 cluster info', 'The cluster on this machine')
    .example('$0 cluster info -b kafka-1:9092,kafka-2:9092', 'Another one, asking whichever answers')
    .example('$0 cluster info --api-versions', 'What the broker can do')
}

async function info(cluster: Cluster, args: InfoArguments): Promise<void> {
  const topics = await allTopics(cluster)
  const partitions = topics.flatMap((topic) => topic.partitions)
  const underReplicated = partitions.filter(
    ({ isrNodes, replicaNodes }) => isrNodes.length < replicaNodes.length,
  ).length
  const leaderless = partitions.filter(({ leaderId }) => leaderId < 0).length
  const brokers = cluster.brokers.map(({ nodeId, host, port, rack }) => ({
    id: nodeId,
    host,
    port,
    rack,
    leads: partitions.filter(({ leaderId }) => leaderId === nodeId).length,
    replicas: partitions.filter(({ replicaNodes }) => replicaNodes.includes(nodeId)).length,
  }))
  const apis = args['api-versions'] ? await servedApis(cluster) : undefined
  if (args.json) {
    await printJson({
      clusterId: cluster.clusterId,
      controllerId: cluster.controllerId,
      brokers,
      topics: topics.length,
      partitions: partitions.length,
      underReplicatedPartitions: underReplicated,
      leaderlessPartitions: leaderless,
      ...(apis === undefined ? {} : { apiVersions: apis }),
    })
    return
  }
  await print(
    formatFacts([
      ['Cluster', cluster.clusterId],
      ['Controller', cluster.controllerId < 0 ? null : cluster.controllerId],
      ['Topics', topics.length],
      ['Partitions', partitions.length],
      ['Under-replicated', underReplicated],
      ['Without leader', leaderless],
    ]),
  )
  const rows = brokers.map(({ id, host, port, rack, leads, replicas }) => [id, host, port, rack, leads, replicas])
  await print(`\n${formatTable(['BROKER', 'HOST', 'PORT', 'RACK', 'LEADS', 'REPLICAS'], rows)}`)
  if (apis !== undefined) {
    const rows = apis.map(({ key, name, first, last }) => [key, name, first, last])
    await print(`\n${formatTable(['KEY', 'API', 'FIRST', 'LAST'], rows)}`)
  }
}

async function servedApis(cluster: Cluster): Promise<{ key: number; name: string; first: number; last: number }[]> {
  const connection = await cluster.any()
  return [...connection.versions]
    .map(([key, { first, last }]) => ({ key, name: apiName(key), first, last }))
    .sort((left, right) => left.key - right.key)
}
