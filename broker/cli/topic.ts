// `millrace topic`: create, list, describe, alter, trim, delete.
//
// One function per command: reads what was typed, asks through client/, prints. On the process's main thread.

import type { Argv } from 'yargs'
import { ErrorCode } from '../../protocol/errors.ts'
import type { MetadataResponseTopic } from '../../protocol/messages/metadata.ts'
import { type Cluster, NoSuchItem, partitionKey, type TopicPartition } from './client/cluster.ts'
import { Refused } from './client/errors.ts'
import { listOffsets, offsetRanges } from './client/offsets.ts'
import {
  allTopics,
  alterTopicConfigs,
  type ConfigChange,
  ConfigOperation,
  createTopic,
  deleteTopic,
  growTopic,
  namedTopics,
  partitionsOf,
  type TopicConfig,
  topicConfigs,
  trimPartitions,
} from './client/topics.ts'
import { CommandFailed, UsageError } from './exit.ts'
import { type ClientArguments, clientOptions, listOf, withCluster } from './options.ts'
import { formatFacts, formatTable, note, print, printJson } from './output.ts'
import { parseAssignment, parseStartPoint, parseTopicSelection, parseWholeNumber, type StartPoint } from './parse.ts'

/** As DescribeConfigs numbers them. */
const CONFIG_SOURCES: readonly string[] = [
  'unknown',
  'topic',
  'broker (dynamic)',
  'cluster (dynamic)',
  'broker (file)',
  'default',
  'broker logger',
  'client metrics',
  'group',
]
const TOPIC_SOURCE = 1

export function topicCommand(yargs: Argv): Argv {
  return yargs
    .usage('$0 topic <command>\n\nCreates, shows, changes and deletes topics.')
    .command('create <topics..>', 'Create topics', createOptions, (args) => withCluster(args, (to) => create(to, args)))
    .command(['list [pattern]', 'ls'], 'List topics', listOptions, (args) => withCluster(args, (to) => list(to, args)))
    .command('describe <topics..>', 'Show partitions, offsets and configs', describeOptions, (args) =>
      withCluster(args, (to) => describe(to, args)),
    )
    .command('alter <topic>', 'Change configs or add partitions', alterOptions, (args) =>
      withCluster(args, (to) => alter(to, args)),
    )
    .command(['trim <topics..>', 'trim-prefix'], 'Delete the oldest records', trimOptions, (args) =>
      withCluster(args, (to) => trim(to, args)),
    )
    .command(['delete <topics..>', 'rm'], 'Delete topics', deleteOptions, (args) =>
      withCluster(args, (to) => remove(to, args)),
    )
    .demandCommand(1, 'Say what to do with topics: create, list, describe, alter, trim or delete')
}

// create

interface CreateArguments extends ClientArguments {
  readonly topics: readonly string[]
  readonly partitions: string
  readonly 'replication-factor': string
  readonly config: string | readonly string[] | undefined
  readonly 'if-not-exists': boolean
  readonly 'dry-run': boolean
}

function createOptions(yargs: Argv): Argv<CreateArguments> {
  return clientOptions(yargs)
    .usage('$0 topic create <topics..>\n\nCreates topics.')
    .positional('topics', { type: 'string', array: true, demandOption: true, describe: 'Names of the new topics' })
    .option('partitions', {
      alias: 'p',
      type: 'string',
      requiresArg: true,
      default: '-1',
      defaultDescription: "the broker's num.partitions",
      describe: 'Number of partitions',
    })
    .option('replication-factor', {
      alias: ['r', 'replicas'],
      type: 'string',
      requiresArg: true,
      default: '-1',
      defaultDescription: "the broker's default.replication.factor",
      describe: 'Copies of each partition',
    })
    .option('config', {
      alias: 'c',
      type: 'string',
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: 'A topic config, name=value; may be repeated',
    })
    .option('if-not-exists', { type: 'boolean', default: false, describe: 'Do nothing where the topic is there' })
    .option('dry-run', { type: 'boolean', default: false, describe: 'Let the broker check it, and create nothing' })
    .example('$0 topic create orders -p 6', 'Six partitions, all else as the broker has it')
    .example('$0 topic create logs -p 3 -c retention.ms=86400000 -c compression.type=zstd', 'With configs')
    .example('$0 topic create a b c --if-not-exists', 'Several at once, in scripts')
}

