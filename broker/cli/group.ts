// `millrace group`: list, describe, reset-offsets, delete-offsets, delete.
//
// One function per command: reads what was typed, asks through client/, prints. On the process's main thread.

import type { Argv } from 'yargs'
import { type Cluster, partitionKey, type TopicPartition } from './client/cluster.ts'
import {
  byTopicAndPartition,
  committedOffsets,
  deleteGroup,
  deleteOffsets,
  describeGroup,
  type GroupDescription,
  listGroups,
  noSuchGroup,
} from './client/groups.ts'
import { LATEST, listOffsets } from './client/offsets.ts'
import { allTopics } from './client/topics.ts'
import { resetCommand } from './group-reset.ts'
import { type ClientArguments, clientOptions, listOf, withCluster } from './options.ts'
import { formatFacts, formatTable, note, print, printJson } from './output.ts'
import { parseTopicSelection } from './parse.ts'

export function groupCommand(yargs: Argv): Argv {
  return resetCommand(
    yargs
      .usage('$0 group <command>\n\nShows consumer groups, moves their offsets, deletes them.')
      .command(['list', 'ls'], 'List groups', listOptions, (args) => withCluster(args, (to) => list(to, args)))
      .command('describe <groups..>', 'Show members, offsets and lag', describeOptions, (args) =>
        withCluster(args, (to) => describe(to, args)),
      ),
  )
    .command('delete-offsets <group>', "Forget a group's offsets for topics", deleteOffsetsOptions, (args) =>
      withCluster(args, (to) => removeOffsets(to, args)),
    )
    .command(['delete <groups..>', 'rm'], 'Delete groups without members', deleteOptions, (args) =>
      withCluster(args, (to) => remove(to, args)),
    )
    .demandCommand(1, 'Say what to do with groups: list, describe, reset-offsets, delete-offsets or delete')
}

// list

interface ListArguments extends ClientArguments {
  readonly state: string | readonly string[] | undefined
}

function listOptions(yargs: Argv): Argv<ListArguments> {
  return clientOptions(yargs)
    .usage('$0 group list\n\nLists the groups of all brokers.')
    .option('state', {
      type: 'string',
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: 'Only groups in this state, such as Stable or Empty; may be repeated',
    })
    .example('$0 group list', 'All groups')
    .example('$0 group list --state Empty', 'Those that nobody uses now')
}

async function list(cluster: Cluster, args: ListArguments): Promise<void> {
  const groups = await listGroups(cluster, listOf(args.state))
  if (args.json) await printJson(groups)
  else if (groups.length === 0) note('There are no groups.')
  else {
    const rows = groups.map(({ groupId, type, state, protocolType }) => [groupId, type, protocolType, state])
    await print(formatTable(['GROUP', 'TYPE', 'PROTOCOL', 'STATE'], rows))
  }
}

// describe

interface DescribeArguments extends ClientArguments {
  readonly groups: readonly string[]
}

function describeOptions(yargs: Argv): Argv<DescribeArguments> {
  return clientOptions(yargs)
    .usage(
      '$0 group describe <groups..>\n\nShows state and members, and the lag in total, per topic, per member and per partition.',
    )
    .positional('groups', { type: 'string', array: true, demandOption: true, describe: 'Groups to show' })
    .example('$0 group describe billing', 'All about one group')
    .example("$0 group describe billing --json | jq '.[0].totalLag'", 'One number, for alerts')
}

export interface LagRow extends TopicPartition {
  /** Undefined where the group has not committed. */
  readonly committedOffset: number | undefined
  /** Undefined where the topic is gone. */
  readonly endOffset: number | undefined
  /** Undefined where one of both is. */
  readonly lag: number | undefined
  readonly memberId: string | undefined
}

async function describe(cluster: Cluster, args: DescribeArguments): Promise<void> {
  const reports: GroupReport[] = []
  for (const groupId of args.groups) {
    const report = await reportOn(cluster, groupId)
    reports.push(report)
    if (args.json) continue
    if (reports.length > 1) await print('\n')
    await printReport(report)
  }
  if (args.json) {
    await printJson(
      reports.map(({ group, rows }) => ({
        groupId: group.groupId,
        state: group.state,
        type: group.type,
        protocolType: group.protocolType,
        assignor: group.assignor,
        coordinator: group.coordinator,
        totalLag: sumLag(rows),
        lagByTopic: Object.fromEntries(lagBy(rows, ({ topic }) => topic)),
        members: group.members.map((member) => ({
          ...member,
          lag: sumLag(rows.filter(({ memberId }) => memberId === member.memberId)),
        })),
        partitions: rows,
      })),
    )
  }
}

interface GroupReport {
  readonly group: GroupDescription
  readonly rows: readonly LagRow[]
}

/** @throws NoSuchItem */
async function reportOn(cluster: Cluster, groupId: string): Promise<GroupReport> {
  const group = await describeGroup(cluster, groupId)
  const committed = await committedOffsets(cluster, groupId, null)
  if (group === undefined && committed.length === 0) throw noSuchGroup(groupId)
  const described = group ?? emptyGroup(groupId)
  const owners = new Map(
    described.members.flatMap(({ memberId, partitions }) =>
      partitions.map(
        ({ topic, partition }) => [partitionKey(topic, partition), { topic, partition, memberId }] as const,
      ),
    ),
  )
  const offsets = new Map(committed.map((item) => [partitionKey(item.topic, item.partition), item]))
  const partitions = [...new Map<string, TopicPartition>([...offsets, ...owners]).values()].sort(byTopicAndPartition)
  const ends = await endOffsets(cluster, partitions)
  const rows = partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition)
    const committedOffset = offsets.get(key)?.offset
    const endOffset = ends.get(key)
    const known = committedOffset !== undefined && endOffset !== undefined
    return {
      topic,
      partition,
      committedOffset,
      endOffset,
      lag: known ? Math.max(0, endOffset - committedOffset) : undefined,
      memberId: owners.get(key)?.memberId,
    }
  })
  return { group: described, rows }
}

