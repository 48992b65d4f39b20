// One classic consumer group as a state machine: an event and the time go in, the new state stays, effects come out.
//
// Pure: no timer, no log, no socket, no random number; the same events give the same effects. coordinator.ts drives it on the
// shard that leads the group's partition of __consumer_offsets: it keeps the clients that wait behind request numbers, appends
// what `store` asks for, and steps `tick` no later than wakeAtMs. The rules are Kafka's; README.md lists them.

import { ErrorCode } from '../../protocol/errors.ts'
import { invariant } from '../../protocol/invariant.ts'
import {
  type Effect,
  type Event,
  type GroupMetadata,
  GroupState,
  type HeartbeatEvent,
  type JoinAnswer,
  type JoinEvent,
  type LeaveEvent,
  type Moment,
  type SyncAnswer,
  type SyncEvent,
  storeErrorToAnswer,
} from './classic-events.ts'
import {
  type Member,
  Members,
  memberBytes,
  metadataOf,
  NO_BYTES,
  type Protocol,
  sameProtocols,
  withoutRepeats,
} from './members.ts'
import { subscribedTopicsOf } from './subscription.ts'

export interface ClassicGroupOptions {
  /** group.initial.rebalance.delay.ms */
  readonly initialRebalanceDelayMs: number
  /** group.max.size */
  readonly maxSize: number
  /** How long a first JoinGroup vouches for a member that has no id to send heartbeats with. Kafka: 5 minutes. */
  readonly newMemberJoinTimeoutMs: number
}

export const NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60_000

/** When only static members are left and none has rejoined, the join phase is tried again no sooner than this. */
const POSTPONED_JOIN_MIN_MS = 1_000

/** Ids given out that may be waited for: whoever asks for ever new ones must not fill the memory until they expire. */
const PENDING_JOINS_MAX = 10_000
/** What such an id takes. */
const PENDING_JOIN_BYTES = 200

/** The protocol type whose metadata is a ConsumerProtocolSubscription. */
export const CONSUMER_PROTOCOL_TYPE = 'consumer'

type JoinPhase =
  | { readonly kind: 'initial'; readonly atMs: number; readonly delayMs: number; readonly remainingMs: number }
  | { readonly kind: 'rebalance'; readonly atMs: number }

/** What is decided when the record in flight is durable or refused. */
type Storing =
  | {
      readonly kind: 'assignment'
      readonly generationId: number
      readonly assignments: ReadonlyMap<string, Uint8Array>
    }
  | {
      readonly kind: 'returned-static-member'
      readonly generationId: number
      readonly request: number
      readonly before: Member
      readonly member: Member
      readonly oldLeader: string
      readonly supportsSkipAssignment: boolean
    }

export class ClassicGroup {
  readonly groupId: string
  readonly #options: ClassicGroupOptions
  readonly #members = new Members()
  /** Ids given out with MEMBER_ID_REQUIRED, and when each is forgotten. */
  readonly #pendingJoin = new Map<string, number>()
  /** Members that have their JoinGroup answer and have not sent SyncGroup yet. */
  readonly #pendingSync = new Set<string>()
  readonly #storing = new Map<number, Storing>()
  #nextStore = 1
  #effects: Effect[] = []
  #state: GroupState = GroupState.empty
  #stateBefore: GroupState = GroupState.empty
  #stateTimestampMs: number | undefined
  #generationId = 0
  #protocolType: string | undefined
  #protocolName: string | undefined
  #subscribedTopics: ReadonlySet<string> | undefined
  #joinPhase: JoinPhase | undefined
  #memberAddedInInitialDelay = false
  #syncDeadlineMs = Number.POSITIVE_INFINITY
  #wakeAtMs = Number.POSITIVE_INFINITY

  constructor(groupId: string, options: ClassicGroupOptions) {
    this.groupId = groupId
    this.#options = options
  }

