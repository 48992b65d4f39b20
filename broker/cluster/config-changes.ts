// Changes of configs: what AlterConfigs and IncrementalAlterConfigs ask for, checked and turned into commands.
//
// Pure functions over the image, run by the controller while it holds its turn. Each resource is changed whole or not at all.

import { ErrorCode } from '../../protocol/errors.ts'
import type { AlterConfigsRequest } from '../../protocol/messages/alter-configs.ts'
import type { IncrementalAlterConfigsRequest } from '../../protocol/messages/incremental-alter-configs.ts'
import { brokerConfigDefinition, brokerConfigDefinitions } from '../config/definitions.ts'
import {
  clientMetricsConfigDefinitions,
  clientMetricsConfigProblem,
  groupConfigDefinitions,
  groupConfigProblem,
} from '../config/group-definitions.ts'
import type { ConfigDefinition } from '../config/values.ts'
import { parseValue, splitList } from '../config/values.ts'
import type { BrokerConfig } from '../config.ts'
import { policyProblem } from '../config.ts'
import { LOGGER_LEVELS, type LoggerLevel, type LogThreshold } from '../observe/log-level.ts'
import { topicConfigDefinitions, topicConfigProblem, topicConfigValue } from '../topic-config.ts'
import type { Refusal } from './assignment.ts'
import type { ConfigResource, SetConfigs } from './commands.ts'
import { brokerNameProblem, ResourceType, ROOT_LOGGER } from './config-report.ts'
import type { MetadataImage } from './metadata.ts'
import { isInternalTopic, topicNameProblem } from './topic-names.ts'

/** Operations of IncrementalAlterConfigs. */
export const ConfigOperation = { SET: 0, DELETE: 1, APPEND: 2, SUBTRACT: 3 } as const

export interface ConfigChange {
  readonly name: string
  readonly configOperation: number
  readonly value: string | null
}

export interface ResourceChange {
  readonly resourceType: number
  readonly resourceName: string
  /** undefined: `configs` replaces all overrides. */
  readonly operations: readonly ConfigChange[] | undefined
  readonly configs: readonly { readonly name: string; readonly value: string | null }[]
}

export type PlannedChange =
  | { readonly error: typeof ErrorCode.NONE; readonly command: SetConfigs | undefined }
  | Refusal

const RESOURCES: Readonly<Record<number, ConfigResource>> = {
  [ResourceType.TOPIC]: 'topic',
  [ResourceType.BROKER]: 'broker',
  [ResourceType.GROUP]: 'group',
  [ResourceType.CLIENT_METRICS]: 'client-metrics',
}

/** What AlterConfigs asks for: the configs given replace all overrides of a resource. */
export function replacingChanges({ resources }: AlterConfigsRequest): ResourceChange[] {
  return resources.map(({ resourceType, resourceName, configs }) => {
    return { resourceType, resourceName, operations: undefined, configs }
  })
}

export function incrementalChanges({ resources }: IncrementalAlterConfigsRequest): ResourceChange[] {
  return resources.map(({ resourceType, resourceName, configs }) => {
    return { resourceType, resourceName, operations: configs, configs: [] }
  })
}

/**
 * Plans every resource of a request; resources are independent of each other.
 * @param hasLogger whether the level of this broker's log can be changed: see setLevel()
 */
export function planConfigChanges(
  changes: readonly ResourceChange[],
  image: MetadataImage,
  broker: BrokerConfig,
  hasLogger = false,
): PlannedChange[] {
  const counts = new Map<string, number>()
  const keyOf = (change: ResourceChange) => `${change.resourceType}/${change.resourceName}`
  for (const change of changes) counts.set(keyOf(change), (counts.get(keyOf(change)) ?? 0) + 1)
  return changes.map((change) =>
    (counts.get(keyOf(change)) ?? 0) > 1
      ? invalidRequest('Each resource must appear at most once.')
      : planResource(change, image, broker, hasLogger),
  )
}

