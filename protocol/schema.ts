// The words a message is declared in: field types, version ranges, tags, defaults.
//
// One declaration covers every version of a message; compile.ts turns it into a decoder and an encoder per version. Pure
// data made once at load, then only read: any thread.

/** First and last version, both inclusive. An open end is VERSION_MAX; first > last is "never". */
export interface VersionRange {
  readonly first: number
  readonly last: number
}

export const VERSION_MAX = 0x7fff
export const ALWAYS: VersionRange = { first: 0, last: VERSION_MAX }
export const NEVER: VersionRange = { first: 1, last: 0 }

/** Whether the version lies in the range. */
export function includes(range: VersionRange, version: number): boolean {
  return version >= range.first && version <= range.last
}

/**
 * Reads Kafka's notation: '3', '0-12', '7+', 'none'.
 * @throws SyntaxError for anything else: a declaration is wrong
 */
export function versionRange(text: string): VersionRange {
  if (text === 'none') return NEVER
  const parts = /^(\d+)(?:(\+)|-(\d+))?$/.exec(text)
  if (parts === null) throw new SyntaxError(`not a version range: '${text}'`)
  const first = Number(parts[1])
  if (parts[2] !== undefined) return { first, last: VERSION_MAX }
  return { first, last: parts[3] === undefined ? first : Number(parts[3]) }
}

export type ScalarKind =
  | 'bool'
  | 'int8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'int64Raw'
  | 'float64'
  | 'uuid'
export type Kind = ScalarKind | 'string' | 'bytes' | 'records' | 'array' | 'struct'

/** What compile.ts reads of a field. */
export interface FieldSpec {
  readonly kind: Kind
  /** Versions that carry the field. */
  readonly versions: VersionRange
  /** Versions in which the field may be null. */
  readonly nullable: VersionRange
  /** Number of the tagged field, -1 when it stands in line. */
  readonly tag: number
  /** What a version without the field decodes to; undefined: the zero of the kind (zeroOf). */
  readonly defaultValue: unknown
  /** Of an array. */
  readonly element: FieldSpec | undefined
  /** Of a struct, in wire order. */
  readonly fields: Fields | undefined
}

/**
 * A field of a message.
 * V: what the decoder yields. I: what the encoder takes. Optional: whether the encoder may be left without it.
 */
export interface Field<V = unknown, I = V, Optional extends boolean = boolean> {
  readonly spec: FieldSpec
  /** For the type checker only; absent at run time. */
  readonly types: { readonly value: V; readonly input: I; readonly optional: Optional }
}

export type Fields = { readonly [name: string]: Field }

/** The object a decoder yields: every field, whatever the version. */
export type Value<F extends Fields> = { -readonly [K in keyof F]: F[K]['types']['value'] }

/** The object an encoder takes: fields with a default, of some versions only, or tagged may be left out. */
export type Input<F extends Fields> = {
  readonly [K in keyof F as F[K]['types']['optional'] extends true ? never : K]: F[K]['types']['input']
} & {
  readonly [K in keyof F as F[K]['types']['optional'] extends true ? K : never]?: F[K]['types']['input'] | undefined
}

/** The ApiKey of what is no request or response (coordinator records, client-side metadata). */
export const NO_API_KEY = -1

export interface Message<F extends Fields = Fields> {
  readonly name: string
  readonly apiKey: number
  readonly versions: VersionRange
  /** Versions with compact lengths and tagged fields. */
  readonly flexible: VersionRange
  readonly fields: F
}

/**
 * Declares a message.
 * @param about versions and flexible in Kafka's notation ('3-13', '9+', 'none'); apiKey of requests and responses
 * @param fields in wire order, named as in Kafka's message definitions with a lower-case first letter
 */
export function message<F extends Fields>(
  name: string,
  about: { readonly apiKey?: number; readonly versions: string; readonly flexible: string },
  fields: F,
): Message<F> {
  const { apiKey = NO_API_KEY, versions, flexible } = about
  return { name, apiKey, versions: versionRange(versions), flexible: versionRange(flexible), fields }
}

