// Configs as DescribeConfigs and CreateTopics show them: value, source, synonyms, whether it can change, documentation.
//
// Pure functions over the image and the configs of the shard that answers.

import { ErrorCode } from '../../protocol/errors.ts'
import { brokerConfigDefinition, brokerConfigDefinitions } from '../config/definitions.ts'
import { clientMetricsConfigDefinitions, groupConfigDefinitions } from '../config/group-definitions.ts'
import type { ConfigDefinition } from '../config/values.ts'
import { configTypeCode, defaultValue, parseValue } from '../config/values.ts'
import type { BrokerConfig, ConfigLink } from '../config.ts'
import { brokerSynonyms, ConfigSource, isSensitive } from '../config.ts'
import { topicConfigDefinitions, topicConfigLinks, topicConfigValue } from '../topic-config.ts'
import type { Refusal } from './assignment.ts'
import type { MetadataImage } from './metadata.ts'
import { topicNameProblem } from './topic-names.ts'

/** Resource types of the config APIs. */
export const ResourceType = {
  TOPIC: 2,
  BROKER: 4,
  BROKER_LOGGER: 8,
  CLIENT_METRICS: 16,
  GROUP: 32,
} as const

export interface ConfigEntry {
  readonly name: string
  readonly value: string | null
  readonly readOnly: boolean
  readonly source: ConfigSource
  readonly isSensitive: boolean
  readonly links: readonly ConfigLink[]
  /** 0 where nobody knows the config. */
  readonly configType: number
  readonly documentation: string | null
}

/** All public configs of a topic, sorted by name. */
export function topicConfigEntries(overrides: ReadonlyMap<string, string>, broker: BrokerConfig): ConfigEntry[] {
  const entries: ConfigEntry[] = []
  for (const definition of topicConfigDefinitions.values()) {
    // Kafka hides its internal config; one that was set on purpose is shown.
    if (definition.internal && !overrides.has(definition.name)) continue
    const { name, type, documentation } = definition
    const links = topicConfigLinks(name, overrides, broker)
    entries.push({
      name,
      value: topicConfigValue(name, overrides, broker).text,
      readOnly: false,
      source: links[0]?.source ?? ConfigSource.DEFAULT,
      isSensitive: false,
      links,
      configType: configTypeCode[type],
      documentation,
    })
  }
  return entries
}

interface Fallback {
  readonly text: string | null
  readonly links: readonly ConfigLink[]
}

/** What is set on a resource, over what holds where nothing is: groups, client metrics. */
function plainEntries(
  definitions: ReadonlyMap<string, ConfigDefinition>,
  overrides: ReadonlyMap<string, string>,
  source: ConfigSource,
  fallbackOf: (definition: ConfigDefinition) => Fallback,
): ConfigEntry[] {
  return [...definitions.values()].map((definition) => {
    const { name, type, documentation } = definition
    const fallback = fallbackOf(definition)
    const set = overrides.get(name)
    const parsed = set === undefined ? undefined : parseValue(definition, set)
    const value = parsed === undefined || 'error' in parsed ? fallback.text : parsed.text
    const links = [...fallback.links]
    if (set !== undefined) links.unshift({ name, text: value, source })
    return {
      name,
      value,
      readOnly: false,
      source: links[0]?.source ?? ConfigSource.DEFAULT,
      isSensitive: false,
      links,
      configType: configTypeCode[type],
      documentation,
    }
  })
}

/** Most configs of groups are the broker's for all groups, under `group.` and their own name. */
function groupFallback(definition: ConfigDefinition, broker: BrokerConfig): Fallback {
  const { name } = definition
  const ofBroker = `group.${name}`
  if (brokerConfigDefinitions.has(ofBroker)) {
    return { text: broker.value(ofBroker).text, links: broker.links([ofBroker]) }
  }
  const { text } = defaultValue(definition)
  return { text, links: text === null ? [] : [{ name, text, source: ConfigSource.DEFAULT }] }
}

/** Kafka gives no origin for the defaults of client metrics. */
function clientMetricsFallback(definition: ConfigDefinition): Fallback {
  return { text: defaultValue(definition).text, links: [] }
}

function brokerEntry(name: string, value: string | null, links: readonly ConfigLink[]): ConfigEntry {
  const definition = brokerConfigDefinition(name)
  const sensitive = isSensitive(name)
  return {
    name,
    value: sensitive ? null : value,
    readOnly: definition?.scope === 'read-only',
    source: links[0]?.source ?? ConfigSource.DEFAULT,
    isSensitive: sensitive,
    links,
    configType: definition === undefined ? 0 : configTypeCode[definition.type],
    documentation: definition?.documentation ?? null,
  }
}

