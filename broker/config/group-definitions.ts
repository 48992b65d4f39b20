// Configs of consumer groups and of client-metrics subscriptions (resource types 32 and 16 of the config APIs).
//
// They are stored and reported; they act on group protocols and on telemetry, which this broker does not serve yet.

import type { BrokerConfig } from '../config.ts'
import { checkOf, defaultText, tableRows } from './definitions.ts'
import type { ConfigDefinition, ConfigType } from './values.ts'
import { parseValue } from './values.ts'

// Columns: name | type | default | valid values | documentation.
const GROUP_TABLE = `
consumer.assignment.interval.ms | int | 1000 | [0,...] | Shortest time between two assignments of the group.
consumer.heartbeat.interval.ms | int | 5000 | [1,...] | Heartbeat interval of the members.
consumer.session.timeout.ms | int | 45000 | [1,...] | Session timeout of the members.
share.assignment.interval.ms | int | 1000 | [0,...] | Shortest time between two assignments of the group.
share.auto.offset.reset | string | latest | share-offset | Where a share group begins.
share.delivery.count.limit | int | 5 | [2,...] | Delivery attempts of a record.
share.heartbeat.interval.ms | int | 5000 | [1,...] | Heartbeat interval of the members.
share.isolation.level | string | read_uncommitted | [read_committed, read_uncommitted] | Whether records of open transactions are seen.
share.partition.max.record.locks | int | 2000 | [100,...] | Most acquired records of a share partition.
share.record.lock.duration.ms | int | 30000 | [1000,...] | How long a record stays acquired.
share.renew.acknowledge.enable | boolean | true | - | Whether a member may extend an acquisition.
share.session.timeout.ms | int | 45000 | [1,...] | Session timeout of the members.
streams.assignment.interval.ms | int | 1000 | [0,...] | Shortest time between two assignments of the group.
streams.heartbeat.interval.ms | int | 5000 | [1,...] | Heartbeat interval of the members.
streams.initial.rebalance.delay.ms | int | 3000 | [0,...] | How long a new group waits for more members.
streams.num.standby.replicas | int | 0 | [0,...] | Standby replicas of the group's tasks.
streams.session.timeout.ms | int | 45000 | [1,...] | Session timeout of the members.
`

const CLIENT_METRICS_TABLE = `
interval.ms | int | 300000 | [100,...,3600000] | How often clients push their metrics.
match | list | (empty) | - | Which clients push, as key=regex items.
metrics | list | (empty) | - | Prefixes of the metrics to push.
`

function readTable(table: string): ReadonlyMap<string, ConfigDefinition> {
  const definitions = new Map<string, ConfigDefinition>()
  for (const [name = '', typeColumn = '', standard = '', valid = '-', documentation = ''] of tableRows(table)) {
    const type = typeColumn as ConfigType
    const check =
      valid === 'share-offset'
        ? (_name: string, value: unknown) =>
            /^(?:latest|earliest|by_duration:P.+)$/i.test(String(value))
              ? undefined
              : 'String must be one of: latest, earliest, by_duration:PnDTnHnMn.nS'
        : checkOf(type, valid)
    definitions.set(name, { name, type, defaultText: defaultText(standard), check, documentation })
  }
  return definitions
}

export const groupConfigDefinitions = readTable(GROUP_TABLE)
export const clientMetricsConfigDefinitions = readTable(CLIENT_METRICS_TABLE)

/** Group config, and the broker configs that bound it. */
const BOUNDS = [
  {
    name: 'consumer.session.timeout.ms',
    min: 'group.consumer.min.session.timeout.ms',
    max: 'group.consumer.max.session.timeout.ms',
  },
  {
    name: 'consumer.heartbeat.interval.ms',
    min: 'group.consumer.min.heartbeat.interval.ms',
    max: 'group.consumer.max.heartbeat.interval.ms',
  },
] as const

/** @returns what is wrong with the overrides of a group (INVALID_CONFIG), or undefined */
export function groupConfigProblem(overrides: ReadonlyMap<string, string>, broker: BrokerConfig): string | undefined {
  for (const [name, text] of overrides) {
    const definition = groupConfigDefinitions.get(name)
    if (definition === undefined) return `Unknown group config name: ${name}`
    const parsed = parseValue(definition, text)
    if ('error' in parsed) return parsed.error
    const bounds = BOUNDS.find((bound) => bound.name === name)
    if (bounds === undefined) continue
    if (Number(parsed.value) < broker.number(bounds.min))
      return `${name} must be greater than or equal to ${bounds.min}`
    if (Number(parsed.value) > broker.number(bounds.max)) return `${name} must be less than or equal to ${bounds.max}`
  }
  return undefined
}

/** @returns what is wrong with the settings of a client-metrics subscription (INVALID_REQUEST), or undefined */
export function clientMetricsConfigProblem(overrides: ReadonlyMap<string, string>): string | undefined {
  for (const [name, text] of overrides) {
    const definition = clientMetricsConfigDefinitions.get(name)
    if (definition === undefined) return `Unknown client metrics configuration: ${name}`
    const parsed = parseValue(definition, text)
    if ('error' in parsed) return parsed.error
  }
  return undefined
}
