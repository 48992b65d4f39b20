// Random messages and a reference encoder for the protocol tests and the decoder fuzzer.
//
// The reference encoder walks a declaration value by value, as the Kafka protocol guide describes the format, and shares no
// code with the emitted codecs. Test code only.

import { type FieldSpec, type Fields, includes, type Message, ZERO_UUID } from '../../../protocol/schema.ts'

/** A seeded generator (mulberry32): the same seed gives the same messages. */
export class SeededRandom {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** An integer from 0 to the end, exclusive. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * end)
  }

  /** True once in so many times. */
  oneIn(times: number): boolean {
    return this.below(times) === 0
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }
}

/** The seed of a run: from the environment to repeat one, else a fresh one. */
export function seedOfRun(): number {
  const given = process.env.MILLRACE_SEED
  return given === undefined ? Math.floor(Math.random() * 0x1_0000_0000) : Number(given)
}

type Plain = Record<string, unknown>

/** What the encoder is given, and what must come back. They differ in records given in pieces and in absent fields. */
export interface RandomMessage {
  readonly input: Plain
  readonly decoded: Plain
}

const ALPHABETS = [
  'abcdefghijklmnopqrstuvwxyz.-_0123456789',
  'aßçøąжщ中文日本',
  'a😀🎉👩‍🔧𝔘',
  '\u0000\u007f\u0080\u07ff\u0800\uffff',
]

export function randomMessage(random: SeededRandom, message: Message, version: number): RandomMessage {
  return randomStruct(random, message.fields, version, 0)
}

function randomStruct(random: SeededRandom, fields: Fields, version: number, depth: number): RandomMessage {
  const input: Plain = {}
  const decoded: Plain = {}
  for (const [name, { spec }] of Object.entries(fields)) {
    const absent = !includes(spec.versions, version)
    if (absent || random.oneIn(12)) {
      // Left out, or set though this version does not carry it: both must decode to the default.
      if (absent && random.oneIn(2)) input[name] = randomValue(random, spec, spec.versions.first, depth).input
      decoded[name] = defaultValue(spec, absent ? undefined : version)
      continue
    }
    const value = randomValue(random, spec, version, depth)
    input[name] = value.input
    decoded[name] = value.decoded
  }
  return { input, decoded }
}

interface RandomField {
  readonly input: unknown
  readonly decoded: unknown
}

function randomValue(random: SeededRandom, spec: FieldSpec, version: number, depth: number): RandomField {
  const mayBeNull = spec.kind === 'records' || includes(spec.nullable, version)
  if (mayBeNull && random.oneIn(4)) return { input: null, decoded: null }
  if (spec.kind === 'struct') return randomStruct(random, spec.fields!, version, depth + 1)
  if (spec.kind === 'array') {
    const elements = Array.from({ length: randomLength(random, spec.element!, depth) }, () =>
      randomValue(random, spec.element!, version, depth + 1),
    )
    return { input: elements.map((element) => element.input), decoded: elements.map((element) => element.decoded) }
  }
  if (spec.kind === 'records') return randomRecords(random)
  const scalar = randomScalar(random, spec)
  return { input: scalar, decoded: scalar }
}

function randomLength(random: SeededRandom, element: FieldSpec, depth: number): number {
  if (element.kind !== 'struct' && random.oneIn(40)) return 200 + random.below(2000)
  if (depth === 0 && random.oneIn(60)) return 130 + random.below(30)
  return random.below(depth > 2 ? 2 : 4)
}

function randomRecords(random: SeededRandom): RandomField {
  const pieces = Array.from({ length: random.below(4) }, () => randomBytes(random, random.pick([3, 1023, 1024, 5000])))
  const whole = new Uint8Array(Buffer.concat(pieces))
  return { input: random.oneIn(2) ? pieces : whole, decoded: whole }
}

function randomBytes(random: SeededRandom, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = random.below(256)
  return bytes
}

