// Our declarations against Kafka's own message definitions, version by version.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { ApiKey, flexibleSince, SERVED_APIS } from '../../../protocol/api.ts'
import { ErrorCode, errorName, isRetriable } from '../../../protocol/errors.ts'
import { API_MESSAGES } from '../../../protocol/messages/index.ts'
import {
  type FieldSpec,
  type Fields,
  includes,
  type Message,
  NEVER,
  type VersionRange,
  versionRange,
  ZERO_UUID,
} from '../../../protocol/schema.ts'
import { recordMessages, requestsAndResponses, versionsOf } from './all-messages.ts'

const facts = path.join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'kafka')
const protocolFile = path.join(facts, 'protocol.json')
const errorsFile = path.join(facts, 'errors.json')

interface JsonField {
  readonly name: string
  readonly type: string
  readonly versions?: string
  readonly nullableVersions?: string
  readonly taggedVersions?: string
  readonly tag?: number
  readonly default?: string | number | boolean | null
  readonly fields?: readonly JsonField[]
}

interface JsonMessage {
  readonly name: string
  readonly type: string
  readonly apiKey?: number
  readonly validVersions: string
  readonly flexibleVersions: string
  readonly latestVersionUnstable?: boolean
  readonly fields?: readonly JsonField[]
  readonly commonStructs?: readonly { readonly name: string; readonly fields: readonly JsonField[] }[]
}

interface JsonProtocol {
  readonly messages: readonly JsonMessage[]
  readonly headersAndRecords: readonly JsonMessage[]
  readonly groupCoordinatorRecords: readonly JsonMessage[]
  readonly transactionLogRecords: readonly JsonMessage[]
}

/** What one version of a field looks like, from either source. */
interface Described {
  readonly name: string
  readonly type: string
  readonly nullable: boolean
  readonly tag: number
  readonly default: unknown
  readonly fields: readonly Described[] | undefined
}

function readProtocol(): Map<string, JsonMessage> {
  const protocol = JSON.parse(readFileSync(protocolFile, 'utf8')) as JsonProtocol
  const { messages, headersAndRecords, groupCoordinatorRecords, transactionLogRecords } = protocol
  const all = [...messages, ...headersAndRecords, ...groupCoordinatorRecords, ...transactionLogRecords]
  return new Map(all.map((message) => [message.name, message]))
}

/** InitProducerId 6 is unstable: what Kafka hides we do not declare. */
function declaredVersions(messages: ReadonlyMap<string, JsonMessage>, json: JsonMessage): VersionRange {
  const range = versionRange(json.validVersions)
  const request = messages.get(json.name.replace(/Response$/, 'Request'))
  return request?.latestVersionUnstable === true ? { first: range.first, last: range.last - 1 } : range
}

function describeJson(json: JsonMessage, fields: readonly JsonField[], version: number): Described[] {
  return fields
    .filter((field) => includes(versionRange(field.versions ?? field.taggedVersions ?? '0+'), version))
    .map((field) => {
      const base = field.type.replace('[]', '')
      const common = json.commonStructs?.find((struct) => struct.name === base)
      const nested = field.fields ?? common?.fields
      const nullable = base === 'records' || includes(versionRange(field.nullableVersions ?? 'none'), version)
      const tagged = includes(versionRange(field.taggedVersions ?? 'none'), version)
      const type = nested === undefined ? field.type : field.type.replace(base, 'struct')
      const inner = nested === undefined ? undefined : describeJson(json, nested, version)
      return {
        name: field.name.charAt(0).toLowerCase() + field.name.slice(1),
        type,
        nullable,
        tag: tagged ? field.tag! : -1,
        default: jsonDefault(type, field.default),
        fields: inner,
      }
    })
}

function jsonDefault(type: string, given: JsonField['default']): unknown {
  if (given === null || given === 'null' || type === 'records') return null
  if (type.startsWith('[]')) return []
  switch (type) {
    case 'struct':
      return 'of its fields'
    case 'bool':
      return given === true || given === 'true'
    case 'string':
      return given ?? ''
    case 'bytes':
      return 'no bytes'
    case 'uuid':
      return ZERO_UUID
    case 'int64':
      return BigInt(given === undefined ? 0 : (given as string))
    default:
      return Number(given ?? 0)
  }
}