function planResource(
  change: ResourceChange,
  image: MetadataImage,
  broker: BrokerConfig,
  hasLogger: boolean,
): PlannedChange {
  const { resourceType, resourceName } = change
  const entries: readonly { name: string; value: string | null; configOperation?: number }[] =
    change.operations ?? change.configs
  const withoutValue = entries.filter(
    (entry) => entry.value === null && entry.configOperation !== ConfigOperation.DELETE,
  )
  if (withoutValue.length > 0) {
    return invalidRequest(`Null value not supported for : ${withoutValue.map(({ name }) => name).join(',')}`)
  }
  if (new Set(entries.map(({ name }) => name)).size < entries.length) {
    return invalidRequest('Error due to duplicate config keys')
  }
  if (resourceType === ResourceType.BROKER_LOGGER) return planLogger(change, broker, hasLogger)
  const resource = RESOURCES[resourceType]
  if (resource === undefined) return invalidRequest(`Unknown resource type ${resourceType}`)
  if (resource === 'broker' && resourceName !== '') {
    const problem = brokerNameProblem(resourceName, broker.nodeId, 'alter')
    // Kafka wants the broker itself to be asked. Here any broker takes a change for any registered one: a dead broker has to be
    // drained too.
    if (problem !== undefined && image.broker(Number(resourceName)) === undefined) return invalidRequest(problem)
  }
  const topic = resource === 'topic' ? image.topicByName(resourceName) : undefined
  const present =
    resource === 'topic' ? (topic?.configs ?? new Map<string, string>()) : image.resourceConfigs(resource, resourceName)
  const next = nextConfigs(change, resource, present, broker)
  if (!(next instanceof Map)) return next
  const problem = resourceProblem(resource, resourceName, next, image, broker)
  if (problem !== undefined) return problem
  if (resource === 'topic' && topic === undefined) {
    return { error: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message: `The topic '${resourceName}' does not exist.` }
  }
  if (sameEntries(present, next)) return { error: ErrorCode.NONE, command: undefined }
  const name = topic?.topicId ?? resourceName
  return { error: ErrorCode.NONE, command: { type: 'set-configs', resource, name, configs: Object.fromEntries(next) } }
}

/** The overrides after the change, not yet checked. */
function nextConfigs(
  change: ResourceChange,
  resource: ConfigResource,
  present: ReadonlyMap<string, string>,
  broker: BrokerConfig,
): Map<string, string> | Refusal {
  if (change.operations === undefined) return new Map(change.configs.map(({ name, value }) => [name, value ?? '']))
  const next = new Map(present)
  for (const { name, configOperation, value } of change.operations) {
    switch (configOperation) {
      case ConfigOperation.SET:
        next.set(name, value ?? '')
        break
      case ConfigOperation.DELETE:
        next.delete(name)
        break
      case ConfigOperation.APPEND:
      case ConfigOperation.SUBTRACT: {
        const appends = configOperation === ConfigOperation.APPEND
        const definition = definitionOf(resource, name)
        if (definition?.type !== 'list') {
          return { error: ErrorCode.INVALID_CONFIG, message: noListMessage(resource, name, definition, appends) }
        }
        const items = splitList(next.get(name) ?? inheritedText(resource, name, broker))
        const given = splitList(value ?? '')
        const changed = appends
          ? [...items, ...given.filter((item) => !items.includes(item))]
          : items.filter((item) => !given.includes(item))
        next.set(name, changed.join(','))
        break
      }
      default:
        return invalidRequest(`Unknown config operation ${configOperation} for key ${name}`)
    }
  }
  return next
}

/** Kafka's brokers and its controllers have words of their own for it. */
function noListMessage(
  resource: ConfigResource,
  name: string,
  definition: ConfigDefinition | undefined,
  appends: boolean,
): string {
  if (resource !== 'broker')
    return `Can't ${appends ? 'APPEND' : 'SUBTRACT'} to key ${name} because its type is not LIST.`
  if (definition === undefined) return `Unknown config name: ${name}`
  return `Config value ${appends ? 'append' : 'subtract'} is not allowed for config key: ${name}`
}

function definitionOf(resource: ConfigResource, name: string): ConfigDefinition | undefined {
  switch (resource) {
    case 'topic':
      return topicConfigDefinitions.get(name)
    case 'broker':
      return brokerConfigDefinition(name)
    case 'group':
      return groupConfigDefinitions.get(name)
    case 'client-metrics':
      return clientMetricsConfigDefinitions.get(name)
  }
}

/** The value a list has before anything is set on the resource itself. */
function inheritedText(resource: ConfigResource, name: string, broker: BrokerConfig): string {
  if (resource === 'topic') return topicConfigValue(name, new Map(), broker).text ?? ''
  if (resource === 'broker') return broker.value(name).text ?? ''
  return definitionOf(resource, name)?.defaultText ?? ''
}

