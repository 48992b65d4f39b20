// The broker's configs: Kafka's names and defaults, checked once at start, with what was changed at run time on top.
//
// Each shard has one BrokerConfig of its own, made from the same settings; its metadata image owns the dynamic layers
// (setDynamic) and every reader sees a change at its next look. Definitions: config/definitions.ts.

import { brokerConfigDefinition, brokerConfigDefinitions } from './config/definitions.ts'
import type { Listener } from './config/listeners.ts'
import { parseListeners } from './config/listeners.ts'
import type { ConfigValue, TypedValue } from './config/values.ts'
import { defaultValue, parseValue, UNLIMITED } from './config/values.ts'
import { OperatorError } from './operator-error.ts'

/** Where a value comes from; numbers as in DescribeConfigs. */
export const ConfigSource = {
  TOPIC: 1,
  BROKER: 2,
  CLUSTER: 3,
  STATIC: 4,
  DEFAULT: 5,
  BROKER_LOGGER: 6,
  CLIENT_METRICS: 7,
  GROUP: 8,
} as const
export type ConfigSource = (typeof ConfigSource)[keyof typeof ConfigSource]

/** One link of the chain that gives a config its value. */
export interface ConfigLink {
  readonly name: string
  /** null for a password, and where nothing is set. */
  readonly text: string | null
  readonly source: ConfigSource
}

interface Unit {
  readonly name: string
  readonly factor: number
}

const HOUR_MS = 3_600_000
const EMPTY: ReadonlyMap<string, string> = new Map()

/** Configs that several names give, the first one set goes first; values times factor. */
const ALTERNATIVES: ReadonlyMap<string, readonly Unit[]> = new Map(
  [
    [
      { name: 'log.retention.ms', factor: 1 },
      { name: 'log.retention.minutes', factor: 60_000 },
      { name: 'log.retention.hours', factor: HOUR_MS },
    ],
    [
      { name: 'log.roll.ms', factor: 1 },
      { name: 'log.roll.hours', factor: HOUR_MS },
    ],
    [
      { name: 'log.roll.jitter.ms', factor: 1 },
      { name: 'log.roll.jitter.hours', factor: HOUR_MS },
    ],
    [
      { name: 'log.flush.interval.ms', factor: 1 },
      { name: 'log.flush.scheduler.interval.ms', factor: 1 },
    ],
  ].map((units) => [units[0]?.name ?? '', units]),
)

/** Names whose values also decide about this config, the strongest first; the name itself for most, and first of all for each. */
export function brokerSynonyms(name: string): readonly string[] {
  return ALTERNATIVES.get(name)?.map((unit) => unit.name) ?? [name]
}

/** Settings that would change who may do what: ignoring them would be worse than refusing to start. */
const REFUSED_WHEN_SET: readonly string[] = [
  'authorizer.class.name',
  'create.topic.policy.class.name',
  'alter.config.policy.class.name',
  'client.quota.callback.class',
]

export class BrokerConfig {
  /** One line each: unknown names, settings that are not followed. For the log at start. */
  readonly warnings: readonly string[]
  /** What was set, as it was set: hand it to the constructor on another thread for the same configs. */
  readonly settings: ReadonlyMap<string, string>
  readonly listeners: readonly Listener[]
  /** Empty where clients are told the address they connect to. */
  readonly advertisedListeners: readonly Listener[]
  readonly #static = new Map<string, ConfigValue>()
  #brokerTexts: ReadonlyMap<string, string> = EMPTY
  #clusterTexts: ReadonlyMap<string, string> = EMPTY
  #effective = new Map<string, ConfigValue>()
  #revision = 0

