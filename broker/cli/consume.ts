// `millrace consume`: records out of partitions or through a group, in any format.
//
// Reads until the end as it was when it began, or for ever with --follow. On the process's main thread.

import type { Argv } from 'yargs'
import { type Cluster, partitionKey, type TopicPartition } from './client/cluster.ts'
import { Fetcher } from './client/fetcher.ts'
import { GroupMember, isFenced } from './client/group-member.ts'
import { commitOffsets, committedOffsets } from './client/groups.ts'
import { offsetRanges, READ_COMMITTED, READ_UNCOMMITTED } from './client/offsets.ts'
import { UsageError } from './exit.ts'
import { type ClientArguments, clientOptions, listOf, withCluster } from './options.ts'
import { formatCount, note, Progress, print } from './output.ts'
import { parseStartPoint, parseWholeNumber, type StartPoint } from './parse.ts'
import { compileFormat, FORMAT_HELP, type PlacedRecord, plainFormat, toJson } from './record-format.ts'
import { resolveStartPoint, selectPartitions } from './topic.ts'

interface ConsumeArguments extends ClientArguments {
  readonly topics: readonly string[]
  readonly offset: string | undefined
  readonly 'from-beginning': boolean | undefined
  readonly partition: string | readonly string[] | undefined
  readonly count: string | undefined
  readonly follow: boolean
  readonly group: string | undefined
  readonly format: string | undefined
  readonly 'print-key': boolean
  readonly 'print-headers': boolean
  readonly 'print-offset': boolean
  readonly 'print-partition': boolean
  readonly 'print-timestamp': boolean
  readonly separator: string
  readonly 'read-committed': boolean
}

export function consumeCommand(yargs: Argv): Argv {
  return yargs.command(['consume <topics..>', 'sub'], 'Read records', consumeOptions, (args) =>
    withCluster(args, (to) => consume(to, args)),
  )
}

function consumeOptions(yargs: Argv): Argv<ConsumeArguments> {
  const text = { type: 'string', requiresArg: true } as const
  const flag = { type: 'boolean', default: false } as const
  return clientOptions(yargs, 'Print each record as a line of JSON')
    .usage(
      '$0 consume <topics..>\n\nPrints records up to the end of the topics as it is now; with --follow also those that come later.',
    )
    .positional('topics', {
      type: 'string',
      array: true,
      demandOption: true,
      describe: 'Topics, or partitions of them as topic:0,2,5-7',
    })
    .option('offset', {
      ...text,
      alias: 'o',
      defaultDescription: 'start; what is committed, with --group',
      describe: 'Where to begin: start, end, 1234, -10 (the last ten of each partition), @2026-01-31T12:00:00, @-1h',
    })
    .option('from-beginning', { type: 'boolean', describe: 'As --offset start' })
    .option('partition', {
      ...text,
      alias: 'p',
      array: true,
      nargs: 1,
      describe: 'Only this partition; may be repeated',
    })
    .option('count', { ...text, alias: ['n', 'max-messages'], describe: 'Stop after so many records' })
    .option('follow', { ...flag, describe: 'Go on with what comes later, until interrupted' })
    .option('group', { ...text, alias: 'g', describe: 'Read as a member of this group and commit what was printed' })
    .option('format', { ...text, alias: 'f', describe: 'How to print a record, such as "%k: %v\\n"; see below' })
    .option('print-key', { ...flag, describe: 'Print the key before the value' })
    .option('print-headers', { ...flag, describe: 'Print the headers' })
    .option('print-offset', { ...flag, describe: 'Print the offset' })
    .option('print-partition', { ...flag, describe: 'Print the partition' })
    .option('print-timestamp', { ...flag, describe: 'Print the timestamp' })
    .option('separator', { ...text, default: '\\t', describe: 'What stands between the things printed' })
    .option('read-committed', { ...flag, describe: 'Leave out open and aborted transactions' })
    .conflicts('from-beginning', 'offset')
    .conflicts('group', 'partition')
    .example('$0 consume orders', 'All that is there')
    .example('$0 consume orders --follow --offset end', 'Only what comes from now on')
    .example('$0 consume orders -o @-1h -f "%o %k=%v\\n"', 'The last hour, in a format')
    .example('$0 consume orders:0 -o -10 --print-key --print-timestamp', 'The last ten of partition 0')
    .example('$0 consume orders --group billing --count 100', 'The next hundred of a group')
    .epilogue(FORMAT_HELP)
}