function randomScalar(random: SeededRandom, spec: FieldSpec): unknown {
  switch (spec.kind) {
    case 'bool':
      return random.oneIn(2)
    case 'int8':
      return integer(random, -0x80, 0x7f)
    case 'int16':
      return integer(random, -0x8000, 0x7fff)
    case 'uint16':
      return integer(random, 0, 0xffff)
    case 'int32':
      return integer(random, -0x8000_0000, 0x7fff_ffff)
    case 'uint32':
      return integer(random, 0, 0xffff_ffff)
    case 'int64':
      return integer(random, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
    case 'int64Raw':
      return random.pick([
        0n,
        -1n,
        0x7fff_ffff_ffff_ffffn,
        -0x8000_0000_0000_0000n,
        BigInt(random.below(2 ** 32)) << 30n,
      ])
    case 'float64':
      return random.pick([0, -0.5, 1e300, Number.POSITIVE_INFINITY, random.below(2 ** 32) / 7])
    case 'uuid':
      return random.oneIn(4) ? ZERO_UUID : Buffer.from(randomBytes(random, 16)).toString('base64url')
    case 'bytes':
      return randomBytes(random, random.pick([0, 1, 126, 127, 128, 300, 2000]))
    default:
      return randomText(random)
  }
}

function integer(random: SeededRandom, lowest: number, highest: number): number {
  const anywhere = lowest + Math.floor((random.below(2 ** 32) / 2 ** 32) * (highest - lowest))
  return random.pick([lowest, lowest + 1, 0, 1, highest - 1, highest, anywhere, anywhere])
}

function randomText(random: SeededRandom): string {
  const letters = [...random.pick(ALPHABETS)]
  const length = random.pick([0, 1, 2, 7, 20, 39, 40, 41, 126, 127, 128, 1000])
  return Array.from({ length }, () => random.pick(letters)).join('')
}

/** What a reader sees of a field that was not on the wire; the default of a field that may not be null is not null. */
export function defaultValue(spec: FieldSpec, version: number | undefined): unknown {
  const mayBeNull = spec.kind === 'records' || version === undefined || includes(spec.nullable, version)
  if (spec.defaultValue !== undefined && (spec.defaultValue !== null || mayBeNull)) return spec.defaultValue
  switch (spec.kind) {
    case 'struct':
      return Object.fromEntries(
        Object.entries(spec.fields!).map(([name, field]) => [name, defaultValue(field.spec, undefined)]),
      )
    case 'array':
      return []
    case 'bool':
      return false
    case 'string':
      return ''
    case 'bytes':
      return new Uint8Array(0)
    case 'records':
      return null
    case 'uuid':
      return ZERO_UUID
    case 'int64Raw':
      return 0n
    default:
      return 0
  }
}

export interface ReferenceOptions {
  /** Adds tagged fields that no version declares to every struct of a flexible version. */
  readonly unknownTags?: boolean
  /** Writes tagged fields also when they hold their default, as a sender may. */
  readonly allTags?: boolean
}

/** The bytes of a message by the letter of the format. */
export function referenceEncode(
  message: Message,
  version: number,
  decoded: Plain,
  options: ReferenceOptions = {},
): Uint8Array {
  const flexible = includes(message.flexible, version)
  const out: number[] = []
  putStruct(message.fields, decoded)
  return Uint8Array.from(out)

  function putStruct(fields: Fields, value: Plain): void {
    const present = Object.entries(fields).filter(([, { spec }]) => includes(spec.versions, version))
    for (const [name, { spec }] of present) if (spec.tag < 0) put(spec, value[name])
    if (!flexible) return
    const tags = present
      .filter(([name, { spec }]) => spec.tag >= 0 && (options.allTags === true || !isDefault(spec, value[name])))
      .sort((left, right) => left[1].spec.tag - right[1].spec.tag)
    putVarint(tags.length + (options.unknownTags === true ? 2 : 0))
    for (const [name, { spec }] of tags) {
      putVarint(spec.tag)
      const start = out.length
      put(spec, value[name])
      const body = out.splice(start)
      putVarint(body.length)
      for (const byte of body) out.push(byte)
    }
    if (options.unknownTags === true) {
      out.push(0xc8, 0x01, 0x03, 0xaa, 0xbb, 0xcc)
      out.push(0xff, 0xff, 0xff, 0xff, 0x0f, 0x00)
    }
  }

  function put(spec: FieldSpec, value: unknown): void {
    const mayBeNull = spec.kind === 'records' || includes(spec.nullable, version)
    switch (spec.kind) {
      case 'bool':
        out.push(value === true ? 1 : 0)
        return
      case 'int8':
        putInteger(1, BigInt(value as number))
        return
      case 'int16':
      case 'uint16':
        putInteger(2, BigInt(value as number))
        return
      case 'int32':
      case 'uint32':
        putInteger(4, BigInt(value as number))
        return
      case 'int64':
        putInteger(8, BigInt(value as number))
        return
      case 'int64Raw':
        putInteger(8, value as bigint)
        return
      case 'float64': {
        const view = new DataView(new ArrayBuffer(8))
        view.setFloat64(0, value as number)
        putInteger(8, view.getBigInt64(0))
        return
      }
      case 'uuid':
        out.push(...Buffer.from(value as string, 'base64url'))
        return
      case 'string': {
        const text = value === null ? null : Buffer.from(value as string, 'utf8')
        putLength(2, text === null ? -1 : text.length)
        if (text !== null) for (const byte of text) out.push(byte)
        return
      }
      case 'bytes':
      case 'records': {
        const bytes = value as Uint8Array | null
        putLength(4, bytes === null ? -1 : bytes.length)
        if (bytes !== null) for (const byte of bytes) out.push(byte)
        return
      }
      case 'array': {
        const elements = value as unknown[] | null
        putLength(4, elements === null ? -1 : elements.length)
        if (elements !== null) for (const element of elements) put(spec.element!, element)
        return
      }
      case 'struct':
        if (mayBeNull) out.push(value === null ? 0xff : 1)
        if (value !== null) putStruct(spec.fields!, value as Plain)
    }
  }

  function putInteger(width: number, value: bigint): void {
    for (let byte = width - 1; byte >= 0; byte--) out.push(Number((value >> BigInt(8 * byte)) & 0xffn))
  }

  function putLength(width: number, length: number): void {
    if (flexible) putVarint(length + 1)
    else putInteger(width, BigInt(length))
  }

  function putVarint(value: number): void {
    let rest = BigInt(value)
    while (rest > 0x7fn) {
      out.push(Number(rest & 0x7fn) | 0x80)
      rest >>= 7n
    }
    out.push(Number(rest))
  }

  function isDefault(spec: FieldSpec, value: unknown): boolean {
    const plain = defaultValue(spec, version)
    if (value === null || plain === null) return value === plain
    if (spec.kind === 'array' || spec.kind === 'bytes') return (value as { length: number }).length === 0
    if (spec.kind !== 'struct') return value === plain
    return Object.entries(spec.fields!).every(
      ([name, field]) => !includes(field.spec.versions, version) || isDefault(field.spec, (value as Plain)[name]),
    )
  }
}