/** A group that exists through its offsets alone. */
function emptyGroup(groupId: string): GroupDescription {
  const none = { protocolType: '', assignor: '', coordinator: '', members: [] }
  return { groupId, state: 'Empty', type: 'classic', ...none }
}

/** End offsets of those partitions that still exist. */
async function endOffsets(cluster: Cluster, partitions: readonly TopicPartition[]): Promise<Map<string, number>> {
  const names = new Set(partitions.map(({ topic }) => topic))
  const topics = (await allTopics(cluster)).filter(({ name }) => names.has(name))
  const existing = new Set(
    topics.flatMap(({ name, partitions }) =>
      partitions
        .filter(({ leaderId }) => leaderId >= 0)
        .map(({ partitionIndex }) => partitionKey(name, partitionIndex)),
    ),
  )
  return listOffsets(
    cluster,
    partitions.filter(({ topic, partition }) => existing.has(partitionKey(topic, partition))),
    LATEST,
  )
}

async function printReport({ group, rows }: GroupReport): Promise<void> {
  await print(
    formatFacts([
      ['Group', group.groupId],
      ['State', group.state],
      ['Type', group.type],
      ['Assignor', group.assignor],
      ['Coordinator', group.coordinator],
      ['Members', group.members.length],
      ['Total lag', sumLag(rows)],
    ]),
  )
  const topics = lagBy(rows, ({ topic }) => topic)
  if (topics.size > 0) await print(`\n${formatTable(['TOPIC', 'LAG'], [...topics])}`)
  if (group.members.length > 0) {
    const lags = lagBy(rows, ({ memberId }) => memberId)
    const members = group.members.map((member) => [
      member.memberId,
      member.instanceId,
      member.clientId,
      member.clientHost,
      member.partitions.length,
      lags.get(member.memberId) ?? 0,
    ])
    await print(`\n${formatTable(['MEMBER', 'INSTANCE', 'CLIENT', 'HOST', 'PARTITIONS', 'LAG'], members)}`)
  }
  if (rows.length > 0) {
    const titles = ['TOPIC', 'PARTITION', 'COMMITTED', 'END', 'LAG', 'MEMBER']
    const cells = rows.map((row) => [
      row.topic,
      row.partition,
      row.committedOffset,
      row.endOffset,
      row.lag,
      row.memberId,
    ])
    await print(`\n${formatTable(titles, cells)}`)
  }
}

/** Records between what is committed and the end; partitions where either is not known count as none. */
export function sumLag(rows: readonly LagRow[]): number {
  return rows.reduce((sum, { lag }) => sum + (lag ?? 0), 0)
}

/** Lag summed up by what `keyOf` gives; rows without a key are left out. */
export function lagBy(rows: readonly LagRow[], keyOf: (row: LagRow) => string | undefined): Map<string, number> {
  const sums = new Map<string, number>()
  for (const row of rows) {
    const key = keyOf(row)
    if (key !== undefined) sums.set(key, (sums.get(key) ?? 0) + (row.lag ?? 0))
  }
  return sums
}

// delete-offsets

interface DeleteOffsetsArguments extends ClientArguments {
  readonly group: string
  readonly topic: readonly string[]
}

function deleteOffsetsOptions(yargs: Argv): Argv<DeleteOffsetsArguments> {
  return clientOptions(yargs)
    .usage('$0 group delete-offsets <group>\n\nMakes a group forget its offsets for topics that it does not read now.')
    .positional('group', { type: 'string', demandOption: true, describe: 'Group to change' })
    .option('topic', {
      alias: 't',
      type: 'string',
      array: true,
      nargs: 1,
      requiresArg: true,
      demandOption: true,
      describe: 'Topic, or partitions of it as topic:0,2; may be repeated',
    })
    .example('$0 group delete-offsets billing --topic orders', 'For all partitions')
}

async function removeOffsets(cluster: Cluster, args: DeleteOffsetsArguments): Promise<void> {
  const committed = await committedOffsets(cluster, args.group, null)
  // Offsets outlive their topic, so a selection without partitions means those that the group has.
  const selections = args.topic.map(parseTopicSelection)
  const partitions = selections.flatMap(({ topic, partitions }) =>
    partitions === undefined
      ? committed.filter((item) => item.topic === topic)
      : partitions.map((partition) => ({ topic, partition })),
  )
  if (partitions.length > 0) await deleteOffsets(cluster, args.group, partitions)
  if (args.json) await printJson(partitions.map(({ topic, partition }) => ({ topic, partition, deleted: true })))
  else await print(`Group ${args.group} forgot its offsets for ${partitions.length} partitions.\n`)
}

// delete

interface DeleteArguments extends ClientArguments {
  readonly groups: readonly string[]
}

function deleteOptions(yargs: Argv): Argv<DeleteArguments> {
  return clientOptions(yargs)
    .usage('$0 group delete <groups..>\n\nDeletes groups that have no members, with their offsets.')
    .positional('groups', { type: 'string', array: true, demandOption: true, describe: 'Groups to delete' })
    .example('$0 group delete billing', 'Delete one group')
}

async function remove(cluster: Cluster, args: DeleteArguments): Promise<void> {
  for (const groupId of args.groups) {
    await deleteGroup(cluster, groupId)
    if (!args.json) await print(`Deleted group ${groupId}.\n`)
  }
  if (args.json) await printJson(args.groups.map((groupId) => ({ groupId, deleted: true })))
}
