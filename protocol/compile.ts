// From a declaration and a version to a decoder and an encoder: straight-line JavaScript without a version test per field.
//
// Built on first use and cached per message and version, by and for each thread. The emitted source holds names of our own
// declarations only, never anything that came over the wire.
//
// Fields of fixed width that follow one another share one bounds check (decoder) or one reservation (encoder). Every
// version yields an object with the same fields in the same order, so all of them share one hidden class.

import { invariant } from './invariant.ts'
import type { Reader } from './reader.ts'
import {
  type FieldSpec,
  type Fields,
  type Input,
  includes,
  type Kind,
  type Message,
  type Value,
  ZERO_UUID,
  zeroOf,
} from './schema.ts'
import type { Writer } from './writer.ts'

export type Decoder<F extends Fields> = (reader: Reader) => Value<F>
export type Encoder<F extends Fields> = (writer: Writer, value: Input<F>) => void

interface Codecs {
  readonly decoders: ((reader: Reader) => unknown)[]
  readonly encoders: ((writer: Writer, value: unknown) => void)[]
}

const codecsByMessage = new WeakMap<Message, Codecs>()

/**
 * The decoder of one version. It reads one message from the reader's position and leaves the reader behind it.
 * Bytes and records are views of the frame. It throws MalformedFrame when the bytes are not such a message.
 */
export function decoder<F extends Fields>(message: Message<F>, version: number): Decoder<F> {
  const { decoders } = codecsOf(message)
  const built = (decoders[version] ??= buildDecoder(message, version))
  return built as Decoder<F>
}

/** The encoder of one version. Fields the version lacks are left out; fields that are undefined take their default. */
export function encoder<F extends Fields>(message: Message<F>, version: number): Encoder<F> {
  const { encoders } = codecsOf(message)
  const built = (encoders[version] ??= buildEncoder(message, version))
  return built as Encoder<F>
}

function codecsOf(message: Message): Codecs {
  let codecs = codecsByMessage.get(message)
  if (codecs === undefined) {
    codecs = { decoders: [], encoders: [] }
    codecsByMessage.set(message, codecs)
  }
  return codecs
}

/** What emitting one codec needs to know and collects. */
interface Emission {
  readonly version: number
  readonly flexible: boolean
  /** Sources of the functions emitted so far, callees first. */
  readonly functions: string[]
}

function emissionOf(message: Message, version: number): Emission {
  invariant(includes(message.versions, version), 'a codec is asked for a declared version', version, message.apiKey)
  return { version, flexible: includes(message.flexible, version), functions: [] }
}

const EMPTY_BYTES = new Uint8Array(0)

function evaluate(emission: Emission, entry: string): unknown {
  const source = `'use strict'\n${emission.functions.join('\n')}\nreturn ${entry}`
  return new Function('EMPTY_BYTES', source)(EMPTY_BYTES)
}

function buildDecoder(message: Message, version: number): (reader: Reader) => unknown {
  const emission = emissionOf(message, version)
  const entry = emitStructDecoder(emission, message.fields, `decode${message.name}`)
  return evaluate(emission, entry) as (reader: Reader) => unknown
}

function buildEncoder(message: Message, version: number): (writer: Writer, value: unknown) => void {
  const emission = emissionOf(message, version)
  const entry = emitStructEncoder(emission, message.fields, `encode${message.name}`)
  return evaluate(emission, entry) as (writer: Writer, value: unknown) => void
}

// --- what both directions ask of a declaration ---

interface NamedSpec {
  readonly name: string
  readonly spec: FieldSpec
}

function inLineFields(emission: Emission, fields: Fields): NamedSpec[] {
  return presentFields(emission, fields).filter(({ spec }) => spec.tag < 0)
}

function taggedFields(emission: Emission, fields: Fields): NamedSpec[] {
  return presentFields(emission, fields)
    .filter(({ spec }) => spec.tag >= 0)
    .sort((left, right) => left.spec.tag - right.spec.tag)
}

