// `millrace group reset-offsets`: where a group shall go on reading.
//
// A plan is made first and printed; --execute commits it. On the process's main thread.

import { readFile } from 'node:fs/promises'
import type { Argv } from 'yargs'
import { type Cluster, NoSuchItem, partitionKey, type TopicPartition } from './client/cluster.ts'
import { commitOffsets, committedOffsets, describeGroup, noSuchGroup } from './client/groups.ts'
import { offsetRanges } from './client/offsets.ts'
import { partitionsOf } from './client/topics.ts'
import { CommandFailed, UsageError } from './exit.ts'
import { type ClientArguments, clientOptions, listOf, withCluster } from './options.ts'
import { formatTable, note, print, printJson } from './output.ts'
import { type PartitionOffset, parseDurationMs, parseOffsetsFile, parseTimeMs, parseWholeNumber } from './parse.ts'
import { resolveStartPoint, selectPartitions } from './topic.ts'

export interface ResetArguments extends ClientArguments {
  readonly group: string
  readonly topic: string | readonly string[] | undefined
  readonly 'to-earliest': boolean | undefined
  readonly 'to-latest': boolean | undefined
  readonly 'to-current': boolean | undefined
  readonly 'to-offset': string | undefined
  readonly 'to-datetime': string | undefined
  readonly 'by-duration': string | undefined
  readonly 'shift-by': string | undefined
  readonly 'from-file': string | undefined
  readonly 'to-group': string | undefined
  readonly export: boolean
  readonly execute: boolean
  readonly 'dry-run': boolean | undefined
}

export function resetCommand(yargs: Argv): Argv {
  return yargs.command(['reset-offsets <group>', 'seek'], 'Move where a group goes on reading', resetOptions, (args) =>
    withCluster(args, (to) => reset(to, args)),
  )
}

function resetOptions(yargs: Argv): Argv<ResetArguments> {
  const text = { type: 'string', requiresArg: true } as const
  return clientOptions(yargs)
    .usage(
      '$0 group reset-offsets <group>\n\nMoves the offsets of a group without members. Shows the plan; --execute carries it out.\n' +
        'Without --topic: every partition that the group has an offset for.',
    )
    .positional('group', { type: 'string', demandOption: true, describe: 'Group to move' })
    .option('topic', {
      ...text,
      alias: 't',
      array: true,
      nargs: 1,
      describe: 'Topic, or partitions of it as topic:0,2,5-7; may be repeated',
    })
    .option('to-earliest', { type: 'boolean', describe: 'To the oldest record' })
    .option('to-latest', { type: 'boolean', describe: 'To the end: only what comes from now on' })
    .option('to-current', { type: 'boolean', describe: 'To where the group is; brings offsets back into range' })
    .option('to-offset', { ...text, describe: 'To this offset in every partition' })
    .option('to-datetime', {
      ...text,
      describe: 'To the first record at or after 2026-01-31T12:00:00 (UTC without a zone)',
    })
    .option('by-duration', { ...text, describe: 'To the first record since this long ago: 1h30m, 2d, PT1H' })
    .option('shift-by', { ...text, describe: 'By so many records, back when negative' })
    .option('from-file', {
      ...text,
      describe: 'To the offsets in a file of lines topic,partition,offset, or a JSON array',
    })
    .option('to-group', { ...text, describe: 'To where this other group is' })
    .option('export', { type: 'boolean', default: false, describe: 'Print the plan as lines for --from-file' })
    .option('execute', { type: 'boolean', default: false, describe: 'Carry the plan out' })
    .option('dry-run', {
      type: 'boolean',
      describe: 'Only show the plan, which is what happens anyway without --execute',
    })
    .example('$0 group reset-offsets billing --to-earliest', 'What reading all again would mean')
    .example('$0 group reset-offsets billing --topic orders:0 --to-offset 1200 --execute', 'One partition')
    .example('$0 group reset-offsets billing --by-duration 2h --execute', 'Repeat the last two hours')
    .example('$0 group reset-offsets billing --shift-by=-100 --execute', 'Repeat the last 100 of each partition')
    .example('$0 group reset-offsets billing --to-current --export > offsets.csv', 'Keep the offsets in a file')
    .example('$0 group reset-offsets billing-2 --to-group billing --execute', 'Begin where another group is')
}

/** What the flags ask for: one of them. */
export type ResetTarget =
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'current' }
  | { readonly kind: 'offset'; readonly offset: number }
  | { readonly kind: 'time'; readonly timeMs: number }
  | { readonly kind: 'shift'; readonly by: number }
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'group'; readonly groupId: string }

/** @throws UsageError unless exactly one target is named */
export function resetTarget(args: Partial<ResetArguments>, nowMs: number): ResetTarget {
  const targets: ResetTarget[] = []
  if (args['to-earliest']) targets.push({ kind: 'start' })
  if (args['to-latest']) targets.push({ kind: 'end' })
  if (args['to-current']) targets.push({ kind: 'current' })
  if (args['to-offset'] !== undefined) {
    targets.push({ kind: 'offset', offset: parseWholeNumber('--to-offset', args['to-offset'], 0) })
  }
  if (args['to-datetime'] !== undefined) targets.push({ kind: 'time', timeMs: parseTimeMs(args['to-datetime'], nowMs) })
  if (args['by-duration'] !== undefined)
    targets.push({ kind: 'time', timeMs: nowMs - parseDurationMs(args['by-duration']) })
  if (args['shift-by'] !== undefined) {
    targets.push({ kind: 'shift', by: parseWholeNumber('--shift-by', args['shift-by'], -Number.MAX_SAFE_INTEGER) })
  }
  if (args['from-file'] !== undefined) targets.push({ kind: 'file', file: args['from-file'] })
  if (args['to-group'] !== undefined) targets.push({ kind: 'group', groupId: args['to-group'] })
  const [only, second] = targets
  if (only === undefined || second !== undefined) {
    throw new UsageError(
      `Say where to, ${only === undefined ? 'with one of' : 'with only one of'} --to-earliest, --to-latest, --to-current, ` +
        '--to-offset, --to-datetime, --by-duration, --shift-by, --from-file and --to-group',
    )
  }
  return only
}

