// The group coordinator of one shard: the groups and committed offsets of the __consumer_offsets partitions led here.
//
// Created by shard.ts, touched only from that shard's thread. It drives the state machines of classic.ts: keeps the clients
// that wait, sets the timers, appends what is to be kept, and answers only what is durable. A partition is loaded from its log
// by lead() and forgotten by resign(); in between, memory holds what the log holds. Which group ids are legal is the handlers'
// business: '' is one for committed offsets.

import { ErrorCode } from '../../protocol/errors.ts'
import { invariant } from '../../protocol/invariant.ts'
import type { MetadataImage } from '../cluster/metadata.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment, Timer } from '../environment.ts'
import type {
  CommitCall,
  CommitEntry,
  DeleteOffsetsAnswer,
  FetchedOffset,
  GroupDescription,
  JoinCall,
  ListedGroup,
  MemberIdentity,
  OffsetsLog,
  SyncCall,
} from './calls.ts'
import {
  ClassicGroup,
  type ClassicGroupOptions,
  CONSUMER_PROTOCOL_TYPE,
  joinRefusal,
  NEW_MEMBER_JOIN_TIMEOUT_MS,
  newGroupMetadata,
} from './classic.ts'
import {
  type Effect,
  type Event,
  GroupState,
  type JoinAnswer,
  type LeaveAnswer,
  type LeaveEvent,
  type Moment,
  type SyncAnswer,
  storeErrorToAnswer,
} from './classic-events.ts'
import { copyOf, memberBytes, metadataOf, NO_BYTES } from './members.ts'
import { type CommittedOffset, GroupOffsets, type TopicPartition } from './offsets.ts'
import { groupRecord, type KeyValue, NO_TOPIC_ID, offsetRecord } from './records.ts'
import { replay } from './replay.ts'
import { offsetsPartitionOf } from './routing.ts'

export type { LogRecord, OffsetsLog } from './calls.ts'

export interface GroupCoordinatorOptions {
  readonly config: GroupConfig
  readonly environment: Pick<Environment, 'clock' | 'random' | 'logger'>
  readonly log: OffsetsLog
  image(): Pick<MetadataImage, 'topicByName'>
  /** What groups may hold in memory; default HELD_BYTES_MAX. */
  readonly heldBytesMax?: number
}

export type GroupConfig = Pick<
  BrokerConfig,
  | 'groupInitialRebalanceDelayMs'
  | 'groupMinSessionTimeoutMs'
  | 'groupMaxSessionTimeoutMs'
  | 'groupMaxSize'
  | 'offsetMetadataMaxBytes'
  | 'offsetsCommitTimeoutMs'
  | 'offsetsRetentionCheckIntervalMs'
  | 'offsetsRetentionMinutes'
>

interface Group {
  readonly groupId: string
  readonly classic: ClassicGroup
  readonly offsets: GroupOffsets
  timer: Timer | undefined
  timerAtMs: number
  /** The last timer came so late that nobody was blamed for it; the next one counts. */
  hasStalled: boolean
  /** Of the coordinator's #heldBytes. */
  countedBytes: number
  /** Tombstones are on their way: who wants to use the group waits, then finds it gone. */
  deleting: Promise<void> | undefined
}

interface LedPartition {
  readonly partition: number
  readonly groups: Map<string, Group>
  isLoading: boolean
  isResigned: boolean
  /** Topics deleted while the log was being read. */
  readonly deletedTopics: string[]
}

type AnswerEffect = Exclude<Effect, { type: 'store' }>

/**
 * What the groups of a shard may hold in memory, roughly. Anybody may name ever new groups, join with ever more, and commit for all partitions
 * there are; beyond this only what does not grow is taken. What the log holds is loaded whatever it takes.
 */
const HELD_BYTES_MAX = 256 << 20
/** What a group takes beside its members and offsets. */
const GROUP_OVERHEAD_BYTES = 2048

