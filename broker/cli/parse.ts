// What users write for times, durations, offsets, addresses and partitions, read into numbers.
//
// Pure: the time of day comes in as an argument. Everything here throws UsageError with the words that were not understood.

import type { Address } from './client/connection.ts'
import { UsageError } from './exit.ts'

const DEFAULT_PORT = 9092
const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}
/** Up to this many digits a number is taken for seconds since 1970, as date +%s prints it. */
const SECONDS_DIGITS_MAX = 10

/** '127.0.0.1:9092,[::1]:9093,host' ; a missing port is 9092. */
export function parseBootstrap(text: string): Address[] {
  const addresses = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+))(?::(\d{1,5}))?$/.exec(part)
      const port = parts?.[3] === undefined ? DEFAULT_PORT : Number(parts[3])
      const host = parts?.[1] ?? parts?.[2]
      if (host === undefined || port < 1 || port > 65_535) {
        throw new UsageError(`--bootstrap: '${part}' is no host:port`)
      }
      return { host, port }
    })
  if (addresses.length === 0) throw new UsageError('--bootstrap names no broker')
  return addresses
}

/**
 * '500ms', '30s', '1h30m', '2d', '1w', ISO 8601 such as 'PT1H30M' or 'P2D'. A bare number has no unit and is refused.
 * @returns milliseconds
 */
export function parseDurationMs(text: string): number {
  const trimmed = text.trim()
  const durationMs = /^P/i.test(trimmed) ? isoDurationMs(trimmed) : shortDurationMs(trimmed)
  if (durationMs === undefined) {
    throw new UsageError(`'${text}' is no duration; write it as 30s, 1h30m, 2d or PT1H30M`)
  }
  return durationMs
}

function shortDurationMs(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/i.test(text)) return undefined
  let durationMs = 0
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/gi)) {
    durationMs += Number(amount) * (UNIT_MS[(unit ?? '').toLowerCase()] ?? 0)
  }
  return Math.round(durationMs)
}

function isoDurationMs(text: string): number | undefined {
  const parts = /^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/i.exec(text)
  if (parts === null || parts.slice(1).every((part) => part === undefined)) return undefined
  const [weeks = '0', days = '0', hours = '0', minutes = '0', seconds = '0'] = parts.slice(1)
  const wholeDays = Number(weeks) * 7 + Number(days)
  return Math.round(((wholeDays * 24 + Number(hours)) * 60 + Number(minutes)) * 60_000 + Number(seconds) * 1000)
}

/**
 * 'now', '-1h' (before now), '2026-01-31', '2026-01-31T12:00:00.000', with or without a zone (UTC without one, as in Kafka's
 * tools), or a number since 1970: seconds up to ten digits, milliseconds beyond.
 * @returns milliseconds since 1970
 */
export function parseTimeMs(text: string, nowMs: number): number {
  const trimmed = text.trim()
  if (trimmed.toLowerCase() === 'now') return nowMs
  if (/^\d+$/.test(trimmed)) return trimmed.length <= SECONDS_DIGITS_MAX ? Number(trimmed) * 1000 : Number(trimmed)
  if (/^-[\dP]/i.test(trimmed)) return nowMs - parseDurationMs(trimmed.slice(1))
  const parts = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,3})?)?)(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(
    trimmed,
  )
  if (parts !== null) {
    const [, date, time = '00:00', zone = 'Z'] = parts
    const withColon = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.toUpperCase()
    const timeMs = Date.parse(`${date}T${time.replace(',', '.')}${withColon}`)
    if (!Number.isNaN(timeMs)) return timeMs
  }
  throw new UsageError(`'${text}' is no time; write it as 2026-01-31T12:00:00, -1h or milliseconds since 1970`)
}

/** Where reading, or a group, shall begin. */
export type StartPoint =
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'offset'; readonly offset: number }
  /** That many records before the end. */
  | { readonly kind: 'before-end'; readonly count: number }
  | { readonly kind: 'time'; readonly timeMs: number }

