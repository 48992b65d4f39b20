// How a record looks in text: format strings for consume, JSON both ways, key and header lines for produce.
//
// Pure. Format strings and JSON are compiled or checked once, then applied per record.

import type { DecodedRecord } from '../../protocol/records/record.ts'
import type { OutgoingRecord } from './client/producer.ts'
import { UsageError } from './exit.ts'

export interface PlacedRecord extends DecodedRecord {
  readonly topic: string
  readonly partition: number
}

type Part = string | ((record: PlacedRecord) => string | Uint8Array)

/** Conversions of kcat and rpk, where these agree or do not clash. */
const CONVERSIONS: Readonly<Record<string, (record: PlacedRecord) => string | Uint8Array>> = {
  t: ({ topic }) => topic,
  p: ({ partition }) => String(partition),
  o: ({ offset }) => String(offset),
  k: ({ key }) => key ?? '',
  v: ({ value }) => value ?? '',
  s: ({ value }) => value ?? '',
  h: ({ headers }) => headers.map(({ key, value }) => `${key}=${value === null ? '' : textOf(value)}`).join(','),
  T: ({ timestamp }) => String(timestamp),
  d: ({ timestamp }) => String(timestamp),
  D: ({ timestamp }) => isoTime(timestamp),
  K: ({ key }) => String(key?.length ?? -1),
  S: ({ value }) => String(value?.length ?? -1),
  V: ({ value }) => String(value?.length ?? -1),
  '%': () => '%',
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0', '\\': '\\' }

/** The letters and what they stand for, for the help. */
export const FORMAT_HELP =
  'Formats: %t topic, %p partition, %o offset, %k key, %v or %s value, %h headers, %T timestamp in ms, %D timestamp as ISO 8601,\n' +
  '%K and %V bytes of key and value (-1 for null), %% a percent sign; \\n \\t \\r \\0 \\\\ \\xHH as in a shell.'

/**
 * Compiles a format string; the function gives the bytes for one record. Keys and values are copied as they are.
 * @throws UsageError for a conversion or escape that does not exist
 */
export function compileFormat(format: string): (record: PlacedRecord) => Uint8Array {
  const parts: Part[] = []
  let literal = ''
  for (let at = 0; at < format.length; at++) {
    const char = format[at]!
    if (char === '\\') {
      const hex = /^x([0-9a-fA-F]{2})/.exec(format.slice(at + 1, at + 4))
      const meant = hex === null ? ESCAPES[format[at + 1] ?? ''] : String.fromCharCode(Number.parseInt(hex[1]!, 16))
      if (meant === undefined) throw new UsageError(`--format: there is no \\${format[at + 1] ?? ''}`)
      literal += meant
      at += hex === null ? 1 : 3
    } else if (char === '%') {
      const conversion = CONVERSIONS[format[++at] ?? '']
      if (conversion === undefined) throw new UsageError(`--format: there is no %${format[at] ?? ''}`)
      if (literal !== '') parts.push(literal)
      literal = ''
      parts.push(conversion)
    } else literal += char
  }
  if (literal !== '') parts.push(literal)
  return (record) => {
    const pieces: Uint8Array[] = []
    for (const part of parts) {
      const piece = typeof part === 'string' ? part : part(record)
      pieces.push(typeof piece === 'string' ? Buffer.from(piece) : piece)
    }
    return Buffer.concat(pieces)
  }
}

export interface PlainColumns {
  readonly partition: boolean
  readonly offset: boolean
  readonly timestamp: boolean
  readonly headers: boolean
  readonly key: boolean
  readonly separator: string
}

/** A format that prints the columns asked for before the value, one record a line. */
export function plainFormat(columns: PlainColumns): string {
  const parts: string[] = []
  if (columns.timestamp) parts.push('%D')
  if (columns.partition) parts.push('%p')
  if (columns.offset) parts.push('%o')
  if (columns.headers) parts.push('%h')
  if (columns.key) parts.push('%k')
  parts.push('%v')
  const separator = columns.separator.replaceAll('%', '%%')
  return `${parts.join(separator)}\\n`
}

/** '2026-01-31T12:00:00.000Z'; '' for a record without a timestamp. */
export function isoTime(timestampMs: number): string {
  return timestampMs < 0 || timestampMs > 8.64e15 ? '' : new Date(timestampMs).toISOString()
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text, or { base64 } for bytes that are no UTF-8, so that nothing is lost. */
export type JsonBytes = string | { readonly base64: string } | null

export function toJsonBytes(bytes: Uint8Array | null): JsonBytes {
  if (bytes === null) return null
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return { base64: Buffer.from(bytes).toString('base64') }
  }
}

/** A record as `consume --json` prints it and `produce --json` reads it. */
export function toJson(record: PlacedRecord): Record<string, unknown> {
  return {
    topic: record.topic,
    partition: record.partition,
    offset: record.offset,
    timestamp: record.timestamp,
    key: toJsonBytes(record.key),
    value: toJsonBytes(record.value),
    headers: record.headers.map(({ key, value }) => ({ key, value: toJsonBytes(value) })),
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}

/**
 * Reads one line of `produce --json`: an object with key, value, headers and timestamp, all optional; other fields (those
 * that consume adds) are ignored. A value that is neither text nor { base64 } is written as its JSON.
 * @throws UsageError that names the line
 */
export function fromJson(line: string, number: number, nowMs: number): OutgoingRecord {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch {
    throw new UsageError(`line ${number} is no JSON`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new UsageError(`line ${number}: wanted a JSON object with key, value, headers or timestamp`)
  }
  const fields = parsed as Record<string, unknown>
  const timestamp = fields.timestamp ?? nowMs
  if (typeof timestamp !== 'number' || !Number.isSafeInteger(timestamp)) {
    throw new UsageError(`line ${number}: the timestamp is no number of milliseconds`)
  }
  return {
    key: fromJsonBytes(fields.key),
    value: fromJsonBytes(fields.value),
    headers: fromJsonHeaders(fields.headers, number),
    timestamp,
    line: number,
  }
}

function fromJsonBytes(value: unknown): Uint8Array | null {
  if (value === null || value === undefined) return null
  if (typeof value === 'string') return Buffer.from(value)
  if (typeof value === 'object' && 'base64' in value && typeof value.base64 === 'string') {
    if (Object.keys(value).length === 1) return Buffer.from(value.base64, 'base64')
  }
  return Buffer.from(JSON.stringify(value))
}

/** An array of { key, value }, or an object, whose names cannot repeat. */
function fromJsonHeaders(headers: unknown, number: number): { key: string; value: Uint8Array | null }[] {
  if (headers === null || headers === undefined) return []
  if (Array.isArray(headers)) {
    return headers.map((header: unknown) => {
      if (typeof header !== 'object' || header === null || !('key' in header) || typeof header.key !== 'string') {
        throw new UsageError(`line ${number}: a header wants {"key", "value"}`)
      }
      return { key: header.key, value: fromJsonBytes('value' in header ? header.value : null) }
    })
  }
  if (typeof headers !== 'object') throw new UsageError(`line ${number}: headers are an array or an object`)
  return Object.entries(headers).map(([key, value]) => ({ key, value: fromJsonBytes(value) }))
}

/** Reads what a shell cannot easily type: \t \n \r \0 \\ and \xHH. @throws UsageError */
export function unescaped(flag: string, text: string): string {
  return text.replace(/\\(x[0-9a-fA-F]{2}|.?)/g, (whole, name: string) => {
    const meant = name.startsWith('x') ? String.fromCharCode(Number.parseInt(name.slice(1), 16)) : ESCAPES[name]
    if (meant === undefined) throw new UsageError(`${flag}: there is no ${whole}`)
    return meant
  })
}