/** A timer this late means that the process stood still, not that clients were silent. */
const STALL_MS = 1_000
/** setTimeout takes no more. */
const TIMER_MAX_MS = 0x7fff_ffff
/** Tombstones of one append: far below message.max.bytes. */
const TOMBSTONES_PER_BATCH = 500
/** Leaves room for the uuid in a string of 32767 bytes. */
const MEMBER_ID_PREFIX_CHARS_MAX = 8_000
const MINUTE_MS = 60_000
const ANSWER_OF_ITS_KIND = 'a request gets an answer of its kind'

export class GroupCoordinator {
  readonly #config: GroupConfig
  readonly #environment: GroupCoordinatorOptions['environment']
  readonly #log: OffsetsLog
  readonly #image: GroupCoordinatorOptions['image']
  readonly #groupOptions: ClassicGroupOptions
  readonly #partitions = new Map<number, LedPartition>()
  readonly #waiting = new Map<number, (effect: AnswerEffect) => void>()
  readonly #heldBytesMax: number
  #heldBytes = 0
  #nextRequest = 1
  #retentionTimer: Timer | undefined
  #isClosed = false

  constructor({ config, environment, log, image, heldBytesMax }: GroupCoordinatorOptions) {
    this.#heldBytesMax = heldBytesMax ?? HELD_BYTES_MAX
    this.#config = config
    this.#environment = environment
    this.#log = log
    this.#image = image
    this.#groupOptions = {
      get initialRebalanceDelayMs() {
        return config.groupInitialRebalanceDelayMs
      },
      get maxSize() {
        return config.groupMaxSize
      },
      newMemberJoinTimeoutMs: NEW_MEMBER_JOIN_TIMEOUT_MS,
    }
  }

  // Leadership

  /**
   * This shard leads that partition from now on: reads its groups. Requests get COORDINATOR_LOAD_IN_PROGRESS meanwhile.
   * @throws what the log's read throws; the partition is then not led
   */
  async lead(partition: number): Promise<void> {
    // A shard that stops may win an election in its last moments.
    if (this.#isClosed) return
    this.resign(partition)
    const led: LedPartition = { partition, groups: new Map(), isLoading: true, isResigned: false, deletedTopics: [] }
    this.#partitions.set(partition, led)
    try {
      await this.#load(led)
    } catch (error) {
      this.resign(partition)
      throw error
    }
    this.#armRetention()
  }

  /** This shard leads that partition no longer: who waits is sent to ask for the coordinator again. */
  resign(partition: number): void {
    const led = this.#partitions.get(partition)
    if (led === undefined) return
    this.#partitions.delete(partition)
    led.isResigned = true
    for (const group of led.groups.values()) this.#retire(group, ErrorCode.NOT_COORDINATOR)
    led.groups.clear()
  }

  close(): void {
    this.#isClosed = true
    this.#retentionTimer?.cancel()
    for (const partition of [...this.#partitions.keys()]) this.resign(partition)
  }

  /** Forgets what was committed for a topic that is gone, in every group. */
  topicDeleted(topicName: string, _topicId: string): void {
    for (const led of this.#partitions.values()) {
      if (led.isLoading) led.deletedTopics.push(topicName)
      else this.#forgetTopic(led, topicName)
    }
  }

  // Membership

  async join(call: JoinCall): Promise<JoinAnswer> {
    const { groupMinSessionTimeoutMs, groupMaxSessionTimeoutMs } = this.#config
    if (call.sessionTimeoutMs < groupMinSessionTimeoutMs || call.sessionTimeoutMs > groupMaxSessionTimeoutMs) {
      return joinRefusal(call.memberId, ErrorCode.INVALID_SESSION_TIMEOUT)
    }
    const led = this.#led(call.groupId)
    if (typeof led === 'number') return joinRefusal(call.memberId, led)
    while (isBeingDeleted(led, call.groupId)) await led.groups.get(call.groupId)?.deleting
    if (led.isResigned) return joinRefusal(call.memberId, ErrorCode.NOT_COORDINATOR)
    let group = led.groups.get(call.groupId)
    let created: Promise<ErrorCode> | undefined
    if (group === undefined && call.memberId !== '') return joinRefusal(call.memberId, ErrorCode.UNKNOWN_MEMBER_ID)
    const growthBytes = memberBytes(call.protocols) - (group?.classic.heldBytesOf(call.memberId) ?? 0)
    if (!this.#mayGrow(growthBytes)) return joinRefusal(call.memberId, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    if (group === undefined) {
      group = this.#addGroup(led, call.groupId)
      const metadata = newGroupMetadata(this.#environment.clock.nowMs())
      created = this.#append(led, [groupRecord(call.groupId, metadata)])
    }
    const effect = await this.#ask(led, group, (request) => ({
      type: 'join',
      request,
      memberId: call.memberId,
      groupInstanceId: call.groupInstanceId,
      newMemberId: call.memberId === '' ? this.#newMemberId(call) : '',
      clientId: call.clientId,
      clientHost: call.clientHost,
      sessionTimeoutMs: call.sessionTimeoutMs,
      rebalanceTimeoutMs: call.rebalanceTimeoutMs,
      protocolType: call.protocolType,
      protocols: call.protocols.map(({ name, metadata }) => ({ name, metadata: copyOf(metadata) })),
      requiresKnownMemberId: call.requiresKnownMemberId,
      supportsSkipAssignment: call.supportsSkipAssignment,
    }))
    invariant(effect.type === 'join-answer', ANSWER_OF_ITS_KIND)
    const error = (await created) ?? ErrorCode.NONE
    return error === ErrorCode.NONE ? effect.answer : joinRefusal(call.memberId, storeErrorToAnswer(error))
  }

  async sync(call: SyncCall): Promise<SyncAnswer> {
    const led = this.#led(call.groupId)
    if (typeof led === 'number') return syncRefusal(led)
    const group = led.groups.get(call.groupId)
    if (group === undefined) return syncRefusal(ErrorCode.UNKNOWN_MEMBER_ID)
    const effect = await this.#ask(led, group, (request) => ({
      type: 'sync',
      request,
      memberId: call.memberId,
      groupInstanceId: call.groupInstanceId,
      generationId: call.generationId,
      protocolType: call.protocolType,
      protocolName: call.protocolName,
      assignments: call.assignments.map(({ memberId, assignment }) => ({ memberId, assignment: copyOf(assignment) })),
    }))
    invariant(effect.type === 'sync-answer', ANSWER_OF_ITS_KIND)
    return effect.answer
  }

  async heartbeat(call: MemberIdentity): Promise<ErrorCode> {
    const led = this.#led(call.groupId)
    // Blindly: a member that heard of a load would rejoin, and all others with it.
    if (led === ErrorCode.COORDINATOR_LOAD_IN_PROGRESS) return ErrorCode.NONE
    if (typeof led === 'number') return led
    const group = led.groups.get(call.groupId)
    if (group === undefined) return ErrorCode.UNKNOWN_MEMBER_ID
    const effect = await this.#ask(led, group, (request) => ({
      type: 'heartbeat',
      request,
      memberId: call.memberId,
      groupInstanceId: call.groupInstanceId,
      generationId: call.generationId,
    }))
    invariant(effect.type === 'heartbeat-answer', ANSWER_OF_ITS_KIND)
    return effect.answer
  }

  async leave(groupId: string, members: LeaveEvent['members']): Promise<LeaveAnswer> {
    const led = this.#led(groupId)
    if (typeof led === 'number') return { error: led, members: [] }
    const group = led.groups.get(groupId)
    if (group === undefined) {
      const error = ErrorCode.UNKNOWN_MEMBER_ID
      return { error: ErrorCode.NONE, members: members.map((member) => ({ ...member, error })) }
    }
    const effect = await this.#ask(led, group, (request) => ({ type: 'leave', request, members }))
    invariant(effect.type === 'leave-answer', ANSWER_OF_ITS_KIND)
    return effect.answer
  }

  // Offsets

  /** @returns an error per entry, in order */
  async commit(call: CommitCall): Promise<readonly ErrorCode[]> {
    const all = (error: ErrorCode) => call.offsets.map(() => error)
    const led = this.#led(call.groupId)
    if (typeof led === 'number') return all(led)
    while (isBeingDeleted(led, call.groupId)) await led.groups.get(call.groupId)?.deleting
    if (led.isResigned) return all(ErrorCode.NOT_COORDINATOR)
    let group = led.groups.get(call.groupId)
    if (group === undefined && call.generationId >= 0) return all(call.unknownGroupError)
    const refused = group?.classic.checkCommit(call.memberId, call.groupInstanceId, call.generationId)
    if (refused !== undefined && refused !== ErrorCode.NONE) return all(refused)
    const { offsetMetadataMaxBytes } = this.#config
    const accepted = call.offsets.filter(({ metadata }) => metadata.length <= offsetMetadataMaxBytes)
    const newCount = accepted.filter(
      ({ topic, partition }) => group?.offsets.get(topic, partition) === undefined,
    ).length
    // Each takes more than a byte.
    if (!this.#mayGrow(newCount)) return all(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    group ??= accepted.length === 0 ? undefined : this.#addGroup(led, call.groupId)
    if (group !== undefined && call.memberId !== '') {
      this.#run(led, group, { type: 'committed', memberId: call.memberId })
    }
    const error = group === undefined ? ErrorCode.NONE : await this.#commit(led, group, call, accepted)
    return call.offsets.map(({ metadata }) =>
      metadata.length <= offsetMetadataMaxBytes ? error : ErrorCode.OFFSET_METADATA_TOO_LARGE,
    )
  }

  async #commit(
    led: LedPartition,
    group: Group,
    call: CommitCall,
    entries: readonly CommitEntry[],
  ): Promise<ErrorCode> {
    if (entries.length === 0) return ErrorCode.NONE
    const nowMs = this.#environment.clock.nowMs()
    const commits = entries.map((entry) => ({
      topic: entry.topic,
      partition: entry.partition,
      committed: {
        offset: entry.offset,
        leaderEpoch: entry.leaderEpoch,
        metadata: entry.metadata,
        commitTimestampMs: nowMs,
        expireTimestampMs: call.retentionTimeMs < 0 ? -1 : nowMs + call.retentionTimeMs,
        topicId: entry.topicId,
      },
    }))
    for (const commit of commits) group.offsets.beginWriting(commit)
    const records = commits.map(({ topic, partition, committed }) =>
      offsetRecord(call.groupId, topic, partition, committed),
    )
    const error = await this.#append(led, records, (outcome) => {
      for (const commit of commits) {
        group.offsets.endWriting(commit)
        if (outcome === ErrorCode.NONE) group.offsets.set(commit.topic, commit.partition, commit.committed)
      }
      this.#count(group)
    })
    return error === ErrorCode.MESSAGE_TOO_LARGE ? ErrorCode.INVALID_COMMIT_OFFSET_SIZE : storeErrorToAnswer(error)
  }

  /**
   * Whether fetchOffsets() shows what is committed: a coordinator that was replaced and has not heard of it must not answer. Asked
   * before, answered by the lease of the leader or by a majority.
   * @returns NONE, or what to answer instead
   */
  async confirm(groupId: string): Promise<ErrorCode> {
    const led = this.#led(groupId)
    if (typeof led === 'number') return led
    const confirmed = this.#log.confirm(led.partition)
    const leads = confirmed === true || (await confirmed)
    return leads && !led.isResigned ? ErrorCode.NONE : ErrorCode.NOT_COORDINATOR
  }

  /**
   * What a group has committed; nothing for a group that does not exist, which is no error.
   * @param wanted null: everything
   */
  fetchOffsets(groupId: string, wanted: readonly TopicPartition[] | null): readonly FetchedOffset[] | ErrorCode {
    const led = this.#led(groupId)
    if (typeof led === 'number') return led
    const offsets = led.groups.get(groupId)?.offsets
    if (wanted !== null) {
      return wanted.map(({ topic, partition }) => ({
        topic,
        partition,
        committed: this.#ofThisTopic(topic, offsets?.get(topic, partition)),
      }))
    }
    const found: FetchedOffset[] = []
    for (const [topic, ofTopic] of offsets?.topics() ?? []) {
      for (const [partition, stored] of ofTopic) {
        const committed = this.#ofThisTopic(topic, stored)
        if (committed !== undefined) found.push({ topic, partition, committed })
      }
    }
    return found
  }

  async deleteOffsets(groupId: string, wanted: readonly TopicPartition[]): Promise<DeleteOffsetsAnswer> {
    const refusal = (error: ErrorCode) => ({ error, errors: [] })
    const led = this.#led(groupId)
    if (typeof led === 'number') return refusal(led)
    while (isBeingDeleted(led, groupId)) await led.groups.get(groupId)?.deleting
    if (led.isResigned) return refusal(ErrorCode.NOT_COORDINATOR)
    const group = led.groups.get(groupId)
    if (group === undefined) return refusal(ErrorCode.GROUP_ID_NOT_FOUND)
    const { classic, offsets } = group
    if (classic.state !== GroupState.empty && classic.protocolType !== CONSUMER_PROTOCOL_TYPE) {
      return refusal(ErrorCode.NON_EMPTY_GROUP)
    }
    const isFree = ({ topic }: TopicPartition) => !classic.isSubscribedTo(topic)
    const stored = wanted.filter(
      (item) => isFree(item) && (offsets.isWriting(item) || offsets.get(item.topic, item.partition) !== undefined),
    )
    const error = await this.#forget(led, group, stored)
    if (error !== ErrorCode.NONE) return refusal(storeErrorToAnswer(error))
    return {
      error: ErrorCode.NONE,
      errors: wanted.map((item) => (isFree(item) ? ErrorCode.NONE : ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)),
    }
  }

  // Administration

  /** @returns GROUP_ID_NOT_FOUND for a group that does not exist */
  describe(groupId: string): GroupDescription | ErrorCode {
    const led = this.#led(groupId)
    if (typeof led === 'number') return led
    const classic = led.groups.get(groupId)?.classic
    if (classic === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    const isStable = classic.state === GroupState.stable
    return {
      state: classic.state,
      protocolType: classic.protocolType ?? '',
      protocolData: isStable ? (classic.protocolName ?? '') : '',
      members: [...classic.members()].map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        memberMetadata: isStable ? metadataOf(member, classic.protocolName) : NO_BYTES,
        memberAssignment: isStable ? member.assignment : NO_BYTES,
      })),
    }
  }

  /** The groups of this shard; COORDINATOR_LOAD_IN_PROGRESS when some are not known yet. */
  list(): readonly ListedGroup[] | ErrorCode {
    const found: ListedGroup[] = []
    for (const led of this.#partitions.values()) {
      if (led.isLoading) return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
      for (const { groupId, classic } of led.groups.values()) {
        found.push({ groupId, protocolType: classic.protocolType ?? '', state: classic.state })
      }
    }
    return found
  }

  async deleteGroup(groupId: string): Promise<ErrorCode> {
    const led = this.#led(groupId)
    if (typeof led === 'number') return led
    while (isBeingDeleted(led, groupId)) await led.groups.get(groupId)?.deleting
    if (led.isResigned) return ErrorCode.NOT_COORDINATOR
    const group = led.groups.get(groupId)
    if (group === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    if (group.classic.state !== GroupState.empty) return ErrorCode.NON_EMPTY_GROUP
    return storeErrorToAnswer(await this.#delete(led, group))
  }

  // Observation

  get groupCount(): number {
    let count = 0
    for (const led of this.#partitions.values()) count += led.groups.size
    return count
  }

  /** For the lag of groups: what each has committed. */
  *committedOffsets(): IterableIterator<{ groupId: string; topic: string; partition: number; offset: number }> {
    for (const led of this.#partitions.values()) {
      for (const { groupId, offsets } of led.groups.values()) {
        for (const [topic, ofTopic] of offsets.topics()) {
          for (const [partition, { offset }] of ofTopic) yield { groupId, topic, partition, offset }
        }
      }
    }
  }

  /** Removes every offset whose time is over and every empty group without offsets; runs by itself at its interval. */
  async expireOffsets(): Promise<void> {
    for (const led of [...this.#partitions.values()]) {
      if (led.isLoading) continue
      for (const group of [...led.groups.values()]) {
        if (led.isResigned || group.deleting !== undefined) continue
        await this.#expire(led, group)
      }
    }
  }

  // Loading

  async #load(led: LedPartition): Promise<void> {
    const { logger } = this.#environment
    const startMs = this.#environment.clock.monotonicMs()
    const {
      groups: stored,
      recordCount,
      foreignCount,
    } = await replay(this.#log.read(led.partition), () => led.isResigned)
    if (led.isResigned) return
    led.isLoading = false
    for (const [groupId, { metadata, offsets }] of stored) {
      const classic =
        metadata === null
          ? new ClassicGroup(groupId, this.#groupOptions)
          : ClassicGroup.restore(groupId, this.#groupOptions, metadata)
      const group = this.#addGroup(led, groupId, classic, offsets)
      this.#run(led, group, { type: 'loaded' })
    }
    for (const topic of led.deletedTopics) this.#forgetTopic(led, topic)
    const loadMs = Math.round(this.#environment.clock.monotonicMs() - startMs)
    const { partition, groups } = led
    if (recordCount > 0) {
      logger.info('group coordinator loaded a partition', { partition, groups: groups.size, recordCount, loadMs })
    }
    if (foreignCount > 0) {
      logger.warn('records of __consumer_offsets were passed over: not of a kind this broker reads', {
        partition,
        foreignCount,
      })
    }
  }

  #addGroup(
    led: LedPartition,
    groupId: string,
    classic = new ClassicGroup(groupId, this.#groupOptions),
    offsets = new GroupOffsets(),
  ): Group {
    const group: Group = {
      groupId,
      classic,
      offsets,
      timer: undefined,
      timerAtMs: Number.POSITIVE_INFINITY,
      hasStalled: false,
      countedBytes: 0,
      deleting: undefined,
    }
    led.groups.set(groupId, group)
    this.#count(group)
    return group
  }

  // Memory

  #mayGrow(bytes: number): boolean {
    return bytes <= 0 || this.#heldBytes + bytes <= this.#heldBytesMax
  }

  /** The group holds more or less than before. */
  #count(group: Group): void {
    // A retired one holds nothing more, whatever still ends of what was under way for it.
    if (group.classic.state === GroupState.dead) return
    const bytes = GROUP_OVERHEAD_BYTES + group.classic.heldBytes + group.offsets.heldBytes
    this.#heldBytes += bytes - group.countedBytes
    group.countedBytes = bytes
  }

  #led(groupId: string): LedPartition | ErrorCode {
    if (this.#isClosed) return ErrorCode.COORDINATOR_NOT_AVAILABLE
    const partition = offsetsPartitionOf(groupId, this.#image())
    const led = partition === undefined ? undefined : this.#partitions.get(partition)
    if (led === undefined) return ErrorCode.NOT_COORDINATOR
    return led.isLoading ? ErrorCode.COORDINATOR_LOAD_IN_PROGRESS : led
  }

  // Driving the state machine

  #ask(led: LedPartition, group: Group, event: (request: number) => Event): Promise<AnswerEffect> {
    return new Promise((resolve) => {
      const request = this.#nextRequest++
      this.#waiting.set(request, resolve)
      this.#run(led, group, event(request))
    })
  }

  #run(led: LedPartition, group: Group, event: Event): void {
    const effects = group.classic.step(event, this.#now())
    this.#count(group)
    let stored: Promise<ErrorCode> | undefined
    for (const effect of effects) if (effect.type === 'store') stored = this.#store(led, group, effect)
    for (const effect of effects) {
      if (effect.type === 'store') continue
      if (stored === undefined) this.#answer(effect)
      else stored.then((error) => this.#answer(error === ErrorCode.NONE ? effect : afterFailedStore(effect, error)))
    }
    this.#arm(led, group)
  }

  #answer(effect: AnswerEffect): void {
    const resolve = this.#waiting.get(effect.request)
    invariant(resolve !== undefined, 'a request is answered once', effect.request)
    this.#waiting.delete(effect.request)
    resolve(effect)
  }

  async #store(led: LedPartition, group: Group, effect: Effect & { type: 'store' }): Promise<ErrorCode> {
    const error = await this.#append(led, [groupRecord(group.groupId, effect.metadata)])
    if (error !== ErrorCode.NONE) {
      this.#environment.logger.warn('the state of a group could not be stored', { groupId: group.groupId, error })
    }
    this.#run(led, group, { type: 'stored', store: effect.store, error })
    return error
  }

  #arm(led: LedPartition, group: Group): void {
    const atMs = group.classic.wakeAtMs
    // A timer that comes early finds nothing due and is set again: cheaper than moving it with every heartbeat.
    if (group.timer !== undefined && group.timerAtMs <= atMs) return
    group.timer?.cancel()
    group.timer = undefined
    group.timerAtMs = atMs
    if (atMs === Number.POSITIVE_INFINITY || led.isResigned) return
    const { clock } = this.#environment
    const delayMs = Math.min(Math.max(atMs - clock.monotonicMs(), 0), TIMER_MAX_MS)
    group.timer = clock.after(delayMs, () => this.#onTimer(led, group))
  }

  #onTimer(led: LedPartition, group: Group): void {
    group.timer = undefined
    const stallMs = this.#environment.clock.monotonicMs() - group.timerAtMs
    const hasStalled = stallMs > STALL_MS && !group.hasStalled
    group.hasStalled = hasStalled
    this.#run(led, group, hasStalled ? { type: 'stalled', stallMs } : { type: 'tick' })
  }

  #retire(group: Group, error: ErrorCode): void {
    group.timer?.cancel()
    group.timer = undefined
    this.#heldBytes -= group.countedBytes
    group.countedBytes = 0
    for (const effect of group.classic.step({ type: 'retire', error }, this.#now())) {
      if (effect.type !== 'store') this.#answer(effect)
    }
  }

  #now(): Moment {
    const { clock } = this.#environment
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.nowMs() }
  }

  /** As Kafka makes it: who (instance or client), then a random uuid. */
  #newMemberId({ clientId, groupInstanceId }: JoinCall): string {
    const bytes = Buffer.from(this.#environment.random.bytes(16))
    bytes[6] = (bytes[6]! & 0x0f) | 0x40
    bytes[8] = (bytes[8]! & 0x3f) | 0x80
    const hex = bytes.toString('hex')
    const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
    return `${(groupInstanceId ?? clientId).slice(0, MEMBER_ID_PREFIX_CHARS_MAX)}-${uuid}`
  }

  // The log

  /**
   * Appends a batch. The answer may come before the outcome is known: after offsets.commit.timeout.ms it is REQUEST_TIMED_OUT.
   * @param whenKnown gets the outcome itself, in log order
   */
  #append(
    led: LedPartition,
    records: readonly KeyValue[],
    whenKnown: (outcome: ErrorCode) => void = () => {},
  ): Promise<ErrorCode> {
    return new Promise((resolve) => {
      if (led.isResigned) {
        // Whoever coordinates these groups now, perhaps again we, did not decide this.
        whenKnown(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        resolve(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return
      }
      const { clock } = this.#environment
      const timer = clock.after(this.#config.offsetsCommitTimeoutMs, () => resolve(ErrorCode.REQUEST_TIMED_OUT))
      this.#log.append(led.partition, records).then((outcome) => {
        timer.cancel()
        whenKnown(outcome)
        resolve(outcome)
      })
    })
  }

  async #forget(led: LedPartition, group: Group, offsets: readonly TopicPartition[]): Promise<ErrorCode> {
    const batches: Promise<ErrorCode>[] = []
    for (let at = 0; at < offsets.length; at += TOMBSTONES_PER_BATCH) {
      const batch = offsets.slice(at, at + TOMBSTONES_PER_BATCH)
      const records = batch.map(({ topic, partition }) => offsetRecord(group.groupId, topic, partition, null))
      batches.push(
        this.#append(led, records, (outcome) => {
          if (outcome !== ErrorCode.NONE) return
          for (const { topic, partition } of batch) group.offsets.delete(topic, partition)
          this.#count(group)
        }),
      )
    }
    const outcomes = await Promise.all(batches)
    return outcomes.find((outcome) => outcome !== ErrorCode.NONE) ?? ErrorCode.NONE
  }

  #forgetTopic(led: LedPartition, topic: string): void {
    for (const group of led.groups.values()) {
      const offsets = group.offsets.all(topic)
      if (offsets.length === 0) continue
      this.#forget(led, group, offsets).then((error) => {
        if (error === ErrorCode.NONE) return
        const { groupId } = group
        this.#environment.logger.warn('offsets of a deleted topic stay in the log', { groupId, topic, error })
      })
      // At once: a topic of the same name must not inherit them, and nobody may read them meanwhile.
      for (const { partition } of offsets) group.offsets.delete(topic, partition)
      this.#count(group)
    }
  }

  /** Offsets first, then the group; it is gone when the last tombstone is durable. */
  async #delete(led: LedPartition, group: Group): Promise<ErrorCode> {
    const forgotten = this.#forget(led, group, group.offsets.all())
    let known = () => {}
    group.deleting = new Promise((resolve) => (known = resolve))
    const removed = this.#append(led, [groupRecord(group.groupId, null)], (outcome) => {
      group.deleting = undefined
      if (outcome === ErrorCode.NONE && !led.isResigned) {
        led.groups.delete(group.groupId)
        this.#retire(group, ErrorCode.UNKNOWN_MEMBER_ID)
      }
      known()
    })
    const error = await forgotten
    return error === ErrorCode.NONE ? removed : error
  }

  // Retention

  #armRetention(): void {
    if (this.#retentionTimer !== undefined || this.#isClosed) return
    const intervalMs = Math.min(this.#config.offsetsRetentionCheckIntervalMs, TIMER_MAX_MS)
    this.#retentionTimer = this.#environment.clock.after(intervalMs, () => {
      this.expireOffsets().then(() => {
        this.#retentionTimer = undefined
        if (this.#partitions.size > 0) this.#armRetention()
      })
    })
  }

  async #expire(led: LedPartition, group: Group): Promise<void> {
    const { classic, offsets } = group
    const expired = offsets.expired(
      {
        retentionMs: this.#config.offsetsRetentionMinutes * MINUTE_MS,
        unusedSinceMs: (topic, committed) => unusedSinceMs(classic, topic, committed),
      },
      this.#environment.clock.nowMs(),
    )
    const isAbandoned =
      classic.state === GroupState.empty &&
      classic.pendingJoinCount === 0 &&
      offsets.writingCount === 0 &&
      offsets.count === expired.length
    const error = isAbandoned
      ? await this.#delete(led, group)
      : expired.length === 0
        ? ErrorCode.NONE
        : await this.#forget(led, group, expired)
    if (error !== ErrorCode.NONE) {
      this.#environment.logger.warn('expired offsets could not be removed', { groupId: group.groupId, error })
    }
  }

  /** An offset that was committed for an earlier topic of the same name is none. */
  #ofThisTopic(topic: string, committed: CommittedOffset | undefined): CommittedOffset | undefined {
    if (committed === undefined || committed.topicId === NO_TOPIC_ID) return committed
    const current = this.#image().topicByName(topic)
    return current === undefined || current.topicId === committed.topicId ? committed : undefined
  }
}