function presentFields(emission: Emission, fields: Fields): NamedSpec[] {
  return Object.entries(fields)
    .map(([name, { spec }]) => ({ name, spec }))
    .filter(({ spec }) => includes(spec.versions, emission.version))
}

function isNullable(emission: Emission, spec: FieldSpec): boolean {
  // Records may be null in every version of every message, as in Kafka.
  return spec.kind === 'records' || includes(spec.nullable, emission.version)
}

const WIDTHS: Partial<Record<Kind, number>> = {
  bool: 1,
  int8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  uint32: 4,
  int64: 8,
  int64Raw: 8,
  float64: 8,
  uuid: 16,
}

/** Bytes on the wire of a kind that has always the same number, else undefined. */
function widthOf(spec: FieldSpec): number | undefined {
  return WIDTHS[spec.kind]
}

/** The fewest bytes a value takes in the emission's version. */
function minimumBytes(emission: Emission, spec: FieldSpec): number {
  const width = widthOf(spec)
  if (width !== undefined) return width
  if (spec.kind === 'struct') {
    if (isNullable(emission, spec)) return 1
    const inLine = inLineFields(emission, spec.fields!)
    return inLine.reduce((sum, field) => sum + minimumBytes(emission, field.spec), emission.flexible ? 1 : 0)
  }
  if (emission.flexible) return 1
  return spec.kind === 'string' ? 2 : 4
}

/** An expression that makes the default of a field. */
function defaultOf(spec: FieldSpec): string {
  if (spec.defaultValue !== undefined) return literal(spec.defaultValue)
  return zeroExpression(spec)
}

function zeroExpression(spec: FieldSpec): string {
  if (spec.kind !== 'struct') return literal(zeroOf(spec.kind))
  const members = Object.entries(spec.fields!).map(([name, field]) => `${name}: ${defaultOf(field.spec)}`)
  return `{ ${members.join(', ')} }`
}

function literal(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (value instanceof Uint8Array) return 'EMPTY_BYTES'
  return JSON.stringify(value)
}

// --- decoding ---

/** Emits a function from a reader to the struct's object; returns its name. */
function emitStructDecoder(emission: Emission, fields: Fields, name: string): string {
  const inLine = inLineFields(emission, fields)
  const lines: string[] = []
  for (let i = 0; i < inLine.length; ) {
    const run = fixedRun(inLine, i)
    if (run.length > 0) {
      lines.push(...readRun(run))
      i += run.length
    } else {
      lines.push(readField(emission, inLine[i]!, name))
      i += 1
    }
  }
  if (emission.flexible) lines.push(...readTaggedFields(emission, fields, name))
  const members = Object.entries(fields).map(([member, { spec }]) =>
    includes(spec.versions, emission.version) ? `${member}: ${local(member)}` : `${member}: ${defaultOf(spec)}`,
  )
  emission.functions.push(`function ${name}(r) {
  const b = r.bytes
  let p = 0
  ${lines.join('\n  ')}
  return { ${members.join(', ')} }
}`)
  return name
}

/** The local variable of a field: the prefix keeps it apart from reserved words. */
function local(name: string): string {
  return `$${name}`
}

/** The fields of fixed width that follow one another from an index on. */
function fixedRun(fields: readonly NamedSpec[], start: number): NamedSpec[] {
  let end = start
  while (end < fields.length && widthOf(fields[end]!.spec) !== undefined) end++
  return fields.slice(start, end)
}

function readRun(run: readonly NamedSpec[]): string[] {
  let offset = 0
  const lines: string[] = []
  for (const { name, spec } of run) {
    lines.push(`const ${local(name)} = ${readFixed(spec.kind, offset)}`)
    offset += widthOf(spec)!
  }
  return [`p = r.take(${offset})`, ...lines]
}

