// A coordinator over a log in memory under virtual time; the log outlives coordinators, as a disk does.

import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import type { Clock, Logger, Random, Timer } from '../../../../broker/environment.ts'
import type { JoinCall, ListedGroup, LogRecord, OffsetsLog } from '../../../../broker/groups/calls.ts'
import { GroupCoordinator } from '../../../../broker/groups/coordinator.ts'
import type { KeyValue } from '../../../../broker/groups/records.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { bytes, subscription } from './bench.ts'

export class VirtualClock implements Clock {
  #nowMs = 0
  #timers: { atMs: number; call: () => void }[] = []

  nowMs(): number {
    return 1_700_000_000_000 + this.#nowMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, call: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, call }
    this.#timers.push(timer)
    return { cancel: () => (this.#timers = this.#timers.filter((other) => other !== timer)) }
  }

  soon(call: () => void): void {
    queueMicrotask(call)
  }

  /** Fires what is due in order of time; promises settle in between. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    await settle()
    for (;;) {
      const due = this.#timers.filter(({ atMs }) => atMs <= endMs).sort((left, right) => left.atMs - right.atMs)[0]
      if (due === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.call()
      await settle()
    }
    this.#nowMs = endMs
  }

  /** Time passes and no timer gets its turn: the process stood still. */
  stall(ms: number): void {
    this.#nowMs += ms
  }

  get timerCount(): number {
    return this.#timers.length
  }
}

export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
}

export class MemoryLog implements OffsetsLog {
  readonly partitions = new Map<number, KeyValue[]>()
  error: ErrorCode = ErrorCode.NONE
  /** Appends wait while true. */
  holds = false
  #held: (() => void)[] = []
  /** Whether the partitions are led here for sure; false: another broker leads them by now. */
  confirms = true
  /** Reading waits for this. */
  gate: Promise<void> = Promise.resolve()

  append(partition: number, records: readonly KeyValue[]): Promise<ErrorCode> {
    const { error } = this
    return new Promise((resolve) => {
      const done = () => {
        if (error === ErrorCode.NONE) this.of(partition).push(...records)
        resolve(error)
      }
      if (this.holds) this.#held.push(done)
      else done()
    })
  }

  confirm(): true | Promise<boolean> {
    return this.confirms || Promise.resolve(false)
  }

  release(): void {
    this.holds = false
    const held = this.#held
    this.#held = []
    for (const done of held) done()
  }

  of(partition: number): KeyValue[] {
    let records = this.partitions.get(partition)
    if (records === undefined) this.partitions.set(partition, (records = []))
    return records
  }

  async *read(partition: number): AsyncIterable<LogRecord> {
    await this.gate
    for (const [offset, { key, value }] of this.of(partition).entries()) {
      // Buffers whose memory is used again after the record, as a reader's is.
      const lent = { key: Buffer.from(key), value: value === null ? null : Buffer.from(value) }
      yield { ...lent, timestampMs: 0, offset }
      lent.key.fill(0xee)
      lent.value?.fill(0xee)
    }
  }
}

export const silent: Logger = { error() {}, warn() {}, info() {}, debug() {} }

export function countingRandom(): Random {
  let count = 0
  return {
    next: () => 0.5,
    bytes: (size) => {
      count += 1
      const made = Buffer.alloc(size)
      made.writeUInt32BE(count, size - 4)
      return made
    },
  }
}

const SETTINGS: readonly (readonly [string, string])[] = [['group.initial.rebalance.delay.ms', '0']]

export class World {
  readonly clock = new VirtualClock()
  readonly log = new MemoryLog()
  readonly random = countingRandom()
  readonly config: BrokerConfig
  readonly image: MetadataImage
  readonly partitionCount: number
  coordinator!: GroupCoordinator

  private constructor(settings: readonly (readonly [string, string])[], partitionCount: number) {
    this.config = new BrokerConfig([...SETTINGS, ...settings])
    this.image = new MetadataImage(this.config)
    this.partitionCount = partitionCount
    this.image.apply({
      type: 'register-broker',
      nodeId: 1,
      host: 'localhost',
      port: 9092,
      rack: null,
      endpoints: [{ listener: 'PLAINTEXT', host: 'localhost', port: 9092 }],
    })
    this.createTopic('__consumer_offsets', partitionCount)
  }

