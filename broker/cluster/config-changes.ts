// Changes of configs: what AlterConfigs and IncrementalAlterConfigs ask for, checked and turned into commands.
//
// Pure functions over the image, run by the controller while it holds its turn. Each resource is changed whole or not at all.

import { ErrorCode } from '../../protocol/errors.ts'
import type { AlterConfigsRequest } from '../../protocol/messages/alter-configs.ts'
import type { IncrementalAlterConfigsRequest } from '../../protocol/messages/incremental-alter-configs.ts'
import { brokerConfigDefinition } from '../config/definitions.ts'
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
import { topicConfigDefinitions, topicConfigProblem, topicConfigValue } from '../topic-config.ts'
import type { Refusal } from './assignment.ts'
import type { ConfigResource, SetConfigs } from './commands.ts'
import { brokerNameProblem, ResourceType } from './config-report.ts'
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

/** Plans every resource of a request; resources are independent of each other. */
export function planConfigChanges(
  changes: readonly ResourceChange[],
  image: MetadataImage,
  broker: BrokerConfig,
): PlannedChange[] {
  const counts = new Map<string, number>()
  const keyOf = (change: ResourceChange) => `${change.resourceType}/${change.resourceName}`
  for (const change of changes) counts.set(keyOf(change), (counts.get(keyOf(change)) ?? 0) + 1)
  return changes.map((change) =>
    (counts.get(keyOf(change)) ?? 0) > 1
      ? invalidRequest('Each resource must appear at most once.')
      : planResource(change, image, broker),
  )
}

function planResource(change: ResourceChange, image: MetadataImage, broker: BrokerConfig): PlannedChange {
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
  if (resourceType === ResourceType.BROKER_LOGGER) return planLogger(change, broker)
  const resource = RESOURCES[resourceType]
  if (resource === undefined) return invalidRequest(`Unknown resource type ${resourceType}`)
  if (resource === 'broker' && resourceName !== '') {
    const problem = brokerNameProblem(resourceName, broker.nodeId)
    // Kafka wants the broker itself to be asked. Here any broker takes a change for any registered one: a dead broker has to be
    // drained too.
    if (problem !== undefined && image.broker(Number(resourceName)) === undefined) return invalidRequest(problem)
  }
  const topic = resource === 'topic' ? image.topicByName(resourceName) : undefined
  const present =
    resource === 'topic' ? (topic?.configs ?? new Map<string, string>()) : image.resourceConfigs(resource, resourceName)
  const next = nextConfigs(change, resource, present, broker)
  if (!(next instanceof Map)) return next
  const problem = resourceProblem(resource, resourceName, next, broker)
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
        if (definitionOf(resource, name)?.type !== 'list') {
          const message = `Can't ${appends ? 'APPEND' : 'SUBTRACT'} to key ${name} because its type is not LIST.`
          return { error: ErrorCode.INVALID_CONFIG, message }
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
      return brokerConfigsProblem(name, configs)
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

/** A broker answers INVALID_REQUEST for what a topic would call INVALID_CONFIG; names it does not know are kept. */
function brokerConfigsProblem(name: string, configs: ReadonlyMap<string, string>): Refusal | undefined {
  const resource = `ConfigResource(type=BROKER, name='${name}')`
  const refuse = (message: string) => invalidRequest(`Invalid config value for resource ${resource}: ${message}`)
  for (const [key, text] of configs) {
    const definition = brokerConfigDefinition(key)
    if (definition === undefined) continue
    if (definition.scope === 'read-only') return refuse(`Cannot update these configs dynamically: Set(${key})`)
    if (name === '' && definition.scope === 'per-broker') {
      return refuse(`Cannot update these configs at default cluster level, broker id must be specified: Set(${key})`)
    }
    const parsed = parseValue(definition, text)
    if ('error' in parsed) return refuse(parsed.error)
    if (key === 'log.cleanup.policy') {
      const problem = policyProblem(parsed.value)
      if (problem !== undefined) return refuse(`Invalid value ${text} for configuration ${key}: ${problem}`)
    }
    if (key === 'log.retention.ms' && parsed.value === 0) {
      return refuse('log.retention.ms must be unlimited (-1) or, equal or greater than 1')
    }
  }
  return undefined
}

/** No logger has a level of its own, so every name is unknown. */
function planLogger(change: ResourceChange, broker: BrokerConfig): PlannedChange {
  if (change.operations === undefined) {
    return invalidRequest('AlterConfigs is deprecated and does not support the resource type BROKER_LOGGER.')
  }
  const problem = brokerNameProblem(change.resourceName, broker.nodeId)
  if (problem !== undefined) return invalidRequest(problem)
  const first = change.operations[0]
  if (first === undefined) return { error: ErrorCode.NONE, command: undefined }
  return { error: ErrorCode.INVALID_CONFIG, message: `Logger ${first.name} does not exist!` }
}

function invalidRequest(message: string): Refusal {
  return { error: ErrorCode.INVALID_REQUEST, message }
}

function sameEntries(left: ReadonlyMap<string, string>, right: ReadonlyMap<string, string>): boolean {
  if (left.size !== right.size) return false
  for (const [name, value] of left) if (right.get(name) !== value) return false
  return true
}