interface PlanRow extends TopicPartition {
  readonly currentOffset: number | undefined
  readonly offset: number
}

async function reset(cluster: Cluster, args: ResetArguments): Promise<void> {
  const target = resetTarget(args, Date.now())
  if (args['dry-run'] && args.execute) throw new UsageError('Give --dry-run or --execute, not both')
  const plan = await makePlan(cluster, args, target)
  if (args.execute) {
    const group = await describeGroup(cluster, args.group)
    if (group !== undefined && group.members.length > 0) {
      throw new CommandFailed(
        `group ${args.group} is ${group.state} with ${group.members.length} members; stop them before its offsets are moved`,
      )
    }
    await commitOffsets(cluster, args.group, plan)
  }
  if (args.export) {
    await print(plan.map(({ topic, partition, offset }) => `${topic},${partition},${offset}\n`).join(''))
  } else if (args.json) {
    await printJson(
      plan.map(({ topic, partition, currentOffset, offset }) => ({
        topic,
        partition,
        currentOffset: currentOffset ?? null,
        offset,
        executed: args.execute,
      })),
    )
  } else {
    const rows = plan.map(({ topic, partition, currentOffset, offset }) => [topic, partition, currentOffset, offset])
    await print(formatTable(['TOPIC', 'PARTITION', 'CURRENT', 'NEW'], rows))
  }
  if (!args.execute && !args.export && !args.json) note('Nothing was changed. Add --execute to do it.')
}

async function makePlan(cluster: Cluster, args: ResetArguments, target: ResetTarget): Promise<PlanRow[]> {
  const committed = await committedOffsets(cluster, args.group, null)
  const current = new Map(committed.map((item) => [partitionKey(item.topic, item.partition), item.offset]))
  const wanted = await targetOffsets(cluster, target)
  const partitions = await scope(cluster, args, wanted, committed)
  const ranges = await offsetRanges(cluster, partitions)
  const resolved =
    target.kind === 'start' || target.kind === 'end' || target.kind === 'offset' || target.kind === 'time'
      ? await resolveStartPoint(cluster, partitions, ranges, target)
      : undefined
  const rows: PlanRow[] = []
  for (const { topic, partition } of partitions) {
    const key = partitionKey(topic, partition)
    const currentOffset = current.get(key)
    const { startOffset, endOffset } = ranges.get(key) ?? { startOffset: 0, endOffset: 0 }
    // A group that was never here begins, as far as moving it goes, at the start.
    const from = currentOffset ?? startOffset
    const asked = resolved?.get(key) ?? wanted?.get(key) ?? (target.kind === 'shift' ? from + target.by : from)
    const offset = Math.min(endOffset, Math.max(startOffset, asked))
    if (offset !== asked) {
      note(`${topic}, partition ${partition}: ${asked} lies outside of ${startOffset} to ${endOffset}, using ${offset}`)
    }
    rows.push({ topic, partition, currentOffset, offset })
  }
  return rows
}

/** Offsets that a file or another group names; undefined for the other targets. */
async function targetOffsets(cluster: Cluster, target: ResetTarget): Promise<Map<string, number> | undefined> {
  let offsets: readonly PartitionOffset[]
  if (target.kind === 'file') offsets = parseOffsetsFile(await readFile(target.file, 'utf8'), target.file)
  else if (target.kind === 'group') {
    offsets = await committedOffsets(cluster, target.groupId, null)
    if (offsets.length === 0) throw new NoSuchItem(`group ${target.groupId} has no offsets`)
  } else return undefined
  return new Map(offsets.map(({ topic, partition, offset }) => [partitionKey(topic, partition), offset]))
}

/** The partitions to move: those named, else those of the file or other group, else those the group has offsets for. */
async function scope(
  cluster: Cluster,
  args: ResetArguments,
  wanted: ReadonlyMap<string, number> | undefined,
  committed: readonly TopicPartition[],
): Promise<TopicPartition[]> {
  const named = listOf(args.topic)
  const targets = wanted === undefined ? undefined : [...wanted.keys()].map(partitionOfKey)
  if (named.length > 0) {
    const selected = await selectPartitions(cluster, named)
    return wanted === undefined
      ? selected
      : selected.filter(({ topic, partition }) => wanted.has(partitionKey(topic, partition)))
  }
  const partitions = targets ?? committed
  if (partitions.length === 0) {
    const group = await describeGroup(cluster, args.group)
    if (group === undefined) {
      throw new NoSuchItem(`${noSuchGroup(args.group).message}; name the topics it shall have offsets for with --topic`)
    }
    throw new UsageError(`group ${args.group} has no offsets yet; name topics with --topic`)
  }
  const existing = new Set(
    (await partitionsOf(cluster, [...new Set(partitions.map(({ topic }) => topic))])).map(({ topic, partition }) =>
      partitionKey(topic, partition),
    ),
  )
  const missing = partitions.find(({ topic, partition }) => !existing.has(partitionKey(topic, partition)))
  if (missing !== undefined) throw new NoSuchItem(`topic ${missing.topic} has no partition ${missing.partition}`)
  return partitions.map(({ topic, partition }) => ({ topic, partition }))
}

function partitionOfKey(key: string): TopicPartition {
  const at = key.lastIndexOf('/')
  return { topic: key.slice(0, at), partition: Number(key.slice(at + 1)) }
}