/** An expression that reads a value of fixed width at p plus an offset, both checked. */
function readFixed(kind: Kind, offset: number): string {
  const at = (more: number) => (offset + more === 0 ? 'p' : `p + ${offset + more}`)
  const byte = (more: number) => `b[${at(more)}]`
  switch (kind) {
    case 'bool':
      return `${byte(0)} !== 0`
    case 'int8':
      return `${byte(0)} << 24 >> 24`
    case 'int16':
      return `${byte(0)} << 24 >> 16 | ${byte(1)}`
    case 'uint16':
      return `${byte(0)} << 8 | ${byte(1)}`
    case 'int32':
      return `${byte(0)} << 24 | ${byte(1)} << 16 | ${byte(2)} << 8 | ${byte(3)}`
    case 'uint32':
      return `(${byte(0)} << 24 | ${byte(1)} << 16 | ${byte(2)} << 8 | ${byte(3)}) >>> 0`
    case 'int64':
      return `r.int64At(${at(0)})`
    case 'int64Raw':
      return `b.readBigInt64BE(${at(0)})`
    case 'float64':
      return `b.readDoubleBE(${at(0)})`
    case 'uuid':
      return `r.uuidAt(${at(0)})`
    default:
      throw new TypeError(`${kind} has no fixed width`)
  }
}

function readField(emission: Emission, { name, spec }: NamedSpec, path: string): string {
  const variable = local(name)
  if (spec.kind !== 'array') return `const ${variable} = ${readValue(emission, spec, `${path}_${name}`)}`
  return `let ${variable} = null\n  ${readArray(emission, spec, variable, `${path}_${name}`)}`
}

/** An expression that reads a value of any kind but array. */
function readValue(emission: Emission, spec: FieldSpec, path: string): string {
  const mayBeNull = isNullable(emission, spec)
  switch (spec.kind) {
    case 'string':
      return `r.${sized(emission, mayBeNull, 'String')}()`
    case 'bytes':
    case 'records':
      return `r.${sized(emission, mayBeNull, 'ByteString')}()`
    case 'struct': {
      const call = `${emitStructDecoder(emission, spec.fields!, path)}(r)`
      return mayBeNull ? `r.present() ? ${call} : null` : call
    }
    default:
      return `r.${spec.kind}()`
  }
}

/** The Reader or Writer method for a sized kind: string, compactString, nullableString, compactNullableString. */
function sized(emission: Emission, mayBeNull: boolean, kind: string): string {
  const prefix = `${emission.flexible ? 'compact' : ''}${mayBeNull ? 'Nullable' : ''}`
  const method = `${prefix}${kind}`
  return method.charAt(0).toLowerCase() + method.slice(1)
}

/** Statements that read an array into a variable that holds null. */
function readArray(emission: Emission, spec: FieldSpec, variable: string, path: string): string {
  const element = spec.element!
  const minimum = minimumBytes(emission, element)
  invariant(minimum > 0, 'an array element takes a byte at least', minimum, emission.version)
  const mayBeNull = isNullable(emission, spec)
  const count = `n${variable}`
  const width = widthOf(element)
  // Elements are pushed as they are read, so memory follows the bytes that are really there.
  const loop =
    width === undefined
      ? `for (let i = 0; i < ${count}; i++) ${variable}.push(${readValue(emission, element, path)})`
      : `p = r.take(${count} * ${width})
    for (let i = 0; i < ${count}; i++, p += ${width}) ${variable}.push(${readFixed(element.kind, 0)})`
  return `const ${count} = r.${sized(emission, mayBeNull, 'ArrayLength')}(${minimum})
  ${mayBeNull ? `if (${count} >= 0) ` : ''}{
    ${variable} = []
    ${loop}
  }`
}

function readTaggedFields(emission: Emission, fields: Fields, path: string): string[] {
  const known = taggedFields(emission, fields)
  if (known.length === 0) return ['r.skipTaggedFields()']
  const declarations = known.map(({ name, spec }) => `let ${local(name)} = ${defaultOf(spec)}`)
  const cases = known.map(({ name, spec }) => {
    const variable = local(name)
    const read =
      spec.kind === 'array'
        ? `{ ${variable} = null; ${readArray(emission, spec, variable, `${path}_${name}`)} }`
        : `${variable} = ${readValue(emission, spec, `${path}_${name}`)}`
    return `case ${spec.tag}: ${read}; break`
  })
  return [
    ...declarations,
    `for (let tags = r.uvarint(); tags > 0; tags--) {
    const tag = r.uvarint()
    const enclosingEnd = r.enter(r.uvarint())
    switch (tag) {
      ${cases.join('\n      ')}
      default: r.take(r.remaining)
    }
    r.leave(enclosingEnd)
  }`,
  ]
}

