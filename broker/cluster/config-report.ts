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

/** What is set on a resource over defaults that no other resource changes: groups, client metrics. */
function plainEntries(
  definitions: ReadonlyMap<string, ConfigDefinition>,
  overrides: ReadonlyMap<string, string>,
  source: ConfigSource,
): ConfigEntry[] {
  return [...definitions.values()].map((definition) => {
    const { name, type, documentation } = definition
    const fallback = defaultValue(definition).text
    const set = overrides.get(name)
    const parsed = set === undefined ? undefined : parseValue(definition, set)
    const value = parsed === undefined || 'error' in parsed ? fallback : parsed.text
    const links: ConfigLink[] = fallback === null ? [] : [{ name, text: fallback, source: ConfigSource.DEFAULT }]
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
  return names.sort().map((name) => {
    const definition = brokerConfigDefinition(name)
    const synonyms =
      brokerConfigDefinitions.has(name) || definition === undefined ? brokerSynonyms(name) : [name, definition.name]
    return brokerEntry(name, broker.value(name).text, broker.links(synonyms))
  })
}

function clusterBrokerEntries(overrides: ReadonlyMap<string, string>): ConfigEntry[] {
  return [...overrides]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, text]) => {
      const shown = isSensitive(name) ? null : text
      return brokerEntry(name, shown, [{ name, text: shown, source: ConfigSource.CLUSTER }])
    })
}

/** Whether a BROKER or BROKER_LOGGER resource names the broker that was asked; its configs live nowhere else. */
export function brokerNameProblem(name: string, nodeId: number): string | undefined {
  if (!/^[+-]?[0-9]+$/.test(name)) return `Broker id must be an integer, but it is: ${name}`
  if (Number(name) !== nodeId) return `Unexpected broker id, expected ${nodeId}, but received ${name}`
  return undefined
}

/** All configs of a resource, or why there are none. */
export function resourceConfigEntries(
  resourceType: number,
  resourceName: string,
  image: MetadataImage,
  broker: BrokerConfig,
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
      const problem = brokerNameProblem(resourceName, broker.nodeId)
      return problem === undefined ? ownBrokerEntries(broker) : { error: ErrorCode.INVALID_REQUEST, message: problem }
    }
    case ResourceType.BROKER_LOGGER: {
      if (resourceName === '') return { error: ErrorCode.INVALID_REQUEST, message: 'Broker id must not be empty' }
      const problem = brokerNameProblem(resourceName, broker.nodeId)
      // No logger of this broker has a level of its own.
      return problem === undefined ? [] : { error: ErrorCode.INVALID_REQUEST, message: problem }
    }
    case ResourceType.CLIENT_METRICS:
      if (resourceName === '') {
        return { error: ErrorCode.INVALID_REQUEST, message: 'Client metrics subscription name must not be empty' }
      }
      return plainEntries(
        clientMetricsConfigDefinitions,
        image.resourceConfigs('client-metrics', resourceName),
        ConfigSource.CLIENT_METRICS,
      )
    case ResourceType.GROUP:
      if (resourceName === '') return { error: ErrorCode.INVALID_REQUEST, message: 'Group name must not be empty' }
      return plainEntries(groupConfigDefinitions, image.resourceConfigs('group', resourceName), ConfigSource.GROUP)
    default:
      return { error: ErrorCode.INVALID_REQUEST, message: `Unsupported resource type: ${resourceType}` }
  }
}