function ownBrokerEntries(broker: BrokerConfig): ConfigEntry[] {
  const names = [...brokerConfigDefinitions.keys(), ...broker.extraNames()]
  const entries: ConfigEntry[] = []
  for (const name of names.sort()) {
    const definition = brokerConfigDefinition(name)
    const isDefined = brokerConfigDefinitions.has(name)
    const synonyms = isDefined || definition === undefined ? brokerSynonyms(name) : [name, definition.name]
    const links = broker.links(synonyms)
    if (isDefined && definition?.isListedUnset === false && links.length === 0) continue
    // Without a value of its own it has none to explain: what stands in for it then is another config.
    const own = links.findIndex((link) => link.name === name)
    entries.push(brokerEntry(name, broker.value(name).text, own < 0 ? [] : links.slice(own)))
  }
  return entries
}

function clusterBrokerEntries(overrides: ReadonlyMap<string, string>): ConfigEntry[] {
  return [...overrides]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, text]) => {
      const shown = isSensitive(name) ? null : text
      return brokerEntry(name, shown, [{ name, text: shown, source: ConfigSource.CLUSTER }])
    })
}

/** The questions in which a BROKER or BROKER_LOGGER resource names a broker. */
export type BrokerQuestion = 'describe' | 'describe-logger' | 'alter' | 'alter-logger'

/** Whether it is the broker that was asked; its configs live nowhere else. @returns Kafka's words, which differ by the question */
export function brokerNameProblem(name: string, nodeId: number, question: BrokerQuestion): string | undefined {
  const describes = question === 'describe' || question === 'describe-logger'
  if (!/^[+-]?[0-9]+$/.test(name)) return `${describes ? 'Broker' : 'Node'} id must be an integer, but it is: ${name}`
  if (Number(name) === nodeId) return undefined
  switch (question) {
    case 'describe':
      return `Unexpected broker id, expected ${nodeId} or empty string, but received ${name}`
    case 'describe-logger':
      return `Unexpected broker id, expected ${nodeId} but received ${name}`
    case 'alter':
      return `Unexpected broker id, expected ${nodeId}, but received ${name}`
    case 'alter-logger':
      return `Unexpected node id. Expected ${nodeId}, but received ${name}`
  }
}

/** The name of the only logger there is. */
export const ROOT_LOGGER = 'root'

function loggerEntries(rootLevel: string | undefined): ConfigEntry[] {
  if (rootLevel === undefined) return []
  return [
    {
      name: ROOT_LOGGER,
      value: rootLevel,
      readOnly: false,
      source: ConfigSource.BROKER_LOGGER,
      isSensitive: false,
      links: [],
      configType: 0,
      documentation: null,
    },
  ]
}

/**
 * All configs of a resource, or why there are none.
 * @param rootLevel of this broker's log; undefined where it has none that could be changed
 */
export function resourceConfigEntries(
  resourceType: number,
  resourceName: string,
  image: MetadataImage,
  broker: BrokerConfig,
  rootLevel?: string,
): readonly ConfigEntry[] | Refusal {
  switch (resourceType) {
    case ResourceType.TOPIC: {
      const problem = topicNameProblem(resourceName)
      if (problem !== undefined) return { error: ErrorCode.INVALID_TOPIC_EXCEPTION, message: problem }
      const topic = image.topicByName(resourceName)
      if (topic === undefined) return { error: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message: '' }
      return topicConfigEntries(topic.configs, broker)
    }
    case ResourceType.BROKER: {
      if (resourceName === '') return clusterBrokerEntries(image.resourceConfigs('broker', ''))
      const problem = brokerNameProblem(resourceName, broker.nodeId, 'describe')
      return problem === undefined ? ownBrokerEntries(broker) : { error: ErrorCode.INVALID_REQUEST, message: problem }
    }
    case ResourceType.BROKER_LOGGER: {
      if (resourceName === '') return { error: ErrorCode.INVALID_REQUEST, message: 'Broker id must not be empty' }
      const problem = brokerNameProblem(resourceName, broker.nodeId, 'describe-logger')
      return problem === undefined ? loggerEntries(rootLevel) : { error: ErrorCode.INVALID_REQUEST, message: problem }
    }
    case ResourceType.CLIENT_METRICS:
      if (resourceName === '') {
        return { error: ErrorCode.INVALID_REQUEST, message: 'Client metrics subscription name must not be empty' }
      }
      return plainEntries(
        clientMetricsConfigDefinitions,
        image.resourceConfigs('client-metrics', resourceName),
        ConfigSource.CLIENT_METRICS,
        clientMetricsFallback,
      )
    case ResourceType.GROUP:
      if (resourceName === '') return { error: ErrorCode.INVALID_REQUEST, message: 'Group name must not be empty' }
      return plainEntries(
        groupConfigDefinitions,
        image.resourceConfigs('group', resourceName),
        ConfigSource.GROUP,
        (definition) => groupFallback(definition, broker),
      )
    default:
      return { error: ErrorCode.INVALID_REQUEST, message: `Unsupported resource type: ${resourceType}` }
  }
}