async function create(cluster: Cluster, args: CreateArguments): Promise<void> {
  const partitions = countOrDefault('--partitions', args.partitions)
  const replicationFactor = countOrDefault('--replication-factor', args['replication-factor'])
  const configs = listOf(args.config).map((text) => parseAssignment('--config', text))
  const results: { topic: string; created: boolean }[] = []
  for (const name of args.topics) {
    try {
      await createTopic(cluster, { name, partitions, replicationFactor, configs }, args['dry-run'])
      results.push({ topic: name, created: !args['dry-run'] })
      if (!args.json) await print(args['dry-run'] ? `Topic ${name} could be created.\n` : `Created topic ${name}.\n`)
    } catch (error) {
      const exists = error instanceof Refused && error.code === ErrorCode.TOPIC_ALREADY_EXISTS
      if (!exists || !args['if-not-exists']) throw error
      results.push({ topic: name, created: false })
      if (!args.json) await print(`Topic ${name} is there already.\n`)
    }
  }
  if (args.json) await printJson(results)
}

function countOrDefault(flag: string, text: string): number {
  return text === '-1' ? -1 : parseWholeNumber(flag, text, 1, 1_000_000)
}

// list

interface ListArguments extends ClientArguments {
  readonly pattern: string | undefined
  readonly internal: boolean
}

function listOptions(yargs: Argv): Argv<ListArguments> {
  return clientOptions(yargs)
    .usage('$0 topic list [pattern]\n\nLists topics with their partitions and copies.')
    .positional('pattern', { type: 'string', describe: 'Only names that match this regular expression' })
    .option('internal', { alias: 'i', type: 'boolean', default: false, describe: 'Include internal topics' })
    .example('$0 topic list', 'All topics')
    .example("$0 topic list '^orders'", 'Those whose names begin with orders')
    .example("$0 topic list --json | jq -r '.[].name'", 'Names only')
}

async function list(cluster: Cluster, args: ListArguments): Promise<void> {
  const pattern = args.pattern === undefined ? undefined : regularExpression(args.pattern)
  const topics = (await allTopics(cluster))
    .filter(({ name, isInternal }) => (args.internal || !isInternal) && (pattern === undefined || pattern.test(name)))
    .map(({ name, topicId, isInternal, partitions }) => ({
      name,
      topicId,
      partitions: partitions.length,
      replicationFactor: partitions[0]?.replicaNodes.length ?? 0,
      internal: isInternal,
    }))
  if (args.json) await printJson(topics)
  else if (topics.length === 0) note('There are no topics.')
  else {
    const rows = topics.map(({ name, partitions, replicationFactor }) => [name, partitions, replicationFactor])
    await print(formatTable(['TOPIC', 'PARTITIONS', 'REPLICAS'], rows))
  }
}

function regularExpression(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch {
    throw new UsageError(`'${text}' is no regular expression`)
  }
}

// describe

interface DescribeArguments extends ClientArguments {
  readonly topics: readonly string[]
  readonly configs: boolean
}

function describeOptions(yargs: Argv): Argv<DescribeArguments> {
  return clientOptions(yargs)
    .usage('$0 topic describe <topics..>\n\nShows partitions with leader, copies and offsets, and the configs.')
    .positional('topics', { type: 'string', array: true, demandOption: true, describe: 'Topics to show' })
    .option('configs', {
      alias: 'c',
      type: 'boolean',
      default: false,
      describe: 'Show all configs and who set each, not only those set on the topic',
    })
    .example('$0 topic describe orders', 'Partitions and what was set on the topic')
    .example('$0 topic describe orders --configs', 'All configs with their source')
}