async function consume(cluster: Cluster, args: ConsumeArguments): Promise<void> {
  const startText = args['from-beginning'] ? 'start' : args.offset
  const session = new Session(cluster, args, parseStartPoint(startText ?? 'start', Date.now()))
  const stop = (): void => session.stop()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  process.stdout.once('close', stop)
  try {
    if (args.group === undefined) await session.readPartitions()
    else await session.readAsMember(args.group)
  } finally {
    session.end()
    process.removeListener('SIGINT', stop)
    process.removeListener('SIGTERM', stop)
    process.stdout.removeListener('close', stop)
  }
}

/** After so long without a commit a member commits what it has printed. */
const COMMIT_MS = 5000
/** Printed output is gathered up to this size before it is written. */
const OUTPUT_BYTES = 64 << 10

class Session {
  readonly #cluster: Cluster
  readonly #args: ConsumeArguments
  readonly #start: StartPoint
  readonly #follow: boolean
  readonly #isolationLevel: number
  readonly #fetcher: Fetcher
  readonly #render: (record: PlacedRecord) => Uint8Array | string
  readonly #progress: Progress
  #left: number
  #printed = 0
  #stopped = false
  /** Exclusive end by partition, when reading ends there. */
  #ends = new Map<string, number>()
  /** What is printed and not committed yet, by partition. */
  #uncommitted = new Map<string, TopicPartition & { offset: number }>()

