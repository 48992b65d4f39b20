// `millrace produce`: lines in, records out.
//
// Reads standard input or a file as it comes and hands lines to client/producer.ts, which says when to wait. On the process's
// main thread.

import { open } from 'node:fs/promises'
import type { Argv } from 'yargs'
import { Codec, codecByName } from '../../protocol/records/compression.ts'
import type { Cluster } from './client/cluster.ts'
import { type OutgoingRecord, Producer } from './client/producer.ts'
import { UsageError } from './exit.ts'
import { linesOf } from './lines.ts'
import { type ClientArguments, clientOptions, listOf, withCluster } from './options.ts'
import { formatBytes, formatCount, note, Progress, print } from './output.ts'
import { parseAssignment, parseWholeNumber } from './parse.ts'
import { fromJson, unescaped } from './record-format.ts'

export interface ProduceArguments extends ClientArguments {
  readonly topic: string
  readonly file: string | undefined
  readonly key: string | undefined
  readonly 'key-separator': string | undefined
  readonly header: string | readonly string[] | undefined
  readonly partition: string | undefined
  readonly acks: string
  readonly compression: string
  readonly idempotent: boolean | undefined
  readonly tombstone: boolean
}

export function produceCommand(yargs: Argv): Argv {
  return yargs.command(['produce <topic>', 'pub'], 'Write records, one per line', produceOptions, (args) =>
    withCluster(args, (to) => produce(to, args)),
  )
}

function produceOptions(yargs: Argv): Argv<ProduceArguments> {
  const text = { type: 'string', requiresArg: true } as const
  return clientOptions(
    yargs,
    'Each line is {"key", "value", "headers", "timestamp"}; where records went is printed likewise',
  )
    .usage('$0 produce <topic>\n\nWrites each line of standard input, or of a file, as a record.')
    .positional('topic', { type: 'string', demandOption: true, describe: 'Topic to write to' })
    .option('file', { ...text, alias: 'i', describe: 'Read this file instead of standard input' })
    .option('key', { ...text, alias: 'k', describe: 'Key of every record' })
    .option('key-separator', { ...text, alias: 'K', describe: 'Key and value of a line stand left and right of this' })
    .option('header', {
      ...text,
      alias: 'H',
      array: true,
      nargs: 1,
      describe: 'Header of every record, name=value; may be repeated',
    })
    .option('partition', { ...text, alias: 'p', describe: 'Write to this partition instead of the one of the key' })
    .option('acks', {
      ...text,
      choices: ['all', '-1', '1', '0'],
      default: 'all',
      describe: 'Who must have a record before it counts',
    })
    .option('compression', {
      ...text,
      alias: ['z', 'compression-codec'],
      choices: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
      default: 'none',
      describe: 'How batches are compressed',
    })
    .option('idempotent', {
      type: 'boolean',
      defaultDescription: 'with acks all',
      describe: 'Never write a record twice when a try is repeated; --no-idempotent turns it off',
    })
    .option('tombstone', {
      type: 'boolean',
      default: false,
      describe: 'An empty value deletes its key: it is written as null',
    })
    .conflicts('key', 'key-separator')
    .example('echo hello | $0 produce greetings', 'One record')
    .example('$0 produce users -K : < users.txt', 'Lines such as 42:Ann, with 42 as the key')
    .example('$0 produce orders --json -i orders.jsonl -z zstd', 'JSON lines, compressed')
    .example('$0 consume orders --json | $0 produce copy --json', 'Copy a topic with keys, headers and times')
}

async function produce(cluster: Cluster, args: ProduceArguments): Promise<void> {
  const toRecord = recordReader(args)
  const partition =
    args.partition === undefined ? undefined : parseWholeNumber('--partition', args.partition, 0, 0x7fff_ffff)
  const progress = new Progress()
  let delivered = 0
  let bytes = 0
  const printing: Promise<void>[] = []
  const producer = new Producer(cluster, {
    topic: args.topic,
    acks: args.acks === '0' ? 0 : args.acks === '1' ? 1 : -1,
    compression: codecByName(args.compression) ?? Codec.NONE,
    idempotent: args.idempotent,
    onDelivered(at, baseOffset, records) {
      delivered += records.length
      for (const { key, value } of records) bytes += (key?.length ?? 0) + (value?.length ?? 0)
      progress.update(() => `${formatCount(delivered)} records, ${formatBytes(bytes)}`)
      if (args.json) printing.push(print(deliveryLines(args.topic, at, baseOffset, records)))
    },
  })
  const input = args.file === undefined ? process.stdin : (await open(args.file)).createReadStream()
  try {
    await producer.open()
    let line = 0
    for await (const lines of linesOf(input)) {
      for (const text of lines) {
        line++
        if (args.json && text.length === 0) continue
        await producer.append(toRecord(text, line), partition)
      }
    }
    await producer.flush()
    await Promise.all(printing)
  } finally {
    progress.end()
    input.destroy()
  }
  if (process.stderr.isTTY) note(`${formatCount(delivered)} records written to ${args.topic}.`)
}

function deliveryLines(
  topic: string,
  partition: number,
  baseOffset: number,
  records: readonly OutgoingRecord[],
): string {
  return records
    .map((_, index) => {
      const offset = baseOffset < 0 ? null : baseOffset + index
      return `${JSON.stringify({ topic, partition, offset })}\n`
    })
    .join('')
}

/** How a line of the input becomes a record. @throws UsageError when the flags do not fit, and later for a bad line */
export function recordReader(
  args: Pick<ProduceArguments, 'json' | 'key' | 'key-separator' | 'header' | 'tombstone' | 'idempotent' | 'acks'>,
): (line: Buffer, number: number) => OutgoingRecord {
  if (args.idempotent === true && (args.acks === '0' || args.acks === '1')) {
    throw new UsageError('--idempotent needs --acks all')
  }
  if (args.json && (args.key !== undefined || args['key-separator'] !== undefined)) {
    throw new UsageError('With --json the key comes from each line: leave --key and --key-separator out')
  }
  const headers = listOf(args.header).map((text) => {
    const [key, value] = parseAssignment('--header', text)
    return { key, value: Buffer.from(value) }
  })
  const nullable = (bytes: Buffer): Buffer | null => (args.tombstone && bytes.length === 0 ? null : bytes)
  if (args.json) {
    return (line, number) => {
      const record = fromJson(line.toString('utf8'), number, Date.now())
      return headers.length === 0 ? record : { ...record, headers: [...record.headers, ...headers] }
    }
  }
  const separator = args['key-separator']
  if (separator !== undefined) {
    const mark = Buffer.from(unescaped('--key-separator', separator))
    if (mark.length === 0) throw new UsageError('--key-separator is empty')
    return (line, number) => {
      const at = line.indexOf(mark)
      if (at < 0) throw new UsageError(`line ${number} has no '${separator}' between key and value`)
      const value = nullable(line.subarray(at + mark.length))
      return { key: line.subarray(0, at), value, headers, timestamp: Date.now(), line: number }
    }
  }
  const key = args.key === undefined ? null : Buffer.from(args.key)
  return (line, number) => ({ key, value: nullable(line), headers, timestamp: Date.now(), line: number })
}