async function describe(cluster: Cluster, args: DescribeArguments): Promise<void> {
  const topics = await namedTopics(cluster, args.topics)
  const configs = await topicConfigs(cluster, args.topics, true)
  const led = topics.flatMap(({ name, partitions }) =>
    partitions
      .filter(({ leaderId }) => leaderId >= 0)
      .map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex })),
  )
  const ranges = await offsetRanges(cluster, led)
  const described = topics.map((topic) => {
    const shown = (configs.get(topic.name) ?? []).filter(
      ({ configSource }) => args.configs || configSource === TOPIC_SOURCE,
    )
    return { topic, configs: shown, partitions: partitionRows(topic, ranges) }
  })
  if (args.json) {
    await printJson(
      described.map(({ topic, configs, partitions }) => ({
        name: topic.name,
        topicId: topic.topicId,
        internal: topic.isInternal,
        configs: configs.map(({ name, value, configSource }) => ({ name, value, source: sourceName(configSource) })),
        partitions,
      })),
    )
    return
  }
  for (const [index, { topic, configs, partitions }] of described.entries()) {
    if (index > 0) await print('\n')
    await printTopic(topic, configs, partitions, args.configs)
  }
}

interface PartitionRow {
  readonly partition: number
  readonly leader: number
  readonly leaderEpoch: number
  readonly replicas: readonly number[]
  readonly isr: readonly number[]
  /** Undefined while there is no leader to ask. */
  readonly startOffset: number | undefined
  readonly endOffset: number | undefined
}

function partitionRows(
  topic: MetadataResponseTopic & { name: string },
  ranges: ReadonlyMap<string, { startOffset: number; endOffset: number }>,
): PartitionRow[] {
  return topic.partitions
    .map((partition) => {
      const range = ranges.get(partitionKey(topic.name, partition.partitionIndex))
      return {
        partition: partition.partitionIndex,
        leader: partition.leaderId,
        leaderEpoch: partition.leaderEpoch,
        replicas: partition.replicaNodes,
        isr: partition.isrNodes,
        startOffset: range?.startOffset,
        endOffset: range?.endOffset,
      }
    })
    .sort((left, right) => left.partition - right.partition)
}

async function printTopic(
  topic: MetadataResponseTopic & { name: string },
  configs: readonly TopicConfig[],
  partitions: readonly PartitionRow[],
  withSource: boolean,
): Promise<void> {
  await print(
    formatFacts([
      ['Topic', topic.name],
      ['Id', topic.topicId],
      ['Partitions', partitions.length],
      ['Replicas', partitions[0]?.replicas.length],
      ['Internal', topic.isInternal ? 'yes' : 'no'],
      ...(withSource ? [] : ([['Configs', configs.map(({ name, value }) => `${name}=${value}`).join(' ')]] as const)),
    ]),
  )
  if (withSource) {
    const rows = configs.map(({ name, value, configSource }) => [name, value, sourceName(configSource)])
    await print(`\n${formatTable(['CONFIG', 'VALUE', 'SET BY'], rows)}`)
  }
  const rows = partitions.map(({ partition, leader, leaderEpoch, replicas, isr, startOffset, endOffset }) => [
    partition,
    leader < 0 ? null : leader,
    leaderEpoch,
    replicas.join(','),
    isr.join(','),
    startOffset,
    endOffset,
    startOffset === undefined || endOffset === undefined ? null : endOffset - startOffset,
  ])
  const titles = ['PARTITION', 'LEADER', 'EPOCH', 'REPLICAS', 'ISR', 'START', 'END', 'OFFSETS']
  await print(`\n${formatTable(titles, rows)}`)
}

function sourceName(source: number): string {
  return CONFIG_SOURCES[source] ?? 'unknown'
}

// alter

interface AlterArguments extends ClientArguments {
  readonly topic: string
  readonly set: string | readonly string[] | undefined
  readonly delete: string | readonly string[] | undefined
  readonly append: string | readonly string[] | undefined
  readonly subtract: string | readonly string[] | undefined
  readonly partitions: string | undefined
  readonly 'dry-run': boolean
}

