// `millrace log dump`: what a segment file holds, read without a broker.
//
// Batches are checked as they are printed; damage is said where it is and makes the command fail. On the process's main thread.

import type { Argv } from 'yargs'
import {
  baseOffsetOf,
  baseSequenceOf,
  baseTimestampOf,
  batchDefect,
  compressionOf,
  hasLogAppendTime,
  isControl,
  isTransactional,
  lastOffsetOf,
  leaderEpochOf,
  magicOf,
  maxTimestampOf,
  producerEpochOf,
  producerIdOf,
  recordCountOf,
} from '../../protocol/records/batch.ts'
import { CODEC_NAMES, CompressionError } from '../../protocol/records/compression.ts'
import { ControlType, decodeEndTransactionMarker } from '../../protocol/records/control.ts'
import { type DecodedRecord, decodeBatch, MalformedRecords } from '../../protocol/records/record.ts'
import { CommandFailed } from './exit.ts'
import { decodeGroupRecord } from './offsets-decoder.ts'
import { formatBytes, formatCount, note, Progress, print } from './output.ts'
import { isoTime, toJsonBytes } from './record-format.ts'
import { segmentItems } from './segment-file.ts'

interface DumpArguments {
  readonly files: readonly string[]
  readonly records: boolean
  readonly 'offsets-decoder': boolean
  readonly json: boolean
}

/** Decompressed, of one batch. */
const PAYLOAD_BYTES_MAX = 256 << 20

export function logCommand(yargs: Argv): Argv {
  return yargs
    .usage('$0 log <command>\n\nLooks into files of a log.')
    .command('dump <files..>', 'Print the batches of segment files', dumpOptions, dump)
    .demandCommand(1, 'Say what to do with the log: dump')
}

function dumpOptions(yargs: Argv): Argv<DumpArguments> {
  return yargs
    .usage('$0 log dump <files..>\n\nPrints the batches of segment files (.log) and checks each, without a broker.')
    .positional('files', {
      type: 'string',
      array: true,
      demandOption: true,
      describe: 'Segment files of Millrace or Kafka',
    })
    .option('records', {
      alias: 'r',
      type: 'boolean',
      default: false,
      describe: 'Print the records of each batch, too',
    })
    .option('offsets-decoder', {
      type: 'boolean',
      default: false,
      describe: 'Print what records of __consumer_offsets mean; implies --records',
    })
    .option('json', { type: 'boolean', default: false, describe: 'Print a line of JSON per batch' })
    .example('$0 log dump data/orders-0/00000000000000000000.log', 'The batches of a segment')
    .example('$0 log dump 00000000000000000000.log --records', 'With keys, values and headers')
    .example('$0 log dump __consumer_offsets-7/*.log --offsets-decoder', 'What groups have committed')
}

async function dump(args: DumpArguments): Promise<void> {
  let damaged = 0
  for (const file of args.files) damaged += await dumpFile(file, args)
  if (damaged > 0) throw new CommandFailed(damaged === 1 ? '1 batch is damaged' : `${damaged} batches are damaged`)
}

/** @returns how many batches are damaged */
async function dumpFile(file: string, args: DumpArguments): Promise<number> {
  const withRecords = args.records || args['offsets-decoder']
  const progress = new Progress(process.stderr.isTTY === true && process.stdout.isTTY !== true)
  let batchCount = 0
  let damaged = 0
  if (!args.json) await print(`${file}\n`)
  for await (const item of segmentItems(file)) {
    if (item.kind === 'rest') {
      if (item.zeros) note(`${file}: ends at byte ${item.position}, ${formatBytes(item.restBytes)} are reserved`)
      else {
        damaged++
        note(`${file}: no batch at byte ${item.position}, ${formatCount(item.restBytes)} bytes are left`)
      }
      continue
    }
    batchCount++
    progress.update(() => `${file}: ${formatCount(batchCount)} batches`)
    const batch = describeBatch(item.position, item.bytes)
    let defect = batchDefect(item.bytes, 0, item.bytes.length)
    let records: DecodedRecord[] = []
    if (withRecords && defect === undefined) {
      try {
        records = await decodeBatch(item.bytes, 0, PAYLOAD_BYTES_MAX)
      } catch (error) {
        if (!(error instanceof MalformedRecords || error instanceof CompressionError)) throw error
        defect = error.message
      }
    }
    if (defect !== undefined) damaged++
    const marker = batch.control && defect === undefined ? decodeEndTransactionMarker(item.bytes, 0) : undefined
    const texts = records.map((record) => describeRecord(record, args['offsets-decoder']))
    if (args.json) {
      const extra = { ...(marker === undefined ? {} : { marker: markerName(marker.type) }), ...(defect && { defect }) }
      await print(`${JSON.stringify({ file, ...batch, ...extra, ...(withRecords ? { records: texts } : {}) })}\n`)
    } else {
      await print(`${batchLine(batch, marker && markerName(marker.type), defect)}\n`)
      for (const text of texts) await print(`${recordLine(text)}\n`)
    }
  }
  progress.end()
  return damaged
}