function resourceProblem(
  resource: ConfigResource,
  name: string,
  configs: ReadonlyMap<string, string>,
  image: MetadataImage,
  broker: BrokerConfig,
): Refusal | undefined {
  switch (resource) {
    case 'topic': {
      if (name === '') return invalidRequest('Default topic resources are not allowed.')
      const nameProblem = topicNameProblem(name)
      if (nameProblem !== undefined) return { error: ErrorCode.INVALID_TOPIC_EXCEPTION, message: nameProblem }
      const message = topicConfigProblem(configs, isInternalTopic(name), broker)
      return message === undefined ? undefined : { error: ErrorCode.INVALID_CONFIG, message }
    }
    case 'broker':
      return brokerConfigsProblem(name, configs) ?? threadCountProblem(name, configs, image, broker)
    case 'group': {
      if (name === '') return invalidRequest('Default group resources are not allowed.')
      const message = groupConfigProblem(configs, broker)
      return message === undefined ? undefined : { error: ErrorCode.INVALID_CONFIG, message }
    }
    case 'client-metrics': {
      if (name === '') return invalidRequest('Default client metrics resources are not allowed.')
      const message = clientMetricsConfigProblem(configs)
      return message === undefined ? undefined : invalidRequest(message)
    }
  }
}

/** Secrets of a listener: Kafka takes them with the listener's prefix only. */
const LISTENER_SECRET = /^ssl\.(?:keystore\..+|key\.password|truststore\..+)$/

/** Configs that Kafka checks together, and the smallest value of each. */
const LEAST: ReadonlyMap<string, number> = new Map([
  ['log.roll.ms', 1],
  ['log.roll.jitter.ms', 0],
])

/**
 * A broker answers INVALID_REQUEST for what a topic would call INVALID_CONFIG, in Kafka's order: first the names, then the values.
 * Names it does not know are kept.
 */
function brokerConfigsProblem(name: string, configs: ReadonlyMap<string, string>): Refusal | undefined {
  const named = (isMeant: (key: string) => boolean): string | undefined => {
    const keys = [...configs.keys()].filter(isMeant)
    return keys.length === 0 ? undefined : `[${keys.join(', ')}]`
  }
  const fixed = named((key) => brokerConfigDefinitions.get(key)?.scope === 'read-only')
  if (fixed !== undefined) return invalidRequest(`Cannot update these configs dynamically: ${fixed}`)
  const secrets = named((key) => LISTENER_SECRET.test(key))
  if (secrets !== undefined) {
    return invalidRequest(
      `These security configs can be dynamically updated only per-listener using the listener prefix: ${secrets}`,
    )
  }
  for (const [key, text] of configs) {
    const problem = brokerValueProblem(key, text)
    if (problem !== undefined) return invalidRequest(problem)
  }
  const single = name === '' ? named(isPerBroker) : undefined
  if (single === undefined) return undefined
  return invalidRequest(`Cannot update these configs at default cluster level, broker id must be specified: ${single}`)
}

function isPerBroker(key: string): boolean {
  const definition = brokerConfigDefinition(key)
  // A listener belongs to one broker, and so does all that is said of it.
  return definition !== undefined && (definition.scope === 'per-broker' || key !== definition.name)
}

function brokerValueProblem(key: string, text: string): string | undefined {
  const definition = brokerConfigDefinition(key)
  if (definition === undefined) return undefined
  const parsed = parseValue(definition, text)
  if ('error' in parsed) return parsed.error
  const { value } = parsed
  if (key === 'log.cleanup.policy') {
    const problem = policyProblem(value)
    if (problem !== undefined) return `Invalid value ${text} for configuration ${key}: ${problem}`
  }
  if (key === 'log.retention.ms' && value === 0) {
    return 'requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1'
  }
  const least = LEAST.get(key)
  if (least !== undefined && Number(value) < least) {
    return `requirement failed: ${key} must be greater than or equal to ${least}`
  }
  return undefined
}

const THREAD_COUNTS: readonly string[] = [
  'num.network.threads',
  'num.io.threads',
  'num.replica.fetchers',
  'num.recovery.threads.per.data.dir',
  'background.threads',
  'remote.log.reader.threads',
  'remote.log.manager.copier.thread.pool.size',
  'remote.log.manager.expiration.thread.pool.size',
  'remote.log.manager.follower.thread.pool.size',
  'log.cleaner.threads',
]