// --- encoding ---

/** Emits a function that writes a struct's object; returns its name. */
function emitStructEncoder(emission: Emission, fields: Fields, name: string): string {
  const inLine = inLineFields(emission, fields)
  const known = emission.flexible ? taggedFields(emission, fields) : []
  const lines: string[] = []
  // A struct without tagged fields ends in a zero byte, which joins a last run of fixed fields.
  let closed = !emission.flexible || known.length > 0
  for (let i = 0; i < inLine.length; ) {
    const run = fixedRun(inLine, i)
    if (run.length > 0) {
      i += run.length
      const closes = !closed && i === inLine.length
      lines.push(...writeRun(emission, run, closes))
      closed ||= closes
    } else {
      const field = inLine[i]!
      lines.push(`const ${local(field.name)} = ${given(emission, field, 'v')}`)
      lines.push(writeValue(emission, field.spec, local(field.name), `${name}_${field.name}`))
      i += 1
    }
  }
  if (!closed) lines.push('w.int8(0)')
  if (known.length > 0) lines.push(...writeTaggedFields(emission, known, name))
  emission.functions.push(`function ${name}(w, v) {
  let p = 0, b = w.buffer
  ${lines.join('\n  ')}
}`)
  return name
}

/** The value a field is encoded from: the object's own, or the default where that is undefined. */
function given(emission: Emission, { name, spec }: NamedSpec, object: string): string {
  const member = `${object}.${name}`
  if (!isNullable(emission, spec)) {
    // Null in a version that has no null becomes the zero of the kind: an answer is sent whatever the version.
    const fallback = spec.defaultValue === null ? zeroExpression(spec) : defaultOf(spec)
    return `${member} ?? ${fallback}`
  }
  return `${member} === undefined ? ${defaultOf(spec)} : ${member}`
}

function writeRun(emission: Emission, run: readonly NamedSpec[], closes: boolean): string[] {
  let offset = 0
  const lines: string[] = []
  for (const field of run) {
    lines.push(`const ${local(field.name)} = ${given(emission, field, 'v')}`)
  }
  const writes: string[] = []
  for (const { name, spec } of run) {
    writes.push(writeFixed(spec.kind, offset, local(name)))
    offset += widthOf(spec)!
  }
  if (closes) writes.push(`b[p + ${offset++}] = 0`)
  return [...lines, `p = w.reserve(${offset}); b = w.buffer`, ...writes]
}

/** A statement that writes a value of fixed width at p plus an offset, both reserved. */
function writeFixed(kind: Kind, offset: number, value: string): string {
  const at = (more: number) => (offset + more === 0 ? 'p' : `p + ${offset + more}`)
  const byte = (more: number, shift: number) => `b[${at(more)}] = ${value}${shift > 0 ? ` >>> ${shift}` : ''}`
  switch (kind) {
    case 'bool':
      return `b[${at(0)}] = ${value} ? 1 : 0`
    case 'int8':
      return byte(0, 0)
    case 'int16':
    case 'uint16':
      return `${byte(0, 8)}; ${byte(1, 0)}`
    case 'int32':
    case 'uint32':
      return `${byte(0, 24)}; ${byte(1, 16)}; ${byte(2, 8)}; ${byte(3, 0)}`
    case 'int64':
      return `w.int64At(${at(0)}, ${value})`
    case 'int64Raw':
      return `b.writeBigInt64BE(${value}, ${at(0)})`
    case 'float64':
      return `b.writeDoubleBE(${value}, ${at(0)})`
    case 'uuid':
      return `w.uuidAt(${at(0)}, ${value})`
    default:
      throw new TypeError(`${kind} has no fixed width`)
  }
}