function alterOptions(yargs: Argv): Argv<AlterArguments> {
  const repeated = { type: 'string', array: true, nargs: 1, requiresArg: true } as const
  return clientOptions(yargs)
    .usage('$0 topic alter <topic>\n\nChanges configs of a topic or adds partitions; what is not named stays.')
    .positional('topic', { type: 'string', demandOption: true, describe: 'Topic to change' })
    .option('set', { ...repeated, alias: 's', describe: 'Set a config, name=value; may be repeated' })
    .option('delete', { ...repeated, alias: 'd', describe: 'Give a config its default again' })
    .option('append', { ...repeated, describe: 'Add to a config that is a list, name=value' })
    .option('subtract', { ...repeated, describe: 'Take from a config that is a list, name=value' })
    .option('partitions', {
      alias: 'p',
      type: 'string',
      requiresArg: true,
      describe: 'Number of partitions to grow to; keys may land elsewhere afterwards',
    })
    .option('dry-run', { type: 'boolean', default: false, describe: 'Let the broker check it, and change nothing' })
    .example('$0 topic alter orders --set retention.ms=604800000', 'Keep records for a week')
    .example('$0 topic alter orders --delete retention.ms', 'As the broker has it')
    .example('$0 topic alter orders --partitions 12', 'Grow to twelve partitions')
}

async function alter(cluster: Cluster, args: AlterArguments): Promise<void> {
  const changes = configChanges(args)
  if (changes.length === 0 && args.partitions === undefined) {
    throw new UsageError('Nothing to change: give --set, --delete, --append, --subtract or --partitions')
  }
  const { topic, 'dry-run': dryRun } = args
  if (changes.length > 0) await alterTopicConfigs(cluster, topic, changes, dryRun)
  if (args.partitions !== undefined) {
    await growTopic(cluster, topic, parseWholeNumber('--partitions', args.partitions, 1, 1_000_000), dryRun)
  }
  if (args.json) await printJson({ topic, changed: !dryRun })
  else await print(dryRun ? `Topic ${topic} could be changed so.\n` : `Changed topic ${topic}.\n`)
}

function configChanges(args: AlterArguments): ConfigChange[] {
  const assignments = (
    flag: string,
    values: string | readonly string[] | undefined,
    operation: ConfigChange['operation'],
  ): ConfigChange[] =>
    listOf(values).map((text) => {
      const [name, value] = parseAssignment(flag, text)
      return { operation, name, value }
    })
  return [
    ...assignments('--set', args.set, ConfigOperation.set),
    ...listOf(args.delete).map((name) => ({ operation: ConfigOperation.delete, name, value: null })),
    ...assignments('--append', args.append, ConfigOperation.append),
    ...assignments('--subtract', args.subtract, ConfigOperation.subtract),
  ]
}

// trim

interface TrimArguments extends ClientArguments {
  readonly topics: readonly string[]
  readonly before: string
  readonly execute: boolean
}

function trimOptions(yargs: Argv): Argv<TrimArguments> {
  return clientOptions(yargs)
    .usage(
      '$0 topic trim <topics..>\n\nDeletes all records before an offset or a time. Shows what it would do; --execute does it.',
    )
    .positional('topics', {
      type: 'string',
      array: true,
      demandOption: true,
      describe: 'Topics, or partitions of them as topic:0,2,5-7',
    })
    .option('before', {
      alias: ['o', 'offset'],
      type: 'string',
      requiresArg: true,
      demandOption: true,
      describe: 'First offset to keep: 1234, -10 (the last ten), end, or @time',
    })
    .option('execute', { type: 'boolean', default: false, describe: 'Delete for good' })
    .example('$0 topic trim orders:0 --before 1000 --execute', 'Delete offsets 0 to 999 of partition 0')
    .example('$0 topic trim orders --before @-7d', 'What would go if a week were kept')
    .example('$0 topic trim orders --before end --execute', 'Empty the topic')
}

async function trim(cluster: Cluster, args: TrimArguments): Promise<void> {
  const point = parseStartPoint(args.before, Date.now())
  const partitions = await selectPartitions(cluster, args.topics)
  const ranges = await offsetRanges(cluster, partitions)
  const targets = await resolveStartPoint(cluster, partitions, ranges, point)
  const plan = partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition)
    const startOffset = ranges.get(key)?.startOffset ?? 0
    const beforeOffset = Math.max(startOffset, targets.get(key) ?? startOffset)
    const endOffset = ranges.get(key)?.endOffset ?? 0
    if (beforeOffset > endOffset) {
      throw new CommandFailed(`${topic}, partition ${partition} ends at offset ${endOffset}, before ${beforeOffset}`)
    }
    return { topic, partition, startOffset, beforeOffset }
  })
  const work = plan.filter(({ startOffset, beforeOffset }) => beforeOffset > startOffset)
  const starts = args.execute ? await trimPartitions(cluster, work) : new Map<string, number>()
  if (args.json) {
    await printJson(
      plan.map(({ topic, partition, startOffset, beforeOffset }) => ({
        topic,
        partition,
        startOffset,
        newStartOffset: starts.get(partitionKey(topic, partition)) ?? beforeOffset,
        executed: args.execute,
      })),
    )
    return
  }
  const rows = plan.map(({ topic, partition, startOffset, beforeOffset }) => {
    const newStart = starts.get(partitionKey(topic, partition)) ?? beforeOffset
    return [topic, partition, startOffset, newStart, newStart - startOffset]
  })
  await print(formatTable(['TOPIC', 'PARTITION', 'START', 'NEW START', 'DELETED'], rows))
  if (!args.execute) note('Nothing was deleted. Add --execute to do it.')
}