/**
 * A number of threads may be doubled or halved at once, not more. Of the broker that is asked, and by what would hold on it afterwards: of
 * another one nobody here knows what it was started with.
 */
function threadCountProblem(
  name: string,
  configs: ReadonlyMap<string, string>,
  image: MetadataImage,
  broker: BrokerConfig,
): Refusal | undefined {
  const ownName = String(broker.nodeId)
  if (name !== '' && name !== ownName) return undefined
  const own = name === '' ? image.resourceConfigs('broker', ownName) : configs
  const forAll = name === '' ? configs : image.resourceConfigs('broker', '')
  for (const key of THREAD_COUNTS) {
    const text =
      own.get(key) ?? forAll.get(key) ?? broker.settings.get(key) ?? brokerConfigDefinitions.get(key)?.defaultText
    const problem = threadStepProblem(key, broker.number(key), Number(text))
    if (problem !== undefined) {
      return invalidRequest(
        `Invalid value org.apache.kafka.common.config.ConfigException: ${problem} for configuration Invalid dynamic configuration`,
      )
    }
  }
  return undefined
}

function threadStepProblem(key: string, current: number, next: number): string | undefined {
  const isTooFew = next < Math.trunc(current / 2)
  if (!isTooFew && next <= current * 2) return undefined
  if (key === 'log.cleaner.threads') {
    return isTooFew
      ? `Log cleaner threads cannot be reduced to less than half the current value ${current}`
      : `Log cleaner threads cannot be increased to more than double the current value ${current}`
  }
  const bound = isTooFew ? 'be at least half' : 'not be greater than double'
  return `Dynamic thread count update validation failed for ${key}=${next}, value should ${bound} the current value ${current}`
}

/** There is one logger, and it is this process's own. */
function planLogger(change: ResourceChange, broker: BrokerConfig, hasLogger: boolean): PlannedChange {
  if (change.operations === undefined) {
    return invalidRequest(`Unknown resource type ${ResourceType.BROKER_LOGGER}`)
  }
  const problem = brokerNameProblem(change.resourceName, broker.nodeId, 'alter-logger')
  if (problem !== undefined) return invalidRequest(problem)
  for (const operation of change.operations) {
    const refusal = levelProblem(operation, hasLogger)
    if (refusal !== undefined) return refusal
  }
  return { error: ErrorCode.NONE, command: undefined }
}

function levelProblem({ name, configOperation, value }: ConfigChange, hasLogger: boolean): Refusal | undefined {
  const { SET, DELETE, APPEND, SUBTRACT } = ConfigOperation
  if (configOperation !== SET && configOperation !== DELETE) {
    const word = { [APPEND]: 'APPEND', [SUBTRACT]: 'SUBTRACT' }[configOperation] ?? 'This'
    return invalidRequest(`${word} operation is not allowed for the BROKER_LOGGER resource`)
  }
  if (!hasLogger || name !== ROOT_LOGGER) {
    return { error: ErrorCode.INVALID_CONFIG, message: `Logger ${name} does not exist!` }
  }
  if (configOperation === DELETE) return invalidRequest('Removing the log level of the root logger is not allowed')
  if (isLevel(value)) return undefined
  const levels = [...LOGGER_LEVELS].sort().join(', ')
  return {
    error: ErrorCode.INVALID_CONFIG,
    message: `Cannot set the log level of ${name} to ${value} as it is not a supported log level. Valid log levels are ${levels}`,
  }
}

/** Carries out what was planned for a BROKER_LOGGER without an error: this broker says as much as it was told to. */
export function setLevel({ operations = [] }: ResourceChange, threshold: LogThreshold): void {
  for (const { value } of operations) if (isLevel(value)) threshold.level = value
}

function isLevel(text: string | null): text is LoggerLevel {
  return LOGGER_LEVELS.some((level) => level === text)
}

function invalidRequest(message: string): Refusal {
  return { error: ErrorCode.INVALID_REQUEST, message }
}

function sameEntries(left: ReadonlyMap<string, string>, right: ReadonlyMap<string, string>): boolean {
  if (left.size !== right.size) return false
  for (const [name, value] of left) if (right.get(name) !== value) return false
  return true
}