  constructor(cluster: Cluster, args: ConsumeArguments, start: StartPoint) {
    this.#cluster = cluster
    this.#args = args
    this.#start = start
    this.#follow = args.follow
    this.#isolationLevel = args['read-committed'] ? READ_COMMITTED : READ_UNCOMMITTED
    this.#render = renderer(args)
    this.#left = args.count === undefined ? Number.POSITIVE_INFINITY : parseWholeNumber('--count', args.count, 1)
    // Both on one terminal would only disturb each other.
    this.#progress = new Progress(process.stderr.isTTY === true && process.stdout.isTTY !== true)
    this.#fetcher = new Fetcher(cluster, {
      isolationLevel: this.#isolationLevel,
      onReset: ({ topic, partition }, fromOffset, startOffset) => {
        note(
          `${topic}, partition ${partition}: offset ${fromOffset} is not there (any more), going on at ${startOffset}`,
        )
      },
    })
  }

  stop(): void {
    this.#stopped = true
  }

  end(): void {
    this.#progress.end()
  }

  get #isDone(): boolean {
    return this.#stopped || this.#left === 0 || (!this.#follow && this.#fetcher.partitionCount === 0)
  }

  async readPartitions(): Promise<void> {
    const chosen = await this.#chosenPartitions()
    await this.#assign(chosen, new Map())
    while (!this.#isDone) await this.#step()
  }

  async readAsMember(groupId: string): Promise<void> {
    const topics = [...new Set(this.#args.topics)]
    if (topics.some((topic) => topic.includes(':'))) {
      throw new UsageError('With --group the group decides about partitions: name topics only')
    }
    for (const topic of topics) await this.#cluster.attempt(() => this.#cluster.topic(topic))
    const member = new GroupMember(this.#cluster, groupId, topics)
    try {
      let commitAtMs = performance.now() + COMMIT_MS
      while (!this.#stopped && this.#left > 0) {
        if (member.failure !== undefined) throw member.failure
        if (member.mustRejoin) {
          await this.#commit(member)
          const partitions = await member.join()
          const committed = await committedOffsets(this.#cluster, groupId, partitions)
          await this.#assign(
            partitions,
            new Map(committed.map((item) => [partitionKey(item.topic, item.partition), item.offset])),
          )
        }
        if (this.#isDone) break
        await this.#step()
        if (performance.now() >= commitAtMs) {
          await this.#commit(member)
          commitAtMs = performance.now() + COMMIT_MS
        }
      }
      await this.#commit(member)
    } finally {
      await member.leave().catch(() => {})
    }
  }

  async #chosenPartitions(): Promise<TopicPartition[]> {
    const only = listOf(this.#args.partition).map((text) => parseWholeNumber('--partition', text, 0, 0x7fff_ffff))
    if (only.length === 0) return selectPartitions(this.#cluster, this.#args.topics)
    if (this.#args.topics.some((topic) => topic.includes(':'))) {
      throw new UsageError('Name partitions either in the topic or with --partition')
    }
    return selectPartitions(
      this.#cluster,
      this.#args.topics.map((topic) => `${topic}:${only.join(',')}`),
    )
  }

  /** Begins to read partitions: at what is committed, else at the start point, within what is there. */
  async #assign(partitions: readonly TopicPartition[], committed: ReadonlyMap<string, number>): Promise<void> {
    const ranges = await offsetRanges(this.#cluster, partitions, this.#isolationLevel)
    const starts = await resolveStartPoint(this.#cluster, partitions, ranges, this.#start)
    this.#ends = new Map()
    const positions: (TopicPartition & { offset: number })[] = []
    for (const { topic, partition } of partitions) {
      const key = partitionKey(topic, partition)
      const { startOffset, endOffset } = ranges.get(key) ?? { startOffset: 0, endOffset: 0 }
      const offset = Math.max(startOffset, committed.get(key) ?? starts.get(key) ?? startOffset)
      if (!this.#follow) {
        if (offset >= endOffset) continue
        this.#ends.set(key, endOffset)
      }
      positions.push({ topic, partition, offset })
    }
    this.#fetcher.assign(positions)
  }

  async #step(): Promise<void> {
    for (const { topic, partition, records, nextOffset } of await this.#fetcher.poll()) {
      const key = partitionKey(topic, partition)
      const end = this.#ends.get(key) ?? Number.POSITIVE_INFINITY
      let position = nextOffset
      let output: (Uint8Array | string)[] = []
      let outputBytes = 0
      for (const record of records) {
        if (this.#left === 0 || this.#stopped || record.offset >= end) {
          position = record.offset
          break
        }
        const rendered = this.#render({ ...record, topic, partition })
        output.push(rendered)
        outputBytes += rendered.length
        this.#left--
        this.#printed++
        if (outputBytes >= OUTPUT_BYTES) {
          await write(output)
          output = []
          outputBytes = 0
        }
      }
      await write(output)
      this.#progress.update(() => `${formatCount(this.#printed)} records`)
      this.#uncommitted.set(key, { topic, partition, offset: position })
      if (position >= end) this.#fetcher.drop({ topic, partition })
    }
  }

  async #commit(member: GroupMember): Promise<void> {
    const offsets = [...this.#uncommitted.values()]
    this.#uncommitted.clear()
    if (offsets.length === 0) return
    try {
      await commitOffsets(this.#cluster, member.groupId, offsets, member)
    } catch (error) {
      if (!isFenced(error)) throw error
      member.mustRejoin = true
      note(`group ${member.groupId} went on without this member: some records may be read twice`)
    }
  }
}

async function write(pieces: readonly (Uint8Array | string)[]): Promise<void> {
  if (pieces.length === 0) return
  await print(Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece))))
}

function renderer(args: ConsumeArguments): (record: PlacedRecord) => Uint8Array | string {
  if (args.json && args.format !== undefined) throw new UsageError('Give --json or --format, not both')
  if (args.json) return (record) => `${JSON.stringify(toJson(record))}\n`
  return compileFormat(
    args.format ??
      plainFormat({
        partition: args['print-partition'],
        offset: args['print-offset'],
        timestamp: args['print-timestamp'],
        headers: args['print-headers'],
        key: args['print-key'],
        separator: args.separator,
      }),
  )
}