/** The partitions that 'topic' and 'topic:0,1' stand for. @throws NoSuchItem */
export async function selectPartitions(cluster: Cluster, texts: readonly string[]): Promise<TopicPartition[]> {
  const selections = texts.map(parseTopicSelection)
  const existing = await partitionsOf(cluster, [...new Set(selections.map(({ topic }) => topic))])
  const selected = new Map<string, TopicPartition>()
  for (const { topic, partitions } of selections) {
    const known = existing.filter((candidate) => candidate.topic === topic)
    for (const wanted of partitions ?? []) {
      if (!known.some(({ partition }) => partition === wanted)) {
        throw new NoSuchItem(`topic ${topic} has no partition ${wanted}, it has ${known.length}`)
      }
    }
    for (const item of known) {
      if (partitions?.includes(item.partition) ?? true) selected.set(partitionKey(topic, item.partition), item)
    }
  }
  return [...selected.values()]
}

/**
 * The offset that a start point means in each partition; offsets given as numbers are not clipped.
 * A time after the last record is the end.
 */
export async function resolveStartPoint(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  ranges: ReadonlyMap<string, { startOffset: number; endOffset: number }>,
  point: StartPoint,
): Promise<Map<string, number>> {
  const found = point.kind === 'time' ? await listOffsets(cluster, partitions, point.timeMs) : undefined
  const offsets = new Map<string, number>()
  for (const { topic, partition } of partitions) {
    const key = partitionKey(topic, partition)
    const { startOffset, endOffset } = ranges.get(key) ?? { startOffset: 0, endOffset: 0 }
    switch (point.kind) {
      case 'start':
        offsets.set(key, startOffset)
        break
      case 'end':
        offsets.set(key, endOffset)
        break
      case 'offset':
        offsets.set(key, point.offset)
        break
      case 'before-end':
        offsets.set(key, Math.max(startOffset, endOffset - point.count))
        break
      case 'time': {
        const offset = found?.get(key) ?? -1
        offsets.set(key, offset < 0 ? endOffset : offset)
        break
      }
    }
  }
  return offsets
}

// delete

interface DeleteArguments extends ClientArguments {
  readonly topics: readonly string[]
  readonly 'if-exists': boolean
}

function deleteOptions(yargs: Argv): Argv<DeleteArguments> {
  return clientOptions(yargs)
    .usage('$0 topic delete <topics..>\n\nDeletes topics with all their records.')
    .positional('topics', { type: 'string', array: true, demandOption: true, describe: 'Topics to delete' })
    .option('if-exists', { type: 'boolean', default: false, describe: 'Do nothing where there is no such topic' })
    .example('$0 topic delete orders', 'Delete one')
    .example('$0 topic delete a b c --if-exists', 'Several at once, in scripts')
}

async function remove(cluster: Cluster, args: DeleteArguments): Promise<void> {
  const results: { topic: string; deleted: boolean }[] = []
  for (const name of args.topics) {
    try {
      await deleteTopic(cluster, name)
      results.push({ topic: name, deleted: true })
      if (!args.json) await print(`Deleted topic ${name}.\n`)
    } catch (error) {
      if (!(error instanceof NoSuchItem) || !args['if-exists']) throw error
      results.push({ topic: name, deleted: false })
      if (!args.json) await print(`There is no topic ${name}.\n`)
    }
  }
  if (args.json) await printJson(results)
}