interface BatchText {
  readonly position: number
  readonly sizeBytes: number
  readonly baseOffset: number
  readonly lastOffset: number
  readonly records: number
  readonly leaderEpoch: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly timestampType: 'CreateTime' | 'LogAppendTime'
  readonly compression: string
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly transactional: boolean
  readonly control: boolean
  readonly magic: number
}

function describeBatch(position: number, bytes: Uint8Array): BatchText {
  return {
    position,
    sizeBytes: bytes.length,
    baseOffset: baseOffsetOf(bytes, 0),
    lastOffset: lastOffsetOf(bytes, 0),
    records: recordCountOf(bytes, 0),
    leaderEpoch: leaderEpochOf(bytes, 0),
    baseTimestamp: baseTimestampOf(bytes, 0),
    maxTimestamp: maxTimestampOf(bytes, 0),
    timestampType: hasLogAppendTime(bytes, 0) ? 'LogAppendTime' : 'CreateTime',
    compression: CODEC_NAMES[compressionOf(bytes, 0)] ?? 'unknown',
    producerId: producerIdOf(bytes, 0),
    producerEpoch: producerEpochOf(bytes, 0),
    baseSequence: baseSequenceOf(bytes, 0),
    transactional: isTransactional(bytes, 0),
    control: isControl(bytes, 0),
    magic: magicOf(bytes, 0),
  }
}

function batchLine(batch: BatchText, marker: string | undefined, defect: string | undefined): string {
  const parts = [
    `at ${batch.position}`,
    `offsets ${batch.baseOffset}-${batch.lastOffset}`,
    `${batch.records} records`,
    `${batch.sizeBytes} bytes`,
    `epoch ${batch.leaderEpoch}`,
    `${batch.timestampType} ${isoTime(batch.maxTimestamp) || '-'}`,
    batch.compression,
  ]
  if (batch.producerId >= 0) {
    parts.push(`producer ${batch.producerId} epoch ${batch.producerEpoch} sequence ${batch.baseSequence}`)
  }
  if (batch.transactional) parts.push('transactional')
  if (batch.control) parts.push(marker === undefined ? 'control' : `control ${marker}`)
  if (defect !== undefined) parts.push(`DAMAGED: ${defect}`)
  return parts.join('  ')
}

type RecordText = Record<string, unknown> & { readonly offset: number; readonly timestamp: number }

function describeRecord(record: DecodedRecord, groupRecords: boolean): RecordText {
  const { offset, timestamp } = record
  if (groupRecords) return { offset, timestamp, ...decodeGroupRecord(record.key, record.value) }
  const headers = record.headers.map(({ key, value }) => ({ key, value: toJsonBytes(value) }))
  const content = { key: toJsonBytes(record.key), value: toJsonBytes(record.value) }
  return headers.length === 0 ? { offset, timestamp, ...content } : { offset, timestamp, ...content, headers }
}

function recordLine({ offset, timestamp, ...content }: RecordText): string {
  const parts = Object.entries(content).map(([name, value]) =>
    name === 'type' ? String(value) : `${name} ${JSON.stringify(value)}`,
  )
  return `  ${offset}  ${isoTime(timestamp) || '-'}  ${parts.join('  ')}`
}

function markerName(type: number): string {
  return type === ControlType.COMMIT ? 'commit' : 'abort'
}