/**
 * Whoever changes a group waits while this holds, and looks the group up after: with nothing awaited between the look and the
 * change, no two requests make the same group.
 */
function isBeingDeleted(led: LedPartition, groupId: string): boolean {
  return led.groups.get(groupId)?.deleting !== undefined
}

/** Since when nobody uses an offset, wall clock ms; undefined while somebody may. */
function unusedSinceMs(classic: ClassicGroup, topic: string, committed: CommittedOffset): number | undefined {
  if (classic.protocolType === undefined) return committed.commitTimestampMs
  if (classic.state === GroupState.empty) return classic.stateTimestampMs ?? committed.commitTimestampMs
  const isStableConsumer = classic.state === GroupState.stable && classic.protocolType === CONSUMER_PROTOCOL_TYPE
  return isStableConsumer && !classic.isSubscribedTo(topic) ? committed.commitTimestampMs : undefined
}

function syncRefusal(error: ErrorCode): SyncAnswer {
  return { error, protocolType: null, protocolName: null, assignment: NO_BYTES }
}

function afterFailedStore(effect: AnswerEffect, error: ErrorCode): AnswerEffect {
  if (effect.type !== 'leave-answer') return effect
  return { ...effect, answer: { error: storeErrorToAnswer(error), members: [] } }
}