  /** The group as its last record in the log has it. Sessions start with the `loaded` event. */
  static restore(groupId: string, options: ClassicGroupOptions, stored: GroupMetadata): ClassicGroup {
    const group = new ClassicGroup(groupId, options)
    group.#generationId = stored.generationId
    group.#protocolType = stored.protocolType === '' ? undefined : stored.protocolType
    group.#protocolName = stored.protocolName ?? undefined
    group.#stateTimestampMs = stored.currentStateTimestampMs < 0 ? undefined : stored.currentStateTimestampMs
    group.#state = stored.members.length === 0 ? GroupState.empty : GroupState.stable
    for (const member of stored.members) {
      group.#members.add({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        rebalanceTimeoutMs: member.rebalanceTimeoutMs < 0 ? member.sessionTimeoutMs : member.rebalanceTimeoutMs,
        sessionTimeoutMs: member.sessionTimeoutMs,
        protocols: [{ name: stored.protocolName ?? '', metadata: member.subscription }],
        assignment: member.assignment,
        isNew: false,
        heldJoin: undefined,
        heldSync: undefined,
        deadlineMs: Number.POSITIVE_INFINITY,
      })
    }
    if (stored.leader !== null) group.#members.lead(stored.leader)
    group.#learnSubscribedTopics()
    return group
  }

  get state(): GroupState {
    return this.#state
  }

  get generationId(): number {
    return this.#generationId
  }

  /** undefined: no member ever joined, only offsets were committed ("simple" group). */
  get protocolType(): string | undefined {
    return this.#protocolType
  }

  get protocolName(): string | undefined {
    return this.#protocolName
  }

  get leaderId(): string | undefined {
    return this.#members.leaderId
  }

  get memberCount(): number {
    return this.#members.count
  }

  get pendingJoinCount(): number {
    return this.#pendingJoin.size
  }

  /** Roughly what members and pending ids take in memory. */
  get heldBytes(): number {
    return this.#members.heldBytes + this.#pendingJoin.size * PENDING_JOIN_BYTES
  }

  /** What a member takes of that; 0 for somebody who is none. */
  heldBytesOf(memberId: string): number {
    const member = this.#members.get(memberId)
    return member === undefined ? 0 : memberBytes(member.protocols)
  }

  /** Wall clock ms of the last change of state; undefined when an old record did not say. */
  get stateTimestampMs(): number | undefined {
    return this.#stateTimestampMs
  }

  /** Monotonic ms: nothing is due before. May be early, never late. */
  get wakeAtMs(): number {
    return this.#wakeAtMs
  }

  members(): IterableIterator<Readonly<Member>> {
    return this.#members.all()
  }

  /** Metadata that cannot be parsed counts as subscribed to everything. */
  isSubscribedTo(topic: string): boolean {
    if (this.#protocolType !== CONSUMER_PROTOCOL_TYPE || this.#state === GroupState.empty) return false
    return this.#subscribedTopics === undefined || this.#subscribedTopics.has(topic)
  }

  /** undefined while it cannot be told which topics the members read. */
  get subscribedTopics(): ReadonlySet<string> | undefined {
    return this.#subscribedTopics
  }

  /** Whether an OffsetCommit with these credentials may pass. */
  checkCommit(memberId: string, groupInstanceId: string | null, generationId: number): ErrorCode {
    if (this.#state === GroupState.dead) return ErrorCode.COORDINATOR_NOT_AVAILABLE
    if (generationId < 0 && this.#state === GroupState.empty) return ErrorCode.NONE
    if (generationId < 0 && memberId === '' && groupInstanceId === null) return ErrorCode.UNKNOWN_MEMBER_ID
    const error = this.#checkMember(memberId, groupInstanceId)
    if (error !== ErrorCode.NONE) return error
    if (generationId !== this.#generationId) return ErrorCode.ILLEGAL_GENERATION
    return this.#state === GroupState.completingRebalance ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE
  }

  step(event: Event, now: Moment): readonly Effect[] {
    this.#effects = []
    switch (event.type) {
      case 'join':
        this.#onJoin(event, now)
        break
      case 'sync':
        this.#onSync(event, now)
        break
      case 'heartbeat':
        this.#effects.push({ type: 'heartbeat-answer', request: event.request, answer: this.#onHeartbeat(event, now) })
        break
      case 'leave':
        this.#onLeave(event, now)
        break
      case 'committed':
        this.#onCommitted(event.memberId, now)
        break
      case 'stored':
        this.#onStored(event.store, event.error, now)
        break
      case 'loaded':
        for (const member of this.#members.all()) this.#extendSession(member, now)
        if (this.#members.count > this.#options.maxSize) this.#prepareRebalance(now)
        break
      case 'tick':
        this.#onTick(now)
        break
      case 'stalled':
        this.#onStalled(event.stallMs, now)
        break
      case 'retire':
        this.#onRetire(event.error, now)
        break
    }
    return this.#effects
  }

  // JoinGroup

  #onJoin(event: JoinEvent, now: Moment): void {
    const protocols = withoutRepeats(event.protocols)
    if (!this.#hasRoomFor(event.memberId)) {
      const refused = this.#members.get(event.memberId)
      this.#pendingJoin.delete(event.memberId)
      if (refused !== undefined) this.#dropMember(refused)
      this.#refuseJoin(event.request, '', ErrorCode.GROUP_MAX_SIZE_REACHED)
      this.#completeJoinPhaseIfAllJoined(now)
    } else if (this.#state === GroupState.dead) {
      this.#refuseJoin(event.request, event.memberId, ErrorCode.COORDINATOR_NOT_AVAILABLE)
    } else if (!this.#speaks(event.protocolType, protocols)) {
      this.#refuseJoin(event.request, event.memberId, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    } else if (event.memberId === '') {
      this.#onFirstJoin(event, protocols, now)
    } else {
      this.#onRejoin(event, protocols, now)
    }
  }

  /** Late rejoiners lose their place: while the group gathers, those who wait are counted. */
  #hasRoomFor(memberId: string): boolean {
    const member = this.#members.get(memberId)
    switch (this.#state) {
      case GroupState.preparingRebalance:
        return member?.heldJoin !== undefined || this.#members.awaitingJoinCount < this.#options.maxSize
      case GroupState.completingRebalance:
      case GroupState.stable:
        return member !== undefined || this.#members.count < this.#options.maxSize
      default:
        return true
    }
  }

  #speaks(protocolType: string, protocols: readonly Protocol[]): boolean {
    if (protocolType === '' || protocols.length === 0) return false
    if (this.#state === GroupState.empty) return true
    return protocolType === this.#protocolType && this.#members.allSupportOneOf(protocols)
  }

  #onFirstJoin(event: JoinEvent, protocols: readonly Protocol[], now: Moment): void {
    if (event.groupInstanceId !== null) {
      const known = this.#members.idOfInstance(event.groupInstanceId)
      if (known === undefined) this.#addMember(event, event.newMemberId, protocols, now)
      else this.#onReturnedStaticMember(this.#members.get(known)!, event, protocols, now)
    } else if (event.requiresKnownMemberId) {
      const deadlineMs = now.monotonicMs + event.sessionTimeoutMs
      this.#pendingJoin.set(event.newMemberId, deadlineMs)
      // The oldest one goes: who got it asks for another when it comes.
      for (const oldest of this.#pendingJoin.keys()) {
        if (this.#pendingJoin.size <= PENDING_JOINS_MAX) break
        this.#pendingJoin.delete(oldest)
      }
      this.#wakeBy(deadlineMs)
      this.#refuseJoin(event.request, event.newMemberId, ErrorCode.MEMBER_ID_REQUIRED)
    } else {
      this.#addMember(event, event.newMemberId, protocols, now)
    }
  }

  #onRejoin(event: JoinEvent, protocols: readonly Protocol[], now: Moment): void {
    if (event.groupInstanceId === null && this.#pendingJoin.has(event.memberId)) {
      this.#addMember(event, event.memberId, protocols, now)
      return
    }
    const error = this.#checkMember(event.memberId, event.groupInstanceId)
    if (error !== ErrorCode.NONE) {
      this.#refuseJoin(event.request, event.memberId, error)
      return
    }
    const member = this.#members.get(event.memberId)!
    const isUnchanged = sameProtocols(member.protocols, protocols)
    const isLeader = this.#members.leaderId === member.memberId
    if (this.#state === GroupState.completingRebalance && isUnchanged) {
      // The answer to its last JoinGroup was lost.
      this.#answerJoinNow(event.request, member, isLeader)
    } else if (this.#state === GroupState.stable && isUnchanged && !isLeader) {
      this.#answerJoinNow(event.request, member, false)
    } else {
      this.#updateMember(member, event, protocols)
      this.#rebalanceOrComplete(now)
    }
  }

  #addMember(event: JoinEvent, memberId: string, protocols: readonly Protocol[], now: Moment): void {
    if (this.#state === GroupState.preparingRebalance && this.#stateBefore === GroupState.empty) {
      this.#memberAddedInInitialDelay = true
    }
    if (this.#members.count === 0) this.#protocolType = event.protocolType
    this.#pendingJoin.delete(memberId)
    const deadlineMs = now.monotonicMs + this.#options.newMemberJoinTimeoutMs
    this.#members.add({
      memberId,
      groupInstanceId: event.groupInstanceId,
      clientId: event.clientId,
      clientHost: event.clientHost,
      rebalanceTimeoutMs: event.rebalanceTimeoutMs,
      sessionTimeoutMs: event.sessionTimeoutMs,
      protocols,
      assignment: NO_BYTES,
      isNew: true,
      heldJoin: event.request,
      heldSync: undefined,
      deadlineMs,
    })
    this.#wakeBy(deadlineMs)
    this.#rebalanceOrComplete(now)
  }

  /** The held JoinGroup vouches for the member until it is answered. */
  #updateMember(member: Member, event: JoinEvent, protocols: readonly Protocol[]): void {
    const earlier = this.#members.releaseJoin(member)
    // A client that asks again has given up its first request; an answer keeps its connection from waiting for ever.
    if (earlier !== undefined) this.#refuseJoin(earlier, member.memberId, ErrorCode.REBALANCE_IN_PROGRESS)
    this.#members.setProtocols(member, protocols)
    member.rebalanceTimeoutMs = event.rebalanceTimeoutMs
    member.sessionTimeoutMs = event.sessionTimeoutMs
    member.clientId = event.clientId
    member.clientHost = event.clientHost
    this.#members.holdJoin(member, event.request)
    if (!member.isNew) member.deadlineMs = Number.POSITIVE_INFINITY
  }

  /** A restarted static member has lost its id: it gets a new one, and the old one is fenced wherever it still asks. */
  #onReturnedStaticMember(member: Member, event: JoinEvent, protocols: readonly Protocol[], now: Moment): void {
    const oldLeader = this.#members.leaderId ?? ''
    const successor = this.#replaceMember(member, event.newMemberId)
    this.#updateMember(successor, event, protocols)
    if (this.#state === GroupState.preparingRebalance) {
      this.#completeJoinPhaseIfAllJoined(now)
    } else if (this.#state === GroupState.stable && this.#members.vote() === this.#protocolName) {
      this.#learnSubscribedTopics()
      this.#store({
        kind: 'returned-static-member',
        generationId: this.#generationId,
        request: event.request,
        before: member,
        member: successor,
        oldLeader,
        supportsSkipAssignment: event.supportsSkipAssignment,
      })
    } else {
      this.#prepareRebalance(now)
    }
  }

  #replaceMember(member: Member, memberId: string): Member {
    const join = this.#members.releaseJoin(member)
    if (join !== undefined) this.#refuseJoin(join, member.memberId, ErrorCode.FENCED_INSTANCE_ID)
    this.#answerSync(member, ErrorCode.FENCED_INSTANCE_ID)
    const successor = { ...member, memberId }
    this.#members.replace(member, successor)
    if (this.#pendingSync.delete(member.memberId)) this.#pendingSync.add(memberId)
    return successor
  }

  #onReturnedStaticMemberStored(
    storing: Storing & { kind: 'returned-static-member' },
    error: ErrorCode,
    now: Moment,
  ): void {
    const { member, before } = storing
    // Whatever happened to it meanwhile (fenced, removed, a new join phase) has answered or will answer its JoinGroup.
    if (this.#members.get(member.memberId) !== member || member.heldJoin !== storing.request) return
    if (this.#state !== GroupState.stable || this.#generationId !== storing.generationId) return
    this.#members.releaseJoin(member)
    if (error !== ErrorCode.NONE) {
      this.#members.replace(member, { ...before, heldJoin: undefined, heldSync: undefined })
      this.#learnSubscribedTopics()
      this.#extendSession(this.#members.get(before.memberId)!, now)
      this.#effects.push({
        type: 'join-answer',
        request: storing.request,
        answer: this.#joinAnswer(storeErrorToAnswer(error), '', storing.oldLeader, false, false),
      })
      return
    }
    const isLeader = this.#members.leaderId === member.memberId
    // Before v9 a returned leader must believe that it follows, or it would compute an assignment nobody waits for.
    const answer = storing.supportsSkipAssignment
      ? this.#joinAnswer(ErrorCode.NONE, member.memberId, this.#members.leaderId ?? '', isLeader, isLeader)
      : this.#joinAnswer(ErrorCode.NONE, member.memberId, storing.oldLeader, false, false)
    member.isNew = false
    this.#effects.push({ type: 'join-answer', request: storing.request, answer })
    this.#extendSession(member, now)
  }

  // The join phase

  #rebalanceOrComplete(now: Moment): void {
    if (this.#state === GroupState.preparingRebalance) this.#completeJoinPhaseIfAllJoined(now)
    else this.#prepareRebalance(now)
  }

  #prepareRebalance(now: Moment): void {
    if (this.#state === GroupState.completingRebalance) {
      for (const member of this.#members.all()) {
        member.assignment = NO_BYTES
        if (this.#answerSync(member, ErrorCode.REBALANCE_IN_PROGRESS)) this.#extendSession(member, now)
      }
    }
    this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    const isFirst = this.#state === GroupState.empty
    this.#enter(GroupState.preparingRebalance, now)
    if (isFirst) {
      const delayMs = Math.max(this.#options.initialRebalanceDelayMs, 0)
      const remainingMs = Math.max(this.#rebalanceTimeoutMs() - delayMs, 0)
      this.#memberAddedInInitialDelay = false
      this.#joinPhase = { kind: 'initial', atMs: now.monotonicMs + delayMs, delayMs, remainingMs }
      this.#wakeBy(this.#joinPhase.atMs)
    } else if (this.#haveAllJoined()) {
      this.#completeJoinPhase(now)
    } else {
      this.#joinPhase = { kind: 'rebalance', atMs: now.monotonicMs + this.#rebalanceTimeoutMs() }
      this.#wakeBy(this.#joinPhase.atMs)
    }
  }

  #haveAllJoined(): boolean {
    return this.#members.count <= this.#members.awaitingJoinCount && this.#pendingJoin.size === 0
  }

  #completeJoinPhaseIfAllJoined(now: Moment): void {
    const isGathering = this.#state === GroupState.preparingRebalance && this.#stateBefore !== GroupState.empty
    if (isGathering && this.#haveAllJoined()) this.#completeJoinPhase(now)
  }

  #onJoinPhaseOver(phase: JoinPhase, now: Moment): void {
    if (phase.kind === 'initial' && this.#memberAddedInInitialDelay && phase.remainingMs > 0) {
      this.#memberAddedInInitialDelay = false
      const delayMs = Math.min(this.#options.initialRebalanceDelayMs, phase.remainingMs)
      const remainingMs = Math.max(phase.remainingMs - phase.delayMs, 0)
      this.#joinPhase = { kind: 'initial', atMs: now.monotonicMs + delayMs, delayMs, remainingMs }
      this.#wakeBy(this.#joinPhase.atMs)
    } else {
      this.#completeJoinPhase(now)
    }
  }

  #completeJoinPhase(now: Moment): void {
    this.#joinPhase = undefined
    for (const member of [...this.#members.all()]) {
      // A static member keeps its place, with its old metadata, until its session ends.
      if (member.heldJoin === undefined && member.groupInstanceId === null) this.#dropMember(member)
    }
    if (this.#members.count > 0 && !this.#members.electJoinedLeader()) {
      const delayMs = Math.max(this.#rebalanceTimeoutMs(), POSTPONED_JOIN_MIN_MS)
      this.#joinPhase = { kind: 'rebalance', atMs: now.monotonicMs + delayMs }
      this.#wakeBy(this.#joinPhase.atMs)
      return
    }
    this.#generationId += 1
    this.#pendingSync.clear()
    if (this.#members.count === 0) {
      this.#protocolName = undefined
      this.#enter(GroupState.empty, now)
      this.#learnSubscribedTopics()
      this.#store(undefined)
      return
    }
    this.#protocolName = this.#members.vote()
    this.#enter(GroupState.completingRebalance, now)
    this.#learnSubscribedTopics()
    for (const member of this.#members.all()) {
      const request = this.#members.releaseJoin(member)
      if (request !== undefined) this.#answerJoinNow(request, member, member.memberId === this.#members.leaderId)
      member.isNew = false
      this.#extendSession(member, now)
      this.#pendingSync.add(member.memberId)
    }
    this.#syncDeadlineMs = now.monotonicMs + this.#rebalanceTimeoutMs()
    this.#wakeBy(this.#syncDeadlineMs)
  }

  // SyncGroup

  #onSync(event: SyncEvent, now: Moment): void {
    const error = this.#checkSync(event)
    if (error !== ErrorCode.NONE) {
      this.#effects.push({ type: 'sync-answer', request: event.request, answer: this.#syncRefusal(error) })
      return
    }
    const member = this.#members.get(event.memberId)!
    this.#pendingSync.delete(member.memberId)
    if (this.#pendingSync.size === 0) this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    // A client that asks again has given up its first request.
    this.#answerSync(member, ErrorCode.REBALANCE_IN_PROGRESS)
    member.heldSync = event.request
    if (this.#state === GroupState.stable) {
      this.#answerSync(member, ErrorCode.NONE)
      this.#extendSession(member, now)
      return
    }
    member.deadlineMs = Number.POSITIVE_INFINITY
    if (member.memberId === this.#members.leaderId && !this.#isStoringAssignment()) this.#onAssignment(event)
  }

  #checkSync(event: SyncEvent): ErrorCode {
    if (this.#state === GroupState.empty) return ErrorCode.UNKNOWN_MEMBER_ID
    if (this.#state === GroupState.dead) return ErrorCode.COORDINATOR_NOT_AVAILABLE
    const error = this.#checkMember(event.memberId, event.groupInstanceId)
    if (error !== ErrorCode.NONE) return error
    if (event.generationId !== this.#generationId) return ErrorCode.ILLEGAL_GENERATION
    const isOtherType = event.protocolType !== null && event.protocolType !== this.#protocolType
    const isOtherName = event.protocolName !== null && event.protocolName !== this.#protocolName
    if (isOtherType || isOtherName) return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    return this.#state === GroupState.preparingRebalance ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE
  }

  /** A leader that asks twice gets what it sent first: that is what the log will hold. */
  #isStoringAssignment(): boolean {
    for (const storing of this.#storing.values()) {
      if (storing.kind === 'assignment' && storing.generationId === this.#generationId) return true
    }
    return false
  }

  #onAssignment(event: SyncEvent): void {
    const given = new Map(event.assignments.map(({ memberId, assignment }) => [memberId, assignment]))
    const assignments = new Map<string, Uint8Array>()
    for (const member of this.#members.all()) assignments.set(member.memberId, given.get(member.memberId) ?? NO_BYTES)
    this.#store({ kind: 'assignment', generationId: this.#generationId, assignments })
  }

  #onAssignmentStored(storing: Storing & { kind: 'assignment' }, error: ErrorCode, now: Moment): void {
    if (this.#state !== GroupState.completingRebalance || this.#generationId !== storing.generationId) return
    if (error === ErrorCode.NONE) this.#enter(GroupState.stable, now)
    const answer = storeErrorToAnswer(error)
    for (const member of this.#members.all()) {
      member.assignment = error === ErrorCode.NONE ? (storing.assignments.get(member.memberId) ?? NO_BYTES) : NO_BYTES
      if (this.#answerSync(member, answer)) this.#extendSession(member, now)
    }
    if (error !== ErrorCode.NONE) this.#prepareRebalance(now)
  }

  // Heartbeat, LeaveGroup, OffsetCommit

  #onHeartbeat(event: HeartbeatEvent, now: Moment): ErrorCode {
    if (this.#state === GroupState.dead) return ErrorCode.COORDINATOR_NOT_AVAILABLE
    const error = this.#checkMember(event.memberId, event.groupInstanceId)
    if (error !== ErrorCode.NONE) return error
    if (event.generationId !== this.#generationId) return ErrorCode.ILLEGAL_GENERATION
    this.#onCommitted(event.memberId, now)
    return this.#state === GroupState.preparingRebalance ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE
  }

  #onCommitted(memberId: string, now: Moment): void {
    const member = this.#members.get(memberId)
    // A held request vouches longer than any session.
    if (member !== undefined && member.heldJoin === undefined && member.heldSync === undefined) {
      this.#extendSession(member, now)
    }
  }

  #onLeave(event: LeaveEvent, now: Moment): void {
    if (this.#state === GroupState.dead) {
      const answer = { error: ErrorCode.COORDINATOR_NOT_AVAILABLE, members: [] }
      this.#effects.push({ type: 'leave-answer', request: event.request, answer })
      return
    }
    const countBefore = this.#members.count
    const members = event.members.map(({ memberId, groupInstanceId }) => ({
      memberId,
      groupInstanceId,
      error: this.#leave(memberId, groupInstanceId),
    }))
    if (this.#members.count < countBefore) this.#onMembersGone(now)
    else this.#completeJoinPhaseIfAllJoined(now)
    this.#effects.push({ type: 'leave-answer', request: event.request, answer: { error: ErrorCode.NONE, members } })
  }

  #leave(memberId: string, groupInstanceId: string | null): ErrorCode {
    if (memberId !== '' && this.#pendingJoin.delete(memberId)) return ErrorCode.NONE
    // An administrator names the instance only.
    const id = memberId === '' && groupInstanceId !== null ? this.#members.idOfInstance(groupInstanceId) : memberId
    if (id === undefined) return ErrorCode.UNKNOWN_MEMBER_ID
    const error = this.#checkMember(id, groupInstanceId)
    if (error === ErrorCode.NONE) this.#dropMember(this.#members.get(id)!)
    return error
  }

  #onMembersGone(now: Moment): void {
    if (this.#state === GroupState.stable || this.#state === GroupState.completingRebalance) this.#prepareRebalance(now)
    else this.#completeJoinPhaseIfAllJoined(now)
  }

  // Time

  #onTick(now: Moment): void {
    const nowMs = now.monotonicMs
    let membersGone = false
    let pendingGone = false
    for (const [memberId, deadlineMs] of this.#pendingJoin) {
      if (deadlineMs <= nowMs) pendingGone = this.#pendingJoin.delete(memberId) || pendingGone
    }
    for (const member of [...this.#members.all()]) {
      if (member.deadlineMs > nowMs) continue
      this.#dropMember(member)
      membersGone = true
    }
    if (membersGone) this.#onMembersGone(now)
    else if (pendingGone) this.#completeJoinPhaseIfAllJoined(now)
    if (this.#joinPhase !== undefined && this.#joinPhase.atMs <= nowMs) this.#onJoinPhaseOver(this.#joinPhase, now)
    if (this.#syncDeadlineMs <= nowMs) this.#onSyncPhaseOver(now)
    this.#wakeAtMs = this.#nextDeadlineMs()
  }

  #onSyncPhaseOver(now: Moment): void {
    this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    if (this.#pendingSync.size === 0) return
    for (const memberId of [...this.#pendingSync]) {
      const member = this.#members.get(memberId)
      if (member !== undefined) this.#dropMember(member)
    }
    this.#pendingSync.clear()
    this.#prepareRebalance(now)
  }

  #nextDeadlineMs(): number {
    let atMs = Math.min(this.#joinPhase?.atMs ?? Number.POSITIVE_INFINITY, this.#syncDeadlineMs)
    for (const deadlineMs of this.#pendingJoin.values()) atMs = Math.min(atMs, deadlineMs)
    for (const member of this.#members.all()) atMs = Math.min(atMs, member.deadlineMs)
    return atMs
  }

  #onStalled(stallMs: number, now: Moment): void {
    for (const member of this.#members.all()) {
      if (member.deadlineMs <= now.monotonicMs) {
        member.deadlineMs = now.monotonicMs + Math.min(stallMs, member.sessionTimeoutMs)
      }
    }
    for (const [memberId, deadlineMs] of this.#pendingJoin) {
      if (deadlineMs <= now.monotonicMs) this.#pendingJoin.set(memberId, now.monotonicMs + stallMs)
    }
    if (this.#joinPhase !== undefined && this.#joinPhase.atMs <= now.monotonicMs) {
      this.#joinPhase = { ...this.#joinPhase, atMs: now.monotonicMs + Math.min(stallMs, this.#rebalanceTimeoutMs()) }
    }
    if (this.#syncDeadlineMs <= now.monotonicMs) {
      this.#syncDeadlineMs = now.monotonicMs + Math.min(stallMs, this.#rebalanceTimeoutMs())
    }
    this.#wakeAtMs = this.#nextDeadlineMs()
  }

  #onRetire(error: ErrorCode, now: Moment): void {
    for (const member of this.#members.all()) {
      const request = this.#members.releaseJoin(member)
      if (request !== undefined) this.#refuseJoin(request, member.memberId, error)
      this.#answerSync(member, error)
    }
    this.#pendingJoin.clear()
    this.#joinPhase = undefined
    this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    this.#wakeAtMs = Number.POSITIVE_INFINITY
    this.#enter(GroupState.dead, now)
  }

  // Records

  #store(storing: Storing | undefined): void {
    const store = this.#nextStore++
    if (storing !== undefined) this.#storing.set(store, storing)
    const assignments = storing?.kind === 'assignment' ? storing.assignments : undefined
    this.#effects.push({ type: 'store', store, metadata: this.#metadata(assignments) })
  }

  #onStored(store: number, error: ErrorCode, now: Moment): void {
    const storing = this.#storing.get(store)
    if (storing === undefined) return
    this.#storing.delete(store)
    if (storing.kind === 'assignment') this.#onAssignmentStored(storing, error, now)
    else this.#onReturnedStaticMemberStored(storing, error, now)
  }

  #metadata(assignments: ReadonlyMap<string, Uint8Array> | undefined): GroupMetadata {
    return {
      protocolType: this.#protocolType ?? '',
      generationId: this.#generationId,
      protocolName: this.#protocolName ?? null,
      leader: this.#members.leaderId ?? null,
      currentStateTimestampMs: this.#stateTimestampMs ?? -1,
      members: [...this.#members.all()].map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        rebalanceTimeoutMs: member.rebalanceTimeoutMs,
        sessionTimeoutMs: member.sessionTimeoutMs,
        subscription: metadataOf(member, this.#protocolName),
        assignment: assignments?.get(member.memberId) ?? member.assignment,
      })),
    }
  }

  // Helpers

  /** Who asks comes before what it asks: instance first, then member. */
  #checkMember(memberId: string, groupInstanceId: string | null): ErrorCode {
    if (groupInstanceId !== null) {
      const known = this.#members.idOfInstance(groupInstanceId)
      if (known === undefined) return ErrorCode.UNKNOWN_MEMBER_ID
      if (known !== memberId) return ErrorCode.FENCED_INSTANCE_ID
    }
    return this.#members.get(memberId) === undefined ? ErrorCode.UNKNOWN_MEMBER_ID : ErrorCode.NONE
  }

  /** Out of the group; what it waits for is answered. The rebalance is the caller's. */
  #dropMember(member: Member): void {
    this.#members.remove(member)
    this.#pendingSync.delete(member.memberId)
    if (member.heldJoin !== undefined) {
      this.#refuseJoin(member.heldJoin, '', ErrorCode.UNKNOWN_MEMBER_ID)
      member.heldJoin = undefined
    }
    this.#answerSync(member, ErrorCode.UNKNOWN_MEMBER_ID)
  }

  #extendSession(member: Member, now: Moment): void {
    member.deadlineMs = now.monotonicMs + member.sessionTimeoutMs
    this.#wakeBy(member.deadlineMs)
  }

  #wakeBy(deadlineMs: number): void {
    if (deadlineMs < this.#wakeAtMs) this.#wakeAtMs = deadlineMs
  }

  #enter(state: GroupState, now: Moment): void {
    invariant(this.#state !== GroupState.dead, 'a dead group stays dead', this.#generationId)
    this.#stateBefore = this.#state
    this.#state = state
    this.#stateTimestampMs = now.wallMs
  }

  #rebalanceTimeoutMs(): number {
    let longestMs = 0
    for (const member of this.#members.all()) longestMs = Math.max(longestMs, member.rebalanceTimeoutMs)
    return longestMs
  }

  #learnSubscribedTopics(): void {
    const isConsumer = this.#protocolType === CONSUMER_PROTOCOL_TYPE
    this.#subscribedTopics = isConsumer ? subscribedTopicsOf(this.#members.all(), this.#protocolName) : undefined
  }

  #answerJoinNow(request: number, member: Member, withMembers: boolean): void {
    const answer = this.#joinAnswer(ErrorCode.NONE, member.memberId, this.#members.leaderId ?? '', withMembers, false)
    this.#effects.push({ type: 'join-answer', request, answer })
  }

  #joinAnswer(
    error: ErrorCode,
    memberId: string,
    leader: string,
    withMembers: boolean,
    skipAssignment: boolean,
  ): JoinAnswer {
    const members = withMembers ? [...this.#members.all()] : []
    return {
      error,
      generationId: this.#generationId,
      protocolType: this.#protocolType ?? null,
      protocolName: this.#protocolName ?? null,
      leader,
      skipAssignment,
      memberId,
      members: members.map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        metadata: metadataOf(member, this.#protocolName),
      })),
    }
  }

  #refuseJoin(request: number, memberId: string, error: ErrorCode): void {
    this.#effects.push({ type: 'join-answer', request, answer: joinRefusal(memberId, error) })
  }

  #syncRefusal(error: ErrorCode): SyncAnswer {
    return { error, protocolType: null, protocolName: null, assignment: NO_BYTES }
  }

  /** @returns false when the member waits in no SyncGroup */
  #answerSync(member: Member, error: ErrorCode): boolean {
    const request = member.heldSync
    if (request === undefined) return false
    member.heldSync = undefined
    const answer =
      error === ErrorCode.NONE
        ? {
            error,
            protocolType: this.#protocolType ?? null,
            protocolName: this.#protocolName ?? null,
            assignment: member.assignment,
          }
        : this.#syncRefusal(error)
    this.#effects.push({ type: 'sync-answer', request, answer })
    return true
  }
}

export function joinRefusal(memberId: string, error: ErrorCode): JoinAnswer {
  return {
    error,
    generationId: -1,
    protocolType: null,
    protocolName: null,
    leader: '',
    skipAssignment: false,
    memberId,
    members: [],
  }
}

/** What the log holds of a group that was asked for and has had no member yet. */
export function newGroupMetadata(wallMs: number): GroupMetadata {
  return {
    protocolType: '',
    generationId: 0,
    protocolName: null,
    leader: null,
    currentStateTimestampMs: wallMs,
    members: [],
  }
}
