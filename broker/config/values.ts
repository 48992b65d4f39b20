// Values of configs: from text to a typed value and back, with the checks and the error texts Kafka has (ConfigDef).
//
// Pure functions, used for broker, topic, group and client-metrics configs alike, on any thread.

export type ConfigType = 'boolean' | 'string' | 'int' | 'short' | 'long' | 'double' | 'list' | 'class' | 'password'
export type TypedValue = boolean | number | string | readonly string[] | null

/** Long.MAX_VALUE and everything beyond 2^53 become this number, which no size or time reaches. */
export const UNLIMITED = Number.MAX_SAFE_INTEGER

/** @returns what is wrong, or undefined when the value is good */
export type Check = (name: string, value: TypedValue) => string | undefined

export interface ConfigDefinition {
  readonly name: string
  readonly type: ConfigType
  /** As Kafka prints it; null where there is no default value. */
  readonly defaultText: string | null
  readonly check: Check | undefined
  readonly documentation: string
}

export interface ConfigValue {
  readonly value: TypedValue
  /** Canonical text, the one DescribeConfigs prints. */
  readonly text: string | null
}

/** ConfigType in DescribeConfigs v3+. */
export const configTypeCode: Readonly<Record<ConfigType, number>> = {
  boolean: 1,
  string: 2,
  int: 3,
  short: 4,
  long: 5,
  double: 6,
  list: 7,
  class: 8,
  password: 9,
}

const INTEGER_BITS = { short: 16, int: 32, long: 64 } as const

/** Kafka's sentence for a bad value. The value of a password is not repeated. */
export function invalidValue(definition: ConfigDefinition, text: string, reason: string): string {
  const shown = definition.type === 'password' ? '[hidden]' : text
  return `Invalid value ${shown} for configuration ${definition.name}: ${reason}`
}

/**
 * Parses and checks one value.
 * @returns the value, or `error`, a whole sentence worded as Kafka words it
 */
export function parseValue(definition: ConfigDefinition, text: string): ConfigValue | { readonly error: string } {
  const trimmed = text.trim()
  const parsed = parseType(definition.type, trimmed)
  if ('error' in parsed) return { error: invalidValue(definition, text, parsed.error) }
  const problem = definition.check?.(definition.name, parsed.value)
  if (problem === undefined) return parsed
  // A check of one list item names that item, and then words the whole sentence itself.
  return { error: problem.startsWith('Invalid value') ? problem : invalidValue(definition, trimmed, problem) }
}

/** The default as a value. A default is not checked here; the unit tests do that for every definition. */
export function defaultValue(definition: ConfigDefinition): ConfigValue {
  if (definition.defaultText === null) return { value: null, text: null }
  const parsed = parseType(definition.type, definition.defaultText)
  return 'error' in parsed ? { value: null, text: null } : parsed
}

function parseType(type: ConfigType, text: string): ConfigValue | { readonly error: string } {
  switch (type) {
    case 'boolean': {
      const lower = text.toLowerCase()
      if (lower !== 'true' && lower !== 'false') return { error: 'Expected value to be either true or false' }
      return { value: lower === 'true', text: lower }
    }
    case 'short':
    case 'int':
    case 'long':
      return parseInteger(type, text)
    case 'double': {
      const value = Number(text)
      if (text === '' || Number.isNaN(value)) return { error: 'Not a number of type DOUBLE' }
      return { value, text: javaDouble(value) }
    }
    case 'list': {
      const items = splitList(text)
      return { value: items, text: items.join(',') }
    }
    case 'string':
    case 'class':
    case 'password':
      return { value: text, text }
  }
}

function parseInteger(type: 'short' | 'int' | 'long', text: string): ConfigValue | { readonly error: string } {
  const error = { error: `Not a number of type ${type.toUpperCase()}` }
  if (!/^[+-]?[0-9]{1,19}$/.test(text)) return error
  const exact = BigInt(text.startsWith('+') ? text.slice(1) : text)
  if (BigInt.asIntN(INTEGER_BITS[type], exact) !== exact) return error
  const value = Math.max(-UNLIMITED, Math.min(UNLIMITED, Number(exact)))
  return { value, text: exact.toString() }
}

/** Items of a comma-separated list, trimmed, each once, in the order given; the empty text is the empty list. */
export function splitList(text: string): readonly string[] {
  const trimmed = text.trim()
  if (trimmed === '') return []
  return [...new Set(trimmed.split(',').map((item) => item.trim()))]
}

/** A number as Java's Double.toString prints it. */
export function javaDouble(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) {
    const [mantissa = '0', exponent = '0'] = value.toExponential().split('e')
    return `${mantissa.includes('.') ? mantissa : `${mantissa}.0`}E${Number(exponent)}`
  }
  return Number.isInteger(value) ? `${value}.0` : String(value)
}

/** Inclusive bounds. */
export function range(min: number, max = Number.POSITIVE_INFINITY): Check {
  return (_name, value) => {
    if (typeof value !== 'number') return 'Value must be non-null'
    if (value < min) return `Value must be at least ${min}`
    if (value > max) return `Value must be no more than ${max}`
    return undefined
  }
}

export function oneOf(...allowed: readonly string[]): Check {
  const set = new Set(allowed)
  return (_name, value) => (set.has(String(value)) ? undefined : `String must be one of: ${allowed.join(', ')}`)
}

export function oneOfAnyCase(...allowed: readonly string[]): Check {
  const set = new Set(allowed.map((item) => item.toLowerCase()))
  return (_name, value) =>
    set.has(String(value).toLowerCase()) ? undefined : `String must be one of (case insensitive): ${allowed.join(', ')}`
}

/** Every item is one of `allowed`; an empty list is good. */
export function listOf(...allowed: readonly string[]): Check {
  const set = new Set(allowed)
  return (name, value) => {
    for (const item of value as readonly string[]) {
      if (!set.has(item)) {
        return `Invalid value ${item} for configuration ${name}: String must be one of: ${allowed.join(', ')}`
      }
    }
    return undefined
  }
}

export function nonEmptyString(_name: string, value: TypedValue): string | undefined {
  return value === '' ? 'String must be non-empty' : undefined
}

/** gzip: 1 to 9, or -1 for the library's own default. */
export function gzipLevel(_name: string, value: TypedValue): string | undefined {
  if (typeof value === 'number' && (value === -1 || (value >= 1 && value <= 9))) return undefined
  return 'Value must be between 1 and 9 or equal to -1'
}

/** 'partition:broker' pairs, or '*' for all. */
export function throttledReplicas(name: string, value: TypedValue): string | undefined {
  const items = value as readonly string[]
  if (items.length === 1 && items[0] === '*') return undefined
  if (items.every((item) => /^[0-9]+:[0-9]+$/.test(item))) return undefined
  return `${name} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...`
}