/** 'start', 'end', '1234', '-10' (the last ten), '@2026-01-31T12:00:00', '@-1h'. */
export function parseStartPoint(text: string, nowMs: number): StartPoint {
  const trimmed = text.trim()
  if (trimmed === 'start' || trimmed === 'earliest' || trimmed === 'beginning') return { kind: 'start' }
  if (trimmed === 'end' || trimmed === 'latest') return { kind: 'end' }
  if (trimmed.startsWith('@')) return { kind: 'time', timeMs: parseTimeMs(trimmed.slice(1), nowMs) }
  if (/^-\d+$/.test(trimmed)) return { kind: 'before-end', count: offsetNumber(trimmed.slice(1)) }
  if (/^\d+$/.test(trimmed)) return { kind: 'offset', offset: offsetNumber(trimmed) }
  throw new UsageError(`'${text}' is no offset; write start, end, 1234, -10 (the last ten) or @2026-01-31T12:00:00`)
}

function offsetNumber(digits: string): number {
  const offset = Number(digits)
  if (!Number.isSafeInteger(offset)) throw new UsageError(`${digits} is too large for an offset`)
  return offset
}

export interface TopicSelection {
  readonly topic: string
  /** Undefined: all. */
  readonly partitions: readonly number[] | undefined
}

/** 'orders' or 'orders:0,2,5-7'. */
export function parseTopicSelection(text: string): TopicSelection {
  const at = text.indexOf(':')
  if (at < 0) return { topic: topicName(text), partitions: undefined }
  const partitions = text
    .slice(at + 1)
    .split(',')
    .flatMap((part) => partitionRange(part, text))
  return { topic: topicName(text.slice(0, at)), partitions: [...new Set(partitions)].sort((a, b) => a - b) }
}

function topicName(text: string): string {
  if (text === '') throw new UsageError('a topic has no name')
  return text
}

function partitionRange(text: string, whole: string): number[] {
  const parts = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(text.trim())
  const first = Number(parts?.[1])
  const last = parts?.[2] === undefined ? first : Number(parts[2])
  if (parts === null || last < first || last - first > 100_000) {
    throw new UsageError(`'${whole}': write partitions as topic:0,2,5-7`)
  }
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

/** 'name=value'; the value may be empty and hold more signs. @param flag for the message */
export function parseAssignment(flag: string, text: string): readonly [name: string, value: string] {
  const at = text.indexOf('=')
  if (at <= 0) throw new UsageError(`${flag}: write '${text}' as name=value`)
  return [text.slice(0, at).trim(), text.slice(at + 1)]
}

/** A whole number within bounds (both inclusive). */
export function parseWholeNumber(flag: string, text: string, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text)
  if (!/^-?\d+$/.test(text.trim()) || value < least || value > most) {
    const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} up` : `from ${least} to ${most}`
    throw new UsageError(`${flag}: '${text}' is no whole number ${range}`)
  }
  return value
}

export interface PartitionOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/**
 * Offsets from a file: lines `topic,partition,offset` as Kafka's tools export them, or a JSON array of objects with these
 * fields (other fields are ignored), as `--json` of reset-offsets prints it.
 */
export function parseOffsetsFile(text: string, file: string): PartitionOffset[] {
  const rows = text.trimStart().startsWith('[') ? jsonRows(text, file) : csvRows(text, file)
  if (rows.length === 0) throw new UsageError(`${file} holds no offsets`)
  return rows
}

function csvRows(text: string, file: string): PartitionOffset[] {
  return text
    .split(/\r?\n/)
    .map((line, index) => ({ line: line.trim(), number: index + 1 }))
    .filter(({ line }) => line !== '' && !line.startsWith('#'))
    .map(({ line, number }) => {
      const parts = /^"?([^",]+)"?\s*,\s*(\d{1,9})\s*,\s*(\d+)$/.exec(line)
      if (parts === null) throw new UsageError(`${file}, line ${number}: write topic,partition,offset`)
      return { topic: parts[1]!, partition: Number(parts[2]), offset: offsetNumber(parts[3]!) }
    })
}

function jsonRows(text: string, file: string): PartitionOffset[] {
  const complaint = new UsageError(`${file}: wanted a JSON array of {"topic", "partition", "offset"}`)
  let rows: unknown
  try {
    rows = JSON.parse(text)
  } catch {
    throw complaint
  }
  if (!Array.isArray(rows)) throw complaint
  return rows.map((row: unknown) => {
    if (typeof row !== 'object' || row === null || !('topic' in row) || !('partition' in row)) throw complaint
    const offset = 'offset' in row ? row.offset : undefined
    const { topic, partition } = row
    if (typeof topic !== 'string' || !isCount(partition) || !isCount(offset)) throw complaint
    return { topic, partition, offset }
  })
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