function field<V, I, Optional extends boolean>(spec: FieldSpec): Field<V, I, Optional> {
  // `types` exists for the type checker alone, so the object is narrower than the interface says.
  return { spec } as unknown as Field<V, I, Optional>
}

const PLAIN = { versions: ALWAYS, nullable: NEVER, tag: -1, defaultValue: undefined, element: undefined } as const

function plain<V, I = V>(kind: Kind): Field<V, I, false> {
  return field({ ...PLAIN, kind, fields: undefined })
}

export const bool = plain<boolean>('bool')
export const int8 = plain<number>('int8')
export const int16 = plain<number>('int16')
export const uint16 = plain<number>('uint16')
export const int32 = plain<number>('int32')
export const uint32 = plain<number>('uint32')
/** A number; the reader refuses values beyond 2^53. */
export const int64 = plain<number>('int64')
/** A field that may carry any 64-bit value: a bigint. */
export const int64Raw = plain<bigint>('int64Raw')
export const float64 = plain<number>('float64')
/** Text in UTF-8, at most 32767 bytes. */
export const string = plain<string>('string')
/** Decodes to a view of the frame; whoever keeps it past the request copies it. Encoding copies. */
export const bytes = plain<Uint8Array>('bytes')
/** Record batches: decodes to a view of the frame, encodes from one piece or several, kept by reference. Default null. */
export const records = plain<Uint8Array | null, Uint8Array | readonly Uint8Array[] | null>('records')
/** 22 characters of base64url, as Kafka prints topic ids. */
export const uuid = plain<string>('uuid')

/** The uuid that stands for "none" on the wire. */
export const ZERO_UUID = 'AAAAAAAAAAAAAAAAAAAAAA'

/** A nested object. */
export function struct<F extends Fields>(fields: F): Field<Value<F>, Input<F>, false> {
  return field({ ...PLAIN, kind: 'struct', fields })
}

/** An array of a type, or of objects when given their fields. */
export function array<V, I>(element: Field<V, I>): Field<V[], readonly I[], false>
export function array<F extends Fields>(fields: F): Field<Value<F>[], readonly Input<F>[], false>
export function array(of: Field | Fields): Field<unknown[], readonly unknown[], false> {
  const element = isField(of) ? of : struct(of)
  return field({ ...PLAIN, kind: 'array', element: element.spec, fields: undefined })
}

/** May be null, in the given versions ('7+') or always. In the other versions null is encoded as the zero of the kind. */
export function nullable<V, I>(type: Field<V, I>, versions?: string): Field<V | null, I | null, false> {
  return field({ ...type.spec, nullable: versions === undefined ? ALWAYS : versionRange(versions) })
}

/** A field the encoder may be left without; it then writes the default. */
export function withDefault<V, I>(type: Field<V, I>, defaultValue: NoInfer<V>): Field<V, I, true> {
  return field({ ...type.spec, defaultValue })
}

/**
 * A field that only some versions carry.
 * @param defaultValue what a reader of the other versions sees; without it the zero of the kind
 */
export function since<V, I>(versions: string, type: Field<V, I>, defaultValue?: NoInfer<V>): Field<V, I, true> {
  return field({
    ...type.spec,
    versions: versionRange(versions),
    defaultValue: defaultValue === undefined ? type.spec.defaultValue : defaultValue,
  })
}

/** A tagged field of flexible versions: written only when it differs from its default. */
export function tagged<V, I>(
  tag: number,
  versions: string,
  type: Field<V, I>,
  defaultValue?: NoInfer<V>,
): Field<V, I, true> {
  return field({ ...since(versions, type, defaultValue).spec, tag })
}

/** The value of a kind that no declaration gave a default: Kafka's own rule. Structs are built from their fields. */
export function zeroOf(kind: Exclude<Kind, 'struct'>): unknown {
  switch (kind) {
    case 'bool':
      return false
    case 'string':
      return ''
    case 'uuid':
      return ZERO_UUID
    case 'int64Raw':
      return 0n
    case 'bytes':
      return new Uint8Array(0)
    case 'records':
      return null
    case 'array':
      return []
    default:
      return 0
  }
}

function isField(of: Field | Fields): of is Field {
  return typeof (of.spec as FieldSpec | undefined)?.kind === 'string'
}