/** Statements that write a value of any kind. */
function writeValue(emission: Emission, spec: FieldSpec, value: string, path: string): string {
  const mayBeNull = isNullable(emission, spec)
  switch (spec.kind) {
    case 'string':
      return `w.${sized(emission, mayBeNull, 'String')}(${value})`
    case 'bytes':
      return `w.${sized(emission, mayBeNull, 'ByteString')}(${value})`
    case 'records':
      return `w.${sized(emission, mayBeNull, 'Records')}(${value})`
    case 'struct': {
      const call = `${emitStructEncoder(emission, spec.fields!, path)}(w, ${value})`
      return mayBeNull ? `if (${value} === null) w.int8(-1); else { w.int8(1); ${call} }` : call
    }
    case 'array':
      return writeArray(emission, spec, value, path)
    default:
      return `p = w.reserve(${widthOf(spec)}); b = w.buffer; ${writeFixed(spec.kind, 0, value)}`
  }
}

function writeArray(emission: Emission, spec: FieldSpec, value: string, path: string): string {
  const element = spec.element!
  const width = widthOf(element)
  const length = emission.flexible ? `w.uvarint(${value}.length + 1)` : `w.int32(${value}.length)`
  const item = `${value}[i]`
  const loop =
    width === undefined
      ? `for (let i = 0; i < ${value}.length; i++) { ${writeValue(emission, element, item, path)} }`
      : `p = w.reserve(${value}.length * ${width}); b = w.buffer
    for (let i = 0; i < ${value}.length; i++, p += ${width}) { const x = ${item}; ${writeFixed(element.kind, 0, 'x')} }`
  const body = `${length}\n    ${loop}`
  if (!isNullable(emission, spec)) return body
  return `if (${value} === null) w.${emission.flexible ? 'int8(0)' : 'int32(-1)'}\n  else {\n    ${body}\n  }`
}

function writeTaggedFields(emission: Emission, known: readonly NamedSpec[], path: string): string[] {
  const lines: string[] = ['let tags = 0']
  for (const { name, spec } of known) {
    const variable = local(name)
    lines.push(`const ${variable} = v.${name}`)
    lines.push(`const has${variable} = ${differsFromDefault(emission, spec, variable, `${path}_${name}`)}`)
    lines.push(`if (has${variable}) tags++`)
  }
  lines.push('w.uvarint(tags)')
  for (const { name, spec } of known) {
    const variable = local(name)
    lines.push(`if (has${variable}) {
    w.uvarint(${spec.tag})
    const mark = w.beginSized()
    ${writeValue(emission, spec, variable, `${path}_${name}`)}
    w.endSized(mark)
  }`)
  }
  return lines
}

/** An expression that is true when a value is given and is not the default. */
function differsFromDefault(emission: Emission, spec: FieldSpec, value: string, path: string): string {
  const defaultsToNull = spec.defaultValue === null || (spec.kind === 'records' && spec.defaultValue === undefined)
  if (defaultsToNull) return `${value} !== undefined && ${value} !== null`
  const isGiven = isNullable(emission, spec) ? `${value} !== undefined` : `${value} !== undefined && ${value} !== null`
  const differs = differenceOf(emission, spec, value, path)
  return isNullable(emission, spec) ? `${isGiven} && (${value} === null || ${differs})` : `${isGiven} && ${differs}`
}

function differenceOf(emission: Emission, spec: FieldSpec, value: string, path: string): string {
  switch (spec.kind) {
    case 'array':
    case 'bytes':
    case 'records':
      return `${value}.length > 0`
    case 'struct': {
      const name = `differs_${path}`
      const tests = presentFields(emission, spec.fields!).map(
        (field) => `(${differsFromDefault(emission, field.spec, `v.${field.name}`, `${path}_${field.name}`)})`,
      )
      emission.functions.push(`function ${name}(v) { return ${tests.join(' || ') || 'false'} }`)
      return `${name}(${value})`
    }
    case 'uuid':
      return `${value} !== ${spec.defaultValue === undefined ? `'${ZERO_UUID}'` : literal(spec.defaultValue)}`
    default:
      return `${value} !== ${defaultOf(spec)}`
  }
}