function describeOurs(fields: Fields, version: number): Described[] {
  return Object.entries(fields)
    .filter(([, { spec }]) => includes(spec.versions, version))
    .map(([name, { spec }]) => {
      const type = typeOf(spec)
      return {
        name,
        type,
        nullable: type === 'records' || includes(spec.nullable, version),
        tag: spec.tag,
        default: ourDefault(type, spec),
        fields: nestedOf(spec) === undefined ? undefined : describeOurs(nestedOf(spec)!, version),
      }
    })
}

function typeOf(spec: FieldSpec): string {
  if (spec.kind === 'array') return `[]${typeOf(spec.element!)}`
  return spec.kind === 'int64Raw' ? 'int64' : spec.kind
}

function nestedOf(spec: FieldSpec): Fields | undefined {
  return spec.kind === 'array' ? spec.element!.fields : spec.fields
}

function ourDefault(type: string, spec: FieldSpec): unknown {
  if (spec.defaultValue === null || type === 'records') return null
  if (spec.defaultValue === undefined) return jsonDefault(type, undefined)
  return type === 'int64' ? BigInt(spec.defaultValue as number | bigint) : spec.defaultValue
}

function compare(messages: ReadonlyMap<string, JsonMessage>, message: Message): void {
  const json = messages.get(message.name)
  assert.ok(json !== undefined, `Kafka has no ${message.name}`)
  assert.deepEqual(message.versions, declaredVersions(messages, json), `versions of ${message.name}`)
  assert.deepEqual(message.flexible, versionRange(json.flexibleVersions), `flexible versions of ${message.name}`)
  for (const version of versionsOf(message)) {
    const wanted = describeJson(json, json.fields ?? [], version)
    assert.deepEqual(describeOurs(message.fields, version), wanted, `${message.name} v${version}`)
  }
}

test('requests and responses are declared as Kafka defines them', (t) => {
  if (!existsSync(protocolFile)) return t.skip('protocol.json is not here')
  const messages = readProtocol()
  for (const message of requestsAndResponses) {
    compare(messages, message)
    assert.equal(message.apiKey, messages.get(message.name)!.apiKey, message.name)
  }
})

test('coordinator records and consumer metadata are declared as Kafka defines them', (t) => {
  if (!existsSync(protocolFile)) return t.skip('protocol.json is not here')
  const messages = readProtocol()
  for (const message of recordMessages) compare(messages, message)
})

test('the error table is Kafka\u2019s', (t) => {
  if (!existsSync(errorsFile)) return t.skip('errors.json is not here')
  const errors = JSON.parse(readFileSync(errorsFile, 'utf8')) as { code: number; name: string; retriable: boolean }[]
  const wanted = Object.fromEntries(errors.map(({ name, code }) => [name, code]))
  assert.deepEqual({ ...ErrorCode }, wanted)
  for (const { code, name, retriable } of errors) {
    assert.equal(errorName(code), name)
    assert.equal(isRetriable(code), retriable, name)
  }
})

test('every declared API has its messages, and the header table agrees with them', () => {
  assert.deepEqual([...API_MESSAGES.keys()].sort(byNumber), Object.values(ApiKey).sort(byNumber))
  for (const [name, apiKey] of Object.entries(ApiKey)) {
    const { request, response } = API_MESSAGES.get(apiKey)!
    assert.equal(request.name, `${name}Request`)
    assert.equal(response.name, `${name}Response`)
    assert.equal(response.apiKey, apiKey)
    assert.deepEqual(response.versions, request.versions, name)
    assert.deepEqual(response.flexible, request.flexible, name)
    const flexible = request.flexible === NEVER || request.flexible.first > request.flexible.last
    assert.equal(flexibleSince(apiKey), flexible ? 0x8000 : request.flexible.first, name)
  }
})

test('what is served is declared, every version of it', () => {
  for (const { apiKey, minVersion, maxVersion, advertisedMinVersion } of SERVED_APIS) {
    const { versions } = API_MESSAGES.get(apiKey)!.request
    assert.deepEqual({ first: minVersion, last: maxVersion }, versions, String(apiKey))
    assert.equal(advertisedMinVersion, apiKey === ApiKey.Produce ? 0 : minVersion)
  }
})

function byNumber(left: number, right: number): number {
  return left - right
}