  /**
   * @param settings from the properties file and the command line, merged; the stronger one last
   * @throws OperatorError for a value that cannot be followed
   */
  constructor(settings: Iterable<readonly [string, string]> = []) {
    this.settings = new Map(settings)
    const warnings: string[] = []
    for (const [name, text] of this.settings) {
      const definition = brokerConfigDefinition(name)
      if (definition === undefined) {
        warnings.push(`unknown configuration ${name} is ignored`)
        continue
      }
      const parsed = parseValue(definition, text)
      if ('error' in parsed) {
        throw new OperatorError('CONFIG_INVALID', parsed.error, `Correct ${name}: ${definition.documentation}`)
      }
      this.#static.set(name, parsed)
    }
    this.#nameNodeTwice()
    this.#refresh()
    this.#checkStatic(warnings)
    const protocolMap = this.text('listener.security.protocol.map') ?? ''
    this.listeners = this.#openedListeners(protocolMap, warnings)
    this.advertisedListeners = parseListeners(
      'advertised.listeners',
      this.list('advertised.listeners').filter((item) => !this.#isControllerListener(item)),
      protocolMap,
    )
    for (const { name } of this.advertisedListeners) {
      if (!this.listeners.some((listener) => listener.name === name)) {
        throw new OperatorError(
          'CONFIG_INVALID',
          `advertised.listeners names ${name}, which is no name in listeners`,
          'Name only listeners of this broker in advertised.listeners.',
        )
      }
    }
    this.warnings = warnings
  }

  /** The effective value of a config by its Kafka name; dynamic for this broker, for the cluster, static, default. */
  value(name: string): ConfigValue {
    return this.#effective.get(name) ?? { value: null, text: null }
  }

  /** Like value(), with the names that stand in when this one is not set (log.retention.hours for log.retention.ms). */
  valueWithAlternatives(name: string): ConfigValue {
    const units = ALTERNATIVES.get(name)
    if (units === undefined) return this.value(name)
    for (const unit of units) {
      const found = this.value(unit.name)
      if (typeof found.value !== 'number') continue
      if (unit.name.startsWith('log.retention.') && found.value < 0) return { value: -1, text: '-1' }
      if (unit.factor === 1) return found
      return { value: found.value * unit.factor, text: String(found.value * unit.factor) }
    }
    return { value: null, text: null }
  }

  number(name: string): number {
    const { value } = this.valueWithAlternatives(name)
    return typeof value === 'number' ? value : 0
  }

  boolean(name: string): boolean {
    return this.value(name).value === true
  }

  text(name: string): string | null {
    return this.value(name).text
  }

  list(name: string): readonly string[] {
    const { value } = this.value(name)
    return Array.isArray(value) ? (value as readonly string[]) : []
  }

  /** Changes with every setDynamic that changed something: compare it to know whether derived values are still good. */
  get revision(): number {
    return this.#revision
  }

  /**
   * Puts the run-time configs in place. Values were checked when they were set; one that no longer parses is passed over.
   * @param broker set for this broker @param cluster set for all brokers
   */
  setDynamic(broker: ReadonlyMap<string, string>, cluster: ReadonlyMap<string, string>): void {
    if (sameEntries(broker, this.#brokerTexts) && sameEntries(cluster, this.#clusterTexts)) return
    this.#brokerTexts = new Map(broker)
    this.#clusterTexts = new Map(cluster)
    this.#revision++
    this.#refresh()
  }

  /**
   * Everything that gives these names a value, the strongest first, as DescribeConfigs lists synonyms.
   * @param names the config and the names that stand in for it: brokerSynonyms()
   */
  links(names: readonly string[]): ConfigLink[] {
    const links: ConfigLink[] = []
    const add = (name: string, text: string | null | undefined, source: ConfigSource) => {
      if (text === undefined || text === null) return
      links.push({ name, text: isSensitive(name) ? null : text, source })
    }
    for (const name of names) add(name, this.#brokerTexts.get(name), ConfigSource.BROKER)
    for (const name of names) add(name, this.#clusterTexts.get(name), ConfigSource.CLUSTER)
    for (const name of names) add(name, this.settings.get(name) ?? this.#static.get(name)?.text, ConfigSource.STATIC)
    for (const name of names) add(name, brokerConfigDefinitions.get(name)?.defaultText, ConfigSource.DEFAULT)
    return links
  }

  /** Names set anywhere that this broker does not define or that carry a listener prefix, for DescribeConfigs. */
  extraNames(): string[] {
    const names = new Set([...this.#brokerTexts.keys(), ...this.#clusterTexts.keys(), ...this.settings.keys()])
    return [...names].filter((name) => !brokerConfigDefinitions.has(name))
  }

  get nodeId(): number {
    return this.number('node.id')
  }

  get brokerRack(): string | null {
    return this.text('broker.rack')
  }

  /** host:port of the peer listener as written; null for a broker alone. */
  get millracePeerListener(): string | null {
    return this.text('millrace.peer.listener')
  }

  get millraceSeeds(): readonly string[] {
    return this.list('millrace.seeds')
  }

  get autoLeaderRebalanceEnable(): boolean {
    return this.boolean('auto.leader.rebalance.enable')
  }

  /** How long a follower counts as in sync after it last had everything. */
  get replicaLagTimeMaxMs(): number {
    return this.number('replica.lag.time.max.ms')
  }

  /** Bytes per second, of all shards together, that this broker reads for replicas which are behind; UNLIMITED where nothing is set. */
  get leaderReplicationThrottledRate(): number {
    const { value } = this.value('leader.replication.throttled.rate')
    return typeof value === 'number' ? value : UNLIMITED
  }

  /** Partitions that may move at a time while a broker is drained. */
  get millraceDrainPartitionsMax(): number {
    return this.number('millrace.drain.partitions.max')
  }

  get controlledShutdownEnable(): boolean {
    return this.boolean('controlled.shutdown.enable')
  }

  /** The first of log.dirs, or log.dir: one directory holds everything. */
  get dataDirectory(): string {
    return this.list('log.dirs')[0] ?? this.list('log.dir')[0] ?? 'data'
  }

  get autoCreateTopicsEnable(): boolean {
    return this.boolean('auto.create.topics.enable')
  }

  get numPartitions(): number {
    return this.number('num.partitions')
  }

  get defaultReplicationFactor(): number {
    return this.number('default.replication.factor')
  }

  get minInsyncReplicas(): number {
    return this.number('min.insync.replicas')
  }

  /** Class name, '' for none: consumers read from leaders. */
  get replicaSelectorClass(): string {
    return this.text('replica.selector.class') ?? ''
  }

  get deleteTopicEnable(): boolean {
    return this.boolean('delete.topic.enable')
  }

  /** log.retention.ms, .minutes, .hours; -1 for ever. */
  get logRetentionMs(): number {
    return this.number('log.retention.ms')
  }

  get logRetentionBytes(): number {
    return this.number('log.retention.bytes')
  }

  get logRetentionCheckIntervalMs(): number {
    return this.number('log.retention.check.interval.ms')
  }

  get logSegmentBytes(): number {
    return this.number('log.segment.bytes')
  }

  get logIndexIntervalBytes(): number {
    return this.number('log.index.interval.bytes')
  }

  get logSegmentDeleteDelayMs(): number {
    return this.number('log.segment.delete.delay.ms')
  }

  get messageMaxBytes(): number {
    return this.number('message.max.bytes')
  }

  get fetchMaxBytes(): number {
    return this.number('fetch.max.bytes')
  }

  get socketRequestMaxBytes(): number {
    return this.number('socket.request.max.bytes')
  }

  get socketSendBufferBytes(): number {
    return this.number('socket.send.buffer.bytes')
  }

  get socketReceiveBufferBytes(): number {
    return this.number('socket.receive.buffer.bytes')
  }

  get socketListenBacklogSize(): number {
    return this.number('socket.listen.backlog.size')
  }

  /** -1 or 0: never closed. */
  get connectionsMaxIdleMs(): number {
    return this.number('connections.max.idle.ms')
  }

  get maxConnections(): number {
    return this.number('max.connections')
  }

  get maxConnectionsPerIp(): number {
    return this.number('max.connections.per.ip')
  }

  get requestTimeoutMs(): number {
    return this.number('request.timeout.ms')
  }

  get maxIncrementalFetchSessionCacheSlots(): number {
    return this.number('max.incremental.fetch.session.cache.slots')
  }

  get maxRequestPartitionSizeLimit(): number {
    return this.number('max.request.partition.size.limit')
  }

  get groupInitialRebalanceDelayMs(): number {
    return this.number('group.initial.rebalance.delay.ms')
  }

  get groupMinSessionTimeoutMs(): number {
    return this.number('group.min.session.timeout.ms')
  }

  get groupMaxSessionTimeoutMs(): number {
    return this.number('group.max.session.timeout.ms')
  }

  get groupMaxSize(): number {
    return this.number('group.max.size')
  }

  get offsetsRetentionMinutes(): number {
    return this.number('offsets.retention.minutes')
  }

  get offsetsRetentionCheckIntervalMs(): number {
    return this.number('offsets.retention.check.interval.ms')
  }

  get offsetsTopicNumPartitions(): number {
    return this.number('offsets.topic.num.partitions')
  }

  /** As set; the topic gets at most one replica per broker. */
  get offsetsTopicReplicationFactor(): number {
    return this.number('offsets.topic.replication.factor')
  }

  get offsetsTopicSegmentBytes(): number {
    return this.number('offsets.topic.segment.bytes')
  }

  get offsetMetadataMaxBytes(): number {
    return this.number('offset.metadata.max.bytes')
  }

  get offsetsCommitTimeoutMs(): number {
    return this.number('offsets.commit.timeout.ms')
  }

  get producerIdExpirationMs(): number {
    return this.number('producer.id.expiration.ms')
  }

  get transactionMaxTimeoutMs(): number {
    return this.number('transaction.max.timeout.ms')
  }

  get compressionGzipLevel(): number {
    return this.number('compression.gzip.level')
  }

  get compressionLz4Level(): number {
    return this.number('compression.lz4.level')
  }

  get compressionZstdLevel(): number {
    return this.number('compression.zstd.level')
  }

  /** node.id and its older name are one number: whichever is set gives it, and both show it. */
  #nameNodeTwice(): void {
    const older = this.#static.get('broker.id')
    if (!this.#static.has('node.id') && typeof older?.value === 'number' && older.value >= 0) {
      this.#static.set('node.id', older)
    }
    const nodeId = this.#static.get('node.id') ?? defaultValue(brokerConfigDefinitions.get('node.id')!)
    this.#static.set('broker.id', nodeId)
  }

  #refresh(): void {
    const effective = new Map<string, ConfigValue>()
    for (const definition of brokerConfigDefinitions.values()) effective.set(definition.name, defaultValue(definition))
    for (const [name, value] of this.#static) effective.set(name, value)
    for (const layer of [this.#clusterTexts, this.#brokerTexts]) {
      for (const [name, text] of layer) {
        const definition = brokerConfigDefinition(name)
        const parsed = definition === undefined ? undefined : parseValue(definition, text)
        if (parsed !== undefined && !('error' in parsed)) effective.set(name, parsed)
      }
    }
    this.#effective = effective
  }

  #checkStatic(warnings: string[]): void {
    for (const name of REFUSED_WHEN_SET) {
      const { text } = this.value(name)
      if (text !== null && text !== '') {
        throw new OperatorError(
          'CONFIG_UNSUPPORTED',
          `${name} is set to ${text}, which this broker cannot follow`,
          `Remove ${name}.`,
        )
      }
    }
    if (this.boolean('remote.log.storage.system.enable')) {
      throw new OperatorError(
        'CONFIG_UNSUPPORTED',
        'remote.log.storage.system.enable is true, but tiered storage is not available',
        'Remove remote.log.storage.system.enable.',
      )
    }
    const problem = policyProblem(this.list('log.cleanup.policy'))
    if (problem !== undefined) {
      throw new OperatorError('CONFIG_UNSUPPORTED', `log.cleanup.policy: ${problem}`, 'Set log.cleanup.policy=delete.')
    }
    if (this.logRetentionMs === 0) {
      throw new OperatorError(
        'CONFIG_INVALID',
        'log.retention.ms must be unlimited (-1) or equal or greater than 1',
        'Correct log.retention.ms, log.retention.minutes or log.retention.hours.',
      )
    }
    if (this.groupMinSessionTimeoutMs > this.groupMaxSessionTimeoutMs) {
      throw new OperatorError(
        'CONFIG_INVALID',
        'group.min.session.timeout.ms is larger than group.max.session.timeout.ms',
        'Raise group.max.session.timeout.ms.',
      )
    }
    if (this.list('log.dirs').length > 1 || (this.list('log.dirs').length === 0 && this.list('log.dir').length > 1)) {
      warnings.push(`only the first data directory is used: ${this.dataDirectory}`)
    }
  }

  #isControllerListener(item: string): boolean {
    const name = item.split('://')[0]?.toUpperCase() ?? ''
    return this.list('controller.listener.names').some((controller) => controller.toUpperCase() === name)
  }

  #openedListeners(protocolMap: string, warnings: string[]): Listener[] {
    const items = this.list('listeners')
    const kept = items.filter((item) => !this.#isControllerListener(item))
    if (kept.length < items.length) {
      warnings.push(
        'listeners named in controller.listener.names are not opened: this broker needs no controller listener',
      )
    }
    const listeners = parseListeners('listeners', kept, protocolMap)
    if (listeners.length === 0) {
      throw new OperatorError(
        'CONFIG_INVALID',
        'listeners names no address',
        'Set listeners=PLAINTEXT://127.0.0.1:9092.',
      )
    }
    for (const { name, securityProtocol } of listeners) {
      if (securityProtocol !== 'PLAINTEXT') {
        throw new OperatorError(
          'CONFIG_UNSUPPORTED',
          `listener ${name} wants ${securityProtocol}, which this broker does not serve yet`,
          'Use a PLAINTEXT listener.',
        )
      }
    }
    return listeners
  }
}

/** What is wrong with a cleanup policy for a topic that is not the broker's own. */
export function policyProblem(policy: TypedValue): string | undefined {
  if (!Array.isArray(policy) || !policy.includes('compact')) return undefined
  return 'compaction is not available in this broker yet; use delete'
}

/** Whether a value must not be shown: passwords, and names nobody knows. */
export function isSensitive(name: string): boolean {
  const definition = brokerConfigDefinition(name)
  return definition === undefined || definition.type === 'password'
}

/**
 * Reads one `name=value` of the command line.
 * @throws OperatorError without a name or '='
 */
export function parseSetting(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at <= 0) {
    throw new OperatorError('CONFIG_INVALID', `cannot read the setting ${text}`, 'Write it as name=value.')
  }
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()]
}

function sameEntries(left: ReadonlyMap<string, string>, right: ReadonlyMap<string, string>): boolean {
  if (left.size !== right.size) return false
  for (const [name, value] of left) if (right.get(name) !== value) return false
  return true
}