  static async open(settings: readonly (readonly [string, string])[] = [], partitionCount = 1): Promise<World> {
    const world = new World(settings, partitionCount)
    await world.restart()
    return world
  }

  /** A new coordinator over the same log: what a restart leaves. */
  async restart(): Promise<void> {
    this.coordinator?.close()
    this.coordinator = this.fresh()
    for (let partition = 0; partition < this.partitionCount; partition++) await this.coordinator.lead(partition)
  }

  fresh(): GroupCoordinator {
    const { clock, random, config, log } = this
    return new GroupCoordinator({
      config,
      environment: { clock, random, logger: silent },
      log,
      image: () => this.image,
    })
  }

  createTopic(name: string, partitionCount = 3): string {
    const topicId = Buffer.from(`${name}................`.slice(0, 16)).toString('base64url')
    return this.createTopicWithId(name, topicId, partitionCount)
  }

  createTopicWithId(name: string, topicId: string, partitionCount = 3): string {
    this.image.apply({
      type: 'create-topic',
      name,
      topicId,
      assignments: Array.from({ length: partitionCount }, () => [1]),
      configs: {},
    })
    for (const { groupId } of this.image.topicByName(name)!.partitions) this.image.setLeader(groupId, 1, 0)
    return topicId
  }

  deleteTopic(name: string): void {
    const { topicId } = this.image.topicByName(name)!
    this.image.apply({ type: 'delete-topic', topicId })
    this.coordinator.topicDeleted(name, topicId)
  }

  joinCall(groupId: string, memberId: string, more: Partial<JoinCall> = {}): JoinCall {
    return {
      groupId,
      memberId,
      groupInstanceId: null,
      clientId: 'client',
      clientHost: '/127.0.0.1',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 60_000,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: subscription('t') }],
      requiresKnownMemberId: false,
      supportsSkipAssignment: false,
      ...more,
    }
  }

  /** A Stable group of one member; its id. */
  async stable(groupId: string, more: Partial<JoinCall> = {}): Promise<string> {
    const joining = this.coordinator.join(this.joinCall(groupId, '', more))
    await this.clock.advance(0)
    const { memberId, generationId, error } = await joining
    if (error !== ErrorCode.NONE) throw new Error(`join refused with ${error}`)
    await this.coordinator.sync({
      groupId,
      memberId,
      groupInstanceId: more.groupInstanceId ?? null,
      generationId,
      protocolType: null,
      protocolName: null,
      assignments: [{ memberId, assignment: bytes('mine') }],
    })
    return memberId
  }

  async commit(
    groupId: string,
    offset: number,
    more: {
      topic?: string
      partition?: number
      memberId?: string
      generationId?: number
      retentionTimeMs?: number
      metadata?: string
    } = {},
  ): Promise<ErrorCode> {
    const topic = more.topic ?? 't'
    const errors = await this.coordinator.commit({
      groupId,
      memberId: more.memberId ?? '',
      groupInstanceId: null,
      generationId: more.generationId ?? -1,
      retentionTimeMs: more.retentionTimeMs ?? -1,
      unknownGroupError: ErrorCode.GROUP_ID_NOT_FOUND,
      offsets: [
        {
          topic,
          topicId: this.image.topicByName(topic)?.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA',
          partition: more.partition ?? 0,
          offset,
          leaderEpoch: 7,
          metadata: more.metadata ?? '',
        },
      ],
    })
    return errors[0]!
  }

  list(): readonly ListedGroup[] {
    const listed = this.coordinator.list()
    if (typeof listed === 'number') throw new Error(`list refused with ${listed}`)
    return listed
  }

  /** undefined: none; a number below 0 is an error's negative. */
  offset(groupId: string, topic = 't', partition = 0): number | undefined {
    const fetched = this.coordinator.fetchOffsets(groupId, [{ topic, partition }])
    return typeof fetched === 'number' ? -fetched : fetched[0]!.committed?.offset
  }
}
